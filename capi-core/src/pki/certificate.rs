//! Certificate authorities and what they sign.

use std::fmt;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rand::RngCore as _;
use rcgen::string::PrintableString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{KeyAlgorithm, PkiError, PrivateKey, pem};

/// Ten years of 365 days: lifetime of an authority.
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(87_600);
/// One year of 365 days: lifetime of a client certificate, as Talos and Cluster API give it.
const CLIENT_LIFETIME: SignedDuration = SignedDuration::from_hours(8_760);

/// Name of a certificate's holder: a common name and organizations, both optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// CN, where there is one.
    pub common_name: Option<String>,
    /// O, in order; Kubernetes reads groups and Talos reads roles here.
    pub organizations: Vec<String>,
}

impl Subject {
    /// A common name with organizations.
    pub fn new(
        common_name: impl Into<String>,
        organizations: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            common_name: Some(common_name.into()),
            organizations: organizations.into_iter().map(Into::into).collect(),
        }
    }

    /// One organization and no common name.
    pub fn organization(organization: impl Into<String>) -> Self {
        Self {
            common_name: None,
            organizations: vec![organization.into()],
        }
    }

    fn to_distinguished_name(&self) -> DistinguishedName {
        // the string type that Go chooses: names are compared byte for byte in chains
        let value = |text: &str| match PrintableString::try_from(text) {
            Ok(printable) => DnValue::PrintableString(printable),
            Err(_) => DnValue::Utf8String(text.to_owned()),
        };
        let mut name = DistinguishedName::new();
        for organization in &self.organizations {
            name.push(DnType::OrganizationName, value(organization));
        }
        if let Some(common_name) = &self.common_name {
            name.push(DnType::CommonName, value(common_name));
        }
        name
    }
}

/// A name or address that a serving certificate is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubjectAltName {
    /// A DNS name.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

impl SubjectAltName {
    /// An address where `text` is one, else a DNS name.
    pub fn parse(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Dns(text.to_owned()), Self::Ip)
    }
}

/// What a certificate that an authority signs shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRequest {
    /// Name of the holder.
    pub subject: Subject,
    /// Names and addresses that it serves.
    pub names: Vec<SubjectAltName>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// For authenticating as a client.
    pub client: bool,
    /// For serving.
    pub server: bool,
    /// Kind of the new key; the authority's kind where not said (RSA authorities sign P-256 keys).
    pub algorithm: Option<KeyAlgorithm>,
}

impl LeafRequest {
    /// A client certificate that is valid for one year from `now`.
    pub fn client(subject: Subject, now: Timestamp) -> Self {
        Self {
            subject,
            names: Vec::new(),
            not_before: now,
            not_after: later(now, CLIENT_LIFETIME),
            client: true,
            server: false,
            algorithm: None,
        }
    }

    /// A serving certificate that is valid for one year from `now`.
    pub fn server(
        subject: Subject,
        names: impl IntoIterator<Item = SubjectAltName>,
        now: Timestamp,
    ) -> Self {
        Self {
            names: names.into_iter().collect(),
            client: false,
            server: true,
            ..Self::client(subject, now)
        }
    }
}

/// `now + span`, at the end of time at most.
fn later(now: Timestamp, span: SignedDuration) -> Timestamp {
    now.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// An X.509 certificate, parsed once.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    common_name: Option<String>,
    organizations: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    public_key: Vec<u8>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("common_name", &self.common_name)
            .field("organizations", &self.organizations)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// [`PkiError::Malformed`] where it is not an X.509 certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let malformed = |_| PkiError::Malformed("not an X.509 certificate".to_owned());
        let (rest, parsed) = X509Certificate::from_der(der).map_err(malformed)?;
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().map(str::to_owned).ok()
        };
        let seconds = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| {
                PkiError::Malformed("the certificate's validity is out of range".to_owned())
            })
        };
        Ok(Self {
            common_name: parsed.subject().iter_common_name().find_map(text),
            organizations: parsed
                .subject()
                .iter_organization()
                .filter_map(text)
                .collect(),
            not_before: seconds(parsed.validity().not_before)?,
            not_after: seconds(parsed.validity().not_after)?,
            public_key: parsed.public_key().raw.to_vec(),
            der: der[..der.len() - rest.len()].to_vec(),
        })
    }

    /// Reads the first `CERTIFICATE` block of a PEM text.
    ///
    /// # Errors
    /// [`PkiError::Malformed`] where there is none or it is not an X.509 certificate.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        let mut rest = text;
        loop {
            let block = pem::read(rest)?;
            if block.label == "CERTIFICATE" {
                return Self::from_der(&block.content);
            }
            rest = block.rest;
        }
    }

    /// DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// PEM, labelled `CERTIFICATE`.
    pub fn to_pem(&self) -> String {
        pem::write("CERTIFICATE", &self.der).as_str().to_owned()
    }

    /// CN of the subject.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// O of the subject, in order: groups to Kubernetes, roles to Talos.
    pub fn organizations(&self) -> &[String] {
        &self.organizations
    }

    /// Start of validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// End of validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether less than half of the lifetime is left at `now`: the moment at which Cluster
    /// API and this SDK renew a client certificate.
    pub fn is_past_half_life(&self, now: Timestamp) -> bool {
        let lifetime = self.not_after.duration_since(self.not_before);
        self.not_after.duration_since(now) < lifetime / 2
    }

    /// Whether the signature is `authority`'s. Validity in time is not looked at.
    pub fn is_signed_by(&self, authority: &Certificate) -> bool {
        match (
            X509Certificate::from_der(&self.der),
            X509Certificate::from_der(&authority.der),
        ) {
            (Ok((_, leaf)), Ok((_, authority))) => {
                leaf.issuer().as_raw() == authority.subject().as_raw()
                    && verify_signature(&leaf, &authority)
            }
            _ => false,
        }
    }
}

fn verify_signature(leaf: &X509Certificate<'_>, authority: &X509Certificate<'_>) -> bool {
    use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
    let algorithm: &dyn VerificationAlgorithm =
        match leaf.signature_algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.10045.4.3.2" => &signature::ECDSA_P256_SHA256_ASN1,
            "1.2.840.10045.4.3.3" => &signature::ECDSA_P256_SHA384_ASN1,
            "1.3.101.112" => &signature::ED25519,
            "1.2.840.113549.1.1.11" => &signature::RSA_PKCS1_2048_8192_SHA256,
            "1.2.840.113549.1.1.12" => &signature::RSA_PKCS1_2048_8192_SHA384,
            "1.2.840.113549.1.1.13" => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return false,
        };
    let key = authority.public_key().subject_public_key.data.as_ref();
    UnparsedPublicKey::new(algorithm, key)
        .verify(
            leaf.tbs_certificate.as_ref(),
            leaf.signature_value.data.as_ref(),
        )
        .is_ok()
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate.
    pub certificate: Certificate,
    /// Its private key.
    pub key: PrivateKey,
}

/// A certificate authority: certificate and key that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateAuthority {
    certificate: Certificate,
    key: PrivateKey,
}

impl CertificateAuthority {
    /// A new self-signed authority, valid for ten years from `now`, with the extensions that
    /// Talos' own authorities have: CA without path length, digital signature and certificate
    /// signing, server and client authentication.
    ///
    /// # Errors
    /// As [`PrivateKey::generate`]; an RSA authority is made from its key:
    /// [`self_signed`](Self::self_signed).
    pub fn generate(
        algorithm: KeyAlgorithm,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        Self::self_signed(PrivateKey::generate(algorithm)?, subject, now)
    }

    /// As [`generate`](Self::generate), with a key that exists.
    ///
    /// # Errors
    /// [`PkiError::Malformed`] where the certificate cannot be encoded.
    pub fn self_signed(
        key: PrivateKey,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let mut params = params(subject, now, later(now, AUTHORITY_LIFETIME))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params
            .self_signed(&key.signer()?)
            .map_err(|error| encoding(&error))?;
        Ok(Self {
            certificate: Certificate::from_der(certificate.der())?,
            key,
        })
    }

    /// A certificate and a key that were read.
    ///
    /// # Errors
    /// [`PkiError::Mismatch`] where the key is not the certificate's.
    pub fn new(certificate: Certificate, key: PrivateKey) -> Result<Self, PkiError> {
        use rcgen::PublicKeyData as _;
        if key.signer()?.subject_public_key_info() == certificate.public_key {
            Ok(Self { certificate, key })
        } else {
            Err(PkiError::Mismatch(format!("{certificate:?}")))
        }
    }

    /// Reads certificate and key from PEM.
    ///
    /// # Errors
    /// As [`Certificate::from_pem`], [`PrivateKey::from_pem`] and [`new`](Self::new).
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, PkiError> {
        Self::new(
            Certificate::from_pem(certificate)?,
            PrivateKey::from_pem(key)?,
        )
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The authority's key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Signs a certificate for a new key.
    ///
    /// # Errors
    /// [`PkiError::Random`], or [`PkiError::Malformed`] where a DNS name is not ASCII or the
    /// authority's certificate has extensions that cannot be read.
    pub fn issue(&self, request: &LeafRequest) -> Result<IssuedCertificate, PkiError> {
        let algorithm = request.algorithm.unwrap_or(match self.key.algorithm() {
            KeyAlgorithm::Rsa => KeyAlgorithm::EcdsaP256,
            other => other,
        });
        let key = PrivateKey::generate(algorithm)?;
        self.issue_for(key, request)
    }

    /// Signs a certificate for a key that exists.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    pub fn issue_for(
        &self,
        key: PrivateKey,
        request: &LeafRequest,
    ) -> Result<IssuedCertificate, PkiError> {
        let mut params = params(&request.subject, request.not_before, request.not_after)?;
        params.is_ca = IsCa::NoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if request.server && key.algorithm() == KeyAlgorithm::Rsa {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        if request.server {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if request.client {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        for name in &request.names {
            params.subject_alt_names.push(match name {
                SubjectAltName::Ip(address) => SanType::IpAddress(*address),
                SubjectAltName::Dns(name) => {
                    SanType::DnsName(name.as_str().try_into().map_err(|_| {
                        PkiError::Malformed(format!("{name:?} cannot be a name in a certificate"))
                    })?)
                }
            });
        }
        let issuer =
            Issuer::from_ca_cert_der(&self.certificate.der.as_slice().into(), self.key.signer()?)
                .map_err(|error| encoding(&error))?;
        let certificate = params
            .signed_by(&key.signer()?, &issuer)
            .map_err(|error| encoding(&error))?;
        Ok(IssuedCertificate {
            certificate: Certificate::from_der(certificate.der())?,
            key,
        })
    }
}

fn encoding(error: &rcgen::Error) -> PkiError {
    PkiError::Malformed(format!("the certificate cannot be written: {error}"))
}

fn params(
    subject: &Subject,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, PkiError> {
    let time = |at: Timestamp| {
        time::OffsetDateTime::from_unix_timestamp(at.as_second())
            .map_err(|_| PkiError::Malformed(format!("{at} is out of a certificate's range")))
    };
    let mut serial = [0; 16];
    rand::rngs::OsRng
        .try_fill_bytes(&mut serial)
        .map_err(|_| PkiError::Random)?;
    // positive, and never encoded with a leading zero byte
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject.to_distinguished_name();
    params.not_before = time(not_before)?;
    params.not_after = time(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.key_identifier_method = KeyIdMethod::Sha256;
    Ok(params)
}
