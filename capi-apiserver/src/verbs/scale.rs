//! The scale subresource: `autoscaling/v1` `Scale` of an object, by the paths of its definition.

use crate::{
    json::{self, Object, Value},
    object, patch as patches,
    registry::Scale,
    reply::Reply,
    server::{Call, Server},
    status::{Cause, Status},
};

use super::{fields, read, shape, update};

pub(crate) fn answer(server: &Server, call: &Call<'_>, scale: &Scale) -> Result<Reply, Status> {
    match call.request.method.as_str() {
        "GET" | "HEAD" => {
            let stored = server
                .store
                .get(call.resource.collection, &call.key())
                .ok_or_else(|| call.not_found())?;
            show(call, scale, &stored.bytes, Vec::new())
        }
        "PUT" | "PATCH" => server.write(|| change(call, scale)),
        _ => Err(Status::method_not_allowed()),
    }
}

fn at<'v, 'a>(object: &'v Value<'a>, path: &[String]) -> Option<&'v Value<'a>> {
    path.iter().try_fold(object, |value, name| value.get(name))
}

fn view(scale: &Scale, object: &Value<'_>) -> Value<'static> {
    let replicas = at(object, &scale.spec_replicas)
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let mut metadata = Object::new();
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object.at(&["metadata", field]) {
            metadata.insert(field, value.clone().into_owned());
        }
    }
    let mut spec = Object::new();
    spec.insert("replicas", replicas);
    let mut status = Object::new();
    status.insert(
        "replicas",
        at(object, &scale.status_replicas)
            .and_then(Value::as_i64)
            .unwrap_or(0),
    );
    let selector = scale
        .label_selector
        .as_ref()
        .and_then(|path| at(object, path))
        .and_then(Value::as_str);
    if let Some(selector) = selector {
        status.insert("selector", selector.to_owned());
    }
    let mut view = Object::new();
    view.insert("kind", "Scale");
    view.insert("apiVersion", "autoscaling/v1");
    view.insert("metadata", metadata);
    view.insert("spec", spec);
    view.insert("status", status);
    Value::Object(view)
}

fn show(
    call: &Call<'_>,
    scale: &Scale,
    bytes: &[u8],
    warnings: Vec<String>,
) -> Result<Reply, Status> {
    let bytes = shape::to_version(call, bytes)?;
    let object = json::parse(&bytes)
        .map_err(|error| Status::internal(error.to_string()))?
        .value;
    let mut reply = read::finish(call, 200, view(scale, &object).to_vec().into());
    reply.warnings = warnings;
    Ok(reply)
}

fn change(call: &Call<'_>, scale: &Scale) -> Result<Reply, Status> {
    let key = call.key();
    let stored = call
        .server
        .store
        .get(call.resource.collection, &key)
        .ok_or_else(|| call.not_found())?;
    let bytes = shape::to_version(call, &stored.bytes)?;
    let old = json::parse(&bytes)
        .map_err(|error| Status::internal(error.to_string()))?
        .value;
    let wanted = if call.request.method == http::Method::PUT {
        shape::decode("Scale", &call.request.content_type, &call.request.body)?
            .0
            .into_owned()
    } else {
        patched(call, view(scale, &old))?
    };
    let kind = wanted
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or("Scale");
    if kind != "Scale" {
        return Err(Status::bad_request(format!(
            "wrong object passed to Scale update: {kind}"
        )));
    }
    let name = object::name(&wanted);
    if name != call.path.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.path.name
        )));
    }
    let replicas = wanted
        .at(&["spec", "replicas"])
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let mut new = old.clone();
    set(&mut new, &scale.spec_replicas, replicas);
    let version = object::text(&wanted, "resourceVersion").to_owned();
    if !version.is_empty() {
        new.set_at(&["metadata", "resourceVersion"], version);
    }
    let reply = update::change(
        call,
        &key,
        &stored,
        &old,
        new,
        Vec::new(),
        fields::Writer::Update,
    )?;
    let bytes = call
        .server
        .store
        .get(call.resource.collection, &key)
        .map_or(stored.bytes, |stored| stored.bytes);
    show(call, scale, &bytes, reply.warnings)
}

/// Faults of the counts that the scale subresource shows.
pub(crate) fn validate(call: &Call<'_>, object: &Value<'_>) -> Option<Cause> {
    let path = &call.version().scale.as_ref()?.spec_replicas;
    if let Some(value) = at(object, path)
        && value.as_i64().is_none()
        && !value.is_null()
    {
        let name = format!(".{}", path.join("."));
        let message = format!(
            "Invalid value: 0: {name} accessor error: {} is of the type {}, expected int64",
            json::Go(value),
            json::Go(value).type_name()
        );
        return Some(Cause::new("FieldValueInvalid", name, message));
    }
    let replicas = at(object, path)
        .and_then(Value::as_i64)
        .filter(|replicas| *replicas < 0)?;
    Some(Cause::new(
        "FieldValueInvalid",
        format!(".{}", path.join(".")),
        format!("Invalid value: {replicas}: should be a non-negative integer"),
    ))
}

fn set(object: &mut Value<'_>, path: &[String], replicas: i64) {
    let mut place = object;
    for name in path {
        if !matches!(place, Value::Object(_)) {
            *place = Value::Object(Object::new());
        }
        let Value::Object(object) = place else { return };
        place = object.entry(name.clone());
    }
    *place = Value::from(replicas);
}

fn patched(call: &Call<'_>, view: Value<'static>) -> Result<Value<'static>, Status> {
    let mut view = view;
    let body = &call.request.body;
    match shape::media_type(&call.request.content_type) {
        super::patch::MERGE_PATCH | super::patch::STRATEGIC_MERGE_PATCH => {
            let patch = json::parse(body)
                .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
            patches::merge::merge(&mut view, patch.value.into_owned());
        }
        super::patch::JSON_PATCH => {
            let mut patched: Value<'_> = view;
            patches::json_patch::apply(&mut patched, body).map_err(super::patch::refused)?;
            view = patched.into_owned();
        }
        _ => {
            return Err(Status::unsupported_media_type(&[
                super::patch::JSON_PATCH,
                super::patch::MERGE_PATCH,
                super::patch::APPLY_YAML,
            ]));
        }
    }
    Ok(view)
}
