//! Seeds of the simulation.

use std::collections::BTreeMap;

use capi_core::testing::{
    faults::Fault,
    simulation::{Mutant, Options, run},
};

/// Runs seeds until one breaks a rule; the seed and the rule.
fn first_violation(seeds: std::ops::Range<u64>, options: &Options) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| {
        let report = run(seed, options).expect("a runtime");
        report.violation.map(|found| (seed, found.to_string()))
    })
}

/// The seeds of a debug build's half minute; `CAPI_SIMULATION_SEEDS=A..B` says others.
fn slice() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("CAPI_SIMULATION_SEEDS") else {
        return 0..24;
    };
    let (from, to) = text.split_once("..").expect("A..B");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn no_seed_of_a_slice_breaks_a_rule() {
    let mut faults = BTreeMap::<Fault, u64>::new();
    let seeds = slice();
    for seed in seeds.clone() {
        let report = run(seed, &Options::default()).expect("a runtime");
        if let Some(violation) = &report.violation {
            panic!("{violation}\n{}", report.replay());
        }
        for (fault, count) in report.faults {
            *faults.entry(fault).or_default() += count;
        }
    }
    println!("{seeds:?}: {faults:?}");
    let all = seeds.end - seeds.start >= 200;
    for fault in Fault::ALL.into_iter().filter(|_| all) {
        assert!(faults.contains_key(&fault), "{fault} never happened");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..4 {
        let options = Options::default().with_trace();
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
        let options = Options::default().with_mutant(mutant);
        let found = first_violation(0..200, &options);
        println!("{mutant}: {found:?}");
        assert!(found.is_some(), "{mutant} is not found");
    }
}
