//! Conditions in the form of v1beta1, which providers and tools of that contract still read
//! through the older API version: `status.deprecated.v1beta1.conditions`.
//!
//! Decides how they are set, mirrored and summed up, as upstream's deprecated engine does.

use std::cmp::Ordering;

use jiff::Timestamp;

use crate::{
    api::{Time, V1Beta1Condition},
    contract::Field,
};

const READY: &str = "Ready";

/// The conditions of one object while its planner works on them.
#[derive(Clone, Debug)]
pub(super) struct LegacyConditions {
    list: Vec<V1Beta1Condition>,
    now: Timestamp,
}

/// How serious a condition that is False is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    Warning,
    Info,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Info => "Info",
        }
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// A condition that is True: no reason, no message.
pub(super) fn is_true(type_: &str) -> V1Beta1Condition {
    V1Beta1Condition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        ..V1Beta1Condition::default()
    }
}

/// A condition that is False.
pub(super) fn is_false(
    type_: &str,
    severity: Severity,
    reason: &str,
    message: &str,
) -> V1Beta1Condition {
    V1Beta1Condition {
        status: "False".to_owned(),
        severity: some(severity.as_str()),
        reason: some(reason),
        message: some(message),
        ..is_true(type_)
    }
}

/// A condition that is Unknown.
pub(super) fn unknown(type_: &str, reason: &str, message: &str) -> V1Beta1Condition {
    V1Beta1Condition {
        status: "Unknown".to_owned(),
        reason: some(reason),
        message: some(message),
        ..is_true(type_)
    }
}

/// What a mirror shows when the source reports no `Ready`: True, or False with a reason.
pub(super) fn mirror(
    ready: &Field<V1Beta1Condition>,
    target: &str,
    fallback: bool,
    reason: &str,
) -> V1Beta1Condition {
    match ready.get() {
        Some(ready) => {
            // What is empty in the newer form is absent in this one.
            let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            V1Beta1Condition {
                type_: target.to_owned(),
                reason: filled(&ready.reason),
                message: filled(&ready.message),
                ..ready.clone()
            }
        }
        None if fallback => is_true(target),
        None => is_false(target, Severity::Info, reason, ""),
    }
}

impl LegacyConditions {
    pub(super) fn new(list: Vec<V1Beta1Condition>, now: Timestamp) -> Self {
        Self { list, now }
    }

    /// Sets one condition; its time changes when anything of it does.
    pub(super) fn set(&mut self, mut wanted: V1Beta1Condition) {
        let now = Time::new(self.now);
        match self.list.iter_mut().find(|c| c.type_ == wanted.type_) {
            Some(existing) => {
                wanted.last_transition_time = existing.last_transition_time;
                if *existing != wanted {
                    wanted.last_transition_time = now;
                    *existing = wanted;
                }
            }
            None => {
                if wanted.last_transition_time.is_unset() {
                    wanted.last_transition_time = now;
                }
                self.list.push(wanted);
            }
        }
        self.list.sort_by(order);
    }

    pub(super) fn is_true(&self, type_: &str) -> bool {
        self.list
            .iter()
            .any(|c| c.type_ == type_ && c.status == "True")
    }

    /// Sets `Ready` from the conditions of `types`, the first of which speaks for those that are
    /// equally bad. `steps` counts what is done instead of telling a message, as long as there are
    /// no conditions but those.
    pub(super) fn summarize(&mut self, types: &[&str], steps: Option<&[&str]>) {
        let in_scope: Vec<&V1Beta1Condition> = self
            .list
            .iter()
            .filter(|c| types.contains(&c.type_.as_str()))
            .collect();
        let steps =
            steps.filter(|steps| in_scope.iter().all(|c| steps.contains(&c.type_.as_str())));
        let Some(worst) = in_scope.iter().map(|c| priority(c)).min() else {
            return;
        };
        let mut top = in_scope.iter().filter(|c| priority(c) == worst);
        let first = types
            .iter()
            .find_map(|type_| {
                in_scope
                    .iter()
                    .find(|c| c.type_ == *type_ && priority(c) == worst)
            })
            .or_else(|| top.next());
        let Some(first) = first else {
            return;
        };
        let message = steps.map_or_else(
            || first.message.clone(),
            |steps| {
                let done = in_scope
                    .iter()
                    .filter(|c| priority(c) == priority(&is_true(READY)));
                Some(format!("{} of {} completed", done.count(), steps.len()))
            },
        );
        let wanted = match first.status.as_str() {
            "True" => is_true(READY),
            status => V1Beta1Condition {
                type_: READY.to_owned(),
                status: status.to_owned(),
                severity: first.severity.clone().filter(|_| status == "False"),
                reason: first.reason.clone(),
                message,
                ..V1Beta1Condition::default()
            },
        };
        self.set(wanted);
    }

    pub(super) fn into_vec(self) -> Vec<V1Beta1Condition> {
        self.list
    }
}

/// `Ready` first, the others by name.
fn order(a: &V1Beta1Condition, b: &V1Beta1Condition) -> Ordering {
    (a.type_ != READY, &a.type_).cmp(&(b.type_ != READY, &b.type_))
}

/// The most serious first. A False without severity, as conditions of the newer form are, comes
/// last: that is upstream's, and seen by users.
fn priority(condition: &V1Beta1Condition) -> u8 {
    match (condition.status.as_str(), condition.severity.as_deref()) {
        ("False", Some("Error")) => 0,
        ("False", Some("Warning")) => 1,
        ("False", Some("Info")) => 2,
        ("True", _) => 3,
        ("Unknown", _) => 4,
        _ => 99,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn bare(type_: &str, status: &str) -> V1Beta1Condition {
        V1Beta1Condition {
            status: status.to_owned(),
            reason: some("Bare"),
            ..is_true(type_)
        }
    }

    /// `Ready` of the conditions, as `status severity reason message`.
    fn ready(conditions: Vec<V1Beta1Condition>, steps: Option<&[&str]>) -> String {
        let mut list = LegacyConditions::new(conditions, at(1));
        list.summarize(&["A", "B", "C"], steps);
        let found = list.into_vec().into_iter().find(|c| c.type_ == READY);
        found.map_or_else(
            || "-".to_owned(),
            |c| {
                let parts = [Some(c.status), c.severity, c.reason, c.message];
                let parts: Vec<String> = parts.into_iter().flatten().collect();
                parts.join(" ")
            },
        )
    }

    #[test]
    fn the_most_serious_condition_speaks_and_the_callers_order_decides_between_equals() {
        use Severity::{Error, Info, Warning};
        let bad = |type_, severity, reason| is_false(type_, severity, reason, "m");
        let table = [
            (vec![], "-"),
            (vec![is_true("X")], "-"),
            (vec![is_true("A"), is_true("B")], "True"),
            (
                vec![
                    bad("B", Info, "I"),
                    bad("A", Warning, "W"),
                    bad("C", Error, "E"),
                ],
                "False Error E m",
            ),
            (
                vec![bad("C", Info, "Last"), bad("B", Info, "First")],
                "False Info First m",
            ),
            (vec![is_true("A"), unknown("B", "U", "m")], "True"),
            (vec![unknown("B", "U", "m")], "Unknown U m"),
            // A False without severity, as the newer form has it, weighs nothing.
            (vec![is_true("A"), bare("B", "False")], "True"),
            (vec![bare("B", "False")], "False Bare"),
        ];
        for (conditions, expected) in table {
            assert_eq!(ready(conditions.clone(), None), expected, "{conditions:?}");
        }
    }

    #[test]
    fn steps_are_counted_as_long_as_nothing_else_is_told() {
        let steps: &[&str] = &["A", "B"];
        let waiting = is_false("B", Severity::Info, "Waiting", "m");
        let counted = ready(vec![is_true("A"), waiting.clone()], Some(steps));
        assert_eq!(counted, "False Info Waiting 1 of 2 completed");
        let other = is_false("C", Severity::Warning, "Sick", "told");
        let told = ready(vec![is_true("A"), waiting, other], Some(steps));
        assert_eq!(told, "False Warning Sick told");
    }

    #[test]
    fn times_change_with_any_change_and_ready_comes_first() {
        let mut list = LegacyConditions::new(Vec::new(), at(1));
        list.set(is_true("B"));
        list.set(is_true(READY));
        list.set(is_true("A"));
        let mut later = LegacyConditions::new(list.into_vec(), at(2));
        later.set(is_true("A"));
        later.set(unknown("B", "U", ""));
        let shown: Vec<_> = later
            .into_vec()
            .into_iter()
            .map(|c| (c.type_, c.last_transition_time.timestamp().as_second()))
            .collect();
        let expected = [(READY, 1), ("A", 1), ("B", 2)].map(|(t, s)| (t.to_owned(), s));
        assert_eq!(shown, expected);
    }
}
