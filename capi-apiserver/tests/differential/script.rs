//! The script: what users and tools do with a custom resource and with built-in kinds.

use crate::{
    definition::Shape,
    step::{Step, step},
};

/// An object of the random kind; `spec` is indented by two.
fn object(name: &str, spec: &str) -> String {
    format!("apiVersion: <group>/v1\nkind: <kind>\nmetadata:\n  name: {name}\nspec:\n{spec}")
}

fn dependent(name: &str, owner: &str, uid: &str, block: bool) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  ownerReferences:\n  - {{apiVersion: <group>/v1, kind: <kind>, name: {owner}, uid: <{uid}>, blockOwnerDeletion: {block}}}\n"
    )
}

pub(crate) fn steps(shape: &Shape) -> Vec<Step> {
    let mut steps = definitions(shape);
    steps.extend(create());
    steps.extend(read());
    steps.extend(apply());
    steps.extend(patch());
    steps.extend(change());
    steps.extend(watch());
    steps.extend(delete());
    steps.extend(builtin());
    steps.extend(bad_input());
    steps
}

fn definitions(shape: &Shape) -> Vec<Step> {
    vec![
        step("the definition is created", "create -f -").input(shape.definition()),
        step(
            "the definition is established",
            "wait --for=condition=Established crd/<crd> --timeout=10s",
        ),
        step("the definition is applied over itself", "apply -f -").input(shape.definition()),
        step(
            "its conditions are told",
            "get crd <crd> -o jsonpath={.status.conditions[*].reason}",
        ),
        step(
            "its accepted names are told",
            "get crd <crd> -o jsonpath={.status.acceptedNames}",
        ),
        step(
            "its stored versions are told",
            "get crd <crd> -o jsonpath={.status.storedVersions}",
        ),
        step(
            "its resource is discovered",
            "api-resources --api-group=<group> --no-headers",
        )
        .until("<kind>"),
        step("discovery tells subresources", "get --raw /apis/<group>/v1"),
        step("discovery tells the group", "get --raw /apis/<group>"),
        step("the kind is explained", "explain <plural>").until("KIND"),
        step("a field is explained", "explain <plural>.spec.<text>"),
        step("all fields are explained", "explain <plural> --recursive"),
        step("nothing is there yet", "get <plural>"),
    ]
}

fn create() -> Vec<Step> {
    vec![
        step("an object is created", "create -f -").input(object("a", "  <text>: some-text\n  <either>: 5\n  <free>: {x: {z: [1, 2]}}\n  <list>: [{<key>: k1}, {<key>: k2, value: 2}]\n")),
        step("it is created once", "create -f -").input(object("a", "  <text>: some-text\n")),
        step("a required field is missing", "create -f - --validate=false").input(object("bad", "  <number>: <most>\n")),
        step("a number is too small", "create -f -").input(object("bad", "  <text>: x\n  <number>: <below>\n")),
        step("a value is not in the enumeration", "create -f -").input(object("bad", "  <text>: x\n  <choice>: other\n")),
        step("a text breaks its pattern and its length", "create -f -").input(object("bad", "  <text>: AAAAAAAAAAAAAAAAAAAAAAAAA\n")),
        step("a rule of two fields is broken", "create -f -").input(object("bad", "  <text>: x\n  <low>: 5\n  <high>: 4\n")),
        step("a key is there twice", "create -f -").input(object("bad", "  <text>: x\n  <list>: [{<key>: k}, {<key>: k}]\n")),
        step("a type is wrong", "create -f - --validate=false").input(object("bad", "  <text>: 5\n")),
        step("many things are wrong", "create -f - --validate=false").input(object("bad", "  <number>: <below>\n  <choice>: other\n  <either>: [1]\n")),
        step("an unknown field is refused", "create -f - --validate=strict").input(object("bad", "  <text>: x\n  unknown: 1\n")),
        step("an unknown field is warned of", "create -f - --validate=warn").input(object("warned", "  <text>: x\n  unknown: 1\n")),
        step("an unknown field is ignored", "create -f - --validate=ignore").input(object("ignored", "  <text>: x\n  unknown: 1\n")),
        step("unknown fields are gone", "get <plural> warned ignored -o jsonpath={.items[*].spec}"),
        step("a name is generated", "create -f -").input("apiVersion: <group>/v1\nkind: <kind>\nmetadata:\n  generateName: generated-\n  labels: {made: up}\nspec: {<text>: x}\n"),
        step("a dry run creates nothing", "create -f - --dry-run=server").input(object("dry", "  <text>: x\n")),
        step("and nothing is there", "get <plural> dry"),
        step("a name breaks its grammar", "create -f -").input(object("A_b", "  <text>: x\n")),
        step("a label breaks its grammar", "create -f -").input("apiVersion: <group>/v1\nkind: <kind>\nmetadata:\n  name: bad\n  labels: {'a b': 'c d'}\nspec: {<text>: x}\n"),
        step("a finalizer breaks its grammar", "create -f -").input("apiVersion: <group>/v1\nkind: <kind>\nmetadata:\n  name: bad\n  finalizers: ['a b']\nspec: {<text>: x}\n"),
        step("a namespace is missing", "create -n missing -f -").input(object("a", "  <text>: x\n")),
    ]
}

fn read() -> Vec<Step> {
    vec![
        step("an object is read", "get <plural> a -o yaml"),
        step("an object is printed", "get <plural> a"),
        step("objects are printed wide", "get <plural> a warned -o wide"),
        step("objects are named", "get <plural> -o name"),
        step("a short name is enough", "get sn<plural> --no-headers").until("x"),
        step(
            "managed fields are shown",
            "get <plural> a -o yaml --show-managed-fields",
        ),
        step("labels select", "get <plural> -l made=up -o name"),
        step(
            "sets of labels select",
            "get <plural> -l 'made notin (up)' -o name",
        ),
        step(
            "fields select",
            "get <plural> --field-selector metadata.name=a -o name",
        ),
        step(
            "a field cannot be selected",
            "get <plural> --field-selector spec.<text>=x",
        ),
        step("a selector is malformed", "get <plural> -l 'a b'"),
        step(
            "a list comes in chunks",
            "get <plural> --chunk-size=1 -o name",
        ),
        step(
            "a chunk says how much is left",
            "get --raw '<api>?limit=1&labelSelector='",
        ),
        step("a missing object is not found", "get <plural> missing"),
        step("a missing resource is not found", "get missing"),
        step("only metadata is read", "get --raw <api>/missing"),
        step("an object is described", "describe <plural> a"),
    ]
}

fn apply() -> Vec<Step> {
    vec![
        step("client-side apply creates", "apply -f -")
            .input(object("b", "  <text>: one\n  <choice>: <one>\n")),
        step("client-side apply changes nothing", "apply -f -")
            .input(object("b", "  <text>: one\n  <choice>: <one>\n")),
        step("client-side apply changes", "apply -f -").input(object("b", "  <text>: two\n")),
        step(
            "what is no longer applied is gone",
            "get <plural> b -o jsonpath={.spec}",
        ),
        step(
            "selectable fields select",
            "get <plural> --field-selector spec.<choice>=<one> -o name",
        ),
        step("what would change is told", "diff -f -").input(object("b", "  <text>: three\n")),
        step(
            "server-side apply creates",
            "apply --server-side --field-manager=one -f -",
        )
        .input(object(
            "s",
            "  <text>: one\n  <list>: [{<key>: k1, value: 1}]\n",
        )),
        step(
            "server-side apply changes nothing",
            "apply --server-side --field-manager=one -f -",
        )
        .input(object(
            "s",
            "  <text>: one\n  <list>: [{<key>: k1, value: 1}]\n",
        )),
        step(
            "another manager adds an item",
            "apply --server-side --field-manager=two -f -",
        )
        .input(object(
            "s",
            "  <text>: one\n  <list>: [{<key>: k2, value: 2}]\n",
        )),
        step(
            "another manager conflicts",
            "apply --server-side --field-manager=two -f -",
        )
        .input(object(
            "s",
            "  <text>: two\n  <list>: [{<key>: k1, value: 9}]\n",
        )),
        step(
            "another manager forces",
            "apply --server-side --field-manager=two --force-conflicts -f -",
        )
        .input(object(
            "s",
            "  <text>: two\n  <list>: [{<key>: k2, value: 2}]\n",
        )),
        step(
            "owners are told",
            "get <plural> s -o yaml --show-managed-fields",
        ),
        step(
            "what is no longer applied by its only owner is gone",
            "apply --server-side --field-manager=two --force-conflicts -o yaml -f -",
        )
        .input(object("s", "  <text>: two\n")),
        step(
            "apply of an unknown field is refused",
            "apply --server-side --field-manager=two -f -",
        )
        .input(object("s", "  <text>: two\n  unknown: 1\n")),
        step(
            "apply of an invalid object is refused",
            "apply --server-side --field-manager=one -f -",
        )
        .input(object("s", "  <text>: two\n  <number>: <below>\n")),
        step(
            "a dry run applies nothing",
            "apply --server-side --dry-run=server --field-manager=one -f -",
        )
        .input(object("dry", "  <text>: two\n")),
        step(
            "client-side apply goes over to server-side",
            "apply --server-side -f -",
        )
        .input(object("b", "  <text>: over\n")),
    ]
}

fn patch() -> Vec<Step> {
    vec![
        step(
            "a merge patch changes",
            "patch <plural> a --type=merge -p '{\"spec\":{\"<text>\":\"merged\",\"<free>\":null}}'",
        ),
        step(
            "a merge patch changes nothing",
            "patch <plural> a --type=merge -p '{\"spec\":{\"<text>\":\"merged\"}}'",
        ),
        step(
            "a JSON patch changes",
            "patch <plural> a --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/<text>\",\"value\":\"json\"}]'",
        ),
        step(
            "a JSON patch tests",
            "patch <plural> a --type=json -p '[{\"op\":\"test\",\"path\":\"/spec/<text>\",\"value\":\"other\"}]'",
        ),
        step(
            "a JSON patch removes what is not there",
            "patch <plural> a --type=json -p '[{\"op\":\"remove\",\"path\":\"/spec/missing\"}]'",
        ),
        step(
            "a strategic merge patch is not for custom resources",
            "patch <plural> a --type=strategic -p '{\"spec\":{\"<text>\":\"x\"}}'",
        ),
        step(
            "a patch makes it invalid",
            "patch <plural> a --type=merge -p '{\"spec\":{\"<text>\":\"\"}}'",
        ),
        step(
            "a patch is no patch",
            "patch <plural> a --type=merge -p '[]'",
        ),
        step(
            "a patch sets what may not change after",
            "patch <plural> a --type=merge -p '{\"spec\":{\"<fixed>\":\"f\"}}'",
        ),
        step(
            "a transition rule is broken",
            "patch <plural> a --type=merge -p '{\"spec\":{\"<fixed>\":\"g\"}}'",
        ),
        step(
            "status is patched",
            "patch <plural> a --subresource=status --type=merge -p '{\"status\":{\"phase\":\"Running\",\"selector\":\"x=y\",\"<count>\":2},\"spec\":{\"<text>\":\"no\"}}'",
        ),
        step(
            "status does not change spec",
            "get <plural> a -o jsonpath={.spec}{.status}{.metadata.generation}",
        ),
        step(
            "spec does not change status",
            "patch <plural> a --type=merge -p '{\"status\":{\"phase\":\"no\"}}' -o jsonpath={.status.phase}{.metadata.generation}",
        ),
        step(
            "a missing object is not patched",
            "patch <plural> missing --type=merge -p '{}'",
        ),
    ]
}

fn change() -> Vec<Step> {
    vec![
        step("scale without a count", "scale <plural> a --replicas=3"),
        step(
            "a count is set",
            "patch <plural> a --type=merge -p '{\"spec\":{\"<count>\":1}}'",
        ),
        step("an object is scaled", "scale <plural> a --replicas=3"),
        step("the scale is read", "get --raw <api>/a/scale"),
        step(
            "the scale is below zero",
            "patch <plural> a --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":-1}}'",
        ),
        step(
            "a scale is not as expected",
            "scale <plural> a --current-replicas=9 --replicas=4",
        ),
        step("a label is added", "label <plural> a x=1"),
        step("a label is not overwritten", "label <plural> a x=2"),
        step("a label is overwritten", "label <plural> a x=2 --overwrite"),
        step(
            "an annotation is added",
            "annotate <plural> a note='some text'",
        ),
        step("an object is edited", "edit <plural> b"),
        step(
            "a condition is waited for",
            "wait <plural>/a --for=jsonpath={.status.phase}=Running --timeout=5s",
        ),
        step("an object is kept for replacing", "get <plural> a -o json").keep("old"),
        step("an object is replaced", "replace -f -").input("<old>"),
        step("an object is changed meanwhile", "label <plural> a y=1"),
        step("an old object does not replace", "replace -f -").input("<old>"),
        step("replacing needs an object", "replace -f -").input(object("missing", "  <text>: x\n")),
    ]
}

fn watch() -> Vec<Step> {
    vec![
        step("a version is kept", "get --raw <api>?limit=1").keep("ignored"),
        step(
            "the version of an object is kept",
            "get <plural> a -o jsonpath={.metadata.resourceVersion}",
        )
        .keep("version"),
        step("something happens", "label <plural> a watched=1"),
        step("something more happens", "label <plural> b watched=1"),
        step(
            "a watch resumes",
            "get --raw '<api>?watch=1&timeoutSeconds=1&resourceVersion=<version>'",
        ),
        step(
            "a watch selects",
            "get --raw '<api>?watch=1&timeoutSeconds=1&resourceVersion=<version>&fieldSelector=metadata.name=b'",
        ),
        step(
            "a watch begins with what is there",
            "get --raw '<api>?watch=1&timeoutSeconds=1&labelSelector=watched=1'",
        ),
        step(
            "a watch streams a list",
            "get --raw '<api>?watch=1&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&labelSelector=watched=1'",
        ),
        step(
            "a watch from the future is refused",
            "get --raw '<api>?watch=1&timeoutSeconds=1&resourceVersion=99999999'",
        ),
        step(
            "a version that is none is refused",
            "get --raw '<api>?watch=1&resourceVersion=x'",
        ),
        step(
            "a list as of a version",
            "get --raw '<api>?resourceVersion=<version>&resourceVersionMatch=Exact&fieldSelector=metadata.name=a'",
        ),
        step(
            "a match without a version is refused",
            "get --raw '<api>?resourceVersionMatch=Exact'",
        ),
        step(
            "a token that is none is refused",
            "get --raw '<api>?continue=x'",
        ),
    ]
}

fn delete() -> Vec<Step> {
    vec![
        step("a dry run deletes nothing", "delete <plural> warned --dry-run=server"),
        step("an object is deleted", "delete <plural> warned"),
        step("an object is deleted once", "delete <plural> warned"),
        step("deleting what is not there is allowed", "delete <plural> warned --ignore-not-found"),
        step("an owner is made", "create -f -").input(object("owner1", "  <text>: x\n")),
        step("its uid is kept", "get <plural> owner1 -o jsonpath={.metadata.uid}").keep("uid1"),
        step("a dependent is made", "create -f -").input(dependent("dependent1", "owner1", "uid1", false)),
        step("the owner is deleted in the background", "delete <plural> owner1 --cascade=background"),
        step("the dependent follows", "get configmap dependent1").until("NotFound"),
        step("a second owner is made", "create -f -").input(object("owner2", "  <text>: x\n")),
        step("the second uid is kept", "get <plural> owner2 -o jsonpath={.metadata.uid}").keep("uid2"),
        step("a second dependent is made", "create -f -").input(dependent("dependent2", "owner2", "uid2", true)),
        step("the owner is deleted in the foreground", "delete <plural> owner2 --cascade=foreground"),
        step("the second dependent is gone", "get configmap dependent2"),
        step("a third owner is made", "create -f -").input(object("owner3", "  <text>: x\n")),
        step("the third uid is kept", "get <plural> owner3 -o jsonpath={.metadata.uid}").keep("uid3"),
        step("a third dependent is made", "create -f -").input(dependent("dependent3", "owner3", "uid3", true)),
        step("the owner is deleted and forgotten", "delete <plural> owner3 --cascade=orphan"),
        step("the third dependent stays", "get configmap dependent3 -o yaml"),
        step("a held object is made", "create -f -").input("apiVersion: <group>/v1\nkind: <kind>\nmetadata:\n  name: held\n  finalizers: [example.com/hold]\nspec: {<text>: x}\n"),
        step("a held object is marked", "delete <plural> held --wait=false"),
        step("a held object is still there", "get <plural> held -o yaml"),
        step("a deleted object gets no new finalizers", "patch <plural> held --type=merge -p '{\"metadata\":{\"finalizers\":[\"example.com/hold\",\"example.com/new\"]}}'"),
        step("the last finalizer goes", "patch <plural> held --type=merge -p '{\"metadata\":{\"finalizers\":null}}'"),
        step("a held object is gone", "get <plural> held"),
        step("generated objects are deleted by label", "delete <plural> -l made=up"),
        step("all are deleted", "delete <plural> --all"),
        step("none is left", "get <plural>"),
        step("a collection is deleted", "delete --raw <api>"),
    ]
}

fn builtin() -> Vec<Step> {
    vec![
        step("a namespace is created", "create namespace space"),
        step("a namespace is read", "get namespace space -o yaml"),
        step("a secret is created", "-n space create secret generic s --from-literal=a=b"),
        step("a secret is read", "-n space get secret s -o yaml"),
        step("secrets are printed", "-n space get secrets"),
        step("a secret takes texts", "-n space apply -f -").input("apiVersion: v1\nkind: Secret\nmetadata: {name: t}\nstringData: {x: why}\nimmutable: true\n"),
        step("an immutable secret does not change", "-n space patch secret t -p '{\"data\":{\"x\":\"eg==\"}}'"),
        step("a secret has keys", "-n space create -f -").input("apiVersion: v1\nkind: Secret\nmetadata: {name: u}\ndata: {'a b': eA==}\n"),
        step("a config map is created", "-n space create configmap c --from-literal=a=b"),
        step("a config map is patched strategically", "-n space patch configmap c -p '{\"data\":{\"d\":\"e\"}}'"),
        step("config maps are printed", "-n space get configmaps c"),
        step("an unknown field of a config map is refused", "-n space create -f -").input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nunknown: 1\n"),
        step("a service account is created", "-n space create serviceaccount robot"),
        step("a lease is created", "-n space create -f -").input("apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: l}\nspec: {holderIdentity: me, leaseDurationSeconds: 15}\n"),
        step("leases are printed", "-n space get leases"),
        step("an event is created", "-n space create -f -").input("apiVersion: v1\nkind: Event\nmetadata: {name: e}\ninvolvedObject: {kind: ConfigMap, name: c, namespace: space}\nreason: Tested\nmessage: it was tested\ntype: Normal\n"),
        step("an event reads in its other group", "get --raw /apis/events.k8s.io/v1/namespaces/space/events/e"),
        step("a node is created", "create -f -").input("apiVersion: v1\nkind: Node\nmetadata: {name: node1}\nspec: {providerID: 'test://1'}\n"),
        step("a node is cordoned", "cordon node1"),
        step("a node is tainted", "taint node node1 a=b:NoSchedule"),
        step("a node has taints", "get node node1 -o jsonpath={.spec.taints[*].key}"),
        step("a node is uncordoned", "uncordon node1"),
        step("a node's status is patched", "patch node node1 --subresource=status -p '{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}'"),
        step("nodes are printed", "get nodes"),
        step("a node is deleted", "delete node node1"),
        step("a permission is asked", "auth can-i create pods"),
        step("a self is asked", "auth whoami -o jsonpath={.status.userInfo.username}"),
        step("a namespace is deleted", "delete namespace space"),
        step("nothing is left in it", "-n space get configmaps,secrets,leases"),
        step("nothing is created in it", "-n space create configmap late"),
        step("the default namespace stays", "delete namespace default"),
    ]
}

fn bad_input() -> Vec<Step> {
    vec![
        step("a body is no JSON", "create --raw <api> -f -").input("{"),
        step("a body is a list", "create --raw <api> -f -").input("[]"),
        step("a body has no kind", "create --raw <api> -f -").input("{\"apiVersion\":\"<group>/v1\",\"metadata\":{\"name\":\"x\"}}"),
        step("a body has another version", "create --raw <api> -f -").input("{\"apiVersion\":\"<group>/v2\",\"kind\":\"<kind>\",\"metadata\":{\"name\":\"x\"}}"),
        step("a body has another kind", "create --raw <api> -f -").input("{\"apiVersion\":\"<group>/v1\",\"kind\":\"Other\",\"metadata\":{\"name\":\"x\"}}"),
        step("a body is of another namespace", "create --raw <api> -f -").input("{\"apiVersion\":\"<group>/v1\",\"kind\":\"<kind>\",\"metadata\":{\"name\":\"x\",\"namespace\":\"other\"},\"spec\":{\"<text>\":\"x\"}}"),
        step("a body has no name", "create --raw <api> -f -").input("{\"apiVersion\":\"<group>/v1\",\"kind\":\"<kind>\",\"metadata\":{},\"spec\":{\"<text>\":\"x\"}}"),
        step("a body has a version", "create --raw <api> -f -").input("{\"apiVersion\":\"<group>/v1\",\"kind\":\"<kind>\",\"metadata\":{\"name\":\"x\",\"resourceVersion\":\"5\"},\"spec\":{\"<text>\":\"x\"}}"),
        step("metadata has another type", "create --raw <api> -f -").input("{\"apiVersion\":\"<group>/v1\",\"kind\":\"<kind>\",\"metadata\":{\"name\":5},\"spec\":{\"<text>\":\"x\"}}"),
        step("a path leads nowhere", "get --raw /apis/<group>/v1/other"),
        step("a version is not served", "get --raw /apis/<group>/v9"),
        step("a group is not served", "get --raw /apis/other.example.com/v1"),
        step("a subresource is not there", "get --raw <api>/x/other"),
        step("a limit is no number", "get --raw <api>?limit=x"),
        step("the definition is deleted", "delete crd <crd>"),
        step("its resource is gone", "get --raw /apis/<group>/v1/<plural>").until("NotFound"),
    ]
}
