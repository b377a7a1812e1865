//! One thing to look at after a remedy, and whose doing it is.

use homeostasis_core::Timestamp;
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
    /// When it was seen to fail, by the record of the incident: its memory outlives the process.
    witnessed: Option<Timestamp>,
    /// When it first passed since it last failed.
    held: Option<Timestamp>,
    /// Whose doing it is, as far as the short watch could tell.
    found: Option<(Attribution, String)>,
}

impl Asked {
    fn new(evaluator: Evaluator) -> Self {
        Self {
            fresh: evaluator.clone(),
            evaluator,
            placebo: None,
            witnessed: None,
            held: None,
            found: None,
        }
    }

    fn look(&mut self, look: &Look<'_>) -> Result<Reading, VerifyError> {
        let reading = self.evaluator.look(look)?;
        match reading.outcome {
            CheckOutcome::Passed => self.held = self.held.or(Some(look.now)),
            CheckOutcome::Failed => self.held = None,
            CheckOutcome::NoData | CheckOutcome::Undecided => {}
        }
        Ok(reading)
    }

    fn tell(&self, reading: &mut Reading) {
        let Some((attribution, why)) = &self.found else {
            return;
        };
        reading.attribution = *attribution;
        if !why.is_empty() {
            reading.detail = format!("{}; {why}", reading.detail);
        }
        let is_attributed = matches!(
            attribution,
            Attribution::Attributed | Attribution::AgainstPeers
        );
        if is_attributed {
            tracing::debug!(criterion = self.fresh.words(), "attributed to the remedy");
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
            Some(evaluator) => {
                let mut asked = Asked::new(evaluator);
                asked.witnessed = Some(anomaly.at);
                (asked, Some(health))
            }
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
        let reading = self.main.look(look)?;
        self.is_stood_in = false;
        if let Some(stand_in) = &mut self.stand_in {
            let instead = stand_in.look(look)?;
            if reading.outcome == CheckOutcome::NoData && instead.outcome != CheckOutcome::NoData {
                self.is_stood_in = true;
                return Ok((stand_in.evaluator.words().to_owned(), instead));
            }
        }
        Ok((self.words().to_owned(), reading))
    }

    /// Says of a pass in the short watch whose doing it is. Until its last look a pass that has a
    /// control is not decided: untreated peers are given as long.
    pub(crate) fn attribute(
        &mut self,
        reading: &mut Reading,
        look: &Look<'_>,
        (past, is_last): (Past<'_>, bool),
    ) -> Result<(), VerifyError> {
        let Some(asked) = self.asked(reading) else {
            return Ok(());
        };
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
        let held = asked.held.unwrap_or(look.now);
        let (mut attribution, mut why) = placebo.attribution(look, held, past)?;
        // A state that the incident saw fail before the remedy needs no memory of this process.
        let is_witnessed = asked.witnessed.is_some_and(|at| at < past.untreated_until);
        if attribution == Attribution::Unexamined && is_witnessed && placebo.is_unseen() {
            attribution = Attribution::Attributed;
            "it failed when the incident was opened".clone_into(&mut why);
        }
        asked.found = Some((attribution, why));
        asked.tell(reading);
        Ok(())
    }

    /// Says of a pass after the short watch what that found: how long one watches on says nothing of
    /// whose doing it is.
    pub(crate) fn recall(&mut self, reading: &mut Reading) {
        if let Some(asked) = self.asked(reading) {
            asked.tell(reading);
        }
    }

    /// What passed, if it has a past.
    fn asked(&mut self, reading: &Reading) -> Option<&mut Asked> {
        let asked = match &mut self.stand_in {
            Some(stand_in) if self.is_stood_in => stand_in,
            _ => &mut self.main,
        };
        (reading.outcome == CheckOutcome::Passed && asked.fresh.has_past()).then_some(asked)
    }
}
