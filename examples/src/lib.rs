//! What the examples share: a datacenter that is simulated, as URLs and credentials, a small client
//! for objects of any kind, rows for a terminal, and how programs end and fail.

/// The README's snippets compile, and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub mod deployment;
pub mod lab;
pub mod objects;
pub mod output;
pub mod simulation;
pub mod terminal;
