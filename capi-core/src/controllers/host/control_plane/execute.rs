//! Doing what a control plane's plan says: one arm per action.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    ControlPlaneHost,
    collect::{Collected, REMEDIATION_FOR, REMEDIATION_IN_PROGRESS},
};
use crate::{
    api::{Machine, MachineStatus, finalizers, labels},
    contract::{CloneTemplate, OwnerReference, clone_template},
    controllers::host::subject::Subject,
    plan::{
        condition::Conditions,
        control_plane::{
            ControlPlaneAction, ControlPlanePlan, REMOVAL_HOOK, RemediationRecord,
            machine_annotations, machine_owner, template_owners,
        },
        naming::{self, Seed},
    },
    provider::{Again, ControlPlane, ControlPlaneMachine, Progress, ProviderError, SecretRequest},
    runtime::{Error, ObjectKey, Propagation, ResourceType},
};

impl<P: ControlPlane> ControlPlaneHost<P> {
    /// Does what the plan says. True when something was done that the next plan must know at once.
    pub(super) async fn execute(
        &self,
        subject: &mut Subject<P::ControlPlane>,
        collected: &Collected<P>,
        plan: &ControlPlanePlan,
    ) -> Result<bool, Error> {
        let facts = &collected.facts;
        let writer = subject.runtime.writer().clone();
        if let Some(patch) = plan.metadata.to_merge_patch(&facts.metadata) {
            match writer
                .merge_patch(&self.resource, subject.key(), &patch)
                .await
            {
                Ok(object) => subject.renew(object)?,
                Err(error) if error.is_not_found() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        for event in &plan.events {
            let warning = event.type_ == crate::plan::EventType::Warning;
            writer
                .event(
                    &self.resource,
                    &subject.object,
                    warning,
                    &event.reason,
                    &event.message,
                )
                .await;
        }
        let mut again = false;
        for machine in &collected.incomplete {
            let first = !facts.health.initialized && facts.machines.len() == 1;
            self.complete(subject, collected, machine.key(), machine.uid(), first)
                .await?;
            again = true;
        }
        for action in &plan.actions {
            again |= self.act(subject, collected, action).await?;
        }
        Ok(again)
    }

    async fn act(
        &self,
        subject: &mut Subject<P::ControlPlane>,
        collected: &Collected<P>,
        action: &ControlPlaneAction,
    ) -> Result<bool, Error> {
        match action {
            ControlPlaneAction::OwnTemplate => self.own_template(subject, collected).await?,
            // Asked for in every collection, until it is there.
            ControlPlaneAction::Prepare => {}
            ControlPlaneAction::EnsureKubeconfig => {
                self.ensure_kubeconfig(collected).await?;
                return Ok(false);
            }
            ControlPlaneAction::AdoptMachine { name, .. } => {
                let owner = machine_owner(&collected.facts);
                self.patch_machine(
                    subject,
                    collected,
                    name,
                    &json!({ "metadata": {
                        "ownerReferences": [owner],
                    }}),
                )
                .await?;
            }
            ControlPlaneAction::Initialize { name } => {
                let machine = member(collected, name)?;
                return self.settled(self.provider.initialize(&collected.cx, machine).await?);
            }
            ControlPlaneAction::CreateMachine {
                first,
                failure_domain,
                remediation_for,
            } => {
                self.create_machine(
                    subject,
                    collected,
                    *first,
                    failure_domain.as_deref(),
                    remediation_for.as_ref(),
                )
                .await?;
                return Ok(true);
            }
            ControlPlaneAction::MarkMachine { name, conditions } => {
                self.mark(subject, collected, name, |list| {
                    for condition in conditions {
                        list.set(condition.clone());
                    }
                })
                .await?;
            }
            ControlPlaneAction::ClearRemediation { name } => {
                self.mark(subject, collected, name, |list| {
                    list.remove("OwnerRemediated");
                })
                .await?;
            }
            ControlPlaneAction::GuardMachine { name } => {
                self.annotate(subject, name, json!("")).await?;
            }
            ControlPlaneAction::ReleaseMachine { name } => {
                self.annotate(subject, name, Value::Null).await?;
            }
            ControlPlaneAction::DeleteMachine { name, .. } => {
                let machines = Machine::KIND.into();
                let store = subject.runtime.cache().store(&machines);
                // One that changed since, by this plan's own actions too, may not be the one to go.
                if let Some(seen) = collected.machines.get(name)
                    && let Some(found) = store.get(seen.key())
                    && found.resource_version() == seen.resource_version()
                {
                    let writer = subject.runtime.writer();
                    writer
                        .delete_unchanged(&machines, seen, Propagation::Background)
                        .await?;
                }
                return Ok(true);
            }
            ControlPlaneAction::PrepareRemoval { name } => {
                let machine = member(collected, name)?;
                let progress = self
                    .provider
                    .prepare_removal(&collected.cx, machine)
                    .await?;
                let done = self.settled(progress)?;
                if done && let Some(uid) = &machine.machine.metadata.uid {
                    self.note_left(uid);
                }
                return Ok(done);
            }
            ControlPlaneAction::RemoveForeignMember { member } => {
                return self.settled(self.provider.remove_member(&collected.cx, member).await?);
            }
            ControlPlaneAction::RecordRemediation { record } => {
                let noted = record.as_ref().map(noted).transpose()?;
                let patch = json!({ "metadata": { "annotations": {
                    REMEDIATION_IN_PROGRESS: noted,
                }}});
                let writer = subject.runtime.writer().clone();
                let object = writer
                    .merge_patch(&self.resource, subject.key(), &patch)
                    .await?;
                subject.renew(object)?;
            }
        }
        Ok(false)
    }

    /// Whether a step of the distribution is done; one that is not is asked for again.
    fn settled(&self, progress: Progress<()>) -> Result<bool, Error> {
        match progress {
            Progress::Ready(()) => Ok(true),
            Progress::Waiting(wait) => {
                let mut error = ProviderError::transient(wait.reason, wait.message);
                if let Again::After(after) = wait.again {
                    error = error.retry_after(after);
                }
                Err(error.into())
            }
        }
    }

    async fn own_template(
        &self,
        subject: &Subject<P::ControlPlane>,
        collected: &Collected<P>,
    ) -> Result<(), Error> {
        let Some((resource, template)) = &collected.template else {
            return Ok(());
        };
        let owners: Vec<OwnerReference> = template
            .owners()
            .iter()
            .map(|owner| OwnerReference {
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
                controller: owner.controller,
                block_owner_deletion: owner.block_owner_deletion,
            })
            .collect();
        let patch = json!({ "metadata": {
            "ownerReferences": template_owners(&collected.facts, owners),
            "resourceVersion": template.resource_version(),
        }});
        let writer = subject.runtime.writer();
        writer
            .merge_patch(resource, template.key(), &patch)
            .await
            .map(drop)
    }

    async fn ensure_kubeconfig(&self, collected: &Collected<P>) -> Result<(), Error> {
        let Some(kubeconfig) = &collected.kubeconfig else {
            return Ok(());
        };
        let name = format!("{}-kubeconfig", collected.facts.cluster.owner.name);
        let request = SecretRequest::new(name, "value", kubeconfig.expose_secret().as_bytes());
        Ok(collected.cx.context.secrets().put(request).await?)
    }

    /// The Machine first, then its two objects with the Machine as their controller. What a crash
    /// leaves out is made by [`complete`](Self::complete); a creation that is not answered is
    /// [asked](Self::ask) about before anything else is planned.
    async fn create_machine(
        &self,
        subject: &Subject<P::ControlPlane>,
        collected: &Collected<P>,
        first: bool,
        failure_domain: Option<&str>,
        remediation_for: Option<&RemediationRecord>,
    ) -> Result<(), Error> {
        let facts = &collected.facts;
        let name = collected.name.clone().unwrap_or_else(|| {
            let mut seed = Seed::new(subject.runtime.next_seed());
            let suffix = seed.suffix();
            naming::with_suffix(&format!("{}-", facts.metadata.name), &suffix)
        });
        let bootstrap = self.provider.bootstrap_object(&subject.typed, first)?;
        let mut noted = machine_annotations(facts);
        noted.extend(collected.desired.machine_annotations.clone());
        if let Some(record) = remediation_for {
            noted.insert(REMEDIATION_FOR.to_owned(), self::noted(record)?);
        }
        let template = &collected.desired.infrastructure_template;
        let infrastructure_kind = template
            .kind
            .strip_suffix("Template")
            .unwrap_or(&template.kind)
            .to_owned();
        let group = bootstrap.api_version.split('/').next().unwrap_or_default();
        let mut spec = json!({
            "clusterName": facts.cluster.owner.name,
            "version": facts.wanted.version,
            "bootstrap": { "configRef": {
                "apiGroup": group, "kind": bootstrap.kind, "name": name,
            }},
            "infrastructureRef": {
                "apiGroup": template.api_group, "kind": infrastructure_kind, "name": name,
            },
        });
        if let Some(domain) = failure_domain {
            spec["failureDomain"] = json!(domain);
        }
        let kind = ResourceType::from(Machine::KIND);
        let machine = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.kind(),
            "metadata": {
                "namespace": facts.metadata.namespace,
                "name": name,
                "labels": self.labels(collected),
                "annotations": noted,
                "finalizers": [finalizers::MACHINE],
                "ownerReferences": [machine_owner(facts)],
            },
            "spec": spec,
        });
        let writer = subject.runtime.writer();
        // Noted before, so that a dropped future forgets nothing.
        self.unanswered()
            .insert(subject.key().clone(), name.clone());
        let created = writer
            .create(&kind, &facts.metadata.namespace, &machine)
            .await;
        let open = |error: &Error| error.leaves_open() || error.is_already_exists();
        if !created.as_ref().is_err_and(open) {
            self.unanswered().remove(subject.key());
        }
        let object = created?;
        let message = format!("Created Machine {name}");
        let told = writer.event(
            &self.resource,
            &subject.object,
            false,
            "SuccessfulCreate",
            &message,
        );
        let completed = self.complete(subject, collected, object.key(), object.uid(), first);
        futures::join!(completed, told).0
    }

    /// Makes the infrastructure machine and the bootstrap object of a Machine.
    pub(super) async fn complete(
        &self,
        subject: &Subject<P::ControlPlane>,
        collected: &Collected<P>,
        machine: &ObjectKey,
        uid: &str,
        first: bool,
    ) -> Result<(), Error> {
        let facts = &collected.facts;
        let kind = ResourceType::from(Machine::KIND);
        let owner = OwnerReference {
            api_version: kind.api_version(),
            kind: kind.kind().to_owned(),
            name: machine.name.to_string(),
            uid: uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        let labels = self.labels(collected);
        let writer = subject.runtime.writer();
        let bootstrap = self.provider.bootstrap_object(&subject.typed, first)?;
        let (group, version) = bootstrap
            .api_version
            .split_once('/')
            .unwrap_or(("", &bootstrap.api_version));
        let resource = ResourceType::by_convention(group, version, &bootstrap.kind);
        let config = json!({
            "apiVersion": bootstrap.api_version,
            "kind": bootstrap.kind,
            "metadata": {
                "namespace": &*machine.namespace,
                "name": &*machine.name,
                "labels": labels,
                "annotations": collected.desired.machine_annotations,
                "ownerReferences": [owner],
            },
            "spec": bootstrap.spec,
        });
        let bootstrap = writer.create(&resource, &machine.namespace, &config);
        let Some((resource, template)) = &collected.template else {
            return Err(Error::Missing(format!(
                "{} {} does not exist",
                facts.wanted.infrastructure_template.kind,
                facts.wanted.infrastructure_template.name
            )));
        };
        let object = clone_template(&CloneTemplate {
            template: &template.value()?,
            namespace: &machine.namespace,
            name: &machine.name,
            cluster_name: &facts.cluster.owner.name,
            owner: Some(&owner),
            labels: &labels,
            annotations: &collected.desired.machine_annotations,
        })?;
        let kind = object["kind"].as_str().unwrap_or_default();
        let resource = ResourceType::by_convention(resource.group(), resource.version(), kind);
        let infrastructure = writer.create(&resource, &machine.namespace, &object);
        let (bootstrap, infrastructure) = futures::join!(bootstrap, infrastructure);
        created(bootstrap)?;
        created(infrastructure)
    }

    fn labels(&self, collected: &Collected<P>) -> BTreeMap<String, String> {
        let facts = &collected.facts;
        let mut all = collected.desired.machine_labels.clone();
        all.insert(
            labels::CLUSTER_NAME.to_owned(),
            facts.cluster.owner.name.clone(),
        );
        all.insert(labels::CONTROL_PLANE.to_owned(), String::new());
        all.insert(
            labels::CONTROL_PLANE_NAME.to_owned(),
            naming::label_value(&facts.metadata.name),
        );
        all
    }

    async fn annotate(
        &self,
        subject: &Subject<P::ControlPlane>,
        machine: &str,
        value: Value,
    ) -> Result<(), Error> {
        let patch = json!({ "metadata": { "annotations": { REMOVAL_HOOK: value } } });
        let key = subject.key().sibling(machine);
        let writer = subject.runtime.writer();
        created(
            writer
                .merge_patch(&Machine::KIND.into(), &key, &patch)
                .await,
        )
    }

    /// A patch of a Machine that replaces a list, and so fails when the Machine changed since.
    async fn patch_machine(
        &self,
        subject: &Subject<P::ControlPlane>,
        collected: &Collected<P>,
        machine: &str,
        patch: &Value,
    ) -> Result<(), Error> {
        let Some(object) = collected.machines.get(machine) else {
            return Ok(());
        };
        let mut patch = patch.clone();
        patch["metadata"]["resourceVersion"] = json!(object.resource_version());
        let writer = subject.runtime.writer();
        created(
            writer
                .merge_patch(&Machine::KIND.into(), object.key(), &patch)
                .await,
        )
    }

    async fn mark(
        &self,
        subject: &Subject<P::ControlPlane>,
        collected: &Collected<P>,
        machine: &str,
        change: impl FnOnce(&mut Conditions),
    ) -> Result<(), Error> {
        let Some(object) = collected.machines.get(machine) else {
            return Ok(());
        };
        let status: MachineStatus = object.decode::<Machine>()?.status.clone();
        let mut conditions = Conditions::new(
            status.conditions,
            object.generation(),
            subject.runtime.clock().now(),
        );
        change(&mut conditions);
        let patch = json!({
            "metadata": { "resourceVersion": object.resource_version() },
            "status": { "conditions": conditions.as_slice() },
        });
        let writer = subject.runtime.writer();
        created(
            writer
                .merge_patch_status(&Machine::KIND.into(), object.key(), &patch)
                .await,
        )
    }
}

/// The machine of the context that a plan's action names.
fn member<'a, P: ControlPlane>(
    collected: &'a Collected<P>,
    name: &str,
) -> Result<&'a ControlPlaneMachine, Error> {
    collected
        .cx
        .machines
        .iter()
        .find(|machine| machine.machine.metadata.name.as_deref() == Some(name))
        .ok_or_else(|| Error::Missing(format!("Machine {name} is gone")))
}

fn noted(record: &RemediationRecord) -> Result<String, Error> {
    serde_json::to_string(record).map_err(|source| Error::decode("remediation", source))
}

/// That it exists already, or is gone already, is success.
fn created<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_already_exists() || error.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}
