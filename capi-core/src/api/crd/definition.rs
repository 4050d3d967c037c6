//! The tests that hold a crate's committed definitions against its types, as one value.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Limits, Part, Samples, check_against, check_committed, check_type, schema};
use crate::api::KindInfo;

type CheckType = fn(&Value, &str, &Samples) -> Result<(), String>;

/// A kind and what its definition is made from.
struct Definition {
    kind: KindInfo,
    description: &'static str,
    parts: Vec<Part>,
    required: &'static [&'static str],
    check: CheckType,
}

/// The definitions that a crate has committed, `<plural>.json` in one directory, and the types that
/// they are made from.
///
/// For tests of the crate that owns the types. Every check looks at all definitions and reports all
/// problems at once, so that a test is one `assert_eq!(definitions.check_…(), Ok(()))`.
pub struct Definitions {
    directory: PathBuf,
    limits: Limits,
    list: Vec<Definition>,
}

impl Definitions {
    /// No definitions yet, of the files in `directory`, with these limits.
    pub fn new(directory: impl Into<PathBuf>, limits: Limits) -> Self {
        Self {
            directory: directory.into(),
            limits,
            list: Vec::new(),
        }
    }

    /// With a kind that has a spec only: `T` is the whole object.
    #[must_use]
    pub fn spec<T, Spec>(
        self,
        kind: KindInfo,
        description: &'static str,
        required: &'static [&'static str],
    ) -> Self
    where
        T: Serialize + DeserializeOwned,
        Spec: JsonSchema,
    {
        let parts = vec![Part::of::<Spec>("spec")];
        self.with(kind, description, parts, required, check_type::<T>)
    }

    /// With a kind that has a spec and a status: `T` is the whole object.
    #[must_use]
    pub fn spec_and_status<T, Spec, Status>(
        self,
        kind: KindInfo,
        description: &'static str,
        required: &'static [&'static str],
    ) -> Self
    where
        T: Serialize + DeserializeOwned,
        Spec: JsonSchema,
        Status: JsonSchema,
    {
        let parts = vec![Part::of::<Spec>("spec"), Part::of::<Status>("status")];
        self.with(kind, description, parts, required, check_type::<T>)
    }

    fn with(
        mut self,
        kind: KindInfo,
        description: &'static str,
        parts: Vec<Part>,
        required: &'static [&'static str],
        check: CheckType,
    ) -> Self {
        self.list.push(Definition {
            kind,
            description,
            parts,
            required,
            check,
        });
        self
    }

    /// Each committed file is what the types make, and is among `served`, the definitions that the
    /// crate hands out. With the environment variable `UPDATE_CRDS` set, the files are brought up to
    /// date instead.
    ///
    /// # Errors
    ///
    /// A text with every file that differs and every kind that is not handed out.
    pub fn check_committed(&self, served: &[Value]) -> Result<(), String> {
        let handed_out = |name: &str| {
            served
                .iter()
                .any(|definition| definition["metadata"]["name"] == name)
        };
        all(self.list.iter().map(|definition| {
            self.committed(definition)?;
            let name = definition.kind.definition_name();
            handed_out(&name)
                .then_some(())
                .ok_or_else(|| format!("{name} is not handed out"))
        }))
    }

    /// Each of `served` says what the definition of the same name among `theirs` says.
    ///
    /// # Errors
    ///
    /// A text with every difference.
    pub fn check_against(&self, served: &[Value], theirs: &[Value]) -> Result<(), String> {
        all(served.iter().map(|ours| check_against(ours, theirs, &[])))
    }

    /// Every object that a definition allows comes through its type unchanged, and nothing of a
    /// wrong type does.
    ///
    /// # Errors
    ///
    /// A text with every object that is changed and every wrong value that is accepted.
    pub fn check_types(&self) -> Result<(), String> {
        let samples = Samples::with(json!({}));
        all(self.list.iter().map(|definition| {
            let (committed, kind) = (self.committed(definition)?, definition.kind);
            (definition.check)(&committed, kind.version, &samples)
                .map_err(|problem| format!("{}:\n{problem}", kind.kind))
        }))
    }

    fn committed(&self, definition: &Definition) -> Result<Value, String> {
        let kind = definition.kind;
        let made = schema(
            kind.kind,
            definition.description,
            &definition.parts,
            definition.required,
            &self.limits,
        );
        let file = self.directory.join(format!("{}.json", kind.plural));
        check_committed(&file, kind.version, &made)
    }
}

/// All problems as one text.
fn all(checks: impl Iterator<Item = Result<(), String>>) -> Result<(), String> {
    let problems: Vec<String> = checks.filter_map(Result::err).collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}
