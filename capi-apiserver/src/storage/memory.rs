//! The store in memory: sorted maps of bytes behind one lock, which is never held while anything
//! is decoded, evaluated or awaited.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::{
    Change, ChangeKind, Collection, Compacted, Encode, Expect, Listing, Range, Store, Stored,
    Subscription, Unmet, Version,
};

/// How many changes a reader gets at once.
const BATCH: usize = 256;
/// A reader that lags keeps history alive up to this many windows.
const LAG: usize = 16;

#[derive(Debug)]
pub(crate) struct Memory {
    /// Changes kept a collection.
    window: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    version: Version,
    names: BTreeMap<String, Collection>,
    shelves: Vec<Shelf>,
    subscriptions: u64,
}

/// One collection.
#[derive(Debug, Default)]
struct Shelf {
    objects: BTreeMap<Arc<str>, Stored>,
    history: VecDeque<Arc<Change>>,
    /// Changes up to this version have left the history.
    compacted: Version,
    readers: BTreeMap<u64, Reader>,
}

#[derive(Debug)]
struct Reader {
    seen: Version,
    waker: Option<Waker>,
}

impl Memory {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            window: window.max(1),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a change and wakes readers, after the lock is gone.
    fn record(&self, mut state: MutexGuard<'_, State>, collection: Collection, change: Change) {
        state.version = change.version;
        let Some(shelf) = state.shelves.get_mut(collection.0 as usize) else {
            return;
        };
        shelf.history.push_back(Arc::new(change));
        shelf.trim(self.window);
        let wakers: Vec<Waker> = shelf
            .readers
            .values_mut()
            .filter_map(|reader| reader.waker.take())
            .collect();
        drop(state);
        for waker in wakers {
            waker.wake();
        }
    }
}

impl Shelf {
    /// Drops what is beyond the window and was read by all, or is far beyond it.
    fn trim(&mut self, window: usize) {
        if self.history.len() <= window + window / 4 {
            return;
        }
        let slowest = self
            .readers
            .values()
            .map(|reader| reader.seen)
            .min()
            .unwrap_or(Version::MAX);
        while self.history.len() > window {
            let hard = self.history.len() > window.saturating_mul(LAG);
            match self.history.front() {
                Some(oldest) if hard || oldest.version <= slowest => {
                    self.compacted = oldest.version;
                    self.history.pop_front();
                }
                _ => break,
            }
        }
    }

    fn after(&self, version: Version) -> usize {
        self.history
            .partition_point(|change| change.version <= version)
    }

    fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Stored)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The collection as it was after `version`, whose later changes are still in the history.
    fn rewound(&self, range: Range<'_>, version: Version) -> Vec<(Arc<str>, Stored)> {
        let mut items: BTreeMap<Arc<str>, Stored> = self
            .range(range.prefix, range.after)
            .map(|(key, stored)| (key.clone(), stored.clone()))
            .collect();
        let wanted = |key: &str| {
            key.starts_with(range.prefix) && range.after.is_none_or(|after| key > after)
        };
        for change in self
            .history
            .iter()
            .skip(self.after(version))
            .rev()
            .filter(|change| wanted(&change.key))
        {
            match &change.previous {
                Some(previous) => items.insert(change.key.clone(), previous.clone()),
                None => items.remove(&change.key),
            };
        }
        items.into_iter().collect()
    }
}

impl Store for Memory {
    fn collection(&self, name: &str) -> Collection {
        let mut state = self.state();
        if let Some(collection) = state.names.get(name) {
            return *collection;
        }
        // A resource is a collection, and there are never 2^32 of them.
        let collection = Collection(u32::try_from(state.shelves.len()).unwrap_or(u32::MAX));
        state.names.insert(name.to_owned(), collection);
        state.shelves.push(Shelf::default());
        collection
    }

    fn version(&self) -> Version {
        self.state().version
    }

    fn get(&self, collection: Collection, key: &str) -> Option<Stored> {
        self.state()
            .shelves
            .get(collection.0 as usize)?
            .objects
            .get(key)
            .cloned()
    }

    fn list(&self, collection: Collection, range: Range<'_>) -> Result<Listing, Compacted> {
        let state = self.state();
        let Some(shelf) = state.shelves.get(collection.0 as usize) else {
            return Ok(Listing {
                items: Vec::new(),
                version: state.version,
            });
        };
        match range.at {
            Some(version) if version < state.version => {
                if version < shelf.compacted {
                    return Err(Compacted {
                        oldest: shelf.compacted,
                    });
                }
                Ok(Listing {
                    items: shelf.rewound(range, version),
                    version,
                })
            }
            _ => Ok(Listing {
                items: shelf
                    .range(range.prefix, range.after)
                    .map(|(key, stored)| (key.clone(), stored.clone()))
                    .collect(),
                version: state.version,
            }),
        }
    }

    fn count(&self, collection: Collection, prefix: &str) -> usize {
        let state = self.state();
        state.shelves.get(collection.0 as usize).map_or(0, |shelf| {
            if prefix.is_empty() {
                shelf.objects.len()
            } else {
                shelf.range(prefix, None).count()
            }
        })
    }

    fn any(&self, collection: Collection, prefix: &str) -> bool {
        let state = self.state();
        state
            .shelves
            .get(collection.0 as usize)
            .is_some_and(|shelf| shelf.range(prefix, None).next().is_some())
    }

    fn put(
        &self,
        collection: Collection,
        key: &str,
        expect: Expect,
        encode: Encode<'_>,
    ) -> Result<Stored, Unmet> {
        let mut state = self.state();
        let version = state.version + 1;
        let Some(shelf) = state.shelves.get_mut(collection.0 as usize) else {
            return Err(Unmet);
        };
        let (key, previous) = match (shelf.objects.get_key_value(key), expect) {
            (None, Expect::Absent) => (Arc::from(key), None),
            (Some((key, stored)), Expect::Version(expected)) if stored.version == expected => {
                (key.clone(), Some(stored.clone()))
            }
            _ => return Err(Unmet),
        };
        let kind = if previous.is_some() {
            ChangeKind::Modified
        } else {
            ChangeKind::Added
        };
        let change = Change::new(kind, version, key.clone(), previous, |buffer| {
            encode(version, buffer);
        });
        let stored = Stored {
            bytes: change.object.clone(),
            version,
        };
        shelf.objects.insert(key, stored.clone());
        self.record(state, collection, change);
        Ok(stored)
    }

    fn delete(
        &self,
        collection: Collection,
        key: &str,
        expect: Version,
        encode: Encode<'_>,
    ) -> Result<Stored, Unmet> {
        let mut state = self.state();
        let version = state.version + 1;
        let Some(shelf) = state.shelves.get_mut(collection.0 as usize) else {
            return Err(Unmet);
        };
        if shelf
            .objects
            .get(key)
            .is_none_or(|stored| stored.version != expect)
        {
            return Err(Unmet);
        }
        let Some((key, previous)) = shelf.objects.remove_entry(key) else {
            return Err(Unmet);
        };
        let change = Change::new(
            ChangeKind::Deleted,
            version,
            key,
            Some(previous),
            |buffer| encode(version, buffer),
        );
        let stored = Stored {
            bytes: change.object.clone(),
            version,
        };
        self.record(state, collection, change);
        Ok(stored)
    }

    fn subscribe(&self, collection: Collection, after: Version) -> Result<Subscription, Compacted> {
        let mut state = self.state();
        state.subscriptions += 1;
        let id = state.subscriptions;
        let Some(shelf) = state.shelves.get_mut(collection.0 as usize) else {
            return Err(Compacted { oldest: 0 });
        };
        if after < shelf.compacted {
            return Err(Compacted {
                oldest: shelf.compacted,
            });
        }
        shelf.readers.insert(
            id,
            Reader {
                seen: after,
                waker: None,
            },
        );
        Ok(Subscription { collection, id })
    }

    fn poll_changes(
        &self,
        subscription: Subscription,
        context: &mut Context<'_>,
    ) -> Poll<Result<Vec<Arc<Change>>, Compacted>> {
        let mut state = self.state();
        let newest = state.version;
        let Some(shelf) = state.shelves.get_mut(subscription.collection.0 as usize) else {
            return Poll::Pending;
        };
        let Some(seen) = shelf
            .readers
            .get(&subscription.id)
            .map(|reader| reader.seen)
        else {
            return Poll::Pending;
        };
        if seen < shelf.compacted {
            return Poll::Ready(Err(Compacted {
                oldest: shelf.compacted,
            }));
        }
        let start = shelf.after(seen);
        let changes: Vec<Arc<Change>> = shelf
            .history
            .iter()
            .skip(start)
            .take(BATCH)
            .cloned()
            .collect();
        let Some(reader) = shelf.readers.get_mut(&subscription.id) else {
            return Poll::Pending;
        };
        match changes.last() {
            Some(last) => {
                reader.seen = last.version;
                Poll::Ready(Ok(changes))
            }
            None => {
                reader.seen = reader.seen.max(newest);
                reader.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn seen(&self, subscription: Subscription) -> Version {
        let state = self.state();
        let reader = state
            .shelves
            .get(subscription.collection.0 as usize)
            .and_then(|shelf| shelf.readers.get(&subscription.id));
        reader.map_or(0, |reader| reader.seen)
    }

    fn unsubscribe(&self, subscription: Subscription) {
        let mut state = self.state();
        if let Some(shelf) = state.shelves.get_mut(subscription.collection.0 as usize) {
            shelf.readers.remove(&subscription.id);
        }
    }

    fn compact(&self, version: Version) {
        let mut state = self.state();
        let version = version.min(state.version);
        let mut wakers = Vec::new();
        for shelf in &mut state.shelves {
            let gone = shelf.after(version);
            shelf.history.drain(..gone);
            shelf.compacted = shelf.compacted.max(version);
            wakers.extend(
                shelf
                    .readers
                    .values_mut()
                    .filter_map(|reader| reader.waker.take()),
            );
        }
        drop(state);
        for waker in wakers {
            waker.wake();
        }
    }

    fn visit(&self, visit: &mut dyn FnMut(&str, &str, &Stored)) {
        let state = self.state();
        for (name, collection) in &state.names {
            let Some(shelf) = state.shelves.get(collection.0 as usize) else {
                continue;
            };
            for (key, stored) in &shelf.objects {
                visit(name, key, stored);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(
        store: &Memory,
        collection: Collection,
        key: &str,
        expect: Expect,
    ) -> Result<Version, Unmet> {
        store
            .put(collection, key, expect, &mut |version, buffer| {
                buffer.extend_from_slice(format!("{{\"v\":{version}}}").as_bytes());
            })
            .map(|stored| stored.version)
    }

    fn changes(store: &Memory, subscription: Subscription) -> Vec<(ChangeKind, String)> {
        match store.poll_changes(subscription, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(changes)) => changes
                .iter()
                .map(|change| (change.kind, change.key.to_string()))
                .collect(),
            Poll::Ready(Err(_)) => panic!("compacted"),
            Poll::Pending => Vec::new(),
        }
    }

    fn keys(store: &Memory, collection: Collection, range: Range<'_>) -> Vec<String> {
        let listing = store.list(collection, range).expect("in the history");
        listing
            .items
            .iter()
            .map(|(key, stored)| format!("{key}={}", String::from_utf8_lossy(&stored.bytes)))
            .collect()
    }

    #[test]
    fn a_write_happens_only_when_its_expectation_holds() {
        let store = Memory::new(10);
        let things = store.collection("things");
        assert_eq!(put(&store, things, "a", Expect::Version(1)), Err(Unmet));
        assert_eq!(put(&store, things, "a", Expect::Absent), Ok(1));
        assert_eq!(put(&store, things, "a", Expect::Absent), Err(Unmet));
        assert_eq!(put(&store, things, "a", Expect::Version(1)), Ok(2));
        assert_eq!(put(&store, things, "a", Expect::Version(1)), Err(Unmet));
        assert_eq!(store.version(), 2, "a refused write takes no version");
    }

    #[test]
    fn the_past_can_be_listed_while_it_is_in_the_history() {
        let store = Memory::new(10);
        let things = store.collection("things");
        for key in ["n/a", "n/b", "m/c"] {
            put(&store, things, key, Expect::Absent).expect("new");
        }
        put(&store, things, "n/a", Expect::Version(1)).expect("there");
        store
            .delete(things, "n/b", 2, &mut |_, _| {})
            .expect("there");
        put(&store, things, "n/d", Expect::Absent).expect("new");
        let at = |version| {
            keys(
                &store,
                things,
                Range {
                    prefix: "n/",
                    at: version,
                    ..Range::default()
                },
            )
        };
        assert_eq!(at(Some(3)), ["n/a={\"v\":1}", "n/b={\"v\":2}"]);
        assert_eq!(at(Some(4)), ["n/a={\"v\":4}", "n/b={\"v\":2}"]);
        assert_eq!(at(None), ["n/a={\"v\":4}", "n/d={\"v\":6}"]);
        let after = Range {
            prefix: "n/",
            after: Some("n/a"),
            at: Some(3),
        };
        assert_eq!(keys(&store, things, after), ["n/b={\"v\":2}"]);
        store.compact(4);
        assert!(
            store
                .list(
                    things,
                    Range {
                        at: Some(3),
                        ..Range::default()
                    }
                )
                .is_err()
        );
        assert!(
            store
                .list(
                    things,
                    Range {
                        at: Some(4),
                        ..Range::default()
                    }
                )
                .is_ok()
        );
    }

    #[test]
    fn a_subscription_sees_each_change_once_and_in_order() {
        let store = Memory::new(10);
        let things = store.collection("things");
        put(&store, things, "a", Expect::Absent).expect("new");
        let subscription = store.subscribe(things, 0).expect("in the history");
        put(&store, things, "a", Expect::Version(1)).expect("there");
        assert_eq!(
            changes(&store, subscription),
            [
                (ChangeKind::Added, "a".into()),
                (ChangeKind::Modified, "a".into())
            ]
        );
        assert!(changes(&store, subscription).is_empty());
        store.delete(things, "a", 2, &mut |_, _| {}).expect("there");
        assert_eq!(
            changes(&store, subscription),
            [(ChangeKind::Deleted, "a".into())]
        );
    }

    #[test]
    fn a_lagging_reader_keeps_history_alive_but_not_for_ever() {
        let store = Memory::new(2);
        let things = store.collection("things");
        let subscription = store.subscribe(things, 0).expect("in the history");
        for index in 0..8 {
            put(&store, things, &format!("k{index}"), Expect::Absent).expect("new");
        }
        let late = store
            .subscribe(things, 0)
            .expect("the reader has seen nothing yet");
        store.unsubscribe(late);
        assert_eq!(changes(&store, subscription).len(), 8);
        put(&store, things, "last", Expect::Absent).expect("new");
        assert!(store.subscribe(things, 0).is_err());
        for index in 0..200 {
            put(&store, things, &format!("l{index}"), Expect::Absent).expect("new");
        }
        let polled = store.poll_changes(subscription, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Err(_))));
    }
}
