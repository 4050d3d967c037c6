//! Control plane: a flag and a set of members, with the rules of etcd.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kube_core::Resource as _;
use secrecy::SecretString;
use serde_json::json;

use super::{
    datacenter::Datacenter,
    infrastructure::cluster_key,
    kinds::{ReferenceConfig, ReferenceControlPlane},
};
use crate::{
    provider::{
        BootstrapObject, ControlPlane, ControlPlaneContext, ControlPlaneHealth,
        ControlPlaneMachine, DesiredControlPlane, MachineHealth, Progress, ProviderError,
    },
    runtime::ResourceType,
};

/// The control plane provider of the reference set.
#[derive(Clone, Debug)]
pub struct ReferenceControlPlaneProvider(Datacenter);

impl ReferenceControlPlaneProvider {
    /// A provider whose machines live in `datacenter`.
    #[must_use]
    pub fn new(datacenter: Datacenter) -> Self {
        Self(datacenter)
    }
}

fn name(machine: &ControlPlaneMachine) -> String {
    machine.machine.metadata.name.clone().unwrap_or_default()
}

#[async_trait]
impl ControlPlane for ReferenceControlPlaneProvider {
    type ControlPlane = ReferenceControlPlane;

    fn desired(
        &self,
        control_plane: &ReferenceControlPlane,
    ) -> Result<DesiredControlPlane, ProviderError> {
        let spec = &control_plane.spec;
        if spec.version.is_empty() {
            return Err(ProviderError::invalid(
                "InvalidSpec",
                "spec.version is required",
            ));
        }
        Ok(DesiredControlPlane {
            replicas: Some(spec.replicas.unwrap_or(1)),
            version: spec.version.clone(),
            infrastructure_template: spec.machine_template.spec.infrastructure_ref.clone(),
            machine_labels: BTreeMap::new(),
            machine_annotations: BTreeMap::new(),
            surge: true,
            ..DesiredControlPlane::default()
        })
    }

    fn bootstrap_object(
        &self,
        _control_plane: &ReferenceControlPlane,
        _first: bool,
    ) -> Result<BootstrapObject, ProviderError> {
        let kind = ResourceType::from(ReferenceConfig::KIND);
        Ok(BootstrapObject {
            api_version: kind.api_version(),
            kind: ReferenceConfig::kind(&()).into_owned(),
            spec: json!({}),
        })
    }

    async fn prepare(
        &self,
        _cx: &ControlPlaneContext<ReferenceControlPlane>,
    ) -> Result<Progress<()>, ProviderError> {
        Ok(Progress::Ready(()))
    }

    async fn initialize(
        &self,
        cx: &ControlPlaneContext<ReferenceControlPlane>,
        first: &ControlPlaneMachine,
    ) -> Result<Progress<()>, ProviderError> {
        self.0.call("initialize").await?;
        let cluster = cluster_key(&cx.cluster);
        let name = name(first);
        if !self.0.is_running(&cluster, &name) {
            return Ok(Progress::waiting(
                format!("machine {name}"),
                "WaitingForMachine",
                format!("Waiting for machine {name} to start"),
            )
            .after(std::time::Duration::from_secs(1)));
        }
        self.0.initialize(&cluster, &name)?;
        Ok(Progress::Ready(()))
    }

    async fn inspect(
        &self,
        cx: &ControlPlaneContext<ReferenceControlPlane>,
    ) -> Result<ControlPlaneHealth, ProviderError> {
        self.0.call("inspect").await?;
        let cluster = cluster_key(&cx.cluster);
        let names: Vec<String> = cx.machines.iter().map(name).collect();
        let members = self.0.members(&cluster);
        let running = |name: &str| self.0.is_running(&cluster, name);
        let alive = members.iter().filter(|member| running(member)).count();
        Ok(ControlPlaneHealth {
            initialized: self.0.is_initialized(&cluster),
            etcd_healthy: Some(!members.is_empty() && alive > members.len() / 2),
            foreign_members: members
                .iter()
                .filter(|member| !names.contains(member))
                .cloned()
                .collect(),
            machines: names
                .iter()
                .map(|name| MachineHealth {
                    machine: name.clone(),
                    member: Some(members.contains(name)),
                    member_healthy: Some(running(name) && members.contains(name)),
                    components: Some(running(name)),
                    ..MachineHealth::default()
                })
                .collect(),
            status: serde_json::Map::new(),
        })
    }

    async fn prepare_removal(
        &self,
        cx: &ControlPlaneContext<ReferenceControlPlane>,
        leaving: &ControlPlaneMachine,
    ) -> Result<Progress<()>, ProviderError> {
        self.0.call("prepare_removal").await?;
        self.0.leave(&cluster_key(&cx.cluster), &name(leaving))?;
        Ok(Progress::Ready(()))
    }

    async fn remove_member(
        &self,
        cx: &ControlPlaneContext<ReferenceControlPlane>,
        member: &str,
    ) -> Result<Progress<()>, ProviderError> {
        self.0.call("remove_member").await?;
        self.0.leave(&cluster_key(&cx.cluster), member)?;
        Ok(Progress::Ready(()))
    }

    async fn kubeconfig(
        &self,
        cx: &ControlPlaneContext<ReferenceControlPlane>,
        current: Option<&SecretString>,
    ) -> Result<Progress<Option<SecretString>>, ProviderError> {
        if current.is_some() {
            return Ok(Progress::Ready(None));
        }
        let cluster = cluster_key(&cx.cluster);
        let name = &cluster.name;
        Ok(Progress::Ready(Some(SecretString::from(format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: https://127.0.0.1:6443\ncontexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}\nusers:\n- name: {name}\n  user: {{}}\ncurrent-context: {name}\n"
        )))))
    }
}
