//! Looks at a process from outside.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::signal::{HealthReport, HealthState};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violation, Violations};
use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

use super::check::{lasting, named};
use super::connections::{MAX_DESCRIPTORS, established};
use super::probing::Probe;
use super::reading::Reading;
use crate::measurement::Measurement;

/// The operating system tells start times in whole seconds, from a boot time in whole seconds.
const START_TOLERANCE: Duration = Duration::from_secs(2);
/// The most bytes read of a pid file.
const MAX_PID_FILE: u64 = 4096;

/// Which process is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessId {
    /// Its number, which the system gives to another process later.
    pub pid: u32,
    /// When it started, if known: a process with the same number that started more than 2 s
    /// earlier or later is another one.
    pub started: Option<Timestamp>,
}

type Ask = Arc<dyn Fn() -> Option<ProcessId> + Send + Sync>;

/// Where the process's number comes from, asked at every probe.
#[derive(Clone)]
#[non_exhaustive]
pub enum PidSource {
    /// A pid file: the number alone, or a JSON object with the number as `pid`.
    File(PathBuf),
    /// A closure; `None` says that there is no process. It must not block.
    Closure(Ask),
}

impl PidSource {
    /// A closure.
    pub fn from_fn(ask: impl Fn() -> Option<ProcessId> + Send + Sync + 'static) -> Self {
        Self::Closure(Arc::new(ask))
    }

    fn find(&self) -> Result<ProcessId, String> {
        match self {
            Self::File(path) => read_pid_file(path),
            Self::Closure(ask) => ask().ok_or_else(|| "no process is known".to_owned()),
        }
    }
}

impl fmt::Debug for PidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Closure(_) => f.debug_tuple("Closure").finish(),
        }
    }
}

/// Which process is looked at, and how often.
#[derive(Debug, Clone)]
pub struct ProcessProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whose process it is.
    pub target: Target,
    /// Where its number comes from.
    pub source: PidSource,
    /// How often it is looked at; default 5 s.
    pub interval: Duration,
}

impl ProcessProbeConfig {
    /// The defaults for the process of `target`.
    pub fn new(name: impl Into<String>, target: Target, source: PidSource) -> Self {
        Self {
            name: name.into(),
            target,
            source,
            interval: Duration::from_secs(5),
        }
    }
}

/// Looks whether a process lives and what it uses.
///
/// It measures `process_up` (1 or 0) and, while the process lives, `process_resident_memory_bytes`,
/// `process_start_time_seconds` (since the epoch), and from the second look on
/// `process_cpu_ratio`: processor time by time passed, **as a ratio of one core**: 1 is one core
/// fully used, 2.5 is two and a half ([`HostProbe`](super::HostProbe) tells the share of the whole
/// machine, and how many cores there are).
/// Where the system tells it and lets us read it (on Linux: of processes of the same user) also
/// `process_threads`, `process_open_fds` with its limit `process_max_fds`, and
/// `process_connections`, the established TCP connections of a process with at most 4096 open
/// descriptors; the detail of the report names what cannot be read.
/// It reports *healthy* or, with the reason, *unhealthy*: no such process, a zombie, another
/// process under the same number, a pid file that is missing or holds no number.
///
/// A look reads a few small files of the process table and does not wait for anything.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use std::sync::Arc;
/// use homeostasis::core::{Context, ManualClock, Target, Timestamp};
/// use homeostasis::signals::{PidSource, Probe, ProcessId, ProcessProbe, ProcessProbeConfig};
///
/// let me = PidSource::from_fn(|| Some(ProcessId { pid: std::process::id(), started: None }));
/// let probe = ProcessProbe::new(ProcessProbeConfig::new("self", Target::service("shop")?, me))?;
/// let cx = Context::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 1);
/// let reading = probe.probe(&cx).await;
/// assert_eq!(reading.value("process_up"), Some(1.0));
/// assert!(reading.value("process_resident_memory_bytes").unwrap() > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ProcessProbe {
    config: ProcessProbeConfig,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    system: System,
    /// Processor time used at the last look, and by whom.
    last: Option<LastLook>,
}

#[derive(Debug, Clone, Copy)]
struct LastLook {
    pid: u32,
    started_secs: u64,
    at: Timestamp,
    cpu_millis: u64,
}

/// What a look at a living process gives.
#[derive(Debug, Clone, Copy)]
struct Seen {
    pid: u32,
    resident_bytes: u64,
    started_secs: u64,
    cpu_ratio: Option<f64>,
    open_fds: Option<usize>,
    max_fds: Option<usize>,
}

impl ProcessProbe {
    /// A probe.
    ///
    /// # Errors
    /// - The name is empty.
    /// - The path of the pid file is empty.
    /// - The interval is zero.
    pub fn new(config: ProcessProbeConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        named(&mut wrong, &config.name);
        if matches!(&config.source, PidSource::File(path) if path.as_os_str().is_empty()) {
            wrong.push(Violation::new("source", "\"\"", "the path of a pid file"));
        }
        lasting(&mut wrong, "interval", config.interval);
        wrong.into_result(Self {
            config,
            table: Mutex::new(Table {
                system: System::new(),
                last: None,
            }),
        })
    }

    fn look(&self, at: Timestamp) -> Result<Seen, String> {
        let wanted = self.config.source.find()?;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = Pid::from_u32(wanted.pid);
        table.system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[pid]),
            true,
            ProcessRefreshKind::nothing()
                .without_tasks()
                .with_memory()
                .with_cpu(),
        );
        let process = table
            .system
            .process(pid)
            .ok_or_else(|| format!("no process {pid}"))?;
        if matches!(
            process.status(),
            ProcessStatus::Zombie | ProcessStatus::Dead
        ) {
            return Err(format!("process {pid} has ended and is a zombie"));
        }
        let started_secs = process.start_time();
        let started = seconds(started_secs);
        if let Some(expected) = wanted.started {
            let apart = started.since(expected).max(expected.since(started));
            if apart > START_TOLERANCE {
                return Err(format!(
                    "process {pid} started at {started}, expected {expected}: it is another one under the same number"
                ));
            }
        }
        let look = LastLook {
            pid: wanted.pid,
            started_secs,
            at,
            cpu_millis: process.accumulated_cpu_time(),
        };
        let resident_bytes = process.memory();
        let (open_fds, max_fds) = (process.open_files(), process.open_files_limit());
        let before = table.last.replace(look);
        Ok(Seen {
            pid: wanted.pid,
            resident_bytes,
            started_secs,
            cpu_ratio: before.and_then(|before| look.cpu_ratio_since(before)),
            open_fds,
            max_fds,
        })
    }
}

impl LastLook {
    /// Cores used since `before`; `None` if that was another process or no time ago.
    fn cpu_ratio_since(self, before: Self) -> Option<f64> {
        let seconds = self.at.since(before.at).as_secs_f64();
        let same = self.pid == before.pid && self.started_secs == before.started_secs;
        (same && seconds > 0.0)
            .then(|| self.cpu_millis.saturating_sub(before.cpu_millis) as f64 / 1000.0 / seconds)
    }
}

fn seconds(secs: u64) -> Timestamp {
    i64::try_from(secs).map_or(Timestamp::MAX, Timestamp::from_secs)
}

fn read_pid_file(path: &Path) -> Result<ProcessId, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_PID_FILE).read_to_string(&mut text))
        .map_err(|error| format!("pid file {}: {error}", path.display()))?;
    let text = text.trim();
    let pid = text.parse().ok().or_else(|| {
        let object: serde_json::Value = serde_json::from_str(text).ok()?;
        u32::try_from(object.get("pid")?.as_u64()?).ok()
    });
    match pid {
        // 0 is nobody: signals to it would go to the caller's own group.
        Some(pid) if pid > 0 => Ok(ProcessId { pid, started: None }),
        _ => {
            let start: String = text.chars().take(40).collect();
            Err(format!(
                "pid file {}: {start:?}, expected the number of a process",
                path.display()
            ))
        }
    }
}

/// The number of threads, where the system tells it cheaply.
fn n_threads(pid: u32) -> Option<u32> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?;
    line.trim().parse().ok()
}

#[async_trait]
impl Probe for ProcessProbe {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.config.target)
    }

    fn interval(&self) -> Duration {
        self.config.interval
    }

    async fn probe(&self, cx: &Context) -> Reading {
        let at = cx.now();
        let target = &self.config.target;
        let of = |metric: &str, value: f64| Measurement::of(target, metric, at, value);
        let report =
            |state| HealthReport::new(at, target.clone(), self.config.name.as_str(), state);
        let seen = match self.look(at) {
            Ok(seen) => seen,
            Err(reason) => {
                return Reading::default()
                    .measured(of("process_up", 0.0))
                    .reporting(report(HealthState::Unhealthy).saying(reason));
            }
        };
        let mut reading = Reading::default()
            .measured(of("process_up", 1.0))
            .measured(of(
                "process_resident_memory_bytes",
                seen.resident_bytes as f64,
            ))
            .measured(of("process_start_time_seconds", seen.started_secs as f64));
        if let Some(ratio) = seen.cpu_ratio {
            reading.measurements.push(of("process_cpu_ratio", ratio));
        }
        let threads = n_threads(seen.pid).and_then(|n| usize::try_from(n).ok());
        let few = seen.open_fds.filter(|n| *n <= MAX_DESCRIPTORS);
        let connections = few.and_then(|_| established(seen.pid));
        let mut unreadable = Vec::new();
        for (metric, value) in [
            ("process_threads", threads),
            ("process_open_fds", seen.open_fds),
            ("process_max_fds", seen.max_fds),
            ("process_connections", connections),
        ] {
            match value {
                Some(value) => reading.measurements.push(of(metric, value as f64)),
                None => unreadable.push(metric),
            }
        }
        let mut detail = format!("process {}", seen.pid);
        if !unreadable.is_empty() {
            detail = format!("{detail}; cannot be read here: {}", unreadable.join(", "));
        }
        reading.reporting(report(HealthState::Healthy).saying(detail))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use homeostasis_core::ManualClock;

    use super::*;

    /// How often a process is looked at, milliseconds apart, until it shows what is waited for: a
    /// busy machine takes its time.
    const N_LOOKS: u32 = 20_000;

    /// Killed and collected when the test ends, however it ends.
    struct Running(Child);

    impl Running {
        #[expect(clippy::disallowed_methods, reason = "the probe needs a real process")]
        fn start(program: &str, arguments: &[&str]) -> Self {
            Self(Command::new(program).args(arguments).spawn().unwrap())
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn probe(source: PidSource) -> ProcessProbe {
        let target = Target::instance("shop", "1").unwrap();
        ProcessProbe::new(ProcessProbeConfig::new("process", target, source)).unwrap()
    }

    fn told(reading: &Reading) -> (HealthState, &str) {
        let report = reading.reports().next().unwrap();
        (report.state, &report.detail)
    }

    fn context() -> (ManualClock, Context) {
        let clock = ManualClock::new(Timestamp::from_secs(1));
        (clock.clone(), Context::new(Arc::new(clock), 1))
    }

    #[tokio::test]
    async fn a_child_is_up_until_it_is_killed_then_a_zombie_then_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.pid");
        let mut child = Running::start("sleep", &["600"]);
        std::fs::write(&path, format!("{}\n", child.0.id())).unwrap();
        let (_, cx) = context();
        let probe = probe(PidSource::File(path));
        let mut reading = probe.probe(&cx).await;
        assert_eq!(told(&reading).0, HealthState::Healthy);
        assert_eq!(reading.value("process_up"), Some(1.0));
        let memory = |reading: &Reading| reading.value("process_resident_memory_bytes").unwrap();
        // A program that has only just begun has a page or two.
        for _ in 0..N_LOOKS {
            if memory(&reading) > 10_000.0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            reading = probe.probe(&cx).await;
        }
        assert!(memory(&reading) > 10_000.0, "{}", memory(&reading));
        assert!(reading.value("process_start_time_seconds").unwrap() > 1e9);
        if cfg!(target_os = "linux") {
            assert_eq!(reading.value("process_threads"), Some(1.0));
        }
        assert_eq!(reading.value("process_cpu_ratio"), None);

        child.0.kill().unwrap();
        // The signal is sent; that it has arrived shows in the process table.
        let mut reading = probe.probe(&cx).await;
        for _ in 0..N_LOOKS {
            if reading.value("process_up") == Some(0.0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            reading = probe.probe(&cx).await;
        }
        let (state, detail) = told(&reading);
        assert_eq!(state, HealthState::Unhealthy);
        assert!(detail.contains("zombie"), "{detail}");
        assert_eq!(reading.measurements.len(), 1);
        child.0.wait().unwrap();
        let reading = probe.probe(&cx).await;
        assert!(
            told(&reading).1.starts_with("no process"),
            "{:?}",
            told(&reading)
        );
    }

    /// Exact figures need a process of which every descriptor is known.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn descriptors_and_connections_of_a_process_are_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let dial = format!("exec 3<>/dev/tcp/127.0.0.1/{port} 4<>/dev/tcp/127.0.0.1/{port}");
        let script = format!("ulimit -n 77; {dial}; exec sleep 600");
        // `exec`, so that nothing is left behind when it is killed.
        let child = Running::start("bash", &["-c", &script]);
        let accepted = [listener.accept().unwrap(), listener.accept().unwrap()];
        let pid = child.0.id();
        // Until then the shell may have a descriptor twice, at two numbers.
        let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        for _ in 0..N_LOOKS {
            if name() == "sleep\n" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(name(), "sleep\n");
        let probe = probe(PidSource::from_fn(move || {
            Some(ProcessId { pid, started: None })
        }));
        let (_, cx) = context();
        let reading = probe.probe(&cx).await;
        assert_eq!(reading.value("process_connections"), Some(2.0));
        assert_eq!(reading.value("process_max_fds"), Some(77.0));
        let open = reading.value("process_open_fds").unwrap();
        assert!((5.0..20.0).contains(&open), "{open}");
        assert_eq!(told(&reading).1, format!("process {pid}"));
        drop(accepted);
    }

    #[tokio::test]
    async fn processor_time_shows_as_cores_used() {
        let busy = Running::start("sh", &["-c", "while :; do :; done"]);
        let pid = busy.0.id();
        let probe = probe(PidSource::from_fn(move || {
            Some(ProcessId { pid, started: None })
        }));
        let (clock, cx) = context();
        probe.probe(&cx).await;
        let before = probe.table.lock().unwrap().last.unwrap().cpu_millis;
        // Wait until it has used some time, then say that one second has passed.
        for _ in 0..N_LOOKS {
            probe.probe(&cx).await;
            if probe.table.lock().unwrap().last.unwrap().cpu_millis >= before + 100 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        probe
            .table
            .lock()
            .unwrap()
            .last
            .as_mut()
            .unwrap()
            .cpu_millis = before;
        clock.advance(Duration::from_secs(1));
        let ratio = probe.probe(&cx).await.value("process_cpu_ratio").unwrap();
        assert!((0.1..5.0).contains(&ratio), "{ratio}");
    }

    #[tokio::test]
    async fn another_process_under_the_same_number_is_not_taken_for_ours() {
        let child = Running::start("sleep", &["600"]);
        let (_, cx) = context();
        let pid = child.0.id();
        let real = {
            let source = PidSource::from_fn(move || Some(ProcessId { pid, started: None }));
            let reading = probe(source).probe(&cx).await;
            Timestamp::EPOCH
                + Duration::from_secs_f64(reading.value("process_start_time_seconds").unwrap())
        };
        for (offset, up) in [(0, 1.0), (1, 1.0), (3600, 0.0)] {
            let started = Some(real - Duration::from_secs(offset));
            let source = PidSource::from_fn(move || Some(ProcessId { pid, started }));
            let reading = probe(source).probe(&cx).await;
            assert_eq!(reading.value("process_up"), Some(up), "{offset}");
            assert_eq!(told(&reading).1.contains("another one"), up == 0.0);
        }
    }

    #[tokio::test]
    async fn pid_files_are_read_in_two_forms_and_bad_ones_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.pid");
        let (_, cx) = context();
        let me = std::process::id();
        for (text, detail) in [
            (format!("{{\"pid\":{me},\"start_ticks\":7}}"), "process "),
            (format!(" {me}\n"), "process "),
            ("0".to_owned(), "pid file"),
            ("-5".to_owned(), "pid file"),
            ("soon".to_owned(), "pid file"),
            (String::new(), "pid file"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let reading = probe(PidSource::File(path.clone())).probe(&cx).await;
            assert!(
                told(&reading).1.starts_with(detail),
                "{text:?}: {:?}",
                told(&reading)
            );
        }
        std::fs::remove_file(&path).unwrap();
        let reading = probe(PidSource::File(path)).probe(&cx).await;
        assert!(told(&reading).1.contains("shop.pid"));
        assert_eq!(reading.value("process_up"), Some(0.0));
    }
}
