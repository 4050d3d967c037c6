//! Which fields a field manager applied, from `metadata.managedFields`.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    plan::machine_set::OwnedFields,
    runtime::{Error, Object},
};

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: Managed,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Managed {
    managed_fields: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    manager: String,
    operation: String,
    fields_v1: Value,
}

/// Labels, annotations and names of fields of the spec that `manager` applied.
///
/// # Errors
/// When the object is no Kubernetes object.
pub(crate) fn owned_fields(object: &Object, manager: &str) -> Result<OwnedFields, Error> {
    let head: Head = serde_json::from_slice(object.bytes())
        .map_err(|source| Error::decode(&object.key().to_string(), source))?;
    let mut owned = OwnedFields::default();
    let entries = head.metadata.managed_fields.iter();
    for entry in entries.filter(|e| e.manager == manager && e.operation == "Apply") {
        let keys = |pointer: &str| -> Vec<String> {
            let found = entry.fields_v1.pointer(pointer).and_then(Value::as_object);
            found.map(names).unwrap_or_default()
        };
        owned.labels.extend(keys("/f:metadata/f:labels"));
        owned.annotations.extend(keys("/f:metadata/f:annotations"));
        owned.spec.extend(keys("/f:spec"));
        owned.spec.extend(keys("/f:spec/f:deletion"));
    }
    Ok(owned)
}

fn names(fields: &Map<String, Value>) -> Vec<String> {
    fields
        .keys()
        .filter_map(|key| key.strip_prefix("f:"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_those_that_the_manager_applied() {
        let object = json!({ "metadata": { "name": "a", "managedFields": [
            { "manager": "ours", "operation": "Apply", "fieldsV1": {
                "f:metadata": { "f:labels": { "f:a": {}, "f:b.c/d": {} }, "f:annotations": {} },
                "f:spec": { "f:minReadySeconds": {}, "f:deletion": { "f:x": {} } },
            }},
            { "manager": "ours", "operation": "Update", "fieldsV1": {
                "f:metadata": { "f:labels": { "f:updated": {} } },
            }},
            { "manager": "other", "operation": "Apply", "fieldsV1": {
                "f:metadata": { "f:labels": { "f:other": {} } },
            }},
        ]}});
        let object = Object::from_bytes(Bytes::from(object.to_string())).unwrap();
        let owned = owned_fields(&object, "ours").unwrap();
        assert_eq!(owned.labels, ["a", "b.c/d"]);
        assert_eq!(owned.annotations, Vec::<String>::new());
        assert_eq!(owned.spec, ["deletion", "minReadySeconds", "x"]);
    }
}
