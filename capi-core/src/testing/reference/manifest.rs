//! A cluster of the reference set as objects to apply.

use serde_json::{Value, json};

use super::kinds::{
    GROUP, ReferenceCluster, ReferenceConfigTemplate, ReferenceControlPlane,
    ReferenceMachineTemplate,
};
use crate::{
    api::{Cluster, MachineDeployment},
    runtime::ResourceType,
};

/// How big a cluster is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterShape {
    /// Namespace.
    pub namespace: String,
    /// Name of the Cluster; the other objects' names begin with it.
    pub name: String,
    /// Control plane machines.
    pub control_planes: i32,
    /// Workers.
    pub workers: i32,
    /// Kubernetes version.
    pub version: String,
}

impl ClusterShape {
    /// A cluster of the namespace `default`.
    pub fn new(name: impl Into<String>, control_planes: i32, workers: i32) -> Self {
        Self {
            namespace: "default".to_owned(),
            name: name.into(),
            control_planes,
            workers,
            version: "v1.33.0".to_owned(),
        }
    }
}

/// The objects of a cluster, in the order to apply them.
#[must_use]
pub fn manifest(shape: &ClusterShape) -> Vec<Value> {
    let ClusterShape {
        namespace,
        name,
        control_planes,
        workers,
        version,
    } = shape;
    let reference =
        |kind: &str, name: &str| json!({ "apiGroup": GROUP, "kind": kind, "name": name });
    let object = |kind: &ResourceType, name: &str, spec: Value| {
        json!({
            "apiVersion": kind.api_version(),
            "kind": kind.kind(),
            "metadata": { "namespace": namespace, "name": name },
            "spec": spec,
        })
    };
    let machines = format!("{name}-control-plane");
    let pool = format!("{name}-workers");
    let template = json!({ "template": { "spec": { "size": "small" } } });
    vec![
        object(&ReferenceCluster::KIND.into(), name, json!({})),
        object(
            &ReferenceMachineTemplate::KIND.into(),
            &machines,
            template.clone(),
        ),
        object(
            &ReferenceControlPlane::KIND.into(),
            &machines,
            json!({
                "replicas": control_planes,
                "version": version,
                "machineTemplate": { "spec": {
                    "infrastructureRef": reference("ReferenceMachineTemplate", &machines),
                }},
            }),
        ),
        object(
            &Cluster::KIND.into(),
            name,
            json!({
                "infrastructureRef": reference("ReferenceCluster", name),
                "controlPlaneRef": reference("ReferenceControlPlane", &machines),
            }),
        ),
        object(&ReferenceMachineTemplate::KIND.into(), &pool, template),
        object(
            &ReferenceConfigTemplate::KIND.into(),
            &pool,
            json!({ "template": { "spec": {} } }),
        ),
        object(
            &MachineDeployment::KIND.into(),
            &pool,
            json!({
                "clusterName": name,
                "replicas": workers,
                "selector": { "matchLabels": {
                    "cluster.x-k8s.io/cluster-name": name,
                    "cluster.x-k8s.io/deployment-name": pool,
                }},
                "template": {
                    "metadata": { "labels": {
                        "cluster.x-k8s.io/cluster-name": name,
                        "cluster.x-k8s.io/deployment-name": pool,
                    }},
                    "spec": {
                        "clusterName": name,
                        "version": version,
                        "bootstrap": { "configRef": reference("ReferenceConfigTemplate", &pool) },
                        "infrastructureRef": reference("ReferenceMachineTemplate", &pool),
                    },
                },
            }),
        ),
    ]
}
