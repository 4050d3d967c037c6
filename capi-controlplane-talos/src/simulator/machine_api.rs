//! The machine API of a simulated node: connections, roles, faults, and which call is which.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use futures::{Stream, stream};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{io::DuplexStream, sync::mpsc, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status, body::Body};
use tonic_prost::ProstCodec;

use super::{answers::Node, life::Me, options::CallFault, server};
use crate::client::{MACHINE_API_PORT, Role, wire};

const MAX_MESSAGE: usize = 32 * 1024 * 1024;

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
        let response = match service {
            "machine.MachineService" => self.machine(method, request).await,
            "machine.LifecycleService" | "machine.ImageService" | "cosi.resource.State" => {
                self.others(service, method, request).await
            }
            _ => unknown(service, method),
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

    fn node(&self) -> Node {
        Node {
            me: self.me.clone(),
            maintenance: self.maintenance,
        }
    }

    async fn machine(&self, method: &str, request: Request<Incoming>) -> Response<Body> {
        let node = self.node();
        match method {
            "Version" => unary(request, async move |_: wire::Empty| node.version()).await,
            "Hostname" => unary(request, async move |_: wire::Empty| node.hostname()).await,
            "ServiceList" => unary(request, async move |_: wire::Empty| node.services()).await,
            "Bootstrap" => {
                unary(request, async move |r: wire::BootstrapRequest| {
                    node.bootstrap(&r)
                })
                .await
            }
            "EtcdMemberList" => {
                unary(request, async move |r: wire::EtcdMemberListRequest| {
                    node.etcd_members(&r).await
                })
                .await
            }
            "EtcdStatus" => unary(request, async move |_: wire::Empty| node.etcd_status()).await,
            "EtcdAlarmList" => {
                unary(request, async move |_: wire::Empty| {
                    node.etcd_alarms().await
                })
                .await
            }
            "EtcdLeaveCluster" => {
                unary(request, async move |_: wire::EtcdLeaveClusterRequest| {
                    node.etcd_leave().await
                })
                .await
            }
            "EtcdForfeitLeadership" => {
                unary(
                    request,
                    async move |_: wire::EtcdForfeitLeadershipRequest| node.etcd_forfeit().await,
                )
                .await
            }
            "EtcdRemoveMemberByID" => {
                unary(
                    request,
                    async move |r: wire::EtcdRemoveMemberByIdRequest| node.etcd_remove(&r).await,
                )
                .await
            }
            "ApplyConfiguration" => {
                unary(request, async move |r: wire::ApplyConfigurationRequest| {
                    node.apply(&r)
                })
                .await
            }
            "Reboot" => unary(request, async move |_: wire::RebootRequest| node.reboot()).await,
            "Shutdown" => {
                unary(request, async move |_: wire::ShutdownRequest| {
                    node.shutdown()
                })
                .await
            }
            "Reset" => {
                unary(request, async move |r: wire::ResetRequest| {
                    node.reset(&r).await
                })
                .await
            }
            "Upgrade" => {
                unary(request, async move |r: wire::UpgradeRequest| {
                    node.upgrade_legacy(&r)
                })
                .await
            }
            "Kubeconfig" => {
                streaming(request, async move |_: wire::Empty| {
                    node.kubeconfig().map(stream::iter)
                })
                .await
            }
            "EtcdSnapshot" => {
                streaming(request, async move |_: wire::EtcdSnapshotRequest| {
                    node.etcd_snapshot().map(stream::iter)
                })
                .await
            }
            "List" => {
                streaming(request, async move |r: wire::ListRequest| {
                    node.list(&r).map(stream::iter)
                })
                .await
            }
            "Read" => {
                streaming(request, async move |r: wire::ReadRequest| {
                    node.read(&r).map(stream::iter)
                })
                .await
            }
            "Events" => {
                streaming(request, async move |_: wire::EventsRequest| {
                    Ok(node.events())
                })
                .await
            }
            _ => unknown("machine.MachineService", method),
        }
    }

    async fn others(
        &self,
        service: &str,
        method: &str,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let node = self.node();
        match (service, method) {
            ("cosi.resource.State", "Get") => {
                unary(request, async move |r: wire::ResourceGetRequest| {
                    node.resource(&r)
                })
                .await
            }
            ("machine.ImageService", "Pull") if node.has_lifecycle() => {
                streaming(request, async move |r: wire::ImagePullRequest| {
                    node.pull(&r).map(stream::iter)
                })
                .await
            }
            ("machine.LifecycleService", "Upgrade") if node.has_lifecycle() => {
                streaming(request, async move |r: wire::LifecycleUpgradeRequest| {
                    node.upgrade(&r).map(stream::iter)
                })
                .await
            }
            _ => unknown(service, method),
        }
    }
}

fn unknown(service: &str, method: &str) -> Response<Body> {
    Status::new(
        Code::Unimplemented,
        format!("unknown method {method} for service {service}"),
    )
    .into_http()
}

fn codec<Req, Res>() -> tonic::server::Grpc<ProstCodec<Res, Req>>
where
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
{
    tonic::server::Grpc::new(ProstCodec::default())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

async fn unary<Req, Res, F, Fut>(request: Request<Incoming>, handle: F) -> Response<Body>
where
    F: FnOnce(Req) -> Fut,
    Fut: Future<Output = Result<Res, Status>>,
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
{
    let mut handle = Some(handle);
    let service = tower::service_fn(move |request: tonic::Request<Req>| {
        let handle = handle.take();
        async move {
            match handle {
                Some(handle) => handle(request.into_inner()).await.map(tonic::Response::new),
                None => Err(Status::internal("called twice")),
            }
        }
    });
    codec::<Req, Res>().unary(service, request).await
}

async fn streaming<Req, Res, F, Fut, S>(request: Request<Incoming>, handle: F) -> Response<Body>
where
    F: FnOnce(Req) -> Fut,
    Fut: Future<Output = Result<S, Status>>,
    S: Stream<Item = Result<Res, Status>> + Send + 'static,
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
{
    let mut handle = Some(handle);
    let service = tower::service_fn(move |request: tonic::Request<Req>| {
        let handle = handle.take();
        async move {
            match handle {
                Some(handle) => handle(request.into_inner()).await.map(tonic::Response::new),
                None => Err(Status::internal("called twice")),
            }
        }
    });
    codec::<Req, Res>().server_streaming(service, request).await
}
