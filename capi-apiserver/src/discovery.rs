//! What the server tells about itself: groups, versions and resources (plain and aggregated),
//! version, health.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    registry::{Registry, Resource, Served},
    reply::Reply,
    request::{Request, negotiate},
    server::Server,
    status::Status,
};

/// The version of Kubernetes whose API this is.
const MINOR: &str = "36";
const GIT_VERSION: &str = "v1.36.0";

pub(crate) fn answer(server: &Arc<Server>, request: &Request) -> Result<Reply, Status> {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Ok(Reply::not_found_page());
    }
    let registry = server.registry();
    let parts: Vec<&str> = request
        .path
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let document = match parts.as_slice() {
        [] => paths(&registry),
        ["api"] => match negotiate::aggregated_discovery(&request.accept) {
            Some(version) => return Ok(aggregated(&registry, version, true)),
            None => json!({
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
            }),
        },
        ["apis"] => match negotiate::aggregated_discovery(&request.accept) {
            Some(version) => return Ok(aggregated(&registry, version, false)),
            None => {
                let groups: Vec<Value> = registry
                    .groups()
                    .iter()
                    .map(|(group, versions)| group_document(group, versions))
                    .collect();
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
            }
        },
        ["api", "v1"] => resources(&registry, "", "v1"),
        ["apis", group] => {
            let groups = registry.groups();
            let Some((group, versions)) = groups.iter().find(|(name, _)| name == group) else {
                return Ok(Reply::not_found_page());
            };
            let mut document = group_document(group, versions);
            document["kind"] = "APIGroup".into();
            document["apiVersion"] = "v1".into();
            document
        }
        ["apis", group, version] if registry.serves(group, version) => {
            resources(&registry, group, version)
        }
        ["version"] => json!({
            "major": "1", "minor": MINOR, "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
            "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        }),
        ["healthz" | "readyz" | "livez", ..] => return Ok(Reply::text(200, &b"ok"[..])),
        other => {
            let described = crate::describe::answer(server, &registry, request, other);
            return Ok(described.unwrap_or_else(Reply::not_found_page));
        }
    };
    Ok(Reply::json(200, document.to_string()))
}

fn paths(registry: &Registry) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in registry.groups() {
        paths.push(format!("/apis/{group}"));
        paths.extend(
            versions
                .iter()
                .map(|version| format!("/apis/{group}/{version}")),
        );
    }
    for path in [
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ] {
        paths.push(path.to_owned());
    }
    json!({"paths": paths})
}

fn group_document(group: &str, versions: &[String]) -> Value {
    let entry = |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({
        "name": group,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

/// One row of a plain resource list.
struct Row<'a> {
    /// `machines`, `machines/status`.
    name: String,
    kind: &'a str,
    /// Group and version of the kind, where they are not those of the list.
    of: Option<(&'a str, &'a str)>,
    verbs: &'a [&'a str],
}

fn subresources<'a>(resource: &'a Resource, served: &'a Served) -> Vec<Row<'a>> {
    let plural = &resource.names.plural;
    let kind = resource.names.kind.as_str();
    let mut rows = Vec::new();
    let mut row = |name: &str, kind: &'a str, of, verbs| {
        rows.push(Row {
            name: format!("{plural}/{name}"),
            kind,
            of,
            verbs,
        });
    };
    match resource.behaviour {
        crate::registry::Behaviour::Namespace => row("finalize", kind, None, &["update"]),
        crate::registry::Behaviour::Pod => {
            row("eviction", "Eviction", Some(("policy", "v1")), &["create"]);
        }
        _ => {}
    }
    if served.status {
        row("status", kind, None, &["get", "patch", "update"]);
    }
    if served.scale.is_some() {
        row(
            "scale",
            "Scale",
            Some(("autoscaling", "v1")),
            &["get", "patch", "update"],
        );
    }
    rows
}

fn resources(registry: &Registry, group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for (resource, served) in registry.in_version(group, version) {
        let served = &resource.served[*served];
        let names = &resource.names;
        let mut row = json!({
            "name": names.plural,
            "singularName": names.singular,
            "namespaced": resource.namespaced,
            "kind": names.kind,
            "verbs": resource.verbs(),
        });
        if !names.short_names.is_empty() {
            row["shortNames"] = json!(names.short_names);
        }
        if !names.categories.is_empty() {
            row["categories"] = json!(names.categories);
        }
        row["storageVersionHash"] = storage_hash(resource).into();
        list.push(row);
        for sub in subresources(resource, served) {
            let mut row = json!({
                "name": sub.name, "singularName": "", "namespaced": resource.namespaced, "kind": sub.kind, "verbs": sub.verbs,
            });
            if let Some((group, version)) = sub.of {
                row["group"] = group.into();
                row["version"] = version.into();
            }
            list.push(row);
        }
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": crate::registry::api_version(group, version),
        "resources": list,
    })
}

fn storage_hash(resource: &Resource) -> String {
    use base64::Engine;
    use sha2::Digest;
    let name = format!(
        "{}/{}/{}",
        resource.group,
        crate::registry::split_api_version(&resource.storage_api_version).1,
        resource.names.kind
    );
    base64::engine::general_purpose::STANDARD.encode(&sha2::Sha256::digest(name)[..8])
}

/// `APIGroupDiscoveryList` of the core group or of all others.
fn aggregated(registry: &Registry, version: &'static str, core: bool) -> Reply {
    let groups = if core {
        vec![(String::new(), vec!["v1".to_owned()])]
    } else {
        registry.groups()
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = registry
                        .in_version(group, version)
                        .map(|(resource, served)| {
                            aggregated_resource(resource, &resource.served[*served])
                        })
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": group, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let body = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    });
    let content_type = match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    Reply {
        content_type,
        ..Reply::json(200, body.to_string())
    }
}

fn aggregated_resource(resource: &Resource, served: &Served) -> Value {
    let names = &resource.names;
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut entry = json!({
        "resource": names.plural,
        "responseKind": kind(&served.group, &served.version, &names.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": names.singular,
        "verbs": resource.verbs(),
    });
    if !names.short_names.is_empty() {
        entry["shortNames"] = json!(names.short_names);
    }
    if !names.categories.is_empty() {
        entry["categories"] = json!(names.categories);
    }
    let subresources: Vec<Value> = subresources(resource, served)
        .iter()
        .map(|sub| {
            let (group, version) = sub.of.unwrap_or((&served.group, &served.version));
            let name = sub.name.split_once('/').map_or("", |(_, name)| name);
            json!({"subresource": name, "responseKind": kind(group, version, sub.kind), "verbs": sub.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    entry
}
