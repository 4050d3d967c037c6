//! Draining a Node: which pods are evicted now, which later, which are waited for, which stay.
//!
//! Decides from what was read of the Node's pods. Never evicts; the outcome of each eviction is a
//! fact of the plan that follows.
//!
//! Answers to `core/reconcilers/machine/drain` of Cluster API.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::action::PodRef;
use crate::{
    api::{DrainBehavior, LabelSelector, MachineDrainRuleSpec, Time, labels},
    contract::Object,
};

/// How long evictions may take in one go; the rest is tried again later.
pub const EVICTION_BUDGET: Duration = Duration::from_secs(10);
/// When to look again while pods are still there.
pub const RETRY: Duration = Duration::from_secs(20);

/// A pod of the workload cluster, decoded from its JSON.
pub type Pod = Object<PodSpec, PodStatus>;

/// The parts of a pod's spec that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Volumes.
    pub volumes: Vec<PodVolume>,
}

/// A volume of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolume {
    /// The claim that it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimSource>,
}

/// A claim that a pod uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSource {
    /// Name of the claim, in the pod's namespace.
    pub claim_name: String,
}

/// The parts of a pod's status that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Phase.
    pub phase: String,
}

/// What came of looking for the DaemonSet of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DaemonSetLookup {
    /// It exists.
    Exists,
    /// It does not; the pod is an orphan.
    NotFound,
    /// It could not be read.
    Failed(String),
}

/// What came of evicting a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Eviction {
    /// The API server accepted it.
    Accepted,
    /// The pod is gone.
    NotFound,
    /// A PodDisruptionBudget does not allow it now: the server's message and its causes.
    TooManyRequests {
        /// Message of the status.
        message: String,
        /// Messages of its causes.
        causes: Vec<String>,
    },
    /// The pod's namespace is being deleted.
    NamespaceTerminating,
    /// The time for evictions was over.
    BudgetExceeded,
    /// It failed otherwise.
    Failed(String),
}

impl Eviction {
    fn failure(&self) -> Option<String> {
        match self {
            Self::Accepted | Self::NotFound => None,
            Self::TooManyRequests { message, causes } => {
                Some(format!("{message} {}", causes.join(",")))
            }
            Self::NamespaceTerminating => Some(
                "Cannot evict pod from terminating namespace: unable to create eviction \
                 (kube-controller-manager should set deletionTimestamp)"
                    .to_owned(),
            ),
            Self::BudgetExceeded => Some(format!(
                "eviction timeout of {}s reached, eviction will be retried",
                EVICTION_BUDGET.as_secs()
            )),
            Self::Failed(error) => Some(error.clone()),
        }
    }
}

/// What was read for a drain, and what came of its evictions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DrainFacts {
    /// The pods of the Node.
    pub pods: Vec<Pod>,
    /// DaemonSets of these pods, by `namespace/name`; those not listed exist.
    pub daemon_sets: BTreeMap<String, DaemonSetLookup>,
    /// Labels of the workload cluster's namespaces.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// All MachineDrainRules of the Machine's namespace, by name.
    pub rules: BTreeMap<String, MachineDrainRuleSpec>,
    /// Labels of the Cluster.
    pub cluster_labels: BTreeMap<String, String>,
    /// What came of the evictions of the plan before, by the pod's `namespace/name`; `None` before
    /// they were tried.
    pub evictions: Option<BTreeMap<String, Eviction>>,
}

/// What is to be done about the pods of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DrainPlan {
    /// Pods to evict now, in order.
    pub evict: Vec<PodRef>,
    /// Grace period of the evictions in seconds; the pod's own when `None`.
    pub grace_period_seconds: Option<i64>,
    /// Whether the Node is drained.
    pub complete: bool,
    /// What is still waited for; empty when complete.
    pub message: String,
    /// Claims, as `namespace/name`, of pods that stay.
    pub claims_of_skipped_pods: Vec<String>,
}

/// What happens to one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behavior {
    Drain(i32),
    WaitCompleted,
    Skip,
}

impl Behavior {
    fn order(self) -> Option<i32> {
        match self {
            Self::Drain(order) => Some(order),
            Self::WaitCompleted => Some(0),
            Self::Skip => None,
        }
    }
}

/// Plans one step of draining a Node. `started` is when the drain began, `unreachable` whether
/// the kubelet cannot be reached.
///
/// # Errors
/// When a rule of the namespace has a selector that is none, or a pod cannot be judged; nothing is
/// evicted then.
pub fn plan(
    facts: &DrainFacts,
    machine_labels: &BTreeMap<String, String>,
    started: Time,
    unreachable: bool,
    now: Timestamp,
) -> Result<DrainPlan, String> {
    let rules = matching_rules(facts, machine_labels)?;
    let mut pods: Vec<(&Pod, Behavior)> = Vec::with_capacity(facts.pods.len());
    let mut errors: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in &facts.pods {
        match judge(pod, facts, &rules, unreachable, now) {
            Ok(behavior) => pods.push((pod, behavior)),
            Err(error) => errors.entry(error).or_default().push(key(pod)),
        }
    }
    if !errors.is_empty() {
        let texts: Vec<_> = errors
            .iter()
            .map(|(error, pods)| format!("Pods with error {error:?}: {}", pods.join(", ")))
            .collect();
        return Err(format!(
            "failed to get Pods for eviction: {}",
            texts.join("; ")
        ));
    }
    pods.sort_by_key(|(pod, _)| key(pod));
    let mut plan = DrainPlan {
        grace_period_seconds: unreachable.then_some(1),
        claims_of_skipped_pods: claims(&pods),
        ..DrainPlan::default()
    };
    let Some(first) = pods.iter().filter_map(|(_, b)| b.order()).min() else {
        plan.complete = true;
        return Ok(plan);
    };

    let mut step = Step::default();
    for (pod, behavior) in &pods {
        let deleting = pod.metadata.is_deleting();
        match behavior {
            Behavior::Drain(_) if deleting => step.terminating.push(key(pod)),
            Behavior::Drain(order) if *order == first => {
                let name = key(pod);
                let outcome = facts.evictions.as_ref().map(|e| e.get(&name));
                step.evict(&mut plan, pod, name, outcome);
            }
            Behavior::Drain(_) => step.later.push(key(pod)),
            Behavior::WaitCompleted if first == 0 => step.waiting.push(key(pod)),
            Behavior::WaitCompleted => step.waiting_later.push(key(pod)),
            Behavior::Skip => {}
        }
    }
    plan.complete = plan.evict.is_empty() && step.is_done();
    if !plan.complete {
        plan.message = step.message(started);
    }
    Ok(plan)
}

/// Pods by what is waited for.
#[derive(Default)]
struct Step {
    terminating: Vec<String>,
    failed: BTreeMap<String, Vec<String>>,
    later: Vec<String>,
    waiting: Vec<String>,
    waiting_later: Vec<String>,
}

impl Step {
    /// A pod whose turn it is: to be evicted, or what came of it.
    fn evict(
        &mut self,
        plan: &mut DrainPlan,
        pod: &Pod,
        name: String,
        outcome: Option<Option<&Eviction>>,
    ) {
        match outcome {
            None => plan.evict.push(PodRef {
                namespace: pod.metadata.namespace.clone(),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
            Some(Some(Eviction::NotFound)) => {}
            Some(Some(Eviction::Accepted)) => self.terminating.push(name),
            Some(outcome) => {
                let failure = outcome.unwrap_or(&Eviction::BudgetExceeded).failure();
                self.failed
                    .entry(failure.unwrap_or_default())
                    .or_default()
                    .push(name);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.terminating.is_empty()
            && self.failed.is_empty()
            && self.later.is_empty()
            && self.waiting.is_empty()
            && self.waiting_later.is_empty()
    }

    /// The message of the condition; other code looks for parts of it.
    fn message(&self, started: Time) -> String {
        const BUDGET: &str = "annot evict pod as it would violate the pod's disruption budget.";
        const SHOWN_FAILURES: usize = 5;
        const AFTER: &str = "After above Pods have been removed from the Node,";
        let kind = |count: usize| if count == 1 { "Pod" } else { "Pods" };
        let bullet = |pods: &[String], what: &str| {
            format!("* {} {}: {what}", kind(pods.len()), shortened(pods, 3))
        };
        let mut lines = vec![format!("Drain not completed yet (started at {started}):")];
        if !self.terminating.is_empty() {
            let what = "deletionTimestamp set, but still not removed from the Node";
            lines.push(bullet(&self.terminating, what));
        }
        for (failure, pods) in self.failed.iter().take(SHOWN_FAILURES) {
            let failure = failure.replace(&format!("C{BUDGET}"), &format!("c{BUDGET}"));
            lines.push(if failure.starts_with(&format!("c{BUDGET}")) {
                bullet(pods, &failure)
            } else {
                bullet(pods, &format!("failed to evict Pod, {failure}"))
            });
        }
        let hidden = self.failed.values().skip(SHOWN_FAILURES);
        let hidden: usize = hidden.map(Vec::len).sum();
        if hidden > 0 {
            lines.push(format!("* {hidden} {} with other issues", kind(hidden)));
        }
        if !self.waiting.is_empty() {
            lines.push(bullet(&self.waiting, "waiting for completion"));
        }
        if !self.later.is_empty() {
            let pods = shortened(&self.later, 3);
            lines.push(format!(
                "{AFTER} the following Pods will be evicted: {pods}"
            ));
        }
        if !self.waiting_later.is_empty() {
            let pods = shortened(&self.waiting_later, 3);
            lines.push(format!(
                "{AFTER} waiting for the following Pods to complete without eviction: {pods}"
            ));
        }
        lines.join("\n")
    }
}

fn key(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace, pod.metadata.name)
}

/// Claims of the pods that stay.
fn claims(pods: &[(&Pod, Behavior)]) -> Vec<String> {
    pods.iter()
        .filter(|(_, behavior)| *behavior == Behavior::Skip)
        .flat_map(|(pod, _)| {
            let claims = pod.spec.volumes.iter();
            claims
                .filter_map(|volume| volume.persistent_volume_claim.as_ref())
                .map(|claim| format!("{}/{}", pod.metadata.namespace, claim.claim_name))
        })
        .collect()
}

/// The rules for this Machine, by name.
fn matching_rules<'a>(
    facts: &'a DrainFacts,
    machine_labels: &BTreeMap<String, String>,
) -> Result<Vec<(&'a str, &'a MachineDrainRuleSpec)>, String> {
    for (name, rule) in &facts.rules {
        let machines = rule
            .machines
            .iter()
            .flat_map(|m| [&m.selector, &m.cluster_selector]);
        let pods = rule
            .pods
            .iter()
            .flat_map(|p| [&p.selector, &p.namespace_selector]);
        for selector in machines.chain(pods).flatten() {
            validate(selector).map_err(|error| {
                format!(
                    "failed to get matching MachineDrainRules: invalid selectors in \
                     MachineDrainRule {name}: {error}"
                )
            })?;
        }
    }
    Ok(facts
        .rules
        .iter()
        .filter(|(_, rule)| {
            rule.machines.is_empty()
                || rule.machines.iter().any(|machine| {
                    matches(machine.selector.as_ref(), machine_labels)
                        && matches(machine.cluster_selector.as_ref(), &facts.cluster_labels)
                })
        })
        .map(|(name, rule)| (name.as_str(), rule))
        .collect())
}

fn matches(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    selector.is_none_or(|selector| selector.matches(labels))
}

fn validate(selector: &LabelSelector) -> Result<(), String> {
    for requirement in &selector.match_expressions {
        let (key, values) = (&requirement.key, requirement.values.len());
        match requirement.operator.as_str() {
            "In" | "NotIn" if values == 0 => {
                return Err(format!("{key}: values must be given for In and NotIn"));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                return Err(format!(
                    "{key}: values must not be given for Exists and DoesNotExist"
                ));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                return Err(format!(
                    "{key}: {other:?} is not a valid label selector operator"
                ));
            }
        }
    }
    Ok(())
}

/// What happens to a pod: the first rule that does not drain it decides.
fn judge(
    pod: &Pod,
    facts: &DrainFacts,
    rules: &[(&str, &MachineDrainRuleSpec)],
    unreachable: bool,
    now: Timestamp,
) -> Result<Behavior, String> {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let metadata = &pod.metadata;
    let finished = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    if unreachable
        && metadata.deletion_timestamp.is_some_and(|since| {
            now.as_second()
                .saturating_sub(since.timestamp().as_second())
                > 1
        })
    {
        return Ok(Behavior::Skip);
    }
    if let Some(owner) = metadata.controller().filter(|o| o.kind == "DaemonSet")
        && !finished
    {
        let name = format!("{}/{}", metadata.namespace, owner.name);
        match facts.daemon_sets.get(&name) {
            None | Some(DaemonSetLookup::Exists) => return Ok(Behavior::Skip),
            Some(DaemonSetLookup::NotFound) => {}
            Some(DaemonSetLookup::Failed(error)) => return Err(error.clone()),
        }
    }
    if metadata.has_annotation(MIRROR) {
        return Ok(Behavior::Skip);
    }
    match metadata.labels.get(labels::DRAIN).map(|v| v.to_lowercase()) {
        Some(value) if value == "skip" => return Ok(Behavior::Skip),
        Some(value) if value.replacen('-', "", 1) == "waitcompleted" => {
            return Ok(Behavior::WaitCompleted);
        }
        _ => {}
    }
    let namespace = facts
        .namespaces
        .get(&metadata.namespace)
        .ok_or_else(|| "Pod Namespace does not exist".to_owned())?;
    let rule = rules.iter().find(|(_, rule)| {
        rule.pods.is_empty()
            || rule.pods.iter().any(|selector| {
                matches(selector.selector.as_ref(), &metadata.labels)
                    && matches(selector.namespace_selector.as_ref(), namespace)
            })
    });
    match rule.map(|(name, rule)| (name, &rule.drain)) {
        None => Ok(Behavior::Drain(0)),
        Some((name, drain)) => match &drain.behavior {
            DrainBehavior::Drain => Ok(Behavior::Drain(drain.order.unwrap_or(0))),
            DrainBehavior::Skip => Ok(Behavior::Skip),
            DrainBehavior::WaitCompleted => Ok(Behavior::WaitCompleted),
            other => Err(format!(
                "MachineDrainRule {name:?} has unknown spec.drain.behavior: {:?}",
                other.as_str()
            )),
        },
    }
}

/// The first `shown` names, and how many more there are.
#[must_use]
pub(super) fn shortened<T: AsRef<str>>(names: &[T], shown: usize) -> String {
    let mut list: Vec<&str> = names.iter().take(shown).map(AsRef::as_ref).collect();
    let more = format!("... ({} more)", names.len().saturating_sub(shown));
    if names.len() > shown {
        list.push(&more);
    }
    list.join(", ")
}

/// Why a drain takes long, by the words of its message.
#[must_use]
pub fn delay_causes(message: &str) -> Vec<&'static str> {
    [
        (
            "cannot evict pod as it would violate the pod's disruption budget.",
            "PodDisruptionBudgets",
        ),
        (
            "deletionTimestamp set, but still not removed from the Node",
            "Pods not terminating",
        ),
        ("failed to evict Pod", "Pod eviction errors"),
        ("waiting for completion", "Pods not completed yet"),
    ]
    .into_iter()
    .filter(|(words, _)| message.contains(words))
    .map(|(_, cause)| cause)
    .collect()
}

#[cfg(test)]
mod tests;
