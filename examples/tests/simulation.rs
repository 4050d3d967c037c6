//! Seeds of the simulation with Talos Linux on Proxmox VE.
//!
//! `CAPI_SIMULATION_SEEDS=0..500 cargo test -p capi-examples --test simulation` runs more of them.

#[path = "simulation/unknown_fields.rs"]
mod unknown_fields;

use std::{collections::BTreeMap, ops::ControlFlow};

use capi_core::testing::simulation::in_order;
use capi_examples::simulation::{Mutant, Options, SiteFault, run};

/// The seeds of CI; `CAPI_SIMULATION_SEEDS=A..B` says others.
fn slice() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("CAPI_SIMULATION_SEEDS") else {
        return 0..50;
    };
    let (from, to) = text.split_once("..").expect("A..B");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn no_seed_of_a_slice_breaks_a_rule_and_every_fault_of_the_datacenter_happens() {
    let mut faults = BTreeMap::<SiteFault, u64>::new();
    let seeds = slice();
    let all = seeds.end - seeds.start >= 50;
    let mut broken = Vec::new();
    let told = in_order(
        seeds.clone(),
        |seed| run(seed, &Options::default()),
        |report| {
            if let Some(violation) = &report.violation {
                broken.push(format!("{violation}\n{}", report.replay()));
            }
            for (fault, count) in report.site_faults {
                *faults.entry(fault).or_default() += count;
            }
            ControlFlow::Continue(())
        },
    );
    told.expect("a runtime");
    println!("{seeds:?}: {faults:?}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    for fault in SiteFault::ALL.into_iter().filter(|_| all) {
        assert!(faults.contains_key(&fault), "{fault} never happened");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let options = Options {
        trace: true,
        ..Options::default()
    };
    for seed in 0..2 {
        let (one, two) = (run(seed, &options), run(seed, &options));
        let (one, two) = (one.expect("a runtime"), two.expect("a runtime"));
        let mut lines = one.trace.iter().zip(&two.trace);
        let differs = lines.find(|(one, two)| one != two);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.hash, two.hash, "seed {seed}");
    }
}

#[test]
fn every_planted_defect_is_found() {
    for mutant in Mutant::ALL {
        let options = Options {
            mutant: Some(mutant),
            trace: false,
        };
        let mut found = None;
        let told = in_order(
            0..50,
            |seed| run(seed, &options),
            |report| match report.violation {
                Some(violation) => {
                    found = Some(format!("seed {}: {violation}", report.seed));
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            },
        );
        told.expect("a runtime");
        println!("{mutant}: {found:?}");
        assert!(found.is_some(), "{mutant} is not found");
    }
}
