//! Facts about a MachineSet, from caches.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{MachineSetController, ORPHANS, SetObject};
use crate::{
    api::{Cluster, Machine, MachineDeployment, annotations},
    contract::ControlPlaneView,
    controllers::sets::{FoundTemplates, cluster_of, machines, owning_cluster},
    plan::{
        ObjectRef,
        machine_set::{
            MachineSetAction, MachineSetFacts, MachineSetPlan, MoveTarget, OwningDeployment,
            Preflight, propagated_fields,
        },
        preflight::{ALL, Checks, ControlPlaneState},
        rollout::Deployment,
        row::Name,
        tally::{Census, Tally},
    },
    runtime::{Error, Object, ObjectKey, Runtime},
};

/// Facts, and the objects that doing something about them needs.
pub(super) struct Collected {
    pub(super) facts: MachineSetFacts,
    pub(super) templates: FoundTemplates,
    /// Machines that lack objects that they are made of.
    pub(super) incomplete: Vec<Arc<Object>>,
    /// Names that machines were to have which do not exist: the first to be made have them.
    pub(super) names: Vec<ObjectKey>,
}

impl MachineSetController {
    pub(super) async fn collect(
        &self,
        runtime: &Runtime,
        set: &SetObject,
        now: Timestamp,
    ) -> Result<Collected, Error> {
        let metadata = &set.metadata;
        let key = ObjectKey::new(metadata.namespace.as_str(), metadata.name.as_str());
        let (object, cluster) = cluster_of(runtime, &key, &set.spec.cluster_name)?;
        let owning = owning_cluster(&object, &cluster);
        let template = &set.spec.template;
        let templates = if metadata.is_deleting() {
            FoundTemplates::default()
        } else {
            FoundTemplates::find(runtime, &metadata.namespace, template).await?
        };
        let mut facts = MachineSetFacts {
            object: set.clone(),
            deployment: deployment(runtime, &key, metadata)?,
            templates: templates.facts(&owning)?,
            propagated: propagated_fields(set).fingerprint(),
            orphans: orphans(runtime, set)?,
            leftovers: leftovers(runtime, set, &templates),
            unseen: 0,
            preflight: Preflight::default(),
            list_failed: false,
            move_target: move_target(runtime, &key, set)?,
            cluster: owning,
        };
        let (count, unhealthy, suspects) = self.counts(runtime, set, now);
        let desired = usize::try_from(set.spec.replicas.unwrap_or(0)).unwrap_or(0);
        if count < desired || unhealthy {
            facts.preflight = preflight(runtime, &key, &cluster, &object, &facts).await?;
        }
        let incomplete = self.incomplete(runtime, set, &templates, suspects).await?;
        Ok(Collected {
            facts,
            templates,
            incomplete,
            names: Vec::new(),
        })
    }

    /// Of the machines that have no infrastructure yet, those for which nobody made the objects.
    /// Those that have them are asked about again only when they change.
    async fn incomplete(
        &self,
        runtime: &Runtime,
        set: &SetObject,
        templates: &FoundTemplates,
        suspects: Vec<String>,
    ) -> Result<Vec<Arc<Object>>, Error> {
        let store = runtime.cache().store(&machines());
        let (mut incomplete, mut complete) = (Vec::new(), Vec::new());
        for name in suspects {
            let key = ObjectKey::new(set.metadata.namespace.as_str(), name.as_str());
            let Some(object) = store.get(&key) else {
                continue;
            };
            match super::make::missing(runtime, &object, templates).await? {
                None => complete.push(name),
                Some(missing) if missing.is_empty() => {}
                Some(_) => incomplete.push(object),
            }
        }
        self.rows.complete(&set.metadata.uid, &complete);
        Ok(incomplete)
    }

    fn counts(
        &self,
        runtime: &Runtime,
        set: &SetObject,
        now: Timestamp,
    ) -> (usize, bool, Vec<String>) {
        let wanted = propagated_fields(set);
        let prefix = format!("{}-", set.metadata.name);
        self.rows.with(
            runtime,
            &set.metadata.uid,
            &prefix,
            Some(&wanted),
            now,
            |entry| {
                let unhealthy = entry.tally.remediation_candidates().len() > 0;
                let suspects = entry.incomplete.iter().cloned().collect();
                (entry.tally.counts().replicas as usize, unhealthy, suspects)
            },
        )
    }
}

fn deployment(
    runtime: &Runtime,
    key: &ObjectKey,
    metadata: &crate::contract::Metadata,
) -> Result<Option<OwningDeployment>, Error> {
    let Some(name) = metadata.labels.get(crate::api::labels::DEPLOYMENT_NAME) else {
        return Ok(None);
    };
    let key = key.sibling(name);
    let found = runtime
        .cache()
        .store(&MachineDeployment::KIND.into())
        .get(&key);
    let found =
        found.ok_or_else(|| Error::Missing(format!("MachineDeployment {key} does not exist")))?;
    let deployment = found.decode::<Deployment>()?;
    Ok(Some(OwningDeployment {
        revision: deployment
            .metadata
            .annotations
            .get(annotations::REVISION)
            .cloned(),
        replicas: deployment.spec.replicas,
        max_in_flight: deployment.spec.remediation.max_in_flight.clone(),
    }))
}

fn orphans(runtime: &Runtime, set: &SetObject) -> Result<Vec<(String, String)>, Error> {
    if set.spec.selector.is_empty() {
        return Ok(Vec::new());
    }
    let store = runtime.cache().store(&machines());
    let (none, mut orphans) = (BTreeMap::new(), Vec::new());
    for object in store.by_index(ORPHANS, &set.metadata.namespace) {
        let machine = object.decode::<Machine>()?;
        if set
            .spec
            .selector
            .matches(machine.metadata.labels.as_ref().unwrap_or(&none))
        {
            orphans.push((object.name().to_owned(), object.uid().to_owned()));
        }
    }
    Ok(orphans)
}

/// Objects of machines that the set itself owns: what another controller left of a creation that
/// failed half-way, where no Machine uses it.
fn leftovers(runtime: &Runtime, set: &SetObject, templates: &FoundTemplates) -> Vec<ObjectRef> {
    let spec = &set.spec.template.spec;
    let store = runtime.cache().store(&machines());
    let mut leftovers = Vec::new();
    let references = [
        Some(&spec.infrastructure_ref),
        spec.bootstrap.config_ref.as_ref(),
    ];
    let found = [
        templates.infrastructure.as_ref(),
        templates.bootstrap.as_ref(),
    ];
    for (reference, template) in references.into_iter().zip(found) {
        let (Some(reference), Some(template)) = (reference, template) else {
            continue;
        };
        let Some(kind) = super::make::clone_kind(reference, template) else {
            continue;
        };
        for object in runtime.cache().store(&kind).owned_by(&set.metadata.uid) {
            let used = store.get(object.key()).is_some();
            if !used && !object.is_deleting() {
                leftovers.push(ObjectRef {
                    api_version: kind.api_version(),
                    kind: kind.kind().to_owned(),
                    namespace: set.metadata.namespace.clone(),
                    name: object.name().to_owned(),
                    uid: object.uid().to_owned(),
                });
            }
        }
    }
    leftovers
}

fn move_target(
    runtime: &Runtime,
    key: &ObjectKey,
    set: &SetObject,
) -> Result<Option<MoveTarget>, Error> {
    let annotations = &set.metadata.annotations;
    let Some(name) = annotations.get(annotations::MOVE_MACHINES_TO_MACHINE_SET) else {
        return Ok(None);
    };
    let store = runtime.cache().store(&crate::api::MachineSet::KIND.into());
    let Some(found) = store.get(&key.sibling(name)) else {
        return Ok(None);
    };
    let target = found.decode::<SetObject>()?;
    Ok(Some(MoveTarget {
        name: name.clone(),
        uid: found.uid().to_owned(),
        unique_label: target
            .metadata
            .labels
            .get(crate::api::labels::MACHINE_TEMPLATE_HASH)
            .cloned(),
        receives_from: target
            .metadata
            .annotations
            .get(annotations::RECEIVE_MACHINES_FROM_MACHINE_SETS)
            .cloned(),
    }))
}

async fn preflight(
    runtime: &Runtime,
    key: &ObjectKey,
    cluster: &Cluster,
    object: &Object,
    facts: &MachineSetFacts,
) -> Result<Preflight, Error> {
    let set = &facts.object;
    let own = set
        .metadata
        .annotations
        .get(annotations::SKIP_PREFLIGHT_CHECKS);
    let skip = own.filter(|list| !list.is_empty());
    let skip = skip.or(facts.templates.bootstrap.skip_preflight_checks.as_ref());
    let control_plane = match &cluster.spec.control_plane_ref {
        None => None,
        Some(reference) => Some(control_plane(runtime, key, reference).await?),
    };
    let topology = cluster
        .spec
        .topology
        .as_ref()
        .map(|topology| topology.version.as_str());
    let step = match topology {
        None => None,
        Some(_) => {
            let metadata = crate::controllers::sets::metadata(object)?;
            metadata.annotations.get(annotations::UPGRADE_STEP).cloned()
        }
    };
    Ok(Checks {
        enabled: &[ALL],
        skip: skip.map(String::as_str),
        control_plane: control_plane.as_ref(),
        topology_version: topology,
        upgrade_step: step.as_deref(),
        template: &set.spec.template,
    }
    .run())
}

async fn control_plane(
    runtime: &Runtime,
    key: &ObjectKey,
    reference: &crate::api::ContractVersionedObjectReference,
) -> Result<ControlPlaneState, Error> {
    let mut state = ControlPlaneState {
        kind: reference.kind.clone(),
        namespace: key.namespace.to_string(),
        name: reference.name.clone(),
        ..ControlPlaneState::default()
    };
    let found = runtime.external(&key.namespace, reference).await?;
    let Some(object) = &found.object else {
        state.error = Some("it does not exist".to_owned());
        return Ok(state);
    };
    let view = ControlPlaneView::read(&object.value()?, found.contract)?;
    state.version = view.version.get().cloned();
    state.running = match (view.versions.get(), view.status_version.get()) {
        (Some(versions), _) if !versions.is_empty() => versions
            .iter()
            .map(|version| version.version.clone())
            .collect(),
        (_, Some(version)) => vec![version.clone()],
        _ => Vec::new(),
    };
    Ok(state)
}

/// The machines that a plan speaks of, as they were when it was made.
pub(super) fn chosen(
    runtime: &Runtime,
    namespace: &str,
    plan: &MachineSetPlan,
    tally: &Tally,
) -> BTreeMap<Name, Arc<Object>> {
    let names = plan.actions.iter().flat_map(|action| match action {
        MachineSetAction::ClearRemediation { machines }
        | MachineSetAction::MarkRemediation { machines, .. }
        | MachineSetAction::Propagate { machines }
        | MachineSetAction::MoveMachines { machines }
        | MachineSetAction::DeleteMachines { machines } => machines.as_slice(),
        _ => &[],
    });
    let store = runtime.cache().store(&machines());
    let object = |name: &Name| {
        let key = ObjectKey::new(namespace, tally.symbols().name(*name));
        Some((*name, store.get(&key)?))
    };
    names.filter_map(object).collect()
}
