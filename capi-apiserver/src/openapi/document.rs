//! The documents themselves: definitions of kinds, and paths with the parameters by which
//! clients find out what the server can do.

use std::collections::BTreeSet;

use super::builtin;
use crate::json::{Object, Value};

/// A resource, as far as documents describe it.
#[derive(Debug, Clone, Copy)]
pub struct Described<'r> {
    /// The group, empty for the core group.
    pub group: &'r str,
    /// The version.
    pub version: &'r str,
    /// The kind.
    pub kind: &'r str,
    /// The name in paths.
    pub plural: &'r str,
    /// Whether objects are in namespaces.
    pub namespaced: bool,
    /// Whether objects are only answered and never stored.
    pub create_only: bool,
    /// Whether there is a status subresource.
    pub status: bool,
    /// Whether there is a scale subresource.
    pub scale: bool,
    /// The `openAPIV3Schema` of a custom resource; `None` for a built-in one, and for a custom
    /// resource that says nothing.
    pub schema: Option<&'r Value<'r>>,
}

/// Which of the two forms of OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    V2,
    V3,
}

const V3_PREFIX: &str = "#/components/schemas/";
const V2_PREFIX: &str = "#/definitions/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

fn object<'a, const N: usize>(members: [(&'static str, Value<'a>); N]) -> Value<'a> {
    let mut object = Object::with_capacity(N);
    for (name, value) in members {
        object.push(name, value);
    }
    Value::Object(object)
}

fn text(text: &str) -> Value<'static> {
    Value::from(text.to_owned())
}

/// The document of version 3 for one group and version.
#[must_use]
pub fn v3(group: &str, version: &str, resources: &[Described<'_>]) -> Value<'static> {
    let here: Vec<Described<'_>> = resources
        .iter()
        .filter(|resource| resource.group == group && resource.version == version)
        .copied()
        .collect();
    object([
        ("openapi", text("3.0.0")),
        (
            "info",
            object([("title", text("Kubernetes")), ("version", text("v1.36.0"))]),
        ),
        ("paths", paths(Form::V3, &here)),
        (
            "components",
            object([("schemas", definitions(Form::V3, &here))]),
        ),
    ])
}

/// The document of version 2, for everything.
#[must_use]
pub fn v2(resources: &[Described<'_>]) -> Value<'static> {
    object([
        ("swagger", text("2.0")),
        (
            "info",
            object([("title", text("Kubernetes")), ("version", text("v1.36.0"))]),
        ),
        ("paths", paths(Form::V2, resources)),
        ("definitions", definitions(Form::V2, resources)),
    ])
}

/// The name of a kind's definition: the group's labels reversed, the version and the kind.
fn definition_name(resource: &Described<'_>) -> String {
    if let Some(name) = builtin::name_of(resource.group, resource.version, resource.kind) {
        return name.to_owned();
    }
    let group: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), resource.version, resource.kind)
}

fn reference(form: Form, name: &str) -> Value<'static> {
    let prefix = if form == Form::V3 {
        V3_PREFIX
    } else {
        V2_PREFIX
    };
    object([("$ref", Value::from(format!("{prefix}{name}")))])
}

fn described_reference(form: Form, name: &str, description: &str) -> Value<'static> {
    let Value::Object(target) = reference(form, name) else {
        return Value::Null;
    };
    let mut whole = Object::new();
    whole.push("description", text(description));
    match form {
        Form::V3 => whole.push("allOf", Value::Array(vec![Value::Object(target)])),
        Form::V2 => {
            for (name, value) in target {
                whole.push(name, value);
            }
        }
    }
    Value::Object(whole)
}

fn definitions(form: Form, resources: &[Described<'_>]) -> Value<'static> {
    let mut wanted: BTreeSet<String> = [
        "DeleteOptions",
        "ListMeta",
        "ObjectMeta",
        "Patch",
        "Status",
        "WatchEvent",
    ]
    .iter()
    .map(|name| format!("{META}.{name}"))
    .collect();
    let mut all: Vec<(String, Value<'static>)> = Vec::new();
    for resource in resources {
        let name = definition_name(resource);
        if builtin::definition(&name).is_some() {
            let list = format!("{name}List");
            if builtin::definition(&list).is_some() {
                wanted.insert(list);
            }
            wanted.insert(name);
        } else {
            all.push((
                format!("{name}List"),
                list_definition(form, resource, &name),
            ));
            all.push((name, custom_definition(form, resource)));
        }
        if resource.scale {
            wanted.insert("io.k8s.api.autoscaling.v1.Scale".to_owned());
        }
        if resource.kind == "Pod" {
            wanted.insert("io.k8s.api.policy.v1.Eviction".to_owned());
        }
    }
    let mut pending: Vec<String> = wanted.iter().cloned().collect();
    while let Some(name) = pending.pop() {
        let Some(definition) = builtin::definition(&name) else {
            continue;
        };
        collect_references(definition, &mut |found| {
            if wanted.insert(found.to_owned()) {
                pending.push(found.to_owned());
            }
        });
    }
    for name in wanted {
        if let Some(definition) = builtin::definition(&name) {
            all.push((name, converted(form, definition)));
        }
    }
    all.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut object = Object::with_capacity(all.len());
    for (name, definition) in all {
        object.push(name, definition);
    }
    Value::Object(object)
}

fn collect_references(value: &Value<'_>, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(object) => {
            object
                .iter()
                .for_each(|(name, member)| match (name, member.as_str()) {
                    ("$ref", Some(target)) => target
                        .strip_prefix(V3_PREFIX)
                        .into_iter()
                        .for_each(&mut *found),
                    _ => collect_references(member, found),
                });
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

fn kinds(group: &str, version: &str, kind: &str) -> Value<'static> {
    Value::Array(vec![kind_of(group, version, kind)])
}

fn kind_of(group: &str, version: &str, kind: &str) -> Value<'static> {
    object([
        ("group", text(group)),
        ("kind", text(kind)),
        ("version", text(version)),
    ])
}

/// What every resource has besides what its schema says.
fn type_and_metadata(form: Form) -> [(&'static str, Value<'static>); 3] {
    [
        (
            "apiVersion",
            object([
                (
                    "description",
                    text("The version of the schema of this object."),
                ),
                ("type", text("string")),
            ]),
        ),
        (
            "kind",
            object([
                ("description", text("The kind of this object.")),
                ("type", text("string")),
            ]),
        ),
        (
            "metadata",
            described_reference(
                form,
                &format!("{META}.ObjectMeta"),
                "The object's metadata.",
            ),
        ),
    ]
}

/// A schema whose embedded resources have a type, which they must, and metadata.
fn with_embedded(schema: &Value<'_>) -> Value<'static> {
    let Value::Object(members) = schema else {
        return schema.clone().into_owned();
    };
    let mut whole = Object::with_capacity(members.len() + 2);
    for (name, member) in members.iter() {
        let member = match (name, member) {
            ("properties", Value::Object(properties)) => properties
                .iter()
                .map(|(name, property)| (name.to_owned().into(), with_embedded(property)))
                .collect::<Object<'static>>()
                .into(),
            ("items" | "additionalProperties", schema) => with_embedded(schema),
            (_, member) => member.clone().into_owned(),
        };
        whole.push(name.to_owned(), member);
    }
    let flag = whole.get("x-kubernetes-embedded-resource");
    if flag.and_then(Value::as_bool) != Some(true) {
        return Value::Object(whole);
    }
    let mut required = match whole.remove("required") {
        Some(Value::Array(names)) => names,
        _ => Vec::new(),
    };
    for name in ["apiVersion", "kind"] {
        if !required.iter().any(|known| known.as_str() == Some(name)) {
            required.push(text(name));
        }
    }
    whole.push("required", Value::Array(required));
    let place = whole.entry("properties");
    if !matches!(place, Value::Object(_)) {
        *place = Value::Object(Object::new());
    }
    if let Value::Object(properties) = place {
        for (name, property) in type_and_metadata(Form::V3) {
            properties.insert(name, property);
        }
    }
    Value::Object(whole)
}

fn custom_definition(form: Form, resource: &Described<'_>) -> Value<'static> {
    let mut definition = match resource
        .schema
        .map(|schema| converted(form, &with_embedded(schema)))
    {
        Some(Value::Object(definition)) => definition,
        _ => {
            let mut definition = Object::new();
            definition.push("type", text("object"));
            definition.push("x-kubernetes-preserve-unknown-fields", Value::Bool(true));
            definition
        }
    };
    if let Value::Object(properties) = definition.entry("properties")
        && !properties.is_empty()
    {
        for (name, property) in type_and_metadata(form) {
            properties.insert(name, property);
        }
    } else {
        definition.insert("properties", object(type_and_metadata(form)));
    }
    definition.insert(
        "x-kubernetes-group-version-kind",
        kinds(resource.group, resource.version, resource.kind),
    );
    Value::Object(definition)
}

fn list_definition(form: Form, resource: &Described<'_>, name: &str) -> Value<'static> {
    let list = format!("{}List", resource.kind);
    object([
        (
            "description",
            Value::from(format!("{list} is a list of {}", resource.kind)),
        ),
        ("type", text("object")),
        ("required", Value::Array(vec![text("items")])),
        (
            "properties",
            object([
                ("apiVersion", object([("type", text("string"))])),
                (
                    "items",
                    object([("type", text("array")), ("items", reference(form, name))]),
                ),
                ("kind", object([("type", text("string"))])),
                (
                    "metadata",
                    described_reference(form, &format!("{META}.ListMeta"), "The list's metadata."),
                ),
            ]),
        ),
        (
            "x-kubernetes-group-version-kind",
            kinds(resource.group, resource.version, &list),
        ),
    ])
}

/// A schema in a form. Version 2 has no alternatives, no null and no schema of several types, so
/// what has them says nothing there.
fn converted(form: Form, schema: &Value<'_>) -> Value<'static> {
    if form == Form::V3 {
        return schema.clone().into_owned();
    }
    match schema {
        Value::Object(members) => {
            let has = |name: &str| members.get(name).and_then(Value::as_bool) == Some(true);
            let is_open = has("nullable") || has("x-kubernetes-int-or-string");
            let single = match members.get("allOf") {
                Some(Value::Array(items)) if items.len() == 1 => items[0].get("$ref"),
                _ => None,
            };
            let mut whole = Object::with_capacity(members.len());
            if let Some(target) = single {
                whole.push("$ref", v2_reference(target));
            }
            for (name, member) in members.iter() {
                match (name, member) {
                    ("nullable" | "oneOf" | "anyOf" | "not", _) => {}
                    ("allOf", _) if single.is_some() => {}
                    ("type" | "properties" | "items" | "additionalProperties", _) if is_open => {}
                    ("default", Value::Object(object)) if object.is_empty() && single.is_some() => {
                    }
                    ("properties" | "items" | "additionalProperties", _)
                        if has("x-kubernetes-preserve-unknown-fields") => {}
                    ("properties", Value::Object(properties)) => {
                        let mut copy = Object::with_capacity(properties.len());
                        for (name, property) in properties.iter() {
                            copy.push(name.to_owned(), converted(form, property));
                        }
                        whole.push("properties", Value::Object(copy));
                    }
                    ("items" | "additionalProperties", schema) => {
                        whole.push(name.to_owned(), converted(form, schema));
                    }
                    ("$ref", target) => whole.push("$ref", v2_reference(target)),
                    (_, member) => whole.push(name.to_owned(), member.clone().into_owned()),
                }
            }
            Value::Object(whole)
        }
        other => other.clone().into_owned(),
    }
}

fn v2_reference(target: &Value<'_>) -> Value<'static> {
    let target = target.as_str().unwrap_or_default();
    Value::from(
        target
            .strip_prefix(V3_PREFIX)
            .map_or_else(|| target.to_owned(), |name| format!("{V2_PREFIX}{name}")),
    )
}

fn paths(form: Form, resources: &[Described<'_>]) -> Value<'static> {
    let mut all: Vec<(String, Value<'static>)> = Vec::new();
    for resource in resources {
        let root = if resource.group.is_empty() {
            format!("/api/{}", resource.version)
        } else {
            format!("/apis/{}/{}", resource.group, resource.version)
        };
        let collection = if resource.namespaced {
            all.push((
                format!("{root}/{}", resource.plural),
                path(form, resource, &[("get", "list")], &[], ""),
            ));
            format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
        } else {
            format!("{root}/{}", resource.plural)
        };
        let scope: &[&str] = if resource.namespaced {
            &["namespace"]
        } else {
            &[]
        };
        let named: &[&str] = if resource.namespaced {
            &["name", "namespace"]
        } else {
            &["name"]
        };
        if resource.create_only {
            all.push((
                collection,
                path(form, resource, &[("post", "post")], scope, ""),
            ));
            continue;
        }
        let verbs = [
            ("get", "list"),
            ("post", "post"),
            ("delete", "deletecollection"),
        ];
        all.push((collection.clone(), path(form, resource, &verbs, scope, "")));
        let verbs = [
            ("get", "get"),
            ("put", "put"),
            ("delete", "delete"),
            ("patch", "patch"),
        ];
        all.push((
            format!("{collection}/{{name}}"),
            path(form, resource, &verbs, named, ""),
        ));
        let verbs = [("get", "get"), ("put", "put"), ("patch", "patch")];
        for (subresource, is_there) in [("status", resource.status), ("scale", resource.scale)] {
            if is_there {
                let path = path(form, resource, &verbs, named, subresource);
                all.push((format!("{collection}/{{name}}/{subresource}"), path));
            }
        }
        if resource.kind == "Pod" {
            let path = path(form, resource, &[("post", "post")], named, "eviction");
            all.push((format!("{collection}/{{name}}/eviction"), path));
        }
    }
    all.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut object = Object::with_capacity(all.len());
    for (name, path) in all {
        object.insert(name, path);
    }
    Value::Object(object)
}

fn path(
    form: Form,
    resource: &Described<'_>,
    verbs: &[(&'static str, &'static str)],
    parameters: &[&str],
    subresource: &str,
) -> Value<'static> {
    let mut path = Object::new();
    for (method, action) in verbs {
        path.push(
            *method,
            operation(form, resource, method, action, subresource),
        );
    }
    if !parameters.is_empty() {
        let parameters = parameters
            .iter()
            .map(|name| parameter(form, name, "path", "string"))
            .collect();
        path.push("parameters", Value::Array(parameters));
    }
    Value::Object(path)
}

fn parameter(form: Form, name: &str, place: &str, kind: &str) -> Value<'static> {
    let mut parameter = Object::with_capacity(4);
    parameter.push("name", text(name));
    parameter.push("in", text(place));
    if place == "path" {
        parameter.push("required", Value::Bool(true));
    }
    match form {
        Form::V2 => parameter.push("type", text(kind)),
        Form::V3 => parameter.push(
            "schema",
            object([("type", text(kind)), ("uniqueItems", Value::Bool(true))]),
        ),
    }
    Value::Object(parameter)
}

fn operation(
    form: Form,
    resource: &Described<'_>,
    method: &str,
    action: &str,
    subresource: &str,
) -> Value<'static> {
    let (group, version, kind) = match subresource {
        "scale" => ("autoscaling", "v1", "Scale"),
        "eviction" => ("policy", "v1", "Eviction"),
        _ => (resource.group, resource.version, resource.kind),
    };
    let name = match subresource {
        "scale" => "io.k8s.api.autoscaling.v1.Scale".to_owned(),
        "eviction" => "io.k8s.api.policy.v1.Eviction".to_owned(),
        _ => definition_name(resource),
    };
    let answer = match action {
        "list" => format!("{name}List"),
        "delete" | "deletecollection" => format!("{META}.Status"),
        _ => name.clone(),
    };
    let body = match method {
        "post" | "put" => Some(name),
        "patch" => Some(format!("{META}.Patch")),
        "delete" => Some(format!("{META}.DeleteOptions")),
        _ => None,
    };
    let mut parameters = match action {
        "list" => vec![
            ("continue", "string"),
            ("fieldSelector", "string"),
            ("labelSelector", "string"),
            ("limit", "integer"),
            ("resourceVersion", "string"),
            ("resourceVersionMatch", "string"),
            ("sendInitialEvents", "boolean"),
            ("timeoutSeconds", "integer"),
            ("watch", "boolean"),
        ],
        "get" => Vec::new(),
        "delete" | "deletecollection" => {
            vec![("dryRun", "string"), ("propagationPolicy", "string")]
        }
        _ => vec![
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
        ],
    };
    if method == "patch" {
        parameters.push(("force", "boolean"));
    }
    let mut parameters: Vec<Value<'static>> = parameters
        .into_iter()
        .map(|(name, kind)| parameter(form, name, "query", kind))
        .collect();
    let mut operation = Object::new();
    operation.push(
        "operationId",
        Value::from(operation_id(resource, action, subresource)),
    );
    let media = |name: &str| {
        object([(
            "application/json",
            object([("schema", reference(form, name))]),
        )])
    };
    if let Some(body) = body {
        match form {
            Form::V2 => parameters.push(object([
                ("name", text("body")),
                ("in", text("body")),
                ("schema", reference(form, &body)),
            ])),
            Form::V3 => operation.push("requestBody", object([("content", media(&body))])),
        }
    }
    operation.push("parameters", Value::Array(parameters));
    let response = match form {
        Form::V2 => object([
            ("description", text("OK")),
            ("schema", reference(form, &answer)),
        ]),
        Form::V3 => object([("description", text("OK")), ("content", media(&answer))]),
    };
    operation.push("responses", object([("200", response)]));
    operation.push("x-kubernetes-action", text(action));
    operation.push(
        "x-kubernetes-group-version-kind",
        kind_of(group, version, kind),
    );
    Value::Object(operation)
}

fn operation_id(resource: &Described<'_>, action: &str, subresource: &str) -> String {
    let capitalized = |text: &str| {
        let mut characters = text.chars();
        characters
            .next()
            .map(|first| first.to_uppercase().chain(characters).collect::<String>())
            .unwrap_or_default()
    };
    let verb = match action {
        "get" => "read",
        "post" => "create",
        "put" => "replace",
        "deletecollection" => "deleteCollection",
        other => other,
    };
    let group: String = match resource.group {
        "" => "Core".to_owned(),
        group => group.split(['.', '-']).map(capitalized).collect(),
    };
    let scope = if resource.namespaced {
        "Namespaced"
    } else {
        ""
    };
    format!(
        "{verb}{group}{}{scope}{}{}",
        capitalized(resource.version),
        resource.kind,
        capitalized(subresource)
    )
}
