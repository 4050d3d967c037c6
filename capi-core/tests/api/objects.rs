//! Objects that the Go originals left, and manifests that people wrote, are read without loss.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use capi_core::api::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::upstream;

/// What of an object a type does not know, or the place at which it cannot be read.
fn unknown<T: Serialize + DeserializeOwned>(object: &Value) -> Option<String> {
    let typed: T = match serde_path_to_error::deserialize(object) {
        Ok(typed) => typed,
        Err(error) => return Some(format!("{}: {error}", error.path())),
    };
    let written = match serde_json::to_value(&typed) {
        Ok(written) => written,
        Err(error) => return Some(error.to_string()),
    };
    crd::remainder(&crd::normal(object), &crd::normal(&written)).map(|rest| rest.to_string())
}

/// As [`unknown`], for an object of any kind of this crate; `None` also for other kinds.
fn check(object: &Value, seen: &mut usize) -> Option<String> {
    let group = object["apiVersion"].as_str()?.split_once('/')?.0;
    let kind = object["kind"].as_str()?;
    let conversion = convert::find(conversions(), group, kind)?;
    *seen += 1;
    let hub = match conversion.convert(object.clone(), &conversion.hub.api_version(), &()) {
        Ok(hub) => hub,
        Err(error) => return Some(error.to_string()),
    };
    match kind {
        "Cluster" => unknown::<Cluster>(&hub),
        "Machine" => unknown::<Machine>(&hub),
        "MachineSet" => unknown::<MachineSet>(&hub),
        "MachineDeployment" => unknown::<MachineDeployment>(&hub),
        "MachineHealthCheck" => unknown::<MachineHealthCheck>(&hub),
        "MachineDrainRule" => unknown::<MachineDrainRule>(&hub),
        "IPAddress" => unknown::<IPAddress>(&hub),
        "IPAddressClaim" => unknown::<IPAddressClaim>(&hub),
        "InClusterIPPool" => unknown::<InClusterIPPool>(&hub),
        "GlobalInClusterIPPool" => unknown::<GlobalInClusterIPPool>(&hub),
        other => Some(format!("{other} is not looked at")),
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the directory is readable");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_object_that_the_go_originals_left_is_known_wholly() {
    let Some(directory) = upstream::directory() else {
        println!("skipped: set CAPI_UPSTREAM to the directory with upstream's data");
        return;
    };
    let (mut seen, mut problems) = (0, String::new());
    for part in [
        "objects/go-cluster-1x1",
        "capmox/one-machine",
        "capmox/dual-stack",
        "manifests",
    ] {
        for file in files(&directory.join(part)) {
            let text = std::fs::read_to_string(&file).expect("the file is readable");
            let objects: Vec<Value> =
                match file.extension().and_then(|extension| extension.to_str()) {
                    Some("yaml") => serde_saphyr::from_multiple(&text).expect("the file is YAML"),
                    Some("jsonl") => text
                        .lines()
                        .map(|line| {
                            serde_json::from_str::<Value>(line).expect("the line is JSON")["object"]
                                .take()
                        })
                        .collect(),
                    _ => continue,
                };
            for object in objects {
                if let Some(problem) = check(&object, &mut seen) {
                    let _ = writeln!(problems, "{}: {problem}", file.display());
                }
            }
        }
    }
    assert!(problems.is_empty(), "{problems}");
    assert!(seen > 40, "only {seen} objects were found");
}

#[test]
fn times_are_read_with_fractions_and_zones_and_written_as_whole_seconds_in_utc() {
    for (read, written) in [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.999999999Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T04:04:05+01:00", "2026-01-02T03:04:05Z"),
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
    ] {
        let time: Time = serde_json::from_value(read.into()).expect("the time is read");
        assert_eq!(
            serde_json::to_value(time).expect("the time is written"),
            written,
            "{read}"
        );
    }
    for wrong in ["", "yesterday", "2026-01-02"] {
        assert!(
            serde_json::from_value::<Time>(wrong.into()).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn an_object_of_another_version_or_kind_is_refused() {
    let object = |api_version: &str, kind: &str| serde_json::json!({ "apiVersion": api_version, "kind": kind });
    let read =
        |object| serde_json::from_value::<Machine>(object).map_err(|error| error.to_string());
    assert!(read(object("cluster.x-k8s.io/v1beta2", "Machine")).is_ok());
    assert!(
        read(serde_json::json!({ "metadata": {} })).is_ok(),
        "items of a list may leave both out"
    );
    assert_eq!(
        read(object("cluster.x-k8s.io/v1beta1", "Machine")).map(|_| ()),
        Err("the object is cluster.x-k8s.io/v1beta1 Machine, but cluster.x-k8s.io/v1beta2 Machine is read here; \
             convert it first"
            .to_owned())
    );
    assert!(read(object("cluster.x-k8s.io/v1beta2", "Cluster")).is_err());
}

#[test]
fn empty_parts_are_never_written() {
    let cluster = serde_json::to_value(Cluster::new("c", ClusterSpec::default()))
        .expect("the cluster is written");
    let expected = serde_json::json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": { "name": "c" } });
    assert_eq!(cluster, expected);
}
