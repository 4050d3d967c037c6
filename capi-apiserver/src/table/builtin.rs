//! Columns of the built-in kinds.

use jiff::Timestamp;

use super::{Column, age, number};
use crate::json::{Object, Value};

const NONE: &str = "<none>";
const UNKNOWN: &str = "<unknown>";

fn text(object: &Value<'_>, path: &[&str]) -> String {
    object
        .at(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn text_or(object: &Value<'_>, path: &[&str], otherwise: &str) -> Value<'static> {
    match text(object, path) {
        text if text.is_empty() => Value::from(otherwise.to_owned()),
        text => Value::from(text),
    }
}

fn list<'v, 'a>(object: &'v Value<'a>, path: &[&str]) -> &'v [Value<'a>] {
    object
        .at(path)
        .and_then(Value::as_array)
        .unwrap_or_default()
}

fn size(object: &Value<'_>, name: &str) -> usize {
    object
        .get(name)
        .and_then(Value::as_object)
        .map_or(0, Object::len)
}

fn since(object: &Value<'_>, path: &[&str], now: Timestamp) -> Value<'static> {
    let time = object
        .at(path)
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok());
    Value::from(time.map_or_else(|| UNKNOWN.to_owned(), |time| age(time, now)))
}

/// The column of the name.
pub(super) fn name() -> Column {
    Column::made("Name", "string", 0, |object, _| {
        Value::from(text(object, &["metadata", "name"]))
    })
}

fn age_column() -> Column {
    Column::made("Age", "string", 0, |object, now| {
        since(object, &["metadata", "creationTimestamp"], now)
    })
}

/// The column of the age of a custom resource that defines no columns.
pub(super) fn date_age() -> Column {
    Column {
        kind: "date".to_owned(),
        ..age_column()
    }
}

fn at(name: &str, priority: i64, cell: fn(&Value<'_>, Timestamp) -> Value<'static>) -> Column {
    Column::made(name, "string", priority, cell)
}

/// The columns of a kind.
pub(super) fn columns(group: &str, kind: &str) -> Vec<Column> {
    let between = match (group, kind) {
        ("", "Namespace") => vec![at("Status", 0, |object, _| {
            text_or(object, &["status", "phase"], "")
        })],
        ("", "Secret") => vec![
            at("Type", 0, |object, _| text_or(object, &["type"], "")),
            at("Data", 0, |object, _| number(size(object, "data"))),
        ],
        ("", "ConfigMap") => {
            vec![at("Data", 0, |object, _| {
                number(size(object, "data") + size(object, "binaryData"))
            })]
        }
        ("coordination.k8s.io", "Lease") => {
            vec![at("Holder", 0, |object, _| {
                text_or(object, &["spec", "holderIdentity"], "")
            })]
        }
        ("policy", "PodDisruptionBudget") => vec![
            at("Min Available", 0, |object, _| {
                amount(object, "minAvailable")
            }),
            at("Max Unavailable", 0, |object, _| {
                amount(object, "maxUnavailable")
            }),
            Column::made("Allowed Disruptions", "integer", 0, |object, _| {
                object
                    .at(&["status", "disruptionsAllowed"])
                    .cloned()
                    .map_or_else(|| Value::from(0), Value::into_owned)
            }),
        ],
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            return vec![
                name(),
                Column::made("Created At", "date", 0, |object, _| {
                    Value::from(text(object, &["metadata", "creationTimestamp"]))
                }),
            ];
        }
        ("" | "events.k8s.io", "Event") => return event(),
        ("", "Node") => return node(),
        ("", "Pod") => return pod(),
        _ => Vec::new(),
    };
    let mut columns = vec![name()];
    columns.extend(between);
    columns.push(age_column());
    columns
}

fn amount(budget: &Value<'_>, name: &str) -> Value<'static> {
    match budget.at(&["spec", name]) {
        Some(Value::String(text)) => Value::from(text.as_ref().to_owned()),
        Some(Value::Number(number)) => Value::from(number.as_str().to_owned()),
        _ => Value::from("N/A"),
    }
}

fn event() -> Vec<Column> {
    vec![
        at("Last Seen", 0, |event, now| {
            let series = ["series", "lastObservedTime"];
            let paths: [&[&str]; 4] = [
                &series,
                &["lastTimestamp"],
                &["firstTimestamp"],
                &["eventTime"],
            ];
            let path = paths
                .into_iter()
                .find(|path| event.at(path).is_some_and(|time| !time.is_null()));
            path.map_or_else(|| Value::from(UNKNOWN), |path| since(event, path, now))
        }),
        at("Type", 0, |event, _| text_or(event, &["type"], "")),
        at("Reason", 0, |event, _| text_or(event, &["reason"], "")),
        at("Object", 0, |event, _| {
            let object = if event.get("regarding").is_some() {
                "regarding"
            } else {
                "involvedObject"
            };
            let (kind, name) = (
                text(event, &[object, "kind"]).to_lowercase(),
                text(event, &[object, "name"]),
            );
            Value::from(if name.is_empty() {
                kind
            } else {
                format!("{kind}/{name}")
            })
        }),
        at("Subobject", 1, |event, _| {
            let object = if event.get("regarding").is_some() {
                "regarding"
            } else {
                "involvedObject"
            };
            text_or(event, &[object, "fieldPath"], "")
        }),
        at("Source", 1, |event, _| {
            let component = ["source", "reportingController", "reportingComponent"]
                .into_iter()
                .map(|name| {
                    if name == "source" {
                        text(event, &[name, "component"])
                    } else {
                        text(event, &[name])
                    }
                })
                .find(|component| !component.is_empty())
                .unwrap_or_default();
            let host = text(event, &["source", "host"]);
            Value::from(if host.is_empty() {
                component
            } else {
                format!("{component}, {host}")
            })
        }),
        at("Message", 0, |event, _| {
            let message = if event.get("note").is_some() {
                "note"
            } else {
                "message"
            };
            Value::from(text(event, &[message]).trim().to_owned())
        }),
        at("First Seen", 1, |event, now| {
            let path = if event
                .get("firstTimestamp")
                .is_some_and(|time| !time.is_null())
            {
                "firstTimestamp"
            } else {
                "eventTime"
            };
            since(event, &[path], now)
        }),
        at("Count", 1, |event, _| {
            let count = event
                .at(&["series", "count"])
                .or_else(|| event.get("count"))
                .and_then(Value::as_i64);
            Value::from(count.filter(|count| *count > 0).unwrap_or(1))
        }),
        Column {
            priority: 1,
            ..name()
        },
    ]
}

fn node() -> Vec<Column> {
    fn address(node: &Value<'_>, kind: &str) -> Value<'static> {
        let addresses = list(node, &["status", "addresses"]);
        let found = addresses
            .iter()
            .find(|address| text(address, &["type"]) == kind);
        found.map_or_else(
            || Value::from(NONE),
            |address| text_or(address, &["address"], NONE),
        )
    }
    vec![
        name(),
        at("Status", 0, |node, _| {
            let ready = list(node, &["status", "conditions"])
                .iter()
                .find(|condition| text(condition, &["type"]) == "Ready");
            let mut status = match ready.map(|ready| text(ready, &["status"])) {
                Some(status) if status == "True" => "Ready".to_owned(),
                Some(_) => "NotReady".to_owned(),
                None => "Unknown".to_owned(),
            };
            if node.at(&["spec", "unschedulable"]).and_then(Value::as_bool) == Some(true) {
                status.push_str(",SchedulingDisabled");
            }
            Value::from(status)
        }),
        at("Roles", 0, |node, _| {
            let labels = node.at(&["metadata", "labels"]).and_then(Value::as_object);
            let mut roles: Vec<String> = Vec::new();
            for (key, value) in labels.into_iter().flat_map(Object::iter) {
                if let Some(role) = key
                    .strip_prefix("node-role.kubernetes.io/")
                    .filter(|role| !role.is_empty())
                {
                    roles.push(role.to_owned());
                } else if key == "kubernetes.io/role" {
                    roles.extend(value.as_str().map(str::to_owned));
                }
            }
            roles.sort_unstable();
            roles.dedup();
            Value::from(if roles.is_empty() {
                NONE.to_owned()
            } else {
                roles.join(",")
            })
        }),
        age_column(),
        at("Version", 0, |node, _| {
            text_or(node, &["status", "nodeInfo", "kubeletVersion"], "")
        }),
        at("Internal-IP", 1, |node, _| address(node, "InternalIP")),
        at("External-IP", 1, |node, _| address(node, "ExternalIP")),
        at("OS-Image", 1, |node, _| {
            text_or(node, &["status", "nodeInfo", "osImage"], UNKNOWN)
        }),
        at("Kernel-Version", 1, |node, _| {
            text_or(node, &["status", "nodeInfo", "kernelVersion"], UNKNOWN)
        }),
        at("Container-Runtime", 1, |node, _| {
            text_or(
                node,
                &["status", "nodeInfo", "containerRuntimeVersion"],
                UNKNOWN,
            )
        }),
    ]
}

fn pod() -> Vec<Column> {
    vec![
        name(),
        at("Ready", 0, |pod, _| {
            let statuses = list(pod, &["status", "containerStatuses"]);
            let ready = statuses
                .iter()
                .filter(|status| status.get("ready").and_then(Value::as_bool) == Some(true));
            Value::from(format!(
                "{}/{}",
                ready.count(),
                list(pod, &["spec", "containers"]).len()
            ))
        }),
        at("Status", 0, |pod, _| Value::from(pod_status(pod))),
        at("Restarts", 0, |pod, _| {
            let statuses = list(pod, &["status", "containerStatuses"]);
            let count: i64 = statuses
                .iter()
                .filter_map(|status| status.get("restartCount").and_then(Value::as_i64))
                .sum();
            Value::from(count.to_string())
        }),
        age_column(),
        at("IP", 1, |pod, _| text_or(pod, &["status", "podIP"], NONE)),
        at("Node", 1, |pod, _| {
            text_or(pod, &["spec", "nodeName"], NONE)
        }),
        at("Nominated Node", 1, |pod, _| {
            text_or(pod, &["status", "nominatedNodeName"], NONE)
        }),
        at("Readiness Gates", 1, |pod, _| {
            let gates = list(pod, &["spec", "readinessGates"]);
            if gates.is_empty() {
                return Value::from(NONE);
            }
            let conditions = list(pod, &["status", "conditions"]);
            let open = gates.iter().filter(|gate| {
                let kind = text(gate, &["conditionType"]);
                conditions.iter().any(|known| {
                    text(known, &["type"]) == kind && text(known, &["status"]) == "True"
                })
            });
            Value::from(format!("{}/{}", open.count(), gates.len()))
        }),
    ]
}

/// What a pod's containers wait or ended for, or else its phase.
fn pod_status(pod: &Value<'_>) -> String {
    let mut status = text(pod, &["status", "reason"]);
    if status.is_empty() {
        status = text(pod, &["status", "phase"]);
    }
    let mut is_initializing = false;
    let init = list(pod, &["status", "initContainerStatuses"]);
    for (index, container) in init.iter().enumerate() {
        let ended = container.at(&["state", "terminated"]);
        if ended.is_some_and(|ended| ended.get("exitCode").and_then(Value::as_i64) == Some(0)) {
            continue;
        }
        let reason = match ended {
            Some(ended) => ended_for(ended),
            None => text(container, &["state", "waiting", "reason"]),
        };
        status = if reason.is_empty() || reason == "PodInitializing" {
            format!(
                "Init:{index}/{}",
                list(pod, &["spec", "initContainers"]).len()
            )
        } else {
            format!("Init:{reason}")
        };
        is_initializing = true;
        break;
    }
    if !is_initializing {
        let mut has_running = false;
        for container in list(pod, &["status", "containerStatuses"]).iter().rev() {
            let waits = text(container, &["state", "waiting", "reason"]);
            if !waits.is_empty() {
                status = waits;
            } else if let Some(ended) = container.at(&["state", "terminated"]) {
                status = ended_for(ended);
            } else if container.get("ready").and_then(Value::as_bool) == Some(true)
                && container.at(&["state", "running"]).is_some()
            {
                has_running = true;
            }
        }
        if status == "Completed" && has_running {
            let is_ready = list(pod, &["status", "conditions"]).iter().any(|known| {
                text(known, &["type"]) == "Ready" && text(known, &["status"]) == "True"
            });
            status = if is_ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
    if pod.at(&["metadata", "deletionTimestamp"]).is_some() {
        return if text(pod, &["status", "reason"]) == "NodeLost" {
            "Unknown"
        } else {
            "Terminating"
        }
        .to_owned();
    }
    status
}

fn ended_for(ended: &Value<'_>) -> String {
    match text(ended, &["reason"]) {
        reason if !reason.is_empty() => reason,
        _ => match ended.get("signal").and_then(Value::as_i64) {
            Some(signal) if signal != 0 => format!("Signal:{signal}"),
            _ => format!(
                "ExitCode:{}",
                ended.get("exitCode").and_then(Value::as_i64).unwrap_or(0)
            ),
        },
    }
}
