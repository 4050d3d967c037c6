//! A merge patch of a custom resource's status, which is what controllers write most: of the stored
//! bytes only the status and the writer's entry of managedFields are read, and the rest is copied.
//!
//! It answers what [`super::patch`] answers, and leaves to it whatever is not plain: other versions,
//! faults, warnings, hooks, definitions that changed since the object was written.

use std::ops::Range;

use crate::{
    apply,
    json::{self, Object, Value},
    patch::merge,
    peek::{self, Members},
    reply::Reply,
    server::Call,
    status::Status,
    storage::{Expect, Unmet},
};

use super::{commit, fields, patch, shape};

/// Where the parts of an encoded object are.
#[derive(Debug, Default)]
struct Layout {
    version: Range<usize>,
    managers: Range<usize>,
    status: Option<Range<usize>>,
}

/// A place in the text of an object, and what is to stand there.
type Splice<'s> = (Range<usize>, &'s [u8]);

impl Layout {
    fn of(object: &[u8]) -> Option<Self> {
        let mut layout = Self::default();
        let mut members = Members::begin(object, 0);
        while let Some((name, start)) = members.enter() {
            if name == b"metadata" {
                let mut metadata = Members::begin(object, start);
                for (name, place) in metadata.by_ref() {
                    match name {
                        b"resourceVersion" => layout.version = place,
                        b"managedFields" => layout.managers = place,
                        _ => {}
                    }
                }
                members.leave(metadata.end()?);
                continue;
            }
            let end = members.pass()?;
            if name == b"status" {
                layout.status = Some(start..end);
            }
        }
        let is_whole = !layout.version.is_empty() && !layout.managers.is_empty();
        is_whole.then_some(layout)
    }
}

/// Patches the status. `None` when the general way has to be gone.
///
/// # Errors
/// The answer to the client.
pub(crate) fn merge(call: &Call<'_>) -> Result<Option<Reply>, Status> {
    if !is_plain(call) {
        return Ok(None);
    }
    let key = call.key();
    let Some(stored) = call.server.store.get(call.resource.collection, &key) else {
        return Ok(None);
    };
    let bytes: &[u8] = &stored.bytes;
    let Ok(patch) = json::parse(&call.request.body) else {
        return Ok(None);
    };
    let (Some(layout), Some(patch)) = (Layout::of(bytes), only_status(patch, bytes)) else {
        return Ok(None);
    };
    if stored.version <= call.resource.since {
        return Ok(None);
    }
    let old = match layout
        .status
        .clone()
        .map(|place| json::parse(&bytes[place]))
    {
        None => None,
        Some(Ok(document)) => Some(document.value),
        Some(Err(_)) => return Ok(None),
    };
    let schema = &call.version().schema;
    let mut new = merge::merged(old.as_ref(), patch);
    if !schema.complete_member("status", &mut new) {
        return Ok(None);
    }
    if old.as_ref() == Some(&new) {
        return commit::answer(call, 200, stored.bytes.clone(), Vec::new()).map(Some);
    }
    let stays = |name: &str| {
        let Some(text) = peek::member(bytes, name) else {
            return true;
        };
        json::parse(text).is_ok_and(|document| schema.lets_stay(name, &document.value))
    };
    if !schema.accepts_member("status", &new, old.as_ref())
        || !schema.members_in_transition("status").all(stays)
    {
        return Ok(None);
    }
    let managers = &bytes[layout.managers.clone()];
    let managers = fields::with_write(call, |write| {
        apply::update_member(managers, "status", old.as_ref(), &new, write)
    });
    let Some(managers) = managers else {
        return Ok(None);
    };
    let mut status = Vec::with_capacity(bytes.len() / 2);
    if layout.status.is_none() {
        status.extend_from_slice(b",\"status\":");
    }
    new.write_to(&mut status);
    // At its place, or before the brace that closes the object.
    let last = bytes.len() - 1;
    let place = layout.status.clone().unwrap_or(last..last);
    let expect = Expect::Version(stored.version);
    let written = call.server.store.put(
        call.resource.collection,
        &key,
        expect,
        &mut |version, out| {
            let version = format!("\"{version}\"");
            let mut splices: [Splice<'_>; 3] = [
                (layout.version.clone(), version.as_bytes()),
                (layout.managers.clone(), &managers),
                (place.clone(), &status),
            ];
            splices.sort_by_key(|(place, _)| place.start);
            let added: usize = splices.iter().map(|(_, text)| text.len()).sum();
            let gone: usize = splices.iter().map(|(place, _)| place.len()).sum();
            out.reserve_exact(bytes.len() + added - gone + 8);
            let mut at = 0;
            for (place, text) in splices {
                out.extend_from_slice(&bytes[at..place.start]);
                out.extend_from_slice(text);
                at = place.end;
            }
            out.extend_from_slice(&bytes[at..]);
        },
    );
    match written {
        // Neither owners nor finalizers changed: nothing follows.
        Ok(written) => commit::answer(call, 200, written.bytes, Vec::new()).map(Some),
        Err(Unmet) => Err(Status::modified(
            call.group(),
            call.plural(),
            &call.path.name,
        )),
    }
}

/// Whether the request is one of those that are answered here.
fn is_plain(call: &Call<'_>) -> bool {
    let version = call.version();
    let counts_in_status = version.scale.as_ref().is_some_and(|scale| {
        scale
            .spec_replicas
            .first()
            .is_some_and(|name| name == "status")
    });
    call.path.subresource == "status"
        && call.resource.is_custom()
        && version.status
        && version.api_version == call.resource.storage_api_version
        && version.schema.judges_alone("status")
        && !counts_in_status
        && !call.options.dry_run
        && !call.options.force
        && shape::media_type(&call.request.content_type) == patch::MERGE_PATCH
        && shape::hooks(call).next().is_none()
}

/// The status of a patch that has nothing else to say but which object it means.
fn only_status<'p>(patch: json::Document<'p>, stored: &[u8]) -> Option<Value<'p>> {
    if !patch.duplicates.is_empty() {
        return None;
    }
    let Value::Object(members) = patch.value else {
        return None;
    };
    let names_it = |value: &Value<'_>, path: &[&str]| {
        let known = peek::at(stored, path).and_then(peek::plain_string);
        known.is_some() && value.as_str() == known
    };
    let is_metadata = |metadata: &Object<'_>| {
        metadata.iter().all(|(name, value)| {
            matches!(name, "name" | "namespace" | "uid" | "resourceVersion")
                && names_it(value, &["metadata", name])
        })
    };
    let mut status = None;
    for (name, value) in members {
        let is_same = match (name.as_ref(), value) {
            ("status", value @ Value::Object(_)) => {
                status = Some(value);
                true
            }
            ("metadata", Value::Object(metadata)) => is_metadata(&metadata),
            (name @ ("apiVersion" | "kind"), value) => names_it(&value, &[name]),
            _ => false,
        };
        if !is_same {
            return None;
        }
    }
    status
}
