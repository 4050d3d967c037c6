//! The certificate authority of a server: made here, or given by whoever owns a cluster's.

use std::net::IpAddr;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};

use super::HttpsError;
use crate::request::User;

/// How long certificates made here are valid.
const VALIDITY: i64 = 365 * 24 * 3600;
/// Certificates are valid from a little before they are made, for clocks that are behind.
const SKEW: i64 = 3600;

/// A certificate authority: signs the serving certificate and client certificates, and is what
/// client certificates are checked against.
pub struct Authority {
    certificate: String,
    key: SecretString,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// A certificate with its private key, in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: SecretString,
}

fn time(now: Timestamp, offset: i64) -> Result<time::OffsetDateTime, HttpsError> {
    time::OffsetDateTime::from_unix_timestamp(now.as_second().saturating_add(offset))
        .map_err(|error| HttpsError::Certificate(error.to_string()))
}

fn failed(error: impl std::fmt::Display) -> HttpsError {
    HttpsError::Certificate(error.to_string())
}

impl Authority {
    /// A new self-signed authority (ECDSA P-256), valid for ten years from `now`.
    ///
    /// # Errors
    /// [`HttpsError::Certificate`] when the operating system gives no randomness.
    pub fn generate(common_name: &str, now: Timestamp) -> Result<Self, HttpsError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.not_before = time(now, -SKEW)?;
        params.not_after = time(now, 10 * VALIDITY)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem().into(),
        })
    }

    /// An authority that exists, such as that of a cluster: certificate and private key in PEM.
    /// The key may be PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// [`HttpsError::Certificate`] when either is not what it should be.
    pub fn from_pem(certificate: &str, key: &SecretString) -> Result<Self, HttpsError> {
        let authority = Self {
            certificate: certificate.to_owned(),
            key: key.clone(),
        };
        authority.issuer()?;
        Ok(authority)
    }

    /// The certificate, in PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, HttpsError> {
        // rcgen wants PKCS#8 or reads DER by its shape.
        let der =
            PrivateKeyDer::from_pem_slice(self.key.expose_secret().as_bytes()).map_err(failed)?;
        let key = KeyPair::try_from(&der).map_err(failed)?;
        Issuer::from_ca_cert_pem(&self.certificate, key).map_err(failed)
    }

    fn issue(&self, mut params: CertificateParams, now: Timestamp) -> Result<Identity, HttpsError> {
        params.not_before = time(now, -SKEW)?;
        params.not_after = time(now, VALIDITY)?;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer()?).map_err(failed)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem().into(),
        })
    }

    /// A client certificate for a user, valid for a year from `now`.
    ///
    /// # Errors
    /// [`HttpsError::Certificate`] when it cannot be signed.
    pub fn issue_client(&self, user: &User, now: Timestamp) -> Result<Identity, HttpsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, user.name.as_str());
        for group in user
            .groups
            .iter()
            .filter(|group| *group != "system:authenticated")
        {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group.as_str());
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, now)
    }

    /// A serving certificate for names and addresses, valid for a year from `now`.
    ///
    /// # Errors
    /// [`HttpsError::Certificate`] when a name is malformed or it cannot be signed.
    pub fn issue_server(&self, names: &[String], now: Timestamp) -> Result<Identity, HttpsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
            });
        }
        self.issue(params, now)
    }

    pub(super) fn certificate_der(&self) -> Result<CertificateDer<'static>, HttpsError> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(failed)
    }
}

impl Identity {
    pub(super) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, HttpsError> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    pub(super) fn key_der(&self) -> Result<PrivateKeyDer<'static>, HttpsError> {
        PrivateKeyDer::from_pem_slice(self.key.expose_secret().as_bytes()).map_err(failed)
    }
}

/// The user whom a verified client certificate names.
pub(super) fn user(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> = subject
        .iter_organization()
        .filter_map(|group| group.as_str().ok())
        .map(str::to_owned)
        .collect();
    groups.push("system:authenticated".to_owned());
    Some(User { name, groups })
}
