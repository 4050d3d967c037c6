//! Writes about the planned object itself: metadata and defaults in one, the status in another.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    contract::Metadata,
    controllers::QUIET,
    plan::{MetadataChange, defaults::SetDefaults, row::fingerprint},
    runtime::{Error, Object, ObjectKey, ResourceType, Runtime, merge_diff},
};

/// A status that changes all the time is written all the same after this many quiet times.
const PATIENCE: u32 = 4;

/// When a status may be written: at once at rest, else when it has stood still for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    status: u64,
    since: Timestamp,
    first: Timestamp,
}

impl Pace {
    /// How long to wait with this status; `None` is not at all.
    pub(crate) fn wait(
        &mut self,
        status: &impl Serialize,
        at_rest: bool,
        now: Timestamp,
    ) -> Option<Duration> {
        if at_rest {
            self.waiting = None;
            return None;
        }
        let status = fingerprint(status);
        let before = self.waiting;
        let waiting = Waiting {
            status,
            since: before
                .filter(|w| w.status == status)
                .map_or(now, |w| w.since),
            first: before.map_or(now, |w| w.first),
        };
        let passed = |since| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        if passed(waiting.since) >= QUIET || passed(waiting.first) >= QUIET * PATIENCE {
            self.waiting = None;
            return None;
        }
        self.waiting = Some(waiting);
        Some(QUIET - passed(waiting.since).min(QUIET))
    }
}

/// Writes the change of metadata and the defaults of the spec, in one patch.
pub(crate) async fn write_metadata_and_spec(
    runtime: &Runtime,
    resource: &ResourceType,
    key: &ObjectKey,
    current: &Metadata,
    metadata: &MetadataChange,
    spec: &SetDefaults,
) -> Result<Option<Arc<Object>>, Error> {
    let mut patch = metadata
        .to_merge_patch(current)
        .unwrap_or_else(|| json!({}));
    if let Some(spec) = spec.to_merge_patch() {
        patch["spec"] = spec["spec"].clone();
    }
    if patch.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(None);
    }
    runtime
        .writer()
        .merge_patch(resource, key, &patch)
        .await
        .map(Some)
}

/// Writes the status that is wanted. `object` is the newest state that is known.
pub(crate) async fn write_status<S: Serialize>(
    runtime: &Runtime,
    resource: &ResourceType,
    object: &Object,
    before: &S,
    after: &S,
) -> Result<(), Error> {
    let value = |status: &S| {
        serde_json::to_value(status)
            .map_err(|source| Error::decode(&object.key().to_string(), source))
    };
    let Some(change) = merge_diff(&value(before)?, &value(after)?) else {
        return Ok(());
    };
    let mut patch = json!({ "status": change });
    if patch["status"]
        .get("conditions")
        .is_some_and(Value::is_array)
    {
        patch["metadata"] = json!({ "resourceVersion": object.resource_version() });
    }
    runtime
        .writer()
        .merge_patch_status(resource, object.key(), &patch)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_waits_until_it_stands_still_but_not_for_ever() {
        let at = |millis: i64| Timestamp::from_millisecond(1_000_000 + millis).unwrap();
        let quiet = i64::try_from(QUIET.as_millis()).unwrap();
        let mut pace = Pace::default();
        assert_eq!(pace.wait(&1, true, at(0)), None, "at rest");
        assert_eq!(pace.wait(&1, false, at(0)), Some(QUIET));
        assert_eq!(pace.wait(&1, false, at(quiet / 2)), Some(QUIET / 2));
        assert_eq!(
            pace.wait(&2, false, at(quiet / 2)),
            Some(QUIET),
            "another one"
        );
        assert_eq!(pace.wait(&2, false, at(quiet * 3 / 2)), None, "stood still");
        let mut written = 0;
        for step in 0..20 {
            written += i32::from(
                pace.wait(&step, false, at(quiet * (2 + step / 2)))
                    .is_none(),
            );
        }
        assert!(written > 0, "changes all the time");
    }
}
