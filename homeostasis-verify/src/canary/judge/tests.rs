use super::*;
use crate::canary::LatencyRule;
use crate::stats::simulate::{Arms, normal};
use homeostasis_core::Rng;
use homeostasis_core::record::{ArmInterval, Latencies};

const MINUTE: Duration = Duration::from_secs(60);

fn at(minute: i64, canary: Option<ArmInterval>, baseline: Option<ArmInterval>) -> CanaryInterval {
    CanaryInterval {
        ended: Timestamp::from_secs(60 * minute),
        length: MINUTE,
        canary,
        baseline,
    }
}

fn pair(minute: i64, canary: (u64, u64), baseline: (u64, u64)) -> CanaryInterval {
    let arm = |(requests, failed)| Some(ArmInterval::new(requests, failed));
    at(minute, arm(canary), arm(baseline))
}

fn judge() -> CanaryJudge {
    CanaryJudge::new(CanaryConfig::default()).unwrap()
}

fn arms(requests: f64, ratio: f64, noise: f64) -> Arms {
    Arms {
        requests: (requests, requests),
        base: 0.005,
        ratio,
        noise,
    }
}

fn feed(judge: &mut CanaryJudge, arms: Arms, minutes: i64, rng: &mut Rng) -> i64 {
    for minute in 1..=minutes {
        let (canary, baseline) = arms.draw(rng);
        judge.observe(&at(minute, Some(canary), Some(baseline)));
        if judge.answer() != CanaryAnswer::Continue {
            return minute;
        }
    }
    minutes
}

#[test]
fn it_keeps_what_every_analyst_must() {
    homeostasis_core::testing::canary::conformance(&CanaryJudges::default());
    let config = CanaryConfig {
        latency: Some(LatencyRule::default()),
        ..CanaryConfig::default()
    };
    homeostasis_core::testing::canary::conformance(&CanaryJudges::new(config).unwrap());
}

#[test]
fn a_bad_canary_is_rolled_back_and_a_good_one_promoted() {
    let mut rng = Rng::from_seed(1);
    let (mut back, mut forth) = (0, 0);
    for _ in 0..200 {
        let mut bad = judge();
        feed(&mut bad, arms(30_000.0, 3.0, 0.0), 30, &mut rng);
        back += usize::from(bad.answer() == CanaryAnswer::RollBack);
        let mut good = judge();
        feed(&mut good, arms(30_000.0, 1.0, 0.0), 30, &mut rng);
        assert_ne!(good.answer(), CanaryAnswer::RollBack);
        forth += usize::from(good.answer() == CanaryAnswer::Promote);
    }
    assert!(back >= 195, "{back} of 200");
    assert!(forth >= 190, "{forth} of 200");
}

#[test]
fn calibration_makes_it_faster_and_is_closed_once_it_runs() {
    let mut rng = Rng::from_seed(2);
    let (mut assumed, mut measured) = (0, 0);
    for _ in 0..50 {
        let mut blank = judge();
        let mut calibrated = judge();
        for minute in -120..0 {
            let (one, other) = arms(3000.0, 1.0, 0.0).draw(&mut rng);
            calibrated.calibrate(&at(minute, Some(one), Some(other)));
        }
        assumed += feed(&mut blank, arms(3000.0, 2.0, 0.0), 30, &mut rng);
        measured += feed(&mut calibrated, arms(3000.0, 2.0, 0.0), 30, &mut rng);
        let before = calibrated.clone();
        calibrated.calibrate(&pair(-1, (3000, 500), (3000, 1)));
        assert_eq!(calibrated, before);
    }
    assert!(
        measured * 3 < assumed * 2,
        "{measured} against {assumed} minutes"
    );
}

#[test]
fn groups_that_differ_wildly_are_judged_by_signs_and_raise_few_false_alarms() {
    let mut rng = Rng::from_seed(3);
    let (mut alarms, mut found, mut by_signs) = (0, 0, 0);
    for _ in 0..300 {
        let mut calibrated = judge();
        for minute in -120..0 {
            let (one, other) = arms(3000.0, 1.0, 2.0).draw(&mut rng);
            calibrated.calibrate(&at(minute, Some(one), Some(other)));
        }
        let mut bad = calibrated.clone();
        feed(&mut calibrated, arms(3000.0, 1.0, 2.0), 30, &mut rng);
        alarms += usize::from(calibrated.answer() == CanaryAnswer::RollBack);
        feed(&mut bad, arms(3000.0, 20.0, 2.0), 30, &mut rng);
        found += usize::from(bad.answer() == CanaryAnswer::RollBack);
        by_signs += usize::from(bad.decision().evidence[0].test.starts_with("signs"));
    }
    assert!(by_signs >= 270, "{by_signs} of 300");
    assert!(alarms <= 4, "{alarms} of 300");
    assert!(found >= 250, "{found} of 300");
}

#[test]
fn without_traffic_the_answer_is_uncertain_and_says_what_would_settle_it() {
    for missing in [true, false] {
        let mut judge = judge();
        for minute in 1..=40 {
            let arm = || (!missing).then(ArmInterval::default);
            judge.observe(&at(minute, arm(), arm()));
            let expected = if minute < 30 {
                CanaryAnswer::Continue
            } else {
                CanaryAnswer::Uncertain
            };
            assert_eq!(judge.answer(), expected, "minute {minute}");
        }
        let decision = judge.decision();
        assert!(
            decision.reason.contains("no requests"),
            "{}",
            decision.reason
        );
        let settled_by = decision.settled_by.unwrap();
        assert!(settled_by.contains("requests to both arms"), "{settled_by}");
        assert_eq!(decision.evidence[0].harm_log_e, 0.0);
    }
}

#[test]
fn too_little_traffic_says_how_much_more_is_needed() {
    let mut judge = judge();
    for minute in 1..=30 {
        judge.observe(&pair(minute, (300, 2), (300, 2)));
    }
    let decision = judge.decision();
    assert_eq!(decision.answer, CanaryAnswer::Uncertain, "{decision:?}");
    let settled_by = decision.settled_by.unwrap();
    assert!(settled_by.contains("requests so far"), "{settled_by}");
    assert!(decision.evidence[0].safe_log_e > 0.0);
}

#[test]
fn what_comes_after_the_horizon_changes_nothing() {
    let mut judge = judge();
    for minute in 1..=31 {
        judge.observe(&pair(minute, (300, 2), (300, 2)));
    }
    let decision = judge.decision();
    assert_eq!(decision.answer, CanaryAnswer::Uncertain);
    for minute in 32..=60 {
        judge.observe(&pair(minute, (300, 300), (300, 0)));
        assert_eq!(judge.decision(), decision, "minute {minute}");
    }
}

#[test]
fn a_state_that_nobody_stored_is_refused_or_goes_on() {
    let judges = CanaryJudges::new(CanaryConfig {
        latency: Some(LatencyRule::default()),
        ..CanaryConfig::default()
    })
    .unwrap();
    let mut latencies = Latencies::default();
    latencies.record(Duration::from_millis(20), 30);
    let mut arm = ArmInterval::new(300, 2);
    arm.latencies = latencies;
    let next = |minute| at(minute, Some(arm.clone()), Some(arm.clone()));
    let mut judge = judges.begin();
    (-30..0).for_each(|minute| judge.calibrate(&next(minute)));
    (1..=9).for_each(|minute| judge.observe(&next(minute)));
    homeostasis_core::testing::hostile_state::survives(&judge.state(), |state| {
        if let Ok(mut judge) = judges.resume(state) {
            judge.calibrate(&next(10));
            judge.observe(&next(11));
            let _ = (judge.decision(), judge.state());
        }
    });
}

#[test]
fn a_cold_start_is_left_out_and_a_repeat_changes_nothing() {
    let mut judge = judge();
    judge.observe(&pair(1, (3000, 3000), (3000, 3)));
    assert_eq!(judge.decision().evidence[0].harm_log_e, 0.0);
    judge.observe(&pair(2, (3000, 15), (3000, 15)));
    let once = judge.clone();
    judge.observe(&pair(2, (3000, 3000), (3000, 0)));
    judge.observe(&pair(1, (3000, 3000), (3000, 0)));
    assert_eq!(judge, once);
}

#[test]
fn a_canary_that_comes_late_is_cold_when_it_comes() {
    let mut judge = judge();
    let arm = |failed| Some(ArmInterval::new(3000, failed));
    judge.observe(&at(1, None, arm(15)));
    judge.observe(&at(2, Some(ArmInterval::default()), arm(15)));
    judge.observe(&at(5, arm(3000), arm(15)));
    assert_eq!(judge.answer(), CanaryAnswer::Continue);
    assert_eq!(judge.decision().evidence[0].harm_log_e, 0.0);
    judge.observe(&at(6, arm(15), arm(15)));
    assert!(judge.decision().evidence[0].harm_log_e < 0.0);
}

#[test]
fn what_fails_after_a_promotion_is_rolled_back() {
    let mut judge = judge();
    let mut minute = 0;
    while judge.answer() == CanaryAnswer::Continue {
        minute += 1;
        judge.observe(&pair(minute, (30_000, 150), (30_000, 150)));
    }
    assert_eq!(judge.answer(), CanaryAnswer::Promote);
    for later in 1..=8 {
        judge.observe(&pair(minute + later, (30_000, 3000), (30_000, 150)));
    }
    assert_eq!(judge.answer(), CanaryAnswer::RollBack);
}

#[test]
fn where_the_baseline_fails_itself_nothing_is_promoted() {
    let mut judge = judge();
    for minute in 1..=30 {
        judge.observe(&pair(minute, (3000, 3000), (3000, 2700)));
    }
    let decision = judge.decision();
    assert_ne!(decision.answer, CanaryAnswer::Promote, "{decision:?}");
    if decision.answer == CanaryAnswer::Uncertain {
        assert!(decision.settled_by.unwrap().contains("baseline"));
    }
}

#[test]
fn failures_in_bursts_are_seldom_taken_for_rare_ones() {
    let mut rng = Rng::from_seed(8);
    let mut promoted = 0;
    for _ in 0..400 {
        let mut judge = judge();
        for minute in 1..=30 {
            let burst = u64::from(rng.unit() < 0.1);
            judge.observe(&pair(minute, (3000, 180 * burst), (3000, 60 * burst)));
        }
        promoted += usize::from(judge.answer() == CanaryAnswer::Promote);
    }
    // What is left: no burst came in half of the horizon, 0.9^14 or 23 %.
    assert!(promoted <= 115, "{promoted} of 400");
}

#[test]
fn arms_of_different_size_are_compared_fairly_by_their_latencies() {
    let config = CanaryConfig {
        latency: Some(LatencyRule {
            allowed: 1.0,
            ..LatencyRule::default()
        }),
        ..CanaryConfig::default()
    };
    let mut rng = Rng::from_seed(9);
    for (n_canary, n_baseline, slower) in [
        (20, 400, 1.0),
        (400, 20, 1.0),
        (20, 400, 1.2),
        (400, 20, 1.2),
    ] {
        let (mut harm, mut safe) = (0, 0);
        for _ in 0..300 {
            let mut latency = Slowness::new(config.latency.unwrap());
            let (mut worse, mut proven) = (false, false);
            for _ in 0..60 {
                let mut arm = |n: u64, slower: f64| {
                    let mut arm = ArmInterval::new(n, 0);
                    for _ in 0..n {
                        let seconds = 0.05 * slower * libm::exp(0.5 * normal(&mut rng));
                        arm.latencies.record(Duration::from_secs_f64(seconds), 1);
                    }
                    arm
                };
                latency.observe(&arm(n_canary, slower), &arm(n_baseline, 1.0));
                worse |= latency.harm() >= 50.0_f64.ln();
                proven |= latency.safe() >= 50.0_f64.ln();
            }
            harm += u32::from(worse);
            safe += u32::from(proven);
        }
        let wrong = if slower > 1.0 { safe } else { harm };
        // 2 % of 300, and three standard deviations.
        assert!(
            wrong <= 13,
            "{n_canary} and {n_baseline} at {slower}: {wrong} of 300"
        );
    }
}

#[test]
fn a_service_that_never_fails_is_promoted_and_its_first_failures_are_no_proof() {
    let mut judge = judge();
    for minute in 1..=15 {
        assert_eq!(judge.answer(), CanaryAnswer::Continue, "minute {minute}");
        judge.observe(&pair(minute, (3000, 0), (3000, 0)));
    }
    assert_eq!(
        judge.answer(),
        CanaryAnswer::Promote,
        "{:?}",
        judge.decision()
    );
    let mut two = self::judge();
    for minute in 1..=3 {
        two.observe(&pair(minute, (3000, 1), (3000, 0)));
    }
    assert_eq!(two.answer(), CanaryAnswer::Continue);
}

#[test]
fn a_decision_stays() {
    let mut judge = judge();
    judge.observe(&pair(1, (3000, 15), (3000, 15)));
    for minute in 2..=4 {
        judge.observe(&pair(minute, (3000, 300), (3000, 15)));
    }
    assert_eq!(judge.answer(), CanaryAnswer::RollBack);
    let decision = judge.decision();
    for minute in 5..=60 {
        judge.observe(&pair(minute, (3000, 0), (3000, 15)));
    }
    assert_eq!(judge.decision(), decision);
    assert_eq!(decision.settled_by, None);
}

#[test]
fn a_stored_state_is_taken_up_without_a_difference_and_a_strange_one_is_refused() {
    let config = CanaryConfig {
        latency: Some(LatencyRule::default()),
        ..CanaryConfig::default()
    };
    let judges = CanaryJudges::new(config.clone()).unwrap();
    let mut straight = judges.begin();
    let mut resumed = judges.begin();
    let mut rng = Rng::from_seed(4);
    for minute in 1..=20 {
        let (canary, baseline) = arms(3000.0, 1.4, 0.1).draw(&mut rng);
        let interval = at(minute, Some(canary), Some(baseline));
        straight.observe(&interval);
        resumed.observe(&interval);
        let text = resumed.state().to_string();
        resumed = judges
            .resume(&serde_json::from_str(&text).unwrap())
            .unwrap();
        assert_eq!(straight.decision(), resumed.decision());
    }
    let strange = CanaryJudges::default().resume(&straight.state());
    assert!(strange.unwrap_err().to_string().contains("config"));
    let mut old = straight.state();
    old["version"] = 0.into();
    let refused = judges.resume(&old).unwrap_err().to_string();
    assert!(refused.contains("version: 0, expected 1"), "{refused}");
    assert!(judges.resume(&Value::Null).is_err());
    for (path, value) in [
        ("/version", 2.into()),
        ("/config/alpha", 7.into()),
        ("/latency/rule/margin", 3.into()),
    ] {
        let mut bad = straight.state();
        *bad.pointer_mut(path).unwrap() = value;
        assert!(
            serde_json::from_value::<CanaryJudge>(bad).is_err(),
            "{path}"
        );
    }
}

#[test]
fn slow_is_worse_and_unmeasured_latencies_hold_a_promotion_back() {
    let config = CanaryConfig {
        latency: Some(LatencyRule::default()),
        ..CanaryConfig::default()
    };
    let mut rng = Rng::from_seed(5);
    let mut arm = |slower: f64| {
        let mut latencies = Latencies::default();
        for _ in 0..200 {
            let seconds = 0.05 * slower * libm::exp(0.5 * normal(&mut rng));
            latencies.record(Duration::from_secs_f64(seconds), 1);
        }
        let mut arm = ArmInterval::new(20_000, 4);
        arm.latencies = latencies;
        Some(arm)
    };
    let mut slow = CanaryJudge::new(config.clone()).unwrap();
    let mut same = CanaryJudge::new(config.clone()).unwrap();
    for minute in 1..=29 {
        slow.observe(&at(minute, arm(2.0), arm(1.0)));
        same.observe(&at(minute, arm(1.0), arm(1.0)));
    }
    let decision = slow.decision();
    assert_eq!(decision.answer, CanaryAnswer::RollBack, "{decision:?}");
    assert_eq!(decision.evidence[1].metric, "latency_p95");
    assert_eq!(
        same.answer(),
        CanaryAnswer::Promote,
        "{:?}",
        same.decision()
    );

    let mut blind = CanaryJudge::new(config).unwrap();
    for minute in 1..=30 {
        blind.observe(&pair(minute, (20_000, 4), (20_000, 4)));
    }
    let decision = blind.decision();
    assert_eq!(decision.answer, CanaryAnswer::Uncertain, "{decision:?}");
    assert!(decision.settled_by.unwrap().contains("latencies"));
}

#[test]
fn weights_may_change_on_the_way() {
    let mut rng = Rng::from_seed(6);
    let mut alarms = 0;
    for _ in 0..200 {
        let mut judge = judge();
        for minute in 1..=30 {
            let share = [0.01, 0.1, 0.5][usize::try_from(minute / 11).unwrap()];
            let arms = Arms {
                requests: (6000.0 * share, 6000.0 * (1.0 - share)),
                base: 0.01,
                ratio: 1.0,
                noise: 0.2,
            };
            let (canary, baseline) = arms.draw(&mut rng);
            judge.observe(&at(minute, Some(canary), Some(baseline)));
        }
        alarms += usize::from(judge.answer() == CanaryAnswer::RollBack);
    }
    assert!(alarms <= 3, "{alarms} of 200");
}
