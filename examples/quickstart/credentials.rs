//! The Secret with the datacenter's credentials: somebody else's, which is never changed, or one that
//! this command supplied, which is renewed.

use capi_examples::objects::{self, Address};
use kube::Client;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{datacenter::Access, directory::Error, manifest::Manifest, steps::decoded};

/// Marks a Secret that this command made, with the datacenter that it was made for.
const SUPPLIED_FOR: &str = "quickstart.capi.rs/supplied-for";

/// Any simulated datacenter: none outlives its process.
const SIMULATED: &str = "simulated-datacenter";

/// What is there of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing: it is supplied once it is missed.
    Nothing,
    /// What an earlier run supplied, for a datacenter that is no more, or with another token.
    Outdated,
    /// It is as it should be.
    Usable,
}

/// The Secret that the ProxmoxCluster names.
pub(crate) struct Credentials {
    /// Namespace and name.
    pub(crate) shown: String,
    /// Its name.
    pub(crate) name: String,
    /// What is there.
    pub(crate) found: Found,
    wanted: Value,
}

impl Credentials {
    /// Looks for it. `None` when the manifest names none.
    ///
    /// # Errors
    /// When somebody else made it and it names another datacenter: what to do then.
    pub(crate) async fn look(
        client: &Client,
        manifest: &Manifest,
        access: &Access,
        simulated: bool,
    ) -> Result<Option<Self>, Error> {
        let Some((namespace, name)) = manifest.credentials() else {
            return Ok(None);
        };
        let url = access.credential("url");
        let mark = if simulated { SIMULATED } else { url };
        let wanted = secret(&namespace, &name, mark, &access.credentials);
        let address = Address::of(&wanted)?;
        let shown = format!("{namespace}/{name}");
        let found = match objects::get(client, &address.path).await? {
            None => Found::Nothing,
            Some(there) if there["metadata"]["annotations"][SUPPLIED_FOR] == mark => {
                let same = |(key, value): &(String, String)| text(&there, key) == *value;
                if access.credentials.iter().all(same) {
                    Found::Usable
                } else {
                    Found::Outdated
                }
            }
            Some(there) if text(&there, "url") == url => Found::Usable,
            Some(there) => {
                let other = text(&there, "url");
                let (own, otherwise) = if simulated {
                    (
                        "the simulated one",
                        "; to work on that datacenter, give its --proxmox-url and --proxmox-token",
                    )
                } else {
                    ("that of --proxmox-url", "")
                };
                return Err(format!(
                    "Secret {shown} is on the API server already and names the datacenter {other:?}, not {own} at \
                     {url}. It is not of this command's making and stays as it is: delete it (kubectl delete \
                     secret {name} --namespace {namespace}), or name another one in ProxmoxCluster \
                     spec.credentialsRef{otherwise}"
                )
                .into());
            }
        };
        Ok(Some(Self {
            shown,
            name,
            found,
            wanted,
        }))
    }

    /// Makes or renews it.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub(crate) async fn supply(&self, client: &Client) -> Result<(), Error> {
        objects::apply(client, &self.wanted, false).await?;
        Ok(())
    }
}

/// The documents without the credentials of a real datacenter where a simulated one takes its place:
/// nobody may call there. With the name of what was left out.
pub(crate) fn without_real_ones(
    documents: Vec<Value>,
    manifest: &Manifest,
) -> (Vec<Value>, Option<String>) {
    let Some((namespace, name)) = manifest.credentials() else {
        return (documents, None);
    };
    let count = documents.len();
    let is_it = |document: &Value| {
        let metadata = &document["metadata"];
        document["kind"] == "Secret"
            && metadata["name"] == name.as_str()
            && metadata["namespace"] == namespace.as_str()
    };
    let kept: Vec<Value> = documents
        .into_iter()
        .filter(|document| !is_it(document))
        .collect();
    let left_out = (kept.len() < count).then(|| format!("{namespace}/{name}"));
    (kept, left_out)
}

/// A key of a Secret, as text.
fn text(secret: &Value, key: &str) -> String {
    decoded(&secret["data"][key])
        .map(|value| String::from_utf8_lossy(value.expose_secret()).into_owned())
        .unwrap_or_default()
}

fn secret(namespace: &str, name: &str, mark: &str, data: &[(String, String)]) -> Value {
    let data: serde_json::Map<String, Value> = data
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "annotations": { SUPPLIED_FOR: mark },
        },
        "stringData": data,
    })
}
