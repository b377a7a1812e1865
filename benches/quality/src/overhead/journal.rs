//! What the journal takes: step records a second of many runs at once, and the memory of incidents
//! that stay open.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use homeostasis::core::policy::{Gate, GateDecision, GateFacts, GateRecord};
use homeostasis::core::port::{Commit, Fence, FencingToken, Lease, Store, StoreError, Version};
use homeostasis::core::record::{
    Anomaly, BlastRadius, Category, Diagnosis, EffectClass, EventKind, Finding, HealEvent, Inverse,
    Plan, PlanStep, Proof, Role, SCHEMA_VERSION, Severity, StepIntent, StepOutcome, StepPhase,
    Subject,
};
use homeostasis::core::stage::{RunJournal, RunLog};
use homeostasis::core::testing::permit_for;
use homeostasis::core::{
    Clock, IdempotencyKey, IncidentId, KillSwitch, NodeId, PlanId, RunId, Target, TenantId,
    Timestamp, async_trait, cycle,
};
use homeostasis::store::RedbStore;
use homeostasis::{Homeostasis, SystemClock};
use serde_json::{Value, json};

use super::resident_bytes;

/// How many runs write at once.
const RUNS: u128 = 64;

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
    async fn open(&self, kinds: Vec<EventKind>) -> Result<cycle::Incident, Box<dyn Error + Send + Sync>> {
        let events: Vec<_> = (0..)
            .zip(kinds)
            .map(|(seq, kind)| self.event(seq, kind))
            .collect();
        let incident = cycle::replay(&events)?.ok_or("an incident without events")?;
        let version = self.store.commit(Commit::append(Version::NONE, events)).await?;
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

/// An incident of a service of its own, diagnosed and with one plan of `n_steps`.
fn story(number: u128, n_steps: usize, at: Timestamp) -> (Plan, Vec<EventKind>) {
    let service = format!("service-{number}");
    let target = Target::new(&service).unwrap_or_else(|_| unreachable!());
    let incident = IncidentId::from_u128(number);
    let anomaly = Anomaly::new("latency", target.clone(), Subject::Health(service), at)
        .saying("p99 latency 2140 ms, 9.3 deviations above its season of the day");
    let proof = Proof {
        kind: "series".to_owned(),
        reference: "latency_p99".to_owned(),
        at: Some(at),
        statement: "it left its season four minutes before the first error".to_owned(),
    };
    let cause = Finding::new(
        "rules",
        target.clone(),
        "pool_exhausted",
        Category::ApplicationError,
        Role::Cause,
        5.0,
    );
    let mut plan = Plan::new(
        PlanId::from_u128(number),
        incident,
        "playbooks",
        "resize the pool, then restart what waits for it",
        target.clone(),
    );
    for step in 0..n_steps {
        let name = format!("step {step}");
        let mut step = PlanStep::new(name, "restart_process", target.clone());
        step.effect = EffectClass::Idempotent;
        step.inverse = Inverse::Captured("the size before".to_owned());
        step.timeout = Duration::from_secs(1);
        plan.steps.push(step);
    }
    let kinds = vec![
        EventKind::Opened {
            tenant: TenantId::default(),
            anomaly: Box::new(anomaly),
            severity: Severity::Sev2,
            radius: BlastRadius::UNKNOWN,
            score: None,
        },
        EventKind::Diagnosed {
            diagnosis: Diagnosis::from_findings(vec![cause.proven_by(proof)]),
        },
        EventKind::Planned {
            plans: vec![plan.clone()],
        },
    ];
    (plan, kinds)
}
