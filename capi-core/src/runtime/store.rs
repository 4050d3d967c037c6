//! The objects of one kind as a shared watch sees them, with indexes, and with our own writes in
//! them before the watch brings them back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    },
};

use tokio::sync::Notify;

use super::{Error, Object, ObjectKey, ResourceType};

/// One change of one object: before and after. `old` is absent for a new one, `new` for one that
/// is gone.
#[derive(Clone, Debug)]
pub struct Change {
    /// The object's kind.
    pub resource: ResourceType,
    /// As it was.
    pub old: Option<Arc<Object>>,
    /// As it is.
    pub new: Option<Arc<Object>>,
}

impl Change {
    /// The newest state that is known.
    ///
    /// # Panics
    /// Never: a change has one of both.
    #[must_use]
    pub fn object(&self) -> &Arc<Object> {
        match (&self.new, &self.old) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change has a before or an after"),
        }
    }
}

/// Gets each change of a store, in order, on the task that made it; must be quick.
pub(crate) type Listener = Arc<dyn Fn(&Change) + Send + Sync>;

/// Derives index values from an object.
pub type IndexFn = fn(&Object) -> Vec<String>;

/// How many deletions are remembered, so that the late answer to one of our own writes does not
/// bring an object back.
const TOMBSTONES: usize = 4096;

struct Index {
    values: IndexFn,
    entries: BTreeMap<String, BTreeSet<ObjectKey>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<ObjectKey, Arc<Object>>,
    by_owner: BTreeMap<String, BTreeSet<ObjectKey>>,
    by_cluster: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    indexes: BTreeMap<&'static str, Index>,
    tombstones: BTreeMap<ObjectKey, u64>,
    tombstone_order: VecDeque<ObjectKey>,
}

/// The objects of one kind.
pub struct Store {
    resource: ResourceType,
    state: RwLock<State>,
    listeners: RwLock<Vec<Listener>>,
    afterwards: OnceLock<Listener>,
    listing: Mutex<Listing>,
    /// Wakes those who wait for `listing` in the order in which they came: tokio's `watch` wakes
    /// them in a random one, and a run from a seed must be repeatable.
    listed: Notify,
}

/// Whether a store has its first list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Listing {
    Pending,
    Failed(String),
    Done,
}

impl Store {
    pub(crate) fn new(resource: ResourceType) -> Self {
        Self {
            resource,
            state: RwLock::default(),
            listeners: RwLock::default(),
            afterwards: OnceLock::new(),
            listing: Mutex::new(Listing::Pending),
            listed: Notify::new(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The kind.
    pub fn resource(&self) -> &ResourceType {
        &self.resource
    }

    /// The object of a key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.read().objects.get(key).cloned()
    }

    /// All objects, by key.
    pub fn list(&self) -> Vec<Arc<Object>> {
        self.read().objects.values().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.read().objects.is_empty()
    }

    /// The objects that have an owner reference with this uid, by key.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<Object>> {
        let state = self.read();
        state.resolve(state.by_owner.get(uid))
    }

    /// The objects that [belong](Object::cluster) to a Cluster, by key.
    pub fn of_cluster(&self, cluster: &ObjectKey) -> Vec<Arc<Object>> {
        let state = self.read();
        state.resolve(state.by_cluster.get(cluster))
    }

    /// The objects that an index added by [`add_index`](Self::add_index) finds under a value.
    pub fn by_index(&self, index: &'static str, value: &str) -> Vec<Arc<Object>> {
        let state = self.read();
        state.resolve(
            state
                .indexes
                .get(index)
                .and_then(|index| index.entries.get(value)),
        )
    }

    /// Adds an index over objects now and from now on. Adding the same name again does nothing.
    pub fn add_index(&self, index: &'static str, values: IndexFn) {
        let mut state = self.write();
        if state.indexes.contains_key(index) {
            return;
        }
        let mut entries = BTreeMap::<String, BTreeSet<ObjectKey>>::new();
        for (key, object) in &state.objects {
            for value in values(object) {
                entries.entry(value).or_default().insert(key.clone());
            }
        }
        state.indexes.insert(index, Index { values, entries });
    }

    /// Ends once the first list is in.
    ///
    /// # Errors
    /// When listing failed; it is tried again all the same, and a later call may succeed.
    pub async fn synced(&self) -> Result<(), Error> {
        loop {
            let mut listed = std::pin::pin!(self.listed.notified());
            // Before the look, so that no change between the two is missed.
            listed.as_mut().enable();
            match &*self.listing() {
                Listing::Pending => {}
                Listing::Done => return Ok(()),
                Listing::Failed(message) => {
                    return Err(Error::Missing(format!(
                        "{} cannot be listed: {message}",
                        self.resource
                    )));
                }
            }
            listed.await;
        }
    }

    fn listing(&self) -> MutexGuard<'_, Listing> {
        self.listing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        *self.listing() == Listing::Done
    }

    /// Takes in that listing failed; no effect once a list was in.
    pub(crate) fn failed(&self, message: String) {
        {
            let mut listing = self.listing();
            if *listing == Listing::Done {
                return;
            }
            *listing = Listing::Failed(message);
        }
        self.listed.notify_waiters();
    }

    /// Who is told of each change after all listeners, whenever they came: what it sets off must
    /// find that they know already. The first one counts.
    pub(crate) fn afterwards(&self, listener: Listener) {
        // A second one would be a defect of the one caller there is.
        let _ = self.afterwards.set(listener);
    }

    pub(crate) fn listen(&self, listener: Listener) {
        let mut listeners = self
            .listeners
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        listeners.push(listener);
    }

    /// Takes in a state of an object, unless a newer one is known or it is known to be gone.
    pub(crate) fn observe(&self, object: Arc<Object>) {
        let old = {
            let mut state = self.write();
            let newer_known = state.objects.get(object.key()).is_some_and(|known| {
                known.uid() == object.uid()
                    && known.version() >= object.version()
                    && object.version() != 0
                    || known.uid() != object.uid() && known.version() > object.version()
            });
            let gone = state
                .tombstones
                .get(object.key())
                .is_some_and(|version| *version >= object.version() && object.version() != 0);
            if newer_known || gone {
                return;
            }
            state.insert(Arc::clone(&object))
        };
        self.tell(old, Some(object));
    }

    /// Takes in that an object is gone, last seen in this state.
    pub(crate) fn forget(&self, last: &Arc<Object>) {
        let old = {
            let mut state = self.write();
            match state.objects.get(last.key()) {
                // A new object of the same name is not the one that went.
                Some(known) if known.uid() != last.uid() && known.version() > last.version() => {
                    None
                }
                _ => {
                    state.bury(last.key().clone(), last.version());
                    state.remove(last.key())
                }
            }
        };
        if old.is_some() {
            // Its last state, with the version of its end.
            self.tell(Some(Arc::clone(last)), None);
        }
    }

    /// Takes in a full list made at `version`: objects that are not in it are gone, unless they
    /// were written by us after it.
    pub(crate) fn replace(&self, objects: Vec<Arc<Object>>, version: u64) {
        let present: BTreeSet<ObjectKey> =
            objects.iter().map(|object| object.key().clone()).collect();
        let missing: Vec<Arc<Object>> = self
            .read()
            .objects
            .values()
            .filter(|known| !present.contains(known.key()) && known.version() <= version)
            .cloned()
            .collect();
        for object in &missing {
            self.forget(object);
        }
        for object in objects {
            self.observe(object);
        }
        *self.listing() = Listing::Done;
        self.listed.notify_waiters();
    }

    fn tell(&self, old: Option<Arc<Object>>, new: Option<Arc<Object>>) {
        let change = Change {
            resource: self.resource.clone(),
            old,
            new,
        };
        let listeners = self
            .listeners
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        for listener in listeners.iter().chain(self.afterwards.get()) {
            listener(&change);
        }
    }
}

impl State {
    fn resolve(&self, keys: Option<&BTreeSet<ObjectKey>>) -> Vec<Arc<Object>> {
        keys.into_iter()
            .flatten()
            .filter_map(|key| self.objects.get(key).cloned())
            .collect()
    }

    fn insert(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let old = self.remove(object.key());
        let key = object.key();
        for owner in object.owners() {
            self.by_owner
                .entry(owner.uid.clone())
                .or_default()
                .insert(key.clone());
        }
        if let Some(cluster) = object.cluster() {
            self.by_cluster
                .entry(key.sibling(cluster))
                .or_default()
                .insert(key.clone());
        }
        for index in self.indexes.values_mut() {
            for value in (index.values)(&object) {
                index.entries.entry(value).or_default().insert(key.clone());
            }
        }
        self.objects.insert(key.clone(), object);
        old
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<Object>> {
        let object = self.objects.remove(key)?;
        for owner in object.owners() {
            unindex(&mut self.by_owner, &owner.uid, key);
        }
        if let Some(cluster) = object.cluster() {
            unindex(&mut self.by_cluster, &key.sibling(cluster), key);
        }
        for index in self.indexes.values_mut() {
            for value in (index.values)(&object) {
                unindex(&mut index.entries, &value, key);
            }
        }
        Some(object)
    }

    fn bury(&mut self, key: ObjectKey, version: u64) {
        if self.tombstones.insert(key.clone(), version).is_none() {
            self.tombstone_order.push_back(key);
        }
        while self.tombstone_order.len() > TOMBSTONES {
            if let Some(oldest) = self.tombstone_order.pop_front() {
                self.tombstones.remove(&oldest);
            }
        }
    }
}

fn unindex<V: Ord>(entries: &mut BTreeMap<V, BTreeSet<ObjectKey>>, value: &V, key: &ObjectKey) {
    if let Some(keys) = entries.get_mut(value) {
        keys.remove(key);
        if keys.is_empty() {
            entries.remove(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_change_sets_off_comes_after_all_who_follow_the_store() {
        let machines = ResourceType::by_convention("cluster.x-k8s.io", "v1beta2", "Machine");
        let store = Store::new(machines);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = |who: &'static str| -> Listener {
            let heard = Arc::clone(&heard);
            Arc::new(move |change: &Change| {
                let version = change.object().resource_version().to_owned();
                heard.lock().unwrap().push((who, version));
            })
        };
        store.afterwards(hears("queue"));
        store.listen(hears("rows"));
        let object = |version: u8| {
            let text = format!(
                r#"{{"metadata":{{"name":"m","namespace":"n","uid":"u","resourceVersion":"{version}"}}}}"#
            );
            Arc::new(Object::from_bytes(text.into_bytes().into()).unwrap())
        };
        store.observe(object(1));
        store.forget(&object(2));
        let expected = [("rows", "1"), ("queue", "1"), ("rows", "2"), ("queue", "2")];
        let expected = expected.map(|(who, version)| (who, version.to_owned()));
        assert_eq!(*heard.lock().unwrap(), expected);
    }
}
