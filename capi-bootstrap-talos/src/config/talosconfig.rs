//! The client configuration of the Talos API: what `talosctl` reads.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capi_core::pki::{Certificate, IssuedCertificate, PrivateKey};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use super::ConfigError;
use super::yaml::{self, Mapping, Node};

/// A client configuration with one context.
#[derive(Clone)]
pub struct Talosconfig {
    /// Name of the context: the cluster's.
    pub context: String,
    /// Addresses of control plane machines.
    pub endpoints: Vec<String>,
    /// PEM of the Talos API's authority.
    pub certificate_authority: String,
    /// The client's certificate and key.
    pub client: IssuedCertificate,
}

impl fmt::Debug for Talosconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Talosconfig")
            .field("context", &self.context)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Talosconfig {
    /// The text.
    pub fn to_yaml(&self) -> SecretString {
        let key = self.client.key.to_pem();
        let key = Zeroizing::new(STANDARD.encode(key.expose_secret()));
        let mut context = Mapping::default();
        context.set("endpoints", Node::strings(&self.endpoints));
        context.set(
            "ca",
            Node::string(STANDARD.encode(&self.certificate_authority)),
        );
        context.set(
            "crt",
            Node::string(STANDARD.encode(self.client.certificate.to_pem())),
        );
        context.set("key", Node::string(key.as_str()));
        let mut contexts = Mapping::default();
        contexts.set(self.context.as_str(), Node::Mapping(context));
        let mut root = Mapping::default();
        root.set("context", Node::string(self.context.as_str()));
        root.set("contexts", Node::Mapping(contexts));
        SecretString::from(yaml::write([&Node::Mapping(root)]))
    }

    /// Reads the current context of a text; an old `target` is an endpoint.
    ///
    /// # Errors
    /// [`ConfigError`] where the text is not a client configuration with certificates; never
    /// shows a value.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let invalid = |what: &str| ConfigError::Invalid(format!("the talosconfig {what}"));
        let document = yaml::parse(text)?
            .into_iter()
            .next()
            .ok_or_else(|| invalid("is empty"))?;
        let name = document.node.at(&["context"]).and_then(Node::as_str);
        let name = name.ok_or_else(|| invalid("names no context"))?;
        let context = document.node.at(&["contexts", name]);
        let context = context.ok_or_else(|| invalid("does not have its current context"))?;
        let pem = |key: &str| {
            let encoded = context.at(&[key]).and_then(Node::as_str)?;
            let bytes = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
            Some(Zeroizing::new(std::str::from_utf8(&bytes).ok()?.to_owned()))
        };
        let texts = |node: &Node| -> Vec<String> {
            node.as_sequence()
                .map(|items| {
                    items
                        .iter()
                        .filter_map(Node::as_str)
                        .map(str::to_owned)
                        .collect()
                })
                .unwrap_or_default()
        };
        let mut endpoints = context.at(&["endpoints"]).map(texts).unwrap_or_default();
        if let Some(target) = context.at(&["target"]).and_then(Node::as_str) {
            endpoints.push(target.to_owned());
        }
        let missing = || invalid("has no usable ca, crt and key");
        let certificate = pem("crt").ok_or_else(missing)?;
        let key = pem("key").ok_or_else(missing)?;
        Ok(Self {
            context: name.to_owned(),
            endpoints,
            certificate_authority: pem("ca").ok_or_else(missing)?.as_str().to_owned(),
            client: IssuedCertificate {
                certificate: Certificate::from_pem(&certificate).map_err(|_| missing())?,
                key: PrivateKey::from_pem(&key).map_err(|_| missing())?,
            },
        })
    }
}
