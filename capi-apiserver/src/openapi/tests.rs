use super::*;
use crate::json::{Value, parse};

const SCHEMA: &str = r#"{"type":"object","description":"A widget.","properties":{"spec":{"type":"object","properties":{
    "size":{"type":"integer","nullable":true},"port":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]}}}}}"#;

fn widget<'r>(schema: &'r Value<'r>) -> Described<'r> {
    Described {
        group: "example.com",
        version: "v1",
        kind: "Widget",
        plural: "widgets",
        namespaced: true,
        create_only: false,
        status: true,
        scale: true,
        schema: Some(schema),
    }
}

fn pod() -> Described<'static> {
    Described {
        group: "",
        version: "v1",
        kind: "Pod",
        plural: "pods",
        namespaced: true,
        create_only: false,
        status: true,
        scale: false,
        schema: None,
    }
}

#[test]
fn a_custom_resource_is_described_with_its_metadata_list_and_paths() {
    let schema = parse(SCHEMA.as_bytes()).unwrap().value;
    let document = v3("example.com", "v1", &[widget(&schema), pod()]);
    let schemas = document.at(&["components", "schemas"]).unwrap();
    let definition = schemas.get("com.example.v1.Widget").unwrap();
    assert_eq!(
        definition.get("description").and_then(Value::as_str),
        Some("A widget.")
    );
    assert!(
        definition
            .at(&["properties", "metadata", "allOf"])
            .is_some()
    );
    assert!(
        definition
            .at(&["properties", "spec", "properties", "port", "anyOf"])
            .is_some()
    );
    assert!(schemas.get("com.example.v1.WidgetList").is_some());
    assert!(
        schemas
            .get("io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference")
            .is_some(),
        "what it refers to is there"
    );
    assert!(
        schemas.get("io.k8s.api.core.v1.Pod").is_none(),
        "other groups are not"
    );
    let patch = document
        .at(&[
            "paths",
            "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}",
            "patch",
            "parameters",
        ])
        .and_then(Value::as_array)
        .unwrap();
    let names: Vec<_> = patch
        .iter()
        .filter_map(|parameter| parameter.get("name")?.as_str())
        .collect();
    assert_eq!(
        names,
        ["dryRun", "fieldManager", "fieldValidation", "force"]
    );
    assert!(
        document
            .at(&[
                "paths",
                "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/scale"
            ])
            .is_some()
    );
}

#[test]
fn version_two_has_no_alternatives_and_refers_to_definitions() {
    let schema = parse(SCHEMA.as_bytes()).unwrap().value;
    let text = v2(&[widget(&schema), pod()]).to_string();
    assert!(
        !text.contains("components/schemas") && !text.contains("oneOf") && !text.contains("anyOf")
    );
    let document = parse(text.as_bytes()).unwrap().value;
    let size = document.at(&[
        "definitions",
        "com.example.v1.Widget",
        "properties",
        "spec",
        "properties",
        "size",
    ]);
    assert_eq!(size.unwrap().to_string(), "{}");
    let metadata = document.at(&[
        "definitions",
        "io.k8s.api.core.v1.Pod",
        "properties",
        "metadata",
        "$ref",
    ]);
    assert_eq!(
        metadata.and_then(Value::as_str),
        Some("#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
    );
}

#[test]
fn the_binary_form_holds_the_names_of_paths_and_definitions() {
    let schema = parse(SCHEMA.as_bytes()).unwrap().value;
    let bytes = protobuf::encode(&v2(&[widget(&schema)]));
    // Field 1, length 3: the version of the format.
    assert!(bytes.starts_with(b"\x0a\x032.0"));
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains("com.example.v1.WidgetList") && text.contains("/apis/example.com/v1/widgets")
    );
}
