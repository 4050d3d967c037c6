//! The network between simulated nodes and whoever talks to them: addresses are those of the
//! manifests, bytes go through memory, or through ports of 127.0.0.1 for other processes.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpListener,
    sync::{mpsc, watch},
};

/// Bytes that are under way in one direction of a connection.
const BUFFER: usize = 256 * 1024;

/// An address and a port of the simulated network.
pub(super) type Address = (IpAddr, u16);

struct Listener {
    incoming: mpsc::UnboundedSender<DuplexStream>,
    /// The machine lost its power: its connections are not closed but say nothing more.
    silent: Arc<AtomicBool>,
}

#[derive(Default)]
struct Tables {
    listeners: BTreeMap<Address, Listener>,
    loopback: BTreeMap<(String, u16), SocketAddr>,
}

#[derive(Clone, Default)]
pub(super) struct Network(Arc<Mutex<Tables>>);

impl Network {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens at an address. Ends when the receiver is dropped.
    pub(super) fn listen(&self, address: Address) -> mpsc::UnboundedReceiver<DuplexStream> {
        let (incoming, receiver) = mpsc::unbounded_channel();
        let silent = Arc::default();
        self.tables()
            .listeners
            .insert(address, Listener { incoming, silent });
        receiver
    }

    /// Whether somebody listens at an address.
    pub(super) fn listens(&self, address: Address) -> bool {
        self.tables()
            .listeners
            .get(&address)
            .is_some_and(|listener| !listener.incoming.is_closed())
    }

    /// Whoever listens at an address does so no more.
    pub(super) fn close(&self, address: Address) {
        self.tables().listeners.remove(&address);
    }

    /// Whoever listens at an address has lost its power.
    pub(super) fn silence(&self, address: Address) {
        if let Some(listener) = self.tables().listeners.remove(&address) {
            listener.silent.store(true, Ordering::Release);
        }
    }

    /// Connects to an address where somebody listens.
    pub(super) fn connect(&self, address: Address) -> io::Result<Wire> {
        let (stream, there) = tokio::io::duplex(BUFFER);
        let mut tables = self.tables();
        if let Some(listener) = tables.listeners.get(&address)
            && listener.incoming.send(there).is_ok()
        {
            return Ok(Wire {
                stream,
                silent: listener.silent.clone(),
            });
        }
        tables.listeners.remove(&address);
        Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!("nothing listens at {}:{}", address.0, address.1),
        ))
    }

    /// The port of 127.0.0.1 that stands for a host and port, where there is one.
    pub(super) fn loopback(&self, host: &str, port: u16) -> Option<SocketAddr> {
        self.tables()
            .loopback
            .get(&(host.to_owned(), port))
            .copied()
    }

    /// All hosts and ports that a port of 127.0.0.1 stands for.
    pub(super) fn routes(&self) -> Vec<((String, u16), SocketAddr)> {
        self.tables()
            .loopback
            .iter()
            .map(|(from, to)| (from.clone(), *to))
            .collect()
    }

    /// Opens a port of 127.0.0.1 that stands for a host and port from now on, whoever is there.
    /// `connect` makes the connection; `end` closes the port when its sender is dropped.
    pub(super) async fn expose<F, Fut>(
        &self,
        host: &str,
        port: u16,
        mut end: watch::Receiver<()>,
        connect: F,
    ) -> io::Result<()>
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = io::Result<Wire>> + Send + 'static,
    {
        let key = (host.to_owned(), port);
        if self.tables().loopback.contains_key(&key) {
            return Ok(());
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = listener.local_addr()?;
        if self.tables().loopback.contains_key(&key) {
            return Ok(());
        }
        self.tables().loopback.insert(key, at);
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = end.changed() => return,
                };
                let Ok((mut outside, _)) = accepted else {
                    continue;
                };
                let (inside, mut end) = (connect(), end.clone());
                tokio::spawn(async move {
                    let Ok(mut inside) = inside.await else { return };
                    tokio::select! {
                        // either side may hang up at any time; that is all an error says here
                        _ = tokio::io::copy_bidirectional(&mut outside, &mut inside) => {}
                        _ = end.changed() => {}
                    }
                });
            }
        });
        Ok(())
    }
}

/// The client's end of a connection. When the machine at the other end loses its power, nothing
/// more comes, and what is sent is lost; when it closes the connection, that is seen.
pub(super) struct Wire {
    stream: DuplexStream,
    silent: Arc<AtomicBool>,
}

impl Wire {
    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let ended = match &read {
            Poll::Ready(Ok(())) => buffer.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended && self.is_silent() {
            Poll::Pending
        } else {
            read
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(Err(_)) if self.is_silent() => Poll::Ready(Ok(bytes.len())),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
