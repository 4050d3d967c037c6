//! The secrets of a cluster, by the names and keys of the Go provider: the bundle
//! (`<cluster>-talos`), the Kubernetes authority (`<cluster>-ca`), the client configuration of
//! the Talos API (`<cluster>-talosconfig`), the kubeconfig (`<cluster>-kubeconfig`).

use capi_core::pki::{
    Certificate, CertificateAuthority, Kubeconfig, KubeconfigCredentials, PkiError,
};
use capi_core::provider::{NamedSecret, ProviderError, SecretRequest};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use crate::config::Talosconfig;
use crate::secrets::{BundleError, PemPair, SecretsBundle};

/// Type of the secrets of the Go bootstrap provider.
const OPAQUE: &str = "Opaque";

/// Name of the secret of the bundle.
pub fn bundle_name(cluster: &str) -> String {
    format!("{cluster}-talos")
}

/// Name of the secret of the Kubernetes authority.
pub fn authority_name(cluster: &str) -> String {
    format!("{cluster}-ca")
}

/// Name of the secret of the Talos API's client configuration.
pub fn talosconfig_name(cluster: &str) -> String {
    format!("{cluster}-talosconfig")
}

/// Name of the secret of the kubeconfig.
pub fn kubeconfig_name(cluster: &str) -> String {
    format!("{cluster}-kubeconfig")
}

fn text<'a>(secret: &'a NamedSecret, key: &str) -> Option<&'a str> {
    std::str::from_utf8(secret.expose(key)?).ok()
}

/// The request of the secret that keeps a bundle; created once, never changed.
pub fn bundle_request(cluster: &str, bundle: &SecretsBundle) -> SecretRequest {
    let text = bundle.to_yaml();
    let mut request = SecretRequest::new(
        bundle_name(cluster),
        "bundle",
        text.expose_secret().as_bytes(),
    );
    request.kind = OPAQUE.to_owned();
    request.owned_by_cluster()
}

/// The bundle of a secret: the key `bundle`, or the three older keys.
///
/// # Errors
/// [`BundleError`] where the secret has no usable bundle.
pub fn read_bundle(secret: &NamedSecret) -> Result<SecretsBundle, BundleError> {
    let older = [
        text(secret, "certs"),
        text(secret, "kubeSecrets"),
        text(secret, "trustdInfo"),
    ];
    match (text(secret, "bundle"), older) {
        (None, [Some(certs), Some(kube_secrets), Some(trustd_info)]) => {
            SecretsBundle::from_legacy_yaml(certs, kube_secrets, trustd_info)
        }
        (bundle, _) => SecretsBundle::from_yaml(bundle.unwrap_or_default()),
    }
}

/// The request of the secret of the Kubernetes authority, which Cluster API signs kubeconfigs
/// with.
pub fn authority_request(cluster: &str, authority: &PemPair) -> SecretRequest {
    let mut request = SecretRequest::new(
        authority_name(cluster),
        "tls.crt",
        authority.certificate.as_bytes(),
    )
    .with("tls.key", authority.key.expose_secret().as_bytes());
    request.kind = OPAQUE.to_owned();
    request.owned_by_cluster()
}

/// The authority of a secret with `tls.crt` and `tls.key`.
///
/// # Errors
/// [`PkiError`] where the keys are missing or not a certificate with its key.
pub fn read_authority(secret: &NamedSecret) -> Result<CertificateAuthority, PkiError> {
    let missing =
        || PkiError::Malformed(format!("Secret {} has no tls.crt and tls.key", secret.name));
    let certificate = text(secret, "tls.crt").ok_or_else(missing)?;
    let key = text(secret, "tls.key").ok_or_else(missing)?;
    CertificateAuthority::from_pem(certificate, key)
}

/// The client configuration that a secret should have: the stored one with these endpoints
/// while its certificate is good, else a new one. Equal inputs give what is stored, so that
/// nothing is written.
///
/// # Errors
/// [`PkiError`] where the Talos authority cannot sign.
pub fn talosconfig(
    cluster: &str,
    endpoints: Vec<String>,
    authority: &PemPair,
    stored: Option<&NamedSecret>,
    now: Timestamp,
) -> Result<Talosconfig, PkiError> {
    let signer = authority.authority()?;
    let usable = stored
        .and_then(|secret| Talosconfig::parse(text(secret, "talosconfig")?).ok())
        .filter(|stored| {
            let certificate = &stored.client.certificate;
            stored.context == cluster
                && stored.certificate_authority == authority.certificate
                && certificate.is_signed_by(signer.certificate())
                && certificate.organizations() == ["os:admin"]
                && !certificate.is_past_half_life(now)
        });
    if let Some(stored) = usable {
        return Ok(Talosconfig {
            endpoints,
            ..stored
        });
    }
    let request =
        capi_core::pki::LeafRequest::client(capi_core::pki::Subject::organization("os:admin"), now);
    Ok(Talosconfig {
        context: cluster.to_owned(),
        endpoints,
        certificate_authority: authority.certificate.clone(),
        client: signer.issue(&request)?,
    })
}

/// The request of the secret of a client configuration.
pub fn talosconfig_request(config: &Talosconfig) -> SecretRequest {
    let text = config.to_yaml();
    let mut request = SecretRequest::new(
        talosconfig_name(&config.context),
        "talosconfig",
        text.expose_secret().as_bytes(),
    );
    request.kind = OPAQUE.to_owned();
    request.owned_by_cluster()
}

/// The kubeconfig that a secret should have, as a request; nothing where the stored one is
/// good: its server is this one, its certificate is the authority's and not past half of its
/// life. A kubeconfig without certificates of ours (a user's own) is never replaced.
///
/// # Errors
/// [`PkiError`] where the authority cannot sign.
pub fn kubeconfig_request(
    cluster: &str,
    endpoint: &str,
    authority: &CertificateAuthority,
    stored: Option<&NamedSecret>,
    now: Timestamp,
) -> Result<Option<SecretRequest>, PkiError> {
    if let Some(stored) = stored.and_then(|secret| text(secret, "value")) {
        let certificates = Kubeconfig::client_certificates(stored).unwrap_or_default();
        let foreign =
            |certificate: &Certificate| !certificate.is_signed_by(authority.certificate());
        let users_own = certificates.is_empty() || certificates.iter().any(foreign);
        let good = Kubeconfig::server_of(stored).ok().flatten().as_deref() == Some(endpoint)
            && !certificates
                .iter()
                .any(|certificate| certificate.is_past_half_life(now));
        if users_own || good {
            return Ok(None);
        }
    }
    let request = capi_core::pki::LeafRequest::client(
        capi_core::pki::Subject::new("kubernetes-admin", ["system:masters"]),
        now,
    );
    let kubeconfig = Kubeconfig::admin(
        cluster,
        endpoint,
        &authority.certificate().to_pem(),
        KubeconfigCredentials::Certificate(authority.issue(&request)?),
    );
    let text = kubeconfig.render();
    Ok(Some(SecretRequest::new(
        kubeconfig_name(cluster),
        "value",
        text.expose_secret().as_bytes(),
    )))
}

/// A bundle or authority that cannot be used: a person has to look.
pub(super) fn unusable(name: &str, error: &dyn std::error::Error) -> ProviderError {
    ProviderError::refused("SecretUnusable", format!("Secret {name}: {error}"))
}
