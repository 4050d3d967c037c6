//! One MachineDeployment: which MachineSet is the current one, how machines move from the others
//! to it, what the status says.
//!
//! Decides replica counts of sets. Never decides which machine goes: that is
//! [`machine_set`](super::machine_set). Its cost is that of the sets; machines enter as a
//! [`Census`].
//!
//! Answers to `core/reconcilers/machinedeployment` of Cluster API.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::desired_set::{Deployment, DesiredSet, DesiredSetError, SetFacts};
use super::{
    Blocked, Event, Plan,
    defaults::{self, SetDefaults},
    deployment_status,
    desired_set::{self, differs},
    machine_set::cluster_reference,
    naming::Seed,
    ownership, paused,
    rollout_scale::{Bounds, Scaling, SetCount, bounds, proportional},
    row::seconds,
    set_status::{OwningCluster, TemplateKind, Templates},
    tally::{self, Census},
    up_to_date::template_differences,
};
use crate::{
    api::{
        ConditionStatus, MachineDeploymentStatus, RolloutStrategyType, annotations, finalizers,
        labels,
    },
    contract::Metadata,
};

/// When to look again where the status of a set is not what its machines are.
const CATCH_UP: Duration = Duration::from_secs(2);

/// What is decided from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentFacts {
    /// The deployment.
    pub object: Deployment,
    /// The Cluster.
    pub cluster: OwningCluster,
    /// The templates that the deployment refers to.
    pub templates: Templates,
    /// The MachineSets of the namespace that match the selector or are controlled by the
    /// deployment.
    pub sets: Vec<SetFacts>,
    /// The sets could not be listed.
    pub list_failed: bool,
    /// What is known of updates in place.
    pub in_place: InPlace,
}

/// Updates in place, as far as sets are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InPlace {
    /// Machines may be updated in place.
    pub enabled: bool,
    /// Names of the old sets whose machines can become machines of the current set in place.
    pub updatable: BTreeSet<String>,
}

/// What is to be done about other objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
#[non_exhaustive]
pub enum MachineDeploymentAction {
    /// Make the Cluster an owner of a template.
    OwnTemplate {
        /// Which one.
        template: TemplateKind,
    },
    /// Create the set for the current template.
    CreateSet {
        /// The set.
        set: Box<DesiredSet>,
        /// Why there is none yet.
        reason: String,
    },
    /// Apply what a set is to be.
    UpdateSet {
        /// The set.
        set: Box<DesiredSet>,
        /// Its replicas so far.
        from: i32,
        /// Its replicas from now on.
        to: i32,
        /// Why, for people.
        notes: Vec<String>,
    },
    /// Delete a set that is not needed any more.
    DeleteSet {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
}

/// What is wanted of a MachineDeployment. The status is `None` when it is to stay as it is.
pub type MachineDeploymentPlan =
    Plan<SetDefaults, Option<MachineDeploymentStatus>, MachineDeploymentAction>;

/// Plans one MachineDeployment. `census` counts the machines that match the deployment's selector, at
/// `now`: a [`Tally`](super::tally::Tally) that was advanced to it, or a
/// [`Survey`](super::survey::Survey) of rows.
#[must_use]
pub fn plan(
    facts: &MachineDeploymentFacts,
    census: &dyn Census,
    seed: Seed,
    now: Timestamp,
) -> MachineDeploymentPlan {
    let mut plan = MachineDeploymentPlan::default();
    let metadata = &facts.object.metadata;
    let paused = paused::condition(facts.cluster.paused, metadata, "MachineDeployment");
    if paused.status == ConditionStatus::True {
        plan.blocked_on
            .push(blocked(metadata, paused.message.clone()));
        deployment_status::only(facts, paused, now, &mut plan);
        return plan;
    }
    let mut deployment = facts.object.clone();
    match defaults::machine_deployment(&deployment) {
        Ok(defaults) => {
            defaults.apply_to_deployment(&mut deployment.spec);
            plan.spec = defaults;
        }
        Err(error) => plan.errors.push(error.to_string()),
    }
    if !metadata.is_deleting() {
        plan.metadata
            .add_finalizer(metadata, finalizers::MACHINE_DEPLOYMENT);
        plan.metadata.label(
            metadata,
            labels::CLUSTER_NAME,
            &deployment.spec.cluster_name,
        );
        own_by_cluster(metadata, &facts.cluster, &mut plan);
        for template in facts.templates.to_own(&deployment.spec.template) {
            plan.actions
                .push(MachineDeploymentAction::OwnTemplate { template });
        }
    }
    let sets = own_sets(&deployment, &facts.sets);
    if facts.list_failed {
        plan.errors
            .push("the MachineSets of the deployment could not be listed".to_owned());
    } else if metadata.is_deleting() {
        delete(&deployment, &sets, &mut plan);
    } else if let Err(error) = roll_out(facts, &deployment, &sets, census, seed, now, &mut plan) {
        plan.errors.push(error);
    }
    deployment_status::plan(facts, &deployment, &sets, census, paused, now, &mut plan);
    if let Some(after) = deployment.spec.rollout.after
        && after.timestamp() > now
    {
        plan.look_again(after.timestamp());
    }
    if let Some(deadline) = census.next_deadline() {
        plan.look_again(deadline);
    }
    plan
}

/// Whether a status says that all is as it is wanted, so that nothing more is on its way. Right after a change of the
/// template the sets still count their machines as up to date; that old ones have machines tells more.
#[must_use]
pub fn is_at_rest(
    facts: &MachineDeploymentFacts,
    status: &MachineDeploymentStatus,
    now: Timestamp,
) -> bool {
    let deployment = &facts.object;
    let deleting = deployment.metadata.is_deleting();
    let desired = if deleting {
        Some(0)
    } else {
        deployment.spec.replicas
    };
    let sets = own_sets(deployment, &facts.sets);
    let old = divide(deployment, &sets, now).old;
    let is_empty = |set: &&SetFacts| {
        set.object.spec.replicas == Some(0) && set.object.status.replicas.unwrap_or(0) == 0
    };
    [
        status.replicas,
        status.ready_replicas,
        status.available_replicas,
        status.up_to_date_replicas,
    ]
    .iter()
    .all(|count| *count == desired)
        && (deleting || old.iter().all(is_empty))
}

fn blocked(metadata: &Metadata, message: String) -> Blocked {
    Blocked::on(
        "MachineDeployment",
        &metadata.namespace,
        &metadata.name,
        message,
    )
}

fn own_by_cluster(metadata: &Metadata, cluster: &OwningCluster, plan: &mut MachineDeploymentPlan) {
    if cluster.uid.is_empty() {
        return;
    }
    let wanted = cluster_reference(cluster);
    let mut owners = metadata.owner_references.clone();
    ownership::ensure(&mut owners, wanted);
    plan.metadata.owners(metadata, owners);
}

/// The sets that are the deployment's: controlled by it, or by nobody and chosen by its selector.
fn own_sets<'a>(deployment: &Deployment, sets: &'a [SetFacts]) -> Vec<&'a SetFacts> {
    let ours = |set: &&SetFacts| match set.object.metadata.controller() {
        Some(controller) => controller.uid == deployment.metadata.uid,
        None => {
            !deployment.spec.selector.is_empty()
                && deployment
                    .spec
                    .selector
                    .matches(&set.object.metadata.labels)
        }
    };
    sets.iter().filter(ours).collect()
}

fn delete(deployment: &Deployment, sets: &[&SetFacts], plan: &mut MachineDeploymentPlan) {
    let metadata = &deployment.metadata;
    if sets.is_empty() {
        plan.metadata
            .remove_finalizer(metadata, finalizers::MACHINE_DEPLOYMENT);
        return;
    }
    for set in sets.iter().filter(|set| !set.object.metadata.is_deleting()) {
        delete_set(set, plan);
    }
    plan.blocked_on.push(blocked(
        metadata,
        format!("{} MachineSets are being deleted", sets.len()),
    ));
}

fn delete_set(set: &SetFacts, plan: &mut MachineDeploymentPlan) {
    let metadata = &set.object.metadata;
    plan.actions.push(MachineDeploymentAction::DeleteSet {
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
    });
}

/// Which set is the current one.
struct Division<'a> {
    current: Option<&'a SetFacts>,
    old: Vec<&'a SetFacts>,
    /// Old sets that must not be updated in place.
    not_in_place: BTreeSet<&'a str>,
    /// Why there is no current set.
    reason: String,
}

/// Finds the set whose template is the deployment's, but for what follows in place. Sets that
/// are being deleted are never the current one.
fn divide<'a>(deployment: &Deployment, sets: &[&'a SetFacts], now: Timestamp) -> Division<'a> {
    let mut sorted = sets.to_vec();
    sorted.sort_by_key(|set| {
        let metadata = &set.object.metadata;
        let replicas = std::cmp::Reverse(set.object.spec.replicas);
        (
            replicas,
            metadata.creation_timestamp,
            metadata.name.as_str(),
        )
    });
    let after = deployment
        .spec
        .rollout
        .after
        .filter(|after| after.timestamp() <= now);
    let expired =
        |set: &SetFacts| after.is_some_and(|after| set.object.metadata.creation_timestamp < after);

    let mut division = Division {
        current: None,
        old: Vec::new(),
        not_in_place: BTreeSet::new(),
        reason: "no MachineSets exist for the MachineDeployment".to_owned(),
    };
    let mut differences = Vec::new();
    let mut candidates = false;
    for set in sorted {
        let metadata = &set.object.metadata;
        let (have, want) = (
            &set.object.spec.template.spec,
            &deployment.spec.template.spec,
        );
        let found = template_differences(have, want);
        if found.is_empty() && !metadata.is_deleting() {
            candidates = true;
            if division.current.is_none() && !expired(set) {
                division.current = Some(set);
                continue;
            }
            division.not_in_place.insert(&metadata.name);
        } else {
            if expired(set) || metadata.is_deleting() {
                division.not_in_place.insert(&metadata.name);
            }
            let found = found.join(", ");
            differences.push(format!(
                "MachineSet {} needs rollout: {found}",
                metadata.name
            ));
        }
        division.old.push(set);
    }
    if candidates && let Some(after) = after {
        division.reason = format!(
            "spec.rollout.after on MachineDeployment set to {after}, no MachineSet has been \
             created afterwards"
        );
    } else if !differences.is_empty() {
        division.reason = format!(
            "couldn't find MachineSet matching MachineDeployment spec template: {}",
            differences.join("; ")
        );
    }
    division
}

fn roll_out(
    facts: &MachineDeploymentFacts,
    deployment: &Deployment,
    sets: &[&SetFacts],
    census: &dyn Census,
    mut seed: Seed,
    now: Timestamp,
    plan: &mut MachineDeploymentPlan,
) -> Result<(), String> {
    let Some(replicas) = deployment.spec.replicas else {
        return Err("spec.replicas is not set".to_owned());
    };
    if deployment.spec.selector.is_empty() {
        return Err("spec.selector is empty and would choose the sets of others".to_owned());
    }
    if let Some(set) = sets.iter().find(|set| set.object.spec.replicas.is_none()) {
        return Err(format!(
            "spec.replicas of MachineSet {} is not set",
            set.object.metadata.name
        ));
    }
    let strategy = defaults::strategy(deployment.spec.rollout.strategy.as_ref());
    let rolling = match &strategy.type_ {
        RolloutStrategyType::RollingUpdate => true,
        RolloutStrategyType::OnDelete => false,
        other => return Err(format!("unexpected deployment strategy type: {other}")),
    };
    let bounds = bounds(&strategy, replicas).map_err(|error| error.to_string())?;
    let max_replicas = replicas.saturating_add(bounds.surge);
    let is_paused = deployment.spec.paused == Some(true);

    let division = divide(deployment, sets, now);
    if division.current.is_none() && !is_paused && !facts.templates.exist(&deployment.spec.template)
    {
        let missing = facts.templates.missing_message(&deployment.spec.template);
        return Err(format!(
            "cannot create a MachineSet when templates do not exist: {}",
            missing.unwrap_or_default()
        ));
    }
    let mut desired = Vec::new();
    if division.current.is_some() || !is_paused {
        let current = desired_set::current_set(
            deployment,
            division.current,
            &division.old,
            max_replicas,
            &mut seed,
        );
        let (current, revision) = current.map_err(|error| error.to_string())?;
        if deployment.metadata.annotations.get(annotations::REVISION) != Some(&revision) {
            let key = annotations::REVISION.to_owned();
            plan.metadata.annotations.insert(key, Some(revision));
        }
        desired.push((current, division.current));
    }
    for set in &division.old {
        let old = desired_set::old_set(deployment, set, max_replicas, !rolling);
        desired.push((old.map_err(|error| error.to_string())?, Some(*set)));
    }
    let decided = if is_paused {
        scale_paused(deployment, replicas, bounds, rolling, &division, census)
    } else {
        let current = desired.first_mut().map(|(current, _)| current);
        scale(facts, replicas, bounds, rolling, &division, census, current)
    };
    if decided.unsure
        && let Ok(again) = now.checked_add(CATCH_UP)
    {
        // Machines may become again what the status says, which then tells nobody.
        plan.look_again(again);
    }
    let mut notes = decided.notes;
    for (mut set, found) in desired {
        let from = found
            .and_then(|found| found.object.spec.replicas)
            .unwrap_or(0);
        let to = decided
            .intents
            .get(&set.name)
            .copied()
            .unwrap_or(decided_base(&set, from));
        set.spec.replicas = Some(to);
        if decided.movers.contains(&set.name)
            && let Some(current) = &decided.current
        {
            let key = annotations::MOVE_MACHINES_TO_MACHINE_SET.to_owned();
            set.annotations.insert(key, current.clone());
        }
        let notes = notes.remove(&set.name).unwrap_or_default();
        apply(set, found, from, to, notes, &division.reason, plan);
    }
    clean_up(deployment, sets, &division, replicas, plan);
    Ok(())
}

/// Replicas of a set about which nothing was decided: those that it has, machines that were
/// acknowledged included.
fn decided_base(set: &DesiredSet, from: i32) -> i32 {
    set.spec.replicas.unwrap_or(from)
}

fn apply(
    set: DesiredSet,
    found: Option<&SetFacts>,
    from: i32,
    to: i32,
    notes: Vec<String>,
    reason: &str,
    plan: &mut MachineDeploymentPlan,
) {
    let Some(found) = found else {
        plan.events.push(Event::normal(
            "SuccessfulCreate",
            format!(
                "Created MachineSet {}/{} with {to} replicas",
                set.namespace, set.name
            ),
        ));
        let (set, reason) = (Box::new(set), reason.to_owned());
        plan.actions
            .push(MachineDeploymentAction::CreateSet { set, reason });
        return;
    };
    if found.object.metadata.is_deleting() || !differs(&set, found) {
        return;
    }
    if from != to {
        let direction = if from < to { "up" } else { "down" };
        plan.events.push(Event::normal(
            "SuccessfulScale",
            format!("Scaled {direction} MachineSet {}: {from} -> {to}", set.name),
        ));
    }
    plan.actions.push(MachineDeploymentAction::UpdateSet {
        set: Box::new(set),
        from,
        to,
        notes,
    });
}

/// What was decided about replica counts.
#[derive(Default)]
struct Decided {
    intents: BTreeMap<String, i32>,
    notes: BTreeMap<String, Vec<String>>,
    movers: Vec<String>,
    current: Option<String>,
    /// Something could not be decided, because statuses and machines differ.
    unsure: bool,
}

/// Counts a set: by its status, which may be behind its machines, and by its machines, of which
/// we may know less than whoever wrote the status. What both say is certain.
fn count(set: &SetFacts, in_place: bool, census: &dyn Census) -> SetCount {
    let metadata = &set.object.metadata;
    let status = &set.object.status;
    let told = (
        status.replicas.unwrap_or(0),
        status.available_replicas.unwrap_or(0),
    );
    let seen = census.of_set(&metadata.name).map_or(told, |seen| {
        (
            tally::replicas(seen.replicas),
            tally::replicas(seen.available),
        )
    });
    let number = |key: &str| {
        metadata
            .annotations
            .get(key)
            .and_then(|value| value.parse().ok())
    };
    SetCount {
        name: metadata.name.clone(),
        created: seconds(metadata.creation_timestamp),
        // A set that is being deleted wants no machines, whatever its spec says.
        spec: if metadata.is_deleting() {
            0
        } else {
            set.object.spec.replicas.unwrap_or(0)
        },
        existing: told.0.max(seen.0),
        available: told.1.min(seen.1),
        perhaps_available: told.1.max(seen.1),
        up_to_date: status.up_to_date_replicas.unwrap_or(0),
        in_place,
        desired_replicas: number(annotations::DESIRED_REPLICAS),
        max_replicas: number(annotations::MAX_REPLICAS),
    }
}

fn scale(
    facts: &MachineDeploymentFacts,
    replicas: i32,
    bounds: Bounds,
    rolling: bool,
    division: &Division<'_>,
    census: &dyn Census,
    desired: Option<&mut DesiredSet>,
) -> Decided {
    let Some(desired) = desired else {
        return Decided::default();
    };
    let in_place = &facts.in_place;
    let updatable = |set: &SetFacts| {
        let name = set.object.metadata.name.as_str();
        rolling
            && in_place.enabled
            && in_place.updatable.contains(name)
            && !division.not_in_place.contains(name)
    };
    let old: Vec<SetCount> = division
        .old
        .iter()
        .map(|set| count(set, updatable(set), census))
        .collect();
    let mut new = match division.current {
        Some(set) => count(set, false, census),
        None => SetCount {
            name: desired.name.clone(),
            created: i64::MAX,
            ..SetCount::default()
        },
    };
    if rolling && in_place.enabled {
        acknowledge(division.current, census, &mut new, desired);
    }
    let updating = census.counts().updating > 0;
    let mut scaling = Scaling::new(replicas, bounds, &new, old.iter().collect(), updating);
    if rolling {
        scaling.rolling_update();
    } else {
        scaling.on_delete();
    }
    if !scaling.movers.is_empty() {
        let mut movers = scaling.movers.clone();
        movers.sort();
        let key = annotations::RECEIVE_MACHINES_FROM_MACHINE_SETS.to_owned();
        desired.annotations.insert(key, movers.join(","));
    }
    Decided {
        intents: scaling.intents,
        notes: scaling.notes,
        movers: scaling.movers,
        current: Some(new.name.clone()),
        unsure: old.iter().any(|set| set.spec > 0)
            && old.iter().chain([&new]).any(SetCount::is_unsure),
    }
}

/// Counts machines that were moved to the current set, each once.
fn acknowledge(
    current: Option<&SetFacts>,
    census: &dyn Census,
    new: &mut SetCount,
    desired: &mut DesiredSet,
) {
    let Some(current) = current else { return };
    let key = annotations::ACKNOWLEDGED_MOVE;
    let known = current
        .object
        .metadata
        .annotations
        .get(key)
        .map_or("", String::as_str);
    let known: BTreeSet<&str> = known.split(',').collect();
    let moved = census.moved_to(&new.name);
    if moved.is_empty() {
        return;
    }
    let fresh = moved.iter().filter(|name| !known.contains(*name)).count();
    new.spec = new
        .spec
        .saturating_add(i32::try_from(fresh).unwrap_or(i32::MAX));
    desired.spec.replicas = Some(new.spec);
    desired.annotations.insert(key.to_owned(), moved.join(","));
}

fn scale_paused(
    deployment: &Deployment,
    replicas: i32,
    bounds: Bounds,
    rolling: bool,
    division: &Division<'_>,
    census: &dyn Census,
) -> Decided {
    let new = division.current.map(|set| count(set, false, census));
    let old = division.old.iter().map(|set| count(set, false, census));
    let old: Vec<SetCount> = old.collect();
    let old: Vec<&SetCount> = old.iter().collect();
    let existing = deployment.status.replicas.unwrap_or(0);
    Decided {
        intents: proportional(replicas, existing, bounds, rolling, new.as_ref(), &old),
        ..Decided::default()
    }
}

/// Deletes old sets once the rollout is complete.
fn clean_up(
    deployment: &Deployment,
    sets: &[&SetFacts],
    division: &Division<'_>,
    replicas: i32,
    plan: &mut MachineDeploymentPlan,
) {
    let sums = deployment_status::Sums::of(sets);
    let metadata = &deployment.metadata;
    let is = |count: Option<i32>| count.unwrap_or(0) == replicas;
    let complete = is(sums.up_to_date)
        && is(sums.replicas)
        && is(sums.available)
        && deployment.status.observed_generation.unwrap_or(0) >= metadata.generation;
    if !complete || deployment.spec.paused == Some(true) {
        return;
    }
    let mut old = division.old.clone();
    old.sort_by_key(|set| {
        let metadata = &set.object.metadata;
        (metadata.creation_timestamp, metadata.name.as_str())
    });
    for set in old {
        let (metadata, status) = (&set.object.metadata, &set.object.status);
        let empty = status.replicas.unwrap_or(0) == 0 && set.object.spec.replicas == Some(0);
        let observed = status.observed_generation.unwrap_or(0) >= metadata.generation;
        if empty && observed && !metadata.is_deleting() {
            delete_set(set, plan);
            plan.events.push(Event::normal(
                "SuccessfulDelete",
                format!("Deleted MachineSet {:?}", metadata.name),
            ));
        }
    }
}
