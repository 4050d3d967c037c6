//! PodDisruptionBudgets: how many pods may be evicted.

use crate::{server::Server, storage::Unmet};

/// Computes the status of the budgets of a namespace.
pub(crate) fn recount(_server: &Server, _namespace: &str) -> Result<(), Unmet> {
    Ok(())
}
