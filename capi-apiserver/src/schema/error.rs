//! What is wrong with a field, in the words of the Kubernetes API.

use std::fmt;

use super::Path;
use crate::json::Value;

/// The class of a field's fault; it is the reason of a cause in a `Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldErrorKind {
    /// `FieldValueNotFound`
    NotFound,
    /// `FieldValueRequired`
    Required,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
}

impl FieldErrorKind {
    /// The reason of a cause.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
        }
    }
}

/// One fault of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The class.
    pub kind: FieldErrorKind,
    /// The path of the field, `<nil>` for the object itself.
    pub field: String,
    /// What is wrong, without the field: the message of a cause.
    pub message: String,
}

impl FieldError {
    fn new(kind: FieldErrorKind, path: &Path<'_>, value: Option<&str>, detail: &str) -> Self {
        let mut message = kind.words().to_owned();
        for part in [value.unwrap_or_default(), detail] {
            if !part.is_empty() {
                message.push_str(": ");
                message.push_str(part);
            }
        }
        Self {
            kind,
            field: path.to_string(),
            message,
        }
    }

    /// A value that breaks a rule.
    #[must_use]
    pub fn invalid(path: &Path<'_>, value: &Value<'_>, detail: &str) -> Self {
        Self::new(FieldErrorKind::Invalid, path, Some(&spell(value)), detail)
    }

    /// A value of another type than the schema's.
    #[must_use]
    pub fn type_invalid(path: &Path<'_>, value: &Value<'_>, detail: &str) -> Self {
        Self::new(
            FieldErrorKind::TypeInvalid,
            path,
            Some(&spell(value)),
            detail,
        )
    }

    /// A value that is missing.
    #[must_use]
    pub fn required(path: &Path<'_>, detail: &str) -> Self {
        Self::new(FieldErrorKind::Required, path, None, detail)
    }

    /// A value that may not be there or may not change.
    #[must_use]
    pub fn forbidden(path: &Path<'_>, detail: &str) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, None, detail)
    }

    /// A value that stands there twice.
    #[must_use]
    pub fn duplicate(path: &Path<'_>, value: &Value<'_>) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, Some(&spell(value)), "")
    }

    /// A value outside a closed set.
    #[must_use]
    pub fn not_supported<'v>(
        path: &Path<'_>,
        value: &Value<'_>,
        supported: impl IntoIterator<Item = &'v str>,
    ) -> Self {
        let supported: Vec<String> = supported.into_iter().map(quote).collect();
        let detail = if supported.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", supported.join(", "))
        };
        Self::new(
            FieldErrorKind::NotSupported,
            path,
            Some(&spell(value)),
            &detail,
        )
    }

    /// A text longer than allowed.
    #[must_use]
    pub fn too_long(path: &Path<'_>, max: u64) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(
            FieldErrorKind::TooLong,
            path,
            None,
            &format!("may not be more than {max} {unit}"),
        )
    }

    /// More items or members than allowed.
    #[must_use]
    pub fn too_many(path: &Path<'_>, actual: u64, max: u64) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        Self::new(
            FieldErrorKind::TooMany,
            path,
            Some(&actual.to_string()),
            &detail,
        )
    }

    /// A fault whose value is not shown.
    pub(crate) fn without_value(kind: FieldErrorKind, path: &Path<'_>, detail: &str) -> Self {
        Self::new(kind, path, None, detail)
    }

    pub(crate) fn of_kind(
        kind: FieldErrorKind,
        path: &Path<'_>,
        value: &Value<'_>,
        detail: &str,
    ) -> Self {
        match kind {
            FieldErrorKind::Required | FieldErrorKind::Forbidden | FieldErrorKind::TooLong => {
                Self::new(kind, path, None, detail)
            }
            _ => Self::new(kind, path, Some(&spell(value)), detail),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.message)
    }
}

/// All that is wrong with an object, in the order in which it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One fault as it is, several in brackets, each once.
impl fmt::Display for FieldErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seen: Vec<String> = Vec::with_capacity(self.0.len());
        for error in &self.0 {
            let text = error.to_string();
            if !seen.contains(&text) {
                seen.push(text);
            }
        }
        match seen.as_slice() {
            [] => Ok(()),
            [one] => formatter.write_str(one),
            many => write!(formatter, "[{}]", many.join(", ")),
        }
    }
}

/// A text in the quotes that the API's messages use.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            control if u32::from(control) < 0x20 || u32::from(control) == 0x7f => {
                out.push_str(&format!("\\x{:02x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A value as an error shows it: text in quotes, anything else as JSON with sorted members.
fn spell(value: &Value<'_>) -> String {
    if let Value::String(text) = value {
        return quote(text);
    }
    value.to_sorted_string()
}
