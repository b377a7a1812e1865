//! Who decides: our judge and the rules of three tools, each on the same intervals.

use homeostasis::core::record::{ArmInterval, CanaryAnswer, CanaryInterval};
use homeostasis::core::stage::CanaryAnalysis as _;
use homeostasis::verify::CanaryJudge;
use homeostasis::verify::rules::{
    ArgoPhase, ArgoRule, Direction, FlaggerRule, KayentaClass, KayentaMetric,
};

/// Twice the usual share of failures: what the thresholds are set to.
const THRESHOLD: f64 = 0.01;

/// The names, ours first.
pub(super) const NAMES: [&str; 4] = ["homeostasis", "kayenta", "argo", "flagger"];

/// What one of them decided, after how many minutes, and how many requests of the canary had failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) answer: CanaryAnswer,
    pub(super) minutes: u32,
    pub(super) bad: u64,
}

/// All of them on one run, in the order of [`NAMES`].
pub(super) fn decide(judge: CanaryJudge, run: &[CanaryInterval]) -> [Decided; 4] {
    [ours(judge, run), kayenta(run), argo(run), flagger(run)]
}

fn ours(mut judge: CanaryJudge, run: &[CanaryInterval]) -> Decided {
    early(run, CanaryAnswer::Uncertain, |interval| {
        judge.observe(interval);
        (judge.answer() != CanaryAnswer::Continue).then(|| judge.answer())
    })
}

/// At the end, on the shares of all intervals; the metric is critical.
fn kayenta(run: &[CanaryInterval]) -> Decided {
    let points = |arm: fn(&CanaryInterval) -> Option<&ArmInterval>| -> Vec<f64> {
        run.iter()
            .map(|interval| share(arm(interval)).unwrap_or(f64::NAN))
            .collect()
    };
    let (canary, baseline) = (
        points(|i| i.canary.as_ref()),
        points(|i| i.baseline.as_ref()),
    );
    let answer = match KayentaMetric::new(Direction::Increase).classify(&canary, &baseline) {
        KayentaClass::Pass | KayentaClass::Low => CanaryAnswer::Promote,
        KayentaClass::High | KayentaClass::NoData => CanaryAnswer::RollBack,
    };
    early(run, answer, |_| None)
}

fn argo(run: &[CanaryInterval]) -> Decided {
    let mut rule = ArgoRule::new(THRESHOLD, 3);
    early(run, CanaryAnswer::Promote, |interval| {
        let phase = rule.measure(share(interval.canary.as_ref()));
        matches!(phase, ArgoPhase::Failed | ArgoPhase::Error).then_some(CanaryAnswer::RollBack)
    })
}

fn flagger(run: &[CanaryInterval]) -> Decided {
    let mut rule = FlaggerRule::new(THRESHOLD, 5);
    early(run, CanaryAnswer::Promote, |interval| {
        let failed = rule.check(share(interval.canary.as_ref()));
        failed.then_some(CanaryAnswer::RollBack)
    })
}

/// Goes through the run until `step` answers; `otherwise` if it never does.
fn early(
    run: &[CanaryInterval],
    otherwise: CanaryAnswer,
    mut step: impl FnMut(&CanaryInterval) -> Option<CanaryAnswer>,
) -> Decided {
    let (mut minutes, mut bad) = (0, 0);
    for interval in run {
        minutes += 1;
        bad += interval.canary.as_ref().map_or(0, |arm| arm.failed);
        if let Some(answer) = step(interval) {
            return Decided {
                answer,
                minutes,
                bad,
            };
        }
    }
    Decided {
        answer: otherwise,
        minutes,
        bad,
    }
}

fn share(arm: Option<&ArmInterval>) -> Option<f64> {
    arm.filter(|arm| arm.requests > 0)
        .map(|arm| arm.failed as f64 / arm.requests as f64)
}

#[cfg(test)]
mod tests {
    use super::super::world::{MINUTES, Trouble, World};
    use super::*;
    use CanaryAnswer::{RollBack, Uncertain};
    use homeostasis::core::Rng;
    use homeostasis::verify::CanaryConfig;

    fn run(trouble: Trouble, ratio: f64) -> [Decided; 4] {
        let world = World {
            traffic: (3000.0, 3000.0),
            noise: 0.0,
            trouble,
        };
        let mut rng = Rng::from_seed(1);
        let run: Vec<_> = (1..=MINUTES)
            .map(|minute| world.interval(i32::try_from(minute).unwrap(), ratio, &mut rng))
            .collect();
        decide(CanaryJudge::new(CanaryConfig::default()).unwrap(), &run)
    }

    #[test]
    fn all_see_a_flood_of_failures_and_ours_and_the_counters_stop_early() {
        let decided = run(Trouble::None, 20.0);
        for (name, decided) in NAMES.iter().zip(decided) {
            assert_eq!(decided.answer, RollBack, "{name}");
        }
        assert!(decided[0].minutes <= 3, "{decided:?}");
        assert_eq!(
            (decided[1].minutes, decided[2].minutes, decided[3].minutes),
            (30, 4, 5)
        );
        assert!(decided[0].bad < decided[1].bad, "{decided:?}");
    }

    #[test]
    fn without_traffic_only_ours_says_that_it_does_not_know() {
        let answers = run(Trouble::NoTraffic, 1.0).map(|decided| decided.answer);
        assert_eq!(answers, [Uncertain, RollBack, RollBack, RollBack]);
    }
}
