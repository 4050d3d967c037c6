//! What tests and simulations run against: providers that need no outside, faults, invariants,
//! and the [simulation](simulation) that puts them together.

pub mod faults;
pub mod invariants;
pub mod reference;
pub mod simulation;
