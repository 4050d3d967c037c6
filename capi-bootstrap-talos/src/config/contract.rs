//! Version contracts: which generation of Talos a machine configuration is written for.

use std::fmt;
use std::str::FromStr;

/// The minor version of Talos whose form of the configuration is meant. A newer node accepts
/// an older form; an older node refuses a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contract {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
}

/// A text that does not name a version of Talos.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid Talos version {0:?}: write it as v1.11 or v1.11.3")]
pub struct InvalidTalosVersion(pub String);

impl Contract {
    /// Talos 1.2.
    pub const V1_2: Self = Self::new(1, 2);
    /// Talos 1.9.
    pub const V1_9: Self = Self::new(1, 9);
    /// Talos 1.10.
    pub const V1_10: Self = Self::new(1, 10);
    /// Talos 1.11: the last whose configuration is one document, and takes JSON patches.
    pub const V1_11: Self = Self::new(1, 11);
    /// Talos 1.12.
    pub const V1_12: Self = Self::new(1, 12);
    /// Talos 1.13.
    pub const V1_13: Self = Self::new(1, 13);
    /// Talos 1.14.
    pub const V1_14: Self = Self::new(1, 14);
    /// The newest whose form is known; later versions get this one.
    pub const NEWEST: Self = Self::V1_14;

    /// A contract by its numbers.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Whether this is Talos 1.`minor` or later.
    pub(super) const fn since(self, minor: u32) -> bool {
        self.major > 1 || self.major == 1 && self.minor >= minor
    }

    /// Whether the service account key is RSA (before Talos 1.7: P-256).
    pub const fn uses_rsa_service_account_key(self) -> bool {
        self.since(7)
    }

    /// Whether etcd is encrypted with secretbox (before Talos 1.3: AES-CBC).
    pub const fn uses_secretbox(self) -> bool {
        self.since(3)
    }

    /// Whether the configuration has several documents, so that it takes no JSON patches.
    pub const fn is_multi_document(self) -> bool {
        self.since(12)
    }

    /// The minor versions of Kubernetes 1 that this Talos runs.
    pub fn kubernetes_minors(self) -> std::ops::RangeInclusive<u32> {
        // both have a new minor version at the same pace
        let minor = self.min(Self::NEWEST).minor;
        minor + 18..=minor + 23
    }

    /// The newest Kubernetes that this Talos runs: what a machine without a version gets.
    pub(crate) fn newest_kubernetes(self) -> String {
        format!("1.{}.0", self.kubernetes_minors().end())
    }

    /// Whether a newer form than the newest known one is meant.
    pub fn is_newer_than_known(self) -> bool {
        self > Self::NEWEST
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.major, self.minor)
    }
}

/// As Talos reads it: an optional `v`, two numbers, then nothing or a dot and anything.
impl FromStr for Contract {
    type Err = InvalidTalosVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.strip_prefix('v').unwrap_or(text).splitn(3, '.');
        let mut number = || {
            parts
                .next()
                .filter(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|part| part.parse().ok())
        };
        match (number(), number()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(InvalidTalosVersion(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talos_version_is_read_as_talos_reads_it() {
        for (text, expected) in [
            ("1.11", Contract::V1_11),
            ("v1.11", Contract::V1_11),
            ("v1.11.3-beta.1", Contract::V1_11),
            ("v1.11.x", Contract::V1_11),
            ("v1.14", Contract::V1_14),
            ("v2.0", Contract::new(2, 0)),
            ("v0.13", Contract::new(0, 13)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "abc",
            "v1",
            "v1.11-beta.0",
            "vv1.11",
            " v1.11",
            "v1.11 ",
            "v1.",
            "v1.99999999999",
        ] {
            assert!(text.parse::<Contract>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_talos_runs_six_minor_versions_of_kubernetes() {
        for (contract, minors) in [
            (Contract::V1_9, 27..=32),
            (Contract::V1_10, 28..=33),
            (Contract::V1_11, 29..=34),
            (Contract::V1_12, 30..=35),
            (Contract::V1_13, 31..=36),
            (Contract::V1_14, 32..=37),
        ] {
            assert_eq!(contract.kubernetes_minors(), minors, "{contract}");
        }
        assert_eq!(Contract::V1_13.newest_kubernetes(), "1.36.0");
    }

    #[test]
    fn contracts_are_ordered_by_number_and_not_by_text() {
        assert!(Contract::V1_9 < Contract::V1_10);
        assert!(Contract::new(2, 0).since(12));
        assert!(!Contract::new(0, 13).since(3));
        assert!(Contract::new(1, 15).is_newer_than_known());
    }
}
