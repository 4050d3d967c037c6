//! Definitions are made from the types, equal to upstream's, and agree with the types both ways.

use capi_bootstrap_talos::api::*;
use capi_core::api::crd::{self, Definitions, Limits};

use crate::upstream;

fn definitions() -> Definitions {
    let own =
        Limits::parse(include_str!("../../crds/limits.json")).expect("the table of limits is JSON");
    let limits = crd::limits().expect("the table of limits is JSON").and(own);
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    Definitions::new(directory, limits)
        .spec_and_status::<TalosConfig, TalosConfigSpec, TalosConfigStatus>(
            TALOS_CONFIG,
            "The machine configuration of one Talos host.",
            &[],
        )
        .spec::<TalosConfigTemplate, TalosConfigTemplateSpec>(
            TALOS_CONFIG_TEMPLATE,
            "Template of TalosConfigs.",
            &[],
        )
}

#[test]
fn the_committed_definitions_are_what_the_types_make() {
    assert_eq!(definitions().check_committed(&crds()), Ok(()));
}

#[test]
fn the_definitions_say_what_upstreams_say() {
    let Some(theirs) = upstream::documents("crds/cabpt.yaml") else {
        return;
    };
    assert_eq!(definitions().check_against(&crds(), &theirs), Ok(()));
}

#[test]
fn every_object_that_a_definition_allows_comes_through_the_types_unchanged() {
    assert_eq!(definitions().check_types(), Ok(()));
}
