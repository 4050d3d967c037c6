//! The usual change of a status: values become other values, where the writer owns all of them
//! already. Then nothing changes about who owns what, and no set of fields needs to be made to see
//! that: the values are walked beside the text of what the writer owns.

use std::{borrow::Cow, ops::Range};

use super::{
    element::PathElement,
    typed::{Shape, Type},
};
use crate::{json::Value, peek};

/// Whether some field changed its value, and all of those that did are in the encoded set `owned`.
///
/// `None` when that is not so or not known: fields came or went, a field is not owned, or items of a
/// list moved. Comparing both values and making sets of the difference then tells.
pub(super) fn changed(
    kind: Type<'_>,
    old: &Value<'_>,
    new: &Value<'_>,
    owned: &[u8],
) -> Option<bool> {
    if old == new {
        return Some(false);
    }
    let (old_shape, new_shape) = kind.shapes(Some(old), Some(new));
    if old_shape != new_shape {
        return None;
    }
    let mut some = false;
    match (new_shape, old, new) {
        (Shape::Leaf, ..) => {
            let is_owned = owned == b"{}" || peek::member(owned, ".").is_some();
            return is_owned.then_some(true);
        }
        (Shape::Map, Value::Object(old), Value::Object(new)) if old.len() == new.len() => {
            for (name, before) in old.iter() {
                let after = new.get(name)?;
                if before != after {
                    let below = kind.member(name).0?;
                    let name = name_of(&PathElement::Field(Cow::Borrowed(name)));
                    let (_, place) = peek::members(owned).find(|(known, _)| *known == name)?;
                    let owned = &owned[place];
                    some |= changed(below, before, after, owned)?;
                }
            }
        }
        (Shape::List, Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            let mut seen = Vec::with_capacity(new.len());
            // Every item is looked for, so the set is walked once.
            let items: Vec<(&[u8], Range<usize>)> = peek::members(owned).collect();
            for (before, after) in old.iter().zip(new) {
                let element = kind.element(after)?;
                if kind.element(before)? != element || seen.contains(&element) {
                    return None;
                }
                if before != after {
                    let name = name_of(&element);
                    let (_, place) = items.iter().find(|(known, _)| *known == name)?;
                    some |= changed(kind.items(), before, after, &owned[place.clone()])?;
                }
                seen.push(element);
            }
        }
        _ => return None,
    }
    Some(some)
}

/// The name of an element in an encoded set.
fn name_of(element: &PathElement<'_>) -> Vec<u8> {
    let mut name = Vec::with_capacity(64);
    element.write_name(&mut name);
    name
}
