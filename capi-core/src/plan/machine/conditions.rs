//! Conditions and phase of a Machine, in upstream's order and words.

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{Lookup, Work, provision::defined};
use crate::{
    api::{
        Condition, ConditionPolarity, ConditionStatus, MachinePhase, Time, V1Beta1Condition,
        annotations, machine::MACHINE,
    },
    contract::Field,
    plan::{
        condition::{
            CHECK_LOGS, Conditions, Fallback, MergePriority, MergeStrategy, Reasons, Summary,
            Wanted, mirror, types,
        },
        delete::machine::Deletion,
        legacy::{self, LegacyConditions, Severity},
        node::{Node, NodeCondition, NodeLookup},
        up_to_date::template_differences,
    },
};

/// How an external object is shown in a condition of its owner.
pub(in crate::plan) struct ExternalCondition<'a> {
    /// Type of the condition.
    pub target: &'static str,
    /// Kind of the object.
    pub kind: &'a str,
    /// The field that tells that the object is done, as messages name it.
    pub field: &'static str,
    /// Reason when it is.
    pub positive: &'static str,
    /// Reason when it is not.
    pub negative: &'static str,
    /// Whether it has been.
    pub latched: bool,
    /// Whether the owner is being deleted.
    pub owner_deleting: bool,
    /// Words for an object that vanished while its owner stays, if that is told apart.
    pub while_exists: Option<&'static str>,
}

impl ExternalCondition<'_> {
    /// The condition for what was found: a mirror, or why there is none.
    pub(in crate::plan) fn of(&self, ready: Result<&Field<Condition>, bool>) -> Wanted {
        let fallback = |latched: bool| Fallback {
            status: latched.into(),
            reason: Cow::Borrowed(if latched {
                self.positive
            } else {
                self.negative
            }),
            message: if latched {
                String::new()
            } else {
                format!("{} {} is false", self.kind, self.field)
            },
        };
        match ready {
            Ok(ready) => mirror(ready, self.target, self.positive, fallback(self.latched)),
            Err(false) => Wanted::internal_error(self.target),
            Err(true) => {
                let kind = self.kind;
                let (reason, message) = match (self.owner_deleting, self.latched) {
                    (true, true) => ("ObjectDeleted", format!("{kind} has been deleted")),
                    (false, true) => match self.while_exists {
                        Some(owner) => (
                            "ObjectDeleted",
                            format!("{kind} has been deleted while the {owner} still exists"),
                        ),
                        None => ("ObjectDoesNotExist", format!("{kind} does not exist")),
                    },
                    (_, false) => ("ObjectDoesNotExist", format!("{kind} does not exist")),
                };
                Wanted::is_false(self.target, reason).message(message)
            }
        }
    }
}

impl Work<'_> {
    pub(super) fn conditions(&mut self, paused: Wanted, deletion: Option<Deletion>) {
        let mut list = Conditions::new(
            std::mem::take(&mut self.status.conditions),
            self.generation(),
            self.now,
        );
        list.set(paused);
        list.set(self.bootstrap_config_ready());
        list.set(self.infrastructure_ready());
        self.node_conditions(&mut list);
        if let Some(node) = self.node
            && !list.is_true(types::NODE_HEALTHY)
        {
            self.out
                .blocked("Node", "", &node.metadata.name, "it is not healthy yet");
        }
        list.set(match deletion {
            Some(deletion) => {
                Wanted::is_true(types::DELETING, deletion.reason).message(deletion.message)
            }
            None => Wanted::is_false(types::DELETING, "NotDeleting"),
        });
        list.set(self.updating());
        if let Some(up_to_date) = self.up_to_date(&list) {
            list.set(up_to_date);
        }
        list.set(self.ready(&list));
        self.phase(&list);
        self.available(&mut list);
        self.legacy_conditions();
        self.status.conditions = list.into_vec();
        if self.out.errors.is_empty() && self.facts.failures.is_empty() {
            self.status.observed_generation = Some(self.generation()).filter(|g| *g > 0);
        }
    }

    /// The conditions that providers and tools of the v1beta1 contract read.
    fn legacy_conditions(&mut self) {
        const BOOTSTRAP: &str = "BootstrapReady";
        const INFRASTRUCTURE: &str = "InfrastructureReady";
        let facts = self.facts;
        let deleting = self.is_deleting();
        let deprecated = std::mem::take(&mut self.status.deprecated.v1beta1.conditions);
        let mut list = LegacyConditions::new(deprecated, self.now);
        let gone = |type_| legacy::is_false(type_, Severity::Info, "Deleted", "");
        let waiting = |reason| if deleting { "Deleting" } else { reason };
        match &facts.bootstrap_config {
            Lookup::Found(config) => {
                let created = config.data_secret_created.get() == Some(&true);
                let reason = waiting("WaitingForDataSecret");
                // A secret that was known before needs no look at the config.
                list.set(if facts.machine.spec.bootstrap.data_secret_name.is_some() {
                    legacy::is_true(BOOTSTRAP)
                } else {
                    legacy::mirror(&config.legacy_ready, BOOTSTRAP, created, reason)
                });
            }
            Lookup::NotFound if deleting => list.set(gone(BOOTSTRAP)),
            _ => {}
        }
        match &facts.infra_machine {
            Lookup::Found(infra) => {
                let provisioned = infra.provisioned.get() == Some(&true);
                let reason = waiting("WaitingForInfrastructure");
                list.set(legacy::mirror(
                    &infra.legacy_ready,
                    INFRASTRUCTURE,
                    provisioned,
                    reason,
                ));
            }
            Lookup::NotFound if deleting => list.set(gone(INFRASTRUCTURE)),
            _ => {}
        }
        if let Some(node) = self.legacy_node_healthy() {
            list.set(node);
        }
        let types = [
            INFRASTRUCTURE,
            BOOTSTRAP,
            "HealthCheckSucceeded",
            "OwnerRemediated",
            "DrainingSucceeded",
        ];
        let steps: &[&str] = &[BOOTSTRAP, INFRASTRUCTURE];
        let counted = (!deleting && !self.has_provider_id()).then_some(steps);
        list.summarize(&types, counted);
        self.status.deprecated.v1beta1.conditions = list.into_vec();
    }

    /// `None` when what was said of the Node stays.
    fn legacy_node_healthy(&self) -> Option<V1Beta1Condition> {
        const NODE: &str = "NodeHealthy";
        let bad = |severity, reason, message: &str| {
            Some(legacy::is_false(NODE, severity, reason, message))
        };
        if !self.has_provider_id() {
            return bad(Severity::Info, "WaitingForNodeRef", "");
        }
        match &self.facts.node {
            NodeLookup::NotFound if self.is_deleting() => return None,
            NodeLookup::NotFound if self.status.node_ref.is_some() => {
                return bad(Severity::Error, "NodeNotFound", "");
            }
            NodeLookup::NotFound => {
                let message = "Waiting for a node with matching ProviderID to exist";
                return bad(Severity::Warning, "NodeProvisioning", message);
            }
            NodeLookup::Failed(_) => {
                let message = "Failed to get the Node for this Machine by ProviderID";
                return Some(legacy::unknown(NODE, "NodeInspectionFailed", message));
            }
            NodeLookup::NotLooked | NodeLookup::NotConnected => return None,
            NodeLookup::Found(_) => {}
        }
        let infra = self.facts.infra_machine.found();
        if infra.is_none_or(|infra| infra.object.is_deleting()) {
            return bad(Severity::Info, "Deleting", "");
        }
        let conditions = &self.node?.status.conditions;
        let (mut wrong, mut unknown, mut texts) = (0, 0, Vec::new());
        for condition in conditions {
            let good = match condition.type_.as_str() {
                "Ready" => "True",
                "MemoryPressure" | "DiskPressure" | "PIDPressure" => "False",
                _ => continue,
            };
            if condition.status == good {
                continue;
            }
            texts.push(format!(
                "Node condition {} is {}",
                condition.type_, condition.status
            ));
            if condition.status == "Unknown" {
                unknown += 1;
            } else {
                wrong += 1;
            }
        }
        let message = texts.join(". ");
        match (wrong, unknown) {
            (0, 0..=3) => Some(legacy::is_true(NODE)),
            (0, _) => Some(legacy::unknown(NODE, "NodeConditionsFailed", &message)),
            _ => bad(Severity::Warning, "NodeConditionsFailed", &message),
        }
    }

    fn bootstrap_config_ready(&self) -> Wanted {
        let Some(reference) = defined(self.spec.bootstrap.config_ref.as_ref()) else {
            return Wanted::is_true(types::BOOTSTRAP_CONFIG_READY, "DataSecretProvided");
        };
        ExternalCondition {
            target: types::BOOTSTRAP_CONFIG_READY,
            kind: &reference.kind,
            field: "status.initialization.dataSecretCreated",
            positive: "Ready",
            negative: "NotReady",
            latched: self.status.initialization.bootstrap_data_secret_created == Some(true),
            owner_deleting: self.is_deleting(),
            while_exists: None,
        }
        .of(seen(&self.facts.bootstrap_config, |config| &config.ready))
    }

    fn infrastructure_ready(&self) -> Wanted {
        ExternalCondition {
            target: types::INFRASTRUCTURE_READY,
            kind: &self.spec.infrastructure_ref.kind,
            field: "status.initialization.provisioned",
            positive: "Ready",
            negative: "NotReady",
            latched: self.status.initialization.infrastructure_provisioned == Some(true),
            owner_deleting: self.is_deleting(),
            while_exists: Some(MACHINE.kind),
        }
        .of(seen(&self.facts.infra_machine, |infra| &infra.ready))
    }

    /// NodeReady and NodeHealthy: the first rule that holds.
    fn node_conditions(&self, list: &mut Conditions) {
        use ConditionStatus::Unknown;
        let facts = self.facts;
        if !facts.cluster.infrastructure_provisioned {
            let message =
                "Waiting for Cluster status.initialization.infrastructureProvisioned to be true";
            return set_both(list, Unknown, "InspectionFailed", message);
        }
        let Some(initialized) = facts.cluster.control_plane_initialized else {
            let message = "Waiting for Cluster control plane to be initialized";
            return set_both(list, Unknown, "InspectionFailed", message);
        };
        let connection = facts.connection;
        let probe = connection
            .last_probe_success
            .map(|time| format!("Last successful probe at {time}"))
            .unwrap_or_default();
        if connection.is_untried() {
            if !(list.has(types::NODE_READY) && list.has(types::NODE_HEALTHY)) {
                let message = "Remote connection not established yet";
                set_both(list, Unknown, "ConnectionDown", message);
            }
            return;
        }
        let seen = connection
            .last_probe_success
            .unwrap_or_default()
            .max(initialized);
        if elapsed(seen, self.now) > facts.settings.remote_conditions_grace_period {
            return set_both(list, Unknown, "ConnectionDown", &probe);
        }
        match &facts.node {
            NodeLookup::NotConnected if self.has_provider_id() => {
                if !(list.has(types::NODE_READY) && list.has(types::NODE_HEALTHY)) {
                    set_both(list, Unknown, "ConnectionDown", &probe);
                }
                return;
            }
            NodeLookup::Failed(_) if self.has_provider_id() => {
                return set_both(list, Unknown, "InternalError", CHECK_LOGS);
            }
            _ => {}
        }
        if let Some(node) = self.node {
            list.set(node_ready(node));
            list.set(node_healthy(node));
            return;
        }
        let (status, reason, message) = self.no_node();
        set_both(list, status, reason, &message);
    }

    /// What is said when the cluster can be looked at and the Node is not there.
    fn no_node(&self) -> (ConditionStatus, &'static str, String) {
        use ConditionStatus::{False, Unknown};
        let node = self.status.node_ref.as_ref().map(|node| &node.name);
        let id = self.spec.provider_id.as_deref().unwrap_or_default();
        match (self.is_deleting(), node) {
            (true, Some(node)) => (
                False,
                "NodeDeleted",
                format!("Node {node} has been deleted"),
            ),
            (true, None) => (
                Unknown,
                "NodeDoesNotExist",
                "Node does not exist".to_owned(),
            ),
            (false, Some(node)) => {
                let text = format!("Node {node} has been deleted while the Machine still exists");
                (False, "NodeDeleted", text)
            }
            (false, None) if id.is_empty() => {
                let kind = &self.spec.infrastructure_ref.kind;
                let text = format!("Waiting for {kind} to report spec.providerID");
                (Unknown, "InspectionFailed", text)
            }
            (false, None) => {
                let text = format!("Waiting for a Node with spec.providerID {id} to exist");
                (Unknown, "InspectionFailed", text)
            }
        }
    }

    fn has_provider_id(&self) -> bool {
        self.spec
            .provider_id
            .as_ref()
            .is_some_and(|id| !id.is_empty())
    }

    /// Whether an update in place runs: the annotation is there, or its hook is pending.
    fn updating(&self) -> Wanted {
        let metadata = self.metadata();
        let pending = metadata
            .annotations
            .get(annotations::PENDING_HOOKS)
            .is_some_and(|hooks| hooks.split(',').any(|hook| hook == "UpdateMachine"));
        if pending || metadata.has_annotation(annotations::UPDATE_IN_PROGRESS) {
            Wanted::is_true(types::UPDATING, "InPlaceUpdating")
                .message("In-place update in progress")
        } else {
            Wanted::is_false(types::UPDATING, "NotUpdating")
        }
    }

    /// Only for machines of a set of a deployment; others are judged by their owners.
    fn up_to_date(&self, list: &Conditions) -> Option<Wanted> {
        let set = self.facts.machine_set.as_ref()?;
        let deployment = self.facts.machine_deployment.as_ref()?;
        let mut differences = template_differences(&set.template, &deployment.template);
        if let Some(after) = deployment.rollout_after
            && after.timestamp() < self.now
            && set.metadata.creation_timestamp < after
        {
            differences.push("MachineDeployment spec.rolloutAfter expired".to_owned());
        }
        if !differences.is_empty() {
            let lines: Vec<_> = differences.iter().map(|line| format!("* {line}")).collect();
            return Some(
                Wanted::is_false(types::UP_TO_DATE, "NotUpToDate").message(lines.join("\n")),
            );
        }
        if let Some(updating) = list.get(types::UPDATING)
            && updating.status == ConditionStatus::True
        {
            let message = format!("* {}", updating.message);
            return Some(Wanted::is_false(types::UP_TO_DATE, "Updating").message(message));
        }
        let kubelet = self
            .status
            .node_info
            .as_ref()
            .map(|info| info.kubelet_version.as_str())
            .filter(|version| !version.is_empty());
        let wanted = self.spec.version.as_deref().unwrap_or_default();
        if let Some(kubelet) = kubelet.filter(|version| *version != wanted) {
            let message =
                format!("* Node.status.nodeInfo.kubeletVersion {kubelet}, {wanted} required");
            return Some(Wanted::is_false(types::UP_TO_DATE, "Updating").message(message));
        }
        Some(Wanted::is_true(types::UP_TO_DATE, "UpToDate"))
    }

    fn ready(&self, list: &Conditions) -> Wanted {
        let mut in_scope = vec![
            types::DELETING,
            types::UPDATING,
            types::BOOTSTRAP_CONFIG_READY,
            types::INFRASTRUCTURE_READY,
            types::NODE_HEALTHY,
            types::HEALTH_CHECK_SUCCEEDED,
        ];
        let mut negative = vec![types::DELETING, types::UPDATING];
        for gate in &self.spec.readiness_gates {
            in_scope.push(&gate.condition_type);
            if gate.polarity == Some(ConditionPolarity::Negative) {
                negative.push(&gate.condition_type);
            }
        }
        let deleting = self.is_deleting();
        let gone = |condition: &Condition| {
            let reason = condition.reason.as_str();
            let info = match condition.type_.as_str() {
                types::BOOTSTRAP_CONFIG_READY | types::INFRASTRUCTURE_READY => {
                    matches!(reason, "ObjectDeleted" | "ObjectDoesNotExist")
                }
                types::NODE_HEALTHY => matches!(reason, "NodeDeleted" | "NodeDoesNotExist"),
                _ => false,
            };
            (deleting && info).then_some(MergePriority::Info)
        };
        let overrides: Vec<Condition> = if deleting {
            list.get(types::DELETING)
                .map(|condition| Condition {
                    reason: "Deleting".to_owned(),
                    message: self.deletion_in_short(condition),
                    ..condition.clone()
                })
                .into_iter()
                .collect()
        } else {
            Vec::new()
        };
        Summary {
            target: types::READY,
            types: &in_scope,
            ignore_if_missing: &[types::HEALTH_CHECK_SUCCEEDED],
            overrides: &overrides,
            strategy: MergeStrategy {
                negative_polarity: &negative,
                reasons: Reasons {
                    issue: "NotReady",
                    unknown: "ReadyUnknown",
                    info: "Ready",
                },
                priority: Some(&gone),
                transform: Some(group_control_plane_components),
                ..MergeStrategy::default()
            },
        }
        .of(list.as_slice())
        .unwrap_or_else(|| Wanted::internal_error(types::READY))
    }

    /// The deletion as the condition Ready tells it: alike for many machines, so that it can be
    /// aggregated.
    pub(super) fn deletion_in_short(&self, deleting: &Condition) -> String {
        const LONG: Duration = Duration::from_secs(15 * 60);
        const LONG_DRAIN: Duration = Duration::from_secs(5 * 60);
        let stage = &deleting.reason;
        let since = self.metadata().deletion_timestamp.unwrap_or_default();
        if elapsed(since, self.now) <= LONG {
            return format!("Machine deletion in progress, stage: {stage}");
        }
        let mut text = format!("Machine deletion in progress since more than 15m, stage: {stage}");
        let drain = self.status.deletion.node_drain_start_time;
        if stage == "DrainingNode"
            && drain.is_some_and(|start| elapsed(start, self.now) > LONG_DRAIN)
        {
            let causes = crate::plan::drain::delay_causes(&deleting.message);
            if !causes.is_empty() {
                text.push_str(", delay likely due to ");
                text.push_str(&causes.join(", "));
            }
        }
        text
    }

    fn phase(&mut self, list: &Conditions) {
        let status = &self.status;
        let provisioned = status.initialization.infrastructure_provisioned == Some(true);
        let bootstrapped = status.initialization.bootstrap_data_secret_created == Some(true);
        let mut phase = status.phase.clone().unwrap_or(MachinePhase::Pending);
        if bootstrapped && !provisioned {
            phase = MachinePhase::Provisioning;
        }
        if self.has_provider_id() {
            phase = MachinePhase::Provisioned;
        }
        if status.node_ref.is_some() && provisioned {
            phase = MachinePhase::Running;
        }
        if list.is_true(types::UPDATING) {
            phase = MachinePhase::Updating;
        }
        if self.is_deleting() {
            phase = MachinePhase::Deleting;
        }
        if self.status.phase.as_ref() != Some(&phase) {
            self.status.phase = Some(phase);
            self.status.last_updated = Some(Time::new(self.now));
        }
    }

    /// Available: ready for long enough.
    fn available(&mut self, list: &mut Conditions) {
        let Some(ready) = list.get(types::READY) else {
            return;
        };
        if ready.status != ConditionStatus::True {
            list.set(Wanted::is_false(types::AVAILABLE, "NotReady"));
            return;
        }
        let seconds = self.spec.min_ready_seconds.unwrap_or(0).max(0);
        let wanted = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let at = ready.last_transition_time.timestamp().checked_add(wanted);
        match at {
            Ok(at) if at > self.now => {
                list.set(Wanted::is_false(
                    types::AVAILABLE,
                    "WaitingForMinReadySeconds",
                ));
                self.out.look_again(at);
            }
            _ => list.set(Wanted::is_true(types::AVAILABLE, "Available")),
        }
    }
}

fn set_both(list: &mut Conditions, status: ConditionStatus, reason: &'static str, message: &str) {
    for type_ in [types::NODE_READY, types::NODE_HEALTHY] {
        list.set(Wanted::new(type_, status, reason).message(message));
    }
}

/// The mirrored condition of what was found, or whether it is known not to exist.
pub(in crate::plan) fn seen<T>(
    lookup: &Lookup<T>,
    ready: impl Fn(&T) -> &Field<Condition>,
) -> Result<&Field<Condition>, bool> {
    match lookup {
        Lookup::Found(object) => Ok(ready(object)),
        other => Err(other.is_not_found()),
    }
}

/// The time from `since` to `now`; zero when `since` is later.
pub(in crate::plan) fn elapsed(since: Time, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since.timestamp())).unwrap_or_default()
}

fn status_of(text: &str) -> ConditionStatus {
    match text {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    }
}

fn node_ready(node: &Node) -> Wanted {
    let Some(ready) = node_condition(node, "Ready") else {
        return Wanted::unknown(types::NODE_READY, "NodeReadyUnknown")
            .message("* Node.Ready: Condition not yet reported");
    };
    let status = status_of(&ready.status);
    let reason = match status {
        ConditionStatus::True => "NodeReady",
        ConditionStatus::False => "NodeNotReady",
        ConditionStatus::Unknown => "NodeReadyUnknown",
    };
    let message = if status != ConditionStatus::True && !ready.message.is_empty() {
        format!("* Node.Ready: {}", ready.message)
    } else {
        String::new()
    };
    Wanted {
        last_transition_time: ready.last_transition_time,
        ..Wanted::new(types::NODE_READY, status, reason).message(message)
    }
}

/// The last condition of a type, as upstream reads it.
fn node_condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status.conditions.iter().rfind(|c| c.type_ == type_)
}

fn node_healthy(node: &Node) -> Wanted {
    let (mut bad, mut unknown) = (false, false);
    let mut lines = Vec::new();
    let mut texts = BTreeSet::new();
    let mut reported = 0;
    for (type_, good) in [
        ("Ready", "True"),
        ("MemoryPressure", "False"),
        ("DiskPressure", "False"),
        ("PIDPressure", "False"),
    ] {
        let Some(condition) = node_condition(node, type_) else {
            lines.push(format!("* Node.{type_}: Condition not yet reported"));
            unknown = true;
            continue;
        };
        if condition.status == good {
            continue;
        }
        let text = if condition.message.is_empty() {
            format!("Condition is {}", condition.status)
        } else {
            condition.message.clone()
        };
        lines.push(format!("* Node.{type_}: {text}"));
        texts.insert(text);
        reported += 1;
        if condition.status == "Unknown" {
            unknown = true;
        } else {
            bad = true;
        }
    }
    if reported > 1
        && let (Some(text), 1) = (texts.first(), texts.len())
    {
        lines = vec![format!("* Node.AllConditions: {text}")];
    }
    let message = lines.join("\n");
    if bad {
        Wanted::is_false(types::NODE_HEALTHY, "NodeNotHealthy").message(message)
    } else if unknown {
        Wanted::unknown(types::NODE_HEALTHY, "NodeHealthyUnknown").message(message)
    } else {
        Wanted::is_true(types::NODE_HEALTHY, "NodeHealthy")
    }
}

/// Readiness gates of the control plane's components that say the same become one line.
fn group_control_plane_components(lines: Vec<String>) -> Vec<String> {
    let is_component = |head: &str| {
        ["* APIServer", "* ControllerManager", "* Scheduler"]
            .iter()
            .any(|prefix| head.starts_with(prefix))
            || head == "* EtcdPodHealthy"
    };
    let mut grouped = Vec::new();
    let mut common: Option<&str> = None;
    let mut count = 0;
    for line in &lines {
        match line.split_once(':') {
            Some((head, text)) if is_component(head) => {
                match common {
                    None => {
                        common = Some(text);
                        grouped.push(format!("* Control plane components:{text}"));
                    }
                    Some(first) if first != text => return lines,
                    Some(_) => {}
                }
                count += 1;
            }
            _ => grouped.push(line.clone()),
        }
    }
    if count == 1 { lines } else { grouped }
}
