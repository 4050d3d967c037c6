//! Objects made from a schema, for tests: do our types and conversions keep everything?

use serde_json::{Map, Value, json};

/// Makes objects that a schema allows.
///
/// Texts with a meaning that no schema tells (durations, say) are given by field name.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    examples: Map<String, Value>,
}

/// Which of the values that a schema allows are taken.
#[derive(Clone, Copy, PartialEq)]
enum Choice {
    /// `true`, the first of an enum, a number where a number or a text may stand.
    First,
    /// `false`, the last of an enum, a text where a number or a text may stand.
    Last,
}

impl Samples {
    /// Values for fields of these names, wherever they stand.
    #[must_use]
    pub fn with(examples: Value) -> Self {
        Self {
            examples: if let Value::Object(examples) = examples {
                examples
            } else {
                Map::new()
            },
        }
    }

    /// The object of `schema` in which every property is present.
    #[must_use]
    pub fn full(&self, schema: &Value) -> Value {
        self.value("", schema, Choice::First, &mut 0)
    }

    /// Objects of `schema`: every property present in two ways, only what is required, and each
    /// optional property absent in turn.
    #[must_use]
    pub fn all(&self, schema: &Value) -> Vec<Value> {
        let full = self.full(schema);
        let mut objects = vec![
            self.value("", schema, Choice::Last, &mut 0),
            self.minimal("", schema),
        ];
        let mut paths = Vec::new();
        optional(schema, "", &mut paths);
        objects.extend(paths.iter().filter_map(|path| without(&full, path)));
        objects.push(full);
        objects
    }

    /// The example for a field, if it is an object where the schema wants one.
    fn example(&self, name: &str, schema: &Value) -> Option<&Value> {
        let object = schema.get("type").is_some_and(|type_| type_ == "object");
        self.examples
            .get(name)
            .filter(|example| example.is_object() == object)
    }

    fn value(&self, name: &str, schema: &Value, choice: Choice, counter: &mut i64) -> Value {
        *counter += 1;
        if let Some(example) = self.example(name, schema) {
            return known(example, schema);
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            let value = if choice == Choice::First {
                values.first()
            } else {
                values.last()
            };
            return value.cloned().unwrap_or_default();
        }
        if schema.get("x-kubernetes-int-or-string").is_some() {
            return if choice == Choice::First {
                json!(*counter)
            } else {
                json!(format!("{counter}%"))
            };
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => self.object(schema, choice, counter),
            Some("array") => {
                let item = schema.get("items").unwrap_or(&Value::Null);
                // Two entries, so that an order that is lost shows.
                json!([
                    self.value("", item, choice, counter),
                    self.value("", item, choice, counter)
                ])
            }
            Some("integer" | "number") => {
                let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
                json!(
                    (*counter)
                        .max(bound("minimum").unwrap_or(i64::MIN))
                        .min(bound("maximum").unwrap_or(i64::MAX))
                )
            }
            Some("boolean") => json!(choice == Choice::First),
            Some("string")
                if schema
                    .get("format")
                    .is_some_and(|format| format == "date-time") =>
            {
                json!(format!("2026-01-02T03:04:{:02}Z", *counter % 60))
            }
            Some("string") => json!(format!("text-{counter}")),
            _ => json!({ "free": [*counter, null, "form"] }),
        }
    }

    fn object(&self, schema: &Value, choice: Choice, counter: &mut i64) -> Value {
        let mut object = Map::new();
        for (name, schema) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            object.insert(name.clone(), self.value(name, schema, choice, counter));
        }
        if let Some(values) = schema.get("additionalProperties") {
            object.insert("key-1".into(), self.value("", values, choice, counter));
            object.insert("key-2".into(), self.value("", values, choice, counter));
        }
        object.into()
    }

    fn minimal(&self, name: &str, schema: &Value) -> Value {
        if self.example(name, schema).is_some() || schema["type"] != "object" {
            return self.value(name, schema, Choice::First, &mut 0);
        }
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let properties = required.filter_map(Value::as_str).filter_map(|name| {
            let schema = schema.get("properties")?.get(name)?;
            Some((name.to_owned(), self.minimal(name, schema)))
        });
        Value::Object(properties.collect())
    }
}

/// An example without the fields that the schema does not have.
fn known(example: &Value, schema: &Value) -> Value {
    match (example, schema.get("properties")) {
        (Value::Object(example), Some(properties)) => {
            let fields = example
                .iter()
                .filter(|(name, _)| properties.get(name.as_str()).is_some());
            Value::Object(
                fields
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            )
        }
        _ => example.clone(),
    }
}

/// The places of optional properties, as JSON pointers into the full object.
fn optional(schema: &Value, path: &str, paths: &mut Vec<String>) {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required =
        |name: &str| required.is_some_and(|names| names.iter().any(|required| required == name));
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        if !is_required(name) {
            paths.push(path.clone());
        }
        optional(property, &path, paths);
    }
    if let Some(items) = schema.get("items") {
        optional(items, &format!("{path}/0"), paths);
    }
}

fn without(object: &Value, path: &str) -> Option<Value> {
    let mut object = object.clone();
    let (parent, name) = path.rsplit_once('/')?;
    object
        .pointer_mut(parent)?
        .as_object_mut()?
        .remove(&name.replace("~1", "/").replace("~0", "~"))?;
    Some(object)
}

/// The typed leaves of `schema` as JSON pointers into its full object, each with a value of another
/// JSON type than it allows.
#[must_use]
pub fn leaves(schema: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    collect_leaves(schema, String::new(), &mut found);
    found
}

fn collect_leaves(schema: &Value, path: String, found: &mut Vec<(String, Value)>) {
    if schema.get("x-kubernetes-int-or-string").is_some() {
        found.push((path, json!([true])));
        return;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            if schema.get("properties").is_some() || schema.get("additionalProperties").is_some() {
                found.push((path.clone(), json!("no object")));
            }
            for (name, property) in schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                collect_leaves(property, format!("{path}/{name}"), found);
            }
            if let Some(values) = schema.get("additionalProperties") {
                collect_leaves(values, format!("{path}/key-1"), found);
            }
        }
        Some("array") => {
            found.push((path.clone(), json!("no list")));
            collect_leaves(
                schema.get("items").unwrap_or(&Value::Null),
                format!("{path}/0"),
                found,
            );
        }
        Some("string") => found.push((path, json!(7))),
        Some("integer" | "number" | "boolean") => found.push((path, json!("no number"))),
        _ => {}
    }
}

/// What of `read` is not in `written`: the fields that a type does not know.
///
/// Lists are compared entry by entry.
#[must_use]
pub fn remainder(read: &Value, written: &Value) -> Option<Value> {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            let rest: Map<String, Value> = read
                .iter()
                .filter_map(|(name, value)| match written.get(name) {
                    Some(written) => Some((name.clone(), remainder(value, written)?)),
                    None => Some((name.clone(), value.clone())),
                })
                .collect();
            (!rest.is_empty()).then(|| rest.into())
        }
        (Value::Array(read), Value::Array(written)) if read.len() == written.len() => {
            let rest: Vec<Value> = read
                .iter()
                .zip(written)
                .filter_map(|(read, written)| remainder(read, written))
                .collect();
            (!rest.is_empty()).then(|| rest.into())
        }
        _ => (read != written).then(|| read.clone()),
    }
}
