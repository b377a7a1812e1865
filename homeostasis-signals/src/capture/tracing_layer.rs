//! `tracing` events and spans as log and span records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use homeostasis_core::signal::{
    ErrorEvent, Level, LogRecord, Signal, SignalSink, SpanRecord, SpanStatus,
};
use homeostasis_core::{Clock, NameError, Target, Timestamp};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::fields::Fields;
use super::reentry::Capturing;

/// Ids of spans: `tracing` uses its own again once a span has closed.
static NEXT_SPAN: AtomicU64 = AtomicU64::new(1);

/// Captures `tracing` events as [`LogRecord`]s and closed spans as [`SpanRecord`]s.
///
/// - An event gives a record with its level, its module as `component`, its `message`, its other
///   fields as text, and as correlation id the field `request_id`, `correlation_id` or `trace_id`
///   (in this order) of the event or of the innermost enclosing span that has one.
///   A field that is a `dyn Error` also gives an [`ErrorEvent`] with the chain as message.
/// - A span gives a record when it closes: from its creation to its close on the injected clock,
///   with ids that are unique in the process, the id of its parent, and as `trace` the correlation
///   id or else the id of its outermost span.
///   It ends with [`SpanStatus::Error`] if an event of level `ERROR` occurred with it as the
///   innermost span or if it has a field `error` (other than `false`); an outer span that recovers
///   is not marked.
/// - Events and spans more verbose than [`TracingLayer::level`] (default `INFO`) are not recorded.
///
/// Adding the layer changes nothing else: it disables nothing for other layers and gives no level
/// hint, it ignores events that its own work causes, a value that panics while it is formatted
/// costs the value and not the host, and texts are cut at 8 KiB.
/// Where it is the most verbose layer of a subscriber, prefer [`TracingLayer::filtered`]: call
/// sites below the level then cost what they cost without it.
///
/// *Cost of an event:* one reading of the clock and one push into the sink; it allocates the
/// message, the module, the target's names, and a name and a value per field.
/// *Cost of a span:* the same once, when it closes, and its state in the registry.
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
}

/// What is kept with an open span.
#[derive(Debug)]
struct OpenSpan {
    id: u64,
    at: Timestamp,
    fields: Fields,
    failed: bool,
}

impl TracingLayer {
    /// A layer that records at `INFO` and above, without a target.
    pub fn new(sink: Arc<dyn SignalSink>, clock: Arc<dyn Clock>) -> Self {
        Self {
            sink,
            clock,
            target: None,
            level: LevelFilter::INFO,
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
        let mut fields = Fields::default();
        attrs.record(&mut fields);
        // `replace`, because a second layer of this kind may have put its state there.
        span.extensions_mut().replace(OpenSpan {
            id: NEXT_SPAN.fetch_add(1, Ordering::Relaxed),
            at: self.clock.now(),
            failed: false,
            fields,
        });
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
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut correlation = fields.correlation().map(str::to_owned);
        let mut mark = *metadata.level() == tracing::Level::ERROR;
        if let Some(innermost) = cx
            .event_span(event)
            .filter(|_| mark || correlation.is_none())
        {
            for span in innermost.scope() {
                if mark {
                    let mut extensions = span.extensions_mut();
                    if let Some(open) = extensions.get_mut::<OpenSpan>() {
                        open.failed = true;
                        mark = false;
                    }
                }
                if correlation.is_none() {
                    correlation = correlation_of(&span);
                }
                if !mark && correlation.is_some() {
                    break;
                }
            }
        }
        let level = level_of(*metadata.level());
        let message = fields.message.take().unwrap_or_default();
        let mut record = LogRecord::new(self.clock.now(), level, message);
        record.target.clone_from(&self.target);
        record.component = metadata.target().into();
        record.correlation = correlation;
        record.error = fields
            .error
            .map(|chain| Box::new(ErrorEvent::new("rust", "error", chain)));
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
        let mut record = {
            let extensions = span.extensions();
            let Some(open) = extensions.get::<OpenSpan>() else {
                return;
            };
            let mut record = SpanRecord::new(open.at, now.since(open.at), span.name());
            record.span = open.id;
            if open.failed || open.fields.failed {
                record.status = SpanStatus::Error;
            }
            record.trace = open.fields.correlation().map(str::to_owned);
            record.fields.clone_from(&open.fields.named);
            record
        };
        record.target.clone_from(&self.target);
        let mut outermost = record.span;
        for outer in span.scope().skip(1) {
            let own_id = outer.extensions().get::<OpenSpan>().map(|open| open.id);
            if let Some(own_id) = own_id {
                if record.parent == 0 {
                    record.parent = own_id;
                }
                outermost = own_id;
            }
            if record.trace.is_none() {
                record.trace = correlation_of(&outer);
            }
        }
        record
            .trace
            .get_or_insert_with(|| format!("{outermost:016x}"));
        self.sink.signal(Signal::Span(record));
    }
}

fn correlation_of<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<String> {
    let extensions = span.extensions();
    let open = extensions.get::<OpenSpan>()?;
    open.fields.correlation().map(str::to_owned)
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
