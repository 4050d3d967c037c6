//! One field of a foreign document: there, not there, or not what it should be.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A field of the contract as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field<T> {
    /// Not there (or null).
    #[default]
    Absent,
    /// There, and of the right shape.
    Present(T),
    /// There, but of another shape; the text says where and why.
    Malformed(String),
}

impl<T> Field<T> {
    /// The value, when it is there and well formed.
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Malformed(_) => None,
        }
    }

    /// The value when there is one.
    ///
    /// # Errors
    /// What is wrong with it, when it is malformed.
    pub fn as_result(&self) -> Result<Option<&T>, &str> {
        match self {
            Self::Present(value) => Ok(Some(value)),
            Self::Absent => Ok(None),
            Self::Malformed(error) => Err(error),
        }
    }
}

impl<T: DeserializeOwned> Field<T> {
    /// Reads the field at `pointer` (`/status/ready`) of `document`.
    pub(super) fn read(document: &Value, pointer: &str) -> Self {
        match document.pointer(pointer) {
            None | Some(Value::Null) => Self::Absent,
            Some(value) => T::deserialize(value).map_or_else(
                |error| {
                    Self::Malformed(format!(
                        "failed to get {} from object: {error}",
                        pointer.replace('/', ".")
                    ))
                },
                Self::Present,
            ),
        }
    }
}

impl<T> From<Option<T>> for Field<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Present)
    }
}
