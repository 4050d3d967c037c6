//! What a `TalosControlPlane` asks for, in the terms of the generic control plane. Pure.

use std::collections::BTreeMap;

use capi_bootstrap_talos::api::{TALOS_CONFIG, TalosConfigSpec};
use capi_core::{
    api::{ContractVersionedObjectReference, IntOrString},
    provider::{BootstrapObject, DesiredControlPlane, ProviderError},
};
use serde_json::Value;

use crate::api::{RolloutStrategyType, TalosControlPlaneSpec};

fn invalid(message: impl Into<String>) -> ProviderError {
    ProviderError::invalid("InvalidSpec", message)
}

pub(super) fn desired(spec: &TalosControlPlaneSpec) -> Result<DesiredControlPlane, ProviderError> {
    let version = if spec.version.starts_with('v') {
        spec.version.clone()
    } else {
        format!("v{}", spec.version)
    };
    let numbers = version[1..].split(['-', '+']).next().unwrap_or_default();
    if numbers.split('.').count() != 3 || numbers.split('.').any(|n| n.parse::<u32>().is_err()) {
        return Err(invalid(format!(
            "spec.version {:?} is no version; write it like v1.34.1",
            spec.version
        )));
    }
    let template = &spec.infrastructure_template;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let api_version = text(&template.api_version);
    let infrastructure_template = ContractVersionedObjectReference {
        kind: text(&template.kind),
        name: text(&template.name),
        api_group: api_version
            .split_once('/')
            .map(|(group, _)| group.to_owned())
            .unwrap_or_default(),
    };
    if infrastructure_template.kind.is_empty()
        || infrastructure_template.name.is_empty()
        || infrastructure_template.api_group.is_empty()
    {
        return Err(invalid(
            "spec.infrastructureTemplate needs apiVersion (group/version), kind and name",
        ));
    }
    if spec.replicas.is_some_and(|replicas| replicas < 0) {
        return Err(invalid("spec.replicas must not be negative"));
    }
    let strategy = spec.rollout_strategy.as_ref();
    let on_delete = match strategy.and_then(|strategy| strategy.type_.as_ref()) {
        None => false,
        Some(kind) if *kind == RolloutStrategyType::RollingUpdate => false,
        Some(kind) if *kind == RolloutStrategyType::OnDelete => true,
        Some(_) => {
            return Err(invalid(
                "spec.rolloutStrategy.type must be RollingUpdate or OnDelete",
            ));
        }
    };
    let surge = strategy
        .and_then(|strategy| strategy.rolling_update.as_ref())
        .and_then(|rolling| rolling.max_surge.as_ref());
    let surge = match surge {
        None | Some(IntOrString::Int(1)) => true,
        Some(IntOrString::Int(0)) => false,
        Some(_) => {
            return Err(invalid(
                "spec.rolloutStrategy.rollingUpdate.maxSurge must be 0 or 1",
            ));
        }
    };
    Ok(DesiredControlPlane {
        replicas: Some(spec.replicas.unwrap_or(1)),
        version,
        infrastructure_template,
        machine_labels: BTreeMap::new(),
        machine_annotations: BTreeMap::new(),
        surge,
        on_delete,
        ..DesiredControlPlane::default()
    })
}

/// The configuration of the next machine. `init`, which Talos gave up, is for the first machine
/// of those who still have it.
fn config(spec: &TalosControlPlaneSpec, first: bool) -> &TalosConfigSpec {
    let config = &spec.control_plane_config;
    match &config.init {
        Some(init) if first && *init != TalosConfigSpec::default() => init,
        _ => &config.controlplane,
    }
}

pub(super) fn bootstrap_object(
    spec: &TalosControlPlaneSpec,
    first: bool,
) -> Result<BootstrapObject, ProviderError> {
    let spec = serde_json::to_value(config(spec, first)).map_err(|error| {
        invalid("spec.controlPlaneConfig cannot be written as a TalosConfig").with_source(error)
    })?;
    Ok(BootstrapObject {
        api_version: format!("{}/{}", TALOS_CONFIG.group, TALOS_CONFIG.version),
        kind: TALOS_CONFIG.kind.to_owned(),
        spec,
    })
}

/// Compares as TalosConfigs, so that neither the form of JSON nor fields that mean nothing make a
/// difference. What cannot be read is current: a rollout is no answer to that.
pub(super) fn bootstrap_current(spec: &TalosControlPlaneSpec, bootstrap: &Value) -> bool {
    let Some(found) = bootstrap.get("spec") else {
        return true;
    };
    match serde_json::from_value::<TalosConfigSpec>(found.clone()) {
        Ok(found) => [true, false]
            .into_iter()
            .any(|first| *config(spec, first) == found),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capi_core::provider::ErrorClass;
    use serde_json::json;

    fn spec(change: &Value) -> TalosControlPlaneSpec {
        let mut spec = json!({
            "version": "v1.34.1",
            "infrastructureTemplate": {
                "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha1",
                "kind": "ProxmoxMachineTemplate", "name": "cp",
            },
            "controlPlaneConfig": {"controlplane": {"generateType": "controlplane", "talosVersion": "v1.11"}},
        });
        for (key, value) in change.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).expect("a spec")
    }

    #[test]
    fn defaults_are_one_replica_a_surge_and_a_version_with_v() {
        let wanted = desired(&spec(&json!({"version": "1.34.1"}))).expect("valid");
        assert_eq!(
            (wanted.replicas, wanted.version.as_str()),
            (Some(1), "v1.34.1")
        );
        assert!(wanted.surge && !wanted.on_delete);
        assert_eq!(
            wanted.infrastructure_template.api_group,
            "infrastructure.cluster.x-k8s.io"
        );
    }

    #[test]
    fn strategies_are_read() {
        let of = |strategy: Value| {
            desired(&spec(&json!({"rolloutStrategy": strategy}))).map(|d| (d.surge, d.on_delete))
        };
        assert_eq!(
            of(json!({"type": "OnDelete"})).expect("valid"),
            (true, true)
        );
        assert_eq!(
            of(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}})).expect("valid"),
            (false, false)
        );
        assert_eq!(
            of(json!({"rollingUpdate": {"maxSurge": 1}})).expect("valid"),
            (true, false)
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        for (change, field) in [
            (json!({"version": "1.34"}), "spec.version"),
            (json!({"version": "latest"}), "spec.version"),
            (json!({"version": ""}), "spec.version"),
            (json!({"replicas": -1}), "spec.replicas"),
            (
                json!({"infrastructureTemplate": {"kind": "X", "name": "y"}}),
                "spec.infrastructureTemplate",
            ),
            (
                json!({"rolloutStrategy": {"type": "foo"}}),
                "spec.rolloutStrategy.type",
            ),
            (
                json!({"rolloutStrategy": {"rollingUpdate": {"maxSurge": 2}}}),
                "maxSurge",
            ),
            (
                json!({"rolloutStrategy": {"rollingUpdate": {"maxSurge": "50%"}}}),
                "maxSurge",
            ),
        ] {
            let error = desired(&spec(&change)).expect_err("invalid");
            assert_eq!(error.class(), ErrorClass::Invalid);
            assert!(error.to_string().contains(field), "{change}: {error}");
        }
    }

    #[test]
    fn the_first_machine_is_made_from_init_where_somebody_still_has_it() {
        let old = spec(&json!({"controlPlaneConfig": {
            "init": {"generateType": "init"}, "controlplane": {"generateType": "controlplane"},
        }}));
        let of = |spec: &TalosControlPlaneSpec, first| {
            bootstrap_object(spec, first).expect("a config").spec
        };
        assert_eq!(of(&old, true)["generateType"], "init");
        assert_eq!(of(&old, false)["generateType"], "controlplane");
        assert_eq!(of(&spec(&json!({})), true)["generateType"], "controlplane");
        assert!(
            bootstrap_current(&old, &json!({"spec": {"generateType": "init"}})),
            "no rollout of the first"
        );
    }

    #[test]
    fn a_change_of_the_configuration_is_seen_and_its_form_is_not() {
        let now = spec(&json!({}));
        for (bootstrap, current) in [
            (
                json!({"spec": {"talosVersion": "v1.11", "generateType": "controlplane"}}),
                true,
            ),
            (
                json!({"spec": {"talosVersion": "v1.11", "generateType": "controlplane", "strategicPatches": []}}),
                true,
            ),
            (
                json!({"spec": {"talosVersion": "v1.10", "generateType": "controlplane"}}),
                false,
            ),
            (
                json!({"spec": {"talosVersion": "v1.11", "generateType": "controlplane", "strategicPatches": ["a: b"]}}),
                false,
            ),
            (json!({}), true),
        ] {
            assert_eq!(bootstrap_current(&now, &bootstrap), current, "{bootstrap}");
        }
    }
}
