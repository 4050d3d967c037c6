//! Conditions of foreign objects, in whichever generation of the format they come.

use std::borrow::Cow;

use serde_json::Value;

use super::{NO_REASON_REPORTED, NOT_YET_REPORTED, Wanted};
use crate::{
    api::{Condition, ConditionStatus},
    contract::{ContractError, Field},
};

/// What a mirror shows when the source does not report the condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Status of the fallback.
    pub status: ConditionStatus,
    /// Reason of the fallback.
    pub reason: Cow<'static, str>,
    /// Message of the fallback; may be empty.
    pub message: String,
}

/// The conditions of a foreign object: `status.v1beta2.conditions` when there are any, else
/// `status.conditions`, where legacy ones are understood as far as a mirror needs.
///
/// Something that is no list counts as no conditions, as upstream has it.
///
/// # Errors
/// A condition without type or status, or with a status or time that does not exist; the text is
/// what the mirrored condition then shows.
pub fn read_conditions(object: &Value) -> Result<Vec<Condition>, ContractError> {
    let kind = object["kind"].as_str().unwrap_or_default();
    for (path, name) in [
        ("/status/v1beta2/conditions", "status.v1beta2.conditions"),
        ("/status/conditions", "status.conditions"),
    ] {
        let Some(Value::Array(list)) = object.pointer(path) else {
            continue;
        };
        return list
            .iter()
            .filter(|entry| entry.is_object())
            .map(convert)
            .collect::<Result<_, _>>()
            .map_err(|reason| {
                ContractError::Conditions(format!(
                    "failed to convert {name} from {kind} to []metav1.Condition: {reason}"
                ))
            });
    }
    Ok(Vec::new())
}

fn convert(entry: &Value) -> Result<Condition, String> {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let type_ = text("type");
    if type_.is_empty() {
        return Err("type must be set for all conditions".to_owned());
    }
    let status = match entry["status"].as_str().unwrap_or_default() {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        "Unknown" => ConditionStatus::Unknown,
        "" => return Err(format!("status must be set for the {type_} condition")),
        _ => {
            return Err(format!(
                "status for the {type_} condition must be one of True, False, Unknown"
            ));
        }
    };
    let time = entry["lastTransitionTime"].as_str().unwrap_or_default();
    let last_transition_time = if time.is_empty() {
        crate::api::Time::default()
    } else {
        time.parse().map_err(|error| {
            format!("failed to unmarshal lastTransitionTime value: {time}: {error}")
        })?
    };
    let mut reason = text("reason");
    if reason.is_empty() {
        NO_REASON_REPORTED.clone_into(&mut reason);
    }
    Ok(Condition {
        type_,
        status,
        observed_generation: entry["observedGeneration"].as_i64(),
        last_transition_time,
        reason,
        message: text("message"),
    })
}

/// A mirror of a foreign condition under the type `target`.
///
/// Status, reason, message and transition time are the source's. A legacy condition that is True
/// and has no reason gets `positive_reason`. A source that cannot be read gives Unknown,
/// `InvalidConditionReported` and the error's text.
#[must_use]
pub fn mirror(
    source: &Field<Condition>,
    target: &'static str,
    positive_reason: &'static str,
    fallback: Fallback,
) -> Wanted {
    match source {
        Field::Present(condition) => {
            let reason = if condition.reason == NO_REASON_REPORTED
                && condition.status == ConditionStatus::True
            {
                Cow::Borrowed(positive_reason)
            } else {
                Cow::Owned(condition.reason.clone())
            };
            Wanted {
                type_: target.into(),
                status: condition.status,
                reason,
                message: condition.message.clone(),
                last_transition_time: (!condition.last_transition_time.is_unset())
                    .then_some(condition.last_transition_time),
            }
        }
        Field::Absent => Wanted {
            type_: target.into(),
            status: fallback.status,
            reason: fallback.reason,
            message: fallback.message,
            last_transition_time: None,
        },
        Field::Malformed(error) => {
            Wanted::unknown(target, "InvalidConditionReported").message(error.clone())
        }
    }
}

impl Fallback {
    /// What a mirror of `source` shows when nothing is known of it.
    #[must_use]
    pub fn not_yet_reported(source: &str) -> Self {
        Self {
            status: ConditionStatus::Unknown,
            reason: NOT_YET_REPORTED.into(),
            message: format!("Condition {source} not yet reported"),
        }
    }
}
