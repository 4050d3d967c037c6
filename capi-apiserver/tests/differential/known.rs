//! Differences that are meant, with their reasons.

pub(crate) const DIFFERENCES: &[(&str, &str)] = &[];
