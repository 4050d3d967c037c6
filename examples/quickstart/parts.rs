//! The parts that can be processes of their own: the management API server, the datacenter, the
//! controllers.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use capi_bootstrap_talos::provider::TalosBootstrap;
use capi_controlplane_talos::{
    client::{Connector as MachineApiConnector, MappedConnector, TcpConnector},
    provider::TalosControlPlaneProvider,
};
use capi_core::{
    api::convert::{self, Conversion},
    clock::Clock,
    controllers,
    embedded::{self, ApiServer, Audit, Record, User, https::Https},
    pki::PrivateKey,
    runtime::{Connector, KubeconfigConnector, Manager, ObjectKey, custom_resource_definitions},
};
use capi_examples::lab::{Lab, LabOptions, LoopbackConnector};
use capi_provider_proxmox::provider::ProxmoxProvider;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::arguments::Arguments;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Where state is kept.
#[derive(Clone, Debug)]
pub(crate) struct Directory(Arc<PathBuf>);

impl Directory {
    /// The directory that was asked for, or one that goes with the process.
    pub(crate) fn open(wanted: Option<&Path>) -> Result<(Self, Option<tempfile::TempDir>), Error> {
        match wanted {
            Some(path) => {
                std::fs::create_dir_all(path)
                    .map_err(|error| format!("--dir {}: {error}", path.display()))?;
                Ok((Self(Arc::new(path.to_owned())), None))
            }
            None => {
                let temporary = tempfile::tempdir()?;
                Ok((Self(Arc::new(temporary.path().to_owned())), Some(temporary)))
            }
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that only its owner may read, whole or not at all.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.file(name);
        let partial = self.file(&format!(".{name}.partial"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(content)?;
        std::fs::rename(partial, path)?;
        Ok(())
    }
}

#[derive(Debug)]
struct AuditLog(Mutex<BufWriter<File>>);

impl Audit for AuditLog {
    fn record(&self, record: &Record<'_>) {
        let Ok(mut file) = self.0.lock() else { return };
        let written = serde_json::to_writer(&mut *file, record)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.flush());
        if let Err(error) = written {
            tracing::warn!(%error, "a request is missing in the audit log");
        }
    }
}

/// The management API server, embedded or somebody's.
pub(crate) struct Plane {
    pub(crate) client: kube::Client,
    /// Whether it converts between versions by itself.
    pub(crate) converts: bool,
    https: Option<Https>,
}

impl Plane {
    /// Starts an embedded one on 127.0.0.1.
    pub(crate) async fn start(
        directory: &Directory,
        port: u16,
        clock: Clock,
    ) -> Result<Self, Error> {
        let audit = File::create(directory.file("audit.jsonl"))?;
        let builder = ApiServer::builder()
            .clock(clock)
            .audit(AuditLog(Mutex::new(BufWriter::new(audit))));
        let server = embedded::install(builder, definitions(), &conversions()).build()?;
        let client = embedded::client(&server);
        let https = server
            .https()
            .listen(([127, 0, 0, 1], port).into())
            .start()
            .await
            .map_err(|error| format!("the management API server on port {port}: {error}"))?;
        let kubeconfig = https.kubeconfig(&User::admin())?;
        directory.write("kubeconfig", kubeconfig.expose_secret().as_bytes())?;
        Ok(Self {
            client,
            converts: true,
            https: Some(https),
        })
    }

    /// Uses the one that a kubeconfig names, with our definitions installed.
    pub(crate) async fn connect(path: &Path) -> Result<Self, Error> {
        let kubeconfig = kube::config::Kubeconfig::read_from(path)
            .map_err(|error| format!("--kubeconfig {}: {error}", path.display()))?;
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(Self {
            client: kube::Client::try_from(config)?,
            converts: false,
            https: None,
        })
    }

    /// Installs the definitions, of which only the stored versions are served: this server has
    /// nobody to convert others.
    pub(crate) async fn install(&self) -> Result<(), Error> {
        let manager = Manager::builder(self.client.clone()).build();
        let writer = manager.runtime().writer();
        let kind = custom_resource_definitions();
        for mut definition in definitions() {
            if let Some(versions) = definition["spec"]["versions"].as_array_mut() {
                versions.retain(|version| version["storage"] == true);
            }
            if let Some(spec) = definition["spec"].as_object_mut() {
                spec.remove("conversion");
            }
            let name = definition["metadata"]["name"].as_str().unwrap_or_default();
            let key = ObjectKey::new("", name);
            writer.apply(&kind, &key, "quickstart", &definition).await?;
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn url(&self) -> Option<String> {
        self.https.as_ref().map(Https::url)
    }
}

pub(crate) fn definitions() -> Vec<Value> {
    capi_core::api::crds()
        .into_iter()
        .chain(capi_provider_proxmox::api::crds())
        .chain(capi_bootstrap_talos::api::crds())
        .chain(capi_controlplane_talos::api::crds())
        .collect()
}

fn conversions() -> Vec<Conversion> {
    [
        capi_core::api::conversions(),
        capi_provider_proxmox::api::conversions(),
        capi_bootstrap_talos::api::conversions(),
    ]
    .concat()
}

/// An object in the version that is stored.
pub(crate) fn to_stored_version(object: Value) -> Result<Value, Error> {
    let all = conversions();
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split('/').next().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let Some(conversion) = convert::find(&all, group, kind) else {
        return Ok(object);
    };
    let stored = conversion.hub.api_version();
    let shown = format!(
        "{kind} {}",
        object["metadata"]["name"].as_str().unwrap_or_default()
    );
    conversion
        .convert(object, &stored, &definitions())
        .map_err(|error| format!("{shown}: {error}").into())
}

/// How to get into the datacenter, and to what runs in it.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) credentials: Vec<(String, String)>,
    pub(crate) machine_api: Arc<dyn MachineApiConnector>,
    pub(crate) kubernetes: Arc<dyn Connector>,
}

/// What a process with the datacenter tells others through `nodes.json`.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Routes {
    credentials: Vec<(String, String)>,
    routes: Vec<(String, u16, std::net::SocketAddr)>,
}

/// A real datacenter.
pub(crate) fn real(arguments: &Arguments) -> Result<Option<Access>, Error> {
    let (Some(url), Some(token)) = (&arguments.proxmox_url, &arguments.proxmox_token) else {
        return Ok(None);
    };
    let (name, secret) = token
        .split_once('=')
        .ok_or("--proxmox-token must be user@realm!name=secret")?;
    let mut credentials = vec![
        ("url".to_owned(), url.clone()),
        ("token".to_owned(), name.to_owned()),
        ("secret".to_owned(), secret.to_owned()),
    ];
    if let Some(fingerprint) = &arguments.fingerprint {
        credentials.push(("fingerprint".to_owned(), fingerprint.clone()));
    } else {
        credentials.push(("insecure".to_owned(), "false".to_owned()));
    }
    Ok(Some(Access {
        credentials,
        machine_api: Arc::new(TcpConnector),
        kubernetes: Arc::new(KubeconfigConnector),
    }))
}

/// Opens the simulated datacenter in this process.
pub(crate) async fn lab(options: LabOptions, clock: Clock) -> Result<(Lab, Access), Error> {
    let lab = Lab::open(options, clock).await?;
    let access = Access {
        credentials: lab
            .credentials()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        machine_api: Arc::new(lab.machine_api()),
        kubernetes: Arc::new(lab.kubernetes()),
    };
    Ok((lab, access))
}

/// Tells other processes, whenever it changes, where nodes are; until it is dropped.
pub(crate) async fn publish(lab: &Lab, directory: &Directory) -> Result<(), Error> {
    let mut told = None;
    loop {
        let routes = Routes {
            credentials: lab
                .credentials()
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            routes: lab
                .talos
                .routes()
                .into_iter()
                .map(|route| (route.host, route.port, route.loopback))
                .collect(),
        };
        if told.as_ref() != Some(&routes) {
            directory.write("nodes.json", &serde_json::to_vec_pretty(&routes)?)?;
            directory.write("pve.json", lab.proxmox.dump()?.as_bytes())?;
            told = Some(routes);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The datacenter of another process, as its `nodes.json` says.
pub(crate) async fn published(directory: &Directory) -> Result<Access, Error> {
    let path = directory.file("nodes.json");
    let read =
        move || -> Option<Routes> { serde_json::from_slice(&std::fs::read(&path).ok()?).ok() };
    let read = Arc::new(read);
    let routes = loop {
        if let Some(routes) = read() {
            break routes;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let find = move |host: &str, port: u16| {
        let routes = read()?.routes;
        routes
            .into_iter()
            .find(|(h, p, _)| h == host && *p == port)
            .map(|(_, _, to)| to)
    };
    let (machine_api, kubernetes) = (find.clone(), find);
    Ok(Access {
        credentials: routes.credentials,
        machine_api: Arc::new(MappedConnector::new(move |endpoint| {
            machine_api(endpoint.host(), endpoint.port())
        })),
        kubernetes: Arc::new(LoopbackConnector::new(kubernetes)),
    })
}

struct Shared(Arc<dyn Connector>);

#[async_trait::async_trait]
impl Connector for Shared {
    async fn connect(
        &self,
        cluster: &ObjectKey,
        kubeconfig: &secrecy::SecretString,
    ) -> Result<kube::Client, Error> {
        self.0.connect(cluster, kubeconfig).await
    }
}

/// The controllers, ready to run.
///
/// `hurried` controllers live in a time that runs faster: the one key that takes seconds to make
/// is made before, since their deadlines are short in real time.
pub(crate) fn controllers(
    client: kube::Client,
    access: &Access,
    clock: Clock,
    hurried: bool,
) -> Result<Manager, Error> {
    let bootstrap = match hurried {
        true => TalosBootstrap::with_service_account_key(PrivateKey::generate_rsa(4096)?),
        false => TalosBootstrap::new(),
    };
    let mut all = controllers::core();
    all.extend(controllers::infrastructure(ProxmoxProvider::new()));
    all.extend(controllers::bootstrap(bootstrap));
    all.extend(controllers::control_plane(
        TalosControlPlaneProvider::with_connector(Arc::clone(&access.machine_api)),
    ));
    all.extend(controllers::in_cluster_ipam());
    Ok(Manager::builder(client)
        .clock(clock)
        .controllers(all)
        .connector(Shared(Arc::clone(&access.kubernetes)))
        .build())
}

/// A Secret.
pub(crate) fn secret(namespace: &str, name: &str, data: &[(String, String)]) -> Value {
    let data: serde_json::Map<String, Value> = data
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "namespace": namespace, "name": name },
        "stringData": data,
    })
}
