//! Secrets of every kind are planted wherever a host, its telemetry and its plug-ins can put text;
//! an incident goes through the real engine with a journal on disk; then everything that was kept,
//! shown or sent is searched for them.
//!
//! The control run without redaction finds them all, so the search is no idle one.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "../homeostasis-signals/src/redact/samples.rs"]
mod samples;

#[path = "redaction/outlets.rs"]
mod outlets;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis::core::policy::{Permit, Policy};
use homeostasis::core::port::{
    ApprovalDecision, ApprovalRequest, Approvals, MemoryApprovals, MemoryNotifier, NoRedaction,
    Redactor,
};
use homeostasis::core::record::{
    Anomaly, BlastRadius, Category, CheckOutcome, CheckResult, EffectClass, EventKind, Finding,
    HealEvent, Inverse, Outcome, Plan, PlanStep, Proof, RadiusLevel, RiskLevel, Role, StepIntent,
    StepOutcome, StepPhase, Subject, Verdict, VerdictKind,
};
use homeostasis::core::signal::{
    CauseRelation, Change, ChangeKind, ErrorEvent, HealthReport, HealthState, Level, LogRecord,
    SeriesKey, Signal, SignalBatch,
};
use homeostasis::core::stage::{
    AnalyzeError, Analyzer, DetectError, Detector, Evidence, ExecuteError, PlanError, PlanRequest,
    Remediator, RunLog, Verifier, VerifyError, VerifyRequest,
};
use homeostasis::core::{
    Context, Digest, IdempotencyKey, Mode, PlanId, ServiceFacts, Target, Timestamp, async_trait,
};
use homeostasis::learn::{incident_report_markdown, project};
use homeostasis::remediate::action::{Action, ActionCall, HttpRequestAction};
use homeostasis::signals::{
    LogTail, LogTailConfig, PanicHook, SecretRedactor, StartAt, TemplateEnricher,
};
use homeostasis::store::RedbStore;
use homeostasis::{EngineSettings, Events, Homeostasis};
use outlets::Outlets;
use samples::{Sample, samples};
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;

fn shop() -> Target {
    Target::service("shop").unwrap()
}

/// All planted texts in one.
fn all_texts() -> String {
    let texts: Vec<_> = samples().into_iter().map(|sample| sample.text).collect();
    texts.join("\n\n")
}

/// Everything that was kept, shown or sent, by where.
type Outputs = BTreeMap<&'static str, String>;

/// A plug-in of every stage whose texts hold secrets.
#[derive(Debug)]
struct Leaky {
    detected: AtomicBool,
    seen: Mutex<String>,
    http: HttpRequestAction,
    url: String,
}

#[derive(Debug)]
struct Plugin(Arc<Leaky>);

#[async_trait]
impl Detector for Plugin {
    fn name(&self) -> &str {
        "leaky"
    }

    async fn detect(
        &mut self,
        _: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        write!(self.0.seen.lock().unwrap(), "{batch:?}").unwrap();
        if batch.logs.is_empty() || self.0.detected.swap(true, Ordering::SeqCst) {
            return Ok(Vec::new());
        }
        let at = batch.logs[0].at;
        let anomaly = |sample: Sample| {
            let subject = Subject::Logs(sample.text.clone());
            Anomaly::new("leaky", shop(), subject, at).saying(sample.text)
        };
        Ok(samples().into_iter().map(anomaly).collect())
    }
}

/// Panics once, with secrets in its last words.
#[derive(Debug)]
struct Panics(bool);

#[async_trait]
impl Detector for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    async fn detect(
        &mut self,
        _: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        if !batch.logs.is_empty() && !std::mem::replace(&mut self.0, true) {
            std::panic::panic_any(all_texts());
        }
        Ok(Vec::new())
    }
}

#[async_trait]
impl Analyzer for Plugin {
    fn name(&self) -> &str {
        "leaky"
    }

    async fn analyze(&self, _: &Context, _: &Evidence<'_>) -> Result<Vec<Finding>, AnalyzeError> {
        let finding = |of: &[Sample]| {
            let category = Category::ApplicationError;
            let finding = Finding::new("leaky", shop(), "leak", category, Role::Cause, 5.0);
            of.iter()
                .fold(finding.saying(&of[0].text), |finding, sample| {
                    finding.proven_by(Proof {
                        kind: "log".to_owned(),
                        reference: sample.text.clone(),
                        at: None,
                        statement: sample.text.clone(),
                    })
                })
        };
        Ok(samples().chunks(Finding::MAX_PROOFS).map(finding).collect())
    }
}

/// An analyzer that fails with secrets in the chain of its error.
#[derive(Debug)]
struct Fails;

#[async_trait]
impl Analyzer for Fails {
    fn name(&self) -> &str {
        "fails"
    }

    async fn analyze(&self, _: &Context, _: &Evidence<'_>) -> Result<Vec<Finding>, AnalyzeError> {
        let cause = std::io::Error::other(all_texts());
        Err(AnalyzeError::permanent(all_texts(), cause))
    }
}

fn plan(cx: &Context, request: PlanRequest<'_>, remediator: &str, title: String) -> Plan {
    let id = PlanId::new(cx.now(), &mut cx.rng(u64::from(remediator == "leaky")));
    let mut plan = Plan::new(id, request.incident.id, remediator, title, shop());
    plan.fitness = 1.0;
    plan.require_approval = true;
    plan.verification.wait = Duration::ZERO;
    plan.radius = BlastRadius {
        level: RadiusLevel::SingleInstance,
        instances: 1,
        services: 1,
        risk_score: 1.0,
    };
    let mut step = PlanStep::new(all_texts(), "leak", shop());
    step.effect = EffectClass::Idempotent;
    step.risk = RiskLevel::Low;
    step.inverse = Inverse::Captured(all_texts());
    plan.steps.push(step);
    plan
}

#[async_trait]
impl Remediator for Plugin {
    fn name(&self) -> &str {
        "leaky"
    }

    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        let mut plan = plan(cx, request, "leaky", all_texts());
        // What it was told goes into what it sends.
        let told = json!({ "anomalies": request.incident.anomalies, "why": request.diagnosis });
        let args = json!({ "url": self.0.url, "credential_name": "door", "json": told });
        plan.steps[0].args = args.as_object().cloned().unwrap();
        Ok(vec![plan])
    }

    async fn execute(
        &self,
        cx: &Context,
        permit: Permit,
        run: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        let failed = |error| ExecuteError::permanent("the run log", error);
        run.redeem(permit).map_err(failed)?;
        let (key, args) = (
            IdempotencyKey::new(run.state().run, 0),
            run.plan().steps[0].args.clone(),
        );
        let intent = StepIntent {
            step_idx: 0,
            phase: StepPhase::Do,
            attempt: 1,
            key: key.clone(),
            effect: EffectClass::Idempotent,
            captured: Value::Null,
            deadline: cx.now() + Duration::from_secs(30),
        };
        run.intend(intent).await.map_err(failed)?;
        let target = shop();
        let deadline = cx.now() + Duration::from_secs(30);
        let call = ActionCall::new(&target, &args, &key).with_deadline(deadline);
        let answer = self.0.http.perform(cx, &call).await;
        let answer = answer.map_err(|error| ExecuteError::permanent("the request", error))?;
        let texts: Vec<_> = samples().into_iter().map(|sample| sample.text).collect();
        let output =
            json!({ "stdout": texts, "password": 1234, "token": texts[0], "answer": answer });
        let done = StepOutcome::Done { output };
        run.end(StepPhase::Do, 0, done).await.map_err(failed)?;
        Ok(Outcome::Completed)
    }

    async fn undo(
        &self,
        _: &Context,
        _: Permit,
        _: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        Err(ExecuteError::permanent(
            all_texts(),
            std::io::Error::other(all_texts()),
        ))
    }
}

/// Its plans hold a secret where it would be executed.
#[derive(Debug)]
struct Careless;

#[async_trait]
impl Remediator for Careless {
    fn name(&self) -> &str {
        "careless"
    }

    async fn plan(&self, cx: &Context, request: PlanRequest<'_>) -> Result<Vec<Plan>, PlanError> {
        let mut plan = plan(cx, request, "careless", "call the gateway".to_owned());
        let secret = samples().swap_remove(0).secret;
        let args = json!({ "url": "http://gateway/", "headers": { "x-door": secret } });
        plan.steps[0].args = args.as_object().cloned().unwrap();
        Ok(vec![plan])
    }

    async fn execute(
        &self,
        _: &Context,
        _: Permit,
        _: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        panic!("a plan with a secret is not executed")
    }

    async fn undo(
        &self,
        _: &Context,
        _: Permit,
        _: &mut RunLog<'_>,
    ) -> Result<Outcome, ExecuteError> {
        Ok(Outcome::Completed)
    }
}

#[async_trait]
impl Verifier for Plugin {
    fn name(&self) -> &str {
        "leaky"
    }

    async fn verify(&self, cx: &Context, _: VerifyRequest<'_>) -> Result<Verdict, VerifyError> {
        let check = |sample: Sample| CheckResult {
            criterion: sample.text.clone(),
            outcome: CheckOutcome::Failed,
            detail: sample.text,
        };
        let verdict = Verdict::new(VerdictKind::Failed, cx.now(), all_texts());
        Ok(verdict.resting_on(samples().into_iter().map(check).collect()))
    }
}

/// Plants every sample in every kind of signal.
async fn plant(healer: &Homeostasis, folder: &Path) {
    let (recorder, now) = (healer.recorder(), healer.recorder().now());
    let mut lines = String::new();
    for sample in samples() {
        let text = sample.text.as_str();
        let error = ErrorEvent::new("rust", "panic", text)
            .because(CauseRelation::CausedBy, ErrorEvent::new("rust", "Io", text));
        let mut log = LogRecord::new(now, Level::Error, text)
            .of(shop())
            .with("detail", text);
        log.error = Some(Box::new(error));
        recorder.log(log);
        let change = Change::new(now, ChangeKind::Config, shop(), text).with("diff", text);
        recorder.signal(Signal::Change(change));
        let health = HealthReport::new(now, shop(), "http", HealthState::Degraded).saying(text);
        recorder.signal(Signal::Health(health));
        let key = SeriesKey::new("requests")
            .with("service", "shop")
            .with("url", text);
        recorder.series(&key).record(1.0);
        lines.push_str(&json!({ "level": "error", "msg": text, "note": text }).to_string());
        lines.push('\n');
    }
    let path = folder.join("shop.log");
    std::fs::write(&path, lines).unwrap();
    let mut config = LogTailConfig::new(&path);
    config.start_at = StartAt::Beginning;
    config.multiline = None;
    let tail = LogTail::new(config, healer.clock()).unwrap();
    let read = tail.poll().await.unwrap();
    assert_eq!(read.len(), samples().len());
    for signal in read {
        recorder.signal(signal);
    }
    let layer = healer.tracing_layer("shop").unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        for Sample { text, .. } in samples() {
            let _span = tracing::info_span!("checkout", url = %text).entered();
            tracing::error!(detail = %text, "{text}");
        }
    });
    panic_with_secrets(healer);
    recorder.log(LogRecord::new(now, Level::Info, PLANTED));
}

/// The last of what is planted.
const PLANTED: &str = "all is planted";

/// Panics once for every sample, heard by the panic hook.
fn panic_with_secrets(healer: &Homeostasis) {
    // The hook is the process's, and two healers are at work: each takes its turn.
    static TURN: Mutex<()> = Mutex::new(());
    static QUIET: AtomicBool = AtomicBool::new(false);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // The panics of this thread are expected, and would bury what a failing test says.
    let (before, here) = (std::panic::take_hook(), std::thread::current().id());
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != here || !QUIET.load(Ordering::SeqCst) {
            before(info);
        }
    }));
    QUIET.store(true, Ordering::SeqCst);
    let hook = PanicHook::install(healer.sink(), healer.clock(), Some(shop()));
    for Sample { text, .. } in samples() {
        std::panic::catch_unwind(|| panic!("{text}")).unwrap_err();
    }
    drop(hook);
    QUIET.store(false, Ordering::SeqCst);
}

/// What the panic hook heard, as it is kept.
fn panics(healer: &Homeostasis) -> String {
    let (from, to) = (Timestamp::EPOCH, healer.recorder().now());
    let logs = healer.observations().logs(None, from, to);
    let panics: Vec<_> = logs.iter().filter(|log| log.component == "panic").collect();
    format!("{panics:?}")
}

/// Keeps what it is shown and approves it at once.
#[derive(Debug, Default)]
struct Ann {
    asked: MemoryApprovals,
    shown: Mutex<String>,
}

#[async_trait]
impl Approvals for Ann {
    async fn request(&self, request: ApprovalRequest) {
        self.shown.lock().unwrap().push_str(&request.summary);
        let plan_hash = request.plan_hash;
        self.asked.request(request).await;
        let yes = ApprovalDecision {
            granted: true,
            by: "ann".to_owned(),
            reason: all_texts(),
            at: Timestamp::EPOCH,
        };
        self.asked.decide(plan_hash, yes);
    }

    async fn decisions(&self, plan_hash: Digest) -> Vec<ApprovalDecision> {
        self.asked.decisions(plan_hash).await
    }
}

/// The events until people are called.
async fn until_people_are_called(events: &mut Events) -> Vec<Arc<HealEvent>> {
    let mut told = Vec::new();
    loop {
        let event = events.next().await.expect("the engine runs");
        let is_last = matches!(event.kind, EventKind::Escalated { .. });
        told.push(event);
        if is_last {
            return told;
        }
    }
}

/// All that is kept of the signals.
fn window(healer: &Homeostasis) -> String {
    let (from, to) = (Timestamp::EPOCH, healer.recorder().now());
    let window = healer.observations();
    format!(
        "{:?} {:?} {:?} {:?} {:?}",
        window.logs(None, from, to),
        window.spans(None, from, to),
        window.changes(from, to),
        window.health(None, from, to),
        window.series_of(&shop(), from, to),
    )
}

/// Each server got the credential, path and signature that belong to it.
fn assert_each_got_its_own(outlets: &Outlets) {
    let heads = outlets.heads("/action");
    assert!(heads.contains(outlets::CREDENTIAL), "{heads}");
    for path in ["/signed", "/slack", "/gone"] {
        let heads = outlets.heads(path);
        assert!(heads.contains(outlets::PATH), "{heads}");
        assert_eq!(
            heads.contains("webhook-signature"),
            path != "/slack",
            "{heads}"
        );
    }
}

fn settings() -> EngineSettings {
    let mut settings = EngineSettings::default();
    settings.tick = Duration::from_millis(20);
    settings.settle = Duration::ZERO;
    settings.max_anomalies = 1_000;
    settings.detect_deadline = Duration::from_secs(30);
    settings
}

/// One incident from the first signal until people are called; and what came of it.
async fn incident(redactor: Option<Arc<dyn Redactor>>) -> Outputs {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.redb");
    let outlets = Outlets::start().await;
    let leaky = Arc::new(Leaky {
        detected: AtomicBool::new(false),
        seen: Mutex::default(),
        http: outlets.action(),
        url: outlets.url("/action"),
    });
    let (notifier, approvals) = (
        Arc::new(MemoryNotifier::default()),
        Arc::new(Ann::default()),
    );
    let policy = Policy {
        min_interval: Duration::ZERO,
        ..Policy::default()
    };
    let mut builder = Homeostasis::empty()
        .settings(settings())
        .policy(policy)
        .mode(Mode::Auto)
        .store(Arc::new(RedbStore::open(&journal).unwrap()))
        .notifier(Arc::new(outlets.notifier(Arc::clone(&notifier))))
        .approvals(Arc::clone(&approvals) as Arc<_>)
        .service("shop", ServiceFacts::default())
        .enricher(Arc::new(TemplateEnricher::default()))
        .detector(Plugin(Arc::clone(&leaky)))
        .detector(Panics(false))
        .analyzer(Plugin(Arc::clone(&leaky)))
        .analyzer(Fails)
        .remediator(Plugin(Arc::clone(&leaky)))
        .verifier(Plugin(Arc::clone(&leaky)));
    builder = match redactor {
        Some(redactor) => builder.redactor(redactor),
        None => builder.remediator(Careless),
    };
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    plant(&healer, folder.path()).await;

    let called = until_people_are_called(&mut events);
    let told = tokio::time::timeout(Duration::from_secs(120), called)
        .await
        .expect("people are called");
    until_all_channels_were_asked(&healer).await;
    let taken_in = async {
        while !window(&healer).contains(PLANTED) {
            healer.clock().sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), taken_in)
        .await
        .expect("all that was planted is taken in");
    let id = told[0].incident;
    healer.close_incident(id, "ann", all_texts()).await.unwrap();
    let kept = healer.events_of(id).await.unwrap();
    let (window, panics) = (window(&healer), panics(&healer));
    let health = serde_json::to_string(&healer.health()).unwrap();
    healer.shutdown().await;
    drop(healer);
    let seen = leaky.seen.lock().unwrap().clone();
    let shown = approvals.shown.lock().unwrap().clone();
    let report =
        incident_report_markdown(&kept).unwrap() + &project(&kept).unwrap().to_json_line().unwrap();
    assert_each_got_its_own(&outlets);
    BTreeMap::from([
        ("panics", panics),
        ("signed webhook", outlets.bodies("/signed")),
        ("Slack webhook", outlets.bodies("/slack")),
        ("requests of actions", outlets.bodies("/action")),
        (
            "journal file",
            String::from_utf8_lossy(&std::fs::read(&journal).unwrap()).into_owned(),
        ),
        ("stored events", serde_json::to_string(&kept).unwrap()),
        (
            "told events",
            told.iter()
                .map(|event| serde_json::to_string(&**event).unwrap() + &event.to_string())
                .collect(),
        ),
        ("window", window),
        ("detectors", seen),
        ("engine health", health),
        ("approvals", shown),
        (
            "notifications",
            notifier
                .sent()
                .iter()
                .flat_map(|sent| [sent.title.clone(), sent.body.clone()])
                .collect(),
        ),
        ("report", report.replace('\\', "")),
    ])
}

/// One of the webhooks refuses everything: once that is told, all have been asked.
async fn until_all_channels_were_asked(healer: &Homeostasis) {
    let asked = async {
        while healer.channels()["notifier"].failed == 0 {
            healer.clock().sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), asked)
        .await
        .expect("the message is sent");
}

/// What nothing but the request it belongs to may show, redaction or not.
fn assert_kept_by_its_keeper(place: &str, text: &str) {
    for kept in [outlets::CREDENTIAL, outlets::PATH, &outlets::KEY[6..]] {
        assert!(!text.contains(kept), "{kept} in the {place}");
    }
}

/// The kinds of which a planted secret is in `text`.
fn leaked(text: &str) -> BTreeSet<&'static str> {
    let samples = samples();
    let is_there = |sample: &&Sample| sample.needles().iter().any(|needle| text.contains(needle));
    samples
        .iter()
        .filter(is_there)
        .map(|sample| sample.kind)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_secret_leaves() {
    let outputs = incident(None).await;
    for (place, text) in &outputs {
        assert_eq!(leaked(text), BTreeSet::new(), "in the {place}");
        assert!(text.contains("[redacted:"), "{place}: {text}");
        assert_kept_by_its_keeper(place, text);
    }
    // A plan that holds a secret is refused, and its author is told where it is.
    let events = &outputs["stored events"];
    assert!(events.contains("/headers/x-door"), "{events}");
    // The name of a credential is told, what was repeated of it is not, and a webhook that failed
    // is told by its name.
    assert!(events.contains(r#""credential_name":"door""#), "{events}");
    assert!(events.contains(r#"\"x-door\": \"***\""#), "{events}");
    assert!(events.contains("webhook `gone` failed"), "{events}");
    assert!(events.contains("status 404"), "{events}");
    let kinds: BTreeSet<_> = samples().iter().map(|sample| sample.kind).collect();
    assert!(kinds.len() >= 60, "{} kinds", kinds.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redaction_they_all_do() {
    let kinds: BTreeSet<_> = samples().iter().map(|sample| sample.kind).collect();
    for (place, text) in incident(Some(Arc::new(NoRedaction))).await {
        let missing: Vec<_> = kinds.difference(&leaked(&text)).copied().collect();
        assert!(missing.is_empty(), "the {place} does not show {missing:?}");
        assert!(!text.contains("[redacted:"), "{place}");
        assert_kept_by_its_keeper(place, &text);
    }
}

/// The page lists exactly what the library knows.
#[test]
fn the_kinds_are_on_the_page() {
    let page = include_str!("../docs/how-to/redaction.md");
    let listed: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(kind, what)| Some((kind, what.strip_suffix(" |")?)))
        .collect();
    assert_eq!(listed, SecretRedactor::kinds());
    assert!(listed.len() >= 60);
}
