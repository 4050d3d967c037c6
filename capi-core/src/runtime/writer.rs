//! The one place that writes to the API server. Each answer goes into the cache at once, so that
//! the next decision sees what this one did.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    Cache, Error, Metrics, Object, ObjectKey, Pace, ResourceType, fair::others_first, query,
};
use crate::clock::Clock;

/// What happens to the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// It goes after them.
    Foreground,
}

/// Writes of a manager. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    client: kube::Client,
    cache: Cache,
    metrics: Arc<Metrics>,
    pace: Arc<Pace>,
    clock: Clock,
    component: Arc<str>,
    /// Until when the Lease surely is ours, where there is one.
    leads_until: Arc<Mutex<Option<Timestamp>>>,
}

impl Writer {
    pub(crate) fn new(
        client: kube::Client,
        cache: Cache,
        metrics: Arc<Metrics>,
        pace: Arc<Pace>,
        clock: Clock,
        component: Arc<str>,
    ) -> Self {
        Self {
            client,
            cache,
            metrics,
            pace,
            clock,
            component,
            leads_until: Arc::default(),
        }
    }

    /// Refuses what would be written after this time, unless a later call says another one. A
    /// process that stood still for longer than its Lease lasts wakes up in the middle of a
    /// reconcile, and must not write what another manager may have decided otherwise. What was handed to the
    /// connection before is out of reach.
    pub(crate) fn lead_until(&self, until: Timestamp) {
        *self.leads_until() = Some(until);
    }

    fn leads_until(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.leads_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The same writer, for what is written whoever leads.
    pub(crate) fn for_anyone(&self) -> Self {
        Self {
            leads_until: Arc::default(),
            ..self.clone()
        }
    }

    fn leads(&self) -> Result<(), Error> {
        match *self.leads_until() {
            Some(until) if until < self.clock.now() => Err(Error::LeadershipLost),
            _ => Ok(()),
        }
    }

    /// Makes an object.
    ///
    /// # Errors
    /// [`Error::is_already_exists`] when there is one of that name.
    pub async fn create(
        &self,
        resource: &ResourceType,
        namespace: &str,
        object: &impl Serialize,
    ) -> Result<Arc<Object>, Error> {
        let path = format!(
            "{}?fieldManager={}",
            resource.path(namespace),
            self.component
        );
        self.write(Method::POST, resource, &path, "application/json", object)
            .await
    }

    /// Server-side apply with force: the object has these fields, whoever had them before.
    ///
    /// # Errors
    /// [`Error::is_conflict`] when `metadata.uid` is set and the object is another one, or
    /// `metadata.resourceVersion` is and it changed.
    pub async fn apply(
        &self,
        resource: &ResourceType,
        key: &ObjectKey,
        field_manager: &str,
        object: &impl Serialize,
    ) -> Result<Arc<Object>, Error> {
        let path = format!(
            "{}/{}?force=true&fieldManager={field_manager}",
            resource.path(&key.namespace),
            key.name
        );
        self.write(
            Method::PATCH,
            resource,
            &path,
            "application/apply-patch+yaml",
            object,
        )
        .await
    }

    /// JSON merge patch of metadata and spec. A patch that holds a shared list must carry
    /// `metadata.resourceVersion`, since it replaces lists whole.
    ///
    /// # Errors
    /// [`Error::is_conflict`] when the object changed; [`Error::is_not_found`] when it is gone.
    pub async fn merge_patch(
        &self,
        resource: &ResourceType,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<Arc<Object>, Error> {
        self.patch(resource, key, "", patch).await
    }

    /// JSON merge patch of the status subresource.
    ///
    /// # Errors
    /// As [`merge_patch`](Self::merge_patch).
    pub async fn merge_patch_status(
        &self,
        resource: &ResourceType,
        key: &ObjectKey,
        patch: &Value,
    ) -> Result<Arc<Object>, Error> {
        self.patch(resource, key, "/status", patch).await
    }

    async fn patch(
        &self,
        resource: &ResourceType,
        key: &ObjectKey,
        subresource: &str,
        patch: &Value,
    ) -> Result<Arc<Object>, Error> {
        let path = format!(
            "{}/{}{subresource}?fieldManager={}",
            resource.path(&key.namespace),
            key.name,
            self.component
        );
        self.write(
            Method::PATCH,
            resource,
            &path,
            "application/merge-patch+json",
            patch,
        )
        .await
    }

    /// Deletes an object if its uid is this one. Not found is success. Returns whether it is gone
    /// at once (nothing holds it).
    ///
    /// # Errors
    /// [`Error::is_conflict`] when an object of another uid has the name.
    pub async fn delete(
        &self,
        resource: &ResourceType,
        key: &ObjectKey,
        uid: &str,
        propagation: Propagation,
    ) -> Result<bool, Error> {
        let preconditions = json!({ "uid": uid });
        self.delete_where(resource, key, uid, preconditions, propagation)
            .await
    }

    /// Deletes an object if it is still in this state: for what was chosen by its state. The rest
    /// is as with [`delete`](Self::delete).
    ///
    /// # Errors
    /// [`Error::is_conflict`] when the object changed, or one of another uid has the name.
    pub async fn delete_unchanged(
        &self,
        resource: &ResourceType,
        object: &Object,
        propagation: Propagation,
    ) -> Result<bool, Error> {
        let uid = object.uid();
        let preconditions = json!({ "uid": uid, "resourceVersion": object.resource_version() });
        self.delete_where(resource, object.key(), uid, preconditions, propagation)
            .await
    }

    async fn delete_where(
        &self,
        resource: &ResourceType,
        key: &ObjectKey,
        uid: &str,
        preconditions: Value,
        propagation: Propagation,
    ) -> Result<bool, Error> {
        let path = format!("{}/{}", resource.path(&key.namespace), key.name);
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": preconditions,
            "propagationPolicy": match propagation {
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
            },
        });
        match self
            .send(
                Method::DELETE,
                resource,
                &path,
                "application/json",
                &options,
            )
            .await
        {
            Ok(body) => match Object::from_bytes(body) {
                // The object itself: finalizers keep it. A `Status` has no uid.
                Ok(object) if object.uid() == uid && object.is_deleting() => {
                    let gone = object.finalizers().is_empty();
                    let object = Arc::new(object);
                    if !gone {
                        self.cache.observe(resource, object);
                    }
                    Ok(gone)
                }
                _ => Ok(true),
            },
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Records an Event about an object. Failures are logged, not returned: nothing depends on
    /// an Event.
    pub async fn event(
        &self,
        resource: &ResourceType,
        object: &Object,
        warning: bool,
        reason: &str,
        message: &str,
    ) {
        let key = object.key();
        let now = self.clock.now();
        let namespace = if key.namespace.is_empty() {
            "default"
        } else {
            &key.namespace
        };
        let time = jiff::fmt::temporal::DateTimePrinter::new()
            .precision(Some(0))
            .timestamp_to_string(&now);
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": format!("{}.{:x}", key.name, now.as_nanosecond()),
                "namespace": namespace,
            },
            "involvedObject": {
                "apiVersion": resource.api_version(),
                "kind": resource.kind(),
                "namespace": &*key.namespace,
                "name": &*key.name,
                "uid": object.uid(),
                "resourceVersion": object.resource_version(),
            },
            "reason": reason,
            "message": message,
            "type": if warning { "Warning" } else { "Normal" },
            "source": { "component": &*self.component },
            "reportingComponent": &*self.component,
            "reportingInstance": "",
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        });
        let events = ResourceType::new("", "v1", "Event", "events", true);
        let path = events.path(namespace);
        if let Err(error) = self
            .send(Method::POST, &events, &path, "application/json", &event)
            .await
        {
            tracing::debug!(object = %key, reason, error = %error.full_message(), "event not recorded");
        }
    }

    /// Reads an object from the API server, past the cache; `None` when it is not there.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn get(
        &self,
        resource: &ResourceType,
        key: &ObjectKey,
    ) -> Result<Option<Arc<Object>>, Error> {
        let path = format!("{}/{}", resource.path(&key.namespace), key.name);
        match self
            .send(Method::GET, resource, &path, "application/json", &())
            .await
        {
            Ok(body) => Ok(Some(Arc::new(Object::from_bytes(body)?))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists objects from the API server, past the cache, and tells the cache of them; `selector`
    /// is a label selector, empty for all.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn list(
        &self,
        resource: &ResourceType,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<Arc<Object>>, Error> {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(borrow, default)]
            items: Vec<&'a RawValue>,
        }
        let mut path = resource.path(namespace);
        if !selector.is_empty() {
            path.push_str("?labelSelector=");
            path.push_str(&query::encode(selector));
        }
        let body = self
            .send(Method::GET, resource, &path, "application/json", &())
            .await?;
        let list: List<'_> = serde_json::from_slice(&body)
            .map_err(|source| Error::decode(&format!("list {}", resource.kind()), source))?;
        let mut objects = Vec::with_capacity(list.items.len());
        for item in list.items {
            let bytes = Bytes::copy_from_slice(item.get().as_bytes());
            let object = Arc::new(Object::from_bytes(bytes)?);
            self.cache.observe(resource, Arc::clone(&object));
            objects.push(object);
        }
        Ok(objects)
    }

    /// Replaces an object whole; only for kinds whose every field is ours (Leases).
    ///
    /// # Errors
    /// [`Error::is_conflict`] when the object changed.
    pub(crate) async fn replace(
        &self,
        resource: &ResourceType,
        key: &ObjectKey,
        object: &impl Serialize,
    ) -> Result<Arc<Object>, Error> {
        let path = format!("{}/{}", resource.path(&key.namespace), key.name);
        self.write(Method::PUT, resource, &path, "application/json", object)
            .await
    }

    async fn write(
        &self,
        method: Method,
        resource: &ResourceType,
        path: &str,
        content_type: &str,
        body: &impl Serialize,
    ) -> Result<Arc<Object>, Error> {
        let began = self.clock.now();
        let answer = self
            .send(method, resource, path, content_type, body)
            .await?;
        let object = Arc::new(Object::from_bytes(answer)?);
        let now = self.clock.now();
        let took = Duration::try_from(now.duration_since(began)).unwrap_or_default();
        self.pace.wrote(object.cluster_key(), took, now);
        if object.is_deleting() && object.finalizers().is_empty() {
            // The last finalizer went with this write, and the object with it.
            self.cache.forget(resource, &object);
        } else {
            self.cache.observe(resource, Arc::clone(&object));
        }
        others_first().await;
        Ok(object)
    }

    async fn send(
        &self,
        method: Method,
        resource: &ResourceType,
        path: &str,
        content_type: &str,
        body: &impl Serialize,
    ) -> Result<Bytes, Error> {
        if method != Method::GET {
            self.leads()?;
        }
        let verb = verb(&method);
        let action = format!("{verb} {} {}", resource.kind(), query::shown(path));
        let bytes = if method == Method::GET {
            Vec::new()
        } else {
            serde_json::to_vec(body).map_err(|source| Error::decode(&action, source))?
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .header(http::header::ACCEPT, "application/json")
            .body(bytes)
            .map_err(|error| Error::Missing(format!("{action}: {error}")))?;
        match self.client.request_text(request).await {
            Ok(text) => {
                self.metrics.requested(verb, resource.plural(), 200);
                Ok(Bytes::from(text))
            }
            Err(error) => {
                let error = Error::from_kube(action, error);
                let code = match &error {
                    Error::Api { status, .. } => status.code,
                    _ => 0,
                };
                self.metrics.requested(verb, resource.plural(), code);
                Err(error)
            }
        }
    }
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "GET",
    }
}
