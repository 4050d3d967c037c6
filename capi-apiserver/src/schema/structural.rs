//! Whether the schema of a CustomResourceDefinition is structural, and what else it may not say.
//!
//! It answers to <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.

use super::{FieldError, Path, Schema};
use crate::json::{Object, Value};

/// Where a schema stands, which decides what it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Finds everything that an `openAPIV3Schema` may not say. `path` is where it stands, such as
/// `spec.versions[0].schema.openAPIV3Schema`. A schema without faults can be read.
#[must_use]
pub fn check_structural(schema: &Value<'_>, path: &Path<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, Level::Root, path, &mut errors);
    if errors.is_empty() {
        match Schema::read(schema) {
            Ok(read) => check_rules(&read, path, &mut errors),
            Err(error) => errors.push(FieldError::invalid(
                path,
                &Value::from(""),
                &error.to_string(),
            )),
        }
    }
    if errors.is_empty() {
        check_defaults(schema, path, &mut errors);
    }
    errors.sort_by_key(ToString::to_string);
    errors
}

fn text<'v>(schema: &'v Value<'_>, name: &str) -> &'v str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Value<'_>, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool) == Some(true)
}

fn list<'v, 'a>(schema: &'v Value<'a>, name: &str) -> &'v [Value<'a>] {
    schema
        .get(name)
        .and_then(Value::as_array)
        .unwrap_or_default()
}

fn properties<'v, 'a>(schema: &'v Value<'a>) -> impl Iterator<Item = (&'v str, &'v Value<'a>)> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Object::iter)
}

fn check(schema: &Value<'_>, level: Level, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let kind = text(schema, "type");
    let any = flag(schema, "x-kubernetes-int-or-string");
    let open = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    if kind == "array" && schema.get("items").is_none() {
        errors.push(FieldError::required(
            &path.field("items"),
            "must be specified",
        ));
    }
    if let Some(items) = schema.get("items") {
        if items.as_array().is_some() {
            errors.push(FieldError::forbidden(
                &path.field("items"),
                "items must be a schema object and not an array",
            ));
        } else {
            check(items, Level::Item, &path.field("items"), errors);
        }
    }
    for (name, property) in properties(schema) {
        check(
            property,
            Level::Field,
            &path.field("properties").key(name),
            errors,
        );
    }
    if let Some(additional) = schema.get("additionalProperties") {
        let here = path.field("additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&here, "must not be used at the root"));
        }
        if embedded {
            errors.push(FieldError::forbidden(
                &here,
                "must not be used if x-kubernetes-embedded-resource is set",
            ));
        }
        if properties(schema).next().is_some() {
            errors.push(FieldError::forbidden(
                &here,
                "additionalProperties and properties are mutual exclusive",
            ));
        }
        match additional {
            Value::Bool(false) => {
                errors.push(FieldError::forbidden(
                    &here,
                    "additionalProperties cannot be set to false",
                ));
            }
            Value::Object(_) => check(additional, Level::Field, &here, errors),
            _ => {}
        }
    }
    check_type(kind, any, open, embedded, level, path, errors);
    if embedded && !open && properties(schema).next().is_none() {
        errors.push(FieldError::required(
            &path.field("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
    if any && open {
        errors.push(FieldError::invalid(
            &path.field("x-kubernetes-preserve-unknown-fields"),
            &Value::Bool(true),
            "must be false if x-kubernetes-int-or-string is true",
        ));
    }
    check_extensions(schema, kind, path, errors);
    for (name, nested) in nested(schema, any) {
        let here = path.field(name);
        match nested {
            Nested::One(nested) => check_nested(nested, schema, &here, errors),
            Nested::Many(first, schemas) => {
                for (index, nested) in schemas.iter().enumerate().skip(first) {
                    check_nested(nested, schema, &here.index(index), errors);
                }
            }
        }
    }
}

fn check_type(
    kind: &str,
    any: bool,
    open: bool,
    embedded: bool,
    level: Level,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let here = path.field("type");
    if !matches!(
        kind,
        "" | "object" | "array" | "string" | "integer" | "number" | "boolean"
    ) {
        let kinds = ["array", "boolean", "integer", "number", "object", "string"];
        errors.push(FieldError::not_supported(&here, &Value::from(kind), kinds));
    } else if embedded && kind != "object" {
        let words = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() {
            FieldError::required(&here, words)
        } else {
            FieldError::invalid(&here, &Value::from(kind), words)
        });
    } else if kind.is_empty() && !any && !open {
        errors.push(FieldError::required(
            &here,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    } else if level == Level::Root && kind != "object" {
        errors.push(FieldError::invalid(
            &here,
            &Value::from(kind),
            "must be object at the root",
        ));
    }
}

fn check_extensions(schema: &Value<'_>, kind: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if flag(schema, "uniqueItems") {
        errors.push(FieldError::forbidden(
            &path.field("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ));
    }
    if schema.get("$ref").is_some() {
        errors.push(FieldError::forbidden(
            &path.field("$ref"),
            "$ref is not supported",
        ));
    }
    let list_type = text(schema, "x-kubernetes-list-type");
    let here = path.field("x-kubernetes-list-type");
    if !list_type.is_empty() && kind != "array" {
        let words = "must be array if x-kubernetes-list-type is specified";
        errors.push(if kind.is_empty() {
            FieldError::required(&path.field("type"), words)
        } else {
            FieldError::invalid(&path.field("type"), &Value::from(kind), words)
        });
    }
    if !matches!(list_type, "" | "atomic" | "set" | "map") {
        errors.push(FieldError::not_supported(
            &here,
            &Value::from(list_type),
            ["atomic", "map", "set"],
        ));
    }
    let keys = list(schema, "x-kubernetes-list-map-keys");
    let here = path.field("x-kubernetes-list-map-keys");
    if list_type == "map" && keys.is_empty() {
        errors.push(FieldError::required(
            &here,
            "must not be empty if x-kubernetes-list-type is map",
        ));
    }
    if list_type != "map" && !keys.is_empty() {
        errors.push(FieldError::required(
            &path.field("x-kubernetes-list-type"),
            "must be map if x-kubernetes-list-map-keys is non-empty",
        ));
    }
    let items = schema.get("items");
    for (index, key) in keys.iter().enumerate() {
        let known = key
            .as_str()
            .and_then(|key| items.and_then(|items| items.at(&["properties", key])));
        if known.is_none() {
            errors.push(FieldError::invalid(
                &here.index(index),
                key,
                "entries must all be names of item properties",
            ));
        }
    }
    let map_type = text(schema, "x-kubernetes-map-type");
    if !map_type.is_empty() && kind != "object" {
        let words = "must be object if x-kubernetes-map-type is specified";
        errors.push(if kind.is_empty() {
            FieldError::required(&path.field("type"), words)
        } else {
            FieldError::invalid(&path.field("type"), &Value::from(kind), words)
        });
    }
    if !matches!(map_type, "" | "atomic" | "granular") {
        let here = path.field("x-kubernetes-map-type");
        errors.push(FieldError::not_supported(
            &here,
            &Value::from(map_type),
            ["atomic", "granular"],
        ));
    }
    let rules = path.field("x-kubernetes-validations");
    for (index, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        if text(rule, "rule").trim().is_empty() {
            errors.push(FieldError::required(
                &rules.index(index).field("rule"),
                "rule is not specified",
            ));
        }
    }
}

enum Nested<'v, 'a> {
    One(&'v Value<'a>),
    /// From this place on.
    Many(usize, &'v [Value<'a>]),
}

/// The schemas in `allOf`, `anyOf`, `oneOf` and `not`. The alternatives that say integer or
/// string again are allowed.
fn nested<'v, 'a>(schema: &'v Value<'a>, any: bool) -> Vec<(&'static str, Nested<'v, 'a>)> {
    let says_again = |schema: &Value<'_>| {
        let alternatives = list(schema, "anyOf");
        alternatives.len() == 2
            && text(&alternatives[0], "type") == "integer"
            && text(&alternatives[1], "type") == "string"
    };
    let mut found = Vec::new();
    if !(any && says_again(schema)) {
        found.push(("anyOf", Nested::Many(0, list(schema, "anyOf"))));
    }
    let all = list(schema, "allOf");
    let skip = usize::from(any && all.first().is_some_and(says_again));
    found.push(("allOf", Nested::Many(skip, all)));
    found.push(("oneOf", Nested::Many(0, list(schema, "oneOf"))));
    if let Some(not) = schema.get("not") {
        found.push(("not", Nested::One(not)));
    }
    found
}

/// What a schema in a combination may say: values only, about fields that are known outside.
fn check_nested(
    schema: &Value<'_>,
    outer: &Value<'_>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    const FORBIDDEN: [&str; 9] = [
        "type",
        "additionalProperties",
        "default",
        "nullable",
        "title",
        "description",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ];
    for name in FORBIDDEN {
        let words = if matches!(name, "type" | "title" | "description") {
            "must be empty to be structural"
        } else if name == "nullable" {
            "must be false to be structural"
        } else {
            "must be undefined to be structural"
        };
        if schema.get(name).is_some() {
            errors.push(FieldError::forbidden(&path.field(name), words));
        }
    }
    for (name, property) in properties(schema) {
        let properties = path.field("properties");
        let here = properties.key(name);
        match outer
            .at(&["properties", name])
            .or_else(|| outer.get("additionalProperties"))
        {
            Some(outer) => check_nested(property, outer, &here, errors),
            None => {
                let text = here.dotted();
                // Named where it is missing: outside of the combination.
                let place = text.split(['.']).take_while(|part| {
                    !["allOf", "anyOf", "oneOf", "not"]
                        .iter()
                        .any(|word| part.starts_with(word))
                });
                let place = format!("{}.properties[{name}]", place.collect::<Vec<_>>().join("."));
                errors.push(FieldError::required(
                    &Path::new(&place),
                    &format!("because it is defined in {text}"),
                ));
            }
        }
    }
    if let Some(items) = schema.get("items")
        && let Some(outer) = outer.get("items")
    {
        check_nested(items, outer, &path.field("items"), errors);
    }
    for (name, nested) in nested(schema, false) {
        let here = path.field(name);
        match nested {
            Nested::One(nested) => check_nested(nested, outer, &here, errors),
            Nested::Many(_, schemas) => {
                for (index, nested) in schemas.iter().enumerate() {
                    check_nested(nested, outer, &here.index(index), errors);
                }
            }
        }
    }
}

fn check_rules(schema: &Schema, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let rules = path.field("x-kubernetes-validations");
    for (index, rule) in schema.rules.iter().enumerate() {
        if let Some((name, problem)) = rule.problem() {
            let text = match name {
                "rule" => rule.source.rule.as_str(),
                _ => rule
                    .source
                    .message_expression
                    .as_deref()
                    .unwrap_or_default(),
            };
            errors.push(FieldError::invalid(
                &rules.index(index).field(name),
                &Value::from(text),
                &format!("compilation failed: {problem}"),
            ));
        }
    }
    for (name, property) in &schema.properties {
        check_rules(property, &path.field("properties").key(name), errors);
    }
    if let Some(additional) = schema.additional.schema() {
        check_rules(additional, &path.field("additionalProperties"), errors);
    }
    if let Some(items) = schema.items() {
        check_rules(items, &path.field("items"), errors);
    }
}

/// Defaults must be valid themselves.
fn check_defaults(schema: &Value<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null())
        && let Ok(read) = Schema::read(schema)
    {
        let here = path.field("default");
        let mut filled = default.clone();
        read.default(&mut filled);
        for mut error in read.validate(&filled) {
            error.field = match error.field.as_str() {
                "<nil>" => here.dotted(),
                below => format!("{}.{below}", here.dotted()),
            };
            errors.push(error);
        }
    }
    for (name, property) in properties(schema) {
        check_defaults(property, &path.field("properties").key(name), errors);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(name).filter(|below| below.as_object().is_some()) {
            check_defaults(below, &path.field(name), errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn faults(schema: &str) -> Vec<String> {
        let document = parse(schema.as_bytes()).unwrap();
        check_structural(&document.value, &Path::new("s"))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn schemas_that_are_not_structural_are_explained() {
        for (schema, expected) in [
            (
                r#"{"properties":{}}"#,
                "s.type: Required value: must not be empty at the root",
            ),
            (
                r#"{"type":"object","properties":{"a":{"type":"array"}}}"#,
                "s.properties[a].items: Required value: must be specified",
            ),
            (
                r#"{"type":"object","properties":{"a":{}}}"#,
                "s.properties[a].type: Required value: must not be empty for specified object fields",
            ),
            (
                r#"{"type":"object","properties":{"a":{"type":"object","additionalProperties":{"type":"string"},"properties":{"x":{"type":"string"}}}}}"#,
                "s.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ),
            (
                r#"{"type":"object","properties":{"a":{"type":"array","x-kubernetes-list-type":"map","items":{"type":"object"}}}}"#,
                "s.properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
            ),
            (
                r#"{"type":"object","properties":{"a":{"type":"string","uniqueItems":true}}}"#,
                "s.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ),
            (
                r#"{"type":"object","anyOf":[{"type":"object"}]}"#,
                "s.anyOf[0].type: Forbidden: must be empty to be structural",
            ),
            (
                r#"{"type":"object","properties":{"a":{"type":"integer","default":"x"}}}"#,
                r#"s.properties[a].default: Invalid value: "string":  in body must be of type integer: "string""#,
            ),
            (
                r#"{"type":"object","oneOf":[{"properties":{"a":{"minimum":1}}}]}"#,
                "s.properties[a]: Required value: because it is defined in s.oneOf[0].properties[a]",
            ),
        ] {
            assert_eq!(faults(schema), [expected], "{schema}");
        }
        assert!(faults(r#"{"type":"object","properties":{"a":{"type":"string","x-kubernetes-validations":[{"rule":"self =="}]}}}"#)[0]
            .contains("compilation failed"));
    }

    #[test]
    fn structural_schemas_have_no_faults() {
        let schema = r#"{"type":"object","properties":{"port":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]},
            "free":{"x-kubernetes-preserve-unknown-fields":true},"list":{"type":"array","items":{"type":"string"},"default":["x"]}},
            "oneOf":[{"required":["port"]},{"properties":{"free":{"minProperties":1}}}]}"#;
        assert_eq!(faults(schema), Vec::<String>::new());
    }
}
