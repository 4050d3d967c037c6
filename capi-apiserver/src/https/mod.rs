//! The server on a loopback socket: TLS of its own authority, client certificates and tokens.
//! A shell around [`ApiService`]; nothing about objects is decided here.

mod authority;
mod kubeconfig;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response, header};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::{
    RootCertStore, ServerConfig, pki_types::UnixTime, server::WebPkiClientVerifier,
    time_provider::TimeProvider,
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;
use tower::Service;

pub use authority::{Authority, Identity};
pub use kubeconfig::{Credentials, kubeconfig};

use crate::{
    builder::ApiServer,
    clock::Clock,
    reply::{Body, Reply},
    request::User,
    service::ApiService,
    status::Status,
};

/// A client that does not finish its handshake in this time is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Paths that are answered without credentials.
const PUBLIC: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// Why a server cannot be put on a socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// The address is reachable from other machines: choose one of 127.0.0.0/8 or `::1`, or say
    /// [`HttpsBuilder::allow_any_address`].
    #[error("{0} is not a loopback address; choose one, or allow any address explicitly")]
    NotLoopback(SocketAddr),
    /// The socket cannot be bound or accepted from.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key is not usable.
    #[error("certificate or key is not usable: {0}")]
    Certificate(String),
    /// The TLS configuration is refused.
    #[error("TLS configuration is not usable")]
    Tls(#[from] rustls::Error),
}

/// How a server is put on a socket; see [`ApiServer::https`].
#[derive(Debug)]
#[must_use = "nothing listens until it is started"]
pub struct HttpsBuilder {
    server: ApiServer,
    address: SocketAddr,
    authority: Option<Authority>,
    identity: Option<Identity>,
    names: Vec<String>,
    tokens: Vec<(SecretString, User)>,
    any_address: bool,
}

/// A server on a socket. Dropping it closes the socket and every connection.
#[derive(Debug)]
pub struct Https {
    address: SocketAddr,
    authority: Authority,
    clock: Arc<dyn Clock>,
    task: JoinHandle<()>,
}

impl ApiServer {
    /// Puts this server on a socket: by default a free port of 127.0.0.1, with an authority made
    /// for it.
    pub fn https(&self) -> HttpsBuilder {
        HttpsBuilder {
            server: self.clone(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            authority: None,
            identity: None,
            names: vec![
                "localhost".to_owned(),
                "127.0.0.1".to_owned(),
                "kubernetes.default.svc".to_owned(),
            ],
            tokens: Vec::new(),
            any_address: false,
        }
    }
}

impl HttpsBuilder {
    /// Where to listen; port 0 takes a free one.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Allows addresses that other machines reach.
    pub fn allow_any_address(mut self) -> Self {
        self.any_address = true;
        self
    }

    /// Serves under this authority, such as that of the cluster that this server plays, and accepts
    /// client certificates that it signed.
    pub fn authority(mut self, authority: Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// Serves with this certificate instead of one that the authority signs now.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Adds a name or address to the serving certificate.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Accepts a bearer token as proof of being `user`.
    pub fn token(mut self, token: SecretString, user: User) -> Self {
        self.tokens.push((token, user));
        self
    }

    /// Binds the socket and serves HTTP/1.1 and HTTP/2 over TLS from a task of the current tokio
    /// runtime, until the returned value is dropped.
    ///
    /// # Errors
    /// [`HttpsError`] when the address is refused or taken, or a certificate is not usable. Dropped
    /// before it is done, nothing listens.
    pub async fn start(self) -> Result<Https, HttpsError> {
        if !self.any_address && !self.address.ip().is_loopback() {
            return Err(HttpsError::NotLoopback(self.address));
        }
        let clock = self.server.clock();
        let authority = match self.authority {
            Some(authority) => authority,
            None => Authority::generate("capi-apiserver", clock.now())?,
        };
        let mut names = self.names;
        let ip = self.address.ip().to_string();
        if !self.address.ip().is_unspecified() && !names.contains(&ip) {
            names.push(ip);
        }
        let identity = match self.identity {
            Some(identity) => identity,
            None => authority.issue_server(&names, clock.now())?,
        };
        let config = tls(&authority, &identity, clock.clone())?;
        let listen = |source| HttpsError::Listen {
            address: self.address,
            source,
        };
        let listener = TcpListener::bind(self.address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let door = Arc::new(Door {
            service: self.server.service(),
            tokens: self
                .tokens
                .iter()
                .map(|(token, user)| (digest(token.expose_secret()), Arc::new(user.clone())))
                .collect(),
        });
        let task = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), door));
        Ok(Https {
            address,
            authority,
            clock,
            task,
        })
    }
}

impl Https {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://` and the address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The authority that signed the serving certificate and signs client certificates.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A kubeconfig for a user, with a new client certificate that is valid for a year.
    ///
    /// # Errors
    /// [`HttpsError::Certificate`] when the certificate cannot be signed.
    pub fn kubeconfig(&self, user: &User) -> Result<SecretString, HttpsError> {
        let identity = self.authority.issue_client(user, self.clock.now())?;
        let credentials = Credentials::Certificate(identity);
        Ok(kubeconfig(
            "capi",
            &self.url(),
            self.authority.certificate(),
            &credentials,
        ))
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Certificates are judged by the server's clock.
#[derive(Debug)]
struct Now(Arc<dyn Clock>);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn tls(
    authority: &Authority,
    identity: &Identity,
    clock: Arc<dyn Clock>,
) -> Result<ServerConfig, HttpsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate_der()?)?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| HttpsError::Certificate(error.to_string()))?;
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(Now(clock)))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(identity.chain()?, identity.key_der()?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Whom the door lets in.
#[derive(Debug)]
struct Door {
    service: ApiService,
    /// Hashes of tokens, so that a comparison tells nothing about them.
    tokens: Vec<([u8; 32], Arc<User>)>,
}

impl Door {
    fn token<B>(&self, request: &Request<B>) -> Option<Arc<User>> {
        let value = request
            .headers()
            .get(header::AUTHORIZATION)?
            .to_str()
            .ok()?;
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let given = digest(token.trim());
        self.tokens
            .iter()
            .find(|(known, _)| *known == given)
            .map(|(_, user)| user.clone())
    }

    async fn answer(
        self: Arc<Self>,
        mut request: Request<hyper::body::Incoming>,
        certified: Option<Arc<User>>,
    ) -> Result<Response<Body>, Infallible> {
        let user = match certified.or_else(|| self.token(&request)) {
            Some(user) => user,
            None if PUBLIC.contains(&request.uri().path()) => Arc::new(User {
                name: "system:anonymous".to_owned(),
                groups: vec!["system:unauthenticated".to_owned()],
            }),
            None => return Ok(Reply::failure(&Status::unauthorized()).into_response()),
        };
        request.extensions_mut().insert(user);
        self.service.clone().call(request).await
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, door: Arc<Door>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, acceptor.clone(), door.clone()));
            }
            Err(error) => {
                // Out of descriptors, or a client that left: neither ends the server.
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, door: Arc<Door>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let (_, session) = stream.get_ref();
    let user = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .and_then(authority::user)
        .map(Arc::new);
    let service =
        hyper::service::service_fn(move |request| door.clone().answer(request, user.clone()));
    let server = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = server
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(error, "a connection ended early");
    }
}
