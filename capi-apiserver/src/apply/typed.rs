//! Walking values by their type: which fields a value has, how two values differ, how one is
//! merged over the other, and how fields are taken out.
//!
//! It answers to <https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy>.

use std::borrow::Cow;

use super::element::PathElement;
use super::set::FieldSet;
use crate::json::{Go, Object, Value};
use crate::schema::{Kind, ListType, Schema};

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Type<'s> {
    /// A resource, whose `apiVersion`, `kind` and `metadata` its schema need not describe.
    Resource(&'s Schema),
    /// What a schema describes.
    Schema(&'s Schema),
    /// Found out from the value: objects are merged, lists are atomic.
    Deduced,
    /// Found out from the value: nothing is merged.
    Atomic,
}

/// How a value is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Leaf,
    Map,
    List,
}

impl<'s> Type<'s> {
    fn of(schema: &'s Schema) -> Self {
        if schema.embedded_resource {
            Self::Resource(schema)
        } else {
            Self::Schema(schema)
        }
    }

    fn schema(self) -> Option<&'s Schema> {
        match self {
            Self::Resource(schema) | Self::Schema(schema) => Some(schema),
            Self::Deduced | Self::Atomic => None,
        }
    }

    /// The type of a member, and whether the schema names it.
    pub(super) fn member(self, name: &str) -> (Option<Type<'s>>, bool) {
        let schema = match self {
            Self::Deduced => return (Some(Self::Deduced), false),
            Self::Atomic => return (Some(Self::Atomic), false),
            Self::Resource(_) if name == "metadata" => {
                return (
                    Some(Self::Schema(crate::openapi::builtin::object_meta())),
                    true,
                );
            }
            Self::Resource(_) if matches!(name, "apiVersion" | "kind") => {
                return (Some(Self::Atomic), true);
            }
            Self::Resource(schema) | Self::Schema(schema) => schema,
        };
        if let Some(property) = schema.property(name) {
            return (Some(Self::of(property)), true);
        }
        let additional = match &schema.additional {
            crate::schema::Additional::Schema(schema) => Some(Self::of(schema)),
            crate::schema::Additional::Any => Some(Self::Deduced),
            crate::schema::Additional::Forbidden => None,
            crate::schema::Additional::Unsaid => (schema.preserve_unknown_fields
                || schema.properties.is_empty())
            .then_some(Self::Deduced),
        };
        (additional, false)
    }

    pub(super) fn items(self) -> Type<'s> {
        self.schema()
            .and_then(Schema::items)
            .map_or(Self::Atomic, Self::of)
    }

    /// How a value of this type is walked. Null takes the first shape that the type allows.
    fn shape(self, value: &Value<'_>) -> Shape {
        let map = match self {
            Self::Atomic => Shape::Leaf,
            Self::Deduced => Shape::Map,
            Self::Resource(schema) | Self::Schema(schema) if schema.atomic_map => Shape::Leaf,
            Self::Resource(_) | Self::Schema(_) => Shape::Map,
        };
        let list = match self.schema().map(Schema::list_type) {
            Some(ListType::Set | ListType::Map(_)) => Shape::List,
            _ => Shape::Leaf,
        };
        match self.schema().and_then(|schema| schema.kind) {
            Some(Kind::Object) => map,
            Some(Kind::Array) => list,
            Some(_) => Shape::Leaf,
            None => match value {
                Value::Object(_) | Value::Null => map,
                Value::Array(_) => list,
                _ => Shape::Leaf,
            },
        }
    }

    /// The shape for two values, of which one may be absent. Null is whatever the other is.
    pub(super) fn shapes(
        self,
        left: Option<&Value<'_>>,
        right: Option<&Value<'_>>,
    ) -> (Shape, Shape) {
        let known = |value: Option<&Value<'_>>| {
            value
                .filter(|value| !value.is_null())
                .map(|value| self.shape(value))
        };
        match (known(left), known(right)) {
            (Some(left), Some(right)) => (left, right),
            (Some(one), None) | (None, Some(one)) => (one, one),
            (None, None) => {
                let shape = self.shape(&Value::Null);
                (shape, shape)
            }
        }
    }

    /// The path element of an item of a list that is a set or a map. `None` for an item that
    /// cannot stand in such a list.
    pub(super) fn element<'v>(self, item: &'v Value<'v>) -> Option<PathElement<'v>>
    where
        's: 'v,
    {
        let schema = self.schema()?;
        match schema.list_type() {
            ListType::Map(names) => {
                let object = item.as_object()?;
                let mut keys = Vec::with_capacity(names.len());
                for name in names {
                    let default = || {
                        schema
                            .items()
                            .and_then(|items| items.property(name))
                            .and_then(|key| key.default.as_ref())
                    };
                    if let Some(value) = object.get(name).or_else(default) {
                        keys.push((Cow::Borrowed(name.as_ref()), borrow(value)));
                    }
                }
                keys.sort_by(|(left, _), (right, _)| left.cmp(right));
                (!keys.is_empty()).then_some(PathElement::Key(keys))
            }
            _ => match item {
                Value::Object(_) | Value::Array(_) | Value::Null => None,
                scalar => Some(PathElement::Value(borrow(scalar))),
            },
        }
    }
}

/// A copy that shares texts; keys are scalars.
fn borrow<'v>(value: &'v Value<'_>) -> Value<'v> {
    match value {
        Value::String(text) => Value::String(Cow::Borrowed(text)),
        other => other.clone().into_owned(),
    }
}

/// The members of an object, none for null.
fn members<'v, 'a>(value: Option<&'v Value<'a>>) -> Option<&'v Object<'a>> {
    value.and_then(Value::as_object)
}

fn items<'v, 'a>(value: Option<&'v Value<'a>>) -> &'v [Value<'a>] {
    value.and_then(Value::as_array).unwrap_or_default()
}

fn is_empty_container(value: Option<&Value<'_>>) -> bool {
    match value {
        Some(Value::Object(object)) => object.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    }
}

/// The fields that an applied value has: leaves, items of lists, and members of maps.
pub(crate) fn fields_of<'v>(kind: Type<'v>, value: &'v Value<'v>) -> FieldSet<'v> {
    let (_, fields) = node_fields(kind, value);
    fields
}

fn node_fields<'v>(kind: Type<'v>, value: &'v Value<'v>) -> (bool, FieldSet<'v>) {
    let mut fields = FieldSet::default();
    match kind.shape(value) {
        Shape::Leaf => return (true, fields),
        Shape::Map => {
            for (name, member) in value.as_object().map(Object::sorted).unwrap_or_default() {
                let (member_kind, named) = kind.member(name);
                let (mut is_member, children) =
                    node_fields(member_kind.unwrap_or(Type::Deduced), member);
                is_member |=
                    !named || member.is_null() || member.as_object().is_some_and(Object::is_empty);
                fields.push(PathElement::Field(Cow::Borrowed(name)), is_member, children);
            }
        }
        Shape::List => {
            let mut seen: Vec<(PathElement<'v>, FieldSet<'v>)> = Vec::new();
            for item in value.as_array().unwrap_or_default() {
                let Some(element) = kind.element(item) else {
                    continue;
                };
                match seen.iter_mut().find(|(earlier, _)| *earlier == element) {
                    // Of a repeated item only that it is there can be owned.
                    Some((_, children)) => *children = FieldSet::default(),
                    None => seen.push((element, node_fields(kind.items(), item).1)),
                }
            }
            for (element, children) in seen {
                fields.push(element, true, children);
            }
            fields.sort();
        }
    }
    (false, fields)
}

/// How a value differs from another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Comparison<'v> {
    pub(crate) added: FieldSet<'v>,
    pub(crate) modified: FieldSet<'v>,
    pub(crate) removed: FieldSet<'v>,
}

impl Comparison<'_> {
    pub(crate) fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    fn sort(&mut self) {
        self.added.sort();
        self.modified.sort();
        self.removed.sort();
    }

    /// Without the fields that a strategy resets.
    pub(crate) fn without(self, reset: &FieldSet<'_>) -> Self {
        if reset.is_empty() {
            return self;
        }
        Self {
            added: self.added.recursive_difference(reset),
            modified: self.modified.recursive_difference(reset),
            removed: self.removed.recursive_difference(reset),
        }
    }
}

/// Which of the sets of a comparison the node itself is in.
#[derive(Debug, Default, Clone, Copy)]
struct Change {
    added: bool,
    modified: bool,
    removed: bool,
}

/// Compares two objects of a type.
pub(crate) fn compare<'v>(
    kind: Type<'v>,
    old: &'v Value<'v>,
    new: &'v Value<'v>,
) -> Comparison<'v> {
    compare_nodes(kind, Some(old), Some(new)).1
}

/// Compares two objects that differ in one member at most.
pub(crate) fn compare_member<'v>(
    kind: Type<'v>,
    name: &'v str,
    old: Option<&'v Value<'v>>,
    new: Option<&'v Value<'v>>,
) -> Comparison<'v> {
    let mut comparison = Comparison::default();
    let member_kind = kind.member(name).0.unwrap_or(Type::Deduced);
    let (change, below) = compare_nodes(member_kind, old, new);
    let element = PathElement::Field(Cow::Borrowed(name));
    record(element, change, below, &mut comparison);
    comparison
}

fn compare_nodes<'v>(
    kind: Type<'v>,
    old: Option<&'v Value<'v>>,
    new: Option<&'v Value<'v>>,
) -> (Change, Comparison<'v>) {
    let (old_shape, new_shape) = kind.shapes(old, new);
    if old_shape == new_shape {
        return compare_as(new_shape, kind, old, new);
    }
    // The type was found out from the values and changed: what was below the old goes, what is
    // below the new comes, and the field itself is modified where one of them is a leaf.
    let (_, gone) = compare_as(old_shape, kind, old, None);
    let (_, come) = compare_as(new_shape, kind, None, new);
    let change = Change {
        modified: old_shape == Shape::Leaf || new_shape == Shape::Leaf,
        ..Change::default()
    };
    (
        change,
        Comparison {
            added: come.added,
            modified: FieldSet::default(),
            removed: gone.removed,
        },
    )
}

fn compare_as<'v>(
    shape: Shape,
    kind: Type<'v>,
    old: Option<&'v Value<'v>>,
    new: Option<&'v Value<'v>>,
) -> (Change, Comparison<'v>) {
    let mut comparison = Comparison::default();
    let mut change = Change {
        added: old.is_none(),
        modified: false,
        removed: new.is_none(),
    };
    match shape {
        Shape::Map if !(is_empty_container(old) && is_empty_container(new)) => {
            compare_members(kind, members(old), members(new), &mut comparison);
        }
        Shape::List if !(is_empty_container(old) && is_empty_container(new)) => {
            compare_items(kind, items(old), items(new), &mut comparison);
        }
        _ => change.modified = !change.added && !change.removed && old != new,
    }
    (change, comparison)
}

fn record<'v>(
    element: PathElement<'v>,
    change: Change,
    below: Comparison<'v>,
    comparison: &mut Comparison<'v>,
) {
    if change.modified || !below.modified.is_empty() {
        comparison
            .modified
            .push(element.clone(), change.modified, below.modified);
    }
    if change.removed || !below.removed.is_empty() {
        comparison
            .removed
            .push(element.clone(), change.removed, below.removed);
    }
    if change.added || !below.added.is_empty() {
        comparison.added.push(element, change.added, below.added);
    }
}

fn compare_members<'v>(
    kind: Type<'v>,
    old: Option<&'v Object<'v>>,
    new: Option<&'v Object<'v>>,
    comparison: &mut Comparison<'v>,
) {
    let mut compare = |name: &'v str, before: Option<&'v Value<'v>>, after| {
        if before != after {
            let member_kind = kind.member(name).0.unwrap_or(Type::Deduced);
            let (change, below) = compare_nodes(member_kind, before, after);
            let element = PathElement::Field(Cow::Borrowed(name));
            record(element, change, below, comparison);
        }
    };
    for (name, before) in old.into_iter().flat_map(Object::iter) {
        compare(name, Some(before), new.and_then(|new| new.get(name)));
    }
    for (name, after) in new.into_iter().flat_map(Object::iter) {
        if old.is_none_or(|old| !old.contains_key(name)) {
            compare(name, None, Some(after));
        }
    }
    comparison.sort();
}

/// The items of a list by their path elements, repeated ones together.
fn grouped<'v>(
    kind: Type<'v>,
    list: &'v [Value<'v>],
) -> Vec<(PathElement<'v>, Vec<&'v Value<'v>>)> {
    let mut groups: Vec<(PathElement<'v>, Vec<&'v Value<'v>>)> = Vec::with_capacity(list.len());
    for item in list {
        let Some(element) = kind.element(item) else {
            continue;
        };
        match groups.binary_search_by(|(known, _)| known.cmp(&element)) {
            Ok(index) => groups[index].1.push(item),
            Err(index) => groups.insert(index, (element, vec![item])),
        }
    }
    groups
}

fn compare_items<'v>(
    kind: Type<'v>,
    old: &'v [Value<'v>],
    new: &'v [Value<'v>],
    comparison: &mut Comparison<'v>,
) {
    let (old, new) = (grouped(kind, old), grouped(kind, new));
    let (mut left, mut right) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        let element = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some((element, _)), None) | (None, Some((element, _))) => element.clone(),
            (Some((old_element, _)), Some((new_element, _))) => {
                old_element.min(new_element).clone()
            }
        };
        let before = left
            .next_if(|(known, _)| *known == element)
            .map(|(_, items)| items)
            .unwrap_or_default();
        let after = right
            .next_if(|(known, _)| *known == element)
            .map(|(_, items)| items)
            .unwrap_or_default();
        match (before.as_slice(), after.as_slice()) {
            ([] | [_], [] | [_]) => {
                let (change, below) = compare_nodes(
                    kind.items(),
                    before.first().copied(),
                    after.first().copied(),
                );
                record(element, change, below, comparison);
            }
            ([_, _, ..], [_, _, ..]) => {
                let change = Change {
                    modified: before != after,
                    ..Change::default()
                };
                record(element, change, Comparison::default(), comparison);
            }
            ([_, _, ..], _) => {
                let (mut change, below) = match after.first() {
                    Some(item) => compare_nodes(kind.items(), None, Some(item)),
                    None => (Change::default(), Comparison::default()),
                };
                change.removed = true;
                record(element, change, below, comparison);
            }
            (_, [_, _, ..]) => {
                let (mut change, below) = match before.first() {
                    Some(item) => compare_nodes(kind.items(), Some(item), None),
                    None => (Change::default(), Comparison::default()),
                };
                change.added = true;
                record(element, change, below, comparison);
            }
        }
    }
}

/// Merges a value over another: members and items are merged, leaves are the new one's.
pub(crate) fn merge<'a>(
    kind: Type<'_>,
    old: Option<Value<'a>>,
    new: Option<Value<'a>>,
) -> Option<Value<'a>> {
    let (old_shape, new_shape) = kind.shapes(old.as_ref(), new.as_ref());
    let both_empty = is_empty_container(old.as_ref()) && is_empty_container(new.as_ref());
    match (new_shape, old, new) {
        (Shape::Map, old, new) if !both_empty && old_shape == new_shape => {
            let mut merged = match old {
                Some(Value::Object(object)) => object,
                _ => Object::new(),
            };
            if let Some(Value::Object(new)) = new {
                for (name, value) in new {
                    let member_kind = kind.member(&name).0.unwrap_or(Type::Deduced);
                    let before = merged.get_mut(&name).map(std::mem::take);
                    match merge(member_kind, before, Some(value)) {
                        Some(value) => merged.insert(name, value),
                        None => merged.remove(&name),
                    };
                }
            }
            Some(Value::Object(merged))
        }
        (Shape::List, old, new) if !both_empty && old_shape == new_shape => {
            let list = |value: Option<Value<'a>>| match value {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            Some(Value::Array(merge_items(kind, list(old), list(new))))
        }
        (_, old, new) => new.or(old),
    }
}

/// Merges lists item by item. The order is that of the new list, with the items of the old one
/// kept where they stood between those that both have.
fn merge_items<'a>(kind: Type<'_>, old: Vec<Value<'a>>, new: Vec<Value<'a>>) -> Vec<Value<'a>> {
    let own = |list: &[Value<'a>]| -> Vec<Option<PathElement<'static>>> {
        list.iter()
            .map(|item| kind.element(item).map(PathElement::into_owned))
            .collect()
    };
    let (old_elements, new_elements) = (own(&old), own(&new));
    let mut shared = new_elements
        .iter()
        .filter(|element| old_elements.contains(element))
        .peekable();
    let mut old: Vec<Option<Value<'a>>> = old.into_iter().map(Some).collect();
    let mut new: Vec<Option<Value<'a>>> = new.into_iter().map(Some).collect();
    // The one old item that a new item is merged with: none where the old list repeats it.
    let partner = |element: &Option<PathElement<'static>>| {
        let mut places = old_elements
            .iter()
            .enumerate()
            .filter(|(_, known)| *known == element)
            .map(|(place, _)| place);
        match (places.next(), places.next()) {
            (Some(place), None) => Some(place),
            _ => None,
        }
    };
    let mut merged = Vec::with_capacity(old.len().max(new.len()));
    let mut taken: Vec<&Option<PathElement<'static>>> = Vec::new();
    let (mut left, mut right) = (0, 0);
    while left < old.len() || right < new.len() {
        if left < old.len() && right < new.len() {
            let element = &old_elements[left];
            if *element == new_elements[right] {
                taken.push(element);
                let before = partner(element).and_then(|place| old[place].take());
                merged.extend(merge(kind.items(), before, new[right].take()));
                left += 1;
                right += 1;
                shared.next();
                continue;
            }
            if new_elements.contains(element) && shared.peek().is_some_and(|next| *next != element)
            {
                left += 1;
                continue;
            }
        }
        if left < old.len() {
            let element = &old_elements[left];
            if !new_elements.contains(element) {
                merged.extend(old[left].take());
                left += 1;
                continue;
            }
            if taken.contains(&element) {
                left += 1;
            }
        }
        if right < new.len() {
            let element = &new_elements[right];
            taken.push(element);
            let before = partner(element).and_then(|place| old[place].take());
            merged.extend(merge(kind.items(), before, new[right].take()));
            if shared.peek().is_some_and(|next| *next == element) {
                shared.next();
            }
            right += 1;
        }
    }
    merged
}

/// Takes fields out of a value. What becomes empty stays, empty.
pub(crate) fn remove<'a>(kind: Type<'_>, value: &mut Value<'a>, fields: &FieldSet<'_>) {
    match (kind.shape(value), value) {
        (Shape::Map, Value::Object(object)) => object.retain(|name, member| {
            let Some(node) = fields.get(&PathElement::Field(Cow::Borrowed(name))) else {
                return true;
            };
            if node.member {
                return false;
            }
            remove(
                kind.member(name).0.unwrap_or(Type::Deduced),
                member,
                &node.children,
            );
            true
        }),
        (Shape::List, Value::Array(items)) => items.retain_mut(|item| {
            let node = kind.element(item).and_then(|element| fields.get(&element));
            let Some(node) = node else { return true };
            if node.member {
                return false;
            }
            remove(kind.items(), item, &node.children);
            true
        }),
        // Nothing is owned below a leaf, so it cannot stay when something below it goes.
        (Shape::Leaf, place @ Value::Object(_)) => *place = Value::Object(Object::new()),
        (Shape::Leaf, place @ Value::Array(_)) => *place = Value::Array(Vec::new()),
        _ => {}
    }
}

/// The set together with the fields that a schema names and that have something below them in
/// the set.
pub(crate) fn with_named_fields<'a>(kind: Option<Type<'_>>, fields: FieldSet<'a>) -> FieldSet<'a> {
    fields.map(|mut node| {
        let (below, named) = match (&node.element, kind) {
            (PathElement::Field(name), Some(kind)) => kind.member(name),
            (PathElement::Key(_), Some(kind)) => (Some(kind.items()), false),
            _ => (None, false),
        };
        node.member |= named && !node.children.nodes().is_empty();
        node.children = with_named_fields(below, node.children);
        node
    })
}

/// The set where what the schema now calls atomic is owned as a whole.
pub(crate) fn reconciled<'a>(kind: Type<'_>, fields: FieldSet<'a>) -> FieldSet<'a> {
    fields.map(|mut node| {
        let below = match &node.element {
            PathElement::Field(name) => kind.member(name).0,
            PathElement::Key(_) => Some(kind.items()),
            _ => None,
        };
        let Some(below) = below else { return node };
        let is_atomic = match below {
            Type::Schema(schema) | Type::Resource(schema) => match schema.kind {
                Some(Kind::Object) => schema.atomic_map,
                Some(Kind::Array) => matches!(schema.list_type(), ListType::Atomic),
                _ => false,
            },
            Type::Deduced | Type::Atomic => return node,
        };
        if is_atomic && !node.children.nodes().is_empty() {
            node.member = true;
            node.children = FieldSet::default();
        } else {
            node.children = reconciled(below, node.children);
        }
        node
    })
}

/// What is wrong with a value for merging, each with its path, in upstream's words.
pub(crate) fn faults(kind: Type<'_>, value: &Value<'_>, allow_repeated: bool) -> Vec<String> {
    let mut faults = Vec::new();
    collect_faults(kind, value, allow_repeated, "", &mut faults);
    faults
}

fn collect_faults(
    kind: Type<'_>,
    value: &Value<'_>,
    allow_repeated: bool,
    path: &str,
    faults: &mut Vec<String>,
) {
    let kind_name = kind.schema().and_then(|schema| schema.kind);
    let go = Go(value);
    let problem = match (kind_name, value) {
        (_, Value::Null) => return,
        (Some(Kind::Object) | None, Value::Object(object)) => {
            for (name, member) in object.sorted() {
                let here = format!("{path}.{name}");
                match kind.member(name).0 {
                    Some(below) => collect_faults(below, member, allow_repeated, &here, faults),
                    None => faults.push(format!("{here}: field not declared in schema")),
                }
            }
            return;
        }
        (Some(Kind::Array) | None, Value::Array(list)) => {
            let mut seen: Vec<PathElement<'_>> = Vec::new();
            let is_associative = kind.shape(value) == Shape::List;
            for (index, item) in list.iter().enumerate() {
                let element = if is_associative {
                    let Some(element) = kind.element(item) else {
                        faults.push(format!("{path}: element {index}: {}", unfit(kind, item)));
                        return;
                    };
                    if !allow_repeated && seen.contains(&element) {
                        faults.push(format!("{path}: duplicate entries for key {element}"));
                    }
                    seen.push(element.clone());
                    element
                } else {
                    PathElement::Index(index)
                };
                collect_faults(
                    kind.items(),
                    item,
                    allow_repeated,
                    &format!("{path}{element}"),
                    faults,
                );
            }
            return;
        }
        (Some(Kind::Object), _) => format!("expected map, got &{{{go}}}"),
        (Some(Kind::Array), _) => format!("expected list, got &{{{go}}}"),
        (Some(Kind::Integer | Kind::Number), Value::Number(_)) => return,
        (Some(Kind::Integer | Kind::Number), _) => {
            format!("expected numeric (int or float), got {}", go.type_name())
        }
        (Some(Kind::Boolean), Value::Bool(_)) => return,
        (Some(Kind::Boolean), _) => format!("expected boolean, got &{{{go}}}"),
        (Some(Kind::String), Value::String(_)) => return,
        (Some(Kind::String), Value::Object(_) | Value::Array(_)) if has_format(kind) => {
            format!("expected any scalar, got &{{{go}}}")
        }
        (Some(Kind::String), _) if has_format(kind) => return,
        (Some(Kind::String), _) => format!(
            "expected string, got &value.valueUnstructured{{Value:{}}}",
            go.syntax()
        ),
        (None, _) => return,
    };
    faults.push(if path.is_empty() {
        problem
    } else {
        format!("{path}: {problem}")
    });
}

fn has_format(kind: Type<'_>) -> bool {
    kind.schema()
        .and_then(|schema| schema.checks.as_ref())
        .is_some_and(|checks| checks.format.is_some())
}

fn unfit(kind: Type<'_>, item: &Value<'_>) -> String {
    let keys = match kind.schema().map(Schema::list_type) {
        Some(ListType::Map(keys)) => keys,
        _ => {
            return match item {
                Value::Object(_) => {
                    "associative list without keys has an element that's a map type"
                }
                Value::Array(_) => "not supported: associative list with lists as elements",
                _ => "associative list without keys has an element that's an explicit null",
            }
            .to_owned();
        }
    };
    match item {
        Value::Null => "associative list with keys may not have a null element".to_owned(),
        Value::Object(_) => {
            let keys: Vec<String> = keys.iter().map(|key| crate::schema::quote(key)).collect();
            format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                keys.join(" ")
            )
        }
        _ => "associative list with keys may not have non-map elements".to_owned(),
    }
}
