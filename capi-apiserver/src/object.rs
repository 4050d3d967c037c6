//! Metadata of decoded objects: reading it, and writing it in the one order in which the server
//! keeps it (what is looked for without decoding comes first).

use crate::json::{Object, Value};

/// A reference of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) blocks_deletion: bool,
}

pub(crate) fn text<'v>(object: &'v Value<'_>, field: &str) -> &'v str {
    object
        .at(&["metadata", field])
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(crate) fn name<'v>(object: &'v Value<'_>) -> &'v str {
    text(object, "name")
}

pub(crate) fn namespace<'v>(object: &'v Value<'_>) -> &'v str {
    text(object, "namespace")
}

pub(crate) fn uid<'v>(object: &'v Value<'_>) -> &'v str {
    text(object, "uid")
}

pub(crate) fn is_deleting(object: &Value<'_>) -> bool {
    object
        .at(&["metadata", "deletionTimestamp"])
        .is_some_and(|time| !time.is_null())
}

pub(crate) fn generation(object: &Value<'_>) -> i64 {
    object
        .at(&["metadata", "generation"])
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

pub(crate) fn finalizers<'v>(object: &'v Value<'_>) -> impl Iterator<Item = &'v str> {
    let finalizers = object
        .at(&["metadata", "finalizers"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    finalizers.iter().filter_map(Value::as_str)
}

pub(crate) fn has_finalizer(object: &Value<'_>, finalizer: &str) -> bool {
    finalizers(object).any(|one| one == finalizer)
}

/// Sets the finalizers; none at all removes the member.
pub(crate) fn set_finalizers(object: &mut Value<'_>, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        object.remove_at(&["metadata", "finalizers"]);
    } else {
        let items: Vec<Value<'_>> = finalizers.into_iter().map(Value::from).collect();
        object.set_at(&["metadata", "finalizers"], items);
    }
}

pub(crate) fn owners(object: &Value<'_>) -> Vec<Owner> {
    let Some(references) = object
        .at(&["metadata", "ownerReferences"])
        .and_then(Value::as_array)
    else {
        return Vec::new();
    };
    let text = |reference: &Value<'_>, field: &str| {
        reference
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    references
        .iter()
        .map(|reference| Owner {
            api_version: text(reference, "apiVersion"),
            kind: text(reference, "kind"),
            name: text(reference, "name"),
            uid: text(reference, "uid"),
            blocks_deletion: reference.get("blockOwnerDeletion").and_then(Value::as_bool)
                == Some(true),
        })
        .collect()
}

const TOP: [&str; 3] = ["apiVersion", "kind", "metadata"];
const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// Brings type and metadata to the front and metadata's members into their order.
pub(crate) fn normalise(object: &mut Value<'_>) {
    if let Value::Object(object) = object {
        reorder(object, &TOP);
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            reorder(metadata, &METADATA);
        }
    }
}

fn reorder(object: &mut Object<'_>, order: &[&str]) {
    let rank = |name: &str| {
        order
            .iter()
            .position(|one| *one == name)
            .unwrap_or(order.len())
    };
    if object.keys().is_sorted_by_key(rank) {
        return;
    }
    let mut members: Vec<_> = std::mem::take(object).into_iter().collect();
    members.sort_by_key(|(name, _)| rank(name));
    for (name, value) in members {
        object.push(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    #[test]
    fn metadata_comes_first_and_in_order_and_the_rest_stays() {
        let text = br#"{"status":{},"spec":{"b":1,"a":2},"metadata":{"labels":{},"x":1,"uid":"u","name":"n"},"kind":"K","apiVersion":"v1"}"#;
        let mut object = parse(text).expect("json").value;
        normalise(&mut object);
        assert_eq!(
            object.to_string(),
            r#"{"apiVersion":"v1","kind":"K","metadata":{"name":"n","uid":"u","labels":{},"x":1},"status":{},"spec":{"b":1,"a":2}}"#
        );
    }
}
