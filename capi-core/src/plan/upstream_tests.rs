//! Replays the states that the Go controllers left on a real API server: from each state and the
//! facts that can be told from what followed, our planners must compute what followed.
//!
//! What cannot be told, and is therefore taken from the recorded state: what foreign objects
//! (infrastructure, bootstrap, control plane, MachineDeployment) reported in their conditions,
//! whether the workload cluster was reached, and the Node's conditions.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    cluster::{
        self, Descendants, KubeconfigFacts, MachineFacts as DescendantMachine, ReplicasFacts,
    },
    condition::{find, types},
    lookup::Lookup,
    machine::{self, ClusterFacts, Connection, DeploymentFacts, MachineFacts, SetFacts},
    node::{Node, NodeCondition, NodeLookup, NodeSpec, NodeStatus},
};
use crate::{
    api::{
        ClusterSpec, ClusterStatus, Condition, ConditionStatus, MachineSpec, MachineStatus, Time,
        V1Beta1Condition, labels,
    },
    contract::{
        BootstrapConfigView, ControlPlaneView, ExternalObject, Field, InfraClusterView,
        InfraMachineView, Metadata, Object,
    },
};

type Machine = Object<MachineSpec, MachineStatus>;
type Cluster = Object<ClusterSpec, ClusterStatus>;

/// One recorded state.
struct State {
    time: Timestamp,
    object: Value,
}

impl State {
    fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap()
    }

    fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap()
    }

    fn version(&self) -> &str {
        self.object["metadata"]["resourceVersion"].as_str().unwrap()
    }

    fn read<T: for<'a> Deserialize<'a>>(&self) -> T {
        serde_json::from_value(self.object.clone()).unwrap()
    }
}

/// Where the recorded data of others is, if it is here.
fn directory() -> Option<PathBuf> {
    std::env::var_os("CAPI_UPSTREAM")
        .map(PathBuf::from)
        .or_else(|| {
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .ancestors()
                .map(|up| up.join("../shared/upstream"))
                .find(|directory| directory.is_dir())
        })
}

fn recorded() -> Option<Vec<State>> {
    let file = directory().map(|d| d.join("objects/go-cluster-1x1/watch.jsonl"));
    let Some(text) = file.and_then(|file| std::fs::read_to_string(file).ok()) else {
        println!("skipped: no recorded objects; set CAPI_UPSTREAM to their directory");
        return None;
    };
    let states = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let seconds = line["t"].as_f64().unwrap();
        // The recording and the clock of the controllers differ in whole seconds only.
        State {
            time: Timestamp::from_nanosecond((seconds * 1e9) as i128).unwrap(),
            object: line["object"].clone(),
        }
    });
    Some(states.collect())
}

/// The last state of an object before `time`.
fn before<'a>(states: &'a [State], kind: &str, time: Timestamp) -> Vec<&'a State> {
    let mut last: Vec<&State> = Vec::new();
    for state in states.iter().filter(|s| s.kind() == kind && s.time < time) {
        match last.iter_mut().find(|s| s.name() == state.name()) {
            Some(found) => *found = state,
            None => last.push(state),
        }
    }
    last.sort_by(|a, b| a.name().cmp(b.name()));
    last
}

/// A pass of a controller: the state it began with, the conditions it wrote, and where it ended
/// (the Go controllers write conditions, spec and status one after the other).
struct Pass<'a> {
    began: &'a State,
    conditions: &'a State,
    ended: &'a State,
}

/// Finds the passes of the controller that owns the conditions `owned` in the states of an object.
fn passes<'a>(states: &[&'a State], owned: &[&str]) -> Vec<Pass<'a>> {
    let written = |state: &State| -> Value {
        let list = state
            .object
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        let list = list.into_iter().flatten();
        let mut all: Vec<Value> = list
            .filter(|c| owned.contains(&c["type"].as_str().unwrap()))
            .cloned()
            .collect();
        all.push(serde_json::to_value(legacy(state)).unwrap());
        all.into()
    };
    let mut starts: Vec<usize> = Vec::new();
    for i in 1..states.len() {
        if written(states[i]) != written(states[i - 1]) {
            starts.push(i);
        }
    }
    let mut found = Vec::new();
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).map_or(states.len(), |next| *next) - 1;
        found.push(Pass {
            began: states[start - 1],
            conditions: states[*start],
            ended: states[end],
        });
    }
    found
}

fn conditions(state: &State) -> Vec<Condition> {
    serde_json::from_value(state.object["status"]["conditions"].clone()).unwrap()
}

/// Type, status, reason and message of each, one a line, and the second of the transition.
fn shown(conditions: &[Condition], types: &[&str]) -> String {
    conditions
        .iter()
        .filter(|c| types.contains(&c.type_.as_str()))
        .map(|c| {
            format!(
                "{} {} {} {:?}\n",
                c.type_,
                c.status.as_str(),
                c.reason,
                c.message
            )
        })
        .collect()
}

/// The foreign condition behind a mirror: absent when the mirror shows its fallback.
fn source(conditions: &[Condition], mirror: &str, type_: &str) -> Field<Condition> {
    match find(conditions, mirror) {
        Some(c) if c.message.contains("status.initialization.") => Field::Absent,
        Some(c) => Field::Present(Condition {
            type_: type_.to_owned(),
            ..c.clone()
        }),
        None => Field::Absent,
    }
}

/// The foreign condition behind a legacy mirror: absent when the mirror shows its fallback.
fn legacy_source(state: &State, mirror: &str) -> Field<V1Beta1Condition> {
    let found = legacy(state).into_iter().find(|c| c.type_ == mirror);
    let fallback = |c: &V1Beta1Condition| match c.reason.as_deref() {
        Some(reason) => {
            reason.starts_with("WaitingForInfra")
                || reason == "WaitingForDataSecret"
                || reason == "WaitingForControlPlane"
        }
        None => true,
    };
    found.filter(|c| !fallback(c)).into()
}

/// The legacy conditions of the core, which are those of this list.
fn legacy(state: &State) -> Vec<V1Beta1Condition> {
    let list = state
        .object
        .pointer("/status/deprecated/v1beta1/conditions");
    let all: Option<Vec<V1Beta1Condition>> =
        list.map(|list| serde_json::from_value(list.clone()).unwrap());
    all.into_iter().flatten().filter(is_ours).collect()
}

fn is_ours(condition: &V1Beta1Condition) -> bool {
    [
        "Ready",
        "BootstrapReady",
        "InfrastructureReady",
        "NodeHealthy",
        "ControlPlaneReady",
        "ControlPlaneInitialized",
    ]
    .contains(&condition.type_.as_str())
}

/// The legacy conditions but for their times, one a line.
fn shown_legacy(conditions: &[V1Beta1Condition]) -> String {
    conditions
        .iter()
        .filter(|c| is_ours(c))
        .map(|c| {
            let mut value = serde_json::to_value(c).unwrap();
            value["lastTransitionTime"].take();
            format!("{value}\n")
        })
        .collect()
}

fn external(kind: &str, name: &str) -> ExternalObject {
    ExternalObject {
        api_version: "example.org/v1".into(),
        kind: kind.into(),
        metadata: Metadata {
            name: name.into(),
            namespace: "bench".into(),
            ..Metadata::default()
        },
        ..ExternalObject::default()
    }
}

const OF_MACHINE: [&str; 10] = [
    "Available",
    "Ready",
    "BootstrapConfigReady",
    "InfrastructureReady",
    "NodeHealthy",
    "NodeReady",
    "Updating",
    "Paused",
    "Deleting",
    "UpToDate",
];

fn good_node_conditions(since: Option<Time>) -> Vec<NodeCondition> {
    let good = [
        ("Ready", "True"),
        ("MemoryPressure", "False"),
        ("DiskPressure", "False"),
        ("PIDPressure", "False"),
    ];
    good.map(|(type_, status)| NodeCondition {
        type_: type_.into(),
        status: status.into(),
        last_transition_time: since,
        ..NodeCondition::default()
    })
    .to_vec()
}

fn machine_facts(pass: &Pass<'_>, states: &[State]) -> MachineFacts {
    let before: Machine = pass.began.read();
    let after: Machine = pass.ended.read();
    let written = conditions(pass.conditions);
    let cluster: Option<Cluster> = self::before(states, "Cluster", pass.conditions.time)
        .first()
        .map(|state| state.read());
    let cluster = cluster.unwrap_or_default();
    let initialized = find(&cluster.status.conditions, types::CONTROL_PLANE_INITIALIZED)
        .filter(|c| c.status == ConditionStatus::True)
        .map(|c| c.last_transition_time);
    let provisioned = after.status.initialization.infrastructure_provisioned == Some(true);
    let infra = InfraMachineView {
        object: external("DevMachine", &before.metadata.name),
        provisioned: Field::Present(provisioned),
        provider_id: after.spec.provider_id.clone().into(),
        ready: source(&written, types::INFRASTRUCTURE_READY, "Ready"),
        legacy_ready: legacy_source(pass.conditions, "InfrastructureReady"),
        ..InfraMachineView::default()
    };
    let mut config = BootstrapConfigView {
        object: external("KubeadmConfig", &before.metadata.name),
        data_secret_created: Field::Present(after.spec.bootstrap.data_secret_name.is_some()),
        data_secret_name: after.spec.bootstrap.data_secret_name.clone().into(),
        ready: source(&written, types::BOOTSTRAP_CONFIG_READY, "Ready"),
        legacy_ready: legacy_source(pass.conditions, "BootstrapReady"),
    };
    if let Some(date) = after.status.certificates_expiry_date {
        let key = crate::api::annotations::CERTIFICATES_EXPIRY.to_owned();
        config
            .object
            .metadata
            .annotations
            .insert(key, date.to_string());
    }
    let healthy = find(&written, types::NODE_HEALTHY);
    let kept = healthy.is_some_and(|c| c.message.contains("control plane to be initialized"));
    let ready_since = find(&written, types::NODE_READY).map(|c| c.last_transition_time);
    let node = after.status.node_ref.as_ref().map(|node| Node {
        metadata: Metadata {
            name: node.name.clone(),
            ..Metadata::default()
        },
        spec: NodeSpec {
            provider_id: after.spec.provider_id.clone(),
            ..NodeSpec::default()
        },
        status: NodeStatus {
            conditions: good_node_conditions(ready_since),
            node_info: after.status.node_info.clone().unwrap_or_default(),
            ..NodeStatus::default()
        },
    });
    let worker = !before.metadata.has_label(labels::CONTROL_PLANE);
    MachineFacts {
        cluster: ClusterFacts {
            name: cluster.metadata.name.clone(),
            uid: cluster.metadata.uid.clone(),
            infrastructure_provisioned: cluster.status.initialization.infrastructure_provisioned
                == Some(true),
            control_plane_initialized: initialized,
            control_plane_ref: cluster.spec.control_plane_ref,
            ..ClusterFacts::default()
        },
        // The template of the set and of its deployment were one and the same all the time.
        machine_set: worker.then(SetFacts::default),
        machine_deployment: worker.then(DeploymentFacts::default),
        bootstrap_config: Lookup::Found(config),
        infra_machine: Lookup::Found(infra),
        node: match node {
            Some(node) => NodeLookup::Found(node),
            None if kept => NodeLookup::NotConnected,
            None => NodeLookup::NotFound,
        },
        connection: if kept {
            Connection::default()
        } else {
            Connection {
                last_probe_success: Some(pass.conditions.time.into()),
                consecutive_failures: 0,
            }
        },
        machine: before,
        ..MachineFacts::default()
    }
}

#[test]
fn machines_get_the_conditions_phases_and_latches_that_the_go_controllers_gave_them() {
    let Some(states) = recorded() else { return };
    let mut compared = 0;
    for name in ["a0-cp-rr4kj", "a0-md-25rh8-f5lwh"] {
        let of_machine: Vec<&State> = states
            .iter()
            .filter(|s| s.kind() == "Machine" && s.name() == name)
            .collect();
        let control_plane = name.contains("cp");
        // UpToDate of control plane machines is the control plane provider's.
        let owned = if control_plane {
            &OF_MACHINE[..9]
        } else {
            &OF_MACHINE[..]
        };
        for pass in passes(&of_machine, owned) {
            if conditions(pass.conditions)
                .iter()
                .all(|c| !owned.contains(&c.type_.as_str()) || c.type_ == types::PAUSED)
            {
                continue; // the Go controllers write Paused first and alone; we write all at once
            }
            let facts = machine_facts(&pass, &states);
            let plan = machine::plan(&facts, pass.conditions.time);
            let at = format!("{name} at resource version {}", pass.conditions.version());
            assert_eq!(
                shown(&plan.status.conditions, owned),
                shown(&conditions(pass.conditions), owned),
                "{at}"
            );
            let order = |list: &[Condition]| -> Vec<String> {
                list.iter().map(|c| c.type_.clone()).collect()
            };
            assert_eq!(
                order(&plan.status.conditions),
                order(&conditions(pass.conditions)),
                "{at}"
            );
            assert_eq!(
                shown_legacy(&plan.status.deprecated.v1beta1.conditions),
                shown_legacy(&legacy(pass.conditions)),
                "{at}"
            );
            let after: Machine = pass.ended.read();
            assert_eq!(plan.status.phase, after.status.phase, "{at}");
            assert_eq!(
                plan.status.initialization, after.status.initialization,
                "{at}"
            );
            assert_eq!(plan.status.node_ref, after.status.node_ref, "{at}");
            assert_eq!(plan.status.node_info, after.status.node_info, "{at}");
            let expiry = after.status.certificates_expiry_date;
            assert_eq!(plan.status.certificates_expiry_date, expiry, "{at}");
            assert_eq!(plan.errors, Vec::<String>::new(), "{at}");
            compared += 1;
        }
    }
    assert!(compared >= 15, "only {compared} passes were compared");
    println!("{compared} passes over Machines compared");
}

/// An object at rest, read from YAML.
#[cfg(feature = "yaml")]
fn at_rest(file: &str) -> Option<Value> {
    let path = directory()?.join("objects/go-cluster-1x1").join(file);
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_saphyr::from_str(&text).unwrap())
}

/// A minute after the recording.
#[cfg(feature = "yaml")]
const LATER: &str = "2026-11-23T04:25:00Z";

#[cfg(feature = "yaml")]
#[test]
fn machines_at_rest_need_nothing() {
    use crate::contract::ContractVersion::V1Beta2;
    let Some(cluster) = at_rest("clusters_a0.yaml") else {
        println!("skipped: no recorded objects; set CAPI_UPSTREAM to their directory");
        return;
    };
    let cluster: Cluster = serde_json::from_value(cluster).unwrap();
    let now: Timestamp = LATER.parse().unwrap();
    for name in ["a0-cp-rr4kj", "a0-md-25rh8-f5lwh"] {
        let read = |kind: &str| at_rest(&format!("{kind}_{name}.yaml")).unwrap();
        let machine: Machine = serde_json::from_value(read("machines")).unwrap();
        let infra = InfraMachineView::read(&read("devmachines"), V1Beta2).unwrap();
        let config = BootstrapConfigView::read(&read("kubeadmconfigs"), V1Beta2).unwrap();
        let set = at_rest("machinesets_a0-md-25rh8.yaml").unwrap();
        let deployment = at_rest("machinedeployments_a0-md.yaml").unwrap();
        let template = |object: &Value| -> MachineSpec {
            serde_json::from_value(object["spec"]["template"]["spec"].clone()).unwrap()
        };
        let metadata = |object: &Value| -> Metadata {
            serde_json::from_value(object["metadata"].clone()).unwrap()
        };
        let worker = name.contains("md");
        let initialized = find(&cluster.status.conditions, types::CONTROL_PLANE_INITIALIZED);
        let mut facts = MachineFacts {
            cluster: ClusterFacts {
                name: "a0".into(),
                uid: cluster.metadata.uid.clone(),
                infrastructure_provisioned: true,
                control_plane_initialized: initialized.map(|c| c.last_transition_time),
                control_plane_ref: cluster.spec.control_plane_ref.clone(),
                ..ClusterFacts::default()
            },
            machine_set: worker.then(|| SetFacts {
                metadata: metadata(&set),
                template: template(&set),
            }),
            machine_deployment: worker.then(|| DeploymentFacts {
                metadata: metadata(&deployment),
                template: template(&deployment),
                rollout_after: None,
            }),
            bootstrap_config: Lookup::Found(config),
            infra_machine: Lookup::Found(infra),
            connection: Connection {
                last_probe_success: Some(now.into()),
                consecutive_failures: 0,
            },
            machine,
            ..MachineFacts::default()
        };
        let id = machine::provider_id(&facts.machine, &facts.infra_machine).map(str::to_owned);
        let ready = find(&facts.machine.status.conditions, types::NODE_READY).unwrap();
        let mut node = Node {
            metadata: Metadata {
                name: facts.machine.status.node_ref.clone().unwrap().name,
                ..Metadata::default()
            },
            spec: NodeSpec {
                provider_id: id,
                ..NodeSpec::default()
            },
            status: NodeStatus {
                conditions: good_node_conditions(Some(ready.last_transition_time)),
                node_info: facts.machine.status.node_info.clone().unwrap(),
                ..NodeStatus::default()
            },
        };
        // The Node is not recorded; it is as the first plan makes it.
        facts.node = NodeLookup::Found(node.clone());
        let first = machine::plan(&facts, now);
        let [super::Action::PatchNode { patch, .. }] = first.actions.as_slice() else {
            panic!("{name}: {:?}", first.actions);
        };
        let merged = |key: &str| -> std::collections::BTreeMap<String, String> {
            serde_json::from_value(patch["metadata"][key].clone()).unwrap_or_default()
        };
        node.metadata.annotations = merged("annotations");
        node.metadata.labels = merged("labels");
        facts.node = NodeLookup::Found(node);

        let plan = machine::plan(&facts, now);
        let json = |status: &MachineStatus| serde_json::to_value(status).unwrap();
        let change =
            crate::api::patch::merge_patch(&json(&facts.machine.status), &json(&plan.status));
        assert_eq!(change, None, "{name}");
        assert!(plan.is_idle(), "{name}: {plan:#?}");
        assert_eq!(
            (plan.errors.len(), plan.blocked_on.len(), plan.events.len()),
            (0, 0, 0)
        );
    }
}

#[cfg(feature = "yaml")]
#[test]
fn a_cluster_at_rest_needs_nothing() {
    use crate::contract::ContractVersion::V1Beta2;
    let Some(cluster) = at_rest("clusters_a0.yaml") else {
        println!("skipped: no recorded objects; set CAPI_UPSTREAM to their directory");
        return;
    };
    let now: Timestamp = LATER.parse().unwrap();
    let infra = at_rest("devclusters_a0.yaml").unwrap();
    let control_plane = at_rest("kubeadmcontrolplanes_a0-cp.yaml").unwrap();
    let replicas = |file: &str| -> ReplicasFacts {
        let object = at_rest(file).unwrap();
        let count = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_i64)
                .map(|n| n as i32)
        };
        ReplicasFacts {
            metadata: serde_json::from_value(object["metadata"].clone()).unwrap(),
            desired: count("/spec/replicas"),
            replicas: count("/status/replicas"),
            ready: count("/status/readyReplicas"),
            available: count("/status/availableReplicas"),
            up_to_date: count("/status/upToDateReplicas"),
            versions: serde_json::from_value(object["status"]["versions"].clone()).unwrap(),
            conditions: serde_json::from_value(object["status"]["conditions"].clone()).unwrap(),
        }
    };
    let machine = |name: &str| {
        let machine: Machine =
            serde_json::from_value(at_rest(&format!("machines_{name}.yaml")).unwrap()).unwrap();
        DescendantMachine {
            metadata: machine.metadata,
            version: machine.spec.version,
            status: machine.status,
        }
    };
    let facts = cluster::ClusterFacts {
        cluster: serde_json::from_value(cluster).unwrap(),
        infra_cluster: Lookup::Found(InfraClusterView::read(&infra, V1Beta2).unwrap()),
        control_plane: Lookup::Found(ControlPlaneView::read(&control_plane, V1Beta2).unwrap()),
        descendants: Some(Descendants {
            machines: vec![machine("a0-cp-rr4kj"), machine("a0-md-25rh8-f5lwh")],
            machine_sets: vec![replicas("machinesets_a0-md-25rh8.yaml")],
            machine_deployments: vec![replicas("machinedeployments_a0-md.yaml")],
            ..Descendants::default()
        }),
        connection: Connection {
            last_probe_success: Some(now.into()),
            consecutive_failures: 0,
        },
        ..cluster::ClusterFacts::default()
    };
    let plan = cluster::plan(&facts, now);
    let json = |status: &ClusterStatus| serde_json::to_value(status).unwrap();
    let change = crate::api::patch::merge_patch(&json(&facts.cluster.status), &json(&plan.status));
    assert_eq!(change, None);
    assert!(plan.is_idle(), "{plan:#?}");
    assert_eq!(
        (plan.errors.len(), plan.blocked_on.len(), plan.events.len()),
        (0, 0, 0)
    );
}

const OF_CLUSTER: [&str; 16] = [
    "Available",
    "RemoteConnectionProbe",
    "InfrastructureReady",
    "ControlPlaneInitialized",
    "ControlPlaneAvailable",
    "WorkersAvailable",
    "RollingOut",
    "Remediating",
    "ScalingDown",
    "ScalingUp",
    "ControlPlaneMachinesReady",
    "WorkerMachinesReady",
    "ControlPlaneMachinesUpToDate",
    "WorkerMachinesUpToDate",
    "Paused",
    "Deleting",
];

/// The condition of one object behind an aggregate: what its line says, or nothing of interest.
fn behind(aggregate: &Condition, type_: &str, object: &str) -> Option<Condition> {
    let head = format!("* {object}: ");
    let line = aggregate
        .message
        .lines()
        .find_map(|l| l.strip_prefix(&head));
    if line.is_some_and(|line| line.ends_with("not yet reported")) {
        return None;
    }
    let negative = type_ != types::AVAILABLE;
    Some(Condition {
        type_: type_.to_owned(),
        status: match line {
            Some(_) => aggregate.status,
            None => (!negative).into(),
        },
        reason: "Recorded".into(),
        message: line.unwrap_or_default().to_owned(),
        ..Condition::default()
    })
}

fn cluster_facts(pass: &Pass<'_>, states: &[State]) -> cluster::ClusterFacts {
    let before: Cluster = pass.began.read();
    let after: Cluster = pass.ended.read();
    let written = conditions(pass.conditions);
    let seen = |type_: &str| find(&written, type_).unwrap();
    let operations = [types::ROLLING_OUT, types::SCALING_UP, types::SCALING_DOWN];
    let infra = InfraClusterView {
        object: external("DevCluster", "a0"),
        provisioned: Field::Present(
            after.status.initialization.infrastructure_provisioned == Some(true),
        ),
        control_plane_endpoint: Some(after.spec.control_plane_endpoint.clone()).into(),
        ready: source(&written, types::INFRASTRUCTURE_READY, "Ready"),
        legacy_ready: legacy_source(pass.conditions, "InfrastructureReady"),
        ..InfraClusterView::default()
    };
    let mut reported: Vec<Condition> = operations
        .iter()
        .filter_map(|type_| behind(seen(type_), type_, "KubeadmControlPlane a0-cp"))
        .collect();
    if let Field::Present(available) =
        source(&written, types::CONTROL_PLANE_AVAILABLE, types::AVAILABLE)
    {
        reported.push(available);
    }
    let counts = &after.status.control_plane;
    let control_plane = ControlPlaneView {
        object: external("KubeadmControlPlane", "a0-cp"),
        initialized: Field::Present(
            after.status.initialization.control_plane_initialized == Some(true),
        ),
        desired_replicas: counts.desired_replicas.into(),
        replicas: counts.replicas.into(),
        ready_replicas: counts.ready_replicas.into(),
        up_to_date_replicas: counts.up_to_date_replicas.into(),
        available_replicas: counts.available_replicas.into(),
        versions: Some(counts.versions.clone()).into(),
        conditions: Field::Present(reported),
        legacy_ready: legacy_source(pass.conditions, "ControlPlaneReady"),
        ..ControlPlaneView::default()
    };
    let workers = &after.status.workers;
    let deployment = ReplicasFacts {
        metadata: Metadata {
            name: "a0-md".into(),
            ..Metadata::default()
        },
        desired: workers.desired_replicas,
        replicas: workers.replicas,
        ready: workers.ready_replicas,
        available: workers.available_replicas,
        up_to_date: workers.up_to_date_replicas,
        versions: workers.versions.clone(),
        conditions: operations
            .iter()
            .map(|type_| (*type_, *type_))
            .chain([(types::WORKERS_AVAILABLE, types::AVAILABLE)])
            .filter_map(|(target, type_)| behind(seen(target), type_, "MachineDeployment a0-md"))
            .collect(),
    };
    let machines = self::before(states, "Machine", pass.conditions.time);
    let machines = machines.into_iter().map(|state| {
        let machine: Machine = state.read();
        DescendantMachine {
            metadata: machine.metadata,
            version: machine.spec.version,
            status: machine.status,
        }
    });
    let probed = seen(types::REMOTE_CONNECTION_PROBE).status == ConditionStatus::True;
    cluster::ClusterFacts {
        cluster: before,
        infra_cluster: Lookup::Found(infra),
        control_plane: Lookup::Found(control_plane),
        descendants: Some(Descendants {
            machines: machines.collect(),
            machine_deployments: vec![deployment],
            ..Descendants::default()
        }),
        connection: Connection {
            last_probe_success: probed.then(|| pass.conditions.time.into()),
            consecutive_failures: 0,
        },
        kubeconfig: KubeconfigFacts::NotNeeded,
        ..cluster::ClusterFacts::default()
    }
}

#[test]
fn clusters_get_the_conditions_phases_and_counters_that_the_go_controllers_gave_them() {
    let Some(states) = recorded() else { return };
    let of_cluster: Vec<&State> = states.iter().filter(|s| s.kind() == "Cluster").collect();
    let mut compared = 0;
    for pass in passes(&of_cluster, &OF_CLUSTER) {
        if conditions(pass.conditions).len() == 1 {
            continue; // Paused alone
        }
        let facts = cluster_facts(&pass, &states);
        let plan = cluster::plan(&facts, pass.conditions.time);
        let at = format!("resource version {}", pass.conditions.version());
        assert_eq!(
            shown(&plan.status.conditions, &OF_CLUSTER),
            shown(&conditions(pass.conditions), &OF_CLUSTER),
            "{at}"
        );
        assert_eq!(
            shown_legacy(&plan.status.deprecated.v1beta1.conditions),
            shown_legacy(&legacy(pass.conditions)),
            "{at}"
        );
        let after: Cluster = pass.ended.read();
        assert_eq!(plan.status.phase, after.status.phase, "{at}");
        assert_eq!(
            plan.status.initialization, after.status.initialization,
            "{at}"
        );
        assert_eq!(
            plan.status.control_plane, after.status.control_plane,
            "{at}"
        );
        assert_eq!(plan.status.workers, after.status.workers, "{at}");
        let endpoint = plan.spec.control_plane_endpoint.clone();
        let endpoint = endpoint.unwrap_or(facts.cluster.spec.control_plane_endpoint.clone());
        assert_eq!(endpoint, after.spec.control_plane_endpoint, "{at}");
        assert_eq!(plan.errors, Vec::<String>::new(), "{at}");
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} passes were compared");
    println!("{compared} passes over the Cluster compared");
}
