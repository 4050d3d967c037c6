//! DELETE of an object or a collection: preconditions, propagation, finalizers, grace.

use bytes::Bytes;

use crate::{
    builtin, clock,
    gc::{FOREGROUND, ORPHAN},
    hooks::Operation,
    json::{self, Value},
    object,
    registry::Resource,
    reply::Reply,
    server::{Call, Server},
    status::{Cause, Status},
    storage::{Stored, Unmet},
};

use super::{commit, list, shape};

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// The options of a deletion, from body and query.
#[derive(Debug, Default)]
struct DeleteOptions {
    propagation: Option<Propagation>,
    grace: Option<i64>,
    uid: Option<String>,
    version: Option<String>,
    dry_run: bool,
}

/// What a deletion did.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The object is gone; its last state.
    Removed(Bytes),
    /// It waits for finalizers or grace; its state now.
    Pending(Bytes),
}

pub(crate) fn delete(call: &Call<'_>) -> Result<Reply, Status> {
    if call.resource.behaviour == crate::registry::Behaviour::Review {
        return Err(Status::method_not_allowed());
    }
    let options = options(call)?;
    let key = call.key();
    let stored = call
        .server
        .store
        .get(call.resource.collection, &key)
        .ok_or_else(|| call.not_found())?;
    let outcome = one(call, &key, &stored, &options)?;
    match outcome {
        Outcome::Pending(bytes) => super::read::object(call, 200, bytes),
        Outcome::Removed(bytes) if builtin::returns_deleted(&call.resource) => {
            super::read::object(call, 200, bytes)
        }
        Outcome::Removed(bytes) => {
            let uid = crate::peek::string(&bytes, &["metadata", "uid"]).unwrap_or_default();
            let mut details = serde_json::Map::new();
            details.insert("name".into(), call.path.name.clone().into());
            if !call.group().is_empty() {
                details.insert("group".into(), call.group().into());
            }
            details.insert("kind".into(), call.plural().into());
            details.insert("uid".into(), uid.into());
            let body = serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            });
            Ok(super::read::finish(call, 200, body.to_string().into()))
        }
    }
}

pub(crate) fn delete_collection(call: &Call<'_>) -> Result<Reply, Status> {
    if !call.resource.verbs().contains(&"deletecollection")
        || (call.resource.namespaced && call.path.namespace.is_empty())
    {
        return Err(Status::method_not_allowed());
    }
    let options = options(call)?;
    let selection = list::select(call)?;
    let mut items = Vec::new();
    for (key, stored) in &selection.items {
        let bytes = match one(call, key, stored, &options)? {
            Outcome::Removed(_) => stored.bytes.clone(),
            Outcome::Pending(bytes) => bytes,
        };
        items.push(bytes);
    }
    let mut body = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{{{}\"resourceVersion\":\"{}\"}},\"items\":[",
        call.resource.names.list_kind,
        call.version().api_version,
        if call.resource.is_custom() { "\"continue\":\"\"," } else { "" },
        call.server.store.version()
    )
    .into_bytes();
    for (index, bytes) in items.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&shape::to_version(call, bytes)?);
    }
    body.extend_from_slice(b"]}");
    Ok(super::read::finish(call, 200, body.into()))
}

fn options(call: &Call<'_>) -> Result<DeleteOptions, Status> {
    let mut options = DeleteOptions {
        grace: call.options.grace_period_seconds,
        dry_run: call.options.dry_run,
        ..DeleteOptions::default()
    };
    let mut policy = call.options.propagation_policy.clone();
    let mut orphan = call.options.orphan_dependents;
    if !call.request.body.is_empty() {
        let (body, _) = shape::decode(
            "DeleteOptions",
            &call.request.content_type,
            &call.request.body,
        )?;
        let kind = body.get("kind").and_then(Value::as_str).unwrap_or_default();
        if body.as_object().is_none() || !matches!(kind, "" | "DeleteOptions") {
            return Err(Status::bad_request(format!(
                "couldn't decode DeleteOptions: unexpected kind {kind:?}"
            )));
        }
        if let Some(seconds) = body.get("gracePeriodSeconds").and_then(Value::as_i64) {
            options.grace = Some(seconds);
        }
        if let Some(text) = body.get("propagationPolicy").and_then(Value::as_str) {
            policy = Some(text.to_owned());
        }
        if let Some(truth) = body.get("orphanDependents").and_then(Value::as_bool) {
            orphan = Some(truth);
        }
        let text = |path: &[&str]| body.at(path).and_then(Value::as_str).map(str::to_owned);
        options.uid = text(&["preconditions", "uid"]);
        options.version = text(&["preconditions", "resourceVersion"]);
        let dry_run = body
            .get("dryRun")
            .and_then(Value::as_array)
            .unwrap_or_default();
        options.dry_run |= dry_run.iter().any(|value| value.as_str() == Some("All"));
    }
    let invalid = |field: &str, message: String| {
        Err(Status::invalid(
            "meta.k8s.io",
            "DeleteOptions",
            "",
            vec![Cause::new("FieldValueInvalid", field, message)],
        ))
    };
    options.propagation = match policy.as_deref() {
        None => orphan.map(|orphan| {
            if orphan {
                Propagation::Orphan
            } else {
                Propagation::Background
            }
        }),
        Some(_) if orphan.is_some() => {
            return invalid(
                "propagationPolicy",
                "Invalid value: \"\": orphanDependents and deletionPropagation cannot be both set"
                    .to_owned(),
            );
        }
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some("Orphan") => Some(Propagation::Orphan),
        Some(other) => {
            return Err(Status::invalid(
                "meta.k8s.io",
                "DeleteOptions",
                "",
                vec![Cause::new(
                    "FieldValueNotSupported",
                    "propagationPolicy",
                    format!(
                        "Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                    ),
                )],
            ));
        }
    };
    Ok(options)
}

fn one(
    call: &Call<'_>,
    key: &str,
    stored: &Stored,
    options: &DeleteOptions,
) -> Result<Outcome, Status> {
    let object = json::parse(&stored.bytes)
        .map_err(|error| Status::internal(error.to_string()))?
        .value;
    let conflict = |why: String| {
        Err(Status::conflict(
            call.group(),
            call.kind(),
            object::name(&object),
            why,
        ))
    };
    if let Some(uid) = &options.uid
        && uid != object::uid(&object)
    {
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            object::uid(&object)
        ));
    }
    if let Some(version) = &options.version
        && *version != stored.version.to_string()
    {
        return conflict(format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            stored.version
        ));
    }
    if shape::hooks(call).next().is_some() {
        let shown = shape::to_version(call, &stored.bytes)?;
        let shown = json::parse(&shown)
            .map_err(|error| Status::internal(error.to_string()))?
            .value;
        shape::admit(call, Operation::Delete, &shown, Some(&shown))?;
    }
    builtin::check_delete(call, &object)?;
    let order = Order {
        propagation: options.propagation,
        grace: options.grace,
        dry_run: options.dry_run || call.options.dry_run,
    };
    begin(call.server, &call.resource, key, stored, &object, &order)
        .map_err(|Unmet| Status::modified(call.group(), call.plural(), &call.path.name))
}

/// How an object is to be deleted.
#[derive(Debug, Default)]
pub(crate) struct Order {
    pub(crate) propagation: Option<Propagation>,
    pub(crate) grace: Option<i64>,
    pub(crate) dry_run: bool,
}

/// Deletes an object: at once if nothing holds it, else it is marked. `object` is the stored one.
///
/// # Errors
/// [`Unmet`] when the stored object is another by now.
pub(crate) fn begin(
    server: &Server,
    resource: &Resource,
    key: &str,
    stored: &Stored,
    object: &Value<'_>,
    order: &Order,
) -> Result<Outcome, Unmet> {
    let mut new = object.clone();
    let finalizers = finalizers(object, order.propagation);
    object::set_finalizers(&mut new, finalizers);
    builtin::prepare_delete(resource, &mut new);
    let grace = builtin::grace(resource, object, order.grace);
    let known = object
        .at(&["metadata", "deletionGracePeriodSeconds"])
        .and_then(Value::as_i64);
    if known.is_some_and(|known| known > grace) {
        new.set_at(&["metadata", "deletionGracePeriodSeconds"], grace);
    }
    let held = object::finalizers(&new).next().is_some()
        || grace > 0
        || builtin::outlives_finalizers(resource, &new);
    if !held {
        if order.dry_run {
            return Ok(Outcome::Removed(stored.bytes.clone()));
        }
        let mut last = new;
        return commit::delete(server, resource, key, stored, &mut last)
            .map(|stored| Outcome::Removed(stored.bytes));
    }
    mark(server, object, &mut new, grace);
    if new == *object || order.dry_run {
        return Ok(Outcome::Pending(stored.bytes.clone()));
    }
    commit::put(server, resource, key, Some(stored), Some(object), &mut new)
        .map(|stored| Outcome::Pending(stored.bytes))
}

/// The finalizers that a propagation policy leaves. Without one what is there counts.
fn finalizers(object: &Value<'_>, propagation: Option<Propagation>) -> Vec<String> {
    let mut finalizers: Vec<String> = object::finalizers(object).map(str::to_owned).collect();
    let Some(propagation) = propagation else {
        return finalizers;
    };
    let wanted = match propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    finalizers.retain(|finalizer| {
        !matches!(finalizer.as_str(), FOREGROUND | ORPHAN) || Some(finalizer.as_str()) == wanted
    });
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|finalizer| finalizer == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    finalizers
}

/// Sets the deletion timestamp; a later, shorter grace period shortens it.
fn mark(server: &Server, old: &Value<'_>, new: &mut Value<'_>, grace: i64) {
    let known = old
        .at(&["metadata", "deletionGracePeriodSeconds"])
        .and_then(Value::as_i64);
    if object::is_deleting(old) && known.is_none_or(|known| known <= grace) {
        return;
    }
    let now = server.clock.now();
    let when = now
        .checked_add(jiff::SignedDuration::from_secs(grace))
        .unwrap_or(now);
    new.set_at(&["metadata", "deletionTimestamp"], clock::seconds(when));
    new.set_at(&["metadata", "deletionGracePeriodSeconds"], grace);
    let generation = object::generation(old);
    if generation > 0 && !object::is_deleting(old) {
        new.set_at(&["metadata", "generation"], generation + 1);
    }
}
