//! Secrets and config maps: `stringData`, types, immutability.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{json::Value, status::Cause};

/// Moves `stringData` into `data`, and sets the type.
pub(crate) fn default(secret: &mut Value<'_>) {
    if let Some(Value::Object(texts)) = secret
        .as_object_mut()
        .and_then(|secret| secret.remove("stringData"))
    {
        if !texts.is_empty() && !matches!(secret.get("data"), Some(Value::Object(_))) {
            secret.set_at(&["data"], crate::json::Object::new());
        }
        if let Some(Value::Object(data)) = secret.get_mut("data") {
            for (key, value) in texts {
                if let Value::String(text) = value {
                    data.insert(key, STANDARD.encode(text.as_bytes()));
                }
            }
        }
    }
    if secret
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        secret.set_at(&["type"], "Opaque");
    }
}

/// Largest sum of all values, in bytes.
const SIZE: usize = 1024 * 1024;

fn key_fault(key: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(plain) {
        return Some(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        );
    }
    if key.len() > 253 {
        return Some("must be no more than 253 characters");
    }
    match key {
        "." => Some("may not be '.'"),
        ".." => Some("may not be '..'"),
        _ => None,
    }
}

fn keys(object: &Value<'_>, field: &str, causes: &mut Vec<Cause>) -> usize {
    let mut size = 0;
    for (key, value) in object
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(crate::json::Object::iter)
    {
        size += value.as_str().map_or(0, str::len);
        if let Some(why) = key_fault(key) {
            causes.push(Cause::new(
                "FieldValueInvalid",
                format!("{field}[{key}]"),
                format!("Invalid value: \"{key}\": {why}"),
            ));
        }
    }
    size
}

fn immutable(
    object: &Value<'_>,
    old: Option<&Value<'_>>,
    fields: &[&'static str],
    causes: &mut Vec<Cause>,
) {
    let Some(old) = old else { return };
    if old.get("immutable").and_then(Value::as_bool) != Some(true) {
        return;
    }
    let mut refuse = |field: &str| {
        causes.push(Cause::new(
            "FieldValueForbidden",
            field,
            "Forbidden: field is immutable when `immutable` is set",
        ));
    };
    if object.get("immutable").and_then(Value::as_bool) != Some(true) {
        refuse("immutable");
    }
    for field in fields {
        if object.get(field) != old.get(field) {
            refuse(field);
        }
    }
}

pub(crate) fn validate(secret: &Value<'_>, old: Option<&Value<'_>>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let size = keys(secret, "data", &mut causes);
    if size / 4 * 3 > SIZE {
        causes.push(Cause::new(
            "FieldValueTooLong",
            "data",
            format!("Too long: may not be more than {SIZE} bytes"),
        ));
    }
    let kind = secret
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if let Some(old) = old {
        let before = old.get("type").and_then(Value::as_str).unwrap_or_default();
        if before != kind {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "type",
                format!("Invalid value: \"{kind}\": field is immutable"),
            ));
        }
    }
    let required: &[&str] = match kind {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in required {
        if secret.at(&["data", key]).is_none() {
            causes.push(Cause::new(
                "FieldValueRequired",
                format!("data[{key}]"),
                "Required value",
            ));
        }
    }
    immutable(secret, old, &["data"], &mut causes);
    causes
}

pub(crate) fn validate_config_map(config: &Value<'_>, old: Option<&Value<'_>>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let size = keys(config, "data", &mut causes) + keys(config, "binaryData", &mut causes);
    if size > SIZE {
        causes.push(Cause::new(
            "FieldValueTooLong",
            "",
            format!("Too long: may not be more than {SIZE} bytes"),
        ));
    }
    immutable(config, old, &["data", "binaryData"], &mut causes);
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    #[test]
    fn string_data_moves_into_data_and_wins() {
        let mut secret = parse(br#"{"data":{"a":"b2xk"},"stringData":{"a":"new","b":"x"}}"#)
            .expect("json")
            .value;
        default(&mut secret);
        assert_eq!(
            secret.to_string(),
            r#"{"data":{"a":"bmV3","b":"eA=="},"type":"Opaque"}"#
        );
        let again = secret.to_string();
        default(&mut secret);
        assert_eq!(secret.to_string(), again);
    }

    #[test]
    fn an_immutable_secret_does_not_change() {
        let old = parse(br#"{"immutable":true,"data":{"a":""},"type":"Opaque"}"#)
            .expect("json")
            .value;
        let new = parse(br#"{"immutable":true,"data":{"a":"eA=="},"type":"Opaque"}"#)
            .expect("json")
            .value;
        assert_eq!(validate(&new, Some(&old)).len(), 1);
        assert!(validate(&old, Some(&old)).is_empty());
    }

    #[test]
    fn keys_have_a_grammar() {
        let secret = parse(br#"{"data":{"a b":"","..":"","ok.key":""}}"#)
            .expect("json")
            .value;
        assert_eq!(validate(&secret, None).len(), 2);
    }
}
