//! The two servers under test.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use capi_apiserver::{
    ApiServer, User,
    https::{Authority, Https},
};
use secrecy::ExposeSecret;

pub(crate) trait Plane: Sync {
    fn kubeconfig(&self) -> PathBuf;
    fn directory(&self) -> PathBuf;
}

pub(crate) struct Embedded {
    _https: Https,
    directory: PathBuf,
}

impl Embedded {
    pub(crate) async fn start(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a directory");
        let server = ApiServer::builder().build().expect("a server");
        let https = server.https().start().await.expect("a socket");
        let kubeconfig = https.kubeconfig(&User::admin()).expect("a kubeconfig");
        std::fs::write(directory.join("kubeconfig"), kubeconfig.expose_secret()).expect("written");
        Self {
            _https: https,
            directory: directory.to_owned(),
        }
    }
}

impl Plane for Embedded {
    fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    fn directory(&self) -> PathBuf {
        self.directory.clone()
    }
}

/// etcd, kube-apiserver and, where there is one, kube-controller-manager.
pub(crate) struct Real {
    processes: Vec<Child>,
    directory: PathBuf,
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

impl Real {
    pub(crate) async fn start(directory: &Path, assets: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a directory");
        let mut real = Self {
            processes: Vec::new(),
            directory: directory.to_owned(),
        };
        let now = jiff::Timestamp::now();
        let key = Authority::generate("test", now)
            .and_then(|authority| authority.issue_client(&User::admin(), now))
            .expect("a key");
        let key_file = directory.join("service-account.key");
        std::fs::write(&key_file, key.key.expose_secret()).expect("written");
        std::fs::write(directory.join("service-account.crt"), &key.certificate).expect("written");
        let key_file = key_file.display().to_string();
        let public = directory.join("service-account.crt").display().to_string();
        std::fs::write(
            directory.join("tokens.csv"),
            "test,system:admin,admin,system:masters\n",
        )
        .expect("written");
        let (client, peer, port) = (free_port(), free_port(), free_port());
        let text = |name: &str| directory.join(name).display().to_string();
        real.launch(
            assets,
            "etcd",
            &[
                format!("--data-dir={}", text("etcd")),
                "--unsafe-no-fsync".to_owned(),
                format!("--listen-client-urls=http://127.0.0.1:{client}"),
                format!("--advertise-client-urls=http://127.0.0.1:{client}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
                format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            ],
        );
        real.launch(
            assets,
            "kube-apiserver",
            &[
                format!("--etcd-servers=http://127.0.0.1:{client}"),
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                format!("--secure-port={port}"),
                "--endpoint-reconciler-type=none".to_owned(),
                format!("--cert-dir={}", text("certs")),
                format!("--token-auth-file={}", text("tokens.csv")),
                "--authorization-mode=RBAC".to_owned(),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={public}"),
                format!("--service-account-signing-key-file={key_file}"),
                "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            ],
        );
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: t\n  cluster:\n    server: https://127.0.0.1:{port}\n    insecure-skip-tls-verify: true\nusers:\n- name: t\n  user:\n    token: test\ncontexts:\n- name: t\n  context: {{cluster: t, user: t}}\ncurrent-context: t\n"
        );
        std::fs::write(real.kubeconfig(), kubeconfig).expect("written");
        real.wait(assets).await;
        if assets.join("kube-controller-manager").exists() {
            real.launch(
                assets,
                "kube-controller-manager",
                &[
                    format!("--kubeconfig={}", text("kubeconfig")),
                    "--controllers=garbage-collector-controller,namespace-controller".to_owned(),
                    "--leader-elect=false".to_owned(),
                    "--secure-port=0".to_owned(),
                ],
            );
        }
        real
    }

    fn launch(&mut self, assets: &Path, name: &str, arguments: &[String]) {
        let log = std::fs::File::create(self.directory.join(format!("{name}.log"))).expect("a log");
        let mut command = Command::new(assets.join(name));
        let child = command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a process");
        self.processes.push(child);
    }

    async fn wait(&self, assets: &Path) {
        for _ in 0..300 {
            let mut command = Command::new(assets.join("kubectl"));
            command
                .args(["get", "--raw", "/readyz"])
                .env("KUBECONFIG", self.kubeconfig());
            let ready = command.output().is_ok_and(|output| output.status.success());
            if ready {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = std::fs::read_to_string(self.directory.join("kube-apiserver.log"));
        let log = log.unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        panic!("kube-apiserver was not ready in time: {tail:#?}");
    }
}

impl Plane for Real {
    fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    fn directory(&self) -> PathBuf {
        self.directory.clone()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            process.kill().ok();
            process.wait().ok();
        }
    }
}
