//! What can go wrong in a call to Proxmox VE, and what kind of thing it is.
//!
//! Proxmox VE reports most errors as status 500 with the text in the reason phrase; the text is the only thing that
//! tells a vanished virtual machine from a held lock. [`ErrorClass`] is that reading, made once, here.

use std::collections::BTreeMap;
use std::fmt;

use super::task::Upid;

/// Why a call to Proxmox VE failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Proxmox VE answered with an error.
    #[error("{method} {path}: {answer}")]
    Api {
        /// HTTP method of the call.
        method: http::Method,
        /// Path of the call below `/api2/json`.
        path: String,
        /// What it answered.
        answer: ApiError,
    },
    /// No usable answer came: connection, TLS, or a broken HTTP message.
    #[error("{method} {path}: {source}")]
    Transport {
        /// HTTP method of the call.
        method: http::Method,
        /// Path of the call below `/api2/json`.
        path: String,
        /// The cause.
        source: TransportError,
    },
    /// The answer was not what this call is documented to answer.
    #[error("{method} {path}: the answer could not be read: {reason}")]
    Decode {
        /// HTTP method of the call.
        method: http::Method,
        /// Path of the call below `/api2/json`.
        path: String,
        /// What was expected and found.
        reason: String,
    },
    /// A task ended with something else than success.
    #[error("task {}: {exit_status}{}", upid.kind(), log_tail(log))]
    Task {
        /// The task.
        upid: Upid,
        /// Its exit status, as Proxmox VE words it.
        exit_status: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// A task was still running when the caller's patience ended; it goes on.
    #[error("task {} still runs after {waited:?}", upid.kind())]
    TaskPending {
        /// The task.
        upid: Upid,
        /// How long it was waited for.
        waited: std::time::Duration,
    },
    /// The client cannot be built from what was given.
    #[error("Proxmox client: {0}")]
    Configuration(String),
}

fn log_tail(log: &[String]) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!(" ({})", log.join("; "))
    }
}

/// An error answer of Proxmox VE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status code. 595 to 599 come from the node that forwards a call to another one.
    pub status: u16,
    /// The text: the reason phrase, or the body's `message` where it says more.
    pub message: String,
    /// Texts by parameter, of a failed parameter verification.
    pub parameters: BTreeMap<String, String>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.status)?;
        if !self.message.is_empty() {
            write!(formatter, " {}", self.message)?;
        }
        for (name, text) in &self.parameters {
            write!(formatter, "; {name}: {}", text.trim_end())?;
        }
        Ok(())
    }
}

/// Why no usable answer came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection: nothing was sent, so nothing happened there.
    #[error("cannot connect to {endpoint}: {reason}")]
    Connect {
        /// The endpoint.
        endpoint: String,
        /// The cause.
        reason: String,
    },
    /// The server's certificate is not the expected one: nothing was sent.
    #[error("the certificate of {endpoint} is not trusted: {reason}")]
    Certificate {
        /// The endpoint.
        endpoint: String,
        /// Why not, with the fingerprint that was seen.
        reason: String,
    },
    /// The connection broke after the request was sent: the call may have had its effect.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// No answer in time: the call may have had its effect.
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
    /// The answer is longer than the client is willing to hold.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// What kind of thing an [`Error`] is; what a caller should do about it follows from this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The thing named in the call does not exist on that node. It may be on another one.
    Gone,
    /// The identifier is taken: choose another.
    Exists,
    /// Something else holds a lock: try again soon.
    Locked,
    /// The addressed node does not answer.
    NodeDown,
    /// The datacenter has no quorum and refuses writes.
    Quorum,
    /// The token is not accepted.
    Authentication,
    /// The token lacks a privilege; the message names it.
    Permission,
    /// No room: storage or memory.
    Capacity,
    /// The request can never succeed as it is; the message says what is wrong.
    Invalid,
    /// The guest agent does not answer (yet).
    Agent,
    /// The configuration was changed by somebody else since it was read.
    Conflict,
    /// The certificate or connection settings are wrong.
    Untrusted,
    /// No answer, and nothing was sent.
    Unreachable,
    /// No answer, or an unknown error: the call may have had its effect. Read back before repeating it.
    Unknown,
}

impl Error {
    /// What kind of thing this is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Api { answer, .. } => answer.class(),
            Self::Transport { source, .. } => match source {
                TransportError::Connect { .. } => ErrorClass::Unreachable,
                TransportError::Certificate { .. } => ErrorClass::Untrusted,
                _ => ErrorClass::Unknown,
            },
            Self::Decode { .. } => ErrorClass::Unknown,
            Self::Task {
                exit_status, log, ..
            } => {
                let by_status = class_of_text(exit_status);
                log.iter()
                    .fold(by_status, |class, line| {
                        class.or_else(|| class_of_text(line))
                    })
                    .unwrap_or(ErrorClass::Unknown)
            }
            Self::TaskPending { .. } => ErrorClass::Locked,
            Self::Configuration(_) => ErrorClass::Invalid,
        }
    }

    /// The text of Proxmox VE alone, without the call.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Api { answer, .. } => answer.to_string(),
            other => other.to_string(),
        }
    }
}

impl ApiError {
    /// What kind of thing this is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self.status {
            401 => return ErrorClass::Authentication,
            403 => return ErrorClass::Permission,
            595..=599 => return ErrorClass::NodeDown,
            _ => {}
        }
        let texts = std::iter::once(self.message.as_str())
            .chain(self.parameters.values().map(String::as_str));
        for text in texts {
            if let Some(class) = class_of_text(text) {
                return class;
            }
        }
        match self.status {
            400 | 501 => ErrorClass::Invalid,
            404 => ErrorClass::Gone,
            _ => ErrorClass::Unknown,
        }
    }
}

/// Proxmox VE's own words, and what they mean. The first match counts, so the particular stands before the general.
const WORDS: &[(&[&str], ErrorClass)] = &[
    (&["no quorum"], ErrorClass::Quorum),
    (&["permission check failed"], ErrorClass::Permission),
    (
        &["checksum mismatch", "file change by other user"],
        ErrorClass::Conflict,
    ),
    (
        &[
            "guest agent is not running",
            "no qemu guest agent configured",
            "qga command",
        ],
        ErrorClass::Agent,
    ),
    (
        &[
            "hostname lookup '",
            "no such cluster node",
            "no route to host",
        ],
        ErrorClass::NodeDown,
    ),
    (
        &[
            "can't lock file",
            "got lock request timeout",
            "got lock timeout",
            "vm is locked",
            "ct is locked",
            "lock request timeout",
        ],
        ErrorClass::Locked,
    ),
    (&["already exists", "already used"], ErrorClass::Exists),
    (
        &[
            "no space left",
            "not enough free space",
            "out of space",
            "cannot allocate memory",
            "insufficient memory",
        ],
        ErrorClass::Capacity,
    ),
    (
        &[
            "can't clone to non-shared storage",
            "uses local storage)",
            "not allowed for linked clones",
            "linked clone feature",
            "shrinking disks",
            "can't upload to storage type",
            "protection mode enabled",
            "purge parameter not set",
        ],
        ErrorClass::Invalid,
    ),
    (
        &["unable to find configuration file for vm"],
        ErrorClass::Gone,
    ),
];

fn class_of_text(text: &str) -> Option<ErrorClass> {
    let text = text.to_ascii_lowercase();
    let by_words = WORDS
        .iter()
        .find(|(words, _)| words.iter().any(|word| text.contains(word)))
        .map(|(_, class)| *class);
    by_words.or_else(|| {
        if !text.contains("does not exist") {
            None
        } else if text.contains("configuration file") || text.contains("volume") {
            Some(ErrorClass::Gone)
        } else {
            // A disk, a storage, a bridge: the request names something that is not there.
            Some(ErrorClass::Invalid)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(status: u16, message: &str) -> ErrorClass {
        ApiError {
            status,
            message: message.into(),
            parameters: BTreeMap::new(),
        }
        .class()
    }

    #[test]
    fn each_text_of_proxmox_has_its_class() {
        let rows = [
            (
                500,
                "Configuration file 'nodes/pve1/qemu-server/104.conf' does not exist",
                ErrorClass::Gone,
            ),
            (
                500,
                "unable to create VM 104: config file already exists",
                ErrorClass::Exists,
            ),
            (500, "VM is locked (clone)", ErrorClass::Locked),
            (
                500,
                "clone failed: can't lock file '/var/lock/pve-manager/pve-storage-local' - got timeout",
                ErrorClass::Locked,
            ),
            (
                500,
                "cfs-lock 'storage-x' error: got lock request timeout",
                ErrorClass::Locked,
            ),
            (595, "", ErrorClass::NodeDown),
            (596, "", ErrorClass::NodeDown),
            (
                500,
                "hostname lookup 'pve9' failed - failed to get address info",
                ErrorClass::NodeDown,
            ),
            (500, "cluster not ready - no quorum?", ErrorClass::Quorum),
            (401, "authentication failure", ErrorClass::Authentication),
            (
                403,
                "Permission check failed (/vms/100, VM.Clone)",
                ErrorClass::Permission,
            ),
            (500, "lvcreate: not enough free space", ErrorClass::Capacity),
            (
                500,
                "can't clone to non-shared storage 'local'",
                ErrorClass::Invalid,
            ),
            (500, "shrinking disks is not supported", ErrorClass::Invalid),
            (500, "disk 'scsi7' does not exist", ErrorClass::Invalid),
            (500, "storage 'nope' does not exist", ErrorClass::Invalid),
            (
                500,
                "checksum mismatch (file change by other user?)",
                ErrorClass::Conflict,
            ),
            (500, "QEMU guest agent is not running", ErrorClass::Agent),
            (502, "Bad Gateway", ErrorClass::Unknown),
            (500, "got timeout", ErrorClass::Unknown),
            (400, "Parameter verification failed.", ErrorClass::Invalid),
        ];
        for (status, text, class) in rows {
            assert_eq!(api(status, text), class, "{status} {text}");
        }
    }

    #[test]
    fn a_parameter_text_decides_the_class_of_a_failed_verification() {
        let answer = ApiError {
            status: 400,
            message: "Parameter verification failed.".into(),
            parameters: BTreeMap::from([("vmid".to_owned(), "VM 104 already exists".to_owned())]),
        };
        assert_eq!(answer.class(), ErrorClass::Exists);
        assert_eq!(
            answer.to_string(),
            "400 Parameter verification failed.; vmid: VM 104 already exists"
        );
    }
}
