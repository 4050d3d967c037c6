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
fn is_zero(value: &Value) -> bool {
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

/// Puts into `target` what differs between `before` and `after`.
///
/// A field that was set to nothing and is absent now was not changed. Lists are compared entry by
/// entry when they have the same length, or by the names of their entries; others are taken whole.
pub(super) fn take_changes(target: &mut Value, before: &Value, after: &Value) {
    match (&mut *target, before, after) {
        (Value::Object(target), Value::Object(before), Value::Object(after)) => {
            let names: Vec<&String> = before
                .keys()
                .chain(after.keys().filter(|name| !before.contains_key(*name)))
                .collect();
            for name in names {
                match (before.get(name), after.get(name)) {
                    (old, Some(new)) if old != Some(new) => {
                        let place = target.entry(name.clone()).or_insert(Value::Null);
                        match old {
                            Some(old) => take_changes(place, old, new),
                            None if place.is_object() && new.is_object() => {
                                take_changes(place, &Value::Object(Map::new()), new);
                            }
                            None if is_zero(new) && !place.is_null() => {}
                            None => *place = new.clone(),
                        }
                    }
                    (Some(old), None) => {
                        if is_zero(old) {
                            continue;
                        }
                        let emptied = match target.get_mut(name) {
                            Some(place @ Value::Object(_)) if old.is_object() => {
                                take_changes(place, old, &Value::Object(Map::new()));
                                place.as_object().is_some_and(Map::is_empty)
                            }
                            _ => true,
                        };
                        if emptied {
                            target.remove(name);
                        }
                    }
                    _ => {}
                }
            }
        }
        (Value::Array(target), Value::Array(before), Value::Array(after))
            if before.len() == after.len() && target.len() == after.len() =>
        {
            for ((target, before), after) in target.iter_mut().zip(before).zip(after) {
                if before != after {
                    take_changes(target, before, after);
                }
            }
        }
        (Value::Array(target), Value::Array(before), Value::Array(after)) => {
            match key_of(&[target, before, after]) {
                Some(key) => {
                    let find = |list: &[Value], entry: &Value| {
                        list.iter()
                            .find(|other| other.get(key) == entry.get(key))
                            .cloned()
                    };
                    let merged = after.iter().map(|after| {
                        match (find(target, after), find(before, after)) {
                            (Some(mut entry), Some(before)) => {
                                take_changes(&mut entry, &before, after);
                                entry
                            }
                            _ => after.clone(),
                        }
                    });
                    *target = merged.collect();
                }
                None => target.clone_from(after),
            }
        }
        (_, before, after) => {
            if before != after {
                *target = after.clone();
            }
        }
    }
}

/// The field that names the entries of lists, each entry of a list another.
fn key_of(lists: &[&Vec<Value>]) -> Option<&'static str> {
    ["name", "type", "net", "zone", "conditionType", "key"]
        .into_iter()
        .find(|key| {
            lists.iter().all(|list| {
                let mut names: Vec<&str> = list
                    .iter()
                    .filter_map(|entry| entry.get(key)?.as_str())
                    .collect();
                names.sort_unstable();
                names.dedup();
                names.len() == list.len()
            })
        })
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
