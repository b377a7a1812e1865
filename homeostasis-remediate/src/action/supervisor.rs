//! Supervisors of several tasks that belong together, usable alone.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use homeostasis_core::{BoxError, BoxFuture, Cancellation, Clock, ConfigError, timeout};
use tokio::runtime::Handle;

use super::task::{AbortOnDrop, Factory};
use crate::action::{RestartIntensity, is_name};

/// How long a child has to end after it was asked to, when it does not say.
const GRACE: Duration = Duration::from_secs(5);

/// Who is started again with a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The child alone.
    OneForOne,
    /// All children: they cannot go on without each other.
    OneForAll,
    /// The child and those after it: they build on it, those before do not.
    RestForOne,
}

/// When a child is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Whenever it ends.
    Permanent,
    /// When it fails or panics; the default. When it ends well it has ended, until others are started
    /// again together with it.
    Transient,
    /// Never.
    Temporary,
}

/// One task of a [`Supervisor`].
#[derive(Clone)]
pub struct Child {
    name: String,
    restart: Restart,
    /// None waits for as long as it takes.
    grace: Option<Duration>,
    factory: Factory,
}

impl Child {
    /// A child that `factory` makes anew for each start; it should end when its cancellation asks
    /// for it, and is dropped at its next await if it does not within 5 s.
    pub fn new(
        name: impl Into<String>,
        factory: impl Fn(Cancellation) -> BoxFuture<'static, Result<(), BoxError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            restart: Restart::Transient,
            grace: Some(GRACE),
            factory: Arc::new(factory),
        }
    }

    /// The same, started again on these occasions.
    #[must_use]
    pub fn with_restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// The same with this time to end after it was asked to.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", &self.name)
            .field("restart", &self.restart)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// Restarting did not help: the children are stopped, and whoever runs the supervisor decides.
#[derive(Debug, thiserror::Error)]
#[error(
    "supervisor {supervisor:?} gave up: more than {max} restarts within {period:?}, the last for {child:?}"
)]
#[non_exhaustive]
pub struct GaveUp {
    /// The supervisor.
    pub supervisor: String,
    /// The child whose end was one too many.
    pub child: String,
    /// How many restarts were allowed.
    pub max: u32,
    /// Within which time.
    pub period: Duration,
    /// What it ended with.
    #[source]
    pub source: BoxError,
}

/// Keeps tasks running that belong together, as supervisors of Erlang/OTP do.
///
/// Children are started in the order in which they were added and stopped in reverse order. (Starting
/// is not waiting until one is ready.) When one fails or panics, its [`Strategy`] says who is stopped and
/// started again with it. All restarts of all children count together: one more than the intensity
/// allows, and it stops all children and gives up, which [`run`](Self::run) tells its owner. A supervisor
/// within another ([`into_child`](Self::into_child)) fails by that, so the trouble goes up one level:
/// there it is started again, with its restarts forgotten, and that counts.
///
/// Source: Erlang/OTP, *Supervisor Behaviour* and module `supervisor`. Deviations: it ends well when no
/// child is left; a task that was cut off by the end of the grace is dropped at its next await, because
/// nothing can end a task of Rust that does not yield.
///
/// ```
/// use homeostasis::core::{Cancellation, ManualClock, Timestamp};
/// use homeostasis::remediate::action::{Child, RestartIntensity, Strategy, Supervisor};
/// use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let runtime = tokio::runtime::Handle::current();
/// let supervisor = Supervisor::new("ingest", Strategy::RestForOne, clock, runtime)
///     .with_intensity(RestartIntensity { max: 2, ..RestartIntensity::default() })
///     .child(Child::new("reader", |_| Box::pin(async { Err("the socket is gone".into()) })))?
///     .child(Child::new("writer", |stop| Box::pin(async move { stop.cancelled().await; Ok(()) })))?;
/// let error = supervisor.run(&Cancellation::default()).await.unwrap_err();
/// assert_eq!((error.child.as_str(), error.max), ("reader", 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Supervisor {
    name: String,
    strategy: Strategy,
    intensity: RestartIntensity,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    children: Vec<Child>,
}

/// A child that runs.
struct Running {
    stop: Cancellation,
    task: AbortOnDrop,
}

/// What a child ended with; an error of a panic says so.
type Ended = Result<(), BoxError>;

impl Supervisor {
    /// A supervisor without children that runs them on `runtime`, each a task of its own, and counts
    /// restarts by `clock`; as often as [`RestartIntensity::default`] allows.
    pub fn new(
        name: impl Into<String>,
        strategy: Strategy,
        clock: Arc<dyn Clock>,
        runtime: Handle,
    ) -> Self {
        Self {
            name: name.into(),
            strategy,
            intensity: RestartIntensity::default(),
            clock,
            runtime,
            children: Vec::new(),
        }
    }

    /// The same with so many restarts of all children together; with 0 the first failure is the end.
    #[must_use]
    pub fn with_intensity(mut self, intensity: RestartIntensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// The same with one child more, started after those before.
    ///
    /// # Errors
    /// If its name is taken or not a plain word.
    pub fn child(mut self, child: Child) -> Result<Self, ConfigError> {
        let path = format!("supervisors.{}.children", self.name);
        let found = format!("{:?}", child.name);
        if !is_name(&child.name) {
            let expected = "a word of letters, digits, `.`, `_` and `-`";
            return Err(ConfigError::single(path, found, expected));
        }
        if self.children.iter().any(|other| other.name == child.name) {
            return Err(ConfigError::single(path, found, "each name once"));
        }
        self.children.push(child);
        Ok(self)
    }

    /// This supervisor as a child of another. It has the time its own children need to end.
    pub fn into_child(self) -> Child {
        Child {
            name: self.name.clone(),
            restart: Restart::Transient,
            grace: None,
            factory: Arc::new(move |stop| {
                let supervisor = self.clone();
                Box::pin(async move { Ok(supervisor.run(&stop).await?) })
            }),
        }
    }

    /// Runs the children until `stop` asks for the end or none is left.
    ///
    /// # Errors
    /// When it gives up; the children were stopped.
    ///
    /// # Cancel safety
    /// Dropping it drops every child at its next await, in no order.
    pub async fn run(&self, stop: &Cancellation) -> Result<(), GaveUp> {
        let mut restarts = VecDeque::new();
        let mut running: Vec<Option<Running>> = self.children.iter().map(|_| None).collect();
        self.start(&mut running, 0..self.children.len());
        while running.iter().any(Option::is_some) {
            let (idx, ended) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                ended = next_ended(&mut running) => ended,
            };
            let child = &self.children[idx];
            let source = match (child.restart, ended) {
                (Restart::Permanent, Ok(())) => "it ended".into(),
                (_, Ok(())) => continue,
                (_, Err(error)) => error,
            };
            tracing::warn!(supervisor = self.name, child = child.name, error = %source, "a child ended");
            if child.restart == Restart::Temporary {
                continue;
            }
            if !self.intensity.admit(&mut restarts, self.clock.now()) {
                self.stop(&mut running, 0).await;
                tracing::error!(supervisor = self.name, child = child.name, "gave up");
                return Err(GaveUp {
                    supervisor: self.name.clone(),
                    child: child.name.clone(),
                    max: self.intensity.max,
                    period: self.intensity.period,
                    source,
                });
            }
            let again = match self.strategy {
                Strategy::OneForOne => idx..idx + 1,
                Strategy::OneForAll => 0..self.children.len(),
                Strategy::RestForOne => idx..self.children.len(),
            };
            if self.strategy != Strategy::OneForOne {
                self.stop(&mut running, again.start).await;
                if stop.is_cancelled() {
                    break;
                }
            }
            // Temporary children are never started again, also not with others.
            let is_back = |child: &Child| child.restart != Restart::Temporary;
            self.start(
                &mut running,
                again.filter(|idx| is_back(&self.children[*idx])),
            );
        }
        self.stop(&mut running, 0).await;
        Ok(())
    }

    fn start(&self, running: &mut [Option<Running>], which: impl Iterator<Item = usize>) {
        for idx in which {
            let stop = Cancellation::default();
            let task = self
                .runtime
                .spawn((self.children[idx].factory)(stop.clone()));
            running[idx] = Some(Running {
                stop,
                task: AbortOnDrop(task),
            });
        }
    }

    /// Stops the children from `first` on, the last first, each when the one before has ended.
    async fn stop(&self, running: &mut [Option<Running>], first: usize) {
        for idx in (first..running.len()).rev() {
            let Some(mut child) = running[idx].take() else {
                continue;
            };
            child.stop.cancel();
            let task = &mut child.task.0;
            if let Some(grace) = self.children[idx].grace {
                if timeout(&*self.clock, grace, &mut *task).await.is_ok() {
                    continue;
                }
                tracing::warn!(
                    supervisor = self.name,
                    child = self.children[idx].name,
                    "dropped"
                );
                task.abort();
            }
            // What it ended with does not matter; that it ended does.
            let _ = task.await;
        }
    }
}

/// The first child that ended, taken out of `running`, and what it ended with.
async fn next_ended(running: &mut [Option<Running>]) -> (usize, Ended) {
    poll_fn(|cx| {
        for (idx, slot) in running.iter_mut().enumerate() {
            if let Some(child) = slot
                && let Poll::Ready(ended) = Pin::new(&mut child.task.0).poll(cx)
            {
                *slot = None;
                return Poll::Ready((idx, ended.unwrap_or_else(|error| Err(error.into()))));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::action::laws::RealClock;

    /// What happened, and by what each child is made to fail.
    #[derive(Default)]
    struct World {
        log: Mutex<Vec<String>>,
        fail: Vec<Arc<Notify>>,
    }

    impl World {
        fn new(n: usize) -> Arc<Self> {
            let fail = (0..n).map(|_| Arc::default()).collect();
            Arc::new(Self {
                fail,
                ..Self::default()
            })
        }

        fn tell(&self, what: String) {
            self.log.lock().unwrap().push(what);
        }

        /// A child that says when it starts, fails when it is told to, and says when it stops.
        fn child(self: &Arc<Self>, idx: usize) -> Child {
            let world = Arc::clone(self);
            Child::new(format!("c{idx}"), move |stop| {
                let world = Arc::clone(&world);
                Box::pin(async move {
                    world.tell(format!("+{idx}"));
                    tokio::select! {
                        () = world.fail[idx].notified() => Err("it was told to".into()),
                        () = stop.cancelled() => {
                            world.tell(format!("-{idx}"));
                            Ok(())
                        }
                    }
                })
            })
        }

        /// What happened since it was last asked, when it is as long as expected.
        async fn happened(&self, n: usize) -> String {
            while self.log.lock().unwrap().len() < n {
                tokio::task::yield_now().await;
            }
            // Whatever else is going to happen does.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            std::mem::take(&mut *self.log.lock().unwrap()).join(" ")
        }
    }

    fn supervisor(strategy: Strategy) -> Supervisor {
        Supervisor::new("s", strategy, Arc::new(RealClock), Handle::current())
    }

    #[expect(clippy::disallowed_methods, reason = "a test runs it beside itself")]
    fn spawn(
        supervisor: &Supervisor,
        stop: &Cancellation,
    ) -> tokio::task::JoinHandle<Result<(), GaveUp>> {
        let (supervisor, stop) = (supervisor.clone(), stop.clone());
        tokio::spawn(async move { supervisor.run(&stop).await })
    }

    #[tokio::test]
    async fn those_who_belong_together_are_stopped_in_reverse_and_started_in_order() {
        for strategy in [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ] {
            for n in 1..=4 {
                for failing in 0..n {
                    let world = World::new(n);
                    let mut all = supervisor(strategy);
                    for idx in 0..n {
                        all = all.child(world.child(idx)).unwrap();
                    }
                    let stop = Cancellation::default();
                    let run = spawn(&all, &stop);
                    let starts: Vec<_> = (0..n).map(|idx| format!("+{idx}")).collect();
                    assert_eq!(world.happened(n).await, starts.join(" "));
                    world.fail[failing].notify_one();
                    let again = match strategy {
                        Strategy::OneForOne => failing..failing + 1,
                        Strategy::OneForAll => 0..n,
                        Strategy::RestForOne => failing..n,
                    };
                    let mut expected: Vec<_> = again
                        .clone()
                        .rev()
                        .filter(|idx| *idx != failing)
                        .map(|idx| format!("-{idx}"))
                        .collect();
                    expected.extend(again.map(|idx| format!("+{idx}")));
                    let happened = world.happened(expected.len()).await;
                    assert_eq!(
                        happened,
                        expected.join(" "),
                        "{strategy:?} {failing} of {n}"
                    );
                    stop.cancel();
                    run.await.unwrap().unwrap();
                    let stops: Vec<_> = (0..n).rev().map(|idx| format!("-{idx}")).collect();
                    assert_eq!(world.happened(n).await, stops.join(" "));
                }
            }
        }
    }

    #[tokio::test]
    async fn restarts_of_all_children_count_together_and_one_too_many_stops_all() {
        let world = World::new(3);
        let intensity = RestartIntensity {
            max: 2,
            period: Duration::from_secs(3600),
        };
        let mut all = supervisor(Strategy::OneForOne).with_intensity(intensity);
        for idx in 0..3 {
            all = all.child(world.child(idx)).unwrap();
        }
        let run = spawn(&all, &Cancellation::default());
        assert_eq!(world.happened(3).await, "+0 +1 +2");
        for idx in [0, 2] {
            world.fail[idx].notify_one();
            assert_eq!(world.happened(1).await, format!("+{idx}"));
        }
        world.fail[1].notify_one();
        let error = run.await.unwrap().unwrap_err();
        assert_eq!((error.child.as_str(), error.max), ("c1", 2));
        assert_eq!(error.source.to_string(), "it was told to");
        assert_eq!(world.happened(2).await, "-2 -0");
    }

    #[tokio::test]
    async fn what_a_nested_supervisor_gives_up_goes_up_one_level() {
        let starts = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&starts);
        let inner = Supervisor::new(
            "inner",
            Strategy::OneForOne,
            Arc::new(RealClock),
            Handle::current(),
        )
        .with_intensity(RestartIntensity {
            max: 2,
            ..RestartIntensity::default()
        })
        .child(Child::new("bad", move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { panic!("it panicked") })
        }))
        .unwrap();
        let outer = supervisor(Strategy::OneForAll)
            .with_intensity(RestartIntensity {
                max: 3,
                ..RestartIntensity::default()
            })
            .child(inner.into_child())
            .unwrap();
        let error = outer.run(&Cancellation::default()).await.unwrap_err();
        assert_eq!(
            (error.supervisor.as_str(), error.child.as_str()),
            ("s", "inner")
        );
        let told = error.source.downcast_ref::<GaveUp>().unwrap();
        assert_eq!(
            (told.supervisor.as_str(), told.child.as_str()),
            ("inner", "bad")
        );
        assert!(
            told.source.to_string().contains("it panicked"),
            "{}",
            told.source
        );
        // Three starts each, one of the first time and three of the restarts.
        assert_eq!(starts.load(Ordering::SeqCst), 12);
    }

    #[tokio::test]
    async fn who_is_started_again_is_as_the_child_says() {
        for (restart, fails, n_starts) in [
            (Restart::Permanent, false, 3),
            (Restart::Permanent, true, 3),
            (Restart::Transient, false, 1),
            (Restart::Transient, true, 3),
            (Restart::Temporary, false, 1),
            (Restart::Temporary, true, 1),
        ] {
            let starts = Arc::new(AtomicU32::new(0));
            let count = Arc::clone(&starts);
            let child = Child::new("c", move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    if fails {
                        Err("it failed".into())
                    } else {
                        Ok(())
                    }
                })
            });
            let intensity = RestartIntensity {
                max: 2,
                ..RestartIntensity::default()
            };
            let one = supervisor(Strategy::RestForOne).with_intensity(intensity);
            let one = one.child(child.with_restart(restart)).unwrap();
            let ended = one.run(&Cancellation::default()).await;
            assert_eq!(ended.is_err(), n_starts == 3, "{restart:?} {fails}");
            assert_eq!(
                starts.load(Ordering::SeqCst),
                n_starts,
                "{restart:?} {fails}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_does_not_listen_is_dropped_before_the_one_below_is_stopped() {
        struct Dropped(Arc<World>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.tell("dropped".to_owned());
            }
        }
        let world = World::new(1);
        let deaf = Arc::clone(&world);
        let all = supervisor(Strategy::OneForAll)
            .child(world.child(0))
            .unwrap();
        let all = all.child(Child::new("deaf", move |_| {
            let guard = Dropped(Arc::clone(&deaf));
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(guard);
                Ok(())
            })
        }));
        let stop = Cancellation::default();
        let run = spawn(&all.unwrap(), &stop);
        assert_eq!(world.happened(1).await, "+0");
        stop.cancel();
        run.await.unwrap().unwrap();
        assert_eq!(world.happened(2).await, "dropped -0");
    }

    #[tokio::test]
    async fn a_name_stands_once_and_is_a_word() {
        let child = |name: &str| Child::new(name, |_| Box::pin(async { Ok(()) }));
        let one = supervisor(Strategy::OneForOne).child(child("a")).unwrap();
        assert!(one.clone().child(child("a")).is_err());
        assert!(one.child(child("../a")).is_err());
    }
}
