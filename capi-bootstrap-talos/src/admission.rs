//! What is accepted of TalosConfigs and their templates: what the provider's webhooks judge, as
//! functions for an API server that has none. Answers to upstream's webhooks of the two kinds.

use capi_core::admission::{Admission, Verdict};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{HostnameSource, TALOS_CONFIG, TALOS_CONFIG_TEMPLATE, TalosConfigSpec};

/// The admission of this crate's kinds.
#[must_use]
pub fn admissions() -> &'static [Admission] {
    const ADMISSIONS: &[Admission] = &[
        Admission::new(TALOS_CONFIG, config),
        Admission::new(TALOS_CONFIG_TEMPLATE, template).template(),
    ];
    ADMISSIONS
}

/// A wrong source of the host's name.
fn wrong_source(spec: Option<&Value>) -> Option<String> {
    let spec = TalosConfigSpec::deserialize(spec?).ok()?;
    match spec.hostname.source? {
        HostnameSource::Other(source) if !source.is_empty() => Some(source),
        _ => None,
    }
}

const SOURCES: &str = "must be MachineName or InfrastructureName, or empty";

fn is_changed(object: &Value, old: Option<&Value>) -> bool {
    old.is_some_and(|old| old.get("spec") != object.get("spec"))
}

fn config(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    if let Some(source) = wrong_source(object.get("spec")) {
        verdict.invalid("spec.hostname.source", source, SOURCES);
    }
    if is_changed(object, old) {
        verdict.refuse("TalosConfig.Spec is immutable: make a new TalosConfig, or a new template for new machines");
    }
    verdict
}

fn template(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    if let Some(source) = wrong_source(object.pointer("/spec/template/spec")) {
        // Upstream's judges it when a TalosConfig is made; a template with it cannot be of use.
        verdict.warn(format!(
            "spec.template.spec.hostname.source: {source:?} {SOURCES}: no TalosConfig can be made from this template"
        ));
    }
    if is_changed(object, old) {
        verdict.refuse(
            "TalosConfigTemplate.Spec is immutable: make a new template and refer to that one",
        );
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(spec: &Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": spec})
    }

    #[test]
    fn a_source_of_the_hostname_is_one_of_two() {
        for (source, accepted) in [
            (json!(null), true),
            (json!(""), true),
            (json!("MachineName"), true),
            (json!("InfrastructureName"), true),
            (json!("foo"), false),
        ] {
            let spec = json!({"generateType": "worker", "hostname": {"source": source}});
            let verdict = config(&object(&spec), None);
            assert_eq!(verdict.accepts(), accepted, "{source}");
            let spec = json!({"template": {"spec": spec}});
            let verdict = template(&object(&spec), None);
            assert!(verdict.accepts(), "a template is not refused");
            assert_eq!(verdict.warnings.is_empty(), accepted, "{source}");
        }
        let spec = json!({"generateType": "worker", "hostname": {"source": "foo"}});
        let errors = config(&object(&spec), None).errors;
        assert_eq!(errors[0].path, "spec.hostname.source");
    }

    #[test]
    fn a_spec_is_immutable_and_metadata_is_not() {
        let old = object(&json!({"generateType": "worker", "talosVersion": "v1.11"}));
        let changed = object(&json!({"generateType": "worker", "talosVersion": "v1.12"}));
        for judge in [config, template] {
            let refusal = judge(&changed, Some(&old)).refusal.expect("refused");
            assert!(refusal.contains("is immutable"), "{refusal}");
            let mut labelled = old.clone();
            labelled["metadata"]["labels"] = json!({"a": "b"});
            assert!(judge(&labelled, Some(&old)).accepts());
        }
    }

    #[test]
    fn a_dry_run_of_a_topology_may_change_a_template() {
        let [config, template] = admissions() else {
            panic!("two kinds");
        };
        let old = object(&json!({"template": {"spec": {"talosVersion": "v1.11"}}}));
        let mut new = object(&json!({"template": {"spec": {"talosVersion": "v1.12"}}}));
        assert!(template.compared_with(&new, Some(&old), true).is_some());
        new["metadata"]["annotations"] = json!({"topology.cluster.x-k8s.io/dry-run": ""});
        assert!(template.compared_with(&new, Some(&old), true).is_none());
        assert!(template.compared_with(&new, Some(&old), false).is_some());
        assert!(config.compared_with(&new, Some(&old), true).is_some());
    }
}
