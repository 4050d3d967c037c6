//! What a cluster needs of its datacenter, asked before the first write.

use capi_examples::objects;
use capi_provider_proxmox::{
    api::{ProxmoxCluster, ProxmoxMachineSpec},
    client::Client as ProxmoxClient,
    provider::{Belonging, MachineGroup, grants, preflight},
};
use serde_json::Value;

use crate::{
    directory::Error,
    manifest::{Manifest, Reference, shown},
    plane::{Plane, definitions, to_stored_version},
};

/// Machines that are going to be there.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The TalosControlPlane or MachineDeployment, whose name theirs begin with.
    owner: String,
    machines: MachineGroup,
}

/// What a manifest asks of a datacenter.
pub(crate) struct Plan {
    cluster: ProxmoxCluster,
    groups: Vec<Group>,
}

/// Checks kinds, versions and references, then tries all documents: before the first write.
pub(crate) async fn check(manifest: &Manifest, plane: &Plane) -> Result<Vec<Value>, Error> {
    manifest.check_kinds(&definitions())?;
    for reference in manifest.missing_references() {
        if find(plane, &reference).await?.is_none() {
            let Reference {
                from,
                kind,
                namespace,
                name,
            } = reference;
            return Err(format!(
                "{from} names {kind} {namespace}/{name}, which is neither in the manifest nor on \
                 the API server"
            )
            .into());
        }
    }
    let mut documents = Vec::new();
    for document in &manifest.documents {
        documents.push(if plane.converts {
            document.clone()
        } else {
            to_stored_version(document.clone())?
        });
    }
    for document in &documents {
        objects::apply(&plane.client, document, true).await?;
    }
    Ok(documents)
}

/// An object that is named, on the API server.
async fn find(plane: &Plane, reference: &Reference) -> Result<Option<Value>, Error> {
    let all = definitions();
    let Some(definition) = all
        .iter()
        .find(|definition| definition["spec"]["names"]["kind"] == reference.kind.as_str())
    else {
        return Ok(None);
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = definition["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|version| version["storage"] == true)
        .map(|version| text(&version["name"]))
        .unwrap_or_default();
    let path = format!(
        "/apis/{}/{version}/namespaces/{}/{}/{}",
        text(&definition["spec"]["group"]),
        reference.namespace,
        text(&definition["spec"]["names"]["plural"]),
        reference.name
    );
    Ok(objects::get(&plane.client, &path).await?)
}

impl Plan {
    /// Reads it from the manifest; `None` when its infrastructure is not Proxmox VE.
    pub(crate) async fn read(manifest: &Manifest, plane: &Plane) -> Result<Option<Self>, Error> {
        let Some(cluster) = manifest.of_kind("ProxmoxCluster").next() else {
            return Ok(None);
        };
        let cluster = to_stored_version(cluster.clone())?;
        let mut groups = Vec::new();
        for (kind, field) in [
            ("TalosControlPlane", "/spec/infrastructureTemplate"),
            ("MachineDeployment", "/spec/template/spec/infrastructureRef"),
        ] {
            for owner in manifest.of_kind(kind) {
                let owner = to_stored_version(owner.clone())?;
                let name = owner
                    .pointer(field)
                    .and_then(|found| found["name"].as_str());
                let Some(name) = name else { continue };
                let namespace = owner["metadata"]["namespace"].as_str().unwrap_or_default();
                let template = manifest
                    .of_kind("ProxmoxMachineTemplate")
                    .find(|template| template["metadata"]["name"] == name);
                let template = match template {
                    Some(template) => Some(to_stored_version(template.clone())?),
                    None => {
                        let reference = Reference {
                            from: String::new(),
                            kind: "ProxmoxMachineTemplate".to_owned(),
                            namespace: namespace.to_owned(),
                            name: name.to_owned(),
                        };
                        find(plane, &reference).await?
                    }
                };
                let Some(template) = template else { continue };
                let spec: ProxmoxMachineSpec = serde_json::from_value(
                    template["spec"]["template"]["spec"].clone(),
                )
                .map_err(|error| {
                    format!(
                        "ProxmoxMachineTemplate {namespace}/{name}: spec.template.spec: {error}"
                    )
                })?;
                let count = owner["spec"]["replicas"].as_u64().unwrap_or(1);
                groups.push(Group {
                    owner: owner["metadata"]["name"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    machines: MachineGroup {
                        name: format!("ProxmoxMachineTemplate {}", shown(&template)),
                        count: u32::try_from(count)?,
                        spec,
                    },
                });
            }
        }
        let shown = shown(&cluster);
        let cluster = serde_json::from_value(cluster)
            .map_err(|error| format!("ProxmoxCluster {shown}: {error}"))?;
        Ok(Some(Self { cluster, groups }))
    }

    /// Everything that the datacenter lacks for what is not there yet, and how to give the token the
    /// privileges that are among it.
    pub(crate) async fn findings(
        &self,
        client: &ProxmoxClient,
        token: &str,
        there: &[Belonging],
    ) -> Result<Vec<String>, capi_provider_proxmox::client::Error> {
        let groups: Vec<MachineGroup> = self
            .groups
            .iter()
            .map(|group| MachineGroup {
                count: group.count(there),
                ..group.machines.clone()
            })
            .filter(|group| group.count > 0)
            .collect();
        let found = preflight(client, &self.cluster, &groups).await?;
        let cluster = self.cluster.metadata.name.as_deref().unwrap_or_default();
        let namespace = self
            .cluster
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default();
        let texts = found.iter().map(|finding| {
            let text = finding.to_string();
            match text.starts_with("spec.") {
                true => format!("ProxmoxCluster {namespace}/{cluster}: {text}"),
                false => text,
            }
        });
        let commands = grants(&found, token);
        let commands = commands
            .iter()
            .map(|command| format!("to grant: {command}"));
        Ok(texts.chain(commands).collect())
    }

    /// What is going to be made, a line each.
    pub(crate) fn lines(&self, there: &[Belonging]) -> Vec<String> {
        let mut lines = Vec::new();
        for belonging in there {
            let state = if belonging.running { "running" } else { "off" };
            lines.push(format!(
                "there: virtual machine {} {} on {} ({state})",
                belonging.vmid, belonging.name, belonging.node
            ));
        }
        for group in &self.groups {
            let spec = &group.machines.spec;
            let mut facts = Vec::new();
            match (&spec.template_id, &spec.template_selector) {
                (Some(template), _) => facts.push(format!("clones of template {template}")),
                (None, Some(selector)) => facts.push(format!(
                    "clones of the template with the tags {}",
                    selector.match_tags.join(", ")
                )),
                (None, None) => {}
            }
            if let Some(node) = &spec.source_node {
                facts.push(format!("which is on {node}"));
            }
            let cores = spec.num_sockets.unwrap_or(1) * spec.num_cores.unwrap_or(0);
            if cores > 0 {
                facts.push(format!("{cores} cores"));
            }
            if let Some(memory) = spec.memory_mib {
                facts.push(format!("{memory} MiB of memory"));
            }
            let disk = spec
                .disks
                .as_ref()
                .and_then(|disks| disks.boot_volume.as_ref());
            if let Some(disk) = disk {
                facts.push(format!("{} GiB on {}", disk.size_gb, disk.disk));
            }
            if let Some(storage) = &spec.storage {
                facts.push(format!("storage {storage}"));
            }
            lines.push(format!(
                "to make: {} virtual machines {}-*: {}",
                group.count(there),
                group.owner,
                facts.join(", ")
            ));
        }
        let spec = &self.cluster.spec;
        for config in [&spec.ipv4_config, &spec.ipv6_config].into_iter().flatten() {
            lines.push(format!(
                "to use: an address for each of {}, and an ISO image until it has booted",
                config.addresses.join(", ")
            ));
        }
        lines.push(format!(
            "to use: the address of the cluster, {}:{}",
            spec.control_plane_endpoint.host, spec.control_plane_endpoint.port
        ));
        lines
    }
}

impl Group {
    /// How many are still to be made.
    fn count(&self, there: &[Belonging]) -> u32 {
        let prefix = format!("{}-", self.owner);
        let made = there
            .iter()
            .filter(|belonging| belonging.name.starts_with(&prefix))
            .count();
        let made = u32::try_from(made).unwrap_or(u32::MAX);
        self.machines.count.saturating_sub(made)
    }
}
