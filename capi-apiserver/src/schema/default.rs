//! Filling in what a schema has defaults for.

use std::borrow::Cow;

use super::Schema;
use crate::json::Value;

impl Schema {
    /// Adds the schema's defaults: for absent members of objects that are there, and in place of
    /// nulls where null is not allowed. A second call changes nothing.
    pub fn default<'a>(&'a self, value: &mut Value<'a>) {
        if !self.within.defaults {
            return;
        }
        match value {
            Value::Object(object) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else {
                        continue;
                    };
                    match object.get_mut(name) {
                        None => object.push(Cow::Borrowed(name.as_ref()), borrow(default)),
                        Some(place) if place.is_null() && !schema.nullable => {
                            *place = borrow(default);
                        }
                        Some(_) => {}
                    }
                }
                for (name, member) in object.iter_mut() {
                    if let Some(schema) = self.property(name) {
                        schema.default(member);
                    } else if let Some(schema) = self.additional.schema() {
                        schema.default_null(member);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.default_null(item));
                }
            }
            _ => {}
        }
    }

    fn default_null<'a>(&'a self, value: &mut Value<'a>) {
        if value.is_null()
            && !self.nullable
            && let Some(default) = &self.default
        {
            *value = borrow(default);
        }
        self.default(value);
    }
}

/// A copy of a default that shares its texts.
fn borrow<'a>(value: &'a Value<'static>) -> Value<'a> {
    match value {
        Value::String(text) => Value::String(Cow::Borrowed(text)),
        Value::Array(items) => Value::Array(items.iter().map(borrow).collect()),
        Value::Object(object) => {
            let mut copy = crate::json::Object::with_capacity(object.len());
            for (name, member) in object.iter() {
                copy.push(name, borrow(member));
            }
            Value::Object(copy)
        }
        scalar => scalar.clone(),
    }
}
