//! What a provider implements: [`Infrastructure`], [`Bootstrap`], [`ControlPlane`], [`Ipam`].
//!
//! A provider only speaks to its machine API. The SDK does finalizers, pause, owner references,
//! labels, conditions, status, events, identity, requeue, secrets and the order of deletion; it
//! calls a provider with the desired object, the owner chain and what it recorded, and turns the
//! [`Progress`] or [`ProviderError`] that comes back into all of these.
//!
//! The rules that hold for every method of every trait:
//!
//! * **Level based and idempotent.** A method is called any number of times with the same
//!   arguments, also after a crash between any two instructions. It looks at what is, and does
//!   what is missing.
//! * **Cancel safe.** Dropping its future at any await leaves nothing that a later call cannot
//!   find and finish.
//! * **Identity before effect.** [`Infrastructure::reserve`] chooses an identity and changes
//!   nothing outside; the SDK writes it down; only then come `ensure` and `destroy`, which take
//!   the [`Recorded`] identity. After a crash the same identity is adopted, never a second made.
//! * **Delete with proof.** Nothing external is destroyed unless its identity matches the
//!   recorded one in id *and* in unique mark. Not found is success; an unknown owner is
//!   [`refused`](ProviderError::refused).

mod bootstrap;
mod capabilities;
mod context;
mod contract;
mod control_plane;
mod error;
mod infrastructure;
mod ipam;
mod progress;

pub use bootstrap::{Bootstrap, BootstrapContext, BootstrapData, BootstrapRole};
pub use capabilities::Capabilities;
pub use context::{
    AddressFacts, AddressRequest, Addresses, Context, NamedSecret, Objects, SecretRequest, Secrets,
    Slots, Waker,
};
pub use contract::{
    InfraClusterSpec, InfraClusterStatus, InfraMachineSpec, InfraMachineStatus, Initialization,
    contract_labels,
};
pub use control_plane::{
    BootstrapObject, ControlPlane, ControlPlaneContext, ControlPlaneHealth, ControlPlaneMachine,
    DesiredControlPlane, MachineHealth,
};
pub use error::{ErrorClass, ProviderError, with_causes};
pub use infrastructure::{
    ClusterContext, ClusterFacts, Identity, Infrastructure, MachineContext, MachineFacts,
    PROVISIONED, Recorded,
};
pub use ipam::{Allocation, ClaimContext, Ipam, PoolUse};
pub use progress::{Again, Progress, Wait};

#[cfg(feature = "mock")]
pub use context::{MockAddresses, MockObjects, MockSecrets, MockSlots};

/// A kind that a provider brings: any type with kube's `Resource`, made by kube's derive or by
/// hand, that serde reads and writes.
pub trait ProviderKind:
    kube_core::Resource<DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + serde::Serialize
    + serde::de::DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<T> ProviderKind for T where
    T: kube_core::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Fields of a provider's own, by name, as they are merged into an object's `status`. Entries of
/// `conditions` (type, status, reason, message) join those that the SDK sets.
pub type StatusFields = serde_json::Map<String, serde_json::Value>;
