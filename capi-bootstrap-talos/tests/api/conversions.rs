//! An object written in v1alpha3 or v1beta1 is read and written in both.

use capi_bootstrap_talos::api::*;
use capi_core::api::convert;
use capi_core::api::crd::{self, Samples};
use serde_json::{Value, json};

use crate::upstream;

fn definition(kind: &str) -> Value {
    crds()
        .into_iter()
        .find(|crd| crd["spec"]["names"]["kind"] == kind)
        .expect("the definition is there")
}

#[test]
fn every_object_of_every_version_survives_the_way_to_the_other_and_back() {
    let samples = Samples::with(json!({}));
    let [config, template] = conversions() else {
        panic!("two kinds are converted")
    };
    let checked =
        crd::check_conversion::<TalosConfig>(config, &definition("TalosConfig"), &samples, &());
    assert_eq!(checked, Ok(()));
    let definition = definition("TalosConfigTemplate");
    assert_eq!(
        crd::check_conversion::<TalosConfigTemplate>(template, &definition, &samples, &()),
        Ok(())
    );
}

/// Recorded conversions of upstream that ours differ from, with the field that differs and why.
const KNOWN: &[(&str, &str)] = &[
    // Upstream forgets that the configuration is there when no annotation says so.
    ("up-ready-no-annotation.json", "/status/initialization"),
];

#[test]
fn recorded_conversions_of_upstream_come_out_equal() {
    let Some(directory) = upstream::directory() else {
        println!("skipped: set CAPI_UPSTREAM to the directory with upstream's data");
        return;
    };
    let mut seen = 0;
    for entry in
        std::fs::read_dir(directory.join("cabpt-conversion")).expect("the recorded cases are there")
    {
        let path = entry.expect("a file").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let case: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).expect("readable")).expect("JSON");
        let kind = case["input"]["kind"].as_str().expect("a kind");
        let conversion =
            convert::find(conversions(), "bootstrap.cluster.x-k8s.io", kind).expect("the kind");
        let to = case["desiredAPIVersion"].as_str().expect("a version");
        let mut ours = conversion
            .convert(case["input"].clone(), to, &())
            .expect("the case is well-formed");
        let annotation = |object: &Value| -> Option<Value> {
            let annotations = object.pointer("/metadata/annotations")?;
            let text = annotations
                .get("cluster.x-k8s.io/conversion-data")?
                .as_str()?;
            let kept: Value = serde_json::from_str(text).expect("the annotation is JSON");
            // What we keep beyond upstream is of the older version.
            (kept["apiVersion"] == "bootstrap.cluster.x-k8s.io/v1beta1")
                .then(|| crd::meaning(&kept))
        };
        assert_eq!(
            annotation(&ours),
            annotation(&case["output"]),
            "{name}: annotation"
        );
        for (_, field) in KNOWN.iter().filter(|(known, _)| *known == name) {
            let (parent, field) = field.rsplit_once('/').expect("a pointer");
            let removed = ours
                .pointer_mut(parent)
                .and_then(|parent| parent.as_object_mut()?.remove(field));
            assert!(
                removed.is_some(),
                "{name}: {field} is listed as different, but absent"
            );
        }
        assert_eq!(crd::meaning(&ours), crd::meaning(&case["output"]), "{name}");
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} recorded cases were found");
}
