//! The conformance suite: whether a provider keeps the rules of [`provider`](crate::provider).
//!
//! An author describes the outside of the provider once, as an [`Outside`], and calls the suite in
//! one line:
//!
//! ```text
//! conformance::infrastructure(MyOutside::new, options).await.assert_conforms();
//! ```
//!
//! Bootstrap and IPAM providers have smaller suites, called alike: [`bootstrap()`] and [`ipam()`].
//!
//! Every check begins with an outside of its own. Some call the trait directly, some run the
//! provider in its host on an embedded API server. Under a paused tokio clock
//! (`#[tokio::test(start_paused = true)]`) the waits take no time.

mod bootstrap;
mod direct;
mod hosted;
mod ipam;
mod ports;

pub use bootstrap::{BootstrapOptions, bootstrap};
pub use ipam::{IpamOptions, ipam};

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    clock::Clock,
    provider::{Identity as _, Infrastructure},
};

/// Where a provider's machines are, as the suite needs it: a simulator, a map, a directory.
pub trait Outside: Send + Sync + 'static {
    /// The provider.
    type Provider: Infrastructure;

    /// A provider that talks to this outside. Called again for each restart of its process, so
    /// nothing but the outside may be shared between the answers.
    fn provider(&self) -> Self::Provider;

    /// The identities of the machines that exist, complete or half made.
    fn machines(&self) -> Vec<Identity<Self>>;

    /// Removes a machine behind the provider's back.
    fn vanish(&self, machine: &Identity<Self>);

    /// Puts a machine that is not the provider's where this identity points, and returns true;
    /// false where ids are never used again, so that this cannot happen.
    fn usurp(&self, machine: &Identity<Self>) -> bool {
        let _ = machine;
        false
    }
}

/// The identities of an outside's provider.
pub type Identity<O> = <<O as Outside>::Provider as Infrastructure>::Identity;

/// Keys of a Secret with their values.
pub type SecretEntries = Vec<(String, Vec<u8>)>;

/// What the suite makes objects from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// CustomResourceDefinitions of the provider's kinds.
    pub crds: Vec<Value>,
    /// `spec` of its cluster object.
    pub cluster: Value,
    /// `spec` of its machine objects.
    pub machine: Value,
    /// A `spec` of a machine object that is wrong; no check of wrong specs when there is none.
    pub invalid_machine: Option<Value>,
    /// What machines boot with.
    pub bootstrap_data: Vec<u8>,
    /// Secrets that the provider reads in the namespace `default`, by name.
    pub secrets: Vec<(String, SecretEntries)>,
    /// The longest time, by the clock, that a machine takes to come or go.
    pub patience: Duration,
    /// At how many awaits a call is dropped, at most.
    pub cancellations: usize,
    /// The rules to check; all when there are none.
    pub only: Vec<String>,
}

impl Options {
    /// Options for the kinds of these CustomResourceDefinitions, with empty specs.
    #[must_use]
    pub fn new(crds: Vec<Value>) -> Self {
        Self {
            crds,
            cluster: json!({}),
            machine: json!({}),
            invalid_machine: None,
            bootstrap_data: b"#cloud-config\n".to_vec(),
            secrets: Vec::new(),
            patience: Duration::from_secs(3600),
            cancellations: 64,
            only: Vec::new(),
        }
    }

    /// The same, with a `spec` of machine objects.
    #[must_use]
    pub fn machine(mut self, spec: Value) -> Self {
        self.machine = spec;
        self
    }

    /// The same, with a `spec` of the cluster object.
    #[must_use]
    pub fn cluster(mut self, spec: Value) -> Self {
        self.cluster = spec;
        self
    }

    /// The same, with a `spec` of a machine object that is wrong.
    #[must_use]
    pub fn invalid_machine(mut self, spec: Value) -> Self {
        self.invalid_machine = Some(spec);
        self
    }

    /// The same, with data to boot with.
    #[must_use]
    pub fn bootstrap_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.bootstrap_data = data.into();
        self
    }

    /// The same, for one rule only, or one more: to look closer at a check that failed.
    #[must_use]
    pub fn only(mut self, rule: impl Into<String>) -> Self {
        self.only.push(rule.into());
        self
    }

    fn checks(&self, rule: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == rule)
    }

    /// The same, with one more Secret that the provider reads.
    #[must_use]
    pub fn secret(
        mut self,
        name: impl Into<String>,
        data: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Self {
        self.secrets.push((name.into(), data.into_iter().collect()));
        self
    }
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The provider does as it should.
    Passed,
    /// It does not.
    Failed(String),
    /// The outside cannot show it.
    Skipped(String),
}

/// One check and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The rule, as a sentence.
    pub rule: &'static str,
    /// How it ended.
    pub outcome: Outcome,
}

/// All checks, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, rule: &'static str, verdict: Verdict) {
        let outcome = match verdict {
            Ok(()) => Outcome::Passed,
            Err(Flaw::Failed(why)) => Outcome::Failed(why),
            Err(Flaw::Skipped(why)) => Outcome::Skipped(why.to_owned()),
        };
        self.checks.push(Check { rule, outcome });
    }

    /// Whether no check failed.
    #[must_use]
    pub fn conforms(&self) -> bool {
        !self
            .checks
            .iter()
            .any(|check| matches!(check.outcome, Outcome::Failed(_)))
    }

    /// The rules that were not kept.
    pub fn failures(&self) -> impl Iterator<Item = &'static str> {
        self.checks
            .iter()
            .filter(|check| matches!(check.outcome, Outcome::Failed(_)))
            .map(|check| check.rule)
    }

    /// For tests: does nothing when the provider conforms.
    ///
    /// # Panics
    /// With the list of all checks, when one failed.
    pub fn assert_conforms(&self) {
        assert!(self.conforms(), "the provider does not conform:\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { rule, outcome } in &self.checks {
            match outcome {
                Outcome::Passed => writeln!(f, "  passed   {rule}")?,
                Outcome::Skipped(why) => writeln!(f, "  skipped  {rule}: {why}")?,
                Outcome::Failed(why) => writeln!(f, "  FAILED   {rule}: {why}")?,
            }
        }
        Ok(())
    }
}

/// Why a check did not pass.
#[derive(Debug)]
enum Flaw {
    Failed(String),
    Skipped(&'static str),
}

impl From<String> for Flaw {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<&str> for Flaw {
    fn from(why: &str) -> Self {
        Self::Failed(why.to_owned())
    }
}

type Verdict = Result<(), Flaw>;

/// What a check begins with.
struct Setting<O: Outside> {
    outside: Arc<O>,
    clock: Clock,
    options: Arc<Options>,
}

impl<O: Outside> Setting<O> {
    /// The machines that exist must be these.
    fn expect_machines(&self, wanted: &[&Identity<O>], when: &str) -> Verdict {
        let mut found: Vec<String> = self
            .outside
            .machines()
            .iter()
            .map(|id| id.provider_id())
            .collect();
        let mut wanted: Vec<String> = wanted.iter().map(|id| id.provider_id()).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{when}, the machines that exist are {found:?} and not {wanted:?}").into())
        }
    }
}

struct Suite<O, F> {
    outside: F,
    clock: Clock,
    options: Arc<Options>,
    report: Report,
    marker: std::marker::PhantomData<fn() -> O>,
}

impl<O: Outside, F: Fn(Clock) -> O> Suite<O, F> {
    fn fresh(&self) -> Setting<O> {
        Setting {
            outside: Arc::new((self.outside)(self.clock.clone())),
            clock: self.clock.clone(),
            options: Arc::clone(&self.options),
        }
    }

    async fn check(&mut self, rule: &'static str, check: impl AsyncFn(Setting<O>) -> Verdict) {
        if self.options.checks(rule) {
            let verdict = check(self.fresh()).await;
            self.report.add(rule, verdict);
        }
    }

    /// Repeats a check that interrupts after so many steps, until nothing is left to interrupt.
    async fn interrupt(
        &mut self,
        rule: &'static str,
        check: impl AsyncFn(Setting<O>, usize) -> Result<Interrupted, Flaw>,
    ) {
        if !self.options.checks(rule) {
            return;
        }
        let mut verdict = Ok(());
        for after in 1..=self.options.cancellations {
            match check(self.fresh(), after).await {
                Ok(Interrupted::Yes) => {}
                Ok(Interrupted::Finished) => break,
                Err(Flaw::Failed(why)) => {
                    verdict = Err(Flaw::Failed(format!("interrupted at step {after}: {why}")));
                    break;
                }
                Err(skipped) => {
                    verdict = Err(skipped);
                    break;
                }
            }
        }
        self.report.add(rule, verdict);
    }
}

/// Whether a repeated check still found something to interrupt.
enum Interrupted {
    Yes,
    Finished,
}

/// Runs the suite on an infrastructure provider. `outside` makes an empty outside that follows a
/// clock; it is called once for each check, and once for each interruption.
///
/// Takes the time that the provider's machines take, unless tokio's clock is paused.
pub async fn infrastructure<O: Outside>(outside: impl Fn(Clock) -> O, options: Options) -> Report {
    let mut suite = Suite {
        outside,
        clock: Clock::following_tokio(EPOCH),
        options: Arc::new(options),
        report: Report::default(),
        marker: std::marker::PhantomData,
    };
    suite
        .check(
            "the cluster's infrastructure comes up, and a second call changes nothing",
            direct::cluster_twice,
        )
        .await;
    suite
        .check(
            "removing a cluster's infrastructure that never was is success",
            direct::destroy_no_cluster,
        )
        .await;
    suite
        .check("reserving changes nothing outside", direct::reserve_is_pure)
        .await;
    suite
        .check(
            "two machines reserved at once have two identities",
            direct::reserve_two,
        )
        .await;
    suite
        .check(
            "an identity that was written is read again as it was",
            direct::identity_round_trip,
        )
        .await;
    suite
        .check(
            "a machine comes up, and a second call changes nothing",
            direct::ensure_twice,
        )
        .await;
    suite
        .check(
            "after a restart the same machine is adopted",
            direct::adopt_after_restart,
        )
        .await;
    suite
        .interrupt(
            "a call to bring up a machine, dropped at any await, is finished by a later one",
            direct::ensure_dropped,
        )
        .await;
    suite
        .check(
            "a machine goes, and a second call is success",
            direct::destroy_twice,
        )
        .await;
    suite
        .check(
            "removing a machine that was never made is success",
            direct::destroy_nothing,
        )
        .await;
    suite
        .interrupt(
            "a call to remove a machine, dropped at any await, is finished by a later one",
            direct::destroy_dropped,
        )
        .await;
    suite
        .check(
            "removing one machine leaves the others",
            direct::destroy_one_of_two,
        )
        .await;
    suite
        .check(
            "what bears another mark is not removed",
            direct::destroy_foreign,
        )
        .await;
    suite
        .check(
            "what bears another mark is not taken for ours",
            direct::ensure_foreign,
        )
        .await;
    suite
        .check(
            "a machine that was ready and vanished is terminal, and not made again",
            direct::vanished,
        )
        .await;
    suite
        .check(
            "a machine that vanished before it was ready is made again",
            direct::vanished_early,
        )
        .await;
    suite
        .check(
            "a wrong spec is invalid, and nothing is made",
            direct::invalid,
        )
        .await;
    suite
        .check(
            "the host brings it up with the fields of both contract versions",
            hosted::comes_up,
        )
        .await;
    suite
        .check(
            "the identity is recorded before anything is made",
            hosted::recorded_first,
        )
        .await;
    suite
        .check(
            "nothing is written when nothing changed, also across a restart",
            hosted::idle,
        )
        .await;
    suite
        .interrupt(
            "a manager killed before any call goes on where it was",
            hosted::killed,
        )
        .await;
    suite
        .check("nothing is called while paused", hosted::paused)
        .await;
    suite
        .check("deletion leaves nothing", hosted::deleted)
        .await;
    suite.report
}

/// 2026-01-01T00:00:00Z, when the suite's clock begins.
const EPOCH: jiff::Timestamp = jiff::Timestamp::constant(1_767_225_600, 0);
