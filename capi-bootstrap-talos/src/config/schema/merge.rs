//! Strategic merge: a patch's document into the configuration's. Scalars win where they say
//! something, lists append, mappings merge, with the exceptions that the types name.
//!
//! Sizes and expressions win only where they are set. (Upstream erases them where the patch
//! says nothing.)

use super::decode::zero;
use super::encode::is_zero;
use super::{Key, Struct, Type};
use crate::config::yaml::{Mapping, Node, Resolved, Scalar};

/// Merges `patch` into `document`; both are decoded.
///
/// # Errors
/// A message that names the path of values that cannot be merged: free-form values of
/// different types.
pub(in crate::config) fn merge(
    of: &Struct,
    document: &mut Mapping,
    patch: &Mapping,
) -> Result<(), String> {
    for field in of.fields {
        let merged = value(
            &field.of,
            field.flags.replace,
            document.get(field.name),
            patch.get(field.name),
        )
        .map_err(|path| join(field.name, &path))?;
        match merged {
            Some(value) => document.set(field.name, value),
            None => {
                document.remove(field.name);
            }
        }
    }
    Ok(())
}

fn join(key: &str, rest: &str) -> String {
    if rest.starts_with([':', '[']) {
        format!("{key}{rest}")
    } else {
        format!("{key}.{rest}")
    }
}

fn value(
    of: &Type,
    replace: bool,
    left: Option<&Node>,
    right: Option<&Node>,
) -> Result<Option<Node>, String> {
    let Some(right) = right else {
        // a plain bool of the patch wins although it was not written
        return Ok(left.filter(|_| !matches!(of, Type::Bool)).cloned());
    };
    let left = match (left, of) {
        (Some(left), _) => left,
        // elements of the patch itself can have the same identity
        (None, Type::Keyed(..)) => &Node::Sequence(Vec::new()),
        (None, _) => return Ok(Some(right.clone())),
    };
    let merged = match (of, left, right) {
        (Type::Opt(Type::Struct(of)), Node::Mapping(left), Node::Mapping(right)) => {
            structure(of, left, right)?
        }
        (Type::Opt(Type::Free), Node::Mapping(left), Node::Mapping(right)) => {
            Node::Mapping(free(left, right)?)
        }
        (Type::Opt(_) | Type::Bool | Type::Base64 | Type::Pair(_), ..) => right.clone(),
        (Type::Struct(inner), Node::Mapping(left), Node::Mapping(next)) => {
            if replace && !is_zero(of, right) {
                right.clone()
            } else {
                structure(inner, left, next)?
            }
        }
        (Type::List(_) | Type::Keyed(..) | Type::Map(_) | Type::Free, ..) if replace => {
            right.clone()
        }
        (Type::List(_), Node::Sequence(left), Node::Sequence(right)) => {
            Node::Sequence(left.iter().chain(right).cloned().collect())
        }
        (Type::Keyed(inner, key), Node::Sequence(left), Node::Sequence(right)) => {
            keyed(inner, *key, left, right)?
        }
        (Type::Map(inner), Node::Mapping(left), Node::Mapping(right)) => {
            let mut out = left.clone();
            for entry in right.iter() {
                let merged = value(inner, false, out.get(&entry.key), Some(&entry.value))
                    .map_err(|path| join(&entry.key, &path))?;
                out.set(entry.key.as_str(), merged.unwrap_or_else(|| zero(inner)));
            }
            Node::Mapping(out)
        }
        (Type::Args, Node::Mapping(left), Node::Mapping(right)) => {
            let mut out = left.clone();
            for entry in right.iter() {
                out.set(entry.key.as_str(), entry.value.clone());
            }
            Node::Mapping(out)
        }
        (Type::Free, Node::Mapping(left), Node::Mapping(right)) => {
            Node::Mapping(free(left, right)?)
        }
        (_, left, right) => if is_zero(of, right) { left } else { right }.clone(),
    };
    Ok(Some(merged))
}

fn structure(of: &Struct, left: &Mapping, right: &Mapping) -> Result<Node, String> {
    let mut out = left.clone();
    merge(of, &mut out, right)?;
    Ok(Node::Mapping(out))
}

fn keyed(inner: &Type, key: Key, left: &[Node], right: &[Node]) -> Result<Node, String> {
    let mut out = left.to_vec();
    for element in right {
        let searched = if key == Key::Image {
            left.len()
        } else {
            out.len()
        };
        let existing = out[..searched]
            .iter_mut()
            .find(|existing| same(key, existing, element));
        match (existing, key) {
            (Some(existing), Key::Image) => *existing = element.clone(),
            (Some(existing), _) => {
                if let Some(merged) = value(inner, false, Some(existing), Some(element))? {
                    *existing = merged;
                }
            }
            (None, _) => out.push(element.clone()),
        }
    }
    Ok(Node::Sequence(out))
}

fn same(key: Key, left: &Node, right: &Node) -> bool {
    let equal = |name: &str| match (left.at(&[name]), right.at(&[name])) {
        (Some(left), Some(right)) => left == right,
        (None, None) => name != "deviceSelector",
        _ => false,
    };
    match key {
        Key::Image => equal("image"),
        Key::MountPath => equal("mountPath"),
        Key::Name => equal("name"),
        Key::VlanId => equal("vlanId"),
        Key::Interface => match right.at(&["interface"]).and_then(Node::as_str) {
            Some(name) if !name.is_empty() => equal("interface"),
            _ => equal("deviceSelector"),
        },
    }
}

/// Deep merge of values without types: they must be of the same type to be merged.
fn free(left: &Mapping, right: &Mapping) -> Result<Mapping, String> {
    let mut out = left.clone();
    for entry in right.iter() {
        let merged = match out.get(&entry.key) {
            Some(left) if !left.is_null() => {
                free_value(left, &entry.value).map_err(|path| join(&entry.key, &path))?
            }
            _ => entry.value.clone(),
        };
        out.set(entry.key.as_str(), merged);
    }
    Ok(out)
}

fn free_value(left: &Node, right: &Node) -> Result<Node, String> {
    match (left, right) {
        (Node::Mapping(left), Node::Mapping(right)) => free(left, right).map(Node::Mapping),
        (Node::Sequence(left), Node::Sequence(right)) => {
            Ok(Node::Sequence(left.iter().chain(right).cloned().collect()))
        }
        (Node::Scalar(old), Node::Scalar(new)) if same_type(old, new) => {
            let says_nothing = match new.resolve() {
                Resolved::Text(text) => text.is_empty(),
                Resolved::Integer(number) => number == 0,
                Resolved::Float(number) => number == 0.0,
                Resolved::Null | Resolved::Bool(_) => false,
            };
            Ok(if says_nothing { left } else { right }.clone())
        }
        _ => Err(": the patch has a value of another type".to_owned()),
    }
}

fn same_type(left: &Scalar, right: &Scalar) -> bool {
    std::mem::discriminant(&left.resolve()) == std::mem::discriminant(&right.resolve())
}
