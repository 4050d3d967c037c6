//! The CustomResourceDefinitions of this crate's kinds, as they are committed under `crds/`.

use serde_json::Value;

const FILES: [&str; 10] = [
    include_str!("../../crds/clusters.json"),
    include_str!("../../crds/globalinclusterippools.json"),
    include_str!("../../crds/inclusterippools.json"),
    include_str!("../../crds/ipaddressclaims.json"),
    include_str!("../../crds/ipaddresses.json"),
    include_str!("../../crds/machinedeployments.json"),
    include_str!("../../crds/machinedrainrules.json"),
    include_str!("../../crds/machinehealthchecks.json"),
    include_str!("../../crds/machines.json"),
    include_str!("../../crds/machinesets.json"),
];

/// The CustomResourceDefinitions of the kinds of this crate, with all served versions.
///
/// They name no conversion webhook: an API server that serves more than the stored version has to
/// know the conversions otherwise. For one that does not, see [`stored_version_only`].
#[must_use]
pub fn crds() -> Vec<Value> {
    parse_definitions(&FILES)
}

/// Definitions from the texts of their files; a file that is no JSON is left out.
///
/// For the crates that bring definitions of their own; their tests prove that none is left out.
#[must_use]
pub fn parse_definitions(files: &[&str]) -> Vec<Value> {
    files
        .iter()
        .filter_map(|file| serde_json::from_str(file).ok())
        .collect()
}

/// A definition that serves the stored version alone, for API servers that cannot convert.
///
/// Its contract labels name only that version.
#[must_use]
pub fn stored_version_only(mut definition: Value) -> Value {
    let stored = |version: &Value| version.get("storage") == Some(&Value::Bool(true));
    let versions = definition
        .pointer_mut("/spec/versions")
        .and_then(Value::as_array_mut);
    let mut name = None;
    if let Some(versions) = versions {
        versions.retain(stored);
        name = versions
            .first()
            .and_then(|version| version.get("name")?.as_str())
            .map(str::to_owned);
    }
    if let (Some(name), Some(labels)) = (
        name,
        definition
            .pointer_mut("/metadata/labels")
            .and_then(Value::as_object_mut),
    ) {
        labels.retain(|key, value| {
            !key.starts_with(super::labels::CONTRACT_PREFIX)
                || value.as_str().is_some_and(|value| value == name)
        });
    }
    definition
}
