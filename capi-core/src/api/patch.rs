//! Changes of objects that somebody else wrote, so that fields we do not know survive.
//!
//! A typed view of an object lacks what a newer version or another controller put there. Writing the
//! view back would erase it. Instead: read the object, read the view from it, change the view, and
//! send what differs between the view before and after as a merge patch of the object.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::convert::merge::is_zero;

/// The JSON merge patch (RFC 7386) that makes `after` of `before`; `None` when they are equal.
///
/// A merge patch replaces lists whole, and cannot set a field to `null`: such a field is removed.
#[must_use]
pub fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        _ if before == after => None,
        (Value::Object(before), Value::Object(after)) => {
            let removed = before.keys().filter(|name| !after.contains_key(*name));
            let mut patch: Map<String, Value> =
                removed.map(|name| (name.clone(), Value::Null)).collect();
            for (name, value) in after {
                match before.get(name) {
                    Some(old) => {
                        patch.extend(merge_patch(old, value).map(|value| (name.clone(), value)));
                    }
                    None => {
                        patch.insert(name.clone(), value.clone());
                    }
                }
            }
            Some(patch.into())
        }
        _ => Some(after.clone()),
    }
}

/// Applies a JSON merge patch (RFC 7386).
pub fn apply_merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Map::new().into();
    }
    let Value::Object(target) = target else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            apply_merge_patch(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The merge patch of the object `live` for what was changed in a typed view of it.
///
/// Fields that the view does not know stay, also within the entries of lists that have names or did
/// not change their number, and so do named entries that `live` has beyond `before`. `None` when
/// nothing is to be written. A patch that holds a list belongs with the resourceVersion of `live`.
///
/// # Errors
///
/// When a view cannot be written as JSON.
pub fn merge_patch_of<T: Serialize>(
    live: &Value,
    before: &T,
    after: &T,
) -> Result<Option<Value>, serde_json::Error> {
    let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(after)?);
    let mut changed = live.clone();
    take_changes(&mut changed, &before, &after, Unset::Absent);
    Ok(merge_patch(live, &changed))
}

/// What counts as "not set".
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Unset {
    /// An absent field.
    Absent,
    /// Also `false`, 0 and empty: of versions that do not tell them from absent.
    ZeroToo,
}

/// Puts into `target` what differs between `before` and `after`.
///
/// Lists are compared by the names of their entries, else entry by entry when they have the same
/// length; others are taken whole.
pub(super) fn take_changes(target: &mut Value, before: &Value, after: &Value, unset: Unset) {
    match (&mut *target, before, after) {
        _ if before == after => {}
        (Value::Object(target), Value::Object(before), Value::Object(after)) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                match (before.get(name), after.get(name)) {
                    (old, Some(new)) if old != Some(new) => {
                        put_change(target, name, old, new, unset);
                    }
                    (Some(old), None) if unset == Unset::Absent || !is_zero(old) => {
                        remove_change(target, name, old, unset);
                    }
                    _ => {}
                }
            }
        }
        (Value::Array(target), Value::Array(before), Value::Array(after)) => {
            if let Some(key) = key_of(&[target, before, after]) {
                *target = merge_named(key, target, before, after, unset);
            } else if before.len() == after.len() && target.len() == after.len() {
                for ((target, before), after) in target.iter_mut().zip(before).zip(after) {
                    take_changes(target, before, after, unset);
                }
            } else {
                target.clone_from(after);
            }
        }
        _ => *target = after.clone(),
    }
}

fn put_change(
    target: &mut Map<String, Value>,
    name: &str,
    old: Option<&Value>,
    new: &Value,
    unset: Unset,
) {
    let place = target.entry(name.to_owned()).or_insert(Value::Null);
    match old {
        Some(old) => take_changes(place, old, new, unset),
        None if place.is_object() && new.is_object() => {
            take_changes(place, &Value::Object(Map::new()), new, unset);
        }
        None if unset == Unset::ZeroToo && is_zero(new) && !place.is_null() => {}
        None => *place = new.clone(),
    }
}

/// Removes what `old` had; what it did not have stays.
fn remove_change(target: &mut Map<String, Value>, name: &str, old: &Value, unset: Unset) {
    let emptied = match target.get_mut(name) {
        Some(place @ Value::Object(_)) if old.is_object() => {
            take_changes(place, old, &Value::Object(Map::new()), unset);
            place.as_object().is_some_and(Map::is_empty)
        }
        _ => true,
    };
    if emptied {
        target.remove(name);
    }
}

fn merge_named(
    key: &str,
    target: &[Value],
    before: &[Value],
    after: &[Value],
    unset: Unset,
) -> Vec<Value> {
    let find = |list: &[Value], entry: &Value| {
        list.iter()
            .find(|other| other.get(key) == entry.get(key))
            .cloned()
    };
    let mut merged: Vec<Value> = after
        .iter()
        .map(|after| match (find(target, after), find(before, after)) {
            (Some(mut entry), Some(before)) => {
                take_changes(&mut entry, &before, after, unset);
                entry
            }
            _ => after.clone(),
        })
        .collect();
    let foreign = |entry: &&Value| find(before, entry).is_none() && find(after, entry).is_none();
    merged.extend(target.iter().filter(foreign).cloned());
    merged
}

/// The field that names the entries of lists, each entry of a list another.
fn key_of(lists: &[&Vec<Value>]) -> Option<&'static str> {
    ["name", "type", "net", "zone", "conditionType", "key"]
        .into_iter()
        .find(|key| {
            lists.iter().all(|list| {
                let names: BTreeSet<&str> = list
                    .iter()
                    .filter_map(|entry| entry.get(key)?.as_str())
                    .collect();
                names.len() == list.len()
            })
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{apply_merge_patch, merge_patch, merge_patch_of};
    use crate::api::{ClusterSpec, ClusterStatus, Condition, ConditionStatus, FailureDomain};

    #[test]
    fn a_merge_patch_says_what_is_new_changed_and_gone() {
        let before = json!({ "a": 1, "b": { "c": 2, "d": 3 }, "e": [1], "f": null });
        let after = json!({ "a": 1, "b": { "c": 4 }, "e": [1, 2], "g": { "h": 5 } });
        let patch = merge_patch(&before, &after).expect("they differ");
        assert_eq!(
            patch,
            json!({ "b": { "c": 4, "d": null }, "e": [1, 2], "f": null, "g": { "h": 5 } })
        );
        let mut target = before;
        apply_merge_patch(&mut target, &patch);
        assert_eq!(target, after);
        assert_eq!(merge_patch(&after, &after), None);
    }

    #[test]
    fn a_merge_patch_names_only_what_changed() {
        for (before, after, expected) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"a": 2}), Some(json!({"a": 2}))),
            (
                json!({"a": 1, "b": 2}),
                json!({"b": 2}),
                Some(json!({"a": null})),
            ),
            (
                json!({"x": {"y": [1], "z": 1}}),
                json!({"x": {"y": [1, 2], "z": 1}}),
                Some(json!({"x": {"y": [1, 2]}})),
            ),
            (
                json!({}),
                json!({"n": {"m": 1}}),
                Some(json!({"n": {"m": 1}})),
            ),
            (
                json!({"a": 1, "b": {"c": [1], "d": 2}, "e": true}),
                json!({"a": 1, "b": {"c": [1, 2], "d": 2}, "f": {}}),
                Some(json!({"b": {"c": [1, 2]}, "e": null, "f": {}})),
            ),
        ] {
            assert_eq!(merge_patch(&before, &after), expected, "{before} {after}");
        }
    }

    #[test]
    fn unknown_fields_survive_a_read_modify_write_at_every_depth() {
        let live = json!({
            "zzz": 1,
            "paused": true,
            "clusterNetwork": { "zzz": 2, "serviceDomain": "a" },
            "topology": { "classRef": { "name": "c", "zzz": 3 }, "version": "v1.33.0" },
        });
        let before: ClusterSpec = serde_json::from_value(live.clone()).expect("the spec is read");
        let mut after = before.clone();
        after.paused = None;
        after.cluster_network.service_domain = None;
        after.topology = None;
        after.control_plane_endpoint.port = 6443;
        let patch = merge_patch_of(&live, &before, &after)
            .expect("views are JSON")
            .expect("something changed");
        let mut written = live;
        apply_merge_patch(&mut written, &patch);
        assert_eq!(
            written,
            json!({
                "zzz": 1,
                "clusterNetwork": { "zzz": 2 },
                "topology": { "classRef": { "zzz": 3 } },
                "controlPlaneEndpoint": { "port": 6443 },
            })
        );
    }

    #[test]
    fn unknown_fields_and_foreign_entries_of_a_named_list_survive() {
        let live = json!({
            "conditions": [
                { "type": "Foreign", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z", "zzz": 1 },
                { "type": "Ready", "status": "False", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z", "zzz": 2 },
            ],
            "failureDomains": [{ "name": "b" }],
        });
        // The view was read before the foreign condition was there.
        let mut before: ClusterStatus =
            serde_json::from_value(live.clone()).expect("the status is read");
        before.conditions.remove(0);
        let mut after = before.clone();
        after.conditions[0].status = ConditionStatus::True;
        after.conditions.insert(
            0,
            Condition {
                type_: "Available".into(),
                ..Condition::default()
            },
        );
        after.failure_domains.insert(
            0,
            FailureDomain {
                name: "a".into(),
                ..FailureDomain::default()
            },
        );
        let patch = merge_patch_of(&live, &before, &after)
            .expect("views are JSON")
            .expect("something changed");
        let mut written = live;
        apply_merge_patch(&mut written, &patch);
        let types: Vec<&Value> = written["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|condition| &condition["type"])
            .collect();
        assert_eq!(types, ["Available", "Ready", "Foreign"]);
        assert_eq!(written["conditions"][1]["status"], "True");
        assert_eq!(written["conditions"][1]["zzz"], 2);
        assert_eq!(written["conditions"][2]["zzz"], 1);
        assert_eq!(
            written["failureDomains"],
            json!([{ "name": "a" }, { "name": "b" }])
        );
    }

    #[test]
    fn nothing_is_written_when_the_view_did_not_change() {
        let live = json!({ "zzz": 1, "paused": false });
        let view: ClusterSpec = serde_json::from_value(live.clone()).expect("the spec is read");
        assert_eq!(
            merge_patch_of(&live, &view, &view).expect("views are JSON"),
            None
        );
    }

    #[test]
    fn a_zero_that_is_taken_away_is_removed() {
        let live = json!({ "paused": false });
        let before: ClusterSpec = serde_json::from_value(live.clone()).expect("the spec is read");
        let patch =
            merge_patch_of(&live, &before, &ClusterSpec::default()).expect("views are JSON");
        assert_eq!(patch, Some(json!({ "paused": null })));
    }
}
