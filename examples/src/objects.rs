//! Objects of any kind through a `kube::Client`.

use capi_core::runtime::ResourceType;
use kube::Client;
use serde_json::Value;

/// What went wrong with an object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The document is no object.
    #[error("{0}: an object needs apiVersion, kind and metadata.name")]
    NoObject(String),
    /// The API server does not know the kind.
    #[error("{object}: apiVersion {api_version}, kind {kind}: the API server has no such kind")]
    UnknownKind {
        /// Kind and name.
        object: String,
        /// The version that was asked for.
        api_version: String,
        /// The kind.
        kind: String,
    },
    /// The API server refused it, or did not answer.
    #[error("{object}: {}", refusal(.source))]
    Refused {
        /// Kind and name.
        object: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

/// What the API server says, without the words that a client adds.
fn refusal(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// An object's address.
#[derive(Clone, Debug)]
pub struct Address {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its path on the API server.
    pub path: String,
    /// The path of its collection.
    pub collection: String,
}

impl Address {
    /// The address of an object.
    ///
    /// # Errors
    /// When a part of it is missing.
    pub fn of(object: &Value) -> Result<Self, ObjectError> {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (api_version, kind, name) =
            (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        if api_version.is_empty() || kind.is_empty() || name.is_empty() {
            let shown = if kind.is_empty() { "document" } else { kind };
            return Err(ObjectError::NoObject(format!("{shown} {name}")));
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let namespaced = !matches!(
            kind,
            "Namespace" | "Node" | "CustomResourceDefinition" | "GlobalInClusterIPPool"
        );
        let plural = capi_core::contract::pluralize(&kind.to_lowercase());
        let resource = ResourceType::new(group, version, kind, plural, namespaced);
        let namespace = match text("/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        };
        let collection = resource.path(namespace);
        Ok(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            path: format!("{collection}/{name}"),
            collection,
        })
    }
}

/// Applies an object: server-side, by force, as `quickstart`.
///
/// # Errors
/// What the API server says, with the object's kind and name.
pub async fn apply(client: &Client, object: &Value, dry_run: bool) -> Result<Value, ObjectError> {
    let address = Address::of(object)?;
    let mut path = format!("{}?fieldManager=quickstart&force=true", address.path);
    if dry_run {
        path.push_str("&dryRun=All");
    }
    let content_type = "application/apply-patch+yaml";
    match send(
        client,
        http::Method::PATCH,
        &path,
        content_type,
        Some(object),
    )
    .await
    {
        // Apply makes what is not there: it is the kind that is not.
        Err(kube::Error::Api(status)) if status.code == 404 && status.reason != "NotFound" => {
            Err(ObjectError::UnknownKind {
                object: format!("{} {}", address.kind, address.name),
                api_version: object["apiVersion"].as_str().unwrap_or_default().to_owned(),
                kind: address.kind,
            })
        }
        other => other.map_err(|source| refused(&address, source)),
    }
}

/// Merges a patch into an object.
///
/// # Errors
/// What the API server says, with the object's kind and name.
pub async fn patch(
    client: &Client,
    address: &Address,
    patch: &Value,
) -> Result<Value, ObjectError> {
    send(
        client,
        http::Method::PATCH,
        &address.path,
        "application/merge-patch+json",
        Some(patch),
    )
    .await
    .map_err(|source| refused(address, source))
}

/// Deletes an object; one that is gone is no error.
///
/// # Errors
/// What the API server says, with the object's kind and name.
pub async fn delete(client: &Client, address: &Address) -> Result<(), ObjectError> {
    delete_at(client, &address.path)
        .await
        .map_err(|source| refused(address, source))
}

/// Makes an object in a collection, with all its metadata.
///
/// # Errors
/// When the API server refuses it, or does not answer.
pub async fn create(
    client: &Client,
    collection: &str,
    object: &Value,
) -> Result<Value, kube::Error> {
    let body = Some(object);
    send(
        client,
        http::Method::POST,
        collection,
        "application/json",
        body,
    )
    .await
}

/// Merges a status into that of the object at a path. A kind without one is no error.
///
/// # Errors
/// When the API server refuses it, or does not answer.
pub async fn patch_status(client: &Client, path: &str, status: &Value) -> Result<(), kube::Error> {
    let body = serde_json::json!({ "status": status });
    let path = format!("{path}/status");
    let content_type = "application/merge-patch+json";
    match send(
        client,
        http::Method::PATCH,
        &path,
        content_type,
        Some(&body),
    )
    .await
    {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

/// Deletes the object at a path; one that is gone is no error.
///
/// # Errors
/// When the API server refuses it, or does not answer.
pub async fn delete_at(client: &Client, path: &str) -> Result<(), kube::Error> {
    match send(client, http::Method::DELETE, path, "application/json", None).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

/// What is at a path; `None` when nothing is.
///
/// # Errors
/// When the API server does not answer.
pub async fn get(client: &Client, path: &str) -> Result<Option<Value>, kube::Error> {
    match send(client, http::Method::GET, path, "application/json", None).await {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// The objects of a collection; none when the kind is not there.
///
/// # Errors
/// When the API server does not answer.
pub async fn list(client: &Client, path: &str) -> Result<Vec<Value>, kube::Error> {
    let found = get(client, path).await?;
    Ok(match found {
        Some(Value::Object(mut list)) => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    })
}

async fn send(
    client: &Client,
    method: http::Method,
    path: &str,
    content_type: &str,
    body: Option<&Value>,
) -> Result<Value, kube::Error> {
    let bytes = body
        .map(|body| body.to_string().into_bytes())
        .unwrap_or_default();
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, content_type)
        .body(bytes)
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

fn refused(address: &Address, source: kube::Error) -> ObjectError {
    ObjectError::Refused {
        object: format!("{} {}", address.kind, address.name),
        source: Box::new(source),
    }
}
