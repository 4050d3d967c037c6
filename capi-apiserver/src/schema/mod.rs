//! What a custom resource's schema decides about an object.
//!
//! A [`Schema`] is read once from the `openAPIV3Schema` of a version of a
//! CustomResourceDefinition and then prunes, defaults and validates objects of that version.
//! It answers to <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.
//! It never reads or writes the store, and it knows no kind.

mod default;
mod embedded;
mod error;
mod format;
mod list;
mod part;
mod path;
mod prune;
mod read;
mod rules;
mod structural;
mod validate;

use regex::Regex;

pub use error::{FieldError, FieldErrorKind, FieldErrors, quote};
pub use path::Path;
pub use read::SchemaError;
pub use structural::check_structural;

use crate::json::{Number, Value};

/// The type that a schema names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `object`
    Object,
    /// `array`
    Array,
    /// `string`
    String,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `boolean`
    Boolean,
}

impl Kind {
    /// The name as a schema spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// How a list is merged and compared: `x-kubernetes-list-type`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListType {
    /// As a whole, one owner.
    #[default]
    Atomic,
    /// As a set of scalars.
    Set,
    /// As a map from the values of these members to items.
    Map(Box<[Box<str>]>),
}

/// How a strategic merge patch treats a member: `x-kubernetes-patch-strategy` and
/// `x-kubernetes-patch-merge-key`. Only built-in kinds have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergeStrategy {
    /// Whether lists are merged, by the key or as a set.
    pub merges: bool,
    /// Whether objects are replaced.
    pub replaces: bool,
    /// The member by which items of a list are told apart.
    pub key: Option<Box<str>>,
}

/// What an object may hold beside its properties: `additionalProperties`.
#[derive(Debug, Clone, Default)]
pub(crate) enum Additional {
    /// Nothing was said.
    #[default]
    Unsaid,
    /// `true`
    Any,
    /// `false`
    Forbidden,
    /// Values of a schema.
    Schema(Box<Schema>),
}

impl Additional {
    pub(crate) fn schema(&self) -> Option<&Schema> {
        match self {
            Self::Schema(schema) => Some(schema),
            _ => None,
        }
    }
}

/// A structural schema.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    pub(crate) kind: Option<Kind>,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown_fields: bool,
    pub(crate) embedded_resource: bool,
    pub(crate) atomic_map: bool,
    /// In the order of names.
    pub(crate) properties: Vec<(Box<str>, Schema)>,
    /// A print of each name, so that most of the others are passed over without reading them.
    pub(crate) prints: Vec<u32>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) default: Option<Value<'static>>,
    pub(crate) list_type: Option<ListType>,
    /// What an object of a built-in kind holds before anything is set, for field management.
    pub(crate) zero: Option<Box<Value<'static>>>,
    pub(crate) merge_strategy: Option<Box<MergeStrategy>>,
    pub(crate) checks: Option<Box<Checks>>,
    pub(crate) rules: Vec<rules::Rule>,
    /// Which work is to be done somewhere in this schema, so that the rest is passed over.
    pub(crate) within: Within,
}

/// What a schema or one below it asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Within {
    pub(crate) defaults: bool,
    pub(crate) rules: bool,
    /// Rules that compare with what was before.
    pub(crate) transitions: bool,
    pub(crate) unique_lists: bool,
    pub(crate) embedded: bool,
}

/// A rule of `x-kubernetes-validations` as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSource {
    /// The expression.
    pub rule: String,
    /// What to say when it does not hold.
    pub message: Option<String>,
    /// An expression for what to say.
    pub message_expression: Option<String>,
    /// `FieldValueInvalid`, `FieldValueForbidden`, `FieldValueRequired` or `FieldValueDuplicate`.
    pub reason: Option<String>,
    /// The field to blame, relative to where the rule stands.
    pub field_path: Option<String>,
    /// Whether `oldSelf` is an optional, so that the rule runs on creation too.
    pub optional_old_self: bool,
}

/// The value validations of a schema: those that most nodes have none of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks {
    pub(crate) format: Option<format::Format>,
    pub(crate) format_name: Box<str>,
    pub(crate) minimum: Option<Number<'static>>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) maximum: Option<Number<'static>>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<Number<'static>>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) pattern: Option<(Box<str>, Regex)>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) unique_items: bool,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) required: Vec<Box<str>>,
    pub(crate) one_of_values: Vec<Value<'static>>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Schema>,
}

/// Length, first, last and middle byte of a name.
pub(crate) fn print(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or_default();
    let length = bytes.len();
    u32::from_le_bytes([
        length as u8,
        at(0),
        at(length / 2),
        at(length.saturating_sub(1)),
    ])
}

impl Schema {
    /// The schema of a property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Schema> {
        let wanted = print(name);
        self.prints
            .iter()
            .zip(&self.properties)
            .find(|(print, (known, _))| **print == wanted && known.as_ref() == name)
            .map(|(_, (_, schema))| schema)
    }

    /// The schema of a member: the property's, or else that of additional properties.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Schema> {
        self.property(name).or_else(|| self.additional.schema())
    }

    /// The schema of the items of a list.
    #[must_use]
    pub fn items(&self) -> Option<&Schema> {
        self.items.as_deref()
    }

    /// The type that the schema names.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// How a list of this schema is merged.
    #[must_use]
    pub fn list_type(&self) -> &ListType {
        self.list_type.as_ref().unwrap_or(&ListType::Atomic)
    }

    /// How a strategic merge patch treats a value of this schema.
    #[must_use]
    pub fn merge_strategy(&self) -> MergeStrategy {
        self.merge_strategy.as_deref().cloned().unwrap_or_default()
    }

    /// Whether a map of this schema is replaced as a whole: `x-kubernetes-map-type: atomic`.
    #[must_use]
    pub const fn is_atomic_map(&self) -> bool {
        self.atomic_map
    }

    /// Whether unknown members are kept.
    #[must_use]
    pub const fn preserves_unknown_fields(&self) -> bool {
        self.preserve_unknown_fields
    }
}

#[cfg(test)]
mod tests;
