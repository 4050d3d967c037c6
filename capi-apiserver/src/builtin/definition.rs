//! CustomResourceDefinitions: their rules, their conditions, and what is served because of them.

use crate::{
    clock,
    gc::{ObjectId, amend, drop_finalizer},
    json::{self, Object, Value},
    object,
    registry::{Registry, custom},
    server::{Call, Server},
    status::Cause,
    storage::{Range, Unmet},
    verbs::delete::{self, Order, Propagation},
};

const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

pub(crate) fn default(definition: &mut Value<'_>) {
    let names = custom::names(definition);
    if definition.at(&["spec", "names", "kind"]).is_some() {
        definition.set_at(&["spec", "names", "singular"], names.singular);
        definition.set_at(&["spec", "names", "listKind"], names.list_kind);
    }
    if definition.at(&["spec", "conversion"]).is_none() && definition.get("spec").is_some() {
        definition.set_at(&["spec", "conversion", "strategy"], "None");
    }
}

pub(crate) fn prepare_create(definition: &mut Value<'_>) {
    let stored = stored_version(definition).unwrap_or_default();
    definition.set_at(&["status", "conditions"], Value::Null);
    definition.set_at(&["status", "acceptedNames", "plural"], "");
    definition.set_at(&["status", "acceptedNames", "kind"], "");
    definition.set_at(&["status", "storedVersions"], vec![Value::from(stored)]);
}

/// Deletion of a definition deletes its objects first.
pub(crate) fn prepare_delete(definition: &mut Value<'_>) {
    if !object::is_deleting(definition) && !object::has_finalizer(definition, FINALIZER) {
        let mut finalizers: Vec<String> =
            object::finalizers(definition).map(str::to_owned).collect();
        finalizers.push(FINALIZER.to_owned());
        object::set_finalizers(definition, finalizers);
    }
}

fn stored_version(definition: &Value<'_>) -> Option<String> {
    let versions = definition.at(&["spec", "versions"])?.as_array()?;
    let stored = versions
        .iter()
        .find(|version| version.get("storage").and_then(Value::as_bool) == Some(true))?;
    stored.get("name")?.as_str().map(str::to_owned)
}

pub(crate) fn validate(
    call: &Call<'_>,
    definition: &Value<'_>,
    old: Option<&Value<'_>>,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    let text = |path: &[&str]| {
        definition
            .at(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut required =
        |field: &str| causes.push(Cause::new("FieldValueRequired", field, "Required value"));
    let (group, plural) = (text(&["spec", "group"]), text(&["spec", "names", "plural"]));
    for (field, path) in [
        ("spec.group", &["spec", "group"][..]),
        ("spec.names.plural", &["spec", "names", "plural"]),
        ("spec.names.kind", &["spec", "names", "kind"]),
        ("spec.scope", &["spec", "scope"]),
    ] {
        if text(path).is_empty() {
            required(field);
        }
    }
    let name = object::name(definition);
    if name != format!("{plural}.{group}") {
        causes.push(Cause::new(
            "FieldValueInvalid",
            "metadata.name",
            format!("Invalid value: \"{name}\": must be spec.names.plural+\".\"+spec.group"),
        ));
    }
    let scope = text(&["spec", "scope"]);
    if !matches!(scope, "" | "Namespaced" | "Cluster") {
        causes.push(Cause::new(
            "FieldValueNotSupported",
            "spec.scope",
            format!(
                "Unsupported value: \"{scope}\": supported values: \"Cluster\", \"Namespaced\""
            ),
        ));
    }
    if let Some(old) = old {
        for (field, path) in [
            ("spec.group", &["spec", "group"][..]),
            ("spec.scope", &["spec", "scope"]),
            ("spec.names.plural", &["spec", "names", "plural"]),
            ("spec.names.kind", &["spec", "names", "kind"]),
        ] {
            if definition.at(path) != old.at(path) {
                let value = text(path);
                causes.push(Cause::new(
                    "FieldValueInvalid",
                    field,
                    format!("Invalid value: \"{value}\": field is immutable"),
                ));
            }
        }
    }
    let versions = definition
        .at(&["spec", "versions"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    let stored = versions
        .iter()
        .filter(|version| version.get("storage").and_then(Value::as_bool) == Some(true))
        .count();
    if stored != 1 {
        let shown: Vec<String> = versions.iter().map(shown).collect();
        causes.push(Cause::new(
            "FieldValueInvalid",
            "spec.versions",
            format!(
                "Invalid value: [{}]: must have exactly one version marked as storage version",
                shown.join(",")
            ),
        ));
        if stored == 0 && old.is_none() {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "status.storedVersions",
                "Invalid value: null: must have at least one stored version",
            ));
        }
    }
    for (index, version) in versions.iter().enumerate() {
        let Some(schema) = version.at(&["schema", "openAPIV3Schema"]) else {
            causes.push(Cause::new(
                "FieldValueRequired",
                format!("spec.versions[{index}].schema.openAPIV3Schema"),
                "Required value: schemas are required",
            ));
            continue;
        };
        // Where a schema is the same in all versions, the real server speaks of one.
        let is_common = versions
            .iter()
            .all(|other| other.at(&["schema", "openAPIV3Schema"]) == Some(schema));
        if is_common && index > 0 {
            continue;
        }
        let path = if is_common {
            "spec.validation.openAPIV3Schema".to_owned()
        } else {
            format!("spec.versions[{index}].schema.openAPIV3Schema")
        };
        let faults = crate::schema::check_structural(schema, &crate::schema::Path::new(&path));
        causes.extend(faults.into_iter().map(crate::verbs::shape::cause));
    }
    if causes.is_empty()
        && let Err((field, why)) = custom::resource(definition, &*call.server.store)
    {
        causes.push(Cause::new(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {why}"),
        ));
    }
    causes
}

/// A version as the real server shows it: in the members of its internal type.
fn shown(version: &Value<'_>) -> String {
    let text = |name: &str| {
        version
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let flag = |name: &str| version.get(name).and_then(Value::as_bool) == Some(true);
    format!(
        "{{\"Name\":\"{}\",\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}}",
        text("name"),
        flag("served"),
        flag("storage"),
        flag("deprecated"),
    )
}

/// Draws the consequences of a definition that was written or removed: what is served, conditions,
/// accepted names, and the deletion of its objects.
pub(crate) fn establish(server: &Server, name: &str) -> Result<(), Unmet> {
    let registry = server.registry();
    let Some(definitions) = registry.resource("apiextensions.k8s.io", "customresourcedefinitions")
    else {
        return Ok(());
    };
    let Some((plural, group)) = name.split_once('.') else {
        return Ok(());
    };
    let Some(stored) = server.store.get(definitions.collection, name) else {
        server.graph().terminating_definitions.remove(name);
        if registry
            .resource(group, plural)
            .is_some_and(|resource| resource.is_custom())
        {
            server.change_registry(|registry| registry.remove(group, plural));
        }
        return Ok(());
    };
    let Ok(document) = json::parse(&stored.bytes) else {
        return Ok(());
    };
    let definition = document.value;
    let id = ObjectId::new(definitions, name);
    if object::is_deleting(&definition) {
        let swept = !server
            .graph()
            .terminating_definitions
            .insert(name.to_owned());
        if let Some(resource) = registry.resource(group, plural) {
            if swept && server.store.any(resource.collection, "") {
                // Everything is marked already.
                return Ok(());
            }
            let listing = server.store.list(resource.collection, Range::default());
            for (key, stored) in listing.map(|listing| listing.items).unwrap_or_default() {
                let Ok(document) = json::parse(&stored.bytes) else {
                    continue;
                };
                if object::is_deleting(&document.value) {
                    continue;
                }
                let order = Order {
                    propagation: Some(Propagation::Background),
                    ..Order::default()
                };
                delete::begin(server, resource, &key, &stored, &document.value, &order)?;
            }
            if server.store.any(resource.collection, "") {
                return Ok(());
            }
        }
        return amend(
            server,
            definitions,
            &id,
            &stored,
            &definition,
            |definition| drop_finalizer(definition, FINALIZER),
        );
    }
    let conflict = conflict(&registry, &definition);
    if conflict.is_none() {
        match custom::resource(&definition, &*server.store) {
            Ok(resource) => server.change_registry(|registry| registry.insert(resource)),
            Err((field, why)) => {
                tracing::warn!(name, field, why, "a definition cannot be served");
                return Ok(());
            }
        }
    }
    let now = clock::seconds(server.clock.now());
    amend(
        server,
        definitions,
        &id,
        &stored,
        &definition,
        |definition| accept(definition, conflict.as_deref(), &now),
    )
}

/// Why the names of a definition cannot be served.
fn conflict(registry: &Registry, definition: &Value<'_>) -> Option<String> {
    let group = definition
        .at(&["spec", "group"])
        .and_then(Value::as_str)
        .unwrap_or_default();
    let names = custom::names(definition);
    let others = registry
        .resources()
        .filter(|resource| resource.group == group && resource.names.plural != names.plural);
    for other in others {
        if other.names.kind == names.kind || other.names.list_kind == names.kind {
            return Some(format!("\"{}\" is already in use", names.kind));
        }
        if other.names.list_kind == names.list_kind || other.names.kind == names.list_kind {
            return Some(format!("\"{}\" is already in use", names.list_kind));
        }
    }
    None
}

fn accept(definition: &mut Value<'_>, conflict: Option<&str>, now: &str) {
    if conflict.is_none() {
        let names = definition
            .at(&["spec", "names"])
            .cloned()
            .unwrap_or_default()
            .into_owned();
        definition.set_at(&["status", "acceptedNames"], names);
        if let Some(stored) = stored_version(definition) {
            let mut versions: Vec<Value<'static>> = definition
                .at(&["status", "storedVersions"])
                .and_then(Value::as_array)
                .unwrap_or_default()
                .iter()
                .map(|version| version.clone().into_owned())
                .collect();
            if !versions
                .iter()
                .any(|version| version.as_str() == Some(&stored))
            {
                versions.push(stored.into());
            }
            definition.set_at(&["status", "storedVersions"], versions);
        }
    }
    let rows = match conflict {
        None => [
            (
                "NamesAccepted",
                "True",
                "NoConflicts",
                "no conflicts found".to_owned(),
            ),
            (
                "Established",
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted".to_owned(),
            ),
        ],
        Some(why) => [
            ("NamesAccepted", "False", "KindConflict", why.to_owned()),
            (
                "Established",
                "False",
                "NotAccepted",
                "not all names are accepted".to_owned(),
            ),
        ],
    };
    let mut conditions: Vec<Value<'static>> = Vec::new();
    let before = definition
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    for (kind, status, reason, message) in rows {
        let known = before
            .iter()
            .find(|one| one.get("type").and_then(Value::as_str) == Some(kind));
        if let Some(known) = known
            && known.get("status").and_then(Value::as_str) == Some(status)
        {
            conditions.push(known.clone().into_owned());
            continue;
        }
        let mut condition = Object::new();
        condition.insert("lastTransitionTime", now.to_owned());
        condition.insert("message", message);
        condition.insert("reason", reason);
        condition.insert("status", status);
        condition.insert("type", kind);
        conditions.push(Value::Object(condition));
    }
    definition.set_at(&["status", "conditions"], conditions);
}
