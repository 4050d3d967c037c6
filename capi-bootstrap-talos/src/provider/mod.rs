//! The bootstrap provider: TalosConfigs into bootstrap data, and the secrets of their cluster.

mod bootstrap;
mod choice;
mod recipe;
pub mod secrets;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod tests;

pub use bootstrap::TalosBootstrap;
pub use choice::{ContractChoice, choose};
pub use recipe::{Generated, MachineFacts, RecipeError, contract, generate};
