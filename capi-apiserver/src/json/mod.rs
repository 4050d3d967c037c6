//! A JSON tree that borrows from the request it was read from and lives for one request.
//!
//! The store keeps bytes. A write reads them into a [`Value`], decides on it and writes bytes
//! again, so this tree is made for few allocations: keys, strings and numbers are slices of the
//! input unless an escape forces a copy, and objects are vectors in the order of the input.
//! It never holds an opinion about schemas or Kubernetes.

mod go;
mod number;
mod parse;
mod scan;
mod write;
mod yaml;

use std::borrow::Cow;

pub(crate) use go::Go;
pub use number::Number;
pub use parse::{Document, MAX_DEPTH, ParseError, parse};
pub(crate) use scan::plain;
pub use yaml::{YamlError, parse_yaml};

/// One JSON value.
#[derive(Debug, Clone, Default)]
pub enum Value<'a> {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, kept as text.
    Number(Number<'a>),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// A JSON object: members in the order in which they were read or inserted, keys unique.
#[derive(Debug, Clone, Default)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Object<'a> {
    /// An object without members.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            members: Vec::new(),
        }
    }

    /// An object without members and with room for `capacity` of them.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            members: Vec::with_capacity(capacity),
        }
    }

    /// The number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.members.iter().position(|(name, _)| name == key)
    }

    /// Whether there is a member of that name.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    /// The member of that name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.members
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// The member of that name, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value<'a>> {
        self.members
            .iter_mut()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// Sets a member and returns what was there. A new member goes to the end.
    pub fn insert(
        &mut self,
        key: impl Into<Cow<'a, str>>,
        value: impl Into<Value<'a>>,
    ) -> Option<Value<'a>> {
        let key = key.into();
        let value = value.into();
        match self.get_mut(&key) {
            Some(place) => Some(std::mem::replace(place, value)),
            None => {
                self.members.push((key, value));
                None
            }
        }
    }

    /// Adds a member that is known to be absent, without looking for it.
    pub(crate) fn push(&mut self, key: impl Into<Cow<'a, str>>, value: Value<'a>) {
        self.members.push((key.into(), value));
    }

    /// The member of that name, which is made `null` first when it is absent.
    pub fn entry(&mut self, key: impl Into<Cow<'a, str>>) -> &mut Value<'a> {
        let key = key.into();
        let index = self.position(&key).unwrap_or_else(|| {
            self.members.push((key, Value::Null));
            self.members.len() - 1
        });
        &mut self.members[index].1
    }

    /// Takes a member out, keeping the order of the others.
    pub fn remove(&mut self, key: &str) -> Option<Value<'a>> {
        let index = self.position(key)?;
        Some(self.members.remove(index).1)
    }

    /// Keeps the members for which `keep` answers true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value<'a>) -> bool) {
        self.members.retain_mut(|(name, value)| keep(name, value));
    }

    /// The members in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value<'a>)> {
        self.members
            .iter()
            .map(|(name, value)| (name.as_ref(), value))
    }

    /// The members in their order, values to be changed.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut Value<'a>)> {
        self.members
            .iter_mut()
            .map(|member| (member.0.as_ref(), &mut member.1))
    }

    /// The names in their order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_ref())
    }

    /// The members in the order of their names.
    pub(crate) fn sorted(&self) -> Vec<(&str, &Value<'a>)> {
        let mut members: Vec<_> = self.iter().collect();
        members.sort_unstable_by_key(|(name, _)| *name);
        members
    }

    fn into_owned(self) -> Object<'static> {
        Object {
            members: self
                .members
                .into_iter()
                .map(|(name, value)| (Cow::Owned(name.into_owned()), value.into_owned()))
                .collect(),
        }
    }
}

impl<'a> IntoIterator for Object<'a> {
    type Item = (Cow<'a, str>, Value<'a>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}

impl<'a> FromIterator<(Cow<'a, str>, Value<'a>)> for Object<'a> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, Value<'a>)>>(members: I) -> Self {
        let mut object = Self::new();
        for (name, value) in members {
            object.insert(name, value);
        }
        object
    }
}

/// Equal as JSON: the order of members does not matter.
impl PartialEq for Object<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .members
                .iter()
                .enumerate()
                .all(|(index, (name, value))| match &other.members[index] {
                    (same, there) if same == name => value == there,
                    _ => other.get(name).is_some_and(|there| value == there),
                })
    }
}

/// Equal as JSON: numbers by their value, objects without regard to order.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            _ => false,
        }
    }
}

impl<'a> Value<'a> {
    /// Whether this is `null`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value of a boolean.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The number as a 64 bit integer, if it is one without loss.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The number as floating point.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(number.as_f64()),
            _ => None,
        }
    }

    /// The items of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The items of an array, to be changed.
    pub const fn as_array_mut(&mut self) -> Option<&mut Vec<Value<'a>>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The object.
    #[must_use]
    pub const fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The object, to be changed.
    pub const fn as_object_mut(&mut self) -> Option<&mut Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The member `key`, if this is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.as_object()?.get(key)
    }

    /// The member `key`, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value<'a>> {
        self.as_object_mut()?.get_mut(key)
    }

    /// Follows member names down from here.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Value<'a>> {
        path.iter().try_fold(self, |value, name| value.get(name))
    }

    /// Follows member names down from here to a value to be changed.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value<'a>> {
        path.iter()
            .try_fold(self, |value, name| value.get_mut(name))
    }

    /// Sets the value at a path of member names, making objects on the way. What stands on the
    /// way and is no object is replaced.
    pub fn set_at(&mut self, path: &[&'a str], value: impl Into<Value<'a>>) {
        let mut place = self;
        for name in path {
            if !matches!(place, Self::Object(_)) {
                *place = Self::Object(Object::new());
            }
            let Self::Object(object) = place else { return };
            place = object.entry(*name);
        }
        *place = value.into();
    }

    /// Takes out the value at a path of member names.
    pub fn remove_at(&mut self, path: &[&str]) -> Option<Value<'a>> {
        let (last, parents) = path.split_last()?;
        self.at_mut(parents)?.as_object_mut()?.remove(last)
    }

    /// Follows an RFC 6901 pointer (`/spec/replicas`, `~1` for `/`, `~0` for `~`).
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Value<'a>> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer
            .strip_prefix('/')?
            .split('/')
            .try_fold(self, |value, token| match value {
                Self::Object(object) => object.get(&unescape_pointer(token)),
                Self::Array(items) => items.get(token.parse::<usize>().ok()?),
                _ => None,
            })
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(truth),
            Self::Number(number) => Value::Number(number.into_owned()),
            Self::String(text) => Value::String(Cow::Owned(text.into_owned())),
            Self::Array(items) => Value::Array(items.into_iter().map(Value::into_owned).collect()),
            Self::Object(object) => Value::Object(object.into_owned()),
        }
    }

    /// Writes the value as compact JSON to the end of `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        write::value(self, out);
    }

    /// The value as compact JSON with members in the order of their names.
    #[must_use]
    pub fn to_sorted_string(&self) -> String {
        let mut out = Vec::with_capacity(256);
        write::sorted(self, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The value as compact JSON.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        self.write_to(&mut out);
        out
    }
}

impl std::fmt::Display for Value<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.to_vec()))
    }
}

/// Writes a string as JSON, with quotes, to the end of `out`.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    write::string(text, out);
}

/// Writes what stands between the quotes of a string.
pub(crate) fn write_plain(text: &str, out: &mut Vec<u8>) {
    write::text(text, out);
}

/// A reference token of an RFC 6901 pointer without its escapes.
pub(crate) fn unescape_pointer(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Number::from(number))
    }
}

impl From<i32> for Value<'_> {
    fn from(number: i32) -> Self {
        Self::from(i64::from(number))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::String(text)
    }
}

impl<'a> From<Vec<Value<'a>>> for Value<'a> {
    fn from(items: Vec<Value<'a>>) -> Self {
        Self::Array(items)
    }
}

impl<'a> From<Object<'a>> for Value<'a> {
    fn from(object: Object<'a>) -> Self {
        Self::Object(object)
    }
}

#[cfg(test)]
mod tests;
