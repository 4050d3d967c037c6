//! The objects to apply.

use std::path::Path;

use serde_json::{Value, json};

/// The example of our own: three control plane machines, three workers.
const EXAMPLE: &str = include_str!("cluster.yaml");

/// Documents, and what the datacenter must have for them.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// The objects, in order, each with a namespace.
    pub(crate) documents: Vec<Value>,
}

impl Manifest {
    /// Reads a file, or the example.
    ///
    /// # Errors
    /// What is wrong with it, with file, line and column where the parser knows them.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, String> {
        let (name, text) = match path {
            None => ("cluster.yaml".to_owned(), EXAMPLE.to_owned()),
            Some(path) => {
                let name = path.display().to_string();
                let text =
                    std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
                (name, text)
            }
        };
        let documents = serde_saphyr::from_multiple::<Value>(&text)
            .map_err(|error| format!("{name}: {error}"))?;
        let documents: Vec<Value> = documents
            .into_iter()
            .filter(|document| !document.is_null())
            .map(|mut document| {
                if document["metadata"].is_object() && document["metadata"]["namespace"].is_null() {
                    document["metadata"]["namespace"] = json!("default");
                }
                document
            })
            .collect();
        let manifest = Self { documents };
        manifest.cluster()?;
        Ok(manifest)
    }

    /// The Cluster.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn cluster(&self) -> Result<&Value, String> {
        self.of_kind("Cluster")
            .next()
            .ok_or_else(|| "the manifest has no Cluster".to_owned())
    }

    /// The objects of a kind.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents
            .iter()
            .filter(move |document| document["kind"] == kind)
    }

    /// Names of the nodes that it speaks of; `pve1` to `pve3` when it leaves the choice.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let mut nodes = Vec::new();
        self.walk(&mut |field, value| match (field, value) {
            ("sourceNode" | "target", Value::String(node)) => nodes.push(node.clone()),
            ("allowedNodes", Value::Array(list)) => {
                nodes.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            _ => {}
        });
        let mut unique: Vec<String> = Vec::new();
        for node in nodes {
            if !unique.contains(&node) {
                unique.push(node);
            }
        }
        if unique.is_empty() {
            unique = ["pve1", "pve2", "pve3"].map(str::to_owned).to_vec();
        }
        unique
    }

    /// Numbers of the templates that it clones.
    pub(crate) fn templates(&self) -> Vec<u64> {
        let mut templates = Vec::new();
        self.walk(&mut |field, value| {
            if field == "templateID"
                && let Some(number) = value.as_u64()
                && !templates.contains(&number)
            {
                templates.push(number);
            }
        });
        if templates.is_empty() {
            templates.push(9000);
        }
        templates
    }

    /// Namespace and name of the credentials Secret that a ProxmoxCluster names.
    pub(crate) fn credentials(&self) -> Option<(String, String)> {
        let cluster = self.of_kind("ProxmoxCluster").next()?;
        let reference = &cluster["spec"]["credentialsRef"];
        let own = cluster["metadata"]["namespace"].as_str()?;
        let namespace = reference["namespace"].as_str().unwrap_or(own);
        Some((namespace.to_owned(), reference["name"].as_str()?.to_owned()))
    }

    fn walk(&self, visit: &mut dyn FnMut(&str, &Value)) {
        fn walk(value: &Value, visit: &mut dyn FnMut(&str, &Value)) {
            match value {
                Value::Object(fields) => {
                    for (field, value) in fields {
                        visit(field, value);
                        walk(value, visit);
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
                _ => {}
            }
        }
        self.documents
            .iter()
            .for_each(|document| walk(document, visit));
    }
}
