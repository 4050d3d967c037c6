//! Private keys, in the forms that Go programs read and write.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::{PkiError, der, pem};

/// Kind of a [`PrivateKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA on curve P-256; PEM label `EC PRIVATE KEY` (SEC1).
    EcdsaP256,
    /// Ed25519; PEM label `ED25519 PRIVATE KEY` (PKCS#8 version 1), as Talos writes it.
    Ed25519,
    /// RSA; PEM label `RSA PRIVATE KEY` (PKCS#1).
    Rsa,
}

/// A private key. Its bytes are wiped when it is dropped, and Debug shows only the kind.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    algorithm: KeyAlgorithm,
    /// PKCS#8, in the form that ring reads.
    pkcs8: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?}, [redacted])", self.algorithm)
    }
}

impl PrivateKey {
    /// A new key from the operating system's randomness: P-256 or Ed25519.
    ///
    /// # Errors
    /// [`PkiError::Random`] when the system has no randomness; [`PkiError::Unsupported`] for
    /// RSA, whose size must be said: [`generate_rsa`](Self::generate_rsa).
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, PkiError> {
        let random = SystemRandom::new();
        match algorithm {
            KeyAlgorithm::EcdsaP256 => {
                let document =
                    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                        .map_err(|_| PkiError::Random)?;
                Self::from_pkcs8(document.as_ref())
            }
            KeyAlgorithm::Ed25519 => {
                let document =
                    Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| PkiError::Random)?;
                Self::from_pkcs8(document.as_ref())
            }
            KeyAlgorithm::Rsa => Err(PkiError::Unsupported(
                "an RSA key is generated with its size: PrivateKey::generate_rsa".to_owned(),
            )),
        }
    }

    /// A new RSA key of `bits` bits. 4096 bits take one to four seconds of a core in a release
    /// build: call it off an async executor (`spawn_blocking`).
    ///
    /// # Errors
    /// [`PkiError::Unsupported`] below 2048 or above 8192 bits; [`PkiError::Random`] when no
    /// key could be made.
    pub fn generate_rsa(bits: usize) -> Result<Self, PkiError> {
        if !(2048..=8192).contains(&bits) {
            return Err(PkiError::Unsupported(format!(
                "an RSA key of {bits} bits; 2048 to 8192 are supported"
            )));
        }
        let key =
            rsa::RsaPrivateKey::new(&mut rand::rngs::OsRng, bits).map_err(|_| PkiError::Random)?;
        let pkcs1 = key
            .to_pkcs1_der()
            .map_err(|error| PkiError::Malformed(format!("the new RSA key: {error}")))?;
        Ok(Self {
            algorithm: KeyAlgorithm::Rsa,
            pkcs8: der::write_rsa_pkcs8(pkcs1.as_bytes()),
        })
    }

    /// Reads PKCS#8 DER, version 1 or 2.
    ///
    /// # Errors
    /// [`PkiError::Malformed`] for other bytes or other kinds of keys.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, PkiError> {
        match der::read_pkcs8(der)? {
            der::Pkcs8::Rsa(pkcs1) => Ok(Self {
                algorithm: KeyAlgorithm::Rsa,
                pkcs8: der::write_rsa_pkcs8(pkcs1),
            }),
            der::Pkcs8::P256(scalar, public) => Self::p256(scalar, public),
            der::Pkcs8::Ed25519(seed) => Ok(Self {
                algorithm: KeyAlgorithm::Ed25519,
                pkcs8: der::write_ed25519_pkcs8(seed),
            }),
        }
        .and_then(Self::checked)
    }

    /// Reads a PEM block labelled `RSA PRIVATE KEY` (PKCS#1), `EC PRIVATE KEY` (SEC1),
    /// `ED25519 PRIVATE KEY` or `PRIVATE KEY` (PKCS#8); the label decides, as in Talos.
    ///
    /// # Errors
    /// [`PkiError::Malformed`] for anything else.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        let block = pem::read(text)?;
        match block.label {
            "RSA PRIVATE KEY" => Self {
                algorithm: KeyAlgorithm::Rsa,
                pkcs8: der::write_rsa_pkcs8(&block.content),
            }
            .checked(),
            "EC PRIVATE KEY" => {
                let (scalar, public) = der::read_sec1(&block.content)?;
                Self::p256(scalar, public)?.checked()
            }
            "ED25519 PRIVATE KEY" | "PRIVATE KEY" => Self::from_pkcs8(&block.content),
            label => Err(PkiError::Malformed(format!(
                "a PEM block labelled {label:?} is not a private key of a form that is read \
                 (RSA, EC, ED25519 PRIVATE KEY or PRIVATE KEY)"
            ))),
        }
    }

    fn p256(scalar: &[u8], public: Option<&[u8]>) -> Result<Self, PkiError> {
        let public = public.filter(|point| point.len() == 65).ok_or_else(|| {
            PkiError::Unsupported(
                "the EC private key carries no uncompressed public key; write it again with \
                 `openssl ec -in KEY`"
                    .to_owned(),
            )
        })?;
        Ok(Self {
            algorithm: KeyAlgorithm::EcdsaP256,
            pkcs8: der::write_p256_pkcs8(scalar, public),
        })
    }

    /// Only keys that can sign are kept.
    fn checked(self) -> Result<Self, PkiError> {
        self.signer()?;
        Ok(self)
    }

    /// Which kind of key this is.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// PEM with the label and the form that Go and every version of Talos read.
    pub fn to_pem(&self) -> SecretString {
        let text = match (self.algorithm, der::read_pkcs8(&self.pkcs8)) {
            (_, Ok(der::Pkcs8::Rsa(pkcs1))) => pem::write("RSA PRIVATE KEY", pkcs1),
            (_, Ok(der::Pkcs8::P256(scalar, Some(public)))) => {
                pem::write("EC PRIVATE KEY", &der::write_sec1(scalar, public))
            }
            (KeyAlgorithm::Ed25519, _) => pem::write("ED25519 PRIVATE KEY", &self.pkcs8),
            _ => pem::write("PRIVATE KEY", &self.pkcs8),
        };
        SecretString::from(text.as_str())
    }

    /// PKCS#8 DER, for TLS libraries; the caller wipes its copy.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        self.pkcs8.clone()
    }

    /// The public key as PEM (`PUBLIC KEY`).
    ///
    /// # Errors
    /// [`PkiError::Malformed`] never for a key that was read or made by this type.
    pub fn public_key_pem(&self) -> Result<String, PkiError> {
        Ok(self.signer()?.public_key_pem())
    }

    /// The key as rcgen signs with it.
    pub(super) fn signer(&self) -> Result<rcgen::KeyPair, PkiError> {
        let algorithm = match self.algorithm {
            KeyAlgorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::Ed25519 => &rcgen::PKCS_ED25519,
            KeyAlgorithm::Rsa => &rcgen::PKCS_RSA_SHA256,
        };
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&self.pkcs8.as_slice().into(), algorithm)
            .map_err(|_| {
                PkiError::Malformed("the private key is inconsistent or too weak".to_owned())
            })
    }
}
