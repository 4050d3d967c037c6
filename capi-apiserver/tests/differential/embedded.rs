//! The embedded server, on a socket and in process.

use std::path::PathBuf;

use capi_apiserver::{ApiServer, User, https::Https};
use secrecy::ExposeSecret as _;

pub(crate) struct Embedded {
    directory: tempfile::TempDir,
    _https: Https,
}

impl Embedded {
    pub(crate) async fn start() -> Self {
        let https = ApiServer::builder()
            .build()
            .unwrap()
            .https()
            .start()
            .await
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = https.kubeconfig(&User::admin()).unwrap();
        std::fs::write(
            directory.path().join("kubeconfig"),
            kubeconfig.expose_secret(),
        )
        .unwrap();
        Self {
            directory,
            _https: https,
        }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }
}

pub(crate) fn in_process() -> kube::Client {
    let server = ApiServer::builder().build().unwrap();
    kube::Client::new(server.service(), "default")
}
