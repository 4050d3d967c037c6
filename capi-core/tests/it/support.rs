//! A management cluster in this process, in virtual time.

use std::{sync::Arc, time::Duration};

use capi_core::{
    clock::Clock,
    controllers,
    embedded::{self, ApiServer},
    runtime::{Connector, Controller, Manager, ResourceType, Runtime},
    testing::reference::{
        self, Datacenter, ReferenceBootstrap, ReferenceControlPlaneProvider,
        ReferenceInfrastructure, Settings,
    },
};
use jiff::Timestamp;
use serde_json::Value;

/// The time at which tests begin.
pub(crate) fn epoch() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a literal time")
}

/// All controllers: the core's, and those of the reference providers.
pub(crate) fn all_controllers(datacenter: &Datacenter) -> Vec<Arc<dyn Controller>> {
    let mut all = controllers::core();
    all.extend(provider_controllers(datacenter));
    all
}

/// The controllers of the reference providers.
pub(crate) fn provider_controllers(datacenter: &Datacenter) -> Vec<Arc<dyn Controller>> {
    let mut all = controllers::infrastructure(ReferenceInfrastructure::new(datacenter.clone()));
    all.extend(controllers::bootstrap(ReferenceBootstrap));
    all.extend(controllers::control_plane(
        ReferenceControlPlaneProvider::new(datacenter.clone()),
    ));
    all
}

/// A server, a client, a datacenter.
pub(crate) struct Plane {
    pub(crate) server: ApiServer,
    pub(crate) client: kube::Client,
    pub(crate) clock: Clock,
    pub(crate) datacenter: Datacenter,
}

impl Plane {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with_crds(settings, |crd| crd)
    }

    /// With the definitions changed.
    pub(crate) fn with_crds(settings: Settings, change: impl Fn(Value) -> Value) -> Self {
        let clock = Clock::following_tokio(epoch());
        let mut builder = ApiServer::builder().clock(clock.clone()).seed(1);
        for crd in capi_core::api::crds().into_iter().chain(reference::crds()) {
            builder = builder.crd(change(crd));
        }
        let server = builder.build().expect("the definitions are sound");
        Self {
            client: embedded::client(&server),
            datacenter: Datacenter::new(clock.clone(), settings),
            clock,
            server,
        }
    }

    /// Runs controllers until the returned guard is dropped.
    pub(crate) fn run(&self, controllers: Vec<Arc<dyn Controller>>) -> Running {
        self.run_through(
            self.client.clone(),
            self.datacenter.connector(),
            controllers,
        )
    }

    /// Runs controllers with another client and another way to workload clusters.
    pub(crate) fn run_through(
        &self,
        client: kube::Client,
        connector: impl Connector,
        controllers: Vec<Arc<dyn Controller>>,
    ) -> Running {
        let manager = Manager::builder(client)
            .clock(self.clock.clone())
            .connector(connector)
            .controllers(controllers)
            .seed(1)
            .build();
        let runtime = manager.runtime().clone();
        let task = tokio::spawn(async move {
            manager
                .run(std::future::pending())
                .await
                .expect("no lease, so none is lost");
        });
        Running { runtime, task }
    }

    /// Applies an object.
    pub(crate) async fn apply(&self, object: &Value) {
        let kind = kind_of(object);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().expect("a name");
        let path = format!(
            "{}/{name}?fieldManager=user&force=true",
            kind.path(namespace)
        );
        self.send(
            http::Method::PATCH,
            &path,
            "application/apply-patch+yaml",
            object,
        )
        .await;
    }

    /// Merges a patch into an object, or into its status for a path that ends so.
    pub(crate) async fn patch(&self, path: &str, patch: &Value) {
        self.send(
            http::Method::PATCH,
            path,
            "application/merge-patch+json",
            patch,
        )
        .await;
    }

    /// Deletes what is at a path.
    pub(crate) async fn delete(&self, path: &str) {
        self.send(http::Method::DELETE, path, "application/json", &Value::Null)
            .await;
    }

    /// What is at a path; `None` when nothing is.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path).body(Vec::new()).expect("a path");
        match self.client.request::<Value>(request).await {
            Ok(object) => Some(object),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("GET {path}: {error}"),
        }
    }

    /// Waits, at most an hour of virtual time, until what is at a path is so.
    pub(crate) async fn until(
        &self,
        path: &str,
        so: impl Fn(Option<&Value>) -> bool,
    ) -> Option<Value> {
        for _ in 0..7200 {
            let found = self.get(path).await;
            if so(found.as_ref()) {
                return found;
            }
            // Virtual time: jumps to the next thing that happens.
            self.clock.sleep(Duration::from_millis(500)).await;
        }
        panic!("{path} never became so: {:#?}", self.get(path).await);
    }

    async fn send(&self, method: http::Method, path: &str, content_type: &str, body: &Value) {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method.clone())
            .uri(path)
            .header("content-type", content_type)
            .body(bytes)
            .expect("a path");
        if let Err(error) = self.client.request_text(request).await {
            panic!("{method} {path}: {error}");
        }
    }
}

/// Controllers at work.
pub(crate) struct Running {
    pub(crate) runtime: Runtime,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn kind_of(object: &Value) -> ResourceType {
    let api_version = object["apiVersion"].as_str().expect("apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ResourceType::by_convention(group, version, object["kind"].as_str().expect("kind"))
}

/// Whether a condition of an object has a status.
pub(crate) fn condition(object: &Value, name: &str) -> Option<String> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == name)?["status"]
        .as_str()
        .map(str::to_owned)
}
