//! A management cluster to test against: the embedded API server, or the real one, behind the same
//! handful of calls.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    real::{RealServer, Who},
    reference::{
        self, ClusterShape, ReferenceCluster, ReferenceConfig, ReferenceControlPlane,
        ReferenceMachine,
    },
    traffic::Traffic,
};
use crate::{
    api::{self, Cluster, Machine, MachineDeployment, MachineSet},
    clock::Clock,
    contract::pluralize,
    embedded::{self, ApiServer},
    runtime::{
        Cache, Object, ObjectKey, ResourceType, Store, custom_resource_definitions, secrets,
    },
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long something may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

enum Server {
    Embedded(ApiServer),
    Real(Box<RealServer>),
}

/// A management cluster with the definitions of Cluster API and the reference kinds.
pub struct Plane {
    server: Server,
    clock: Clock,
    /// The user's client.
    client: kube::Client,
    cache: Cache,
    traffic: Traffic,
    /// Of the user's own, what the server counts.
    own: std::sync::Mutex<BTreeMap<String, u64>>,
}

impl Plane {
    /// The embedded API server.
    ///
    /// # Errors
    /// When a definition is unsound.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn embedded(clock: Clock) -> Result<Self, Failure> {
        let mut builder = ApiServer::builder().clock(clock.clone()).seed(1);
        for crd in api::crds().into_iter().chain(reference::crds()) {
            builder = builder.crd(crd);
        }
        let server = builder.build()?;
        let client = embedded::client(&server);
        Ok(Self::on(Server::Embedded(server), client, clock))
    }

    /// The real API server; `None`, with a line on standard output, where it is not installed.
    ///
    /// # Errors
    /// When it does not start, or refuses a definition.
    pub async fn real(clock: Clock) -> Result<Option<Self>, Failure> {
        let Some(server) = RealServer::start(&clock).await? else {
            return Ok(None);
        };
        let client = server.client();
        let plane = Self::on(Server::Real(Box::new(server)), client, clock);
        plane.install().await?;
        Ok(Some(plane))
    }

    fn on(server: Server, client: kube::Client, clock: Clock) -> Self {
        let cache = Cache::new(client.clone(), clock.clone(), "", BTreeMap::new());
        Self {
            server,
            clock,
            client,
            cache,
            traffic: Traffic::default(),
            own: std::sync::Mutex::default(),
        }
    }

    /// Creates the definitions, and waits until the server serves and explains their kinds.
    async fn install(&self) -> Result<(), Failure> {
        let kind = custom_resource_definitions();
        let crds: Vec<Value> = api::crds()
            .into_iter()
            // Without a webhook it cannot convert: it gets the stored versions only.
            .map(api::stored_version_only)
            .chain(reference::crds())
            .collect();
        for crd in &crds {
            self.send(http::Method::POST, &kind.path(""), "application/json", crd)
                .await?;
        }
        for crd in &crds {
            let name = crd["metadata"]["name"].as_str().unwrap_or_default();
            self.until(&kind, &ObjectKey::new("", name), |found| {
                found.is_some_and(|crd| condition(crd, "Established") == Some("True"))
            })
            .await?;
        }
        Ok(())
    }

    /// `embedded` or `real`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &self.server {
            Server::Embedded(_) => "embedded",
            Server::Real(_) => "real",
        }
    }

    /// It is the real one.
    #[must_use]
    pub fn is_real(&self) -> bool {
        matches!(self.server, Server::Real(_))
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The user's client, which is not written down.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// A client for a manager, whose requests are written down. On the real server it is `who`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn manager_client(&self, who: Who) -> Result<kube::Client, Failure> {
        use tower::Layer as _;
        let layer = self.traffic.layer(self.clock.clone());
        Ok(match &self.server {
            Server::Embedded(server) => kube::Client::new(layer.layer(server.service()), "default"),
            Server::Real(server) => server.recorded(who, &layer)?,
        })
    }

    /// What managers asked.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Writes of everybody but the user so far, by resource, Events and Leases apart. The real
    /// server counts itself (`apiserver_request_total`), so that its garbage collector's are in it.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn writes(&self) -> Result<BTreeMap<String, u64>, Failure> {
        match &self.server {
            Server::Embedded(_) => Ok(self.traffic.writes_since(0)),
            Server::Real(server) => {
                let mut counted = server.writes().await?;
                let own = self
                    .own
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                for (resource, count) in &*own {
                    if let Some(found) = counted.get_mut(resource) {
                        *found = found.saturating_sub(*count);
                    }
                }
                counted.retain(|_, count| *count > 0);
                Ok(counted)
            }
        }
    }

    /// CPU time of the server's processes so far; nothing for the embedded one, which is in ours.
    #[must_use]
    pub fn server_cpu(&self) -> BTreeMap<&'static str, Duration> {
        match &self.server {
            Server::Embedded(_) => BTreeMap::new(),
            Server::Real(server) => server.cpu(),
        }
    }

    /// Applies an object as the user.
    ///
    /// # Errors
    /// What the server says.
    pub async fn apply(&self, object: &Value) -> Result<(), Failure> {
        let kind = kind_of(object);
        let metadata = &object["metadata"];
        let (namespace, name) = (&metadata["namespace"], &metadata["name"]);
        let path = format!(
            "{}/{}?fieldManager=user&force=true",
            kind.path(namespace.as_str().unwrap_or_default()),
            name.as_str().unwrap_or_default()
        );
        self.send(
            http::Method::PATCH,
            &path,
            "application/apply-patch+yaml",
            object,
        )
        .await
    }

    /// Merges a patch into an object as the user.
    ///
    /// # Errors
    /// What the server says.
    pub async fn patch(
        &self,
        kind: &ResourceType,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<(), Failure> {
        let path = format!("{}/{}", kind.path(&key.namespace), key.name);
        self.send(
            http::Method::PATCH,
            &path,
            "application/merge-patch+json",
            patch,
        )
        .await
    }

    /// Deletes an object as the user.
    ///
    /// # Errors
    /// What the server says.
    pub async fn delete(&self, kind: &ResourceType, key: &ObjectKey) -> Result<(), Failure> {
        let path = format!("{}/{}", kind.path(&key.namespace), key.name);
        self.send(http::Method::DELETE, &path, "application/json", &json!({}))
            .await
    }

    async fn send(
        &self,
        method: http::Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<(), Failure> {
        let request = http::Request::builder()
            .method(method.clone())
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .body(body.to_string().into_bytes())?;
        let answer = self
            .client
            .request_text(request)
            .await
            .map_err(|error| format!("{method} {path}: {error}"))?;
        if method == http::Method::PATCH {
            // Whoever waits for what follows must not see what was before.
            let object = Arc::new(Object::from_bytes(answer.into())?);
            self.cache.observe(&kind_of(&object.value()?), object);
        }
        let path = path.split('?').next().unwrap_or_default();
        let mut parts = path.split('/').rev();
        let last = parts.next().unwrap_or_default();
        // A collection for creation, otherwise an object of it.
        let resource = match method {
            http::Method::POST => last,
            _ => parts.next().unwrap_or_default(),
        };
        let mut own = self
            .own
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *own.entry(resource.to_owned()).or_default() += 1;
        Ok(())
    }

    /// The objects of a kind as the user's watch has them.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn store(&self, kind: &ResourceType) -> Result<Arc<Store>, Failure> {
        Ok(self.cache.synced(kind).await?)
    }

    /// Waits for changes of a kind until its objects are so; no longer than five minutes.
    ///
    /// # Errors
    /// When they cannot be listed, or time is over: with the objects as they are then.
    pub async fn until_all<T>(
        &self,
        kind: &ResourceType,
        so: impl Fn(&Store) -> Option<T>,
    ) -> Result<T, Failure> {
        let store = self.store(kind).await?;
        let changed = Arc::new(Notify::new());
        let notify = Arc::downgrade(&changed);
        store.listen(Arc::new(move |_| {
            if let Some(notify) = notify.upgrade() {
                notify.notify_one();
            }
        }));
        let waited = async {
            loop {
                if let Some(found) = so(&store) {
                    return found;
                }
                changed.notified().await;
            }
        };
        tokio::select! {
            biased;
            found = waited => Ok(found),
            () = self.clock.sleep(PATIENCE) => {
                let objects: Vec<Value> = store.list().iter().filter_map(|o| o.value().ok()).collect();
                Err(format!("{kind} did not become so: {objects:#?}").into())
            }
        }
    }

    /// Waits until a cluster of the reference set is all there: the Cluster is available, its
    /// control plane and its workers are counted as ready in their version, and each Machine is
    /// Ready.
    ///
    /// # Errors
    /// As [`until_all`](Self::until_all).
    pub async fn until_up(&self, shape: &ClusterShape) -> Result<(), Failure> {
        let key = |name: &str| ObjectKey::new(shape.namespace.as_str(), name);
        let at_rest = |object: &Value, replicas: i32| {
            let status = &object["status"];
            let counts = [
                "replicas",
                "readyReplicas",
                "availableReplicas",
                "upToDateReplicas",
            ];
            let versions = if replicas == 0 {
                Value::Null
            } else {
                json!([{ "version": shape.version, "replicas": replicas }])
            };
            counts
                .iter()
                .all(|count| status[*count].as_i64().unwrap_or(0) == i64::from(replicas))
                && status["versions"] == versions
                && status["observedGeneration"] == object["metadata"]["generation"]
        };
        let control_plane = key(&format!("{}-control-plane", shape.name));
        self.until(
            &ReferenceControlPlane::KIND.into(),
            &control_plane,
            |found| found.is_some_and(|found| at_rest(found, shape.control_planes)),
        )
        .await?;
        let workers = key(&format!("{}-workers", shape.name));
        self.until(&MachineDeployment::KIND.into(), &workers, |found| {
            found.is_some_and(|found| at_rest(found, shape.workers))
        })
        .await?;
        let cluster = key(&shape.name);
        self.until_all(&Machine::KIND.into(), |store| {
            let machines = store.of_cluster(&cluster);
            let ready = machines.iter().filter(|machine| {
                let value = machine.value().unwrap_or_default();
                condition(&value, "Ready") == Some("True")
            });
            let wanted = usize::try_from(shape.control_planes + shape.workers).unwrap_or(0);
            (machines.len() == wanted && ready.count() == wanted).then_some(())
        })
        .await?;
        self.until(&Cluster::KIND.into(), &cluster, |found| {
            found.is_some_and(|found| {
                let count = |part: &str| found["status"][part]["readyReplicas"].as_i64();
                condition(found, "Available") == Some("True")
                    && count("controlPlane") == Some(i64::from(shape.control_planes))
                    && count("workers").unwrap_or(0) == i64::from(shape.workers)
            })
        })
        .await?;
        Ok(())
    }

    /// Waits until a Cluster is gone, and with it everything that bears its name in a label.
    ///
    /// # Errors
    /// As [`until_all`](Self::until_all).
    pub async fn until_gone(&self, cluster: &ObjectKey) -> Result<(), Failure> {
        let kinds: [ResourceType; 9] = [
            Cluster::KIND.into(),
            Machine::KIND.into(),
            MachineSet::KIND.into(),
            MachineDeployment::KIND.into(),
            ReferenceCluster::KIND.into(),
            ReferenceMachine::KIND.into(),
            ReferenceConfig::KIND.into(),
            ReferenceControlPlane::KIND.into(),
            secrets(),
        ];
        for kind in &kinds {
            self.until_all(kind, |store| {
                let gone = store.of_cluster(cluster).is_empty()
                    && (kind.kind() != Cluster::KIND.kind || store.get(cluster).is_none());
                gone.then_some(())
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until no manager has written anything for some time.
    pub async fn until_quiet(&self, quiet: Duration) {
        loop {
            let before = self.traffic.written();
            self.clock.sleep(quiet).await;
            if self.traffic.written() == before {
                return;
            }
        }
    }

    /// Waits until one object is so, or is gone for `None`.
    ///
    /// # Errors
    /// As [`until_all`](Self::until_all).
    pub async fn until(
        &self,
        kind: &ResourceType,
        key: &ObjectKey,
        so: impl Fn(Option<&Value>) -> bool,
    ) -> Result<Option<Value>, Failure> {
        self.until_all(kind, |store| {
            let found = store
                .get(key)
                .and_then(|object: Arc<Object>| object.value().ok());
            so(found.as_ref()).then_some(found)
        })
        .await
    }
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plane({})", self.name())
    }
}

fn kind_of(object: &Value) -> ResourceType {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object["kind"].as_str().unwrap_or_default();
    // Roles and bindings of a whole cluster have no namespace; nothing else here goes without.
    let namespaced = object["metadata"]["namespace"].is_string();
    let plural = pluralize(&kind.to_lowercase());
    ResourceType::new(group, version, kind, plural, namespaced)
}

/// The status of a condition of an object.
#[must_use]
pub fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|found| found["type"] == name)?;
    found["status"].as_str()
}
