//! What tests and simulations run against: providers that need no outside, faults, invariants.

pub mod reference;
