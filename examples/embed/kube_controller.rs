//! One controller of ours in kube's own `Controller`: that one keeps the queue, decides about
//! concurrency and retries, and can be drained, observed and wrapped as an operator's others are.
//!
//! ```text
//! cargo run --example embed_kube [KUBECONFIG]
//! ```
//!
//! Runs against an API server in this process unless a kubeconfig is named, prints the MachineSets
//! that the controller makes of a deployment and of its next version, and ends.

use std::{error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use capi_core::{
    controllers::MachineDeploymentController,
    runtime::{
        Controller, Error as RuntimeError, Manager, ObjectKey, Outcome, PolicyRule, ResourceType,
        Runtime, Watch,
    },
};
use capi_examples::{deployment, output};
use futures::{StreamExt as _, channel::mpsc};
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject},
    runtime::{Controller as KubeController, controller::Action, reflector::ObjectRef, watcher},
};

/// Watches what a controller watches, and passes on which objects it is to look at. The keys come
/// after the caches that the controller reads took the change in, so it never looks too early.
struct Watches {
    of: Arc<MachineDeploymentController>,
    keys: mpsc::UnboundedSender<ObjectKey>,
}

#[async_trait]
impl Controller for Watches {
    fn name(&self) -> &str {
        self.of.name()
    }

    fn resource(&self) -> ResourceType {
        self.of.resource()
    }

    fn watches(&self) -> Vec<Watch> {
        self.of.watches()
    }

    fn rbac(&self) -> Vec<PolicyRule> {
        self.of.rbac()
    }

    fn start(&self, runtime: &Runtime) {
        self.of.start(runtime);
    }

    async fn reconcile(&self, _: &Runtime, key: &ObjectKey) -> Result<Outcome, RuntimeError> {
        // Nobody listens any more at the end.
        let _ = self.keys.unbounded_send(key.clone());
        Ok(Outcome::done())
    }
}

struct Context {
    controller: Arc<MachineDeploymentController>,
    runtime: Runtime,
}

async fn reconcile(
    object: Arc<DynamicObject>,
    context: Arc<Context>,
) -> Result<Action, RuntimeError> {
    let key = ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any());
    let outcome = context.controller.reconcile(&context.runtime, &key).await?;
    Ok(match outcome.requeue_after {
        Some(after) => Action::requeue(after),
        None => Action::await_change(),
    })
}

fn retry(_: Arc<DynamicObject>, error: &RuntimeError, _: Arc<Context>) -> Action {
    println!("again: {}", error.full_message());
    Action::requeue(Duration::from_millis(200))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    output::end_quietly_unread();
    let client = deployment::client().await?;
    let controller = Arc::new(MachineDeploymentController::default());
    let kind = controller.resource();
    let (sender, keys) = mpsc::unbounded();
    let manager = Manager::builder(client.clone())
        .controller(Watches {
            of: Arc::clone(&controller),
            keys: sender,
        })
        .build();
    let context = Context {
        controller,
        runtime: manager.runtime().clone(),
    };
    let watching = tokio::spawn(manager.run(std::future::pending()));

    let resource = ApiResource {
        group: kind.group().to_owned(),
        version: kind.version().to_owned(),
        api_version: kind.api_version(),
        kind: kind.kind().to_owned(),
        plural: kind.plural().to_owned(),
    };
    let of_key = {
        let resource = resource.clone();
        move |key: ObjectKey| {
            ObjectRef::new_with(&key.name, resource.clone()).within(&key.namespace)
        }
    };
    let api = Api::all_with(client.clone(), &resource);
    let hosting = KubeController::new_with(api, watcher::Config::default(), resource)
        .reconcile_on(keys.map(of_key))
        .run(reconcile, retry, Arc::new(context))
        .for_each(|_| futures::future::ready(()));
    let hosting = tokio::spawn(hosting);

    deployment::story(&client).await?;
    hosting.abort();
    watching.abort();
    println!("rolled out");
    Ok(())
}
