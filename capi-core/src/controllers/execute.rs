//! Executes plans. One arm for each action; names no kind, condition or reason.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::QUIET;
use crate::{
    api::patch::merge_patch,
    contract::{Metadata, object::group_of},
    plan::{Action, Event, EventType, MetadataChange, ObjectRef},
    runtime::{Error, Object, ObjectKey, Propagation, ResourceType, Runtime},
};

/// Writes what a plan wants of the object that it was made for.
pub(crate) struct Execution<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) resource: &'a ResourceType,
    pub(crate) object: Arc<Object>,
}

impl Execution<'_> {
    /// Metadata and spec, in one patch. Does nothing when nothing changes.
    pub(crate) async fn write(
        &mut self,
        current: &Metadata,
        change: &MetadataChange,
        spec: Option<Value>,
    ) -> Result<(), Error> {
        let mut patch = change.to_merge_patch(current).unwrap_or_else(|| json!({}));
        if let Some(spec) = spec.as_ref().and_then(|patch| patch.get("spec")) {
            patch["spec"] = spec.clone();
        }
        if patch.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(());
        }
        let writer = self.runtime.writer();
        match writer
            .merge_patch(self.resource, self.object.key(), &patch)
            .await
        {
            Ok(object) => self.object = object,
            // An object that was let go is gone.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The status, in one patch of what differs.
    pub(crate) async fn write_status<S: Serialize + Sync>(
        &mut self,
        before: &S,
        after: &S,
    ) -> Result<(), Error> {
        let value = |status: &S| {
            serde_json::to_value(status)
                .map_err(|source| Error::decode(&self.object.key().to_string(), source))
        };
        let Some(status) = merge_patch(&value(before)?, &value(after)?) else {
            return Ok(());
        };
        let mut patch = json!({ "status": status });
        if patch["status"].get("conditions").is_some() {
            // A list that others write to as well: only onto the state that was read.
            patch["metadata"] = json!({ "resourceVersion": self.object.resource_version() });
        }
        let writer = self.runtime.writer();
        match writer
            .merge_patch_status(self.resource, self.object.key(), &patch)
            .await
        {
            Ok(object) => self.object = object,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Records events.
    pub(crate) async fn events(&self, events: &[Event]) {
        for event in events {
            let warning = event.type_ == EventType::Warning;
            let writer = self.runtime.writer();
            writer
                .event(
                    self.resource,
                    &self.object,
                    warning,
                    &event.reason,
                    &event.message,
                )
                .await;
        }
    }
}

/// Executes an action on another object of the management cluster.
///
/// # Errors
/// What the API server says; actions on workload clusters are not executed here.
pub(crate) async fn act(runtime: &Runtime, action: &Action) -> Result<(), Error> {
    let writer = runtime.writer();
    match action {
        Action::Create { object } => {
            let (resource, key) = address(object)?;
            match writer.create(&resource, &key.namespace, object).await {
                Err(error) if error.is_already_exists() => Ok(()),
                other => other.map(drop),
            }
        }
        Action::Apply {
            object,
            field_manager,
        } => {
            let (resource, key) = address(object)?;
            writer
                .apply(&resource, &key, field_manager, object)
                .await
                .map(drop)
        }
        Action::Patch { object, patch } => {
            let (resource, key) = resolve(object);
            match writer.merge_patch(&resource, &key, patch).await {
                Err(error) if error.is_not_found() => Ok(()),
                other => other.map(drop),
            }
        }
        Action::Delete { object } => {
            let (resource, key) = resolve(object);
            match writer
                .delete(&resource, &key, &object.uid, Propagation::Background)
                .await
            {
                // Another object has the name by now: the one that was meant is gone.
                Err(error) if error.is_conflict() => Ok(()),
                other => other.map(drop),
            }
        }
        other => Err(Error::Missing(format!(
            "{other:?} is no action of the management cluster"
        ))),
    }
}

fn resolve(object: &ObjectRef) -> (ResourceType, ObjectKey) {
    (
        resource_of(&object.api_version, &object.kind),
        ObjectKey::new(object.namespace.as_str(), object.name.as_str()),
    )
}

fn resource_of(api_version: &str, kind: &str) -> ResourceType {
    let group = group_of(api_version);
    let version = api_version.rsplit('/').next().unwrap_or_default();
    ResourceType::by_convention(group, version, kind)
}

fn address(object: &Value) -> Result<(ResourceType, ObjectKey), Error> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    match (text("/apiVersion"), text("/kind"), text("/metadata/name")) {
        (Some(api_version), Some(kind), Some(name)) => Ok((
            resource_of(api_version, kind),
            ObjectKey::new(text("/metadata/namespace").unwrap_or_default(), name),
        )),
        _ => Err(Error::Missing(
            "an object to write must have apiVersion, kind and metadata.name".to_owned(),
        )),
    }
}

/// Lets a state on the way through only when it has stood still for [`QUIET`].
pub(crate) struct Quiet<T>(Mutex<BTreeMap<ObjectKey, (T, Timestamp)>>);

impl<T> Default for Quiet<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: PartialEq> Quiet<T> {
    /// Whether `state` of the object has been the same for long enough.
    pub(crate) fn has_settled(&self, key: &ObjectKey, state: T, now: Timestamp) -> bool {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match states.get(key) {
            Some((known, since)) if *known == state => {
                std::time::Duration::try_from(now.duration_since(*since))
                    .is_ok_and(|still| still >= QUIET)
            }
            _ => {
                states.insert(key.clone(), (state, now));
                false
            }
        }
    }

    /// Forgets the object: it was written, or is gone.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.remove(key);
    }
}
