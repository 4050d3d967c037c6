//! Which machine a Node without a providerID is.

use crate::api::{MachineAddress, MachineAddressType};

/// What a Node says of itself before anybody gave it a providerID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeIdentity<'a> {
    /// `status.nodeInfo.systemUUID`, as firmware has it.
    pub system_uuid: &'a str,
    /// Its addresses of type `InternalIP`.
    pub internal_addresses: Vec<&'a str>,
}

impl NodeIdentity<'_> {
    /// Whether the Node is the machine of this providerID and these addresses. Where both sides know
    /// a UUID, it decides: an address may have belonged to a machine that is gone, and whose Node is
    /// still listed.
    #[must_use]
    pub fn is_of(&self, provider_id: &str, addresses: &[MachineAddress]) -> bool {
        let uuid = self.system_uuid.to_ascii_lowercase();
        let id = provider_id.to_ascii_lowercase();
        let id = id.rsplit('/').next().unwrap_or_default();
        if is_uuid(&uuid) && is_uuid(id) {
            return id == uuid || swapped(id) == uuid;
        }
        addresses.iter().any(|address| {
            matches!(
                address.type_,
                MachineAddressType::InternalIp | MachineAddressType::ExternalIp
            ) && self.internal_addresses.contains(&&*address.address)
        })
    }
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// The UUID as firmware before SMBIOS 2.6 has it: its first three fields in the other byte order.
fn swapped(uuid: &str) -> String {
    let fields = uuid.split('-').enumerate().map(|(index, field)| {
        if index > 2 {
            return field.to_owned();
        }
        let digits: Vec<char> = field.chars().collect();
        digits.rchunks(2).flatten().collect()
    });
    fields.collect::<Vec<String>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "8219d773-28b3-4586-b36b-df48b32f23e7";

    /// Whether a Node is the machine of a providerID with the address 10.10.10.11.
    fn is(uuid: &str, address: &str, provider_id: &str) -> bool {
        let node = NodeIdentity {
            system_uuid: uuid,
            internal_addresses: vec![address],
        };
        let known = MachineAddress {
            type_: MachineAddressType::InternalIp,
            address: "10.10.10.11".into(),
        };
        node.is_of(provider_id, &[known])
    }

    #[test]
    fn a_node_is_the_machine_of_its_uuid_in_any_case_and_byte_order() {
        for uuid in [
            UUID.to_owned(),
            UUID.to_uppercase(),
            "73d71982-b328-8645-b36b-df48b32f23e7".to_owned(),
        ] {
            assert!(is(&uuid, "10.0.0.9", &format!("vm://{UUID}")), "{uuid}");
        }
    }

    #[test]
    fn the_node_of_a_machine_that_is_gone_is_not_the_one_that_has_its_address_now() {
        let stale = "1cfe9a90-d0ad-4196-a9c8-8110504edb54";
        assert!(!is(stale, "10.10.10.11", &format!("vm://{UUID}")));
    }

    #[test]
    fn addresses_decide_where_a_side_has_no_uuid() {
        assert!(is(UUID, "10.10.10.11", "metal://rack-1/7"));
        let id = format!("vm://{UUID}");
        assert!(is("", "10.10.10.11", &id));
        assert!(is("Not Settable", "10.10.10.11", &id));
        assert!(!is("", "10.10.10.12", &id));
    }
}
