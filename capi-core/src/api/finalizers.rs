//! Finalizers, and the types of secrets that Cluster API makes.

/// On Clusters.
pub const CLUSTER: &str = "cluster.cluster.x-k8s.io";
/// On Machines.
pub const MACHINE: &str = "machine.cluster.x-k8s.io";
/// On MachineSets.
pub const MACHINE_SET: &str = "cluster.x-k8s.io/machineset";
/// On MachineDeployments.
pub const MACHINE_DEPLOYMENT: &str = "cluster.x-k8s.io/machinedeployment";
/// On MachinePools.
pub const MACHINE_POOL: &str = "machinepool.cluster.x-k8s.io";
/// On ClusterResourceSets.
pub const CLUSTER_RESOURCE_SET: &str = "addons.cluster.x-k8s.io";
/// On MachineDeployments that were made from a ClusterClass.
pub const TOPOLOGY_MACHINE_DEPLOYMENT: &str = "machinedeployment.topology.cluster.x-k8s.io";
/// On MachineSets of MachineDeployments that were made from a ClusterClass.
pub const TOPOLOGY_MACHINE_SET: &str = "machineset.topology.cluster.x-k8s.io";

/// Type of the secrets that Cluster API makes.
pub const SECRET_TYPE: &str = "cluster.x-k8s.io/secret";
