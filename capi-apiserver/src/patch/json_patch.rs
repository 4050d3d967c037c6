//! JSON patch, RFC 6902, as the Kubernetes API reads it.
//!
//! It is laxer than the RFC where upstream is: `replace` sets an absent member, negative indices
//! count from the end, and `copy` of an absent member gives null.

use std::borrow::Cow;

use super::PatchError;
use crate::json::{Value, parse, unescape_pointer};

/// How many operations a patch may have.
const MAX_OPERATIONS: usize = 10_000;

/// How many bytes `copy` may copy in all.
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// Applies a patch, given as the body of a request, to a value. On an error the value is left in
/// the middle of the patch and is to be dropped.
///
/// # Errors
/// [`PatchError::Malformed`] when the body is no patch, [`PatchError::TooLarge`] when it has too
/// many operations, [`PatchError::DoesNotApply`] when an operation fails.
pub fn apply<'a>(target: &mut Value<'a>, body: &'a [u8]) -> Result<(), PatchError> {
    let patch = parse(body)
        .map_err(|error| PatchError::decoding(&error.message))?
        .value;
    let operations = match patch {
        Value::Null => return Ok(()),
        Value::Array(operations) => operations,
        other => {
            let kind = super::go_kind(&other);
            return Err(PatchError::decoding(&format!(
                "json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp"
            )));
        }
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let operations: Vec<Operation<'a>> = operations
        .into_iter()
        .map(Operation::read)
        .collect::<Result<_, _>>()?;
    let mut copied = 0;
    for operation in operations {
        operation.apply(target, &mut copied)?;
    }
    Ok(())
}

struct Operation<'a> {
    op: Cow<'a, str>,
    path: Option<Cow<'a, str>>,
    from: Option<Cow<'a, str>>,
    value: Value<'a>,
}

impl<'a> Operation<'a> {
    fn read(operation: Value<'a>) -> Result<Self, PatchError> {
        let Value::Object(members) = operation else {
            let kind = super::go_kind(&operation);
            return Err(PatchError::decoding(&format!(
                "json: cannot unmarshal {kind} into Go value of type handlers.jsonPatchOp"
            )));
        };
        let mut read = Self {
            op: Cow::Borrowed(""),
            path: None,
            from: None,
            value: Value::Null,
        };
        for (name, member) in members {
            match (name.as_ref(), member) {
                ("value", value) => read.value = value,
                ("op", Value::String(op)) => read.op = op,
                ("path", Value::String(path)) => read.path = Some(path),
                ("from", Value::String(from)) => read.from = Some(from),
                ("op" | "path" | "from", other) if !other.is_null() => {
                    let kind = super::go_kind(&other);
                    return Err(PatchError::decoding(&format!(
                        "json: cannot unmarshal {kind} into Go struct field jsonPatchOp.{name} of type string"
                    )));
                }
                _ => {}
            }
        }
        Ok(read)
    }

    fn apply(self, target: &mut Value<'a>, copied: &mut usize) -> Result<(), PatchError> {
        let path = self.path.ok_or(PatchError::DoesNotApply)?;
        let from = |from: Option<Cow<'a, str>>| from.ok_or(PatchError::DoesNotApply);
        match self.op.as_ref() {
            "add" => add(target, &path, self.value),
            "remove" => remove(target, &path).map(drop),
            "replace" if path.is_empty() => match self.value {
                value @ (Value::Object(_) | Value::Array(_)) => {
                    *target = value;
                    Ok(())
                }
                _ => Err(PatchError::DoesNotApply),
            },
            "replace" => {
                let (container, key) = container(target, &path)?;
                match container {
                    Value::Object(object) => {
                        object.insert(key, self.value);
                    }
                    Value::Array(items) => {
                        let index = index(&key, items.len())?;
                        *items.get_mut(index).ok_or(PatchError::DoesNotApply)? = self.value;
                    }
                    _ => return Err(PatchError::DoesNotApply),
                }
                Ok(())
            }
            "move" => {
                let value = remove(target, &from(self.from)?)?;
                add(target, &path, value)
            }
            "copy" => {
                let value = get(target, &from(self.from)?)?.cloned().unwrap_or_default();
                *copied += value.to_vec().len();
                if *copied > MAX_COPIED_BYTES {
                    return Err(PatchError::DoesNotApply);
                }
                add(target, &path, value)
            }
            "test" => {
                let found = if path.is_empty() {
                    Some(&*target)
                } else {
                    get(target, &path)?
                };
                if found.unwrap_or(&Value::Null) == &self.value {
                    Ok(())
                } else {
                    Err(PatchError::DoesNotApply)
                }
            }
            _ => Err(PatchError::DoesNotApply),
        }
    }
}

/// The container that a path ends in, and the last token.
fn container<'v, 'a>(
    target: &'v mut Value<'a>,
    path: &str,
) -> Result<(&'v mut Value<'a>, String), PatchError> {
    let (parents, last) = path.rsplit_once('/').ok_or(PatchError::DoesNotApply)?;
    let mut place = target;
    for token in parents.split('/').skip(1) {
        let token = unescape_pointer(token);
        place = match place {
            Value::Object(object) => object.get_mut(&token),
            Value::Array(items) => {
                let index = index(&token, items.len())?;
                items.get_mut(index)
            }
            _ => None,
        }
        .ok_or(PatchError::DoesNotApply)?;
    }
    match place {
        Value::Object(_) | Value::Array(_) => Ok((place, unescape_pointer(last).into_owned())),
        _ => Err(PatchError::DoesNotApply),
    }
}

fn index(token: &str, length: usize) -> Result<usize, PatchError> {
    let index: i64 = token.parse().map_err(|_| PatchError::DoesNotApply)?;
    let length = i64::try_from(length).map_err(|_| PatchError::DoesNotApply)?;
    usize::try_from(if index < 0 { index + length } else { index })
        .map_err(|_| PatchError::DoesNotApply)
}

fn get<'v, 'a>(target: &'v mut Value<'a>, path: &str) -> Result<Option<&'v Value<'a>>, PatchError> {
    let (container, key) = container(target, path)?;
    match container {
        Value::Object(object) => Ok(object.get(&key)),
        Value::Array(items) => {
            let index = index(&key, items.len())?;
            items.get(index).map(Some).ok_or(PatchError::DoesNotApply)
        }
        _ => Err(PatchError::DoesNotApply),
    }
}

fn add<'a>(target: &mut Value<'a>, path: &str, value: Value<'a>) -> Result<(), PatchError> {
    let (container, key) = container(target, path)?;
    match container {
        Value::Object(object) => {
            object.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let index = index(&key, items.len() + 1)?;
            if index > items.len() {
                return Err(PatchError::DoesNotApply);
            }
            items.insert(index, value);
        }
        _ => return Err(PatchError::DoesNotApply),
    }
    Ok(())
}

fn remove<'a>(target: &mut Value<'a>, path: &str) -> Result<Value<'a>, PatchError> {
    let (container, key) = container(target, path)?;
    match container {
        Value::Object(object) => object.remove(&key).ok_or(PatchError::DoesNotApply),
        Value::Array(items) => {
            let index = index(&key, items.len())?;
            if index < items.len() {
                Ok(items.remove(index))
            } else {
                Err(PatchError::DoesNotApply)
            }
        }
        _ => Err(PatchError::DoesNotApply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(patch: &str) -> Result<String, PatchError> {
        let document = br#"{"spec":{"a":"x","at":["p","q"],"free":{"a/b":1,"arr":[1,2,3]}}}"#;
        let mut value = parse(document).unwrap().value;
        apply(&mut value, patch.as_bytes())?;
        Ok(value.to_string())
    }

    #[test]
    fn operations_change_the_object_as_they_do_upstream() {
        for (patch, expected) in [
            (
                r#"[{"op":"add","path":"/spec/at/0","value":"z"}]"#,
                r#""at":["z","p","q"]"#,
            ),
            (
                r#"[{"op":"add","path":"/spec/at/-","value":"z"}]"#,
                r#""at":["p","q","z"]"#,
            ),
            (
                r#"[{"op":"add","path":"/spec/at/-1","value":"z"}]"#,
                r#""at":["p","q","z"]"#,
            ),
            (
                r#"[{"op":"replace","path":"/spec/n","value":1}]"#,
                r#""n":1"#,
            ),
            (
                r#"[{"op":"move","from":"/spec/a","path":"/spec/d"}]"#,
                r#"{"spec":{"at":["p","q"],"#,
            ),
            (
                r#"[{"op":"copy","from":"/spec/none","path":"/spec/d"}]"#,
                r#""d":null"#,
            ),
            (
                r#"[{"op":"add","path":"/spec/free/a~1b","value":5}]"#,
                r#""a/b":5"#,
            ),
            (
                r#"[{"op":"remove","path":"/spec/free/arr/-1"}]"#,
                r#""arr":[1,2]"#,
            ),
            (
                r#"[{"op":"remove","path":"/spec/free/arr/01"}]"#,
                r#""arr":[1,3]"#,
            ),
            (
                r#"[{"op":"test","path":"/spec/none","value":null},{"op":"replace","path":"","value":{"b":1}}]"#,
                r#"{"b":1}"#,
            ),
            (r#"[{"op":"add","path":"/spec/a"}]"#, r#""a":null"#),
            ("null", r#""a":"x""#),
        ] {
            let result = patched(patch).unwrap();
            assert!(result.contains(expected), "{patch}: {result}");
        }
    }

    #[test]
    fn operations_that_do_not_apply_are_refused() {
        for patch in [
            r#"[{"op":"add"}]"#,
            r#"[{"op":"add","path":"/spec/at/9","value":"z"}]"#,
            r#"[{"op":"remove","path":"/spec/none"}]"#,
            r#"[{"op":"test","path":"/spec/a","value":"y"}]"#,
            r#"[{"op":"bad","path":"/spec/a"}]"#,
            r#"[{"op":"add","path":"/spec/x/y","value":5}]"#,
            r#"[{"op":"add","path":"","value":{}}]"#,
            r#"[{"op":"remove","path":"/spec/free/arr/x"}]"#,
            r#"[{"op":"replace","path":"/spec/free/arr/3","value":1}]"#,
            r#"[{"op":"remove","path":"/spec/free/arr/-4"}]"#,
        ] {
            assert_eq!(patched(patch), Err(PatchError::DoesNotApply), "{patch}");
        }
    }

    #[test]
    fn bodies_that_are_no_patch_are_explained() {
        for (patch, words) in [
            ("{", "error decoding patch: unexpected end of JSON input"),
            (
                "{}",
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            (
                "[1]",
                "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
            ),
            (
                r#"[{"op":1}]"#,
                "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
            ),
        ] {
            assert_eq!(patched(patch).unwrap_err().to_string(), words);
        }
        let many = format!(
            "[{}]",
            vec![r#"{"op":"test","path":"/x"}"#; 10_001].join(",")
        );
        assert!(matches!(patched(&many), Err(PatchError::TooLarge(_))));
    }
}
