//! Checks that run the provider in its host, on an embedded API server, with the part of Cluster
//! API's core played by hand.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::Engine as _;
use kube_core::Resource as _;
use serde_json::{Value, json};

use super::{
    Flaw, Identity, Interrupted, Outside, Setting, Verdict,
    direct::{CLUSTER, object},
};
use crate::{
    api::{Cluster, Machine, MachineAddress},
    controllers,
    embedded::{self, ApiServer},
    provider::{
        Capabilities, ClusterContext, ClusterFacts, Identity as _, Infrastructure, MachineContext,
        MachineFacts, Progress, ProviderError, Recorded, StatusFields,
    },
    runtime::{Manager, ObjectKey, ResourceType, Runtime, secrets},
};

/// What is known of a provider's calls.
#[derive(Default)]
struct Watchbook {
    calls: AtomicUsize,
    /// The process dies when this many calls were begun.
    dies_at: AtomicUsize,
    died: tokio::sync::Notify,
    flaws: Mutex<Vec<String>>,
}

impl Watchbook {
    /// Notes a call; never comes back from the one at which the process dies.
    async fn note(&self) {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let dies_at = self.dies_at.load(Ordering::SeqCst);
        if dies_at != 0 && number >= dies_at {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn flaw(&self, what: String) {
        self.flaws
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    fn verdict(&self) -> Verdict {
        let flaws = self.flaws.lock().unwrap_or_else(PoisonError::into_inner);
        flaws
            .first()
            .map_or(Ok(()), |flaw| Err(Flaw::Failed(flaw.clone())))
    }
}

/// The provider, watched.
struct Watched<P> {
    provider: P,
    book: Arc<Watchbook>,
    client: kube::Client,
}

impl<P: Infrastructure> Watched<P> {
    /// What the API server holds must name the identity that a call is about.
    async fn is_recorded(&self, identity: &P::Identity, machine: &P::Machine) {
        let name = machine.meta().name.clone().unwrap_or_default();
        let path = format!("{}/{name}", kind::<P::Machine>().path("default"));
        let object = match get(&self.client, &path).await {
            Ok(Some(object)) => object,
            Ok(None) => {
                return self
                    .book
                    .flaw("the object is gone, and its provider is called".into());
            }
            Err(error) => return self.book.flaw(error),
        };
        let id = identity.provider_id();
        if object["spec"]["providerID"] != id {
            self.book.flaw(format!(
                "spec.providerID is {} when {id} is brought up",
                object["spec"]["providerID"]
            ));
        }
        if object["metadata"]["finalizers"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            self.book
                .flaw(format!("there is no finalizer when {id} is brought up"));
        }
        let read = serde_json::from_value::<P::Machine>(object)
            .map_err(|error| error.to_string())
            .and_then(|object| {
                self.provider
                    .read_identity(&object)
                    .map_err(|error| error.to_string())
            });
        match read {
            Ok(Some(found)) if found == *identity => {}
            other => self
                .book
                .flaw(format!("the object records {other:?} and not {identity:?}")),
        }
    }
}

#[async_trait]
impl<P: Infrastructure> Infrastructure for Watched<P> {
    type Cluster = P::Cluster;
    type Machine = P::Machine;
    type Identity = P::Identity;

    fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    fn cluster_finalizer(&self) -> Option<String> {
        self.provider.cluster_finalizer()
    }

    fn machine_finalizer(&self) -> Option<String> {
        self.provider.machine_finalizer()
    }

    fn cluster_condition(&self) -> Option<&'static str> {
        self.provider.cluster_condition()
    }

    fn machine_condition(&self) -> Option<&'static str> {
        self.provider.machine_condition()
    }

    fn machine_labels(&self, machine: &P::Machine) -> BTreeMap<String, String> {
        self.provider.machine_labels(machine)
    }

    fn slots(&self, identity: &P::Identity) -> Vec<(String, String)> {
        self.provider.slots(identity)
    }

    async fn ensure_cluster(
        &self,
        cx: &ClusterContext<P::Cluster>,
    ) -> Result<Progress<ClusterFacts>, ProviderError> {
        self.book.note().await;
        self.provider.ensure_cluster(cx).await
    }

    async fn destroy_cluster(
        &self,
        cx: &ClusterContext<P::Cluster>,
    ) -> Result<Progress<()>, ProviderError> {
        self.book.note().await;
        self.provider.destroy_cluster(cx).await
    }

    async fn reserve(
        &self,
        cx: &MachineContext<P::Cluster, P::Machine>,
    ) -> Result<Progress<P::Identity>, ProviderError> {
        self.book.note().await;
        self.provider.reserve(cx).await
    }

    async fn ensure(
        &self,
        cx: &MachineContext<P::Cluster, P::Machine>,
        recorded: &Recorded<P::Identity>,
    ) -> Result<Progress<MachineFacts>, ProviderError> {
        self.book.note().await;
        self.is_recorded(&recorded.identity, &cx.infrastructure)
            .await;
        self.provider.ensure(cx, recorded).await
    }

    async fn destroy(
        &self,
        cx: &MachineContext<P::Cluster, P::Machine>,
        recorded: &Recorded<P::Identity>,
    ) -> Result<Progress<()>, ProviderError> {
        self.book.note().await;
        self.provider.destroy(cx, recorded).await
    }

    fn read_identity(&self, machine: &P::Machine) -> Result<Option<P::Identity>, ProviderError> {
        self.provider.read_identity(machine)
    }

    fn write_identity(
        &self,
        identity: &P::Identity,
    ) -> Result<(StatusFields, StatusFields), ProviderError> {
        self.provider.write_identity(identity)
    }
}

/// A management cluster with one Cluster and one Machine.
struct Plane<O: Outside> {
    setting: Setting<O>,
    client: kube::Client,
    book: Arc<Watchbook>,
}

/// A manager at work; stops when dropped, as a killed process does.
struct Managed {
    runtime: Runtime,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Managed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const MACHINE: &str = "m1";

fn kind<K: crate::provider::ProviderKind>() -> ResourceType {
    ResourceType::by_convention(&K::group(&()), &K::version(&()), &K::kind(&()))
}

type ClusterOf<O> = <<O as Outside>::Provider as Infrastructure>::Cluster;
type MachineOf<O> = <<O as Outside>::Provider as Infrastructure>::Machine;

impl<O: Outside> Plane<O> {
    /// The objects are there, nothing runs.
    async fn new(setting: Setting<O>) -> Result<Self, Flaw> {
        let server = embedded::install(
            ApiServer::builder().clock(setting.clock.clone()).seed(1),
            crate::api::crds(),
            crate::api::conversions(),
        );
        let server = setting
            .options
            .crds
            .iter()
            .cloned()
            .fold(server, |server, crd| server.crd(crd));
        let server = server.build().map_err(|error| {
            Flaw::Failed(format!("the CustomResourceDefinitions are wrong: {error}"))
        })?;
        let client = embedded::client(&server);
        let plane = Self {
            setting,
            client,
            book: Arc::default(),
        };
        plane.fill().await?;
        Ok(plane)
    }

    async fn fill(&self) -> Verdict {
        let options = Arc::clone(&self.setting.options);
        let core = |kind: &ResourceType, name: &str, spec: Value| {
            json!({
                "apiVersion": kind.api_version(), "kind": kind.kind(),
                "metadata": {
                    "namespace": "default", "name": name,
                    "labels": {
                        "cluster.x-k8s.io/cluster-name": CLUSTER,
                        "cluster.x-k8s.io/control-plane": "",
                    },
                },
                "spec": spec,
            })
        };
        let reference = |kind: &ResourceType, name: &str| json!({ "apiGroup": kind.group(), "kind": kind.kind(), "name": name });
        let (clusters, machines) = (kind::<ClusterOf<O>>(), kind::<MachineOf<O>>());
        let (cluster, machine): (ResourceType, ResourceType) =
            (Cluster::KIND.into(), Machine::KIND.into());
        let owned = |mut object: Value, owner: &Value| {
            object["metadata"]["ownerReferences"] = json!([{
                "apiVersion": owner["apiVersion"], "kind": owner["kind"],
                "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
                "controller": true,
            }]);
            object
        };
        for (name, data) in &options.secrets {
            self.create(&secrets(), secret(name, data)).await?;
        }
        let data = [("value".to_owned(), options.bootstrap_data.clone())];
        self.create(&secrets(), secret("m1-bootstrap", &data))
            .await?;
        let spec = json!({ "infrastructureRef": reference(&clusters, CLUSTER) });
        let owner = self.create(&cluster, core(&cluster, CLUSTER, spec)).await?;
        let infrastructure = object::<ClusterOf<O>>(CLUSTER, &options.cluster);
        self.create(&clusters, owned(infrastructure, &owner))
            .await?;
        let spec = json!({
            "clusterName": CLUSTER,
            "version": "v1.33.0",
            "bootstrap": { "dataSecretName": "m1-bootstrap" },
            "infrastructureRef": reference(&machines, MACHINE),
        });
        let owner = self.create(&machine, core(&machine, MACHINE, spec)).await?;
        let infrastructure = object::<MachineOf<O>>(MACHINE, &options.machine);
        self.create(&machines, owned(infrastructure, &owner))
            .await?;
        Ok(())
    }

    async fn create(&self, kind: &ResourceType, object: Value) -> Result<Value, Flaw> {
        self.send(http::Method::POST, &kind.path("default"), &object)
            .await
    }

    async fn send(&self, method: http::Method, path: &str, body: &Value) -> Result<Value, Flaw> {
        let content = match method {
            http::Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(&method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content)
            .body(bytes)
            .map_err(|error| Flaw::Failed(error.to_string()))?;
        let answer = self.client.request(request).await;
        answer.map_err(|error| Flaw::Failed(format!("{method} {path}: {error}")))
    }

    /// Starts a manager with a provider of its own.
    fn start(&self) -> Managed {
        let provider = Watched {
            provider: self.setting.outside.provider(),
            book: Arc::clone(&self.book),
            client: self.client.clone(),
        };
        let manager = Manager::builder(self.client.clone())
            .clock(self.setting.clock.clone())
            .controllers(controllers::infrastructure(provider))
            .seed(1)
            .build();
        let runtime = manager.runtime().clone();
        let book = Arc::clone(&self.book);
        let task = tokio::spawn(async move {
            if let Err(error) = manager.run(std::future::pending()).await {
                book.flaw(format!("the manager ended: {error}"));
            }
        });
        Managed { runtime, task }
    }

    fn cluster_path(&self) -> String {
        format!("{}/{CLUSTER}", kind::<ClusterOf<O>>().path("default"))
    }

    fn machine_path(&self) -> String {
        format!("{}/{MACHINE}", kind::<MachineOf<O>>().path("default"))
    }

    /// Waits until an object is so; the part of the core is played meanwhile.
    async fn until(
        &self,
        path: &str,
        so: impl Fn(Option<&Value>) -> bool,
    ) -> Result<Option<Value>, Flaw> {
        let clock = &self.setting.clock;
        let started = clock.now();
        loop {
            self.play_core().await?;
            let found = get(&self.client, path).await?;
            if so(found.as_ref()) {
                return Ok(found);
            }
            let waited = Duration::try_from(clock.now().duration_since(started));
            if waited.is_ok_and(|waited| waited > self.setting.options.patience) {
                let found = found.unwrap_or_default();
                return Err(format!(
                    "it never comes so far; {path} has status {} and finalizers {}",
                    found["status"], found["metadata"]["finalizers"]
                )
                .into());
            }
            clock.sleep(Duration::from_millis(250)).await;
        }
    }

    /// The Cluster says that its infrastructure is provisioned once it is.
    async fn play_core(&self) -> Verdict {
        let Some(infrastructure) = get(&self.client, &self.cluster_path()).await? else {
            return Ok(());
        };
        let path = format!(
            "{}/{CLUSTER}",
            ResourceType::from(Cluster::KIND).path("default")
        );
        let cluster = get(&self.client, &path).await?.unwrap_or_default();
        let ready = |object: &Value, field| object["status"]["initialization"][field] == true;
        if ready(&infrastructure, "provisioned") && !ready(&cluster, "infrastructureProvisioned") {
            let status =
                json!({ "status": { "initialization": { "infrastructureProvisioned": true } } });
            self.send(http::Method::PATCH, &format!("{path}/status"), &status)
                .await?;
        }
        Ok(())
    }

    /// Until the machine is ready.
    async fn ready(&self) -> Result<Value, Flaw> {
        let ready = |object: Option<&Value>| {
            object.is_some_and(|object| condition(object, "Ready") == Some("True"))
        };
        let found = self.until(&self.machine_path(), ready).await?;
        self.book.verdict()?;
        Ok(found.unwrap_or_default())
    }

    /// The identity that the object records.
    fn identity(&self, object: &Value) -> Result<Identity<O>, Flaw> {
        let machine = serde_json::from_value(object.clone())
            .map_err(|error| Flaw::Failed(error.to_string()))?;
        let read = self.setting.outside.provider().read_identity(&machine);
        read.map_err(|error| Flaw::Failed(error.to_string()))?
            .ok_or_else(|| "the machine is ready and has no identity".into())
    }

    async fn delete_all(&self) -> Verdict {
        for path in [self.machine_path(), self.cluster_path()] {
            if get(&self.client, &path).await?.is_some() {
                self.send(http::Method::DELETE, &path, &Value::Null).await?;
            }
            self.until(&path, |found| found.is_none()).await?;
        }
        self.setting.expect_machines(&[], "after the deletion")
    }
}

fn secret(name: &str, data: &[(String, Vec<u8>)]) -> Value {
    let engine = base64::engine::general_purpose::STANDARD;
    let data: serde_json::Map<String, Value> = data
        .iter()
        .map(|(key, value)| (key.clone(), json!(engine.encode(value))))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "namespace": "default", "name": name,
            "labels": { "cluster.x-k8s.io/cluster-name": CLUSTER },
        },
        "type": "cluster.x-k8s.io/secret",
        "data": data,
    })
}

async fn get(client: &kube::Client, path: &str) -> Result<Option<Value>, String> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    match client.request(request).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(format!("GET {path}: {error}")),
    }
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == name)?["status"]
        .as_str()
}

/// A field of an object must be so.
fn expect(object: &Value, pointer: &str, wanted: &Value) -> Verdict {
    match object.pointer(pointer) {
        Some(found) if found == wanted => Ok(()),
        found => Err(format!("{pointer} is {found:?} and not {wanted}").into()),
    }
}

pub(super) async fn comes_up<O: Outside>(setting: Setting<O>) -> Verdict {
    let plane = Plane::new(setting).await?;
    let _managed = plane.start();
    let machine = plane.ready().await?;
    expect(&machine, "/status/initialization/provisioned", &json!(true))?;
    expect(&machine, "/status/ready", &json!(true))?;
    let identity = plane.identity(&machine)?;
    expect(&machine, "/spec/providerID", &json!(identity.provider_id()))?;
    let addresses = machine["status"]
        .get("addresses")
        .cloned()
        .unwrap_or_else(|| json!([]));
    if let Err(error) = serde_json::from_value::<Vec<MachineAddress>>(addresses) {
        return Err(format!("status.addresses does not keep the contract: {error}").into());
    }
    if condition(&machine, "Paused") != Some("False") {
        return Err("the condition Paused is not False".into());
    }
    let cluster = get(&plane.client, &plane.cluster_path())
        .await?
        .unwrap_or_default();
    expect(&cluster, "/status/initialization/provisioned", &json!(true))?;
    expect(&cluster, "/status/ready", &json!(true))?;
    if condition(&cluster, "Ready") != Some("True") {
        return Err("the cluster's condition Ready is not True".into());
    }
    plane
        .setting
        .expect_machines(&[&identity], "once it is ready")
}

pub(super) async fn recorded_first<O: Outside>(setting: Setting<O>) -> Verdict {
    let plane = Plane::new(setting).await?;
    let _managed = plane.start();
    plane.ready().await?;
    plane.book.verdict()
}

pub(super) async fn idle<O: Outside>(setting: Setting<O>) -> Verdict {
    let plane = Plane::new(setting).await?;
    let managed = plane.start();
    plane.ready().await?;
    let clock = plane.setting.clock.clone();
    let minute = Duration::from_secs(60);
    clock.sleep(minute).await;
    let writes = managed.runtime.metrics().writes();
    let calls = plane.book.calls.load(Ordering::SeqCst);
    for (controller, name) in [
        (kind::<MachineOf<O>>(), MACHINE),
        (kind::<ClusterOf<O>>(), CLUSTER),
    ] {
        let controller = controller.kind().to_ascii_lowercase();
        managed
            .runtime
            .wake(&controller, &ObjectKey::new("default", name));
    }
    clock.sleep(minute).await;
    if plane.book.calls.load(Ordering::SeqCst) == calls {
        return Err("the suite woke its objects, and the provider was not called".into());
    }
    let after = managed.runtime.metrics().writes();
    if after != writes {
        return Err(format!("the writes go from {writes:?} to {after:?}").into());
    }
    drop(managed);
    let managed = plane.start();
    clock.sleep(minute).await;
    let writes = managed.runtime.metrics().writes();
    if !writes.is_empty() {
        return Err(format!("after a restart there are {writes:?}").into());
    }
    plane.book.verdict()
}

pub(super) async fn killed<O: Outside>(
    setting: Setting<O>,
    at: usize,
) -> Result<Interrupted, Flaw> {
    let plane = Plane::new(setting).await?;
    plane.book.dies_at.store(at, Ordering::SeqCst);
    let managed = plane.start();
    let whole = tokio::select! {
        () = plane.book.died.notified() => None,
        whole = life(&plane) => Some(whole),
    };
    drop(managed);
    plane.book.dies_at.store(0, Ordering::SeqCst);
    if let Some(whole) = whole {
        return whole.map(|()| Interrupted::Finished);
    }
    let _managed = plane.start();
    life(&plane).await?;
    Ok(Interrupted::Yes)
}

/// Up, if it is not on its way down already, and down again.
async fn life<O: Outside>(plane: &Plane<O>) -> Verdict {
    let found = get(&plane.client, &plane.machine_path()).await?;
    if found.is_some_and(|machine| machine["metadata"]["deletionTimestamp"].is_null()) {
        let machine = plane.ready().await?;
        let identity = plane.identity(&machine)?;
        plane
            .setting
            .expect_machines(&[&identity], "once it is ready")?;
    }
    plane.delete_all().await
}

pub(super) async fn paused<O: Outside>(setting: Setting<O>) -> Verdict {
    let plane = Plane::new(setting).await?;
    let path = format!(
        "{}/{CLUSTER}",
        ResourceType::from(Cluster::KIND).path("default")
    );
    let pause = |paused: bool| json!({ "spec": { "paused": paused } });
    plane.send(http::Method::PATCH, &path, &pause(true)).await?;
    let _managed = plane.start();
    plane.setting.clock.sleep(Duration::from_secs(60)).await;
    let calls = plane.book.calls.load(Ordering::SeqCst);
    if calls != 0 {
        return Err(format!("there are {calls} calls").into());
    }
    plane
        .send(http::Method::PATCH, &path, &pause(false))
        .await?;
    plane.ready().await.map(drop)
}

pub(super) async fn deleted<O: Outside>(setting: Setting<O>) -> Verdict {
    let plane = Plane::new(setting).await?;
    let _managed = plane.start();
    plane.ready().await?;
    plane.delete_all().await?;
    let claims = ResourceType::from(crate::api::IPAddressClaim::KIND).path("default");
    let left = get(&plane.client, &claims).await?.unwrap_or_default();
    if left["items"]
        .as_array()
        .is_some_and(|items| !items.is_empty())
    {
        return Err(format!("address claims are left: {}", left["items"]).into());
    }
    Ok(())
}
