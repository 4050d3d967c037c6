//! Rows of objects as lines of a terminal.

use std::time::Duration;

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
    let mut shown: Vec<&Row> = rows.iter().collect();
    if shown.len() > room {
        shown.retain(|row| row.depth < 2 || !row.reason.is_empty());
        // One line is for how many there are more.
        shown.truncate(room - 1);
    }
    let hidden = rows.len() - shown.len();
    let mut lines: Vec<String> = shown.into_iter().map(|row| line(row, width)).collect();
    if hidden > 0 {
        lines.push(format!("... and {hidden} more"));
    }
    lines
}

fn line(row: &Row, width: usize) -> String {
    let name = format!("{}{}", "  ".repeat(row.depth), row.object);
    let again = match row.again {
        Some(again) => format!("{:.0}s", again.as_secs_f64()),
        None => String::new(),
    };
    format!("{name:<52} {:<16} {again:>5}  {}", row.phase, row.reason)
        .chars()
        .take(width.saturating_sub(1))
        .collect()
}

/// Lines and columns of the terminal; 24 and 80 where nothing tells.
#[must_use]
pub fn size() -> (usize, usize) {
    let asked = std::process::Command::new("stty")
        .arg("size")
        .stdin(std::process::Stdio::inherit())
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
        assert_eq!(last, "... and 33 more", "{lines:#?}");
    }

    #[test]
    fn a_row_says_when_its_controller_looks_again() {
        let lines = fitted(&rows(7), 24, 200);
        assert!(lines[6].contains("    7s  NotReady: waits"), "{lines:#?}");
    }
}
