//! One step: a kubectl command, run until it says what is waited for.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{definition::Shape, mask::mask};

/// A command line with its input.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) arguments: String,
    pub(crate) input: String,
    /// The output is kept under this name, for later steps.
    pub(crate) keep: Option<&'static str>,
    /// Run again until this is in the output: what controllers do takes its time.
    pub(crate) until: Option<&'static str>,
}

impl Step {
    pub(crate) fn input(mut self, input: impl Into<String>) -> Self {
        self.input = input.into();
        self
    }

    pub(crate) fn keep(mut self, name: &'static str) -> Self {
        self.keep = Some(name);
        self
    }

    pub(crate) fn until(mut self, text: &'static str) -> Self {
        self.until = Some(text);
        self
    }
}

/// A step; arguments are split at spaces, single quotes keep them together.
pub(crate) fn step(name: &'static str, arguments: impl Into<String>) -> Step {
    Step {
        name,
        arguments: arguments.into(),
        input: String::new(),
        keep: None,
        until: None,
    }
}

pub(crate) struct Runner {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    directory: PathBuf,
    values: BTreeMap<String, String>,
}

impl Runner {
    pub(crate) fn new(
        kubectl: PathBuf,
        kubeconfig: PathBuf,
        directory: PathBuf,
        shape: &Shape,
    ) -> Self {
        let mut values = shape.values();
        values.insert("dir".to_owned(), directory.display().to_string());
        Self {
            kubectl,
            kubeconfig,
            directory,
            values,
        }
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.values {
            text = text.replace(&format!("<{name}>"), value);
        }
        text
    }

    /// The masked transcript of a step.
    pub(crate) fn run(&mut self, step: &Step) -> String {
        let arguments = split(&self.fill(&step.arguments));
        let input = self.fill(&step.input);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (code, out, error) = self.kubectl(&arguments, &input);
            if let Some(name) = step.keep {
                self.values.insert(name.to_owned(), out.trim().to_owned());
            }
            let done = step
                .until
                .is_none_or(|text| out.contains(text) || error.contains(text));
            if done || Instant::now() > deadline {
                let out = if step.keep.is_some() { "(kept)" } else { &out };
                let mut text = format!("$ kubectl {}\nexit {code}\n{out}", step.arguments);
                if !error.is_empty() {
                    text.push_str(&format!("\nstderr: {error}"));
                }
                return mask(&text).replace(&self.directory.display().to_string(), "DIR");
            }
            std::thread::yield_now();
        }
    }

    fn kubectl(&self, arguments: &[String], input: &str) -> (i32, String, String) {
        let mut child = Command::new(&self.kubectl)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.directory)
            .env("KUBECONFIG", &self.kubeconfig)
            .env(
                "KUBE_EDITOR",
                self.values.get("editor").map_or("true", String::as_str),
            )
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        child
            .stdin
            .take()
            .expect("its input")
            .write_all(input.as_bytes())
            .ok();
        let output = child.wait_with_output().expect("kubectl ends");
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut any) = (String::new(), false, false);
    for character in text.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                any = true;
            }
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                    any = false;
                }
            }
            other => word.push(other),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}
