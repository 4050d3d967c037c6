//! PodDisruptionBudgets: how many pods may be evicted, and evictions.

use crate::{
    clock,
    gc::{ObjectId, amend},
    json::{self, Object, Value},
    object,
    registry::Resource,
    reply::Reply,
    selector::LabelSelector,
    server::{Call, Server},
    status::{Cause, Details, Status},
    storage::{Range, Stored, Unmet},
    verbs::{
        delete::{self, Order, Outcome, Propagation},
        read, shape,
    },
};

fn in_namespace(server: &Server, resource: &Resource, namespace: &str) -> Vec<(String, Stored)> {
    let prefix = format!("{namespace}/");
    let listing = server.store.list(
        resource.collection,
        Range {
            prefix: &prefix,
            ..Range::default()
        },
    );
    let items = listing.map(|listing| listing.items).unwrap_or_default();
    items
        .into_iter()
        .map(|(key, stored)| (key.to_string(), stored))
        .collect()
}

fn selects(budget: &Value<'_>, pod: &[u8]) -> bool {
    let selector = budget
        .at(&["spec", "selector"])
        .and_then(LabelSelector::from_object);
    selector.is_some_and(|selector| selector.matches(pod))
}

fn is_ready(pod: &Value<'_>) -> bool {
    let conditions = pod
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    conditions.iter().any(|condition| {
        condition.get("type").and_then(Value::as_str) == Some("Ready")
            && condition.get("status").and_then(Value::as_str) == Some("True")
    })
}

/// A number of pods, or a share of them, rounded up.
fn amount(value: &Value<'_>, of: i64) -> i64 {
    match value {
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            percent.saturating_mul(of).saturating_add(99) / 100
        }
        other => other.as_i64().unwrap_or(0),
    }
}

/// Computes the status of the budgets of a namespace.
///
/// # Errors
/// [`Unmet`] when a budget changed meanwhile.
pub(crate) fn recount(server: &Server, namespace: &str) -> Result<(), Unmet> {
    let registry = server.registry();
    let (Some(budgets), Some(pods)) = (
        registry.resource("policy", "poddisruptionbudgets"),
        registry.resource("", "pods"),
    ) else {
        return Ok(());
    };
    let known = in_namespace(server, budgets, namespace);
    if known.is_empty() {
        return Ok(());
    }
    let pods = in_namespace(server, pods, namespace);
    let now = clock::seconds(server.clock.now());
    for (key, stored) in known {
        let Ok(document) = json::parse(&stored.bytes) else {
            continue;
        };
        let budget = document.value;
        let (mut expected, mut healthy) = (0, 0);
        for (_, pod) in &pods {
            if !selects(&budget, &pod.bytes) {
                continue;
            }
            expected += 1;
            if let Ok(pod) = json::parse(&pod.bytes)
                && is_ready(&pod.value)
                && !object::is_deleting(&pod.value)
            {
                healthy += 1;
            }
        }
        let spec = |field: &str| budget.at(&["spec", field]).filter(|value| !value.is_null());
        let desired = match (spec("minAvailable"), spec("maxUnavailable")) {
            (Some(available), _) => amount(available, expected),
            (None, Some(unavailable)) => (expected - amount(unavailable, expected)).max(0),
            (None, None) => 0,
        };
        let allowed = if expected == 0 {
            0
        } else {
            (healthy - desired).max(0)
        };
        let status = status(&budget, &now, [allowed, healthy, desired, expected]);
        amend(
            server,
            budgets,
            &ObjectId::new(budgets, &key),
            &stored,
            &budget,
            |budget| {
                budget.set_at(&["status"], status);
            },
        )?;
    }
    Ok(())
}

fn status(
    budget: &Value<'_>,
    now: &str,
    [allowed, healthy, desired, expected]: [i64; 4],
) -> Object<'static> {
    let (truth, reason) = if allowed > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let before = budget
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    let since = before
        .first()
        .filter(|condition| condition.get("status").and_then(Value::as_str) == Some(truth))
        .and_then(|condition| condition.get("lastTransitionTime"))
        .and_then(Value::as_str)
        .unwrap_or(now)
        .to_owned();
    let mut condition = Object::new();
    condition.insert("lastTransitionTime", since);
    condition.insert("message", "");
    condition.insert("observedGeneration", object::generation(budget));
    condition.insert("reason", reason);
    condition.insert("status", truth);
    condition.insert("type", "DisruptionAllowed");
    let mut status = Object::new();
    status.insert("conditions", vec![Value::Object(condition)]);
    status.insert("currentHealthy", healthy);
    status.insert("desiredHealthy", desired);
    status.insert("disruptionsAllowed", allowed);
    status.insert("expectedPods", expected);
    status.insert("observedGeneration", object::generation(budget));
    status
}

/// POST of a pod's eviction: a deletion that budgets may refuse.
pub(crate) fn evict(call: &Call<'_>) -> Result<Reply, Status> {
    let (eviction, _) = shape::decode("Eviction", &call.request.content_type, &call.request.body)?;
    let name = object::name(&eviction);
    if eviction
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind != "Eviction")
    {
        return Err(Status::bad_request("not an Eviction object"));
    }
    if !name.is_empty() && name != call.path.name {
        return Err(Status::bad_request(format!(
            "name in URL does not match name in Eviction object: {name}"
        )));
    }
    let key = call.key();
    let stored = call
        .server
        .store
        .get(call.resource.collection, &key)
        .ok_or_else(|| call.not_found())?;
    let pod = json::parse(&stored.bytes)
        .map_err(|error| Status::internal(error.to_string()))?
        .value;
    let phase = pod
        .at(&["status", "phase"])
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !object::is_deleting(&pod) && !matches!(phase, "Succeeded" | "Failed" | "Pending") {
        check_budgets(call, &stored, &pod)?;
    }
    let dry_run = eviction
        .at(&["deleteOptions", "dryRun"])
        .and_then(Value::as_array)
        .is_some_and(|values| values.iter().any(|value| value.as_str() == Some("All")));
    let order = Order {
        propagation: Some(Propagation::Background),
        grace: eviction
            .at(&["deleteOptions", "gracePeriodSeconds"])
            .and_then(Value::as_i64),
        dry_run: dry_run || call.options.dry_run,
    };
    let outcome = delete::begin(call.server, &call.resource, &key, &stored, &pod, &order);
    let (Outcome::Removed(_) | Outcome::Pending(_)) =
        outcome.map_err(|Unmet| Status::modified(call.group(), call.plural(), &call.path.name))?;
    let body = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}"#;
    Ok(read::finish(call, 201, body.into()))
}

fn check_budgets(call: &Call<'_>, stored: &Stored, pod: &Value<'_>) -> Result<(), Status> {
    let Some(budgets) = call.registry.resource("policy", "poddisruptionbudgets") else {
        return Ok(());
    };
    let mut found = None;
    for (_, stored_budget) in in_namespace(call.server, budgets, &call.path.namespace) {
        let Ok(document) = json::parse(&stored_budget.bytes) else {
            continue;
        };
        if !selects(&document.value, &stored.bytes) {
            continue;
        }
        if found.replace(document.value.into_owned()).is_some() {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    }
    let Some(budget) = found else { return Ok(()) };
    let number = |field: &str| {
        budget
            .at(&["status", field])
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    if !is_ready(pod) {
        let policy = budget
            .at(&["spec", "unhealthyPodEvictionPolicy"])
            .and_then(Value::as_str);
        if policy == Some("AlwaysAllow") || (healthy >= desired && desired > 0) {
            return Ok(());
        }
    }
    if number("disruptionsAllowed") > 0 {
        return Ok(());
    }
    let message = format!(
        "The disruption budget {} needs {desired} healthy pods and has {healthy} currently",
        object::name(&budget)
    );
    let status = Status::new(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
    );
    Err(status.with_details(Details {
        causes: vec![Cause::new("DisruptionBudget", "", message)],
        ..Details::default()
    }))
}
