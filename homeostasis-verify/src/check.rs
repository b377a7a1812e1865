//! One thing to look at after a remedy, and whose doing it is.

use homeostasis_core::record::{Anomaly, CheckOutcome, Criterion};
use homeostasis_core::stage::VerifyError;

use crate::config::WatchConfig;
use crate::criterion::{Attribution, Evaluator, Look, Reading};
use crate::placebo::{Past, Placebo};

/// One thing to look at, and what to look at instead if it is silent.
#[derive(Debug)]
pub(crate) struct Check {
    main: Asked,
    stand_in: Option<Asked>,
    /// Whether the stand-in spoke last.
    is_stood_in: bool,
}

/// A criterion, its state, and what its past says once that was asked.
#[derive(Debug)]
struct Asked {
    fresh: Evaluator,
    evaluator: Evaluator,
    placebo: Option<Placebo>,
}

impl Asked {
    fn new(evaluator: Evaluator) -> Self {
        Self {
            fresh: evaluator.clone(),
            evaluator,
            placebo: None,
        }
    }
}

impl Check {
    pub(crate) fn new(criterion: &Criterion, config: &WatchConfig) -> Result<Self, VerifyError> {
        let evaluator = Evaluator::new(criterion, config.tolerance)?;
        Ok(Self {
            main: Asked::new(evaluator),
            stand_in: None,
            is_stood_in: false,
        })
    }

    /// That this anomaly is gone; where it cannot say so, the health of its target stands in.
    pub(crate) fn recovery(anomaly: &Anomaly, config: &WatchConfig) -> Self {
        let health = Asked::new(Evaluator::health_of(&anomaly.target, config));
        let (main, stand_in) = match Evaluator::recovery(anomaly, config) {
            Some(evaluator) => (Asked::new(evaluator), Some(health)),
            None => (health, None),
        };
        Self {
            main,
            stand_in,
            is_stood_in: false,
        }
    }

    /// The criterion in words, without its stand-in.
    pub(crate) fn words(&self) -> &str {
        self.main.evaluator.words()
    }

    /// The words and the reading of what had something to say.
    pub(crate) fn look(&mut self, look: &Look<'_>) -> Result<(String, Reading), VerifyError> {
        let reading = self.main.evaluator.look(look)?;
        self.is_stood_in = false;
        if let Some(stand_in) = &mut self.stand_in {
            let instead = stand_in.evaluator.look(look)?;
            if reading.outcome == CheckOutcome::NoData && instead.outcome != CheckOutcome::NoData {
                self.is_stood_in = true;
                return Ok((stand_in.evaluator.words().to_owned(), instead));
            }
        }
        Ok((self.words().to_owned(), reading))
    }

    /// Says of a pass whose doing it is. Until the last look a pass that has a control is not
    /// decided: untreated peers are given as long.
    pub(crate) fn attribute(
        &mut self,
        reading: &mut Reading,
        look: &Look<'_>,
        (past, is_last): (Past<'_>, bool),
    ) -> Result<(), VerifyError> {
        let asked = match &mut self.stand_in {
            Some(stand_in) if self.is_stood_in => stand_in,
            _ => &mut self.main,
        };
        if reading.outcome != CheckOutcome::Passed || !asked.fresh.has_past() {
            return Ok(());
        }
        let placebo = match asked.placebo.take() {
            Some(placebo) => placebo,
            None => Placebo::new(&asked.fresh, look, past)?,
        };
        let placebo = asked.placebo.insert(placebo);
        if placebo.has_control() && !is_last {
            reading.outcome = CheckOutcome::Undecided;
            reading.would_settle = Some("what untreated peers do that suffer alike".to_owned());
            return Ok(());
        }
        let (attribution, why) = placebo.attribution(look, past)?;
        reading.attribution = attribution;
        if !why.is_empty() {
            reading.detail = format!("{}; {why}", reading.detail);
        }
        if matches!(
            attribution,
            Attribution::Attributed | Attribution::AgainstPeers
        ) {
            tracing::debug!(criterion = asked.fresh.words(), "attributed to the remedy");
        }
        Ok(())
    }
}
