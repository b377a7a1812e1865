//! The `metrics` crate's counters, gauges and histograms as series.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::signal::SeriesKey;
use homeostasis_core::{Context, Target, Timestamp};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use super::bounded::{cut_at, cut_name};
use super::sketch::Sketch;
use crate::intake::{QUANTILES, quantile_name, rate_name};
use crate::measurement::{Measurement, label_target};
use crate::probe::{Probe, Reading};

/// The longest name and the longest label, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// A recorder for the `metrics` facade whose metrics become series.
///
/// Its [`MetricsRecorder::probe`] is asked at intervals and gives what happened since it was last
/// asked, as detectors need it and as [`Scraper`](crate::Scraper) names it:
/// - a counter `x` or `x_total` gives `x_rate`, per second, also when it stands still; the first
///   asking only begins the interval;
/// - a gauge `x` gives `x`, its latest value, once it was set;
/// - a histogram `x_seconds` gives `x_p50_seconds`, `x_p95_seconds` and `x_p99_seconds` of the
///   values since the last asking, to 1.6 % (`_seconds`, `_milliseconds` and `_bytes` stay at the
///   end of the name); without new values there is none.
///
/// Labels are kept, and `service` and `instance` are those of the target. In names, what is neither
/// letter, digit, `_` nor `:` becomes `_`, as Prometheus exporters do. Series of the same name and
/// labels are one, in whatever order the labels are written.
///
/// Nothing is installed: give the recorder to `metrics::set_global_recorder`, with the host's own
/// behind it ([`MetricsRecorder::before`]), which then sees exactly what it saw without ours.
///
/// *Bounds:* beyond [`MetricsRecorder::max_series`] (default 10 000) the counters and histograms of
/// a name share one series with the label `overflow="true"`, and gauges are left out, since a mix
/// of several is nobody's value. A histogram takes 8 KiB.
///
/// *Cost:* recording through a handle is an atomic addition or two; it takes no lock and allocates
/// nothing. Making a handle, as the macros do at every use, is a look-up under a read lock, and one
/// allocation when there is a recorder behind.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use std::{sync::Arc, time::Duration};
/// use homeostasis::core::{Context, ManualClock, Target, Timestamp};
/// use homeostasis::signals::{MetricsRecorder, Probe};
///
/// let recorder = MetricsRecorder::new(Target::service("shop")?);
/// let probe = recorder.probe(); // Homeostasis::builder().probe(recorder.probe())
/// let clock = ManualClock::new(Timestamp::EPOCH);
/// let cx = Context::new(Arc::new(clock.clone()), 1);
/// probe.probe(&cx).await;
/// metrics::with_local_recorder(&recorder, || metrics::counter!("orders_total").increment(20));
/// clock.advance(Duration::from_secs(10));
/// assert_eq!(probe.probe(&cx).await.value("orders_rate"), Some(2.0));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MetricsRecorder {
    registry: Arc<Registry>,
    next: Option<Arc<dyn Recorder + Send + Sync>>,
}

impl fmt::Debug for MetricsRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsRecorder")
            .field("target", &self.registry.target)
            .field("n_series", &self.n_series())
            .field("chained", &self.next.is_some())
            .finish_non_exhaustive()
    }
}

impl MetricsRecorder {
    /// A recorder of the metrics of `target`.
    pub fn new(target: Target) -> Self {
        Self {
            registry: Arc::new(Registry {
                target,
                max_series: AtomicUsize::new(10_000),
                cells: RwLock::default(),
                last: Mutex::new(None),
            }),
            next: None,
        }
    }

    /// The same, with `host` behind it: everything reaches both.
    pub fn before(mut self, host: impl Recorder + Send + Sync + 'static) -> Self {
        self.next = Some(Arc::new(host));
        self
    }

    /// The same with room for `n` series, at least 1.
    pub fn max_series(self, n: usize) -> Self {
        self.registry.max_series.store(n.max(1), Ordering::Relaxed);
        self
    }

    /// How many series there are.
    pub fn n_series(&self) -> usize {
        self.registry.read().n_series()
    }

    /// How many handles were refused a series of their own.
    pub fn overflowed(&self) -> u64 {
        self.registry.read().overflowed.load(Ordering::Relaxed)
    }

    /// What gives the series; asked every 10 s by a schedule. All probes of a recorder share its
    /// intervals, so ask one of them only.
    pub fn probe(&self) -> Arc<dyn Probe> {
        self.probe_every(Duration::from_secs(10))
    }

    /// The same, asked so often.
    pub fn probe_every(&self, interval: Duration) -> Arc<dyn Probe> {
        Arc::new(RecorderProbe {
            registry: Arc::clone(&self.registry),
            interval,
        })
    }
}

/// The metrics that are known.
#[derive(Debug)]
struct Registry {
    target: Target,
    max_series: AtomicUsize,
    cells: RwLock<Cells>,
    /// When the probe was asked last.
    last: Mutex<Option<Timestamp>>,
}

#[derive(Debug, Default)]
struct Cells {
    /// By the host's key, which is quick to find; several keys may mean one series.
    by_key: [HashMap<Key, Cell>; 3],
    by_series: [HashMap<SeriesKey, Cell>; 3],
    overflowed: AtomicU64,
}

/// What a metric is; also its place in [`Cells`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug, Clone)]
enum Cell {
    Counter(Arc<CounterCell>),
    Gauge(Arc<GaugeCell>),
    Histogram(Arc<HistogramCell>),
    /// There is no room for it.
    Refused,
}

#[derive(Debug, Default)]
struct CounterCell {
    total: AtomicU64,
    /// The total when the probe was asked last; written by it alone.
    told: AtomicU64,
}

/// The bits of the value; NaN until it is set.
#[derive(Debug)]
struct GaugeCell(AtomicU64);

#[derive(Debug)]
struct HistogramCell(Sketch);

impl CounterFn for CounterCell {
    fn increment(&self, by: u64) {
        self.total.fetch_add(by, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.total.fetch_max(value, Ordering::Relaxed);
    }
}

impl GaugeCell {
    fn change(&self, by: f64) {
        let changed = |bits| {
            let value = f64::from_bits(bits);
            let value = if value.is_nan() { 0.0 } else { value };
            Some((value + by).to_bits())
        };
        // The closure always gives a value, so this cannot fail.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

impl GaugeFn for GaugeCell {
    fn increment(&self, by: f64) {
        self.change(by);
    }

    fn decrement(&self, by: f64) {
        self.change(-by);
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

impl HistogramFn for HistogramCell {
    fn record(&self, value: f64) {
        self.0.record(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.0.record(value, count);
    }
}

impl Registry {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Cells> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, kind: Kind, key: &Key) -> Cell {
        if let Some(cell) = self.read().by_key[kind as usize].get(key) {
            return cell.clone();
        }
        let series = self.series(key);
        let room = self.max_series.load(Ordering::Relaxed);
        let cells = self.read();
        // Once no more keys are remembered, a label explosion must not stop the others.
        if cells.by_key[kind as usize].len() >= room.saturating_mul(2)
            && let Some(cell) = cells.find(kind, &series, room)
        {
            return cell;
        }
        drop(cells);
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let cell = cells.of_series(kind, series, room);
        let known = &mut cells.by_key[kind as usize];
        if known.len() < room.saturating_mul(2) {
            known.insert(key.clone(), cell.clone());
        }
        cell
    }

    fn series(&self, key: &Key) -> SeriesKey {
        let name = |text: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            cut_name(&text.replace(|c| !allowed(c), "_"), MAX_TEXT_BYTES)
        };
        let mut series = SeriesKey::new(name(key.name()));
        for label in key.labels() {
            let value = cut_at(label.value(), MAX_TEXT_BYTES);
            series.labels.insert(name(label.key()), value);
        }
        label_target(&mut series.labels, &self.target);
        series
    }

    /// What happened since the last time.
    fn look(&self, at: Timestamp) -> Vec<Measurement> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = last.map_or(0.0, |last| at.since(last).as_secs_f64());
        let first = last.is_none();
        if first || seconds > 0.0 {
            *last = Some(at);
        }
        // The lock of the cells is not held while series are made of them.
        let cells: Vec<(SeriesKey, Cell)> = {
            let cells = self.read();
            let entries = cells.by_series.iter().flatten();
            entries
                .map(|(series, cell)| (series.clone(), cell.clone()))
                .collect()
        };
        let mut measurements = Vec::with_capacity(cells.len());
        let mut give = |metric: String, labels, value| {
            let key = SeriesKey { metric, labels };
            measurements.push(Measurement { key, at, value });
        };
        for (series, cell) in cells {
            match cell {
                Cell::Counter(cell) if first || seconds > 0.0 => {
                    let total = cell.total.load(Ordering::Relaxed);
                    let grown = total.wrapping_sub(cell.told.swap(total, Ordering::Relaxed));
                    if !first {
                        let rate = grown as f64 / seconds;
                        give(rate_name(&series.metric), series.labels, rate);
                    }
                }
                Cell::Gauge(cell) => {
                    let value = f64::from_bits(cell.0.load(Ordering::Relaxed));
                    if !value.is_nan() {
                        give(series.metric, series.labels, value);
                    }
                }
                Cell::Histogram(cell) => {
                    let values = cell.0.take();
                    for (q, word) in QUANTILES {
                        if let Some(value) = values.quantile(q) {
                            let name = quantile_name(&series.metric, word);
                            give(name, series.labels.clone(), value);
                        }
                    }
                }
                Cell::Counter(_) | Cell::Refused => {}
            }
        }
        measurements.sort_by(|a, b| a.key.cmp(&b.key));
        measurements
    }
}

impl Cells {
    fn n_series(&self) -> usize {
        self.by_series.iter().map(HashMap::len).sum()
    }

    /// The cell of a series that is known, or the one that already stands for it.
    fn find(&self, kind: Kind, series: &SeriesKey, room: usize) -> Option<Cell> {
        let known = &self.by_series[kind as usize];
        if let Some(cell) = known.get(series) {
            return Some(cell.clone());
        }
        let n_series = self.n_series();
        if n_series < room {
            return None;
        }
        let shared = if kind == Kind::Gauge {
            Cell::Refused
        } else if let Some(of_name) = known.get(&overflow(series, &series.metric)) {
            of_name.clone()
        } else if n_series >= room.saturating_mul(2) {
            known.get(&overflow(series, "overflow"))?.clone()
        } else {
            return None;
        };
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        Some(shared)
    }

    fn of_series(&mut self, kind: Kind, series: SeriesKey, room: usize) -> Cell {
        if let Some(cell) = self.find(kind, &series, room) {
            return cell;
        }
        let n_series = self.n_series();
        if n_series < room {
            return self.add(kind, series);
        }
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        // One for each of the first names, then one for all others.
        let is_early = n_series < room.saturating_mul(2);
        let metric = if is_early { &series.metric } else { "overflow" };
        self.add(kind, overflow(&series, metric))
    }

    fn add(&mut self, kind: Kind, series: SeriesKey) -> Cell {
        let cell = match kind {
            Kind::Counter => Cell::Counter(Arc::default()),
            Kind::Gauge => Cell::Gauge(Arc::new(GaugeCell(AtomicU64::new(f64::NAN.to_bits())))),
            Kind::Histogram => Cell::Histogram(Arc::new(HistogramCell(Sketch::new()))),
        };
        self.by_series[kind as usize].insert(series, cell.clone());
        cell
    }
}

/// The series of `metric` that stands for all that have no room, `series` among them.
fn overflow(series: &SeriesKey, metric: &str) -> SeriesKey {
    let mut shared = SeriesKey::new(metric).with("overflow", "true");
    for name in ["service", "instance"] {
        let value = series.labels.get(name).cloned();
        shared
            .labels
            .extend(value.map(|value| (name.to_owned(), value)));
    }
    shared
}

/// Two handles as one.
struct Both<T>(T, T);

impl CounterFn for Both<Counter> {
    fn increment(&self, by: u64) {
        self.0.increment(by);
        self.1.increment(by);
    }

    fn absolute(&self, value: u64) {
        self.0.absolute(value);
        self.1.absolute(value);
    }
}

impl GaugeFn for Both<Gauge> {
    fn increment(&self, by: f64) {
        self.0.increment(by);
        self.1.increment(by);
    }

    fn decrement(&self, by: f64) {
        self.0.decrement(by);
        self.1.decrement(by);
    }

    fn set(&self, value: f64) {
        self.0.set(value);
        self.1.set(value);
    }
}

impl HistogramFn for Both<Histogram> {
    fn record(&self, value: f64) {
        self.0.record(value);
        self.1.record(value);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.0.record_many(value, count);
        self.1.record_many(value, count);
    }
}

impl Recorder for MetricsRecorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        if let Some(next) = &self.next {
            next.describe_counter(name, unit, description);
        }
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        if let Some(next) = &self.next {
            next.describe_gauge(name, unit, description);
        }
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        if let Some(next) = &self.next {
            next.describe_histogram(name, unit, description);
        }
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let own = match self.registry.cell(Kind::Counter, key) {
            Cell::Counter(cell) => Counter::from_arc(cell),
            _ => Counter::noop(),
        };
        // The host's handle is asked for every time: its recorder may have dropped an idle metric.
        match &self.next {
            None => own,
            Some(next) => {
                Counter::from_arc(Arc::new(Both(own, next.register_counter(key, metadata))))
            }
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let own = match self.registry.cell(Kind::Gauge, key) {
            Cell::Gauge(cell) => Gauge::from_arc(cell),
            _ => Gauge::noop(),
        };
        match &self.next {
            None => own,
            Some(next) => Gauge::from_arc(Arc::new(Both(own, next.register_gauge(key, metadata)))),
        }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let own = match self.registry.cell(Kind::Histogram, key) {
            Cell::Histogram(cell) => Histogram::from_arc(cell),
            _ => Histogram::noop(),
        };
        match &self.next {
            None => own,
            Some(next) => {
                Histogram::from_arc(Arc::new(Both(own, next.register_histogram(key, metadata))))
            }
        }
    }
}

#[derive(Debug)]
struct RecorderProbe {
    registry: Arc<Registry>,
    interval: Duration,
}

#[async_trait]
impl Probe for RecorderProbe {
    fn name(&self) -> &str {
        "metrics recorder"
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.registry.target)
    }

    fn reports_health(&self) -> bool {
        false
    }

    async fn probe(&self, cx: &Context) -> Reading {
        Reading {
            measurements: self.registry.look(cx.now()),
            signals: Vec::new(),
        }
    }

    fn interval(&self) -> Duration {
        self.interval
    }
}

#[cfg(test)]
mod tests;
