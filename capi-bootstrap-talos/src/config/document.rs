//! A machine configuration as a list of documents, and what a node reads from it first.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::schema::{self, Kind};
use super::yaml::{self, Mapping, Node, YamlError};

/// A configuration that is not one, or is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not YAML.
    #[error("the machine configuration is not valid YAML: {0}")]
    Yaml(#[from] YamlError),
    /// A document that Talos would refuse; the message names document and field.
    #[error("{0}")]
    Invalid(String),
}

/// What a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MachineType {
    /// A control plane machine that bootstraps etcd by itself (deprecated by Talos).
    Init,
    /// A control plane machine.
    ControlPlane,
    /// A worker.
    Worker,
}

impl MachineType {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::ControlPlane => "controlplane",
            Self::Worker => "worker",
        }
    }

    /// Whether the machine runs the control plane.
    pub const fn is_control_plane(self) -> bool {
        matches!(self, Self::Init | Self::ControlPlane)
    }
}

impl fmt::Display for MachineType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As Talos reads it: `join` and nothing mean a worker.
impl FromStr for MachineType {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "init" => Ok(Self::Init),
            "controlplane" => Ok(Self::ControlPlane),
            "worker" | "join" | "" => Ok(Self::Worker),
            other => Err(ConfigError::Invalid(format!(
                "unknown machine type {other:?}: use controlplane or worker"
            ))),
        }
    }
}

/// What tells documents of one configuration apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    /// `v1alpha1`; empty for the document that is called v1alpha1 itself.
    pub api_version: String,
    /// The kind; empty for the v1alpha1 document.
    pub kind: String,
    /// The name, of kinds that have one.
    pub name: Option<String>,
}

impl DocumentId {
    /// The identity of a document's mapping.
    pub fn of(document: &Mapping) -> Self {
        let text = |key| {
            document
                .get(key)
                .and_then(Node::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let kind = text("kind");
        Self {
            name: (!kind.is_empty())
                .then(|| {
                    document
                        .get("name")
                        .and_then(Node::as_str)
                        .map(str::to_owned)
                })
                .flatten(),
            api_version: text("apiVersion"),
            kind,
        }
    }

    /// Whether this is the document of `machine` and `cluster`.
    pub fn is_v1alpha1(&self) -> bool {
        self.kind.is_empty()
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.is_v1alpha1()) {
            (_, true) => f.write_str("the v1alpha1 document"),
            (Some(name), _) => write!(f, "{} {name:?}", self.kind),
            (None, _) => f.write_str(&self.kind),
        }
    }
}

/// A machine configuration: documents in order. It holds the secrets of the cluster.
#[derive(Clone, Debug, Default)]
pub struct MachineConfig {
    documents: Vec<Mapping>,
}

/// Equal as YAML: the same documents with the same values, in any order.
impl PartialEq for MachineConfig {
    fn eq(&self, other: &Self) -> bool {
        self.documents.len() == other.documents.len()
            && self
                .documents
                .iter()
                .all(|document| other.document(&DocumentId::of(document)) == Some(document))
    }
}

impl MachineConfig {
    /// A configuration of these documents.
    pub fn new(documents: impl IntoIterator<Item = Mapping>) -> Self {
        Self {
            documents: documents.into_iter().collect(),
        }
    }

    /// Reads a configuration without judging it: documents are mappings, null documents are
    /// skipped, a first line `#!talos` is a comment.
    ///
    /// # Errors
    /// [`ConfigError::Yaml`] with line and column; [`ConfigError::Invalid`] where a document
    /// is not a mapping.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut documents = Vec::new();
        for document in yaml::parse(text)? {
            match document.node {
                Node::Mapping(mapping) => documents.push(mapping),
                node if node.is_null() => {}
                _ => {
                    return Err(ConfigError::Invalid(format!(
                        "line {}: a document of a machine configuration must be a mapping",
                        document.line
                    )));
                }
            }
        }
        Ok(Self { documents })
    }

    /// Reads a configuration strictly, as Talos loads one: every kind and key is known, every
    /// value is of its type, no document comes twice. What comes out is in Talos' own form.
    ///
    /// # Errors
    /// [`ConfigError`] that names document, path and line.
    pub fn load(text: &str) -> Result<Self, ConfigError> {
        let mut documents: Vec<Mapping> = Vec::new();
        let mut identities = std::collections::BTreeSet::new();
        for document in yaml::parse(text)? {
            if document.node.is_null() {
                continue;
            }
            let Node::Mapping(mapping) = document.node else {
                return Err(ConfigError::Invalid(format!(
                    "line {}: a document of a machine configuration must be a mapping",
                    document.line
                )));
            };
            let (decoded, _) = decode_document(&mapping, document.line)?;
            let id = DocumentId::of(&decoded);
            if !identities.insert(id.clone()) {
                return Err(ConfigError::Invalid(format!(
                    "line {}: {id} is there twice",
                    document.line
                )));
            }
            documents.push(encode_document(&decoded));
        }
        Ok(Self { documents })
    }

    /// The documents, in order.
    pub fn documents(&self) -> &[Mapping] {
        &self.documents
    }

    /// The document of this identity.
    pub fn document(&self, id: &DocumentId) -> Option<&Mapping> {
        self.documents
            .iter()
            .find(|document| DocumentId::of(document) == *id)
    }

    /// The first document of a kind.
    pub fn of_kind(&self, kind: &str) -> Option<&Mapping> {
        self.documents
            .iter()
            .find(|document| document.get("kind").and_then(Node::as_str) == Some(kind))
    }

    /// The v1alpha1 document, with `machine` and `cluster`.
    pub fn v1alpha1(&self) -> Option<&Mapping> {
        self.documents
            .iter()
            .find(|document| DocumentId::of(document).is_v1alpha1())
    }

    /// The value at a path of the v1alpha1 document.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        let (first, rest) = path.split_first()?;
        self.v1alpha1()?.get(first)?.at(rest)
    }

    fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_str()
    }

    /// The text: YAML, documents separated by `---`.
    pub fn to_yaml(&self) -> SecretString {
        let nodes: Vec<Node> = self.documents.iter().cloned().map(Node::Mapping).collect();
        SecretString::from(yaml::write(&nodes))
    }

    /// What the machine is; `None` where the text says nothing that Talos knows.
    pub fn machine_type(&self) -> Option<MachineType> {
        self.at(&["machine"])?;
        self.text_at(&["machine", "type"])
            .unwrap_or_default()
            .parse()
            .ok()
    }

    /// Token of the Talos certificates (`machine.token`).
    pub fn machine_token(&self) -> Option<&str> {
        self.text_at(&["machine", "token"])
    }

    /// PEM of the Talos API's authority.
    pub fn talos_ca(&self) -> Option<String> {
        self.pem_at(&["machine", "ca", "crt"])
            .map(|pem| pem.as_str().to_owned())
    }

    /// PEM of the key of the Talos API's authority; control plane machines have it.
    pub fn talos_ca_key(&self) -> Option<SecretString> {
        self.pem_at(&["machine", "ca", "key"])
            .map(|pem| SecretString::from(pem.as_str()))
    }

    /// PEM of the Kubernetes authority.
    pub fn kubernetes_ca(&self) -> Option<String> {
        if let Some(pem) = self.pem_at(&["cluster", "ca", "crt"]) {
            return Some(pem.as_str().to_owned());
        }
        let document = self.of_kind("KubeAPIServerCAConfig")?;
        let issuing = document.get("issuingCA").and_then(|ca| ca.at(&["cert"]));
        let accepted = || document.get("acceptedCAs")?.as_sequence()?.first();
        issuing.or_else(accepted)?.as_str().map(str::to_owned)
    }

    /// PEM of the key of the Kubernetes authority; control plane machines have it.
    pub fn kubernetes_ca_key(&self) -> Option<SecretString> {
        if let Some(pem) = self.pem_at(&["cluster", "ca", "key"]) {
            return Some(SecretString::from(pem.as_str()));
        }
        let issuing = self.of_kind("KubeAPIServerCAConfig")?.get("issuingCA")?;
        issuing.at(&["key"])?.as_str().map(SecretString::from)
    }

    /// PEM of the etcd authority; control plane machines have it.
    pub fn etcd_ca(&self) -> Option<String> {
        self.pem_at(&["cluster", "etcd", "ca", "crt"])
            .map(|pem| pem.as_str().to_owned())
    }

    /// Name of the cluster.
    pub fn cluster_name(&self) -> Option<&str> {
        self.text_at(&["cluster", "clusterName"]).or_else(|| {
            self.of_kind("KubeClusterConfig")?
                .get("clusterName")?
                .as_str()
        })
    }

    /// Identity of the cluster in discovery.
    pub fn cluster_id(&self) -> Option<&str> {
        self.text_at(&["cluster", "id"]).or_else(|| {
            self.of_kind("DiscoveryIdentityConfig")?
                .get("clusterID")?
                .as_str()
        })
    }

    /// Token that nodes join Kubernetes with.
    pub fn bootstrap_token(&self) -> Option<&str> {
        self.text_at(&["cluster", "token"])
    }

    /// URL of the Kubernetes API.
    pub fn endpoint(&self) -> Option<&str> {
        self.text_at(&["cluster", "controlPlane", "endpoint"])
            .or_else(|| self.of_kind("KubeClusterConfig")?.get("endpoint")?.as_str())
    }

    /// Host name that the configuration fixes; `None` where the node finds one.
    pub fn hostname(&self) -> Option<&str> {
        self.of_kind("HostnameConfig")
            .and_then(|document| document.get("hostname")?.as_str())
            .or_else(|| self.text_at(&["machine", "network", "hostname"]))
            .filter(|name| !name.is_empty())
    }

    /// Image of the kubelet; its tag is the Kubernetes version.
    pub fn kubelet_image(&self) -> Option<&str> {
        self.text_at(&["machine", "kubelet", "image"])
            .or_else(|| self.of_kind("KubeletConfig")?.get("image")?.as_str())
    }

    /// Image of the API server; control plane machines have one.
    pub fn api_server_image(&self) -> Option<&str> {
        self.text_at(&["cluster", "apiServer", "image"])
            .or_else(|| self.of_kind("KubeAPIServerConfig")?.get("image")?.as_str())
    }

    /// Names and addresses beyond its own that the Talos API's certificate has.
    pub fn certificate_names(&self) -> Vec<&str> {
        self.at(&["machine", "certSANs"])
            .and_then(Node::as_sequence)
            .map(|names| names.iter().filter_map(Node::as_str).collect())
            .unwrap_or_default()
    }

    /// Whether Talos installs no network plugin: nodes stay NotReady until the user's is there.
    pub fn has_no_cni(&self) -> bool {
        if self.of_kind("KubeNetworkConfig").is_some() {
            return self.of_kind("KubeFlannelCNIConfig").is_none();
        }
        self.text_at(&["cluster", "network", "cni", "name"]) == Some("none")
    }

    fn pem_at(&self, path: &[&str]) -> Option<Zeroizing<String>> {
        let encoded = self.text_at(path)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
        let text = std::str::from_utf8(&bytes).ok()?;
        (!text.is_empty()).then(|| Zeroizing::new(text.to_owned()))
    }
}

/// A document that is one of a machine configuration at all.
pub(super) fn require_kind(document: &Mapping, line: usize) -> Result<(), ConfigError> {
    let at = if line == 0 {
        String::new()
    } else {
        format!("line {line}: ")
    };
    let id = DocumentId::of(document);
    let problem = match (id.kind.is_empty(), id.api_version.is_empty()) {
        (true, _)
            if ["machine", "cluster", "debug", "persist"]
                .iter()
                .any(|key| document.get(key).is_some()) =>
        {
            return Ok(());
        }
        (true, _) => "kind is missing, and so are machine and cluster".to_owned(),
        (false, true) => format!("{}: apiVersion is missing", id.kind),
        (false, false) if schema::kind(&id).is_none() => format!(
            "Talos {} knows no document of kind {:?} in {:?}",
            super::Contract::NEWEST,
            id.kind,
            id.api_version
        ),
        (false, false) => return Ok(()),
    };
    Err(ConfigError::Invalid(format!("{at}{problem}")))
}

/// Reads one document strictly.
pub(super) fn decode_document(
    document: &Mapping,
    line: usize,
) -> Result<(Mapping, Option<&'static Kind>), ConfigError> {
    require_kind(document, line)?;
    let id = DocumentId::of(document);
    let Some(kind) = schema::kind(&id) else {
        return Ok((document.clone(), None));
    };
    let decoded = schema::decode(kind.fields, document).map_err(|problem| {
        let id = if id.is_v1alpha1() {
            String::new()
        } else {
            format!("{id}: ")
        };
        ConfigError::Invalid(format!("{id}{problem}"))
    })?;
    Ok((decoded, Some(kind)))
}

/// Writes a decoded document in Talos' form.
pub(super) fn encode_document(document: &Mapping) -> Mapping {
    match schema::kind(&DocumentId::of(document)) {
        Some(kind) => schema::encode(kind.fields, document),
        None => document.clone(),
    }
}
