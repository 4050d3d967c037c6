//! The simulator on loopback: HTTPS with a certificate of its own.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::Simulator;
use crate::client::Fingerprint;

/// Largest request that is taken.
const LARGEST_REQUEST: usize = 512 * 1024 * 1024;

/// Why the simulator cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on 127.0.0.1:{port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// The cause.
        source: std::io::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
}

/// A simulator that is served. It stops when this is dropped.
pub struct Server {
    address: SocketAddr,
    certificate: Vec<u8>,
    certificate_pem: String,
    task: JoinHandle<()>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, such as `https://127.0.0.1:8006`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Fingerprint of its certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Its certificate, which is its own authority, in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Simulator {
    /// Serves this datacenter on loopback; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn serve(&self, port: u16) -> Result<Server, ServerError> {
        let failed = |error: &dyn fmt::Display| ServerError::Certificate(error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed(&error))?;
        let mut parameters =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
                .map_err(|error| failed(&error))?;
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "simulated Proxmox VE");
        let certificate = parameters
            .self_signed(&key)
            .map_err(|error| failed(&error))?;
        let der = certificate.der().clone();
        let private_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], private_key)
            .map_err(|error| failed(&error))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(|source| ServerError::Listen { port, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| ServerError::Listen { port, source })?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(accept(listener, acceptor, self.clone()));
        Ok(Server {
            address,
            certificate: der.to_vec(),
            certificate_pem: certificate.pem(),
            task,
        })
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, simulator: Simulator) {
    // Dropped with this task, and its connections with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, acceptor.clone(), simulator.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::task::yield_now().await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(
    stream: tokio::net::TcpStream,
    acceptor: TlsAcceptor,
    simulator: Simulator,
) {
    let stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "no TLS with this client");
            return;
        }
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let simulator = simulator.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = Limited::new(body, LARGEST_REQUEST)
                .collect()
                .await
                .map_err(std::io::Error::other)?
                .to_bytes();
            let answer = simulator
                .answer(Request::from_parts(parts, body))
                .await
                .map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(answer.map(Full::<Bytes>::new))
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}
