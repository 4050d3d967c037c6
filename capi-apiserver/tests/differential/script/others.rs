//! Built-in kinds, and input that is bad.

use serde_json::json;

use super::apply;
use crate::{definition::Definition, transcript::Transcript};

pub(super) fn built_in(t: &mut Transcript, _: &Definition) {
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

pub(super) fn bad_input(t: &mut Transcript, d: &Definition) {
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
