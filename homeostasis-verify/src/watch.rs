//! The watch after a remedy.

use homeostasis_core::record::Verdict;
use homeostasis_core::stage::{Verifier, VerifyError, VerifyRequest};
use homeostasis_core::{ConfigError, Context, async_trait};

use crate::config::WatchConfig;
use crate::course::Course;
use crate::scenario::Scenarios;

/// Looks again and again until it is decided whether a remedy helped.
///
/// The first look is `wait` after the remedy ended (or at once, if that is past), further ones
/// `interval` apart until `watch` after the first look or the deadline of the context. All waiting
/// goes through the context's clock. Only what was seen after the remedy ended counts.
///
/// A plan's criteria decide, and whatever they are the incident's own anomalies must be gone (their series back in the expected band, their
/// conditions false); where an anomaly cannot say so or its series is silent, the health checks of
/// its target stand in. So must any anomaly be that began after the remedy.
///
/// # The phases
/// | phase | when | it ends the verification with |
/// |---|---|---|
/// | immediate checks | from the end of the remedy, at most `immediate_within` | failed: take it back |
/// | short watch | after `wait`, at most `watch`, every `interval` | failed: take it back; partial; uncertain |
/// | functional tests | once, if the short watch succeeded or everything undecided in it is silent | partial: investigate; uncertain in silence |
/// | stability watch | for `stability`, every `stability_interval` | failed: nothing holds, twice in a row; partial: what held failed at a look; uncertain: silent at more than a fifth of the looks |
/// | comparison | at the end of the stability watch | partial: keep watching |
///
/// A phase with nothing to judge is left out. The whole ends within
/// [`VerificationSpec::longest`](homeostasis_core::record::VerificationSpec::longest) if the process
/// lives, and in any case with the first look after
/// [`VerifyRequest::until`](homeostasis_core::stage::VerifyRequest::until).
///
/// # Whose doing it is
/// A criterion that holds is asked again where there was no remedy: in the time before, and of
/// untreated peers of the treated instance that failed it alike. Those are given as long as the
/// short watch. What holds there too is no proof: see [`judge`](crate::judge).
///
/// # The states and what follows
/// | verdict | when | advice | what the healing cycle does |
/// |---|---|---|---|
/// | success | every criterion passed, each as often in a row and as long as it asks, and nothing got clearly worse | close | closes the incident and counts a success for the playbook |
/// | partial | at the end some hold and some do not | keep watching | keeps the incident open and tries the next plan; people are called if there is none |
/// | failed | clearly worse than in trouble ([`HarmWatch`](crate::HarmWatch); at once), or at the end nothing holds | roll back | takes back what can be taken back, then tries the next plan or calls people |
/// | uncertain | data are missing, not enough, or contradict each other | escalate | extends the watch once, then calls people; nothing further is changed |
///
/// # Cancel safety
/// It only reads; a dropped watch leaves nothing behind and can be started again.
///
/// ```
/// use homeostasis::core::stage::Verifier;
/// use homeostasis::verify::{SequentialWatch, WatchConfig};
/// let watch = SequentialWatch::new(WatchConfig::default())?;
/// assert_eq!(watch.name(), "sequential_watch");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct SequentialWatch {
    config: WatchConfig,
    scenarios: Scenarios,
}

impl SequentialWatch {
    /// A watch without scenarios.
    ///
    /// # Errors
    /// If a value of `config` is out of its range.
    pub fn new(config: WatchConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            scenarios: Scenarios::default(),
        })
    }

    /// The same with what functional criteria may use.
    pub fn with_scenarios(mut self, scenarios: Scenarios) -> Self {
        self.scenarios = scenarios;
        self
    }

    /// What functional criteria may use.
    pub fn scenarios(&self) -> &Scenarios {
        &self.scenarios
    }
}

#[async_trait]
impl Verifier for SequentialWatch {
    fn name(&self) -> &'static str {
        "sequential_watch"
    }

    async fn verify(
        &self,
        cx: &Context,
        request: VerifyRequest<'_>,
    ) -> Result<Verdict, VerifyError> {
        let spec = &request.plan.verification;
        let intervals = [
            ("verification interval", spec.interval),
            (
                "verification stability interval",
                spec.phases.stability_interval,
            ),
        ];
        if let Some((name, _)) = intervals.iter().find(|(_, it)| it.is_zero()) {
            return Err(VerifyError::invalid(*name, "0s, expected more than zero"));
        }
        if cx.remaining().is_some_and(|left| left.is_zero()) {
            return Err(VerifyError::Timeout {
                during: "waiting for the first look".to_owned(),
            });
        }
        Course::new(&self.config, &self.scenarios, cx, &request)
            .run()
            .await
    }
}

#[cfg(test)]
mod tests;
