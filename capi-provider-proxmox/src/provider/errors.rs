//! What an error of Proxmox VE means to the machine at hand.

use std::time::Duration;

use capi_core::provider::ProviderError;

use crate::client::{Error, ErrorClass};

/// The error of one step, under the reason that CAPMOX gives it.
///
/// Nothing that Proxmox VE says is terminal, and hardly anything is final: a template, a privilege or room may come.
pub(super) fn step(reason: &'static str, error: Error) -> ProviderError {
    let (message, after) = match error.class() {
        ErrorClass::Authentication => ("Proxmox VE does not accept the API token", Some(60)),
        ErrorClass::Permission => ("the API token lacks a privilege", Some(60)),
        ErrorClass::Untrusted => (
            "the server is not the one that the credentials describe",
            Some(60),
        ),
        ErrorClass::Quorum => (
            "the datacenter has no quorum and takes no changes",
            Some(15),
        ),
        ErrorClass::Capacity => ("there is no room", Some(30)),
        ErrorClass::Invalid => ("Proxmox VE refuses what the spec asks for", Some(30)),
        ErrorClass::Unreachable => ("Proxmox VE cannot be reached", None),
        ErrorClass::NodeDown => ("a node of Proxmox VE does not answer", Some(5)),
        ErrorClass::Locked => ("Proxmox VE is busy with it", None),
        _ => ("Proxmox VE did not do it", None),
    };
    let wrapped = ProviderError::transient(reason, message).with_source(error);
    match after {
        Some(seconds) => wrapped.retry_after(Duration::from_secs(seconds)),
        None => wrapped,
    }
}
