//! Talos machine configurations: what they are made of, how they are generated for a version
//! of Talos, patched and checked. Nothing here does I/O or knows Kubernetes objects.

mod contract;
mod document;
mod generate;
mod patch;
mod schema;
mod talosconfig;
mod validate;
pub mod yaml;

pub use contract::{Contract, InvalidTalosVersion};
pub use document::{ConfigError, DocumentId, MachineConfig, MachineType};
pub use generate::{ConfigInput, ConfigOptions, GenerateError, Install};
pub use patch::{JsonOperation, JsonPatch, Patch, StrategicPatch};
pub use talosconfig::Talosconfig;
