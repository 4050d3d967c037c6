//! What all parts of one run share: time, faults, rules, the trace.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use capi_core::{
    clock::Clock,
    embedded::ApiServer,
    testing::faults::{Fault, Faults},
};
use futures::FutureExt as _;
use http::Method;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tower::Service as _;

use super::story::{CLUSTER, CORE, IPAM};

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// A virtual machine exists that no ProxmoxMachine accounts for.
    NoLeakedMachine,
    /// Somebody else's virtual machine is as it was.
    ForeignUntouched,
    /// Two virtual machines have the same UUID, or two running ones the same address.
    NoDuplicateIdentity,
    /// Two claims have the same address.
    NoDuplicateAddress,
    /// etcd never loses its quorum, nor a member that it needs, by a manager.
    QuorumKept,
    /// While a control plane machine goes, no other one is deleted.
    OneControlPlaneMachineAtATime,
    /// Once faults end, everything becomes as it was asked for.
    Converges,
    /// Nothing is written when nothing changes.
    IdleWritesNothing,
    /// Nothing of ours is left of a deleted cluster.
    NothingLeft,
}

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
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// A fault of Proxmox VE or of Talos.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SiteFault {
    /// Proxmox VE answers with an error of its own, and does nothing.
    ProxmoxError,
    /// The virtual machine's configuration is locked.
    ProxmoxLocked,
    /// A proxy answers in its place.
    ProxmoxHtml,
    /// The connection breaks before the call is done.
    ProxmoxLost,
    /// The call is done; the connection breaks before the answer.
    ProxmoxReplyLost,
    /// The call takes seconds.
    ProxmoxSlow,
    /// The task that a call begins fails.
    ProxmoxTaskFails,
    /// The manager dies before a call of Proxmox VE.
    CrashBeforeCall,
    /// The manager dies when a call of Proxmox VE is done, before it sees the answer.
    CrashAfterCall,
    /// The machine API is not available.
    TalosUnavailable,
    /// A call of the machine API is done; its answer is lost.
    TalosReplyLost,
    /// A call of the machine API is never answered.
    TalosHangs,
    /// A call of the machine API takes seconds.
    TalosSlow,
    /// A virtual machine vanishes.
    MachineLost,
}

impl SiteFault {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::ProxmoxError,
        Self::ProxmoxLocked,
        Self::ProxmoxHtml,
        Self::ProxmoxLost,
        Self::ProxmoxReplyLost,
        Self::ProxmoxSlow,
        Self::ProxmoxTaskFails,
        Self::CrashBeforeCall,
        Self::CrashAfterCall,
        Self::TalosUnavailable,
        Self::TalosReplyLost,
        Self::TalosHangs,
        Self::TalosSlow,
        Self::MachineLost,
    ];
    pub(super) const OF_WRITES: [Self; 9] = [
        Self::ProxmoxError,
        Self::ProxmoxLocked,
        Self::ProxmoxHtml,
        Self::ProxmoxLost,
        Self::ProxmoxReplyLost,
        Self::ProxmoxSlow,
        Self::ProxmoxTaskFails,
        Self::CrashBeforeCall,
        Self::CrashAfterCall,
    ];
    pub(super) const OF_READS: [Self; 4] = [
        Self::ProxmoxError,
        Self::ProxmoxHtml,
        Self::ProxmoxLost,
        Self::ProxmoxSlow,
    ];
    pub(super) const OF_TALOS: [Self; 4] = [
        Self::TalosUnavailable,
        Self::TalosReplyLost,
        Self::TalosHangs,
        Self::TalosSlow,
    ];
}

impl fmt::Display for SiteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[derive(Default)]
struct Told {
    hash: u64,
    lines: Option<Vec<String>>,
    actions: BTreeMap<&'static str, u64>,
    site_faults: BTreeMap<SiteFault, u64>,
    writes: u64,
    violation: Option<Violation>,
}

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) faults: Faults,
    server: ApiServer,
    epoch: Timestamp,
    /// Of a thousand calls of Proxmox VE or Talos.
    per_mille: u64,
    told: Mutex<Told>,
}

impl World {
    pub(super) fn new(
        clock: Clock,
        faults: Faults,
        server: &ApiServer,
        keep: bool,
        per_mille: u64,
    ) -> Self {
        Self {
            epoch: clock.now(),
            clock,
            faults,
            server: server.clone(),
            per_mille,
            told: Mutex::new(Told {
                hash: 0xcbf2_9ce4_8422_2325,
                lines: keep.then(Vec::new),
                ..Told::default()
            }),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn trace(&self, line: &str) {
        let passed = self.clock.now().duration_since(self.epoch).as_millis();
        let line = format!("{:>9}.{:03} {line}", passed / 1000, passed % 1000);
        let mut told = self.told();
        for byte in line.bytes().chain([b'\n']) {
            told.hash = (told.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(lines) = &mut told.lines {
            lines.push(line);
        }
    }

    pub(super) fn traced(&self) -> (u64, Vec<String>) {
        let told = self.told();
        (told.hash, told.lines.clone().unwrap_or_default())
    }

    pub(super) fn act(&self, action: &'static str, what: &str) {
        self.trace(&format!("user {action} {what}"));
        *self.told().actions.entry(action).or_default() += 1;
    }

    pub(super) fn actions(&self) -> BTreeMap<&'static str, u64> {
        self.told().actions.clone()
    }

    pub(super) fn site_faults(&self) -> BTreeMap<SiteFault, u64> {
        self.told().site_faults.clone()
    }

    pub(super) fn writes(&self) -> u64 {
        self.told().writes
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.told().violation.clone()
    }

    /// Notes a broken rule; the first one counts.
    pub(super) fn violate(&self, rule: Rule, what: impl Into<String>) {
        let what = what.into();
        self.trace(&format!("broken {rule:?}: {what}"));
        self.told()
            .violation
            .get_or_insert(Violation { rule, what });
    }

    pub(super) fn note(&self, fault: SiteFault, what: &str) {
        self.trace(&format!("fault {fault} {what}"));
        *self.told().site_faults.entry(fault).or_default() += 1;
    }

    pub(super) fn note_core(&self, fault: Fault, what: &str) {
        self.faults.note(fault);
        self.trace(&format!("fault {fault} {what}"));
    }

    /// The fault that a call of the datacenter suffers now, if it does.
    pub(super) fn draw(&self, kinds: &[SiteFault]) -> Option<SiteFault> {
        if !self.faults.are_active() || self.faults.below(1000) >= self.per_mille * 2 {
            return None;
        }
        let index = usize::try_from(self.faults.below(kinds.len() as u64)).unwrap_or_default();
        kinds.get(index).copied()
    }

    pub(super) fn within(&self, longest: Duration) -> Duration {
        self.faults.within(longest)
    }

    /// Takes in a request that was done (status code 0: that a fault concerns).
    pub(super) fn request(&self, who: &str, method: &Method, path: &str, code: u16) {
        let changes = *method != Method::GET;
        if changes && !(path.contains("/leases") && code == 200) {
            self.trace(&format!("{who} {method} {path} {code}"));
        }
        if !changes || !(200..300).contains(&code) || who == "user" {
            return;
        }
        if !path.contains("/events") && !path.contains("/leases") {
            self.told().writes += 1;
        }
        if *method == Method::DELETE && path.starts_with(CORE) && path.contains("/machines/") {
            self.machine_goes(path.rsplit('/').next().unwrap_or_default());
        }
        if *method == Method::POST && path.ends_with("/ipaddresses") {
            self.addresses_differ();
        }
    }

    /// What the server itself says, at once.
    pub(super) fn read(&self, path: &str) -> Option<Value> {
        let body = http_body_util::Full::new(bytes::Bytes::new());
        let request = http::Request::get(path).body(body).ok()?;
        let Ok(response) = self.server.service().call(request).now_or_never()?;
        if !response.status().is_success() {
            return None;
        }
        let body = response.into_body().collect().now_or_never()?.ok()?;
        serde_json::from_slice(&body.to_bytes()).ok()
    }

    pub(super) fn items(&self, path: &str) -> Vec<Value> {
        let found = self.read(path).unwrap_or_default();
        found["items"].as_array().cloned().unwrap_or_default()
    }

    /// Whether the cluster is to live.
    pub(super) fn cluster_lives(&self) -> bool {
        self.read(CLUSTER)
            .is_some_and(|cluster| cluster["metadata"]["deletionTimestamp"].is_null())
    }

    fn machine_goes(&self, name: &str) {
        if !self.cluster_lives() {
            return;
        }
        let machines = self.items(&format!("{CORE}/machines"));
        let named = |machine: &&Value| machine["metadata"]["name"] == name;
        if !machines.iter().find(named).is_some_and(is_control_plane) {
            return;
        }
        let other = machines.iter().filter(|machine| is_control_plane(machine));
        let other = other
            .filter(|machine| !named(machine))
            .find(|machine| machine["metadata"]["deletionTimestamp"].is_string());
        if let Some(other) = other {
            let other = &other["metadata"]["name"];
            let what = format!("{name} was deleted while {other} still goes");
            self.violate(Rule::OneControlPlaneMachineAtATime, what);
        }
    }

    fn addresses_differ(&self) {
        let mut seen = BTreeSet::new();
        for address in self.items(&format!("{IPAM}/ipaddresses")) {
            let text = address["spec"]["address"].to_string();
            if !seen.insert(text.clone()) {
                let what = format!("{text} was given to {} too", address["metadata"]["name"]);
                self.violate(Rule::NoDuplicateAddress, what);
            }
        }
    }

    /// Lets the manager die.
    pub(super) fn crash(&self, who: &Arc<str>) {
        self.faults.crash(who);
    }
}

pub(super) fn is_control_plane(object: &Value) -> bool {
    object["metadata"]["labels"]
        .get(capi_core::api::labels::CONTROL_PLANE)
        .is_some()
}
