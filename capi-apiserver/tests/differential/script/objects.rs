//! Making, reading and refusing objects.

use serde_json::{Value, json};

use super::apply;
use crate::{definition::Definition, transcript::Transcript};

pub(super) fn definitions(t: &mut Transcript, d: &Definition) {
    apply(t, "create the definition", "create -f -", &d.manifest);
    t.kubectl(
        "wait until it is established",
        &format!(
            "wait --for=condition=Established crd/{} --timeout=20s",
            d.resource()
        ),
    );
    t.kubectl(
        "the definition as a table",
        &format!("get crd {}", d.resource()),
    );
    t.kubectl(
        "the definition as json",
        &format!("get crd {} -o json", d.resource()),
    );
    t.kubectl(
        "the resources of the group",
        &format!("api-resources --api-group={} -o wide", d.group),
    );
    t.kubectl(
        "the names of the group",
        &format!("api-resources --api-group={} -o name", d.group),
    );
    let mut other = d.manifest.clone();
    other["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["wrong"] = json!({"type": "array"});
    other["metadata"]["name"] = json!(format!("others.{}", d.group));
    other["spec"]["names"] = json!({"plural": "others", "kind": "Other"});
    apply(
        t,
        "a definition whose schema is not structural",
        "create -f -",
        &other,
    );
    other["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "object"});
    other["metadata"]["name"] = json!("wrong.example.com");
    apply(
        t,
        "a definition whose name does not fit",
        "create -f -",
        &other,
    );
    let mut two = d.manifest.clone();
    two["spec"]["versions"][0]["storage"] = json!(false);
    two["metadata"]["name"] = json!(format!("others.{}", d.group));
    two["spec"]["names"] = json!({"plural": "others", "kind": "Other"});
    apply(
        t,
        "a definition without a storage version",
        "create -f -",
        &two,
    );
    t.kubectl("create a namespace", "create namespace diff-a");
    t.kubectl("create another namespace", "create namespace diff-b");
}

/// The real server publishes the schemas of a new kind some time after it serves the kind.
fn until_explained(t: &Transcript, d: &Definition) {
    let question = format!("{}.spec", d.plural);
    let explained = |_| t.quietly(&["explain", &question], "").code == 0;
    assert!((0..200).any(explained), "{} is never explained", d.plural);
}

pub(super) fn explain(t: &mut Transcript, d: &Definition) {
    until_explained(t, d);
    t.kubectl("explain the kind", &format!("explain {}", d.resource()));
    t.kubectl("explain the spec", &format!("explain {}.spec", d.plural));
    t.kubectl(
        "explain a list",
        &format!("explain {}.spec.{}", d.plural, d.list),
    );
    t.kubectl(
        "explain everything below",
        &format!("explain {}.spec --recursive", d.plural),
    );
    t.kubectl(
        "explain a field that is not there",
        &format!("explain {}.spec.nothing", d.plural),
    );
    t.kubectl("explain a kind that is not there", "explain nothings");
}

pub(super) fn create_and_read(t: &mut Transcript, d: &Definition) {
    apply(
        t,
        "create the least object",
        "create -n diff-a -f -",
        &d.object("least", d.least()),
    );
    apply(
        t,
        "create a full object",
        "create -n diff-a -f -",
        &d.object("full", d.full()),
    );
    apply(
        t,
        "create it again",
        "create -n diff-a -f -",
        &d.object("full", d.full()),
    );
    t.kubectl(
        "read the least object",
        &format!("get {} least -n diff-a -o json", d.resource()),
    );
    t.kubectl(
        "read the full object as yaml",
        &format!(
            "get {} full -n diff-a -o yaml --show-managed-fields",
            d.resource()
        ),
    );
    t.kubectl(
        "read by short name",
        &format!("get {} full -n diff-a -o name", d.short),
    );
    t.kubectl(
        "read one that is not there",
        &format!("get {} nothing -n diff-a", d.resource()),
    );
    t.kubectl("a table", &format!("get {} -n diff-a", d.resource()));
    t.kubectl(
        "a wide table",
        &format!("get {} -n diff-a -o wide", d.resource()),
    );
    t.kubectl(
        "a table of all namespaces without headers",
        &format!("get {} -A --no-headers", d.resource()),
    );
    t.kubectl("a table of a category", "get things -n diff-a");
    t.kubectl(
        "a table of nothing",
        &format!("get {} -n diff-b", d.resource()),
    );
    t.kubectl(
        "describe",
        &format!("describe {} least -n diff-a", d.resource()),
    );
    t.kubectl(
        "a jsonpath",
        &format!(
            "get {} full -n diff-a -o jsonpath={{.spec.{}}}",
            d.resource(),
            d.list
        ),
    );
    t.kubectl(
        "columns of ours",
        &format!(
            "get {} -n diff-a -o custom-columns=N:.metadata.name,T:.spec.{}",
            d.resource(),
            d.text
        ),
    );
    let mut generated = d.object("", d.least());
    generated["metadata"] = json!({"generateName": "generated-"});
    apply(
        t,
        "create with a generated name",
        "create -n diff-a -f -",
        &generated,
    );
    t.kubectl(
        "how many there are",
        &format!("get {} -n diff-a -o name", d.resource()),
    );
    apply(
        t,
        "create as a dry run",
        "create -n diff-a --dry-run=server -o json -f -",
        &d.object("dry", d.full()),
    );
    t.kubectl(
        "the dry run left nothing",
        &format!("get {} dry -n diff-a", d.resource()),
    );
    apply(
        t,
        "create in a namespace that is not there",
        "create -n diff-none -f -",
        &d.object("x", d.least()),
    );
    let mut wrong = d.object("x", d.least());
    wrong["metadata"]["namespace"] = json!("diff-b");
    apply(
        t,
        "create in another namespace than the object's",
        "create -n diff-a -f -",
        &wrong,
    );
    apply(
        t,
        "create with a status",
        "create -n diff-a -o json -f -",
        &{
            let mut object = d.object("with-status", d.least());
            object["status"] = json!({"phase": "Made"});
            object
        },
    );
}

pub(super) fn strict_and_invalid(t: &mut Transcript, d: &Definition) {
    let mut unknown = d.object("unknown", d.full());
    unknown["spec"]["unheard"] = json!(1);
    unknown["spec"][&d.list][0]["of"] = json!(2);
    unknown["metadata"]["strange"] = json!("x");
    unknown["top"] = json!(true);
    apply(
        t,
        "unknown fields, strict",
        "create -n diff-a --validate=strict -f -",
        &unknown,
    );
    apply(
        t,
        "unknown fields, warned of",
        "create -n diff-a --validate=warn -f -",
        &unknown,
    );
    unknown["metadata"]["name"] = json!("ignored");
    apply(
        t,
        "unknown fields, ignored",
        "create -n diff-a --validate=ignore -o json -f -",
        &unknown,
    );
    let twice = format!(
        r#"{{"apiVersion":"{}","kind":"{}","metadata":{{"name":"twice"}},"spec":{{"{}":"aa","{}":"bb"}}}}"#,
        d.api_version(),
        d.kind,
        d.text,
        d.text
    );
    let raw = d.path("diff-a");
    t.with_input(
        "a repeated field, strict",
        &[
            "create",
            "--raw",
            &format!("{raw}?fieldValidation=Strict"),
            "-f",
            "-",
        ],
        &twice,
    );
    t.with_input(
        "a repeated field, warned of",
        &[
            "create",
            "--raw",
            &format!("{raw}?fieldValidation=Warn"),
            "-f",
            "-",
        ],
        &twice,
    );

    let invalid = |field: &str, value: Value| {
        let mut spec = d.least();
        spec[field] = value;
        d.object("invalid", spec)
    };
    let cases: Vec<(&str, Value)> = vec![
        ("a missing field", d.object("invalid", json!({}))),
        (
            "no spec",
            json!({"apiVersion": d.api_version(), "kind": d.kind, "metadata": {"name": "invalid"}}),
        ),
        ("a wrong type", invalid(&d.replicas, json!("three"))),
        ("too small a number", invalid(&d.replicas, json!(-1))),
        ("too large a number", invalid(&d.replicas, json!(100))),
        ("too short a text", invalid(&d.text, json!("a"))),
        (
            "too long a text",
            invalid(&d.text, json!("a".repeat(d.longest + 1))),
        ),
        ("a text that does not match", invalid(&d.text, json!("9a"))),
        (
            "a value outside of the choices",
            invalid(&d.choice, json!("Purple")),
        ),
        ("neither number nor text", invalid(&d.port, json!(true))),
        (
            "a list map with a key twice",
            invalid(
                &d.list,
                json!([{"name": "a"}, {"name": "a", "protocol": "TCP"}]),
            ),
        ),
        (
            "a list item without its key",
            invalid(&d.list, json!([{"value": 1}])),
        ),
        (
            "a set with an item twice",
            invalid(&d.set, json!(["a", "b", "a"])),
        ),
        (
            "a list that is too long",
            invalid(
                &d.list,
                json!(
                    (0..6)
                        .map(|i| json!({"name": format!("n{i}")}))
                        .collect::<Vec<_>>()
                ),
            ),
        ),
        (
            "a broken rule",
            invalid(&d.range, json!({"low": 3, "high": 2})),
        ),
        (
            "a broken rule that says why",
            invalid(&d.range, json!({"low": 3, "high": 2000})),
        ),
        ("a bad value in a map", invalid(&d.map, json!({"a": -1}))),
        (
            "an object where a map is too large",
            invalid(&d.map, json!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1})),
        ),
        (
            "null where null is not allowed",
            invalid(&d.choice, Value::Null),
        ),
        (
            "null where null is allowed",
            invalid(&d.nested, Value::Null),
        ),
        (
            "text where an object should be",
            invalid(&d.nested, json!("text")),
        ),
    ];
    for (name, object) in cases {
        apply(t, name, "create -n diff-a --dry-run=server -f -", &object);
    }
    for (index, (field, _, bad)) in d.extra.iter().enumerate() {
        apply(
            t,
            &format!("a bad value of random field {index}"),
            "create -n diff-a -f -",
            &invalid(field, bad.clone()),
        );
    }
    inside(t, d);
    apply(t, "several faults at once", "create -n diff-a -f -", &{
        let mut spec = d.least();
        spec[&d.text] = json!("9");
        spec[&d.choice] = json!("Purple");
        d.object("invalid", spec)
    });
    for (name, metadata) in [
        ("a bad name", json!({"name": "Bad_Name"})),
        ("a bad label", json!({"name": "x", "labels": {"a b": "c"}})),
        (
            "a bad label value",
            json!({"name": "x", "labels": {"a": "c d"}}),
        ),
        (
            "a bad annotation",
            json!({"name": "x", "annotations": {"/x": "y"}}),
        ),
        (
            "a bad finalizer",
            json!({"name": "x", "finalizers": ["a b"]}),
        ),
        (
            "a finalizer without a domain",
            json!({"name": "plain-finalizer", "finalizers": ["plain"]}),
        ),
        (
            "an owner without its names",
            json!({"name": "x", "ownerReferences": [{"apiVersion": "v1", "kind": "", "name": "", "uid": ""}]}),
        ),
        (
            "two owners that control",
            json!({"name": "x", "ownerReferences": [
            {"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1", "controller": true},
            {"apiVersion": "v1", "kind": "B", "name": "b", "uid": "2", "controller": true}]}),
        ),
        ("no name", json!({})),
    ] {
        let mut object = d.object("x", d.least());
        object["metadata"] = metadata;
        t.with_input(
            name,
            &[
                "create",
                "--raw",
                &format!("{}?dryRun=All", d.path("diff-a")),
                "-f",
                "-",
            ],
            &object.to_string(),
        );
    }
}

/// Faults of a resource inside of the resource.
fn inside(t: &mut Transcript, d: &Definition) {
    let with = |path: &str, value: Value| {
        let mut inner = Definition::resource_inside();
        *inner.pointer_mut(path).unwrap_or(&mut Value::Null) = value;
        inner
    };
    let mut unknown = Definition::resource_inside();
    unknown["unheard"] = json!(1);
    unknown["metadata"]["strange"] = json!("x");
    unknown["spec"]["deep"] = json!({"er": 1});
    let mut anonymous = Definition::resource_inside();
    anonymous["metadata"] = json!({});
    for (name, inner) in [
        (
            "an inner resource without a type",
            json!({"spec": {"size": 1}}),
        ),
        (
            "an inner resource without a version",
            with("/apiVersion", json!("")),
        ),
        (
            "an inner resource of a version that is none",
            with("/apiVersion", json!("a/b/c")),
        ),
        (
            "an inner resource of a kind that is none",
            with("/kind", json!("in ner")),
        ),
        (
            "an inner resource whose kind is a number",
            with("/kind", json!(5)),
        ),
        (
            "an inner resource with a bad name",
            with("/metadata/name", json!("In_ner")),
        ),
        (
            "an inner resource with a bad label",
            with("/metadata/labels/a", json!("b c")),
        ),
        (
            "an inner resource with labels that are none",
            with("/metadata/labels", json!("b")),
        ),
        (
            "an inner resource with metadata that is none",
            with("/metadata", json!("text")),
        ),
        (
            "an inner resource with a wrong size",
            with("/spec", json!({"size": "big"})),
        ),
        ("an inner resource that is text", json!("text")),
        ("an inner resource without a name", anonymous),
        ("an inner resource with unknown fields", unknown),
    ] {
        let mut spec = d.least();
        spec[&d.inside] = inner;
        let object = d.object("inside", spec).to_string();
        for validation in ["strict", "ignore"] {
            let arguments =
                format!("create -n diff-a --dry-run=server --validate={validation} -o json -f -");
            let arguments: Vec<&str> = arguments.split(' ').collect();
            t.with_input(&format!("{name}, {validation}"), &arguments, &object);
        }
    }
}
