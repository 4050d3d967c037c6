//! Nodes, pods and volumes of workload clusters: read for a Machine's plan, and changed as the plan
//! says. Every request is bounded.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    contract::Metadata,
    plan::{
        Action,
        action::PodRef,
        drain::{DaemonSetLookup, DrainFacts, EVICTION_BUDGET, Eviction, Pod},
        node::{Node, NodeLookup},
        volumes::{AttachedPersistentVolume, PersistentVolume, VolumeFacts},
    },
    runtime::{Error, Object, ObjectKey, REQUEST_TIMEOUT, Runtime, Workload},
};

/// Index of Nodes.
pub(crate) const BY_PROVIDER_ID: &str = "node by provider id";

/// The identity of a Node.
pub(crate) fn provider_ids(object: &Object) -> Vec<String> {
    let node = object.decode::<Node>().ok();
    node.and_then(|node| node.spec.provider_id.clone())
        .into_iter()
        .collect()
}

/// Requests to one workload cluster.
struct Remote {
    runtime: Runtime,
    workload: Workload,
}

impl Remote {
    fn of(runtime: &Runtime, cluster: &ObjectKey) -> Result<Self, Error> {
        Ok(Self {
            runtime: runtime.clone(),
            workload: runtime.workloads().get(cluster)?,
        })
    }

    async fn send(
        &self,
        method: &'static str,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<String, Error> {
        let action = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .header(http::header::ACCEPT, "application/json")
            .body(bytes)
            .map_err(|error| Error::Missing(format!("{action}: {error}")))?;
        tokio::select! {
            biased;
            answer = self.workload.client().request_text(request) => {
                answer.map_err(|error| Error::from_kube(action, error))
            }
            () = self.runtime.clock().sleep(REQUEST_TIMEOUT) => {
                Err(Error::Missing(format!("{action}: no answer in time")))
            }
        }
    }

    async fn get(&self, path: &str) -> Result<String, Error> {
        self.send("GET", path, "application/json", None).await
    }

    /// All items of a collection, a page at a time.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        #[derive(Deserialize)]
        struct List<T> {
            #[serde(default)]
            metadata: Page,
            #[serde(default = "Vec::new")]
            items: Vec<T>,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Page {
            r#continue: String,
        }
        let join = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut from = String::new();
        loop {
            let text = self.get(&format!("{path}{join}limit=100{from}")).await?;
            let page: List<T> =
                serde_json::from_str(&text).map_err(|source| Error::decode(path, source))?;
            items.extend(page.items);
            if page.metadata.r#continue.is_empty() {
                return Ok(items);
            }
            from = format!("&continue={}", page.metadata.r#continue);
        }
    }
}

/// The Node of this name, as the shared watch has it.
pub(crate) fn inspect(runtime: &Runtime, cluster: &ObjectKey, node: &str) -> NodeLookup {
    let Ok(workload) = runtime.workloads().get(cluster) else {
        return NodeLookup::NotConnected;
    };
    match workload.nodes().get(&ObjectKey::new("", node)) {
        None => NodeLookup::NotFound,
        Some(object) => match object.decode::<Node>() {
            Ok(node) => NodeLookup::Found((*node).clone()),
            Err(error) => NodeLookup::Failed(error.full_message()),
        },
    }
}

/// Changes or deletes a Node.
///
/// # Errors
/// What the workload cluster says, or that it is not connected. A Node that is gone is no error.
pub(crate) async fn act(
    runtime: &Runtime,
    cluster: &ObjectKey,
    action: &Action,
) -> Result<(), Error> {
    let remote = Remote::of(runtime, cluster)?;
    let done = match action {
        Action::PatchNode { node, patch } => {
            let path = format!("/api/v1/nodes/{node}");
            remote
                .send("PATCH", &path, "application/merge-patch+json", Some(patch))
                .await
        }
        Action::DeleteNode { node } => {
            let path = format!("/api/v1/nodes/{node}");
            remote.send("DELETE", &path, "application/json", None).await
        }
        other => {
            return Err(Error::Missing(format!("{other:?} is no action on a Node")));
        }
    };
    match done {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

/// The pods of a Node, with what a drain needs to know of them in their cluster.
///
/// # Errors
/// What the workload cluster says, or that it is not connected.
pub(crate) async fn pods(
    runtime: &Runtime,
    cluster: &ObjectKey,
    node: &str,
) -> Result<DrainFacts, Error> {
    let remote = Remote::of(runtime, cluster)?;
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
    let mut facts = DrainFacts {
        pods: remote.list::<Pod>(&path).await?,
        ..DrainFacts::default()
    };
    if facts.pods.is_empty() {
        return Ok(facts);
    }
    for pod in &facts.pods {
        let owner = pod
            .metadata
            .controller()
            .filter(|owner| owner.kind == "DaemonSet");
        let Some(owner) = owner else { continue };
        let key = format!("{}/{}", pod.metadata.namespace, owner.name);
        if facts.daemon_sets.contains_key(&key) {
            continue;
        }
        let path = format!(
            "/apis/apps/v1/namespaces/{}/daemonsets/{}",
            pod.metadata.namespace, owner.name
        );
        let found = match remote.get(&path).await {
            Ok(_) => DaemonSetLookup::Exists,
            Err(error) if error.is_not_found() => DaemonSetLookup::NotFound,
            Err(error) => DaemonSetLookup::Failed(error.full_message()),
        };
        facts.daemon_sets.insert(key, found);
    }
    #[derive(Deserialize)]
    struct Namespace {
        metadata: Metadata,
    }
    let namespaces = remote.list::<Namespace>("/api/v1/namespaces").await?;
    facts.namespaces = namespaces
        .into_iter()
        .map(|namespace| (namespace.metadata.name, namespace.metadata.labels))
        .collect();
    Ok(facts)
}

/// Evicts pods in order until the time for evictions is over; says what came of each.
pub(crate) async fn evict(
    runtime: &Runtime,
    cluster: &ObjectKey,
    pods: &[PodRef],
    grace_period_seconds: Option<i64>,
) -> BTreeMap<String, Eviction> {
    let mut outcomes = BTreeMap::new();
    let clock = runtime.clock();
    let began = clock.now();
    for pod in pods {
        let spent = Duration::try_from(clock.now().duration_since(began)).unwrap_or_default();
        let outcome = match Remote::of(runtime, cluster) {
            _ if spent >= EVICTION_BUDGET => Eviction::BudgetExceeded,
            Err(error) => Eviction::Failed(error.full_message()),
            Ok(remote) => evict_one(&remote, pod, grace_period_seconds).await,
        };
        outcomes.insert(format!("{}/{}", pod.namespace, pod.name), outcome);
    }
    outcomes
}

async fn evict_one(remote: &Remote, pod: &PodRef, grace_period_seconds: Option<i64>) -> Eviction {
    let mut options = json!({});
    if let Some(seconds) = grace_period_seconds {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    if !pod.uid.is_empty() {
        options["preconditions"] = json!({ "uid": pod.uid });
    }
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": pod.name, "namespace": pod.namespace },
        "deleteOptions": options,
    });
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/eviction",
        pod.namespace, pod.name
    );
    match remote
        .send("POST", &path, "application/json", Some(&body))
        .await
    {
        Ok(_) => Eviction::Accepted,
        Err(error) if error.is_not_found() || error.is_conflict() => Eviction::NotFound,
        Err(Error::Api { status, .. }) => {
            let details = status.details.iter();
            let causes: Vec<_> = details.flat_map(|details| &details.causes).collect();
            let terminating = causes
                .iter()
                .any(|cause| cause.reason == "NamespaceTerminating");
            match status.code {
                429 => Eviction::TooManyRequests {
                    message: status.message.clone(),
                    causes: causes.iter().map(|cause| cause.message.clone()).collect(),
                },
                403 if terminating => Eviction::NamespaceTerminating,
                _ => Eviction::Failed(status.message.clone()),
            }
        }
        Err(error) => Eviction::Failed(error.full_message()),
    }
}

/// What is attached to a Node, and all volumes.
///
/// # Errors
/// What the workload cluster says, or that it is not connected.
pub(crate) async fn volumes(
    runtime: &Runtime,
    cluster: &ObjectKey,
    node: &str,
) -> Result<VolumeFacts, Error> {
    let remote = Remote::of(runtime, cluster)?;
    let text = |value: &Value, pointer: &str| {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let attachments = "/apis/storage.k8s.io/v1/volumeattachments";
    let attached = match remote.list::<Value>(attachments).await {
        // A cluster without storage has no such kind.
        Err(error) if error.is_not_found() => Vec::new(),
        other => other?,
    };
    let attached: Vec<AttachedPersistentVolume> = attached
        .iter()
        .filter(|attachment| {
            attachment.pointer("/status/attached") == Some(&Value::Bool(true))
                && text(attachment, "/spec/nodeName").as_deref() == Some(node)
        })
        .map(|attachment| AttachedPersistentVolume {
            attachment: text(attachment, "/metadata/name").unwrap_or_default(),
            persistent_volume: text(attachment, "/spec/source/persistentVolumeName"),
        })
        .collect();
    let volumes = match remote.list::<Value>("/api/v1/persistentvolumes").await {
        Err(error) if error.is_not_found() => Vec::new(),
        other => other?,
    };
    let persistent_volumes = volumes
        .iter()
        .map(|volume| {
            let claim = text(volume, "/spec/claimRef/kind")
                .filter(|kind| kind == "PersistentVolumeClaim")
                .and_then(|_| {
                    let namespace = text(volume, "/spec/claimRef/namespace")?;
                    Some(format!(
                        "{namespace}/{}",
                        text(volume, "/spec/claimRef/name")?
                    ))
                });
            PersistentVolume {
                name: text(volume, "/metadata/name").unwrap_or_default(),
                csi: text(volume, "/spec/csi/driver").zip(text(volume, "/spec/csi/volumeHandle")),
                claim,
            }
        })
        .collect();
    Ok(VolumeFacts {
        attached,
        persistent_volumes,
    })
}
