//! Definitions are made from the types, equal to upstream's, and agree with the types both ways.

use std::path::Path;

use capi_core::api::crd::{self, Part, Samples};
use capi_core::api::*;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::upstream;

struct Case {
    kind: KindInfo,
    description: &'static str,
    parts: Vec<Part>,
    required: &'static [&'static str],
    check: fn(&Value, &str, &Samples) -> Result<(), String>,
}

fn case<T: Serialize + DeserializeOwned>(
    kind: KindInfo,
    description: &'static str,
    parts: Vec<Part>,
    required: &'static [&'static str],
) -> Case {
    Case {
        kind,
        description,
        parts,
        required,
        check: crd::check_type::<T>,
    }
}

fn spec<S: JsonSchema>() -> Vec<Part> {
    vec![Part::of::<S>("spec")]
}

fn both<S: JsonSchema, T: JsonSchema>() -> Vec<Part> {
    vec![Part::of::<S>("spec"), Part::of::<T>("status")]
}

fn cases() -> Vec<Case> {
    vec![
        case::<Cluster>(
            CLUSTER,
            "A workload cluster with its control plane, infrastructure and network.",
            both::<ClusterSpec, ClusterStatus>(),
            &["spec"],
        ),
        case::<Machine>(
            MACHINE,
            "One host that becomes, is, or was a Kubernetes node.",
            both::<MachineSpec, MachineStatus>(),
            &["spec"],
        ),
        case::<MachineSet>(
            MACHINE_SET,
            "Keeps a number of equal machines.",
            both::<MachineSetSpec, MachineSetStatus>(),
            &["spec"],
        ),
        case::<MachineDeployment>(
            MACHINE_DEPLOYMENT,
            "Replaces machines without interruption when their template changes.",
            both::<MachineDeploymentSpec, MachineDeploymentStatus>(),
            &["spec"],
        ),
        case::<MachineHealthCheck>(
            MACHINE_HEALTH_CHECK,
            "Says when a machine counts as unhealthy and is to be remediated.",
            both::<MachineHealthCheckSpec, MachineHealthCheckStatus>(),
            &["spec"],
        ),
        case::<MachineDrainRule>(
            MACHINE_DRAIN_RULE,
            "Says which pods are drained, skipped or waited for when a node is drained.",
            spec::<MachineDrainRuleSpec>(),
            &["metadata", "spec"],
        ),
        case::<IPAddress>(
            IP_ADDRESS,
            "An address that a pool gave to a claim.",
            spec::<IPAddressSpec>(),
            &["spec"],
        ),
        case::<IPAddressClaim>(
            IP_ADDRESS_CLAIM,
            "Asks a pool for an address.",
            both::<IPAddressClaimSpec, IPAddressClaimStatus>(),
            &["spec"],
        ),
        case::<InClusterIPPool>(
            IN_CLUSTER_IP_POOL,
            "A pool of addresses for claims of its own namespace.",
            both::<InClusterIPPoolSpec, InClusterIPPoolStatus>(),
            &[],
        ),
        case::<GlobalInClusterIPPool>(
            GLOBAL_IN_CLUSTER_IP_POOL,
            "A pool of addresses for claims of every namespace.",
            both::<InClusterIPPoolSpec, InClusterIPPoolStatus>(),
            &[],
        ),
    ]
}

/// What of upstream's definitions ours may say differently, and why.
const KNOWN: &[(&str, &[&str])] = &[];

fn committed(case: &Case) -> Result<Value, String> {
    let limits = crd::limits().expect("the table of limits is JSON");
    let schema = crd::schema(
        case.kind.kind,
        case.description,
        &case.parts,
        case.required,
        &limits,
    );
    let file = format!(
        "{}/crds/{}.json",
        env!("CARGO_MANIFEST_DIR"),
        case.kind.plural
    );
    crd::check_committed(Path::new(&file), case.kind.version, &schema)
}

#[test]
fn the_committed_definitions_are_what_the_types_make() {
    let problems: Vec<String> = cases()
        .iter()
        .filter_map(|case| committed(case).err())
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let names: Vec<String> = crds()
        .iter()
        .map(|crd| {
            crd["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    for case in cases() {
        assert!(
            names.contains(&case.kind.definition_name()),
            "{} is not among {names:?}",
            case.kind.kind
        );
    }
}

#[test]
fn the_definitions_say_what_upstreams_say() {
    let Some(mut theirs) = upstream::documents("crds/cluster-api-core.yaml") else {
        return;
    };
    theirs.extend(upstream::documents("crds/ipam-in-cluster.yaml").unwrap_or_default());
    let mut problems = String::new();
    for ours in crds() {
        let name = ours["metadata"]["name"].as_str().unwrap_or_default();
        let known = KNOWN
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(&[][..], |(_, paths)| paths);
        if let Err(problem) = crd::check_against(&ours, &theirs, known) {
            problems.push_str(&problem);
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

#[test]
fn every_object_that_a_definition_allows_comes_through_the_types_unchanged() {
    let samples = Samples::with(json!({}));
    let mut problems = String::new();
    for case in cases() {
        let definition = committed(&case).expect("the definition is up to date");
        if let Err(problem) = (case.check)(&definition, case.kind.version, &samples) {
            problems.push_str(&format!("{}:\n{problem}", case.kind.kind));
        }
    }
    assert!(problems.is_empty(), "{problems}");
}
