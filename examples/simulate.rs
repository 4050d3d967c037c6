//! Tells stories of clusters with faults, a seed each, and says which rule was broken.
//!
//! ```sh
//! cargo run --release --example simulate -- --seeds 0..2000
//! cargo run --release --example simulate -- --providers talos-proxmox --seeds 0..500
//! cargo run --example simulate -- --seeds 17..18 --trace
//! ```

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
    process::ExitCode,
    time::Duration,
};

use capi_core::testing::{
    faults::Fault,
    simulation::{self as reference, in_order},
};
use capi_examples::simulation::{self as talos_proxmox, SiteFault};
use clap::{Parser, ValueEnum};

/// Runs the whole SDK in virtual time, once for each seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seeds, as `A..B` (B is not run).
    #[arg(long, default_value = "0..200", value_parser = seeds)]
    seeds: Range<u64>,
    /// Whose machines.
    #[arg(long, value_enum, default_value = "reference")]
    providers: Providers,
    /// Print what happens.
    #[arg(long)]
    trace: bool,
    /// Plant a defect, by its name.
    #[arg(long)]
    mutant: Option<String>,
    /// Go on after a rule was broken.
    #[arg(long)]
    keep_going: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Providers {
    /// The reference set: records in memory, as slow, failing and lying as faults say.
    Reference,
    /// Talos Linux on Proxmox VE, both simulated, through the production clients.
    TalosProxmox,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write seeds as A..B")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
    Ok(number(from)?..number(to)?)
}

/// What both kinds of run tell.
struct Told {
    seed: u64,
    hash: u64,
    trace: Vec<String>,
    violation: Option<String>,
    replay: String,
    writes: u64,
    lasted: Duration,
    actions: Vec<(String, u64)>,
    faults: Vec<(String, u64)>,
}

fn texts<K: ToString>(counts: impl IntoIterator<Item = (K, u64)>) -> Vec<(String, u64)> {
    let counts = counts.into_iter();
    counts
        .map(|(key, count)| (key.to_string(), count))
        .collect()
}

impl From<reference::Report> for Told {
    fn from(report: reference::Report) -> Self {
        Self {
            seed: report.seed,
            hash: report.hash,
            replay: report.replay(),
            violation: report.violation.as_ref().map(ToString::to_string),
            writes: report.writes,
            lasted: report.lasted,
            actions: texts(report.actions),
            faults: texts(report.faults),
            trace: report.trace,
        }
    }
}

impl From<talos_proxmox::Report> for Told {
    fn from(report: talos_proxmox::Report) -> Self {
        let mut faults = texts(report.faults.clone());
        faults.extend(texts(report.site_faults.clone()));
        Self {
            seed: report.seed,
            hash: report.hash,
            replay: report.replay(),
            violation: report.violation.as_ref().map(ToString::to_string),
            writes: report.writes,
            lasted: report.lasted,
            actions: texts(report.actions),
            faults,
            trace: report.trace,
        }
    }
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    capi_examples::output::end_quietly_unread();
    let arguments = Arguments::parse();
    let mut summary = Summary::of(&arguments);
    let seeds = arguments.seeds.clone();
    let mutant = arguments.mutant.as_deref();
    match arguments.providers {
        Providers::Reference => {
            let mut options = reference::Options::default();
            options.mutant = mutant.map(str::parse).transpose()?;
            options.trace = arguments.trace;
            let run = |seed| reference::run(seed, &options).map(Told::from);
            in_order(seeds, run, |told| summary.add(&told))?;
        }
        Providers::TalosProxmox => {
            let options = talos_proxmox::Options {
                mutant: mutant.map(str::parse).transpose()?,
                trace: arguments.trace,
            };
            let run = |seed| talos_proxmox::run(seed, &options).map(Told::from);
            in_order(seeds, run, |told| summary.add(&told))?;
        }
    }
    Ok(summary.print())
}

struct Summary {
    trace: bool,
    keep_going: bool,
    ran: u64,
    broken: u64,
    writes: u64,
    lasted: Duration,
    actions: BTreeMap<String, u64>,
    /// All kinds of faults, in their order.
    kinds: Vec<String>,
    faults: BTreeMap<String, u64>,
}

impl Summary {
    fn of(arguments: &Arguments) -> Self {
        let mut kinds: Vec<String> = Fault::ALL.iter().map(ToString::to_string).collect();
        if matches!(arguments.providers, Providers::TalosProxmox) {
            // The reference provider's own faults are none of Proxmox VE's.
            kinds.retain(|kind| !kind.starts_with("Provider"));
            kinds.retain(|kind| {
                !["CrashInProvider", "ForeignMachine", "MachineLost"].contains(&&**kind)
            });
            kinds.extend(SiteFault::ALL.iter().map(ToString::to_string));
        }
        Self {
            trace: arguments.trace,
            keep_going: arguments.keep_going,
            ran: 0,
            broken: 0,
            writes: 0,
            lasted: Duration::ZERO,
            actions: BTreeMap::new(),
            kinds,
            faults: BTreeMap::new(),
        }
    }

    fn add(&mut self, told: &Told) -> ControlFlow<()> {
        self.ran += 1;
        self.writes += told.writes;
        self.lasted += told.lasted;
        for line in &told.trace {
            println!("{line}");
        }
        if self.trace {
            println!("seed {}: trace {:016x}", told.seed, told.hash);
        }
        for (action, count) in &told.actions {
            *self.actions.entry(action.clone()).or_default() += count;
        }
        for (fault, count) in &told.faults {
            *self.faults.entry(fault.clone()).or_default() += count;
        }
        let Some(violation) = &told.violation else {
            return ControlFlow::Continue(());
        };
        println!("seed {}: {violation}\n  {}", told.seed, told.replay);
        self.broken += 1;
        match self.keep_going {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    fn print(&self) -> ExitCode {
        println!(
            "{} seeds, {} broke a rule; {} writes in {} hours of virtual time",
            self.ran,
            self.broken,
            self.writes,
            self.lasted.as_secs() / 3600
        );
        println!("actions:");
        for (action, count) in &self.actions {
            println!("  {action:<24}{count:>8}");
        }
        println!("faults:");
        for kind in &self.kinds {
            let count = self.faults.get(kind).copied().unwrap_or_default();
            println!("  {kind:<24}{count:>8}");
        }
        if self.broken == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
