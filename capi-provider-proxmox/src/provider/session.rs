//! One datacenter as all machines of a provider share it: a client, one list of resources at a time, what is known of
//! machines on their way, how long things take there, and how many clones a storage bears.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use capi_core::provider::Waker;
use jiff::Timestamp;

use super::credentials::Credentials;
use crate::client::{Client, Error, Resource, ResourceKind, Upid};
use crate::scheduler::{NodeFacts, Placement, Request, TemplateFacts, Unplaceable, place};

/// Full clones that run at once from one template, before anything is learned.
const CLONES_AT_FIRST: usize = 3;
/// The most clones that run at once from one template.
const CLONES_AT_MOST: usize = 8;

/// Identities whose number turned out to belong to a stranger before anything was made: `read_identity` does not see
/// them, so that another number is reserved.
#[derive(Debug, Default)]
pub(super) struct LostNumbers(Mutex<BTreeSet<(String, u64)>>);

impl LostNumbers {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<(String, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, uuid: &str, vmid: u64) -> bool {
        self.lock().contains(&(uuid.to_owned(), vmid))
    }

    pub(super) fn add(&self, uuid: &str, vmid: u64) {
        self.lock().insert((uuid.to_owned(), vmid));
    }

    pub(super) fn forget(&self, uuid: &str) {
        self.lock().retain(|(lost, _)| lost != uuid);
    }
}

/// One datacenter.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) credentials: Credentials,
    pub(super) lost: Arc<LostNumbers>,
    snapshot: tokio::sync::Mutex<Option<Arc<Snapshot>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    machines: BTreeMap<String, Known>,
    memos: HashMap<String, Memo>,
    durations: HashMap<&'static str, Duration>,
    clones: HashMap<String, Limiter>,
    shared_templates: HashMap<u64, bool>,
}

/// Guests, nodes and storages at one time.
pub(super) struct Snapshot {
    taken: Timestamp,
    pub(super) rows: Vec<Resource>,
}

/// A machine of ours, by which nodes are chosen for the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Cluster and role.
    pub(super) group: String,
    pub(super) node: String,
    /// Bytes promised, until the datacenter counts them itself.
    pub(super) memory: u64,
    pub(super) vmid: u64,
}

/// Where a machine is on its way. Only saves calls: what is forgotten is looked up.
#[derive(Debug, Clone)]
pub(super) enum Memo {
    /// An identity was chosen in this process; nothing was made yet.
    Reserved {
        template: u64,
        template_node: String,
    },
    /// A clone runs.
    Cloning { upid: Option<Upid>, look: Look },
    /// The clone is complete, and off. `resumed` when this process did not see it being made.
    Cloned { resumed: bool },
    /// The virtual machine was switched on.
    Starting { upid: Option<Upid>, look: Look },
}

/// When to look next at something that takes long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    kind: &'static str,
    since: Timestamp,
    next: Timestamp,
    count: u32,
}

/// Looks at a clone, without anything learned: after so many milliseconds.
const CLONE: &str = "clone";
/// Looks at a guest that boots.
pub(super) const BOOT: &str = "boot";
/// Looks at the task that switches on.
pub(super) const START: &str = "start";

impl Session {
    pub(super) fn new(client: Client, credentials: Credentials, lost: Arc<LostNumbers>) -> Self {
        Self {
            client,
            credentials,
            lost,
            snapshot: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name of the datacenter that is the same for all who use it.
    pub(super) fn scope(&self) -> String {
        format!(
            "{}/vmid",
            self.credentials
                .urls
                .first()
                .map(String::as_str)
                .unwrap_or_default()
        )
    }

    /// The resources, not older than `age`. Whoever comes while they are being asked for waits for the same answer.
    pub(super) async fn snapshot(&self, age: Duration) -> Result<Arc<Snapshot>, Error> {
        let mut held = self.snapshot.lock().await;
        let now = self.client.clock().now();
        if let Some(snapshot) = held.as_ref() {
            let passed =
                Duration::try_from(now.duration_since(snapshot.taken)).unwrap_or(Duration::MAX);
            if passed <= age {
                return Ok(Arc::clone(snapshot));
            }
        }
        let rows = self.client.resources(ResourceKind::All).await?;
        let snapshot = Arc::new(Snapshot { taken: now, rows });
        *held = Some(Arc::clone(&snapshot));
        drop(held);
        let mut state = self.state();
        for known in state.machines.values_mut() {
            if snapshot
                .guest(known.vmid)
                .is_some_and(|row| row.maxmem.is_some() && row.lock.is_none())
            {
                known.memory = 0;
            }
        }
        Ok(snapshot)
    }

    pub(super) fn memo(&self, uuid: &str) -> Option<Memo> {
        self.state().memos.get(uuid).cloned()
    }

    pub(super) fn remember(&self, uuid: &str, memo: Memo) {
        self.state().memos.insert(uuid.to_owned(), memo);
    }

    /// What is known of the way of a machine is no longer sure, or no longer needed.
    pub(super) fn forget_way(&self, uuid: &str) {
        self.state().memos.remove(uuid);
    }

    pub(super) fn register(&self, uuid: &str, known: Known) {
        self.state()
            .machines
            .entry(uuid.to_owned())
            .or_insert(known);
    }

    pub(super) fn forget_machine(&self, uuid: &str) {
        let mut state = self.state();
        state.machines.remove(uuid);
        state.memos.remove(uuid);
        for limiter in state.clones.values_mut() {
            limiter.leave(uuid);
        }
    }

    /// A look at a clone, at a guest that boots, or at one that starts.
    pub(super) fn look(&self, kind: &'static str) -> Look {
        self.look_later(self.look_now(kind))
    }

    /// The same for what may have begun long ago: it is due at once.
    pub(super) fn look_now(&self, kind: &'static str) -> Look {
        let now = self.client.clock().now();
        Look {
            kind,
            since: now,
            next: now,
            count: 0,
        }
    }

    pub(super) fn look_at_clone(&self) -> Look {
        self.look(CLONE)
    }

    /// The same, after a look that found it unfinished.
    pub(super) fn look_later(&self, look: Look) -> Look {
        let learned = self.state().durations.get(look.kind).copied();
        let at = offset(look.kind, learned, look.count);
        let next = look.since.checked_add(at).unwrap_or(look.since);
        Look {
            next,
            count: look.count + 1,
            ..look
        }
    }

    /// How long until the next look; zero when it is due.
    pub(super) fn until(&self, look: &Look) -> Duration {
        Duration::try_from(look.next.duration_since(self.client.clock().now()))
            .unwrap_or(Duration::ZERO)
    }

    /// What a look tells about how long such a thing takes here.
    pub(super) fn learn(&self, look: &Look) {
        let took = Duration::try_from(self.client.clock().now().duration_since(look.since))
            .unwrap_or(Duration::ZERO);
        let mut state = self.state();
        let learned = match state.durations.get(look.kind) {
            // Found at the first look: it may have been done earlier.
            Some(learned) if look.count <= 1 => learned.mul_f64(0.95),
            Some(learned) => learned.mul_f64(0.5) + took.mul_f64(0.5),
            None => took,
        };
        state.durations.insert(look.kind, learned);
    }

    /// Whether a clone may begin now; otherwise `waker` is called when its turn comes.
    pub(super) fn may_clone(&self, key: &str, uuid: &str, waker: &Waker) -> bool {
        self.state()
            .clones
            .entry(key.to_owned())
            .or_default()
            .enter(uuid, waker)
    }

    /// A clone ended; `Some(true)`: the storage could not bear so many at once.
    pub(super) fn clone_ended(&self, uuid: &str, overload: Option<bool>) {
        for limiter in self.state().clones.values_mut() {
            limiter.finish(uuid, overload);
        }
    }

    pub(super) fn shared_template(&self, vmid: u64) -> Option<bool> {
        self.state().shared_templates.get(&vmid).copied()
    }

    pub(super) fn remember_shared_template(&self, vmid: u64, shared: bool) {
        self.state().shared_templates.insert(vmid, shared);
    }

    /// Places a machine and counts it at once, so that those that are placed at the same time see it.
    pub(super) fn place(
        &self,
        snapshot: &Snapshot,
        request: &Request,
        uuid: &str,
        group: &str,
    ) -> Result<Placement, Unplaceable> {
        let templates = self.template_facts(snapshot);
        let mut state = self.state();
        state.machines.remove(uuid);
        let placement = place(request, &node_facts(&state, snapshot, group), &templates)?;
        let known = Known {
            group: group.to_owned(),
            node: placement.node.clone(),
            memory: placement.memory,
            vmid: 0,
        };
        state.machines.insert(uuid.to_owned(), known);
        Ok(placement)
    }

    /// The number of a machine that was placed: from now on its memory is counted only until the datacenter counts it.
    pub(super) fn numbered(&self, uuid: &str, vmid: u64) {
        if let Some(known) = self.state().machines.get_mut(uuid) {
            known.vmid = vmid;
        }
    }

    /// The template of a node's own that fits, if any.
    pub(super) fn local_template(
        &self,
        snapshot: &Snapshot,
        request: &Request,
        node: &str,
    ) -> Option<u64> {
        let request = Request {
            memory_adjustment: 0,
            failure_domain: Some(node.to_owned()),
            ..request.clone()
        };
        let templates = self.template_facts(snapshot);
        let placed = place(
            &request,
            &node_facts(&self.state(), snapshot, ""),
            &templates,
        )
        .ok()?;
        (placed.template_node == node).then_some(placed.template)
    }

    pub(super) fn template_facts(&self, snapshot: &Snapshot) -> Vec<TemplateFacts> {
        let templates = snapshot
            .rows
            .iter()
            .filter(|row| row.template && row.kind == "qemu");
        templates
            .filter_map(|row| {
                let vmid = row.vmid?;
                Some(TemplateFacts {
                    vmid,
                    node: row.node.clone(),
                    tags: row.tags().collect::<BTreeSet<_>>(),
                    memory: row.maxmem.unwrap_or(0),
                    shared: self.shared_template(vmid),
                })
            })
            .collect()
    }
}

/// Nodes with what is promised on them, and how many machines of a group they have.
fn node_facts(state: &State, snapshot: &Snapshot, group: &str) -> Vec<NodeFacts> {
    let facts = |row: &Resource| {
        let guests = snapshot
            .rows
            .iter()
            .filter(|guest| guest.vmid.is_some() && guest.node == row.node && !guest.template);
        let ours = || {
            state
                .machines
                .values()
                .filter(|known| known.node == row.node)
        };
        NodeFacts {
            name: row.node.clone(),
            online: row.status == "online",
            memory: row.maxmem.unwrap_or(0),
            promised: guests.filter_map(|guest| guest.maxmem).sum::<u64>()
                + ours().map(|known| known.memory).sum::<u64>(),
            same_role: u32::try_from(ours().filter(|known| known.group == group).count())
                .unwrap_or(u32::MAX),
        }
    };
    snapshot
        .rows
        .iter()
        .filter(|row| row.kind == "node")
        .map(facts)
        .collect()
}

impl Snapshot {
    pub(super) fn guest(&self, vmid: u64) -> Option<&Resource> {
        self.rows
            .iter()
            .find(|row| row.vmid == Some(vmid) && matches!(row.kind.as_str(), "qemu" | "lxc"))
    }

    /// The storage for images that a node can use: a shared one before a local one.
    pub(super) fn image_storage(&self, node: &str) -> Option<&str> {
        let holds = |row: &&Resource| {
            row.kind == "storage"
                && row.node == node
                && row.status == "available"
                && row
                    .content
                    .split(',')
                    .any(|content| content.trim() == "iso")
        };
        let mut storages: Vec<&Resource> = self.rows.iter().filter(holds).collect();
        storages.sort_by_key(|row| (!row.shared, row.storage.clone()));
        storages.first().map(|row| row.storage.as_str())
    }
}

/// When to look for the `count`-th time, from the beginning. What was learned comes first; then ever longer waits.
fn offset(kind: &'static str, learned: Option<Duration>, count: u32) -> Duration {
    if let Some(learned) = learned {
        // At the usual time, then after an eighth, a quarter, half of it, ...
        let step = learned.mul_f64(0.125).max(Duration::from_millis(250));
        let later = step * (2u32.saturating_pow(count.min(12)) - 1);
        return learned + later.min(Duration::from_secs(5) * count);
    }
    let first: &[u64] = match kind {
        CLONE => &[1_000, 2_000, 4_000, 7_000],
        START => &[1_000, 2_000, 4_000],
        // No system is up with its agent before this.
        _ => &[3_000, 7_000, 10_000, 14_000, 20_000],
    };
    let index = usize::try_from(count).unwrap_or(usize::MAX);
    match (first.get(index), first.last()) {
        (Some(at), _) => Duration::from_millis(*at),
        (None, Some(last)) => {
            let beyond = u64::from(count) - first.len() as u64 + 1;
            Duration::from_millis(last + beyond * 5_000)
        }
        (None, None) => Duration::ZERO,
    }
}

/// How many clones run at once: one more after each that went well, half as many after a lock that timed out.
#[derive(Debug)]
struct Limiter {
    limit: usize,
    running: BTreeSet<String>,
    waiting: VecDeque<(String, Waker)>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            limit: CLONES_AT_FIRST,
            running: BTreeSet::new(),
            waiting: VecDeque::new(),
        }
    }
}

impl Limiter {
    fn enter(&mut self, uuid: &str, waker: &Waker) -> bool {
        if self.running.contains(uuid) {
            return true;
        }
        let position = self
            .waiting
            .iter()
            .position(|(waiting, _)| waiting == uuid)
            .unwrap_or(self.waiting.len());
        if self.running.len() + position < self.limit {
            self.waiting.retain(|(waiting, _)| waiting != uuid);
            self.running.insert(uuid.to_owned());
            return true;
        }
        match self.waiting.get_mut(position) {
            Some((_, known)) => *known = waker.clone(),
            None => self.waiting.push_back((uuid.to_owned(), waker.clone())),
        }
        false
    }

    fn finish(&mut self, uuid: &str, overload: Option<bool>) {
        if !self.running.remove(uuid) {
            return;
        }
        match overload {
            Some(true) => self.limit = (self.limit / 2).max(1),
            Some(false) => self.limit = (self.limit + 1).min(CLONES_AT_MOST),
            None => {}
        }
        self.wake();
    }

    fn leave(&mut self, uuid: &str) {
        self.waiting.retain(|(waiting, _)| waiting != uuid);
        if self.running.remove(uuid) {
            self.wake();
        }
    }

    fn wake(&self) {
        for (_, waker) in self
            .waiting
            .iter()
            .take(self.limit.saturating_sub(self.running.len()))
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn clones_queue_in_order_and_the_limit_follows_what_the_storage_bears() {
        let woken = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&woken);
        let waker = Waker::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let mut limiter = Limiter::default();
        let enter = |limiter: &mut Limiter, name: &str| limiter.enter(name, &waker);
        for name in ["a", "b", "c"] {
            assert!(enter(&mut limiter, name));
        }
        assert!(
            !enter(&mut limiter, "d") && !enter(&mut limiter, "e") && !enter(&mut limiter, "f")
        );
        limiter.finish("a", Some(false));
        assert_eq!((limiter.limit, woken.load(Ordering::Relaxed)), (4, 2));
        // Who waited longer comes first.
        assert!(!enter(&mut limiter, "f") && enter(&mut limiter, "e") && enter(&mut limiter, "d"));
        limiter.finish("b", Some(true));
        assert_eq!(limiter.limit, 2);
        assert!(!enter(&mut limiter, "f"));
        for name in ["c", "d", "e"] {
            limiter.leave(name);
        }
        assert!(enter(&mut limiter, "f"));
    }

    #[test]
    fn looks_come_at_the_usual_time_and_then_ever_later() {
        let millis = |kind, learned: Option<u64>, count| {
            offset(kind, learned.map(Duration::from_millis), count).as_millis()
        };
        assert_eq!(
            (0..6)
                .map(|count| millis(CLONE, None, count))
                .collect::<Vec<_>>(),
            [1_000, 2_000, 4_000, 7_000, 12_000, 17_000]
        );
        assert_eq!(
            (0..4)
                .map(|count| millis(BOOT, Some(8_000), count))
                .collect::<Vec<_>>(),
            [8_000, 9_000, 11_000, 15_000]
        );
        assert_eq!(millis(CLONE, Some(100_000), 10), 150_000);
    }
}
