//! The reference infrastructure, as slow, failing and lying as the faults say, with an address of a
//! pool for each machine.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::json;

use super::{Mutant, POOL, world::World};
use crate::{
    api::{
        ContractVersionedObjectReference, InClusterIPPool, MachineAddress, MachineAddressType,
        labels,
    },
    provider::{
        AddressRequest, Capabilities, ClusterContext, ClusterFacts, Infrastructure, MachineContext,
        MachineFacts, Progress, ProviderError, Recorded, StatusFields,
    },
    ready,
    runtime::ObjectKey,
    testing::{
        faults::Fault,
        reference::{
            Boot, Datacenter, ReferenceCluster, ReferenceIdentity, ReferenceInfrastructure,
            ReferenceMachine,
        },
    },
};

/// A machine that is ready is said not to be for at most so long at once.
const LATE: Duration = Duration::from_secs(10);

pub(super) struct SimulatedInfrastructure {
    pub(super) inner: ReferenceInfrastructure,
    pub(super) datacenter: Datacenter,
    pub(super) world: Arc<World>,
    pub(super) who: Arc<str>,
    pub(super) mutant: Option<Mutant>,
}

type Machine = MachineContext<ReferenceCluster, ReferenceMachine>;

impl SimulatedInfrastructure {
    /// The planted defect: the machine is made while its identity is known to nobody else.
    fn make_unrecorded(
        &self,
        cx: &Machine,
        identity: &ReferenceIdentity,
    ) -> Result<(), ProviderError> {
        let metadata = &cx.cluster.metadata;
        let cluster = ObjectKey::new(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        );
        let machine = cx.machine.as_ref();
        let data = json!({ "cluster": cluster.to_string() }).to_string();
        self.datacenter.create(Boot {
            identity,
            name: machine
                .and_then(|machine| machine.metadata.name.clone())
                .unwrap_or_default(),
            cluster,
            control_plane: cx
                .infrastructure
                .metadata
                .labels
                .as_ref()
                .is_some_and(|found| found.contains_key(labels::CONTROL_PLANE)),
            version: machine
                .and_then(|machine| machine.spec.version.clone())
                .unwrap_or_default(),
            data: data.as_bytes(),
        })
    }
}

#[async_trait]
impl Infrastructure for SimulatedInfrastructure {
    type Cluster = ReferenceCluster;
    type Machine = ReferenceMachine;
    type Identity = ReferenceIdentity;

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn slots(&self, identity: &ReferenceIdentity) -> Vec<(String, String)> {
        self.inner.slots(identity)
    }

    async fn ensure_cluster(
        &self,
        cx: &ClusterContext<ReferenceCluster>,
    ) -> Result<Progress<ClusterFacts>, ProviderError> {
        self.world.call(&self.who, "ensure_cluster").await?;
        self.inner.ensure_cluster(cx).await
    }

    async fn destroy_cluster(
        &self,
        cx: &ClusterContext<ReferenceCluster>,
    ) -> Result<Progress<()>, ProviderError> {
        self.world.call(&self.who, "destroy_cluster").await?;
        self.inner.destroy_cluster(cx).await
    }

    async fn reserve(&self, cx: &Machine) -> Result<Progress<ReferenceIdentity>, ProviderError> {
        self.world.call(&self.who, "reserve").await?;
        let identity = ready!(self.inner.reserve(cx).await?);
        if self.mutant == Some(Mutant::IdentityAfterCreate) {
            self.make_unrecorded(cx, &identity)?;
        }
        self.world.answer(&self.who, "reserve").await?;
        Ok(Progress::Ready(identity))
    }

    async fn ensure(
        &self,
        cx: &Machine,
        recorded: &Recorded<ReferenceIdentity>,
    ) -> Result<Progress<MachineFacts>, ProviderError> {
        self.world.call(&self.who, "ensure").await?;
        let pool = ContractVersionedObjectReference {
            api_group: InClusterIPPool::KIND.group.to_owned(),
            kind: InClusterIPPool::KIND.kind.to_owned(),
            name: POOL.to_owned(),
        };
        let name = cx.infrastructure.metadata.name.clone();
        let request = AddressRequest::new(name.unwrap_or_default(), pool);
        let address = ready!(cx.context.addresses().claim(request).await?);
        let mut facts = ready!(self.inner.ensure(cx, recorded).await?);
        match self.world.answer(&self.who, "ensure").await? {
            Some(Fault::ProviderLateReady) => {
                let late = self.world.faults.within(LATE);
                return Ok(
                    Progress::waiting("the machine", "Starting", "Not ready yet, it says")
                        .after(late),
                );
            }
            Some(Fault::MachineLost) => {
                let control_plane = cx
                    .infrastructure
                    .metadata
                    .labels
                    .as_ref()
                    .is_some_and(|found| found.contains_key(labels::CONTROL_PLANE));
                if !control_plane {
                    self.world
                        .note(Fault::MachineLost, &recorded.identity.to_string());
                    self.datacenter.lose(recorded.identity.number)?;
                }
            }
            _ => {}
        }
        facts.addresses.push(MachineAddress {
            type_: MachineAddressType::ExternalIp,
            address: address.address.to_string(),
        });
        Ok(Progress::Ready(facts))
    }

    async fn destroy(
        &self,
        cx: &Machine,
        recorded: &Recorded<ReferenceIdentity>,
    ) -> Result<Progress<()>, ProviderError> {
        let number = recorded.identity.number;
        self.world.call(&self.who, "destroy").await?;
        let takes = self.world.dying(number);
        if !takes.is_zero() {
            if self.mutant == Some(Mutant::FinalizerTooEarly) {
                return Ok(Progress::Ready(()));
            }
            return Ok(Progress::waiting(
                "the machine",
                "Deleting",
                "The machine is being removed",
            )
            .after(takes));
        }
        if self.mutant == Some(Mutant::NoIdentityCheck) {
            self.datacenter.destroy(&recorded.identity)?;
        } else {
            ready!(self.inner.destroy(cx, recorded).await?);
        }
        self.world.dead(number);
        self.world.answer(&self.who, "destroy").await?;
        Ok(Progress::Ready(()))
    }

    fn read_identity(
        &self,
        machine: &ReferenceMachine,
    ) -> Result<Option<ReferenceIdentity>, ProviderError> {
        self.inner.read_identity(machine)
    }

    fn write_identity(
        &self,
        identity: &ReferenceIdentity,
    ) -> Result<(StatusFields, StatusFields), ProviderError> {
        self.inner.write_identity(identity)
    }
}
