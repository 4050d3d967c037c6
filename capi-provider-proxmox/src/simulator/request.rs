//! Requests and answers in Proxmox VE's form.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SERVER};
use http::{Method, Request, Response};
use hyper::ext::ReasonPhrase;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A call: what was asked, by whom, when.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Below `/api2/json`, decoded.
    pub(super) path: String,
    pub(super) parameters: BTreeMap<String, Vec<String>>,
    pub(super) upload: Option<Upload>,
    /// `user@realm!token`.
    pub(super) user: String,
    pub(super) now: Timestamp,
}

/// An uploaded file.
pub(super) struct Upload {
    pub(super) file_name: String,
    pub(super) content: Vec<u8>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Upload")
            .field("file_name", &self.file_name)
            .field("length", &self.content.len())
            .finish()
    }
}

/// What a handler answers.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) data: Value,
    /// How long the caller waits beyond the usual.
    pub(super) takes: Duration,
}

impl From<Value> for Answer {
    fn from(data: Value) -> Self {
        Self {
            data,
            takes: Duration::ZERO,
        }
    }
}

/// An error in Proxmox VE's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) parameters: BTreeMap<String, String>,
}

impl Failure {
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            parameters: BTreeMap::new(),
        }
    }

    /// What `die` in Proxmox VE's code becomes.
    pub(super) fn died(text: impl Into<String>) -> Self {
        Self::new(500, text)
    }

    pub(super) fn parameter(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut failure = Self::new(400, "Parameter verification failed.");
        failure.parameters.insert(name.into(), text.into());
        failure
    }

    pub(super) fn permission(path: &str, privilege: &str) -> Self {
        Self::new(
            403,
            format!("Permission check failed ({path}, {privilege})"),
        )
    }
}

pub(super) type Reply = Result<Answer, Failure>;

impl Call {
    /// A parameter's only (or last) value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .get(name)
            .and_then(|values| values.last())
            .map(String::as_str)
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Failure> {
        self.get(name)
            .ok_or_else(|| Failure::parameter(name, "property is missing and it is not optional"))
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<u64>, Failure> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Failure::parameter(
                    name,
                    format!("type check ('integer') failed - got '{text}'"),
                )
            })
        };
        self.get(name).map(parse).transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some("1" | "on" | "yes" | "true") => Ok(Some(true)),
            Some("0" | "off" | "no" | "false") => Ok(Some(false)),
            Some(text) => Err(Failure::parameter(
                name,
                format!("type check ('boolean') failed - got '{text}'"),
            )),
        }
    }

    /// Refuses parameters that the method does not know.
    pub(super) fn only(&self, known: impl Fn(&str) -> bool) -> Result<(), Failure> {
        let mut failure = Failure::new(400, "Parameter verification failed.");
        for name in self.parameters.keys().filter(|name| !known(name)) {
            let text = "property is not defined in schema and the schema does not allow additional properties";
            failure.parameters.insert(name.clone(), text.into());
        }
        if failure.parameters.is_empty() {
            Ok(())
        } else {
            Err(failure)
        }
    }
}

/// Reads parameters and upload of a request. The error is what is wrong with its form.
pub(super) fn parse(
    request: &Request<Bytes>,
    user: String,
    now: Timestamp,
) -> Result<Call, Failure> {
    let path = request.uri().path();
    let path = path
        .strip_prefix("/api2/json")
        .ok_or_else(|| Failure::new(404, format!("no such file '{path}'")))?;
    let path = percent_decode(path, false).trim_end_matches('/').to_owned();
    let mut call = Call {
        method: request.method().clone(),
        path,
        parameters: BTreeMap::new(),
        upload: None,
        user,
        now,
    };
    if let Some(query) = request.uri().query() {
        read_form(query, &mut call.parameters);
    }
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let body = request.body();
    if body.is_empty() {
        return Ok(call);
    }
    if content_type.starts_with("application/json") {
        read_json(body, &mut call.parameters)?;
    } else if let Some(rest) = content_type.strip_prefix("multipart/form-data") {
        let boundary = rest
            .split(';')
            .find_map(|part| part.trim().strip_prefix("boundary="));
        let boundary = boundary
            .ok_or_else(|| Failure::new(400, "unable to find boundary in content type"))?
            .trim_matches('"');
        read_multipart(body, boundary, &mut call)?;
    } else {
        read_form(&String::from_utf8_lossy(body), &mut call.parameters);
    }
    Ok(call)
}

fn read_form(text: &str, parameters: &mut BTreeMap<String, Vec<String>>) {
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters
            .entry(percent_decode(name, true))
            .or_default()
            .push(percent_decode(value, true));
    }
}

fn read_json(body: &[u8], parameters: &mut BTreeMap<String, Vec<String>>) -> Result<(), Failure> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::new(400, format!("unable to parse JSON: {error}")))?;
    let Value::Object(fields) = value else {
        return Err(Failure::new(
            400,
            "unable to parse JSON: expected an object",
        ));
    };
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Bool(flag) => u8::from(flag).to_string(),
        other => other.to_string(),
    };
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::Array(items) => parameters
                .entry(name)
                .or_default()
                .extend(items.into_iter().map(text)),
            other => parameters.entry(name).or_default().push(text(other)),
        }
    }
    Ok(())
}

fn read_multipart(body: &[u8], boundary: &str, call: &mut Call) -> Result<(), Failure> {
    let broken = || Failure::new(400, "error during upload: malformed multipart body");
    let delimiter = format!("--{boundary}").into_bytes();
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = find(&body[at..], &delimiter) {
        starts.push(at + found);
        at += found + delimiter.len();
    }
    for pair in starts.windows(2) {
        let part = body
            .get(pair[0] + delimiter.len() + 2..pair[1].saturating_sub(2))
            .ok_or_else(broken)?;
        let split = find(part, b"\r\n\r\n").ok_or_else(broken)?;
        let head = String::from_utf8_lossy(&part[..split]);
        let content = &part[split + 4..];
        let attribute = |name: &str| {
            head.split([';', '\r', '\n']).find_map(|entry| {
                entry
                    .trim()
                    .strip_prefix(&format!("{name}="))
                    .map(|value| value.trim_matches('"').to_owned())
            })
        };
        let name = attribute("name").ok_or_else(broken)?;
        match attribute("filename") {
            Some(file_name) if name == "filename" => {
                call.upload = Some(Upload {
                    file_name,
                    content: content.to_vec(),
                });
            }
            Some(_) => {
                return Err(Failure::parameter(
                    name,
                    "a file is only taken as 'filename'",
                ));
            }
            None => call
                .parameters
                .entry(name)
                .or_default()
                .push(String::from_utf8_lossy(content).into_owned()),
        }
    }
    Ok(())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn percent_decode(text: &str, plus_is_blank: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hexadecimal = |index: usize| {
            tail.get(index)
                .and_then(|digit| char::from(*digit).to_digit(16))
        };
        match (byte, hexadecimal(0), hexadecimal(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            (b'+', ..) if plus_is_blank => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The answer as Proxmox VE writes it: texts of errors in the reason phrase and, since release 8, in the body.
pub(super) fn respond(reply: Result<Value, Failure>) -> Response<Bytes> {
    let (status, reason, body) = match reply {
        Ok(data) => (200, "OK".to_owned(), json!({ "data": data })),
        // What a node answers for another one that it cannot reach.
        Err(failure) if (595..600).contains(&failure.status) => {
            (failure.status, failure.text, Value::Null)
        }
        Err(failure) => {
            let mut body = json!({ "data": null, "message": format!("{}\n", failure.text) });
            if !failure.parameters.is_empty() {
                body["errors"] = json!(failure.parameters);
            }
            (failure.status, failure.text, body)
        }
    };
    let bytes = if body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(body.to_string())
    };
    raw(status, &reason, "application/json;charset=UTF-8", bytes)
}

pub(super) fn raw(
    status: u16,
    reason: &str,
    content_type: &'static str,
    body: Bytes,
) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(SERVER, HeaderValue::from_static("pve-api-daemon/3.0"));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status >= 300 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let first_line = reason.lines().next().unwrap_or_default().to_owned();
    if let Ok(phrase) = ReasonPhrase::try_from(first_line) {
        response.extensions_mut().insert(phrase);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Parameters, multipart};

    #[test]
    fn what_the_client_writes_is_read_back() {
        let parameters = Parameters::new()
            .with("a", "x y&=ü\n")
            .with("command", "cloud-init")
            .with("command", "status");
        let request = Request::post("https://x/api2/json/nodes/pve%201/qemu/?q=1")
            .body(Bytes::from(parameters.encode()))
            .unwrap();
        let call = parse(&request, String::new(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            (call.path.as_str(), call.get("a"), call.get("q")),
            ("/nodes/pve 1/qemu", Some("x y&=ü\n"), Some("1"))
        );
        assert_eq!(call.parameters["command"], ["cloud-init", "status"]);

        let content = b"\r\n--\0binary\r\n";
        let (content_type, body) =
            multipart(&Parameters::new().with("content", "iso"), "a.iso", content);
        let request = Request::post("/api2/json/x")
            .header(CONTENT_TYPE, content_type)
            .body(body)
            .unwrap();
        let call = parse(&request, String::new(), Timestamp::UNIX_EPOCH).unwrap();
        let upload = call.upload.as_ref().unwrap();
        assert_eq!(
            (
                call.get("content"),
                upload.file_name.as_str(),
                upload.content.as_slice()
            ),
            (Some("iso"), "a.iso", &content[..])
        );
    }

    #[test]
    fn json_bodies_are_read_as_forms_are() {
        let request = Request::post("/api2/json/x")
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(
                r#"{"full":true,"newid":101,"name":"n","command":["a","b"],"x":null}"#,
            ))
            .unwrap();
        let call = parse(&request, String::new(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            (call.get("full"), call.get("newid"), call.get("name")),
            (Some("1"), Some("101"), Some("n"))
        );
        assert_eq!(
            (call.parameters["command"].len(), call.parameters.len()),
            (2, 4)
        );
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_read_or_refused_and_nothing_panics(
            body in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            kind in 0usize..3,
            boundary in "[-a-z\"]{0,4}",
        ) {
            let multipart = format!("multipart/form-data; boundary={boundary}");
            let content_type = ["application/json", "application/x-www-form-urlencoded", &multipart][kind];
            let mut body = body;
            if kind == 2 {
                body.extend_from_slice(format!("--{boundary}\r\n\r\n--{boundary}").as_bytes());
            }
            let request = Request::post("/api2/json/x%zz%2").header(CONTENT_TYPE, content_type).body(Bytes::from(body)).unwrap();
            let _ = parse(&request, String::new(), Timestamp::UNIX_EPOCH);
        }
    }
}
