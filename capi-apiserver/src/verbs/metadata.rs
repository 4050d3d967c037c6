//! Metadata of objects that are written: its types, its rules, what clients may change of it.

use crate::{
    json::{Object, Value},
    names,
    registry::Behaviour,
    server::Call,
    status::{Cause, Status},
};

/// Members of metadata and the JSON type they must have, with the type's name in messages.
const TYPES: [(&str, &str); 12] = [
    ("name", "string"),
    ("generateName", "string"),
    ("namespace", "string"),
    ("uid", "string"),
    ("resourceVersion", "string"),
    ("selfLink", "string"),
    ("labels", "map[string]string"),
    ("annotations", "map[string]string"),
    ("finalizers", "[]string"),
    ("ownerReferences", "[]v1.OwnerReference"),
    ("managedFields", "[]v1.ManagedFieldsEntry"),
    ("generation", "int64"),
];

/// Checks the JSON types of metadata, and removes nulls.
///
/// # Errors
/// 400 for the first member of the wrong type.
pub(crate) fn check_types(call: &Call<'_>, object: &mut Value<'_>) -> Result<(), Status> {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return Ok(());
    };
    metadata.retain(|_, value| !value.is_null());
    if let Some(fault) = type_fault(metadata) {
        return Err(Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: {fault}",
            call.kind(),
            call.version().version,
            call.kind()
        )));
    }
    Ok(())
}

/// What is said of the first member of metadata that has another JSON type than it should.
pub(super) fn type_fault(metadata: &Object<'_>) -> Option<String> {
    for (field, expected) in TYPES {
        let Some(value) = metadata.get(field).filter(|value| !value.is_null()) else {
            continue;
        };
        let fault = match (expected, value) {
            ("string", Value::String(_)) | ("int64", Value::Number(_)) => None,
            ("map[string]string", Value::Object(members)) => members
                .iter()
                .find(|(_, value)| !matches!(value, Value::String(_)))
                .map(|(_, value)| (super::shape::type_name(value), "string")),
            ("[]string", Value::Array(items)) => items
                .iter()
                .find(|value| !matches!(value, Value::String(_)))
                .map(|value| (super::shape::type_name(value), "string")),
            ("[]v1.OwnerReference" | "[]v1.ManagedFieldsEntry", Value::Array(items)) => items
                .iter()
                .find(|value| !matches!(value, Value::Object(_)))
                .map(|value| {
                    (
                        super::shape::type_name(value),
                        expected.trim_start_matches("[]"),
                    )
                }),
            (_, value) => Some((super::shape::type_name(value), expected)),
        };
        if let Some((found, expected)) = fault {
            return Some(format!(
                "json: cannot unmarshal {found} into Go struct field ObjectMeta.{field} of type {expected}"
            ));
        }
    }
    None
}

/// Checks that the body's namespace and name fit the URL's, and fills the namespace.
///
/// # Errors
/// 400 when they differ.
pub(crate) fn fit_path(call: &Call<'_>, object: &mut Value<'_>) -> Result<(), Status> {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return Ok(());
    };
    let given = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if call.resource.namespaced {
        if !given.is_empty() && given != call.path.namespace {
            return Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request".to_string()));
        }
        metadata.insert("namespace", call.path.namespace.clone());
    } else if !given.is_empty() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    } else {
        metadata.remove("namespace");
    }
    Ok(())
}

/// Members of metadata that a client tries to change although it cannot. The real server looks
/// twice.
pub(crate) fn immutable(new: &Value<'_>, old: &Value<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (given, kept) = (new.at(&["metadata", field]), old.at(&["metadata", field]));
        // The server fills in what a client leaves out, and keeps a deletion that has begun.
        let Some(given) = given.filter(|given| Some(*given) != kept) else {
            continue;
        };
        if field != "uid" && kept.is_some() {
            continue;
        }
        let shown = given
            .as_str()
            .map_or_else(|| given.to_string(), crate::schema::quote);
        let cause = Cause::new(
            "FieldValueInvalid",
            format!("metadata.{field}"),
            format!("Invalid value: {shown}: field is immutable"),
        );
        causes.extend([cause.clone(), cause]);
    }
    causes
}

/// Advice on finalizers that a custom resource newly has.
pub(crate) fn finalizer_warnings(
    call: &Call<'_>,
    object: &Value<'_>,
    old: Option<&Value<'_>>,
) -> Vec<String> {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    if !call.resource.is_custom() {
        return Vec::new();
    }
    let known: Vec<&str> = old
        .map(|old| crate::object::finalizers(old).collect())
        .unwrap_or_default();
    let mut fresh: Vec<&str> = crate::object::finalizers(object)
        .filter(|finalizer| !known.contains(finalizer))
        .collect();
    fresh.sort_unstable();
    let mut warnings = Vec::new();
    for finalizer in fresh
        .into_iter()
        .filter(|name| !name.contains('/') && !STANDARD.contains(name))
    {
        let path = if finalizer.contains('.') {
            " including a path (/)"
        } else {
            ""
        };
        warnings.push(format!(
            "metadata.finalizers: {}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers",
            crate::schema::quote(finalizer)
        ));
    }
    warnings
}

/// Faults of metadata.
pub(crate) fn validate(call: &Call<'_>, object: &Value<'_>, old: Option<&Value<'_>>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let Some(metadata) = object.get("metadata").and_then(Value::as_object) else {
        return causes;
    };
    if old.is_none() {
        name(call, metadata, &mut causes);
    }
    let before = old
        .and_then(|old| old.get("metadata"))
        .and_then(Value::as_object);
    let changed =
        |field: &str| before.is_none_or(|before| before.get(field) != metadata.get(field));
    if changed("labels") {
        labels(metadata, &mut causes);
    }
    if changed("annotations") {
        annotations(metadata, &mut causes);
    }
    if changed("ownerReferences") {
        owner_references(metadata, &mut causes);
    }
    // The real server looks at these three times when an object changes.
    let repeated = if old.is_some() {
        causes.clone()
    } else {
        Vec::new()
    };
    if changed("finalizers") {
        finalizers(metadata, before, &mut causes);
    }
    causes.extend(repeated.clone());
    causes.extend(repeated);
    causes
}

fn name(call: &Call<'_>, metadata: &Object<'_>, causes: &mut Vec<Cause>) {
    let name = metadata
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::new(
            "FieldValueRequired",
            "metadata.name",
            "Required value: name or generateName is required",
        ));
        return;
    }
    let why = match call.resource.behaviour {
        Behaviour::Namespace => names::label_error(name),
        _ => names::subdomain_error(name),
    };
    if let Some(why) = why {
        causes.push(Cause::new(
            "FieldValueInvalid",
            "metadata.name",
            format!("Invalid value: \"{name}\": {why}"),
        ));
    }
}

fn labels(metadata: &Object<'_>, causes: &mut Vec<Cause>) {
    let Some(labels) = metadata.get("labels").and_then(Value::as_object) else {
        return;
    };
    for (key, value) in labels.iter() {
        if let Some(why) = names::qualified_name_error(key) {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "metadata.labels",
                format!("Invalid value: \"{key}\": {why}"),
            ));
        }
        let value = value.as_str().unwrap_or_default();
        if let Some(why) = names::label_value_error(value) {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "metadata.labels",
                format!("Invalid value: \"{value}\": {why}"),
            ));
        }
    }
}

/// Largest size of all annotations together, in bytes.
const ANNOTATIONS: usize = 256 * 1024;

fn annotations(metadata: &Object<'_>, causes: &mut Vec<Cause>) {
    let Some(annotations) = metadata.get("annotations").and_then(Value::as_object) else {
        return;
    };
    let mut size = 0;
    for (key, value) in annotations.iter() {
        size += key.len() + value.as_str().map_or(0, str::len);
        if let Some(why) = names::qualified_name_error(&key.to_lowercase()) {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "metadata.annotations",
                format!("Invalid value: \"{key}\": {why}"),
            ));
        }
    }
    if size > ANNOTATIONS {
        causes.push(Cause::new(
            "FieldValueTooLong",
            "metadata.annotations",
            format!("Too long: may not be more than {ANNOTATIONS} bytes"),
        ));
    }
}

fn owner_references(metadata: &Object<'_>, causes: &mut Vec<Cause>) {
    let references = metadata
        .get("ownerReferences")
        .and_then(Value::as_array)
        .unwrap_or_default();
    let mut controller: Option<String> = None;
    for reference in references {
        let text = |field: &str| {
            reference
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        for (field, what) in [
            ("apiVersion", "version "),
            ("kind", ""),
            ("name", ""),
            ("uid", ""),
        ] {
            if text(field).is_empty() {
                causes.push(Cause::new(
                    "FieldValueInvalid",
                    format!("metadata.ownerReferences.{field}"),
                    format!("Invalid value: \"\": {what}must not be empty"),
                ));
            }
        }
        if reference.get("controller").and_then(Value::as_bool) != Some(true) {
            continue;
        }
        let name = format!("{}/{}", text("kind"), text("name"));
        if let Some(first) = &controller {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "metadata.ownerReferences",
                format!(
                    "Invalid value: {}: Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}",
                    shown(references)
                ),
            ));
        } else {
            controller = Some(name);
        }
    }
}

/// References as the real server shows them: members in the order of its type.
fn shown(references: &[Value<'_>]) -> Value<'static> {
    let ordered = references.iter().map(|reference| {
        let mut object = Object::new();
        for field in [
            "apiVersion",
            "kind",
            "name",
            "uid",
            "controller",
            "blockOwnerDeletion",
        ] {
            if let Some(value) = reference.get(field) {
                object.insert(field, value.clone().into_owned());
            }
        }
        Value::Object(object)
    });
    Value::Array(ordered.collect())
}

fn finalizers(metadata: &Object<'_>, before: Option<&Object<'_>>, causes: &mut Vec<Cause>) {
    let list = |metadata: &Object<'_>| -> Vec<String> {
        let items = metadata
            .get("finalizers")
            .and_then(Value::as_array)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let now = list(metadata);
    for finalizer in &now {
        if let Some(why) = names::qualified_name_error(finalizer) {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "metadata.finalizers",
                format!("Invalid value: \"{finalizer}\": {why}"),
            ));
        }
    }
    if let Some(before) = before
        && before.get("deletionTimestamp").is_some()
    {
        let known = list(before);
        let added: Vec<String> = now
            .iter()
            .filter(|finalizer| !known.contains(finalizer))
            .map(|finalizer| format!("{finalizer:?}"))
            .collect();
        if !added.is_empty() {
            causes.push(Cause::new(
                "FieldValueForbidden",
                "metadata.finalizers",
                format!(
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.join(", ")
                ),
            ));
        }
    }
}
