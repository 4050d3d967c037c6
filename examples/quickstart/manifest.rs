//! The objects to apply, and what can be said of them before anybody is asked.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The example of our own: three control plane machines, three workers.
pub(crate) const EXAMPLE: &str = include_str!("cluster.yaml");

/// Where an object names another one.
const REFERENCES: [(&str, &[&str]); 5] = [
    (
        "Cluster",
        &["/spec/controlPlaneRef", "/spec/infrastructureRef"],
    ),
    ("TalosControlPlane", &["/spec/infrastructureTemplate"]),
    (
        "MachineDeployment",
        &[
            "/spec/template/spec/bootstrap/configRef",
            "/spec/template/spec/infrastructureRef",
        ],
    ),
    (
        "MachineSet",
        &[
            "/spec/template/spec/bootstrap/configRef",
            "/spec/template/spec/infrastructureRef",
        ],
    ),
    (
        "Machine",
        &["/spec/bootstrap/configRef", "/spec/infrastructureRef"],
    ),
];

/// Documents, and what the datacenter must have for them.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// The objects, in order, each with a namespace.
    pub(crate) documents: Vec<Value>,
    /// Where each is from, for messages.
    origins: Vec<String>,
}

/// An object that another one names.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    /// Which object and field name it.
    pub(crate) from: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Manifest {
    /// Reads files, or the example.
    ///
    /// # Errors
    /// What is wrong with it, with file, line and column where the parser knows them.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, String> {
        let mut manifest = Self {
            documents: Vec::new(),
            origins: Vec::new(),
        };
        if paths.is_empty() {
            manifest.add(Path::new("cluster.yaml"), EXAMPLE)?;
        }
        for path in paths {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("--manifest {}: {error}", path.display()))?;
            manifest.add(path, &text)?;
        }
        manifest.cluster()?;
        Ok(manifest)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), String> {
        let name = path.display();
        let documents = serde_saphyr::from_multiple::<Value>(text)
            .map_err(|error| format!("{name}: {error}"))?;
        for (index, mut document) in documents.into_iter().enumerate() {
            if document.is_null() {
                continue;
            }
            let origin = format!("{name}, document {}", index + 1);
            for field in ["/apiVersion", "/kind", "/metadata/name"] {
                let text = document.pointer(field).and_then(Value::as_str);
                if text.is_none_or(str::is_empty) {
                    let field = field.trim_start_matches('/').replace('/', ".");
                    let kind = document["kind"].as_str().unwrap_or("object");
                    return Err(format!("{origin}: {kind}: {field} is missing"));
                }
            }
            if document["metadata"]["namespace"].is_null() {
                document["metadata"]["namespace"] = json!("default");
            }
            self.documents.push(document);
            self.origins.push(origin);
        }
        Ok(())
    }

    /// Kinds and versions of groups that the definitions have.
    ///
    /// # Errors
    /// An object whose kind or version is not among them, and what is.
    pub(crate) fn check_kinds(&self, definitions: &[Value]) -> Result<(), String> {
        for (document, origin) in self.documents.iter().zip(&self.origins) {
            let text = |field: &str| document[field].as_str().unwrap_or_default();
            let (api_version, kind) = (text("apiVersion"), text("kind"));
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let of_group: Vec<&Value> = definitions
                .iter()
                .filter(|definition| definition["spec"]["group"] == group)
                .collect();
            if of_group.is_empty() {
                continue;
            }
            let shown = format!("{origin}: {kind} {}", shown(document));
            let found = of_group
                .iter()
                .find(|definition| definition["spec"]["names"]["kind"] == kind);
            let Some(definition) = found else {
                let known: Vec<&str> = of_group
                    .iter()
                    .filter_map(|definition| definition["spec"]["names"]["kind"].as_str())
                    .collect();
                return Err(format!(
                    "{shown}: kind: {group} has no kind {kind}; it has {}",
                    known.join(", ")
                ));
            };
            let versions: Vec<&str> = definition["spec"]["versions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|version| version["served"] == true)
                .filter_map(|version| version["name"].as_str())
                .collect();
            if !versions.contains(&version) {
                return Err(format!(
                    "{shown}: apiVersion: {kind} has no version {version}; it has {}",
                    versions.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// The objects that ours name and that the documents do not have.
    pub(crate) fn missing_references(&self) -> Vec<Reference> {
        let mut missing = Vec::new();
        for document in &self.documents {
            let kind = document["kind"].as_str().unwrap_or_default();
            let fields = REFERENCES
                .iter()
                .find(|(known, _)| *known == kind)
                .map_or(&[][..], |(_, fields)| *fields);
            for field in fields {
                let Some(reference) = document.pointer(field) else {
                    continue;
                };
                let (Some(wanted), Some(name)) =
                    (reference["kind"].as_str(), reference["name"].as_str())
                else {
                    continue;
                };
                let namespace = &document["metadata"]["namespace"];
                let there = self.of_kind(wanted).any(|known| {
                    known["metadata"]["name"] == name
                        && known["metadata"]["namespace"] == *namespace
                });
                if !there {
                    let field = field.trim_start_matches('/').replace('/', ".");
                    missing.push(Reference {
                        from: format!("{kind} {}: {field}", shown(document)),
                        kind: wanted.to_owned(),
                        namespace: namespace.as_str().unwrap_or_default().to_owned(),
                        name: name.to_owned(),
                    });
                }
            }
        }
        missing
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

    /// Namespace and name of the Cluster.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn cluster_key(&self) -> Result<(String, String), String> {
        let metadata = &self.cluster()?["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        Ok((text("namespace"), text("name")))
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

/// Namespace and name of an object.
pub(crate) fn shown(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}
