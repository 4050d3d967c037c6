//! Infrastructure: machines that are records.

use std::fmt;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{
    datacenter::{Boot, Datacenter, Found},
    kinds::{ReferenceCluster, ReferenceMachine},
};
use crate::{
    api::{ApiEndpoint, MachineAddress, MachineAddressType},
    provider::{
        Capabilities, ClusterContext, ClusterFacts, Identity, Infrastructure, MachineContext,
        MachineFacts, Progress, ProviderError, Recorded, StatusFields,
    },
    ready,
    runtime::ObjectKey,
};

/// A number to find the machine by, and the mark that proves it is the one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceIdentity {
    /// Unique among the machines that exist; used again after one is gone.
    pub number: u32,
    /// Unique for ever.
    pub mark: String,
}

impl Identity for ReferenceIdentity {
    fn provider_id(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ReferenceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reference://{}/{}", self.number, self.mark)
    }
}

impl ReferenceIdentity {
    fn parse(provider_id: &str) -> Option<Self> {
        let (number, mark) = provider_id.strip_prefix("reference://")?.split_once('/')?;
        Some(Self {
            number: number.parse().ok()?,
            mark: mark.to_owned(),
        })
    }
}

/// The infrastructure provider of the reference set.
#[derive(Clone, Debug)]
pub struct ReferenceInfrastructure(Datacenter);

impl ReferenceInfrastructure {
    /// A provider whose machines live in `datacenter`.
    #[must_use]
    pub fn new(datacenter: Datacenter) -> Self {
        Self(datacenter)
    }
}

#[async_trait]
impl Infrastructure for ReferenceInfrastructure {
    type Cluster = ReferenceCluster;
    type Machine = ReferenceMachine;
    type Identity = ReferenceIdentity;

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with_capacity()
    }

    fn slots(&self, identity: &ReferenceIdentity) -> Vec<(String, String)> {
        vec![("machine".to_owned(), identity.number.to_string())]
    }

    async fn ensure_cluster(
        &self,
        cx: &ClusterContext<ReferenceCluster>,
    ) -> Result<Progress<ClusterFacts>, ProviderError> {
        let stated = cx.infrastructure.spec.control_plane_endpoint.clone();
        // Nothing listens there: the connector knows the way.
        let own = ApiEndpoint {
            host: "127.0.0.1".to_owned(),
            port: 6443,
        };
        Ok(Progress::Ready(ClusterFacts {
            control_plane_endpoint: Some(stated.unwrap_or(own)),
            ..ClusterFacts::default()
        }))
    }

    async fn destroy_cluster(
        &self,
        cx: &ClusterContext<ReferenceCluster>,
    ) -> Result<Progress<()>, ProviderError> {
        self.0.forget_cluster(&cluster_key(&cx.cluster))?;
        Ok(Progress::Ready(()))
    }

    async fn reserve(
        &self,
        cx: &MachineContext<ReferenceCluster, ReferenceMachine>,
    ) -> Result<Progress<ReferenceIdentity>, ProviderError> {
        let Some(mark) = cx.infrastructure.metadata.uid.clone() else {
            return Err(ProviderError::invalid("NoUid", "the object has no uid yet"));
        };
        self.0.refresh()?;
        let slots = cx.context.slots();
        let take = |number: u32| slots.take("machine", &number.to_string());
        match self.0.choose(take) {
            Some(number) => Ok(Progress::Ready(ReferenceIdentity { number, mark })),
            None => Ok(Progress::waiting(
                "capacity",
                "NoCapacity",
                "The datacenter is full",
            )),
        }
    }

    async fn ensure(
        &self,
        cx: &MachineContext<ReferenceCluster, ReferenceMachine>,
        recorded: &Recorded<ReferenceIdentity>,
    ) -> Result<Progress<MachineFacts>, ProviderError> {
        let identity = &recorded.identity;
        self.0.call("ensure").await?;
        match self.0.find(identity) {
            Found::Ours => {}
            Found::Foreign => {
                return Err(ProviderError::refused(
                    "ForeignMachine",
                    format!("machine {} bears another mark", identity.number),
                ));
            }
            Found::Nothing if recorded.was_ready => {
                return Err(ProviderError::terminal(
                    "MachineVanished",
                    format!("machine {} was ready and is gone", identity.number),
                ));
            }
            Found::Nothing => {
                let (Some(machine), Some(data)) = (&cx.machine, &cx.bootstrap_data) else {
                    return Err(ProviderError::invalid("NoMachine", "there is no Machine"));
                };
                let control_plane =
                    machine.metadata.labels.as_ref().is_some_and(|labels| {
                        labels.contains_key(crate::api::labels::CONTROL_PLANE)
                    });
                self.0.create(Boot {
                    identity,
                    name: machine.metadata.name.clone().unwrap_or_default(),
                    cluster: cluster_key(&cx.cluster),
                    control_plane,
                    version: machine.spec.version.clone().unwrap_or_default(),
                    data: data.expose_secret(),
                })?;
            }
        }
        ready!(self.0.started(identity));
        self.0.register_node(identity).await?;
        Ok(Progress::Ready(MachineFacts {
            addresses: vec![MachineAddress {
                type_: MachineAddressType::InternalIp,
                address: address(identity.number),
            }],
            status: StatusFields::new(),
            ..MachineFacts::default()
        }))
    }

    async fn destroy(
        &self,
        _cx: &MachineContext<ReferenceCluster, ReferenceMachine>,
        recorded: &Recorded<ReferenceIdentity>,
    ) -> Result<Progress<()>, ProviderError> {
        self.0.call("destroy").await?;
        match self.0.find(&recorded.identity) {
            Found::Nothing => Ok(Progress::Ready(())),
            Found::Ours => {
                self.0.destroy(&recorded.identity)?;
                Ok(Progress::Ready(()))
            }
            // The number was given away: ours is gone, and that one is not ours to touch.
            Found::Foreign => Ok(Progress::Ready(())),
        }
    }

    fn read_identity(
        &self,
        machine: &ReferenceMachine,
    ) -> Result<Option<ReferenceIdentity>, ProviderError> {
        match &machine.spec.provider_id {
            None => Ok(None),
            Some(text) => ReferenceIdentity::parse(text).map(Some).ok_or_else(|| {
                ProviderError::invalid(
                    "InvalidProviderID",
                    format!("spec.providerID {text:?} is not reference://<number>/<mark>"),
                )
            }),
        }
    }

    fn write_identity(
        &self,
        _identity: &ReferenceIdentity,
    ) -> Result<(StatusFields, StatusFields), ProviderError> {
        // The providerID, which the SDK writes, says all.
        Ok((StatusFields::new(), StatusFields::new()))
    }
}

pub(super) fn cluster_key(cluster: &crate::api::Cluster) -> ObjectKey {
    let metadata = &cluster.metadata;
    ObjectKey::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// An address of the range that documentation may use; nothing is ever dialled there.
pub(super) fn address(number: u32) -> String {
    format!("198.51.{}.{}", (number >> 8) & 0xff, number & 0xff)
}
