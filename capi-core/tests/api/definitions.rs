//! Definitions are made from the types, equal to upstream's, and agree with the types both ways.

use capi_core::api::crd::{self, Definitions};
use capi_core::api::*;

use crate::upstream;

fn definitions() -> Definitions {
    let limits = crd::limits().expect("the table of limits is JSON");
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    Definitions::new(directory, limits)
        .spec_and_status::<Cluster, ClusterSpec, ClusterStatus>(
            CLUSTER,
            "A workload cluster with its control plane, infrastructure and network.",
            &["spec"],
        )
        .spec_and_status::<Machine, MachineSpec, MachineStatus>(
            MACHINE,
            "One host that becomes, is, or was a Kubernetes node.",
            &["spec"],
        )
        .spec_and_status::<MachineSet, MachineSetSpec, MachineSetStatus>(
            MACHINE_SET,
            "Keeps a number of equal machines.",
            &["spec"],
        )
        .spec_and_status::<MachineDeployment, MachineDeploymentSpec, MachineDeploymentStatus>(
            MACHINE_DEPLOYMENT,
            "Replaces machines without interruption when their template changes.",
            &["spec"],
        )
        .spec_and_status::<MachineHealthCheck, MachineHealthCheckSpec, MachineHealthCheckStatus>(
            MACHINE_HEALTH_CHECK,
            "Says when a machine counts as unhealthy and is to be remediated.",
            &["spec"],
        )
        .spec::<MachineDrainRule, MachineDrainRuleSpec>(
            MACHINE_DRAIN_RULE,
            "Says which pods are drained, skipped or waited for when a node is drained.",
            &["metadata", "spec"],
        )
        .spec::<IPAddress, IPAddressSpec>(
            IP_ADDRESS,
            "An address that a pool gave to a claim.",
            &["spec"],
        )
        .spec_and_status::<IPAddressClaim, IPAddressClaimSpec, IPAddressClaimStatus>(
            IP_ADDRESS_CLAIM,
            "Asks a pool for an address.",
            &["spec"],
        )
        .spec_and_status::<InClusterIPPool, InClusterIPPoolSpec, InClusterIPPoolStatus>(
            IN_CLUSTER_IP_POOL,
            "A pool of addresses for claims of its own namespace.",
            &[],
        )
        .spec_and_status::<GlobalInClusterIPPool, InClusterIPPoolSpec, InClusterIPPoolStatus>(
            GLOBAL_IN_CLUSTER_IP_POOL,
            "A pool of addresses for claims of every namespace.",
            &[],
        )
}

#[test]
fn the_committed_definitions_are_what_the_types_make() {
    assert_eq!(definitions().check_committed(&crds()), Ok(()));
}

#[test]
fn the_definitions_say_what_upstreams_say() {
    let Some(mut theirs) = upstream::documents("crds/cluster-api-core.yaml") else {
        return;
    };
    theirs.extend(upstream::documents("crds/ipam-in-cluster.yaml").unwrap_or_default());
    assert_eq!(definitions().check_against(&crds(), &theirs), Ok(()));
}

#[test]
fn every_object_that_a_definition_allows_comes_through_the_types_unchanged() {
    assert_eq!(definitions().check_types(), Ok(()));
}
