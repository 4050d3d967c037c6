//! Strategic merge patch: a merge patch that knows, from a built-in kind's schema, which lists are
//! merged by a key or as a set, and that has directives.
//!
//! It answers to <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>.

use super::PatchError;
use crate::json::{Object, Value};
use crate::schema::{MergeStrategy, Schema};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER_OF: &str = "$setElementOrder/";

/// Merges a patch into an object of a built-in kind. On an error the object is left in the middle
/// of the patch and is to be dropped.
///
/// # Errors
/// [`PatchError::Malformed`] when a directive is unknown, or an item of a list that is merged by
/// a key has no such key.
pub fn merge<'a>(
    schema: Option<&Schema>,
    target: &mut Value<'a>,
    patch: Value<'a>,
) -> Result<(), PatchError> {
    match patch {
        Value::Object(patch) => {
            if !matches!(target, Value::Object(_)) {
                *target = Value::Object(Object::new());
            }
            let Value::Object(object) = target else {
                return Ok(());
            };
            merge_objects(schema, object, patch)
        }
        other => {
            *target = other;
            Ok(())
        }
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Malformed(why.into()))
}

fn merge_objects<'a>(
    schema: Option<&Schema>,
    object: &mut Object<'a>,
    mut patch: Object<'a>,
) -> Result<(), PatchError> {
    match patch
        .remove(DIRECTIVE)
        .as_ref()
        .map(|directive| directive.as_str().unwrap_or_default())
    {
        None | Some("merge") => {}
        Some("replace") => {
            *object = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            *object = Object::new();
            return Ok(());
        }
        Some(other) => return malformed(format!("unknown patch type '{other}' in map")),
    }
    if let Some(keys) = patch.remove(RETAIN_KEYS) {
        let keys = keys.as_array().unwrap_or_default();
        object.retain(|name, _| keys.iter().any(|key| key.as_str() == Some(name)));
    }
    let mut orders = Vec::new();
    let names: Vec<String> = patch.keys().map(str::to_owned).collect();
    for name in names {
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            let gone = patch.remove(&name).unwrap_or_default();
            let gone = gone.as_array().unwrap_or_default();
            if let Some(items) = object.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
        } else if let Some(list) = name.strip_prefix(ORDER_OF) {
            orders.push((list.to_owned(), patch.remove(&name).unwrap_or_default()));
        }
    }
    // The order on the server before the merge decides where items stand that only it has.
    let before: Vec<Vec<Value<'a>>> = orders
        .iter()
        .map(|(list, _)| {
            object
                .get(list)
                .and_then(Value::as_array)
                .unwrap_or_default()
                .to_vec()
        })
        .collect();
    for (name, value) in patch {
        let member = schema.and_then(|schema| schema.member(&name));
        let strategy = member.map(Schema::merge_strategy).unwrap_or_default();
        match (value, object.get_mut(&name)) {
            (Value::Null, _) => {
                object.remove(&name);
            }
            (Value::Object(patch), Some(Value::Object(there))) if !strategy.replaces => {
                merge_objects(member, there, patch)?;
            }
            (Value::Array(patch), Some(Value::Array(there))) if strategy.merges => {
                merge_lists(member, &strategy, there, patch)?;
            }
            (Value::Array(patch), None) if strategy.merges => {
                let mut fresh = Vec::new();
                merge_lists(member, &strategy, &mut fresh, patch)?;
                object.push(name, Value::Array(fresh));
            }
            (Value::Object(patch), None) => {
                let mut fresh = Object::new();
                merge_objects(member, &mut fresh, patch)?;
                object.push(name, Value::Object(fresh));
            }
            (value, _) => {
                object.insert(name, value);
            }
        }
    }
    for ((list, order), before) in orders.into_iter().zip(before) {
        let member = schema.and_then(|schema| schema.member(&list));
        let strategy = member.map(Schema::merge_strategy).unwrap_or_default();
        if let Some(Value::Array(items)) = object.get_mut(&list) {
            let order = order.as_array().unwrap_or_default();
            *items = ordered(
                std::mem::take(items),
                order,
                &before,
                strategy.key.as_deref(),
            );
        }
    }
    Ok(())
}

fn without_directives(patch: Object<'_>) -> Object<'_> {
    patch
        .into_iter()
        .filter(|(name, value)| !name.starts_with('$') && !value.is_null())
        .collect()
}

fn merge_lists<'a>(
    schema: Option<&Schema>,
    strategy: &MergeStrategy,
    there: &mut Vec<Value<'a>>,
    patch: Vec<Value<'a>>,
) -> Result<(), PatchError> {
    let Some(key) = strategy.key.as_deref() else {
        for item in patch {
            if !there.contains(&item) {
                there.push(item);
            }
        }
        return Ok(());
    };
    let items = schema.and_then(Schema::items);
    if patch
        .iter()
        .any(|item| item.get(DIRECTIVE).and_then(Value::as_str) == Some("replace"))
    {
        *there = patch
            .into_iter()
            .filter(|item| item.get(DIRECTIVE).is_none())
            .collect();
        return Ok(());
    }
    for mut item in patch {
        let Some(identity) = item.get(key).cloned() else {
            return malformed(format!(
                "map: {} does not contain declared merge key: {key}",
                shown(&item)
            ));
        };
        let place = there
            .iter()
            .position(|known| known.get(key) == Some(&identity));
        let directive = item
            .as_object_mut()
            .and_then(|object| object.remove(DIRECTIVE));
        match (directive.as_ref().and_then(Value::as_str), place) {
            (Some("delete"), _) => there.retain(|known| known.get(key) != Some(&identity)),
            (Some("merge"), _) => {
                return malformed("merging lists cannot yet be specified in the patch");
            }
            (Some(other), _) => return malformed(format!("unknown patch type '{other}' in map")),
            (None, Some(place)) => merge(items, &mut there[place], item)?,
            (None, None) => {
                let mut fresh = Value::Object(Object::new());
                merge(items, &mut fresh, item)?;
                there.push(fresh);
            }
        }
    }
    Ok(())
}

fn shown(item: &Value<'_>) -> String {
    let Value::Object(object) = item else {
        return item.to_string();
    };
    let members: Vec<String> = object
        .sorted()
        .into_iter()
        .map(|(name, value)| {
            format!(
                "{name}:{}",
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            )
        })
        .collect();
    format!("map[{}]", members.join(" "))
}

/// Items in the order that the patch gives; items that it does not name stay where they stood
/// among the others before.
fn ordered<'a>(
    items: Vec<Value<'a>>,
    order: &[Value<'a>],
    before: &[Value<'a>],
    key: Option<&str>,
) -> Vec<Value<'a>> {
    let same = |left: &Value<'a>, right: &Value<'a>| match key {
        Some(key) => left.get(key).is_some() && left.get(key) == right.get(key),
        None => left == right,
    };
    let place_in =
        |list: &[Value<'a>], item: &Value<'a>| list.iter().position(|known| same(known, item));
    let (mut named, mut others): (Vec<_>, Vec<_>) = items
        .into_iter()
        .partition(|item| place_in(order, item).is_some());
    named.sort_by_key(|item| place_in(order, item));
    others.sort_by_key(|item| place_in(before, item));
    let mut merged = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let named_is_next = match (named.peek(), others.peek()) {
            (None, None) => return merged,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(one), Some(other)) => match (place_in(before, one), place_in(before, other)) {
                (Some(one), Some(other)) => one < other,
                _ => false,
            },
        };
        merged.extend(if named_is_next {
            named.next()
        } else {
            others.next()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;
    use crate::openapi::builtin;

    fn patched(kind: &str, target: &str, patch: &str) -> Result<String, PatchError> {
        let schema = builtin::schema("", "v1", kind).unwrap();
        let mut value = parse(target.as_bytes()).unwrap().value;
        merge(
            Some(&schema),
            &mut value,
            parse(patch.as_bytes()).unwrap().value,
        )?;
        Ok(value.to_string())
    }

    #[test]
    fn lists_with_a_key_are_merged_by_it_and_others_replaced() {
        let pod = r#"{"spec":{"containers":[{"name":"a","image":"1","args":["x"]},{"name":"b","image":"2"}],"tolerations":[{"key":"k"}]}}"#;
        assert_eq!(
            patched("Pod", pod, r#"{"spec":{"containers":[{"name":"a","args":["y"]},{"name":"c"}],"tolerations":[]}}"#).unwrap(),
            r#"{"spec":{"containers":[{"name":"a","image":"1","args":["y"]},{"name":"b","image":"2"},{"name":"c"}],"tolerations":[]}}"#
        );
        assert_eq!(
            patched(
                "Pod",
                pod,
                r#"{"spec":{"containers":[{"name":"a","$patch":"delete"}]}}"#
            )
            .unwrap(),
            r#"{"spec":{"containers":[{"name":"b","image":"2"}],"tolerations":[{"key":"k"}]}}"#
        );
        assert_eq!(
            patched(
                "Pod",
                pod,
                r#"{"spec":{"containers":[{"name":"z"},{"$patch":"replace"}]}}"#
            )
            .unwrap(),
            r#"{"spec":{"containers":[{"name":"z"}],"tolerations":[{"key":"k"}]}}"#
        );
        assert!(patched("Pod", pod, r#"{"spec":{"containers":[{"image":"z"}]}}"#).is_err());
    }

    #[test]
    fn sets_of_scalars_grow_and_shrink_by_directive() {
        let object = r#"{"metadata":{"finalizers":["a","b"]}}"#;
        assert_eq!(
            patched(
                "ConfigMap",
                object,
                r#"{"metadata":{"finalizers":["c","a"]}}"#
            )
            .unwrap(),
            r#"{"metadata":{"finalizers":["a","b","c"]}}"#
        );
        assert_eq!(
            patched(
                "ConfigMap",
                object,
                r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}"#
            )
            .unwrap(),
            r#"{"metadata":{"finalizers":["b"]}}"#
        );
    }

    #[test]
    fn the_order_of_a_list_follows_the_patch_and_the_server() {
        let pod = r#"{"spec":{"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]}}"#;
        assert_eq!(
            patched("Pod", pod, r#"{"spec":{"$setElementOrder/containers":[{"name":"c"},{"name":"a"},{"name":"d"}],"containers":[{"name":"d"}]}}"#).unwrap(),
            r#"{"spec":{"containers":[{"name":"b"},{"name":"c"},{"name":"a"},{"name":"d"}]}}"#
        );
    }

    #[test]
    fn nulls_remove_and_directives_of_maps_replace_or_empty() {
        let map = r#"{"data":{"a":"1","b":"2"},"metadata":{"labels":{"x":"y"}}}"#;
        assert_eq!(
            patched("ConfigMap", map, r#"{"data":{"a":null,"c":"3"}}"#).unwrap(),
            r#"{"data":{"b":"2","c":"3"},"metadata":{"labels":{"x":"y"}}}"#
        );
        assert_eq!(
            patched("ConfigMap", map, r#"{"data":{"$patch":"replace","z":"9"}}"#).unwrap(),
            r#"{"data":{"z":"9"},"metadata":{"labels":{"x":"y"}}}"#
        );
        assert_eq!(
            patched("ConfigMap", map, r#"{"data":{"$patch":"delete"}}"#).unwrap(),
            r#"{"data":{},"metadata":{"labels":{"x":"y"}}}"#
        );
        assert_eq!(
            patched(
                "ConfigMap",
                map,
                r#"{"data":{"$retainKeys":["b","c"],"c":"3"}}"#
            )
            .unwrap(),
            r#"{"data":{"b":"2","c":"3"},"metadata":{"labels":{"x":"y"}}}"#
        );
        assert!(patched("ConfigMap", map, r#"{"data":{"$patch":"nonsense"}}"#).is_err());
    }
}
