//! The bundle of a cluster that exists, from the configuration of one of its control plane
//! machines: to bring a cluster under management, or to restore a lost bundle.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::{BundleError, Certificates, EtcdEncryption, PemPair, SecretsBundle, field};
use crate::config::MachineConfig;
use crate::config::yaml::Node;

impl SecretsBundle {
    /// The bundle that this control plane configuration was made of, in the form of one
    /// document or of many. [Validated](Self::validate).
    ///
    /// # Errors
    /// [`BundleError::Field`] for what the configuration does not have: a worker's has no keys.
    pub fn from_config(config: &MachineConfig) -> Result<Self, BundleError> {
        let missing = |name| {
            field(
                name,
                "is not in the configuration; take that of a control plane machine",
            )
        };
        let text = |path: &[&str], document: (&str, &[&str]), name| {
            legacy(config, path)
                .or_else(|| of_document(config, document.0, document.1))
                .map(str::to_owned)
                .ok_or_else(|| missing(name))
        };
        let authority =
            |path: &[&str], kind: &str, name| pair(config, path, kind).ok_or_else(|| missing(name));
        let service_account_key = pem(config, &["cluster", "serviceAccount", "key"])
            .or_else(|| {
                let key = of_document(
                    config,
                    "KubeServiceAccountConfig",
                    &["issuer", "privateKey"],
                )?;
                Some(Zeroizing::new(key.to_owned()))
            })
            .ok_or_else(|| missing("certs.k8sserviceaccount"))?;
        let token =
            |value: Option<&str>, name| value.map(SecretString::from).ok_or_else(|| missing(name));
        let bundle = Self {
            cluster_id: text(
                &["cluster", "id"],
                ("DiscoveryIdentityConfig", &["clusterID"]),
                "cluster.id",
            )?,
            cluster_secret: SecretString::from(text(
                &["cluster", "secret"],
                ("DiscoveryIdentityConfig", &["clusterSecret"]),
                "cluster.secret",
            )?),
            bootstrap_token: token(config.bootstrap_token(), "secrets.bootstraptoken")?,
            etcd_encryption: encryption(config)
                .ok_or_else(|| missing("secrets.secretboxencryptionsecret"))?,
            other_encryption: None,
            trustd_token: token(config.machine_token(), "trustdinfo.token")?,
            certificates: Certificates {
                etcd: authority(&["cluster", "etcd", "ca"], "", "certs.etcd")?,
                kubernetes: authority(&["cluster", "ca"], "KubeAPIServerCAConfig", "certs.k8s")?,
                aggregator: authority(
                    &["cluster", "aggregatorCA"],
                    "KubeAggregatorCAConfig",
                    "certs.k8saggregator",
                )?,
                service_account_key: SecretString::from(service_account_key.as_str()),
                talos: authority(&["machine", "ca"], "", "certs.os")?,
            },
        };
        bundle.validate()?;
        Ok(bundle)
    }
}

fn legacy<'a>(config: &'a MachineConfig, path: &[&str]) -> Option<&'a str> {
    config.at(path)?.as_str()
}

fn of_document<'a>(config: &'a MachineConfig, kind: &str, path: &[&str]) -> Option<&'a str> {
    let (first, rest) = path.split_first()?;
    config.of_kind(kind)?.get(first)?.at(rest)?.as_str()
}

fn pem(config: &MachineConfig, path: &[&str]) -> Option<Zeroizing<String>> {
    let bytes = Zeroizing::new(STANDARD.decode(legacy(config, path)?).ok()?);
    Some(Zeroizing::new(std::str::from_utf8(&bytes).ok()?.to_owned()))
}

fn pair(config: &MachineConfig, path: &[&str], kind: &str) -> Option<PemPair> {
    let at = |key: &'static str| pem(config, &[path, &[key]].concat());
    let (certificate, key) = match (at("crt"), at("key")) {
        (Some(certificate), Some(key)) => (certificate, key),
        _ => {
            let part = |key| {
                of_document(config, kind, &["issuingCA", key])
                    .map(|text| Zeroizing::new(text.to_owned()))
            };
            (part("cert")?, part("key")?)
        }
    };
    Some(PemPair {
        certificate: certificate.as_str().to_owned(),
        key: SecretString::from(key.as_str()),
    })
}

/// The secret that etcd is encrypted with; of documents, the first provider of the first
/// resources with `secrets`.
fn encryption(config: &MachineConfig) -> Option<EtcdEncryption> {
    if let Some(secret) = legacy(config, &["cluster", "secretboxEncryptionSecret"]) {
        return Some(EtcdEncryption::Secretbox(SecretString::from(secret)));
    }
    if let Some(secret) = legacy(config, &["cluster", "aescbcEncryptionSecret"]) {
        return Some(EtcdEncryption::AesCbc(SecretString::from(secret)));
    }
    let resources = config
        .of_kind("KubeEtcdEncryptionConfig")?
        .get("config")?
        .at(&["resources"])?;
    let of_secrets = resources.as_sequence()?.iter().find(|resource| {
        resource
            .at(&["resources"])
            .and_then(Node::as_sequence)
            .is_some_and(|kinds| kinds.iter().any(|kind| kind.as_str() == Some("secrets")))
    })?;
    let provider = of_secrets.at(&["providers"])?.as_sequence()?.first()?;
    let secret = |kind| {
        let key = provider.at(&[kind, "keys"])?.as_sequence()?.first()?;
        key.at(&["secret"])?.as_str().map(SecretString::from)
    };
    secret("secretbox")
        .map(EtcdEncryption::Secretbox)
        .or_else(|| secret("aescbc").map(EtcdEncryption::AesCbc))
}
