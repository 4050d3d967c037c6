//! Query strings.

use std::fmt::Write as _;

/// Percent-encodes what does not stand for itself in the value of a query.
pub(crate) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The part of a path that a message shows.
pub(crate) fn shown(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}
