//! Playbooks in a running engine: looked at, changed, stopped, and shown afterwards.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::policy::{GateDecision, Policy};
use homeostasis::core::port::{
    Ballot, Electorate, MemoryNotifier, MemoryStore, Store, Tally, VoteError,
};
use homeostasis::core::record::{
    EffectClass, EventKind, HandOver, HandOverAnswer, Inverse, Outcome, RiskLevel, Standing,
};
use homeostasis::core::signal::SeriesKey;
use homeostasis::core::{Context, Mode, ServiceFacts, async_trait};
use homeostasis::learn::incident_report_markdown;
use homeostasis::remediate::action::{Action, ActionCall, ActionError, ActionSpec};
use homeostasis::{Builder, EngineSettings, Homeostasis, SimulatedClock};
use serde_json::{Value, json};

use crate::world::{START, is, pass, service, until};

const COOL: &str = "\
playbook_id: cool
name: Cool it down
version: '1'
severity: low
trigger: {condition: temperature > 50, duration: 5s, service: a}
remediation_steps:
  - {step: 1, action: open_valve, timeout: 30s}
  - {step: 2, action: shut_down, timeout: 30s}
verification: {check: temperature < 40, wait_time: 1s, watch: 20s}
";

/// Its output repeats what no journal may hold.
const PLANTED: &str = "postgres://cooler:hunter2-secret@db/plant";

type Calls = Arc<Mutex<Vec<String>>>;

/// Writes down every call; each takes ten seconds.
#[derive(Debug)]
struct Recorded(&'static str, ActionSpec, Calls);

impl Recorded {
    fn new(name: &'static str, calls: &Calls) -> Self {
        let spec = ActionSpec::new("a test")
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Captured("how it was".to_owned()));
        Self(name, spec, Arc::clone(calls))
    }

    fn called(&self, what: &str) {
        self.2.lock().unwrap().push(format!("{what} {}", self.0));
    }
}

#[async_trait]
impl Action for Recorded {
    fn name(&self) -> &str {
        self.0
    }

    fn spec(&self) -> &ActionSpec {
        &self.1
    }

    async fn capture(&self, _: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        self.called("capture");
        Ok(json!("shut"))
    }

    async fn perform(&self, cx: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        self.called("do");
        cx.clock().sleep(Duration::from_secs(10)).await;
        Ok(json!({"stdout": format!("connected to {PLANTED}")}))
    }

    async fn undo(&self, _: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        self.called("undo");
        Ok(Value::Null)
    }
}

struct Plant {
    calls: Calls,
    temperature: Arc<Mutex<f64>>,
    store: Arc<dyn Store>,
    notifier: Arc<MemoryNotifier>,
}

impl Plant {
    fn new() -> Self {
        Self {
            calls: Calls::default(),
            temperature: Arc::new(Mutex::new(20.0)),
            store: Arc::new(MemoryStore::default()),
            notifier: Arc::default(),
        }
    }

    fn builder(&self) -> Builder {
        let mut settings = EngineSettings::default();
        settings.quiet = Duration::from_secs(30);
        settings.shutdown_grace = Duration::ZERO;
        let mut policy = Policy {
            min_interval: Duration::ZERO,
            ..Policy::default()
        };
        policy.pre_approved.insert("cool".to_owned());
        let opaque = ActionSpec::new("a test")
            .with_effect(EffectClass::Opaque)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Captured("how it was".to_owned()));
        let builder = Homeostasis::builder()
            .action(Recorded("blow", opaque, Arc::clone(&self.calls)))
            .settings(settings)
            .policy(policy)
            .mode(Mode::Auto)
            .clock(Arc::new(SimulatedClock::starting_at(START)))
            .store(Arc::clone(&self.store))
            .notifier(Arc::clone(&self.notifier) as Arc<_>)
            .service("a", ServiceFacts::default())
            .service("b", ServiceFacts::default())
            .service("c", ServiceFacts::default())
            .service("d", ServiceFacts::default());
        ["open_valve", "shut_down", "purge"]
            .into_iter()
            .fold(builder, |builder, name| {
                builder.action(Recorded::new(name, &self.calls))
            })
    }

    async fn start(&self, builder: Builder) -> Homeostasis {
        let healer = builder.start().await.unwrap();
        let gauge = healer
            .recorder()
            .series(&SeriesKey::new("temperature").with("service", "a"));
        let (temperature, clock) = (Arc::clone(&self.temperature), healer.clock());
        healer.spawn(async move {
            loop {
                let now = *temperature.lock().unwrap();
                gauge.record(now);
                clock.sleep(Duration::from_secs(1)).await;
            }
        });
        healer
    }

    fn heat(&self, degrees: f64) {
        *self.temperature.lock().unwrap() = degrees;
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_shows_the_plan_and_the_gates_answer_and_touches_nothing() {
    let plant = Plant::new();
    let healer = plant
        .start(plant.builder().playbook("cool.yaml", COOL))
        .await;
    let report = healer.dry_run("cool", &service("a")).await.unwrap();
    let text = report.to_string();
    for said in [
        "Cool it down on a",
        "1. open_valve",
        "undo     puts back how it was",
        "effect   idempotent, risk low",
        "gate for a SEV",
        "KillSwitch: Pass",
    ] {
        assert!(
            text.contains(said) || text.contains(&said.replace('_', " ")),
            "{said:?} is not in\n{text}"
        );
    }
    // The answer is the real one: it changes with the kill switch.
    healer.kill_switch().engage();
    let stopped = healer.dry_run("cool", &service("a")).await.unwrap();
    assert_ne!(stopped.gate.record.decision, report.gate.record.decision);
    healer.kill_switch().release();
    assert!(healer.dry_run("cold", &service("a")).await.is_err());
    assert_eq!(plant.calls(), Vec::<String>::new());
    assert!(healer.incidents(10).await.unwrap().is_empty());
    assert_eq!(healer.lint_playbooks()["cool"], []);
    healer.shutdown().await;
}

/// Counts how often anybody is asked.
#[derive(Debug, Default)]
struct Asked(std::sync::atomic::AtomicU32);

#[async_trait]
impl Electorate for Asked {
    async fn poll(&self, _: &Ballot) -> Result<Tally, VoteError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Tally {
            members: 1,
            ayes: 1,
            noes: 0,
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_polls_nobody() {
    let (plant, asked) = (Plant::new(), Arc::new(Asked::default()));
    let mut policy = Policy::default();
    policy.quorum.from_risk = RiskLevel::Low;
    let builder = plant.builder().playbook("cool.yaml", COOL);
    let builder = builder
        .policy(policy)
        .electorate(Arc::clone(&asked) as Arc<_>);
    let healer = plant.start(builder).await;
    let report = healer.dry_run("cool", &service("a")).await.unwrap();
    assert_eq!(asked.0.load(Ordering::SeqCst), 0, "{report}");
    assert_ne!(
        report.gate.record.decision,
        GateDecision::Permitted,
        "{report}"
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_no_run_in_flight_and_a_bad_file_changes_nothing() {
    let plant = Plant::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cool.yaml");
    std::fs::write(&file, COOL).unwrap();
    let builder = plant.builder().playbook_path(&file);
    let healer = plant.start(builder).await;
    healer.watch_playbooks(Duration::from_secs(2));
    let mut events = healer.subscribe();
    plant.heat(60.0);
    let begun = until(&healer, &mut events, is("step_intended")).await;

    // While the first step runs the file becomes another one, then a broken one.
    let changed = COOL
        .replace("version: '1'", "version: '2'")
        .replace("shut_down", "purge");
    std::fs::write(&file, &changed).unwrap();
    pass(&healer, 6).await;
    let now = healer.playbooks();
    assert_eq!(now.get("cool").unwrap().version(), "2");
    std::fs::write(&file, "playbook_id: [").unwrap();
    pass(&healer, 6).await;
    assert!(healer.reload_playbooks().is_err());
    assert_eq!(healer.playbooks().get("cool").unwrap().version(), "2");
    let blamed = healer.health().blames;
    assert!(
        blamed.iter().any(|blame| blame.stage == "playbooks"),
        "{blamed:?}"
    );

    until(&healer, &mut events, is("run_ended")).await;
    let expected = [
        "capture open_valve",
        "do open_valve",
        "capture shut_down",
        "do shut_down",
    ];
    assert_eq!(plant.calls(), expected);
    plant.heat(20.0);
    until(&healer, &mut events, is("closed")).await;

    // The run can be shown with the text it ran, also by another life.
    let incident = healer.incident(begun.incident).await.unwrap();
    let reference = incident.plans[0].playbook.clone().unwrap();
    assert_eq!(reference.version, "1");
    healer.shutdown().await;
    std::fs::write(&file, &changed).unwrap();
    let healer = plant
        .start(plant.builder().playbook("cool.yaml", &changed))
        .await;
    let kept = healer.playbook_version(reference.hash).await.unwrap();
    let kept = kept.expect("the text is kept");
    assert_eq!((&*kept.text, kept.redacted), (COOL, false));
    assert_eq!(
        healer
            .playbook_version(homeostasis::core::Digest::of_bytes(b"another"))
            .await
            .unwrap(),
        None
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_choice_stands_on_the_incident_and_outputs_without_their_secrets() {
    let plant = Plant::new();
    let blocked = COOL
        .replace("playbook_id: cool", "playbook_id: hot")
        .replace(
            "remediation_steps",
            "pre_conditions: [temperature < 0]\nremediation_steps",
        );
    let builder = plant
        .builder()
        .playbook("cool.yaml", COOL)
        .playbook("hot.yaml", blocked);
    let healer = plant.start(builder).await;
    let mut events = healer.subscribe();
    plant.heat(60.0);
    until(&healer, &mut events, is("run_ended")).await;
    plant.heat(20.0);
    let closed = until(&healer, &mut events, is("closed")).await;
    let story = healer.events_of(closed.incident).await.unwrap();
    let considered = story
        .iter()
        .find_map(|event| match &event.kind {
            EventKind::Planned { considered, .. } => Some(considered.clone()),
            _ => None,
        })
        .unwrap();
    let standing: Vec<_> = considered
        .iter()
        .map(|it| (it.name.as_str(), it.standing))
        .collect();
    assert_eq!(
        standing,
        [("cool", Standing::Chosen), ("hot", Standing::PassedOver)]
    );
    let report = incident_report_markdown(&story).unwrap();
    assert!(report.contains("## Selection"), "{report}");
    assert!(report.contains("passed over"), "{report}");
    let kept = serde_json::to_string(&story).unwrap();
    assert!(kept.contains("connected to"), "the output is kept");
    assert!(!kept.contains("hunter2-secret") && !report.contains("hunter2-secret"));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_begins_no_step_takes_back_and_calls_people_also_after_a_kill() {
    // The second playbook has no step after the one that is under way.
    let one_step = COOL.replace("  - {step: 2, action: shut_down, timeout: 30s}\n", "");
    assert_ne!(one_step, COOL);
    for (text, is_killed) in [
        (COOL, false),
        (COOL, true),
        (&one_step, false),
        (&one_step, true),
    ] {
        let plant = Plant::new();
        let mut healer = plant
            .start(plant.builder().playbook("cool.yaml", text))
            .await;
        let mut events = healer.subscribe();
        plant.heat(60.0);
        let begun = until(&healer, &mut events, is("step_intended")).await;
        let id = begun.incident;
        let run = healer.incident(id).await.unwrap().runs[0].run;
        assert!(healer.cancel_run(id, run, "", "x").await.is_err());
        healer.cancel_run(id, run, "ann", "not now").await.unwrap();
        healer.cancel_run(id, run, "ann", "not now").await.unwrap();
        if is_killed {
            healer.shutdown().await;
            healer = plant
                .start(plant.builder().playbook("cool.yaml", text))
                .await;
            events = healer.subscribe();
        }
        let escalated = until(&healer, &mut events, is("escalated")).await;
        assert!(
            escalated.to_string().contains("cancelled by ann: not now"),
            "{escalated}"
        );
        let calls = plant.calls();
        assert_eq!(
            calls,
            ["capture open_valve", "do open_valve", "undo open_valve"],
            "killed: {is_killed}"
        );
        let incident = healer.incident(id).await.unwrap();
        let state = &incident.runs[0];
        assert!(incident.verdicts.is_empty(), "{:?}", incident.verdicts);
        assert_eq!(state.undo_outcome, Some(Outcome::Completed));
        assert_eq!(plant.notifier.sent().len(), 1);
        healer.shutdown().await;
    }
}

/// A playbook whose first step ends too late, and cannot be told about.
fn late() -> String {
    COOL.replace(
        "action: open_valve, timeout: 30s",
        "action: blow, timeout: 5s",
    )
}

async fn asked(healer: &Homeostasis) -> HandOver {
    for _ in 0..60 {
        if let Some(asked) = healer.hand_overs().await.pop() {
            return asked;
        }
        pass(healer, 1).await;
    }
    panic!("nobody is asked");
}

#[tokio::test(start_paused = true)]
async fn the_second_question_calls_people_again_and_the_first_capture_is_kept() {
    let plant = Plant::new();
    let healer = plant
        .start(plant.builder().playbook("cool.yaml", late()))
        .await;
    plant.heat(60.0);
    let first = asked(&healer).await;
    assert_eq!(plant.notifier.sent().len(), 1);
    healer
        .answer_hand_over(&first, HandOverAnswer::Resume, "ann", "it did not")
        .await
        .unwrap();
    let second = asked(&healer).await;
    assert_eq!((second.question, &second.reason), (1, &first.reason));
    assert_eq!(plant.notifier.sent().len(), 2);
    assert_eq!(plant.calls(), ["capture blow", "do blow", "do blow"]);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_still_asks_about_the_step_nobody_can_tell_about() {
    for is_killed in [false, true] {
        let plant = Plant::new();
        let text = late();
        let mut healer = plant
            .start(plant.builder().playbook("cool.yaml", &text))
            .await;
        let mut events = healer.subscribe();
        plant.heat(60.0);
        let begun = until(&healer, &mut events, is("step_intended")).await;
        let run = healer.incident(begun.incident).await.unwrap().runs[0].run;
        healer
            .cancel_run(begun.incident, run, "ann", "not now")
            .await
            .unwrap();
        if is_killed {
            healer.shutdown().await;
            healer = plant
                .start(plant.builder().playbook("cool.yaml", &text))
                .await;
            events = healer.subscribe();
        }
        let question = asked(&healer).await;
        assert!(!plant.calls().contains(&"undo blow".to_owned()));
        let refused = healer
            .answer_hand_over(&question, HandOverAnswer::Resume, "ann", "again")
            .await;
        assert!(refused.unwrap_err().to_string().contains("cancelled"));
        healer
            .answer_hand_over(&question, HandOverAnswer::MarkDone, "ann", "it did")
            .await
            .unwrap();
        until(&healer, &mut events, is("undo_ended")).await;
        assert_eq!(plant.calls(), ["capture blow", "do blow", "undo blow"]);
        healer.shutdown().await;
    }
}
