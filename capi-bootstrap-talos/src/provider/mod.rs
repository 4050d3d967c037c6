//! The bootstrap provider: TalosConfigs into bootstrap data, and the secrets of their cluster.

mod choice;
mod recipe;

#[cfg(test)]
mod cases;

pub use choice::{ContractChoice, choose};
pub use recipe::{Generated, MachineFacts, RecipeError, contract, generate};
