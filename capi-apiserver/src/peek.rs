//! Looking into an encoded object without decoding it: finds the text of one member by skipping
//! over the others. Only for bytes that the server itself wrote (compact, valid).

/// The text of the value at a path of member names.
pub(crate) fn at<'a>(object: &'a [u8], path: &[&str]) -> Option<&'a [u8]> {
    let mut value = object;
    for name in path {
        value = member(value, name)?;
    }
    Some(value)
}

/// A string without its quotes; `None` for other values and for strings with escapes.
pub(crate) fn plain_string(value: &[u8]) -> Option<&str> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        None
    } else {
        std::str::from_utf8(inner).ok()
    }
}

/// The string at a path, decoded.
pub(crate) fn string(object: &[u8], path: &[&str]) -> Option<String> {
    let value = at(object, path)?;
    plain_string(value)
        .map(str::to_owned)
        .or_else(|| serde_json::from_slice(value).ok())
}

fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut at = 1;
    if object.first() != Some(&b'{') {
        return None;
    }
    loop {
        if object.get(at) != Some(&b'"') {
            return None;
        }
        let key_end = skip_string(object, at)?;
        let key = &object[at + 1..key_end - 1];
        if object.get(key_end) != Some(&b':') {
            return None;
        }
        let start = key_end + 1;
        let end = skip(object, start)?;
        if key == name.as_bytes() {
            return Some(&object[start..end]);
        }
        match object.get(end) {
            Some(b',') => at = end + 1,
            _ => return None,
        }
    }
}

/// The end of the string that begins at `at`.
fn skip_string(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The end of the value that begins at `at`.
fn skip(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => skip_string(text, at),
        b'{' | b'[' => {
            let mut depth = 0_usize;
            let mut at = at;
            loop {
                match text.get(at)? {
                    b'"' => {
                        at = skip_string(text, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        _ => {
            let length = text[at..]
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']'))
                .unwrap_or(text.len() - at);
            Some(at + length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_behind_others() {
        let object =
            br#"{"a":"x\"{","b":[{"c":1},"]"],"metadata":{"name":"n","labels":{"k":"v"}},"n":12}"#;
        assert_eq!(
            at(object, &["metadata", "labels"]),
            Some(&br#"{"k":"v"}"#[..])
        );
        assert_eq!(string(object, &["metadata", "name"]).as_deref(), Some("n"));
        assert_eq!(string(object, &["a"]).as_deref(), Some("x\"{"));
        assert_eq!(at(object, &["n"]), Some(&b"12"[..]));
        assert_eq!(at(object, &["metadata", "missing"]), None);
        assert_eq!(at(b"{}", &["a"]), None);
        assert_eq!(at(b"", &["a"]), None);
    }
}
