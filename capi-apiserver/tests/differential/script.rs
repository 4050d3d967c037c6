//! The script: what a user and a controller do with a kind, step by step, with kubectl.

use serde_json::{Value, json};

use crate::{definition::Definition, transcript::Transcript};

/// Runs every step.
pub(crate) fn run(t: &mut Transcript, d: &Definition) {
    definitions(t, d);
    explain(t, d);
    create_and_read(t, d);
    strict_and_invalid(t, d);
    patches(t, d);
    server_side_apply(t, d);
    client_side_apply(t, d);
    status_scale_wait(t, d);
    lists_and_watches(t, d);
    deletion(t, d);
    built_in(t, d);
    bad_input(t, d);
    namespaces(t, d);
    last(t, d);
}

fn apply(t: &mut Transcript, name: &str, arguments: &str, object: &Value) {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    t.with_input(name, &arguments, &object.to_string());
}

fn definitions(t: &mut Transcript, d: &Definition) {
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

fn explain(t: &mut Transcript, d: &Definition) {
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

fn create_and_read(t: &mut Transcript, d: &Definition) {
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

fn strict_and_invalid(t: &mut Transcript, d: &Definition) {
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

fn patches(t: &mut Transcript, d: &Definition) {
    let patch = |t: &mut Transcript, name: &str, kind: &str, object: &str, patch: &str| {
        let resource = d.resource();
        t.with_input(
            name,
            &[
                "patch", &resource, object, "-n", "diff-a", "--type", kind, "-p", patch, "-o",
                "json",
            ],
            "",
        );
    };
    let merge = json!({"spec": {&d.defaulted: "changed", &d.map: {"k": null, "l": 2}}}).to_string();
    patch(t, "a merge patch", "merge", "full", &merge);
    patch(t, "the same merge patch again", "merge", "full", &merge);
    patch(
        t,
        "a merge patch that replaces a list",
        "merge",
        "full",
        &json!({"spec": {&d.list: [{"name": "c"}]}}).to_string(),
    );
    patch(
        t,
        "a merge patch that breaks a rule",
        "merge",
        "full",
        &json!({"spec": {&d.fixed: "twice"}}).to_string(),
    );
    patch(
        t,
        "a merge patch of the status",
        "merge",
        "full",
        &json!({"status": {"phase": "Hidden"}}).to_string(),
    );
    patch(
        t,
        "a merge patch of the name",
        "merge",
        "full",
        r#"{"metadata":{"name":"other"}}"#,
    );
    patch(
        t,
        "a merge patch of the uid",
        "merge",
        "full",
        r#"{"metadata":{"uid":"other"}}"#,
    );
    patch(
        t,
        "a merge patch with an old version",
        "merge",
        "full",
        r#"{"metadata":{"resourceVersion":"1"}}"#,
    );
    patch(t, "a merge patch that is no object", "merge", "full", "[]");
    let set = format!("/spec/{}", d.set);
    patch(
        t,
        "a json patch",
        "json",
        "full",
        &json!([
            {"op": "test", "path": format!("{set}/0"), "value": "x"},
            {"op": "add", "path": format!("{set}/-"), "value": "z"},
            {"op": "remove", "path": format!("{set}/0")},
            {"op": "replace", "path": format!("/spec/{}", d.replicas), "value": 7},
        ])
        .to_string(),
    );
    patch(
        t,
        "a json patch whose test fails",
        "json",
        "full",
        &json!([{"op": "test", "path": format!("{set}/0"), "value": "q"}]).to_string(),
    );
    patch(
        t,
        "a json patch of a path that is not there",
        "json",
        "full",
        &json!([{"op": "remove", "path": "/spec/none/of/it"}]).to_string(),
    );
    patch(
        t,
        "a json patch with an unknown operation",
        "json",
        "full",
        &json!([{"op": "turn", "path": set}]).to_string(),
    );
    patch(t, "a json patch that is no list", "json", "full", "{}");
    patch(
        t,
        "a strategic merge patch of a custom resource",
        "strategic",
        "full",
        "{}",
    );
    patch(t, "a patch of nothing", "merge", "nothing", "{}");
    t.kubectl(
        "label",
        &format!("label {} full -n diff-a one=1 two=2", d.resource()),
    );
    t.kubectl(
        "label again without overwriting",
        &format!("label {} full -n diff-a one=3", d.resource()),
    );
    t.kubectl(
        "annotate",
        &format!("annotate {} full -n diff-a note=before-edit", d.resource()),
    );
    t.kubectl("edit", &format!("edit {} full -n diff-a", d.resource()));
    t.kubectl(
        "what editing changed",
        &format!(
            "get {} full -n diff-a -o jsonpath={{.metadata.annotations}}{{.metadata.generation}}",
            d.resource()
        ),
    );
    let answer = t.quietly(
        &["get", &d.resource(), "full", "-n", "diff-a", "-o", "json"],
        "",
    );
    let mut object: Value = serde_json::from_str(&answer.output).unwrap_or_default();
    object["spec"][&d.replicas] = json!(9);
    apply(t, "replace", "replace -n diff-a -o json -f -", &object);
    apply(
        t,
        "replace with an old version",
        "replace -n diff-a -f -",
        &object,
    );
    apply(
        t,
        "replace what is not there",
        "replace -n diff-a -f -",
        &d.object("nothing", d.least()),
    );
}

fn server_side_apply(t: &mut Transcript, d: &Definition) {
    let one = d.object("applied", json!({&d.text: "one", &d.list: [{"name": "a", "value": 1}, {"name": "b"}], &d.set: ["p", "q"], &d.map: {"k": 1}}));
    apply(
        t,
        "apply as one",
        "apply -n diff-a --server-side --field-manager=one -f -",
        &one,
    );
    apply(
        t,
        "apply as one again",
        "apply -n diff-a --server-side --field-manager=one -f -",
        &one,
    );
    t.kubectl(
        "who owns what",
        &format!(
            "get {} applied -n diff-a -o json --show-managed-fields",
            d.resource()
        ),
    );
    let two = d.object(
        "applied",
        json!({&d.text: "two", &d.list: [{"name": "a", "value": 2}], &d.set: ["q", "r"]}),
    );
    apply(
        t,
        "apply as two conflicts",
        "apply -n diff-a --server-side --field-manager=two -f -",
        &two,
    );
    let single = d.object("applied", json!({&d.text: "two"}));
    apply(
        t,
        "apply as two conflicts in one field",
        "apply -n diff-a --server-side --field-manager=two -f -",
        &single,
    );
    apply(
        t,
        "apply as two by force",
        "apply -n diff-a --server-side --field-manager=two --force-conflicts -f -",
        &two,
    );
    t.kubectl(
        "who owns what after force",
        &format!(
            "get {} applied -n diff-a -o json --show-managed-fields",
            d.resource()
        ),
    );
    let less = d.object(
        "applied",
        json!({&d.text: "two", &d.list: [{"name": "b", "value": 5}]}),
    );
    apply(
        t,
        "apply less as two",
        "apply -n diff-a --server-side --field-manager=two -o json --show-managed-fields -f -",
        &less,
    );
    let mut wrong = one.clone();
    wrong["spec"][&d.list] = json!([{"name": "a"}, {"name": "a"}]);
    apply(
        t,
        "apply an item twice",
        "apply -n diff-a --server-side --field-manager=one -f -",
        &wrong,
    );
    wrong["spec"][&d.list] = json!("text");
    apply(
        t,
        "apply a wrong type",
        "apply -n diff-a --server-side --field-manager=one -f -",
        &wrong,
    );
    let mut unknown = one.clone();
    unknown["spec"]["unheard"] = json!(1);
    apply(
        t,
        "apply an unknown field",
        "apply -n diff-a --server-side --field-manager=one -f -",
        &unknown,
    );
    apply(
        t,
        "apply something invalid",
        "apply -n diff-a --server-side --field-manager=one -f -",
        &{
            let mut object = one.clone();
            object["spec"][&d.choice] = json!("Purple");
            object
        },
    );
    apply(
        t,
        "apply as a dry run",
        "apply -n diff-a --server-side --dry-run=server --field-manager=three -f -",
        &d.object("not-there", d.least()),
    );
    apply(
        t,
        "apply an atomic map",
        "apply -n diff-a --server-side --field-manager=three -o json --show-managed-fields -f -",
        &d.object(
            "applied",
            json!({&d.text: "two", &d.nested: {"whole": {"x": "1"}}, &d.free: {"deep": {"er": 1}}}),
        ),
    );
    apply(
        t,
        "a status applied",
        "apply -n diff-a --server-side --subresource=status --field-manager=ctl -o json --show-managed-fields -f -",
        &json!({
        "apiVersion": d.api_version(), "kind": d.kind, "metadata": {"name": "applied"},
        "status": {"phase": "Good", "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
}

fn client_side_apply(t: &mut Transcript, d: &Definition) {
    let object = d.object(
        "client",
        json!({&d.text: "one", &d.defaulted: "given", &d.list: [{"name": "a"}]}),
    );
    apply(t, "client-side apply", "apply -n diff-a -f -", &object);
    apply(
        t,
        "client-side apply again",
        "apply -n diff-a -f -",
        &object,
    );
    let object = d.object("client", json!({&d.text: "two", &d.list: [{"name": "b"}]}));
    apply(
        t,
        "the difference that apply would make",
        "diff -n diff-a -f -",
        &object,
    );
    apply(
        t,
        "client-side apply of less",
        "apply -n diff-a -o json -f -",
        &object,
    );
    apply(
        t,
        "server-side apply takes over",
        "apply -n diff-a --server-side -o json --show-managed-fields -f -",
        &object,
    );
    t.kubectl(
        "view what was applied last",
        &format!("apply view-last-applied {} client -n diff-a", d.resource()),
    );
}

fn status_scale_wait(t: &mut Transcript, d: &Definition) {
    let resource = d.resource();
    let status = json!({"status": {"phase": "Running", "replicas": 2, "selector": "a=b",
        "conditions": [{"type": "Ready", "status": "False", "reason": "Because"}]}, "spec": {&d.text: "hidden"}});
    t.with_input(
        "patch the status",
        &[
            "patch",
            &resource,
            "full",
            "-n",
            "diff-a",
            "--subresource=status",
            "--type=merge",
            "-p",
            &status.to_string(),
            "-o",
            "json",
        ],
        "",
    );
    t.with_input(
        "patch the status with a wrong type",
        &[
            "patch",
            &resource,
            "full",
            "-n",
            "diff-a",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status":{"phase":1}}"#,
        ],
        "",
    );
    t.kubectl(
        "read the status",
        &format!("get {resource} full -n diff-a --subresource=status -o json"),
    );
    t.kubectl(
        "a table with a status",
        &format!("get {resource} full -n diff-a -o wide"),
    );
    t.kubectl(
        "read the scale",
        &format!("get --raw {}/full/scale", d.path("diff-a")),
    );
    t.kubectl(
        "scale",
        &format!("scale {resource} full -n diff-a --replicas=3"),
    );
    t.kubectl(
        "scale if it is as it was",
        &format!("scale {resource} full -n diff-a --current-replicas=1 --replicas=4"),
    );
    t.kubectl(
        "scale too far",
        &format!("scale {resource} full -n diff-a --replicas=1000"),
    );
    t.kubectl(
        "scale what is not there",
        &format!("scale {resource} nothing -n diff-a --replicas=1"),
    );
    t.with_input(
        "patch the scale",
        &[
            "patch",
            &resource,
            "full",
            "-n",
            "diff-a",
            "--subresource=scale",
            "--type=merge",
            "-p",
            r#"{"spec":{"replicas":5}}"#,
            "-o",
            "json",
        ],
        "",
    );
    t.kubectl(
        "who scaled",
        &format!("get {resource} full -n diff-a -o json --show-managed-fields"),
    );
    t.kubectl(
        "wait for a condition that is there",
        &format!("wait {resource}/full -n diff-a --for=condition=Ready=False --timeout=5s"),
    );
    t.kubectl(
        "wait for a value",
        &format!(
            "wait {resource}/full -n diff-a --for=jsonpath={{.status.phase}}=Running --timeout=5s"
        ),
    );
    t.kubectl(
        "wait for what does not come",
        &format!("wait {resource}/full -n diff-a --for=condition=Ready --timeout=1s"),
    );
    t.kubectl(
        "wait for what is not there",
        &format!("wait {resource}/nothing -n diff-a --for=condition=Ready --timeout=1s"),
    );
}

fn lists_and_watches(t: &mut Transcript, d: &Definition) {
    let resource = d.resource();
    let path = d.path("diff-b");
    let begin = t.quietly(&["get", "--raw", &path], "");
    let begin: Value = serde_json::from_str(&begin.output).unwrap_or_default();
    let version = begin["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for index in 0..5 {
        let mut object = d.object(&format!("item-{index}"), d.least());
        object["metadata"]["labels"] =
            json!({"number": index.to_string(), "odd": (index % 2 == 1).to_string()});
        apply(
            t,
            &format!("create item {index}"),
            "create -n diff-b -f -",
            &object,
        );
    }
    t.kubectl(
        "list in chunks",
        &format!("get {resource} -n diff-b --chunk-size=2"),
    );
    let chunk = t.kubectl("the first chunk", &format!("get --raw {path}?limit=2"));
    let chunk: Value = serde_json::from_str(&chunk.output).unwrap_or_default();
    let token = chunk["metadata"]["continue"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    t.with_input(
        "the second chunk",
        &["get", "--raw", &format!("{path}?limit=2&continue={token}")],
        "",
    );
    t.kubectl(
        "a chunk of a token that is none",
        &format!("get --raw {path}?limit=2&continue=nonsense"),
    );
    t.kubectl(
        "list by label",
        &format!("get {resource} -n diff-b -l odd=true"),
    );
    t.kubectl(
        "list by a set of labels",
        &format!("get {resource} -n diff-b -l number!=1,odd"),
    );
    t.with_input(
        "list by labels in and not in",
        &[
            "get",
            &resource,
            "-n",
            "diff-b",
            "-l",
            "number in (0,1,2),odd notin (true)",
            "-o",
            "name",
        ],
        "",
    );
    t.kubectl(
        "list by name",
        &format!("get {resource} -n diff-b --field-selector=metadata.name=item-3 -o name"),
    );
    t.kubectl(
        "list by a field that cannot be selected",
        &format!(
            "get {resource} -n diff-b --field-selector=spec.{}=x",
            d.text
        ),
    );
    t.kubectl(
        "list by a label selector that is none",
        &format!("get --raw {path}?labelSelector=a=b=c"),
    );
    t.kubectl(
        "list with labels as columns",
        &format!("get {resource} -n diff-b -L number,odd --sort-by=.metadata.name"),
    );
    t.kubectl(
        "list at an old version exactly",
        &format!("get --raw {path}?resourceVersion={version}&resourceVersionMatch=Exact"),
    );
    t.kubectl(
        "list at a version of the future",
        &format!("get --raw {path}?resourceVersion=999999999&timeoutSeconds=1"),
    );
    t.kubectl(
        "list with a match and no version",
        &format!("get --raw {path}?resourceVersionMatch=Exact"),
    );
    t.kubectl(
        "watch from before",
        &format!("get --raw {path}?watch=true&resourceVersion={version}&timeoutSeconds=2"),
    );
    t.kubectl(
        "delete an item",
        &format!("delete {resource} item-4 -n diff-b"),
    );
    let resumed = begin_of(&chunk);
    t.kubectl(
        "resume the watch",
        &format!("get --raw {path}?watch=true&resourceVersion={resumed}&timeoutSeconds=2"),
    );
    t.kubectl("watch by label", &format!("get --raw {path}?watch=true&resourceVersion={version}&timeoutSeconds=2&labelSelector=odd=true"));
    t.kubectl("watch with initial events", &format!("get --raw {path}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=2"));
    t.kubectl(
        "watch with initial events and no match",
        &format!("get --raw {path}?watch=true&sendInitialEvents=true&timeoutSeconds=1"),
    );
    t.kubectl(
        "watch a version that is none",
        &format!("get --raw {path}?watch=true&resourceVersion=abc"),
    );
    t.kubectl("metadata only", &format!("get --raw {path}/item-0"));
}

/// The version of a list.
fn begin_of(list: &Value) -> &str {
    list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
}

fn family(t: &mut Transcript, d: &Definition, parent: &str, blocks: bool) {
    apply(
        t,
        &format!("create {parent}"),
        "create -n diff-a -f -",
        &d.object(parent, d.least()),
    );
    let uid = t
        .quietly(
            &[
                "get",
                &d.resource(),
                parent,
                "-n",
                "diff-a",
                "-o",
                "jsonpath={.metadata.uid}",
            ],
            "",
        )
        .output;
    let mut child = d.object(&format!("{parent}-child"), d.least());
    child["metadata"]["ownerReferences"] = json!([{"apiVersion": d.api_version(), "kind": d.kind, "name": parent, "uid": uid,
        "controller": true, "blockOwnerDeletion": blocks}]);
    apply(
        t,
        &format!("create the child of {parent}"),
        "create -n diff-a -f -",
        &child,
    );
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{parent}-map"), "ownerReferences":
        [{"apiVersion": d.api_version(), "kind": d.kind, "name": parent, "uid": uid}]}, "data": {"a": "b"}});
    apply(
        t,
        &format!("create the map of {parent}"),
        "create -n diff-a -f -",
        &map,
    );
}

fn deletion(t: &mut Transcript, d: &Definition) {
    let resource = d.resource();
    family(t, d, "background", false);
    t.kubectl(
        "delete in the background",
        &format!("delete {resource} background -n diff-a --cascade=background"),
    );
    t.kubectl("its child goes", &format!("wait --for=delete {resource}/background-child configmap/background-map -n diff-a --timeout=30s"));
    family(t, d, "foreground", true);
    t.kubectl(
        "delete in the foreground",
        &format!("delete {resource} foreground -n diff-a --cascade=foreground --timeout=30s"),
    );
    t.kubectl(
        "its child is gone",
        &format!("get {resource}/foreground-child configmap/foreground-map -n diff-a"),
    );
    family(t, d, "orphan", true);
    t.kubectl(
        "delete and leave children",
        &format!("delete {resource} orphan -n diff-a --cascade=orphan --timeout=30s"),
    );
    t.kubectl(
        "its child has no owner",
        &format!("get {resource} orphan-child -n diff-a -o json"),
    );

    let mut held = d.object("held", d.least());
    held["metadata"]["finalizers"] = json!(["example.com/hold", "example.com/too"]);
    apply(t, "create with finalizers", "create -n diff-a -f -", &held);
    t.kubectl(
        "delete what finalizers hold",
        &format!("delete {resource} held -n diff-a --wait=false"),
    );
    t.kubectl(
        "it is being deleted",
        &format!("get {resource} held -n diff-a -o json"),
    );
    t.kubectl(
        "delete it again",
        &format!("delete {resource} held -n diff-a --wait=false"),
    );
    t.with_input("a new finalizer is refused", &["patch", &resource, "held", "-n", "diff-a", "--type=merge", "-p", r#"{"metadata":{"finalizers":["example.com/hold","example.com/too","example.com/new"]}}"#], "");
    t.with_input(
        "it may still change",
        &[
            "patch",
            &resource,
            "held",
            "-n",
            "diff-a",
            "--type=merge",
            "-p",
            r#"{"metadata":{"labels":{"still":"here"}}}"#,
        ],
        "",
    );
    t.with_input(
        "one finalizer goes",
        &[
            "patch",
            &resource,
            "held",
            "-n",
            "diff-a",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":["example.com/too"]}}"#,
            "-o",
            "json",
        ],
        "",
    );
    t.with_input(
        "the last finalizer goes",
        &[
            "patch",
            &resource,
            "held",
            "-n",
            "diff-a",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
        ],
        "",
    );
    t.kubectl("it is gone", &format!("get {resource} held -n diff-a"));
    t.kubectl(
        "delete what is not there",
        &format!("delete {resource} nothing -n diff-a"),
    );
    t.kubectl(
        "delete what may not be there",
        &format!("delete {resource} nothing -n diff-a --ignore-not-found"),
    );
    t.kubectl(
        "delete as a dry run",
        &format!("delete {resource} least -n diff-a --dry-run=server"),
    );
    let delete = |t: &mut Transcript, name: &str, path: &str, options: &Value| {
        t.with_input(
            name,
            &["delete", "--raw", path, "-f", "-"],
            &options.to_string(),
        );
    };
    let least = format!("{}/least", d.path("diff-a"));
    delete(
        t,
        "delete with a uid that is not its",
        &least,
        &json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}}),
    );
    delete(
        t,
        "delete with a version that is not its",
        &least,
        &json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": "1"}}),
    );
    delete(
        t,
        "delete with a policy that is none",
        &least,
        &json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Sideways"}),
    );
    delete(
        t,
        "delete with a good answer",
        &least,
        &json!({"apiVersion": "v1", "kind": "DeleteOptions"}),
    );
    t.kubectl(
        "delete a collection by label",
        &format!("delete {resource} -n diff-b -l odd=true"),
    );
    t.kubectl(
        "what is left of the collection",
        &format!("get {resource} -n diff-b -o name"),
    );
    t.kubectl("delete all", &format!("delete {resource} --all -n diff-b"));
}

fn built_in(t: &mut Transcript, _: &Definition) {
    t.kubectl(
        "create a config map",
        "create configmap settings -n diff-a --from-literal=a=1 --from-literal=b=2",
    );
    t.kubectl(
        "read the config map",
        "get configmap settings -n diff-a -o json",
    );
    t.kubectl(
        "config maps as a table",
        "get configmaps settings -n diff-a",
    );
    t.with_input(
        "a strategic merge patch of a config map",
        &[
            "patch",
            "configmap",
            "settings",
            "-n",
            "diff-a",
            "-p",
            r#"{"data":{"a":null,"c":"3"}}"#,
            "-o",
            "json",
        ],
        "",
    );
    t.kubectl(
        "create a secret",
        "create secret generic hidden -n diff-a --from-literal=password=hunter2",
    );
    t.kubectl("read the secret", "get secret hidden -n diff-a -o json");
    t.kubectl("secrets as a table", "get secrets hidden -n diff-a");
    t.kubectl("describe the secret", "describe secret hidden -n diff-a");
    apply(
        t,
        "a secret of text",
        "create -n diff-a -o json -f -",
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "text"}, "type": "example.com/x", "stringData": {"a": "b"}}),
    );
    apply(
        t,
        "a secret that is not base64",
        "create -n diff-a -f -",
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bad"}, "data": {"a": "not base64!"}}),
    );
    apply(
        t,
        "a config map with a bad key",
        "create -n diff-a -f -",
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad"}, "data": {"a b": "c"}}),
    );
    apply(
        t,
        "an immutable config map",
        "create -n diff-a -f -",
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stone"}, "data": {"a": "b"}, "immutable": true}),
    );
    t.with_input(
        "an immutable config map stays",
        &[
            "patch",
            "configmap",
            "stone",
            "-n",
            "diff-a",
            "--type=merge",
            "-p",
            r#"{"data":{"a":"c"}}"#,
        ],
        "",
    );
    t.kubectl(
        "create a service account",
        "create serviceaccount robot -n diff-a",
    );
    t.kubectl(
        "service accounts as a table",
        "get serviceaccounts robot -n diff-a",
    );
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "a", "image": "example.com/a:1"}, {"name": "b", "image": "example.com/b:1"}]}});
    apply(t, "apply a pod", "apply -n diff-a -f -", &pod);
    t.kubectl("pods as a table", "get pods -n diff-a");
    t.kubectl("pods as a wide table", "get pods -n diff-a -o wide");
    t.with_input(
        "a strategic merge patch of a pod",
        &[
            "patch",
            "pod",
            "pod",
            "-n",
            "diff-a",
            "-p",
            r#"{"spec":{"containers":[{"name":"b","image":"example.com/b:2"}]}}"#,
        ],
        "",
    );
    t.kubectl(
        "both containers are there",
        "get pod pod -n diff-a -o jsonpath={.spec.containers[*].name}{.spec.containers[*].image}",
    );
    t.with_input("the status of a pod", &["patch", "pod", "pod", "-n", "diff-a", "--subresource=status", "-p", r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"name":"a","ready":true,"restartCount":3,"image":"x","imageID":"y","state":{"running":{"startedAt":"2024-01-01T00:00:00Z"}}}]}}"#, "-o", "jsonpath={.status.phase}"], "");
    t.kubectl(
        "a running pod as a table",
        "get pods -n diff-a --field-selector=status.phase=Running",
    );
    apply(
        t,
        "a pod without containers",
        "create -n diff-a -f -",
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "empty"}, "spec": {}}),
    );
    apply(
        t,
        "a pod with an unknown field",
        "create -n diff-a -f -",
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "odd"}, "spec": {"containers": [{"name": "a", "image": "x"}], "strange": 1}}),
    );
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "pod", "namespace": "diff-a"}});
    apply(
        t,
        "a budget",
        "create -n diff-a -f -",
        &json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "budget"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "other"}}}}),
    );
    t.kubectl("budgets as a table", "get pdb -n diff-a");
    t.with_input(
        "evict a pod",
        &[
            "create",
            "--raw",
            "/api/v1/namespaces/diff-a/pods/pod/eviction",
            "-f",
            "-",
        ],
        &eviction.to_string(),
    );
    t.kubectl(
        "the pod is gone",
        "wait --for=delete pod/pod -n diff-a --timeout=10s",
    );
    t.with_input(
        "evict a pod that is not there",
        &[
            "create",
            "--raw",
            "/api/v1/namespaces/diff-a/pods/pod/eviction",
            "-f",
            "-",
        ],
        &eviction.to_string(),
    );
    apply(
        t,
        "a node",
        "create -f -",
        &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a", "labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"providerID": "x://1"}}),
    );
    t.kubectl("cordon the node", "cordon node-a");
    t.kubectl("taint the node", "taint node node-a key=value:NoSchedule");
    t.with_input("the status of a node", &["patch", "node", "node-a", "--subresource=status", "-p", r#"{"status":{"conditions":[{"type":"Ready","status":"True"}],"nodeInfo":{"kubeletVersion":"v1.36.0","machineID":"","systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""},"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}"#, "-o", "jsonpath={.status.conditions[*].type}"], "");
    t.kubectl("nodes as a table", "get node node-a");
    t.kubectl("nodes as a wide table", "get node node-a -o wide");
    t.kubectl("drain the node", "drain node-a --force --ignore-daemonsets");
    t.kubectl("delete the node", "delete node node-a");
    apply(
        t,
        "a lease",
        "create -n diff-a -o json -f -",
        &json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lease"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": "2024-01-01T00:00:00.000000Z"}}),
    );
    t.kubectl("leases as a table", "get lease lease -n diff-a");
    apply(
        t,
        "an event",
        "create -n diff-a -f -",
        &json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "event"}, "involvedObject": {"kind": "ConfigMap", "name": "settings", "namespace": "diff-a"}, "reason": "Happened", "message": "it happened", "type": "Normal", "source": {"component": "test"}, "lastTimestamp": "2024-01-01T00:00:00Z", "firstTimestamp": "2024-01-01T00:00:00Z", "count": 1}),
    );
    t.kubectl(
        "events by field",
        "get events -n diff-a --field-selector=involvedObject.name=settings -o name",
    );
    t.kubectl("may I", "auth can-i create pods -n diff-a");
    t.kubectl("explain a built-in kind in part", "explain configmap.data");
}

fn bad_input(t: &mut Transcript, d: &Definition) {
    let path = d.path("diff-a");
    let raw = |t: &mut Transcript, name: &str, path: &str, body: &str| {
        t.with_input(name, &["create", "--raw", path, "-f", "-"], body);
    };
    raw(t, "a body that is not json", &path, "{");
    raw(t, "a body that is a list", &path, "[]");
    raw(t, "a body that is text", &path, "\"text\"");
    raw(t, "an empty body", &path, "");
    raw(
        t,
        "a body of another kind",
        &path,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}"#,
    );
    raw(
        t,
        "a body without a kind",
        &path,
        &format!(
            r#"{{"apiVersion":"{}","metadata":{{"name":"x"}}}}"#,
            d.api_version()
        ),
    );
    raw(
        t,
        "a body of another version",
        &format!("{path}?fieldValidation=Ignore"),
        &format!(
            r#"{{"apiVersion":"{}/v9","kind":"{}","metadata":{{"name":"x"}},"spec":{{"{}":"text"}}}}"#,
            d.group, d.kind, d.text
        ),
    );
    raw(
        t,
        "metadata that is text",
        &path,
        &format!(
            r#"{{"apiVersion":"{}","kind":"{}","metadata":"x","spec":{{"{}":"text"}}}}"#,
            d.api_version(),
            d.kind,
            d.text
        ),
    );
    raw(
        t,
        "labels that are numbers",
        &path,
        &format!(
            r#"{{"apiVersion":"{}","kind":"{}","metadata":{{"name":"x","labels":{{"a":1}}}},"spec":{{"{}":"text"}}}}"#,
            d.api_version(),
            d.kind,
            d.text
        ),
    );
    raw(
        t,
        "a field validation that is none",
        &format!("{path}?fieldValidation=Maybe"),
        &d.object("x", d.least()).to_string(),
    );
    raw(
        t,
        "a dry run that is none",
        &format!("{path}?dryRun=Some"),
        &d.object("x", d.least()).to_string(),
    );
    t.kubectl("a path that is not there", "get --raw /nowhere");
    t.kubectl(
        "a group that is not there",
        "get --raw /apis/nowhere.example.com/v1",
    );
    t.kubectl(
        "a resource that is not there",
        &format!("get --raw /apis/{}/v1/namespaces/diff-a/nothings", d.group),
    );
    t.kubectl(
        "a version that is not there",
        &format!("get --raw /apis/{}/v9/{}", d.group, d.plural),
    );
    t.kubectl(
        "a subresource that is not there",
        &format!("get --raw {path}/full/nothing"),
    );
    t.kubectl(
        "a limit that is no number",
        &format!("get --raw {path}?limit=many"),
    );
    t.kubectl("a kind that is not there", "get nothings");
    apply(
        t,
        "create a kind that is not there",
        "create -f -",
        &json!({"apiVersion": "nowhere.example.com/v1", "kind": "Nothing", "metadata": {"name": "x"}}),
    );
}

fn namespaces(t: &mut Transcript, d: &Definition) {
    t.kubectl("namespaces as a table", "get namespace diff-a");
    t.kubectl("a namespace as json", "get namespace diff-a -o json");
    t.kubectl("create the namespace again", "create namespace diff-a");
    t.kubectl("a namespace with a bad name", "create namespace Bad_Name");
    let mut held = d.object("keeps", d.least());
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    apply(
        t,
        "create what holds a namespace",
        "create -n diff-b -f -",
        &held,
    );
    t.kubectl(
        "delete a namespace that is held",
        "delete namespace diff-b --wait=false",
    );
    t.kubectl(
        "wait until it is terminating",
        "wait namespace/diff-b --for=jsonpath={.status.phase}=Terminating --timeout=20s",
    );
    t.kubectl(
        "wait until it says what remains",
        "wait namespace/diff-b --for=condition=NamespaceFinalizersRemaining --timeout=30s",
    );
    apply(
        t,
        "create in a namespace that is terminating",
        "create -n diff-b -f -",
        &d.object("late", d.least()),
    );
    t.with_input(
        "let it go",
        &[
            "patch",
            &d.resource(),
            "keeps",
            "-n",
            "diff-b",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
        ],
        "",
    );
    t.quietly(
        &["wait", "--for=delete", "namespace/diff-b", "--timeout=60s"],
        "",
    );
    t.kubectl("the namespace goes", "get namespace diff-b");
    t.kubectl(
        "delete a full namespace",
        "delete namespace diff-a --timeout=60s",
    );
    t.kubectl(
        "nothing is left in it",
        &format!("get {} -n diff-a", d.resource()),
    );
    t.kubectl("the default namespace stays", "delete namespace default");
}

fn last(t: &mut Transcript, d: &Definition) {
    apply(
        t,
        "an object before the definition goes",
        "create -f -",
        &d.object("last", d.least()),
    );
    t.kubectl(
        "delete the definition",
        &format!("delete crd {} --timeout=30s", d.resource()),
    );
    t.kubectl(
        "its objects are gone",
        &format!("get --raw {}", d.path("default")),
    );
    t.kubectl("its kind is not known", &format!("get {}", d.resource()));
}
