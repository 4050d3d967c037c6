//! Where state is kept, and what processes tell each other there.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use capi_core::{
    clock::Clock,
    embedded::{Audit, Record},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// How far in the past a time that runs faster begins, so that certificates are good for programs
/// that live in the real one.
const HEAD_START: SignedDuration = SignedDuration::from_hours(24);

/// A pace that is older is that of an earlier run.
const STALE: SignedDuration = SignedDuration::from_hours(1);

/// Between two looks for a file of another process.
const LOOK: Duration = Duration::from_millis(50);

/// Where state is kept.
#[derive(Clone, Debug)]
pub(crate) struct Directory(Arc<PathBuf>);

impl Directory {
    /// The directory that was asked for, or one that goes with the process.
    pub(crate) fn open(wanted: Option<&Path>) -> Result<(Self, Option<tempfile::TempDir>), Error> {
        match wanted {
            Some(path) => {
                std::fs::create_dir_all(path)
                    .map_err(|error| format!("--dir {}: {error}", path.display()))?;
                Ok((Self(Arc::new(path.to_owned())), None))
            }
            None => {
                let temporary = tempfile::tempdir()?;
                Ok((Self(Arc::new(temporary.path().to_owned())), Some(temporary)))
            }
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that only its owner may read, whole or not at all.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let partial = self.partial(name, content)?;
        std::fs::rename(partial, self.file(name))?;
        Ok(())
    }

    fn partial(&self, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
        let path = self.file(name);
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!(".{file_name}.{}.partial", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(content)?;
        Ok(partial)
    }

    /// Ends once another process has written the file.
    pub(crate) async fn awaited(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        while !path.exists() {
            tokio::time::sleep(LOOK).await;
        }
        path
    }

    /// The time that the processes of one directory share, begun by whoever comes first.
    pub(crate) fn begin_time(&self, speed: f64) -> Result<Clock, Error> {
        let now = Clock::system().now();
        if let Some(pace) = self.pace()
            && now.duration_since(pace.began) < STALE
        {
            return pace.clock(now);
        }
        let epoch = now.checked_sub(HEAD_START)?;
        let pace = Pace {
            began: now,
            epoch,
            speed,
        };
        let name = "clock.json";
        let partial = self.partial(name, &serde_json::to_vec(&pace)?)?;
        let path = self.file(name);
        if self
            .pace()
            .is_some_and(|pace| now.duration_since(pace.began) >= STALE)
        {
            std::fs::remove_file(&path)?;
        }
        // Whoever links first has begun it; the other one joins.
        let linked = std::fs::hard_link(&partial, &path);
        std::fs::remove_file(&partial)?;
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => self
                .pace()
                .ok_or("clock.json in --dir cannot be read; remove it")?
                .clock(now),
            linked => {
                linked?;
                pace.clock(now)
            }
        }
    }

    /// The time that another process began.
    pub(crate) async fn join_time(&self) -> Result<Clock, Error> {
        let path = self.awaited("clock.json").await;
        self.pace()
            .ok_or_else(|| format!("{} cannot be read; remove it", path.display()))?
            .clock(Clock::system().now())
    }

    /// The time that was begun here, else the machine's own.
    pub(crate) fn known_time(&self) -> Result<Clock, Error> {
        let system = Clock::system();
        match self.pace() {
            Some(pace) => pace.clock(system.now()),
            None => Ok(system),
        }
    }

    fn pace(&self) -> Option<Pace> {
        serde_json::from_slice(&std::fs::read(self.file("clock.json")).ok()?).ok()
    }
}

/// A time that runs faster than the real one.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Pace {
    /// When it began, in real time.
    began: Timestamp,
    /// What time it was then.
    epoch: Timestamp,
    speed: f64,
}

impl Pace {
    fn clock(self, now: Timestamp) -> Result<Clock, Error> {
        let passed = now.duration_since(self.began).as_secs_f64() * self.speed;
        let here = self
            .epoch
            .checked_add(SignedDuration::try_from_secs_f64(passed)?)?;
        Ok(Clock::scaled(here, self.speed))
    }
}

/// A time of its own, that runs faster and begins in the past.
pub(crate) fn faster(speed: f64) -> Result<Clock, Error> {
    let now = Clock::system().now().checked_sub(HEAD_START)?;
    Ok(Clock::scaled(now, speed))
}

/// Requests to the management API server, a line each.
#[derive(Debug)]
pub(crate) struct AuditLog(Mutex<BufWriter<File>>);

impl AuditLog {
    pub(crate) fn create(directory: &Directory) -> Result<Self, Error> {
        let file = File::create(directory.file("audit.jsonl"))?;
        Ok(Self(Mutex::new(BufWriter::new(file))))
    }
}

impl Audit for AuditLog {
    fn record(&self, record: &Record<'_>) {
        let Ok(mut file) = self.0.lock() else { return };
        let written = serde_json::to_writer(&mut *file, record)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.flush());
        if let Err(error) = written {
            tracing::warn!(%error, "a request is missing in the audit log");
        }
    }
}
