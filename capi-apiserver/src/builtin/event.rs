//! Events, which are one resource in two groups with other names for the same facts.

use crate::{
    json::{self, Value},
    status::Status,
};

/// Members whose name differs: core `v1`, `events.k8s.io/v1`.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// An encoded event in the version of the other group.
pub(crate) fn convert(bytes: &[u8], to: &str) -> Result<Vec<u8>, Status> {
    let event = json::parse(bytes)
        .map_err(|error| Status::internal(error.to_string()))?
        .value;
    let Value::Object(members) = event else {
        return Err(Status::internal("a stored event is no object"));
    };
    let to_core = to == "v1";
    let renamed = members.into_iter().map(|(name, value)| {
        let new = NAMES.iter().find_map(|(core, other)| {
            let (from, to) = if to_core {
                (other, core)
            } else {
                (core, other)
            };
            (name == *from).then_some(*to)
        });
        match new {
            Some(new) => (std::borrow::Cow::Borrowed(new), value),
            None => (name, value),
        }
    });
    let mut event = Value::Object(renamed.collect());
    if let (false, Value::Object(event)) = (to_core, &mut event) {
        // What the type of that group always has.
        for (name, empty) in [
            ("eventTime", Value::Null),
            ("deprecatedSource", Value::Object(json::Object::new())),
            ("deprecatedFirstTimestamp", Value::Null),
            ("deprecatedLastTimestamp", Value::Null),
        ] {
            if !event.contains_key(name) {
                event.insert(name, empty);
            }
        }
    }
    event.set_at(&["apiVersion"], to.to_owned());
    Ok(event.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_in_both_groups() {
        let core = br#"{"apiVersion":"v1","kind":"Event","involvedObject":{"name":"a"},"message":"m","count":2}"#;
        let other = convert(core, "events.k8s.io/v1").expect("converts");
        assert_eq!(
            String::from_utf8_lossy(&other),
            r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","regarding":{"name":"a"},"note":"m","deprecatedCount":2,"eventTime":null,"deprecatedSource":{},"deprecatedFirstTimestamp":null,"deprecatedLastTimestamp":null}"#
        );
        let back = convert(&other, "v1").expect("converts");
        assert!(back.starts_with(&core[..core.len() - 1]));
    }
}
