//! What the assembler of a server adds to it: conversion, defaulting and admission of resources.
//! Hooks are functions of one request; they run while no other write runs and must not call the
//! server they belong to.

use std::{cell::RefCell, collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;

use crate::{json::Value, request::User, server::Server, status::Status, storage::Range};

/// Converts encoded objects of one resource between its served versions.
///
/// Answers to the conversion webhook of a `CustomResourceDefinition`; without one only `apiVersion`
/// changes (strategy `None`).
pub trait Convert: Send + Sync + 'static {
    /// Converts `object`, whose own `apiVersion` says what it is, to `to` (`group/version`).
    /// `metadata` other than labels and annotations must stay as it is.
    ///
    /// # Errors
    /// Why the object cannot be converted; the request fails with it.
    fn convert(&self, object: &[u8], to: &str) -> Result<Vec<u8>, String>;
}

impl<F> Convert for F
where
    F: Fn(&[u8], &str) -> Result<Vec<u8>, String> + Send + Sync + 'static,
{
    fn convert(&self, object: &[u8], to: &str) -> Result<Vec<u8>, String> {
        self(object, to)
    }
}

/// Which write is asked for admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// A new object.
    Create,
    /// A change by update, patch or apply.
    Update,
    /// A deletion; only validation is asked, about the object that is to go.
    Delete,
}

/// What a client is told besides the answer, in the order in which it was said.
#[derive(Debug, Default)]
pub(crate) struct Warnings(RefCell<Vec<String>>);

impl Warnings {
    /// Takes what was said so far.
    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }

    fn add(&self, warning: String) {
        let mut warnings = self.0.borrow_mut();
        if !warning.is_empty() && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

/// The facts of a write that is asked for admission.
#[derive(Debug)]
#[non_exhaustive]
pub struct AdmissionRequest<'a> {
    /// What is done.
    pub operation: Operation,
    /// `group/version` of the request, in which the object is.
    pub api_version: &'a str,
    /// Kind of the object.
    pub kind: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// `status`, `scale` or empty.
    pub subresource: &'a str,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Name, empty on a create that generates it.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a User,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// The object as it is stored, in the version of the request.
    pub old: Option<&'a Value<'a>>,
    pub(crate) warnings: &'a Warnings,
    pub(crate) server: &'a Server,
}

impl AdmissionRequest<'_> {
    /// Tells the client something besides the answer: a header `Warning: 299 - "..."`, which
    /// kubectl prints. Said twice it is told once; it is told with a refusal too.
    pub fn warn(&self, warning: impl Into<String>) {
        self.warnings.add(warning.into());
    }

    /// Another object that is stored, in its stored version; `resource` is `plural.group`.
    #[must_use]
    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Bytes> {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let registry = self.server.registry();
        let resource = registry.resource(group, plural)?;
        let key = resource.key(namespace, name);
        let stored = self.server.store.get(resource.collection, &key)?;
        Some(stored.bytes)
    }

    /// The stored objects of a resource, `plural.group`, in a namespace, or in all when it is
    /// empty; each in its stored version. None when it is not served.
    #[must_use]
    pub fn objects(&self, resource: &str, namespace: &str) -> Vec<Bytes> {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let registry = self.server.registry();
        let Some(resource) = registry.resource(group, plural) else {
            return Vec::new();
        };
        let prefix = if resource.namespaced && !namespace.is_empty() {
            format!("{namespace}/")
        } else {
            String::new()
        };
        let range = Range {
            prefix: &prefix,
            ..Range::default()
        };
        let listing = self.server.store.list(resource.collection, range);
        let items = listing.map(|listing| listing.items).unwrap_or_default();
        items.into_iter().map(|(_, stored)| stored.bytes).collect()
    }
}

/// Defaults and judges writes to one resource.
///
/// Answers to mutating and validating admission webhooks.
pub trait Admission: Send + Sync + 'static {
    /// Whether writes through this subresource are asked about: `status`, `scale`, or empty for the
    /// resource itself. All of them are unless this says otherwise.
    fn concerns(&self, subresource: &str) -> bool {
        let _ = subresource;
        true
    }

    /// Changes the object before it is validated by its schema. Must be idempotent. Not called for
    /// deletions.
    ///
    /// # Errors
    /// The answer to the client.
    fn mutate(&self, request: &AdmissionRequest<'_>, object: &mut Value<'_>) -> Result<(), Status> {
        let _ = (request, object);
        Ok(())
    }

    /// Judges the object after it was validated by its schema.
    ///
    /// # Errors
    /// The answer to the client; see [`Status::forbidden`] and [`Status::invalid`].
    fn validate(&self, request: &AdmissionRequest<'_>, object: &Value<'_>) -> Result<(), Status> {
        let _ = (request, object);
        Ok(())
    }
}

/// The hooks of a server, by `plural.group`.
#[derive(Default, Clone)]
pub(crate) struct Hooks {
    pub(crate) conversion: BTreeMap<String, Arc<dyn Convert>>,
    pub(crate) admission: BTreeMap<String, Vec<Arc<dyn Admission>>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("conversion", &self.conversion.keys())
            .field("admission", &self.admission.keys())
            .finish()
    }
}

impl Hooks {
    pub(crate) fn admission(&self, resource: &str) -> &[Arc<dyn Admission>] {
        self.admission.get(resource).map_or(&[], Vec::as_slice)
    }
}
