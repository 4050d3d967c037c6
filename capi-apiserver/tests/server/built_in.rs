//! What is special about built-in kinds.

use k8s_openapi::api::{
    core::v1::{Event, Node, Pod, Secret},
    events::v1::Event as NewEvent,
    policy::v1::PodDisruptionBudget,
};
use kube::api::{
    Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy,
};
use serde_json::{Value, json};

use crate::fixture::{api, client, refusal, server, widget};

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

#[tokio::test]
async fn string_data_of_a_secret_becomes_data() {
    let secrets: Api<Secret> = Api::default_namespaced(client(&server()));
    let secret: Secret = typed(json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}}));
    let created = secrets
        .create(&PostParams::default(), &secret)
        .await
        .expect("created");
    assert_eq!(created.data.expect("data")["a"].0, b"b");
    assert!(created.string_data.is_none());
    assert_eq!(created.type_.as_deref(), Some("Opaque"));
}

#[tokio::test]
async fn an_event_is_one_object_in_two_groups() {
    let client = client(&server());
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let event: Event = typed(json!({
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Widget", "name": "a"}, "message": "hello", "reason": "Said",
    }));
    events
        .create(&PostParams::default(), &event)
        .await
        .expect("created");
    let new: Api<NewEvent> = Api::default_namespaced(client);
    let read = new.get("e").await.expect("there");
    assert_eq!(read.note.as_deref(), Some("hello"));
    assert_eq!(
        read.regarding
            .and_then(|regarding| regarding.name)
            .as_deref(),
        Some("a")
    );
    let list = events
        .list(&ListParams::default().fields("involvedObject.name=a"))
        .await
        .expect("listed");
    assert_eq!(list.items.len(), 1);
}

async fn running_pod(pods: &Api<Pod>, name: &str) {
    let pod: Pod = typed(json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}]},
    }));
    pods.create(&PostParams::default(), &pod)
        .await
        .expect("created");
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(ready))
        .await
        .expect("patched");
}

#[tokio::test]
async fn an_eviction_respects_the_disruption_budget() {
    let client = client(&server());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client);
    let budget = typed(
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
    );
    budgets
        .create(&PostParams::default(), &budget)
        .await
        .expect("created");
    running_pod(&pods, "p1").await;
    let refused = refusal(pods.evict("p1", &EvictParams::default()).await);
    assert_eq!((refused.0, refused.1.as_str()), (429, "TooManyRequests"));
    assert!(
        refused
            .2
            .contains("would violate the pod's disruption budget"),
        "{}",
        refused.2
    );
    running_pod(&pods, "p2").await;
    let status = budgets
        .get("b")
        .await
        .expect("there")
        .status
        .expect("status");
    assert_eq!(
        (
            status.disruptions_allowed,
            status.current_healthy,
            status.expected_pods
        ),
        (Some(1), Some(2), Some(2))
    );
    pods.evict("p1", &EvictParams::default())
        .await
        .expect("evicted");
    assert!(pods.get_opt("p1").await.expect("asked").is_none());
    assert_eq!(
        refusal(pods.evict("p2", &EvictParams::default()).await).0,
        429
    );
}

#[tokio::test]
async fn a_running_pod_ends_when_its_grace_has_been_set_to_zero() {
    let pods: Api<Pod> = Api::default_namespaced(client(&server()));
    let pod: Pod = typed(
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c"}]}}),
    );
    pods.create(&PostParams::default(), &pod)
        .await
        .expect("created");
    pods.delete("p", &DeleteParams::default())
        .await
        .expect("deleted");
    let ending = pods.get("p").await.expect("still there");
    assert_eq!(ending.metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("p", &DeleteParams::default().grace_period(0))
        .await
        .expect("deleted");
    assert!(pods.get_opt("p").await.expect("asked").is_none());
}

#[tokio::test]
async fn conditions_of_a_node_merge_by_type() {
    let nodes: Api<Node> = Api::all(client(&server()));
    nodes
        .create(
            &PostParams::default(),
            &typed(json!({"metadata": {"name": "n"}})),
        )
        .await
        .expect("created");
    for (kind, status) in [
        ("Ready", "False"),
        ("DiskPressure", "False"),
        ("Ready", "True"),
    ] {
        let patch = json!({"status": {"conditions": [{"type": kind, "status": status}]}});
        nodes
            .patch_status("n", &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .expect("patched");
    }
    let conditions = nodes
        .get("n")
        .await
        .expect("there")
        .status
        .and_then(|status| status.conditions)
        .expect("conditions");
    let mut told: Vec<String> = conditions
        .iter()
        .map(|one| format!("{}={}", one.type_, one.status))
        .collect();
    told.sort();
    assert_eq!(told, ["DiskPressure=False", "Ready=True"]);
}

#[tokio::test]
async fn an_orphan_forgets_its_owner() {
    let client = client(&server());
    let widgets = api(&client);
    let secrets: Api<Secret> = Api::default_namespaced(client);
    let owner = widgets
        .create(&PostParams::default(), &widget("o", json!({})))
        .await
        .expect("created");
    let secret: Secret = typed(json!({"metadata": {"name": "s", "ownerReferences": [{
        "apiVersion": "test.example.com/v1", "kind": "Widget", "name": "o", "uid": owner.metadata.uid,
    }]}}));
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .expect("created");
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    widgets.delete("o", &orphan).await.expect("deleted");
    assert!(widgets.get_opt("o").await.expect("asked").is_none());
    assert!(
        secrets
            .get("s")
            .await
            .expect("stays")
            .metadata
            .owner_references
            .is_none()
    );
}

#[tokio::test]
async fn a_dependent_of_nobody_goes() {
    let secrets: Api<Secret> = Api::default_namespaced(client(&server()));
    let secret: Secret = typed(json!({"metadata": {"name": "s", "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1234",
    }]}}));
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .expect("created");
    assert!(secrets.get_opt("s").await.expect("asked").is_none());
}

#[tokio::test]
async fn many_held_dependents_go_one_by_one_and_their_owner_last() {
    let client = client(&server());
    let widgets = api(&client);
    let secrets: Api<Secret> = Api::default_namespaced(client);
    let owner = widgets
        .create(&PostParams::default(), &widget("o", json!({})))
        .await
        .expect("created");
    let reference = json!([{
        "apiVersion": "test.example.com/v1", "kind": "Widget", "name": "o",
        "uid": owner.metadata.uid, "blockOwnerDeletion": true,
    }]);
    for index in 0..300 {
        let secret: Secret = typed(json!({"metadata": {
            "name": format!("s{index}"), "ownerReferences": reference, "finalizers": ["a.b/c"],
        }}));
        secrets
            .create(&PostParams::default(), &secret)
            .await
            .expect("created");
    }
    widgets
        .delete("o", &DeleteParams::foreground())
        .await
        .expect("deleted");
    for index in 0..300 {
        assert!(widgets.get_opt("o").await.expect("asked").is_some());
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        secrets
            .patch(&format!("s{index}"), &PatchParams::default(), &free)
            .await
            .expect("patched");
    }
    assert!(widgets.get_opt("o").await.expect("asked").is_none());
}
