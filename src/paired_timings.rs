//! Compares what a program takes with a patch and without it.

use homeostasis_core::{ConfigError, Violation, Violations};
use homeostasis_patch::trial::{TimingJudge, TimingJudgment, TimingPair, TimingVerdict};
use homeostasis_verify::stats::{SignBet, median};

/// Judges pairs of timings by the signs of their ratios: limits of the median ratio that may be looked
/// at after every pair.
///
/// A ratio above a limit is a win for the one who bets that the median is, one below a loss. The limits
/// are where a gambler's capital ([`SignBet`]) reaches `2 / risk`, so both hold at once, at whatever
/// number of pairs one stops, except with probability `risk`. Timings may have any distribution and the
/// machine may change its speed from pair to pair; what is assumed is that a pair does not depend on
/// those before it. With the default risk no verdict comes before 8 pairs.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use homeostasis::PairedTimings;
/// use homeostasis::patch::trial::{TimingJudge, TimingPair, TimingVerdict};
///
/// let pair = TimingPair {
///     before: Duration::from_millis(100),
///     after: Duration::from_millis(200),
/// };
/// let judgment = PairedTimings::default().judge(&[pair; 10], 0.1);
/// assert_eq!(judgment.verdict, TimingVerdict::Over);
/// assert_eq!(judgment.impact, Some(1.0));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PairedTimings {
    risk: f64,
}

impl Default for PairedTimings {
    /// Errs in one of 20 comparisons at most.
    fn default() -> Self {
        Self { risk: 0.05 }
    }
}

impl PairedTimings {
    /// One whose verdicts are wrong with probability `risk` at most, 0 to 0.5 and neither.
    ///
    /// # Errors
    /// `risk` is out of its range.
    pub fn with_risk(risk: f64) -> Result<Self, ConfigError> {
        let mut violations = Violations::new();
        if !(risk > 0.0 && risk < 0.5) {
            violations.push(Violation::new("timings.risk", risk, "0 < risk < 0.5"));
        }
        violations.into_result(Self { risk })
    }

    /// Whether so many wins and losses refute a fair game.
    fn is_refuted(&self, n_wins: usize, n_losses: usize) -> bool {
        let mut bet = SignBet::default();
        (0..n_wins).for_each(|_| bet.observe(1.0));
        (0..n_losses).for_each(|_| bet.observe(-1.0));
        bet.log_e() >= (2.0 / self.risk).ln()
    }
}

impl TimingJudge for PairedTimings {
    fn judge(&self, pairs: &[TimingPair], max_impact: f64) -> TimingJudgment {
        let seconds = |pair: &TimingPair| (pair.before.as_secs_f64(), pair.after.as_secs_f64());
        // A time of 0 has no ratio.
        let pairs = pairs
            .iter()
            .map(seconds)
            .filter(|(before, _)| *before > 0.0);
        let mut impacts: Vec<f64> = pairs.map(|(before, after)| after / before - 1.0).collect();
        impacts.sort_by(f64::total_cmp);
        let n = impacts.len();
        // The capital grows with each win, so the ranks that are refuted are the outer ones: of all
        // medians below the k-th value, n - k + 1 ratios or more lie above.
        let n_refuted = (0..n).take_while(|k| self.is_refuted(n - k, *k)).count();
        let (at_least, at_most) = match n_refuted {
            0 => (None, None),
            k => (Some(impacts[k - 1]), Some(impacts[n - k])),
        };
        let verdict = match (at_least, at_most) {
            (Some(least), _) if least > max_impact => TimingVerdict::Over,
            (_, Some(most)) if most <= max_impact => TimingVerdict::Within,
            _ => TimingVerdict::Unsure,
        };
        TimingJudgment {
            impact: median(&impacts),
            at_least,
            at_most,
            verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use homeostasis_core::Rng;

    use super::*;

    /// Pairs of a machine whose speed wanders, whose runs scatter and sometimes take far longer, of a
    /// program that is `slower` by a share.
    fn pairs(rng: &mut Rng, n: usize, slower: f64) -> Vec<TimingPair> {
        let mut speed: f64 = 1.0;
        let run = |rng: &mut Rng, factor: f64, speed: f64| {
            let scatter = 0.95 + 0.1 * rng.unit();
            let hiccup = if rng.below(20) == 0 { 2.0 } else { 1.0 };
            Duration::from_secs_f64(0.5 * factor * speed * scatter * hiccup)
        };
        let mut pairs = Vec::new();
        for _ in 0..n {
            speed = (speed * (0.9 + 0.21 * rng.unit())).clamp(0.5, 2.0);
            pairs.push(TimingPair {
                before: run(rng, 1.0, speed),
                after: run(rng, 1.0 + slower, speed),
            });
        }
        pairs
    }

    /// The first verdict that is sure, looking after every pair.
    fn first_verdict(pairs: &[TimingPair], max_impact: f64) -> TimingVerdict {
        let judge = PairedTimings::default();
        let looks = (1..=pairs.len()).map(|n| judge.judge(&pairs[..n], max_impact).verdict);
        let mut sure = looks.filter(|verdict| *verdict != TimingVerdict::Unsure);
        sure.next().unwrap_or(TimingVerdict::Unsure)
    }

    #[test]
    fn twice_as_slow_is_over_and_equal_is_within_on_a_machine_whose_speed_wanders() {
        let mut rng = Rng::from_seed(1);
        for _ in 0..200 {
            let slow = pairs(&mut rng, 40, 1.0);
            assert_eq!(first_verdict(&slow, 0.1), TimingVerdict::Over);
        }
        let equal = (0..200).map(|_| first_verdict(&pairs(&mut rng, 40, 0.0), 0.1));
        let verdicts: Vec<_> = equal.collect();
        let count = |verdict| verdicts.iter().filter(|it| **it == verdict).count();
        assert_eq!(count(TimingVerdict::Over), 0, "{verdicts:?}");
        assert!(count(TimingVerdict::Within) >= 190, "{verdicts:?}");
    }

    #[test]
    fn at_the_bound_itself_hardly_any_look_of_many_is_sure_and_wrong() {
        let mut rng = Rng::from_seed(2);
        // As the true median is the bound, every sure verdict is an error.
        let wrong = (0..400)
            .filter(|_| {
                let pairs = pairs(&mut rng, 60, 0.1);
                first_verdict(&pairs, 0.1) != TimingVerdict::Unsure
            })
            .count();
        // 5 % of 400 are 20; three standard deviations more are 33.
        assert!(wrong <= 33, "{wrong} of 400");
    }

    #[test]
    fn few_pairs_tell_nothing_and_limits_enclose_the_median() {
        let judge = PairedTimings::default();
        let none = judge.judge(&[], 0.1);
        assert_eq!((none.impact, none.verdict), (None, TimingVerdict::Unsure));
        let pair = |after: u64| TimingPair {
            before: Duration::from_millis(100),
            after: Duration::from_millis(after),
        };
        assert_eq!(
            judge.judge(&[pair(500); 7], 0.1).verdict,
            TimingVerdict::Unsure
        );
        assert_eq!(
            judge.judge(&[pair(500); 8], 0.1).verdict,
            TimingVerdict::Over
        );
        let zero = TimingPair {
            before: Duration::ZERO,
            after: Duration::ZERO,
        };
        assert_eq!(judge.judge(&[zero; 40], 0.1).impact, None);
        let spread: Vec<_> = (0..41).map(|k| pair(80 + k)).collect();
        let judged = judge.judge(&spread, 0.1);
        assert!((judged.impact.unwrap() - 0.0).abs() < 1e-9, "{judged:?}");
        let (least, most) = (judged.at_least.unwrap(), judged.at_most.unwrap());
        assert!(least < 0.0 && most > 0.0 && most < 0.2, "{judged:?}");
        assert!((least + most).abs() < 1e-9, "{judged:?}");
        for risk in [0.0, 0.5, -1.0, f64::NAN] {
            assert!(PairedTimings::with_risk(risk).is_err(), "{risk}");
        }
    }
}
