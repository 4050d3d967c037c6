//! Definitions are made from the types, equal to upstream's, and agree with the types both ways.

use capi_core::api::crd::{self, Definitions, Limits};
use capi_provider_proxmox::api::*;

use crate::upstream;

fn definitions() -> Definitions {
    let own =
        Limits::parse(include_str!("../../crds/limits.json")).expect("the table of limits is JSON");
    let limits = crd::limits().expect("the table of limits is JSON").and(own);
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    Definitions::new(directory, limits)
        .spec_and_status::<ProxmoxCluster, ProxmoxClusterSpec, ProxmoxClusterStatus>(
            PROXMOX_CLUSTER,
            "Infrastructure that all machines of a cluster share.",
            &["spec"],
        )
        .spec::<ProxmoxClusterTemplate, ProxmoxClusterTemplateSpec>(
            PROXMOX_CLUSTER_TEMPLATE,
            "Template of ProxmoxClusters, for a ClusterClass.",
            &["spec"],
        )
        .spec_and_status::<ProxmoxMachine, ProxmoxMachineSpec, ProxmoxMachineStatus>(
            PROXMOX_MACHINE,
            "One virtual machine.",
            &["spec"],
        )
        .spec::<ProxmoxMachineTemplate, ProxmoxMachineTemplateSpec>(
            PROXMOX_MACHINE_TEMPLATE,
            "Template of ProxmoxMachines.",
            &["spec"],
        )
}

#[test]
fn the_committed_definitions_are_what_the_types_make() {
    assert_eq!(definitions().check_committed(&crds()), Ok(()));
}

#[test]
fn the_definitions_say_what_upstreams_say() {
    let Some(theirs) = upstream::documents("crds/capmox.yaml") else {
        return;
    };
    assert_eq!(definitions().check_against(&crds(), &theirs), Ok(()));
}

#[test]
fn every_object_that_a_definition_allows_comes_through_the_types_unchanged() {
    assert_eq!(definitions().check_types(), Ok(()));
}
