//! Waits until the system in a virtual machine is up.

use capi_core::api::{MachineAddress, MachineAddressType};
use capi_core::provider::{Progress, ProviderError};
use secrecy::ExposeSecret;

use super::addresses;
use super::ensure::{Step, Way};
use super::errors::step;
use super::network::GuestFamily;
use super::reasons;
use super::session::{BOOT, Look, Memo, START};
use crate::client::{AgentInterface, Error, ErrorClass, PowerState, TaskState, Upid};

impl Way<'_> {
    pub(super) fn skips_agent(&self) -> bool {
        self.cx
            .infrastructure
            .spec
            .checks
            .and_then(|checks| checks.skip_qemu_guest_agent)
            .unwrap_or(false)
    }

    /// What is looked at after it is switched on: its agent, or only the task.
    pub(super) fn first_look(&self) -> &'static str {
        if self.skips_agent() { START } else { BOOT }
    }

    /// Waits until the system is up. `None`: it is off after all.
    pub(super) async fn await_guest(
        &self,
        upid: Option<Upid>,
        look: Look,
    ) -> Step<Option<Vec<MachineAddress>>> {
        let rest = self.session.until(&look);
        if !rest.is_zero() {
            return self.waiting(
                reasons::WAITING_FOR_POWER_UP,
                "the virtual machine starts",
                rest,
            );
        }
        let later = |reason, message: String, upid: Option<Upid>| {
            let look = self.session.look_later(look);
            self.session
                .remember(self.uuid(), Memo::Starting { upid, look });
            self.waiting(reason, message, self.session.until(&look))
        };
        let (client, node, vmid) = (
            &self.session.client,
            self.identity.node.as_str(),
            self.identity.vmid,
        );
        if self.skips_agent() {
            return match self.start_task(upid.as_ref()).await? {
                StartTask::Running => later(
                    reasons::WAITING_FOR_POWER_UP,
                    "the virtual machine starts".into(),
                    upid,
                ),
                StartTask::Off => Ok(Progress::Ready(None)),
                StartTask::On => {
                    self.session.learn(&look);
                    Ok(Progress::Ready(Some(Vec::new())))
                }
            };
        }
        let from_agent = self.wants_agent_addresses();
        let asked = if from_agent {
            client.agent_interfaces(node, vmid).await.map(Some)
        } else {
            client.agent_os_info(node, vmid).await.map(|_| None)
        };
        let interfaces = match asked {
            Ok(interfaces) => interfaces,
            Err(error) if error.message().contains("No QEMU guest agent configured") => {
                let message = "the guest agent is switched off in the template: set `agent: 1` there, or spec.checks.skipQemuGuestAgent";
                return later(reasons::WAITING_FOR_POWER_UP, message.into(), upid);
            }
            Err(error) if error.class() == ErrorClass::Agent => {
                return later(
                    reasons::WAITING_FOR_POWER_UP,
                    "the virtual machine is on; its guest agent does not answer yet".into(),
                    upid,
                );
            }
            Err(error) if error.message().contains("is not running") => {
                return match self.start_task(upid.as_ref()).await? {
                    StartTask::Off => Ok(Progress::Ready(None)),
                    // The task is done, and the answer from before: the virtual machine itself tells.
                    StartTask::On if upid.is_some() => later(
                        reasons::WAITING_FOR_POWER_UP,
                        "the virtual machine starts".into(),
                        None,
                    ),
                    _ => later(
                        reasons::WAITING_FOR_POWER_UP,
                        "the virtual machine starts".into(),
                        upid,
                    ),
                };
            }
            Err(error) if error.class() == ErrorClass::Gone => {
                self.session.forget_way(self.uuid());
                return self.moved(reasons::WAITING_FOR_POWER_UP).await;
            }
            Err(error) => {
                self.session.remember(
                    self.uuid(),
                    Memo::Starting {
                        upid,
                        look: self.session.look_later(look),
                    },
                );
                return Err(step(reasons::WAITING_FOR_POWER_UP, error));
            }
        };
        if let Some(wait) = self.cloud_init().await? {
            return later(reasons::WAITING_FOR_CLOUD_INIT, wait, upid);
        }
        let addresses = interfaces
            .map(|interfaces| self.agent_addresses(&interfaces))
            .unwrap_or_default();
        if from_agent && addresses.is_empty() {
            return later(
                reasons::WAITING_FOR_POWER_UP,
                "the system is up, and has no address by DHCP yet".into(),
                upid,
            );
        }
        self.session.learn(&look);
        Ok(Progress::Ready(Some(addresses)))
    }

    pub(super) async fn start_task(&self, upid: Option<&Upid>) -> Result<StartTask, ProviderError> {
        let (client, node, vmid) = (
            &self.session.client,
            self.identity.node.as_str(),
            self.identity.vmid,
        );
        let failed = |error| step(reasons::POWERING_ON_FAILED, error);
        if let Some(upid) = upid {
            match client.task_state(upid).await {
                Ok(TaskState::Running) => return Ok(StartTask::Running),
                Ok(TaskState::Succeeded { .. }) => return Ok(StartTask::On),
                Ok(TaskState::Failed(text)) if text.contains("already running") => {
                    return Ok(StartTask::On);
                }
                Ok(TaskState::Failed(exit_status)) => {
                    self.session.forget_way(self.uuid());
                    return Err(failed(client.task_failure(upid, exit_status).await));
                }
                Err(error) if error.class() == ErrorClass::NodeDown => return Err(failed(error)),
                // Not listed any more: the virtual machine itself tells.
                Err(error) => tracing::debug!(task = %upid, %error, "the task cannot be read"),
            }
        }
        match client.vm_status(node, vmid).await.map_err(failed)?.power() {
            PowerState::Running => Ok(StartTask::On),
            _ => Ok(StartTask::Off),
        }
    }

    /// What cloud-init is waited for, if anything.
    pub(super) async fn cloud_init(&self) -> Result<Option<String>, ProviderError> {
        let skipped = self
            .cx
            .infrastructure
            .spec
            .checks
            .and_then(|checks| checks.skip_cloud_init_status)
            .unwrap_or(false);
        let talos = self
            .cx
            .bootstrap_data
            .as_ref()
            .is_some_and(|data| GuestFamily::of(data.expose_secret()) == GuestFamily::Talos);
        if skipped || talos {
            return Ok(None);
        }
        let (client, node, vmid) = (
            &self.session.client,
            self.identity.node.as_str(),
            self.identity.vmid,
        );
        let failed = |error: Error| step(reasons::WAITING_FOR_CLOUD_INIT, error);
        let pid = client
            .agent_exec(node, vmid, &["cloud-init", "status"])
            .await
            .map_err(failed)?;
        let status = client
            .agent_exec_status(node, vmid, pid)
            .await
            .map_err(failed)?;
        if !status.exited
            || status.out_data.contains("running")
            || status.out_data.contains("not started")
            || status.out_data.contains("not run")
        {
            return Ok(Some("cloud-init runs".into()));
        }
        match status.exitcode.unwrap_or(0) {
            0 => Ok(None),
            2 => {
                tracing::warn!(
                    machine = self.name(),
                    output = status.out_data.trim(),
                    "cloud-init recovered from errors"
                );
                Ok(None)
            }
            code => {
                let output = format!("{}{}", status.out_data, status.err_data);
                let message = format!(
                    "`cloud-init status` ended with code {code}: {}",
                    output.trim()
                );
                Err(ProviderError::terminal(reasons::PROVISION_FAILED, message))
            }
        }
    }

    /// Whether addresses come by DHCP, so that only the agent knows them.
    pub(super) fn wants_agent_addresses(&self) -> bool {
        let cluster = self.cx.infrastructure_cluster.as_deref();
        cluster.is_some_and(|cluster| {
            addresses::wanted(cluster, &self.cx.infrastructure)
                .is_ok_and(|wanted| wanted.is_empty())
        })
    }

    pub(super) fn agent_addresses(&self, interfaces: &[AgentInterface]) -> Vec<MachineAddress> {
        let usable = |address: &std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
            std::net::IpAddr::V6(address) => {
                !address.is_loopback() && !address.is_unicast_link_local()
            }
        };
        let ours: Vec<&AgentInterface> = interfaces
            .iter()
            .filter(|interface| {
                interface
                    .hardware_address
                    .as_deref()
                    .is_some_and(|address| address != "00:00:00:00:00:00")
            })
            .collect();
        let addresses = ours.iter().flat_map(|interface| &interface.ip_addresses);
        addresses
            .filter_map(|address| address.address.parse::<std::net::IpAddr>().ok())
            .filter(usable)
            .map(|address| MachineAddress {
                type_: MachineAddressType::InternalIp,
                address: address.to_string(),
            })
            .collect()
    }
}

pub(super) enum StartTask {
    Running,
    On,
    Off,
}
