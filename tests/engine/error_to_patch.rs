//! From a traceback in the logs to a planned patch with what is furnished: no rule, no analyzer and
//! no normalizer of the host.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::policy::Policy;
use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::{EventKind, HealEvent, PatchKind};
use homeostasis::core::signal::{Level, LogRecord};
use homeostasis::core::testing::engine::Scratch;
use homeostasis::core::{Mode, ServiceFacts};
use homeostasis::patch::{LiveTree, PatchValidator, TemplatePatcher, ValidatorConfig};
use homeostasis::{Homeostasis, Patching, SimulatedClock};

use crate::world::{IllnessDetector, START, World, is, pass, service, until};

const SERVICE: &str = "\
CENTS = {'DE': 490, 'FR': 690}


def cents(country):
    if country == '':
        return 0
    return CENTS[country]
";

/// What the service `a` prints in each second of its illness, and the end of the story.
async fn story(printed: &str, raised_before: bool) -> Vec<HealEvent> {
    let folder = Scratch::new();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("labels.py"), SERVICE).unwrap();
    let tree = LiveTree::new(&root, folder.path().join("sessions"));
    let patching = Patching::new(&root, tree)
        .patcher(TemplatePatcher::built_in().unwrap())
        .check(PatchValidator::new(ValidatorConfig::default()).unwrap());
    let mut policy = Policy::default();
    policy.patches.kinds.insert(PatchKind::Code);
    let (world, store) = (Arc::<World>::default(), Arc::new(MemoryStore::default()));
    let healer = Homeostasis::builder()
        .clock(Arc::new(SimulatedClock::starting_at(START)))
        .mode(Mode::Auto)
        .policy(policy)
        .store(Arc::clone(&store) as Arc<_>)
        .service("a", ServiceFacts::default())
        .detector(IllnessDetector)
        .patching(patching)
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    let text = printed.replace("ROOT", &root.display().to_string());
    let (recorder, clock) = (healer.recorder(), healer.clock());
    let state = Arc::clone(&world);
    healer.spawn(async move {
        loop {
            if raised_before || state.is_ill("a") {
                let mut record = LogRecord::new(clock.now(), Level::Error, text.clone());
                record.target = Some(service("a"));
                recorder.log(record);
            }
            clock.sleep(Duration::from_secs(1)).await;
        }
    });
    // Longer than the evidence of a diagnosis goes back.
    pass(&healer, 900).await;
    world.fall_ill("a");
    let ended = until(&healer, &mut events, |event| {
        is("planned")(event) || is("escalated")(event)
    })
    .await;
    healer.shutdown().await;
    store.read(ended.incident).await.unwrap()
}

/// The causes that were named.
fn causes(events: &[HealEvent]) -> Vec<&str> {
    let diagnoses = events.iter().filter_map(|event| match &event.kind {
        EventKind::Diagnosed { diagnosis, .. } => diagnosis.root_cause(),
        _ => None,
    });
    diagnoses.map(|cause| cause.cause.as_str()).collect()
}

/// The patched files of the plans.
fn planned(events: &[HealEvent]) -> Vec<String> {
    let plans = events.iter().filter_map(|event| match &event.kind {
        EventKind::Planned { plans, .. } => Some(plans),
        _ => None,
    });
    let patches = plans.flatten().filter(|plan| plan.remediator == "patches");
    let files = patches.flat_map(|plan| &plan.patches);
    files.map(|patch| patch.path.clone()).collect()
}

const TRACEBACK: &str = "Traceback (most recent call last):\n  \
    File \"ROOT/labels.py\", line 7, in cents\n    return CENTS[country]\nKeyError: 'AT'";

#[tokio::test(start_paused = true)]
async fn a_traceback_in_the_logs_becomes_a_planned_patch_with_the_shipped_rules_alone() {
    let events = story(TRACEBACK, false).await;
    assert_eq!(causes(&events), ["application_exception"], "{events:#?}");
    assert_eq!(planned(&events), ["labels.py"], "{events:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_traceback_that_was_always_there_explains_no_new_illness() {
    let events = story(TRACEBACK, true).await;
    assert!(
        !causes(&events).contains(&"application_exception"),
        "{events:#?}"
    );
    assert_eq!(planned(&events), [""; 0], "{events:#?}");
}
