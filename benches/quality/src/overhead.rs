//! What recording costs the host, measured on a running engine; what the journal takes.

mod journal;

use std::path::Path;
use std::time::{Duration, Instant};

use homeostasis::core::Timestamp;
use homeostasis::core::signal::{Level, LogRecord, SeriesKey, SpanRecord};
use homeostasis::{Homeostasis, Series};
use serde_json::{Value, json};

/// Of any part; it crosses threads.
type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Events of each kind that are measured.
const EVENTS: usize = 200_000;

/// Events between two pauses in which the engine empties its queue.
const BURST: usize = 2_000;

/// Samples of the flood.
const FLOOD: u64 = 10_000_000;

/// Measures, and gives the report.
pub(crate) fn run() -> Result<Value, AnyError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let healer = runtime.block_on(Homeostasis::empty().start())?;
    let recorder = healer.recorder();
    let series = recorder.series(&SeriesKey::new("requests_rate").with("service", "bench"));

    let samples = measure(&healer, || (), |()| series.record(1.0));
    let logs = measure(&healer, log, |record| recorder.log(record));
    let spans = measure(&healer, span, |record| recorder.span(record));
    let flood = flood(&healer, &series)?;
    runtime.block_on(healer.shutdown());
    let open = runtime.block_on(journal::open_incidents())?;
    let journal = runtime.block_on(journal::group_commit())?;

    let kinds = [&samples, &logs, &spans];
    let worst = |of: fn(&Cost) -> f64| kinds.iter().map(|cost| of(cost)).fold(0.0, f64::max);
    Ok(json!({
        "suite": "overhead",
        "ns_per_event_p50": worst(|cost| cost.p50),
        "ns_per_event_p99": worst(|cost| cost.p99),
        "allocations_per_event": worst(|cost| cost.allocations),
        "timer_ns": timer_cost(),
        "sample": samples.report(),
        "log": logs.report(),
        "span": spans.report(),
        "flood": flood,
        "open_incidents": open,
        "journal": journal,
    }))
}

/// The process whose memory with ten thousand open incidents is measured.
pub(crate) fn take_up(path: &Path) -> Result<Value, AnyError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(journal::take_up(path))
}

/// What one kind of event costs.
struct Cost {
    p50: f64,
    p99: f64,
    allocations: f64,
}

impl Cost {
    fn report(&self) -> Value {
        json!({ "p50_ns": self.p50, "p99_ns": self.p99, "allocations": self.allocations })
    }
}

fn log() -> LogRecord {
    LogRecord::new(Timestamp::EPOCH, Level::Info, "request served in 12 ms")
}

fn span() -> SpanRecord {
    SpanRecord::new(Timestamp::EPOCH, Duration::from_millis(12), "GET /shop")
}

/// Times each event alone; what `make` does belongs to the host and is not counted.
fn measure<T>(healer: &Homeostasis, make: impl Fn() -> T, record: impl Fn(T)) -> Cost {
    let mut nanos = Vec::with_capacity(EVENTS);
    let mut allocations = 0;
    let mut events = Vec::with_capacity(BURST);
    for _ in 0..EVENTS / BURST {
        events.extend(std::iter::repeat_with(&make).take(BURST));
        for event in events.drain(..) {
            let began = now();
            record(event);
            nanos.push(began.elapsed().as_nanos() as f64);
        }
        events.extend(std::iter::repeat_with(&make).take(BURST));
        let counted = allocation_counter::measure(|| {
            events.drain(..).for_each(&record);
        });
        allocations += counted.count_total;
        wait_until_empty(healer);
    }
    nanos.sort_by(f64::total_cmp);
    let quantile = |q: usize| nanos[(nanos.len() * q / 100).min(nanos.len() - 1)];
    Cost {
        p50: quantile(50),
        p99: quantile(99),
        allocations: allocations as f64 / EVENTS as f64,
    }
}

/// Ten million samples as fast as one thread can: memory stays where it was.
fn flood(healer: &Homeostasis, series: &Series) -> Result<Value, AnyError> {
    let before = resident_bytes()?;
    let mut highest = before;
    let began = now();
    for i in 0..FLOOD {
        series.record(i as f64);
        if i % 1_000_000 == 0 {
            highest = highest.max(resident_bytes()?);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    wait_until_empty(healer);
    highest = highest.max(resident_bytes()?);
    let health = healer.health();
    Ok(json!({
        "samples": FLOOD,
        "seconds": seconds,
        "taken_in": health.samples,
        "lost": health.lost_samples,
        "rss_before_bytes": before,
        "rss_growth_bytes": highest.saturating_sub(before),
    }))
}

fn wait_until_empty(healer: &Homeostasis) {
    while healer.health().queue_depth > 0 {
        std::thread::yield_now();
    }
}

fn resident_bytes() -> Result<u64, AnyError> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .ok_or("no resident size in statm")?
        .parse()?;
    Ok(pages * 4096)
}

/// What reading the timer costs; it is contained in every figure.
fn timer_cost() -> f64 {
    let mut nanos: Vec<f64> = (0..10_000)
        .map(|_| now().elapsed().as_nanos() as f64)
        .collect();
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    Instant::now()
}
