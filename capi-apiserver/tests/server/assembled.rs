//! What whoever assembles a server adds to it, and what comes out of a seed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use capi_apiserver::{
    Admission, AdmissionRequest, ApiServer, Audit, Operation, Record, Status, json,
};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::fixture::{api, client, refusal, resource, widget, widgets as definition};

/// v1beta1 says `colour`, v1 says `color`.
fn convert(object: &[u8], to: &str) -> Result<Vec<u8>, String> {
    let mut object: Value = serde_json::from_slice(object).map_err(|error| error.to_string())?;
    let (from, into) = if to.ends_with("/v1") {
        ("selector", "phase")
    } else {
        ("phase", "selector")
    };
    if let Some(tags) = object
        .pointer_mut("/spec/tags")
        .and_then(Value::as_object_mut)
        && let Some(value) = tags.remove(from)
    {
        tags.insert(into.to_owned(), value);
    }
    object["apiVersion"] = to.into();
    serde_json::to_vec(&object).map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_object_reads_and_writes_in_every_served_version() {
    let built = ApiServer::builder()
        .crd(definition())
        .conversion("widgets.test.example.com", convert)
        .build();
    let server = built.expect("a server");
    let client = client(&server);
    let new = api(&client);
    let old: Api<DynamicObject> =
        Api::default_namespaced_with(client.clone(), &resource("v1beta1"));
    new.create(
        &PostParams::default(),
        &widget("a", json!({"tags": {"phase": "x"}})),
    )
    .await
    .expect("created");
    let read = old.get("a").await.expect("there");
    assert_eq!(read.data["spec"]["tags"], json!({"selector": "x"}));
    assert_eq!(
        read.types.expect("types").api_version,
        "test.example.com/v1beta1"
    );
    let patch = Patch::Merge(json!({"spec": {"tags": {"selector": "y"}}}));
    old.patch("a", &PatchParams::default(), &patch)
        .await
        .expect("patched");
    assert_eq!(
        new.get("a").await.expect("there").data["spec"]["tags"],
        json!({"phase": "y"})
    );
    assert_eq!(
        old.list(&kube::api::ListParams::default())
            .await
            .expect("listed")
            .items[0]
            .data["spec"]["tags"],
        json!({"selector": "y"})
    );
}

struct Guard;

impl Admission for Guard {
    fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut json::Value<'_>,
    ) -> Result<(), Status> {
        if request.operation == Operation::Create {
            object.set_at(&["metadata", "labels", "admitted"], "yes");
        }
        Ok(())
    }

    fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &json::Value<'_>,
    ) -> Result<(), Status> {
        let size = object.at(&["spec", "size"]).and_then(json::Value::as_i64);
        match request.operation {
            Operation::Delete if size == Some(7) => Err(Status::forbidden(
                "test.example.com",
                "widgets",
                request.name,
                "seven stays",
            )),
            _ if size == Some(13) => Err(Status::forbidden(
                "test.example.com",
                "widgets",
                request.name,
                "bad luck",
            )),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn admission_changes_and_refuses() {
    let built = ApiServer::builder()
        .crd(definition())
        .admission("widgets.test.example.com", Guard)
        .build();
    let widgets = api(&client(&built.expect("a server")));
    let created = widgets
        .create(&PostParams::default(), &widget("a", json!({"size": 7})))
        .await
        .expect("created");
    assert_eq!(created.metadata.labels.expect("labels")["admitted"], "yes");
    let refused = refusal(
        widgets
            .create(&PostParams::default(), &widget("b", json!({"size": 13})))
            .await,
    );
    assert_eq!(refused.0, 403);
    assert!(
        refused.2.ends_with("is forbidden: bad luck"),
        "{}",
        refused.2
    );
    assert_eq!(
        refusal(widgets.delete("a", &DeleteParams::default()).await).0,
        403
    );
}

async fn story(seed: u64) -> String {
    let epoch = "2026-01-01T00:00:00Z".parse().expect("a time");
    let clock = capi_apiserver::TokioClock::starting_at(epoch);
    let server = ApiServer::builder()
        .clock(clock)
        .seed(seed)
        .crd(definition())
        .build()
        .expect("a server");
    let widgets = api(&client(&server));
    for size in 0..5 {
        let mut object = widget("", json!({"size": size}));
        object.metadata.name = None;
        object.metadata.generate_name = Some("made-".to_owned());
        let created = widgets
            .create(&PostParams::default(), &object)
            .await
            .expect("created");
        if size == 3 {
            widgets
                .delete(
                    &created.metadata.name.expect("a name"),
                    &DeleteParams::default(),
                )
                .await
                .expect("deleted");
        }
    }
    server.digest()
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_tells_the_same_story() {
    assert_eq!(story(1).await, story(1).await);
    assert_ne!(story(1).await, story(2).await);
}

#[derive(Debug, Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Audit for Count {
    fn record(&self, record: &Record<'_>) {
        if record.verb == "create"
            && record.resource == "widgets"
            && record.code == 201
            && record.request_bytes > 0
        {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn each_request_is_audited() {
    let count = Count::default();
    let server = ApiServer::builder()
        .crd(definition())
        .audit(count.clone())
        .build()
        .expect("a server");
    let widgets = api(&client(&server));
    widgets
        .create(&PostParams::default(), &widget("a", json!({})))
        .await
        .expect("created");
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn objects_to_begin_with_are_there_in_order() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: space}\n---\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: space}\n";
    let server = ApiServer::builder()
        .manifest(text)
        .build()
        .expect("a server");
    let secrets: Api<k8s_openapi::api::core::v1::Secret> =
        Api::namespaced(client(&server), "space");
    assert!(secrets.get("s").await.is_ok());
    assert!(ApiServer::builder().manifest("kind: [").build().is_err());
    assert!(
        ApiServer::builder()
            .object(json!({"kind": "Pod"}))
            .build()
            .is_err()
    );
}
