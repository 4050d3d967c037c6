//! The ports that providers are given, on a [`Runtime`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::{Map, Value, json};

use crate::{
    api::{Cluster, IPAddress, IPAddressClaim, labels},
    provider::{
        AddressFacts, AddressRequest, Addresses, Context, NamedSecret, Objects, Progress,
        ProviderError, SecretRequest, Secrets, Slots,
    },
    runtime::{Error, Object, ObjectKey, Propagation, ResourceType, Runtime, secrets},
};

/// A provider's call is dropped after this time.
const CALL_DEADLINE: Duration = Duration::from_secs(50);

/// Who owns the fields of objects that providers ask for.
const FIELD_MANAGER: &str = "capi-provider";

/// Slots of all objects of one provider.
#[derive(Clone, Default)]
pub(crate) struct SlotTable(Arc<Mutex<HeldBy>>);

/// A scope and a slot in it.
type Slot = (String, String);

#[derive(Default)]
struct HeldBy {
    holders: BTreeMap<Slot, ObjectKey>,
    slots: BTreeMap<ObjectKey, BTreeSet<Slot>>,
}

impl SlotTable {
    fn lock(&self) -> std::sync::MutexGuard<'_, HeldBy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back all that an object holds.
    pub(crate) fn release(&self, holder: &ObjectKey) {
        let mut held = self.lock();
        for slot in held.slots.remove(holder).unwrap_or_default() {
            held.holders.remove(&slot);
        }
    }

    pub(crate) fn take(&self, holder: &ObjectKey, scope: &str, slot: &str) -> bool {
        let mut held = self.lock();
        let slot = (scope.to_owned(), slot.to_owned());
        if let Some(known) = held.holders.get(&slot) {
            return known == holder;
        }
        held.holders.insert(slot.clone(), holder.clone());
        held.slots.entry(holder.clone()).or_default().insert(slot);
        true
    }

    fn give_back(&self, holder: &ObjectKey, scope: &str, slot: &str) {
        let mut held = self.lock();
        let slot = (scope.to_owned(), slot.to_owned());
        if held.holders.get(&slot) != Some(holder) {
            return;
        }
        held.holders.remove(&slot);
        if let Some(slots) = held.slots.get_mut(holder) {
            slots.remove(&slot);
            if slots.is_empty() {
                held.slots.remove(holder);
            }
        }
    }
}

struct HeldSlots {
    table: SlotTable,
    holder: ObjectKey,
}

impl Slots for HeldSlots {
    fn take(&self, scope: &str, slot: &str) -> bool {
        self.table.take(&self.holder, scope, slot)
    }

    fn give_back(&self, scope: &str, slot: &str) {
        self.table.give_back(&self.holder, scope, slot);
    }
}

/// The ports for one object.
struct Ports {
    runtime: Runtime,
    resource: ResourceType,
    object: Arc<Object>,
    cluster: Option<Arc<Cluster>>,
}

/// The context of a call about an object.
pub(crate) fn context(
    runtime: &Runtime,
    controller: &str,
    resource: &ResourceType,
    object: &Arc<Object>,
    cluster: Option<Arc<Cluster>>,
    table: &SlotTable,
) -> Context {
    let ports = Arc::new(Ports {
        runtime: runtime.clone(),
        resource: resource.clone(),
        object: Arc::clone(object),
        cluster,
    });
    let slots = Arc::new(HeldSlots {
        table: table.clone(),
        holder: object.key().clone(),
    });
    let objects = Arc::clone(&ports) as Arc<dyn Objects>;
    let clock = runtime.clock();
    let deadline = clock
        .now()
        .checked_add(CALL_DEADLINE)
        .unwrap_or(clock.now());
    Context::new(
        clock.clone(),
        Arc::clone(&ports) as Arc<dyn Secrets>,
        ports as Arc<dyn Addresses>,
        slots,
    )
    .with_objects(objects)
    .with_waker(runtime.waker(controller, object.key()))
    .with_deadline(deadline)
}

impl Ports {
    fn namespace(&self) -> &str {
        &self.object.key().namespace
    }

    fn cluster_name(&self) -> Option<&str> {
        self.object
            .label(labels::CLUSTER_NAME)
            .or_else(|| self.cluster.as_ref()?.metadata.name.as_deref())
    }

    fn owner(&self, by_cluster: bool) -> Value {
        match &self.cluster {
            Some(cluster) if by_cluster => json!({
                "apiVersion": ResourceType::from(Cluster::KIND).api_version(),
                "kind": Cluster::KIND.kind,
                "name": cluster.metadata.name,
                "uid": cluster.metadata.uid,
            }),
            _ => json!({
                "apiVersion": self.resource.api_version(),
                "kind": self.resource.kind(),
                "name": self.object.name(),
                "uid": self.object.uid(),
                "controller": true,
                "blockOwnerDeletion": true,
            }),
        }
    }

    fn metadata(&self, name: &str, owned_by_cluster: bool) -> Value {
        let mut metadata = json!({
            "name": name,
            "namespace": self.namespace(),
            "ownerReferences": [self.owner(owned_by_cluster)],
        });
        if let Some(cluster) = self.cluster_name() {
            metadata["labels"] = json!({ labels::CLUSTER_NAME: cluster });
        }
        metadata
    }

    fn secret(&self, request: &SecretRequest) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": self.metadata(&request.name, request.owned_by_cluster),
            "type": request.kind,
            "data": encoded(&request.data),
        })
    }
}

fn encoded(data: &BTreeMap<String, SecretSlice<u8>>) -> Map<String, Value> {
    data.iter()
        .map(|(key, value)| (key.clone(), BASE64.encode(value.expose_secret()).into()))
        .collect()
}

fn failed(error: Error) -> ProviderError {
    match error {
        Error::Provider(error) => error,
        other => ProviderError::transient("ManagementClusterFailed", other.full_message()),
    }
}

fn read_secret(object: &Object) -> Result<NamedSecret, ProviderError> {
    #[derive(serde::Deserialize)]
    struct Shape {
        #[serde(default)]
        data: BTreeMap<String, String>,
    }
    let unreadable = || {
        ProviderError::invalid(
            "SecretUnreadable",
            format!("Secret {} is unreadable", object.key()),
        )
    };
    let shape: Shape = serde_json::from_slice(object.bytes()).map_err(|_| unreadable())?;
    let mut data = BTreeMap::new();
    for (key, value) in shape.data {
        let value = BASE64.decode(value).map_err(|_| unreadable())?;
        data.insert(key, SecretSlice::from(value));
    }
    Ok(NamedSecret {
        name: object.name().to_owned(),
        labels: object
            .labels()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        data,
    })
}

#[async_trait]
impl Secrets for Ports {
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<NamedSecret>, ProviderError> {
        let key = ObjectKey::new(namespace, name);
        let cached = self.runtime.cache().store(&secrets()).get(&key);
        let found = match cached {
            Some(object) => Some(object),
            // Secrets without the cluster-name label are not in the cache.
            None => self
                .runtime
                .writer()
                .get(&secrets(), &key)
                .await
                .map_err(failed)?,
        };
        found.map(|object| read_secret(&object)).transpose()
    }

    async fn create(&self, request: SecretRequest) -> Result<NamedSecret, ProviderError> {
        let namespace = self.namespace().to_owned();
        let key = ObjectKey::new(&*namespace, request.name.as_str());
        if let Some(cached) = self.runtime.cache().store(&secrets()).get(&key) {
            return self.of_this_cluster(read_secret(&cached)?);
        }
        // One that is not in the cache is found out by the answer.
        let body = self.secret(&request);
        match self
            .runtime
            .writer()
            .create(&secrets(), &namespace, &body)
            .await
        {
            Ok(object) => read_secret(&object),
            Err(error) if error.is_already_exists() => {
                match self.get(&namespace, &request.name).await? {
                    Some(existing) => self.of_this_cluster(existing),
                    None => Err(ProviderError::transient(
                        "SecretVanished",
                        format!("Secret {} came and went", request.name),
                    )),
                }
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn put(&self, request: SecretRequest) -> Result<(), ProviderError> {
        let stored = self.create(request.clone()).await?;
        let equal = stored.data.len() == request.data.len()
            && request
                .data
                .iter()
                .all(|(key, value)| stored.expose(key) == Some(value.expose_secret()));
        if equal {
            return Ok(());
        }
        let key = self.object.key().sibling(&request.name);
        let mut data = encoded(&request.data);
        for gone in stored
            .data
            .keys()
            .filter(|key| !request.data.contains_key(*key))
        {
            data.insert(gone.clone(), Value::Null);
        }
        let patch = json!({ "data": data });
        self.runtime
            .writer()
            .merge_patch(&secrets(), &key, &patch)
            .await
            .map_err(failed)?;
        Ok(())
    }
}

impl Ports {
    /// An IPAddress that bears the name of a claim which is made only now: the claim was lost, and
    /// whoever looks for the reason of a certain address should know.
    async fn tell_of_orphan(&self, claim: &ObjectKey) {
        let addresses = self.runtime.cache().store(&IPAddress::KIND.into());
        if addresses.get(claim).is_none() {
            return;
        }
        let message = format!(
            "IPAddress {claim} exists without its claim; the claim is made anew and takes it over if it is its own"
        );
        let writer = self.runtime.writer();
        writer
            .event(
                &self.resource,
                &self.object,
                true,
                "OrphanedIPAddress",
                &message,
            )
            .await;
    }

    fn of_this_cluster(&self, secret: NamedSecret) -> Result<NamedSecret, ProviderError> {
        match (secret.labels.get(labels::CLUSTER_NAME), self.cluster_name()) {
            (Some(theirs), Some(ours)) if theirs != ours => Err(ProviderError::refused(
                "SecretOfAnotherCluster",
                format!(
                    "Secret {} belongs to cluster {theirs}, not {ours}",
                    secret.name
                ),
            )),
            _ => Ok(secret),
        }
    }
}

#[async_trait]
impl Addresses for Ports {
    async fn claim(
        &self,
        request: AddressRequest,
    ) -> Result<Progress<AddressFacts>, ProviderError> {
        let claims = ResourceType::from(IPAddressClaim::KIND);
        let key = self.object.key().sibling(&request.name);
        let claim = match self
            .runtime
            .cache()
            .get(&claims, &key)
            .await
            .map_err(failed)?
        {
            Some(claim) => claim,
            None => {
                let mut spec = json!({ "poolRef": {
                    "apiGroup": request.pool.api_group,
                    "kind": request.pool.kind,
                    "name": request.pool.name,
                }});
                if let Some(cluster) = self.cluster_name() {
                    spec["clusterName"] = json!(cluster);
                }
                let mut metadata = self.metadata(&request.name, false);
                for (label, value) in &request.labels {
                    metadata["labels"][label] = json!(value);
                }
                if !request.annotations.is_empty() {
                    metadata["annotations"] = json!(request.annotations);
                }
                self.tell_of_orphan(&key).await;
                let body = json!({
                    "apiVersion": claims.api_version(),
                    "kind": claims.kind(),
                    "metadata": metadata,
                    "spec": spec,
                });
                let writer = self.runtime.writer();
                match writer.create(&claims, self.namespace(), &body).await {
                    Ok(claim) => claim,
                    Err(error) if error.is_already_exists() => {
                        return Ok(not_yet(&request.name, "the claim is being read"));
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
        };
        if !claim
            .owners()
            .iter()
            .any(|owner| owner.uid == self.object.uid())
        {
            return Err(ProviderError::refused(
                "AddressClaimOfAnother",
                format!("IPAddressClaim {key} belongs to another object"),
            ));
        }
        let claim = claim.decode::<IPAddressClaim>().map_err(failed)?;
        let Some(name) = claim
            .status
            .address_ref
            .as_ref()
            .map(|reference| reference.name.as_str())
            .filter(|name| !name.is_empty())
        else {
            let why = claim
                .status
                .conditions
                .iter()
                .find(|condition| condition.type_ == "Ready" && !condition.message.is_empty())
                .map_or("no address was given yet", |condition| {
                    condition.message.as_str()
                });
            return Ok(not_yet(&request.name, why));
        };
        let addresses = ResourceType::from(IPAddress::KIND);
        let key = self.object.key().sibling(name);
        let Some(address) = self
            .runtime
            .cache()
            .get(&addresses, &key)
            .await
            .map_err(failed)?
        else {
            return Ok(not_yet(&request.name, "the IPAddress is being written"));
        };
        let address = address.decode::<IPAddress>().map_err(failed)?;
        read_address(&address).map(Progress::Ready)
    }

    async fn release(&self, name: &str) -> Result<Progress<()>, ProviderError> {
        let claims = ResourceType::from(IPAddressClaim::KIND);
        let key = self.object.key().sibling(name);
        let Some(claim) = self
            .runtime
            .cache()
            .get(&claims, &key)
            .await
            .map_err(failed)?
        else {
            return Ok(Progress::Ready(()));
        };
        if !claim
            .owners()
            .iter()
            .any(|owner| owner.uid == self.object.uid())
        {
            return Ok(Progress::Ready(()));
        }
        if !claim.is_deleting() {
            let writer = self.runtime.writer();
            let gone = writer
                .delete(&claims, &key, claim.uid(), Propagation::Background)
                .await
                .map_err(failed)?;
            if gone {
                return Ok(Progress::Ready(()));
            }
        }
        Ok(Progress::waiting(
            format!("IPAddressClaim {key}"),
            "WaitingForAddressRelease",
            format!("Waiting for IPAddressClaim {name} to be released"),
        ))
    }
}

#[async_trait]
impl Objects for Ports {
    async fn ensure(&self, mut object: Value) -> Result<(), ProviderError> {
        let text = |field: &str| {
            object
                .pointer(field)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let (Some(api_version), Some(kind), Some(name)) =
            (text("/apiVersion"), text("/kind"), text("/metadata/name"))
        else {
            return Err(ProviderError::invalid(
                "InvalidObject",
                "an object needs apiVersion, kind and metadata.name",
            ));
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let resource = ResourceType::by_convention(group, version, &kind);
        let key = self.object.key().sibling(&name);
        let owner = self.owner(false);
        object["metadata"]["namespace"] = json!(self.namespace());
        object["metadata"]["ownerReferences"] = json!([owner]);
        if let Some(cluster) = self.cluster_name() {
            object["metadata"]["labels"][labels::CLUSTER_NAME] = json!(cluster);
        }
        let known = self
            .runtime
            .cache()
            .get(&resource, &key)
            .await
            .map_err(failed)?;
        if let Some(known) = known
            && says(&known.value().map_err(failed)?, &object)
        {
            return Ok(());
        }
        let writer = self.runtime.writer();
        match writer.apply(&resource, &key, FIELD_MANAGER, &object).await {
            Ok(_) => Ok(()),
            Err(Error::Api { status, .. }) if status.code == 422 || status.code == 400 => {
                Err(ProviderError::invalid("InvalidObject", status.message))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Whether an object has all that another says; lists are compared whole, but for owners.
fn says(known: &Value, wanted: &Value) -> bool {
    match (known, wanted) {
        (Value::Object(known), Value::Object(wanted)) => wanted.iter().all(|(field, wanted)| {
            known.get(field).is_some_and(|known| match (known, wanted) {
                (Value::Array(known), Value::Array(wanted)) if field == "ownerReferences" => {
                    wanted.iter().all(|owner| known.contains(owner))
                }
                _ => says(known, wanted),
            })
        }),
        _ => known == wanted,
    }
}

fn not_yet<T>(claim: &str, why: &str) -> Progress<T> {
    Progress::waiting(
        format!("IPAddressClaim {claim}"),
        "WaitingForIPAddress",
        format!("Waiting for IPAddressClaim {claim}: {why}"),
    )
}

fn read_address(address: &IPAddress) -> Result<AddressFacts, ProviderError> {
    let invalid = |field: &str| {
        ProviderError::invalid(
            "InvalidIPAddress",
            format!(
                "IPAddress {} has no valid {field}",
                address.metadata.name.as_deref().unwrap_or_default()
            ),
        )
    };
    Ok(AddressFacts {
        address: address
            .spec
            .address
            .parse()
            .map_err(|_| invalid("spec.address"))?,
        prefix: u8::try_from(address.spec.prefix).map_err(|_| invalid("spec.prefix"))?,
        gateway: match address.spec.gateway.as_deref() {
            None | Some("") => None,
            Some(gateway) => Some(gateway.parse().map_err(|_| invalid("spec.gateway"))?),
        },
    })
}
