//! Brings a machine up, from whatever is there of it.

use std::sync::Arc;
use std::time::Duration;

use capi_core::api::{MachineAddress, MachineAddressType};
use capi_core::provider::{MachineFacts, Progress, ProviderError, Recorded, StatusFields};
use serde_json::json;

use super::addresses::{self, GivenAddress};
use super::errors::step;
use super::inventory::{cluster_line, notes, uuid_line};
use super::reserve::{find_place, group};
use super::session::{BOOT, Known, Look, Memo, Session};
use super::{MachineCx, ProxmoxIdentity, reasons};
use crate::client::{CloneRequest, ErrorClass, GuestConfig, PowerState, Smbios, TaskState, Upid};

/// One machine on its way.
pub(super) struct Way<'a> {
    pub(super) session: &'a Arc<Session>,
    pub(super) cx: &'a MachineCx,
    pub(super) identity: &'a ProxmoxIdentity,
}

pub(super) type Step<T> = Result<Progress<T>, ProviderError>;

pub(super) async fn ensure(
    session: &Arc<Session>,
    cx: &MachineCx,
    recorded: &Recorded<ProxmoxIdentity>,
) -> Step<MachineFacts> {
    let way = Way {
        session,
        cx,
        identity: &recorded.identity,
    };
    // What CAPMOX calls provisioned although a stage was skipped has no addresses.
    if recorded.was_ready && !cx.infrastructure.status.addresses.is_empty() {
        way.observe().await
    } else {
        way.go().await
    }
}

/// Beginning of the names of a machine's images.
pub(super) fn image_prefix(uuid: &str) -> String {
    format!("capi-{uuid}-")
}

impl Way<'_> {
    pub(super) fn name(&self) -> &str {
        self.cx
            .infrastructure
            .metadata
            .name
            .as_deref()
            .unwrap_or_default()
    }

    pub(super) fn uuid(&self) -> &str {
        &self.identity.uuid
    }

    /// The notes of its virtual machine: by the marker in them a clone is known before its firmware has our UUID.
    pub(super) fn notes(&self) -> String {
        let metadata = &self.cx.cluster.metadata;
        let cluster = match (&metadata.namespace, &metadata.name) {
            (Some(namespace), Some(name)) => cluster_line(namespace, name),
            _ => String::new(),
        };
        let own = self.cx.infrastructure.spec.description.as_deref();
        notes(own, self.uuid(), &cluster)
    }

    pub(super) fn waiting<T>(
        &self,
        reason: &'static str,
        message: impl Into<String>,
        again: Duration,
    ) -> Step<T> {
        let on = format!(
            "virtual machine {} on {}",
            self.identity.vmid, self.identity.node
        );
        let wait = Progress::waiting(on, reason, message).after(again);
        Ok(wait.with_status(self.on_the_way()))
    }

    /// The task that runs and how far it is, where CAPMOX has them and waits for them if it takes over.
    fn on_the_way(&self) -> StatusFields {
        let mut status = StatusFields::new();
        if self.cx.infrastructure.status.initialization.provisioned == Some(true) {
            return status;
        }
        let memo = self.session.memo(self.uuid());
        let task = match &memo {
            Some(Memo::Cloning { upid, .. } | Memo::Starting { upid, .. }) => upid.as_ref(),
            _ => None,
        };
        status.insert("taskRef".into(), json!(task.map(ToString::to_string)));
        status.insert("vmStatus".into(), json!("pending"));
        if matches!(memo, Some(Memo::Starting { .. })) {
            status.insert("bootstrapDataProvided".into(), json!(true));
        }
        status
    }

    async fn go(&self) -> Step<MachineFacts> {
        let machine = &*self.cx.infrastructure;
        let cluster = self.cx.infrastructure_cluster.as_deref();
        let cluster = cluster.ok_or_else(|| {
            ProviderError::invalid(
                reasons::CLONING,
                "the machine's Cluster has no ProxmoxCluster",
            )
        })?;
        if self.cx.bootstrap_data.is_none() {
            let message = "the bootstrap provider has not written its data yet";
            return Ok(Progress::waiting(
                "Machine spec.bootstrap.dataSecretName",
                reasons::WAITING_FOR_BOOTSTRAP,
                message,
            ));
        }
        check_format(self.cx.bootstrap_format.as_deref())?;
        // Addresses are given while the clone runs.
        let wanted = addresses::wanted(cluster, machine)?;
        let given = addresses::claim(self.cx, &wanted).await?;
        loop {
            let memo = match self.session.memo(self.uuid()) {
                Some(memo) => memo,
                None => match self.inspect().await? {
                    Progress::Ready(memo) => {
                        self.session.remember(self.uuid(), memo.clone());
                        memo
                    }
                    Progress::Waiting(wait) => return Ok(Progress::Waiting(wait)),
                },
            };
            let next = match memo {
                Memo::Reserved {
                    template,
                    template_node,
                } => self.clone_template(template, &template_node).await?,
                Memo::Cloning { upid, look } => self.await_clone(upid, look).await?,
                Memo::Cloned { resumed } => self.configure_and_start(&given, resumed).await?,
                Memo::Starting { upid, look } => match self.await_guest(upid, look).await? {
                    Progress::Waiting(wait) => Progress::Waiting(wait),
                    Progress::Ready(None) => Progress::Ready(Memo::Cloned { resumed: true }),
                    Progress::Ready(Some(addresses)) => match &given {
                        Ok(given) => {
                            return Ok(Progress::Ready(self.facts(
                                &self.identity.node,
                                given,
                                addresses,
                            )));
                        }
                        Err(wait) => Progress::Waiting(wait.clone()),
                    },
                },
            };
            match next {
                Progress::Waiting(wait) => return Ok(Progress::Waiting(wait)),
                Progress::Ready(memo) => self.session.remember(self.uuid(), memo),
            }
        }
    }

    /// Nothing is remembered: looks at what is there.
    async fn inspect(&self) -> Step<Memo> {
        let snapshot = self
            .session
            .snapshot(Duration::ZERO)
            .await
            .map_err(|error| step(reasons::UNREACHABLE, error))?;
        let vmid = self.identity.vmid;
        self.hold_number()?;
        let Some(row) = snapshot.guest(vmid) else {
            if !self
                .session
                .client
                .is_free(vmid)
                .await
                .map_err(|error| step(reasons::UNREACHABLE, error))?
            {
                return Err(self.foreign("which the API token may not see"));
            }
            // The node is recorded. Its own template is taken when there is one, else what can be cloned to it.
            let node = &self.identity.node;
            let request = super::reserve::request(
                self.cx.infrastructure_cluster.as_deref(),
                &self.cx.infrastructure,
                None,
            )?;
            let (template, template_node) =
                match self.session.local_template(&snapshot, &request, node) {
                    Some(template) => (template, node.clone()),
                    None => {
                        let placement = find_place(self.session, self.cx, &snapshot)
                            .await?
                            .map_err(|error| {
                                ProviderError::transient(
                                    reasons::WAITING_FOR_PLACEMENT,
                                    error.to_string(),
                                )
                                .retry_after(Duration::from_secs(15))
                            })?;
                        (placement.template, placement.template_node)
                    }
                };
            return Ok(Progress::Ready(Memo::Reserved {
                template,
                template_node,
            }));
        };
        let known = Known {
            group: group(self.cx),
            node: row.node.clone(),
            memory: 0,
            vmid,
        };
        self.session.register(self.uuid(), known);
        let config = match self.session.client.vm_config(&row.node, vmid).await {
            Ok(config) => config,
            Err(error) if error.class() == ErrorClass::Gone => {
                return self.waiting(
                    reasons::CLONING,
                    "the virtual machine is on its way",
                    Duration::from_secs(1),
                );
            }
            Err(error) => return Err(step(reasons::CLONING, error)),
        };
        if config.get("lock").is_some() && config.get("name").is_none() {
            return Ok(Progress::Ready(Memo::Cloning {
                upid: None,
                look: self.session.look_at_clone(),
            }));
        }
        if let Err(foreign) = self.prove(&config) {
            if config.get("lock").is_some() {
                return Err(foreign);
            }
            // Nothing of ours was ever made under this number: another one is reserved.
            self.session.lost.add(self.uuid(), vmid);
            self.session.forget_machine(self.uuid());
            let message =
                format!("number {vmid} was taken by somebody else; another one is chosen");
            return Err(ProviderError::transient(reasons::CLONING, message));
        }
        if let Some(lock) = config.get("lock") {
            return self.locked(lock);
        }
        // Whoever was here before may have switched it on. Asked before its state: a start that ends between is seen there.
        let client = &self.session.client;
        let failed = |error| step(reasons::POWERING_ON_FAILED, error);
        let tasks = client.active_tasks(&row.node, vmid).await.map_err(failed)?;
        if let Some(task) = tasks.into_iter().find(|task| task.upid.kind() == "qmstart") {
            return Ok(Progress::Ready(Memo::Starting {
                upid: Some(task.upid),
                look: self.session.look(self.first_look()),
            }));
        }
        let status = client.vm_status(&row.node, vmid).await.map_err(failed)?;
        match status.power() {
            PowerState::Stopped | PowerState::Hibernated => {
                Ok(Progress::Ready(Memo::Cloned { resumed: true }))
            }
            PowerState::Running => Ok(Progress::Ready(Memo::Starting {
                upid: None,
                look: self.session.look_now(BOOT),
            })),
            PowerState::Paused => {
                let upid = self
                    .session
                    .client
                    .resume_vm(&row.node, vmid)
                    .await
                    .map_err(|error| step(reasons::POWERING_ON_FAILED, error))?;
                Ok(Progress::Ready(Memo::Starting {
                    upid: Some(upid),
                    look: self.session.look(BOOT),
                }))
            }
        }
    }

    /// A recorded number is held from the start, so that no other machine is given it.
    pub(super) fn hold_number(&self) -> Result<(), ProviderError> {
        let vmid = self.identity.vmid;
        if self
            .cx
            .context
            .slots()
            .take(&self.session.scope(), &vmid.to_string())
        {
            Ok(())
        } else {
            Err(self.foreign("which another ProxmoxMachine has recorded"))
        }
    }

    fn foreign(&self, whose: &str) -> ProviderError {
        let vmid = self.identity.vmid;
        let message = format!(
            "number {vmid} belongs to a guest {whose}: it is left alone; delete the Machine to get another number"
        );
        ProviderError::refused(reasons::FOREIGN, message)
    }

    pub(super) fn locked<T>(&self, lock: &str) -> Step<T> {
        self.waiting(
            reasons::CLONING,
            format!("the virtual machine is locked ({lock})"),
            Duration::from_secs(2),
        )
    }

    /// Proves that a configuration is ours: by the UUID in its firmware, or by the marker of its clone.
    pub(super) fn prove(&self, config: &GuestConfig) -> Result<(), ProviderError> {
        if is_ours(config, self.uuid()) {
            return Ok(());
        }
        Err(self.foreign(&format!(
            "called {:?}, whose UUID is another",
            config.get("name").unwrap_or_default()
        )))
    }

    async fn clone_template(&self, template: u64, template_node: &str) -> Step<Memo> {
        let spec = &self.cx.infrastructure.spec;
        let full = spec.full.unwrap_or(true);
        let key = spec
            .storage
            .clone()
            .unwrap_or_else(|| format!("template {template}"));
        if full
            && !self
                .session
                .may_clone(&key, self.uuid(), self.cx.context.waker())
        {
            return self.waiting(
                reasons::CLONING,
                "other clones on the same storage come first",
                Duration::from_secs(5),
            );
        }
        let request = CloneRequest {
            new_id: self.identity.vmid,
            name: self.name().to_owned(),
            full,
            description: Some(self.notes()),
            format: spec
                .format
                .as_ref()
                .map(|format| format.as_str().to_owned()),
            pool: spec.pool.clone(),
            snapshot: spec.snap_name.clone(),
            storage: spec.storage.clone(),
            target: (template_node != self.identity.node).then(|| self.identity.node.clone()),
        };
        match self
            .session
            .client
            .clone_vm(template_node, template, &request)
            .await
        {
            Ok(upid) => Ok(Progress::Ready(Memo::Cloning {
                upid: Some(upid),
                look: self.session.look_at_clone(),
            })),
            Err(error) => {
                self.session.clone_ended(
                    self.uuid(),
                    (error.class() == ErrorClass::Locked).then_some(true),
                );
                // Taken, or no answer: what is there decides.
                self.session.forget_way(self.uuid());
                match error.class() {
                    ErrorClass::Exists => self.waiting(
                        reasons::CLONING,
                        "the number is taken; looking by whom",
                        Duration::from_millis(200),
                    ),
                    _ => Err(step(reasons::CLONING_FAILED, error)),
                }
            }
        }
    }

    async fn await_clone(&self, upid: Option<Upid>, look: Look) -> Step<Memo> {
        let message = "the clone is being made";
        let rest = self.session.until(&look);
        if !rest.is_zero() {
            return self.waiting(reasons::CLONING, message, rest);
        }
        let later = |upid: Option<Upid>| {
            let look = self.session.look_later(look);
            self.session
                .remember(self.uuid(), Memo::Cloning { upid, look });
            self.waiting(reasons::CLONING, message, self.session.until(&look))
        };
        let Some(upid) = upid else {
            // Somebody else's task, or one from before a restart: the lock tells.
            return match self
                .session
                .client
                .vm_status(&self.identity.node, self.identity.vmid)
                .await
            {
                Ok(status) if status.lock.as_deref() == Some("clone") => later(None),
                Ok(_) => {
                    self.session.forget_way(self.uuid());
                    self.waiting(reasons::CLONING, "the clone is complete", Duration::ZERO)
                }
                Err(error) if error.class() == ErrorClass::Gone => {
                    self.session.forget_way(self.uuid());
                    self.waiting(
                        reasons::CLONING_FAILED,
                        "the clone failed",
                        Duration::from_secs(1),
                    )
                }
                Err(error) => Err(step(reasons::CLONING, error)),
            };
        };
        match self.session.client.task_state(&upid).await {
            Ok(TaskState::Running) => later(Some(upid)),
            Ok(TaskState::Succeeded { .. }) => {
                self.session.learn(&look);
                self.session.clone_ended(self.uuid(), Some(false));
                Ok(Progress::Ready(Memo::Cloned { resumed: false }))
            }
            Ok(TaskState::Failed(exit_status)) => {
                let error = self.session.client.task_failure(&upid, exit_status).await;
                self.session.clone_ended(
                    self.uuid(),
                    (error.class() == ErrorClass::Locked).then_some(true),
                );
                self.session.forget_way(self.uuid());
                Err(step(reasons::CLONING_FAILED, error))
            }
            Err(error)
                if matches!(
                    error.class(),
                    ErrorClass::NodeDown | ErrorClass::Unreachable | ErrorClass::Unknown
                ) =>
            {
                // Not listed any more, or no answer: what is there decides at the next call.
                self.session.clone_ended(self.uuid(), None);
                self.session.forget_way(self.uuid());
                Err(step(reasons::CLONING, error))
            }
            Err(error) => Err(step(reasons::CLONING, error)),
        }
    }

    fn facts(
        &self,
        node: &str,
        given: &[GivenAddress],
        from_agent: Vec<MachineAddress>,
    ) -> MachineFacts {
        let mut addresses = vec![MachineAddress {
            type_: MachineAddressType::Hostname,
            address: self.name().to_owned(),
        }];
        addresses.extend(
            given
                .iter()
                .filter(|given| given.default)
                .map(|given| MachineAddress {
                    type_: MachineAddressType::InternalIp,
                    address: given.address.facts.address.to_string(),
                }),
        );
        addresses.extend(from_agent);
        let mut status = StatusFields::new();
        status.insert("proxmoxNode".into(), json!(node));
        status.insert("vmStatus".into(), json!("ready"));
        status.insert("bootstrapDataProvided".into(), json!(true));
        // Whoever's they were, they are over.
        status.insert("taskRef".into(), json!(null));
        status.insert("retryAfter".into(), json!(null));
        status.insert(
            "ipAddresses".into(),
            addresses::status(&self.cx.infrastructure, given),
        );
        MachineFacts {
            addresses,
            failure_domain: None,
            interruptible: false,
            status,
        }
    }
}

/// Whether a configuration is that of our machine.
pub(super) fn is_ours(config: &GuestConfig, uuid: &str) -> bool {
    let same_uuid = Smbios::read(config.get("smbios1"))
        .is_ok_and(|smbios| smbios.uuid().as_deref() == Some(uuid));
    same_uuid
        || config
            .get("description")
            .is_some_and(|notes| notes.lines().any(|line| line.trim() == uuid_line(uuid)))
}

/// Whether a volume is an image of our machine, made by us or by CAPMOX.
pub(super) fn is_our_image(volume: &str, identity: &ProxmoxIdentity) -> bool {
    let name = volume.rsplit('/').next().unwrap_or_default();
    name.starts_with(&image_prefix(&identity.uuid))
        || name == format!("user-data-{}.iso", identity.vmid)
}

fn check_format(format: Option<&str>) -> Result<(), ProviderError> {
    match format {
        None | Some("" | "cloud-config" | "talos") => Ok(()),
        Some(other) => {
            let message = format!(
                "the bootstrap data is of format {other:?}; this provider hands over cloud-config and talos"
            );
            Err(ProviderError::invalid(reasons::PROVISION_FAILED, message))
        }
    }
}
