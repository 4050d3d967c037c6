//! The Manager: hosts controllers on a client.

use std::{
    collections::BTreeMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use tracing::Instrument as _;

use super::{
    Cache, Connector, Controller, Error, KubeconfigConnector, LeaseConfig, Metrics, ObjectKey,
    Pace, QueueConfig, ResourceType, Selection, Workloads, Writer,
    external::custom_resource_definitions,
    fair::Fair,
    hub::Hub,
    lease::Elector,
    queue::{Finished, Item},
};
use crate::{api::labels, clock::Clock, plan::row::fingerprint, provider::Waker};

/// A reconcile that takes longer is dropped and tried again.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often machines at rest are looked at, unless the application says otherwise.
pub const RESYNC: Duration = Duration::from_secs(600);
/// How long a shutdown waits for reconciles that run.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

/// Secrets, of which only those with a cluster-name label are cached.
#[must_use]
pub fn secrets() -> ResourceType {
    ResourceType::new("", "v1", "Secret", "secrets", true)
}

struct Inner {
    client: kube::Client,
    clock: Clock,
    cache: Cache,
    writer: Writer,
    workloads: OnceLock<Workloads>,
    connector: Arc<dyn Connector>,
    hub: Hub,
    metrics: Arc<Metrics>,
    pace: Arc<Pace>,
    resync: Option<Duration>,
    seed: AtomicU64,
}

/// What controllers are given: caches, the writer, workload clusters, time. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

impl Runtime {
    /// The client of the management cluster.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.0.client
    }

    /// The clock. Nothing else tells controllers the time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Caches of the management cluster.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.0.cache
    }

    /// Writes to the management cluster.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.0.writer
    }

    /// Counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// When states on the way are written.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// Whether a controller of this manager reconciles a kind, in whatever version.
    #[must_use]
    pub fn reconciles(&self, group: &str, kind: &str) -> bool {
        self.0.hub.reconciles(group, kind)
    }

    /// When to look again at something at rest outside the API server, which sends no events: the
    /// manager's [`resync`](ManagerBuilder::resync), up to a tenth shorter or longer, so that the
    /// objects of a manager that starts do not stay in step. The same for the same `uid`.
    #[must_use]
    pub fn resync_after(&self, uid: &str) -> Option<Duration> {
        let resync = self.0.resync?;
        let share = fingerprint(uid) % 2001;
        // 0.9 to 1.1, in steps of a ten-thousandth.
        let factor = 9000 + u32::try_from(share).unwrap_or_default();
        Some(resync.saturating_mul(factor) / 10_000)
    }

    /// Connections to workload clusters.
    #[must_use]
    pub fn workloads(&self) -> &Workloads {
        self.0.workloads.get_or_init(|| {
            let weak = Arc::downgrade(&self.0);
            Workloads::new(
                Arc::clone(&self.0.connector),
                self.0.clock.clone(),
                self.0.cache.store(&secrets()),
                Arc::new(move |event| {
                    if let Some(inner) = weak.upgrade() {
                        let runtime = Self(inner);
                        runtime.0.hub.workload(&runtime, &event);
                    }
                }),
            )
        })
    }

    /// A new number for each call, for whoever needs names that do not repeat.
    #[must_use]
    pub fn next_seed(&self) -> u64 {
        // SplitMix64: equal starts give equal sequences, which the simulation needs.
        let mut z = self
            .0
            .seed
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
            .wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Queues an object of the controller of this name.
    pub fn wake(&self, controller: &str, key: &ObjectKey) {
        self.0.hub.wake(self, controller, key);
    }

    /// When a controller of this kind looks at an object next, if nothing happens before; `None`
    /// when it waits for an event.
    #[must_use]
    pub fn next_look(&self, resource: &ResourceType, key: &ObjectKey) -> Option<jiff::Timestamp> {
        self.0.hub.next_look(resource, key)
    }

    /// A waker that queues an object of the controller of this name, as long as the runtime lives.
    #[must_use]
    pub fn waker(&self, controller: &str, key: &ObjectKey) -> Waker {
        let (weak, controller, key) = (Arc::downgrade(&self.0), controller.to_owned(), key.clone());
        Waker::new(move || {
            if let Some(inner) = weak.upgrade() {
                Self(inner).wake(&controller, &key);
            }
        })
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}

/// Assembles a [`Manager`].
pub struct ManagerBuilder {
    client: kube::Client,
    clock: Clock,
    controllers: Vec<Arc<dyn Controller>>,
    connector: Arc<dyn Connector>,
    namespace: String,
    watch_filter: Option<String>,
    lease: Option<LeaseConfig>,
    queue: QueueConfig,
    concurrency: usize,
    resync: Option<Duration>,
    seed: Option<u64>,
    component: String,
}

impl ManagerBuilder {
    /// Mounts a controller.
    #[must_use]
    pub fn controller(mut self, controller: impl Controller) -> Self {
        self.controllers.push(Arc::new(controller));
        self
    }

    /// Mounts controllers that are shared or chosen at run time.
    #[must_use]
    pub fn controllers(
        mut self,
        controllers: impl IntoIterator<Item = Arc<dyn Controller>>,
    ) -> Self {
        self.controllers.extend(controllers);
        self
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Another way to workload clusters than the server that their kubeconfig names.
    #[must_use]
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Arc::new(connector);
        self
    }

    /// Only this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Only objects whose label `cluster.x-k8s.io/watch-filter` has this value.
    #[must_use]
    pub fn watch_filter(mut self, value: impl Into<String>) -> Self {
        self.watch_filter = Some(value.into());
        self
    }

    /// Work only while holding a Lease.
    #[must_use]
    pub fn leader_election(mut self, lease: LeaseConfig) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Other bounds of the queue.
    #[must_use]
    pub fn queue(mut self, queue: QueueConfig) -> Self {
        self.queue = queue;
        self
    }

    /// Reconciles that run at once; 64 unless said otherwise, at least 1.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.max(1);
        self
    }

    /// How often machines at rest are looked at although nothing happened, since no event tells
    /// when one vanishes; [`RESYNC`] unless said otherwise, never for `None`. Costs a call of the
    /// provider each, and no write while all is as it was.
    #[must_use]
    pub fn resync(mut self, resync: impl Into<Option<Duration>>) -> Self {
        self.resync = resync.into();
        self
    }

    /// Where names and other choices begin, so that a run can be repeated.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The name that writes and Events are made under.
    #[must_use]
    pub fn component(mut self, component: impl Into<String>) -> Self {
        self.component = component.into();
        self
    }

    /// The manager. Nothing runs before [`Manager::run`].
    #[must_use]
    pub fn build(self) -> Manager {
        let metrics = Arc::new(Metrics::default());
        let pace = Arc::new(Pace::default());
        let selections = BTreeMap::from([
            (
                secrets(),
                Selection {
                    labels: labels::CLUSTER_NAME.to_owned(),
                    metadata_only: false,
                },
            ),
            (
                custom_resource_definitions(),
                Selection {
                    labels: String::new(),
                    metadata_only: true,
                },
            ),
        ]);
        let cache = Cache::new(
            self.client.clone(),
            self.clock.clone(),
            self.namespace,
            selections,
        );
        let writer = Writer::new(
            self.client.clone(),
            cache.clone(),
            Arc::clone(&metrics),
            Arc::clone(&pace),
            self.clock.clone(),
            self.component.into(),
        );
        let hub = Hub::new(
            self.controllers,
            self.queue,
            self.watch_filter,
            Arc::clone(&metrics),
        );
        let seed = self.seed.unwrap_or_else(|| {
            let now = self.clock.now().as_nanosecond().to_le_bytes();
            let mut low = [0; 8];
            low.copy_from_slice(&now[..8]);
            u64::from_le_bytes(low) ^ (u64::from(std::process::id()) << 32)
        });
        let runtime = Runtime(Arc::new(Inner {
            client: self.client,
            clock: self.clock,
            cache,
            writer,
            workloads: OnceLock::new(),
            connector: self.connector,
            hub,
            metrics,
            pace,
            resync: self.resync,
            seed: AtomicU64::new(seed),
        }));
        let weak = Arc::downgrade(&runtime.0);
        runtime.0.cache.on_change(move |change| {
            if let Some(inner) = weak.upgrade() {
                let runtime = Runtime(inner);
                if change.new.is_none() {
                    runtime
                        .pace()
                        .forget(&change.resource, change.object().key());
                }
                let gone = change.new.is_none() && change.resource.kind() == "Cluster";
                if gone && let Some(workloads) = runtime.0.workloads.get() {
                    workloads.forget(change.object().key());
                }
                runtime.0.hub.changed(&runtime, change);
            }
        });
        Manager {
            runtime,
            lease: self.lease,
            concurrency: self.concurrency,
        }
    }
}

/// Hosts controllers: watches, queues, reconciles, until it is told to stop.
pub struct Manager {
    runtime: Runtime,
    lease: Option<LeaseConfig>,
    concurrency: usize,
}

impl Manager {
    /// Begins a manager on a client of the management cluster.
    #[must_use]
    pub fn builder(client: kube::Client) -> ManagerBuilder {
        ManagerBuilder {
            client,
            clock: Clock::system(),
            controllers: Vec::new(),
            connector: Arc::new(KubeconfigConnector),
            namespace: String::new(),
            watch_filter: None,
            lease: None,
            queue: QueueConfig::default(),
            concurrency: 64,
            resync: Some(RESYNC),
            seed: None,
            component: "capi-manager".to_owned(),
        }
    }

    /// What its controllers are given; also for other hosts of controllers.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Runs until `shutdown` ends, then lets running reconciles finish, gives up the Lease and
    /// stops all watches. Dropping the future stops everything at once.
    ///
    /// # Errors
    /// When the Lease was lost to another manager: nothing is written from then on.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let guard = StopOnDrop(&self.runtime);
        let mut shutdown = std::pin::pin!(shutdown);
        let clock = self.runtime.clock().clone();
        let Some(lease) = self.lease.clone() else {
            self.work(shutdown).await;
            return Ok(());
        };
        let mut elector = Elector::new(self.runtime.writer().clone(), clock, lease);
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            () = elector.acquire() => {}
        }
        tracing::info!("leader election won");
        let stopped = tokio::select! {
            biased;
            () = elector.keep() => false,
            () = self.work(shutdown) => true,
        };
        drop(guard);
        if stopped {
            elector.release().await;
            Ok(())
        } else {
            Err(Error::LeadershipLost)
        }
    }

    async fn work(&self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        let started = async {
            for controller in self.runtime.0.hub.controllers() {
                controller.start(&self.runtime);
            }
            for kind in self.runtime.0.hub.kinds() {
                self.sync(&kind).await;
            }
        };
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            () = started => {}
        }
        let hub = &self.runtime.0.hub;
        let clock = self.runtime.clock();
        let running = Fair::new(clock.clone());
        // A quarter is always left to other clusters.
        let most = self.concurrency - self.concurrency / 4;
        loop {
            while running.len() < self.concurrency
                && let Some((item, cluster)) = hub.pop(clock.now(), most)
            {
                running.spawn(cluster, reconcile(self.runtime.clone(), item));
            }
            let full = running.len() >= self.concurrency;
            let wait = match hub.next_due() {
                _ if full => Duration::MAX,
                Some(due) => {
                    Duration::try_from(due.duration_since(clock.now())).unwrap_or_default()
                }
                None => Duration::MAX,
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = running.next() => self.ended(&ended),
                () = hub.added.notified(), if !full => {}
                () = clock.sleep(wait), if wait != Duration::MAX => {}
            }
        }
        let drained = async {
            while let Some(ended) = running.next().await {
                self.ended(&ended);
            }
        };
        tokio::select! {
            biased;
            () = drained => {}
            () = clock.sleep(SHUTDOWN_GRACE) => tracing::warn!("reconciles did not end in time"),
        }
    }

    fn ended(&self, (item, finished): &(Item, Finished)) {
        let now = self.runtime.clock().now();
        self.runtime.0.hub.done(item, *finished, now);
    }

    /// Waits for a kind's first list, however long it takes: its definition may still come.
    async fn sync(&self, kind: &ResourceType) {
        let store = self.runtime.cache().store(kind);
        while let Err(error) = store.synced().await {
            tracing::warn!(kind = %kind, error = %error.full_message(), "waiting for the first list");
            self.runtime.clock().sleep(Duration::from_secs(1)).await;
        }
    }

    /// Whether nothing waits to be reconciled at this moment.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.runtime.0.hub.is_idle()
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .runtime
            .0
            .hub
            .controllers()
            .map(|controller| controller.name())
            .collect();
        f.debug_struct("Manager")
            .field("controllers", &names)
            .finish_non_exhaustive()
    }
}

struct StopOnDrop<'a>(&'a Runtime);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cache().stop();
        if let Some(workloads) = self.0.0.workloads.get() {
            workloads.stop();
        }
    }
}

async fn reconcile(runtime: Runtime, item: Item) -> (Item, Finished) {
    let controller = Arc::clone(runtime.0.hub.controller(&item));
    let clock = runtime.clock().clone();
    let began = clock.now();
    let span = tracing::info_span!("reconcile", controller = controller.name(), object = %item.key);
    let work = AssertUnwindSafe(controller.reconcile(&runtime, &item.key)).catch_unwind();
    let ended = tokio::select! {
        biased;
        ended = work.instrument(span.clone()) => Some(ended),
        () = clock.sleep(RECONCILE_TIMEOUT) => None,
    };
    let _entered = span.enter();
    let (result, finished) = match ended {
        Some(Ok(Ok(outcome))) => {
            if let Some(what) = &outcome.blocked_on {
                tracing::debug!(blocked_on = %what, "waiting");
            }
            let result = if outcome.requeue_after.is_some() {
                "requeue_after"
            } else {
                "success"
            };
            (result, Finished::Done(outcome.requeue_after))
        }
        Some(Ok(Err(error))) => {
            let retry = match &error {
                Error::Provider(error) => error.wait_at_least(),
                _ => None,
            };
            if error.is_conflict() {
                tracing::debug!(error = %error.full_message(), "changed meanwhile, again");
            } else {
                tracing::warn!(error = %error.full_message(), "reconcile failed");
            }
            let finished = match error.is_conflict() {
                true => Finished::Overtaken,
                false => Finished::Failed(retry),
            };
            ("error", finished)
        }
        Some(Err(_panic)) => {
            tracing::error!("reconcile panicked");
            ("error", Finished::Failed(None))
        }
        None => {
            tracing::warn!("reconcile took too long");
            ("error", Finished::Failed(None))
        }
    };
    let took = Duration::try_from(clock.now().duration_since(began)).unwrap_or_default();
    runtime
        .metrics()
        .reconciled(controller.name(), result, took);
    (item, finished)
}
