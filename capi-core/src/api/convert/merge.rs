//! What is lost between two forms of an object, what was changed, and putting both together again.

use serde_json::{Map, Value};

/// Fields of free form, in which a `null` has a meaning.
const FREE_FORM: &str = "value";

/// Removes fields that are `null`; an API server does so with fields that cannot be `null`.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|name, value| name == FREE_FORM || !value.is_null());
            object
                .iter_mut()
                .filter(|(name, _)| *name != FREE_FORM)
                .for_each(|(_, value)| drop_nulls(value));
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Whether a value stands for "not set" in versions that do not tell the two apart.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.values().all(is_zero),
    }
}

/// An object without the fields that stand for "not set".
pub(super) fn normal(value: &Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Object(object) => object.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(object) => {
            let fields = object
                .iter()
                .map(|(name, value)| (name.clone(), normal(value)));
            Value::Object(fields.filter(|(_, value)| !empty(value)).collect())
        }
        Value::Array(list) => list.iter().map(normal).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

/// The fields of `had` that are not in `has`; `None` when there are none.
///
/// In a list of the same length, entries that lost nothing are `null`.
pub(super) fn lost(had: &Value, has: &Value) -> Option<Value> {
    match (had, has) {
        (Value::Object(had), Value::Object(has)) => {
            let rest: Map<String, Value> = had
                .iter()
                .filter_map(|(name, value)| match has.get(name) {
                    Some(other) => Some((name.clone(), lost(value, other)?)),
                    None if is_zero(value) => None,
                    None => Some((name.clone(), value.clone())),
                })
                .collect();
            (!rest.is_empty()).then(|| rest.into())
        }
        (Value::Array(had), Value::Array(has)) if had.len() == has.len() => {
            let rest: Vec<Option<Value>> = had
                .iter()
                .zip(has)
                .map(|(had, has)| lost(had, has))
                .collect();
            rest.iter()
                .any(Option::is_some)
                .then(|| rest.into_iter().map(Option::unwrap_or_default).collect())
        }
        // A value that was rewritten is not lost, and one that was changed shall not come back.
        _ => None,
    }
}

/// Puts fields that were lost back where there is nothing.
pub(super) fn give_back(target: &mut Value, kept: &Value) {
    match (target, kept) {
        (Value::Object(target), Value::Object(kept)) => {
            for (name, value) in kept {
                match target.get_mut(name) {
                    Some(place) => give_back(place, value),
                    None => {
                        target.insert(name.clone(), without_gaps(value));
                    }
                }
            }
        }
        (Value::Array(target), Value::Array(kept)) if target.len() == kept.len() => {
            target
                .iter_mut()
                .zip(kept)
                .for_each(|(target, kept)| give_back(target, kept));
        }
        _ => {}
    }
}

/// A kept value for a place that is gone: entries of lists that lost nothing are left out.
fn without_gaps(value: &Value) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| (name.clone(), without_gaps(value)))
            .collect(),
        Value::Array(list)
            if list.iter().any(Value::is_null) && list.iter().any(Value::is_object) =>
        {
            list.iter()
                .filter(|value| !value.is_null())
                .map(without_gaps)
                .collect::<Vec<_>>()
                .into()
        }
        other => other.clone(),
    }
}
