//! The bundle's YAML document: `talosctl gen secrets`, and the three older keys of clusters
//! from before it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use super::{BundleError, Certificates, EtcdEncryption, PemPair, SecretsBundle, field};
use crate::config::yaml::{self, Mapping, Node};

impl SecretsBundle {
    /// Reads the document of the key `bundle`, which `talosctl gen secrets` writes, and
    /// [validates](Self::validate) it.
    ///
    /// # Errors
    /// [`BundleError`] naming the field; never shows a value.
    pub fn from_yaml(text: &str) -> Result<Self, BundleError> {
        let root = document(text)?;
        let empty = Node::mapping();
        let part = |key| root.at(&[key]).unwrap_or(&empty);
        known(&root, &["cluster", "secrets", "trustdinfo", "certs"])?;
        known(part("cluster"), &["id", "secret"])?;
        let identity = |key, name| match text_of(part("cluster"), key) {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(field(name, "is required")),
        };
        let cluster_id = identity("id", "cluster.id")?.as_str().to_owned();
        let cluster_secret = secret(&identity("secret", "cluster.secret")?);
        assemble(
            part("secrets"),
            part("trustdinfo"),
            part("certs"),
            cluster_id,
            cluster_secret,
        )
    }

    /// Reads the three documents that the secret `<cluster>-talos` had before the key
    /// `bundle`: `certs`, `kubeSecrets`, `trustdInfo`. Such a cluster has no identity for
    /// discovery.
    ///
    /// # Errors
    /// As [`from_yaml`](Self::from_yaml).
    pub fn from_legacy_yaml(
        certs: &str,
        kube_secrets: &str,
        trustd_info: &str,
    ) -> Result<Self, BundleError> {
        assemble(
            &document(kube_secrets)?,
            &document(trustd_info)?,
            &document(certs)?,
            String::new(),
            SecretString::default(),
        )
    }

    /// The document of the key `bundle`, as `talosctl gen secrets` writes it.
    pub fn to_yaml(&self) -> SecretString {
        let expose = |text: &SecretString| Node::string(text.expose_secret());
        let base64 = |text: &str| Node::string(STANDARD.encode(text));
        let key = |text: &SecretString| {
            let encoded = Zeroizing::new(STANDARD.encode(text.expose_secret()));
            Node::string(encoded.as_str())
        };
        let pair =
            |pair: &PemPair| object([("crt", base64(&pair.certificate)), ("key", key(&pair.key))]);
        let mut secrets = Mapping::default();
        secrets.set("bootstraptoken", expose(&self.bootstrap_token));
        for encryption in std::iter::once(&self.etcd_encryption).chain(&self.other_encryption) {
            match encryption {
                EtcdEncryption::AesCbc(value) => {
                    secrets.set("aescbcencryptionsecret", expose(value));
                }
                EtcdEncryption::Secretbox(value) => {
                    secrets.set("secretboxencryptionsecret", expose(value));
                }
            }
        }
        let certificates = &self.certificates;
        let root = object([
            (
                "cluster",
                object([
                    ("id", Node::string(self.cluster_id.as_str())),
                    ("secret", expose(&self.cluster_secret)),
                ]),
            ),
            ("secrets", Node::Mapping(secrets)),
            (
                "trustdinfo",
                object([("token", expose(&self.trustd_token))]),
            ),
            (
                "certs",
                object([
                    ("etcd", pair(&certificates.etcd)),
                    ("k8s", pair(&certificates.kubernetes)),
                    ("k8saggregator", pair(&certificates.aggregator)),
                    (
                        "k8sserviceaccount",
                        object([("key", key(&certificates.service_account_key))]),
                    ),
                    ("os", pair(&certificates.talos)),
                ]),
            ),
        ]);
        SecretString::from(yaml::write([&root]))
    }
}

fn object<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Node::Mapping(entries.into_iter().collect())
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn document(text: &str) -> Result<Node, BundleError> {
    match yaml::parse(text)?.into_iter().next() {
        Some(first) if first.node.as_mapping().is_some() => Ok(first.node),
        _ => Err(field(
            "bundle",
            "is empty; delete the secret to have a new one made, or fill it with `talosctl gen secrets`",
        )),
    }
}

fn known(node: &Node, keys: &[&str]) -> Result<(), BundleError> {
    match node
        .as_mapping()
        .into_iter()
        .flat_map(Mapping::iter)
        .find(|entry| !keys.contains(&entry.key.as_str()))
    {
        Some(entry) => Err(BundleError::UnknownKey(entry.key.clone())),
        None => Ok(()),
    }
}

fn text_of(node: &Node, key: &str) -> Option<Zeroizing<String>> {
    node.at(&[key])?
        .as_str()
        .map(|text| Zeroizing::new(text.to_owned()))
}

fn pem_of(node: &Node, key: &str, name: &'static str) -> Result<Zeroizing<String>, BundleError> {
    let encoded = text_of(node, key).ok_or_else(|| field(name, format!("has no {key}")))?;
    let compact = Zeroizing::new(encoded.split_ascii_whitespace().collect::<String>());
    let bytes = Zeroizing::new(
        STANDARD
            .decode(compact.as_bytes())
            .map_err(|_| field(name, format!("has a {key} that is not base64")))?,
    );
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| field(name, format!("has a {key} that is not PEM")))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn assemble(
    secrets: &Node,
    trustd: &Node,
    certs: &Node,
    cluster_id: String,
    cluster_secret: SecretString,
) -> Result<SecretsBundle, BundleError> {
    known(
        secrets,
        &[
            "bootstraptoken",
            "aescbcencryptionsecret",
            "secretboxencryptionsecret",
        ],
    )?;
    known(trustd, &["token"])?;
    // older bundles keep the administrator's certificate too
    known(
        certs,
        &[
            "admin",
            "etcd",
            "k8s",
            "k8saggregator",
            "k8sserviceaccount",
            "os",
        ],
    )?;
    let required = |node: &Node, key, name| {
        text_of(node, key)
            .map(|text| secret(&text))
            .ok_or_else(|| field(name, "is required"))
    };
    let pair = |key: &str, name| {
        let node = certs.at(&[key]).ok_or_else(|| field(name, "is required"))?;
        known(node, &["crt", "key"])?;
        Ok::<_, BundleError>(PemPair {
            certificate: pem_of(node, "crt", name)?.as_str().to_owned(),
            key: secret(&pem_of(node, "key", name)?),
        })
    };
    let encryption = |key| {
        text_of(secrets, key)
            .filter(|text| !text.is_empty())
            .map(|text| secret(&text))
    };
    let secretbox = encryption("secretboxencryptionsecret").map(EtcdEncryption::Secretbox);
    let aescbc = encryption("aescbcencryptionsecret").map(EtcdEncryption::AesCbc);
    let (etcd_encryption, other_encryption) = match (secretbox, aescbc) {
        (Some(secretbox), aescbc) => (secretbox, aescbc),
        (None, Some(aescbc)) => (aescbc, None),
        (None, None) => {
            return Err(field(
                "secrets.secretboxencryptionsecret",
                "is required (aescbcencryptionsecret in clusters from before Talos 1.3)",
            ));
        }
    };
    let service_account = certs
        .at(&["k8sserviceaccount"])
        .ok_or_else(|| field("certs.k8sserviceaccount", "is required"))?;
    let bundle = SecretsBundle {
        cluster_id,
        cluster_secret,
        bootstrap_token: required(secrets, "bootstraptoken", "secrets.bootstraptoken")?,
        etcd_encryption,
        other_encryption,
        trustd_token: required(trustd, "token", "trustdinfo.token")?,
        certificates: Certificates {
            etcd: pair("etcd", "certs.etcd")?,
            kubernetes: pair("k8s", "certs.k8s")?,
            aggregator: pair("k8saggregator", "certs.k8saggregator")?,
            service_account_key: secret(&pem_of(
                service_account,
                "key",
                "certs.k8sserviceaccount",
            )?),
            talos: pair("os", "certs.os")?,
        },
    };
    bundle.validate()?;
    Ok(bundle)
}
