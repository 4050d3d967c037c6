//! Requests as `kube::Client` sends them: codes, headers that matter and bodies.

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

use crate::{definition::Definition, mask::mask, transcript::Transcript};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

struct Asker {
    client: Client,
    transcript: Transcript,
}

impl Asker {
    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: String,
    ) -> (u16, String, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .header("accept", JSON)
            .header("user-agent", "differential")
            .body(body.into_bytes().into())
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        let code = response.status().as_u16();
        let warnings: Vec<String> = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|warning| warning.to_str().unwrap_or_default().to_owned())
            .collect();
        let bytes = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap()
            .to_bytes();
        (
            code,
            warnings.join("\n"),
            String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    async fn ask(
        &mut self,
        name: &str,
        method: Method,
        path: &str,
        kind: &str,
        body: Value,
    ) -> Value {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.ask_text(name, method, path, kind, text).await
    }

    async fn ask_text(
        &mut self,
        name: &str,
        method: Method,
        path: &str,
        kind: &str,
        body: String,
    ) -> Value {
        let (code, warnings, answer) = self.send(method.clone(), path, kind, body).await;
        let told = format!(
            "{method} {}\n{code} {}\n{}",
            mask(path),
            mask(&warnings),
            mask(&answer)
        );
        self.transcript.record(name, told);
        serde_json::from_str(&answer).unwrap_or_default()
    }

    /// Reads a watch to its end.
    async fn watch(&mut self, name: &str, path: &str) {
        let request = Request::get(path).body(Vec::new()).unwrap();
        let told = match self.client.request_stream(request).await {
            Ok(stream) => {
                let lines: Vec<String> = stream.lines().try_collect().await.unwrap();
                lines
                    .iter()
                    .map(|line| mask(line))
                    .collect::<Vec<_>>()
                    .join("\n")
            }
            Err(error) => mask(&error.to_string()),
        };
        self.transcript.record(name, told);
    }
}

/// Sends every request.
pub(crate) async fn run(client: Client, d: &Definition) -> Transcript {
    let mut a = Asker {
        client,
        transcript: Transcript::of_requests(),
    };
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made = a
        .ask(
            "create the definition",
            Method::POST,
            definitions,
            JSON,
            d.manifest.clone(),
        )
        .await;
    let path = d.path("default");
    // The definition is served when its resource is.
    while a.send(Method::GET, &path, JSON, String::new()).await.0 == 404 {
        let (code, _, answer) = a
            .send(
                Method::GET,
                &format!("{definitions}/{}", d.resource()),
                JSON,
                String::new(),
            )
            .await;
        assert_eq!(code, 200, "the definition was refused: {answer}; {made}");
    }
    let one = format!("{path}/one");
    let empty = a
        .ask("an empty list", Method::GET, &path, JSON, Value::Null)
        .await;
    let begin = empty["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    a.ask(
        "discovery of the group",
        Method::GET,
        &format!("/apis/{}/v1", d.group),
        JSON,
        Value::Null,
    )
    .await;
    a.ask(
        "the group",
        Method::GET,
        &format!("/apis/{}", d.group),
        JSON,
        Value::Null,
    )
    .await;
    let created = a
        .ask(
            "create",
            Method::POST,
            &format!("{path}?fieldManager=me"),
            JSON,
            d.object("one", d.full()),
        )
        .await;
    a.ask(
        "create again",
        Method::POST,
        &path,
        JSON,
        d.object("one", d.full()),
    )
    .await;
    a.ask("get", Method::GET, &one, JSON, Value::Null).await;
    a.ask(
        "get nothing",
        Method::GET,
        &format!("{path}/nothing"),
        JSON,
        Value::Null,
    )
    .await;
    let mut invalid = d.least();
    invalid[&d.text] = json!("9");
    invalid[&d.choice] = json!("Purple");
    invalid[&d.list] = json!([{"value": 1}]);
    a.ask(
        "create something invalid",
        Method::POST,
        &path,
        JSON,
        d.object("bad", invalid),
    )
    .await;
    a.ask("a bad label", Method::POST, &path, JSON, {
        let mut object = d.object("bad", d.least());
        object["metadata"]["labels"] = json!({"a b": "c d"});
        object
    })
    .await;
    let mut unknown = d.object("bad", d.least());
    unknown["spec"]["unheard"] = json!(1);
    a.ask(
        "strict",
        Method::POST,
        &format!("{path}?fieldValidation=Strict"),
        JSON,
        unknown.clone(),
    )
    .await;
    a.ask(
        "warned",
        Method::POST,
        &format!("{path}?fieldValidation=Warn&dryRun=All"),
        JSON,
        unknown,
    )
    .await;
    a.ask(
        "merge patch",
        Method::PATCH,
        &format!("{one}?fieldManager=merger"),
        MERGE,
        json!({"spec": {&d.replicas: 8}}),
    )
    .await;
    a.ask(
        "merge patch, strict",
        Method::PATCH,
        &format!("{one}?fieldValidation=Strict"),
        MERGE,
        json!({"spec": {"unheard": 8}}),
    )
    .await;
    a.ask(
        "merge patch of labels that are numbers",
        Method::PATCH,
        &one,
        MERGE,
        json!({"metadata": {"labels": {"a": 1}}}),
    )
    .await;
    a.ask(
        "merge patch of an immutable field",
        Method::PATCH,
        &one,
        MERGE,
        json!({"metadata": {"uid": "x"}}),
    )
    .await;
    a.ask(
        "merge patch of a bad label",
        Method::PATCH,
        &one,
        MERGE,
        json!({"metadata": {"labels": {"a b": "c"}}}),
    )
    .await;
    a.ask(
        "merge patch of the kind",
        Method::PATCH,
        &one,
        MERGE,
        json!({"kind": "Other"}),
    )
    .await;
    a.ask(
        "json patch",
        Method::PATCH,
        &one,
        PATCH,
        json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]),
    )
    .await;
    a.ask(
        "json patch that does not apply",
        Method::PATCH,
        &one,
        PATCH,
        json!([{"op": "remove", "path": "/nothing"}]),
    )
    .await;
    a.ask(
        "strategic merge patch",
        Method::PATCH,
        &one,
        STRATEGIC,
        json!({}),
    )
    .await;
    a.ask(
        "a patch of no known type",
        Method::PATCH,
        &one,
        "text/plain",
        json!({}),
    )
    .await;
    a.ask(
        "apply",
        Method::PATCH,
        &format!("{path}/two?fieldManager=one"),
        APPLY,
        d.object("two", d.full()),
    )
    .await;
    a.ask(
        "apply again",
        Method::PATCH,
        &format!("{path}/two?fieldManager=one"),
        APPLY,
        d.object("two", d.full()),
    )
    .await;
    a.ask(
        "apply without a manager",
        Method::PATCH,
        &format!("{path}/two"),
        APPLY,
        d.object("two", d.full()),
    )
    .await;
    a.ask(
        "apply conflicts",
        Method::PATCH,
        &format!("{path}/two?fieldManager=two"),
        APPLY,
        d.object(
            "two",
            json!({&d.text: "other", &d.list: [{"name": "a", "value": 9}]}),
        ),
    )
    .await;
    a.ask(
        "apply by force",
        Method::PATCH,
        &format!("{path}/two?fieldManager=two&force=true"),
        APPLY,
        d.object("two", json!({&d.text: "other"})),
    )
    .await;
    a.ask(
        "force without apply",
        Method::PATCH,
        &format!("{one}?force=true"),
        MERGE,
        json!({}),
    )
    .await;
    a.ask(
        "apply another version",
        Method::PATCH,
        &format!("{path}/two?fieldManager=one"),
        APPLY,
        {
            let mut object = d.object("two", d.least());
            object["apiVersion"] = json!(format!("{}/v9", d.group));
            object
        },
    )
    .await;
    a.ask(
        "status",
        Method::PATCH,
        &format!("{one}/status?fieldManager=ctl"),
        MERGE,
        json!({"status": {"phase": "Up", "replicas": 1}}),
    )
    .await;
    a.ask(
        "scale",
        Method::GET,
        &format!("{one}/scale"),
        JSON,
        Value::Null,
    )
    .await;
    a.ask("put the scale", Method::PUT, &format!("{one}/scale"), JSON, json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "one", "namespace": "default"}, "spec": {"replicas": 4}})).await;
    a.ask(
        "put with an old version",
        Method::PUT,
        &one,
        JSON,
        created.clone(),
    )
    .await;
    let mut bare = created;
    bare["metadata"]
        .as_object_mut()
        .map(|metadata| metadata.remove("resourceVersion"));
    a.ask(
        "put without a version",
        Method::PUT,
        &one,
        JSON,
        bare.clone(),
    )
    .await;
    bare["metadata"]["name"] = json!("other");
    a.ask("put with another name", Method::PUT, &one, JSON, bare)
        .await;
    a.ask(
        "a method that is not allowed",
        Method::PATCH,
        &path,
        MERGE,
        json!({}),
    )
    .await;
    a.ask(
        "delete a collection of nothing",
        Method::DELETE,
        &format!("{path}?labelSelector=none=1"),
        JSON,
        Value::Null,
    )
    .await;
    a.ask("delete with finalizers", Method::POST, &path, JSON, {
        let mut object = d.object("held", d.least());
        object["metadata"]["finalizers"] = json!(["example.com/hold"]);
        object
    })
    .await;
    a.ask(
        "delete what is held",
        Method::DELETE,
        &format!("{path}/held"),
        JSON,
        Value::Null,
    )
    .await;
    a.ask(
        "let it go",
        Method::PATCH,
        &format!("{path}/held"),
        MERGE,
        json!({"metadata": {"finalizers": null}}),
    )
    .await;
    a.ask("delete", Method::DELETE, &one, JSON, Value::Null)
        .await;
    a.ask("delete again", Method::DELETE, &one, JSON, Value::Null)
        .await;
    a.watch(
        "watch it all",
        &format!("{path}?watch=true&resourceVersion={begin}&timeoutSeconds=2"),
    )
    .await;
    a.watch("watch with bookmarks and initial events", &format!("{path}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=2")).await;
    a.ask("a list", Method::GET, &path, JSON, Value::Null).await;
    a.ask_text(
        "a body that is cut off",
        Method::POST,
        &path,
        JSON,
        "{\"a\":".to_owned(),
    )
    .await;
    a.ask_text(
        "a body of protocol buffers",
        Method::POST,
        &path,
        "application/octet-stream",
        "x".to_owned(),
    )
    .await;
    a.ask("a review of what I may do", Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", JSON, json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}})).await;
    a.transcript
}
