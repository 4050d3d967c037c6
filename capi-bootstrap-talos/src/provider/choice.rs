//! Which form of the configuration is written where the manifest does not say it.

use crate::config::{Contract, InvalidTalosVersion};

/// The form of a configuration, and why it is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractChoice {
    /// The form.
    pub contract: Contract,
    /// Why, as a sentence for the condition.
    pub reason: String,
    /// Whether the manifest says so itself.
    pub declared: bool,
}

/// Chooses the form.
///
/// `talosVersion` decides where it is set. Else JSON patches, which need a configuration of one
/// document, mean v1.11; else the newest version of Talos that a hint names (an installer
/// image in a patch, the template or image of the infrastructure); else v1.13, which every
/// node since 1.12 accepts.
///
/// # Errors
/// [`InvalidTalosVersion`] where `talosVersion` is not a version.
pub fn choose<'a>(
    talos_version: Option<&str>,
    has_json_patches: bool,
    hints: impl IntoIterator<Item = &'a str>,
) -> Result<ContractChoice, InvalidTalosVersion> {
    if let Some(version) = talos_version.filter(|version| !version.is_empty()) {
        let contract: Contract = version.parse()?;
        let reason = if contract.is_newer_than_known() {
            format!(
                "spec.talosVersion is {version}, newer than {}, the newest whose form is known: \
                 written as {}",
                Contract::NEWEST,
                Contract::NEWEST
            )
        } else {
            format!("written for Talos {contract}, as spec.talosVersion says")
        };
        return Ok(ContractChoice {
            contract,
            reason,
            declared: true,
        });
    }
    let newest = hints.into_iter().filter_map(version_in).max();
    let (contract, reason) = match (has_json_patches, newest) {
        (true, _) => (
            Contract::V1_11,
            format!(
                "spec.talosVersion is not set: written for Talos {}, the last whose \
                 configuration takes JSON patches (configPatches)",
                Contract::V1_11
            ),
        ),
        (false, Some(hint)) => (
            hint.min(Contract::NEWEST),
            format!(
                "spec.talosVersion is not set: written for Talos {}, which the machine's \
                 template or installer image names",
                hint.min(Contract::NEWEST)
            ),
        ),
        (false, None) => (
            Contract::V1_13,
            format!(
                "spec.talosVersion is not set, and neither template nor installer image name a \
                 version: written for Talos {}",
                Contract::V1_13
            ),
        ),
    };
    Ok(ContractChoice {
        contract,
        reason,
        declared: false,
    })
}

/// The newest version that a text names: right after the word Talos (`talos-1-12`,
/// `Talos v1.12.3`), or as the tag of an installer image.
fn version_in(text: &str) -> Option<Contract> {
    let lower = text.to_ascii_lowercase();
    let after_talos = lower.match_indices("talos").map(|(start, word)| {
        lower[start + word.len()..].trim_start_matches(['-', '_', ' ', ':', '/'])
    });
    let tags = lower
        .split([' ', '\n', '"', '\'', ','])
        .filter(|image| image.contains("installer"))
        .filter_map(|image| image.rsplit_once(':').map(|(_, tag)| tag));
    after_talos.chain(tags).filter_map(version_of).max()
}

/// The version that a text begins with.
fn version_of(text: &str) -> Option<Contract> {
    let mut parts = text
        .strip_prefix('v')
        .unwrap_or(text)
        .splitn(3, ['.', '-', '_']);
    let major = parts.next()?;
    let minor = parts.next()?;
    let end = minor
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(minor.len());
    let minor: u32 = minor[..end].parse().ok()?;
    (major == "1" && minor < 100).then(|| Contract::new(1, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_version_decides() {
        let choice = choose(Some("v1.12.3"), true, ["installer:v1.9.0"]).unwrap();
        assert_eq!(choice.contract, Contract::V1_12);
        assert!(choice.declared);
        assert!(choose(Some("abc"), false, []).is_err());
    }

    #[test]
    fn json_patches_without_a_version_mean_the_last_form_that_takes_them() {
        let choice = choose(None, true, ["installer:v1.13.0"]).unwrap();
        assert_eq!(choice.contract, Contract::V1_11);
        assert!(choice.reason.contains("JSON patches"), "{}", choice.reason);
    }

    #[test]
    fn the_newest_hint_decides_and_else_a_form_that_all_recent_nodes_accept() {
        for (hints, expected) in [
            (
                &["ghcr.io/siderolabs/installer:v1.12.1"][..],
                Contract::V1_12,
            ),
            (
                &[
                    "factory.talos.dev/nocloud-installer/376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d632b4ba:v1.10.5",
                ],
                Contract::V1_10,
            ),
            (&["talos-1-11-template", "talos-v1.12"], Contract::V1_12),
            (&["Talos v1.9.2"], Contract::V1_9),
            (&["talos 1.10.2 image"], Contract::V1_10),
            (&["talos-v1.44"], Contract::NEWEST),
            (
                &["talos-template", "worker-1.12", "talos-cp-1-5", "talos"],
                Contract::V1_13,
            ),
            (&[], Contract::V1_13),
        ] {
            let choice = choose(None, false, hints.iter().copied()).unwrap();
            assert_eq!(choice.contract, expected, "{hints:?}");
            assert!(choice.reason.contains(&expected.to_string()) && !choice.declared);
        }
    }

    #[test]
    fn a_version_that_is_newer_than_known_is_said_so() {
        let choice = choose(Some("v2.0"), false, []).unwrap();
        assert!(
            choice.reason.contains("newer than v1.14"),
            "{}",
            choice.reason
        );
    }
}
