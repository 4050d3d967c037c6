//! From the body of a request to an object that may be stored: decoding, type, pruning,
//! defaulting, admission, validation. Decides about the object alone, not about what is stored.

use std::{borrow::Cow, sync::Arc};

use crate::{
    builtin,
    hooks::{Admission, AdmissionRequest, Operation},
    json::{self, Object, Value},
    request::{FieldValidation, protobuf},
    schema::{FieldError, FieldErrorKind, Path},
    server::Call,
    status::{Cause, Status},
};

/// The media type of a header, without parameters.
pub(crate) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Reads a body of JSON, YAML or protobuf, whichever its content type says; repeated fields are
/// reported.
pub(crate) fn decode<'b>(
    kind: &str,
    content_type: &str,
    body: &'b [u8],
) -> Result<(Value<'b>, Vec<String>), Status> {
    match media_type(content_type) {
        "" | "application/json" | "*/*" => {
            let document = json::parse(body).map_err(|error| {
                let why = format!("couldn't get version/kind; json parse error: {error}");
                unrecognized(kind, &why, body)
            })?;
            Ok((document.value, document.duplicates))
        }
        "application/yaml" => {
            let value = json::parse_yaml(body)
                .map_err(|error| unrecognized(kind, &error.to_string(), body))?;
            Ok((value, Vec::new()))
        }
        protobuf::MEDIA_TYPE => {
            let object = protobuf::decode(body).map_err(|why| unrecognized(kind, &why, body))?;
            Ok((object, Vec::new()))
        }
        _ => Err(Status::unsupported_media_type(&[
            "application/json",
            "application/yaml",
            protobuf::MEDIA_TYPE,
        ])),
    }
}

/// A body whose kind is not known, with its beginning.
fn unrecognized(kind: &str, why: &str, body: &[u8]) -> Status {
    let beginning = &body[..body.len().min(30)];
    let mut summary = match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(beginning).into_owned(),
        Some(_) => beginning.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if beginning.len() < body.len() {
        summary.push_str(" ...");
    }
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({summary})"
    ))
}

/// Checks and fills `apiVersion` and `kind`, and that the body is an object with metadata.
pub(crate) fn check_type(call: &Call<'_>, object: &mut Value<'_>) -> Result<(), Status> {
    let api_version = &call.version().api_version;
    let kind = call.kind();
    let Value::Object(members) = object else {
        let why = format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            type_name(object)
        );
        return Err(unrecognized(kind, &why, &call.request.body));
    };
    let given = |field: &str| {
        members
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (given_version, given_kind) = (given("apiVersion"), given("kind"));
    if call.resource.is_custom() {
        for (field, text) in [("Kind", &given_kind), ("apiVersion", &given_version)] {
            if text.is_empty() {
                let body = String::from_utf8_lossy(&call.request.body);
                let why = format!("Object '{field}' is missing in '{body}'");
                return Err(unrecognized(kind, &why, &call.request.body));
            }
        }
        if given_version == *api_version && given_kind != kind {
            let name = object_name(members);
            let cause = Cause::new(
                "FieldValueInvalid",
                "kind",
                format!("Invalid value: \"{given_kind}\": must be {kind}"),
            );
            return Err(Status::invalid(
                call.group(),
                &given_kind,
                &name,
                vec![cause],
            ));
        }
    }
    let wrong_version = !given_version.is_empty() && given_version != *api_version;
    let wrong_kind = !given_kind.is_empty() && given_kind != kind;
    if wrong_version || wrong_kind {
        let (group, version) = crate::registry::split_api_version(if wrong_version {
            &given_version
        } else {
            api_version
        });
        let found = if given_kind.is_empty() {
            kind
        } else {
            &given_kind
        };
        return Err(Status::bad_request(if wrong_version {
            format!(
                "the API version in the data ({given_version}) does not match the expected API version ({api_version})"
            )
        } else {
            let (expected_group, expected_version) =
                crate::registry::split_api_version(api_version);
            format!(
                "{found} in version \"{version}\" cannot be handled as a {kind}: converting ({group}.{found}) to ({expected_group}.{kind}): unknown conversion; expected {expected_version}"
            )
        }));
    }
    members.insert("apiVersion", api_version.clone());
    members.insert("kind", kind.to_owned());
    match members.get("metadata") {
        None | Some(Value::Null) => {
            members.insert("metadata", Object::new());
        }
        Some(Value::Object(_)) => {}
        Some(other) => {
            return Err(Status::bad_request(format!(
                "{kind} in version \"{}\" cannot be handled as a {kind}: json: cannot unmarshal {} into Go value of type v1.ObjectMeta",
                call.version().version,
                type_name(other)
            )));
        }
    }
    super::metadata::check_types(call, object)?;
    check_embedded(call, object)
}

/// Checks what the real server decodes of resources inside of the object: type and metadata.
fn check_embedded(call: &Call<'_>, object: &Value<'_>) -> Result<(), Status> {
    let mut first: Option<FieldError> = None;
    let mut fault = |path: Path<'_>, value: &Value<'_>, why: &str| {
        first.get_or_insert_with(|| FieldError::invalid(&path, value, why));
    };
    let schema = &call.version().schema;
    schema.visit_embedded(object, &Path::ROOT, &mut |path, inner| {
        for field in ["apiVersion", "kind"] {
            match inner.get(field) {
                None | Some(Value::String(_)) => {}
                Some(value) => fault(path.field(field), value, "must be a string"),
            }
        }
        match inner.get("metadata") {
            None | Some(Value::Null) => {}
            Some(value @ Value::Object(metadata)) => {
                if let Some(why) = super::metadata::type_fault(metadata) {
                    fault(path.field("metadata"), value, &why);
                }
            }
            Some(value) => {
                let found = type_name(value);
                let why =
                    format!("json: cannot unmarshal {found} into Go value of type v1.ObjectMeta");
                fault(path.field("metadata"), value, &why);
            }
        }
    });
    let Some(first) = first else { return Ok(()) };
    let kind = call.kind();
    Err(Status::bad_request(format!(
        "{kind} in version \"{}\" cannot be handled as a {kind}: {first}",
        call.version().version
    )))
}

fn object_name(members: &Object<'_>) -> String {
    let name = members
        .get("metadata")
        .and_then(|metadata| metadata.get("name"));
    name.and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(crate) fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Checks an applied configuration against the URL. Its version is checked when it is applied.
pub(crate) fn check_configuration(call: &Call<'_>, patch: &mut Value<'_>) -> Result<(), Status> {
    let Value::Object(members) = patch else {
        return Err(Status::bad_request(
            "error decoding YAML: the configuration is no object",
        ));
    };
    let text = |field: &str| {
        members
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if text("apiVersion").is_empty() {
        return Err(Status::bad_request(
            "Object 'apiVersion' is missing in the body of the request",
        ));
    }
    let kind = text("kind");
    if kind.is_empty() {
        return Err(Status::bad_request(
            "Object 'Kind' is missing in the body of the request",
        ));
    }
    if kind != call.kind() || text("apiVersion") != call.version().api_version {
        return Err(Status::bad_request(format!(
            "invalid object type: {}, Kind={kind}",
            text("apiVersion")
        )));
    }
    if !matches!(members.get("metadata"), Some(Value::Object(_))) {
        members.insert("metadata", Object::new());
    }
    super::metadata::check_types(call, patch)?;
    let name = crate::object::name(patch);
    if name.is_empty() {
        patch.set_at(&["metadata", "name"], call.path.name.clone());
    } else if name != call.path.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.path.name
        )));
    }
    super::metadata::fit_path(call, patch)
}

/// Prunes what the schema does not know and adds its defaults. Returns warnings.
///
/// # Errors
/// 400 for unknown or repeated fields under strict field validation.
pub(crate) fn prune_and_default<'v>(
    call: &'v Call<'_>,
    object: &mut Value<'v>,
    duplicates: &[String],
) -> Result<Vec<String>, Status> {
    let schema = &call.version().schema;
    let unknown = schema.prune(object);
    if call.resource.is_custom() {
        schema.default(object);
    } else {
        builtin::default(call, object);
    }
    report(call, &unknown, duplicates)
}

/// Warns of, or refuses, unknown and repeated fields.
pub(crate) fn report(
    call: &Call<'_>,
    unknown: &[String],
    duplicates: &[String],
) -> Result<Vec<String>, Status> {
    let validation = call.options.field_validation;
    if validation == FieldValidation::Ignore || (unknown.is_empty() && duplicates.is_empty()) {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = duplicates
        .iter()
        .map(|path| format!("duplicate field \"{path}\""))
        .chain(
            unknown
                .iter()
                .map(|path| format!("unknown field \"{path}\"")),
        )
        .collect();
    if validation == FieldValidation::Strict {
        return Err(Status::bad_request(strict_message(call, &texts)));
    }
    Ok(texts)
}

fn strict_message(call: &Call<'_>, texts: &[String]) -> String {
    let faults = texts.join(", ");
    if call.request.method == http::Method::PATCH {
        format!("strict decoding error: {faults}")
    } else {
        format!(
            "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {faults}",
            call.kind(),
            call.version().version,
            call.kind()
        )
    }
}

fn admission<'a>(
    call: &'a Call<'_>,
    operation: Operation,
    name: &'a str,
    old: Option<&'a Value<'a>>,
) -> AdmissionRequest<'a> {
    AdmissionRequest {
        operation,
        api_version: &call.version().api_version,
        kind: call.kind(),
        resource: call.plural(),
        subresource: &call.path.subresource,
        namespace: &call.path.namespace,
        name,
        user: &call.request.user,
        dry_run: call.options.dry_run,
        old,
        warnings: call.warnings,
        server: call.server,
    }
}

/// The hooks that are asked about the request.
pub(crate) fn hooks<'c>(call: &Call<'c>) -> impl Iterator<Item = &'c Arc<dyn Admission>> {
    let hooks = &call.server.hooks;
    let hooks = if hooks.admission.is_empty() {
        &[]
    } else {
        hooks.admission(&call.resource.qualified())
    };
    hooks
        .iter()
        .filter(|hook| hook.concerns(&call.path.subresource))
}

/// Asks the registered hooks to change the object.
pub(crate) fn mutate(
    call: &Call<'_>,
    operation: Operation,
    object: &mut Value<'_>,
    old: Option<&Value<'_>>,
) -> Result<(), Status> {
    for hook in hooks(call) {
        hook.mutate(&admission(call, operation, &call.path.name, old), object)?;
    }
    Ok(())
}

/// Asks the registered hooks to judge the object.
pub(crate) fn admit(
    call: &Call<'_>,
    operation: Operation,
    object: &Value<'_>,
    old: Option<&Value<'_>>,
) -> Result<(), Status> {
    for hook in hooks(call) {
        hook.validate(&admission(call, operation, &call.path.name, old), object)?;
    }
    Ok(())
}

/// Validates metadata and the object itself.
///
/// # Errors
/// 422 with a cause for each field at fault.
pub(crate) fn validate(
    call: &Call<'_>,
    object: &Value<'_>,
    old: Option<&Value<'_>>,
) -> Result<(), Status> {
    validate_with(call, object, old, Vec::new(), false)
}

/// Validates like [`validate`], and has something to say already; `judged` when the old object was
/// written under the definition of today.
pub(crate) fn validate_with(
    call: &Call<'_>,
    object: &Value<'_>,
    old: Option<&Value<'_>>,
    mut causes: Vec<Cause>,
    judged: bool,
) -> Result<(), Status> {
    causes.extend(super::metadata::validate(call, object, old));
    let schema = &call.version().schema;
    let errors = match old {
        Some(old) if call.path.subresource == "status" && call.resource.is_custom() => {
            schema.validate_status(object, old)
        }
        Some(old) => schema.validate_update(object, old),
        None => schema.validate(object),
    };
    if call.resource.is_custom() {
        causes.extend(errors.into_iter().map(cause));
        causes.extend(super::scale::validate(call, object));
        let blocked = causes
            .iter()
            .any(|cause| BLOCKING.contains(&cause.reason.as_str()));
        if !blocked {
            causes.extend(
                schema
                    .check_rules_from(object, old, judged)
                    .into_iter()
                    .map(cause),
            );
        } else if schema.has_rules() {
            causes.push(Cause::new("FieldValueInvalid", "<nil>", UNCHECKED));
        }
    } else {
        // Built-in kinds are decoded into types by the real server: what does not fit is no object.
        if let Some(error) = errors
            .iter()
            .find(|error| error.kind == FieldErrorKind::TypeInvalid)
        {
            let why = match error.message.split_once(" must be of type byte: ") {
                Some((_, text)) => {
                    format!("illegal base64 data at input byte {}", illegal_at(text))
                }
                None => format!("{}: {}", error.field, error.message),
            };
            return Err(Status::bad_request(format!(
                "{} in version \"{}\" cannot be handled as a {}: {why}",
                call.kind(),
                call.version().version,
                call.kind(),
            )));
        }
        causes.extend(errors.into_iter().map(cause));
        causes.extend(builtin::validate(call, object, old));
    }
    if causes.is_empty() {
        return Ok(());
    }
    let name = crate::object::name(object);
    Err(Status::invalid(call.group(), call.kind(), name, causes))
}

/// Whether an object that is written as it was needs no judgement: it was judged by the definition of
/// today, no rule compares it with itself, and no hook is there to change it.
pub(crate) fn stays_valid(call: &Call<'_>, stored: &crate::storage::Stored) -> bool {
    call.resource.is_custom()
        && call.version().api_version == call.resource.storage_api_version
        && stored.version > call.resource.since
        && !call.version().schema.compares_with_before()
        && hooks(call).next().is_none()
}

/// Faults beside which rules are not run.
const BLOCKING: [&str; 5] = [
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueNotSupported",
    "FieldValueTypeInvalid",
];
const UNCHECKED: &str = "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// Where text in quotes stops to be base64.
fn illegal_at(quoted: &str) -> usize {
    let text = quoted.trim_matches('"');
    let is_legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.bytes().take_while(|byte| is_legal(byte)).count()
}

pub(crate) fn cause(error: FieldError) -> Cause {
    Cause::new(error.kind.reason(), error.field, error.message)
}

/// A stored object in the version of the request.
///
/// # Errors
/// 500 when the registered conversion fails.
pub(crate) fn to_version<'b>(call: &Call<'_>, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, Status> {
    convert(
        call.server,
        &call.resource,
        bytes,
        &call.version().api_version,
    )
}

/// An object of a resource in another version.
///
/// # Errors
/// 500 when the registered conversion fails.
pub(crate) fn convert<'b>(
    server: &crate::server::Server,
    resource: &crate::registry::Resource,
    bytes: &'b [u8],
    to: &str,
) -> Result<Cow<'b, [u8]>, Status> {
    let from = crate::peek::at(bytes, &["apiVersion"])
        .and_then(crate::peek::plain_string)
        .unwrap_or_default();
    if from == to {
        return Ok(Cow::Borrowed(bytes));
    }
    if resource.behaviour == crate::registry::Behaviour::Event {
        return builtin::event::convert(bytes, to).map(Cow::Owned);
    }
    match server.hooks.conversion.get(&resource.qualified()) {
        Some(hook) => hook.convert(bytes, to).map(Cow::Owned).map_err(|why| {
            Status::internal(format!(
                "conversion of {} from {from} to {to} failed: {why}",
                resource.names.kind
            ))
        }),
        None => {
            let mut object = json::parse(bytes)
                .map_err(|error| Status::internal(error.to_string()))?
                .value;
            object.set_at(&["apiVersion"], to.to_owned());
            Ok(Cow::Owned(object.to_vec()))
        }
    }
}
