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
pub(crate) fn members(object: &[u8]) -> Members<'_> {
    Members::begin(object, 0)
}

/// A walk over the members of an object. A value whose end the caller finds out by walking it is
/// entered by [`Members::enter`], so that it is read once.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    text: &'a [u8],
    /// Where the next name begins, or the value that was entered.
    at: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Name,
    /// A value was left to the caller.
    Value,
    Done,
}

impl<'a> Members<'a> {
    /// The members of the object that begins at `at` in a text.
    pub(crate) fn begin(text: &'a [u8], at: usize) -> Self {
        let is_object = text.get(at) == Some(&b'{');
        Self {
            text,
            at: at + 1,
            state: if is_object { State::Name } else { State::Done },
        }
    }

    /// The next name, and where its value begins. The value is passed over by [`Members::pass`], or
    /// [`Members::leave`] says where it ends.
    pub(crate) fn enter(&mut self) -> Option<(&'a [u8], usize)> {
        if self.state != State::Name || self.text.get(self.at) != Some(&b'"') {
            return None;
        }
        let start = self.at;
        self.state = State::Done;
        let colon = skip_string(self.text, start)?;
        if self.text.get(colon) != Some(&b':') {
            return None;
        }
        self.at = colon + 1;
        self.state = State::Value;
        Some((&self.text[start + 1..colon - 1], colon + 1))
    }

    /// Goes on after the value that was entered, which ends at `end`.
    pub(crate) fn leave(&mut self, end: usize) {
        self.at = end + 1;
        self.state = if self.text.get(end) == Some(&b',') {
            State::Name
        } else {
            State::Done
        };
    }

    /// Passes over the value that was entered, and tells where it ends.
    pub(crate) fn pass(&mut self) -> Option<usize> {
        let end = skip(self.text, self.at);
        self.leave(end.unwrap_or(self.text.len()));
        end
    }

    /// Where the object ends, once all of its members were walked.
    pub(crate) fn end(mut self) -> Option<usize> {
        while self.enter().is_some() {
            self.pass()?;
        }
        let brace = match self.state {
            State::Name => self.at,
            _ => self.at.checked_sub(1)?,
        };
        (self.text.get(brace) == Some(&b'}')).then_some(brace + 1)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, start) = self.enter()?;
        let end = self.pass()?;
        Some((name, start..end))
    }
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
    fn members_are_walked_in_their_order_and_their_object_ends_after_them() {
        let text = br#"x{"a":1,"b\"":{"c":2},"d":[{"e":"}"}]},"#;
        let end = text.len() - 1;
        let walked: Vec<(&[u8], &[u8])> = Members::begin(text, 1)
            .map(|(name, value)| (name, &text[value]))
            .collect();
        let expected: [(&[u8], &[u8]); 3] = [
            (b"a", b"1"),
            (br#"b\""#, br#"{"c":2}"#),
            (b"d", br#"[{"e":"}"}]"#),
        ];
        assert_eq!(walked, expected);
        assert_eq!(Members::begin(text, 1).end(), Some(end));
        let mut entered = Members::begin(text, 1);
        entered.next();
        let (_, start) = entered.enter().expect("there is another");
        entered.leave(Members::begin(text, start).end().expect("it is an object"));
        assert_eq!(entered.next().map(|(name, _)| name), Some(&b"d"[..]));
        assert_eq!(entered.end(), Some(end));
        assert_eq!(members(b"{}").end(), Some(2));
        assert_eq!(members(b"{}").count(), 0);
        assert_eq!(members(b"{\"a\":").end(), None);
        assert_eq!(members(b"[]").end(), None);
    }
}
