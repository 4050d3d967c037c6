//! Conditions as objects carry them.
//!
//! Conditions are data here. How they are set, summarised and aggregated is decided by the planners.

use serde::{Deserialize, Serialize};

use super::meta::{Time, is_default};

/// One observed aspect of an object, such as `Ready`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What is observed; one entry a type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Generation of the object that was looked at; unset when not known.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: Option<i64>,
    /// When `status` changed last.
    pub last_transition_time: Time,
    /// Why, as one word for programs; never empty on the wire.
    pub reason: String,
    /// Why, as a sentence for people; may be empty.
    pub message: String,
}

/// Whether a condition holds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known whether it holds.
    #[default]
    Unknown,
}

impl ConditionStatus {
    /// The status as it stands in an object.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for ConditionStatus {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ConditionStatus".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "enum": ["True", "False", "Unknown"] })
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// The older form leaves out what the newer one says with an empty text; its schema refuses that.
fn is_none_or_empty(text: &Option<String>) -> bool {
    text.as_deref().is_none_or(str::is_empty)
}

/// A condition in the form of the v1beta1 contract, kept beside the new ones until that contract ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct V1Beta1Condition {
    /// What is observed; one entry a type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// `Error`, `Warning` or `Info`, only with status `False`.
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub severity: Option<String>,
    /// When the condition changed last.
    pub last_transition_time: Time,
    /// Why, as one word for programs.
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub reason: Option<String>,
    /// Why, as a sentence for people.
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub message: Option<String>,
}
