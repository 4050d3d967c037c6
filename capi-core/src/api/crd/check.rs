//! Holds committed definitions against types, and types against definitions, in tests.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::samples::{Samples, leaves};
use super::{schema_of, with_schema};

/// Compares the definition that is committed at `path` with the schema that the types make.
///
/// With the environment variable `UPDATE_CRDS` set, the file is brought up to date instead.
///
/// # Errors
///
/// A text that names the file when it cannot be read or written, or is not what the types make.
pub fn check_committed(path: &Path, version: &str, schema: &Value) -> Result<Value, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let committed: Value =
        serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
    let made = with_schema(committed.clone(), version, schema);
    if std::env::var_os("UPDATE_CRDS").is_some() {
        let mut text =
            serde_json::to_string_pretty(&made).map_err(|error| format!("{name}: {error}"))?;
        text.push('\n');
        std::fs::write(path, text).map_err(|error| format!("{name}: {error}"))?;
        return Ok(made);
    }
    if made == committed {
        Ok(made)
    } else {
        Err(format!(
            "{name} is not what the types make; run the test with UPDATE_CRDS=1 and look at the change"
        ))
    }
}

/// Compares a definition with the one of the same name among `theirs`, a text of YAML or JSON
/// documents that the caller has parsed. `known` lists the paths that may differ.
///
/// # Errors
///
/// A text with each difference that is not known, and each known one that is none.
pub fn check_against(ours: &Value, theirs: &[Value], known: &[&str]) -> Result<(), String> {
    let name = &ours["metadata"]["name"];
    let Some(theirs) = theirs
        .iter()
        .find(|definition| definition["metadata"]["name"] == *name)
    else {
        return Err(format!("there is no definition {name} to compare with"));
    };
    let found = super::differences(ours, theirs);
    let mut problems = String::new();
    for difference in found
        .iter()
        .filter(|difference| !known.contains(&difference.path.as_str()))
    {
        let _ = writeln!(problems, "{name} {difference}");
    }
    for path in known
        .iter()
        .filter(|path| found.iter().all(|difference| difference.path != **path))
    {
        let _ = writeln!(problems, "{name} {path}: listed as different, but equal");
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Reads and writes objects of every shape that a definition allows through a type: nothing is lost,
/// nothing is invented, and each value of a wrong JSON type is refused with its path.
///
/// # Errors
///
/// A text with every object that comes out changed and every wrong value that is accepted.
pub fn check_type<T>(definition: &Value, version: &str, samples: &Samples) -> Result<(), String>
where
    T: Serialize + DeserializeOwned,
{
    let schema =
        schema_of(definition, version).ok_or_else(|| format!("there is no version {version}"))?;
    let mut problems = String::new();
    for sample in samples.all(schema) {
        let object = complete(definition, version, sample);
        match read::<T>(&object) {
            Ok(typed) => {
                let written = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
                if normal(&object) != normal(&written) {
                    let _ = writeln!(
                        problems,
                        "read    {}\nwritten {}",
                        normal(&object),
                        normal(&written)
                    );
                }
            }
            Err((path, error)) => {
                let _ = writeln!(problems, "{path}: {error}: {object}");
            }
        }
    }
    let full = complete(definition, version, samples.full(schema));
    for (place, wrong) in leaves(schema) {
        if matches!(place.as_str(), "" | "/metadata" | "/apiVersion" | "/kind") {
            continue;
        }
        let mut object = full.clone();
        let Some(value) = object.pointer_mut(&place) else {
            continue;
        };
        *value = wrong;
        match read::<T>(&object) {
            Ok(_) => {
                let _ = writeln!(
                    problems,
                    "{place}: {} is accepted",
                    object.pointer(&place).unwrap_or(&Value::Null)
                );
            }
            Err((path, error)) if pointer(&path) != place => {
                let _ = writeln!(
                    problems,
                    "{place}: the error is said to be at {path}: {error}"
                );
            }
            Err(_) => {}
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// A sample with its `apiVersion`, `kind` and a name.
#[must_use]
pub fn complete(definition: &Value, version: &str, mut sample: Value) -> Value {
    let spec = &definition["spec"];
    let group = spec["group"].as_str().unwrap_or_default();
    sample["apiVersion"] = json!(format!("{group}/{version}"));
    sample["kind"] = spec["names"]["kind"].clone();
    sample["metadata"] = json!({ "name": "sample", "namespace": "here" });
    sample
}

/// An object without its empty lists and objects, which mean the same as absent ones.
#[must_use]
pub fn normal(value: &Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Object(object) => object.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(object) => {
            let object: Map<String, Value> = object
                .iter()
                .map(|(name, value)| (name.clone(), normal(value)))
                .filter(|(_, v)| !empty(v))
                .collect();
            object.into()
        }
        Value::Array(list) => list.iter().map(normal).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

fn read<T: DeserializeOwned>(object: &Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(object)
        .map_err(|error| (error.path().to_string(), error.inner().to_string()))
}

/// `spec.list[0].field` as a JSON pointer.
fn pointer(path: &str) -> String {
    format!(
        "/{}",
        path.replace('[', ".").replace(']', "").replace('.', "/")
    )
}
