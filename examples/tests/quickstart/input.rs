//! What a user gets wrong: one clear message each, that names object and field, before anything was
//! written.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use crate::harness::{Ended, program_with, quickstart, start};

const EXAMPLE: &str = include_str!("../../quickstart/cluster.yaml");

/// Runs it on a manifest of a user, and gives what it said when it ended badly.
fn refused(manifest: &str, arguments: &[&str]) -> (Ended, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.yaml");
    std::fs::write(&path, manifest).unwrap();
    let state = directory.path().join("state");
    let mut command = quickstart(arguments);
    command
        .arg("--manifest")
        .arg(&path)
        .arg("--dir")
        .arg(&state);
    let ended = start(command).end();
    assert!(!ended.status.success(), "{}", ended.output);
    assert!(
        !ended.errors.contains("panicked"),
        "a panic: {}",
        ended.errors
    );
    (ended, written(&state))
}

/// The objects that were applied for good: those that were sent a second time, since each is tried
/// first.
fn written(state: &Path) -> Vec<String> {
    let Ok(log) = std::fs::read_to_string(state.join("audit.jsonl")) else {
        return Vec::new();
    };
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for line in log.lines() {
        let request: serde_json::Value = serde_json::from_str(line).unwrap();
        if request["verb"] == "apply" {
            let path = request["path"].as_str().unwrap_or_default();
            *sent.entry(path.to_owned()).or_default() += 1;
        }
    }
    sent.retain(|_, times| *times > 1);
    sent.into_keys().collect()
}

#[test]
fn what_is_wrong_with_a_manifest_is_said_before_the_first_write() {
    let edit = |from: &str, to: &str| {
        assert!(EXAMPLE.contains(from), "{from}");
        EXAMPLE.replacen(from, to, 1)
    };
    let rows: [(&str, String, &[&str]); 9] = [
        (
            "unknown kind",
            edit("kind: MachineDeployment", "kind: MachineDeploiment"),
            &[
                "mine.yaml, document 5",
                "MachineDeploiment default/first-workers: kind",
                "MachineDeployment",
            ],
        ),
        (
            "unknown group",
            format!(
                "{EXAMPLE}---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: w}}\n"
            ),
            &["Widget w: apiVersion example.com/v1, kind Widget"],
        ),
        (
            "bad version",
            edit(
                "cluster.x-k8s.io/v1beta2\nkind: Cluster",
                "cluster.x-k8s.io/v1beta9\nkind: Cluster",
            ),
            &[
                "document 1: Cluster default/first: apiVersion",
                "v1beta9",
                "v1beta2",
            ],
        ),
        (
            "invalid YAML",
            edit("  name: first\n", "  name: first\n  \tlabels: }\n"),
            &["mine.yaml", "line 5 column 9"],
        ),
        (
            "missing name",
            edit("metadata:\n  name: first\n", "metadata: {}\n"),
            &["mine.yaml, document 1: Cluster: metadata.name is missing"],
        ),
        (
            "missing template",
            edit(
                "kind: ProxmoxMachineTemplate\n        name: first-workers",
                "kind: ProxmoxMachineTemplate\n        name: nowhere",
            ),
            &[
                "MachineDeployment default/first-workers: spec.template.spec.infrastructureRef",
                "ProxmoxMachineTemplate default/nowhere",
            ],
        ),
        (
            "wrong type",
            edit(
                "replicas: 3\n  infrastructureTemplate",
                "replicas: many\n  infrastructureTemplate",
            ),
            &["TalosControlPlane first-control-plane", "spec.replicas"],
        ),
        (
            "invalid value",
            edit("memoryMiB: 4096", "memoryMiB: 4097"),
            &[
                "ProxmoxMachineTemplate first-control-plane",
                "spec.template.spec.memoryMiB",
            ],
        ),
        (
            "too few addresses",
            edit("10.10.10.10-10.10.10.60", "10.10.10.10-10.10.10.12"),
            &["ProxmoxCluster default/first: spec.ipv4Config.addresses: 6 addresses are needed"],
        ),
    ];
    for (name, manifest, expected) in rows {
        let (ended, written) = refused(&manifest, &[]);
        for text in expected {
            assert!(
                ended.errors.contains(text),
                "{name}: {text:?} is missing in {}",
                ended.errors
            );
        }
        assert!(
            ended.errors.starts_with("quickstart: "),
            "{name}: {}",
            ended.errors
        );
        let lines = ended.errors.lines().count();
        assert!(lines <= 12, "{name}: one message: {}", ended.errors);
        assert_eq!(written, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_port_that_is_taken_is_said_with_its_option() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (ended, _) = refused(EXAMPLE, &["--port", &port]);
    let expected = format!("--port {port}");
    assert!(ended.errors.contains(&expected), "{}", ended.errors);
    assert!(ended.errors.contains("in use"), "{}", ended.errors);
}

#[test]
fn options_that_cannot_be_meant_are_said_by_name() {
    for (arguments, expected) in [
        (&["--only", "api"][..], "--dir"),
        (&["--speed", "0"], "--speed"),
        (&["--manifest", "/nowhere.yaml"], "--manifest /nowhere.yaml"),
        (&["--kubeconfig", "/nowhere"], "--kubeconfig /nowhere"),
        (&["--proxmox-url", "https://127.0.0.1:1"], "--proxmox-token"),
        (&["--cleanup"], "--proxmox-url"),
    ] {
        let ended = program_with(arguments);
        assert!(!ended.status.success());
        assert!(
            ended.errors.contains(expected) && !ended.errors.contains("panicked"),
            "{arguments:?}: {}",
            ended.errors
        );
    }
}

/// The pool has addresses for the machines that are asked for, and not for two more.
#[test]
fn a_step_that_cannot_end_ends_with_what_blocks_it() {
    let began = Instant::now();
    let manifest = EXAMPLE.replace("10.10.10.10-10.10.10.60", "10.10.10.10-10.10.10.16");
    // The time is for each step: a loaded machine needs some of it to come up.
    let (ended, _) = refused(&manifest, &["--timeout", "30"]);
    assert!(
        ended.errors.contains("--timeout: not within 30 s: "),
        "{}",
        ended.errors
    );
    let blocked = ended
        .errors
        .lines()
        .find(|line| line.contains("PoolExhausted"))
        .unwrap_or_else(|| panic!("{}", ended.errors));
    assert!(
        blocked.contains("IPAddressClaim/first-workers-") && blocked.contains("All 7 addresses"),
        "{blocked}"
    );
    for kind in ["Cluster/first", "MachineDeployment/first-workers"] {
        assert!(ended.errors.contains(kind), "{kind}: {}", ended.errors);
    }
    assert!(began.elapsed() > Duration::from_secs(30));
}
