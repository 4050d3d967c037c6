//! Configures a clone in one call, hands it its image, and switches it on.

use std::time::Duration;

use capi_core::provider::{Progress, ProviderError, Wait};
use secrecy::ExposeSecret;

use super::addresses::{self, GivenAddress};
use super::desired::{self, Desired};
use super::ensure::{Step, Way, image_prefix};
use super::errors::step;
use super::network::{GuestFamily, Interface, meta_data, network_config};
use super::reasons;
use super::session::Memo;
use crate::client::{ErrorClass, GuestConfig, Patience};
use crate::iso::NoCloud;

impl Way<'_> {
    /// Configures the clone in one call, hands it its image, and switches it on.
    pub(super) async fn configure_and_start(
        &self,
        given: &Result<Vec<GivenAddress>, Wait>,
        resumed: bool,
    ) -> Step<Memo> {
        let given = match given {
            Ok(given) => given,
            Err(wait) => return Ok(Progress::Waiting(wait.clone())),
        };
        let (client, node, vmid) = (
            &self.session.client,
            self.identity.node.as_str(),
            self.identity.vmid,
        );
        let mut provided: Option<String> = None;
        for _ in 0..3 {
            let config = match client.vm_config(node, vmid).await {
                Ok(config) => config,
                Err(error) if error.class() == ErrorClass::Gone => {
                    self.session.forget_way(self.uuid());
                    return self.moved(reasons::WAITING_FOR_DISK).await;
                }
                Err(error) => return Err(step(reasons::WAITING_FOR_DISK, error)),
            };
            self.prove(&config)?;
            if let Some(lock) = config.get("lock") {
                return self.locked(lock);
            }
            let image = self.image(&config, given)?;
            let volume = match self
                .provide_image(&image, resumed, provided.as_deref())
                .await?
            {
                Progress::Ready(volume) => volume,
                Progress::Waiting(wait) => return Ok(Progress::Waiting(wait)),
            };
            provided = Some(volume.clone());
            let spec = &self.cx.infrastructure.spec;
            let notes = self.notes();
            let desired = Desired {
                spec,
                uuid: self.uuid(),
                notes: &notes,
                address_tags: &addresses::tags(given),
                image: &volume,
            };
            let changes =
                desired::changes(&config, &desired).map_err(|error| unconfigurable(&error))?;
            if !changes.is_empty() {
                match client.set_vm_config(node, vmid, changes).await {
                    Ok(()) => {}
                    // Somebody changed it since: read it anew.
                    Err(error) if error.class() == ErrorClass::Conflict => continue,
                    Err(error) => return Err(step(reasons::WAITING_FOR_DISK, error)),
                }
            }
            self.grow_disk(&config).await?;
            let upid = client.start_vm(node, vmid).await.map_err(|error| {
                self.session.forget_way(self.uuid());
                step(reasons::POWERING_ON_FAILED, error)
            })?;
            return Ok(Progress::Ready(Memo::Starting {
                upid: Some(upid),
                look: self.session.look(self.first_look()),
            }));
        }
        self.waiting(
            reasons::WAITING_FOR_DISK,
            "somebody else keeps changing the configuration",
            Duration::from_secs(5),
        )
    }

    /// The recorded node does not have it: it may have moved.
    pub(super) async fn moved<T>(&self, reason: &'static str) -> Step<T> {
        let snapshot = self
            .session
            .snapshot(Duration::ZERO)
            .await
            .map_err(|error| step(reason, error))?;
        let message = match snapshot.guest(self.identity.vmid) {
            Some(row) => format!("the virtual machine is on {} now", row.node),
            None => "the virtual machine is gone; it is made again".to_owned(),
        };
        self.waiting(reason, message, Duration::from_secs(2))
    }

    pub(super) fn image(
        &self,
        config: &GuestConfig,
        given: &[GivenAddress],
    ) -> Result<Vec<u8>, ProviderError> {
        let machine = &*self.cx.infrastructure;
        let user_data = self
            .cx
            .bootstrap_data
            .as_ref()
            .map(|data| data.expose_secret().to_vec())
            .unwrap_or_default();
        let family = GuestFamily::of(&user_data);
        let devices = machine.spec.network.network_devices.iter().enumerate();
        let interfaces: Vec<Interface<'_>> = devices
            .map(|(index, device)| Interface {
                device,
                hardware_address: desired::hardware_address_of(config, device, index, self.uuid()),
                addresses: given
                    .iter()
                    .filter(|given| given.device == index)
                    .map(|given| given.address.clone())
                    .collect(),
            })
            .collect();
        if family == GuestFamily::Talos
            && (!machine.spec.network.vrfs.is_empty()
                || interfaces
                    .iter()
                    .any(|interface| !interface.device.routing_policy.is_empty()))
        {
            tracing::warn!(
                machine = self.name(),
                "Talos knows neither VRFs nor routing policies; they are left out of its network configuration"
            );
        }
        let dns = self
            .cx
            .infrastructure_cluster
            .as_ref()
            .map(|cluster| cluster.spec.dns_servers.clone())
            .unwrap_or_default();
        let network =
            network_config(&machine.spec.network, &interfaces, &dns, family).map_err(|error| {
                ProviderError::invalid(reasons::PROVISION_FAILED, error.to_string())
            })?;
        let inject = machine
            .spec
            .metadata_settings
            .is_some_and(|settings| settings.provider_id_injection);
        let provider_id = capi_core::provider::Identity::provider_id(self.identity);
        let version = self
            .cx
            .machine
            .as_ref()
            .and_then(|machine| machine.spec.version.clone());
        let volume = NoCloud {
            user_data,
            meta_data: meta_data(
                self.uuid(),
                self.name(),
                inject.then_some(provider_id.as_str()),
                version.as_deref(),
            ),
            network_config: Some(network),
            vendor_data: None,
        };
        volume
            .image()
            .map_err(|error| ProviderError::invalid(reasons::PROVISION_FAILED, error.to_string()))
    }

    /// Uploads the image under a name that tells its content. `known` is one that is there already.
    pub(super) async fn provide_image(
        &self,
        image: &[u8],
        resumed: bool,
        known: Option<&str>,
    ) -> Step<String> {
        let (client, node) = (&self.session.client, self.identity.node.as_str());
        let failed = |error| step(reasons::WAITING_FOR_IMAGE, error);
        let snapshot = self
            .session
            .snapshot(Duration::from_secs(300))
            .await
            .map_err(failed)?;
        let Some(storage) = snapshot.image_storage(node) else {
            let message = format!(
                "node {node} has no active storage that may hold ISO images; add the content type iso to one"
            );
            return self.waiting(reasons::WAITING_FOR_IMAGE, message, Duration::from_secs(30));
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, image);
        let hash: String = digest
            .as_ref()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = format!("{}{hash}.iso", image_prefix(self.uuid()));
        let volume = format!("{storage}:iso/{name}");
        if known == Some(&volume) {
            return Ok(Progress::Ready(volume));
        }
        if resumed {
            let volumes = client
                .volumes(node, storage, Some("iso"))
                .await
                .map_err(failed)?;
            if volumes.iter().any(|present| present.volid == volume) {
                return Ok(Progress::Ready(volume));
            }
        }
        let upload = client
            .upload_iso(node, storage, &name, image)
            .await
            .map_err(failed)?;
        client
            .wait_for_task(&upload, soon(Duration::from_millis(500)))
            .await
            .map_err(failed)?;
        Ok(Progress::Ready(volume))
    }

    pub(super) async fn grow_disk(&self, config: &GuestConfig) -> Result<(), ProviderError> {
        let Some((disk, size)) = desired::growth(config, &self.cx.infrastructure.spec)
            .map_err(|error| unconfigurable(&error))?
        else {
            return Ok(());
        };
        let client = &self.session.client;
        let failed = |error| step(reasons::WAITING_FOR_DISK, error);
        if let Some(resize) = client
            .resize_disk(&self.identity.node, self.identity.vmid, &disk, &size)
            .await
            .map_err(failed)?
        {
            client
                .wait_for_task(&resize, soon(Duration::from_millis(300)))
                .await
                .map_err(failed)?;
        }
        Ok(())
    }
}

/// For tasks that take less than a second.
fn soon(first: Duration) -> Patience {
    Patience {
        first,
        then: Duration::from_millis(300),
        longest: Duration::from_secs(2),
        deadline: Duration::from_secs(60),
    }
}

fn unconfigurable(error: &desired::ConfigError) -> ProviderError {
    ProviderError::invalid(reasons::PROVISION_FAILED, error.to_string())
}
