//! A request as the API understands it: target, options, accepted form, who asks. Reading is pure;
//! nothing here knows what exists.

pub(crate) mod negotiate;
pub(crate) mod options;
pub(crate) mod path;
pub(crate) mod protobuf;

use bytes::Bytes;

pub(crate) use negotiate::{Accept, Form};
pub(crate) use options::{FieldValidation, Options, VersionMatch};
pub(crate) use path::{ResourcePath, Target};

/// Who makes a request: what the transport authenticated.
///
/// In-process services act as `system:admin` of `system:masters` unless told otherwise; over HTTPS
/// the client certificate or the token says who it is. The server authorises everybody whom it
/// authenticated for everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name, such as a certificate's common name.
    pub name: String,
    /// Groups, such as a certificate's organisations.
    pub groups: Vec<String>,
}

impl User {
    /// The administrator.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            name: "system:admin".to_owned(),
            groups: vec![
                "system:masters".to_owned(),
                "system:authenticated".to_owned(),
            ],
        }
    }
}

/// A request whose body has been read.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) content_type: String,
    pub(crate) accept: String,
    pub(crate) user_agent: String,
    pub(crate) user: std::sync::Arc<User>,
    pub(crate) body: Bytes,
}
