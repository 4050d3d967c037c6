//! The wire types and definitions of capi-core against upstream's definitions and objects.

mod definitions;
mod upstream;
