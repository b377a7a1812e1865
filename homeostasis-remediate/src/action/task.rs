//! Supervised tasks of the host, and `restart_task`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{
    BoxError, BoxFuture, Cancellation, Clock, ConfigError, Context, ErrorKind, Target, Timestamp,
    timeout,
};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::flag::new_name;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, ProbeAnswer,
    RestartIntensity, unknown_name,
};

/// How long a task has to end after it was asked to, before it is dropped at its next await.
const GRACE: Duration = Duration::from_secs(5);

/// Why a task is not running.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// Nobody registered it.
    #[error("no task {name:?} is registered")]
    Unknown {
        /// The name.
        name: String,
    },
    /// It was restarted too often: something else is wrong. It stays down.
    #[error("{name:?} was started {max} times within {period:?}: restarting does not help")]
    TooOften {
        /// The name.
        name: String,
        /// How often it may be.
        max: u32,
        /// Within which time.
        period: Duration,
    },
}

pub(super) type Factory =
    Arc<dyn Fn(Cancellation) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// Keeps tasks of the host running, one for one: a task that fails or panics is started again and
/// the others are left alone; a task that ends well has ended. Tasks that belong together are one task
/// here: a [`Supervisor`](super::Supervisor), which its factory clones and runs. Cheap to clone.
///
/// ```
/// use homeostasis::core::{ManualClock, Target, Timestamp};
/// use homeostasis::remediate::action::{RestartIntensity, TaskSupervisor};
/// use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let tasks = TaskSupervisor::new(clock, tokio::runtime::Handle::current());
/// let target = Target::service("orders")?;
/// tasks.supervise("mailer", target, RestartIntensity::default(), |stop| {
///     Box::pin(async move {
///         stop.cancelled().await;
///         Ok(())
///     })
/// })?;
/// assert!(tasks.is_running("mailer")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TaskSupervisor {
    clock: Arc<dyn Clock>,
    runtime: Handle,
    /// Tells this supervisor from that of an earlier process.
    epoch: String,
    tasks: Arc<Mutex<BTreeMap<String, Arc<Supervised>>>>,
}

struct Supervised {
    name: String,
    target: Target,
    intensity: RestartIntensity,
    factory: Factory,
    /// Held while the task is replaced by request.
    busy: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// How often it was started.
    generation: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    starts: VecDeque<Timestamp>,
    stop: Cancellation,
    /// The task that runs and restarts it; ends when it ended well or restarted too often.
    keeper: Option<JoinHandle<()>>,
    gave_up: bool,
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised")
            .field("name", &self.name)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl TaskSupervisor {
    /// A supervisor that runs tasks on `runtime` and counts restarts by `clock`.
    pub fn new(clock: Arc<dyn Clock>, runtime: Handle) -> Self {
        let epoch = format!("{}@{}", std::process::id(), clock.now().as_nanos());
        Self {
            clock,
            runtime,
            epoch,
            tasks: Arc::default(),
        }
    }

    /// Starts a task and keeps it running. `factory` makes it anew for each start; it should end
    /// when its cancellation asks for it.
    ///
    /// # Errors
    /// If the name is taken or not a plain word.
    pub fn supervise(
        &self,
        name: impl Into<String>,
        target: Target,
        intensity: RestartIntensity,
        factory: impl Fn(Cancellation) -> BoxFuture<'static, Result<(), BoxError>>
        + Send
        + Sync
        + 'static,
    ) -> Result<(), ConfigError> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let name = new_name("tasks", name.into(), &tasks)?;
        let task = Arc::new(Supervised {
            name: name.clone(),
            target,
            intensity,
            factory: Arc::new(factory),
            busy: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            generation: watch::Sender::new(0),
        });
        tasks.insert(name, Arc::clone(&task));
        drop(tasks);
        self.start(&task);
        Ok(())
    }

    /// Whether the task is kept running.
    ///
    /// # Errors
    /// If it is not registered, or was given up because it was restarted too often.
    pub fn is_running(&self, name: &str) -> Result<bool, TaskError> {
        let task = self.task(name)?;
        let state = task.lock();
        if state.gave_up {
            return Err(task.too_often());
        }
        Ok(state
            .keeper
            .as_ref()
            .is_some_and(|keeper| !keeper.is_finished()))
    }

    /// Asks the task to end, drops it if it does not within 5 s, and starts it anew.
    ///
    /// # Errors
    /// If it is not registered, or was restarted too often; it is then down.
    pub async fn restart(&self, name: &str) -> Result<(), TaskError> {
        let task = self.task(name)?;
        let _busy = task.busy.lock().await;
        let (keeper, stop) = {
            let mut state = task.lock();
            (state.keeper.take(), state.stop.clone())
        };
        stop.cancel();
        if let Some(mut keeper) = keeper
            && timeout(&*self.clock, GRACE, &mut keeper).await.is_err()
        {
            keeper.abort();
            // What it ended with does not matter; that it ended does.
            let _ = keeper.await;
        }
        let before = *task.generation.borrow();
        let mut generation = task.generation.subscribe();
        self.start(&task);
        // The keeper starts it, or gives up; both are told.
        let _ = generation.wait_for(|now| *now > before).await;
        if task.lock().gave_up {
            Err(task.too_often())
        } else {
            Ok(())
        }
    }

    /// Asks every task to end; none is started again.
    pub fn stop_all(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks.values() {
            task.lock().stop.cancel();
        }
    }

    fn task(&self, name: &str) -> Result<Arc<Supervised>, TaskError> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks
            .get(name)
            .map(Arc::clone)
            .ok_or_else(|| TaskError::Unknown {
                name: name.to_owned(),
            })
    }

    fn names(&self) -> Vec<String> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.keys().cloned().collect()
    }

    fn start(&self, task: &Arc<Supervised>) {
        let stop = Cancellation::default();
        let keeper = keep(
            Arc::clone(task),
            Arc::clone(&self.clock),
            self.runtime.clone(),
            stop.clone(),
        );
        let mut state = task.lock();
        state.stop = stop;
        state.gave_up = false;
        state.keeper = Some(self.runtime.spawn(keeper));
    }
}

impl Supervised {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn too_often(&self) -> TaskError {
        TaskError::TooOften {
            name: self.name.clone(),
            max: self.intensity.max,
            period: self.intensity.period,
        }
    }
}

/// Aborts a task when it is dropped, so that aborting the keeper ends what it keeps.
pub(super) struct AbortOnDrop(pub(super) JoinHandle<Result<(), BoxError>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs the task until it ends well, is asked to stop, or failed too often.
async fn keep(task: Arc<Supervised>, clock: Arc<dyn Clock>, runtime: Handle, stop: Cancellation) {
    while !stop.is_cancelled() {
        let admitted = {
            let mut state = task.lock();
            let admitted = task.intensity.admit(&mut state.starts, clock.now());
            state.gave_up = !admitted;
            admitted
        };
        if !admitted {
            tracing::error!(task = task.name, "restarted too often, it stays down");
            task.generation.send_modify(|generation| *generation += 1);
            return;
        }
        // A task of its own: a panic ends it and not its keeper.
        let mut running = AbortOnDrop(runtime.spawn((task.factory)(stop.clone())));
        task.generation.send_modify(|generation| *generation += 1);
        match (&mut running.0).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(task = task.name, %error, "a supervised task failed"),
            Err(error) => tracing::warn!(task = task.name, %error, "a supervised task ended"),
        }
    }
}

/// Restarts a supervised task of this process.
///
/// Parameter: `task` (a registered name). It is probeable: it happened if the task was started more
/// often than before, or if the whole process is another one.
#[derive(Debug)]
pub struct RestartTask {
    spec: ActionSpec,
    tasks: TaskSupervisor,
}

impl RestartTask {
    /// The action for the tasks of `tasks`.
    pub fn new(tasks: TaskSupervisor) -> Self {
        let spec = ActionSpec::new("restart a supervised task of this process")
            .with_params([Param::required("task", ParamKind::Name, "which task")])
            .with_effect(EffectClass::Probeable)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Nothing);
        Self { spec, tasks }
    }

    fn now(&self, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let task = self
            .tasks
            .task(call.text("task")?)
            .map_err(|_| ActionError::argument("task", "a registered task"))?;
        let generation = *task.generation.borrow();
        Ok(json!({ "epoch": self.tasks.epoch, "generation": generation }))
    }
}

#[async_trait]
impl Action for RestartTask {
    fn name(&self) -> &'static str {
        "restart_task"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        args.get("task")
            .and_then(Value::as_str)
            .and_then(|name| self.tasks.task(name).ok())
            .map_or_else(|| target.clone(), |task| task.target.clone())
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "task", self.tasks.names().iter())
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        self.now(call)
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let now = self.now(call)?;
        if call.attempt > 1 && now != *call.captured {
            return Ok(now);
        }
        match self.tasks.restart(call.text("task")?).await {
            Ok(()) => self.now(call),
            Err(error) => Err(ActionError::Failed {
                what: "restarting the task".to_owned(),
                kind: ErrorKind::Permanent,
                source: Some(error.into()),
            }),
        }
    }

    async fn probe(&self, _: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        let name = call.text("task").unwrap_or_default();
        match (self.now(call), self.tasks.is_running(name)) {
            (Err(error), _) => ProbeAnswer::CannotTell(error.report().to_string()),
            (Ok(now), Ok(true)) if now != *call.captured => ProbeAnswer::Happened(now),
            _ => ProbeAnswer::DidNot,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::action::laws::{self, RealClock};

    fn supervisor() -> TaskSupervisor {
        TaskSupervisor::new(Arc::new(RealClock), Handle::current())
    }

    fn orders() -> Target {
        Target::service("orders").unwrap()
    }

    async fn until(what: impl Fn() -> bool) {
        while !what() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_task_that_fails_or_panics_is_started_again_and_one_that_ends_is_not() {
        let tasks = supervisor();
        let starts = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&starts);
        tasks
            .supervise("t", orders(), RestartIntensity::default(), move |_| {
                let n = count.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    match n {
                        0 => Err("it failed".into()),
                        1 => panic!("it panicked"),
                        _ => Ok(()),
                    }
                })
            })
            .unwrap();
        until(|| tasks.is_running("t") == Ok(false)).await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_task_that_always_fails_is_given_up() {
        let tasks = supervisor();
        let intensity = RestartIntensity {
            max: 3,
            ..RestartIntensity::default()
        };
        let starts = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&starts);
        tasks
            .supervise("t", orders(), intensity, move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                Box::pin(std::future::ready(Err("always".into())))
            })
            .unwrap();
        until(|| tasks.is_running("t").is_err()).await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        let error = tasks.restart("t").await.unwrap_err();
        assert!(
            matches!(error, TaskError::TooOften { max: 3, .. }),
            "{error}"
        );
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_listen_is_dropped_after_its_grace() {
        struct Dropped(Arc<AtomicU32>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let tasks = supervisor();
        let dropped = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&dropped);
        tasks
            .supervise("t", orders(), RestartIntensity::default(), move |_| {
                let guard = Dropped(Arc::clone(&count));
                Box::pin(async move {
                    std::future::pending::<()>().await;
                    drop(guard);
                    Ok(())
                })
            })
            .unwrap();
        until(|| {
            tasks
                .task("t")
                .is_ok_and(|task| *task.generation.borrow() == 1)
        })
        .await;
        tasks.restart("t").await.unwrap();
        until(|| dropped.load(Ordering::SeqCst) == 1).await;
        assert_eq!(tasks.is_running("t"), Ok(true));
    }

    #[tokio::test]
    async fn a_restart_obeys_the_laws_and_leaves_the_others_alone() {
        let tasks = supervisor();
        for name in ["a", "b"] {
            tasks
                .supervise(name, orders(), RestartIntensity::default(), |stop| {
                    Box::pin(async move {
                        stop.cancelled().await;
                        Ok(())
                    })
                })
                .unwrap();
        }
        let generation = |name: &str| *tasks.task(name).unwrap().generation.borrow();
        until(|| generation("a") == 1 && generation("b") == 1).await;
        let action = RestartTask::new(tasks.clone());
        laws::repeat_and_undo(&action, &json!({"task": "a"}), || generation("a")).await;
        assert_eq!((generation("a"), generation("b")), (2, 1));
        tasks.stop_all();
        until(|| tasks.is_running("a") == Ok(false)).await;
    }
}
