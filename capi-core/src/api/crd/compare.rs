//! Compares two CustomResourceDefinitions: do they say the same to an API server?

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// Something that two definitions say differently.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where: version, then the path within its schema, separated by `.`.
    pub path: String,
    /// What the first says.
    pub ours: Value,
    /// What the second says.
    pub theirs: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} / {}", self.path, self.ours, self.theirs)
    }
}

/// What two definitions say differently about names, versions, columns, subresources and schemas.
///
/// Descriptions, messages of rules, annotations, and the way to a conversion webhook are not compared.
#[must_use]
pub fn differences(ours: &Value, theirs: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    for path in [
        "/metadata/name",
        "/metadata/labels",
        "/spec/group",
        "/spec/names",
        "/spec/scope",
    ] {
        compare(path, at(ours, path), at(theirs, path), &mut found);
    }
    let names: BTreeSet<String> = [ours, theirs]
        .into_iter()
        .flat_map(versions)
        .map(|(name, _)| name)
        .collect();
    for name in names {
        let find = |definition: &Value| {
            versions(definition)
                .find(|(version, _)| *version == name)
                .map_or(Value::Null, |(_, version)| version)
        };
        compare(&name, &find(ours), &find(theirs), &mut found);
    }
    found
}

fn at<'a>(definition: &'a Value, path: &str) -> &'a Value {
    definition.pointer(path).unwrap_or(&Value::Null)
}

fn versions(definition: &Value) -> impl Iterator<Item = (String, Value)> {
    let versions = at(definition, "/spec/versions")
        .as_array()
        .into_iter()
        .flatten();
    versions
        .filter_map(|version| Some((version.get("name")?.as_str()?.to_owned(), version.clone())))
}

fn compare(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<Difference>) {
    match (ours, theirs) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let values = (
                    left.get(key).unwrap_or(&Value::Null),
                    right.get(key).unwrap_or(&Value::Null),
                );
                let prose = matches!(key.as_str(), "description" | "message")
                    && [values.0, values.1]
                        .iter()
                        .all(|value| value.is_null() || value.is_string());
                if !prose {
                    compare(&format!("{path}.{key}"), values.0, values.1, found);
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let unordered = path.ends_with(".required") || path.ends_with(".enum");
            let (left, right) = if unordered {
                (sorted(left), sorted(right))
            } else {
                (left.clone(), right.clone())
            };
            for (index, (left, right)) in left.iter().zip(&right).enumerate() {
                compare(&format!("{path}.{index}"), left, right, found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(Difference {
            path: path.to_owned(),
            ours: ours.clone(),
            theirs: theirs.clone(),
        }),
    }
}

fn sorted(values: &[Value]) -> Vec<Value> {
    let mut values = values.to_vec();
    values.sort_by_key(ToString::to_string);
    values
}
