//! Keeps a store current: list, then watch from there, again and again.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Error, Object, Selection, Store, query};
use crate::clock::Clock;

/// Objects per page of a list.
const PAGE: usize = 500;
/// Seconds after which the server ends a watch.
const WATCH_SECONDS: u64 = 290;
/// A watch that says nothing for so much longer than it may last is dead.
const GRACE: Duration = Duration::from_secs(30);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";
const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

pub(crate) struct Reflector {
    client: kube::Client,
    clock: Clock,
    store: Arc<Store>,
    path: String,
    selection: Selection,
}

#[derive(Deserialize)]
struct List<'a> {
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
    r#continue: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Why a watch ended.
enum End {
    /// The server closed it, or it went silent: go on from the last version.
    Resume,
    /// The version is too old: list again.
    Relist,
}

impl Reflector {
    pub(crate) fn new(
        client: kube::Client,
        clock: Clock,
        store: Arc<Store>,
        namespace: &str,
        selection: Selection,
    ) -> Self {
        let path = store.resource().path(namespace);
        Self {
            client,
            clock,
            store,
            path,
            selection,
        }
    }

    /// Runs until it is aborted.
    pub(crate) async fn run(self) {
        let mut version: Option<String> = None;
        let mut failures = 0u32;
        loop {
            let step = match &mut version {
                None => self.list().await.map(|listed| version = Some(listed)),
                Some(current) => match self.watch(current).await {
                    Ok(End::Resume) => Ok(()),
                    Ok(End::Relist) => {
                        version = None;
                        Ok(())
                    }
                    Err(error) if error.is_gone() => {
                        version = None;
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            match step {
                Ok(()) => failures = 0,
                Err(error) => {
                    let message = error.full_message();
                    tracing::debug!(kind = %self.store.resource(), error = %message, "watch failed");
                    self.store.failed(message);
                    let wait = BACKOFF_MIN
                        .saturating_mul(2u32.saturating_pow(failures.min(16)))
                        .min(BACKOFF_MAX);
                    failures += 1;
                    self.clock.sleep(wait).await;
                }
            }
        }
    }

    /// Lists everything into the store and returns the version to watch from.
    async fn list(&self) -> Result<String, Error> {
        let mut objects = Vec::new();
        let mut token = String::new();
        loop {
            let mut path = format!("{}?limit={PAGE}", self.path);
            if token.is_empty() {
                path.push_str("&resourceVersion=0");
            } else {
                path.push_str("&continue=");
                path.push_str(&query::encode(&token));
            }
            self.select(&mut path);
            let accept = if self.selection.metadata_only {
                METADATA_LIST
            } else {
                JSON
            };
            let request = self.request(&path, accept)?;
            let text = self
                .client
                .request_text(request)
                .await
                .map_err(|error| Error::from_kube(self.action("list"), error))?;
            let bytes = Bytes::from(text);
            let page: List<'_> = serde_json::from_slice(&bytes)
                .map_err(|source| Error::decode(&self.action("list"), source))?;
            for item in page.items {
                // A copy: an object of a page must not keep the whole page alive.
                objects.push(Arc::new(Object::from_bytes(Bytes::copy_from_slice(
                    item.get().as_bytes(),
                ))?));
            }
            if page.metadata.r#continue.is_empty() {
                let version = page.metadata.resource_version;
                self.store
                    .replace(objects, version.parse().unwrap_or(u64::MAX));
                return Ok(version);
            }
            token = page.metadata.r#continue;
        }
    }

    async fn watch(&self, version: &mut String) -> Result<End, Error> {
        let mut path = format!(
            "{}?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}",
            self.path,
            query::encode(version)
        );
        self.select(&mut path);
        let accept = if self.selection.metadata_only {
            METADATA
        } else {
            JSON
        };
        let (parts, ()) = self.request(&path, accept)?.map(|_| ()).into_parts();
        let request = http::Request::from_parts(parts, Body::empty());
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| Error::from_kube(self.action("watch"), error))?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let mut body = response.into_body();
        let mut buffer = BytesMut::new();
        loop {
            let silence = self.clock.sleep(Duration::from_secs(WATCH_SECONDS) + GRACE);
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = silence => return Ok(End::Resume),
            };
            let Some(frame) = frame else {
                return Ok(End::Resume);
            };
            let frame = frame.map_err(|error| Error::from_kube(self.action("watch"), error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let searched = buffer.len();
            buffer.extend_from_slice(&data);
            let mut from = searched;
            while let Some(end) = buffer[from..].iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(from + end + 1).freeze();
                from = 0;
                if let Some(end) = self.take_in(&line, version)? {
                    return Ok(end);
                }
            }
        }
    }

    /// Takes in one line of a watch.
    fn take_in(&self, line: &Bytes, version: &mut String) -> Result<Option<End>, Error> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let event: Event<'_> = serde_json::from_slice(line)
            .map_err(|source| Error::decode(&self.action("watch"), source))?;
        if event.r#type == "ERROR" {
            let status: kube::core::Status = serde_json::from_str(event.object.get())
                .map_err(|source| Error::decode(&self.action("watch"), source))?;
            if status.code == 410 {
                return Ok(Some(End::Relist));
            }
            return Err(Error::Api {
                action: self.action("watch"),
                status: Box::new(status),
            });
        }
        let object = Arc::new(Object::from_bytes(
            line.slice_ref(event.object.get().as_bytes()),
        )?);
        object.resource_version().clone_into(version);
        match event.r#type {
            "ADDED" | "MODIFIED" => self.store.observe(object),
            "DELETED" => self.store.forget(&object),
            _ => {}
        }
        Ok(None)
    }

    fn select(&self, path: &mut String) {
        if !self.selection.labels.is_empty() {
            path.push_str("&labelSelector=");
            path.push_str(&query::encode(&self.selection.labels));
        }
    }

    fn request(&self, path: &str, accept: &str) -> Result<http::Request<Vec<u8>>, Error> {
        http::Request::get(path)
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(|error| Error::Missing(format!("{}: {error}", self.action("request"))))
    }

    async fn refused(&self, response: http::Response<Body>) -> Error {
        let code = response.status().as_u16();
        let status = match response.into_body().collect().await {
            Ok(body) => serde_json::from_slice::<kube::core::Status>(&body.to_bytes()).ok(),
            Err(_) => None,
        };
        let status = status.unwrap_or_else(|| {
            kube::core::Status::failure(&format!("the server answered {code}"), "Unknown")
                .with_code(code)
        });
        Error::Api {
            action: self.action("watch"),
            status: Box::new(status),
        }
    }

    fn action(&self, verb: &str) -> String {
        format!("{verb} {}", self.store.resource().plural())
    }
}
