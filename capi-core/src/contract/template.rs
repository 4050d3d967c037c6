//! Objects made from templates.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ContractError, OwnerReference, object::group_of};
use crate::api::{annotations, labels};

/// What to make from a template.
#[derive(Clone, Debug, PartialEq)]
pub struct CloneTemplate<'a> {
    /// The template, whole.
    pub template: &'a Value,
    /// Namespace of the new object: that of whoever refers to the template.
    pub namespace: &'a str,
    /// Name of the new object.
    pub name: &'a str,
    /// The cluster that it belongs to.
    pub cluster_name: &'a str,
    /// Its one owner.
    pub owner: Option<&'a OwnerReference>,
    /// Labels over those of the template.
    pub labels: &'a BTreeMap<String, String>,
    /// Annotations over those of the template.
    pub annotations: &'a BTreeMap<String, String>,
}

/// Makes the object that a template describes: `spec.template` with the given name, labels,
/// annotations and owner, marked with the template it was cloned from. A template without
/// `spec.template` gives an empty object. Fields that this library does not know are kept.
///
/// # Errors
/// When the template has no kind or name, or `spec.template` is no object.
pub fn clone_template(input: &CloneTemplate<'_>) -> Result<Value, ContractError> {
    let template = input.template;
    let text = |pointer: &str| template.pointer(pointer).and_then(Value::as_str);
    let (Some(api_version), Some(kind), Some(template_name)) =
        (text("/apiVersion"), text("/kind"), text("/metadata/name"))
    else {
        return Err(ContractError::Object("a template lacks one".to_owned()));
    };
    let mut object = match template.pointer("/spec/template") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        Some(_) => {
            return Err(ContractError::Template {
                kind: kind.to_owned(),
                name: template_name.to_owned(),
            });
        }
    };
    let mut metadata = match object.remove("metadata") {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    for key in ["resourceVersion", "finalizers", "uid", "selfLink"] {
        metadata.remove(key);
    }
    metadata.insert("name".to_owned(), json!(input.name));
    metadata.insert("namespace".to_owned(), json!(input.namespace));

    let group = group_of(api_version);
    let group_kind = if group.is_empty() {
        kind.to_owned()
    } else {
        format!("{kind}.{group}")
    };
    overlay(
        &mut metadata,
        "annotations",
        input.annotations,
        &[
            (annotations::CLONED_FROM_NAME, template_name),
            (annotations::CLONED_FROM_GROUP_KIND, &group_kind),
        ],
    );
    overlay(
        &mut metadata,
        "labels",
        input.labels,
        &[(labels::CLUSTER_NAME, input.cluster_name)],
    );
    if let Some(owner) = input.owner {
        let owner = serde_json::to_value(owner)
            .map_err(|error| ContractError::Object(error.to_string()))?;
        metadata.insert("ownerReferences".to_owned(), json!([owner]));
    }
    object.insert("metadata".to_owned(), Value::Object(metadata));
    let set = |key: &str| matches!(object.get(key), Some(Value::String(s)) if !s.is_empty());
    let (has_version, has_kind) = (set("apiVersion"), set("kind"));
    if !has_version {
        object.insert("apiVersion".to_owned(), json!(api_version));
    }
    if !has_kind {
        let kind = kind.strip_suffix("Template").unwrap_or(kind);
        object.insert("kind".to_owned(), json!(kind));
    }
    Ok(Value::Object(object))
}

fn overlay(
    metadata: &mut Map<String, Value>,
    key: &str,
    given: &BTreeMap<String, String>,
    last: &[(&str, &str)],
) {
    let mut map = match metadata.remove(key) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    for (k, v) in given {
        map.insert(k.clone(), json!(v));
    }
    for (k, v) in last {
        map.insert((*k).to_owned(), json!(v));
    }
    metadata.insert(key.to_owned(), Value::Object(map));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_carries_the_template_and_what_was_given() {
        let template = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha1",
            "kind": "ThingTemplate",
            "metadata": {"name": "small", "namespace": "x", "uid": "1"},
            "spec": {"template": {
                "metadata": {
                    "labels": {"a": "template", "b": "template"},
                    "annotations": {"c": "template"},
                    "finalizers": ["f"], "uid": "2", "resourceVersion": "3", "selfLink": "s",
                    "ownerReferences": [{"kind": "Other"}],
                },
                "spec": {"memory": 4, "zzz": {"kept": true}},
            }},
        });
        let owner = OwnerReference {
            api_version: "cluster.x-k8s.io/v1beta2".into(),
            kind: "MachineSet".into(),
            name: "ms".into(),
            uid: "u".into(),
            ..OwnerReference::default()
        };
        let clone = clone_template(&CloneTemplate {
            template: &template,
            namespace: "default",
            name: "ms-abcde",
            cluster_name: "c1",
            owner: Some(&owner),
            labels: &BTreeMap::from([("b".into(), "given".into())]),
            annotations: &BTreeMap::from([("d".into(), "given".into())]),
        })
        .unwrap();
        assert_eq!(
            clone,
            json!({
                "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha1",
                "kind": "Thing",
                "metadata": {
                    "name": "ms-abcde", "namespace": "default",
                    "labels": {"a": "template", "b": "given", "cluster.x-k8s.io/cluster-name": "c1"},
                    "annotations": {
                        "c": "template", "d": "given",
                        "cluster.x-k8s.io/cloned-from-name": "small",
                        "cluster.x-k8s.io/cloned-from-groupkind":
                            "ThingTemplate.infrastructure.cluster.x-k8s.io",
                    },
                    "ownerReferences": [{
                        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineSet",
                        "name": "ms", "uid": "u",
                    }],
                },
                "spec": {"memory": 4, "zzz": {"kept": true}},
            })
        );
    }

    #[test]
    fn a_template_without_spec_template_gives_an_empty_object_and_a_wrong_one_an_error() {
        let mut template = json!({
            "apiVersion": "g/v1", "kind": "ThingTemplate", "metadata": {"name": "t"},
        });
        let none = BTreeMap::new();
        let make = |template: &Value| {
            clone_template(&CloneTemplate {
                template,
                namespace: "n",
                name: "x",
                cluster_name: "c",
                owner: None,
                labels: &none,
                annotations: &none,
            })
        };
        let clone = make(&template).unwrap();
        assert_eq!(clone["kind"], "Thing");
        assert!(clone.get("spec").is_none());
        template["spec"] = json!({"template": 3});
        assert!(matches!(
            make(&template),
            Err(ContractError::Template { .. })
        ));
    }
}
