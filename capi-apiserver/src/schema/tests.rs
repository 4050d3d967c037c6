use super::*;
use crate::json::parse;

fn read(text: &str) -> Value<'_> {
    parse(text.as_bytes()).unwrap().value
}

fn schema(text: &str) -> Schema {
    Schema::read(&read(text)).unwrap()
}

fn faults(schema_text: &str, object: &str) -> Vec<String> {
    schema(schema_text)
        .validate(&read(object))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn unknown_members_are_removed_and_reported_sorted() {
    let schema = schema(
        r#"{"type":"object","properties":{
            "spec":{"type":"object","properties":{
                "known":{"type":"string"},
                "list":{"type":"array","items":{"type":"object","properties":{"a":{"type":"integer"}}}},
                "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"strict":{"type":"object"}}},
                "map":{"type":"object","additionalProperties":{"type":"object","properties":{"x":{"type":"string"}}}},
                "embedded":{"type":"object","x-kubernetes-embedded-resource":true}}}}}"#,
    );
    let mut object = read(
        r#"{"apiVersion":"a/v1","kind":"K","metadata":{"name":"x","anything":1},"other":1,"spec":{"zz":1,"known":"k",
            "list":[{"a":1,"b":2}],"free":{"any":{"thing":1},"strict":{"gone":1}},"map":{"k":{"x":"","y":1}},
            "embedded":{"apiVersion":"v1","kind":"Pod","metadata":{},"spec":{}}}}"#,
    );
    let unknown = schema.prune(&mut object);
    assert_eq!(
        unknown,
        [
            "metadata.anything",
            "other",
            "spec.embedded.spec",
            "spec.free.strict.gone",
            "spec.list[0].b",
            "spec.map.k.y",
            "spec.zz"
        ]
    );
    let expected = read(
        r#"{"apiVersion":"a/v1","kind":"K","metadata":{"name":"x"},"spec":{"known":"k","list":[{"a":1}],
            "free":{"any":{"thing":1},"strict":{}},"map":{"k":{"x":""}},
            "embedded":{"apiVersion":"v1","kind":"Pod","metadata":{}}}}"#,
    );
    assert_eq!(object, expected);
    assert_eq!(schema.prune(&mut object), Vec::<String>::new());
}

#[test]
fn nulls_stay_only_where_null_or_a_default_is_allowed() {
    let schema = schema(
        r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string","nullable":true},
            "c":{"type":"string","default":"x"},"d":{"type":"string","nullable":true,"default":"y"}}}"#,
    );
    let mut object = read(r#"{"a":null,"b":null,"c":null,"d":null}"#);
    schema.prune(&mut object);
    schema.default(&mut object);
    assert_eq!(object, read(r#"{"b":null,"c":"x","d":null}"#));
}

#[test]
fn defaults_reach_into_objects_lists_and_other_defaults() {
    let schema = schema(
        r#"{"type":"object","properties":{
            "spec":{"type":"object","default":{},"properties":{
                "n":{"type":"integer","default":3},
                "list":{"type":"array","items":{"type":"object","properties":{"p":{"type":"string","default":"TCP"}}}},
                "map":{"type":"object","additionalProperties":{"type":"object","properties":{"q":{"type":"integer","default":1}}}}}}}}"#,
    );
    let mut object = read("{}");
    schema.default(&mut object);
    assert_eq!(object, read(r#"{"spec":{"n":3}}"#));
    let mut object = read(r#"{"spec":{"n":0,"list":[{},{"p":"UDP"}],"map":{"k":{}}}}"#);
    schema.default(&mut object);
    let expected = read(r#"{"spec":{"n":0,"list":[{"p":"TCP"},{"p":"UDP"}],"map":{"k":{"q":1}}}}"#);
    assert_eq!(object, expected);
    schema.default(&mut object);
    assert_eq!(object, expected);
}

#[test]
fn faults_are_told_as_the_api_tells_them() {
    let typed = r#"{"type":"object","properties":{"spec":{"type":"object","required":["must"],"properties":{
        "must":{"type":"string"},
        "n":{"type":"integer","minimum":1,"maximum":9,"multipleOf":2},
        "s":{"type":"string","minLength":2,"maxLength":4,"pattern":"^a.*$"},
        "e":{"type":"string","enum":["x","y"]},
        "t":{"type":"string","format":"date-time"},
        "l":{"type":"array","maxItems":1,"minItems":1,"items":{"type":"boolean"}},
        "m":{"type":"object","maxProperties":1,"additionalProperties":{"type":"string"}},
        "i":{"x-kubernetes-int-or-string":true}}}}}"#;
    for (object, expected) in [
        (r#"{"spec":{}}"#, "spec.must: Required value"),
        (
            r#"{"spec":{"must":1}}"#,
            r#"spec.must: Invalid value: "integer": spec.must in body must be of type string: "integer""#,
        ),
        (
            r#"{"spec":{"must":"","n":"3"}}"#,
            r#"spec.n: Invalid value: "string": spec.n in body must be of type integer: "string""#,
        ),
        (
            r#"{"spec":{"must":"","n":0}}"#,
            "spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1",
        ),
        (
            r#"{"spec":{"must":"","n":10}}"#,
            "spec.n: Invalid value: 10: spec.n in body should be less than or equal to 9",
        ),
        (
            r#"{"spec":{"must":"","n":3}}"#,
            "spec.n: Invalid value: 3: spec.n in body should be a multiple of 2",
        ),
        (
            r#"{"spec":{"must":"","s":"a"}}"#,
            r#"spec.s: Invalid value: "a": spec.s in body should be at least 2 chars long"#,
        ),
        (
            r#"{"spec":{"must":"","s":"abcde"}}"#,
            "spec.s: Too long: may not be more than 4 bytes",
        ),
        (
            r#"{"spec":{"must":"","s":"bb"}}"#,
            r#"spec.s: Invalid value: "bb": spec.s in body should match '^a.*$'"#,
        ),
        (
            r#"{"spec":{"must":"","e":"z"}}"#,
            r#"spec.e: Unsupported value: "z": supported values: "x", "y""#,
        ),
        (
            r#"{"spec":{"must":"","t":"now"}}"#,
            r#"spec.t: Invalid value: "now": spec.t in body must be of type date-time: "now""#,
        ),
        (
            r#"{"spec":{"must":"","l":[]}}"#,
            "spec.l: Invalid value: 0: spec.l in body should have at least 1 items",
        ),
        (
            r#"{"spec":{"must":"","l":[true,false]}}"#,
            "spec.l: Too many: 2: must have at most 1 item",
        ),
        (
            r#"{"spec":{"must":"","l":["x"]}}"#,
            r#"spec.l[0]: Invalid value: "string": spec.l[0] in body must be of type boolean: "string""#,
        ),
        (
            r#"{"spec":{"must":"","m":{"a":"","b":""}}}"#,
            "spec.m: Too many: 2: must have at most 1 item",
        ),
        (
            r#"{"spec":{"must":"","m":{"a":1}}}"#,
            r#"spec.m.a: Invalid value: "integer": spec.m.a in body must be of type string: "integer""#,
        ),
        (
            r#"{"spec":{"must":"","i":true}}"#,
            r#"spec.i: Invalid value: "boolean": spec.i in body must be of type integer,string: "boolean""#,
        ),
        (
            r#"{"spec":[]}"#,
            r#"spec: Invalid value: "array": spec in body must be of type object: "array""#,
        ),
    ] {
        assert_eq!(faults(typed, object), [expected], "{object}");
    }
    assert!(
        faults(
            typed,
            r#"{"spec":{"must":"m","n":4,"s":"ab","i":"5","l":[true]}}"#
        )
        .is_empty()
    );
}

#[test]
fn combinations_of_schemas_are_explained_by_the_closest_alternative() {
    let union = r#"{"type":"object","properties":{"spec":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},
        "oneOf":[{"required":["a"]},{"required":["b"]}]}}}"#;
    assert_eq!(
        faults(union, r#"{"spec":{"a":"","b":""}}"#),
        [
            r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#
        ]
    );
    assert_eq!(
        faults(union, r#"{"spec":{}}"#),
        [
            r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid"#,
            "spec.a: Required value"
        ]
    );
    assert!(faults(union, r#"{"spec":{"b":""}}"#).is_empty());
    let not = r#"{"type":"object","properties":{"x":{"type":"integer","not":{"enum":[3]},"anyOf":[{"minimum":10},{"maximum":5}]}}}"#;
    assert_eq!(
        faults(not, r#"{"x":3}"#),
        [r#"<nil>: Invalid value: "": "x" must not validate the schema (not)"#]
    );
    assert!(faults(not, r#"{"x":7}"#)[0].contains("(anyOf)"));
    assert!(faults(not, r#"{"x":4}"#).is_empty());
}

#[test]
fn keys_of_list_maps_and_items_of_sets_are_unique() {
    let lists = r#"{"type":"object","properties":{
        "set":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
        "map":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],
            "items":{"type":"object","properties":{"name":{"type":"string"},"v":{"type":"integer"}}}}}}"#;
    assert_eq!(
        faults(lists, r#"{"set":["a","b","a","a"]}"#),
        [r#"set[2]: Duplicate value: "a""#]
    );
    assert_eq!(
        faults(lists, r#"{"map":[{"name":"a","v":1},{"name":"a","v":2}]}"#),
        [r#"map[1]: Duplicate value: {"name":"a"}"#]
    );
    assert!(faults(lists, r#"{"map":[{"name":"a"},{"name":"b"}],"set":["a"]}"#).is_empty());
}

#[test]
fn an_update_forgives_what_it_does_not_change() {
    let schema = schema(
        r#"{"type":"object","properties":{"a":{"type":"string","maxLength":1},"b":{"type":"string","maxLength":1},
            "l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object",
                "properties":{"k":{"type":"string"},"v":{"type":"integer","maximum":1}}}}}}"#,
    );
    let old = read(r#"{"a":"long","b":"x","l":[{"k":"p","v":5},{"k":"q","v":1}]}"#);
    let new = read(r#"{"a":"long","b":"y","l":[{"k":"q","v":9},{"k":"p","v":5}]}"#);
    let faults: Vec<String> = schema
        .validate_update(&new, &old)
        .iter()
        .map(|fault| fault.field.clone())
        .collect();
    assert_eq!(faults, ["l[0].v"]);
    assert_eq!(schema.validate(&new).len(), 3);
}

#[test]
fn patterns_mean_what_they_mean_in_go() {
    for (pattern, text, matches) in [
        (r"^\d+$", "12", true),
        (r"^\d+$", "٣", false),
        (r"^[\w.-]+$", "a_b.c-d", true),
        (r"^[[a]+$", "[a", true),
        (r"^[a&&b]+$", "&", true),
        (r"^[]x]+$", "]x", true),
        (r"^[^]x]+$", "ab", true),
        (r"^[[:alpha:]-]+$", "a-b", true),
        (r"^(?:(?:[01]?\d|2[0-3]):[0-5]\d)$", "23:59", true),
        (r"\bx\b", "a x b", true),
    ] {
        let regex = Regex::new(&read::as_rust_pattern(pattern)).unwrap();
        assert_eq!(regex.is_match(text), matches, "{pattern} on {text}");
    }
}

#[test]
fn formats_accept_and_refuse() {
    use format::Format;
    for (name, good, bad) in [
        ("date-time", "2024-01-01T00:00:00Z", "2024-01-01"),
        ("date", "2024-02-29", "2023-02-29"),
        ("duration", "1h30m", "1x"),
        ("duration", "2 days", ""),
        ("ipv4", "10.0.0.1", "10.0.0"),
        ("ipv6", "fe80::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
        ("mac", "00:1a:2b:3c:4d:5e", "00:1a"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        (
            "uuid4",
            "123e4567-e89b-42d3-a456-426614174000",
            "123e4567-e89b-12d3-a456-426614174000",
        ),
        ("uri", "https://example.com/x", "not a uri"),
        ("email", "a@example.com", "a.example.com"),
        ("hostname", "a.example.com", "a_b"),
        ("byte", "aGk=", "a"),
        ("isbn10", "0321751043", "0321751044"),
        ("isbn13", "978-0321751041", "978-0321751042"),
        ("creditcard", "4111111111111111", "4111111111111112"),
        ("hexcolor", "#FFF", "#FFFF"),
        ("rgbcolor", "rgb(1,2,3)", "rgb(1,2)"),
        ("ssn", "123-45-6789", "123-456-789"),
        ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
        ("k8s-short-name", "a-b", "A"),
        ("k8s-long-name", "a.b", "a..b"),
    ] {
        let format = Format::of_string(name).unwrap();
        assert!(format.accepts(good), "{name} {good}");
        assert!(!format.accepts(bad), "{name} {bad}");
    }
    assert_eq!(Format::of_string("unheard-of"), None);
}
