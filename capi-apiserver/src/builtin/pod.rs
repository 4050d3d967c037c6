//! Pods, as far as a plane without kubelets needs them: defaults, grace, the end of a deletion.

use crate::{
    json::{Object, Value},
    object,
};

pub(crate) fn default(pod: &mut Value<'_>) {
    let Some(Value::Object(spec)) = pod.get_mut("spec") else {
        return;
    };
    let defaults: [(&'static str, Value<'static>); 4] = [
        ("restartPolicy", "Always".into()),
        ("terminationGracePeriodSeconds", 30_i64.into()),
        ("dnsPolicy", "ClusterFirst".into()),
        ("schedulerName", "default-scheduler".into()),
    ];
    for (field, value) in defaults {
        if !spec.contains_key(field) {
            spec.insert(field, value);
        }
    }
    if !spec.contains_key("securityContext") {
        spec.insert("securityContext", Object::new());
    }
}

pub(crate) fn prepare_create(pod: &mut Value<'_>) {
    pod.set_at(&["status", "phase"], "Pending");
    pod.set_at(&["status", "qosClass"], "BestEffort");
}

/// The grace of a deletion: what was asked, or the pod's own; none for pods that do not run.
pub(crate) fn grace(pod: &Value<'_>, asked: Option<i64>) -> i64 {
    let node = pod
        .at(&["spec", "nodeName"])
        .and_then(Value::as_str)
        .unwrap_or_default();
    let phase = pod
        .at(&["status", "phase"])
        .and_then(Value::as_str)
        .unwrap_or_default();
    if node.is_empty() || matches!(phase, "Succeeded" | "Failed") {
        return 0;
    }
    let own = pod
        .at(&["spec", "terminationGracePeriodSeconds"])
        .and_then(Value::as_i64)
        .unwrap_or(30);
    asked.unwrap_or(own).max(0)
}

/// A pod that is being deleted stays until its grace has been set to zero.
pub(crate) fn is_held(pod: &Value<'_>) -> bool {
    object::is_deleting(pod)
        && pod
            .at(&["metadata", "deletionGracePeriodSeconds"])
            .and_then(Value::as_i64)
            .is_some_and(|grace| grace > 0)
}
