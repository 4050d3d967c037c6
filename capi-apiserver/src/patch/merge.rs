//! JSON merge patch, RFC 7386.

use super::{PatchError, go_kind};
use crate::json::{Document, Object, Value, parse};

/// Reads the body of a request as a merge patch for an object, with the members it repeats.
///
/// # Errors
/// [`PatchError::Malformed`] when the body is not a JSON object.
pub fn read(body: &[u8]) -> Result<Document<'_>, PatchError> {
    let document = parse(body).map_err(|error| PatchError::decoding(&error.message))?;
    match &document.value {
        Value::Object(_) => Ok(document),
        Value::Null => Err(PatchError::Malformed("Invalid JSON Patch".to_owned())),
        other => Err(PatchError::decoding(&format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            go_kind(other)
        ))),
    }
}

/// Merges a patch into a value: members of objects are merged, `null` removes, anything else
/// replaces. Merging a second time changes nothing.
pub fn merge<'a>(target: &mut Value<'a>, patch: Value<'a>) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !matches!(target, Value::Object(_)) {
        *target = Value::Object(Object::new());
    }
    let Value::Object(object) = target else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            object.remove(&name);
        } else {
            merge(object.entry(name), value);
        }
    }
}

/// What merging a patch into a value makes, without touching the value: only what the patch leaves
/// is copied.
pub(crate) fn merged<'a>(target: Option<&Value<'a>>, patch: Value<'a>) -> Value<'a> {
    let Value::Object(mut patch) = patch else {
        return patch;
    };
    let known = target.and_then(Value::as_object);
    let mut object = Object::with_capacity(known.map_or(0, Object::len).max(patch.len()));
    for (name, value) in known.into_iter().flat_map(Object::iter) {
        match patch.get_mut(name).map(std::mem::take) {
            None => object.push(name.to_owned(), value.clone()),
            Some(Value::Null) => {}
            Some(new) => object.push(name.to_owned(), merged(Some(value), new)),
        }
    }
    for (name, value) in patch {
        // What is null was merged, or takes away what is not there.
        if !value.is_null() {
            object.push(name, merged(None, value));
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (target, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a":{"b":"d"}}"#,
            ),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let mut value = parse(target.as_bytes()).unwrap().value;
            let made = merged(Some(&value), parse(patch.as_bytes()).unwrap().value);
            assert_eq!(made, parse(expected.as_bytes()).unwrap().value);
            merge(&mut value, parse(patch.as_bytes()).unwrap().value);
            assert_eq!(
                value,
                parse(expected.as_bytes()).unwrap().value,
                "{target} with {patch}"
            );
        }
    }
}
