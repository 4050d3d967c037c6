//! A whole infrastructure provider in one file: machines are entries of a map.
//!
//! ```text
//! cargo run --example custom_provider
//! ```
//!
//! Up to `main` is all that a provider author writes. `main` runs it in a cluster of this process,
//! and then asks the conformance suite, in virtual time.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use capi_core::{
    api::ApiEndpoint,
    clock::Clock,
    controllers,
    embedded::{self, ApiServer},
    provider::{
        ClusterContext, ClusterFacts, Identity, InfraClusterSpec, InfraClusterStatus,
        InfraMachineSpec, InfraMachineStatus, Infrastructure, MachineContext, MachineFacts,
        Progress, ProviderError, Recorded,
    },
    runtime::Manager,
    testing::conformance::{self, Options, Outside},
};
use capi_examples::objects;
use kube::{CustomResource, CustomResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What the cluster object asks for.
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "infrastructure.example.com",
    version = "v1",
    kind = "MapCluster",
    namespaced
)]
#[kube(status = "InfraClusterStatus", label("cluster.x-k8s.io/v1beta2", "v1"))]
struct MapClusterSpec {
    #[serde(flatten)]
    contract: InfraClusterSpec,
}

/// What a machine object asks for.
#[derive(CustomResource, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "infrastructure.example.com",
    version = "v1",
    kind = "MapMachine",
    namespaced
)]
#[kube(
    status = "InfraMachineStatus<MapIdentity>",
    label("cluster.x-k8s.io/v1beta2", "v1")
)]
struct MapMachineSpec {
    #[serde(flatten)]
    contract: InfraMachineSpec,
    /// How big it is.
    #[serde(default)]
    cores: u32,
}

/// What names one machine: the uid of its object, which is chosen once and for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct MapIdentity {
    uid: String,
}

impl Identity for MapIdentity {
    fn provider_id(&self) -> String {
        format!("map://{}", self.uid)
    }
}

/// The outside: the cores of each machine, by uid. A real provider has the client of an API here.
#[derive(Clone, Default)]
struct Map(Arc<Mutex<BTreeMap<String, u32>>>);

impl Map {
    fn machines(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Infrastructure for Map {
    type Cluster = MapCluster;
    type Machine = MapMachine;
    type Identity = MapIdentity;

    async fn ensure_cluster(
        &self,
        _cx: &ClusterContext<MapCluster>,
    ) -> Result<Progress<ClusterFacts>, ProviderError> {
        let endpoint = ApiEndpoint {
            host: "127.0.0.1".to_owned(),
            port: 6443,
        };
        Ok(Progress::Ready(ClusterFacts {
            control_plane_endpoint: Some(endpoint),
            ..ClusterFacts::default()
        }))
    }

    async fn destroy_cluster(
        &self,
        _cx: &ClusterContext<MapCluster>,
    ) -> Result<Progress<()>, ProviderError> {
        Ok(Progress::Ready(()))
    }

    async fn reserve(
        &self,
        cx: &MachineContext<MapCluster, MapMachine>,
    ) -> Result<Progress<MapIdentity>, ProviderError> {
        if cx.infrastructure.spec.cores == 0 {
            return Err(ProviderError::invalid(
                "NoCores",
                "spec.cores must be at least 1",
            ));
        }
        match cx.infrastructure.metadata.uid.clone() {
            Some(uid) => Ok(Progress::Ready(MapIdentity { uid })),
            None => Err(ProviderError::invalid("NoUid", "the object has no uid")),
        }
    }

    async fn ensure(
        &self,
        cx: &MachineContext<MapCluster, MapMachine>,
        recorded: &Recorded<MapIdentity>,
    ) -> Result<Progress<MachineFacts>, ProviderError> {
        let MapIdentity { uid } = &recorded.identity;
        let mut machines = self.machines();
        if recorded.was_ready && !machines.contains_key(uid) {
            return Err(ProviderError::terminal(
                "MachineVanished",
                format!("{uid} is gone"),
            ));
        }
        machines
            .entry(uid.clone())
            .or_insert(cx.infrastructure.spec.cores);
        Ok(Progress::Ready(MachineFacts::default()))
    }

    async fn destroy(
        &self,
        _cx: &MachineContext<MapCluster, MapMachine>,
        recorded: &Recorded<MapIdentity>,
    ) -> Result<Progress<()>, ProviderError> {
        self.machines().remove(&recorded.identity.uid);
        Ok(Progress::Ready(()))
    }
}

/// For the conformance suite: what is outside, beside what the provider says of it.
impl Outside for Map {
    type Provider = Self;

    fn provider(&self) -> Self {
        self.clone()
    }

    fn machines(&self) -> Vec<MapIdentity> {
        Map::machines(self)
            .keys()
            .cloned()
            .map(|uid| MapIdentity { uid })
            .collect()
    }

    fn vanish(&self, machine: &MapIdentity) {
        Map::machines(self).remove(&machine.uid);
    }
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    capi_examples::output::end_quietly_unread();
    let crds = vec![
        serde_json::to_value(MapCluster::crd())?,
        serde_json::to_value(MapMachine::crd())?,
    ];
    in_a_cluster(crds.clone()).await?;

    println!("\nconformance:");
    let options = Options::new(crds)
        .machine(json!({ "cores": 4 }))
        .invalid_machine(json!({ "cores": 0 }));
    let report = conformance::infrastructure(|_| Map::default(), options).await;
    print!("{report}");
    if report.conforms() {
        Ok(())
    } else {
        Err("the provider does not conform".into())
    }
}

/// Brings up a Cluster with a Machine, and deletes both.
async fn in_a_cluster(crds: Vec<Value>) -> Result<(), Box<dyn Error>> {
    let mut server = embedded::install(
        ApiServer::builder(),
        capi_core::api::crds(),
        capi_core::api::conversions(),
    );
    for crd in crds {
        server = server.crd(crd);
    }
    let client = embedded::client(&server.build()?);
    let map = Map::default();
    let manager = Manager::builder(client.clone())
        .clock(Clock::following_tokio("2026-01-01T00:00:00Z".parse()?))
        .controllers(controllers::core())
        .controllers(controllers::infrastructure(map.clone()))
        .build();
    let running = tokio::spawn(manager.run(std::future::pending()));

    let reference = |kind: &str| json!({ "apiGroup": "infrastructure.example.com", "kind": kind, "name": "one" });
    let object = |api: &str, kind: &str, spec: Value| {
        json!({
            "apiVersion": api, "kind": kind,
            "metadata": {
                "namespace": "default", "name": "one",
                "labels": { "cluster.x-k8s.io/cluster-name": "one" },
            },
            "spec": spec,
        })
    };
    let (core, own) = ("cluster.x-k8s.io/v1beta2", "infrastructure.example.com/v1");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
        "metadata": { "namespace": "default", "name": "one-boot" },
        "stringData": { "value": "#cloud-config" },
    });
    let cluster = object(
        core,
        "Cluster",
        json!({ "infrastructureRef": reference("MapCluster") }),
    );
    let machine = object(
        core,
        "Machine",
        json!({
            "clusterName": "one",
            "version": "v1.33.0",
            "bootstrap": { "dataSecretName": "one-boot" },
            "infrastructureRef": reference("MapMachine"),
        }),
    );
    for object in [
        &secret,
        &object(own, "MapCluster", json!({})),
        &object(own, "MapMachine", json!({ "cores": 2 })),
        &cluster,
        &machine,
    ] {
        objects::apply(&client, object, false).await?;
    }
    let up = until(&client, &machine, |found| {
        found.is_some_and(|machine| {
            machine["status"]["initialization"]["infrastructureProvisioned"] == true
        })
    })
    .await?;
    println!("the Machine is up as {}", up["spec"]["providerID"]);
    println!("the map holds {:?}", map.machines());

    objects::delete(&client, &objects::Address::of(&cluster)?).await?;
    until(&client, &machine, |found| found.is_none()).await?;
    until(&client, &cluster, |found| found.is_none()).await?;
    println!(
        "the Cluster is deleted, and the map holds {:?}",
        map.machines()
    );
    running.abort();
    Ok(())
}

/// Waits until an object is so.
async fn until(
    client: &kube::Client,
    object: &Value,
    so: impl Fn(Option<&Value>) -> bool,
) -> Result<Value, Box<dyn Error>> {
    let address = objects::Address::of(object)?;
    for _ in 0..1200 {
        let found = objects::get(client, &address.path).await?;
        if so(found.as_ref()) {
            return Ok(found.unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{} never became so", address.path).into())
}
