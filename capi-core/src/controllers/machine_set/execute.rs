//! Doing what a plan about a MachineSet says. One arm per action; nothing is decided here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use serde_json::{Value, json};

use super::{
    MachineSetController, SetObject,
    collect::Collected,
    make::{MANAGER, NewMachine, complete, missing},
};
use crate::{
    api::{annotations, labels},
    contract::Metadata,
    controllers::sets::{self, machines, own_template, owned_fields},
    plan::{
        condition::{Conditions, Wanted},
        machine_set::{MachineSetAction, MachineSetPlan, controller_reference, propagated_fields},
        naming::label_value,
        ownership,
        row::Name,
        set_status::TemplateKind,
    },
    runtime::{Error, Object, ObjectKey, Propagation, ResourceType, Runtime, others_first},
};

/// The field manager of labels and annotations of the objects that machines are made of.
const METADATA_MANAGER: &str = "capi-machineset-metadata";

/// What such an object is made with and keeps.
const KEPT: [&str; 3] = [
    labels::CLUSTER_NAME,
    annotations::CLONED_FROM_NAME,
    annotations::CLONED_FROM_GROUP_KIND,
];

/// Writes of one kind that are under way at once.
const AT_ONCE: usize = 40;
/// Machines that are thought out before others get their turn.
const AT_A_TIME: u32 = 32;

impl MachineSetController {
    /// Does all actions; a failure of one does not keep the others from being done.
    pub(super) async fn execute(
        &self,
        runtime: &Runtime,
        object: &Arc<Object>,
        set: &SetObject,
        collected: &Collected,
        plan: &MachineSetPlan,
        machines: BTreeMap<Name, Arc<Object>>,
    ) -> Result<(), Error> {
        let work = Work {
            runtime,
            object,
            set,
            machines,
            marked: Mutex::default(),
        };
        let mut first = Ok(());
        let mut note = |result: Result<(), Error>| {
            if first.is_ok() {
                first = result;
            }
        };
        if !set.metadata.is_deleting() {
            note(work.complete(collected).await);
        }
        for action in &plan.actions {
            note(self.act(&work, collected, action).await);
        }
        first
    }

    async fn act(
        &self,
        work: &Work<'_>,
        collected: &Collected,
        action: &MachineSetAction,
    ) -> Result<(), Error> {
        match action {
            MachineSetAction::OwnTemplate { template } => match collected.templates.of(*template) {
                Some(found) => own_template(work.runtime, found, &collected.facts.cluster).await,
                None => Ok(()),
            },
            MachineSetAction::AdoptMachine { name, uid } => work.adopt(name, uid).await,
            MachineSetAction::DeleteLeftover { object } => {
                let (group, version) = object
                    .api_version
                    .split_once('/')
                    .unwrap_or(("", &object.api_version));
                let kind = ResourceType::by_convention(group, version, &object.kind);
                let key = ObjectKey::new(object.namespace.as_str(), object.name.as_str());
                let writer = work.runtime.writer();
                writer
                    .delete(&kind, &key, &object.uid, Propagation::Background)
                    .await?;
                Ok(())
            }
            MachineSetAction::ClearRemediation { machines } => {
                work.each(machines, |machine| work.condition(machine, None).boxed())
                    .await
            }
            MachineSetAction::MarkRemediation {
                machines,
                reason,
                message,
            } => {
                let wanted = Wanted::is_false("OwnerRemediated", reason.reason());
                let wanted = wanted.message(message);
                work.each(machines, |machine| {
                    work.condition(machine, Some(wanted.clone())).boxed()
                })
                .await
            }
            MachineSetAction::Propagate { machines } => {
                work.each(machines, |machine| work.propagate(machine).boxed())
                    .await
            }
            MachineSetAction::MoveMachines { machines } => {
                let target = collected.facts.move_target.clone().unwrap_or_default();
                let (target, unique) = (
                    Metadata {
                        name: target.name,
                        uid: target.uid,
                        ..Metadata::default()
                    },
                    target.unique_label.unwrap_or_default(),
                );
                work.each(machines, |machine| {
                    work.hand_over(machine, &target, &unique).boxed()
                })
                .await
            }
            MachineSetAction::DeleteMachines { machines } => {
                work.each(machines, |machine| work.delete(machine).boxed())
                    .await
            }
            MachineSetAction::CreateMachines { count } => {
                self.create(work, collected, *count).await
            }
        }
    }

    /// Asks the API server, past the cache, what became of machines whose creation was not
    /// answered: what comes next is decided from what is there. Returns the names of those that
    /// are not; a creation that still comes late makes none that is not known.
    pub(super) async fn ask(
        &self,
        runtime: &Runtime,
        set: &SetObject,
    ) -> Result<Vec<ObjectKey>, Error> {
        let metadata = &set.metadata;
        let noted = self
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&metadata.uid)
            .cloned();
        let Some(noted) = noted else {
            return Ok(Vec::new());
        };
        let selector = format!("{}={}", labels::SET_NAME, label_value(&metadata.name));
        let writer = runtime.writer();
        writer
            .list(&machines(), &metadata.namespace, &selector)
            .await?;
        self.note(&metadata.uid, Vec::clear);
        let store = runtime.cache().store(&machines());
        let made = |key: &ObjectKey| store.get(key).is_some();
        Ok(noted.into_iter().filter(|key| !made(key)).collect())
    }

    /// Makes machines, many at once. One whose creation is not answered is noted, and
    /// [asked](Self::ask) about before anything else is planned.
    async fn create(
        &self,
        work: &Work<'_>,
        collected: &Collected,
        count: u32,
    ) -> Result<(), Error> {
        let mut names = collected.names.iter();
        let mut new = Vec::new();
        for number in 0..count {
            if number % AT_A_TIME == AT_A_TIME - 1 {
                others_first().await;
            }
            let machine = match names.next() {
                Some(key) => Ok(NewMachine::named(work.set, key.name.to_string())),
                None => NewMachine::of(work.set, work.runtime.next_seed()),
            };
            new.push(machine.map_err(|error| Error::Missing(error.to_string()))?);
        }
        let uid = &work.set.metadata.uid;
        // Noted before the first write, so that a dropped future forgets nothing.
        self.note(uid, |noted| {
            noted.extend(new.iter().map(|new| new.key.clone()));
        });
        let made = new
            .into_iter()
            .map(|new| self.make(work, collected, new).boxed());
        all(made.collect()).await
    }

    async fn make(
        &self,
        work: &Work<'_>,
        collected: &Collected,
        new: NewMachine,
    ) -> Result<(), Error> {
        let result = new.make(work.runtime).await;
        if !result.as_ref().is_err_and(Error::leaves_open) {
            let uid = &work.set.metadata.uid;
            self.note(uid, |noted| noted.retain(|other| *other != new.key));
        }
        let machine = result?;
        let kinds = [TemplateKind::Bootstrap, TemplateKind::Infrastructure];
        let completed = complete(work.runtime, &machine, &collected.templates, &kinds);
        futures::join!(completed, work.created(&machine)).0
    }

    fn note(&self, uid: &str, change: impl FnOnce(&mut Vec<ObjectKey>)) {
        let mut unanswered = self
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let noted = unanswered.entry(uid.to_owned()).or_default();
        change(noted);
        if noted.is_empty() {
            unanswered.remove(uid);
        }
    }
}

/// Does many things at once; all are done, and the first failure is told.
async fn all(work: Vec<BoxFuture<'_, Result<(), Error>>>) -> Result<(), Error> {
    let mut first = Ok(());
    let mut running = stream::iter(work).buffer_unordered(AT_ONCE);
    while let Some(result) = running.next().await {
        if first.is_ok() {
            first = result;
        }
    }
    first
}

/// What actions about the machines of a set need.
struct Work<'a> {
    runtime: &'a Runtime,
    object: &'a Arc<Object>,
    set: &'a SetObject,
    /// The machines that the plan speaks of, as it saw them.
    machines: BTreeMap<Name, Arc<Object>>,
    /// Those that were marked since, as they are now.
    marked: Mutex<BTreeMap<ObjectKey, Arc<Object>>>,
}

impl Work<'_> {
    /// The machines of some names, as the plan saw them, or as this left them.
    fn objects(&self, machines: &[Name]) -> Vec<Arc<Object>> {
        let marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = machines.iter().filter_map(|name| self.machines.get(name));
        seen.map(|seen| Arc::clone(marked.get(seen.key()).unwrap_or(seen)))
            .collect()
    }

    /// Does something to some machines, many at once. Machines that are gone are done.
    async fn each<'w>(
        &'w self,
        machines: &[Name],
        work: impl Fn(Arc<Object>) -> BoxFuture<'w, Result<(), Error>>,
    ) -> Result<(), Error> {
        let mut doing = Vec::new();
        for object in self.objects(machines) {
            let work = work(object);
            doing.push(
                async move {
                    match work.await {
                        Err(error) if error.is_not_found() => Ok(()),
                        result => result,
                    }
                }
                .boxed(),
            );
        }
        all(doing).await
    }

    async fn event(&self, warning: bool, reason: &str, message: &str) {
        let kind = crate::api::MachineSet::KIND.into();
        self.runtime
            .writer()
            .event(&kind, self.object, warning, reason, message)
            .await;
    }

    async fn created(&self, machine: &Object) {
        let message = format!("Created Machine {:?}", machine.name());
        self.event(false, "SuccessfulCreate", &message).await;
    }

    async fn delete(&self, machine: Arc<Object>) -> Result<(), Error> {
        let (writer, kind) = (self.runtime.writer(), machines());
        match writer
            .delete_unchanged(&kind, &machine, Propagation::Background)
            .await
        {
            // Whether it is still the one to go is for the next plan.
            Err(error) if error.is_conflict() => Err(error),
            Ok(_) => {
                let message = format!("Deleted Machine {:?}", machine.name());
                self.event(false, "SuccessfulDelete", &message).await;
                Ok(())
            }
            Err(error) => {
                let message = format!("Failed to delete Machine {:?}: {error}", machine.name());
                self.event(true, "FailedDelete", &message).await;
                Err(error)
            }
        }
    }

    async fn adopt(&self, name: &str, uid: &str) -> Result<(), Error> {
        let key = ObjectKey::new(self.set.metadata.namespace.as_str(), name);
        let Some(machine) = self.runtime.cache().store(&machines()).get(&key) else {
            return Ok(());
        };
        if machine.uid() != uid {
            return Ok(());
        }
        let mut owners = sets::machine(&machine)?.metadata.owner_references;
        ownership::ensure(
            &mut owners,
            controller_reference("MachineSet", &self.set.metadata),
        );
        let patch = json!({ "metadata": {
            "resourceVersion": machine.resource_version(),
            "ownerReferences": owners,
        }});
        let result = self
            .runtime
            .writer()
            .merge_patch(&machines(), &key, &patch)
            .await;
        match result {
            Ok(_) => {
                self.event(
                    false,
                    "SuccessfulAdopt",
                    &format!("Adopted Machine {name:?}"),
                )
                .await;
                Ok(())
            }
            Err(error) => {
                let message = format!("Failed to adopt Machine {name:?}: {error}");
                self.event(true, "FailedAdopt", &message).await;
                Err(error)
            }
        }
    }

    /// Sets condition `OwnerRemediated` of a machine, or removes it.
    async fn condition(&self, machine: Arc<Object>, wanted: Option<Wanted>) -> Result<(), Error> {
        let decoded = sets::machine(&machine)?;
        let now = self.runtime.clock().now();
        let before = decoded.status.conditions.clone();
        let mut conditions = Conditions::new(before, machine.generation(), now);
        match wanted {
            Some(wanted) => conditions.set(wanted),
            None => conditions.remove("OwnerRemediated"),
        }
        let patch = json!({
            "metadata": { "resourceVersion": machine.resource_version() },
            "status": { "conditions": conditions.into_vec() },
        });
        let writer = self.runtime.writer();
        let marked = writer
            .merge_patch_status(&machines(), machine.key(), &patch)
            .await?;
        self.marked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(marked.key().clone(), marked);
        Ok(())
    }

    /// Applies what follows the template, to the Machine and to the objects that it is made of.
    async fn propagate(&self, machine: Arc<Object>) -> Result<(), Error> {
        let decoded = sets::machine(&machine)?;
        let fields = propagated_fields(self.set);
        let (current, template) = (&decoded.spec, &self.set.spec.template.spec);
        let mut spec = template.clone();
        spec.cluster_name.clone_from(&self.set.spec.cluster_name);
        spec.provider_id = None;
        spec.bootstrap
            .config_ref
            .clone_from(&current.bootstrap.config_ref);
        spec.infrastructure_ref
            .clone_from(&current.infrastructure_ref);
        spec.version.clone_from(&current.version);
        spec.failure_domain.clone_from(&current.failure_domain);
        let kind = machines();
        let body = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.kind(),
            "metadata": {
                "name": machine.name(),
                "namespace": &*machine.key().namespace,
                "uid": machine.uid(),
                "labels": fields.labels,
                "annotations": fields.annotations,
                "finalizers": machine.finalizers(),
                "ownerReferences": [controller_reference("MachineSet", &self.set.metadata)],
            },
            "spec": spec,
        });
        self.runtime
            .writer()
            .apply(&kind, machine.key(), MANAGER, &body)
            .await?;

        let references = [
            current.bootstrap.config_ref.as_ref(),
            Some(&current.infrastructure_ref),
        ];
        for reference in references
            .into_iter()
            .flatten()
            .filter(|found| found.is_defined())
        {
            let found = self
                .runtime
                .external(&machine.key().namespace, reference)
                .await?;
            if let Some(object) = &found.object {
                self.label(&found.resource, object, &fields.labels, &fields.annotations)
                    .await?;
            }
        }
        Ok(())
    }

    /// Gives an object these labels and annotations under a field manager of their own, and takes
    /// those away that it was made with and that are not wanted any more.
    async fn label(
        &self,
        resource: &ResourceType,
        object: &Object,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let metadata = sets::metadata(object)?;
        let (made, given) = (
            owned_fields(object, MANAGER)?,
            owned_fields(object, METADATA_MANAGER)?,
        );
        let gone = |wanted: &BTreeMap<String, String>,
                    found: &BTreeMap<String, String>,
                    owned: &[String]| {
            let owned = owned.iter().filter(|key| !wanted.contains_key(*key));
            let ours =
                owned.filter(|key| found.contains_key(*key) && !KEPT.contains(&key.as_str()));
            ours.map(|key| (key.clone(), Value::Null))
                .collect::<serde_json::Map<_, _>>()
        };
        let differ = |wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>| {
            wanted
                .iter()
                .any(|(key, value)| found.get(key) != Some(value))
        };
        let writer = self.runtime.writer();
        let old_labels = gone(labels, &metadata.labels, &made.labels);
        let old_annotations = gone(annotations, &metadata.annotations, &made.annotations);
        if !old_labels.is_empty() || !old_annotations.is_empty() {
            let patch =
                json!({ "metadata": { "labels": old_labels, "annotations": old_annotations } });
            writer.merge_patch(resource, object.key(), &patch).await?;
        }
        let stale = !gone(labels, &metadata.labels, &given.labels).is_empty()
            || !gone(annotations, &metadata.annotations, &given.annotations).is_empty();
        if stale || differ(labels, &metadata.labels) || differ(annotations, &metadata.annotations) {
            let body = json!({
                "apiVersion": resource.api_version(),
                "kind": resource.kind(),
                "metadata": {
                    "name": object.name(),
                    "namespace": &*object.key().namespace,
                    "uid": object.uid(),
                    "labels": labels,
                    "annotations": annotations,
                },
            });
            writer
                .apply(resource, object.key(), METADATA_MANAGER, &body)
                .await?;
        }
        Ok(())
    }

    /// Hands a machine over to another set, which will update it in place.
    async fn hand_over(
        &self,
        machine: Arc<Object>,
        target: &Metadata,
        unique: &str,
    ) -> Result<(), Error> {
        let mut owners = sets::machine(&machine)?.metadata.owner_references;
        owners.retain(|owner| owner.uid != self.set.metadata.uid);
        owners.push(controller_reference("MachineSet", target));
        let patch = json!({ "metadata": {
            "resourceVersion": machine.resource_version(),
            "ownerReferences": owners,
            "labels": { labels::MACHINE_TEMPLATE_HASH: unique },
            "annotations": {
                annotations::UPDATE_IN_PROGRESS: "",
                annotations::PENDING_ACKNOWLEDGE_MOVE: "",
            },
        }});
        self.runtime
            .writer()
            .merge_patch(&machines(), machine.key(), &patch)
            .await?;
        Ok(())
    }

    /// Makes what is missing of machines whose creation stopped half-way.
    async fn complete(&self, collected: &Collected) -> Result<(), Error> {
        let templates = &collected.templates;
        let work = collected.incomplete.iter().cloned().map(|machine| {
            async move {
                let kinds = missing(self.runtime, &machine, templates).await?;
                let kinds = kinds.unwrap_or_default();
                complete(self.runtime, &machine, templates, &kinds).await
            }
            .boxed()
        });
        all(work.collect()).await
    }
}
