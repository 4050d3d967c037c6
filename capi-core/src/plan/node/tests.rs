//! Tables of what a Machine writes to its Node.

use super::*;
use crate::{api::MachineTaint, contract::OwnerReference};

fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

struct Given {
    machine: Metadata,
    spec: MachineSpec,
    interruptible: bool,
    outdated: bool,
    taints: bool,
    keys: SyncedKeys,
}

fn given(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Given {
    Given {
        machine: Metadata {
            name: "m".into(),
            namespace: "ns".into(),
            labels: pairs(labels),
            annotations: pairs(annotations),
            owner_references: vec![OwnerReference {
                kind: "MachineSet".into(),
                name: "ms".into(),
                controller: Some(true),
                ..OwnerReference::default()
            }],
            ..Metadata::default()
        },
        spec: MachineSpec {
            cluster_name: "c".into(),
            ..MachineSpec::default()
        },
        interruptible: false,
        outdated: false,
        taints: false,
        keys: SyncedKeys::default(),
    }
}

impl Given {
    fn patch(&self, node: &Node) -> Option<Value> {
        self.try_patch(node).unwrap()
    }

    fn try_patch(&self, node: &Node) -> Result<Option<Value>, String> {
        NodeSync {
            machine: &self.machine,
            spec: &self.spec,
            interruptible: self.interruptible,
            outdated: self.outdated,
            propagate_taints: self.taints,
            keys: &self.keys,
        }
        .patch(node)
    }

    /// The Node after the patch; a second patch is asserted to be none.
    fn synced(&self, node: &Node) -> Node {
        let mut value = serde_json::to_value(node).unwrap();
        if let Some(patch) = self.patch(node) {
            merge(&mut value, &patch);
        }
        let synced: Node = serde_json::from_value(value).unwrap();
        assert_eq!(self.patch(&synced), None, "a second pass patches nothing");
        synced
    }
}

fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(patch) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.as_object_mut().unwrap().remove(key);
                } else {
                    if target.get(key).is_none() && value.is_object() {
                        target[key] = json!({});
                    }
                    merge(&mut target[key], value);
                }
            }
        }
        other => *target = other.clone(),
    }
}

fn node(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Node {
    Node {
        metadata: Metadata {
            name: "n".into(),
            resource_version: "7".into(),
            labels: pairs(labels),
            annotations: pairs(annotations),
            ..Metadata::default()
        },
        ..Node::default()
    }
}

#[test]
fn only_labels_of_node_domains_go_to_the_node() {
    let mut given = given(
        &[
            ("node-role.kubernetes.io/worker", ""),
            ("x.node-role.kubernetes.io/worker", "no"),
            ("node-restriction.kubernetes.io/a", "1"),
            ("x.node-restriction.kubernetes.io/a", "2"),
            ("node.cluster.x-k8s.io/b", "3"),
            ("x.node.cluster.x-k8s.io/b", "4"),
            ("xnode.cluster.x-k8s.io/b", "no"),
            ("example.org/c", "no"),
            ("plain", "no"),
        ],
        &[],
    );
    let synced = given.synced(&node(&[("theirs", "kept")], &[]));
    assert_eq!(
        synced.metadata.labels,
        pairs(&[
            ("node-role.kubernetes.io/worker", ""),
            ("node-restriction.kubernetes.io/a", "1"),
            ("x.node-restriction.kubernetes.io/a", "2"),
            ("node.cluster.x-k8s.io/b", "3"),
            ("x.node.cluster.x-k8s.io/b", "4"),
            ("theirs", "kept"),
        ])
    );
    given.keys.labels = vec!["example.org".into(), "*.example.com".into()];
    given.machine.labels = pairs(&[("example.org/c", "5"), ("a.example.com/d", "6")]);
    let synced = given.synced(&synced);
    assert_eq!(
        synced.metadata.labels,
        pairs(&[
            ("example.org/c", "5"),
            ("a.example.com/d", "6"),
            ("theirs", "kept")
        ]),
        "labels that the Machine lost are removed, others are not touched"
    );
    assert_eq!(
        synced.metadata.annotations[LABELS_FROM_MACHINE],
        "a.example.com/d,example.org/c"
    );
}

#[test]
fn a_label_that_the_node_had_already_is_taken_over() {
    let given = given(&[("node.cluster.x-k8s.io/a", "ours")], &[]);
    let synced = given.synced(&node(&[("node.cluster.x-k8s.io/a", "theirs")], &[]));
    assert_eq!(synced.metadata.labels["node.cluster.x-k8s.io/a"], "ours");
}

#[test]
fn the_bookkeeping_is_written_and_not_tracked_and_follows_the_owner() {
    let mut given = given(&[], &[("node.cluster.x-k8s.io/x", "1"), ("other", "no")]);
    let synced = given.synced(&node(&[], &[("theirs", "kept")]));
    assert_eq!(
        synced.metadata.annotations,
        pairs(&[
            (CLUSTER_NAME, "c"),
            (CLUSTER_NAMESPACE, "ns"),
            (MACHINE, "m"),
            (OWNER_KIND, "MachineSet"),
            (OWNER_NAME, "ms"),
            (ANNOTATIONS_FROM_MACHINE, "node.cluster.x-k8s.io/x"),
            (LABELS_FROM_MACHINE, ""),
            ("node.cluster.x-k8s.io/x", "1"),
            ("theirs", "kept"),
        ])
    );
    given.machine.owner_references[0].name = "ms2".into();
    let synced = given.synced(&synced);
    assert_eq!(synced.metadata.annotations[OWNER_NAME], "ms2");
    given.machine.owner_references.clear();
    given.machine.annotations.clear();
    let synced = given.synced(&synced);
    for gone in [OWNER_NAME, OWNER_KIND, "node.cluster.x-k8s.io/x"] {
        assert!(!synced.metadata.annotations.contains_key(gone), "{gone}");
    }
}

#[test]
fn what_somebody_removed_or_broke_is_repaired() {
    let given = given(&[("node.cluster.x-k8s.io/a", "1")], &[]);
    let synced = given.synced(&node(&[], &[]));
    for key in [LABELS_FROM_MACHINE, ANNOTATIONS_FROM_MACHINE, MACHINE] {
        let mut broken = synced.clone();
        broken.metadata.annotations.remove(key);
        assert_eq!(given.synced(&broken), synced, "{key}");
        broken
            .metadata
            .annotations
            .insert(key.to_owned(), "?,,?".to_owned());
        assert_eq!(given.synced(&broken), synced, "{key}");
    }
    let mut broken = synced.clone();
    broken.metadata.labels.clear();
    assert_eq!(given.synced(&broken), synced);
}

fn taint(key: &str, value: Option<&str>, effect: &str) -> Taint {
    Taint {
        key: key.into(),
        value: value.map(str::to_owned),
        effect: effect.into(),
        time_added: None,
    }
}

fn shown(node: &Node) -> Vec<String> {
    node.spec
        .taints
        .iter()
        .map(|t| {
            format!(
                "{}={}:{}",
                t.key,
                t.value.as_deref().unwrap_or_default(),
                t.effect
            )
        })
        .collect()
}

#[test]
fn the_uninitialized_taint_goes_and_the_outdated_one_follows_the_rollout() {
    let mut given = given(&[], &[]);
    let mut start = node(&[], &[]);
    start.spec.taints = vec![
        taint(UNINITIALIZED_TAINT, None, "NoSchedule"),
        taint(UNINITIALIZED_TAINT, None, "NoExecute"),
        taint("theirs", Some("1"), "NoSchedule"),
    ];
    let synced = given.synced(&start);
    let kept = [
        format!("{UNINITIALIZED_TAINT}=:NoExecute"),
        "theirs=1:NoSchedule".to_owned(),
    ];
    assert_eq!(shown(&synced), kept);
    given.outdated = true;
    let outdated = given.synced(&synced);
    assert_eq!(
        shown(&outdated).last().unwrap(),
        &format!("{OUTDATED_REVISION_TAINT}=:PreferNoSchedule")
    );
    given.outdated = false;
    assert_eq!(shown(&given.synced(&outdated)), kept);
}

#[test]
fn a_node_is_outdated_when_its_sets_revision_is_less_than_the_deployments() {
    let with = |revision: Option<&str>| Metadata {
        annotations: revision
            .map(|r| (crate::api::annotations::REVISION.to_owned(), r.to_owned()))
            .into_iter()
            .collect(),
        ..Metadata::default()
    };
    for (set, deployment, expected) in [
        (Some("1"), Some("2"), Ok(true)),
        (Some("2"), Some("2"), Ok(false)),
        (None, Some("1"), Ok(true)),
        (None, None, Ok(false)),
        (Some("x"), Some("1"), Err(())),
    ] {
        let (set, deployment) = (with(set), with(deployment));
        let found = is_outdated(Some(&set), Some(&deployment)).map_err(|_| ());
        assert_eq!(found, expected);
        assert_eq!(is_outdated(None, Some(&deployment)), Ok(false));
    }
}

#[test]
fn taints_of_the_machine_are_kept_or_set_once_as_they_ask() {
    let wanted = |key: &str, value: &str, effect: &str, propagation: &str| MachineTaint {
        key: key.into(),
        value: Some(value.to_owned()).filter(|v| !v.is_empty()),
        effect: effect.into(),
        propagation: propagation.into(),
    };
    let mut given = given(&[], &[]);
    given.spec.taints = vec![wanted("a", "1", "NoSchedule", "Always")];
    let untouched = given.synced(&node(&[], &[]));
    assert!(untouched.spec.taints.is_empty(), "the feature is off");

    given.taints = true;
    given
        .spec
        .taints
        .push(wanted("once", "1", "NoSchedule", "OnInitialization"));
    let synced = given.synced(&node(&[], &[]));
    assert_eq!(shown(&synced), ["a=1:NoSchedule", "once=1:NoSchedule"]);
    assert_eq!(
        synced.metadata.annotations[TAINTS_FROM_MACHINE],
        "a:NoSchedule"
    );

    // Removed by somebody: the kept one comes back, the other one does not.
    let mut removed = synced;
    removed.spec.taints.clear();
    let again = given.synced(&removed);
    assert_eq!(shown(&again), ["a=1:NoSchedule"]);

    // Changed value, changed effect, changed kind, removed.
    given.spec.taints = vec![wanted("a", "2", "NoSchedule", "Always")];
    assert_eq!(shown(&given.synced(&again)), ["a=2:NoSchedule"]);
    given.spec.taints = vec![wanted("a", "2", "NoExecute", "Always")];
    let changed = given.synced(&again);
    assert_eq!(shown(&changed), ["a=2:NoExecute"]);
    given.spec.taints = vec![wanted("a", "2", "NoExecute", "OnInitialization")];
    let once = given.synced(&changed);
    assert_eq!(shown(&once), ["a=2:NoExecute"]);
    assert_eq!(once.metadata.annotations[TAINTS_FROM_MACHINE], "");
    given.spec.taints.clear();
    assert_eq!(
        shown(&given.synced(&once)),
        ["a=2:NoExecute"],
        "never removed once set"
    );
    assert!(shown(&given.synced(&changed)).is_empty());

    let broken = node(&[], &[(TAINTS_FROM_MACHINE, "a:b:c")]);
    assert!(given.try_patch(&broken).unwrap_err().contains("a:b:c"));
}

#[test]
fn an_interruptible_machine_marks_its_node() {
    let mut given = given(&[], &[]);
    given.interruptible = true;
    let synced = given.synced(&node(&[], &[]));
    assert_eq!(synced.metadata.labels[labels::INTERRUPTIBLE], "");
    given.interruptible = false;
    assert!(given.synced(&synced).metadata.labels.is_empty());
}

#[test]
fn a_patch_carries_the_resource_version_and_no_addresses() {
    // A Node with two equal addresses breaks strategic merges; ours never speaks of them.
    let patch = given(&[], &[]).patch(&node(&[], &[])).unwrap();
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    assert!(patch.get("status").is_none());
}

#[test]
fn nodes_are_matched_by_the_exact_provider_id() {
    let with = |id: &str| {
        let mut node = node(&[], &[]);
        node.spec.provider_id = Some(id.to_owned());
        node
    };
    let nodes = [with("test://A"), with("test://a"), with("test:///b")];
    assert_eq!(
        match_node(&nodes, "test://a"),
        NodeLookup::Found(with("test://a"))
    );
    assert_eq!(match_node(&nodes, "test://b"), NodeLookup::NotFound);
    let twice = [with("x"), with("x")];
    assert!(matches!(match_node(&twice, "x"), NodeLookup::Failed(_)));
}
