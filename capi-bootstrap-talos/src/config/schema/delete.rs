//! Deleting by a path: what `$patch: delete` names.

use super::{Struct, Type};
use crate::config::yaml::{Mapping, Node};

/// One step that a path may take from here.
#[derive(Clone, Copy)]
enum At<'a> {
    Struct(&'a Struct),
    Of(&'a Type),
}

/// Deletes the value at `path`; its last step can be `[n]` with the key and value that an
/// element of the list must have.
///
/// # Errors
/// What is wrong with the path.
pub(in crate::config) fn delete(
    of: &Struct,
    document: &mut Mapping,
    path: &[String],
    element: Option<&(String, String)>,
) -> Result<(), String> {
    step(At::Struct(of), document, path, element)
}

const MISSING: &str = "there is nothing at this path";

fn step(
    at: At<'_>,
    mapping: &mut Mapping,
    path: &[String],
    element: Option<&(String, String)>,
) -> Result<(), String> {
    let Some((key, rest)) = path.split_first() else {
        return Err("the path is empty".to_owned());
    };
    let field = match at {
        At::Struct(of) => Some(
            of.fields
                .iter()
                .find(|field| field.name == key)
                .map(|field| &field.of)
                .ok_or(MISSING)?,
        ),
        At::Of(Type::Struct(of) | Type::Opt(Type::Struct(of))) => {
            return step(At::Struct(of), mapping, path, element);
        }
        At::Of(Type::Map(inner)) => Some(*inner),
        At::Of(_) => None,
    };
    if rest.is_empty() {
        let removed = mapping.remove(key).is_some();
        // a known field may be deleted although it is not set; a key of a mapping may not
        return if removed || matches!(at, At::Struct(_)) {
            Ok(())
        } else {
            Err(MISSING.to_owned())
        };
    }
    let inner = field.unwrap_or(&Type::Any);
    match mapping.get_mut(key) {
        Some(Node::Mapping(next)) => step(At::Of(inner), next, rest, element),
        Some(Node::Sequence(items)) => from_list(inner, items, rest, element),
        Some(Node::Scalar(_)) => Err(MISSING.to_owned()),
        // a structure that is always there, and empty
        None => match inner {
            Type::Struct(of) => step(At::Struct(of), &mut Mapping::default(), rest, element),
            _ => Err(MISSING.to_owned()),
        },
    }
}

fn from_list(
    of: &Type,
    items: &mut Vec<Node>,
    path: &[String],
    element: Option<&(String, String)>,
) -> Result<(), String> {
    let structures = matches!(
        of,
        Type::List(Type::Struct(_)) | Type::Keyed(Type::Struct(_), _)
    );
    match (path, element) {
        ([index], Some((key, value))) if index.starts_with('[') && structures => {
            let found = items.iter().position(|item| {
                item.at(&[key]).is_some_and(|found| match found {
                    Node::Scalar(scalar) => scalar.text() == value,
                    _ => false,
                })
            });
            match found {
                Some(index) => {
                    items.remove(index);
                    Ok(())
                }
                None => Err(MISSING.to_owned()),
            }
        }
        ([index], _) if index.starts_with('[') => Err(MISSING.to_owned()),
        _ => Err("only whole elements of a list can be deleted".to_owned()),
    }
}
