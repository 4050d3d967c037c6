//! The kinds of the reference set, and their CustomResourceDefinitions.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api::{
        ApiEndpoint, Condition, ContractVersionedObjectReference, KindInfo, ObjectMeta,
        StatusVersion,
    },
    object_kind,
    provider::{InfraClusterStatus, InfraMachineStatus, contract_labels},
};

/// API group of the reference set.
pub const GROUP: &str = "reference.capi.dev";

const fn kind(kind: &'static str, plural: &'static str) -> KindInfo {
    KindInfo {
        group: GROUP,
        version: "v1",
        kind,
        plural,
        namespaced: true,
    }
}

object_kind! {
    /// A cluster's infrastructure: nothing but an endpoint.
    pub struct ReferenceCluster { spec: ReferenceClusterSpec, status: ReferenceClusterStatus }
        = kind("ReferenceCluster", "referenceclusters"), namespaced
}

/// Spec of a [`ReferenceCluster`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceClusterSpec {
    /// Where the workload cluster's API answers; chosen by the provider when nobody says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
}

/// Status of a [`ReferenceCluster`].
pub type ReferenceClusterStatus = InfraClusterStatus;

object_kind! {
    /// A machine.
    pub struct ReferenceMachine { spec: ReferenceMachineSpec, status: ReferenceMachineStatus }
        = kind("ReferenceMachine", "referencemachines"), namespaced
}

/// Spec of a [`ReferenceMachine`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceMachineSpec {
    /// `reference://<number>/<mark>`; the identity.
    #[serde(rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// How big it is; means nothing, and a change of it replaces machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
}

/// Status of a [`ReferenceMachine`].
pub type ReferenceMachineStatus = InfraMachineStatus<Value>;

/// A template of something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[serde(bound(deserialize = "S: Deserialize<'de> + Default"))]
pub struct TemplateSpec<S> {
    /// What is made from it.
    pub template: TemplateResource<S>,
}

/// What is made from a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[serde(bound(deserialize = "S: Deserialize<'de> + Default"))]
pub struct TemplateResource<S> {
    /// Labels and annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<ObjectMeta>,
    /// Spec.
    pub spec: S,
}

object_kind! {
    /// A template of machines.
    pub struct ReferenceMachineTemplate { spec: TemplateSpec<ReferenceMachineSpec> }
        = kind("ReferenceMachineTemplate", "referencemachinetemplates"), namespaced
}

object_kind! {
    /// What a machine boots with.
    pub struct ReferenceConfig { spec: ReferenceConfigSpec, status: ReferenceConfigStatus }
        = kind("ReferenceConfig", "referenceconfigs"), namespaced
}

/// Spec of a [`ReferenceConfig`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceConfigSpec {
    /// Passed on to the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting: Option<String>,
}

/// Status of a [`ReferenceConfig`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceConfigStatus {
    /// Contract: the Secret with the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_secret_name: Option<String>,
    /// Contract: `dataSecretCreated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initialization: Option<DataSecretCreated>,
    /// Conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Generation that this status answers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// `status.initialization` of a bootstrap kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataSecretCreated {
    /// The Secret is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_secret_created: Option<bool>,
}

object_kind! {
    /// A template of what machines boot with.
    pub struct ReferenceConfigTemplate { spec: TemplateSpec<ReferenceConfigSpec> }
        = kind("ReferenceConfigTemplate", "referenceconfigtemplates"), namespaced
}

object_kind! {
    /// A control plane.
    pub struct ReferenceControlPlane {
        spec: ReferenceControlPlaneSpec,
        status: ReferenceControlPlaneStatus
    } = kind("ReferenceControlPlane", "referencecontrolplanes"), namespaced
}

/// Spec of a [`ReferenceControlPlane`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceControlPlaneSpec {
    /// Machines wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Kubernetes version.
    pub version: String,
    /// How its machines are made.
    pub machine_template: ReferenceMachineTemplateOfControlPlane,
}

/// `spec.machineTemplate` of a [`ReferenceControlPlane`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceMachineTemplateOfControlPlane {
    /// Spec of the machines.
    pub spec: ReferenceMachineTemplateOfControlPlaneSpec,
}

/// `spec.machineTemplate.spec` of a [`ReferenceControlPlane`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceMachineTemplateOfControlPlaneSpec {
    /// Template of the infrastructure machines.
    pub infrastructure_ref: ContractVersionedObjectReference,
}

/// Status of a [`ReferenceControlPlane`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceControlPlaneStatus {
    /// Contract: `controlPlaneInitialized`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initialization: Option<ControlPlaneInitialized>,
    /// Selector of its machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Machines that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Machines that are available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// Machines that are as the spec says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to_date_replicas: Option<i32>,
    /// The lowest version of its machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Versions of its machines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<StatusVersion>,
    /// Conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Generation that this status answers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// `status.initialization` of a control plane kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneInitialized {
    /// The workload cluster's API answered once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane_initialized: Option<bool>,
}

/// The CustomResourceDefinitions of the reference set.
#[must_use]
pub fn crds() -> Vec<Value> {
    let status = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let string = json!({ "type": "string" });
    let reference = json!({
        "type": "object",
        "required": ["apiGroup", "kind", "name"],
        "properties": { "apiGroup": string, "kind": string, "name": string },
    });
    let machine = json!({
        "type": "object",
        "properties": { "providerID": string, "size": string },
    });
    let config = json!({ "type": "object", "properties": { "greeting": string } });
    let template = |spec: &Value| {
        json!({
            "type": "object",
            "required": ["template"],
            "properties": { "template": {
                "type": "object",
                "properties": {
                    "metadata": { "type": "object", "properties": {
                        "labels": { "type": "object", "additionalProperties": string },
                        "annotations": { "type": "object", "additionalProperties": string },
                    }},
                    "spec": spec,
                },
            }},
        })
    };
    let cluster = json!({ "type": "object", "properties": { "controlPlaneEndpoint": {
        "type": "object",
        "properties": { "host": string, "port": { "type": "integer", "format": "int32" } },
    }}});
    let control_plane = json!({ "type": "object", "properties": {
        "replicas": { "type": "integer", "format": "int32" },
        "version": string,
        "machineTemplate": { "type": "object", "properties": { "spec": {
            "type": "object",
            "properties": { "infrastructureRef": reference },
        }}},
    }});
    vec![
        crd(ReferenceCluster::KIND, &cluster, Some(&status), false),
        crd(ReferenceMachine::KIND, &machine, Some(&status), false),
        crd(
            ReferenceMachineTemplate::KIND,
            &template(&machine),
            None,
            false,
        ),
        crd(ReferenceConfig::KIND, &config, Some(&status), false),
        crd(
            ReferenceConfigTemplate::KIND,
            &template(&config),
            None,
            false,
        ),
        crd(
            ReferenceControlPlane::KIND,
            &control_plane,
            Some(&status),
            true,
        ),
    ]
}

fn crd(kind: KindInfo, spec: &Value, status: Option<&Value>, scale: bool) -> Value {
    let mut properties = json!({
        "apiVersion": { "type": "string" },
        "kind": { "type": "string" },
        "metadata": { "type": "object" },
        "spec": spec,
    });
    let mut subresources = json!({});
    if let Some(status) = status {
        properties["status"] = status.clone();
        subresources["status"] = json!({});
    }
    if scale {
        subresources["scale"] = json!({
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        });
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", kind.plural, kind.group),
            "labels": contract_labels(kind.version),
        },
        "spec": {
            "group": kind.group,
            "names": {
                "kind": kind.kind,
                "listKind": format!("{}List", kind.kind),
                "plural": kind.plural,
                "singular": kind.kind.to_ascii_lowercase(),
                "categories": ["cluster-api"],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": kind.version,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": properties } },
                "subresources": subresources,
            }],
        },
    })
}
