//! Benches live beside this package.
