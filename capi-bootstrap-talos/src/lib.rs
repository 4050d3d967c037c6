//! Cluster API bootstrap provider for Talos Linux: secrets bundle, machine configuration,
//! patches.

pub mod api;
pub mod config;
pub mod provider;
pub mod secrets;

#[cfg(test)]
mod testing;
