//! Address claims, and the pools that they name.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use kube_core::Resource as _;
use serde_json::json;

use super::{
    pools::{AddressBook, Pools, RESTING_ADDRESSES},
    ports::{SlotTable, context},
    subject::{CORE, Subject},
};
use crate::{
    api::{Cluster, IPAddress, IPAddressClaim, KindInfo, annotations, labels},
    provider::{Allocation, ClaimContext, Ipam, PoolUse, Progress, ProviderError, StatusFields},
    runtime::{
        Change, Controller, Error, Object, ObjectKey, Outcome, PolicyRule, Propagation,
        ResourceType, Runtime, Watch,
    },
};

const GROUP: &str = "ipam.cluster.x-k8s.io";
const CLAIM_FINALIZER: &str = "ipam.cluster.x-k8s.io/ReleaseAddress";
const ADDRESS_FINALIZER: &str = "ipam.cluster.x-k8s.io/ProtectAddress";
const POOL_FINALIZER: &str = "ipam.cluster.x-k8s.io/ProtectPool";

/// The controller of the claims on one kind of pool.
pub struct ClaimHost<P: Ipam> {
    provider: Arc<P>,
    pools: Pools,
    pool_kind: ResourceType,
    name: String,
}

impl<P: Ipam> ClaimHost<P> {
    /// Hosts the claims of a provider on its kind of pool. All hosts of a manager share the book.
    pub fn new(provider: Arc<P>, pool_kind: KindInfo, book: AddressBook) -> Self {
        let pool_kind = ResourceType::from(pool_kind);
        Self {
            provider,
            pools: Pools::new(pool_kind.clone(), book),
            name: format!("ipaddressclaim-{}", pool_kind.kind().to_ascii_lowercase()),
            pool_kind,
        }
    }

    /// The claim's Cluster: by its spec, else by its label. The outer `None`: it names none.
    fn cluster(
        &self,
        runtime: &Runtime,
        key: &ObjectKey,
        claim: &IPAddressClaim,
        object: &Object,
    ) -> Result<Option<Option<Arc<Cluster>>>, Error> {
        let named = claim.spec.cluster_name.as_deref();
        let Some(name) = named.or_else(|| object.label(labels::CLUSTER_NAME)) else {
            return Ok(None);
        };
        let store = runtime.cache().store(&Cluster::KIND.into());
        let cluster = store
            .get(&key.sibling(name))
            .map(|object| object.decode())
            .transpose()?;
        Ok(Some(cluster))
    }

    fn context(
        &self,
        subject: &Subject<IPAddressClaim>,
        cluster: Option<Arc<Cluster>>,
        pool: Arc<P::Pool>,
        used: Arc<PoolUse>,
    ) -> ClaimContext<P::Pool> {
        ClaimContext {
            context: context(
                &subject.runtime,
                &self.name,
                &subject.resource,
                &subject.object,
                cluster.clone(),
                &SlotTable::default(),
            ),
            cluster,
            claim: Arc::clone(&subject.typed),
            pool,
            used,
        }
    }

    /// The address that was given before, if it is the claim's.
    fn existing(
        &self,
        subject: &Subject<IPAddressClaim>,
        pool_key: &ObjectKey,
    ) -> Result<Option<Arc<Object>>, ProviderError> {
        let store = subject.runtime.cache().store(&IPAddress::KIND.into());
        let Some(object) = store.get(subject.key()) else {
            return Ok(None);
        };
        let address = object
            .decode::<IPAddress>()
            .map_err(|error| ProviderError::refused("AllocationFailed", error.full_message()))?;
        let ours = address.spec.claim_ref.name == subject.object.name()
            && self
                .pools
                .key(&subject.key().namespace, &address.spec.pool_ref)
                .as_ref()
                == Some(pool_key);
        if !ours {
            return Err(ProviderError::refused(
                "AllocationFailed",
                format!(
                    "IPAddress {} exists and belongs to another claim or pool",
                    subject.key()
                ),
            ));
        }
        let holder = subject.key().to_string();
        let bits = address.spec.address.parse::<IpAddr>();
        self.pools
            .settle(pool_key, &holder, bits.as_ref().ok().copied());
        if let Ok(bits) = bits
            && let Some(other) = self.pools.used(pool_key).holder(bits)
            && other != holder
        {
            return Err(ProviderError::refused(
                "AllocationFailed",
                format!("address {bits} is also that of claim {other}"),
            ));
        }
        Ok(Some(object))
    }

    async fn allocate(
        &self,
        subject: &Subject<IPAddressClaim>,
        cluster: Option<Arc<Cluster>>,
        pool: &Arc<Object>,
    ) -> Result<Progress<()>, Error> {
        let holder = subject.key().to_string();
        if let Some(chosen) = self.pools.unanswered(pool.key(), &holder) {
            return self.make(subject, pool, chosen).await.map(Progress::Ready);
        }
        let typed = pool.decode::<P::Pool>()?;
        let _turn = self.pools.turn(pool.key()).await;
        let now = subject.runtime.clock().now();
        let ranges = self.provider.ranges(&typed);
        let rest = self.provider.rest(&typed);
        let (taken, free_at) = self.pools.taken(pool.key(), &ranges, rest, now);
        let cx = self.context(subject, cluster, typed, taken);
        let allocation = match (self.provider.allocate(&cx).await?, free_at) {
            (Progress::Ready(allocation), _) => allocation,
            (waiting, None) => return Ok(waiting.map(drop)),
            (waiting, Some(free_at)) => {
                let rest = Duration::try_from(free_at.duration_since(now)).unwrap_or_default();
                return Ok(waiting.map(drop).after(rest));
            }
        };
        if let Err(other) = self.pools.take(pool.key(), allocation.address, &holder) {
            return Err(ProviderError::transient(
                "AllocationFailed",
                format!("address {} is that of claim {other}", allocation.address),
            )
            .into());
        }
        self.make(subject, pool, allocation)
            .await
            .map(Progress::Ready)
    }

    /// Makes the IPAddress of a claim. An attempt that is not answered may have made it: until that
    /// is known, the next one asks for the same.
    async fn make(
        &self,
        subject: &Subject<IPAddressClaim>,
        pool: &Object,
        chosen: Allocation,
    ) -> Result<(), Error> {
        let holder = subject.key().to_string();
        let body = self.address(subject, pool, &chosen);
        let addresses = ResourceType::from(IPAddress::KIND);
        // Also when this future is dropped at the await.
        self.pools.leave_open(pool.key(), &holder, chosen.clone());
        let writer = subject.runtime.writer();
        let made = writer
            .create(&addresses, &subject.key().namespace, &body)
            .await;
        match &made {
            Ok(_) => self.pools.settle(pool.key(), &holder, Some(chosen.address)),
            // Of an earlier attempt, or of somebody else: the watch will show.
            Err(error) if error.is_already_exists() => {}
            Err(error @ Error::Api { .. }) if !error.leaves_open() => {
                self.pools.settle(pool.key(), &holder, None);
            }
            Err(_) => {}
        }
        made.map(drop)
    }

    fn address(
        &self,
        subject: &Subject<IPAddressClaim>,
        pool: &Object,
        allocation: &Allocation,
    ) -> serde_json::Value {
        let claim = &subject.object;
        let cluster = subject
            .typed
            .spec
            .cluster_name
            .as_deref()
            .or_else(|| claim.label(labels::CLUSTER_NAME));
        let mut metadata = json!({
            "name": claim.name(),
            "namespace": &*claim.key().namespace,
            "finalizers": [ADDRESS_FINALIZER],
            "ownerReferences": [
                {
                    "apiVersion": subject.resource.api_version(),
                    "kind": subject.resource.kind(),
                    "name": claim.name(),
                    "uid": claim.uid(),
                    "controller": true,
                    "blockOwnerDeletion": true,
                },
                {
                    "apiVersion": self.pool_kind.api_version(),
                    "kind": self.pool_kind.kind(),
                    "name": pool.name(),
                    "uid": pool.uid(),
                    "controller": false,
                    "blockOwnerDeletion": true,
                },
            ],
        });
        if let Some(cluster) = cluster {
            metadata["labels"] = json!({ labels::CLUSTER_NAME: cluster });
        }
        let mut spec = json!({
            "claimRef": { "name": claim.name() },
            "poolRef": {
                "apiGroup": self.pool_kind.group(),
                "kind": self.pool_kind.kind(),
                "name": pool.name(),
            },
            "address": allocation.address,
            "prefix": allocation.prefix,
        });
        if let Some(gateway) = allocation.gateway {
            spec["gateway"] = json!(gateway);
        }
        let addresses = ResourceType::from(IPAddress::KIND);
        json!({
            "apiVersion": addresses.api_version(),
            "kind": addresses.kind(),
            "metadata": metadata,
            "spec": spec,
        })
    }

    async fn release(
        &self,
        subject: Subject<IPAddressClaim>,
        cluster: Option<Arc<Cluster>>,
        pool_key: &ObjectKey,
        pool: Option<Arc<Object>>,
    ) -> Result<Outcome, Error> {
        if !subject.object.has_finalizer(CLAIM_FINALIZER) {
            return Ok(Outcome::done());
        }
        // What is not ours is not touched; the claim may go all the same.
        let mut existing = self.existing(&subject, pool_key).unwrap_or_default();
        if existing.is_none()
            && let Some(pool) = &pool
            && let Some(chosen) = self.pools.unanswered(pool_key, &subject.key().to_string())
        {
            // Asked for once more, so that it is known to be there, and is not left behind.
            self.make(&subject, pool, chosen).await?;
            existing = self.existing(&subject, pool_key).unwrap_or_default();
        }
        if let Some(object) = existing {
            let address: Arc<IPAddress> = object.decode()?;
            if let (Some(pool), Ok(bits)) = (&pool, address.spec.address.parse::<IpAddr>()) {
                let typed = pool.decode::<P::Pool>()?;
                let rest = self.provider.rest(&typed);
                let used = self.pools.used(pool.key());
                // Nobody comes after a cluster on its own pools.
                let going = |cluster: &Arc<Cluster>| cluster.metadata.deletion_timestamp.is_some();
                let going = cluster.as_ref().is_some_and(going);
                let cx = self.context(&subject, cluster, typed, used);
                match self.provider.release(&cx, bits).await {
                    Ok(Progress::Ready(())) if rest.is_zero() || pool.is_deleting() => {}
                    Ok(Progress::Ready(())) => {
                        // From here on nobody gets it, though the claim goes at once.
                        let now = subject.runtime.clock().now();
                        self.pools.rest(pool.key(), bits, rest, now);
                        if !going {
                            self.write_down(&subject.runtime, pool.key(), bits).await?;
                        }
                    }
                    Ok(Progress::Waiting(wait)) => return subject.unready(Ok(wait)).await,
                    Err(error) => return subject.unready(Err(error)).await,
                }
            }
            let addresses = ResourceType::from(IPAddress::KIND);
            let writer = subject.runtime.writer();
            if !object.is_deleting() {
                writer
                    .delete(
                        &addresses,
                        object.key(),
                        object.uid(),
                        Propagation::Background,
                    )
                    .await?;
            }
            let store = subject.runtime.cache().store(&addresses);
            if let Some(object) = store.get(object.key())
                && object.has_finalizer(ADDRESS_FINALIZER)
            {
                let kept: Vec<&String> = object
                    .finalizers()
                    .iter()
                    .filter(|finalizer| *finalizer != ADDRESS_FINALIZER)
                    .collect();
                let patch = json!({ "metadata": {
                    "finalizers": kept, "resourceVersion": object.resource_version(),
                }});
                match writer.merge_patch(&addresses, object.key(), &patch).await {
                    Err(error) if error.is_not_found() => {}
                    other => other.map(drop)?,
                }
            }
        }
        subject.let_go(CLAIM_FINALIZER).await?;
        Ok(Outcome::done())
    }
}

impl<P: Ipam> ClaimHost<P> {
    /// Writes into the pool that an address rests, before anything says that it is free. Addresses that are given
    /// back at once are written at once.
    async fn write_down(
        &self,
        runtime: &Runtime,
        pool: &ObjectKey,
        address: IpAddr,
    ) -> Result<(), Error> {
        let _turn = self.pools.turn(pool).await;
        let now = runtime.clock().now();
        let Some(entries) = self.pools.unwritten(pool, address, now) else {
            return Ok(());
        };
        let text = serde_json::to_string(&entries)
            .map_err(|source| Error::decode(RESTING_ADDRESSES, source))?;
        let patch = json!({ "metadata": { "annotations": { RESTING_ADDRESSES: text } } });
        let writer = runtime.writer();
        match writer.merge_patch(&self.pool_kind, pool, &patch).await {
            Ok(_) => self.pools.wrote(pool, entries),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Takes over what a pool says of addresses that rest.
fn learn<P: Ipam>(
    provider: &P,
    pools: &Pools,
    runtime: &Runtime,
    object: &Object,
) -> Result<(), Error> {
    let pool = object.decode::<P::Pool>()?;
    let annotations = pool.meta().annotations.as_ref();
    let written = annotations.and_then(|annotations| annotations.get(RESTING_ADDRESSES));
    let now = runtime.clock().now();
    let rest = provider.rest(&pool);
    pools.learn(object.key(), written.map(String::as_str), rest, now);
    Ok(())
}

#[async_trait]
impl<P: Ipam> Controller for ClaimHost<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn resource(&self) -> ResourceType {
        IPAddressClaim::KIND.into()
    }

    fn start(&self, runtime: &Runtime) {
        self.pools
            .follow(&runtime.cache().store(&IPAddress::KIND.into()));
    }

    fn watches(&self) -> Vec<Watch> {
        let (of_pool, of_address) = (self.pools.clone(), self.pools.clone());
        let claims_of = |runtime: &Runtime, pools: &Pools, pool: &ObjectKey| {
            let claims = runtime.cache().store(&IPAddressClaim::KIND.into());
            let mut keys = Vec::new();
            for claim in claims.list() {
                if let Ok(typed) = claim.decode::<IPAddressClaim>()
                    && pools
                        .key(&claim.key().namespace, &typed.spec.pool_ref)
                        .as_ref()
                        == Some(pool)
                {
                    keys.push((claim.key().clone(), typed.status.address_ref.is_some()));
                }
            }
            keys
        };
        vec![
            Watch::kind(
                self.pool_kind.clone(),
                move |runtime: &Runtime, change: &Change| {
                    let pool = change.object().key();
                    claims_of(runtime, &of_pool, pool)
                        .into_iter()
                        .map(|(key, _)| key)
                        .collect()
                },
            ),
            Watch::kind(
                IPAddress::KIND.into(),
                move |runtime: &Runtime, change: &Change| {
                    let object = change.object();
                    let mut keys = vec![object.key().clone()];
                    // An address that became free may be what another claim waits for.
                    if change.new.is_none() {
                        for pool in of_address.that_give(object) {
                            let waiting = claims_of(runtime, &of_address, &pool);
                            keys.extend(
                                waiting
                                    .into_iter()
                                    .filter(|(_, has)| !has)
                                    .map(|(key, _)| key),
                            );
                        }
                    }
                    keys
                },
            ),
            Watch::kind(
                Cluster::KIND.into(),
                |runtime: &Runtime, change: &Change| {
                    let claims = runtime.cache().store(&IPAddressClaim::KIND.into());
                    let cluster = change.object().key();
                    let named = claims.list().into_iter().filter(|claim| {
                        claim.key().namespace == cluster.namespace
                            && (claim.label(labels::CLUSTER_NAME) == Some(&cluster.name)
                                || claim.decode::<IPAddressClaim>().is_ok_and(|claim| {
                                    claim.spec.cluster_name.as_deref() == Some(&*cluster.name)
                                }))
                    });
                    named.map(|claim| claim.key().clone()).collect()
                },
            ),
        ]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        vec![
            PolicyRule::new(GROUP, ["ipaddressclaims"], ["list", "watch", "patch"]),
            PolicyRule::new(GROUP, ["ipaddressclaims/status"], ["patch"]),
            PolicyRule::new(
                GROUP,
                ["ipaddresses"],
                ["list", "watch", "create", "patch", "delete"],
            ),
            PolicyRule::new(
                self.pool_kind.group(),
                [self.pool_kind.plural()],
                ["list", "watch", "patch"],
            ),
            PolicyRule::new(CORE, ["clusters"], ["list", "watch"]),
            PolicyRule::new("", ["events"], ["create"]),
        ]
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let resource = IPAddressClaim::KIND.into();
        let Some(mut subject) = Subject::<IPAddressClaim>::load(runtime, &resource, key)? else {
            return Ok(Outcome::done());
        };
        let claim = Arc::clone(&subject.typed);
        let Some(pool_key) = self.pools.key(&key.namespace, &claim.spec.pool_ref) else {
            return Ok(Outcome::done());
        };
        let deleting = subject.object.is_deleting();
        let cluster = match self.cluster(runtime, key, &claim, &subject.object)? {
            None => None,
            Some(None) if !deleting => {
                return Ok(Outcome::done().blocked_on("the Cluster that the claim names"));
            }
            Some(cluster) => cluster,
        };
        let paused = cluster
            .as_ref()
            .is_some_and(|cluster| cluster.spec.paused == Some(true))
            || subject.has_annotation(annotations::PAUSED);
        if paused {
            return Ok(Outcome::done().blocked_on("paused"));
        }
        let pool = runtime
            .cache()
            .synced(&self.pool_kind)
            .await?
            .get(&pool_key);
        if let Some(pool) = &pool
            && let Some(present) = &pool.decode::<P::Pool>()?.meta().annotations
            && present.contains_key(annotations::PAUSED)
        {
            return Ok(Outcome::done().blocked_on("the pool, which is paused"));
        }
        if let Some(pool) = &pool {
            learn(&*self.provider, &self.pools, runtime, pool)?;
        }
        if deleting {
            return self.release(subject, cluster, &pool_key, pool).await;
        }
        let Some(pool) = pool else {
            let message = format!("{} {pool_key} does not exist", self.pool_kind.kind());
            return subject.unready(Ok(wait("PoolNotReady", message))).await;
        };
        if pool.is_deleting() {
            let message = format!("{} {pool_key} is being deleted", self.pool_kind.kind());
            return subject.unready(Ok(wait("PoolNotReady", message))).await;
        }
        subject
            .write_spec(Some(CLAIM_FINALIZER), StatusFields::new())
            .await?;
        let existing = match self.existing(&subject, &pool_key) {
            Ok(existing) => existing,
            Err(error) => return subject.unready(Err(error)).await,
        };
        if existing.is_none() {
            match self.allocate(&subject, cluster, &pool).await {
                Ok(Progress::Ready(())) => {}
                Ok(Progress::Waiting(wait)) => return subject.unready(Ok(wait)).await,
                Err(Error::Provider(error)) => return subject.unready(Err(error)).await,
                Err(error) => return Err(error),
            }
        }
        subject.set_status("addressRef", json!({ "name": subject.object.name() }));
        subject.ready_because("AddressAllocated");
        subject.write_status().await?;
        Ok(Outcome::done())
    }
}

fn wait(reason: &'static str, message: String) -> crate::provider::Wait {
    crate::provider::Wait {
        on: message.clone(),
        reason: reason.into(),
        message,
        again: crate::provider::Again::OnEvent,
        status: StatusFields::new(),
    }
}

/// The controller of one kind of pool: protects pools in use and counts what is in use.
pub struct PoolHost<P: Ipam> {
    provider: Arc<P>,
    pools: Pools,
    kind: ResourceType,
    name: String,
}

impl<P: Ipam> PoolHost<P> {
    /// Hosts the pools of a provider. All hosts of a manager share the book.
    pub fn new(provider: Arc<P>, kind: KindInfo, book: AddressBook) -> Self {
        let kind = ResourceType::from(kind);
        Self {
            provider,
            pools: Pools::new(kind.clone(), book),
            name: kind.kind().to_ascii_lowercase(),
            kind,
        }
    }
}

#[async_trait]
impl<P: Ipam> Controller for PoolHost<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn resource(&self) -> ResourceType {
        self.kind.clone()
    }

    fn start(&self, runtime: &Runtime) {
        self.pools
            .follow(&runtime.cache().store(&IPAddress::KIND.into()));
    }

    fn watches(&self) -> Vec<Watch> {
        let pools = self.pools.clone();
        vec![Watch::kind(
            IPAddress::KIND.into(),
            move |_: &Runtime, change: &Change| {
                let states = change.old.iter().chain(&change.new);
                states
                    .filter_map(|object| {
                        let address = object.decode::<IPAddress>().ok()?;
                        pools.key(&object.key().namespace, &address.spec.pool_ref)
                    })
                    .collect()
            },
        )]
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        let plural = self.kind.plural();
        vec![
            PolicyRule::new(self.kind.group(), [plural], ["list", "watch", "patch"]),
            PolicyRule::new(self.kind.group(), [&*format!("{plural}/status")], ["patch"]),
            PolicyRule::new(GROUP, ["ipaddresses"], ["list", "watch"]),
            PolicyRule::new("", ["events"], ["create"]),
        ]
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let Some(mut subject) = Subject::<P::Pool>::load(runtime, &self.kind, key)? else {
            return Ok(Outcome::done());
        };
        let used = self.pools.used(key);
        if subject.object.is_deleting() {
            if !used.is_empty() {
                return Ok(Outcome::done().blocked_on(format!("{} addresses in use", used.len())));
            }
            subject.let_go(POOL_FINALIZER).await?;
            self.pools.forget(key);
            return Ok(Outcome::done());
        }
        learn(&*self.provider, &self.pools, runtime, &subject.object)?;
        let ranges = self.provider.ranges(&subject.typed);
        if let Some(others) = self.pools.overlaps(key, &ranges)
            && !others.is_empty()
        {
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            let message = format!(
                "Addresses of this pool are in others, too: {others}. None is given twice, but those in use of one are missing in the other"
            );
            tracing::warn!(pool = %key, "{message}");
            runtime
                .writer()
                .event(
                    &self.kind,
                    &subject.object,
                    true,
                    "OverlappingPools",
                    &message,
                )
                .await;
        }
        subject
            .write_spec(Some(POOL_FINALIZER), StatusFields::new())
            .await?;
        let status = self.provider.pool_status(&subject.typed, &used);
        subject.merge_status(status);
        subject.write_fields(true).await?;
        Ok(Outcome::done())
    }
}
