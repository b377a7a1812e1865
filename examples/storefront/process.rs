//! Processes as seen through `/proc`: who they are, whether they live, how much memory they hold.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// A process and not merely a number: pids are reused, start times tell the users apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks between boot and the start of the process.
    pub(crate) start_ticks: u64,
}

impl Identity {
    /// The process that has this pid now; `None` if there is none or it is a zombie.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start_ticks) = parse_stat(&stat)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, start_ticks })
    }

    /// This process.
    pub(crate) fn current() -> io::Result<Self> {
        i32::try_from(std::process::id())
            .ok()
            .and_then(Self::of)
            .ok_or_else(|| io::Error::other("this process is not to be found in /proc"))
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal, unless the process is gone or its pid belongs to another by now.
    pub(crate) fn signal(self, signal: Signal) -> io::Result<()> {
        match Pid::from_raw(self.pid) {
            Some(pid) if self.is_alive() => Ok(kill_process(pid, signal)?),
            _ => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("process {} is gone", self.pid),
            )),
        }
    }

    /// Resident memory in bytes, from `/proc/<pid>/statm`.
    pub(crate) fn resident_bytes(self) -> Option<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid)).ok()?;
        let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
        Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
    }

    /// Waits until the process is gone; `false` if it still lives after `patience`.
    pub(crate) async fn wait_gone(self, patience: Duration) -> bool {
        let gone = async {
            while self.is_alive() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(patience, gone).await.is_ok()
    }

    /// Asks the process to stop (SIGTERM) and makes it (SIGKILL) after `patience`.
    pub(crate) async fn stop(self, patience: Duration) -> io::Result<()> {
        for signal in [Signal::TERM, Signal::KILL] {
            if self.signal(signal).is_err() || self.wait_gone(patience).await {
                return Ok(());
            }
        }
        Err(io::Error::other(format!(
            "process {} outlives SIGKILL",
            self.pid
        )))
    }
}

/// State and start time from a line of `/proc/<pid>/stat`. The program's name stands in
/// parentheses and may hold both blanks and parentheses: fields are counted after the last one.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_ticks = fields.nth(18)?.parse().ok()?;
    Some((state, start_ticks))
}

/// A pid file held by the process it names: locked as long as that process lives, so that a
/// service never runs twice.
#[derive(Debug)]
pub(crate) struct PidFile {
    _locked: File,
}

impl PidFile {
    /// Locks the file and writes this process into it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process holds it.
    pub(crate) fn claim(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{} is held by a running process", path.display()),
            ),
            fs::TryLockError::Error(error) => error,
        })?;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(serde_json::to_string(&Identity::current()?)?.as_bytes())?;
        Ok(Self { _locked: file })
    }

    /// The living process that a pid file names.
    pub(crate) fn read(path: &Path) -> Option<Identity> {
        let mut text = String::new();
        File::open(path).ok()?.read_to_string(&mut text).ok()?;
        let named: Identity = serde_json::from_str(&text).ok()?;
        named.is_alive().then_some(named)
    }
}

/// Living processes with one of `roles` as first argument and a path under `root` among the rest;
/// or, with `scripts`, a script under `root` as first argument.
pub(crate) fn find_by_arguments(roles: &[&str], scripts: bool, root: &Path) -> Vec<Identity> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let arguments: Vec<PathBuf> = line
                .split(|byte| *byte == 0)
                .map(|part| PathBuf::from(String::from_utf8_lossy(part).into_owned()))
                .collect();
            let first = arguments.get(1)?;
            let plays = first.to_str().is_some_and(|role| roles.contains(&role))
                && arguments.iter().any(|part| part.starts_with(root));
            let ours = plays || (scripts && first.starts_with(root));
            ours.then(|| Identity::of(pid)).flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 10 20";
        assert_eq!(parse_stat(stat), Some(('S', 777)));
        assert_eq!(parse_stat("12 (short) S 1"), None);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let me = Identity::current().unwrap();
        assert!(me.is_alive());
        let earlier = Identity {
            start_ticks: me.start_ticks - 1,
            ..me
        };
        assert!(!earlier.is_alive());
        assert!(earlier.signal(Signal::KILL).is_err());
    }

    #[test]
    fn a_pid_file_is_held_once_and_read_by_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        assert_eq!(PidFile::read(&path), None);
        let held = PidFile::claim(&path).unwrap();
        assert_eq!(PidFile::read(&path), Some(Identity::current().unwrap()));
        let refused = PidFile::claim(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        PidFile::claim(&path).unwrap();
    }
}
