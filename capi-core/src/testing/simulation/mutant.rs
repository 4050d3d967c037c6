//! Defects that are planted to see whether the rules find them.

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};

use super::POOL_FIRST;
use crate::{
    api::{Machine, labels},
    runtime::{
        Controller, Error, ObjectKey, Outcome, PolicyRule, Propagation, ResourceType, Runtime,
        Watch,
    },
    testing::faults::Rewrite,
};

/// A planted defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Mutant {
    /// A machine is removed by its number, whoever it belongs to.
    NoIdentityCheck,
    /// A machine is made before its identity is written.
    IdentityAfterCreate,
    /// A machine's finalizer is taken off while the provider still works.
    FinalizerTooEarly,
    /// Every claim gets the first address of its pool.
    AddressTwice,
    /// A rollout makes one machine more than it may.
    OneOverSurge,
    /// While a control plane machine goes, another one is deleted.
    SecondControlPlaneMachine,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NoIdentityCheck,
        Self::IdentityAfterCreate,
        Self::FinalizerTooEarly,
        Self::AddressTwice,
        Self::OneOverSurge,
        Self::SecondControlPlaneMachine,
    ];

    /// The change of requests that makes the defect.
    pub(super) fn rewrite(self) -> Option<Rewrite> {
        match self {
            Self::AddressTwice => Some(Arc::new(|method, path, mut body| {
                if *method == Method::POST && path.ends_with("/ipaddresses") {
                    body["spec"]["address"] = json!(POOL_FIRST);
                }
                body
            })),
            Self::OneOverSurge => Some(over_surge()),
            _ => None,
        }
    }

    /// The controller that makes the defect, around the one that is right.
    pub(super) fn wrap(self, inner: Arc<dyn Controller>) -> Arc<dyn Controller> {
        if self == Self::SecondControlPlaneMachine && inner.resource().kind() == "Machine" {
            return Arc::new(Hasty(inner));
        }
        inner
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|one| one.to_string() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(|one| one.to_string());
            format!("no such defect; there are {}", names.join(", "))
        })
    }
}

/// A MachineSet that grows gets one machine more than it was to have.
fn over_surge() -> Rewrite {
    let before = Mutex::new(BTreeMap::<String, i64>::new());
    Arc::new(move |method, path, mut body| {
        if *method != Method::PATCH || !path.contains("/machinesets/") || path.ends_with("/status")
        {
            return body;
        }
        let Some(replicas) = body.pointer("/spec/replicas").and_then(Value::as_i64) else {
            return body;
        };
        let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
        let last = before.insert(path.to_owned(), replicas).unwrap_or(0);
        if replicas > last {
            body["spec"]["replicas"] = json!(replicas + 1);
        }
        body
    })
}

/// Deletes a second control plane machine while the first one goes.
struct Hasty(Arc<dyn Controller>);

#[async_trait]
impl Controller for Hasty {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn resource(&self) -> ResourceType {
        self.0.resource()
    }

    fn watches(&self) -> Vec<Watch> {
        self.0.watches()
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        self.0.rbac()
    }

    fn start(&self, runtime: &Runtime) {
        self.0.start(runtime);
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let machines = ResourceType::from(Machine::KIND);
        let store = runtime.cache().store(&machines);
        let going = store.get(key).filter(|machine| {
            machine.is_deleting() && machine.label(labels::CONTROL_PLANE).is_some()
        });
        if let Some(going) = going
            && let Some(cluster) = going.label(labels::CLUSTER_NAME)
        {
            let mates = store.of_cluster(&key.sibling(cluster));
            let next = mates.iter().find(|mate| {
                mate.label(labels::CONTROL_PLANE).is_some()
                    && !mate.is_deleting()
                    && mate.name() != going.name()
            });
            if let Some(next) = next {
                let writer = runtime.writer();
                writer
                    .delete(&machines, next.key(), next.uid(), Propagation::Background)
                    .await?;
            }
        }
        self.0.reconcile(runtime, key).await
    }
}
