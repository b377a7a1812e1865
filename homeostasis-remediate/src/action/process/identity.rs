//! Who a process is: pids are reused, start times tell the users apart.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

/// One process, not merely a number that another process may have by now.
///
/// Its JSON, `{"pid":…,"start_ticks":…}`, is the content of pid files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// The number.
    pub pid: i32,
    /// Clock ticks between the boot of the machine and the start of the process: field 22 of
    /// `/proc/<pid>/stat`.
    pub start_ticks: u64,
}

/// What `/proc/<pid>/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    state: char,
    group: i32,
    start_ticks: u64,
}

impl Stat {
    /// The program's name stands in parentheses and may hold blanks and parentheses itself: fields
    /// are counted after the last one.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }

    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // A zombie has ended; it only waits for its parent to notice.
        Self::parse(&stat).filter(|stat| !matches!(stat.state, 'Z' | 'X'))
    }
}

impl ProcessId {
    /// The living process that has `pid` now.
    pub fn of(pid: i32) -> Option<Self> {
        let start_ticks = Stat::of(pid)?.start_ticks;
        Some(Self { pid, start_ticks })
    }

    /// Whether it lives.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Whether it leads a process group of its own.
    pub(super) fn leads_group(self) -> bool {
        Stat::of(self.pid)
            .is_some_and(|stat| stat.start_ticks == self.start_ticks && stat.group == self.pid)
    }

    /// Sends a signal to its group if it leads one, else to it alone; `false` if it is gone.
    pub(super) fn signal(self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.pid > 1 && self.is_alive()) else {
            return Ok(false);
        };
        let sent = if self.leads_group() {
            kill_process_group(pid, signal)
        } else {
            kill_process(pid, signal)
        };
        match sent {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Group leaders that run `argv` (perhaps through an interpreter) and were started with `mark` in
    /// their environment, oldest first. A process whose environment may not be read is not ours.
    pub(super) fn marked(mark: &str, argv: &[String]) -> Vec<Self> {
        let has_mark = |pid: i32| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| {
                env.split(|byte| *byte == 0)
                    .any(|var| var == mark.as_bytes())
            })
        };
        // What it started inherits the mark, but runs something else.
        let runs_argv = |pid: i32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                let line = line.strip_suffix(b"\0").unwrap_or(&line);
                let found: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
                let wanted: Vec<&[u8]> = argv.iter().map(String::as_bytes).collect();
                found.ends_with(&wanted)
            })
        };
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let mut found: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| has_mark(*pid) && runs_argv(*pid))
            .filter_map(Self::of)
            .filter(|process| process.leads_group())
            .collect();
        found.sort_by_key(|process| (process.start_ticks, process.pid));
        found
    }

    /// The present in the unit of `start_ticks`; 100 ticks are a second on every Linux.
    pub(super) fn now_ticks() -> Option<u64> {
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let (secs, hundredths) = uptime.split_whitespace().next()?.split_once('.')?;
        let hundredths: u64 = hundredths.get(..2)?.parse().ok()?;
        secs.parse::<u64>()
            .ok()?
            .checked_mul(100)?
            .checked_add(hundredths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let line = "12 (a) b (c)) S 1 13 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 10 20";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.group, stat.start_ticks), ('S', 13, 777));
        assert_eq!(Stat::parse("12 (short) S 1"), None);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        let earlier = ProcessId {
            start_ticks: me.start_ticks - 1,
            ..me
        };
        assert!(!earlier.is_alive() && !earlier.leads_group());
        assert!(!earlier.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn this_process_did_not_start_in_the_future() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let now = ProcessId::now_ticks().unwrap();
        assert!(me.start_ticks <= now + 1, "{} {now}", me.start_ticks);
    }
}
