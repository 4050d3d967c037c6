//! The wire types and definitions of capi-core against upstream's definitions and objects.

mod conversions;
mod definitions;
mod objects;
#[cfg(feature = "testing")]
mod pools;
#[cfg(feature = "testing")]
mod served;
mod upstream;
