//! Seeds of the simulation.

use std::{collections::BTreeMap, ops::ControlFlow};

use capi_core::testing::{
    faults::Fault,
    simulation::{Mutant, Options, run, run_all},
};

/// The seeds of CI; `CAPI_SIMULATION_SEEDS=A..B` says others.
fn slice() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("CAPI_SIMULATION_SEEDS") else {
        return 0..200;
    };
    let (from, to) = text.split_once("..").expect("A..B");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn no_seed_of_a_slice_breaks_a_rule_and_every_fault_happens() {
    let mut faults = BTreeMap::<Fault, u64>::new();
    let seeds = slice();
    let all = seeds.end - seeds.start >= 200;
    let mut broken = Vec::new();
    run_all(seeds.clone(), &Options::default(), |report| {
        if let Some(violation) = &report.violation {
            broken.push(format!("{violation}\n{}", report.replay()));
        }
        for (fault, count) in report.faults {
            *faults.entry(fault).or_default() += count;
        }
        ControlFlow::Continue(())
    })
    .expect("a runtime");
    println!("{seeds:?}: {faults:?}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    for fault in Fault::ALL.into_iter().filter(|_| all) {
        assert!(faults.contains_key(&fault), "{fault} never happened");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_alone_and_beside_others() {
    let options = Options::default().with_trace();
    let mut reports = Vec::new();
    run_all(0..4, &options, |report| {
        reports.push(report);
        ControlFlow::Continue(())
    })
    .expect("a runtime");
    for one in reports {
        let seed = one.seed;
        let two = run(seed, &options).expect("a runtime");
        let mut lines = one.trace.iter().zip(&two.trace);
        let differs = lines.find(|(one, two)| one != two);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.hash, two.hash, "seed {seed}");
    }
}

#[test]
fn every_planted_defect_is_found_within_200_seeds() {
    for mutant in Mutant::ALL {
        let options = Options::default().with_mutant(mutant);
        let mut found = None;
        run_all(0..200, &options, |report| match report.violation {
            Some(violation) => {
                found = Some(format!("seed {}: {violation}", report.seed));
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        })
        .expect("a runtime");
        println!("{mutant}: {found:?}");
        assert!(found.is_some(), "{mutant} is not found");
    }
}
