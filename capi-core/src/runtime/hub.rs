//! Where changes become work: maps each change to the objects that it concerns and queues them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    Change, Controller, Metrics, Object, ObjectKey, ResourceType, Runtime, Watch,
    queue::{Finished, Item, Queue, QueueConfig},
    workload::WorkloadEvent,
};
use crate::api::labels;

struct Route {
    controller: Arc<dyn Controller>,
    resource: ResourceType,
    watches: Vec<Watch>,
}

pub(crate) struct Hub {
    routes: Vec<Route>,
    queue: Mutex<Queue>,
    pub(crate) added: Notify,
    watch_filter: Option<String>,
    metrics: Arc<Metrics>,
}

impl Hub {
    pub(crate) fn new(
        controllers: Vec<Arc<dyn Controller>>,
        config: QueueConfig,
        watch_filter: Option<String>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let routes = controllers
            .into_iter()
            .map(|controller| Route {
                resource: controller.resource(),
                watches: controller.watches(),
                controller,
            })
            .collect();
        Self {
            routes,
            queue: Mutex::new(Queue::new(config)),
            added: Notify::new(),
            watch_filter,
            metrics,
        }
    }

    pub(crate) fn controllers(&self) -> impl Iterator<Item = &Arc<dyn Controller>> {
        self.routes.iter().map(|route| &route.controller)
    }

    pub(crate) fn controller(&self, item: &Item) -> &Arc<dyn Controller> {
        &self.routes[item.controller].controller
    }

    /// Whether one of the controllers reconciles this kind, in whatever version.
    pub(crate) fn reconciles(&self, group: &str, kind: &str) -> bool {
        self.routes
            .iter()
            .any(|route| route.resource.group() == group && route.resource.kind() == kind)
    }

    /// The kinds that must be listed before anything is reconciled.
    pub(crate) fn kinds(&self) -> Vec<ResourceType> {
        let mut kinds = Vec::new();
        for route in &self.routes {
            kinds.push(route.resource.clone());
            for watch in &route.watches {
                if let Watch::Kind(resource, _) = watch {
                    kinds.push(resource.clone());
                }
            }
        }
        kinds.sort();
        kinds.dedup();
        kinds
    }

    /// A change of an object of the management cluster.
    pub(crate) fn changed(&self, runtime: &Runtime, change: &Change) {
        for (index, route) in self.routes.iter().enumerate() {
            if route.resource == change.resource {
                self.add(runtime, index, change.object().key().clone());
            }
            for watch in &route.watches {
                match watch {
                    Watch::Kind(resource, map) if *resource == change.resource => {
                        for key in map(runtime, change) {
                            self.add(runtime, index, key);
                        }
                    }
                    Watch::Owned { group, kind } => {
                        for object in change.old.iter().chain(&change.new) {
                            let owners = object.owners().iter();
                            for owner in owners.filter(|owner| owner.is(group, kind)) {
                                self.add(runtime, index, object.key().sibling(&owner.name));
                            }
                        }
                    }
                    Watch::OwnedBy { group, kind, map } => {
                        let owned = |object: &Arc<Object>| {
                            object.owners().iter().any(|owner| owner.is(group, kind))
                        };
                        if change.old.iter().chain(&change.new).any(owned) {
                            for key in map(runtime, change) {
                                self.add(runtime, index, key);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Something happened in or to a workload cluster.
    pub(crate) fn workload(&self, runtime: &Runtime, event: &WorkloadEvent) {
        for (index, route) in self.routes.iter().enumerate() {
            for watch in &route.watches {
                let keys = match (watch, event) {
                    (Watch::Nodes(map), WorkloadEvent::Node { cluster, node }) => {
                        map(runtime, cluster, node)
                    }
                    (Watch::Connections(map), WorkloadEvent::Connection { cluster }) => {
                        map(runtime, cluster)
                    }
                    _ => continue,
                };
                for key in keys {
                    self.add(runtime, index, key);
                }
            }
        }
    }

    /// Queues an object of the controller of this name.
    pub(crate) fn wake(&self, runtime: &Runtime, controller: &str, key: &ObjectKey) {
        let found = self
            .routes
            .iter()
            .position(|route| route.controller.name() == controller);
        if let Some(index) = found {
            self.add(runtime, index, key.clone());
        }
    }

    fn add(&self, runtime: &Runtime, controller: usize, key: ObjectKey) {
        let route = &self.routes[controller];
        let object = runtime.cache().store(&route.resource).get(&key);
        if let (Some(filter), Some(object)) = (&self.watch_filter, &object)
            && object.label(labels::WATCH_FILTER) != Some(filter)
        {
            return;
        }
        let lane = object
            .as_ref()
            .map_or_else(|| key.clone(), |object| object.cluster_key());
        self.metrics.added(route.controller.name());
        let now = runtime.clock().now();
        self.queue().add(Item { controller, key }, lane, now);
        self.added.notify_one();
    }

    /// The next object, with the cluster that it counts for; `most` are handed out at once of one
    /// cluster.
    pub(crate) fn pop(&self, now: Timestamp, most: usize) -> Option<(Item, ObjectKey)> {
        self.queue().pop(now, most)
    }

    pub(crate) fn done(&self, item: &Item, finished: Finished, now: Timestamp) -> u32 {
        self.queue().done(item, finished, now)
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.queue().next_due()
    }

    /// When the first of the controllers of a kind looks at an object by itself.
    pub(crate) fn next_look(&self, resource: &ResourceType, key: &ObjectKey) -> Option<Timestamp> {
        let queue = self.queue();
        let routes = self.routes.iter().enumerate();
        routes
            .filter(|(_, route)| route.resource == *resource)
            .filter_map(|(controller, _)| {
                let key = key.clone();
                queue.due(&Item { controller, key })
            })
            .min()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue().depth() == 0
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
