//! Definitions are made from the types, equal to upstream's, and agree with the types both ways.

use capi_controlplane_talos::api::*;
use capi_core::api::crd::{self, Definitions, Limits};

use crate::upstream;

fn definitions() -> Definitions {
    let parse = |text| Limits::parse(text).expect("the table of limits is JSON");
    let talos = parse(include_str!(
        "../../../capi-bootstrap-talos/crds/limits.json"
    ));
    let limits = crd::limits()
        .expect("the table of limits is JSON")
        .and(talos)
        .and(parse(include_str!("../../crds/limits.json")));
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    Definitions::new(directory, limits)
        .spec_and_status::<TalosControlPlane, TalosControlPlaneSpec, TalosControlPlaneStatus>(
            TALOS_CONTROL_PLANE,
            "The control plane machines of a cluster that runs Talos.",
            &[],
        )
}

#[test]
fn the_committed_definitions_are_what_the_types_make() {
    assert_eq!(definitions().check_committed(&crds()), Ok(()));
}

#[test]
fn the_definitions_say_what_upstreams_say() {
    let Some(theirs) = upstream::documents("crds/cacppt.yaml") else {
        return;
    };
    assert_eq!(definitions().check_against(&crds(), &theirs), Ok(()));
}

#[test]
fn every_object_that_a_definition_allows_comes_through_the_types_unchanged() {
    assert_eq!(definitions().check_types(), Ok(()));
}
