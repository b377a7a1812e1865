//! What the journal takes: step records a second of many runs at once, and the memory of incidents
//! that stay open.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use homeostasis::core::policy::{Answer, Check, GateAnswer, GateDecision, GateRecord};
use homeostasis::core::port::{Commit, Fence, Lease, Store as _, StoreError, Version};
use homeostasis::core::record::{
    Anomaly, BlastRadius, Category, Diagnosis, EffectClass, EventKind, Finding, HealEvent,
    Hypothesis, Inverse, Plan, PlanStep, Proof, Role, SCHEMA_VERSION, Severity, StepIntent,
    StepOutcome, StepPhase, Subject,
};
use homeostasis::core::stage::{RunJournal, RunLog};
use homeostasis::core::testing::permit_for;
use homeostasis::core::{
    Clock, Confidence, IdempotencyKey, Incident, IncidentId, KillSwitch, NameError, NodeId, PlanId,
    RunId, Target, TenantId, Timestamp, async_trait, cycle,
};
use homeostasis::store::RedbStore;
use homeostasis::{EngineSettings, Homeostasis, SystemClock};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::{AnyError, resident_bytes};

/// How many runs write at once.
const RUNS: usize = 64;

/// How many steps each of them has; each step is an intent and an outcome.
const STEPS: usize = 300;

/// How many incidents stay open.
const OPEN: u128 = 10_000;

/// How long the disk is asked how often it syncs.
const SYNCING: Duration = Duration::from_secs(1);

/// The events of one incident, appended to a store as the engine does.
#[derive(Debug)]
struct Book {
    store: Arc<RedbStore>,
    incident: IncidentId,
    at: Timestamp,
    n_events: AtomicU64,
}

impl Book {
    fn event(&self, seq: u64, kind: EventKind) -> HealEvent {
        HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: self.incident,
            seq,
            at: self.at,
            node: NodeId::default(),
            kind,
        }
    }

    /// Opens the incident with these events; gives what they add up to.
    async fn open(&self, kinds: Vec<EventKind>) -> Result<Incident, AnyError> {
        let events: Vec<_> = (0..)
            .zip(kinds)
            .map(|(seq, kind)| self.event(seq, kind))
            .collect();
        let incident = cycle::replay(&events)?.ok_or("an incident without events")?;
        let version = self
            .store
            .commit(Commit::append(Version::NONE, events))
            .await?;
        self.n_events.store(version.0, Ordering::Relaxed);
        Ok(incident)
    }
}

#[async_trait]
impl RunJournal for Book {
    async fn append(&self, kind: EventKind, fence: Fence) -> Result<(), StoreError> {
        let seq = self.n_events.load(Ordering::Relaxed);
        let commit = Commit::append(Version(seq), vec![self.event(seq, kind)]);
        let version = self.store.commit(commit.fenced(Some(fence))).await?;
        self.n_events.store(version.0, Ordering::Relaxed);
        Ok(())
    }
}

/// An incident of a service of its own, diagnosed, with one plan of `n_steps`, and the gate's answer.
fn story(
    number: u128,
    n_steps: usize,
    at: Timestamp,
    decision: GateDecision,
) -> Result<(Plan, Vec<EventKind>), NameError> {
    let service = format!("service-{number}");
    let target = Target::service(&service)?;
    let anomaly = Anomaly::new("latency", target.clone(), Subject::Health(service), at)
        .saying("p99 latency 2140 ms, 9.3 deviations above its season of the day");
    let proof = Proof {
        kind: "series".to_owned(),
        reference: "latency_p99".to_owned(),
        at: Some(at),
        statement: "it left its season four minutes before the first error".to_owned(),
    };
    let (category, cause) = (Category::ApplicationError, "pool_exhausted");
    let finding = Finding::new("rules", target.clone(), cause, category, Role::Cause, 5.0);
    let hypothesis = Hypothesis {
        target: target.clone(),
        cause: cause.to_owned(),
        category,
        confidence: Confidence::saturating(0.9),
        evidence: vec![finding.proven_by(proof)],
        explanation: "every connection of the pool waits for the database".to_owned(),
    };
    let diagnosis = Diagnosis {
        hypotheses: vec![hypothesis],
        ..Diagnosis::default()
    };
    let mut plan = Plan::new(
        PlanId::from_u128(number),
        IncidentId::from_u128(number),
        "playbooks",
        "resize the pool, then restart what waits for it",
        target.clone(),
    );
    for step in 0..n_steps {
        let mut step = PlanStep::new(format!("step {step}"), "resize_pool", target.clone());
        step.effect = EffectClass::Idempotent;
        step.inverse = Inverse::Captured("the size before".to_owned());
        step.timeout = Duration::from_secs(1);
        plan.steps.push(step);
    }
    let answer = |check| GateAnswer {
        check,
        answer: Answer::Pass,
        detail: "nothing speaks against it, and this is how much it is".to_owned(),
    };
    let record = GateRecord {
        decision,
        answers: vec![answer(Check::Policy); 16],
    };
    let kinds = vec![
        EventKind::Opened {
            tenant: TenantId::default(),
            anomaly: Box::new(anomaly),
            severity: Severity::Sev2,
            radius: BlastRadius::UNKNOWN,
            score: None,
        },
        EventKind::Diagnosed { diagnosis },
        EventKind::Planned {
            plans: vec![plan.clone()],
            considered: Vec::new(),
        },
        EventKind::Gated {
            plan: plan.id,
            record,
        },
    ];
    Ok((plan, kinds))
}

/// One run from its opening through all its steps: an intent and an outcome for each.
async fn run(store: Arc<RedbStore>, number: u128, start: Arc<Barrier>) -> Result<(), AnyError> {
    let now = SystemClock.now();
    let (plan, mut kinds) = story(number, STEPS, now, GateDecision::Permitted)?;
    let (id, resource) = (RunId::from_u128(number), format!("heal/service-{number}"));
    let token = store.next_token(&resource).await?;
    kinds.push(EventKind::RunOpened {
        run: id,
        plan: plan.id,
        plan_hash: plan.hash(),
        token,
    });
    let book = Book {
        store,
        incident: plan.incident,
        at: now,
        n_events: AtomicU64::new(0),
    };
    let incident = book.open(kinds).await?;
    let state = incident.run(id).cloned().ok_or("the run was not opened")?;
    let switch = KillSwitch::default();
    let mut log = RunLog::new(&plan, state, &book, &SystemClock, switch);
    let lease = Lease::new(resource, token, Timestamp::MAX);
    log.redeem(permit_for(&plan, id, lease, now))?;
    start.wait().await;
    for (step_idx, step) in plan.steps.iter().enumerate() {
        log.intend(StepIntent {
            step_idx,
            phase: StepPhase::Do,
            attempt: 1,
            key: IdempotencyKey::new(id, step_idx),
            effect: step.effect,
            captured: json!({ "size": 16 }),
            deadline: now + step.timeout,
        })
        .await?;
        let output = json!({ "size": 32 });
        log.end(StepPhase::Do, step_idx, StepOutcome::Done { output })
            .await?;
    }
    Ok(())
}

/// Step records a second with 64 runs at once, and how often the disk below syncs.
pub(super) async fn group_commit() -> Result<Value, AnyError> {
    let folder = tempfile::tempdir()?;
    let fsyncs = fsyncs_per_second(folder.path())?;
    let store = Arc::new(RedbStore::open(folder.path().join("journal.redb"))?);
    let start = Arc::new(Barrier::new(RUNS + 1));
    let mut runs = tokio::task::JoinSet::new();
    for number in 1..=RUNS as u128 {
        runs.spawn(run(Arc::clone(&store), number, Arc::clone(&start)));
    }
    start.wait().await;
    let (began, before) = (SystemClock.now(), store.stats());
    while let Some(ended) = runs.join_next().await {
        ended??;
    }
    let seconds = SystemClock.now().since(began).as_secs_f64();
    let stats = store.stats();
    let records = stats.written - before.written;
    let transactions = stats.transactions - before.transactions;
    Ok(json!({
        "runs": RUNS,
        "step_records": records,
        "seconds": seconds,
        "step_records_per_second": records as f64 / seconds,
        "transactions": transactions,
        "records_per_transaction": records as f64 / transactions as f64,
        "disk_fsyncs_per_second": fsyncs,
    }))
}

/// Appends of one page, each synced, for a second.
fn fsyncs_per_second(folder: &Path) -> Result<f64, AnyError> {
    let mut file = std::fs::File::create(folder.join("fsync"))?;
    let (began, page) = (SystemClock.now(), [7_u8; 4096]);
    let mut n_syncs = 0_u32;
    while SystemClock.now().since(began) < SYNCING {
        file.write_all(&page)?;
        file.sync_data()?;
        n_syncs += 1;
    }
    Ok(f64::from(n_syncs) / SystemClock.now().since(began).as_secs_f64())
}

/// The memory of an engine that took up ten thousand open incidents, over one that has none. It is
/// measured in a process of its own: what this one has freed would hide what is needed.
pub(super) async fn open_incidents() -> Result<Value, AnyError> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal.redb");
    let store = Arc::new(RedbStore::open(&path)?);
    let mut opening = tokio::task::JoinSet::new();
    for number in 1..=OPEN {
        let store = Arc::clone(&store);
        opening.spawn(async move {
            let at = SystemClock.now();
            let (plan, mut kinds) = story(number, 3, at, GateDecision::Escalated)?;
            let reason = "every connection waits for the database".to_owned();
            kinds.push(EventKind::Escalated { reason });
            let book = Book {
                store,
                incident: plan.incident,
                at,
                n_events: AtomicU64::new(0),
            };
            book.open(kinds).await.map(drop)
        });
    }
    while let Some(opened) = opening.join_next().await {
        opened??;
    }
    drop(opening);
    drop(store);
    #[expect(
        clippy::disallowed_methods,
        reason = "the suite measures a real process, and is no part of the healer"
    )]
    let mut child = std::process::Command::new(std::env::current_exe()?);
    let out = child.arg(crate::args::OVERHEAD_CHILD).arg(&path).output()?;
    if !out.status.success() {
        return Err(format!("{}: {}", out.status, String::from_utf8_lossy(&out.stderr)).into());
    }
    Ok(serde_json::from_slice(&out.stdout)?)
}

/// The process of [`open_incidents`]: takes up the journal at `path` and says what that took.
pub(super) async fn take_up(path: &Path) -> Result<Value, AnyError> {
    let before = resident_bytes()?;
    let began = SystemClock.now();
    let mut settings = EngineSettings::default();
    settings.max_open_incidents = usize::try_from(OPEN)?;
    let healer = Homeostasis::empty()
        .settings(settings)
        .store(Arc::new(RedbStore::open(path)?))
        .start()
        .await?;
    let seconds = SystemClock.now().since(began).as_secs_f64();
    let mut highest = 0;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        highest = highest.max(resident_bytes()?);
    }
    let n_open = healer.open_incidents().len();
    healer.shutdown().await;
    let growth = highest.saturating_sub(before);
    Ok(json!({
        "open": n_open,
        "rss_before_bytes": before,
        "rss_growth_bytes": growth,
        "bytes_per_incident": growth / (n_open as u64).max(1),
        "recovery_seconds": seconds,
    }))
}
