//! JSON patches (RFC 6902), as lax as Talos' library where users rely on it: a replace of a
//! key that is not there adds it, and an add at index -1 appends. Everything else that the
//! library lets pass by accident is refused with a reason.

use std::fmt;

use serde_json::Value;

use crate::config::document::{decode_document, encode_document};
use crate::config::yaml::Node;
use crate::config::{ConfigError, MachineConfig};

/// One operation. Debug does not show the value, which can be a secret.
#[derive(Clone, PartialEq)]
pub struct JsonOperation {
    /// `add`, `remove`, `replace`, `move`, `copy` or `test`.
    pub op: String,
    /// JSON pointer.
    pub path: String,
    /// JSON pointer of the source of a move or copy.
    pub from: Option<String>,
    /// Value of an add, replace or test.
    pub value: Option<Value>,
}

impl fmt::Debug for JsonOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonOperation")
            .field("op", &self.op)
            .field("path", &self.path)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// Operations, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonPatch {
    operations: Vec<JsonOperation>,
}

impl JsonPatch {
    /// A patch of these operations.
    pub fn new(operations: impl IntoIterator<Item = JsonOperation>) -> Self {
        Self {
            operations: operations.into_iter().collect(),
        }
    }

    /// Reads a list of operations.
    pub(super) fn from_json(value: &Value) -> Result<Self, ConfigError> {
        let invalid =
            |index: usize, what: &str| ConfigError::Invalid(format!("operation {index}: {what}"));
        let items = value.as_array().ok_or_else(|| {
            ConfigError::Invalid("a JSON patch must be a list of operations".to_owned())
        })?;
        items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let text = |key| item.get(key).and_then(Value::as_str).map(str::to_owned);
                Ok(JsonOperation {
                    op: text("op").ok_or_else(|| invalid(index, "op is missing"))?,
                    path: text("path").ok_or_else(|| invalid(index, "path is missing"))?,
                    from: text("from"),
                    value: item.get("value").cloned(),
                })
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Self::new)
    }

    /// Whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    pub(super) fn apply(&self, config: &MachineConfig) -> Result<MachineConfig, ConfigError> {
        if self.is_empty() {
            return Ok(config.clone());
        }
        let [document] = config.documents() else {
            return Err(ConfigError::Invalid(
                "JSON patches are not supported for multi-document machine configuration: move \
                 them to strategicPatches, or set talosVersion to v1.11 or earlier"
                    .to_owned(),
            ));
        };
        let mut value = Node::Mapping(document.clone()).to_json();
        for (index, operation) in self.operations.iter().enumerate() {
            operation.apply(&mut value).map_err(|problem| {
                ConfigError::Invalid(format!(
                    "operation {index} ({} {}): {problem}",
                    operation.op, operation.path
                ))
            })?;
        }
        let Node::Mapping(patched) = Node::from_json(&value) else {
            return Err(ConfigError::Invalid(
                "the JSON patch leaves no machine configuration".to_owned(),
            ));
        };
        let (decoded, _) = decode_document(&patched, 0)?;
        Ok(MachineConfig::new([encode_document(&decoded)]))
    }
}

impl JsonOperation {
    fn apply(&self, root: &mut Value) -> Result<(), String> {
        let path = pointer(&self.path)?;
        let value = || {
            self.value
                .clone()
                .ok_or_else(|| "value is missing; to set null, delete the key instead".to_owned())
        };
        match self.op.as_str() {
            "add" => add(root, &path, value()?),
            "remove" => remove(root, &path).map(drop),
            "replace" => replace(root, &path, value()?),
            "move" => {
                let moved = remove(root, &self.source()?)?;
                add(root, &path, moved)
            }
            "copy" => {
                let copied = find(root, &self.source()?)?.clone();
                add(root, &path, copied)
            }
            "test" => {
                if *find(root, &path)? == value()? {
                    Ok(())
                } else {
                    Err("the value is another one".to_owned())
                }
            }
            _ => Err("unknown operation: use add, remove, replace, move, copy or test".to_owned()),
        }
    }

    fn source(&self) -> Result<Vec<String>, String> {
        pointer(self.from.as_deref().ok_or("from is missing")?)
    }
}

fn pointer(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let rest = text
        .strip_prefix('/')
        .ok_or("the path must begin with a slash")?;
    Ok(rest
        .split('/')
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect())
}

fn missing(step: &str) -> String {
    format!("there is nothing at {step:?}")
}

fn element(step: &str, length: usize) -> Result<usize, String> {
    let index = match step.strip_prefix('-') {
        Some(back) => back
            .parse::<usize>()
            .ok()
            .and_then(|back| length.checked_sub(back)),
        None => step.parse().ok(),
    };
    index
        .filter(|index| *index < length)
        .ok_or_else(|| format!("there is no element {step:?}"))
}

fn find<'a>(root: &'a mut Value, path: &[String]) -> Result<&'a mut Value, String> {
    path.iter().try_fold(root, |value, step| match value {
        Value::Object(fields) => fields.get_mut(step).ok_or_else(|| missing(step)),
        Value::Array(items) => {
            let index = element(step, items.len())?;
            items.get_mut(index).ok_or_else(|| missing(step))
        }
        _ => Err(missing(step)),
    })
}

fn add(root: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else {
        *root = value;
        return Ok(());
    };
    match find(root, parents).map_err(|problem| format!("missing path: {problem}"))? {
        Value::Object(fields) => {
            fields.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(items) => {
            let index = if last == "-" {
                items.len()
            } else {
                element(last, items.len() + 1)?
            };
            items.insert(index, value);
            Ok(())
        }
        _ => Err(missing(last)),
    }
}

fn remove(root: &mut Value, path: &[String]) -> Result<Value, String> {
    let (last, parents) = path.split_last().ok_or("the root cannot be removed")?;
    match find(root, parents)? {
        Value::Object(fields) => fields.remove(last).ok_or_else(|| missing(last)),
        Value::Array(items) => {
            let index = element(last, items.len())?;
            Ok(items.remove(index))
        }
        _ => Err(missing(last)),
    }
}

fn replace(root: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else {
        *root = value;
        return Ok(());
    };
    match find(root, parents).map_err(|problem| format!("missing path: {problem}"))? {
        Value::Object(fields) => {
            fields.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(items) => {
            let index = element(last, items.len())?;
            items[index] = value;
            Ok(())
        }
        _ => Err(missing(last)),
    }
}
