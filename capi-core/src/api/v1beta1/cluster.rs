//! Cluster in v1beta1.

use serde_json::{Map, Value};

use super::machine::{TIMEOUTS, UNHEALTHY};
use crate::api::convert::{ConversionError, Direction, Rule, apply, put};
use Rule::{Custom, Flag, Move, NotEmpty, OnlyOlder, Reference, VersionedReference, Within};

pub(super) const CLUSTER: &[Rule] = &[
    Reference("spec.controlPlaneRef"),
    Reference("spec.infrastructureRef"),
    NotEmpty("spec.controlPlaneEndpoint.host"),
    NotEmpty("spec.controlPlaneEndpoint.port"),
    NotEmpty("spec.clusterNetwork.apiServerPort"),
    NotEmpty("spec.clusterNetwork.serviceDomain"),
    Within("spec.topology", "spec.topology", TOPOLOGY),
    Flag(
        "status.infrastructureReady",
        "status.initialization.infrastructureProvisioned",
    ),
    Flag(
        "status.controlPlaneReady",
        "status.initialization.controlPlaneInitialized",
    ),
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
    Move("status.v1beta2.controlPlane", "status.controlPlane"),
    Move("status.v1beta2.workers", "status.workers"),
    NotEmpty("status.observedGeneration"),
    Custom(failure_domains),
];

const TOPOLOGY: &[Rule] = &[
    Move("class", "classRef.name"),
    Move("classNamespace", "classRef.namespace"),
    OnlyOlder("rolloutAfter"),
    Within("variables", "variables", VARIABLE),
    Within("controlPlane", "controlPlane", CONTROL_PLANE),
    Within(
        "workers.machineDeployments",
        "workers.machineDeployments",
        MACHINE_DEPLOYMENT,
    ),
    Within("workers.machinePools", "workers.machinePools", MACHINE_POOL),
];

const VARIABLE: &[Rule] = &[OnlyOlder("definitionFrom")];

const OVERRIDES: Rule = Within("variables.overrides", "variables.overrides", VARIABLE);

const CONTROL_PLANE: &[Rule] = &[
    OVERRIDES,
    TIMEOUTS[0],
    TIMEOUTS[1],
    TIMEOUTS[2],
    Within("machineHealthCheck", "healthCheck", HEALTH_CHECK),
    Move("machineHealthCheck", "healthCheck"),
];

const MACHINE_DEPLOYMENT: &[Rule] = &[
    OVERRIDES,
    NotEmpty("failureDomain"),
    TIMEOUTS[0],
    TIMEOUTS[1],
    TIMEOUTS[2],
    Move("strategy.type", "rollout.strategy.type"),
    Move(
        "strategy.rollingUpdate.maxSurge",
        "rollout.strategy.rollingUpdate.maxSurge",
    ),
    Move(
        "strategy.rollingUpdate.maxUnavailable",
        "rollout.strategy.rollingUpdate.maxUnavailable",
    ),
    Move("strategy.rollingUpdate.deletePolicy", "deletion.order"),
    Within("machineHealthCheck", "healthCheck", HEALTH_CHECK),
    Custom(health_check),
];

const MACHINE_POOL: &[Rule] = &[OVERRIDES, TIMEOUTS[0], TIMEOUTS[1], TIMEOUTS[2]];

const HEALTH_CHECK: &[Rule] = &[
    Move("enable", "enabled"),
    Rule::Seconds("nodeStartupTimeout", "checks.nodeStartupTimeoutSeconds"),
    Within(
        "unhealthyConditions",
        "checks.unhealthyNodeConditions",
        UNHEALTHY,
    ),
    Move("unhealthyConditions", "checks.unhealthyNodeConditions"),
    Within(
        "unhealthyMachineConditions",
        "checks.unhealthyMachineConditions",
        UNHEALTHY,
    ),
    Move(
        "unhealthyMachineConditions",
        "checks.unhealthyMachineConditions",
    ),
    Move(
        "maxUnhealthy",
        "remediation.triggerIf.unhealthyLessThanOrEqualTo",
    ),
    Move("unhealthyRange", "remediation.triggerIf.unhealthyInRange"),
    VersionedReference("remediationTemplate", "remediation.templateRef"),
];

/// Moves the health check of a set of workers, into which the limit of its strategy goes.
fn health_check(object: &mut Value, direction: &Direction<'_>) -> Result<(), ConversionError> {
    let rules: &[Rule] = if direction.is_to_hub() {
        &[
            Move("machineHealthCheck", "healthCheck"),
            Move(
                "strategy.remediation.maxInFlight",
                "healthCheck.remediation.maxInFlight",
            ),
        ]
    } else {
        &[
            Move(
                "strategy.remediation.maxInFlight",
                "healthCheck.remediation.maxInFlight",
            ),
            Move("machineHealthCheck", "healthCheck"),
        ]
    };
    for rule in rules {
        *object = apply(std::slice::from_ref(rule), object.take(), direction)?;
    }
    Ok(())
}

/// The older version has failure domains by name, the hub has a list of them.
fn failure_domains(object: &mut Value, direction: &Direction<'_>) -> Result<(), ConversionError> {
    let Some(domains) = object.pointer_mut("/status/failureDomains") else {
        return Ok(());
    };
    match (domains.take(), direction.is_to_hub()) {
        (Value::Object(by_name), true) => {
            let list = by_name.into_iter().map(|(name, mut domain)| {
                put(&mut domain, &["name"], name.into());
                domain
            });
            *domains = list.collect();
        }
        (Value::Array(list), false) => {
            let mut by_name = Map::new();
            for mut domain in list {
                let name = domain
                    .as_object_mut()
                    .and_then(|domain| domain.remove("name"));
                if let Some(Value::String(name)) = name {
                    by_name.insert(name, domain);
                }
            }
            *domains = by_name.into();
        }
        (other, _) => *domains = other,
    }
    Ok(())
}
