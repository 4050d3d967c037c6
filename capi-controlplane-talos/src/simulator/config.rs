//! What a simulated node takes from its machine configuration.

use capi_bootstrap_talos::config::{Contract, MachineConfig, MachineType};
use capi_core::pki::{Certificate, CertificateAuthority, PrivateKey};
use secrecy::ExposeSecret as _;

/// Who a node is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ControlPlane,
    Worker,
}

/// Where a Node's network comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plugin {
    /// With the configuration.
    Included,
    /// From the user, later.
    None,
}

/// A certificate authority of which a worker knows only the certificate.
pub(super) struct Authority {
    pub(super) certificate: Certificate,
    pub(super) key: Option<PrivateKey>,
}

impl Authority {
    fn read(what: &str, certificate: &str, key: Option<&str>) -> Result<Self, String> {
        let wrong = |error: capi_core::pki::PkiError| format!("{what}: {error}");
        Ok(Self {
            certificate: Certificate::from_pem(certificate).map_err(wrong)?,
            key: key.map(PrivateKey::from_pem).transpose().map_err(wrong)?,
        })
    }

    /// The authority as one that signs, where its key is known.
    pub(super) fn signer(&self) -> Option<CertificateAuthority> {
        CertificateAuthority::new(self.certificate.clone(), self.key.clone()?).ok()
    }
}

/// A machine configuration that a node accepted.
pub(super) struct NodeConfig {
    pub(super) kind: Kind,
    pub(super) hostname: Option<String>,
    pub(super) os: Authority,
    pub(super) kubernetes: Authority,
    pub(super) cluster_id: String,
    pub(super) cluster_name: String,
    pub(super) endpoint: String,
    pub(super) endpoint_host: String,
    pub(super) endpoint_port: u16,
    pub(super) plugin: Plugin,
    pub(super) kubelet_version: String,
    pub(super) names: Vec<String>,
    /// Nodes wait for a cloud controller.
    pub(super) external_cloud: bool,
    /// What validation warned of.
    pub(super) warnings: Vec<String>,
}

impl NodeConfig {
    /// Reads and validates a configuration as a node of a Talos version does.
    ///
    /// # Errors
    /// What the node answers to ApplyConfiguration, or logs at boot.
    pub(super) fn read(text: &str, contract: Option<Contract>) -> Result<Self, String> {
        let config = MachineConfig::load(text).map_err(|error| error.to_string())?;
        let kind = match config.machine_type() {
            Some(MachineType::ControlPlane | MachineType::Init) => Kind::ControlPlane,
            Some(MachineType::Worker) => Kind::Worker,
            None => return Err("the configuration has no valid machine.type".to_owned()),
        };
        let warnings = config
            .validate(contract)
            .map_err(|error| error.to_string())?;
        let os_key = config.talos_ca_key();
        let os = Authority::read(
            "machine.ca",
            &config.talos_ca().ok_or("machine.ca is required")?,
            os_key.as_ref().map(|key| key.expose_secret()),
        )?;
        match (kind, &os.key) {
            (Kind::ControlPlane, None) => {
                return Err("machine.ca.key is required on control plane nodes".to_owned());
            }
            (Kind::Worker, Some(_)) => {
                return Err("machine.ca.key is not allowed on workers".to_owned());
            }
            _ => {}
        }
        let kubernetes_key = config.kubernetes_ca_key();
        let kubernetes = Authority::read(
            "cluster.ca",
            &config.kubernetes_ca().ok_or("cluster.ca is required")?,
            kubernetes_key.as_ref().map(|key| key.expose_secret()),
        )?;
        let endpoint = config
            .endpoint()
            .ok_or("cluster.controlPlane.endpoint is required")?;
        let (endpoint_host, endpoint_port) = host_and_port(endpoint)
            .ok_or_else(|| format!("cluster.controlPlane.endpoint {endpoint:?} is no URL"))?;
        let image = config.kubelet_image().unwrap_or_default();
        let cloud_provider = ["kubelet", "extraArgs", "cloud-provider"];
        let external = config
            .at(&[&["machine"][..], &cloud_provider[..]].concat())
            .or_else(|| {
                config
                    .of_kind("KubeletConfig")?
                    .get("extraArgs")?
                    .at(&cloud_provider[2..])
            });
        Ok(Self {
            kind,
            hostname: config.hostname().map(str::to_owned),
            os,
            kubernetes,
            cluster_id: config.cluster_id().unwrap_or_default().to_owned(),
            cluster_name: config.cluster_name().unwrap_or("kubernetes").to_owned(),
            endpoint: endpoint.to_owned(),
            endpoint_host,
            endpoint_port,
            plugin: if config.has_no_cni() {
                Plugin::None
            } else {
                Plugin::Included
            },
            kubelet_version: image
                .rsplit_once(':')
                .map(|(_, tag)| tag.split('@').next().unwrap_or(tag))
                .filter(|tag| tag.starts_with('v'))
                .unwrap_or("v0.0.0")
                .to_owned(),
            names: config
                .certificate_names()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            external_cloud: external.and_then(|value| value.as_str()) == Some("external"),
            warnings,
        })
    }
}

fn host_and_port(endpoint: &str) -> Option<(String, u16)> {
    let rest = endpoint.strip_prefix("https://")?.trim_end_matches('/');
    let (host, port) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            (host, after.strip_prefix(':'))
        }
        None => match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    (!host.is_empty()).then_some(())?;
    Some((
        host.to_owned(),
        port.map_or(Some(443), |port| port.parse().ok())?,
    ))
}
