//! Defaulting and admission of TalosControlPlanes: what the provider's webhooks do, as functions for
//! an API server that has none. Every field of the spec may change.

use capi_core::admission::{Admission, FieldError, Verdict};
use capi_core::api::IntOrString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::{RolloutStrategyType, TALOS_CONTROL_PLANE, TalosControlPlaneSpec};

/// The admission of this crate's kind.
#[must_use]
pub fn admissions() -> &'static [Admission] {
    const ADMISSIONS: &[Admission] =
        &[Admission::new(TALOS_CONTROL_PLANE, validate).defaulting(default)];
    ADMISSIONS
}

fn set_if_absent(object: &mut Map<String, Value>, name: &str, value: Value) {
    let place = object.entry(name).or_insert(Value::Null);
    if place.is_null() {
        *place = value;
    }
}

fn default(object: &mut Value, _: Option<&Value>) -> Result<(), FieldError> {
    let namespace = object.pointer("/metadata/namespace").cloned();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    set_if_absent(spec, "replicas", json!(1));
    if let Some(Value::String(version)) = spec.get_mut("version")
        && !version.is_empty()
        && !version.starts_with('v')
    {
        version.insert(0, 'v');
    }
    if let (Some(Value::Object(template)), Some(namespace)) =
        (spec.get_mut("infrastructureTemplate"), namespace)
    {
        template.insert("namespace".to_owned(), namespace);
    }
    set_if_absent(spec, "rolloutStrategy", json!({}));
    if let Some(Value::Object(strategy)) = spec.get_mut("rolloutStrategy") {
        set_if_absent(strategy, "type", json!("RollingUpdate"));
        if strategy.get("type") == Some(&json!("RollingUpdate")) {
            set_if_absent(strategy, "rollingUpdate", json!({}));
            if let Some(Value::Object(bounds)) = strategy.get_mut("rollingUpdate") {
                set_if_absent(bounds, "maxSurge", json!(1));
            }
        }
    }
    Ok(())
}

fn validate(object: &Value, _: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    let spec = object.get("spec").map(TalosControlPlaneSpec::deserialize);
    let spec = match spec {
        None => TalosControlPlaneSpec::default(),
        Some(Ok(spec)) => spec,
        Some(Err(error)) => {
            verdict.invalid("spec", Value::Null, &error.to_string());
            return verdict;
        }
    };
    let strategy = spec.rollout_strategy.unwrap_or_default();
    if let Some(RolloutStrategyType::Other(other)) = &strategy.type_ {
        let message = "must be RollingUpdate or OnDelete";
        verdict.invalid("spec.rolloutStrategy", other.as_str(), message);
    }
    let surge = strategy.rolling_update.and_then(|bounds| bounds.max_surge);
    if surge.is_some_and(|surge| !matches!(surge, IntOrString::Int(0 | 1))) {
        verdict.warn("spec.rolloutStrategy.rollingUpdate.maxSurge: only 0 and 1 mean something");
    }
    if spec
        .replicas
        .is_some_and(|replicas| replicas > 0 && replicas % 2 == 0)
    {
        verdict.warn(
            "spec.replicas: an even number of etcd members survives no more failures than one less",
        );
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(spec: &Value) -> Value {
        json!({"metadata": {"name": "a", "namespace": "here"}, "spec": spec})
    }

    fn defaulted(spec: &Value) -> Value {
        let mut object = plane(spec);
        default(&mut object, None).expect("nothing is malformed");
        let once = object.clone();
        default(&mut object, Some(&once)).expect("nothing is malformed");
        assert_eq!(object, once, "defaulting is idempotent");
        once["spec"].clone()
    }

    #[test]
    fn what_the_user_left_open_is_set() {
        let spec = defaulted(
            &json!({"version": "1.34.1", "infrastructureTemplate": {"kind": "T", "name": "t"}}),
        );
        let expected = json!({
            "replicas": 1, "version": "v1.34.1",
            "infrastructureTemplate": {"kind": "T", "name": "t", "namespace": "here"},
            "rolloutStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        });
        assert_eq!(spec, expected);
    }

    #[test]
    fn what_the_user_said_stays() {
        let spec = json!({
            "replicas": 0, "version": "v1.34.1",
            "rolloutStrategy": {"type": "OnDelete"},
        });
        assert_eq!(defaulted(&spec), spec);
        let spec = defaulted(
            &json!({"replicas": null, "rolloutStrategy": {"rollingUpdate": {"maxSurge": 0}}}),
        );
        assert_eq!(spec["replicas"], 1);
        assert_eq!(
            spec["rolloutStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}})
        );
    }

    #[test]
    fn a_strategy_is_one_of_two() {
        for (kind, accepted) in [
            ("RollingUpdate", true),
            ("OnDelete", true),
            ("Recreate", false),
        ] {
            let verdict = validate(&plane(&json!({"rolloutStrategy": {"type": kind}})), None);
            assert_eq!(verdict.accepts(), accepted, "{kind}");
            if !accepted {
                assert_eq!(verdict.errors[0].path, "spec.rolloutStrategy");
            }
        }
    }

    #[test]
    fn every_field_may_change() {
        let old = plane(&json!({"version": "v1.33.0", "replicas": 1}));
        let new = plane(
            &json!({"version": "v1.34.0", "replicas": 3, "infrastructureTemplate": {"name": "other"}}),
        );
        assert_eq!(validate(&new, Some(&old)), Verdict::default());
    }

    #[test]
    fn what_helps_nobody_is_warned_of() {
        let spec =
            json!({"replicas": 2, "rolloutStrategy": {"rollingUpdate": {"maxSurge": "25%"}}});
        let verdict = validate(&plane(&spec), None);
        assert!(verdict.accepts());
        assert_eq!(verdict.warnings.len(), 2, "{:?}", verdict.warnings);
    }
}
