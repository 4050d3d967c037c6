//! The resources that every server has. Data: what is special about each is in `crate::builtin`.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use super::{Behaviour, Names, Resource, Served, api_version};
use crate::{schema::Schema, storage::Store, table::Columns};

struct Row {
    /// Group and version; the first is the one of storage.
    versions: &'static [(&'static str, &'static str)],
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    behaviour: Behaviour,
    status: bool,
    generation: bool,
    unconditional_update: bool,
    selectable: &'static [&'static str],
}

const ROW: Row = Row {
    versions: &[("", "v1")],
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    behaviour: Behaviour::Plain,
    status: false,
    generation: false,
    unconditional_update: true,
    selectable: &[],
};

const ROWS: &[Row] = &[
    Row {
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        namespaced: false,
        behaviour: Behaviour::Namespace,
        status: true,
        selectable: &["status.phase"],
        ..ROW
    },
    Row {
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        behaviour: Behaviour::Secret,
        selectable: &["type"],
        ..ROW
    },
    Row {
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        behaviour: Behaviour::ConfigMap,
        ..ROW
    },
    Row {
        versions: &[("", "v1"), ("events.k8s.io", "v1")],
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        behaviour: Behaviour::Event,
        selectable: &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ..ROW
    },
    Row {
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        namespaced: false,
        behaviour: Behaviour::Node,
        status: true,
        selectable: &["spec.unschedulable"],
        ..ROW
    },
    Row {
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        behaviour: Behaviour::Pod,
        status: true,
        generation: true,
        selectable: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ..ROW
    },
    Row {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        behaviour: Behaviour::ServiceAccount,
        ..ROW
    },
    Row {
        versions: &[("policy", "v1")],
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        short_names: &["pdb"],
        behaviour: Behaviour::PodDisruptionBudget,
        status: true,
        generation: true,
        unconditional_update: false,
        ..ROW
    },
    Row {
        versions: &[("coordination.k8s.io", "v1")],
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        behaviour: Behaviour::Lease,
        unconditional_update: false,
        ..ROW
    },
    Row {
        versions: &[("apiextensions.k8s.io", "v1")],
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        namespaced: false,
        behaviour: Behaviour::CustomResourceDefinition,
        status: true,
        generation: true,
        unconditional_update: false,
        ..ROW
    },
    review(
        AUTHORIZATION,
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
    ),
    review(
        AUTHORIZATION,
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
    ),
    review(
        AUTHORIZATION,
        "SubjectAccessReview",
        "subjectaccessreviews",
        "subjectaccessreview",
    ),
    review(
        AUTHENTICATION,
        "SelfSubjectReview",
        "selfsubjectreviews",
        "selfsubjectreview",
    ),
    review(AUTHENTICATION, "TokenReview", "tokenreviews", "tokenreview"),
];

const AUTHORIZATION: &[(&str, &str)] = &[("authorization.k8s.io", "v1")];
const AUTHENTICATION: &[(&str, &str)] = &[("authentication.k8s.io", "v1")];

const fn review(
    versions: &'static [(&'static str, &'static str)],
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
) -> Row {
    Row {
        versions,
        kind,
        plural,
        singular,
        namespaced: false,
        behaviour: Behaviour::Review,
        ..ROW
    }
}

type Schemas = BTreeMap<(&'static str, &'static str, &'static str), Arc<Schema>>;

/// Read once: schemas are data and the same in every server.
static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let kinds = ROWS.iter().flat_map(|row| {
        row.versions
            .iter()
            .map(|(group, version)| (*group, *version, row.kind))
    });
    kinds
        .map(|kind @ (group, version, name)| {
            let schema = crate::openapi::builtin::schema(group, version, name).unwrap_or_default();
            (kind, Arc::new(schema))
        })
        .collect()
});

/// The built-in resources, in a store.
pub(crate) fn resources(store: &dyn Store) -> Vec<Resource> {
    ROWS.iter().map(|row| resource(row, store)).collect()
}

fn resource(row: &Row, store: &dyn Store) -> Resource {
    let owned = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let served = |(group, version): &(&str, &str)| Served {
        group: (*group).to_owned(),
        version: (*version).to_owned(),
        api_version: api_version(group, version),
        status: row.status,
        scale: None,
        schema: SCHEMAS
            .get(&(*group, *version, row.kind))
            .cloned()
            .unwrap_or_default(),
        columns: Arc::new(Columns::builtin(group, row.kind)),
        selectable: owned(row.selectable),
        deprecated: None,
    };
    let (group, version) = row.versions[0];
    Resource {
        names: Names {
            plural: row.plural.to_owned(),
            singular: row.singular.to_owned(),
            kind: row.kind.to_owned(),
            list_kind: format!("{}List", row.kind),
            short_names: owned(row.short_names),
            categories: owned(row.categories),
        },
        namespaced: row.namespaced,
        collection: store.collection(&crate::status::qualified(group, row.plural)),
        served: row.versions.iter().map(served).collect(),
        storage_api_version: api_version(group, version),
        group: group.to_owned(),
        behaviour: row.behaviour,
        generation: row.generation,
        since: 0,
        unconditional_update: row.unconditional_update,
    }
}
