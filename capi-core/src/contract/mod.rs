//! What Cluster API's core reads from objects of providers, whatever their kind.
//!
//! Decides nothing: it finds the API version to read by the labels of the kind's
//! CustomResourceDefinition ([`version`]), takes the contract's fields from a document into plain
//! values ([`view`]) and makes objects from templates ([`template`]). Both contracts, v1beta2 and
//! v1beta1, are understood; a provider that fulfils one of them is never read through the other.
//!
//! Answers to `internal/contract` and `controllers/external` of Cluster API.

mod field;
pub mod object;
pub mod template;
pub mod version;
pub mod view;

pub use field::Field;
pub use object::{Metadata, Object, OwnerReference};
pub use template::{CloneTemplate, clone_template};
pub use version::{ContractVersion, crd_name, pluralize, resolve_version};
pub use view::{
    BootstrapConfigView, ControlPlaneView, ExternalObject, InfraClusterView, InfraMachineView,
};

/// A document that does not fulfil the contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// No version of the kind is labelled for a contract that this library knows.
    #[error(
        "cannot find any versions matching contract versions [v1beta2 v1beta1] for CRD {crd}: \
         give it a label cluster.x-k8s.io/v1beta2 that names its API versions"
    )]
    NoVersion {
        /// Name of the CustomResourceDefinition.
        crd: String,
    },
    /// Conditions that cannot be read.
    #[error("{0}")]
    Conditions(String),
    /// A template whose `spec.template` is no object.
    #[error("{kind} {name}: spec.template must be an object")]
    Template {
        /// Kind of the template.
        kind: String,
        /// Name of the template.
        name: String,
    },
    /// Something that has no API version, kind or name.
    #[error("an object must have apiVersion, kind and metadata.name; {0}")]
    Object(String),
}
