//! OpenAPI documents: version 3 for each group and version, version 2 for everything, made from
//! the schemas of CustomResourceDefinitions and the built-in ones.

pub mod builtin;
mod document;
pub mod protobuf;

pub use document::{Described, v2, v3};

#[cfg(test)]
mod tests;
