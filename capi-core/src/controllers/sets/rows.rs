//! Rows and tallies, kept current by the watch of Machines.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use jiff::Timestamp;

use super::{machines, owned_fields};
use crate::{
    api::{Machine, MachineDeletionOrder},
    controllers::collect::metadata,
    plan::{machine_set::PropagatedFields, tally::Tally},
    runtime::{Change, Error, IndexFn, Object, Runtime, Store},
};

/// The field manager under which MachineSets apply Machines.
pub(crate) const MACHINE_SET_MANAGER: &str = "capi-machineset";

/// The machines of one owner.
pub(crate) struct Entry {
    pub(crate) tally: Tally,
    /// What machines carry of their owner's template; rows are made against it.
    wanted: Option<PropagatedFields>,
    /// Machines that may lack the objects that they are made of.
    pub(crate) incomplete: BTreeSet<String>,
}

impl Entry {
    fn new(prefix: &str) -> Self {
        Self {
            tally: Tally::new(prefix, MachineDeletionOrder::Random),
            wanted: None,
            incomplete: BTreeSet::new(),
        }
    }

    /// Takes in the state of one machine. One that cannot be read is not counted, and said so.
    fn observe(&mut self, object: &Object) {
        match self.row(object) {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(machine = %object.key(), error = %error.full_message(), "Machine not counted");
                self.tally.forget(object.name());
            }
        }
    }

    fn row(&mut self, object: &Object) -> Result<(), Error> {
        let machine = object.decode::<Machine>()?;
        let metadata = metadata(&machine.metadata);
        let propagated = match &self.wanted {
            Some(wanted) if !metadata.is_deleting() => {
                let owned = owned_fields(object, MACHINE_SET_MANAGER)?;
                PropagatedFields::of_machine(&metadata, &machine.spec, wanted, &owned).fingerprint()
            }
            Some(wanted) => wanted.fingerprint(),
            None => 0,
        };
        self.tally
            .apply(&metadata, &machine.spec, &machine.status, propagated);
        let made = machine.status.initialization.infrastructure_provisioned == Some(true);
        if made || metadata.is_deleting() {
            self.incomplete.remove(object.name());
        } else {
            self.incomplete.insert(object.name().to_owned());
        }
        Ok(())
    }
}

struct Shared {
    entries: Mutex<BTreeMap<String, Entry>>,
    owner: fn(&Object) -> Option<String>,
}

/// The machines of all owners of a kind, by a text that stands for the owner.
#[derive(Clone)]
pub(crate) struct Rows {
    shared: Arc<Shared>,
    index: &'static str,
    values: IndexFn,
}

impl Rows {
    /// Rows by the owner that `owner` reads from a Machine; `index` finds the same in a cache.
    pub(crate) fn new(
        index: &'static str,
        owner: fn(&Object) -> Option<String>,
        values: IndexFn,
    ) -> Self {
        let entries = Mutex::default();
        Self {
            shared: Arc::new(Shared { entries, owner }),
            index,
            values,
        }
    }

    /// Begins to follow the Machines of a runtime.
    pub(crate) fn start(&self, runtime: &Runtime) {
        let store = runtime.cache().store(&machines());
        store.add_index(self.index, self.values);
        let (shared, weak) = (Arc::clone(&self.shared), Arc::downgrade(&store));
        store.listen(Arc::new(move |change| shared.follow(&weak, change)));
    }

    /// Works on the machines of an owner. They are counted anew when nothing is known of them, or
    /// when `wanted` is no longer what rows were made against.
    pub(crate) fn with<T>(
        &self,
        runtime: &Runtime,
        owner: &str,
        prefix: &str,
        wanted: Option<&PropagatedFields>,
        now: Timestamp,
        work: impl FnOnce(&mut Entry) -> T,
    ) -> T {
        let store = runtime.cache().store(&machines());
        let mut entries = self.shared.lock();
        let fresh = !entries.contains_key(owner);
        let entry = entries
            .entry(owner.to_owned())
            .or_insert_with(|| Entry::new(prefix));
        if fresh || entry.wanted.as_ref() != wanted {
            entry.wanted = wanted.cloned();
            for object in store.by_index(self.index, owner) {
                entry.observe(&object);
            }
        }
        entry.tally.advance(now);
        work(entry)
    }

    /// Machines of an owner were found to have the objects that they are made of.
    pub(crate) fn complete(&self, owner: &str, machines: &[String]) {
        if machines.is_empty() {
            return;
        }
        if let Some(entry) = self.shared.lock().get_mut(owner) {
            for machine in machines {
                entry.incomplete.remove(machine);
            }
        }
    }

    /// Forgets an owner that is gone.
    pub(crate) fn forget(&self, owner: &str) {
        self.shared.lock().remove(owner);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes can be told out of order, so the state that counts is the one in the store.
    fn follow(&self, store: &Weak<Store>, change: &Change) {
        let Some(store) = store.upgrade() else { return };
        let key = change.object().key();
        let mut entries = self.lock();
        let current = store.get(key);
        let owner = current.as_ref().and_then(|object| (self.owner)(object));
        for before in [&change.old, &change.new].into_iter().flatten() {
            let before = (self.owner)(before);
            if let Some(before) = before.filter(|before| Some(before) != owner.as_ref())
                && let Some(entry) = entries.get_mut(&before)
            {
                entry.tally.forget(&key.name);
                entry.incomplete.remove(&*key.name);
            }
        }
        if let Some(object) = current
            && let Some(entry) = owner.and_then(|owner| entries.get_mut(&owner))
        {
            entry.observe(&object);
        }
    }
}
