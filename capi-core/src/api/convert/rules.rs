//! Rules that turn one form of an object into another, in both directions.

use serde_json::{Map, Value, json};

use super::{ConversionError, ReferenceVersions, duration};

/// How a field of an older version becomes one of the hub, and back. Paths are separated by `.`.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// A field stands elsewhere: first the older version's path, then the hub's.
    Move(&'static str, &'static str),
    /// A field stands elsewhere, and `false` means the same as absent in the older version.
    Flag(&'static str, &'static str),
    /// A duration such as `1m30s` is a number of seconds in the hub.
    Seconds(&'static str, &'static str),
    /// A reference with version and namespace has neither in the hub.
    Reference(&'static str),
    /// A reference with version and namespace has no namespace in the hub.
    VersionedReference(&'static str, &'static str),
    /// A text or number that the hub does not want empty.
    NotEmpty(&'static str),
    /// A field that the hub does not have.
    OnlyOlder(&'static str),
    /// A field that the older version does not have.
    OnlyHub(&'static str),
    /// Rules for each entry of a list, or for an object: first its path in the older version, then in
    /// the hub.
    Within(&'static str, &'static str, &'static [Rule]),
    /// Anything else.
    Custom(Custom),
}

/// A rule that is code: called with the object and the direction, after all fields were moved.
pub type Custom = fn(&mut Value, &Direction<'_>) -> Result<(), ConversionError>;

/// Which way a conversion goes.
#[derive(Clone, Copy)]
pub enum Direction<'a> {
    /// From an older version to the hub.
    ToHub,
    /// From the hub to an older version.
    FromHub {
        /// Namespace of the object, which its references get.
        namespace: Option<&'a str>,
        /// Knows the versions that references get.
        references: &'a dyn ReferenceVersions,
    },
}

impl std::fmt::Debug for Direction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_to_hub() { "ToHub" } else { "FromHub" })
    }
}

impl Direction<'_> {
    /// Whether the conversion goes to the hub.
    #[must_use]
    pub fn is_to_hub(&self) -> bool {
        matches!(self, Self::ToHub)
    }
}

/// The object after all rules.
///
/// First every field is taken from its place, then every one is put to its new one, so that rules
/// may cross.
///
/// # Errors
///
/// When a value is malformed.
pub fn apply(
    rules: &[Rule],
    mut object: Value,
    direction: &Direction<'_>,
) -> Result<Value, ConversionError> {
    for rule in rules {
        if let Rule::Within(older, hub, rules) = rule {
            for place in places(&mut object, if direction.is_to_hub() { older } else { hub }) {
                *place = apply(rules, place.take(), direction)?;
            }
        }
    }
    let mut taken = Vec::new();
    for rule in rules {
        let (older, hub) = match rule {
            Rule::Move(older, hub)
            | Rule::Flag(older, hub)
            | Rule::Seconds(older, hub)
            | Rule::VersionedReference(older, hub) => (*older, *hub),
            Rule::Reference(path) | Rule::NotEmpty(path) => (*path, *path),
            Rule::OnlyOlder(path) | Rule::OnlyHub(path) => {
                if direction.is_to_hub() == matches!(rule, Rule::OnlyOlder(_)) {
                    take(&mut object, path);
                }
                continue;
            }
            Rule::Within(..) | Rule::Custom(_) => continue,
        };
        let (from, to) = if direction.is_to_hub() {
            (older, hub)
        } else {
            (hub, older)
        };
        if let Some(value) = take(&mut object, from)
            && let Some(value) = rewrite(rule, from, value, direction)?
        {
            taken.push((to, value));
        }
    }
    for (path, value) in taken {
        put(&mut object, &path.split('.').collect::<Vec<_>>(), value);
    }
    for rule in rules {
        if let Rule::Custom(custom) = rule {
            custom(&mut object, direction)?;
        }
    }
    Ok(object)
}

fn rewrite(
    rule: &Rule,
    path: &str,
    value: Value,
    direction: &Direction<'_>,
) -> Result<Option<Value>, ConversionError> {
    Ok(match (rule, direction) {
        (Rule::Flag(..), Direction::ToHub) => (value != Value::Bool(false)).then_some(value),
        (Rule::NotEmpty(_), Direction::ToHub) => {
            (value != json!("") && value != json!(0)).then_some(value)
        }
        (Rule::Seconds(..), Direction::ToHub) => Some(json!(seconds(path, &value)?)),
        (Rule::Seconds(..), Direction::FromHub { .. }) => {
            let seconds = value
                .as_i64()
                .ok_or_else(|| invalid(path, "is no number of seconds"))?;
            Some(duration::from_seconds(seconds).into())
        }
        (Rule::Reference(_), Direction::ToHub) => Some(contract_reference(&value)),
        (
            Rule::Reference(_),
            Direction::FromHub {
                namespace,
                references,
            },
        ) => Some(object_reference(&value, *namespace, *references)),
        (Rule::VersionedReference(..), Direction::ToHub) => {
            Some(only(&value, &["apiVersion", "kind", "name"]))
        }
        (Rule::VersionedReference(..), Direction::FromHub { namespace, .. }) => {
            Some(with_namespace(value, *namespace))
        }
        _ => Some(value),
    })
}

fn seconds(path: &str, value: &Value) -> Result<i32, ConversionError> {
    let text = value
        .as_str()
        .ok_or_else(|| invalid(path, "is no duration such as 1m30s"))?;
    duration::to_seconds(text)
        .ok_or_else(|| invalid(path, &format!("{text:?} is no duration such as 1m30s")))
}

/// A value that cannot be rewritten, for rules that are code.
#[must_use]
pub fn invalid(path: &str, message: &str) -> ConversionError {
    ConversionError::InvalidValue {
        path: path.to_owned(),
        message: message.to_owned(),
    }
}

fn contract_reference(value: &Value) -> Value {
    let mut reference = only(value, &["kind", "name"]);
    let api_version = value
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if let Some((group, _)) = api_version.split_once('/') {
        reference["apiGroup"] = group.into();
    }
    reference
}

fn object_reference(
    value: &Value,
    namespace: Option<&str>,
    references: &dyn ReferenceVersions,
) -> Value {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut reference = only(value, &["kind", "name"]);
    if let Some(version) = references.version(text("apiGroup"), text("kind")) {
        let group = text("apiGroup");
        reference["apiVersion"] = if group.is_empty() {
            version
        } else {
            format!("{group}/{version}")
        }
        .into();
    }
    with_namespace(reference, namespace)
}

fn with_namespace(mut reference: Value, namespace: Option<&str>) -> Value {
    if let (Some(reference), Some(namespace)) = (reference.as_object_mut(), namespace) {
        reference.insert("namespace".into(), namespace.into());
    }
    reference
}

fn only(value: &Value, names: &[&str]) -> Value {
    let fields = value.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, _)| names.contains(&name.as_str()));
    Value::Object(
        fields
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

/// An object in an older version as it would come back from the hub, with everything that it has:
/// durations in their usual form, references without what the hub knows anyhow.
pub(super) fn canonical(
    rules: &[Rule],
    mut object: Value,
    namespace: Option<&str>,
) -> Result<Value, ConversionError> {
    for rule in rules {
        match rule {
            Rule::Within(path, _, rules) => {
                for place in places(&mut object, path) {
                    *place = canonical(rules, place.take(), namespace)?;
                }
            }
            Rule::Seconds(path, _) => {
                if let Some(value) = take(&mut object, path) {
                    let value = duration::from_seconds(seconds(path, &value)?.into());
                    put(
                        &mut object,
                        &path.split('.').collect::<Vec<_>>(),
                        value.into(),
                    );
                }
            }
            Rule::Reference(path) | Rule::VersionedReference(path, _) => {
                for place in places(&mut object, path) {
                    if let Some(reference) = place.as_object_mut() {
                        reference.remove("apiVersion");
                        let own = reference.get("namespace").and_then(Value::as_str) == namespace;
                        if own || namespace.is_none() {
                            reference.remove("namespace");
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok(object)
}

/// The places of a path: one, or one for each entry when it ends at a list or goes through lists.
fn places<'a>(object: &'a mut Value, path: &str) -> Vec<&'a mut Value> {
    let mut found = vec![object];
    for name in path.split('.') {
        let next = found.into_iter().filter_map(|place| place.get_mut(name));
        found = next.flat_map(entries).collect();
    }
    found
}

fn entries(place: &mut Value) -> Vec<&mut Value> {
    match place {
        Value::Array(list) => list.iter_mut().collect(),
        other => vec![other],
    }
}

/// Takes a field away, and objects that are empty then; the path is separated by `.`.
pub fn take(object: &mut Value, path: &str) -> Option<Value> {
    match path.split_once('.') {
        Some((name, rest)) => {
            let inner = object.get_mut(name)?;
            let value = take(inner, rest)?;
            if inner.as_object().is_some_and(Map::is_empty) {
                object.as_object_mut()?.remove(name);
            }
            Some(value)
        }
        None => object.as_object_mut()?.remove(path),
    }
}

/// Puts a field to its place, and makes the objects on the way.
pub fn put(object: &mut Value, path: &[&str], value: Value) {
    match path {
        [] => *object = value,
        [name, rest @ ..] => {
            if !object.is_object() {
                *object = Value::Object(Map::new());
            }
            if let Some(object) = object.as_object_mut() {
                put(object.entry(*name).or_insert(Value::Null), rest, value);
            }
        }
    }
}
