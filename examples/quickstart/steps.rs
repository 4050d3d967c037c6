//! The steps: apply, watch it come up, scale, replace, delete.

use std::{collections::BTreeSet, time::Duration};

use capi_examples::{
    lab::Lab,
    objects::{self, Address},
};
use capi_provider_proxmox::client::Client as ProxmoxClient;
use kube::Client;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{
    arguments::Arguments,
    credentials::{Credentials, Found},
    datacenter::Contents,
    directory::{Directory, Error},
    manifest::Manifest,
    plane::Plane,
    tree::{Branch, Tree},
    view::View,
};

/// Between two looks at what the watches brought.
const LOOK: Duration = Duration::from_millis(100);

/// What one run works with.
pub(crate) struct Run<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) manifest: &'a Manifest,
    pub(crate) plane: &'a Plane,
    /// The Secret by which the controllers get into it, where the manifest names one.
    pub(crate) credentials: Option<Credentials>,
    /// The way into the datacenter, for reading it back.
    pub(crate) proxmox: &'a ProxmoxClient,
    /// What was in a simulated datacenter before; nobody knows who else works in a real one.
    pub(crate) before: Option<Contents>,
    pub(crate) lab: Option<&'a Lab>,
    pub(crate) directory: &'a Directory,
    pub(crate) view: &'a mut View,
    pub(crate) tree: Tree,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Run<'_> {
    /// All of them.
    pub(crate) async fn all(&mut self, documents: &[Value]) -> Result<(), Error> {
        self.take_up().await?;
        self.apply(documents).await?;
        self.up("the cluster is up", None).await?;
        self.hand_over().await?;
        if self.arguments.serve {
            self.view.say("serving until Ctrl-C");
            loop {
                self.look().await;
            }
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

    pub(crate) fn client(&self) -> &Client {
        &self.plane.client
    }

    fn address(&self, kind: &str, name: &str) -> Result<Address, Error> {
        let branch = Branch::of(kind).ok_or_else(|| format!("{kind} is not in the tree"))?;
        Ok(Address::of(&json!({
            "apiVersion": branch.resource().api_version(),
            "kind": kind,
            "metadata": { "namespace": self.namespace, "name": name },
        }))?)
    }

    /// The first MachineDeployment of the manifest.
    fn deployment(&self) -> Option<Address> {
        let first = self.manifest.of_kind("MachineDeployment").next()?;
        self.address("MachineDeployment", first["metadata"]["name"].as_str()?)
            .ok()
    }

    /// Shows what changed, and waits a little.
    async fn look(&mut self) {
        let news = self.tree.news();
        self.view.show(&news, &self.tree);
        tokio::time::sleep(LOOK).await;
    }

    /// All documents for good; credentials once they are missed.
    async fn apply(&mut self, documents: &[Value]) -> Result<(), Error> {
        for document in documents {
            let applied = objects::apply(self.client(), document, false).await?;
            let address = Address::of(document)?;
            self.view.remember(
                format!("{}/{} applied", address.kind, address.name),
                &applied,
            );
        }
        self.view
            .say(&format!("applied {} objects", documents.len()));
        let Some(credentials) = self.credentials.take() else {
            return Ok(());
        };
        if credentials.found != Found::Nothing {
            return Ok(());
        }
        let name = credentials.name.as_str();
        self.wait("the missing credentials were noticed", |tree| {
            tree.of_kind("ProxmoxCluster").any(|cluster| {
                let conditions = cluster["status"]["conditions"].as_array();
                conditions.into_iter().flatten().any(|condition| {
                    condition["message"]
                        .as_str()
                        .is_some_and(|text| text.contains(name))
                })
            })
        })
        .await?;
        credentials.supply(self.client()).await?;
        self.view.say(&format!(
            "supplied Secret {} with the datacenter's credentials",
            credentials.shown
        ));
        Ok(())
    }

    /// What an earlier run on this API server left, whose simulated datacenter went with it: its
    /// credentials are renewed, its Cluster goes before it is made anew.
    async fn take_up(&mut self) -> Result<(), Error> {
        let outdated = |credentials: &&Credentials| credentials.found == Found::Outdated;
        let Some(credentials) = self.credentials.as_ref().filter(outdated) else {
            return Ok(());
        };
        credentials.supply(&self.plane.client).await?;
        self.view.say(&format!(
            "renewed Secret {}, which an earlier run supplied",
            credentials.shown
        ));
        let cluster = self.address("Cluster", &self.name)?;
        let there = objects::get(self.client(), &cluster.path).await?.is_some();
        if there && self.lab.is_some() {
            self.view
                .say("the Cluster of that run goes first: its simulated datacenter is no more");
            objects::delete(self.client(), &cluster).await?;
            let deadline = self.view.elapsed() + self.arguments.timeout();
            while objects::get(self.client(), &cluster.path).await?.is_some() {
                self.look().await;
                if self.view.elapsed() > deadline {
                    return Err(self.late("the Cluster of an earlier run is gone"));
                }
            }
        }
        Ok(())
    }

    /// Until the cluster and all its machines are as they should be, with so many workers.
    async fn up(&mut self, done: &str, workers: Option<i64>) -> Result<(), Error> {
        self.wait(done, |tree| is_up(tree, workers)).await?;
        let cluster = self.tree.of_kind("Cluster").next().cloned();
        self.view.remember(done, &cluster.unwrap_or_default());
        Ok(())
    }

    async fn wait(&mut self, what: &str, done: impl Fn(&Tree) -> bool) -> Result<(), Error> {
        let deadline = self.view.elapsed() + self.arguments.timeout();
        loop {
            self.look().await;
            if done(&self.tree) {
                self.view.say(what);
                return Ok(());
            }
            if self.view.elapsed() > deadline {
                return Err(self.late(what));
            }
        }
    }

    /// What was not done in time, and what blocks it.
    fn late(&self, what: &str) -> Error {
        let chain = self.view.blocked(&self.tree);
        format!(
            "--timeout: not within {} s: {what}\nwhat blocks:\n  {}",
            self.arguments.timeout,
            chain.join("\n  ")
        )
        .into()
    }

    /// Writes what a person needs to go on by hand, and says the commands.
    async fn hand_over(&mut self) -> Result<(), Error> {
        let (name, namespace) = (&self.name, &self.namespace);
        for (secret, key, file) in [
            (format!("{name}-kubeconfig"), "value", "workload.kubeconfig"),
            (format!("{name}-talosconfig"), "talosconfig", "talosconfig"),
            (format!("{name}-talos"), "bundle", "secrets.yaml"),
        ] {
            let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
            if let Some(found) = objects::get(self.client(), &path).await?
                && let Some(value) = decoded(&found["data"][key])
            {
                self.directory.write(file, value.expose_secret())?;
            }
        }
        if self.arguments.dir.is_some() {
            let file = |name| self.directory.file(name).display().to_string();
            let management = match &self.arguments.kubeconfig {
                Some(path) => path.display().to_string(),
                None => file("kubeconfig"),
            };
            let lines = [
                format!("kubectl --kubeconfig {management} get clusters,machines -A"),
                format!(
                    "kubectl --kubeconfig {} get nodes",
                    file("workload.kubeconfig")
                ),
                format!("talosctl --talosconfig {} version", file("talosconfig")),
            ];
            for line in lines {
                self.view.say(&format!("next: {line}"));
            }
        } else {
            self.view
                .say("to look around with kubectl and talosctl, run it with --dir DIR --serve");
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
        let mut bigger = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2",
            "kind": "ProxmoxMachineTemplate",
            "metadata": { "namespace": self.namespace, "name": name },
        });
        let template = Address::of(&bigger)?;
        let Some(template) = objects::get(self.client(), &template.path).await? else {
            return Err(format!("ProxmoxMachineTemplate {name} does not exist").into());
        };
        bigger["metadata"]["name"] = json!(format!("{name}-2"));
        bigger["spec"] = template["spec"].clone();
        let memory = &mut bigger["spec"]["template"]["spec"]["memoryMiB"];
        *memory = json!(memory.as_i64().unwrap_or(2048) * 2);
        objects::apply(self.client(), &bigger, false).await?;
        let before = workers(&self.tree);
        let patch = json!({ "spec": { "template": { "spec": { "infrastructureRef": {
            "name": format!("{name}-2"),
        }}}}});
        let patched = objects::patch(self.client(), deployment, &patch).await?;
        self.view.remember("workers get a new template", &patched);
        self.view.say("replacing workers: twice the memory");
        self.wait("the old workers are gone", |tree| {
            workers(tree).is_disjoint(&before)
        })
        .await?;
        self.up("all workers are new", patched["spec"]["replicas"].as_i64())
            .await
    }

    async fn delete(&mut self) -> Result<(), Error> {
        let cluster = self.address("Cluster", &self.name)?;
        let found = objects::get(self.client(), &cluster.path)
            .await?
            .unwrap_or_default();
        self.view.remember("Cluster deleted", &found);
        self.view.say("deleting the cluster");
        objects::delete(self.client(), &cluster).await?;
        self.wait("the cluster is gone", |tree| {
            tree.of_kind("Cluster").next().is_none()
        })
        .await
    }
}

/// Whether the cluster is as it should be, with so many workers in each deployment.
fn is_up(tree: &Tree, workers: Option<i64>) -> bool {
    let available = tree
        .of_kind("Cluster")
        .any(|cluster| holds(cluster, "Available"));
    let settled = tree.of_kind("MachineDeployment").all(|deployment| {
        let status = &deployment["status"];
        let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(0);
        workers.is_none_or(|workers| workers == wanted)
            && ["replicas", "availableReplicas", "upToDateReplicas"]
                .iter()
                .all(|field| status[*field].as_i64() == Some(wanted))
            && status["observedGeneration"] == deployment["metadata"]["generation"]
    });
    let control_planes = tree.of_kind("TalosControlPlane").all(|control_plane| {
        control_plane["status"]["readyReplicas"].as_i64()
            == control_plane["spec"]["replicas"].as_i64()
    });
    available && settled && control_planes
}

fn holds(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|found| found["type"] == condition && found["status"] == "True")
}

/// Names of the workers.
fn workers(tree: &Tree) -> BTreeSet<String> {
    tree.of_kind("Machine")
        .filter(|machine| {
            machine["metadata"]["labels"]
                .get("cluster.x-k8s.io/control-plane")
                .is_none()
        })
        .filter_map(|machine| machine["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

/// A value of a Secret.
pub(crate) fn decoded(value: &Value) -> Option<secrecy::SecretSlice<u8>> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(value.as_str()?)
        .ok()?;
    Some(secrecy::SecretSlice::from(bytes))
}
