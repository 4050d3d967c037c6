//! The trait of IP address management providers: an address for a claim.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;

use super::{
    AddressFacts, Capabilities, Context, Progress, ProviderError, ProviderKind, StatusFields,
};
use crate::{
    api::{Cluster, IPAddressClaim},
    in_cluster_ipam::{AddressRange, RangeSet},
};

/// What is in use of a pool: addresses, and the claims that have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    claims: BTreeMap<IpAddr, String>,
    ranges: RangeSet,
}

impl PoolUse {
    /// Notes that a claim, by `namespace/name`, has an address. False when another claim has it:
    /// nothing changes then.
    pub fn insert(&mut self, address: IpAddr, claim: &str) -> bool {
        match self.claims.entry(address) {
            Entry::Vacant(free) => {
                free.insert(claim.to_owned());
                self.ranges.insert(AddressRange::single(address));
                true
            }
            Entry::Occupied(taken) => taken.get() == claim,
        }
    }

    /// Notes that a claim no longer has an address.
    pub fn remove(&mut self, address: IpAddr, claim: &str) {
        if self
            .claims
            .get(&address)
            .is_some_and(|holder| holder == claim)
        {
            self.claims.remove(&address);
            self.ranges.remove(AddressRange::single(address));
        }
    }

    /// The claim that has an address.
    #[must_use]
    pub fn holder(&self, address: IpAddr) -> Option<&str> {
        self.claims.get(&address).map(String::as_str)
    }

    /// The addresses, lowest first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.claims.keys().copied()
    }

    /// The addresses as ranges.
    #[must_use]
    pub fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    /// How many addresses are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }
}

/// A call about one claim.
#[derive(Clone, Debug)]
pub struct ClaimContext<P> {
    /// Time, waker.
    pub context: Context,
    /// The Cluster that the claim belongs to, where it names one.
    pub cluster: Option<Arc<Cluster>>,
    /// The claim.
    pub claim: Arc<IPAddressClaim>,
    /// The pool.
    pub pool: Arc<P>,
    /// Addresses of the pool that are in use, with those that are being written.
    pub used: Arc<PoolUse>,
}

/// What a claim is given.
pub type Allocation = AddressFacts;

/// An IPAM provider. See the [module](super) for what holds for every method. Calls about claims
/// of one pool are made one after another, so that no address is given twice.
#[async_trait]
pub trait Ipam: Send + Sync + 'static {
    /// The kind that `IPAddressClaim.spec.poolRef` names.
    type Pool: ProviderKind;

    /// What it can do beyond the minimum.
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    /// Chooses an address for a claim that has none. Changes nothing inside; a provider that
    /// asks an outside system may make the entry there under the claim's name.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn allocate(
        &self,
        cx: &ClaimContext<Self::Pool>,
    ) -> Result<Progress<Allocation>, ProviderError>;

    /// The addresses that the pool may give, so that pools that overlap are known: a warning Event tells of them, and
    /// what is in use of one is not given of the other. Empty: not known.
    fn ranges(&self, pool: &Self::Pool) -> RangeSet {
        let _ = pool;
        RangeSet::default()
    }

    /// How long an address of the pool rests after it was given back, before another claim gets it.
    fn rest(&self, pool: &Self::Pool) -> Duration {
        let _ = pool;
        Duration::ZERO
    }

    /// Gives back an address; ready when nothing is left outside.
    ///
    /// # Errors
    /// See [`ErrorClass`](super::ErrorClass).
    async fn release(
        &self,
        cx: &ClaimContext<Self::Pool>,
        address: IpAddr,
    ) -> Result<Progress<()>, ProviderError> {
        let _ = (cx, address);
        Ok(Progress::Ready(()))
    }

    /// Status of the pool for what is in use; written when it changed.
    fn pool_status(&self, pool: &Self::Pool, used: &PoolUse) -> StatusFields {
        let _ = (pool, used);
        StatusFields::new()
    }
}
