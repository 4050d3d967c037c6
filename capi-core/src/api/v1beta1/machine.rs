//! Machine, MachineSet, MachineDeployment and MachineHealthCheck in v1beta1.

use serde_json::Value;

use crate::api::convert::{ConversionError, Direction, Rule};
use Rule::{
    Custom, Flag, Move, NotEmpty, OnlyHub, OnlyOlder, Reference, Seconds, VersionedReference,
    Within,
};

pub(super) const TIMEOUTS: [Rule; 3] = [
    Seconds("nodeDrainTimeout", "deletion.nodeDrainTimeoutSeconds"),
    Seconds(
        "nodeVolumeDetachTimeout",
        "deletion.nodeVolumeDetachTimeoutSeconds",
    ),
    Seconds("nodeDeletionTimeout", "deletion.nodeDeletionTimeoutSeconds"),
];

pub(super) const UNHEALTHY: &[Rule] = &[Seconds("timeout", "timeoutSeconds")];

const MACHINE_SPEC: &[Rule] = &[
    Reference("bootstrap.configRef"),
    Reference("infrastructureRef"),
    NotEmpty("version"),
    NotEmpty("providerID"),
    NotEmpty("failureDomain"),
    TIMEOUTS[0],
    TIMEOUTS[1],
    TIMEOUTS[2],
];

const CONDITIONS: [Rule; 5] = [
    Move("status.conditions", "status.deprecated.v1beta1.conditions"),
    Move(
        "status.failureReason",
        "status.deprecated.v1beta1.failureReason",
    ),
    Move(
        "status.failureMessage",
        "status.deprecated.v1beta1.failureMessage",
    ),
    Move("status.v1beta2.conditions", "status.conditions"),
    NotEmpty("status.observedGeneration"),
];

pub(super) const MACHINE: &[Rule] = &[
    Within("spec", "spec", MACHINE_SPEC),
    CONDITIONS[0],
    CONDITIONS[1],
    CONDITIONS[2],
    CONDITIONS[3],
    CONDITIONS[4],
    Flag(
        "status.bootstrapReady",
        "status.initialization.bootstrapDataSecretCreated",
    ),
    Flag(
        "status.infrastructureReady",
        "status.initialization.infrastructureProvisioned",
    ),
    Custom(node_reference),
    OnlyHub("spec.minReadySeconds"),
    OnlyHub("status.failureDomain"),
    Custom(phase),
];

pub(super) const MACHINE_SET: &[Rule] = &[
    Within("spec.template.spec", "spec.template.spec", MACHINE_SPEC),
    Move("spec.deletePolicy", "spec.deletion.order"),
    Move("spec.minReadySeconds", "spec.template.spec.minReadySeconds"),
    Move("spec.machineNamingStrategy", "spec.machineNaming"),
    CONDITIONS[0],
    CONDITIONS[1],
    CONDITIONS[2],
    CONDITIONS[3],
    CONDITIONS[4],
    Move(
        "status.fullyLabeledReplicas",
        "status.deprecated.v1beta1.fullyLabeledReplicas",
    ),
    REPLICAS[0],
    REPLICAS[1],
    REPLICAS[2],
    REPLICAS[3],
    REPLICAS[4],
];

/// The old counters are kept; the new ones count by conditions of machines.
const REPLICAS: [Rule; 5] = [
    Move(
        "status.readyReplicas",
        "status.deprecated.v1beta1.readyReplicas",
    ),
    Move(
        "status.availableReplicas",
        "status.deprecated.v1beta1.availableReplicas",
    ),
    Move("status.v1beta2.readyReplicas", "status.readyReplicas"),
    Move(
        "status.v1beta2.availableReplicas",
        "status.availableReplicas",
    ),
    Move("status.v1beta2.upToDateReplicas", "status.upToDateReplicas"),
];

pub(super) const MACHINE_DEPLOYMENT: &[Rule] = &[
    Within("spec.template.spec", "spec.template.spec", MACHINE_SPEC),
    Move("spec.strategy.type", "spec.rollout.strategy.type"),
    Move(
        "spec.strategy.rollingUpdate.maxSurge",
        "spec.rollout.strategy.rollingUpdate.maxSurge",
    ),
    Move(
        "spec.strategy.rollingUpdate.maxUnavailable",
        "spec.rollout.strategy.rollingUpdate.maxUnavailable",
    ),
    Move(
        "spec.strategy.rollingUpdate.deletePolicy",
        "spec.deletion.order",
    ),
    Move(
        "spec.strategy.remediation.maxInFlight",
        "spec.remediation.maxInFlight",
    ),
    Move("spec.rolloutAfter", "spec.rollout.after"),
    Move("spec.machineNamingStrategy", "spec.machineNaming"),
    Move("spec.minReadySeconds", "spec.template.spec.minReadySeconds"),
    OnlyOlder("spec.revisionHistoryLimit"),
    OnlyOlder("spec.progressDeadlineSeconds"),
    CONDITIONS[0],
    CONDITIONS[3],
    CONDITIONS[4],
    Move(
        "status.updatedReplicas",
        "status.deprecated.v1beta1.updatedReplicas",
    ),
    Move(
        "status.unavailableReplicas",
        "status.deprecated.v1beta1.unavailableReplicas",
    ),
    REPLICAS[0],
    REPLICAS[1],
    REPLICAS[2],
    REPLICAS[3],
    REPLICAS[4],
];

pub(super) const MACHINE_HEALTH_CHECK: &[Rule] = &[
    Seconds(
        "spec.nodeStartupTimeout",
        "spec.checks.nodeStartupTimeoutSeconds",
    ),
    Within(
        "spec.unhealthyConditions",
        "spec.checks.unhealthyNodeConditions",
        UNHEALTHY,
    ),
    Move(
        "spec.unhealthyConditions",
        "spec.checks.unhealthyNodeConditions",
    ),
    Within(
        "spec.unhealthyMachineConditions",
        "spec.checks.unhealthyMachineConditions",
        UNHEALTHY,
    ),
    Move(
        "spec.unhealthyMachineConditions",
        "spec.checks.unhealthyMachineConditions",
    ),
    Move(
        "spec.maxUnhealthy",
        "spec.remediation.triggerIf.unhealthyLessThanOrEqualTo",
    ),
    Move(
        "spec.unhealthyRange",
        "spec.remediation.triggerIf.unhealthyInRange",
    ),
    VersionedReference("spec.remediationTemplate", "spec.remediation.templateRef"),
    CONDITIONS[0],
    CONDITIONS[3],
    CONDITIONS[4],
];

/// The hub names the node alone.
fn node_reference(object: &mut Value, direction: &Direction<'_>) -> Result<(), ConversionError> {
    if let Some(Value::Object(reference)) = object.pointer_mut("/status/nodeRef") {
        reference.retain(|field, _| field == "name");
        if !direction.is_to_hub() {
            reference.insert("apiVersion".into(), "v1".into());
            reference.insert("kind".into(), "Node".into());
        }
    }
    Ok(())
}

/// A phase that only the hub has.
fn phase(object: &mut Value, direction: &Direction<'_>) -> Result<(), ConversionError> {
    if direction.is_to_hub() {
        return Ok(());
    }
    if let Some(phase) = object
        .pointer_mut("/status/phase")
        .filter(|phase| **phase == "Updating")
    {
        *phase = "Running".into();
    }
    Ok(())
}
