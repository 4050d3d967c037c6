//! Which API version of a provider's kind to read, and by which contract.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::ContractError;

/// A contract between core and providers. The newer one is preferred.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ContractVersion {
    /// The contract of Cluster API 1.0 to 1.10, still understood.
    V1Beta1,
    /// The contract of Cluster API 1.11 and later.
    #[default]
    V1Beta2,
}

impl ContractVersion {
    /// Name as in the labels of CustomResourceDefinitions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta1 => "v1beta1",
            Self::V1Beta2 => "v1beta2",
        }
    }

    /// The label of a CustomResourceDefinition that names its API versions for this contract.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::V1Beta1 => "cluster.x-k8s.io/v1beta1",
            Self::V1Beta2 => "cluster.x-k8s.io/v1beta2",
        }
    }
}

impl fmt::Display for ContractVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The contract and the API version by which a kind is read: the newest contract that the
/// CustomResourceDefinition `crd` has a label for, and the greatest version in that label.
///
/// # Errors
/// [`ContractError::NoVersion`] when no label is there.
pub fn resolve_version(
    crd: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(ContractVersion, String), ContractError> {
    [ContractVersion::V1Beta2, ContractVersion::V1Beta1]
        .into_iter()
        .find_map(|contract| {
            let versions = labels.get(contract.label())?;
            let version = versions
                .split('_')
                .filter(|version| !version.is_empty())
                .max_by(|a, b| compare_api_versions(a, b))?;
            Some((contract, version.to_owned()))
        })
        .ok_or_else(|| ContractError::NoVersion {
            crd: crd.to_owned(),
        })
}

/// The contract that an API version of a kind fulfils, by the labels of its definition.
#[must_use]
pub fn contract_of(labels: &BTreeMap<String, String>, version: &str) -> Option<ContractVersion> {
    [ContractVersion::V1Beta2, ContractVersion::V1Beta1]
        .into_iter()
        .find(|contract| {
            labels
                .get(contract.label())
                .is_some_and(|versions| versions.split('_').any(|v| v == version))
        })
}

/// Kubernetes' order of API versions: `v2` > `v1` > `v1beta2` > `v1alpha1` > anything else, where
/// among the others the alphabetically first is greatest.
#[must_use]
pub fn compare_api_versions(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// Stage (alpha 0, beta 1, generally available 2), major, minor.
fn parse(version: &str) -> Option<(u8, u32, u32)> {
    let number = |text: &str| -> Option<u32> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    let rest = version.strip_prefix('v')?;
    for (stage, word) in [(1, "beta"), (0, "alpha")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stage, number(major)?, number(minor)?));
        }
    }
    Some((2, number(rest)?, 0))
}

/// Name of the CustomResourceDefinition of a kind: lower-case plural, dot, group.
#[must_use]
pub fn crd_name(group: &str, kind: &str) -> String {
    format!("{}.{group}", pluralize(&kind.to_lowercase()))
}

/// The plural of a kind, by the rules that upstream's kinds meet.
#[must_use]
pub fn pluralize(word: &str) -> String {
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| word.ends_with(suffix));
    if word.is_empty() || ends(&["data", "Data", "metadata", "Metadata"]) {
        return word.to_owned();
    }
    if ends(&["s", "x", "z", "ch", "sh"]) {
        return format!("{word}es");
    }
    match word.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn the_newest_contract_and_its_greatest_version_are_read() {
        let (b1, b2) = ("cluster.x-k8s.io/v1beta1", "cluster.x-k8s.io/v1beta2");
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<(ContractVersion, &'a str)>);
        let table: &[Row<'_>] = &[
            (
                &[(b2, "v1beta2")],
                Some((ContractVersion::V1Beta2, "v1beta2")),
            ),
            (
                &[(b1, "v1alpha3_v1alpha4_v1beta1"), (b2, "v1beta2")],
                Some((ContractVersion::V1Beta2, "v1beta2")),
            ),
            (
                &[(b1, "v1beta1_v1alpha10_v1alpha9")],
                Some((ContractVersion::V1Beta1, "v1beta1")),
            ),
            (
                &[(b1, "v1alpha9_v1alpha10")],
                Some((ContractVersion::V1Beta1, "v1alpha10")),
            ),
            (
                &[(b2, ""), (b1, "v1")],
                Some((ContractVersion::V1Beta1, "v1")),
            ),
            (
                &[(b2, "v1_v2beta1")],
                Some((ContractVersion::V1Beta2, "v1")),
            ),
            (&[("cluster.x-k8s.io/v1alpha4", "v1")], None),
            (&[], None),
        ];
        for (given, expected) in table {
            let found = resolve_version("foos.example.org", &labels(given)).ok();
            assert_eq!(
                found.as_ref().map(|(c, v)| (*c, v.as_str())),
                *expected,
                "{given:?}"
            );
        }
        let error = resolve_version("foos.example.org", &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("foos.example.org"), "{error}");
    }

    #[test]
    fn a_version_leads_back_to_its_contract() {
        let given = labels(&[
            ("cluster.x-k8s.io/v1beta1", "v1alpha3_v1beta1"),
            ("cluster.x-k8s.io/v1beta2", "v1beta2"),
        ]);
        assert_eq!(
            contract_of(&given, "v1alpha3"),
            Some(ContractVersion::V1Beta1)
        );
        assert_eq!(
            contract_of(&given, "v1beta2"),
            Some(ContractVersion::V1Beta2)
        );
        assert_eq!(contract_of(&given, "v9"), None);
    }

    #[test]
    fn definitions_are_named_by_the_plural_of_their_kind() {
        for (kind, expected) in [
            ("KubeadmConfig", "kubeadmconfigs.g"),
            ("KubeadmControlPlane", "kubeadmcontrolplanes.g"),
            ("IPAddress", "ipaddresses.g"),
            ("InClusterIPPool", "inclusterippools.g"),
            ("DevCluster", "devclusters.g"),
            ("Policy", "policies.g"),
            ("Gateway", "gateways.g"),
            ("Box", "boxes.g"),
            ("Machine", "machines.g"),
            ("Metadata", "metadata.g"),
        ] {
            assert_eq!(crd_name("g", kind), expected);
        }
    }
}
