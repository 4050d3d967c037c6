//! The kubeconfig secret of a cluster that has no control plane object, made from its CA.

use std::sync::Arc;

use crate::runtime::{Error, Object, Runtime};

/// Makes `<cluster>-kubeconfig` from the CA in `<cluster>-ca`. That it exists already is success.
///
/// # Errors
/// A CA that cannot be read, what the API server says, or a build without the feature `pki`.
#[cfg(feature = "pki")]
pub(crate) async fn create(
    runtime: &Runtime,
    cluster: &Arc<Object>,
    server: &str,
) -> Result<(), Error> {
    use std::collections::BTreeMap;

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use secrecy::{ExposeSecret as _, SecretString};
    use serde_json::json;

    use crate::{
        api::{CLUSTER, finalizers::SECRET_TYPE, labels},
        pki::{
            CertificateAuthority, Kubeconfig, KubeconfigCredentials, LeafRequest, PkiError, Subject,
        },
        runtime::secrets,
    };

    #[derive(serde::Deserialize)]
    struct Shape<'a> {
        #[serde(borrow)]
        data: BTreeMap<&'a str, &'a str>,
    }
    let name = cluster.name();
    let key = cluster.key().sibling(&format!("{name}-ca"));
    let missing = |what: &str| Error::Missing(format!("Secret {key}: {what}"));
    let secret = runtime.cache().get(&secrets(), &key).await?;
    let secret = secret.ok_or_else(|| missing("does not exist"))?;
    let shape: Shape<'_> =
        serde_json::from_slice(secret.bytes()).map_err(|_| missing("has no data"))?;
    let pem = |entry: &str| -> Result<SecretString, Error> {
        let encoded = shape
            .data
            .get(entry)
            .ok_or_else(|| missing("lacks tls.crt or tls.key"))?;
        let bytes = STANDARD.decode(encoded).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(SecretString::from)
            .ok_or_else(|| missing("holds no PEM"))
    };
    let unusable = |error: PkiError| missing(&error.to_string());
    let (certificate, private) = (pem("tls.crt")?, pem("tls.key")?);
    let authority =
        CertificateAuthority::from_pem(certificate.expose_secret(), private.expose_secret())
            .map_err(unusable)?;
    let subject = Subject::new("kubernetes-admin", ["system:masters"]);
    let request = LeafRequest::client(subject, runtime.clock().now());
    let issued = authority.issue(&request).map_err(unusable)?;
    let credentials = KubeconfigCredentials::Certificate(issued);
    let kubeconfig =
        Kubeconfig::admin(name, server, certificate.expose_secret(), credentials).render();
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("{name}-kubeconfig"),
            "namespace": &*cluster.key().namespace,
            "labels": { labels::CLUSTER_NAME: name },
            "ownerReferences": [{
                "apiVersion": CLUSTER.api_version(),
                "kind": CLUSTER.kind,
                "name": name,
                "uid": cluster.uid(),
            }],
        },
        "type": SECRET_TYPE,
        "data": { "value": STANDARD.encode(kubeconfig.expose_secret()) },
    });
    let written = runtime
        .writer()
        .create(&secrets(), &cluster.key().namespace, &object)
        .await;
    match written {
        Err(error) if error.is_already_exists() => Ok(()),
        other => other.map(drop),
    }
}

/// Without the feature `pki` there is nothing to make it with.
#[cfg(not(feature = "pki"))]
pub(crate) async fn create(
    _runtime: &Runtime,
    cluster: &Arc<Object>,
    _server: &str,
) -> Result<(), Error> {
    Err(Error::Missing(format!(
        "Cluster {} has no control plane object, so its kubeconfig must be made here; build with \
         the feature pki, or create Secret {}-kubeconfig",
        cluster.key(),
        cluster.name()
    )))
}
