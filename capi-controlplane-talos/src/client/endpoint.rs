//! Where a machine API listens, in the forms that Talos accepts.

use std::{fmt, net::IpAddr, str::FromStr};

/// Port on which a node serves its machine API.
pub const MACHINE_API_PORT: u16 = 50_000;

/// Host and port of a machine API.
///
/// Read from `host`, `host:port`, `https://host` (port 443, as proxies of a hosted Talos use) or
/// an IPv6 address with or without brackets. An address of a `Machine` may hold any of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// A text that is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no Talos endpoint; write host, host:port or https://host")]
pub struct EndpointError {
    text: String,
}

impl Endpoint {
    /// An endpoint from its parts. A bare IPv6 address is written without brackets.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Host name or address, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl From<IpAddr> for Endpoint {
    fn from(address: IpAddr) -> Self {
        Self::new(address.to_string(), MACHINE_API_PORT)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || EndpointError {
            text: text.to_owned(),
        };
        let (rest, default) = match text.strip_prefix("https://") {
            Some(rest) => (rest.strip_suffix('/').unwrap_or(rest), 443),
            None => (text, MACHINE_API_PORT),
        };
        if rest.parse::<IpAddr>().is_ok() {
            return Ok(Self::new(rest, default));
        }
        let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, after) = bracketed.split_once(']').ok_or_else(wrong)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (
                host,
                after
                    .strip_prefix(':')
                    .or(after.is_empty().then_some(""))
                    .ok_or_else(wrong)?,
            )
        } else {
            rest.split_once(':').unwrap_or((rest, ""))
        };
        let port = match port {
            "" if !rest.ends_with(':') => default,
            port => port.parse().map_err(|_| wrong())?,
        };
        let named = host.parse::<IpAddr>().is_ok()
            || host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if host.is_empty() || port == 0 || !named {
            return Err(wrong());
        }
        Ok(Self::new(host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_in_every_form_that_talos_accepts() {
        for (text, host, port) in [
            ("10.0.0.1", "10.0.0.1", 50_000),
            ("10.0.0.1:4000", "10.0.0.1", 4000),
            ("node-1.example.com", "node-1.example.com", 50_000),
            ("https://talos.example.com", "talos.example.com", 443),
            ("https://talos.example.com/", "talos.example.com", 443),
            ("https://talos.example.com:8443", "talos.example.com", 8443),
            ("fd00::1", "fd00::1", 50_000),
            ("[fd00::1]", "fd00::1", 50_000),
            ("[fd00::1]:4000", "fd00::1", 4000),
        ] {
            assert_eq!(
                text.parse::<Endpoint>(),
                Ok(Endpoint::new(host, port)),
                "{text}"
            );
        }
    }

    #[test]
    fn texts_that_are_no_endpoint_are_refused() {
        for text in [
            "",
            ":50000",
            "host:",
            "host:0",
            "host:port",
            "[fd00::1",
            "[fd00::1]x",
            "a b",
            "a/b",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_ipv6_endpoint_is_shown_in_brackets() {
        assert_eq!(
            Endpoint::new("fd00::1", 50_000).to_string(),
            "[fd00::1]:50000"
        );
    }
}
