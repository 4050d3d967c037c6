//! An answer before it becomes an HTTP response: status code, warnings, and a body that is whole,
//! in chunks that share the stored bytes, or a watch.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Frame, SizeHint};

use crate::{status::Status, verbs::watch::Watch};

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) content_type: &'static str,
    pub(crate) warnings: Vec<String>,
    /// Seconds after which the client may try again.
    pub(crate) retry_after: Option<u32>,
    pub(crate) body: Body,
}

/// The body of a response: whole, in chunks, or the frames of a watch, which go on until the client
/// drops the body or the watch times out.
#[derive(Debug, Default)]
pub struct Body(Content);

#[derive(Debug, Default)]
enum Content {
    #[default]
    Empty,
    Chunks(VecDeque<Bytes>),
    Watch(Box<Watch>),
}

pub(crate) const JSON: &str = "application/json";

impl Reply {
    pub(crate) fn json(code: u16, body: impl Into<Bytes>) -> Self {
        Self {
            code,
            content_type: JSON,
            warnings: Vec::new(),
            retry_after: None,
            body: Body::from(body.into()),
        }
    }

    pub(crate) fn chunks(body: VecDeque<Bytes>) -> Self {
        Self {
            code: 200,
            content_type: JSON,
            warnings: Vec::new(),
            retry_after: None,
            body: Body(Content::Chunks(body)),
        }
    }

    pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Self {
        Self {
            code,
            content_type: "text/plain; charset=utf-8",
            warnings: Vec::new(),
            retry_after: None,
            body: Body::from(text.into()),
        }
    }

    pub(crate) fn watch(watch: Watch) -> Self {
        Self {
            code: 200,
            content_type: JSON,
            warnings: Vec::new(),
            retry_after: None,
            body: Body(Content::Watch(Box::new(watch))),
        }
    }

    /// What the real server answers for paths that nothing is behind.
    pub(crate) fn not_found_page() -> Self {
        Self::text(404, Bytes::from_static(b"404 page not found\n"))
    }

    pub(crate) fn failure(status: &Status) -> Self {
        let seconds = status.details().map(|details| details.retry_after_seconds);
        Self {
            retry_after: seconds.filter(|seconds| *seconds > 0),
            ..Self::json(status.code(), status.to_json())
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = http::StatusCode::from_u16(self.code)
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        for warning in self.warnings {
            let text: String = warning.chars().filter(|c| !c.is_control()).collect();
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
                headers.append(header::WARNING, value);
            }
        }
        response
    }
}

impl Body {
    /// Length of the bytes that are known now; a watch has none.
    pub(crate) fn len(&self) -> u64 {
        match &self.0 {
            Content::Empty | Content::Watch(_) => 0,
            Content::Chunks(chunks) => chunks.iter().map(|chunk| chunk.len() as u64).sum(),
        }
    }

    /// Drops the content, as the answer to HEAD.
    pub(crate) fn clear(&mut self) {
        self.0 = Content::Empty;
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() {
            Content::Empty
        } else {
            Content::Chunks(VecDeque::from([bytes]))
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().0 {
            Content::Empty => Poll::Ready(None),
            Content::Chunks(chunks) => {
                Poll::Ready(chunks.pop_front().map(|chunk| Ok(Frame::data(chunk))))
            }
            Content::Watch(watch) => watch
                .poll_next(context)
                .map(|frame| frame.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Empty => true,
            Content::Chunks(chunks) => chunks.is_empty(),
            Content::Watch(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Empty => SizeHint::with_exact(0),
            Content::Chunks(_) => SizeHint::with_exact(self.len()),
            Content::Watch(_) => SizeHint::default(),
        }
    }
}
