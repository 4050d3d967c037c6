//! Writing: the fields of a decoded document in Talos' order, without those that say nothing
//! and need not be written, and with those that must.

use super::decode::zero;
use super::{Struct, Type};
use crate::config::yaml::{Mapping, Node};

/// The document as Talos writes it.
pub(in crate::config) fn encode(of: &Struct, document: &Mapping) -> Mapping {
    let mut out = Mapping::default();
    for field in of.fields {
        match document.get(field.name) {
            Some(value) if field.flags.omit && is_zero(&field.of, value) => {}
            Some(value) => out.set(field.name, encode_value(&field.of, value)),
            None if field.flags.omit => {}
            None => out.set(field.name, encode_value(&field.of, &zero(&field.of))),
        }
    }
    out
}

fn encode_value(of: &Type, value: &Node) -> Node {
    match (of, value) {
        (Type::Opt(inner), value) if !value.is_null() => encode_value(inner, value),
        (Type::Struct(of), Node::Mapping(mapping)) => Node::Mapping(encode(of, mapping)),
        (Type::List(inner) | Type::Keyed(inner, _), Node::Sequence(items)) => {
            Node::Sequence(items.iter().map(|item| encode_value(inner, item)).collect())
        }
        (Type::Map(inner), Node::Mapping(mapping)) => Node::Mapping(
            sorted(mapping)
                .map(|entry| (entry.key.as_str(), encode_value(inner, &entry.value)))
                .collect(),
        ),
        (Type::Args, Node::Mapping(mapping)) => Node::Mapping(
            sorted(mapping)
                .map(|entry| {
                    let empty = entry.value.as_str() == Some("");
                    let value = if empty {
                        Node::null()
                    } else {
                        entry.value.clone()
                    };
                    (entry.key.as_str(), value)
                })
                .collect(),
        ),
        (Type::Free | Type::Any, Node::Mapping(mapping)) => Node::Mapping(
            sorted(mapping)
                .map(|entry| (entry.key.as_str(), encode_value(&Type::Any, &entry.value)))
                .collect(),
        ),
        (Type::Free | Type::Any, Node::Sequence(items)) => Node::Sequence(
            items
                .iter()
                .map(|item| encode_value(&Type::Any, item))
                .collect(),
        ),
        _ => value.clone(),
    }
}

/// Mappings of any keys are written in the order of their keys.
fn sorted(mapping: &Mapping) -> impl Iterator<Item = &crate::config::yaml::Entry> {
    let mut entries: Vec<_> = mapping.iter().collect();
    entries.sort_by(|left, right| left.key.cmp(&right.key));
    entries.into_iter()
}

/// Whether a value says nothing.
pub(super) fn is_zero(of: &Type, value: &Node) -> bool {
    match of {
        Type::Opt(_) | Type::Any => value.is_null(),
        Type::Struct(of) => value.as_mapping().is_none_or(|mapping| {
            of.fields.iter().all(|field| {
                mapping
                    .get(field.name)
                    .is_none_or(|value| is_zero(&field.of, value))
            })
        }),
        Type::List(_) | Type::Keyed(..) => value.as_sequence().is_none_or(<[Node]>::is_empty),
        Type::Map(_) | Type::Free | Type::Args => value.as_mapping().is_none_or(Mapping::is_empty),
        _ => *value == zero(of) || value.is_null() || value.as_str() == Some(""),
    }
}
