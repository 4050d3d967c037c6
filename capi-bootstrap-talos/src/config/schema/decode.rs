//! Strict reading: a document's mapping into one whose keys and values are all known and in
//! their normal form. What is null is left out, as Go decodes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Struct, Type, text};
use crate::config::yaml::{Mapping, Node, Resolved, Scalar};

/// Where a value is, for messages.
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    key: &'a str,
    line: usize,
}

impl Place<'_> {
    fn path(&self) -> String {
        match self.parent {
            Some(parent) => {
                let before = parent.path();
                match (before.is_empty(), self.key.starts_with('[')) {
                    (false, false) => format!("{before}.{}", self.key),
                    _ => format!("{before}{}", self.key),
                }
            }
            None => self.key.to_owned(),
        }
    }

    fn error(&self, what: &str) -> String {
        let line = self.line();
        if line == 0 {
            format!("{}: {what}", self.path())
        } else {
            format!("{}: {what} (line {line})", self.path())
        }
    }

    fn line(&self) -> usize {
        match self.parent {
            Some(parent) if self.line == 0 => parent.line(),
            _ => self.line,
        }
    }
}

/// Reads a document of these fields.
///
/// # Errors
/// A message that names path and line of the first key that is not known or value that is not
/// of its type. It never shows a value.
pub(in crate::config) fn decode(of: &Struct, document: &Mapping) -> Result<Mapping, String> {
    let root = Place {
        parent: None,
        key: "",
        line: 0,
    };
    structure(of, document, &root)
}

fn structure(of: &Struct, mapping: &Mapping, place: &Place<'_>) -> Result<Mapping, String> {
    let mut out = Mapping::default();
    for entry in mapping.iter() {
        let place = Place {
            parent: Some(place),
            key: &entry.key,
            line: entry.line,
        };
        let field = of
            .fields
            .iter()
            .find(|field| field.name == entry.key)
            .ok_or_else(|| place.error("unknown key"))?;
        if let Some(value) = value(&field.of, &entry.value, &place)? {
            out.set(field.name, value);
        }
    }
    Ok(out)
}

/// The value in its normal form; nothing for null.
fn value(of: &Type, node: &Node, place: &Place<'_>) -> Result<Option<Node>, String> {
    if node.is_null() {
        return Ok(match of {
            Type::Any => Some(Node::null()),
            _ => None,
        });
    }
    let expected = |what: &str| place.error(&format!("expected {what}"));
    let scalar = |what: &str| match node {
        Node::Scalar(scalar) => Ok(scalar),
        Node::Sequence(_) => Err(place.error(&format!("expected {what}, found a list"))),
        Node::Mapping(_) => Err(place.error(&format!("expected {what}, found a mapping"))),
    };
    let mapping = || node.as_mapping().ok_or_else(|| expected("a mapping"));
    let value = match of {
        Type::Str => Node::string(scalar("text")?.text()),
        Type::Trimmed => Node::string(
            scalar("text")?
                .text()
                .trim_start_matches(['\t', '\n', '\x0b', '\x0c', '\r']),
        ),
        Type::Bool => {
            Node::bool(boolean(scalar("true or false")?).ok_or_else(|| expected("true or false"))?)
        }
        Type::Int(bits) => whole(scalar("a whole number")?)
            .filter(|number| {
                let most = (1_i128 << (bits - 1)) - 1;
                (-most - 1..=most).contains(number)
            })
            .map(number)
            .ok_or_else(|| expected(&format!("a whole number of {bits} bits")))?,
        Type::Uint(bits) => whole(scalar("a whole number")?)
            .filter(|number| (0..1_i128 << bits).contains(number))
            .map(number)
            .ok_or_else(|| expected(&format!("a whole number from 0, of {bits} bits")))?,
        Type::Base64 => base64(scalar("base64")?).ok_or_else(|| expected("base64"))?,
        Type::Text(form) => text::normalise(*form, scalar("text")?).map_err(&expected)?,
        Type::Enum(values) => {
            let text = scalar("text")?.text();
            if !values.contains(&text) {
                let known: Vec<&str> = values
                    .iter()
                    .copied()
                    .filter(|value| !value.is_empty())
                    .collect();
                return Err(expected(&format!("one of {}", known.join(", "))));
            }
            Node::string(text)
        }
        Type::Opt(inner) => return self::value(inner, node, place),
        Type::List(inner) | Type::Keyed(inner, _) => list(inner, node, place)?,
        Type::Map(inner) => {
            let mut out = Mapping::default();
            for entry in mapping()?.iter() {
                let place = Place {
                    parent: Some(place),
                    key: &entry.key,
                    line: entry.line,
                };
                let value = self::value(inner, &entry.value, &place)?;
                out.set(entry.key.as_str(), value.unwrap_or_else(|| zero(inner)));
            }
            Node::Mapping(out)
        }
        Type::Free => {
            mapping()?;
            free(node)
        }
        Type::Args => Node::Mapping(arguments(mapping()?, place)?),
        Type::Any => free(node),
        Type::Pair(keys) => pair(keys, mapping()?, place)?,
        Type::Struct(of) => Node::Mapping(structure(of, mapping()?, place)?),
    };
    Ok(Some(value))
}

fn list(inner: &Type, node: &Node, place: &Place<'_>) -> Result<Node, String> {
    let items = node
        .as_sequence()
        .ok_or_else(|| place.error("expected a list"))?;
    let mut out = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let key = format!("[{index}]");
        let place = Place {
            parent: Some(place),
            key: &key,
            line: 0,
        };
        out.push(value(inner, item, &place)?.unwrap_or_else(|| zero(inner)));
    }
    Ok(Node::Sequence(out))
}

fn arguments(mapping: &Mapping, place: &Place<'_>) -> Result<Mapping, String> {
    let mut out = Mapping::default();
    for entry in mapping.iter() {
        let place = Place {
            parent: Some(place),
            key: &entry.key,
            line: entry.line,
        };
        let value = match &entry.value {
            Node::Sequence(_) => list(&Type::Str, &entry.value, &place)?,
            Node::Scalar(scalar) if !entry.value.is_null() => Node::string(scalar.text()),
            Node::Scalar(_) => Node::string(""),
            Node::Mapping(_) => return Err(place.error("expected text or a list of texts")),
        };
        out.set(entry.key.as_str(), value);
    }
    Ok(out)
}

fn pair(keys: &[&str], mapping: &Mapping, place: &Place<'_>) -> Result<Node, String> {
    // unlike other mappings, an absent key is an empty one, which replaces in a merge
    let mut out: Mapping = keys.iter().map(|key| (*key, Node::string(""))).collect();
    for entry in mapping.iter() {
        let place = Place {
            parent: Some(place),
            key: &entry.key,
            line: entry.line,
        };
        if !keys.contains(&entry.key.as_str()) {
            return Err(place.error("unknown key"));
        }
        if let Some(value) = value(&Type::Base64, &entry.value, &place)? {
            out.set(entry.key.as_str(), value);
        }
    }
    Ok(Node::Mapping(out))
}

/// The value of nothing.
pub(super) fn zero(of: &Type) -> Node {
    match of {
        Type::Bool => Node::bool(false),
        Type::Int(_) | Type::Uint(_) => Node::integer(0),
        Type::Enum(values) => Node::string(values.first().copied().unwrap_or_default()),
        Type::Text(super::Text::Duration) => Node::string("0s"),
        Type::Str | Type::Trimmed | Type::Base64 | Type::Text(_) => Node::string(""),
        Type::Opt(_) | Type::Any => Node::null(),
        Type::List(_) | Type::Keyed(..) => Node::Sequence(Vec::new()),
        Type::Map(_) | Type::Free | Type::Args | Type::Struct(_) => Node::mapping(),
        Type::Pair(keys) => {
            Node::Mapping(keys.iter().map(|key| (*key, Node::string(""))).collect())
        }
    }
}

fn boolean(scalar: &Scalar) -> Option<bool> {
    match scalar.resolve() {
        Resolved::Bool(value) => Some(value),
        // YAML 1.1, which Talos reads where a bool is wanted
        Resolved::Text("y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON") => Some(true),
        Resolved::Text("n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF") => Some(false),
        _ => None,
    }
}

fn whole(scalar: &Scalar) -> Option<i128> {
    match scalar.resolve() {
        Resolved::Integer(number) => Some(number),
        #[allow(
            clippy::cast_possible_truncation,
            reason = "checked to be whole and in range"
        )]
        Resolved::Float(number) if number.fract() == 0.0 && number.abs() < 9e18 => {
            Some(number as i128)
        }
        _ => None,
    }
}

fn number(number: i128) -> Node {
    Node::Scalar(Scalar::new(number.to_string(), true))
}

fn base64(scalar: &Scalar) -> Option<Node> {
    let text: String = scalar
        .text()
        .chars()
        .filter(|c| !matches!(c, '\r' | '\n'))
        .collect();
    STANDARD.decode(&text).ok()?;
    Some(Node::string(text))
}

/// A value of any content, as Go writes it after reading it: numbers in decimal.
fn free(node: &Node) -> Node {
    match node {
        Node::Scalar(scalar) => match scalar.resolve() {
            Resolved::Null => Node::null(),
            Resolved::Bool(value) => Node::bool(value),
            Resolved::Integer(value) => number(value),
            Resolved::Float(value)
                if value.is_finite() && value.fract() == 0.0 && value.abs() < 1e21 =>
            {
                Node::Scalar(Scalar::new(format!("{value:.0}"), true))
            }
            Resolved::Float(_) | Resolved::Text(_) => node.clone(),
        },
        Node::Sequence(items) => Node::Sequence(items.iter().map(free).collect()),
        Node::Mapping(mapping) => Node::Mapping(
            mapping
                .iter()
                .map(|entry| (entry.key.as_str(), free(&entry.value)))
                .collect(),
        ),
    }
}
