//! Sends objects of every shape that the definitions allow through conversions, in tests.

use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::samples::Samples;
use super::{complete, remainder, schema_of};
use crate::api::annotations::CONVERSION_DATA;
use crate::api::convert::{Conversion, ReferenceVersions};

/// Converts objects of an older version to the hub and back, and hub objects to the older version
/// and back: nothing is lost, and the hub's type `T` knows every field of what comes out.
///
/// Values that stand for "not set" (`false`, `0`, empty) may go.
///
/// # Errors
///
/// A text with every object that comes back changed, or that the type does not know wholly.
pub fn check_conversion<T>(
    conversion: &Conversion,
    definition: &Value,
    samples: &Samples,
    references: &dyn ReferenceVersions,
) -> Result<(), String>
where
    T: Serialize + DeserializeOwned,
{
    let mut problems = String::new();
    let api_version = |version: &str| format!("{}/{version}", conversion.hub.group);
    let schema = |version: &str| {
        schema_of(definition, version).ok_or_else(|| format!("there is no version {version}"))
    };
    let hub = conversion.hub.version;
    for spoke in conversion.spokes.iter().map(|spoke| spoke.version) {
        for (from, to) in [(spoke, hub), (hub, spoke)] {
            for sample in samples.all(schema(from)?) {
                let object = complete(definition, from, sample);
                let there = conversion.convert(object.clone(), &api_version(to), references);
                let there = match there {
                    Ok(there) => there,
                    Err(error) => {
                        let _ = writeln!(problems, "{from} to {to}: {error}: {object}");
                        continue;
                    }
                };
                if to == hub {
                    let typed: T = serde_json::from_value(there.clone())
                        .map_err(|error| format!("{error}: {there}"))?;
                    let written =
                        serde_json::to_value(&typed).map_err(|error| error.to_string())?;
                    if let Some(rest) = remainder(&meaning(&there), &meaning(&written)) {
                        let _ = writeln!(problems, "{from} to {to}: the type does not know {rest}");
                    }
                }
                let back = conversion
                    .convert(there.clone(), &api_version(from), references)
                    .map_err(|error| format!("{error}: {there}"))?;
                let (before, mut after) = (meaning(&object), meaning(&back));
                forgive_completed_references(&before, &mut after);
                if before != after {
                    let _ = writeln!(
                        problems,
                        "{from} to {to} and back\nlost     {}\ninvented {}",
                        remainder(&before, &after).unwrap_or_default(),
                        remainder(&after, &before).unwrap_or_default()
                    );
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// References come back with the version and namespace that they mean.
fn forgive_completed_references(before: &Value, after: &mut Value) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let names = ["apiVersion", "kind", "namespace"];
            if before.keys().chain(after.keys()).any(|name| name == "kind") {
                after
                    .retain(|name, _| !names.contains(&name.as_str()) || before.contains_key(name));
            }
            for (name, after) in after {
                forgive_completed_references(before.get(name).unwrap_or(&Value::Null), after);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            before
                .iter()
                .zip(after)
                .for_each(|(before, after)| forgive_completed_references(before, after));
        }
        _ => {}
    }
}

/// An object without what stands for "not set", and without what a conversion keeps.
#[must_use]
pub fn meaning(value: &Value) -> Value {
    let unset = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
    };
    match value {
        Value::Object(object) => {
            let fields = object.iter().filter(|(name, _)| *name != CONVERSION_DATA);
            let fields = fields.map(|(name, value)| {
                (
                    name.clone(),
                    if name == "value" {
                        value.clone()
                    } else {
                        meaning(value)
                    },
                )
            });
            fields
                .filter(|(_, value)| !unset(value))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(list) => list.iter().map(meaning).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}
