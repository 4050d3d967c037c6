//! The provider in its host, on the embedded API server, in virtual time.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capi_bootstrap_talos::config::{MachineConfig, Talosconfig};
use capi_bootstrap_talos::provider::TalosBootstrap;
use capi_core::clock::Clock;
use capi_core::controllers;
use capi_core::embedded::{self, ApiServer};
use capi_core::pki::{KeyAlgorithm, PrivateKey};
use capi_core::runtime::{Manager, ObjectKey, Runtime};
use capi_core::testing::reference;
use serde_json::{Value, json};

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
const CONFIGS: &str = "/apis/bootstrap.cluster.x-k8s.io/v1beta1/namespaces/default/talosconfigs";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

struct Plane {
    client: kube::Client,
    clock: Clock,
    runtime: Runtime,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Plane {
    fn new() -> Self {
        let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
        let mut builder = ApiServer::builder().clock(clock.clone()).seed(1);
        let definitions = capi_core::api::crds()
            .into_iter()
            .chain(reference::crds())
            .chain(capi_bootstrap_talos::api::crds());
        for definition in definitions {
            builder = builder.crd(definition);
        }
        let client = embedded::client(&builder.build().unwrap());
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let manager = Manager::builder(client.clone())
            .clock(clock.clone())
            .controllers(controllers::bootstrap(
                TalosBootstrap::with_service_account_key(key),
            ))
            .seed(1)
            .build();
        let runtime = manager.runtime().clone();
        let task = tokio::spawn(async move {
            manager.run(std::future::pending()).await.unwrap();
        });
        Self {
            client,
            clock,
            runtime,
            task,
        }
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: &Value) {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(body.to_string().into_bytes())
            .unwrap();
        if let Err(error) = self.client.request_text(request).await {
            panic!("{method} {path}: {error}");
        }
    }

    async fn create(&self, path: &str, object: Value) -> Value {
        self.send("POST", path, "application/json", &object).await;
        let name = object["metadata"]["name"].as_str().unwrap();
        self.get(&format!("{path}/{name}")).await.unwrap()
    }

    async fn status(&self, path: &str, status: Value) {
        let body = json!({ "status": status });
        self.send(
            "PATCH",
            &format!("{path}/status"),
            "application/merge-patch+json",
            &body,
        )
        .await;
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        match self.client.request::<Value>(request).await {
            Ok(object) => Some(object),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("GET {path}: {error}"),
        }
    }

    /// Waits, at most an hour of virtual time, until what is at a path is so.
    async fn until(&self, path: &str, so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..7200 {
            if let Some(found) = self.get(path).await
                && so(&found)
            {
                return found;
            }
            self.clock.sleep(Duration::from_millis(500)).await;
        }
        panic!("{path} never became so: {:#?}", self.get(path).await);
    }

    /// A machine with its TalosConfig.
    async fn machine(&self, name: &str, control_plane: bool) {
        let mut labels = json!({ "cluster.x-k8s.io/cluster-name": "c1" });
        if control_plane {
            labels["cluster.x-k8s.io/control-plane"] = "".into();
        }
        let machine = self
            .create(
                &format!("{CORE}/machines"),
                json!({
                    "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
                    "metadata": { "namespace": "default", "name": name, "labels": labels },
                    "spec": {
                        "clusterName": "c1", "version": "v1.33.0",
                        "bootstrap": { "configRef": { "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "TalosConfig", "name": name } },
                        "infrastructureRef": { "apiGroup": "reference.capi.dev", "kind": "ReferenceMachine", "name": name },
                    },
                }),
            )
            .await;
        self.create(
            CONFIGS,
            json!({
                "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta1", "kind": "TalosConfig",
                "metadata": {
                    "namespace": "default", "name": name, "labels": labels,
                    "ownerReferences": [{
                        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": name,
                        "uid": machine["metadata"]["uid"], "controller": true,
                    }],
                },
                "spec": { "generateType": if control_plane { "controlplane" } else { "worker" }, "talosVersion": "v1.13" },
            }),
        )
        .await;
    }
}

fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == type_)
}

fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
}

fn text(secret: &Value, key: &str) -> String {
    let bytes = STANDARD
        .decode(secret["data"][key].as_str().unwrap())
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_talos_config_becomes_secrets_conditions_and_then_nothing_more_is_written() {
    let plane = Plane::new();
    let cluster = plane
        .create(
            &format!("{CORE}/clusters"),
            json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
                "metadata": { "namespace": "default", "name": "c1" },
                "spec": {
                    "controlPlaneEndpoint": { "host": "10.0.0.1", "port": 6443 },
                    "infrastructureRef": { "apiGroup": "reference.capi.dev", "kind": "ReferenceCluster", "name": "c1" },
                },
            }),
        )
        .await;
    plane.machine("cp-1", true).await;
    plane.machine("md-1", false).await;
    let waiting = plane
        .until(&format!("{CONFIGS}/cp-1"), |config| {
            condition(config, "Ready").is_some()
        })
        .await;
    assert_eq!(condition(&waiting, "Ready").unwrap()["status"], "False");
    assert!(plane.get(&format!("{SECRETS}/c1-talos")).await.is_none());

    let provisioned = json!({ "initialization": { "infrastructureProvisioned": true } });
    plane
        .status(&format!("{CORE}/clusters/c1"), provisioned)
        .await;
    let config = plane.until(&format!("{CONFIGS}/cp-1"), is_ready).await;
    plane.until(&format!("{CONFIGS}/md-1"), is_ready).await;
    assert_eq!(config["status"]["dataSecretName"], "cp-1-bootstrap-data");
    assert_eq!(
        config["status"]["initialization"]["dataSecretCreated"],
        true
    );
    let available = condition(&config, "DataSecretAvailable").unwrap();
    assert_eq!(available["status"], "True");
    assert_eq!(
        available["message"],
        "written for Talos v1.13, as spec.talosVersion says"
    );
    assert_eq!(
        condition(&config, "ClientConfigAvailable").unwrap()["status"],
        "True"
    );

    for (name, key) in [
        ("c1-talos", "bundle"),
        ("c1-ca", "tls.crt"),
        ("c1-talosconfig", "talosconfig"),
    ] {
        let secret = plane.get(&format!("{SECRETS}/{name}")).await.unwrap();
        assert!(!text(&secret, key).is_empty());
        assert_eq!(secret["type"], "Opaque", "{name}");
        assert_eq!(
            secret["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"],
            "c1"
        );
        let owner = &secret["metadata"]["ownerReferences"][0];
        assert_eq!(
            (&owner["kind"], &owner["uid"]),
            (&"Cluster".into(), &cluster["metadata"]["uid"])
        );
    }
    let data = plane
        .get(&format!("{SECRETS}/md-1-bootstrap-data"))
        .await
        .unwrap();
    assert_eq!(
        data["data"].as_object().unwrap().len(),
        1,
        "one key, and no format"
    );
    assert_eq!(
        data["metadata"]["ownerReferences"][0]["kind"],
        "TalosConfig"
    );
    let worker = MachineConfig::load(&text(&data, "value")).unwrap();
    assert_eq!(worker.endpoint(), Some("https://10.0.0.1:6443"));

    let idle = async || {
        let writes = plane.runtime.metrics().writes();
        for name in ["cp-1", "md-1"] {
            plane
                .runtime
                .wake("talosconfig", &ObjectKey::new("default", name));
        }
        plane.clock.sleep(Duration::from_secs(60)).await;
        assert_eq!(
            plane.runtime.metrics().writes(),
            writes,
            "written although nothing changed"
        );
    };
    idle().await;

    let addresses = json!({ "addresses": [{ "type": "InternalIP", "address": "10.0.0.11" }] });
    plane
        .status(&format!("{CORE}/machines/cp-1"), addresses)
        .await;
    plane
        .until(&format!("{SECRETS}/c1-talosconfig"), |secret| {
            let client = Talosconfig::parse(&text(secret, "talosconfig")).unwrap();
            client.endpoints == ["10.0.0.11"]
        })
        .await;
    idle().await;
}
