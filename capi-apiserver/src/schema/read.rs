//! Reading a schema from the `openAPIV3Schema` of a CustomResourceDefinition.

use super::format::Format;
use super::rules::Rule;
use super::{Additional, Checks, Kind, ListType, MergeStrategy, RuleSource, Schema};
use crate::json::{Number, Value};
use crate::schema::Path;

/// A schema that cannot be read. Whether a schema that can be read is allowed is decided by the
/// validation of CustomResourceDefinitions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct SchemaError {
    /// Where in the schema.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
}

type Result<T> = std::result::Result<T, SchemaError>;

fn fault<T>(path: &Path<'_>, problem: impl Into<String>) -> Result<T> {
    Err(SchemaError {
        path: path.dotted(),
        problem: problem.into(),
    })
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// [`SchemaError`] when a keyword has a value of the wrong type or a pattern does not compile.
    pub fn read(schema: &Value<'_>) -> Result<Self> {
        read(schema, &Path::new("openAPIV3Schema"))
    }
}

fn text<'v>(schema: &'v Value<'_>, name: &str, path: &Path<'_>) -> Result<Option<&'v str>> {
    match schema.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => fault(&path.field(name), "must be a string"),
    }
}

fn flag(schema: &Value<'_>, name: &str, path: &Path<'_>) -> Result<bool> {
    match schema.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(truth)) => Ok(*truth),
        Some(_) => fault(&path.field(name), "must be a boolean"),
    }
}

fn number(schema: &Value<'_>, name: &str, path: &Path<'_>) -> Result<Option<Number<'static>>> {
    match schema.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(Some(number.clone().into_owned())),
        Some(_) => fault(&path.field(name), "must be a number"),
    }
}

fn count(schema: &Value<'_>, name: &str, path: &Path<'_>) -> Result<Option<u64>> {
    match number(schema, name, path)? {
        None => Ok(None),
        Some(number) => match number.as_i64().map(u64::try_from) {
            Some(Ok(count)) => Ok(Some(count)),
            _ => fault(&path.field(name), "must be a non-negative integer"),
        },
    }
}

fn list<'v, 'a>(schema: &'v Value<'a>, name: &str, path: &Path<'_>) -> Result<&'v [Value<'a>]> {
    match schema.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => fault(&path.field(name), "must be an array"),
    }
}

fn texts(schema: &Value<'_>, name: &str, path: &Path<'_>) -> Result<Vec<Box<str>>> {
    list(schema, name, path)?
        .iter()
        .map(|item| match item {
            Value::String(text) => Ok(Box::from(text.as_ref())),
            _ => fault(&path.field(name), "must be an array of strings"),
        })
        .collect()
}

fn schemas(schema: &Value<'_>, name: &str, path: &Path<'_>) -> Result<Vec<Schema>> {
    list(schema, name, path)?
        .iter()
        .enumerate()
        .map(|(index, item)| read(item, &path.field(name).index(index)))
        .collect()
}

fn read(source: &Value<'_>, path: &Path<'_>) -> Result<Schema> {
    if source.as_object().is_none() {
        return fault(path, "must be an object");
    }
    let kind = match text(source, "type", path)?.unwrap_or_default() {
        "" => None,
        "object" => Some(Kind::Object),
        "array" => Some(Kind::Array),
        "string" => Some(Kind::String),
        "integer" => Some(Kind::Integer),
        "number" => Some(Kind::Number),
        "boolean" => Some(Kind::Boolean),
        other => return fault(&path.field("type"), format!("{other:?} is no type")),
    };
    let mut properties = Vec::new();
    match source.get("properties") {
        None | Some(Value::Null) => {}
        Some(Value::Object(members)) => {
            for (name, member) in members.iter() {
                properties.push((
                    Box::from(name),
                    read(member, &path.field("properties").key(name))?,
                ));
            }
        }
        Some(_) => return fault(&path.field("properties"), "must be an object"),
    }
    properties.sort_unstable_by(|(left, _): &(Box<str>, Schema), (right, _)| left.cmp(right));
    let additional = match source.get("additionalProperties") {
        None | Some(Value::Null) => Additional::Unsaid,
        Some(Value::Bool(true)) => Additional::Any,
        Some(Value::Bool(false)) => Additional::Forbidden,
        Some(schema) => {
            Additional::Schema(Box::new(read(schema, &path.field("additionalProperties"))?))
        }
    };
    let items = match source.get("items") {
        None | Some(Value::Null) => None,
        Some(schema) => Some(Box::new(read(schema, &path.field("items"))?)),
    };
    let list_type = match text(source, "x-kubernetes-list-type", path)? {
        None => None,
        Some("atomic") => Some(ListType::Atomic),
        Some("set") => Some(ListType::Set),
        Some("map") => Some(ListType::Map(
            texts(source, "x-kubernetes-list-map-keys", path)?.into(),
        )),
        Some(other) => {
            return fault(
                &path.field("x-kubernetes-list-type"),
                format!("{other:?} is no list type"),
            );
        }
    };
    let mut schema = Schema {
        kind,
        nullable: flag(source, "nullable", path)?,
        int_or_string: flag(source, "x-kubernetes-int-or-string", path)?,
        preserve_unknown_fields: flag(source, "x-kubernetes-preserve-unknown-fields", path)?,
        embedded_resource: flag(source, "x-kubernetes-embedded-resource", path)?,
        atomic_map: text(source, "x-kubernetes-map-type", path)? == Some("atomic"),
        properties,
        additional,
        items,
        default: source
            .get("default")
            .filter(|default| !default.is_null())
            .map(|default| default.clone().into_owned()),
        list_type,
        zero: None,
        merge_strategy: read_merge_strategy(source, path)?,
        checks: read_checks(source, kind, path)?,
        rules: read_rules(source, path)?,
        prints: Vec::new(),
        within: super::Within::default(),
    };
    schema.sum_up();
    Ok(schema)
}

fn read_merge_strategy(source: &Value<'_>, path: &Path<'_>) -> Result<Option<Box<MergeStrategy>>> {
    let Some(strategies) = text(source, "x-kubernetes-patch-strategy", path)? else {
        return Ok(None);
    };
    let has = |name: &str| strategies.split(',').any(|strategy| strategy == name);
    Ok(Some(Box::new(MergeStrategy {
        merges: has("merge"),
        replaces: has("replace"),
        key: text(source, "x-kubernetes-patch-merge-key", path)?.map(Box::from),
    })))
}

impl Schema {
    fn sum_up(&mut self) {
        let mut within = super::Within {
            defaults: false,
            rules: self.own_rules().next().is_some(),
            transitions: self.own_rules().any(Rule::is_transition),
            unique_lists: matches!(self.list_type, Some(ListType::Set | ListType::Map(_))),
            embedded: self.embedded_resource,
        };
        let below = self
            .properties
            .iter()
            .map(|(_, schema)| schema)
            .chain(self.additional.schema())
            .chain(self.items.as_deref());
        for schema in below {
            within.defaults |= schema.within.defaults || schema.default.is_some();
            within.rules |= schema.within.rules;
            within.transitions |= schema.within.transitions;
            within.unique_lists |= schema.within.unique_lists;
            within.embedded |= schema.within.embedded;
        }
        self.prints = self
            .properties
            .iter()
            .map(|(name, _)| super::print(name))
            .collect();
        self.within = within;
    }
}

fn read_checks(
    source: &Value<'_>,
    kind: Option<Kind>,
    path: &Path<'_>,
) -> Result<Option<Box<Checks>>> {
    const KEYWORDS: [&str; 19] = [
        "format",
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "required",
        "enum",
        "allOf",
        "anyOf",
        "oneOf",
    ];
    if !KEYWORDS
        .iter()
        .chain(&["not"])
        .any(|keyword| source.get(keyword).is_some())
    {
        return Ok(None);
    }
    let format_name = text(source, "format", path)?.unwrap_or_default();
    let format = match (kind, format_name) {
        (Some(Kind::String) | None, name) => Format::of_string(name),
        (Some(Kind::Integer), "int32") => Some(Format::Int32),
        (Some(Kind::Integer), "int64") => Some(Format::Int64),
        (Some(Kind::Number), "float") => Some(Format::Float),
        (Some(Kind::Number), "double") => Some(Format::Double),
        _ => None,
    };
    let pattern = match text(source, "pattern", path)? {
        None | Some("") => None,
        Some(pattern) => match regex::Regex::new(&as_rust_pattern(pattern)) {
            Ok(regex) => Some((Box::from(pattern), regex)),
            Err(error) => {
                return fault(
                    &path.field("pattern"),
                    format!("must be a valid regular expression, but isn't: {error}"),
                );
            }
        },
    };
    Ok(Some(Box::new(Checks {
        format,
        format_name: if format.is_some() {
            format_name.into()
        } else {
            Box::default()
        },
        minimum: number(source, "minimum", path)?,
        exclusive_minimum: flag(source, "exclusiveMinimum", path)?,
        maximum: number(source, "maximum", path)?,
        exclusive_maximum: flag(source, "exclusiveMaximum", path)?,
        multiple_of: number(source, "multipleOf", path)?,
        min_length: count(source, "minLength", path)?,
        max_length: count(source, "maxLength", path)?,
        pattern,
        min_items: count(source, "minItems", path)?,
        max_items: count(source, "maxItems", path)?,
        unique_items: flag(source, "uniqueItems", path)?,
        min_properties: count(source, "minProperties", path)?,
        max_properties: count(source, "maxProperties", path)?,
        required: texts(source, "required", path)?,
        one_of_values: list(source, "enum", path)?
            .iter()
            .map(|value| value.clone().into_owned())
            .collect(),
        all_of: schemas(source, "allOf", path)?,
        any_of: schemas(source, "anyOf", path)?,
        one_of: schemas(source, "oneOf", path)?,
        not: match source.get("not") {
            None | Some(Value::Null) => None,
            Some(not) => Some(read(not, &path.field("not"))?),
        },
    })))
}

fn read_rules(source: &Value<'_>, path: &Path<'_>) -> Result<Vec<Rule>> {
    const NAME: &str = "x-kubernetes-validations";
    let owned = |rule: &Value<'_>, name: &str| -> Result<Option<String>> {
        Ok(text(rule, name, &path.field(NAME))?
            .filter(|text| !text.is_empty())
            .map(str::to_owned))
    };
    list(source, NAME, path)?
        .iter()
        .map(|rule| {
            Ok(Rule::compile(RuleSource {
                rule: owned(rule, "rule")?.unwrap_or_default(),
                message: owned(rule, "message")?,
                message_expression: owned(rule, "messageExpression")?,
                reason: owned(rule, "reason")?,
                field_path: owned(rule, "fieldPath")?,
                optional_old_self: flag(rule, "optionalOldSelf", &path.field(NAME))?,
            }))
        })
        .collect()
}

/// A pattern of Go's regular expressions in Rust's: classes are ASCII, and inside brackets what
/// only Rust gives a meaning is escaped.
pub(crate) fn as_rust_pattern(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut characters = pattern.chars().peekable();
    let mut class_at: Option<usize> = None;
    let mut index = 0;
    while let Some(character) = characters.next() {
        index += 1;
        match character {
            '\\' => {
                index += 1;
                match characters.next() {
                    Some('d') => out.push_str("[0-9]"),
                    Some('D') => out.push_str("[^0-9]"),
                    Some('w') => out.push_str("[0-9A-Za-z_]"),
                    Some('W') => out.push_str("[^0-9A-Za-z_]"),
                    Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
                    Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
                    Some('b') if class_at.is_none() => out.push_str("(?-u:\\b)"),
                    Some('B') if class_at.is_none() => out.push_str("(?-u:\\B)"),
                    Some('z') => out.push_str("\\z"),
                    Some(other) => {
                        out.push('\\');
                        out.push(other);
                    }
                    None => out.push('\\'),
                }
            }
            '[' if class_at.is_none() => {
                class_at = Some(index);
                out.push('[');
                if characters.peek() == Some(&'^') {
                    characters.next();
                    out.push('^');
                    index += 1;
                    class_at = Some(index);
                }
            }
            '[' if characters.peek() == Some(&':') => {
                // A named class such as [:alpha:], to its end.
                out.push('[');
                for inner in characters.by_ref() {
                    index += 1;
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' => out.push_str("\\["),
            ']' if class_at == Some(index - 1) => out.push_str("\\]"),
            ']' if class_at.is_some() => {
                class_at = None;
                out.push(']');
            }
            '&' | '~' if class_at.is_some() => {
                out.push('\\');
                out.push(character);
            }
            '-' if class_at.is_some() && characters.peek() == Some(&'-') => out.push_str("\\-"),
            other => out.push(other),
        }
    }
    out
}
