//! What a client asks of an API server, request by request: for counts of writes, for what they
//! were about, and for the verbs that a ClusterRole must grant.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::client::Body;
use tower::{Layer, Service};

use crate::clock::Clock;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it was sent.
    pub sent: Timestamp,
    /// When it was answered.
    pub answered: Timestamp,
    /// The verb as a ClusterRole names it: `get`, `list`, `watch`, `create`, `update`, `patch`,
    /// `delete`; the HTTP method in lower case where no resource is meant.
    pub verb: String,
    /// API group; empty in the core group.
    pub group: String,
    /// Plural name of the resource; empty where no resource is meant.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name of the object, or empty.
    pub name: String,
    /// The field manager that it names, or empty.
    pub field_manager: String,
    /// What was sent. Empty for reads, and for Secrets.
    pub body: String,
    /// HTTP status code; 0 when there was no answer.
    pub code: u16,
}

impl Sent {
    /// It wrote, or tried to.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(&*self.verb, "create" | "update" | "patch" | "delete")
    }

    /// A write that counts: of something else than Events and Leases, and successful.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.is_write()
            && (200..300).contains(&self.code)
            && self.resource != "events"
            && self.resource != "leases"
    }

    /// The resource as a ClusterRole names it, `machines/status`.
    #[must_use]
    pub fn rule(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            namespace,
            name,
            field_manager,
            body,
            code,
            ..
        } = self;
        let rule = self.rule();
        write!(
            f,
            "{verb} {rule} {namespace}/{name} ({field_manager}) {code} {body}"
        )
    }
}

/// The requests of one or more clients. Clones are the same record.
#[derive(Clone, Default)]
pub struct Traffic(Arc<Mutex<Vec<Sent>>>);

impl Traffic {
    /// A layer that writes down what goes through it.
    #[must_use]
    pub fn layer(&self, clock: Clock) -> TrafficLayer {
        TrafficLayer {
            traffic: self.clone(),
            clock,
        }
    }

    /// All requests so far, in the order of their answers.
    #[must_use]
    pub fn all(&self) -> Vec<Sent> {
        self.lock().clone()
    }

    /// How many requests there were so far; to be given to [`since`](Self::since).
    #[must_use]
    pub fn mark(&self) -> usize {
        self.lock().len()
    }

    /// The requests after a [`mark`](Self::mark).
    #[must_use]
    pub fn since(&self, mark: usize) -> Vec<Sent> {
        self.lock().iter().skip(mark).cloned().collect()
    }

    /// How many writes counted so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.lock().iter().filter(|sent| sent.counts()).count()
    }

    /// The writes that count after a mark, by resource.
    #[must_use]
    pub fn writes_since(&self, mark: usize) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for sent in self.lock().iter().skip(mark).filter(|sent| sent.counts()) {
            *counts.entry(sent.resource.clone()).or_default() += 1;
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traffic({} requests)", self.mark())
    }
}

/// Puts a [`Traffic`] before a service.
#[derive(Clone, Debug)]
pub struct TrafficLayer {
    traffic: Traffic,
    clock: Clock,
}

impl<S> Layer<S> for TrafficLayer {
    type Service = Recorded<S>;

    fn layer(&self, inner: S) -> Recorded<S> {
        Recorded {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service whose requests are written down.
#[derive(Clone, Debug)]
pub struct Recorded<S> {
    inner: S,
    layer: TrafficLayer,
}

impl<S, B> Service<Request<Body>> for Recorded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (parts, body) = request.into_parts();
        // Bodies of requests are in memory, so that they are there at the first poll.
        let bytes = body
            .collect()
            .now_or_never()
            .and_then(Result::ok)
            .map_or_else(Bytes::new, http_body_util::Collected::to_bytes);
        let TrafficLayer { traffic, clock } = self.layer.clone();
        let mut sent = describe(&parts, clock.now());
        if sent.is_write() && sent.resource != "secrets" {
            sent.body = String::from_utf8_lossy(&bytes).into_owned();
        }
        let answer = self
            .inner
            .call(Request::from_parts(parts, Body::from(bytes)));
        async move {
            let answer = answer.await;
            sent.code = answer
                .as_ref()
                .map_or(0, |response| response.status().as_u16());
            sent.answered = clock.now();
            traffic.lock().push(sent);
            answer
        }
        .boxed()
    }
}

fn describe(parts: &http::request::Parts, now: Timestamp) -> Sent {
    let query = parts.uri.query().unwrap_or_default();
    let mut sent = Sent {
        sent: now,
        answered: now,
        verb: parts.method.as_str().to_ascii_lowercase(),
        group: String::new(),
        resource: String::new(),
        subresource: String::new(),
        namespace: String::new(),
        name: String::new(),
        field_manager: query
            .split('&')
            .find_map(|part| part.strip_prefix("fieldManager="))
            .unwrap_or_default()
            .to_owned(),
        body: String::new(),
        code: 0,
    };
    let mut path = parts.uri.path().split('/').filter(|part| !part.is_empty());
    match path.next() {
        Some("api") => {}
        Some("apis") => path.next().unwrap_or_default().clone_into(&mut sent.group),
        _ => return sent,
    }
    let mut rest: Vec<&str> = path.skip(1).collect();
    if rest.first() == Some(&"namespaces") && rest.len() > 2 {
        rest[1].clone_into(&mut sent.namespace);
        rest.drain(..2);
    }
    let [resource, more @ ..] = rest.as_slice() else {
        return sent;
    };
    (*resource).clone_into(&mut sent.resource);
    if let [name, more @ ..] = more {
        (*name).clone_into(&mut sent.name);
        sent.subresource = more.join("/");
    }
    let watch = query.split('&').any(|part| part == "watch=1");
    let verb = match parts.method {
        Method::GET if watch => "watch",
        Method::GET if sent.name.is_empty() => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return sent,
    };
    verb.clone_into(&mut sent.verb);
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, uri: &str) -> (String, String, String) {
        let (parts, ()) = Request::builder()
            .method(method)
            .uri(uri)
            .body(())
            .unwrap()
            .into_parts();
        let sent = describe(&parts, Timestamp::UNIX_EPOCH);
        (sent.verb.clone(), sent.group.clone(), sent.rule())
    }

    #[test]
    fn requests_are_named_as_a_cluster_role_names_them() {
        let core = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines";
        for (method, uri, verb, group, rule) in [
            (
                "GET",
                core.to_owned(),
                "list",
                "cluster.x-k8s.io",
                "machines",
            ),
            (
                "GET",
                format!("{core}?watch=1&x=2"),
                "watch",
                "cluster.x-k8s.io",
                "machines",
            ),
            (
                "GET",
                format!("{core}/a"),
                "get",
                "cluster.x-k8s.io",
                "machines",
            ),
            (
                "PATCH",
                format!("{core}/a/status"),
                "patch",
                "cluster.x-k8s.io",
                "machines/status",
            ),
            (
                "POST",
                "/api/v1/namespaces/default/secrets".to_owned(),
                "create",
                "",
                "secrets",
            ),
            (
                "GET",
                "/api/v1/namespaces/default".to_owned(),
                "get",
                "",
                "namespaces",
            ),
            ("GET", "/api/v1/nodes".to_owned(), "list", "", "nodes"),
        ] {
            let expected = (verb.to_owned(), group.to_owned(), rule.to_owned());
            assert_eq!(of(method, &uri), expected, "{method} {uri}");
        }
    }
}
