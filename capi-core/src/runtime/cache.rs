//! Caches: one store and one watch per kind, shared by all controllers of a manager.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio::task::JoinSet;

use super::{Change, Error, Object, ObjectKey, ResourceType, Store, reflect::Reflector};
use crate::clock::Clock;

/// What of a kind is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Label selector; all objects when empty.
    pub labels: String,
    /// Metadata only: for kinds whose content nobody needs.
    pub metadata_only: bool,
}

type OnChange = Box<dyn Fn(&Change) + Send + Sync>;

struct Inner {
    client: kube::Client,
    clock: Clock,
    /// The one namespace that is watched, or empty for all.
    namespace: String,
    selections: BTreeMap<ResourceType, Selection>,
    stores: Mutex<BTreeMap<ResourceType, Arc<Store>>>,
    tasks: Mutex<JoinSet<()>>,
    on_change: OnceLock<OnChange>,
}

/// The stores of a manager, or of one workload cluster. Cheap to clone; the watches end with the
/// last clone, or with [`stop`](Self::stop).
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

impl Cache {
    /// Caches of what `client` reaches. `namespace` bounds namespaced kinds; empty is all.
    #[must_use]
    pub fn new(
        client: kube::Client,
        clock: Clock,
        namespace: impl Into<String>,
        selections: BTreeMap<ResourceType, Selection>,
    ) -> Self {
        Self(Arc::new(Inner {
            client,
            clock,
            namespace: namespace.into(),
            selections,
            stores: Mutex::default(),
            tasks: Mutex::default(),
            on_change: OnceLock::new(),
        }))
    }

    /// Who is told of every change of every store; the first call counts.
    pub(crate) fn on_change(&self, hook: impl Fn(&Change) + Send + Sync + 'static) {
        // A second hook would be a defect of the one caller there is; the first one stays.
        let _ = self.0.on_change.set(Box::new(hook));
    }

    /// The store of a kind; its watch begins with the first call.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn store(&self, resource: &ResourceType) -> Arc<Store> {
        let mut stores = self.0.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(resource) {
            return Arc::clone(store);
        }
        let store = Arc::new(Store::new(resource.clone()));
        let weak = Arc::downgrade(&self.0);
        store.afterwards(Arc::new(move |change| {
            if let Some(inner) = weak.upgrade()
                && let Some(hook) = inner.on_change.get()
            {
                hook(change);
            }
        }));
        stores.insert(resource.clone(), Arc::clone(&store));
        let reflector = Reflector::new(
            self.0.client.clone(),
            self.0.clock.clone(),
            Arc::clone(&store),
            &self.0.namespace,
            self.0.selections.get(resource).cloned().unwrap_or_default(),
        );
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(reflector.run());
        store
    }

    /// The store of a kind once its first list is in.
    ///
    /// # Errors
    /// When the kind cannot be listed.
    pub async fn synced(&self, resource: &ResourceType) -> Result<Arc<Store>, Error> {
        let store = self.store(resource);
        store.synced().await?;
        Ok(store)
    }

    /// The cached object of a kind, once the kind's first list is in.
    ///
    /// # Errors
    /// When the kind cannot be listed.
    pub async fn get(
        &self,
        resource: &ResourceType,
        key: &ObjectKey,
    ) -> Result<Option<Arc<Object>>, Error> {
        Ok(self.synced(resource).await?.get(key))
    }

    /// Takes in a state that the API server answered to one of our writes.
    pub(crate) fn observe(&self, resource: &ResourceType, object: Arc<Object>) {
        if let Some(store) = self.existing(resource) {
            store.observe(object);
        }
    }

    /// Takes in that one of our writes removed an object.
    pub(crate) fn forget(&self, resource: &ResourceType, object: &Arc<Object>) {
        if let Some(store) = self.existing(resource) {
            store.forget(object);
        }
    }

    /// Ends all watches.
    pub fn stop(&self) {
        self.0
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }

    fn existing(&self, resource: &ResourceType) -> Option<Arc<Store>> {
        self.0
            .stores
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(resource)
            .cloned()
    }
}
