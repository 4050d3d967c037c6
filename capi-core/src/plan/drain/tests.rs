//! Tables of which pods leave a Node when.

use super::*;
use crate::{
    api::{DrainRule, DrainRuleMachineSelector, DrainRulePodSelector, LabelSelectorRequirement},
    contract::{Metadata, OwnerReference},
    plan::volumes::{self, AttachedPersistentVolume, PersistentVolume, VolumeFacts},
};

const NOW: i64 = 1000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(name: &str) -> Pod {
    Pod {
        metadata: Metadata {
            name: name.into(),
            namespace: "apps".into(),
            uid: format!("{name}-uid"),
            owner_references: vec![owner("ReplicaSet")],
            ..Metadata::default()
        },
        status: PodStatus {
            phase: "Running".into(),
        },
        ..Pod::default()
    }
}

fn owner(kind: &str) -> OwnerReference {
    OwnerReference {
        kind: kind.into(),
        name: "owner".into(),
        controller: Some(true),
        ..OwnerReference::default()
    }
}

fn daemon(name: &str) -> Pod {
    let mut pod = pod(name);
    pod.metadata.owner_references = vec![owner("DaemonSet")];
    pod
}

fn labelled(name: &str, key: &str, value: &str) -> Pod {
    let mut pod = pod(name);
    pod.metadata.labels.insert(key.into(), value.into());
    pod
}

fn leaving(mut pod: Pod, since: i64) -> Pod {
    pod.metadata.deletion_timestamp = Some(at(since).into());
    pod
}

fn facts(pods: Vec<Pod>) -> DrainFacts {
    DrainFacts {
        pods,
        namespaces: [(
            "apps".to_owned(),
            BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        )]
        .into(),
        ..DrainFacts::default()
    }
}

fn labels_of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn selector(pairs: &[(&str, &str)]) -> Option<LabelSelector> {
    Some(LabelSelector {
        match_labels: labels_of(pairs),
        ..LabelSelector::default()
    })
}

fn rule(behavior: &str, order: Option<i32>, pods: &[(&str, &str)]) -> MachineDrainRuleSpec {
    MachineDrainRuleSpec {
        drain: DrainRule {
            behavior: behavior.into(),
            order,
        },
        pods: vec![DrainRulePodSelector {
            selector: selector(pods),
            namespace_selector: None,
        }],
        ..MachineDrainRuleSpec::default()
    }
}

fn plan_of(facts: &DrainFacts) -> DrainPlan {
    plan(
        facts,
        &labels_of(&[("pool", "x")]),
        at(0).into(),
        false,
        at(NOW),
    )
    .unwrap()
}

fn evicted(plan: &DrainPlan) -> Vec<&str> {
    plan.evict.iter().map(|pod| pod.name.as_str()).collect()
}

#[test]
fn each_pod_is_drained_left_or_waited_for() {
    let mut finished = daemon("finished");
    finished.status.phase = "Succeeded".into();
    let mut mirror = pod("mirror");
    let key = "kubernetes.io/config.mirror".to_owned();
    mirror.metadata.annotations.insert(key, String::new());
    let mut bare = pod("bare");
    bare.metadata.owner_references.clear();
    let drain = "cluster.x-k8s.io/drain";
    let table = [
        (pod("plain"), "evicted"),
        (bare, "evicted"),
        (daemon("daemon"), "left"),
        (finished, "evicted"),
        (mirror, "left"),
        (labelled("skip", drain, "SKIP"), "left"),
        (labelled("wait", drain, "wait-completed"), "waited for"),
        (labelled("wait", drain, "WaitCompleted"), "waited for"),
        (labelled("odd", drain, "something"), "evicted"),
        (leaving(pod("going"), NOW - 500), "waited for"),
    ];
    for (pod, expected) in table {
        let name = pod.metadata.name.clone();
        let plan = plan_of(&facts(vec![pod]));
        let found = match (plan.evict.len(), plan.complete) {
            (1, false) => "evicted",
            (0, true) => "left",
            (0, false) => "waited for",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{name}");
    }
    let mut orphan = facts(vec![daemon("orphan")]);
    orphan.daemon_sets = [("apps/owner".to_owned(), DaemonSetLookup::NotFound)].into();
    assert_eq!(evicted(&plan_of(&orphan)), ["orphan"]);
    orphan.daemon_sets = [(
        "apps/owner".to_owned(),
        DaemonSetLookup::Failed("boom".into()),
    )]
    .into();
    let error = plan(&orphan, &BTreeMap::new(), at(0).into(), false, at(NOW)).unwrap_err();
    assert_eq!(
        error,
        "failed to get Pods for eviction: Pods with error \"boom\": apps/orphan"
    );
}

#[test]
fn the_first_matching_rule_by_name_decides_unless_the_pod_has_a_label() {
    let mut given = facts(vec![labelled("p", "app", "db")]);
    let drained = |facts: &DrainFacts| evicted(&plan_of(facts)).len() == 1;
    given
        .rules
        .insert("b".into(), rule("Skip", None, &[("app", "db")]));
    assert!(!drained(&given));
    given
        .rules
        .insert("a".into(), rule("Drain", None, &[("app", "db")]));
    assert!(drained(&given), "a comes before b");
    given
        .rules
        .insert("0".into(), rule("Skip", None, &[("app", "web")]));
    assert!(drained(&given), "rules for other pods do not matter");
    let labels = &mut given.pods[0].metadata.labels;
    labels.insert("cluster.x-k8s.io/drain".into(), "skip".into());
    assert!(!drained(&given), "the label wins");
}

#[test]
fn selectors_of_an_entry_must_all_match_and_one_entry_is_enough() {
    let pods = |app: &str, team: &str| DrainRulePodSelector {
        selector: selector(&[("app", app)]),
        namespace_selector: selector(&[("team", team)]),
    };
    let machines = |pool: &str, stage: &str| DrainRuleMachineSelector {
        selector: selector(&[("pool", pool)]),
        cluster_selector: selector(&[("stage", stage)]),
    };
    for (pods, machines, applies) in [
        (vec![], vec![], true),
        (vec![pods("db", "a")], vec![], true),
        (vec![pods("db", "b")], vec![], false),
        (vec![pods("web", "a")], vec![], false),
        (vec![pods("web", "a"), pods("db", "a")], vec![], true),
        (vec![], vec![machines("x", "prod")], true),
        (vec![], vec![machines("x", "test")], false),
        (vec![], vec![machines("y", "prod")], false),
        (
            vec![],
            vec![machines("y", "prod"), machines("x", "prod")],
            true,
        ),
    ] {
        let mut given = facts(vec![labelled("p", "app", "db")]);
        given.cluster_labels = labels_of(&[("stage", "prod")]);
        let row = format!("{pods:?} {machines:?}");
        let mut skip = rule("Skip", None, &[]);
        skip.pods = pods;
        skip.machines = machines;
        given.rules.insert("r".into(), skip);
        assert_eq!(plan_of(&given).complete, applies, "{row}");
    }
}

#[test]
fn a_rule_with_a_wrong_selector_stops_the_drain_even_if_it_is_for_others() {
    let mut given = facts(vec![pod("p")]);
    let mut wrong = rule("Skip", None, &[("app", "other")]);
    let requirement = |operator: &str, values: &[&str]| LabelSelectorRequirement {
        key: "k".into(),
        operator: operator.into(),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    for (requirement, wrong_one) in [
        (requirement("In", &["a"]), false),
        (requirement("Exists", &[]), false),
        (requirement("In", &[]), true),
        (requirement("DoesNotExist", &["a"]), true),
        (requirement("Near", &[]), true),
    ] {
        let selector = wrong.pods[0].selector.as_mut().unwrap();
        selector.match_expressions = vec![requirement];
        given.rules.insert("far".into(), wrong.clone());
        let found = plan(&given, &BTreeMap::new(), at(0).into(), false, at(NOW));
        assert_eq!(found.is_err(), wrong_one, "{:?}", wrong.pods);
    }
    let mut unknown = facts(vec![pod("p")]);
    unknown
        .rules
        .insert("odd".into(), rule("Explode", None, &[]));
    assert!(plan(&unknown, &BTreeMap::new(), at(0).into(), false, at(NOW)).is_err());
    let mut lost = facts(vec![pod("p")]);
    lost.namespaces.clear();
    let error = plan(&lost, &BTreeMap::new(), at(0).into(), false, at(NOW)).unwrap_err();
    assert!(error.contains("Pod Namespace does not exist"));
}

#[test]
fn pods_go_in_order_and_lower_ones_hold_back_higher_ones() {
    let ordered = |name: &str, order: i32| labelled(name, "order", &order.to_string());
    let mut given = facts(vec![ordered("c", 10), ordered("b", 0), ordered("a", -5)]);
    for order in [-5, 0, 10] {
        let pods = [("order", &*order.to_string())];
        given
            .rules
            .insert(format!("r{order}"), rule("Drain", Some(order), &pods));
    }
    assert_eq!(evicted(&plan_of(&given)), ["a"]);
    given.pods[2] = leaving(given.pods[2].clone(), NOW);
    let plan = plan_of(&given);
    assert!(plan.evict.is_empty(), "a is still terminating");
    assert_eq!(
        plan.message,
        "Drain not completed yet (started at 1970-01-01T00:00:00Z):\n* Pod apps/a: \
         deletionTimestamp set, but still not removed from the Node\nAfter above Pods have been \
         removed from the Node, the following Pods will be evicted: apps/b, apps/c"
    );
    given.pods.pop();
    assert_eq!(evicted(&plan_of(&given)), ["b"]);

    // A pod that is waited for counts as 0, holds back 10 and is held back by -5.
    let waiting = labelled("w", "cluster.x-k8s.io/drain", "wait-completed");
    given.pods = vec![waiting, ordered("c", 10)];
    let plan = plan_of(&given);
    assert!(plan.evict.is_empty() && !plan.complete);
    assert!(
        plan.message
            .contains("\n* Pod apps/w: waiting for completion\nAfter above Pods")
    );
    given.pods[1] = ordered("a", -5);
    let plan = plan_of(&given);
    assert_eq!(evicted(&plan), ["a"]);
    assert!(
        plan.message
            .ends_with("waiting for the following Pods to complete without eviction: apps/w")
    );
}

#[test]
fn what_came_of_evictions_is_told_in_upstreams_words() {
    let outcomes = |list: &[(&str, Eviction)]| {
        let pods = list.iter().map(|(name, _)| pod(name)).collect();
        let mut given = facts(pods);
        given.evictions = Some(
            list.iter()
                .map(|(name, outcome)| (format!("apps/{name}"), outcome.clone()))
                .collect(),
        );
        plan_of(&given)
    };
    let budget = || Eviction::TooManyRequests {
        message: "Cannot evict pod as it would violate the pod's disruption budget.".into(),
        causes: vec!["The disruption budget x needs 2 healthy pods and has 2 currently".into()],
    };
    let plan = outcomes(&[("a", Eviction::NotFound)]);
    assert!(plan.complete && plan.message.is_empty());
    let plan = outcomes(&[
        ("a", budget()),
        ("b", budget()),
        ("c", Eviction::NamespaceTerminating),
        ("d", Eviction::Failed("boom".into())),
        ("e", Eviction::BudgetExceeded),
        ("f", Eviction::Accepted),
    ]);
    assert_eq!(
        plan.message,
        "Drain not completed yet (started at 1970-01-01T00:00:00Z):\n\
         * Pod apps/f: deletionTimestamp set, but still not removed from the Node\n\
         * Pods apps/a, apps/b: cannot evict pod as it would violate the pod's disruption budget. \
         The disruption budget x needs 2 healthy pods and has 2 currently\n\
         * Pod apps/c: failed to evict Pod, Cannot evict pod from terminating namespace: unable \
         to create eviction (kube-controller-manager should set deletionTimestamp)\n\
         * Pod apps/d: failed to evict Pod, boom\n\
         * Pod apps/e: failed to evict Pod, eviction timeout of 10s reached, eviction will be \
         retried"
    );
    assert_eq!(
        delay_causes(&plan.message),
        [
            "PodDisruptionBudgets",
            "Pods not terminating",
            "Pod eviction errors"
        ]
    );
    let many: Vec<(String, Eviction)> = (0..8)
        .map(|i| {
            (
                format!("p{i}"),
                Eviction::Failed(format!("error {}", i.min(6))),
            )
        })
        .collect();
    let many: Vec<(&str, Eviction)> = many.iter().map(|(n, e)| (n.as_str(), e.clone())).collect();
    let plan = outcomes(&many);
    assert!(
        plan.message
            .ends_with("\n* Pod apps/p4: failed to evict Pod, error 4\n* 3 Pods with other issues")
    );
    let four = ["a", "b", "c", "d"].map(|n| (n, Eviction::Accepted));
    let plan = outcomes(&four);
    assert!(
        plan.message
            .contains("* Pods apps/a, apps/b, apps/c, ... (1 more): deletion")
    );
}

#[test]
fn of_an_unreachable_node_pods_that_are_going_are_not_waited_for() {
    let given = facts(vec![leaving(pod("old"), NOW - 2), pod("here")]);
    let found = plan(&given, &BTreeMap::new(), at(0).into(), true, at(NOW)).unwrap();
    assert_eq!(evicted(&found), ["here"]);
    assert_eq!(found.grace_period_seconds, Some(1));
    let gone = facts(vec![leaving(pod("old"), NOW - 2)]);
    assert!(
        plan(&gone, &BTreeMap::new(), at(0).into(), true, at(NOW))
            .unwrap()
            .complete
    );
    let fresh = facts(vec![leaving(pod("new"), NOW - 1)]);
    assert!(
        !plan(&fresh, &BTreeMap::new(), at(0).into(), true, at(NOW))
            .unwrap()
            .complete
    );
}

#[test]
fn volumes_are_waited_for_except_those_of_pods_that_stay() {
    let mut skipped = daemon("daemon");
    skipped.spec.volumes = vec![PodVolume {
        persistent_volume_claim: Some(ClaimSource {
            claim_name: "logs".into(),
        }),
    }];
    let ignored = plan_of(&facts(vec![skipped])).claims_of_skipped_pods;
    assert_eq!(ignored, ["apps/logs"]);

    let volume = |name: &str, csi: Option<&str>, claim: Option<&str>| PersistentVolume {
        name: name.into(),
        csi: csi.map(|handle| ("csi.example.org".to_owned(), handle.to_owned())),
        claim: claim.map(str::to_owned),
    };
    let attached = |volume: Option<&str>| AttachedPersistentVolume {
        attachment: "va".into(),
        persistent_volume: volume.map(str::to_owned),
    };
    let mut node = crate::plan::node::Node::default();
    node.status.volumes_attached = ["kubernetes.io/csi/csi.example.org^h1", "odd"]
        .map(|name| crate::plan::node::AttachedVolume { name: name.into() })
        .to_vec();
    let given = VolumeFacts {
        attached: vec![
            attached(Some("pv2")),
            attached(Some("pv3")),
            attached(Some("lost")),
        ],
        persistent_volumes: vec![
            volume("pv1", Some("h1"), Some("apps/data")),
            volume("pv2", None, Some("apps/logs")),
            volume("pv3", None, None),
            volume("elsewhere", Some("h9"), Some("apps/other")),
        ],
    };
    let text = volumes::waiting_for(&given, &node, &ignored, at(0).into())
        .unwrap()
        .unwrap();
    assert_eq!(
        text,
        "Waiting for Node volumes to be detached (started at 1970-01-01T00:00:00Z)\n\
         * PersistentVolumeClaims: apps/data\n\
         * PersistentVolumes without a .spec.claimRef to a PersistentVolumeClaim: pv3\n\
         * Node with .status.volumesAttached entries not matching a PersistentVolume: odd\n\
         * VolumeAttachment with .spec.source.persistentVolumeName not matching a \
         PersistentVolume: lost"
    );
    let only_ignored = VolumeFacts {
        attached: vec![attached(Some("pv2"))],
        ..given.clone()
    };
    let empty = crate::plan::node::Node::default();
    assert_eq!(
        volumes::waiting_for(&only_ignored, &empty, &ignored, at(0).into()),
        Ok(None)
    );
    let nameless = VolumeFacts {
        attached: vec![attached(None)],
        ..given
    };
    let error = volumes::waiting_for(&nameless, &empty, &[], at(0).into()).unwrap_err();
    assert!(error.contains("VolumeAttachment va"));
}
