//! Rows of upstream's rules, each with an object that keeps it and one that breaks it.

use serde_json::{Value, json};

use super::{Verdict, find};
use crate::api::{CLUSTER, annotations};

#[allow(clippy::needless_pass_by_value)] // reads as the object it makes
fn object(kind: &str, spec: Value) -> Value {
    json!({ "kind": kind, "metadata": { "name": "one", "namespace": "here" }, "spec": spec })
}

fn admission(kind: &str) -> &'static super::Admission {
    let group = if kind.starts_with("IP") {
        "ipam.cluster.x-k8s.io"
    } else {
        CLUSTER.group
    };
    find(group, kind).expect("the kind is admitted")
}

fn judge(kind: &str, spec: Value, old: Option<Value>) -> Verdict {
    let old = old.map(|old| object(kind, old));
    admission(kind).validate_object(&object(kind, spec), old.as_ref())
}

fn errors(verdict: &Verdict) -> Vec<String> {
    verdict.errors.iter().map(ToString::to_string).collect()
}

fn defaulted(kind: &str, mut object: Value, old: Option<&Value>) -> Value {
    let admission = admission(kind);
    admission
        .default_object(&mut object, old)
        .expect("the object is well-formed");
    let mut again = object.clone();
    admission
        .default_object(&mut again, Some(&object))
        .expect("the object is well-formed");
    assert_eq!(again, object, "defaulting is idempotent");
    object
}

fn machine_spec() -> Value {
    json!({
        "clusterName": "c",
        "bootstrap": { "dataSecretName": "s" },
        "infrastructureRef": { "apiGroup": "i.io", "kind": "I", "name": "i" },
        "version": "v1.34.1",
    })
}

/// The spec with the value at a pointer replaced; objects on the way are made.
fn with(mut spec: Value, path: &str, value: Value) -> Value {
    let path: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    crate::api::convert::put(&mut spec, &path, value);
    spec
}

#[test]
fn a_machine_is_labelled_its_version_prefixed_and_its_node_deleted_within_ten_seconds() {
    let machine = object(
        "Machine",
        json!({ "clusterName": "c", "version": "1.34.1", "zzz": 1 }),
    );
    let machine = defaulted("Machine", machine, None);
    assert_eq!(
        machine["metadata"]["labels"],
        json!({ "cluster.x-k8s.io/cluster-name": "c" })
    );
    assert_eq!(
        machine["spec"],
        json!({
            "clusterName": "c", "version": "v1.34.1", "zzz": 1,
            "deletion": { "nodeDeletionTimeoutSeconds": 10 },
        })
    );
    let forever = object(
        "Machine",
        json!({ "clusterName": "c", "deletion": { "nodeDeletionTimeoutSeconds": 0 } }),
    );
    assert_eq!(
        defaulted("Machine", forever.clone(), None)["spec"],
        forever["spec"]
    );
}

#[test]
fn a_deployment_gets_replicas_a_strategy_and_a_selector_of_its_own() {
    let deployment = object(
        "MachineDeployment",
        json!({ "clusterName": "c", "template": { "spec": { "version": "1.34.1" } } }),
    );
    let deployment = defaulted("MachineDeployment", deployment, None);
    let labels =
        json!({ "cluster.x-k8s.io/deployment-name": "one", "cluster.x-k8s.io/cluster-name": "c" });
    assert_eq!(
        deployment["spec"],
        json!({
            "clusterName": "c",
            "replicas": 1,
            "rollout": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } } },
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "version": "v1.34.1" } },
        })
    );
    let on_delete =
        json!({ "clusterName": "c", "rollout": { "strategy": { "type": "OnDelete" } } });
    let on_delete = defaulted(
        "MachineDeployment",
        object("MachineDeployment", on_delete),
        None,
    );
    assert_eq!(
        on_delete["spec"]["rollout"],
        json!({ "strategy": { "type": "OnDelete" } })
    );
}

#[test]
fn a_set_with_a_selector_keeps_it_and_one_without_selects_its_own_machines() {
    let own = defaulted(
        "MachineSet",
        object("MachineSet", json!({ "clusterName": "c" })),
        None,
    );
    assert_eq!(
        own["spec"]["selector"],
        json!({ "matchLabels": { "cluster.x-k8s.io/set-name": "one" } })
    );
    let given = json!({ "clusterName": "c", "selector": { "matchExpressions": [{ "key": "a", "operator": "Exists" }] } });
    let kept = defaulted("MachineSet", object("MachineSet", given.clone()), None);
    assert_eq!(kept["spec"]["selector"], given["selector"]);
}

#[test]
fn replicas_that_are_left_open_follow_the_bounds_of_an_autoscaler() {
    let set = |replicas: Option<i32>| {
        let mut set = object("MachineSet", json!({ "clusterName": "c" }));
        set["metadata"]["annotations"] =
            json!({ annotations::AUTOSCALER_MIN_SIZE: "3", annotations::AUTOSCALER_MAX_SIZE: "7" });
        if let Some(replicas) = replicas {
            set["spec"]["replicas"] = replicas.into();
        }
        set
    };
    let cases = [
        (None, None, 3),
        (Some(set(None)), None, 3),
        (Some(set(Some(1))), None, 3),
        (Some(set(Some(5))), None, 5),
        (Some(set(Some(9))), None, 7),
        (Some(set(Some(9))), Some(2), 2),
    ];
    for (old, given, wanted) in cases {
        let mut object = set(given);
        admission("MachineSet")
            .default_object(&mut object, old.as_ref())
            .expect("well-formed");
        assert_eq!(object["spec"]["replicas"], wanted, "{old:?} {given:?}");
    }
    let mut broken = set(None);
    broken["metadata"]["annotations"][annotations::AUTOSCALER_MIN_SIZE] = "few".into();
    let error = admission("MachineSet")
        .default_object(&mut broken, None)
        .expect_err("the annotation is no number");
    assert!(
        error
            .to_string()
            .contains("\"few\": is no number of machines"),
        "{error}"
    );
}

#[test]
fn a_machine_is_refused_for_each_rule_that_it_breaks() {
    assert_eq!(
        judge("Machine", machine_spec(), Some(machine_spec())),
        Verdict::default()
    );
    let taint =
        |key: &str| json!([{ "key": key, "effect": "NoSchedule", "propagation": "Always" }]);
    let cases = [
        (
            "/bootstrap",
            json!({}),
            "spec.bootstrap: Required value: set configRef or dataSecretName",
        ),
        (
            "/version",
            json!("1.34.1"),
            "spec.version: Invalid value: \"1.34.1\": must be v and a semantic version, such as v1.34.1",
        ),
        (
            "/version",
            json!("v1.34"),
            "spec.version: Invalid value: \"v1.34\": must be v and a semantic version, such as v1.34.1",
        ),
        (
            "/clusterName",
            json!("d"),
            "spec.clusterName: Forbidden: cannot be changed",
        ),
        (
            "/taints",
            taint("node.cluster.x-k8s.io/uninitialized"),
            "spec.taints[0].key: Invalid value: \"node.cluster.x-k8s.io/uninitialized\": belongs to Cluster API",
        ),
        (
            "/taints",
            taint("node.kubernetes.io/not-ready"),
            "spec.taints[0].key: Invalid value: \"node.kubernetes.io/not-ready\": belongs to the node controller",
        ),
        (
            "/taints",
            taint("node-role.kubernetes.io/control-plane"),
            "spec.taints[0].key: Invalid value: \"node-role.kubernetes.io/control-plane\": is for control plane machines",
        ),
    ];
    for (path, value, error) in cases {
        let verdict = judge(
            "Machine",
            with(machine_spec(), path, value),
            Some(machine_spec()),
        );
        assert_eq!(errors(&verdict), [error]);
    }
    let allowed = with(
        machine_spec(),
        "/taints",
        taint("node.kubernetes.io/out-of-service"),
    );
    assert_eq!(judge("Machine", allowed, None), Verdict::default());
}

#[test]
fn machines_of_a_pool_need_no_bootstrap_and_control_plane_machines_may_have_their_taint() {
    let mut pooled = object("Machine", with(machine_spec(), "/bootstrap", json!({})));
    pooled["metadata"]["ownerReferences"] = json!([{ "kind": "MachinePool" }]);
    assert_eq!(
        admission("Machine").validate_object(&pooled, None),
        Verdict::default()
    );
    let taint = json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule", "propagation": "Always" }]);
    let mut machine = object("Machine", with(machine_spec(), "/taints", taint));
    machine["metadata"]["labels"] = json!({ "cluster.x-k8s.io/control-plane": "" });
    assert_eq!(
        admission("Machine").validate_object(&machine, None),
        Verdict::default()
    );
}

#[test]
fn a_change_that_upstream_lets_through_although_it_loses_something_warns() {
    let old = with(machine_spec(), "/providerID", json!("p://1"));
    let new = with(
        with(machine_spec(), "/providerID", json!("p://2")),
        "/infrastructureRef/name",
        json!("j"),
    );
    let verdict = judge("Machine", new, Some(old));
    assert_eq!(errors(&verdict), Vec::<String>::new());
    assert_eq!(verdict.warnings.len(), 2);
}

fn deployment_spec() -> Value {
    json!({
        "clusterName": "c",
        "selector": { "matchLabels": { "a": "b" } },
        "template": { "metadata": { "labels": { "a": "b" } }, "spec": machine_spec() },
    })
}

#[test]
fn a_deployment_and_a_set_are_refused_for_each_rule_that_they_break() {
    let both = [
        (
            "/template/spec/bootstrap",
            json!({}),
            "spec.template.spec.bootstrap: Required",
        ),
        (
            "/template/metadata/labels",
            json!({ "a": "c" }),
            "spec.template.metadata.labels: Forbidden",
        ),
        (
            "/template/metadata/labels",
            json!({ "a": "b", "-": "x" }),
            "spec.template.metadata.labels: Invalid value: \"-=x\"",
        ),
        (
            "/selector/matchExpressions",
            json!([{ "key": "a", "operator": "Is" }]),
            "spec.selector.matchExpressions[0].operator: Invalid",
        ),
        (
            "/template/spec/version",
            json!("v1"),
            "spec.template.spec.version: Invalid",
        ),
        (
            "/machineNaming/template",
            json!("{{ .machineSet.name }}"),
            "spec.machineNaming.template: Invalid value: \"{{ .machineSet.name }}\": must hold {{ .random }}",
        ),
        (
            "/machineNaming/template",
            json!("{{ .pool }}-{{ .random }}"),
            "spec.machineNaming.template: Invalid",
        ),
        (
            "/machineNaming/template",
            json!("UPPER-{{ .random }}"),
            "spec.machineNaming.template: Invalid",
        ),
        (
            "/machineNaming/template",
            json!("{{ .random }}-{{ .random"),
            "spec.machineNaming.template: Invalid",
        ),
        (
            "/template/spec/clusterName",
            json!("d"),
            "spec.clusterName: Invalid",
        ),
    ];
    let deployment = [
        (
            "/rollout/strategy/rollingUpdate",
            json!({ "maxSurge": 0, "maxUnavailable": 0 }),
            "spec.rollout.strategy.rollingUpdate: Invalid",
        ),
        (
            "/rollout/strategy/rollingUpdate",
            json!({ "maxSurge": "many" }),
            "spec.rollout.strategy.rollingUpdate.maxSurge: Invalid",
        ),
        (
            "/remediation/maxInFlight",
            json!("x%"),
            "spec.remediation.maxInFlight: Invalid",
        ),
    ];
    for kind in ["MachineSet", "MachineDeployment"] {
        assert_eq!(
            errors(&judge(kind, deployment_spec(), None)),
            Vec::<String>::new()
        );
        let rows = both
            .iter()
            .chain(deployment.iter().filter(|_| kind == "MachineDeployment"));
        for (path, value, error) in rows {
            let found = errors(&judge(
                kind,
                with(deployment_spec(), path, value.clone()),
                None,
            ));
            assert!(
                found.len() == 1 && found[0].starts_with(error),
                "{kind} {path}: {found:?}"
            );
        }
    }
    let zero_percent = json!({ "maxSurge": "0%", "maxUnavailable": 0 });
    let spec = with(
        deployment_spec(),
        "/rollout/strategy/rollingUpdate",
        zero_percent,
    );
    assert_eq!(
        errors(&judge("MachineDeployment", spec, None)),
        Vec::<String>::new(),
        "only literal zeros are refused"
    );
}

#[test]
fn names_that_become_label_values_and_skipped_checks_are_looked_at() {
    let mut deployment = object("MachineDeployment", deployment_spec());
    deployment["metadata"]["name"] = "a".repeat(64).into();
    deployment["metadata"]["annotations"] =
        json!({ annotations::SKIP_PREFLIGHT_CHECKS: "All, Nothing" });
    let found = errors(&admission("MachineDeployment").validate_object(&deployment, None));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("metadata.name: Invalid"));
    assert!(found[1].contains("\"Nothing\": is no preflight check"));
}

#[test]
fn a_cluster_is_refused_for_each_rule_that_it_breaks() {
    let reference = json!({ "apiGroup": "i.io", "kind": "I", "name": "i" });
    let topology =
        |version: &str| json!({ "topology": { "classRef": { "name": "k" }, "version": version } });
    let cases = [
        (json!({ "paused": true }), None, "spec: Required"),
        (
            json!({ "infrastructureRef": reference }),
            Some(json!({ "controlPlaneRef": reference })),
            "spec.controlPlaneRef: Forbidden",
        ),
        (
            json!({ "infrastructureRef": reference, "clusterNetwork": { "pods": { "cidrBlocks": ["10.0.0.0/33"] } } }),
            None,
            "spec.clusterNetwork.pods.cidrBlocks[0]: Invalid",
        ),
        (topology("1.34.1"), None, "spec.topology.version: Invalid"),
        (
            topology("v1.33.0"),
            Some(topology("v1.34.0")),
            "spec.topology.version: Invalid value: \"v1.33.0\": cannot go back",
        ),
        (
            topology("v1.36.0"),
            Some(topology("v1.34.0")),
            "spec.topology.version: Invalid value: \"v1.36.0\": skips",
        ),
        (
            topology("v1.34.0"),
            Some(json!({ "infrastructureRef": reference })),
            "spec.topology: Forbidden",
        ),
        (
            json!({ "controlPlaneRef": reference }),
            Some(topology("v1.34.0")),
            "spec.topology: Forbidden",
        ),
    ];
    for (spec, old, error) in cases {
        let found = errors(&judge("Cluster", spec, old));
        assert!(
            found.iter().any(|found| found.starts_with(error)),
            "{error}: {found:?}"
        );
    }
    let moved = json!({ "infrastructureRef": { "apiGroup": "i.io", "kind": "J", "name": "j" } });
    assert_eq!(
        judge(
            "Cluster",
            moved,
            Some(json!({ "infrastructureRef": reference }))
        ),
        Verdict::default()
    );
}

#[test]
fn health_checks_drain_rules_claims_and_addresses_are_looked_at() {
    let check = |seconds: i32, labels: Value| json!({ "clusterName": "c", "selector": { "matchLabels": labels }, "checks": { "nodeStartupTimeoutSeconds": seconds } });
    let claim = |pool: &str| json!({ "poolRef": { "apiGroup": "g", "kind": "P", "name": pool } });
    let address = |address: &str, prefix: i32| json!({ "claimRef": { "name": "c" }, "poolRef": claim("p")["poolRef"], "address": address, "prefix": prefix });
    let none = Vec::<String>::new();
    for seconds in [0, 30, 600] {
        assert_eq!(
            errors(&judge(
                "MachineHealthCheck",
                check(seconds, json!({ "a": "b" })),
                None
            )),
            none
        );
    }
    assert_eq!(
        errors(&judge("IPAddress", address("10.0.0.1", 32), None)),
        none
    );
    assert_eq!(
        errors(&judge("IPAddress", address("fd00::1", 64), None)),
        none
    );
    let cases = [
        (
            "MachineHealthCheck",
            check(29, json!({ "a": "b" })),
            None,
            "spec.checks.nodeStartupTimeoutSeconds: Invalid",
        ),
        (
            "MachineHealthCheck",
            check(60, json!({})),
            None,
            "spec.selector: Required",
        ),
        (
            "MachineHealthCheck",
            check(60, json!({ "cluster.x-k8s.io/cluster-name": "d" })),
            None,
            "spec.selector: Invalid",
        ),
        (
            "MachineDrainRule",
            json!({ "drain": { "behavior": "Skip", "order": 1 } }),
            None,
            "spec.drain.order: Forbidden",
        ),
        (
            "MachineDrainRule",
            json!({ "drain": { "behavior": "Skip" }, "pods": [{ "selector": { "matchExpressions": [{ "key": "a", "operator": "In" }] } }] }),
            None,
            "spec.pods[0].selector.matchExpressions[0].values: Required",
        ),
        (
            "IPAddressClaim",
            claim("p"),
            Some(claim("q")),
            "spec: Forbidden",
        ),
        (
            "IPAddress",
            address("10.0.0", 24),
            None,
            "spec.address: Invalid",
        ),
        (
            "IPAddress",
            address("10.0.0.1", 33),
            None,
            "spec.prefix: Invalid",
        ),
        (
            "IPAddress",
            with(address("10.0.0.1", 24), "/gateway", json!("x")),
            None,
            "spec.gateway: Invalid",
        ),
    ];
    for (kind, spec, old, error) in cases {
        let found = errors(&judge(kind, spec, old));
        assert!(
            found.len() == 1 && found[0].starts_with(error),
            "{error}: {found:?}"
        );
    }
}

#[test]
fn objects_of_any_shape_are_judged_without_panic() {
    for admission in super::admissions() {
        for odd in [
            json!(null),
            json!(1),
            json!("x"),
            json!([1]),
            json!({ "selector": 1 }),
            json!({ "template": [] }),
        ] {
            for place in ["metadata", "spec"] {
                let mut object = object(admission.kind.kind, json!({}));
                object[place] = odd.clone();
                let _ = admission.default_object(&mut object, None);
                let _ = admission.validate_object(&object, Some(&object));
            }
            let mut odd = odd;
            let _ = admission.default_object(&mut odd, None);
            let _ = admission.validate_object(&odd, None);
        }
    }
}
