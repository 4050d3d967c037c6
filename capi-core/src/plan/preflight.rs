//! Preflight checks of a MachineSet: whether machines may be created or remediated now.
//!
//! Decides by the state and version of the control plane. Never stops machines from being deleted.
//!
//! Answers to `machineset_preflight.go` of Cluster API.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{machine_set::Preflight, version::KubernetesVersion};
use crate::api::MachineTemplateSpec;

/// Name of the check that the control plane neither comes up nor changes version.
pub const CONTROL_PLANE_IS_STABLE: &str = "ControlPlaneIsStable";
/// Name of the check that kubelets are not too old and not newer than the API server.
pub const KUBERNETES_VERSION_SKEW: &str = "KubernetesVersionSkew";
/// Name of the check that kubeadm has the minor version of the control plane.
pub const KUBEADM_VERSION_SKEW: &str = "KubeadmVersionSkew";
/// Name of the check that the set has the version of the control plane, in managed topologies.
pub const CONTROL_PLANE_VERSION_SKEW: &str = "ControlPlaneVersionSkew";
/// Stands for all checks.
pub const ALL: &str = "All";

/// How many minor versions a kubelet may be older than the API server.
const SKEW: u64 = 3;

/// What is known of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlaneState {
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.version`; `None` when it has none.
    pub version: Option<String>,
    /// Versions that its machines run (`status.versions`, else `status.version`); empty while it
    /// has none.
    pub running: Vec<String>,
    /// It could not be read.
    pub error: Option<String>,
}

/// What the checks are made of.
#[derive(Clone, Copy, Debug)]
pub struct Checks<'a> {
    /// Names of the checks that run at all; `All` for all.
    pub enabled: &'a [&'a str],
    /// The annotation that names checks to skip: the set's, else that of its bootstrap template.
    pub skip: Option<&'a str>,
    /// The control plane; `None` when the Cluster refers to none.
    pub control_plane: Option<&'a ControlPlaneState>,
    /// Version of the managed topology; `None` without one.
    pub topology_version: Option<&'a str>,
    /// Version of the current step of an upgrade, by the Cluster's annotation.
    pub upgrade_step: Option<&'a str>,
    /// Template of the machines.
    pub template: &'a MachineTemplateSpec,
}

impl Checks<'_> {
    /// Runs the checks.
    #[must_use]
    pub fn run(&self) -> Preflight {
        match self.failures() {
            Ok(failures) => Preflight {
                failures,
                error: None,
            },
            Err(error) => Preflight {
                failures: Vec::new(),
                error: Some(error),
            },
        }
    }

    fn failures(&self) -> Result<Vec<String>, String> {
        let skipped: BTreeSet<&str> = self
            .skip
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .collect();
        if self.enabled.is_empty() || skipped.contains(ALL) {
            return Ok(Vec::new());
        }
        let runs = |check: &str| {
            (self.enabled.contains(&ALL) || self.enabled.contains(&check))
                && !skipped.contains(check)
        };
        let Some(control_plane) = self.control_plane else {
            return Ok(Vec::new());
        };
        let object = format!(
            "{} {}/{}",
            control_plane.kind, control_plane.namespace, control_plane.name
        );
        if let Some(error) = &control_plane.error {
            return Err(format!(
                "failed to perform preflight checks: failed to get {object}: {error}"
            ));
        }
        let Some(version) = control_plane.version.as_deref() else {
            return Ok(Vec::new());
        };
        let parsed = parse(version, &object)?;

        let mut failures = Vec::new();
        if runs(CONTROL_PLANE_IS_STABLE)
            && let Some(state) = self.unstable(control_plane, version, &parsed)?
        {
            failures.push(failed(
                &format!("{object} {state}"),
                CONTROL_PLANE_IS_STABLE,
            ));
        }
        let wanted = self
            .template
            .spec
            .version
            .as_deref()
            .filter(|version| !version.is_empty());
        if let Some(wanted) = wanted {
            let set = parse(wanted, "MachineSet")?;
            let plain = |version: &KubernetesVersion| {
                version.to_string().trim_start_matches('v').to_owned()
            };
            let (machine_set, of_control_plane) = (plain(&set), plain(&parsed));
            let versions = format!(
                "MachineSet version ({machine_set}) and ControlPlane version ({of_control_plane})"
            );
            if runs(KUBERNETES_VERSION_SKEW) {
                let policy =
                    format!("{versions} do not conform to the kubernetes version skew policy");
                if set.minor() > parsed.minor() {
                    let cause = "as MachineSet version is higher than ControlPlane version";
                    failures.push(failed(
                        &format!("{policy} {cause}"),
                        KUBERNETES_VERSION_SKEW,
                    ));
                } else if set.minor() + SKEW < parsed.minor() {
                    let cause = format!(
                        "as MachineSet version is more than {SKEW} minor versions older than the \
                         ControlPlane version"
                    );
                    failures.push(failed(
                        &format!("{policy} {cause}"),
                        KUBERNETES_VERSION_SKEW,
                    ));
                }
            }
            if runs(KUBEADM_VERSION_SKEW) && self.uses_kubeadm() && set.minor() != parsed.minor() {
                let message = format!(
                    "{versions} do not conform to kubeadm version skew policy as kubeadm only \
                     supports joining with the same major+minor version as the control plane"
                );
                failures.push(failed(&message, KUBEADM_VERSION_SKEW));
            }
            if runs(CONTROL_PLANE_VERSION_SKEW)
                && self.topology_version.is_some()
                && wanted != version
            {
                let message = format!(
                    "MachineSet version ({wanted}) is not yet the same as the ControlPlane version \
                     ({version}), waiting for version to be propagated to the MachineSet"
                );
                failures.push(failed(&message, CONTROL_PLANE_VERSION_SKEW));
            }
        }
        Ok(failures)
    }

    fn unstable(
        &self,
        control_plane: &ControlPlaneState,
        version: &str,
        parsed: &KubernetesVersion,
    ) -> Result<Option<String>, String> {
        if let Some(topology) = self.topology_version {
            let step = self.upgrade_step.filter(|step| !step.is_empty());
            if topology != version && step != Some(version) {
                let pending = step.unwrap_or(topology);
                return Ok(Some(format!("has a pending version upgrade to {pending}")));
            }
        }
        if control_plane.running.is_empty() {
            return Ok(Some("is provisioning".to_owned()));
        }
        for running in &control_plane.running {
            if parse(running, "the control plane's status")?.is_older_or_other_build_than(parsed) {
                return Ok(Some("is upgrading".to_owned()));
            }
        }
        Ok(None)
    }

    fn uses_kubeadm(&self) -> bool {
        self.template
            .spec
            .bootstrap
            .config_ref
            .as_ref()
            .is_some_and(|reference| {
                reference.kind == "KubeadmConfigTemplate"
                    && reference.api_group == "bootstrap.cluster.x-k8s.io"
            })
    }
}

fn parse(version: &str, of: &str) -> Result<KubernetesVersion, String> {
    version.parse().map_err(|_| {
        format!("failed to perform preflight checks: failed to parse version {version:?} of {of}")
    })
}

fn failed(message: &str, check: &str) -> String {
    format!("{message} ({check:?} preflight check failed)")
}
