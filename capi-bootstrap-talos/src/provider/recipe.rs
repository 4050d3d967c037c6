//! From a TalosConfig and the facts of its machine to the text that the machine boots with.
//! Pure: the same facts give the same text.

use capi_core::api::ClusterNetwork;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use super::choice::{self, ContractChoice};
use crate::api::{GenerateType, HostnameSource, TalosConfigSpec};
use crate::config::{
    ConfigError, ConfigInput, ConfigOptions, Contract, GenerateError, InvalidTalosVersion,
    JsonOperation, JsonPatch, MachineConfig, MachineType, Patch,
};
use crate::secrets::SecretsBundle;

/// Port of the Kubernetes API where the Cluster names a host only.
const DEFAULT_PORT: i32 = 6443;

/// Why there is no bootstrap data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// `talosVersion` is not a version.
    #[error("spec.talosVersion: {0}")]
    TalosVersion(#[from] InvalidTalosVersion),
    /// A `generateType` that is not known.
    #[error(
        "spec.generateType: unknown generate type specified: {0:?}; use controlplane, worker, init or none"
    )]
    GenerateType(String),
    /// A `hostname.source` that is not known.
    #[error("spec.hostname.source: unknown source {0:?}; use MachineName or InfrastructureName")]
    HostnameSource(String),
    /// `none` without data.
    #[error("spec.data: failed to specify config data with none generate type")]
    NoData,
    /// A part of the spec that is not a configuration or patch, or does not fit.
    #[error("{field}: {source}")]
    Config {
        /// Field of the spec.
        field: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// The bundle and the form do not fit.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The whole is a configuration that Talos would refuse.
    #[error("the machine would refuse its configuration: {0}")]
    Refused(ConfigError),
}

/// What is known of a machine.
#[derive(Clone, Debug)]
pub struct MachineFacts<'a> {
    /// Name of the Cluster.
    pub cluster_name: &'a str,
    /// Host of the control plane endpoint, not empty.
    pub endpoint_host: &'a str,
    /// Port of the control plane endpoint; 0 where not set.
    pub endpoint_port: i32,
    /// The Cluster's networks.
    pub network: &'a ClusterNetwork,
    /// Name of the Machine.
    pub machine_name: &'a str,
    /// Name of the infrastructure machine.
    pub infrastructure_name: &'a str,
    /// Kind of the infrastructure machine.
    pub infrastructure_kind: &'a str,
    /// Kubernetes version of the Machine.
    pub kubernetes_version: Option<&'a str>,
    /// Texts that may name the version of Talos: template and image of the infrastructure.
    pub hints: Vec<&'a str>,
}

/// What a machine boots with.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The text.
    pub data: SecretString,
    /// The configuration in it.
    pub config: MachineConfig,
    /// The form and why; nothing where the user brings the whole configuration.
    pub choice: Option<ContractChoice>,
    /// What Talos accepts with a warning.
    pub warnings: Vec<String>,
}

/// The form of the configuration, as [`generate`] will choose it.
///
/// # Errors
/// [`RecipeError::TalosVersion`].
pub fn contract(
    spec: &TalosConfigSpec,
    facts: &MachineFacts<'_>,
) -> Result<ContractChoice, RecipeError> {
    let patches = spec.strategic_patches.iter().map(String::as_str);
    let installers = patches
        .flat_map(str::lines)
        .filter(|line| line.contains("installer"));
    Ok(choice::choose(
        spec.talos_version.as_deref(),
        !spec.config_patches.is_empty(),
        facts.hints.iter().copied().chain(installers),
    )?)
}

/// The bootstrap data of a machine.
///
/// # Errors
/// [`RecipeError`] that names the field; the same until the spec changes.
pub fn generate(
    spec: &TalosConfigSpec,
    facts: &MachineFacts<'_>,
    bundle: Option<&SecretsBundle>,
) -> Result<Generated, RecipeError> {
    let hostname = hostname(spec, facts)?;
    let in_field = |field: String| move |source| RecipeError::Config { field, source };
    let (mut config, choice) = match (machine_type(&spec.generate_type)?, bundle) {
        (Some(machine_type), Some(bundle)) => {
            let choice = contract(spec, facts)?;
            let mut config = input(facts, choice.contract, bundle).generate(machine_type)?;
            if let Some(hostname) = hostname
                && !choice.contract.is_multi_document()
            {
                let patch = Patch::parse(&hostname_patch(hostname, choice.contract));
                config = patch
                    .and_then(|patch| config.patched(&patch))
                    .map_err(in_field("spec.hostname".to_owned()))?;
            }
            (config, Some(choice))
        }
        _ => {
            let data = spec.data.as_deref().filter(|data| !data.trim().is_empty());
            let config = MachineConfig::load(data.ok_or(RecipeError::NoData)?)
                .map_err(in_field("spec.data".to_owned()))?;
            (config, None)
        }
    };
    if !spec.config_patches.is_empty() {
        let operations = spec.config_patches.iter().map(|patch| JsonOperation {
            op: patch.op.clone(),
            path: patch.path.clone(),
            from: None,
            value: patch.value.clone(),
        });
        config = config
            .patched(&Patch::Json(JsonPatch::new(operations)))
            .map_err(in_field("spec.configPatches".to_owned()))?;
    }
    for (index, text) in spec.strategic_patches.iter().enumerate() {
        config = Patch::parse(text)
            .and_then(|patch| config.patched(&patch))
            .map_err(in_field(format!("spec.strategicPatches[{index}]")))?;
    }
    if let (Some(choice), Some(hostname)) = (&choice, hostname)
        && choice.contract.is_multi_document()
    {
        config = Patch::parse(&hostname_patch(hostname, choice.contract))
            .and_then(|patch| config.patched(&patch))
            .map_err(in_field("spec.hostname".to_owned()))?;
    }
    let mut warnings = config
        .validate(choice.as_ref().map(|choice| choice.contract))
        .map_err(RecipeError::Refused)?;
    if let (Some(choice), Some(version)) = (&choice, facts.kubernetes_version) {
        warnings.extend(unsupported_kubernetes(choice, version));
    }
    Ok(Generated {
        data: text(&config, facts.infrastructure_kind),
        config,
        choice,
        warnings,
    })
}

/// A Kubernetes that the Talos of this form does not run; a node that is newer may.
fn unsupported_kubernetes(choice: &ContractChoice, version: &str) -> Option<String> {
    let mut numbers = version.strip_prefix('v').unwrap_or(version).split('.');
    let (major, minor) = (numbers.next()?, numbers.next()?.parse::<u32>().ok()?);
    let minors = choice.contract.kubernetes_minors();
    (major == "1" && !minors.contains(&minor)).then(|| {
        format!(
            "Talos {} runs Kubernetes 1.{} to 1.{}, and the Machine wants {version}",
            choice.contract,
            minors.start(),
            minors.end()
        )
    })
}

/// The type to generate; nothing where the user brings the whole configuration.
pub(super) fn machine_type(
    generate_type: &GenerateType,
) -> Result<Option<MachineType>, RecipeError> {
    Ok(Some(match generate_type {
        GenerateType::ControlPlane => MachineType::ControlPlane,
        GenerateType::Worker => MachineType::Worker,
        GenerateType::Init => MachineType::Init,
        GenerateType::None => return Ok(None),
        // v1alpha3 knows these words for a worker
        GenerateType::Other(other) if other.is_empty() || other == "join" => MachineType::Worker,
        other => return Err(RecipeError::GenerateType(other.as_str().to_owned())),
    }))
}

/// The text, with the first line by which Equinix Metal knows whose data this is.
fn text(config: &MachineConfig, infrastructure_kind: &str) -> SecretString {
    let text = config.to_yaml();
    if matches!(infrastructure_kind, "PacketMachine" | "PacketMachinePool") {
        let marked = Zeroizing::new(format!("#!talos\n{}", text.expose_secret()));
        return SecretString::from(marked.as_str());
    }
    text
}

fn hostname<'a>(
    spec: &TalosConfigSpec,
    facts: &MachineFacts<'a>,
) -> Result<Option<&'a str>, RecipeError> {
    match &spec.hostname.source {
        None => Ok(None),
        Some(HostnameSource::MachineName) => Ok(Some(facts.machine_name)),
        Some(HostnameSource::InfrastructureName) => Ok(Some(facts.infrastructure_name)),
        Some(other) if other.as_str().is_empty() => Ok(None),
        Some(other) => Err(RecipeError::HostnameSource(other.as_str().to_owned())),
    }
}

/// A JSON string is a YAML string.
fn hostname_patch(hostname: &str, contract: Contract) -> String {
    let hostname = serde_json::Value::from(hostname);
    if contract.is_multi_document() {
        format!("apiVersion: v1alpha1\nkind: HostnameConfig\nauto: \"off\"\nhostname: {hostname}\n")
    } else {
        format!("machine:\n  network:\n    hostname: {hostname}\n")
    }
}

/// URL of the Kubernetes API.
pub(super) fn endpoint(host: &str, port: i32) -> String {
    let port = if port == 0 { DEFAULT_PORT } else { port };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.contains(':') {
        format!("https://[{bare}]:{port}")
    } else {
        format!("https://{bare}:{port}")
    }
}

fn input<'a>(
    facts: &'a MachineFacts<'a>,
    contract: Contract,
    bundle: &'a SecretsBundle,
) -> Input<'a> {
    let network = facts.network;
    let mut options = ConfigOptions {
        // there is no discovery without identity, which clusters from before Talos 0.14 lack
        discovery: bundle.has_cluster_identity() && contract >= Contract::new(0, 14),
        ..ConfigOptions::default()
    };
    if let Some(domain) = network
        .service_domain
        .as_deref()
        .filter(|domain| !domain.is_empty())
    {
        options.dns_domain = domain.to_owned();
    }
    if !network.pods.cidr_blocks.is_empty() {
        options.pod_subnets.clone_from(&network.pods.cidr_blocks);
    }
    if !network.services.cidr_blocks.is_empty() {
        options
            .service_subnets
            .clone_from(&network.services.cidr_blocks);
    }
    Input {
        facts,
        endpoint: endpoint(facts.endpoint_host, facts.endpoint_port),
        kubernetes_version: facts
            .kubernetes_version
            .map(|version| version.strip_prefix('v').unwrap_or(version))
            .filter(|version| !version.is_empty())
            .map_or_else(|| contract.newest_kubernetes(), str::to_owned),
        contract,
        bundle,
        options,
    }
}

struct Input<'a> {
    facts: &'a MachineFacts<'a>,
    endpoint: String,
    kubernetes_version: String,
    contract: Contract,
    bundle: &'a SecretsBundle,
    options: ConfigOptions,
}

impl Input<'_> {
    fn generate(self, machine_type: MachineType) -> Result<MachineConfig, GenerateError> {
        ConfigInput {
            cluster_name: self.facts.cluster_name,
            endpoint: &self.endpoint,
            kubernetes_version: &self.kubernetes_version,
            contract: self.contract,
            bundle: self.bundle,
            options: self.options,
        }
        .generate(machine_type)
    }
}
