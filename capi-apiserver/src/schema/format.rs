//! Formats of strings.

use std::net::{IpAddr, Ipv6Addr};

/// A format that a custom resource's schema may name and that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    BsonObjectId,
    Uri,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    /// Of any version, or of this one.
    Uuid(Option<char>),
    Isbn,
    Isbn10,
    Isbn13,
    CreditCard,
    SocialSecurityNumber,
    HexColor,
    RgbColor,
    Byte,
    Password,
    Date,
    Duration,
    DateTime,
    ShortName,
    LongName,
    Int32,
    Int64,
    Float,
    Double,
}

impl Format {
    /// The format of a string by name; dashes do not count. `None` for names that are unknown
    /// and therefore not checked.
    pub(crate) fn of_string(name: &str) -> Option<Self> {
        Some(match name.replace('-', "").as_str() {
            "bsonobjectid" => Self::BsonObjectId,
            "uri" => Self::Uri,
            "email" => Self::Email,
            "hostname" => Self::Hostname,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "cidr" => Self::Cidr,
            "mac" => Self::Mac,
            "uuid" => Self::Uuid(None),
            "uuid3" => Self::Uuid(Some('3')),
            "uuid4" => Self::Uuid(Some('4')),
            "uuid5" => Self::Uuid(Some('5')),
            "isbn" => Self::Isbn,
            "isbn10" => Self::Isbn10,
            "isbn13" => Self::Isbn13,
            "creditcard" => Self::CreditCard,
            "ssn" => Self::SocialSecurityNumber,
            "hexcolor" => Self::HexColor,
            "rgbcolor" => Self::RgbColor,
            "byte" => Self::Byte,
            "password" => Self::Password,
            "date" => Self::Date,
            "duration" => Self::Duration,
            "datetime" => Self::DateTime,
            "k8sshortname" => Self::ShortName,
            "k8slongname" => Self::LongName,
            _ => return None,
        })
    }

    /// Whether a string has the format.
    pub(crate) fn accepts(self, text: &str) -> bool {
        match self {
            Self::Password | Self::Int32 | Self::Int64 | Self::Float | Self::Double => true,
            Self::BsonObjectId => text.len() == 24 && is_hexadecimal(text),
            Self::Uri => {
                text.parse::<http::Uri>().is_ok() && (text.starts_with('/') || text.contains(':'))
            }
            Self::Email => is_email(text),
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => text.contains('.') && is_ipv4(text),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Cidr => is_cidr(text),
            Self::Mac => is_mac(text),
            Self::Uuid(version) => is_uuid(text, version),
            Self::Isbn => is_isbn10(text) || is_isbn13(text),
            Self::Isbn10 => is_isbn10(text),
            Self::Isbn13 => is_isbn13(text),
            Self::CreditCard => is_credit_card(text),
            Self::SocialSecurityNumber => is_social_security_number(text),
            Self::HexColor => {
                let digits = text.strip_prefix('#').unwrap_or(text);
                matches!(digits.len(), 3 | 6) && is_hexadecimal(digits)
            }
            Self::RgbColor => is_rgb_color(text),
            Self::Byte => is_base64(text),
            Self::Date => is_date(text),
            Self::Duration => is_duration(text),
            Self::DateTime => is_date_time(text),
            Self::ShortName => text.len() <= 63 && is_short_name(text),
            Self::LongName => text.len() <= 253 && text.split('.').all(is_short_name),
        }
    }
}

fn is_hexadecimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_short_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(start), Some(rest)) => &rest[start + 1..],
        _ => text,
    };
    let is_atom = |text: &str| {
        !text.is_empty()
            && text.chars().all(|character| {
                !character.is_whitespace() && !r#"()<>[]:;@\,""#.contains(character)
            })
    };
    address.rsplit_once('@').is_some_and(|(local, domain)| {
        local.split('.').all(is_atom) && domain.split('.').all(is_atom)
    })
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 255
        && text.trim_end_matches('.').split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .chars()
                    .all(|character| character.is_alphanumeric() || character == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Leading zeros are accepted, as Kubernetes does for its own addresses.
fn is_ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 4
        && parts.iter().all(|part| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && part.trim_start_matches('0').len() <= 3
                && part.parse::<u32>().is_ok_and(|number| number <= 255)
        })
        || text
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_ipv6())
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let bits = if address.contains(':') {
        if address.parse::<Ipv6Addr>().is_err() {
            return false;
        }
        128
    } else if is_ipv4(address) {
        32
    } else {
        return false;
    };
    !length.is_empty()
        && length.bytes().all(|byte| byte.is_ascii_digit())
        && length.parse::<u32>().is_ok_and(|length| length <= bits)
}

fn is_mac(text: &str) -> bool {
    let groups = |separator: char, width: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len())
            && parts
                .iter()
                .all(|part| part.len() == width && is_hexadecimal(part))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let mut rest = text;
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((group, tail)) = rest.split_at_checked(length) else {
            return false;
        };
        let first = group.chars().next().map(|digit| digit.to_ascii_lowercase());
        let fits = match (index, version) {
            (2, Some(version)) => first == Some(version),
            (3, Some('4' | '5')) => matches!(first, Some('8' | '9' | 'a' | 'b')),
            _ => true,
        };
        if !fits || !is_hexadecimal(group) {
            return false;
        }
        rest = tail;
    }
    rest.is_empty()
}

fn digits_of(text: &str) -> String {
    text.chars()
        .filter(|character| !matches!(character, '-' | ' '))
        .collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = digits_of(text);
    let mut sum = 0;
    for (index, digit) in digits.chars().enumerate() {
        let value = match digit {
            'X' if index == 9 => 10,
            _ => match digit.to_digit(10) {
                Some(value) => value,
                None => return false,
            },
        };
        sum += value * (10 - u32::try_from(index.min(9)).unwrap_or(9));
    }
    digits.chars().count() == 10 && sum % 11 == 0
}

fn is_isbn13(text: &str) -> bool {
    let digits = digits_of(text);
    digits.len() == 13
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits
            .bytes()
            .enumerate()
            .map(|(index, byte)| u32::from(byte - b'0') * if index % 2 == 0 { 1 } else { 3 })
            .sum::<u32>()
            % 10
            == 0
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text
        .chars()
        .filter_map(|character| character.to_digit(10))
        .collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match index % 2 {
            0 => *digit,
            _ if *digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    (13..=16).contains(&digits.len()) && sum.is_multiple_of(10)
}

fn is_social_security_number(text: &str) -> bool {
    let mut rest = text;
    for (index, length) in [3, 2, 4].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix(['-', ' ']).unwrap_or(rest);
        }
        let Some((group, tail)) = rest.split_at_checked(length) else {
            return false;
        };
        if !group.bytes().all(|byte| byte.is_ascii_digit()) {
            return false;
        }
        rest = tail;
    }
    rest.is_empty()
}

fn is_rgb_color(text: &str) -> bool {
    let Some(inner) = text
        .strip_prefix("rgb(")
        .and_then(|rest| rest.strip_suffix(')'))
    else {
        return false;
    };
    let parts: Vec<&str> = inner.split(',').collect();
    parts.len() == 3 && parts.iter().all(|part| part.trim().parse::<u8>().is_ok())
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    !text.is_empty()
        && base64::engine::general_purpose::STANDARD
            .decode(text)
            .is_ok()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

/// RFC 3339, with a space or `t` in place of the `T` too.
fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20
        && bytes.get(4) == Some(&b'-')
        && matches!(bytes.get(10), Some(b'T' | b't' | b' '))
        && text.parse::<jiff::Timestamp>().is_ok()
}

/// A duration of Go (`1h30m`, `-1.5s`) or of Scala (`2 days`).
pub(crate) fn is_duration(text: &str) -> bool {
    parse_go_duration(text).is_some() || is_scala_duration(text)
}

fn is_scala_duration(text: &str) -> bool {
    let text = text.trim();
    let split = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    const UNITS: [&str; 22] = [
        "ns",
        "nano",
        "nanosecond",
        "us",
        "µs",
        "micro",
        "microsecond",
        "ms",
        "milli",
        "millisecond",
        "s",
        "sec",
        "second",
        "m",
        "min",
        "minute",
        "h",
        "hr",
        "hour",
        "d",
        "day",
        "w",
    ];
    let unit = unit.trim().to_lowercase();
    let singular = if unit.len() > 2 {
        unit.strip_suffix('s').unwrap_or(&unit)
    } else {
        &unit
    };
    !number.is_empty() && (UNITS.contains(&singular) || matches!(singular, "week" | "wk"))
}

/// Nanoseconds of a duration as Go spells it.
pub(crate) fn parse_go_duration(text: &str) -> Option<i64> {
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
    let mut total = 0_f64;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, tail) = rest.split_at(end);
        let number: f64 = number.parse().ok()?;
        let units: [(&str, f64); 8] = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("μs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 6e10),
            ("h", 3.6e12),
        ];
        let (unit, scale) = units.into_iter().find(|(unit, _)| tail.starts_with(unit))?;
        total += number * scale;
        rest = &tail[unit.len()..];
    }
    #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
    (total < 9.2e18).then(|| {
        if negative {
            -(total as i64)
        } else {
            total as i64
        }
    })
}
