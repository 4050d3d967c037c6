//! Checks that several kinds share: names, labels, selectors, versions, taints, bounds.

use std::collections::BTreeMap;

use semver::Version;
use serde_json::{Value, json};

use super::Verdict;
use crate::api::{
    Bootstrap, IntOrString, LabelSelector, MachineNaming, MachineTaint, ObjectMeta, Rounding,
    annotations, labels,
};

/// Whether `value` can be the value of a label.
pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name(value, 63)
}

/// A name of letters, digits, `-`, `_` and `.` that begins and ends with a letter or digit.
fn is_name(name: &str, longest: usize) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= longest
        && ends(name.chars().next())
        && ends(name.chars().next_back())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A name that Kubernetes gives objects: lower case, parts separated by `.`.
pub(super) fn is_subdomain(name: &str) -> bool {
    let part = |part: &str| {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty()
            && part.chars().all(inside)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    !name.is_empty() && name.len() <= 253 && name.split('.').all(part)
}

/// A key of a label, an annotation or a taint: a name, with a domain before it or not.
fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => is_subdomain(domain) && is_name(name, 63),
        None => is_name(key, 63),
    }
}

pub(super) fn label_value_name(name: &str, verdict: &mut Verdict) {
    if !is_label_value(name) {
        let message = "becomes the value of a label: at most 63 letters, digits, '-', '_' and '.', \
                       with a letter or digit at both ends";
        verdict.invalid("metadata.name", name, message);
    }
}

pub(super) fn immutable<T: PartialEq>(path: &str, new: &T, old: Option<&T>, verdict: &mut Verdict) {
    if old.is_some_and(|old| old != new) {
        verdict.forbidden(path, "cannot be changed");
    }
}

pub(super) fn bootstrap(path: &str, bootstrap: &Bootstrap, verdict: &mut Verdict) {
    if bootstrap
        .config_ref
        .as_ref()
        .is_none_or(|reference| !reference.is_defined())
        && bootstrap.data_secret_name.is_none()
    {
        verdict.required(path, "set configRef or dataSecretName");
    }
}

pub(super) fn version(path: &str, version: Option<&String>, verdict: &mut Verdict) {
    let Some(version) = version.filter(|version| !version.is_empty()) else {
        return;
    };
    if version
        .strip_prefix('v')
        .is_none_or(|version| Version::parse(version).is_err())
    {
        verdict.invalid(
            path,
            version.as_str(),
            "must be v and a semantic version, such as v1.34.1",
        );
    }
}

pub(super) fn selector(path: &str, selector: &LabelSelector, verdict: &mut Verdict) -> bool {
    let before = verdict.errors.len();
    for (key, value) in &selector.match_labels {
        if !is_qualified_name(key) || !is_label_value(value) {
            verdict.invalid(
                &format!("{path}.matchLabels"),
                format!("{key}={value}"),
                "is no label",
            );
        }
    }
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        if !is_qualified_name(&requirement.key) {
            verdict.invalid(
                &format!("{path}.key"),
                requirement.key.as_str(),
                "is no key of a label",
            );
        }
        match (requirement.operator.as_str(), requirement.values.is_empty()) {
            ("In" | "NotIn", true) => {
                verdict.required(&format!("{path}.values"), "In and NotIn need values");
            }
            ("Exists" | "DoesNotExist", false) => {
                verdict.forbidden(
                    &format!("{path}.values"),
                    "Exists and DoesNotExist have no values",
                );
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
            (other, _) => {
                verdict.invalid(
                    &format!("{path}.operator"),
                    other,
                    "must be In, NotIn, Exists or DoesNotExist",
                );
            }
        }
        for value in requirement
            .values
            .iter()
            .filter(|value| !is_label_value(value))
        {
            verdict.invalid(
                &format!("{path}.values"),
                value.as_str(),
                "is no value of a label",
            );
        }
    }
    verdict.errors.len() == before
}

pub(super) fn selects_template(spec: &LabelSelector, template: &ObjectMeta, verdict: &mut Verdict) {
    if selector("spec.selector", spec, verdict) && !spec.matches(&template.labels) {
        verdict.forbidden("spec.template.metadata.labels", "must fulfil spec.selector");
    }
}

pub(super) fn template_metadata(metadata: &ObjectMeta, verdict: &mut Verdict) {
    for (key, value) in &metadata.labels {
        if !is_qualified_name(key) || !is_label_value(value) {
            verdict.invalid(
                "spec.template.metadata.labels",
                format!("{key}={value}"),
                "is no label",
            );
        }
    }
    for key in metadata.annotations.keys() {
        if !is_qualified_name(&key.to_ascii_lowercase()) {
            verdict.invalid(
                "spec.template.metadata.annotations",
                key.as_str(),
                "is no key of an annotation",
            );
        }
    }
}

pub(super) fn count(path: &str, value: Option<&IntOrString>, verdict: &mut Verdict) {
    if let Some(value) = value
        && value.scaled(0, Rounding::Down).is_none()
    {
        verdict.invalid(
            path,
            value.to_string(),
            "must be a number or a percentage such as 25%",
        );
    }
}

pub(super) fn naming(naming: &MachineNaming, verdict: &mut Verdict) {
    let Some(template) = naming
        .template
        .as_deref()
        .filter(|template| !template.is_empty())
    else {
        return;
    };
    let path = "spec.machineNaming.template";
    if !template.contains("{{ .random }}") {
        verdict.invalid(
            path,
            template,
            "must hold {{ .random }}, else two machines get the same name",
        );
    }
    match render(template) {
        Ok(name) if is_subdomain(&name) => {}
        Ok(name) => verdict.invalid(
            path,
            template,
            &format!("makes {name:?}, which is no name of an object"),
        ),
        Err(message) => verdict.invalid(path, template, &message),
    }
}

/// An example of a name that a template makes.
fn render(template: &str) -> Result<String, String> {
    let known = [
        (".cluster.name", "cluster"),
        (".machineSet.name", "machineset"),
        (".random", "abcde"),
    ];
    let mut name = String::new();
    let mut rest = template;
    while let Some((before, inside)) = rest.split_once("{{") {
        let (variable, after) = inside
            .split_once("}}")
            .ok_or("has braces that do not close")?;
        let value = known
            .iter()
            .find(|(variable_name, _)| *variable_name == variable.trim());
        let (_, value) = value.ok_or_else(|| {
            format!(
                "has a variable {:?}; there are .cluster.name, .machineSet.name and .random",
                variable.trim()
            )
        })?;
        name.push_str(before);
        name.push_str(value);
        rest = after;
    }
    name.push_str(rest);
    Ok(name)
}

/// Preflight checks that a user may skip.
const PREFLIGHT_CHECKS: [&str; 5] = [
    "All",
    "KubeadmVersionSkew",
    "KubernetesVersionSkew",
    "ControlPlaneIsStable",
    "ControlPlaneVersionSkew",
];

pub(super) fn preflight_checks(object: &Value, verdict: &mut Verdict) {
    let name = annotations::SKIP_PREFLIGHT_CHECKS;
    let skipped = object
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(name)?.as_str());
    for check in skipped
        .into_iter()
        .flat_map(|skipped| skipped.split(','))
        .map(str::trim)
    {
        if !PREFLIGHT_CHECKS.contains(&check) {
            let message = format!(
                "is no preflight check; there are {}",
                PREFLIGHT_CHECKS.join(", ")
            );
            verdict.invalid(&format!("metadata.annotations[{name}]"), check, &message);
        }
    }
}

pub(super) fn taints(path: &str, taints: &[MachineTaint], worker: bool, verdict: &mut Verdict) {
    let mut seen = BTreeMap::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let key = taint.key.as_str();
        if seen.insert((key, taint.effect.as_str()), index).is_some() {
            verdict.invalid(&path, key, "is there twice with the same effect");
        }
        if !is_qualified_name(key) {
            verdict.invalid(&format!("{path}.key"), key, "is no key of a taint");
        }
        let reserved = match key {
            "node.cluster.x-k8s.io/uninitialized" | "node.cluster.x-k8s.io/outdated-revision" => {
                Some("belongs to Cluster API")
            }
            "node.kubernetes.io/out-of-service" => None,
            _ if key.starts_with("node.kubernetes.io/") => Some("belongs to the node controller"),
            _ if key.starts_with("node.cloudprovider.kubernetes.io/") => {
                Some("belongs to the cloud provider")
            }
            "node-role.kubernetes.io/master" => {
                Some("is no longer used; node-role.kubernetes.io/control-plane is")
            }
            "node-role.kubernetes.io/control-plane" if worker => {
                Some("is for control plane machines")
            }
            _ => None,
        };
        if let Some(message) = reserved {
            verdict.invalid(&format!("{path}.key"), key, message);
        }
    }
}

pub(super) fn cluster_label_matches(
    selector: &LabelSelector,
    cluster: &str,
    verdict: &mut Verdict,
) {
    if let Some(label) = selector.match_labels.get(labels::CLUSTER_NAME)
        && label != cluster
    {
        verdict.invalid(
            "spec.selector",
            json!(label),
            "selects another cluster than spec.clusterName",
        );
    }
}
