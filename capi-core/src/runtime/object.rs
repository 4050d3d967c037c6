//! Objects as the caches keep them: encoded, with the metadata that indexes and mappings need.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Error;
use crate::api::labels;

/// Namespace and name; the namespace of a cluster-scoped object is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `metadata.namespace`, or empty.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key of its parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Another name in the same namespace.
    #[must_use]
    pub fn sibling(&self, name: &str) -> Self {
        Self {
            namespace: self.namespace.clone(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// `group/version` of the owner.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name, in the namespace of the object.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The one owner that controls the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// The owner's foreground deletion waits for the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

impl Owner {
    /// The API group of the owner.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// Whether it is of this group and kind.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.kind == kind && self.group() == group
    }
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: Meta,
}

impl Head {
    /// Reads an encoded object up to the end of its metadata where that stands at the front, as API
    /// servers write it: most of an object is behind. Else reads it to the end.
    fn read(raw: &[u8]) -> serde_json::Result<Self> {
        let Some(start) = metadata_at_front(raw).filter(|_| is_closed(raw)) else {
            return serde_json::from_slice(raw);
        };
        let mut front = serde_json::Deserializer::from_slice(&raw[start..]).into_iter();
        match front.next() {
            Some(metadata) => metadata.map(|metadata| Self { metadata }),
            None => serde_json::from_slice(raw),
        }
    }
}

/// Whether an object ends with its brace, so that it was not cut off.
fn is_closed(raw: &[u8]) -> bool {
    raw.trim_ascii_end().last() == Some(&b'}')
}

/// Where the value of the member `metadata` begins, if nothing but texts stands before it.
fn metadata_at_front(raw: &[u8]) -> Option<usize> {
    let skip_space = |at: usize| {
        let space = raw
            .get(at..)?
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace());
        Some(at + space.count())
    };
    // The text between the quotes that begin at `at`, and where it goes on; none with escapes.
    let text = |at: usize| {
        let rest = raw.get(at..)?.strip_prefix(b"\"")?;
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        (rest[length] == b'"').then_some((&rest[..length], at + length + 2))
    };
    let expect = |at: usize, byte: u8| (raw.get(at) == Some(&byte)).then_some(at + 1);
    let mut at = expect(skip_space(0)?, b'{')?;
    loop {
        let (name, end) = text(skip_space(at)?)?;
        let value = skip_space(expect(skip_space(end)?, b':')?)?;
        if name == b"metadata" {
            return Some(value);
        }
        let (_, end) = text(value)?;
        at = expect(skip_space(end)?, b',')?;
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    pub(crate) generation: i64,
    pub(crate) deletion_timestamp: Option<jiff::Timestamp>,
    pub(crate) labels: Option<std::collections::BTreeMap<String, String>>,
    pub(crate) finalizers: Option<Vec<String>>,
    pub(crate) owner_references: Option<Vec<Owner>>,
}

/// `spec.clusterName` of an encoded object, if it has that.
fn cluster_name(raw: &[u8]) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct OfCluster {
        spec: Spec,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        cluster_name: Box<str>,
    }
    let named = serde_json::from_slice::<OfCluster>(raw).ok()?;
    Some(named.spec.cluster_name).filter(|name| !name.is_empty())
}

/// An object of a cache: its bytes, the metadata that indexes need, and what it decodes to, made
/// once when somebody asks.
pub struct Object {
    key: ObjectKey,
    meta: Meta,
    version: u64,
    /// `spec.clusterName`, where no label says whose it is.
    cluster_name: Option<Box<str>>,
    raw: Bytes,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Object {
    /// Reads the metadata of an encoded object. What stands behind the metadata is not looked at
    /// before it is [decoded](Self::decode).
    ///
    /// # Errors
    /// When the bytes are no Kubernetes object.
    pub fn from_bytes(raw: Bytes) -> Result<Self, Error> {
        let head = Head::read(&raw).map_err(|source| Error::decode("object", source))?;
        let meta = head.metadata;
        let labelled = meta.labels.as_ref();
        let labelled = labelled.is_some_and(|labels| labels.contains_key(labels::CLUSTER_NAME));
        Ok(Self {
            cluster_name: if labelled { None } else { cluster_name(&raw) },
            key: ObjectKey::new(meta.namespace.as_str(), meta.name.as_str()),
            version: meta.resource_version.parse().unwrap_or(0),
            meta,
            raw,
            decoded: OnceLock::new(),
        })
    }

    /// Namespace and name.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        &self.meta.uid
    }

    /// `metadata.resourceVersion`.
    pub fn resource_version(&self) -> &str {
        &self.meta.resource_version
    }

    /// The resource version as the number that orders the object's states; 0 when it is none.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// `metadata.generation`.
    pub fn generation(&self) -> i64 {
        self.meta.generation
    }

    /// `metadata.deletionTimestamp`.
    pub fn deletion_timestamp(&self) -> Option<jiff::Timestamp> {
        self.meta.deletion_timestamp
    }

    /// Somebody deleted it, and finalizers keep it.
    pub fn is_deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.meta.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// The key of the Cluster that it [belongs](Self::cluster) to; its own where it names none, as
    /// a Cluster does.
    pub fn cluster_key(&self) -> ObjectKey {
        self.cluster()
            .map_or_else(|| self.key.clone(), |cluster| self.key.sibling(cluster))
    }

    /// Name of the Cluster that it belongs to: what its label says, or before its controller has
    /// put that there, `spec.clusterName`.
    pub fn cluster(&self) -> Option<&str> {
        self.label(labels::CLUSTER_NAME)
            .or(self.cluster_name.as_deref())
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.meta
            .labels
            .iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// `metadata.finalizers`.
    pub fn finalizers(&self) -> &[String] {
        self.meta.finalizers.as_deref().unwrap_or_default()
    }

    /// Whether the finalizer is there.
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers().iter().any(|found| found == finalizer)
    }

    /// `metadata.ownerReferences`.
    pub fn owners(&self) -> &[Owner] {
        self.meta.owner_references.as_deref().unwrap_or_default()
    }

    /// The owner that controls it.
    pub fn controller(&self) -> Option<&Owner> {
        self.owners()
            .iter()
            .find(|owner| owner.controller == Some(true))
    }

    /// The encoded object.
    pub fn bytes(&self) -> &Bytes {
        &self.raw
    }

    /// The object as `K`. Decoded once; asking for one type only, as controllers do, is free
    /// from then on.
    ///
    /// # Errors
    /// When the object does not have `K`'s form.
    pub fn decode<K: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<K>, Error> {
        if let Some(decoded) = self.decoded.get()
            && let Ok(typed) = Arc::clone(decoded).downcast::<K>()
        {
            return Ok(typed);
        }
        let typed: Arc<K> = Arc::new(
            serde_json::from_slice(&self.raw)
                .map_err(|source| Error::decode(&self.key.to_string(), source))?,
        );
        // Another thread, or another type, may have been first: theirs stays, ours is as good.
        let _ = self
            .decoded
            .set(Arc::clone(&typed) as Arc<dyn Any + Send + Sync>);
        Ok(typed)
    }

    /// The object as a tree of JSON, made anew at each call.
    ///
    /// # Errors
    /// When the bytes are no JSON.
    pub fn value(&self) -> Result<serde_json::Value, Error> {
        serde_json::from_slice(&self.raw)
            .map_err(|source| Error::decode(&self.key.to_string(), source))
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} at {})", self.key, self.meta.resource_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_the_same_wherever_it_stands() {
        let metadata = r#""metadata": {"name": "n", "uid": "u", "managedFields": [{"f:x": {}}]}"#;
        let rest = r#""spec": {"metadata": {"name": "inner"}}, "status": {"metadata": []}"#;
        for text in [
            format!(r#"{{"apiVersion":"v1","kind":"K",{metadata},{rest}}}"#),
            format!(" {{ {metadata} ,\n{rest} }}\n"),
            format!(r#"{{{rest},"kind":"K",{metadata}}}"#),
            format!(r#"{{"kind":"\"metadata\":{{}}",{metadata}}}"#),
            format!(r#"{{"kind" : "metadata" , {metadata}}}"#),
        ] {
            let object = Object::from_bytes(Bytes::from(text.clone())).expect("an object");
            assert_eq!((object.name(), object.uid()), ("n", "u"), "{text}");
        }
    }

    #[test]
    fn what_is_no_whole_object_is_refused() {
        for text in [
            "",
            "{",
            "\"metadata\"",
            r#"{"metadata"}"#,
            r#"{"metadata":3}"#,
            r#"{"metadata":{"name":1}}"#,
            r#"{"kind":"K","metadata":{"name":"n"},"spec":{"a"#,
        ] {
            let read = Object::from_bytes(Bytes::from_static(text.as_bytes()));
            assert!(read.is_err(), "{text}");
        }
        let absent = Object::from_bytes(Bytes::from_static(br#"{"kind":"K","spec":{}}"#));
        assert_eq!(absent.expect("an object").name(), "");
    }

    #[test]
    fn an_object_belongs_to_the_cluster_of_its_label_or_else_of_its_specification() {
        for (text, expected) in [
            (
                r#"{"metadata":{"labels":{"cluster.x-k8s.io/cluster-name":"a"}},"spec":{"clusterName":"b"}}"#,
                Some("a"),
            ),
            (r#"{"metadata":{},"spec":{"clusterName":"b"}}"#, Some("b")),
            (r#"{"metadata":{},"spec":{"clusterName":""}}"#, None),
            (r#"{"metadata":{},"spec":{"clusterName":3}}"#, None),
            (r#"{"metadata":{},"spec":"text"}"#, None),
            (r#"{"metadata":{"labels":{"other":"a"}}}"#, None),
        ] {
            let object = Object::from_bytes(Bytes::from_static(text.as_bytes()));
            let object = object.expect("an object");
            assert_eq!(object.cluster(), expected, "{text}");
        }
    }
}
