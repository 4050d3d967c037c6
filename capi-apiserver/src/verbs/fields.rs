//! Who manages which fields: managedFields of every write, and server-side apply.

use std::borrow::Cow;

use crate::{
    apply::{self, Applied, ApplyError, Versions, Write},
    clock,
    json::{self, Value},
    registry::Resource,
    schema::Schema,
    server::{Call, Server},
    status::{Cause, Details, Status},
};

/// How a write came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// Create, update or patch: the writer manages what it changed.
    Update,
    /// Server-side apply: managedFields are already set.
    Applied,
}

struct Kinds<'c> {
    server: &'c Server,
    resource: &'c Resource,
}

impl Versions for Kinds<'_> {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        let served = self
            .resource
            .served
            .iter()
            .find(|served| served.api_version == api_version)?;
        Some(&served.schema)
    }

    fn convert<'a>(&self, object: &Value<'a>, api_version: &str) -> Option<Value<'a>> {
        let bytes = object.to_vec();
        match super::shape::convert(self.server, self.resource, &bytes, api_version).ok()? {
            Cow::Borrowed(_) => Some(object.clone()),
            Cow::Owned(converted) => Some(json::parse(&converted).ok()?.value.into_owned()),
        }
    }
}

/// What a write through the main resource, or through its status, cannot change.
const STATUS: &[&[&str]] = &[&["status"]];
const ALL_BUT_STATUS: &[&[&str]] = &[&["spec"], &["metadata"]];

pub(super) fn with_write<T>(call: &Call<'_>, run: impl FnOnce(&Write<'_>) -> T) -> T {
    let version = call.version();
    let manager = call.manager();
    // The real server records no time for the scale subresource.
    let now = if call.path.subresource == "scale" {
        String::new()
    } else {
        clock::seconds(call.now)
    };
    let subresource = call.path.subresource.as_str();
    let reset: &[&'static [&'static str]] = match (version.status, subresource) {
        (false, _) => &[],
        (true, "status") => ALL_BUT_STATUS,
        (true, _) => STATUS,
    };
    let versions = Kinds {
        server: call.server,
        resource: &call.resource,
    };
    run(&Write {
        manager: &manager,
        api_version: &version.api_version,
        subresource,
        now: &now,
        schema: &version.schema,
        reset,
        versions: &versions,
    })
}

/// Sets managedFields of `new`.
pub(crate) fn track(call: &Call<'_>, new: &mut Value<'_>, old: Option<&Value<'_>>, writer: Writer) {
    if writer == Writer::Update {
        if old.is_some_and(|old| same(old, new)) {
            return;
        }
        with_write(call, |write| apply::update(old, new, write));
        if call.path.subresource == "scale" {
            untimed(new);
        }
    }
}

/// The real server writes no time for changes by scale, and sorts them first.
fn untimed(object: &mut Value<'_>) {
    let entries = object
        .at_mut(&["metadata", "managedFields"])
        .and_then(Value::as_array_mut);
    let Some(entries) = entries else { return };
    for entry in entries.iter_mut() {
        if entry.get("subresource").and_then(Value::as_str) == Some("scale")
            && let Value::Object(entry) = entry
        {
            entry.remove("time");
        }
    }
    entries.sort_by_key(|entry| {
        let applied = entry.get("operation").and_then(Value::as_str) == Some("Apply");
        (!applied, entry.get("time").is_some())
    });
}

/// The object that applying `patch` to `live` makes.
///
/// # Errors
/// 400, 409 with a cause for each conflict, or 500, as the real server has it.
pub(crate) fn apply<'a>(
    call: &Call<'_>,
    live: Option<&Value<'a>>,
    patch: &Value<'a>,
) -> Result<Applied<'a>, Status> {
    with_write(call, |write| {
        apply::apply(live, patch, write, call.options.force)
    })
    .map_err(|error| match error {
        ApplyError::Conflict(conflicts) => {
            let message = ApplyError::Conflict(conflicts.clone()).to_string();
            let causes = conflicts
                .into_iter()
                .map(|conflict| {
                    Cause::new(
                        "FieldManagerConflict",
                        conflict.path,
                        format!("conflict with {}", conflict.manager),
                    )
                })
                .collect();
            Status::new(409, "Conflict", message).with_details(Details {
                causes,
                ..Details::default()
            })
        }
        ApplyError::BadRequest(message) => Status::bad_request(message),
        other => Status::new(500, "", other.to_string()),
    })
}

/// Whether two states of an object differ in nothing but the times in managedFields.
pub(crate) fn same(old: &Value<'_>, new: &Value<'_>) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return false;
    };
    old.len() == new.len()
        && old.iter().all(|(name, value)| {
            new.get(name).is_some_and(|there| {
                if name == "metadata" {
                    same_metadata(value, there)
                } else {
                    value == there
                }
            })
        })
}

fn same_metadata(old: &Value<'_>, new: &Value<'_>) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return false;
    };
    old.len() == new.len()
        && old.iter().all(|(name, value)| {
            new.get(name).is_some_and(|there| {
                if name == "managedFields" {
                    same_managers(value, there)
                } else {
                    value == there
                }
            })
        })
}

fn same_managers(old: &Value<'_>, new: &Value<'_>) -> bool {
    let (Some(old), Some(new)) = (old.as_array(), new.as_array()) else {
        return false;
    };
    old.len() == new.len()
        && old
            .iter()
            .zip(new)
            .all(|(old, new)| match (old.as_object(), new.as_object()) {
                (Some(old), Some(new)) => {
                    old.len() == new.len()
                        && old
                            .iter()
                            .all(|(name, value)| name == "time" || new.get(name) == Some(value))
                }
                _ => false,
            })
}
