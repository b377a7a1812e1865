//! Several kernels of one series as one.

use homeostasis_core::record::{Direction, Expectation};
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Ratio, Score, Timestamp, Violation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::score::{CompositeScore, CompositeWeights, DetectorFamily};
use crate::{prose, scale, state};

/// Judges each sample by several kernels, and adds up what they say by their families.
///
/// The score of a family is the highest of its kernels; the composite is their weighted mean
/// ([`CompositeWeights::combine`]), so that weak evidence of several families together can reach the limit that none of
/// them reaches alone.
/// The surprise is the weighted mean of the highest surprise of each family; what was expected, and the direction, are
/// those of the kernel that says most.
/// Costs what its kernels cost.
///
/// # Examples
/// ```
/// use homeostasis::core::{Timestamp, stage::SeriesDetector};
/// use homeostasis::detect::{CompositeKernel, CompositeWeights, DetectorFamily, Ewma, EwmaConfig, RateOfChange, RateOfChangeConfig};
///
/// let mut composite = CompositeKernel::new(CompositeWeights::default())
///     .with("ewma", DetectorFamily::Statistical, Ewma::new(EwmaConfig::default())?)
///     .with("rate of change", DetectorFamily::Pattern, RateOfChange::new(RateOfChangeConfig::default())?)
///     .checked()?;
/// for second in 0..100 {
///     let value = if second % 2 == 0 { 0.20 } else { 0.22 };
///     composite.update(Timestamp::from_secs(second), Some(value));
/// }
/// assert!(composite.update(Timestamp::from_secs(100), Some(0.9)).score.get() > 0.5);
/// assert!(composite.explain().unwrap().contains("composite score 0."));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct CompositeKernel {
    weights: CompositeWeights,
    members: Vec<Member>,
    last: Option<(CompositeScore, Option<f64>)>,
}

#[derive(Debug)]
struct Member {
    name: String,
    family: DetectorFamily,
    kernel: Box<dyn SeriesDetector>,
    said: KernelScore,
}

impl CompositeKernel {
    /// A composite without kernels.
    pub fn new(weights: CompositeWeights) -> Self {
        Self {
            weights,
            members: Vec::new(),
            last: None,
        }
    }

    /// The same with this kernel.
    pub fn with(
        mut self,
        name: impl Into<String>,
        family: DetectorFamily,
        kernel: impl SeriesDetector + 'static,
    ) -> Self {
        self.members.push(Member {
            name: name.into(),
            family,
            kernel: Box::new(kernel),
            said: KernelScore::normal(Expectation::Words(String::new())),
        });
        self
    }

    /// The same if it is complete.
    ///
    /// # Errors
    /// If it has no kernel, two of one name, or none of a family that has a weight.
    pub fn checked(self) -> Result<Self, ConfigError> {
        let names: Vec<&str> = self.members.iter().map(|member| &*member.name).collect();
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = names
            .iter()
            .find(|name| name.trim().is_empty() || !seen.insert(**name))
        {
            let expected = "names that are not empty, each once";
            return Err(Violation::new("composite.kernels", format!("{twice:?}"), expected).into());
        }
        let mut said = [None; 4];
        for member in &self.members {
            said[member.family.index()] = Some(Score::ONE);
        }
        if self.weights.combine(said).parts.is_empty() {
            let expected = "at least one of a family that has a weight";
            return Err(Violation::new("composite.kernels", format!("{names:?}"), expected).into());
        }
        Ok(self)
    }

    fn top(&self) -> Option<&Member> {
        let by_score = |a: &&Member, b: &&Member| {
            let key = |member: &Member| (member.said.score, member.said.surprise);
            let (a, b) = (key(a), key(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        // Of equal ones the first.
        self.members.iter().rev().max_by(by_score)
    }
}

impl SeriesDetector for CompositeKernel {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let (mut scores, mut surprises) = ([None; 4], [0.0_f64; 4]);
        for member in &mut self.members {
            member.said = member.kernel.update(at, value);
            let family = member.family.index();
            scores[family] = scores[family].max(Some(member.said.score));
            if member.said.surprise.is_finite() {
                surprises[family] = surprises[family].max(member.said.surprise);
            }
        }
        let composite = self.weights.combine(scores);
        let parts = composite.parts.iter();
        let surprise = parts
            .map(|part| part.weight.get() * surprises[part.family.index()])
            .sum();
        let (direction, expected) = match self.top() {
            Some(top) => (top.said.direction, top.said.expected.clone()),
            None => (Direction::Other, Expectation::Words("a kernel".to_owned())),
        };
        let score = composite.score;
        self.last = Some((composite, scale::usable(value)));
        KernelScore {
            score,
            surprise,
            direction,
            expected,
        }
    }

    fn explain(&self) -> Option<String> {
        let (composite, value) = self.last.as_ref()?;
        let top = self.top()?;
        let found = top.kernel.explain().unwrap_or_else(|| {
            let value = value.map_or_else(|| "missing".to_owned(), prose::number);
            format!(
                "is {value}, expected {}",
                prose::expectation(&top.said.expected)
            )
        });
        Some(format!(
            "{found} by {}, composite score {composite}",
            top.name
        ))
    }

    fn contributions(&self) -> Vec<(String, f64)> {
        let Some((composite, _)) = &self.last else {
            return Vec::new();
        };
        let weight = |member: &Member| {
            let part = composite
                .parts
                .iter()
                .find(|part| part.family == member.family);
            part.map_or(0.0, |part| part.weight.get()) * member.said.score.get()
        };
        let members = self.members.iter();
        members
            .map(|member| (member.name.clone(), weight(member)))
            .collect()
    }

    fn heap_bytes(&self) -> usize {
        let member = |member: &Member| {
            size_of::<Member>() + member.name.capacity() + member.kernel.heap_bytes()
        };
        self.members.iter().map(member).sum()
    }

    fn stagger(&mut self, place: Ratio) {
        for member in &mut self.members {
            member.kernel.stagger(place);
        }
    }

    fn save(&self) -> Option<Value> {
        let members = self.members.iter();
        let saved = members.map(|member| Some((member.name.clone(), member.kernel.save()?)));
        state::save(&Stored {
            kernels: saved.collect::<Option<_>>()?,
        })
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        const WHAT: &str = "state of composite";
        let stored: Stored = state::load(WHAT, value)?;
        let names = self.members.iter().map(|member| &member.name);
        let is_same = names.eq(stored.kernels.iter().map(|(name, _)| name));
        state::require(is_same, WHAT, "the same kernels in the same order")?;
        let before = self.save();
        for (member, (_, saved)) in self.members.iter_mut().zip(&stored.kernels) {
            if let Err(error) = member.kernel.load(saved) {
                // Those before it have taken theirs: back to what was, which every kernel accepts.
                if let Some(before) = before {
                    let before: Stored = state::load(WHAT, &before)?;
                    for (member, (_, saved)) in self.members.iter_mut().zip(&before.kernels) {
                        member.kernel.load(saved)?;
                    }
                }
                return Err(error);
            }
        }
        self.last = None;
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kernels: Vec<(String, Value)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Ewma, EwmaConfig, MovingAverage, MovingAverageConfig, RateOfChange, RateOfChangeConfig,
    };
    use DetectorFamily::{Pattern, Statistical};

    fn kernel() -> CompositeKernel {
        let rate = RateOfChange::new(RateOfChangeConfig::default()).unwrap();
        CompositeKernel::new(CompositeWeights::default())
            .with(
                "ewma",
                Statistical,
                Ewma::new(EwmaConfig::default()).unwrap(),
            )
            .with(
                "average",
                Statistical,
                MovingAverage::new(MovingAverageConfig::default()).unwrap(),
            )
            .with("rate", Pattern, rate)
            .checked()
            .unwrap()
    }

    #[test]
    fn families_add_up_and_say_how_much_each_of_them_adds() {
        let mut kernel = kernel();
        for secs in 0..200 {
            let value = 0.2 + 0.01 * f64::from(i32::try_from(secs % 3).unwrap());
            let judged = kernel.update(Timestamp::from_secs(secs), Some(value));
            assert!(judged.score.get() < 0.5, "{judged:?}");
        }
        let judged = kernel.update(Timestamp::from_secs(200), Some(0.9));
        let rate = kernel.members[2].said.score.get();
        let best = kernel.members[0]
            .said
            .score
            .max(kernel.members[1].said.score)
            .get();
        assert!((judged.score.get() - (0.6 * best + 0.4 * rate)).abs() < 1e-12);
        assert_eq!(judged.direction, Direction::High);
        let text = kernel.explain().unwrap();
        assert!(
            text.contains("60 % of statistical 1.00 + 40 % of pattern"),
            "{text}"
        );
        let parts = kernel.contributions();
        assert_eq!(
            parts.iter().map(|part| &*part.0).collect::<Vec<_>>(),
            ["ewma", "average", "rate"]
        );
    }

    #[test]
    fn it_is_refused_without_kernels_or_with_two_of_a_name() {
        let empty = CompositeKernel::new(CompositeWeights::default());
        assert!(empty.checked().is_err());
        let ewma = Ewma::new(EwmaConfig::default()).unwrap();
        let twice = CompositeKernel::new(CompositeWeights::default())
            .with("a", Statistical, ewma.clone())
            .with("a", Pattern, ewma);
        assert!(twice.checked().unwrap_err().to_string().contains("\"a\""));
    }

    #[test]
    fn a_state_that_does_not_fit_one_kernel_changes_none() {
        let mut kernel = kernel();
        for secs in 0..50 {
            kernel.update(Timestamp::from_secs(secs), Some(1.0));
        }
        let saved = kernel.save().unwrap();
        let mut other = self::kernel();
        other.load(&saved).unwrap();
        assert_eq!(other.save().unwrap(), saved);
        let mut broken = saved.clone();
        broken["kernels"][1][1] = Value::from("nothing");
        let mut fresh = self::kernel();
        let before = fresh.save();
        assert!(fresh.load(&broken).is_err());
        assert_eq!(fresh.save(), before);
    }
}
