//! The real kube-apiserver, started for a run from `KUBEBUILDER_ASSETS`.

use std::{
    error::Error,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use capi_apiserver::{User, https::Authority};
use kube::{
    Client, Config,
    api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams},
    config::AuthInfo,
};
use secrecy::ExposeSecret;

/// etcd and kube-apiserver on loopback; both end with the value.
pub(crate) struct Plane {
    pub(crate) client: Client,
    processes: Vec<Child>,
    _directory: tempfile::TempDir,
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn launch(
    assets: &Path,
    directory: &Path,
    name: &str,
    arguments: &[String],
) -> std::io::Result<Child> {
    let log = std::fs::File::create(directory.join(format!("{name}.log")))?;
    Command::new(assets.join(name))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
}

impl Plane {
    /// `None`, with a message, where there is no real one.
    pub(crate) async fn start() -> Result<Option<Self>, Box<dyn Error>> {
        let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
            println!("KUBEBUILDER_ASSETS is not set: the real kube-apiserver is left out");
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        #[allow(clippy::disallowed_methods)] // certificates for another process
        let now = jiff::Timestamp::now();
        let key = Authority::generate("bench", now)?.issue_client(&User::admin(), now)?;
        let key_file = path.join("service-account.key");
        std::fs::write(&key_file, key.key.expose_secret())?;
        let public = path.join("service-account.crt");
        std::fs::write(&public, &key.certificate)?;
        let tokens = path.join("tokens.csv");
        std::fs::write(&tokens, "bench,admin,admin,system:masters\n")?;
        let (client_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let text = |path: &Path| path.display().to_string();
        let etcd = launch(
            &assets,
            path,
            "etcd",
            &[
                format!("--data-dir={}", text(&path.join("etcd"))),
                "--unsafe-no-fsync".to_owned(),
                format!("--listen-client-urls=http://127.0.0.1:{client_port}"),
                format!("--advertise-client-urls=http://127.0.0.1:{client_port}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
                format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}"),
                format!("--initial-cluster=default=http://127.0.0.1:{peer_port}"),
            ],
        )?;
        let mut processes = vec![etcd];
        processes.push(launch(
            &assets,
            path,
            "kube-apiserver",
            &[
                format!("--etcd-servers=http://127.0.0.1:{client_port}"),
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                format!("--secure-port={port}"),
                "--endpoint-reconciler-type=none".to_owned(),
                format!("--cert-dir={}", text(&path.join("certs"))),
                format!("--token-auth-file={}", text(&tokens)),
                "--authorization-mode=RBAC".to_owned(),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", text(&public)),
                format!("--service-account-signing-key-file={}", text(&key_file)),
                "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            ],
        )?);
        let mut config = Config::new(format!("https://127.0.0.1:{port}").parse()?);
        config.accept_invalid_certs = true;
        config.auth_info = AuthInfo {
            token: Some("bench".to_owned().into()),
            ..AuthInfo::default()
        };
        let client = Client::try_from(config)?;
        let plane = Self {
            client,
            processes,
            _directory: directory,
        };
        for _ in 0..300 {
            let ready = http::Request::get("/readyz").body(Vec::new())?;
            if plane
                .client
                .request_text(ready)
                .await
                .is_ok_and(|text| text == "ok")
            {
                return Ok(Some(plane));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("kube-apiserver was not ready in 30 s".into())
    }

    /// Creates definitions and waits until they are served.
    pub(crate) async fn install(
        &self,
        definitions: Vec<serde_json::Value>,
    ) -> Result<(), Box<dyn Error>> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
        ));
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        for definition in definitions {
            api.create(&PostParams::default(), &serde_json::from_value(definition)?)
                .await?;
        }
        for _ in 0..100 {
            let list = http::Request::get(crate::machine::COLLECTION).body(Vec::new())?;
            if self.client.request_text(list).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the definitions were not served in 10 s".into())
    }

    /// CPU time of its processes so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.processes
            .iter()
            .map(|process| process_cpu(process.id()))
            .sum()
    }
}

/// User and system time, which the kernel counts in hundredths of a second.
fn process_cpu(id: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|text| text.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

impl Drop for Plane {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            // Already ended processes are as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
