//! What a merge patch must say.

use serde_json::{Map, Value};

/// The JSON merge patch (RFC 7386) that turns `before` into `after`; `None` when they are equal.
/// Lists are replaced whole. Fields that are in neither are not named, so what others wrote there
/// stays.
#[must_use]
pub fn merge_diff(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut patch = Map::new();
    for gone in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(gone.clone(), Value::Null);
    }
    for (key, value) in new {
        let change = match old.get(key) {
            Some(known) => merge_diff(known, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_names_what_differs_and_nothing_else() {
        let before = json!({ "a": 1, "b": { "c": [1], "d": 2 }, "e": true });
        let after = json!({ "a": 1, "b": { "c": [1, 2], "d": 2 }, "f": {} });
        let patch = merge_diff(&before, &after);
        assert_eq!(
            patch,
            Some(json!({ "b": { "c": [1, 2] }, "e": null, "f": {} }))
        );
        assert_eq!(merge_diff(&before, &before), None);
    }
}
