//! One controller of ours in our Manager: MachineDeployments, and nothing else.
//!
//! ```text
//! cargo run --example embed_manager [KUBECONFIG]
//! ```
//!
//! Runs against an API server in this process unless a kubeconfig is named, prints the MachineSets
//! that the controller makes of a deployment and of its next version, and ends.

use std::error::Error;

use capi_core::{controllers::MachineDeploymentController, runtime::Manager};
use capi_examples::{deployment, output};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    output::end_quietly_unread();
    let client = deployment::client().await?;
    let manager = Manager::builder(client.clone())
        .controller(MachineDeploymentController::default())
        .build();
    // `run` ends with the future that it is given: here, when the story is told.
    let (told, end) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(manager.run(async {
        // A story that failed ends it too.
        let _ = end.await;
    }));
    let story = deployment::story(&client).await;
    drop(told);
    running.await??;
    story?;
    println!("rolled out");
    Ok(())
}
