//! How a request reaches Proxmox VE: the seam between the client and the network.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::error::TransportError;
use super::tls::{TlsTrust, certificate_problem};
use capi_core::{clock::Clock, provider::with_causes};

/// Longest answer that is held in memory.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// Carries one request and brings its answer.
///
/// The production transport is [`HttpsTransport`]; the simulator is one, too, so that whole runs need no socket.
/// The reason phrase travels as [`hyper::ext::ReasonPhrase`] in the answer's extensions.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends `request`, whose URI is absolute, and reads the whole answer.
    ///
    /// Dropping the future closes the connection; the call may have had its effect.
    ///
    /// # Errors
    /// Any status code is an answer. Errors are [`TransportError`]s: no connection, no trust, or a broken one.
    async fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, TransportError>;
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    async fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, TransportError> {
        (**self).send(request).await
    }
}

/// HTTPS over TCP, with one pool of connections.
pub struct HttpsTransport {
    client: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl fmt::Debug for HttpsTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpsTransport")
            .finish_non_exhaustive()
    }
}

impl HttpsTransport {
    /// A transport that trusts what `trust` says. `clock` is what certificates' dates are compared with.
    ///
    /// # Errors
    /// [`TransportError::Certificate`] when the authority certificates cannot be read.
    pub fn new(trust: &TlsTrust, clock: Clock) -> Result<Self, TransportError> {
        let config = trust
            .client_config(clock)
            .map_err(|reason| TransportError::Certificate {
                endpoint: "configuration".into(),
                reason,
            })?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(std::time::Duration::from_secs(10)));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(std::time::Duration::from_secs(20))
            .pool_max_idle_per_host(8)
            .build(connector);
        Ok(Self { client })
    }
}

#[async_trait]
impl Transport for HttpsTransport {
    async fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let endpoint = request
            .uri()
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let response = self
            .client
            .request(request.map(Full::new))
            .await
            .map_err(|error| {
                if let Some(reason) = certificate_problem(&error) {
                    TransportError::Certificate {
                        endpoint: endpoint.clone(),
                        reason,
                    }
                } else if error.is_connect() {
                    TransportError::Connect {
                        endpoint: endpoint.clone(),
                        reason: with_causes(&error),
                    }
                } else {
                    TransportError::Broken(with_causes(&error))
                }
            })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    TransportError::TooLong(LONGEST_ANSWER)
                } else {
                    TransportError::Broken(with_causes(error.as_ref()))
                }
            })?;
        Ok(http::Response::from_parts(parts, body.to_bytes()))
    }
}
