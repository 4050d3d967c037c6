//! The options of a request, from its query string.

use crate::{
    request::path,
    selector::{FieldSelector, LabelSelector, Selector},
    status::Status,
};

/// What to do with unknown and repeated fields of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// How a list reads `resourceVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// Everything a query string can say; which of it counts depends on the verb.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) selector: Selector,
    pub(crate) limit: Option<usize>,
    pub(crate) continuation: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) version_match: Option<VersionMatch>,
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) field_manager: Option<String>,
    pub(crate) force: bool,
    pub(crate) field_validation: FieldValidation,
    pub(crate) dry_run: bool,
    pub(crate) include_object: Option<String>,
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation_policy: Option<String>,
    pub(crate) orphan_dependents: Option<bool>,
}

impl Options {
    /// # Errors
    /// 400 for values that the API does not understand, 422 for those it understands and refuses.
    pub(crate) fn parse(query: &str) -> Result<Self, Status> {
        let mut options = Self::default();
        for (key, value) in path::query(query) {
            let value = value.as_ref();
            match key.as_ref() {
                "labelSelector" => options.selector.labels = LabelSelector::parse(value)?,
                "fieldSelector" => options.selector.fields = FieldSelector::parse(value)?,
                "limit" => {
                    let limit: i64 = number(value)?;
                    options.limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
                }
                "continue" => {
                    options.continuation = Some(value.to_owned()).filter(|token| !token.is_empty());
                }
                "resourceVersion" => {
                    options.resource_version =
                        Some(value.to_owned()).filter(|text| !text.is_empty());
                }
                "resourceVersionMatch" => {
                    options.version_match = match value {
                        "" => None,
                        "Exact" => Some(VersionMatch::Exact),
                        "NotOlderThan" => Some(VersionMatch::NotOlderThan),
                        other => {
                            return Err(Status::bad_request(format!(
                                "invalid resourceVersionMatch value {other:?}: supported values are Exact and NotOlderThan"
                            )));
                        }
                    };
                }
                "watch" => options.watch = truth(value),
                "allowWatchBookmarks" => options.bookmarks = truth(value),
                "sendInitialEvents" => options.send_initial_events = Some(truth(value)),
                "timeoutSeconds" => {
                    options.timeout_seconds = u64::try_from(number(value)?)
                        .ok()
                        .filter(|seconds| *seconds > 0);
                }
                "fieldManager" => {
                    options.field_manager = Some(value.to_owned()).filter(|name| !name.is_empty());
                }
                "force" => options.force = truth(value),
                "fieldValidation" => {
                    options.field_validation = match value {
                        "" | "Warn" => FieldValidation::Warn,
                        "Ignore" => FieldValidation::Ignore,
                        "Strict" => FieldValidation::Strict,
                        other => {
                            return Err(Status::invalid(
                                "meta.k8s.io",
                                "CreateOptions",
                                "",
                                vec![crate::status::Cause::new(
                                    "FieldValueNotSupported",
                                    "fieldValidation",
                                    format!(
                                        "Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                                    ),
                                )],
                            ));
                        }
                    };
                }
                "dryRun" => {
                    options.dry_run = match value {
                        "" => false,
                        "All" => true,
                        other => {
                            return Err(Status::invalid(
                                "meta.k8s.io",
                                "CreateOptions",
                                "",
                                vec![crate::status::Cause::new(
                                    "FieldValueNotSupported",
                                    "dryRun",
                                    format!(
                                        "Unsupported value: [{other:?}]: supported values: \"All\""
                                    ),
                                )],
                            ));
                        }
                    };
                }
                "includeObject" => options.include_object = Some(value.to_owned()),
                "gracePeriodSeconds" => options.grace_period_seconds = Some(number(value)?),
                "propagationPolicy" => {
                    options.propagation_policy =
                        Some(value.to_owned()).filter(|policy| !policy.is_empty());
                }
                "orphanDependents" => options.orphan_dependents = Some(truth(value)),
                _ => {}
            }
        }
        if options
            .field_manager
            .as_ref()
            .is_some_and(|name| name.chars().count() > 128)
        {
            return Err(Status::invalid(
                "meta.k8s.io",
                "PatchOptions",
                "",
                vec![crate::status::Cause::new(
                    "FieldValueTooLong",
                    "fieldManager",
                    "Too long: may not be more than 128 bytes",
                )],
            ));
        }
        Ok(options)
    }
}

/// As the API reads booleans in a query: everything is true but these.
fn truth(value: &str) -> bool {
    !matches!(value, "0" | "false" | "False" | "FALSE" | "f" | "F")
}

fn number(value: &str) -> Result<i64, Status> {
    if value.is_empty() {
        return Ok(0);
    }
    value.parse().map_err(|_| {
        Status::bad_request(format!(
            "strconv.ParseInt: parsing {value:?}: invalid syntax"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_the_query() {
        let options = Options::parse(
            "watch=true&limit=5&dryRun=All&fieldValidation=Strict&force=1&resourceVersion=",
        )
        .expect("valid");
        assert!(options.watch && options.dry_run && options.force);
        assert_eq!(options.limit, Some(5));
        assert_eq!(options.field_validation, FieldValidation::Strict);
        assert_eq!(options.resource_version, None);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for query in [
            "limit=x",
            "dryRun=Some",
            "fieldValidation=Maybe",
            "resourceVersionMatch=Near",
            "labelSelector=%3D",
        ] {
            assert!(Options::parse(query).is_err(), "{query}");
        }
    }
}
