//! Definitions are made from the types, equal to upstream's, and agree with the types both ways.

use std::path::Path;

use capi_controlplane_talos::api::*;
use capi_core::api::KindInfo;
use capi_core::api::crd::{self, Limits, Part, Samples};
use serde_json::{Value, json};

use crate::upstream;

struct Case {
    kind: KindInfo,
    description: &'static str,
    parts: Vec<Part>,
    required: &'static [&'static str],
    check: fn(&Value, &str, &Samples) -> Result<(), String>,
}

fn cases() -> Vec<Case> {
    vec![Case {
        kind: TALOS_CONTROL_PLANE,
        description: "The control plane machines of a cluster that runs Talos.",
        parts: vec![
            Part::of::<TalosControlPlaneSpec>("spec"),
            Part::of::<TalosControlPlaneStatus>("status"),
        ],
        required: &[],
        check: crd::check_type::<TalosControlPlane>,
    }]
}

fn limits() -> Limits {
    let parse = |text| Limits::parse(text).expect("the table of limits is JSON");
    let talos = parse(include_str!(
        "../../../capi-bootstrap-talos/crds/limits.json"
    ));
    crd::limits()
        .expect("the table of limits is JSON")
        .and(talos)
        .and(parse(include_str!("../../crds/limits.json")))
}

fn committed(case: &Case) -> Result<Value, String> {
    let schema = crd::schema(
        case.kind.kind,
        case.description,
        &case.parts,
        case.required,
        &limits(),
    );
    let file = format!(
        "{}/crds/{}.json",
        env!("CARGO_MANIFEST_DIR"),
        case.kind.plural
    );
    crd::check_committed(Path::new(&file), case.kind.version, &schema)
}

#[test]
fn the_committed_definitions_are_what_the_types_make() {
    let problems: Vec<String> = cases()
        .iter()
        .filter_map(|case| committed(case).err())
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let names: Vec<Value> = crds()
        .iter()
        .map(|crd| crd["metadata"]["name"].clone())
        .collect();
    for case in cases() {
        let name = Value::from(case.kind.definition_name());
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
}

#[test]
fn the_definitions_say_what_upstreams_say() {
    let Some(theirs) = upstream::documents("crds/cacppt.yaml") else {
        return;
    };
    let problems: Vec<String> = crds()
        .iter()
        .filter_map(|ours| crd::check_against(ours, &theirs, &[]).err())
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_object_that_a_definition_allows_comes_through_the_types_unchanged() {
    let samples = Samples::with(json!({}));
    for case in cases() {
        let definition = committed(&case).expect("the definition is up to date");
        let checked = (case.check)(&definition, case.kind.version, &samples);
        assert_eq!(checked, Ok(()), "{}", case.kind.kind);
    }
}
