//! GET of one object, and how one object is shown.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    json::{self, Object, Value},
    reply::{JSON, Reply},
    request::Form,
    server::Call,
    status::Status,
    table::Columns,
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
        Form::Table => table(&TableStyle::of(call), &[&bytes], version_of(&bytes))?.into(),
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

/// How a table shows objects.
#[derive(Debug, Clone)]
pub(crate) struct TableStyle {
    pub(crate) columns: Arc<Columns>,
    pub(crate) now: Timestamp,
    pub(crate) include: Include,
    /// Whether the columns are described.
    pub(crate) header: bool,
}

/// What the row of a table carries besides its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl TableStyle {
    pub(crate) fn of(call: &Call<'_>) -> Self {
        Self {
            columns: call.version().columns.clone(),
            now: call.now,
            include: match call.options.include_object.as_deref() {
                Some("None") => Include::Nothing,
                Some("Object") => Include::Object,
                _ => Include::Metadata,
            },
            header: true,
        }
    }
}

/// A table of encoded objects, which are in the version of the request.
pub(crate) fn table(
    style: &TableStyle,
    items: &[&[u8]],
    metadata: Object<'_>,
) -> Result<Vec<u8>, Status> {
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        let object = json::parse(item)
            .map_err(|error| Status::internal(error.to_string()))?
            .value;
        let mut row = Object::with_capacity(2);
        row.insert("cells", style.columns.cells(&object, style.now));
        match style.include {
            Include::Nothing => {}
            Include::Object => drop(row.insert("object", object)),
            Include::Metadata => {
                let mut partial = Object::with_capacity(3);
                partial.insert("kind", "PartialObjectMetadata");
                partial.insert("apiVersion", "meta.k8s.io/v1");
                let metadata = object.as_object().and_then(|object| object.get("metadata"));
                partial.insert("metadata", metadata.cloned().unwrap_or_default());
                row.insert("object", partial);
            }
        }
        rows.push(Value::Object(row));
    }
    let mut table = Object::with_capacity(5);
    table.insert("kind", "Table");
    table.insert("apiVersion", "meta.k8s.io/v1");
    table.insert("metadata", metadata);
    let header = if style.header {
        style.columns.definitions()
    } else {
        Value::Null
    };
    table.insert("columnDefinitions", header);
    table.insert("rows", rows);
    Ok(Value::Object(table).to_vec())
}

/// The metadata of a table of one object: its version.
pub(crate) fn version_of(bytes: &[u8]) -> Object<'static> {
    let mut metadata = Object::new();
    if let Some(version) = crate::peek::string(bytes, &["metadata", "resourceVersion"]) {
        metadata.insert("resourceVersion", version);
    }
    metadata
}
