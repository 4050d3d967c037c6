//! What the Go originals left on a real API server: planned as nothing to do, and their words said
//! alike.
//!
//! The recording holds every state of Clusters and Machines, and of MachineSets and
//! MachineDeployments the last one. Their words on the way are those that the Cluster repeats.
//! Not derived here: `status.deprecated`, which is left as it is found.

use std::{collections::BTreeSet, path::PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::world::{Machine, Set, propagated};
use crate::{
    api::{ConditionStatus, MachineDeletionOrder},
    plan::{
        condition::find,
        machine_set::{self, MachineSetFacts, OwnedFields, OwningDeployment},
        naming::Seed,
        rollout::{self, Deployment, MachineDeploymentFacts, SetFacts},
        set_status::OwningCluster,
        tally::{Census, Tally},
    },
};

fn directory() -> Option<PathBuf> {
    let found = std::env::var_os("CAPI_UPSTREAM")
        .map(PathBuf::from)
        .or_else(|| {
            let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
            let above = here.ancestors().map(|up| up.join("../shared/upstream"));
            above.into_iter().find(|directory| directory.is_dir())
        });
    if found.is_none() {
        println!("skipped: no recorded objects; set CAPI_UPSTREAM to their directory");
    }
    found.map(|directory| directory.join("objects/go-cluster-1x1"))
}

/// A state of the recording: when, and what.
struct State {
    time: Timestamp,
    version: u64,
    object: Value,
}

fn states() -> Option<Vec<State>> {
    let text = std::fs::read_to_string(directory()?.join("watch.jsonl")).unwrap();
    let states = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let object = line["object"].clone();
        let version = object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let millis = (line["t"].as_f64().unwrap() * 1e3) as i64;
        State {
            time: Timestamp::from_millisecond(millis).unwrap(),
            version,
            object,
        }
    });
    Some(states.collect())
}

fn of_kind<'a>(states: &'a [State], kind: &'a str) -> impl Iterator<Item = &'a State> {
    states
        .iter()
        .filter(move |state| state.object["kind"] == kind)
}

fn worker(state: &State) -> Option<Machine> {
    let machine: Machine = serde_json::from_value(state.object.clone()).unwrap();
    machine
        .metadata
        .labels
        .contains_key("cluster.x-k8s.io/set-name")
        .then_some(machine)
}

fn tally(machine: Option<&Machine>, now: Timestamp) -> Tally {
    let mut tally = Tally::new("a0-md-", MachineDeletionOrder::Random);
    tally.advance(now);
    if let Some(machine) = machine {
        tally.apply(&machine.metadata, &machine.spec, &machine.status, 0);
    }
    tally
}

#[test]
fn what_clusters_repeat_of_their_workers_is_what_we_say_of_them() {
    let Some(states) = states() else { return };
    let workers: Vec<(&State, Machine)> = of_kind(&states, "Machine")
        .filter_map(|state| worker(state).map(|machine| (state, machine)))
        .collect();
    let mut compared = 0;
    for cluster in of_kind(&states, "Cluster") {
        for (target, of) in [
            ("WorkerMachinesReady", true),
            ("WorkerMachinesUpToDate", false),
        ] {
            let conditions = &cluster.object["status"]["conditions"];
            let recorded = conditions
                .as_array()
                .into_iter()
                .flatten()
                .find(|condition| condition["type"] == target);
            let Some(recorded) = recorded else { continue };
            // A controller decides from what its cache holds: one of the last states.
            let known: Vec<_> = workers
                .iter()
                .filter(|(state, _)| state.version < cluster.version)
                .map(|(_, machine)| Some(machine))
                .collect();
            let mut candidates: Vec<Option<&Machine>> = known.into_iter().rev().take(4).collect();
            if candidates.len() < 4 {
                candidates.push(None);
            }
            let said: Vec<_> = candidates
                .into_iter()
                .map(|machine| {
                    let tally = tally(machine, cluster.time);
                    let said = match of {
                        true => tally.machines_ready("x"),
                        false => tally.machines_up_to_date("x"),
                    };
                    (
                        said.status.as_str().to_owned(),
                        said.reason.into_owned(),
                        said.message,
                    )
                })
                .collect();
            let text = |key: &str| recorded[key].as_str().unwrap().to_owned();
            let recorded = (text("status"), text("reason"), text("message"));
            assert!(said.contains(&recorded), "{recorded:?} is none of {said:?}");
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
}

/// The deployment as the user wrote it: its recorded spec, with nothing observed.
fn read<T: serde::de::DeserializeOwned>(name: &str) -> Option<T> {
    let text = std::fs::read_to_string(directory()?.join(name)).unwrap();
    Some(serde_saphyr::from_str(&text).unwrap())
}

fn facts(deployment: Deployment, sets: Vec<Set>) -> MachineDeploymentFacts {
    let owner = deployment.metadata.owner_references[0].clone();
    MachineDeploymentFacts {
        object: deployment,
        cluster: OwningCluster {
            name: owner.name,
            uid: owner.uid,
            paused: false,
        },
        sets: sets
            .into_iter()
            .map(|object| SetFacts {
                object,
                owned: OwnedFields::default(),
            })
            .collect(),
        ..MachineDeploymentFacts::default()
    }
}

#[test]
fn a_deployment_and_a_set_at_rest_need_nothing_and_say_nothing_else() {
    let Some(deployment) = read::<Deployment>("machinedeployments_a0-md.yaml") else {
        return;
    };
    let set: Set = read("machinesets_a0-md-25rh8.yaml").unwrap();
    let machine: Machine = read("machines_a0-md-25rh8-f5lwh.yaml").unwrap();
    let now = "2026-11-23T05:00:00Z".parse().unwrap();
    let cluster = OwningCluster {
        name: "a0".into(),
        uid: deployment.metadata.owner_references[0].uid.clone(),
        paused: false,
    };
    let revision =
        deployment.metadata.annotations["machinedeployment.clusters.x-k8s.io/revision"].clone();

    let plan = rollout::plan(
        &facts(deployment, vec![set.clone()]),
        &tally(Some(&machine), now),
        Seed::new(1),
        now,
    );
    assert_eq!(plan.errors, Vec::<String>::new());
    assert!(plan.is_idle(), "{plan:#?}");

    let mut counted = Tally::new("a0-md-25rh8-", MachineDeletionOrder::Random);
    counted.advance(now);
    counted.apply(
        &machine.metadata,
        &machine.spec,
        &machine.status,
        propagated(&set, &machine),
    );
    let facts = MachineSetFacts {
        propagated: machine_set::propagated_fields(&set).fingerprint(),
        object: set,
        cluster,
        deployment: Some(OwningDeployment {
            revision: Some(revision),
            ..OwningDeployment::default()
        }),
        ..MachineSetFacts::default()
    };
    let plan = machine_set::plan(&facts, &counted, now);
    assert_eq!(plan.errors, Vec::<String>::new());
    assert!(plan.is_idle(), "{plan:#?}");
}

#[test]
fn what_a_deployment_says_on_the_way_is_what_the_cluster_repeated() {
    let (Some(states), Some(mut deployment)) = (
        states(),
        read::<Deployment>("machinedeployments_a0-md.yaml"),
    ) else {
        return;
    };
    let set: Set = read("machinesets_a0-md-25rh8.yaml").unwrap();
    deployment.status = Default::default();
    let recorded: BTreeSet<(String, String)> = of_kind(&states, "Cluster")
        .flat_map(|state| {
            state.object["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        })
        .flat_map(|condition| {
            let type_ = condition["type"].as_str().unwrap().to_owned();
            let message = condition["message"].as_str().unwrap().to_owned();
            let lines: Vec<String> = message.lines().map(str::to_owned).collect();
            lines.into_iter().map(move |line| (type_.clone(), line))
        })
        .collect();
    let said = |sets: Vec<Set>, type_: &str| {
        let now = "2026-11-23T04:23:16Z".parse().unwrap();
        let plan = rollout::plan(
            &facts(deployment.clone(), sets),
            &tally(None, now),
            Seed::new(1),
            now,
        );
        let status = plan.status.unwrap();
        let found = find(&status.conditions, type_).unwrap().clone();
        (found.status, found.message)
    };
    let mut empty = set.clone();
    empty.status = Default::default();
    let mut begun = empty.clone();
    for count in [
        &mut begun.status.replicas,
        &mut begun.status.available_replicas,
        &mut begun.status.ready_replicas,
        &mut begun.status.up_to_date_replicas,
    ] {
        *count = Some(0);
    }
    for (sets, type_, of_cluster) in [
        (vec![empty.clone()], "Available", "WorkersAvailable"),
        (vec![empty], "ScalingUp", "ScalingUp"),
        (vec![begun.clone()], "Available", "WorkersAvailable"),
        (vec![begun], "ScalingUp", "ScalingUp"),
    ] {
        let (_, message) = said(sets, type_);
        let line = format!("* MachineDeployment a0-md: {message}");
        assert!(
            recorded.contains(&(of_cluster.to_owned(), line.clone())),
            "{line}"
        );
    }
    for type_ in ["Available", "ScalingUp", "ScalingDown", "RollingOut"] {
        let (status, message) = said(vec![set.clone()], type_);
        assert_eq!(status == ConditionStatus::True, type_ == "Available");
        assert_eq!(message, "");
    }
}
