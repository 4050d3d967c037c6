//! The recorded cases of the Go provider: what ours makes of the same objects is equal, or
//! listed here with the reason why it is not.

use std::collections::{BTreeMap, BTreeSet};

use capi_core::api::{Cluster, MachineSpec};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::*;
use crate::api::TalosConfig;
use crate::config::yaml;
use crate::config::{Contract, MachineConfig};
use crate::secrets::SecretsBundle;
use crate::testing::{Peer, config_differences, upstream};

/// What ours does where it is not the same as the record.
enum Expected {
    /// A configuration that differs at exactly these paths.
    Differs(&'static [&'static str]),
    /// A configuration of the form of Talos 1.14, which the recorded library does not know.
    Newer,
    /// No data, with this in the message; theirs wrote some.
    Refused(&'static str),
    /// Data where theirs failed.
    Accepted,
    /// Nothing is compared: the case is about what the SDK's host does around the provider.
    Host,
}
use Expected::{Accepted, Differs, Host, Newer, Refused};

const NETWORK: &str = ".the v1alpha1 document.machine.network only theirs";
const REFUSED: &str = "the machine would refuse its configuration";

/// Cases that are not the same, each with the reason. Section 0 is that of the specification of
/// machine configurations.
const LISTED: &[(&str, Expected, &str)] = &[
    (
        "101",
        Differs(&[
            ".HostnameConfig.auto: ours \"off\", theirs \"stable\"",
            ".HostnameConfig.hostname only ours",
            NETWORK,
        ]),
        "section 0: one form of the host name, by the contract",
    ),
    ("110", Host, "refused by admission already"),
    (
        "112",
        Differs(&[NETWORK]),
        "section 0: no empty network from 1.13",
    ),
    (
        "113",
        Refused(REFUSED),
        "section 0: the host name is too long, and validated",
    ),
    (
        "115",
        Differs(&[NETWORK]),
        "section 0: no empty network from 1.13",
    ),
    ("127", Accepted, "documents of 1.14 are known"),
    (
        "139",
        Refused("must begin with a slash"),
        "section 0: a path without leading slash",
    ),
    (
        "140",
        Refused(REFUSED),
        "section 0: the result of a JSON patch is validated",
    ),
    (
        "145",
        Differs(&[
            ".the v1alpha1 document.cluster only ours",
            ".the v1alpha1 document.debug only ours",
            ".the v1alpha1 document.machine only ours",
            ".the v1alpha1 document.persist only ours",
            ".the v1alpha1 document.version only ours",
        ]),
        "section 0: theirs ends with an empty document that nodes refuse",
    ),
    ("15", Newer, "the form of 1.14 is known"),
    ("160", Host, "no owner: a condition of the host"),
    ("161", Host, "the owner is missing: a condition of the host"),
    (
        "163",
        Host,
        "the infrastructure is not ready: the host waits",
    ),
    ("167", Host, "paused"),
    ("169", Host, "the data was written before"),
    ("17", Host, "refused by admission already"),
    ("170", Host, "the data secret exists: it is kept"),
    (
        "173",
        Differs(&[
            ".the v1alpha1 document.machine.kubelet.image: ours \"ghcr.io/siderolabs/kubelet:v1.35.0\", theirs \"ghcr.io/siderolabs/kubelet:v1.36.0\"",
        ]),
        "without a version, the newest Kubernetes that this Talos runs",
    ),
    ("176", Host, "deletion"),
    (
        "182",
        Refused("cluster.id is required"),
        "section 0: theirs panics without a condition",
    ),
    (
        "185",
        Differs(&[
            ".the v1alpha1 document.cluster.aescbcEncryptionSecret only ours",
            ".the v1alpha1 document.cluster.discovery.enabled: ours false, theirs true",
        ]),
        "section 0: the bundle's kind of encryption is kept; discovery needs an identity, and nodes refuse theirs",
    ),
    (
        "190",
        Refused("cannot hold the bundle's secretbox"),
        "section 0: refused with a reason",
    ),
    (
        "211",
        Differs(&[
            ".the v1alpha1 document.cluster only ours",
            ".the v1alpha1 document.debug only ours",
            ".the v1alpha1 document.machine only ours",
            ".the v1alpha1 document.persist only ours",
            ".the v1alpha1 document.version only ours",
        ]),
        "section 0: theirs ends with an empty document that nodes refuse",
    ),
    (
        "214",
        Accepted,
        "section 0: an empty patch is nothing, always",
    ),
    ("22", Host, "refused by admission already"),
    ("223", Refused(REFUSED), "validated: no machine section"),
    (
        "230",
        Differs(&[
            ".the v1alpha1 document.machine.env.ls: ours \"a\u{2028}b\", theirs \"a\u{2028}            b\"",
        ]),
        "Go's writer breaks the line at U+2028, and only YAML 1.1 reads that back",
    ),
    (
        "232",
        Differs(&[
            ".the v1alpha1 document.machine.kubelet.extraConfig.strings.ls: ours \"a\u{2028}b\", theirs \"a\u{2028}                    b\"",
        ]),
        "Go's writer breaks the line at U+2028, and only YAML 1.1 reads that back",
    ),
    (
        "233",
        Differs(&[
            ".the v1alpha1 document.machine.kubelet.extraConfig.strings.exp: ours 1000, theirs \"1e3\"",
            ".the v1alpha1 document.machine.kubelet.extraConfig.strings.octo: ours 15, theirs \"0o17\"",
        ]),
        "the record of the input is YAML 1.1, where these two are text",
    ),
    (
        "236",
        Refused(REFUSED),
        "validated: a volume without disk selector",
    ),
    (
        "248",
        Accepted,
        "a pair of surrogates in a JSON string is one character",
    ),
    (
        "250",
        Host,
        "secrets deleted and written again: by the host",
    ),
    ("252", Host, "conversion"),
    (
        "265",
        Differs(&[
            ".VolumeConfig \"EPHEMERAL\".provisioning.diskSelector only ours",
            ".VolumeConfig \"EPHEMERAL\".provisioning.minSize only ours",
        ]),
        "section 0: sizes and expressions win only where they are set",
    ),
    ("266", Refused(REFUSED), "validated: project quotas on ext4"),
    (
        "269",
        Refused(REFUSED),
        "validated: a SideroLink URL with a path",
    ),
    ("32", Newer, "generated as the newest known form"),
    ("46", Host, "section 0: no endpoint yet, waits"),
    ("47", Host, "section 0: no endpoint yet, waits"),
    (
        "50",
        Differs(&[".the v1alpha1 document.machine.kubelet.extraArgs.v: ours \"2\", theirs 2"]),
        "section 0: the result of a JSON patch is decoded",
    ),
    (
        "59",
        Accepted,
        "without talosVersion, JSON patches choose the form that takes them",
    ),
    (
        "71",
        Accepted,
        "section 0: theirs panics; deleting what is absent is nothing",
    ),
    (
        "73",
        Refused("add `auto: off`"),
        "validated, and says what to do",
    ),
    (
        "74",
        Refused(REFUSED),
        "validated: the host name is set twice",
    ),
    (
        "83",
        Accepted,
        "section 0: an empty patch is nothing, always",
    ),
    (
        "89",
        Refused(REFUSED),
        "validated: a worker with the keys of a control plane",
    ),
    (
        "91",
        Accepted,
        "section 0: the same document twice is applied in order",
    ),
    (
        "94",
        Accepted,
        "section 0: lists of arguments are accepted from 1.12",
    ),
];

fn objects(text: &str) -> BTreeMap<String, Value> {
    let mut objects = BTreeMap::new();
    for document in yaml::parse(text).unwrap() {
        let value = document.node.to_json();
        if let Some(kind) = value["kind"].as_str().map(str::to_owned) {
            objects.entry(kind).or_insert(value);
        }
    }
    objects
}

fn bundle(objects: &BTreeMap<String, Value>) -> Result<Option<SecretsBundle>, String> {
    let Some(secret) = objects.get("Secret") else {
        return Ok(None);
    };
    let text = |key: &str| secret["stringData"][key].as_str();
    match (
        text("bundle"),
        text("certs"),
        text("kubeSecrets"),
        text("trustdInfo"),
    ) {
        (_, Some(certs), Some(kube), Some(trustd)) => {
            SecretsBundle::from_legacy_yaml(certs, kube, trustd)
        }
        (bundle, ..) => SecretsBundle::from_yaml(bundle.unwrap_or_default()),
    }
    .map(Some)
    .map_err(|error| error.to_string())
}

/// What ours makes of a case.
fn ours(objects: &BTreeMap<String, Value>) -> Result<Generated, String> {
    let object = |kind: &str| objects.get(kind).cloned().ok_or(format!("no {kind}"));
    let read = |error: serde_json::Error| error.to_string();
    let cluster: Cluster = serde_json::from_value(object("Cluster")?).map_err(read)?;
    let owner = object("Machine").or_else(|_| object("MachinePool"))?;
    let spec = match &owner["spec"]["template"]["spec"] {
        Value::Null => &owner["spec"],
        template => template,
    };
    let spec: MachineSpec = serde_json::from_value(spec.clone()).map_err(read)?;
    let mut config = object("TalosConfig")?;
    config["apiVersion"] = "bootstrap.cluster.x-k8s.io/v1beta1".into();
    config["status"] = Value::Object(serde_json::Map::new());
    let mut config: TalosConfig = serde_json::from_value(config).map_err(read)?;
    if !objects.contains_key("Machine") {
        // a pool has no machine to name a host after
        config.spec.hostname.source = None;
    }
    let bundle = bundle(objects)?;
    let facts = MachineFacts {
        cluster_name: cluster.metadata.name.as_deref().unwrap_or_default(),
        endpoint_host: &cluster.spec.control_plane_endpoint.host,
        endpoint_port: cluster.spec.control_plane_endpoint.port,
        network: &cluster.spec.cluster_network,
        machine_name: owner["metadata"]["name"].as_str().unwrap_or_default(),
        infrastructure_name: &spec.infrastructure_ref.name,
        infrastructure_kind: &spec.infrastructure_ref.kind,
        kubernetes_version: spec.version.as_deref(),
        hints: Vec::new(),
    };
    generate(&config.spec, &facts, bundle.as_ref()).map_err(|error| error.to_string())
}

/// Compares one case; the message says what is not as expected.
fn compare(
    case: &str,
    ours: &Result<Generated, String>,
    theirs: Option<&str>,
) -> Result<(), String> {
    let number = case.split('-').next().unwrap_or_default();
    let listed = LISTED.iter().find(|(name, ..)| *name == number);
    match (listed.map(|(_, expected, _)| expected), ours, theirs) {
        (Some(Host), ..) => Ok(()),
        (Some(Refused(part)), Err(message), _) if message.contains(part) => Ok(()),
        (Some(Accepted), Ok(_), None) => Ok(()),
        (Some(Newer), Ok(generated), Some(_)) => {
            let form = generated.choice.as_ref().map(|choice| choice.contract);
            if form >= Some(Contract::V1_14) && generated.config.of_kind("KubeletConfig").is_some()
            {
                Ok(())
            } else {
                Err(format!("not the newest form: {form:?}"))
            }
        }
        (None, Err(message), None) if !message.is_empty() => Ok(()),
        (expected @ (None | Some(Differs(_))), Ok(generated), Some(theirs)) => {
            let theirs = MachineConfig::parse(theirs).map_err(|error| error.to_string())?;
            let found = config_differences(&generated.config, &theirs);
            let wanted: &[&str] = match expected {
                Some(Differs(paths)) => paths,
                _ => &[],
            };
            if found == wanted {
                Ok(())
            } else {
                Err(format!("differs at {found:?}"))
            }
        }
        (_, Ok(_), _) => Err("ours has data, which is not expected".to_owned()),
        (_, Err(message), _) => Err(format!("ours refuses, which is not expected: {message}")),
    }
}

#[test]
fn every_recorded_case_of_the_go_provider_is_equal_or_listed_with_the_reason() {
    let Some(root) = upstream() else { return };
    let peer = Peer::find();
    let mut failures = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(root.join("cabpt-cases")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(input) = std::fs::read_to_string(path.join("input.yaml")) else {
            continue;
        };
        let case = path.file_name().unwrap().to_string_lossy().into_owned();
        let theirs = std::fs::read_to_string(path.join("output.yaml")).ok();
        let ours = ours(&objects(&input));
        if let Err(failure) = compare(&case, &ours, theirs.as_deref()) {
            failures.push(format!("{case}: {failure}"));
        }
        if let (Some(peer), Ok(generated)) = (&peer, &ours)
            && generated.config.of_kind("KubeletConfig").is_none()
            && !case.starts_with("127-")
            && !case.starts_with("94-")
            && let Err(refusal) = peer.validate(generated.data.expose_secret())
        {
            failures.push(format!("{case}: Talos refuses what ours wrote: {refusal}"));
        }
        seen.insert(case.split('-').next().unwrap_or_default().to_owned());
    }
    for (number, _, reason) in LISTED {
        if !seen.contains(*number) {
            failures.push(format!(
                "{number} is listed ({reason}), but there is no such case"
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(seen.len(), 183, "cases");
}
