//! IPAddressClaim in v1beta1 and v1alpha1.

use serde_json::Value;

use crate::api::convert::{ConversionError, Direction, Rule, apply, put};
use crate::api::labels::CLUSTER_NAME;
use Rule::{Custom, Move};

pub(super) const V1BETA1: &[Rule] = &[
    Move("status.conditions", "status.deprecated.v1beta1.conditions"),
    Move("status.v1beta2.conditions", "status.conditions"),
];

pub(super) const V1ALPHA1: &[Rule] = &[Custom(v1alpha1)];

/// Says that the label was made from the spec, and goes away with the conversion to the hub.
const LABEL_SET: &str = "conversion.cluster.x-k8s.io/cluster-name-label-set";

/// The version has the cluster's name in a label, and only conditions of the old form.
fn v1alpha1(object: &mut Value, direction: &Direction<'_>) -> Result<(), ConversionError> {
    let name = |object: &Value| {
        object
            .pointer("/metadata/labels")
            .and_then(|labels| labels.get(CLUSTER_NAME))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    if direction.is_to_hub() {
        *object = apply(&V1BETA1[..1], object.take(), direction)?;
        if let Some(name) = name(object) {
            put(object, &["spec", "clusterName"], name.into());
        }
        let made = take_entry(object, "annotations", LABEL_SET);
        if made.is_some_and(|made| made == "false") {
            take_entry(object, "labels", CLUSTER_NAME);
        }
    } else {
        if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
            status.remove("conditions");
        }
        *object = apply(&V1BETA1[..1], object.take(), direction)?;
        let spec = object.get_mut("spec").and_then(Value::as_object_mut);
        if let Some(cluster) = spec.and_then(|spec| spec.remove("clusterName")) {
            if name(object).is_none() {
                put(
                    object,
                    &["metadata", "annotations", LABEL_SET],
                    "false".into(),
                );
            }
            put(object, &["metadata", "labels", CLUSTER_NAME], cluster);
        }
    }
    Ok(())
}

fn take_entry(object: &mut Value, map: &str, name: &str) -> Option<Value> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    let entries = metadata.get_mut(map)?.as_object_mut()?;
    let value = entries.remove(name);
    if entries.is_empty() {
        metadata.remove(map);
    }
    value
}
