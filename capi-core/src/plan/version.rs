//! Kubernetes versions: their order, and how many machines run which.

use std::{cmp::Ordering, collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::api::{StatusVersion, Time};

/// A Kubernetes version, such as `v1.35.2`. Written with a leading `v`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KubernetesVersion(semver::Version);

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no Kubernetes version; write it as v1.35.2")]
pub struct VersionError(String);

impl KubernetesVersion {
    /// Major version.
    #[must_use]
    pub fn major(&self) -> u64 {
        self.0.major
    }

    /// Minor version.
    #[must_use]
    pub fn minor(&self) -> u64 {
        self.0.minor
    }

    /// Patch version.
    #[must_use]
    pub fn patch(&self) -> u64 {
        self.0.patch
    }

    /// Order by precedence, then by build metadata: numbers before texts, numbers by value, the
    /// longer one greater. `None` for builds whose texts differ, such as commit hashes, of which
    /// nobody can say which is newer.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        let precedence = self.0.cmp_precedence(&other.0);
        if precedence != Ordering::Equal {
            return Some(precedence);
        }
        compare_builds(self.0.build.as_str(), other.0.build.as_str())
    }

    /// Whether this is less than `other`, by precedence and build.
    #[must_use]
    pub fn is_less_than(&self, other: &Self) -> bool {
        self.compare(other) == Some(Ordering::Less)
    }

    /// Whether `wanted` is newer than this, or a build of which nobody can say.
    #[must_use]
    pub fn is_older_or_other_build_than(&self, wanted: &Self) -> bool {
        matches!(wanted.compare(self), Some(Ordering::Greater) | None)
    }
}

fn compare_builds(a: &str, b: &str) -> Option<Ordering> {
    let split = |s: &str| -> Vec<String> {
        s.split('.')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let number = |s: &str| -> Option<u64> {
        s.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| s.parse().unwrap_or(0))
    };
    let (a, b) = (split(a), split(b));
    for (x, y) in a.iter().zip(&b) {
        let order = match (number(x), number(y)) {
            (Some(x), Some(y)) => x.cmp(&y),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) if x == y => Ordering::Equal,
            (None, None) => return None,
        };
        if order != Ordering::Equal {
            return Some(order);
        }
    }
    Some(a.len().cmp(&b.len()))
}

impl FromStr for KubernetesVersion {
    type Err = VersionError;

    /// Tolerant: spaces around, a leading `v` or none, missing minor and patch, leading zeros.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError(text.to_owned());
        let trimmed = text.trim();
        let trimmed = trimmed.strip_prefix('v').unwrap_or(trimmed);
        let end = trimmed.find(['-', '+']).unwrap_or(trimmed.len());
        let (numbers, rest) = trimmed.split_at(end);
        let mut parts: Vec<&str> = numbers.split('.').collect();
        if parts.len() > 3 || (parts.len() < 3 && !rest.is_empty()) {
            return Err(error());
        }
        parts.resize(3, "0");
        let numbers = parts
            .iter()
            .map(|part| part.parse::<u64>().map(|n| n.to_string()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| error())?;
        semver::Version::parse(&format!("{}{rest}", numbers.join(".")))
            .map(Self)
            .map_err(|_| error())
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl TryFrom<String> for KubernetesVersion {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<KubernetesVersion> for String {
    fn from(version: KubernetesVersion) -> Self {
        version.to_string()
    }
}

/// What is known of one machine's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineVersion<'a> {
    /// When the machine was created; decides between versions that cannot be ordered.
    pub created: Time,
    /// Name of the machine.
    pub name: &'a str,
    /// Version that its kubelet reports; wins.
    pub kubelet: Option<&'a str>,
    /// Version that is wanted.
    pub wanted: Option<&'a str>,
}

/// How many machines run which version, ascending. Machines without a version do not count.
#[must_use]
pub fn versions_of_machines<'a>(
    machines: impl IntoIterator<Item = MachineVersion<'a>>,
) -> Vec<StatusVersion> {
    let mut machines: Vec<_> = machines.into_iter().collect();
    machines.sort_by_key(|m| (m.created, m.name));
    let texts = machines.iter().filter_map(|machine| {
        let kubelet = machine.kubelet.filter(|version| !version.is_empty());
        kubelet.or(machine.wanted).map(|version| (version, 1))
    });
    collect(texts)
}

/// Adds up counts by version, ascending.
#[must_use]
pub fn aggregate_versions<'a>(
    versions: impl IntoIterator<Item = &'a StatusVersion>,
) -> Vec<StatusVersion> {
    collect(
        versions
            .into_iter()
            .map(|v| (v.version.as_str(), v.replicas.unwrap_or(0))),
    )
}

struct Counted<'a> {
    text: &'a str,
    version: Option<KubernetesVersion>,
    replicas: i32,
    order: usize,
}

fn collect<'a>(versions: impl Iterator<Item = (&'a str, i32)>) -> Vec<StatusVersion> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut list: Vec<Counted<'_>> = Vec::new();
    for (text, replicas) in versions.filter(|(text, _)| !text.is_empty()) {
        if let Some(place) = places.get(text) {
            list[*place].replicas += replicas;
            continue;
        }
        places.insert(text, list.len());
        list.push(Counted {
            text,
            version: text.parse().ok(),
            replicas,
            order: list.len(),
        });
    }
    // An insertion sort, because the order of builds is not total, which the sorts of the
    // standard library do not accept. There are never more than a handful of versions.
    let mut sorted: Vec<Counted<'_>> = Vec::with_capacity(list.len());
    for counted in list {
        let place = sorted
            .iter()
            .rposition(|other| !less(&counted, other))
            .map_or(0, |place| place + 1);
        sorted.insert(place, counted);
    }
    sorted
        .into_iter()
        .map(|counted| StatusVersion {
            version: counted.text.to_owned(),
            replicas: (counted.replicas != 0).then_some(counted.replicas),
        })
        .collect()
}

fn less(a: &Counted<'_>, b: &Counted<'_>) -> bool {
    let by_text = || (a.text, a.order) < (b.text, b.order);
    match (&a.version, &b.version) {
        (Some(x), Some(y)) => match x.compare(y) {
            Some(Ordering::Less) => true,
            Some(Ordering::Greater) => false,
            Some(Ordering::Equal) => by_text(),
            None => a.order < b.order,
        },
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None, None) => by_text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> KubernetesVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_read_tolerantly_and_written_with_v() {
        for (text, expected) in [
            ("v1.35.2", Some("v1.35.2")),
            (" 1.35.2 ", Some("v1.35.2")),
            ("1.35", Some("v1.35.0")),
            ("v1", Some("v1.0.0")),
            ("v1.035.2", Some("v1.35.2")),
            ("v1.33.1+k3s1", Some("v1.33.1+k3s1")),
            ("v1.36.0-rc.1", Some("v1.36.0-rc.1")),
            ("v1.36-rc.1", None),
            ("v1.2.3.4", None),
            ("latest", None),
            ("", None),
        ] {
            let parsed = text.parse::<KubernetesVersion>().ok();
            assert_eq!(
                parsed.map(|v| v.to_string()).as_deref(),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn builds_count_when_all_else_is_equal_and_some_cannot_be_ordered() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, expected) in [
            ("v1.35.2", "v1.36.0", Some(Less)),
            ("v1.36.0-rc.1", "v1.36.0", Some(Less)),
            ("v1.36.0+1", "v1.36.0+2", Some(Less)),
            ("v1.36.0+10", "v1.36.0+9", Some(Greater)),
            ("v1.36.0+1", "v1.36.0+a", Some(Less)),
            ("v1.36.0+a", "v1.36.0+a.1", Some(Less)),
            ("v1.36.0", "v1.36.0+a", Some(Less)),
            ("v1.36.0+a", "v1.36.0+a", Some(Equal)),
            ("v1.36.0+abc", "v1.36.0+def", None),
        ] {
            assert_eq!(version(a).compare(&version(b)), expected, "{a} {b}");
        }
        assert!(version("v1.36.0+abc").is_older_or_other_build_than(&version("v1.36.0+def")));
        assert!(!version("v1.36.0").is_older_or_other_build_than(&version("v1.36.0")));
    }

    #[test]
    fn machines_are_counted_by_the_version_they_run_ascending() {
        let machine = |created: i64, name, kubelet, wanted| MachineVersion {
            created: jiff::Timestamp::from_second(created).unwrap().into(),
            name,
            kubelet,
            wanted,
        };
        let counted = versions_of_machines([
            machine(5, "d", Some("v1.36.0"), Some("v1.36.0")),
            machine(1, "a", None, Some("v1.36.0")),
            machine(2, "b", Some("v1.35.9"), Some("v1.36.0")),
            machine(3, "c", Some(""), Some("v1.9.0")),
            machine(4, "e", None, None),
            machine(6, "f", None, Some("strange")),
        ]);
        let plain: Vec<_> = counted
            .iter()
            .map(|v| (v.version.as_str(), v.replicas.unwrap_or(0)))
            .collect();
        assert_eq!(
            plain,
            [
                ("v1.9.0", 1),
                ("v1.35.9", 1),
                ("v1.36.0", 2),
                ("strange", 1)
            ]
        );
    }

    #[test]
    fn versions_that_cannot_be_ordered_keep_the_order_of_the_machines() {
        let machine = |created: i64, name, wanted| MachineVersion {
            created: jiff::Timestamp::from_second(created).unwrap().into(),
            name,
            kubelet: None,
            wanted: Some(wanted),
        };
        let names = |list: Vec<StatusVersion>| -> Vec<String> {
            list.into_iter().map(|v| v.version).collect()
        };
        let (a, b) = ("v1.36.0+abc", "v1.36.0+def");
        assert_eq!(
            names(versions_of_machines([
                machine(2, "x", a),
                machine(1, "y", b)
            ])),
            [b, a]
        );
    }

    #[test]
    fn counts_of_sets_add_up_by_version() {
        let count = |version: &str, replicas| StatusVersion {
            version: version.into(),
            replicas: Some(replicas),
        };
        let sum = aggregate_versions(&[
            count("v1.36.0", 2),
            count("v1.35.0", 1),
            count("v1.36.0", 3),
            count("", 9),
        ]);
        assert_eq!(sum, [count("v1.35.0", 1), count("v1.36.0", 5)]);
    }
}
