//! One machine as planners of many see it: a small `Copy` row whose names and messages are
//! interned.
//!
//! Decides what of a Machine matters to its owners. Never decides anything about it: rows are
//! counted by a [`Tally`](super::tally::Tally) and read by planners.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    api::{Condition, ConditionStatus, MachineSpec, MachineStatus, Time, annotations, labels},
    contract::Metadata,
};

/// An interned name of a machine; only the table that made it knows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(pub(super) u32);

/// An interned text: a message, a version, a name of a set. The empty text is [`Text::EMPTY`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Text(pub(super) u32);

impl Text {
    /// The empty text, the same in every table.
    pub const EMPTY: Self = Self(0);
    /// No text of any table.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// Texts and the numbers that stand for them. The same text always has the same number.
#[derive(Clone, Debug)]
pub struct Symbols {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32, BuildHasherDefault<DefaultHasher>>,
}

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Self {
            texts: Vec::new(),
            numbers: HashMap::default(),
        };
        symbols.intern("");
        symbols
    }
}

impl Symbols {
    /// The symbol of a text, made when the text is new.
    pub fn intern(&mut self, text: &str) -> Text {
        if let Some(number) = self.numbers.get(text) {
            return Text(*number);
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        Text(number)
    }

    /// The symbol of a name.
    pub fn intern_name(&mut self, name: &str) -> Name {
        Name(self.intern(name).0)
    }

    /// The symbol of a name, when it is known.
    #[must_use]
    pub fn find_name(&self, name: &str) -> Option<Name> {
        self.numbers.get(name).copied().map(Name)
    }

    /// The text of a symbol; empty for a symbol of another table.
    #[must_use]
    pub fn text(&self, symbol: Text) -> &str {
        self.texts.get(symbol.0 as usize).map_or("", |text| text)
    }

    /// The name of a symbol; empty for a symbol of another table.
    #[must_use]
    pub fn name(&self, symbol: Name) -> &str {
        self.text(Text(symbol.0))
    }

    /// The symbol of a text, when it is known.
    pub(super) fn find(&self, text: &str) -> Option<Text> {
        self.numbers.get(text).copied().map(Text)
    }

    pub(super) fn shared(&self, symbol: Name) -> Arc<str> {
        self.texts
            .get(symbol.0 as usize)
            .map_or_else(|| Arc::from(""), Arc::clone)
    }

    /// How many texts there are, the empty one included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is no text beside the empty one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.len() <= 1
    }
}

impl PartialEq for Symbols {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Serialize for Symbols {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.texts.iter().map(|text| &**text))
    }
}

impl<'de> Deserialize<'de> for Symbols {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let mut symbols = Self::default();
        for text in &texts {
            symbols.intern(text);
        }
        if symbols.texts.len() == texts.len() {
            Ok(symbols)
        } else {
            Err(serde::de::Error::custom(
                "a symbol table begins with the empty text and holds each text once",
            ))
        }
    }
}

/// Status of a condition, or that there is none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum Reported {
    /// Nobody reports the condition.
    #[default]
    Absent,
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Somebody says that it is not known.
    Unknown,
}

impl From<Option<&Condition>> for Reported {
    fn from(condition: Option<&Condition>) -> Self {
        match condition.map(|condition| condition.status) {
            None => Self::Absent,
            Some(ConditionStatus::True) => Self::True,
            Some(ConditionStatus::False) => Self::False,
            Some(ConditionStatus::Unknown) => Self::Unknown,
        }
    }
}

/// A condition in a row: whether it holds and the message, interned.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Observed {
    /// Whether it holds.
    pub status: Reported,
    /// Its message.
    pub message: Text,
}

/// What an owner does about an unhealthy machine: the reason of condition `OwnerRemediated`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum Remediation {
    /// It is deleted.
    MachineDeleting,
    /// It has to wait.
    RemediationDeferred,
    /// Nothing will be done.
    CannotBeRemediated,
    /// Nothing has been decided, or something that this library does not know.
    #[default]
    Other,
}

impl Remediation {
    fn of(reason: &str) -> Self {
        match reason {
            "MachineDeleting" => Self::MachineDeleting,
            "RemediationDeferred" => Self::RemediationDeferred,
            "CannotBeRemediated" => Self::CannotBeRemediated,
            _ => Self::Other,
        }
    }

    /// The reason as it stands in an object.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::MachineDeleting => "MachineDeleting",
            Self::RemediationDeferred => "RemediationDeferred",
            Self::CannotBeRemediated => "CannotBeRemediated",
            Self::Other => "WaitingForRemediation",
        }
    }
}

/// What delays the drain of a machine's node, as the machine's `Deleting` condition tells.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Delays(pub(super) u8);

impl Delays {
    /// The words of messages for each cause, and what a message says when it applies.
    pub(super) const CAUSES: [(&'static str, &'static str); 4] = [
        (
            "PodDisruptionBudgets",
            "cannot evict pod as it would violate the pod's disruption budget.",
        ),
        (
            "Pods not terminating",
            "deletionTimestamp set, but still not removed from the Node",
        ),
        ("Pod eviction errors", "failed to evict Pod"),
        ("Pods not completed yet", "waiting for completion"),
    ];

    fn named_in(message: &str) -> Self {
        let mut delays = 0;
        for (index, (_, words)) in Self::CAUSES.iter().enumerate() {
            if message.contains(words) {
                delays |= 1 << index;
            }
        }
        Self(delays)
    }

    pub(super) fn has(self, cause: usize) -> bool {
        self.0 & (1 << cause) != 0
    }

    /// Those of `counts`, a number a cause, whose cause applies.
    pub(super) fn of(
        self,
        counts: &mut [u32; Self::CAUSES.len()],
    ) -> impl Iterator<Item = &mut u32> {
        let applies = move |(cause, count)| self.has(cause).then_some(count);
        counts.iter_mut().enumerate().filter_map(applies)
    }
}

impl fmt::Debug for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = Self::CAUSES.iter().enumerate();
        f.debug_list()
            .entries(
                causes
                    .filter(|(i, _)| self.has(*i))
                    .map(|(_, (cause, _))| cause),
            )
            .finish()
    }
}

/// The facts about one machine that its owners decide by. Times are in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRow {
    /// Name of the Machine.
    pub name: Name,
    /// Name of the MachineSet that controls it; empty when none does.
    pub set: Text,
    /// Kubernetes version that it runs, else the one that it should run.
    pub version: Text,
    /// `metadata.creationTimestamp`.
    pub created: i64,
    /// `metadata.deletionTimestamp`.
    pub deleting: Option<i64>,
    /// When the drain of its node began.
    pub drain_started: Option<i64>,
    /// What delays the drain, while it drains.
    pub delays: Delays,
    /// Condition `Ready`.
    pub ready: Observed,
    /// Condition `UpToDate`.
    pub up_to_date: Observed,
    /// Condition `OwnerRemediated`.
    pub owner_remediated: Observed,
    /// What is done about the machine, as the reason of `OwnerRemediated` says.
    pub remediation: Remediation,
    /// Condition `HealthCheckSucceeded`.
    pub health_check: Reported,
    /// Condition `Available` holds.
    pub available: bool,
    /// Condition `NodeHealthy` does not hold (Unknown counts as healthy).
    pub node_unhealthy: bool,
    /// It has a node.
    pub has_node: bool,
    /// It belongs to the control plane.
    pub control_plane: bool,
    /// Somebody wants it to go first.
    pub delete_first: bool,
    /// Somebody wants it to be remediated first.
    pub remediate_first: bool,
    /// It is being updated in place.
    pub updating: bool,
    /// It was moved here and the owner has not counted it yet.
    pub pending_acknowledge: bool,
    /// Fingerprint of the fields that its owner keeps equal to the template's.
    pub propagated: u64,
}

/// Seconds since 1970 of a time on the wire.
pub(super) fn seconds(time: Time) -> i64 {
    time.timestamp().as_second()
}

impl MachineRow {
    /// The row of a Machine. `propagated` is a [`fingerprint`] of what its owner keeps equal.
    pub fn of(
        meta: &Metadata,
        spec: &MachineSpec,
        status: &MachineStatus,
        propagated: u64,
        symbols: &mut Symbols,
    ) -> Self {
        let created = seconds(meta.creation_timestamp);
        let mut row = Self::named(symbols.intern_name(&meta.name), created);
        row.deleting = meta.deletion_timestamp.map(seconds);
        row.set = match meta.controller() {
            Some(owner) if owner.kind == "MachineSet" => symbols.intern(&owner.name),
            _ => Text::EMPTY,
        };
        row.propagated = propagated;
        row.control_plane = meta.labels.contains_key(labels::CONTROL_PLANE);
        row.delete_first = meta.annotations.contains_key(annotations::DELETE_MACHINE);
        row.remediate_first = meta
            .annotations
            .contains_key(annotations::REMEDIATE_MACHINE);
        row.updating = meta
            .annotations
            .contains_key(annotations::UPDATE_IN_PROGRESS)
            || update_pending(&meta.annotations);
        row.pending_acknowledge = meta
            .annotations
            .contains_key(annotations::PENDING_ACKNOWLEDGE_MOVE);

        let kubelet = status
            .node_info
            .as_ref()
            .map_or("", |info| info.kubelet_version.as_str());
        let version = if kubelet.is_empty() {
            spec.version.as_deref().unwrap_or_default()
        } else {
            kubelet
        };
        row.version = symbols.intern(version);
        row.has_node = status.node_ref.is_some();

        for condition in &status.conditions {
            let status_of = Reported::from(Some(condition));
            match condition.type_.as_str() {
                "Ready" => row.ready = observe(condition, symbols),
                "UpToDate" => row.up_to_date = observe(condition, symbols),
                "OwnerRemediated" => {
                    row.owner_remediated = observe(condition, symbols);
                    row.remediation = Remediation::of(&condition.reason);
                }
                "HealthCheckSucceeded" => row.health_check = status_of,
                "Available" => row.available = status_of == Reported::True,
                "NodeHealthy" => row.node_unhealthy = status_of == Reported::False,
                "Deleting" if condition.reason == "DrainingNode" && status_of == Reported::True => {
                    row.delays = Delays::named_in(&condition.message);
                }
                _ => {}
            }
        }
        row.drain_started = status
            .deletion
            .node_drain_start_time
            .filter(|time| !time.is_unset())
            .map(seconds);
        row
    }

    /// The row of a machine of which only name and time of creation (seconds) are known.
    #[must_use]
    pub fn named(name: Name, created: i64) -> Self {
        Self {
            name,
            set: Text::EMPTY,
            version: Text::EMPTY,
            created,
            deleting: None,
            drain_started: None,
            delays: Delays::default(),
            ready: Observed::default(),
            up_to_date: Observed::default(),
            owner_remediated: Observed::default(),
            remediation: Remediation::Other,
            health_check: Reported::Absent,
            available: false,
            node_unhealthy: false,
            has_node: false,
            control_plane: false,
            delete_first: false,
            remediate_first: false,
            updating: false,
            pending_acknowledge: false,
            propagated: 0,
        }
    }

    /// Whether it counts as healthy when machines to delete are chosen.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.has_node && !self.node_unhealthy && self.health_check != Reported::False
    }

    /// Whether it counts as available: it is, and it is not being updated in place.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.available && !self.updating
    }

    /// Whether its health check failed.
    #[must_use]
    pub fn is_unhealthy(&self) -> bool {
        self.health_check == Reported::False
    }

    /// Whether its health check failed and its owner is to remediate it.
    #[must_use]
    pub fn needs_remediation(&self) -> bool {
        self.is_unhealthy() && self.owner_remediated.status == Reported::False
    }

    /// The same row in another table.
    #[must_use]
    pub fn translated(mut self, from: &Symbols, to: &mut Symbols) -> Self {
        self.name = to.intern_name(from.name(self.name));
        for text in [
            &mut self.set,
            &mut self.version,
            &mut self.ready.message,
            &mut self.up_to_date.message,
            &mut self.owner_remediated.message,
        ] {
            *text = to.intern(from.text(*text));
        }
        self
    }
}

fn observe(condition: &Condition, symbols: &mut Symbols) -> Observed {
    Observed {
        status: Reported::from(Some(condition)),
        message: symbols.intern(&condition.message),
    }
}

fn update_pending(annotations: &BTreeMap<String, String>) -> bool {
    annotations
        .get(annotations::PENDING_HOOKS)
        .is_some_and(|hooks| hooks.split(',').any(|hook| hook == "UpdateMachine"))
}

/// A hash of anything that can be written down, the same in every process and version.
///
/// Two values with equal JSON have equal fingerprints; used to see that nothing changed.
#[must_use]
pub fn fingerprint<T: Serialize + ?Sized>(value: &T) -> u64 {
    struct Fnv(u64);
    impl std::io::Write for Fnv {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    // Maps with keys that are no strings cannot be written; what was written before still counts.
    let _ = serde_json::to_writer(&mut hash, value);
    hash.0
}
