//! What planners ask about many machines, whoever counts them: a [`Tally`](super::tally::Tally)
//! that is kept by events, or a [`Survey`](super::survey::Survey) that looks at all rows once.
//!
//! Decides how what was counted is told.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    aggregate::list_names,
    condition::{Reasons, Wanted},
    row::{Delays, MachineRow, Remediation, Reported},
};

/// A machine that is being deleted for longer than this is named in messages.
const STALE_AFTER: i64 = 15 * 60;
/// What delays a drain is named when it drains for longer than this.
const DELAYED_AFTER: i64 = 5 * 60;
/// A machine that does not report `UpToDate` counts as unknown when it is older than this.
const UP_TO_DATE_AFTER: i64 = 10;

/// The message of a machine that does not report `Ready`.
pub(super) const ABSENT_READY: &str = "Condition Ready not yet reported";
/// The message of a machine that does not report `UpToDate`.
pub(super) const ABSENT_UP_TO_DATE: &str = "Condition UpToDate not yet reported";

/// Reasons of the aggregate of the machines' `Ready`.
pub(super) const READY: Reasons = Reasons {
    issue: "NotReady",
    unknown: "ReadyUnknown",
    info: "Ready",
};
/// Reasons of the aggregate of the machines' `UpToDate`.
pub(super) const UP_TO_DATE: Reasons = Reasons {
    issue: "NotUpToDate",
    unknown: "UpToDateUnknown",
    info: "UpToDate",
};

/// Machines, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them, deleting ones included.
    pub replicas: u32,
    /// With `Ready` True and not being updated in place.
    pub ready: u32,
    /// With `Available` True and not being updated in place.
    pub available: u32,
    /// With `UpToDate` True and not being updated in place.
    pub up_to_date: u32,
    /// Being deleted.
    pub deleting: u32,
    /// Being updated in place.
    pub updating: u32,
    /// Moved here and not yet counted by the owner's owner.
    pub pending_acknowledge: u32,
    /// Being deleted as their remediation.
    pub remediations_in_flight: u32,
}

impl Counts {
    /// Counts a machine, or takes it back.
    pub(super) fn count(&mut self, row: &MachineRow, add: bool) {
        let settled = !row.updating;
        let remediated = row.remediation == Remediation::MachineDeleting;
        for (count, counted) in [
            (&mut self.replicas, true),
            (
                &mut self.ready,
                settled && row.ready.status == Reported::True,
            ),
            (&mut self.available, row.is_available()),
            (
                &mut self.up_to_date,
                settled && row.up_to_date.status == Reported::True,
            ),
            (&mut self.deleting, row.deleting.is_some()),
            (&mut self.updating, row.updating),
            (&mut self.pending_acknowledge, row.pending_acknowledge),
            (
                &mut self.remediations_in_flight,
                row.deleting.is_some() && remediated,
            ),
        ] {
            let one = u32::from(counted);
            *count = if add {
                count.saturating_add(one)
            } else {
                count.saturating_sub(one)
            };
        }
    }
}

/// Machines of one set, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfSet {
    /// All of them, deleting ones included.
    pub replicas: u32,
    /// With `Available` True and not being updated in place.
    pub available: u32,
}

impl OfSet {
    /// Counts a machine, or takes it back.
    pub(super) fn count(&mut self, row: &MachineRow, add: bool) {
        let step = |count: u32, one: u32| match add {
            true => count.saturating_add(one),
            false => count.saturating_sub(one),
        };
        self.replicas = step(self.replicas, 1);
        self.available = step(self.available, u32::from(row.is_available()));
    }
}

/// Many machines, counted at a time: what a rollout is planned from.
///
/// Sealed: only this crate counts.
pub trait Census: sealed::Sealed {
    /// The counters.
    fn counts(&self) -> Counts;

    /// The machines that the set of this name controls; `None` when none is known.
    fn of_set(&self, set: &str) -> Option<OfSet>;

    /// When some machine will count differently although nothing happened.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// Condition `target` as the aggregate of the machines' `Ready`.
    fn machines_ready(&self, target: &'static str) -> Wanted;

    /// Condition `target` as the aggregate of the machines' `UpToDate`.
    fn machines_up_to_date(&self, target: &'static str) -> Wanted;

    /// Condition `target` (True is bad) about remediation; `by` says who does not remediate the
    /// machines that are unhealthy and left alone.
    fn remediating(&self, target: &'static str, by: &str) -> Wanted;

    /// Machines that are not up to date, and why, each reason once, a change of version first.
    fn rolling_out(&self) -> (u32, Vec<&str>);

    /// What is said of machines that are being deleted for long; `None` when there are none.
    fn stale(&self) -> Option<String>;

    /// Names of the machines that were moved to `set` and are not yet acknowledged, sorted.
    fn moved_to(&self, set: &str) -> Vec<&str>;
}

pub(super) mod sealed {
    /// Keeps [`Census`](super::Census) to this crate.
    pub trait Sealed {}
    impl Sealed for super::super::tally::Tally {}
    impl Sealed for super::super::survey::Survey<'_> {}
}

/// When a machine counts as being deleted for long, when what delays its drain is named, and when
/// its silence about `UpToDate` counts: the times at which a row counts differently.
pub(super) struct Deadlines {
    pub(super) stale: Option<i64>,
    pub(super) delayed: Option<i64>,
    pub(super) up_to_date: Option<i64>,
}

impl Deadlines {
    pub(super) fn of(row: &MachineRow) -> Self {
        let stale = row.deleting.map(|at| at.saturating_add(STALE_AFTER + 1));
        let delayed = row
            .drain_started
            .filter(|_| row.delays != Delays::default())
            .map(|at| at.saturating_add(DELAYED_AFTER + 1));
        let silent = row.up_to_date.status == Reported::Absent;
        Self {
            stale,
            delayed: stale
                .zip(delayed)
                .map(|(stale, delayed)| delayed.max(stale)),
            up_to_date: silent.then(|| row.created.saturating_add(UP_TO_DATE_AFTER + 1)),
        }
    }
}

/// The condition about remediation: `told` is said of the machines that are remediated, when there
/// are any; else those are named that are unhealthy and left alone.
pub(super) fn remediating<'a>(
    target: &'static str,
    by: &str,
    told: Option<String>,
    unhealthy: impl Iterator<Item = &'a str>,
    count: usize,
) -> Wanted {
    if let Some(message) = told {
        return Wanted::is_true(target, "Remediating").message(message);
    }
    let condition = Wanted::is_false(target, "NotRemediating");
    match count {
        0 => condition,
        count => condition.message(format!(
            "{} not healthy (not to be remediated by {by})",
            are(unhealthy, count)
        )),
    }
}

/// Why machines are not up to date: the lines of their messages, each once, versions first.
pub(super) fn reasons<'a>(messages: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let reasons: BTreeSet<(bool, &str)> = messages
        .filter(|message| !message.is_empty())
        .flat_map(|message| message.split('\n'))
        .map(|line| (!line.starts_with("* Version"), line))
        .collect();
    reasons.into_iter().map(|(_, line)| line).collect()
}

/// Condition `RollingOut`: machines that are not up to date, and why.
pub(super) fn rolling_out(census: &dyn Census) -> Wanted {
    const TYPE: &str = "RollingOut";
    let (count, reasons) = census.rolling_out();
    if count == 0 {
        return Wanted::is_false(TYPE, "NotRollingOut");
    }
    let mut message = format!("Rolling out {count} not up-to-date replicas");
    for reason in reasons {
        message.push('\n');
        message.push_str(reason);
    }
    Wanted::is_true(TYPE, "RollingOut").message(message)
}

/// What is said of `count` machines, some of them named, that are being deleted for long; `delays`
/// is how many of them each cause delays.
pub(super) fn stale<'a>(
    names: impl Iterator<Item = &'a str>,
    count: usize,
    delays: [u32; Delays::CAUSES.len()],
) -> Option<String> {
    if count == 0 {
        return None;
    }
    let mut message = format!("{} in deletion since more than 15m", are(names, count));
    let causes: Vec<&str> = Delays::CAUSES
        .iter()
        .zip(delays)
        .filter(|(_, count)| *count > 0)
        .map(|((cause, _), _)| *cause)
        .collect();
    if !causes.is_empty() {
        message.push_str(", delay likely due to ");
        message.push_str(&causes.join(", "));
    }
    Some(message)
}

/// `Machine a is`, `Machines a, b are`.
fn are<'a>(names: impl Iterator<Item = &'a str>, count: usize) -> String {
    let names = list_names(names, count);
    if count == 1 {
        format!("Machine {names} is")
    } else {
        format!("Machines {names} are")
    }
}
