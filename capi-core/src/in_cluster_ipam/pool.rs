//! What a pool gives: the allocatable set of its spec.

use std::net::IpAddr;

use super::{AddressRange, RangeSet, RangeSyntaxError};
use crate::api::InClusterIPPoolSpec;

/// Why a pool's spec gives no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Nothing is listed.
    #[error("spec.addresses: Required value: at least one address is needed")]
    NoAddresses,
    /// An entry is no range.
    #[error("{field}: Invalid value: {source}")]
    Syntax {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: RangeSyntaxError,
    },
    /// The gateway is no address.
    #[error("spec.gateway: Invalid value: {0:?} is not an IP address")]
    Gateway(String),
    /// Entries of both families.
    #[error("{0}: Invalid value: IPv4 and IPv6 addresses must not be mixed in one pool")]
    MixedFamilies(&'static str),
    /// A prefix that the family does not have.
    #[error("spec.prefix: Invalid value: {0} is no prefix length of the pool's address family")]
    Prefix(i32),
    /// An entry outside the pool's one subnet.
    #[error(
        "spec.addresses: Invalid value: {entry} belongs to a different subnet than {first}/{prefix}"
    )]
    OtherSubnet {
        /// The entry.
        entry: String,
        /// The lowest address of the pool.
        first: IpAddr,
        /// The pool's prefix length.
        prefix: i32,
    },
    /// A negative time.
    #[error("spec.addressReuseGracePeriodSeconds: Invalid value: {0} is negative")]
    GracePeriod(i32),
}

/// A pool, read from its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPool {
    /// Addresses that claims may get.
    pub allocatable: RangeSet,
    /// Length of the network prefix that goes with each.
    pub prefix: u8,
    /// The gateway that goes with each.
    pub gateway: Option<IpAddr>,
}

impl AddressPool {
    /// Reads a pool: the union of its addresses, less what is excluded, less the reserved
    /// addresses of its subnet, less the gateway, in this order.
    ///
    /// # Errors
    /// The first thing that is wrong, by field.
    pub fn read(spec: &InClusterIPPoolSpec) -> Result<Self, PoolError> {
        let entries = parse("spec.addresses", &spec.addresses)?;
        let excluded = parse("spec.excludedAddresses", &spec.excluded_addresses)?;
        let Some(family) = entries.first().map(|range| range.is_v4()) else {
            return Err(PoolError::NoAddresses);
        };
        if entries.iter().any(|range| range.is_v4() != family) {
            return Err(PoolError::MixedFamilies("spec.addresses"));
        }
        if excluded.iter().any(|range| range.is_v4() != family) {
            return Err(PoolError::MixedFamilies("spec.excludedAddresses"));
        }
        let gateway = match spec.gateway.as_deref() {
            None | Some("") => None,
            Some(text) => Some(
                text.parse::<IpAddr>()
                    .map_err(|_| PoolError::Gateway(text.to_owned()))?,
            ),
        };
        if gateway.is_some_and(|gateway| gateway.is_ipv4() != family) {
            return Err(PoolError::MixedFamilies("spec.gateway"));
        }
        if let Some(seconds) = spec
            .address_reuse_grace_period_seconds
            .filter(|seconds| *seconds < 0)
        {
            return Err(PoolError::GracePeriod(seconds));
        }
        let prefix = u8::try_from(spec.prefix).map_err(|_| PoolError::Prefix(spec.prefix))?;

        let mut allocatable = RangeSet::default();
        for entry in &entries {
            allocatable.insert(*entry);
        }
        let Some(first) = allocatable.first() else {
            return Err(PoolError::NoAddresses);
        };
        let subnet = AddressRange::network(first, prefix).ok_or(PoolError::Prefix(spec.prefix))?;
        if let Some(entry) = entries.iter().find(|entry| !subnet.covers(**entry)) {
            return Err(PoolError::OtherSubnet {
                entry: entry.to_string(),
                first,
                prefix: spec.prefix,
            });
        }
        for entry in excluded {
            allocatable.remove(entry);
        }
        if spec.allocate_reserved_ip_addresses != Some(true) {
            allocatable.remove(AddressRange::single(subnet.first()));
            if family {
                allocatable.remove(AddressRange::single(subnet.last()));
            }
        }
        if let Some(gateway) = gateway {
            allocatable.remove(AddressRange::single(gateway));
        }
        Ok(Self {
            allocatable,
            prefix,
            gateway,
        })
    }
}

fn parse(field: &'static str, entries: &[String]) -> Result<Vec<AddressRange>, PoolError> {
    entries
        .iter()
        .map(|entry| {
            entry
                .parse()
                .map_err(|source| PoolError::Syntax { field, source })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(addresses: &[&str], prefix: i32) -> InClusterIPPoolSpec {
        InClusterIPPoolSpec {
            addresses: addresses.iter().map(|&text| text.to_owned()).collect(),
            prefix,
            ..InClusterIPPoolSpec::default()
        }
    }

    fn gives(spec: &InClusterIPPoolSpec) -> Vec<String> {
        AddressPool::read(spec)
            .unwrap()
            .allocatable
            .ranges()
            .map(|range| range.to_string())
            .collect()
    }

    #[test]
    fn reserved_addresses_of_the_one_subnet_and_the_gateway_are_not_given() {
        assert_eq!(gives(&pool(&["10.0.0.0/24"], 24)), ["10.0.0.1-10.0.0.254"]);
        let with_gateway = InClusterIPPoolSpec {
            gateway: Some("10.0.0.1".into()),
            ..pool(&["10.0.0.0/24"], 24)
        };
        assert_eq!(gives(&with_gateway), ["10.0.0.2-10.0.0.254"]);
        let reserved = InClusterIPPoolSpec {
            allocate_reserved_ip_addresses: Some(true),
            ..with_gateway
        };
        assert_eq!(gives(&reserved), ["10.0.0.0", "10.0.0.2-10.0.0.255"]);
    }

    #[test]
    fn reserved_addresses_follow_the_prefix_and_not_the_entry() {
        assert_eq!(gives(&pool(&["10.0.0.0/24"], 22)), ["10.0.0.1-10.0.0.255"]);
        assert_eq!(gives(&pool(&["fd00::/126"], 126)), ["fd00::1-fd00::3"]);
    }

    #[test]
    fn the_subnet_is_that_of_the_lowest_address_before_exclusion() {
        let spec = InClusterIPPoolSpec {
            excluded_addresses: vec!["10.0.0.0-10.0.0.9".into()],
            ..pool(&["10.0.0.0/28"], 28)
        };
        assert_eq!(gives(&spec), ["10.0.0.10-10.0.0.14"]);
    }

    #[test]
    fn tiny_pools_are_empty() {
        for spec in [
            pool(&["10.0.0.5"], 32),
            pool(&["fd00::5"], 128),
            pool(&["10.0.0.4/31"], 31),
        ] {
            assert!(AddressPool::read(&spec).unwrap().allocatable.is_empty());
        }
    }

    #[test]
    fn prefix_zero_reserves_the_ends_of_the_address_space() {
        let all = AddressPool::read(&pool(&["0.0.0.0/0"], 0)).unwrap();
        assert_eq!(all.allocatable.len(), (1 << 32) - 2);
    }

    #[test]
    fn what_is_wrong_is_said_by_field() {
        let gateway = |text: &str| InClusterIPPoolSpec {
            gateway: Some(text.into()),
            ..pool(&["10.0.0.0/24"], 24)
        };
        for (spec, field) in [
            (pool(&[], 24), "spec.addresses: Required"),
            (
                pool(&["10.0.0.0/24", "fd00::1"], 24),
                "spec.addresses: Invalid",
            ),
            (pool(&["x"], 24), "spec.addresses: Invalid"),
            (pool(&["10.0.0.0/24"], 33), "spec.prefix"),
            (pool(&["10.0.0.0/24"], -1), "spec.prefix"),
            (
                pool(&["10.0.0.0/24", "10.0.1.5"], 24),
                "spec.addresses: Invalid",
            ),
            (gateway("x"), "spec.gateway"),
            (gateway("fd00::1"), "spec.gateway"),
        ] {
            let error = AddressPool::read(&spec).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
