//! Uniqueness in lists that are sets or maps.

use super::{FieldError, ListType, Path, Schema};
use crate::json::{Object, Value};

impl Schema {
    /// Finds repeated items of `x-kubernetes-list-type: set` and repeated keys of `map`.
    pub(super) fn unique_lists(
        &self,
        value: &Value<'_>,
        path: &Path<'_>,
        errors: &mut Vec<FieldError>,
    ) {
        if !self.within.unique_lists {
            return;
        }
        match value {
            Value::Object(object) => {
                for (name, member) in object.iter() {
                    if let Some(schema) = self.property(name) {
                        schema.unique_lists(member, &path.field(name), errors);
                    } else if let Some(schema) = self.additional.schema() {
                        schema.unique_lists(member, &path.key(name), errors);
                    }
                }
            }
            Value::Array(items) => {
                match self.list_type() {
                    ListType::Atomic => {}
                    ListType::Set => repeated(items, path, errors),
                    ListType::Map(keys) => repeated_keys(keys, items, path, errors),
                }
                if let Some(schema) = &self.items {
                    for (index, item) in items.iter().enumerate() {
                        schema.unique_lists(item, &path.index(index), errors);
                    }
                }
            }
            _ => {}
        }
    }
}

fn repeated(items: &[Value<'_>], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, item) in items.iter().enumerate() {
        // Only the second of equal items is blamed, as upstream does.
        if items[..index]
            .iter()
            .filter(|earlier| *earlier == item)
            .count()
            == 1
        {
            errors.push(FieldError::duplicate(&path.index(index), item));
        }
    }
}

fn repeated_keys(
    keys: &[Box<str>],
    items: &[Value<'_>],
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    for (index, item) in items.iter().enumerate() {
        if !matches!(item, Value::Object(_) | Value::Null) {
            let detail = "must be an object for an array of list-type map";
            errors.push(FieldError::invalid(&path.index(index), item, detail));
            return;
        }
    }
    if items.len() <= 1 {
        return;
    }
    let identities: Vec<Value<'_>> = items
        .iter()
        .map(|item| {
            let mut identity = Object::new();
            for key in keys {
                if let Some(value) = item.get(key) {
                    identity.push(key.as_ref(), value.clone());
                }
            }
            Value::Object(identity)
        })
        .collect();
    repeated(&identities, path, errors);
}
