//! Incidents for tests; every event passes the real transition function.

use homeostasis_core::cycle::transition;
use homeostasis_core::policy::{Answer, Check, GateAnswer, GateDecision, GateRecord};
use homeostasis_core::port::FencingToken;
use homeostasis_core::record::{
    Anomaly, BlastRadius, Category, CausalChain, ChainPlace, ChainStep, CheckOutcome, CheckResult,
    Diagnosis, EffectClass, EventKind, Finding, HealEvent, Hypothesis, Inverse, Outcome, Plan,
    PlanStep, PlaybookRef, Proof, Resolution, Role, SCHEMA_VERSION, Severity, StepIntent,
    StepOutcome, StepPhase, Subject, Verdict, VerdictKind,
};
use homeostasis_core::signal::SeriesKey;
use homeostasis_core::{
    Confidence, Digest, IdempotencyKey, Incident, IncidentId, NodeId, PlanId, RunId, Target,
    TenantId, Timestamp,
};

pub(crate) struct Journal {
    start: i64,
    id: IncidentId,
    state: Option<Incident>,
    pub(crate) events: Vec<HealEvent>,
}

impl Journal {
    fn new(id: u128, start: i64) -> Self {
        Self {
            start,
            id: IncidentId::from_u128(id),
            state: None,
            events: Vec::new(),
        }
    }

    fn at(&self, secs: i64) -> Timestamp {
        Timestamp::from_secs(self.start + secs)
    }

    fn push(&mut self, secs: i64, kind: EventKind) {
        let event = HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: self.id,
            seq: self.events.len() as u64,
            at: self.at(secs),
            node: NodeId::default(),
            kind,
        };
        let (state, _) = transition(self.state.take(), &event).unwrap();
        self.state = Some(state);
        self.events.push(event);
    }

    /// Found at `found`, 20 s after its beginning if `since_known`.
    fn open(&mut self, found: i64, since_known: bool, explanation: &str) {
        let subject = Subject::Series(SeriesKey::new("up").with("service", "orders"));
        let mut anomaly =
            Anomaly::new("sustained", target(), subject, self.at(found)).saying(explanation);
        if since_known {
            anomaly.since = self.at(found - 20);
        }
        self.push(
            found,
            EventKind::Opened {
                tenant: TenantId::default(),
                anomaly: Box::new(anomaly),
                severity: Severity::Sev2,
                radius: BlastRadius::UNKNOWN,
                score: None,
            },
        );
    }

    fn diagnose(&mut self, secs: i64) {
        let proof = Proof {
            kind: "series".to_owned(),
            reference: "process_up".to_owned(),
            at: Some(self.at(secs)),
            statement: "process_up fell to 0".to_owned(),
        };
        let finding = Finding::new(
            "rules",
            target(),
            "process_down",
            Category::ApplicationError,
            Role::Cause,
            4.0,
        )
        .proven_by(proof)
        .saying("the process is gone");
        let chain = CausalChain {
            steps: vec![ChainStep {
                place: ChainPlace::Cause,
                target: target(),
                what: "the process ended".to_owned(),
                at: None,
                probability: Confidence::new(0.9).unwrap(),
                through: Vec::new(),
                proofs: finding.proofs.clone(),
            }],
            broken: Some("nobody saw what followed".to_owned()),
        };
        let diagnosis = Diagnosis {
            hypotheses: vec![Hypothesis {
                target: target(),
                cause: "process_down".to_owned(),
                category: Category::ApplicationError,
                confidence: Confidence::new(0.9).unwrap(),
                evidence: vec![finding],
                explanation: "the process of orders/0 ended".to_owned(),
            }],
            abstained: None,
            chain: Some(chain),
        };
        self.push(secs, EventKind::Diagnosed { diagnosis });
    }

    fn plan(&mut self, secs: i64) -> Plan {
        let id = PlanId::from_u128(self.id.as_u128());
        let mut plan = Plan::new(id, self.id, "playbooks", "restart orders", target());
        plan.playbook = Some(PlaybookRef {
            id: "restart-1".to_owned(),
            version: "1.0.0".to_owned(),
            hash: Digest::of_bytes(b"text"),
        });
        let mut step = PlanStep::new("restart it", "restart_process", target());
        step.effect = EffectClass::Idempotent;
        step.inverse = Inverse::Captured("the command line before".to_owned());
        plan.steps.push(step);
        let plans = vec![plan.clone()];
        self.push(
            secs,
            EventKind::Planned {
                plans,
                considered: Vec::new(),
            },
        );
        plan
    }

    fn permit_and_run(&mut self, secs: i64, plan: &Plan, outcome: StepOutcome) -> RunId {
        let answer = GateAnswer {
            check: Check::Policy,
            answer: Answer::Pass,
            detail: "SEV2 | small radius".to_owned(),
        };
        self.push(
            secs,
            EventKind::Gated {
                plan: plan.id,
                record: GateRecord {
                    decision: GateDecision::Permitted,
                    answers: vec![answer],
                },
            },
        );
        let run = RunId::from_u128(self.id.as_u128());
        self.push(
            secs,
            EventKind::RunOpened {
                run,
                plan: plan.id,
                plan_hash: plan.hash(),
                token: FencingToken::new(1),
            },
        );
        self.step(secs + 1, run, StepPhase::Do, outcome.clone());
        let ended = match outcome {
            StepOutcome::Failed { report } => Outcome::Failed {
                step_idx: 0,
                report,
            },
            _ => Outcome::Completed,
        };
        self.push(
            secs + 10,
            EventKind::RunEnded {
                run,
                outcome: ended,
            },
        );
        run
    }

    fn step(&mut self, secs: i64, run: RunId, phase: StepPhase, outcome: StepOutcome) {
        let intent = StepIntent {
            step_idx: 0,
            phase,
            attempt: 1,
            key: match phase {
                StepPhase::Do => IdempotencyKey::new(run, 0),
                StepPhase::Undo => IdempotencyKey::undo(run, 0),
            },
            effect: EffectClass::Idempotent,
            captured: "old".into(),
            deadline: self.at(secs + 30),
        };
        self.push(secs, EventKind::StepIntended { run, intent });
        self.push(
            secs + 1,
            EventKind::StepEnded {
                run,
                step_idx: 0,
                phase,
                outcome,
            },
        );
    }

    fn verify(&mut self, secs: i64, run: RunId, kind: VerdictKind) {
        let verdict =
            Verdict::new(kind, self.at(secs), "1 of 1 criteria").resting_on(vec![CheckResult {
                criterion: "up == 1".to_owned(),
                outcome: CheckOutcome::Passed,
                detail: "held 3 of 3 times".to_owned(),
            }]);
        self.push(secs, EventKind::Verified { run, verdict });
    }

    fn close(&mut self, secs: i64, resolution: Resolution) {
        self.push(secs, EventKind::Closed { resolution });
    }
}

fn target() -> Target {
    "orders/0".parse().unwrap()
}

fn done() -> StepOutcome {
    StepOutcome::Done {
        output: "pid 7".into(),
    }
}

/// Begins at `start`, found after 20 s, run from 30 s to 40 s, closed after 70 s.
pub(crate) fn healed(id: u128, start: i64) -> Vec<HealEvent> {
    healed_saying(id, start, "up = 0, expected 1")
}

pub(crate) fn healed_saying(id: u128, start: i64, explanation: &str) -> Vec<HealEvent> {
    let mut journal = Journal::new(id, start);
    journal.open(20, true, explanation);
    journal.diagnose(25);
    let plan = journal.plan(26);
    let run = journal.permit_and_run(30, &plan, done());
    journal.verify(60, run, VerdictKind::Success);
    journal.close(70, Resolution::Healed { run });
    journal.events
}

/// A run that did not help, was taken back, escalated, and closed by a person after 300 s.
pub(crate) fn taken_back(id: u128, start: i64) -> Vec<HealEvent> {
    let mut journal = Journal::new(id, start);
    journal.open(20, true, "up = 0, expected 1");
    journal.diagnose(25);
    let plan = journal.plan(26);
    let run = journal.permit_and_run(30, &plan, done());
    journal.verify(60, run, VerdictKind::Failed);
    journal.step(61, run, StepPhase::Undo, done());
    journal.push(
        63,
        EventKind::UndoEnded {
            run,
            outcome: Outcome::Completed,
        },
    );
    let reason = "every plan was tried".to_owned();
    journal.push(64, EventKind::Escalated { reason });
    let resolution = Resolution::Manual {
        by: "ada".to_owned(),
        note: "replaced the disk".to_owned(),
    };
    journal.close(300, resolution);
    journal.events
}

/// Found, not diagnosed; nobody can tell since when.
pub(crate) fn open(id: u128, start: i64) -> Vec<HealEvent> {
    let mut journal = Journal::new(id, start);
    journal.open(20, false, "up = 0, expected 1");
    journal.events
}
