//! One record of each request, for whoever wants to write it down.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    reply::Reply,
    request::{Request, Target, path},
};

/// Receives a record of each request, after it was handled and before it is answered.
pub trait Audit: Send + Sync + fmt::Debug + 'static {
    /// Called once a request; must not block.
    fn record(&self, record: &Record<'_>);
}

/// What was asked and what was answered.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Record<'a> {
    /// When it was answered.
    pub time: Timestamp,
    /// Who asked.
    pub user: &'a str,
    /// The `User-Agent` of the client.
    pub user_agent: &'a str,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `apply`, `delete`, `deletecollection`;
    /// the HTTP method in lower case where no resource is meant.
    pub verb: &'a str,
    /// The path of the request.
    pub path: &'a str,
    /// API group, empty in the core group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Plural name of the resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Subresource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// HTTP status code.
    pub code: u16,
    /// Length of the request's body.
    pub request_bytes: u64,
    /// Length of the response's body, 0 for a watch.
    pub response_bytes: u64,
}

impl<'a> Record<'a> {
    pub(crate) fn new(request: &'a Request, reply: &Reply, time: Timestamp) -> Self {
        let target = match path::parse(&request.path) {
            Target::Resource(target) => Some(target),
            Target::Other => None,
        };
        let named = target
            .as_ref()
            .is_some_and(|target| !target.name.is_empty());
        let watch = target.as_ref().is_some_and(|target| target.watch)
            || path::query(&request.query)
                .any(|(key, value)| key == "watch" && !matches!(&*value, "0" | "false"));
        let verb = match (request.method.as_str(), target.is_some()) {
            ("GET", true) if watch => "watch",
            ("GET", true) => {
                if named {
                    "get"
                } else {
                    "list"
                }
            }
            ("POST", true) => "create",
            ("PUT", true) => "update",
            ("PATCH", true) => {
                if request.content_type.starts_with("application/apply-patch") {
                    "apply"
                } else {
                    "patch"
                }
            }
            ("DELETE", true) => {
                if named {
                    "delete"
                } else {
                    "deletecollection"
                }
            }
            ("GET", false) => "get",
            ("POST", _) => "post",
            ("HEAD", _) => "head",
            _ => "other",
        };
        let target = target.unwrap_or_default();
        Self {
            time,
            user: &request.user.name,
            user_agent: &request.user_agent,
            verb,
            path: &request.path,
            group: target.group,
            resource: target.resource,
            subresource: target.subresource,
            namespace: target.namespace,
            name: target.name,
            code: reply.code,
            request_bytes: request.body.len() as u64,
            response_bytes: reply.body.len(),
        }
    }
}
