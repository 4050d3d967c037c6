//! Lists, watches, deletion, namespaces and the end of a definition.

use serde_json::{Value, json};

use super::apply;
use crate::{definition::Definition, transcript::Transcript};

pub(super) fn lists_and_watches(t: &mut Transcript, d: &Definition) {
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

pub(super) fn deletion(t: &mut Transcript, d: &Definition) {
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

pub(super) fn namespaces(t: &mut Transcript, d: &Definition) {
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

pub(super) fn last(t: &mut Transcript, d: &Definition) {
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
