//! The infrastructure provider: ProxmoxClusters and ProxmoxMachines on Proxmox VE.
//!
//! A virtual machine's way: its node and template are chosen, its number and UUID are written down, it is cloned,
//! configured in one call, given its NoCloud image, started, and published once its guest agent answers. Each step is
//! derived from what is, so a call that is repeated, or a controller that starts anew, goes on where things are; what
//! the Go provider left half done is taken over in the same way. What is remembered between calls only saves calls.

mod addresses;
mod cluster;
mod configure;
mod credentials;
mod desired;
mod destroy;
mod ensure;
mod errors;
mod guest;
mod identity;
mod inventory;
mod network;
mod observe;
mod preflight;
mod reserve;
mod session;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use capi_core::provider::{
    Capabilities, ClusterContext, ClusterFacts, Context, Infrastructure, MachineContext,
    MachineFacts, Progress, ProviderError, Recorded, StatusFields,
};
use capi_core::ready;

pub use credentials::{Connector, Credentials, InvalidCredentials};
pub use desired::ConfigError;
pub use identity::ProxmoxIdentity;
pub use inventory::{Belonging, inventory, remove};
pub use network::{DeviceAddress, GuestFamily, Interface, NetworkError, meta_data, network_config};
pub use preflight::{Finding, MachineGroup, grants, preflight};

use self::session::{LostNumbers, Session};
use crate::api::{ProxmoxCluster, ProxmoxMachine};

/// Reasons of conditions, as CAPMOX has them.
mod reasons {
    pub(super) const CLONING: &str = "Cloning";
    pub(super) const CLONING_FAILED: &str = "CloningFailed";
    pub(super) const CREDENTIALS_NOT_FOUND: &str = "CredentialsNotFound";
    pub(super) const DELETING: &str = "Deleting";
    pub(super) const DELETION_FAILED: &str = "DeletionFailed";
    pub(super) const MISSING_ENDPOINT: &str = "MissingControlPlaneEndpoint";
    pub(super) const POWERING_ON_FAILED: &str = "PoweringOnFailed";
    pub(super) const PROVISION_FAILED: &str = "VMProvisionFailed";
    pub(super) const UNREACHABLE: &str = "ProxmoxUnreachable";
    pub(super) const WAITING_FOR_ADDRESSES: &str = "WaitingForStaticIPAllocation";
    pub(super) const WAITING_FOR_BOOTSTRAP: &str = "WaitingForBootstrapData";
    pub(super) const WAITING_FOR_CLOUD_INIT: &str = "WaitingForCloudInit";
    pub(super) const WAITING_FOR_DISK: &str = "WaitingForDiskReconciliation";
    pub(super) const WAITING_FOR_IMAGE: &str = "WaitingForBootstrapDataReconciliation";
    pub(super) const WAITING_FOR_POWER_UP: &str = "WaitingForVMPowerUp";
    /// Not known to CAPMOX, which gives up instead.
    pub(super) const WAITING_FOR_PLACEMENT: &str = "WaitingForPlacement";
    /// Not known to CAPMOX, which does not look.
    pub(super) const STOPPED: &str = "VirtualMachineStopped";
    /// Not known to CAPMOX, which does not look.
    pub(super) const GONE: &str = "VirtualMachineGone";
    /// Not known to CAPMOX, which destroys what it finds under the number.
    pub(super) const FOREIGN: &str = "ForeignVirtualMachine";
}

/// The provider. Clones share everything.
#[derive(Clone)]
pub struct ProxmoxProvider {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Connector,
    default_credentials: Option<Credentials>,
    registry: Mutex<Registry>,
    lost: Arc<LostNumbers>,
}

#[derive(Default)]
struct Registry {
    sessions: Vec<Arc<Session>>,
    /// By namespace and name of the ProxmoxCluster, so that machines can be deleted after it.
    by_cluster: HashMap<(String, String), Arc<Session>>,
}

impl fmt::Debug for ProxmoxProvider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProxmoxProvider")
            .field("default_credentials", &self.inner.default_credentials)
            .finish_non_exhaustive()
    }
}

impl Default for ProxmoxProvider {
    fn default() -> Self {
        Self::new()
    }
}

impl ProxmoxProvider {
    /// A provider that takes each cluster's credentials from its `credentialsRef`.
    #[must_use]
    pub fn new() -> Self {
        Self::from_inner(Inner {
            connector: Arc::new(Credentials::client),
            default_credentials: None,
            registry: Mutex::default(),
            lost: Arc::default(),
        })
    }

    fn from_inner(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner {
            connector: Arc::clone(&self.inner.connector),
            default_credentials: self.inner.default_credentials.clone(),
            registry: Mutex::default(),
            lost: Arc::default(),
        };
        change(&mut inner);
        Self::from_inner(inner)
    }

    /// Credentials for clusters without a `credentialsRef`. Unlike CAPMOX, a `credentialsRef` wins over them.
    #[must_use]
    pub fn default_credentials(self, credentials: Credentials) -> Self {
        self.with(|inner| inner.default_credentials = Some(credentials))
    }

    /// Makes clients by `connector` instead of HTTPS.
    #[must_use]
    pub fn connector(self, connector: Connector) -> Self {
        self.with(|inner| inner.connector = connector)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.inner
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The datacenter of a cluster. Without the object, what was last known of it.
    async fn session(
        &self,
        context: &Context,
        namespace: &str,
        name: &str,
        object: Option<&ProxmoxCluster>,
    ) -> Result<Progress<Arc<Session>>, ProviderError> {
        let key = (namespace.to_owned(), name.to_owned());
        let reference = object.and_then(|object| object.spec.credentials_ref.as_ref());
        let credentials = match reference {
            Some(reference) => {
                let secret_namespace = reference
                    .namespace
                    .as_deref()
                    .filter(|text| !text.is_empty())
                    .unwrap_or(namespace);
                match context
                    .secrets()
                    .get(secret_namespace, &reference.name)
                    .await?
                {
                    Some(secret) => Credentials::from_secret(&secret).map_err(|error| {
                        ProviderError::invalid(
                            reasons::CREDENTIALS_NOT_FOUND,
                            "spec.credentialsRef: the credentials cannot be used",
                        )
                        .with_source(error)
                    })?,
                    None => {
                        // A machine can be deleted after the credentials are gone, as long as we remember them.
                        if let Some(known) = self.registry().by_cluster.get(&key) {
                            return Ok(Progress::Ready(Arc::clone(known)));
                        }
                        let on = format!("Secret {secret_namespace}/{}", reference.name);
                        let message = format!(
                            "spec.credentialsRef names {on}, which does not exist; create it with the keys url, token and secret"
                        );
                        return Ok(Progress::waiting(
                            on,
                            reasons::CREDENTIALS_NOT_FOUND,
                            message,
                        ));
                    }
                }
            }
            None => {
                if let Some(known) = self
                    .registry()
                    .by_cluster
                    .get(&key)
                    .filter(|_| object.is_none())
                {
                    return Ok(Progress::Ready(Arc::clone(known)));
                }
                match &self.inner.default_credentials {
                    Some(credentials) => credentials.clone(),
                    None if object.is_none() => {
                        let message = format!(
                            "ProxmoxCluster {namespace}/{name} is gone, and with it the way to its datacenter"
                        );
                        return Ok(Progress::waiting(
                            format!("ProxmoxCluster {namespace}/{name}"),
                            reasons::CREDENTIALS_NOT_FOUND,
                            message,
                        ));
                    }
                    None => {
                        return Err(ProviderError::invalid(
                            reasons::CREDENTIALS_NOT_FOUND,
                            "spec.credentialsRef is missing, and the provider has no default credentials",
                        ));
                    }
                }
            }
        };
        self.open(context, key, credentials).map(Progress::Ready)
    }

    fn open(
        &self,
        context: &Context,
        key: (String, String),
        credentials: Credentials,
    ) -> Result<Arc<Session>, ProviderError> {
        let mut registry = self.registry();
        let found = registry
            .sessions
            .iter()
            .find(|session| session.credentials.same(&credentials))
            .cloned();
        let session = match found {
            Some(session) => session,
            None => {
                let client = (self.inner.connector)(&credentials, context.clock().clone())
                    .map_err(|error| {
                        ProviderError::invalid(
                            reasons::CREDENTIALS_NOT_FOUND,
                            "the credentials cannot be used",
                        )
                        .with_source(error)
                    })?;
                Arc::new(Session::new(
                    client,
                    credentials,
                    Arc::clone(&self.inner.lost),
                ))
            }
        };
        registry.by_cluster.insert(key, Arc::clone(&session));
        // What no cluster uses any more (rotated credentials) goes, and its connections with it.
        let used: Vec<Arc<Session>> = registry.by_cluster.values().cloned().collect();
        registry
            .sessions
            .retain(|known| used.iter().any(|used| Arc::ptr_eq(used, known)));
        if !registry
            .sessions
            .iter()
            .any(|known| Arc::ptr_eq(known, &session))
        {
            registry.sessions.push(Arc::clone(&session));
        }
        Ok(session)
    }

    async fn machine_session(
        &self,
        cx: &MachineContext<ProxmoxCluster, ProxmoxMachine>,
    ) -> Result<Progress<Arc<Session>>, ProviderError> {
        let namespace = cx
            .infrastructure
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default();
        let own = cx
            .infrastructure_cluster
            .as_ref()
            .and_then(|cluster| cluster.metadata.name.as_deref());
        let referenced = cx
            .cluster
            .spec
            .infrastructure_ref
            .as_ref()
            .map(|reference| reference.name.as_str());
        let name = own.or(referenced).unwrap_or_default();
        self.session(
            &cx.context,
            namespace,
            name,
            cx.infrastructure_cluster.as_deref(),
        )
        .await
    }
}

/// Conditions beside `Ready`, as CAPMOX has them.
mod conditions {
    pub(super) const CLUSTER: &str = "ProxmoxAvailable";
    pub(super) const MACHINE: &str = "VirtualMachineProvisioned";
}

/// What the steps of a machine share.
type MachineCx = MachineContext<ProxmoxCluster, ProxmoxMachine>;

#[async_trait]
impl Infrastructure for ProxmoxProvider {
    type Cluster = ProxmoxCluster;
    type Machine = ProxmoxMachine;
    type Identity = ProxmoxIdentity;

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
            .with_failure_domains()
            .with_capacity()
            .with_adopt()
    }

    fn cluster_condition(&self) -> Option<&'static str> {
        Some(conditions::CLUSTER)
    }

    fn machine_condition(&self) -> Option<&'static str> {
        Some(conditions::MACHINE)
    }

    fn machine_labels(&self, machine: &ProxmoxMachine) -> BTreeMap<String, String> {
        let zone = addresses::zone(machine).to_owned();
        BTreeMap::from([(cluster::ZONE_LABEL.to_owned(), zone)])
    }

    fn slots(&self, identity: &ProxmoxIdentity) -> Vec<(String, String)> {
        vec![(
            reserve::ANY_DATACENTER.to_owned(),
            identity.vmid.to_string(),
        )]
    }

    async fn ensure_cluster(
        &self,
        cx: &ClusterContext<ProxmoxCluster>,
    ) -> Result<Progress<ClusterFacts>, ProviderError> {
        cluster::ensure(self, cx).await
    }

    async fn destroy_cluster(
        &self,
        cx: &ClusterContext<ProxmoxCluster>,
    ) -> Result<Progress<()>, ProviderError> {
        let metadata = &cx.infrastructure.metadata;
        let key = (
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        );
        self.registry().by_cluster.remove(&key);
        // Pools and their addresses are owned by the object, and go with it.
        Ok(Progress::Ready(()))
    }

    async fn reserve(&self, cx: &MachineCx) -> Result<Progress<ProxmoxIdentity>, ProviderError> {
        let session = ready!(self.machine_session(cx).await?);
        reserve::reserve(&session, cx).await
    }

    async fn ensure(
        &self,
        cx: &MachineCx,
        recorded: &Recorded<ProxmoxIdentity>,
    ) -> Result<Progress<MachineFacts>, ProviderError> {
        let session = ready!(self.machine_session(cx).await?);
        ensure::ensure(&session, cx, recorded).await
    }

    async fn destroy(
        &self,
        cx: &MachineCx,
        recorded: &Recorded<ProxmoxIdentity>,
    ) -> Result<Progress<()>, ProviderError> {
        let session = ready!(self.machine_session(cx).await?);
        destroy::destroy(&session, cx, &recorded.identity).await
    }

    fn read_identity(
        &self,
        machine: &ProxmoxMachine,
    ) -> Result<Option<ProxmoxIdentity>, ProviderError> {
        let found = identity::read(machine)?;
        Ok(found.filter(|identity| !self.inner.lost.has(&identity.uuid, identity.vmid)))
    }

    fn write_identity(
        &self,
        identity: &ProxmoxIdentity,
    ) -> Result<(StatusFields, StatusFields), ProviderError> {
        Ok(identity::write(identity))
    }
}
