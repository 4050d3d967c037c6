//! The provider: what the SDK calls for each TalosConfig.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use capi_core::api::MachineAddressType;
use capi_core::pki::{KeyAlgorithm, PrivateKey};
use capi_core::provider::{
    Bootstrap, BootstrapContext, BootstrapData, BootstrapRole, NamedSecret, Progress,
    ProviderError, StatusFields,
};
use capi_core::ready;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{recipe, secrets};
use crate::api::{GenerateType, TalosConfig};
use crate::config::{Contract, MachineConfig};
use crate::secrets::{PemPair, SecretsBundle};

/// Annotation that names the template an object was cloned from.
const CLONED_FROM: &str = "cluster.x-k8s.io/cloned-from-name";
/// Finalizer of the Go provider's first versions.
const OLD_FINALIZER: &str = "talosconfig.bootstrap.cluster.x-k8s.io";

/// The bootstrap provider for Talos Linux.
///
/// Its secrets are those of the Go provider, so that either can go on where the other stopped.
#[derive(Default)]
pub struct TalosBootstrap {
    service_account_key: Option<PrivateKey>,
    /// The last bundle that was made, until its secret is seen: by UID of the cluster.
    made: Mutex<Option<(String, SecretsBundle)>>,
    /// Bundles that were read: to check the keys of one costs milliseconds, and every machine
    /// of a cluster has the same.
    read: ReadBundles,
}

impl fmt::Debug for TalosBootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TalosBootstrap").finish_non_exhaustive()
    }
}

impl TalosBootstrap {
    /// A provider that makes a service account key for each cluster: RSA of 4096 bits, seconds
    /// of a core, on tokio's threads for blocking work.
    pub fn new() -> Self {
        Self::default()
    }

    /// A provider that gives all clusters this service account key: for simulations and tests,
    /// which need not wait for RSA.
    pub fn with_service_account_key(key: PrivateKey) -> Self {
        Self {
            service_account_key: Some(key),
            ..Self::default()
        }
    }

    /// The bundle of the cluster: read, or made and written; whoever writes first wins.
    async fn bundle(
        &self,
        cx: &BootstrapContext<TalosConfig>,
        contract: Contract,
    ) -> Result<Arc<SecretsBundle>, ProviderError> {
        let namespace = namespace(cx);
        let name = secrets::bundle_name(cluster_name(cx));
        let ports = cx.context.secrets();
        let read = |secret| self.read.read(namespace, &secret);
        if let Some(secret) = ports.get(namespace, &name).await? {
            return read(secret);
        }
        let mut made = self.made.lock().await;
        if let Some(secret) = ports.get(namespace, &name).await? {
            return read(secret);
        }
        let uid = cx.cluster.metadata.uid.clone().unwrap_or_default();
        let bundle = match made.take().filter(|(of, _)| *of == uid) {
            Some((_, bundle)) => bundle,
            None => self.make(cx, contract).await?,
        };
        *made = Some((uid, bundle.clone()));
        read(
            ports
                .create(secrets::bundle_request(cluster_name(cx), &bundle))
                .await?,
        )
    }

    async fn make(
        &self,
        cx: &BootstrapContext<TalosConfig>,
        contract: Contract,
    ) -> Result<SecretsBundle, ProviderError> {
        let now = cx.context.now();
        let failed = |error: &dyn std::error::Error| {
            ProviderError::transient("SecretsGenerationFailed", error.to_string())
        };
        let made = match &self.service_account_key {
            Some(key) => SecretsBundle::generate_with(contract, now, key),
            None if !contract.uses_rsa_service_account_key() => {
                let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)
                    .map_err(|error| failed(&error))?;
                SecretsBundle::generate_with(contract, now, &key)
            }
            None => tokio::task::spawn_blocking(move || SecretsBundle::generate(contract, now))
                .await
                .map_err(|error| failed(&error))?,
        };
        let mut bundle = made.map_err(|error| failed(&error))?;
        // the user may bring the Kubernetes authority
        let name = secrets::authority_name(cluster_name(cx));
        if let Some(secret) = cx.context.secrets().get(namespace(cx), &name).await? {
            let authority = secrets::read_authority(&secret)
                .map_err(|error| secrets::unusable(&name, &error))?;
            bundle.certificates.kubernetes = PemPair::from(&authority);
        }
        Ok(bundle)
    }

    /// The secrets that follow from the bundle, or from a whole configuration: the Kubernetes
    /// authority, and on control plane machines the client configuration.
    async fn derived(
        &self,
        cx: &BootstrapContext<TalosConfig>,
        kubernetes: Option<&PemPair>,
        talos: Option<&PemPair>,
    ) -> Result<(), ProviderError> {
        let cluster = cluster_name(cx);
        let ports = cx.context.secrets();
        if let Some(kubernetes) = kubernetes {
            let name = secrets::authority_name(cluster);
            let stored = match ports.get(namespace(cx), &name).await? {
                Some(stored) => stored,
                None => {
                    ports
                        .create(secrets::authority_request(cluster, kubernetes))
                        .await?
                }
            };
            if stored.expose("tls.crt") != Some(kubernetes.certificate.as_bytes()) {
                return Err(ProviderError::refused(
                    "AuthorityConflict",
                    format!(
                        "Secret {name} is another Kubernetes authority than that of {}: nodes and \
                         kubeconfig would not trust each other; delete one of the two",
                        secrets::bundle_name(cluster)
                    ),
                ));
            }
        }
        let Some(talos) = talos else {
            return Ok(());
        };
        let name = secrets::talosconfig_name(cluster);
        let stored = ports.get(namespace(cx), &name).await?;
        let wanted = secrets::talosconfig(
            cluster,
            endpoints(cx),
            talos,
            stored.as_ref(),
            cx.context.now(),
        )
        .map_err(|error| secrets::unusable(&secrets::bundle_name(cluster), &error))?;
        ports.put(secrets::talosconfig_request(&wanted)).await
    }

    /// As [`derived`](Self::derived), of a configuration that the user brings.
    async fn derived_of_config(
        &self,
        cx: &BootstrapContext<TalosConfig>,
        config: &MachineConfig,
    ) -> Result<bool, ProviderError> {
        let pair = |certificate: Option<String>, key| {
            Some(PemPair {
                certificate: certificate?,
                key: key?,
            })
        };
        let kubernetes = pair(config.kubernetes_ca(), config.kubernetes_ca_key());
        let talos = pair(config.talos_ca(), config.talos_ca_key());
        self.derived(cx, kubernetes.as_ref(), talos.as_ref())
            .await?;
        Ok(talos.is_some())
    }
}

/// Bundles by namespace and name of their secrets, with the bytes that they were read from.
#[derive(Default)]
struct ReadBundles(std::sync::Mutex<BTreeMap<(String, String), ReadBundle>>);

struct ReadBundle {
    bytes: SecretSlice<u8>,
    bundle: Arc<SecretsBundle>,
}

impl ReadBundles {
    /// How many clusters are kept.
    const MOST: usize = 256;

    fn read(
        &self,
        namespace: &str,
        secret: &NamedSecret,
    ) -> Result<Arc<SecretsBundle>, ProviderError> {
        let bytes = secret.expose("bundle");
        let key = (namespace.to_owned(), secret.name.clone());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = known
            .get(&key)
            .filter(|read| bytes == Some(read.bytes.expose_secret()))
        {
            return Ok(Arc::clone(&read.bundle));
        }
        let bundle = secrets::read_bundle(secret)
            .map_err(|error| secrets::unusable(&secret.name, &error))?;
        let bundle = Arc::new(bundle);
        if known.len() >= Self::MOST {
            known.clear();
        }
        if let Some(bytes) = bytes {
            let read = ReadBundle {
                bytes: SecretSlice::from(bytes.to_vec()),
                bundle: Arc::clone(&bundle),
            };
            known.insert(key, read);
        }
        Ok(bundle)
    }
}

#[async_trait]
impl Bootstrap for TalosBootstrap {
    type Config = TalosConfig;

    /// Talos nodes try to join until they can: workers boot while the control plane comes up.
    fn workers_wait_for_control_plane(&self) -> bool {
        false
    }

    fn foreign_finalizers(&self) -> &[&'static str] {
        &[OLD_FINALIZER]
    }

    /// `<machine>-bootstrap-data`, as the Go provider has it.
    fn secret_name(&self, cx: &BootstrapContext<TalosConfig>) -> String {
        format!(
            "{}-bootstrap-data",
            cx.machine.metadata.name.as_deref().unwrap_or_default()
        )
    }

    async fn generate(
        &self,
        cx: &BootstrapContext<TalosConfig>,
    ) -> Result<Progress<BootstrapData>, ProviderError> {
        let hints = hints(cx);
        let facts = ready!(facts(cx, &hints));
        let spec = &cx.config.spec;
        let machine_type =
            recipe::machine_type(&spec.generate_type).map_err(|error| invalid(&error))?;
        let bundle = match machine_type {
            Some(_) => {
                let choice = recipe::contract(spec, &facts).map_err(|error| invalid(&error))?;
                Some(self.bundle(cx, choice.contract).await?)
            }
            None => None,
        };
        let generated =
            recipe::generate(spec, &facts, bundle.as_deref()).map_err(|error| invalid(&error))?;
        let client = match (&bundle, machine_type) {
            (Some(bundle), Some(machine_type)) => {
                let certificates = &bundle.certificates;
                let talos = machine_type
                    .is_control_plane()
                    .then_some(&certificates.talos);
                self.derived(cx, Some(&certificates.kubernetes), talos)
                    .await?;
                talos.is_some()
            }
            _ => self.derived_of_config(cx, &generated.config).await?,
        };
        let mut message: Vec<String> = generated
            .choice
            .iter()
            .map(|choice| choice.reason.clone())
            .collect();
        message.extend(
            generated
                .warnings
                .iter()
                .map(|warning| format!("warning: {warning}")),
        );
        let now = cx.context.now();
        let mut conditions = vec![condition("DataSecretAvailable", &message.join("; "), now)];
        if client {
            conditions.push(condition("ClientConfigAvailable", "", now));
        }
        let mut status = StatusFields::new();
        status.insert("conditions".to_owned(), Value::Array(conditions));
        Ok(Progress::Ready(BootstrapData {
            value: SecretSlice::from(generated.data.expose_secret().as_bytes().to_vec()),
            format: None,
            status,
        }))
    }

    /// Keeps the client configuration and the Kubernetes authority current; they come back
    /// where they were deleted.
    async fn refresh(
        &self,
        cx: &BootstrapContext<TalosConfig>,
    ) -> Result<Progress<()>, ProviderError> {
        if cx.role != BootstrapRole::ControlPlane {
            return Ok(Progress::Ready(()));
        }
        if cx.config.spec.generate_type == GenerateType::None {
            let data = cx.config.spec.data.as_deref().unwrap_or_default();
            if let Ok(config) = MachineConfig::load(data) {
                self.derived_of_config(cx, &config).await?;
            }
            return Ok(Progress::Ready(()));
        }
        let name = secrets::bundle_name(cluster_name(cx));
        let Some(secret) = cx.context.secrets().get(namespace(cx), &name).await? else {
            return Ok(Progress::waiting(
                format!("Secret {}/{name}", namespace(cx)),
                "SecretsBundleMissing",
                format!(
                    "Secret {name} was deleted: restore it; without it no machine can be added"
                ),
            ));
        };
        let bundle = self.read.read(namespace(cx), &secret)?;
        let certificates = &bundle.certificates;
        self.derived(
            cx,
            Some(&certificates.kubernetes),
            Some(&certificates.talos),
        )
        .await?;
        Ok(Progress::Ready(()))
    }
}

fn condition(type_: &str, message: &str, now: Timestamp) -> Value {
    json!({
        "type": type_,
        "status": "True",
        "reason": "Available",
        "message": message,
        "lastTransitionTime": now.to_string(),
    })
}

fn invalid(error: &recipe::RecipeError) -> ProviderError {
    ProviderError::invalid(
        "DataSecretGenerationFailed",
        format!("Data secret generation failed: {error}"),
    )
}

fn cluster_name(cx: &BootstrapContext<TalosConfig>) -> &str {
    cx.cluster.metadata.name.as_deref().unwrap_or_default()
}

fn namespace(cx: &BootstrapContext<TalosConfig>) -> &str {
    cx.config.metadata.namespace.as_deref().unwrap_or_default()
}

/// Addresses of the control plane machines: sorted, each once.
fn endpoints(cx: &BootstrapContext<TalosConfig>) -> Vec<String> {
    let mut addresses: Vec<String> = cx
        .control_plane_machines
        .iter()
        .flat_map(|machine| &machine.status.addresses)
        .filter(|address| {
            matches!(
                address.type_,
                MachineAddressType::ExternalIp | MachineAddressType::InternalIp
            )
        })
        .map(|address| address.address.clone())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Texts of the infrastructure machine that may name a version of Talos: its template, and
/// what its spec says of images and templates.
fn hints(cx: &BootstrapContext<TalosConfig>) -> Vec<String> {
    fn texts(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::String(text) if text.to_ascii_lowercase().contains("talos") => {
                out.push(text.clone());
            }
            Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
            Value::Object(fields) => fields.values().for_each(|field| texts(field, out)),
            _ => {}
        }
    }
    let mut out = Vec::new();
    if let Some(infrastructure) = cx.infrastructure.as_deref() {
        texts(
            &infrastructure["metadata"]["annotations"][CLONED_FROM],
            &mut out,
        );
        texts(&infrastructure["spec"], &mut out);
    }
    out
}

fn facts<'a>(
    cx: &'a BootstrapContext<TalosConfig>,
    hints: &'a [String],
) -> Progress<recipe::MachineFacts<'a>> {
    let cluster = &cx.cluster.spec;
    let endpoint = &cluster.control_plane_endpoint;
    if endpoint.host.is_empty() && cx.config.spec.generate_type != GenerateType::None {
        return Progress::waiting(
            "Cluster spec.controlPlaneEndpoint",
            "WaitingForControlPlaneEndpoint",
            "Waiting for Cluster spec.controlPlaneEndpoint to be set",
        );
    }
    let infrastructure = &cx.machine.spec.infrastructure_ref;
    Progress::Ready(recipe::MachineFacts {
        cluster_name: cluster_name(cx),
        endpoint_host: &endpoint.host,
        endpoint_port: endpoint.port,
        network: &cluster.cluster_network,
        machine_name: cx.machine.metadata.name.as_deref().unwrap_or_default(),
        infrastructure_name: &infrastructure.name,
        infrastructure_kind: &infrastructure.kind,
        kubernetes_version: cx.machine.spec.version.as_deref(),
        hints: hints.iter().map(String::as_str).collect(),
    })
}
