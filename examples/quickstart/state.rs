//! The objects of an embedded API server, kept in a file: its own memory goes with the process, and
//! a second run has to find what the first one made in a real datacenter.

use std::{collections::BTreeMap, time::Duration};

use capi_examples::objects;
use kube::Client;
use serde_json::{Value, json};

use crate::{
    directory::{Directory, Error},
    plane::definitions,
};

const FILE: &str = "objects.json";

/// Between two looks at whether something changed.
const LOOK: Duration = Duration::from_millis(250);

/// The collections that are kept: all kinds of ours, and Secrets.
fn collections() -> Vec<(String, String)> {
    let mut all = vec![("v1".to_owned(), "secrets".to_owned())];
    for definition in definitions() {
        let spec = &definition["spec"];
        let stored = spec["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|version| version["storage"] == true);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(stored) = stored {
            all.push((
                format!("{}/{}", text(&spec["group"]), text(&stored["name"])),
                text(&spec["names"]["plural"]),
            ));
        }
    }
    all
}

fn root(api_version: &str) -> String {
    if api_version.contains('/') {
        format!("/apis/{api_version}")
    } else {
        format!("/api/{api_version}")
    }
}

/// Writes all objects, if one of them changed since `known`.
pub(crate) async fn save(
    client: &Client,
    directory: &Directory,
    known: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut all = Vec::new();
    for (api_version, plural) in collections() {
        let path = format!("{}/{plural}", root(&api_version));
        for mut object in objects::list(client, &path).await? {
            object["apiVersion"] = json!(api_version);
            object["plural"] = json!(plural);
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("managedFields");
            }
            all.push(object);
        }
    }
    let text = serde_json::to_vec_pretty(&all)?;
    if *known != text {
        directory.write(FILE, &text)?;
        *known = text;
    }
    Ok(())
}

/// Writes all objects again and again, until it is dropped.
pub(crate) async fn keep(client: Client, directory: Directory) -> Result<(), Error> {
    let mut known = Vec::new();
    loop {
        save(&client, &directory, &mut known).await?;
        tokio::time::sleep(LOOK).await;
    }
}

/// Makes the objects of the file, owners first, with new uids; how many there are.
pub(crate) async fn restore(client: &Client, directory: &Directory) -> Result<usize, Error> {
    let path = directory.file(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    let mut waiting: Vec<Value> =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let total = waiting.len();
    let mut uids: BTreeMap<String, String> = BTreeMap::new();
    let kept: Vec<String> = waiting
        .iter()
        .filter_map(|object| object["metadata"]["uid"].as_str().map(str::to_owned))
        .collect();
    while !waiting.is_empty() {
        let (ready, later): (Vec<Value>, Vec<Value>) = waiting.into_iter().partition(|object| {
            owners(object).all(|owner| uids.contains_key(owner) || !kept.iter().any(|k| k == owner))
        });
        if ready.is_empty() {
            return Err(format!("{}: objects own each other in a circle", path.display()).into());
        }
        for object in ready {
            let old = object["metadata"]["uid"].as_str().unwrap_or_default();
            let new = make(client, &object, &uids).await?;
            uids.insert(old.to_owned(), new);
        }
        waiting = later;
    }
    Ok(total)
}

fn owners(object: &Value) -> impl Iterator<Item = &str> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners
        .into_iter()
        .flatten()
        .filter_map(|owner| owner["uid"].as_str())
}

/// Makes one object as it was, and says its new uid.
async fn make(
    client: &Client,
    object: &Value,
    uids: &BTreeMap<String, String>,
) -> Result<String, Error> {
    let mut object = object.clone();
    let text = |object: &Value, field: &str| {
        object
            .pointer(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let namespace = text(&object, "/metadata/namespace");
    let root = root(&text(&object, "/apiVersion"));
    let plural = text(&object, "/plural");
    let collection = if namespace.is_empty() {
        format!("{root}/{plural}")
    } else {
        format!("{root}/namespaces/{namespace}/{plural}")
    };
    let deleting = !object["metadata"]["deletionTimestamp"].is_null();
    let status = object["status"].take();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("plural");
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            metadata.remove(field);
        }
    }
    if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
        for owner in owners {
            let new = owner["uid"].as_str().and_then(|old| uids.get(old)).cloned();
            if let Some(new) = new {
                owner["uid"] = json!(new);
            }
        }
    }
    if !namespace.is_empty() && namespace != "default" {
        let wanted = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace },
        });
        objects::apply(client, &wanted, false).await?;
    }
    let made = objects::create(client, &collection, &object).await?;
    let path = format!("{collection}/{}", text(&object, "/metadata/name"));
    if status.is_object() {
        objects::patch_status(client, &path, &status).await?;
    }
    if deleting {
        objects::delete_at(client, &path).await?;
    }
    Ok(text(&made, "/metadata/uid"))
}

/// Forgets the objects: what they stood for is gone.
pub(crate) fn forget(directory: &Directory) -> Result<(), Error> {
    match std::fs::remove_file(directory.file(FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
