//! Many machines, counted: counters, candidates in order and the next deadline, kept by events.
//!
//! Decides which machine goes first and what the machines have in common; one event costs the
//! same among ten machines and among ten thousand. Never decides how many machines there should
//! be: that is [`machine_set`](super::machine_set) and [`rollout`](super::rollout).
//!
//! Time enters by [`Tally::advance`] only. A tally that was kept by events equals one that was
//! made anew from the same rows at the same time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use super::census::{Census, Counts, OfSet};
use super::{
    aggregate::{Aggregate, NameKey},
    census::{self, Deadlines},
    condition::Wanted,
    row::{Delays, MachineRow, Name, Observed, Reported, Symbols, Text},
    version,
};
use crate::{
    api::{MachineDeletionOrder, MachineSpec, MachineStatus, StatusVersion},
    contract::Metadata,
};

/// Which machine goes first when there are too many; a class of its own, then the set's policy.
///
/// Answers to `machineset_deletion_order.go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DeletionClass {
    Deleting,
    Annotated,
    Updating,
    Unhealthy,
    Policy,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DeletionKey {
    class: DeletionClass,
    policy: i64,
    name: NameKey,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RemediationKey {
    not_annotated: bool,
    created: std::cmp::Reverse<i64>,
    name: NameKey,
}

/// Counters, candidates in order and the next deadline of many machines.
#[derive(Clone, Debug)]
pub struct Tally {
    prefix: String,
    order: MachineDeletionOrder,
    now: i64,
    symbols: Symbols,
    absent_ready: Text,
    absent_up_to_date: Text,
    rows: Vec<Option<(MachineRow, NameKey)>>,
    counts: Counts,
    sets: BTreeMap<Text, OfSet>,
    versions: BTreeMap<Text, u32>,
    propagated: BTreeMap<u64, BTreeSet<NameKey>>,
    deletion: BTreeSet<DeletionKey>,
    remediation: BTreeSet<RemediationKey>,
    recovered: BTreeSet<NameKey>,
    pending_acknowledge: BTreeSet<NameKey>,
    ready: Aggregate,
    up_to_date: Aggregate,
    remediating: Aggregate,
    unhealthy: BTreeSet<NameKey>,
    stale: BTreeSet<NameKey>,
    delays: [u32; Delays::CAUSES.len()],
    deadlines: BTreeSet<(i64, Name)>,
}

impl Tally {
    /// No machines. `prefix` is what most of their names begin with (the set's name and a dash);
    /// it only matters for speed. `order` is the policy of deletion.
    #[must_use]
    pub fn new(prefix: &str, order: MachineDeletionOrder) -> Self {
        Self::with_symbols(prefix, order, Symbols::default())
    }

    /// No machines, over a table of symbols that rows were made with already.
    #[must_use]
    pub fn with_symbols(prefix: &str, order: MachineDeletionOrder, mut symbols: Symbols) -> Self {
        Self {
            prefix: prefix.to_owned(),
            order,
            now: i64::MIN,
            absent_ready: symbols.intern(census::ABSENT_READY),
            absent_up_to_date: symbols.intern(census::ABSENT_UP_TO_DATE),
            symbols,
            rows: Vec::new(),
            counts: Counts::default(),
            sets: BTreeMap::new(),
            versions: BTreeMap::new(),
            propagated: BTreeMap::new(),
            deletion: BTreeSet::new(),
            remediation: BTreeSet::new(),
            recovered: BTreeSet::new(),
            pending_acknowledge: BTreeSet::new(),
            ready: Aggregate::default(),
            up_to_date: Aggregate::default(),
            remediating: Aggregate::default(),
            unhealthy: BTreeSet::new(),
            stale: BTreeSet::new(),
            delays: [0; Delays::CAUSES.len()],
            deadlines: BTreeSet::new(),
        }
    }

    /// The tally of rows made in another table, at a time.
    #[must_use]
    pub fn rebuilt(
        prefix: &str,
        order: MachineDeletionOrder,
        now: Timestamp,
        symbols: &Symbols,
        rows: &[MachineRow],
    ) -> Self {
        let mut tally = Self::new(prefix, order);
        tally.advance(now);
        for row in rows {
            let row = row.translated(symbols, &mut tally.symbols);
            tally.fold(row);
        }
        tally
    }

    /// The table that rows are made with.
    pub fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }

    /// The table that symbols are read with.
    #[must_use]
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// A machine as it is now: new or changed. Symbols that no row uses any more are dropped from
    /// time to time, so rows and names that a caller keeps are only good until the next call.
    pub fn apply(
        &mut self,
        meta: &Metadata,
        spec: &MachineSpec,
        status: &MachineStatus,
        propagated: u64,
    ) {
        let row = MachineRow::of(meta, spec, status, propagated, &mut self.symbols);
        self.fold(row);
        self.compact();
    }

    /// A machine is gone. Does nothing when it is not known.
    pub fn forget(&mut self, name: &str) {
        if let Some(name) = self.symbols.find_name(name) {
            self.remove(name);
        }
    }

    /// Counts a row made with this tally's symbols instead of the one of the same name.
    pub fn fold(&mut self, row: MachineRow) {
        let index = row.name.0 as usize;
        if index >= self.rows.len() {
            self.rows.resize(index + 1, None);
        }
        match self.rows[index].take() {
            Some((old, key)) => {
                self.count(&old, &key, Some(&row), false);
                self.count(&row, &key, Some(&old), true);
                self.rows[index] = Some((row, key));
            }
            None => {
                let key = NameKey::new(&self.prefix, row.name, &self.symbols);
                self.count(&row, &key, None, true);
                self.rows[index] = Some((row, key));
            }
        }
    }

    /// Counts a machine no longer.
    pub fn remove(&mut self, name: Name) {
        let slot = self.rows.get_mut(name.0 as usize).and_then(Option::take);
        if let Some((row, key)) = slot {
            self.count(&row, &key, None, false);
        }
    }

    /// Lets time pass: machines whose deadline is over count differently from then on. Time that
    /// goes backwards is ignored. Costs the number of deadlines passed.
    pub fn advance(&mut self, now: Timestamp) {
        let now = now.as_second();
        if now <= self.now {
            return;
        }
        let mut due = BTreeSet::new();
        while let Some((deadline, name)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            due.insert(name);
        }
        let due: Vec<_> = due
            .into_iter()
            .filter_map(|name| self.rows.get_mut(name.0 as usize)?.take())
            .collect();
        for (row, key) in &due {
            self.count(row, key, None, false);
        }
        self.now = now;
        for (row, key) in due {
            self.count(&row, &key, None, true);
            self.rows[row.name.0 as usize] = Some((row, key));
        }
    }

    /// Changes the policy of deletion; costs the number of machines when it is another one.
    pub fn set_order(&mut self, order: &MachineDeletionOrder) {
        if self.order == *order {
            return;
        }
        self.order = order.clone();
        let keys: Vec<DeletionKey> = self
            .rows
            .iter()
            .flatten()
            .map(|(row, key)| self.deletion_key(row, key))
            .collect();
        self.deletion = keys.into_iter().collect();
    }

    /// What most names begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The policy of deletion.
    #[must_use]
    pub fn order(&self) -> &MachineDeletionOrder {
        &self.order
    }

    /// The time up to which deadlines are counted.
    #[must_use]
    pub fn now(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.now).ok()
    }

    /// The row of a machine.
    #[must_use]
    pub fn row(&self, name: Name) -> Option<&MachineRow> {
        self.rows.get(name.0 as usize)?.as_ref().map(|(row, _)| row)
    }

    /// All rows by name. For snapshots and explanations: costs the number of machines.
    #[must_use]
    pub fn rows(&self) -> Vec<MachineRow> {
        let mut rows: Vec<_> = self.rows.iter().flatten().collect();
        rows.sort_by(|a, b| a.1.as_str().cmp(b.1.as_str()));
        rows.into_iter().map(|(row, _)| *row).collect()
    }

    /// The machines that go first when there are too many, in order, deleting ones included.
    pub fn deletion_candidates(&self) -> impl Iterator<Item = Name> {
        self.deletion.iter().map(|key| key.name.name)
    }

    /// The machines that are not being deleted, in the order of deletion.
    pub fn not_deleting(&self) -> impl Iterator<Item = Name> {
        let skipped = self.counts.deleting as usize;
        self.deletion.iter().skip(skipped).map(|key| key.name.name)
    }

    /// The machines to remediate that are not being deleted: asked for by somebody, then newest.
    pub fn remediation_candidates(&self) -> impl ExactSizeIterator<Item = Name> {
        self.remediation.iter().map(|key| key.name.name)
    }

    /// The machines that are healthy again and still marked for remediation, by name.
    pub fn recovered(&self) -> impl ExactSizeIterator<Item = Name> {
        self.recovered.iter().map(|key| key.name)
    }

    /// The machines that were moved here and are not yet acknowledged, by name.
    pub fn pending_acknowledge(&self) -> impl ExactSizeIterator<Item = Name> {
        self.pending_acknowledge.iter().map(|key| key.name)
    }

    /// The machines whose propagated fields are not these, grouped, by name within a group.
    pub fn to_propagate(&self, fingerprint: u64) -> impl Iterator<Item = Name> {
        self.propagated
            .iter()
            .filter(move |(found, _)| **found != fingerprint)
            .flat_map(|(_, names)| names.iter().map(|key| key.name))
    }

    /// How many machines run which version, ascending; builds that cannot be ordered by text.
    #[must_use]
    pub fn versions(&self) -> Vec<StatusVersion> {
        let counted = self
            .versions
            .iter()
            .map(|(text, count)| (self.symbols.text(*text), *count))
            .filter(|(version, _)| !version.is_empty());
        let mut versions: Vec<StatusVersion> = counted
            .map(|(version, count)| StatusVersion {
                version: version.to_owned(),
                replicas: Some(replicas(count)),
            })
            .collect();
        if versions.len() > 1 {
            versions.sort_by(|a, b| a.version.cmp(&b.version));
            versions = version::aggregate_versions(&versions);
        }
        versions
    }

    /// Whether [`versions`](Self::versions) is this list.
    #[must_use]
    pub fn versions_are(&self, list: &[StatusVersion]) -> bool {
        let mut counted = self.versions.iter();
        match (counted.next(), counted.next(), list) {
            (None, _, []) => true,
            (Some((text, count)), None, [one]) => {
                one.version == self.symbols.text(*text) && one.replicas == Some(replicas(*count))
            }
            _ => self.versions() == list,
        }
    }

    /// Adds a row to all that is counted, or takes it back. What does not differ from `other`
    /// (the row that takes its place) is left alone.
    fn count(&mut self, row: &MachineRow, key: &NameKey, other: Option<&MachineRow>, add: bool) {
        self.counts.count(row, add);
        let of_set = |row: &MachineRow| (row.set, row.is_available());
        if other.is_none_or(|other| of_set(other) != of_set(row)) {
            let counted = self.sets.entry(row.set).or_default();
            counted.count(row, add);
            if counted.replicas == 0 {
                self.sets.remove(&row.set);
            }
        }
        if other.is_none_or(|other| other.version != row.version) {
            step(&mut self.versions, row.version, add);
        }
        if other.is_none_or(|other| other.propagated != row.propagated) {
            let names = self.propagated.entry(row.propagated).or_default();
            put(names, key.clone(), add);
            if names.is_empty() {
                self.propagated.remove(&row.propagated);
            }
        }
        let deletion = self.deletion_place(row);
        if other.is_none_or(|other| self.deletion_place(other) != deletion) {
            let place = self.deletion_key(row, key);
            put(&mut self.deletion, place, add);
        }
        let control_plane = row.control_plane;
        if other.is_none_or(|o| (o.ready, o.control_plane) != (row.ready, control_plane)) {
            let absent = self.absent_ready;
            change(&mut self.ready, row.ready, key, control_plane, absent, add);
        }
        let due = self.up_to_date_counts(row);
        let same = |o: &MachineRow| {
            (o.up_to_date, o.control_plane, self.up_to_date_counts(o))
                == (row.up_to_date, control_plane, due)
        };
        if due && !other.is_some_and(same) {
            let absent = self.absent_up_to_date;
            change(
                &mut self.up_to_date,
                row.up_to_date,
                key,
                control_plane,
                absent,
                add,
            );
        }
        self.count_health(row, key, add);
        self.count_deadlines(row, key, add);
    }

    fn count_health(&mut self, row: &MachineRow, key: &NameKey, add: bool) {
        if row.is_unhealthy() {
            put(&mut self.unhealthy, key.clone(), add);
        }
        if row.needs_remediation() {
            let seen = row.owner_remediated;
            change(
                &mut self.remediating,
                seen,
                key,
                row.control_plane,
                Text::EMPTY,
                add,
            );
            if row.deleting.is_none() {
                let candidate = RemediationKey {
                    not_annotated: !row.remediate_first,
                    created: std::cmp::Reverse(row.created),
                    name: key.clone(),
                };
                put(&mut self.remediation, candidate, add);
            }
        }
        if row.health_check == Reported::True
            && row.owner_remediated.status == Reported::False
            && row.deleting.is_none()
        {
            put(&mut self.recovered, key.clone(), add);
        }
        if row.pending_acknowledge {
            put(&mut self.pending_acknowledge, key.clone(), add);
        }
    }

    fn count_deadlines(&mut self, row: &MachineRow, key: &NameKey, add: bool) {
        let deadlines = Deadlines::of(row);
        if let Some(stale) = deadlines.stale {
            if stale <= self.now {
                put(&mut self.stale, key.clone(), add);
            } else {
                put(&mut self.deadlines, (stale, row.name), add);
            }
        }
        if let Some(delayed) = deadlines.delayed {
            if delayed <= self.now {
                for count in row.delays.of(&mut self.delays) {
                    *count = if add {
                        count.saturating_add(1)
                    } else {
                        count.saturating_sub(1)
                    };
                }
            } else {
                put(&mut self.deadlines, (delayed, row.name), add);
            }
        }
        if let Some(due) = deadlines.up_to_date.filter(|due| *due > self.now) {
            put(&mut self.deadlines, (due, row.name), add);
        }
    }

    /// Only machines that report `UpToDate`, or had time to, are counted, so that the aggregate
    /// does not flicker when a machine is made.
    fn up_to_date_counts(&self, row: &MachineRow) -> bool {
        Deadlines::of(row)
            .up_to_date
            .is_none_or(|due| due <= self.now)
    }

    fn deletion_place(&self, row: &MachineRow) -> (DeletionClass, i64) {
        let class = if row.deleting.is_some() {
            DeletionClass::Deleting
        } else if row.delete_first {
            DeletionClass::Annotated
        } else if row.updating {
            DeletionClass::Updating
        } else if !row.is_healthy() {
            DeletionClass::Unhealthy
        } else {
            DeletionClass::Policy
        };
        let policy = match (class, &self.order) {
            (DeletionClass::Policy, MachineDeletionOrder::Oldest) => row.created,
            (DeletionClass::Policy, MachineDeletionOrder::Newest) => row.created.saturating_neg(),
            _ => 0,
        };
        (class, policy)
    }

    fn deletion_key(&self, row: &MachineRow, key: &NameKey) -> DeletionKey {
        let (class, policy) = self.deletion_place(row);
        DeletionKey {
            class,
            policy,
            name: key.clone(),
        }
    }

    /// Drops symbols that no row uses, when they have become the most of them.
    fn compact(&mut self) {
        let live = self.counts.replicas as usize * 4 + 256;
        if self.symbols.len() <= live * 2 {
            return;
        }
        let rows = self.rows();
        let mut fresh = Self::new(&self.prefix, self.order.clone());
        fresh.now = self.now;
        for row in rows {
            let row = row.translated(&self.symbols, &mut fresh.symbols);
            fresh.fold(row);
        }
        *self = fresh;
    }

    fn by_set(&self) -> BTreeMap<&str, OfSet> {
        let sets = self.sets.iter();
        sets.map(|(set, counted)| (self.symbols.text(*set), *counted))
            .collect()
    }

    /// Everything that is counted, in words and in an order that does not depend on history.
    /// Two tallies with the same description plan the same. Costs the number of machines.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let name = |key: &NameKey| key.as_str().to_owned();
        let join = |keys: &BTreeSet<NameKey>| keys.iter().map(name).collect::<Vec<_>>().join(",");
        let mut lines = vec![
            format!("{:?}", self.counts),
            format!("{:?}", self.by_set()),
            format!("{:?}", self.versions()),
            format!(
                "deletion {:?}",
                self.deletion
                    .iter()
                    .map(|k| name(&k.name))
                    .collect::<Vec<_>>()
            ),
            format!(
                "remediation {:?}",
                self.remediation
                    .iter()
                    .map(|k| name(&k.name))
                    .collect::<Vec<_>>()
            ),
            format!("recovered {}", join(&self.recovered)),
            format!("pending {}", join(&self.pending_acknowledge)),
            format!("unhealthy {}", join(&self.unhealthy)),
            format!("stale {} {:?}", join(&self.stale), self.delays),
        ];
        for (fingerprint, names) in &self.propagated {
            lines.push(format!("propagated {fingerprint:x} {}", join(names)));
        }
        let mut deadlines: Vec<_> = self
            .deadlines
            .iter()
            .map(|(at, n)| (*at, self.symbols.name(*n)))
            .collect();
        deadlines.sort_unstable();
        lines.push(format!("deadlines {deadlines:?}"));
        for aggregate in [&self.ready, &self.up_to_date, &self.remediating] {
            lines.extend(aggregate.describe(&self.symbols));
        }
        lines
    }
}

impl Census for Tally {
    fn counts(&self) -> Counts {
        self.counts
    }

    fn of_set(&self, set: &str) -> Option<OfSet> {
        self.sets.get(&self.symbols.find(set)?).copied()
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let (deadline, _) = self.deadlines.first()?;
        Timestamp::from_second(*deadline).ok()
    }

    fn machines_ready(&self, target: &'static str) -> Wanted {
        self.ready
            .condition(target, census::READY, &self.symbols)
            .unwrap_or_else(|| Wanted::is_true(target, "NoReplicas"))
    }

    fn machines_up_to_date(&self, target: &'static str) -> Wanted {
        self.up_to_date
            .condition(target, census::UP_TO_DATE, &self.symbols)
            .unwrap_or_else(|| Wanted::is_true(target, "NoReplicas"))
    }

    fn remediating(&self, target: &'static str, by: &str) -> Wanted {
        let told = (self.remediating.len() > 0).then(|| self.remediating.message(&self.symbols));
        let unhealthy = self.unhealthy.iter().map(NameKey::as_str);
        census::remediating(target, by, told, unhealthy, self.unhealthy.len())
    }

    fn rolling_out(&self) -> (u32, Vec<&str>) {
        let messages = self.up_to_date.issue_messages();
        let reasons = census::reasons(messages.map(|message| self.symbols.text(message)));
        (self.up_to_date.issues(), reasons)
    }

    fn stale(&self) -> Option<String> {
        let names = self.stale.iter().map(NameKey::as_str);
        census::stale(names, self.stale.len(), self.delays)
    }

    fn moved_to(&self, set: &str) -> Vec<&str> {
        let moved = self.pending_acknowledge();
        moved
            .filter(|name| {
                self.row(*name)
                    .is_some_and(|row| self.symbols.text(row.set) == set)
            })
            .map(|name| self.symbols.name(name))
            .collect()
    }
}

fn change(
    aggregate: &mut Aggregate,
    seen: Observed,
    key: &NameKey,
    control_plane: bool,
    absent: Text,
    add: bool,
) {
    if add {
        aggregate.add(seen, key, control_plane, absent);
    } else {
        aggregate.remove(seen, key, control_plane, absent);
    }
}

fn put<T: Ord>(set: &mut BTreeSet<T>, value: T, add: bool) {
    if add {
        set.insert(value);
    } else {
        set.remove(&value);
    }
}

fn step(counts: &mut BTreeMap<Text, u32>, text: Text, add: bool) {
    let count = counts.entry(text).or_default();
    *count = if add {
        count.saturating_add(1)
    } else {
        count.saturating_sub(1)
    };
    if *count == 0 {
        counts.remove(&text);
    }
}

/// A count as the wire has it.
pub(super) fn replicas(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
