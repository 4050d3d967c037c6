//! What all parts of one run share: time, faults, rules, the trace.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Method;
use jiff::Timestamp;

use super::Action;
use crate::{
    clock::Clock,
    embedded::ApiServer,
    provider::ProviderError,
    testing::{
        faults::{Fault, Faults, Occasion, provider_error},
        invariants::{Invariants, Rule, Violation},
        reference::{Datacenter, DatacenterEvent},
    },
};

/// A call of a slow provider takes at most so long.
const SLOW: Duration = Duration::from_secs(8);

/// What happened, line by line, and a hash of it.
#[derive(Default)]
struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    fn new(keep: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: keep.then(Vec::new),
        }
    }

    fn add(&mut self, line: String) {
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }
}

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) faults: Faults,
    epoch: Timestamp,
    rules: Mutex<Invariants>,
    trace: Mutex<Trace>,
    actions: Mutex<BTreeMap<Action, u64>>,
    /// Writes of managers, Events and Leases apart.
    writes: Mutex<u64>,
    /// Machines that take time to be removed, and until when.
    dying: Mutex<BTreeMap<u32, Timestamp>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(
        clock: Clock,
        faults: Faults,
        server: &ApiServer,
        leased: bool,
        keep: bool,
    ) -> Self {
        Self {
            epoch: clock.now(),
            clock,
            faults,
            rules: Mutex::new(Invariants::new(server, leased)),
            trace: Mutex::new(Trace::new(keep)),
            actions: Mutex::default(),
            writes: Mutex::default(),
            dying: Mutex::default(),
        }
    }

    pub(super) fn rules(&self) -> MutexGuard<'_, Invariants> {
        lock(&self.rules)
    }

    pub(super) fn trace(&self, line: &str) {
        let passed = self.clock.now().duration_since(self.epoch).as_millis();
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = write!(text, "{:>9}.{:03} {line}", passed / 1000, passed % 1000);
        lock(&self.trace).add(text);
    }

    /// The hash of the trace, and its lines where they were kept.
    pub(super) fn traced(&self) -> (u64, Vec<String>) {
        let trace = lock(&self.trace);
        (trace.hash, trace.lines.clone().unwrap_or_default())
    }

    pub(super) fn act(&self, action: Action, what: &str) {
        self.trace(&format!("user {action} {what}"));
        *lock(&self.actions).entry(action).or_default() += 1;
    }

    pub(super) fn actions(&self) -> BTreeMap<Action, u64> {
        lock(&self.actions).clone()
    }

    pub(super) fn writes(&self) -> u64 {
        *lock(&self.writes)
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.rules().violation().cloned()
    }

    pub(super) fn violate(&self, rule: Rule, what: impl Into<String>) {
        self.rules().violate(rule, what);
    }

    /// A fault that does not come from a request or call.
    pub(super) fn note(&self, fault: Fault, what: &str) {
        self.faults.note(fault);
        self.trace(&format!("fault {fault} {what}"));
    }

    /// Takes in a request that was done (status code 0: that a fault concerns).
    pub(super) fn request(&self, who: &str, method: &Method, path: &str, code: u16) {
        let changes = *method != Method::GET;
        let renewal = path.contains("/leases") && code == 200;
        if (who != "user" || changes) && !renewal {
            self.trace(&format!("{who} {method} {path} {code}"));
        }
        if !changes || !(200..300).contains(&code) {
            return;
        }
        let apart = path.contains("/events") || path.contains("/leases");
        if who != "user" && !apart {
            *lock(&self.writes) += 1;
        }
        let now = self.clock.now();
        self.rules().request(who, path, now);
    }

    pub(super) fn happened(&self, datacenter: &Datacenter, event: &DatacenterEvent) {
        let told = match event {
            DatacenterEvent::Made(record) => format!("made {} {}", record.number, record.name),
            DatacenterEvent::Destroyed(record) => {
                format!("destroyed {} {}", record.number, record.name)
            }
            DatacenterEvent::Lost(record) => format!("lost {} {}", record.number, record.name),
            DatacenterEvent::Placed(record) => format!("placed {} {}", record.number, record.name),
            DatacenterEvent::Begun { cluster, member } => format!("begun {cluster} {member}"),
            DatacenterEvent::Left { cluster, member } => format!("left {cluster} {member}"),
        };
        self.trace(&format!("datacenter {told}"));
        let now = self.clock.now();
        self.rules().happened(datacenter, event, now);
    }

    /// Before a provider does its work.
    pub(super) async fn call(&self, who: &Arc<str>, name: &str) -> Result<(), ProviderError> {
        let Some(fault) = self.faults.draw(Occasion::Call) else {
            return Ok(());
        };
        self.note(fault, &format!("{who} {name}"));
        match fault {
            Fault::ProviderSlow => {
                let slow = self.faults.within(SLOW);
                self.clock.sleep(slow).await;
                Ok(())
            }
            Fault::CrashInProvider => {
                self.faults.crash(who);
                std::future::pending().await
            }
            fault => provider_error(fault).map_or(Ok(()), Err),
        }
    }

    /// After a provider did its work: the fault in its answer, if any.
    pub(super) async fn answer(
        &self,
        who: &Arc<str>,
        name: &str,
    ) -> Result<Option<Fault>, ProviderError> {
        let Some(fault) = self.faults.draw(Occasion::Answer) else {
            return Ok(None);
        };
        if fault != Fault::MachineLost {
            self.note(fault, &format!("{who} {name}"));
        }
        match fault {
            Fault::CrashInProvider => {
                self.faults.crash(who);
                std::future::pending().await
            }
            fault => match provider_error(fault) {
                Some(error) => Err(error),
                None => Ok(Some(fault)),
            },
        }
    }

    /// How long the removal of a machine still takes; begins it.
    pub(super) fn dying(&self, number: u32) -> Duration {
        let now = self.clock.now();
        let mut dying = lock(&self.dying);
        let until = *dying.entry(number).or_insert_with(|| {
            let takes = if self.faults.below(2) == 0 {
                Duration::ZERO
            } else {
                self.faults.within(SLOW)
            };
            now.checked_add(takes).unwrap_or(now)
        });
        Duration::try_from(until.duration_since(now)).unwrap_or_default()
    }

    pub(super) fn dead(&self, number: u32) {
        lock(&self.dying).remove(&number);
    }
}

impl World {
    /// The error of a call that cannot take time.
    pub(super) fn sudden(&self, name: &str) -> Option<ProviderError> {
        let fault = self.faults.draw(Occasion::Call)?;
        let error = provider_error(fault)?;
        self.note(fault, name);
        Some(error)
    }
}
