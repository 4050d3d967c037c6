//! What is in use of each pool, kept by the events of IPAddresses, and which pools overlap.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    api::{ContractVersionedObjectReference, IPAddress},
    in_cluster_ipam::RangeSet,
    provider::{Allocation, PoolUse},
    runtime::{Change, Object, ObjectKey, ResourceType, Store},
};

/// Annotation of a pool: until when its addresses rest that were given back, so that a controller which begins anew
/// knows. A JSON object of times by address.
pub(crate) const RESTING_ADDRESSES: &str = "ipam.capi.rs/resting-addresses";

/// So many are written down at most; those that rest longest.
const WRITTEN_DOWN: usize = 1024;

/// Who holds an address that rests.
const RESTING: &str = "(given back, resting)";

/// A pool of whichever kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PoolId {
    kind: String,
    key: ObjectKey,
}

impl PoolId {
    /// Whether the same address of both would be given twice: two namespaces may be two networks, but a pool without
    /// a namespace serves all of them.
    fn shares_network_with(&self, other: &Self) -> bool {
        let (mine, others) = (&self.key.namespace, &other.key.namespace);
        mine == others || mine.is_empty() || others.is_empty()
    }
}

#[derive(Default)]
struct State {
    used: Arc<PoolUse>,
    /// What the pool may give; empty when its provider does not say.
    ranges: RangeSet,
    /// The pools that overlap, as far as they were told.
    told: BTreeSet<String>,
    /// Addresses that were given back, and until when nobody gets them.
    resting: BTreeMap<IpAddr, Timestamp>,
    /// What the pool itself says of them; `None` when it was not read yet.
    written: Option<BTreeMap<IpAddr, Timestamp>>,
    /// What was chosen for claims whose IPAddress may have been made: the attempt was not answered.
    unanswered: BTreeMap<String, Allocation>,
    /// Held from the choice of an address until it is in `used`.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The pools of all kinds and what is in use of them. The hosts of a manager share one, so that pools that overlap
/// give no address twice.
#[derive(Clone, Default)]
pub struct AddressBook(Arc<Mutex<BTreeMap<PoolId, State>>>);

impl AddressBook {
    fn states(&self) -> MutexGuard<'_, BTreeMap<PoolId, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pools of one kind.
#[derive(Clone)]
pub(crate) struct Pools {
    kind: ResourceType,
    book: AddressBook,
}

impl Pools {
    pub(crate) fn new(kind: ResourceType, book: AddressBook) -> Self {
        Self { kind, book }
    }

    /// Follows the IPAddresses of a store, also those that it has already: its watch may have
    /// begun for somebody else.
    pub(crate) fn follow(&self, addresses: &Store) {
        let pools = self.clone();
        addresses.listen(Arc::new(move |change| pools.changed(change)));
        let change = |old: Option<&Arc<Object>>, new: Option<&Arc<Object>>| {
            self.changed(&Change {
                resource: addresses.resource().clone(),
                old: old.cloned(),
                new: new.cloned(),
            });
        };
        for object in addresses.list() {
            change(None, Some(&object));
            let known = addresses.get(object.key());
            if known.is_none_or(|known| known.uid() != object.uid()) {
                // It went meanwhile, and its end was told before its beginning.
                change(Some(&object), None);
            }
        }
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

    fn id(&self, key: &ObjectKey) -> PoolId {
        PoolId {
            kind: format!("{}.{}", self.kind.kind(), self.kind.group()),
            key: key.clone(),
        }
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
        let mut states = self.book.states();
        let state = states.entry(self.id(pool)).or_default();
        change(Arc::make_mut(&mut state.used))
    }

    /// What is in use of a pool.
    pub(crate) fn used(&self, pool: &ObjectKey) -> Arc<PoolUse> {
        self.book
            .states()
            .get(&self.id(pool))
            .map(|state| Arc::clone(&state.used))
            .unwrap_or_default()
    }

    /// The pools of this kind that may give the address of an IPAddress, of whichever pool it is.
    pub(crate) fn that_give(&self, address: &Object) -> Vec<ObjectKey> {
        let Ok(typed) = address.decode::<IPAddress>() else {
            return Vec::new();
        };
        let own = self.key(&address.key().namespace, &typed.spec.pool_ref);
        let bits: Option<IpAddr> = typed.spec.address.parse().ok();
        let kind = self.id(&ObjectKey::new("", "")).kind;
        self.book
            .states()
            .iter()
            .filter(|(id, state)| {
                id.kind == kind
                    && (own.as_ref() == Some(&id.key)
                        || bits.is_some_and(|bits| state.ranges.contains(bits)))
            })
            .map(|(id, _)| id.key.clone())
            .collect()
    }

    /// What is not to be given of a pool: addresses in use, of it and of pools that overlap, and those that rest; and
    /// when the first of the latter is free.
    ///
    /// None rests longer than `rest` from now on: the pool's spec may say less than it did.
    pub(crate) fn taken(
        &self,
        pool: &ObjectKey,
        ranges: &RangeSet,
        rest: Duration,
        now: Timestamp,
    ) -> (Arc<PoolUse>, Option<Timestamp>) {
        let id = self.id(pool);
        let mut states = self.book.states();
        let state = states.entry(id.clone()).or_default();
        state.ranges.clone_from(ranges);
        let mut taken = Arc::clone(&state.used);
        let mut free_at = None;
        for (other, state) in states.iter_mut() {
            if !id.shares_network_with(other) {
                continue;
            }
            if *other == id {
                let latest = now.checked_add(rest).unwrap_or(Timestamp::MAX);
                let times = state.resting.values_mut();
                times.for_each(|until| *until = (*until).min(latest));
            }
            state.resting.retain(|_, until| *until > now);
            for (address, until) in &state.resting {
                if *other == id || ranges.contains(*address) {
                    Arc::make_mut(&mut taken).insert(*address, RESTING);
                    free_at = free_at.into_iter().chain([*until]).min();
                }
            }
            if *other != id && state.used.ranges().overlaps(ranges) {
                let foreign = state.used.addresses().filter(|one| ranges.contains(*one));
                for address in foreign {
                    let holder = state.used.holder(address).unwrap_or_default();
                    Arc::make_mut(&mut taken).insert(address, holder);
                }
            }
        }
        (taken, free_at)
    }

    /// Notes what a pool may give, and returns the pools that overlap when these are not those of the last time.
    pub(crate) fn overlaps(&self, pool: &ObjectKey, ranges: &RangeSet) -> Option<BTreeSet<String>> {
        let id = self.id(pool);
        let mut states = self.book.states();
        let overlapping: BTreeSet<String> = states
            .iter()
            .filter(|(other, state)| {
                **other != id && id.shares_network_with(other) && state.ranges.overlaps(ranges)
            })
            .map(|(other, _)| {
                let kind = other.kind.split('.').next().unwrap_or_default();
                format!("{kind} {}", other.key)
            })
            .collect();
        let state = states.entry(id).or_default();
        state.ranges.clone_from(ranges);
        (state.told != overlapping).then(|| {
            state.told.clone_from(&overlapping);
            overlapping
        })
    }

    /// Forgets a pool that is gone.
    pub(crate) fn forget(&self, pool: &ObjectKey) {
        self.book.states().remove(&self.id(pool));
    }

    /// Notes that nobody gets an address for some time. Said again of one that rests, it changes nothing.
    pub(crate) fn rest(&self, pool: &ObjectKey, address: IpAddr, rest: Duration, now: Timestamp) {
        // Whole seconds, which is how they are written down.
        let Ok(until) = now
            .checked_add(rest)
            .and_then(|until| Timestamp::from_second(until.as_second().saturating_add(1)))
        else {
            return;
        };
        let mut states = self.book.states();
        let state = states.entry(self.id(pool)).or_default();
        let known = state.resting.entry(address).or_insert(until);
        if *known <= now {
            *known = until;
        }
    }

    /// Takes over, once, what the pool itself says of addresses that rest: a process before this one wrote it. None
    /// rests longer than `rest` from now on, whatever its clock said.
    pub(crate) fn learn(
        &self,
        pool: &ObjectKey,
        annotation: Option<&str>,
        rest: Duration,
        now: Timestamp,
    ) {
        let mut states = self.book.states();
        let state = states.entry(self.id(pool)).or_default();
        if state.written.is_some() {
            return;
        }
        let read = annotation.map(serde_json::from_str::<BTreeMap<IpAddr, Timestamp>>);
        let written = match read {
            None => BTreeMap::new(),
            Some(Ok(written)) => written,
            Some(Err(error)) => {
                tracing::warn!(%pool, %error, "annotation {RESTING_ADDRESSES} is unreadable");
                BTreeMap::new()
            }
        };
        let latest = now.checked_add(rest).unwrap_or(Timestamp::MAX);
        for (address, until) in &written {
            let until = (*until).min(latest);
            if until > now {
                state.resting.entry(*address).or_insert(until);
            }
        }
        state.written = Some(written);
    }

    /// What the pool should say of addresses that rest, when it does not say it of this one yet.
    pub(crate) fn unwritten(
        &self,
        pool: &ObjectKey,
        address: IpAddr,
        now: Timestamp,
    ) -> Option<BTreeMap<IpAddr, Timestamp>> {
        let mut states = self.book.states();
        let state = states.get_mut(&self.id(pool))?;
        let until = state.resting.get(&address)?;
        if state.written.as_ref()?.get(&address) == Some(until) {
            return None;
        }
        state.resting.retain(|_, until| *until > now);
        let mut wanted: Vec<(IpAddr, Timestamp)> = state
            .resting
            .iter()
            .map(|(one, until)| (*one, *until))
            .collect();
        if wanted.len() > WRITTEN_DOWN {
            tracing::warn!(%pool, resting = wanted.len(), "not all addresses that rest are written down");
            wanted.sort_by_key(|(_, until)| std::cmp::Reverse(*until));
            wanted.truncate(WRITTEN_DOWN);
        }
        Some(wanted.into_iter().collect())
    }

    /// Notes what the pool says now.
    pub(crate) fn wrote(&self, pool: &ObjectKey, entries: BTreeMap<IpAddr, Timestamp>) {
        if let Some(state) = self.book.states().get_mut(&self.id(pool)) {
            state.written = Some(entries);
        }
    }

    /// Waits for the turn to choose an address of a pool.
    pub(crate) async fn turn(&self, pool: &ObjectKey) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = Arc::clone(&self.book.states().entry(self.id(pool)).or_default().turn);
        turn.lock_owned().await
    }

    /// Notes an address before it is written; otherwise the other claim that has it, of this pool or of one that
    /// overlaps.
    pub(crate) fn take(
        &self,
        pool: &ObjectKey,
        address: IpAddr,
        holder: &str,
    ) -> Result<(), String> {
        let id = self.id(pool);
        let mut states = self.book.states();
        let other = states
            .iter()
            .filter(|(other, _)| id.shares_network_with(other))
            .filter_map(|(other, state)| Some((other, state.used.holder(address)?)))
            .find(|(other, known)| **other != id || *known != holder)
            .map(|(_, known)| known.to_owned());
        if let Some(other) = other {
            return Err(other);
        }
        let state = states.entry(id).or_default();
        Arc::make_mut(&mut state.used).insert(address, holder);
        Ok(())
    }

    /// Notes that nobody said whether the IPAddress of a claim was made.
    pub(crate) fn leave_open(&self, pool: &ObjectKey, holder: &str, chosen: Allocation) {
        let mut states = self.book.states();
        let state = states.entry(self.id(pool)).or_default();
        state.unanswered.insert(holder.to_owned(), chosen);
    }

    /// What was chosen for a claim whose IPAddress may have been made. It is asked for again, and
    /// nothing else.
    pub(crate) fn unanswered(&self, pool: &ObjectKey, holder: &str) -> Option<Allocation> {
        let states = self.book.states();
        states.get(&self.id(pool))?.unanswered.get(holder).cloned()
    }

    /// Notes which address a claim has after all, if any; another one that was chosen is free.
    pub(crate) fn settle(&self, pool: &ObjectKey, holder: &str, address: Option<IpAddr>) {
        let mut states = self.book.states();
        if let Some(state) = states.get_mut(&self.id(pool))
            && let Some(chosen) = state.unanswered.remove(holder)
            && address != Some(chosen.address)
        {
            Arc::make_mut(&mut state.used).remove(chosen.address, holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_were_listed_before_anybody_followed_are_in_use() {
        let store = Store::new(ResourceType::from(IPAddress::KIND));
        let pool = serde_json::json!({
            "apiGroup": "ipam.cluster.x-k8s.io", "kind": "InClusterIPPool", "name": "p",
        });
        let address = serde_json::json!({
            "metadata": { "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1" },
            "spec": {
                "address": "10.0.0.10", "prefix": 24, "gateway": "10.0.0.1",
                "claimRef": { "name": "a" }, "poolRef": pool,
            },
        });
        let object = Arc::new(Object::from_bytes(address.to_string().into()).unwrap());
        store.observe(Arc::clone(&object));
        let kind = ResourceType::from(crate::api::InClusterIPPool::KIND);
        let pools = Pools::new(kind, AddressBook::default());
        pools.follow(&store);
        let used = || pools.used(&ObjectKey::new("n", "p")).len();
        assert_eq!(used(), 1, "it is given to nobody else");
        store.forget(&object);
        assert_eq!(used(), 0);
    }
}
