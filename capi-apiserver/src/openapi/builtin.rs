//! The schemas of the built-in kinds, written by hand as data in `builtin.json`: an object of
//! definitions by name, which refer to each other.

use std::sync::LazyLock;

use crate::json::{Object, Value, parse};
use crate::schema::Schema;

static DEFINITIONS: LazyLock<Object<'static>> = LazyLock::new(|| {
    match parse(include_bytes!("builtin.json")).map(|document| document.value) {
        Ok(Value::Object(definitions)) => definitions,
        // A test reads the data, so this arm is never taken.
        Ok(_) | Err(_) => Object::new(),
    }
});

static OBJECT_META: LazyLock<Schema> = LazyLock::new(|| {
    Schema::read(&resolved(&reference(
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
    )))
    .unwrap_or_default()
});

const PREFIX: &str = "#/components/schemas/";

fn reference(name: &str) -> Value<'static> {
    let mut object = Object::new();
    object.push("$ref", Value::from(format!("{PREFIX}{name}")));
    Value::Object(object)
}

/// A definition by name.
pub(crate) fn definition(name: &str) -> Option<&'static Value<'static>> {
    DEFINITIONS.get(name)
}

/// The schema of the metadata that every object has.
pub(crate) fn object_meta() -> &'static Schema {
    &OBJECT_META
}

/// The name of the definition of a kind.
pub(crate) fn name_of(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    DEFINITIONS
        .iter()
        .find(|(_, definition)| is_kind(definition, group, version, kind))
        .map(|(name, _)| name)
}

fn is_kind(definition: &Value<'_>, group: &str, version: &str, kind: &str) -> bool {
    let kinds = definition
        .get("x-kubernetes-group-version-kind")
        .and_then(Value::as_array)
        .unwrap_or_default();
    kinds.iter().any(|known| {
        let is =
            |name: &str, expected: &str| known.get(name).and_then(Value::as_str) == Some(expected);
        is("group", group) && is("version", version) && is("kind", kind)
    })
}

/// The schema of a built-in kind, such as `("", "v1", "Pod")`. `None` for a kind that is not
/// built in. It is read anew on every call, so keep it.
#[must_use]
pub fn schema(group: &str, version: &str, kind: &str) -> Option<Schema> {
    let name = name_of(group, version, kind)?;
    let mut schema = Schema::read(&resolved(&reference(name))).ok()?;
    schema.zero = zero(group, kind).map(Box::new);
    Some(schema)
}

/// What the types of the real server write for an object in which nothing is set. Nobody is the
/// manager of these fields until they change.
fn zero(group: &str, kind: &str) -> Option<Value<'static>> {
    let text: &'static str = match (group, kind) {
        ("", "Namespace") => r#"{"spec":{},"status":{}}"#,
        ("", "Node") => {
            r#"{"spec":{},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"machineID":"","systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"","kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}}"#
        }
        ("", "Pod") => r#"{"spec":{"containers":null},"status":{}}"#,
        ("", "Event") => {
            r#"{"involvedObject":{},"source":{},"firstTimestamp":null,"lastTimestamp":null,"eventTime":null,"reportingComponent":"","reportingInstance":""}"#
        }
        ("events.k8s.io", "Event") => {
            r#"{"eventTime":null,"regarding":{},"deprecatedSource":{},"deprecatedFirstTimestamp":null,"deprecatedLastTimestamp":null}"#
        }
        ("coordination.k8s.io", "Lease") => r#"{"spec":{}}"#,
        ("policy", "PodDisruptionBudget") => {
            r#"{"spec":{},"status":{"disruptionsAllowed":0,"currentHealthy":0,"desiredHealthy":0,"expectedPods":0}}"#
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            r#"{"spec":{"group":"","names":{"plural":"","kind":""},"scope":"","versions":null},"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":null}}"#
        }
        ("authorization.k8s.io", _) => r#"{"spec":{},"status":{"allowed":false}}"#,
        _ => return None,
    };
    parse(text.as_bytes()).ok().map(|document| document.value)
}

/// A schema with everything that it refers to in place. The definitions do not refer to
/// themselves.
fn resolved(schema: &Value<'static>) -> Value<'static> {
    match schema {
        Value::Object(object) => {
            let target = object.get("$ref").or_else(|| match object.get("allOf") {
                Some(Value::Array(items)) if items.len() == 1 => items[0].get("$ref"),
                _ => None,
            });
            let mut whole = Object::new();
            if let Some(name) = target
                .and_then(Value::as_str)
                .and_then(|target| target.strip_prefix(PREFIX))
                && let Some(Value::Object(definition)) = DEFINITIONS.get(name)
            {
                for (name, value) in definition.iter() {
                    whole.insert(name.to_owned(), resolved(value));
                }
            }
            for (name, value) in object.iter() {
                if name != "$ref" && !(name == "allOf" && target.is_some()) {
                    whole.insert(name.to_owned(), resolved(value));
                }
            }
            Value::Object(whole)
        }
        Value::Array(items) => Value::Array(items.iter().map(resolved).collect()),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ListType;

    #[test]
    fn every_reference_has_a_definition_and_every_kind_a_schema() {
        let text = include_str!("builtin.json");
        assert!(DEFINITIONS.len() > 100);
        for reference in text.split(PREFIX).skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(DEFINITIONS.contains_key(name), "{name}");
        }
        for (name, definition) in DEFINITIONS.iter() {
            Schema::read(&resolved(definition)).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn schemas_know_how_lists_are_merged() {
        let pod = schema("", "v1", "Pod").unwrap();
        let containers = pod
            .property("spec")
            .and_then(|spec| spec.property("containers"))
            .unwrap();
        assert_eq!(
            containers.list_type(),
            &ListType::Map(["name".into()].into())
        );
        assert!(object_meta().property("ownerReferences").is_some());
        assert!(schema("", "v1", "Unknown").is_none());
    }
}
