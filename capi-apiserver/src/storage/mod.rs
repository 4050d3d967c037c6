//! The seam of storage: encoded objects under sorted keys, one version counter for all of them, a
//! window of history for watches, compaction. It decides about versions and nothing else: what an
//! object means, who may write it and what follows from a write is not known here. Objects are
//! encoded once, into the frame that watchers are sent; the stored bytes are a slice of it.

mod history;
mod memory;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

pub(crate) use history::{Change, ChangeKind, Rendering, frame};
pub(crate) use memory::Memory;

/// Versions count writes, over all collections.
pub(crate) type Version = u64;

/// All objects of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Collection(pub(crate) u32);

/// An encoded object and the version of its last write.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    pub(crate) version: Version,
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// There is no object under the key.
    Absent,
    /// The object's last write had this version.
    Version(Version),
}

/// The expectation of a write does not hold; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unmet;

/// The version asked for has left the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// The oldest version that can still be asked for.
    pub(crate) oldest: Version,
}

/// Which part of a collection a list asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Range<'a> {
    /// Keys that begin so.
    pub(crate) prefix: &'a str,
    /// Keys after this one.
    pub(crate) after: Option<&'a str>,
    /// The state at this version; the newest otherwise.
    pub(crate) at: Option<Version>,
}

/// The answer of a list: objects in the order of their keys, all as of one version.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) items: Vec<(Arc<str>, Stored)>,
    pub(crate) version: Version,
}

/// Appends the object, as of the given version, to the buffer.
pub(crate) type Encode<'a> = &'a mut dyn FnMut(Version, &mut Vec<u8>);

/// A reader's place in the history of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) collection: Collection,
    pub(crate) id: u64,
}

/// What the server asks of a store. Every method is atomic and returns without waiting.
pub(crate) trait Store: Send + Sync + fmt::Debug {
    /// The collection of that name; made when it is new.
    fn collection(&self, name: &str) -> Collection;

    /// The version of the last write to anything.
    fn version(&self) -> Version;

    fn get(&self, collection: Collection, key: &str) -> Option<Stored>;

    /// # Errors
    /// [`Compacted`] when the version asked for has left the history.
    fn list(&self, collection: Collection, range: Range<'_>) -> Result<Listing, Compacted>;

    /// Number of objects whose key begins with `prefix`.
    fn count(&self, collection: Collection, prefix: &str) -> usize;

    /// Whether there is an object whose key begins with `prefix`.
    fn any(&self, collection: Collection, prefix: &str) -> bool;

    /// Writes an object under a new version.
    ///
    /// # Errors
    /// [`Unmet`] when the expectation does not hold.
    fn put(
        &self,
        collection: Collection,
        key: &str,
        expect: Expect,
        encode: Encode<'_>,
    ) -> Result<Stored, Unmet>;

    /// Removes an object; `encode` writes its last state, which watchers are sent.
    ///
    /// # Errors
    /// [`Unmet`] when the object's version is not `expect`.
    fn delete(
        &self,
        collection: Collection,
        key: &str,
        expect: Version,
        encode: Encode<'_>,
    ) -> Result<Stored, Unmet>;

    /// A place in the history right after `after`.
    ///
    /// # Errors
    /// [`Compacted`] when changes after `after` have left the history.
    fn subscribe(&self, collection: Collection, after: Version) -> Result<Subscription, Compacted>;

    /// The changes since the last call, at most some hundred at once; waits when there are none.
    /// The version is that of the last change of the collection or, when all were read, of the store.
    fn poll_changes(
        &self,
        subscription: Subscription,
        context: &mut Context<'_>,
    ) -> Poll<Result<Vec<Arc<Change>>, Compacted>>;

    /// The version up to which the subscription has seen everything.
    fn seen(&self, subscription: Subscription) -> Version;

    /// Ends a subscription.
    fn unsubscribe(&self, subscription: Subscription);

    /// Forgets history up to and including `version`.
    fn compact(&self, version: Version);

    /// Feeds every stored byte, in order, to `visit`: collection name, key, object.
    fn visit(&self, visit: &mut dyn FnMut(&str, &str, &Stored));
}
