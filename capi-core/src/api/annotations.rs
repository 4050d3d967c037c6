//! Names of annotations with a meaning in Cluster API.

/// Stops controllers from acting on an object; the value does not matter.
pub const PAUSED: &str = "cluster.x-k8s.io/paused";
/// On infrastructure clusters that somebody else manages.
pub const MANAGED_BY: &str = "cluster.x-k8s.io/managed-by";
/// Machines with it are deleted first when a set scales down.
pub const DELETE_MACHINE: &str = "cluster.x-k8s.io/delete-machine";
/// With value `true`: a MachineSet makes no machines.
pub const DISABLE_MACHINE_CREATE: &str = "cluster.x-k8s.io/disable-machine-create";
/// Name of the template that an object was made from.
pub const CLONED_FROM_NAME: &str = "cluster.x-k8s.io/cloned-from-name";
/// `Kind.group` of the template that an object was made from.
pub const CLONED_FROM_GROUP_KIND: &str = "cluster.x-k8s.io/cloned-from-groupkind";
/// Machines with it are not remediated.
pub const SKIP_REMEDIATION: &str = "cluster.x-k8s.io/skip-remediation";
/// Machines with it are remediated even if they are healthy.
pub const REMEDIATE_MACHINE: &str = "cluster.x-k8s.io/remediate-machine";
/// Somebody else sets the replicas; any value but `false`.
pub const REPLICAS_MANAGED_BY: &str = "cluster.x-k8s.io/replicas-managed-by";
/// Lower bound of an autoscaler.
pub const AUTOSCALER_MIN_SIZE: &str = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size";
/// Upper bound of an autoscaler.
pub const AUTOSCALER_MAX_SIZE: &str = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size";
/// Preflight checks that a MachineSet does not make, separated by commas.
pub const SKIP_PREFLIGHT_CHECKS: &str = "machineset.cluster.x-k8s.io/skip-preflight-checks";
/// The node of a machine is not drained.
pub const EXCLUDE_NODE_DRAINING: &str = "machine.cluster.x-k8s.io/exclude-node-draining";
/// Volumes of a machine's node are not waited for.
pub const EXCLUDE_WAIT_FOR_NODE_VOLUME_DETACH: &str =
    "machine.cluster.x-k8s.io/exclude-wait-for-node-volume-detach";
/// When the first certificate of a control plane machine expires.
pub const CERTIFICATES_EXPIRY: &str = "machine.cluster.x-k8s.io/certificates-expiry";
/// Prefix: deletion of a machine waits before its node is drained.
pub const PRE_DRAIN_HOOK_PREFIX: &str = "pre-drain.delete.hook.machine.cluster.x-k8s.io";
/// Prefix: deletion of a machine waits before its host is removed.
pub const PRE_TERMINATE_HOOK_PREFIX: &str = "pre-terminate.delete.hook.machine.cluster.x-k8s.io";
/// Number of a rollout, on MachineSets and their MachineDeployment. The group has a plural `clusters`.
pub const REVISION: &str = "machinedeployment.clusters.x-k8s.io/revision";
/// Earlier numbers of a MachineSet that is in use again.
pub const REVISION_HISTORY: &str = "machinedeployment.clusters.x-k8s.io/revision-history";
/// Replicas of the MachineDeployment when a MachineSet was scaled last.
pub const DESIRED_REPLICAS: &str = "machinedeployment.clusters.x-k8s.io/desired-replicas";
/// Replicas and surge of the MachineDeployment when a MachineSet was scaled last.
pub const MAX_REPLICAS: &str = "machinedeployment.clusters.x-k8s.io/max-replicas";
/// A machine is being changed in place.
pub const UPDATE_IN_PROGRESS: &str =
    "in-place-updates.internal.cluster.x-k8s.io/update-in-progress";
/// A machine that moved waits until its new set has seen it.
pub const PENDING_ACKNOWLEDGE_MOVE: &str =
    "in-place-updates.internal.cluster.x-k8s.io/pending-acknowledge-move";
/// Machines that a new set has seen.
pub const ACKNOWLEDGED_MOVE: &str = "in-place-updates.internal.cluster.x-k8s.io/acknowledged-move";
/// The set that an old set gives its machines to.
pub const MOVE_MACHINES_TO_MACHINE_SET: &str =
    "in-place-updates.internal.cluster.x-k8s.io/move-machines-to-machineset";
/// The sets that a new set takes machines from.
pub const RECEIVE_MACHINES_FROM_MACHINE_SETS: &str =
    "in-place-updates.internal.cluster.x-k8s.io/receive-machines-from-machinesets";
/// Hooks that are not answered yet, separated by commas.
pub const PENDING_HOOKS: &str = "runtime.cluster.x-k8s.io/pending-hooks";
/// Deletion hooks have been answered.
pub const OK_TO_DELETE: &str = "runtime.cluster.x-k8s.io/ok-to-delete";
/// What a version cannot hold of an object in another version, as JSON. It belongs to one object
/// and is never copied to another.
pub const CONVERSION_DATA: &str = "cluster.x-k8s.io/conversion-data";
/// Control plane version of the current step of an upgrade.
pub const UPGRADE_STEP: &str = "topology.internal.cluster.x-k8s.io/upgrade-step";
/// On dry runs of templates, which may change what is immutable otherwise.
pub const TOPOLOGY_DRY_RUN: &str = "topology.cluster.x-k8s.io/dry-run";
/// On nodes: name of the cluster.
pub const CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
/// On nodes: namespace of the cluster.
pub const CLUSTER_NAMESPACE: &str = "cluster.x-k8s.io/cluster-namespace";
/// On nodes: name of the machine.
pub const MACHINE: &str = "cluster.x-k8s.io/machine";
/// On nodes: kind of the machine's owner.
pub const OWNER_KIND: &str = "cluster.x-k8s.io/owner-kind";
/// On nodes: name of the machine's owner.
pub const OWNER_NAME: &str = "cluster.x-k8s.io/owner-name";
/// On nodes: labels that the machine put there.
pub const LABELS_FROM_MACHINE: &str = "cluster.x-k8s.io/labels-from-machine";
/// On nodes: annotations that the machine put there.
pub const ANNOTATIONS_FROM_MACHINE: &str = "cluster.x-k8s.io/annotations-from-machine";
/// On nodes: taints that the machine put there.
pub const TAINTS_FROM_MACHINE: &str = "cluster.x-k8s.io/taints-from-machine";

/// On a pool of addresses: it may be deleted although addresses are in use.
pub const SKIP_VALIDATE_DELETE: &str = "ipam.cluster.x-k8s.io/skip-validate-delete-webhook";

/// On a pool of addresses: what is said when it has addresses in common with another pool: `warn`,
/// which is the default, `deny` or `allow`.
pub const POOL_OVERLAP: &str = "ipam.capi.rs/overlap";
