//! Converts objects between the stored version of a kind (the hub) and its older served versions.
//!
//! A conversion is data: rules that move and rewrite fields, read in both directions. Around them
//! stands one mechanism that loses nothing. What the older version cannot hold is kept in the
//! annotation [`CONVERSION_DATA`], as upstream does: on an
//! object in an older version the whole hub object (without metadata), on a hub object the fields
//! that the older version had beyond it. On the way back both sides are merged: a field that was
//! changed meanwhile is taken from the object, everything else from the annotation.
//!
//! Conversions never look anything up. References of the older versions name a version that the
//! hub does not have; whoever knows the definitions gives it as [`ReferenceVersions`].

mod duration;
pub(super) mod merge;
mod rules;

use serde_json::{Map, Value};

pub use rules::{Custom, Direction, Rule, apply, invalid, put, take};

use super::annotations::CONVERSION_DATA;
use super::meta::KindInfo;
use super::patch::{Unset, take_changes};

/// Why an object cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// The object is of another kind than the conversion.
    #[error("the object is {found}, but only {expected} is converted here")]
    WrongKind {
        /// Kind of the conversion.
        expected: String,
        /// What the object says it is.
        found: String,
    },
    /// The kind is not served in the version.
    #[error("{kind} has no version {version}; it has {known}")]
    UnknownVersion {
        /// Kind of the object.
        kind: String,
        /// The version that was asked for, or that the object says it has.
        version: String,
        /// The versions that the kind has.
        known: String,
    },
    /// A value cannot be rewritten.
    #[error("{path}: {message}")]
    InvalidValue {
        /// Where the value stands, separated by `.`.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Knows in which version a kind is referred to.
pub trait ReferenceVersions: Send + Sync {
    /// Version of `kind` in `group`; `None` when the kind is not known, references then name no version.
    fn version(&self, group: &str, kind: &str) -> Option<String>;
}

/// Knows no kind.
impl ReferenceVersions for () {
    fn version(&self, _: &str, _: &str) -> Option<String> {
        None
    }
}

/// Looks versions up in CustomResourceDefinitions: the newest of the contract v1beta2, else of
/// v1beta1, else the stored one.
impl ReferenceVersions for Vec<Value> {
    fn version(&self, group: &str, kind: &str) -> Option<String> {
        let definition = self.iter().find(|definition| {
            definition
                .pointer("/spec/group")
                .is_some_and(|found| found == group)
                && definition
                    .pointer("/spec/names/kind")
                    .is_some_and(|found| found == kind)
        })?;
        let labels = definition.pointer("/metadata/labels");
        let by_contract = ["v1beta2", "v1beta1"].iter().find_map(|contract| {
            let versions = labels?
                .get(format!("{}{contract}", super::labels::CONTRACT_PREFIX))?
                .as_str()?;
            versions.rsplit('_').next().map(str::to_owned)
        });
        let stored = || {
            let versions = definition.pointer("/spec/versions")?.as_array()?;
            let stored = versions
                .iter()
                .find(|version| version.get("storage") == Some(&Value::Bool(true)))?;
            stored.get("name")?.as_str().map(str::to_owned)
        };
        by_contract.or_else(stored)
    }
}

/// Conversion of a kind between its stored version and its older ones.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// The kind in its stored version.
    pub hub: KindInfo,
    /// The older versions.
    pub spokes: &'static [Spoke],
}

/// An older version of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Spoke {
    /// The version, such as `v1beta1`.
    pub version: &'static str,
    /// How its fields become those of the hub, and back.
    pub rules: &'static [Rule],
    /// Whether an object in this version always carries the hub object.
    pub keep: Keep,
    /// What a hub object keeps of the older one.
    pub keep_older: KeepOlder,
}

/// When an object in an older version carries the hub object in its annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Always, as upstream does for most kinds.
    Always,
    /// Only when it cannot be had back without.
    WhenNeeded,
}

/// What a hub object keeps in its annotation of an object that was written in an older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepOlder {
    /// The fields that the hub lacks.
    Fields,
    /// The whole spec, when the hub holds it in another form.
    Spec,
}

impl Conversion {
    /// The versions that the kind has, the stored one first.
    pub fn versions(&self) -> impl Iterator<Item = &'static str> + '_ {
        std::iter::once(self.hub.version).chain(self.spokes.iter().map(|spoke| spoke.version))
    }

    /// The object in the version `to_api_version` (group and version).
    ///
    /// # Errors
    ///
    /// When the object is of another kind, one of the versions is not known, or a value is malformed.
    pub fn convert(
        &self,
        object: Value,
        to_api_version: &str,
        references: &dyn ReferenceVersions,
    ) -> Result<Value, ConversionError> {
        let text = |name: &str| {
            object
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if kind != self.hub.kind {
            return Err(self.wrong_kind(&api_version, &kind));
        }
        let (from, to) = (self.version(&api_version)?, self.version(to_api_version)?);
        if from == to {
            return Ok(object);
        }
        let hub = match self.spoke(&from) {
            Some(spoke) => self.raise(spoke, object, references)?,
            None => object,
        };
        match self.spoke(&to) {
            Some(spoke) => self.lower(spoke, hub, references),
            None => Ok(hub),
        }
    }

    /// The conversion as a function on encoded objects, for an API server to call.
    ///
    /// Register it for the resource `hub.definition_name()`.
    pub fn encoded(
        self,
        references: std::sync::Arc<dyn ReferenceVersions>,
    ) -> impl Fn(&[u8], &str) -> Result<Vec<u8>, String> + Send + Sync + 'static {
        move |object, to_api_version| {
            let object = serde_json::from_slice(object).map_err(|error| error.to_string())?;
            let converted = self
                .convert(object, to_api_version, references.as_ref())
                .map_err(|error| error.to_string())?;
            serde_json::to_vec(&converted).map_err(|error| error.to_string())
        }
    }

    fn wrong_kind(&self, api_version: &str, kind: &str) -> ConversionError {
        ConversionError::WrongKind {
            expected: format!("{} of {}", self.hub.kind, self.hub.group),
            found: format!("{kind} of {api_version}"),
        }
    }

    fn version(&self, api_version: &str) -> Result<String, ConversionError> {
        match api_version.split_once('/') {
            Some((group, version)) if group == self.hub.group => {
                if self.versions().any(|known| known == version) {
                    return Ok(version.to_owned());
                }
                Err(ConversionError::UnknownVersion {
                    kind: self.hub.kind.to_owned(),
                    version: version.to_owned(),
                    known: self.versions().collect::<Vec<_>>().join(", "),
                })
            }
            _ => Err(self.wrong_kind(api_version, self.hub.kind)),
        }
    }

    fn spoke(&self, version: &str) -> Option<&'static Spoke> {
        self.spokes.iter().find(|spoke| spoke.version == version)
    }

    /// Older version to hub, with what an annotation kept of the hub object.
    fn raise(
        &self,
        spoke: &Spoke,
        mut object: Value,
        references: &dyn ReferenceVersions,
    ) -> Result<Value, ConversionError> {
        merge::drop_nulls(&mut object);
        let kept = take_kept(&mut object, &self.hub.api_version());
        let namespace = namespace(&object);
        let plain = self.up(spoke, object.clone())?;
        let mut hub = match kept {
            Some(kept) => {
                let seen = self.up(
                    spoke,
                    self.down(spoke, with_metadata(kept.clone(), &object), references)?,
                )?;
                let mut hub = with_metadata(kept, &plain);
                take_changes(&mut hub, &seen, &plain, Unset::ZeroToo);
                hub
            }
            None => plain,
        };
        let back = self.down(spoke, hub.clone(), references)?;
        let canonical = rules::canonical(spoke.rules, object.clone(), namespace.as_deref())?;
        let mut lost = merge::lost(&body(&canonical), &body(&back)).unwrap_or_default();
        if spoke.keep_older == KeepOlder::Spec {
            take(&mut lost, "spec");
            let (had, has) = (
                merge::normal(&spec(&canonical)),
                merge::normal(&spec(&back)),
            );
            if had != has {
                let had = had.get("spec").cloned();
                put(
                    &mut lost,
                    &["spec"],
                    had.unwrap_or_else(|| Map::new().into()),
                );
            }
        }
        if lost.as_object().is_some_and(|lost| !lost.is_empty()) {
            keep(
                &mut hub,
                &format!("{}/{}", self.hub.group, spoke.version),
                self.hub.kind,
                lost,
            );
        }
        Ok(hub)
    }

    /// Hub to older version, with what an annotation kept of the object in that version.
    fn lower(
        &self,
        spoke: &Spoke,
        mut hub: Value,
        references: &dyn ReferenceVersions,
    ) -> Result<Value, ConversionError> {
        let kept = take_kept(&mut hub, &format!("{}/{}", self.hub.group, spoke.version));
        let mut object = self.down(spoke, hub.clone(), references)?;
        if let Some(kept) = kept {
            let mut other = object.clone();
            let mut kept = with_metadata(kept, &object);
            if spoke.keep_older == KeepOlder::Spec && kept.get("spec").is_some() {
                let seen = self.down(spoke, self.up(spoke, kept.clone())?, references)?;
                let mut merged = spec(&kept);
                take_changes(&mut merged, &spec(&seen), &spec(&object), Unset::ZeroToo);
                if let Some(merged) = take(&mut merged, "spec") {
                    put(&mut other, &["spec"], merged);
                }
                take(&mut kept, "spec");
            }
            merge::give_back(&mut other, &body(&kept));
            // What was kept must not undo what was changed in the hub meanwhile.
            let meaning = |object: &Value| -> Result<Value, ConversionError> {
                Ok(merge::normal(&body(&self.up(spoke, object.clone())?)))
            };
            if meaning(&other)? == meaning(&object)? {
                object = other;
            }
        }
        let needed =
            || -> Result<bool, ConversionError> {
                Ok(merge::normal(&body(&self.up(spoke, object.clone())?))
                    != merge::normal(&body(&hub)))
            };
        if spoke.keep == Keep::Always || needed()? {
            keep(
                &mut object,
                &self.hub.api_version(),
                self.hub.kind,
                body(&hub),
            );
        }
        Ok(object)
    }

    fn up(&self, spoke: &Spoke, mut object: Value) -> Result<Value, ConversionError> {
        object["apiVersion"] = self.hub.api_version().into();
        rules::apply(spoke.rules, object, &Direction::ToHub)
    }

    fn down(
        &self,
        spoke: &Spoke,
        mut hub: Value,
        references: &dyn ReferenceVersions,
    ) -> Result<Value, ConversionError> {
        hub["apiVersion"] = format!("{}/{}", self.hub.group, spoke.version).into();
        let namespace = namespace(&hub);
        rules::apply(
            spoke.rules,
            hub,
            &Direction::FromHub {
                namespace: namespace.as_deref(),
                references,
            },
        )
    }
}

/// The conversion of `kind` in `group` among several.
#[must_use]
pub fn find<'a>(conversions: &'a [Conversion], group: &str, kind: &str) -> Option<&'a Conversion> {
    conversions
        .iter()
        .find(|conversion| conversion.hub.group == group && conversion.hub.kind == kind)
}

fn namespace(object: &Value) -> Option<String> {
    object
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn spec(object: &Value) -> Value {
    let spec = object.get("spec").cloned().unwrap_or_default();
    Value::Object(Map::from_iter([("spec".to_owned(), spec)]))
}

/// An object without version, kind and metadata.
fn body(object: &Value) -> Value {
    let mut body = object.clone();
    if let Some(body) = body.as_object_mut() {
        for name in ["apiVersion", "kind", "metadata"] {
            body.remove(name);
        }
    }
    body
}

fn with_metadata(mut kept: Value, object: &Value) -> Value {
    for name in ["kind", "apiVersion", "metadata"] {
        if let (Some(kept), Some(value)) = (kept.as_object_mut(), object.get(name)) {
            kept.insert(name.to_owned(), value.clone());
        }
    }
    kept
}

/// Removes the annotation; what it holds, when it is of the version.
fn take_kept(object: &mut Value, api_version: &str) -> Option<Value> {
    let annotations = object
        .pointer_mut("/metadata/annotations")?
        .as_object_mut()?;
    let text = annotations.remove(CONVERSION_DATA)?;
    if annotations.is_empty()
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("annotations");
    }
    // What somebody else wrote there is no reason to refuse the object.
    let kept: Value = serde_json::from_str(text.as_str()?).ok()?;
    (kept.get("apiVersion")?.as_str()? == api_version && kept.is_object()).then_some(kept)
}

fn keep(object: &mut Value, api_version: &str, kind: &str, body: Value) {
    let mut kept = Map::new();
    kept.insert("apiVersion".into(), api_version.into());
    kept.insert("kind".into(), kind.into());
    if let Value::Object(body) = body {
        kept.extend(body);
    }
    let path = ["metadata", "annotations", CONVERSION_DATA];
    put(object, &path, Value::Object(kept).to_string().into());
}
