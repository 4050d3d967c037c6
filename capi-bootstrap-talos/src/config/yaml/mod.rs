//! An ordered YAML tree that keeps what a scalar looked like, because Talos decides by the
//! field whether `0755`, `yes` or `1.20` is a number, a bool or text.
//!
//! It reads one text into documents ([`parse`]), writes them ([`write()`]) and compares them by
//! value. It knows nothing of machine configurations. Texts hold secrets: scalars are wiped
//! when they are dropped, and Debug shows shapes only.

mod parse;
mod resolve;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;

use secrecy::zeroize::Zeroizing;
use serde_json::Value;

pub use parse::{Document, parse};
pub use resolve::Resolved;
pub use write::write;

/// A text that is not YAML, or uses what machine configurations may not use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct YamlError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong there; shows keys, never values.
    pub message: String,
}

/// A value of a YAML document.
#[derive(Clone)]
pub enum Node {
    /// Text, number, bool or null.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order of the text.
    Mapping(Mapping),
}

/// A scalar: its text, and whether the text decides its type.
#[derive(Clone)]
pub struct Scalar {
    text: Zeroizing<String>,
    /// Written without quotes: may be a number, a bool or null.
    plain: bool,
}

/// A mapping, in order, each key once.
#[derive(Clone, Default)]
pub struct Mapping {
    entries: Vec<Entry>,
}

/// One key of a mapping.
#[derive(Clone)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Its value.
    pub value: Node,
    /// Line of the key in the text that it was read from; 0 where it was made.
    pub line: usize,
}

impl Scalar {
    /// A scalar as read: `plain` without quotes.
    pub(super) fn new(text: impl Into<String>, plain: bool) -> Self {
        Self {
            text: Zeroizing::new(text.into()),
            plain,
        }
    }

    /// The text, as written (without quotes and escapes).
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the text decides the type.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// What the scalar is where no field says a type.
    pub fn resolve(&self) -> Resolved<'_> {
        resolve::resolve(&self.text, self.plain)
    }
}

impl Node {
    /// Text, whatever it looks like.
    pub fn string(text: impl Into<String>) -> Self {
        Self::Scalar(Scalar::new(text, false))
    }

    /// A whole number.
    pub fn integer(number: i64) -> Self {
        Self::Scalar(Scalar::new(number.to_string(), true))
    }

    /// True or false.
    pub fn bool(value: bool) -> Self {
        Self::Scalar(Scalar::new(if value { "true" } else { "false" }, true))
    }

    /// Null.
    pub fn null() -> Self {
        Self::Scalar(Scalar::new("null", true))
    }

    /// A list of texts.
    pub fn strings<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self::Sequence(texts.into_iter().map(Self::string).collect())
    }

    /// A mapping without keys.
    pub fn mapping() -> Self {
        Self::Mapping(Mapping::default())
    }

    /// Whether this is null (also an empty value in the text).
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(scalar) if scalar.resolve() == Resolved::Null)
    }

    /// The text of a scalar that is not null.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Scalar(scalar) if !self.is_null() => Some(scalar.text()),
            _ => None,
        }
    }

    /// True or false, where the scalar is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Scalar(scalar) => match scalar.resolve() {
                Resolved::Bool(value) => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    /// A whole number, where the scalar is one.
    pub fn as_integer(&self) -> Option<i128> {
        match self {
            Self::Scalar(scalar) => match scalar.resolve() {
                Resolved::Integer(value) => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match self {
            Self::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The mapping.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match self {
            Self::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The mapping, to change it.
    pub fn as_mapping_mut(&mut self) -> Option<&mut Mapping> {
        match self {
            Self::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The value at a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter()
            .try_fold(self, |node, key| node.as_mapping()?.get(key))
    }

    /// The tree of a JSON value.
    pub fn from_json(value: &Value) -> Self {
        match value {
            Value::Null => Self::null(),
            Value::Bool(value) => Self::bool(*value),
            Value::Number(number) => Self::Scalar(Scalar::new(number.to_string(), true)),
            Value::String(text) => Self::string(text.as_str()),
            Value::Array(items) => Self::Sequence(items.iter().map(Self::from_json).collect()),
            Value::Object(fields) => Self::Mapping(
                fields
                    .iter()
                    .map(|(key, value)| (key.as_str(), Self::from_json(value)))
                    .collect(),
            ),
        }
    }

    /// The JSON value of the tree; infinite numbers become null.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => Value::Null,
                Resolved::Bool(value) => Value::Bool(value),
                Resolved::Integer(number) => i64::try_from(number)
                    .map(Value::from)
                    .or_else(|_| u64::try_from(number).map(Value::from))
                    .unwrap_or_else(|_| Value::String(scalar.text().to_owned())),
                Resolved::Float(number) => {
                    serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)
                }
                Resolved::Text(text) => Value::String(text.to_owned()),
            },
            Self::Sequence(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Mapping(mapping) => Value::Object(
                mapping
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect(),
            ),
        }
    }
}

impl Mapping {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// The value of a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries
            .iter_mut()
            .find(|entry| entry.key == key)
            .map(|entry| &mut entry.value)
    }

    /// Sets a key: in its place where it is there, else at the end.
    pub fn set(&mut self, key: impl Into<String>, value: Node) {
        let key = key.into();
        match self.get_mut(&key) {
            Some(slot) => *slot = value,
            None => self.entries.push(Entry {
                key,
                value,
                line: 0,
            }),
        }
    }

    /// Removes a key and gives its value.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index).value)
    }

    /// The keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The keys and values, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// Keeps the entries that `keep` is true for.
    pub fn retain_mut(&mut self, keep: impl FnMut(&mut Entry) -> bool) {
        self.entries.retain_mut(keep);
    }

    /// Adds an entry that was read; the caller knows that the key is new.
    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

impl<K: Into<String>> FromIterator<(K, Node)> for Mapping {
    fn from_iter<I: IntoIterator<Item = (K, Node)>>(entries: I) -> Self {
        let mut mapping = Self::default();
        for (key, value) in entries {
            mapping.set(key, value);
        }
        mapping
    }
}

/// Equal by value: quotes, the order of keys and positions do not count.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(left), Self::Scalar(right)) => left.resolve() == right.resolve(),
            (Self::Sequence(left), Self::Sequence(right)) => left == right,
            (Self::Mapping(left), Self::Mapping(right)) => left == right,
            _ => false,
        }
    }
}

impl PartialEq for Mapping {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().all(|entry| {
                other
                    .get(&entry.key)
                    .is_some_and(|value| *value == entry.value)
            })
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(_) => f.write_str("[redacted]"),
            Self::Sequence(items) => f.debug_list().entries(items).finish(),
            Self::Mapping(mapping) => mapping.fmt(f),
        }
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|entry| (&entry.key, &entry.value)))
            .finish()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.key, self.value)
    }
}
