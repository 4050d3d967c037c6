//! The trait of infrastructure providers: machines and what clusters of them share.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use async_trait::async_trait;
use secrecy::SecretSlice;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Capabilities, Context, Progress, ProviderError, ProviderKind, StatusFields};
use crate::api::{ApiEndpoint, Cluster, FailureDomain, Machine, MachineAddress};

/// Reason of a condition beside `Ready` that is true.
pub const PROVISIONED: &str = "Provisioned";

/// What names one machine outside, for ever: an id to find it by and a mark that proves it is
/// the one (a UUID), both chosen before it is made.
pub trait Identity:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The `providerID` that the machine's Node will show.
    fn provider_id(&self) -> String;
}

/// An identity that is written in the management cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<Id> {
    /// The identity.
    pub identity: Id,
    /// The machine was complete once. A machine that vanished after that is not made again:
    /// `ensure` answers [`terminal`](ProviderError::terminal).
    pub was_ready: bool,
}

/// A call about what the machines of a cluster share.
#[derive(Clone, Debug)]
pub struct ClusterContext<C> {
    /// Time, secrets, addresses, waker.
    pub context: Context,
    /// The Cluster.
    pub cluster: Arc<Cluster>,
    /// The provider's own object, as it is wanted.
    pub infrastructure: Arc<C>,
}

/// A call about one machine.
#[derive(Clone, Debug)]
pub struct MachineContext<C, M> {
    /// Time, secrets, addresses, waker.
    pub context: Context,
    /// The Cluster.
    pub cluster: Arc<Cluster>,
    /// The provider's cluster object. `None` only while deleting, when it is gone already, and
    /// where the Cluster has none.
    pub infrastructure_cluster: Option<Arc<C>>,
    /// The Machine. `None` only while deleting, when it is gone already.
    pub machine: Option<Arc<Machine>>,
    /// The provider's own object, as it is wanted.
    pub infrastructure: Arc<M>,
    /// What the machine boots with; there in `ensure`, absent in `reserve` and `destroy`.
    pub bootstrap_data: Option<SecretSlice<u8>>,
    /// Format of the data where the bootstrap provider says one (`cloud-config`, ...).
    pub bootstrap_format: Option<String>,
}

/// What is known of a cluster's infrastructure once it is ready.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterFacts {
    /// Where the workload cluster's API answers; `None` when the user, or the control plane
    /// provider, supplies it.
    pub control_plane_endpoint: Option<ApiEndpoint>,
    /// Failure domains that machines can be placed in.
    pub failure_domains: Vec<FailureDomain>,
    /// Status fields of the provider's own.
    pub status: StatusFields,
}

/// What is known of a machine once it is ready.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineFacts {
    /// Its addresses.
    pub addresses: Vec<MachineAddress>,
    /// Failure domain that it is in.
    pub failure_domain: Option<String>,
    /// May be taken away at any time.
    pub interruptible: bool,
    /// Status fields of the provider's own.
    pub status: StatusFields,
}

/// An infrastructure provider. See the [module](super) for what holds for every method.
#[async_trait]
pub trait Infrastructure: Send + Sync + 'static {
    /// The kind that `Cluster.spec.infrastructureRef` names.
    type Cluster: ProviderKind;
    /// The kind that `Machine.spec.infrastructureRef` names.
    type Machine: ProviderKind;
    /// What names one machine outside.
    type Identity: Identity;

    /// What it can do beyond the minimum.
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    /// The finalizer on the provider's cluster objects; `<kind>.<group>` unless said otherwise.
    fn cluster_finalizer(&self) -> Option<String> {
        None
    }

    /// The finalizer on the provider's machine objects; `<kind>.<group>` unless said otherwise.
    fn machine_finalizer(&self) -> Option<String> {
        None
    }

    /// Type of the condition beside `Ready` that says how far a cluster object is, for kinds that
    /// have one. It then bears the provider's reasons and messages, and [`PROVISIONED`] once all is
    /// well; `Ready` sums it up in Cluster API's words. Unless said otherwise `Ready` says it itself.
    fn cluster_condition(&self) -> Option<&'static str> {
        None
    }

    /// The same for machine objects.
    fn machine_condition(&self) -> Option<&'static str> {
        None
    }

    /// Labels of a machine object beside those of its owners. Written with the identity, in the
    /// same write; labels that are there already stay as they are.
    fn machine_labels(&self, machine: &Self::Machine) -> BTreeMap<String, String> {
        let _ = machine;
        BTreeMap::new()
    }

    /// The slots, as scope and slot, that a recorded identity holds: those that
    /// [`reserve`](Self::reserve) took for it.
    fn slots(&self, identity: &Self::Identity) -> Vec<(String, String)> {
        let _ = identity;
        Vec::new()
    }

    /// Brings up what the machines of the cluster share. Called before any machine of it, and
    /// again whenever something about it changes.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn ensure_cluster(
        &self,
        cx: &ClusterContext<Self::Cluster>,
    ) -> Result<Progress<ClusterFacts>, ProviderError>;

    /// Removes what `ensure_cluster` made. Called after the last machine is gone; ready when
    /// nothing is left.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn destroy_cluster(
        &self,
        cx: &ClusterContext<Self::Cluster>,
    ) -> Result<Progress<()>, ProviderError>;

    /// Chooses the identity of a machine that has none, and changes nothing outside. The answer
    /// is written down before [`ensure`](Self::ensure) is called; an answer that could not be
    /// written is forgotten, and the next call may choose another. Use
    /// [`Context::slots`] so that two machines that are reserved at once do not choose the same.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn reserve(
        &self,
        cx: &MachineContext<Self::Cluster, Self::Machine>,
    ) -> Result<Progress<Self::Identity>, ProviderError>;

    /// Brings up the machine of the recorded identity: makes it if it was never ready and does
    /// not exist, finishes what a call before began, and reports facts that changed.
    ///
    /// # Errors
    /// Terminal when a machine that was ready is gone; else see
    /// [`ErrorClass`](super::ErrorClass).
    async fn ensure(
        &self,
        cx: &MachineContext<Self::Cluster, Self::Machine>,
        recorded: &Recorded<Self::Identity>,
    ) -> Result<Progress<MachineFacts>, ProviderError>;

    /// Removes the machine of the recorded identity and all that belongs to it; ready when
    /// nothing is left, also when there never was anything.
    ///
    /// # Errors
    /// Refused when what is found under the id does not bear the mark; else see
    /// [`ErrorClass`](super::ErrorClass).
    async fn destroy(
        &self,
        cx: &MachineContext<Self::Cluster, Self::Machine>,
        recorded: &Recorded<Self::Identity>,
    ) -> Result<Progress<()>, ProviderError>;

    /// Reads the recorded identity from the object. The default reads `status.identity`, where
    /// [`InfraMachineStatus`](super::InfraMachineStatus) has it; a provider whose kind keeps it
    /// elsewhere overrides this and [`write_identity`](Self::write_identity).
    ///
    /// # Errors
    /// Invalid, when what is there is no identity.
    fn read_identity(
        &self,
        machine: &Self::Machine,
    ) -> Result<Option<Self::Identity>, ProviderError> {
        let object = serde_json::to_value(machine).map_err(unreadable)?;
        match object.pointer("/status/identity") {
            None | Some(Value::Null) => Ok(None),
            Some(found) => serde_json::from_value(found.clone())
                .map(Some)
                .map_err(unreadable),
        }
    }

    /// Where the identity is written: fields merged into `spec` and into `status` of the object
    /// (`spec.providerID` is the SDK's). Both are written before `ensure`; `spec` first, so the
    /// part in `spec` must be enough to find the machine by.
    ///
    /// # Errors
    /// Invalid, when the identity cannot be written as JSON.
    fn write_identity(
        &self,
        identity: &Self::Identity,
    ) -> Result<(StatusFields, StatusFields), ProviderError> {
        let value = serde_json::to_value(identity).map_err(unreadable)?;
        let mut status = StatusFields::new();
        status.insert("identity".to_owned(), value);
        Ok((StatusFields::new(), status))
    }
}

fn unreadable(error: serde_json::Error) -> ProviderError {
    ProviderError::invalid(
        "IdentityUnreadable",
        "the recorded identity cannot be read or written",
    )
    .with_source(error)
}
