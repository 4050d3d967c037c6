//! Defaulting and admission of Cluster API's own kinds: what upstream's webhooks do, as functions.
//!
//! They look at one object and its previous state, in the stored version; few look at others, which
//! are given to them as [`Objects`]. An API server without webhooks runs them on every write:
//! [`Admission::default_object`] before the schema is applied, [`Admission::validate_among`] after it,
//! and [`Admission::validate_deletion`] before an object goes. Providers have their own, made by
//! [`Admission::new`]. What the schema already says (lengths,
//! patterns, required fields) is not said again here.
//!
//! Answers to upstream's `core/webhooks/admission`. What upstream lets through although it breaks
//! things silently is let through too, with a warning.

mod checks;
mod default;
mod pool;
#[cfg(feature = "embedded")]
mod server;
#[cfg(test)]
mod tests;
mod validate;

#[cfg(feature = "embedded")]
pub use server::{install, install_with};

use std::fmt;

use serde_json::Value;

use crate::api::{
    CLUSTER, GLOBAL_IN_CLUSTER_IP_POOL, IN_CLUSTER_IP_POOL, IP_ADDRESS, IP_ADDRESS_CLAIM, KindInfo,
    MACHINE, MACHINE_DEPLOYMENT, MACHINE_DRAIN_RULE, MACHINE_HEALTH_CHECK, MACHINE_SET,
    annotations,
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
    /// Why the write as a whole is refused, as a bad request; no field is to blame then.
    pub refusal: Option<String>,
    /// What the user should know, be it accepted or not.
    pub warnings: Vec<String>,
}

impl Verdict {
    /// Whether the write is let through.
    #[must_use]
    pub fn accepts(&self) -> bool {
        self.errors.is_empty() && self.refusal.is_none()
    }

    /// Refuses the write as a whole.
    pub fn refuse(&mut self, why: &str) {
        self.refusal.get_or_insert_with(|| why.to_owned());
    }

    /// Tells the user something.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Refuses that a field is missing.
    pub fn required(&mut self, path: &str, message: &str) {
        self.push(FieldErrorKind::Required, path, None, message);
    }

    /// Refuses the value of a field.
    pub fn invalid(&mut self, path: &str, value: impl Into<Value>, message: &str) {
        self.push(
            FieldErrorKind::Invalid,
            path,
            Some(value.into().to_string()),
            message,
        );
    }

    /// Refuses that a field is set, or changed.
    pub fn forbidden(&mut self, path: &str, message: &str) {
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

/// The other objects that are stored, for the few rules that look at more than one.
pub trait Objects {
    /// An object in its stored version; the namespace of a cluster-scoped one is empty.
    fn get(&self, kind: KindInfo, namespace: &str, name: &str) -> Option<Value>;

    /// The objects of a kind in a namespace, or in all when it is empty.
    fn list(&self, kind: KindInfo, namespace: &str) -> Vec<Value>;
}

/// No other objects.
impl Objects for () {
    fn get(&self, _: KindInfo, _: &str, _: &str) -> Option<Value> {
        None
    }

    fn list(&self, _: KindInfo, _: &str) -> Vec<Value> {
        Vec::new()
    }
}

type Default = fn(&mut Value, Option<&Value>) -> Result<(), FieldError>;
type Validate = fn(&Value, Option<&Value>) -> Verdict;
type ValidateAmong = fn(&Value, Option<&Value>, &dyn Objects) -> Verdict;
type ValidateDeletion = fn(&Value, &dyn Objects) -> Verdict;

/// Defaulting and validation of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// The kind, in the version in which objects are looked at.
    pub kind: KindInfo,
    default: Option<Default>,
    validate: Validate,
    among: Option<ValidateAmong>,
    delete: Option<ValidateDeletion>,
    template: bool,
}

impl Admission {
    /// Validation of a kind by a function of an object and its previous state, which is absent for
    /// a new one.
    #[must_use]
    pub const fn new(kind: KindInfo, validate: fn(&Value, Option<&Value>) -> Verdict) -> Self {
        Self {
            kind,
            default: None,
            validate,
            among: None,
            delete: None,
            template: false,
        }
    }

    /// Sets what the user left open, before validation. Must be idempotent.
    #[must_use]
    pub const fn defaulting(
        mut self,
        default: fn(&mut Value, Option<&Value>) -> Result<(), FieldError>,
    ) -> Self {
        self.default = Some(default);
        self
    }

    /// Looks at other objects besides.
    #[must_use]
    pub const fn among(
        mut self,
        among: fn(&Value, Option<&Value>, &dyn Objects) -> Verdict,
    ) -> Self {
        self.among = Some(among);
        self
    }

    /// Judges deletions.
    #[must_use]
    pub const fn deleting(mut self, delete: fn(&Value, &dyn Objects) -> Verdict) -> Self {
        self.delete = Some(delete);
        self
    }

    /// The kind is a template: in the dry runs by which a topology finds out what would change, what
    /// cannot be changed may be.
    #[must_use]
    pub const fn template(mut self) -> Self {
        self.template = true;
        self
    }

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

    /// Judges a new object, or a changed one (`old` is its previous state), by itself.
    #[must_use]
    pub fn validate_object(&self, object: &Value, old: Option<&Value>) -> Verdict {
        self.validate_among(object, old, &())
    }

    /// Judges a new object, or a changed one, among the others that are stored.
    #[must_use]
    pub fn validate_among(
        &self,
        object: &Value,
        old: Option<&Value>,
        others: &dyn Objects,
    ) -> Verdict {
        let mut verdict = (self.validate)(object, old);
        if let Some(among) = self.among
            && verdict.accepts()
        {
            let more = among(object, old, others);
            verdict.errors.extend(more.errors);
            verdict.refusal = more.refusal;
            verdict.warnings.extend(more.warnings);
        }
        verdict
    }

    /// Judges the deletion of an object.
    #[must_use]
    pub fn validate_deletion(&self, object: &Value, others: &dyn Objects) -> Verdict {
        self.delete
            .map_or_else(Verdict::default, |delete| delete(object, others))
    }

    /// The previous state that a change is compared with: none in a dry run of a topology.
    #[must_use]
    pub fn compared_with<'o>(
        &self,
        object: &Value,
        old: Option<&'o Value>,
        dry_run: bool,
    ) -> Option<&'o Value> {
        let is_topology = object
            .pointer("/metadata/annotations")
            .is_some_and(|annotations| annotations.get(annotations::TOPOLOGY_DRY_RUN).is_some());
        old.filter(|_| !(self.template && dry_run && is_topology))
    }
}

/// Defaulting and validation of this crate's kinds.
#[must_use]
pub fn admissions() -> &'static [Admission] {
    const ADMISSIONS: &[Admission] = &[
        Admission::new(CLUSTER, validate::cluster).defaulting(default::cluster),
        Admission::new(MACHINE, validate::machine).defaulting(default::machine),
        Admission::new(MACHINE_SET, validate::machine_set).defaulting(default::machine_set),
        Admission::new(MACHINE_DEPLOYMENT, validate::machine_deployment)
            .defaulting(default::machine_deployment),
        Admission::new(MACHINE_HEALTH_CHECK, validate::machine_health_check)
            .defaulting(default::machine_health_check),
        Admission::new(MACHINE_DRAIN_RULE, validate::machine_drain_rule),
        Admission::new(IP_ADDRESS, validate::ip_address).among(pool::address_of_claim),
        Admission::new(IN_CLUSTER_IP_POOL, pool::validate)
            .among(pool::among)
            .deleting(pool::delete),
        Admission::new(GLOBAL_IN_CLUSTER_IP_POOL, pool::validate)
            .among(pool::among)
            .deleting(pool::delete),
        Admission::new(IP_ADDRESS_CLAIM, validate::ip_address_claim),
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
