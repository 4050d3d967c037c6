use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use capi_core::api::{Cluster, Machine, MachineAddress, MachineAddressType};
use capi_core::clock::{Clock, Sleep, TimeSource};
use capi_core::pki::{CertificateAuthority, KeyAlgorithm, Kubeconfig, PrivateKey, Subject};
use capi_core::provider::{
    AddressFacts, AddressRequest, Addresses, Bootstrap as _, BootstrapContext, BootstrapData,
    BootstrapRole, Context, ErrorClass, NamedSecret, Progress, ProviderError, SecretRequest,
    Secrets, Slots,
};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::*;
use crate::api::{GenerateType, TalosConfig};
use crate::config::{MachineConfig, Talosconfig};
use crate::secrets::{PemPair, SecretsBundle};
use crate::testing;

/// Secrets in memory, and how often something was written.
#[derive(Default)]
struct Store {
    secrets: Mutex<BTreeMap<String, SecretRequest>>,
    writes: Mutex<Vec<String>>,
}

impl Store {
    fn named(request: &SecretRequest) -> NamedSecret {
        NamedSecret {
            name: request.name.clone(),
            labels: BTreeMap::new(),
            data: request.data.clone(),
        }
    }

    fn insert(&self, request: SecretRequest) {
        self.secrets
            .lock()
            .unwrap()
            .insert(request.name.clone(), request);
    }

    fn remove(&self, name: &str) {
        self.secrets.lock().unwrap().remove(name).unwrap();
    }

    fn text(&self, name: &str, key: &str) -> String {
        let secrets = self.secrets.lock().unwrap();
        let secret = secrets
            .get(name)
            .unwrap_or_else(|| panic!("no secret {name}"));
        String::from_utf8(secret.data[key].expose_secret().to_vec()).unwrap()
    }

    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut *self.writes.lock().unwrap())
    }
}

struct Ports(Arc<Store>);

#[async_trait]
impl Secrets for Ports {
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<NamedSecret>, ProviderError> {
        assert_eq!(namespace, "ns");
        Ok(self.0.secrets.lock().unwrap().get(name).map(Store::named))
    }

    async fn create(&self, request: SecretRequest) -> Result<NamedSecret, ProviderError> {
        let mut secrets = self.0.secrets.lock().unwrap();
        let stored = secrets.entry(request.name.clone()).or_insert_with(|| {
            self.0
                .writes
                .lock()
                .unwrap()
                .push(format!("create {}", request.name));
            request
        });
        Ok(Store::named(stored))
    }

    async fn put(&self, request: SecretRequest) -> Result<(), ProviderError> {
        let mut secrets = self.0.secrets.lock().unwrap();
        let same = secrets.get(&request.name).is_some_and(|stored| {
            stored.data.len() == request.data.len()
                && stored.data.iter().all(|(key, value)| {
                    request
                        .data
                        .get(key)
                        .is_some_and(|wanted| wanted.expose_secret() == value.expose_secret())
                })
        });
        if !same {
            self.0
                .writes
                .lock()
                .unwrap()
                .push(format!("put {}", request.name));
            secrets.insert(request.name.clone(), request);
        }
        Ok(())
    }
}

struct Nothing;

#[async_trait]
impl Addresses for Nothing {
    async fn claim(&self, _: AddressRequest) -> Result<Progress<AddressFacts>, ProviderError> {
        unreachable!("bootstrap data needs no addresses")
    }

    async fn release(&self, _: &str) -> Result<Progress<()>, ProviderError> {
        unreachable!("bootstrap data needs no addresses")
    }
}

impl Slots for Nothing {
    fn take(&self, _: &str, _: &str) -> bool {
        true
    }

    fn give_back(&self, _: &str, _: &str) {}
}

struct Fixed(Timestamp);

impl TimeSource for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

/// A cluster with its secrets.
struct World {
    store: Arc<Store>,
    now: Timestamp,
    cluster: Cluster,
    machines: Vec<Machine>,
    provider: TalosBootstrap,
}

impl World {
    fn new() -> Self {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": "c1", "namespace": "ns", "uid": "u1" },
            "spec": { "controlPlaneEndpoint": { "host": "10.0.0.1", "port": 6443 } },
        });
        Self {
            store: Arc::default(),
            now: testing::now(),
            cluster: serde_json::from_value(cluster).unwrap(),
            machines: Vec::new(),
            provider: TalosBootstrap::with_service_account_key(key),
        }
    }

    fn context(&self, name: &str, generate_type: GenerateType) -> BootstrapContext<TalosConfig> {
        let machine = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": name, "namespace": "ns" },
            "spec": {
                "clusterName": "c1", "version": "v1.33.4",
                "bootstrap": { "configRef": { "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "TalosConfig", "name": name } },
                "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "ProxmoxMachine", "name": "vm" },
            },
        });
        let mut config = TalosConfig::new(name, crate::api::TalosConfigSpec::default());
        config.metadata.namespace = Some("ns".to_owned());
        let control_plane = generate_type != GenerateType::Worker;
        config.spec.generate_type = generate_type;
        let ports = Arc::new(Ports(Arc::clone(&self.store)));
        BootstrapContext {
            context: Context::new(
                Clock::new(Fixed(self.now)),
                ports,
                Arc::new(Nothing),
                Arc::new(Nothing),
            ),
            cluster: Arc::new(self.cluster.clone()),
            machine: Arc::new(serde_json::from_value(machine).unwrap()),
            config: Arc::new(config),
            role: if control_plane {
                BootstrapRole::ControlPlane
            } else {
                BootstrapRole::Worker
            },
            infrastructure: None,
            control_plane_machines: self.machines.iter().cloned().map(Arc::new).collect(),
        }
    }

    fn control_plane(&self) -> BootstrapContext<TalosConfig> {
        self.context("cp-1", GenerateType::ControlPlane)
    }

    async fn data(&self, cx: &BootstrapContext<TalosConfig>) -> BootstrapData {
        match self.provider.generate(cx).await.unwrap() {
            Progress::Ready(data) => data,
            Progress::Waiting(wait) => panic!("{wait:?}"),
        }
    }

    async fn refresh(&self) {
        let cx = self.control_plane();
        assert_eq!(
            self.provider.refresh(&cx).await.unwrap(),
            Progress::Ready(())
        );
    }

    fn addresses(&mut self, addresses: &[&str]) {
        self.machines = addresses
            .iter()
            .map(|address| {
                let mut machine = Machine::default();
                machine.status.addresses = vec![
                    MachineAddress {
                        type_: MachineAddressType::Hostname,
                        address: "name".to_owned(),
                    },
                    MachineAddress {
                        type_: MachineAddressType::InternalIp,
                        address: (*address).to_owned(),
                    },
                ];
                machine
            })
            .collect();
    }

    fn talosconfig(&self) -> Talosconfig {
        Talosconfig::parse(&self.store.text("c1-talosconfig", "talosconfig")).unwrap()
    }
}

fn config(data: &BootstrapData) -> MachineConfig {
    let text = std::str::from_utf8(data.value.expose_secret()).unwrap();
    assert!(text.len() < 32 * 1024);
    MachineConfig::load(text).unwrap()
}

#[tokio::test]
async fn the_first_control_plane_machine_makes_the_secrets_of_the_cluster() {
    let world = World::new();
    let cx = world.control_plane();
    let data = world.data(&cx).await;
    assert_eq!(
        world.store.writes(),
        ["create c1-talos", "create c1-ca", "put c1-talosconfig"]
    );
    let bundle = SecretsBundle::from_yaml(&world.store.text("c1-talos", "bundle")).unwrap();
    let config = config(&data);
    assert_eq!(
        config.talos_ca(),
        Some(bundle.certificates.talos.certificate)
    );
    assert_eq!(
        config.kubernetes_ca(),
        Some(world.store.text("c1-ca", "tls.crt"))
    );
    assert!(
        world
            .store
            .text("c1-ca", "tls.key")
            .starts_with("-----BEGIN EC PRIVATE KEY-----")
    );
    assert_eq!(config.endpoint(), Some("https://10.0.0.1:6443"));
    assert_eq!(world.provider.secret_name(&cx), "cp-1-bootstrap-data");
    assert_eq!(data.format, None);
    for secret in world.store.secrets.lock().unwrap().values() {
        assert_eq!(secret.kind, "Opaque");
        assert!(secret.owned_by_cluster, "{}", secret.name);
    }
    let client = world.talosconfig();
    assert_eq!(client.context, "c1");
    assert!(client.endpoints.is_empty());
    assert!(
        world
            .store
            .text("c1-talosconfig", "talosconfig")
            .contains("endpoints: []")
    );
}

#[tokio::test]
async fn all_machines_share_the_secrets_and_a_worker_has_no_private_key() {
    let world = World::new();
    let first = config(&world.data(&world.control_plane()).await);
    world.store.writes();
    let second = config(
        &world
            .data(&world.context("cp-2", GenerateType::ControlPlane))
            .await,
    );
    let worker = config(
        &world
            .data(&world.context("md-1", GenerateType::Worker))
            .await,
    );
    assert_eq!(world.store.writes(), Vec::<String>::new());
    assert!(first == second);
    assert_eq!(worker.machine_token(), first.machine_token());
    assert_eq!(worker.talos_ca(), first.talos_ca());
    assert!(worker.talos_ca_key().is_none() && worker.kubernetes_ca_key().is_none());
    assert!(!worker.to_yaml().expose_secret().contains("etcd"));
}

#[tokio::test]
async fn the_condition_says_which_form_was_chosen_and_why() {
    let world = World::new();
    for (version, patch, expected) in [
        (None, false, "written for Talos v1.13"),
        (
            None,
            true,
            "written for Talos v1.11, the last whose configuration takes JSON patches",
        ),
        (
            Some("v1.12.1"),
            false,
            "written for Talos v1.12, as spec.talosVersion says",
        ),
    ] {
        let mut cx = world.control_plane();
        let spec = &mut Arc::make_mut(&mut cx.config).spec;
        spec.talos_version = version.map(str::to_owned);
        if patch {
            spec.config_patches = serde_json::from_value(
                json!([{ "op": "add", "path": "/machine/sysctls", "value": { "a": "b" } }]),
            )
            .unwrap();
        }
        let data = world.data(&cx).await;
        let condition = &data.status["conditions"][0];
        assert_eq!(condition["type"], "DataSecretAvailable");
        let message = condition["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
        assert_eq!(
            data.status["conditions"][1]["type"],
            "ClientConfigAvailable"
        );
    }
}

#[tokio::test]
async fn a_kubernetes_that_this_talos_does_not_run_is_warned_of() {
    let world = World::new();
    let mut cx = world.context("md-1", GenerateType::Worker);
    Arc::make_mut(&mut cx.machine).spec.version = Some("v1.28.0".to_owned());
    let data = world.data(&cx).await;
    let message = data.status["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("warning: Talos v1.13 runs Kubernetes 1.31 to 1.36"),
        "{message}"
    );
}

#[tokio::test]
async fn the_template_of_the_infrastructure_can_name_the_version() {
    let world = World::new();
    let mut cx = world.context("md-1", GenerateType::Worker);
    cx.infrastructure = Some(Arc::new(json!({
        "metadata": { "annotations": { "cluster.x-k8s.io/cloned-from-name": "talos-v1.10-workers" } },
        "spec": { "templateSelector": { "matchTags": ["talos-1-9"] } },
    })));
    let data = world.data(&cx).await;
    let message = data.status["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("written for Talos v1.10"), "{message}");
    assert!(config(&data).of_kind("HostnameConfig").is_none());
}

#[tokio::test]
async fn without_an_endpoint_it_waits_and_writes_nothing() {
    let mut world = World::new();
    world.cluster.spec.control_plane_endpoint.host.clear();
    let answer = world
        .provider
        .generate(&world.control_plane())
        .await
        .unwrap();
    let Progress::Waiting(wait) = answer else {
        panic!("data without an endpoint")
    };
    assert_eq!(wait.reason, "WaitingForControlPlaneEndpoint");
    assert!(world.store.writes().is_empty());
}

#[tokio::test]
async fn endpoints_are_the_addresses_of_the_control_plane_sorted_and_the_client_stays() {
    let mut world = World::new();
    world.data(&world.control_plane()).await;
    let before = world.talosconfig();
    world.store.writes();
    world.addresses(&["10.0.0.12", "10.0.0.11", "10.0.0.11"]);
    world.refresh().await;
    assert_eq!(world.store.writes(), ["put c1-talosconfig"]);
    assert_eq!(world.talosconfig().endpoints, ["10.0.0.11", "10.0.0.12"]);
    assert_eq!(world.talosconfig().client, before.client);
    world.refresh().await;
    assert!(world.store.writes().is_empty(), "nothing changed");
    world.addresses(&["10.0.0.12"]);
    world.refresh().await;
    assert_eq!(world.talosconfig().endpoints, ["10.0.0.12"]);
}

#[tokio::test]
async fn the_client_certificate_is_renewed_after_half_of_its_life() {
    let mut world = World::new();
    world.data(&world.control_plane()).await;
    let before = world.talosconfig();
    world.now += SignedDuration::from_hours(24 * 180);
    world.refresh().await;
    assert_eq!(world.talosconfig().client, before.client);
    world.now += SignedDuration::from_hours(24 * 3);
    world.refresh().await;
    let after = world.talosconfig();
    assert_ne!(after.client, before.client);
    assert_eq!(after.client.certificate.not_before(), world.now);
    assert_eq!(after.client.certificate.organizations(), ["os:admin"]);
}

#[tokio::test]
async fn secrets_that_follow_from_the_bundle_come_back_and_the_bundle_is_asked_for() {
    let world = World::new();
    world.data(&world.control_plane()).await;
    world.store.remove("c1-ca");
    world.store.remove("c1-talosconfig");
    world.store.writes();
    world.refresh().await;
    assert_eq!(world.store.writes(), ["create c1-ca", "put c1-talosconfig"]);
    world.store.remove("c1-talos");
    let answer = world
        .provider
        .refresh(&world.control_plane())
        .await
        .unwrap();
    assert!(matches!(answer, Progress::Waiting(wait) if wait.reason == "SecretsBundleMissing"));
}

#[tokio::test]
async fn a_kubernetes_authority_of_the_user_goes_into_a_new_bundle_and_conflicts_with_an_old_one() {
    let world = World::new();
    let subject = Subject::organization("mine");
    let mine =
        CertificateAuthority::generate(KeyAlgorithm::EcdsaP256, &subject, world.now).unwrap();
    world
        .store
        .insert(secrets::authority_request("c1", &PemPair::from(&mine)));
    let data = world.data(&world.control_plane()).await;
    assert_eq!(
        config(&data).kubernetes_ca(),
        Some(mine.certificate().to_pem())
    );
    let other =
        CertificateAuthority::generate(KeyAlgorithm::EcdsaP256, &subject, world.now).unwrap();
    world
        .store
        .insert(secrets::authority_request("c1", &PemPair::from(&other)));
    let error = world
        .provider
        .generate(&world.control_plane())
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
    assert_eq!(error.reason(), "AuthorityConflict");
}

#[tokio::test]
async fn a_bundle_that_cannot_be_used_is_refused_before_anything_is_written() {
    for text in ["", "{a: [", "cluster: {id: a}"] {
        let world = World::new();
        world
            .store
            .insert(SecretRequest::new("c1-talos", "bundle", text));
        let error = world
            .provider
            .generate(&world.control_plane())
            .await
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::Refused, "{text}");
        assert!(
            error.full_message().contains("c1-talos"),
            "{}",
            error.full_message()
        );
        assert!(world.store.writes().is_empty());
    }
}

#[tokio::test]
async fn a_bundle_that_was_replaced_is_read_again() {
    let world = World::new();
    world.data(&world.control_plane()).await;
    let other = testing::bundle();
    world.store.remove("c1-ca");
    world.store.insert(secrets::bundle_request("c1", other));
    let data = world.data(&world.control_plane()).await;
    assert_eq!(
        config(&data).talos_ca().as_ref(),
        Some(&other.certificates.talos.certificate)
    );
    world.refresh().await;
    assert_eq!(
        world.talosconfig().certificate_authority,
        other.certificates.talos.certificate
    );
}

#[tokio::test]
async fn a_spec_that_cannot_work_is_invalid_until_it_changes() {
    let world = World::new();
    let cases: [(serde_json::Value, &str); 5] = [
        (
            json!({ "generateType": "worker", "talosVersion": "abc" }),
            "spec.talosVersion",
        ),
        (
            json!({ "generateType": "foo" }),
            "unknown generate type specified: \"foo\"",
        ),
        (
            json!({ "generateType": "none" }),
            "failed to specify config data",
        ),
        (
            json!({ "generateType": "worker", "strategicPatches": ["machine: {a: 1}"] }),
            "spec.strategicPatches[0]: machine.a: unknown key",
        ),
        (
            json!({ "generateType": "worker", "hostname": { "source": "foo" } }),
            "spec.hostname.source",
        ),
    ];
    for (spec, expected) in cases {
        let mut cx = world.context("md-1", GenerateType::Worker);
        Arc::make_mut(&mut cx.config).spec = serde_json::from_value(spec).unwrap();
        let error = world.provider.generate(&cx).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Invalid);
        assert_eq!(error.reason(), "DataSecretGenerationFailed");
        let message = error.full_message();
        assert!(
            message.starts_with("Data secret generation failed: ") && message.contains(expected),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_whole_configuration_of_the_user_gives_authority_and_client_configuration_too() {
    let world = World::new();
    let source = World::new();
    let data = source.data(&source.control_plane()).await;
    let text = String::from_utf8(data.value.expose_secret().to_vec()).unwrap();
    let mut cx = world.context("cp-1", GenerateType::None);
    Arc::make_mut(&mut cx.config).spec.data = Some(format!("# mine\n{text}"));
    let data = world.data(&cx).await;
    assert!(config(&data) == MachineConfig::load(&text).unwrap());
    assert_eq!(world.store.writes(), ["create c1-ca", "put c1-talosconfig"]);
    world.store.remove("c1-talosconfig");
    assert_eq!(
        world.provider.refresh(&cx).await.unwrap(),
        Progress::Ready(())
    );
    assert_eq!(world.store.writes(), ["put c1-talosconfig"]);
}

#[tokio::test]
async fn hostname_ipv6_packet_and_networks_are_as_the_objects_say() {
    let mut world = World::new();
    world.cluster.spec = serde_json::from_value(json!({
        "controlPlaneEndpoint": { "host": "fd00::1", "port": 0 },
        "clusterNetwork": {
            "serviceDomain": "example.com",
            "pods": { "cidrBlocks": ["10.1.0.0/16", "fd01::/48"] },
            "services": { "cidrBlocks": ["10.2.0.0/16"] },
        },
    }))
    .unwrap();
    for (source, expected) in [("MachineName", "md-1"), ("InfrastructureName", "vm")] {
        for version in ["v1.11", "v1.12"] {
            let mut cx = world.context("md-1", GenerateType::Worker);
            let spec = &mut Arc::make_mut(&mut cx.config).spec;
            spec.hostname.source = Some(source.into());
            spec.talos_version = Some(version.to_owned());
            Arc::make_mut(&mut cx.machine).spec.infrastructure_ref.kind =
                "PacketMachine".to_owned();
            let data = world.data(&cx).await;
            assert!(
                data.value
                    .expose_secret()
                    .starts_with(b"#!talos\nversion: v1alpha1\n")
            );
            let config = config(&data);
            assert_eq!(config.hostname(), Some(expected));
            assert_eq!(config.endpoint(), Some("https://[fd00::1]:6443"));
            let network = |key| config.at(&["cluster", "network", key]).unwrap().to_json();
            assert_eq!(network("dnsDomain"), json!("example.com"));
            assert_eq!(network("podSubnets"), json!(["10.1.0.0/16", "fd01::/48"]));
            assert_eq!(network("serviceSubnets"), json!(["10.2.0.0/16"]));
        }
    }
}

#[test]
fn a_kubeconfig_is_made_renewed_and_left_alone() {
    let authority = testing::bundle()
        .certificates
        .kubernetes
        .authority()
        .unwrap();
    let now = testing::now();
    let request = |stored: Option<&NamedSecret>, endpoint: &str, at| {
        secrets::kubeconfig_request("c1", endpoint, &authority, stored, at).unwrap()
    };
    let first = request(None, "https://a:6443", now).unwrap();
    assert_eq!(
        (first.name.as_str(), first.kind.as_str()),
        ("c1-kubeconfig", "cluster.x-k8s.io/secret")
    );
    let stored = Store::named(&first);
    assert!(request(Some(&stored), "https://a:6443", now).is_none());
    assert!(request(Some(&stored), "https://b:6443", now).is_some());
    assert!(
        request(
            Some(&stored),
            "https://a:6443",
            now + SignedDuration::from_hours(24 * 200)
        )
        .is_some()
    );
    let text = std::str::from_utf8(first.data["value"].expose_secret()).unwrap();
    assert!(Kubeconfig::expiry(text).unwrap().is_some());
    let other =
        CertificateAuthority::generate(KeyAlgorithm::EcdsaP256, &Subject::default(), now).unwrap();
    let foreign = secrets::kubeconfig_request("c1", "https://x", &other, None, now)
        .unwrap()
        .unwrap();
    assert!(request(Some(&Store::named(&foreign)), "https://a:6443", now).is_none());
    let token = SecretRequest::new(
        "c1-kubeconfig",
        "value",
        "users: [{name: a, user: {token: b}}]",
    );
    assert!(request(Some(&Store::named(&token)), "https://a:6443", now).is_none());
}
