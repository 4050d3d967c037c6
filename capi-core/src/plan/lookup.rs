//! The result of reading something that may not be there.

use serde::{Deserialize, Serialize};

/// What came of reading a referenced object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lookup<T> {
    /// There is no reference.
    #[default]
    NotReferenced,
    /// The object as it is.
    Found(T),
    /// The object does not exist. A missing CustomResourceDefinition is [`Lookup::Failed`].
    NotFound,
    /// It could not be read; the text says why.
    Failed(String),
}

impl<T> Lookup<T> {
    /// The object, when it was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(object) => Some(object),
            Self::NotReferenced | Self::NotFound | Self::Failed(_) => None,
        }
    }

    /// The same of a borrowed object.
    pub fn as_ref(&self) -> Lookup<&T> {
        match self {
            Self::NotReferenced => Lookup::NotReferenced,
            Self::Found(object) => Lookup::Found(object),
            Self::NotFound => Lookup::NotFound,
            Self::Failed(error) => Lookup::Failed(error.clone()),
        }
    }

    /// The same of a part of the object.
    pub fn map<U>(self, part: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::NotReferenced => Lookup::NotReferenced,
            Self::Found(object) => Lookup::Found(part(object)),
            Self::NotFound => Lookup::NotFound,
            Self::Failed(error) => Lookup::Failed(error),
        }
    }

    /// Whether the object is known not to exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound)
    }
}
