//! Defaulting and admission of Cluster API's own kinds: what upstream's webhooks do, as functions.
//!
//! They look at one object and its previous state, in the stored version, and at nothing else. An
//! API server without webhooks runs them on every write: [`Admission::default_object`] before the
//! schema is applied, [`Admission::validate_object`] after it. What the schema already says (lengths,
//! patterns, required fields) is not said again here.
//!
//! Answers to upstream's `core/webhooks/admission`. What upstream lets through although it breaks
//! things silently is let through too, with a warning.

mod checks;
mod default;
#[cfg(feature = "embedded")]
mod server;
#[cfg(test)]
mod tests;
mod validate;

#[cfg(feature = "embedded")]
pub use server::install;

use std::fmt;

use serde_json::Value;

use crate::api::{
    CLUSTER, IP_ADDRESS, IP_ADDRESS_CLAIM, KindInfo, MACHINE, MACHINE_DEPLOYMENT,
    MACHINE_DRAIN_RULE, MACHINE_HEALTH_CHECK, MACHINE_SET,
};

/// Why a field of an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Class of the refusal.
    pub kind: FieldErrorKind,
    /// Place of the field, such as `spec.template.spec.version`.
    pub path: String,
    /// Value that is refused, as JSON; `None` where there is none.
    pub value: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Class of a refusal, as Kubernetes has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldErrorKind {
    /// The field is missing.
    Required,
    /// The value is malformed or does not go with others.
    Invalid,
    /// The value must not be set, or not be changed.
    Forbidden,
}

impl FieldErrorKind {
    /// The reason of a cause in a `Status` object.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::Forbidden => "FieldValueForbidden",
        }
    }
}

impl FieldError {
    /// The message of a cause in a `Status` object, which names the field elsewhere.
    #[must_use]
    pub fn cause(&self) -> String {
        match (self.kind, &self.value) {
            (FieldErrorKind::Required, _) => format!("Required value: {}", self.message),
            (FieldErrorKind::Forbidden, _) => format!("Forbidden: {}", self.message),
            (FieldErrorKind::Invalid, Some(value)) => {
                format!("Invalid value: {value}: {}", self.message)
            }
            (FieldErrorKind::Invalid, None) => format!("Invalid value: {}", self.message),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.cause())
    }
}

impl std::error::Error for FieldError {}

/// What is said about an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is refused; it is accepted when there are none.
    pub errors: Vec<FieldError>,
    /// What the user should know although it is accepted.
    pub warnings: Vec<String>,
}

impl Verdict {
    pub(crate) fn required(&mut self, path: &str, message: &str) {
        self.push(FieldErrorKind::Required, path, None, message);
    }

    pub(crate) fn invalid(&mut self, path: &str, value: impl Into<Value>, message: &str) {
        self.push(
            FieldErrorKind::Invalid,
            path,
            Some(value.into().to_string()),
            message,
        );
    }

    pub(crate) fn forbidden(&mut self, path: &str, message: &str) {
        self.push(FieldErrorKind::Forbidden, path, None, message);
    }

    fn push(&mut self, kind: FieldErrorKind, path: &str, value: Option<String>, message: &str) {
        self.errors.push(FieldError {
            kind,
            path: path.to_owned(),
            value,
            message: message.to_owned(),
        });
    }
}

type Default = fn(&mut Value, Option<&Value>) -> Result<(), FieldError>;
type Validate = fn(&Value, Option<&Value>) -> Verdict;

/// Defaulting and validation of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// The kind, in the version in which objects are looked at.
    pub kind: KindInfo,
    default: Option<Default>,
    validate: Validate,
}

impl Admission {
    /// Sets what the user left open, on a new object and on a changed one (`old` is its previous
    /// state). Idempotent.
    ///
    /// # Errors
    ///
    /// When a value that the default is computed from is malformed.
    pub fn default_object(
        &self,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), FieldError> {
        self.default.map_or(Ok(()), |default| default(object, old))
    }

    /// Judges a new object, or a changed one (`old` is its previous state).
    #[must_use]
    pub fn validate_object(&self, object: &Value, old: Option<&Value>) -> Verdict {
        (self.validate)(object, old)
    }
}

/// Defaulting and validation of this crate's kinds.
#[must_use]
pub fn admissions() -> &'static [Admission] {
    const ADMISSIONS: &[Admission] = &[
        Admission {
            kind: CLUSTER,
            default: Some(default::cluster),
            validate: validate::cluster,
        },
        Admission {
            kind: MACHINE,
            default: Some(default::machine),
            validate: validate::machine,
        },
        Admission {
            kind: MACHINE_SET,
            default: Some(default::machine_set),
            validate: validate::machine_set,
        },
        Admission {
            kind: MACHINE_DEPLOYMENT,
            default: Some(default::machine_deployment),
            validate: validate::machine_deployment,
        },
        Admission {
            kind: MACHINE_HEALTH_CHECK,
            default: Some(default::machine_health_check),
            validate: validate::machine_health_check,
        },
        Admission {
            kind: MACHINE_DRAIN_RULE,
            default: None,
            validate: validate::machine_drain_rule,
        },
        Admission {
            kind: IP_ADDRESS,
            default: None,
            validate: validate::ip_address,
        },
        Admission {
            kind: IP_ADDRESS_CLAIM,
            default: None,
            validate: validate::ip_address_claim,
        },
    ];
    ADMISSIONS
}

/// Defaulting and validation of `kind` in `group`.
#[must_use]
pub fn find(group: &str, kind: &str) -> Option<&'static Admission> {
    admissions()
        .iter()
        .find(|admission| admission.kind.group == group && admission.kind.kind == kind)
}
