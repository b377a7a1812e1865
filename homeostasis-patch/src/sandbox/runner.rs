//! The place where programs run on copies of projects.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use homeostasis_core::{Context, Violation};
use tokio::sync::{Semaphore, oneshot};

use super::bubblewrap;
use super::config::{Limits, SandboxConfig};
use super::copy_folder::HOME;
use super::environment::{Environment, machine_time_zone};
use super::error::SandboxError;
use super::layer::{Layer, NotInForce};
use super::project_copy::ProjectCopy;
use super::report::{Ending, SandboxReport};
use super::run::{Job, SandboxCommand};

/// Runs programs on copies of projects, some at a time.
///
/// # Guarantees
/// - Nothing runs without the configured minimum of layers.
/// - When [`run`](Sandbox::run) returns, no process of the program is left; when its future is dropped,
///   the program is killed within some 50 ms, and the copy stays until it is.
/// - In namespaces, a program dies with the thread that watches it, so also when the service is killed.
///   Without, a guard process ends its group then.
///
/// # Limits
/// - Namespaces, filters and limits are the kernel's: a hole in the kernel is a hole in the sandbox.
/// - Without namespaces a program reads what everybody may read below `/usr` and the like, and knows the
///   path of the copy; local sockets do not work.
/// - The disk is measured, not limited: a fast writer goes beyond its bound by what it writes in half a
///   second, and space of deleted files that are still open is bounded for each file only.
///
/// # Examples
/// ```no_run
/// # async fn example(cx: &homeostasis::core::Context) -> Result<(), Box<dyn std::error::Error>> {
/// use std::path::Path;
///
/// use homeostasis::patch::sandbox::{CopyConfig, ProjectCopy, Sandbox, SandboxCommand, SandboxConfig};
///
/// let sandbox = Sandbox::new(SandboxConfig::default())?;
/// let copy = ProjectCopy::make(Path::new("/srv/shop"), Path::new("/var/tmp"), &CopyConfig::default())?;
/// let tests = SandboxCommand::new(["python3", "-m", "unittest"]);
/// let report = sandbox.run(cx, &copy, &tests).await?;
/// if !report.ending.success() {
///     println!("{}: {}", report.ending, report.output);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sandbox {
    config: Arc<SandboxConfig>,
    machine: Arc<Machine>,
    slots: Arc<Semaphore>,
}

/// What this machine has.
#[derive(Debug)]
pub(super) struct Machine {
    /// Where it is, or why there are no namespaces.
    pub bubblewrap: Result<PathBuf, String>,
    pub prlimit: Option<PathBuf>,
}

impl Machine {
    /// What a program finds in its environment.
    pub(super) fn variables(
        &self,
        config: &SandboxConfig,
        project: &ProjectCopy,
        command: &SandboxCommand,
    ) -> BTreeMap<String, String> {
        let scratch = project.beside().join("scratch").display().to_string();
        let (home, temporary) = match self.bubblewrap {
            Ok(_) => (HOME.to_owned(), "/tmp".to_owned()),
            Err(_) => (scratch.clone(), scratch),
        };
        let mut variables = BTreeMap::from([
            ("HOME".to_owned(), home),
            ("TMPDIR".to_owned(), temporary),
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        variables.extend(config.variables.clone());
        variables.extend(command.variables.clone());
        variables
    }
}

impl Sandbox {
    /// Looks at what the machine has, which starts `bwrap` once, and takes `config`.
    ///
    /// # Errors
    /// - [`SandboxError::Config`]: values out of range, all at once.
    /// - [`SandboxError::Unprotected`]: namespaces or rlimits are in the minimum and missing here.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        config.validate().map_err(SandboxError::Config)?;
        let bubblewrap = bubblewrap::find(&config);
        let prlimit = Some(PathBuf::from("/usr/bin/prlimit")).filter(|path| path.is_file());
        let mut missing = Vec::new();
        let mut require = |layer: Layer, why: Option<String>| {
            if let Some(why) = why.filter(|_| config.minimum.contains(&layer)) {
                missing.push(NotInForce { layer, why });
            }
        };
        require(Layer::Namespaces, bubblewrap.as_ref().err().cloned());
        let no_prlimit = prlimit
            .is_none()
            .then(|| "there is no /usr/bin/prlimit".to_owned());
        require(Layer::Rlimits, no_prlimit);
        if !missing.is_empty() {
            return Err(SandboxError::Unprotected { missing });
        }
        Ok(Self {
            slots: Arc::new(Semaphore::new(config.parallel)),
            machine: Arc::new(Machine {
                bubblewrap,
                prlimit,
            }),
            config: Arc::new(config),
        })
    }

    /// How it is configured.
    pub fn config(&self) -> &SandboxConfig {
        &self.config
    }

    /// Whether programs run in namespaces here.
    pub fn has_namespaces(&self) -> bool {
        self.machine.bubblewrap.is_ok()
    }

    /// Where programs see `project`: in namespaces where the original stands, else where the copy does.
    pub fn place_of(&self, project: &ProjectCopy) -> PathBuf {
        if self.has_namespaces() {
            project.source().to_owned()
        } else {
            project.path()
        }
    }

    /// Runs `command` on `project`, when fewer than `parallel` programs run.
    ///
    /// It may take the time of its limits or what the context has left, whichever is less.
    /// In namespaces the copy stands where the project does, so that absolute paths mean what they mean
    /// to the service.
    ///
    /// # Errors
    /// - [`SandboxError::Config`]: no program, limits out of range, a folder that leaves the project.
    /// - [`SandboxError::Unprotected`]: a layer of the minimum does not hold.
    /// - [`SandboxError::NotStarted`]: the context was cancelled or has no time left.
    /// - [`SandboxError::Start`]: the machine refused.
    ///
    /// # Cancel safety
    /// Dropping the future kills the program.
    pub async fn run(
        &self,
        cx: &Context,
        project: &ProjectCopy,
        command: &SandboxCommand,
    ) -> Result<SandboxReport, SandboxError> {
        validate(command)?;
        let slots = Arc::clone(&self.slots);
        let mut cancelled = std::pin::pin!(cx.cancellation().cancelled());
        let slot = either(&mut cancelled, slots.acquire_owned()).await;
        let (Some(Ok(slot)), false) = (slot, cx.cancellation().is_cancelled()) else {
            return Err(SandboxError::NotStarted("cancelled"));
        };
        let mut command = command.clone();
        if let Some(left) = cx.remaining() {
            command.limits.time = command.limits.time.min(left);
        }
        if command.limits.time.is_zero() {
            return Err(SandboxError::NotStarted("the deadline has passed"));
        }
        let stop = StopOnDrop(Arc::default());
        let job = Job {
            config: Arc::clone(&self.config),
            machine: Arc::clone(&self.machine),
            project: project.clone(),
            command,
            stop: Arc::clone(&stop.0),
        };
        let mut ran = std::pin::pin!(on_thread(move || {
            let _slot = slot;
            job.run()
        }));
        if let Some(ran) = either(&mut cancelled, &mut ran).await {
            return ran?;
        }
        stop.0.store(true, Ordering::SeqCst);
        ran.await?
    }

    /// What a program in this sandbox finds around it, with what `version` (such as `python3 --version`)
    /// prints first as the version of the interpreter.
    ///
    /// # Errors
    /// As [`run`](Self::run). A `version` that fails is no error: the version is then not known.
    pub async fn environment(
        &self,
        cx: &Context,
        project: &ProjectCopy,
        version: &[&str],
    ) -> Result<Environment, SandboxError> {
        let command = SandboxCommand::new(version.iter().copied()).within(Limits::analysis());
        let report = self.run(cx, project, &command).await?;
        let first = report
            .output
            .lines()
            .next()
            .map(|line| line.trim().to_owned());
        let interpreter = first.filter(|_| report.ending == Ending::Exited(0));
        let variables = self.machine.variables(&self.config, project, &command);
        Ok(Environment::new(
            &variables,
            interpreter,
            machine_time_zone(),
        ))
    }
}

/// What `work` gives, done on a thread of its own.
pub(crate) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SandboxError> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new()
        .name("sandbox".to_owned())
        .spawn(move || drop(sender.send(work())))
        .map_err(SandboxError::start("start a thread"))?;
    receiver.await.map_err(|_| {
        let lost = std::io::Error::other("the thread ended without an answer");
        SandboxError::start("work on a thread")(lost)
    })
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What `future` gives, or `None` if `cancelled` is first.
async fn either<T>(
    mut cancelled: impl Future<Output = ()> + Unpin,
    future: impl Future<Output = T>,
) -> Option<T> {
    use std::task::Poll;
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        std::pin::Pin::new(&mut cancelled).poll(cx).map(|()| None)
    })
    .await
}

fn validate(command: &SandboxCommand) -> Result<(), SandboxError> {
    let mut violations = command.limits.violations();
    if command.argv.first().is_none_or(String::is_empty) {
        violations.push(Violation::new("argv", "", "a program and its arguments"));
    }
    if command.argv.iter().any(|argument| argument.contains('\0')) {
        violations.push(Violation::new(
            "argv",
            format!("{:?}", command.argv),
            "no NUL",
        ));
    }
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !command.folder.components().all(inside) {
        let value = command.folder.display();
        violations.push(Violation::new(
            "folder",
            value,
            "a folder below the project",
        ));
    }
    for (name, value) in &command.variables {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let expected = "a name without `=`, and no NUL in name or value";
            violations.push(Violation::new("variables", name, expected));
        }
    }
    violations.into_result(()).map_err(SandboxError::Config)
}
