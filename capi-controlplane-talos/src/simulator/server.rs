//! The serving side of TLS: certificates of a node, and who may talk to it.

use std::{net::IpAddr, sync::Arc};

use capi_core::{
    clock::Clock,
    pki::{
        Certificate, CertificateAuthority, IssuedCertificate, KeyAlgorithm, LeafRequest, PkiError,
        Subject, SubjectAltName,
    },
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{config::NodeConfig, life::Me, state::cluster_key};
use crate::{client::Role, tls};

/// A server's settings that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("the verifier of client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The node's serving certificate from its cluster's OS authority: a control plane node signs it
/// itself, a worker gets it from the trustd of one, as soon as there is one.
pub(super) async fn identity(
    me: &Me,
    config: &NodeConfig,
    addresses: &[IpAddr],
) -> Result<IssuedCertificate, PkiError> {
    let authority = match config.os.signer() {
        Some(authority) => authority,
        None => {
            let key = cluster_key(config);
            me.inner
                .until(|state| {
                    state
                        .nodes
                        .values()
                        .filter(|node| node.service_runs("trustd"))
                        .filter(|node| node.cluster().as_ref() == Some(&key))
                        .find_map(|node| node.boot.active.as_ref()?.os.signer())
                })
                .await
        }
    };
    let hostname = me
        .look(|node| node.boot.hostname.clone())
        .unwrap_or_default();
    let names = addresses
        .iter()
        .map(|address| SubjectAltName::Ip(*address))
        .chain(config.names.iter().map(|name| SubjectAltName::parse(name)))
        .chain(["127.0.0.1", "::1", "localhost"].map(SubjectAltName::parse))
        .chain([SubjectAltName::Dns(hostname.clone())]);
    let subject = Subject {
        common_name: Some(hostname),
        organizations: Vec::new(),
    };
    authority.issue(&LeafRequest::server(subject, names, me.inner.clock.now()))
}

/// TLS of the machine API: only clients of the cluster's OS authority, with roles.
pub(super) fn machine_api_tls(
    clock: &Clock,
    config: &NodeConfig,
    identity: &Result<IssuedCertificate, PkiError>,
) -> Result<TlsAcceptor, ServerError> {
    let identity = identity.as_ref().map_err(Clone::clone)?;
    acceptor(clock, &config.os.certificate, identity, true)
}

/// TLS that asks for a certificate of `authority` and judges by `clock`. With `required` nobody
/// comes in without one, and it may be for clients only.
pub(super) fn acceptor(
    clock: &Clock,
    authority: &Certificate,
    identity: &IssuedCertificate,
    required: bool,
) -> Result<TlsAcceptor, ServerError> {
    let provider = tls::provider();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(tls::certificate(authority))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier: Arc<dyn ClientCertVerifier> = if required {
        Arc::new(ClientsOnly(verifier.build()?))
    } else {
        verifier.allow_unauthenticated().build()?
    };
    let (chain, key) = tls::identity(identity);
    let mut server =
        ServerConfig::builder_with_details(provider, Arc::new(tls::CertificateTime(clock.clone())))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// TLS of maintenance mode: a certificate that nobody can know, and anybody may come.
pub(super) fn maintenance_tls(clock: &Clock, address: IpAddr) -> Result<TlsAcceptor, ServerError> {
    let subject = Subject {
        common_name: Some("maintenance-service.talos.dev".to_owned()),
        organizations: Vec::new(),
    };
    let authority = CertificateAuthority::generate(KeyAlgorithm::Ed25519, &subject, clock.now())?;
    let names = [SubjectAltName::Ip(address)];
    let identity = authority.issue(&LeafRequest::server(subject, names, clock.now()))?;
    let (chain, key) = tls::identity(&identity);
    let mut server = ServerConfig::builder_with_details(
        tls::provider(),
        Arc::new(tls::CertificateTime(clock.clone())),
    )
    .with_safe_default_protocol_versions()?
    .with_no_client_auth()
    .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// Roles in a client's certificate.
pub(super) fn roles(certificate: Option<&CertificateDer<'_>>) -> Vec<Role> {
    certificate
        .and_then(|der| Certificate::from_der(der).ok())
        .map(|certificate| {
            certificate
                .organizations()
                .iter()
                .filter_map(|role| Role::parse(role))
                .collect()
        })
        .unwrap_or_default()
}

/// Accepts certificates whose extended key usage is client authentication and nothing else.
#[derive(Debug)]
struct ClientsOnly(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for ClientsOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        if only_for_clients(end_entity) {
            Ok(verified)
        } else {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::InvalidPurpose,
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn only_for_clients(der: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return false;
    };
    let Ok(Some(usage)) = certificate.extended_key_usage() else {
        return false;
    };
    let usage = usage.value;
    usage.client_auth && !usage.server_auth && !usage.any && usage.other.is_empty()
}
