//! What the user does, and what must have become of it in the end.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value, json};

use super::{Action, POOL, POOL_FIRST, managers::Managers, world::World};
use crate::{
    runtime::ResourceType,
    testing::{
        faults::{Dice, Fault},
        invariants::Rule,
        reference::{ClusterShape, Datacenter, MachineRecord, ReferenceMachineTemplate, manifest},
    },
};

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
const REFERENCE: &str = "/apis/reference.capi.dev/v1/namespaces/default";
const IPAM: &str = "/apis/ipam.cluster.x-k8s.io/v1beta2/namespaces/default";
const CLUSTER: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/clusters/c";
const WORKERS: &str =
    "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machinedeployments/c-workers";
const CONTROL_PLANE: &str =
    "/apis/reference.capi.dev/v1/namespaces/default/referencecontrolplanes/c-control-plane";

/// Between two things that the user does.
const PAUSE: Duration = Duration::from_secs(150);
/// Everything is as asked for so long after the last fault.
const CONVERGENCE: Duration = Duration::from_secs(1200);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// So long nothing is written.
const IDLE: Duration = Duration::from_secs(120);
/// Most workers.
const WORKERS_MOST: u64 = 4;

pub(super) struct Story {
    world: Arc<World>,
    client: kube::Client,
    datacenter: Datacenter,
    dice: Dice,
    /// What is wanted now.
    control_planes: i64,
    workers: i64,
    version: &'static str,
    workers_version: &'static str,
    templates: u32,
    deleted: bool,
}

impl Story {
    pub(super) fn new(
        world: Arc<World>,
        client: kube::Client,
        datacenter: Datacenter,
        dice: Dice,
    ) -> Self {
        Self {
            world,
            client,
            datacenter,
            dice,
            control_planes: 1,
            workers: 0,
            version: "v1.33.0",
            workers_version: "v1.33.0",
            templates: 0,
            deleted: false,
        }
    }

    /// Tells the story to its end, or to the first rule that is broken.
    pub(super) async fn tell(mut self, managers: &Managers) {
        let _ = self.parts(managers).await;
    }

    async fn parts(&mut self, managers: &Managers) -> Option<()> {
        self.world.faults.set_active(true);
        self.create().await;
        let steps = 1 + self.dice.below(6);
        for _ in 0..steps {
            let pause = self.dice.within(PAUSE);
            self.pass(pause).await?;
            self.step(managers).await;
        }
        let at_once = self.dice.chance(250);
        if !at_once {
            self.calm().await?;
            self.idle().await?;
            let active = self.dice.chance(600);
            self.world.faults.set_active(active);
        }
        self.resume().await;
        // Who deletes a Cluster that no controller ever saw deletes nothing but the Cluster.
        let mut left = CONVERGENCE;
        while !self.is_seen().await {
            self.pass(LOOK).await?;
            left = left.saturating_sub(LOOK);
            if left.is_zero() {
                let what = "nobody has seen the Cluster".to_owned();
                self.world.violate(Rule::Converges, what);
                return None;
            }
        }
        self.world.act(Action::Delete, "");
        self.deleted = true;
        self.send(Method::DELETE, CLUSTER, "application/json", &Value::Null)
            .await;
        let pause = self.dice.within(PAUSE);
        self.pass(pause).await?;
        self.world.faults.set_active(false);
        self.gone().await
    }

    /// Whether the Cluster bears its finalizer, and what it refers to belongs to it.
    async fn is_seen(&self) -> bool {
        let cluster = self.get(CLUSTER).await.unwrap_or_default();
        let mut seen = cluster["metadata"]["finalizers"].is_array();
        for path in [&*format!("{REFERENCE}/referenceclusters/c"), CONTROL_PLANE] {
            let object = self.get(path).await.unwrap_or_default();
            seen &= object["metadata"]["ownerReferences"].is_array();
        }
        seen
    }

    /// Lets time pass; `None` once a rule is broken.
    async fn pass(&self, time: Duration) -> Option<()> {
        let mut left = time;
        loop {
            if self.world.violation().is_some() {
                return None;
            }
            if left.is_zero() {
                return Some(());
            }
            let step = left.min(LOOK);
            self.world.clock.sleep(step).await;
            left -= step;
        }
    }

    async fn create(&mut self) {
        self.control_planes = *self.dice.pick(&[1, 1, 3]).unwrap_or(&1);
        self.workers = i64::try_from(self.dice.below(WORKERS_MOST)).unwrap_or_default();
        let strategy = match self.dice.below(4) {
            0 => json!({ "maxSurge": 0, "maxUnavailable": 1 }),
            1 => json!({ "maxSurge": 2, "maxUnavailable": 1 }),
            _ => Value::Null,
        };
        let what = format!("{}+{} {strategy}", self.control_planes, self.workers);
        self.world.act(Action::Create, &what);
        let last = POOL_FIRST.replace(".10", ".200");
        self.apply(&json!({
            "apiVersion": "ipam.cluster.x-k8s.io/v1alpha2",
            "kind": "InClusterIPPool",
            "metadata": { "namespace": "default", "name": POOL },
            "spec": { "addresses": [format!("{POOL_FIRST}-{last}")], "prefix": 24, "gateway": "10.0.0.1" },
        }))
        .await;
        let shape = ClusterShape::new(
            "c",
            i32::try_from(self.control_planes).unwrap_or(1),
            i32::try_from(self.workers).unwrap_or_default(),
        );
        for mut object in manifest(&shape) {
            if object["kind"] == "MachineDeployment" && !strategy.is_null() {
                object["spec"]["rollout"] = json!({ "strategy": {
                    "type": "RollingUpdate", "rollingUpdate": strategy,
                }});
            }
            self.apply(&object).await;
        }
    }

    async fn step(&mut self, managers: &Managers) {
        match self.dice.below(14) {
            0 | 1 => self.scale_workers().await,
            2 => self.scale_control_plane().await,
            3 | 4 => self.replace(WORKERS).await,
            5 => self.replace(CONTROL_PLANE).await,
            6 => {
                if self.version == "v1.33.0" {
                    self.version = "v1.34.0";
                    self.world.act(Action::UpgradeControlPlane, self.version);
                    let change = json!({ "spec": { "version": self.version } });
                    self.patch(CONTROL_PLANE, &change).await;
                } else {
                    self.workers_version = self.version;
                    self.world.act(Action::UpgradeWorkers, self.version);
                    let change = json!({ "spec": { "template": { "spec": {
                        "version": self.version,
                    }}}});
                    self.patch(WORKERS, &change).await;
                }
            }
            7 => {
                self.world.act(Action::Pause, "");
                self.patch(CLUSTER, &json!({ "spec": { "paused": true } }))
                    .await;
            }
            8 => self.resume().await,
            9 | 10 => self.delete_machine().await,
            11 => self.lose_machine().await,
            12 => self.crash(managers),
            _ => self.foreign(),
        }
    }

    async fn scale_workers(&mut self) {
        self.workers = i64::try_from(self.dice.below(WORKERS_MOST + 1)).unwrap_or_default();
        self.world
            .act(Action::ScaleWorkers, &self.workers.to_string());
        self.patch(WORKERS, &json!({ "spec": { "replicas": self.workers } }))
            .await;
    }

    async fn scale_control_plane(&mut self) {
        self.control_planes = if self.control_planes == 1 { 3 } else { 1 };
        self.world
            .act(Action::ScaleControlPlane, &self.control_planes.to_string());
        let change = json!({ "spec": { "replicas": self.control_planes } });
        self.patch(CONTROL_PLANE, &change).await;
    }

    async fn replace(&mut self, path: &str) {
        self.templates += 1;
        let name = format!("c-template-{}", self.templates);
        let kind = ResourceType::from(ReferenceMachineTemplate::KIND);
        self.apply(&json!({
            "apiVersion": kind.api_version(), "kind": kind.kind(),
            "metadata": { "namespace": "default", "name": name },
            "spec": { "template": { "spec": { "size": name } } },
        }))
        .await;
        let reference = json!({ "apiGroup": kind.group(), "kind": kind.kind(), "name": name });
        let change = json!({ "spec": { "infrastructureRef": reference } });
        let (action, change) = if path == WORKERS {
            (
                Action::ReplaceWorkers,
                json!({ "spec": { "template": change } }),
            )
        } else {
            (
                Action::ReplaceControlPlane,
                json!({ "spec": { "machineTemplate": change } }),
            )
        };
        self.world.act(action, &name);
        self.patch(path, &change).await;
    }

    async fn resume(&mut self) {
        let cluster = self.get(CLUSTER).await;
        if cluster.is_some_and(|cluster| cluster["spec"]["paused"] == true) {
            self.world.act(Action::Resume, "");
            self.patch(CLUSTER, &json!({ "spec": { "paused": false } }))
                .await;
        }
    }

    /// Whether the control plane could do without one machine.
    async fn control_plane_rests(&self) -> bool {
        let Some(found) = self.get(CONTROL_PLANE).await else {
            return false;
        };
        let status = &found["status"];
        let machines = self.list(&format!("{CORE}/machines")).await;
        let own = machines.iter().filter(|machine| is_control_plane(machine));
        let (mut count, mut going) = (0, 0);
        for machine in own {
            count += 1;
            going += i64::from(machine["metadata"]["deletionTimestamp"].is_string());
        }
        let records = self.own_machines();
        let alive = records.iter().filter(|record| record.control_plane).count();
        going == 0
            && count >= 3
            && count == self.control_planes
            && i64::try_from(alive).unwrap_or_default() == count
            && status["readyReplicas"] == count
            && status["upToDateReplicas"] == count
            && status["observedGeneration"] == found["metadata"]["generation"]
    }

    async fn delete_machine(&mut self) {
        let rests = self.control_plane_rests().await;
        let machines = self.list(&format!("{CORE}/machines")).await;
        let names: Vec<&str> = machines
            .iter()
            .filter(|machine| rests || !is_control_plane(machine))
            .filter_map(|machine| machine["metadata"]["name"].as_str())
            .collect();
        if let Some(name) = self.dice.pick(&names) {
            self.delete_one(name).await;
        }
    }

    async fn delete_one(&self, name: &str) {
        self.world.act(Action::DeleteMachine, name);
        let now = self.world.clock.now();
        self.world.rules().user_deletes(name, now);
        let path = format!("{CORE}/machines/{name}");
        self.send(Method::DELETE, &path, "application/json", &Value::Null)
            .await;
    }

    async fn lose_machine(&mut self) {
        let rests = self.control_plane_rests().await;
        let records = self.own_machines();
        let candidates: Vec<&MachineRecord> = records
            .iter()
            .filter(|record| rests || !record.control_plane)
            .collect();
        if let Some(record) = self.dice.pick(&candidates) {
            self.world.note(Fault::MachineLost, &record.name);
            // Without a directory there is no file that could fail to go.
            let _ = self.datacenter.lose(record.number);
        }
    }

    fn crash(&mut self, managers: &Managers) {
        let which = self.dice.roll();
        managers.kill(which);
    }

    /// A machine vanishes, and somebody else's takes its number.
    fn foreign(&mut self) {
        let records = self.own_machines();
        let candidates: Vec<&MachineRecord> = records
            .iter()
            .filter(|record| !record.control_plane)
            .collect();
        let Some(record) = self.dice.pick(&candidates).copied().cloned() else {
            return;
        };
        self.world.note(Fault::MachineLost, &record.name);
        let _ = self.datacenter.lose(record.number);
        self.world
            .note(Fault::ForeignMachine, &record.number.to_string());
        let _ = self.datacenter.place(MachineRecord {
            mark: format!("foreign-{}", record.number),
            name: "somebody-elses".to_owned(),
            cluster: "elsewhere/other".to_owned(),
            ..record
        });
    }

    fn own_machines(&self) -> Vec<MachineRecord> {
        let mut records = self.datacenter.machines();
        records.retain(|record| record.cluster == "default/c");
        records
    }

    /// Faults end; everything becomes as it was asked for.
    async fn calm(&mut self) -> Option<()> {
        self.world.faults.set_active(false);
        self.world.trace("calm");
        self.resume().await;
        let mut left = CONVERGENCE;
        loop {
            self.pass(LOOK).await?;
            let wrong = self.differs().await;
            let Some(wrong) = wrong else { return Some(()) };
            left = left.saturating_sub(LOOK);
            if left.is_zero() {
                self.describe().await;
                self.world.violate(Rule::Converges, wrong);
                return None;
            }
            if left.as_secs().is_multiple_of(60) {
                self.remediate().await;
            }
        }
    }

    /// Deletes machines that can never work, or that are gone, as a person or a health check would:
    /// nothing but a look at the machine itself tells that it is.
    async fn remediate(&self) {
        let marks: Vec<String> = self
            .own_machines()
            .into_iter()
            .map(|record| record.mark)
            .collect();
        for machine in self.list(&format!("{REFERENCE}/referencemachines")).await {
            let hopeless = condition(&machine, "Ready").is_some_and(|ready| {
                ready["status"] == "False"
                    && (ready["reason"] == "MachineVanished"
                        || ready["reason"] == "SimulatedTerminal"
                        || ready["reason"] == "ForeignMachine")
            });
            let going = machine["metadata"]["deletionTimestamp"].is_string();
            let provisioned = machine["status"]["initialization"]["provisioned"] == true;
            let vanished = provisioned
                && machine["metadata"]["uid"]
                    .as_str()
                    .is_some_and(|uid| !marks.iter().any(|mark| mark == uid));
            if (hopeless || vanished)
                && !going
                && let Some(name) = machine["metadata"]["name"].as_str()
            {
                self.delete_one(name).await;
                // One at a time: nobody would take two control plane machines at once.
                return;
            }
        }
    }

    /// What is not as it was asked for.
    async fn differs(&self) -> Option<String> {
        let total = self.control_planes + self.workers;
        let own = self.own_machines();
        if i64::try_from(own.len()).unwrap_or_default() != total {
            return Some(format!("{} machines of {total} exist", own.len()));
        }
        let outdated = own.iter().find(|record| {
            let version = if record.control_plane {
                self.version
            } else {
                self.workers_version
            };
            record.version != version
        });
        if let Some(record) = outdated {
            return Some(format!("{} has {}", record.name, record.version));
        }
        let workers = self.get(WORKERS).await.unwrap_or_default();
        let control_plane = self.get(CONTROL_PLANE).await.unwrap_or_default();
        // What was counted before the last change says nothing: a watch may be silent.
        for object in [&workers, &control_plane] {
            if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
                return Some(format!("{} has not been seen", object["kind"]));
            }
        }
        for count in [
            "replicas",
            "readyReplicas",
            "availableReplicas",
            "upToDateReplicas",
        ] {
            if workers["status"][count] != self.workers {
                return Some(format!(
                    "MachineDeployment has {count} {} of {}",
                    workers["status"][count], self.workers
                ));
            }
        }
        for count in ["replicas", "readyReplicas", "upToDateReplicas"] {
            if control_plane["status"][count] != self.control_planes {
                return Some(format!(
                    "control plane has {count} {} of {}",
                    control_plane["status"][count], self.control_planes
                ));
            }
        }
        let cluster = self.get(CLUSTER).await.unwrap_or_default();
        let available = condition(&cluster, "Available");
        if available.is_none_or(|available| available["status"] != "True") {
            return Some(format!(
                "Cluster is not available: {}",
                available.map_or(&Value::Null, |available| &available["message"])
            ));
        }
        let machines = self.list(&format!("{CORE}/machines")).await;
        if i64::try_from(machines.len()).unwrap_or_default() != total {
            return Some(format!("{} Machines of {total}", machines.len()));
        }
        let addresses = self.list(&format!("{IPAM}/ipaddresses")).await;
        if i64::try_from(addresses.len()).unwrap_or_default() != total {
            return Some(format!("{} IPAddresses of {total}", addresses.len()));
        }
        None
    }

    /// Puts into the trace what objects wait for.
    async fn describe(&self) {
        let mut objects = Vec::new();
        for path in [CLUSTER, CONTROL_PLANE, WORKERS] {
            objects.extend(self.get(path).await);
        }
        for path in ["machinesets", "machines"] {
            objects.extend(self.list(&format!("{CORE}/{path}")).await);
        }
        objects.extend(self.list(&format!("{REFERENCE}/referencemachines")).await);
        for object in objects {
            let conditions = object["status"]["conditions"].as_array();
            for condition in conditions.into_iter().flatten() {
                let text = |field: &str| condition[field].as_str().unwrap_or_default();
                self.world.trace(&format!(
                    "{} {} {}={} {} {:?}",
                    object["kind"].as_str().unwrap_or_default(),
                    object["metadata"]["name"].as_str().unwrap_or_default(),
                    text("type"),
                    text("status"),
                    text("reason"),
                    text("message"),
                ));
            }
        }
        for record in self.datacenter.machines() {
            self.world
                .trace(&format!("machine {} {}", record.number, record.name));
        }
    }

    async fn idle(&self) -> Option<()> {
        // What was put off to a quiet moment is written before.
        self.pass(Duration::from_secs(60)).await?;
        let before = self.world.writes();
        self.pass(IDLE).await?;
        let writes = self.world.writes() - before;
        if writes > 0 {
            let what = format!("{writes} writes in {} s", IDLE.as_secs());
            self.world.violate(Rule::IdleWritesNothing, what);
            return None;
        }
        Some(())
    }

    /// Nothing is left.
    async fn gone(&mut self) -> Option<()> {
        let mut left = CONVERGENCE;
        loop {
            self.pass(LOOK).await?;
            let mut there: Vec<String> = Vec::new();
            if self.get(CLUSTER).await.is_some() {
                there.push("Cluster c".to_owned());
            } else {
                there.extend(self.own_machines().into_iter().map(|record| record.name));
                there.extend(self.remains().await);
            }
            if there.is_empty() {
                return Some(());
            }
            left = left.saturating_sub(LOOK);
            if left.is_zero() {
                if there.len() == 1 && there[0] == "Cluster c" {
                    there.extend(self.remains().await);
                }
                self.describe().await;
                self.world.violate(Rule::NothingLeft, there.join(", "));
                return None;
            }
        }
    }

    async fn remains(&self) -> Vec<String> {
        let mut found = Vec::new();
        for path in [
            format!("{CORE}/machines"),
            format!("{CORE}/machinesets"),
            format!("{CORE}/machinedeployments"),
            format!("{REFERENCE}/referencemachines"),
            format!("{REFERENCE}/referenceconfigs"),
            format!("{REFERENCE}/referencecontrolplanes"),
            format!("{REFERENCE}/referenceclusters"),
            format!("{IPAM}/ipaddressclaims"),
            format!("{IPAM}/ipaddresses"),
            "/api/v1/namespaces/default/secrets".to_owned(),
        ] {
            let kind = path.rsplit('/').next().unwrap_or_default().to_owned();
            for object in self.list(&path).await {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                found.push(format!("{kind}/{name}"));
            }
        }
        found
    }

    async fn apply(&self, object: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let api_version = text(&object["apiVersion"]);
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let kind = ResourceType::by_convention(group, version, &text(&object["kind"]));
        let path = format!(
            "{}/{}?fieldManager=user&force=true",
            kind.path("default"),
            text(&object["metadata"]["name"])
        );
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", object)
            .await;
    }

    async fn patch(&self, path: &str, patch: &Value) {
        self.send(Method::PATCH, path, "application/merge-patch+json", patch)
            .await;
    }

    /// The user has no faults; what is not there any more is no matter.
    async fn send(&self, method: Method, path: &str, content_type: &str, body: &Value) {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method.clone())
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .body(bytes);
        let Ok(request) = request else { return };
        match self.client.request_text(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                let what = format!("the user's {method} {path} failed: {error}");
                self.world.violate(Rule::Converges, what);
            }
            Ok(_) => {}
        }
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path).body(Vec::new()).ok()?;
        self.client.request::<Value>(request).await.ok()
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let found = self.get(path).await.unwrap_or_default();
        found["items"].as_array().cloned().unwrap_or_default()
    }
}

fn is_control_plane(object: &Value) -> bool {
    object["metadata"]["labels"]
        .get(crate::api::labels::CONTROL_PLANE)
        .is_some()
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == name)
}
