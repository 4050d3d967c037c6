//! What a user may leave open. Works on JSON, so that nothing that we do not know is touched.

use serde_json::{Map, Value, json};

use super::{FieldError, FieldErrorKind};
use crate::api::convert::put;
use crate::api::{annotations, labels};

pub(super) fn cluster(object: &mut Value, _: Option<&Value>) -> Result<(), FieldError> {
    prefix_version(object, "/spec/topology/version");
    Ok(())
}

pub(super) fn machine(object: &mut Value, _: Option<&Value>) -> Result<(), FieldError> {
    label_with_cluster(object);
    prefix_version(object, "/spec/version");
    set_if_absent(
        object,
        &["spec", "deletion", "nodeDeletionTimeoutSeconds"],
        json!(10),
    );
    Ok(())
}

pub(super) fn machine_set(object: &mut Value, old: Option<&Value>) -> Result<(), FieldError> {
    label_with_cluster(object);
    default_replicas(object, old)?;
    select_own(object, labels::SET_NAME);
    prefix_version(object, "/spec/template/spec/version");
    Ok(())
}

pub(super) fn machine_deployment(
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), FieldError> {
    label_with_cluster(object);
    default_replicas(object, old)?;
    let strategy = ["spec", "rollout", "strategy"];
    set_if_absent(
        object,
        &[&strategy[..], &["type"]].concat(),
        json!("RollingUpdate"),
    );
    if object
        .pointer("/spec/rollout/strategy/type")
        .is_some_and(|type_| type_ == "RollingUpdate")
    {
        let bounds = [&strategy[..], &["rollingUpdate"]].concat();
        set_if_absent(object, &[&bounds[..], &["maxSurge"]].concat(), json!(1));
        set_if_absent(
            object,
            &[&bounds[..], &["maxUnavailable"]].concat(),
            json!(0),
        );
    }
    select_own(object, labels::DEPLOYMENT_NAME);
    let cluster = object
        .pointer("/spec/clusterName")
        .cloned()
        .unwrap_or_else(|| json!(""));
    put(
        object,
        &["spec", "selector", "matchLabels", labels::CLUSTER_NAME],
        cluster.clone(),
    );
    put(
        object,
        &[
            "spec",
            "template",
            "metadata",
            "labels",
            labels::CLUSTER_NAME,
        ],
        cluster,
    );
    prefix_version(object, "/spec/template/spec/version");
    Ok(())
}

pub(super) fn machine_health_check(
    object: &mut Value,
    _: Option<&Value>,
) -> Result<(), FieldError> {
    label_with_cluster(object);
    set_if_absent(
        object,
        &["spec", "checks", "nodeStartupTimeoutSeconds"],
        json!(600),
    );
    Ok(())
}

fn label_with_cluster(object: &mut Value) {
    if let Some(cluster) = object.pointer("/spec/clusterName").cloned() {
        put(
            object,
            &["metadata", "labels", labels::CLUSTER_NAME],
            cluster,
        );
    }
}

fn prefix_version(object: &mut Value, path: &str) {
    if let Some(Value::String(version)) = object.pointer_mut(path)
        && !version.is_empty()
        && !version.starts_with('v')
    {
        version.insert(0, 'v');
    }
}

fn set_if_absent(object: &mut Value, path: &[&str], value: Value) {
    let present = path
        .iter()
        .try_fold(&*object, |place, name| place.get(name))
        .is_some_and(|value| !value.is_null());
    if !present {
        put(object, path, value);
    }
}

/// A set that selects nothing gets a label by which it knows its machines.
fn select_own(object: &mut Value, label: &str) {
    let empty = |path: &str| match object.pointer(path) {
        Some(Value::Object(labels)) => labels.is_empty(),
        Some(Value::Array(expressions)) => expressions.is_empty(),
        _ => true,
    };
    if empty("/spec/selector/matchLabels") && empty("/spec/selector/matchExpressions") {
        let name = object
            .pointer("/metadata/name")
            .cloned()
            .unwrap_or_else(|| json!(""));
        put(
            object,
            &["spec", "selector", "matchLabels", label],
            name.clone(),
        );
        put(
            object,
            &["spec", "template", "metadata", "labels", label],
            name,
        );
    }
}

/// Replicas that the user left open: within an autoscaler's bounds if both are given, else 1.
fn default_replicas(object: &mut Value, old: Option<&Value>) -> Result<(), FieldError> {
    let none = Map::new();
    let annotations = object
        .pointer("/metadata/annotations")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let replicas = |object: &Value| object.pointer("/spec/replicas").and_then(Value::as_i64);
    if replicas(object).is_some() {
        return Ok(());
    }
    let size = |name: &str| -> Result<Option<i64>, FieldError> {
        let Some(text) = annotations.get(name).and_then(Value::as_str) else {
            return Ok(None);
        };
        text.parse::<i32>()
            .map(|size| Some(i64::from(size)))
            .map_err(|_| FieldError {
                kind: FieldErrorKind::Invalid,
                path: format!("metadata.annotations[{name}]"),
                value: Some(Value::from(text).to_string()),
                message: "is no number of machines".to_owned(),
            })
    };
    let wanted = match (
        annotations.contains_key(annotations::AUTOSCALER_MIN_SIZE),
        annotations.contains_key(annotations::AUTOSCALER_MAX_SIZE),
    ) {
        (true, true) => {
            let (min, max) = (
                size(annotations::AUTOSCALER_MIN_SIZE)?,
                size(annotations::AUTOSCALER_MAX_SIZE)?,
            );
            match (old.and_then(replicas), min, max) {
                (Some(old), Some(min), _) if old < min => min,
                (Some(old), _, Some(max)) if old > max => max,
                (Some(old), _, _) => old,
                (None, min, _) => min.unwrap_or(1),
            }
        }
        _ => 1,
    };
    put(object, &["spec", "replicas"], wanted.into());
    Ok(())
}
