//! One program: started behind its walls, watched, and ended with all it started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use wait4::Wait4;

use super::bubblewrap;
use super::cgroup::Cgroup;
use super::config::{Limits, SandboxConfig};
use super::error::SandboxError;
use super::guard::{GATE, Guard, open_gate};
use super::layer::{Layer, Layers, NotInForce};
use super::output::Output;
use super::process_tree::held;
use super::project_copy::ProjectCopy;
use super::report::{Bound, Ending, SandboxReport};
use super::runner::Machine;
use super::seccomp::{self, Filtered};
use super::usage::usage;
use super::walls;

/// A program yields to the service it is to heal.
const NICE: &str = "/usr/bin/nice";

/// Takes its capabilities from root where there are no namespaces.
const SETPRIV: &str = "/usr/bin/setpriv";

/// How often a running program is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long the dead may take to be gone.
const BURIAL: Duration = Duration::from_secs(5);

/// How often the copy is measured, at most.
const DISK_TICK: Duration = Duration::from_millis(500);

/// New files and folders beyond this count as too much disk.
const MAX_NEW_FILES: u64 = 200_000;

/// What is run, where, and with how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxCommand {
    /// The program and its arguments; no shell reads them. A name without slash is looked up on the
    /// `PATH` of the sandbox; a relative one with slash starts in `folder`.
    pub argv: Vec<String>,
    /// The folder it starts in, below the top of the project; default the top.
    #[serde(default)]
    pub folder: PathBuf,
    /// Variables beside those of the sandbox; default none.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// What it may use; default [`Limits::testing`].
    #[serde(default)]
    pub limits: Limits,
}

impl SandboxCommand {
    /// `argv` at the top of the project, with the limits of tests.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            folder: PathBuf::new(),
            variables: BTreeMap::new(),
            limits: Limits::testing(),
        }
    }

    /// The same with `limits`.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// Everything one run needs, owned, because it outlives a caller that goes away.
#[derive(Debug)]
pub(super) struct Job {
    pub config: Arc<SandboxConfig>,
    pub machine: Arc<Machine>,
    pub project: ProjectCopy,
    pub command: SandboxCommand,
    /// Set when nobody waits any more.
    pub stop: Arc<AtomicBool>,
}

impl Job {
    /// Runs to the end. To be called on a thread of its own: its walls stay.
    #[expect(clippy::disallowed_methods, reason = "a real process needs real time")]
    pub(super) fn run(self) -> Result<SandboxReport, SandboxError> {
        let mut layers = Layers::default();
        let started = self.start(&mut layers)?;
        let began = Instant::now();
        let mut running = started;
        let stopped = self.watch(&mut running, began);
        let took = began.elapsed();
        let ended = running.end(stopped.is_some())?;
        let (output, output_bytes) = running.output.finish(Duration::from_secs(1));
        if stopped.is_none() && !ended.ran {
            let what = format!("bubblewrap did not start the program: {}", output.trim());
            let source = io::Error::other(ended.status.to_string());
            return Err(SandboxError::Start { what, source });
        }
        let ending = stopped.unwrap_or_else(|| match ended.status.code() {
            Some(code) => Ending::Exited(code),
            None => Ending::Signaled(ended.status.signal().unwrap_or_default()),
        });
        Ok(SandboxReport {
            ending,
            took,
            cpu: ended.cpu,
            output,
            output_bytes,
            layers,
        })
    }

    fn start(&self, layers: &mut Layers) -> Result<Running, SandboxError> {
        let (reader, writer) = io::pipe().map_err(SandboxError::start("make a pipe"))?;
        layers.held(Layer::Watch, "time, memory, tasks, output and disk of all");
        let running = if let Ok(bwrap) = &self.machine.bubblewrap {
            self.start_in_namespaces(bwrap, writer, reader, layers)
        } else {
            self.start_in_group(writer, reader, layers)
        };
        running.inspect(|_| tracing::debug!(argv = ?self.command.argv, "sandboxed program started"))
    }

    fn start_in_namespaces(
        &self,
        bwrap: &Path,
        output: PipeWriter,
        reader: PipeReader,
        layers: &mut Layers,
    ) -> Result<Running, SandboxError> {
        layers.held(
            Layer::Namespaces,
            "users, processes, mounts, network, System V objects and host name of its own; it writes on the copy and on scratch in memory",
        );
        let filters = match seccomp::programs(Filtered::InNamespaces) {
            Ok(programs) => {
                layers.held(
                    Layer::Seccomp,
                    "other processes, mounts, namespaces, keys, clock, rare sockets",
                );
                programs.to_vec()
            }
            Err(why) => {
                layers.missing(Layer::Seccomp, why);
                Vec::new()
            }
        };
        let limited = self.rlimits(layers, true);
        let cgroup = Cgroup::make(&self.config.cgroups, &self.command.limits);
        match &cgroup {
            Ok(group) => layers.held(Layer::Cgroup, group.how.clone()),
            Err(why) => layers.missing(Layer::Cgroup, why.clone()),
        }
        match walls::scopes() {
            Ok(how) => layers.held(Layer::Landlock, how),
            Err(why) => layers.missing(Layer::Landlock, why),
        }
        self.require(layers)?;

        let mut mappings = Vec::new();
        for (program, child_fd) in filters.iter().zip(4..) {
            let (read, mut write) = io::pipe().map_err(SandboxError::start("make a pipe"))?;
            // Some kilobytes at most, which a pipe takes without a reader.
            write
                .write_all(&seccomp::bytes(program))
                .map_err(SandboxError::start("write the filter"))?;
            mappings.push(FdMapping {
                parent_fd: read.into(),
                child_fd,
            });
        }
        let descriptors: Vec<i32> = mappings.iter().map(|mapping| mapping.child_fd).collect();
        let (status, theirs) = io::pipe().map_err(SandboxError::start("make a pipe"))?;
        mappings.push(FdMapping {
            parent_fd: theirs.into(),
            child_fd: 3,
        });
        let mut argv: Vec<OsString> = Vec::new();
        if let Ok(group) = &cgroup {
            argv.extend(["/bin/sh", "-c", JOIN, "sh"].map(OsString::from));
            argv.extend(group.doors().map(OsString::from));
            argv.push("--".into());
        }
        argv.push(bwrap.into());
        let folder = &self.command.folder;
        argv.extend(bubblewrap::arguments(
            &self.config,
            &self.project,
            folder,
            &descriptors,
            3,
        ));
        argv.extend(["/bin/sh", "-c", GATE, "sh"].map(OsString::from));
        argv.extend(limited);
        let mut command = self.prepare(&argv, output)?;
        let (ours, theirs) = UnixStream::pair().map_err(SandboxError::start("make a socket"))?;
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let guard = Guard::start()?;
        command.process_group(guard.group()?);
        command.fd_mappings(mappings).map_err(|error| {
            SandboxError::start("hand over descriptors")(io::Error::other(error))
        })?;
        let child = command
            .spawn()
            .map_err(SandboxError::start("start bubblewrap"))?;
        // Our ends of its descriptors go, so that we see when it closes its own.
        drop(command);
        let mut status = BufReader::new(status);
        let init = first_process(&mut status);
        let running = Running {
            root: child.id(),
            pidfd: open(child.id())?,
            output: Output::of(reader).map_err(SandboxError::start("read the output"))?,
            child,
            hold: Hold::Namespaces {
                init,
                status,
                _cgroup: cgroup.ok(),
                _guard: guard,
            },
            is_waited_for: false,
        };
        open_gate(ours).map_err(SandboxError::start("wait for the sandbox"))?;
        Ok(running)
    }

    fn start_in_group(
        &self,
        output: PipeWriter,
        reader: PipeReader,
        layers: &mut Layers,
    ) -> Result<Running, SandboxError> {
        if let Err(why) = &self.machine.bubblewrap {
            layers.missing(Layer::Namespaces, why.clone());
        }
        layers.missing(
            Layer::Cgroup,
            "a group is joined from outside of namespaces only",
        );
        let mut limited: Vec<OsString> = Vec::new();
        if rustix::process::getuid().is_root() && Path::new(SETPRIV).is_file() {
            limited
                .extend([SETPRIV, "--bounding-set=-all", "--inh-caps=-all", "--"].map(Into::into));
        }
        limited.extend(self.rlimits(layers, false));
        let guard = Guard::start()?;
        let group = guard.id();
        let joined = guard.group()?;
        // On a thread of its own, for whoever watches must go on reading `/proc` and sending signals.
        let walled = thread::scope(|scope| {
            thread::Builder::new()
                .name("sandbox-start".to_owned())
                .spawn_scoped(scope, || {
                    self.spawn_walled(joined, &limited, output, layers)
                })
                .map_err(SandboxError::start("start a thread"))?
                .join()
                .unwrap_or_else(|_| {
                    let lost = io::Error::other("the thread panicked");
                    Err(SandboxError::start("start the program")(lost))
                })
        });
        let child = walled?;
        Ok(Running {
            root: group,
            pidfd: open(child.id())?,
            output: Output::of(reader).map_err(SandboxError::start("read the output"))?,
            child,
            hold: Hold::Group(guard),
            is_waited_for: false,
        })
    }

    /// Walls this thread in and starts the program from it.
    fn spawn_walled(
        &self,
        group: i32,
        argv: &[OsString],
        output: PipeWriter,
        layers: &mut Layers,
    ) -> Result<Child, SandboxError> {
        let scratch = self.project.beside().join("scratch");
        let keeps_capabilities =
            rustix::process::getuid().is_root() && !Path::new(SETPRIV).is_file();
        match walls::files(&self.config.read_only, &[self.project.path(), scratch]) {
            _ if keeps_capabilities => layers.missing(
                Layer::Landlock,
                format!("it would hold root with its capabilities: there is no {SETPRIV}"),
            ),
            Ok(how) => layers.held(Layer::Landlock, how),
            Err(why) => layers.missing(Layer::Landlock, why),
        }
        let filtered = Filtered::InGroup(group.unsigned_abs());
        match seccomp::programs(filtered).and_then(|all| walls::filter(&all)) {
            Ok(()) => layers.held(
                Layer::Seccomp,
                "other processes, mounts, namespaces, keys, clock, all sockets, leaving the process group",
            ),
            Err(why) => layers.missing(Layer::Seccomp, why),
        }
        self.require(layers)?;
        let mut command = self.prepare(argv, output)?;
        command.process_group(group);
        command
            .spawn()
            .map_err(SandboxError::start("start the program"))
    }

    /// The program behind `prlimit`, if there is one.
    fn rlimits(&self, layers: &mut Layers, namespaces: bool) -> Vec<OsString> {
        let mut argv: Vec<OsString> = Vec::new();
        if Path::new(NICE).is_file() {
            argv.extend([NICE, "-n", "10"].map(OsString::from));
        }
        if let Some(prlimit) = &self.machine.prlimit {
            let limits = &self.command.limits;
            let cores = thread::available_parallelism().map_or(1, usize::from);
            let cpu = limits.time.as_secs() * u64::try_from(cores).unwrap_or(1) + 1;
            argv.push(prlimit.into());
            let mut add = |name: &str, value: u64| argv.push(format!("--{name}={value}").into());
            add("core", 0);
            add("nofile", 4096);
            add("cpu", cpu);
            add("data", limits.memory_bytes);
            add("fsize", limits.disk_bytes);
            let mut how = "memory, file size, CPU time and descriptors of each process".to_owned();
            // Outside of namespaces this would count what the service itself runs.
            if namespaces {
                add("nproc", u64::from(limits.tasks) + 2);
                how.push_str(if rustix::process::getuid().is_root() {
                    "; the kernel does not bound the tasks of root"
                } else {
                    ", tasks of all"
                });
            }
            argv.push("--".into());
            layers.held(Layer::Rlimits, how);
        } else {
            layers.missing(Layer::Rlimits, "there is no /usr/bin/prlimit (util-linux)");
        }
        argv.extend(self.command.argv.iter().map(OsString::from));
        argv
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the runner of sandboxed programs"
    )]
    fn prepare(&self, argv: &[OsString], output: PipeWriter) -> Result<Command, SandboxError> {
        let errors = output
            .try_clone()
            .map_err(SandboxError::start("share the pipe"))?;
        let (program, arguments) = argv.split_first().ok_or_else(|| {
            SandboxError::start("start nothing")(io::Error::from(io::ErrorKind::InvalidInput))
        })?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(
                self.machine
                    .variables(&self.config, &self.project, &self.command),
            )
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        if self.machine.bubblewrap.is_err() {
            command.current_dir(self.project.path().join(&self.command.folder));
        }
        Ok(command)
    }

    fn require(&self, layers: &Layers) -> Result<(), SandboxError> {
        let missing: Vec<NotInForce> = layers
            .missing
            .iter()
            .filter(|layer| self.config.minimum.contains(&layer.layer))
            .cloned()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(SandboxError::Unprotected { missing })
    }

    /// Looks at it until it ends; `Some` if we must end it.
    #[expect(clippy::disallowed_methods, reason = "a real process needs real time")]
    fn watch(&self, running: &mut Running, began: Instant) -> Option<Ending> {
        let limits = &self.command.limits;
        let folder = self.project.beside();
        let before = usage(folder);
        let mut measure_at = began + DISK_TICK;
        loop {
            let left = limits.time.saturating_sub(began.elapsed());
            if ended_within(&running.pidfd, TICK.min(left)) {
                return None;
            }
            if self.stop.load(Ordering::SeqCst) {
                return Some(Ending::Cancelled);
            }
            // The first process of a namespace and `bwrap` itself are no tasks of the program.
            let tasks = u64::from(limits.tasks) + 2;
            let held = held(running.root, limits.memory_bytes, tasks);
            let bound = if began.elapsed() >= limits.time {
                Bound::Time
            } else if running.output.total() > limits.output_bytes {
                Bound::Output
            } else if held.tasks > tasks {
                Bound::Tasks
            } else if held.resident_bytes > limits.memory_bytes {
                Bound::Memory
            } else if Instant::now() >= measure_at {
                let measuring = Instant::now();
                let now = usage(folder);
                // A large tree is measured less often, a twentieth of the time at most.
                measure_at = Instant::now() + DISK_TICK.max(measuring.elapsed() * 20);
                // What lies too deep to be measured may be of any size.
                if !now.too_deep
                    && now.bytes.saturating_sub(before.bytes) <= limits.disk_bytes
                    && now.files.saturating_sub(before.files) <= MAX_NEW_FILES
                {
                    continue;
                }
                Bound::Disk
            } else {
                continue;
            };
            return Some(Ending::Stopped(bound));
        }
    }
}

/// Joins the groups before `--`, then becomes the program after it.
const JOIN: &str =
    r#"while [ "$1" != -- ]; do echo 0 > "$1" || exit 125; shift; done; shift; exec "$@""#;

#[derive(Debug)]
struct Running {
    child: Child,
    /// Below whom all processes are.
    root: u32,
    pidfd: OwnedFd,
    output: Output,
    hold: Hold,
    /// The child's number may name another process by now, which `child` does not know.
    is_waited_for: bool,
}

/// What holds all processes together.
#[derive(Debug)]
enum Hold {
    Namespaces {
        /// The first process of the namespace: none outlives it.
        init: Option<OwnedFd>,
        status: BufReader<PipeReader>,
        _cgroup: Option<Cgroup>,
        /// Ends a `bwrap` whose service was killed before it bound its life to ours.
        _guard: Guard,
    },
    Group(Guard),
}

struct Ended {
    status: ExitStatus,
    /// User and system time of it and of all it waited for.
    cpu: Duration,
    /// Whether the program itself was started.
    ran: bool,
}

impl Running {
    /// Kills what is left and waits until nothing is.
    fn end(&mut self, kill: bool) -> Result<Ended, SandboxError> {
        match &mut self.hold {
            Hold::Namespaces {
                init, status: said, ..
            } => {
                if let Some(init) = init.as_ref().filter(|_| kill) {
                    let _ = pidfd_send_signal(init, Signal::KILL);
                }
                if (kill && init.is_none()) || !ended_within(&self.pidfd, BURIAL) {
                    let _ = self.child.kill();
                }
                let (status, cpu) = wait(&mut self.child)?;
                self.is_waited_for = true;
                if let Some(init) = init {
                    if !ended_within(&*init, Duration::ZERO) {
                        let _ = pidfd_send_signal(&*init, Signal::KILL);
                    }
                    ended_within(&*init, BURIAL);
                }
                let ran = said
                    .lines()
                    .map_while(Result::ok)
                    .any(|line| line.contains("\"exit-code\""));
                Ok(Ended { status, cpu, ran })
            }
            Hold::Group(guard) => {
                guard.kill();
                let (status, cpu) = wait(&mut self.child)?;
                self.is_waited_for = true;
                let ran = true;
                Ok(Ended { status, cpu, ran })
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only an error on the way leaves something to do.
        if !self.is_waited_for && matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// How it ended, and the CPU time of it and of all it waited for.
fn wait(child: &mut Child) -> Result<(ExitStatus, Duration), SandboxError> {
    loop {
        match child.wait4() {
            Ok(ended) => return Ok((ended.status, ended.rusage.utime + ended.rusage.stime)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SandboxError::start("wait for the program")(error)),
        }
    }
}

fn open(pid: u32) -> Result<OwnedFd, SandboxError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
    pid.and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
        .map_err(SandboxError::start("watch the program"))
}

/// Whether the process ends within `patience`.
fn ended_within(pidfd: impl AsFd, patience: Duration) -> bool {
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    matches!(poll(&mut polled, Some(&timeout)), Ok(1..))
}

/// The first process of the namespace, from the first line `bwrap` says; `None` if it could make none.
fn first_process(status: &mut impl BufRead) -> Option<OwnedFd> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Begun {
        child_pid: u32,
    }
    let mut line = String::new();
    status.read_line(&mut line).ok()?;
    let begun: Begun = serde_json::from_str(&line).ok()?;
    open(begun.child_pid).ok()
}
