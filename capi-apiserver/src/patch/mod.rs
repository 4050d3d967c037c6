//! The three ways in which a client describes a change of an object.
//!
//! Server-side apply is a fourth and has a module of its own, [`apply`](crate::apply).

pub mod merge;
