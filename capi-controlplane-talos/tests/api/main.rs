//! The wire types and definitions of this crate against upstream's definitions and objects.

mod definitions;
mod objects;
mod upstream;
