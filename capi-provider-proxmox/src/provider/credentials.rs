//! Where a cluster's datacenter is, and how to get in.

use std::fmt;
use std::sync::Arc;

use capi_core::clock::Clock;
use capi_core::provider::NamedSecret;
use secrecy::{ExposeSecret, SecretString};

use crate::client::{ApiToken, Client, Error, TlsTrust};

/// URL, token and trust of a datacenter, as a credentials Secret holds them.
#[derive(Clone)]
pub struct Credentials {
    /// URLs of nodes, such as `https://pve1:8006`; the next one is asked when one does not answer.
    pub urls: Vec<String>,
    /// Name of the API token, `user@realm!name`.
    pub token: String,
    /// Secret of the API token.
    pub secret: SecretString,
    /// Whose certificate is believed.
    pub trust: TlsTrust,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("urls", &self.urls)
            .field("token", &self.token)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

/// A credentials Secret that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Secret {secret}, key {key}: {reason}")]
pub struct InvalidCredentials {
    secret: String,
    key: &'static str,
    reason: String,
}

impl Credentials {
    /// Reads a Secret as CAPMOX knows it: `url`, `token`, `secret`, `insecure` (anything is believed when it is absent
    /// or true), `root_ca` (PEM); and `fingerprint` (SHA-256 of the certificate; several apart by commas), which only
    /// this provider knows and which wins over both. `url` may name several nodes, apart by commas.
    ///
    /// # Errors
    /// [`InvalidCredentials`] names the key that is missing or wrong.
    pub fn from_secret(secret: &NamedSecret) -> Result<Self, InvalidCredentials> {
        let invalid = |key, reason: &str| InvalidCredentials {
            secret: secret.name.clone(),
            key,
            reason: reason.to_owned(),
        };
        let text = |key: &'static str| -> Result<Option<String>, InvalidCredentials> {
            let Some(bytes) = secret.expose(key) else {
                return Ok(None);
            };
            let text = std::str::from_utf8(bytes)
                .map_err(|_| invalid(key, "it is no text"))?
                .trim();
            Ok((!text.is_empty()).then(|| text.to_owned()))
        };
        let required = |key| text(key)?.ok_or_else(|| invalid(key, "it is missing or empty"));
        let urls = required("url")?
            .split(',')
            .map(|url| url.trim().to_owned())
            .filter(|url| !url.is_empty())
            .collect();
        let insecure = match text("insecure")? {
            None => true,
            Some(text) => matches!(
                text.to_lowercase().as_str(),
                "1" | "on" | "true" | "yes" | "y"
            ),
        };
        let trust = if let Some(fingerprints) = text("fingerprint")? {
            let parsed = fingerprints
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>();
            TlsTrust::Fingerprints(
                parsed.map_err(|error| invalid("fingerprint", &format!("{error}")))?,
            )
        } else if let Some(pem) = text("root_ca")? {
            TlsTrust::Authorities(pem.into_bytes())
        } else if insecure {
            TlsTrust::danger_accept_any()
        } else {
            return Err(invalid(
                "insecure",
                "it is not true, so give root_ca or fingerprint to check the server's certificate by",
            ));
        };
        Ok(Self {
            urls,
            token: required("token")?,
            secret: required("secret")?.into(),
            trust,
        })
    }

    /// Whether both lead to the same place in the same way.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.urls == other.urls
            && self.token == other.token
            && self.trust == other.trust
            && self.secret.expose_secret() == other.secret.expose_secret()
    }

    /// A client over HTTPS.
    ///
    /// # Errors
    /// [`Error::Configuration`].
    pub fn client(&self, clock: Clock) -> Result<Client, Error> {
        let (first, others) = self
            .urls
            .split_first()
            .ok_or_else(|| Error::Configuration("no URL of a Proxmox VE node is given".into()))?;
        let builder = Client::builder(
            first,
            ApiToken::new(&self.token, self.secret.clone())?,
            clock,
        )
        .trust(self.trust.clone());
        others
            .iter()
            .fold(builder, |builder, url| builder.endpoint(url))
            .build()
    }
}

/// Makes clients from credentials. The default is [`Credentials::client`]; a simulation gives one without sockets.
pub type Connector = Arc<dyn Fn(&Credentials, Clock) -> Result<Client, Error> + Send + Sync>;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(entries: &[(&str, &str)]) -> Result<Credentials, InvalidCredentials> {
        let base = [
            ("url", "https://pve1:8006/, https://pve2:8006"),
            ("token", "a@b!c"),
            ("secret", "s3cr3t"),
        ];
        let data = base
            .iter()
            .chain(entries)
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec().into()));
        Credentials::from_secret(&NamedSecret {
            name: "creds".into(),
            labels: BTreeMap::new(),
            data: data.collect(),
        })
    }

    #[test]
    fn insecure_means_what_it_means_to_the_go_provider_and_a_fingerprint_wins() {
        assert_eq!(read(&[]).unwrap().trust, TlsTrust::DangerAny);
        for value in ["1", "on", "true", "YES", "y"] {
            assert_eq!(
                read(&[("insecure", value)]).unwrap().trust,
                TlsTrust::DangerAny,
                "{value}"
            );
        }
        for value in ["false", "0", "no", "maybe"] {
            let error = read(&[("insecure", value)]).unwrap_err().to_string();
            assert!(
                error.contains("Secret creds, key insecure")
                    && error.contains("root_ca or fingerprint"),
                "{error}"
            );
            assert!(matches!(
                read(&[("insecure", value), ("root_ca", "PEM")])
                    .unwrap()
                    .trust,
                TlsTrust::Authorities(_)
            ));
        }
        let fingerprint = crate::client::Fingerprint::of(b"x").to_string();
        let pinned = read(&[("fingerprint", &fingerprint), ("root_ca", "PEM")]).unwrap();
        assert!(matches!(&pinned.trust, TlsTrust::Fingerprints(list) if list.len() == 1));
        assert_eq!(pinned.urls, ["https://pve1:8006/", "https://pve2:8006"]);
        assert!(
            read(&[("fingerprint", "zz")])
                .unwrap_err()
                .to_string()
                .contains("key fingerprint")
        );
        assert!(!format!("{pinned:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_missing_key_is_named() {
        for key in ["url", "token", "secret"] {
            assert_eq!(
                read(&[(key, " ")]).unwrap_err().to_string(),
                format!("Secret creds, key {key}: it is missing or empty")
            );
        }
    }
}
