//! Starting, adopting and stopping the processes of a host.

use std::collections::{BTreeMap, VecDeque};
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis_core::{Clock, ConfigError, ErrorKind, Target, Timestamp, Violation, Violations};
use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::identity::ProcessId;
use crate::action::{RestartIntensity, is_name};
use crate::file::{read_small, write_atomically};

/// How often a condition is looked at while a process starts or stops.
const POLL: Duration = Duration::from_millis(10);

/// The variable by which a process is found again although its pid file was never written.
const MARK: &str = "HOMEOSTASIS_SUPERVISED";

/// Who writes the pid file of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidFileWriter {
    /// The supervisor, right after the start.
    Supervisor,
    /// The process itself, within its [`start_timeout`](ProcessSpec::start_timeout); only then is
    /// it taken to be started.
    Process,
}

/// How a process is run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessSpec {
    /// Whose process it is.
    pub target: Target,
    /// Program (an absolute path) and arguments; never given to a shell.
    pub argv: Vec<String>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Names of variables it inherits; everything else is cleared. Default `PATH`, `HOME`, `LANG`,
    /// `TZ`.
    pub inherit_env: Vec<String>,
    /// Where it runs; `None` is where the host runs.
    pub cwd: Option<PathBuf>,
    /// What its output is appended to; `None` drops it.
    pub output_file: Option<PathBuf>,
    /// Holds `{"pid":…,"start_ticks":…}`; by it the process is found after a restart of the host.
    pub pid_file: PathBuf,
    /// Who writes the pid file. Default the supervisor.
    pub pid_file_writer: PidFileWriter,
    /// How long it has between SIGTERM and SIGKILL. Default 10 s.
    pub grace: Duration,
    /// How long it may take until it counts as started. Default 5 s.
    pub start_timeout: Duration,
    /// How often it may be started. Default 5 times in 60 s.
    pub intensity: RestartIntensity,
}

impl ProcessSpec {
    /// A process of `target` with the defaults above.
    pub fn new(
        target: Target,
        argv: impl IntoIterator<Item = impl Into<String>>,
        pid_file: impl Into<PathBuf>,
    ) -> Self {
        Self {
            target,
            argv: argv.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            inherit_env: ["PATH", "HOME", "LANG", "TZ"].map(str::to_owned).to_vec(),
            cwd: None,
            output_file: None,
            pid_file: pid_file.into(),
            pid_file_writer: PidFileWriter::Supervisor,
            grace: Duration::from_secs(10),
            start_timeout: Duration::from_secs(5),
            intensity: RestartIntensity::default(),
        }
    }

    fn violations(&self, path: &str) -> Violations {
        let mut violations = Violations::new();
        let program = self.argv.first().map(String::as_str).unwrap_or_default();
        if !program.starts_with('/') {
            let found = if program.is_empty() {
                String::new()
            } else {
                format!("{program:?}")
            };
            let expected = "the absolute path of a program";
            violations.push(Violation::new(format!("{path}.argv[0]"), found, expected));
        }
        for (idx, arg) in self
            .argv
            .iter()
            .enumerate()
            .filter(|(_, arg)| arg.contains('\0'))
        {
            let expected = "an argument without NUL";
            violations.push(Violation::new(
                format!("{path}.argv[{idx}]"),
                format!("{arg:?}"),
                expected,
            ));
        }
        for name in self
            .env
            .keys()
            .filter(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            let expected = "a name without `=` and NUL";
            violations.push(Violation::new(
                format!("{path}.env"),
                format!("{name:?}"),
                expected,
            ));
        }
        if !self.pid_file.is_absolute() {
            let found = self.pid_file.display();
            violations.push(Violation::new(
                format!("{path}.pid_file"),
                found,
                "an absolute path",
            ));
        }
        violations
    }

    /// `NAME=value` as it stands in the environment of every process started from this.
    fn mark(&self) -> String {
        format!("{MARK}={}", self.pid_file.display())
    }
}

/// Why a process could not be started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// Nobody registered it.
    #[error("no process {name:?} is registered")]
    Unknown {
        /// The name.
        name: String,
    },
    /// It was started too often: something else is wrong.
    #[error("{name:?} was started {max} times within {period:?}: restarting does not help")]
    TooOften {
        /// The name.
        name: String,
        /// How often it may be.
        max: u32,
        /// Within which time.
        period: Duration,
    },
    /// The program could not be started, or its files could not be written.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It ended before it counted as started.
    #[error("{name:?} ended right after its start: {status}")]
    EndedEarly {
        /// The name.
        name: String,
        /// How.
        status: String,
    },
    /// It did not write its pid file in time.
    #[error("{name:?} did not write its pid file within {limit:?}")]
    NotStarted {
        /// The name.
        name: String,
        /// How long it had.
        limit: Duration,
    },
    /// It outlives SIGKILL, which only the kernel can explain.
    #[error("process {pid} of {name:?} outlives SIGKILL")]
    Immortal {
        /// The name.
        name: String,
        /// Its pid.
        pid: i32,
    },
}

impl ProcessError {
    /// What may be done next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. } | Self::TooOften { .. } | Self::Immortal { .. } => {
                ErrorKind::Permanent
            }
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::InvalidInput => ErrorKind::Permanent,
                _ => ErrorKind::Transient,
            },
            Self::EndedEarly { .. } | Self::NotStarted { .. } => ErrorKind::Transient,
        }
    }
}

/// Runs the processes of a host. Cheap to clone.
///
/// Each process leads a process group of its own, so that a signal to the host's terminal does not
/// reach it, stopping it stops what it started, and it outlives the host: the next host adopts it
/// by its pid file, or, if the host died before the file was written, by a mark in its environment.
/// Nothing is stopped when the supervisor is dropped.
#[derive(Debug, Clone)]
pub struct ProcessSupervisor {
    clock: Arc<dyn Clock>,
    processes: Arc<Mutex<BTreeMap<String, Arc<Managed>>>>,
}

#[derive(Debug)]
struct Managed {
    name: String,
    spec: ProcessSpec,
    /// Held while it is started or stopped.
    busy: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    starts: VecDeque<Timestamp>,
}

impl ProcessSupervisor {
    /// A supervisor without processes that waits on `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            processes: Arc::default(),
        }
    }

    /// Registers a process; it is not started.
    ///
    /// # Errors
    /// Everything that is wrong with it, or if the name is taken or not a plain word.
    pub fn register(&self, name: impl Into<String>, spec: ProcessSpec) -> Result<(), ConfigError> {
        let name = name.into();
        let path = format!("processes.{name}");
        let mut violations = spec.violations(&path);
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !is_name(&name) || processes.contains_key(&name) {
            let expected = "a new name of letters, digits, `.`, `_` and `-`";
            violations.push(Violation::new("processes", format!("{name:?}"), expected));
        }
        violations.into_result(())?;
        let managed = Managed {
            name: name.clone(),
            spec,
            busy: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        };
        processes.insert(name, Arc::new(managed));
        Ok(())
    }

    /// All registered names, sorted.
    pub fn names(&self) -> Vec<String> {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.keys().cloned().collect()
    }

    /// Whose process `name` is.
    pub fn target(&self, name: &str) -> Option<Target> {
        self.managed(name)
            .ok()
            .map(|managed| managed.spec.target.clone())
    }

    /// The living process `name`, whoever started it.
    ///
    /// # Errors
    /// If it is not registered, or its pid file cannot be read.
    pub fn running(&self, name: &str) -> Result<Option<ProcessId>, ProcessError> {
        self.managed(name)?.running()
    }

    /// Starts `name` unless it lives; says which process it is now.
    ///
    /// # Errors
    /// See [`ProcessError`]; a process that ended early is not left behind.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the process started; `running` finds it.
    pub async fn start(&self, name: &str) -> Result<ProcessId, ProcessError> {
        let managed = self.managed(name)?;
        let _busy = managed.busy.lock().await;
        match managed.running()? {
            Some(process) => Ok(process),
            None => managed.spawn(&*self.clock).await,
        }
    }

    /// Stops `name`: SIGTERM to its group, SIGKILL after its grace. Says which process it was.
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub async fn stop(&self, name: &str) -> Result<Option<ProcessId>, ProcessError> {
        let managed = self.managed(name)?;
        let _busy = managed.busy.lock().await;
        let running = managed.running()?;
        managed.stop_all(&*self.clock).await?;
        Ok(running)
    }

    /// Replaces `old` (or starts `name`, if `old` is none) and says which process it is now. If
    /// another process than `old` already lives, it stays: the restart has happened.
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub async fn restart(
        &self,
        name: &str,
        old: Option<ProcessId>,
    ) -> Result<ProcessId, ProcessError> {
        let managed = self.managed(name)?;
        let _busy = managed.busy.lock().await;
        match managed.running()? {
            Some(process) if Some(process) != old => return Ok(process),
            Some(_) => managed.stop_all(&*self.clock).await?,
            None => {}
        }
        managed.spawn(&*self.clock).await
    }

    fn managed(&self, name: &str) -> Result<Arc<Managed>, ProcessError> {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes
            .get(name)
            .map(Arc::clone)
            .ok_or_else(|| ProcessError::Unknown {
                name: name.to_owned(),
            })
    }
}

impl Managed {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The living process, found by its pid file or by the mark in its environment.
    fn running(&self) -> Result<Option<ProcessId>, ProcessError> {
        self.reap();
        let text = read_small(&self.spec.pid_file, 4096).map_err(|source| ProcessError::Io {
            what: format!("reading {}", self.spec.pid_file.display()),
            source,
        })?;
        // A file that was half written by a process that is gone names nobody.
        let named = text.and_then(|text| serde_json::from_str::<ProcessId>(&text).ok());
        let named = named.filter(|process| process.is_alive());
        Ok(named.or_else(|| ProcessId::marked(&self.spec.mark(), &self.spec.argv).pop()))
    }

    /// Takes note of a child that ended, so that it does not stay a zombie; says how it ended.
    fn reap(&self) -> Option<String> {
        let mut state = self.lock();
        let ended = match state.child.as_mut()?.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        state.child = None;
        Some(ended)
    }

    async fn spawn(&self, clock: &dyn Clock) -> Result<ProcessId, ProcessError> {
        self.count_start(clock.now())?;
        let process = self.spawn_child()?;
        match self.await_start(clock, process).await {
            Ok(()) => Ok(process),
            Err(error) => {
                self.stop_all(clock).await?;
                Err(error)
            }
        }
    }

    fn count_start(&self, now: Timestamp) -> Result<(), ProcessError> {
        let intensity = self.spec.intensity;
        if intensity.admit(&mut self.lock().starts, now) {
            Ok(())
        } else {
            Err(ProcessError::TooOften {
                name: self.name.clone(),
                max: intensity.max,
                period: intensity.period,
            })
        }
    }

    fn spawn_child(&self) -> Result<ProcessId, ProcessError> {
        let failed = |what: String| move |source| ProcessError::Io { what, source };
        let spec = &self.spec;
        let program = spec.argv.first().cloned().unwrap_or_default();
        let mut command = Command::new(&program);
        command
            .args(spec.argv.iter().skip(1))
            .env_clear()
            .envs(
                spec.inherit_env
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(&spec.env)
            .env(MARK, &spec.pid_file)
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(cwd) = &spec.cwd {
            command.current_dir(cwd);
        }
        match &spec.output_file {
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
            Some(path) => {
                let what = format!("opening {}", path.display());
                let output = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .map_err(failed(what.clone()))?;
                let errors = output.try_clone().map_err(failed(what))?;
                command.stdout(output).stderr(errors);
            }
        }
        let mut child = command
            .spawn()
            .map_err(failed(format!("starting {program}")))?;
        let process = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(ProcessId::of);
        let Some(process) = process else {
            let status = child.try_wait().ok().flatten();
            return Err(ProcessError::EndedEarly {
                name: self.name.clone(),
                status: status.map_or_else(|| "it is gone".to_owned(), |status| status.to_string()),
            });
        };
        self.lock().child = Some(child);
        if spec.pid_file_writer == PidFileWriter::Supervisor {
            let text = serde_json::json!(process).to_string();
            write_atomically(&spec.pid_file, text.as_bytes())
                .map_err(failed(format!("writing {}", spec.pid_file.display())))?;
        }
        Ok(process)
    }

    /// Waits until the process counts as started.
    async fn await_start(&self, clock: &dyn Clock, process: ProcessId) -> Result<(), ProcessError> {
        let limit = self.spec.start_timeout;
        let began = clock.now();
        loop {
            if let Some(status) = self.reap() {
                let name = self.name.clone();
                return Err(ProcessError::EndedEarly { name, status });
            }
            let settled = match self.spec.pid_file_writer {
                // Long enough to see a program that refuses its arguments.
                PidFileWriter::Supervisor => clock.now().since(began) >= 5 * POLL,
                PidFileWriter::Process => self.pid_file_names(process),
            };
            if settled {
                return Ok(());
            }
            if clock.now().since(began) >= limit {
                let name = self.name.clone();
                return Err(ProcessError::NotStarted { name, limit });
            }
            clock.sleep(POLL).await;
        }
    }

    fn pid_file_names(&self, process: ProcessId) -> bool {
        read_small(&self.spec.pid_file, 4096)
            .ok()
            .flatten()
            .and_then(|text| serde_json::from_str::<ProcessId>(&text).ok())
            == Some(process)
    }

    /// Stops every process that was started from this spec and still lives.
    async fn stop_all(&self, clock: &dyn Clock) -> Result<(), ProcessError> {
        while let Some(process) = self.running()? {
            self.stop_one(clock, process).await?;
        }
        Ok(())
    }

    async fn stop_one(&self, clock: &dyn Clock, process: ProcessId) -> Result<(), ProcessError> {
        for (signal, patience) in [
            (Signal::TERM, self.spec.grace),
            (Signal::KILL, Duration::from_secs(10)),
        ] {
            let sent = process.signal(signal).map_err(|source| ProcessError::Io {
                what: format!("stopping process {}", process.pid),
                source,
            })?;
            let began = clock.now();
            while sent && process.is_alive() && clock.now().since(began) < patience {
                clock.sleep(POLL).await;
                self.reap();
            }
            if !process.is_alive() {
                self.reap();
                return Ok(());
            }
        }
        Err(ProcessError::Immortal {
            name: self.name.clone(),
            pid: process.pid,
        })
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::BoxFuture;

    use super::*;
    use crate::action::laws::RealClock;

    const SLEEP: &str = "/usr/bin/sleep";

    /// A second of this clock, which began then, is a thousand real ones.
    #[derive(Debug)]
    struct Slow(Timestamp);

    impl Clock for Slow {
        fn now(&self) -> Timestamp {
            self.0 + RealClock.now().since(self.0) / 1000
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            RealClock.sleep(duration)
        }
    }

    fn spec(dir: &tempfile::TempDir) -> ProcessSpec {
        let target = Target::service("catalog").unwrap();
        let mut spec = ProcessSpec::new(target, [SLEEP, "1000"], dir.path().join("catalog.pid"));
        spec.grace = Duration::from_secs(2);
        spec
    }

    fn supervisor(spec: ProcessSpec) -> ProcessSupervisor {
        let supervisor = ProcessSupervisor::new(Arc::new(RealClock));
        supervisor.register("catalog", spec).unwrap();
        supervisor
    }

    #[tokio::test]
    async fn a_process_is_started_once_restarted_and_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = supervisor(spec(&dir));
        assert_eq!(supervisor.running("catalog").unwrap(), None);
        let first = supervisor.start("catalog").await.unwrap();
        assert_eq!(supervisor.start("catalog").await.unwrap(), first);
        let second = supervisor.restart("catalog", Some(first)).await.unwrap();
        assert!(!first.is_alive() && second.is_alive());
        // The same restart again, as after a crash: it has happened.
        assert_eq!(
            supervisor.restart("catalog", Some(first)).await.unwrap(),
            second
        );
        assert_eq!(supervisor.stop("catalog").await.unwrap(), Some(second));
        assert_eq!(supervisor.stop("catalog").await.unwrap(), None);
        assert!(!second.is_alive());
    }

    #[tokio::test]
    async fn the_next_host_adopts_what_the_last_one_started() {
        let dir = tempfile::tempdir().unwrap();
        let first = supervisor(spec(&dir)).start("catalog").await.unwrap();
        let next = supervisor(spec(&dir));
        assert_eq!(next.running("catalog").unwrap(), Some(first));
        // The host died between the start and the pid file: the mark finds the process.
        std::fs::remove_file(dir.path().join("catalog.pid")).unwrap();
        assert_eq!(next.running("catalog").unwrap(), Some(first));
        assert_eq!(next.start("catalog").await.unwrap(), first);
        assert_eq!(next.stop("catalog").await.unwrap(), Some(first));
    }

    #[tokio::test]
    async fn a_pid_file_of_another_process_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = supervisor(spec(&dir));
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let stale = ProcessId {
            start_ticks: me.start_ticks + 1,
            ..me
        };
        for text in [serde_json::json!(stale).to_string(), "{\"pid\":".to_owned()] {
            std::fs::write(dir.path().join("catalog.pid"), text).unwrap();
            assert_eq!(supervisor.running("catalog").unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_process_that_was_killed_is_seen_dead_and_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = supervisor(spec(&dir));
        let first = supervisor.start("catalog").await.unwrap();
        first.signal(Signal::KILL).unwrap();
        while first.is_alive() {
            tokio::time::sleep(POLL).await;
        }
        assert_eq!(supervisor.running("catalog").unwrap(), None);
        let second = supervisor.start("catalog").await.unwrap();
        assert_ne!(first, second);
        supervisor.stop("catalog").await.unwrap();
    }

    #[tokio::test]
    async fn what_ends_at_once_or_does_not_exist_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut early = spec(&dir);
        early.argv = vec![SLEEP.to_owned(), "not-a-number".to_owned()];
        // However long a busy machine needs to run it to its end, it counts as at once.
        let slow = ProcessSupervisor::new(Arc::new(Slow(RealClock.now())));
        slow.register("catalog", early).unwrap();
        let error = slow.start("catalog").await.unwrap_err();
        assert!(matches!(error, ProcessError::EndedEarly { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Transient);
        let mut missing = spec(&dir);
        missing.argv = vec!["/nonexistent/program".to_owned()];
        let error = supervisor(missing).start("catalog").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
        let mut silent = spec(&dir);
        silent.pid_file_writer = PidFileWriter::Process;
        silent.start_timeout = Duration::from_millis(100);
        let silent = supervisor(silent);
        let error = silent.start("catalog").await.unwrap_err();
        assert!(matches!(error, ProcessError::NotStarted { .. }), "{error}");
        assert_eq!(
            silent.running("catalog").unwrap(),
            None,
            "it was left behind"
        );
    }

    #[tokio::test]
    async fn too_many_starts_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut few = spec(&dir);
        few.intensity.max = 2;
        let supervisor = supervisor(few);
        for _ in 0..2 {
            supervisor.start("catalog").await.unwrap();
            supervisor.stop("catalog").await.unwrap();
        }
        let error = supervisor.start("catalog").await.unwrap_err();
        assert!(
            matches!(error, ProcessError::TooOften { max: 2, .. }),
            "{error}"
        );
        assert_eq!(supervisor.running("catalog").unwrap(), None);
    }

    #[test]
    fn everything_wrong_with_a_spec_is_named() {
        let target = Target::service("catalog").unwrap();
        let mut spec = ProcessSpec::new(target, ["sleep", "1\0"], "relative.pid");
        spec.env.insert("A=B".to_owned(), String::new());
        let supervisor = ProcessSupervisor::new(Arc::new(RealClock));
        let error = supervisor.register("../x", spec).unwrap_err();
        assert_eq!(error.violations().len(), 5, "{error}");
    }
}
