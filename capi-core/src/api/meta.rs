//! Types that several kinds share: references, selectors, template metadata, times.
//!
//! They hold data and answer questions about it; they never look anything up.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// True when `value` is what an absent field decodes to; such fields are not written.
#[doc(hidden)]
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Declares an enum of strings that stays open: a value of a newer API version is kept as `Other`.
///
/// The default is the named variant, else the empty text that an absent required field decodes to.
/// For the API types of this workspace; the crate that uses it needs `serde`.
#[doc(hidden)]
#[macro_export]
macro_rules! open_enum {
    (@default) => { Self::Other(String::new()) };
    (@default $default:ident) => { Self::$default };
    ($(#[$meta:meta])* pub enum $name:ident $(default $default:ident)? { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
            /// A value that this version of the library does not know; it is written back unchanged.
            Other(String),
        }

        impl $name {
            /// The values that are known, in the order of declaration.
            pub const KNOWN: &'static [&'static str] = &[$($text),+];

            /// The value as it stands in an object.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(other) => other,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $crate::open_enum!(@default $($default)?)
            }
        }

        impl From<&str> for $name {
            fn from(value: &str) -> Self {
                match value {
                    $($text => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                Ok(Self::from(value.as_ref()))
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": Self::KNOWN })
            }
        }
    };
}

/// A point in time as Kubernetes writes it: RFC 3339 in UTC, whole seconds.
///
/// Fractions of a second are cut off when the value is made, so that two values are equal exactly
/// when they are written equally.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(jiff::Timestamp);

impl Time {
    /// The time `timestamp`, without its fraction of a second.
    #[must_use]
    pub fn new(timestamp: jiff::Timestamp) -> Self {
        let seconds = timestamp.as_nanosecond().div_euclid(1_000_000_000);
        let whole = i64::try_from(seconds)
            .ok()
            .and_then(|s| jiff::Timestamp::from_second(s).ok());
        Self(whole.unwrap_or(timestamp))
    }

    /// The time as a timestamp.
    #[must_use]
    pub fn timestamp(self) -> jiff::Timestamp {
        self.0
    }

    /// Whether this is the default value (1970-01-01T00:00:00Z), which stands for "never set".
    #[must_use]
    pub fn is_unset(self) -> bool {
        self == Self::default()
    }
}

impl From<jiff::Timestamp> for Time {
    fn from(timestamp: jiff::Timestamp) -> Self {
        Self::new(timestamp)
    }
}

impl From<Time> for jiff::Timestamp {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>().map(Self::new)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        jiff::Timestamp::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// A number, or a text that is usually a percentage such as `25%`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number of things.
    Int(i32),
    /// A percentage or another text.
    String(String),
}

impl IntOrString {
    /// The number meant when `total` is the whole: itself, or the percentage of `total`.
    ///
    /// `None` when the text is no percentage.
    #[must_use]
    pub fn scaled(&self, total: i32, rounding: Rounding) -> Option<i32> {
        match self {
            Self::Int(value) => Some(*value),
            Self::String(text) => {
                let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
                let product = percent.checked_mul(i64::from(total))?;
                let scaled = match rounding {
                    Rounding::Down => product.div_euclid(100),
                    Rounding::Up => product.checked_add(99)?.div_euclid(100),
                };
                i32::try_from(scaled).ok()
            }
        }
    }
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl From<i32> for IntOrString {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for IntOrString {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::String(value) => value.fmt(f),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for IntOrString {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IntOrString".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "x-kubernetes-int-or-string": true
        })
    }
}

/// Which way a percentage that is no whole number goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the next lower number.
    Down,
    /// To the next higher number.
    Up,
}

/// What an API server knows a kind by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KindInfo {
    /// API group, such as `cluster.x-k8s.io`.
    pub group: &'static str,
    /// Version of the hub, such as `v1beta2`.
    pub version: &'static str,
    /// Kind, such as `Machine`.
    pub kind: &'static str,
    /// Plural as in URLs, such as `machines`.
    pub plural: &'static str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
}

impl KindInfo {
    /// Group and version, such as `cluster.x-k8s.io/v1beta2`.
    #[must_use]
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// Refuses an object of another version or kind; what is not said is not refused.
    ///
    /// # Errors
    ///
    /// [`WrongKind`] when `api_version` or `kind` is given and differs.
    pub fn expect(&self, api_version: Option<&str>, kind: Option<&str>) -> Result<(), WrongKind> {
        let right = api_version
            .is_none_or(|given| given.split_once('/') == Some((self.group, self.version)))
            && kind.is_none_or(|given| given == self.kind);
        if right {
            return Ok(());
        }
        Err(WrongKind {
            expected: format!("{} {}", self.api_version(), self.kind),
            found: format!(
                "{} {}",
                api_version.unwrap_or("(no apiVersion)"),
                kind.unwrap_or("(no kind)")
            ),
        })
    }

    /// Name of the CustomResourceDefinition, such as `machines.cluster.x-k8s.io`.
    #[must_use]
    pub fn definition_name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }
}

/// An object is of another version or kind than it is read as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the object is {found}, but {expected} is read here; convert it first")]
pub struct WrongKind {
    expected: String,
    found: String,
}

/// Points to an object of any kind in the namespace of the object that holds the reference.
///
/// It names no version: that is resolved from the contract labels of the kind's
/// CustomResourceDefinition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ContractVersionedObjectReference {
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// API group of the object.
    pub api_group: String,
}

impl ContractVersionedObjectReference {
    /// Whether anything is set; an object without a reference may decode to an empty one.
    #[must_use]
    pub fn is_defined(&self) -> bool {
        !(self.kind.is_empty() && self.name.is_empty() && self.api_group.is_empty())
    }
}

/// Labels and annotations that a template gives to what is made from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Labels of the objects made.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the objects made.
    #[serde(skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// Chooses objects by their labels; all requirements must hold, and an empty selector chooses all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that must be present with exactly these values.
    #[serde(skip_serializing_if = "is_default")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(skip_serializing_if = "is_default")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

impl LabelSelector {
    /// Whether an object with these labels is chosen.
    ///
    /// A requirement with an operator that is not known never holds.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.matches(labels))
    }

    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

/// One requirement of a [`LabelSelector`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelectorRequirement {
    /// Label that the requirement is about.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values for `In` and `NotIn`; empty for the others.
    #[serde(skip_serializing_if = "is_default")]
    pub values: Vec<String>,
}

impl LabelSelectorRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// Points to an object of a given kind in the same namespace, as `k8s.io/api/core/v1` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TypedLocalObjectReference {
    /// API group of the object; the core group when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub api_group: Option<String>,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
}

/// Points to an object of a known kind in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct LocalObjectReference {
    /// Name of the object.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
}

/// Points to a secret, which may be in another namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SecretReference {
    /// Name of the secret.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// Namespace of the secret; that of the referring object when unset.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Option<String>,
}

/// Points to any object, with its version and namespace, as `k8s.io/api/core/v1` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// Group and version of the object.
    #[serde(skip_serializing_if = "is_default")]
    pub api_version: Option<String>,
    /// A part of the object.
    #[serde(skip_serializing_if = "is_default")]
    pub field_path: Option<String>,
    /// Kind of the object.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: Option<String>,
    /// Name of the object.
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// Namespace of the object.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Option<String>,
    /// Version of the object's content.
    #[serde(skip_serializing_if = "is_default")]
    pub resource_version: Option<String>,
    /// Identity of the object.
    #[serde(skip_serializing_if = "is_default")]
    pub uid: Option<String>,
}

impl ObjectReference {
    /// The same reference without version and namespace.
    #[must_use]
    pub fn contract_versioned(&self) -> ContractVersionedObjectReference {
        let api_version = self.api_version.as_deref().unwrap_or_default();
        ContractVersionedObjectReference {
            kind: self.kind.clone().unwrap_or_default(),
            name: self.name.clone().unwrap_or_default(),
            api_group: api_version
                .split_once('/')
                .map(|(group, _)| group.to_owned())
                .unwrap_or_default(),
        }
    }
}
