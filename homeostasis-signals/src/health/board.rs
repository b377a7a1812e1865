//! The latest report of every check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use homeostasis_core::port::Redactor;
use homeostasis_core::signal::{
    HealthReport, HealthTier, SeriesCatalog, SeriesId, Signal, SignalSink,
};
use homeostasis_core::{Clock, ConfigError, Target, Timestamp, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::snapshot::{ComponentHealth, HealthSnapshot, HealthStatus};

/// The longest detail that is kept, in characters.
const MAX_DETAIL: usize = 512;

/// A component that nobody expects is forgotten when it was unknown for so many times as long as
/// its last report counted.
const FORGET_AFTER: u32 = 10;

/// What a [`HealthBoard`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthBoardConfig {
    /// How many components it has at most; default 1 000, at least 1.
    pub max_components: usize,
    /// A report older than so many intervals of its check counts as unknown; default 3, at least 1.
    pub stale_intervals: u32,
}

impl Default for HealthBoardConfig {
    fn default() -> Self {
        Self {
            max_components: 1_000,
            stale_intervals: 3,
        }
    }
}

type Source = Box<dyn Fn(Timestamp) -> HealthReport + Send + Sync>;

/// The latest report of every check, and since when it says so. Cheap to clone; all clones are the
/// same board.
///
/// It is fed through [`HealthBoard::record`], or by a [`BoardSink`] in the way of the reports.
/// Details are kept only if there is a redactor ([`HealthBoard::redacted_by`]): what is shown on an
/// endpoint may be read by anybody.
/// A component is one check of one target. If there are as many as may be, a report of another one
/// takes the place of the oldest that is unknown, or is refused and counted.
/// A component that is unknown for long leaves the board, unless it is
/// [expected](HealthBoard::expect): an instance that was scaled away makes nobody ill.
/// What the board [asks](HealthBoard::ask) itself counts only beside what was reported or is expected.
/// Recording and reading cost O(log n) and O(n) under one short lock for n components.
///
/// # Examples
/// ```
/// use homeostasis::core::signal::{HealthReport, HealthState};
/// use homeostasis::core::{Target, Timestamp};
/// use homeostasis::signals::{HealthBoard, HealthStatus};
///
/// let board = HealthBoard::default();
/// let at = Timestamp::from_secs(100);
/// assert_eq!(board.snapshot(at).state, HealthStatus::Unknown);
/// board.record(&HealthReport::new(at, Target::service("shop")?, "http", HealthState::Degraded));
/// assert_eq!(board.snapshot(at).state, HealthStatus::Degraded);
/// // What is old says nothing any more.
/// assert_eq!(board.snapshot(Timestamp::from_secs(200)).state, HealthStatus::Unknown);
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Clone)]
pub struct HealthBoard {
    config: HealthBoardConfig,
    redactor: Option<Arc<dyn Redactor>>,
    clock: Option<Arc<dyn Clock>>,
    kept: Arc<RwLock<Kept>>,
    sources: Arc<RwLock<Vec<Source>>>,
}

#[derive(Debug, Default)]
struct Kept {
    components: BTreeMap<(Target, String), Component>,
    /// Those that stay although they are silent.
    expected: BTreeSet<(Target, String)>,
    n_refused: u64,
}

#[derive(Debug)]
enum Component {
    /// It has not reported yet.
    Expected(HealthTier),
    Reported {
        last: HealthReport,
        since: Timestamp,
    },
}

impl Default for HealthBoard {
    fn default() -> Self {
        Self::checked(HealthBoardConfig::default())
    }
}

impl fmt::Debug for HealthBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthBoard")
            .field("config", &self.config)
            .field("redactor", &self.redactor)
            .finish_non_exhaustive()
    }
}

impl HealthBoard {
    /// An empty board.
    ///
    /// # Errors
    /// If a number is 0.
    pub fn new(config: HealthBoardConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        for (path, is_zero) in [
            ("max_components", config.max_components == 0),
            ("stale_intervals", config.stale_intervals == 0),
        ] {
            if is_zero {
                wrong.push(Violation::new(path, 0, "at least 1"));
            }
        }
        wrong.into_result(Self::checked(config))
    }

    fn checked(config: HealthBoardConfig) -> Self {
        Self {
            config,
            redactor: None,
            clock: None,
            kept: Arc::default(),
            sources: Arc::default(),
        }
    }

    /// The same, keeping the details of reports, without their secrets.
    /// [`NoRedaction`](homeostasis_core::port::NoRedaction) keeps them as they are.
    pub fn redacted_by(mut self, redactor: Arc<dyn Redactor>) -> Self {
        self.redactor = Some(redactor);
        self
    }

    /// The same, taking reports from the future as of now: a clock that is ahead must not hide the
    /// reports that come later.
    pub fn clocked_by(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Makes a check known before it reports: until then its component is unknown, and it stays on
    /// the board when it is silent. It does nothing if there is no place.
    pub fn expect(&self, target: Target, check: impl Into<String>, tier: HealthTier) {
        let mut kept = self.write();
        let key = (target, check.into());
        let is_known = kept.components.contains_key(&key);
        if is_known || kept.components.len() < self.config.max_components {
            kept.expected.insert(key.clone());
            kept.components
                .entry(key)
                .or_insert(Component::Expected(tier));
        }
    }

    /// One component more that is asked whenever the board is read. It must not read the board
    /// itself, and should be quick.
    pub fn ask(&self, source: impl Fn(Timestamp) -> HealthReport + Send + Sync + 'static) {
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.push(Box::new(source));
    }

    /// Takes a report, unless a later one of the same check was taken before.
    pub fn record(&self, report: &HealthReport) {
        let mut last = report.clone();
        last.detail = self.redacted(&report.detail);
        if let Some(clock) = &self.clock {
            last.at = last.at.min(clock.now());
        }
        let at = last.at;
        let mut kept = self.write();
        let key = (report.target.clone(), report.check.clone());
        if !kept.components.contains_key(&key) && !self.make_room(&mut kept, at) {
            kept.n_refused += 1;
            return;
        }
        let mut since = at;
        if let Some(Component::Reported { last, since: known }) = kept.components.get(&key) {
            if at < last.at {
                return;
            }
            let stale = !last.is_fresh(at, self.config.stale_intervals);
            if last.state == report.state && !stale {
                since = *known;
            }
        }
        let component = Component::Reported { last, since };
        kept.components.insert(key, component);
    }

    /// What is known at `now`.
    pub fn snapshot(&self, now: Timestamp) -> HealthSnapshot {
        let asked: Vec<_> = {
            let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
            sources.iter().map(|source| source(now)).collect()
        };
        for report in &asked {
            self.record(report);
        }
        let mut kept = self.write();
        let Kept {
            components,
            expected,
            ..
        } = &mut *kept;
        let long = self.config.stale_intervals.saturating_mul(FORGET_AFTER);
        components.retain(|key, known| match known {
            Component::Reported { last, .. } => last.is_fresh(now, long) || expected.contains(key),
            Component::Expected(_) => true,
        });
        let components: Vec<_> = kept
            .components
            .iter()
            .map(|((target, check), known)| self.component(target, check, known, now))
            .collect();
        let is_asked = |component: &ComponentHealth| {
            let same = |report: &HealthReport| {
                report.target == component.target && report.check == component.check
            };
            asked.iter().any(same)
        };
        let worst = if components.iter().all(is_asked) {
            None
        } else {
            components.iter().map(|component| component.state).max()
        };
        HealthSnapshot {
            state: worst.unwrap_or(HealthStatus::Unknown),
            at: now,
            components,
            refused: kept.n_refused,
        }
    }

    fn component(
        &self,
        target: &Target,
        check: &str,
        known: &Component,
        now: Timestamp,
    ) -> ComponentHealth {
        let mut shown = ComponentHealth {
            target: target.clone(),
            check: check.to_owned(),
            tier: HealthTier::default(),
            state: HealthStatus::Unknown,
            since: None,
            at: None,
            latency: None,
            attempts: 0,
            detail: String::new(),
        };
        match known {
            Component::Expected(tier) => shown.tier = *tier,
            Component::Reported { last, since } => {
                let intervals = self.config.stale_intervals;
                shown.tier = last.tier;
                shown.at = Some(last.at);
                shown.latency = Some(last.latency);
                shown.attempts = last.attempts;
                if last.is_fresh(now, intervals) {
                    shown.state = last.state.into();
                    shown.since = Some(*since);
                    shown.detail.clone_from(&last.detail);
                } else {
                    let interval = last.interval.unwrap_or(last.tier.plan().interval);
                    shown.since = Some(last.at + interval.saturating_mul(intervals));
                    shown.detail = format!("no report since {}; it was {}", last.at, last.state);
                }
            }
        }
        shown
    }

    fn redacted(&self, detail: &str) -> String {
        let Some(redactor) = &self.redactor else {
            return String::new();
        };
        // Cut afterwards: half a secret is not recognized.
        redactor.text(detail).chars().take(MAX_DETAIL).collect()
    }

    /// Makes a place if there is none, by forgetting the oldest component that is unknown.
    fn make_room(&self, kept: &mut Kept, now: Timestamp) -> bool {
        if kept.components.len() < self.config.max_components {
            return true;
        }
        let stale = kept
            .components
            .iter()
            .filter_map(|(key, known)| match known {
                Component::Reported { last, .. }
                    if !last.is_fresh(now, self.config.stale_intervals) =>
                {
                    Some((last.at, key))
                }
                _ => None,
            });
        let Some(oldest) = stale.min().map(|(_, key)| key.clone()) else {
            return false;
        };
        kept.components.remove(&oldest).is_some()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Kept> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sink that shows health reports to a [`HealthBoard`] and passes everything on.
#[derive(Debug)]
pub struct BoardSink {
    board: HealthBoard,
    inner: Arc<dyn SignalSink>,
}

impl BoardSink {
    /// Passes everything on to `inner`.
    pub fn new(board: HealthBoard, inner: Arc<dyn SignalSink>) -> Self {
        Self { board, inner }
    }
}

impl SignalSink for BoardSink {
    fn sample(&self, series: SeriesId, at: Timestamp, value: f64) {
        self.inner.sample(series, at, value);
    }

    fn signal(&self, signal: Signal) {
        if let Signal::Health(report) = &signal {
            self.board.record(report);
        }
        self.inner.signal(signal);
    }

    fn catalog(&self) -> &SeriesCatalog {
        self.inner.catalog()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use homeostasis_core::signal::{HealthState, VecSink};

    use super::*;
    use HealthState::{Degraded, Healthy, Unhealthy};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn report(secs: i64, check: &str, state: HealthState) -> HealthReport {
        let shop = Target::service("shop").unwrap();
        HealthReport::new(at(secs), shop, check, state).saying("token=hunter2 refused")
    }

    #[derive(Debug)]
    struct NoTokens;

    impl Redactor for NoTokens {
        fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
            text.replace("hunter2", "***").into()
        }

        fn field<'a>(&self, _: &str, value: &'a str) -> Cow<'a, str> {
            value.into()
        }
    }

    #[test]
    fn a_component_keeps_since_when_it_is_so() {
        let board = HealthBoard::default();
        let since = |secs, state| {
            board.record(&report(secs, "http", state));
            let snapshot = board.snapshot(at(secs));
            let component = &snapshot.components[0];
            (component.state, component.since.unwrap().as_millis() / 1000)
        };
        assert_eq!(since(0, Healthy), (HealthStatus::Healthy, 0));
        assert_eq!(since(10, Unhealthy), (HealthStatus::Unhealthy, 10));
        assert_eq!(since(20, Unhealthy), (HealthStatus::Unhealthy, 10));
        // A late report changes nothing, and silence ends what was known.
        assert_eq!(since(15, Healthy), (HealthStatus::Unhealthy, 10));
        assert_eq!(since(51, Unhealthy), (HealthStatus::Unhealthy, 51));
        let snapshot = board.snapshot(at(82));
        let component = &snapshot.components[0];
        assert_eq!(component.state, HealthStatus::Unknown);
        assert_eq!(component.since, Some(at(81)));
        assert!(component.detail.ends_with("it was unhealthy"));
    }

    #[test]
    fn the_worst_component_decides_and_the_expected_is_unknown() {
        let board = HealthBoard::default();
        let shop = Target::service("shop").unwrap();
        board.record(&report(0, "http", Degraded));
        assert_eq!(board.snapshot(at(0)).state, HealthStatus::Degraded);
        board.expect(shop.clone(), "db", HealthTier::Deep);
        board.expect(shop.clone(), "http", HealthTier::Deep);
        let snapshot = board.snapshot(at(0));
        assert_eq!(snapshot.state, HealthStatus::Unknown);
        assert_eq!(snapshot.components[0].tier, HealthTier::Deep);
        assert_eq!(snapshot.components[1].state, HealthStatus::Degraded);
        let other = "other/0".parse::<Target>().unwrap();
        let elsewhere = HealthReport::new(at(0), other.clone(), "http", Unhealthy);
        board.record(&elsewhere);
        let snapshot = board.snapshot(at(0));
        assert_eq!(snapshot.state, HealthStatus::Unhealthy);
        assert_eq!(snapshot.state_of(&[shop]), HealthStatus::Unknown);
        assert_eq!(
            snapshot.state_of(&[other.to_service()]),
            HealthStatus::Unhealthy
        );
        assert_eq!(snapshot.state_of(&[]), HealthStatus::Unknown);
    }

    #[test]
    fn who_is_silent_for_long_leaves_unless_it_is_expected() {
        let board = HealthBoard::default();
        board.expect(
            Target::service("shop").unwrap(),
            "db",
            HealthTier::default(),
        );
        for check in ["db", "gone"] {
            board.record(&report(0, check, Healthy));
        }
        let names = |secs| -> Vec<_> {
            let components = board.snapshot(at(secs)).components;
            components.into_iter().map(|shown| shown.check).collect()
        };
        assert_eq!(names(300), ["db", "gone"]);
        assert_eq!(names(301), ["db"]);
        assert_eq!(board.snapshot(at(301)).state, HealthStatus::Unknown);
    }

    #[test]
    fn a_report_from_the_future_hides_nothing() {
        use homeostasis_core::ManualClock;

        let clock = ManualClock::new(at(100));
        let board = HealthBoard::default().clocked_by(Arc::new(clock));
        board.record(&report(3600, "http", Healthy));
        board.record(&report(100, "http", Unhealthy));
        assert_eq!(board.snapshot(at(100)).state, HealthStatus::Unhealthy);
    }

    #[test]
    fn details_are_shown_only_without_their_secrets() {
        let shown = |board: HealthBoard| {
            board.record(&report(0, "http", Unhealthy));
            board.snapshot(at(0)).components[0].detail.clone()
        };
        assert_eq!(shown(HealthBoard::default()), "");
        let redacted = HealthBoard::default().redacted_by(Arc::new(NoTokens));
        assert_eq!(shown(redacted), "token=*** refused");
    }

    #[test]
    fn a_full_board_forgets_what_is_unknown_and_refuses_the_rest() {
        let config = HealthBoardConfig {
            max_components: 2,
            ..HealthBoardConfig::default()
        };
        let board = HealthBoard::new(config).unwrap();
        for (secs, check) in [(0, "a"), (20, "b"), (25, "c"), (35, "d")] {
            board.record(&report(secs, check, Healthy));
        }
        let snapshot = board.snapshot(at(35));
        let names: Vec<_> = snapshot
            .components
            .iter()
            .map(|c| c.check.as_str())
            .collect();
        assert_eq!((names, snapshot.refused), (vec!["b", "d"], 1));
        let none = HealthBoardConfig {
            max_components: 0,
            stale_intervals: 0,
        };
        let error = HealthBoard::new(none).unwrap_err().to_string();
        assert!(error.contains("max_components = 0, expected at least 1"));
        assert!(error.contains("stale_intervals = 0, expected at least 1"));
    }

    #[test]
    fn a_sink_shows_reports_and_passes_everything_on() {
        let (board, inner) = (HealthBoard::default(), Arc::new(VecSink::default()));
        let sink = BoardSink::new(board.clone(), Arc::clone(&inner) as _);
        sink.signal(Signal::Health(report(5, "http", Healthy)));
        sink.sample_of(&homeostasis_core::signal::SeriesKey::new("up"), at(5), 1.0);
        assert_eq!(inner.take().len(), 2);
        assert_eq!(board.snapshot(at(6)).state, HealthStatus::Healthy);
    }

    #[test]
    fn what_is_asked_at_every_reading_is_a_component_with_a_past() {
        let board = HealthBoard::default();
        board.ask(|now| {
            let state = if now < at(10) { Healthy } else { Degraded };
            HealthReport::new(now, Target::service("self").unwrap(), "engine", state)
                .took(Duration::from_millis(2))
        });
        // It says nothing of what nobody has reported yet.
        assert_eq!(board.snapshot(at(0)).state, HealthStatus::Unknown);
        board.record(&report(0, "http", Healthy));
        assert_eq!(board.snapshot(at(0)).state, HealthStatus::Healthy);
        board.snapshot(at(12));
        let component = &board.snapshot(at(14)).components[0];
        assert_eq!(
            (component.state, component.since),
            (HealthStatus::Degraded, Some(at(12)))
        );
        let json = serde_json::to_value(component).unwrap();
        assert_eq!(json["latency_ms"], 2.0);
        assert_eq!(json["tier"], "shallow");
    }
}
