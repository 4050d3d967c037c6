//! Names of labels with a meaning in Cluster API.

/// Name of the Cluster that an object belongs to; also on secrets, which are not seen without it.
pub const CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
/// Marks control plane machines and their objects; the value is empty.
pub const CONTROL_PLANE: &str = "cluster.x-k8s.io/control-plane";
/// Name of the control plane object that owns a machine (hashed when it is no label value).
pub const CONTROL_PLANE_NAME: &str = "cluster.x-k8s.io/control-plane-name";
/// Name of the MachineSet that owns a machine (hashed when it is no label value).
pub const SET_NAME: &str = "cluster.x-k8s.io/set-name";
/// Name of the MachineDeployment that a machine or a MachineSet belongs to.
pub const DEPLOYMENT_NAME: &str = "cluster.x-k8s.io/deployment-name";
/// Name of the MachinePool that owns a machine (hashed when it is no label value).
pub const POOL_NAME: &str = "cluster.x-k8s.io/pool-name";
/// Tells the MachineSets of a MachineDeployment apart, on the sets and their machines.
pub const MACHINE_TEMPLATE_HASH: &str = "machine-template-hash";
/// Objects with another value than a manager's are not handled by that manager.
pub const WATCH_FILTER: &str = "cluster.x-k8s.io/watch-filter";
/// Provider that a manifest belongs to.
pub const PROVIDER: &str = "cluster.x-k8s.io/provider";
/// On nodes that may be taken away at any time.
pub const INTERRUPTIBLE: &str = "cluster.x-k8s.io/interruptible";
/// On pods: `skip` or `wait-completed` when their node is drained.
pub const DRAIN: &str = "cluster.x-k8s.io/drain";
/// Marks objects that were made from a ClusterClass.
pub const TOPOLOGY_OWNED: &str = "topology.cluster.x-k8s.io/owned";
/// Name of the set of workers within a cluster made from a class.
pub const TOPOLOGY_DEPLOYMENT_NAME: &str = "topology.cluster.x-k8s.io/deployment-name";
/// Name of the pool of workers within a cluster made from a class.
pub const TOPOLOGY_POOL_NAME: &str = "topology.cluster.x-k8s.io/pool-name";
/// Prefix of machine labels that are copied to the node.
pub const NODE_ROLE_PREFIX: &str = "node-role.kubernetes.io";
/// Domain of machine labels that are copied to the node.
pub const NODE_RESTRICTION_DOMAIN: &str = "node-restriction.kubernetes.io";
/// Domain of machine labels that are copied to the node and that Cluster API owns.
pub const MANAGED_NODE_DOMAIN: &str = "node.cluster.x-k8s.io";
/// On CustomResourceDefinitions: what `clusterctl move` does with a kind and what it owns.
pub const MOVE_HIERARCHY: &str = "clusterctl.cluster.x-k8s.io/move-hierarchy";
/// On CustomResourceDefinitions: prefix of the label that lists versions for a contract, as in
/// `cluster.x-k8s.io/v1beta2: v1alpha1_v1alpha2`.
pub const CONTRACT_PREFIX: &str = "cluster.x-k8s.io/";
