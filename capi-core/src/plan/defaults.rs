//! Defaults of MachineSets and MachineDeployments, for clusters where no webhook fills them in.
//!
//! Decides the value of a field that nobody set. Never changes a field that somebody set, but for
//! a version without its `v`.
//!
//! Answers to the defaulting in `core/webhooks/admission` of Cluster API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    api::{
        IntOrString, LabelSelector, MachineDeploymentSpec, MachineDeploymentStatus, MachineSetSpec,
        MachineSetStatus, MachineTemplateSpec, RollingUpdate, RolloutStrategy, RolloutStrategyType,
        annotations, labels,
    },
    contract::{Metadata, Object},
};

/// Fields of a set's spec that are to be filled in; empty when nothing is missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetDefaults {
    /// `spec.replicas`.
    pub replicas: Option<i32>,
    /// Labels for `spec.selector.matchLabels`.
    pub selector: BTreeMap<String, String>,
    /// Labels for `spec.template.metadata.labels`.
    pub template_labels: BTreeMap<String, String>,
    /// `spec.template.spec.version`.
    pub version: Option<String>,
    /// `spec.rollout.strategy`.
    pub strategy: Option<RolloutStrategy>,
}

impl SetDefaults {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Fills a deployment's spec in.
    pub fn apply_to_deployment(&self, spec: &mut MachineDeploymentSpec) {
        self.apply(&mut spec.replicas, &mut spec.selector, &mut spec.template);
        if let Some(strategy) = &self.strategy {
            spec.rollout.strategy = Some(strategy.clone());
        }
    }

    /// Fills a set's spec in.
    pub fn apply_to_set(&self, spec: &mut MachineSetSpec) {
        self.apply(&mut spec.replicas, &mut spec.selector, &mut spec.template);
    }

    fn apply(
        &self,
        replicas: &mut Option<i32>,
        selector: &mut LabelSelector,
        template: &mut MachineTemplateSpec,
    ) {
        if self.replicas.is_some() {
            *replicas = self.replicas;
        }
        selector.match_labels.extend(self.selector.clone());
        template
            .metadata
            .labels
            .extend(self.template_labels.clone());
        if self.version.is_some() {
            template.spec.version.clone_from(&self.version);
        }
    }

    /// The defaults as a JSON merge patch of the object; `None` when nothing is missing.
    #[must_use]
    pub fn to_merge_patch(&self) -> Option<Value> {
        if self.is_empty() {
            return None;
        }
        let mut spec = Map::new();
        if let Some(replicas) = self.replicas {
            spec.insert("replicas".to_owned(), json!(replicas));
        }
        if !self.selector.is_empty() {
            spec.insert(
                "selector".to_owned(),
                json!({ "matchLabels": self.selector }),
            );
        }
        let mut template = Map::new();
        if !self.template_labels.is_empty() {
            template.insert(
                "metadata".to_owned(),
                json!({ "labels": self.template_labels }),
            );
        }
        if let Some(version) = &self.version {
            template.insert("spec".to_owned(), json!({ "version": version }));
        }
        if !template.is_empty() {
            spec.insert("template".to_owned(), Value::Object(template));
        }
        if let Some(strategy) = &self.strategy {
            spec.insert("rollout".to_owned(), json!({ "strategy": strategy }));
        }
        Some(json!({ "spec": spec }))
    }
}

/// A field that cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DefaultsError {
    /// An annotation of the autoscaler that is no number.
    #[error("annotation {key} must be a number, it is {value:?}")]
    Autoscaler {
        /// Key of the annotation.
        key: &'static str,
        /// Its value.
        value: String,
    },
}

/// What is missing in a MachineSet.
///
/// # Errors
/// An annotation that `spec.replicas` is taken from cannot be read.
pub fn machine_set(
    object: &Object<MachineSetSpec, MachineSetStatus>,
) -> Result<SetDefaults, DefaultsError> {
    let spec = &object.spec;
    let mut defaults = of_template(&spec.cluster_name, &spec.selector, &spec.template);
    if spec.selector.is_empty() {
        let name = super::naming::label_value(&object.metadata.name);
        defaults
            .selector
            .insert(labels::SET_NAME.to_owned(), name.clone());
        defaults
            .template_labels
            .insert(labels::SET_NAME.to_owned(), name);
    }
    if spec.replicas.is_none() {
        defaults.replicas = Some(replicas(&object.metadata, None, None)?);
    }
    Ok(defaults)
}

/// What is missing in a MachineDeployment.
///
/// # Errors
/// An annotation that `spec.replicas` is taken from cannot be read.
pub fn machine_deployment(
    object: &Object<MachineDeploymentSpec, MachineDeploymentStatus>,
) -> Result<SetDefaults, DefaultsError> {
    let spec = &object.spec;
    let mut defaults = of_template(&spec.cluster_name, &spec.selector, &spec.template);
    if spec.selector.is_empty() {
        let name = &object.metadata.name;
        for labels in [&mut defaults.selector, &mut defaults.template_labels] {
            labels.insert(labels::DEPLOYMENT_NAME.to_owned(), name.clone());
        }
    }
    if spec.replicas.is_none() {
        defaults.replicas = Some(replicas(&object.metadata, None, None)?);
    }
    let wanted = strategy(spec.rollout.strategy.as_ref());
    if spec.rollout.strategy.as_ref() != Some(&wanted) {
        defaults.strategy = Some(wanted);
    }
    Ok(defaults)
}

/// A rollout strategy with what is missing filled in: RollingUpdate, surge 1, unavailable 0.
#[must_use]
pub fn strategy(given: Option<&RolloutStrategy>) -> RolloutStrategy {
    let mut strategy = given.cloned().unwrap_or_default();
    if strategy.type_ == RolloutStrategyType::RollingUpdate {
        let RollingUpdate {
            max_surge,
            max_unavailable,
        } = &mut strategy.rolling_update;
        max_surge.get_or_insert(IntOrString::Int(1));
        max_unavailable.get_or_insert(IntOrString::Int(0));
    }
    strategy
}

fn of_template(
    cluster: &str,
    selector: &LabelSelector,
    template: &MachineTemplateSpec,
) -> SetDefaults {
    let mut defaults = SetDefaults::default();
    let key = labels::CLUSTER_NAME;
    for (found, missing) in [
        (&selector.match_labels, &mut defaults.selector),
        (&template.metadata.labels, &mut defaults.template_labels),
    ] {
        if found.get(key).map(String::as_str) != Some(cluster) {
            missing.insert(key.to_owned(), cluster.to_owned());
        }
    }
    let version = template.spec.version.as_deref().unwrap_or_default();
    if !version.is_empty() && !version.starts_with('v') {
        defaults.version = Some(format!("v{version}"));
    }
    defaults
}

/// The number of replicas where nobody said one: what the autoscaler's annotations allow, next to
/// the number that the object had before; `created` says that it is new.
///
/// # Errors
/// An annotation that is no number.
pub fn replicas(
    object: &Metadata,
    given: Option<i32>,
    before: Option<Option<i32>>,
) -> Result<i32, DefaultsError> {
    if let Some(given) = given {
        return Ok(given);
    }
    let bound = |key: &'static str| match object.annotations.get(key) {
        None => Ok(None),
        Some(value) => value
            .parse::<i32>()
            .map(Some)
            .map_err(|_| DefaultsError::Autoscaler {
                key,
                value: value.clone(),
            }),
    };
    let (min, max) = (
        bound(annotations::AUTOSCALER_MIN_SIZE)?,
        bound(annotations::AUTOSCALER_MAX_SIZE)?,
    );
    let (Some(min), Some(max)) = (min, max) else {
        return Ok(1);
    };
    Ok(match before {
        None | Some(None) => min,
        Some(Some(before)) if before < min => min,
        Some(Some(before)) if before > max => max,
        Some(Some(before)) => before,
    })
}
