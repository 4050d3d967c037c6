//! The whole of the SDK on the embedded API server.

#![cfg(feature = "testing")]

mod conformance;
mod fairness;
mod hosts;
mod ipam;
mod leadership;
mod lifecycle;
mod servers;
mod sets;
mod simulation;
mod support;
mod unknown_fields;
mod watches;
mod wire;
mod workers;
mod wrong_providers;
