//! An asynchronous client for the part of the Proxmox VE API that a provider needs.
//!
//! It speaks `https://host:8006/api2/json` with an API token, reads Proxmox VE's error forms (the text is in the reason
//! phrase), waits for tasks, and uploads files. It never writes a secret: not in `Debug`, not in an error, not in a log.
//!
//! ```no_run
//! use capi_core::clock::Clock;
//! use capi_provider_proxmox::client::{ApiToken, Client, TlsTrust};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("https://127.0.0.1:8006", ApiToken::new("capi@pve!manager", "secret")?, Clock::system())
//!     .trust(TlsTrust::Fingerprints(vec!["AB:CD:...".parse()?]))
//!     .build()?;
//! println!("{}", client.version().await?.version);
//! # Ok(())
//! # }
//! ```

mod endpoints;
mod error;
mod form;
mod property;
mod task;
mod tls;
mod transport;
mod types;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, Uri};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

pub use endpoints::{CloneRequest, ResourceKind};
pub use error::{ApiError, Error, ErrorClass, TransportError};
pub use form::{Parameters, multipart};
pub use property::{BootOrder, InvalidProperty, PropertyString, SizeInBytes, Smbios};
pub use task::{InvalidUpid, Patience, TaskState, Upid};
pub use tls::{Fingerprint, InvalidFingerprint, TlsTrust};
pub use transport::{HttpsTransport, Transport};
pub use types::{
    AgentAddress, AgentInterface, ExecStatus, GuestConfig, HighAvailability, NetworkInterface,
    Permissions, PowerState, Resource, StorageStatus, TaskStatus, Version, VirtualMachineStatus,
    Volume, split_tags,
};

use capi_core::clock::Clock;

/// An API token: its full name and its secret.
#[derive(Clone)]
pub struct ApiToken {
    name: String,
    secret: SecretString,
}

impl ApiToken {
    /// A token `user@realm!name` with its secret.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the name lacks realm or token name, or either part cannot be put into a header.
    pub fn new(name: impl Into<String>, secret: impl Into<SecretString>) -> Result<Self, Error> {
        let token = Self {
            name: name.into().trim().to_owned(),
            secret: secret.into(),
        };
        let well_formed = token
            .name
            .split_once('@')
            .and_then(|(user, rest)| {
                rest.split_once('!')
                    .map(|(realm, name)| [user, realm, name])
            })
            .is_some_and(|parts| parts.iter().all(|part| !part.is_empty()));
        if !well_formed {
            return Err(Error::Configuration(format!(
                "the token {:?} is not of the form user@realm!name",
                token.name
            )));
        }
        if token.secret.expose_secret().trim().is_empty() {
            return Err(Error::Configuration(format!(
                "the secret of token {} is empty",
                token.name
            )));
        }
        token.header()?;
        Ok(token)
    }

    /// The name, `user@realm!name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn header(&self) -> Result<HeaderValue, Error> {
        let mut value = HeaderValue::try_from(format!(
            "PVEAPIToken={}={}",
            self.name,
            self.secret.expose_secret().trim()
        ))
        .map_err(|_| {
            Error::Configuration(format!(
                "token {} holds characters that no header may hold",
                self.name
            ))
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ApiToken")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Client`].
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    token: ApiToken,
    trust: Option<TlsTrust>,
    transport: Option<Arc<dyn Transport>>,
    clock: Clock,
    timeout: Duration,
}

impl ClientBuilder {
    /// Another node of the same datacenter, asked when the one before does not answer.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.push(url.into());
        self
    }

    /// Whose certificate is believed. There is no default.
    pub fn trust(mut self, trust: TlsTrust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Carries requests by `transport` instead of HTTPS.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Longest time a call may take; 30 seconds unless said. An upload gets ten times that.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The client. Opens no connection.
    ///
    /// # Errors
    /// [`Error::Configuration`] for a URL that is none, and where trust is missing or cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let endpoints = self
            .endpoints
            .iter()
            .map(|url| endpoint(url))
            .collect::<Result<Vec<_>, _>>()?;
        let transport = match (self.transport, self.trust) {
            (Some(transport), _) => transport,
            (None, Some(trust)) => Arc::new(
                HttpsTransport::new(&trust, self.clock.clone())
                    .map_err(|error| Error::Configuration(error.to_string()))?,
            ),
            (None, None) => {
                return Err(Error::Configuration(
                    "say whose certificate is believed: an authority, a fingerprint, or TlsTrust::danger_accept_any()".into(),
                ));
            }
        };
        Ok(Client {
            inner: Arc::new(Inner {
                endpoints,
                current: AtomicUsize::new(0),
                authorization: self.token.header()?,
                token: self.token,
                transport,
                clock: self.clock,
                timeout: self.timeout,
            }),
        })
    }
}

fn endpoint(url: &str) -> Result<String, Error> {
    let invalid =
        |why: &str| Error::Configuration(format!("{url:?} is no URL of a Proxmox VE node: {why}"));
    let trimmed = url.trim().trim_end_matches('/');
    let base = trimmed.strip_suffix("/api2/json").unwrap_or(trimmed);
    let uri: Uri = base
        .parse()
        .map_err(|_| invalid("expected https://host:8006"))?;
    if uri.scheme_str() != Some("https") {
        return Err(invalid("it must begin with https://"));
    }
    if uri
        .authority()
        .is_none_or(|authority| authority.host().is_empty() || authority.as_str().contains('@'))
    {
        return Err(invalid("expected https://host:8006"));
    }
    Ok(base.to_owned())
}

/// A client for one Proxmox VE datacenter. Clones share one pool of connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    endpoints: Vec<String>,
    current: AtomicUsize,
    authorization: HeaderValue,
    token: ApiToken,
    transport: Arc<dyn Transport>,
    clock: Clock,
    timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("endpoints", &self.inner.endpoints)
            .field("token", &self.inner.token)
            .finish_non_exhaustive()
    }
}

/// A body to send.
enum Payload {
    Parameters(Parameters),
    Upload { content_type: String, body: Bytes },
}

impl Client {
    /// Begins a client for the node at `url`, such as `https://pve1.example.org:8006`. The clock is for time-outs, waits
    /// and certificates' dates.
    pub fn builder(url: impl Into<String>, token: ApiToken, clock: Clock) -> ClientBuilder {
        ClientBuilder {
            endpoints: vec![url.into()],
            token,
            trust: None,
            transport: None,
            clock,
            timeout: Duration::from_secs(30),
        }
    }

    /// Name of the token, `user@realm!name`.
    #[must_use]
    pub fn token_name(&self) -> &str {
        self.inner.token.name()
    }

    /// The clock of this client.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Makes a call below `/api2/json` and reads its `data`.
    ///
    /// GET is asked again once, at the next endpoint or connection, when the connection breaks; nothing else is ever
    /// sent twice. Dropping the future abandons the call, which may have had its effect.
    ///
    /// # Errors
    /// [`Error::Api`], [`Error::Transport`], [`Error::Decode`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        parameters: Parameters,
    ) -> Result<T, Error> {
        self.call_with(
            method,
            path,
            &Payload::Parameters(parameters),
            self.inner.timeout,
        )
        .await
    }

    async fn call_with<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        payload: &Payload,
        timeout: Duration,
    ) -> Result<T, Error> {
        let transport_error = |source| Error::Transport {
            method: method.clone(),
            path: path.to_owned(),
            source,
        };
        let mut attempts_left = if method == Method::GET {
            self.inner.endpoints.len().max(2)
        } else {
            self.inner.endpoints.len()
        };
        loop {
            attempts_left -= 1;
            let index = self.inner.current.load(Ordering::Relaxed);
            let request = self.request(&method, path, payload, index)?;
            let sent = self.send_within(request, timeout).await;
            let (rotate, again) = match &sent {
                Ok(response) => {
                    let other_endpoint = self.inner.endpoints.len() > 1;
                    let proxy_failed = matches!(response.status().as_u16(), 595 | 596 | 599);
                    (
                        proxy_failed && other_endpoint,
                        proxy_failed && other_endpoint && method == Method::GET,
                    )
                }
                Err(TransportError::Connect { .. }) => (true, self.inner.endpoints.len() > 1),
                Err(TransportError::Broken(_)) => (true, method == Method::GET),
                Err(_) => (false, false),
            };
            if rotate {
                let next = (index + 1) % self.inner.endpoints.len();
                let _ = self.inner.current.compare_exchange(
                    index,
                    next,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
            if again && attempts_left > 0 {
                continue;
            }
            let response = sent.map_err(transport_error)?;
            tracing::trace!(%method, path, status = response.status().as_u16(), "call to Proxmox VE");
            return read_answer(&method, path, &response);
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        payload: &Payload,
        index: usize,
    ) -> Result<Request<Bytes>, Error> {
        let mut uri = format!(
            "{}/api2/json{path}",
            self.inner.endpoints[index % self.inner.endpoints.len()]
        );
        let (content_type, body) = match payload {
            Payload::Parameters(parameters) if matches!(*method, Method::GET | Method::DELETE) => {
                if !parameters.is_empty() {
                    uri.push('?');
                    uri.push_str(&parameters.encode());
                }
                (None, Bytes::new())
            }
            Payload::Parameters(parameters) => (
                Some("application/x-www-form-urlencoded"),
                Bytes::from(parameters.encode()),
            ),
            Payload::Upload { content_type, body } => (Some(content_type.as_str()), body.clone()),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(AUTHORIZATION, self.inner.authorization.clone())
            .header(ACCEPT, "application/json")
            .header(
                USER_AGENT,
                concat!("capi-provider-proxmox/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(content_type) = content_type {
            request = request
                .header(CONTENT_TYPE, content_type)
                .header(CONTENT_LENGTH, body.len());
        }
        request
            .body(body)
            .map_err(|error| Error::Configuration(format!("{method} {path}: {error}")))
    }

    async fn send_within(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let answer = self.inner.transport.send(request);
        let expired = self.inner.clock.sleep(timeout);
        match select(answer, expired).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), _)) => Err(TransportError::Timeout(timeout)),
        }
    }
}

fn read_answer<T: DeserializeOwned>(
    method: &Method,
    path: &str,
    response: &Response<Bytes>,
) -> Result<T, Error> {
    #[derive(serde::Deserialize)]
    struct Envelope<T> {
        data: T,
    }

    if !response.status().is_success() {
        return Err(Error::Api {
            method: method.clone(),
            path: path.to_owned(),
            answer: read_error(response),
        });
    }
    serde_json::from_slice::<Envelope<T>>(response.body())
        .map(|envelope| envelope.data)
        .map_err(|error| Error::Decode {
            method: method.clone(),
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

/// Reads an error: the reason phrase, the body's `message` where it says more, and the texts by parameter.
fn read_error(response: &Response<Bytes>) -> ApiError {
    #[derive(serde::Deserialize, Default)]
    struct ErrorBody {
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        errors: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    }

    let phrase = response
        .extensions()
        .get::<hyper::ext::ReasonPhrase>()
        .map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).trim().to_owned())
        .unwrap_or_default();
    // Empty, HTML of a load balancer, or cut off: the reason phrase is then all there is.
    let body: ErrorBody = serde_json::from_slice(response.body()).unwrap_or_default();
    let message = body.message.unwrap_or_default().trim().to_owned();
    let canonical = response.status().canonical_reason().unwrap_or_default();
    let message = match (phrase.as_str(), message.as_str()) {
        (phrase, "") if !phrase.is_empty() => phrase.to_owned(),
        ("", "") => canonical.to_owned(),
        ("", message) => message.to_owned(),
        (phrase, message) if phrase.len() > message.len() && phrase != canonical => {
            phrase.to_owned()
        }
        (_, message) => message.to_owned(),
    };
    let parameters = body
        .errors
        .unwrap_or_default()
        .into_iter()
        .map(|(name, text)| match text {
            serde_json::Value::String(text) => (name, text),
            other => (name, other.to_string()),
        })
        .collect();
    ApiError {
        status: response.status().as_u16(),
        message,
        parameters,
    }
}

#[cfg(test)]
mod tests;
