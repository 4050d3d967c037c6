//! kubectl on `--serve`, while the controllers work.

use std::{path::PathBuf, process::Command};

use crate::harness::{quickstart, start};

/// The kubectl of the peers; says so when it is not there.
fn kubectl() -> Option<PathBuf> {
    let found = std::env::var_os("KUBEBUILDER_ASSETS")
        .map(|assets| PathBuf::from(assets).join("kubectl"))
        .filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: KUBEBUILDER_ASSETS names no directory with kubectl");
    }
    found
}

#[test]
fn kubectl_works_while_the_controllers_do() {
    let Some(kubectl) = kubectl() else { return };
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let mut command = quickstart(["--serve", "--dir"]);
    command.arg(&state);
    let mut serving = start(command);
    serving.until("ProxmoxCluster/first  Ready");
    let run = |arguments: &[&str]| {
        let output = Command::new(&kubectl)
            .args(arguments)
            .env("KUBECONFIG", state.join("kubeconfig"))
            .env("HOME", directory.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        text
    };
    let says = |arguments: &[&str], expected: &[&str]| {
        let text = run(arguments);
        for wanted in expected {
            assert!(text.contains(wanted), "{arguments:?}: {wanted}: {text}");
        }
    };
    // While the cluster comes up.
    says(&["get", "clusters,machines"], &["NAME", "PHASE", "first"]);
    says(
        &[
            "get",
            "taloscontrolplane",
            "first-control-plane",
            "-o",
            "yaml",
        ],
        &["replicas: 3", "kind: TalosControlPlane"],
    );
    says(
        &["explain", "machinedeployment.spec.replicas"],
        &["integer"],
    );
    let template = directory.path().join("template.yaml");
    std::fs::write(
        &template,
        "apiVersion: bootstrap.cluster.x-k8s.io/v1alpha3\nkind: TalosConfigTemplate\n\
         metadata: {name: mine, namespace: default}\n\
         spec: {template: {spec: {generateType: worker, talosVersion: v1.13.2}}}\n",
    )
    .unwrap();
    let template = template.display().to_string();
    says(&["apply", "-f", &template], &["created"]);
    says(&["apply", "-f", &template], &["unchanged"]);
    says(
        &[
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            &template,
        ],
        &["serverside-applied"],
    );
    says(&["delete", "-f", &template], &["deleted"]);
    says(
        &[
            "wait",
            "--for=condition=Available",
            "cluster/first",
            "--timeout=500s",
        ],
        &["condition met"],
    );
    // A change, watched to its end.
    let mut watching = Command::new(&kubectl);
    watching
        .args(["get", "machines", "-w", "-o", "name"])
        .env("KUBECONFIG", state.join("kubeconfig"))
        .env("HOME", directory.path());
    let mut watching = start(watching);
    says(
        &["scale", "machinedeployment/first-workers", "--replicas=4"],
        &["scaled"],
    );
    says(
        &[
            "wait",
            "--for=jsonpath={.status.availableReplicas}=4",
            "machinedeployment/first-workers",
            "--timeout=500s",
        ],
        &["condition met"],
    );
    watching.until("machine.cluster.x-k8s.io/first-workers-");
    watching.kill();
    says(
        &["describe", "machinedeployment", "first-workers"],
        &["Replicas:", "Events:"],
    );
    says(&["get", "events"], &["LAST SEEN", "REASON"]);
    says(
        &["delete", "cluster", "first", "--timeout=500s"],
        &["deleted"],
    );
    assert!(!run(&["get", "machines"]).contains("first-"));
    serving.signal("INT");
    serving.end();
}
