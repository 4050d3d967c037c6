//! Errors of the runtime.

use crate::provider::ProviderError;

/// What went wrong between a controller and the API server, or in a provider.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server answered with an error.
    #[error("{action}: {}", .status.message)]
    Api {
        /// What was tried: verb, kind and object.
        action: String,
        /// Its answer.
        status: Box<kube::core::Status>,
    },
    /// The API server did not answer.
    #[error("{action}")]
    Transport {
        /// What was tried: verb, kind and object.
        action: String,
        /// Why there was no answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object does not have the form that its kind has.
    #[error("decode {what}")]
    Decode {
        /// The object.
        what: String,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
    /// A provider's answer.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A workload cluster cannot be reached now.
    #[error("workload cluster {cluster} is not connected: {message}")]
    NotConnected {
        /// The Cluster's key.
        cluster: super::ObjectKey,
        /// Why not.
        message: String,
    },
    /// Something that must be there is not.
    #[error("{0}")]
    Missing(String),
    /// No served version of a kind answers the contract.
    #[error(transparent)]
    Contract(#[from] crate::contract::ContractError),
    /// Another manager took the Lease, or it could not be renewed in time.
    #[error("leadership was lost")]
    LeadershipLost,
}

impl Error {
    pub(crate) fn decode(what: &str, source: serde_json::Error) -> Self {
        Self::Decode {
            what: what.to_owned(),
            source,
        }
    }

    pub(crate) fn from_kube(action: String, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Api { action, status },
            other => Self::Transport {
                action,
                source: Box::new(other),
            },
        }
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(status.code),
            _ => None,
        }
    }

    /// The object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// The object changed since it was read.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { status, .. } if status.code == 409 && status.reason != "AlreadyExists")
    }

    /// The object is there already.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Api { status, .. } if status.code == 409 && status.reason == "AlreadyExists")
    }

    /// Whether what was tried may have been done all the same: nobody said that it was not.
    #[must_use]
    pub fn leaves_open(&self) -> bool {
        matches!(self, Self::Transport { .. }) || self.code().is_some_and(|code| code >= 500)
    }

    /// The watch asked for a version that the server no longer has.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.code() == Some(410)
    }

    /// The message with those of all sources.
    #[must_use]
    pub fn full_message(&self) -> String {
        if let Self::Provider(error) = self {
            return error.full_message();
        }
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }
}
