//! Clients that nobody here wrote, against the embedded server on its socket: an old kubectl,
//! clusterctl and an operator in Python.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::embedded::Embedded;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Runs a program and returns whether it succeeded and all that it wrote.
fn run(program: &Path, kubeconfig: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// A definition that lets everything through, with labels.
fn open(group: &str, version: &str, kind: &str, plural: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"), "labels": labels},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    })
}

fn old_kubectl() -> Option<PathBuf> {
    let path = std::env::var_os("KUBECTL_1_20")
        .map_or_else(|| PathBuf::from("/usr/bin/kubectl"), PathBuf::from);
    let version = Command::new(&path)
        .args(["version", "--client"])
        .output()
        .ok()?;
    String::from_utf8_lossy(&version.stdout)
        .contains("v1.20.")
        .then_some(path)
}

#[test]
fn kubectl_1_20_applies_validates_explains_and_deletes() {
    let Some(kubectl) = old_kubectl() else {
        println!("skipped: KUBECTL_1_20 names no kubectl 1.20, and /usr/bin/kubectl is none");
        return;
    };
    let runtime = runtime();
    let embedded = runtime.block_on(Embedded::start());
    let kubeconfig = embedded.kubeconfig();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "description": "A thing.",
                "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "description": "How large."}}}}}}}]}});
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": {"size": 1}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    let mut wrong = thing.clone();
    wrong["spec"]["unheard"] = json!(1);
    let steps: Vec<(&str, Value, bool, &str)> = vec![
        ("apply -f -", definition, true, "things.example.com created"),
        (
            "wait --for=condition=Established crd/things.example.com --timeout=10s",
            Value::Null,
            true,
            "condition met",
        ),
        (
            "apply -f -",
            thing.clone(),
            true,
            "thing.example.com/one created",
        ),
        (
            "apply -f -",
            thing.clone(),
            true,
            "thing.example.com/one unchanged",
        ),
        ("apply -f -", wrong, false, "unknown field \"unheard\""),
        (
            "apply --server-side -f -",
            thing.clone(),
            true,
            "serverside-applied",
        ),
        (
            "apply --dry-run=server -f -",
            thing,
            true,
            "(server dry run)",
        ),
        ("explain thing.spec.size", Value::Null, true, "How large."),
        ("get things", Value::Null, true, "AGE"),
        ("describe thing one", Value::Null, true, "Size:  1"),
        ("apply -f -", pod, true, "pod/pod created"),
        ("get pods -o wide", Value::Null, true, "NOMINATED NODE"),
        ("label pod pod a=b", Value::Null, true, "labeled"),
        ("delete pod pod", Value::Null, true, "deleted"),
        ("delete thing one", Value::Null, true, "deleted"),
        ("get things", Value::Null, true, "No resources found"),
    ];
    for (arguments, input, succeeds, expected) in steps {
        let input = if input.is_null() {
            String::new()
        } else {
            input.to_string()
        };
        let (success, text) = run(
            &kubectl,
            &kubeconfig,
            &arguments.split(' ').collect::<Vec<_>>(),
            &input,
        );
        assert_eq!(success, succeeds, "{arguments}: {text}");
        assert!(text.contains(expected), "{arguments}: {text}");
    }
}

#[test]
fn clusterctl_describes_a_cluster() {
    let (Some(clusterctl), Some(assets)) = (
        std::env::var_os("CLUSTERCTL").map(PathBuf::from),
        std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from),
    ) else {
        println!("skipped: CLUSTERCTL or KUBEBUILDER_ASSETS is not set");
        return;
    };
    let runtime = runtime();
    let embedded = runtime.block_on(Embedded::start());
    let kubeconfig = embedded.kubeconfig();
    let core = "cluster.x-k8s.io";
    let contract = json!({"cluster.x-k8s.io/v1beta2": "v1"});
    let mut manifest = vec![
        open(
            "infrastructure.cluster.x-k8s.io",
            "v1",
            "WidgetCluster",
            "widgetclusters",
            &contract,
        ),
        open(
            "controlplane.cluster.x-k8s.io",
            "v1",
            "WidgetControlPlane",
            "widgetcontrolplanes",
            &contract,
        ),
    ];
    for (kind, plural) in [
        ("Cluster", "clusters"),
        ("Machine", "machines"),
        ("MachineSet", "machinesets"),
        ("MachineDeployment", "machinedeployments"),
        ("MachinePool", "machinepools"),
    ] {
        manifest.push(open(core, "v1beta2", kind, plural, &json!({})));
    }
    let text: String = manifest
        .iter()
        .map(|definition| format!("---\n{definition}\n"))
        .collect();
    let (success, told) = run(
        &assets.join("kubectl"),
        &kubeconfig,
        &["apply", "-f", "-"],
        &text,
    );
    assert!(success, "{told}");
    let objects = [
        json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "east"}, "spec": {
            "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "WidgetCluster", "name": "east"},
            "controlPlaneRef": {"apiGroup": "controlplane.cluster.x-k8s.io", "kind": "WidgetControlPlane", "name": "plane"}}}),
        json!({"apiVersion": "infrastructure.cluster.x-k8s.io/v1", "kind": "WidgetCluster", "metadata": {"name": "east"}}),
        json!({"apiVersion": "controlplane.cluster.x-k8s.io/v1", "kind": "WidgetControlPlane", "metadata": {"name": "plane"}}),
    ];
    let text: String = objects
        .iter()
        .map(|object| format!("---\n{object}\n"))
        .collect();
    let (success, told) = run(
        &assets.join("kubectl"),
        &kubeconfig,
        &["apply", "-f", "-"],
        &text,
    );
    assert!(success, "{told}");
    let (success, told) = run(
        &clusterctl,
        &kubeconfig,
        &["describe", "cluster", "east"],
        "",
    );
    assert!(success, "{told}");
    for line in [
        "Cluster/east",
        "WidgetCluster/east",
        "WidgetControlPlane/plane",
    ] {
        assert!(told.contains(line), "{told}");
    }
}

const OPERATOR: &str = r"
import kopf

@kopf.on.create('things.example.com')
def created(spec, **_):
    return {'size': spec.get('size')}

@kopf.on.update('things.example.com')
def updated(spec, patch, **_):
    patch.status['now'] = spec.get('size')

@kopf.on.delete('things.example.com')
def deleted(**_):
    pass
";

#[test]
fn the_smallest_operator_of_kopf_works() {
    let (Some(python), Some(assets)) = (
        std::env::var_os("PYTHON").map(PathBuf::from),
        std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from),
    ) else {
        println!("skipped: PYTHON or KUBEBUILDER_ASSETS is not set");
        return;
    };
    if !Command::new(&python)
        .args(["-c", "import kopf"])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
    {
        println!("skipped: the PYTHON has no kopf");
        return;
    }
    let runtime = runtime();
    let embedded = runtime.block_on(Embedded::start());
    let kubeconfig = embedded.kubeconfig();
    let kubectl = |arguments: &[&str], input: &str| {
        let (success, told) = run(&assets.join("kubectl"), &kubeconfig, arguments, input);
        assert!(success, "{arguments:?}: {told}");
    };
    kubectl(
        &["apply", "-f", "-"],
        &open("example.com", "v1", "Thing", "things", &json!({})).to_string(),
    );
    kubectl(
        &[
            "wait",
            "--for=condition=Established",
            "crd/things.example.com",
            "--timeout=10s",
        ],
        "",
    );
    let directory = tempfile::tempdir().unwrap();
    let operator = directory.path().join("operator.py");
    std::fs::write(&operator, OPERATOR).unwrap();
    let mut child = Command::new(&python)
        .args(["-m", "kopf", "run", "--namespace=default", "--verbose"])
        .arg(&operator)
        .env("KUBECONFIG", &kubeconfig)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains("watch-stream for things"));
    // The rest is read, so that the operator does not wait for a reader.
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        assert!(begun, "the operator does not begin to watch");
        let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": {"size": 3}});
        kubectl(&["apply", "-f", "-"], &thing.to_string());
        kubectl(
            &[
                "wait",
                "thing/one",
                "--for=jsonpath={.status.created.size}=3",
                "--timeout=30s",
            ],
            "",
        );
        kubectl(
            &[
                "patch",
                "thing",
                "one",
                "--type=merge",
                "-p",
                r#"{"spec":{"size":5}}"#,
            ],
            "",
        );
        kubectl(
            &[
                "wait",
                "thing/one",
                "--for=jsonpath={.status.now}=5",
                "--timeout=30s",
            ],
            "",
        );
        kubectl(&["delete", "thing", "one", "--timeout=30s"], "");
    }));
    child.kill().unwrap();
    child.wait().unwrap();
    let log = rest.join().unwrap();
    if let Err(panic) = outcome {
        println!("{}", log.join("\n"));
        std::panic::resume_unwind(panic);
    }
}
