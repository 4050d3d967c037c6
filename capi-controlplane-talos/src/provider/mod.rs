//! The control plane provider: what Talos does for the generic control plane of capi-core.
//!
//! It speaks to the machine API of each node directly, one connection a machine, and asks etcd
//! rather than counting: begun is what has etcd data, a member is who etcd says is one, and a
//! machine has left when the others no longer know it. Choosing machines, their order, quorum and
//! remediation are the generic planner's.

mod credentials;
mod desired;
mod initialize;
mod inspect;
mod kubeconfig;
mod nodes;
mod removal;

use async_trait::async_trait;
use capi_core::provider::{
    BootstrapObject, ControlPlane, ControlPlaneContext, ControlPlaneHealth, ControlPlaneMachine,
    DesiredControlPlane, Progress, ProviderError,
};
use secrecy::SecretString;
use serde_json::Value;

use crate::{
    api::TalosControlPlane,
    client::{ClientError, Connector, RetryClass},
};
use nodes::Nodes;

/// Finalizer of a `TalosControlPlane`, the same as that of the Go provider.
pub const TALOS_CONTROL_PLANE_FINALIZER: &str = "talos.controlplane.cluster.x-k8s.io";

/// The control plane provider for Talos Linux, on `TalosControlPlane`.
///
/// A value; it holds connections to the nodes it spoke to and nothing else.
pub struct TalosControlPlaneProvider {
    nodes: Nodes,
}

impl std::fmt::Debug for TalosControlPlaneProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TalosControlPlaneProvider")
    }
}

impl TalosControlPlaneProvider {
    /// A provider that reaches nodes through `connector`:
    /// [`TcpConnector`](crate::client::TcpConnector) unless something is in between.
    pub fn new(connector: impl Connector) -> Self {
        Self::with_connector(std::sync::Arc::new(connector))
    }

    /// The same, for a connector that is shared.
    #[must_use]
    pub fn with_connector(connector: std::sync::Arc<dyn Connector>) -> Self {
        Self {
            nodes: Nodes::new(connector),
        }
    }
}

/// A call's context.
type Cx = ControlPlaneContext<TalosControlPlane>;

#[async_trait]
impl ControlPlane for TalosControlPlaneProvider {
    type ControlPlane = TalosControlPlane;

    /// Talos never sets `Node.spec.providerID` by itself.
    fn sdk_sets_node_provider_id(&self) -> bool {
        true
    }

    fn finalizer(&self) -> Option<String> {
        Some(TALOS_CONTROL_PLANE_FINALIZER.to_owned())
    }

    fn desired(
        &self,
        control_plane: &TalosControlPlane,
    ) -> Result<DesiredControlPlane, ProviderError> {
        desired::desired(&control_plane.spec)
    }

    fn bootstrap_object(
        &self,
        control_plane: &TalosControlPlane,
        first: bool,
    ) -> Result<BootstrapObject, ProviderError> {
        desired::bootstrap_object(&control_plane.spec, first)
    }

    fn bootstrap_current(&self, control_plane: &TalosControlPlane, bootstrap: &Value) -> bool {
        desired::bootstrap_current(&control_plane.spec, bootstrap)
    }

    /// The bootstrap provider makes the secrets bundle with the first TalosConfig; nothing else
    /// is needed.
    async fn prepare(&self, _cx: &Cx) -> Result<Progress<()>, ProviderError> {
        Ok(Progress::Ready(()))
    }

    async fn initialize(
        &self,
        cx: &Cx,
        first: &ControlPlaneMachine,
    ) -> Result<Progress<()>, ProviderError> {
        initialize::initialize(&self.nodes, cx, first).await
    }

    async fn inspect(&self, cx: &Cx) -> Result<ControlPlaneHealth, ProviderError> {
        inspect::inspect(&self.nodes, cx).await
    }

    async fn prepare_removal(
        &self,
        cx: &Cx,
        leaving: &ControlPlaneMachine,
    ) -> Result<Progress<()>, ProviderError> {
        removal::prepare_removal(&self.nodes, cx, leaving).await
    }

    async fn remove_member(&self, cx: &Cx, member: &str) -> Result<Progress<()>, ProviderError> {
        removal::remove_member(&self.nodes, cx, member).await
    }

    async fn kubeconfig(
        &self,
        cx: &Cx,
        current: Option<&SecretString>,
    ) -> Result<Progress<Option<SecretString>>, ProviderError> {
        kubeconfig::kubeconfig(cx, current).await
    }
}

/// An error of the machine API as one of the provider.
fn provider_error(error: ClientError) -> ProviderError {
    let (reason, message) = ("TalosApiFailed", "the Talos API did not do what was asked");
    match error.class() {
        RetryClass::Denied => ProviderError::refused(
            "TalosCredentialsRefused",
            "the Talos API does not accept the cluster's credentials",
        ),
        RetryClass::Invalid => ProviderError::invalid(reason, message),
        _ => ProviderError::transient(reason, message),
    }
    .with_source(error)
}

/// The name of a machine.
fn name(machine: &ControlPlaneMachine) -> &str {
    machine.machine.metadata.name.as_deref().unwrap_or_default()
}
