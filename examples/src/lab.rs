//! A simulated datacenter: Proxmox VE whose virtual machines are Talos nodes.
//!
//! Controllers get a URL, a token and a fingerprint, and connectors that map the addresses of
//! manifests to ports of 127.0.0.1; nothing else is ever dialled.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use capi_controlplane_talos::{
    client::MappedConnector,
    simulator::{self as talos, MachineFacts, NetworkPlugin, Options, Seed},
};
use capi_core::{
    clock::Clock,
    runtime::{Connector, ObjectKey},
};
use capi_provider_proxmox::simulator::{
    self as proxmox, Datacenter, GuestReport, ReportedInterface, Simulator, TemplateSpec,
    VirtualMachine, VirtualMachineHost, VirtualMachineKey,
};
use secrecy::{ExposeSecret, SecretString};

/// Name of the token that controllers use.
pub const TOKEN: &str = "capi@pve!manager";

/// What the datacenter looks like.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// Names of its nodes.
    pub nodes: Vec<String>,
    /// Numbers of the templates that exist, on the first node.
    pub templates: Vec<u64>,
    /// How many times faster than a real one it works.
    pub speed: f64,
    /// Port of its API; 0 for any that is free.
    pub port: u16,
    /// Secret of the token.
    pub secret: String,
}

/// A simulated datacenter. Ends with the last clone.
#[derive(Clone)]
pub struct Lab {
    /// Its Proxmox VE.
    pub proxmox: Simulator,
    /// The nodes that run in its virtual machines.
    pub talos: talos::Datacenter,
    server: Arc<proxmox::Server>,
    secret: String,
}

/// Boots a Talos node in each virtual machine that is switched on.
pub(crate) struct Nodes {
    pub(crate) talos: talos::Datacenter,
    pub(crate) proxmox: Simulator,
}

impl VirtualMachineHost for Nodes {
    fn on_start(&self, machine: VirtualMachine) {
        let seed = match machine.images.first() {
            Some(image) => Seed::Iso(Bytes::from(image.clone())),
            None => Seed::None,
        };
        let macs: Vec<String> = machine
            .network_devices
            .iter()
            .map(|device| device.hardware_address.clone())
            .collect();
        let facts = MachineFacts::new(&*machine.key.uuid, &*machine.name)
            .seed(seed)
            .macs(macs.clone());
        self.talos.boot(facts);
        tokio::spawn(report(
            self.talos.clone(),
            self.proxmox.clone(),
            machine.key,
            macs,
        ));
    }

    fn on_stop(&self, machine: VirtualMachineKey) {
        self.talos.power_off(&machine.uuid);
    }
}

/// Lets virtual machines of a Proxmox VE be nodes of a Talos datacenter, from the moment they are
/// switched on.
pub fn boot_nodes(proxmox: &Simulator, talos: &talos::Datacenter) {
    proxmox.attach_host(Arc::new(Nodes {
        talos: talos.clone(),
        proxmox: proxmox.clone(),
    }));
}

/// Tells the guest agent of a machine its addresses, once it has some.
async fn report(
    talos: talos::Datacenter,
    proxmox: Simulator,
    key: VirtualMachineKey,
    macs: Vec<String>,
) {
    let mut found = None;
    talos
        .until(|machines| {
            let machine = machines.iter().find(|machine| machine.uuid == key.uuid);
            match machine {
                // Switched off before it came so far.
                None => true,
                Some(machine) if !machine.on => true,
                Some(machine) if !machine.addresses.is_empty() => {
                    found = Some((machine.hostname.clone(), machine.addresses.clone()));
                    true
                }
                Some(_) => false,
            }
        })
        .await;
    let Some((hostname, addresses)) = found else {
        return;
    };
    let prefix = |address: &std::net::IpAddr| if address.is_ipv4() { 24 } else { 64 };
    let interface = ReportedInterface {
        name: "eth0".to_owned(),
        hardware_address: macs
            .first()
            .cloned()
            .unwrap_or_default()
            .to_ascii_lowercase(),
        addresses: addresses
            .iter()
            .map(|address| (*address, prefix(address)))
            .collect(),
    };
    proxmox.report(
        &key,
        GuestReport {
            hostname,
            interfaces: vec![interface],
        },
    );
}

impl Lab {
    /// Opens a datacenter on 127.0.0.1.
    ///
    /// # Errors
    /// When its port is taken, or no certificate can be made.
    pub async fn open(options: LabOptions, clock: Clock) -> Result<Self, proxmox::ServerError> {
        let mut datacenter = datacenter(&options);
        datacenter.latencies = latencies(options.speed);
        let proxmox = Simulator::new(datacenter, clock.clone());
        let talos = talos::Datacenter::new(
            Options::default()
                .loopback()
                .network_plugin(NetworkPlugin::Present)
                .latencies(node_latencies(options.speed)),
            clock,
        );
        proxmox.attach_host(Arc::new(Nodes {
            talos: talos.clone(),
            proxmox: proxmox.clone(),
        }));
        let server = proxmox.serve(options.port).await?;
        Ok(Self {
            proxmox,
            talos,
            server: Arc::new(server),
            secret: options.secret,
        })
    }

    /// Where its API is.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// SHA-256 of its certificate.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.server.fingerprint().to_string()
    }

    /// What a credentials Secret for it holds.
    #[must_use]
    pub fn credentials(&self) -> Vec<(&'static str, String)> {
        vec![
            ("url", self.url()),
            ("token", TOKEN.to_owned()),
            ("secret", self.secret.clone()),
            ("fingerprint", self.fingerprint()),
        ]
    }

    /// A way to the machine API of its nodes.
    #[must_use]
    pub fn machine_api(&self) -> MappedConnector {
        let talos = self.talos.clone();
        MappedConnector::new(move |endpoint| talos.route(endpoint.host(), endpoint.port()))
    }

    /// A way to the Kubernetes API of its clusters.
    #[must_use]
    pub fn kubernetes(&self) -> LoopbackConnector {
        let talos = self.talos.clone();
        LoopbackConnector::new(move |host, port| talos.route(host, port))
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

fn datacenter(options: &LabOptions) -> Datacenter {
    let gib = 1u64 << 30;
    let mut datacenter = Datacenter::new("lab", 1);
    for node in &options.nodes {
        datacenter.add_node(node, 32, 128 * gib, &["vmbr0"]);
    }
    datacenter.add_storage(
        "local",
        "dir",
        false,
        &["iso", "vztmpl", "backup", "snippets"],
    );
    datacenter.add_storage("local-lvm", "lvmthin", false, &["images", "rootdir"]);
    datacenter.add_token(TOKEN, options.secret.clone());
    for vmid in &options.templates {
        let spec = TemplateSpec {
            name: "talos-nocloud".to_owned(),
            node: options.nodes.first().cloned().unwrap_or_default(),
            storage: "local-lvm".to_owned(),
            tags: "template;talos".to_owned(),
            disk_gib: 10,
            memory_mib: 2048,
            bridge: "vmbr0".to_owned(),
        };
        datacenter.add_template(*vmid, &spec);
    }
    datacenter
}

fn scaled(duration: Duration, speed: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() / speed).unwrap_or(duration)
}

fn latencies(speed: f64) -> proxmox::Latencies {
    let real = proxmox::Latencies::REALISTIC;
    let scaled = |duration| scaled(duration, speed);
    proxmox::Latencies {
        call: scaled(real.call),
        full_clone: scaled(real.full_clone),
        full_clone_per_gib: scaled(real.full_clone_per_gib),
        linked_clone: scaled(real.linked_clone),
        config: scaled(real.config),
        resize: scaled(real.resize),
        copy: scaled(real.copy),
        start: scaled(real.start),
        stop: scaled(real.stop),
        destroy: scaled(real.destroy),
        agent: scaled(real.agent),
    }
}

fn node_latencies(speed: f64) -> talos::Latencies {
    let mut latencies = talos::Latencies::default();
    for step in [
        &mut latencies.firmware,
        &mut latencies.machine_api,
        &mut latencies.etcd_start,
        &mut latencies.etcd_promote,
        &mut latencies.kubernetes_api,
        &mut latencies.kubelet,
        &mut latencies.network,
    ] {
        *step = scaled(*step * 5, speed);
    }
    latencies
}

type Lookup = dyn Fn(&str, u16) -> Option<SocketAddr> + Send + Sync;

/// Connects to workload clusters at the ports of 127.0.0.1 that stand for their endpoints, with
/// the certificates of the real ones.
#[derive(Clone)]
pub struct LoopbackConnector(Arc<Lookup>);

impl LoopbackConnector {
    /// A connector that asks `lookup` where a host and port are.
    pub fn new(lookup: impl Fn(&str, u16) -> Option<SocketAddr> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// The client configuration of a kubeconfig, with its server mapped.
    ///
    /// # Errors
    /// When the kubeconfig is unreadable, or its server is nowhere.
    pub async fn config(
        &self,
        kubeconfig: &SecretString,
    ) -> Result<kube::Config, Box<dyn std::error::Error + Send + Sync>> {
        let kubeconfig = kube::config::Kubeconfig::from_yaml(kubeconfig.expose_secret())?;
        let options = kube::config::KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        let host = config.cluster_url.host().unwrap_or_default().to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let target =
            (self.0)(bare, port).ok_or_else(|| format!("nothing answers at {host}:{port}"))?;
        config.cluster_url = format!("https://{target}").parse()?;
        config.tls_server_name = Some(bare.to_owned());
        config.connect_timeout = Some(Duration::from_secs(5));
        Ok(config)
    }
}

#[async_trait]
impl Connector for LoopbackConnector {
    async fn connect(
        &self,
        _cluster: &ObjectKey,
        kubeconfig: &SecretString,
    ) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>> {
        Ok(kube::Client::try_from(self.config(kubeconfig).await?)?)
    }
}
