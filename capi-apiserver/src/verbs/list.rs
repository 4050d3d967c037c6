//! GET of a collection: selection, chunks, and the version as of which it is answered.

use std::{collections::VecDeque, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;

use crate::{
    json::Object,
    reply::Reply,
    request::{Form, VersionMatch},
    server::Call,
    status::{Cause, Status},
    storage::{Compacted, Range, Stored, Version},
};

use super::{read, shape};

/// Chunks of a response are about this long, so that a list is neither one copy nor 10,000 writes.
const CHUNK: usize = 64 * 1024;

/// The objects of a collection that a request selects.
pub(crate) struct Selection {
    pub(crate) items: Vec<(Arc<str>, Stored)>,
    pub(crate) version: Version,
    continuation: Option<String>,
    remaining: Option<usize>,
}

pub(crate) fn list(call: &Call<'_>) -> Result<Reply, Status> {
    if call.resource.behaviour == crate::registry::Behaviour::Review {
        return Err(Status::method_not_allowed());
    }
    let selection = select(call)?;
    let mut converted = Vec::with_capacity(selection.items.len());
    for (_, stored) in &selection.items {
        converted.push(match shape::to_version(call, &stored.bytes)? {
            std::borrow::Cow::Borrowed(_) => stored.bytes.clone(),
            std::borrow::Cow::Owned(bytes) => bytes.into(),
        });
    }
    if call.accept.form == Form::Table {
        let mut metadata = Object::new();
        metadata.insert("resourceVersion", selection.version.to_string());
        if let Some(token) = &selection.continuation {
            metadata.insert("continue", token.clone());
        }
        if let Some(remaining) = selection.remaining {
            metadata.insert(
                "remainingItemCount",
                i64::try_from(remaining).unwrap_or(i64::MAX),
            );
        }
        let items: Vec<&[u8]> = converted.iter().map(AsRef::as_ref).collect();
        return Ok(read::finish(
            call,
            200,
            read::table(&read::TableStyle::of(call), &items, metadata)?.into(),
        ));
    }
    let mut chunks = VecDeque::new();
    let mut buffer =
        Vec::with_capacity(CHUNK.min(256 + converted.iter().map(Bytes::len).sum::<usize>()));
    head(call, &selection, &mut buffer);
    for (index, bytes) in converted.iter().enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        if call.accept.form == Form::Metadata {
            buffer.extend_from_slice(&read::metadata_only(bytes, "v1")?);
        } else {
            buffer.extend_from_slice(bytes);
        }
        if buffer.len() >= CHUNK {
            chunks
                .push_back(std::mem::replace(&mut buffer, Vec::with_capacity(CHUNK + 4096)).into());
        }
    }
    buffer.extend_from_slice(b"]}");
    if call.accept.yaml {
        let mut whole: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk: &Bytes| chunk.iter().copied())
            .collect();
        whole.extend_from_slice(&buffer);
        return Ok(read::finish(call, 200, whole.into()));
    }
    chunks.push_back(buffer.into());
    Ok(Reply::chunks(chunks))
}

fn head(call: &Call<'_>, selection: &Selection, buffer: &mut Vec<u8>) {
    let (kind, api_version) = match call.accept.form {
        Form::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1"),
        _ => (
            call.resource.names.list_kind.as_str(),
            call.version().api_version.as_str(),
        ),
    };
    buffer.extend_from_slice(
        format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{{\"resourceVersion\":\"{}\"",
            selection.version
        )
        .as_bytes(),
    );
    // Lists of custom resources have the member always, the others only when there is more.
    match &selection.continuation {
        Some(token) => buffer.extend_from_slice(format!(",\"continue\":\"{token}\"").as_bytes()),
        None if call.resource.is_custom() && call.accept.form == Form::Object => {
            buffer.extend_from_slice(b",\"continue\":\"\"");
        }
        None => {}
    }
    if let Some(remaining) = selection.remaining {
        buffer.extend_from_slice(format!(",\"remainingItemCount\":{remaining}").as_bytes());
    }
    buffer.extend_from_slice(b"},\"items\":[");
}

/// Reads, selects and cuts.
///
/// # Errors
/// 400 for options that contradict each other, 410 when the version has left the history.
pub(crate) fn select(call: &Call<'_>) -> Result<Selection, Status> {
    check_fields(call)?;
    let start = start(call)?;
    let prefix = prefix(call);
    let range = Range {
        prefix: &prefix,
        after: start.after.as_deref(),
        at: start.at,
    };
    let listing = call.server.store.list(call.resource.collection, range).map_err(|Compacted { .. }| {
        if call.options.continuation.is_some() {
            Status::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
            )
        } else {
            Status::expired("The resourceVersion for the provided list is too old.")
        }
    })?;
    let selector = &call.options.selector;
    let version = listing.version;
    let mut items = listing.items;
    if !selector.is_empty() {
        let mut kept = Vec::new();
        for (key, stored) in items {
            if matches(call, &stored.bytes)? {
                kept.push((key, stored));
            }
        }
        items = kept;
    }
    let (mut continuation, mut remaining) = (None, None);
    if let Some(limit) = call.options.limit
        && items.len() > limit
    {
        if selector.is_empty() {
            remaining = Some(items.len() - limit);
        }
        items.truncate(limit);
        continuation = items.last().map(|(key, _)| token(version, key));
    }
    Ok(Selection {
        items,
        version,
        continuation,
        remaining,
    })
}

/// Whether an object in the version of storage is selected.
pub(crate) fn matches(call: &Call<'_>, bytes: &[u8]) -> Result<bool, Status> {
    let selector = &call.options.selector;
    if selector.is_empty() {
        return Ok(true);
    }
    Ok(selector.matches(&shape::to_version(call, bytes)?))
}

/// The keys that a request is about.
pub(crate) fn prefix(call: &Call<'_>) -> String {
    if call.resource.namespaced && !call.path.namespace.is_empty() {
        format!("{}/", call.path.namespace)
    } else {
        String::new()
    }
}

/// # Errors
/// 400 for a field that cannot be selected by.
pub(crate) fn check_fields(call: &Call<'_>) -> Result<(), Status> {
    let known = |field: &str| {
        field == "metadata.name"
            || (field == "metadata.namespace"
                && (call.resource.namespaced || call.resource.is_custom()))
            || call
                .version()
                .selectable
                .iter()
                .any(|selectable| selectable == field)
    };
    match call.options.selector.fields.unknown(known) {
        None => Ok(()),
        Some(field) if call.resource.is_custom() => Err(Status::bad_request(format!(
            "field label not supported: {field}"
        ))),
        Some(field) => Err(Status::bad_request(format!(
            "Unable to find \"{}\" that match label selector \"\", field selector \"{field}\": field label not supported: {field}",
            call.version().api_version
        ))),
    }
}

struct Start {
    at: Option<Version>,
    after: Option<String>,
}

fn start(call: &Call<'_>) -> Result<Start, Status> {
    let options = &call.options;
    let invalid = |field: &str, message: &str| {
        Err(Status::invalid(
            "meta.k8s.io",
            "ListOptions",
            "",
            vec![Cause::new(
                "FieldValueForbidden",
                field,
                format!("Forbidden: {message}"),
            )],
        ))
    };
    if options.version_match.is_some() {
        if options.continuation.is_some() {
            return invalid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            );
        }
        if options.resource_version.is_none() {
            return invalid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if options.version_match == Some(VersionMatch::Exact)
            && options.resource_version.as_deref() == Some("0")
        {
            return invalid(
                "resourceVersionMatch",
                "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
            );
        }
    }
    if options.send_initial_events.is_some() {
        return invalid(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        );
    }
    if let Some(text) = &options.continuation {
        if options
            .resource_version
            .as_deref()
            .is_some_and(|version| version != "0")
        {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let Some((version, after)) = read_token(text) else {
            return Err(Status::bad_request(format!(
                "invalid continue token: continue key is not valid: {}",
                token_fault(text)
            )));
        };
        return Ok(Start {
            at: Some(version),
            after: Some(after),
        });
    }
    let Some(text) = &options.resource_version else {
        return Ok(Start {
            at: None,
            after: None,
        });
    };
    let version = parse_version(text)?;
    let newest = call.server.store.version();
    if version > newest {
        return Err(too_large(version, newest));
    }
    let exact = options.version_match == Some(VersionMatch::Exact)
        || (options.version_match.is_none() && options.limit.is_some() && version > 0);
    Ok(Start {
        at: exact.then_some(version),
        after: None,
    })
}

/// # Errors
/// For text that is no version, as the real server has it.
pub(crate) fn parse_version(text: &str) -> Result<Version, Status> {
    text.parse().map_err(|_| {
        let why = format!("strconv.ParseUint: parsing \"{text}\": invalid syntax");
        Status::new(
            500,
            "",
            format!("resourceVersion: Invalid value: \"{text}\": {why}"),
        )
    })
}

fn too_large(version: Version, newest: Version) -> Status {
    Status::new(
        504,
        "Timeout",
        format!("Timeout: Too large resource version: {version}, current: {newest}"),
    )
    .with_details(crate::status::Details {
        causes: vec![Cause::new(
            "ResourceVersionTooLarge",
            "",
            "Too large resource version",
        )],
        retry_after_seconds: 1,
        ..crate::status::Details::default()
    })
}

fn token(version: Version, after: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!(
        "{{\"v\":\"meta.k8s.io/v1\",\"rv\":{version},\"start\":{}}}",
        serde_json::Value::from(after)
    ))
}

/// Why a token is none, in the words of the real server.
fn token_fault(text: &str) -> String {
    match URL_SAFE_NO_PAD.decode(text) {
        Err(_) => {
            let valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            let place = text.bytes().take_while(|byte| valid(byte)).count();
            format!("illegal base64 data at input byte {place}")
        }
        Ok(bytes) => match bytes.first() {
            None => "unexpected end of JSON input".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => crate::json::parse(&bytes)
                .err()
                .map_or_else(|| "unknown version".to_owned(), |error| error.to_string()),
            Some(byte) => {
                format!("invalid character '\\u{byte:04x}' looking for beginning of value")
            }
        },
    }
}

fn read_token(text: &str) -> Option<(Version, String)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let token: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    Some((
        token.get("rv")?.as_u64()?,
        token.get("start")?.as_str()?.to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_garbage_does_not() {
        assert_eq!(
            read_token(&token(7, "n/\"a")),
            Some((7, "n/\"a".to_owned()))
        );
        for text in ["", "!!", "e30", "bm90IGpzb24"] {
            assert_eq!(read_token(text), None, "{text}");
        }
    }
}
