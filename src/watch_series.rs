//! Series that are watched without anybody saying what is normal for them.

use homeostasis_core::{ConfigError, Violations};
use homeostasis_detect::{
    Alerting, AlertingConfig, OnlineConfig, OnlineDetector, PerSeries, Selector,
};

use crate::builder::Builder;
use crate::config::n_shards;
use crate::furnished::reraise;

/// What shall be watched, until the healer starts.
#[derive(Debug)]
pub(crate) struct WatchedSeries {
    name: String,
    selector: Selector,
    config: OnlineConfig,
}

impl Builder {
    /// Watches every series that `selector` selects with the furnished detector, `OnlineDetector`: it needs no
    /// threshold and no training, learns what is usual while it runs, and judges from some hundred samples on.
    ///
    /// An anomaly takes two abnormal samples in a row, each judged on its own; a
    /// spike so large that the changes of its window are new as well can be both of them; `name` is what incidents call the detector.
    /// Up to 10 000 series are spread over the cores of the machine, each with at most 200 kB.
    /// Who wants another number, another alerting or a severity makes a `PerSeries` and gives it to
    /// [`detector`](Self::detector).
    ///
    /// What is wrong with `name` or `config` is said at the start.
    ///
    /// # Examples
    /// ```
    /// use homeostasis::Homeostasis;
    /// use homeostasis::detect::{OnlineConfig, Selector};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let healer = Homeostasis::builder()
    ///     .watch_series("latency", Selector::metric("http_request_seconds"), OnlineConfig::default())
    ///     .start()
    ///     .await?;
    /// # healer.shutdown().await;
    /// # Ok(()) }
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "detect")))]
    pub fn watch_series(
        mut self,
        name: impl Into<String>,
        selector: Selector,
        config: OnlineConfig,
    ) -> Self {
        self.parts.watched.push(WatchedSeries {
            name: name.into(),
            selector,
            config,
        });
        self
    }

    /// Makes the detectors of what shall be watched.
    pub(crate) fn assemble_watched(mut self, violations: &mut Violations) -> Self {
        for watched in std::mem::take(&mut self.parts.watched) {
            let path = format!("watch_series.{}", watched.name);
            let made = self.watching(watched).map_err(|error| error.under(&path));
            if let Some(detector) = violations.absorb(made) {
                self = self.detector(detector);
            }
        }
        self
    }

    fn watching(&self, watched: WatchedSeries) -> Result<PerSeries<OnlineDetector>, ConfigError> {
        let template = OnlineDetector::new(watched.config)?;
        let alerting = Alerting::new(AlertingConfig {
            reraise: Some(reraise(&self.settings)),
            ..AlertingConfig::default()
        })?;
        let made = PerSeries::new(watched.name, watched.selector, move |_| template.clone())?;
        Ok(made.with_alerting(alerting).with_shards(n_shards()))
    }
}
