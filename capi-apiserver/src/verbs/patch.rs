//! PATCH of an object: the patch types, each computed on the stored object.

use crate::{
    json::{self, Value},
    patch as patches,
    reply::Reply,
    server::Call,
    status::{Cause, Status},
};

use super::{fields, shape, update};

pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY_YAML: &str = "application/apply-patch+yaml";

pub(crate) fn patch(call: &Call<'_>) -> Result<Reply, Status> {
    let media_type = shape::media_type(&call.request.content_type);
    if media_type == APPLY_YAML {
        return apply(call);
    }
    let custom = call.resource.is_custom();
    if !matches!(media_type, JSON_PATCH | MERGE_PATCH)
        && (custom || media_type != STRATEGIC_MERGE_PATCH)
    {
        return Err(Status::unsupported_media_type(if custom {
            &[JSON_PATCH, MERGE_PATCH, APPLY_YAML]
        } else {
            &[JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_YAML]
        }));
    }
    if call.options.force {
        let cause = Cause::new(
            "FieldValueForbidden",
            "force",
            "Forbidden: may not be specified for non-apply patch",
        );
        return Err(Status::invalid(
            "meta.k8s.io",
            "PatchOptions",
            "",
            vec![cause],
        ));
    }
    let key = call.key();
    let Some(stored) = call.server.store.get(call.resource.collection, &key) else {
        return Err(call.not_found());
    };
    let encoded = shape::to_version(call, &stored.bytes)?;
    let old = json::parse(&encoded)
        .map_err(|error| Status::internal(error.to_string()))?
        .value;
    let mut new = old.clone();
    let duplicates = apply_patch(call, &mut new)?;
    let name = crate::object::name(&new).to_owned();
    if call.resource.is_custom() {
        check_patched(call, &new)?;
    }
    shape::check_type(call, &mut new).map_err(|status| unfit(call, &old, &status))?;
    if name != call.path.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.path.name
        )));
    }
    super::metadata::fit_path(call, &mut new)?;
    let warnings = shape::prune_and_default(call, &mut new, &duplicates)
        .map_err(|status| unfit(call, &old, &status))?;
    update::change(
        call,
        &key,
        &stored,
        &old,
        new,
        warnings,
        fields::Writer::Update,
    )
}

/// A patch may not make an object of another type.
fn check_patched(call: &Call<'_>, new: &Value<'_>) -> Result<(), Status> {
    let text = |name: &str| new.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut causes = Vec::new();
    for (field, expected) in [
        ("apiVersion", call.version().api_version.as_str()),
        ("kind", call.kind()),
    ] {
        let given = text(field);
        if !given.is_empty() && given != expected {
            causes.push(Cause::new(
                "FieldValueInvalid",
                field,
                format!("Invalid value: \"{given}\": must be {expected}"),
            ));
        }
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(
        call.group(),
        text("kind"),
        &call.path.name,
        causes,
    ))
}

/// A decoding fault without what it was decoded for.
fn reason(message: &str) -> &str {
    message
        .split_once(" cannot be handled as a ")
        .and_then(|(_, rest)| rest.split_once(": "))
        .map_or(message, |(_, why)| why)
}

/// What upstream says when a patched object cannot be decoded: it shows all of it.
fn unfit(call: &Call<'_>, old: &Value<'_>, why: &Status) -> Status {
    let mut new = old.clone();
    if let Err(status) = apply_patch(call, &mut new) {
        return status;
    }
    let shown = crate::schema::quote(&new.to_sorted_string());
    let cause = Cause::new(
        "FieldValueInvalid",
        "patch",
        format!("Invalid value: {shown}: {}", reason(why.message())),
    );
    Status::invalid("", "", "", vec![cause])
}

/// Server-side apply: creates the object when it is not there.
fn apply(call: &Call<'_>) -> Result<Reply, Status> {
    if call.options.field_manager.is_none() {
        let cause = Cause::new(
            "FieldValueRequired",
            "fieldManager",
            "Required value: is required for apply patch",
        );
        return Err(Status::invalid(
            "meta.k8s.io",
            "PatchOptions",
            "",
            vec![cause],
        ));
    }
    let (mut patch, duplicates) = read_configuration(&call.request.body)?;
    shape::check_configuration(call, &mut patch)?;
    let key = call.key();
    let stored = call.server.store.get(call.resource.collection, &key);
    let Some(stored) = stored else {
        let uid = crate::object::uid(&patch);
        if !uid.is_empty() {
            return Err(Status::conflict(
                call.group(),
                call.plural(),
                &call.path.name,
                format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                ),
            ));
        }
        if !call.path.subresource.is_empty() {
            return Err(call.not_found());
        }
        let warnings = shape::report(call, &[], &duplicates)?;
        let mut object = fields::apply(call, None, &patch)?.object;
        shape::prune_and_default(call, &mut object, &[])?;
        return super::create::insert(call, object, warnings, fields::Writer::Applied);
    };
    let warnings = shape::report(call, &[], &duplicates)?;
    let encoded = shape::to_version(call, &stored.bytes)?;
    let old = json::parse(&encoded)
        .map_err(|error| Status::internal(error.to_string()))?
        .value;
    let mut new = fields::apply(call, Some(&old), &patch)?.object;
    if fields::same(&old, &new) && shape::stays_valid(call, &stored) {
        return super::commit::answer(call, 200, stored.bytes.clone(), warnings);
    }
    shape::prune_and_default(call, &mut new, &[])?;
    update::change(
        call,
        &key,
        &stored,
        &old,
        new,
        warnings,
        fields::Writer::Applied,
    )
}

/// An applied configuration is JSON or YAML, whatever its content type says.
fn read_configuration(body: &[u8]) -> Result<(Value<'_>, Vec<String>), Status> {
    match json::parse(body) {
        Ok(document) => Ok((document.value, document.duplicates)),
        Err(_) => json::parse_yaml(body)
            .map(|value| (value, Vec::new()))
            .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}"))),
    }
}

fn apply_patch<'v>(call: &'v Call<'_>, object: &mut Value<'v>) -> Result<Vec<String>, Status> {
    let body = &call.request.body;
    let media_type = shape::media_type(&call.request.content_type);
    if media_type == JSON_PATCH {
        patches::json_patch::apply(object, body).map_err(refused)?;
        return Ok(Vec::new());
    }
    let document = json::parse(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if document.value.as_object().is_none() {
        return Err(Status::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            shape::type_name(&document.value)
        )));
    }
    if media_type == STRATEGIC_MERGE_PATCH {
        patches::strategic::merge(Some(&call.version().schema), object, document.value)
            .map_err(refused)?;
    } else {
        patches::merge::merge(object, document.value);
    }
    Ok(document.duplicates)
}

pub(crate) fn refused(error: patches::PatchError) -> Status {
    match error {
        patches::PatchError::Malformed(message) => Status::bad_request(message),
        patches::PatchError::TooLarge(message) => {
            Status::new(413, "RequestEntityTooLarge", message)
        }
        patches::PatchError::DoesNotApply => Status::new(422, "Invalid", error.to_string())
            .with_details(crate::status::Details::default()),
    }
}
