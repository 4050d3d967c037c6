//! The contract's fields of one foreign object, read once from its document.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ContractError, ContractVersion, Field, Metadata};
use crate::{
    api::{ApiEndpoint, Condition, FailureDomain, MachineAddress, StatusVersion, V1Beta1Condition},
    plan::{condition, version::KubernetesVersion},
};

/// What every foreign object has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalObject {
    /// Group and version that were read.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Metadata.
    pub metadata: Metadata,
    /// The contract it was read by.
    pub contract: ContractVersion,
    /// `status.failureReason` of the v1beta1 contract; informational.
    pub failure_reason: Field<String>,
    /// `status.failureMessage` of the v1beta1 contract; informational.
    pub failure_message: Field<String>,
}

impl ExternalObject {
    /// Reads the common part.
    ///
    /// # Errors
    /// Without apiVersion, kind or name.
    pub fn read(document: &Value, contract: ContractVersion) -> Result<Self, ContractError> {
        let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        let metadata = Metadata::deserialize(&document["metadata"])
            .map_err(|error| ContractError::Object(error.to_string()))?;
        let object = Self {
            api_version: text("apiVersion"),
            kind: text("kind"),
            metadata,
            contract,
            failure_reason: Field::read(document, "/status/failureReason"),
            failure_message: Field::read(document, "/status/failureMessage"),
        };
        if object.api_version.is_empty()
            || object.kind.is_empty()
            || object.metadata.name.is_empty()
        {
            return Err(ContractError::Object(format!(
                "got {:?} {:?} {:?}",
                object.api_version, object.kind, object.metadata.name
            )));
        }
        Ok(object)
    }

    /// Whether the object is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.metadata.is_deleting()
    }

    /// What an owner says of a failure that the object reports.
    #[must_use]
    pub fn failure_text(&self, message: &str) -> String {
        format!(
            "Failure detected from referenced resource {}, Kind={} with name {:?}: {message}",
            self.api_version, self.kind, self.metadata.name
        )
    }
}

/// The condition `Ready` as the v1beta1 contract has it, severity included.
fn legacy_ready(document: &Value) -> Field<V1Beta1Condition> {
    match Field::<Vec<V1Beta1Condition>>::read(document, "/status/conditions") {
        Field::Present(all) => all.into_iter().find(|c| c.type_ == "Ready").into(),
        // As upstream has it: what cannot be read is not there.
        Field::Absent | Field::Malformed(_) => Field::Absent,
    }
}

/// One condition of a document.
fn condition(document: &Value, type_: &str) -> Field<Condition> {
    match condition::read_conditions(document) {
        Ok(all) => all.into_iter().find(|c| c.type_ == type_).into(),
        Err(error) => Field::Malformed(error.to_string()),
    }
}

/// An InfraCluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InfraClusterView {
    /// The object.
    pub object: ExternalObject,
    /// Whether the infrastructure exists.
    pub provisioned: Field<bool>,
    /// Where the API server will be reached, if the infrastructure provides that.
    pub control_plane_endpoint: Field<ApiEndpoint>,
    /// Failure domains, sorted by name.
    pub failure_domains: Field<Vec<FailureDomain>>,
    /// Condition `Ready`.
    pub ready: Field<Condition>,
    /// Condition `Ready` in the form of v1beta1.
    pub legacy_ready: Field<V1Beta1Condition>,
}

impl InfraClusterView {
    /// Reads an InfraCluster by `contract`.
    ///
    /// # Errors
    /// Without apiVersion, kind or name. Malformed fields are no error here; see [`Field`].
    pub fn read(document: &Value, contract: ContractVersion) -> Result<Self, ContractError> {
        Ok(Self {
            object: ExternalObject::read(document, contract)?,
            provisioned: provisioned(document, contract),
            control_plane_endpoint: Field::read(document, "/spec/controlPlaneEndpoint"),
            failure_domains: failure_domains(document, contract),
            ready: condition(document, "Ready"),
            legacy_ready: legacy_ready(document),
        })
    }
}

fn provisioned(document: &Value, contract: ContractVersion) -> Field<bool> {
    Field::read(
        document,
        match contract {
            ContractVersion::V1Beta2 => "/status/initialization/provisioned",
            ContractVersion::V1Beta1 => "/status/ready",
        },
    )
}

fn failure_domains(document: &Value, contract: ContractVersion) -> Field<Vec<FailureDomain>> {
    const AT: &str = "/status/failureDomains";
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Legacy {
        control_plane: bool,
        attributes: std::collections::BTreeMap<String, String>,
    }
    match contract {
        ContractVersion::V1Beta1 => {
            match Field::<std::collections::BTreeMap<String, Legacy>>::read(document, AT) {
                Field::Present(map) => Field::Present(
                    map.into_iter()
                        .map(|(name, legacy)| FailureDomain {
                            name,
                            control_plane: Some(legacy.control_plane),
                            attributes: legacy.attributes,
                        })
                        .collect(),
                ),
                Field::Absent => Field::Absent,
                Field::Malformed(error) => Field::Malformed(error),
            }
        }
        ContractVersion::V1Beta2 => {
            let mut field = Field::<Vec<FailureDomain>>::read(document, AT);
            if let Field::Present(list) = &mut field {
                for domain in list.iter_mut() {
                    domain.control_plane.get_or_insert(false);
                }
                list.sort_by(|a, b| a.name.cmp(&b.name));
            }
            field
        }
    }
}

/// An InfraMachine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InfraMachineView {
    /// The object.
    pub object: ExternalObject,
    /// Whether the machine exists.
    pub provisioned: Field<bool>,
    /// Identity of the machine, equal to that of its Node.
    pub provider_id: Field<String>,
    /// Addresses of the machine.
    pub addresses: Field<Vec<MachineAddress>>,
    /// Where the machine was placed (`status.failureDomain`).
    pub failure_domain: Field<String>,
    /// Where the machine was placed, as the v1beta1 contract has it (`spec.failureDomain`).
    pub deprecated_failure_domain: Field<String>,
    /// Whether the infrastructure may take the machine away at any time.
    pub interruptible: Field<bool>,
    /// Condition `Ready`.
    pub ready: Field<Condition>,
    /// Condition `Ready` in the form of v1beta1.
    pub legacy_ready: Field<V1Beta1Condition>,
}

impl InfraMachineView {
    /// Reads an InfraMachine by `contract`.
    ///
    /// # Errors
    /// Without apiVersion, kind or name. Malformed fields are no error here; see [`Field`].
    pub fn read(document: &Value, contract: ContractVersion) -> Result<Self, ContractError> {
        Ok(Self {
            object: ExternalObject::read(document, contract)?,
            provisioned: provisioned(document, contract),
            provider_id: Field::read(document, "/spec/providerID"),
            addresses: Field::read(document, "/status/addresses"),
            failure_domain: Field::read(document, "/status/failureDomain"),
            deprecated_failure_domain: Field::read(document, "/spec/failureDomain"),
            interruptible: Field::read(document, "/status/interruptible"),
            ready: condition(document, "Ready"),
            legacy_ready: legacy_ready(document),
        })
    }
}

/// A BootstrapConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BootstrapConfigView {
    /// The object.
    pub object: ExternalObject,
    /// Whether the secret with the bootstrap data exists.
    pub data_secret_created: Field<bool>,
    /// Name of that secret.
    pub data_secret_name: Field<String>,
    /// Condition `Ready`.
    pub ready: Field<Condition>,
    /// Condition `Ready` in the form of v1beta1.
    pub legacy_ready: Field<V1Beta1Condition>,
}

impl BootstrapConfigView {
    /// Reads a BootstrapConfig by `contract`.
    ///
    /// # Errors
    /// Without apiVersion, kind or name. Malformed fields are no error here; see [`Field`].
    pub fn read(document: &Value, contract: ContractVersion) -> Result<Self, ContractError> {
        Ok(Self {
            object: ExternalObject::read(document, contract)?,
            data_secret_created: Field::read(
                document,
                match contract {
                    ContractVersion::V1Beta2 => "/status/initialization/dataSecretCreated",
                    ContractVersion::V1Beta1 => "/status/ready",
                },
            ),
            data_secret_name: Field::read(document, "/status/dataSecretName"),
            ready: condition(document, "Ready"),
            legacy_ready: legacy_ready(document),
        })
    }
}

/// An object that manages a control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneView {
    /// The object.
    pub object: ExternalObject,
    /// Whether the API server of the cluster can be used.
    pub initialized: Field<bool>,
    /// Where the API server is reached, if the control plane provides that.
    pub control_plane_endpoint: Field<ApiEndpoint>,
    /// Kubernetes version that is wanted.
    pub version: Field<String>,
    /// Least Kubernetes version that runs.
    pub status_version: Field<String>,
    /// Kubernetes versions that run, ascending.
    pub versions: Field<Vec<StatusVersion>>,
    /// How many machines are wanted.
    pub desired_replicas: Field<i32>,
    /// How many machines there are.
    pub replicas: Field<i32>,
    /// How many machines are ready.
    pub ready_replicas: Field<i32>,
    /// How many machines have the spec that is wanted.
    pub up_to_date_replicas: Field<i32>,
    /// How many machines are available (v1beta2).
    pub available_replicas: Field<i32>,
    /// How many machines are not available (v1beta1).
    pub unavailable_replicas: Field<i32>,
    /// Whether the control plane has no machines of ours.
    pub externally_managed: bool,
    /// All conditions.
    pub conditions: Field<Vec<Condition>>,
    /// Condition `Ready` in the form of v1beta1.
    pub legacy_ready: Field<V1Beta1Condition>,
}

impl ControlPlaneView {
    /// Reads a control plane object by `contract`.
    ///
    /// # Errors
    /// Without apiVersion, kind or name. Malformed fields are no error here; see [`Field`].
    pub fn read(document: &Value, contract: ContractVersion) -> Result<Self, ContractError> {
        let (initialized, up_to_date) = match contract {
            ContractVersion::V1Beta2 => (
                "/status/initialization/controlPlaneInitialized",
                "/status/upToDateReplicas",
            ),
            ContractVersion::V1Beta1 => ("/status/initialized", "/status/updatedReplicas"),
        };
        Ok(Self {
            object: ExternalObject::read(document, contract)?,
            initialized: Field::read(document, initialized),
            control_plane_endpoint: Field::read(document, "/spec/controlPlaneEndpoint"),
            version: Field::read(document, "/spec/version"),
            status_version: Field::read(document, "/status/version"),
            versions: versions(document),
            desired_replicas: Field::read(document, "/spec/replicas"),
            replicas: Field::read(document, "/status/replicas"),
            ready_replicas: Field::read(document, "/status/readyReplicas"),
            up_to_date_replicas: Field::read(document, up_to_date),
            available_replicas: Field::read(document, "/status/availableReplicas"),
            unavailable_replicas: Field::read(document, "/status/unavailableReplicas"),
            externally_managed: Field::read(document, "/status/externalManagedControlPlane").get()
                == Some(&true),
            legacy_ready: legacy_ready(document),
            conditions: match condition::read_conditions(document) {
                Ok(all) => Field::Present(all),
                Err(error) => Field::Malformed(error.to_string()),
            },
        })
    }

    /// One condition.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Field<Condition> {
        match &self.conditions {
            Field::Present(all) => condition::find(all, type_).cloned().into(),
            Field::Absent => Field::Absent,
            Field::Malformed(error) => Field::Malformed(error.clone()),
        }
    }

    /// The least Kubernetes version that runs, when one is reported.
    #[must_use]
    pub fn current_version(&self) -> Option<&str> {
        self.versions
            .get()
            .and_then(|versions| versions.first())
            .map(|version| version.version.as_str())
            .or_else(|| self.status_version.get().map(String::as_str))
            .filter(|version| !version.is_empty())
    }

    /// Whether the control plane is being made for the first time.
    #[must_use]
    pub fn is_provisioning(&self) -> bool {
        self.current_version().is_none()
    }

    /// Whether a version that runs is less than the version that is wanted, build metadata
    /// included. `None` when a version cannot be parsed.
    #[must_use]
    pub fn is_upgrading(&self) -> Option<bool> {
        let wanted: KubernetesVersion = self.version.get()?.parse().ok()?;
        let running: Vec<&str> = match self.versions.get() {
            Some(versions) if !versions.is_empty() => {
                versions.iter().map(|v| v.version.as_str()).collect()
            }
            _ => self.current_version().into_iter().collect(),
        };
        for version in running {
            let version: KubernetesVersion = version.parse().ok()?;
            if version.is_older_or_other_build_than(&wanted) {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// `status.versions`, which must ascend.
fn versions(document: &Value) -> Field<Vec<StatusVersion>> {
    let field = Field::<Vec<StatusVersion>>::read(document, "/status/versions");
    if let Field::Present(list) = &field {
        let mut previous: Option<KubernetesVersion> = None;
        for entry in list {
            let Ok(version) = entry.version.parse::<KubernetesVersion>() else {
                return Field::Malformed(format!(
                    "failed to parse version {:?} in .status.versions",
                    entry.version
                ));
            };
            if previous.as_ref().is_some_and(|p| version.is_less_than(p)) {
                return Field::Malformed(format!(
                    ".status.versions: {} is in the wrong order",
                    entry.version
                ));
            }
            previous = Some(version);
        }
    }
    field
}
