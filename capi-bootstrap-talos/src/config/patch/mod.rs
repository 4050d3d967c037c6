//! Patches of machine configurations: strategic ones, which are documents like the
//! configuration itself, and JSON patches (RFC 6902).
//!
//! A patch stays the user's text until it is merged. Patches only add what they say to what
//! is there: applying one twice appends its list elements twice, so a changed machine is
//! generated again from the start and never patched on.

mod json;
mod strategic;

#[cfg(test)]
mod tests;

pub use json::{JsonOperation, JsonPatch};
pub use strategic::StrategicPatch;

use super::yaml::{self, Node};
use super::{ConfigError, MachineConfig};

/// A patch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Patch {
    /// Documents that are merged.
    Strategic(StrategicPatch),
    /// Operations on the JSON form.
    Json(JsonPatch),
}

impl Patch {
    /// Reads one text, as Talos does: documents of a machine configuration; else operations,
    /// as JSON or YAML. An empty text, comments, null and `[]` are a patch that does nothing.
    ///
    /// # Errors
    /// [`ConfigError`] with the place: not YAML, an unknown kind or key, a value of the wrong
    /// type, a directive other than `$patch: delete`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.trim_start().starts_with('[') {
            let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
                ConfigError::Invalid(format!(
                    "line {}, column {}: a patch that begins with [ must be a JSON list of operations",
                    error.line(),
                    error.column()
                ))
            })?;
            return JsonPatch::from_json(&value).map(Self::Json);
        }
        let documents = yaml::parse(text)?;
        if let [document] = documents.as_slice()
            && let Node::Sequence(_) = document.node
        {
            return JsonPatch::from_json(&document.node.to_json()).map(Self::Json);
        }
        StrategicPatch::new(documents).map(Self::Strategic)
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Strategic(patch) => patch.is_empty(),
            Self::Json(patch) => patch.is_empty(),
        }
    }
}

impl MachineConfig {
    /// The configuration with a patch applied. Both are strict: what comes out has only known
    /// kinds and keys.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] where the patch does not fit: a value of another type, a path
    /// to delete that is not there, a JSON patch for several documents.
    pub fn patched(&self, patch: &Patch) -> Result<Self, ConfigError> {
        match patch {
            Patch::Strategic(patch) => patch.apply(self),
            Patch::Json(patch) => patch.apply(self),
        }
    }
}
