//! Looks after a machine that was ready once: it is never made again, and loses its image when it needs it no more.

use std::time::Duration;

use capi_core::api::ConditionStatus;
use capi_core::provider::{MachineFacts, Progress, ProviderError, StatusFields};
use serde_json::json;

use super::desired::{self, IMAGE_TAG};
use super::destroy::delete_image;
use super::ensure::{Step, Way, is_our_image, is_ours};
use super::errors::step;
use super::reasons;
use super::reserve::group;
use super::session::Known;
use crate::client::Resource;

/// How old a list may be to see that a machine that is ready still is.
const OBSERVED: Duration = Duration::from_secs(2);

impl Way<'_> {
    /// A machine that was ready: is it still there, on, and where? One list for all machines of the datacenter.
    pub(super) async fn observe(&self) -> Step<MachineFacts> {
        let snapshot = self
            .session
            .snapshot(OBSERVED)
            .await
            .map_err(|error| step(reasons::UNREACHABLE, error))?;
        let vmid = self.identity.vmid;
        let gone = |why: String| ProviderError::terminal(reasons::GONE, why);
        let Some(row) = snapshot.guest(vmid) else {
            if self
                .session
                .client
                .is_free(vmid)
                .await
                .map_err(|error| step(reasons::UNREACHABLE, error))?
            {
                return Err(gone(format!(
                    "virtual machine {vmid} does not exist any more; somebody deleted it"
                )));
            }
            return self.waiting(
                reasons::UNREACHABLE,
                "the API token may not see the virtual machine any more",
                Duration::from_secs(60),
            );
        };
        if row.name != self.name() {
            let config = self
                .session
                .client
                .vm_config(&row.node, vmid)
                .await
                .map_err(|error| step(reasons::UNREACHABLE, error))?;
            if !is_ours(&config, self.uuid()) {
                return Err(gone(format!(
                    "virtual machine {vmid} is another one now, called {:?}",
                    row.name
                )));
            }
        }
        let known = Known {
            group: group(self.cx),
            node: row.node.clone(),
            memory: 0,
            vmid,
        };
        self.session.register(self.uuid(), known);
        self.session.forget_way(self.uuid());
        self.hold_number()?;
        if row.status == "stopped" {
            let message = "the virtual machine was switched off by somebody else; it is left so";
            return self.waiting(reasons::STOPPED, message, Duration::from_secs(60));
        }
        self.tidy(row).await?;
        let status = &self.cx.infrastructure.status;
        let mut fields = StatusFields::new();
        fields.insert("proxmoxNode".into(), json!(row.node));
        fields.insert("vmStatus".into(), json!("ready"));
        fields.insert("bootstrapDataProvided".into(), json!(true));
        fields.insert("ipAddresses".into(), json!(status.ip_addresses));
        Ok(Progress::Ready(MachineFacts {
            addresses: status.addresses.clone(),
            failure_domain: None,
            interruptible: false,
            status: fields,
        }))
    }

    /// Once the Node is there and available, the image with its secrets goes.
    pub(super) async fn tidy(&self, row: &Resource) -> Result<(), ProviderError> {
        let available = self.cx.machine.as_ref().is_some_and(|machine| {
            let condition = machine
                .status
                .conditions
                .iter()
                .find(|condition| condition.type_ == "Available");
            machine.status.node_ref.is_some()
                && condition.is_some_and(|condition| condition.status == ConditionStatus::True)
        });
        if !available || !row.tags().any(|tag| tag == IMAGE_TAG) {
            return Ok(());
        }
        let client = &self.session.client;
        let failed = |error| step(reasons::WAITING_FOR_IMAGE, error);
        let config = client
            .vm_config(&row.node, self.identity.vmid)
            .await
            .map_err(failed)?;
        if !is_ours(&config, self.uuid()) {
            return Ok(());
        }
        let Some((changes, image)) =
            desired::detach(&config, |volume| is_our_image(volume, self.identity))
        else {
            return Ok(());
        };
        client
            .set_vm_config(&row.node, self.identity.vmid, changes)
            .await
            .map_err(failed)?;
        let storage = image.split(':').next().unwrap_or_default();
        delete_image(client, &row.node, storage, &image)
            .await
            .map_err(failed)
    }
}
