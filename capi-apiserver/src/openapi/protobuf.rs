//! The document of version 2 in the protocol buffers encoding of gnostic, the only one that
//! kubectl asks for. It answers to
//! <https://github.com/google/gnostic-models/blob/main/openapiv2/OpenAPIv2.proto>.

use crate::json::{Object, Value};

/// The media type of the encoding, as answers name it. Clients ask for it with an `@` before
/// `v1.0`, which is not allowed there.
pub const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Encodes a document of version 2.
#[must_use]
pub fn encode(document: &Value<'_>) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, document.get("swagger"));
    if let Some(info) = document.get("info") {
        out.message(2, |message| {
            message.text(1, info.get("title"));
            message.text(2, info.get("version"));
        });
    }
    out.message(8, |paths| {
        for (name, path) in members(document.get("paths")) {
            paths.named(2, name, |message| path_item(message, path));
        }
    });
    out.message(9, |definitions| {
        for (name, definition) in members(document.get("definitions")) {
            definitions.named(1, name, |message| schema(message, definition));
        }
    });
    out.bytes
}

fn members<'v, 'a>(value: Option<&'v Value<'a>>) -> impl Iterator<Item = (&'v str, &'v Value<'a>)> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Object::iter)
}

fn items<'v, 'a>(value: Option<&'v Value<'a>>) -> &'v [Value<'a>] {
    value.and_then(Value::as_array).unwrap_or_default()
}

#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes
                .push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
            number >>= 7;
        }
        self.bytes.push(u8::try_from(number).unwrap_or(0));
    }

    fn chunk(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(u64::try_from(bytes.len()).unwrap_or(0));
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, value: Option<&Value<'_>>) {
        if let Some(text) = value
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
        {
            self.chunk(field, text.as_bytes());
        }
    }

    fn flag(&mut self, field: u64, value: Option<&Value<'_>>) {
        if value.and_then(Value::as_bool) == Some(true) {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    fn integer(&mut self, field: u64, value: Option<&Value<'_>>) {
        if let Some(number) = value
            .and_then(Value::as_i64)
            .and_then(|number| u64::try_from(number).ok())
        {
            self.varint(field << 3);
            self.varint(number);
        }
    }

    fn double(&mut self, field: u64, value: Option<&Value<'_>>) {
        if let Some(number) = value.and_then(Value::as_f64) {
            self.varint(field << 3 | 1);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) {
        let mut message = Message::default();
        fill(&mut message);
        self.chunk(field, &message.bytes);
    }

    /// A message of a name and a value.
    fn named(&mut self, field: u64, name: &str, fill: impl FnOnce(&mut Message)) {
        self.message(field, |entry| {
            entry.chunk(1, name.as_bytes());
            entry.message(2, fill);
        });
    }

    /// Any value, as YAML; JSON is YAML.
    fn any(&mut self, field: u64, value: &Value<'_>) {
        self.message(field, |any| any.chunk(2, &value.to_vec()));
    }

    fn extensions(&mut self, field: u64, of: &Value<'_>) {
        for (name, value) in members(Some(of)).filter(|(name, _)| name.starts_with("x-")) {
            self.message(field, |entry| {
                entry.chunk(1, name.as_bytes());
                entry.any(2, value);
            });
        }
    }
}

fn path_item(message: &mut Message, path: &Value<'_>) {
    for (field, method) in [
        (2, "get"),
        (3, "put"),
        (4, "post"),
        (5, "delete"),
        (8, "patch"),
    ] {
        if let Some(operation) = path.get(method) {
            message.message(field, |message| self::operation(message, operation));
        }
    }
    for parameter in items(path.get("parameters")) {
        message.message(9, |message| self::parameter(message, parameter));
    }
}

fn operation(message: &mut Message, operation: &Value<'_>) {
    message.text(5, operation.get("operationId"));
    for parameter in items(operation.get("parameters")) {
        message.message(8, |message| self::parameter(message, parameter));
    }
    message.message(9, |responses| {
        for (code, response) in members(operation.get("responses")) {
            responses.named(1, code, |value| {
                value.message(1, |message| {
                    message.text(1, response.get("description"));
                    if let Some(schema) = response.get("schema") {
                        message.message(2, |item| {
                            item.message(1, |message| self::schema(message, schema));
                        });
                    }
                });
            });
        }
    });
    message.extensions(13, operation);
}

fn parameter(message: &mut Message, parameter: &Value<'_>) {
    message.message(1, |choice| {
        match parameter.get("in").and_then(Value::as_str) {
            Some("body") => choice.message(1, |body| {
                body.text(2, parameter.get("name"));
                body.text(3, parameter.get("in"));
                body.flag(4, parameter.get("required"));
                if let Some(schema) = parameter.get("schema") {
                    body.message(5, |message| self::schema(message, schema));
                }
            }),
            Some("path") => choice.message(2, |other| {
                other.message(4, |path| {
                    path.flag(1, parameter.get("required"));
                    path.text(2, parameter.get("in"));
                    path.text(4, parameter.get("name"));
                    path.text(5, parameter.get("type"));
                });
            }),
            _ => choice.message(2, |other| {
                other.message(3, |query| {
                    query.text(2, parameter.get("in"));
                    query.text(4, parameter.get("name"));
                    query.text(6, parameter.get("type"));
                });
            }),
        }
    });
}

fn schema(message: &mut Message, schema: &Value<'_>) {
    message.text(1, schema.get("$ref"));
    message.text(2, schema.get("format"));
    message.text(3, schema.get("title"));
    message.text(4, schema.get("description"));
    if let Some(default) = schema.get("default") {
        message.any(5, default);
    }
    message.double(6, schema.get("multipleOf"));
    message.double(7, schema.get("maximum"));
    message.flag(8, schema.get("exclusiveMaximum"));
    message.double(9, schema.get("minimum"));
    message.flag(10, schema.get("exclusiveMinimum"));
    message.integer(11, schema.get("maxLength"));
    message.integer(12, schema.get("minLength"));
    message.text(13, schema.get("pattern"));
    message.integer(14, schema.get("maxItems"));
    message.integer(15, schema.get("minItems"));
    message.flag(16, schema.get("uniqueItems"));
    message.integer(17, schema.get("maxProperties"));
    message.integer(18, schema.get("minProperties"));
    for name in items(schema.get("required")) {
        message.text(19, Some(name));
    }
    for value in items(schema.get("enum")) {
        message.any(20, value);
    }
    match schema.get("additionalProperties") {
        Some(Value::Bool(truth)) => message.message(21, |item| {
            item.varint(2 << 3);
            item.varint(u64::from(*truth));
        }),
        Some(additional @ Value::Object(_)) => {
            message.message(21, |item| {
                item.message(1, |message| self::schema(message, additional));
            });
        }
        _ => {}
    }
    if let Some(kind) = schema.get("type") {
        message.message(22, |item| item.text(1, Some(kind)));
    }
    if let Some(of) = schema.get("items") {
        message.message(23, |item| {
            item.message(1, |message| self::schema(message, of));
        });
    }
    for part in items(schema.get("allOf")) {
        message.message(24, |message| self::schema(message, part));
    }
    if let Some(properties) = schema.get("properties") {
        message.message(25, |message| {
            for (name, property) in members(Some(properties)) {
                message.named(1, name, |message| self::schema(message, property));
            }
        });
    }
    message.extensions(31, schema);
}
