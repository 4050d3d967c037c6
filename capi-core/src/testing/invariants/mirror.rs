//! The server's state, as watches without delay tell it.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use serde::Deserialize;
use serde_json::Value;
use tower::Service as _;

use crate::{
    embedded::{ApiServer, Body},
    runtime::ResourceType,
    testing::reference::{ReferenceControlPlane, ReferenceMachine},
};

/// The fields of an object that rules look at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Seen {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) uid: String,
    resource_version: String,
    deletion_timestamp: Option<String>,
    labels: BTreeMap<String, String>,
    owner_references: Vec<Owner>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Owner {
    name: String,
    controller: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) replicas: Option<i64>,
    #[serde(rename = "providerID")]
    pub(super) provider_id: Option<String>,
    pub(super) address: Option<String>,
    holder_identity: Option<String>,
    rollout: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    initialization: Initialization,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Initialization {
    provisioned: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    r#type: String,
    status: String,
    last_transition_time: Option<jiff::Timestamp>,
}

impl Seen {
    pub(super) fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    pub(super) fn is_provisioned(&self) -> bool {
        self.status.initialization.provisioned
    }

    pub(super) fn is_available(&self) -> bool {
        self.available().is_some()
    }

    /// When it became available; nothing for one that is not, or does not say.
    pub(super) fn available_since(&self) -> Option<jiff::Timestamp> {
        self.available()?.last_transition_time
    }

    fn available(&self) -> Option<&Condition> {
        self.status
            .conditions
            .iter()
            .find(|condition| condition.r#type == "Available" && condition.status == "True")
    }

    pub(super) fn label(&self, label: &str) -> Option<&str> {
        self.metadata.labels.get(label).map(String::as_str)
    }

    pub(super) fn controller(&self) -> Option<&str> {
        let mut owners = self.metadata.owner_references.iter();
        owners
            .find(|owner| owner.controller)
            .map(|owner| owner.name.as_str())
    }
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    object: Seen,
}

/// A change that rules look at.
pub(super) enum Step {
    Machine {
        old: Option<Seen>,
        new: Option<Seen>,
    },
    Infra {
        old: Option<Seen>,
        new: Option<Seen>,
    },
    Address {
        old: Option<Seen>,
        new: Option<Seen>,
    },
    Deployment(Seen),
    ControlPlane(Seen),
}

#[derive(Clone, Copy)]
enum Kind {
    Cluster,
    Deployment,
    ControlPlane,
    Machine,
    Infra,
    Address,
    Lease,
}

struct Feed {
    kind: Kind,
    path: String,
    version: String,
    body: Option<Body>,
    buffer: BytesMut,
}

/// Objects by name; all are of one namespace.
pub(super) struct Mirror {
    server: ApiServer,
    feeds: Vec<Feed>,
    pub(super) clusters: BTreeMap<String, Seen>,
    pub(super) control_planes: BTreeMap<String, Seen>,
    pub(super) machines: BTreeMap<String, Seen>,
    pub(super) infra: BTreeMap<String, Seen>,
    pub(super) addresses: BTreeMap<String, Seen>,
    deployments: BTreeMap<String, Seen>,
    leases: BTreeMap<String, Seen>,
}

impl Mirror {
    pub(super) fn new(server: &ApiServer) -> Self {
        let core = |kind| ResourceType::by_convention("cluster.x-k8s.io", "v1beta2", kind);
        let kinds = [
            (Kind::Cluster, core("Cluster")),
            (Kind::Deployment, core("MachineDeployment")),
            (Kind::ControlPlane, ReferenceControlPlane::KIND.into()),
            (Kind::Machine, core("Machine")),
            (Kind::Infra, ReferenceMachine::KIND.into()),
            (Kind::Address, crate::api::IPAddress::KIND.into()),
            (
                Kind::Lease,
                ResourceType::by_convention("coordination.k8s.io", "v1", "Lease"),
            ),
        ];
        let feeds = kinds
            .into_iter()
            .map(|(kind, resource)| Feed {
                kind,
                path: resource.path("default"),
                version: "0".to_owned(),
                body: None,
                buffer: BytesMut::new(),
            })
            .collect();
        Self {
            server: server.clone(),
            feeds,
            clusters: BTreeMap::new(),
            control_planes: BTreeMap::new(),
            machines: BTreeMap::new(),
            infra: BTreeMap::new(),
            addresses: BTreeMap::new(),
            deployments: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }

    /// Who holds the Lease, if anybody does.
    pub(super) fn lease_holder(&self) -> Option<&str> {
        let lease = self.leases.values().next()?;
        let holder = lease.spec.holder_identity.as_deref()?;
        (!holder.is_empty()).then_some(holder)
    }

    /// `maxSurge` and `maxUnavailable` of a deployment, in machines.
    pub(super) fn bounds(&self, deployment: &str) -> (i64, i64) {
        let Some(seen) = self.deployments.get(deployment) else {
            return (1, 0);
        };
        let bound = |name: &str, default| {
            seen.spec
                .rollout
                .pointer(&format!("/strategy/rollingUpdate/{name}"))
                .and_then(Value::as_i64)
                .unwrap_or(default)
        };
        (bound("maxSurge", 1), bound("maxUnavailable", 0))
    }

    /// Takes in everything that happened since the last call.
    pub(super) fn catch_up(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for index in 0..self.feeds.len() {
            for event in self.feeds[index].read(&self.server) {
                let kind = self.feeds[index].kind;
                steps.extend(self.take(kind, event));
            }
        }
        steps
    }

    fn take(&mut self, kind: Kind, event: Event) -> Option<Step> {
        let objects = match kind {
            Kind::Cluster => &mut self.clusters,
            Kind::Deployment => &mut self.deployments,
            Kind::ControlPlane => &mut self.control_planes,
            Kind::Machine => &mut self.machines,
            Kind::Infra => &mut self.infra,
            Kind::Address => &mut self.addresses,
            Kind::Lease => &mut self.leases,
        };
        let name = event.object.metadata.name.clone();
        let (old, new) = if event.r#type == "DELETED" {
            (objects.remove(&name), None)
        } else {
            let new = event.object;
            (objects.insert(name, new.clone()), Some(new))
        };
        match kind {
            Kind::Cluster | Kind::Lease => None,
            Kind::Deployment => new.map(Step::Deployment),
            Kind::ControlPlane => new.map(Step::ControlPlane),
            Kind::Machine => Some(Step::Machine { old, new }),
            Kind::Infra => Some(Step::Infra { old, new }),
            Kind::Address => Some(Step::Address { old, new }),
        }
    }
}

impl Feed {
    /// The events that are there; never waits.
    fn read(&mut self, server: &ApiServer) -> Vec<Event> {
        let mut events = VecDeque::new();
        if self.body.is_none() {
            self.body = self.open(server);
        }
        while let Some(body) = &mut self.body {
            match body.frame().now_or_never() {
                Some(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(_) => self.body = self.open(server),
                None => break,
            }
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Bytes = self.buffer.split_to(end + 1).freeze();
                if let Ok(event) = serde_json::from_slice::<Event>(&line)
                    && event.r#type != "ERROR"
                {
                    self.version
                        .clone_from(&event.object.metadata.resource_version);
                    events.push_back(event);
                }
            }
        }
        events.into()
    }

    fn open(&self, server: &ApiServer) -> Option<Body> {
        let path = format!("{}?watch=1&resourceVersion={}", self.path, self.version);
        let request = http::Request::get(path)
            .body(Full::new(Bytes::new()))
            .ok()?;
        let answer = server.service().call(request).now_or_never()?;
        let Ok(response) = answer;
        response.status().is_success().then(|| response.into_body())
    }
}
