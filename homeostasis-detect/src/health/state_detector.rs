//! The state of targets, as all their checks say together.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{Anomaly, Severity};
use homeostasis_core::signal::{HealthReport, HealthState, HealthTier, Interest, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelSnapshot};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Violations};
use serde::{Deserialize, Serialize};

use super::ledger::{Followed, Ledger};
use super::matrix::{HealthAction, HealthJudgement, HealthMatrix, HealthMatrixConfig};
use super::tally::HealthTally;
use super::transition::HealthTransitions;
use super::words;
use crate::recent::Recent;
use crate::{check, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 2;
/// Reports may be this much ahead of the clock.
const MAX_AHEAD: Duration = Duration::from_secs(3600);

/// When a [`HealthStateDetector`] calls a target ill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthStateDetectorConfig {
    /// How many failing checks make which state.
    pub matrix: HealthMatrixConfig,
    /// A target may have no deep check that could say whether a failing shallow one matters. Then
    /// so many failing reports in a row count as a deep failure; default 2. At 0 they never do:
    /// such a target is *degraded* for as long as less than three shallow checks fail.
    pub n_alone: u32,
    /// After so many good reports in a row a check that failed counts as good; default 2, at least
    /// 1.
    pub n_recover: u32,
    /// Reports older than so many intervals of their check count as unknown; default 3, at least 1.
    pub stale_intervals: u32,
    /// The mildest state that is an anomaly; default *unhealthy*, not *healthy*.
    pub raise: HealthState,
    /// After how long an anomaly that lasts is raised again; default 60 s, above 0. The engine takes
    /// what is never raised again for over.
    #[serde(with = "crate::duration_text::option")]
    pub reraise: Option<Duration>,
    /// A hint how severe it is; default none.
    pub severity_hint: Option<Severity>,
    /// A hint for the state *critical* in place of `severity_hint`; default SEV1.
    pub critical_severity_hint: Option<Severity>,
    /// How many checks are followed at most; default 10 000, at least 1.
    pub max_checks: usize,
}

impl Default for HealthStateDetectorConfig {
    fn default() -> Self {
        Self {
            matrix: HealthMatrixConfig::default(),
            n_alone: 2,
            n_recover: 2,
            stale_intervals: 3,
            raise: HealthState::Unhealthy,
            reraise: Some(Duration::from_secs(60)),
            severity_hint: None,
            critical_severity_hint: Some(Severity::Sev1),
            max_checks: 10_000,
        }
    }
}

/// Raises anomalies when the checks of a target, taken together, say that it is ill.
///
/// The [`HealthMatrix`] judges each target at each report about it. A target is what reports name:
/// a service and its instances are judged apart.
/// - *Degraded* raises nothing by default: the schedule of the probes has asked the deep checks.
/// - *Unhealthy* raises an anomaly for each check that fails, so that each is healed and verified.
/// - *Critical* does so too, and the anomalies of the checks that made it so ask for people
///   ([`Anomaly::needs_people`]): the incident is escalated and no plan of it runs.
///
/// One anomaly for each check and episode; the episode ends when the check has recovered or its
/// target is milder than `raise`. What is too old says nothing: it raises no anomaly and ends none.
/// Reports that are not later than the last one of the same check, or more than one hour ahead of
/// the context's clock, are ignored; one that is less ahead counts as of now.
/// When `max_checks` are followed, one silent for an hour gives way; if there is none, a new one is
/// refused and counted.
/// O(log n + k) per report for n checks, of which k are of the same target.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{HealthStateDetector, HealthStateDetectorConfig};
///
/// let detector = HealthStateDetector::new("health", HealthStateDetectorConfig::default())?;
/// assert_eq!(detector.name(), "health");
/// let never = HealthStateDetectorConfig { n_recover: 0, ..Default::default() };
/// assert!(HealthStateDetector::new("health", never).is_err());
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HealthStateDetector {
    name: String,
    config: HealthStateDetectorConfig,
    matrix: HealthMatrix,
    checks: Ledger<Check>,
}

/// Where one check stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    /// The last report.
    report: HealthReport,
    settled: HealthTransitions,
    /// The first bad report in a row.
    since: Timestamp,
    n_bad: u32,
    /// Whether it failed so often in a row that it needs no other check to be believed.
    is_persistent: bool,
    /// When its anomaly was raised last.
    raised: Option<Timestamp>,
    /// Whether people were asked for then.
    asked_people: bool,
    recent: Recent,
}

impl Check {
    fn new(report: &HealthReport) -> Self {
        Self {
            report: report.clone(),
            settled: HealthTransitions::default(),
            since: report.at,
            n_bad: 0,
            is_persistent: false,
            raised: None,
            asked_people: false,
            recent: Recent::default(),
        }
    }

    fn step(&mut self, config: &HealthStateDetectorConfig, report: &HealthReport) {
        // Which it says or not: what came before has been too old in between.
        if !self.report.is_fresh(report.at, config.stale_intervals) {
            let recent = std::mem::take(&mut self.recent);
            *self = Self::new(report);
            self.recent = recent;
        }
        self.recent.push(report.at, words::level(report.state));
        self.report.clone_from(report);
        self.settled.step(Some(report.state), config.n_recover);
        if report.is_up() {
            self.n_bad = 0;
        } else {
            if self.n_bad == 0 {
                self.since = report.at;
            }
            self.n_bad = self.n_bad.saturating_add(1);
            self.is_persistent |= config.n_alone > 0 && self.n_bad >= config.n_alone;
        }
        if self.state() <= HealthState::Degraded {
            (self.is_persistent, self.raised, self.asked_people) = (false, None, false);
        }
    }

    /// With hysteresis.
    fn state(&self) -> HealthState {
        self.settled.state().unwrap_or(self.report.state)
    }

    /// Whether it is one of those that make a target critical.
    fn wants_people(&self) -> bool {
        self.report.tier == HealthTier::Comprehensive || self.report.state == HealthState::Critical
    }

    fn is_due(&self, config: &HealthStateDetectorConfig, at: Timestamp, for_people: bool) -> bool {
        match (self.raised, config.reraise) {
            (None, _) => true,
            _ if for_people && !self.asked_people => true,
            (Some(raised), Some(interval)) => at.since(raised) >= interval,
            (Some(_), None) => false,
        }
    }
}

impl Followed for Check {
    fn last(&self) -> Timestamp {
        self.report.at
    }
}

impl HealthStateDetector {
    /// A detector called `name`.
    ///
    /// # Errors
    /// If the name is empty, or a field of `config` is outside its range.
    pub fn new(
        name: impl Into<String>,
        config: HealthStateDetectorConfig,
    ) -> Result<Self, ConfigError> {
        let name = name.into();
        let mut found = Violations::new();
        check::named(&mut found, "health.name", &name);
        let matrix = HealthMatrix::new(config.matrix).map_err(|wrong| wrong.under("health"));
        let matrix = found.absorb(matrix).unwrap_or_default();
        for (path, n) in [
            ("health.n_recover", config.n_recover),
            ("health.stale_intervals", config.stale_intervals),
        ] {
            check::that(&mut found, n > 0, path, n, "at least 1");
        }
        let raises_ill = config.raise > HealthState::Healthy;
        let expected = "degraded, unhealthy or critical";
        check::that(
            &mut found,
            raises_ill,
            "health.raise",
            config.raise,
            expected,
        );
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
            matrix,
            checks: Ledger::new(config.max_checks),
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &HealthStateDetectorConfig {
        &self.config
    }

    /// How many reports were of checks for which there was no place.
    pub fn n_refused(&self) -> u64 {
        self.checks.n_refused()
    }

    /// How `target` is at `now`, from what its checks said last.
    pub fn judge(&self, target: &Target, now: Timestamp) -> HealthJudgement {
        let mut tally = HealthTally::default();
        let mut n_persistent = 0;
        for check in self.checks.of(target) {
            let is_fresh = check.report.is_fresh(now, self.config.stale_intervals);
            tally.count(check.report.tier, is_fresh.then(|| check.state()));
            let is_shallow = check.report.tier == HealthTier::Shallow;
            n_persistent += u32::from(is_fresh && is_shallow && check.is_persistent);
        }
        if tally.deep.n_known() == 0 && n_persistent > 0 {
            // Nobody can be asked whether it matters, and it does not pass by itself.
            tally.deep.failed = self.config.matrix.deep_unhealthy.max(n_persistent);
        }
        self.matrix.judge(&tally)
    }

    fn take(&mut self, report: &HealthReport) -> Vec<Anomaly> {
        let (config, at) = (&self.config, report.at);
        let step = |check: &mut Check, _| check.step(config, report);
        let known = self.checks.take(report, || Check::new(report), step);
        if known.is_none() {
            return Vec::new();
        }
        let judged = self.judge(&report.target, at);
        let Some(state) = judged.state.filter(|state| *state >= config.raise) else {
            for check in self.checks.of_mut(&report.target) {
                (check.raised, check.asked_people) = (None, false);
            }
            return Vec::new();
        };
        let mut found = Vec::new();
        for check in self.checks.of_mut(&report.target) {
            let for_people = judged.action == HealthAction::CallPeople && check.wants_people();
            let says_ill = check.report.state >= config.raise.min(HealthState::Unhealthy)
                && check.report.is_fresh(at, config.stale_intervals);
            if !says_ill || !check.is_due(config, at, for_people) {
                continue;
            }
            check.raised = Some(at);
            check.asked_people |= for_people;
            let (since, n_bad) = match check.n_bad {
                // It is only degraded, and that is bad enough here.
                0 => (check.report.at, 1),
                n_bad => (check.since, n_bad),
            };
            let mut anomaly = words::anomaly(&self.name, &check.report, since, n_bad);
            anomaly.series = check.recent.to_vec();
            // It may have been said by a check that reported earlier than the one that decided.
            anomaly.at = at.max(anomaly.at);
            anomaly.explanation =
                format!("{state}, for {} {}", check.report.tier, anomaly.explanation);
            anomaly.needs_people = for_people;
            anomaly.severity_hint = if state == HealthState::Critical {
                config.critical_severity_hint.or(config.severity_hint)
            } else {
                config.severity_hint
            };
            found.push(anomaly);
        }
        found
    }
}

#[async_trait]
impl Detector for HealthStateDetector {
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
        let now = cx.now();
        let latest = now + MAX_AHEAD;
        let mut found = Vec::new();
        for report in batch.health.iter().filter(|report| report.at <= latest) {
            if report.at <= now {
                found.extend(self.take(report));
            } else {
                // Otherwise it would hide what comes until its time.
                let mut report = report.clone();
                report.at = now;
                found.extend(self.take(&report));
            }
        }
        Ok(found)
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        let checks = self.checks.iter().map(|(.., known)| known.clone());
        let stored = Stored {
            checks: checks.collect(),
        };
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&stored)?,
        })
    }

    fn forget_alarms(&mut self) {
        for check in self.checks.iter_mut() {
            (check.raised, check.asked_people) = (None, false);
        }
    }

    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let stored: Stored = state::open(&self.name, VERSION, snapshot)?;
        state::require(
            stored.checks.len() <= self.config.max_checks,
            &format!("{} checks in the snapshot", stored.checks.len()),
            &format!("at most {}, as max_checks says", self.config.max_checks),
        )?;
        self.checks.restore(stored.checks.into_iter().map(|known| {
            let (target, check) = (known.report.target.clone(), known.report.check.clone());
            (target, check, known)
        }));
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    checks: Vec<Check>,
}

#[cfg(test)]
mod tests;
