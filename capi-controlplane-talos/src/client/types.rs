//! Answers of the machine API in terms of this crate, apart from their form on the wire.

use std::fmt;

use super::wire;

/// Version and platform of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TalosVersion {
    /// Version with its `v`, like `v1.13.2`.
    pub tag: String,
    /// Platform that Talos found itself on: `nocloud`, `metal`, `container`.
    pub platform: String,
    /// Mode of the platform: `cloud`, `metal`, `container`.
    pub mode: String,
    /// Whether roles of certificates are enforced.
    pub rbac: bool,
}

impl From<wire::Version> for TalosVersion {
    fn from(version: wire::Version) -> Self {
        let platform = version.platform.unwrap_or_default();
        Self {
            tag: version.version.unwrap_or_default().tag,
            platform: platform.name,
            mode: platform.mode,
            rbac: version.features.unwrap_or_default().rbac,
        }
    }
}

/// Health of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// The service has no health check, or it has not run yet.
    Unknown,
    /// It works.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// A service of a node, like `etcd` or `kubelet`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// Name.
    pub id: String,
    /// State in Talos' words: `Waiting`, `Preparing`, `Running`, `Finished`, `Failed`...
    pub state: String,
    /// Health.
    pub health: Health,
    /// Last message of the health check, else of the last event.
    pub message: String,
}

impl Service {
    /// Whether it runs and is not known to be unhealthy.
    #[must_use]
    pub fn works(&self) -> bool {
        self.state == "Running" && self.health != Health::Unhealthy
    }
}

impl From<wire::ServiceInfo> for Service {
    fn from(service: wire::ServiceInfo) -> Self {
        let health = service.health.unwrap_or_default();
        let last_event = service
            .events
            .unwrap_or_default()
            .events
            .pop()
            .unwrap_or_default();
        Self {
            id: service.id,
            state: service.state,
            message: if health.last_message.is_empty() {
                last_event.msg
            } else {
                health.last_message
            },
            health: match (health.unknown, health.healthy) {
                (true, _) => Health::Unknown,
                (false, true) => Health::Healthy,
                (false, false) => Health::Unhealthy,
            },
        }
    }
}

/// Id of an etcd member; shown in hexadecimal, as etcdctl and talosctl do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtcdMemberId(pub u64);

impl fmt::Display for EtcdMemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for EtcdMemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A member of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EtcdMember {
    /// Id.
    pub id: EtcdMemberId,
    /// Name, which is the node's host name; empty while the member has not started yet.
    pub hostname: String,
    /// URLs for other members.
    pub peer_urls: Vec<String>,
    /// URLs for clients.
    pub client_urls: Vec<String>,
    /// Not yet a voter.
    pub is_learner: bool,
}

impl EtcdMember {
    /// A member from what identifies it, without URLs; for planners and tests.
    #[must_use]
    pub fn new(id: u64, hostname: &str, is_learner: bool) -> Self {
        Self {
            id: EtcdMemberId(id),
            hostname: hostname.to_owned(),
            peer_urls: Vec::new(),
            client_urls: Vec::new(),
            is_learner,
        }
    }
}

impl From<wire::EtcdMember> for EtcdMember {
    fn from(member: wire::EtcdMember) -> Self {
        Self {
            id: EtcdMemberId(member.id),
            hostname: member.hostname,
            peer_urls: member.peer_urls,
            client_urls: member.client_urls,
            is_learner: member.is_learner,
        }
    }
}

/// What an etcd member says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EtcdStatus {
    /// The member that answered.
    pub member_id: EtcdMemberId,
    /// The leader it knows; none without quorum.
    pub leader: Option<EtcdMemberId>,
    /// Not yet a voter.
    pub is_learner: bool,
    /// Size of its database in bytes.
    pub db_size: u64,
    /// Raft term and index.
    pub raft_term: u64,
    /// Raft index.
    pub raft_index: u64,
    /// Errors it reports about itself.
    pub errors: Vec<String>,
}

impl From<wire::EtcdMemberStatus> for EtcdStatus {
    fn from(status: wire::EtcdMemberStatus) -> Self {
        Self {
            member_id: EtcdMemberId(status.member_id),
            leader: (status.leader != 0).then_some(EtcdMemberId(status.leader)),
            is_learner: status.is_learner,
            db_size: u64::try_from(status.db_size).unwrap_or(0),
            raft_term: status.raft_term,
            raft_index: status.raft_index,
            errors: status.errors,
        }
    }
}

/// Kind of an alarm of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EtcdAlarmKind {
    /// The database is full.
    NoSpace,
    /// Members disagree about data.
    Corrupt,
}

/// An alarm that a member raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EtcdAlarm {
    /// The member.
    pub member_id: EtcdMemberId,
    /// Which alarm.
    pub kind: EtcdAlarmKind,
}

/// When an applied configuration takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApplyMode {
    /// The node decides.
    Auto,
    /// At once, and refused if that is not possible.
    NoReboot,
    /// At the next boot.
    Staged,
    /// At once and without being kept: undone after the timeout unless applied again.
    Try,
}

impl ApplyMode {
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Auto => 1,
            Self::NoReboot => 2,
            Self::Staged => 3,
            Self::Try => 4,
        }
    }

    fn from_number(number: i32) -> Option<Self> {
        [Self::Auto, Self::NoReboot, Self::Staged, Self::Try]
            .into_iter()
            .find(|mode| mode.number() == number)
    }
}

/// What a node did with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Warnings of its validation.
    pub warnings: Vec<String>,
    /// The mode it chose; `None` for one that is not known here (a reboot).
    pub mode: Option<ApplyMode>,
    /// Its words, or the difference if this was a dry run.
    pub details: String,
}

impl From<wire::ApplyConfiguration> for Applied {
    fn from(applied: wire::ApplyConfiguration) -> Self {
        Self {
            warnings: applied.warnings,
            mode: ApplyMode::from_number(applied.mode),
            details: applied.mode_details,
        }
    }
}

/// How a node reboots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PowerMode {
    /// Starts the new kernel from the old one.
    #[default]
    Kexec,
    /// Through the firmware.
    PowerCycle,
}

/// What a reset wipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetMode {
    /// System disk and user disks.
    #[default]
    All,
    /// The system disk.
    SystemDisk,
    /// The user disks.
    UserDisks,
}

/// Stage of a machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MachineStage {
    /// Not known, or newer than this crate.
    Unknown,
    /// Booting.
    Booting,
    /// Writing itself to the disk.
    Installing,
    /// Waiting for a configuration.
    Maintenance,
    /// Running.
    Running,
    /// Rebooting.
    Rebooting,
    /// Shutting down.
    ShuttingDown,
    /// Resetting.
    Resetting,
    /// Upgrading.
    Upgrading,
}

impl MachineStage {
    const ORDER: [Self; 9] = [
        Self::Unknown,
        Self::Booting,
        Self::Installing,
        Self::Maintenance,
        Self::Running,
        Self::Rebooting,
        Self::ShuttingDown,
        Self::Resetting,
        Self::Upgrading,
    ];

    pub(crate) fn from_number(number: i32) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::ORDER.get(index).copied())
            .unwrap_or(Self::Unknown)
    }

    #[cfg(feature = "simulator")]
    pub(crate) fn number(self) -> i32 {
        Self::ORDER
            .iter()
            .position(|stage| *stage == self)
            .map_or(0, |index| index as i32)
    }
}

/// Stage of a machine and what keeps it from being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineStatus {
    /// Stage.
    pub stage: MachineStage,
    /// Whether all conditions of the stage are met.
    pub ready: bool,
    /// Conditions that are not: name and reason.
    pub unmet: Vec<(String, String)>,
}

impl From<wire::MachineStatusSpec> for MachineStatus {
    fn from(spec: wire::MachineStatusSpec) -> Self {
        let status = spec.status.unwrap_or_default();
        Self {
            stage: MachineStage::from_number(spec.stage),
            ready: status.ready,
            unmet: status
                .unmet_conditions
                .into_iter()
                .map(|condition| (condition.name, condition.reason))
                .collect(),
        }
    }
}
