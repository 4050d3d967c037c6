//! Looking into an encoded object without decoding it: finds the text of one member by skipping
//! over the others. Only for bytes that the server itself wrote (compact, valid).

use std::ops::Range;

use crate::json::plain;

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

/// The value of a member.
pub(crate) fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    members(object)
        .find(|(known, _)| *known == name.as_bytes())
        .map(|(_, value)| &object[value])
}

/// The members of an object: their names as they are written, and where their values are. Ends
/// early where the text is not what the server writes.
pub(crate) fn members(object: &[u8]) -> impl Iterator<Item = (&[u8], Range<usize>)> {
    let mut next = (object.first() == Some(&b'{')).then_some(1);
    std::iter::from_fn(move || {
        let start = next.take()?;
        if object.get(start) != Some(&b'"') {
            return None;
        }
        let colon = skip_string(object, start)?;
        if object.get(colon) != Some(&b':') {
            return None;
        }
        let end = skip(object, colon + 1)?;
        next = (object.get(end) == Some(&b',')).then_some(end + 1);
        Some((&object[start + 1..colon - 1], colon + 1..end))
    })
}

/// The items of a list.
pub(crate) fn items(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut next = (list.first() == Some(&b'[') && list.get(1) != Some(&b']')).then_some(1);
    std::iter::from_fn(move || {
        let start = next.take()?;
        let end = skip(list, start)?;
        next = (list.get(end) == Some(&b',')).then_some(end + 1);
        Some(&list[start..end])
    })
}

/// The end of the string that begins at `at`.
fn skip_string(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += plain(text.get(at..)?);
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
                let rest = text.get(at..)?;
                at += rest
                    .iter()
                    .position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'))?;
                match text[at] {
                    b'"' => {
                        at = skip_string(text, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    _ => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(at + 1);
                        }
                    }
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

    #[test]
    fn items_and_members_are_walked_in_their_order() {
        let list: Vec<&[u8]> = items(br#"[{"a":[1,2]},"x,]",3]"#).collect();
        assert_eq!(list, [&br#"{"a":[1,2]}"#[..], br#""x,]""#, b"3"]);
        assert_eq!(items(b"[]").count(), 0);
        assert_eq!(items(b"{}").count(), 0);
        let object = br#"{"a":1,"b\"":{"c":2}}"#;
        let walked: Vec<(&[u8], &[u8])> = members(object)
            .map(|(name, value)| (name, &object[value]))
            .collect();
        assert_eq!(walked, [(&b"a"[..], &b"1"[..]), (br#"b\""#, br#"{"c":2}"#)]);
        assert_eq!(members(b"{}").count(), 0);
    }
}
