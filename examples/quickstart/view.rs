//! What a person sees: a tree of the cluster's objects, redrawn in place in a terminal, lines with
//! times otherwise; and the timeline of what happened.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write as _},
    time::Duration,
};

use capi_core::{
    clock::Clock,
    runtime::{ObjectKey, Runtime},
};
use capi_examples::terminal::{Row, fitted, height_of, size};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::tree::{Branch, Seen, Tree};

/// Characters of a reason in a line; all of it is in the JSON, and in what a time-out says.
const LONGEST: usize = 160;

/// Something worth remembering.
#[derive(Clone, Debug)]
struct Moment {
    at: Duration,
    what: String,
    uid: String,
    version: String,
}

/// Shows progress, and remembers it.
pub(crate) struct View {
    clock: Clock,
    began: Timestamp,
    terminal: bool,
    json: bool,
    /// The lines of the tree that stand above the cursor.
    drawn: Vec<String>,
    known: BTreeMap<String, Row>,
    moments: Vec<Moment>,
    /// The controllers, when they are in this process: they know when they look again.
    controllers: Option<Runtime>,
}

impl View {
    /// A view that begins now.
    pub(crate) fn new(clock: Clock, json: bool) -> Self {
        let terminal = !json && std::io::stdout().is_terminal();
        let began = clock.now();
        Self {
            clock,
            began,
            terminal,
            json,
            drawn: Vec::new(),
            known: BTreeMap::new(),
            moments: Vec::new(),
            controllers: None,
        }
    }

    /// Shows when these controllers look at an object again.
    pub(crate) fn ask(&mut self, controllers: Runtime) {
        self.controllers = Some(controllers);
    }

    /// Time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::try_from(self.clock.now().duration_since(self.began)).unwrap_or_default()
    }

    /// A line that stays.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        let at = self.elapsed().as_secs_f64();
        if self.json {
            println!("{}", json!({ "seconds": at, "message": text }));
        } else {
            println!("{at:>7.2}s  {text}");
        }
    }

    /// Remembers that something happened to an object.
    pub(crate) fn remember(&mut self, what: impl Into<String>, object: &Value) {
        let text = |field: &str| {
            object["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        self.moments.push(Moment {
            at: self.elapsed(),
            what: what.into(),
            uid: text("uid"),
            version: text("resourceVersion"),
        });
    }

    /// Shows what changed.
    pub(crate) fn show(&mut self, news: &[Seen], tree: &Tree) {
        for seen in news {
            self.take_in(seen);
        }
        if self.terminal && !news.is_empty() {
            let rows: Vec<Row> = tree
                .objects()
                .map(|(branch, object)| row(branch, object, self.again(branch, object)))
                .collect();
            self.draw(&rows);
        }
    }

    fn take_in(&mut self, seen: &Seen) {
        let mut row = row(seen.branch, &seen.object, None);
        if seen.gone {
            "Gone".clone_into(&mut row.phase);
            row.reason.clear();
        }
        let known = self.known.get(&row.object).cloned();
        if known.as_ref().is_none_or(|known| known.phase != row.phase) {
            self.remember(format!("{} {}", row.object, row.phase), &seen.object);
        }
        if !self.terminal && known.as_ref() != Some(&row) || self.json {
            self.line(&row, seen);
        }
        if seen.gone {
            self.known.remove(&row.object);
        } else {
            self.known.insert(row.object.clone(), row);
        }
    }

    /// What is not ready and why, from the Cluster down, for whoever waits in vain.
    pub(crate) fn blocked(&self, tree: &Tree) -> Vec<String> {
        tree.objects()
            .map(|(branch, object)| row(branch, object, None))
            .filter(|row| !row.reason.is_empty())
            .map(|row| {
                let indent = "  ".repeat(row.depth);
                format!("{indent}{}: {}: {}", row.object, row.phase, row.reason)
            })
            .collect()
    }

    /// Prints what was remembered.
    pub(crate) fn timeline(&mut self) {
        self.clear();
        if !self.json {
            println!("\nTimeline (seconds, what, uid, resourceVersion)");
        }
        for moment in &self.moments {
            let at = moment.at.as_secs_f64();
            if self.json {
                println!(
                    "{}",
                    json!({
                        "seconds": at, "what": moment.what,
                        "uid": moment.uid, "resourceVersion": moment.version,
                    })
                );
            } else {
                println!(
                    "{at:>8.2}  {:<64} {} {}",
                    moment.what, moment.uid, moment.version
                );
            }
        }
    }

    fn line(&self, row: &Row, seen: &Seen) {
        let at = self.elapsed().as_secs_f64();
        let again = self.again(seen.branch, &seen.object);
        if self.json {
            let metadata = &seen.object["metadata"];
            let holds: Vec<&Value> = seen.object["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|condition| condition["status"] == "True")
                .map(|condition| &condition["type"])
                .collect();
            println!(
                "{}",
                json!({
                    "seconds": at, "object": row.object, "phase": row.phase,
                    "reason": row.reason, "true": holds,
                    "again": again.map(|again| again.as_secs_f64()),
                    "controlPlane":
                        metadata["labels"].get("cluster.x-k8s.io/control-plane").is_some(),
                    "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"],
                })
            );
            return;
        }
        let indent = "  ".repeat(row.depth);
        let reason = match row.reason.as_str() {
            "" => String::new(),
            reason if reason.chars().count() <= LONGEST => format!("  {reason}"),
            reason => {
                let short: String = reason.chars().take(LONGEST).collect();
                format!("  {short}...")
            }
        };
        let again = match again {
            Some(again) if !row.reason.is_empty() => {
                format!("  (again in {:.0} s)", again.as_secs_f64())
            }
            _ => String::new(),
        };
        println!(
            "{at:>7.2}s  {indent}{}  {}{reason}{again}",
            row.object, row.phase
        );
    }

    /// How long until the controller looks at an object by itself.
    fn again(&self, branch: &Branch, object: &Value) -> Option<Duration> {
        let runtime = self.controllers.as_ref()?;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let key = ObjectKey::new(text("namespace"), text("name"));
        let due = runtime.next_look(&branch.resource(), &key)?;
        Duration::try_from(due.duration_since(runtime.clock().now())).ok()
    }

    fn clear(&mut self) {
        if !self.drawn.is_empty() {
            // The terminal may have become narrower, and broken them.
            let rows = height_of(&self.drawn, size().1);
            print!("\x1b[{rows}A\r\x1b[J");
            self.drawn.clear();
            self.flush();
        }
    }

    fn draw(&mut self, rows: &[Row]) {
        self.clear();
        let (height, width) = size();
        self.drawn = fitted(rows, height, width);
        for line in &self.drawn {
            println!("{line}");
        }
        self.flush();
    }

    fn flush(&self) {
        // A closed pipe is noticed by the next line that matters.
        let _ = std::io::stdout().flush();
    }
}

fn row(branch: &Branch, object: &Value, again: Option<Duration>) -> Row {
    let kind = branch.kind;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let conditions = object["status"]["conditions"].as_array();
    let condition = |wanted: &str| {
        conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == wanted)
    };
    let deciding = match kind {
        "Cluster" | "MachineDeployment" | "TalosControlPlane" => "Available",
        "MachineSet" => "MachinesReady",
        _ => "Ready",
    };
    // What a summary sums up says more.
    let summed_up = || {
        let mut conditions = conditions.into_iter().flatten();
        conditions.find(|one| {
            one["type"] != deciding && one["status"] == "False" && one["type"] != "Paused"
        })
    };
    let state = match condition(deciding) {
        Some(state) if state["reason"] == "IssuesReported" => summed_up().or(Some(state)),
        state => state,
    };
    // What has no conditions is there, and that is all.
    let ready = match kind {
        "IPAddress" | "InClusterIPPool" => true,
        _ => state.is_some_and(|state| state["status"] == "True"),
    };
    let deleting = !object["metadata"]["deletionTimestamp"].is_null();
    let phase = match object["status"]["phase"].as_str() {
        _ if deleting => "Deleting".to_owned(),
        Some(phase) => phase.to_owned(),
        None if ready => "Ready".to_owned(),
        None => "Pending".to_owned(),
    };
    let reason = match state {
        Some(state) if !ready => {
            let message = state["message"].as_str().unwrap_or_default();
            let message = message.split('\n').map(str::trim).collect::<Vec<_>>();
            let reason = state["reason"].as_str().unwrap_or_default();
            match message.join(" ").as_str() {
                "" => reason.to_owned(),
                message => format!("{reason}: {message}"),
            }
        }
        _ => String::new(),
    };
    let replicas = match (
        object["status"]["readyReplicas"].as_i64(),
        object["spec"]["replicas"].as_i64(),
    ) {
        (Some(ready), Some(wanted)) => format!(" {ready}/{wanted}"),
        (None, Some(wanted)) => format!(" 0/{wanted}"),
        _ => String::new(),
    };
    Row {
        depth: branch.depth,
        object: format!("{kind}/{name}"),
        phase: format!("{phase}{replicas}"),
        reason,
        again,
    }
}
