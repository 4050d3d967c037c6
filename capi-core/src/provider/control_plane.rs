//! The trait of control plane providers: what differs per distribution. Which machine, in what
//! order, how many at once and when to remediate is the generic control plane planner's.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;

use super::{Capabilities, Context, Progress, ProviderError, ProviderKind, StatusFields};
use crate::api::{Cluster, ContractVersionedObjectReference, Machine, MachineAddress};

/// What the provider's object asks for, in the terms of the generic planner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredControlPlane {
    /// Machines wanted; `None` when nobody said yet.
    pub replicas: Option<i32>,
    /// Kubernetes version, `v1.33.0`.
    pub version: String,
    /// Template of the infrastructure machines.
    pub infrastructure_template: ContractVersionedObjectReference,
    /// Labels that machines get beside the SDK's.
    pub machine_labels: BTreeMap<String, String>,
    /// Annotations that machines get.
    pub machine_annotations: BTreeMap<String, String>,
    /// One machine more than `replicas` while one is replaced; false: one is removed first.
    pub surge: bool,
    /// Machines are replaced only when somebody deletes them.
    pub on_delete: bool,
    /// Machines made before this time are replaced once it has passed.
    pub rollout_after: Option<Timestamp>,
    /// Remediations of one machine after another at most; no limit when `None`.
    pub max_remediations: Option<u32>,
    /// Seconds between remediations of the same chain.
    pub remediation_period_seconds: u32,
    /// Seconds after which a machine that replaced another counts as a success.
    pub min_healthy_period_seconds: Option<u32>,
}

/// A call about a control plane.
#[derive(Clone, Debug)]
pub struct ControlPlaneContext<P> {
    /// Time, secrets, waker.
    pub context: Context,
    /// The Cluster.
    pub cluster: Arc<Cluster>,
    /// The provider's own object, as it is wanted.
    pub control_plane: Arc<P>,
    /// The machines that it owns, by name.
    pub machines: Vec<ControlPlaneMachine>,
}

/// A control plane machine as the distribution sees it.
#[derive(Clone, Debug)]
pub struct ControlPlaneMachine {
    /// The Machine.
    pub machine: Arc<Machine>,
    /// Its addresses, from the Machine's status or, before that, the infrastructure machine's.
    pub addresses: Vec<MachineAddress>,
    /// Its bootstrap object as JSON, when it exists.
    pub bootstrap: Option<Arc<Value>>,
}

/// A bootstrap object that a new control plane machine is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapObject {
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// `spec`.
    pub spec: Value,
}

/// Health of one control plane machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineHealth {
    /// Name of the Machine.
    pub machine: String,
    /// It is a member of etcd; `None` when nobody could be asked.
    pub member: Option<bool>,
    /// It is a member that does not vote yet.
    pub learner: bool,
    /// The member is healthy; `None` when nobody could be asked.
    pub member_healthy: Option<bool>,
    /// The control plane components on it answer; `None` when nobody could be asked.
    pub components: Option<bool>,
    /// What is wrong, for people; empty when nothing is.
    pub message: String,
}

/// What the distribution sees of the whole control plane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlPlaneHealth {
    /// Initialised: the cluster's etcd was begun, once.
    pub initialized: bool,
    /// etcd has quorum; `None` when nobody could be asked.
    pub etcd_healthy: Option<bool>,
    /// Health of each machine of the context, in its order.
    pub machines: Vec<MachineHealth>,
    /// Members of etcd that belong to no machine.
    pub foreign_members: Vec<String>,
    /// Status fields of the provider's own.
    pub status: StatusFields,
}

/// A control plane provider. See the [module](super) for what holds for every method.
#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// The kind that `Cluster.spec.controlPlaneRef` names.
    type ControlPlane: ProviderKind;

    /// What it can do beyond the minimum.
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    /// No cloud controller sets `Node.spec.providerID` in clusters of this distribution: the SDK
    /// does it, for the Node whose system UUID or addresses are the machine's.
    fn sdk_sets_node_provider_id(&self) -> bool {
        false
    }

    /// The finalizer on the provider's objects; `<kind>.<group>` unless said otherwise.
    fn finalizer(&self) -> Option<String> {
        None
    }

    /// etcd runs on the machines. False where it runs elsewhere: then nobody leaves it.
    fn etcd_managed(&self) -> bool {
        true
    }

    /// What the object asks for. Pure.
    ///
    /// # Errors
    /// Invalid, naming the field.
    fn desired(
        &self,
        control_plane: &Self::ControlPlane,
    ) -> Result<DesiredControlPlane, ProviderError>;

    /// The bootstrap object that the next machine is made with; `first` when no machine exists.
    /// Pure: machines made from equal answers are alike.
    ///
    /// # Errors
    /// Invalid, naming the field.
    fn bootstrap_object(
        &self,
        control_plane: &Self::ControlPlane,
        first: bool,
    ) -> Result<BootstrapObject, ProviderError>;

    /// Whether a machine's bootstrap object still is what the control plane asks for.
    ///
    /// The default asks whether its spec holds everything of either answer of
    /// [`bootstrap_object`](Self::bootstrap_object). What it holds beside that, because the API
    /// server defaulted it or somebody set it, is no reason to replace a machine: the next one
    /// would get it too, for ever. A provider whose control plane can ask for less than before
    /// compares the fields that it knows.
    fn bootstrap_current(&self, control_plane: &Self::ControlPlane, bootstrap: &Value) -> bool {
        [true, false].into_iter().any(|first| {
            self.bootstrap_object(control_plane, first)
                .is_ok_and(|wanted| holds(&bootstrap["spec"], &wanted.spec))
        })
    }

    /// What must exist before the first machine: certificates, secrets.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn prepare(
        &self,
        cx: &ControlPlaneContext<Self::ControlPlane>,
    ) -> Result<Progress<()>, ProviderError>;

    /// Begins the cluster on `first`, exactly once for its life: etcd of one member. Called
    /// until it is ready; a call that finds the cluster begun verifies it and is ready.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn initialize(
        &self,
        cx: &ControlPlaneContext<Self::ControlPlane>,
        first: &ControlPlaneMachine,
    ) -> Result<Progress<()>, ProviderError>;

    /// Asks the machines what is: membership, health. Never changes anything. A machine that
    /// does not answer is unknown, not an error.
    ///
    /// # Errors
    /// Only where nothing at all can be said.
    async fn inspect(
        &self,
        cx: &ControlPlaneContext<Self::ControlPlane>,
    ) -> Result<ControlPlaneHealth, ProviderError>;

    /// Takes a machine out of etcd, so that it can be deleted; ready when it is no member any
    /// more, also when it is dead. Never called for the last machine, unless the whole control
    /// plane goes.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn prepare_removal(
        &self,
        cx: &ControlPlaneContext<Self::ControlPlane>,
        leaving: &ControlPlaneMachine,
    ) -> Result<Progress<()>, ProviderError>;

    /// Takes a member out of etcd that belongs to no machine, one of
    /// [`ControlPlaneHealth::foreign_members`]. Ready when it is no member any more.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn remove_member(
        &self,
        cx: &ControlPlaneContext<Self::ControlPlane>,
        member: &str,
    ) -> Result<Progress<()>, ProviderError>;

    /// The kubeconfig of the workload cluster with a client certificate that is good for a while.
    /// Called once initialised, and whenever the stored one (`current`) may need renewal; the
    /// answer `None` says that `current` is still good.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn kubeconfig(
        &self,
        cx: &ControlPlaneContext<Self::ControlPlane>,
        current: Option<&SecretString>,
    ) -> Result<Progress<Option<SecretString>>, ProviderError>;
}

/// Whether a document holds everything that another one asks for. Lists are taken whole.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            let found = found.get(key).unwrap_or(&Value::Null);
            holds(found, wanted)
        }),
        // An absent object holds an empty one.
        (Value::Null, Value::Object(wanted)) => wanted.values().all(Value::is_null),
        (found, wanted) => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bootstrap_object_may_hold_more_than_is_asked_for_but_nothing_else() {
        let wanted = json!({ "a": { "b": 1 }, "list": [1, 2] });
        assert!(holds(&wanted, &wanted));
        assert!(holds(
            &json!({ "a": { "b": 1, "zzz": 1 }, "list": [1, 2], "zzz": 1 }),
            &wanted
        ));
        assert!(!holds(&json!({ "a": { "b": 2 }, "list": [1, 2] }), &wanted));
        assert!(!holds(
            &json!({ "a": { "b": 1 }, "list": [1, 2, 3] }),
            &wanted
        ));
        assert!(!holds(&json!({ "list": [1, 2] }), &wanted));
        assert!(holds(&Value::Null, &json!({})));
    }
}
