//! Assembling a server.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::{
    audit::Audit,
    builtin::namespace,
    clock::{Clock, SystemClock},
    entropy::Entropy,
    hooks::{Admission, Convert, Hooks, Warnings},
    request::{Request, User},
    server::Server,
    service::ApiService,
    status::Status,
    storage::Memory,
};

/// Changes kept for each resource unless said otherwise.
const HISTORY: usize = 2048;

/// An embedded Kubernetes API server.
///
/// A value without threads, tasks or sockets of its own: [`ApiServer::service`] is its one door.
/// Clones are handles on the same server; it ends when the last handle, service and watch is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use capi_apiserver::ApiServer;
/// use k8s_openapi::api::core::v1::ConfigMap;
/// use kube::api::{Api, PostParams};
///
/// let server = ApiServer::builder().build()?;
/// let client = kube::Client::new(server.service(), "default");
/// let config_maps: Api<ConfigMap> = Api::default_namespaced(client);
/// let mut config_map = ConfigMap::default();
/// config_map.metadata.name = Some("hello".to_owned());
/// config_maps.create(&PostParams::default(), &config_map).await?;
/// assert!(config_maps.get("hello").await?.metadata.uid.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ApiServer {
    server: Arc<Server>,
    audit: Option<Arc<dyn Audit>>,
}

/// What a server is made of; see [`ApiServer::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    history: usize,
    hooks: Hooks,
    audit: Option<Arc<dyn Audit>>,
    objects: Vec<Result<Bytes, String>>,
}

/// A server cannot be assembled from what it was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An initial object is not one: give JSON-serialisable objects with `apiVersion`, `kind` and a name.
    #[error("initial object {index} is not an object of Kubernetes: {why}")]
    NoObject {
        /// Its place among the initial objects.
        index: usize,
        /// What is wrong.
        why: String,
    },
    /// The server refused an initial object.
    #[error("initial object {index} was refused")]
    Refused {
        /// Its place among the initial objects.
        index: usize,
        /// The answer to its creation.
        #[source]
        status: Status,
    },
}

impl ApiServer {
    /// A builder of a server in memory with the system's clock, random identities and no resources
    /// but the built-in ones.
    pub fn builder() -> Builder {
        Builder {
            clock: Arc::new(SystemClock),
            seed: None,
            history: HISTORY,
            hooks: Hooks::default(),
            audit: None,
            objects: Vec::new(),
        }
    }

    /// The door: a tower service for `kube::Client::new(server.service(), "default")`. Requests are
    /// made by the administrator unless [`ApiService::with_user`] says otherwise. kube's client spawns
    /// a task when it is made, so make it inside of a tokio runtime.
    #[must_use]
    pub fn service(&self) -> ApiService {
        ApiService {
            server: self.server.clone(),
            audit: self.audit.clone(),
            user: Arc::new(User::admin()),
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.server.clock.clone()
    }

    /// The version of the last write, `resourceVersion` of a list made now.
    #[must_use]
    pub fn resource_version(&self) -> u64 {
        self.server.store.version()
    }

    /// Forgets the history up to now: watches from earlier versions and chunks of earlier lists are
    /// answered with 410.
    pub fn compact(&self) {
        self.server.store.compact(self.server.store.version());
    }

    /// A hash of everything that is stored, with its versions. Equal hashes, equal stores.
    #[must_use]
    pub fn digest(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        hash.update(self.server.store.version().to_le_bytes());
        self.server.store.visit(&mut |name, key, stored| {
            for part in [name.as_bytes(), key.as_bytes(), &stored.bytes] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        });
        hash.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl Builder {
    /// The source of timestamps; the system's clock unless said otherwise.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Makes uids and generated names a function of `seed` and of the order of requests. Versions
    /// always count from 1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// How many changes of each resource a watch can go back at least; 2048 unless said otherwise.
    pub fn history(mut self, changes: usize) -> Self {
        self.history = changes;
        self
    }

    /// A CustomResourceDefinition to begin with (`apiextensions.k8s.io/v1`); the same as
    /// [`Builder::object`], and said for readers.
    pub fn crd(self, definition: impl Serialize) -> Self {
        self.object(definition)
    }

    /// An object to begin with, with `apiVersion` and `kind`. Objects are created in order.
    pub fn object(mut self, object: impl Serialize) -> Self {
        self.objects.push(
            serde_json::to_vec(&object)
                .map(Bytes::from)
                .map_err(|error| error.to_string()),
        );
        self
    }

    /// Objects to begin with, as text: YAML or JSON, any number of documents. Definitions come before
    /// objects of their kinds. What is wrong with the text is said by [`build`](Self::build).
    pub fn manifest(mut self, text: &str) -> Self {
        let mut document = String::new();
        for line in text.lines().chain(["---"]) {
            let separates = line
                .strip_prefix("---")
                .map(str::trim_start)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'));
            if !separates {
                document.push_str(line);
                document.push('\n');
                continue;
            }
            match crate::json::parse_yaml(document.as_bytes()) {
                Ok(object) if object.is_null() => {}
                Ok(object) => self.objects.push(Ok(object.to_vec().into())),
                Err(error) if document.trim().is_empty() => drop(error),
                Err(error) => self.objects.push(Err(error.to_string())),
            }
            document.clear();
        }
        self
    }

    /// Converts objects of a resource (`machines.cluster.x-k8s.io`, `plural.group`) between its
    /// versions, from any served one to any other. A function will do. Without one only `apiVersion`
    /// changes; whatever the definition says of webhooks is not called. A resource that is not there
    /// is no mistake: its definition may be created later.
    pub fn conversion(mut self, resource: impl Into<String>, convert: impl Convert) -> Self {
        self.hooks
            .conversion
            .insert(resource.into(), Arc::new(convert));
        self
    }

    /// Adds admission to a resource (`machines.cluster.x-k8s.io`, `plural.group`, or `pods` in the core
    /// group); hooks are asked in the order in which they were added. They see the object in the
    /// version of the request. A resource that is not there is no mistake, as with
    /// [`conversion`](Self::conversion).
    pub fn admission(mut self, resource: impl Into<String>, admission: impl Admission) -> Self {
        self.hooks
            .admission
            .entry(resource.into())
            .or_default()
            .push(Arc::new(admission));
        self
    }

    /// Who is told of each request.
    pub fn audit(mut self, audit: impl Audit) -> Self {
        self.audit = Some(Arc::new(audit));
        self
    }

    /// Assembles the server.
    ///
    /// # Errors
    /// [`BuildError`] when an initial object is malformed or refused.
    pub fn build(self) -> Result<ApiServer, BuildError> {
        let entropy = self.seed.map_or_else(Entropy::from_system, Entropy::seeded);
        let server = Arc::new(Server::new(
            Arc::new(Memory::new(self.history)),
            self.clock,
            entropy,
            self.hooks,
        ));
        let built = ApiServer {
            server,
            audit: self.audit,
        };
        for name in namespace::SYSTEM {
            let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            built.create(0, &object.to_string().into())?;
        }
        for (index, object) in self.objects.into_iter().enumerate() {
            let object = object.map_err(|why| BuildError::NoObject { index, why })?;
            built.create(index, &object)?;
        }
        Ok(built)
    }
}

impl ApiServer {
    /// Creates an object at the path that its own type names.
    fn create(&self, index: usize, object: &Bytes) -> Result<(), BuildError> {
        let no_object = |why: &str| BuildError::NoObject {
            index,
            why: why.to_owned(),
        };
        let document = crate::json::parse(object).map_err(|error| no_object(&error.message))?;
        let text = |field: &str| {
            document
                .value
                .get(field)
                .and_then(crate::json::Value::as_str)
        };
        let api_version = text("apiVersion").ok_or_else(|| no_object("it has no apiVersion"))?;
        let kind = text("kind").ok_or_else(|| no_object("it has no kind"))?;
        let (group, version) = crate::registry::split_api_version(api_version);
        let registry = self.server.registry();
        let resource = registry
            .kind(group, kind)
            .ok_or_else(|| no_object("its kind is not served"))?;
        let base = if group.is_empty() {
            "/api".to_owned()
        } else {
            format!("/apis/{group}")
        };
        let plural = &resource.names.plural;
        let path = if resource.namespaced {
            let namespace = crate::object::namespace(&document.value);
            let namespace = if namespace.is_empty() {
                "default"
            } else {
                namespace
            };
            format!("{base}/{version}/namespaces/{namespace}/{plural}")
        } else {
            format!("{base}/{version}/{plural}")
        };
        let request = Request {
            method: http::Method::POST,
            path,
            query: String::new(),
            content_type: "application/json".to_owned(),
            accept: String::new(),
            user_agent: "capi-apiserver".to_owned(),
            user: Arc::new(User::admin()),
            body: object.clone(),
        };
        self.server
            .try_handle(&request, &Warnings::default())
            .map(drop)
            .map_err(|status| BuildError::Refused { index, status })
    }
}
