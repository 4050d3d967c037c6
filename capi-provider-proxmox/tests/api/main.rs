//! The wire types and definitions of this crate against upstream's definitions and objects.

mod conversions;
mod definitions;
mod objects;
mod upstream;
