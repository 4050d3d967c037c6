//! The embedded Kubernetes API server, with what Cluster API needs in it.

pub use capi_apiserver::*;

pub use crate::admission::{install, install_with};

use crate::clock;

impl Clock for clock::Clock {
    fn now(&self) -> jiff::Timestamp {
        clock::Clock::now(self)
    }
}

/// A client of a server in this process: no socket, no TLS.
///
/// # Panics
/// Outside a tokio runtime.
#[cfg(feature = "runtime")]
#[must_use]
pub fn client(server: &ApiServer) -> kube::Client {
    kube::Client::new(server.service(), "default")
}
