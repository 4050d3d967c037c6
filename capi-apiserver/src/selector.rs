//! Label and field selectors: their grammar, and whether an encoded object matches.

use std::fmt;

use crate::{json, peek, status::Status};

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A parsed `labelSelector`; the empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

/// A parsed `fieldSelector`: field, value, whether it must be equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<FieldRequirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    field: String,
    value: String,
    equal: bool,
}

/// Both selectors of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Selector {
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.0.is_empty() && self.fields.0.is_empty()
    }

    /// Whether an encoded object matches.
    pub(crate) fn matches(&self, object: &[u8]) -> bool {
        self.fields.matches(object) && self.labels.matches(object)
    }
}

impl LabelSelector {
    /// # Errors
    /// What is wrong with the text, in the words of the API.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        let mut parser = Parser {
            tokens: tokens(text),
            at: 0,
        };
        parser.selector().map(Self).map_err(|why| {
            Status::bad_request(match why {
                why if why.starts_with("found ") => why,
                why => format!("unable to parse requirement: {why}"),
            })
        })
    }

    /// From a `metav1.LabelSelector`: `None` if it is malformed.
    pub(crate) fn from_object(selector: &json::Value<'_>) -> Option<Self> {
        let mut requirements = Vec::new();
        if let Some(labels) = selector.get("matchLabels").and_then(json::Value::as_object) {
            for (key, value) in labels.iter() {
                requirements.push(Requirement::In(
                    key.to_owned(),
                    vec![value.as_str()?.to_owned()],
                ));
            }
        }
        for expression in selector
            .get("matchExpressions")
            .and_then(json::Value::as_array)
            .unwrap_or_default()
        {
            let key = expression.get("key")?.as_str()?.to_owned();
            let values = expression
                .get("values")
                .and_then(json::Value::as_array)
                .unwrap_or_default();
            let values = values
                .iter()
                .map(|value| value.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()?;
            requirements.push(match expression.get("operator")?.as_str()? {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::Absent(key),
                _ => return None,
            });
        }
        Some(Self(requirements))
    }

    pub(crate) fn matches(&self, object: &[u8]) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let labels =
            peek::at(object, &["metadata", "labels"]).and_then(|text| json::parse(text).ok());
        let label = |key: &str| {
            labels
                .as_ref()
                .and_then(|labels| labels.value.get(key))
                .and_then(json::Value::as_str)
        };
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                label(key).is_some_and(|value| values.iter().any(|one| one == value))
            }
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|value| !values.iter().any(|one| one == value))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
            Requirement::Greater(key, bound) => label(key)
                .and_then(|value| value.parse().ok())
                .is_some_and(|value: i64| value > *bound),
            Requirement::Less(key, bound) => label(key)
                .and_then(|value| value.parse().ok())
                .is_some_and(|value: i64| value < *bound),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(&'a str),
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Sign(text) => f.write_str(text),
        }
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if matches!(first, '=' | '!' | '>' | '<') {
            if rest.starts_with("==") || rest.starts_with("!=") {
                2
            } else {
                1
            }
        } else if matches!(first, '(' | ')' | ',') {
            1
        } else {
            rest.find(|c: char| {
                c.is_whitespace() || matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
            })
            .unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(length);
        let is_sign = matches!(first, '=' | '!' | '>' | '<' | '(' | ')' | ',');
        tokens.push(if is_sign {
            Token::Sign(token)
        } else {
            Token::Word(token)
        });
        rest = after.trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if self.peek().is_none() {
            return Ok(requirements);
        }
        loop {
            requirements.push(self.requirement()?);
            match self.next() {
                None => return Ok(requirements),
                Some(Token::Sign(",")) if self.peek().is_some() => {}
                Some(Token::Sign(",")) => {
                    return Err("found '', expected: identifier after ','".to_owned());
                }
                Some(other) => {
                    return Err(format!("found '{other}', expected: ',' or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Some(&Token::Sign("!"));
        if absent {
            self.at += 1;
        }
        let key = match self.next() {
            Some(Token::Word(key)) => key,
            Some(other) => return Err(format!("found '{other}', expected: identifier")),
            None => return Err("found '', expected: identifier".to_owned()),
        };
        check_key(key)?;
        if absent {
            return Ok(Requirement::Absent(key.to_owned()));
        }
        let key = key.to_owned();
        match self.peek().cloned() {
            None | Some(Token::Sign(",")) => Ok(Requirement::Exists(key)),
            Some(Token::Sign("=" | "==")) => {
                self.at += 1;
                Ok(Requirement::In(key, vec![self.value()?]))
            }
            Some(Token::Sign("!=")) => {
                self.at += 1;
                Ok(Requirement::NotIn(key, vec![self.value()?]))
            }
            Some(Token::Sign(sign @ (">" | "<"))) => {
                self.at += 1;
                let value = self.value()?;
                let bound = value
                    .parse()
                    .map_err(|_| format!("values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"))?;
                Ok(if sign == ">" {
                    Requirement::Greater(key, bound)
                } else {
                    Requirement::Less(key, bound)
                })
            }
            Some(Token::Word(word @ ("in" | "notin"))) => {
                self.at += 1;
                let values = self.values()?;
                Ok(if word == "in" {
                    Requirement::In(key, values)
                } else {
                    Requirement::NotIn(key, values)
                })
            }
            Some(other) => Err(format!(
                "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
            )),
        }
    }

    /// A value, which may be empty.
    fn value(&mut self) -> Result<String, String> {
        match self.peek().cloned() {
            None | Some(Token::Sign(",")) => Ok(String::new()),
            Some(Token::Word(value)) => {
                self.at += 1;
                check_value(value)?;
                Ok(value.to_owned())
            }
            Some(other) => Err(format!("found '{other}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Some(Token::Sign("(")) => {}
            other => {
                return Err(format!(
                    "found '{}', expected: '('",
                    other.map(|token| token.to_string()).unwrap_or_default()
                ));
            }
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                Some(Token::Word(value)) => {
                    check_value(value)?;
                    values.push(value.to_owned());
                    match self.next() {
                        Some(Token::Sign(",")) => {}
                        Some(Token::Sign(")")) => break,
                        other => {
                            let found = other.map(|token| token.to_string()).unwrap_or_default();
                            return Err(format!("found '{found}', expected: ',' or ')'"));
                        }
                    }
                }
                Some(Token::Sign(",")) => values.push(String::new()),
                Some(Token::Sign(")")) => {
                    values.push(String::new());
                    break;
                }
                other => {
                    let found = other.map(|token| token.to_string()).unwrap_or_default();
                    return Err(format!("found '{found}', expected: ',', ')' or identifier"));
                }
            }
        }
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }
}

fn check_key(key: &str) -> Result<(), String> {
    match crate::names::qualified_name_error(key) {
        Some(why) => Err(format!("key: Invalid value: \"{key}\": {why}")),
        None => Ok(()),
    }
}

fn check_value(value: &str) -> Result<(), String> {
    match crate::names::label_value_error(value) {
        Some(why) => Err(format!("values[0]: Invalid value: \"{value}\": {why}")),
        None => Ok(()),
    }
}

impl FieldSelector {
    /// # Errors
    /// What is wrong with the text, in the words of the API. Whether a field is known is the
    /// question of [`FieldSelector::check`].
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            if term.is_empty() {
                continue;
            }
            let Some((field, equal, value)) = split_term(term) else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{term}'; can't understand '{term}'"
                )));
            };
            requirements.push(FieldRequirement {
                field: field.to_owned(),
                value: unescape(value),
                equal,
            });
        }
        Ok(Self(requirements))
    }

    /// The first field that `known` does not know.
    pub(crate) fn unknown(&self, known: impl Fn(&str) -> bool) -> Option<&str> {
        self.0
            .iter()
            .map(|requirement| requirement.field.as_str())
            .find(|field| !known(field))
    }

    pub(crate) fn matches(&self, object: &[u8]) -> bool {
        self.0.iter().all(|requirement| {
            let path: Vec<&str> = requirement.field.split('.').collect();
            let value = peek::at(object, &path);
            let text = match value {
                None | Some(b"null") => String::new(),
                Some(value) if value.starts_with(b"\"") => {
                    serde_json::from_slice(value).unwrap_or_default()
                }
                Some(value) => String::from_utf8_lossy(value).into_owned(),
            };
            (text == requirement.value) == requirement.equal
        })
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    let (field, rest) = term.split_at(at);
    for (sign, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(value) = rest.strip_prefix(sign) {
            return Some((field, equal, value));
        }
    }
    None
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.extend(characters.next()),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &[u8] = br#"{"metadata":{"name":"n","labels":{"a":"b","size":"12","empty":""}},"spec":{"on":true,"host":"x,y"}}"#;

    #[test]
    fn label_selectors_match_as_written() {
        for (text, matches) in [
            ("", true),
            ("a=b", true),
            ("a==b", true),
            ("a!=b", false),
            ("a=c", false),
            ("missing!=x", true),
            ("a", true),
            ("!a", false),
            ("!missing", true),
            ("a in (b, c),size", true),
            ("a notin (b)", false),
            ("missing notin (b)", true),
            ("size>11", true),
            ("size<12", false),
            ("empty=", true),
            ("a=b,size=12", true),
            ("a=b,size=13", false),
        ] {
            let selector =
                LabelSelector::parse(text).unwrap_or_else(|status| panic!("{text}: {status}"));
            assert_eq!(selector.matches(OBJECT), matches, "{text}");
        }
    }

    #[test]
    fn broken_label_selectors_are_bad_requests() {
        for text in [
            "=b", "a in b", "a in (b", "a=b,", ",", "a b", "a=b c", "((", "size>x", "a=b=c", "-=1",
            "!",
        ] {
            let status = LabelSelector::parse(text).expect_err(text);
            assert_eq!(status.code(), 400, "{text}");
        }
    }

    #[test]
    fn field_selectors_compare_any_scalar() {
        for (text, matches) in [
            ("metadata.name=n", true),
            ("metadata.name!=n", false),
            ("spec.on=true", true),
            ("spec.none=", true),
            ("spec.host=x\\,y", true),
            ("metadata.name=n,spec.on==false", false),
        ] {
            assert_eq!(
                FieldSelector::parse(text).expect(text).matches(OBJECT),
                matches,
                "{text}"
            );
        }
        assert_eq!(
            FieldSelector::parse("a").expect_err("no operator").code(),
            400
        );
        let selector = FieldSelector::parse("metadata.name=n,spec.x=1").expect("a selector");
        assert_eq!(
            selector.unknown(|field| field == "metadata.name"),
            Some("spec.x")
        );
    }
}
