//! One whole run, watched from outside: what it connects to, what it logs, and in which order
//! things happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    sync::OnceLock,
};

use base64::Engine as _;
use serde_json::Value;

use crate::harness::{Ended, program, quickstart, start};

/// What is left of the run.
struct Run {
    directory: tempfile::TempDir,
    ended: Ended,
    traced: bool,
}

/// The run: under strace where there is one, with the log at its most talkative.
fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let plain = quickstart(["--json", "--dir"]);
        let traced = Command::new("strace").arg("-V").output().is_ok();
        let mut command = if traced {
            let mut command = Command::new("strace");
            command
                .args(["-f", "-qq", "-e", "trace=connect,bind", "-o"])
                .arg(directory.path().join("strace.log"))
                .arg(program())
                .args(plain.get_args());
            command
        } else {
            println!("skipped: no strace here");
            plain
        };
        command
            .arg(directory.path().join("state"))
            .env("RUST_LOG", "trace")
            .env_remove("PROXMOX_TOKEN");
        Run {
            ended: start(command).end().well(),
            directory,
            traced,
        }
    })
}

#[test]
fn nothing_but_loopback_is_ever_dialled_or_listened_on() {
    let run = run();
    if !run.traced {
        return;
    }
    let log = std::fs::read_to_string(run.directory.path().join("strace.log")).unwrap();
    let internet: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("AF_INET"))
        .collect();
    assert!(internet.len() > 20, "it does use sockets: {log}");
    for line in internet {
        assert!(
            line.contains("inet_addr(\"127.") || line.contains("\"::1\""),
            "{line}"
        );
    }
}

/// Everything in a directory that is secret: values of secret keys, tokens, private keys.
fn secrets(state: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    // What files of YAML hold: keys and tokens are long words in them.
    for file in [
        "secrets.yaml",
        "talosconfig",
        "workload.kubeconfig",
        "kubeconfig",
    ] {
        let text = std::fs::read_to_string(state.join(file)).unwrap();
        for (index, line) in text.lines().enumerate() {
            let Some((key, value)) = line.trim().split_once(':') else {
                continue;
            };
            let secret = ["key", "client-key-data", "token", "secret"]
                .iter()
                .any(|known| key.trim_start_matches("- ").to_lowercase().ends_with(known));
            let value = value.trim().trim_matches('"');
            if secret && value.len() >= 8 {
                found.insert(format!("{file}:{} {key}", index + 1), value.to_owned());
            }
        }
    }
    // The simulated datacenter's token.
    let routes: Value =
        serde_json::from_slice(&std::fs::read(state.join("nodes.json")).unwrap()).unwrap();
    for pair in routes["credentials"].as_array().unwrap() {
        if pair[0] == "secret" {
            let value = pair[1].as_str().unwrap();
            found.insert("nodes.json secret".to_owned(), value.to_owned());
        }
    }
    found
}

/// The forms in which a value may be seen: as it is, in base64, and what it is base64 of.
fn forms(value: &str) -> Vec<String> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut forms = vec![value.to_owned(), base64.encode(value)];
    if let Ok(inner) = base64.decode(value)
        && let Ok(text) = String::from_utf8(inner)
    {
        // Of a PEM only the lines of the key itself tell anything.
        forms.extend(
            text.lines()
                .filter(|line| !line.starts_with('-') && line.len() > 20)
                .map(str::to_owned),
        );
    }
    forms
}

#[test]
fn a_log_at_trace_level_contains_no_secret_value() {
    let run = run();
    let state = run.directory.path().join("state");
    let secrets = secrets(&state);
    assert!(secrets.len() >= 8, "{:?}", secrets.keys());
    let log = &run.ended.errors;
    assert!(log.lines().count() > 1000, "the log is a log");
    for (name, value) in &secrets {
        for form in forms(value) {
            if let Some(at) = log.find(&form) {
                let line = log[..at].lines().count();
                let whole = log.lines().nth(line.saturating_sub(1)).unwrap_or_default();
                let shown: String = whole.replace(&form, "<HERE>").chars().take(600).collect();
                panic!("{name} is in line {line} of the log: {shown}");
            }
        }
    }
}

/// One change of one object.
struct Change {
    seconds: f64,
    version: u64,
    object: String,
    kind: String,
    phase: String,
    holds: BTreeSet<String>,
    control_plane: bool,
}

/// Messages with their time, and changes in the order of their versions.
fn told(output: &str) -> (Vec<(f64, String)>, Vec<Change>) {
    let (mut messages, mut changes) = (Vec::new(), Vec::new());
    for line in output.lines() {
        let told: Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
        let seconds = told["seconds"].as_f64().unwrap();
        if told["message"].is_string() {
            messages.push((seconds, text("message")));
        } else if told["object"].is_string() {
            assert!(!text("uid").is_empty(), "{line}");
            changes.push(Change {
                seconds,
                version: text("resourceVersion").parse().unwrap(),
                kind: text("object").split('/').next().unwrap().to_owned(),
                object: text("object"),
                phase: text("phase"),
                holds: told["true"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|name| name.as_str().map(str::to_owned))
                    .collect(),
                control_plane: told["controlPlane"] == true,
            });
        }
    }
    changes.sort_by_key(|change| change.version);
    (messages, changes)
}

fn first(changes: &[Change], found: impl Fn(&Change) -> bool) -> u64 {
    changes
        .iter()
        .find(|change| found(change))
        .map(|change| change.version)
        .expect("it happened")
}

fn last(changes: &[Change], found: impl Fn(&Change) -> bool) -> u64 {
    changes
        .iter()
        .rev()
        .find(|change| found(change))
        .map(|change| change.version)
        .expect("it happened")
}

#[test]
fn control_planes_come_one_at_a_time_and_workers_after_the_first() {
    let (_, changes) = told(&run().ended.output);
    let mut ready: BTreeMap<&str, bool> = BTreeMap::new();
    for change in changes
        .iter()
        .filter(|change| change.kind == "Machine" && change.control_plane)
        .take_while(|change| change.phase != "Deleting")
    {
        let known = ready.contains_key(&*change.object);
        if !known {
            assert!(
                ready.values().all(|ready| *ready),
                "{} is made while another one is not running",
                change.object
            );
        }
        ready.insert(&change.object, change.phase == "Running");
    }
    assert_eq!(ready.len(), 3);
    let initialized = first(&changes, |change| {
        change.kind == "Cluster" && change.holds.contains("ControlPlaneInitialized")
    });
    // Workers boot meanwhile: Talos tries to join until it can.
    let worker = first(&changes, |change| {
        change.kind == "Machine" && !change.control_plane && change.phase == "Running"
    });
    assert!(worker > initialized, "{worker} after {initialized}");
}

#[test]
fn a_rolling_replacement_stays_within_its_bounds() {
    let (messages, changes) = told(&run().ended.output);
    let at = |text: &str| {
        let found = messages.iter().find(|(_, message)| message.contains(text));
        found.map(|(seconds, _)| *seconds).expect("it was said")
    };
    let (begin, end) = (at("replacing workers"), at("all workers are new"));
    let mut workers: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut fewest, mut most) = (usize::MAX, 0);
    for change in &changes {
        if change.kind != "Machine" || change.control_plane {
            continue;
        }
        if change.phase == "Gone" {
            workers.remove(&*change.object);
        } else {
            workers.insert(&change.object, &change.phase);
        }
        if (begin..=end).contains(&change.seconds) {
            let running = workers.values().filter(|phase| **phase == "Running");
            fewest = fewest.min(running.count());
            most = most.max(workers.len());
        }
    }
    assert_eq!(
        (fewest, most),
        (5, 6),
        "none is missing, and there is one more at most"
    );
}

#[test]
fn a_deletion_goes_from_the_workers_to_the_cluster() {
    let (_, changes) = told(&run().ended.output);
    let gone = |kind: &'static str, control_plane: bool| {
        move |change: &Change| {
            change.kind == kind && change.phase == "Gone" && change.control_plane == control_plane
        }
    };
    let workers = last(&changes, gone("Machine", false));
    let control_plane = first(&changes, |change| {
        change.kind == "Machine" && change.control_plane && change.phase == "Deleting"
    });
    assert!(workers < control_plane, "workers go first");
    let machines = last(&changes, gone("Machine", true));
    let infrastructure = last(&changes, gone("ProxmoxCluster", false));
    assert!(
        machines < infrastructure,
        "machines before their datacenter"
    );
    let cluster = last(&changes, gone("Cluster", false));
    assert!(infrastructure < cluster, "the Cluster is the last");
    for kind in [
        "ProxmoxMachine",
        "IPAddressClaim",
        "IPAddress",
        "TalosConfig",
    ] {
        let last = changes.iter().rev().find(|change| change.kind == kind);
        assert!(last.is_some_and(|change| change.phase == "Gone"), "{kind}");
    }
}

#[test]
fn the_timeline_names_uid_and_version_of_each_object() {
    let moments: Vec<Value> = run()
        .ended
        .output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|told: &Value| told["what"].is_string())
        .collect();
    assert!(moments.len() > 100, "{}", moments.len());
    for moment in &moments {
        let text = |field: &str| moment[field].as_str().unwrap_or_default();
        assert_eq!(text("uid").len(), 36, "{moment}");
        assert!(text("resourceVersion").parse::<u64>().is_ok(), "{moment}");
    }
    let said = &run().ended.output;
    for text in [
        "SIMULATED",
        "next: kubectl --kubeconfig",
        "next: talosctl --talosconfig",
    ] {
        assert!(said.contains(text), "{text}");
    }
}

#[test]
fn what_is_kept_for_its_owner_nobody_else_can_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let state = run().directory.path().join("state");
    for file in [
        "kubeconfig",
        "workload.kubeconfig",
        "talosconfig",
        "secrets.yaml",
        "nodes.json",
        "pve.json",
    ] {
        let mode = state.join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(std::fs::read_dir(state.join("isos")).unwrap().count() > 0);
}
