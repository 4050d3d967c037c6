//! A MachineDeployment for the examples that embed one controller: its next version is rolled out
//! while somebody plays those who make the machines.

use std::{error::Error, time::Duration};

use capi_core::{
    embedded::{self, ApiServer},
    testing::reference::{self, ClusterShape},
};
use serde_json::{Value, json};

use crate::objects;

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
const DEPLOYMENT: &str =
    "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machinedeployments/demo-workers";

/// A client of the cluster of the kubeconfig that is the first argument, or of a server in this
/// process.
///
/// # Errors
/// When the kubeconfig cannot be read, or the server not be made.
pub async fn client() -> Result<kube::Client, Box<dyn Error>> {
    if let Some(path) = std::env::args().nth(1) {
        let kubeconfig = kube::config::Kubeconfig::read_from(path)?;
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        return Ok(kube::Client::try_from(config)?);
    }
    let mut server = embedded::install(
        ApiServer::builder(),
        capi_core::api::crds(),
        capi_core::api::conversions(),
    );
    for crd in reference::crds() {
        server = server.crd(crd);
    }
    Ok(embedded::client(&server.build()?))
}

/// Applies a deployment, then its next version, and waits for each rollout.
///
/// # Errors
/// When the API server refuses something, or a rollout takes more than a minute.
pub async fn story(client: &kube::Client) -> Result<(), Box<dyn Error>> {
    let mut shape = ClusterShape::new("demo", 1, 3);
    for version in ["v1.33.0", "v1.34.0"] {
        shape.version = version.to_owned();
        for object in reference::manifest(&shape) {
            objects::apply(client, &object, false).await?;
        }
        rolled_out(client, version).await?;
        println!("MachineSets once {version} is rolled out:");
        for set in objects::list(client, &format!("{CORE}/machinesets")).await? {
            let (name, spec) = (&set["metadata"]["name"], &set["spec"]);
            println!(
                "  {name}: {} of {}",
                spec["replicas"], spec["template"]["spec"]["version"]
            );
        }
    }
    let deployment = objects::get(client, DEPLOYMENT).await?.unwrap_or_default();
    let revision = "machinedeployment.clusters.x-k8s.io/revision";
    println!(
        "revision {}",
        deployment["metadata"]["annotations"][revision]
    );
    Ok(())
}

async fn rolled_out(client: &kube::Client, version: &str) -> Result<(), Box<dyn Error>> {
    for _ in 0..600 {
        let sets = objects::list(client, &format!("{CORE}/machinesets")).await?;
        for set in &sets {
            play_machines(client, set).await?;
        }
        let with_machines: Vec<&Value> = sets
            .iter()
            .filter(|set| set["spec"]["replicas"] != 0)
            .collect();
        if let [set] = with_machines.as_slice()
            && set["spec"]["template"]["spec"]["version"] == version
            && set["spec"]["replicas"] == 3
            && set["status"]["availableReplicas"] == 3
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{version} was not rolled out in a minute").into())
}

/// Plays whoever makes the machines of a set: all that is asked for is there at once.
async fn play_machines(client: &kube::Client, set: &Value) -> Result<(), Box<dyn Error>> {
    let replicas = &set["spec"]["replicas"];
    let status = json!({
        "replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
        "upToDateReplicas": replicas, "observedGeneration": set["metadata"]["generation"],
    });
    let told = ["replicas", "availableReplicas", "observedGeneration"]
        .iter()
        .all(|key| set["status"][key] == status[key]);
    if !told {
        let mut address = objects::Address::of(set)?;
        address.path.push_str("/status");
        objects::patch(client, &address, &json!({ "status": status })).await?;
    }
    Ok(())
}
