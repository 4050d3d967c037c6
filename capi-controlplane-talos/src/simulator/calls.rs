//! Which call of the machine API is which, and whom it reaches.

use futures::{Stream, stream};
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::{Code, Status, body::Body};
use tonic_prost::ProstCodec;

use super::{answers::Node, routing::Targets};
use crate::client::wire::{self, Answer, FromNode};

const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// A unary call of `MachineService`, which may reach many nodes.
macro_rules! each {
    ($request:expr, $targets:expr, |$node:ident, $message:ident: $type:ty| $answer:expr) => {
        each(
            $request,
            $targets,
            |$node: Node, $message: $type| async move { $answer },
        )
        .await
    };
}

/// A unary call that reaches one node.
macro_rules! one {
    ($request:expr, $targets:expr, |$node:ident, $message:ident: $type:ty| $answer:expr) => {
        one(
            $request,
            $targets,
            |$node: Node, $message: $type| async move { $answer },
        )
        .await
    };
}

/// A call that one node answers with a stream.
macro_rules! stream {
    ($request:expr, $targets:expr, |$node:ident, $message:ident: $type:ty| $answer:expr) => {
        streaming(
            $request,
            $targets,
            |$node: Node, $message: $type| async move { $answer },
        )
        .await
    };
}

/// A call that one node answers with frames that it knows beforehand.
macro_rules! frames {
    ($request:expr, $targets:expr, |$node:ident, $message:ident: $type:ty| $answer:expr) => {
        stream!($request, $targets, |$node, $message: $type| $answer
            .map(stream::iter))
    };
}

pub(super) async fn dispatch(
    service: &str,
    method: &str,
    targets: Targets,
    request: Request<Incoming>,
) -> Response<Body> {
    match (service, method) {
        ("machine.MachineService", _) => machine_service(method, targets, request).await,
        ("cosi.resource.State", "Get") => {
            one!(request, targets, |node, r: wire::ResourceGetRequest| node
                .resource(&r))
        }
        ("machine.ImageService", "Pull") if targets.have_lifecycle() => {
            frames!(request, targets, |node, r: wire::ImagePullRequest| node
                .pull(&r))
        }
        ("machine.LifecycleService", "Upgrade") if targets.have_lifecycle() => {
            frames!(
                request,
                targets,
                |node, r: wire::LifecycleUpgradeRequest| node.upgrade(&r)
            )
        }
        _ => unknown(service, method),
    }
}

async fn machine_service(
    method: &str,
    targets: Targets,
    request: Request<Incoming>,
) -> Response<Body> {
    match method {
        "Version" => each!(request, targets, |node, _r: wire::Empty| node.version()),
        "Hostname" => each!(request, targets, |node, _r: wire::Empty| node.hostname()),
        "ServiceList" => each!(request, targets, |node, _r: wire::Empty| node.services()),
        "Bootstrap" => {
            each!(request, targets, |node, r: wire::BootstrapRequest| node
                .bootstrap(&r))
        }
        "EtcdMemberList" => {
            each!(request, targets, |node, r: wire::EtcdMemberListRequest| {
                node.etcd_members(&r).await
            })
        }
        "EtcdStatus" => each!(request, targets, |node, _r: wire::Empty| node.etcd_status()),
        "EtcdAlarmList" => {
            each!(request, targets, |node, _r: wire::Empty| node
                .etcd_alarms()
                .await)
        }
        "EtcdLeaveCluster" => {
            each!(
                request,
                targets,
                |node, _r: wire::EtcdLeaveClusterRequest| node.etcd_leave().await
            )
        }
        "EtcdForfeitLeadership" => {
            each!(
                request,
                targets,
                |node, _r: wire::EtcdForfeitLeadershipRequest| node.etcd_forfeit().await
            )
        }
        "EtcdRemoveMemberByID" => {
            each!(
                request,
                targets,
                |node, r: wire::EtcdRemoveMemberByIdRequest| node.etcd_remove(&r).await
            )
        }
        "ApplyConfiguration" => {
            each!(
                request,
                targets,
                |node, r: wire::ApplyConfigurationRequest| node.apply(&r)
            )
        }
        "Reboot" => each!(request, targets, |node, _r: wire::RebootRequest| node
            .reboot()),
        "Shutdown" => each!(request, targets, |node, _r: wire::ShutdownRequest| node
            .shutdown()),
        "Reset" => each!(request, targets, |node, r: wire::ResetRequest| node
            .reset(&r)
            .await),
        "Upgrade" => {
            each!(request, targets, |node, r: wire::UpgradeRequest| node
                .upgrade_legacy(&r))
        }
        "Kubeconfig" => {
            frames!(request, targets, |node, _r: wire::Empty| node.kubeconfig())
        }
        "EtcdSnapshot" => {
            frames!(request, targets, |node, _r: wire::EtcdSnapshotRequest| node
                .etcd_snapshot())
        }
        "List" => frames!(request, targets, |node, r: wire::ListRequest| node.list(&r)),
        "Read" => frames!(request, targets, |node, r: wire::ReadRequest| node.read(&r)),
        "Events" => stream!(request, targets, |node, _r: wire::EventsRequest| Ok(
            node.events()
        )),
        _ => unknown("machine.MachineService", method),
    }
}

/// Calls each target. One alone answers for itself; of many each answer tells its node, and an
/// error is part of the answer.
async fn each<Req, T, F, Fut>(
    request: Request<Incoming>,
    targets: Targets,
    handle: F,
) -> Response<Body>
where
    F: Fn(Node, Req) -> Fut,
    Fut: Future<Output = Result<Answer<T>, Status>>,
    Req: prost::Message + Default + Clone + Send + 'static,
    T: prost::Message + Default + FromNode + Send + 'static,
{
    let many = match targets {
        Targets::One(node) => {
            return unary(request, |message| handle(node, message)).await;
        }
        Targets::Many(many) => many,
    };
    unary(request, async |message: Req| {
        let mut all = Vec::new();
        for (host, node) in many {
            let answer = match node {
                Some(node) => handle(node, message.clone()).await,
                None => Err(Status::unavailable(format!("{host} does not answer"))),
            };
            let (mut messages, error) = match answer {
                Ok(answer) => (answer.messages, None),
                Err(status) => (vec![T::default()], Some(status)),
            };
            for message in &mut messages {
                *message.metadata_mut() = Some(wire::Metadata {
                    hostname: host.clone(),
                    error: error
                        .as_ref()
                        .map(|e| e.message().to_owned())
                        .unwrap_or_default(),
                    status: error.as_ref().map(|status| wire::RpcStatus {
                        code: status.code() as i32,
                        message: status.message().to_owned(),
                    }),
                });
            }
            all.append(&mut messages);
        }
        Ok(Answer { messages: all })
    })
    .await
}

async fn one<Req, Res, F, Fut>(
    request: Request<Incoming>,
    targets: Targets,
    handle: F,
) -> Response<Body>
where
    F: Fn(Node, Req) -> Fut,
    Fut: Future<Output = Result<Res, Status>>,
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
{
    match targets.only() {
        Ok(node) => unary(request, |message| handle(node, message)).await,
        Err(status) => status.into_http(),
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

async fn streaming<Req, Res, F, Fut, S>(
    request: Request<Incoming>,
    targets: Targets,
    handle: F,
) -> Response<Body>
where
    F: Fn(Node, Req) -> Fut,
    Fut: Future<Output = Result<S, Status>>,
    S: Stream<Item = Result<Res, Status>> + Send + 'static,
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
{
    let mut node = match targets.only() {
        Ok(node) => Some(node),
        Err(status) => return status.into_http(),
    };
    let service = tower::service_fn(move |request: tonic::Request<Req>| {
        let answer = node.take().map(|node| handle(node, request.into_inner()));
        async move {
            match answer {
                Some(answer) => answer.await.map(tonic::Response::new),
                None => Err(Status::internal("called twice")),
            }
        }
    });
    codec::<Req, Res>().server_streaming(service, request).await
}
