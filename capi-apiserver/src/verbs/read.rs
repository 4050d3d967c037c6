//! GET of one object, and how one object is shown.

use bytes::Bytes;

use crate::{
    json::{self, Object, Value},
    reply::{JSON, Reply},
    request::Form,
    server::Call,
    status::Status,
};

use super::shape;

pub(crate) fn get(call: &Call<'_>) -> Result<Reply, Status> {
    if call.resource.behaviour == crate::registry::Behaviour::Review {
        return Err(Status::method_not_allowed());
    }
    let stored = call
        .server
        .store
        .get(call.resource.collection, &call.key())
        .ok_or_else(|| call.not_found())?;
    object(call, 200, stored.bytes)
}

/// Answers with one object, given in the version of storage, in the form the client accepts.
pub(crate) fn object(call: &Call<'_>, code: u16, bytes: Bytes) -> Result<Reply, Status> {
    let bytes = match shape::to_version(call, &bytes)? {
        std::borrow::Cow::Borrowed(_) => bytes,
        std::borrow::Cow::Owned(converted) => converted.into(),
    };
    let bytes = match call.accept.form {
        Form::Object => bytes,
        Form::Metadata => metadata_only(&bytes, "v1")?.into(),
        Form::Table => table(call, &[&bytes], None)?.into(),
    };
    Ok(finish(call, code, bytes))
}

/// JSON as it is, or as YAML.
pub(crate) fn finish(call: &Call<'_>, code: u16, bytes: Bytes) -> Reply {
    if call.accept.yaml {
        let text = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
        if let Some(yaml) = text.and_then(|value| serde_saphyr::to_string(&value).ok()) {
            return Reply {
                content_type: "application/yaml",
                ..Reply::json(code, yaml.into_bytes())
            };
        }
    }
    Reply {
        content_type: JSON,
        ..Reply::json(code, bytes)
    }
}

/// `PartialObjectMetadata` of an encoded object.
pub(crate) fn metadata_only(bytes: &[u8], version: &str) -> Result<Vec<u8>, Status> {
    let metadata = crate::peek::at(bytes, &["metadata"])
        .ok_or_else(|| Status::internal("a stored object has no metadata"))?;
    let mut out = Vec::with_capacity(metadata.len() + 80);
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\",\"metadata\":");
    out.extend_from_slice(metadata);
    out.push(b'}');
    Ok(out)
}

/// A table of encoded objects in the version of the request.
pub(crate) fn table(
    call: &Call<'_>,
    items: &[&[u8]],
    list_metadata: Option<Object<'_>>,
) -> Result<Vec<u8>, Status> {
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        let object = json::parse(item)
            .map_err(|error| Status::internal(error.to_string()))?
            .value;
        let name = crate::object::name(&object).to_owned();
        let created = crate::object::text(&object, "creationTimestamp").to_owned();
        let mut row = Object::new();
        row.insert("cells", vec![Value::from(name), Value::from(created)]);
        let shown = match call.options.include_object.as_deref() {
            Some("None") => None,
            Some("Object") => Some(object),
            _ => {
                let text = metadata_only(item, "v1")?;
                Some(
                    json::parse(&text)
                        .map_err(|error| Status::internal(error.to_string()))?
                        .value
                        .into_owned(),
                )
            }
        };
        if let Some(object) = shown {
            row.insert("object", object);
        }
        rows.push(Value::Object(row));
    }
    let column = |name: &'static str, kind: &'static str, format: &'static str| {
        let mut column = Object::new();
        column.insert("name", name);
        column.insert("type", kind);
        column.insert("format", format);
        column.insert("description", "");
        column.insert("priority", 0_i64);
        Value::Object(column)
    };
    let mut table = Object::new();
    table.insert("kind", "Table");
    table.insert("apiVersion", "meta.k8s.io/v1");
    table.insert("metadata", list_metadata.unwrap_or_default());
    table.insert(
        "columnDefinitions",
        vec![column("Name", "string", "name"), column("Age", "date", "")],
    );
    table.insert("rows", rows);
    Ok(Value::Object(table).to_vec())
}
