//! Patches in a running engine: from a diagnosis to files of a real tree, and back.

mod gating;
mod recovery;
mod shop;

use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::record::{
    EventKind, Outcome, PatchCandidate, PatchKind, Resolution, RiskLevel, VerdictKind,
};
use homeostasis::core::signal::{ErrorEvent, Level, LogRecord};
use homeostasis::core::stage::{PatchError, PatchRequest, Patcher};
use homeostasis::core::{Context, Target, async_trait};
use homeostasis::patch::{ConfigPatcher, PatchFolder, SessionState};
use homeostasis::{HealingEvent, Patching};
use serde_json::Map;

use self::shop::{Check, REMEDIES, Texts};
use crate::world::{is, until};

pub(crate) use self::shop::{NEW, OLD, Shop};

#[tokio::test(start_paused = true)]
async fn a_patch_is_planned_gated_tested_applied_verified_and_documented() {
    let shop = Shop::new();
    let (events, documents) = shop.story(shop.builder(shop.configured()), "closed").await;
    assert_eq!(shop.text(), NEW);
    assert_eq!(shop.restarts.load(Ordering::SeqCst), 1);
    assert_eq!(shop.asked.load(Ordering::SeqCst), 1);
    let plans = events.iter().find_map(|kind| match kind {
        EventKind::Planned { plans, .. } => Some(plans),
        _ => None,
    });
    let [plan] = &plans.unwrap()[..] else {
        panic!("{plans:?}")
    };
    assert_eq!(plan.remediator, "patches");
    let patched: Vec<_> = plan
        .patches
        .iter()
        .map(|it| (it.path.as_str(), it.kind))
        .collect();
    assert_eq!(patched, [("app.toml", PatchKind::Configuration)]);
    assert!(
        events
            .iter()
            .any(|kind| matches!(kind, EventKind::Gated { .. }))
    );
    let [document] = &documents[..] else {
        panic!("{documents:?}")
    };
    assert_eq!(document.schema_version, HealingEvent::SCHEMA_VERSION);
    assert_eq!(document.cause, "illness");
    assert!(
        document.files[0]
            .diff
            .contains("-timeout_ms = 500 # low\n+timeout_ms = 900 # low\n")
    );
    assert!(document.files[0].explanation.contains("within 800 ms"));
    assert_eq!(
        document.tests,
        ["passed tests", "tests: 12 of 12 tests passed"]
    );
    assert_eq!(
        document.verdict.as_ref().unwrap().kind,
        VerdictKind::Success
    );
    assert_eq!(document.taken_back, None);
    assert!(matches!(
        document.resolution,
        Some(Resolution::Healed { .. })
    ));
    let sessions = shop.tree().sessions().unwrap();
    let receipt = document.handed_over.as_ref().unwrap();
    assert_eq!(receipt.place, sessions[0].id);
    assert_eq!(Some(sessions[0].hash), document.patch_hash);
    assert_eq!(sessions[0].state, SessionState::Applied);
    let json = serde_json::to_string(document).unwrap();
    assert_eq!(
        &serde_json::from_str::<HealingEvent>(&json).unwrap(),
        document
    );
}

/// Notes which errors it is told of, and proposes nothing.
#[derive(Debug, Clone, Default)]
struct Hearing(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Patcher for Hearing {
    fn name(&self) -> &str {
        "hearing"
    }

    async fn propose(
        &self,
        _: &Context,
        request: PatchRequest<'_>,
    ) -> Result<Vec<PatchCandidate>, PatchError> {
        let told = request
            .errors
            .iter()
            .map(|it| format!("{} {}", it.kind, it.message));
        self.0.lock().unwrap().extend(told);
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn patchers_are_told_the_errors_of_the_target_the_most_frequent_first() {
    let shop = Shop::new();
    let hearing = Hearing::default();
    let builder = shop.builder(shop.patching().patcher(hearing.clone()));
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    let recorder = healer.recorder();
    for (service, kind) in [
        ("a", "E1"),
        ("a", "E2"),
        ("a", "E2"),
        ("b", "E3"),
        ("a", "E1"),
        ("a", "E2"),
    ] {
        let mut record = LogRecord::new(healer.clock().now(), Level::Error, "failed");
        record.target = Some(Target::service(service).unwrap());
        record.error = Some(Box::new(ErrorEvent::new("python", kind, "m")));
        recorder.log(record);
    }
    shop.run(&healer);
    until(&healer, &mut events, is("planned")).await;
    healer.shutdown().await;
    assert_eq!(*hearing.0.lock().unwrap(), ["E2 m", "E1 m"]);
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_does_not_help_is_taken_back_to_the_byte_and_the_service_restarted() {
    let shop = Shop::new();
    *shop.healthy.lock().unwrap() = "something else";
    let (_, documents) = shop
        .story(shop.builder(shop.configured()), "escalated")
        .await;
    assert_eq!(shop.text(), OLD);
    assert_eq!(
        shop.restarts.load(Ordering::SeqCst),
        2,
        "after the patch, and after its removal"
    );
    assert_eq!(
        documents[0].verdict.as_ref().unwrap().kind,
        VerdictKind::Failed
    );
    assert_eq!(documents[0].taken_back, Some(Outcome::Completed));
    assert_eq!(
        shop.tree().sessions().unwrap()[0].state,
        SessionState::RolledBack
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_candidate_that_passes_is_handed_over() {
    let mut shop = Shop::made();
    shop.refuses = ["timeout_ms = 1\n", "timeout_ms = 2\n"].into();
    let shop = Arc::new(shop);
    let texts = &["timeout_ms = 1\n", NEW, "timeout_ms = 3\n"];
    let texts = Texts(PatchKind::Configuration, RiskLevel::Low, texts);
    let builder = shop.builder(shop.patching().patcher(texts));
    let (_, documents) = shop.story(builder, "closed").await;
    assert_eq!(shop.text(), NEW);
    assert_eq!(
        shop.asked.load(Ordering::SeqCst),
        2,
        "the third was not needed"
    );
    assert_eq!(documents[0].refused, ["tests: test_checkout failed"]);
    assert_eq!(documents[0].files.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_no_candidate_passes_nothing_is_touched_and_people_learn_why() {
    let mut shop = Shop::made();
    shop.refuses = [NEW].into();
    let shop = Arc::new(shop);
    let (_, documents) = shop
        .story(shop.builder(shop.configured()), "escalated")
        .await;
    assert_eq!(shop.text(), OLD);
    assert_eq!(shop.tree().sessions().unwrap(), []);
    assert!(matches!(documents[0].outcome, Some(Outcome::Failed { .. })));
    let why = documents[0].refused.concat();
    assert!(why.contains("tests: test_checkout failed"), "{why}");
    assert!(documents[0].files.is_empty() && documents[0].handed_over.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_report_of_any_length_is_cut_and_the_receipt_kept() {
    let shop = Shop::new();
    let talkative = Check {
        notes: vec!["é".repeat(40_000); 3],
        ..Check::default()
    };
    let patching = shop.configured().check(talkative);
    let (_, documents) = shop.story(shop.builder(patching), "closed").await;
    let receipt = documents[0].handed_over.as_ref().unwrap();
    assert_eq!(receipt.place, shop.tree().sessions().unwrap()[0].id);
    assert_eq!(documents[0].files.len(), 1);
    let last = documents[0].tests.last().unwrap();
    assert!(last.ends_with("bytes more)"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_patch_file_for_people_stays_when_the_trouble_stays() {
    let shop = Shop::new();
    let (root, out) = (shop.folder.join("root"), shop.folder.join("out"));
    let patching = Patching::new(&root, PatchFolder::new(&root, &out))
        .patcher(ConfigPatcher::from_document("r", REMEDIES).unwrap())
        .check(Check::default());
    let (_, documents) = shop.story(shop.builder(patching), "escalated").await;
    assert_eq!(shop.text(), OLD);
    let receipt = documents[0].handed_over.as_ref().unwrap();
    let text = fs::read_to_string(&receipt.place).unwrap();
    assert!(
        text.contains("# - tests: 12 of 12 tests passed\n"),
        "{text}"
    );
    assert!(text.contains("+timeout_ms = 900 # low\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn everything_that_is_wrong_with_patching_is_told_before_anything_starts() {
    let shop = Shop::new();
    let patching = Patching::new("/nowhere", shop.tree())
        .then("no_such_action", Map::new())
        .max_candidates(0)
        .test_time(Duration::ZERO);
    let error = shop
        .builder(patching)
        .start()
        .await
        .unwrap_err()
        .to_string();
    for place in ["max_candidates", "test_time", "patchers", "then[0]"] {
        assert!(
            error.contains(&format!("patching.{place}")),
            "{place}: {error}"
        );
    }
}
