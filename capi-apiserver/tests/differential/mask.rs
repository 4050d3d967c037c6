//! What differs between any two runs is masked: identities, versions, times, addresses.

use regex::Regex;
use std::sync::LazyLock;

static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "UID",
        ),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (
            r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000",
            "TIME",
        ),
        (
            r#"resourceVersion(\\?"?: ?\\?"?)\d+"#,
            "resourceVersion${1}RV",
        ),
        (r"Resource Version:(\s+)\d+", "Resource Version: RV"),
        (r"https://127\.0\.0\.1:\d+", "URL"),
        (r#""continue":"[^"]+""#, r#""continue":"TOKEN""#),
        (r"generated-[a-z0-9]{5}", "generated-SUFFIX"),
        (r"(?m)\b\d+m?\d*s\b", "AGE"),
        (
            r#""storageVersionHash":"[^"]+""#,
            r#""storageVersionHash":"HASH""#,
        ),
        (r"/tmp/(LIVE|MERGED)-\d+", "/tmp/$1"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000", "TIME"),
        (
            r"too old resource version: \d+ \(\d+\)",
            "too old resource version: RV (RV)",
        ),
        (r"(Too large resource version: \d+, current: )\d+", "${1}RV"),
        (r#""remainingItemCount":\d+"#, r#""remainingItemCount":0"#),
    ]
    .into_iter()
    .map(|(pattern, replacement)| (Regex::new(pattern).expect("a pattern"), replacement))
    .collect()
});

pub(crate) fn mask(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, replacement) in MASKS.iter() {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    // Columns are as wide as what was in them before; members of raw JSON have no order; the real
    // server tells faults in the order of a Go map.
    let lines: Vec<String> = text.lines().map(line).collect();
    let mut sorted: Vec<String> = Vec::with_capacity(lines.len());
    for line in lines {
        let start = sorted
            .iter()
            .rposition(|known| !known.starts_with("* "))
            .map_or(0, |last| last + 1);
        sorted.push(line);
        if sorted.last().is_some_and(|last| last.starts_with("* ")) {
            sorted[start..].sort();
        }
    }
    sorted.join("\n")
}

fn line(line: &str) -> String {
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(line)
        && value.is_object()
    {
        return value.to_string();
    }
    let indent = line.len() - line.trim_start().len();
    let words: Vec<&str> = line.split_whitespace().collect();
    format!("{}{}", &line[..indent], words.join(" "))
}
