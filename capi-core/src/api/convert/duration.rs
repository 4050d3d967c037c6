//! Durations as Go writes them (`1h2m3s`), and as seconds.

const NANOS: f64 = 1e9;

/// Seconds of a duration as Go writes it: fractions cut off, kept within the range of `i32`.
pub(super) fn to_seconds(text: &str) -> Option<i32> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("ms", 1e6),
            ("s", NANOS),
            ("m", 6e10),
            ("h", 3.6e12),
        ];
        rest = &rest[digits..];
        let length = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (_, factor) = units.iter().find(|(unit, _)| *unit == &rest[..length])?;
        nanos += number * factor;
        rest = &rest[length..];
    }
    let seconds = (nanos / NANOS).trunc() * if negative { -1.0 } else { 1.0 };
    // A cast from float saturates.
    Some(seconds as i32)
}

/// Seconds as Go writes a duration: `90` is `1m30s`, `3600` is `1h0m0s`.
pub(super) fn from_seconds(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let seconds = seconds.unsigned_abs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, _) => format!("{sign}{minutes}m{rest}s"),
        _ => format!("{sign}{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{from_seconds, to_seconds};

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases = [
            ("10s", Some(10)),
            ("1h2m3s", Some(3723)),
            ("1.5h", Some(5400)),
            ("300ms", Some(0)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("-5s", Some(-5)),
            ("99999999h", Some(i32::MAX)),
            ("", None),
            ("10", None),
            ("s", None),
            ("10 s", None),
            ("1d", None),
            ("1..2s", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(to_seconds(text), seconds, "{text:?}");
        }
    }

    #[test]
    fn seconds_are_written_as_go_writes_durations() {
        for (seconds, text) in [
            (0, "0s"),
            (10, "10s"),
            (60, "1m0s"),
            (90, "1m30s"),
            (3600, "1h0m0s"),
            (3723, "1h2m3s"),
            (-5, "-5s"),
        ] {
            assert_eq!(from_seconds(seconds), text);
        }
    }
}
