//! Steps at once keep the laws of steps one after another.

use homeostasis_core::record::{EffectClass, EventKind, Outcome};
use homeostasis_core::testing::remediator::Crash;

use super::law_tests::{Fault, Stage, shapes};

#[tokio::test]
async fn steps_at_once_are_all_intended_before_the_first_of_them_ends() {
    let stage = Stage::at_once(&[(EffectClass::Keyed, Fault::Flaky(1)); 3]);
    let outcome = stage.execute(Crash::Never).await.unwrap();
    assert_eq!(outcome, Outcome::Completed);
    // Each is tried again while the others wait for their own second attempt.
    let events = stage.harness.events();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| match &event.kind {
            EventKind::StepIntended { .. } => "intended",
            EventKind::StepEnded { .. } => "ended",
            _ => "other",
        })
        .filter(|kind| *kind != "other")
        .collect();
    let second: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::StepIntended { intent, .. } if intent.attempt == 2 => Some(intent.step_idx),
            _ => None,
        })
        .collect();
    assert_eq!(kinds.len(), 12, "{kinds:?}");
    assert_eq!(second.len(), 3);
    let first_second = events
        .iter()
        .position(|event| {
            matches!(&event.kind, EventKind::StepIntended { intent, .. } if intent.attempt == 2)
        })
        .unwrap();
    let begun = events[..first_second]
        .iter()
        .filter(|event| matches!(&event.kind, EventKind::StepIntended { .. }))
        .count();
    assert_eq!(begun, 3, "a step waited for another one's retry");
}

#[tokio::test]
async fn a_crash_at_every_write_of_steps_at_once_repeats_nothing_that_must_not_be_repeated() {
    for shape in shapes() {
        let calm = Stage::at_once(&shape);
        assert_eq!(
            calm.execute(Crash::Never).await.unwrap(),
            Outcome::Completed
        );
        for crash in Crash::every(calm.harness.writes()) {
            let story = format!("{shape:?}, crash {crash:?}");
            let stage = Stage::at_once(&shape);
            assert!(stage.execute(crash).await.is_err(), "{story}");
            let outcome = stage.execute(Crash::Never).await.unwrap();
            match outcome {
                Outcome::Completed => {}
                Outcome::Unknown { step_idx, .. } => {
                    assert_eq!(shape[step_idx].0, EffectClass::Opaque, "{story}");
                }
                other => panic!("{story}: {other}"),
            }
            stage.assert_effects(&shape, &story);
        }
    }
}

#[tokio::test]
async fn a_step_that_fails_lets_the_others_end_and_all_are_taken_back() {
    let shape = [
        (EffectClass::Keyed, Fault::Breaks),
        (EffectClass::Idempotent, Fault::None),
        (EffectClass::Probeable, Fault::Flaky(2)),
    ];
    let stage = Stage::at_once(&shape);
    let outcome = stage.execute(Crash::Never).await.unwrap();
    assert!(
        matches!(outcome, Outcome::Failed { step_idx: 0, .. }),
        "{outcome}"
    );
    assert_eq!([1, 2].map(|idx| stage.register(idx)), [1, 1]);
    let undone = stage.undo(Crash::Never).await.unwrap();
    assert_eq!(undone, Outcome::Completed);
    assert_eq!([0, 1, 2].map(|idx| stage.register(idx)), [0, 0, 0]);
}

#[tokio::test]
async fn what_people_must_look_at_outweighs_what_failed_beside_it() {
    let shape = [
        (EffectClass::Keyed, Fault::Breaks),
        (EffectClass::Opaque, Fault::HangsAfter),
    ];
    let stage = Stage::at_once(&shape);
    let outcome = stage.execute(Crash::Never).await.unwrap();
    assert!(
        matches!(outcome, Outcome::Unknown { step_idx: 1, .. }),
        "{outcome}"
    );
}
