//! What a server was asked and what it answered, step by step.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::mask::mask;

/// Steps in which the servers differ, and the number of the difference in `docs/differences.md`.
pub(crate) const KNOWN: &[(&str, u32)] = &[
    ("explain the kind", 1),
    ("explain a built-in kind in part", 1),
];

pub(crate) struct Transcript {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    home: tempfile::TempDir,
    steps: Vec<(String, String)>,
}

pub(crate) struct Answer {
    pub(crate) output: String,
    pub(crate) errors: String,
    pub(crate) code: i32,
}

impl Transcript {
    pub(crate) fn new(kubectl: &Path, kubeconfig: &Path) -> Self {
        Self {
            kubectl: kubectl.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: tempfile::tempdir().unwrap(),
            steps: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Runs kubectl without recording it.
    pub(crate) fn quietly(&self, arguments: &[&str], input: &str) -> Answer {
        let mut child = Command::new(&self.kubectl)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBE_EDITOR", "sed -i s/before-edit/after-edit/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        Answer {
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// A step: kubectl with arguments separated by spaces.
    pub(crate) fn kubectl(&mut self, name: &str, arguments: &str) -> Answer {
        self.with_input(name, &arguments.split(' ').collect::<Vec<_>>(), "")
    }

    /// A step: kubectl with arguments and standard input.
    pub(crate) fn with_input(&mut self, name: &str, arguments: &[&str], input: &str) -> Answer {
        let answer = self.quietly(arguments, input);
        let told = format!(
            "$ kubectl {}\nexit {}\n{}{}",
            mask(&arguments.join(" ")),
            answer.code,
            mask(&answer.output),
            mask(&answer.errors)
        );
        self.record(name, told);
        answer
    }

    pub(crate) fn record(&mut self, name: &str, told: String) {
        assert!(
            !self.steps.iter().any(|(known, _)| known == name),
            "two steps are called {name:?}"
        );
        println!("{name}");
        self.steps.push((name.to_owned(), told));
    }

    /// A transcript that only records.
    pub(crate) fn of_requests() -> Self {
        Self::new(Path::new(""), Path::new(""))
    }
}

/// Fails with all steps in which the transcripts differ, except those that are known.
pub(crate) fn compare(ours: &Transcript, theirs: &Transcript) {
    assert_eq!(ours.steps.len(), theirs.steps.len());
    let mut different = 0;
    for ((name, ours), (other, theirs)) in ours.steps.iter().zip(&theirs.steps) {
        assert_eq!(name, other);
        if ours == theirs || KNOWN.iter().any(|(known, _)| known == name) {
            continue;
        }
        different += 1;
        println!("--- step {name:?} differs\n{}", difference(ours, theirs));
    }
    println!("{} steps, {different} differ", ours.steps.len());
    assert_eq!(different, 0, "steps differ; see above");
}

/// The lines that differ, with a little around them.
fn difference(ours: &str, theirs: &str) -> String {
    let (ours, theirs): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), theirs.lines().collect());
    let same_start = ours
        .iter()
        .zip(&theirs)
        .take_while(|(ours, theirs)| ours == theirs)
        .count();
    let room = ours.len().min(theirs.len()) - same_start;
    let same_end = ours
        .iter()
        .rev()
        .zip(theirs.iter().rev())
        .take(room)
        .take_while(|(ours, theirs)| ours == theirs)
        .count();
    let mut out = format!("  {}\n", ours.first().unwrap_or(&""));
    for line in &ours[same_start.saturating_sub(2)..same_start] {
        out.push_str(&format!("  {line}\n"));
    }
    for line in ours[same_start..ours.len() - same_end].iter().take(30) {
        out.push_str(&format!("ours   {line}\n"));
    }
    for line in theirs[same_start..theirs.len() - same_end].iter().take(30) {
        out.push_str(&format!("theirs {line}\n"));
    }
    out
}
