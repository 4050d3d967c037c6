//! One condition of many machines, kept by events: who reports which message, in the order in
//! which messages are shown.
//!
//! Decides what [`condition::Aggregate`](super::condition::Aggregate) decides over a list, at the
//! cost of the groups shown, however many machines there are.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use super::{
    condition::{Reasons, Wanted, indent},
    row::{Name, Observed, Reported, Symbols, Text},
};
use crate::api::ConditionStatus;

/// Messages shown at most, and machines named at most in each.
pub(super) const SHOWN: usize = 3;

/// A name in the order of names, by its first bytes after the prefix that most names share; the
/// whole name is only looked at when those are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameKey {
    order: u64,
    text: Arc<str>,
    pub(super) name: Name,
}

impl NameKey {
    pub(super) fn new(prefix: &str, name: Name, symbols: &Symbols) -> Self {
        let text = symbols.shared(name);
        Self {
            order: order(prefix, &text),
            text,
            name,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl Ord for NameKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order
            .cmp(&other.order)
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for NameKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Names with the prefix are one run in the order of names: what sorts before it gets 0, what
/// sorts behind it 2, and within it seven bytes follow.
fn order(prefix: &str, name: &str) -> u64 {
    let (class, rest) = match name.strip_prefix(prefix) {
        Some(rest) => (1, rest),
        None if name < prefix => (0, name),
        None => (2, name),
    };
    let mut key = [class, 0, 0, 0, 0, 0, 0, 0];
    let len = rest.len().min(7);
    key[1..=len].copy_from_slice(&rest.as_bytes()[..len]);
    u64::from_be_bytes(key)
}

/// The names of some machines, shortened as messages show them: `a, b, c, ... (2 more)`.
pub(super) fn list_names<'a>(names: impl Iterator<Item = &'a str>, count: usize) -> String {
    let more = count.saturating_sub(SHOWN);
    let mut text = String::new();
    for (index, name) in names.take(SHOWN).enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    if more > 0 {
        text.push_str(&format!(", ... ({more} more)"));
    }
    text
}

/// What a condition says, as far as merging is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    Issue,
    Unknown,
    Info,
}

pub(super) fn weight(status: Reported) -> Weight {
    match status {
        Reported::False => Weight::Issue,
        Reported::Unknown | Reported::Absent => Weight::Unknown,
        Reported::True => Weight::Info,
    }
}

/// Good news and bad news with the same words are different messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupKey {
    pub(super) info: bool,
    pub(super) message: Text,
}

#[derive(Clone, Debug, Default)]
struct Group {
    issues: u32,
    /// Machines of the control plane, which are named first.
    control_plane: BTreeSet<NameKey>,
    others: BTreeSet<NameKey>,
}

/// The order in which messages are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    info: bool,
    not_control_plane: bool,
    no_issue: bool,
    count: Reverse<usize>,
    first: NameKey,
    message: Text,
}

impl Group {
    fn len(&self) -> usize {
        self.control_plane.len() + self.others.len()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.control_plane
            .iter()
            .chain(&self.others)
            .map(NameKey::as_str)
    }

    fn rank(&self, key: GroupKey) -> Option<Rank> {
        let firsts = [self.control_plane.first(), self.others.first()];
        Some(Rank {
            info: key.info,
            not_control_plane: self.control_plane.is_empty(),
            no_issue: self.issues == 0,
            count: Reverse(self.len()),
            first: firsts.into_iter().flatten().min()?.clone(),
            message: key.message,
        })
    }
}

/// Machines by what their condition says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) issues: u32,
    pub(super) unknown: u32,
    pub(super) info: u32,
}

impl Totals {
    pub(super) fn len(self) -> u32 {
        self.issues + self.unknown + self.info
    }

    pub(super) fn of(&mut self, weight: Weight) -> &mut u32 {
        match weight {
            Weight::Issue => &mut self.issues,
            Weight::Unknown => &mut self.unknown,
            Weight::Info => &mut self.info,
        }
    }

    /// Whether only good news are told, since there are no others.
    pub(super) fn all_is_well(self) -> bool {
        self.issues == 0 && self.unknown == 0
    }

    /// The condition that stands for all, with what `message` says; `None` for no machines.
    pub(super) fn condition(
        self,
        target: &'static str,
        reasons: Reasons,
        message: impl FnOnce() -> String,
    ) -> Option<Wanted> {
        let (status, reason) = if self.issues > 0 {
            (ConditionStatus::False, reasons.issue)
        } else if self.unknown > 0 {
            (ConditionStatus::Unknown, reasons.unknown)
        } else if self.info > 0 {
            (ConditionStatus::True, reasons.info)
        } else {
            return None;
        };
        Some(Wanted::new(target, status, reason).message(message()))
    }
}

/// A message that is shown: the machines that say it, and their number.
pub(super) struct Shown<'a> {
    pub(super) names: String,
    pub(super) count: usize,
    pub(super) message: &'a str,
}

/// The text of an aggregate: messages, most serious first, and how many machines say others.
pub(super) fn say<'a>(
    all_is_well: bool,
    shown: impl Iterator<Item = Shown<'a>>,
    others: Others,
) -> String {
    let mut text = String::with_capacity(128);
    let mut line = |parts: [&str; 5]| {
        if !text.is_empty() {
            text.push('\n');
        }
        parts.iter().for_each(|part| text.push_str(part));
    };
    for shown in shown {
        let machines = if shown.count == 1 {
            "* Machine "
        } else {
            "* Machines "
        };
        line([machines, &shown.names, ":", &indent(shown.message), ""]);
    }
    let rest = match all_is_well {
        true => [(others.info, " with additional info"), (0, "")],
        false => [
            (others.issues, " with other issues"),
            (others.unknown, " with status unknown"),
        ],
    };
    for (count, words) in rest {
        match count {
            0 => {}
            1 => line(["And 1 Machine", words, "", "", ""]),
            n => line(["And ", &n.to_string(), " Machines", words, ""]),
        }
    }
    text
}

/// The same condition of many machines.
#[derive(Clone, Debug, Default)]
pub(super) struct Aggregate {
    totals: Totals,
    groups: BTreeMap<GroupKey, Group>,
    ranked: BTreeSet<Rank>,
    /// Machines of the ranked groups, by what their group counts as.
    grouped: Others,
    /// What [`message`](Self::message) says, as long as nothing changes.
    said: OnceLock<String>,
}

/// Machines by what their message counts as.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Others {
    issues: usize,
    unknown: usize,
    info: usize,
}

impl Others {
    pub(super) fn of(&mut self, info: bool, no_issue: bool) -> &mut usize {
        match (info, no_issue) {
            (true, _) => &mut self.info,
            (false, false) => &mut self.issues,
            (false, true) => &mut self.unknown,
        }
    }
}

impl Aggregate {
    /// Machines that are counted.
    pub(super) fn len(&self) -> u32 {
        self.totals.len()
    }

    /// Machines for which the condition does not hold.
    pub(super) fn issues(&self) -> u32 {
        self.totals.issues
    }

    /// The messages of machines for which the condition does not hold, in no order that matters.
    pub(super) fn issue_messages(&self) -> impl Iterator<Item = Text> {
        let groups = self.groups.iter();
        groups
            .filter(|(_, group)| group.issues > 0)
            .map(|(key, _)| key.message)
    }

    /// Counts one machine. `absent` is the message of one that does not report the condition.
    pub(super) fn add(
        &mut self,
        seen: Observed,
        name: &NameKey,
        control_plane: bool,
        absent: Text,
    ) {
        self.change(seen, name, control_plane, absent, true);
    }

    /// Takes back what [`add`](Self::add) counted with the same arguments.
    pub(super) fn remove(
        &mut self,
        seen: Observed,
        name: &NameKey,
        control_plane: bool,
        absent: Text,
    ) {
        self.change(seen, name, control_plane, absent, false);
    }

    fn change(
        &mut self,
        seen: Observed,
        name: &NameKey,
        control_plane: bool,
        absent: Text,
        add: bool,
    ) {
        let weight = weight(seen.status);
        if weight != Weight::Info {
            self.said.take(); // good news are only told without bad ones
        }
        let step = |count: &mut u32| {
            *count = if add {
                count.saturating_add(1)
            } else {
                count.saturating_sub(1)
            };
        };
        step(self.totals.of(weight));
        let message = if seen.status == Reported::Absent {
            absent
        } else {
            seen.message
        };
        let key = GroupKey {
            info: weight == Weight::Info,
            message,
        };
        if key.info && message == Text::EMPTY {
            return; // never shown
        }
        self.said.take();
        let group = self.groups.entry(key).or_default();
        if let Some(rank) = group.rank(key) {
            *self.grouped.of(rank.info, rank.no_issue) -= rank.count.0;
            self.ranked.remove(&rank);
        }
        if weight == Weight::Issue {
            step(&mut group.issues);
        }
        let names = if control_plane {
            &mut group.control_plane
        } else {
            &mut group.others
        };
        if add {
            names.insert(name.clone());
        } else {
            names.remove(name);
        }
        match group.rank(key) {
            Some(rank) => {
                *self.grouped.of(rank.info, rank.no_issue) += rank.count.0;
                self.ranked.insert(rank);
            }
            None => {
                self.groups.remove(&key);
            }
        }
    }

    /// The condition that stands for all of them; `None` when there are no machines.
    pub(super) fn condition(
        &self,
        target: &'static str,
        reasons: Reasons,
        symbols: &Symbols,
    ) -> Option<Wanted> {
        self.totals
            .condition(target, reasons, || self.message(symbols))
    }

    /// The messages shown, most serious first.
    pub(super) fn message(&self, symbols: &Symbols) -> String {
        self.said.get_or_init(|| self.say(symbols)).clone()
    }

    fn say(&self, symbols: &Symbols) -> String {
        let info = self.totals.all_is_well();
        let mut others = self.grouped;
        let mut shown = Vec::with_capacity(SHOWN);
        let ranks = self.ranked.iter().filter(|rank| rank.info == info);
        for rank in ranks.take(SHOWN) {
            *others.of(rank.info, rank.no_issue) -= rank.count.0;
            let key = GroupKey {
                info: rank.info,
                message: rank.message,
            };
            shown.extend(self.groups.get(&key).map(|group| Shown {
                names: list_names(group.names(), group.len()),
                count: group.len(),
                message: symbols.text(rank.message),
            }));
        }
        say(info, shown.into_iter(), others)
    }

    /// Everything, in words, in an order that does not depend on history.
    pub(super) fn describe(&self, symbols: &Symbols) -> Vec<String> {
        let mut lines = vec![format!("{:?}", self.totals)];
        let mut groups: Vec<String> = self
            .groups
            .iter()
            .map(|(key, group)| {
                let names: Vec<&str> = group.names().collect();
                format!(
                    "{}{:?} issues {} control plane {}: {}",
                    if key.info { "info " } else { "" },
                    symbols.text(key.message),
                    group.issues,
                    group.control_plane.len(),
                    names.join(",")
                )
            })
            .collect();
        groups.sort();
        lines.append(&mut groups);
        lines.extend(self.ranked.iter().map(|rank| {
            format!(
                "{} x {} first {}",
                rank.count.0,
                symbols.text(rank.message),
                rank.first.as_str()
            )
        }));
        lines
    }
}
