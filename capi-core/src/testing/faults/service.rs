//! The API server with faults in front: a tower service for `kube::Client`, one per client.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tower::Service;

use super::{Fault, Faults, Occasion};
use crate::{
    clock::{Clock, Sleep},
    embedded::ApiService,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub type FaultyBody = UnsyncBoxBody<Bytes, BoxError>;

/// A request is at most so late: less than what a Lease's holder keeps before another may have it.
const LATE: Duration = Duration::from_secs(3);
/// Events are at most so late.
const STALE: Duration = Duration::from_secs(5);

/// Changes the body of a request: for defects that are planted between a controller and the
/// server.
pub type Rewrite = Arc<dyn Fn(&Method, &str, Value) -> Value + Send + Sync>;

/// Is told of each request that was done: who, method, path, status code.
pub type Done = Arc<dyn Fn(&str, &Method, &str, u16) + Send + Sync>;

/// The server as one client reaches it.
#[derive(Clone)]
pub struct FaultyService {
    inner: ApiService,
    faults: Option<Faults>,
    clock: Clock,
    who: Arc<str>,
    rewrite: Option<Rewrite>,
    done: Done,
}

impl FaultyService {
    /// The service for a client that is called `who`, without faults.
    pub fn new(inner: ApiService, clock: Clock, who: impl Into<Arc<str>>, done: Done) -> Self {
        Self {
            inner,
            faults: None,
            clock,
            who: who.into(),
            rewrite: None,
            done,
        }
    }

    /// With faults.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// The same for another client.
    #[must_use]
    pub fn called(mut self, who: Arc<str>) -> Self {
        self.who = who;
        self
    }

    /// With a change of every body on the way.
    #[must_use]
    pub fn with_rewrite(mut self, rewrite: Option<Rewrite>) -> Self {
        self.rewrite = rewrite;
        self
    }

    async fn handle(self, request: Request<Body>) -> Result<Response<FaultyBody>, BoxError> {
        let watch = is_watch(request.uri().query().unwrap_or_default());
        let write = *request.method() != Method::GET;
        let occasion = match (write, watch) {
            (true, _) => Occasion::Write,
            (false, true) => Occasion::Watch,
            (false, false) => Occasion::Read,
        };
        let drawn = self.faults.as_ref().and_then(|faults| {
            let fault = faults.draw(occasion)?;
            Some((faults.clone(), fault))
        });
        let Some((faults, fault)) = drawn else {
            return self.execute(request).await;
        };
        // A new object cannot be in conflict with another version of itself.
        let fault = match fault {
            Fault::Conflict if *request.method() == Method::POST => Fault::LostReply,
            other => other,
        };
        faults.note(fault);
        self.tell(&request, &fault.to_string());
        match fault {
            Fault::Conflict => Ok(refusal(409, "Conflict", "the object has been modified")),
            Fault::ServerError => Ok(refusal(503, "ServiceUnavailable", "not now")),
            Fault::LostRequest => Err("the connection broke before the request arrived".into()),
            Fault::LostReply => {
                self.execute(request).await?;
                Err("the connection broke before the answer arrived".into())
            }
            Fault::SlowRequest => {
                let late = faults.within(LATE);
                let clock = self.clock.clone();
                // A task of its own: what was sent arrives, even if the sender dies meanwhile.
                tokio::spawn(async move {
                    clock.sleep(late).await;
                    self.execute(request).await
                })
                .await?
            }
            Fault::CrashBeforeWrite => {
                faults.crash(&self.who);
                std::future::pending().await
            }
            Fault::CrashAfterWrite => {
                self.clone().execute(request).await?;
                faults.crash(&self.who);
                std::future::pending().await
            }
            Fault::ExpiredWatch if faults.below(2) == 0 => {
                Ok(refusal(410, "Expired", "too old resource version"))
            }
            _ => {
                let clock = self.clock.clone();
                let answer = self.execute(request).await?;
                Ok(answer.map(|body| faulty_watch(body, fault, faults, clock)))
            }
        }
    }

    async fn execute(mut self, request: Request<Body>) -> Result<Response<FaultyBody>, BoxError> {
        let (method, path) = (request.method().clone(), path_of(&request));
        let request = match &self.rewrite {
            Some(rewrite) if method != Method::GET => {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await?.to_bytes();
                let bytes = match serde_json::from_slice(&bytes) {
                    Ok(body) => Bytes::from(rewrite(&method, &path, body).to_string()),
                    Err(_) => bytes,
                };
                Request::from_parts(parts, Body::from(bytes))
            }
            _ => request,
        };
        let Ok(response) = self.inner.call(request).await;
        (self.done)(&self.who, &method, &path, response.status().as_u16());
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    fn tell(&self, request: &Request<Body>, fault: &str) {
        let path = format!("{} ({fault})", path_of(request));
        (self.done)(&self.who, request.method(), &path, 0);
    }
}

fn path_of(request: &Request<Body>) -> String {
    request.uri().path().to_owned()
}

fn is_watch(query: &str) -> bool {
    query
        .split('&')
        .any(|part| matches!(part, "watch=1" | "watch=true"))
}

impl Service<Request<Body>> for FaultyService {
    type Response = Response<FaultyBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().handle(request).boxed()
    }
}

fn refusal(code: u16, reason: &str, message: &str) -> Response<FaultyBody> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    let body = Full::from(status.to_string())
        .map_err(Into::into)
        .boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}

/// The rest of a watch.
struct Rest {
    body: FaultyBody,
    fault: Fault,
    faults: Faults,
    clock: Clock,
    /// Frames before it breaks.
    left: u64,
    ended: bool,
}

fn faulty_watch(body: FaultyBody, fault: Fault, faults: Faults, clock: Clock) -> FaultyBody {
    let rest = Rest {
        body,
        fault,
        left: faults.below(8),
        faults,
        clock,
        ended: false,
    };
    let frames = futures::stream::unfold(rest, |mut rest| async move {
        if rest.ended {
            return None;
        }
        if rest.fault != Fault::StaleWatch && rest.left == 0 {
            rest.ended = true;
            match rest.fault {
                Fault::SilentWatch => std::future::pending().await,
                Fault::ExpiredWatch => {
                    let event = json!({ "type": "ERROR", "object": {
                        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": "too old resource version", "reason": "Expired", "code": 410,
                    }});
                    let frame = Full::from(format!("{event}\n")).frame().await?;
                    let frame = frame.map_err(|never| match never {});
                    return Some((frame, rest));
                }
                _ => return None,
            }
        }
        let frame = rest.body.frame().await?;
        rest.left = rest.left.saturating_sub(1);
        if rest.fault == Fault::StaleWatch && rest.faults.are_active() && rest.faults.below(3) == 0
        {
            let late: Sleep = rest.clock.sleep(rest.faults.within(STALE));
            late.await;
        }
        Some((frame, rest))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}
