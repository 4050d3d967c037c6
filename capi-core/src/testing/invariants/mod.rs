//! What must hold at every step, whatever happens: checked against the API server's own state and
//! the datacenter's, after each write and each change of a machine.
//!
//! Checks look at effects, never at how a controller came to them.

mod mirror;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use jiff::Timestamp;
use mirror::{Mirror, Seen, Step};

use super::reference::{Datacenter, DatacenterEvent, MachineRecord};
use crate::{api::labels, embedded::ApiServer, runtime::ObjectKey};

/// What a controller cannot know yet: changes of so long ago excuse it.
const KNOWLEDGE: Duration = Duration::from_secs(60);

/// How long a decision that is being carried out may be out of date. Times of transition have
/// whole seconds.
const JUST: Duration = Duration::from_secs(2);

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// A machine exists that no object of the management cluster accounts for.
    NoLeakedMachine,
    /// A provider removed a machine that is not ours, or that nobody asked to remove.
    NoForeignDeletion,
    /// Two machines have the same identity, or a machine was made a second time.
    NoDuplicateIdentity,
    /// Two claims have the same address, or an address was given back while in use.
    NoDuplicateAddress,
    /// A healthy etcd lost its quorum by a removal.
    QuorumKept,
    /// A control plane went below the machines that it is to have.
    OneControlPlaneMachineAtATime,
    /// More machines than a rollout, or a control plane, may have.
    SurgeBound,
    /// Fewer available machines than a rollout must leave.
    AvailabilityBound,
    /// Two managers wrote, of which one did not hold the Lease.
    OneWriter,
    /// Once faults end, everything becomes as it was asked for.
    Converges,
    /// Nothing is written when nothing changes.
    IdleWritesNothing,
    /// Nothing is left of a deleted cluster.
    NothingLeft,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What was wanted, and since when.
#[derive(Clone, Debug, Default)]
struct Wanted(Vec<(Timestamp, i64)>);

impl Wanted {
    fn note(&mut self, now: Timestamp, value: i64) {
        if self.0.last().is_none_or(|(_, last)| *last != value) {
            self.0.push((now, value));
        }
    }

    /// All values that somebody may still act on.
    fn recent(&self, now: Timestamp) -> impl Iterator<Item = i64> + '_ {
        let begin = now.checked_sub(KNOWLEDGE).unwrap_or(Timestamp::MIN);
        let known = self.0.iter().rposition(|(since, _)| *since <= begin);
        self.0[known.unwrap_or(0)..].iter().map(|(_, value)| *value)
    }
}

/// Watches the server and the datacenter, and notes the first rule that is broken.
pub(crate) struct Invariants {
    mirror: Mirror,
    machines: BTreeMap<u32, MachineRecord>,
    /// Numbers of machines that are other people's.
    foreign: BTreeMap<u32, String>,
    /// Marks of machines that were ready and vanished.
    vanished: BTreeMap<String, Timestamp>,
    /// Names of Machines that the user deleted.
    deleted_by_user: BTreeMap<String, Timestamp>,
    workers: BTreeMap<String, Wanted>,
    control_planes: BTreeMap<String, Wanted>,
    /// Something happened to workers that no rollout can foresee.
    disturbed: bool,
    /// Clusters whose first control plane machine runs.
    begun: BTreeSet<String>,
    last_loss: Option<Timestamp>,
    /// When a machine that nobody deleted was last no longer available.
    last_failure: Option<Timestamp>,
    late_until: Option<Timestamp>,
    /// Managers must hold the Lease to write.
    leased: bool,
    violations: Vec<Violation>,
}

impl Invariants {
    pub(crate) fn new(server: &ApiServer, leased: bool) -> Self {
        Self {
            mirror: Mirror::new(server),
            machines: BTreeMap::new(),
            foreign: BTreeMap::new(),
            vanished: BTreeMap::new(),
            deleted_by_user: BTreeMap::new(),
            workers: BTreeMap::new(),
            control_planes: BTreeMap::new(),
            disturbed: false,
            begun: BTreeSet::new(),
            last_loss: None,
            last_failure: None,
            late_until: None,
            leased,
            violations: Vec::new(),
        }
    }

    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violations.first()
    }

    pub(crate) fn violate(&mut self, rule: Rule, what: impl Into<String>) {
        self.violations.push(Violation {
            rule,
            what: what.into(),
        });
    }

    /// The user is about to delete a Machine.
    pub(crate) fn user_deletes(&mut self, name: &str, now: Timestamp) {
        self.deleted_by_user.insert(name.to_owned(), now);
        self.disturbed = true;
    }

    /// A manager died with requests on the way, which may still arrive.
    pub(crate) fn manager_died(&mut self, now: Timestamp) {
        self.late_until = now.checked_add(KNOWLEDGE).ok();
    }

    /// A request of `who` was done.
    pub(crate) fn request(&mut self, who: &str, path: &str, now: Timestamp) {
        let lease = path.contains("/leases");
        if self.leased && !lease && who.starts_with("manager") && !self.is_late(now) {
            self.catch_up(who, now);
            let holder = self.mirror.lease_holder();
            if holder.is_some_and(|holder| holder != who) {
                let what = format!(
                    "{who} wrote {path} while {} holds the Lease",
                    holder.unwrap_or_default()
                );
                self.violate(Rule::OneWriter, what);
            }
            return;
        }
        self.catch_up(who, now);
    }

    fn is_late(&self, now: Timestamp) -> bool {
        self.late_until.is_some_and(|until| now < until)
    }

    /// Something happened in the datacenter.
    pub(crate) fn happened(
        &mut self,
        datacenter: &Datacenter,
        event: &DatacenterEvent,
        now: Timestamp,
    ) {
        self.catch_up("", now);
        match event {
            DatacenterEvent::Made(record) => self.made(record),
            DatacenterEvent::Destroyed(record) => {
                self.machines.remove(&record.number);
                self.destroyed(record);
                self.quorum(datacenter, &record.cluster, &record.name, now);
            }
            DatacenterEvent::Lost(record) => {
                self.machines.remove(&record.number);
                self.last_loss = Some(now);
                self.disturbed = true;
                if self.infra_of(record).is_some_and(Seen::is_provisioned) {
                    self.vanished.insert(record.mark.clone(), now);
                }
            }
            DatacenterEvent::Placed(record) => {
                self.foreign.insert(record.number, record.mark.clone());
            }
            DatacenterEvent::Left { cluster, member } => {
                self.quorum(datacenter, cluster, member, now);
            }
            DatacenterEvent::Begun { cluster, .. } => {
                self.begun.insert(cluster.clone());
            }
        }
    }

    /// The object that accounts for a machine.
    fn infra_of(&self, record: &MachineRecord) -> Option<&Seen> {
        let id = provider_id(record);
        self.mirror
            .infra
            .values()
            .find(|seen| seen.spec.provider_id.as_deref() == Some(&id))
    }

    fn made(&mut self, record: &MachineRecord) {
        let id = provider_id(record);
        if self.infra_of(record).is_none() {
            let what = format!("{id} was made for {}, and no object names it", record.name);
            self.violate(Rule::NoLeakedMachine, what);
        }
        if self.vanished.contains_key(&record.mark) {
            let what = format!("{id} was ready, vanished, and was made again");
            self.violate(Rule::NoDuplicateIdentity, what);
        }
        let twin = self
            .machines
            .values()
            .find(|other| other.mark == record.mark || other.name == record.name);
        if let Some(twin) = twin {
            let what = format!("{} and {id} are both {}", provider_id(twin), record.name);
            self.violate(Rule::NoDuplicateIdentity, what);
        }
        self.machines.insert(record.number, record.clone());
    }

    fn destroyed(&mut self, record: &MachineRecord) {
        let id = provider_id(record);
        if self.foreign.get(&record.number) == Some(&record.mark) {
            let what = format!("{id} belongs to somebody else and was removed");
            self.violate(Rule::NoForeignDeletion, what);
            return;
        }
        match self.infra_of(record) {
            Some(seen) if !seen.is_deleting() => {
                let what = format!("{id} was removed, and nobody deleted {}", record.name);
                self.violate(Rule::NoForeignDeletion, what);
            }
            _ => {}
        }
    }

    /// What is left of etcd after somebody left it or a machine was removed.
    fn quorum(&mut self, datacenter: &Datacenter, cluster: &str, who: &str, now: Timestamp) {
        let Some((namespace, name)) = cluster.split_once('/') else {
            return;
        };
        let goes = self.mirror.clusters.get(name).is_none_or(Seen::is_deleting);
        let just_lost = self.last_loss.is_some_and(|at| since(at, now) < KNOWLEDGE);
        if goes || just_lost {
            return;
        }
        let members = datacenter.etcd_members(&ObjectKey::new(namespace, name));
        let alive = members
            .iter()
            .filter(|member| self.machines.values().any(|record| record.name == **member))
            .count();
        if alive * 2 <= members.len() {
            let what = format!(
                "without {who}, {alive} of {} members of etcd are alive",
                members.len()
            );
            self.violate(Rule::QuorumKept, what);
        }
    }

    /// Takes in what the server's watches say.
    fn catch_up(&mut self, who: &str, now: Timestamp) {
        for step in self.mirror.catch_up() {
            match &step {
                Step::Machine { old, new } => {
                    self.machine_changed(old.as_ref(), new.as_ref(), who, now);
                }
                Step::Infra { old, new } => self.infra_changed(old.as_ref(), new.as_ref()),
                Step::Deployment(seen) => {
                    let replicas = seen.spec.replicas.unwrap_or(1);
                    let wanted = self.workers.entry(seen.metadata.name.clone());
                    wanted.or_default().note(now, replicas);
                }
                Step::ControlPlane(seen) => {
                    let replicas = seen.spec.replicas.unwrap_or(1);
                    let wanted = self.control_planes.entry(seen.metadata.name.clone());
                    wanted.or_default().note(now, replicas);
                }
                Step::Address { old, new } => self.address_changed(old.as_ref(), new.as_ref()),
            }
        }
    }

    fn infra_changed(&mut self, old: Option<&Seen>, new: Option<&Seen>) {
        if let (Some(old), None) = (old, new) {
            let left = self
                .machines
                .values()
                .find(|record| record.mark == old.metadata.uid);
            if let Some(record) = left {
                let what = format!(
                    "{} went, and {} is still there",
                    old.metadata.name,
                    provider_id(record)
                );
                self.violate(Rule::NoLeakedMachine, what);
            }
        }
        let Some(new) = new else { return };
        let Some(id) = &new.spec.provider_id else {
            return;
        };
        if let Some(before) = old.and_then(|old| old.spec.provider_id.as_ref())
            && before != id
        {
            let what = format!("{} was {before} and became {id}", new.metadata.name);
            self.violate(Rule::NoDuplicateIdentity, what);
        }
        let twin = self.mirror.infra.values().find(|other| {
            other.metadata.uid != new.metadata.uid && other.spec.provider_id.as_ref() == Some(id)
        });
        if let Some(twin) = twin {
            let what = format!(
                "{} and {} are both {id}",
                twin.metadata.name, new.metadata.name
            );
            self.violate(Rule::NoDuplicateIdentity, what);
        }
    }

    fn address_changed(&mut self, old: Option<&Seen>, new: Option<&Seen>) {
        match (old, new) {
            (None, Some(new)) => {
                let twin = self.mirror.addresses.values().find(|other| {
                    other.metadata.uid != new.metadata.uid && other.spec.address == new.spec.address
                });
                if let Some(twin) = twin {
                    let what = format!(
                        "{} and {} both have {}",
                        twin.metadata.name,
                        new.metadata.name,
                        new.spec.address.as_deref().unwrap_or_default()
                    );
                    self.violate(Rule::NoDuplicateAddress, what);
                }
            }
            (Some(old), None) => {
                // Claims are named after the infrastructure machine, as Machines are.
                let held = self
                    .machines
                    .values()
                    .find(|record| record.name == old.metadata.name);
                if let Some(record) = held {
                    let what = format!(
                        "the address of {} was given back while {} runs",
                        record.name,
                        provider_id(record)
                    );
                    self.violate(Rule::NoDuplicateAddress, what);
                }
            }
            _ => {}
        }
    }

    fn machine_changed(
        &mut self,
        old: Option<&Seen>,
        new: Option<&Seen>,
        who: &str,
        now: Timestamp,
    ) {
        let Some(new) = new else { return };
        let made = old.is_none();
        if old.is_some_and(Seen::is_available) && !new.is_available() && !new.is_deleting() {
            self.last_failure = Some(now);
        }
        let condemned = new.is_deleting() && !old.is_some_and(Seen::is_deleting);
        if made && let Some(deployment) = new.label(labels::DEPLOYMENT_NAME) {
            self.surge(deployment, new, now);
        } else if made && new.label(labels::CONTROL_PLANE).is_some() {
            self.control_plane_surge(new, now);
        }
        let by_user = who == "user" || self.deleted_by_user.contains_key(&new.metadata.name);
        if !condemned || by_user {
            return;
        }
        let cluster = new.label(labels::CLUSTER_NAME).unwrap_or_default();
        let goes = self
            .mirror
            .clusters
            .get(cluster)
            .is_none_or(Seen::is_deleting);
        if goes {
            return;
        }
        if new.label(labels::CONTROL_PLANE).is_some() {
            self.control_plane_machine_goes(new, now);
        } else if let Some(deployment) = new.label(labels::DEPLOYMENT_NAME) {
            self.availability(deployment, old, new, now);
        }
    }

    fn control_plane_machine_goes(&mut self, machine: &Seen, now: Timestamp) {
        let Some(owner) = machine.controller() else {
            return;
        };
        let Some(control_plane) = self.mirror.control_planes.get(owner) else {
            return;
        };
        if control_plane.is_deleting() {
            return;
        }
        let least = self
            .control_planes
            .get(owner)
            .and_then(|wanted| wanted.recent(now).min())
            .unwrap_or(1);
        let unseen = self
            .deleted_by_user
            .values()
            .any(|at| since(*at, now) < KNOWLEDGE);
        let just_lost = self.last_loss.is_some_and(|at| since(at, now) < KNOWLEDGE);
        let others: Vec<&Seen> = self
            .mirror
            .machines
            .values()
            .filter(|other| {
                other.label(labels::CONTROL_PLANE).is_some()
                    && other.controller() == Some(owner)
                    && other.metadata.uid != machine.metadata.uid
            })
            .collect();
        let left = others.iter().filter(|other| !other.is_deleting()).count();
        let going = others.iter().find(|other| other.is_deleting());
        if let Some(going) = going
            && !unseen
        {
            let what = format!(
                "{} was deleted while {} still goes",
                machine.metadata.name, going.metadata.name
            );
            self.violate(Rule::OneControlPlaneMachineAtATime, what);
        } else if i64::try_from(left).unwrap_or(i64::MAX) < least && !unseen && !just_lost {
            let what = format!(
                "{} was deleted, which leaves {left} of {least}",
                machine.metadata.name
            );
            self.violate(Rule::OneControlPlaneMachineAtATime, what);
        }
    }

    /// Before its control plane is begun a cluster has one machine of it, later one more than it is
    /// to have at most.
    fn control_plane_surge(&mut self, machine: &Seen, now: Timestamp) {
        let Some(owner) = machine.controller() else {
            return;
        };
        if self.is_late(now) {
            return;
        }
        let mates = self.mirror.machines.values().filter(|other| {
            other.label(labels::CONTROL_PLANE).is_some()
                && other.controller() == Some(owner)
                && !other.is_deleting()
        });
        let live = i64::try_from(mates.count()).unwrap_or(i64::MAX);
        let wanted = self.control_planes.get(owner);
        let cluster = machine.label(labels::CLUSTER_NAME).unwrap_or_default();
        let cluster = format!("default/{cluster}");
        let most = match self.begun.contains(&cluster) {
            true => {
                wanted
                    .and_then(|wanted| wanted.recent(now).max())
                    .unwrap_or(1)
                    + 1
            }
            false => 1,
        };
        if live > most {
            let what = format!(
                "with {} there are {live} machines of {owner}, of at most {most}",
                machine.metadata.name
            );
            self.violate(Rule::SurgeBound, what);
        }
    }

    fn of_deployment(&self, deployment: &str) -> impl Iterator<Item = &Seen> + '_ {
        let deployment = deployment.to_owned();
        self.mirror
            .machines
            .values()
            .filter(move |seen| seen.label(labels::DEPLOYMENT_NAME) == Some(&deployment))
    }

    fn surge(&mut self, deployment: &str, machine: &Seen, now: Timestamp) {
        if self.is_late(now) {
            return;
        }
        let live = self
            .of_deployment(deployment)
            .filter(|seen| !seen.is_deleting())
            .count();
        let (surge, _) = self.mirror.bounds(deployment);
        let most = self
            .workers
            .get(deployment)
            .and_then(|wanted| wanted.recent(now).max())
            .unwrap_or_default()
            + surge;
        if i64::try_from(live).unwrap_or(i64::MAX) > most {
            let what = format!(
                "with {} there are {live} machines of {deployment}, of at most {most}",
                machine.metadata.name
            );
            self.violate(Rule::SurgeBound, what);
        }
    }

    fn availability(
        &mut self,
        deployment: &str,
        old: Option<&Seen>,
        machine: &Seen,
        now: Timestamp,
    ) {
        // Only a machine that was available takes availability away; who decided so may not know
        // yet of another one that failed.
        let failure = self
            .last_failure
            .is_some_and(|at| since(at, now) < KNOWLEDGE);
        // One that became available while it was being deleted was not counted on.
        let just_became = old
            .and_then(Seen::available_since)
            .is_some_and(|at| since(at, now) < JUST);
        if self.disturbed || failure || just_became || !old.is_some_and(Seen::is_available) {
            return;
        }
        let available = self
            .of_deployment(deployment)
            .filter(|seen| !seen.is_deleting() && seen.is_available())
            .count();
        let (_, unavailable) = self.mirror.bounds(deployment);
        let least = self
            .workers
            .get(deployment)
            .and_then(|wanted| wanted.recent(now).min())
            .unwrap_or_default()
            - unavailable;
        if i64::try_from(available).unwrap_or(i64::MAX) < least {
            let what = format!(
                "without {} there are {available} available machines of {deployment}, of at least {least}",
                machine.metadata.name
            );
            self.violate(Rule::AvailabilityBound, what);
        }
    }
}

fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}

fn provider_id(record: &MachineRecord) -> String {
    format!("reference://{}/{}", record.number, record.mark)
}
