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
            r"too old resource version: \d+ \(\d+\)",
            "too old resource version: RV (RV)",
        ),
        (r"(Too large resource version: \d+, current: )\d+", "${1}RV"),
        (r#""remainingItemCount":\d+"#, r#""remainingItemCount":N"#),
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
    // Columns are as wide as what was in them before.
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let indent = line.len() - line.trim_start().len();
            let words: Vec<&str> = line.split_whitespace().collect();
            format!("{}{}", &line[..indent], words.join(" "))
        })
        .collect();
    lines.join("\n")
}
