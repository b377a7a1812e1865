//! One way to run a program: without a shell, in a group of its own, with bounded output, killed
//! with all that it started when nobody waits for it any more.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use homeostasis_core::{Clock, Context, ErrorKind, timeout};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::action::ActionError;

/// How long output is awaited after the program ended: something it started may hold the pipe.
const DRAIN: Duration = Duration::from_millis(500);

/// The program at `path`, with an environment of the variables named and the key of the step.
pub(super) fn command<'a>(
    path: impl AsRef<OsStr>,
    inherited: impl Iterator<Item = &'a str>,
    key: &str,
) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .envs(inherited.filter_map(|name| Some((name, std::env::var_os(name)?))))
        .env("HOMEOSTASIS_KEY", key)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(super) struct Ended {
    status: ExitStatus,
    pub(super) out: Kept,
    pub(super) err: Kept,
}

impl Ended {
    /// Its exit status; `None` if a signal ended it.
    pub(super) fn code(&self) -> Option<u64> {
        self.status.code().and_then(|code| u64::try_from(code).ok())
    }

    /// That it should have ended with `expected`, and what it said instead.
    pub(super) fn unexpected(&self, expected: u64) -> String {
        let said = String::from_utf8_lossy(&self.err.bytes);
        let said: String = said.trim().chars().take(500).collect();
        format!("{}, expected exit status {expected}: {said}", self.status)
    }
}

/// Runs `command` to its end; of each stream the first `max` bytes are kept.
///
/// # Errors
/// If it cannot be started, or waited for. Any exit status is good.
///
/// # Cancel safety
/// Dropping the future kills the program and everything in its process group.
pub(super) async fn run(
    cx: &Context,
    name: &str,
    mut command: Command,
    max: usize,
) -> Result<Ended, ActionError> {
    let mut child = command.spawn().map_err(|cause| {
        let kind = match cause.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
                ErrorKind::Permanent
            }
            _ => ErrorKind::Transient,
        };
        ActionError::not_begun(format!("starting {name:?}"), kind, cause)
    })?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let mut group = Group(pid.and_then(Pid::from_raw));
    let (mut out, mut err) = (Kept::up_to(max), Kept::up_to(max));
    let status = {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reading = async { tokio::join!(keep(stdout, &mut out), keep(stderr, &mut err)) };
        let mut reading = std::pin::pin!(reading);
        let mut read_all = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = &mut reading, if !read_all => read_all = true,
            }
        };
        // It was reaped: its number may belong to somebody else from now on.
        group.0 = None;
        if !read_all {
            let clock: &dyn Clock = &**cx.clock();
            let _ = timeout(clock, DRAIN, reading).await;
        }
        status
    };
    let status =
        status.map_err(|cause| ActionError::permanent(format!("waiting for {name:?}"), cause))?;
    Ok(Ended { status, out, err })
}

/// Kills the process group of a program that was not waited for.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It has not been reaped, so the number is still its own; if all are gone, good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The beginning of a stream, and how long it was; it is read to its end.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    n_bytes: u64,
    max: usize,
}

async fn keep(stream: Option<impl AsyncRead + Unpin>, kept: &mut Kept) {
    let Some(mut stream) = stream else {
        return;
    };
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut chunk).await {
        let room = kept.max.saturating_sub(kept.bytes.len()).min(n);
        kept.bytes.extend_from_slice(&chunk[..room]);
        kept.n_bytes += n as u64;
    }
}

impl Kept {
    fn up_to(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            n_bytes: 0,
            max,
        }
    }

    /// All of it as text; `None` if it was longer than what is kept.
    pub(super) fn whole(&self) -> Option<String> {
        let all = self.n_bytes == self.bytes.len() as u64;
        all.then(|| String::from_utf8_lossy(&self.bytes).into_owned())
    }

    pub(super) fn to_json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.n_bytes > self.bytes.len() as u64 {
            json!({ "truncated": text, "bytes": self.n_bytes })
        } else {
            json!(text)
        }
    }
}
