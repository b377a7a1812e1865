//! Errors that are too many.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Anomaly, Direction, Expectation, Severity, Subject};
use homeostasis_core::signal::{Interest, Level, LogRecord, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelSnapshot};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violations};
use serde::{Deserialize, Serialize};

use super::leading::Leading;
use super::tally::{Bar, Burst, Tally};
use crate::{check, prose, scale, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 4;
/// Records may be this much ahead of the clock.
const MAX_AHEAD: Duration = Duration::from_secs(3600);
/// So many anomalies are told in one turn; hosts reject answers without measure.
const MAX_TOLD: usize = 50;
/// Of the name of a component so many characters count.
const MAX_COMPONENT: usize = 128;

/// When errors in logs are too many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogErrorRateConfig {
    /// The quietest level that is watched; each level from here on is counted by itself; default error.
    pub from: Level,
    /// The length of the windows in which records are counted; default 1m, 1s to 1h.
    #[serde(with = "crate::duration_text")]
    pub window: Duration,
    /// How many windows are remembered; default 720 (half a day), 10 to 100 000.
    pub history: u32,
    /// How many windows must have been seen before anything is judged; default 10, 1 to `history`.
    pub min_windows: u32,
    /// Fewer records of a level in a window are never too many; default 5, at least 1.
    pub min_count: u32,
    /// Too many is at least this many times what is expected; default 3, 1 to 1 000 000.
    pub factor: f64,
    /// How surprising they must be, in nats; default 16 (one in nine million windows), above 0, at most 1000.
    pub surprise: f64,
    /// After how long an anomaly that lasts is raised again; default 60 s, above 0.
    #[serde(with = "crate::duration_text::option")]
    pub reraise: Option<Duration>,
    /// How many components are followed at most, of all targets together; default 10 000, at least 1; about 2 kB each.
    /// When all places are taken, those silent for a day give way.
    pub max_components: usize,
    /// Whose records without a target are; default nobody's: they are ignored.
    pub default_target: Option<Target>,
    /// A hint how severe it is; default none.
    pub severity_hint: Option<Severity>,
    /// The playbook that asks for it; default none.
    pub playbook_hint: Option<String>,
}

impl Default for LogErrorRateConfig {
    fn default() -> Self {
        Self {
            from: Level::Error,
            window: Duration::from_secs(60),
            history: 720,
            min_windows: 10,
            min_count: 5,
            factor: 3.0,
            surprise: 16.0,
            reraise: Some(Duration::from_secs(60)),
            max_components: 10_000,
            default_target: None,
            severity_hint: None,
            playbook_hint: None,
        }
    }
}

/// Raises an anomaly when a component logs more errors than its past explains.
///
/// Records are counted by target, component and level, in windows. As many errors are expected as
/// there were on average, or, if that is more, as go with the other records of the window: twice
/// the load may bring twice the errors. What is more is judged as bursts of
/// [`LogTemplates`](super::LogTemplates) are, and told within the window, with the templates that
/// the errors of the window are of ([`Anomaly::contributions`]).
///
/// A record counts as many times as its weight says. Time is that of the records, for each component
/// by itself: one that is late counts where its others are, one ahead of the context's clock counts
/// as if it came now, and one more than an hour ahead is ignored. Of one batch 50 anomalies are told.
/// O(log n) per record for n components.
///
/// # Examples
/// ```
/// use homeostasis::core::signal::Level;
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{LogErrorRate, LogErrorRateConfig};
///
/// let config = LogErrorRateConfig { from: Level::Warn, ..LogErrorRateConfig::default() };
/// assert_eq!(LogErrorRate::new("log_errors", config)?.name(), "log_errors");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LogErrorRate {
    name: String,
    config: LogErrorRateConfig,
    bar: Bar,
    components: BTreeMap<(Target, String), Component>,
    n_refused: u64,
}

/// One component of a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    since: i64,
    window: i64,
    /// Records of the window below the watched levels.
    n_quiet: u64,
    /// The mean of them over windows past.
    mean_quiet: f64,
    n_windows: f64,
    last: Timestamp,
    levels: BTreeMap<Level, Tally>,
    /// Of which kinds the watched records of this window are.
    #[serde(default)]
    leading: BTreeMap<Level, Leading>,
}

impl Component {
    fn new(window: i64, at: Timestamp) -> Self {
        Self {
            since: window,
            window,
            n_quiet: 0,
            mean_quiet: 0.0,
            n_windows: 0.0,
            last: at,
            levels: BTreeMap::new(),
            leading: BTreeMap::new(),
        }
    }

    /// When a record that is from `at` counts, if it is `now`.
    fn comes(&mut self, at: Timestamp, now: Timestamp, bar: &Bar) -> Timestamp {
        let window = bar.window_of(now);
        if self.window > window {
            // The clock was set back.
            (self.window, self.n_quiet) = (window, 0);
            self.since = self.since.min(window);
            self.levels
                .values_mut()
                .for_each(|tally| tally.rewind(window));
        }
        self.last = self.last.min(now).max(at);
        self.last
    }

    /// Whether it can have come from counting.
    fn is_sound(&self) -> bool {
        let counts = [self.mean_quiet, self.n_windows];
        counts.iter().all(|count| (0.0..=1e30).contains(count))
            && self.levels.values().all(|tally| tally.rate.is_sound())
            && self.leading.values().all(Leading::is_sound)
    }

    /// Learns the windows before this one.
    fn advance(&mut self, window: i64, bar: &Bar) {
        if window <= self.window {
            return;
        }
        let least: Vec<f64> = self
            .levels
            .values()
            .map(|tally| self.least(tally))
            .collect();
        for (tally, least) in self.levels.values_mut().zip(least) {
            tally.advance(window, bar, least);
        }
        let mut learn = |count: f64| {
            self.n_windows = (self.n_windows + 1.0).min(f64::from(bar.history));
            self.mean_quiet += (count - self.mean_quiet) / self.n_windows;
        };
        learn(self.n_quiet as f64);
        let n_silent = u64::try_from(window.saturating_sub(self.window) - 1).unwrap_or(0);
        for _ in 0..n_silent.min(16 * u64::from(bar.history)) {
            learn(0.0);
        }
        // What they were of is told within their window only.
        self.leading.clear();
        (self.window, self.n_quiet) = (window, 0);
    }

    /// How many errors go with the quiet records of this window, as they did before.
    fn least(&self, tally: &Tally) -> f64 {
        if self.mean_quiet > 0.0 {
            tally.rate.mean() * self.n_quiet as f64 / self.mean_quiet
        } else {
            0.0
        }
    }

    fn add(&mut self, record: &LogRecord, at: Timestamp, from: Level, bar: &Bar) -> Option<Burst> {
        self.advance(bar.window_of(at), bar);
        if record.level < from {
            self.n_quiet = self.n_quiet.saturating_add(u64::from(record.weight));
            return None;
        }
        let n_silent = u64::try_from(self.window.saturating_sub(self.since)).unwrap_or(0);
        let window = self.window;
        let leading = self.leading.entry(record.level).or_default();
        leading.add(record, window);
        let fresh = || Tally::new(window, n_silent, bar);
        let mut tally = self.levels.remove(&record.level).unwrap_or_else(fresh);
        let burst = tally.add(at, record.weight, bar, self.least(&tally));
        self.levels.insert(record.level, tally);
        burst
    }
}

impl LogErrorRate {
    /// A detector called `name`.
    ///
    /// # Errors
    /// The name is empty, or fields of `config` are outside their range.
    pub fn new(name: impl Into<String>, config: LogErrorRateConfig) -> Result<Self, ConfigError> {
        let name = name.into();
        let bar = Bar {
            window: config.window,
            history: config.history,
            min_windows: config.min_windows,
            min_count: config.min_count,
            factor: config.factor,
            surprise: config.surprise,
            reraise: config.reraise,
        };
        let mut found = Violations::new();
        check::named(&mut found, "log_error_rate.name", &name);
        bar.check(&mut found, "log_error_rate");
        check::that(
            &mut found,
            config.max_components > 0,
            "log_error_rate.max_components",
            config.max_components,
            "at least 1 component",
        );
        found.into_result(Self {
            name,
            config,
            bar,
            components: BTreeMap::new(),
            n_refused: 0,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &LogErrorRateConfig {
        &self.config
    }

    /// How many records were of components for which there was no place.
    pub fn n_refused(&self) -> u64 {
        self.n_refused
    }

    fn take(&mut self, record: &LogRecord, now: Timestamp) -> Option<Anomaly> {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let at = record.at.min(now);
        let target = record
            .target
            .as_ref()
            .or(self.config.default_target.as_ref())?;
        let component: String = record.component.chars().take(MAX_COMPONENT).collect();
        let key = (target.clone(), component);
        if !self.components.contains_key(&key) {
            if self.components.len() >= self.config.max_components {
                self.components
                    .retain(|_, component| at.since(component.last) <= DAY);
            }
            if self.components.len() >= self.config.max_components {
                self.n_refused = self.n_refused.saturating_add(1);
                return None;
            }
            let new = Component::new(self.bar.window_of(at), at);
            self.components.insert(key.clone(), new);
        }
        let component = self.components.get_mut(&key)?;
        let at = component.comes(at, now, &self.bar);
        let burst = component.add(record, at, self.config.from, &self.bar)?;
        let tally = component.levels.get(&record.level);
        let picture = tally.map(|tally| tally.picture(at)).unwrap_or_default();
        let leading = component.leading.get(&record.level);
        let kinds = leading.map(Leading::weights).unwrap_or_default();
        let mut anomaly = self.describe(key, record.level, &burst, at);
        anomaly.series = picture;
        anomaly = anomaly.due_to(kinds);
        if let Some(most) = anomaly.contributions.first() {
            let share = prose::number(100.0 * most.share.get());
            let text = format!("; {share} % of them {}", most.feature);
            anomaly.explanation.push_str(&text);
        }
        Some(anomaly)
    }

    fn describe(
        &self,
        (target, component): (Target, String),
        level: Level,
        burst: &Burst,
        at: Timestamp,
    ) -> Anomaly {
        let of = if component.is_empty() {
            String::new()
        } else {
            format!(" of {component}")
        };
        let subject = format!("{level} records{of}");
        let explanation = format!(
            "{} {subject} within {} since {}, expected fewer than {} (mean {})",
            prose::number(burst.count),
            format_duration(self.config.window),
            burst.since,
            prose::number(burst.limit),
            prose::number(burst.mean),
        );
        let mut anomaly =
            Anomaly::new(&self.name, target, Subject::Logs(subject), at).saying(explanation);
        (anomaly.since, anomaly.direction) = (burst.since, Direction::High);
        anomaly.score = scale::score(burst.surprise / self.config.surprise);
        anomaly.surprise = burst.surprise;
        anomaly.observed = Some(burst.count);
        anomaly.expected = Expectation::Between {
            low: None,
            high: Some(burst.limit),
        };
        anomaly.severity_hint = self.config.severity_hint;
        anomaly.playbook_hint.clone_from(&self.config.playbook_hint);
        anomaly
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// What the counts are of: other windows and levels have other ones.
    #[serde(with = "crate::duration_text")]
    window: Duration,
    from: Level,
    components: Vec<(Target, String, Component)>,
    n_refused: u64,
}

#[async_trait]
impl Detector for LogErrorRate {
    fn name(&self) -> &str {
        &self.name
    }

    fn interest(&self) -> Interest {
        Interest::logs()
    }

    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let now = cx.now();
        let latest = now + MAX_AHEAD;
        let records = batch.logs.iter().filter(|record| record.at <= latest);
        let mut found: Vec<_> = records
            .filter_map(|record| self.take(record, now))
            .collect();
        found.truncate(MAX_TOLD);
        Ok(found)
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        let newest = self.components.values().map(|component| component.window);
        let newest = newest.max().unwrap_or_default();
        let components = self.components.iter().map(|((target, name), state)| {
            let mut state = state.clone();
            // One window is left to those that are late.
            let is_on = |leading: &Leading| leading.window() >= newest.saturating_sub(1);
            state.leading.retain(|_, leading| is_on(leading));
            (target.clone(), name.clone(), state)
        });
        let components = components.collect();
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&Stored {
                window: self.config.window,
                from: self.config.from,
                components,
                n_refused: self.n_refused,
            })?,
        })
    }

    fn forget_alarms(&mut self) {
        let components = self.components.values_mut();
        for tally in components.flat_map(|component| component.levels.values_mut()) {
            tally.forget_alarm();
        }
    }

    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let stored: Stored = state::open(&self.name, VERSION, snapshot)?;
        self.bar.require(stored.window)?;
        state::require(
            stored.from == self.config.from,
            &format!("counts of levels from {} on", stored.from),
            &format!("from {} on, as from says", self.config.from),
        )?;
        state::require(
            stored.components.len() <= self.config.max_components,
            &format!("{} components in the snapshot", stored.components.len()),
            &format!(
                "at most {}, as max_components says",
                self.config.max_components
            ),
        )?;
        for (target, name, component) in &stored.components {
            state::require(
                component.is_sound(),
                &format!("means and counts of {name:?} of {target}"),
                "none below 0 and none beyond what can be counted",
            )?;
        }
        let components = stored.components.into_iter();
        self.components = components
            .map(|(target, name, state)| ((target, name), state))
            .collect();
        self.n_refused = stored.n_refused;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::ManualClock;
    use homeostasis_core::signal::SeriesCatalog;
    use std::borrow::Cow;
    use std::sync::Arc;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn record(secs: i64, level: Level) -> LogRecord {
        let mut record =
            LogRecord::new(at(secs), level, "x").of(Target::service("orders").unwrap());
        record.component = Cow::Borrowed("payments");
        record
    }

    async fn found(config: LogErrorRateConfig, mut records: Vec<LogRecord>) -> Vec<Anomaly> {
        records.sort_by_key(|record| record.at);
        let mut detector = LogErrorRate::new("log_errors", config).unwrap();
        let catalog = SeriesCatalog::default();
        let cx = Context::new(Arc::new(ManualClock::new(at(1_000_000))), 1);
        let batch = SignalBatch::empty(&catalog).with_logs(&records);
        let found = detector.detect(&cx, batch).await.unwrap();
        assert!(found.iter().all(|anomaly| anomaly.violation().is_none()));
        found
    }

    /// So many records of a level a minute, in this stretch of minutes.
    fn per_minute(n: i64, level: Level, minutes: std::ops::Range<i64>) -> Vec<LogRecord> {
        minutes
            .flat_map(|minute| (0..n).map(move |i| record(60 * minute + 60 * i / n, level)))
            .collect()
    }

    #[tokio::test]
    async fn a_rise_of_errors_is_told_in_the_minute_it_begins() {
        let mut records = per_minute(30, Level::Info, 0..100);
        records.extend(per_minute(2, Level::Error, 0..100));
        records.extend(per_minute(40, Level::Error, 80..83));
        let found = found(LogErrorRateConfig::default(), records).await;
        assert!((1..=4).contains(&found.len()), "{found:?}");
        let first = &found[0];
        assert_eq!(
            first.subject,
            Subject::Logs("error records of payments".to_owned())
        );
        assert!(
            first.at.since(at(80 * 60)) < Duration::from_secs(60),
            "{first}"
        );
        assert!(found.iter().all(|anomaly| anomaly.at < at(84 * 60)));
        assert!(first.explanation.contains("expected fewer than"), "{first}");
    }

    #[tokio::test]
    async fn errors_that_come_with_the_load_are_expected() {
        let load = |n| {
            let mut records = per_minute(30, Level::Info, 0..80);
            records.extend(per_minute(6, Level::Error, 0..80));
            records.extend(per_minute(n, Level::Info, 80..85));
            records.extend(per_minute(60, Level::Error, 80..85));
            records
        };
        assert_eq!(found(LogErrorRateConfig::default(), load(600)).await, []);
        assert!(
            !found(LogErrorRateConfig::default(), load(30))
                .await
                .is_empty()
        );
    }

    #[tokio::test]
    async fn quiet_levels_are_watched_only_when_asked_for() {
        let mut records = per_minute(1, Level::Warn, 0..60);
        records.extend(per_minute(100, Level::Warn, 50..51));
        let from = |from| LogErrorRateConfig {
            from,
            ..LogErrorRateConfig::default()
        };
        assert_eq!(found(from(Level::Error), records.clone()).await, []);
        assert_eq!(found(from(Level::Warn), records).await.len(), 1);
    }

    #[tokio::test]
    async fn a_component_whose_clock_is_fast_moves_neither_its_own_time_nor_that_of_others() {
        let mut detector = LogErrorRate::new("log_errors", LogErrorRateConfig::default()).unwrap();
        let catalog = SeriesCatalog::default();
        for minute in 0..90 {
            let clock = ManualClock::new(at(60 * minute + 59));
            let cx = Context::new(Arc::new(clock), 1);
            let mut records = per_minute(4, Level::Error, minute..minute + 1);
            records.extend((0..4).map(|i| {
                let mut fast = record(60 * minute + 15 * i + 59 * 60, Level::Error);
                fast.component = Cow::Borrowed("fast");
                fast
            }));
            let batch = SignalBatch::empty(&catalog).with_logs(&records);
            assert_eq!(detector.detect(&cx, batch).await.unwrap(), [], "{minute}");
        }
        let now = at(90 * 60);
        assert!(
            detector
                .components
                .values()
                .all(|component| component.last <= now)
        );
    }

    #[tokio::test]
    async fn templates_of_a_window_that_is_over_are_not_stored() {
        let mut detector = LogErrorRate::new("log_errors", LogErrorRateConfig::default()).unwrap();
        let catalog = SeriesCatalog::default();
        let cx = Context::new(Arc::new(ManualClock::new(at(1_000_000))), 1);
        let mut records = per_minute(1, Level::Error, 0..3);
        records[0].component = Cow::Borrowed("silent since");
        records[1].level = Level::Fatal;
        let batch = SignalBatch::empty(&catalog).with_logs(&records);
        detector.detect(&cx, batch).await.unwrap();
        let state = detector.snapshot().unwrap().state;
        let leading = |i: usize| state["components"][i][2]["leading"].as_object().unwrap();
        let names = [0, 1].map(|i| state["components"][i][1].as_str().unwrap());
        assert_eq!(names, ["payments", "silent since"]);
        assert_eq!(leading(0).keys().collect::<Vec<_>>(), ["error"]);
        assert!(leading(1).is_empty());
    }

    #[tokio::test]
    async fn counts_of_other_windows_or_levels_are_refused() {
        let make = |secs, from| {
            let config = LogErrorRateConfig {
                window: Duration::from_secs(secs),
                from,
                ..LogErrorRateConfig::default()
            };
            LogErrorRate::new("log_errors", config).unwrap()
        };
        let mut detector = make(60, Level::Error);
        let records = per_minute(4, Level::Error, 0..5);
        let catalog = SeriesCatalog::default();
        let cx = Context::new(Arc::new(ManualClock::new(at(1_000_000))), 1);
        let batch = SignalBatch::empty(&catalog).with_logs(&records);
        detector.detect(&cx, batch).await.unwrap();
        let snapshot = detector.snapshot().unwrap();
        for (mut wrong, expected) in [
            (
                make(300, Level::Error),
                "counts in windows of 1m: expected windows of 5m, as window says",
            ),
            (
                make(60, Level::Warn),
                "counts of levels from error on: expected from warn on, as from says",
            ),
        ] {
            let error = wrong.restore(&snapshot).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert!(wrong.components.is_empty());
        }
        make(60, Level::Error).restore(&snapshot).unwrap();
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let config = LogErrorRateConfig {
            window: Duration::ZERO,
            history: 1,
            min_count: 0,
            factor: f64::NAN,
            surprise: 0.0,
            reraise: Some(Duration::ZERO),
            max_components: 0,
            ..LogErrorRateConfig::default()
        };
        let error = LogErrorRate::new(" ", config).unwrap_err();
        assert_eq!(error.violations().len(), 9, "{error}");
    }
}
