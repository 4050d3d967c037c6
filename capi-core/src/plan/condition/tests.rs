use super::*;
use crate::contract::Field;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn condition(type_: &str, status: ConditionStatus, reason: &str, message: &str) -> Condition {
    Condition {
        type_: type_.into(),
        status,
        reason: reason.into(),
        message: message.into(),
        ..Condition::default()
    }
}

#[test]
fn setting_keeps_the_time_of_an_unchanged_status_and_sorts_as_upstream() {
    let mut list = Conditions::new(Vec::new(), 3, at(100));
    for type_ in [
        "Deleting",
        "Zulu",
        "Paused",
        "Ready",
        "Alpha",
        "MachinesReady",
        "Available",
    ] {
        list.set(Wanted::is_true(type_, "R"));
    }
    let names: Vec<_> = list.as_slice().iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(
        names,
        [
            "Available",
            "Ready",
            "MachinesReady",
            "Alpha",
            "Zulu",
            "Paused",
            "Deleting"
        ]
    );
    let mut later = Conditions::new(list.into_vec(), 4, at(200));
    later.set(Wanted::is_true("Ready", "Other").message("m"));
    later.set(Wanted::is_false("Available", "R"));
    let ready = later.get("Ready").unwrap();
    assert_eq!(ready.last_transition_time, Time::new(at(100)));
    assert_eq!(
        (ready.reason.as_str(), ready.observed_generation),
        ("Other", Some(4))
    );
    assert_eq!(
        later.get("Available").unwrap().last_transition_time,
        Time::new(at(200))
    );
    assert_eq!(later.get("Alpha").unwrap().observed_generation, Some(3));
}

#[test]
fn a_mirror_copies_legacy_and_new_conditions_and_reports_broken_ones() {
    use serde_json::json;
    let read = |status: serde_json::Value| -> Field<Condition> {
        match read_conditions(&json!({"kind": "Thing", "status": status})) {
            Ok(all) => all.into_iter().find(|c| c.type_ == "Ready").into(),
            Err(error) => Field::Malformed(error.to_string()),
        }
    };
    let fallback = || Fallback {
        status: ConditionStatus::False,
        reason: "NotReady".into(),
        message: "fell back".into(),
    };
    let time = "2026-01-02T03:04:05Z";
    let table = [
        (json!({}), "False NotReady fell back"),
        (json!({"conditions": 7}), "False NotReady fell back"),
        (
            json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time}]}),
            "True Ready ",
        ),
        (
            json!({"conditions": [{"type": "Ready", "status": "False", "severity": "Error"}]}),
            "False NoReasonReported ",
        ),
        (
            json!({
                "v1beta2": {"conditions": [
                    {"type": "Ready", "status": "Unknown", "reason": "New", "message": "m"},
                ]},
                "conditions": [{"type": "Ready", "status": "True"}],
            }),
            "Unknown New m",
        ),
        (
            json!({"conditions": [{"status": "True"}]}),
            "Unknown InvalidConditionReported failed to convert status.conditions from Thing to \
             []metav1.Condition: type must be set for all conditions",
        ),
        (
            json!({"conditions": [{"type": "X"}]}),
            "Unknown InvalidConditionReported failed to convert status.conditions from Thing to \
             []metav1.Condition: status must be set for the X condition",
        ),
        (
            json!({"conditions": [{"type": "X", "status": "Maybe"}]}),
            "Unknown InvalidConditionReported failed to convert status.conditions from Thing to \
             []metav1.Condition: status for the X condition must be one of True, False, Unknown",
        ),
    ];
    for (status, expected) in table {
        let wanted = mirror(
            &read(status.clone()),
            "InfrastructureReady",
            "Ready",
            fallback(),
        );
        assert_eq!(wanted.type_, "InfrastructureReady");
        assert_eq!(
            format!(
                "{} {} {}",
                wanted.status.as_str(),
                wanted.reason,
                wanted.message
            ),
            expected,
            "{status}"
        );
    }
}

fn summary(conditions: &[Condition]) -> String {
    let strategy = MergeStrategy {
        negative_polarity: &["Deleting"],
        reasons: Reasons {
            issue: "NotReady",
            unknown: "ReadyUnknown",
            info: "Ready",
        },
        ..MergeStrategy::default()
    };
    let wanted = Summary {
        target: "Ready",
        types: &["Deleting", "B", "A", "Optional"],
        ignore_if_missing: &["Optional"],
        overrides: &[],
        strategy,
    }
    .of(conditions)
    .unwrap();
    format!(
        "{} {}\n{}",
        wanted.status.as_str(),
        wanted.reason,
        wanted.message
    )
}

#[test]
fn a_summary_names_issues_and_unknowns_in_the_callers_order_and_infos_only_when_all_is_well() {
    use ConditionStatus::{False, True, Unknown};
    let table: &[(&[Condition], &str)] = &[
        (
            &[],
            "Unknown ReadyUnknown\n* Deleting: Condition not yet reported\n* B: Condition not yet \
             reported\n* A: Condition not yet reported",
        ),
        (
            &[
                condition("A", True, "Fine", ""),
                condition("B", True, "Fine", "good to know"),
                condition("Deleting", False, "NotDeleting", ""),
            ],
            "True Ready\n* B: good to know",
        ),
        (
            &[
                condition("A", False, "Broken", ""),
                condition("B", Unknown, "Eh", "line one\nline two"),
                condition("Deleting", False, "NotDeleting", "quiet"),
                condition("Optional", True, "Fine", "not said"),
            ],
            "False NotReady\n* B:\n  * line one\n  * line two\n* A: Broken",
        ),
        (
            &[
                condition("A", True, "Fine", ""),
                condition("B", True, "Fine", ""),
                condition("Deleting", True, "Deleting", "* one\n* two"),
            ],
            "False NotReady\n* Deleting:\n  * one\n  * two",
        ),
        (
            &[
                condition("A", False, "X", "head:\n* bullet"),
                condition("B", True, "Fine", ""),
                condition("Deleting", False, "NotDeleting", ""),
                condition("Optional", Unknown, "Y", "a * in the middle"),
            ],
            "False NotReady\n* A:\n  * head:\n    * bullet\n* Optional:\n  a * in the middle",
        ),
    ];
    for (given, expected) in table {
        assert_eq!(summary(given), *expected);
    }
}

#[test]
fn a_condition_can_be_read_differently_for_a_summary() {
    let own = [condition("A", ConditionStatus::True, "Own", "long")];
    let other = [condition("A", ConditionStatus::True, "Own", "short")];
    let wanted = Summary {
        target: "Ready",
        types: &["A"],
        ignore_if_missing: &[],
        overrides: &other,
        strategy: MergeStrategy {
            negative_polarity: &["A"],
            transform: Some(|lines| lines.into_iter().map(|l| l.to_uppercase()).collect()),
            ..MergeStrategy::default()
        },
    }
    .of(&own)
    .unwrap();
    assert_eq!(wanted.message, "* A: SHORT");
    assert_eq!(wanted.reason, "IssuesReported");
}

struct Machine {
    name: String,
    kind: &'static str,
    control_plane: bool,
    conditions: Vec<Condition>,
}

fn machine(name: &str, status: ConditionStatus, message: &str) -> Machine {
    Machine {
        name: name.into(),
        kind: "Machine",
        control_plane: name.starts_with("cp"),
        conditions: vec![condition("Ready", status, "R", message)],
    }
}

fn aggregate(machines: &[Machine]) -> Option<String> {
    let wanted = Aggregate {
        source: "Ready",
        target: "MachinesReady",
        strategy: MergeStrategy::default(),
    }
    .of(machines.iter().map(|m| Reported {
        owner: Owner {
            kind: m.kind,
            name: &m.name,
            control_plane_machine: m.control_plane,
        },
        conditions: &m.conditions,
    }))?;
    Some(format!(
        "{} {}\n{}",
        wanted.status.as_str(),
        wanted.reason,
        wanted.message
    ))
}

#[test]
fn an_aggregate_shows_three_messages_of_three_objects_control_plane_first() {
    use ConditionStatus::{False, True, Unknown};
    assert_eq!(aggregate(&[]), None);
    let missing = Machine {
        conditions: Vec::new(),
        ..machine("m", True, "")
    };
    let other_kind = |name: &str, message: &str| Machine {
        kind: "MachineDeployment",
        ..machine(name, False, message)
    };
    let table: Vec<(Vec<Machine>, &str)> = vec![
        (
            vec![machine("a", True, ""), machine("b", True, "")],
            "True InfoReported\n",
        ),
        (
            vec![
                machine("b", True, "note"),
                machine("a", True, "note"),
                machine("c", True, ""),
            ],
            "True InfoReported\n* Machines a, b: note",
        ),
        (
            vec![missing],
            "Unknown UnknownReported\n* Machine m: Condition Ready not yet reported",
        ),
        (
            vec![
                machine("m4", False, "down"),
                machine("m3", False, "down"),
                machine("m2", False, "down"),
                machine("cp1", Unknown, "lost"),
                machine("m1", False, "down"),
                machine("m5", Unknown, "* one\n* two"),
                machine("m6", False, "x"),
                machine("m7", False, "y"),
                machine("m8", Unknown, "z"),
                machine("m9", Unknown, "z2"),
                machine("m0", True, "said only when all is well"),
            ],
            "False IssuesReported\n\
             * Machine cp1: lost\n\
             * Machines m1, m2, m3, ... (1 more): down\n\
             * Machine m6: x\n\
             And 1 Machine with other issues\n\
             And 3 Machines with status unknown",
        ),
        (
            vec![
                machine("w", False, "same"),
                machine("cp", Unknown, "same"),
                other_kind("md", "different"),
            ],
            "False IssuesReported\n* Machines cp, w: same\n* MachineDeployment md: different",
        ),
        (
            (0..5)
                .map(|i| machine(&format!("m{i}"), True, &format!("n{i}")))
                .collect(),
            "True InfoReported\n* Machine m0: n0\n* Machine m1: n1\n* Machine m2: n2\n\
             And 2 Machines with additional info",
        ),
    ];
    for (machines, expected) in table {
        assert_eq!(aggregate(&machines).unwrap(), expected);
    }
}

#[test]
fn an_aggregate_of_negative_polarity_is_true_when_one_is() {
    let strategy = || MergeStrategy {
        negative_polarity: &["ScalingUp"],
        negative_target: true,
        reasons: Reasons {
            issue: "ScalingUp",
            unknown: "ScalingUpUnknown",
            info: "NotScalingUp",
        },
        ..MergeStrategy::default()
    };
    let of = |status, message: &str| {
        let conditions = [condition("ScalingUp", status, "R", message)];
        let wanted = Aggregate {
            source: "ScalingUp",
            target: "ScalingUp",
            strategy: strategy(),
        }
        .of([Reported {
            owner: Owner {
                kind: "MachineDeployment",
                name: "md",
                control_plane_machine: false,
            },
            conditions: &conditions,
        }])
        .unwrap();
        (wanted.status, wanted.reason.into_owned(), wanted.message)
    };
    assert_eq!(
        of(ConditionStatus::True, "Scaling up from 0 to 1 replicas"),
        (
            ConditionStatus::True,
            "ScalingUp".to_owned(),
            "* MachineDeployment md: Scaling up from 0 to 1 replicas".to_owned()
        )
    );
    assert_eq!(
        of(ConditionStatus::False, ""),
        (
            ConditionStatus::False,
            "NotScalingUp".to_owned(),
            String::new()
        )
    );
}
