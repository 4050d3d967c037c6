//! Fields of the Proxmox and Talos kinds that nobody here knows survive whatever our controllers write.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use capi_bootstrap_talos::provider::TalosBootstrap;
use capi_controlplane_talos::{
    provider::TalosControlPlaneProvider,
    simulator::{self as talos, NetworkPlugin},
};
use capi_core::{
    clock::Clock,
    controllers,
    embedded::{self, ApiServer},
    pki::{KeyAlgorithm, PrivateKey},
    runtime::{Connector, Manager, ObjectKey},
};
use capi_examples::{
    lab,
    objects::{self, Address},
};
use capi_provider_proxmox::{
    client::{ApiToken, Client, TlsTrust},
    provider::{Credentials, ProxmoxProvider},
    simulator::{Datacenter, Simulator},
};
use http_body_util::BodyExt as _;
use secrecy::SecretString;
use serde_json::{Value, json};

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2";
const INFRA: &str = "/apis/infrastructure.cluster.x-k8s.io/v1alpha2";
const BOOTSTRAP: &str = "/apis/bootstrap.cluster.x-k8s.io/v1alpha3";
const CONTROL_PLANE: &str = "/apis/controlplane.cluster.x-k8s.io/v1alpha3";
const MANIFEST: &str = include_str!("../../quickstart/cluster.yaml");
const TOKEN: &str = "capi@pve!manager";
const SECRET: &str = "simulated";

/// The kinds, and whether they have a status.
const KINDS: [(&str, &str, bool); 6] = [
    (INFRA, "proxmoxclusters", true),
    (INFRA, "proxmoxmachines", true),
    (INFRA, "proxmoxmachinetemplates", false),
    (BOOTSTRAP, "talosconfigs", true),
    (BOOTSTRAP, "talosconfigtemplates", false),
    (CONTROL_PLANE, "taloscontrolplanes", true),
];

/// Lets spec and status hold what the schema does not name.
fn preserving(mut definition: Value) -> Value {
    let versions = definition["spec"]["versions"].as_array_mut();
    for version in versions.into_iter().flatten() {
        for part in ["spec", "status", "spec/properties/template/properties/spec"] {
            let schema = version.pointer_mut(&format!("/schema/openAPIV3Schema/properties/{part}"));
            if let Some(schema) = schema {
                schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
            }
        }
    }
    definition
}

/// All states of all objects of a kind, by uid, as a watch saw them.
type States = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;

fn spec_mark() -> Value {
    json!({ "by": "hand", "list": [1, { "two": null }] })
}

/// Watches a kind, and gives each of its objects fields of its own as soon as it is there.
async fn mark(client: kube::Client, base: &str, plural: &str, status: bool, states: States) {
    let request = http::Request::get(format!("{base}/{plural}?watch=1"))
        .body(kube::client::Body::empty())
        .unwrap();
    let mut body = client.send(request).await.unwrap().into_body();
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.unwrap().into_data() else {
            continue;
        };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap();
            let object = event["object"].clone();
            let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            states
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(uid)
                .or_default()
                .push(object);
            if event["type"] != "ADDED" {
                continue;
            }
            let path = format!("{base}/namespaces/default/{plural}/{name}");
            let change = json!({ "spec": { "zzz": spec_mark() } });
            patch(&client, &path, &change).await;
            if status {
                let change = json!({ "status": { "zzz": "by hand" } });
                patch(&client, &format!("{path}/status"), &change).await;
            }
        }
    }
}

async fn patch(client: &kube::Client, path: &str, change: &Value) {
    let request = http::Request::patch(format!("{path}?fieldManager=user"))
        .header("content-type", "application/merge-patch+json")
        .body(change.to_string().into_bytes())
        .unwrap();
    match client.request_text(request).await {
        Ok(_) => {}
        // A rollout may be done with it already.
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => panic!("{path}: {error}"),
    }
}

/// The workload cluster, whose API answers as its nodes do.
struct Workload(talos::Datacenter);

#[async_trait]
impl Connector for Workload {
    async fn connect(
        &self,
        _cluster: &ObjectKey,
        _kubeconfig: &SecretString,
    ) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>> {
        let service = self.0.kubernetes("10.10.10.2", 6443);
        Ok(kube::Client::new(service, "default"))
    }
}

/// A management plane whose kinds keep what they do not know, and a manager that runs on it.
fn plane() -> kube::Client {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let definitions = capi_core::api::crds()
        .into_iter()
        .chain(capi_provider_proxmox::api::crds())
        .chain(capi_bootstrap_talos::api::crds())
        .chain(capi_controlplane_talos::api::crds())
        .map(preserving)
        .collect();
    let builder = ApiServer::builder().clock(clock.clone()).seed(1);
    let server = embedded::install(builder, definitions, &[])
        .build()
        .unwrap();
    let client = embedded::client(&server);

    let mut datacenter = Datacenter::example(3, 1);
    datacenter.add_token(TOKEN, SECRET);
    let proxmox = Simulator::new(datacenter, clock.clone());
    let options = talos::Options::default()
        .network_plugin(NetworkPlugin::Present)
        .seed(1);
    let talos = talos::Datacenter::new(options, clock.clone());
    lab::boot_nodes(&proxmox, &talos);
    let provider =
        ProxmoxProvider::new().connector(Arc::new(move |credentials: &Credentials, clock| {
            let token = ApiToken::new(&credentials.token, credentials.secret.clone())?;
            Client::builder(&credentials.urls[0], token, clock)
                .trust(TlsTrust::danger_accept_any())
                .transport(Arc::new(proxmox.clone()))
                .build()
        }));
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let mut all = controllers::core();
    all.extend(controllers::infrastructure(provider));
    all.extend(controllers::bootstrap(
        TalosBootstrap::with_service_account_key(key),
    ));
    all.extend(controllers::control_plane(
        TalosControlPlaneProvider::with_connector(talos.connector()),
    ));
    all.extend(controllers::in_cluster_ipam());
    let manager = Manager::builder(client.clone())
        .clock(clock)
        .connector(Workload(talos))
        .controllers(all)
        .seed(1)
        .build();
    tokio::spawn(async move { manager.run(std::future::pending()).await.unwrap() });
    client
}

fn path(base: &str, plural: &str, name: &str) -> String {
    format!("{base}/namespaces/default/{plural}/{name}")
}

/// Until so many machines of an owner are ready with so much memory, and no others are there.
async fn until_there(client: &kube::Client, owner: (&str, &str, &str), count: u64, memory: u64) {
    let (base, plural, name) = owner;
    for _ in 0..4000 {
        let machines = objects::list(client, &format!("{INFRA}/proxmoxmachines")).await;
        let machines = machines.unwrap();
        let mut own = machines.iter().filter(|machine| {
            let called = machine["metadata"]["name"].as_str().unwrap_or_default();
            called.starts_with(name)
        });
        let as_wanted = |machine: &&Value| {
            machine["spec"]["memoryMiB"] == memory
                && machine["status"]["initialization"]["provisioned"] == true
        };
        let total = own.clone().count() as u64;
        let right = own.all(|machine| as_wanted(&machine)) && total == count;
        let found = objects::get(client, &path(base, plural, name)).await;
        let status = found.unwrap().unwrap_or_default()["status"].take();
        if right && status["replicas"] == count && status["readyReplicas"] == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{name}: not {count} of {memory} MiB in time");
}

/// A second template of a name, with more memory.
async fn bigger(client: &kube::Client, name: &str) -> String {
    let found = objects::get(client, &path(INFRA, "proxmoxmachinetemplates", name)).await;
    let mut template = found.unwrap().unwrap();
    let bigger = format!("{name}-2");
    template["metadata"] = json!({ "namespace": "default", "name": bigger });
    template["spec"]["template"]["spec"]["memoryMiB"] = json!(6144);
    objects::apply(client, &template, false).await.unwrap();
    bigger
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_of_proxmox_and_talos_kinds_survive_scaling_replacement_and_deletion() {
    let client = plane();
    let mut states = BTreeMap::new();
    let mut marks = tokio::task::JoinSet::new();
    for (base, plural, status) in KINDS {
        let seen = States::default();
        states.insert(plural, (status, Arc::clone(&seen)));
        marks.spawn(mark(client.clone(), base, plural, status, seen));
    }
    let credentials = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "namespace": "default", "name": "proxmox-credentials" },
        "stringData": { "url": "https://pve1:8006", "token": TOKEN, "secret": SECRET },
    });
    objects::apply(&client, &credentials, false).await.unwrap();
    for mut document in serde_saphyr::from_multiple::<Value>(MANIFEST).unwrap() {
        document["metadata"]["namespace"] = json!("default");
        let kind = document["kind"].as_str().unwrap().to_owned();
        if kind.ends_with("Template") {
            document["spec"]["template"]["spec"]["zzz"] = json!("of the template");
        }
        if ["MachineDeployment", "TalosControlPlane"].contains(&&*kind) {
            document["spec"]["replicas"] = json!(1);
        }
        objects::apply(&client, &document, false).await.unwrap();
    }
    let workers = (CORE, "machinedeployments", "first-workers");
    let control_plane = (CONTROL_PLANE, "taloscontrolplanes", "first-control-plane");
    until_there(&client, control_plane, 1, 4096).await;
    until_there(&client, workers, 1, 4096).await;

    let worker_path = path(workers.0, workers.1, workers.2);
    patch(&client, &worker_path, &json!({ "spec": { "replicas": 2 } })).await;
    until_there(&client, workers, 2, 4096).await;
    let name = bigger(&client, workers.2).await;
    let change =
        json!({ "spec": { "template": { "spec": { "infrastructureRef": { "name": name } } } } });
    patch(&client, &worker_path, &change).await;
    until_there(&client, workers, 2, 6144).await;
    let name = bigger(&client, control_plane.2).await;
    let change = json!({ "spec": { "infrastructureTemplate": { "name": name } } });
    let control_plane_path = path(control_plane.0, control_plane.1, control_plane.2);
    patch(&client, &control_plane_path, &change).await;
    until_there(&client, control_plane, 1, 6144).await;

    let cluster = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": { "namespace": "default", "name": "first" },
    });
    let cluster = Address::of(&cluster).unwrap();
    objects::delete(&client, &cluster).await.unwrap();
    let mut looks = 0;
    while objects::get(&client, &cluster.path)
        .await
        .unwrap()
        .is_some()
    {
        looks += 1;
        assert!(looks < 4000, "the cluster stays");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    marks.abort_all();

    for (plural, (status, seen)) in states {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!seen.is_empty(), "{plural}: none was there");
        let mut later = 0;
        for (part, expected) in [("spec", true), ("status", status)] {
            for states in seen.values().filter(|_| expected) {
                later += kept(plural, part, states);
            }
        }
        println!(
            "{plural}: {} objects, {later} states after the mark",
            seen.len()
        );
        assert!(later > 0, "{plural}: nobody wrote it after it was marked");
        if plural == "proxmoxmachines" {
            let cloned = seen
                .values()
                .all(|states| states[0]["spec"]["zzz"] == "of the template");
            assert!(cloned, "what a template has that is not known is cloned");
        }
    }
}

/// Once it is there, the mark is in every later state. Returns how many of those there are.
fn kept(plural: &str, part: &str, states: &[Value]) -> usize {
    let marked = |state: &Value| !state[part]["zzz"].is_null();
    let Some(first) = states.iter().position(marked) else {
        return 0;
    };
    let mut mark = states[first][part]["zzz"].clone();
    for state in &states[first + 1..] {
        // Made from a template with one, and marked by hand after that.
        if mark == "of the template" && state[part]["zzz"] == spec_mark() {
            mark = spec_mark();
        }
        assert_eq!(
            state[part]["zzz"], mark,
            "{plural} lost {part}.zzz: {state:#}"
        );
    }
    states.len() - first - 1
}
