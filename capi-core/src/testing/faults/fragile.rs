//! Controllers whose manager may die at any await of a reconcile.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;

use super::{Fault, Faults, Occasion};
use crate::runtime::{
    Controller, Error, ObjectKey, Outcome, PolicyRule, ResourceType, Runtime, Watch,
};

/// A controller whose manager [dies](Fault::CrashAtAwait) at awaits of its reconciles, as the
/// faults say.
pub struct Fragile {
    inner: Arc<dyn Controller>,
    faults: Faults,
    manager: Arc<str>,
    tell: Arc<Tell>,
}

type Tell = dyn Fn(&str) + Send + Sync;

impl Fragile {
    /// `inner` in the manager that is called `manager`; `tell` hears where that dies.
    pub fn new(
        inner: Arc<dyn Controller>,
        faults: Faults,
        manager: Arc<str>,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            faults,
            manager,
            tell: Arc::new(tell),
        }
    }
}

impl fmt::Debug for Fragile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fragile({} of {})", self.inner.name(), self.manager)
    }
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
        let of = self.of;
        if of.faults.draw(Occasion::Await) == Some(Fault::CrashAtAwait) {
            of.faults.note(Fault::CrashAtAwait);
            let (name, who) = (of.inner.name(), &of.manager);
            (of.tell)(&format!("{who} in {name} of {}", self.key));
            of.faults.crash(who);
            self.died = true;
        }
        Poll::Pending
    }
}
