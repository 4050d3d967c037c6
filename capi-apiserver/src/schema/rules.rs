//! Rules in the Common Expression Language: `x-kubernetes-validations`.
//!
//! Rules are compiled when a schema is read and run on objects that are valid otherwise. It
//! answers to <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>.
//! A rule that cannot be run here is reported as a fault of the object: nothing is let through
//! unchecked. What cannot be run is listed in the crate's `docs/differences.md`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use kube_cel::KubeCelExt as _;
use kube_cel::cel::objects::{Key, Map, OptionalValue};
use kube_cel::cel::{Context, ExecutionError, Program, Value as Cel};

use super::format::Format;
use super::{Additional, FieldError, FieldErrorKind, Kind, Path, RuleSource, Schema};
use crate::json::Value;

/// A compiled rule.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) source: RuleSource,
    /// The program, or why there is none.
    program: Result<Arc<Program>, String>,
    message: Option<Arc<Program>>,
    uses_old_self: bool,
}

impl Rule {
    pub(crate) fn compile(source: RuleSource) -> Self {
        let program = Program::compile(&source.rule)
            .map(Arc::new)
            .map_err(|error| error.to_string());
        let message = source
            .message_expression
            .as_deref()
            .and_then(|text| Program::compile(text).ok())
            .map(Arc::new);
        let uses_old_self = program
            .as_ref()
            .is_ok_and(|program| program.references().has_variable("oldSelf"));
        Self {
            source,
            program,
            message,
            uses_old_self,
        }
    }

    /// Which member of the rule does not compile, and why.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        if let Err(problem) = &self.program {
            return Some(("rule", problem.clone()));
        }
        let text = self.source.message_expression.as_deref()?;
        Program::compile(text)
            .err()
            .map(|error| ("messageExpression", error.to_string()))
    }

    /// Whether the rule compares with what was before.
    pub(crate) const fn is_transition(&self) -> bool {
        self.uses_old_self
    }

    fn words(&self) -> &str {
        self.source
            .message
            .as_deref()
            .unwrap_or(&self.source.rule)
            .trim()
    }
}

/// All functions that rules may call. Making it is dear, so it is made once.
static FUNCTIONS: LazyLock<Context<'static>> = LazyLock::new(|| {
    let mut context = Context::default().with_all();
    context.add_function("type", |value: Cel| type_name(&value).to_owned());
    for name in [
        "int",
        "uint",
        "double",
        "bool",
        "string",
        "bytes",
        "list",
        "map",
        "null_type",
    ] {
        context.add_variable_from_value(name, text(name));
    }
    context
});

/// The name of a value's type; it stands for the type in `type(self) == string`.
const fn type_name(value: &Cel) -> &'static str {
    match value {
        Cel::Int(_) => "int",
        Cel::UInt(_) => "uint",
        Cel::Float(_) => "double",
        Cel::Bool(_) => "bool",
        Cel::String(_) => "string",
        Cel::Bytes(_) => "bytes",
        Cel::List(_) => "list",
        Cel::Map(_) => "map",
        Cel::Null => "null_type",
        _ => "",
    }
}

static TIMESTAMP: LazyLock<Option<Program>> =
    LazyLock::new(|| Program::compile("timestamp(text)").ok());
static DURATION: LazyLock<Option<Program>> =
    LazyLock::new(|| Program::compile("duration(text)").ok());

/// What was before, for an update.
#[derive(Debug, Clone, Copy)]
struct Before<'v, 'a> {
    old: Option<&'v Value<'a>>,
    /// Whether the nearest part that can be compared with the old object is as before.
    unchanged: bool,
    /// Whether the old object passed these very rules, so that what is as before passes again.
    passed: bool,
}

impl Schema {
    /// Whether there are rules here or further down.
    #[must_use]
    pub const fn has_rules(&self) -> bool {
        self.within.rules
    }

    /// The rules of this very place.
    pub(super) fn own_rules(&self) -> impl Iterator<Item = &Rule> {
        let nested = self.checks.iter().flat_map(|checks| &checks.all_of);
        self.rules
            .iter()
            .chain(nested.flat_map(|schema| &schema.rules))
    }

    /// Runs the rules on a resource that is valid otherwise, on an update with the object before.
    /// What rules that do not look at `oldSelf` say about an unchanged part is left out.
    #[must_use]
    pub fn check_rules(&self, resource: &Value<'_>, old: Option<&Value<'_>>) -> Vec<FieldError> {
        self.check_rules_from(resource, old, false)
    }

    /// Runs the rules like [`check_rules`](Self::check_rules) on a change of an object that
    /// `passed` them before or not: what passed and is as it was is not asked again.
    #[must_use]
    pub fn check_rules_from(
        &self,
        resource: &Value<'_>,
        old: Option<&Value<'_>>,
        passed: bool,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.within.rules {
            let before = Before {
                old,
                unchanged: old == Some(resource),
                passed,
            };
            self.run(&Path::ROOT, resource, before, true, &mut errors);
        }
        errors
    }

    /// Runs the rules of a member of a resource, given what it was before.
    pub(super) fn check_member_rules(
        &self,
        path: &Path<'_>,
        member: &Value<'_>,
        old: Option<&Value<'_>>,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let before = Before {
            old,
            unchanged: old == Some(member),
            passed: true,
        };
        self.run(path, member, before, self.embedded_resource, &mut errors);
        errors
    }

    fn run(
        &self,
        path: &Path<'_>,
        value: &Value<'_>,
        before: Before<'_, '_>,
        resource: bool,
        errors: &mut Vec<FieldError>,
    ) {
        let passes = before.passed && before.unchanged;
        let asks = if passes {
            self.within.transitions
        } else {
            self.within.rules
        };
        if !asks || value.is_null() {
            return;
        }
        self.run_here(path, value, before, resource, &self.rules, errors);
        for nested in self.checks.iter().flat_map(|checks| &checks.all_of) {
            self.run_here(path, value, before, resource, &nested.rules, errors);
        }
        match value {
            Value::Object(object) => {
                let old = before.old.filter(|_| !self.atomic_map);
                for (name, member) in object.iter() {
                    let old = old.and_then(|old| old.get(name));
                    let is_type = resource && matches!(name, "apiVersion" | "kind");
                    let below = descend(before, old.filter(|_| !is_type), member);
                    if let Some(schema) = self.property(name) {
                        schema.run(
                            &path.field(name),
                            member,
                            below,
                            schema.embedded_resource,
                            errors,
                        );
                    } else if let Additional::Schema(schema) = &self.additional {
                        schema.run(
                            &path.key(name),
                            member,
                            below,
                            schema.embedded_resource,
                            errors,
                        );
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = self.items() else { return };
                let old_items = before.old.and_then(Value::as_array).unwrap_or_default();
                for (index, item) in items.iter().enumerate() {
                    let below = descend(before, self.before(item, old_items), item);
                    schema.run(
                        &path.index(index),
                        item,
                        below,
                        schema.embedded_resource,
                        errors,
                    );
                }
            }
            _ => {}
        }
    }

    fn run_here(
        &self,
        path: &Path<'_>,
        value: &Value<'_>,
        before: Before<'_, '_>,
        resource: bool,
        rules: &[Rule],
        errors: &mut Vec<FieldError>,
    ) {
        let passes = before.passed && before.unchanged;
        let asked = |rule: &&Rule| !passes || rule.uses_old_self;
        if !rules.iter().any(|rule| asked(&rule)) {
            return;
        }
        let kind = Value::from(self.kind.map_or("", Kind::as_str));
        let old = before.old.filter(|old| !old.is_null());
        let this = to_cel(self, value, resource);
        let that = if rules.iter().any(|rule| rule.uses_old_self) {
            old.map(|old| to_cel(self, old, resource))
        } else {
            None
        };
        for rule in rules.iter().filter(asked) {
            let program = match &rule.program {
                Ok(program) => program,
                Err(problem) => {
                    errors.push(FieldError::invalid(
                        path,
                        &kind,
                        &format!("rule compile error: {problem}"),
                    ));
                    continue;
                }
            };
            if rule.uses_old_self && that.is_none() && !rule.source.optional_old_self {
                continue;
            }
            let mut context = FUNCTIONS.new_inner_scope();
            context.add_variable_from_value("self", this.clone());
            if rule.source.optional_old_self {
                let old = that
                    .clone()
                    .map_or_else(OptionalValue::none, OptionalValue::of);
                context.add_variable_from_value("oldSelf", Cel::Opaque(Arc::new(old)));
            } else if let Some(that) = &that {
                context.add_variable_from_value("oldSelf", that.clone());
            }
            match program.execute(&context) {
                Ok(Cel::Bool(true)) => continue,
                Ok(_) => {}
                Err(error) => {
                    let detail = evaluation_error(&error, rule.words());
                    errors.push(FieldError::invalid(path, &kind, &detail));
                    continue;
                }
            }
            if !rule.uses_old_self && before.unchanged {
                continue;
            }
            let detail = match rule
                .message
                .as_ref()
                .and_then(|message| message.execute(&context).ok())
            {
                Some(Cel::String(text)) if is_message(&text) => text.trim().to_owned(),
                _ => match &rule.source.message {
                    Some(message) => message.trim().to_owned(),
                    None => format!("failed rule: {}", rule.words()),
                },
            };
            errors.push(self.violation(path, value, rule, &detail));
        }
    }

    fn violation(
        &self,
        path: &Path<'_>,
        value: &Value<'_>,
        rule: &Rule,
        detail: &str,
    ) -> FieldError {
        let kind = match rule.source.reason.as_deref() {
            Some("FieldValueForbidden") => FieldErrorKind::Forbidden,
            Some("FieldValueRequired") => FieldErrorKind::Required,
            Some("FieldValueDuplicate") => FieldErrorKind::Duplicate,
            _ => FieldErrorKind::Invalid,
        };
        let below = rule.source.field_path.as_deref().map(normalized_path);
        let here = below.as_deref().map(|below| path.field(below));
        let here = here.as_ref().unwrap_or(path);
        if matches!(self.kind, Some(Kind::Object | Kind::Array)) {
            FieldError::without_value(kind, here, detail)
        } else {
            FieldError::of_kind(kind, here, value, detail)
        }
    }
}

fn descend<'v, 'a>(
    before: Before<'_, '_>,
    old: Option<&'v Value<'a>>,
    value: &Value<'_>,
) -> Before<'v, 'a> {
    match old {
        Some(old) => Before {
            old: Some(old),
            unchanged: old == value,
            passed: before.passed,
        },
        None => Before {
            old: None,
            unchanged: before.unchanged && before.old.is_none(),
            passed: before.passed,
        },
    }
}

/// Whether an evaluated message can be shown: it is a line of text.
fn is_message(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && !text.contains('\n') && text.len() <= 5 * 1024
}

/// `.spec['a b'].c` as errors show it: `spec[a b].c`.
fn normalized_path(path: &str) -> String {
    path.trim_start_matches('.')
        .replace("['", "[")
        .replace("']", "]")
}

fn evaluation_error(error: &ExecutionError, rule: &str) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key} evaluating rule: {rule}"),
        ExecutionError::DivisionByZero(_) => format!("division by zero evaluating rule: {rule}"),
        ExecutionError::RemainderByZero(_) => format!("modulus by zero evaluating rule: {rule}"),
        ExecutionError::Overflow(..) => format!("integer overflow evaluating rule: {rule}"),
        ExecutionError::IndexOutOfBounds(Cel::Int(index)) => {
            format!("index out of bounds: {index} evaluating rule: {rule}")
        }
        ExecutionError::NoSuchOverload => format!(
            "'no such overload': call arguments did not match a supported operator, function or macro signature for rule: {rule}"
        ),
        other => format!("{other} evaluating rule: {rule}"),
    }
}

/// Words that cannot name a member in an expression and are written `__word__`.
const RESERVED: [&str; 19] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
];

/// The name of a property in expressions.
fn escaped(name: &str) -> String {
    if RESERVED.contains(&name) || matches!(name, "void" | "while") {
        return format!("__{name}__");
    }
    if !name.contains(['_', '.', '-', '/']) {
        return name.to_owned();
    }
    let mut out = String::with_capacity(name.len() + 8);
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '_' if characters.peek() == Some(&'_') => {
                characters.next();
                out.push_str("__underscores__");
            }
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            other => out.push(other),
        }
    }
    out
}

fn text(text: &str) -> Cel {
    Cel::String(Arc::new(text.to_owned()))
}

/// A value of a schema as expressions see it. Members that the schema does not describe are not
/// seen; of the metadata of a resource only the names are.
fn to_cel(schema: &Schema, value: &Value<'_>, resource: bool) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) => match (schema.kind, number.as_i64()) {
            (Some(Kind::Number), _) | (_, None) => Cel::Float(number.as_f64()),
            (_, Some(integer)) => Cel::Int(integer),
        },
        Value::String(string) => string_to_cel(schema, string),
        Value::Array(items) => {
            let items = items.iter().map(|item| match schema.items() {
                Some(schema) => to_cel(schema, item, schema.embedded_resource),
                None => untyped(item),
            });
            Cel::List(Arc::new(items.collect()))
        }
        Value::Object(object) => {
            let mut map = HashMap::with_capacity(object.len());
            for (name, member) in object.iter() {
                if resource && matches!(name, "apiVersion" | "kind") {
                    map.insert(Key::from(name.to_owned()), untyped(member));
                } else if resource && name == "metadata" {
                    map.insert(Key::from(name.to_owned()), metadata(member));
                } else if let Some(schema) = schema.property(name) {
                    map.insert(
                        Key::from(escaped(name)),
                        to_cel(schema, member, schema.embedded_resource),
                    );
                } else if let Additional::Schema(schema) = &schema.additional {
                    map.insert(
                        Key::from(name.to_owned()),
                        to_cel(schema, member, schema.embedded_resource),
                    );
                }
            }
            Cel::Map(Map { map: Arc::new(map) })
        }
    }
}

fn metadata(value: &Value<'_>) -> Cel {
    let mut map = HashMap::new();
    for name in ["name", "generateName"] {
        if let Some(value) = value.get(name).and_then(Value::as_str) {
            map.insert(Key::from(name.to_owned()), text(value));
        }
    }
    Cel::Map(Map { map: Arc::new(map) })
}

fn untyped(value: &Value<'_>) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Cel::Float(number.as_f64()), Cel::Int),
        Value::String(string) => text(string),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(untyped).collect())),
        Value::Object(object) => {
            let members = object
                .iter()
                .map(|(name, member)| (Key::from(name.to_owned()), untyped(member)));
            Cel::Map(Map {
                map: Arc::new(members.collect()),
            })
        }
    }
}

fn string_to_cel(schema: &Schema, string: &str) -> Cel {
    let format = schema.checks.as_ref().and_then(|checks| checks.format);
    let called = |program: &Option<Program>| {
        let mut context = FUNCTIONS.new_inner_scope();
        context.add_variable_from_value("text", text(string));
        program
            .as_ref()
            .and_then(|program| program.execute(&context).ok())
    };
    let typed = match format {
        Some(Format::DateTime) => called(&TIMESTAMP),
        Some(Format::Date) => {
            let mut context = FUNCTIONS.new_inner_scope();
            context.add_variable_from_value("text", text(&format!("{string}T00:00:00Z")));
            TIMESTAMP
                .as_ref()
                .and_then(|program| program.execute(&context).ok())
        }
        Some(Format::Duration) => called(&DURATION),
        Some(Format::Byte) => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD
                .decode(string)
                .ok()
                .map(|bytes| Cel::Bytes(Arc::new(bytes)))
        }
        _ => None,
    };
    typed.unwrap_or_else(|| text(string))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn read(text: &str) -> Value<'_> {
        parse(text.as_bytes()).unwrap().value
    }

    fn check(schema: &str, object: &str, old: Option<&str>) -> Vec<String> {
        let schema = Schema::read(&read(schema)).unwrap();
        let old = old.map(read);
        schema
            .check_rules(&read(object), old.as_ref())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn spec(properties: &str, rules: &str) -> String {
        format!(
            r#"{{"type":"object","properties":{{"spec":{{"type":"object","properties":{properties},"x-kubernetes-validations":{rules}}}}}}}"#
        )
    }

    #[test]
    fn a_broken_rule_says_its_message_at_its_place() {
        let numbers = r#"{"min":{"type":"integer"},"max":{"type":"integer"}}"#;
        for (rules, expected) in [
            (
                r#"[{"rule":"self.min <= self.max","message":"min is above max"}]"#,
                "spec: Invalid value: min is above max",
            ),
            (
                r#"[{"rule":"self.min <= self.max"}]"#,
                "spec: Invalid value: failed rule: self.min <= self.max",
            ),
            (
                r#"[{"rule":"self.min <= self.max","messageExpression":"'min ' + string(self.min) + ' is above ' + string(self.max)"}]"#,
                "spec: Invalid value: min 3 is above 2",
            ),
            (
                r#"[{"rule":"self.min <= self.max","message":"no","fieldPath":".min","reason":"FieldValueForbidden"}]"#,
                "spec.min: Forbidden: no",
            ),
            (
                r#"[{"rule":"self.other > 1","message":"no"}]"#,
                r#"spec: Invalid value: "object": no such key: other evaluating rule: no"#,
            ),
        ] {
            assert_eq!(
                check(&spec(numbers, rules), r#"{"spec":{"min":3,"max":2}}"#, None),
                [expected],
                "{rules}"
            );
        }
        let rules = r#"[{"rule":"self.min <= self.max"}]"#;
        assert!(check(&spec(numbers, rules), r#"{"spec":{"min":1,"max":2}}"#, None).is_empty());
    }

    #[test]
    fn scalars_are_shown_with_their_value() {
        let schema = r#"{"type":"object","properties":{"a":{"type":"string","x-kubernetes-validations":[{"rule":"self != 'x'","message":"no x"}]}}}"#;
        assert_eq!(
            check(schema, r#"{"a":"x"}"#, None),
            [r#"a: Invalid value: "x": no x"#]
        );
    }

    #[test]
    fn transition_rules_run_on_updates_only() {
        let rules = r#"[{"rule":"self.a == oldSelf.a","message":"a is immutable"}]"#;
        let schema = spec(r#"{"a":{"type":"string"}}"#, rules);
        assert!(check(&schema, r#"{"spec":{"a":"x"}}"#, None).is_empty());
        assert!(
            check(
                &schema,
                r#"{"spec":{"a":"x"}}"#,
                Some(r#"{"spec":{"a":"x"}}"#)
            )
            .is_empty()
        );
        assert_eq!(
            check(
                &schema,
                r#"{"spec":{"a":"y"}}"#,
                Some(r#"{"spec":{"a":"x"}}"#)
            ),
            ["spec: Invalid value: a is immutable"]
        );
    }

    #[test]
    fn an_optional_old_self_lets_a_rule_run_on_creation() {
        let rules = r#"[{"rule":"oldSelf.hasValue() || self.a == 'first'","optionalOldSelf":true,"message":"begin with first"}]"#;
        let schema = spec(r#"{"a":{"type":"string"}}"#, rules);
        assert_eq!(
            check(&schema, r#"{"spec":{"a":"x"}}"#, None),
            ["spec: Invalid value: begin with first"]
        );
        assert!(
            check(
                &schema,
                r#"{"spec":{"a":"x"}}"#,
                Some(r#"{"spec":{"a":"first"}}"#)
            )
            .is_empty()
        );
    }

    #[test]
    fn rules_forgive_what_an_update_does_not_change() {
        let schema = r#"{"type":"object","properties":{"list":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],
            "items":{"type":"object","properties":{"k":{"type":"string"},"v":{"type":"integer","x-kubernetes-validations":[{"rule":"self < 5","message":"too much"}]}}}}}}"#;
        let old = r#"{"list":[{"k":"a","v":9},{"k":"b","v":1}]}"#;
        let new = r#"{"list":[{"k":"b","v":8},{"k":"a","v":9}]}"#;
        assert_eq!(
            check(schema, new, Some(old)),
            ["list[0].v: Invalid value: 8: too much"]
        );
        assert_eq!(check(schema, new, None).len(), 2);
    }

    #[test]
    fn names_formats_and_types_are_as_in_kubernetes() {
        let properties = r#"{"a-b":{"type":"string"},"namespace":{"type":"string"},"t":{"type":"string","format":"date-time"},
            "d":{"type":"string","format":"duration"},"n":{"type":"number"},"b":{"type":"string","format":"byte"},
            "m":{"type":"object","additionalProperties":{"type":"string"}},"i":{"x-kubernetes-int-or-string":true}}"#;
        let object = r#"{"apiVersion":"e/v1","kind":"K","metadata":{"name":"x","labels":{}},"spec":{"a-b":"1","namespace":"2","t":"2024-01-01T00:00:00Z","d":"90s","n":1,"b":"aGVsbG8=","m":{"k-1":"v"},"i":"50%"}}"#;
        for rule in [
            "self.a__dash__b == '1'",
            "self.__namespace__ == '2'",
            "self.t < timestamp('2025-01-01T00:00:00Z')",
            "self.d == duration('1m30s')",
            "self.n == 1.0",
            "size(self.b) == 5",
            "self.m['k-1'] == 'v' && self.m.all(k, k.startsWith('k'))",
            "type(self.i) == string ? self.i == '50%' : self.i == 50",
            "!has(self.absent)",
        ] {
            let rules = format!(r#"[{{"rule":{}}}]"#, Value::from(rule));
            assert_eq!(
                check(&spec(properties, &rules), object, None),
                Vec::<String>::new(),
                "{rule}"
            );
        }
        let root = r#"{"type":"object","properties":{},"x-kubernetes-validations":[{"rule":"self.metadata.name == 'x' && self.kind == 'K'"}]}"#;
        assert!(check(root, object, None).is_empty());
    }

    #[test]
    fn a_rule_that_does_not_compile_lets_nothing_through() {
        let schema = spec(r#"{"a":{"type":"string"}}"#, r#"[{"rule":"self.a =="}]"#);
        let errors = check(&schema, r#"{"spec":{"a":"x"}}"#, None);
        assert!(
            errors[0].starts_with(r#"spec: Invalid value: "object": rule compile error: "#),
            "{errors:?}"
        );
    }
}
