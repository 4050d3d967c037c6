//! Controllers whose manager may die at any await of a reconcile.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;

use super::world::World;
use crate::{
    runtime::{Controller, Error, ObjectKey, Outcome, PolicyRule, ResourceType, Runtime, Watch},
    testing::faults::{Fault, Occasion},
};

pub(super) struct Fragile {
    pub(super) inner: Arc<dyn Controller>,
    pub(super) world: Arc<World>,
    pub(super) who: Arc<str>,
}

#[async_trait]
impl Controller for Fragile {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn resource(&self) -> ResourceType {
        self.inner.resource()
    }

    fn watches(&self) -> Vec<Watch> {
        self.inner.watches()
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        self.inner.rbac()
    }

    fn start(&self, runtime: &Runtime) {
        self.inner.start(runtime);
    }

    async fn reconcile(&self, runtime: &Runtime, key: &ObjectKey) -> Result<Outcome, Error> {
        let reconcile = Reconcile {
            inner: self.inner.reconcile(runtime, key),
            of: self,
            key,
            died: false,
        };
        reconcile.await
    }
}

/// A reconcile that goes no further from where its manager dies.
struct Reconcile<'a, F> {
    inner: F,
    of: &'a Fragile,
    key: &'a ObjectKey,
    died: bool,
}

impl<F: Future + Unpin> Future for Reconcile<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.died {
            return Poll::Pending;
        }
        if let Poll::Ready(output) = Pin::new(&mut self.inner).poll(context) {
            return Poll::Ready(output);
        }
        let Fragile { world, who, inner } = self.of;
        if let Some(fault) = world.faults.draw(Occasion::Await) {
            let (name, key) = (inner.name(), self.key);
            world.note(fault, &format!("{who} in {name} of {key}"));
            if fault == Fault::CrashAtAwait {
                world.faults.crash(who);
                self.died = true;
            }
        }
        Poll::Pending
    }
}
