//! What names a virtual machine for ever.

use capi_core::provider::{Identity, ProviderError, StatusFields};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::ProxmoxMachine;

/// Beginning of every provider id.
const SCHEME: &str = "proxmox://";

/// A virtual machine: the number to find it by, and the UUID that proves it is the one.
///
/// The UUID is derived from the ProxmoxMachine's own and set in the firmware of the virtual machine, so the provider id
/// is known before anything is made. The number is written to `spec.virtualMachineID`, the UUID to `spec.providerID`,
/// the node to `status.proxmoxNode`: where CAPMOX has them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxmoxIdentity {
    /// Number of the virtual machine.
    pub vmid: u64,
    /// UUID in its firmware, lower case.
    pub uuid: String,
    /// The node it was made on. It may have moved since.
    pub node: String,
}

impl Identity for ProxmoxIdentity {
    fn provider_id(&self) -> String {
        format!("{SCHEME}{}", self.uuid)
    }
}

/// The identity in an object; `None` while one of number and UUID is missing.
pub(super) fn read(machine: &ProxmoxMachine) -> Result<Option<ProxmoxIdentity>, ProviderError> {
    let spec = &machine.spec;
    let (Some(vmid), Some(provider_id)) = (spec.virtual_machine_id, &spec.provider_id) else {
        return Ok(None);
    };
    let unreadable = |message: String| ProviderError::invalid("IdentityUnreadable", message);
    let uuid = provider_id
        .strip_prefix(SCHEME)
        .filter(|uuid| is_uuid(uuid))
        .ok_or_else(|| {
            unreadable(format!(
                "spec.providerID {provider_id:?} is not {SCHEME} and a UUID"
            ))
        })?;
    let vmid = u64::try_from(vmid)
        .ok()
        .filter(|vmid| *vmid >= 100)
        .ok_or_else(|| {
            unreadable(format!(
                "spec.virtualMachineID {vmid} is no number of a virtual machine"
            ))
        })?;
    let node = machine
        .status
        .proxmox_node
        .clone()
        .or_else(|| spec.source_node.clone())
        .unwrap_or_default();
    Ok(Some(ProxmoxIdentity {
        vmid,
        uuid: uuid.to_lowercase(),
        node,
    }))
}

/// Where the identity is written: fields of `spec`, fields of `status`.
pub(super) fn write(identity: &ProxmoxIdentity) -> (StatusFields, StatusFields) {
    let mut spec = StatusFields::new();
    spec.insert("virtualMachineID".into(), json!(identity.vmid));
    spec.insert("providerID".into(), json!(identity.provider_id()));
    let mut status = StatusFields::new();
    status.insert("proxmoxNode".into(), json!(identity.node));
    (spec, status)
}

pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A UUID for a machine, the same for the same machine: its own UID where that is a UUID.
pub(super) fn uuid_for(uid: &str) -> String {
    if is_uuid(uid) {
        return uid.to_lowercase();
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, uid.as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ProxmoxMachineSpec;

    #[test]
    fn an_identity_is_read_from_where_it_is_written() {
        let identity = ProxmoxIdentity {
            vmid: 104,
            uuid: uuid_for("a uid"),
            node: "pve1".into(),
        };
        let (spec, status) = write(&identity);
        let mut object =
            serde_json::to_value(ProxmoxMachine::new("m", ProxmoxMachineSpec::default())).unwrap();
        object["spec"] = spec.into();
        object["status"] = status.into();
        assert_eq!(
            read(&serde_json::from_value(object).unwrap()).unwrap(),
            Some(identity.clone())
        );
        assert_eq!(identity.provider_id().len(), 46);
    }

    #[test]
    fn a_uid_is_its_uuid_and_another_text_has_one_of_its_own() {
        assert_eq!(
            uuid_for("CCC357A5-2219-49ba-bfa0-93d8f4e1d70c"),
            "ccc357a5-2219-49ba-bfa0-93d8f4e1d70c"
        );
        assert!(
            is_uuid(&uuid_for("x"))
                && uuid_for("x") == uuid_for("x")
                && uuid_for("x") != uuid_for("y")
        );
    }

    #[test]
    fn what_is_no_identity_is_said_with_its_field() {
        let machine = |vmid, provider_id: &str| {
            let spec = ProxmoxMachineSpec {
                virtual_machine_id: vmid,
                provider_id: Some(provider_id.into()),
                ..ProxmoxMachineSpec::default()
            };
            read(&ProxmoxMachine::new("m", spec))
        };
        assert_eq!(machine(None, "proxmox://x").unwrap(), None);
        assert!(
            machine(Some(104), "proxmox://x")
                .unwrap_err()
                .full_message()
                .contains("spec.providerID")
        );
        assert!(
            machine(Some(4), "proxmox://ccc357a5-2219-49ba-bfa0-93d8f4e1d70c")
                .unwrap_err()
                .full_message()
                .contains("spec.virtualMachineID")
        );
    }
}
