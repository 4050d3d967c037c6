//! Writing JSON.

use super::Value;

pub(super) fn value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.as_str().as_bytes()),
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                self::value(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (index, (name, member)) in object.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(name, out);
                out.push(b':');
                self::value(member, out);
            }
            out.push(b'}');
        }
    }
}

pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    self::text(text, out);
    out.push(b'"');
}

/// Writes what stands between the quotes of a string.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    loop {
        let length = super::scan::plain(rest);
        out.extend_from_slice(&rest[..length]);
        let Some(byte) = rest.get(length) else { return };
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            _ => b"",
        };
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
        rest = &rest[length + 1..];
    }
}

/// Writes members in the order of their names.
pub(super) fn sorted(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                sorted(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (index, (name, member)) in object.sorted().into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(name, out);
                out.push(b':');
                sorted(member, out);
            }
            out.push(b'}');
        }
        scalar => self::value(scalar, out),
    }
}
