//! Validating an object against a schema, with the messages of the Kubernetes API.
//!
//! On an update, what is wrong with a part that did not change is not reported (ratcheting).

use super::format::Format;
use super::{Additional, Checks, FieldError, FieldErrorKind, Kind, ListType, Path, Schema};
use crate::json::{Number, Object, Value};

/// What a schema says about a value: the faults, and how many checks passed. Of the alternatives
/// of `anyOf` and `oneOf` the one with most passed checks is the one that is explained.
#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    passed: u32,
    /// Only whether there is a fault is asked, so that what is as before is not looked at.
    brief: bool,
}

impl Outcome {
    fn add(&mut self, other: Outcome) {
        self.passed += other.passed;
        self.errors.extend(other.errors);
    }
}

impl Schema {
    /// Validates a new object: types and values first, then uniqueness in lists.
    #[must_use]
    pub fn validate(&self, value: &Value<'_>) -> Vec<FieldError> {
        self.validate_from(&Path::ROOT, value, None)
    }

    /// Validates a changed object. What is wrong with a part that is as before is forgiven.
    #[must_use]
    pub fn validate_update(&self, value: &Value<'_>, old: &Value<'_>) -> Vec<FieldError> {
        self.validate_from(&Path::ROOT, value, Some(old))
    }

    /// Validates a part of an object, such as its status, against the schema of that part.
    #[must_use]
    pub fn validate_from(
        &self,
        path: &Path<'_>,
        value: &Value<'_>,
        old: Option<&Value<'_>>,
    ) -> Vec<FieldError> {
        let mut outcome = Outcome::default();
        self.check(path, value, old, &mut outcome);
        let mut errors = outcome.errors;
        self.embedded_resources(value, path, &mut errors);
        errors.extend(self.repeated_in_lists(path, value, old));
        errors
    }

    /// Validates a change of the status alone. The real server tells the paths in these messages
    /// from the status on.
    #[must_use]
    pub fn validate_status(&self, object: &Value<'_>, old: &Value<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let (Some(schema), Some(status)) = (self.property("status"), object.get("status")) {
            let mut outcome = Outcome::default();
            schema.check(&Path::ROOT, status, old.get("status"), &mut outcome);
            errors = outcome.errors;
            for error in &mut errors {
                error.field = match error.field.as_str() {
                    "<nil>" => "status".to_owned(),
                    below => format!("status.{below}"),
                };
            }
        }
        errors.extend(self.repeated_in_lists(&Path::ROOT, object, Some(old)));
        errors
    }

    /// Whether a changed part of an object, of which something was before, has a fault.
    pub(super) fn has_fault(
        &self,
        path: &Path<'_>,
        value: &Value<'_>,
        old: Option<&Value<'_>>,
    ) -> bool {
        let mut outcome = Outcome {
            brief: true,
            ..Outcome::default()
        };
        self.check(path, value, old, &mut outcome);
        !outcome.errors.is_empty() || !self.repeated_in_lists(path, value, old).is_empty()
    }

    fn repeated_in_lists(
        &self,
        path: &Path<'_>,
        value: &Value<'_>,
        old: Option<&Value<'_>>,
    ) -> Vec<FieldError> {
        let mut repeated = Vec::new();
        self.unique_lists(value, path, &mut repeated);
        if let Some(old) = old
            && !repeated.is_empty()
        {
            let mut before = Vec::new();
            self.unique_lists(old, path, &mut before);
            if !before.is_empty() {
                repeated.clear();
            }
        }
        repeated
    }

    fn check(
        &self,
        path: &Path<'_>,
        value: &Value<'_>,
        old: Option<&Value<'_>>,
        outcome: &mut Outcome,
    ) {
        if outcome.brief && old == Some(value) {
            return;
        }
        let start = outcome.errors.len();
        self.check_node(path, value, old, outcome);
        if outcome.errors.len() > start && old.is_some_and(|old| old == value) {
            outcome.errors.truncate(start);
        }
    }

    fn check_node(
        &self,
        path: &Path<'_>,
        value: &Value<'_>,
        old: Option<&Value<'_>>,
        outcome: &mut Outcome,
    ) {
        let checks = self.checks.as_deref();
        if self.kind.is_some()
            || self.int_or_string
            || checks.is_some_and(|checks| checks.format.is_some())
        {
            self.check_type(path, value, checks, outcome);
            outcome.passed += 1;
        }
        if let Some(checks) = checks {
            if value.is_null() {
                check_enum(path, value, checks, outcome);
                return;
            }
            check_alternatives(path, value, old, checks, outcome);
        }
        outcome.passed += 3;
        match value {
            Value::String(text) => {
                outcome.passed += 1;
                if let Some(checks) = checks {
                    check_string(path, text, checks, outcome);
                    check_enum(path, value, checks, outcome);
                }
            }
            Value::Number(number) => {
                outcome.passed += 2;
                check_number(
                    path,
                    number,
                    self.kind.filter(|_| !self.int_or_string),
                    checks,
                    outcome,
                );
                if let Some(checks) = checks {
                    check_enum(path, value, checks, outcome);
                }
            }
            Value::Array(items) => {
                outcome.passed += 2;
                self.check_items(path, items, old, outcome);
                if let Some(checks) = checks {
                    check_list(path, items, checks, outcome);
                    check_enum(path, value, checks, outcome);
                }
            }
            Value::Object(object) => {
                outcome.passed += 1;
                if let Some(checks) = checks {
                    check_enum(path, value, checks, outcome);
                }
                self.check_members(path, object, old, checks, outcome);
            }
            Value::Null => {}
            Value::Bool(_) => {
                if let Some(checks) = checks {
                    check_enum(path, value, checks, outcome);
                }
            }
        }
    }

    fn check_type(
        &self,
        path: &Path<'_>,
        value: &Value<'_>,
        checks: Option<&Checks>,
        outcome: &mut Outcome,
    ) {
        let expected = if self.int_or_string {
            "integer,string"
        } else {
            self.kind.map_or("", Kind::as_str)
        };
        let actual = match value {
            Value::Null if self.nullable || expected.is_empty() => return outcome.passed += 1,
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.as_i64().is_some() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let takes_numbers =
            self.int_or_string || matches!(self.kind, Some(Kind::Integer | Kind::Number));
        let has_format = checks.is_some_and(|checks| checks.format.is_some());
        let fits = match value {
            Value::Number(number) => match self.kind {
                _ if self.int_or_string => number.is_integer(),
                Some(Kind::Integer) => number.is_integer(),
                Some(Kind::Number) => true,
                _ => false,
            },
            // A format alone lets any string and list pass here; it is checked by itself.
            Value::String(_) | Value::Array(_) if has_format && !takes_numbers => true,
            _ => expected == actual || (self.int_or_string && actual == "string"),
        };
        if fits {
            outcome.passed += 1;
            return;
        }
        let expected = match (checks, value) {
            (Some(checks), Value::Bool(_) | Value::Number(_) | Value::Object(_)) if has_format => {
                &checks.format_name
            }
            _ => expected,
        };
        let shown = match value {
            Value::Bool(_) | Value::Number(_) | Value::Object(_) if has_format => "",
            _ => actual,
        };
        outcome.errors.push(wrong_type(path, expected, shown));
    }

    fn check_items(
        &self,
        path: &Path<'_>,
        items: &[Value<'_>],
        old: Option<&Value<'_>>,
        outcome: &mut Outcome,
    ) {
        let Some(schema) = self.items() else { return };
        let old_items = old.and_then(Value::as_array);
        for (index, item) in items.iter().enumerate() {
            let before = old_items.and_then(|old_items| self.before(item, old_items));
            schema.check(&path.index(index), item, before, outcome);
        }
    }

    /// The old item that an item of a list-map was before.
    pub(super) fn before<'v, 'a>(
        &self,
        item: &Value<'_>,
        old_items: &'v [Value<'a>],
    ) -> Option<&'v Value<'a>> {
        let ListType::Map(keys) = self.list_type() else {
            return None;
        };
        old_items.iter().find(|old| {
            old.as_object().is_some() && keys.iter().all(|key| old.get(key) == item.get(key))
        })
    }

    fn check_members(
        &self,
        path: &Path<'_>,
        object: &Object<'_>,
        old: Option<&Value<'_>>,
        checks: Option<&Checks>,
        outcome: &mut Outcome,
    ) {
        if let Some(checks) = checks {
            check_size(path, object, checks, outcome);
        }
        for (name, member) in object.iter() {
            let here = path.field(name);
            if let Some(schema) = self.member(name) {
                schema.check(&here, member, old.and_then(|old| old.get(name)), outcome);
            } else if matches!(self.additional, Additional::Forbidden) {
                let detail = format!("{} in body is a forbidden property", here.dotted());
                outcome
                    .errors
                    .push(FieldError::invalid(path, &Value::from(""), &detail));
            }
        }
        for name in checks
            .map(|checks| checks.required.as_slice())
            .unwrap_or_default()
        {
            if !object.contains_key(name) {
                outcome
                    .errors
                    .push(FieldError::required(&path.field(name), ""));
            }
        }
    }
}

fn wrong_type(path: &Path<'_>, expected: &str, shown: &str) -> FieldError {
    let detail = format!(
        "{} in body must be of type {expected}: {}",
        path.dotted(),
        super::quote(shown)
    );
    FieldError::of_kind(
        FieldErrorKind::TypeInvalid,
        path,
        &Value::from(shown),
        &detail,
    )
}

fn invalid(path: &Path<'_>, value: &Value<'_>, says: &str, outcome: &mut Outcome) {
    let detail = format!("{} in body {says}", path.dotted());
    outcome
        .errors
        .push(FieldError::invalid(path, value, &detail));
}

/// A fault of a combination of schemas, which upstream reports on the object as a whole.
fn combination(path: &Path<'_>, says: &str, outcome: &mut Outcome) {
    let detail = format!("{} {says}", super::quote(&path.dotted()));
    outcome
        .errors
        .push(FieldError::invalid(&Path::ROOT, &Value::from(""), &detail));
}

fn check_enum(path: &Path<'_>, value: &Value<'_>, checks: &Checks, outcome: &mut Outcome) {
    if checks.one_of_values.is_empty() || checks.one_of_values.contains(value) {
        return;
    }
    let values: Vec<String> = checks
        .one_of_values
        .iter()
        .map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
        .collect();
    outcome.errors.push(FieldError::not_supported(
        path,
        value,
        values.iter().map(String::as_str),
    ));
}

fn check_string(path: &Path<'_>, text: &str, checks: &Checks, outcome: &mut Outcome) {
    let value = Value::from(text);
    let length = || u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    if let Some(max) = checks.max_length
        && length() > max
    {
        outcome.errors.push(FieldError::too_long(path, max));
    } else if let Some(min) = checks.min_length
        && length() < min
    {
        invalid(
            path,
            &value,
            &format!("should be at least {min} chars long"),
            outcome,
        );
    } else if let Some((pattern, regex)) = &checks.pattern
        && !regex.is_match(text)
    {
        invalid(path, &value, &format!("should match '{pattern}'"), outcome);
    }
    if let Some(format) = checks.format
        && !format.accepts(text)
    {
        let detail = format!(
            "{} in body must be of type {}: {}",
            path.dotted(),
            checks.format_name,
            super::quote(text)
        );
        outcome
            .errors
            .push(FieldError::type_invalid(path, &value, &detail));
    }
    if checks.format.is_some() {
        outcome.passed += 1;
    }
}

fn check_list(path: &Path<'_>, items: &[Value<'_>], checks: &Checks, outcome: &mut Outcome) {
    let size = u64::try_from(items.len()).unwrap_or(u64::MAX);
    let shown = Value::from(i64::try_from(size).unwrap_or(i64::MAX));
    if let Some(min) = checks.min_items
        && size < min
    {
        invalid(
            path,
            &shown,
            &format!("should have at least {min} items"),
            outcome,
        );
    }
    if let Some(max) = checks.max_items
        && size > max
    {
        outcome.errors.push(FieldError::too_many(path, size, max));
    }
    if checks.unique_items
        && items
            .iter()
            .enumerate()
            .any(|(index, item)| items[..index].contains(item))
    {
        invalid(
            path,
            &Value::from(""),
            "shouldn't contain duplicates",
            outcome,
        );
    }
}

fn check_size(path: &Path<'_>, object: &Object<'_>, checks: &Checks, outcome: &mut Outcome) {
    let size = u64::try_from(object.len()).unwrap_or(u64::MAX);
    let shown = Value::from(i64::try_from(size).unwrap_or(i64::MAX));
    if let Some(min) = checks.min_properties
        && size < min
    {
        invalid(
            path,
            &shown,
            &format!("should have at least {min} properties"),
            outcome,
        );
    }
    if let Some(max) = checks.max_properties
        && size > max
    {
        outcome.errors.push(FieldError::too_many(path, size, max));
    }
}

/// How a number compares with a bound: as integers where both are, as upstream does.
fn compare(number: &Number<'_>, bound: &Number<'_>) -> std::cmp::Ordering {
    match (number.as_i64(), bound.as_i64()) {
        (Some(number), Some(bound)) => number.cmp(&bound),
        _ => number.as_f64().total_cmp(&bound.as_f64()),
    }
}

fn check_number(
    path: &Path<'_>,
    number: &Number<'_>,
    kind: Option<Kind>,
    checks: Option<&Checks>,
    outcome: &mut Outcome,
) {
    check_range(path, number, kind, checks, outcome);
    let Some(checks) = checks else { return };
    let value = Value::Number(number.clone());
    if let Some(factor) = &checks.multiple_of {
        let fits = match (number.as_i64(), factor.as_i64()) {
            (Some(number), Some(factor)) if factor > 0 => number % factor == 0,
            _ => {
                let ratio = number.as_f64() / factor.as_f64();
                (ratio - ratio.round()).abs() < 1e-9
            }
        };
        if !fits {
            invalid(
                path,
                &value,
                &format!("should be a multiple of {}", factor.as_str()),
                outcome,
            );
        }
    }
    if let Some(minimum) = &checks.minimum {
        let order = compare(number, minimum);
        if order.is_lt() || (checks.exclusive_minimum && order.is_eq()) {
            let words = if checks.exclusive_minimum {
                "greater than"
            } else {
                "greater than or equal to"
            };
            invalid(
                path,
                &value,
                &format!("should be {words} {}", minimum.as_str()),
                outcome,
            );
        }
    }
    if let Some(maximum) = &checks.maximum {
        let order = compare(number, maximum);
        if order.is_gt() || (checks.exclusive_maximum && order.is_eq()) {
            let words = if checks.exclusive_maximum {
                "less than"
            } else {
                "less than or equal to"
            };
            invalid(
                path,
                &value,
                &format!("should be {words} {}", maximum.as_str()),
                outcome,
            );
        }
    }
}

/// Whether an integer fits its format. What does not is reported on the object as a whole.
fn check_range(
    path: &Path<'_>,
    number: &Number<'_>,
    kind: Option<Kind>,
    checks: Option<&Checks>,
    outcome: &mut Outcome,
) {
    let format = checks.and_then(|checks| checks.format);
    let fits = match (kind, format) {
        (Some(Kind::Integer), Some(Format::Int32)) => number
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        (Some(Kind::Integer), _) => number.as_i64().is_some(),
        (Some(Kind::Number), Some(Format::Float)) => number.as_f64().abs() <= f64::from(f32::MAX),
        _ => true,
    };
    if fits {
        return;
    }
    let kind = kind.map_or("", Kind::as_str);
    let format = match (format, checks) {
        (Some(_), Some(checks)) => format!("with format {}", checks.format_name),
        _ => "(default format)".to_owned(),
    };
    let detail = format!(
        "Checked value must be of type {kind} {format} in {}",
        path.dotted()
    );
    outcome
        .errors
        .push(FieldError::invalid(&Path::ROOT, &Value::from(""), &detail));
}

fn check_alternatives(
    path: &Path<'_>,
    value: &Value<'_>,
    old: Option<&Value<'_>>,
    checks: &Checks,
    outcome: &mut Outcome,
) {
    let run = |schema: &Schema| {
        let mut result = Outcome::default();
        schema.check_node(path, value, old, &mut result);
        result.passed += 1;
        result
    };
    if !checks.any_of.is_empty() {
        let mut best: Option<Outcome> = None;
        for schema in &checks.any_of {
            let result = run(schema);
            if result.errors.is_empty() {
                best = Some(result);
                break;
            }
            if best.as_ref().is_none_or(|best| result.passed > best.passed) {
                best = Some(result);
            }
        }
        if let Some(best) = best {
            if !best.errors.is_empty() {
                combination(path, "must validate at least one schema (anyOf)", outcome);
            }
            outcome.add(best);
        }
    }
    if !checks.one_of.is_empty() {
        let mut valid = 0;
        let mut first_valid: Option<Outcome> = None;
        let mut best: Option<Outcome> = None;
        for schema in &checks.one_of {
            let result = run(schema);
            if result.errors.is_empty() {
                valid += 1;
                best = None;
                first_valid.get_or_insert(result);
            } else if valid == 0 && best.as_ref().is_none_or(|best| result.passed > best.passed) {
                best = Some(result);
            }
        }
        if valid == 1 {
            outcome.add(first_valid.unwrap_or_default());
        } else {
            let found = if valid == 0 {
                "Found none valid".to_owned()
            } else {
                format!("Found {valid} valid alternatives")
            };
            combination(
                path,
                &format!("must validate one and only one schema (oneOf). {found}"),
                outcome,
            );
            outcome.add(best.unwrap_or_default());
        }
    }
    if !checks.all_of.is_empty() {
        let mut valid = 0;
        for schema in &checks.all_of {
            let result = run(schema);
            if result.errors.is_empty() {
                valid += 1;
            }
            outcome.add(result);
        }
        if valid < checks.all_of.len() {
            let more = if valid == 0 { ". None validated" } else { "" };
            combination(
                path,
                &format!("must validate all the schemas (allOf){more}"),
                outcome,
            );
        }
    }
    if let Some(not) = &checks.not
        && run(not).errors.is_empty()
    {
        combination(path, "must not validate the schema (not)", outcome);
    }
}
