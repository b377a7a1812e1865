//! What every analyst of canaries must keep.

use std::time::Duration;

use crate::record::{ArmInterval, CanaryAnswer, CanaryDecision, CanaryInterval};
use crate::stage::{CanaryAnalysis, CanaryAnalyst};
use crate::time::Timestamp;

const MINUTES: i64 = 24 * 60;

/// Shows a day of nothing, of one arm alone, and of a flood of failures: silence is never an answer,
/// a flood is rolled back, a decision stays, a repeat changes nothing, and a stored state goes on as
/// if nothing had happened.
///
/// # Panics
/// With a sentence, at the first promise that is broken.
pub fn conformance(analyst: &dyn CanaryAnalyst) {
    let arm = |failed| Some(ArmInterval::new(30_000, failed));
    for (what, canary, baseline) in [
        ("nothing measured", None, None),
        (
            "no traffic",
            Some(ArmInterval::default()),
            Some(ArmInterval::default()),
        ),
        ("no baseline", arm(20_000), None),
        ("no canary", None, arm(3)),
    ] {
        let mut analysis = analyst.begin();
        for minute in 1..=MINUTES {
            analysis.observe(&interval(minute, canary.as_ref(), baseline.as_ref()));
        }
        let decision = analysis.decision();
        assert!(
            matches!(
                decision.answer,
                CanaryAnswer::Continue | CanaryAnswer::Uncertain
            ),
            "{what} was taken for an answer: {decision:?}"
        );
        assert!(
            decision.settled_by.is_some(),
            "{what}: what would settle it?"
        );
        assert_whole(&decision);
    }

    let (canary, baseline) = (arm(20_000), arm(3));
    let mut straight = analyst.begin();
    let mut resumed = analyst.begin();
    let mut settled: Option<CanaryDecision> = None;
    for minute in 1..=MINUTES {
        let interval = interval(minute, canary.as_ref(), baseline.as_ref());
        straight.observe(&interval);
        straight.observe(&interval);
        resumed.observe(&interval);
        resumed = taken_up(analyst, resumed.as_ref());
        let decision = straight.decision();
        assert_eq!(
            decision,
            resumed.decision(),
            "minute {minute}: a repeat or a stored state made a difference"
        );
        assert_whole(&decision);
        match &settled {
            Some(settled) => {
                assert_eq!(
                    *settled, decision,
                    "minute {minute}: the decision did not stay"
                );
                if minute > MINUTES / 4 {
                    break;
                }
            }
            None if decision.answer != CanaryAnswer::Continue => settled = Some(decision),
            None => {}
        }
    }
    let answer = settled.map(|decision| decision.answer);
    assert_eq!(
        answer,
        Some(CanaryAnswer::RollBack),
        "two of three requests failed"
    );
    assert!(
        analyst.resume(&serde_json::json!("nonsense")).is_err(),
        "nonsense was taken for a state"
    );
}

fn interval(
    minute: i64,
    canary: Option<&ArmInterval>,
    baseline: Option<&ArmInterval>,
) -> CanaryInterval {
    CanaryInterval {
        ended: Timestamp::from_secs(60 * minute),
        length: Duration::from_secs(60),
        canary: canary.cloned(),
        baseline: baseline.cloned(),
    }
}

/// Through text, as a store keeps it.
fn taken_up(analyst: &dyn CanaryAnalyst, analysis: &dyn CanaryAnalysis) -> Box<dyn CanaryAnalysis> {
    let text = analysis.state().to_string();
    let state = serde_json::from_str(&text).expect("a state is JSON");
    analyst
        .resume(&state)
        .expect("an analyst takes up its own state")
}

fn assert_whole(decision: &CanaryDecision) {
    assert!(!decision.reason.trim().is_empty(), "a decision says why");
    for evidence in &decision.evidence {
        assert!(
            evidence.harm_log_e.is_finite() && evidence.safe_log_e.is_finite(),
            "evidence is finite: {evidence:?}"
        );
    }
}
