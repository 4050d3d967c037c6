//! What tests and simulations run against: providers that need no outside, faults, invariants,
//! the [simulation] that puts them together, and the [conformance] suite for
//! providers.

pub mod conformance;
pub mod faults;
pub mod invariants;
pub mod plane;
pub mod real;
pub mod reference;
pub mod simulation;
pub mod traffic;
