//! Beginning a cluster: etcd of one member, exactly once.

use std::time::Duration;

use capi_core::{
    provider::{ControlPlaneMachine, Progress, ProviderError},
    ready,
};

use super::{
    Cx, name,
    nodes::{ClusterNodes, Nodes, Unreachable},
    provider_error,
};
use crate::client::{ClientError, RetryClass, TalosClient};

/// While a node boots.
const BOOTING: Duration = Duration::from_secs(2);
/// While etcd starts.
const STARTING: Duration = Duration::from_millis(500);

fn waiting(machine: &str, message: impl Into<String>, again: Duration) -> Progress<()> {
    let message = format!("Machine {machine}: {}", message.into());
    Progress::waiting(format!("Machine {machine}"), "WaitingForTalosBoot", message).after(again)
}

pub(super) async fn initialize(
    nodes: &Nodes,
    cx: &Cx,
    first: &ControlPlaneMachine,
) -> Result<Progress<()>, ProviderError> {
    let nodes = ready!(nodes.of(cx).await?);
    let machine = name(first);
    let client = match nodes.client(first).await {
        Ok(client) => client,
        Err(unreachable) => return Ok(waiting(machine, unreachable.to_string(), BOOTING)),
    };
    match client.has_etcd_data().await {
        Ok(true) => return running(&client, machine).await,
        Ok(false) => {}
        Err(error) => return Ok(waiting(machine, error.to_string(), BOOTING)),
    }
    // Nobody begins a second cluster: each other machine that could hold the first is asked.
    for other in cx.machines.iter().filter(|other| name(other) != machine) {
        if !nodes.has_address(other) {
            continue;
        }
        match has_data(&nodes, other).await {
            Ok(true) => return begun_elsewhere(&nodes, other).await,
            Ok(false) => {}
            Err(message) => {
                let message = format!("whether it holds etcd data is not known: {message}");
                return Ok(waiting(name(other), message, BOOTING));
            }
        }
    }
    match client.bootstrap().await {
        Ok(()) => Ok(waiting(machine, "etcd starts", STARTING)),
        Err(error) => match error.class() {
            RetryClass::AlreadyDone => Ok(waiting(machine, "etcd starts", STARTING)),
            RetryClass::Denied | RetryClass::Invalid => Err(provider_error(error)),
            _ => Ok(waiting(machine, error.to_string(), BOOTING)),
        },
    }
}

async fn has_data(nodes: &ClusterNodes<'_>, machine: &ControlPlaneMachine) -> Result<bool, String> {
    match nodes.client(machine).await {
        Ok(client) => client
            .has_etcd_data()
            .await
            .map_err(|error| error.to_string()),
        Err(Unreachable::NoAddress) => Ok(false),
        Err(unreachable) => Err(unreachable.to_string()),
    }
}

/// Another machine has the cluster's etcd: that one is to run.
async fn begun_elsewhere(
    nodes: &ClusterNodes<'_>,
    other: &ControlPlaneMachine,
) -> Result<Progress<()>, ProviderError> {
    match nodes.client(other).await {
        Ok(client) => running(&client, name(other)).await,
        Err(unreachable) => Ok(waiting(name(other), unreachable.to_string(), BOOTING)),
    }
}

/// A node with etcd data is done once its member answers: the request to bootstrap is only kept
/// in the node's memory, so that its etcd runs has to be seen.
async fn running(client: &TalosClient, machine: &str) -> Result<Progress<()>, ProviderError> {
    let members = client.etcd_members(false).await;
    match members {
        Ok(members) if !members.is_empty() => Ok(Progress::Ready(())),
        Ok(_) => Ok(waiting(machine, "etcd has no members yet", STARTING)),
        Err(error @ ClientError::Call { .. }) if error.class() == RetryClass::Denied => {
            Err(provider_error(error))
        }
        Err(error) => Ok(waiting(machine, error.to_string(), STARTING)),
    }
}
