//! Machine configurations from typed inputs, in the form of a contract: the same documents
//! that `talosctl gen config` makes from the same secrets bundle.

mod kubernetes;
mod v1alpha1;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

use super::yaml::{Mapping, Node};
use super::{Contract, MachineConfig, MachineType};
use crate::secrets::{EtcdEncryption, SecretsBundle};

/// Port of the API server load balancer on every node.
const KUBE_PRISM_PORT: u16 = 7445;

/// A mapping of the given entries, leaving out those whose value is an option without a value.
macro_rules! object {
    ($($key:literal : $value:expr),* $(,)?) => {{
        #[allow(unused_mut, reason = "an empty object")]
        let mut mapping = $crate::config::yaml::Mapping::default();
        $(if let Some(value) = $crate::config::generate::IntoNode::into_node($value) {
            mapping.set($key, value);
        })*
        mapping
    }};
}
use object;

/// Why no configuration can be generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The endpoint is not an `https` URL with a host.
    #[error("the control plane endpoint {0:?} is not a URL like https://10.0.0.1:6443")]
    Endpoint(String),
    /// The bundle has a secret that this form of the configuration cannot hold.
    #[error(
        "contract {contract} cannot hold the bundle's secretbox encryption secret: set \
         talosVersion to v1.3 or later"
    )]
    Encryption {
        /// The contract.
        contract: Contract,
    },
}

/// What Talos is installed with. Machines whose image is on the disk already (nocloud, clouds)
/// need none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Install {
    /// Path of the disk.
    pub disk: Option<String>,
    /// Installer image.
    pub image: Option<String>,
    /// Kernel arguments (not carried by contracts since 1.14).
    pub extra_kernel_args: Vec<String>,
}

/// The optional inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigOptions {
    /// DNS domain of services.
    pub dns_domain: String,
    /// Pod networks.
    pub pod_subnets: Vec<String>,
    /// Service networks.
    pub service_subnets: Vec<String>,
    /// Names and addresses for the certificates of the Talos API and the API server.
    pub additional_names: Vec<String>,
    /// Installation.
    pub install: Install,
    /// Port of the API server on the machine itself, where it is not 6443.
    pub local_api_server_port: Option<u16>,
    /// Manifest of a network plugin instead of flannel.
    pub cni_url: Option<String>,
    /// Mirrors of image registries, by host.
    pub registry_mirrors: BTreeMap<String, Vec<String>>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Whether pods may run on control plane machines.
    pub allow_scheduling_on_control_planes: bool,
    /// Whether machines find each other through the discovery service.
    pub discovery: bool,
    /// Whether KubeSpan is written, and on or off.
    pub kube_span: Option<bool>,
}

impl Default for ConfigOptions {
    fn default() -> Self {
        Self {
            dns_domain: "cluster.local".to_owned(),
            pod_subnets: vec!["10.244.0.0/16".to_owned()],
            service_subnets: vec!["10.96.0.0/12".to_owned()],
            additional_names: Vec::new(),
            install: Install::default(),
            local_api_server_port: None,
            cni_url: None,
            registry_mirrors: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            allow_scheduling_on_control_planes: false,
            discovery: true,
            kube_span: None,
        }
    }
}

/// What a machine configuration is made of.
#[derive(Clone, Debug)]
pub struct ConfigInput<'a> {
    /// Name of the cluster.
    pub cluster_name: &'a str,
    /// URL of the Kubernetes API.
    pub endpoint: &'a str,
    /// Kubernetes version, without `v`.
    pub kubernetes_version: &'a str,
    /// Version of Talos that the form is for.
    pub contract: Contract,
    /// Secrets of the cluster.
    pub bundle: &'a SecretsBundle,
    /// Everything else.
    pub options: ConfigOptions,
}

impl ConfigInput<'_> {
    /// The configuration of a machine. The same inputs give the same documents.
    ///
    /// # Errors
    /// [`GenerateError`] where the endpoint is no URL, or the contract is too old for the
    /// bundle.
    pub fn generate(&self, machine_type: MachineType) -> Result<MachineConfig, GenerateError> {
        self.endpoint_host()?;
        if !self.contract.uses_secretbox()
            && machine_type.is_control_plane()
            && matches!(self.bundle.etcd_encryption, EtcdEncryption::Secretbox(_))
            && self.bundle.other_encryption.is_none()
        {
            return Err(GenerateError::Encryption {
                contract: self.contract,
            });
        }
        let mut documents = vec![self.v1alpha1(machine_type)?];
        self.discovery_documents(&mut documents);
        self.machine_documents(&mut documents);
        if self.contract.since(14) {
            self.kubernetes_documents(machine_type, &mut documents);
        }
        Ok(MachineConfig::new(documents))
    }

    /// The host of the endpoint, without the brackets of IPv6.
    fn endpoint_host(&self) -> Result<&str, GenerateError> {
        let invalid = || GenerateError::Endpoint(self.endpoint.to_owned());
        let authority = self.endpoint.strip_prefix("https://").ok_or_else(invalid)?;
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map(|(host, _)| host),
            None => authority.split(':').next(),
        };
        host.filter(|host| !host.is_empty()).ok_or_else(invalid)
    }

    fn image(&self, name: &str) -> Option<String> {
        (!self.kubernetes_version.is_empty())
            .then(|| format!("{name}:v{}", self.kubernetes_version))
    }

    /// Discovery is documents since 1.14.
    fn discovery_documents(&self, documents: &mut Vec<Mapping>) {
        if !self.contract.since(14) {
            return;
        }
        if self.options.discovery {
            documents.push(object! {
                "apiVersion": "v1alpha1",
                "kind": "DiscoveryServiceConfig",
                "name": "default",
                "endpoint": "https://discovery.talos.dev/",
            });
        }
        documents.push(object! {
            "apiVersion": "v1alpha1",
            "kind": "DiscoveryIdentityConfig",
            "clusterID": self.bundle.cluster_id.as_str(),
            "clusterSecret": &self.bundle.cluster_secret,
        });
    }

    /// The documents that left `machine`: installation, resolver, sysctls, volumes (1.14),
    /// registries and host name (1.12), KubeSpan (1.13).
    fn machine_documents(&self, documents: &mut Vec<Mapping>) {
        let options = &self.options;
        if self.contract.since(14) {
            if let Some(disk) = &options.install.disk {
                documents.push(object! {
                    "apiVersion": "v1alpha1",
                    "kind": "UnattendedInstallConfig",
                    "installer": object! { "image": options.install.image.as_deref() },
                    "provisioning": object! {
                        "diskSelector": object! { "match": format!("disk.dev_path == {disk:?}") },
                        "wipe": false,
                    },
                });
            }
            documents.push(object! {
                "apiVersion": "v1alpha1",
                "kind": "ResolverConfig",
                "hostDNS": object! { "enabled": true, "forwardKubeDNSToHost": true },
            });
            if !options.sysctls.is_empty() {
                documents.push(object! {
                    "apiVersion": "v1alpha1",
                    "kind": "SysctlConfig",
                    "params": texts(&options.sysctls),
                });
            }
            documents.push(object! {
                "apiVersion": "v1alpha1",
                "kind": "VolumeConfig",
                "name": "EPHEMERAL",
                "mount": object! { "secure": true },
            });
            documents.push(object! {
                "apiVersion": "v1alpha1",
                "kind": "FilesystemTrimConfig",
                "interval": "168h0m0s",
            });
            documents.push(object! {
                "apiVersion": "v1alpha1",
                "kind": "SecurityProfileConfig",
                "workloadIsolation": true,
            });
        }
        if self.contract.is_multi_document() {
            for (host, endpoints) in &options.registry_mirrors {
                let endpoints = endpoints
                    .iter()
                    .map(|url| Node::Mapping(object! { "url": url.as_str() }))
                    .collect();
                documents.push(object! {
                    "apiVersion": "v1alpha1",
                    "kind": "RegistryMirrorConfig",
                    "name": host.as_str(),
                    "endpoints": Node::Sequence(endpoints),
                });
            }
            documents.push(object! {
                "apiVersion": "v1alpha1",
                "kind": "HostnameConfig",
                "auto": "stable",
            });
        }
        if self.contract.since(13)
            && let Some(enabled) = options.kube_span
        {
            documents.push(object! {
                "apiVersion": "v1alpha1",
                "kind": "KubeSpanConfig",
                "enabled": enabled,
            });
        }
    }
}

/// A mapping of texts.
fn texts(entries: &BTreeMap<String, String>) -> Node {
    Node::Mapping(
        entries
            .iter()
            .map(|(key, value)| (key.as_str(), Node::string(value.as_str())))
            .collect(),
    )
}

/// The restrictions that Talos puts on pods of every cluster.
fn pod_security() -> Mapping {
    object! {
        "apiVersion": "pod-security.admission.config.k8s.io/v1alpha1",
        "defaults": object! {
            "audit": "restricted",
            "audit-version": "latest",
            "enforce": "baseline",
            "enforce-version": "latest",
            "warn": "restricted",
            "warn-version": "latest",
        },
        "exemptions": object! {
            "namespaces": Node::strings(["kube-system"]),
            "runtimeClasses": Node::Sequence(Vec::new()),
            "usernames": Node::Sequence(Vec::new()),
        },
        "kind": "PodSecurityConfiguration",
    }
}

/// The audit policy of every cluster: metadata of all requests.
fn audit_policy() -> Mapping {
    object! {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "rules": Node::Sequence(vec![Node::Mapping(object! { "level": "Metadata" })]),
    }
}

/// What can be a value in [`object!`].
trait IntoNode {
    fn into_node(self) -> Option<Node>;
}

impl IntoNode for Node {
    fn into_node(self) -> Option<Node> {
        Some(self)
    }
}

impl IntoNode for Mapping {
    fn into_node(self) -> Option<Node> {
        Some(Node::Mapping(self))
    }
}

impl IntoNode for &str {
    fn into_node(self) -> Option<Node> {
        Some(Node::string(self))
    }
}

impl IntoNode for String {
    fn into_node(self) -> Option<Node> {
        Some(Node::string(self))
    }
}

impl IntoNode for &SecretString {
    fn into_node(self) -> Option<Node> {
        Some(Node::string(self.expose_secret()))
    }
}

impl IntoNode for bool {
    fn into_node(self) -> Option<Node> {
        Some(Node::bool(self))
    }
}

impl IntoNode for u16 {
    fn into_node(self) -> Option<Node> {
        Some(Node::integer(i64::from(self)))
    }
}

impl<T: IntoNode> IntoNode for Option<T> {
    fn into_node(self) -> Option<Node> {
        self.and_then(IntoNode::into_node)
    }
}
