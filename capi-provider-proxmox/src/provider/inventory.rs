//! What is in a datacenter of a cluster, by the marker in the notes of its virtual machines: for whoever cleans up
//! when the management cluster is gone.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::destroy::{PATIENCE, delete_image};
use super::ensure::image_prefix;
use crate::client::{Client, Error, ErrorClass, GuestConfig, ResourceKind};

/// Configurations that are read at once.
const AT_ONCE: usize = 8;

/// A virtual machine that this provider made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belonging {
    /// Its number.
    pub vmid: u64,
    /// Where it is.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Whether it is on.
    pub running: bool,
    /// The UUID in its marker.
    pub uuid: String,
    /// Its images, such as `local:iso/capi-….iso`.
    pub images: Vec<String>,
}

/// The line in a virtual machine's notes that says which machine it is.
pub(super) fn uuid_line(uuid: &str) -> String {
    format!("{UUID}{uuid}")
}

/// The line in a virtual machine's notes that says which Cluster it is of.
pub(super) fn cluster_line(namespace: &str, cluster: &str) -> String {
    format!("{CLUSTER}{namespace}/{cluster}")
}

const UUID: &str = "capi-uuid: ";
const CLUSTER: &str = "capi-cluster: ";

/// Notes as they are wanted: a person's own, and the marker.
pub(super) fn notes(own: Option<&str>, uuid: &str, cluster: &str) -> String {
    let own = own.map(str::trim_end).filter(|own| !own.is_empty());
    let marker = if cluster.is_empty() {
        uuid_line(uuid)
    } else {
        format!("{}\n{cluster}", uuid_line(uuid))
    };
    match own {
        Some(own) => format!("{own}\n\n{marker}"),
        None => marker,
    }
}

/// The UUID of a configuration that bears the marker of a Cluster.
fn marked(config: &GuestConfig, cluster: &str) -> Option<String> {
    let notes = config.get("description")?;
    let mut lines = notes.lines().map(str::trim);
    if !lines.any(|line| line == cluster) {
        return None;
    }
    let mut lines = notes.lines().map(str::trim);
    lines.find_map(|line| line.strip_prefix(UUID).map(str::to_owned))
}

/// The virtual machines that were made for a Cluster, by their marker. Changes nothing.
///
/// One call for the datacenter, one for each of its virtual machines, one for each storage of images.
///
/// # Errors
/// When Proxmox VE does not answer.
pub async fn inventory(
    client: &Client,
    namespace: &str,
    cluster: &str,
) -> Result<Vec<Belonging>, Error> {
    let wanted = cluster_line(namespace, cluster);
    let rows = client.resources(ResourceKind::All).await?;
    let guests = rows.iter().filter_map(|row| {
        let vmid = row.vmid.filter(|_| row.kind == "qemu" && !row.template)?;
        Some((row, vmid))
    });
    let mut found: Vec<Belonging> = stream::iter(guests)
        .map(|(row, vmid)| {
            let wanted = &wanted;
            async move {
                let config = match client.vm_config(&row.node, vmid).await {
                    Ok(config) => config,
                    // It went meanwhile, or nobody may look: not ours to remove.
                    Err(error)
                        if matches!(error.class(), ErrorClass::Gone | ErrorClass::Permission) =>
                    {
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                };
                Ok(marked(&config, wanted).map(|uuid| Belonging {
                    vmid,
                    node: row.node.clone(),
                    name: row.name.clone(),
                    running: row.status == "running",
                    uuid,
                    images: Vec::new(),
                }))
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await?;
    found.sort_by_key(|belonging| belonging.vmid);
    if found.is_empty() {
        return Ok(found);
    }
    for row in &rows {
        let holds_images = row.content.split(',').any(|content| content == "iso");
        if row.kind != "storage" || row.status != "available" || !holds_images {
            continue;
        }
        for volume in client.volumes(&row.node, &row.storage, Some("iso")).await? {
            let name = volume.volid.rsplit('/').next().unwrap_or_default();
            for belonging in &mut found {
                let here = row.shared || row.node == belonging.node;
                if here
                    && name.starts_with(&image_prefix(&belonging.uuid))
                    && !belonging.images.contains(&volume.volid)
                {
                    belonging.images.push(volume.volid.clone());
                }
            }
        }
    }
    Ok(found)
}

/// Removes a virtual machine that [`inventory`] found, and its images: proved once more to bear the Cluster's marker,
/// switched off, destroyed. One that is gone is no error; one that no longer bears the marker is left alone.
///
/// # Errors
/// When a call or a task fails, or a task takes longer than 20 seconds: call it again.
pub async fn remove(
    client: &Client,
    namespace: &str,
    cluster: &str,
    belonging: &Belonging,
) -> Result<(), Error> {
    let (node, vmid) = (belonging.node.as_str(), belonging.vmid);
    match client.vm_config(node, vmid).await {
        Ok(config) => {
            let wanted = cluster_line(namespace, cluster);
            if marked(&config, &wanted).as_deref() != Some(&*belonging.uuid) {
                return Ok(());
            }
        }
        Err(error) if error.class() == ErrorClass::Gone => return Ok(()),
        Err(error) => return Err(error),
    }
    let stop = client.stop_vm(node, vmid).await?;
    match client.wait_for_task(&stop, PATIENCE).await {
        // One that is off already is what is wanted.
        Err(Error::Task { exit_status, .. }) if exit_status.contains("not running") => {}
        ended => {
            ended?;
        }
    }
    for image in &belonging.images {
        let storage = image.split(':').next().unwrap_or_default();
        delete_image(client, node, storage, image).await?;
    }
    let gone = client.destroy_vm(node, vmid).await?;
    client.wait_for_task(&gone, PATIENCE).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_hold_a_persons_own_words_and_the_marker() {
        let cluster = cluster_line("default", "first");
        assert_eq!(
            notes(Some("Mine.\n"), "u-1", &cluster),
            "Mine.\n\ncapi-uuid: u-1\ncapi-cluster: default/first"
        );
        assert_eq!(notes(None, "u-1", ""), "capi-uuid: u-1");
    }

    #[test]
    fn only_the_whole_line_of_a_cluster_is_its_marker() {
        let config = |notes: &str| -> GuestConfig {
            serde_json::from_value(serde_json::json!({ "description": notes })).unwrap()
        };
        let ours = notes(None, "u-1", &cluster_line("default", "first"));
        let wanted = cluster_line("default", "first");
        assert_eq!(marked(&config(&ours), &wanted).as_deref(), Some("u-1"));
        let other = notes(None, "u-2", &cluster_line("default", "first-2"));
        assert_eq!(marked(&config(&other), &wanted), None);
        assert_eq!(
            marked(&config("capi-cluster: default/first"), &wanted),
            None
        );
    }
}
