//! Runs the program, listens to it, and ends it.

use std::{
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

/// Outer bound of anything that is waited for; a machine that is loaded needs much of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// The program.
pub(crate) fn program() -> PathBuf {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.get_or_insert_with(find_program).clone()
}

fn find_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples/quickstart");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("quickstart");
    let newest = std::fs::read_dir(sources)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().modified().unwrap())
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let made = path.metadata().and_then(|metadata| metadata.modified());
    if made.is_ok_and(|made| made >= newest) {
        return path;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--example", "quickstart", "--manifest-path"]);
    cargo.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    cargo.arg("--target-dir").arg(profile.parent().unwrap());
    if profile.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success(), "{cargo:?}");
    path
}

/// The program with arguments, and with nothing from outside that changes what it does.
pub(crate) fn quickstart<A: AsRef<std::ffi::OsStr>>(
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("PROXMOX_TOKEN")
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn program_with(arguments: &[&str]) -> Ended {
    start(quickstart(arguments)).end()
}

/// A process whose lines are heard. Killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
    /// What was heard so far, for messages.
    pub(crate) heard: Vec<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a process.
pub(crate) fn start(mut command: Command) -> Running {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let output = BufReader::new(child.stdout.take().unwrap());
    let (told, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if told.send(line).is_err() {
                break;
            }
        }
    });
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        // What cannot be read is missing in a message, no more.
        let _ = stderr.read_to_string(&mut text);
        text
    });
    Running {
        child,
        lines,
        errors: Some(errors),
        heard: Vec::new(),
    }
}

impl Running {
    /// The next line within a time; `None` when none came, `Some(None)` at the end of the output.
    pub(crate) fn next_line(&mut self, within: Duration) -> Option<Option<String>> {
        match self.lines.recv_timeout(within) {
            Ok(line) => {
                self.heard.push(line.clone());
                Some(Some(line))
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(None),
        }
    }

    /// Ends with the first line that contains a text.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next_line(left) {
                Some(Some(line)) if line.contains(text) => return line,
                Some(Some(_)) => {}
                Some(None) => {
                    let status = self.child.wait().unwrap();
                    let errors = self.errors();
                    panic!(
                        "ended ({status}) without {text:?}:\n{}\n{errors}",
                        self.heard.join("\n")
                    );
                }
                None => panic!("no {text:?} in time:\n{}", self.heard.join("\n")),
            }
        }
    }

    fn errors(&mut self) -> String {
        self.errors
            .take()
            .map(|errors| errors.join().unwrap_or_default())
            .unwrap_or_default()
    }

    /// Ends it without warning, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end: the status, the lines, what it said on standard error.
    pub(crate) fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next_line(left) {
                Some(Some(_)) => {}
                Some(None) => break,
                None => panic!("no end in time:\n{}", self.heard.join("\n")),
            }
        }
        let status = self.child.wait().unwrap();
        Ended {
            status,
            output: std::mem::take(&mut self.heard).join("\n"),
            errors: self.errors(),
        }
    }
}

/// What a process left.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    /// It went well.
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        assert!(
            self.status.success(),
            "{}\n{}\n{}",
            self.status,
            self.output,
            self.errors
        );
        self
    }
}

/// Data of others; says so when it is not there.
pub(crate) fn upstream(what: &str) -> Option<PathBuf> {
    let named = std::env::var_os("CAPI_UPSTREAM").map(PathBuf::from);
    let beside = || {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|directory| directory.join("../shared/upstream"))
            .find(|directory| directory.is_dir())
    };
    let found = named.or_else(beside).map(|directory| directory.join(what));
    let found = found.filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: CAPI_UPSTREAM names no directory with {what}");
    }
    found
}
