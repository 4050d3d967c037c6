//! One change as watchers see it, and its renderings, which all watchers share.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Stored, Version};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

impl ChangeKind {
    /// The beginning of a watch frame of this type, up to the object.
    pub(crate) const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Added => br#"{"type":"ADDED","object":"#,
            Self::Modified => br#"{"type":"MODIFIED","object":"#,
            Self::Deleted => br#"{"type":"DELETED","object":"#,
        }
    }
}

/// The end of a watch frame, after the object.
pub(crate) const SUFFIX: &[u8] = b"}\n";

/// Names one way to show a change: a served version and a form, numbered by who renders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rendering {
    pub(crate) kind: ChangeKind,
    /// Index of the served version.
    pub(crate) version: usize,
    /// Form: object, metadata, table.
    pub(crate) form: u8,
}

/// One write in the history of a collection.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    pub(crate) version: Version,
    pub(crate) key: Arc<str>,
    /// The whole frame, in the version of storage.
    pub(crate) frame: Bytes,
    /// The state after the write, the last one for a deletion.
    pub(crate) object: Bytes,
    /// The state before.
    pub(crate) previous: Option<Stored>,
    renderings: Mutex<Vec<(Rendering, Bytes)>>,
}

impl Change {
    /// `encode` appends the object to the buffer it is given.
    pub(crate) fn new(
        kind: ChangeKind,
        version: Version,
        key: Arc<str>,
        previous: Option<Stored>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let expected = previous
            .as_ref()
            .map_or(2048, |stored| stored.bytes.len() + 256);
        let mut buffer = Vec::with_capacity(expected);
        buffer.extend_from_slice(kind.prefix());
        encode(&mut buffer);
        buffer.extend_from_slice(SUFFIX);
        if buffer.capacity() - buffer.len() > buffer.len() / 8 {
            buffer.shrink_to_fit();
        }
        let frame = Bytes::from(buffer);
        let object = frame.slice(kind.prefix().len()..frame.len() - SUFFIX.len());
        Self {
            kind,
            version,
            key,
            frame,
            object,
            previous,
            renderings: Mutex::new(Vec::new()),
        }
    }

    /// The frame for a rendering: made once by the first watcher that needs it.
    pub(crate) fn rendered(&self, rendering: Rendering, make: impl FnOnce() -> Bytes) -> Bytes {
        {
            let known = self
                .renderings
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some((_, frame)) = known.iter().find(|(known, _)| *known == rendering) {
                return frame.clone();
            }
        }
        let frame = make();
        let mut known = self
            .renderings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.push((rendering, frame.clone()));
        frame
    }
}

/// A frame around an object that is already encoded.
pub(crate) fn frame(kind: &[u8], object: &[u8]) -> Bytes {
    let mut buffer = Vec::with_capacity(kind.len() + object.len() + SUFFIX.len());
    buffer.extend_from_slice(kind);
    buffer.extend_from_slice(object);
    buffer.extend_from_slice(SUFFIX);
    buffer.into()
}
