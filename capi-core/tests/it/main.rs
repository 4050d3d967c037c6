//! The whole of the SDK on the embedded API server.

#![cfg(feature = "testing")]

mod conformance;
mod hosts;
mod ipam;
mod lifecycle;
mod sets;
mod simulation;
mod support;
mod workers;
