//! Chooses node, template, number and UUID of a machine, and changes nothing outside.

use std::sync::Arc;
use std::time::Duration;

use capi_core::api::labels::CONTROL_PLANE;
use capi_core::provider::{Progress, ProviderError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::errors::step;
use super::identity::{is_uuid, uuid_for};
use super::session::{Known, Memo, Session, Snapshot};
use super::{MachineCx, ProxmoxIdentity, reasons};
use crate::api::{ProxmoxCluster, ProxmoxMachine};
use crate::client::{ErrorClass, PropertyString, Smbios};
use crate::scheduler::{Placement, Request, TemplateWish, Unplaceable};

/// Slots of numbers in whichever datacenter: an identity does not tell in which it is.
pub(super) const ANY_DATACENTER: &str = "proxmox/vmid";

/// How old a list of resources may be to choose by.
const FRESH: Duration = Duration::from_secs(1);

pub(super) async fn reserve(
    session: &Arc<Session>,
    cx: &MachineCx,
) -> Result<Progress<ProxmoxIdentity>, ProviderError> {
    let machine = &*cx.infrastructure;
    let snapshot = session
        .snapshot(FRESH)
        .await
        .map_err(|error| step(reasons::UNREACHABLE, error))?;
    let uuid = own_uuid(machine);
    let pinned = machine
        .spec
        .virtual_machine_id
        .and_then(|vmid| u64::try_from(vmid).ok());
    let pinned = pinned.filter(|vmid| !session.lost.has(&uuid, *vmid));
    if let Some(vmid) = pinned
        && snapshot.guest(vmid).is_some()
    {
        return adopt(session, cx, &snapshot, vmid).await;
    }
    let placement = match find_place(session, cx, &snapshot).await? {
        Ok(placement) => placement,
        Err(reason) => {
            let wait = Progress::waiting(
                "room in the datacenter",
                reasons::WAITING_FOR_PLACEMENT,
                reason.to_string(),
            );
            return Ok(wait.after(Duration::from_secs(15)));
        }
    };
    let vmid = match pinned {
        Some(vmid) => vmid,
        None => match choose_number(session, cx, &snapshot).await? {
            Some(vmid) => vmid,
            None => {
                let range = machine.spec.vm_id_range.unwrap_or_default();
                let message = format!(
                    "spec.vmIDRange: every number from {} to {} is taken",
                    range.start, range.end
                );
                let wait =
                    Progress::waiting("a free VMID", reasons::WAITING_FOR_PLACEMENT, message);
                return Ok(wait.after(Duration::from_secs(15)));
            }
        },
    };
    session.numbered(&uuid, vmid);
    if pinned.is_none() {
        // Nobody but this process knows of it, so nothing can have been made.
        session.remember(
            &uuid,
            Memo::Reserved {
                template: placement.template,
                template_node: placement.template_node,
            },
        );
    }
    Ok(Progress::Ready(ProxmoxIdentity {
        vmid,
        uuid,
        node: placement.node,
    }))
}

/// The UUID of a machine: one that was written down, else its object's own.
fn own_uuid(machine: &ProxmoxMachine) -> String {
    let written = machine
        .spec
        .provider_id
        .as_deref()
        .and_then(|id| id.strip_prefix("proxmox://"));
    match written.filter(|uuid| is_uuid(uuid)) {
        Some(uuid) => uuid.to_lowercase(),
        None => uuid_for(machine.metadata.uid.as_deref().unwrap_or_default()),
    }
}

/// Cluster and role: machines of one group are spread over nodes.
pub(super) fn group(cx: &MachineCx) -> String {
    let cluster = &cx.cluster.metadata;
    let has_label = |metadata: &ObjectMeta| {
        metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key(CONTROL_PLANE))
    };
    let control_plane = cx
        .machine
        .as_ref()
        .is_some_and(|machine| has_label(&machine.metadata))
        || has_label(&cx.infrastructure.metadata);
    let role = if control_plane {
        "control-plane"
    } else {
        "worker"
    };
    format!(
        "{}/{}/{role}",
        cluster.namespace.as_deref().unwrap_or_default(),
        cluster.name.as_deref().unwrap_or_default()
    )
}

/// What a machine asks the scheduler for.
pub(super) fn request(
    cluster: Option<&ProxmoxCluster>,
    machine: &ProxmoxMachine,
    failure_domain: Option<String>,
) -> Result<Request, ProviderError> {
    let spec = &machine.spec;
    let template = match (&spec.template_selector, spec.template_id) {
        (Some(selector), None) => TemplateWish::Selector(selector.clone()),
        (None, Some(id)) => TemplateWish::Id {
            vmid: u64::try_from(id).unwrap_or(0),
            node: spec.source_node.clone(),
        },
        _ => {
            let message = "spec needs one of templateID and templateSelector";
            return Err(ProviderError::invalid(reasons::CLONING_FAILED, message));
        }
    };
    let allowed = if spec.allowed_nodes.is_empty() {
        cluster
            .map(|cluster| cluster.spec.allowed_nodes.clone())
            .unwrap_or_default()
    } else {
        spec.allowed_nodes.clone()
    };
    let adjustment = cluster
        .and_then(|cluster| cluster.spec.scheduler_hints.as_ref())
        .and_then(|hints| hints.memory_adjustment);
    Ok(Request {
        template,
        allowed_nodes: allowed,
        failure_domain,
        memory: spec
            .memory_mib
            .filter(|mib| *mib > 0)
            .and_then(|mib| u64::try_from(mib).ok())
            .map(|mib| mib << 20),
        memory_adjustment: adjustment.map_or(100, |percent| u64::try_from(percent).unwrap_or(100)),
    })
}

pub(super) async fn find_place(
    session: &Session,
    cx: &MachineCx,
    snapshot: &Snapshot,
) -> Result<Result<Placement, Unplaceable>, ProviderError> {
    let failure_domain = cx
        .machine
        .as_ref()
        .and_then(|machine| machine.spec.failure_domain.clone());
    let request = request(
        cx.infrastructure_cluster.as_deref(),
        &cx.infrastructure,
        failure_domain,
    )?;
    let (uuid, group) = (own_uuid(&cx.infrastructure), group(cx));
    loop {
        let placed = session.place(snapshot, &request, &uuid, &group);
        // Only now it matters whether the template's disks are shared.
        match placed {
            Err(Unplaceable::OutOfReach { template, .. })
                if session.shared_template(template).is_none() =>
            {
                ask_shared(session, snapshot, template).await?;
            }
            placed => return Ok(placed),
        }
    }
}

async fn ask_shared(
    session: &Session,
    snapshot: &Snapshot,
    template: u64,
) -> Result<(), ProviderError> {
    let Some(row) = snapshot.guest(template) else {
        return Ok(());
    };
    let config = session
        .client
        .vm_config(&row.node, template)
        .await
        .map_err(|error| step(reasons::CLONING_FAILED, error))?;
    let storages = config.iter().filter_map(|(key, value)| {
        let bus = key.trim_end_matches(|character: char| character.is_ascii_digit());
        let drive: PropertyString = value.parse().ok()?;
        let is_disk = matches!(
            bus,
            "scsi" | "virtio" | "sata" | "ide" | "efidisk" | "tpmstate"
        ) && drive.get("media") != Some("cdrom");
        is_disk.then(|| {
            drive
                .head()
                .and_then(|volume| volume.split(':').next())
                .unwrap_or_default()
                .to_owned()
        })
    });
    let shared = |id: &str| {
        snapshot
            .rows
            .iter()
            .any(|row| row.kind == "storage" && row.storage == id && row.shared)
    };
    let all_shared = storages
        .collect::<Vec<_>>()
        .iter()
        .all(|storage| shared(storage));
    session.remember_shared_template(template, all_shared);
    Ok(())
}

/// A free number that no other machine was given: the lowest one, or one of the range.
///
/// Numbers of machines elsewhere are left out as long as there are others: such a machine may not have been made yet,
/// and be in this datacenter after all.
async fn choose_number(
    session: &Session,
    cx: &MachineCx,
    snapshot: &Snapshot,
) -> Result<Option<u64>, ProviderError> {
    let failed = |error| step(reasons::CLONING_FAILED, error);
    let (scope, slots) = (session.scope(), cx.context.slots());
    let range = cx.infrastructure.spec.vm_id_range;
    let (first, last, first_is_free) = match range {
        Some(range) => (
            u64::try_from(range.start).unwrap_or(100),
            u64::try_from(range.end).unwrap_or(0),
            false,
        ),
        None => (
            session.client.next_id().await.map_err(failed)?,
            999_999_999,
            true,
        ),
    };
    for elsewhere_too in [false, true] {
        for candidate in first..=last {
            let slot = candidate.to_string();
            if snapshot.guest(candidate).is_some() {
                continue;
            }
            let held = slots.take(ANY_DATACENTER, &slot);
            if (held || elsewhere_too) && slots.take(&scope, &slot) {
                // A guest that the token may not see has its number, too.
                if first_is_free && candidate == first
                    || session.client.is_free(candidate).await.map_err(failed)?
                {
                    return Ok(Some(candidate));
                }
                slots.give_back(&scope, &slot);
            }
            if held {
                slots.give_back(ANY_DATACENTER, &slot);
            }
        }
    }
    Ok(None)
}

/// Takes over a virtual machine whose number is in the object already: pinned by a person, or cloned by the Go provider.
async fn adopt(
    session: &Session,
    cx: &MachineCx,
    snapshot: &Snapshot,
    vmid: u64,
) -> Result<Progress<ProxmoxIdentity>, ProviderError> {
    let name = cx
        .infrastructure
        .metadata
        .name
        .as_deref()
        .unwrap_or_default();
    let Some(row) = snapshot.guest(vmid) else {
        return Ok(cloning(vmid));
    };
    let config = match session.client.vm_config(&row.node, vmid).await {
        Ok(config) => config,
        Err(error) if error.class() == ErrorClass::Gone => return Ok(cloning(vmid)),
        Err(error) => return Err(step(reasons::CLONING_FAILED, error)),
    };
    if config.get("name").is_none() && config.get("lock").is_some() {
        return Ok(cloning(vmid));
    }
    if config.get("name") != Some(name) {
        let other = config.get("name").unwrap_or_default();
        let message = format!(
            "spec.virtualMachineID is {vmid}, but that virtual machine is called {other:?} and not {name:?}: it is left alone"
        );
        return Err(ProviderError::refused(reasons::FOREIGN, message));
    }
    let smbios = Smbios::read(config.get("smbios1")).unwrap_or_default();
    let uuid = smbios
        .uuid()
        .unwrap_or_else(|| own_uuid(&cx.infrastructure));
    session.register(
        &uuid,
        Known {
            group: group(cx),
            node: row.node.clone(),
            memory: 0,
            vmid,
        },
    );
    Ok(Progress::Ready(ProxmoxIdentity {
        vmid,
        uuid,
        node: row.node.clone(),
    }))
}

fn cloning(vmid: u64) -> Progress<ProxmoxIdentity> {
    Progress::waiting(
        format!("virtual machine {vmid}"),
        reasons::CLONING,
        "the clone is being made",
    )
    .after(Duration::from_secs(2))
}
