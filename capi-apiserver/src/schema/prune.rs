//! Removing what a schema does not know.

use super::{Additional, Path, Schema};
use crate::json::Value;

const TYPE_AND_METADATA: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Paths of unknown members.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    pub(super) fields: Vec<String>,
    /// Those in the metadata of embedded resources, which upstream tells last.
    pub(super) in_embedded_metadata: Vec<String>,
}

impl Unknown {
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.in_embedded_metadata.is_empty()
    }
}

impl Schema {
    /// Removes members that the schema does not know from a resource, and then nulls where
    /// neither null nor a default is allowed. `apiVersion`, `kind` and `metadata` stay.
    ///
    /// Returns the path of each removed unknown member, sorted, and those in the metadata of embedded
    /// resources last: what strict field validation reports. A second call returns nothing and changes nothing.
    pub fn prune(&self, resource: &mut Value<'_>) -> Vec<String> {
        let mut unknown = Unknown::default();
        self.prune_at(resource, true, &Path::ROOT, &mut unknown);
        self.prune_nulls(resource, true);
        unknown.fields.sort_unstable();
        unknown.in_embedded_metadata.sort_unstable();
        unknown.fields.extend(unknown.in_embedded_metadata);
        unknown.fields
    }

    pub(super) fn prune_at(
        &self,
        value: &mut Value<'_>,
        root: bool,
        path: &Path<'_>,
        unknown: &mut Unknown,
    ) {
        match value {
            Value::Object(object) => object.retain(|name, member| {
                if (root || self.embedded_resource) && TYPE_AND_METADATA.contains(&name) {
                    if name == "metadata" {
                        let metadata = crate::openapi::builtin::object_meta();
                        let mut below = Unknown::default();
                        metadata.prune_at(member, false, &path.field(name), &mut below);
                        if root {
                            unknown.fields.extend(below.fields);
                        } else {
                            unknown.in_embedded_metadata.extend(below.fields);
                        }
                    }
                    return true;
                }
                let here = path.field(name);
                if let Some(schema) = self.property(name) {
                    schema.prune_at(member, false, &here, unknown);
                    return true;
                }
                match &self.additional {
                    Additional::Schema(schema) => {
                        schema.prune_at(member, false, &here, unknown);
                        true
                    }
                    _ if self.preserve_unknown_fields => true,
                    Additional::Any | Additional::Forbidden => {
                        prune_unknown(member, &here, unknown);
                        true
                    }
                    Additional::Unsaid => {
                        unknown.fields.push(here.dotted());
                        false
                    }
                }
            }),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let here = path.index(index);
                    match &self.items {
                        Some(schema) => schema.prune_at(item, false, &here, unknown),
                        None if self.preserve_unknown_fields => {}
                        None => prune_unknown(item, &here, unknown),
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn prune_nulls(&self, value: &mut Value<'_>, root: bool) {
        match value {
            Value::Object(object) => object.retain(|name, member| {
                if root && TYPE_AND_METADATA.contains(&name) {
                    return true;
                }
                let Some(schema) = self.member(name) else {
                    return true;
                };
                if member.is_null() {
                    return schema.nullable || schema.default.is_some();
                }
                schema.prune_nulls(member, false);
                true
            }),
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items
                        .iter_mut()
                        .for_each(|item| schema.prune_nulls(item, false));
                }
            }
            _ => {}
        }
    }
}

/// Empties objects about which no schema says anything.
fn prune_unknown(value: &mut Value<'_>, path: &Path<'_>, unknown: &mut Unknown) {
    match value {
        Value::Object(object) => object.retain(|name, _| {
            unknown.fields.push(path.field(name).dotted());
            false
        }),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                prune_unknown(item, &path.index(index), unknown);
            }
        }
        _ => {}
    }
}
