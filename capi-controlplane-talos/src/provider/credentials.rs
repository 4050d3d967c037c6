//! Where credentials of a cluster's machine API come from: its talosconfig, else its bundle.

use capi_bootstrap_talos::secrets::SecretsBundle;
use capi_core::provider::{Progress, ProviderError};
use secrecy::SecretString;

use super::Cx;
use crate::client::{Credentials, Role};

/// Name and namespace of a cluster.
pub(super) fn cluster(cx: &Cx) -> (&str, &str) {
    let metadata = &cx.cluster.metadata;
    (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// A key of a Secret of the cluster, as text.
pub(super) async fn secret_text(
    cx: &Cx,
    name: &str,
    key: &str,
) -> Result<Option<SecretString>, ProviderError> {
    let (namespace, _) = cluster(cx);
    let Some(secret) = cx.context.secrets().get(namespace, name).await? else {
        return Ok(None);
    };
    let Some(bytes) = secret.expose(key) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(bytes).map_err(|_| {
        ProviderError::invalid(
            "InvalidSecret",
            format!("Secret {namespace}/{name}: {key} is not UTF-8"),
        )
    })?;
    Ok(Some(SecretString::from(text)))
}

/// The cluster's secrets bundle, if it is there.
pub(super) async fn bundle(cx: &Cx) -> Result<Option<SecretsBundle>, ProviderError> {
    use secrecy::ExposeSecret as _;
    let (namespace, cluster) = cluster(cx);
    let name = format!("{cluster}-talos");
    let Some(text) = secret_text(cx, &name, "bundle").await? else {
        return Ok(None);
    };
    SecretsBundle::from_yaml(text.expose_secret())
        .map(Some)
        .map_err(|error| {
            ProviderError::invalid(
                "InvalidSecret",
                format!("Secret {namespace}/{name} holds no usable secrets bundle"),
            )
            .with_source(error)
        })
}

/// Credentials of an admin, with a text that changes whenever they do.
pub(super) async fn credentials(
    cx: &Cx,
) -> Result<Progress<(Credentials, SecretString)>, ProviderError> {
    let (namespace, cluster) = cluster(cx);
    let name = format!("{cluster}-talosconfig");
    if let Some(talosconfig) = secret_text(cx, &name, "talosconfig").await? {
        let credentials = Credentials::from_talosconfig(&talosconfig).map_err(|error| {
            ProviderError::invalid(
                "InvalidSecret",
                format!("Secret {namespace}/{name} cannot be used"),
            )
            .with_source(error)
        })?;
        if credentials.is_valid_at(cx.context.now()) {
            return Ok(Progress::Ready((credentials, talosconfig)));
        }
    }
    let Some(bundle) = bundle(cx).await? else {
        return Ok(Progress::waiting(
            format!("Secret {namespace}/{cluster}-talos"),
            "WaitingForSecrets",
            format!(
                "Waiting for the secrets bundle {namespace}/{cluster}-talos or the client configuration {namespace}/{name}"
            ),
        ));
    };
    let failed = |error| {
        ProviderError::invalid(
            "InvalidSecret",
            format!(
                "the OS certificate authority in Secret {namespace}/{cluster}-talos cannot sign"
            ),
        )
        .with_source(error)
    };
    let authority = bundle.certificates.talos.authority().map_err(failed)?;
    let credentials =
        Credentials::issue(&authority, Role::Admin, cx.context.clock()).map_err(failed)?;
    // good for a year; the bundle's authority is what they depend on
    Ok(Progress::Ready((
        credentials,
        SecretString::from(bundle.certificates.talos.certificate),
    )))
}
