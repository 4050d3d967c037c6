//! The server as a tower service: `http::Request` in, `http::Response` out. This is the only door;
//! the socket in front of HTTPS uses it too.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, header};
use http_body_util::BodyExt;

use crate::{
    audit::{Audit, Record},
    reply::{Body, Reply},
    request::{Request, User},
    server::Server,
    status::Status,
};

/// Largest body of a request, in bytes; the real server's limit is the same.
const LARGEST_BODY: usize = 3 * 1024 * 1024;

/// A handle on a server that speaks HTTP: cheap to clone, usable from any number of tasks.
///
/// The future of a call reads the request's body and then handles the request without waiting;
/// dropped before that, nothing has happened. The body of a watch goes on until it is dropped.
#[derive(Debug, Clone)]
pub struct ApiService {
    pub(crate) server: Arc<Server>,
    pub(crate) audit: Option<Arc<dyn Audit>>,
    pub(crate) user: Arc<User>,
}

impl ApiService {
    /// The same service for requests of another user.
    #[must_use]
    pub fn with_user(mut self, user: User) -> Self {
        self.user = Arc::new(user);
        self
    }

    fn handle(&self, request: &Request) -> Response<Body> {
        let mut reply = self.server.handle(request);
        if request.method == http::Method::HEAD {
            reply.body.clear();
        }
        if let Some(audit) = &self.audit {
            audit.record(&Record::new(request, &reply, self.server.clock.now()));
        }
        reply.into_response()
    }
}

impl<B> tower::Service<http::Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = match read(body).await {
                Ok(body) => body,
                Err(status) => return Ok(Reply::failure(&status).into_response()),
            };
            let text = |name: header::HeaderName| text(&parts.headers, name);
            let request = Request {
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                content_type: text(header::CONTENT_TYPE),
                accept: text(header::ACCEPT),
                user_agent: text(header::USER_AGENT),
                user: parts
                    .extensions
                    .get::<Arc<User>>()
                    .cloned()
                    .unwrap_or_else(|| service.user.clone()),
                method: parts.method,
                body,
            };
            Ok(service.handle(&request))
        })
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

/// Reads a body up to its limit; a body of one frame is not copied.
async fn read<B>(body: B) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut more: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Status::bad_request(format!("the body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = more.as_ref().map_or(first.len(), BytesMut::len) + data.len();
        if length > LARGEST_BODY {
            return Err(Status::new(
                413,
                "RequestEntityTooLarge",
                format!("Request entity too large: limit is {LARGEST_BODY}"),
            ));
        }
        if let Some(more) = &mut more {
            more.extend_from_slice(&data);
        } else if first.is_empty() {
            first = data;
        } else {
            let mut joined = BytesMut::with_capacity(length);
            joined.extend_from_slice(&first);
            joined.extend_from_slice(&data);
            more = Some(joined);
        }
    }
    Ok(more.map_or(first, BytesMut::freeze))
}
