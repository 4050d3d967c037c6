//! Field management: which manager owns which fields, and server-side apply.
//!
//! Every write goes through [`update`] or [`apply`], which answer to
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>. They decide on trees and
//! never read or write the store; the time is given to them.

mod bytes;
mod element;
mod known;
mod managed;
mod set;
mod typed;

use std::borrow::Cow;

pub(crate) use bytes::update_member;
use managed::{Entry, Manager, Operation};
use set::FieldSet;
use typed::{Comparison, Type};

use crate::json::{Value, parse};
use crate::schema::Schema;

/// The annotation in which `kubectl apply` without server-side apply keeps what it applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The versions of a kind, for objects whose managers wrote in different ones.
pub trait Versions {
    /// The schema of a version (`group/version`), `None` when it is not served any more.
    fn schema(&self, api_version: &str) -> Option<&Schema>;

    /// The object in another version, `None` when it cannot be converted.
    fn convert<'a>(&self, object: &Value<'a>, api_version: &str) -> Option<Value<'a>>;
}

/// A write, as far as field management is concerned.
#[derive(Clone, Copy)]
pub struct Write<'w> {
    /// The field manager, of the request's `fieldManager` or its user agent.
    pub manager: &'w str,
    /// The version of the request and of the objects given with it: `group/version`.
    pub api_version: &'w str,
    /// The subresource, empty for none.
    pub subresource: &'w str,
    /// The time of the write: RFC 3339 in UTC, in whole seconds; empty to record none.
    pub now: &'w str,
    /// The schema of `api_version`.
    pub schema: &'w Schema,
    /// Paths that this write cannot change and so does not own.
    pub reset: &'w [&'static [&'static str]],
    /// The other versions of the kind.
    pub versions: &'w dyn Versions,
}

impl std::fmt::Debug for Write<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Write")
            .field("manager", &self.manager)
            .field("api_version", &self.api_version)
            .field("subresource", &self.subresource)
            .finish_non_exhaustive()
    }
}

/// A field that another manager owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The manager as messages name it: `"kubectl" using apps/v1`.
    pub manager: String,
    /// The path: `.spec.replicas`.
    pub path: String,
}

/// Why an apply did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The request is malformed: 400.
    #[error("{0}")]
    BadRequest(String),
    /// Other managers own fields that would change: 409.
    #[error("{}", conflict_message(.0))]
    Conflict(Vec<Conflict>),
    /// The object does not fit its schema, so that it cannot be merged: 500, as upstream has it.
    #[error("{0}")]
    Untypable(String),
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            only.manager, only.path
        );
    }
    let mut lines = Vec::new();
    let mut manager = "";
    for conflict in conflicts {
        if conflict.manager != manager {
            manager = &conflict.manager;
            lines.push(format!("conflicts with {manager}:"));
        }
        lines.push(format!("- {}", conflict.path));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}

const STRIPPED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Records the managers of an object that was created, updated or patched.
///
/// `live` is the object before, `None` on creation; `new` the object to be stored, whose
/// `metadata.managedFields` is what the request sent and becomes what is to be stored. Both are
/// in the version of the write. When the object did not change, neither do its managers.
pub fn update(live: Option<&Value<'_>>, new: &mut Value<'_>, write: &Write<'_>) {
    let sent = new.remove_at(&["metadata", "managedFields"]);
    let stored = live.and_then(|live| live.at(&["metadata", "managedFields"]));
    let entries = if !write.subresource.is_empty() {
        managed::read(stored)
    } else if managed::is_reset(sent.as_ref()) {
        Vec::new()
    } else {
        match managed::read(sent.as_ref()) {
            entries if entries.is_empty() => managed::read(stored),
            entries => entries,
        }
    };
    if live.is_some() && entries.is_empty() {
        return;
    }
    let without_managers;
    let live = match live {
        Some(live) => {
            let mut live = live.clone();
            live.remove_at(&["metadata", "managedFields"]);
            without_managers = live;
            &without_managers
        }
        None => {
            without_managers = nothing(write.schema);
            &without_managers
        }
    };
    let written = managed::write(update_entries(live, new, entries, write, write.manager));
    if let (Some(written), Some(metadata)) = (
        written,
        new.get_mut("metadata").and_then(Value::as_object_mut),
    ) {
        metadata.push("managedFields", written);
    }
}

/// An object in which nothing is set.
fn nothing(schema: &Schema) -> Value<'static> {
    schema
        .zero
        .as_deref()
        .cloned()
        .unwrap_or_else(|| Value::Object(crate::json::Object::new()))
}

fn update_entries<'v>(
    live: &'v Value<'v>,
    new: &'v Value<'v>,
    entries: Vec<Entry<'v>>,
    write: &Write<'v>,
    manager: &str,
) -> Vec<Entry<'v>> {
    let kind = Type::Resource(write.schema);
    let reset = FieldSet::of_paths(write.reset);
    let mut comparison = typed::compare(kind, live, new).without(&reset);
    if live.get("apiVersion").is_none() {
        // The type itself is not something that a creation adds.
        comparison = comparison.without(&FieldSet::of_paths(&[&["apiVersion"], &["kind"]]));
    }
    let entries = reconcile(entries, write);
    let (mut entries, _) = take_changed(entries, live, new, &comparison, &reset, None, write);
    let own = comparison
        .modified
        .union(comparison.added)
        .difference(&FieldSet::of_paths(STRIPPED));
    if !own.is_empty() {
        let me = Manager {
            name: if manager.is_empty() {
                "unknown".to_owned()
            } else {
                manager.to_owned()
            },
            operation: Operation::Update,
            api_version: write.api_version.to_owned(),
            subresource: write.subresource.to_owned(),
        };
        let now = (!write.now.is_empty()).then(|| write.now.to_owned());
        match entries.iter_mut().find(|entry| entry.manager.is(&me)) {
            Some(entry) => {
                entry.fields = own.union(std::mem::take(&mut entry.fields));
                entry.time = now;
            }
            None => entries.push(Entry {
                manager: me,
                time: now,
                fields: own,
            }),
        }
    }
    managed::cap(entries)
}

/// Adapts what managers own to what the schema now calls atomic.
fn reconcile<'v>(entries: Vec<Entry<'v>>, write: &Write<'_>) -> Vec<Entry<'v>> {
    entries
        .into_iter()
        .map(|mut entry| {
            let schema = if entry.manager.api_version == write.api_version {
                Some(write.schema)
            } else {
                write.versions.schema(&entry.manager.api_version)
            };
            if let Some(schema) = schema {
                entry.fields = typed::reconciled(Type::Resource(schema), entry.fields);
            }
            entry
        })
        .collect()
}

/// Takes from every manager but `me` what changed, and answers what was taken that `me` would
/// have to force. Managers that own nothing any more, or that wrote in a version that is gone,
/// are dropped.
fn take_changed<'v>(
    entries: Vec<Entry<'v>>,
    live: &Value<'_>,
    new: &Value<'_>,
    comparison: &Comparison<'_>,
    reset: &FieldSet<'_>,
    me: Option<&Manager>,
    write: &Write<'_>,
) -> (Vec<Entry<'v>>, Vec<(Manager, FieldSet<'static>)>) {
    let mut conflicts = Vec::new();
    let mut kept = Vec::with_capacity(entries.len());
    for mut entry in entries {
        if me.is_some_and(|me| entry.manager.is(me)) {
            kept.push(entry);
            continue;
        }
        let taken = if entry.manager.api_version == write.api_version {
            take(&mut entry, comparison)
        } else {
            let version = entry.manager.api_version.as_str();
            let Some(schema) = write.versions.schema(version) else {
                continue;
            };
            let converted = |object: &Value<'_>| {
                write
                    .versions
                    .convert(&object.clone().into_owned(), version)
            };
            let (Some(live), Some(new)) = (converted(live), converted(new)) else {
                continue;
            };
            let comparison = typed::compare(Type::Resource(schema), &live, &new).without(reset);
            take(&mut entry, &comparison)
        };
        if !taken.is_empty() {
            conflicts.push((entry.manager.clone(), taken));
        }
        if !entry.fields.is_empty() {
            kept.push(entry);
        }
    }
    (kept, conflicts)
}

fn take(entry: &mut Entry<'_>, comparison: &Comparison<'_>) -> FieldSet<'static> {
    if comparison.is_same() {
        return FieldSet::default();
    }
    let changed = entry
        .fields
        .intersection(&comparison.modified)
        .into_owned()
        .union(entry.fields.intersection(&comparison.added).into_owned());
    entry.fields = entry
        .fields
        .difference(&changed)
        .difference(&comparison.removed);
    changed
}

/// What an apply makes of an object.
#[derive(Debug)]
pub struct Applied<'a> {
    /// The object to be stored, with its managers.
    pub object: Value<'a>,
    /// Whether anything but the managers changed.
    pub changed: bool,
}

/// Applies a configuration: merges it over the live object, removes what this manager applied
/// before and applies no more, and records who owns what.
///
/// `live` is the object before, in the version of the write and `None` when it does not exist;
/// `patch` the configuration. Applying the same configuration again changes nothing, not even
/// the time.
///
/// # Errors
/// [`ApplyError::Conflict`] when others own fields with other values and `force` is not set;
/// [`ApplyError::BadRequest`] when the configuration is of another version or has
/// `managedFields`; [`ApplyError::Untypable`] when it does not fit the schema.
pub fn apply<'a>(
    live: Option<&Value<'a>>,
    patch: &Value<'a>,
    write: &Write<'_>,
    force: bool,
) -> Result<Applied<'a>, ApplyError> {
    let version = patch
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if version != write.api_version {
        return Err(ApplyError::BadRequest(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            write.api_version
        )));
    }
    if patch
        .at(&["metadata", "managedFields"])
        .is_some_and(|managed| !managed.is_null())
    {
        return Err(ApplyError::BadRequest(
            "metadata.managedFields must be nil".to_owned(),
        ));
    }
    let faults = typed::faults(Type::Resource(write.schema), patch, false);
    if !faults.is_empty() {
        return Err(ApplyError::Untypable(format!(
            "failed to create typed patch object ({}): {}",
            identity(patch),
            all(&faults)
        )));
    }
    let result = apply_once(live, patch, write, force);
    let Err(ApplyError::Conflict(conflicts)) = &result else {
        return result;
    };
    // What client-side apply owned goes over to kubectl's server-side apply without a conflict.
    if write.manager == "kubectl"
        && let Some(live) = live
        && let Some(allowed) = owned_by_client_side_apply(live, write)
    {
        let rest: Vec<Conflict> = conflicts
            .iter()
            .filter(|conflict| !allowed.contains(&conflict.path))
            .cloned()
            .collect();
        if rest.is_empty() {
            return apply_once(Some(live), patch, write, true);
        }
        return Err(ApplyError::Conflict(rest));
    }
    result
}

fn all(faults: &[String]) -> String {
    match faults {
        [only] => only.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    }
}

/// The object as upstream's messages name it.
fn identity(object: &Value<'_>) -> String {
    let text = |path: &[&str]| object.at(path).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text(&["apiVersion"])
        .split_once('/')
        .unwrap_or(("", text(&["apiVersion"])));
    format!(
        "{}/{}; {group}/{version}, Kind={}",
        text(&["metadata", "namespace"]),
        text(&["metadata", "name"]),
        text(&["kind"])
    )
}

fn apply_once<'a>(
    live: Option<&Value<'a>>,
    patch: &Value<'a>,
    write: &Write<'_>,
    force: bool,
) -> Result<Applied<'a>, ApplyError> {
    let kind = Type::Resource(write.schema);
    let stored = live.and_then(|live| live.at(&["metadata", "managedFields"]));
    let mut bare = live.cloned().unwrap_or_else(|| {
        let mut object = crate::json::Object::new();
        for name in ["apiVersion", "kind"] {
            if let Some(value) = patch.get(name) {
                object.push(name, value.clone());
            }
        }
        Value::Object(object)
    });
    bare.remove_at(&["metadata", "managedFields"]);

    let nothing = nothing(write.schema);
    let mut entries = managed::read(stored);
    if entries.is_empty() && live.is_some() {
        entries = update_entries(&nothing, &bare, entries, write, "before-first-apply");
    }
    let mut entries = reconcile(entries, write);

    let me = Manager {
        name: if write.manager.is_empty() {
            "unknown".to_owned()
        } else {
            write.manager.to_owned()
        },
        operation: Operation::Apply,
        api_version: write.api_version.to_owned(),
        subresource: write.subresource.to_owned(),
    };
    let reset = FieldSet::of_paths(write.reset);
    let applied = typed::fields_of(kind, patch).recursive_difference(&reset);
    let last = entries
        .iter()
        .position(|entry| entry.manager.is(&me))
        .map(|index| entries.remove(index));
    let last_time = last.as_ref().and_then(|last| last.time.clone());

    let merged = merge_owned(write.schema, &bare, patch);
    let object = match &last {
        Some(last) if !all_stays(last, &applied, write) => {
            prune(merged, &entries, &applied, last, write)
        }
        _ => merged,
    };

    entries.push(Entry {
        manager: me.clone(),
        time: last_time,
        fields: applied,
    });
    let comparison = typed::compare(kind, &bare, &object).without(&reset);
    let (mut entries, conflicts) = take_changed(
        entries,
        &bare,
        &object,
        &comparison,
        &reset,
        Some(&me),
        write,
    );
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflict(listed(conflicts)));
    }
    let changed = bare != object;
    if let Some(index) = entries.iter().position(|entry| entry.manager.is(&me)) {
        let entry = &mut entries[index];
        entry.manager.api_version = me.api_version;
        entry.fields = entry.fields.difference(&FieldSet::of_paths(STRIPPED));
        if entry.fields.is_empty() {
            entries.remove(index);
        } else if changed {
            entry.time = Some(write.now.to_owned());
        }
    }
    let written = managed::write(entries);
    let mut object = object;
    if write.manager == "kubectl" {
        refresh_last_applied(&mut object, patch);
    }
    if let Some(written) = written {
        object.set_at(&["metadata", "managedFields"], written);
    }
    Ok(Applied { object, changed })
}

/// Merges in the lifetime of the objects: schemas outlive the call, objects the answer.
fn merge_owned<'a>(schema: &Schema, live: &Value<'a>, patch: &Value<'a>) -> Value<'a> {
    typed::merge(
        Type::Resource(schema),
        Some(live.clone()),
        Some(patch.clone()),
    )
    .unwrap_or_default()
}

fn listed(conflicts: Vec<(Manager, FieldSet<'static>)>) -> Vec<Conflict> {
    let mut listed: Vec<Conflict> = conflicts
        .into_iter()
        .flat_map(|(manager, fields)| {
            let manager = manager.to_string();
            fields.paths().into_iter().map(move |path| Conflict {
                manager: manager.clone(),
                path,
            })
        })
        .collect();
    listed.sort_by(|left, right| left.manager.cmp(&right.manager));
    listed
}

/// Whether a manager applies all that it applied last time, so that there is nothing to prune.
fn all_stays(last: &Entry<'_>, applied: &FieldSet<'_>, write: &Write<'_>) -> bool {
    last.fields.is_empty()
        || last.manager.api_version == write.api_version
            && last.fields.difference(applied).is_empty()
}

/// Removes what the manager applied last time and does not apply now, unless another manager
/// owns it too.
fn prune<'a>(
    merged: Value<'a>,
    others: &[Entry<'_>],
    applied: &FieldSet<'_>,
    last: &Entry<'_>,
    write: &Write<'_>,
) -> Value<'a> {
    let version = last.manager.api_version.as_str();
    let in_version = |object: &Value<'a>, version: &str| {
        if version == write.api_version {
            Some(object.clone())
        } else {
            write.versions.convert(object, version)
        }
    };
    let schema_of = |version: &str| {
        if version == write.api_version {
            Some(write.schema)
        } else {
            write.versions.schema(version)
        }
    };
    let (Some(schema), Some(merged_then)) = (schema_of(version), in_version(&merged, version))
    else {
        return merged;
    };
    let kind = Type::Resource(schema);
    let last_fields = typed::with_named_fields(Some(kind), last.fields.clone());
    let mut pruned = merged_then.clone();
    typed::remove(kind, &mut pruned, &last_fields);

    // What others own, or what is applied now, comes back: version by version.
    let mut versions: Vec<&str> = vec![version];
    for entry in others {
        if !versions.contains(&entry.manager.api_version.as_str()) {
            versions.push(&entry.manager.api_version);
        }
    }
    if !versions.contains(&write.api_version) {
        versions.push(write.api_version);
    }
    let mut at = version;
    for version in versions {
        let mut owned = FieldSet::default();
        for entry in others
            .iter()
            .filter(|entry| entry.manager.api_version == version)
        {
            owned = owned.union(entry.fields.clone().into_owned());
        }
        if version == write.api_version {
            owned = owned.union(applied.clone().into_owned());
        }
        let convert = |object: &Value<'a>| {
            if version == at {
                Some(object.clone())
            } else {
                write.versions.convert(object, version)
            }
        };
        let (Some(schema), Some(whole), Some(now)) = (
            schema_of(version),
            in_version(&merged, version),
            convert(&pruned),
        ) else {
            continue;
        };
        let kind = Type::Resource(schema);
        let named = |fields: FieldSet<'static>| typed::with_named_fields(Some(kind), fields);
        let kept = named(typed::fields_of(kind, &now).into_owned()).union(named(owned));
        let gone = named(typed::fields_of(kind, &whole).into_owned()).difference(&kept);
        pruned = whole;
        typed::remove(kind, &mut pruned, &gone);
        at = version;
    }

    // Only what this manager owned may go.
    let pruned_then = if at == version {
        Some(pruned)
    } else {
        write.versions.convert(&pruned, version)
    };
    let Some(pruned_then) = pruned_then else {
        return merged;
    };
    let named = |fields: FieldSet<'static>| typed::with_named_fields(Some(kind), fields);
    let whole = named(typed::fields_of(kind, &merged_then).into_owned());
    let kept = named(typed::fields_of(kind, &pruned_then).into_owned());
    let gone = whole.difference(&kept).intersection(&last_fields);
    let mut result = merged_then;
    typed::remove(kind, &mut result, &gone);
    if version == write.api_version {
        result
    } else {
        write
            .versions
            .convert(&result, write.api_version)
            .unwrap_or(merged)
    }
}

/// The paths that client-side apply owns: those it applied last and that are still so.
fn owned_by_client_side_apply(live: &Value<'_>, write: &Write<'_>) -> Option<Vec<String>> {
    let text = live
        .at(&["metadata", "annotations", LAST_APPLIED])?
        .as_str()?;
    let last = parse(text.as_bytes()).ok()?.value;
    if last.get("apiVersion").and_then(Value::as_str) != Some(write.api_version) {
        return None;
    }
    let kind = Type::Resource(write.schema);
    let comparison = typed::compare(kind, &last, live);
    let owned = typed::fields_of(kind, &last)
        .difference(&comparison.modified)
        .difference(&comparison.added)
        .difference(&comparison.removed);
    Some(owned.paths())
}

/// Keeps the annotation of client-side apply, where it is, equal to what was applied.
fn refresh_last_applied<'a>(object: &mut Value<'a>, patch: &Value<'a>) {
    let Some(place) = object.at_mut(&["metadata", "annotations", LAST_APPLIED]) else {
        return;
    };
    let mut applied = patch.clone();
    if let Some(annotations) = applied
        .at_mut(&["metadata", "annotations"])
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    *place = Value::String(Cow::Owned(format!("{applied}\n")));
}

#[cfg(test)]
mod tests;
