//! Tasks: the long operations of Proxmox VE, named by a UPID.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Client, Error, ErrorClass};

/// Name of a task: `UPID:node:pid:pstart:starttime:type:id:user:`.
///
/// Kept as it came; only the node, the type and the id are read out of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upid(String);

/// A text that is no UPID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no task id: expected UPID:node:pid:pstart:starttime:type:id:user:")]
pub struct InvalidUpid(String);

impl Upid {
    /// The node on which the task runs.
    #[must_use]
    pub fn node(&self) -> &str {
        self.field(1)
    }

    /// The type, such as `qmclone`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.field(5)
    }

    /// What it works on, mostly a VMID; may be empty.
    #[must_use]
    pub fn id(&self) -> &str {
        self.field(6)
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn field(&self, index: usize) -> &str {
        self.0.split(':').nth(index).unwrap_or_default()
    }
}

impl FromStr for Upid {
    type Err = InvalidUpid;

    fn from_str(text: &str) -> Result<Self, InvalidUpid> {
        let fields: Vec<&str> = text.split(':').collect();
        let hexadecimal =
            |field: &str| field.len() >= 8 && field.bytes().all(|byte| byte.is_ascii_hexdigit());
        let valid = fields.len() >= 8
            && fields[0] == "UPID"
            && !fields[1].is_empty()
            && fields[1].bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_'
            })
            && fields[2..5].iter().all(|field| hexadecimal(field))
            && !fields[5].is_empty();
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUpid(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Upid {
    type Error = InvalidUpid;

    fn try_from(text: String) -> Result<Self, InvalidUpid> {
        text.parse()
    }
}

impl From<Upid> for String {
    fn from(upid: Upid) -> Self {
        upid.0
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// It runs.
    Running,
    /// It ended well.
    Succeeded {
        /// Number of warnings in its log.
        warnings: u32,
    },
    /// It ended with this exit status.
    Failed(String),
}

impl TaskState {
    /// Reads the two fields of a task's status. `WARNINGS: n` is success.
    #[must_use]
    pub fn read(status: &str, exit_status: Option<&str>) -> Self {
        match exit_status {
            Some("OK") => Self::Succeeded { warnings: 0 },
            Some(text) => match text
                .strip_prefix("WARNINGS: ")
                .and_then(|count| count.trim().parse().ok())
            {
                Some(warnings) => Self::Succeeded { warnings },
                None => Self::Failed(text.to_owned()),
            },
            None if status == "running" => Self::Running,
            // Stopped without an exit status: Proxmox VE is about to write it.
            None => Self::Running,
        }
    }
}

/// How long and how often to look at a task.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Wait before the first look; the usual duration of such a task is a good value.
    pub first: Duration,
    /// Wait before the second look; it doubles from there.
    pub then: Duration,
    /// Longest wait between two looks.
    pub longest: Duration,
    /// After this the wait ends with [`Error::TaskPending`]; the task itself goes on.
    pub deadline: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(300),
            then: Duration::from_millis(300),
            longest: Duration::from_secs(5),
            deadline: Duration::from_secs(600),
        }
    }
}

impl Client {
    /// Waits until a task ends. Returns the number of warnings in its log.
    ///
    /// Dropping the future ends the wait, not the task.
    ///
    /// # Errors
    /// [`Error::Task`] with the last lines of the log when it ends badly, [`Error::TaskPending`] after the deadline,
    /// and errors of the calls; a node that does not answer is waited for.
    pub async fn wait_for_task(&self, upid: &Upid, patience: Patience) -> Result<u32, Error> {
        let mut waited = Duration::ZERO;
        let mut pause = patience.first;
        let mut next = patience.then;
        loop {
            if !pause.is_zero() {
                self.clock().sleep(pause).await;
                waited += pause;
            }
            match self.task_state(upid).await {
                Ok(TaskState::Running) => {}
                Ok(TaskState::Succeeded { warnings }) => {
                    if warnings > 0 {
                        tracing::warn!(task = %upid, warnings, "the task ended with warnings");
                    }
                    return Ok(warnings);
                }
                Ok(TaskState::Failed(exit_status)) => {
                    return Err(self.task_failure(upid, exit_status).await);
                }
                Err(error)
                    if matches!(
                        error.class(),
                        ErrorClass::NodeDown | ErrorClass::Unreachable
                    ) =>
                {
                    tracing::debug!(task = %upid, %error, "the task's node does not answer");
                }
                Err(error) => return Err(error),
            }
            if waited >= patience.deadline {
                return Err(Error::TaskPending {
                    upid: upid.clone(),
                    waited,
                });
            }
            pause = next.min(patience.longest);
            next = (next * 2).min(patience.longest);
        }
    }

    /// The error for a failed task, with the tail of its log where that can be read.
    pub async fn task_failure(&self, upid: &Upid, exit_status: String) -> Error {
        let log = match self.task_log(upid, 20).await {
            Ok(lines) => lines,
            Err(error) => {
                tracing::debug!(task = %upid, %error, "the task's log cannot be read");
                Vec::new()
            }
        };
        let log = log
            .into_iter()
            .filter(|line| {
                !line.is_empty() && !line.starts_with("TASK ERROR") && *line != exit_status
            })
            .rev()
            .take(3)
            .collect::<Vec<_>>();
        Error::Task {
            upid: upid.clone(),
            exit_status,
            log: log.into_iter().rev().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_type_and_id_are_read_from_the_upid() {
        let rows = [
            (
                "UPID:pve1:000003E8:00001B58:6B03D211:qmclone:9000:root@pam!capmox:",
                "pve1",
                "qmclone",
                "9000",
            ),
            (
                "UPID:pve-2:0000ABCD:123456789:6B03D211:imgcopy::root@pam:",
                "pve-2",
                "imgcopy",
                "",
            ),
        ];
        for (text, node, kind, id) in rows {
            let upid: Upid = text.parse().unwrap();
            assert_eq!(
                (upid.node(), upid.kind(), upid.id(), upid.as_str()),
                (node, kind, id, text)
            );
        }
        for text in [
            "",
            "UPID",
            "UPID:pve1:1:2:3:qmclone:9000:root@pam:",
            "UPID:p/x:000003E8:00001B58:6B03D211:qmclone:1:u:",
        ] {
            assert!(text.parse::<Upid>().is_err(), "{text}");
        }
    }

    #[test]
    fn warnings_are_success_and_a_missing_exit_status_is_running() {
        assert_eq!(
            TaskState::read("stopped", Some("OK")),
            TaskState::Succeeded { warnings: 0 }
        );
        assert_eq!(
            TaskState::read("stopped", Some("WARNINGS: 3")),
            TaskState::Succeeded { warnings: 3 }
        );
        assert_eq!(
            TaskState::read("stopped", Some("clone failed")),
            TaskState::Failed("clone failed".into())
        );
        assert_eq!(TaskState::read("running", None), TaskState::Running);
        assert_eq!(TaskState::read("stopped", None), TaskState::Running);
        assert_eq!(
            TaskState::read("stopped", Some("unexpected status")),
            TaskState::Failed("unexpected status".into())
        );
    }
}
