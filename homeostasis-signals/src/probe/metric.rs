//! Judges health by what is measured anyway.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::condition::{Condition, EvalError, Truth};
use homeostasis_core::signal::{HealthReport, HealthState};
use homeostasis_core::{ConfigError, Context, Target, TargetScope, Violations};
use serde::{Deserialize, Serialize};

use super::check::{lasting, named};
use super::probing::Probe;
use super::reading::Reading;

/// Which values mean which health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricProbeConfig {
    /// What the probe is called.
    pub name: String,
    /// Whose metrics the conditions mean.
    pub target: Target,
    /// When it is unhealthy: `disk_usage_percent > 95`.
    pub unhealthy_when: Condition,
    /// When it is degraded, if it is not unhealthy; default never.
    #[serde(default)]
    pub degraded_when: Option<Condition>,
    /// How old a value may be; default 1 min.
    #[serde(
        default = "MetricProbeConfig::default_window",
        with = "crate::duration_text"
    )]
    pub window: Duration,
    /// How often it is asked; default 10 s.
    #[serde(
        default = "MetricProbeConfig::default_interval",
        with = "crate::duration_text"
    )]
    pub interval: Duration,
}

impl MetricProbeConfig {
    /// The defaults for `target`.
    pub fn new(name: impl Into<String>, target: Target, unhealthy_when: Condition) -> Self {
        Self {
            name: name.into(),
            target,
            unhealthy_when,
            degraded_when: None,
            window: Self::default_window(),
            interval: Self::default_interval(),
        }
    }

    fn default_window() -> Duration {
        Duration::from_secs(60)
    }

    fn default_interval() -> Duration {
        Duration::from_secs(10)
    }
}

/// Reports health from the newest values of a target's metrics.
///
/// *Unhealthy* and *degraded* when their conditions hold, *healthy* when neither does.
/// When the values to decide are missing it reports nothing: absence of data is neither health nor
/// illness. A condition that cannot be evaluated (units that do not fit) is *critical*: humans have
/// to mend it.
///
/// # Examples
/// ```
/// use homeostasis::core::Target;
/// use homeostasis::core::condition::Condition;
/// use homeostasis::signals::{MetricProbe, MetricProbeConfig};
///
/// let condition = Condition::parse("disk_usage_percent > 95")?;
/// let probe = MetricProbe::new(MetricProbeConfig::new("disk", Target::service("shop")?, condition))?;
/// # let _ = probe;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MetricProbe {
    config: MetricProbeConfig,
}

impl MetricProbe {
    /// A probe.
    ///
    /// # Errors
    /// - The name is empty.
    /// - A duration is zero.
    pub fn new(config: MetricProbeConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        named(&mut wrong, &config.name);
        lasting(&mut wrong, "interval", config.interval);
        lasting(&mut wrong, "window", config.window);
        wrong.into_result(Self { config })
    }

    fn judge(&self, scope: &TargetScope<'_>) -> Result<Option<(HealthState, String)>, EvalError> {
        let Some(degraded_when) = &self.config.degraded_when else {
            return Ok(match self.config.unhealthy_when.evaluate(scope)? {
                Truth::True => Some((HealthState::Unhealthy, self.holds())),
                Truth::False => Some((HealthState::Healthy, String::new())),
                Truth::Unknown => None,
            });
        };
        let unhealthy = self.config.unhealthy_when.evaluate(scope)?;
        let degraded = degraded_when.evaluate(scope)?;
        Ok(match (unhealthy, degraded) {
            (Truth::True, _) => Some((HealthState::Unhealthy, self.holds())),
            (Truth::False, Truth::True) => {
                Some((HealthState::Degraded, format!("{degraded_when} holds")))
            }
            (Truth::False, Truth::False) => Some((HealthState::Healthy, String::new())),
            _ => None,
        })
    }

    fn holds(&self) -> String {
        format!("{} holds", self.config.unhealthy_when)
    }
}

#[async_trait]
impl Probe for MetricProbe {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.config.target)
    }

    fn interval(&self) -> Duration {
        self.config.interval
    }

    async fn probe(&self, cx: &Context) -> Reading {
        let now = cx.now();
        let scope = TargetScope {
            observations: cx.observations(),
            target: Some(&self.config.target),
            since: now - self.config.window,
            now,
        };
        let judged = self.judge(&scope).unwrap_or_else(|error| {
            let detail = format!("condition cannot be evaluated: {error}");
            Some((HealthState::Critical, detail))
        });
        let Some((state, detail)) = judged else {
            return Reading::default();
        };
        let target = self.config.target.clone();
        let report = HealthReport::new(now, target, &self.config.name, state);
        Reading::default().reporting(report.saying(detail))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use homeostasis_core::signal::{Change, Labels, LogRecord, SeriesKey, SpanRecord};
    use homeostasis_core::{ManualClock, Observations, SeriesWindow, Timestamp};

    use super::*;

    /// One gauge of the service `shop`.
    #[derive(Debug, Default)]
    struct OneSeries(Mutex<Vec<(Timestamp, f64)>>);

    impl Observations for OneSeries {
        fn series(
            &self,
            metric: &str,
            labels: &Labels,
            from: Timestamp,
            to: Timestamp,
        ) -> Vec<SeriesWindow> {
            let key = SeriesKey::new("disk_usage_percent").with("service", "shop");
            let points: Vec<(Timestamp, f64)> = self.0.lock().unwrap().clone();
            let points: Vec<_> = points
                .into_iter()
                .filter(|(at, _)| (from..=to).contains(at))
                .collect();
            if key.matches(metric, labels) && !points.is_empty() {
                vec![SeriesWindow {
                    key: Arc::new(key),
                    points,
                }]
            } else {
                Vec::new()
            }
        }

        fn series_of(&self, _: &Target, _: Timestamp, _: Timestamp) -> Vec<SeriesWindow> {
            Vec::new()
        }

        fn logs(&self, _: Option<&Target>, _: Timestamp, _: Timestamp) -> Vec<LogRecord> {
            Vec::new()
        }

        fn spans(&self, _: Option<&Target>, _: Timestamp, _: Timestamp) -> Vec<SpanRecord> {
            Vec::new()
        }

        fn changes(&self, _: Timestamp, _: Timestamp) -> Vec<Change> {
            Vec::new()
        }

        fn health(&self, _: Option<&Target>, _: Timestamp, _: Timestamp) -> Vec<HealthReport> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn values_decide_and_missing_or_old_values_do_not() {
        let series = Arc::new(OneSeries::default());
        let clock = ManualClock::new(Timestamp::from_secs(1000));
        let observations = Arc::clone(&series) as Arc<dyn Observations>;
        let cx = Context::new(Arc::new(clock.clone()), 1).observing(observations);
        let condition = |text: &str| Condition::parse(text).unwrap();
        let probe = MetricProbe::new(MetricProbeConfig {
            degraded_when: Some(condition("disk_usage_percent > 80")),
            ..MetricProbeConfig::new(
                "disk",
                Target::service("shop").unwrap(),
                condition("disk_usage_percent > 95"),
            )
        })
        .unwrap();
        let state = async || probe.probe(&cx).await.reports().next().map(|r| r.state);
        assert_eq!(state().await, None);
        for (value, expected) in [
            (50.0, Some(HealthState::Healthy)),
            (85.0, Some(HealthState::Degraded)),
            (97.0, Some(HealthState::Unhealthy)),
        ] {
            clock.advance(Duration::from_secs(1));
            series.0.lock().unwrap().push((cx.now(), value));
            assert_eq!(state().await, expected);
        }
        clock.advance(Duration::from_secs(61));
        assert_eq!(state().await, None);
    }

    #[test]
    fn wrong_settings_are_named() {
        let config = MetricProbeConfig {
            window: Duration::ZERO,
            interval: Duration::ZERO,
            ..MetricProbeConfig::new(
                "",
                Target::service("shop").unwrap(),
                Condition::parse("a > 1").unwrap(),
            )
        };
        let error = MetricProbe::new(config).unwrap_err();
        assert_eq!(error.violations().len(), 3);
    }
}
