//! Executes plans. One arm for each action; names no kind, condition or reason.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    api::patch::merge_patch,
    contract::{Metadata, object::group_of},
    plan::{Action, Blocked, Event, EventType, MetadataChange, ObjectRef},
    runtime::{Error, Object, ObjectKey, Outcome, Propagation, ResourceType, Runtime},
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

    /// What a status patch must say; `None` when there is nothing to say.
    pub(crate) fn status_patch<S: Serialize>(
        &self,
        before: &S,
        after: &S,
    ) -> Result<Option<Value>, Error> {
        let value = |status: &S| {
            serde_json::to_value(status)
                .map_err(|source| Error::decode(&self.object.key().to_string(), source))
        };
        Ok(merge_patch(&value(before)?, &value(after)?))
    }

    /// How long to hold a state of the object back; not at all when it is `due`: at rest, or
    /// waited for by others.
    pub(crate) fn hold(&self, state: &impl Serialize, due: bool) -> Hold {
        let pace = self.runtime.pace();
        if due {
            pace.forget(self.resource, self.object.key());
            return None;
        }
        let now = self.runtime.clock().now();
        pace.hold(self.resource, &self.object, state, now)
    }

    async fn write_status(&mut self, status: &Value) -> Result<(), Error> {
        let mut patch = json!({ "status": status });
        if status.get("conditions").is_some() {
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

    /// The end of a reconcile: writes the status, once, unless it is held back; records events;
    /// lets the object go when that is planned, without describing it before; says when to look
    /// again.
    pub(crate) async fn finish(mut self, ending: Ending<'_>) -> Result<Outcome, Error> {
        let lets_go = ending.metadata.lets_go(ending.current);
        if ending.hold.is_none() && !lets_go {
            if let Some(status) = &ending.status {
                self.write_status(status).await?;
            }
            let pace = self.runtime.pace();
            pace.forget(self.resource, self.object.key());
        }
        if ending.hold.is_none() || lets_go {
            self.events(ending.events).await;
        }
        if lets_go {
            let current = Metadata {
                resource_version: self.object.resource_version().to_owned(),
                ..ending.current.clone()
            };
            self.write(&current, ending.metadata, None).await?;
            return Ok(Outcome::done());
        }
        if let Some(error) = ending.errors.first() {
            return Err(Error::Missing(error.clone()));
        }
        let now = self.runtime.clock().now();
        let again = ending.again.map(|again| {
            let left = Duration::try_from(again.duration_since(now)).unwrap_or_default();
            left.max(Duration::from_millis(1))
        });
        let hold = ending.hold.filter(|_| ending.pending());
        let after = [again, hold].into_iter().flatten().min();
        let outcome = after.map_or_else(Outcome::done, Outcome::after);
        Ok(match ending.blocked_on.first() {
            Some(blocked) => outcome.blocked_on(format!("{}: {}", blocked.on, blocked.message)),
            None => outcome,
        })
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

/// How long a state is held back; `None` is not at all.
pub(crate) type Hold = Option<Duration>;

/// How a reconcile ends, by its plan.
pub(crate) struct Ending<'a> {
    /// The metadata that the plan was made for.
    pub(crate) current: &'a Metadata,
    /// What the plan wants of it, of which only letting go is left.
    pub(crate) metadata: &'a MetadataChange,
    /// What the status patch must say.
    pub(crate) status: Option<Value>,
    /// The spec waits for the same moment.
    pub(crate) spec_waits: bool,
    /// Whether that moment is now.
    pub(crate) hold: Hold,
    pub(crate) events: &'a [Event],
    pub(crate) errors: &'a [String],
    pub(crate) again: Option<Timestamp>,
    pub(crate) blocked_on: &'a [Blocked],
}

impl Ending<'_> {
    fn pending(&self) -> bool {
        self.status.is_some() || self.spec_waits
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
