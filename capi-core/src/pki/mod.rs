//! Keys, certificates and kubeconfigs, in the forms that Kubernetes, Cluster API and Talos
//! read and write. Nothing here does I/O or reads a clock: `now` is an argument.
//!
//! ```
//! use capi_core::pki::{CertificateAuthority, KeyAlgorithm, LeafRequest, Subject};
//! # fn main() -> Result<(), capi_core::pki::PkiError> {
//! let now = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
//! let authority = CertificateAuthority::generate(
//!     KeyAlgorithm::EcdsaP256, &Subject::organization("kubernetes"), now)?;
//! let leaf = authority.issue(
//!     &LeafRequest::client(Subject::new("kubernetes-admin", ["system:masters"]), now))?;
//! assert_eq!(leaf.certificate.common_name(), Some("kubernetes-admin"));
//! # Ok(())
//! # }
//! ```

mod certificate;
mod der;
mod key;
mod kubeconfig;
mod pem;

#[cfg(test)]
mod tests;

pub use certificate::{
    Certificate, CertificateAuthority, IssuedCertificate, LeafRequest, Subject, SubjectAltName,
};
pub use key::{KeyAlgorithm, PrivateKey};
pub use kubeconfig::{Kubeconfig, KubeconfigCredentials};

/// What can go wrong with keys and certificates. Messages never show key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// Bytes or text that are not what they should be.
    #[error("{0}")]
    Malformed(String),
    /// A valid thing that is not supported here.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// A certificate and a key that do not belong together.
    #[error("the private key does not belong to the certificate of {0}")]
    Mismatch(String),
    /// The operating system gave no randomness.
    #[error("the operating system's random source failed; retry")]
    Random,
}
