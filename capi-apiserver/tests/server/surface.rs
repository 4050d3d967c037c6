//! Whatever comes in: no panic, no hang, and what is refused changes nothing.

use std::time::Duration;

use capi_apiserver::ApiServer;
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tower::Service;

use crate::fixture::{GROUP, server};

#[derive(Debug, Clone)]
struct Anything {
    method: &'static str,
    path: String,
    query: String,
    content_type: String,
    body: Vec<u8>,
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "api", "apis", "v1", "v1beta1", GROUP, "namespaces", "default", "widgets", "a", "b", "status", "scale",
            "secrets", "configmaps", "pods", "events", "events.k8s.io", "apiextensions.k8s.io", "watch", "finalize",
            "customresourcedefinitions", "eviction", "kube-system", "openapi", "v2", "v3", "version",
        ]).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9%._~-]{0,12}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    let free = prop::collection::vec(segment(), 0..8)
        .prop_map(|segments| format!("/{}", segments.join("/")));
    let near = prop::sample::select(vec![
        format!("/apis/{GROUP}/v1/namespaces/default/widgets"),
        format!("/apis/{GROUP}/v1/namespaces/default/widgets/a"),
        format!("/apis/{GROUP}/v1beta1/namespaces/default/widgets/a"),
        format!("/apis/{GROUP}/v1/namespaces/default/widgets/a/status"),
        format!("/apis/{GROUP}/v1/namespaces/default/widgets/a/scale"),
        format!("/apis/{GROUP}/v1/widgets"),
        "/api/v1/namespaces/default/secrets".to_owned(),
        "/api/v1/namespaces/default/secrets/s".to_owned(),
        "/api/v1/namespaces/default".to_owned(),
        "/api/v1/namespaces".to_owned(),
    ]);
    prop_oneof![1 => free, 3 => near]
}

fn parameter() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "labelSelector",
        "fieldSelector",
        "limit",
        "continue",
        "resourceVersion",
        "resourceVersionMatch",
        "watch",
        "timeoutSeconds",
        "fieldManager",
        "force",
        "fieldValidation",
        "dryRun",
        "propagationPolicy",
        "sendInitialEvents",
        "allowWatchBookmarks",
        "gracePeriodSeconds",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "1",
            "0",
            "true",
            "Strict",
            "All",
            "Exact",
            "a=b",
            "metadata.name=a",
            "x in (y)",
            "m",
            "Foreground"
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9%=!,()<> +.-]{0,16}",
    ];
    (key, value).prop_map(|(key, value)| {
        format!(
            "{key}={}",
            value
                .replace(' ', "+")
                .replace('<', "%3C")
                .replace('>', "%3E")
        )
    })
}

fn scalar() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-z0-9/._-]{0,8}".prop_map(Into::into),
        prop::sample::select(vec![
            "Widget",
            "test.example.com/v1",
            "v1",
            "a",
            "s",
            "default",
            "replace",
            "/spec/size",
            "x"
        ])
        .prop_map(Into::into),
    ]
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    let key = prop_oneof![
        3 => prop::sample::select(vec![
            "apiVersion", "kind", "metadata", "name", "namespace", "spec", "status", "labels", "finalizers", "size",
            "parts", "color", "tags", "replicas", "op", "path", "value", "ownerReferences", "uid", "managedFields",
            "data", "stringData", "resourceVersion", "deletionTimestamp", "generateName", "$patch", "preconditions",
        ]).prop_map(str::to_owned),
        1 => "[a-z$./]{0,6}",
    ];
    scalar().prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A valid object with one member replaced by anything.
fn near_object() -> impl Strategy<Value = serde_json::Value> {
    let pointers = vec![
        "/metadata",
        "/metadata/name",
        "/spec",
        "/spec/size",
        "/spec/parts",
        "/spec/tags",
        "/status",
        "/kind",
        "/metadata/labels",
        "/metadata/ownerReferences",
        "/metadata/finalizers",
        "/metadata/managedFields",
    ];
    (prop::sample::select(pointers), tree()).prop_map(|(pointer, value)| {
        let mut object = serde_json::json!({
            "apiVersion": "test.example.com/v1", "kind": "Widget",
            "metadata": {"name": "a", "labels": {}, "ownerReferences": [], "finalizers": [], "managedFields": []},
            "spec": {"size": 1, "parts": [{"name": "p"}], "tags": {}}, "status": {"ready": true},
        });
        if let Some(place) = object.pointer_mut(pointer) {
            *place = value;
        }
        object
    })
}

/// A JSON patch of operations that could be meant.
fn operations() -> impl Strategy<Value = serde_json::Value> {
    let name = prop::sample::select(vec![
        "add", "remove", "replace", "move", "copy", "test", "mend",
    ]);
    let place = || {
        prop_oneof![
            5 => prop::sample::select(vec![
                "/spec/size", "/spec/parts/-", "/spec/parts/0", "/spec/parts/0/value", "/spec/tags/a~1b", "/status",
                "/metadata/labels", "/metadata/name", "/metadata/finalizers/-", "/metadata/managedFields", "/spec", "",
            ]).prop_map(str::to_owned),
            1 => "[a-z0-9/~-]{0,8}",
        ]
    };
    let operation = (
        name,
        place(),
        prop::option::of(place()),
        prop::option::of(tree()),
    );
    let operation = operation.prop_map(|(op, path, from, value)| {
        let mut operation = serde_json::json!({"op": op, "path": path});
        if let Some(from) = from {
            operation["from"] = from.into();
        }
        if let Some(value) = value {
            operation["value"] = value;
        }
        operation
    });
    prop::collection::vec(operation, 0..4).prop_map(Into::into)
}

/// A selector that could be meant.
fn selector() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "a",
        "example.com/a",
        "metadata.name",
        "spec.color",
        "metadata.namespace",
        "-",
        "",
    ]);
    let operator = prop::sample::select(vec!["=", "==", "!=", " in ", " notin ", ">", "", "!"]);
    let value = prop::sample::select(vec!["b", "(b,c)", "()", "(b", "", "default", "1"]);
    let requirement =
        (key, operator, value).prop_map(|(key, operator, value)| format!("{key}{operator}{value}"));
    let kind = prop::sample::select(vec!["labelSelector", "fieldSelector"]);
    (kind, prop::collection::vec(requirement, 1..4)).prop_map(|(kind, requirements)| {
        let text = requirements.join(",");
        let text = text.replace('>', "%3E").replace(' ', "+");
        format!("{kind}={text}")
    })
}

fn anything() -> impl Strategy<Value = Anything> {
    let body = prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..40),
        3 => tree().prop_map(|tree| tree.to_string().into_bytes()),
        4 => near_object().prop_map(|tree| tree.to_string().into_bytes()),
        2 => operations().prop_map(|tree| tree.to_string().into_bytes()),
    ];
    let content_type = prop::sample::select(vec![
        "application/json",
        "application/json",
        "application/yaml",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
        "application/vnd.kubernetes.protobuf",
        "",
        "text/html",
    ]);
    let method = prop::sample::select(vec![
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS",
    ]);
    (
        method,
        path(),
        prop::collection::vec(prop_oneof![3 => parameter(), 1 => selector()], 0..3),
        content_type,
        body,
    )
        .prop_map(|(method, path, query, content_type, body)| Anything {
            method,
            path,
            query: query.join("&"),
            content_type: content_type.to_owned(),
            body,
        })
}

async fn send(server: &ApiServer, anything: &Anything) -> Option<(u16, Vec<u8>)> {
    let request = http::Request::builder()
        .method(anything.method)
        .uri(format!("{}?{}", anything.path, anything.query))
        .header("content-type", &anything.content_type)
        .body(Full::new(bytes::Bytes::from(anything.body.clone())))
        .ok()?;
    let response = server.service().call(request).await.ok()?;
    let code = response.status().as_u16();
    // Only a watch has a body without end.
    let body = response.into_body();
    let whole = http_body::Body::size_hint(&body).exact().is_some();
    let body = if whole {
        body.collect().await.ok()?.to_bytes().to_vec()
    } else {
        Vec::new()
    };
    Some((code, body))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn anything_is_answered_and_a_refusal_changes_nothing(requests in prop::collection::vec(anything(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let server = server();
            for request in &requests {
                let before = server.digest();
                let answer = tokio::time::timeout(Duration::from_secs(10), send(&server, request)).await;
                let answer = answer.expect("no request hangs");
                let Some((code, body)) = answer else { continue };
                prop_assert!((200..600).contains(&code));
                if code >= 400 {
                    prop_assert_eq!(&server.digest(), &before, "{:?} was refused with {}", request, code);
                }
                if code >= 400 && request.method != "HEAD" && body.starts_with(b"{") {
                    let status: serde_json::Value = serde_json::from_slice(&body).expect("a Status");
                    prop_assert_eq!(&status["kind"], "Status");
                    prop_assert_eq!(status["code"].as_u64(), Some(u64::from(code)));
                }
                if code == 500 {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    prop_assert!(!text.contains("a stored"), "{:?}: {}", request, text);
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let server = server();
    let before = server.digest();
    let request = Anything {
        method: "POST",
        path: format!("/apis/{GROUP}/v1/namespaces/default/widgets"),
        query: String::new(),
        content_type: "application/json".to_owned(),
        body: vec![b' '; 4 * 1024 * 1024],
    };
    assert_eq!(
        send(&server, &request).await.map(|(code, _)| code),
        Some(413)
    );
    assert_eq!(server.digest(), before);
}

#[tokio::test]
async fn dry_runs_change_nothing() {
    let server = server();
    let path = format!("/apis/{GROUP}/v1/namespaces/default/widgets");
    let object = br#"{"apiVersion":"test.example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"size":1}}"#;
    let json = |method, path: &str, body: &[u8]| Anything {
        method,
        path: path.to_owned(),
        query: String::new(),
        content_type: if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        }
        .to_owned(),
        body: body.to_vec(),
    };
    assert_eq!(
        send(&server, &json("POST", &path, object))
            .await
            .map(|(code, _)| code),
        Some(201)
    );
    let before = server.digest();
    let named = format!("{path}/a");
    for (request, code) in [
        (json("PATCH", &named, br#"{"spec":{"size":2}}"#), 200),
        (json("DELETE", &named, b""), 200),
        (
            json(
                "POST",
                &path,
                br#"{"apiVersion":"test.example.com/v1","kind":"Widget","metadata":{"name":"b"}}"#,
            ),
            201,
        ),
    ] {
        let request = Anything {
            query: "dryRun=All".to_owned(),
            ..request
        };
        assert_eq!(
            send(&server, &request).await.map(|(code, _)| code),
            Some(code),
            "{request:?}"
        );
        assert_eq!(server.digest(), before, "{request:?}");
    }
}
