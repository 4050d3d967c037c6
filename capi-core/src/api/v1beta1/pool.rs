//! InClusterIPPool and GlobalInClusterIPPool in v1alpha1.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::api::convert::{ConversionError, Direction, Rule, invalid};

pub(super) const V1ALPHA1: &[Rule] = &[Rule::Custom(v1alpha1)];

/// The version may name a subnet, or a first and a last address, beside a list of addresses.
///
/// These become one range at the end of the list. On the way back the list stays as it is, and the
/// fields come from what the annotation kept if they still say the same.
fn v1alpha1(object: &mut Value, direction: &Direction<'_>) -> Result<(), ConversionError> {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    if !direction.is_to_hub() {
        for name in [
            "allocateReservedIPAddresses",
            "excludedAddresses",
            "addressReuseGracePeriodSeconds",
        ] {
            spec.remove(name);
        }
        return Ok(());
    }
    let mut text = |name: &str| match spec.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let (subnet, mut first, mut last) = (text("subnet"), text("start"), text("end"));
    if let Some(subnet) = subnet {
        let network = Network::parse(&subnet).ok_or_else(|| {
            invalid(
                "spec.subnet",
                &format!("{subnet:?} is no network such as 10.0.0.0/24"),
            )
        })?;
        first = first.or_else(|| network.address(1));
        last = last.or_else(|| network.address(-2));
        if spec.get("prefix").is_none_or(|prefix| *prefix == json!(0)) {
            spec.insert("prefix".into(), network.prefix.into());
        }
    }
    if let (Some(first), Some(last)) = (first, last) {
        let range = json!(format!("{first}-{last}"));
        let addresses = spec.entry("addresses").or_insert_with(|| json!([]));
        if let Some(addresses) = addresses.as_array_mut()
            && !addresses.contains(&range)
        {
            addresses.push(range);
        }
    }
    Ok(())
}

struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, prefix })
    }

    /// The address at an offset from the network's first, or (negative) from behind its last.
    fn address(&self, offset: i8) -> Option<String> {
        let (bits, value) = match self.address {
            IpAddr::V4(address) => (32, u128::from(address.to_bits())),
            IpAddr::V6(address) => (128, address.to_bits()),
        };
        let host = u128::MAX
            .checked_shr(128 - bits + u32::from(self.prefix))
            .unwrap_or(0);
        let start = value & !host;
        let value = if offset < 0 {
            (start | host).checked_sub(u128::from(offset.unsigned_abs()) - 1)?
        } else {
            start.checked_add(u128::from(offset.unsigned_abs()))?
        };
        Some(match self.address {
            IpAddr::V4(_) => std::net::Ipv4Addr::from_bits(u32::try_from(value).ok()?).to_string(),
            IpAddr::V6(_) => std::net::Ipv6Addr::from_bits(value).to_string(),
        })
    }
}
