//! The same life of a cluster on the embedded API server and on the real one, in real time: it
//! comes up, grows, is replaced by changes of its templates, rests through a restart, and goes. The
//! manager may do no more than its ClusterRoles grant, which the real server enforces.
//!
//! Writes are counted by the server, the real one by its own `apiserver_request_total`. The idle
//! time is short here; `CAPI_IDLE_SECONDS=60 cargo test -p capi-core --features testing --test it
//! servers -- --nocapture` makes it a minute.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use capi_core::{
    api::{Cluster, MachineDeployment},
    clock::Clock,
    controllers,
    runtime::{
        Controller, LeaseConfig, Manager, ObjectKey, PolicyRule, ResourceType, cluster_role,
    },
    testing::{
        plane::Plane,
        real::Who,
        reference::{
            ClusterShape, Datacenter, ReferenceBootstrap, ReferenceControlPlane,
            ReferenceControlPlaneProvider, ReferenceInfrastructure, Settings, manifest,
        },
    },
};
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};

/// Long enough for every state on the way to be written.
const QUIET: Duration = Duration::from_millis(1500);
/// The objects that a worker is made of.
const OWN: [&str; 4] = [
    "machines",
    "referenceconfigs",
    "referencemachines",
    "secrets",
];

/// Granted, and not used in this life, with the reason why.
const UNUSED: &[(&str, &str, &str, &str)] = &[
    (
        "",
        "secrets",
        "patch",
        "a kubeconfig is renewed after months",
    ),
    (
        IPAM,
        "ipaddressclaims",
        "create",
        "for a provider that asks for addresses",
    ),
    (
        IPAM,
        "ipaddressclaims",
        "delete",
        "for a provider that asks for addresses",
    ),
    (
        INFRASTRUCTURE,
        "*",
        "list",
        "for kinds of that group, which these are not",
    ),
    (
        INFRASTRUCTURE,
        "*",
        "watch",
        "for kinds of that group, which these are not",
    ),
    (
        INFRASTRUCTURE,
        "*",
        "create",
        "for kinds of that group, which these are not",
    ),
    (
        INFRASTRUCTURE,
        "*",
        "patch",
        "for kinds of that group, which these are not",
    ),
    (
        BOOTSTRAP,
        "*",
        "list",
        "for kinds of that group, which these are not",
    ),
    (
        BOOTSTRAP,
        "*",
        "watch",
        "for kinds of that group, which these are not",
    ),
    (
        BOOTSTRAP,
        "*",
        "create",
        "for kinds of that group, which these are not",
    ),
];
const IPAM: &str = "ipam.cluster.x-k8s.io";
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";
const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io";

struct Life {
    plane: Plane,
    datacenter: Datacenter,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        self.task.await.expect("it ends well");
    }
}

impl Life {
    fn controllers(&self) -> Vec<Arc<dyn Controller>> {
        let mut all = controllers::core();
        all.extend(controllers::infrastructure(ReferenceInfrastructure::new(
            self.datacenter.clone(),
        )));
        all.extend(controllers::bootstrap(ReferenceBootstrap));
        all.extend(controllers::control_plane(
            ReferenceControlPlaneProvider::new(self.datacenter.clone()),
        ));
        all
    }

    fn rules(&self) -> Vec<PolicyRule> {
        let controllers = self.controllers();
        let own = controllers.iter().flat_map(|c| c.rbac());
        let of_core = controllers.iter().flat_map(|c| c.rbac_of_core());
        own.chain(of_core).chain(LeaseConfig::rbac()).collect()
    }

    /// Gives the manager's user what the controllers ask for.
    async fn grant(&self) {
        let role = cluster_role("capi-manager", self.rules());
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "capi-manager" },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "capi-manager",
            },
            "subjects": [{
                "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "manager",
            }],
        });
        for object in [role, binding] {
            self.plane.apply(&object).await.expect("applied");
        }
    }

    fn start(&self, identity: &str) -> Running {
        let client = self.plane.manager_client(Who::Manager).expect("a client");
        let manager = Manager::builder(client)
            .clock(self.plane.clock().clone())
            .connector(self.datacenter.connector())
            .controllers(self.controllers())
            .leader_election(LeaseConfig::new("default", identity))
            .build();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let ended = manager.run(async {
                stopped.await.expect("it is told to stop");
            });
            ended.await.expect("nobody takes the Lease");
        });
        Running { stop, task }
    }

    async fn up(&self, shape: &ClusterShape) {
        self.plane.until_up(shape).await.expect("all there");
    }

    async fn change(&self, kind: ResourceType, name: &str, spec: serde_json::Value) {
        let key = ObjectKey::new("default", name);
        let patch = json!({ "spec": spec });
        self.plane
            .patch(&kind, &key, &patch)
            .await
            .expect("patched");
    }

    async fn writes(&self) -> BTreeMap<String, u64> {
        self.plane.writes().await.expect("counted")
    }

    /// What the server counted since, once all is quiet.
    async fn since(&self, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        self.plane.until_quiet(QUIET).await;
        let mut now = self.writes().await;
        for (resource, count) in before {
            if let Some(found) = now.get_mut(resource) {
                *found -= count;
            }
        }
        now.retain(|_, count| *count > 0);
        now
    }

    /// Adds workers, and says what that cost.
    async fn grow(&self, shape: &mut ClusterShape, by: i32) -> BTreeMap<String, u64> {
        self.plane.until_quiet(QUIET).await;
        let before = self.writes().await;
        shape.workers += by;
        let spec = json!({ "replicas": shape.workers });
        self.change(MachineDeployment::KIND.into(), "c-workers", spec)
            .await;
        self.up(shape).await;
        self.since(&before).await
    }

    /// Lives it.
    async fn live(&self) {
        let name = self.plane.name();
        if self.plane.is_real() {
            self.grant().await;
        }
        let running = self.start("first");
        let mut shape = ClusterShape::new("c", 3, 5);
        for object in manifest(&shape) {
            self.plane.apply(&object).await.expect("applied");
        }
        self.up(&shape).await;
        println!("{name}: 3 + 5: {:?}", self.since(&BTreeMap::new()).await);
        assert_eq!(self.datacenter.machines().len(), 8);

        // A machine that comes up without a break costs nine writes. One whose process is held up
        // for a quarter of a second says what it waits for, so that a loaded machine may try again.
        let mut told = Vec::new();
        for _ in 0..3 {
            let cost = self.grow(&mut shape, 3).await;
            let own: u64 = OWN.iter().filter_map(|resource| cost.get(*resource)).sum();
            let owners = cost.values().sum::<u64>() - own;
            println!(
                "{name}: 3 workers more: {own} writes of their own, {owners} of their owners: {cost:?}"
            );
            assert!(owners <= 12, "the owners of three workers: {cost:?}");
            told.push(own);
            if own <= 3 * 9 {
                break;
            }
        }
        assert!(told.iter().any(|own| *own <= 3 * 9), "{told:?}");

        let before = self.writes().await;
        shape.workers = 4;
        let spec = json!({ "replicas": 4 });
        self.change(MachineDeployment::KIND.into(), "c-workers", spec)
            .await;
        self.up(&shape).await;
        println!("{name}: down to 4: {:?}", self.since(&before).await);
        assert_eq!(self.datacenter.machines().len(), 7);

        // Workers never run ahead of the control plane, so that goes first.
        let before = self.writes().await;
        let mut next = shape.clone();
        next.version = "v1.34.0".to_owned();
        let spec = json!({ "version": next.version });
        self.change(ReferenceControlPlane::KIND.into(), "c-control-plane", spec)
            .await;
        let spec = json!({ "template": { "spec": { "version": next.version } } });
        self.change(MachineDeployment::KIND.into(), "c-workers", spec)
            .await;
        self.up(&next).await;
        println!("{name}: 7 replaced: {:?}", self.since(&before).await);
        let old = |machine: &&capi_core::testing::reference::MachineRecord| {
            machine.version != next.version
        };
        let machines = self.datacenter.machines();
        assert_eq!((machines.len(), machines.iter().find(old)), (7, None));

        let idle = std::env::var("CAPI_IDLE_SECONDS").ok();
        let idle: u64 = idle.and_then(|text| text.parse().ok()).unwrap_or(4);
        let before = self.writes().await;
        let reconciles = self.plane.traffic().mark();
        self.plane
            .clock()
            .sleep(Duration::from_secs(idle / 2))
            .await;
        running.stop().await;
        let running = self.start("second");
        // The second has listed all it reads, and looked at each object, when it renews its Lease
        // for the first time at the latest.
        self.plane
            .clock()
            .sleep(Duration::from_secs((idle / 2).max(2)))
            .await;
        let cost = self.since(&before).await;
        let asked = self.plane.traffic().since(reconciles);
        let lists = asked.iter().filter(|sent| sent.verb == "list").count();
        assert!(lists > 5, "the second manager lists: {lists}");
        println!("{name}: idle for {idle} s with a restart: {cost:?}");
        assert_eq!(cost, BTreeMap::new());

        let before = self.writes().await;
        let cluster = ObjectKey::new("default", "c");
        self.plane
            .delete(&Cluster::KIND.into(), &cluster)
            .await
            .expect("deleted");
        self.plane.until_gone(&cluster).await.expect("gone");
        println!("{name}: deleted: {:?}", self.since(&before).await);
        assert_eq!(self.datacenter.machines(), []);
        running.stop().await;
        self.check_rules();
    }

    /// What was used was granted, and what was granted was used.
    fn check_rules(&self) {
        let mut granted = BTreeSet::new();
        for rule in self.rules() {
            for resource in &rule.resources {
                for verb in &rule.verbs {
                    granted.insert((rule.group.clone(), resource.clone(), (*verb).to_owned()));
                }
            }
        }
        let mut used = BTreeSet::new();
        for sent in self.plane.traffic().all() {
            if sent.resource.is_empty() {
                continue;
            }
            assert_ne!(sent.code, 403, "{sent}");
            used.insert((sent.group.clone(), sent.rule(), sent.verb.clone()));
            // To apply what is not there yet is to create it.
            if sent.verb == "patch" && sent.code == 201 {
                used.insert((sent.group.clone(), sent.rule(), "create".to_owned()));
            }
        }
        let missing: Vec<_> = used.difference(&granted).collect();
        assert!(missing.is_empty(), "used and not granted: {missing:#?}");
        let excused: BTreeSet<_> = UNUSED
            .iter()
            .map(|(group, resource, verb, _)| {
                (
                    (*group).to_owned(),
                    (*resource).to_owned(),
                    (*verb).to_owned(),
                )
            })
            .collect();
        let idle: BTreeSet<_> = granted.difference(&used).cloned().collect();
        let unexplained: Vec<_> = idle.difference(&excused).collect();
        assert!(
            unexplained.is_empty(),
            "granted and not used: {unexplained:#?}"
        );
        for (group, resource, verb, why) in UNUSED {
            println!("granted, and not used here: {verb} {resource}.{group}: {why}");
        }
    }
}

fn life(plane: Plane) -> Life {
    let datacenter = Datacenter::new(plane.clock().clone(), Settings::default());
    Life { plane, datacenter }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_lives_on_the_embedded_server() {
    let plane = Plane::embedded(Clock::system()).expect("a server");
    life(plane).live().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_lives_on_the_real_server() {
    let plane = Plane::real(Clock::system()).await.expect("it starts");
    if let Some(plane) = plane {
        life(plane).live().await;
    }
}
