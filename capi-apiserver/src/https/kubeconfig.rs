//! Kubeconfigs for a server's address and a client's identity.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};

use super::Identity;

/// How a client proves who it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// A client certificate.
    Certificate(Identity),
    /// A bearer token.
    Token(SecretString),
}

/// A kubeconfig with one cluster, one user and one context of the given name. `server` is a URL.
#[must_use]
pub fn kubeconfig(
    name: &str,
    server: &str,
    authority: &str,
    credentials: &Credentials,
) -> SecretString {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let user = match credentials {
        Credentials::Certificate(identity) => format!(
            "    client-certificate-data: {}\n    client-key-data: {}\n",
            STANDARD.encode(&identity.certificate),
            STANDARD.encode(identity.key.expose_secret())
        ),
        Credentials::Token(token) => format!("    token: {}\n", quoted(token.expose_secret())),
    };
    let (name, server) = (quoted(name), quoted(server));
    let authority = STANDARD.encode(authority);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: {server}\n    certificate-authority-data: {authority}\nusers:\n- name: {name}\n  user:\n{user}contexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}\ncurrent-context: {name}\n"
    )
    .into()
}
