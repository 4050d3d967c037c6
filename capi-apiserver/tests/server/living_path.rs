//! What every controller needs: write, read, watch, delete.

use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    ResourceExt,
    api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;

use crate::fixture::{api, client, refusal, server, widget};

#[tokio::test]
async fn an_object_is_created_with_what_the_server_sets_and_read_back() {
    let client = client(&server());
    let widgets = api(&client);
    let created = widgets
        .create(&PostParams::default(), &widget("a", json!({"unknown": 1})))
        .await
        .expect("created");
    assert_eq!(
        created.data["spec"],
        json!({"size": 3}),
        "defaulted and pruned"
    );
    assert_eq!(created.metadata.generation, Some(1));
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    assert_eq!(widgets.get("a").await.expect("there"), created);
    assert_eq!(refusal(widgets.get("b").await).0, 404);
    let again = refusal(
        widgets
            .create(&PostParams::default(), &widget("a", json!({})))
            .await,
    );
    assert_eq!((again.0, again.1.as_str()), (409, "AlreadyExists"));
    assert_eq!(again.2, "widgets.test.example.com \"a\" already exists");
    let invalid = refusal(
        widgets
            .create(&PostParams::default(), &widget("b", json!({"size": -1})))
            .await,
    );
    assert_eq!((invalid.0, invalid.1.as_str()), (422, "Invalid"));
}

#[tokio::test]
async fn status_and_spec_are_written_apart_and_generation_counts_spec() {
    let client = client(&server());
    let widgets = api(&client);
    widgets
        .create(&PostParams::default(), &widget("a", json!({"size": 1})))
        .await
        .expect("created");
    let patch = Patch::Merge(json!({"spec": {"size": 9}, "status": {"ready": true}}));
    let status = widgets
        .patch_status("a", &PatchParams::default(), &patch)
        .await
        .expect("patched");
    assert_eq!(status.data["status"]["ready"], true);
    assert_eq!(status.data["spec"]["size"], 1);
    assert_eq!(status.metadata.generation, Some(1));
    let spec = widgets
        .patch(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"size": 2}, "status": null})),
        )
        .await;
    let spec = spec.expect("patched");
    assert_eq!(spec.data["status"]["ready"], true);
    assert_eq!(spec.metadata.generation, Some(2));
    let same = widgets
        .patch(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"size": 2}})),
        )
        .await
        .expect("patched");
    assert_eq!(
        same.resource_version(),
        spec.resource_version(),
        "nothing changed, nothing written"
    );
}

#[tokio::test]
async fn an_update_of_an_old_version_conflicts() {
    let client = client(&server());
    let widgets = api(&client);
    let old = widgets
        .create(&PostParams::default(), &widget("a", json!({})))
        .await
        .expect("created");
    let mut new = old.clone();
    new.data["spec"]["size"] = json!(5);
    widgets
        .replace("a", &PostParams::default(), &new)
        .await
        .expect("replaced");
    let conflict = refusal(widgets.replace("a", &PostParams::default(), &new).await);
    assert_eq!((conflict.0, conflict.1.as_str()), (409, "Conflict"));
    assert!(
        conflict.2.contains("the object has been modified"),
        "{}",
        conflict.2
    );
}

#[tokio::test]
async fn apply_owns_fields_and_conflicts_with_other_owners() {
    let client = client(&server());
    let widgets = api(&client);
    let applied = |size: i64| {
        Patch::Apply(json!({
            "apiVersion": "test.example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"size": size},
        }))
    };
    let one = widgets
        .patch("a", &PatchParams::apply("one"), &applied(1))
        .await
        .expect("created");
    assert_eq!(one.metadata.managed_fields.as_ref().map(Vec::len), Some(1));
    let again = widgets
        .patch("a", &PatchParams::apply("one"), &applied(1))
        .await
        .expect("applied");
    assert_eq!(again.resource_version(), one.resource_version());
    let conflict = refusal(
        widgets
            .patch("a", &PatchParams::apply("two"), &applied(2))
            .await,
    );
    assert_eq!(conflict.0, 409);
    assert_eq!(
        conflict.2,
        "Apply failed with 1 conflict: conflict with \"one\": .spec.size"
    );
    let forced = widgets
        .patch("a", &PatchParams::apply("two").force(), &applied(2))
        .await
        .expect("forced");
    assert_eq!(forced.data["spec"]["size"], 2);
}

#[tokio::test]
async fn finalizers_hold_a_deleted_object() {
    let client = client(&server());
    let widgets = api(&client);
    let mut object = widget("a", json!({}));
    object.metadata.finalizers = Some(vec!["test.example.com/hold".to_owned()]);
    widgets
        .create(&PostParams::default(), &object)
        .await
        .expect("created");
    let marked = widgets
        .delete("a", &DeleteParams::default())
        .await
        .expect("deleted");
    let marked = marked.left().expect("the object still there");
    assert!(marked.metadata.deletion_timestamp.is_some());
    assert_eq!(marked.metadata.generation, Some(2));
    widgets
        .patch(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"finalizers": null}})),
        )
        .await
        .expect("patched");
    assert_eq!(refusal(widgets.get("a").await).0, 404);
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    let client = client(&server());
    let widgets = api(&client);
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    let owner = widgets
        .create(&PostParams::default(), &widget("owner", json!({})))
        .await
        .expect("created");
    let reference = json!([{
        "apiVersion": "test.example.com/v1", "kind": "Widget", "name": "owner", "uid": owner.uid(), "blockOwnerDeletion": true,
    }]);
    let secret = |name: &str, finalizers: serde_json::Value| -> Secret {
        serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": reference, "finalizers": finalizers}})).expect("a secret")
    };
    secrets
        .create(&PostParams::default(), &secret("free", json!(null)))
        .await
        .expect("created");
    secrets
        .create(
            &PostParams::default(),
            &secret("held", json!(["test.example.com/hold"])),
        )
        .await
        .expect("created");
    widgets
        .delete("owner", &DeleteParams::foreground())
        .await
        .expect("deleted");
    assert!(secrets.get_opt("free").await.expect("asked").is_none());
    assert!(
        widgets
            .get("owner")
            .await
            .expect("waits")
            .metadata
            .deletion_timestamp
            .is_some()
    );
    secrets
        .patch(
            "held",
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"finalizers": null}})),
        )
        .await
        .expect("patched");
    assert!(widgets.get_opt("owner").await.expect("asked").is_none());
    assert!(secrets.get_opt("held").await.expect("asked").is_none());
}

#[tokio::test]
async fn a_watch_begins_where_a_list_ended() {
    let client = client(&server());
    let widgets = api(&client);
    widgets
        .create(&PostParams::default(), &widget("a", json!({})))
        .await
        .expect("created");
    let list = widgets.list(&ListParams::default()).await.expect("listed");
    assert_eq!(list.items.len(), 1);
    let version = list.metadata.resource_version.expect("a version");
    let events = widgets
        .watch(&WatchParams::default(), &version)
        .await
        .expect("watching");
    pin_mut!(events);
    widgets
        .create(&PostParams::default(), &widget("b", json!({})))
        .await
        .expect("created");
    widgets
        .patch(
            "b",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"size": 7}})),
        )
        .await
        .expect("patched");
    widgets
        .delete("b", &DeleteParams::default())
        .await
        .expect("deleted");
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(
            match events.try_next().await.expect("an event").expect("open") {
                WatchEvent::Added(object) => format!("added {}", object.name_any()),
                WatchEvent::Modified(object) => format!(
                    "modified {} {}",
                    object.name_any(),
                    object.data["spec"]["size"]
                ),
                WatchEvent::Deleted(object) => format!("deleted {}", object.name_any()),
                other => panic!("{other:?}"),
            },
        );
    }
    assert_eq!(seen, ["added b", "modified b 7", "deleted b"]);
}

#[tokio::test]
async fn a_watcher_of_kube_sees_what_is_and_what_comes() {
    let client = client(&server());
    let widgets = api(&client);
    widgets
        .create(&PostParams::default(), &widget("a", json!({})))
        .await
        .expect("created");
    for config in [
        kube::runtime::watcher::Config::default(),
        kube::runtime::watcher::Config::default().streaming_lists(),
    ] {
        let stream = kube::runtime::watcher(widgets.clone(), config);
        pin_mut!(stream);
        let mut seen = Vec::new();
        while seen.len() < 3 {
            use kube::runtime::watcher::Event;
            seen.push(
                match stream.next().await.expect("open").expect("an event") {
                    Event::Init => "init",
                    Event::InitApply(_) => "object",
                    Event::InitDone => "done",
                    _ => "change",
                },
            );
        }
        assert_eq!(seen, ["init", "object", "done"]);
    }
}

#[tokio::test]
async fn a_deleted_namespace_takes_everything_in_it() {
    let client = client(&server());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a namespace");
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .expect("created");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "n");
    let held: Secret =
        serde_json::from_value(json!({"metadata": {"name": "s", "finalizers": ["a.b/c"]}}))
            .expect("a secret");
    secrets
        .create(&PostParams::default(), &held)
        .await
        .expect("created");
    namespaces
        .delete("n", &DeleteParams::default())
        .await
        .expect("deleted");
    let terminating = namespaces.get("n").await.expect("waits");
    assert_eq!(
        terminating
            .status
            .and_then(|status| status.phase)
            .as_deref(),
        Some("Terminating")
    );
    let refused = refusal(
        secrets
            .create(
                &PostParams::default(),
                &Secret {
                    metadata: kube::api::ObjectMeta {
                        name: Some("t".into()),
                        ..Default::default()
                    },
                    ..Default::default()
                },
            )
            .await,
    );
    assert_eq!(refused.0, 403);
    assert!(
        refused.2.contains("because it is being terminated"),
        "{}",
        refused.2
    );
    secrets
        .patch(
            "s",
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"finalizers": null}})),
        )
        .await
        .expect("patched");
    assert!(namespaces.get_opt("n").await.expect("asked").is_none());
    let refused = refusal(secrets.create(&PostParams::default(), &held).await);
    assert_eq!(
        (refused.0, refused.2.as_str()),
        (404, "namespaces \"n\" not found")
    );
}
