//! One run after another on the same API server.

use std::path::Path;

use capi_examples::objects::{self, Address};
use serde_json::{Value, json};

use crate::harness::{quickstart, start};

const SECRET: &str = "/api/v1/namespaces/default/secrets/proxmox-credentials";

async fn client(kubeconfig: &Path) -> kube::Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    kube::Client::try_from(config.unwrap()).unwrap()
}

async fn secret(client: &kube::Client) -> Value {
    objects::get(client, SECRET).await.unwrap().unwrap()
}

#[test]
fn a_second_run_on_the_same_server_renews_what_the_first_supplied_and_nothing_of_a_user() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    let mut command = quickstart(["--only", "api", "--dir"]);
    command.arg(state);
    let mut api = start(command);
    api.until("serving at ");
    let kubeconfig = state.join("kubeconfig");
    let run = |more: &[&str]| {
        let mut command = quickstart(more);
        command.arg("--kubeconfig").arg(&kubeconfig);
        start(command)
    };

    // It ends with its datacenter, and leaves a Cluster and a Secret that name it.
    let first = run(&["--keep"]).end().well().output;
    assert!(
        first.contains("supplied Secret default/proxmox-credentials"),
        "{first}"
    );

    let second = run(&[]).end().well().output;
    for said in [
        "renewed Secret default/proxmox-credentials",
        "the Cluster of that run goes first",
        "the cluster is up",
        "no virtual machine, image, address or secret of ours is left",
    ] {
        assert!(second.contains(said), "{said:?} in {second}");
    }

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(client(&kubeconfig));
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "namespace": "default", "name": "proxmox-credentials",
            "annotations": { "quickstart.capi.rs/supplied-for": null },
        },
    });
    let address = Address::of(&theirs).unwrap();
    let before = runtime
        .block_on(async {
            objects::patch(&client, &address, &theirs).await?;
            Ok::<_, objects::ObjectError>(secret(&client).await)
        })
        .unwrap();
    let third = run(&[]).end();
    assert!(!third.status.success(), "{}", third.output);
    for said in [
        "Secret default/proxmox-credentials is on the API server already",
        "not the simulated one at https://127.0.0.1:",
        "kubectl delete secret proxmox-credentials --namespace default",
    ] {
        assert!(third.errors.contains(said), "{said:?} in {}", third.errors);
    }
    assert!(!third.output.contains("applied "), "{}", third.output);
    let after = runtime.block_on(secret(&client));
    assert_eq!(after, before, "the user's Secret");
}
