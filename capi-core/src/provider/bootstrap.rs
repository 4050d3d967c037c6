//! The trait of bootstrap providers: what a machine boots with.

use std::sync::Arc;

use async_trait::async_trait;
use kube_core::Resource as _;
use secrecy::SecretSlice;
use serde_json::Value;

use super::{Capabilities, Context, Progress, ProviderError, ProviderKind, StatusFields};
use crate::api::{Cluster, Machine};

/// What a machine is to become when it boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BootstrapRole {
    /// A control plane machine. Whether it begins the control plane or joins it is the control
    /// plane provider's to say, in the bootstrap object.
    ControlPlane,
    /// A worker.
    Worker,
}

/// A call about one machine's bootstrap data.
#[derive(Clone, Debug)]
pub struct BootstrapContext<B> {
    /// Time, secrets, waker.
    pub context: Context,
    /// The Cluster.
    pub cluster: Arc<Cluster>,
    /// The Machine.
    pub machine: Arc<Machine>,
    /// The provider's own object, as it is wanted.
    pub config: Arc<B>,
    /// What the machine is to become.
    pub role: BootstrapRole,
    /// The infrastructure machine as JSON, when it exists: some data names its addresses.
    pub infrastructure: Option<Arc<Value>>,
    /// All control plane machines of the cluster, where this is one of them; else none.
    pub control_plane_machines: Vec<Arc<Machine>>,
}

/// What a machine boots with.
#[derive(Clone, Debug)]
pub struct BootstrapData {
    /// The data, as the machine gets it. The SDK writes it into the Secret that carries it.
    pub value: SecretSlice<u8>,
    /// Its format, where infrastructure providers need to know (`cloud-config`).
    pub format: Option<String>,
    /// Status fields of the provider's own.
    pub status: StatusFields,
}

/// A bootstrap provider. See the [module](super) for what holds for every method.
#[async_trait]
pub trait Bootstrap: Send + Sync + 'static {
    /// The kind that `Machine.spec.bootstrap.configRef` names.
    type Config: ProviderKind;

    /// What it can do beyond the minimum.
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    /// Workers get no data before the control plane is initialised. False where the data does not
    /// depend on it, so that workers boot meanwhile.
    fn workers_wait_for_control_plane(&self) -> bool {
        true
    }

    /// Finalizers that other providers of the kind set, to be taken away on deletion.
    fn foreign_finalizers(&self) -> &[&'static str] {
        &[]
    }

    /// Name of the Secret that carries the data: deterministic, since objects are moved between
    /// management clusters.
    fn secret_name(&self, cx: &BootstrapContext<Self::Config>) -> String {
        let name = cx.config.meta().name.clone().unwrap_or_default();
        format!("{name}-bootstrap-data")
    }

    /// The data that the machine boots with. Not called again once the Secret is written, unless
    /// the provider keeps other things current with [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn generate(
        &self,
        cx: &BootstrapContext<Self::Config>,
    ) -> Result<Progress<BootstrapData>, ProviderError>;

    /// Called whenever something changes after the data was written: keeps secondary secrets
    /// current. The data itself does not change.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn refresh(
        &self,
        cx: &BootstrapContext<Self::Config>,
    ) -> Result<Progress<()>, ProviderError> {
        let _ = cx;
        Ok(Progress::Ready(()))
    }
}
