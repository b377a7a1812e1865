//! `tracing` events and spans as log and span records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use homeostasis_core::signal::{Level, LogRecord, Signal, SignalSink, SpanRecord, SpanStatus};
use homeostasis_core::{Clock, NameError, Target, Timestamp};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::context;
use super::environment::Environment;
use super::fields::Fields;
use super::reentry::Capturing;

/// Ids of spans: `tracing` uses its own again once a span has closed.
static NEXT_SPAN: AtomicU64 = AtomicU64::new(1);

/// Captures `tracing` events as [`LogRecord`]s and closed spans as [`SpanRecord`]s.
///
/// - An event gives a record with its level, its module as `component`, its `message`, its other
///   fields as text, and as correlation id the field `request_id`, `correlation_id` or `trace_id`
///   (in this order) of the event or of the innermost enclosing span that has one.
///   A field that is a `dyn Error` also gives an
///   [`ErrorEvent`](homeostasis_core::signal::ErrorEvent) with its sources as causes.
/// - A span gives a record when it closes: from its creation to its close on the injected clock,
///   with ids that are unique in the process, the id of its parent, and as `trace` the correlation
///   id or else the id of its outermost span.
///   It ends with [`SpanStatus::Error`] if an event of level `ERROR` occurred with it as the
///   innermost span or if it has a field `error` (other than `false`); an outer span that recovers
///   is not marked.
/// - Fields of the [`DiagnosticContext`](super::DiagnosticContext) in which an event occurs or a
///   span begins are added to its own.
/// - Events and spans more verbose than [`TracingLayer::level`] (default `INFO`) are not recorded.
///
/// Adding the layer changes nothing else: it disables nothing for other layers and gives no level
/// hint, it ignores events that its own work causes, a value that panics while it is formatted
/// costs the value and not the host, and texts are cut at 8 KiB.
/// Where it is the most verbose layer of a subscriber, prefer [`TracingLayer::filtered`]: call
/// sites below the level then cost what they cost without it.
///
/// *Cost of an event:* one reading of the clock and one push into the sink; it allocates the
/// message, the fields, the value of each, and the correlation id.
/// *Cost of a span:* the same, when it begins, and its state in the registry.
/// No lock is taken besides those of the registry's own per-span storage.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::signal::{Signal, VecSink};
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::signals::TracingLayer;
/// use tracing_subscriber::prelude::*;
///
/// let sink = Arc::new(VecSink::default());
/// let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let layer = TracingLayer::new(sink.clone(), clock).service("orders")?;
/// tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
///     let _request = tracing::info_span!("request", request_id = "r-1").entered();
///     tracing::error!(order = 7, "cannot book");
/// });
/// let signals = sink.take();
/// let Signal::Log(log) = &signals[0] else { panic!("{signals:?}") };
/// assert_eq!((log.message.as_str(), log.correlation.as_deref()), ("cannot book", Some("r-1")));
/// assert_eq!(log.fields["order"], "7");
/// assert!(matches!(&signals[1], Signal::Span(span) if span.operation == "request"));
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug)]
pub struct TracingLayer {
    sink: Arc<dyn SignalSink>,
    clock: Arc<dyn Clock>,
    target: Option<Target>,
    level: LevelFilter,
    environment: Option<Environment>,
}

/// What is kept with an open span.
#[derive(Debug)]
struct OpenSpan {
    id: u64,
    /// The id of the nearest recorded span around it; 0 if there is none.
    parent: u64,
    /// The id of the outermost recorded span around it; its own if there is none.
    outermost: u64,
    at: Timestamp,
    fields: Fields,
    /// Its own correlation id, or else that of the spans around it when it began.
    correlation: Option<Arc<str>>,
    failed: bool,
    /// How many layers of this kind will ask for it when it closes.
    n_layers: u32,
}

impl TracingLayer {
    /// A layer that records at `INFO` and above, without a target.
    pub fn new(sink: Arc<dyn SignalSink>, clock: Arc<dyn Clock>) -> Self {
        Self {
            sink,
            clock,
            target: None,
            level: LevelFilter::INFO,
            environment: None,
        }
    }

    /// The same, with records of the service `name`.
    ///
    /// # Errors
    /// The name is empty, longer than 128 characters, or holds `/` or control characters.
    pub fn service(self, name: impl Into<String>) -> Result<Self, NameError> {
        Target::service(name).map(|target| self.of(target))
    }

    /// The same, with records of `target`.
    pub fn of(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// The same for another level: nothing more verbose is recorded.
    pub fn level(mut self, level: impl Into<LevelFilter>) -> Self {
        self.level = level.into();
        self
    }

    /// The same, with a snapshot of `environment` in every error that is recorded.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// The same behind `tracing-subscriber`'s per-layer filter, so that call sites below the level
    /// that nobody else wants are not even evaluated.
    pub fn filtered<S>(self) -> Filtered<Self, LevelFilter, S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let level = self.level;
        self.with_filter(level)
    }

    fn wants(&self, level: tracing::Level) -> bool {
        level <= self.level
    }
}

impl<S> Layer<S> for TracingLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        if !self.wants(*attrs.metadata().level()) {
            return;
        }
        let (Some(_capturing), Some(span)) = (Capturing::enter(), cx.span(id)) else {
            return;
        };
        // A second layer of this kind finds the state of the first.
        if let Some(shared) = span.extensions_mut().get_mut::<OpenSpan>() {
            shared.n_layers += 1;
            return;
        }
        // Reading values runs foreign code, which must not meet the lock of the extensions.
        let mut fields = Fields::of(attrs.metadata());
        attrs.record(&mut fields);
        if let Some(context) = context::current() {
            fields.named.fill_from(&context);
        }
        let id = NEXT_SPAN.fetch_add(1, Ordering::Relaxed);
        let mut open = OpenSpan {
            id,
            parent: 0,
            outermost: id,
            at: self.clock.now(),
            correlation: fields.correlation().map(Arc::from),
            fields,
            failed: false,
            n_layers: 1,
        };
        let mut around = span.parent();
        while let Some(outer) = around {
            if let Some(outer) = outer.extensions().get::<OpenSpan>() {
                open.parent = outer.id;
                open.outermost = outer.outermost;
                let inherited = || outer.correlation.as_ref().map(Arc::clone);
                open.correlation = open.correlation.take().or_else(inherited);
                break;
            }
            around = outer.parent();
        }
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let (Some(_capturing), Some(span)) = (Capturing::enter(), cx.span(id)) else {
            return;
        };
        // Read first: a value's `Debug` runs foreign code, which must not meet our lock.
        let mut fresh = Fields::default();
        values.record(&mut fresh);
        let mut extensions = span.extensions_mut();
        if let Some(open) = extensions.get_mut::<OpenSpan>() {
            open.fields.failed |= fresh.failed;
            open.fields.message = fresh.message.or(open.fields.message.take());
            open.fields.named.append(&mut fresh.named);
            if let Some(own) = open.fields.correlation() {
                open.correlation = Some(own.into());
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let metadata = event.metadata();
        if !self.wants(*metadata.level()) {
            return;
        }
        let Some(_capturing) = Capturing::enter() else {
            return;
        };
        let mut fields = Fields::of(metadata);
        event.record(&mut fields);
        if let Some(context) = context::current() {
            fields.named.fill_from(&context);
        }
        let mut correlation = fields.correlation().map(str::to_owned);
        let mut mark = *metadata.level() == tracing::Level::ERROR;
        let mut around = if mark || correlation.is_none() {
            cx.event_span(event)
        } else {
            None
        };
        while let Some(span) = around {
            if mark && let Some(open) = span.extensions_mut().get_mut::<OpenSpan>() {
                open.failed = true;
                mark = false;
            }
            correlation = correlation.or_else(|| correlation_of(&span));
            if !mark && correlation.is_some() {
                break;
            }
            around = span.parent();
        }
        let level = level_of(*metadata.level());
        let message = fields.message.take().unwrap_or_default();
        let mut record = LogRecord::new(self.clock.now(), level, message);
        record.target.clone_from(&self.target);
        record.component = metadata.target().into();
        record.correlation = correlation;
        if let Some(mut error) = fields.error {
            if let Some(environment) = &self.environment {
                error.environment = environment.snapshot(record.at);
            }
            record.error = Some(Box::new(error));
        }
        record.fields = fields.named;
        self.sink.signal(Signal::Log(record));
    }

    fn on_close(&self, id: Id, cx: Context<'_, S>) {
        let (Some(_capturing), Some(span)) = (Capturing::enter(), cx.span(&id)) else {
            return;
        };
        if !self.wants(*span.metadata().level()) {
            return;
        }
        let now = self.clock.now();
        let mut extensions = span.extensions_mut();
        let Some(open) = extensions.get_mut::<OpenSpan>() else {
            return;
        };
        open.n_layers = open.n_layers.saturating_sub(1);
        let mut record = SpanRecord::new(open.at, now.since(open.at), span.name());
        record.target.clone_from(&self.target);
        record.span = open.id;
        record.parent = open.parent;
        if open.failed || open.fields.failed {
            record.status = SpanStatus::Error;
        }
        record.trace = open.correlation.as_deref().map(str::to_owned);
        let outermost = open.outermost;
        record.fields = if open.n_layers == 0 {
            std::mem::take(&mut open.fields.named)
        } else {
            open.fields.named.clone()
        };
        drop(extensions);
        // An outer span may have been given its id after this one began.
        let mut around = span.parent().filter(|_| record.trace.is_none());
        while let Some(outer) = around {
            record.trace = correlation_of(&outer);
            around = outer.parent().filter(|_| record.trace.is_none());
        }
        record.trace.get_or_insert_with(|| hexadecimal(outermost));
        self.sink.signal(Signal::Span(record));
    }
}

fn correlation_of<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<String> {
    let extensions = span.extensions();
    let open = extensions.get::<OpenSpan>()?;
    open.correlation.as_deref().map(str::to_owned)
}

/// Sixteen digits; faster than a formatter.
fn hexadecimal(id: u64) -> String {
    id.to_be_bytes()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

fn level_of(level: tracing::Level) -> Level {
    match level {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::ERROR => Level::Error,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::time::Duration;

    use homeostasis_core::ManualClock;
    use homeostasis_core::signal::{SeriesCatalog, SeriesId, VecSink};
    use tracing_subscriber::prelude::*;

    use super::*;
    use crate::capture::DiagnosticContext;

    fn captured(work: impl FnOnce(&ManualClock)) -> Vec<Signal> {
        let sink = Arc::new(VecSink::default());
        let clock = ManualClock::new(Timestamp::from_secs(100));
        let layer = TracingLayer::new(
            Arc::clone(&sink) as Arc<dyn SignalSink>,
            Arc::new(clock.clone()),
        )
        .service("orders")
        .unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            work(&clock);
        });
        sink.take()
    }

    fn logs(signals: &[Signal]) -> Vec<&LogRecord> {
        signals
            .iter()
            .filter_map(|signal| match signal {
                Signal::Log(log) => Some(log),
                _ => None,
            })
            .collect()
    }

    fn spans(signals: &[Signal]) -> Vec<&SpanRecord> {
        signals
            .iter()
            .filter_map(|signal| match signal {
                Signal::Span(span) => Some(span),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn an_event_becomes_a_record_with_module_fields_and_error_chain() {
        let signals = captured(|_| {
            let cause = std::io::Error::other("disk gone");
            tracing::warn!(
                error = &cause as &(dyn std::error::Error + 'static),
                n = 3,
                ok = false,
                "cannot {}",
                "write"
            );
            tracing::debug!("not wanted");
        });
        let logs = logs(&signals);
        assert_eq!(logs.len(), 1);
        assert_eq!(logs[0].message, "cannot write");
        assert_eq!(logs[0].level, Level::Warn);
        assert!(logs[0].component.ends_with("tracing_layer::tests"));
        assert_eq!(logs[0].fields["n"], "3");
        assert_eq!(logs[0].fields["ok"], "false");
        assert_eq!(logs[0].error.as_ref().unwrap().message, "disk gone");
        assert_eq!(logs[0].at, Timestamp::from_secs(100));
        assert_eq!(logs[0].target.as_ref().unwrap().service_name(), "orders");
    }

    #[test]
    fn the_sources_of_an_error_are_its_causes() {
        #[derive(Debug)]
        struct Start(std::num::ParseIntError);
        impl fmt::Display for Start {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cannot start")
            }
        }
        impl std::error::Error for Start {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let start = Start("x".parse::<u16>().unwrap_err());
        let signals = captured(|_| {
            tracing::error!(error = &start as &(dyn std::error::Error + 'static));
        });
        let log = logs(&signals)[0];
        let error = log.error.as_ref().unwrap();
        assert_eq!(error.message, "cannot start");
        assert_eq!(error.root().message, "invalid digit found in string");
        assert_eq!(
            log.fields["error"],
            "cannot start: invalid digit found in string"
        );
    }

    #[test]
    fn a_span_measures_on_the_injected_clock_and_knows_its_parent() {
        let signals = captured(|clock| {
            let outer = tracing::info_span!("outer", request_id = tracing::field::Empty);
            let entered = outer.enter();
            {
                let _quiet = tracing::debug_span!("not recorded").entered();
                let _inner = tracing::info_span!("inner", table = "orders").entered();
                clock.advance(Duration::from_millis(30));
                outer.record("request_id", "r-9");
                tracing::error!("cannot book");
            }
            clock.advance(Duration::from_millis(20));
            drop(entered);
        });
        let (logs, spans) = (logs(&signals), spans(&signals));
        assert_eq!(logs[0].correlation.as_deref(), Some("r-9"));
        let [inner, outer] = spans[..] else {
            panic!("{spans:?}")
        };
        assert_eq!((&*inner.operation, &*outer.operation), ("inner", "outer"));
        assert_eq!(inner.duration, Duration::from_millis(30));
        assert_eq!(outer.duration, Duration::from_millis(50));
        assert_eq!(
            (inner.parent, outer.parent, inner.status, outer.status),
            (outer.span, 0, SpanStatus::Error, SpanStatus::Ok)
        );
        assert_eq!(
            (inner.trace.as_deref(), outer.trace.as_deref()),
            (Some("r-9"), Some("r-9"))
        );
        assert_eq!(inner.fields["table"], "orders");
    }

    #[test]
    fn spans_without_a_correlation_share_the_id_of_the_outermost() {
        let signals = captured(|_| {
            let _a = tracing::info_span!("a", error = false).entered();
            let _b = tracing::info_span!("b", error = "refused").entered();
        });
        let spans = spans(&signals);
        assert!(spans[0].trace.is_some() && spans[0].trace == spans[1].trace);
        assert_eq!(
            (spans[0].status, spans[1].status),
            (SpanStatus::Error, SpanStatus::Ok)
        );
    }

    #[test]
    fn two_layers_record_the_same_and_the_host_s_own_layer_sees_what_it_saw() {
        #[derive(Default, Clone)]
        struct Own(Arc<std::sync::Mutex<Vec<String>>>);
        impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Own {
            fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
                let inside = cx.event_span(event).map(|span| span.name());
                let seen = format!("{} in {inside:?}", event.metadata().level());
                self.0.lock().unwrap().push(seen);
            }

            fn on_close(&self, id: Id, cx: Context<'_, S>) {
                let name = cx.span(&id).unwrap().name();
                self.0.lock().unwrap().push(format!("closed {name}"));
            }
        }
        let work = || {
            let _request = tracing::info_span!("request", order = 7).entered();
            tracing::debug!("unwanted by ours");
            tracing::error!("refused");
        };
        let alone = Own::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(alone.clone()), work);

        let own = Own::default();
        let sinks = [VecSink::default(), VecSink::default()].map(Arc::new);
        let [one, two] = sinks
            .clone()
            .map(|sink| TracingLayer::new(sink, Arc::new(ManualClock::new(Timestamp::EPOCH))));
        let all = tracing_subscriber::registry()
            .with(one)
            .with(own.clone())
            .with(two);
        tracing::subscriber::with_default(all, work);
        assert_eq!(*own.0.lock().unwrap(), *alone.0.lock().unwrap());
        assert_eq!(own.0.lock().unwrap().len(), 3);
        let [one, two] = sinks.map(|sink| sink.take());
        assert_eq!(one, two);
        assert_eq!(spans(&one)[0].fields["order"], "7");
        assert_eq!(one.len(), 2);
    }

    #[test]
    fn context_and_environment_are_attached_and_the_record_s_own_fields_win() {
        let sink = Arc::new(VecSink::default());
        let clock = ManualClock::new(Timestamp::from_secs(100));
        let environment = Environment::new();
        environment.set("process_threads", Timestamp::from_secs(99), 12.0);
        let layer = TracingLayer::new(Arc::clone(&sink) as Arc<dyn SignalSink>, Arc::new(clock))
            .environment(environment);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let order = DiagnosticContext::new("process_payment")
                .with("order_id", 7)
                .with("request_id", "r-1");
            order.scope(|| {
                let _query = tracing::info_span!("query", order_id = 8).entered();
                let cause = std::io::Error::other("refused");
                let error = &cause as &(dyn std::error::Error + 'static);
                tracing::error!(error, operation = "own", "cannot book");
            });
            tracing::info!("outside");
        });
        let signals = sink.take();
        let [inside, outside] = logs(&signals)[..] else {
            panic!("{signals:?}")
        };
        assert_eq!(inside.fields["operation"], "own");
        assert_eq!(inside.fields["order_id"], "7");
        assert_eq!(inside.correlation.as_deref(), Some("r-1"));
        let environment = &inside.error.as_ref().unwrap().environment;
        assert_eq!(environment["process_threads"], 12.0);
        assert!(outside.fields.is_empty() && outside.correlation.is_none());
        let query = spans(&signals)[0];
        assert_eq!(query.fields["operation"], "process_payment");
        assert_eq!(query.fields["order_id"], "8");
        assert_eq!(query.trace.as_deref(), Some("r-1"));
    }

    #[test]
    fn an_id_that_is_recorded_late_reaches_the_spans_that_are_open() {
        let signals = captured(|_| {
            let outer = tracing::info_span!("outer", trace_id = tracing::field::Empty).entered();
            let middle = tracing::info_span!("middle").entered();
            let inner = tracing::info_span!("inner").entered();
            outer.record("trace_id", "t-1");
            tracing::info!("late");
            drop((inner, middle, outer));
        });
        assert_eq!(logs(&signals)[0].correlation.as_deref(), Some("t-1"));
        let traces: Vec<_> = spans(&signals)
            .iter()
            .map(|span| span.trace.clone())
            .collect();
        assert_eq!(traces, vec![Some("t-1".to_owned()); 3]);
        assert_eq!(hexadecimal(0x0123_4567_89ab_cdef), "0123456789abcdef");
    }

    /// A sink that itself logs: without the guard this would recurse until the stack is gone.
    #[derive(Debug, Default)]
    struct Chatty(VecSink);

    impl SignalSink for Chatty {
        fn sample(&self, series: SeriesId, at: Timestamp, value: f64) {
            self.0.sample(series, at, value);
        }

        fn signal(&self, signal: Signal) {
            tracing::error!("the sink speaks");
            self.0.signal(signal);
        }

        fn catalog(&self) -> &SeriesCatalog {
            self.0.catalog()
        }
    }

    #[test]
    fn what_the_sink_logs_is_not_captured() {
        let sink = Arc::new(Chatty::default());
        let layer = TracingLayer::new(
            Arc::clone(&sink) as Arc<dyn SignalSink>,
            Arc::new(ManualClock::new(Timestamp::EPOCH)),
        );
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let _span = tracing::info_span!("work").entered();
            tracing::info!("once");
        });
        let signals = sink.0.take();
        assert_eq!(signals.len(), 2);
        assert_eq!(logs(&signals)[0].message, "once");
    }

    #[test]
    fn a_value_that_panics_while_it_is_formatted_does_not_reach_the_host() {
        struct Broken;
        impl fmt::Debug for Broken {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("broken Debug")
            }
        }
        let signals = captured(|_| tracing::info!(value = ?Broken, "still here"));
        assert_eq!(logs(&signals)[0].message, "still here");
        assert!(logs(&signals)[0].fields["value"].contains("panicked"));
    }
}
