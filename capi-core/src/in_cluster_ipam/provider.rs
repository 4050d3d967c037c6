//! The in-cluster provider: an [`Ipam`] on pools of ranges.

use std::{marker::PhantomData, net::IpAddr, time::Duration};

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

    async fn release(
        &self,
        cx: &ClaimContext<P>,
        _address: IpAddr,
    ) -> Result<Progress<()>, ProviderError> {
        let rest = cx
            .pool
            .spec()
            .address_reuse_grace_period_seconds
            .unwrap_or(0);
        let deleting = cx.pool.meta().deletion_timestamp.is_some();
        let Some(released) = cx.claim.metadata.deletion_timestamp.as_ref() else {
            return Ok(Progress::Ready(()));
        };
        let rested = cx.context.now().duration_since(released.0).as_secs();
        match u64::try_from(i64::from(rest) - rested) {
            Ok(left) if left > 0 && !deleting => Ok(Progress::waiting(
                "the address's rest",
                "AddressResting",
                format!("The address is given again after {rest} seconds"),
            )
            .after(Duration::from_secs(left))),
            _ => Ok(Progress::Ready(())),
        }
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
