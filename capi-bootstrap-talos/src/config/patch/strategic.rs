//! Strategic merge patches: documents that are merged into those of the same identity, and
//! `$patch: delete` for what they shall remove.

use crate::config::document::{decode_document, encode_document, require_kind};
use crate::config::schema::{self, Kind};
use crate::config::yaml::{self, Mapping, Node};
use crate::config::{ConfigError, DocumentId, MachineConfig};

/// Documents to be merged, in order.
#[derive(Clone, Debug)]
pub struct StrategicPatch {
    documents: Vec<PatchDocument>,
}

#[derive(Clone, Debug)]
struct PatchDocument {
    id: DocumentId,
    kind: Option<&'static Kind>,
    deletes: Vec<Delete>,
    /// What remains to be merged; nothing where the document only deletes.
    body: Option<Mapping>,
}

/// One `$patch: delete`.
#[derive(Clone, Debug)]
struct Delete {
    path: Vec<String>,
    /// Key and value that select an element of a list.
    element: Option<(String, String)>,
}

fn invalid(message: String) -> ConfigError {
    ConfigError::Invalid(message)
}

impl StrategicPatch {
    pub(super) fn new(documents: Vec<yaml::Document>) -> Result<Self, ConfigError> {
        let mut out = Vec::new();
        for document in documents {
            if document.node.is_null() {
                continue;
            }
            let Node::Mapping(mut body) = document.node else {
                return Err(invalid(format!(
                    "line {}: a patch must be documents of a machine configuration, or a list of operations",
                    document.line
                )));
            };
            out.push(PatchDocument::new(&mut body, document.line)?);
        }
        Ok(Self { documents: out })
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    pub(super) fn apply(&self, config: &MachineConfig) -> Result<MachineConfig, ConfigError> {
        let mut documents = config
            .documents()
            .iter()
            .map(|document| decode_document(document, 0).map(|(document, _)| document))
            .collect::<Result<Vec<_>, _>>()?;
        for patch in &self.documents {
            let found = documents
                .iter()
                .position(|document| DocumentId::of(document) == patch.id);
            match (found, &patch.body) {
                (Some(index), _) => {
                    if !patch.apply(&mut documents[index])? {
                        documents.remove(index);
                    }
                }
                (None, Some(body)) => documents.push(body.clone()),
                // deleting what is not there
                (None, None) => {}
            }
        }
        Ok(MachineConfig::new(documents.iter().map(encode_document)))
    }
}

impl PatchDocument {
    fn new(body: &mut Mapping, line: usize) -> Result<Self, ConfigError> {
        let mut deletes = Vec::new();
        let whole = extract(body, &mut Vec::new(), &mut deletes)
            .map_err(|message| invalid(format!("line {line}: {message}")))?;
        let id = DocumentId::of(body);
        if !deletes.is_empty() && id.kind.is_empty() != id.api_version.is_empty() {
            return Err(invalid(format!(
                "line {line}: $patch: delete needs both apiVersion and kind"
            )));
        }
        if whole && id.is_v1alpha1() {
            return Err(invalid(format!(
                "line {line}: the v1alpha1 document cannot be deleted"
            )));
        }
        let emptied = !deletes.is_empty()
            && body.iter().all(|entry| {
                matches!(
                    entry.key.as_str(),
                    "apiVersion" | "kind" | "name" | "version"
                )
            });
        if whole || emptied {
            let kind = schema::kind(&id);
            if kind.is_none() {
                require_kind(body, line)?;
            }
            return Ok(Self {
                id,
                kind,
                deletes,
                body: None,
            });
        }
        let (body, kind) = decode_document(body, line)?;
        Ok(Self {
            id,
            kind,
            deletes,
            body: Some(body),
        })
    }

    /// Applies to the document of the same identity; false where it shall be removed.
    fn apply(&self, document: &mut Mapping) -> Result<bool, ConfigError> {
        let Some(kind) = self.kind else {
            return Err(invalid(format!("{}: unknown kind", self.id)));
        };
        for delete in &self.deletes {
            if delete.path.is_empty() {
                return Ok(false);
            }
            schema::delete(kind.fields, document, &delete.path, delete.element.as_ref()).map_err(
                |message| {
                    invalid(format!(
                        "$patch: delete in {} at {}: {message}",
                        self.id,
                        delete.path.join(".")
                    ))
                },
            )?;
        }
        if let Some(body) = &self.body {
            schema::merge(kind.fields, document, body)
                .map_err(|path| invalid(format!("{} cannot be merged: {path}", self.id)))?;
        }
        Ok(true)
    }
}

/// Takes the directives out of a mapping; true where the mapping itself shall be deleted.
fn extract(
    mapping: &mut Mapping,
    path: &mut Vec<String>,
    deletes: &mut Vec<Delete>,
) -> Result<bool, String> {
    if let Some(directive) = mapping.get("$patch") {
        if directive.as_str() != Some("delete") {
            return Err(format!(
                "{}$patch: only delete is supported",
                path.iter()
                    .map(|step| format!("{step}."))
                    .collect::<String>()
            ));
        }
        let in_list = path.last().is_some_and(|step| step.starts_with('['));
        if path
            .iter()
            .rev()
            .skip(usize::from(in_list))
            .any(|step| step.starts_with('['))
        {
            return Err(format!(
                "{}: nothing inside of a list element can be deleted",
                path.join(".")
            ));
        }
        let element = if in_list {
            let selector = mapping.iter().find(|entry| entry.key != "$patch");
            let selector = selector.and_then(|entry| match &entry.value {
                Node::Scalar(scalar) => Some((entry.key.clone(), scalar.text().to_owned())),
                _ => None,
            });
            Some(selector.ok_or_else(|| {
                format!(
                    "{}: name the element to delete by one of its keys",
                    path.join(".")
                )
            })?)
        } else {
            None
        };
        deletes.push(Delete {
            path: path.clone(),
            element,
        });
        return Ok(true);
    }
    let before = mapping.len();
    let mut failed = Ok(());
    mapping.retain_mut(|entry| {
        if failed.is_err() {
            return true;
        }
        path.push(entry.key.clone());
        let keep = match extract_value(&mut entry.value, path, deletes) {
            Ok(removed) => !removed,
            Err(message) => {
                failed = Err(message);
                true
            }
        };
        path.pop();
        keep
    });
    failed?;
    Ok(before > 0 && mapping.is_empty() && !path.is_empty())
}

fn extract_value(
    node: &mut Node,
    path: &mut Vec<String>,
    deletes: &mut Vec<Delete>,
) -> Result<bool, String> {
    match node {
        Node::Scalar(_) => Ok(false),
        Node::Mapping(mapping) => extract(mapping, path, deletes),
        Node::Sequence(items) => {
            let before = items.len();
            let mut kept = Vec::with_capacity(before);
            for (index, mut item) in std::mem::take(items).into_iter().enumerate() {
                path.push(format!("[{index}]"));
                if !extract_value(&mut item, path, deletes)? {
                    kept.push(item);
                }
                path.pop();
            }
            *items = kept;
            Ok(before > 0 && items.is_empty())
        }
    }
}
