//! Connections to the nodes of control planes, kept between calls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use capi_core::{
    api::MachineAddressType,
    provider::{ControlPlaneMachine, Progress, ProviderError},
};
use ring::digest::{SHA256, digest};
use secrecy::ExposeSecret as _;

use super::{Cx, credentials};
use crate::client::{ClientError, Connector, Credentials, Endpoint, Settings, TalosClient};

const CONNECT: Duration = Duration::from_secs(5);
const CALL: Duration = Duration::from_secs(5);
/// For leaving etcd, which a node tries for up to five minutes: what is not done by then is seen
/// in the members at the next look.
const LONG: Duration = Duration::from_secs(30);

/// A kept connection is good for the credentials it was made with.
struct Kept {
    client: TalosClient,
    credentials: [u8; 32],
}

/// Cluster (`namespace/name`) and endpoint.
type Key = (String, Endpoint);

pub(super) struct Nodes {
    connector: Arc<dyn Connector>,
    kept: Mutex<BTreeMap<Key, Kept>>,
}

/// Why a machine cannot be spoken to.
pub(super) enum Unreachable {
    /// It has no address yet.
    NoAddress,
    /// It has, but does not answer, or not to us.
    Failed(ClientError),
}

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAddress => f.write_str("the machine has no address yet"),
            Self::Failed(error) => {
                write!(f, "{error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
        }
    }
}

/// The nodes of one cluster, for one call of the provider.
pub(super) struct ClusterNodes<'a> {
    nodes: &'a Nodes,
    cluster: String,
    credentials: Credentials,
    fingerprint: [u8; 32],
    settings: Settings,
    endpoint_host: String,
}

impl Nodes {
    pub(super) fn new(connector: Arc<dyn Connector>) -> Self {
        Self {
            connector,
            kept: Mutex::default(),
        }
    }

    /// The nodes of the cluster at hand, once its credentials exist. Connections to machines that
    /// are gone are closed.
    pub(super) async fn of<'a>(
        &'a self,
        cx: &Cx,
    ) -> Result<Progress<ClusterNodes<'a>>, ProviderError> {
        let (credentials, text) = capi_core::ready!(credentials::credentials(cx).await?);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, text.expose_secret().as_bytes()).as_ref());
        let (namespace, name) = credentials::cluster(cx);
        let settings = Settings::with_connector(cx.context.clock().clone(), self.connector.clone())
            .connect_deadline(CONNECT)
            .deadline(CALL)
            .long_deadline(LONG);
        let nodes = ClusterNodes {
            nodes: self,
            cluster: format!("{namespace}/{name}"),
            credentials,
            fingerprint,
            settings,
            endpoint_host: cx.cluster.spec.control_plane_endpoint.host.clone(),
        };
        let wanted: Vec<Endpoint> = cx
            .machines
            .iter()
            .flat_map(|machine| nodes.endpoints(machine))
            .collect();
        self.lock().retain(|(cluster, endpoint), _| {
            *cluster != nodes.cluster || wanted.contains(endpoint)
        });
        Ok(Progress::Ready(nodes))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClusterNodes<'_> {
    /// Where a machine may be reached: internal addresses first. The cluster's endpoint, which may
    /// be a virtual address that moves between machines, only if there is no other.
    fn endpoints(&self, machine: &ControlPlaneMachine) -> Vec<Endpoint> {
        let of = |kind: MachineAddressType| {
            machine
                .addresses
                .iter()
                .filter(move |address| address.type_ == kind)
                .filter_map(|address| address.address.parse::<Endpoint>().ok())
        };
        let mut all: Vec<Endpoint> = of(MachineAddressType::InternalIp)
            .chain(of(MachineAddressType::ExternalIp))
            .collect();
        let own: Vec<Endpoint> = all
            .iter()
            .filter(|one| one.host() != self.endpoint_host)
            .cloned()
            .collect();
        if !own.is_empty() {
            all = own;
        }
        all
    }

    /// Whether the machine has an address at all.
    pub(super) fn has_address(&self, machine: &ControlPlaneMachine) -> bool {
        !self.endpoints(machine).is_empty()
    }

    /// A client of the machine's node: the kept one, or the first address that answers.
    pub(super) async fn client(
        &self,
        machine: &ControlPlaneMachine,
    ) -> Result<TalosClient, Unreachable> {
        let mut last = Unreachable::NoAddress;
        for endpoint in self.endpoints(machine) {
            let key = (self.cluster.clone(), endpoint.clone());
            if let Some(kept) = self.nodes.lock().get(&key)
                && kept.credentials == self.fingerprint
            {
                return Ok(kept.client.clone());
            }
            match TalosClient::connect(endpoint, &self.credentials, &self.settings).await {
                Ok(client) => {
                    let kept = Kept {
                        client: client.clone(),
                        credentials: self.fingerprint,
                    };
                    self.nodes.lock().insert(key, kept);
                    return Ok(client);
                }
                Err(error) => last = Unreachable::Failed(error),
            }
        }
        Err(last)
    }
}
