//! What a simulated node takes from its machine configuration, in the form of one document (up to
//! Talos 1.13) or many (1.14).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use capi_core::pki::{Certificate, CertificateAuthority, PrivateKey};
use serde_json::Value;

/// The documents of a YAML text, empty ones left out.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let message = error.to_string();
        message.lines().next().unwrap_or_default().to_owned()
    })?;
    Ok(all
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

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
}

impl NodeConfig {
    /// Reads and validates a configuration as a node does.
    ///
    /// # Errors
    /// What the node answers to ApplyConfiguration, or logs at boot.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let documents = documents(text).map_err(|e| format!("error decoding document: {e}"))?;
        let root = documents
            .iter()
            .find(|document| document.get("kind").is_none() && document.get("machine").is_some())
            .ok_or("the configuration has no v1alpha1 document with `machine`")?;
        let reader = Reader {
            documents: &documents,
            root,
        };
        reader.refuse_unknown_keys()?;
        let kind = match reader.root("/machine/type").unwrap_or_default() {
            "controlplane" | "init" => Kind::ControlPlane,
            "worker" | "join" | "" => Kind::Worker,
            other => return Err(format!("invalid machine type: {other}")),
        };
        let os = reader
            .base64_authority("/machine/ca")
            .ok_or("machine.ca is required")??;
        if kind == Kind::ControlPlane && os.key.is_none() {
            return Err("issuing CA key is required for controlplane nodes".to_owned());
        }
        if kind == Kind::Worker && os.key.is_some() {
            return Err("CA key is not allowed on non-controlplane nodes".to_owned());
        }
        let kubernetes = reader
            .base64_authority("/cluster/ca")
            .or_else(|| reader.plain_authority("KubeAPIServerCAConfig"))
            .ok_or("cluster.ca is required")??;
        let endpoint = reader
            .root("/cluster/controlPlane/endpoint")
            .or_else(|| reader.of_kind("KubeClusterConfig", "/endpoint"))
            .ok_or("cluster.controlPlane.endpoint is required")?;
        let (endpoint_host, endpoint_port) =
            host_and_port(endpoint).ok_or_else(|| format!("invalid endpoint: {endpoint:?}"))?;
        let plugin = match reader.root("/cluster/network/cni/name") {
            Some("none") => Plugin::None,
            Some(_) => Plugin::Included,
            None if reader.has("KubeNetworkConfig")
                && !reader.has("KubeFlannelCNIConfig")
                && !reader.has("KubeExternalManifestConfig") =>
            {
                Plugin::None
            }
            None => Plugin::Included,
        };
        let image = reader
            .root("/machine/kubelet/image")
            .or_else(|| reader.of_kind("KubeletConfig", "/image"))
            .unwrap_or_default();
        let strings = |pointer: &str| {
            root.pointer(pointer)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        Ok(Self {
            kind,
            hostname: reader
                .root("/machine/network/hostname")
                .or_else(|| reader.of_kind("HostnameConfig", "/hostname"))
                .map(str::to_owned),
            os,
            kubernetes,
            cluster_id: reader
                .root("/cluster/id")
                .or_else(|| reader.of_kind("DiscoveryIdentityConfig", "/clusterID"))
                .unwrap_or_default()
                .to_owned(),
            cluster_name: reader
                .root("/cluster/clusterName")
                .or_else(|| reader.of_kind("KubeClusterConfig", "/clusterName"))
                .unwrap_or("kubernetes")
                .to_owned(),
            endpoint: endpoint.to_owned(),
            endpoint_host,
            endpoint_port,
            plugin,
            kubelet_version: image
                .rsplit_once(':')
                .map(|(_, tag)| tag.split('@').next().unwrap_or(tag))
                .filter(|tag| tag.starts_with('v'))
                .unwrap_or("v0.0.0")
                .to_owned(),
            names: strings("/machine/certSANs"),
            external_cloud: reader
                .root("/machine/kubelet/extraArgs/cloud-provider")
                .or_else(|| reader.of_kind("KubeletConfig", "/extraArgs/cloud-provider"))
                == Some("external"),
        })
    }
}

struct Reader<'a> {
    documents: &'a [Value],
    root: &'a Value,
}

impl<'a> Reader<'a> {
    fn root(&self, pointer: &str) -> Option<&'a str> {
        self.root.pointer(pointer)?.as_str()
    }

    fn documents_of(&self, kind: &'static str) -> impl Iterator<Item = &'a Value> {
        self.documents
            .iter()
            .filter(move |document| document.get("kind").and_then(Value::as_str) == Some(kind))
    }

    fn has(&self, kind: &'static str) -> bool {
        self.documents_of(kind).next().is_some()
    }

    fn of_kind(&self, kind: &'static str, pointer: &str) -> Option<&'a str> {
        self.documents_of(kind)
            .find_map(|document| document.pointer(pointer)?.as_str())
    }

    fn refuse_unknown_keys(&self) -> Result<(), String> {
        const KNOWN: [&str; 5] = ["version", "debug", "persist", "machine", "cluster"];
        let unknown: Vec<&str> = self
            .root
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .filter(|key| !KNOWN.contains(key))
            .collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "unknown keys found during decoding: {}",
                unknown.join(", ")
            ))
        }
    }

    /// `{crt, key}` of base64'd PEM.
    fn base64_authority(&self, pointer: &str) -> Option<Result<Authority, String>> {
        let decode = |key: &str| -> Result<String, String> {
            let text = self.root(&format!("{pointer}/{key}")).unwrap_or_default();
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| format!("{pointer}/{key}: no base64"))?;
            String::from_utf8(bytes).map_err(|_| format!("{pointer}/{key}: no PEM"))
        };
        self.root.pointer(pointer)?;
        Some(decode("crt").and_then(|crt| authority(pointer, &crt, &decode("key")?)))
    }

    /// `issuingCA: {cert, key}` or `acceptedCAs` of PEM.
    fn plain_authority(&self, kind: &'static str) -> Option<Result<Authority, String>> {
        let document = self.documents_of(kind).next()?;
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
        let certificate = text("/issuingCA/cert").or_else(|| text("/acceptedCAs/0"))?;
        Some(authority(
            kind,
            certificate,
            text("/issuingCA/key").unwrap_or_default(),
        ))
    }
}

fn authority(what: &str, certificate: &str, key: &str) -> Result<Authority, String> {
    let certificate = Certificate::from_pem(certificate).map_err(|e| format!("{what}: {e}"))?;
    let key = if key.trim().is_empty() {
        None
    } else {
        Some(PrivateKey::from_pem(key).map_err(|e| format!("{what}: {e}"))?)
    };
    Ok(Authority { certificate, key })
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
