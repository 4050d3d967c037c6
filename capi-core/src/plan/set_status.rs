//! What the statuses of MachineSets and MachineDeployments have in common.
//!
//! Decides words and when a status is worth a write. Never decides what is to be done.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::condition::{Conditions, Wanted};
use crate::api::{Condition, LabelSelector, MachineTemplateSpec};

/// What is known of one of the two templates that machines are made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateFacts {
    /// The object exists.
    pub exists: bool,
    /// It names the Cluster as owner, exactly.
    pub owned_by_cluster: bool,
    /// Its annotation that names preflight checks to skip.
    pub skip_preflight_checks: Option<String>,
}

impl Default for TemplateFacts {
    fn default() -> Self {
        Self {
            exists: true,
            owned_by_cluster: true,
            skip_preflight_checks: None,
        }
    }
}

/// What is known of both templates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Templates {
    /// Template of the infrastructure machines.
    pub infrastructure: TemplateFacts,
    /// Template of the bootstrap configs; as the default says where none is referred to.
    pub bootstrap: TemplateFacts,
}

/// One of the two templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TemplateKind {
    /// Template of the infrastructure machines.
    Infrastructure,
    /// Template of the bootstrap configs.
    Bootstrap,
}

impl Templates {
    /// Whether all templates that are referred to exist.
    #[must_use]
    pub fn exist(&self, template: &MachineTemplateSpec) -> bool {
        self.missing(template).is_empty()
    }

    /// Kinds of the templates that are referred to and do not exist, bootstrap first.
    fn missing<'a>(&self, template: &'a MachineTemplateSpec) -> Vec<&'a str> {
        let bootstrap = template.spec.bootstrap.config_ref.as_ref();
        let mut kinds = Vec::new();
        if let Some(reference) = bootstrap.filter(|_| !self.bootstrap.exists) {
            kinds.push(reference.kind.as_str());
        }
        if !self.infrastructure.exists {
            kinds.push(template.spec.infrastructure_ref.kind.as_str());
        }
        kinds
    }

    /// `X does not exist`, `X and Y do not exist`; `None` when both do.
    #[must_use]
    pub fn missing_message(&self, template: &MachineTemplateSpec) -> Option<String> {
        match self.missing(template).as_slice() {
            [] => None,
            [one] => Some(format!("{one} does not exist")),
            several => Some(format!("{} do not exist", several.join(" and "))),
        }
    }

    /// The templates that exist and do not name the Cluster as owner.
    pub(super) fn to_own(&self, template: &MachineTemplateSpec) -> Vec<TemplateKind> {
        let refers = |kind: &str| kind.ends_with("Template");
        let bootstrap = template.spec.bootstrap.config_ref.as_ref();
        let mut kinds = Vec::new();
        let unowned = |facts: &TemplateFacts| facts.exists && !facts.owned_by_cluster;
        if unowned(&self.infrastructure) && refers(&template.spec.infrastructure_ref.kind) {
            kinds.push(TemplateKind::Infrastructure);
        }
        if unowned(&self.bootstrap) && bootstrap.is_some_and(|found| refers(&found.kind)) {
            kinds.push(TemplateKind::Bootstrap);
        }
        kinds
    }
}

/// What sets know of their Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwningCluster {
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// `spec.paused`.
    pub paused: bool,
}

/// `Scaling up from a to b replicas` and its kin.
pub(super) fn scaling(direction: &str, from: i32, to: i32) -> String {
    format!("Scaling {direction} from {from} to {to} replicas")
}

/// Whether `wanted` would change `current`, at this generation.
pub(super) fn differ(current: &[Condition], wanted: &[Wanted], generation: i64) -> bool {
    let generation = (generation > 0).then_some(generation);
    wanted.iter().any(|wanted| {
        let found = current
            .iter()
            .find(|found| same(&found.type_, &wanted.type_));
        found.is_none_or(|found| {
            found.status != wanted.status
                || !same(&found.reason, &wanted.reason)
                || !same(&found.message, &wanted.message)
                || found.observed_generation != generation
        })
    })
}

/// Whether two short texts are equal, without a call.
fn same(a: &str, b: &str) -> bool {
    let word = |bytes: &[u8]| bytes.first_chunk().map(|word| u64::from_ne_bytes(*word));
    let (a, b) = (a.as_bytes(), b.as_bytes());
    a.len() == b.len()
        && a.chunks(8)
            .zip(b.chunks(8))
            .all(|(a, b)| match (word(a), word(b)) {
                (Some(a), Some(b)) => a == b,
                _ => a.iter().eq(b),
            })
}

/// `current` with `wanted` in it.
pub(super) fn settle(
    current: &[Condition],
    wanted: Vec<Wanted>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = Conditions::new(current.to_vec(), generation, now);
    for wanted in wanted {
        conditions.set(wanted);
    }
    conditions.into_vec()
}

/// A selector as `status.selector` has it: requirements by key, joined by commas.
#[must_use]
pub fn selector_text(selector: &LabelSelector) -> String {
    let equal = selector
        .match_labels
        .iter()
        .map(|(key, value)| (key, format!("{key}={value}")));
    let mut requirements: Vec<_> = equal.collect();
    for requirement in &selector.match_expressions {
        let key = &requirement.key;
        let mut values = requirement.values.clone();
        values.sort();
        let values = values.join(",");
        requirements.push((
            key,
            match requirement.operator.as_str() {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "DoesNotExist" => format!("!{key}"),
                _ => key.clone(),
            },
        ));
    }
    requirements.sort_by(|a, b| a.0.cmp(b.0));
    let texts: Vec<String> = requirements.into_iter().map(|(_, text)| text).collect();
    texts.join(",")
}
