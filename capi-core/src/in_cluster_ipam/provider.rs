//! The in-cluster provider: an [`Ipam`] on pools of ranges.

use std::{marker::PhantomData, time::Duration};

use async_trait::async_trait;
use serde_json::json;

use super::AddressPool;
use crate::{
    api::{GlobalInClusterIPPool, InClusterIPPool, InClusterIPPoolSpec},
    provider::{
        AddressFacts, Allocation, ClaimContext, Ipam, PoolUse, Progress, ProviderError,
        ProviderKind, StatusFields,
    },
};

/// A kind of pool that [`InClusterIpam`] serves.
pub trait InClusterPool: ProviderKind {
    /// What it gives.
    fn spec(&self) -> &InClusterIPPoolSpec;
}

impl InClusterPool for InClusterIPPool {
    fn spec(&self) -> &InClusterIPPoolSpec {
        &self.spec
    }
}

impl InClusterPool for GlobalInClusterIPPool {
    fn spec(&self) -> &InClusterIPPoolSpec {
        &self.spec
    }
}

/// Gives the lowest free address of a pool.
pub struct InClusterIpam<P>(PhantomData<fn() -> P>);

impl<P> Default for InClusterIpam<P> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

#[async_trait]
impl<P: InClusterPool> Ipam for InClusterIpam<P> {
    type Pool = P;

    async fn allocate(&self, cx: &ClaimContext<P>) -> Result<Progress<Allocation>, ProviderError> {
        let pool = AddressPool::read(cx.pool.spec())
            .map_err(|error| ProviderError::invalid("PoolNotReady", error.to_string()))?;
        Ok(match pool.allocatable.first_without(cx.used.ranges()) {
            Some(address) => Progress::Ready(AddressFacts {
                address,
                prefix: pool.prefix,
                gateway: pool.gateway,
            }),
            None => Progress::waiting(
                "a free address",
                "PoolExhausted",
                format!(
                    "All {} addresses of the pool are in use",
                    pool.allocatable.len()
                ),
            ),
        })
    }

    fn rest(&self, pool: &P) -> Duration {
        let seconds = pool.spec().address_reuse_grace_period_seconds.unwrap_or(0);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    fn pool_status(&self, pool: &P, used: &PoolUse) -> StatusFields {
        let Ok(pool) = AddressPool::read(pool.spec()) else {
            return StatusFields::new();
        };
        let outside = used
            .addresses()
            .filter(|address| !pool.allocatable.contains(*address))
            .count();
        let inside = used.len() - outside;
        let total = pool.allocatable.len();
        let clamp = |count: u128| i64::try_from(count).unwrap_or(i64::MAX);
        StatusFields::from_iter([(
            "ipAddresses".to_owned(),
            json!({
                "total": clamp(total),
                "used": used.len(),
                "free": clamp(total - inside as u128),
                "outOfRange": outside,
            }),
        )])
    }
}
