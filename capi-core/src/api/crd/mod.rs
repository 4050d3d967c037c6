//! The schema of a CustomResourceDefinition, made from the types.
//!
//! The types give structure and descriptions; what types cannot say (lengths, patterns, keys of list
//! maps, rules) comes from a table of limits, by type and field. Kubernetes wants a *structural*
//! schema: no references, no `null`, one type a place.
//!
//! The definitions themselves are committed under `crds/`; a test compares them with what is made
//! here. See [`super::crds`] for reading them at run time.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

mod check;
mod check_conversion;
mod compare;
mod definition;
mod samples;

pub use check::{check_against, check_committed, check_type, complete, normal};
pub use check_conversion::{check_conversion, meaning};
pub use compare::{Difference, differences};
pub use definition::Definitions;
pub use samples::{Samples, leaves, remainder};

/// Limits by type and field, as one JSON object: `{"MachineSpec": {"": {"required": [..]},
/// "clusterName": {"minLength": 1}}}`. The entry `""` is the type itself; a keyword that is `null`
/// is removed. Limits that hold for a part of one kind only stand under the kind's name.
#[derive(Clone, Debug, Default)]
pub struct Limits(Map<String, Value>);

impl Limits {
    /// Reads a table of limits.
    ///
    /// # Errors
    ///
    /// When `text` is no JSON object.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// Adds the limits of another table; of one type they are in one table only.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// The limits of the types of this crate.
///
/// # Errors
///
/// When the table that this crate was built with is broken.
pub fn limits() -> Result<Limits, serde_json::Error> {
    Limits::parse(include_str!("../../../crds/limits.json"))
}

/// A part of an object: its name, and its schema before limits.
#[derive(Clone, Debug)]
pub struct Part {
    name: &'static str,
    root: Value,
}

impl Part {
    /// The part `name` (`spec` or `status`) of type `T`.
    #[must_use]
    pub fn of<T: JsonSchema>(name: &'static str) -> Self {
        let settings = SchemaSettings::draft07().with(|settings| settings.meta_schema = None);
        let root = SchemaGenerator::new(settings)
            .into_root_schema_for::<T>()
            .to_value();
        Self { name, root }
    }
}

/// The `openAPIV3Schema` of a kind with these parts, of which those named in `required` must be there.
#[must_use]
pub fn schema(
    kind: &str,
    description: &str,
    parts: &[Part],
    required: &[&str],
    limits: &Limits,
) -> Value {
    let mut properties = Map::new();
    properties.insert("apiVersion".into(), text("Version of the object's form."));
    properties.insert("kind".into(), text("Kind of the object."));
    properties.insert("metadata".into(), serde_json::json!({ "type": "object" }));
    for part in parts {
        let definitions = part
            .root
            .get("definitions")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let inliner = Inliner {
            definitions: &definitions,
            limits,
        };
        let name = part
            .root
            .get("title")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut place = inliner.inline_type(name, &part.root);
        if let Some(keywords) = limits.0.get(kind).and_then(|kind| kind.get(part.name)) {
            overlay(&mut place, keywords);
        }
        properties.insert(part.name.into(), place);
    }
    let mut schema = Map::new();
    schema.insert("description".into(), description.into());
    schema.insert("properties".into(), properties.into());
    if !required.is_empty() {
        schema.insert("required".into(), required.to_vec().into());
    }
    schema.insert("type".into(), "object".into());
    schema.into()
}

/// A definition in which the schema of `version` is replaced.
///
/// The rest of a definition (names, columns, older versions) is kept by hand.
#[must_use]
pub fn with_schema(mut definition: Value, version: &str, schema: &Value) -> Value {
    let versions = definition
        .pointer_mut("/spec/versions")
        .and_then(Value::as_array_mut);
    for entry in versions.into_iter().flatten() {
        if entry["name"] == version {
            entry["schema"] = serde_json::json!({ "openAPIV3Schema": schema });
        }
    }
    definition
}

/// The schema of one version of a definition.
#[must_use]
pub fn schema_of<'a>(definition: &'a Value, version: &str) -> Option<&'a Value> {
    let versions = definition.pointer("/spec/versions")?.as_array()?;
    versions
        .iter()
        .find(|entry| entry["name"] == version)?
        .pointer("/schema/openAPIV3Schema")
}

fn text(description: &str) -> Value {
    serde_json::json!({ "type": "string", "description": description })
}

struct Inliner<'a> {
    definitions: &'a Map<String, Value>,
    limits: &'a Limits,
}

impl Inliner<'_> {
    fn inline_type(&self, name: &str, schema: &Value) -> Value {
        let mut schema = self.inline(schema);
        if let Some(limits) = self.limits.0.get(name).and_then(Value::as_object) {
            for (field, keywords) in limits {
                let place = if field.is_empty() {
                    Some(&mut schema)
                } else {
                    schema
                        .get_mut("properties")
                        .and_then(|properties| properties.get_mut(field))
                };
                if let Some(place) = place {
                    overlay(place, keywords);
                }
            }
        }
        schema
    }

    fn inline(&self, schema: &Value) -> Value {
        let Value::Object(schema) = schema else {
            return serde_json::json!({ "x-kubernetes-preserve-unknown-fields": true });
        };
        let mut result = match target(schema) {
            Some(name) => match self.definitions.get(name) {
                Some(definition) => self.inline_type(name, definition),
                None => Value::Object(Map::new()),
            },
            None => Value::Object(Map::new()),
        };
        let Value::Object(out) = &mut result else {
            return result;
        };
        for (keyword, value) in schema {
            match keyword.as_str() {
                "$ref" | "allOf" | "definitions" | "title" | "default" => {}
                "anyOf" if target(schema).is_some() => {}
                "anyOf" => match present(value).as_slice() {
                    [Value::Object(one)] => out.extend(one.clone()),
                    many => {
                        out.insert(keyword.clone(), many.into());
                    }
                },
                "enum" => {
                    out.insert(keyword.clone(), present(value).into());
                }
                "type" => {
                    out.insert("type".into(), only_type(value));
                }
                "properties" => {
                    let properties = value.as_object().into_iter().flatten();
                    let inlined = properties
                        .map(|(name, schema)| (name.clone(), self.inline(schema)))
                        .collect();
                    out.insert("properties".into(), Value::Object(inlined));
                }
                "items" | "additionalProperties" => {
                    out.insert(keyword.clone(), self.inline(value));
                }
                _ => {
                    out.insert(keyword.clone(), value.clone());
                }
            }
        }
        if out.keys().all(|keyword| keyword == "description") {
            out.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        }
        result
    }
}

/// The type that a schema refers to, also as the only alternative to `null`.
fn target(schema: &Map<String, Value>) -> Option<&str> {
    if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
        return path.strip_prefix("#/definitions/");
    }
    let alternatives = schema
        .get("allOf")
        .or_else(|| schema.get("anyOf"))?
        .as_array()?;
    alternatives
        .iter()
        .find_map(|schema| schema.get("$ref")?.as_str()?.strip_prefix("#/definitions/"))
}

/// The alternatives or values of a place without `null`.
fn present(value: &Value) -> Vec<Value> {
    let values = value.as_array().into_iter().flatten();
    values
        .filter(|value| !value.is_null() && value.get("type").is_none_or(|type_| type_ != "null"))
        .cloned()
        .collect()
}

/// The type of a place without its alternative `null`.
fn only_type(value: &Value) -> Value {
    match value {
        Value::Array(types) => types
            .iter()
            .find(|type_| *type_ != "null")
            .cloned()
            .unwrap_or(Value::Null),
        one => one.clone(),
    }
}

/// Lays keywords over a schema: objects are merged, `null` removes, anything else replaces.
fn overlay(schema: &mut Value, keywords: &Value) {
    match (schema, keywords) {
        (Value::Object(schema), Value::Object(keywords)) => {
            for (keyword, value) in keywords {
                if value.is_null() {
                    schema.remove(keyword);
                } else if value.is_object() && schema.get(keyword).is_some_and(Value::is_object) {
                    if let Some(inner) = schema.get_mut(keyword) {
                        overlay(inner, value);
                    }
                } else {
                    schema.insert(keyword.clone(), value.clone());
                }
            }
        }
        (schema, keywords) => *schema = keywords.clone(),
    }
}
