//! The steps: apply, watch it come up, scale, replace, delete, prove.

use std::{collections::BTreeSet, time::Duration};

use capi_examples::{
    lab::Lab,
    objects::{self, Address},
};
use kube::Client;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{
    arguments::Arguments,
    manifest::Manifest,
    parts::{Access, Directory, Error, Plane, secret, to_stored_version},
    view::View,
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(150);

/// A VM of somebody else, which must survive.
const FOREIGN: u64 = 100;

/// What one run works with.
pub(crate) struct Run<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) manifest: &'a Manifest,
    pub(crate) plane: &'a Plane,
    pub(crate) access: &'a Access,
    pub(crate) lab: Option<&'a Lab>,
    pub(crate) directory: &'a Directory,
    pub(crate) view: &'a mut View,
}

/// The kinds that belong to a cluster, by collection, and how deep they are shown.
const TREE: [(&str, usize); 9] = [
    (
        "/apis/infrastructure.cluster.x-k8s.io/v1alpha2/namespaces/NS/proxmoxclusters",
        1,
    ),
    (
        "/apis/controlplane.cluster.x-k8s.io/v1alpha3/namespaces/NS/taloscontrolplanes",
        1,
    ),
    (
        "/apis/cluster.x-k8s.io/v1beta2/namespaces/NS/machinedeployments",
        1,
    ),
    (
        "/apis/cluster.x-k8s.io/v1beta2/namespaces/NS/machinesets",
        2,
    ),
    ("/apis/cluster.x-k8s.io/v1beta2/namespaces/NS/machines", 2),
    (
        "/apis/infrastructure.cluster.x-k8s.io/v1alpha2/namespaces/NS/proxmoxmachines",
        3,
    ),
    (
        "/apis/bootstrap.cluster.x-k8s.io/v1alpha3/namespaces/NS/talosconfigs",
        3,
    ),
    (
        "/apis/ipam.cluster.x-k8s.io/v1beta2/namespaces/NS/ipaddressclaims",
        3,
    ),
    (
        "/apis/ipam.cluster.x-k8s.io/v1beta2/namespaces/NS/ipaddresses",
        3,
    ),
];

impl Run<'_> {
    pub(crate) async fn all(&mut self) -> Result<(), Error> {
        self.plant();
        self.apply().await?;
        self.up("the cluster is up", None).await?;
        self.hand_over().await?;
        if self.arguments.serve {
            self.view.say("serving until Ctrl-C");
            std::future::pending::<()>().await;
        }
        if self.arguments.keep {
            self.view.timeline();
            return Ok(());
        }
        if let Some(deployment) = self.deployment() {
            self.scale(&deployment, 5).await?;
            self.replace(&deployment).await?;
        }
        self.delete().await?;
        self.prove().await?;
        self.view.timeline();
        Ok(())
    }

    fn client(&self) -> &Client {
        &self.plane.client
    }

    fn namespace(&self) -> Result<String, Error> {
        let cluster = self.manifest.cluster()?;
        Ok(cluster["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default")
            .to_owned())
    }

    fn cluster(&self) -> Result<Address, Error> {
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2",
            "kind": "Cluster",
            "metadata": self.manifest.cluster()?["metadata"],
        });
        Ok(Address::of(&cluster)?)
    }

    fn deployment(&self) -> Option<Address> {
        let first = self.manifest.of_kind("MachineDeployment").next()?;
        let current = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2",
            "kind": "MachineDeployment",
            "metadata": first["metadata"],
        });
        Address::of(&current).ok()
    }

    /// A VM of somebody else stands in the datacenter before we come.
    fn plant(&mut self) {
        let Some(lab) = self.lab else { return };
        let node = self.manifest.nodes().first().cloned().unwrap_or_default();
        lab.proxmox.change(|datacenter| {
            let spec = capi_provider_proxmox::simulator::TemplateSpec {
                name: "somebody-elses".to_owned(),
                node,
                storage: "local-lvm".to_owned(),
                tags: String::new(),
                disk_gib: 8,
                memory_mib: 1024,
                bridge: "vmbr0".to_owned(),
            };
            datacenter.add_template(FOREIGN, &spec);
            if let Some(guest) = datacenter.guests.get_mut(&FOREIGN) {
                guest.template = false;
            }
        });
    }

    /// All documents, tried first, then for good; credentials once they are missed.
    async fn apply(&mut self) -> Result<(), Error> {
        let mut documents = Vec::new();
        for document in &self.manifest.documents {
            documents.push(match self.plane.converts {
                true => document.clone(),
                false => to_stored_version(document.clone())?,
            });
        }
        for document in &documents {
            objects::apply(self.client(), document, true).await?;
        }
        for document in &documents {
            let applied = objects::apply(self.client(), document, false).await?;
            let address = Address::of(document)?;
            self.view.remember(
                format!("{}/{} applied", address.kind, address.name),
                &applied,
            );
        }
        self.view
            .say(&format!("applied {} objects", documents.len()));
        let Some((namespace, name)) = self.manifest.credentials() else {
            return Ok(());
        };
        let wanted = secret(&namespace, &name, &self.access.credentials);
        let address = Address::of(&wanted)?;
        if objects::get(self.client(), &address.path).await?.is_some() {
            return Ok(());
        }
        let clusters = TREE[0].0.replace("NS", &self.namespace()?);
        self.wait(
            "the missing credentials were noticed",
            &clusters,
            |clusters| {
                clusters.iter().any(|cluster| {
                    let conditions = cluster["status"]["conditions"].as_array();
                    conditions.into_iter().flatten().any(|condition| {
                        condition["message"]
                            .as_str()
                            .is_some_and(|text| text.contains(&name))
                    })
                })
            },
        )
        .await?;
        objects::apply(self.client(), &wanted, false).await?;
        self.view.say(&format!(
            "supplied Secret {namespace}/{name} with the datacenter's credentials"
        ));
        Ok(())
    }

    /// Until the cluster and all its machines are as they should be, with so many workers.
    async fn up(&mut self, done: &str, workers: Option<i64>) -> Result<(), Error> {
        let cluster = self.cluster()?;
        let deadline = self.view.elapsed() + self.arguments.timeout();
        loop {
            let tree = self.tree().await?;
            self.view.show(&tree);
            let is = |object: &Value, name: &str| {
                let conditions = object["status"]["conditions"].as_array();
                conditions
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == name && condition["status"] == "True")
            };
            let available = tree
                .iter()
                .any(|(_, object)| object["kind"] == "Cluster" && is(object, "Available"));
            let settled = tree
                .iter()
                .filter(|(_, object)| object["kind"] == "MachineDeployment")
                .all(|(_, object)| {
                    let status = &object["status"];
                    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(0);
                    workers.is_none_or(|workers| workers == wanted)
                        && ["replicas", "availableReplicas", "upToDateReplicas"]
                            .iter()
                            .all(|field| status[*field].as_i64() == Some(wanted))
                        && status["observedGeneration"] == object["metadata"]["generation"]
                });
            let control_planes = tree
                .iter()
                .filter(|(_, object)| object["kind"] == "TalosControlPlane")
                .all(|(_, object)| {
                    object["status"]["readyReplicas"].as_i64()
                        == object["spec"]["replicas"].as_i64()
                });
            if available && settled && control_planes {
                let found = objects::get(self.client(), &cluster.path)
                    .await?
                    .unwrap_or_default();
                self.view.remember(done, &found);
                self.view.say(done);
                return Ok(());
            }
            if self.view.elapsed() > deadline {
                return Err(self.in_vain(done));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn in_vain(&self, what: &str) -> Error {
        let chain = self.view.blocked();
        format!(
            "not in {} s: {what}\nwhat blocks:\n  {}",
            self.arguments.timeout,
            chain.join("\n  ")
        )
        .into()
    }

    async fn wait(
        &mut self,
        what: &str,
        collection: &str,
        done: impl Fn(&[Value]) -> bool,
    ) -> Result<(), Error> {
        let deadline = self.view.elapsed() + self.arguments.timeout();
        loop {
            let found = objects::list(self.client(), collection).await?;
            if done(&found) {
                self.view.say(what);
                return Ok(());
            }
            let tree = self.tree().await?;
            self.view.show(&tree);
            if self.view.elapsed() > deadline {
                return Err(self.in_vain(what));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn tree(&self) -> Result<Vec<(usize, Value)>, Error> {
        let cluster = self.cluster()?;
        let namespace = self.namespace()?;
        let mut tree = Vec::new();
        if let Some(found) = objects::get(self.client(), &cluster.path).await? {
            tree.push((0, found));
        }
        for (collection, depth) in TREE {
            let path = collection.replace("NS", &namespace);
            for object in objects::list(self.client(), &path).await? {
                let label = &object["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"];
                if label == cluster.name.as_str() || depth == 1 {
                    tree.push((depth, object));
                }
            }
        }
        for (_, object) in &mut tree {
            name_kind(object);
        }
        Ok(tree)
    }

    /// Writes what a person needs to go on by hand, and says the commands.
    async fn hand_over(&mut self) -> Result<(), Error> {
        let (cluster, namespace) = (self.cluster()?, self.namespace()?);
        for (secret, key, file) in [
            (
                format!("{}-kubeconfig", cluster.name),
                "value",
                "workload.kubeconfig",
            ),
            (
                format!("{}-talosconfig", cluster.name),
                "talosconfig",
                "talosconfig",
            ),
            (format!("{}-talos", cluster.name), "bundle", "secrets.yaml"),
        ] {
            let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
            if let Some(found) = objects::get(self.client(), &path).await?
                && let Some(value) = decoded(&found["data"][key])
            {
                self.directory.write(file, value.expose_secret())?;
            }
        }
        self.write_isos()?;
        if self.arguments.dir.is_some() {
            let file = |name| self.directory.file(name).display().to_string();
            let lines = [
                format!(
                    "kubectl --kubeconfig {} get clusters,machines",
                    file("kubeconfig")
                ),
                format!(
                    "kubectl --kubeconfig {} get nodes",
                    file("workload.kubeconfig")
                ),
                format!("talosctl --talosconfig {} version", file("talosconfig")),
            ];
            for line in lines {
                self.view.say(&format!("next: {line}"));
            }
        }
        Ok(())
    }

    /// The boot images, as the machines got them.
    fn write_isos(&self) -> Result<(), Error> {
        let (Some(lab), Some(_)) = (self.lab, &self.arguments.dir) else {
            return Ok(());
        };
        let images: Vec<(String, Vec<u8>)> = lab.proxmox.inspect(|datacenter| {
            let volumes = datacenter.volumes.values();
            volumes
                .filter(|volume| !volume.content.is_empty())
                .map(|volume| (volume.id.clone(), volume.content.clone()))
                .collect()
        });
        let isos = self.directory.file("isos");
        std::fs::create_dir_all(&isos)?;
        for (id, content) in images {
            let name = id.rsplit(['/', ':']).next().unwrap_or(&id);
            self.directory.write(&format!("isos/{name}"), &content)?;
        }
        Ok(())
    }

    async fn scale(&mut self, deployment: &Address, replicas: i64) -> Result<(), Error> {
        let patch = json!({ "spec": { "replicas": replicas } });
        let patched = objects::patch(self.client(), deployment, &patch).await?;
        self.view
            .remember(format!("workers scaled to {replicas}"), &patched);
        self.view.say(&format!("scaling workers to {replicas}"));
        self.up(&format!("{replicas} workers are available"), Some(replicas))
            .await
    }

    /// A new template with twice the memory, one worker after another.
    async fn replace(&mut self, deployment: &Address) -> Result<(), Error> {
        let found = objects::get(self.client(), &deployment.path)
            .await?
            .unwrap_or_default();
        let name = found["spec"]["template"]["spec"]["infrastructureRef"]["name"]
            .as_str()
            .unwrap_or_default();
        let namespace = self.namespace()?;
        let templates = format!(
            "/apis/infrastructure.cluster.x-k8s.io/v1alpha2/namespaces/{namespace}/proxmoxmachinetemplates"
        );
        let Some(template) = objects::get(self.client(), &format!("{templates}/{name}")).await?
        else {
            return Err(format!("ProxmoxMachineTemplate {name} does not exist").into());
        };
        let mut bigger = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2",
            "kind": "ProxmoxMachineTemplate",
            "metadata": { "namespace": namespace, "name": format!("{name}-2") },
            "spec": template["spec"],
        });
        let memory = &mut bigger["spec"]["template"]["spec"]["memoryMiB"];
        *memory = json!(memory.as_i64().unwrap_or(2048) * 2);
        objects::apply(self.client(), &bigger, false).await?;
        let patch = json!({ "spec": { "template": { "spec": { "infrastructureRef": {
            "name": format!("{name}-2"),
        }}}}});
        let before = self.machines().await?;
        let patched = objects::patch(self.client(), deployment, &patch).await?;
        self.view.remember("workers get a new template", &patched);
        self.view.say("replacing workers: twice the memory");
        let machines = TREE[4].0.replace("NS", &namespace);
        self.wait("the old workers are gone", &machines, move |machines| {
            machines.iter().all(|machine| {
                let name = machine["metadata"]["name"].as_str().unwrap_or_default();
                !before.contains(name)
            })
        })
        .await?;
        self.up("all workers are new", patched["spec"]["replicas"].as_i64())
            .await
    }

    /// Names of the workers.
    async fn machines(&self) -> Result<BTreeSet<String>, Error> {
        let path = TREE[4].0.replace("NS", &self.namespace()?);
        let machines = objects::list(self.client(), &path).await?;
        let workers = machines.iter().filter(|machine| {
            machine["metadata"]["labels"]["cluster.x-k8s.io/control-plane"].is_null()
        });
        Ok(workers
            .filter_map(|machine| machine["metadata"]["name"].as_str().map(str::to_owned))
            .collect())
    }

    async fn delete(&mut self) -> Result<(), Error> {
        let cluster = self.cluster()?;
        let found = objects::get(self.client(), &cluster.path)
            .await?
            .unwrap_or_default();
        self.view.remember("Cluster deleted", &found);
        self.view.say("deleting the cluster");
        objects::delete(self.client(), &cluster).await?;
        let clusters = cluster.collection.clone();
        let name = cluster.name.clone();
        self.wait("the cluster is gone", &clusters, move |clusters| {
            !clusters
                .iter()
                .any(|cluster| cluster["metadata"]["name"] == name.as_str())
        })
        .await
    }

    /// Reads the datacenter and the API server back: nothing of ours is left.
    async fn prove(&mut self) -> Result<(), Error> {
        let namespace = self.namespace()?;
        let mut left = Vec::new();
        for (collection, depth) in TREE {
            for object in
                objects::list(self.client(), &collection.replace("NS", &namespace)).await?
            {
                if depth >= 2 {
                    left.push(format!("{} of {collection}", object["metadata"]["name"]));
                }
            }
        }
        let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
        for secret in objects::list(self.client(), &secrets).await? {
            let label = &secret["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"];
            if !label.is_null() {
                left.push(format!("Secret {}", secret["metadata"]["name"]));
            }
        }
        if let Some(lab) = self.lab {
            let templates = self.manifest.templates();
            let (machines, images, foreign) = lab.proxmox.inspect(|datacenter| {
                let machines: Vec<u64> = datacenter
                    .guests
                    .keys()
                    .copied()
                    .filter(|vmid| *vmid != FOREIGN && !templates.contains(vmid))
                    .collect();
                let images: Vec<String> = datacenter
                    .volumes
                    .values()
                    .filter(|volume| volume.id.contains("iso/"))
                    .map(|volume| volume.id.clone())
                    .collect();
                (machines, images, datacenter.guests.contains_key(&FOREIGN))
            });
            left.extend(
                machines
                    .into_iter()
                    .map(|vmid| format!("virtual machine {vmid}")),
            );
            left.extend(images.into_iter().map(|image| format!("image {image}")));
            if !foreign {
                return Err(format!("virtual machine {FOREIGN} of somebody else is gone").into());
            }
            self.directory
                .write("pve.json", lab.proxmox.dump()?.as_bytes())?;
        }
        if !left.is_empty() {
            return Err(format!("left behind:\n  {}", left.join("\n  ")).into());
        }
        self.view.say(
            "read back: no virtual machine, image, address or secret of ours is left; what was \
             there before stays",
        );
        Ok(())
    }
}

fn decoded(value: &Value) -> Option<secrecy::SecretSlice<u8>> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(value.as_str()?)
        .ok()?;
    Some(secrecy::SecretSlice::from(bytes))
}

/// Items of a list may leave their kind out; the view needs it.
fn name_kind(object: &mut Value) {
    if object["kind"].is_string() {
        return;
    }
    object["kind"] = json!("Object");
}
