//! Volumes of a Node that must be detached before its host goes.
//!
//! Decides from what the Node, VolumeAttachments and PersistentVolumes say; never detaches.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{drain::shortened, node::Node};
use crate::api::Time;

/// What was read to decide whether volumes are still attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeFacts {
    /// Names of PersistentVolumes that VolumeAttachments of this Node say are attached; `None` for
    /// an attachment without one.
    pub attached: Vec<AttachedPersistentVolume>,
    /// All PersistentVolumes.
    pub persistent_volumes: Vec<PersistentVolume>,
}

/// A VolumeAttachment of the Node that is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachedPersistentVolume {
    /// Name of the VolumeAttachment.
    pub attachment: String,
    /// Name of the PersistentVolume.
    pub persistent_volume: Option<String>,
}

/// A PersistentVolume, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolume {
    /// Name.
    pub name: String,
    /// Driver and handle, of a CSI volume.
    pub csi: Option<(String, String)>,
    /// `namespace/name` of the PersistentVolumeClaim that it is bound to.
    pub claim: Option<String>,
}

/// What is waited for; `None` when no volume holds the Node. Claims in `ignored` are not waited
/// for: they belong to pods that a drain leaves alone.
///
/// # Errors
/// When a VolumeAttachment names no PersistentVolume.
pub fn waiting_for(
    facts: &VolumeFacts,
    node: &Node,
    ignored: &[String],
    started: Time,
) -> Result<Option<String>, String> {
    let on_node: BTreeSet<&str> = node
        .status
        .volumes_attached
        .iter()
        .map(|volume| volume.name.as_str())
        .collect();
    let mut attached = BTreeSet::new();
    for attachment in &facts.attached {
        attached.insert(attachment.persistent_volume.as_deref().ok_or_else(|| {
            format!(
                "spec.source.persistentVolumeName for VolumeAttachment {} is not set",
                attachment.attachment
            )
        })?);
    }
    let (mut claims, mut unclaimed) = (BTreeSet::new(), BTreeSet::new());
    let (mut found_on_node, mut found_attached) = (BTreeSet::new(), BTreeSet::new());
    for volume in &facts.persistent_volumes {
        let csi = volume
            .csi
            .as_ref()
            .map(|(driver, handle)| format!("kubernetes.io/csi/{driver}^{handle}"))
            .filter(|name| on_node.contains(name.as_str()));
        let by_name = attached.contains(volume.name.as_str());
        if by_name {
            found_attached.insert(volume.name.as_str());
        }
        if csi.is_none() && !by_name {
            continue;
        }
        found_on_node.extend(csi);
        match &volume.claim {
            Some(claim) if ignored.contains(claim) => {}
            Some(claim) => {
                claims.insert(claim.as_str());
            }
            None => {
                unclaimed.insert(volume.name.as_str());
            }
        }
    }
    let unknown_on_node = on_node
        .into_iter()
        .filter(|name| !found_on_node.contains(*name));
    let unknown_attached = attached.difference(&found_attached).copied();
    let mut text = format!("Waiting for Node volumes to be detached (started at {started})");
    let mut waiting = false;
    let groups: [(&str, Vec<&str>); 4] = [
        ("PersistentVolumeClaims", claims.into_iter().collect()),
        (
            "PersistentVolumes without a .spec.claimRef to a PersistentVolumeClaim",
            unclaimed.into_iter().collect(),
        ),
        (
            "Node with .status.volumesAttached entries not matching a PersistentVolume",
            unknown_on_node.collect(),
        ),
        (
            "VolumeAttachment with .spec.source.persistentVolumeName not matching a \
             PersistentVolume",
            unknown_attached.collect(),
        ),
    ];
    for (what, names) in groups.iter().filter(|(_, names)| !names.is_empty()) {
        waiting = true;
        text.push_str(&format!("\n* {what}: {}", shortened(names, 5)));
    }
    Ok(waiting.then_some(text))
}
