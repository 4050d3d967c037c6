//! The three ways in which a client describes a change of an object.
//!
//! Server-side apply is a fourth and has a module of its own, [`apply`](crate::apply).

pub mod json_patch;
pub mod merge;
pub mod strategic;

use crate::json::Value;

/// Why a patch did not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// The body is no patch: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch has more operations than allowed: 413.
    #[error("{0}")]
    TooLarge(String),
    /// The patch does not fit the object: 422. Upstream does not say why.
    #[error("the server rejected our request due to an error in our request")]
    DoesNotApply,
}

impl PatchError {
    fn decoding(why: &str) -> Self {
        Self::Malformed(format!("error decoding patch: {why}"))
    }
}

/// The kind of a value as Go's decoder names it.
pub(crate) const fn go_kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
