//! What can go wrong between a caller and a node, and what to do about it.

use capi_core::pki::PkiError;
use tonic::Code;

use super::endpoint::Endpoint;

/// What a caller should do about an error of the machine API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryClass {
    /// May pass by itself: the node boots, is unreachable, or is busy. Try again with backoff.
    Later,
    /// The request is wrong and stays wrong until it is changed.
    Invalid,
    /// The node does not accept these credentials: another certificate authority, another role,
    /// an expired certificate. A person, or a new certificate, has to help.
    Denied,
    /// The goal is already reached (`AlreadyExists`).
    AlreadyDone,
    /// The thing asked for is not there (`NotFound`).
    NotFound,
    /// The node has no such call, now or at all (`Unimplemented`): a worker asked about etcd, a
    /// node without configuration, or an older Talos. Decide by [`version`](super::TalosClient::version).
    Unsupported,
}

/// An error of the Talos machine API client. Its text never holds key material or configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection: refused, unreachable, reset.
    #[error(
        "cannot connect to the Talos API at {endpoint}; is the machine on and its address right?"
    )]
    Connect {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The two sides do not trust each other.
    #[error(
        "TLS with the Talos API at {endpoint} failed: {message}; is the talosconfig of this cluster?"
    )]
    Tls {
        /// Where.
        endpoint: Endpoint,
        /// Why, in words of the TLS library.
        message: String,
    },
    /// No answer in time.
    #[error("{method} at {endpoint} did not answer within {seconds} s")]
    Deadline {
        /// Where.
        endpoint: Endpoint,
        /// Which call.
        method: &'static str,
        /// How long was waited.
        seconds: f64,
    },
    /// The node answered with an error.
    #[error("{method} at {endpoint} failed: {code:?}: {message}")]
    Call {
        /// Where.
        endpoint: Endpoint,
        /// Which call.
        method: &'static str,
        /// gRPC code.
        code: Code,
        /// The node's words.
        message: String,
    },
    /// The node answered, but not what the protocol says.
    #[error("{method} at {endpoint} gave an answer that cannot be used: {message}")]
    Answer {
        /// Where.
        endpoint: Endpoint,
        /// Which call.
        method: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A lifecycle operation ran on the node and failed (gRPC said OK).
    #[error("{method} at {endpoint} ended with exit code {exit_code}: {message}")]
    Exit {
        /// Where.
        endpoint: Endpoint,
        /// Which call.
        method: &'static str,
        /// Exit code of the installer.
        exit_code: i32,
        /// Its last message.
        message: String,
    },
    /// The credentials cannot be used.
    #[error("the Talos client credentials cannot be used")]
    Credentials(#[from] PkiError),
}

impl ClientError {
    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> RetryClass {
        match self {
            Self::Connect { .. } | Self::Deadline { .. } | Self::Answer { .. } => RetryClass::Later,
            Self::Tls { .. } | Self::Credentials(_) => RetryClass::Denied,
            Self::Exit { .. } => RetryClass::Invalid,
            Self::Call { code, .. } => match code {
                Code::InvalidArgument | Code::OutOfRange => RetryClass::Invalid,
                Code::PermissionDenied | Code::Unauthenticated => RetryClass::Denied,
                Code::AlreadyExists => RetryClass::AlreadyDone,
                Code::NotFound => RetryClass::NotFound,
                Code::Unimplemented => RetryClass::Unsupported,
                _ => RetryClass::Later,
            },
        }
    }

    /// The gRPC code, where the node answered with one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Call { code, .. } => Some(*code),
            _ => None,
        }
    }
}
