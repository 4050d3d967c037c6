//! Several conditions into one: the summary of one object's conditions, the aggregate of one
//! condition over many objects.

use std::{borrow::Cow, collections::BTreeMap};

use super::{NOT_YET_REPORTED, Wanted};
use crate::{
    api::{Condition, ConditionStatus, Time},
    contract::pluralize,
};

/// How much a condition matters in a merge; the most serious decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MergePriority {
    /// Something is wrong: False, or True for a type of negative polarity.
    Issue,
    /// Nobody knows.
    Unknown,
    /// As it should be.
    Info,
}

/// The priority of a condition by its status and polarity.
#[must_use]
pub fn default_priority(condition: &Condition, negative_polarity: &[&str]) -> MergePriority {
    let negative = negative_polarity.contains(&condition.type_.as_str());
    match condition.status {
        ConditionStatus::True if negative => MergePriority::Issue,
        ConditionStatus::True => MergePriority::Info,
        ConditionStatus::False if negative => MergePriority::Info,
        ConditionStatus::False => MergePriority::Issue,
        ConditionStatus::Unknown => MergePriority::Unknown,
    }
}

/// The reasons a merged condition can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reasons {
    /// When there is an issue.
    pub issue: &'static str,
    /// When there is no issue but something unknown.
    pub unknown: &'static str,
    /// When all is as it should be.
    pub info: &'static str,
}

impl Default for Reasons {
    fn default() -> Self {
        Self {
            issue: "IssuesReported",
            unknown: "UnknownReported",
            info: "InfoReported",
        }
    }
}

/// Gives some conditions another priority than the default.
pub type PriorityOverride<'a> = dyn Fn(&Condition) -> Option<MergePriority> + 'a;

/// How conditions are weighed and worded.
#[derive(Default)]
pub struct MergeStrategy<'a> {
    /// Source types for which True is bad.
    pub negative_polarity: &'a [&'a str],
    /// Whether True is bad for the merged condition too.
    pub negative_target: bool,
    /// Reasons of the merged condition.
    pub reasons: Reasons,
    /// Overrides the priority of some conditions; `None` from it is the default.
    pub priority: Option<&'a PriorityOverride<'a>>,
    /// Last word on the lines of a summary.
    pub transform: Option<fn(Vec<String>) -> Vec<String>>,
}

impl MergeStrategy<'_> {
    fn priority(&self, condition: &Condition) -> MergePriority {
        self.priority
            .and_then(|f| f(condition))
            .unwrap_or_else(|| default_priority(condition, self.negative_polarity))
    }

    fn status_and_reason(&self, worst: MergePriority) -> (ConditionStatus, &'static str) {
        match (worst, self.negative_target) {
            (MergePriority::Issue, false) => (ConditionStatus::False, self.reasons.issue),
            (MergePriority::Issue, true) => (ConditionStatus::True, self.reasons.issue),
            (MergePriority::Unknown, _) => (ConditionStatus::Unknown, self.reasons.unknown),
            (MergePriority::Info, false) => (ConditionStatus::True, self.reasons.info),
            (MergePriority::Info, true) => (ConditionStatus::False, self.reasons.info),
        }
    }
}

/// Whose condition it is, as messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Kind of the object.
    pub kind: &'a str,
    /// Name of the object.
    pub name: &'a str,
    /// Machines of the control plane are named first.
    pub control_plane_machine: bool,
}

/// An object with the conditions it reports.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// Whose conditions.
    pub owner: Owner<'a>,
    /// The conditions.
    pub conditions: &'a [Condition],
}

/// One condition that sums up several conditions of the same object.
pub struct Summary<'a> {
    /// Type of the result.
    pub target: &'static str,
    /// The types that matter, in order of relevance.
    pub types: &'a [&'a str],
    /// Types that may be missing; others that are missing count as unknown.
    pub ignore_if_missing: &'a [&'a str],
    /// Conditions to read instead of those of the same type in the object.
    pub overrides: &'a [Condition],
    /// Weights and words.
    pub strategy: MergeStrategy<'a>,
}

impl Summary<'_> {
    /// Sums up. `None` when there is nothing to sum up.
    #[must_use]
    pub fn of(&self, conditions: &[Condition]) -> Option<Wanted> {
        let mut in_scope: Vec<(usize, Cow<'_, Condition>)> = Vec::with_capacity(self.types.len());
        for (index, type_) in self.types.iter().enumerate() {
            if self.types[index + 1..].contains(type_) {
                continue; // a type named twice takes its last place
            }
            let found = conditions.iter().find(|c| c.type_ == *type_);
            let condition = match found {
                Some(found) => Cow::Borrowed(
                    self.overrides
                        .iter()
                        .find(|o| o.type_ == *type_)
                        .unwrap_or(found),
                ),
                None if self.ignore_if_missing.contains(type_) => continue,
                None => Cow::Owned(missing(type_, "Condition not yet reported".to_owned())),
            };
            in_scope.push((index, condition));
        }
        let worst = in_scope
            .iter()
            .map(|(_, c)| self.strategy.priority(c))
            .min()?;
        let (status, reason) = self.strategy.status_and_reason(worst);

        let mut lines = Vec::new();
        for (_, condition) in &in_scope {
            if self.strategy.priority(condition) == MergePriority::Info
                && (status != ConditionStatus::True || condition.message.is_empty())
            {
                continue;
            }
            let text = if condition.message.is_empty() {
                format!(" {}", condition.reason)
            } else {
                indent(&condition.message)
            };
            lines.push(format!("* {}:{text}", condition.type_));
        }
        if let Some(transform) = self.strategy.transform {
            lines = transform(lines);
        }
        Some(Wanted::new(self.target, status, reason).message(lines.join("\n")))
    }
}

/// One condition that aggregates the same condition of many objects.
pub struct Aggregate<'a> {
    /// Type that is read.
    pub source: &'a str,
    /// Type of the result.
    pub target: &'static str,
    /// Weights and words.
    pub strategy: MergeStrategy<'a>,
}

/// Messages shown at most, and objects named at most in each.
const SHOWN: usize = 3;

impl Aggregate<'_> {
    /// Aggregates. Objects without the condition count as unknown; `None` when there are no
    /// objects. Objects are named in order of transition time, then as given.
    #[must_use]
    pub fn of<'b>(&self, objects: impl IntoIterator<Item = Reported<'b>>) -> Option<Wanted> {
        let mut all: Vec<(Owner<'b>, Cow<'b, Condition>)> = objects
            .into_iter()
            .map(|object| {
                let found = object.conditions.iter().find(|c| c.type_ == self.source);
                let condition = found.map_or_else(
                    || {
                        Cow::Owned(missing(
                            self.source,
                            format!("Condition {} not yet reported", self.source),
                        ))
                    },
                    Cow::Borrowed,
                );
                (object.owner, condition)
            })
            .collect();
        all.sort_by_key(|(_, c)| c.last_transition_time);

        let worst = all.iter().map(|(_, c)| self.strategy.priority(c)).min()?;
        let (status, reason) = self.strategy.status_and_reason(worst);
        let shown = all
            .iter()
            .map(|(owner, c)| (owner, c, self.strategy.priority(c)))
            .filter(|(_, c, priority)| match worst {
                MergePriority::Info => !c.message.is_empty(),
                _ => *priority != MergePriority::Info,
            });
        // Issues are looked at before unknowns, each in order of time.
        let mut shown: Vec<_> = shown.collect();
        shown.sort_by_key(|(_, _, priority)| *priority);
        let message = messages(&shown).join("\n");
        Some(Wanted::new(self.target, status, reason).message(message))
    }
}

/// One message and who reports it.
struct Group<'a> {
    message: &'a str,
    names: Vec<&'a str>,
}

/// What is known of a message over all kinds.
#[derive(Clone, Copy)]
struct Weight {
    priority: MergePriority,
    first: bool,
}

fn messages(shown: &[(&Owner<'_>, &Cow<'_, Condition>, MergePriority)]) -> Vec<String> {
    let mut kinds: BTreeMap<&str, Vec<Group<'_>>> = BTreeMap::new();
    let mut weights: BTreeMap<&str, Weight> = BTreeMap::new();
    let mut control_plane: Vec<&str> = Vec::new();
    for (owner, condition, priority) in shown {
        let message = condition.message.as_str();
        let groups = kinds.entry(owner.kind).or_default();
        match groups.iter_mut().find(|g| g.message == message) {
            Some(group) => group.names.push(owner.name),
            None => groups.push(Group {
                message,
                names: vec![owner.name],
            }),
        }
        if owner.control_plane_machine {
            control_plane.push(owner.name);
        }
        let weight = weights.entry(message).or_insert(Weight {
            priority: *priority,
            first: false,
        });
        weight.priority = weight.priority.min(*priority);
        weight.first |= owner.control_plane_machine;
    }

    let mut left = SHOWN;
    let mut lines = Vec::new();
    for (kind, mut groups) in kinds {
        let plural = pluralize(kind);
        groups.sort_by(|a, b| {
            let (wa, wb) = (weights[a.message], weights[b.message]);
            wb.first
                .cmp(&wa.first)
                .then(wa.priority.cmp(&wb.priority))
                .then(b.names.len().cmp(&a.names.len()))
                .then_with(|| a.names.join(",").cmp(&b.names.join(",")))
        });
        let mut others = [0_usize; 3];
        for mut group in groups {
            if left == 0 {
                others[weights[group.message].priority as usize] += group.names.len();
                continue;
            }
            left -= 1;
            group
                .names
                .sort_by_key(|name| (!control_plane.contains(name), *name));
            let head = match group.names.as_slice() {
                [one] => format!("* {kind} {one}:"),
                few if few.len() <= SHOWN => format!("* {plural} {}:", few.join(", ")),
                many => format!(
                    "* {plural} {}, ... ({} more):",
                    many[..SHOWN].join(", "),
                    many.len() - SHOWN
                ),
            };
            lines.push(format!("{head}{}", indent(group.message)));
        }
        let words = [
            "with other issues",
            "with status unknown",
            "with additional info",
        ];
        for (count, words) in others.into_iter().zip(words) {
            match count {
                0 => {}
                1 => lines.push(format!("And 1 {kind} {words}")),
                n => lines.push(format!("And {n} {plural} {words}")),
            }
        }
    }
    lines
}

fn missing(type_: &str, message: String) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: ConditionStatus::Unknown,
        observed_generation: None,
        last_transition_time: Time::default(),
        reason: NOT_YET_REPORTED.to_owned(),
        message,
    }
}

/// Whether a line holds a bullet anywhere, as upstream's expression does.
fn has_bullet(line: &str) -> bool {
    line.as_bytes()
        .windows(2)
        .any(|pair| pair[0] == b'*' && matches!(pair[1], b' ' | b'\t' | b'\n' | b'\r' | b'\x0c'))
}

/// The message behind a colon: on the same line, or, when it has several lines or bullets,
/// indented below.
pub(in crate::plan) fn indent(message: &str) -> String {
    if !message.contains('\n') && !has_bullet(message) {
        return format!(" {message}");
    }
    let some_without = message.split('\n').any(|line| !has_bullet(line));
    let lines: Vec<String> = message
        .split('\n')
        .map(|line| match (some_without, has_bullet(line)) {
            (false, _) => format!("  {line}"),
            (true, true) => format!("    {line}"),
            (true, false) => format!("  * {line}"),
        })
        .collect();
    format!("\n{}", lines.join("\n"))
}
