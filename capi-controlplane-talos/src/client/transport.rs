//! One connection to one node: opening it, and making calls with a deadline.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use capi_core::clock::Clock;
use futures::{StreamExt as _, future::Either};
use http::{Uri, uri::PathAndQuery};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint as ChannelEndpoint},
};
use tonic_prost::ProstCodec;

use super::{
    connect::{BoxedStream, Connector},
    credentials::Credentials,
    endpoint::Endpoint,
    error::ClientError,
    wire::{Answer, FromNode},
};

/// Largest message in either direction, as Talos has it.
pub(crate) const MAX_MESSAGE: usize = 32 * 1024 * 1024;
const STREAM_WINDOW: u32 = 65_535 * 32;
const CONNECTION_WINDOW: u32 = 65_535 * 16;

/// What connections to nodes have in common.
#[derive(Clone)]
pub struct Settings {
    pub(crate) clock: Clock,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) connect_deadline: Duration,
    pub(crate) deadline: Duration,
    pub(crate) long_deadline: Duration,
}

impl Settings {
    /// Settings with the usual deadlines: 5 s to connect, 10 s for a call, 5 minutes for one that
    /// changes etcd membership or pulls an image.
    pub fn new(clock: Clock, connector: impl Connector) -> Self {
        Self::with_connector(clock, Arc::new(connector))
    }

    /// The same, for a connector that is shared.
    #[must_use]
    pub fn with_connector(clock: Clock, connector: Arc<dyn Connector>) -> Self {
        Self {
            clock,
            connector,
            connect_deadline: Duration::from_secs(5),
            deadline: Duration::from_secs(10),
            long_deadline: Duration::from_secs(300),
        }
    }

    /// Waits this long for a connection with TLS.
    #[must_use]
    pub fn connect_deadline(mut self, deadline: Duration) -> Self {
        self.connect_deadline = deadline;
        self
    }

    /// Waits this long for the answer to a call.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Waits this long for a call that takes its time on the node: leaving etcd, pulling an
    /// image, upgrading.
    #[must_use]
    pub fn long_deadline(mut self, deadline: Duration) -> Self {
        self.long_deadline = deadline;
        self
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("connect_deadline", &self.connect_deadline)
            .field("deadline", &self.deadline)
            .field("long_deadline", &self.long_deadline)
            .finish_non_exhaustive()
    }
}

/// A client of one node's machine API.
///
/// Cheap to clone; clones share the connection. A lost connection, and one that let a deadline
/// pass, is opened again by the next call. Every call has a deadline of its own, and dropping its future cancels it on the node as
/// far as the node listens to that.
#[derive(Clone)]
pub struct TalosClient {
    endpoint: Endpoint,
    channel: Arc<Mutex<Channel>>,
    reopen: Arc<dyn Fn() -> Channel + Send + Sync>,
    settings: Settings,
    last_failure: Arc<Mutex<Option<ConnectFailure>>>,
    /// Metadata that sends calls on from the node that is dialled.
    route: Option<(&'static str, MetadataValue<Ascii>)>,
}

impl fmt::Debug for TalosClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TalosClient")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Why the connector could not connect; tonic only keeps a text.
enum ConnectFailure {
    Io(std::io::ErrorKind, String),
    Tls(String),
}

impl TalosClient {
    /// Connects to a node, with TLS up to the point where both sides have what they need. (In
    /// TLS 1.3 a node that refuses the client's certificate says so only at the first call.)
    ///
    /// # Errors
    /// [`ClientError::Connect`], [`ClientError::Tls`], [`ClientError::Deadline`], or
    /// [`ClientError::Credentials`].
    pub async fn connect(
        endpoint: Endpoint,
        credentials: &Credentials,
        settings: &Settings,
    ) -> Result<Self, ClientError> {
        let tls = TlsConnector::from(Arc::new(credentials.client_config(&settings.clock)?));
        let name =
            ServerName::try_from(endpoint.host().to_owned()).map_err(|_| ClientError::Tls {
                endpoint: endpoint.clone(),
                message: "the host can be no server name".to_owned(),
            })?;
        let last_failure = Arc::new(Mutex::new(None));
        let (connector, target, failure) = (
            settings.connector.clone(),
            endpoint.clone(),
            last_failure.clone(),
        );
        let service = tower::service_fn(move |_: Uri| {
            let (connector, target, failure) = (connector.clone(), target.clone(), failure.clone());
            let (tls, name) = (tls.clone(), name.clone());
            async move {
                match open(&*connector, &target, &tls, name).await {
                    Ok(stream) => {
                        store(&failure, None);
                        Ok(TokioIo::new(Observed { stream, failure }))
                    }
                    Err(error) => {
                        let kept = failure_of(&error);
                        store(&failure, Some(kept));
                        Err(error)
                    }
                }
            }
        });
        // The scheme says only that tonic adds no TLS of its own: the connector already has it.
        let transport = ChannelEndpoint::from_static("http://talos.invalid")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (again, connector) = (transport.clone(), service.clone());
        let reopen = move || again.connect_with_connector_lazy(connector.clone());
        let channel = transport.connect_with_connector(service);
        let deadline = settings.clock.sleep(settings.connect_deadline);
        let channel = match futures::future::select(Box::pin(channel), deadline).await {
            Either::Left((Ok(channel), _)) => channel,
            Either::Left((Err(error), _)) => {
                return Err(match take(&last_failure) {
                    Some(failure) => failure.into_error(endpoint),
                    None => ClientError::Connect {
                        endpoint,
                        source: std::io::Error::other(error),
                    },
                });
            }
            Either::Right(((), _)) => {
                return Err(ClientError::Deadline {
                    endpoint,
                    method: "connect",
                    seconds: settings.connect_deadline.as_secs_f64(),
                });
            }
        };
        Ok(Self {
            endpoint,
            channel: Arc::new(Mutex::new(channel)),
            reopen: Arc::new(reopen),
            settings: settings.clone(),
            last_failure,
            route: None,
        })
    }

    /// A client of another node of the cluster through this one, which must be a control plane
    /// node; for a node that cannot be reached itself. Shares the connection.
    ///
    /// # Errors
    /// [`ClientError::Answer`] when `node` cannot be an address or host name.
    pub fn for_node(&self, node: &str) -> Result<Self, ClientError> {
        self.routed("node", node)
    }

    pub(crate) fn routed(&self, key: &'static str, value: &str) -> Result<Self, ClientError> {
        let value = value.parse().map_err(|_| ClientError::Answer {
            endpoint: self.endpoint.clone(),
            method: "node",
            message: format!("{value:?} cannot name a node"),
        })?;
        Ok(Self {
            route: Some((key, value)),
            ..self.clone()
        })
    }

    /// The endpoint it is connected to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A unary call of `MachineService`; the one element of its answer.
    pub(super) async fn machine<Req, Res>(
        &self,
        method: &'static str,
        request: Req,
    ) -> Result<Res, ClientError>
    where
        Req: prost::Message + Default + 'static,
        Res: prost::Message + Default + FromNode + 'static,
    {
        self.machine_within(self.settings.deadline, method, request)
            .await
    }

    /// The same for a call that takes its time.
    pub(super) async fn machine_long<Req, Res>(
        &self,
        method: &'static str,
        request: Req,
    ) -> Result<Res, ClientError>
    where
        Req: prost::Message + Default + 'static,
        Res: prost::Message + Default + FromNode + 'static,
    {
        self.machine_within(self.settings.long_deadline, method, request)
            .await
    }

    async fn machine_within<Req, Res>(
        &self,
        deadline: Duration,
        method: &'static str,
        request: Req,
    ) -> Result<Res, ClientError>
    where
        Req: prost::Message + Default + 'static,
        Res: prost::Message + Default + FromNode + 'static,
    {
        let answer: Answer<Res> = self
            .unary("/machine.MachineService/", deadline, method, request)
            .await?;
        let element = answer
            .messages
            .into_iter()
            .next()
            .ok_or_else(|| ClientError::Answer {
                endpoint: self.endpoint.clone(),
                method,
                message: "it holds no element".to_owned(),
            })?;
        match element.metadata() {
            Some(metadata) if !metadata.error.is_empty() => Err(ClientError::Call {
                endpoint: self.endpoint.clone(),
                method,
                code: metadata
                    .status
                    .as_ref()
                    .map_or(Code::Unknown, |status| Code::from_i32(status.code)),
                message: metadata.error.clone(),
            }),
            _ => Ok(element),
        }
    }

    /// A unary call of any service.
    pub(crate) async fn unary<Req, Res>(
        &self,
        service: &'static str,
        deadline: Duration,
        method: &'static str,
        request: Req,
    ) -> Result<Res, ClientError>
    where
        Req: prost::Message + Default + 'static,
        Res: prost::Message + Default + 'static,
    {
        let path = path(service, method);
        let call = async {
            let mut grpc = self.grpc();
            grpc.ready()
                .await
                .map_err(|error| Status::from_error(error.into()))?;
            grpc.unary(
                self.request(request, deadline),
                path,
                ProstCodec::<Req, Res>::default(),
            )
            .await
        };
        self.within(deadline, method, call)
            .await
            .map(tonic::Response::into_inner)
    }

    /// A call that answers with a stream; all of it, in order.
    pub(super) async fn collect<Req, Res>(
        &self,
        service: &'static str,
        deadline: Duration,
        method: &'static str,
        request: Req,
    ) -> Result<Vec<Res>, ClientError>
    where
        Req: prost::Message + Default + 'static,
        Res: prost::Message + Default + 'static,
    {
        let path = path(service, method);
        let call = async {
            let mut grpc = self.grpc();
            grpc.ready()
                .await
                .map_err(|error| Status::from_error(error.into()))?;
            let mut stream: Streaming<Res> = grpc
                .server_streaming(
                    self.request(request, deadline),
                    path,
                    ProstCodec::<Req, Res>::default(),
                )
                .await?
                .into_inner();
            let mut all = Vec::new();
            while let Some(frame) = stream.next().await {
                all.push(frame?);
            }
            Ok(all)
        };
        self.within(deadline, method, call).await
    }

    pub(super) fn deadline(&self) -> Duration {
        self.settings.deadline
    }

    pub(super) fn long_deadline(&self) -> Duration {
        self.settings.long_deadline
    }

    fn request<T>(&self, message: T, deadline: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(deadline);
        if let Some((key, value)) = &self.route {
            request.metadata_mut().insert(*key, value.clone());
        }
        request
    }

    fn grpc(&self) -> tonic::client::Grpc<Channel> {
        let channel = self
            .channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        tonic::client::Grpc::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        method: &'static str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        let timer = self.settings.clock.sleep(deadline);
        match futures::future::select(std::pin::pin!(call), timer).await {
            Either::Left((Ok(answer), _)) => Ok(answer),
            Either::Left((Err(status), _)) => {
                let error = self.failed(method, &status, deadline);
                if matches!(error, ClientError::Deadline { .. }) {
                    self.give_connection_up();
                }
                Err(error)
            }
            Either::Right(((), _)) => {
                self.give_connection_up();
                Err(self.late(method, deadline))
            }
        }
    }

    /// A machine that lost its power says nothing, and TCP takes a quarter of an hour to notice;
    /// Talos counts pings in between as abuse. So a connection that let a deadline pass is not
    /// used by further calls; those under way on it may still succeed.
    fn give_connection_up(&self) {
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = (self.reopen)();
    }

    /// Tells a connection that failed from a call that was refused: only the first has a cause.
    fn failed(&self, method: &'static str, status: &Status, deadline: Duration) -> ClientError {
        let mut cause = std::error::Error::source(status);
        if cause.is_some()
            && let Some(failure) = take(&self.last_failure)
        {
            return failure.into_error(self.endpoint.clone());
        }
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return failure_of(io).into_error(self.endpoint.clone());
            }
            if error.is::<tonic::TimeoutExpired>() {
                return self.late(method, deadline);
            }
            cause = error.source();
        }
        match status.code() {
            Code::DeadlineExceeded => self.late(method, deadline),
            code => ClientError::Call {
                endpoint: self.endpoint.clone(),
                method,
                code,
                message: status.message().to_owned(),
            },
        }
    }

    fn late(&self, method: &'static str, deadline: Duration) -> ClientError {
        ClientError::Deadline {
            endpoint: self.endpoint.clone(),
            method,
            seconds: deadline.as_secs_f64(),
        }
    }
}

/// A stream that notes why reading from it failed: in TLS 1.3 a node refuses a client's
/// certificate only after the client is done with its handshake, and HTTP/2 does not say why its
/// calls were cancelled.
struct Observed {
    stream: tokio_rustls::client::TlsStream<BoxedStream>,
    failure: Arc<Mutex<Option<ConnectFailure>>>,
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Err(error)) = &read {
            store(&self.failure, Some(failure_of(error)));
        }
        read
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn path(service: &'static str, method: &'static str) -> PathAndQuery {
    PathAndQuery::try_from(format!("{service}{method}"))
        .unwrap_or_else(|_| PathAndQuery::from_static("/"))
}

async fn open(
    connector: &dyn Connector,
    endpoint: &Endpoint,
    tls: &TlsConnector,
    name: ServerName<'static>,
) -> std::io::Result<tokio_rustls::client::TlsStream<BoxedStream>> {
    let stream = connector.connect(endpoint).await?;
    tls.connect(name, stream).await
}

/// An error of TLS hides inside an error of input and output.
fn failure_of(error: &std::io::Error) -> ConnectFailure {
    let mut inner: Option<&(dyn std::error::Error + 'static)> =
        error.get_ref().map(|inner| inner as _);
    while let Some(cause) = inner {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return ConnectFailure::Tls(tls.to_string());
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            inner = io.get_ref().map(|inner| inner as _);
        } else {
            inner = cause.source();
        }
    }
    ConnectFailure::Io(error.kind(), error.to_string())
}

fn store(slot: &Mutex<Option<ConnectFailure>>, failure: Option<ConnectFailure>) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = failure;
}

fn take(slot: &Mutex<Option<ConnectFailure>>) -> Option<ConnectFailure> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl ConnectFailure {
    fn into_error(self, endpoint: Endpoint) -> ClientError {
        match self {
            Self::Io(kind, text) => ClientError::Connect {
                endpoint,
                source: std::io::Error::new(kind, text),
            },
            Self::Tls(message) => ClientError::Tls { endpoint, message },
        }
    }
}
