//! The in-cluster provider: an [`Ipam`] on pools of ranges.

use std::{collections::BTreeMap, marker::PhantomData, net::IpAddr, time::Duration};

use async_trait::async_trait;
use serde_json::json;

use super::{AddressPool, AddressRange, RangeSet};
use crate::{
    api::{GlobalInClusterIPPool, IPAddressClaim, InClusterIPPool, InClusterIPPoolSpec},
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

/// Annotation of an IPAddressClaim: the address that it is to get, and no other.
pub const REQUESTED_ADDRESS: &str = "ipam.capi.rs/requested-address";

/// Annotation of a pool: a JSON object of addresses by claim, as `name` or `namespace/name`. They are kept for these
/// claims, whenever they come.
pub const RESERVATIONS: &str = "ipam.capi.rs/reservations";

/// Gives the lowest free address of a pool; or the one that [`REQUESTED_ADDRESS`] or [`RESERVATIONS`] name, and then
/// no other.
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
        let reserved = reservations(&*cx.pool)?;
        let given = |address| {
            Progress::Ready(AddressFacts {
                address,
                prefix: pool.prefix,
                gateway: pool.gateway,
            })
        };
        if let Some(address) = wanted(cx, &reserved)? {
            if !pool.allocatable.contains(address) {
                let message =
                    format!("address {address} was asked for, and is not one of the pool");
                return Err(ProviderError::invalid("AllocationFailed", message));
            }
            let own = key(&cx.claim);
            return Ok(match cx.used.holder(address) {
                Some(holder) if holder != own => Progress::waiting(
                    format!("address {address}"),
                    "AllocationFailed",
                    format!("address {address} was asked for, and {holder} has it"),
                ),
                _ => given(address),
            });
        }
        let mut free = pool.allocatable.clone();
        for address in reserved.values() {
            free.remove(AddressRange::single(*address));
        }
        Ok(match free.first_without(cx.used.ranges()) {
            Some(address) => given(address),
            None => Progress::waiting(
                "a free address",
                "PoolExhausted",
                format!("All {} addresses of the pool are in use", free.len()),
            ),
        })
    }

    fn ranges(&self, pool: &P) -> RangeSet {
        AddressPool::read(pool.spec())
            .map(|pool| pool.allocatable)
            .unwrap_or_default()
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

fn key(claim: &IPAddressClaim) -> String {
    let metadata = &claim.metadata;
    format!(
        "{}/{}",
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default()
    )
}

fn parse(source: &str, text: &str) -> Result<IpAddr, ProviderError> {
    text.parse().map_err(|_| {
        let message = format!("{source}: {text:?} is no IP address");
        ProviderError::invalid("AllocationFailed", message)
    })
}

fn reservations<P: InClusterPool>(pool: &P) -> Result<BTreeMap<String, IpAddr>, ProviderError> {
    let annotations = pool.meta().annotations.as_ref();
    let Some(text) = annotations.and_then(|annotations| annotations.get(RESERVATIONS)) else {
        return Ok(BTreeMap::new());
    };
    let source = format!("annotation {RESERVATIONS} of the pool");
    let read: BTreeMap<String, String> = serde_json::from_str(text).map_err(|error| {
        let message = format!("{source} is no JSON object of addresses by claim");
        ProviderError::invalid("AllocationFailed", message).with_source(error)
    })?;
    read.into_iter()
        .map(|(claim, address)| Ok((claim, parse(&source, &address)?)))
        .collect()
}

/// The address that a claim is to get, if it is to be a certain one.
fn wanted<P>(
    cx: &ClaimContext<P>,
    reserved: &BTreeMap<String, IpAddr>,
) -> Result<Option<IpAddr>, ProviderError> {
    let metadata = &cx.claim.metadata;
    let annotations = metadata.annotations.as_ref();
    if let Some(text) = annotations.and_then(|annotations| annotations.get(REQUESTED_ADDRESS)) {
        return parse(&format!("annotation {REQUESTED_ADDRESS}"), text).map(Some);
    }
    let name = metadata.name.as_deref().unwrap_or_default();
    let found = reserved.get(&key(&cx.claim)).or_else(|| reserved.get(name));
    Ok(found.copied())
}
