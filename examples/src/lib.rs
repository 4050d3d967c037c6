//! What the examples share: a datacenter that is simulated, as URLs and credentials, a small client
//! for objects of any kind, and rows for a terminal.

pub mod deployment;
pub mod lab;
pub mod objects;
pub mod simulation;
pub mod terminal;
