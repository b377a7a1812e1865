//! Lifts a kernel into a detector that watches every operation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Anomaly, Severity, Subject};
use homeostasis_core::signal::{Interest, SignalBatch, SpanRecord};
use homeostasis_core::stage::{DetectError, Detector, ModelSnapshot};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::assembly::{Assembly, Operation, StoredAssembly, Told, Watched};
use super::kernel::{OperationKernel, OperationScore};
use crate::series::{AlertState, Alerting, AlertingConfig, Transition};
use crate::{check, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 2;
/// Spans may end this much after the clock; more is a wrong clock.
const MAX_AHEAD: Duration = Duration::from_secs(60);
/// Operations silent for this long give way.
const IDLE_AFTER: Duration = Duration::from_secs(3600);

/// How a [`PerOperation`] cuts time and when it alarms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerOperationConfig {
    /// The length of a window; default 30s, range 1s to 1h.
    #[serde(with = "crate::duration_text")]
    pub window: Duration,
    /// A window with fewer spans of an operation goes on into the next one; default 20, at least 1.
    pub min_spans: u32,
    /// But for no more than this many windows; default 20, at least 1.
    pub max_windows: u32,
    /// How many operations are watched at most; default 1000, at least 1.
    pub max_operations: usize,
    /// Whose spans without a target are; default nobody's: they are ignored and counted.
    pub default_target: Option<Target>,
    /// When scores of windows become an alarm; by default two windows above 0.5, raised again each minute.
    pub alerting: AlertingConfig,
    /// A hint how severe it is; default none.
    pub severity_hint: Option<Severity>,
    /// The playbook that asks for it; default none.
    pub playbook_hint: Option<String>,
}

impl Default for PerOperationConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            min_spans: 20,
            max_windows: 20,
            max_operations: 1000,
            default_target: None,
            alerting: AlertingConfig {
                max_gap: Duration::from_secs(3600),
                reraise: Some(Duration::from_secs(60)),
                ..AlertingConfig::default()
            },
            severity_hint: None,
            playbook_hint: None,
        }
    }
}

/// A detector made of a kernel: one kernel for each operation of each service, judged window by window.
///
/// *Windows* begin at multiples of `window` since the epoch, for all operations at once.
/// One ends when a span ends after it or the context's clock has passed it, whichever is seen first; a span counts in
/// the window that is open when it arrives, so that late ones are not lost.
/// An operation with fewer than `min_spans` in a window is judged later, with those of the next windows.
/// *Whom it is about:* the service of the span's target, all instances together.
/// *Bounded:* at most `max_operations`; when all places are taken, those silent for an hour give way, and if there are
/// none, new ones are refused and counted.
/// A span that ends more than one minute ahead of the clock is ignored and counted; a clock that goes back by more than
/// that begins a new window.
/// Kernels that want to know calls share at most 16 384 executions and 131 072 calls that wait for their callers' end,
/// less than 4 MB; what is beyond that is counted.
/// O(log n) per span for n operations, O(n) at the end of each window.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{OperationLatency, OperationLatencyConfig, PerOperation, PerOperationConfig};
///
/// let latency = OperationLatency::new(OperationLatencyConfig::default())?;
/// let detector = PerOperation::new("latency", PerOperationConfig::default(), move || latency.clone())?;
/// assert_eq!(detector.name(), "latency");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
pub struct PerOperation<K> {
    name: String,
    config: PerOperationConfig,
    alerting: Alerting,
    make: Box<dyn Fn() -> K + Send>,
    slots: BTreeMap<Target, BTreeMap<String, Slot<K>>>,
    n_slots: usize,
    /// The number of the open window since the epoch.
    open: Option<i64>,
    assembly: Assembly,
    counts: OperationCounts,
}

/// What a [`PerOperation`] left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OperationCounts {
    /// Spans of operations for which there was no place.
    pub refused: u64,
    /// Spans that name no target.
    pub untargeted: u64,
    /// Spans from the future.
    pub ahead: u64,
    /// Calls whose caller was not seen, or not in time, or made more than 256.
    pub lost_calls: u64,
}

#[derive(Debug)]
struct Slot<K> {
    watched: Arc<Watched>,
    kernel: K,
    standing: Standing,
}

/// What is stored of a slot beside its kernel.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Standing {
    last_seen: Timestamp,
    /// Spans since the last judgement.
    n_spans: u32,
    /// Windows that ended since the last judgement.
    n_windows: u32,
    alert: AlertState,
}

impl<K: OperationKernel> PerOperation<K> {
    /// A detector called `name` that watches operations with the kernels `make` gives, all of them the same.
    ///
    /// # Errors
    /// If the name is empty, or a field of `config` is outside its range.
    pub fn new(
        name: impl Into<String>,
        config: PerOperationConfig,
        make: impl Fn() -> K + Send + 'static,
    ) -> Result<Self, ConfigError> {
        let name = name.into();
        let mut found = Violations::new();
        check::named(&mut found, "per_operation.name", &name);
        let seconds = Duration::from_secs;
        check::that(
            &mut found,
            (seconds(1)..=seconds(3600)).contains(&config.window),
            "per_operation.window",
            format_duration(config.window),
            "1s to 1h",
        );
        for (path, n) in [
            ("per_operation.min_spans", config.min_spans),
            ("per_operation.max_windows", config.max_windows),
        ] {
            check::that(&mut found, n > 0, path, n, "at least 1");
        }
        check::that(
            &mut found,
            config.max_operations > 0,
            "per_operation.max_operations",
            config.max_operations,
            "at least 1 operation",
        );
        let alerting = Alerting::new(config.alerting).map_err(|wrong| wrong.under("per_operation"));
        let alerting = found.absorb(alerting).unwrap_or_default();
        found.into_result(Self {
            name,
            config,
            alerting,
            make: Box::new(make),
            slots: BTreeMap::new(),
            n_slots: 0,
            open: None,
            assembly: Assembly::default(),
            counts: OperationCounts::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &PerOperationConfig {
        &self.config
    }

    /// How many operations are watched.
    pub fn n_operations(&self) -> usize {
        self.n_slots
    }

    /// What was left out so far.
    pub fn counts(&self) -> OperationCounts {
        OperationCounts {
            lost_calls: self.assembly.n_lost(),
            ..self.counts
        }
    }

    fn window_nanos(&self) -> i64 {
        i64::try_from(self.config.window.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Closes the open window if it ends at or before `at`.
    fn advance(&mut self, at: Timestamp, found: &mut Vec<Anomaly>) {
        let window = self.window_nanos();
        let due = at.as_nanos().div_euclid(window);
        match self.open {
            Some(open) if due > open => {
                let end = Timestamp::from_nanos((open + 1).saturating_mul(window));
                self.close(end, found);
            }
            Some(_) => return,
            None => {}
        }
        self.open = Some(due);
    }

    fn close(&mut self, end: Timestamp, found: &mut Vec<Anomaly>) {
        let config = &self.config;
        for (target, operations) in &mut self.slots {
            for (operation, slot) in operations {
                let standing = &mut slot.standing;
                if standing.n_spans == 0 {
                    continue;
                }
                standing.n_windows = standing.n_windows.saturating_add(1);
                let is_enough = standing.n_spans >= config.min_spans;
                if !is_enough && standing.n_windows < config.max_windows {
                    continue;
                }
                let length = config.window * standing.n_windows;
                (standing.n_spans, standing.n_windows) = (0, 0);
                let judged = slot.kernel.close(end);
                let step = self.alerting.step(&mut standing.alert, end, judged.score);
                let (Transition::Raised { since } | Transition::Reraised { since }) = step else {
                    continue;
                };
                // The score stands for the whole window.
                let since = since - length.min(end.since(Timestamp::EPOCH));
                let operation = Operation::from((target.clone(), operation.clone()));
                let finding = (since, end, judged);
                found.push(describe(
                    &self.name,
                    config,
                    operation,
                    finding,
                    &slot.kernel,
                ));
            }
        }
    }

    fn take(&mut self, span: &SpanRecord, latest: Timestamp, found: &mut Vec<Anomaly>) {
        let end = span.at + span.duration;
        if end > latest {
            self.counts.ahead += 1;
            return;
        }
        let default = || self.config.default_target.clone();
        let Some(target) = span.target.clone().or_else(default) else {
            self.counts.untargeted += 1;
            return;
        };
        self.advance(end, found);
        let operation = (target.to_service(), span.operation.clone().into_owned());
        if !self.admit(&operation, end) {
            self.counts.refused += 1;
            return;
        }
        let caller = self
            .slot(&operation)
            .filter(|slot| slot.kernel.wants_calls())
            .map(|slot| Arc::clone(&slot.watched));
        let told = match caller {
            Some(watched) => self.assembly.take(span, &watched),
            None => Told::default(),
        };
        if let Some(slot) = self.slot(&operation) {
            slot.standing.last_seen = slot.standing.last_seen.max(end);
            slot.standing.n_spans = slot.standing.n_spans.saturating_add(1);
            slot.kernel.take(span, &told.calls);
        }
        if let Some((caller, call)) = told.late
            && let Some(slot) = self.slot(&caller.operation)
        {
            slot.kernel.take_late_call(&call);
        }
    }

    fn slot(&mut self, (target, operation): &Operation) -> Option<&mut Slot<K>> {
        self.slots.get_mut(target)?.get_mut(operation)
    }

    /// Whether the operation has a place; it gets one if there is one.
    fn admit(&mut self, operation: &Operation, at: Timestamp) -> bool {
        if self.slot(operation).is_some() {
            return true;
        }
        if self.n_slots >= self.config.max_operations {
            self.slots.retain(|_, operations| {
                operations.retain(|_, slot| at.since(slot.standing.last_seen) < IDLE_AFTER);
                !operations.is_empty()
            });
            self.n_slots = self.slots.values().map(BTreeMap::len).sum();
        }
        if self.n_slots >= self.config.max_operations {
            if self.counts.refused == 0 {
                tracing::warn!(
                    detector = self.name,
                    max_operations = self.config.max_operations,
                    "no place for another operation; some are not watched"
                );
            }
            return false;
        }
        let standing = Standing {
            last_seen: at,
            n_spans: 0,
            n_windows: 0,
            alert: AlertState::default(),
        };
        self.insert(operation.clone(), (self.make)(), standing);
        true
    }

    fn insert(&mut self, operation: Operation, kernel: K, standing: Standing) {
        let slot = Slot {
            watched: Watched::new(operation.clone()),
            kernel,
            standing,
        };
        let (target, operation) = operation;
        let replaced = self
            .slots
            .entry(target)
            .or_default()
            .insert(operation, slot);
        self.n_slots += usize::from(replaced.is_none());
    }
}

fn describe(
    name: &str,
    config: &PerOperationConfig,
    (target, operation): Operation,
    (since, at, judged): (Timestamp, Timestamp, OperationScore),
    kernel: &impl OperationKernel,
) -> Anomaly {
    let finding = kernel.explain();
    let text = format!("{operation} of {target} {}, since {since}", finding.text);
    let subject = Subject::Operation(operation);
    let mut anomaly = Anomaly::new(name, target, subject, at)
        .saying(text)
        .due_to(finding.weights);
    anomaly.since = since;
    anomaly.score = judged.score;
    // A stranger's kernel may break its contract; the engine would blame the adapter for it.
    anomaly.surprise = if judged.surprise.is_finite() {
        judged.surprise.max(0.0)
    } else {
        0.0
    };
    anomaly.direction = judged.direction;
    anomaly.observed = finding.observed;
    anomaly.expected = finding.expected;
    anomaly.series = finding.series;
    anomaly.severity_hint = config.severity_hint;
    anomaly.playbook_hint.clone_from(&config.playbook_hint);
    anomaly
}

#[async_trait]
impl<K: OperationKernel> Detector for PerOperation<K> {
    fn name(&self) -> &str {
        &self.name
    }

    fn interest(&self) -> Interest {
        Interest::spans()
    }

    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let (now, mut found) = (cx.now(), Vec::new());
        let latest = now + MAX_AHEAD;
        let newest = latest.as_nanos().div_euclid(self.window_nanos());
        if self.open.is_some_and(|open| open > newest) {
            // The clock went back: without this nothing would end until it is there again.
            self.open = None;
        }
        for span in batch.spans {
            self.take(span, latest, &mut found);
        }
        self.advance(now, &mut found);
        Ok(found)
    }

    fn forget_alarms(&mut self) {
        for slot in self.slots.values_mut().flat_map(BTreeMap::values_mut) {
            slot.standing.alert = AlertState::default();
        }
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        let mut slots = Vec::with_capacity(self.n_slots);
        for (target, operations) in &self.slots {
            for (operation, slot) in operations {
                let kernel = slot.kernel.save()?;
                slots.push((target.clone(), operation.clone(), slot.standing, kernel));
            }
        }
        let stored = Stored {
            open: self.open,
            slots,
            assembly: self.assembly.save(),
        };
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&stored)?,
        })
    }

    /// If anything does not fit, nothing changes.
    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let stored: Stored = state::open(&self.name, VERSION, snapshot)?;
        state::require(
            stored.slots.len() <= self.config.max_operations,
            &format!("{} operations in the snapshot", stored.slots.len()),
            &format!(
                "at most {}, as max_operations says",
                self.config.max_operations
            ),
        )?;
        let mut slots = Vec::with_capacity(stored.slots.len());
        for (target, operation, standing, saved) in stored.slots {
            let mut kernel = (self.make)();
            kernel.load(&saved)?;
            slots.push(((target, operation), kernel, standing));
        }
        (self.slots, self.n_slots) = (BTreeMap::new(), 0);
        for (operation, kernel, standing) in slots {
            self.insert(operation, kernel, standing);
        }
        self.open = stored.open;
        self.assembly = Assembly::load(stored.assembly);
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    open: Option<i64>,
    slots: Vec<(Target, String, Standing, Value)>,
    assembly: StoredAssembly,
}

impl<K> fmt::Debug for PerOperation<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerOperation")
            .field("name", &self.name)
            .field("config", &self.config)
            .field("n_operations", &self.n_slots)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
