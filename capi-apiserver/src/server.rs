//! The server as a value: store, registry, clock, identities, hooks. One request is handled from
//! beginning to end without waiting; only the body of a watch goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jiff::Timestamp;

use crate::{
    clock::Clock,
    entropy::Entropy,
    gc::Graph,
    hooks::{Hooks, Warnings},
    registry::{Registry, Resource},
    reply::Reply,
    request::{Accept, Options, Request, ResourcePath, Target, negotiate, path},
    status::Status,
    storage::Store,
    verbs,
};

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Entropy,
    pub(crate) hooks: Hooks,
    registry: RwLock<Arc<Registry>>,
    pub(crate) graph: Mutex<Graph>,
    /// Held by each write from its first read to its last consequence.
    writes: Mutex<()>,
}

/// One request to one resource.
#[derive(Debug)]
pub(crate) struct Call<'r> {
    pub(crate) server: &'r Server,
    pub(crate) registry: Arc<Registry>,
    pub(crate) resource: Arc<Resource>,
    /// Index of the version of the request.
    pub(crate) served: usize,
    pub(crate) path: &'r ResourcePath,
    pub(crate) options: Options,
    pub(crate) request: &'r Request,
    pub(crate) accept: Accept,
    pub(crate) now: Timestamp,
    /// What hooks have to say to the client.
    pub(crate) warnings: &'r Warnings,
}

impl Call<'_> {
    pub(crate) fn version(&self) -> &crate::registry::Served {
        &self.resource.served[self.served]
    }

    pub(crate) fn group(&self) -> &str {
        &self.path.group
    }

    pub(crate) fn plural(&self) -> &str {
        &self.path.resource
    }

    pub(crate) fn kind(&self) -> &str {
        &self.resource.names.kind
    }

    pub(crate) fn key(&self) -> String {
        self.resource.key(&self.path.namespace, &self.path.name)
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(self.group(), self.plural(), &self.path.name)
    }

    /// The name under which the writer's fields are managed.
    pub(crate) fn manager(&self) -> String {
        if let Some(manager) = &self.options.field_manager {
            return manager.clone();
        }
        let agent = self.request.user_agent.as_str();
        let name = agent.split('/').next().unwrap_or_default();
        let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
        if name.is_empty() {
            "unknown".to_owned()
        } else {
            name
        }
    }
}

impl Server {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Entropy,
        hooks: Hooks,
    ) -> Self {
        let mut registry = Registry::default();
        for resource in crate::registry::builtin::resources(&*store) {
            registry.insert(resource);
        }
        Self {
            store,
            clock,
            entropy,
            hooks,
            registry: RwLock::new(Arc::new(registry)),
            graph: Mutex::default(),
            writes: Mutex::default(),
        }
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the registry by a changed one. Called by writes only, of which there is one at a time.
    pub(crate) fn change_registry(&self, change: impl FnOnce(&mut Registry)) {
        let mut registry = Registry::clone(&self.registry());
        change(&mut registry);
        *self
            .registry
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(registry);
    }

    pub(crate) fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request. Never fails: a failure is an answer.
    pub(crate) fn handle(self: &Arc<Self>, request: &Request) -> Reply {
        let warnings = Warnings::default();
        let mut reply = self
            .try_handle(request, &warnings)
            .unwrap_or_else(|status| Reply::failure(&status));
        reply.warnings.extend(warnings.take());
        reply
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The failure that the client is to be told.
    pub(crate) fn try_handle(
        self: &Arc<Self>,
        request: &Request,
        warnings: &Warnings,
    ) -> Result<Reply, Status> {
        match path::parse(&request.path) {
            Target::Resource(path) => self.resource(request, &path, warnings),
            Target::Other => crate::discovery::answer(self, request),
        }
    }

    fn resource(
        self: &Arc<Self>,
        request: &Request,
        path: &ResourcePath,
        warnings: &Warnings,
    ) -> Result<Reply, Status> {
        let registry = self.registry();
        let Some((resource, served)) = registry.find(&path.group, &path.version, &path.resource)
        else {
            if registry.serves(&path.group, &path.version) {
                return Err(Status::no_such_resource());
            }
            return Ok(Reply::not_found_page());
        };
        if resource.namespaced && path.namespace.is_empty() && !path.name.is_empty() {
            return Err(Status::no_such_resource());
        }
        if !resource.namespaced && !path.namespace.is_empty() && path.resource != "namespaces" {
            return Err(Status::no_such_resource());
        }
        let options = Options::parse(&request.query)?;
        let Some(accept) = negotiate::negotiate(&request.accept) else {
            return Err(Status::not_acceptable(
                "application/json, application/yaml, application/vnd.kubernetes.protobuf",
            ));
        };
        let call = Call {
            server: self,
            registry,
            resource,
            served,
            path,
            options,
            request,
            accept,
            now: self.clock.now(),
            warnings,
        };
        let deprecated = call.version().deprecated.clone();
        let mut reply = self.dispatch(&call)?;
        if let Some(warning) = deprecated {
            reply.warnings.insert(0, warning);
        }
        Ok(reply)
    }

    fn dispatch(self: &Arc<Self>, call: &Call<'_>) -> Result<Reply, Status> {
        let named = !call.path.name.is_empty();
        let method = call.request.method.as_str();
        if !call.path.subresource.is_empty() {
            return verbs::subresource::answer(self, call);
        }
        match (method, named) {
            ("GET" | "HEAD", true) if !(call.options.watch || call.path.watch) => {
                verbs::read::get(call)
            }
            ("GET" | "HEAD", _) if call.options.watch || call.path.watch => {
                verbs::watch::watch(self, call)
            }
            ("GET" | "HEAD", _) => verbs::list::list(call),
            ("POST", false) => self.write(|| verbs::create::create(call)),
            ("PUT", true) => self.write(|| verbs::update::put(call)),
            ("PATCH", true) => self.write(|| verbs::patch::patch(call)),
            ("DELETE", true) => self.write(|| verbs::delete::delete(call)),
            ("PUT" | "PATCH", false) if call.resource.is_custom() => {
                Err(Status::bad_request("name must be provided"))
            }
            ("DELETE", false) => self.write(|| verbs::delete::delete_collection(call)),
            _ => Err(Status::method_not_allowed()),
        }
    }

    /// Runs one write with its consequences, while no other runs.
    pub(crate) fn write<T>(&self, write: impl FnOnce() -> Result<T, Status>) -> Result<T, Status> {
        let _alone = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let result = write();
        crate::gc::settle(self);
        result
    }
}
