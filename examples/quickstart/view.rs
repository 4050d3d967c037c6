//! What a person sees: a tree of the cluster's objects, redrawn in place in a terminal, lines with
//! times otherwise.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write as _},
    time::Duration,
};

use capi_core::clock::Clock;
use jiff::Timestamp;
use serde_json::{Value, json};

/// One object, as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// How deep below the Cluster it is.
    pub(crate) depth: usize,
    /// Kind and name.
    pub(crate) object: String,
    /// Phase, or whether it is ready.
    pub(crate) phase: String,
    /// Why it is not further.
    pub(crate) reason: String,
}

/// Something worth remembering.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// Since the beginning.
    pub(crate) at: Duration,
    /// What happened.
    pub(crate) what: String,
    /// `metadata.uid` of the object.
    pub(crate) uid: String,
    /// `metadata.resourceVersion` of the object then.
    pub(crate) version: String,
}

/// Shows progress, and remembers it.
pub(crate) struct View {
    clock: Clock,
    began: Timestamp,
    terminal: bool,
    json: bool,
    drawn: usize,
    known: BTreeMap<String, Row>,
    moments: Vec<Moment>,
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
            drawn: 0,
            known: BTreeMap::new(),
            moments: Vec::new(),
        }
    }

    /// Time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::try_from(self.clock.now().duration_since(self.began)).unwrap_or_default()
    }

    /// A line that stays.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        if self.json {
            println!(
                "{}",
                json!({ "seconds": self.elapsed().as_secs_f64(), "message": text })
            );
        } else {
            println!("{:>7.2}s  {text}", self.elapsed().as_secs_f64());
        }
    }

    /// Remembers that something happened to an object.
    pub(crate) fn remember(&mut self, what: impl Into<String>, object: &Value) {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        self.moments.push(Moment {
            at: self.elapsed(),
            what: what.into(),
            uid: text("/metadata/uid"),
            version: text("/metadata/resourceVersion"),
        });
    }

    /// Shows the objects as they are.
    pub(crate) fn show(&mut self, objects: &[(usize, Value)]) {
        let rows: Vec<Row> = objects
            .iter()
            .map(|(depth, object)| row(*depth, object))
            .collect();
        for (row, (_, object)) in rows.iter().zip(objects) {
            let changed = self
                .known
                .get(&row.object)
                .is_none_or(|known| known.phase != row.phase);
            if changed {
                self.remember(format!("{} {}", row.object, row.phase), object);
            }
        }
        if self.terminal {
            self.draw(&rows);
        } else {
            for row in &rows {
                if self.known.get(&row.object) != Some(row) {
                    self.line(row);
                }
            }
        }
        self.known = rows
            .into_iter()
            .map(|row| (row.object.clone(), row))
            .collect();
    }

    /// What is not ready and why, for whoever waits in vain.
    pub(crate) fn blocked(&self) -> Vec<String> {
        self.known
            .values()
            .filter(|row| !row.reason.is_empty())
            .map(|row| format!("{}: {} ({})", row.object, row.phase, row.reason))
            .collect()
    }

    /// Prints what was remembered.
    pub(crate) fn timeline(&mut self) {
        self.clear();
        if self.json {
            for moment in &self.moments {
                println!(
                    "{}",
                    json!({
                        "seconds": moment.at.as_secs_f64(), "what": moment.what,
                        "uid": moment.uid, "resourceVersion": moment.version,
                    })
                );
            }
            return;
        }
        println!("\nTimeline (seconds, what, uid, resourceVersion)");
        for moment in &self.moments {
            println!(
                "{:>8.2}  {:<64} {} {}",
                moment.at.as_secs_f64(),
                moment.what,
                moment.uid,
                moment.version
            );
        }
    }

    fn line(&self, row: &Row) {
        let at = self.elapsed().as_secs_f64();
        if self.json {
            println!(
                "{}",
                json!({
                    "seconds": at, "object": row.object, "phase": row.phase, "reason": row.reason,
                })
            );
            return;
        }
        let indent = "  ".repeat(row.depth);
        let reason = if row.reason.is_empty() {
            String::new()
        } else {
            format!("  {}", row.reason)
        };
        println!("{at:>7.2}s  {indent}{}  {}{reason}", row.object, row.phase);
    }

    fn clear(&mut self) {
        if self.drawn > 0 {
            print!("\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
            self.flush();
        }
    }

    fn draw(&mut self, rows: &[Row]) {
        self.clear();
        let (height, width) = size();
        let room = height.saturating_sub(3).max(4);
        // What is not ready is what a person looks for: it goes last off the screen.
        let mut shown: Vec<&Row> = rows.iter().collect();
        if shown.len() > room {
            shown.retain(|row| row.depth < 2 || !row.reason.is_empty());
            shown.truncate(room);
        }
        let hidden = rows.len() - shown.len();
        let mut lines = 0;
        for row in shown {
            let indent = "  ".repeat(row.depth);
            let name = format!("{indent}{}", row.object);
            let line: String = format!("{name:<56} {:<14} {}", row.phase, row.reason)
                .chars()
                .take(width.saturating_sub(1))
                .collect();
            println!("{line}");
            lines += 1;
        }
        if hidden > 0 {
            println!("... and {hidden} more");
            lines += 1;
        }
        self.drawn = lines;
        self.flush();
    }

    fn flush(&self) {
        // A closed pipe is noticed by the next line that matters.
        let _ = std::io::stdout().flush();
    }
}

/// Lines and columns of the terminal.
fn size() -> (usize, usize) {
    let asked = std::process::Command::new("stty")
        .arg("size")
        .stdin(std::process::Stdio::inherit())
        .output();
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().unwrap_or(24), numbers.next().unwrap_or(80))
}

fn row(depth: usize, object: &Value) -> Row {
    let kind = object["kind"].as_str().unwrap_or_default();
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
    let state = condition(deciding);
    let ready = state.is_some_and(|state| state["status"] == "True");
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
            let first = message.lines().next().unwrap_or_default();
            let reason = state["reason"].as_str().unwrap_or_default();
            if first.is_empty() {
                reason.to_owned()
            } else {
                format!("{reason}: {first}")
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
        depth,
        object: format!("{kind}/{name}"),
        phase: format!("{phase}{replicas}"),
        reason,
    }
}
