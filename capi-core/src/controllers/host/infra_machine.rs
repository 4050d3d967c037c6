//! Infrastructure machines.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretSlice;
use serde_json::json;

use super::{
    ports::{SlotTable, context},
    subject::{CORE, Subject, conventional_finalizer, of_cluster, rbac_of_clones},
};
use crate::{
    api::{Cluster, IPAddress, IPAddressClaim, Machine},
    contract::BootstrapConfigView,
    plan::condition::{is_true, types},
    provider::{
        ErrorClass, Identity as _, Infrastructure, MachineContext, Progress, ProviderError,
        Recorded, StatusFields,
    },
    runtime::{
        Change, Controller, Error, ObjectKey, Outcome, PolicyRule, Propagation, ResourceType,
        Runtime, Watch, secrets,
    },
};

/// How long a machine that was ready counts as ready although calls about it fail.
pub const READY_GRACE: Duration = Duration::from_secs(60);

/// The controller of a provider's infrastructure machines.
pub struct InfraMachineHost<P: Infrastructure> {
    provider: Arc<P>,
    resource: ResourceType,
    clusters: ResourceType,
    name: String,
    finalizer: String,
    slots: SlotTable,
    failures: Mutex<BTreeMap<ObjectKey, Failures>>,
}

/// Failures of calls about one machine that may pass by themselves.
#[derive(Clone, Debug, Default)]
struct Failures {
    /// Since when every call failed; none when the last one did not.
    since: Option<Timestamp>,
    /// Reason of the last one.
    reason: String,
    /// How often it failed for this reason, also with other answers between, until it was ready.
    count: u32,
}

impl<P: Infrastructure> InfraMachineHost<P> {
    /// Hosts the machines of a provider.
    pub fn new(provider: Arc<P>) -> Self {
        let resource = ResourceType::of::<P::Machine>();
        let clusters = ResourceType::of::<P::Cluster>();
        let finalizer = provider
            .machine_finalizer()
            .unwrap_or_else(conventional_finalizer::<P::Machine>);
        Self {
            provider,
            name: resource.kind().to_ascii_lowercase(),
            resource,
            clusters,
            finalizer,
            slots: SlotTable::default(),
            failures: Mutex::default(),
        }
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure: since when all calls fail, and how often for this reason.
    fn failed_once_more(&self, key: &ObjectKey, reason: &str, now: Timestamp) -> (Timestamp, u32) {
        let mut all = self.failures();
        let failures = all.entry(key.clone()).or_default();
        if failures.reason != reason {
            reason.clone_into(&mut failures.reason);
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        (*failures.since.get_or_insert(now), failures.count)
    }

    /// Notes that a call answered, though the machine is not ready.
    fn answered(&self, key: &ObjectKey) {
        if let Some(failures) = self.failures().get_mut(key) {
            failures.since = None;
        }
    }

    /// A call about a machine failed in a way that may pass by itself. One that was ready counts
    /// as ready for [`READY_GRACE`], so that a busy API does not hold up a rollout.
    async fn failed(
        &self,
        mut subject: Subject<P::Machine>,
        was_ready: bool,
        error: ProviderError,
    ) -> Result<Outcome, Error> {
        let now = subject.runtime.clock().now();
        let (since, count) = self.failed_once_more(subject.key(), error.reason(), now);
        let lasts = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        if !was_ready || lasts >= READY_GRACE {
            return subject.failed_again(count, error).await;
        }
        let message = format!(
            "{}; counts as ready until this has lasted {} s",
            error.full_message(),
            READY_GRACE.as_secs()
        );
        subject.ready_with(&message);
        subject.failed(error).await
    }

    async fn machine_context(
        &self,
        subject: &Subject<P::Machine>,
        cluster: Arc<Cluster>,
        machine: Option<Arc<Machine>>,
    ) -> Result<MachineContext<P::Cluster, P::Machine>, Error> {
        let infrastructure_cluster = match &cluster.spec.infrastructure_ref {
            Some(reference) if reference.kind == self.clusters.kind() => {
                let key = subject.key().sibling(&reference.name);
                let found = subject.runtime.cache().get(&self.clusters, &key).await?;
                found.map(|object| object.decode()).transpose()?
            }
            _ => None,
        };
        let context = context(
            &subject.runtime,
            &self.name,
            &self.resource,
            &subject.object,
            Some(Arc::clone(&cluster)),
            &self.slots,
        );
        Ok(MachineContext {
            context,
            cluster,
            infrastructure_cluster,
            machine,
            infrastructure: Arc::clone(&subject.typed),
            bootstrap_data: None,
            bootstrap_format: None,
        })
    }

    /// Reserves an identity unless one is recorded, and writes it down.
    async fn recorded(
        &self,
        subject: &mut Subject<P::Machine>,
        cx: &mut MachineContext<P::Cluster, P::Machine>,
    ) -> Result<Progress<Recorded<P::Identity>>, Error> {
        let was_ready = subject.is_provisioned();
        if let Some(identity) = self.provider.read_identity(&subject.typed)? {
            // A crash may have come between the two writes of an identity.
            let labels = self.provider.machine_labels(&subject.typed);
            subject
                .write_spec_and_labels(Some(&self.finalizer), provider_id(&identity), labels)
                .await?;
            return Ok(Progress::Ready(Recorded {
                identity,
                was_ready,
            }));
        }
        let identity = match self.provider.reserve(cx).await? {
            Progress::Ready(identity) => identity,
            Progress::Waiting(wait) => return Ok(Progress::Waiting(wait)),
        };
        let (mut spec, status) = self.provider.write_identity(&identity)?;
        spec.extend(provider_id(&identity));
        let labels = self.provider.machine_labels(&subject.typed);
        subject
            .write_spec_and_labels(Some(&self.finalizer), spec, labels)
            .await?;
        if !status.is_empty() {
            subject.merge_status(status);
            subject.write_status().await?;
        }
        cx.infrastructure = Arc::clone(&subject.typed);
        Ok(Progress::Ready(Recorded {
            identity,
            was_ready,
        }))
    }

    /// What the machine boots with: the Secret that the Machine names or, before the core copied
    /// the name there, its bootstrap object.
    async fn bootstrap_data(
        &self,
        subject: &Subject<P::Machine>,
        machine: &Machine,
        cx: &MachineContext<P::Cluster, P::Machine>,
    ) -> Result<Option<(SecretSlice<u8>, Option<String>)>, Error> {
        let mut name = machine.spec.bootstrap.data_secret_name.clone();
        if name.is_none()
            && let Some(reference) = &machine.spec.bootstrap.config_ref
        {
            let namespace = &subject.key().namespace;
            let external = subject.runtime.external(namespace, reference).await?;
            if let Some(object) = external.object {
                let view = BootstrapConfigView::read(&object.value()?, external.contract)?;
                if view.data_secret_created.get() == Some(&true) {
                    name = view.data_secret_name.get().cloned();
                }
            }
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let secret = cx
            .context
            .secrets()
            .get(&subject.key().namespace, &name)
            .await?;
        Ok(secret.and_then(|secret| {
            let text = |key| {
                secret
                    .expose(key)
                    .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
            };
            let value = secret.expose("value")?.to_vec();
            Some((SecretSlice::from(value), text("format")))
        }))
    }

    async fn ensure(
        &self,
        mut subject: Subject<P::Machine>,
        cluster: Arc<Cluster>,
    ) -> Result<Outcome, Error> {
        let Some(machine) = subject.machine()? else {
            return subject
                .wait(
                    "Machine",
                    "WaitingForMachine",
                    "Waiting for the Machine that owns this object",
                )
                .await;
        };
        let needs_infrastructure = cluster.spec.infrastructure_ref.is_some();
        if needs_infrastructure
            && cluster.status.initialization.infrastructure_provisioned != Some(true)
        {
            return subject
                .wait(
                    "Cluster infrastructure",
                    "WaitingForClusterInfrastructureReady",
                    "Waiting for Cluster status.initialization.infrastructureProvisioned to be true",
                )
                .await;
        }
        let mut cx = self
            .machine_context(&subject, Arc::clone(&cluster), Some(Arc::clone(&machine)))
            .await?;
        let Some((data, format)) = self.bootstrap_data(&subject, &machine, &cx).await? else {
            let control_plane = subject
                .object
                .label(crate::api::labels::CONTROL_PLANE)
                .is_some();
            if !control_plane
                && !is_true(&cluster.status.conditions, types::CONTROL_PLANE_INITIALIZED)
            {
                return subject
                    .wait(
                        "control plane",
                        "WaitingForControlPlaneInitialized",
                        "Waiting for the Cluster's control plane to be initialized",
                    )
                    .await;
            }
            return subject
                .wait(
                    "bootstrap data",
                    "WaitingForBootstrapData",
                    "Waiting for the bootstrap provider to create the data secret",
                )
                .await;
        };
        let recorded = match self.recorded(&mut subject, &mut cx).await {
            Ok(Progress::Ready(recorded)) => recorded,
            Ok(Progress::Waiting(wait)) => return subject.unready(Ok(wait)).await,
            Err(Error::Provider(error)) => return subject.unready(Err(error)).await,
            Err(error) => return Err(error),
        };
        cx.bootstrap_data = Some(data);
        cx.bootstrap_format = format;
        let answer = self.provider.ensure(&cx, &recorded).await;
        let facts = match answer {
            Err(error) if error.class() == ErrorClass::Transient => {
                return self.failed(subject, recorded.was_ready, error).await;
            }
            Ok(Progress::Ready(facts)) => {
                self.failures().remove(subject.key());
                facts
            }
            Ok(Progress::Waiting(wait)) => {
                self.answered(subject.key());
                return subject.unready(Ok(wait)).await;
            }
            Err(error) => {
                self.answered(subject.key());
                return subject.unready(Err(error)).await;
            }
        };
        if !recorded.was_ready {
            let id = recorded.identity.provider_id();
            tracing::info!(provider_id = %id, "machine provisioned");
        }
        subject.set_status("initialization", json!({ "provisioned": true }));
        subject.set_status("ready", json!(true));
        subject.set_status("addresses", json!(facts.addresses));
        if let Some(domain) = facts.failure_domain {
            subject.set_status("failureDomain", json!(domain));
        }
        if facts.interruptible {
            subject.set_status("interruptible", json!(true));
        }
        subject.merge_status(facts.status);
        subject.ready();
        subject.write_status().await?;
        // Nobody tells when a machine vanishes.
        let again = subject.runtime.resync_after(subject.object.uid());
        Ok(again.map_or_else(Outcome::done, Outcome::after))
    }

    async fn destroy(
        &self,
        mut subject: Subject<P::Machine>,
        cluster: Arc<Cluster>,
    ) -> Result<Outcome, Error> {
        if !subject.object.has_finalizer(&self.finalizer) {
            return Ok(Outcome::done());
        }
        if let Some(identity) = self.provider.read_identity(&subject.typed)? {
            let machine = subject.machine()?;
            let cx = self.machine_context(&subject, cluster, machine).await?;
            let recorded = Recorded {
                identity,
                was_ready: subject.is_provisioned(),
            };
            match self.provider.destroy(&cx, &recorded).await {
                Ok(Progress::Ready(())) => {}
                Ok(Progress::Waiting(wait)) => return subject.unready(Ok(wait)).await,
                Err(error) if error.class() == ErrorClass::Transient => {
                    return self.failed(subject, false, error).await;
                }
                Err(error) => return subject.unready(Err(error)).await,
            }
        }
        if let Some(claim) = self.release_claims(&subject).await? {
            let message = format!("Waiting for IPAddressClaim {claim} to be released");
            subject.not_ready("WaitingForAddressRelease", &message);
            subject.write_status().await?;
            return Ok(Outcome::done().blocked_on(format!("IPAddressClaim {claim}")));
        }
        subject.let_go(&self.finalizer).await?;
        self.slots.release(subject.key());
        Ok(Outcome::done())
    }

    /// Deletes the address claims that the machine owns; the name of one that is still there.
    async fn release_claims(&self, subject: &Subject<P::Machine>) -> Result<Option<String>, Error> {
        let claims = ResourceType::from(IPAddressClaim::KIND);
        let store = subject.runtime.cache().store(&claims);
        let mut left = None;
        for claim in store.owned_by(subject.object.uid()) {
            let writer = subject.runtime.writer();
            let gone = !claim.is_deleting()
                && writer
                    .delete(&claims, claim.key(), claim.uid(), Propagation::Background)
                    .await?;
            if !gone {
                left = Some(claim.name().to_owned());
            }
        }
        Ok(left)
    }
}

fn provider_id(identity: &impl crate::provider::Identity) -> StatusFields {
    StatusFields::from_iter([("providerID".to_owned(), json!(identity.provider_id()))])
}

#[async_trait]
impl<P: Infrastructure> Controller for InfraMachineHost<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn resource(&self) -> ResourceType {
        self.resource.clone()
    }

    fn watches(&self) -> Vec<Watch> {
        let kind = self.resource.clone();
        let group = kind.group().to_owned();
        let by_machine = {
            let (group, kind) = (group, kind.kind().to_owned());
            move |_: &Runtime, change: &Change| {
                let Ok(machine) = change.object().decode::<Machine>() else {
                    return Vec::new();
                };
                let reference = &machine.spec.infrastructure_ref;
                if reference.kind == kind && reference.api_group == group {
                    vec![change.object().key().sibling(&reference.name)]
                } else {
                    Vec::new()
                }
            }
        };
        let own_claims = {
            let kind = kind.clone();
            move |_: &Runtime, change: &Change| {
                let object = change.object();
                let owners = object.owners().iter();
                owners
                    .filter(|owner| owner.is(kind.group(), kind.kind()))
                    .map(|owner| object.key().sibling(&owner.name))
                    .collect()
            }
        };
        vec![
            Watch::kind(Machine::KIND.into(), by_machine),
            // The bootstrap object, whatever its kind: it has the Machine's name, as ours has.
            Watch::Owned {
                group: CORE,
                kind: Machine::KIND.kind,
            },
            of_cluster(&self.resource),
            Watch::kind(IPAddressClaim::KIND.into(), own_claims),
            Watch::kind(
                IPAddress::KIND.into(),
                |runtime: &Runtime, change: &Change| {
                    // The claim bears the name of the address; whoever owns the claim waits for it.
                    let claims = runtime.cache().store(&IPAddressClaim::KIND.into());
                    let key = change.object().key();
                    let claim = claims.get(key);
                    claim
                        .iter()
                        .flat_map(|claim| claim.owners())
                        .map(|owner| key.sibling(&owner.name))
                        .collect()
                },
            ),
            Watch::kind(secrets(), {
                move |runtime: &Runtime, change: &Change| bootstrapped_by(runtime, &kind, change)
            }),
        ]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        let plural = self.resource.plural();
        vec![
            PolicyRule::new(self.resource.group(), [plural], ["list", "watch", "patch"]),
            PolicyRule::new(
                self.resource.group(),
                [&*format!("{plural}/status")],
                ["patch"],
            ),
            PolicyRule::new(
                self.clusters.group(),
                [self.clusters.plural()],
                ["list", "watch"],
            ),
            PolicyRule::new(CORE, ["clusters", "machines"], ["list", "watch"]),
            PolicyRule::new(
                "ipam.cluster.x-k8s.io",
                ["ipaddressclaims"],
                ["list", "watch", "create", "delete"],
            ),
            PolicyRule::new("ipam.cluster.x-k8s.io", ["ipaddresses"], ["list", "watch"]),
            PolicyRule::new("", ["secrets"], ["get", "list", "watch"]),
            PolicyRule::new("", ["events"], ["create"]),
            PolicyRule::new(
                "apiextensions.k8s.io",
                ["customresourcedefinitions"],
                ["list", "watch"],
            ),
        ]
    }

    fn rbac_of_core(&self) -> Vec<PolicyRule> {
        rbac_of_clones(&self.resource)
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let Some(mut subject) = Subject::<P::Machine>::load(runtime, &self.resource, key)? else {
            self.slots.release(key);
            self.failures().remove(key);
            return Ok(Outcome::done());
        };
        subject.sum_up(self.provider.machine_condition());
        if let Some(identity) = self.provider.read_identity(&subject.typed)? {
            for (scope, slot) in self.provider.slots(&identity) {
                self.slots.take(key, &scope, &slot);
            }
        }
        let Some(cluster) = subject.cluster()? else {
            if subject.object.is_deleting() && !subject.object.has_finalizer(&self.finalizer) {
                return Ok(Outcome::done());
            }
            return Ok(Outcome::done().blocked_on("the Cluster that its label names"));
        };
        if subject.paused(Some(&cluster)) {
            subject.write_status().await?;
            return Ok(Outcome::done().blocked_on("paused"));
        }
        if subject.object.is_deleting() {
            self.destroy(subject, cluster).await
        } else {
            self.ensure(subject, cluster).await
        }
    }
}

/// The infrastructure machines whose Machine's bootstrap data is in this Secret: the Secret is
/// owned by the bootstrap object, which bears the Machine's name or is owned by it.
fn bootstrapped_by(runtime: &Runtime, kind: &ResourceType, change: &Change) -> Vec<ObjectKey> {
    let machines = runtime.cache().store(&Machine::KIND.into());
    let secret = change.object();
    let mut keys = Vec::new();
    for owner in secret.owners() {
        if let Some(machine) = machines.get(&secret.key().sibling(&owner.name))
            && let Ok(machine) = machine.decode::<Machine>()
            && machine.spec.infrastructure_ref.kind == kind.kind()
        {
            keys.push(secret.key().sibling(&machine.spec.infrastructure_ref.name));
        }
    }
    keys
}
