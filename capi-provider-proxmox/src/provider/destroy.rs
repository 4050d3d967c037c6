//! Takes a machine away: proved to be ours, switched off, destroyed, with its image.

use std::sync::Arc;
use std::time::Duration;

use capi_core::provider::{Progress, ProviderError};

use super::ensure::{image_prefix, is_our_image, is_ours};
use super::errors::step;
use super::session::Session;
use super::{MachineCx, ProxmoxIdentity, reasons};
use crate::client::{Client, Error, ErrorClass, GuestConfig, Patience};

/// How long a task is waited for within one call.
pub(super) const PATIENCE: Patience = Patience {
    first: Duration::from_secs(1),
    then: Duration::from_millis(500),
    longest: Duration::from_secs(2),
    deadline: Duration::from_secs(20),
};

pub(super) async fn destroy(
    session: &Arc<Session>,
    cx: &MachineCx,
    identity: &ProxmoxIdentity,
) -> Result<Progress<()>, ProviderError> {
    let failed = |error: Error| step(reasons::DELETION_FAILED, error);
    let client = &session.client;
    let vmid = identity.vmid;
    let found = match client.vm_config(&identity.node, vmid).await {
        Ok(config) => Some((identity.node.clone(), config)),
        Err(error) if matches!(error.class(), ErrorClass::Gone | ErrorClass::NodeDown) => {
            // Gone, moved, or on a node that is down: the whole datacenter tells.
            let snapshot = session.snapshot(Duration::ZERO).await.map_err(failed)?;
            match snapshot.guest(vmid) {
                Some(row) if row.node == identity.node && error.class() == ErrorClass::NodeDown => {
                    let message = format!(
                        "node {} does not answer; its virtual machine {vmid} cannot be removed",
                        row.node
                    );
                    return Ok(Progress::waiting(
                        format!("node {}", row.node),
                        reasons::DELETING,
                        message,
                    )
                    .after(Duration::from_secs(10)));
                }
                Some(row) => Some((
                    row.node.clone(),
                    client.vm_config(&row.node, vmid).await.map_err(failed)?,
                )),
                None if !client.is_free(vmid).await.map_err(failed)? => {
                    let message = format!(
                        "number {vmid} belongs to a guest that the API token may not see; whether it is ours cannot be proved"
                    );
                    return Err(ProviderError::refused(reasons::DELETION_FAILED, message));
                }
                None => None,
            }
        }
        Err(error) => return Err(failed(error)),
    };
    let Some((node, config)) = found else {
        return finish(session, cx, identity, &identity.node).await;
    };
    if config.get("lock").is_some() && config.get("name").is_none() {
        let message = format!(
            "virtual machine {vmid} is still being cloned; whose it is shows when that ends"
        );
        return Ok(Progress::waiting(
            format!("virtual machine {vmid}"),
            reasons::DELETING,
            message,
        )
        .after(Duration::from_secs(2)));
    }
    if !is_ours(&config, &identity.uuid) {
        // The number was used again after ours was gone, or ours was never made: there is nothing of ours here.
        tracing::warn!(
            vmid,
            node,
            "the virtual machine under the recorded number is not ours, and is left alone"
        );
        return finish(session, cx, identity, &node).await;
    }
    if let Some(lock) = config.get("lock").filter(|lock| *lock != "suspended") {
        let message = format!("virtual machine {vmid} is locked ({lock})");
        return Ok(Progress::waiting(
            format!("virtual machine {vmid}"),
            reasons::DELETING,
            message,
        )
        .after(Duration::from_secs(3)));
    }
    if config.get("protection") == Some("1") {
        let message = format!(
            "virtual machine {vmid} is protected; take its protection away to let it be removed"
        );
        return Ok(Progress::waiting(
            format!("virtual machine {vmid}"),
            reasons::DELETING,
            message,
        )
        .after(Duration::from_secs(30)));
    }
    session.forget_way(&identity.uuid);
    let stop = client.stop_vm(&node, vmid).await.map_err(failed)?;
    if let Some(image) = image_of(&config, identity) {
        let storage = image.split(':').next().unwrap_or_default();
        delete_image(&session.client, &node, storage, &image)
            .await
            .map_err(failed)?;
    }
    match client.wait_for_task(&stop, PATIENCE).await {
        // A machine that is off already is what is wanted.
        Err(Error::Task { exit_status, .. }) if exit_status.contains("not running") => {}
        Err(Error::TaskPending { .. }) => {
            return Ok(Progress::waiting(
                format!("task {stop}"),
                reasons::DELETING,
                "the virtual machine is being switched off",
            )
            .after(Duration::from_secs(2)));
        }
        ended => {
            ended.map_err(failed)?;
        }
    }
    let gone = client.destroy_vm(&node, vmid).await.map_err(failed)?;
    match client.wait_for_task(&gone, PATIENCE).await {
        Err(Error::TaskPending { .. }) => {
            return Ok(Progress::waiting(
                format!("task {gone}"),
                reasons::DELETING,
                "the virtual machine is being destroyed",
            )
            .after(Duration::from_secs(2)));
        }
        ended => {
            ended.map_err(failed)?;
        }
    }
    release(session, cx, identity);
    Ok(Progress::Ready(()))
}

fn image_of(config: &GuestConfig, identity: &ProxmoxIdentity) -> Option<String> {
    let volumes = config
        .iter()
        .filter(|(key, _)| key.starts_with("ide"))
        .filter_map(|(_, value)| value.split(',').next());
    volumes
        .filter(|volume| is_our_image(volume, identity))
        .map(str::to_owned)
        .next()
}

/// The virtual machine is gone. An image that was uploaded and never attached goes, too.
async fn finish(
    session: &Session,
    cx: &MachineCx,
    identity: &ProxmoxIdentity,
    node: &str,
) -> Result<Progress<()>, ProviderError> {
    let failed = |error: Error| step(reasons::DELETION_FAILED, error);
    let snapshot = session
        .snapshot(Duration::from_secs(5))
        .await
        .map_err(failed)?;
    if let Some(storage) = snapshot.image_storage(node) {
        let volumes = session
            .client
            .volumes(node, storage, Some("iso"))
            .await
            .map_err(failed)?;
        let prefix = image_prefix(&identity.uuid);
        for volume in volumes.iter().filter(|volume| {
            volume
                .volid
                .rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with(&prefix))
        }) {
            delete_image(&session.client, node, storage, &volume.volid)
                .await
                .map_err(failed)?;
        }
    }
    release(session, cx, identity);
    Ok(Progress::Ready(()))
}

fn release(session: &Session, cx: &MachineCx, identity: &ProxmoxIdentity) {
    session.forget_machine(&identity.uuid);
    session.lost.forget(&identity.uuid);
    let slot = identity.vmid.to_string();
    cx.context.slots().give_back(&session.scope(), &slot);
    cx.context
        .slots()
        .give_back(super::reserve::ANY_DATACENTER, &slot);
}

/// Deletes an image, and waits until it is gone.
pub(super) async fn delete_image(
    client: &Client,
    node: &str,
    storage: &str,
    image: &str,
) -> Result<(), Error> {
    match client.delete_volume(node, storage, image).await {
        Ok(None) => Ok(()),
        Ok(Some(task)) => client.wait_for_task(&task, PATIENCE).await.map(drop),
        Err(error) if error.class() == ErrorClass::Gone => Ok(()),
        Err(error) => Err(error),
    }
}
