//! Talos' own client library (`talos-peer call`) against the simulated nodes, over sockets of
//! 127.0.0.1 in real time.

use std::{path::PathBuf, time::Duration};

use capi_bootstrap_talos::config::Contract;
use capi_controlplane_talos::simulator::{Latencies, Options};
use capi_core::clock::Clock;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::fixture::{Keys, Lab, address};

/// Talos' own client, with a directory for its files.
struct Peer {
    program: PathBuf,
    directory: tempfile::TempDir,
}

impl Peer {
    /// `None`, and a line that says so, where it is absent.
    fn find() -> Option<Self> {
        let Some(program) = std::env::var_os("TALOS_PEER").map(PathBuf::from) else {
            println!("skipped: set TALOS_PEER to the path of talos-peer");
            return None;
        };
        Some(Self {
            program,
            directory: tempfile::tempdir().expect("a directory"),
        })
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path of UTF-8").to_owned()
    }

    async fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = tokio::process::Command::new(&self.program)
            .args(arguments)
            .output()
            .await
            .expect("it runs");
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).expect("UTF-8"))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}

/// Machines behind ports of 127.0.0.1, and the peer that calls them.
struct Scene {
    peer: Peer,
    lab: Lab,
    talosconfig: String,
}

impl Scene {
    fn new() -> Option<Self> {
        let peer = Peer::find()?;
        let mut latencies = Latencies::instant();
        latencies.quorum = Duration::from_secs(1);
        let options = Options::default().loopback().latencies(latencies);
        let lab = Lab::with(Clock::system(), options);
        let talosconfig = peer.file(
            "talosconfig",
            lab.keys.talosconfig(&lab.clock).expose_secret(),
        );
        Some(Self {
            peer,
            lab,
            talosconfig,
        })
    }

    async fn call(&self, number: u8, arguments: &[&str]) -> Result<Value, String> {
        self.call_with(&self.talosconfig, number, arguments).await
    }

    async fn call_with(
        &self,
        talosconfig: &str,
        number: u8,
        arguments: &[&str],
    ) -> Result<Value, String> {
        let text = self
            .text(&["--talosconfig", talosconfig], number, arguments)
            .await?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    async fn text(&self, flags: &[&str], number: u8, arguments: &[&str]) -> Result<String, String> {
        let endpoint = self
            .lab
            .datacenter
            .machine_api(address(number))
            .expect("a route")
            .to_string();
        let command = [&["call"], flags, &["--endpoint", &endpoint], arguments].concat();
        self.peer.run(&command).await
    }
}

fn names(members: &Value) -> Vec<String> {
    let members = members
        .pointer("/messages/0/members")
        .and_then(Value::as_array);
    let mut names: Vec<String> = members
        .into_iter()
        .flatten()
        .map(|member| member["hostname"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn talos_own_client_works_with_simulated_nodes() {
    let Some(scene) = Scene::new() else { return };
    let first = scene.lab.cluster(3).await;

    let version = scene.call(1, &["version"]).await.expect("version");
    assert_eq!(
        version
            .pointer("/messages/0/version/tag")
            .and_then(Value::as_str),
        Some("v1.13.8")
    );
    let hostname = scene.call(2, &["hostname"]).await.expect("hostname");
    assert_eq!(
        hostname
            .pointer("/messages/0/hostname")
            .and_then(Value::as_str),
        Some("node-2")
    );
    let services = scene.call(1, &["services"]).await.expect("services");
    let services = services
        .pointer("/messages/0/services")
        .and_then(Value::as_array)
        .expect("a list");
    let etcd = services
        .iter()
        .find(|service| service["id"] == "etcd")
        .expect("etcd");
    assert_eq!(
        (&etcd["state"], &etcd["health"]["healthy"]),
        (&Value::from("Running"), &Value::from(true))
    );
    let members = scene.call(2, &["members"]).await.expect("members");
    assert_eq!(names(&members), ["node-1", "node-2", "node-3"]);
    let status = scene.call(3, &["etcd-status"]).await.expect("etcd-status");
    let status = status
        .pointer("/messages/0/memberStatus")
        .expect("a status");
    let ours = first
        .etcd_status()
        .await
        .expect("status")
        .leader
        .expect("a leader");
    assert_eq!(status["leader"].as_str(), Some(ours.0.to_string().as_str()));

    let kubeconfig = scene
        .text(&["--talosconfig", &scene.talosconfig], 1, &["kubeconfig"])
        .await
        .expect("kubeconfig");
    assert!(
        kubeconfig.contains("https://10.0.0.100:6443"),
        "{kubeconfig}"
    );

    let error = scene
        .call(1, &["bootstrap"])
        .await
        .expect_err("a second time");
    assert!(error.contains("AlreadyExists"), "{error}");
    let garbage = scene
        .peer
        .file("garbage.yaml", "this: is\nnothing: useful\n");
    let error = scene
        .call(1, &["apply", &garbage, "auto"])
        .await
        .expect_err("garbage");
    assert!(error.contains("InvalidArgument"), "{error}");

    let snapshot = scene.peer.file("snapshot", "");
    scene
        .text(
            &["--talosconfig", &scene.talosconfig],
            1,
            &["snapshot", &snapshot],
        )
        .await
        .expect("snapshot");
    assert_eq!(
        std::fs::metadata(&snapshot).expect("a file").len(),
        64 * 1024 + 32
    );

    scene.call(3, &["leave"]).await.expect("leave");
    let members = scene.call(1, &["members"]).await.expect("members");
    assert_eq!(names(&members), ["node-1", "node-2"]);
    scene.call(2, &["forfeit"]).await.expect("forfeit");
}

#[tokio::test]
async fn talos_own_client_with_another_bundle_is_refused() {
    let Some(scene) = Scene::new() else { return };
    scene.lab.cluster(1).await;
    let other = Keys::new("other", &scene.lab.clock);
    let foreign = scene.peer.file(
        "foreign",
        other.talosconfig(&scene.lab.clock).expose_secret(),
    );
    let error = scene
        .call_with(&foreign, 1, &["version"])
        .await
        .expect_err("another bundle");
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn talos_own_client_brings_a_node_out_of_maintenance_mode() {
    let Some(scene) = Scene::new() else { return };
    scene.lab.datacenter.boot(scene.lab.facts(1, String::new()));
    while scene.lab.datacenter.machine_api(address(1)).is_none() {
        scene.lab.clock.sleep(Duration::from_millis(10)).await;
    }
    let version = scene
        .text(&["--insecure"], 1, &["version"])
        .await
        .expect("version");
    assert!(version.contains("v1.13.8"), "{version}");
    let config = scene
        .lab
        .keys
        .config_for(Contract::V1_13, "controlplane", "flannel");
    let config = scene.peer.file("config.yaml", &config);
    scene
        .text(&["--insecure"], 1, &["apply", &config, "auto"])
        .await
        .expect("apply");
    scene.lab.client(1).await;
    scene.call(1, &["bootstrap"]).await.expect("bootstrap");
    scene
        .lab
        .datacenter
        .until(|machines| machines[0].has_etcd_data)
        .await;
}

#[tokio::test]
async fn talos_own_client_waits_in_vain_for_members_without_quorum() {
    let Some(scene) = Scene::new() else { return };
    scene.lab.cluster(3).await;
    for number in [2, 3] {
        assert!(
            scene
                .lab
                .datacenter
                .power_off(&crate::fixture::uuid(number))
        );
    }
    let error = scene.call(1, &["members"]).await.expect_err("one of three");
    assert!(error.contains("request timed out"), "{error}");
    scene.lab.control_plane(2);
    let again = async {
        while scene.call(1, &["members"]).await.is_err() {
            scene.lab.clock.sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .expect("quorum again");
}

#[tokio::test]
async fn kubectl_reads_the_nodes_of_a_simulated_cluster() {
    let Some(directory) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
        println!("skipped: set KUBEBUILDER_ASSETS to a directory with kubectl");
        return;
    };
    let options = Options::default()
        .loopback()
        .latencies(Latencies::instant());
    let lab = Lab::with(Clock::system(), options);
    let kubectl = Peer {
        program: directory.join("kubectl"),
        directory: tempfile::tempdir().expect("a directory"),
    };
    let first = lab.cluster(1).await;
    let kubeconfig = first.kubeconfig().await.expect("kubeconfig");
    let kubeconfig = kubectl.file("kubeconfig", kubeconfig.expose_secret());
    let ca = kubectl.file("ca.crt", &lab.keys.kubernetes.certificate().to_pem());
    let server = loop {
        match lab.datacenter.route("10.0.0.100", 6443) {
            Some(route) => break format!("--server=https://{route}"),
            None => lab.clock.sleep(Duration::from_millis(10)).await,
        }
    };
    let cache = format!("--cache-dir={}", kubectl.directory.path().display());
    let get = [
        "get",
        "nodes",
        "-o",
        "name",
        &server,
        "--tls-server-name=10.0.0.100",
        &cache,
    ];
    let nodes = async {
        loop {
            let with = [&get[..], &["--kubeconfig", &kubeconfig]].concat();
            match kubectl.run(&with).await {
                Ok(nodes) if !nodes.is_empty() => return nodes,
                _ => lab.clock.sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let nodes = tokio::time::timeout(Duration::from_secs(30), nodes)
        .await
        .expect("nodes");
    assert_eq!(nodes.trim(), "node/node-1");
    let anonymous = [
        &get[..],
        &["--certificate-authority", &ca, "--token=nobody"],
    ]
    .concat();
    let error = kubectl.run(&anonymous).await.expect_err("nobody");
    assert!(
        error.contains("Unauthorized") || error.contains("logged in"),
        "{error}"
    );
}
