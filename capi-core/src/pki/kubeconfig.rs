//! Kubeconfigs: rendering the one of a cluster, and reading when the credentials of any expire.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{Certificate, IssuedCertificate, PkiError};

/// Who a kubeconfig authenticates as.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KubeconfigCredentials {
    /// A client certificate.
    Certificate(IssuedCertificate),
    /// A bearer token.
    Token(SecretString),
}

/// A kubeconfig of one cluster, one user and one context.
#[derive(Clone)]
pub struct Kubeconfig {
    /// Name of the cluster entry.
    pub cluster: String,
    /// URL of the API server.
    pub server: String,
    /// PEM of the authority that the API server's certificate is checked against.
    pub certificate_authority: String,
    /// Name of the user entry.
    pub user: String,
    /// Name of the context, which is also the current one.
    pub context: String,
    /// The user's credentials.
    pub credentials: KubeconfigCredentials,
}

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubeconfig")
            .field("cluster", &self.cluster)
            .field("server", &self.server)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl Kubeconfig {
    /// The kubeconfig that Cluster API keeps in the secret `<cluster>-kubeconfig`: user
    /// `<cluster>-admin`, context `<cluster>-admin@<cluster>` (util/kubeconfig in upstream).
    pub fn admin(
        cluster: &str,
        server: &str,
        certificate_authority: &str,
        credentials: KubeconfigCredentials,
    ) -> Self {
        Self {
            cluster: cluster.to_owned(),
            server: server.to_owned(),
            certificate_authority: certificate_authority.to_owned(),
            user: format!("{cluster}-admin"),
            context: format!("{cluster}-admin@{cluster}"),
            credentials,
        }
    }

    /// The text: YAML with every string quoted, which kubectl, client-go and kube read.
    pub fn render(&self) -> SecretString {
        let credentials = match &self.credentials {
            KubeconfigCredentials::Certificate(issued) => format!(
                "    client-certificate-data: {}\n    client-key-data: {}\n",
                STANDARD.encode(issued.certificate.to_pem()),
                STANDARD.encode(issued.key.to_pem().expose_secret()),
            ),
            KubeconfigCredentials::Token(token) => {
                format!("    token: {}\n", json!(token.expose_secret()))
            }
        };
        // a JSON string is a YAML string
        SecretString::from(format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {cluster}\n  cluster:\n    \
             certificate-authority-data: {authority}\n    server: {server}\n\
             contexts:\n- name: {context}\n  context:\n    cluster: {cluster}\n    user: {user}\n\
             current-context: {context}\npreferences: {{}}\n\
             users:\n- name: {user}\n  user:\n{credentials}",
            cluster = json!(self.cluster),
            authority = STANDARD.encode(&self.certificate_authority),
            server = json!(self.server),
            context = json!(self.context),
            user = json!(self.user),
        ))
    }

    /// The client certificates that a kubeconfig's text embeds, of every user of it; users
    /// with tokens, files or plugins have none.
    ///
    /// # Errors
    /// [`PkiError::Malformed`] where the text is not a kubeconfig or a certificate is not one.
    pub fn client_certificates(text: &str) -> Result<Vec<Certificate>, PkiError> {
        // the parser's message can quote the text, which holds keys
        let parsed: Parsed = serde_saphyr::from_str(text)
            .map_err(|_| PkiError::Malformed("the text is not a kubeconfig".to_owned()))?;
        parsed
            .users
            .into_iter()
            .filter_map(|entry| entry.user?.client_certificate_data)
            .map(|data| {
                let pem = STANDARD
                    .decode(data.trim())
                    .ok()
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or_else(|| {
                        PkiError::Malformed(
                            "client-certificate-data is not base64 of PEM".to_owned(),
                        )
                    })?;
                Certificate::from_pem(&pem)
            })
            .collect()
    }

    /// The URL of the first cluster that a kubeconfig's text names; Cluster API keeps it when
    /// it renews credentials.
    ///
    /// # Errors
    /// [`PkiError::Malformed`] where the text is not a kubeconfig.
    pub fn server_of(text: &str) -> Result<Option<String>, PkiError> {
        let parsed: Parsed = serde_saphyr::from_str(text)
            .map_err(|_| PkiError::Malformed("the text is not a kubeconfig".to_owned()))?;
        Ok(parsed
            .clusters
            .into_iter()
            .find_map(|entry| entry.cluster?.server))
    }

    /// When the first of the embedded client certificates expires; `None` where none is
    /// embedded.
    ///
    /// # Errors
    /// As [`client_certificates`](Self::client_certificates).
    pub fn expiry(text: &str) -> Result<Option<Timestamp>, PkiError> {
        Ok(Self::client_certificates(text)?
            .iter()
            .map(Certificate::not_after)
            .min())
    }
}

#[derive(Deserialize)]
struct Parsed {
    #[serde(default)]
    clusters: Vec<ClusterEntry>,
    #[serde(default)]
    users: Vec<UserEntry>,
}

#[derive(Deserialize)]
struct ClusterEntry {
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    server: Option<String>,
}

#[derive(Deserialize)]
struct UserEntry {
    user: Option<User>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
}
