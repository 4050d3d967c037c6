//! Access to workload clusters: one connection per cluster, shared by whoever asks.
//!
//! A connection begins when somebody first asks for it, and only once the cluster's kubeconfig
//! Secret exists. Each cluster has a task of its own, so one that does not answer slows no other.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use base64::Engine as _;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

use super::{Cache, Error, Object, ObjectKey, ResourceType, Store};
use crate::clock::Clock;

/// How long a request to a workload cluster may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two probes of a cluster that answers.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Probes that fail in a row before the connection counts as lost.
const PROBE_FAILURES: u32 = 5;
/// The first wait after a connection that failed; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(25);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// Makes a client for a workload cluster. The application supplies it, so that simulators and
/// bastions can map addresses.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// A client from the cluster's kubeconfig. Need not prove that the cluster answers.
    ///
    /// # Errors
    /// When no client can be made of it.
    async fn connect(
        &self,
        cluster: &ObjectKey,
        kubeconfig: &SecretString,
    ) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>>;
}

/// Connects to the server that the kubeconfig names.
#[derive(Clone, Copy, Debug, Default)]
pub struct KubeconfigConnector;

#[async_trait]
impl Connector for KubeconfigConnector {
    async fn connect(
        &self,
        _cluster: &ObjectKey,
        kubeconfig: &SecretString,
    ) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>> {
        let kubeconfig = kube::config::Kubeconfig::from_yaml(kubeconfig.expose_secret())?;
        let options = kube::config::KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        Ok(kube::Client::try_from(config)?)
    }
}

/// A workload cluster that answers.
#[derive(Clone)]
pub struct Workload {
    client: kube::Client,
    cache: Cache,
    nodes: Arc<Store>,
}

impl Workload {
    /// A client of the workload cluster. Bound each request by [`REQUEST_TIMEOUT`].
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Its Nodes, from a shared watch.
    #[must_use]
    pub fn nodes(&self) -> &Arc<Store> {
        &self.nodes
    }
}

/// What is known of the connection to one cluster.
#[derive(Clone, Default)]
pub struct ConnectionState {
    /// The connection, while it holds.
    pub workload: Option<Workload>,
    /// When a probe last succeeded.
    pub last_probe_success: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// Why the last attempt failed.
    pub message: String,
}

impl fmt::Debug for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionState")
            .field("connected", &self.workload.is_some())
            .field("last_probe_success", &self.last_probe_success)
            .field("failures", &self.failures)
            .field("message", &self.message)
            .finish()
    }
}

/// What a workload cluster tells the manager.
#[derive(Clone, Debug)]
pub(crate) enum WorkloadEvent {
    /// A Node changed.
    Node {
        cluster: ObjectKey,
        node: Arc<Object>,
    },
    /// The connection came up or was lost.
    Connection { cluster: ObjectKey },
}

struct Entry {
    state: Arc<RwLock<ConnectionState>>,
    kubeconfig_changed: Arc<Notify>,
    retry: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type OnEvent = Arc<dyn Fn(WorkloadEvent) + Send + Sync>;

/// The connections of a manager.
pub struct Workloads {
    connector: Arc<dyn Connector>,
    clock: Clock,
    secrets: Arc<Store>,
    on_event: OnEvent,
    entries: Arc<Mutex<BTreeMap<ObjectKey, Entry>>>,
}

impl Workloads {
    pub(crate) fn new(
        connector: Arc<dyn Connector>,
        clock: Clock,
        secrets: Arc<Store>,
        on_event: OnEvent,
    ) -> Self {
        let entries = Arc::<Mutex<BTreeMap<ObjectKey, Entry>>>::default();
        let weak = Arc::downgrade(&entries);
        secrets.listen(Arc::new(move |change| {
            let key = change.object().key();
            if let Some(cluster) = key.name.strip_suffix("-kubeconfig")
                && let Some(entries) = weak.upgrade()
                && let Some(entry) = entries
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(&key.sibling(cluster))
            {
                entry.kubeconfig_changed.notify_one();
            }
        }));
        Self {
            connector,
            clock,
            secrets,
            on_event,
            entries,
        }
    }

    /// The state of the connection to a cluster. The first call for a cluster begins it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn state(&self, cluster: &ObjectKey) -> ConnectionState {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(cluster.clone()).or_insert_with(|| {
            let state = Arc::new(RwLock::new(ConnectionState::default()));
            let kubeconfig_changed = Arc::new(Notify::new());
            let retry = Arc::new(Notify::new());
            let keeper = Keeper {
                kubeconfig_changed: Arc::clone(&kubeconfig_changed),
                retry: Arc::clone(&retry),
                cluster: cluster.clone(),
                connector: Arc::clone(&self.connector),
                clock: self.clock.clone(),
                secrets: Arc::clone(&self.secrets),
                on_event: Arc::clone(&self.on_event),
                state: Arc::clone(&state),
            };
            Entry {
                state,
                kubeconfig_changed,
                retry,
                task: tokio::spawn(keeper.run()),
            }
        });
        entry
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The workload cluster, when it is connected.
    ///
    /// # Errors
    /// [`Error::NotConnected`]; a connection that comes up is an event.
    pub fn get(&self, cluster: &ObjectKey) -> Result<Workload, Error> {
        let state = self.state(cluster);
        state.workload.ok_or_else(|| Error::NotConnected {
            cluster: cluster.clone(),
            message: if state.message.is_empty() {
                "no connection yet".to_owned()
            } else {
                state.message
            },
        })
    }

    /// A cluster that did not answer is likely to answer now: its next attempt begins at once.
    /// Does nothing for one that is connected, or that nobody asked for.
    pub fn retry(&self, cluster: &ObjectKey) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(cluster) {
            let state = entry.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.workload.is_none() {
                entry.retry.notify_one();
            }
        }
    }

    /// Ends the connection to a cluster that is gone.
    pub(crate) fn forget(&self, cluster: &ObjectKey) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(cluster);
    }

    /// Ends all connections.
    pub(crate) fn stop(&self) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Keeps the connection to one cluster.
struct Keeper {
    cluster: ObjectKey,
    kubeconfig_changed: Arc<Notify>,
    retry: Arc<Notify>,
    connector: Arc<dyn Connector>,
    clock: Clock,
    secrets: Arc<Store>,
    on_event: OnEvent,
    state: Arc<RwLock<ConnectionState>>,
}

impl Keeper {
    async fn run(self) {
        let secret = self
            .cluster
            .sibling(&format!("{}-kubeconfig", self.cluster.name));
        let changed = &self.kubeconfig_changed;
        let mut failures = 0u32;
        loop {
            let Some(kubeconfig) = self
                .secrets
                .get(&secret)
                .and_then(|secret| kubeconfig(&secret))
            else {
                self.failed("the kubeconfig Secret does not exist", failures);
                changed.notified().await;
                continue;
            };
            let connected = self.connect(&kubeconfig).await;
            match connected {
                Ok(workload) => {
                    failures = 0;
                    self.connected(workload.clone());
                    // Ends when the cluster no longer answers, or its kubeconfig changes.
                    tokio::select! {
                        biased;
                        () = changed.notified() => {}
                        () = self.keep(&workload) => {}
                    }
                    workload.cache.stop();
                    self.update(|state| state.workload = None);
                    (self.on_event)(WorkloadEvent::Connection {
                        cluster: self.cluster.clone(),
                    });
                }
                Err(message) => {
                    failures += 1;
                    self.failed(&message, failures);
                    let wait = RETRY_MIN
                        .saturating_mul(2u32.saturating_pow((failures - 1).min(16)))
                        .min(RETRY_MAX);
                    tokio::select! {
                        biased;
                        () = changed.notified() => {}
                        () = self.retry.notified() => {}
                        () = self.clock.sleep(wait) => {}
                    }
                }
            }
        }
    }

    async fn connect(&self, kubeconfig: &SecretString) -> Result<Workload, String> {
        let attempt = async {
            let client = self
                .connector
                .connect(&self.cluster, kubeconfig)
                .await
                .map_err(|error| error.to_string())?;
            probe(&client).await?;
            Ok::<_, String>(client)
        };
        let client = self.bounded(attempt).await?;
        let cache = Cache::new(client.clone(), self.clock.clone(), "", BTreeMap::new());
        let (cluster, on_event) = (self.cluster.clone(), Arc::clone(&self.on_event));
        cache.on_change(move |change| {
            on_event(WorkloadEvent::Node {
                cluster: cluster.clone(),
                node: Arc::clone(change.object()),
            });
        });
        let nodes = cache.store(&ResourceType::new("", "v1", "Node", "nodes", false));
        self.bounded(async { nodes.synced().await.map_err(|error| error.full_message()) })
            .await?;
        Ok(Workload {
            client,
            cache,
            nodes,
        })
    }

    /// Probes until the cluster has not answered several times in a row.
    async fn keep(&self, workload: &Workload) {
        let mut failures = 0;
        while failures < PROBE_FAILURES {
            self.clock.sleep(PROBE_INTERVAL).await;
            match self.bounded(probe(&workload.client)).await {
                Ok(()) => {
                    failures = 0;
                    let now = self.clock.now();
                    self.update(|state| {
                        state.last_probe_success = Some(now);
                        state.failures = 0;
                    });
                }
                Err(message) => {
                    failures += 1;
                    self.update(|state| {
                        state.failures = failures;
                        state.message = message;
                    });
                }
            }
        }
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        tokio::select! {
            biased;
            result = work => result,
            () = self.clock.sleep(REQUEST_TIMEOUT) => Err("no answer in time".to_owned()),
        }
    }

    fn connected(&self, workload: Workload) {
        let now = self.clock.now();
        self.update(|state| {
            *state = ConnectionState {
                workload: Some(workload),
                last_probe_success: Some(now),
                failures: 0,
                message: String::new(),
            };
        });
        (self.on_event)(WorkloadEvent::Connection {
            cluster: self.cluster.clone(),
        });
    }

    fn failed(&self, message: &str, failures: u32) {
        self.update(|state| {
            state.failures = failures;
            message.clone_into(&mut state.message);
        });
    }

    fn update(&self, change: impl FnOnce(&mut ConnectionState)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn probe(client: &kube::Client) -> Result<(), String> {
    let request = http::Request::get("/version")
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    client
        .request_text(request)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The kubeconfig in a cluster's kubeconfig Secret, key `value`.
fn kubeconfig(secret: &Object) -> Option<SecretString> {
    #[derive(serde::Deserialize)]
    struct Shape {
        data: BTreeMap<String, String>,
    }
    let shape: Shape = serde_json::from_slice(secret.bytes()).ok()?;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(shape.data.get("value")?)
        .ok()?;
    String::from_utf8(decoded).ok().map(SecretString::from)
}
