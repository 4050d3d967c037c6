//! The Talos machine API, as far as a control plane needs it: gRPC with mutual TLS.
//!
//! One [`TalosClient`] is one connection to one node; it never asks a node to forward to others,
//! so an answer is that of the node that was dialled. Time (deadlines, validity of certificates)
//! comes from a [`Clock`], the way to a node from a [`Connector`]: a simulation needs neither the
//! machine's clock nor sockets.
//!
//! ```no_run
//! # async fn run(talosconfig: secrecy::SecretString, clock: capi_core::clock::Clock) -> Result<(), Box<dyn std::error::Error>> {
//! use capi_controlplane_talos::client::{Credentials, Settings, TalosClient, TcpConnector};
//!
//! let credentials = Credentials::from_talosconfig(&talosconfig)?;
//! let settings = Settings::new(clock, TcpConnector);
//! let node = TalosClient::connect("10.0.0.11".parse()?, &credentials, &settings).await?;
//! println!("{} runs Talos {}", node.hostname().await?, node.version().await?.tag);
//! # Ok(())
//! # }
//! ```

mod calls;
mod connect;
mod credentials;
mod endpoint;
mod error;
mod kubeconfig;
mod transport;
mod types;
pub(crate) mod wire;

pub use connect::{BoxedStream, Connector, MappedConnector, Stream, TcpConnector};
pub use credentials::{Credentials, Role};
pub use endpoint::{Endpoint, EndpointError, MACHINE_API_PORT};
pub use error::{ClientError, RetryClass};
pub use transport::{Settings, TalosClient};
pub use types::{
    Applied, ApplyMode, EtcdAlarm, EtcdAlarmKind, EtcdMember, EtcdMemberId, EtcdStatus, Health,
    MachineStage, MachineStatus, PowerMode, ResetMode, Service, TalosVersion,
};

#[cfg(doc)]
use capi_core::clock::Clock;
