//! The machine API of a simulated node: connections, roles, faults, and which call is which.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{io::DuplexStream, sync::mpsc, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tonic::{Status, body::Body};

use super::{answers::Node, calls, life::Me, options::CallFault, routing, server};
use crate::client::{MACHINE_API_PORT, Role};

/// Serves the machine API with mutual TLS at one address, until cancelled.
pub(super) async fn serve(me: Me, address: IpAddr, tls: TlsAcceptor) {
    let connections = me.inner.network.listen((address, MACHINE_API_PORT));
    accept(me, connections, tls, false).await;
}

/// Serves the reduced machine API of maintenance mode at one address, until cancelled.
pub(super) async fn serve_maintenance(me: Me, address: IpAddr) {
    match server::maintenance_tls(&me.inner.clock, address) {
        Ok(tls) => {
            let connections = me.inner.network.listen((address, MACHINE_API_PORT));
            accept(me, connections, tls, true).await;
        }
        Err(error) => {
            me.node(|node| node.error = Some(error.to_string()));
        }
    }
}

async fn accept(
    me: Me,
    mut incoming: mpsc::UnboundedReceiver<DuplexStream>,
    tls: TlsAcceptor,
    maintenance: bool,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            stream = incoming.recv() => match stream {
                Some(stream) => {
                    connections.spawn(connection(me.clone(), stream, tls.clone(), maintenance));
                }
                None => return,
            },
        }
    }
}

async fn connection(me: Me, stream: DuplexStream, tls: TlsAcceptor, maintenance: bool) {
    let stream = match tls.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(machine = %me.uuid, %error, "a client was turned away");
            return;
        }
    };
    let roles: Arc<[Role]> = if maintenance {
        [Role::Reader].into()
    } else {
        let certificates = stream.get_ref().1.peer_certificates();
        server::roles(certificates.and_then(|chain| chain.first())).into()
    };
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let call = Call {
            me: me.clone(),
            roles: roles.clone(),
            maintenance,
        };
        async move { Ok::<_, Infallible>(call.answer(request).await) }
    });
    let served = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "a connection to a simulated node ended");
    }
}

/// The least role that a call needs.
fn required(method: &str) -> Role {
    match method {
        "Reboot" | "Shutdown" | "Pull" | "EtcdSnapshot" => Role::Operator,
        "Version" | "Hostname" | "ServiceList" | "Events" | "List" | "EtcdMemberList"
        | "EtcdStatus" | "EtcdAlarmList" | "Get" => Role::Reader,
        _ => Role::Admin,
    }
}

struct Call {
    me: Me,
    roles: Arc<[Role]>,
    maintenance: bool,
}

impl Call {
    fn allowed(&self, method: &str) -> bool {
        let has = |role: Role| self.roles.contains(&role);
        if self.maintenance && method == "ApplyConfiguration" {
            return true;
        }
        has(Role::Admin)
            || match required(method) {
                Role::Operator => {
                    has(Role::Operator) || (method == "EtcdSnapshot" && has(Role::EtcdBackup))
                }
                Role::Reader => has(Role::Operator) || has(Role::Reader),
                _ => false,
            }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let (service, method) = path
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))
            .unwrap_or_default();
        let fault = self.fault(method);
        self.me.sleep(self.me.inner.options.latencies.call).await;
        let mut answer_lost = false;
        match fault {
            Some(CallFault::Fails(code)) => {
                return Status::new(code, "a fault was planned").into_http();
            }
            Some(CallFault::Hangs) => std::future::pending().await,
            Some(CallFault::Delayed(duration)) => self.me.sleep(duration).await,
            Some(CallFault::AnswerLost) => answer_lost = true,
            None => {}
        }
        if !self.allowed(method) {
            return Status::permission_denied("not authorized").into_http();
        }
        const MAINTENANCE: [&str; 3] = ["Version", "ApplyConfiguration", "Get"];
        if self.maintenance && !MAINTENANCE.contains(&method) {
            return Status::unimplemented(format!("{method} is not available in maintenance mode"))
                .into_http();
        }
        let here = Node {
            me: self.me.clone(),
            maintenance: self.maintenance,
        };
        let response = match routing::targets(here, service, request.headers()).await {
            Ok(targets) => calls::dispatch(service, method, targets, request).await,
            Err(status) => status.into_http(),
        };
        if answer_lost {
            std::future::pending::<()>().await;
        }
        response
    }

    fn fault(&self, method: &str) -> Option<CallFault> {
        let plan = self
            .me
            .inner
            .faults
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone();
        plan.and_then(|plan| plan(&self.me.uuid, method))
    }
}
