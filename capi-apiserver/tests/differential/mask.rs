//! Hides what must differ between two servers: identities, times, versions and addresses.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "UID",
        ),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"https?://127\.0\.0\.1:\d+", "SERVER"),
        (r#"("?resourceVersion\\*"?[:=] ?\\*"?)\d+"#, "${1}VERSION"),
        (r"(Resource Version: +)\d+", "${1}VERSION"),
        (
            r"(does not match the ResourceVersion in record )\(\d+\)",
            "${1}(VERSION)",
        ),
        (r"(current: )\d+", "${1}VERSION"),
        (r"\d\d:\d\d:\d\d\.\d+ \+0000", "TIME"),
        (r"(continue=)ey[A-Za-z0-9_=-]+", "${1}CONTINUE"),
        (r#"("continue": ?")[^"]+"#, "${1}CONTINUE"),
        (r"(?m)(^|[ \t])\d+(s|m|m\d+s)($|[ \t])", "${1}AGE${3}"),
        (r"\b(generated-)[a-z0-9]{5}\b", "${1}XXXXX"),
        (r"/tmp/[^ \n'\x22]+", "FILE"),
        (r"(?m)^(I|W|E)\d{4} [\d:.]+ +\d+ ", "${1} "),
        (r"[ \t]+(\n|$)", "$1"),
    ]
    .into_iter()
    .map(|(pattern, with)| (Regex::new(pattern).unwrap(), with))
    .collect()
});

/// Text with everything hidden that must differ. JSON is told with sorted members; several
/// values in lines, as a watch has them, each by itself.
pub(crate) fn mask(text: &str) -> String {
    let text = if let Some(values) = values(text) {
        values
            .iter()
            .map(|value| serde_json::to_string_pretty(value).unwrap())
            .collect::<Vec<_>>()
            .join("\n")
    } else {
        text.to_owned()
    };
    let text = sorted_faults(&text);
    RULES.iter().fold(text, |text, (rule, with)| {
        rule.replace_all(&text, *with).into_owned()
    })
}

/// The real server tells the faults of an object in the order of a Go map, which is any.
fn sorted_faults(text: &str) -> String {
    static FAULT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^(<nil>|[\w.\[\]/-]+): (Invalid|Required|Unsupported|Duplicate) value|: (Too long|Too many|Forbidden)").unwrap()
    });
    let mut out: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("* ") {
            let first = out
                .iter()
                .rposition(|line| !line.starts_with("* "))
                .map_or(0, |place| place + 1);
            let place = out[first..].partition_point(|known| known.as_str() < line);
            out.insert(first + place, line.to_owned());
            continue;
        }
        let sorted = line
            .split_once(" is invalid: [")
            .and_then(|(before, list)| {
                let (list, after) = list.rsplit_once(']')?;
                let mut faults: Vec<String> = Vec::new();
                for part in list.split(", ") {
                    match faults.last_mut() {
                        Some(last) if !FAULT.is_match(part) => {
                            last.push_str(", ");
                            last.push_str(part);
                        }
                        _ => faults.push(part.to_owned()),
                    }
                }
                faults.sort();
                Some(format!(
                    "{before} is invalid: [{}]{after}",
                    faults.join(", ")
                ))
            });
        out.push(sorted.unwrap_or_else(|| line.to_owned()));
    }
    let mut out = out.join("\n");
    if text.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn sort_causes(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object
                .iter_mut()
                .for_each(|(name, member)| match (name.as_str(), member) {
                    ("causes", Value::Array(causes)) => causes.sort_by_key(ToString::to_string),
                    // Entries of the same second stand in the order of names, and seconds differ.
                    ("managedFields", Value::Array(entries)) => entries.sort_by_key(|entry| {
                        format!(
                            "{} {} {}",
                            entry["manager"], entry["operation"], entry["subresource"]
                        )
                    }),
                    (_, member) => sort_causes(member),
                });
        }
        Value::Array(items) => items.iter_mut().for_each(sort_causes),
        _ => {}
    }
}

fn values(text: &str) -> Option<Vec<Value>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect();
    let mut values = values.ok()?;
    values.iter_mut().for_each(sort_causes);
    Some(values)
}
