//! What is in use of each pool of one kind, kept by the events of IPAddresses.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use crate::{
    api::{ContractVersionedObjectReference, IPAddress},
    provider::PoolUse,
    runtime::{Change, Object, ObjectKey, ResourceType, Store},
};

/// Who holds an address that rests.
const RESTING: &str = "(given back, resting)";

#[derive(Default)]
struct State {
    used: Arc<PoolUse>,
    /// Addresses that were given back, and until when nobody gets them. Not kept over a restart.
    resting: BTreeMap<IpAddr, Timestamp>,
    /// Held from the choice of an address until it is in `used`.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The pools of one kind.
#[derive(Clone)]
pub(crate) struct Pools {
    kind: ResourceType,
    states: Arc<Mutex<BTreeMap<ObjectKey, State>>>,
}

impl Pools {
    pub(crate) fn new(kind: ResourceType) -> Self {
        Self {
            kind,
            states: Arc::default(),
        }
    }

    /// Follows the IPAddresses of a store.
    pub(crate) fn follow(&self, addresses: &Store) {
        let pools = self.clone();
        addresses.listen(Arc::new(move |change| pools.changed(change)));
    }

    /// The pool that a reference of an object in `namespace` names, if it is of this kind.
    pub(crate) fn key(
        &self,
        namespace: &str,
        reference: &ContractVersionedObjectReference,
    ) -> Option<ObjectKey> {
        if reference.api_group != self.kind.group() || reference.kind != self.kind.kind() {
            return None;
        }
        let namespace = if self.kind.namespaced() {
            namespace
        } else {
            ""
        };
        Some(ObjectKey::new(namespace, reference.name.as_str()))
    }

    /// The pool, address and holder of an IPAddress, if its pool is of this kind.
    fn entry(&self, object: &Object) -> Option<(ObjectKey, IpAddr, String)> {
        let address = object.decode::<IPAddress>().ok()?;
        let pool = self.key(&object.key().namespace, &address.spec.pool_ref)?;
        let holder = object
            .key()
            .sibling(&address.spec.claim_ref.name)
            .to_string();
        Some((pool, address.spec.address.parse().ok()?, holder))
    }

    fn changed(&self, change: &Change) {
        let old = change.old.as_ref().and_then(|object| self.entry(object));
        let new = change.new.as_ref().and_then(|object| self.entry(object));
        if old == new {
            return;
        }
        if let Some((pool, address, holder)) = old {
            self.update(&pool, |used| used.remove(address, &holder));
        }
        if let Some((pool, address, holder)) = new {
            self.update(&pool, |used| {
                if !used.insert(address, &holder) {
                    tracing::warn!(%pool, %address, %holder, "address is in use twice");
                }
            });
        }
    }

    fn update<T>(&self, pool: &ObjectKey, change: impl FnOnce(&mut PoolUse) -> T) -> T {
        let mut states = self.states();
        let state = states.entry(pool.clone()).or_default();
        change(Arc::make_mut(&mut state.used))
    }

    /// What is in use of a pool.
    pub(crate) fn used(&self, pool: &ObjectKey) -> Arc<PoolUse> {
        self.states()
            .get(pool)
            .map(|state| Arc::clone(&state.used))
            .unwrap_or_default()
    }

    /// What is in use of a pool, with the addresses that rest; and when the first of these is free.
    pub(crate) fn taken(
        &self,
        pool: &ObjectKey,
        now: Timestamp,
    ) -> (Arc<PoolUse>, Option<Timestamp>) {
        let mut states = self.states();
        let Some(state) = states.get_mut(pool) else {
            return Default::default();
        };
        state.resting.retain(|_, until| *until > now);
        let mut taken = Arc::clone(&state.used);
        for address in state.resting.keys() {
            Arc::make_mut(&mut taken).insert(*address, RESTING);
        }
        (taken, state.resting.values().min().copied())
    }

    /// Notes that nobody gets an address before a time.
    pub(crate) fn rest(&self, pool: &ObjectKey, address: IpAddr, until: Timestamp) {
        self.states()
            .entry(pool.clone())
            .or_default()
            .resting
            .insert(address, until);
    }

    /// Waits for the turn to choose an address of a pool.
    pub(crate) async fn turn(&self, pool: &ObjectKey) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = Arc::clone(&self.states().entry(pool.clone()).or_default().turn);
        turn.lock_owned().await
    }

    /// Notes an address before it is written; false when another claim has it.
    pub(crate) fn take(&self, pool: &ObjectKey, address: IpAddr, holder: &str) -> bool {
        self.update(pool, |used| used.insert(address, holder))
    }

    /// Notes that an address was not written after all, or is gone.
    pub(crate) fn give_back(&self, pool: &ObjectKey, address: IpAddr, holder: &str) {
        self.update(pool, |used| used.remove(address, holder));
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
