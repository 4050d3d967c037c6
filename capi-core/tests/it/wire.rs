//! The way from a client to the API server, with what a real one has: latency, watches that lag,
//! and breaks; and a record of every write that was answered.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use capi_core::{
    clock::Clock,
    embedded::{ApiServer, ApiService},
};
use futures::{FutureExt as _, future::BoxFuture, stream};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use jiff::Timestamp;
use kube::client::Body;
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxBody = UnsyncBoxBody<Bytes, BoxError>;

/// A write that the server answered.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) at: Timestamp,
    pub(crate) who: &'static str,
    pub(crate) path: String,
    pub(crate) code: u16,
}

impl Write {
    /// Whether it changed something that is no Event and no Lease.
    pub(crate) fn counts(&self) -> bool {
        self.code < 300 && !self.path.ends_with("/events") && !self.path.contains("/leases")
    }
}

/// Writes in the order in which they were answered. Clones are the same log.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Write>>>);

impl Log {
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many objects of a kind were made.
    pub(crate) fn created(&self, plural: &str) -> usize {
        // By POST to the collection, or by server-side apply to a name that was free.
        let (end, middle) = (format!("/{plural}"), format!("/{plural}/"));
        let made = |write: &&Write| {
            write.code == 201 && (write.path.ends_with(&end) || write.path.contains(&middle))
        };
        self.writes().iter().filter(made).count()
    }
}

/// The way of one client.
#[derive(Clone)]
pub(crate) struct Wire {
    inner: ApiService,
    clock: Clock,
    who: &'static str,
    log: Log,
    latency: Duration,
    watch: Duration,
    cut: Arc<AtomicBool>,
    /// How many machines, sets and addresses were to be made, where the wire loses some of that.
    makings: Option<Arc<AtomicUsize>>,
}

impl Wire {
    pub(crate) fn new(server: &ApiServer, clock: &Clock, who: &'static str, log: &Log) -> Self {
        Self {
            inner: server.service(),
            clock: clock.clone(),
            who,
            log: log.clone(),
            latency: Duration::ZERO,
            watch: Duration::ZERO,
            cut: Arc::default(),
            makings: None,
        }
    }

    /// Of every four requests that make a machine, a set or an address one never arrives, and the answer to
    /// another one is lost.
    pub(crate) fn lose_makings(mut self) -> Self {
        self.makings = Some(Arc::default());
        self
    }

    /// Each request that is no watch takes so long.
    pub(crate) fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Each event of a watch comes so late.
    pub(crate) fn late_watches(mut self, late: Duration) -> Self {
        self.watch = late;
        self
    }

    /// What breaks the way while it is true: requests fail, and watches that run bring nothing new.
    pub(crate) fn breaker(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cut)
    }

    pub(crate) fn client(self) -> kube::Client {
        kube::Client::new(self, "default")
    }

    async fn handle(mut self, request: Request<Body>) -> Result<Response<BoxBody>, BoxError> {
        let query = request.uri().query().unwrap_or_default();
        let watch = query
            .split('&')
            .any(|part| part == "watch=1" || part == "watch=true");
        if self.cut.load(Ordering::Relaxed) {
            return Err("the network is down".into());
        }
        if !watch && !self.latency.is_zero() {
            self.clock.sleep(self.latency).await;
        }
        let write = request.method() != Method::GET;
        let path = request.uri().path().to_owned();
        let making = self.makings.as_ref().filter(|_| makes(&request));
        let making = making.map(|makings| makings.fetch_add(1, Ordering::Relaxed) % 4);
        if making == Some(0) {
            return Err("the connection broke before the request arrived".into());
        }
        let Ok(response) = self.inner.call(request).await;
        if write {
            let write = Write {
                at: self.clock.now(),
                who: self.who,
                path,
                code: response.status().as_u16(),
            };
            let mut log = self.log.0.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(write);
        }
        if making == Some(2) {
            return Err("the connection broke before the answer arrived".into());
        }
        let (clock, late) = (self.clock, self.watch);
        Ok(response.map(|body| {
            let body = body.map_err(Into::into).boxed_unsync();
            if watch && !late.is_zero() {
                delayed(body, clock, late)
            } else {
                body
            }
        }))
    }
}

/// Whether a request makes a machine, a set or an address, or applies one.
fn makes(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let kinds = ["machines", "machinesets", "ipaddresses"];
    match request.method().as_str() {
        "POST" => kinds.iter().any(|kind| path.ends_with(&format!("/{kind}"))),
        "PATCH" => {
            let apply = request.headers().get(http::header::CONTENT_TYPE);
            apply.is_some_and(|kind| kind == "application/apply-patch+yaml")
                && kinds.iter().any(|kind| path.contains(&format!("/{kind}/")))
        }
        _ => false,
    }
}

/// The frames of a body, each so long after it came.
fn delayed(mut body: BoxBody, clock: Clock, late: Duration) -> BoxBody {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let arrivals = clock.clone();
    tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                () = sender.closed() => return,
                frame = body.frame() => frame,
            };
            let Some(frame) = frame else { return };
            if sender.send((arrivals.now(), frame)).is_err() {
                return;
            }
        }
    });
    let frames = stream::unfold((receiver, clock), move |(mut receiver, clock)| async move {
        let (came, frame) = receiver.recv().await?;
        let passed = Duration::try_from(clock.now().duration_since(came)).unwrap_or_default();
        clock.sleep(late.saturating_sub(passed)).await;
        Some((frame, (receiver, clock)))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

impl Service<Request<Body>> for Wire {
    type Response = Response<BoxBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().handle(request).boxed()
    }
}
