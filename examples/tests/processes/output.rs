//! Programs whose output nobody reads any more.

use std::process::{Command, Stdio};

use crate::support::{Process, example};

#[test]
fn programs_end_without_a_word_when_nobody_reads_what_they_print() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path().display().to_string();
    for (name, arguments) in [
        ("plane", &["--no-default-crds", "--dir", &directory][..]),
        ("simulate", &["--seeds", "0..1"]),
        ("manager", &["--print-cluster", "demo"]),
        ("quickstart", &["--print-manifest"]),
        ("custom_provider", &[]),
        ("embed_manager", &[]),
        ("embed_kube", &[]),
    ] {
        let (unread, output) = std::io::pipe().expect("a pipe");
        drop(unread);
        let mut child = Command::new(example(name))
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .map(Process)
            .expect("it starts");
        let errors = child.0.stderr.take().expect("piped");
        let errors = std::io::read_to_string(errors).expect("text");
        let status = child.0.wait().expect("it is a child");
        assert!(!status.success(), "{name} printed nothing: {status}");
        assert_eq!(errors, "", "{name}");
    }
}
