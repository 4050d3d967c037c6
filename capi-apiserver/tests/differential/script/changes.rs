//! Changing objects: patches, apply, status, scale.

use serde_json::{Value, json};

use super::apply;
use crate::{definition::Definition, transcript::Transcript};

pub(super) fn patches(t: &mut Transcript, d: &Definition) {
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
    patch(
        t,
        "a merge patch of an inner resource",
        "merge",
        "full",
        &json!({"spec": {&d.inside: {"metadata": {"labels": {"a": null, "c": "d"}}, "spec": {"size": null}}}})
            .to_string(),
    );
    patch(
        t,
        "a merge patch that takes the type from an inner resource",
        "merge",
        "full",
        &json!({"spec": {&d.inside: {"kind": null}}}).to_string(),
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

pub(super) fn server_side_apply(t: &mut Transcript, d: &Definition) {
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
    let mut inner = Definition::resource_inside();
    let with_inner = |inner: &Value| d.object("applied", json!({&d.text: "two", &d.inside: inner}));
    apply(
        t,
        "apply an inner resource",
        "apply -n diff-a --server-side --field-manager=four -o json --show-managed-fields -f -",
        &with_inner(&inner),
    );
    inner["metadata"]["labels"] = json!({"c": "d"});
    apply(
        t,
        "apply other labels of an inner resource",
        "apply -n diff-a --server-side --field-manager=four -o json --show-managed-fields -f -",
        &with_inner(&inner),
    );
    inner["metadata"]["labels"] = json!({"c": "e"});
    apply(
        t,
        "apply labels of another's inner resource",
        "apply -n diff-a --server-side --field-manager=five -f -",
        &with_inner(&inner),
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

pub(super) fn client_side_apply(t: &mut Transcript, d: &Definition) {
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

pub(super) fn status_scale_wait(t: &mut Transcript, d: &Definition) {
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
