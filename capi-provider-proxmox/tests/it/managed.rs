//! The whole: the SDK's controllers and the provider on the embedded API server, the datacenter without sockets, in
//! virtual time.

use std::sync::Arc;
use std::time::Duration;

use capi_core::controllers;
use capi_core::embedded::{self, ApiServer};
use capi_core::runtime::{Manager, ResourceType, Runtime};
use capi_provider_proxmox::client::{ApiToken, Client, TlsTrust};
use capi_provider_proxmox::provider::{Credentials, ProxmoxProvider};
use capi_provider_proxmox::simulator::Simulator;
use serde_json::{Value, json};

use crate::harness::{SECRET, TOKEN, simulator};
use crate::provider::{images, ours};

pub(crate) const INFRA: &str = "/apis/infrastructure.cluster.x-k8s.io/v1alpha2/namespaces/default";
pub(crate) const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
pub(crate) const IPAM: &str = "/apis/ipam.cluster.x-k8s.io/v1beta2/namespaces/default";

pub(crate) struct Plane {
    pub(crate) client: kube::Client,
    pub(crate) simulator: Simulator,
    task: tokio::task::JoinHandle<()>,
    runtime: Runtime,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Plane {
    pub(crate) fn new() -> Self {
        let simulator = simulator();
        let clock = simulator.clock().clone();
        let mut builder = ApiServer::builder().clock(clock.clone()).seed(1);
        for crd in capi_core::api::crds()
            .into_iter()
            .chain(capi_provider_proxmox::api::crds())
        {
            builder = builder.crd(crd);
        }
        let client = embedded::client(&builder.build().expect("the definitions are sound"));
        let transport = simulator.clone();
        let provider =
            ProxmoxProvider::new().connector(Arc::new(move |credentials: &Credentials, clock| {
                let token = ApiToken::new(&credentials.token, credentials.secret.clone())?;
                let builder = Client::builder(&credentials.urls[0], token, clock)
                    .trust(TlsTrust::danger_accept_any());
                builder.transport(Arc::new(transport.clone())).build()
            }));
        let mut all = controllers::core();
        all.extend(controllers::infrastructure(provider));
        all.extend(controllers::in_cluster_ipam());
        let manager = Manager::builder(client.clone())
            .clock(clock)
            .controllers(all)
            .seed(1)
            .build();
        let runtime = manager.runtime().clone();
        let task = tokio::spawn(async move {
            manager
                .run(std::future::pending())
                .await
                .expect("no lease, so none is lost");
        });
        Self {
            client,
            simulator,
            task,
            runtime,
        }
    }

    pub(crate) async fn apply(&self, object: &Value) {
        let (group, version) = object["apiVersion"]
            .as_str()
            .expect("a version")
            .split_once('/')
            .unwrap_or(("", "v1"));
        let kind =
            ResourceType::by_convention(group, version, object["kind"].as_str().expect("a kind"));
        let name = object["metadata"]["name"].as_str().expect("a name");
        let path = format!(
            "{}/{name}?fieldManager=user&force=true",
            kind.path("default")
        );
        let request =
            http::Request::patch(&path).header("content-type", "application/apply-patch+yaml");
        let request = request
            .body(object.to_string().into_bytes())
            .expect("a request");
        if let Err(error) = self.client.request_text(request).await {
            panic!("{path}: {error}");
        }
    }

    pub(crate) async fn delete(&self, path: &str) {
        let request = http::Request::delete(path)
            .body(Vec::new())
            .expect("a path");
        self.client.request_text(request).await.expect("deleted");
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path).body(Vec::new()).expect("a path");
        self.client.request::<Value>(request).await.ok()
    }

    pub(crate) async fn until(&self, path: &str, so: impl Fn(Option<&Value>) -> bool) -> Value {
        for _ in 0..20_000 {
            let found = self.get(path).await;
            if so(found.as_ref()) {
                return found.unwrap_or_default();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{path}: {:#}", self.get(path).await.unwrap_or_default());
    }

    pub(crate) async fn cluster(&self) {
        let text = |text: &str| base64(text.as_bytes());
        self.apply(&object("v1", "Secret", "creds", json!({
            "data": {"url": text("https://pve1:8006"), "token": text(TOKEN), "secret": text(SECRET)},
        })))
        .await;
        self.apply(&object("cluster.x-k8s.io/v1beta2", "Cluster", "c", json!({"spec": {
            "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "ProxmoxCluster", "name": "c"},
        }})))
        .await;
        let addresses = json!({"addresses": ["10.77.0.10-10.77.0.99"], "prefix": 24, "gateway": "10.77.0.1", "metric": 100});
        self.apply(&object("infrastructure.cluster.x-k8s.io/v1alpha2", "ProxmoxCluster", "c", json!({
            "metadata": {"labels": {"cluster.x-k8s.io/cluster-name": "c"}},
            "spec": {
                "controlPlaneEndpoint": {"host": "10.77.0.250", "port": 6443}, "ipv4Config": addresses,
                "dnsServers": ["10.77.0.53"], "credentialsRef": {"name": "creds"},
            },
        })))
        .await;
        self.until(&format!("{CORE}/clusters/c"), |found| {
            found.is_some_and(|found| {
                found["status"]["initialization"]["infrastructureProvisioned"] == true
            })
        })
        .await;
    }

    pub(crate) async fn machine(&self, name: &str) {
        let labels =
            json!({"cluster.x-k8s.io/cluster-name": "c", "cluster.x-k8s.io/control-plane": ""});
        self.apply(&object(
            "v1",
            "Secret",
            &format!("{name}-data"),
            json!({"data": {"value": base64(b"version: v1alpha1\n")}}),
        ))
        .await;
        self.apply(&object("infrastructure.cluster.x-k8s.io/v1alpha2", "ProxmoxMachine", name, json!({
            "metadata": {"labels": labels},
            "spec": {
                "templateSelector": {"matchTags": ["talos", "template"]}, "numCores": 4, "memoryMiB": 4096,
                "disks": {"bootVolume": {"disk": "scsi0", "sizeGb": 20}},
                "network": {"networkDevices": [{"name": "net0", "bridge": "vmbr1", "defaultIPv4": true}]},
                "checks": {"skipCloudInitStatus": true},
            },
        })))
        .await;
        self.apply(&object("cluster.x-k8s.io/v1beta2", "Machine", name, json!({
            "metadata": {"labels": labels},
            "spec": {
                "clusterName": "c", "version": "v1.34.0", "bootstrap": {"dataSecretName": format!("{name}-data")},
                "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "ProxmoxMachine", "name": name},
            },
        })))
        .await;
    }

    pub(crate) async fn provisioned(&self, name: &str) -> Value {
        self.until(&format!("{INFRA}/proxmoxmachines/{name}"), |found| {
            found.is_some_and(|found| found["status"]["initialization"]["provisioned"] == true)
        })
        .await
    }
}

pub(crate) fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = rest;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object["metadata"]["name"] = json!(name);
    object["metadata"]["namespace"] = json!("default");
    object
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test(start_paused = true)]
async fn machines_come_up_under_the_manager_in_time_and_go_without_a_trace() {
    let plane = Plane::new();
    plane.cluster().await;
    let pools = plane
        .get("/apis/ipam.cluster.x-k8s.io/v1alpha2/namespaces/default/inclusterippools")
        .await
        .expect("listed");
    assert_eq!(
        pools["items"][0]["metadata"]["name"], "c-v4-icip",
        "{pools:#}"
    );
    assert_eq!(
        pools["items"][0]["metadata"]["ownerReferences"][0]["kind"],
        "ProxmoxCluster"
    );

    plane.simulator.forget_calls();
    let started = tokio::time::Instant::now();
    plane.machine("m0").await;
    let machine = plane.provisioned("m0").await;
    let (took, calls) = (started.elapsed(), plane.simulator.log().len());
    println!("one machine under the manager: {took:?}, {calls} calls");
    println!("writes: {:#?}", plane.runtime.metrics().writes());
    assert!(took <= Duration::from_secs(11), "{took:?}");
    assert!(calls <= 14, "{calls}: {:#?}", plane.simulator.calls());
    assert_eq!(
        machine["status"]["addresses"][1]["address"], "10.77.0.10",
        "{machine:#}"
    );
    assert_eq!(machine["spec"]["virtualMachineID"], 100);
    let claim = plane
        .get(&format!("{IPAM}/ipaddressclaims/m0-net0-00-inet"))
        .await
        .expect("a claim");
    assert_eq!(
        claim["metadata"]["ownerReferences"][0]["kind"],
        "ProxmoxMachine"
    );

    let started = tokio::time::Instant::now();
    plane.simulator.forget_calls();
    for index in 1..=10 {
        plane.machine(&format!("m{index}")).await;
    }
    for index in 1..=10 {
        plane.provisioned(&format!("m{index}")).await;
    }
    let (took, calls) = (started.elapsed(), plane.simulator.log().len());
    println!(
        "ten machines under the manager: {took:?}, {:.1} calls each",
        calls as f64 / 10.0
    );
    assert!(took <= Duration::from_secs(16), "{took:?}");
    assert!(calls <= 140, "{:#?}", plane.simulator.calls());

    tokio::time::sleep(Duration::from_secs(120)).await;
    let before = plane.runtime.metrics().writes();
    plane.simulator.forget_calls();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(plane.runtime.metrics().writes(), before);
    println!("calls in ten idle minutes: {:?}", plane.simulator.calls());

    for index in 0..=10 {
        plane.delete(&format!("{CORE}/machines/m{index}")).await;
    }
    for index in 0..=10 {
        plane
            .until(&format!("{INFRA}/proxmoxmachines/m{index}"), |found| {
                found.is_none()
            })
            .await;
    }
    assert_eq!(
        (ours(&plane.simulator), images(&plane.simulator)),
        (vec![], vec![])
    );
    let claims = plane
        .get(&format!("{IPAM}/ipaddressclaims"))
        .await
        .expect("listed");
    assert_eq!(claims["items"], json!([]));
}
