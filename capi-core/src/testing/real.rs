//! A real Kubernetes control plane on loopback: etcd, kube-apiserver, and the garbage collector of
//! kube-controller-manager, from the binaries that `KUBEBUILDER_ASSETS` names (as controller
//! authors have them from setup-envtest; kube-controller-manager comes beside them). All of it ends
//! with the value.

use std::{
    collections::BTreeMap,
    fmt, fs,
    hash::{BuildHasher as _, RandomState},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use secrecy::ExposeSecret as _;

use crate::{
    clock::Clock,
    embedded::{User, https::Authority},
    testing::traffic::TrafficLayer,
};

/// Where the binaries are.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Between two questions whether the server is ready.
const PAUSE: Duration = Duration::from_millis(50);
/// Questions before it counts as broken: a minute.
const PATIENCE: usize = 1200;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A running control plane.
pub struct RealServer {
    children: Vec<(&'static str, Child)>,
    directory: PathBuf,
    secret: String,
    client: kube::Client,
    port: u16,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user who may do everything.
    Admin,
    /// The user `manager`, who may do what its ClusterRole grants.
    Manager,
}

impl RealServer {
    /// Starts one. `None`, with a line on standard output, where there are no binaries.
    ///
    /// # Errors
    /// When it does not become ready within a minute; the message has the end of its log.
    pub async fn start(clock: &Clock) -> Result<Option<Self>, Failure> {
        let Some(assets) = std::env::var_os(ASSETS).map(PathBuf::from) else {
            println!("skipped: {ASSETS} is not set, so there is no real kube-apiserver");
            return Ok(None);
        };
        let mut why = String::new();
        // A port that was free may be taken before it is bound: then with others.
        for _ in 0..3 {
            match Self::try_start(&assets, clock).await {
                Ok(server) => return Ok(Some(server)),
                Err(error) => why = error.to_string(),
            }
        }
        Err(format!("the real control plane does not become ready: {why}").into())
    }

    async fn try_start(assets: &Path, clock: &Clock) -> Result<Self, Failure> {
        let token = RandomState::new().hash_one(std::process::id());
        let secret = format!("{token:016x}");
        let directory = std::env::temp_dir().join(format!("capi-real-{secret}"));
        fs::create_dir_all(&directory)?;
        let (client_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let mut server = Self {
            children: Vec::new(),
            client: client(port, &secret, Who::Admin)?,
            directory,
            secret,
            port,
        };
        server.write_files(clock)?;
        let at = |name: &str| server.directory.join(name).display().to_string();
        let etcd = [
            format!("--data-dir={}", at("etcd")),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls=http://127.0.0.1:{client_port}"),
            format!("--advertise-client-urls=http://127.0.0.1:{client_port}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer_port}"),
        ];
        let apiserver = [
            format!("--etcd-servers=http://127.0.0.1:{client_port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", at("certificates")),
            format!("--token-auth-file={}", at("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", at("account.crt")),
            format!("--service-account-signing-key-file={}", at("account.key")),
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
        server.launch(assets, "etcd", &etcd)?;
        server.launch(assets, "kube-apiserver", &apiserver)?;
        server.until_ready(clock).await?;
        server.launch(assets, "kube-controller-manager", &controllers)?;
        Ok(server)
    }

    fn write_files(&self, clock: &Clock) -> Result<(), Failure> {
        let at = |name: &str| self.directory.join(name);
        let now = clock.now();
        let key =
            Authority::generate("service accounts", now)?.issue_client(&User::admin(), now)?;
        fs::write(at("account.key"), key.key.expose_secret())?;
        fs::write(at("account.crt"), &key.certificate)?;
        let admin = token(&self.secret, Who::Admin);
        let manager = token(&self.secret, Who::Manager);
        fs::write(
            at("tokens.csv"),
            format!("{admin},admin,admin,system:masters\n{manager},manager,manager\n"),
        )?;
        fs::write(
            self.kubeconfig(),
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: real\n\
                 clusters: [{{name: real, cluster: {{server: \"https://127.0.0.1:{}\", insecure-skip-tls-verify: true}}}}]\n\
                 users: [{{name: admin, user: {{token: \"{admin}\"}}}}]\n\
                 contexts: [{{name: real, context: {{cluster: real, user: admin}}}}]\n",
                self.port
            ),
        )?;
        Ok(())
    }

    fn launch(
        &mut self,
        assets: &Path,
        name: &'static str,
        arguments: &[String],
    ) -> io::Result<()> {
        let log = fs::File::create(self.log(name))?;
        let child = Command::new(assets.join(name))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| {
                let what = format!("{}: {error}", assets.join(name).display());
                io::Error::new(error.kind(), what)
            })?;
        self.children.push((name, child));
        Ok(())
    }

    /// There is no event to wait for, so the server is asked again and again.
    async fn until_ready(&mut self, clock: &Clock) -> Result<(), Failure> {
        for _ in 0..PATIENCE {
            let ready = http::Request::get("/readyz").body(Vec::new())?;
            if self
                .client
                .request_text(ready)
                .await
                .is_ok_and(|text| text == "ok")
            {
                return Ok(());
            }
            for (name, child) in &mut self.children {
                if child.try_wait()?.is_some() {
                    let log = self.directory.join(format!("{name}.log"));
                    return Err(format!("{name} ended: {}", tail(&log)).into());
                }
            }
            clock.sleep(PAUSE).await;
        }
        Err(tail(&self.log("kube-apiserver")).into())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    /// A client of its administrator.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// A client of somebody, whose requests are written down.
    ///
    /// # Errors
    /// When no client can be made, which only a broken build would cause.
    pub fn recorded(&self, who: Who, layer: &TrafficLayer) -> Result<kube::Client, kube::Error> {
        let config = config(self.port, &self.secret, who);
        let builder = kube::client::ClientBuilder::try_from(config)?;
        Ok(builder.with_layer(layer).build())
    }

    /// A kubeconfig of its administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// CPU time of each of its processes so far.
    #[must_use]
    pub fn cpu(&self) -> BTreeMap<&'static str, Duration> {
        self.children
            .iter()
            .map(|(name, child)| (*name, cpu_of(child.id())))
            .collect()
    }

    /// Writes that the server counted so far in `apiserver_request_total`, by resource: all of
    /// POST, PUT, PATCH, APPLY and DELETE that succeeded, whoever sent them. Of Kubernetes' own
    /// kinds only Secrets: the others (Events and Leases among them) the server writes itself.
    ///
    /// # Errors
    /// When its metrics cannot be read.
    pub async fn writes(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await?;
        Ok(request_total(&text))
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        for (_, child) in self.children.iter_mut().rev() {
            // One that ended by itself is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        // What stays in the temporary directory harms nobody.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl fmt::Debug for RealServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RealServer(https://127.0.0.1:{})", self.port)
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn token(secret: &str, who: Who) -> String {
    match who {
        Who::Admin => format!("admin-{secret}"),
        Who::Manager => format!("manager-{secret}"),
    }
}

fn config(port: u16, secret: &str, who: Who) -> kube::Config {
    let uri = http::Uri::builder()
        .scheme("https")
        .authority(format!("127.0.0.1:{port}"))
        .path_and_query("/")
        .build()
        .unwrap_or_default();
    let mut config = kube::Config::new(uri);
    // The server makes its own certificate; it is ours, on loopback.
    config.accept_invalid_certs = true;
    config.auth_info.token = Some(token(secret, who).into());
    config
}

fn client(port: u16, secret: &str, who: Who) -> Result<kube::Client, kube::Error> {
    kube::Client::try_from(config(port, secret, who))
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.join(" | ")
}

/// User and system time of a process, which the kernel counts in hundredths of a second; zero
/// where there is no /proc.
#[must_use]
pub fn cpu_of(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|text| text.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Successful writes by resource, out of the server's metrics.
fn request_total(text: &str) -> BTreeMap<String, u64> {
    let mut writes = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("apiserver_request_total{") else {
            continue;
        };
        let Some((labels, count)) = rest.split_once("} ") else {
            continue;
        };
        let label = |name: &str| {
            labels.split(',').find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                (key == name).then(|| value.trim_matches('"'))
            })
        };
        let write = matches!(
            label("verb"),
            Some("POST" | "PUT" | "PATCH" | "APPLY" | "DELETE" | "DELETECOLLECTION")
        );
        let done = label("code").is_some_and(|code| code.starts_with('2'));
        let resource = label("resource").unwrap_or_default();
        let group = label("group").unwrap_or_default();
        // Kubernetes' own groups are written by the server itself, too.
        let own = !group.contains('.') || group.ends_with(".k8s.io") && !group.contains(".x-k8s.");
        if write && done && (!own || resource == "secrets") {
            // Counters are floats in the text format.
            let count = count.trim().parse::<f64>().unwrap_or_default();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            {
                *writes.entry(resource.to_owned()).or_default() += count as u64;
            }
        }
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successful_writes_are_counted_by_resource() {
        let text = r#"# HELP apiserver_request_total Counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="cluster.x-k8s.io",resource="machines",scope="resource",subresource="status",verb="PATCH",version="v1beta2"} 3
apiserver_request_total{code="201",component="apiserver",dry_run="",group="cluster.x-k8s.io",resource="machines",scope="resource",subresource="",verb="APPLY",version="v1beta2"} 1
apiserver_request_total{code="409",component="apiserver",dry_run="",group="cluster.x-k8s.io",resource="machines",scope="resource",subresource="",verb="PATCH",version="v1beta2"} 5
apiserver_request_total{code="200",component="apiserver",dry_run="",group="cluster.x-k8s.io",resource="machines",scope="cluster",subresource="",verb="LIST",version="v1beta2"} 7
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="events",scope="resource",subresource="",verb="POST",version="v1"} 9
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="POST",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 4
apiserver_request_total{code="201",component="apiserver",dry_run="",group="rbac.authorization.k8s.io",resource="clusterroles",scope="resource",subresource="",verb="POST",version="v1"} 6
"#;
        let expected = BTreeMap::from([("machines".to_owned(), 4), ("secrets".to_owned(), 2)]);
        assert_eq!(request_total(text), expected);
    }
}
