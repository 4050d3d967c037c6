//! Pausing: a Cluster stops everything of its own, an annotation stops one object.

use super::condition::{Wanted, types};
use crate::{api::annotations, contract::Metadata};

/// The condition `Paused` of an object of `kind`. True means that its controller does nothing
/// else, deletion included.
#[must_use]
pub fn condition(cluster_paused: bool, object: &Metadata, kind: &str) -> Wanted {
    let mut messages = Vec::new();
    if cluster_paused {
        messages.push("Cluster spec.paused is set to true".to_owned());
    }
    if object.has_annotation(annotations::PAUSED) {
        messages.push(format!("{kind} has the cluster.x-k8s.io/paused annotation"));
    }
    if messages.is_empty() {
        Wanted::is_false(types::PAUSED, "NotPaused")
    } else {
        Wanted::is_true(types::PAUSED, "Paused").message(messages.join(", "))
    }
}
