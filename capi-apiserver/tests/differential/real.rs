//! A real control plane on loopback: etcd, kube-apiserver, and the garbage collector and
//! namespace controllers of kube-controller-manager. Ends when it is dropped.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// How often the server is asked whether it is ready; each question takes its time.
const PATIENCE: usize = 1500;

pub(crate) struct Real {
    directory: tempfile::TempDir,
    children: Vec<Child>,
}

impl Drop for Real {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // The process may have ended by itself; then there is nothing to end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Real {
    /// Starts a control plane. Ports are free when they are chosen and may be taken before they
    /// are bound; then others are chosen.
    pub(crate) fn start(assets: &Path) -> Self {
        let mut why = String::new();
        for _ in 0..3 {
            match Self::try_start(assets) {
                Ok(real) => return real,
                Err(error) => why = error,
            }
        }
        panic!("the real server does not become ready: {why}");
    }

    fn try_start(assets: &Path) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let mut real = Self {
            directory,
            children: Vec::new(),
        };
        let (client, peer, port) = (free_port(), free_port(), free_port());
        let at = |name: &str| real.directory.path().join(name).display().to_string();

        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(at("sa.key"), key.serialize_pem()).unwrap();
        std::fs::write(at("sa.pub"), key.public_key_pem()).unwrap();
        let token = format!("{:032x}", rand::random::<u128>());
        std::fs::write(
            at("tokens.csv"),
            format!("{token},admin,admin,system:masters\n"),
        )
        .unwrap();
        let server = format!("https://127.0.0.1:{port}");
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: \"{server}\", certificate-authority: {}}}}}]\n\
             users: [{{name: admin, user: {{token: \"{token}\"}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]\n",
            at("apiserver/apiserver.crt")
        );
        std::fs::write(at("kubeconfig"), kubeconfig).unwrap();

        let etcd = [
            format!("--data-dir={}", at("etcd")),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls=http://127.0.0.1:{client}"),
            format!("--advertise-client-urls=http://127.0.0.1:{client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        ];
        let apiserver = [
            format!("--etcd-servers=http://127.0.0.1:{client}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", at("apiserver")),
            format!("--token-auth-file={}", at("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", at("sa.pub")),
            format!("--service-account-signing-key-file={}", at("sa.key")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        ];
        let controllers = [
            format!("--kubeconfig={}", at("kubeconfig")),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--secure-port=0".to_owned(),
            "--use-service-account-credentials=false".to_owned(),
            "--controllers=garbage-collector-controller,namespace-controller".to_owned(),
        ];
        real.launch(assets, "etcd", &etcd);
        real.launch(assets, "kube-apiserver", &apiserver);
        real.until_ready(assets)?;
        real.launch(assets, "kube-controller-manager", &controllers);
        Ok(real)
    }

    fn launch(&mut self, assets: &Path, name: &str, arguments: &[String]) {
        let log = File::create(self.directory.path().join(format!("{name}.log"))).unwrap();
        let child = Command::new(assets.join(name))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.children.push(child);
    }

    /// Asks until the server says that it is ready; each question takes its time.
    fn until_ready(&mut self, assets: &Path) -> Result<(), String> {
        for _ in 0..PATIENCE {
            let answer = Command::new(assets.join("kubectl"))
                .args(["get", "--raw", "/readyz", "--request-timeout=5s"])
                .env("KUBECONFIG", self.kubeconfig())
                .output()
                .unwrap();
            if answer.stdout == b"ok" {
                return Ok(());
            }
            let ended = self
                .children
                .iter_mut()
                .any(|child| child.try_wait().unwrap().is_some());
            if ended {
                let log = std::fs::read_to_string(self.directory.path().join("kube-apiserver.log"))
                    .unwrap();
                let tail: Vec<&str> = log.lines().rev().take(10).collect();
                return Err(tail.join("\n"));
            }
        }
        Err("it was asked for too long".to_owned())
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    pub(crate) async fn client(&self) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = kube::Config::from_custom_kubeconfig(
            kubeconfig,
            &kube::config::KubeConfigOptions::default(),
        )
        .await
        .unwrap();
        kube::Client::try_from(config).unwrap()
    }
}
