//! A closure as a probe.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::signal::{HealthReport, HealthState, HealthTier};
use homeostasis_core::{BoxFuture, Context, Target};

use super::probing::Probe;
use super::reading::Reading;

type Ask = Box<dyn Fn(Context) -> BoxFuture<'static, Reading> + Send + Sync>;

/// A probe made of a closure.
///
/// # Examples
/// ```
/// use homeostasis::core::signal::HealthState;
/// use homeostasis::core::{Context, Target};
/// use homeostasis::signals::{FnProbe, Probe};
/// use std::time::Duration;
///
/// let probe = FnProbe::of_state("license", Target::service("shop")?, |_: Context| async {
///     (HealthState::Degraded, "expires in 3 days".to_owned())
/// })
/// .every(Duration::from_secs(3600));
/// assert_eq!(probe.interval().as_secs(), 3600);
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
pub struct FnProbe {
    name: String,
    target: Target,
    tier: HealthTier,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    ask: Ask,
    /// Whether it ever gave a report of its own, or surely will.
    reports_health: AtomicBool,
}

impl FnProbe {
    /// A shallow probe that gives the reading of `ask`, every 10 s and within 100 ms.
    ///
    /// It [reports health](Probe::reports_health) once a reading held a report of it.
    pub fn new<F, Fut>(name: impl Into<String>, target: Target, ask: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reading> + Send + 'static,
    {
        Self {
            name: name.into(),
            target,
            tier: HealthTier::default(),
            interval: None,
            timeout: None,
            ask: Box::new(move |cx| Box::pin(ask(cx))),
            reports_health: AtomicBool::new(false),
        }
    }

    /// A probe that reports the state and the words of `ask`, and how long it took.
    pub fn of_state<F, Fut>(name: impl Into<String>, target: Target, ask: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = (HealthState, String)> + Send + 'static,
    {
        let name = name.into();
        let (check, of) = (name.clone(), target.clone());
        let probe = Self::new(name, target, move |cx| {
            let report = HealthReport::new(cx.now(), of.clone(), &check, HealthState::Healthy);
            let clock = Arc::clone(cx.clock());
            let asked = ask(cx);
            async move {
                let (state, detail) = asked.await;
                let took = clock.now().since(report.at);
                let mut report = report.took(took).saying(detail);
                report.state = state;
                Reading::default().reporting(report)
            }
        });
        probe.reports_health.store(true, Ordering::Relaxed);
        probe
    }

    /// The same in another tier, with the tier's interval, time limit and retries unless said
    /// otherwise.
    pub fn in_tier(mut self, tier: HealthTier) -> Self {
        self.tier = tier;
        self
    }

    /// The same, asked at another interval than its tier says.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// The same with another time limit than its tier says.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl fmt::Debug for FnProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnProbe")
            .field("name", &self.name)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Probe for FnProbe {
    fn name(&self) -> &str {
        &self.name
    }

    async fn probe(&self, cx: &Context) -> Reading {
        let reading = (self.ask)(cx.clone()).await;
        let is_own =
            |report: &HealthReport| report.check == self.name && report.target == self.target;
        if reading.reports().any(is_own) {
            self.reports_health.store(true, Ordering::Relaxed);
        }
        reading
    }

    fn reports_health(&self) -> bool {
        self.reports_health.load(Ordering::Relaxed)
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn tier(&self) -> HealthTier {
        self.tier
    }

    fn interval(&self) -> Duration {
        self.interval.unwrap_or(self.tier.plan().interval)
    }

    fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(self.tier.plan().timeout)
    }
}
