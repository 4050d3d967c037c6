//! Messages of the Talos machine API, as far as they are used: field numbers as Talos speaks
//! them, unknown fields skipped.
//!
//! Every answer of `MachineService` is a list of one element per node ([`Answer`]).

/// The answer of a unary call of `MachineService`: one element per node that was asked.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer<T: prost::Message + Default + std::fmt::Debug> {
    #[prost(message, repeated, tag = "1")]
    pub(crate) messages: Vec<T>,
}

impl<T: prost::Message + Default + std::fmt::Debug> Answer<T> {
    /// The answer of one node.
    #[cfg(feature = "simulator")]
    pub(crate) fn of(message: T) -> Self {
        Self {
            messages: vec![message],
        }
    }
}

/// An element that names the node it came from.
pub(crate) trait FromNode: std::fmt::Debug {
    fn metadata(&self) -> Option<&Metadata>;
    #[cfg(feature = "simulator")]
    fn metadata_mut(&mut self) -> &mut Option<Metadata>;
}

// package common
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metadata {
    #[prost(string, tag = "1")]
    pub(crate) hostname: String,
    #[prost(string, tag = "2")]
    pub(crate) error: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) status: Option<RpcStatus>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Data {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) bytes: bytes::Bytes,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ContainerdInstance {
    #[prost(int32, tag = "1")]
    pub(crate) driver: i32,
    #[prost(int32, tag = "2")]
    pub(crate) namespace: i32,
}

// package google.rpc, google.protobuf
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}
#[cfg(feature = "simulator")]
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: bytes::Bytes,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Duration {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Empty {}

// package machine: the node
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VersionInfo {
    #[prost(string, tag = "1")]
    pub(crate) tag: String,
    #[prost(string, tag = "2")]
    pub(crate) sha: String,
    #[prost(string, tag = "3")]
    pub(crate) built: String,
    #[prost(string, tag = "4")]
    pub(crate) go_version: String,
    #[prost(string, tag = "5")]
    pub(crate) os: String,
    #[prost(string, tag = "6")]
    pub(crate) arch: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PlatformInfo {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) mode: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FeaturesInfo {
    #[prost(bool, tag = "1")]
    pub(crate) rbac: bool,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Version {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    pub(crate) version: Option<VersionInfo>,
    #[prost(message, optional, tag = "3")]
    pub(crate) platform: Option<PlatformInfo>,
    #[prost(message, optional, tag = "4")]
    pub(crate) features: Option<FeaturesInfo>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Hostname {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    pub(crate) hostname: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ServiceEvent {
    #[prost(string, tag = "1")]
    pub(crate) msg: String,
    #[prost(string, tag = "2")]
    pub(crate) state: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) ts: Option<Timestamp>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ServiceEvents {
    #[prost(message, repeated, tag = "1")]
    pub(crate) events: Vec<ServiceEvent>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ServiceHealth {
    #[prost(bool, tag = "1")]
    pub(crate) unknown: bool,
    #[prost(bool, tag = "2")]
    pub(crate) healthy: bool,
    #[prost(string, tag = "3")]
    pub(crate) last_message: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) last_change: Option<Timestamp>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ServiceInfo {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) state: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) events: Option<ServiceEvents>,
    #[prost(message, optional, tag = "4")]
    pub(crate) health: Option<ServiceHealth>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ServiceList {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) services: Vec<ServiceInfo>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ApplyConfigurationRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) data: bytes::Bytes,
    #[prost(int32, tag = "4")]
    pub(crate) mode: i32,
    #[prost(bool, tag = "5")]
    pub(crate) dry_run: bool,
    #[prost(message, optional, tag = "6")]
    pub(crate) try_mode_timeout: Option<Duration>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ApplyConfiguration {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) warnings: Vec<String>,
    #[prost(int32, tag = "3")]
    pub(crate) mode: i32,
    #[prost(string, tag = "4")]
    pub(crate) mode_details: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RebootRequest {
    #[prost(int32, tag = "1")]
    pub(crate) mode: i32,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Reboot {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    pub(crate) actor_id: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ShutdownRequest {
    #[prost(bool, tag = "1")]
    pub(crate) force: bool,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Shutdown {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    pub(crate) actor_id: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResetPartitionSpec {
    #[prost(string, tag = "1")]
    pub(crate) label: String,
    #[prost(bool, tag = "2")]
    pub(crate) wipe: bool,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResetRequest {
    #[prost(bool, tag = "1")]
    pub(crate) graceful: bool,
    #[prost(bool, tag = "2")]
    pub(crate) reboot: bool,
    #[prost(message, repeated, tag = "3")]
    pub(crate) system_partitions_to_wipe: Vec<ResetPartitionSpec>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) user_disks_to_wipe: Vec<String>,
    #[prost(int32, tag = "5")]
    pub(crate) mode: i32,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Reset {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    pub(crate) actor_id: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct UpgradeRequest {
    #[prost(string, tag = "1")]
    pub(crate) image: String,
    #[prost(bool, tag = "2")]
    pub(crate) preserve: bool,
    #[prost(bool, tag = "3")]
    pub(crate) stage: bool,
    #[prost(bool, tag = "4")]
    pub(crate) force: bool,
    #[prost(int32, tag = "5")]
    pub(crate) reboot_mode: i32,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Upgrade {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    pub(crate) ack: String,
    #[prost(string, tag = "3")]
    pub(crate) actor_id: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListRequest {
    #[prost(string, tag = "1")]
    pub(crate) root: String,
    #[prost(bool, tag = "2")]
    pub(crate) recurse: bool,
    #[prost(int32, tag = "3")]
    pub(crate) recursion_depth: i32,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FileInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(int64, tag = "3")]
    pub(crate) size: i64,
    #[prost(uint32, tag = "4")]
    pub(crate) mode: u32,
    #[prost(int64, tag = "5")]
    pub(crate) modified: i64,
    #[prost(bool, tag = "6")]
    pub(crate) is_dir: bool,
    #[prost(string, tag = "7")]
    pub(crate) error: String,
    #[prost(string, tag = "8")]
    pub(crate) link: String,
    #[prost(string, tag = "9")]
    pub(crate) relative_name: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReadRequest {
    #[prost(string, tag = "1")]
    pub(crate) path: String,
}
#[cfg(feature = "simulator")]
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EventsRequest {
    #[prost(int32, tag = "1")]
    pub(crate) tail_events: i32,
    #[prost(string, tag = "2")]
    pub(crate) tail_id: String,
    #[prost(int32, tag = "3")]
    pub(crate) tail_seconds: i32,
    #[prost(string, tag = "4")]
    pub(crate) with_actor_id: String,
}
#[cfg(feature = "simulator")]
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Event {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    pub(crate) data: Option<Any>,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(string, tag = "4")]
    pub(crate) actor_id: String,
}
#[cfg(feature = "simulator")]
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SequenceEvent {
    #[prost(string, tag = "1")]
    pub(crate) sequence: String,
    #[prost(int32, tag = "2")]
    pub(crate) action: i32,
}

// package machine: etcd
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BootstrapRequest {
    #[prost(bool, tag = "1")]
    pub(crate) recover_etcd: bool,
    #[prost(bool, tag = "2")]
    pub(crate) recover_skip_hash_check: bool,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Bootstrap {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdMemberListRequest {
    #[prost(bool, tag = "1")]
    pub(crate) query_local: bool,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdMember {
    #[prost(uint64, tag = "2")]
    pub(crate) id: u64,
    #[prost(string, tag = "3")]
    pub(crate) hostname: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) peer_urls: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) client_urls: Vec<String>,
    #[prost(bool, tag = "6")]
    pub(crate) is_learner: bool,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdMembers {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) legacy_members: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) members: Vec<EtcdMember>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdRemoveMemberByIdRequest {
    #[prost(uint64, tag = "1")]
    pub(crate) member_id: u64,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdRemoveMemberById {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdLeaveClusterRequest {}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdLeaveCluster {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdForfeitLeadershipRequest {}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdForfeitLeadership {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    pub(crate) member: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdMemberStatus {
    #[prost(string, tag = "1")]
    pub(crate) protocol_version: String,
    #[prost(int64, tag = "2")]
    pub(crate) db_size: i64,
    #[prost(int64, tag = "3")]
    pub(crate) db_size_in_use: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) leader: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) raft_index: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) raft_term: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) raft_applied_index: u64,
    #[prost(string, repeated, tag = "8")]
    pub(crate) errors: Vec<String>,
    #[prost(bool, tag = "9")]
    pub(crate) is_learner: bool,
    #[prost(uint64, tag = "10")]
    pub(crate) member_id: u64,
    #[prost(string, tag = "11")]
    pub(crate) storage_version: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdStatus {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    pub(crate) member_status: Option<EtcdMemberStatus>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdMemberAlarm {
    #[prost(uint64, tag = "1")]
    pub(crate) member_id: u64,
    #[prost(int32, tag = "2")]
    pub(crate) alarm: i32,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdAlarm {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) member_alarms: Vec<EtcdMemberAlarm>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EtcdSnapshotRequest {}

// package machine: LifecycleService and ImageService, Talos 1.13 and later
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InstallArtifactsSource {
    #[prost(string, tag = "1")]
    pub(crate) image_name: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LifecycleUpgradeRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) containerd: Option<ContainerdInstance>,
    #[prost(message, optional, tag = "2")]
    pub(crate) source: Option<InstallArtifactsSource>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LifecycleUpgradeResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) progress: Option<InstallProgress>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ImagePullRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) containerd: Option<ContainerdInstance>,
    #[prost(string, tag = "3")]
    pub(crate) image_ref: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ImagePullResponse {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
}

// package cosi.resource
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResourceMetadata {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) typ: String,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(string, tag = "4")]
    pub(crate) version: String,
    #[prost(string, tag = "5")]
    pub(crate) owner: String,
    #[prost(string, tag = "6")]
    pub(crate) phase: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResourceSpec {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) proto_spec: bytes::Bytes,
    #[prost(string, tag = "2")]
    pub(crate) yaml_spec: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Resource {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<ResourceMetadata>,
    #[prost(message, optional, tag = "2")]
    pub(crate) spec: Option<ResourceSpec>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResourceGetRequest {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) typ: String,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResourceGetResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) resource: Option<Resource>,
}

// specs of COSI resources
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct UnmetCondition {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) reason: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MachineStatusState {
    #[prost(bool, tag = "1")]
    pub(crate) ready: bool,
    #[prost(message, repeated, tag = "2")]
    pub(crate) unmet_conditions: Vec<UnmetCondition>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MachineStatusSpec {
    #[prost(int32, tag = "1")]
    pub(crate) stage: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) status: Option<MachineStatusState>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NodenameSpec {
    #[prost(string, tag = "1")]
    pub(crate) nodename: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InstallProgress {
    #[prost(oneof = "InstallStep", tags = "1, 2")]
    pub(crate) step: Option<InstallStep>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum InstallStep {
    #[prost(string, tag = "1")]
    Message(String),
    #[prost(int32, tag = "2")]
    ExitCode(i32),
}

macro_rules! from_node {
    ($($message:ty),* $(,)?) => {$(
        impl FromNode for $message {
            fn metadata(&self) -> Option<&Metadata> {
                self.metadata.as_ref()
            }
            #[cfg(feature = "simulator")]
            fn metadata_mut(&mut self) -> &mut Option<Metadata> {
                &mut self.metadata
            }
        }
    )*};
}

from_node!(
    Data,
    Version,
    Hostname,
    ServiceList,
    ApplyConfiguration,
    Reboot,
    Shutdown,
    Reset,
    Upgrade,
    FileInfo,
    Bootstrap,
    EtcdMembers,
    EtcdRemoveMemberById,
    EtcdLeaveCluster,
    EtcdForfeitLeadership,
    EtcdStatus,
    EtcdAlarm,
);
