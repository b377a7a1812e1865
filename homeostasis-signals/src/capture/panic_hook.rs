//! Records panics before the host's own hook reports them.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use homeostasis_core::Clock;
use homeostasis_core::Target;
use homeostasis_core::signal::{ErrorEvent, Level, LogRecord, Signal, SignalSink};

use super::bounded::cut;
use super::context;
use super::environment::Environment;
use super::reentry::Capturing;
use crate::errors::panic_frames;

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send + 'static>;

/// A panic hook that records every panic as a fatal [`LogRecord`] with an [`ErrorEvent`] and then
/// calls the hook that was there before.
///
/// Nothing is installed unless [`PanicHook::install`] is called.
/// The record holds the message, the place (`file`, line, column, as the frame of the error), the
/// thread's name as field `thread`, and is written before the previous hook runs, so that it is
/// there even if that hook ends the process. If the host has backtraces enabled (`RUST_BACKTRACE`),
/// the frames are those of the backtrace. The fields of the
/// [`DiagnosticContext`](super::DiagnosticContext) that panicked are added.
///
/// What the hook does is bounded and takes no lock but the sink's (and, for a backtrace, that of the
/// standard library): it allocates the message and the fields, the values of the environment if
/// there is one, and the backtrace if it is enabled.
///
/// Dropping the guard stops recording and puts the previous hook back if ours is still the
/// outermost; if somebody has wrapped ours since, it stays in the chain and only passes on.
/// While the thread that drops the guard is itself panicking, the hook cannot be exchanged and
/// only stops recording.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::signal::{Level, Signal, VecSink};
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::signals::PanicHook;
///
/// let sink = Arc::new(VecSink::default());
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let hook = PanicHook::install(sink.clone(), clock, None);
/// let _ = std::panic::catch_unwind(|| panic!("index out of bounds"));
/// drop(hook);
/// assert!(matches!(&sink.take()[..], [Signal::Log(log)] if log.level == Level::Fatal));
/// ```
#[must_use = "dropping the guard takes the hook out again"]
pub struct PanicHook {
    shared: Weak<Shared>,
    /// Where our hook lives, to tell it from others; never dereferenced.
    address: usize,
}

struct Shared {
    armed: AtomicBool,
    previous: Hook,
    sink: Arc<dyn SignalSink>,
    clock: Arc<dyn Clock>,
    target: Option<Target>,
    environment: OnceLock<Environment>,
}

impl PanicHook {
    /// Installs the hook; records carry `target`.
    ///
    /// # Panics
    /// If the calling thread is panicking: the standard library forbids to change the hook then.
    pub fn install(
        sink: Arc<dyn SignalSink>,
        clock: Arc<dyn Clock>,
        target: Option<Target>,
    ) -> Self {
        let shared = Arc::new(Shared {
            armed: AtomicBool::new(true),
            previous: panic::take_hook(),
            sink,
            clock,
            target,
            environment: OnceLock::new(),
        });
        let guard = Arc::downgrade(&shared);
        let hook: Hook = Box::new(move |info| {
            shared.record(info);
            (shared.previous)(info);
        });
        let address = address_of(&hook);
        panic::set_hook(hook);
        Self {
            shared: guard,
            address,
        }
    }

    /// The same, with a snapshot of `environment` in every panic that is recorded from now on; the
    /// first environment that is given stays.
    pub fn environment(self, environment: Environment) -> Self {
        if let Some(shared) = self.shared.upgrade() {
            let _ = shared.environment.set(environment);
        }
        self
    }
}

impl Shared {
    fn record(&self, info: &PanicHookInfo<'_>) {
        if !self.armed.load(Ordering::Relaxed) {
            return;
        }
        // A panic that capture itself provoked is caught by capture, and the sink may be busy on
        // this very thread.
        let Some(_capturing) = Capturing::enter() else {
            return;
        };
        let message = info
            .payload()
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str))
            .map_or_else(|| "panic with a payload that is not text".to_owned(), cut);
        let mut error = ErrorEvent::new("rust", "panic", &message);
        // Costs nothing unless the host asked for backtraces.
        let backtrace = Backtrace::capture();
        let taken = matches!(backtrace.status(), BacktraceStatus::Captured);
        let backtrace = taken.then(|| backtrace.to_string());
        error.frames = panic_frames(info.location(), backtrace.as_deref());
        let mut record = LogRecord::new(self.clock.now(), Level::Fatal, message);
        record.target.clone_from(&self.target);
        record.component = "panic".into();
        if let Some(name) = std::thread::current().name() {
            record.fields.insert("thread", name);
        }
        if let Some(context) = context::current() {
            record.fields.fill_from(&context);
        }
        if let Some(environment) = self.environment.get() {
            error.environment = environment.snapshot(record.at);
        }
        record.error = Some(Box::new(error));
        self.sink.signal(Signal::Log(record));
    }
}

fn address_of(hook: &Hook) -> usize {
    std::ptr::from_ref(&**hook).cast::<()>().addr()
}

impl Drop for PanicHook {
    fn drop(&mut self) {
        // Dead: somebody replaced our hook and dropped it, there is nothing left to take out.
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        shared.armed.store(false, Ordering::Relaxed);
        if std::thread::panicking() {
            return;
        }
        let current = panic::take_hook();
        if address_of(&current) != self.address {
            panic::set_hook(current);
            return;
        }
        drop(current);
        match Arc::try_unwrap(shared) {
            Ok(shared) => panic::set_hook(shared.previous),
            // Another thread is inside the hook just now: pass on through the shared copy.
            Err(shared) => panic::set_hook(Box::new(move |info| (shared.previous)(info))),
        }
    }
}

impl fmt::Debug for PanicHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PanicHook").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use homeostasis_core::signal::VecSink;
    use homeostasis_core::{ManualClock, Timestamp};

    use super::*;
    use crate::capture::DiagnosticContext;

    /// The hook is one per process.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn install(sink: &Arc<VecSink>) -> PanicHook {
        PanicHook::install(
            Arc::clone(sink) as Arc<dyn SignalSink>,
            Arc::new(ManualClock::new(Timestamp::from_secs(9))),
            Some(Target::service("orders").unwrap()),
        )
    }

    /// Panics of other tests of this binary may arrive in between: only ours are looked at.
    fn ours(sink: &VecSink, text: &str) -> Vec<LogRecord> {
        sink.take()
            .into_iter()
            .filter_map(|signal| match signal {
                Signal::Log(log) if log.message.contains(text) => Some(log),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_panic_is_recorded_then_passed_on_and_the_previous_hook_comes_back() {
        let _one = ONE_AT_A_TIME.lock();
        let original = panic::take_hook();
        let passed_on = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&passed_on);
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<String>().is_some() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }));
        let sink = Arc::new(VecSink::default());
        let environment = Environment::new();
        environment.set("process_threads", Timestamp::from_secs(8), 12.0);
        let guard = install(&sink).environment(environment);
        let name = "order 7";
        let booking = DiagnosticContext::new("book").with("thread", "not this");
        let line = line!() + 1;
        let _ = panic::catch_unwind(|| booking.scope(|| panic!("cannot book {name}")));
        let logs = ours(&sink, "cannot book order 7");
        assert_eq!(logs.len(), 1);
        let error = logs[0].error.as_ref().unwrap();
        assert_eq!(
            (error.language.as_str(), error.kind.as_str()),
            ("rust", "panic")
        );
        // The first of the project, whether this test runs with backtraces or without.
        let frame = error.innermost_in_project().unwrap();
        assert!(frame.file.ends_with("panic_hook.rs"), "{error:#?}");
        assert_eq!(frame.line, line);
        assert_eq!(error.environment["process_threads"], 12.0);
        assert_eq!(logs[0].fields["operation"], "book");
        assert_ne!(logs[0].fields["thread"], "not this");
        assert_eq!(logs[0].level, Level::Fatal);
        assert_eq!(logs[0].target.as_ref().unwrap().service_name(), "orders");
        assert_eq!(passed_on.load(Ordering::SeqCst), 1);

        drop(guard);
        let _ = panic::catch_unwind(|| panic!("cannot book {name}"));
        assert!(ours(&sink, "cannot book").is_empty());
        assert_eq!(passed_on.load(Ordering::SeqCst), 2);
        panic::set_hook(original);
    }

    #[test]
    fn a_hook_installed_later_survives_our_removal() {
        let _one = ONE_AT_A_TIME.lock();
        let original = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let sink = Arc::new(VecSink::default());
        let guard = install(&sink);
        let inner = panic::take_hook();
        let outer_calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&outer_calls);
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() == Some(&"wrapped later") {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            inner(info);
        }));
        drop(guard);
        let _ = panic::catch_unwind(|| panic!("wrapped later"));
        assert_eq!(outer_calls.load(Ordering::SeqCst), 1);
        assert!(ours(&sink, "wrapped later").is_empty());
        panic::set_hook(original);
    }
}
