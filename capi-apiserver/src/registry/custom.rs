//! From a CustomResourceDefinition to a resource. Reads what is served; what makes a definition
//! valid is decided elsewhere.

use std::sync::Arc;

use super::{Behaviour, Names, Resource, Scale, Served, api_version};
use crate::{json::Value, schema::Schema, storage::Store, table::Columns};

fn text(value: &Value<'_>, path: &[&str]) -> String {
    value
        .at(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn texts(value: &Value<'_>, path: &[&str]) -> Vec<String> {
    let items = value.at(path).and_then(Value::as_array).unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The names of a definition with their defaults.
pub(crate) fn names(definition: &Value<'_>) -> Names {
    let mut names = Names {
        plural: text(definition, &["spec", "names", "plural"]),
        singular: text(definition, &["spec", "names", "singular"]),
        kind: text(definition, &["spec", "names", "kind"]),
        list_kind: text(definition, &["spec", "names", "listKind"]),
        short_names: texts(definition, &["spec", "names", "shortNames"]),
        categories: texts(definition, &["spec", "names", "categories"]),
    };
    if names.singular.is_empty() {
        names.singular = names.kind.to_lowercase();
    }
    if names.list_kind.is_empty() {
        names.list_kind = format!("{}List", names.kind);
    }
    names
}

/// The member names of a simple JSON path such as `.spec.replicas`.
fn members(path: &str) -> Vec<String> {
    path.split('.')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The resource of a definition.
///
/// # Errors
/// The path of the field at fault and what is wrong with it.
pub(crate) fn resource(
    definition: &Value<'_>,
    store: &dyn Store,
) -> Result<Resource, (String, String)> {
    let group = text(definition, &["spec", "group"]);
    let names = names(definition);
    let versions = definition
        .at(&["spec", "versions"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    let mut served = Vec::new();
    let mut storage = None;
    for (index, version) in versions.iter().enumerate() {
        let name = text(version, &["name"]);
        if version.get("storage").and_then(Value::as_bool) == Some(true) {
            storage = Some(api_version(&group, &name));
        }
        if version.get("served").and_then(Value::as_bool) != Some(true) {
            continue;
        }
        let schema = version
            .at(&["schema", "openAPIV3Schema"])
            .unwrap_or(&Value::Null);
        let schema = Schema::read(schema).map_err(|error| {
            (
                format!("spec.versions[{index}].schema.openAPIV3Schema"),
                error.to_string(),
            )
        })?;
        let deprecated = (version.get("deprecated").and_then(Value::as_bool) == Some(true)).then(
            || match version.get("deprecationWarning").and_then(Value::as_str) {
                Some(warning) => warning.to_owned(),
                None => format!("{group}/{name} {} is deprecated", names.kind),
            },
        );
        served.push(Served {
            api_version: api_version(&group, &name),
            group: group.clone(),
            version: name,
            status: version
                .at(&["subresources", "status"])
                .is_some_and(|status| !status.is_null()),
            scale: version
                .at(&["subresources", "scale"])
                .filter(|scale| !scale.is_null())
                .map(|scale| Scale {
                    spec_replicas: members(&text(scale, &["specReplicasPath"])),
                    status_replicas: members(&text(scale, &["statusReplicasPath"])),
                    label_selector: scale
                        .get("labelSelectorPath")
                        .and_then(Value::as_str)
                        .map(members),
                }),
            schema: Arc::new(schema),
            columns: Arc::new(Columns::custom(
                version
                    .get("additionalPrinterColumns")
                    .and_then(Value::as_array)
                    .unwrap_or_default(),
            )),
            selectable: version
                .get("selectableFields")
                .and_then(Value::as_array)
                .unwrap_or_default()
                .iter()
                .map(|field| {
                    text(field, &["jsonPath"])
                        .trim_start_matches('.')
                        .to_owned()
                })
                .collect(),
            deprecated,
        });
    }
    // The order in which discovery and defaults see versions.
    served.sort_by(|a, b| super::version_order(&b.version, &a.version));
    let storage_api_version = storage.ok_or_else(|| {
        (
            "spec.versions".to_owned(),
            "must have exactly one version marked as storage version".to_owned(),
        )
    })?;
    Ok(Resource {
        collection: store.collection(&crate::status::qualified(&group, &names.plural)),
        namespaced: text(definition, &["spec", "scope"]) == "Namespaced",
        names,
        served,
        storage_api_version,
        group,
        behaviour: Behaviour::Custom,
        generation: true,
        since: store.version(),
        unconditional_update: false,
    })
}
