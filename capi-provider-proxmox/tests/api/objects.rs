//! Objects that the Go provider left, and manifests that people wrote, are read without loss.

use std::fmt::Write as _;

use capi_core::api::{convert, crd};
use capi_provider_proxmox::api::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::upstream;

/// What of an object a type does not know.
fn unknown<T: Serialize + DeserializeOwned>(object: &Value) -> Option<String> {
    let written = match serde_json::from_value::<T>(object.clone())
        .and_then(|typed| serde_json::to_value(&typed))
    {
        Ok(written) => written,
        Err(error) => return Some(error.to_string()),
    };
    crd::remainder(&crd::normal(object), &crd::normal(&written)).map(|rest| rest.to_string())
}

#[test]
fn every_object_that_the_go_provider_left_is_known_wholly() {
    let Some(directory) = upstream::directory() else {
        println!("skipped: set CAPI_UPSTREAM to the directory with upstream's data");
        return;
    };
    let (mut seen, mut problems) = (0, String::new());
    for part in [
        "capmox/one-machine",
        "capmox/dual-stack",
        "capmox/states",
        "manifests",
    ] {
        for entry in std::fs::read_dir(directory.join(part)).expect("the directory is readable") {
            let file = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&file).expect("the file is readable");
            let objects: Vec<Value> =
                match file.extension().and_then(|extension| extension.to_str()) {
                    Some("yaml") => serde_saphyr::from_multiple(&text).expect("the file is YAML"),
                    Some("jsonl") => text
                        .lines()
                        .map(|line| serde_json::from_str(line).expect("the line is JSON"))
                        .collect(),
                    _ => continue,
                };
            for mut object in objects {
                if let Some(inner) = object.get_mut("object") {
                    object = inner.take();
                }
                let kind = object["kind"].as_str().unwrap_or_default();
                let Some(conversion) = convert::find(conversions(), GROUP, kind) else {
                    continue;
                };
                seen += 1;
                let hub = conversion.convert(object.clone(), &conversion.hub.api_version(), &());
                let problem = match (kind, hub) {
                    (_, Err(error)) => Some(error.to_string()),
                    ("ProxmoxCluster", Ok(hub)) => unknown::<ProxmoxCluster>(&hub),
                    ("ProxmoxMachine", Ok(hub)) => unknown::<ProxmoxMachine>(&hub),
                    ("ProxmoxMachineTemplate", Ok(hub)) => unknown::<ProxmoxMachineTemplate>(&hub),
                    (other, Ok(_)) => Some(format!("{other} is not looked at")),
                };
                if let Some(problem) = problem {
                    let _ = writeln!(problems, "{}: {problem}", file.display());
                }
            }
        }
    }
    assert!(problems.is_empty(), "{problems}");
    assert!(seen > 20, "only {seen} objects were found");
}
