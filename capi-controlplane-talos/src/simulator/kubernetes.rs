//! The Kubernetes side of a simulated cluster: its API on the control plane nodes, the kubelets
//! that register Nodes, and the controller that sees when one of them is gone.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use capi_apiserver::{ApiServer, ApiService, User};
use capi_core::{
    clock::Clock,
    pki::{Certificate, LeafRequest, PkiError, Subject, SubjectAltName},
};
use http::{Method, Request, Response, StatusCode};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use tokio::{io::DuplexStream, sync::mpsc, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

use super::{
    config::{Kind, NodeConfig, Plugin},
    life::Me,
    options::NetworkPlugin,
    server,
    state::{Inner, KUBERNETES_API_PORT, State, cluster_key},
};

/// Paths that anybody may read.
const PUBLIC: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];

/// The store behind the Kubernetes API of a cluster: one, whichever node is asked.
pub(super) struct Kubernetes {
    server: ApiServer,
}

#[derive(Debug)]
struct ServerClock(Clock);

impl capi_apiserver::Clock for ServerClock {
    fn now(&self) -> jiff::Timestamp {
        self.0.now()
    }
}

impl Kubernetes {
    fn new(clock: &Clock, seed: u64) -> Result<Self, capi_apiserver::BuildError> {
        let server = ApiServer::builder()
            .clock(ServerClock(clock.clone()))
            .seed(seed)
            .build()?;
        Ok(Self { server })
    }

    /// One request of the cluster's own components. Whether it was done.
    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<(), StatusCode> {
        let content = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content)
            .header(http::header::USER_AGENT, "kubelet/simulated")
            .body(body.to_string())
            .map_err(|_| StatusCode::BAD_REQUEST)?;
        let Ok(response) = self.server.service().call(request).await;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(response.status())
        }
    }
}

/// The Kubernetes API of a simulated cluster as a tower service, for
/// `kube::Client::new(service, "default")` in the same process: no socket, no TLS, and yet with
/// the moods of a real one. While no control plane node serves it, requests time out; without
/// quorum of etcd they are answered with an error after etcd gave up.
#[derive(Clone)]
pub struct KubernetesService {
    inner: Arc<Inner>,
    host: String,
    port: u16,
}

impl std::fmt::Debug for KubernetesService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KubernetesService({}:{})", self.host, self.port)
    }
}

impl KubernetesService {
    pub(super) fn new(inner: Arc<Inner>, host: String, port: u16) -> Self {
        Self { inner, host, port }
    }

    /// The service of a node that serves now.
    fn serving(&self) -> Option<(String, ApiService)> {
        let nodes = self
            .inner
            .read(|state| state.behind_endpoint(&self.host, self.port));
        let listens =
            |address: &IpAddr| self.inner.network.listens((*address, KUBERNETES_API_PORT));
        let address = nodes.into_iter().find(listens)?;
        self.inner.read(|state| {
            let key = state.node_at(address)?.cluster()?;
            let kubernetes = state.clusters.get(&key)?.kubernetes.as_ref()?;
            Some((key.clone(), kubernetes.server.service()))
        })
    }
}

impl<B> tower::Service<Request<B>> for KubernetesService
where
    B: hyper::body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<capi_apiserver::Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let Some((key, mut service)) = this.serving() else {
                this.inner
                    .clock
                    .sleep(this.inner.options.latencies.unreachable)
                    .await;
                let text = format!("{}:{} does not answer", this.host, this.port);
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            };
            if !quorum(&this.inner, &key).await {
                return Ok(no_quorum());
            }
            let Ok(response) = service.call(request).await;
            Ok(response)
        })
    }
}

/// Waits for quorum of a cluster's etcd, as long as etcd does.
async fn quorum(inner: &Inner, key: &str) -> bool {
    let reached = inner.until(|state| has_quorum(state, key).then_some(()));
    let limit = inner.clock.sleep(inner.options.latencies.quorum);
    tokio::select! {
        biased;
        () = reached => true,
        () = limit => false,
    }
}

fn has_quorum(state: &State, key: &str) -> bool {
    state
        .clusters
        .get(key)
        .and_then(|cluster| cluster.etcd.as_ref())
        .is_some_and(super::etcd::Etcd::has_quorum)
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Response<capi_apiserver::Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    let mut response = Response::new(capi_apiserver::Body::from(bytes::Bytes::from(
        status.to_string(),
    )));
    *response.status_mut() = code;
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    response
}

fn no_quorum() -> Response<capi_apiserver::Body> {
    failure(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        "etcdserver: request timed out",
    )
}

/// Serves the API on a control plane node, while its etcd runs.
pub(super) async fn serve(me: Me, config: Arc<NodeConfig>, addresses: Vec<IpAddr>) {
    let etcd = |runs: bool| {
        let uuid = me.uuid.clone();
        let inner = me.inner.clone();
        async move {
            inner
                .until(|state| {
                    let node = state.nodes.get(&*uuid)?;
                    (node.service_runs("etcd") == runs).then_some(())
                })
                .await;
        }
    };
    loop {
        etcd(true).await;
        me.sleep(me.inner.options.latencies.kubernetes_api).await;
        let key = cluster_key(&config);
        if let Err(error) = begin(&me, &key, config.plugin) {
            me.node(|node| node.error = Some(error.to_string()));
            return;
        }
        let tls = match identity(&me, &config, &addresses).map_err(server::ServerError::from) {
            Ok(identity) => {
                let authority = &config.kubernetes.certificate;
                server::acceptor(&me.inner.clock, authority, &identity, false)
            }
            Err(error) => Err(error),
        };
        let tls = match tls {
            Ok(tls) => tls,
            Err(error) => {
                me.node(|node| node.error = Some(error.to_string()));
                return;
            }
        };
        let mut listeners = JoinSet::new();
        for address in &addresses {
            super::expose(&me.inner, &address.to_string(), KUBERNETES_API_PORT).await;
            let incoming = me.inner.network.listen((*address, KUBERNETES_API_PORT));
            listeners.spawn(accept(me.inner.clone(), key.clone(), incoming, tls.clone()));
        }
        // whoever waits for the API looks again
        me.update(|_| ());
        etcd(false).await;
        listeners.shutdown().await;
        for address in &addresses {
            me.inner.network.close((*address, KUBERNETES_API_PORT));
        }
    }
}

/// Makes the cluster's store, if it has none yet.
fn begin(me: &Me, key: &str, plugin: Plugin) -> Result<(), capi_apiserver::BuildError> {
    let (there, seed) = me.inner.write(|state| {
        let there = state
            .clusters
            .get(key)
            .is_some_and(|cluster| cluster.kubernetes.is_some());
        (there, state.random())
    });
    if there {
        return Ok(());
    }
    let new = Arc::new(Kubernetes::new(&me.inner.clock, seed)?);
    me.update(|state| {
        let cluster = state.clusters.get_mut(key)?;
        cluster.kubernetes.get_or_insert(new);
        cluster.plugin |= plugin == Plugin::Included;
        Some(())
    });
    Ok(())
}

fn identity(
    me: &Me,
    config: &NodeConfig,
    addresses: &[IpAddr],
) -> Result<capi_core::pki::IssuedCertificate, PkiError> {
    let authority = config.kubernetes.signer().ok_or_else(|| {
        PkiError::Unsupported(
            "a control plane node without the key of the Kubernetes CA".to_owned(),
        )
    })?;
    let hostname = me
        .look(|node| node.boot.hostname.clone())
        .unwrap_or_default();
    let names = addresses
        .iter()
        .map(|address| SubjectAltName::Ip(*address))
        .chain(
            [
                config.endpoint_host.as_str(),
                &hostname,
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "localhost",
                "127.0.0.1",
                "::1",
            ]
            .map(SubjectAltName::parse),
        );
    let subject = Subject::new("kube-apiserver", ["kube-master"]);
    authority.issue(&LeafRequest::server(subject, names, me.inner.clock.now()))
}

async fn accept(
    inner: Arc<Inner>,
    key: String,
    mut incoming: mpsc::UnboundedReceiver<DuplexStream>,
    tls: TlsAcceptor,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            stream = incoming.recv() => match stream {
                Some(stream) => {
                    connections.spawn(connection(inner.clone(), key.clone(), stream, tls.clone()));
                }
                None => return,
            },
        }
    }
}

async fn connection(inner: Arc<Inner>, key: String, stream: DuplexStream, tls: TlsAcceptor) {
    let stream = match tls.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a client of a simulated Kubernetes API was turned away");
            return;
        }
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let user = certificates
        .and_then(|chain| Certificate::from_der(chain.first()?).ok())
        .map(|certificate| Arc::new(user(&certificate)));
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (inner, key, user) = (inner.clone(), key.clone(), user.clone());
        async move { Ok::<_, Infallible>(answer(&inner, &key, user, request).await) }
    });
    let served = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "a connection to a simulated Kubernetes API ended");
    }
}

fn user(certificate: &Certificate) -> User {
    let mut groups = certificate.organizations().to_vec();
    groups.push("system:authenticated".to_owned());
    User {
        name: certificate.common_name().unwrap_or_default().to_owned(),
        groups,
    }
}

async fn answer(
    inner: &Inner,
    key: &str,
    user: Option<Arc<User>>,
    mut request: Request<hyper::body::Incoming>,
) -> Response<capi_apiserver::Body> {
    match user {
        Some(user) => {
            request.extensions_mut().insert(user);
        }
        None if PUBLIC.contains(&request.uri().path()) => {}
        None => return failure(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"),
    }
    if !quorum(inner, key).await {
        return no_quorum();
    }
    let service = inner.read(|state| {
        state
            .clusters
            .get(key)?
            .kubernetes
            .as_ref()
            .map(|kubernetes| kubernetes.server.service())
    });
    let Some(mut service) = service else {
        return no_quorum();
    };
    let Ok(response) = service.call(request).await;
    response
}

/// The cluster's store, once a control plane node serves it and etcd has quorum.
async fn reachable(inner: &Inner, key: &str) -> Arc<Kubernetes> {
    inner
        .until(|state| {
            let served = state.nodes.values().any(|node| {
                node.is_on()
                    && node.cluster().as_deref() == Some(key)
                    && node
                        .addresses
                        .iter()
                        .any(|address| inner.network.listens((*address, KUBERNETES_API_PORT)))
            });
            let kubernetes = state.clusters.get(key)?.kubernetes.clone()?;
            (served && has_quorum(state, key)).then_some(kubernetes)
        })
        .await
}

/// Registers the Node, and makes it ready once there is a network.
pub(super) async fn run_kubelet(me: Me, config: Arc<NodeConfig>) {
    let key = cluster_key(&config);
    let latencies = me.inner.options.latencies.clone();
    let mut kubernetes = reachable(&me.inner, &key).await;
    me.sleep(latencies.kubelet).await;
    let Some(facts) = me.look(|node| NodeFacts::of(node, &me.uuid, &config)) else {
        return;
    };
    let path = format!("/api/v1/nodes/{}", facts.name);
    let not_ready = json!({"status": facts.status(&me.inner.clock, false)});
    loop {
        let made = kubernetes
            .call(Method::POST, "/api/v1/nodes", &facts.object())
            .await;
        let known = matches!(made, Ok(()) | Err(StatusCode::CONFLICT));
        if known
            && kubernetes
                .call(Method::PATCH, &format!("{path}/status"), &not_ready)
                .await
                .is_ok()
        {
            break;
        }
        tracing::warn!(node = %facts.name, ?made, "a simulated kubelet could not register");
        me.inner
            .clock
            .sleep(std::time::Duration::from_secs(5))
            .await;
        kubernetes = reachable(&me.inner, &key).await;
    }
    if me.inner.options.network_plugin != NetworkPlugin::Present {
        me.inner
            .until(|state| state.clusters.get(&key)?.plugin.then_some(()))
            .await;
    }
    me.sleep(latencies.network).await;
    let kubernetes = reachable(&me.inner, &key).await;
    if me.look(|_| ()).is_none() {
        return;
    }
    let ready = json!({"status": facts.status(&me.inner.clock, true)});
    // a Node that somebody deleted meanwhile stays deleted: a kubelet registers when it starts
    if let Err(code) = kubernetes
        .call(Method::PATCH, &format!("{path}/status"), &ready)
        .await
    {
        tracing::debug!(node = %facts.name, %code, "a simulated kubelet could not report");
    }
}

/// What a controller does about a machine that stopped: after a while its Node is seen to be
/// stale. Does nothing if the machine runs again by then.
pub(super) async fn watch_stopped(
    inner: Arc<Inner>,
    uuid: String,
    boots: u64,
    key: String,
    name: String,
) {
    inner.clock.sleep(inner.options.latencies.node_stale).await;
    let kubernetes = reachable(&inner, &key).await;
    let runs_again = inner.read(|state| {
        state
            .nodes
            .get(&uuid)
            .is_some_and(|node| node.is_on() || node.boots != boots)
    });
    if runs_again {
        return;
    }
    let now = time(&inner.clock);
    let unknown = |kind: &str| {
        json!({
            "type": kind, "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.", "lastTransitionTime": now,
            "lastHeartbeatTime": now,
        })
    };
    let kinds = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];
    let status = json!({"status": {"conditions": kinds.map(unknown)}});
    let path = format!("/api/v1/nodes/{name}/status");
    match kubernetes.call(Method::PATCH, &path, &status).await {
        Ok(()) | Err(StatusCode::NOT_FOUND) => {}
        Err(code) => tracing::warn!(node = %name, %code, "a stale Node could not be marked"),
    }
}

fn time(clock: &Clock) -> String {
    clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What a kubelet reports.
struct NodeFacts {
    name: String,
    control_plane: bool,
    external_cloud: bool,
    addresses: Vec<IpAddr>,
    uuid: String,
    boot_id: String,
    talos: String,
    kubelet: String,
}

impl NodeFacts {
    fn of(node: &super::state::Node, uuid: &str, config: &NodeConfig) -> Self {
        Self {
            name: node.boot.hostname.clone(),
            control_plane: config.kind == Kind::ControlPlane,
            external_cloud: config.external_cloud,
            addresses: node.addresses.clone(),
            uuid: uuid.to_owned(),
            boot_id: node.boot.id.clone(),
            talos: node.boot.version.clone(),
            kubelet: config.kubelet_version.clone(),
        }
    }

    /// The Node as it is registered: without providerID, as Talos never sets one.
    fn object(&self) -> Value {
        let mut labels = json!({
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
        });
        let mut taints =
            vec![json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"})];
        if self.control_plane {
            labels["node-role.kubernetes.io/control-plane"] = json!("");
            labels["node.kubernetes.io/exclude-from-external-load-balancers"] = json!("");
            taints.push(
                json!({"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}),
            );
        }
        if self.external_cloud {
            taints.push(json!({
                "key": "node.cloudprovider.kubernetes.io/uninitialized",
                "value": "true", "effect": "NoSchedule",
            }));
        }
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {"taints": taints},
        })
    }

    fn status(&self, clock: &Clock, ready: bool) -> Value {
        let now = time(clock);
        let condition = |kind: &str, status: bool, reason: &str, message: &str| {
            json!({
                "type": kind, "status": if status { "True" } else { "False" }, "reason": reason,
                "message": message, "lastTransitionTime": now, "lastHeartbeatTime": now,
            })
        };
        let (reason, message) = if ready {
            ("KubeletReady", "kubelet is posting ready status")
        } else {
            (
                "KubeletNotReady",
                "container runtime network not ready: cni plugin not initialized",
            )
        };
        let mut addresses: Vec<Value> = self
            .addresses
            .iter()
            .map(|address| json!({"type": "InternalIP", "address": address.to_string()}))
            .collect();
        addresses.push(json!({"type": "Hostname", "address": self.name}));
        let resources = json!({"cpu": "2", "memory": "2Gi", "pods": "110"});
        json!({
            "addresses": addresses,
            "capacity": resources, "allocatable": resources,
            "conditions": [
                condition("MemoryPressure", false, "KubeletHasSufficientMemory", ""),
                condition("DiskPressure", false, "KubeletHasNoDiskPressure", ""),
                condition("PIDPressure", false, "KubeletHasSufficientPID", ""),
                condition("Ready", ready, reason, message),
            ],
            "nodeInfo": {
                "machineID": self.uuid.replace('-', ""),
                "systemUUID": self.uuid,
                "bootID": self.boot_id,
                "kernelVersion": "6.18.0-talos",
                "osImage": format!("Talos ({})", self.talos),
                "containerRuntimeVersion": "containerd://2.2.0",
                "kubeletVersion": self.kubelet,
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        })
    }
}
