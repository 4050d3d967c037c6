use super::*;

fn read(text: &str) -> Value<'_> {
    parse(text.as_bytes()).unwrap().value
}

#[test]
fn what_is_written_reads_back_as_the_same_value() {
    let text =
        r#"{"b":[1,-2.5,null,true,"x\"\\\n\u0001"],"a":{"":{}},"s":"snowman \u2603 \ud83d\ude00"}"#;
    let value = read(text);
    let written = value.to_vec();
    assert_eq!(parse(&written).unwrap().value, value);
    assert!(
        written.starts_with(br#"{"b":[1,-2.5,null,true,"x\"\\\n\u0001"]"#),
        "order and escapes stay"
    );
}

#[test]
fn numbers_are_spelled_as_the_api_spells_them() {
    for (given, expected) in [
        ("1.0", "1"),
        ("1e2", "100"),
        ("-0", "0"),
        ("1e21", "1e+21"),
        ("0.0000001", "1e-7"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854776000"),
        ("0.30", "0.3"),
    ] {
        assert_eq!(read(given).to_string(), expected, "{given}");
    }
}

#[test]
fn equality_ignores_the_order_of_members_and_the_spelling_of_numbers() {
    assert_eq!(
        read(r#"{"a":1.0,"b":[{"c":null}]}"#),
        read(r#"{"b":[{"c":null}],"a":1}"#)
    );
    assert_ne!(read("[1,2]"), read("[2,1]"));
    assert_ne!(read(r#"{"a":1,"b":2}"#), read(r#"{"a":1,"c":2}"#));
}

#[test]
fn repeated_members_are_reported_with_their_path_and_the_last_one_counts() {
    let document = parse(br#"{"spec":{"list":[{"x":1,"x":2}],"list":[3]},"a":0,"a":1}"#).unwrap();
    assert_eq!(document.duplicates, ["spec.list[0].x", "spec.list", "a"]);
    assert_eq!(document.value, read(r#"{"spec":{"list":[3]},"a":1}"#));
}

#[test]
fn a_repeated_member_of_a_large_object_is_found() {
    let members: Vec<String> = (0..100)
        .map(|index| format!("\"m{index}\":{index}"))
        .collect();
    let text = format!("{{{},\"m50\":0}}", members.join(","));
    assert_eq!(parse(text.as_bytes()).unwrap().duplicates, ["m50"]);
}

#[test]
fn text_that_is_not_json_is_refused_with_words_and_offset() {
    for (text, message, offset) in [
        ("", "unexpected end of JSON input", 0),
        ("{", "unexpected end of JSON input", 1),
        (
            "{a:1}",
            "invalid character 'a' looking for beginning of object key string",
            1,
        ),
        (r#"{"a" 1}"#, "invalid character '1' after object key", 5),
        (
            r#"{"a":1 "b"}"#,
            "invalid character '\"' after object key:value pair",
            7,
        ),
        ("[1 2]", "invalid character '2' after array element", 3),
        (
            "nul!",
            "invalid character '!' in literal null (expecting 'l')",
            3,
        ),
        ("01", "invalid character '1' after top-level value", 1),
        ("1.", "unexpected end of JSON input", 2),
        ("\"\n\"", "invalid character '\\n' in string literal", 1),
        (
            "'a'",
            "invalid character '\\'' looking for beginning of value",
            0,
        ),
    ] {
        let error = parse(text.as_bytes()).unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.offset),
            (message, offset),
            "{text:?}"
        );
    }
    assert!(parse(b"\"\xff\"").is_err());
}

#[test]
fn nesting_beyond_the_limit_is_refused_and_not_followed() {
    let deep = "[".repeat(100_000);
    assert_eq!(
        parse(deep.as_bytes()).unwrap_err().message,
        "exceeded max depth"
    );
    let allowed = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert!(parse(allowed.as_bytes()).is_ok());
}

#[test]
fn paths_are_followed_set_and_removed() {
    let mut value = read(r#"{"a":{"b/c":[10,{"d":1}]}}"#);
    assert_eq!(
        value.pointer("/a/b~1c/1/d").and_then(Value::as_i64),
        Some(1)
    );
    value.set_at(&["a", "x", "y"], "z");
    assert_eq!(
        value.at(&["a", "x", "y"]).and_then(Value::as_str),
        Some("z")
    );
    assert!(value.remove_at(&["a", "x"]).is_some());
    assert!(value.at(&["a", "x"]).is_none());
}

#[test]
fn yaml_reads_into_the_same_tree() {
    let yaml = parse_yaml(b"a: 1\nb:\n- x: true\n- \"1\"\n- 1.5\n- null\n").unwrap();
    assert_eq!(yaml, read(r#"{"a":1,"b":[{"x":true},"1",1.5,null]}"#));
    assert!(parse_yaml(b"a: 1\na: 2\n").is_err());
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
        let _ = parse(&bytes);
        let _ = parse_yaml(&bytes);
    }

    #[test]
    fn it_agrees_with_serde_json(text in r#"[\[\]{}",:0-9a-e.\\nu -]{0,24}"#) {
        let ours = parse(text.as_bytes());
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        proptest::prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
    }
}
