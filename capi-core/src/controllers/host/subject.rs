//! The provider's object at hand: its owners, whether it is paused, and its status on the way from
//! what it is to what it should be, written once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    api::{Cluster, Condition, Machine, annotations, labels, patch::merge_patch},
    contract::pluralize,
    plan::condition::{Conditions, Summary, Wanted, is_true, types},
    provider::{
        Again, ErrorClass, PROVISIONED, Progress, ProviderError, ProviderKind, StatusFields, Wait,
    },
    runtime::{Error, Object, ObjectKey, Outcome, PolicyRule, ResourceType, Runtime, Watch},
};

/// A provider that waits for an event is looked at all the same after this time.
const SLOW_LOOK: Duration = Duration::from_secs(15);
/// A refused operation is tried again after this time: a person has to look first.
const REFUSED_LOOK: Duration = Duration::from_secs(60);

/// Group and version-independent kind of the core's objects.
pub(crate) const CORE: &str = "cluster.x-k8s.io";

/// What a reconcile of a provider's object works on.
pub(crate) struct Subject<K> {
    pub(crate) runtime: Runtime,
    pub(crate) resource: ResourceType,
    pub(crate) object: Arc<Object>,
    pub(crate) typed: Arc<K>,
    before: Value,
    pub(crate) after: Value,
    conditions: Conditions,
    /// What was set of the conditions, to be set again when the object's generation changes.
    set: Vec<Wanted>,
    /// The condition that `Ready` sums up, for kinds that have one.
    summed_up: Option<&'static str>,
}

impl<K: ProviderKind> Subject<K> {
    /// Reads the object of a key; `None` when it is gone.
    pub(crate) fn load(
        runtime: &Runtime,
        resource: &ResourceType,
        key: &ObjectKey,
    ) -> Result<Option<Self>, Error> {
        let Some(object) = runtime.cache().store(resource).get(key) else {
            return Ok(None);
        };
        let typed = object.decode::<K>()?;
        let before = to_value(&*typed)?;
        let list = match before.pointer("/status/conditions") {
            Some(found) => serde_json::from_value(found.clone())
                .map_err(|source| Error::decode(&key.to_string(), source))?,
            None => Vec::new(),
        };
        let conditions = Conditions::new(list, object.generation(), runtime.clock().now());
        Ok(Some(Self {
            runtime: runtime.clone(),
            resource: resource.clone(),
            object,
            typed,
            after: before.clone(),
            before,
            conditions,
            set: Vec::new(),
            summed_up: None,
        }))
    }

    /// From here on `Ready` sums up a condition of this type, which says what `Ready` would say.
    pub(crate) fn sum_up(&mut self, condition: Option<&'static str>) {
        self.summed_up = condition;
    }

    pub(crate) fn key(&self) -> &ObjectKey {
        self.object.key()
    }

    /// Continues with a newer state of the object, keeping what is wanted of the status.
    pub(crate) fn renew(&mut self, object: Arc<Object>) -> Result<(), Error> {
        self.typed = object.decode::<K>()?;
        self.object = object;
        self.before = to_value(&*self.typed)?;
        self.conditions = Conditions::new(
            self.conditions.as_slice().to_vec(),
            self.object.generation(),
            self.runtime.clock().now(),
        );
        for wanted in &self.set {
            self.conditions.set(wanted.clone());
        }
        if let Some(metadata) = self.before.get("metadata") {
            self.after["metadata"] = metadata.clone();
        }
        if let Some(spec) = self.before.get("spec") {
            self.after["spec"] = spec.clone();
        }
        Ok(())
    }

    /// The Cluster that owns the object, or that its label names, if it exists.
    pub(crate) fn owning_cluster(&self) -> Result<Option<Arc<Cluster>>, Error> {
        let mut owners = self.object.owners().iter();
        let Some(owner) = owners.find(|owner| owner.is(CORE, Cluster::KIND.kind)) else {
            return self.cluster();
        };
        let store = self.runtime.cache().store(&Cluster::KIND.into());
        store
            .get(&self.key().sibling(&owner.name))
            .map(|object| object.decode())
            .transpose()
    }

    /// The Cluster that the object's label names, if it exists.
    pub(crate) fn cluster(&self) -> Result<Option<Arc<Cluster>>, Error> {
        let Some(name) = self.object.label(labels::CLUSTER_NAME) else {
            return Ok(None);
        };
        let store = self.runtime.cache().store(&Cluster::KIND.into());
        store
            .get(&self.key().sibling(name))
            .map(|object| object.decode())
            .transpose()
    }

    /// The Machine that owns the object, if it exists.
    pub(crate) fn machine(&self) -> Result<Option<Arc<Machine>>, Error> {
        let Some(owner) = self
            .object
            .owners()
            .iter()
            .find(|owner| owner.is(CORE, "Machine"))
        else {
            return Ok(None);
        };
        let store = self.runtime.cache().store(&Machine::KIND.into());
        store
            .get(&self.key().sibling(&owner.name))
            .map(|object| object.decode())
            .transpose()
    }

    /// Whether the Cluster or the object itself is paused; says so in the condition.
    pub(crate) fn paused(&mut self, cluster: Option<&Cluster>) -> bool {
        let by_cluster = cluster.is_some_and(|cluster| cluster.spec.paused == Some(true));
        let by_object = self.has_annotation(annotations::PAUSED);
        let mut why = Vec::new();
        if by_cluster {
            why.push("Cluster spec.paused is set to true".to_owned());
        }
        if by_object {
            why.push(format!(
                "{} has the cluster.x-k8s.io/paused annotation",
                self.resource.kind()
            ));
        }
        self.set_condition(if why.is_empty() {
            Wanted::is_false(types::PAUSED, "NotPaused")
        } else {
            Wanted::is_true(types::PAUSED, "Paused").message(why.join(", "))
        });
        by_cluster || by_object
    }

    pub(crate) fn has_annotation(&self, annotation: &str) -> bool {
        self.before
            .pointer("/metadata/annotations")
            .is_some_and(|annotations| annotations.get(annotation).is_some())
    }

    pub(crate) fn is_provisioned(&self) -> bool {
        let at = |path| self.before.pointer(path).and_then(Value::as_bool) == Some(true);
        at("/status/initialization/provisioned") || at("/status/ready")
    }

    /// The conditions that the object has.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        self.conditions.as_slice().to_vec()
    }

    /// The status that the object has.
    pub(crate) fn status(&self) -> Option<&Value> {
        self.before.get("status")
    }

    pub(crate) fn set_condition(&mut self, wanted: Wanted) {
        self.set.retain(|known| known.type_ != wanted.type_);
        self.set.push(wanted.clone());
        self.conditions.set(wanted);
    }

    pub(crate) fn not_ready(&mut self, reason: &str, message: &str) {
        let type_ = self.summed_up.unwrap_or(types::READY);
        self.tell(Wanted::is_false(type_, reason.to_owned()).message(message));
    }

    pub(crate) fn ready(&mut self) {
        self.ready_with("");
    }

    pub(crate) fn ready_with(&mut self, message: &str) {
        let (type_, reason) = match self.summed_up {
            Some(type_) => (type_, PROVISIONED),
            None => (types::READY, "Ready"),
        };
        self.tell(Wanted::is_true(type_, reason).message(message));
    }

    pub(crate) fn ready_because(&mut self, reason: &'static str) {
        self.set_condition(Wanted::is_true(types::READY, reason));
    }

    /// Sets the condition that says how far the object is, and the summary of it.
    fn tell(&mut self, wanted: Wanted) {
        self.set_condition(wanted);
        let Some(type_) = self.summed_up else { return };
        let summary = Summary {
            target: types::READY,
            types: &[type_],
            ignore_if_missing: &[],
            overrides: &[],
            strategy: Default::default(),
        };
        if let Some(ready) = summary.of(self.conditions.as_slice()) {
            self.set_condition(ready);
        }
    }

    /// Sets a field of the status.
    pub(crate) fn set_status(&mut self, field: &str, value: Value) {
        self.after["status"][field] = value;
    }

    /// Sets status fields of the provider's own.
    pub(crate) fn merge_status(&mut self, fields: StatusFields) {
        for (field, value) in fields {
            match serde_json::from_value::<Vec<Condition>>(value.clone()) {
                // one by one, beside those that the SDK sets
                Ok(conditions) if field == "conditions" => {
                    for condition in conditions {
                        let wanted =
                            Wanted::new(condition.type_, condition.status, condition.reason);
                        self.set_condition(wanted.message(condition.message));
                    }
                }
                _ => self.set_status(&field, value),
            }
        }
    }

    /// The finalizer is there, or is added: with the patch of `spec` when there is one, in one
    /// write.
    pub(crate) async fn write_spec(
        &mut self,
        finalizer: Option<&str>,
        spec: StatusFields,
    ) -> Result<(), Error> {
        self.write_spec_and_labels(finalizer, spec, BTreeMap::new())
            .await
    }

    /// The same, with labels unless they are there.
    pub(crate) async fn write_spec_and_labels(
        &mut self,
        finalizer: Option<&str>,
        spec: StatusFields,
        labels: BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let mut wanted = self.before.clone();
        for (field, value) in spec {
            wanted["spec"][field] = value;
        }
        let mut patch = match self.diff(&wanted, "spec")? {
            Some(spec) => json!({ "spec": spec }),
            None => json!({}),
        };
        if let Some(finalizer) = finalizer
            && !self.object.has_finalizer(finalizer)
        {
            let mut finalizers = self.object.finalizers().to_vec();
            finalizers.push(finalizer.to_owned());
            patch["metadata"] = json!({ "finalizers": finalizers });
        }
        for (label, value) in labels {
            if self.object.label(&label).is_none() {
                patch["metadata"]["labels"][label] = json!(value);
            }
        }
        if patch.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(());
        }
        patch["metadata"]["resourceVersion"] = json!(self.object.resource_version());
        let writer = self.runtime.writer().clone();
        let object = writer
            .merge_patch(&self.resource, self.key(), &patch)
            .await?;
        self.renew(object)
    }

    /// Takes the finalizer away, after which the object may be gone.
    pub(crate) async fn let_go(&self, finalizer: &str) -> Result<(), Error> {
        if !self.object.has_finalizer(finalizer) {
            return Ok(());
        }
        let kept: Vec<&String> = self
            .object
            .finalizers()
            .iter()
            .filter(|kept| *kept != finalizer)
            .collect();
        let patch = json!({ "metadata": {
            "finalizers": kept,
            "resourceVersion": self.object.resource_version(),
        }});
        let writer = self.runtime.writer();
        match writer.merge_patch(&self.resource, self.key(), &patch).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Writes the status, once, if it changed.
    pub(crate) async fn write_status(&mut self) -> Result<(), Error> {
        self.write_status_when(true).await.map(drop)
    }

    /// Writes the status, once, if it changed; one on the way that is not `due` may be held back,
    /// and then for how long is the answer. That something is no longer ready is always due.
    pub(crate) async fn write_status_when(&mut self, due: bool) -> Result<Option<Duration>, Error> {
        if self.object.generation() > 0 {
            self.set_status("observedGeneration", json!(self.object.generation()));
        }
        let due = due || self.fell();
        let list = serde_json::to_value(self.conditions.as_slice())
            .map_err(|source| Error::decode("conditions", source))?;
        self.set_status("conditions", list);
        self.write_fields(due).await
    }

    /// It was ready, and is no longer, though nobody deletes it.
    fn fell(&self) -> bool {
        let was = self
            .before
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .is_some_and(|list| {
                let mut list = list.iter();
                list.any(|known| known["type"] == types::READY && known["status"] == "True")
            });
        was && !self.object.is_deleting() && !is_true(self.conditions.as_slice(), types::READY)
    }

    /// The same for status fields; conditions stay as they are.
    pub(crate) async fn write_fields(&mut self, due: bool) -> Result<Option<Duration>, Error> {
        let wanted = self.after.clone();
        let pace = self.runtime.pace();
        let Some(status) = self.diff(&wanted, "status")? else {
            pace.forget(&self.resource, self.key());
            return Ok(None);
        };
        let now = self.runtime.clock().now();
        if !due && let Some(hold) = pace.hold(&self.resource, &self.object, &status, now) {
            return Ok(Some(hold));
        }
        pace.forget(&self.resource, self.key());
        let mut patch = json!({ "status": status });
        if patch["status"].get("conditions").is_some() {
            patch["metadata"] = json!({ "resourceVersion": self.object.resource_version() });
        }
        let writer = self.runtime.writer().clone();
        match writer
            .merge_patch_status(&self.resource, self.key(), &patch)
            .await
        {
            Ok(object) => self.renew(object)?,
            // Nothing is lost: the object went while it was being described.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// What a merge patch of one part must say so that the object becomes `wanted`, in fields that
    /// the kind has; others are neither written nor touched.
    fn diff(&self, wanted: &Value, part: &str) -> Result<Option<Value>, Error> {
        let known: K = serde_json::from_value(wanted.clone())
            .map_err(|source| Error::decode(&self.key().to_string(), source))?;
        let wanted = to_value(&known)?;
        let empty = json!({});
        let before = self.before.get(part).unwrap_or(&empty);
        Ok(merge_patch(before, wanted.get(part).unwrap_or(&empty)))
    }

    /// Turns a provider's wait or error into the `Ready` condition, and says when to come again.
    /// An error that may pass by itself is returned, for the queue to back off.
    pub(crate) async fn unready(
        mut self,
        answer: Result<Wait, ProviderError>,
    ) -> Result<Outcome, Error> {
        match answer {
            Ok(wait) => {
                self.merge_status(wait.status);
                self.not_ready(&wait.reason, &wait.message);
                let hold = self.write_status_when(false).await?;
                let after = match wait.again {
                    Again::OnEvent => SLOW_LOOK,
                    Again::After(after) => after,
                };
                let after = hold.map_or(after, |hold| after.min(hold));
                Ok(Outcome::after(after).blocked_on(wait.on))
            }
            Err(error) if error.class() == ErrorClass::Transient => {
                self.not_ready(error.reason(), &error.full_message());
                self.failed(error).await
            }
            Err(error) => {
                let message = error.full_message();
                self.not_ready(error.reason(), &message);
                if !self.told(error.reason(), Some(&message)) {
                    self.warn(error.reason(), &message).await;
                }
                self.write_status().await?;
                match error.class() {
                    ErrorClass::Transient => Err(error.into()),
                    ErrorClass::Refused => Ok(Outcome::after(REFUSED_LOOK).blocked_on(message)),
                    // Until the spec, or what it refers to, changes.
                    ErrorClass::Invalid => Ok(Outcome::after(REFUSED_LOOK).blocked_on(message)),
                    // Nothing replaces a machine that is on its way out: its removal goes on.
                    ErrorClass::Terminal if self.object.is_deleting() => {
                        Ok(Outcome::after(REFUSED_LOOK).blocked_on(message))
                    }
                    ErrorClass::Terminal => Ok(Outcome::done().blocked_on(message)),
                }
            }
        }
    }

    /// After an error that may pass by itself: says what is set of it if it does not pass soon,
    /// and returns it, for the queue to back off.
    pub(crate) async fn failed(mut self, error: ProviderError) -> Result<Outcome, Error> {
        let told = self.told(error.reason(), None);
        let held = self.write_status_when(false).await?;
        // One Event for each kind of failure that lasts until it is described: not for each attempt.
        if !told && held.is_none() && self.told(error.reason(), None) {
            self.warn(error.reason(), &error.full_message()).await;
        }
        Err(error.into())
    }

    /// The same for an error that came `count` times, with other answers between: from the second time on it is
    /// described at once, since the attempt that follows would hide it, and told by one Event.
    pub(crate) async fn failed_again(
        mut self,
        count: u32,
        error: ProviderError,
    ) -> Result<Outcome, Error> {
        let message = error.full_message();
        self.not_ready(error.reason(), &message);
        self.write_status_when(count > 1).await?;
        if count == 2 {
            self.warn(error.reason(), &message).await;
        }
        Err(error.into())
    }

    /// Whether a condition of the object that is stored has this reason, and this message.
    fn told(&self, reason: &str, message: Option<&str>) -> bool {
        let conditions = self.before.pointer("/status/conditions");
        let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
        conditions.any(|known| {
            known["reason"] == reason && message.is_none_or(|message| known["message"] == message)
        })
    }

    /// A warning Event about the object.
    pub(crate) async fn warn(&self, reason: &str, message: &str) {
        let writer = self.runtime.writer();
        writer
            .event(&self.resource, &self.object, true, reason, message)
            .await;
    }

    /// Waiting for something that the core does.
    pub(crate) async fn wait(
        self,
        on: &str,
        reason: &'static str,
        message: &str,
    ) -> Result<Outcome, Error> {
        let Progress::Waiting(wait) = Progress::<()>::waiting(on, reason, message) else {
            return Ok(Outcome::done());
        };
        self.unready(Ok(wait)).await
    }
}

/// What the core does to objects that it makes of templates, and to the templates.
pub(crate) fn rbac_of_clones(kind: &ResourceType) -> Vec<PolicyRule> {
    let template = pluralize(&format!("{}template", kind.kind().to_lowercase()));
    vec![
        PolicyRule::new(
            kind.group(),
            [kind.plural()],
            ["list", "watch", "create", "patch", "delete"],
        ),
        PolicyRule::new(kind.group(), [&*template], ["list", "watch", "patch"]),
    ]
}

/// Wakes all objects of a kind that bear the name of the Cluster that changed, unless only what the
/// Cluster sums up of its machines did: that changes with every machine, and may be of thousands.
pub(crate) fn of_cluster(kind: &ResourceType) -> Watch {
    let kind = kind.clone();
    Watch::kind(Cluster::KIND.into(), move |runtime, change| {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && matters(old).is_some_and(|before| matters(new) == Some(before))
        {
            return Vec::new();
        }
        let store = runtime.cache().store(&kind);
        let objects = store.of_cluster(change.object().key());
        objects.iter().map(|object| object.key().clone()).collect()
    })
}

/// What a Cluster says that is no sum of its machines.
fn matters(cluster: &Arc<Object>) -> Option<impl PartialEq + use<>> {
    let typed = cluster.decode::<Cluster>().ok()?;
    let status = &typed.status;
    Some((
        (cluster.uid().to_owned(), cluster.generation()),
        cluster.is_deleting(),
        (
            typed.metadata.labels.clone(),
            typed.metadata.annotations.clone(),
        ),
        status.initialization.clone(),
        status.failure_domains.clone(),
        is_true(&status.conditions, types::CONTROL_PLANE_INITIALIZED),
    ))
}

fn to_value<K: ProviderKind>(typed: &K) -> Result<Value, Error> {
    serde_json::to_value(typed).map_err(|source| Error::decode(&K::kind(&()), source))
}

/// `<kind>.<group>`, the name that most providers give their finalizers.
pub(crate) fn conventional_finalizer<K: ProviderKind>() -> String {
    format!("{}.{}", K::kind(&()).to_ascii_lowercase(), K::group(&()))
}
