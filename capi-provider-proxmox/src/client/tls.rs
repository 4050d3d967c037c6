//! Whose certificate is believed: an authority's, a known fingerprint, or (through a door marked danger) any.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use capi_core::clock::Clock;

/// What a server must present to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsTrust {
    /// A certificate signed by one of these authorities (PEM), valid for the name that is dialled.
    Authorities(Vec<u8>),
    /// A certificate with one of these SHA-256 fingerprints; name and dates are not looked at.
    ///
    /// Each Proxmox VE node has a certificate of its own, so several endpoints need several fingerprints.
    Fingerprints(Vec<Fingerprint>),
    /// Anything. See [`TlsTrust::danger_accept_any`].
    DangerAny,
}

impl TlsTrust {
    /// Believes any certificate: who sits between can read the token and change each call.
    ///
    /// What CAPMOX does unless told otherwise, and so the meaning of a credentials Secret without `insecure`.
    #[must_use]
    pub fn danger_accept_any() -> Self {
        Self::DangerAny
    }

    pub(super) fn client_config(&self, clock: Clock) -> Result<rustls::ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_details(
            Arc::clone(&provider),
            Arc::new(TlsTime(clock)),
        )
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Self::Authorities(pem) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate
                        .map_err(|error| format!("the authority certificate is no PEM: {error}"))?;
                    roots.add(certificate).map_err(|error| {
                        format!("the authority certificate is not usable: {error}")
                    })?;
                }
                if roots.is_empty() {
                    return Err("there is no certificate in the given authority file".into());
                }
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| error.to_string())?
            }
            Self::Fingerprints(expected) if expected.is_empty() => {
                return Err("no fingerprint is given".into());
            }
            Self::Fingerprints(expected) => Arc::new(Pinned {
                expected: Some(expected.clone()),
                provider,
            }),
            Self::DangerAny => Arc::new(Pinned {
                expected: None,
                provider,
            }),
        };
        Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth())
    }
}

/// SHA-256 of a certificate, written as Proxmox VE does: `AB:CD:...`, 32 pairs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

/// A text that is no SHA-256 fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no SHA-256 fingerprint: expected 32 pairs of hexadecimal digits, as `pvenode cert info` prints them"
)]
pub struct InvalidFingerprint(String);

impl Fingerprint {
    /// The fingerprint of a certificate (DER).
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let invalid = || InvalidFingerprint(text.to_owned());
        let digits: Vec<u8> = text
            .trim()
            .chars()
            .filter(|character| *character != ':')
            .map(|character| {
                character
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
                    .ok_or_else(invalid)
            })
            .collect::<Result<_, _>>()?;
        if digits.len() != 64 {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(":")?;
            }
            write!(formatter, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

/// Compares a certificate with known fingerprints, or with nothing.
#[derive(Debug)]
struct Pinned {
    expected: Option<Vec<Fingerprint>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(expected) = &self.expected else {
            return Ok(ServerCertVerified::assertion());
        };
        let seen = Fingerprint::of(end_entity);
        if expected.contains(&seen) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(format!(
                "{UNEXPECTED_FINGERPRINT}{seen}"
            )))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

const UNEXPECTED_FINGERPRINT: &str = "it has the fingerprint ";

/// The reason why a certificate was refused, when that is what an error is about.
pub(super) fn certificate_problem(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut current = Some(error);
    while let Some(cause) = current {
        match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(reason)) => return Some(format!("{reason}")),
            Some(rustls::Error::General(text)) if text.starts_with(UNEXPECTED_FINGERPRINT) => {
                return Some(text.clone());
            }
            _ => {}
        }
        // An I/O error names the cause of what it carries as its own, and not what it carries.
        let carried = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        current = match carried {
            Some(carried) => Some(carried),
            None => cause.source(),
        };
    }
    None
}

/// Certificates' dates are compared with the clock that everything else uses.
#[derive(Debug)]
struct TlsTime(Clock);

impl rustls::time_provider::TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_with_and_without_colons_and_prints_as_proxmox_does() {
        let fingerprint = Fingerprint::of(b"certificate");
        let text = fingerprint.to_string();
        assert_eq!(text.len(), 95);
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(
            text.to_lowercase().replace(':', "").parse(),
            Ok(fingerprint)
        );
        for bad in [
            "",
            "AB",
            "AB:CD",
            &text.replace(['A', '1'], "x"),
            &format!("{text}:00"),
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
