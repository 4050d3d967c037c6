//! The trait of IP address management providers: an address for a claim.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use async_trait::async_trait;

use super::{
    AddressFacts, Capabilities, Context, Progress, ProviderError, ProviderKind, StatusFields,
};
use crate::api::{Cluster, IPAddressClaim};

/// What is in use of a pool: the name of the claim by address.
pub type PoolUse = BTreeMap<IpAddr, String>;

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
