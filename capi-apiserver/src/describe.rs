//! The OpenAPI documents of what is served, made on demand from stored definitions.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::{
    json::{self, Value},
    openapi::{self, Described},
    registry::{Behaviour, Registry, api_version},
    reply::Reply,
    request::Request,
    server::Server,
    storage::{Range, Stored},
};

/// Answers `/openapi/v2`, `/openapi/v3` and below; `None` for other paths.
pub(crate) fn answer(
    server: &Server,
    registry: &Registry,
    request: &Request,
    parts: &[&str],
) -> Option<Reply> {
    match parts {
        ["openapi", "v2"] => Some(v2(server, registry, request)),
        ["openapi", "v3"] => Some(Reply::json(200, index(server, registry))),
        ["openapi", "v3", "api", "v1"] => Some(v3(server, registry, "", "v1")),
        ["openapi", "v3", "apis", group, version] if registry.serves(group, version) => {
            Some(v3(server, registry, group, version))
        }
        _ => None,
    }
}

fn definitions(server: &Server, registry: &Registry) -> Vec<Stored> {
    let Some(definitions) = registry.resource("apiextensions.k8s.io", "customresourcedefinitions")
    else {
        return Vec::new();
    };
    let listing = server.store.list(definitions.collection, Range::default());
    listing
        .map(|listing| {
            listing
                .items
                .into_iter()
                .map(|(_, stored)| stored)
                .collect()
        })
        .unwrap_or_default()
}

fn group_versions(registry: &Registry) -> Vec<(String, String)> {
    let mut versions = vec![(String::new(), "v1".to_owned())];
    for (group, names) in registry.groups() {
        versions.extend(names.into_iter().map(|version| (group.clone(), version)));
    }
    versions
}

fn path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn index(server: &Server, registry: &Registry) -> String {
    let definitions = definitions(server, registry);
    let mut paths = serde_json::Map::new();
    for (group, version) in group_versions(registry) {
        // The document changes with the definitions of its group.
        let mut hash = Sha256::new();
        for stored in &definitions {
            if crate::peek::string(&stored.bytes, &["spec", "group"]).as_deref()
                == Some(group.as_str())
            {
                hash.update(stored.version.to_le_bytes());
            }
        }
        let hash = hash
            .finalize()
            .iter()
            .fold(String::new(), |mut text, byte| {
                // Writing to a string does not fail.
                let _ = write!(text, "{byte:02X}");
                text
            });
        let path = path(&group, &version);
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, serde_json::json!({"serverRelativeURL": url}));
    }
    serde_json::json!({"paths": paths}).to_string()
}

/// Calls `make` with the descriptions of the resources of some versions.
fn described<T>(
    server: &Server,
    registry: &Registry,
    versions: &[(String, String)],
    make: impl FnOnce(&[Described<'_>]) -> T,
) -> T {
    let stored = definitions(server, registry);
    let trees: Vec<Value<'_>> = stored
        .iter()
        .filter_map(|stored| json::parse(&stored.bytes).ok())
        .map(|document| document.value)
        .collect();
    let schema = |group: &str, plural: &str, version: &str| {
        let definition = trees.iter().find(|definition| {
            let is = |path: &[&str], text: &str| {
                definition.at(path).and_then(Value::as_str) == Some(text)
            };
            is(&["spec", "group"], group) && is(&["spec", "names", "plural"], plural)
        })?;
        let versions = definition.at(&["spec", "versions"])?.as_array()?;
        let named = versions
            .iter()
            .find(|one| one.get("name").and_then(Value::as_str) == Some(version))?;
        named.at(&["schema", "openAPIV3Schema"])
    };
    let mut resources = Vec::new();
    for (group, version) in versions {
        for (resource, served) in registry.in_version(group, version) {
            let served = &resource.served[*served];
            resources.push(Described {
                group: &served.group,
                version: &served.version,
                kind: &resource.names.kind,
                plural: &resource.names.plural,
                namespaced: resource.namespaced,
                create_only: resource.behaviour == Behaviour::Review,
                status: served.status,
                scale: served.scale.is_some(),
                schema: if resource.is_custom() {
                    schema(group, &resource.names.plural, version)
                } else {
                    None
                },
            });
        }
    }
    make(&resources)
}

fn v3(server: &Server, registry: &Registry, group: &str, version: &str) -> Reply {
    let versions = [(group.to_owned(), version.to_owned())];
    let document = described(server, registry, &versions, |resources| {
        openapi::v3(group, version, resources)
    });
    tracing::trace!(version = api_version(group, version), "described");
    Reply::json(200, document.to_vec())
}

fn v2(server: &Server, registry: &Registry, request: &Request) -> Reply {
    let document = described(server, registry, &group_versions(registry), openapi::v2);
    if request.accept.contains("protobuf") && !request.accept.starts_with("application/json") {
        let body = openapi::protobuf::encode(&document);
        return Reply {
            content_type: openapi::protobuf::MEDIA_TYPE,
            ..Reply::json(200, body)
        };
    }
    Reply::json(200, document.to_vec())
}
