//! An API server and managers, each a process.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use capi_core::testing::reference;
use capi_examples::objects;
use serde::Deserialize;
use serde_json::Value;

pub(crate) const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
pub(crate) const REFERENCE: &str = "/apis/reference.capi.dev/v1/namespaces/default";

/// The executable of an example.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let built = test
        .parent()
        .and_then(Path::parent)
        .expect("target/debug/deps");
    let path = built.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --examples",
        path.display()
    );
    path
}

/// A process that ends with this value, as by `kill -9`.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Kills it and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it can be waited for");
    }

    /// Sends it a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.expect("kill runs").success(), "kill -s {name} {id}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A line of the audit log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Request {
    pub(crate) user_agent: String,
    pub(crate) verb: String,
    pub(crate) resource: String,
    pub(crate) code: u16,
}

impl Request {
    /// Whether it changed something that is no Lease.
    pub(crate) fn wrote(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
            && self.code < 300
            && self.resource != "leases"
    }
}

/// An API server in a process of its own, with a directory for all that belongs to a test.
pub(crate) struct Plane {
    pub(crate) client: kube::Client,
    directory: tempfile::TempDir,
    _process: Process,
}

impl Plane {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let crds = directory.path().join("reference.yaml");
        let mut file = File::create(&crds).expect("a file");
        for crd in reference::crds() {
            writeln!(file, "---\n{crd}").expect("a file");
        }
        let mut child = Command::new(example("plane"))
            .arg("--dir")
            .arg(directory.path())
            .arg("--crds")
            .arg(&crds)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the plane starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let process = Process(child);
        let ready = lines.any(|line| line.is_ok_and(|line| line.starts_with("KUBECONFIG=")));
        assert!(ready, "the plane ended before it was ready");
        let kubeconfig = directory.path().join("kubeconfig");
        let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
            .await
            .expect("a sound kubeconfig");
        Self {
            client: kube::Client::try_from(config).expect("a client"),
            directory,
            _process: process,
        }
    }

    /// Starts a manager with the reference providers.
    pub(crate) fn manager(&self, identity: &str, more: &[&str]) -> Process {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("managers.log"))
            .expect("a log");
        let child = Command::new(example("manager"))
            .arg("--kubeconfig")
            .arg(self.path("kubeconfig"))
            .arg("--reference")
            .arg("--inventory")
            .arg(self.path("inventory"))
            .args(["--identity", identity])
            .args(more)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the manager starts");
        Process(child)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// All requests so far that were answered.
    pub(crate) fn audit(&self) -> Vec<Request> {
        self.audit_of("")
    }

    /// How often a manager wrote so far, Leases apart.
    pub(crate) fn writes(&self, identity: &str) -> usize {
        let own = |request: &&Request| request.user_agent == identity && request.wrote();
        self.audit_of(identity).iter().filter(own).count()
    }

    /// Those whose line holds a text.
    fn audit_of(&self, text_of_line: &str) -> Vec<Request> {
        let text = fs::read_to_string(self.path("audit.jsonl")).expect("the audit log");
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .filter(|line| line.contains(text_of_line))
            .map(|line| serde_json::from_str(line).expect("a record"))
            .collect()
    }

    /// The machines that exist, by name of their Machine: their marks.
    pub(crate) fn inventory(&self) -> BTreeMap<String, String> {
        let mut machines = BTreeMap::new();
        for name in self.files() {
            if !name.starts_with("machine-") {
                continue;
            }
            let record = fs::read(self.path("inventory").join(&name)).expect("a record");
            let record: Value = serde_json::from_slice(&record).expect("JSON");
            let text = |key: &str| record[key].as_str().expect("a string").to_owned();
            let twice = machines.insert(text("name"), text("mark"));
            assert_eq!(twice, None, "{name} is a second machine of that name");
        }
        machines
    }

    /// Names of all files of the inventory.
    pub(crate) fn files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("inventory")) else {
            return Vec::new();
        };
        entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    /// What the managers said last.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.path("managers.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    pub(crate) async fn apply(&self, object: &Value) {
        objects::apply(&self.client, object, false)
            .await
            .expect("it is applied");
    }

    pub(crate) async fn patch(&self, path: &str, patch: &Value) {
        let request = http::Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string().into_bytes())
            .expect("a path");
        self.client
            .request_text(request)
            .await
            .expect("it is patched");
    }

    pub(crate) async fn delete(&self, path: &str) {
        let request = http::Request::delete(path)
            .body(Vec::new())
            .expect("a path");
        self.client
            .request_text(request)
            .await
            .expect("it is there");
    }

    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        objects::list(&self.client, path).await.expect("an answer")
    }

    /// Waits until something is so; real time, so with a deadline that no machine is too slow for.
    pub(crate) async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(180);
        while !so().await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what}: not in three minutes; the managers said\n{}",
                self.last_words()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a process ends by itself.
    pub(crate) async fn ended(&self, process: &mut Process) -> ExitStatus {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(180);
        loop {
            if let Some(status) = process.0.try_wait().expect("it is a child") {
                return status;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "it does not end; the managers said\n{}",
                self.last_words()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a deployment or control plane has so many machines, all as it asks for.
    pub(crate) async fn settled(&self, path: &str, replicas: i32, version: &str) {
        let versions = serde_json::json!([{ "version": version, "replicas": replicas }]);
        self.until(
            &format!("{path} with {replicas} of {version}"),
            async || {
                let found = objects::get(&self.client, path).await.expect("an answer");
                found.is_some_and(|found| {
                    let status = &found["status"];
                    status["availableReplicas"] == replicas
                        && status["replicas"] == replicas
                        && status["upToDateReplicas"] == replicas
                        && status["versions"] == versions
                })
            },
        )
        .await;
    }
}
