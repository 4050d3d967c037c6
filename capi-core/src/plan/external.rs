//! External objects of a Cluster or Machine: taking one, and the failure it reports.
//!
//! Decides nothing of its own: both planners take objects in the same way and differ in which
//! owner references they want.

use std::time::Duration;

use jiff::Timestamp;

use super::{Action, Blocked, MetadataChange, ObjectRef, Plan, ownership::AlreadyControlled};
use crate::{
    api::labels,
    contract::{ExternalObject, OwnerReference},
};

/// A failure that an external object reports (v1beta1 contract), as its owner repeats it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

impl Failure {
    /// Writes what is reported; what is not reported stays, since failures do not go away.
    pub(super) fn onto(self, reason: &mut Option<String>, message: &mut Option<String>) {
        if self.reason.is_some() {
            *reason = self.reason;
        }
        if self.message.is_some() {
            *message = self.message;
        }
    }
}

impl<Spec: Default + PartialEq, Status> Plan<Spec, Status> {
    /// Gives an external object these owners and the label of its Cluster. `None` when it cannot be
    /// taken or read, which is then among the errors; else the failure that it reports.
    pub(super) fn take(
        &mut self,
        object: &ExternalObject,
        owners: Result<Vec<OwnerReference>, AlreadyControlled>,
        cluster: &str,
    ) -> Option<Failure> {
        let current = &object.metadata;
        let owners = match owners {
            Ok(owners) => owners,
            Err(error) => {
                self.errors.push(format!(
                    "{} {}/{} {error}",
                    object.kind, current.namespace, current.name
                ));
                return None;
            }
        };
        let mut change = MetadataChange::default();
        change.owners(current, owners);
        change.label(current, labels::CLUSTER_NAME, cluster);
        if let Some(patch) = change.to_merge_patch(current) {
            let object = ObjectRef::of(object);
            self.actions.push(Action::Patch { object, patch });
        }
        let (reason, message) = (&object.failure_reason, &object.failure_message);
        match (reason.as_result(), message.as_result()) {
            (Ok(reason), Ok(message)) => {
                let filled = |text: &&String| !text.is_empty();
                Some(Failure {
                    reason: reason.filter(filled).cloned(),
                    message: message.filter(filled).map(|text| object.failure_text(text)),
                })
            }
            (Err(error), _) | (_, Err(error)) => {
                self.errors.push(error.to_owned());
                None
            }
        }
    }

    /// Says once that `message` is waited for on an object.
    pub(super) fn blocked(&mut self, kind: &str, namespace: &str, name: &str, message: &str) {
        let blocked = Blocked::on(kind, namespace, name, message);
        if !self.blocked_on.contains(&blocked) {
            self.blocked_on.push(blocked);
        }
    }

    /// Asks to plan again after `wait`.
    pub(super) fn again_after(&mut self, now: Timestamp, wait: Duration) {
        if let Ok(time) = now.checked_add(wait) {
            self.look_again(time);
        }
    }

    /// Whether executing the plan lets an object go that is being deleted.
    pub(super) fn lets_go(&self) -> bool {
        self.metadata.finalizers.as_ref().is_some_and(Vec::is_empty)
    }
}
