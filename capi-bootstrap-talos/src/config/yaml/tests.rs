use super::*;

fn one(text: &str) -> Node {
    let mut documents = parse(text).unwrap();
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0).node
}

#[test]
fn scalars_resolve_as_talos_resolves_them() {
    for (text, expected) in [
        ("1", Resolved::Integer(1)),
        ("-1", Resolved::Integer(-1)),
        ("+1", Resolved::Integer(1)),
        ("0755", Resolved::Integer(493)),
        ("0o755", Resolved::Integer(493)),
        ("0x1F", Resolved::Integer(31)),
        ("0b101", Resolved::Integer(5)),
        ("1_000", Resolved::Integer(1000)),
        (
            "18446744073709551615",
            Resolved::Integer(18_446_744_073_709_551_615),
        ),
        (
            "18446744073709551616",
            Resolved::Float(18_446_744_073_709_551_616.0),
        ),
        ("1.20", Resolved::Float(1.2)),
        ("1e3", Resolved::Float(1000.0)),
        (".5", Resolved::Float(0.5)),
        ("true", Resolved::Bool(true)),
        ("yes", Resolved::Text("yes")),
        ("on", Resolved::Text("on")),
        ("null", Resolved::Null),
        ("~", Resolved::Null),
        ("0789", Resolved::Float(789.0)),
        ("12:30:45", Resolved::Text("12:30:45")),
        ("v1.11", Resolved::Text("v1.11")),
        ("1.2.3", Resolved::Text("1.2.3")),
        ("10.0.0.0/8", Resolved::Text("10.0.0.0/8")),
        ("-", Resolved::Text("-")),
        ("+", Resolved::Text("+")),
        (".", Resolved::Text(".")),
        ("0x", Resolved::Text("0x")),
        ("1e", Resolved::Text("1e")),
    ] {
        assert_eq!(resolve::resolve(text, true), expected, "{text}");
        assert_eq!(resolve::resolve(text, false), Resolved::Text(text));
    }
}

#[test]
fn text_is_written_so_that_it_is_read_as_text_again() {
    for text in [
        "",
        " ",
        "a",
        "yes",
        "no",
        "on",
        "y",
        "null",
        "~",
        "1",
        "0755",
        "1.20",
        "12:30:45",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "- a",
        "-a",
        "--flag=1",
        "---",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "{a}",
        "[a]",
        "a, b",
        "a\n",
        "a\nb",
        "a\nb\n\n",
        "\na",
        " a\nb",
        "a \nb",
        "a\tb",
        "\ta",
        "a\r\nb",
        "\u{1}",
        "\u{7f}",
        "\u{85}",
        "\u{feff}a",
        "\u{1f600}",
        "<<",
        "=",
        "?",
        "? a",
        "a\\b",
        "\n",
        "\n\n",
        "true",
        "0x10",
        ".inf",
        "+1",
        "1_000",
        "key: |\n  x",
        "a\n\n\nb\n",
    ] {
        let node = Node::Mapping(
            [
                ("key", Node::string(text)),
                (
                    "list",
                    Node::Sequence(vec![Node::string(text), Node::strings([text, "x"])]),
                ),
            ]
            .into_iter()
            .collect(),
        );
        let written = write([&node, &node]);
        let read = parse(&written).unwrap_or_else(|error| panic!("{text:?}: {error}\n{written}"));
        assert_eq!(read.len(), 2, "{text:?}\n{written}");
        for document in read {
            assert!(document.node == node, "{text:?}\n{written}");
        }
    }
}

#[test]
fn keys_that_look_like_something_else_are_quoted() {
    for key in [
        "yes",
        "1",
        "a b",
        "a: b",
        "",
        "null",
        "#",
        "node-role.kubernetes.io/control-plane",
    ] {
        let mut mapping = Mapping::default();
        mapping.set(key, Node::bool(true));
        let node = Node::Mapping(mapping);
        assert!(one(&write([&node])) == node, "{key:?}");
    }
}

#[test]
fn a_key_twice_is_refused_with_both_lines() {
    let error = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
    assert_eq!(error.line, 3);
    assert_eq!(error.message, "the key \"a\" is already set on line 1");
}

#[test]
fn merge_keys_and_anchors_are_resolved() {
    let node = one("base: &base {a: 1, b: 2}\nmore:\n  <<: *base\n  b: 3\nlist: [*base]\n");
    assert_eq!(node.at(&["more", "a"]).unwrap().as_integer(), Some(1));
    assert_eq!(node.at(&["more", "b"]).unwrap().as_integer(), Some(3));
    assert!(
        node.at(&["list"]).unwrap().as_sequence().unwrap()[0]
            .as_mapping()
            .is_some()
    );
}

#[test]
fn hostile_text_is_refused_with_its_place() {
    let bomb = (1..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, i| {
        format!("{text}a{i}: &a{i} [*a{p}, *a{p}]\n", p = i - 1)
    });
    let deep = "[".repeat(100_000);
    for text in [
        bomb.as_str(),
        &deep,
        "a: [",
        "a: *unknown",
        "a: &a [*a]",
        "{[a]: b}",
        "? {a: b}\n: c",
        "a: !!binary aGVsbG8=",
        "a:\n\tb: 1",
        "a: b: c",
        "<<: 1",
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.line >= 1, "{error}");
        assert!(!error.message.is_empty());
    }
}

#[test]
fn empty_documents_are_null_and_comments_are_no_values() {
    let documents = parse("# c\n---\n---\na: 1 # d\n--- # e\n").unwrap();
    let nulls: Vec<bool> = documents
        .iter()
        .map(|document| document.node.is_null())
        .collect();
    assert_eq!(nulls, [true, false, true]);
    assert!(parse("").unwrap().is_empty());
    assert!(parse("# only a comment\n").unwrap().is_empty());
}

#[test]
fn debug_shows_keys_and_no_values() {
    let node = one("machine: {token: s3cr3t, list: [s3cr3t]}");
    let text = format!("{node:?}");
    assert!(text.contains("token") && !text.contains("s3cr3t"), "{text}");
}

#[test]
fn equality_is_of_values_and_not_of_form() {
    assert!(one("{a: 1, b: 'x'}") == one("b: x\na: 0x1\n"));
    assert!(one("a: 1") != one("a: '1'"));
    assert!(one("a: [1, 2]") != one("a: [2, 1]"));
    assert!(one("a: 1.0") != one("a: 1"));
}

#[test]
fn a_block_that_ends_with_the_text_has_a_line_break_only_where_one_is_written() {
    for (text, expected) in [
        ("a: |\n  x", "x"),
        ("a: |\n  x\n", "x\n"),
        ("a: |-\n  x\n", "x"),
        ("a: >\n  x\n  y", "x y"),
    ] {
        assert_eq!(
            one(text).at(&["a"]).unwrap().as_str(),
            Some(expected),
            "{text:?}"
        );
    }
}
