//! Tables: the columns that `kubectl get` prints, and the cells of an object.
//!
//! It answers to <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>.
//! Ages are told relative to a time that is given.

mod builtin;
mod json_path;

use jiff::Timestamp;

pub(crate) use json_path::JsonPath;

use crate::json::{Number, Object, Value};

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// A hint on the form of the value, such as `name`; may be empty.
    pub format: String,
    /// What the column shows.
    pub description: String,
    /// Columns above 0 are shown only when a wide table is asked for.
    pub priority: i64,
    cell: Cell,
}

#[derive(Debug, Clone)]
enum Cell {
    /// The value at a path; `None` for a path that cannot be followed.
    Path(Option<JsonPath>),
    Made(fn(&Value<'_>, Timestamp) -> Value<'static>),
}

impl Column {
    fn made(
        name: &str,
        kind: &str,
        priority: i64,
        made: fn(&Value<'_>, Timestamp) -> Value<'static>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: if name == "Name" {
                "name".to_owned()
            } else {
                String::new()
            },
            description: format!("{name} of the object"),
            priority,
            cell: Cell::Made(made),
        }
    }

    /// The column that an entry of `additionalPrinterColumns` describes.
    #[must_use]
    pub fn additional(column: &Value<'_>) -> Self {
        let text = |name: &str| {
            column
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let path = text("jsonPath");
        let description = match text("description") {
            description if description.is_empty() => {
                format!("Custom resource definition column (in JSONPath format): {path}")
            }
            description => description,
        };
        Self {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description,
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
            cell: Cell::Path(JsonPath::parse(&path)),
        }
    }

    fn definition(&self) -> Value<'_> {
        let mut object = Object::with_capacity(5);
        object.push("name", Value::from(self.name.as_str()));
        object.push("type", Value::from(self.kind.as_str()));
        object.push("format", Value::from(self.format.as_str()));
        object.push("description", Value::from(self.description.as_str()));
        object.push("priority", Value::from(self.priority));
        Value::Object(object)
    }

    fn cell(&self, object: &Value<'_>, now: Timestamp) -> Value<'static> {
        let path = match &self.cell {
            Cell::Made(made) => return made(object, now),
            Cell::Path(path) => path,
        };
        let found = path
            .as_ref()
            .map(|path| path.find(object))
            .unwrap_or_default();
        let Some(value) = found.first() else {
            return Value::Null;
        };
        match (self.kind.as_str(), value) {
            (_, Value::Null) => Value::Null,
            ("string", Value::String(text)) => Value::from(text.as_ref().to_owned()),
            ("string", value) => Value::from(value.to_sorted_string()),
            ("integer", Value::Number(number)) =>
            {
                #[allow(clippy::cast_possible_truncation, reason = "upstream truncates")]
                Value::from(number.as_i64().unwrap_or_else(|| number.as_f64() as i64))
            }
            ("number", Value::Number(number)) => Value::Number(number.clone().into_owned()),
            ("boolean", Value::Bool(truth)) => Value::Bool(*truth),
            ("date", Value::String(text)) => text.parse().map_or_else(
                |_| Value::from("<invalid>"),
                |time| Value::from(age(time, now)),
            ),
            _ => Value::Null,
        }
    }
}

/// The columns of a resource.
#[derive(Debug, Clone)]
pub struct Columns(Vec<Column>);

impl Columns {
    /// The columns of a custom resource: its name, and those of its definition or else its age.
    #[must_use]
    pub fn custom(additional: &[Value<'_>]) -> Self {
        let mut columns = vec![builtin::name()];
        if additional.is_empty() {
            columns.push(builtin::date_age());
        } else {
            columns.extend(additional.iter().map(Column::additional));
        }
        Self(columns)
    }

    /// The columns of a built-in kind.
    #[must_use]
    pub fn builtin(group: &str, kind: &str) -> Self {
        Self(builtin::columns(group, kind))
    }

    /// The `columnDefinitions` of a table.
    #[must_use]
    pub fn definitions(&self) -> Value<'_> {
        Value::Array(self.0.iter().map(Column::definition).collect())
    }

    /// The `cells` of a row.
    #[must_use]
    pub fn cells(&self, object: &Value<'_>, now: Timestamp) -> Value<'static> {
        Value::Array(
            self.0
                .iter()
                .map(|column| column.cell(object, now))
                .collect(),
        )
    }
}

/// How long ago a time was, in two or three figures: `5m30s`, `3d4h`.
#[must_use]
pub fn age(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - time.as_second();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{small_unit}"),
    };
    match seconds {
        i64::MIN..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(hours / 24, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{}d", hours / 24),
        63_072_000..252_288_000 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

fn number(value: usize) -> Value<'static> {
    Value::Number(Number::from(i64::try_from(value).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn read(text: &str) -> Value<'_> {
        parse(text.as_bytes()).unwrap().value
    }

    #[test]
    fn ages_have_two_or_three_figures() {
        let now: Timestamp = "2024-01-10T00:00:00Z".parse().unwrap();
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (9 * 3600 + 60, "9h"),
            (49 * 3600, "2d1h"),
            (9 * 86400, "9d"),
            (800 * 86400, "2y70d"),
            (9 * 365 * 86400, "9y"),
        ] {
            let time = Timestamp::from_second(now.as_second() - seconds).unwrap();
            assert_eq!(age(time, now), expected, "{seconds}");
        }
    }

    #[test]
    fn custom_columns_show_values_by_their_type() {
        let columns = read(
            r#"[{"name":"Phase","type":"string","jsonPath":".status.phase"},
                {"name":"Replicas","type":"integer","jsonPath":".spec.replicas"},
                {"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"},
                {"name":"Since","type":"date","jsonPath":".metadata.creationTimestamp"},
                {"name":"Map","type":"string","jsonPath":".spec.map"},
                {"name":"Text","type":"integer","jsonPath":".status.phase"},
                {"name":"None","type":"string","jsonPath":".spec.none","priority":1,"description":"nothing"}]"#,
        );
        let columns = Columns::custom(columns.as_array().unwrap());
        let object = read(
            r#"{"metadata":{"name":"x","creationTimestamp":"2024-01-01T00:00:00Z"},"spec":{"replicas":3.0,"map":{"b":1,"a":["y"]}},
                "status":{"phase":"Up","conditions":[{"type":"Ready","status":"True"}]}}"#,
        );
        let now = "2024-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(
            columns.cells(&object, now),
            read(r#"["x","Up",3,"True","60s","{\"a\":[\"y\"],\"b\":1}",null,null]"#)
        );
        let definitions = columns.definitions();
        let last = definitions.as_array().unwrap().last().unwrap().clone();
        assert_eq!(
            last,
            read(
                r#"{"name":"None","type":"string","format":"","description":"nothing","priority":1}"#
            )
        );
    }

    #[test]
    fn built_in_kinds_have_their_columns() {
        let now = "2024-01-01T00:01:00Z".parse().unwrap();
        let cells = |group: &str, kind: &str, object: &str| {
            Columns::builtin(group, kind)
                .cells(&read(object), now)
                .to_string()
        };
        let meta = r#""metadata":{"name":"x","creationTimestamp":"2024-01-01T00:00:00Z"}"#;
        assert_eq!(
            cells(
                "",
                "ConfigMap",
                &format!(r#"{{{meta},"data":{{"a":"1"}},"binaryData":{{"b":""}}}}"#)
            ),
            r#"["x",2,"60s"]"#
        );
        assert_eq!(
            cells(
                "",
                "Namespace",
                &format!(r#"{{{meta},"status":{{"phase":"Active"}}}}"#)
            ),
            r#"["x","Active","60s"]"#
        );
        assert_eq!(
            cells(
                "",
                "Node",
                r#"{"metadata":{"name":"n","creationTimestamp":"2024-01-01T00:00:00Z","labels":{"node-role.kubernetes.io/control-plane":""}},"spec":{"unschedulable":true},"status":{"conditions":[{"type":"Ready","status":"True"}],"nodeInfo":{"kubeletVersion":"v1.36.0"},"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}"#
            ),
            r#"["n","Ready,SchedulingDisabled","control-plane","60s","v1.36.0","10.0.0.1","<none>","<unknown>","<unknown>","<unknown>"]"#
        );
        assert_eq!(
            cells(
                "",
                "Pod",
                &format!(
                    r#"{{{meta},"spec":{{"nodeName":"n","containers":[{{"name":"a"}},{{"name":"b"}}]}},"status":{{"phase":"Running","podIP":"10.1.0.1","containerStatuses":[{{"name":"a","ready":true,"restartCount":2,"state":{{"running":{{}}}}}},{{"name":"b","ready":false,"restartCount":0,"state":{{"waiting":{{"reason":"CrashLoopBackOff"}}}}}}]}}}}"#
                )
            ),
            r#"["x","1/2","CrashLoopBackOff","2","60s","10.1.0.1","n","<none>","<none>"]"#
        );
        assert_eq!(
            cells(
                "policy",
                "PodDisruptionBudget",
                &format!(
                    r#"{{{meta},"spec":{{"minAvailable":"50%"}},"status":{{"disruptionsAllowed":1}}}}"#
                )
            ),
            r#"["x","50%","N/A",1,"60s"]"#
        );
    }
}
