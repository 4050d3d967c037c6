//! What client and simulator share of TLS: keys and certificates in rustls' types, the time by
//! which certificates are judged, and the cryptography used.

use std::{sync::Arc, time::Duration};

use capi_core::{
    clock::Clock,
    pki::{Certificate, IssuedCertificate, PkiError, PrivateKey},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};

/// All certificates of a PEM text; at least one.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    const END: &str = "-----END CERTIFICATE-----";
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.find(END).map_or(rest.len(), |at| at + END.len());
        let (block, after) = rest.split_at(end);
        found.push(certificate(&Certificate::from_pem(block)?));
        if !after.contains(END) {
            return Ok(found);
        }
        rest = after;
    }
}

/// A certificate in rustls' type.
pub(crate) fn certificate(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from(certificate.der().to_vec())
}

/// A private key in rustls' type.
pub(crate) fn private_key(key: &PrivateKey) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_pkcs8_der().to_vec()))
}

/// Chain and key of an issued certificate in rustls' types.
pub(crate) fn identity(
    issued: &IssuedCertificate,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (
        vec![certificate(&issued.certificate)],
        private_key(&issued.key),
    )
}

/// The time by which certificates are judged: that of a [`Clock`].
#[derive(Debug)]
pub(crate) struct CertificateTime(pub(crate) Clock);

impl rustls::time_provider::TimeProvider for CertificateTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// The cryptography that TLS uses here, whatever the application installed.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
