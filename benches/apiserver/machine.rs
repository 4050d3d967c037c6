//! A Machine as a fleet has it: about 3 KB when it is running.

use serde_json::{Value, json};

pub(crate) const COLLECTION: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines";

pub(crate) fn machine(index: usize) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2",
        "kind": "Machine",
        "metadata": {
            "name": format!("fleet-md-0-{index:05}"),
            "namespace": "default",
            "labels": {
                "cluster.x-k8s.io/cluster-name": "fleet",
                "cluster.x-k8s.io/deployment-name": "fleet-md-0",
                "cluster.x-k8s.io/set-name": "fleet-md-0-x7k2p",
                "machine-template-hash": "1234567890-x7k2p",
            },
            "annotations": {"example.com/note": "a note that somebody left on this machine"},
            "finalizers": ["machine.cluster.x-k8s.io"],
        },
        "spec": {
            "clusterName": "fleet",
            "version": "v1.34.1",
            "bootstrap": {
                "configRef": {"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "TalosConfig", "name": format!("fleet-md-0-{index:05}")},
                "dataSecretName": format!("fleet-md-0-{index:05}-bootstrap-data"),
            },
            "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "ProxmoxMachine", "name": format!("fleet-md-0-{index:05}")},
            "providerID": format!("proxmox://00000000-0000-0000-0000-{index:012}"),
            "deletion": {"nodeDrainTimeoutSeconds": 300, "nodeDeletionTimeoutSeconds": 10},
        },
    })
}

/// The status of a machine that runs; `generation` makes it differ from the last.
pub(crate) fn status(generation: usize) -> Value {
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": format!("{kind}Reason"), "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z", "message": format!("observed {generation} times"),
        })
    };
    let kinds = [
        "Available",
        "Ready",
        "UpToDate",
        "BootstrapConfigReady",
        "InfrastructureReady",
        "NodeHealthy",
        "NodeReady",
        "HealthCheckSucceeded",
        "Paused",
        "Deleting",
    ];
    json!({"status": {
        "observedGeneration": 1,
        "phase": "Running",
        "nodeRef": {"name": "node"},
        "initialization": {"bootstrapDataSecretCreated": true, "infrastructureProvisioned": true},
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "node"}],
        "conditions": kinds.iter().map(|kind| condition(kind)).collect::<Vec<_>>(),
    }})
}
