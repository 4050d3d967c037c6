//! Tells stories of clusters with faults, a seed each, and says which rule was broken.
//!
//! ```sh
//! cargo run --example simulate -- --seeds 0..200
//! cargo run --example simulate -- --seeds 17..18 --trace
//! ```

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
    process::ExitCode,
};

use capi_core::testing::{
    faults::Fault,
    simulation::{Mutant, Options, run_all},
};
use clap::Parser;

/// Runs the whole SDK in virtual time, once for each seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seeds, as `A..B` (B is not run).
    #[arg(long, default_value = "0..200", value_parser = seeds)]
    seeds: Range<u64>,
    /// Print what happens.
    #[arg(long)]
    trace: bool,
    /// Plant a defect.
    #[arg(long)]
    mutant: Option<Mutant>,
    /// Go on after a rule was broken.
    #[arg(long)]
    keep_going: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write seeds as A..B")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
    Ok(number(from)?..number(to)?)
}

fn main() -> Result<ExitCode, std::io::Error> {
    let arguments = Arguments::parse();
    let mut options = Options::default();
    options.mutant = arguments.mutant;
    options.trace = arguments.trace;
    let mut actions = BTreeMap::<String, u64>::new();
    let mut faults = BTreeMap::<Fault, u64>::new();
    let (mut ran, mut writes, mut broken) = (0_u64, 0, 0_u64);
    let mut lasted = std::time::Duration::ZERO;
    run_all(arguments.seeds, &options, |report| {
        ran += 1;
        writes += report.writes;
        lasted += report.lasted;
        for line in &report.trace {
            println!("{line}");
        }
        if arguments.trace {
            println!("seed {}: trace {:016x}", report.seed, report.hash);
        }
        for (action, count) in &report.actions {
            *actions.entry(action.to_string()).or_default() += count;
        }
        for (fault, count) in &report.faults {
            *faults.entry(*fault).or_default() += count;
        }
        if let Some(violation) = &report.violation {
            println!("seed {}: {violation}\n  {}", report.seed, report.replay());
            broken += 1;
            if !arguments.keep_going {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    println!(
        "{ran} seeds, {broken} broke a rule; {writes} writes in {} hours of virtual time",
        lasted.as_secs() / 3600
    );
    println!("actions:");
    for (action, count) in actions {
        println!("  {action:<24}{count:>8}");
    }
    println!("faults:");
    for fault in Fault::ALL {
        let count = faults.get(&fault).copied().unwrap_or_default();
        println!("  {:<24}{count:>8}", fault.to_string());
    }
    Ok(if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
