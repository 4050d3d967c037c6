//! The secrets bundle of a cluster: every key and token that its machines share.
//!
//! One bundle makes one cluster: with it, a machine configuration is fully determined. It is
//! the document that `talosctl gen secrets` writes and that lives in the secret
//! `<cluster>-talos` under the key `bundle`. Keys and tokens are wiped when they are dropped
//! and never shown by Debug.

mod document;
mod import;
mod token;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use capi_core::pki::{
    Certificate, CertificateAuthority, IssuedCertificate, KeyAlgorithm, LeafRequest, PkiError,
    PrivateKey, Subject,
};
use jiff::Timestamp;
use rand::RngCore as _;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Contract;
use crate::config::yaml::YamlError;

/// Size of the service account key of clusters since Talos 1.7.
const SERVICE_ACCOUNT_KEY_BITS: usize = 4096;

/// Why a secrets bundle cannot be read or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The text is not YAML.
    #[error("the secrets bundle is not valid YAML: {0}")]
    Yaml(#[from] YamlError),
    /// A field is missing or is not what it should be.
    #[error("the secrets bundle is not usable: {field} {problem}")]
    Field {
        /// Path of the field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A key that the bundle does not have.
    #[error("the secrets bundle has an unknown key {0:?}")]
    UnknownKey(String),
    /// A key or certificate cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

fn field(field: &'static str, problem: impl Into<String>) -> BundleError {
    BundleError::Field {
        field,
        problem: problem.into(),
    }
}

/// A certificate and its key, as PEM, byte for byte as they were read.
#[derive(Clone, Debug)]
pub struct PemPair {
    /// PEM of the certificate.
    pub certificate: String,
    /// PEM of the key.
    pub key: SecretString,
}

impl PemPair {
    /// The authority that signs with this pair.
    ///
    /// # Errors
    /// [`PkiError`] where the PEM is not a certificate and the key that belongs to it.
    pub fn authority(&self) -> Result<CertificateAuthority, PkiError> {
        CertificateAuthority::from_pem(&self.certificate, self.key.expose_secret())
    }
}

impl From<&CertificateAuthority> for PemPair {
    fn from(authority: &CertificateAuthority) -> Self {
        Self {
            certificate: authority.certificate().to_pem(),
            key: authority.key().to_pem(),
        }
    }
}

/// The authorities of a cluster and its service account key.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Authority of etcd.
    pub etcd: PemPair,
    /// Authority of the Kubernetes API; also in the secret `<cluster>-ca`.
    pub kubernetes: PemPair,
    /// Authority of aggregated APIs (front proxy).
    pub aggregator: PemPair,
    /// PEM of the key that signs service account tokens.
    pub service_account_key: SecretString,
    /// Authority of the Talos API.
    pub talos: PemPair,
}

/// How Kubernetes secrets are encrypted in etcd.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EtcdEncryption {
    /// XSalsa20-Poly1305 (since Talos 1.3); base64 of 32 bytes.
    Secretbox(SecretString),
    /// AES-CBC (before); base64 of 32 bytes.
    AesCbc(SecretString),
}

/// The secrets bundle of a cluster.
#[derive(Clone, Debug)]
pub struct SecretsBundle {
    /// Identity of the cluster in discovery; empty in bundles from before Talos 0.14.
    pub cluster_id: String,
    /// Secret of the cluster in discovery; empty in bundles from before Talos 0.14.
    pub cluster_secret: SecretString,
    /// Token that nodes join Kubernetes with.
    pub bootstrap_token: SecretString,
    /// Encryption of Kubernetes secrets in etcd.
    pub etcd_encryption: EtcdEncryption,
    /// A second encryption secret that the bundle was read with; kept when it is written.
    pub(crate) other_encryption: Option<EtcdEncryption>,
    /// Token that nodes ask for their Talos certificate with; `machine.token`.
    pub trustd_token: SecretString,
    /// Authorities and keys.
    pub certificates: Certificates,
}

impl SecretsBundle {
    /// A new bundle for a cluster whose first machines have `contract`. Authorities are valid
    /// for ten years from `now`.
    ///
    /// It makes an RSA key of 4096 bits (contracts since 1.7), which takes seconds of a core:
    /// call it off an async executor, once per cluster.
    ///
    /// # Errors
    /// [`BundleError::Pki`] when the system's randomness fails.
    pub fn generate(contract: Contract, now: Timestamp) -> Result<Self, BundleError> {
        let key = if contract.uses_rsa_service_account_key() {
            PrivateKey::generate_rsa(SERVICE_ACCOUNT_KEY_BITS)?
        } else {
            PrivateKey::generate(KeyAlgorithm::EcdsaP256)?
        };
        Self::generate_with(contract, now, &key)
    }

    /// As [`generate`](Self::generate), with a service account key that exists: for clusters
    /// that bring one, and for tests, which need not wait for RSA.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn generate_with(
        contract: Contract,
        now: Timestamp,
        service_account_key: &PrivateKey,
    ) -> Result<Self, BundleError> {
        let authority = |algorithm, subject: Subject| {
            CertificateAuthority::generate(algorithm, &subject, now).map(|new| PemPair::from(&new))
        };
        let ecdsa = KeyAlgorithm::EcdsaP256;
        let encryption = random_base64()?;
        Ok(Self {
            cluster_id: URL_SAFE.encode(random_bytes()?),
            cluster_secret: random_base64()?,
            bootstrap_token: token::generate(&mut rand::rngs::OsRng)?,
            etcd_encryption: if contract.uses_secretbox() {
                EtcdEncryption::Secretbox(encryption)
            } else {
                EtcdEncryption::AesCbc(encryption)
            },
            other_encryption: None,
            trustd_token: token::generate(&mut rand::rngs::OsRng)?,
            certificates: Certificates {
                etcd: authority(ecdsa, Subject::organization("etcd"))?,
                kubernetes: authority(ecdsa, Subject::organization("kubernetes"))?,
                aggregator: authority(ecdsa, Subject::default())?,
                service_account_key: service_account_key.to_pem(),
                talos: authority(KeyAlgorithm::Ed25519, Subject::organization("talos"))?,
            },
        })
    }

    /// Whether machines of this bundle can find each other through discovery.
    pub fn has_cluster_identity(&self) -> bool {
        !self.cluster_id.is_empty() && !self.cluster_secret.expose_secret().is_empty()
    }

    /// A client certificate for the Talos API with one role per organization, valid for one
    /// year from `now`.
    ///
    /// # Errors
    /// [`PkiError`] where the bundle's Talos authority is not usable.
    pub fn talos_client(
        &self,
        roles: &[&str],
        now: Timestamp,
    ) -> Result<IssuedCertificate, PkiError> {
        let subject = Subject {
            common_name: None,
            organizations: roles.iter().map(|role| (*role).to_owned()).collect(),
        };
        self.certificates
            .talos
            .authority()?
            .issue(&LeafRequest::client(subject, now))
    }

    /// A client certificate for the Kubernetes API, as Cluster API's own kubeconfig has it
    /// (`kubernetes-admin` of `system:masters`), valid for one year from `now`.
    ///
    /// # Errors
    /// [`PkiError`] where the bundle's Kubernetes authority is not usable.
    pub fn kubernetes_admin(&self, now: Timestamp) -> Result<IssuedCertificate, PkiError> {
        self.certificates
            .kubernetes
            .authority()?
            .issue(&LeafRequest::client(
                Subject::new("kubernetes-admin", ["system:masters"]),
                now,
            ))
    }

    /// Checks what a bundle must have before anything is made of it.
    ///
    /// # Errors
    /// [`BundleError::Field`] for the first field that is missing, or is a certificate or key
    /// that cannot be used.
    pub fn validate(&self) -> Result<(), BundleError> {
        for (name, value) in [
            ("secrets.bootstraptoken", &self.bootstrap_token),
            ("trustdinfo.token", &self.trustd_token),
        ] {
            if !token::is_valid(value.expose_secret()) {
                return Err(field(
                    name,
                    "must be a token of the form abcdef.0123456789abcdef",
                ));
            }
        }
        let pairs = [
            ("certs.etcd", &self.certificates.etcd),
            ("certs.k8s", &self.certificates.kubernetes),
            ("certs.k8saggregator", &self.certificates.aggregator),
            ("certs.os", &self.certificates.talos),
        ];
        for (name, pair) in pairs {
            Certificate::from_pem(&pair.certificate)
                .map_err(|error| field(name, format!("has no usable crt: {error}")))?;
            pair.authority()
                .map_err(|error| field(name, format!("has no usable key: {error}")))?;
        }
        PrivateKey::from_pem(self.certificates.service_account_key.expose_secret()).map_err(
            |error| {
                field(
                    "certs.k8sserviceaccount",
                    format!("has no usable key: {error}"),
                )
            },
        )?;
        Ok(())
    }
}

fn random_bytes() -> Result<Zeroizing<[u8; 32]>, PkiError> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::rngs::OsRng
        .try_fill_bytes(bytes.as_mut())
        .map_err(|_| PkiError::Random)?;
    Ok(bytes)
}

fn random_base64() -> Result<SecretString, PkiError> {
    Ok(SecretString::from(STANDARD.encode(random_bytes()?)))
}
