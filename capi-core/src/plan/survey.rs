//! Many machines, counted in one pass over their rows, for a decision that is made once.
//!
//! Decides nothing: it says what a [`Tally`](super::tally::Tally) of the same rows at the same time
//! says (a property test holds them together), but keeps only what a rollout asks for. A controller
//! keeps a tally by events; a command that explains, a recorded decision, or an operator that plans
//! now and then surveys its rows.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;

use super::{
    aggregate::{GroupKey, Others, SHOWN, Shown, Totals, Weight, list_names, say, weight},
    census::{self, Census, Counts, Deadlines, OfSet},
    condition::Wanted,
    row::{Delays, MachineRow, Observed, Reported, Symbols, Text},
};

/// The least few of many, and how many there are.
#[derive(Clone, Debug)]
struct Least<T> {
    /// Ascending.
    least: [Option<T>; SHOWN],
    count: usize,
}

impl<T> Default for Least<T> {
    fn default() -> Self {
        Self {
            least: [const { None }; SHOWN],
            count: 0,
        }
    }
}

impl<T: Ord> Least<T> {
    fn add(&mut self, value: T) {
        self.count += 1;
        let last = self.least.len() - 1;
        if self.least[last].as_ref().is_some_and(|last| *last <= value) {
            return;
        }
        let place = self
            .least
            .iter()
            .position(|found| found.as_ref().is_none_or(|found| value < *found))
            .unwrap_or(last);
        self.least[place..].rotate_right(1);
        self.least[place] = Some(value);
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.least.iter().flatten()
    }
}

/// The machines that say one message.
#[derive(Clone, Debug, Default)]
struct Group<'a> {
    issues: u32,
    control_plane: Least<&'a str>,
    others: Least<&'a str>,
}

impl<'a> Group<'a> {
    fn count(&self) -> usize {
        self.control_plane.count + self.others.count
    }

    fn names(&self) -> impl Iterator<Item = &'a str> {
        let (first, then) = (self.control_plane.iter(), self.others.iter());
        first.chain(then).copied()
    }

    /// Its place in the order in which messages are shown.
    fn rank(&self) -> (bool, bool, Reverse<usize>, Option<&'a str>) {
        (
            self.control_plane.count == 0,
            self.issues == 0,
            Reverse(self.count()),
            self.names().min(),
        )
    }
}

/// One condition of many machines.
#[derive(Clone, Debug)]
struct Condition<'a> {
    /// What a machine says that does not report the condition.
    absent: Text,
    absent_text: &'static str,
    totals: Totals,
    groups: Vec<(GroupKey, Group<'a>)>,
    places: BTreeMap<GroupKey, usize>,
}

impl<'a> Condition<'a> {
    fn new(absent: &'static str, symbols: &Symbols) -> Self {
        Self {
            absent: symbols.find(absent).unwrap_or(Text::NONE),
            absent_text: absent,
            totals: Totals::default(),
            groups: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    fn add(&mut self, seen: Observed, row: &MachineRow, symbols: &'a Symbols) {
        let weight = weight(seen.status);
        *self.totals.of(weight) += 1;
        let key = GroupKey {
            info: weight == Weight::Info,
            message: match seen.status {
                Reported::Absent => self.absent,
                _ => seen.message,
            },
        };
        if key.info && key.message == Text::EMPTY {
            return; // never shown
        }
        let group = self.group(key);
        group.issues += u32::from(weight == Weight::Issue);
        let names = if row.control_plane {
            &mut group.control_plane
        } else {
            &mut group.others
        };
        names.add(symbols.name(row.name));
    }

    /// The group of a message. Most machines say what the one before said.
    fn group(&mut self, key: GroupKey) -> &mut Group<'a> {
        let near = self.groups.len().min(4);
        let place = match self.groups[..near].iter().position(|(k, _)| *k == key) {
            Some(place) => place,
            None => *self.places.entry(key).or_insert_with(|| {
                self.groups.push((key, Group::default()));
                self.groups.len() - 1
            }),
        };
        &mut self.groups[place].1
    }

    fn text(&self, message: Text, symbols: &'a Symbols) -> &'a str {
        if message == self.absent {
            self.absent_text
        } else {
            symbols.text(message)
        }
    }

    fn message(&self, symbols: &'a Symbols) -> String {
        let info = self.totals.all_is_well();
        let mut others = Others::default();
        let mut first = Least::default();
        for (place, (key, group)) in self.groups.iter().enumerate() {
            *others.of(key.info, group.issues == 0) += group.count();
            if key.info == info {
                first.add((group.rank(), place));
            }
        }
        let shown: Vec<Shown<'_>> = first
            .iter()
            .map(|(_, place)| {
                let (key, group) = &self.groups[*place];
                *others.of(key.info, group.issues == 0) -= group.count();
                Shown {
                    names: list_names(group.names(), group.count()),
                    count: group.count(),
                    message: self.text(key.message, symbols),
                }
            })
            .collect();
        say(info, shown.into_iter(), others)
    }
}

/// What many machines have in common at a time, of rows that are not changed meanwhile.
#[derive(Clone, Debug)]
pub struct Survey<'a> {
    symbols: &'a Symbols,
    counts: Counts,
    sets: BTreeMap<Text, OfSet>,
    /// The set of the last rows: most machines are of the set of the one before.
    last: (Text, OfSet),
    ready: Condition<'a>,
    up_to_date: Condition<'a>,
    remediating: Condition<'a>,
    unhealthy: Least<&'a str>,
    stale: Least<&'a str>,
    delays: [u32; Delays::CAUSES.len()],
    moved: Vec<(Text, &'a str)>,
    deadline: Option<i64>,
}

impl<'a> Survey<'a> {
    /// Counts `rows`, which name each machine once and were made with `symbols`, at `now`. Costs
    /// some nanoseconds a row.
    #[must_use]
    pub fn of(
        symbols: &'a Symbols,
        rows: impl IntoIterator<Item = &'a MachineRow>,
        now: Timestamp,
    ) -> Self {
        let mut survey = Self {
            symbols,
            counts: Counts::default(),
            sets: BTreeMap::new(),
            last: (Text::EMPTY, OfSet::default()),
            ready: Condition::new(census::ABSENT_READY, symbols),
            up_to_date: Condition::new(census::ABSENT_UP_TO_DATE, symbols),
            remediating: Condition::new("", symbols),
            unhealthy: Least::default(),
            stale: Least::default(),
            delays: [0; Delays::CAUSES.len()],
            moved: Vec::new(),
            deadline: None,
        };
        let now = now.as_second();
        for row in rows {
            survey.count(row, now);
        }
        survey.change_set(Text::EMPTY);
        survey.moved.sort_unstable_by_key(|(_, name)| *name);
        survey
    }

    fn count(&mut self, row: &MachineRow, now: i64) {
        let symbols = self.symbols;
        self.counts.count(row, true);
        if row.set != self.last.0 {
            self.change_set(row.set);
        }
        self.last.1.count(row, true);
        self.ready.add(row.ready, row, symbols);
        let deadlines = Deadlines::of(row);
        if !self.awaits(deadlines.up_to_date, now) {
            self.up_to_date.add(row.up_to_date, row, symbols);
        }
        if row.is_unhealthy() {
            self.unhealthy.add(symbols.name(row.name));
            if row.needs_remediation() {
                self.remediating.add(row.owner_remediated, row, symbols);
            }
        }
        if row.pending_acknowledge {
            self.moved.push((row.set, symbols.name(row.name)));
        }
        if deadlines.stale.is_some() && !self.awaits(deadlines.stale, now) {
            self.stale.add(symbols.name(row.name));
        }
        if deadlines.delayed.is_some() && !self.awaits(deadlines.delayed, now) {
            for count in row.delays.of(&mut self.delays) {
                *count += 1;
            }
        }
    }

    fn change_set(&mut self, set: Text) {
        let (last, counted) = self.last;
        if counted != OfSet::default() {
            self.sets.insert(last, counted);
        }
        self.last = (set, self.sets.get(&set).copied().unwrap_or_default());
    }

    /// Whether a deadline lies ahead, which is then to be looked at.
    fn awaits(&mut self, deadline: Option<i64>, now: i64) -> bool {
        let ahead = deadline.filter(|deadline| *deadline > now);
        if let Some(deadline) = ahead {
            self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
        }
        ahead.is_some()
    }
}

impl Census for Survey<'_> {
    fn counts(&self) -> Counts {
        self.counts
    }

    fn of_set(&self, set: &str) -> Option<OfSet> {
        self.sets.get(&self.symbols.find(set)?).copied()
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.deadline?).ok()
    }

    fn machines_ready(&self, target: &'static str) -> Wanted {
        let message = || self.ready.message(self.symbols);
        self.ready
            .totals
            .condition(target, census::READY, message)
            .unwrap_or_else(|| Wanted::is_true(target, "NoReplicas"))
    }

    fn machines_up_to_date(&self, target: &'static str) -> Wanted {
        let message = || self.up_to_date.message(self.symbols);
        self.up_to_date
            .totals
            .condition(target, census::UP_TO_DATE, message)
            .unwrap_or_else(|| Wanted::is_true(target, "NoReplicas"))
    }

    fn remediating(&self, target: &'static str, by: &str) -> Wanted {
        let some = self.remediating.totals.len() > 0;
        let told = some.then(|| self.remediating.message(self.symbols));
        let (names, count) = (self.unhealthy.iter().copied(), self.unhealthy.count);
        census::remediating(target, by, told, names, count)
    }

    fn rolling_out(&self) -> (u32, Vec<&str>) {
        let issues = self.up_to_date.groups.iter();
        let messages = issues
            .filter(|(_, group)| group.issues > 0)
            .map(|(key, _)| self.up_to_date.text(key.message, self.symbols));
        (self.up_to_date.totals.issues, census::reasons(messages))
    }

    fn stale(&self) -> Option<String> {
        census::stale(self.stale.iter().copied(), self.stale.count, self.delays)
    }

    fn moved_to(&self, set: &str) -> Vec<&str> {
        self.moved
            .iter()
            .filter(|(found, _)| self.symbols.text(*found) == set)
            .map(|(_, name)| *name)
            .collect()
    }
}
