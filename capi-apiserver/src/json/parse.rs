//! Reading JSON.

use std::borrow::Cow;

use super::{Number, Object, Value};

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 256;

/// What was read: the value, and the members that appeared more than once.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    /// The value; of members of one name the last one.
    pub value: Value<'a>,
    /// The path of each repeated member (`spec.nodes[2].name`), in the order of the text.
    pub duplicates: Vec<String>,
}

/// Text that is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong, in the words of the Kubernetes API.
    pub message: String,
    /// Where, in bytes from the start.
    pub offset: usize,
}

/// Reads one JSON value, which may be surrounded by white space.
///
/// # Errors
/// [`ParseError`] when the input is not UTF-8, not JSON, has something after the value, or nests
/// deeper than [`MAX_DEPTH`].
pub fn parse(input: &[u8]) -> Result<Document<'_>, ParseError> {
    let text = std::str::from_utf8(input).map_err(|error| ParseError {
        message: "invalid UTF-8".to_owned(),
        offset: error.valid_up_to(),
    })?;
    let mut parser = Parser {
        text,
        bytes: input,
        at: 0,
        path: Vec::new(),
        duplicates: Vec::new(),
    };
    parser.skip_space();
    let value = parser.value()?;
    parser.skip_space();
    if parser.at < input.len() {
        return Err(parser.unexpected("after top-level value"));
    }
    Ok(Document {
        value,
        duplicates: parser.duplicates,
    })
}

/// Where the parser is, kept as places in the text so that keeping it costs nothing.
enum Step {
    Member { start: usize, end: usize },
    Item(usize),
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    path: Vec<Step>,
    duplicates: Vec<String>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            message: message.into(),
            offset: self.at,
        }
    }

    fn unexpected(&self, place: &str) -> ParseError {
        match self
            .text
            .get(self.at..)
            .and_then(|rest| rest.chars().next())
        {
            None => self.error("unexpected end of JSON input"),
            Some('\'') => self.error(format!("invalid character '\\'' {place}")),
            Some('"') => self.error(format!("invalid character '\"' {place}")),
            Some(character) => self.error(format!(
                "invalid character '{}' {place}",
                character.escape_debug()
            )),
        }
    }

    fn value(&mut self) -> Result<Value<'a>, ParseError> {
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, ParseError> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                let expected = char::from(expected);
                return Err(self.unexpected(&format!("in literal {word} (expecting '{expected}')")));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn digits(&mut self, place: &str) -> Result<(), ParseError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.unexpected(place))
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Result<Value<'a>, ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        let text = &self.text[start..self.at];
        Number::canonical(text).map(Value::Number).ok_or_else(|| {
            self.error(format!(
                "json: cannot unmarshal number {text} into Go value of type float64"
            ))
        })
    }

    fn string(&mut self) -> Result<Cow<'a, str>, ParseError> {
        self.at += 1;
        let start = self.at;
        self.at += super::scan::plain(&self.bytes[self.at..]);
        match self.peek() {
            Some(b'"') => {
                let text = &self.text[start..self.at];
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => self.escaped_string(start).map(Cow::Owned),
            _ => Err(self.unexpected("in string literal")),
        }
    }

    fn escaped_string(&mut self, start: usize) -> Result<String, ParseError> {
        let mut text = String::from(&self.text[start..self.at]);
        let mut plain = self.at;
        loop {
            self.at += super::scan::plain(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    text.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    text.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    text.push(self.escape()?);
                    plain = self.at;
                }
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(character)
    }

    fn hexadecimal(&mut self) -> Result<u32, ParseError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected("in \\u hexadecimal character escape"));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// A `\u` escape, two of them for a surrogate pair. Half of a pair becomes U+FFFD.
    fn unicode_escape(&mut self) -> Result<char, ParseError> {
        let first = self.hexadecimal()?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        let after_first = self.at;
        if first < 0xDC00 && self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.hexadecimal()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = after_first;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn descend(&mut self, step: Step) -> Result<(), ParseError> {
        if self.path.len() >= MAX_DEPTH {
            return Err(self.error("exceeded max depth"));
        }
        self.path.push(step);
        Ok(())
    }

    fn array(&mut self) -> Result<Value<'a>, ParseError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.descend(Step::Item(items.len()))?;
            items.push(self.value()?);
            self.path.pop();
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return Err(self.unexpected("after array element")),
            }
            self.skip_space();
        }
    }

    fn object(&mut self) -> Result<Value<'a>, ParseError> {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(Object::new()));
        }
        let mut object = Object::with_capacity(8);
        let mut names = Names::default();
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let start = self.at + 1;
            let name = self.string()?;
            let end = self.at - 1;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            self.skip_space();
            self.descend(Step::Member { start, end })?;
            let value = self.value()?;
            if names.is_new(&name, &object) {
                object.push(name, value);
            } else {
                self.duplicates.push(self.path());
                object.insert(name, value);
            }
            self.path.pop();
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(object));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
            self.skip_space();
        }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Member { start, end } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&self.text[*start..*end]);
                }
                Step::Item(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }
}

/// Tells whether a name is new in an object: by looking while the object is small, by a set once
/// it is not, so that a hostile body costs no quadratic time.
#[derive(Default)]
struct Names {
    seen: Option<std::collections::BTreeSet<Box<str>>>,
}

impl Names {
    const SMALL: usize = 32;

    fn is_new(&mut self, name: &str, object: &Object<'_>) -> bool {
        if object.len() < Self::SMALL {
            return !object.contains_key(name);
        }
        self.seen
            .get_or_insert_with(|| object.keys().map(Box::from).collect())
            .insert(name.into())
    }
}
