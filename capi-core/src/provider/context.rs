//! What a provider is given beside the objects: time, secrets, addresses, slots, a waker.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice};

use super::{Progress, ProviderError};
use crate::{api::ContractVersionedObjectReference, clock::Clock};

/// Asks for another call of the object that it was made for. Cheap to clone; calling it often,
/// or after the object is gone, does no harm.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// A waker that does nothing.
    #[must_use]
    pub fn noop() -> Self {
        Self::new(|| {})
    }

    /// Asks for a call.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

/// A Kubernetes Secret as providers see it. `Debug` shows the names of the keys only.
#[derive(Clone)]
pub struct NamedSecret {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `data`, decoded.
    pub data: BTreeMap<String, SecretSlice<u8>>,
}

impl NamedSecret {
    /// The bytes of one key. Whoever asks handles a secret: never log them.
    #[must_use]
    pub fn expose(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(|value| value.expose_secret())
    }
}

impl fmt::Debug for NamedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedSecret")
            .field("name", &self.name)
            .field("keys", &self.data.keys())
            .finish_non_exhaustive()
    }
}

/// A Secret to be written in the namespace of the object at hand. The SDK adds the cluster-name
/// label and an owner reference to the object (as its controller, unless `owned_by_cluster`).
#[derive(Clone)]
pub struct SecretRequest {
    /// `metadata.name`.
    pub name: String,
    /// `type`; `cluster.x-k8s.io/secret` where nothing else is the rule.
    pub kind: String,
    /// `data`, not encoded.
    pub data: BTreeMap<String, SecretSlice<u8>>,
    /// Owned by the Cluster rather than by the object at hand, so that it outlives it.
    pub owned_by_cluster: bool,
}

impl SecretRequest {
    /// A Secret of type `cluster.x-k8s.io/secret` with one key.
    pub fn new(name: impl Into<String>, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            kind: "cluster.x-k8s.io/secret".to_owned(),
            data: BTreeMap::new(),
            owned_by_cluster: false,
        }
        .with(key, value)
    }

    /// One more key.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        let value: Vec<u8> = value.into();
        self.data.insert(key.into(), SecretSlice::from(value));
        self
    }

    /// Owned by the Cluster instead of the object at hand.
    #[must_use]
    pub fn owned_by_cluster(mut self) -> Self {
        self.owned_by_cluster = true;
        self
    }
}

impl fmt::Debug for SecretRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRequest")
            .field("name", &self.name)
            .field("keys", &self.data.keys())
            .finish_non_exhaustive()
    }
}

/// Secrets of the management cluster. What was read is watched: its change is an event.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Reads a Secret of a namespace; `None` when it does not exist.
    ///
    /// # Errors
    /// Transient, when the API server does not answer.
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<NamedSecret>, ProviderError>;

    /// Makes the Secret unless one of that name exists, and returns what is stored: whoever was
    /// first, everybody goes on with the same. Idempotent.
    ///
    /// # Errors
    /// Transient, when the API server does not answer; refused, when the existing one belongs to
    /// another cluster.
    async fn create(&self, request: SecretRequest) -> Result<NamedSecret, ProviderError>;

    /// Makes the Secret, or gives the existing one this data. Nothing is written when the data
    /// is equal already. Idempotent.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    async fn put(&self, request: SecretRequest) -> Result<(), ProviderError>;
}

/// A claim of one address from a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRequest {
    /// Name of the IPAddressClaim: derived from the object's name and the device, never random.
    pub name: String,
    /// The pool.
    pub pool: ContractVersionedObjectReference,
    /// Labels of the claim, beside that of the cluster.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the claim.
    pub annotations: BTreeMap<String, String>,
}

impl AddressRequest {
    /// A claim without labels and annotations of its own.
    pub fn new(name: impl Into<String>, pool: ContractVersionedObjectReference) -> Self {
        Self {
            name: name.into(),
            pool,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// An address as the pool gave it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressFacts {
    /// The address, without prefix.
    pub address: std::net::IpAddr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// The gateway, when the pool has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<std::net::IpAddr>,
}

/// Address claims of the object at hand. Claims are owned by it and removed with it, after the
/// provider's `destroy` was ready.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Addresses: Send + Sync {
    /// Makes the claim unless it exists, and returns the address once it is given. Idempotent;
    /// the claim's change is an event.
    ///
    /// # Errors
    /// Transient, when the API server does not answer.
    async fn claim(&self, request: AddressRequest)
    -> Result<Progress<AddressFacts>, ProviderError>;

    /// Gives a claim of this object back; no effect when it does not exist.
    ///
    /// # Errors
    /// Transient, when the API server does not answer.
    async fn release(&self, name: &str) -> Result<Progress<()>, ProviderError>;
}

/// Further objects of the management cluster that a provider needs: pools, load balancers.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Objects: Send + Sync {
    /// Makes an object of a kind whose plural follows from its name, in the namespace of the
    /// object at hand and owned by it, or gives the existing one these fields. The SDK adds the
    /// cluster-name label and the owner reference. Nothing is written when the object has all of
    /// it already. Idempotent; fields that are not named stay as they are.
    ///
    /// # Errors
    /// Transient, when the API server does not answer; invalid, when it refuses the object.
    async fn ensure(&self, object: serde_json::Value) -> Result<(), ProviderError>;
}

/// Where there is no management cluster to write to.
struct NoObjects;

#[async_trait]
impl Objects for NoObjects {
    async fn ensure(&self, _object: serde_json::Value) -> Result<(), ProviderError> {
        Err(ProviderError::invalid(
            "NoManagementCluster",
            "this context cannot make objects",
        ))
    }
}

/// Slots that must not be taken twice while identities are being reserved: VM numbers, ports.
/// Held in this process by the object at hand until it is gone; recorded identities hold theirs
/// from the start.
#[cfg_attr(feature = "mock", mockall::automock)]
pub trait Slots: Send + Sync {
    /// Takes a slot of a scope for the object at hand. `true` when it holds it now (or did
    /// before); `false` when another object holds it.
    fn take(&self, scope: &str, slot: &str) -> bool;
    /// Gives a slot back, if the object at hand holds it.
    fn give_back(&self, scope: &str, slot: &str);
}

/// What every call of a provider is given beside the objects. A value; clones share the ports.
#[derive(Clone)]
pub struct Context {
    clock: Clock,
    deadline: Option<Timestamp>,
    waker: Waker,
    secrets: Arc<dyn Secrets>,
    addresses: Arc<dyn Addresses>,
    slots: Arc<dyn Slots>,
    objects: Arc<dyn Objects>,
}

impl Context {
    /// A context from its ports, without deadline, with a waker that does nothing and without a
    /// place for further objects.
    pub fn new(
        clock: Clock,
        secrets: Arc<dyn Secrets>,
        addresses: Arc<dyn Addresses>,
        slots: Arc<dyn Slots>,
    ) -> Self {
        Self {
            clock,
            deadline: None,
            waker: Waker::noop(),
            secrets,
            addresses,
            slots,
            objects: Arc::new(NoObjects),
        }
    }

    /// The same, with a place for further objects.
    #[must_use]
    pub fn with_objects(mut self, objects: Arc<dyn Objects>) -> Self {
        self.objects = objects;
        self
    }

    /// The same, with a waker.
    #[must_use]
    pub fn with_waker(mut self, waker: Waker) -> Self {
        self.waker = waker;
        self
    }

    /// The same, with the time after which the SDK drops the call.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Timestamp) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The time now. Providers have no other clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock, for waits within a call.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// When the SDK drops the call, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Asks for another call of this object; for tasks that go on after the call.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Secrets of the management cluster.
    #[must_use]
    pub fn secrets(&self) -> &dyn Secrets {
        &*self.secrets
    }

    /// Address claims of the object at hand.
    #[must_use]
    pub fn addresses(&self) -> &dyn Addresses {
        &*self.addresses
    }

    /// Further objects of the management cluster.
    #[must_use]
    pub fn objects(&self) -> &dyn Objects {
        &*self.objects
    }

    /// Slots that must not be taken twice.
    #[must_use]
    pub fn slots(&self) -> &dyn Slots {
        &*self.slots
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("clock", &self.clock)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
