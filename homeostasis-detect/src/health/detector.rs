//! Health reports that stay bad.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{Anomaly, Severity};
use homeostasis_core::signal::{HealthReport, HealthState, Interest, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelSnapshot};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violations};
use serde::{Deserialize, Serialize};

use super::ledger::{Followed, Ledger};
use super::words;
use crate::recent::Recent;
use crate::{check, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 2;
/// Reports may be this much ahead of the clock.
const MAX_AHEAD: Duration = Duration::from_secs(3600);

/// When a [`HealthDetector`] calls a check failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthDetectorConfig {
    /// How many bad reports in a row are an anomaly; default 2, at least 1.
    pub n_unhealthy: u32,
    /// Or for how long reports must be bad, however many there are; default never. Written `for`.
    #[serde(rename = "for", with = "crate::duration_text::option")]
    pub hold: Option<Duration>,
    /// How many good reports in a row end it; default 1, at least 1.
    pub n_healthy: u32,
    /// Whether *degraded* is bad too; default no.
    pub degraded_is_bad: bool,
    /// Reports further apart than this are not in a row; default 10m, above 0.
    #[serde(with = "crate::duration_text")]
    pub max_gap: Duration,
    /// After how long an anomaly that lasts is raised again; default 60 s, above 0.
    #[serde(with = "crate::duration_text::option")]
    pub reraise: Option<Duration>,
    /// A hint how severe it is; default none.
    pub severity_hint: Option<Severity>,
    /// A hint for the state *critical* in place of `severity_hint`; default SEV1.
    pub critical_severity_hint: Option<Severity>,
    /// The playbook that asks for it; default none.
    pub playbook_hint: Option<String>,
    /// How many checks are followed at most; default 10 000, at least 1.
    pub max_checks: usize,
}

impl Default for HealthDetectorConfig {
    fn default() -> Self {
        Self {
            n_unhealthy: 2,
            hold: None,
            n_healthy: 1,
            degraded_is_bad: false,
            max_gap: Duration::from_secs(600),
            reraise: Some(Duration::from_secs(60)),
            severity_hint: None,
            critical_severity_hint: Some(Severity::Sev1),
            playbook_hint: None,
            max_checks: 10_000,
        }
    }
}

/// Raises an anomaly when a health check of a target keeps failing.
///
/// One anomaly for each episode: after it was raised, the check must be healthy `n_healthy` times in a row before
/// it can be raised again (or `reraise` must pass).
/// Reports that are not later than the last one of the same check, or more than one hour ahead of the context's
/// clock, are ignored.
/// When `max_checks` are followed, one silent for an hour gives way; if there is none, a new one is refused and
/// counted.
/// O(log n) per report for n checks.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{HealthDetector, HealthDetectorConfig};
///
/// let detector = HealthDetector::new("health", HealthDetectorConfig::default())?;
/// assert_eq!(detector.name(), "health");
/// assert!(HealthDetector::new("health", HealthDetectorConfig { n_unhealthy: 0, ..Default::default() }).is_err());
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HealthDetector {
    name: String,
    config: HealthDetectorConfig,
    checks: Ledger<Check>,
}

/// Where one check stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    last: Timestamp,
    /// The first bad report in a row.
    since: Option<Timestamp>,
    n_bad: u32,
    n_good: u32,
    /// When the anomaly was raised last.
    raised: Option<Timestamp>,
    recent: Recent,
}

impl Check {
    fn new(at: Timestamp) -> Self {
        Self {
            last: at,
            since: None,
            n_bad: 0,
            n_good: 0,
            raised: None,
            recent: Recent::default(),
        }
    }

    /// Takes the next report; since when it is bad, if that is an anomaly now.
    fn step(
        &mut self,
        config: &HealthDetectorConfig,
        at: Timestamp,
        is_bad: bool,
    ) -> Option<Timestamp> {
        let is_gap = at.since(self.last) > config.max_gap;
        self.last = at;
        if !is_bad {
            self.n_good = if is_gap {
                1
            } else {
                self.n_good.saturating_add(1)
            };
            self.n_bad = 0;
            if self.raised.is_none() || self.n_good >= config.n_healthy {
                (self.since, self.raised) = (None, None);
            }
            return None;
        }
        if is_gap && self.raised.is_none() {
            (self.since, self.n_bad) = (None, 0);
        }
        self.n_good = 0;
        self.n_bad = self.n_bad.saturating_add(1);
        let since = *self.since.get_or_insert(at);
        let is_due = match (self.raised, config.reraise) {
            (None, _) => {
                self.n_bad >= config.n_unhealthy
                    || config.hold.is_some_and(|hold| at.since(since) >= hold)
            }
            (Some(raised), Some(interval)) => at.since(raised) >= interval,
            (Some(_), None) => false,
        };
        is_due.then(|| {
            self.raised = Some(at);
            since
        })
    }
}

impl HealthDetector {
    /// A detector called `name`.
    ///
    /// # Errors
    /// If the name is empty, or a field of `config` is outside its range.
    pub fn new(name: impl Into<String>, config: HealthDetectorConfig) -> Result<Self, ConfigError> {
        let name = name.into();
        let mut found = Violations::new();
        check::named(&mut found, "health.name", &name);
        for (path, n) in [
            ("health.n_unhealthy", config.n_unhealthy),
            ("health.n_healthy", config.n_healthy),
        ] {
            check::that(&mut found, n > 0, path, n, "at least 1 report");
        }
        check::lasting(&mut found, "health.max_gap", config.max_gap);
        if let Some(reraise) = config.reraise {
            check::lasting(&mut found, "health.reraise", reraise);
        }
        check::that(
            &mut found,
            config.max_checks > 0,
            "health.max_checks",
            config.max_checks,
            "at least 1 check",
        );
        found.into_result(Self {
            name,
            checks: Ledger::new(config.max_checks),
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &HealthDetectorConfig {
        &self.config
    }

    /// How many reports were of checks for which there was no place.
    pub fn n_refused(&self) -> u64 {
        self.checks.n_refused()
    }

    fn is_bad(&self, state: HealthState) -> bool {
        match state {
            HealthState::Healthy => false,
            HealthState::Degraded => self.config.degraded_is_bad,
            HealthState::Unhealthy | HealthState::Critical => true,
        }
    }

    fn take(&mut self, report: &HealthReport) -> Option<Anomaly> {
        let (at, is_bad) = (report.at, self.is_bad(report.state));
        let step = |check: &mut Check, _| {
            check.recent.push(at, words::level(report.state));
            let since = check.step(&self.config, at, is_bad)?;
            Some((since, check.n_bad, check.recent.to_vec()))
        };
        let (since, n_bad, points) = self.checks.take(report, || Check::new(at), step)??;
        let mut anomaly = words::anomaly(&self.name, report, since, n_bad);
        anomaly.series = points;
        anomaly.severity_hint = match report.state {
            HealthState::Critical => self
                .config
                .critical_severity_hint
                .or(self.config.severity_hint),
            _ => self.config.severity_hint,
        };
        anomaly.playbook_hint.clone_from(&self.config.playbook_hint);
        Some(anomaly)
    }
}

impl Followed for Check {
    fn last(&self) -> Timestamp {
        self.last
    }
}

#[async_trait]
impl Detector for HealthDetector {
    fn name(&self) -> &str {
        &self.name
    }

    fn interest(&self) -> Interest {
        Interest::health()
    }

    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let latest = cx.now() + MAX_AHEAD;
        Ok(batch
            .health
            .iter()
            .filter(|report| report.at <= latest)
            .filter_map(|report| self.take(report))
            .collect())
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        let checks = self
            .checks
            .iter()
            .map(|(target, check, state)| (target.clone(), check.to_owned(), state.clone()))
            .collect();
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&Stored { checks })?,
        })
    }

    fn forget_alarms(&mut self) {
        for check in self.checks.iter_mut() {
            check.raised = None;
        }
    }

    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let stored: Stored = state::open(&self.name, VERSION, snapshot)?;
        state::require(
            stored.checks.len() <= self.config.max_checks,
            &format!("{} checks in the snapshot", stored.checks.len()),
            &format!("at most {}, as max_checks says", self.config.max_checks),
        )?;
        self.checks.restore(stored.checks);
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    checks: Vec<(Target, String, Check)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::ManualClock;
    use homeostasis_core::record::Subject;
    use homeostasis_core::signal::SeriesCatalog;
    use std::sync::Arc;

    use HealthState::{Critical, Degraded, Healthy, Unhealthy};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn report(secs: i64, state: HealthState) -> HealthReport {
        let target = Target::service("orders").unwrap();
        HealthReport::new(at(secs), target, "http", state).saying("connection refused")
    }

    async fn detect(
        config: HealthDetectorConfig,
        reports: &[HealthReport],
    ) -> (HealthDetector, Vec<Anomaly>) {
        let mut detector = HealthDetector::new("health", config).unwrap();
        let catalog = SeriesCatalog::default();
        let cx = Context::new(Arc::new(ManualClock::new(at(100_000))), 1);
        let batch = SignalBatch::empty(&catalog).with_health(reports);
        let found = detector.detect(&cx, batch).await.unwrap();
        assert!(found.iter().all(|anomaly| anomaly.violation().is_none()));
        (detector, found)
    }

    async fn times(config: HealthDetectorConfig, states: &[HealthState]) -> Vec<i64> {
        let reports: Vec<_> = (0..)
            .zip(states)
            .map(|(i, state)| report(i * 10, *state))
            .collect();
        let (_, found) = detect(config, &reports).await;
        found.iter().map(|a| a.at.as_millis() / 1000).collect()
    }

    #[tokio::test]
    async fn two_bad_reports_in_a_row_are_one_anomaly_until_it_is_healthy() {
        let config = HealthDetectorConfig::default();
        let bad_then_good = [Unhealthy, Healthy, Unhealthy, Degraded, Unhealthy];
        assert!(times(config.clone(), &bad_then_good).await.is_empty());
        assert_eq!(times(config.clone(), &[Unhealthy; 7]).await, [10]);
        // What lasts is raised again after a minute.
        assert_eq!(times(config.clone(), &[Unhealthy; 9]).await, [10, 70]);
        let twice = [Unhealthy, Unhealthy, Healthy, Unhealthy, Critical];
        assert_eq!(times(config, &twice).await, [10, 40]);
    }

    #[tokio::test]
    async fn bad_for_a_while_is_an_anomaly_too() {
        let config = HealthDetectorConfig {
            n_unhealthy: 1000,
            hold: Some(Duration::from_secs(30)),
            ..HealthDetectorConfig::default()
        };
        assert_eq!(times(config, &[Unhealthy; 9]).await, [30]);
    }

    #[tokio::test]
    async fn flapping_is_one_episode_when_recovery_takes_several_good_reports() {
        let config = HealthDetectorConfig {
            n_healthy: 3,
            reraise: Some(Duration::from_secs(50)),
            ..HealthDetectorConfig::default()
        };
        let mut states = vec![Unhealthy, Unhealthy, Healthy, Healthy, Unhealthy, Unhealthy];
        assert_eq!(times(config.clone(), &states).await, [10]);
        states.push(Unhealthy);
        assert_eq!(times(config, &states).await, [10, 60]);
    }

    #[tokio::test]
    async fn reports_far_apart_late_or_from_the_future_do_not_count() {
        let bad = |secs| report(secs, Unhealthy);
        let config = HealthDetectorConfig::default();
        let (_, found) = detect(config.clone(), &[bad(0), bad(5000)]).await;
        assert_eq!(found.len(), 0);
        let (_, found) = detect(config.clone(), &[bad(10), bad(10), bad(5)]).await;
        assert_eq!(found.len(), 0);
        let (_, found) = detect(config, &[bad(0), bad(9_000_000), bad(10)]).await;
        assert_eq!(found.len(), 1);
    }

    #[tokio::test]
    async fn the_sentence_says_what_was_seen_and_since_when() {
        let reports = [report(0, Unhealthy), report(10, Critical)];
        let (_, found) = detect(HealthDetectorConfig::default(), &reports).await;
        assert_eq!(found[0].subject, Subject::Health("http".to_owned()));
        assert_eq!(found[0].severity_hint, Some(Severity::Sev1));
        assert_eq!(
            found[0].to_string(),
            "orders: health check http is critical, expected healthy; 2 bad reports in a row \
             since 1970-01-01T00:00:00Z (10s so far): connection refused"
        );
    }

    #[tokio::test]
    async fn a_flood_of_checks_is_refused() {
        let reports: Vec<_> = (0..10)
            .map(|i| {
                let target = Target::service("a").unwrap();
                HealthReport::new(at(i), target, format!("c{i}"), Healthy)
            })
            .collect();
        let config = HealthDetectorConfig {
            max_checks: 3,
            ..HealthDetectorConfig::default()
        };
        let (detector, _) = detect(config, &reports).await;
        assert_eq!((detector.checks.len(), detector.n_refused()), (3, 7));
    }
}
