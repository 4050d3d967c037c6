//! Three processes that share nothing but a directory and sockets, of which one is killed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{PATIENCE, Running, quickstart, start};

/// SplitMix64: which moments are chosen follows from the seed.
struct Moments(u64);

impl Moments {
    fn next(&mut self, from: u64, to: u64) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Duration::from_millis(from + (z ^ (z >> 31)) % (to - from))
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => otherwise,
    }
}

fn part(name: &str, directory: &Path) -> Running {
    let mut command = quickstart(["--json", "--only", name, "--dir"]);
    command.arg(directory);
    start(command)
}

/// How many of all kills fall into each phase, by the message that begins it.
fn shares(kills: u64) -> [(&'static str, u64); 4] {
    let (create, scale, delete) = (kills.div_ceil(3), kills / 6, kills.div_ceil(6));
    let replace = kills - create - scale - delete;
    [
        ("applied ", create),
        ("scaling workers", scale),
        ("replacing workers", replace),
        ("deleting the cluster", delete),
    ]
}

#[test]
fn controllers_that_are_killed_again_and_again_end_exactly_right() {
    let kills = number("QUICKSTART_KILLS", 6);
    let seed = number("QUICKSTART_SEED", 1);
    let mut moments = Moments(seed);
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let _api = part("api", directory);
    let _simulators = part("simulators", directory);
    let mut controllers = Some(part("controllers", directory));
    let mut steps = part("steps", directory);

    // Many kills fit into a phase only when they come fast, before it can go on.
    let longest = (7_500 / kills.max(1)).clamp(250, 3000);
    let (mut due, mut done, mut phase) = (0, 0, "");
    let mut next: Option<Instant> = None;
    let deadline = Instant::now() + PATIENCE + Duration::from_secs(4) * kills as u32;
    loop {
        assert!(
            Instant::now() < deadline,
            "seed {seed}, {done} kills: not done in time:\n{}",
            steps.heard.join("\n")
        );
        let within = next.map_or(Duration::from_secs(1), |next| {
            next.saturating_duration_since(Instant::now())
        });
        match steps.next_line(within) {
            Some(Some(line)) => {
                let begins = shares(kills)
                    .into_iter()
                    .find(|(message, _)| line.contains(&format!("\"message\":\"{message}")));
                if let Some((message, share)) = begins {
                    (due, phase) = (due + share, message);
                    next = (due > 0).then(|| Instant::now() + moments.next(50, longest.min(600)));
                }
            }
            Some(None) => break,
            None if next.is_some_and(|next| next <= Instant::now()) => {
                if let Some(running) = controllers.take() {
                    running.kill();
                }
                controllers = Some(part("controllers", directory));
                done += 1;
                due -= 1;
                println!("{phase:?}: killed ({done})");
                next = (due > 0).then(|| Instant::now() + moments.next(100, longest));
            }
            None => {}
        }
    }
    let ended = steps.end().well();
    assert!(
        ended.output.contains("no virtual machine, image, address"),
        "{}",
        ended.output
    );
    assert_eq!(done, kills, "every kill found its moment");

    // Each machine was cloned once: none was lost on the way and made again.
    let requests = std::fs::read_to_string(directory.join("audit.jsonl")).unwrap();
    let made = requests
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|request| {
            request["resource"] == "proxmoxmachines"
                && request["subresource"].is_null()
                && request["code"] == 201
        })
        .count();
    // The simulators' last words come a moment later than the controllers'.
    let path = directory.join("pve.json");
    let deadline = Instant::now() + PATIENCE;
    let datacenter = loop {
        let text = std::fs::read(&path).unwrap();
        let datacenter: Value = serde_json::from_slice(&text).unwrap();
        let guests = datacenter["guests"].as_object().unwrap().len();
        if guests == 2 || Instant::now() > deadline {
            break datacenter;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let clones = datacenter["tasks"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|upid| upid.contains(":qmclone:"))
        .count();
    assert_eq!(clones, made, "seed {seed}: clones, and ProxmoxMachines");
    assert!(made >= 13, "3 control planes, 5 workers, 5 more: {made}");
    let guests: Vec<&String> = datacenter["guests"].as_object().unwrap().keys().collect();
    assert_eq!(guests, ["100", "9000"], "the foreign one, and the template");
}
