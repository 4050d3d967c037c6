//! Manifests as others wrote them.

use crate::harness::{quickstart, start, upstream};

/// The whole way, which the program itself reads back.
fn works(manifests: &[std::path::PathBuf]) -> String {
    let mut command = quickstart(["--json"]);
    for path in manifests {
        command.arg("--manifest").arg(path);
    }
    let ended = start(command).end().well();
    for said in [
        "the missing credentials were noticed",
        "all workers are new",
        "no virtual machine, image, address or secret of ours is left",
    ] {
        assert!(ended.output.contains(said), "{said:?} in {}", ended.output);
    }
    ended.output
}

#[test]
fn the_manifest_of_somebody_else_works_unchanged() {
    if let Some(manifest) = upstream("manifests/coffee-cluster.yaml") {
        works(&[manifest]);
    }
}

#[test]
fn the_articles_worker_template_works_in_the_manifest_of_somebody_else() {
    let (Some(manifest), Some(template)) = (
        upstream("manifests/coffee-cluster.yaml"),
        upstream("manifests/talos-worker-template.yaml"),
    ) else {
        return;
    };
    // Its workers' own template goes, and they name the article's.
    let text = std::fs::read_to_string(manifest).unwrap();
    let documents: Vec<String> = text
        .split("\n---\n")
        .filter(|document| !document.contains("kind: TalosConfigTemplate\nmetadata:"))
        .map(|document| document.replace("name: talosconfig-workers", "name: talos-worker"))
        .collect();
    assert_eq!(documents.len(), text.split("\n---\n").count() - 1);
    let directory = tempfile::tempdir().unwrap();
    let composed = directory.path().join("coffee-cluster.yaml");
    std::fs::write(&composed, documents.join("\n---\n")).unwrap();
    works(&[composed, template]);
}
