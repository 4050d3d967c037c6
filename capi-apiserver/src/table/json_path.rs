//! The JSON paths that printed columns, scales and selectable fields name: members, indices,
//! wildcards and filters by equality.

use crate::json::{Value, parse};

/// A parsed path, such as `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Member(String),
    /// Negative from the end.
    Index(i64),
    Every,
    /// Items of which a path has, or has not, a value.
    Filter {
        path: Vec<Step>,
        equal: bool,
        value: Value<'static>,
    },
    /// Items that have a path.
    Exists(Vec<Step>),
    /// Values of that name at any depth.
    Anywhere(String),
}

impl JsonPath {
    /// Parses a path. `None` if it is none, or of a kind that columns do not need.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(text);
        steps(text.strip_prefix('$').unwrap_or(text)).map(|steps| Self { steps })
    }

    /// The values that the path leads to.
    pub(crate) fn find<'v, 'a>(&self, value: &'v Value<'a>) -> Vec<&'v Value<'a>> {
        follow(&self.steps, vec![value])
    }
}

fn steps(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix("..") {
            let (name, tail) = member(tail)?;
            steps.push(Step::Anywhere(name));
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('.') {
            if tail.is_empty() || tail.starts_with('[') {
                rest = tail;
                continue;
            }
            if let Some(tail) = tail.strip_prefix('*') {
                steps.push(Step::Every);
                rest = tail;
                continue;
            }
            let (name, tail) = member(tail)?;
            steps.push(Step::Member(name));
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('[') {
            let end = closing(tail)?;
            steps.push(bracket(tail[..end].trim())?);
            rest = &tail[end + 1..];
        } else {
            return None;
        }
    }
    Some(steps)
}

/// A member's name up to the next step; `\.` is a dot in it.
fn member(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => name.push(characters.next()?.1),
            '.' | '[' => return (!name.is_empty()).then_some((name, &text[index..])),
            other => name.push(other),
        }
    }
    (!name.is_empty()).then_some((name, ""))
}

/// Where the bracket that is open ends, outside of quotes and inner brackets.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(index),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::Every);
    }
    if let Some(name) = quoted(text) {
        return Some(Step::Member(name.to_owned()));
    }
    if let Some(filter) = text
        .strip_prefix("?(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        for (operator, equal) in [("==", true), ("!=", false)] {
            if let Some((path, value)) = filter.split_once(operator) {
                let path = steps(path.trim().strip_prefix('@')?)?;
                let value = value.trim();
                let value = match quoted(value) {
                    Some(text) => Value::from(text.to_owned()),
                    None => parse(value.as_bytes()).ok()?.value.into_owned(),
                };
                return Some(Step::Filter { path, equal, value });
            }
        }
        return steps(filter.trim().strip_prefix('@')?).map(Step::Exists);
    }
    text.parse().ok().map(Step::Index)
}

fn follow<'v, 'a>(steps: &[Step], mut found: Vec<&'v Value<'a>>) -> Vec<&'v Value<'a>> {
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            match step {
                Step::Member(name) => next.extend(value.get(name)),
                Step::Index(index) => {
                    let items = value.as_array().unwrap_or_default();
                    let from_end = usize::try_from(index.unsigned_abs()).ok();
                    let place = if *index < 0 {
                        from_end.and_then(|back| items.len().checked_sub(back))
                    } else {
                        from_end
                    };
                    next.extend(place.and_then(|place| items.get(place)));
                }
                Step::Every => match value {
                    Value::Array(items) => next.extend(items),
                    Value::Object(object) => {
                        next.extend(object.sorted().into_iter().map(|(_, member)| member));
                    }
                    _ => {}
                },
                Step::Filter {
                    path,
                    equal,
                    value: expected,
                } => {
                    let items = value.as_array().unwrap_or_default();
                    next.extend(items.iter().filter(|item| {
                        let values = follow(path, vec![item]);
                        values
                            .first()
                            .is_some_and(|found| (*found == expected) == *equal)
                    }));
                }
                Step::Exists(path) => {
                    let items = value.as_array().unwrap_or_default();
                    next.extend(
                        items
                            .iter()
                            .filter(|item| !follow(path, vec![item]).is_empty()),
                    );
                }
                Step::Anywhere(name) => anywhere(value, name, &mut next),
            }
        }
        found = next;
    }
    found
}

fn anywhere<'v, 'a>(value: &'v Value<'a>, name: &str, found: &mut Vec<&'v Value<'a>>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get(name));
            object
                .iter()
                .for_each(|(_, member)| anywhere(member, name, found));
        }
        Value::Array(items) => items.iter().for_each(|item| anywhere(item, name, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let text = br#"{"a":{"b.c":[{"t":"x","s":1},{"t":"y","s":2}],"d":{"e":true}}}"#;
        let value = parse(text).unwrap().value;
        for (path, expected) in [
            (".a.d.e", "true"),
            ("{.a.d.e}", "true"),
            ("$.a.d.e", "true"),
            (r".a.b\.c[0].s", "1"),
            (".a['b.c'][-1].t", "\"y\""),
            (r#".a['b.c'][?(@.t=="y")].s"#, "2"),
            (r".a['b.c'][?(@.s != 1)].t", "\"y\""),
            (".a['b.c'][*].s", "1,2"),
            (".a['b.c'][?(@.t)].s", "1,2"),
            ("..e", "true"),
            (".a.none", ""),
            (".a.d[0]", ""),
        ] {
            let found: Vec<String> = JsonPath::parse(path)
                .unwrap()
                .find(&value)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found.join(","), expected, "{path}");
        }
        for path in ["a.b", ".a[", ".a[x]", ".a[?(b)]"] {
            assert_eq!(JsonPath::parse(path), None, "{path}");
        }
    }
}
