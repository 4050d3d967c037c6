//! Bodies in Kubernetes' protobuf, which typed Go clients (kubectl's among them) send for built-in
//! kinds. Decoded into the tree that JSON is decoded into; answers are JSON, which every such client
//! accepts. The messages are data; unknown fields are skipped, kinds without a message are refused.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::json::{Object, Value};

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";
/// Messages nest no deeper.
const DEPTH: usize = 16;

/// How a field is read. Zero values of what is no pointer in Go are absent in JSON.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Texts,
    Integer,
    /// An integer behind a pointer: zero counts.
    OptionalInteger,
    Boolean,
    Time,
    MicroTime,
    IntOrString,
    TextMap,
    /// Base64 in JSON.
    BytesMap,
    Message(&'static [Field]),
    Messages(&'static [Field]),
    /// A message whose first field is JSON.
    RawJson,
}

type Field = (u32, &'static str, Kind);

const OBJECT_META: &[Field] = &[
    (1, "name", Kind::Text),
    (2, "generateName", Kind::Text),
    (3, "namespace", Kind::Text),
    (4, "selfLink", Kind::Text),
    (5, "uid", Kind::Text),
    (6, "resourceVersion", Kind::Text),
    (7, "generation", Kind::Integer),
    (8, "creationTimestamp", Kind::Time),
    (9, "deletionTimestamp", Kind::Time),
    (10, "deletionGracePeriodSeconds", Kind::OptionalInteger),
    (11, "labels", Kind::TextMap),
    (12, "annotations", Kind::TextMap),
    (
        13,
        "ownerReferences",
        Kind::Messages(&[
            (1, "kind", Kind::Text),
            (3, "name", Kind::Text),
            (4, "uid", Kind::Text),
            (5, "apiVersion", Kind::Text),
            (6, "controller", Kind::Boolean),
            (7, "blockOwnerDeletion", Kind::Boolean),
        ]),
    ),
    (14, "finalizers", Kind::Texts),
    (
        17,
        "managedFields",
        Kind::Messages(&[
            (1, "manager", Kind::Text),
            (2, "operation", Kind::Text),
            (3, "apiVersion", Kind::Text),
            (4, "time", Kind::Time),
            (6, "fieldsType", Kind::Text),
            (7, "fieldsV1", Kind::RawJson),
            (8, "subresource", Kind::Text),
        ]),
    ),
];

const METADATA: Field = (1, "metadata", Kind::Message(OBJECT_META));

const OBJECT_REFERENCE: &[Field] = &[
    (1, "kind", Kind::Text),
    (2, "namespace", Kind::Text),
    (3, "name", Kind::Text),
    (4, "uid", Kind::Text),
    (5, "apiVersion", Kind::Text),
    (6, "resourceVersion", Kind::Text),
    (7, "fieldPath", Kind::Text),
];

const DELETE_OPTIONS: &[Field] = &[
    (1, "gracePeriodSeconds", Kind::OptionalInteger),
    (
        2,
        "preconditions",
        Kind::Message(&[(1, "uid", Kind::Text), (2, "resourceVersion", Kind::Text)]),
    ),
    (3, "orphanDependents", Kind::Boolean),
    (4, "propagationPolicy", Kind::Text),
    (5, "dryRun", Kind::Texts),
];

const LABEL_SELECTOR: &[Field] = &[
    (1, "matchLabels", Kind::TextMap),
    (
        2,
        "matchExpressions",
        Kind::Messages(&[
            (1, "key", Kind::Text),
            (2, "operator", Kind::Text),
            (3, "values", Kind::Texts),
        ]),
    ),
];

/// Messages by kind; where a kind is in several groups, the one that clients send.
const KINDS: &[(&str, &[Field])] = &[
    (
        "Namespace",
        &[
            METADATA,
            (2, "spec", Kind::Message(&[(1, "finalizers", Kind::Texts)])),
            (3, "status", Kind::Message(&[(1, "phase", Kind::Text)])),
        ],
    ),
    (
        "ConfigMap",
        &[
            METADATA,
            (2, "data", Kind::TextMap),
            (3, "binaryData", Kind::BytesMap),
            (4, "immutable", Kind::Boolean),
        ],
    ),
    (
        "Secret",
        &[
            METADATA,
            (2, "data", Kind::BytesMap),
            (3, "type", Kind::Text),
            (4, "stringData", Kind::TextMap),
            (5, "immutable", Kind::Boolean),
        ],
    ),
    (
        "ServiceAccount",
        &[
            METADATA,
            (2, "secrets", Kind::Messages(OBJECT_REFERENCE)),
            (
                3,
                "imagePullSecrets",
                Kind::Messages(&[(1, "name", Kind::Text)]),
            ),
            (4, "automountServiceAccountToken", Kind::Boolean),
        ],
    ),
    (
        "Event",
        &[
            METADATA,
            (2, "involvedObject", Kind::Message(OBJECT_REFERENCE)),
            (3, "reason", Kind::Text),
            (4, "message", Kind::Text),
            (
                5,
                "source",
                Kind::Message(&[(1, "component", Kind::Text), (2, "host", Kind::Text)]),
            ),
            (6, "firstTimestamp", Kind::Time),
            (7, "lastTimestamp", Kind::Time),
            (8, "count", Kind::Integer),
            (9, "type", Kind::Text),
            (10, "eventTime", Kind::MicroTime),
            (
                11,
                "series",
                Kind::Message(&[
                    (1, "count", Kind::Integer),
                    (2, "lastObservedTime", Kind::MicroTime),
                ]),
            ),
            (12, "action", Kind::Text),
            (13, "related", Kind::Message(OBJECT_REFERENCE)),
            (14, "reportingComponent", Kind::Text),
            (15, "reportingInstance", Kind::Text),
        ],
    ),
    (
        "Lease",
        &[
            METADATA,
            (
                2,
                "spec",
                Kind::Message(&[
                    (1, "holderIdentity", Kind::Text),
                    (2, "leaseDurationSeconds", Kind::OptionalInteger),
                    (3, "acquireTime", Kind::MicroTime),
                    (4, "renewTime", Kind::MicroTime),
                    (5, "leaseTransitions", Kind::OptionalInteger),
                ]),
            ),
        ],
    ),
    (
        "Eviction",
        &[
            METADATA,
            (2, "deleteOptions", Kind::Message(DELETE_OPTIONS)),
        ],
    ),
    ("DeleteOptions", DELETE_OPTIONS),
    (
        "PodDisruptionBudget",
        &[
            METADATA,
            (
                2,
                "spec",
                Kind::Message(&[
                    (1, "minAvailable", Kind::IntOrString),
                    (2, "selector", Kind::Message(LABEL_SELECTOR)),
                    (3, "maxUnavailable", Kind::IntOrString),
                    (4, "unhealthyPodEvictionPolicy", Kind::Text),
                ]),
            ),
        ],
    ),
    (
        "Scale",
        &[
            METADATA,
            (
                2,
                "spec",
                Kind::Message(&[(1, "replicas", Kind::OptionalInteger)]),
            ),
        ],
    ),
    (
        "SelfSubjectAccessReview",
        &[
            METADATA,
            (
                2,
                "spec",
                Kind::Message(&[
                    (
                        1,
                        "resourceAttributes",
                        Kind::Message(&[
                            (1, "namespace", Kind::Text),
                            (2, "verb", Kind::Text),
                            (3, "group", Kind::Text),
                            (4, "version", Kind::Text),
                            (5, "resource", Kind::Text),
                            (6, "subresource", Kind::Text),
                            (7, "name", Kind::Text),
                        ]),
                    ),
                    (
                        2,
                        "nonResourceAttributes",
                        Kind::Message(&[(1, "path", Kind::Text), (2, "verb", Kind::Text)]),
                    ),
                ]),
            ),
        ],
    ),
    (
        "SelfSubjectRulesReview",
        &[
            METADATA,
            (2, "spec", Kind::Message(&[(1, "namespace", Kind::Text)])),
        ],
    ),
    ("SelfSubjectReview", &[METADATA]),
];

/// Decodes a body: the envelope and the object in it.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn decode(body: &[u8]) -> Result<Value<'static>, String> {
    let body = body
        .strip_prefix(MAGIC)
        .ok_or("provided data does not appear to be a protobuf message")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in fields(body) {
        match field? {
            (1, Wire::Bytes(types)) => {
                for field in fields(types) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let Some((_, message)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        return Err(format!(
            "kind {kind:?} is not decoded from protobuf, send application/json"
        ));
    };
    let mut object = Object::new();
    object.insert("apiVersion", api_version);
    object.insert("kind", kind);
    for (name, value) in read(raw, message, 0)? {
        object.insert(name, value);
    }
    Ok(Value::Object(object))
}

/// A value on the wire.
#[derive(Debug, Clone, Copy)]
enum Wire<'b> {
    Varint(u64),
    Bytes(&'b [u8]),
    /// Of fixed width, which no field here has.
    Fixed,
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes
            .split_first()
            .ok_or("unexpected end of protobuf message")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("protobuf integer is too long".to_owned())
}

fn take<'b>(bytes: &mut &'b [u8], length: u64) -> Result<&'b [u8], String> {
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= bytes.len());
    let (taken, rest) = bytes.split_at(length.ok_or("unexpected end of protobuf message")?);
    *bytes = rest;
    Ok(taken)
}

/// The fields of a message in their order; ends after the first fault.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u32, Wire<'_>), String>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = field(&mut bytes);
        if field.is_err() {
            bytes = &[];
        }
        Some(field)
    })
}

fn field<'b>(bytes: &mut &'b [u8]) -> Result<(u32, Wire<'b>), String> {
    let tag = varint(bytes)?;
    let number = u32::try_from(tag >> 3).map_err(|_| "protobuf field number is too large")?;
    let wire = match tag & 7 {
        0 => Wire::Varint(varint(bytes)?),
        1 => take(bytes, 8).map(|_| Wire::Fixed)?,
        2 => {
            let length = varint(bytes)?;
            Wire::Bytes(take(bytes, length)?)
        }
        5 => take(bytes, 4).map(|_| Wire::Fixed)?,
        other => return Err(format!("protobuf wire type {other} is not known")),
    };
    Ok((number, wire))
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "protobuf text is not UTF-8".to_owned())
}

fn read(bytes: &[u8], message: &'static [Field], depth: usize) -> Result<Object<'static>, String> {
    if depth > DEPTH {
        return Err("protobuf message nests too deep".to_owned());
    }
    let mut object = Object::new();
    for field in fields(bytes) {
        let (number, wire) = field?;
        let Some((_, name, kind)) = message.iter().find(|(known, ..)| *known == number) else {
            continue;
        };
        let name: &'static str = name;
        let value = match (*kind, wire) {
            (Kind::Text, Wire::Bytes(text)) => {
                let text = utf8(text)?;
                if text.is_empty() {
                    continue;
                }
                text.into()
            }
            (Kind::Integer | Kind::OptionalInteger, Wire::Varint(number)) => {
                if number == 0 && matches!(kind, Kind::Integer) {
                    continue;
                }
                // Negative integers are the two's complement in 64 bits.
                Value::from(number.cast_signed())
            }
            (Kind::Boolean, Wire::Varint(truth)) => Value::Bool(truth != 0),
            (Kind::Time, Wire::Bytes(bytes)) => match time(bytes)? {
                Some(time) => crate::clock::seconds(time).into(),
                None => continue,
            },
            (Kind::MicroTime, Wire::Bytes(bytes)) => match time(bytes)? {
                Some(time) => crate::clock::micros(time).into(),
                None => continue,
            },
            (Kind::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
            (Kind::RawJson, Wire::Bytes(bytes)) => raw_json(bytes)?,
            (Kind::Message(inner), Wire::Bytes(bytes)) => {
                let inner = read(bytes, inner, depth + 1)?;
                if inner.is_empty() {
                    continue;
                }
                Value::Object(inner)
            }
            (Kind::Texts, Wire::Bytes(text)) => {
                append(&mut object, name, utf8(text)?.into());
                continue;
            }
            (Kind::Messages(inner), Wire::Bytes(bytes)) => {
                let inner = read(bytes, inner, depth + 1)?;
                append(&mut object, name, Value::Object(inner));
                continue;
            }
            (Kind::TextMap | Kind::BytesMap, Wire::Bytes(bytes)) => {
                let (key, value) = entry(bytes)?;
                let value = if matches!(kind, Kind::TextMap) {
                    utf8(value)?
                } else {
                    STANDARD.encode(value)
                };
                let map = object.entry(name);
                if map.is_null() {
                    *map = Value::Object(Object::new());
                }
                if let Value::Object(map) = map {
                    map.insert(key, value);
                }
                continue;
            }
            _ => {
                return Err(format!(
                    "protobuf field {name} has another type than expected"
                ));
            }
        };
        object.insert(name, value);
    }
    Ok(object)
}

fn append(object: &mut Object<'static>, name: &'static str, value: Value<'static>) {
    let list = object.entry(name);
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    if let Value::Array(items) = list {
        items.push(value);
    }
}

fn entry(bytes: &[u8]) -> Result<(String, &[u8]), String> {
    let (mut key, mut value) = (String::new(), &[][..]);
    for field in fields(bytes) {
        match field? {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Go's zero time is the year 1, and is absent in JSON.
fn time(bytes: &[u8]) -> Result<Option<jiff::Timestamp>, String> {
    let (mut seconds, mut nanos) = (None, 0_i32);
    for field in fields(bytes) {
        match field? {
            (1, Wire::Varint(value)) => seconds = Some(value.cast_signed()),
            (2, Wire::Varint(value)) => {
                nanos = i32::try_from(value).map_err(|_| "protobuf time is out of range")?;
            }
            _ => {}
        }
    }
    match seconds {
        None => Ok(None),
        Some(seconds) if seconds < -62_000_000_000 => Ok(None),
        Some(seconds) => {
            let time = jiff::Timestamp::new(seconds, nanos)
                .map_err(|_| "protobuf time is out of range")?;
            Ok(Some(time))
        }
    }
}

fn int_or_string(bytes: &[u8]) -> Result<Value<'static>, String> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for field in fields(bytes) {
        match field? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(bytes)) => text = utf8(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

fn raw_json(bytes: &[u8]) -> Result<Value<'static>, String> {
    for field in fields(bytes) {
        if let (1, Wire::Bytes(text)) = field? {
            let document = crate::json::parse(text).map_err(|error| error.to_string())?;
            return Ok(document.value.into_owned());
        }
    }
    Ok(Value::Object(Object::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(content.len()).expect("short")];
        out.extend_from_slice(content);
        out
    }

    fn envelope(kind: &str, raw: &[u8]) -> Vec<u8> {
        let types = [bytes(1, b"v1"), bytes(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), bytes(1, &types), bytes(2, raw)].concat()
    }

    #[test]
    fn a_secret_reads_as_its_json() {
        let metadata = [
            bytes(1, b"n"),
            bytes(2, b""),
            bytes(11, &[bytes(1, b"k"), bytes(2, b"v")].concat()),
        ]
        .concat();
        let raw = [
            bytes(1, &metadata),
            bytes(2, &[bytes(1, b"a"), bytes(2, b"x")].concat()),
            bytes(3, b"Opaque"),
            vec![5 << 3, 1],
        ]
        .concat();
        let secret = decode(&envelope("Secret", &raw)).expect("decodes");
        assert_eq!(
            secret.to_string(),
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"n","labels":{"k":"v"}},"data":{"a":"eA=="},"type":"Opaque","immutable":true}"#
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(decode(b"{}").is_err());
        assert!(decode(&envelope("Pod", b"")).is_err());
        assert!(decode(&envelope("Secret", &[0x0a, 200])).is_err());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..100)) {
            let _ = decode(&envelope("Secret", &raw));
            let _ = decode(&[MAGIC, &raw].concat());
        }
    }
}
