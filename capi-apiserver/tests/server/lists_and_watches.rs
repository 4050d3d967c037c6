//! Lists in chunks and as of versions; watches that resume, expire and are bookmarked.

use std::time::Duration;

use capi_apiserver::{ApiServer, TokioClock};
use http_body_util::{BodyExt, Empty};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tower::Service;

use crate::fixture::{GROUP, api, client, refusal, server, widget, widgets as definition};

async fn get(server: &ApiServer, path: &str) -> (u16, Value) {
    let request = http::Request::get(path)
        .body(Empty::<bytes::Bytes>::new())
        .expect("a request");
    let response = server.service().call(request).await.expect("an answer");
    let code = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (code, serde_json::from_slice(&body).expect("JSON"))
}

/// The frames of a watch until it ends.
async fn watch(server: &ApiServer, query: &str) -> Vec<Value> {
    let path = format!("/apis/{GROUP}/v1/namespaces/default/widgets?watch=true&{query}");
    let request = http::Request::get(path)
        .body(Empty::<bytes::Bytes>::new())
        .expect("a request");
    let response = server.service().call(request).await.expect("an answer");
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).expect("a frame"))
        .collect()
}

fn short(frame: &Value) -> String {
    format!(
        "{} {}",
        frame["type"].as_str().unwrap_or_default(),
        frame["object"]["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
    )
}

async fn fill(server: &ApiServer, count: usize) {
    let widgets = api(&client(server));
    for index in 0..count {
        widgets
            .create(
                &PostParams::default(),
                &widget(&format!("w{index}"), json!({"size": index})),
            )
            .await
            .expect("created");
    }
}

#[tokio::test]
async fn chunks_show_one_state_whatever_happens_between_them() {
    let server = server();
    fill(&server, 5).await;
    let widgets = api(&client(&server));
    let first = widgets
        .list(&ListParams::default().limit(2))
        .await
        .expect("listed");
    assert_eq!(first.items.len(), 2);
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    widgets
        .delete("w3", &DeleteParams::default())
        .await
        .expect("deleted");
    widgets
        .create(&PostParams::default(), &widget("w9", json!({})))
        .await
        .expect("created");
    let token = first.metadata.continue_.expect("a token");
    let rest = widgets
        .list(&ListParams::default().limit(9).continue_token(&token))
        .await
        .expect("listed");
    let names: Vec<String> = rest.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["w2", "w3", "w4"]);
    assert_eq!(
        rest.metadata.resource_version,
        first.metadata.resource_version
    );
    server.compact();
    let gone = refusal(
        widgets
            .list(&ListParams::default().limit(9).continue_token(&token))
            .await,
    );
    assert_eq!((gone.0, gone.1.as_str()), (410, "Expired"));
}

#[tokio::test]
async fn selectors_choose_by_labels_and_fields() {
    let server = server();
    let widgets = api(&client(&server));
    for (name, color, tier) in [
        ("a", "red", "one"),
        ("b", "green", "two"),
        ("c", "red", "two"),
    ] {
        let mut object = widget(name, json!({"color": color}));
        object.metadata.labels = Some([("tier".to_owned(), tier.to_owned())].into());
        widgets
            .create(&PostParams::default(), &object)
            .await
            .expect("created");
    }
    let names = async |params: ListParams| -> Vec<String> {
        let list = widgets.list(&params).await.expect("listed");
        list.items.iter().map(ResourceExt::name_any).collect()
    };
    assert_eq!(
        names(ListParams::default().labels("tier=two")).await,
        ["b", "c"]
    );
    assert_eq!(
        names(ListParams::default().fields("spec.color=red")).await,
        ["a", "c"]
    );
    assert_eq!(
        names(
            ListParams::default()
                .fields("spec.color=red")
                .labels("tier=two")
        )
        .await,
        ["c"]
    );
    assert_eq!(
        names(ListParams::default().fields("metadata.name=b")).await,
        ["b"]
    );
    let unknown = refusal(
        widgets
            .list(&ListParams::default().fields("spec.size=1"))
            .await,
    );
    assert_eq!(
        (unknown.0, unknown.2.as_str()),
        (400, "field label not supported: spec.size")
    );
}

#[tokio::test]
async fn an_object_that_ceases_to_match_is_deleted_for_the_watcher() {
    let server = server();
    let widgets = api(&client(&server));
    let version = server.resource_version();
    widgets
        .create(
            &PostParams::default(),
            &widget("a", json!({"color": "red"})),
        )
        .await
        .expect("created");
    for color in ["green", "red"] {
        let patch = Patch::Merge(json!({"spec": {"color": color}}));
        widgets
            .patch("a", &PatchParams::default(), &patch)
            .await
            .expect("patched");
    }
    tokio::time::pause();
    let frames = watch(
        &server,
        &format!("resourceVersion={version}&fieldSelector=spec.color%3Dred&timeoutSeconds=1"),
    )
    .await;
    assert_eq!(
        frames.iter().map(short).collect::<Vec<_>>(),
        ["ADDED a", "DELETED a", "ADDED a"]
    );
    assert_eq!(
        frames[1]["object"]["spec"]["color"], "red",
        "the state that was selected"
    );
    assert_eq!(
        frames[1]["object"]["metadata"]["resourceVersion"],
        (version + 2).to_string()
    );
}

#[tokio::test]
async fn a_watch_from_a_version_that_is_gone_expires() {
    let server = server();
    fill(&server, 3).await;
    server.compact();
    let path = format!("/apis/{GROUP}/v1/namespaces/default/widgets?watch=true&resourceVersion=1");
    let (code, status) = get(&server, &path).await;
    assert_eq!((code, status["reason"].as_str()), (410, Some("Expired")));
}

#[tokio::test]
async fn a_watcher_that_lags_too_far_is_told_so() {
    let server = ApiServer::builder()
        .seed(1)
        .history(2)
        .crd(definition())
        .build()
        .expect("a server");
    let version = server.resource_version();
    let path =
        format!("/apis/{GROUP}/v1/namespaces/default/widgets?watch=true&resourceVersion={version}");
    let request = http::Request::get(path)
        .body(Empty::<bytes::Bytes>::new())
        .expect("a request");
    let mut body = server
        .service()
        .call(request)
        .await
        .expect("an answer")
        .into_body();
    fill(&server, 100).await;
    let mut last = Value::Null;
    while let Some(frame) = body.frame().await {
        let data = frame.expect("a frame").into_data().expect("data");
        last = serde_json::from_slice(&data).expect("JSON");
    }
    assert_eq!(
        (last["type"].as_str(), last["object"]["code"].as_u64()),
        (Some("ERROR"), Some(410))
    );
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_a_timeout_ends_the_watch() {
    let epoch = "2026-01-01T00:00:00Z".parse().expect("a time");
    let clock = TokioClock::starting_at(epoch);
    let server = ApiServer::builder()
        .clock(clock)
        .seed(1)
        .crd(definition())
        .build()
        .expect("a server");
    let version = server.resource_version();
    let start = tokio::time::Instant::now();
    let frames = watch(
        &server,
        &format!("resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=150"),
    )
    .await;
    assert_eq!(
        frames.iter().map(short).collect::<Vec<_>>(),
        ["BOOKMARK ", "BOOKMARK "]
    );
    assert_eq!(
        frames[0]["object"]["metadata"]["resourceVersion"],
        version.to_string()
    );
    assert_eq!(start.elapsed(), Duration::from_secs(150));
}

#[tokio::test]
async fn a_list_as_of_a_version_shows_that_version() {
    let server = server();
    fill(&server, 2).await;
    let version = server.resource_version();
    api(&client(&server))
        .delete("w0", &DeleteParams::default())
        .await
        .expect("deleted");
    let base = format!("/apis/{GROUP}/v1/namespaces/default/widgets");
    let (_, exact) = get(
        &server,
        &format!("{base}?resourceVersion={version}&resourceVersionMatch=Exact"),
    )
    .await;
    assert_eq!(exact["items"].as_array().map(Vec::len), Some(2));
    let (_, newer) = get(
        &server,
        &format!("{base}?resourceVersion={version}&resourceVersionMatch=NotOlderThan"),
    )
    .await;
    assert_eq!(newer["items"].as_array().map(Vec::len), Some(1));
    let (code, _) = get(&server, &format!("{base}?resourceVersion=9999")).await;
    assert_eq!(code, 504);
}
