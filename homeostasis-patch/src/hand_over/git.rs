//! The program `git`, told what to do by arguments only, deaf to configuration and hooks.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use homeostasis_core::ErrorKind;

use super::HandOverError;
use super::review::sentence;

/// The most that is read of what git prints, in bytes: a file may have 4 MiB.
const MAX_OUTPUT: u64 = 8 * 1024 * 1024;

/// How long git may take for one command.
const LIMIT: Duration = Duration::from_secs(30);

/// What keeps a repository's own configuration from starting programs or reaching the network.
const SETTINGS: [&str; 9] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.alternateRefsCommand=",
    "protocol.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "i18n.commitEncoding=UTF-8",
    "commit.gpgSign=false",
];

/// Git in one folder.
#[derive(Debug, Clone)]
pub(super) struct Git {
    pub(super) program: PathBuf,
    pub(super) folder: PathBuf,
}

impl Git {
    /// Runs a command and gives what it printed; `doing` is for people.
    pub(super) fn run<S: AsRef<OsStr>>(
        &self,
        doing: &str,
        args: &[S],
        env: &[(&str, &OsStr)],
        input: &[u8],
    ) -> Result<Vec<u8>, HandOverError> {
        match self.ask(doing, args, env, input)? {
            Ok(output) => Ok(output),
            Err(detail) => Err(failed(doing, &detail, ErrorKind::Permanent)),
        }
    }

    /// The same; an answer of git that is no success is given as what it said.
    pub(super) fn ask<S: AsRef<OsStr>>(
        &self,
        doing: &str,
        args: &[S],
        env: &[(&str, &OsStr)],
        input: &[u8],
    ) -> Result<Result<Vec<u8>, String>, HandOverError> {
        let mut child = self
            .command(args, env)
            .spawn()
            .map_err(|error| failed(doing, &error.to_string(), ErrorKind::Permanent))?;
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            // If git does not want all of it, it says why.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let out = reading(child.stdout.take());
        let err = reading(child.stderr.take());
        let printed = end_of(&out).and_then(|out| Some((out, end_of(&err)?)));
        let Some((out, err)) = printed else {
            stop(&mut child);
            let late = format!("no answer within {LIMIT:?}");
            return Err(failed(doing, &late, ErrorKind::Timeout));
        };
        let status = child.wait();
        let status =
            status.map_err(|error| failed(doing, &error.to_string(), ErrorKind::Transient))?;
        if !status.success() {
            return Ok(Err(String::from_utf8_lossy(&err).into_owned()));
        }
        if u64::try_from(out.len()).is_ok_and(|n_bytes| n_bytes > MAX_OUTPUT) {
            let more = "it printed more than 8 MiB";
            return Err(failed(doing, more, ErrorKind::Permanent));
        }
        Ok(Ok(out))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "git is started by its arguments, without a shell, and bounded in time and output"
    )]
    fn command<S: AsRef<OsStr>>(&self, args: &[S], env: &[(&str, &OsStr)]) -> Command {
        let mut command = Command::new(&self.program);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
            .arg("--no-pager")
            .args(args)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Text of one line, as most commands print it.
pub(super) fn line(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end().to_owned()
}

/// Where git is on the `PATH`.
pub(super) fn on_the_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("git"))
        .find(|program: &PathBuf| Path::is_file(program))
}

pub(super) fn failed(doing: &str, detail: &str, kind: ErrorKind) -> HandOverError {
    HandOverError::Git {
        doing: doing.to_owned(),
        detail: sentence(detail, 400),
        kind,
    }
}

/// Reads in the background; the receiver gets all of it, or nothing if reading failed.
fn reading(pipe: Option<impl Read + Send + 'static>) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = match pipe {
            Some(pipe) => pipe.take(MAX_OUTPUT + 1).read_to_end(&mut bytes),
            None => Ok(0),
        };
        // Nobody listens any more if it came too late.
        let _ = sender.send(read.map(|_| bytes));
    });
    receiver
}

fn end_of(pipe: &Receiver<io::Result<Vec<u8>>>) -> Option<Vec<u8>> {
    match pipe.recv_timeout(LIMIT) {
        Ok(Ok(bytes)) => Some(bytes),
        Ok(Err(_)) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
    }
}

fn stop(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}
