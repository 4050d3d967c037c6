//! The control plane provider against simulated nodes, in virtual time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use capi_controlplane_talos::{api::TalosControlPlane, provider::TalosControlPlaneProvider};
use capi_core::{
    api::{Cluster, Machine, MachineAddress, MachineAddressType},
    pki::Kubeconfig,
    provider::{
        AddressFacts, AddressRequest, Addresses, Context, ControlPlane, ControlPlaneContext,
        ControlPlaneHealth, ControlPlaneMachine, ErrorClass, NamedSecret, Progress, ProviderError,
        SecretRequest, Secrets, Slots,
    },
};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use crate::fixture::{Lab, address, uuid};

/// Secrets that were put there beforehand.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, BTreeMap<String, Vec<u8>>>>);

impl Memory {
    fn set(&self, name: &str, data: &[(&str, &str)]) {
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        self.0
            .lock()
            .expect("no panic before")
            .insert(name.to_owned(), data.collect());
    }

    fn remove(&self, name: &str) {
        self.0.lock().expect("no panic before").remove(name);
    }
}

#[async_trait]
impl Secrets for Memory {
    async fn get(&self, _: &str, name: &str) -> Result<Option<NamedSecret>, ProviderError> {
        let all = self.0.lock().expect("no panic before");
        Ok(all.get(name).map(|data| NamedSecret {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            data: data
                .iter()
                .map(|(key, value)| (key.clone(), SecretSlice::from(value.clone())))
                .collect(),
        }))
    }

    async fn create(&self, _: SecretRequest) -> Result<NamedSecret, ProviderError> {
        Err(ProviderError::refused(
            "Unexpected",
            "the provider makes no secret",
        ))
    }

    async fn put(&self, _: SecretRequest) -> Result<(), ProviderError> {
        Err(ProviderError::refused(
            "Unexpected",
            "the provider makes no secret",
        ))
    }
}

struct None_;

#[async_trait]
impl Addresses for None_ {
    async fn claim(&self, _: AddressRequest) -> Result<Progress<AddressFacts>, ProviderError> {
        Err(ProviderError::refused(
            "Unexpected",
            "the provider claims no address",
        ))
    }

    async fn release(&self, _: &str) -> Result<Progress<()>, ProviderError> {
        Err(ProviderError::refused(
            "Unexpected",
            "the provider claims no address",
        ))
    }
}

impl Slots for None_ {
    fn take(&self, _: &str, _: &str) -> bool {
        false
    }

    fn give_back(&self, _: &str, _: &str) {}
}

struct Scene {
    lab: Lab,
    secrets: Arc<Memory>,
    provider: TalosControlPlaneProvider,
}

type Cx = ControlPlaneContext<TalosControlPlane>;

impl Scene {
    fn new() -> Self {
        let lab = Lab::virtual_time();
        let secrets = Arc::new(Memory::default());
        secrets.set(
            "lab-talos",
            &[("bundle", lab.keys.bundle.to_yaml().expose_secret())],
        );
        let provider = TalosControlPlaneProvider::with_connector(lab.datacenter.connector());
        Self {
            lab,
            secrets,
            provider,
        }
    }

    /// A context with machines of these numbers; the address of number n is 10.0.0.n.
    fn cx(&self, machines: &[u8]) -> Cx {
        let none = Arc::new(None_);
        let context = Context::new(
            self.lab.clock.clone(),
            self.secrets.clone(),
            none.clone(),
            none,
        );
        let mut cluster = Cluster::new("lab", Default::default());
        cluster.metadata.namespace = Some("default".to_owned());
        cluster.spec.control_plane_endpoint.host = "10.0.0.100".to_owned();
        cluster.spec.control_plane_endpoint.port = 6443;
        ControlPlaneContext {
            context,
            cluster: Arc::new(cluster),
            control_plane: Arc::new(TalosControlPlane::new("lab-cp", Default::default())),
            machines: machines.iter().map(|number| machine(*number)).collect(),
        }
    }

    async fn initialize(&self, cx: &Cx) -> Result<Progress<()>, ProviderError> {
        self.provider.initialize(cx, &cx.machines[0]).await
    }

    /// Calls until it is ready; the reasons it waited for.
    async fn initialized(&self, cx: &Cx) -> Vec<String> {
        let mut reasons = Vec::new();
        for _ in 0..500 {
            match self.initialize(cx).await.expect("no error") {
                Progress::Ready(()) => return reasons,
                Progress::Waiting(wait) => reasons.push(wait.message),
            }
            self.lab.clock.sleep(Duration::from_millis(100)).await;
        }
        panic!("not initialised: {reasons:?}");
    }

    async fn inspect(&self, cx: &Cx) -> ControlPlaneHealth {
        self.provider.inspect(cx).await.expect("health")
    }

    /// A cluster of machines 1 to `count`, all of them members.
    async fn cluster(&self, count: u8) -> Cx {
        self.lab.cluster(count).await;
        let numbers: Vec<u8> = (1..=count).collect();
        self.cx(&numbers)
    }

    async fn leave(&self, cx: &Cx, index: usize) -> Result<Progress<()>, ProviderError> {
        self.provider.prepare_removal(cx, &cx.machines[index]).await
    }

    async fn members(&self, number: u8) -> Vec<String> {
        let members = self
            .lab
            .client(number)
            .await
            .etcd_members(false)
            .await
            .expect("members");
        let mut names: Vec<String> = members.into_iter().map(|member| member.hostname).collect();
        names.sort_unstable();
        names
    }
}

fn machine(number: u8) -> ControlPlaneMachine {
    let mut machine = Machine::new(&format!("m-{number}"), Default::default());
    machine.spec.infrastructure_ref.name = format!("node-{number}");
    let of = |type_, address: String| MachineAddress { type_, address };
    ControlPlaneMachine {
        machine: Arc::new(machine),
        addresses: vec![
            of(MachineAddressType::InternalIp, "10.0.0.100".to_owned()),
            of(MachineAddressType::InternalIp, address(number).to_string()),
        ],
        bootstrap: None,
    }
}

fn deleting(machine: &mut ControlPlaneMachine) {
    let mut deleted = Machine::clone(&machine.machine);
    let epoch: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
    deleted.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(epoch));
    machine.machine = Arc::new(deleted);
}

fn reason(progress: Result<Progress<()>, ProviderError>) -> String {
    match progress.expect("no error") {
        Progress::Ready(()) => "Ready".to_owned(),
        Progress::Waiting(wait) => wait.reason.into_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_begun_once_on_the_first_machine_that_answers() {
    let scene = Scene::new();
    let cx = scene.cx(&[1]);
    assert_eq!(reason(scene.initialize(&cx).await), "WaitingForTalosBoot");
    scene.lab.control_plane(1);
    let reasons = scene.initialized(&cx).await;
    assert!(
        reasons.iter().any(|reason| reason.contains("etcd starts")),
        "{reasons:?}"
    );
    assert_eq!(
        reason(scene.initialize(&cx).await),
        "Ready",
        "a second call verifies"
    );
    assert!(scene.lab.datacenter.violations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_address_does_not_hold_the_beginning_up() {
    let scene = Scene::new();
    scene.lab.control_plane(1);
    let mut cx = scene.cx(&[1, 2]);
    cx.machines[1].addresses.clear();
    scene.initialized(&cx).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_another_machine_began_is_not_begun_again_though_the_status_is_lost() {
    let scene = Scene::new();
    let cx = scene.cx(&[2, 1]);
    scene.lab.control_plane(1);
    scene
        .lab
        .client(1)
        .await
        .bootstrap()
        .await
        .expect("bootstrap");
    scene
        .lab
        .datacenter
        .until(|machines| machines[0].has_etcd_data)
        .await;
    scene.lab.datacenter.power_off(&uuid(1));
    scene.lab.control_plane(2);
    scene.lab.client(2).await;
    let wait = scene.initialize(&cx).await.expect("no error");
    let Progress::Waiting(wait) = wait else {
        panic!("it cannot be known yet")
    };
    assert!(wait.message.contains("m-1"), "{}", wait.message);
    scene.lab.control_plane(1);
    scene.initialized(&cx).await;
    assert!(
        scene.lab.datacenter.violations().is_empty(),
        "{:?}",
        scene.lab.datacenter.violations()
    );
    assert_eq!(scene.members(1).await[0], "node-1");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_reboots_right_after_the_request_is_asked_again() {
    let scene = Scene::new();
    let cx = scene.cx(&[1]);
    scene.lab.control_plane(1);
    scene.lab.client(1).await;
    assert_eq!(reason(scene.initialize(&cx).await), "WaitingForTalosBoot");
    scene.lab.datacenter.power_off(&uuid(1));
    scene.lab.control_plane(1);
    scene.initialized(&cx).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_is_lost_is_made_again_and_begins_one_cluster() {
    use capi_controlplane_talos::simulator::CallFault;
    let scene = Scene::new();
    let cx = scene.cx(&[1]);
    scene.lab.control_plane(1);
    scene.lab.client(1).await;
    scene.lab.datacenter.set_faults(Some(Arc::new(|_, method| {
        (method == "Bootstrap").then_some(CallFault::AnswerLost)
    })));
    assert_eq!(reason(scene.initialize(&cx).await), "WaitingForTalosBoot");
    scene.lab.datacenter.set_faults(None);
    scene.initialized(&cx).await;
    assert_eq!(scene.members(1).await, ["node-1"]);
}

#[tokio::test(start_paused = true)]
async fn credentials_come_from_the_talosconfig_or_the_bundle_and_are_waited_for() {
    let scene = Scene::new();
    scene.lab.control_plane(1);
    let cx = scene.cx(&[1]);
    scene.secrets.remove("lab-talos");
    assert_eq!(reason(scene.initialize(&cx).await), "WaitingForSecrets");
    let health = scene.inspect(&cx).await;
    assert!(
        health.machines[0].message.contains("lab-talos"),
        "{health:?}"
    );
    let talosconfig = scene.lab.keys.talosconfig(&scene.lab.clock);
    scene.secrets.set(
        "lab-talosconfig",
        &[("talosconfig", talosconfig.expose_secret())],
    );
    scene.initialized(&cx).await;

    scene
        .lab
        .clock
        .sleep(Duration::from_secs(366 * 24 * 3600))
        .await;
    assert_eq!(
        reason(scene.initialize(&cx).await),
        "WaitingForSecrets",
        "expired, and no bundle"
    );
    scene
        .secrets
        .set("lab-talosconfig", &[("talosconfig", "context: x\n")]);
    let error = scene.initialize(&cx).await.expect_err("broken");
    assert_eq!(error.class(), ErrorClass::Invalid);
    assert!(
        error.full_message().contains("lab-talosconfig"),
        "{}",
        error.full_message()
    );
}

#[tokio::test(start_paused = true)]
async fn health_is_what_the_nodes_and_etcd_say() {
    let scene = Scene::new();
    let before = scene.inspect(&scene.cx(&[1])).await;
    assert!(!before.initialized);
    assert_eq!(before.etcd_healthy, None);
    assert_eq!(
        (before.machines[0].member, before.machines[0].components),
        (None, None)
    );

    let cx = scene.cluster(3).await;
    let health = scene.inspect(&cx).await;
    assert!(health.initialized);
    assert_eq!(health.etcd_healthy, Some(true));
    assert_eq!(health.status.get("bootstrapped"), Some(&true.into()));
    for machine in &health.machines {
        assert_eq!(
            (
                machine.member,
                machine.member_healthy,
                machine.components,
                machine.learner
            ),
            (Some(true), Some(true), Some(true), false),
            "{machine:?}"
        );
        assert_eq!(machine.message, "");
    }

    scene.lab.datacenter.power_off(&uuid(3));
    let health = scene.inspect(&cx).await;
    assert_eq!(health.etcd_healthy, Some(true), "two of three");
    let dead = &health.machines[2];
    assert_eq!(
        (dead.member, dead.member_healthy, dead.components),
        (Some(true), None, None)
    );
    assert!(!dead.message.is_empty());

    scene.lab.datacenter.power_off(&uuid(2));
    let health = scene.inspect(&cx).await;
    assert_eq!(health.etcd_healthy, Some(false), "one of three");
    assert_eq!(health.machines[0].member, None, "nobody can say");
    assert_eq!(health.machines[0].member_healthy, Some(false));
    assert!(health.initialized, "and never again");
}

#[tokio::test(start_paused = true)]
async fn a_member_without_a_machine_is_foreign_and_can_be_removed() {
    let scene = Scene::new();
    scene.cluster(3).await;
    let cx = scene.cx(&[1, 2]);
    let foreign = scene.inspect(&cx).await.foreign_members;
    assert_eq!(foreign.len(), 1);
    assert!(foreign[0].starts_with("node-3/"), "{foreign:?}");
    let error = scene
        .provider
        .remove_member(&scene.cx(&[1, 2, 3]), &foreign[0])
        .await
        .expect_err("it has a machine");
    assert_eq!(error.class(), ErrorClass::Refused);
    assert_eq!(
        reason(scene.provider.remove_member(&cx, &foreign[0]).await),
        "Ready"
    );
    assert_eq!(
        reason(scene.provider.remove_member(&cx, &foreign[0]).await),
        "Ready",
        "twice is done"
    );
    assert_eq!(scene.members(1).await, ["node-1", "node-2"]);
    assert!(scene.provider.remove_member(&cx, "nonsense").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_machine_leaves_etcd_before_it_goes_and_the_others_confirm() {
    let scene = Scene::new();
    let cx = scene.cluster(3).await;
    for (index, left) in [(0, vec!["node-2", "node-3"]), (1, vec!["node-3"])] {
        assert_eq!(reason(scene.leave(&cx, index).await), "Ready");
        assert_eq!(
            reason(scene.leave(&cx, index).await),
            "Ready",
            "twice is done"
        );
        assert_eq!(scene.members(3).await, left);
    }
    assert_eq!(reason(scene.leave(&cx, 2).await), "EtcdOnlyMember");
    let alone = scene.cx(&[3]);
    assert_eq!(
        reason(scene.leave(&alone, 0).await),
        "Ready",
        "the whole control plane goes"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_machine_is_taken_out_by_the_others_only_while_they_keep_quorum() {
    let scene = Scene::new();
    let cx = scene.cluster(3).await;
    scene.lab.datacenter.destroy(&uuid(3));
    assert_eq!(
        reason(scene.leave(&cx, 0).await),
        "EtcdQuorumAtRisk",
        "a living one would cost the quorum"
    );
    assert_eq!(scene.members(1).await.len(), 3);
    assert_eq!(reason(scene.leave(&cx, 2).await), "Ready");
    assert_eq!(scene.members(1).await, ["node-1", "node-2"]);

    scene.lab.datacenter.power_off(&uuid(2));
    let two = scene.cx(&[1, 2]);
    assert_eq!(
        reason(scene.leave(&two, 1).await),
        "EtcdUnreachable",
        "one of two is no majority"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_leaves_etcd_when_the_whole_control_plane_is_deleted() {
    let scene = Scene::new();
    let mut cx = scene.cluster(3).await;
    cx.machines.iter_mut().for_each(deleting);
    assert_eq!(reason(scene.leave(&cx, 0).await), "Ready");
    assert_eq!(scene.members(1).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_leave_that_takes_too_long_is_seen_as_done_later() {
    use capi_controlplane_talos::simulator::CallFault;
    let scene = Scene::new();
    let cx = scene.cluster(3).await;
    scene.lab.datacenter.set_faults(Some(Arc::new(|_, method| {
        (method == "EtcdLeaveCluster").then_some(CallFault::AnswerLost)
    })));
    assert_eq!(reason(scene.leave(&cx, 2).await), "EtcdLeaving");
    assert_eq!(
        reason(scene.leave(&cx, 2).await),
        "Ready",
        "it was done all the same"
    );
}

#[tokio::test(start_paused = true)]
async fn the_kubeconfig_is_made_renewed_at_half_its_life_and_follows_the_endpoint() {
    let scene = Scene::new();
    scene.secrets.remove("lab-talos");
    let mut cx = scene.cx(&[1]);
    let waits = scene
        .provider
        .kubeconfig(&cx, None)
        .await
        .expect("no error");
    assert!(matches!(waits, Progress::Waiting(wait) if wait.on.contains("lab-ca")));
    let ca = &scene.lab.keys.kubernetes;
    scene.secrets.set(
        "lab-ca",
        &[
            ("tls.crt", &ca.certificate().to_pem()),
            ("tls.key", ca.key().to_pem().expose_secret()),
        ],
    );
    let made = scene
        .provider
        .kubeconfig(&cx, None)
        .await
        .expect("no error")
        .ready()
        .flatten()
        .expect("one");
    let certificate =
        &Kubeconfig::client_certificates(made.expose_secret()).expect("certificates")[0];
    assert_eq!(certificate.common_name(), Some("kubernetes-admin"));
    assert!(certificate.is_signed_by(ca.certificate()));
    let again = |cx: Cx, current: SecretString| {
        let provider = &scene.provider;
        async move {
            provider
                .kubeconfig(&cx, Some(&current))
                .await
                .expect("no error")
                .ready()
                .flatten()
        }
    };
    assert!(
        again(cx.clone(), made.clone()).await.is_none(),
        "it is good"
    );
    let user = SecretString::from(
        "apiVersion: v1\nkind: Config\nclusters: []\nusers: [{name: me, user: {token: t}}]\n",
    );
    assert!(
        again(cx.clone(), user).await.is_none(),
        "a user's is not touched"
    );

    scene
        .lab
        .clock
        .sleep(Duration::from_secs(200 * 24 * 3600))
        .await;
    let renewed = again(cx.clone(), made).await.expect("past half its life");
    Arc::make_mut(&mut cx.cluster)
        .spec
        .control_plane_endpoint
        .host = "fd00::1".to_owned();
    let moved = again(cx.clone(), renewed)
        .await
        .expect("the endpoint changed");
    assert_eq!(
        Kubeconfig::server_of(moved.expose_secret())
            .expect("readable")
            .as_deref(),
        Some("https://[fd00::1]:6443")
    );
    Arc::make_mut(&mut cx.cluster)
        .spec
        .control_plane_endpoint
        .host = String::new();
    let waits = scene
        .provider
        .kubeconfig(&cx, None)
        .await
        .expect("no error");
    assert!(
        matches!(waits, Progress::Waiting(wait) if wait.reason == "WaitingForControlPlaneEndpoint")
    );
}

#[tokio::test(start_paused = true)]
async fn twenty_dead_machines_are_inspected_at_once() {
    let scene = Scene::new();
    let numbers: Vec<u8> = (1..=20).collect();
    let before = tokio::time::Instant::now();
    let health = scene.inspect(&scene.cx(&numbers)).await;
    assert_eq!(health.machines.len(), 20);
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "{:?}",
        before.elapsed()
    );
}
