//! The cluster's kubeconfig: a client certificate of the Kubernetes authority, renewed at half
//! its life, and left alone where a user brought one.

use capi_core::{
    pki::{
        Certificate, CertificateAuthority, Kubeconfig, KubeconfigCredentials, LeafRequest, Subject,
    },
    provider::{Progress, ProviderError},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Cx,
    credentials::{bundle, cluster, secret_text},
};

const COMMON_NAME: &str = "kubernetes-admin";
const GROUP: &str = "system:masters";

pub(super) async fn kubeconfig(
    cx: &Cx,
    current: Option<&SecretString>,
) -> Result<Progress<Option<SecretString>>, ProviderError> {
    let (namespace, name) = cluster(cx);
    let endpoint = &cx.cluster.spec.control_plane_endpoint;
    if !endpoint.is_valid() {
        return Ok(Progress::waiting(
            format!("Cluster {namespace}/{name}"),
            "WaitingForControlPlaneEndpoint",
            "Waiting for spec.controlPlaneEndpoint of the Cluster",
        ));
    }
    let host = if endpoint.host.contains(':') && !endpoint.host.starts_with('[') {
        format!("[{}]", endpoint.host)
    } else {
        endpoint.host.clone()
    };
    let server = format!("https://{host}:{}", endpoint.port);
    let Some(authority) = authority(cx).await? else {
        return Ok(Progress::waiting(
            format!("Secret {namespace}/{name}-ca"),
            "WaitingForCertificateAuthority",
            format!(
                "Waiting for the Kubernetes certificate authority in Secret {namespace}/{name}-ca"
            ),
        ));
    };
    let now = cx.context.now();
    if let Some(current) = current
        && is_good(
            current.expose_secret(),
            &server,
            authority.certificate(),
            now,
        )
    {
        return Ok(Progress::Ready(None));
    }
    let failed = |error: capi_core::pki::PkiError| {
        ProviderError::invalid(
            "InvalidSecret",
            format!("the certificate authority in Secret {namespace}/{name}-ca cannot sign"),
        )
        .with_source(error)
    };
    let subject = Subject::new(COMMON_NAME, [GROUP]);
    let issued = authority
        .issue(&LeafRequest::client(subject, now))
        .map_err(failed)?;
    let credentials = KubeconfigCredentials::Certificate(issued);
    let ca = authority.certificate().to_pem();
    Ok(Progress::Ready(Some(
        Kubeconfig::admin(name, &server, &ca, credentials).render(),
    )))
}

/// The Kubernetes authority: that of the `-ca` secret, else that of the bundle.
async fn authority(cx: &Cx) -> Result<Option<CertificateAuthority>, ProviderError> {
    let (namespace, name) = cluster(cx);
    let secret = format!("{name}-ca");
    let certificate = secret_text(cx, &secret, "tls.crt").await?;
    let key = secret_text(cx, &secret, "tls.key").await?;
    let wrong = |what: String| {
        move |error: capi_core::pki::PkiError| {
            ProviderError::invalid("InvalidSecret", what).with_source(error)
        }
    };
    if let (Some(certificate), Some(key)) = (certificate, key) {
        return CertificateAuthority::from_pem(certificate.expose_secret(), key.expose_secret())
            .map(Some)
            .map_err(wrong(format!(
                "Secret {namespace}/{secret} holds no usable authority"
            )));
    }
    let Some(bundle) = bundle(cx).await? else {
        return Ok(None);
    };
    bundle
        .certificates
        .kubernetes
        .authority()
        .map(Some)
        .map_err(wrong(format!(
            "Secret {namespace}/{name}-talos holds no usable Kubernetes authority"
        )))
}

/// Whether a stored kubeconfig may stay. One with other credentials than a client certificate of
/// our authority is a user's and is never touched.
fn is_good(text: &str, server: &str, authority: &Certificate, now: jiff::Timestamp) -> bool {
    let (Ok(certificates), Ok(stored)) = (
        Kubeconfig::client_certificates(text),
        Kubeconfig::server_of(text),
    ) else {
        return false;
    };
    let Some(certificate) = certificates.first() else {
        return true;
    };
    let ours = certificate.common_name() == Some(COMMON_NAME)
        && certificate
            .organizations()
            .iter()
            .any(|group| group == GROUP);
    if !ours {
        return true;
    }
    certificate.is_signed_by(authority)
        && stored.as_deref() == Some(server)
        && certificates
            .iter()
            .all(|certificate| !certificate.is_past_half_life(now))
}
