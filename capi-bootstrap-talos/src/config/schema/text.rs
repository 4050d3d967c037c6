//! Texts of a form: whether one is valid, and how Talos writes it.

use std::net::{IpAddr, SocketAddr};

use super::Text;
use crate::config::yaml::{Node, Resolved, Scalar};

/// The value as Talos writes it, or what was expected. An empty text says nothing and is
/// valid everywhere.
pub(super) fn normalise(form: Text, scalar: &Scalar) -> Result<Node, &'static str> {
    let text = scalar.text();
    if text.is_empty() {
        return Ok(Node::string(""));
    }
    let keep = |valid: bool, expected| {
        if valid {
            Ok(Node::string(text))
        } else {
            Err(expected)
        }
    };
    match form {
        Text::Address => text
            .split_once('%')
            .map_or(text, |(address, _)| address)
            .parse::<IpAddr>()
            .map(|address| match text.split_once('%') {
                Some((_, zone)) => Node::string(format!("{address}%{zone}")),
                None => Node::string(address.to_string()),
            })
            .map_err(|_| "an IP address"),
        Text::AddressPort => text
            .parse::<SocketAddr>()
            .map(|address| Node::string(address.to_string()))
            .map_err(|_| "an IP address with a port"),
        Text::Prefix => prefix(text).ok_or("a network like 10.0.0.0/8"),
        Text::Duration => match scalar.resolve() {
            Resolved::Integer(nanoseconds) => {
                i64::try_from(nanoseconds).map_err(|_| "a duration like 1m30s")
            }
            _ => duration(text).ok_or("a duration like 1m30s"),
        }
        .map(|nanoseconds| Node::string(write_duration(nanoseconds))),
        Text::Url => keep(is_url(text), "a URL"),
        Text::Expression => keep(true, ""),
        Text::HardwareAddress => {
            hardware_address(text).ok_or("a hardware address like 02:00:00:00:00:01")
        }
        Text::PortRange => port_range(text).ok_or("a port or a range of ports like 80-90"),
        Text::RoutingTable => keep(
            ["unspec", "default", "main", "local"].contains(&text) || text.parse::<u32>().is_ok(),
            "a routing table: main, local, default or a number",
        ),
        Text::Size => keep(
            text.strip_suffix('%').map_or_else(
                || bytes(text.strip_prefix('-').unwrap_or(text)).is_some(),
                |percentage| percentage.parse::<i64>().is_ok(),
            ),
            "a size like 10GiB or a percentage",
        ),
        Text::SizeMatcher => keep(
            bytes(text.trim_start_matches(['<', '>', '=']).trim()).is_some(),
            "a comparison of sizes like >= 10GB",
        ),
        Text::DiskSize => bytes(text).map(disk_size).ok_or("a size like 10GB"),
        Text::FileMode => match scalar.resolve() {
            Resolved::Integer(mode) => u32::try_from(mode)
                .map(|mode| Node::Scalar(Scalar::new(format!("0o{mode:o}"), true)))
                .map_err(|_| "an octal file mode like 0o644"),
            _ => Err("an octal file mode like 0o644"),
        },
    }
}

fn prefix(text: &str) -> Option<Node> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let canonical = bits == "0" || !bits.starts_with(['0', '+']);
    let bits = bits
        .parse::<u8>()
        .ok()
        .filter(|bits| canonical && *bits <= most)?;
    Some(Node::string(format!("{address}/{bits}")))
}

fn hardware_address(text: &str) -> Option<Node> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let valid = parts.len() >= 6
        && parts
            .iter()
            .all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    valid.then(|| Node::string(parts.join(":").to_ascii_lowercase()))
}

fn port_range(text: &str) -> Option<Node> {
    match text.split_once('-') {
        None => text
            .parse::<u16>()
            .ok()
            .map(|port| Node::integer(port.into())),
        Some((low, high)) => {
            let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
            Some(if low == high {
                Node::integer(low.into())
            } else {
                Node::string(format!("{low}-{high}"))
            })
        }
    }
}

/// What Go's `url.Parse` would not refuse.
fn is_url(text: &str) -> bool {
    if text.chars().any(|c| c.is_ascii_control()) {
        return false;
    }
    match text.split_once(':') {
        Some((scheme, _)) if scheme.contains('/') => true,
        Some((scheme, rest)) => {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
                && rest.strip_prefix("//").is_none_or(is_authority)
        }
        None => true,
    }
}

fn is_authority(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let port = match host.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((_, port)) => port,
            None => return false,
        },
        None => host.find(':').map_or("", |colon| &host[colon..]),
    };
    !host.contains(' ')
        && (port.is_empty()
            || port
                .strip_prefix(':')
                .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())))
}

/// Bytes as people write them: `10GB`, `1.5 GiB`, `512`.
fn bytes(text: &str) -> Option<i64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.replace(',', "").parse().ok()?;
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "p" | "pb" => 1e15,
        "e" | "eb" => 1e18,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1024.0 * 1024.0,
        "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "ti" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "pi" | "pib" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "ei" | "eib" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let size = number * factor;
    // beyond 2^63 bytes there is no disk
    #[allow(clippy::cast_possible_truncation, reason = "checked to be in range")]
    (size < 9.2e18).then_some(size as i64)
}

/// A size of a partition: in a unit where that says it exactly, else in bytes.
fn disk_size(size: i64) -> Node {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let exponent = UNITS
        .iter()
        .enumerate()
        .rev()
        .find(|(exponent, _)| size >= 1000_i64.pow(u32::try_from(*exponent).unwrap_or(0)))
        .map_or(0, |(exponent, _)| exponent);
    let unit = 1000_i64.pow(u32::try_from(exponent).unwrap_or(0));
    let (whole, tenth) = (size / unit, size % unit * 10 / unit);
    let text = if whole < 10 && exponent > 0 {
        format!("{whole}.{tenth} {}", UNITS[exponent])
    } else {
        format!("{whole} {}", UNITS[exponent])
    };
    if size % 1000 == 0 && bytes(&text) == Some(size) {
        Node::string(text)
    } else {
        Node::integer(size)
    }
}

/// Nanoseconds of a duration as Go reads it: `1h2m3.5s`.
fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: f64 = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    #[allow(clippy::cast_possible_truncation, reason = "checked to be in range")]
    (total < 9.2e18).then_some(if negative {
        -(total as i64)
    } else {
        total as i64
    })
}

/// A duration as Go writes it: `1h2m3.5s`, `1.5ms`, `0s`.
fn write_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(total, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(total, 1_000_000)),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = fraction(total % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, expected) in [
            ("168h", "168h0m0s"),
            ("1h2m3.5s", "1h2m3.5s"),
            ("90s", "1m30s"),
            ("1500ms", "1.5s"),
            ("1.5ms", "1.5ms"),
            ("10us", "10µs"),
            ("0", "0s"),
            ("-5m", "-5m0s"),
        ] {
            let node = normalise(Text::Duration, &Scalar::new(text, true)).unwrap();
            assert_eq!(node.as_str(), Some(expected), "{text}");
        }
        for text in ["1", "h", "1x", "1h2", "-", "1.2.3s"] {
            assert!(
                normalise(Text::Duration, &Scalar::new(text, false)).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn texts_of_a_form_are_judged() {
        for (form, valid, invalid) in [
            (
                Text::Address,
                &["10.0.0.1", "fd00::1", "fe80::1%eth0"][..],
                &["10.0.0", "host", "10.0.0.1/8"][..],
            ),
            (
                Text::AddressPort,
                &["10.0.0.1:80", "[fd00::1]:80"],
                &["10.0.0.1", "fd00::1:80"],
            ),
            (
                Text::Prefix,
                &["10.0.0.0/8", "fd00::/64", "1.2.3.4/0"],
                &["10.0.0.0", "10.0.0.0/33", "10.0.0.0/08", "a/8"],
            ),
            (
                Text::Url,
                &[
                    "https://a:6443",
                    "https://[fd00::1]:6443/x",
                    "tcp://1.2.3.4",
                    "udp:///",
                    "file",
                ],
                &["https://a:b", "://a", "https://[fd00::1", "ht\ttp://a"],
            ),
            (
                Text::HardwareAddress,
                &["02:00:00:00:00:01", "02-00-00-00-00-0A"],
                &["02:00", "gg:00:00:00:00:01"],
            ),
            (Text::PortRange, &["80", "80-90"], &["x", "80-", "70000"]),
            (Text::RoutingTable, &["main", "100"], &["other", "-1"]),
            (
                Text::Size,
                &["10GiB", "-1GB", "50%", "512"],
                &["10X", "GB", "%"],
            ),
            (Text::SizeMatcher, &[">= 10GB", "4GB", "<=1TB"], &[">= x"]),
            (Text::DiskSize, &["10GB", "512"], &["x"]),
        ] {
            for text in valid {
                assert!(
                    normalise(form, &Scalar::new(*text, true)).is_ok(),
                    "{form:?} {text}"
                );
            }
            for text in invalid {
                assert!(
                    normalise(form, &Scalar::new(*text, true)).is_err(),
                    "{form:?} {text}"
                );
            }
        }
    }
}
