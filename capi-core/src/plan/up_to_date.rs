//! Whether a machine has the template that is wanted: which differences of templates count, and
//! their words.
//!
//! Labels, annotations, taints, time limits, readiness gates and the like are changed in place and
//! never count.

use crate::api::MachineSpec;

/// What differs between the template a machine was made from and the one that is wanted; empty
/// when the machine is up to date. The order and the words are upstream's: other controllers
/// read them.
#[must_use]
pub fn template_differences(current: &MachineSpec, desired: &MachineSpec) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut differences = Vec::new();
    if text(&current.version) != text(&desired.version) {
        differences.push(format!(
            "Version {}, {} required",
            text(&current.version),
            text(&desired.version)
        ));
    }
    if current.bootstrap != desired.bootstrap {
        differences.push(match &current.bootstrap.config_ref {
            Some(config) if config.is_defined() => not_up_to_date(&config.kind),
            _ => {
                let secret = |spec: &MachineSpec| {
                    spec.bootstrap
                        .data_secret_name
                        .clone()
                        .unwrap_or_else(|| "nil".to_owned())
                };
                format!(
                    "spec.bootstrap.dataSecretName {}, {} required",
                    secret(current),
                    secret(desired)
                )
            }
        });
    }
    if current.infrastructure_ref != desired.infrastructure_ref {
        differences.push(not_up_to_date(&current.infrastructure_ref.kind));
    }
    if text(&current.failure_domain) != text(&desired.failure_domain) {
        differences.push(format!(
            "Failure domain {}, {} required",
            text(&current.failure_domain),
            text(&desired.failure_domain)
        ));
    }
    differences
}

fn not_up_to_date(kind: &str) -> String {
    format!(
        "{} is not up-to-date",
        kind.strip_suffix("Template").unwrap_or(kind)
    )
}
