//! Asking the nodes what is: membership and health.

use capi_core::{
    api::MachineAddressType,
    provider::{ControlPlaneHealth, ControlPlaneMachine, MachineHealth, Progress, ProviderError},
};
use futures::future::join_all;
use serde_json::{Map, json};

use super::{
    Cx, name,
    nodes::{ClusterNodes, Nodes, Unreachable},
};
use crate::{
    client::{EtcdMember, EtcdStatus, Health, Service, TalosClient},
    etcd::{MachineIdentity, Membership},
};

/// What a machine says of itself.
pub(super) struct Answers {
    pub(super) client: Option<TalosClient>,
    pub(super) services: Option<Vec<Service>>,
    /// `None` where it could not be asked or has no etcd that runs.
    pub(super) etcd: Option<EtcdStatus>,
    /// Why there is no answer.
    pub(super) failure: String,
}

impl Answers {
    fn silent(failure: String) -> Self {
        Self {
            client: None,
            services: None,
            etcd: None,
            failure,
        }
    }

    fn etcd_service(&self) -> Option<&Service> {
        self.services
            .as_ref()?
            .iter()
            .find(|service| service.id == "etcd")
    }
}

/// Asks every machine at once.
pub(super) async fn ask(
    nodes: &ClusterNodes<'_>,
    machines: &[ControlPlaneMachine],
) -> Vec<Answers> {
    join_all(machines.iter().map(|machine| ask_one(nodes, machine))).await
}

async fn ask_one(nodes: &ClusterNodes<'_>, machine: &ControlPlaneMachine) -> Answers {
    let client = match nodes.client(machine).await {
        Ok(client) => client,
        Err(unreachable @ (Unreachable::NoAddress | Unreachable::Failed(_))) => {
            return Answers::silent(unreachable.to_string());
        }
    };
    let (services, etcd) = futures::join!(client.services(), client.etcd_status());
    match services {
        Ok(services) => Answers {
            client: Some(client),
            services: Some(services),
            etcd: etcd.ok(),
            failure: String::new(),
        },
        Err(error) => Answers::silent(error.to_string()),
    }
}

/// The members as etcd agrees on them: those of the first machine that gets an answer with quorum.
pub(super) async fn members(answers: &[Answers]) -> Result<Vec<EtcdMember>, String> {
    let mut last = "no machine with a running etcd answers".to_owned();
    for answer in answers {
        let (Some(client), Some(_)) = (&answer.client, &answer.etcd) else {
            continue;
        };
        match client.etcd_members(false).await {
            Ok(members) => return Ok(members),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Who a machine may be in etcd.
pub(super) fn identity(machine: &ControlPlaneMachine, answers: &Answers) -> MachineIdentity {
    let mut names: Vec<String> = machine
        .addresses
        .iter()
        .filter(|address| address.type_ == MachineAddressType::Hostname)
        .map(|address| address.address.clone())
        .collect();
    names.extend(
        machine
            .machine
            .status
            .node_ref
            .as_ref()
            .map(|node| node.name.clone()),
    );
    if names.is_empty() {
        let infrastructure = machine.machine.spec.infrastructure_ref.name.clone();
        names.extend(
            [name(machine).to_owned(), infrastructure]
                .into_iter()
                .filter(|n| !n.is_empty()),
        );
    }
    MachineIdentity {
        names,
        member: answers.etcd.as_ref().map(|status| status.member_id),
    }
}

pub(super) async fn inspect(nodes: &Nodes, cx: &Cx) -> Result<ControlPlaneHealth, ProviderError> {
    let nodes = match nodes.of(cx).await? {
        Progress::Ready(nodes) => nodes,
        Progress::Waiting(wait) => return Ok(unknown(cx, &wait.message)),
    };
    let answers = ask(&nodes, &cx.machines).await;
    let asked_etcd = answers.iter().any(|answer| answer.etcd.is_some());
    let members = members(&answers).await;
    let identities: Vec<MachineIdentity> = cx
        .machines
        .iter()
        .zip(&answers)
        .map(|(machine, answers)| identity(machine, answers))
        .collect();
    let known = members.as_ref().ok();
    let membership = known.map(|members| Membership::of(members, &identities));
    let machines = cx
        .machines
        .iter()
        .zip(&answers)
        .enumerate()
        .map(|(index, (machine, answers))| {
            let member = membership.as_ref().map(|m| m.of[index].as_ref());
            health(name(machine), answers, member)
        })
        .collect();
    let initialized = known.is_some_and(|members| !members.is_empty()) || asked_etcd;
    let mut status = Map::new();
    if initialized {
        status.insert("bootstrapped".to_owned(), json!(true));
    }
    Ok(ControlPlaneHealth {
        initialized,
        etcd_healthy: match (&members, asked_etcd) {
            (Ok(_), _) => Some(true),
            (Err(_), true) => Some(false),
            (Err(_), false) => None,
        },
        machines,
        foreign_members: membership
            .map(|membership| membership.foreign.iter().map(foreign_name).collect())
            .unwrap_or_default(),
        status,
    })
}

/// A member that belongs to no machine, in words that [`removal`](super::removal) reads back.
fn foreign_name(member: &EtcdMember) -> String {
    format!("{}/{}", member.hostname, member.id)
}

fn unknown(cx: &Cx, message: &str) -> ControlPlaneHealth {
    let machines = cx.machines.iter().map(|machine| MachineHealth {
        machine: name(machine).to_owned(),
        message: message.to_owned(),
        ..MachineHealth::default()
    });
    ControlPlaneHealth {
        machines: machines.collect(),
        ..ControlPlaneHealth::default()
    }
}

/// `member`: `None` when etcd could not be asked.
fn health(machine: &str, answers: &Answers, member: Option<Option<&EtcdMember>>) -> MachineHealth {
    let mut messages = Vec::new();
    if !answers.failure.is_empty() {
        messages.push(answers.failure.clone());
    }
    let components = answers.services.as_ref().map(|services| {
        let ill = services
            .iter()
            .filter(|service| service.id != "etcd" && service.health == Health::Unhealthy);
        let before = messages.len();
        messages.extend(ill.map(|service| {
            format!(
                "service {} is unhealthy: {} {}",
                service.id, service.state, service.message
            )
        }));
        messages.len() == before
    });
    let etcd = answers.etcd_service();
    let runs = etcd.map(|service| service.works() && service.health == Health::Healthy);
    if let (Some(false), Some(service)) = (runs, etcd) {
        messages.push(format!("etcd is {}: {}", service.state, service.message));
    }
    let member_healthy = match (runs, &answers.etcd) {
        (Some(true), Some(status)) => {
            messages.extend(status.errors.iter().cloned());
            Some(status.errors.is_empty() && status.leader.is_some())
        }
        (Some(true), None) => None,
        (runs, _) => runs,
    };
    MachineHealth {
        machine: machine.to_owned(),
        member: member.map(|member| member.is_some()),
        learner: member.flatten().is_some_and(|member| member.is_learner),
        member_healthy,
        components,
        message: messages.join("; "),
    }
}
