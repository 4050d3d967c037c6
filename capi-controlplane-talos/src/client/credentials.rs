//! Who a client is for a node: a talosconfig's certificate, one made from the bundle's OS
//! certificate authority, or nobody (maintenance mode).

use std::{fmt, sync::Arc};

use capi_bootstrap_talos::config::{ConfigError, Talosconfig};
use capi_core::{
    clock::Clock,
    pki::{Certificate, CertificateAuthority, LeafRequest, PkiError, Subject},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
use secrecy::{ExposeSecret, SecretString};

use super::error::ClientError;
use crate::tls;

/// A role of the machine API, as the organization of a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// Everything.
    Admin,
    /// Reading, reboot, shutdown, services, etcd snapshots.
    Operator,
    /// Reading what is not secret.
    Reader,
    /// etcd snapshots only.
    EtcdBackup,
    /// May act for others through a node; nodes themselves use it.
    Impersonator,
}

impl Role {
    /// The role as it stands in a certificate.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "os:admin",
            Self::Operator => "os:operator",
            Self::Reader => "os:reader",
            Self::EtcdBackup => "os:etcd:backup",
            Self::Impersonator => "os:impersonator",
        }
    }

    /// The role of a certificate's organization; `None` for one that is not known.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Admin,
            Self::Operator,
            Self::Reader,
            Self::EtcdBackup,
            Self::Impersonator,
        ]
        .into_iter()
        .find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Credentials of a client of the machine API.
pub struct Credentials(Kind);

enum Kind {
    Mutual {
        authorities: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    },
    Maintenance,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Mutual { .. } => "Credentials(mutual TLS)",
            Kind::Maintenance => "Credentials(maintenance mode)",
        })
    }
}

impl Credentials {
    /// Credentials of the chosen context of a talosconfig (the content of the secret
    /// `<cluster>-talosconfig`, key `talosconfig`).
    ///
    /// # Errors
    /// When it is no talosconfig, its context is missing, or a certificate or key in it is broken.
    pub fn from_talosconfig(text: &SecretString) -> Result<Self, ConfigError> {
        let config = Talosconfig::parse(text.expose_secret())?;
        let authorities = tls::certificates(&config.certificate_authority)
            .map_err(|error| ConfigError::Invalid(format!("the talosconfig's ca: {error}")))?;
        let (chain, key) = tls::identity(&config.client);
        Ok(Self(Kind::Mutual {
            authorities,
            chain,
            key,
        }))
    }

    /// Makes a certificate of `role` from the OS certificate authority of a secrets bundle, valid
    /// for a year from `clock`'s now.
    ///
    /// # Errors
    /// When the operating system gives no randomness, or the authority cannot sign.
    pub fn issue(
        authority: &CertificateAuthority,
        role: Role,
        clock: &Clock,
    ) -> Result<Self, PkiError> {
        let subject = Subject::organization(role.as_str());
        let issued = authority.issue(&LeafRequest::client(subject, clock.now()))?;
        let (chain, key) = tls::identity(&issued);
        Ok(Self(Kind::Mutual {
            authorities: vec![tls::certificate(authority.certificate())],
            chain,
            key,
        }))
    }

    /// Nobody, trusting whoever answers: the only way to reach a node in maintenance mode, which
    /// has no certificate authority yet. Never use it for a node that has its configuration.
    #[must_use]
    pub fn danger_maintenance() -> Self {
        Self(Kind::Maintenance)
    }

    /// Whether the client's certificate is valid at a time. Credentials without one always are.
    #[must_use]
    pub fn is_valid_at(&self, now: jiff::Timestamp) -> bool {
        match &self.0 {
            Kind::Mutual { chain, .. } => chain
                .first()
                .and_then(|der| Certificate::from_der(der).ok())
                .is_some_and(|leaf| leaf.not_before() <= now && now < leaf.not_after()),
            Kind::Maintenance => true,
        }
    }

    /// TLS settings for a connection, judging certificates at `clock`'s time.
    pub(crate) fn client_config(&self, clock: &Clock) -> Result<ClientConfig, ClientError> {
        let provider = tls::provider();
        let refused = |error: rustls::Error| PkiError::Malformed(error.to_string());
        let builder = ClientConfig::builder_with_details(
            provider.clone(),
            Arc::new(tls::CertificateTime(clock.clone())),
        )
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
        let mut config = match &self.0 {
            Kind::Mutual {
                authorities,
                chain,
                key,
            } => {
                let mut roots = rustls::RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority.clone()).map_err(refused)?;
                }
                builder
                    .with_root_certificates(roots)
                    .with_client_auth_cert(chain.clone(), key.clone_key())
                    .map_err(refused)?
            }
            Kind::Maintenance => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

/// Accepts any certificate, but only from whoever holds its key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
