//! One step of a path through an object, as `fieldsV1` writes it.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::json::{Value, parse, write_plain, write_string};
use crate::schema::quote;

/// How a child is chosen in what contains it.
#[derive(Debug, Clone)]
pub(crate) enum PathElement<'a> {
    /// A member of an object.
    Field(Cow<'a, str>),
    /// An item of a list-map, by its keys in the order of their names.
    Key(Vec<(Cow<'a, str>, Value<'a>)>),
    /// An item of a set.
    Value(Value<'a>),
    /// An item of a list by its place.
    Index(usize),
}

impl<'a> PathElement<'a> {
    /// Reads the text of an element. `None` if it is none.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(2)?;
        match kind {
            "f:" => Some(Self::Field(Cow::Borrowed(rest))),
            "v:" => Some(Self::Value(parse(rest.as_bytes()).ok()?.value)),
            "i:" => rest.parse().ok().map(Self::Index),
            "k:" => match parse(rest.as_bytes()).ok()?.value {
                Value::Object(object) => {
                    let mut keys: Vec<_> = object.into_iter().collect();
                    keys.sort_by(|(left, _), (right, _)| left.cmp(right));
                    Some(Self::Key(keys))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The text of the element in `fieldsV1`.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
            Self::Key(keys) => {
                let mut out = b"k:{".to_vec();
                for (index, (name, value)) in keys.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(name, &mut out);
                    out.push(b':');
                    value.write_to(&mut out);
                }
                out.push(b'}');
                String::from_utf8_lossy(&out).into_owned()
            }
        }
    }

    /// Writes the element as the name of a member of `fieldsV1`, without quotes around it.
    pub(crate) fn write_name(&self, out: &mut Vec<u8>) {
        match self {
            Self::Field(name) => {
                out.extend_from_slice(b"f:");
                write_plain(name, out);
            }
            other => write_plain(&other.text(), out),
        }
    }

    pub(crate) fn into_owned(self) -> PathElement<'static> {
        match self {
            Self::Field(name) => PathElement::Field(Cow::Owned(name.into_owned())),
            Self::Value(value) => PathElement::Value(value.into_owned()),
            Self::Index(index) => PathElement::Index(index),
            Self::Key(keys) => PathElement::Key(
                keys.into_iter()
                    .map(|(name, value)| (Cow::Owned(name.into_owned()), value.into_owned()))
                    .collect(),
            ),
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

/// The element as a path shows it: `.spec`, `[name="a"]`, `[="v"]`, `[3]`.
impl std::fmt::Display for PathElement<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |value: &Value<'_>| value.as_str().map_or_else(|| value.to_string(), quote);
        match self {
            Self::Field(name) => write!(formatter, ".{name}"),
            Self::Value(value) => write!(formatter, "[={}]", show(value)),
            Self::Index(index) => write!(formatter, "[{index}]"),
            Self::Key(keys) => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|(name, value)| format!("{name}={}", show(value)))
                    .collect();
                write!(formatter, "[{}]", keys.join(","))
            }
        }
    }
}

impl Ord for PathElement<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(left), Self::Field(right)) => left.cmp(right),
            (Self::Value(left), Self::Value(right)) => compare_values(left, right),
            (Self::Index(left), Self::Index(right)) => left.cmp(right),
            (Self::Key(left), Self::Key(right)) => {
                for ((left_name, left_value), (right_name, right_value)) in left.iter().zip(right) {
                    let order = left_name
                        .cmp(right_name)
                        .then_with(|| compare_values(left_value, right_value));
                    if order.is_ne() {
                        return order;
                    }
                }
                left.len().cmp(&right.len())
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for PathElement<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathElement<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PathElement<'_> {}

/// A total order of JSON values: numbers, strings, booleans, lists, objects, null.
fn compare_values(left: &Value<'_>, right: &Value<'_>) -> Ordering {
    const fn rank(value: &Value<'_>) -> u8 {
        match value {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.as_f64().total_cmp(&right.as_f64()),
        },
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => {
            let different = left
                .iter()
                .zip(right)
                .map(|(left, right)| compare_values(left, right))
                .find(|order| order.is_ne());
            different.unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => {
            let (left, right) = (left.sorted(), right.sorted());
            let different = left
                .iter()
                .zip(&right)
                .map(|((left_name, left), (right_name, right))| {
                    left_name
                        .cmp(right_name)
                        .then_with(|| compare_values(left, right))
                })
                .find(|order| order.is_ne());
            different.unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        _ => rank(left).cmp(&rank(right)),
    }
}
