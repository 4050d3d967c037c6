//! An operator that embeds one decision: how the machines of a MachineDeployment move from old
//! MachineSets to the current one. It brings a kube version of its own; of this SDK it has
//! `capi-core` without default features, which holds no Kubernetes crate.
//!
//! ```text
//! cargo run -p capi-embed-rollout
//! ```
//!
//! It rolls a deployment out on an API server in this process, over HTTPS, prints what was decided,
//! and ends. With the path of a kubeconfig as argument it does so on a cluster of yours, where
//! Cluster API's definitions must be installed.

#[allow(unreachable_pub, reason = "the examples share the file")]
#[path = "../../../src/output.rs"]
mod output;

use std::error::Error;

use capi_core::{
    api::{
        MachineDeletionOrder, MachineDeploymentSpec, MachineDeploymentStatus, MachineSetSpec,
        MachineSetStatus,
    },
    contract::Object,
    plan::{
        naming::Seed,
        rollout::{self, DesiredSet, MachineDeploymentAction, MachineDeploymentFacts, SetFacts},
        set_status::OwningCluster,
        tally::Tally,
    },
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    config::Kubeconfig,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

type Deployment = Object<MachineDeploymentSpec, MachineDeploymentStatus>;
type Set = Object<MachineSetSpec, MachineSetStatus>;

/// What is decided, from what the API server knows now.
fn decide(deployment: Deployment, sets: Vec<Set>) -> Vec<MachineDeploymentAction> {
    let facts = MachineDeploymentFacts {
        cluster: OwningCluster {
            name: deployment.spec.cluster_name.clone(),
            ..OwningCluster::default()
        },
        sets: sets
            .into_iter()
            .map(|object| SetFacts {
                object,
                ..SetFacts::default()
            })
            .collect(),
        object: deployment,
        ..MachineDeploymentFacts::default()
    };
    // Machines matter for what a status says of them; the rollout is decided by the sets.
    let mut machines = Tally::new("", MachineDeletionOrder::Random);
    let now = now();
    machines.advance(now);
    // Names of new sets come from the seed: a new one for each decision.
    let seed = Seed::new(now.subsec_nanosecond().unsigned_abs().into());
    let plan = rollout::plan(&facts, &machines, seed, now);
    for problem in &plan.errors {
        println!("  {problem}");
    }
    plan.actions
}

#[allow(clippy::disallowed_methods)] // an application asks the machine
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Does what was decided.
async fn act(sets: &Api<DynamicObject>, action: &MachineDeploymentAction) -> kube::Result<()> {
    match action {
        MachineDeploymentAction::CreateSet { set, reason } => {
            println!("  create {}: {}", set.name, reason);
            apply(sets, set).await
        }
        MachineDeploymentAction::UpdateSet { set, from, to, .. } => {
            if from != to {
                println!("  {}: {from} -> {to}", set.name);
            }
            apply(sets, set).await
        }
        MachineDeploymentAction::DeleteSet { name, .. } => {
            println!("  delete {name}");
            sets.delete(name, &DeleteParams::background()).await?;
            Ok(())
        }
        // Of no concern here.
        _ => Ok(()),
    }
}

async fn apply(sets: &Api<DynamicObject>, set: &DesiredSet) -> kube::Result<()> {
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": "MachineSet",
        "metadata": {
            "name": set.name, "labels": set.labels, "annotations": set.annotations,
        },
        "spec": set.spec,
    });
    let manager = PatchParams::apply("rollout-operator").force();
    sets.patch(&set.name, &manager, &Patch::Apply(&object))
        .await?;
    Ok(())
}

/// Plays whoever makes the machines of sets: all that is asked for is there at once.
async fn play_machines(sets: &Api<DynamicObject>) -> Result<(), Box<dyn Error>> {
    for set in sets.list(&ListParams::default()).await? {
        let replicas = &set.data["spec"]["replicas"];
        let status = json!({ "status": {
            "replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
            "upToDateReplicas": replicas, "observedGeneration": set.metadata.generation,
        }});
        sets.patch_status(
            &set.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&status),
        )
        .await?;
    }
    Ok(())
}

/// Decides and acts until the sets hold what the deployment asks for.
async fn roll_out(client: &Client) -> Result<(), Box<dyn Error>> {
    let deployments = api(client, "MachineDeployment");
    let sets = api(client, "MachineSet");
    for _ in 0..20 {
        let deployment: Deployment = typed(deployments.get("pool").await?)?;
        let found = sets.list(&ListParams::default()).await?;
        let found: Vec<Set> = found.into_iter().map(typed).collect::<Result<_, _>>()?;
        if is_done(&deployment, &found) {
            return Ok(());
        }
        for action in decide(deployment, found) {
            act(&sets, &action).await?;
        }
        play_machines(&sets).await?;
    }
    Err("the rollout does not come to an end".into())
}

fn is_done(deployment: &Deployment, sets: &[Set]) -> bool {
    let wanted = deployment.spec.replicas;
    let version = &deployment.spec.template.spec.version;
    let with_machines: Vec<_> = sets
        .iter()
        .filter(|set| set.spec.replicas != Some(0))
        .collect();
    matches!(with_machines.as_slice(), [set]
        if set.spec.replicas == wanted
            && set.status.available_replicas == wanted
            && set.spec.template.spec.version == *version)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    output::end_quietly_unread();
    let (_server, kubeconfig) = match std::env::args().nth(1) {
        Some(path) => (None, Kubeconfig::read_from(path)?),
        None => {
            let (server, kubeconfig) = serve().await?;
            (Some(server), kubeconfig)
        }
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    let client = Client::try_from(config)?;
    let deployments = api(&client, "MachineDeployment");
    for version in ["v1.33.0", "v1.34.0"] {
        println!("three machines of {version}:");
        let manager = PatchParams::apply("user").force();
        deployments
            .patch("pool", &manager, &Patch::Apply(&deployment(version)))
            .await?;
        roll_out(&client).await?;
    }
    let sets = api(&client, "MachineSet")
        .list(&ListParams::default())
        .await?;
    for set in &sets {
        let (spec, name) = (&set.data["spec"], set.name_any());
        println!(
            "{name}: {} of {}",
            spec["replicas"], spec["template"]["spec"]["version"]
        );
    }
    println!("rolled out");
    Ok(())
}

const API_VERSION: &str = "cluster.x-k8s.io/v1beta2";

fn deployment(version: &str) -> Value {
    let reference = |kind: &str| json!({ "apiGroup": "example.com", "kind": kind, "name": "pool" });
    json!({
        "apiVersion": API_VERSION,
        "kind": "MachineDeployment",
        "metadata": { "name": "pool", "labels": { "cluster.x-k8s.io/cluster-name": "c" } },
        "spec": {
            "clusterName": "c",
            "replicas": 3,
            "selector": { "matchLabels": { "pool": "pool" } },
            "template": {
                "metadata": { "labels": { "pool": "pool" } },
                "spec": {
                    "clusterName": "c",
                    "version": version,
                    "bootstrap": { "configRef": reference("ConfigTemplate") },
                    "infrastructureRef": reference("MachineTemplate"),
                },
            },
        },
    })
}

fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "cluster.x-k8s.io".to_owned(),
        version: "v1beta2".to_owned(),
        api_version: API_VERSION.to_owned(),
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
    };
    Api::default_namespaced_with(client.clone(), &resource)
}

/// An object of kube as the planner takes it.
fn typed<T: DeserializeOwned>(object: DynamicObject) -> serde_json::Result<T> {
    serde_json::from_value(serde_json::to_value(object)?)
}

/// An API server in this process, with the two definitions that are needed.
async fn serve() -> Result<(capi_apiserver::https::Https, Kubeconfig), Box<dyn Error>> {
    use secrecy::ExposeSecret as _;
    let server = capi_apiserver::ApiServer::builder()
        .manifest(include_str!(
            "../../../../capi-core/crds/machinedeployments.json"
        ))
        .manifest(include_str!("../../../../capi-core/crds/machinesets.json"))
        .build()?;
    let https = server.https().start().await?;
    let kubeconfig = https.kubeconfig(&capi_apiserver::User::admin())?;
    Ok((https, Kubeconfig::from_yaml(kubeconfig.expose_secret())?))
}
