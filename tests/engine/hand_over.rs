//! Steps nobody can tell about go to people, and their answers bring the run back.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::{EventKind, HandOver, HandOverAnswer, HealEvent, Outcome};
use homeostasis::core::testing::store::{CrashPoint, CrashStore};
use homeostasis::{EngineError, EngineSettings, Homeostasis};

use crate::world::{World, closes, is, pass, until};

fn no_grace() -> EngineSettings {
    let mut settings = EngineSettings::default();
    settings.quiet = Duration::from_secs(30);
    settings.shutdown_grace = Duration::ZERO;
    settings
}

async fn start(world: &Arc<World>, store: &Arc<dyn Store>) -> Homeostasis {
    let healer = world.healer().settings(no_grace()).store(Arc::clone(store));
    let healer = healer.start().await.unwrap();
    world.watch(&healer, &["a"]);
    healer
}

/// A store whose only run died in its opaque step, and how often the step took effect.
async fn left_by_a_dead_process() -> (Arc<World>, Arc<dyn Store>, u32) {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    world.fall_ill("a");
    let healer = start(&world, &store).await;
    let mut events = healer.subscribe();
    until(&healer, &mut events, is("step_intended")).await;
    healer.shutdown().await;
    let cures = world.cures("a");
    (world, store, cures)
}

/// The question that waits.
async fn asked(healer: &Homeostasis) -> HandOver {
    for _ in 0..300 {
        if let Some(asked) = healer.hand_overs().await.pop() {
            return asked;
        }
        pass(healer, 1).await;
    }
    panic!("nobody is asked");
}

fn ended(event: &HealEvent) -> Option<&Outcome> {
    match &event.kind {
        EventKind::RunEnded { outcome, .. } => Some(outcome),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn each_answer_brings_the_run_where_it_says() {
    for answer in [
        HandOverAnswer::Resume,
        HandOverAnswer::Skip,
        HandOverAnswer::MarkDone,
        HandOverAnswer::Abort,
    ] {
        let (world, store, before) = left_by_a_dead_process().await;
        let healer = start(&world, &store).await;
        let question = asked(&healer).await;
        assert_eq!((question.step_idx, question.question), (0, 0));
        let mut events = healer.subscribe();
        healer
            .answer_hand_over(&question, answer, "ann", "I looked")
            .await
            .unwrap();
        assert!(healer.hand_overs().await.is_empty(), "{answer}");
        if answer == HandOverAnswer::Abort {
            let escalated = until(&healer, &mut events, is("escalated")).await;
            assert!(
                escalated.to_string().contains("aborted by ann: I looked"),
                "{escalated}"
            );
        } else {
            let end = until(&healer, &mut events, |event| ended(event).is_some()).await;
            assert_eq!(ended(&end), Some(&Outcome::Completed), "{answer}");
            until(&healer, &mut events, is("verified")).await;
        }
        let repeated = u32::from(answer == HandOverAnswer::Resume);
        assert_eq!(world.cures("a"), before + repeated, "{answer}");
        let told = healer.events_of(question.incident).await.unwrap();
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        let expected = format!("step 1 handed back by ann: {answer}: I looked");
        assert!(told.contains(&expected), "{told:#?}");
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_once_for_its_question_and_needs_a_name() {
    let (world, store, before) = left_by_a_dead_process().await;
    let healer = start(&world, &store).await;
    let question = asked(&healer).await;
    let say = |question: HandOver, answer, by: &'static str| {
        let healer = healer.clone();
        async move {
            healer
                .answer_hand_over(&question, answer, by, "I looked")
                .await
        }
    };
    let mut wrong = question.clone();
    wrong.question = 1;
    let refusal = say(wrong, HandOverAnswer::Skip, "ann").await.unwrap_err();
    assert!(refusal.to_string().contains("question 0"), "{refusal}");
    let refusal = say(question.clone(), HandOverAnswer::Skip, " ").await;
    assert!(refusal.unwrap_err().to_string().contains("the name"));
    say(question.clone(), HandOverAnswer::MarkDone, "ann")
        .await
        .unwrap();
    // Again, as a client does that did not hear the first reply.
    say(question.clone(), HandOverAnswer::MarkDone, "ann")
        .await
        .unwrap();
    let refusal = say(question.clone(), HandOverAnswer::Resume, "bob").await;
    let refusal = refusal.unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("ann already answered: mark done"),
        "{refusal}"
    );
    pass(&healer, 20).await;
    assert_eq!(world.cures("a"), before);
    let events = healer.events_of(question.incident).await.unwrap();
    let answers = events
        .iter()
        .filter(|event| is("hand_over_answered")(event));
    assert_eq!(answers.count(), 1);
    let mut unknown = question;
    unknown.incident = homeostasis::core::IncidentId::from_u128(7);
    let refusal = say(unknown, HandOverAnswer::Resume, "ann").await;
    assert!(matches!(refusal, Err(EngineError::UnknownIncident(_))));
    healer.shutdown().await;
}

/// A life in which a person answers as soon as they are asked: resume. It dies at `point`. Says how
/// many writes it began.
async fn answered_life(
    world: &Arc<World>,
    store: &Arc<dyn Store>,
    point: Option<CrashPoint>,
) -> u64 {
    let frozen = CrashStore::of(Arc::clone(store)).hanging();
    let crashing = Arc::new(match point {
        Some(point) => frozen.crash_at(point),
        None => frozen,
    });
    let dying: Arc<dyn Store> = Arc::clone(&crashing) as Arc<_>;
    let life = async {
        let healer = start(world, &dying).await;
        let question = asked(&healer).await;
        let _ = healer
            .answer_hand_over(&question, HandOverAnswer::Resume, "ann", "it did not")
            .await;
        pass(&healer, 60).await;
        healer.shutdown().await;
    };
    // A life whose store is dead asks nobody.
    let _ = tokio::time::timeout(Duration::from_secs(200), life).await;
    crashing.n_writes()
}

#[tokio::test(start_paused = true)]
async fn a_kill_between_answer_and_effect_loses_neither_and_repeats_nothing() {
    let (world, store, _) = left_by_a_dead_process().await;
    let n_writes = answered_life(&world, &store, None).await;
    assert!(n_writes >= 8, "only {n_writes} writes");
    for n in 1..=n_writes {
        for point in [CrashPoint::Before(n), CrashPoint::After(n)] {
            let story = format!("{point:?}");
            let (world, store, before) = left_by_a_dead_process().await;
            answered_life(&world, &store, Some(point)).await;
            let healer = start(&world, &store).await;
            pass(&healer, 30).await;
            let answered = |events: &[HealEvent]| {
                let resumed = events
                    .iter()
                    .filter(|event| is("hand_over_answered")(event));
                u32::try_from(resumed.count()).unwrap()
            };
            let [id] = healer.incidents(10).await.unwrap()[..] else {
                panic!("{story}: not one incident");
            };
            let events = healer.events_of(id).await.unwrap();
            let resumes = answered(&events);
            let cures = world.cures("a") - before;
            assert!(cures <= resumes, "{story}: {cures} for {resumes} answers");
            // Whoever is asked now is asked for a step that may have happened, or was not answered.
            if let Some(question) = healer.hand_overs().await.pop() {
                assert_eq!(question.question, resumes, "{story}");
                healer
                    .answer_hand_over(&question, HandOverAnswer::MarkDone, "bob", "it did")
                    .await
                    .unwrap();
            }
            world.cured_by_hand("a");
            let incident = closes(&healer, id, 300).await;
            assert!(incident.is_closed(), "{story}: {:?}", incident.phase);
            assert!(incident.runs[0].outcome.is_some(), "{story}");
            let cures = world.cures("a") - before;
            assert!(cures <= resumes, "{story}: {cures} for {resumes} answers");
            healer.shutdown().await;
        }
    }
}
