//! The seam below the client: how a connection to an endpoint is opened.

use std::{io, pin::Pin, sync::Arc};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use super::endpoint::Endpoint;

/// A byte stream to a node: a socket, or memory.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// An erased [`Stream`].
pub type BoxedStream = Pin<Box<dyn Stream>>;

/// Opens byte streams to endpoints.
///
/// The production one is [`TcpConnector`]. A bastion, a tunnel, or a simulation supplies its own:
/// TLS and the server name stay those of the endpoint, only the way there differs.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Opens a stream. Called for the first call and again after a connection was lost; dropping
    /// the future ends the attempt.
    ///
    /// # Errors
    /// Whatever the way there says; all are taken as transient.
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<BoxedStream>;
}

/// Connects by TCP to the endpoint itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<BoxedStream> {
        let stream = tokio::net::TcpStream::connect((endpoint.host(), endpoint.port())).await?;
        stream.set_nodelay(true)?;
        Ok(Box::pin(stream))
    }
}

/// Where an endpoint is really reached; `None` for an endpoint that is not known.
type Lookup = dyn Fn(&Endpoint) -> Option<std::net::SocketAddr> + Send + Sync;

/// Connects by TCP to where a map says the endpoint is, and nowhere else: with a map into
/// 127.0.0.0/8 nothing outside this machine is ever dialled.
#[derive(Clone)]
pub struct MappedConnector(Arc<Lookup>);

impl MappedConnector {
    /// A connector that asks `lookup` at every connection.
    pub fn new(
        lookup: impl Fn(&Endpoint) -> Option<std::net::SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(lookup))
    }
}

#[async_trait]
impl Connector for MappedConnector {
    async fn connect(&self, endpoint: &Endpoint) -> io::Result<BoxedStream> {
        let target = (self.0)(endpoint).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::HostUnreachable,
                format!("no address is mapped for {endpoint}"),
            )
        })?;
        let stream = tokio::net::TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Box::pin(stream))
    }
}
