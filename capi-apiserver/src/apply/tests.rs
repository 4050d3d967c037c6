use super::*;

struct OneVersion;

impl Versions for OneVersion {
    fn schema(&self, _: &str) -> Option<&Schema> {
        None
    }

    fn convert<'a>(&self, _: &Value<'a>, _: &str) -> Option<Value<'a>> {
        None
    }
}

/// `v1` has `spec.replicas`, `v2` calls it `spec.size`.
struct TwoVersions {
    first: Schema,
    second: Schema,
}

impl Versions for TwoVersions {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        match api_version {
            "example.com/v1" => Some(&self.first),
            "example.com/v2" => Some(&self.second),
            _ => None,
        }
    }

    fn convert<'a>(&self, object: &Value<'a>, api_version: &str) -> Option<Value<'a>> {
        let (from, to) = if api_version == "example.com/v1" {
            ("size", "replicas")
        } else {
            ("replicas", "size")
        };
        let mut object = object.clone();
        object.set_at(&["apiVersion"], Value::from(api_version.to_owned()));
        if let Some(value) = object.remove_at(&["spec", from]) {
            object.set_at(&["spec", to], value);
        }
        Some(object)
    }
}

fn read(text: &str) -> Value<'_> {
    parse(text.as_bytes()).unwrap().value
}

fn schema() -> Schema {
    Schema::read(&read(
        r#"{"type":"object","properties":{
            "spec":{"type":"object","properties":{
                "a":{"type":"string"},"n":{"type":"integer"},
                "list":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name","protocol"],
                    "items":{"type":"object","properties":{"name":{"type":"string"},
                        "protocol":{"type":"string","default":"TCP"},"v":{"type":"integer"}}}},
                "set":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
                "atomic":{"type":"array","items":{"type":"string"}},
                "map":{"type":"object","additionalProperties":{"type":"string"}},
                "whole":{"type":"object","x-kubernetes-map-type":"atomic","properties":{"x":{"type":"string"}}},
                "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}},
            "status":{"type":"object","properties":{"phase":{"type":"string"}}}}}"#,
    ))
    .unwrap()
}

fn by<'w>(manager: &'w str, now: &'w str, schema: &'w Schema) -> Write<'w> {
    Write {
        manager,
        api_version: "example.com/v1",
        subresource: "",
        now,
        schema,
        reset: &[&["status"]],
        versions: &OneVersion,
    }
}

fn object(spec: &str) -> Value<'static> {
    let text = format!(
        r#"{{"apiVersion":"example.com/v1","kind":"K","metadata":{{"name":"x","namespace":"d"}},"spec":{spec}}}"#
    );
    read(&text).into_owned()
}

fn created(spec: &str, schema: &Schema) -> Value<'static> {
    let mut new = object(spec);
    update(
        None,
        &mut new,
        &by("creator", "2024-01-01T00:00:00Z", schema),
    );
    new
}

fn fields(object: &Value<'_>, manager: &str) -> Option<String> {
    let entries = object.at(&["metadata", "managedFields"])?.as_array()?;
    let entry = entries
        .iter()
        .find(|entry| entry.get("manager").and_then(Value::as_str) == Some(manager))?;
    entry.get("fieldsV1").map(ToString::to_string)
}

fn time(object: &Value<'_>, manager: &str) -> Option<String> {
    let entries = object.at(&["metadata", "managedFields"])?.as_array()?;
    let entry = entries
        .iter()
        .find(|entry| entry.get("manager").and_then(Value::as_str) == Some(manager))?;
    entry.get("time").and_then(Value::as_str).map(str::to_owned)
}

#[test]
fn a_creator_owns_every_field_and_the_objects_around_them() {
    let new = created(
        r#"{"a":"x","list":[{"name":"p","protocol":"UDP","v":1}],"set":["s"],"atomic":["t"],"map":{"k":"v"},"whole":{"x":"y"},"free":{"q":{}}}"#,
        &schema(),
    );
    let expected = r#"{"f:spec":{".":{},"f:a":{},"f:atomic":{},"f:free":{".":{},"f:q":{}},"f:list":{".":{},"k:{\"name\":\"p\",\"protocol\":\"UDP\"}":{".":{},"f:name":{},"f:protocol":{},"f:v":{}}},"f:map":{".":{},"f:k":{}},"f:set":{".":{},"v:\"s\"":{}},"f:whole":{}}}"#;
    assert_eq!(fields(&new, "creator").as_deref(), Some(expected));
    let entry = new
        .at(&["metadata", "managedFields"])
        .unwrap()
        .as_array()
        .unwrap()[0]
        .to_string();
    assert!(entry.starts_with(
        r#"{"manager":"creator","operation":"Update","apiVersion":"example.com/v1","time":"2024-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":"#
    ));
}

#[test]
fn an_update_takes_over_what_it_changes_and_nothing_else() {
    let schema = schema();
    let live = created(r#"{"a":"x","n":1}"#, &schema);
    let mut new = live.clone();
    new.set_at(&["spec", "n"], 2);
    update(
        Some(&live),
        &mut new,
        &by("other", "2024-01-02T00:00:00Z", &schema),
    );
    assert_eq!(
        fields(&new, "creator").as_deref(),
        Some(r#"{"f:spec":{".":{},"f:a":{}}}"#)
    );
    assert_eq!(
        fields(&new, "other").as_deref(),
        Some(r#"{"f:spec":{"f:n":{}}}"#)
    );
    let mut same = new.clone();
    update(
        Some(&new),
        &mut same,
        &by("third", "2024-01-03T00:00:00Z", &schema),
    );
    assert_eq!(same, new, "a write that changes nothing is not recorded");
}

#[test]
fn applying_again_changes_nothing_not_even_the_time() {
    let schema = schema();
    let patch = object(r#"{"a":"x","list":[{"name":"p","v":1}]}"#);
    let first = apply(
        None,
        &patch,
        &by("me", "2024-01-01T00:00:00Z", &schema),
        false,
    )
    .unwrap();
    assert!(first.changed);
    assert_eq!(
        fields(&first.object, "me").as_deref(),
        Some(
            r#"{"f:spec":{"f:a":{},"f:list":{"k:{\"name\":\"p\",\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:v":{}}}}}"#
        )
    );
    let again = apply(
        Some(&first.object),
        &patch,
        &by("me", "2024-01-02T00:00:00Z", &schema),
        false,
    )
    .unwrap();
    assert!(!again.changed);
    assert_eq!(again.object, first.object);
}

#[test]
fn what_is_applied_no_more_goes_unless_another_manager_owns_it() {
    let schema = schema();
    let one = |spec: &str, live: Option<&Value<'static>>, manager: &str| {
        apply(
            live,
            &object(spec),
            &by(manager, "2024-01-01T00:00:00Z", &schema),
            false,
        )
        .unwrap()
        .object
    };
    let live = one(
        r#"{"a":"x","n":1,"map":{"k":"v","l":"w"},"set":["s","t"]}"#,
        None,
        "me",
    );
    let live = one(r#"{"n":1,"set":["t"]}"#, Some(&live), "other");
    let live = one(r#"{"map":{"k":"v"}}"#, Some(&live), "me");
    assert_eq!(
        live.get("spec").unwrap(),
        &read(r#"{"n":1,"map":{"k":"v"},"set":["t"]}"#)
    );
    assert_eq!(
        fields(&live, "me").as_deref(),
        Some(r#"{"f:spec":{"f:map":{"f:k":{}}}}"#)
    );
}

#[test]
fn fields_of_others_conflict_until_they_are_forced() {
    let schema = schema();
    let live = created(r#"{"a":"x","n":1}"#, &schema);
    let write = by("me", "2024-01-02T00:00:00Z", &schema);
    let error = apply(Some(&live), &object(r#"{"a":"y"}"#), &write, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "creator" using example.com/v1: .spec.a"#
    );
    let error = apply(Some(&live), &object(r#"{"a":"y","n":2}"#), &write, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"creator\" using example.com/v1:\n- .spec.a\n- .spec.n"
    );
    assert!(matches!(&error, ApplyError::Conflict(conflicts) if conflicts.len() == 2));
    let forced = apply(Some(&live), &object(r#"{"a":"y"}"#), &write, true)
        .unwrap()
        .object;
    assert_eq!(
        fields(&forced, "creator").as_deref(),
        Some(r#"{"f:spec":{".":{},"f:n":{}}}"#)
    );
    assert_eq!(
        fields(&forced, "me").as_deref(),
        Some(r#"{"f:spec":{"f:a":{}}}"#)
    );
    let shared = apply(Some(&live), &object(r#"{"a":"x"}"#), &write, false)
        .unwrap()
        .object;
    assert_eq!(
        fields(&shared, "me").as_deref(),
        Some(r#"{"f:spec":{"f:a":{}}}"#)
    );
}

#[test]
fn what_client_side_apply_owned_goes_over_without_a_conflict() {
    let schema = schema();
    let mut live = object(r#"{"a":"x"}"#);
    let last = r#"{"apiVersion":"example.com/v1","kind":"K","metadata":{"name":"x","namespace":"d"},"spec":{"a":"x"}}"#;
    live.set_at(&["metadata", "annotations", LAST_APPLIED], last);
    update(
        None,
        &mut live,
        &by("kubectl-client-side-apply", "2024-01-01T00:00:00Z", &schema),
    );
    let patch = object(r#"{"a":"y"}"#);
    assert!(
        apply(
            Some(&live),
            &patch,
            &by("somebody", "2024-01-02T00:00:00Z", &schema),
            false
        )
        .is_err()
    );
    let applied = apply(
        Some(&live),
        &patch,
        &by("kubectl", "2024-01-02T00:00:00Z", &schema),
        false,
    )
    .unwrap()
    .object;
    assert_eq!(
        applied.at(&["spec", "a"]).and_then(Value::as_str),
        Some("y")
    );
    let annotation = applied
        .at(&["metadata", "annotations", LAST_APPLIED])
        .and_then(Value::as_str)
        .unwrap();
    assert!(annotation.contains(r#""a":"y""#), "{annotation}");
}

#[test]
fn appliers_are_told_apart_by_name_across_versions_and_their_fields_follow() {
    let first = Schema::read(&read(
        r#"{"type":"object","properties":{"spec":{"type":"object","properties":{"replicas":{"type":"integer"},"b":{"type":"string"}}}}}"#,
    ))
    .unwrap();
    let second = Schema::read(&read(
        r#"{"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"integer"},"b":{"type":"string"}}}}}"#,
    ))
    .unwrap();
    let versions = TwoVersions {
        first: first.clone(),
        second: second.clone(),
    };
    let write = |manager, api_version, schema| Write {
        manager,
        api_version,
        subresource: "",
        now: "2024-01-01T00:00:00Z",
        schema,
        reset: &[],
        versions: &versions,
    };
    let live = apply(
        None,
        &object(r#"{"replicas":3,"b":"x"}"#),
        &write("me", "example.com/v1", &first),
        false,
    )
    .unwrap()
    .object;
    let now = versions.convert(&live, "example.com/v2").unwrap();
    let patch = read(
        r#"{"apiVersion":"example.com/v2","kind":"K","metadata":{"name":"x"},"spec":{"size":4}}"#,
    );
    let conflict = apply(
        Some(&now),
        &patch,
        &write("other", "example.com/v2", &second),
        false,
    )
    .unwrap_err();
    assert_eq!(
        conflict.to_string(),
        r#"Apply failed with 1 conflict: conflict with "me": .spec.replicas"#
    );
    let mine = apply(
        Some(&now),
        &patch,
        &write("me", "example.com/v2", &second),
        false,
    )
    .unwrap()
    .object;
    assert_eq!(
        mine.get("spec").unwrap(),
        &read(r#"{"size":4}"#),
        "b is applied no more"
    );
    assert_eq!(
        fields(&mine, "me").as_deref(),
        Some(r#"{"f:spec":{"f:size":{}}}"#)
    );
}

#[test]
fn old_updaters_are_merged_beyond_ten() {
    let schema = schema();
    let mut live = created(r#"{"map":{}}"#, &schema);
    for index in 0..15 {
        let mut new = live.clone();
        new.at_mut(&["spec", "map"])
            .unwrap()
            .as_object_mut()
            .unwrap()
            .insert(format!("k{index:02}"), "v");
        let (manager, now) = (
            format!("m{index:02}"),
            format!("2024-01-01T00:00:{index:02}Z"),
        );
        update(Some(&live), &mut new, &by(&manager, &now, &schema));
        live = new;
    }
    let entries = live
        .at(&["metadata", "managedFields"])
        .unwrap()
        .as_array()
        .unwrap();
    assert_eq!(entries.len(), 10);
    let ancient = fields(&live, "ancient-changes").unwrap();
    assert!(
        ancient.contains("f:k00") && ancient.contains("f:k05"),
        "{ancient}"
    );
    assert_eq!(
        time(&live, "ancient-changes").as_deref(),
        Some("2024-01-01T00:00:05Z")
    );
    assert!(fields(&live, "m14").is_some());
}

#[test]
fn a_request_may_reset_all_managers_and_objects_without_any_stay_so() {
    let schema = schema();
    let live = created(r#"{"a":"x"}"#, &schema);
    let mut new = live.clone();
    new.set_at(&["metadata", "managedFields"], Vec::new());
    update(
        Some(&live),
        &mut new,
        &by("me", "2024-01-02T00:00:00Z", &schema),
    );
    assert!(new.at(&["metadata", "managedFields"]).is_none());
    let mut newer = new.clone();
    newer.set_at(&["spec", "a"], "y");
    update(
        Some(&new),
        &mut newer,
        &by("me", "2024-01-03T00:00:00Z", &schema),
    );
    assert!(newer.at(&["metadata", "managedFields"]).is_none());
    let applied = apply(
        Some(&newer),
        &object(r#"{"n":1}"#),
        &by("me", "2024-01-04T00:00:00Z", &schema),
        false,
    )
    .unwrap();
    assert_eq!(
        fields(&applied.object, "before-first-apply").as_deref(),
        Some(r#"{"f:spec":{".":{},"f:a":{}}}"#)
    );
}

#[test]
fn configurations_that_do_not_fit_the_schema_are_refused_in_upstreams_words() {
    let schema = schema();
    let write = by("me", "2024-01-01T00:00:00Z", &schema);
    for (spec, words) in [
        (r#"{"zz":1}"#, ".spec.zz: field not declared in schema"),
        (
            r#"{"n":"1"}"#,
            ".spec.n: expected numeric (int or float), got string",
        ),
        (
            r#"{"a":1}"#,
            ".spec.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            r#"{"list":[{"name":"p"},{"name":"p"}]}"#,
            r#".spec.list: duplicate entries for key [name="p",protocol="TCP"]"#,
        ),
        (
            r#"{"map":[1,"a"]}"#,
            ".spec.map: expected map, got &{[1 a]}",
        ),
    ] {
        let error = apply(None, &object(spec), &write, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("failed to create typed patch object (d/x; example.com/v1, Kind=K): {words}")
        );
    }
    let mut managed = object("{}");
    managed.set_at(&["metadata", "managedFields"], Vec::new());
    assert!(matches!(
        apply(None, &managed, &write, false),
        Err(ApplyError::BadRequest(_))
    ));
}

#[test]
fn a_granular_map_that_became_atomic_is_owned_as_a_whole() {
    let before = Schema::read(&read(
        r#"{"type":"object","properties":{"spec":{"type":"object","properties":{"m":{"type":"object","properties":{"x":{"type":"string"},"y":{"type":"string"}}}}}}}"#,
    ))
    .unwrap();
    let after = Schema::read(&read(
        r#"{"type":"object","properties":{"spec":{"type":"object","properties":{"m":{"type":"object","x-kubernetes-map-type":"atomic","properties":{"x":{"type":"string"},"y":{"type":"string"}}}}}}}"#,
    ))
    .unwrap();
    let live = apply(
        None,
        &object(r#"{"m":{"x":"1"}}"#),
        &by("one", "2024-01-01T00:00:00Z", &before),
        false,
    )
    .unwrap()
    .object;
    let error = apply(
        Some(&live),
        &object(r#"{"m":{"y":"2"}}"#),
        &by("two", "2024-01-01T00:00:00Z", &after),
        false,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "one": .spec.m"#
    );
}

#[test]
fn merged_lists_keep_the_order_of_the_configuration_and_the_places_of_the_rest() {
    let schema = schema();
    let live = created(r#"{"set":["a","b","c","d"]}"#, &schema);
    for (given, expected) in [
        (r#"["d","a"]"#, r#"["b","c","d","a"]"#),
        (r#"["x","b"]"#, r#"["a","x","b","c","d"]"#),
        (r#"["c","x"]"#, r#"["a","b","c","d","x"]"#),
    ] {
        let patch = object(&format!(r#"{{"set":{given}}}"#));
        let applied = apply(
            Some(&live),
            &patch,
            &by("me", "2024-01-02T00:00:00Z", &schema),
            false,
        )
        .unwrap();
        assert_eq!(
            applied.object.at(&["spec", "set"]).unwrap(),
            &read(expected),
            "{given}"
        );
    }
}

/// Specs of the schema of these tests, as text.
fn specs() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::{collection::vec, option, prelude::*, sample::select};
    let word = || select(vec!["p", "q", "r"]);
    let text = |word: &str| format!("\"{word}\"");
    let item = (
        word(),
        option::of(select(vec!["TCP", "UDP"])),
        option::of(0..3),
    )
        .prop_map(|(name, protocol, value)| {
            let protocol = protocol.map_or(String::new(), |one| format!(r#","protocol":"{one}""#));
            let value = value.map_or(String::new(), |one| format!(r#","v":{one}"#));
            format!(r#"{{"name":"{name}"{protocol}{value}}}"#)
        });
    let list = |items: Vec<String>| format!("[{}]", items.join(","));
    let map = |names: Vec<&str>, value: &str| {
        let members: std::collections::BTreeSet<String> = names
            .into_iter()
            .map(|name| format!(r#""{name}":{value}"#))
            .collect();
        let members: Vec<String> = members.into_iter().collect();
        format!("{{{}}}", members.join(","))
    };
    (
        option::of(word().prop_map(text)),
        option::of(vec(item, 0..4).prop_map(list)),
        option::of(vec(word().prop_map(text), 0..4).prop_map(list)),
        option::of(vec(word().prop_map(text), 0..3).prop_map(list)),
        option::of(vec(word(), 0..3).prop_map(move |names| map(names, r#""x""#))),
        option::of(vec(word(), 0..3).prop_map(move |names| map(names, r#"{"y":1}"#))),
        option::of(Just(r#"{"x":"y"}"#.to_owned())),
    )
        .prop_map(|(a, list, set, atomic, map, free, whole)| {
            let members = [
                ("a", a),
                ("list", list),
                ("set", set),
                ("atomic", atomic),
                ("map", map),
                ("free", free),
                ("whole", whole),
            ];
            let members: Vec<String> = members
                .into_iter()
                .filter_map(|(name, value)| Some(format!(r#""{name}":{}"#, value?)))
                .collect();
            format!("{{{}}}", members.join(","))
        })
}

proptest::proptest! {
    #[test]
    fn pruning_takes_nothing_where_all_that_was_applied_stays(
        stored in specs(), others in specs(), before in specs(), more in specs(),
    ) {
        let schema = schema();
        let kind = Type::Resource(&schema);
        let (one, two) = ("2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z");
        let live = created(&stored, &schema);
        let forced = |live: &Value<'static>, spec: &Value<'static>, manager: &str| {
            apply(Some(live), spec, &by(manager, one, &schema), true)
                .map(|applied| applied.object.into_owned())
        };
        // Repeated items are refused, which is not of interest here.
        let Ok(live) = forced(&live, &object(&before), "me") else { return Ok(()) };
        let Ok(live) = forced(&live, &object(&others), "other") else { return Ok(()) };
        // What was applied before, and more.
        let merged = typed::merge(kind, Some(object(&before)), Some(object(&more)));
        let patch = merged.unwrap_or_default();
        if !typed::faults(kind, &patch, false).is_empty() {
            return Ok(());
        }
        let write = by("me", two, &schema);
        let applied = typed::fields_of(kind, &patch);
        let managers = live.at(&["metadata", "managedFields"]);
        let mut entries = managed::read(managers);
        let mine = entries.iter().position(|entry| entry.manager.name == "me");
        let Some(mine) = mine else { return Ok(()) };
        let last = entries.remove(mine);
        proptest::prop_assume!(all_stays(&last, &applied, &write));
        let merged = merge_owned(&schema, &live, &patch);
        let pruned = prune(merged.clone(), &entries, &applied, &last, &write);
        proptest::prop_assert_eq!(pruned, merged);
    }
}
