//! A merge patch of a status is answered from a few parts of the stored bytes. Whatever it says, the
//! store is then as if the whole object had been read and written: the same patch with one more
//! member that changes nothing takes that way.

use std::sync::{Arc, Mutex};

use capi_apiserver::{ApiServer, Clock};
use http_body_util::{BodyExt, Full};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::Service;

const PATH: &str = "/apis/test.example.com/v1/namespaces/default/gauges";

/// A clock that a test moves.
#[derive(Debug, Clone)]
struct Manual(Arc<Mutex<Timestamp>>);

impl Manual {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Timestamp::UNIX_EPOCH)))
    }

    fn advance(&self) {
        let mut now = self.0.lock().expect("no test panicked");
        *now += SignedDuration::from_secs(1);
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no test panicked")
    }
}

fn definition(level: &Value) -> Value {
    let conditions = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object", "required": ["type"],
            "properties": {
                "type": {"type": "string"},
                "status": {"type": "string", "enum": ["True", "False"], "default": "False"},
                "message": {"type": "string", "maxLength": 6},
            },
        },
    });
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {
                "type": "integer",
                "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "never shrinks"}],
            },
        }},
        "status": {"type": "object", "properties": {
            "level": level,
            "note": {"type": "string", "nullable": true},
            "hosts": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "conditions": conditions,
        }},
    }}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gauges.test.example.com"},
        "spec": {
            "group": "test.example.com", "scope": "Namespaced", "names": {"plural": "gauges", "kind": "Gauge"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}},
            ],
        },
    })
}

fn level() -> Value {
    json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5", "message": "too high"}]})
}

fn server(clock: &Manual) -> ApiServer {
    let builder = ApiServer::builder().seed(1).clock(clock.clone());
    builder.crd(definition(&level())).build().expect("a server")
}

#[derive(Debug, Clone)]
struct Write {
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: Value,
}

async fn send(server: &ApiServer, write: &Write) -> (u16, Vec<String>, Value) {
    let request = http::Request::builder()
        .method(write.method)
        .uri(&write.path)
        .header("content-type", write.content_type)
        .body(Full::new(bytes::Bytes::from(write.body.to_string())))
        .expect("a request");
    let Ok(response) = server.service().call(request).await;
    let code = response.status().as_u16();
    let warnings = response.headers().get_all("warning").iter();
    let warnings = warnings
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect();
    let Ok(body) = response.into_body().collect().await;
    let body = serde_json::from_slice(&body.to_bytes()).expect("JSON");
    (code, warnings, body)
}

fn create(name: &str) -> Write {
    Write {
        method: "POST",
        path: format!("{PATH}?fieldManager=user"),
        content_type: "application/json",
        body: json!({
            "apiVersion": "test.example.com/v1", "kind": "Gauge",
            "metadata": {"name": name, "finalizers": ["example.com/hold"]}, "spec": {"size": 1},
        }),
    }
}

fn patch(manager: &str, query: &str, body: Value) -> Write {
    Write {
        method: "PATCH",
        path: format!("{PATH}/a/status?fieldManager={manager}{query}"),
        content_type: "application/merge-patch+json",
        body,
    }
}

fn condition() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec!["Ready", "Paused", "A\"b"]);
    let status = prop::sample::select(vec!["True", "True", "False", "Maybe"]);
    let message = prop::option::of("[a-z\\\\\"\n]{0,7}");
    (kind, prop::option::of(status), message).prop_map(|(kind, status, message)| {
        let mut condition = json!({"type": kind});
        if let Some(status) = status {
            condition["status"] = status.into();
        }
        if let Some(message) = message {
            condition["message"] = message.into();
        }
        condition
    })
}

fn status() -> impl Strategy<Value = Value> {
    let member = prop_oneof![
        1 => (0..7).prop_map(|level| ("level", json!(level))),
        1 => prop::sample::select(vec![json!(null), json!("x"), json!("y")]).prop_map(|note| ("note", note)),
        1 => prop::sample::select(vec![json!(["a"]), json!(["b", "a"]), json!(["a", "a"]), json!([]), json!(null)])
            .prop_map(|hosts| ("hosts", hosts)),
        3 => prop::collection::vec(condition(), 0..3).prop_map(|list| ("conditions", list.into())),
        1 => Just(("unknown", json!(1))),
    ];
    prop::collection::vec(member, 0..4).prop_map(|members| {
        let members = members.into_iter();
        Value::Object(
            members
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    })
}

fn write() -> impl Strategy<Value = Write> {
    let manager = prop::sample::select(vec!["one", "two", "user", "b"]);
    let query = prop::sample::select(vec![
        "",
        "",
        "",
        "&fieldValidation=Strict",
        "&fieldValidation=Ignore",
        "&dryRun=All",
    ]);
    let metadata = prop::sample::select(vec![
        None,
        None,
        Some(json!({"name": "a", "namespace": "default"})),
        Some(json!({"resourceVersion": "1"})),
        Some(json!({"labels": {"a": "b"}})),
        Some(json!({"uid": "other"})),
    ]);
    let patched = (manager.clone(), query, metadata, status()).prop_map(
        |(manager, query, metadata, status)| {
            let mut body = json!({"status": status});
            if let Some(metadata) = metadata {
                body["metadata"] = metadata;
            }
            patch(manager, query, body)
        },
    );
    let applied = (manager.clone(), status()).prop_map(|(manager, status)| Write {
        method: "PATCH",
        path: format!("{PATH}/a/status?fieldManager={manager}&force=true"),
        content_type: "application/apply-patch+yaml",
        body: json!({"apiVersion": "test.example.com/v1", "kind": "Gauge", "status": status}),
    });
    let desired = (manager, 0..4).prop_map(|(manager, size)| Write {
        method: "PATCH",
        path: format!("{PATH}/a?fieldManager={manager}"),
        content_type: "application/merge-patch+json",
        body: json!({"spec": {"size": size}}),
    });
    prop_oneof![8 => patched, 1 => applied, 1 => desired]
}

/// The same write with a member that a patch of the status leaves alone.
fn the_long_way(write: &Write) -> Write {
    let mut write = write.clone();
    if write.content_type == "application/merge-patch+json" && write.path.contains("/status") {
        write.body["spec"] = json!({});
    }
    write
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_patched_status_is_stored_as_if_the_whole_object_had_been_written(
        writes in prop::collection::vec((any::<bool>(), write()), 1..14),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let clock = Manual::new();
            let (short, long) = (server(&clock), server(&clock));
            for server in [&short, &long] {
                send(server, &create("a")).await;
            }
            for (later, write) in &writes {
                if *later {
                    clock.advance();
                }
                let answer = send(&short, write).await;
                let expected = send(&long, &the_long_way(write)).await;
                prop_assert_eq!(&answer.0, &expected.0, "{:?}", write);
                prop_assert_eq!(&answer.1, &expected.1, "{:?}", write);
                // A refusal that shows the patched object shows the member that was added, too.
                if answer.0 < 400 {
                    prop_assert_eq!(&answer.2, &expected.2, "{:?}", write);
                }
                prop_assert_eq!(short.digest(), long.digest(), "{:?}", write);
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_definition_that_changed_judges_the_next_patch_of_a_status() {
    let clock = Manual::new();
    let server = server(&clock);
    send(&server, &create("a")).await;
    let first = patch("one", "", json!({"status": {"level": 4}}));
    assert_eq!(send(&server, &first).await.0, 200);
    let stricter = json!({"type": "integer", "maximum": 3});
    let change = Write {
        method: "PATCH",
        path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gauges.test.example.com"
            .to_owned(),
        content_type: "application/merge-patch+json",
        body: json!({"spec": definition(&stricter)["spec"]}),
    };
    assert_eq!(send(&server, &change).await.0, 200);
    let second = patch("one", "", json!({"status": {"level": 5}}));
    let (code, _, answer) = send(&server, &second).await;
    assert_eq!(code, 422, "{answer}");
    let third = patch("one", "", json!({"status": {"level": 2}}));
    assert_eq!(send(&server, &third).await.0, 200);
}

#[tokio::test]
async fn a_patch_that_changes_nothing_writes_nothing() {
    let clock = Manual::new();
    let server = server(&clock);
    send(&server, &create("a")).await;
    let write = patch(
        "one",
        "",
        json!({"status": {"level": 1, "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    let (_, _, first) = send(&server, &write).await;
    let version = server.resource_version();
    clock.advance();
    let (code, _, second) = send(&server, &write).await;
    assert_eq!((code, &second), (200, &first));
    assert_eq!(server.resource_version(), version);
}
