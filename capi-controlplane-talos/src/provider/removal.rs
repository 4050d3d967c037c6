//! Taking a machine out of etcd before it goes, and members that belong to no machine.

use std::time::Duration;

use capi_core::{
    provider::{ControlPlaneMachine, Progress, ProviderError},
    ready,
};

use super::{
    Cx,
    inspect::{self, Answers},
    name,
    nodes::Nodes,
    provider_error,
};
use crate::{
    client::{EtcdMember, EtcdMemberId, RetryClass},
    etcd::{MachineIdentity, Membership, removal_keeps_quorum},
};

const AGAIN: Duration = Duration::from_secs(2);

fn waiting(on: &str, reason: &'static str, message: impl Into<String>) -> Progress<()> {
    Progress::waiting(on, reason, message).after(AGAIN)
}

fn deleting(machine: &ControlPlaneMachine) -> bool {
    machine.machine.metadata.deletion_timestamp.is_some()
}

pub(super) async fn prepare_removal(
    nodes: &Nodes,
    cx: &Cx,
    leaving: &ControlPlaneMachine,
) -> Result<Progress<()>, ProviderError> {
    // the whole control plane goes: there is nobody to leave etcd to
    if cx
        .machines
        .iter()
        .all(|machine| deleting(machine) || name(machine) == name(leaving))
    {
        return Ok(Progress::Ready(()));
    }
    let on = format!("Machine {}", name(leaving));
    let nodes = ready!(nodes.of(cx).await?);
    let answers = inspect::ask(&nodes, &cx.machines).await;
    let (own, others): (Vec<_>, Vec<_>) = cx
        .machines
        .iter()
        .zip(answers)
        .partition(|(machine, _)| name(machine) == name(leaving));
    let (others, mut answers): (Vec<_>, Vec<Answers>) = others.into_iter().unzip();
    let own = own.into_iter().next().map(|(_, answers)| answers);
    // the others are asked first: it is they who have to know that it is gone
    let mut members = inspect::members(&answers).await;
    if let (Err(_), Some(own)) = (&members, &own)
        && let (Some(client), Some(_)) = (&own.client, &own.etcd)
    {
        members = client
            .etcd_members(false)
            .await
            .map_err(|error| error.to_string());
    }
    let members = match members {
        Ok(members) => members,
        Err(message) => {
            return Ok(waiting(
                &on,
                "EtcdUnreachable",
                format!("Who is a member of etcd is not known: {message}"),
            ));
        }
    };
    let mut identities: Vec<MachineIdentity> = others
        .iter()
        .zip(&answers)
        .map(|(m, a)| inspect::identity(m, a))
        .collect();
    let silent = Answers {
        client: None,
        services: None,
        etcd: None,
        failure: String::new(),
    };
    identities.push(inspect::identity(leaving, own.as_ref().unwrap_or(&silent)));
    let membership = Membership::of(&members, &identities);
    let Some(Some(member)) = membership.of.last() else {
        return Ok(unless_starting(&on, &members));
    };
    if members.len() == 1 {
        return Ok(waiting(
            &on,
            "EtcdOnlyMember",
            "It is the only member of etcd: another one has to join before it can leave",
        ));
    }
    let living: Vec<EtcdMemberId> = answers
        .iter()
        .filter_map(|answer| Some(answer.etcd.as_ref()?.member_id))
        .collect();
    if !removal_keeps_quorum(&members, member.id, &living) {
        let message = format!(
            "etcd would lose its quorum without {}: {} of the other members answer",
            member.hostname,
            living.len()
        );
        return Ok(waiting(&on, "EtcdQuorumAtRisk", message));
    }
    match own {
        Some(Answers {
            client: Some(client),
            etcd: Some(_),
            ..
        }) => {
            // leadership first, so that there is no election; one that did not lead says so
            if let Err(error) = client.etcd_forfeit_leadership().await {
                tracing::debug!(machine = name(leaving), %error, "leadership was not handed over");
            }
            if let Err(error) = client.etcd_leave().await {
                return Ok(waiting(&on, "EtcdLeaving", error.to_string()));
            }
        }
        _ => {
            let through = answers.iter_mut().find_map(|answer| {
                answer.etcd.as_ref()?;
                answer.client.take()
            });
            let Some(through) = through else {
                return Ok(waiting(
                    &on,
                    "EtcdUnreachable",
                    "No other member of etcd answers",
                ));
            };
            match through.etcd_remove_member(member.id).await {
                Ok(()) => {}
                Err(error) if error.class() == RetryClass::NotFound => {}
                Err(error) => return Ok(waiting(&on, "EtcdLeaving", error.to_string())),
            }
        }
    }
    gone(&answers, member.id, &on).await
}

/// A machine that is no member is ready to go, unless a member without a name yet may be its.
fn unless_starting(on: &str, members: &[EtcdMember]) -> Progress<()> {
    if members.iter().any(|member| member.hostname.is_empty()) {
        return waiting(
            on,
            "EtcdMemberStarting",
            "A member of etcd has no name yet and may be its",
        );
    }
    Progress::Ready(())
}

/// Ready when the others no longer know the member.
async fn gone(
    answers: &[Answers],
    id: EtcdMemberId,
    on: &str,
) -> Result<Progress<()>, ProviderError> {
    match inspect::members(answers).await {
        Ok(members) if members.iter().all(|member| member.id != id) => Ok(Progress::Ready(())),
        Ok(_) => Ok(waiting(
            on,
            "EtcdLeaving",
            "The other members still know it",
        )),
        Err(message) => Ok(waiting(on, "EtcdUnreachable", message)),
    }
}

pub(super) async fn remove_member(
    nodes: &Nodes,
    cx: &Cx,
    member: &str,
) -> Result<Progress<()>, ProviderError> {
    let id = member
        .rsplit_once('/')
        .and_then(|(_, id)| u64::from_str_radix(id, 16).ok())
        .map(EtcdMemberId)
        .ok_or_else(|| {
            ProviderError::invalid(
                "InvalidMember",
                format!("{member:?} names no member of etcd"),
            )
        })?;
    let nodes = ready!(nodes.of(cx).await?);
    let answers = inspect::ask(&nodes, &cx.machines).await;
    let on = format!("etcd member {member}");
    let members = match inspect::members(&answers).await {
        Ok(members) => members,
        Err(message) => return Ok(waiting(&on, "EtcdUnreachable", message)),
    };
    let identities: Vec<MachineIdentity> = cx
        .machines
        .iter()
        .zip(&answers)
        .map(|(m, a)| inspect::identity(m, a))
        .collect();
    let membership = Membership::of(&members, &identities);
    if members.iter().all(|member| member.id != id) {
        return Ok(Progress::Ready(()));
    }
    if membership.foreign.iter().all(|foreign| foreign.id != id) {
        return Err(ProviderError::refused(
            "MemberHasMachine",
            format!("etcd member {member} belongs to a machine"),
        ));
    }
    let living: Vec<EtcdMemberId> = answers
        .iter()
        .filter_map(|answer| Some(answer.etcd.as_ref()?.member_id))
        .collect();
    if !removal_keeps_quorum(&members, id, &living) {
        return Ok(waiting(
            &on,
            "EtcdQuorumAtRisk",
            "etcd would lose its quorum without it",
        ));
    }
    let through = answers
        .iter()
        .find_map(|answer| answer.client.as_ref().filter(|_| answer.etcd.is_some()));
    let Some(through) = through else {
        return Ok(waiting(&on, "EtcdUnreachable", "No member of etcd answers"));
    };
    match through.etcd_remove_member(id).await {
        Ok(()) => gone(&answers, id, &on).await,
        Err(error) if error.class() == RetryClass::NotFound => Ok(Progress::Ready(())),
        Err(error) => Err(provider_error(error)),
    }
}
