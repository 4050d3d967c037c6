//! Rows of objects as lines of a terminal.

use std::{os::fd::AsFd as _, time::Duration};

/// One object, as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// How deep below the Cluster it is.
    pub depth: usize,
    /// Kind and name.
    pub object: String,
    /// Phase, or whether it is ready.
    pub phase: String,
    /// Why it is not further.
    pub reason: String,
    /// How long until its controller looks at it by itself.
    pub again: Option<Duration>,
}

/// The rows as lines of a terminal of this size: never more than fit above the cursor, never wider.
/// What is not ready is what a person looks for, and stays longest.
#[must_use]
pub fn fitted(rows: &[Row], height: usize, width: usize) -> Vec<String> {
    let room = height.saturating_sub(2).max(4);
    let shown: Vec<&Row> = if rows.len() > room {
        let matters = |row: &Row| row.depth < 2 || !row.reason.is_empty();
        let (first, then): (Vec<usize>, Vec<usize>) =
            (0..rows.len()).partition(|index| matters(&rows[*index]));
        // One line is for how many there are more.
        let mut chosen: Vec<usize> = first.into_iter().chain(then).take(room - 1).collect();
        chosen.sort_unstable();
        chosen.into_iter().map(|index| &rows[index]).collect()
    } else {
        rows.iter().collect()
    };
    let hidden = rows.len() - shown.len();
    let columns = Columns::of(&shown, width);
    let mut lines: Vec<String> = shown.iter().map(|row| columns.line(row)).collect();
    if hidden > 0 {
        lines.push(format!("... and {hidden} more"));
    }
    lines
}

/// How many rows of a terminal lines take up, those that are wider being broken.
#[must_use]
pub fn height_of(lines: &[String], width: usize) -> usize {
    let rows = |line: &String| line.chars().count().div_ceil(width.max(1)).max(1);
    lines.iter().map(rows).sum()
}

/// How wide the columns are: no wider than what is in them, and the reason has its share.
struct Columns {
    name: usize,
    phase: usize,
    width: usize,
}

impl Columns {
    fn of(rows: &[&Row], width: usize) -> Self {
        let longest = |text: fn(&Row) -> usize| rows.iter().map(|row| text(row)).max().unwrap_or(0);
        let name = longest(|row| 2 * row.depth + row.object.chars().count());
        let phase = longest(|row| row.phase.chars().count());
        Self {
            name: name.min((width * 9 / 20).max(16)),
            phase: phase.min((width / 5).max(8)),
            width,
        }
    }

    fn line(&self, row: &Row) -> String {
        let indent = "  ".repeat(row.depth);
        let room = self.name.saturating_sub(indent.len());
        let name = format!("{indent}{}", shortened(&row.object, room));
        let phase = shortened(&row.phase, self.phase);
        let again = match row.again {
            Some(again) => format!("{:.0}s", again.as_secs_f64()),
            None => String::new(),
        };
        format!(
            "{name:<name_width$} {phase:<phase_width$} {again:>4} {}",
            row.reason,
            name_width = self.name,
            phase_width = self.phase,
        )
        .trim_end()
        .chars()
        .take(self.width.saturating_sub(1))
        .collect()
    }
}

/// A text that leaves out its middle when it is too long: names differ at their ends.
fn shortened(text: &str, room: usize) -> String {
    const GAP: &str = "..";
    let count = text.chars().count();
    if count <= room {
        return text.to_owned();
    }
    let kept = room.saturating_sub(GAP.len());
    let end = kept / 2;
    let start: String = text.chars().take(kept - end).collect();
    let end: String = text.chars().skip(count - end).collect();
    format!("{start}{GAP}{end}")
}

/// Lines and columns of the terminal that is written to; 24 and 80 where nothing tells.
#[must_use]
pub fn size() -> (usize, usize) {
    // It asks the terminal that it reads from, and input may come from elsewhere.
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    let terminal = output.map_or_else(
        |_| std::process::Stdio::inherit(),
        std::process::Stdio::from,
    );
    let asked = std::process::Command::new("stty")
        .arg("size")
        .stdin(terminal)
        .output();
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let mut numbers = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .filter(|number| *number > 0);
    (numbers.next().unwrap_or(24), numbers.next().unwrap_or(80))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<Row> {
        (0..count)
            .map(|index| Row {
                depth: index.min(3),
                object: format!("Machine/m{index}"),
                phase: "Running".to_owned(),
                reason: if index % 7 == 6 {
                    "NotReady: waits".to_owned()
                } else {
                    String::new()
                },
                again: Some(Duration::from_secs(7)),
            })
            .collect()
    }

    #[test]
    fn the_tree_is_never_higher_or_wider_than_the_terminal() {
        for count in [0, 1, 9, 10, 11, 200] {
            for height in [6, 12, 24, 300] {
                let lines = fitted(&rows(count), height, 40);
                assert!(lines.len() < height, "{count} rows, {height}: {lines:#?}");
                assert!(lines.iter().all(|line| line.chars().count() < 40));
            }
        }
    }

    #[test]
    fn what_is_not_ready_stays_when_the_room_is_short() {
        let lines = fitted(&rows(40), 12, 200);
        assert!(lines.iter().any(|line| line.contains("NotReady: waits")));
        assert!(!lines.iter().any(|line| line.contains("Machine/m5 ")));
        let last = lines.last().map(String::as_str).unwrap_or_default();
        assert_eq!(last, "... and 31 more", "{lines:#?}");
    }

    #[test]
    fn a_row_says_when_its_controller_looks_again() {
        let lines = fitted(&rows(7), 24, 200);
        assert!(lines[6].contains("   7s NotReady: waits"), "{lines:#?}");
    }

    #[test]
    fn in_a_narrow_terminal_both_ends_of_a_name_and_the_reason_are_seen() {
        let row = Row {
            depth: 3,
            object: "ProxmoxMachine/first-control-plane-fxhgv".to_owned(),
            phase: "Pending".to_owned(),
            reason: "WaitingForVMPowerUp: the virtual machine starts".to_owned(),
            again: None,
        };
        for width in [60, 80] {
            let lines = fitted(std::slice::from_ref(&row), 15, width);
            let line = &lines[0];
            assert!(line.chars().count() < width, "{line}");
            for text in ["      Proxmox", "fxhgv", "Pending", "WaitingForVM"] {
                assert!(line.contains(text), "{width}: {line}");
            }
        }
    }

    #[test]
    fn lines_that_a_terminal_breaks_take_more_than_one_row() {
        let lines = ["x".repeat(59), String::new(), "y".repeat(121)];
        assert_eq!(height_of(&lines, 60), 1 + 1 + 3);
        assert_eq!(height_of(&lines, 0), 59 + 1 + 121);
    }
}
