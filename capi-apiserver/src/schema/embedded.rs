//! Resources inside of resources: `x-kubernetes-embedded-resource`. They have a type, and their
//! labels and annotations keep the rules of any object's.

use super::{Additional, FieldError, Path, Schema};
use crate::json::{Object, Value};
use crate::names;

const EMPTY: &str = "must not be empty";

impl Schema {
    /// Finds embedded resources without a type, or with one or metadata that cannot be. What did
    /// not change is told too, as upstream does.
    pub(super) fn embedded_resources(
        &self,
        value: &Value<'_>,
        path: &Path<'_>,
        errors: &mut Vec<FieldError>,
    ) {
        self.visit_embedded(value, path, &mut |path, object| check(object, path, errors));
    }

    /// Shows every embedded resource to `visit`, with its path.
    pub(crate) fn visit_embedded(
        &self,
        value: &Value<'_>,
        path: &Path<'_>,
        visit: &mut dyn FnMut(&Path<'_>, &Object<'_>),
    ) {
        if !self.within.embedded {
            return;
        }
        match value {
            Value::Object(object) => {
                if self.embedded_resource {
                    visit(path, object);
                }
                for (name, member) in object.iter() {
                    if let Some(schema) = self.property(name) {
                        schema.visit_embedded(member, &path.field(name), visit);
                    } else if let Additional::Schema(schema) = &self.additional {
                        schema.visit_embedded(member, &path.key(name), visit);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = self.items() {
                    for (index, item) in items.iter().enumerate() {
                        schema.visit_embedded(item, &path.index(index), visit);
                    }
                }
            }
            _ => {}
        }
    }
}

fn check(object: &Object<'_>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for field in ["apiVersion", "kind"] {
        let here = path.field(field);
        let fault = match object.get(field) {
            None => {
                errors.push(FieldError::required(&here, ""));
                continue;
            }
            Some(Value::String(text)) if text.is_empty() => Some(EMPTY.to_owned()),
            Some(Value::String(text)) if field == "apiVersion" => (text.split('/').count() > 2)
                .then(|| format!("unexpected GroupVersion string: {text}")),
            Some(Value::String(text)) => names::name_of_kind_error(text)
                .map(|fault| format!("may have mixed case, but should otherwise match: {fault}")),
            // Such an object is not decoded.
            Some(_) => None,
        };
        if let (Some(fault), Some(value)) = (fault, object.get(field)) {
            errors.push(FieldError::invalid(&here, value, &fault));
        }
    }
    let metadata = path.field("metadata");
    let members = |field: &str| {
        let metadata = object.get("metadata").and_then(Value::as_object);
        metadata
            .and_then(|metadata| metadata.get(field))
            .and_then(Value::as_object)
    };
    let mut invalid = |field: &str, text: &str, fault: Option<String>| {
        if let Some(fault) = fault {
            let here = metadata.field(field);
            errors.push(FieldError::invalid(&here, &Value::from(text), &fault));
        }
    };
    for (key, value) in members("labels").into_iter().flat_map(Object::iter) {
        invalid("labels", key, names::qualified_name_error(key));
        let value = value.as_str().unwrap_or_default();
        invalid("labels", value, names::label_value_error(value));
    }
    for key in members("annotations").into_iter().flat_map(Object::keys) {
        invalid(
            "annotations",
            key,
            names::qualified_name_error(&key.to_lowercase()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn faults(object: &str) -> Vec<String> {
        let schema = br#"{"type":"object","properties":{"spec":{"type":"object","properties":{
            "template":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true},
            "list":{"type":"array","items":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}}
        }}}}"#;
        let schema = parse(schema).expect("JSON").value;
        let schema = Schema::read(&schema).expect("a schema");
        let object = parse(object.as_bytes()).expect("JSON").value;
        let errors = schema.validate(&object);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_embedded_resource_has_a_type() {
        let good = r#"{"spec":{"template":{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"a/b":"c"}}}}}"#;
        assert_eq!(faults(good), Vec::<String>::new());
        assert_eq!(faults(r#"{"spec":{}}"#), Vec::<String>::new());
        assert_eq!(
            faults(r#"{"spec":{"template":{}}}"#),
            [
                "spec.template.apiVersion: Required value",
                "spec.template.kind: Required value",
            ]
        );
        let found = faults(r#"{"spec":{"list":[{"apiVersion":"a/b/c","kind":"Po d"}]}}"#);
        assert_eq!(
            found[0],
            "spec.list[0].apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"
        );
        assert!(
            found[1].starts_with("spec.list[0].kind: Invalid value: \"Po d\": may have mixed case")
        );
        let empty = faults(r#"{"spec":{"template":{"apiVersion":"","kind":"P"}}}"#);
        assert_eq!(
            empty,
            ["spec.template.apiVersion: Invalid value: \"\": must not be empty"]
        );
    }

    #[test]
    fn labels_of_an_embedded_resource_are_labels() {
        let found = faults(
            r#"{"spec":{"template":{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"-":"_"},"annotations":{"a b":""}}}}}"#,
        );
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[2].starts_with("spec.template.metadata.annotations: "),
            "{found:?}"
        );
    }
}
