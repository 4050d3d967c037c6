//! Watching a collection: initial events, changes as they come, bookmarks, the end.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::{
    registry::Resource,
    reply::Reply,
    request::{Form, VersionMatch},
    selector::Selector,
    server::{Call, Server},
    status::{Cause, Status},
    storage::{Change, ChangeKind, Compacted, Range, Rendering, Subscription, Version},
};

use super::{list, read, shape};

/// How often a watch that wants bookmarks gets one.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// A running watch; its frames are the body of the response.
pub(crate) struct Watch {
    server: Arc<Server>,
    resource: Arc<Resource>,
    served: usize,
    form: Form,
    table: read::TableStyle,
    /// Whether the columns of a table have been described to the client.
    described: AtomicBool,
    prefix: String,
    /// The one object that is watched, by its key.
    only: Option<String>,
    selector: Selector,
    subscription: Subscription,
    ready: VecDeque<Bytes>,
    bookmark: Option<Pin<Box<Sleep>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("prefix", &self.prefix)
            .field("subscription", &self.subscription)
            .finish()
    }
}

pub(crate) fn watch(server: &Arc<Server>, call: &Call<'_>) -> Result<Reply, Status> {
    if call.resource.behaviour == crate::registry::Behaviour::Review {
        return Err(Status::method_not_allowed());
    }
    list::check_fields(call)?;
    let options = &call.options;
    check_initial_events(call)?;
    let newest = call.server.store.version();
    let from = match options.resource_version.as_deref() {
        None => None,
        Some(text) => Some(list::parse_version(text)?),
    };
    let initial = match options.send_initial_events {
        Some(initial) => initial,
        None => from.is_none_or(|version| version == 0),
    };
    let after = match from {
        Some(version) if version > 0 && !initial => version,
        _ => newest,
    };
    let subscription = server
        .store
        .subscribe(call.resource.collection, after)
        .map_err(|Compacted { oldest }| {
            Status::expired(format!("too old resource version: {after} ({oldest})"))
        })?;
    let mut watch = Watch {
        server: server.clone(),
        resource: call.resource.clone(),
        served: call.served,
        form: call.accept.form,
        table: read::TableStyle::of(call),
        described: AtomicBool::new(false),
        prefix: list::prefix(call),
        only: (!call.path.name.is_empty()).then(|| call.key()),
        selector: options.selector.clone(),
        subscription,
        ready: VecDeque::new(),
        bookmark: options
            .bookmarks
            .then(|| Box::pin(tokio::time::sleep(BOOKMARKS))),
        deadline: options.timeout_seconds.map(|seconds| {
            Box::pin(tokio::time::sleep(Duration::from_secs(
                seconds.min(u64::from(u32::MAX)),
            )))
        }),
        ended: false,
    };
    if initial {
        watch.initial(after)?;
        if options.send_initial_events == Some(true) && options.bookmarks {
            let frame = watch.bookmark_frame(after, true);
            watch.ready.push_back(frame);
        }
    }
    Ok(Reply::watch(watch))
}

fn check_initial_events(call: &Call<'_>) -> Result<(), Status> {
    let options = &call.options;
    let invalid = |field: &str, message: &str| {
        Err(Status::invalid(
            "meta.k8s.io",
            "ListOptions",
            "",
            vec![Cause::new(
                "FieldValueForbidden",
                field,
                format!("Forbidden: {message}"),
            )],
        ))
    };
    if options.send_initial_events.is_some() {
        if options.version_match != Some(VersionMatch::NotOlderThan) {
            return invalid(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        if options.continuation.is_some() || options.limit.is_some() {
            return invalid("limit", "limit and continue are forbidden for watch");
        }
    } else if options.version_match.is_some() {
        return invalid(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        );
    }
    Ok(())
}

impl Watch {
    /// Everything that is there now, as ADDED.
    fn initial(&mut self, at: Version) -> Result<(), Status> {
        let range = Range {
            prefix: &self.prefix,
            after: None,
            at: Some(at),
        };
        let listing = self
            .server
            .store
            .list(self.resource.collection, range)
            .map_err(|_| {
                Status::expired("The resourceVersion for the provided watch is too old.")
            })?;
        for (key, stored) in listing.items {
            if self.only.as_deref().is_some_and(|only| only != &*key) {
                continue;
            }
            if let Some(object) = self.selected(&stored.bytes) {
                let frame = self.frame(ChangeKind::Added, &object);
                self.ready.push_back(frame);
            }
        }
        Ok(())
    }

    fn version(&self) -> &crate::registry::Served {
        &self.resource.served[self.served]
    }

    /// The object in the version of the request, if it is selected.
    fn selected(&self, bytes: &Bytes) -> Option<Bytes> {
        let object = match shape::convert(
            &self.server,
            &self.resource,
            bytes,
            &self.version().api_version,
        ) {
            Ok(std::borrow::Cow::Borrowed(_)) => bytes.clone(),
            Ok(std::borrow::Cow::Owned(converted)) => converted.into(),
            Err(status) => {
                tracing::warn!(%status, "an object is left out of a watch");
                return None;
            }
        };
        (self.selector.is_empty() || self.selector.matches(&object)).then_some(object)
    }

    fn frame(&self, kind: ChangeKind, object: &[u8]) -> Bytes {
        let shown = match self.form {
            Form::Object => return crate::storage::frame(kind.prefix(), object),
            Form::Metadata => read::metadata_only(object, "v1"),
            Form::Table => {
                let style = read::TableStyle {
                    now: self.server.clock.now(),
                    header: !self.described.swap(true, Ordering::Relaxed),
                    ..self.table.clone()
                };
                read::table(&style, &[object], read::version_of(object))
            }
        };
        match shown {
            Ok(shown) => crate::storage::frame(kind.prefix(), &shown),
            Err(status) => {
                crate::storage::frame(br#"{"type":"ERROR","object":"#, &status.to_json())
            }
        }
    }

    fn bookmark_frame(&self, version: Version, initial_end: bool) -> Bytes {
        let annotations = if initial_end {
            ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}"
        } else {
            ""
        };
        let (kind, api_version) = match self.form {
            Form::Object => (
                self.resource.names.kind.as_str(),
                self.version().api_version.as_str(),
            ),
            Form::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            Form::Table => ("Table", "meta.k8s.io/v1"),
        };
        Bytes::from(format!(
            "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{{\"resourceVersion\":\"{version}\"{annotations}}}}}}}\n"
        ))
    }

    /// The frame by which this watch learns of a change, if it does.
    fn change(&self, change: &Change) -> Option<Bytes> {
        if !change.key.starts_with(&self.prefix)
            || self
                .only
                .as_deref()
                .is_some_and(|only| only != &*change.key)
        {
            return None;
        }
        let stored_version =
            crate::peek::at(&change.object, &["apiVersion"]).and_then(crate::peek::plain_string);
        let as_stored = stored_version == Some(self.version().api_version.as_str());
        if self.selector.is_empty() {
            if as_stored && self.form == Form::Object {
                return Some(change.frame.clone());
            }
            let rendering = self.rendering(change.kind);
            return Some(
                change.rendered(rendering, || match self.selected(&change.object) {
                    Some(object) => self.frame(change.kind, &object),
                    None => Bytes::new(),
                }),
            )
            .filter(|frame| !frame.is_empty());
        }
        let before = change
            .previous
            .as_ref()
            .and_then(|previous| self.selected(&previous.bytes));
        let after = if change.kind == ChangeKind::Deleted {
            None
        } else {
            self.selected(&change.object)
        };
        let kind = match (before.is_some(), after.is_some()) {
            (false, false) => return None,
            (false, true) => ChangeKind::Added,
            (true, true) => ChangeKind::Modified,
            (true, false) => ChangeKind::Deleted,
        };
        if kind == change.kind && as_stored && self.form == Form::Object {
            return Some(change.frame.clone());
        }
        if kind == ChangeKind::Deleted && change.kind != ChangeKind::Deleted {
            // The state that was selected, at the version at which it ceased to be.
            return Some(self.frame(kind, &at_version(&before?, change.version)));
        }
        if self.form == Form::Table {
            return self
                .selected(&change.object)
                .map(|object| self.frame(kind, &object));
        }
        let rendering = self.rendering(kind);
        Some(
            change.rendered(rendering, || match self.selected(&change.object) {
                Some(object) => self.frame(kind, &object),
                None => Bytes::new(),
            }),
        )
        .filter(|frame| !frame.is_empty())
    }

    fn rendering(&self, kind: ChangeKind) -> Rendering {
        Rendering {
            kind,
            version: self.served,
            form: self.form as u8,
        }
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Poll::Ready(Some(frame));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match self.server.store.poll_changes(self.subscription, context) {
                Poll::Ready(Ok(changes)) => {
                    let frames: Vec<Bytes> = changes
                        .iter()
                        .filter_map(|change| self.change(change))
                        .collect();
                    self.ready.extend(frames);
                    continue;
                }
                Poll::Ready(Err(Compacted { oldest })) => {
                    let seen = self.server.store.seen(self.subscription);
                    let status =
                        Status::expired(format!("too old resource version: {seen} ({oldest})"));
                    self.ready.push_back(crate::storage::frame(
                        br#"{"type":"ERROR","object":"#,
                        &status.to_json(),
                    ));
                    self.ended = true;
                    continue;
                }
                Poll::Pending => {}
            }
            if let Some(deadline) = &mut self.deadline
                && deadline.as_mut().poll(context).is_ready()
            {
                self.ended = true;
                continue;
            }
            if let Some(bookmark) = &mut self.bookmark
                && bookmark.as_mut().poll(context).is_ready()
            {
                bookmark.as_mut().reset(Instant::now() + BOOKMARKS);
                let version = self.server.store.seen(self.subscription);
                let frame = self.bookmark_frame(version, false);
                self.ready.push_back(frame);
                continue;
            }
            return Poll::Pending;
        }
    }
}

/// An encoded object with another resourceVersion.
fn at_version(object: &[u8], version: Version) -> Vec<u8> {
    match crate::json::parse(object) {
        Ok(mut document) => {
            document
                .value
                .set_at(&["metadata", "resourceVersion"], version.to_string());
            document.value.to_vec()
        }
        Err(_) => object.to_vec(),
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.server.store.unsubscribe(self.subscription);
    }
}
