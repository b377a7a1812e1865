//! The weighted sum of what families of detectors say.

use std::fmt;

use homeostasis_core::record::Severity;
use homeostasis_core::{ConfigError, Ratio, Score, Violations};
use serde::{Deserialize, Serialize};

use crate::check;

/// The family a detector is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorFamily {
    /// Means, quantiles and deviations of one series.
    Statistical,
    /// Learned models of many features: forests, autoencoders, mixtures.
    Ml,
    /// Seasonality, rate of change, trends, shapes.
    Pattern,
    /// Several series or services that deviate together.
    Correlation,
}

impl DetectorFamily {
    /// All of them, in the order of [`CompositeWeights::combine`].
    pub const ALL: [Self; 4] = [
        Self::Statistical,
        Self::Ml,
        Self::Pattern,
        Self::Correlation,
    ];

    /// Its position in [`ALL`](Self::ALL).
    pub(super) fn index(self) -> usize {
        match self {
            Self::Statistical => 0,
            Self::Ml => 1,
            Self::Pattern => 2,
            Self::Correlation => 3,
        }
    }
}

impl fmt::Display for DetectorFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Statistical => "statistical",
            Self::Ml => "ml",
            Self::Pattern => "pattern",
            Self::Correlation => "correlation",
        })
    }
}

/// How bad a composite score is; ordered, `Info` is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompositeLevel {
    /// Worth a look.
    Info,
    /// Minor.
    Low,
    /// As far as the limit of a single detector.
    Medium,
    /// Several families agree.
    High,
    /// All of them do.
    Critical,
}

impl CompositeLevel {
    /// The hint for the severity of an incident; none for `Info`.
    ///
    /// `Critical` is SEV1, `High` SEV2, `Medium` and `Low` SEV3: SEV0 is an outage, which no score of deviation can
    /// tell, and which is healed by actions approved beforehand only.
    pub fn severity(self) -> Option<Severity> {
        match self {
            Self::Info => None,
            Self::Low | Self::Medium => Some(Severity::Sev3),
            Self::High => Some(Severity::Sev2),
            Self::Critical => Some(Severity::Sev1),
        }
    }
}

impl fmt::Display for CompositeLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// The weights of the families, and the scores above which a level begins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompositeWeightsConfig {
    /// Default 0.3; each weight 0 to 1000, not all 0.
    pub statistical: f64,
    /// Default 0.4.
    pub ml: f64,
    /// Default 0.2.
    pub pattern: f64,
    /// Default 0.1.
    pub correlation: f64,
    /// Default 0.9; each level begins above its score and above that of the level below.
    pub critical: Score,
    /// Default 0.75.
    pub high: Score,
    /// Default 0.5.
    pub medium: Score,
    /// Default 0.3.
    pub low: Score,
    /// Default 0.1.
    pub info: Score,
}

impl Default for CompositeWeightsConfig {
    fn default() -> Self {
        Self {
            statistical: 0.3,
            ml: 0.4,
            pattern: 0.2,
            correlation: 0.1,
            critical: Score::saturating(0.9),
            high: Score::saturating(0.75),
            medium: Score::saturating(0.5),
            low: Score::saturating(0.3),
            info: Score::saturating(0.1),
        }
    }
}

/// Checked weights: what [`combine`](Self::combine) adds up with.
///
/// # Examples
/// ```
/// use homeostasis::core::Score;
/// use homeostasis::detect::{CompositeLevel, CompositeWeights};
///
/// let weights = CompositeWeights::default();
/// let said = |score| Some(Score::saturating(score));
/// // Nobody watches correlation: the others weigh 0.3, 0.4 and 0.2 of 0.9.
/// let composite = weights.combine([said(0.9), said(0.6), said(0.9), None]);
/// assert!((composite.score.get() - 0.69 / 0.9).abs() < 1e-12);
/// assert_eq!(composite.level, Some(CompositeLevel::High));
/// assert_eq!(composite.to_string(), "0.77 (high) = 33 % of statistical 0.90 + 44 % of ml 0.60 + 22 % of pattern 0.90");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CompositeWeights {
    config: CompositeWeightsConfig,
}

/// A weighted sum with its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct CompositeScore {
    /// The sum.
    pub score: Score,
    /// Its level; `None` if it is at most the score of `Info`.
    pub level: Option<CompositeLevel>,
    /// The families that have a say, in their order.
    pub parts: Vec<CompositePart>,
}

/// What one family adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompositePart {
    /// Which.
    pub family: DetectorFamily,
    /// Its weight among those that have a say.
    pub weight: Ratio,
    /// What it says.
    pub score: Score,
}

impl CompositePart {
    /// Weight times score.
    pub fn product(&self) -> f64 {
        self.weight.get() * self.score.get()
    }
}

impl CompositeWeights {
    /// Checks the weights and levels.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `composite`.
    pub fn new(config: CompositeWeightsConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        let weights = Self { config };
        for family in DetectorFamily::ALL {
            let weight = weights.weight(family);
            let path = format!("composite.{family}");
            let holds = (0.0..=1000.0).contains(&weight);
            check::that(&mut found, holds, &path, weight, "a weight of 0 to 1000");
        }
        let sum: f64 = DetectorFamily::ALL
            .map(|family| weights.weight(family))
            .iter()
            .sum();
        let path = "composite.weights";
        check::that(&mut found, sum != 0.0, path, "all 0", "one of them above 0");
        let levels = [
            ("info", config.info),
            ("low", config.low),
            ("medium", config.medium),
            ("high", config.high),
            ("critical", config.critical),
        ];
        for pair in levels.windows(2) {
            let [(below, low), (name, high)] = [pair[0], pair[1]];
            let path = format!("composite.{name}");
            let expected = format!("above {}, where {below} begins", low.get());
            check::that(&mut found, high > low, &path, high.get(), &expected);
        }
        found.into_result(weights)
    }

    /// The configuration.
    pub fn config(&self) -> &CompositeWeightsConfig {
        &self.config
    }

    fn weight(&self, family: DetectorFamily) -> f64 {
        match family {
            DetectorFamily::Statistical => self.config.statistical,
            DetectorFamily::Ml => self.config.ml,
            DetectorFamily::Pattern => self.config.pattern,
            DetectorFamily::Correlation => self.config.correlation,
        }
    }

    /// The weighted mean of what the families say, in the order of [`DetectorFamily::ALL`].
    ///
    /// `None` is a family that has no say: the weights of the others are enlarged to a sum of 1.
    /// One that says 0 has its say. Of nothing the score is 0.
    pub fn combine(&self, said: [Option<Score>; 4]) -> CompositeScore {
        let said = DetectorFamily::ALL.into_iter().zip(said);
        let said = said.filter_map(|(family, score)| Some((family, self.weight(family), score?)));
        let said: Vec<_> = said.filter(|(_, weight, _)| *weight > 0.0).collect();
        let sum: f64 = said.iter().map(|(_, weight, _)| weight).sum();
        let part = |(family, weight, score)| CompositePart {
            family,
            weight: Ratio::saturating(weight / sum),
            score,
        };
        let parts: Vec<CompositePart> = said.into_iter().map(part).collect();
        let score = Score::saturating(parts.iter().map(CompositePart::product).sum());
        CompositeScore {
            score,
            level: self.level(score),
            parts,
        }
    }

    /// The level of a score.
    pub fn level(&self, score: Score) -> Option<CompositeLevel> {
        let levels = [
            (self.config.critical, CompositeLevel::Critical),
            (self.config.high, CompositeLevel::High),
            (self.config.medium, CompositeLevel::Medium),
            (self.config.low, CompositeLevel::Low),
            (self.config.info, CompositeLevel::Info),
        ];
        let mut reached = levels.into_iter().filter(|(begins, _)| score > *begins);
        reached.next().map(|(_, level)| level)
    }

    /// Above which score a level begins.
    pub fn threshold(&self, level: CompositeLevel) -> Score {
        match level {
            CompositeLevel::Info => self.config.info,
            CompositeLevel::Low => self.config.low,
            CompositeLevel::Medium => self.config.medium,
            CompositeLevel::High => self.config.high,
            CompositeLevel::Critical => self.config.critical,
        }
    }
}

impl fmt::Display for CompositeScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.score.get())?;
        if let Some(level) = self.level {
            write!(f, " ({level})")?;
        }
        for (i, part) in self.parts.iter().enumerate() {
            let sign = if i == 0 { " =" } else { " +" };
            let weight = 100.0 * part.weight.get();
            write!(
                f,
                "{sign} {weight:.0} % of {} {:.2}",
                part.family,
                part.score.get()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_levels_begin_above_their_scores() {
        let weights = CompositeWeights::default();
        let level = |score| {
            weights
                .level(Score::saturating(score))
                .map(|level| level.to_string())
        };
        for (score, expected) in [
            (0.1, None),
            (0.11, Some("info")),
            (0.3, Some("info")),
            (0.31, Some("low")),
            (0.51, Some("medium")),
            (0.76, Some("high")),
            (0.9, Some("high")),
            (0.91, Some("critical")),
        ] {
            assert_eq!(level(score).as_deref(), expected, "{score}");
        }
    }

    #[test]
    fn weights_and_levels_out_of_range_are_named() {
        let config = CompositeWeightsConfig {
            ml: -1.0,
            pattern: f64::NAN,
            high: Score::saturating(0.5),
            ..CompositeWeightsConfig::default()
        };
        let error = CompositeWeights::new(config).unwrap_err().to_string();
        for place in [
            "composite.ml = -1",
            "composite.pattern = NaN",
            "composite.high = 0.5, expected above 0.5, where medium begins",
        ] {
            assert!(error.contains(place), "{error}");
        }
        let none = CompositeWeightsConfig {
            statistical: 0.0,
            ml: 0.0,
            pattern: 0.0,
            correlation: 0.0,
            ..CompositeWeightsConfig::default()
        };
        assert!(CompositeWeights::new(none).is_err());
    }

    proptest! {
        #[test]
        fn it_lies_between_what_is_said_and_grows_with_it(
            said in prop::array::uniform4(prop::option::of(0.0..=1.0_f64)),
            which in 0_usize..4,
            more in 0.0..=1.0_f64,
        ) {
            let weights = CompositeWeights::default();
            let scores = said.map(|score| score.map(Score::saturating));
            let composite = weights.combine(scores);
            let known: Vec<f64> = said.iter().flatten().copied().collect();
            if known.is_empty() {
                prop_assert_eq!(composite.score, Score::ZERO);
            } else {
                let low = known.iter().copied().fold(1.0, f64::min);
                let high = known.iter().copied().fold(0.0, f64::max);
                prop_assert!((low - 1e-12..=high + 1e-12).contains(&composite.score.get()));
                let sum: f64 = composite.parts.iter().map(|part| part.weight.get()).sum();
                prop_assert!((sum - 1.0).abs() < 1e-12);
            }
            let mut greater = scores;
            if let Some(score) = greater[which] {
                greater[which] = Some(score.max(Score::saturating(more)));
                prop_assert!(weights.combine(greater).score >= composite.score);
            }
        }
    }
}
