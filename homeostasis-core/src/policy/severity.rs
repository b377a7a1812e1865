//! Severity from impact, duration, trend and history, with its arithmetic shown.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::Severity;
use crate::unit::Ratio;

/// Where it is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trend {
    /// It heals by itself.
    Improving,
    /// Neither.
    Stable,
    /// It grows.
    Worsening,
    /// Nobody can tell: counted as worsening.
    Unknown,
}

/// What severity is computed from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeverityInputs {
    /// Which share of users, requests or services is hit.
    pub impact: Ratio,
    /// How long it has lasted.
    pub duration: Duration,
    /// Where it is going.
    pub trend: Trend,
    /// How often the same was seen in the last day.
    pub seen_before: u64,
    /// What detectors and rules said; the result is never milder.
    pub at_least: Option<Severity>,
}

/// The score behind a severity, 0 to 100, with its parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SeverityScore {
    /// Up to 50 points.
    pub impact: f64,
    /// Up to 20 points, reached after an hour.
    pub duration: f64,
    /// Up to 20 points.
    pub trend: f64,
    /// Up to 10 points, reached at ten occurrences.
    pub history: f64,
    /// What detectors and rules said, if that is graver than the points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Severity>,
    /// The result.
    pub severity: Severity,
}

impl SeverityInputs {
    /// Adds up the parts: 80 points are SEV0, 55 SEV1, 30 SEV2.
    ///
    /// ```
    /// use homeostasis::core::policy::{SeverityInputs, Trend};
    /// use homeostasis::core::{Ratio, record::Severity};
    /// let score = SeverityInputs {
    ///     impact: Ratio::new(0.5)?,
    ///     duration: std::time::Duration::from_secs(1800),
    ///     trend: Trend::Worsening,
    ///     seen_before: 0,
    ///     at_least: None,
    /// }
    /// .score();
    /// assert_eq!(score.total(), 55.0);
    /// assert_eq!(score.severity, Severity::Sev1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn score(self) -> SeverityScore {
        let impact = 50.0 * self.impact.get();
        let duration = 20.0 * (self.duration.as_secs_f64() / 3600.0).min(1.0);
        let trend = match self.trend {
            Trend::Improving => 0.0,
            Trend::Stable => 10.0,
            Trend::Worsening | Trend::Unknown => 20.0,
        };
        let history = (self.seen_before as f64).min(10.0);
        let computed = match impact + duration + trend + history {
            total if total >= 80.0 => Severity::Sev0,
            total if total >= 55.0 => Severity::Sev1,
            total if total >= 30.0 => Severity::Sev2,
            _ => Severity::Sev3,
        };
        let at_least = self.at_least.filter(|floor| *floor < computed);
        let severity = at_least.unwrap_or(computed);
        SeverityScore {
            impact,
            duration,
            trend,
            history,
            at_least,
            severity,
        }
    }
}

impl SeverityScore {
    /// How often the same was seen in the day before: each occurrence is a point, up to ten.
    pub fn seen_before(&self) -> u64 {
        let points = (1..=10_u32).rev();
        let mut points = points.skip_while(|n| f64::from(*n) > self.history);
        points.next().map_or(0, u64::from)
    }

    /// The sum of the parts.
    pub fn total(&self) -> f64 {
        self.impact + self.duration + self.trend + self.history
    }
}

impl fmt::Display for SeverityScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: impact {:.0} + duration {:.0} + trend {:.0} + history {:.0} = {:.0}/100",
            self.severity,
            self.impact,
            self.duration,
            self.trend,
            self.history,
            self.total()
        )?;
        match self.at_least {
            Some(floor) => write!(f, ", but at least {floor} as a detector says"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn more_impact_or_time_never_makes_it_milder(a in 0.0..=1.0_f64, b in 0.0..=1.0_f64, secs in 0_u64..10_000) {
            let score = |impact, secs| SeverityInputs {
                impact: Ratio::saturating(impact),
                duration: Duration::from_secs(secs),
                trend: Trend::Stable,
                seen_before: 0,
                at_least: None,
            }.score().severity;
            prop_assert!(score(a.max(b), secs) <= score(a.min(b), secs));
            prop_assert!(score(a, secs + 600) <= score(a, secs));
        }
    }

    #[test]
    fn a_hint_makes_it_worse_but_never_milder() {
        let base = SeverityInputs {
            impact: Ratio::ONE,
            duration: Duration::from_secs(3600),
            trend: Trend::Worsening,
            seen_before: 0,
            at_least: Some(Severity::Sev3),
        };
        assert_eq!(base.score().severity, Severity::Sev0);
        let said = |at_least| SeverityInputs { at_least, ..base }.score().to_string();
        assert!(said(Some(Severity::Sev3)).ends_with("/100"));
        let mild = SeverityInputs {
            impact: Ratio::ZERO,
            duration: Duration::ZERO,
            trend: Trend::Improving,
            ..base
        };
        assert_eq!(mild.score().severity, Severity::Sev3);
        assert_eq!(
            SeverityInputs {
                at_least: Some(Severity::Sev1),
                ..mild
            }
            .score()
            .severity,
            Severity::Sev1
        );
        let told = SeverityInputs {
            at_least: Some(Severity::Sev0),
            ..mild
        };
        let told = told.score().to_string();
        assert!(
            told.starts_with("SEV0: impact 0 ") && told.contains(" = 0/100, but at least SEV0"),
            "{told}"
        );
    }
}
