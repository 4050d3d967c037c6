//! The datacenter: simulated here, simulated by another process, or real.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use capi_controlplane_talos::client::{
    Connector as MachineApiConnector, MappedConnector, TcpConnector,
};
use capi_core::{
    clock::Clock,
    provider::NamedSecret,
    runtime::{Connector, KubeconfigConnector, ObjectKey},
};
use capi_examples::lab::{Lab, LabOptions, LoopbackConnector};
use capi_provider_proxmox::{
    client::{Client, ErrorClass, ResourceKind},
    provider::Credentials,
    simulator::TemplateSpec,
};
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};

use crate::{
    arguments::Arguments,
    directory::{Directory, Error},
    manifest::Manifest,
};

/// A virtual machine of somebody else in a simulated datacenter, which must survive.
const FOREIGN: u64 = 100;

/// Between two looks at what changed.
const LOOK: Duration = Duration::from_millis(100);

/// How to get into the datacenter, and to what runs in it.
#[derive(Clone)]
pub(crate) struct Access {
    /// What the credentials Secret holds.
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

impl Access {
    /// One of the credentials, empty when it is not there.
    pub(crate) fn credential(&self, key: &str) -> &str {
        let found = self.credentials.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// A client of its Proxmox VE.
    pub(crate) fn client(&self, clock: Clock) -> Result<Client, Error> {
        let data = self
            .credentials
            .iter()
            .map(|(key, value)| (key.clone(), SecretSlice::from(value.clone().into_bytes())));
        let secret = NamedSecret {
            name: "of the command line".to_owned(),
            labels: BTreeMap::new(),
            data: data.collect(),
        };
        Ok(Credentials::from_secret(&secret)?.client(clock)?)
    }
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
        ("insecure".to_owned(), "false".to_owned()),
    ];
    if let Some(fingerprint) = &arguments.fingerprint {
        credentials.push(("fingerprint".to_owned(), fingerprint.clone()));
    } else if let Some(path) = &arguments.proxmox_ca {
        let authority = std::fs::read_to_string(path)
            .map_err(|error| format!("--proxmox-ca {}: {error}", path.display()))?;
        credentials.push(("root_ca".to_owned(), authority));
    } else {
        return Err(
            "--proxmox-url needs --fingerprint or --proxmox-ca, to know the server by".into(),
        );
    }
    let mut access = Access {
        credentials,
        machine_api: Arc::new(TcpConnector),
        kubernetes: Arc::new(KubeconfigConnector),
    };
    if let Some(path) = &arguments.routes {
        (access.machine_api, access.kubernetes) = routed(path.clone());
    }
    Ok(Some(access))
}

/// What was wrong with a first call, in terms of the command line.
pub(crate) fn explained(url: &str, error: &capi_provider_proxmox::client::Error) -> String {
    match error.class() {
        ErrorClass::Untrusted => format!("--fingerprint or --proxmox-ca: {error}"),
        ErrorClass::Authentication => format!("--proxmox-token: {error}"),
        ErrorClass::Unreachable => format!("--proxmox-url {url}: {error}"),
        _ => format!("Proxmox VE at {url}: {error}"),
    }
}

/// Opens the simulated datacenter in this process, with what the manifest takes for granted, and a
/// virtual machine of somebody else.
pub(crate) async fn simulated(
    manifest: &Manifest,
    speed: f64,
    clock: Clock,
) -> Result<(Lab, Access), Error> {
    let nodes = manifest.nodes();
    let options = LabOptions {
        nodes: nodes.clone(),
        templates: manifest.templates(),
        speed,
        port: 0,
        secret: "quickstart".to_owned(),
    };
    let lab = Lab::open(options, clock).await?;
    lab.proxmox.change(|datacenter| {
        let spec = TemplateSpec {
            name: "somebody-elses".to_owned(),
            node: nodes.first().cloned().unwrap_or_default(),
            storage: "local-lvm".to_owned(),
            tags: String::new(),
            disk_gib: 8,
            memory_mib: 1024,
            bridge: "vmbr0".to_owned(),
        };
        datacenter.add_template(FOREIGN, &spec);
        if let Some(guest) = datacenter.guests.get_mut(&FOREIGN) {
            guest.template = false;
        }
    });
    let access = Access {
        credentials: credentials(&lab),
        machine_api: Arc::new(lab.machine_api()),
        kubernetes: Arc::new(lab.kubernetes()),
    };
    Ok((lab, access))
}

fn credentials(lab: &Lab) -> Vec<(String, String)> {
    lab.credentials()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// Tells other processes, whenever it changes, where nodes are and what the datacenter holds; until
/// it is dropped.
pub(crate) async fn publish(lab: &Lab, directory: &Directory) -> Result<(), Error> {
    let (mut told, mut held) = (None, None);
    loop {
        let routes = Routes {
            credentials: credentials(lab),
            routes: lab
                .talos
                .routes()
                .into_iter()
                .map(|route| (route.host, route.port, route.loopback))
                .collect(),
        };
        if told.as_ref() != Some(&routes) {
            directory.write("nodes.json", &serde_json::to_vec_pretty(&routes)?)?;
            told = Some(routes);
        }
        let now = lab.proxmox.inspect(|datacenter| {
            let (guests, volumes) = (datacenter.guests.len(), datacenter.volumes.len());
            (datacenter.task_count, guests, volumes)
        });
        if held != Some(now) {
            directory.write("pve.json", lab.proxmox.dump()?.as_bytes())?;
            write_images(lab, directory)?;
            held = Some(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The boot images, as the machines got them; they are deleted once a machine has booted.
fn write_images(lab: &Lab, directory: &Directory) -> Result<(), Error> {
    let images: Vec<(String, Vec<u8>)> = lab.proxmox.inspect(|datacenter| {
        let volumes = datacenter.volumes.values();
        volumes
            .filter(|volume| !volume.content.is_empty())
            .map(|volume| (volume.id.clone(), volume.content.clone()))
            .collect()
    });
    std::fs::create_dir_all(directory.file("isos"))?;
    for (id, content) in images {
        let name = id.rsplit(['/', ':']).next().unwrap_or(&id);
        let path = format!("isos/{name}");
        if !directory.file(&path).exists() {
            directory.write(&path, &content)?;
        }
    }
    Ok(())
}

/// The datacenter of another process, as its `nodes.json` says.
pub(crate) async fn published(directory: &Directory) -> Result<Access, Error> {
    let path = directory.awaited("nodes.json").await;
    let routes: Routes = serde_json::from_slice(&std::fs::read(&path)?)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let (machine_api, kubernetes) = routed(path);
    Ok(Access {
        credentials: routes.credentials,
        machine_api,
        kubernetes,
    })
}

/// Connectors that go where a file says, which is read at each connection.
fn routed(path: PathBuf) -> (Arc<dyn MachineApiConnector>, Arc<dyn Connector>) {
    let find = move |host: &str, port: u16| {
        let routes: Routes = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        routes
            .routes
            .into_iter()
            .find(|(h, p, _)| h == host && *p == port)
            .map(|(_, _, to)| to)
    };
    let (machine_api, kubernetes) = (find.clone(), find);
    (
        Arc::new(MappedConnector::new(move |endpoint| {
            machine_api(endpoint.host(), endpoint.port())
        })),
        Arc::new(LoopbackConnector::new(kubernetes)),
    )
}

/// A shared connector.
pub(crate) struct Shared(pub(crate) Arc<dyn Connector>);

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

/// What is in a datacenter: guests by number, and images.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) guests: BTreeSet<u64>,
    pub(crate) images: BTreeSet<String>,
}

impl Contents {
    /// Reads it through the API of Proxmox VE.
    pub(crate) async fn read(client: &Client) -> Result<Self, Error> {
        let mut contents = Self::default();
        for row in client.resources(ResourceKind::All).await? {
            contents.guests.extend(row.vmid);
            let holds_images = row.content.split(',').any(|content| content == "iso");
            if row.kind == "storage" && row.status == "available" && holds_images {
                let volumes = client.volumes(&row.node, &row.storage, Some("iso")).await?;
                contents
                    .images
                    .extend(volumes.into_iter().map(|volume| volume.volid));
            }
        }
        Ok(contents)
    }
}
