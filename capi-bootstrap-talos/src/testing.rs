//! Where the tests of this crate find the data and programs of others.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use capi_core::pki::{KeyAlgorithm, PrivateKey};

use crate::config::yaml::Node;
use crate::config::{Contract, DocumentId, MachineConfig};
use crate::secrets::SecretsBundle;

/// A bundle that is made once for all tests, with a small service account key.
pub(crate) fn bundle() -> &'static SecretsBundle {
    static BUNDLE: LazyLock<SecretsBundle> = LazyLock::new(|| {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        SecretsBundle::generate_with(Contract::V1_13, now(), &key).unwrap()
    });
    &BUNDLE
}

/// The time of the tests.
pub(crate) fn now() -> jiff::Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// Upstream's test data; `None`, and a line that says so, where it is absent.
pub(crate) fn upstream() -> Option<PathBuf> {
    let found = std::env::var_os("CAPI_UPSTREAM")
        .map(PathBuf::from)
        .or_else(|| {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .ancestors()
                .map(|directory| directory.join("../shared/upstream"))
                .find(|directory| directory.is_dir())
        });
    if found.is_none() {
        println!("skipped: set CAPI_UPSTREAM to the directory of upstream's test data");
    }
    found
}

/// The bundle of Talos' golden files.
pub(crate) fn golden_bundle() -> Option<SecretsBundle> {
    let path = upstream()?.join("talos/stability/secrets.yaml");
    Some(SecretsBundle::from_yaml(&std::fs::read_to_string(path).unwrap()).unwrap())
}

/// The program built on Talos' own library, with a directory for its files.
pub(crate) struct Peer {
    program: PathBuf,
    directory: tempfile::TempDir,
}

impl Peer {
    /// `None`, and a line that says so, where it is absent.
    pub(crate) fn find() -> Option<Self> {
        let Some(program) = std::env::var_os("TALOS_PEER").map(PathBuf::from) else {
            println!("skipped: set TALOS_PEER to the path of talos-peer");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        Some(Self { program, directory })
    }

    /// Writes a file for it and gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Its answer, or what it complains about.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .output()
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// Whether Talos accepts a configuration.
    pub(crate) fn validate(&self, config: &str) -> Result<String, String> {
        self.run(&["validate", &self.file("validate.yaml", config)])
    }
}

/// Fails with the first line that differs.
pub(crate) fn assert_same_text(left: &str, right: &str, what: &str) {
    let difference = left
        .lines()
        .zip(right.lines())
        .enumerate()
        .find(|(_, (left, right))| left != right);
    if let Some((line, (left, right))) = difference {
        panic!(
            "{what}, line {}:\n  ours: {left}\ntheirs: {right}",
            line + 1
        );
    }
    assert_eq!(
        left.lines().count(),
        right.lines().count(),
        "{what}: number of lines"
    );
}

/// The paths at which two values differ.
pub(crate) fn differences(left: &Node, right: &Node, path: &str, out: &mut Vec<String>) {
    match (left, right) {
        (Node::Mapping(left), Node::Mapping(right)) => {
            let keys = left
                .iter()
                .chain(right.iter())
                .map(|entry| entry.key.as_str());
            for key in keys.collect::<std::collections::BTreeSet<_>>() {
                match (left.get(key), right.get(key)) {
                    (Some(left), Some(right)) => {
                        differences(left, right, &format!("{path}.{key}"), out);
                    }
                    (ours, _) => out.push(format!(
                        "{path}.{key} only {}",
                        if ours.is_some() { "ours" } else { "theirs" }
                    )),
                }
            }
        }
        (Node::Sequence(left), Node::Sequence(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differences(left, right, &format!("{path}[{index}]"), out);
            }
        }
        _ if left == right => {}
        _ => out.push(format!(
            "{path}: ours {}, theirs {}",
            left.to_json(),
            right.to_json()
        )),
    }
}

/// The paths at which two configurations differ.
pub(crate) fn config_differences(left: &MachineConfig, right: &MachineConfig) -> Vec<String> {
    let tree = |config: &MachineConfig| {
        Node::Mapping(
            config
                .documents()
                .iter()
                .map(|document| {
                    (
                        DocumentId::of(document).to_string(),
                        Node::Mapping(document.clone()),
                    )
                })
                .collect(),
        )
    };
    let mut out = Vec::new();
    differences(&tree(left), &tree(right), "", &mut out);
    out
}
