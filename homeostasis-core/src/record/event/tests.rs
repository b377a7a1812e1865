use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::Ratio;
use crate::condition::Condition;
use crate::error::ErrorKind;
use crate::id::IdempotencyKey;
use crate::policy::{Answer, Check, GateAnswer, GateDecision, SeverityInputs, Trend};
use crate::record::{
    Baseline, Category, CausalChain, ChainPlace, ChainStep, CheckOutcome, CheckResult, Comparison,
    Criterion, Direction, EffectClass, Expectation, Finding, HandOverAnswer, Hypothesis, Inverse,
    PlanStep, PlaybookRef, Proof, RadiusLevel, Retry, RiskLevel, Role, Subject, VerdictKind,
};
use crate::signal::SeriesKey;
use crate::target::Target;
use crate::unit::{Confidence, Score};

/// Journals of version 1 as they lie on disks. A line is never changed; new ones may be added.
const STORED: &str = include_str!("../../../testdata/events-v1.jsonl");

const RUN: RunId = RunId::from_u128(0x52);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs)
}

fn orders() -> Target {
    Target::instance("orders", "orders-1").unwrap()
}

fn report() -> ErrorReport {
    ErrorReport {
        kind: ErrorKind::Transient,
        message: "the call failed".to_owned(),
        chain: vec!["connection refused".to_owned()],
    }
}

fn radius() -> BlastRadius {
    BlastRadius {
        level: RadiusLevel::SingleService,
        instances: 3,
        services: 1,
        risk_score: 12.5,
    }
}

fn anomaly() -> Anomaly {
    let key = SeriesKey::new("error_ratio").with("service", "orders");
    let mut anomaly = Anomaly::new("ewma", orders(), Subject::Series(key), at(0));
    anomaly.since = at(-30);
    anomaly.score = Score::new(0.875).unwrap();
    anomaly.surprise = 20.7;
    anomaly.direction = Direction::High;
    anomaly.observed = Some(0.31);
    anomaly.expected = Expectation::Between {
        low: None,
        high: Some(0.01),
    };
    anomaly.severity_hint = Some(Severity::Sev1);
    anomaly.playbook_hint = Some("restart-orders".to_owned());
    anomaly.series = vec![(at(-1), 0.25), (at(0), 0.31)];
    anomaly.saying("error_ratio is 0.31, expected at most 0.01")
}

fn diagnosis() -> Diagnosis {
    let proof = Proof {
        kind: "metric".to_owned(),
        reference: "process_up".to_owned(),
        at: Some(at(-29)),
        statement: "process_up fell to 0".to_owned(),
    };
    let mut finding = Finding::new(
        "rules",
        orders(),
        "process_down",
        Category::ApplicationError,
        Role::Cause,
        4.6,
    )
    .proven_by(proof)
    .saying("the process is gone");
    finding.onset = Some(at(-29));
    let mut diagnosis = Diagnosis::abstain("");
    diagnosis.abstained = None;
    diagnosis.hypotheses.push(Hypothesis {
        target: orders(),
        cause: "process_down".to_owned(),
        category: Category::ApplicationError,
        confidence: Confidence::new(0.99).unwrap(),
        evidence: vec![finding],
        explanation: "the process is gone".to_owned(),
    });
    diagnosis
}

fn step(effect: EffectClass, risk: RiskLevel, inverse: Inverse) -> PlanStep {
    let mut step = PlanStep::new("restart it", "restart_process", orders());
    step.args.insert("signal".to_owned(), json!("TERM"));
    step.effect = effect;
    step.risk = risk;
    step.inverse = inverse;
    step.timeout = Duration::from_millis(2_500);
    step.retry = Retry {
        attempts: 3,
        ..Retry::default()
    };
    step
}

fn plan() -> Plan {
    let (id, incident) = (PlanId::from_u128(0x50), IncidentId::from_u128(0x49));
    let mut plan = Plan::new(id, incident, "playbooks", "restart orders", orders());
    plan.playbook = Some(PlaybookRef {
        id: "restart-orders".to_owned(),
        version: "1.2.0".to_owned(),
        hash: Digest::of_bytes(b"text"),
    });
    let captured = Inverse::Captured("the command line before".to_owned());
    let gone = Inverse::Irreversible("the cache is gone".to_owned());
    plan.steps = vec![
        step(EffectClass::Read, RiskLevel::Low, Inverse::Nothing),
        step(EffectClass::Idempotent, RiskLevel::Medium, captured.clone()),
        step(EffectClass::Keyed, RiskLevel::High, captured.clone()),
        step(EffectClass::Probeable, RiskLevel::High, captured),
        step(EffectClass::Opaque, RiskLevel::Critical, gone),
    ];
    plan.radius = radius();
    plan.require_approval = true;
    plan.fitness = 0.75;
    plan.verification.criteria = vec![
        Criterion::Metric {
            condition: Condition::parse("error_ratio < 1%").unwrap(),
            target: orders(),
            window: Duration::from_secs(60),
            consecutive: 3,
        },
        Criterion::Health {
            target: orders(),
            pass_rate: Ratio::new(0.9).unwrap(),
            window: Duration::from_secs(30),
            tier: None,
        },
        Criterion::Comparison {
            metric: "latency_p95_seconds".to_owned(),
            target: orders(),
            comparison: Comparison::AtMost(1.2),
            window: Duration::from_secs(60),
            baseline: Baseline::default(),
        },
    ];
    plan
}

fn gated() -> Vec<EventKind> {
    let expires = at(900);
    let decisions = [
        GateDecision::Permitted,
        GateDecision::NeedsApproval {
            approvals: 2,
            expires,
        },
        GateDecision::Deferred { until: at(60) },
        GateDecision::Recommended,
        GateDecision::Refused,
        GateDecision::Escalated,
    ];
    let answers = [
        Answer::Pass,
        Answer::NeedsApproval(2),
        Answer::Defer(at(60)),
        Answer::Recommend,
        Answer::Refuse,
        Answer::Escalate,
    ];
    let record = |(decision, answer)| GateRecord {
        decision,
        answers: vec![GateAnswer {
            check: Check::Policy,
            answer,
            detail: "SEV1, single service".to_owned(),
        }],
    };
    let gated = |pair| EventKind::Gated {
        plan: plan().id,
        record: record(pair),
    };
    decisions.into_iter().zip(answers).map(gated).collect()
}

fn intended(phase: StepPhase, captured: Value) -> EventKind {
    let key = match phase {
        StepPhase::Do => IdempotencyKey::new(RUN, 1),
        StepPhase::Undo => IdempotencyKey::undo(RUN, 1),
    };
    EventKind::StepIntended {
        run: RUN,
        intent: StepIntent {
            step_idx: 1,
            phase,
            attempt: 1,
            key,
            effect: EffectClass::Idempotent,
            captured,
            deadline: at(10),
        },
    }
}

fn run_events() -> Vec<EventKind> {
    let reason = || "no answer".to_owned();
    let mut kinds = vec![
        EventKind::RunOpened {
            run: RUN,
            plan: plan().id,
            plan_hash: Digest::of_bytes(b"plan"),
            token: FencingToken::new(7),
        },
        EventKind::RunResumed {
            run: RUN,
            token: FencingToken::new(8),
        },
        intended(StepPhase::Do, json!({"argv": ["orders", "--port", "80"]})),
        intended(StepPhase::Undo, Value::Null),
    ];
    let output = json!({"pid": 4711});
    let step_outcomes = [
        StepOutcome::Done { output },
        StepOutcome::Done {
            output: Value::Null,
        },
        StepOutcome::Failed { report: report() },
        StepOutcome::Unknown { reason: reason() },
        StepOutcome::Skipped { reason: reason() },
    ];
    for outcome in step_outcomes {
        kinds.push(EventKind::StepEnded {
            run: RUN,
            step_idx: 1,
            phase: StepPhase::Do,
            outcome,
        });
    }
    let outcomes = [
        Outcome::Completed,
        Outcome::Failed {
            step_idx: 1,
            report: report(),
        },
        Outcome::Unknown {
            step_idx: 1,
            reason: reason(),
        },
        Outcome::Halted { reason: reason() },
    ];
    for outcome in outcomes {
        kinds.push(EventKind::RunEnded { run: RUN, outcome });
    }
    kinds.push(EventKind::UndoEnded {
        run: RUN,
        outcome: Outcome::Completed,
    });
    kinds
}

fn verdicts() -> Vec<EventKind> {
    let pairs = [
        (VerdictKind::Success, CheckOutcome::Passed),
        (VerdictKind::Partial, CheckOutcome::Undecided),
        (VerdictKind::Uncertain, CheckOutcome::NoData),
        (VerdictKind::Failed, CheckOutcome::Failed),
    ];
    let verified = |(kind, outcome)| EventKind::Verified {
        run: RUN,
        verdict: Verdict::new(kind, at(120), "seen").resting_on(vec![CheckResult {
            criterion: "error_ratio < 1%".to_owned(),
            outcome,
            detail: "0.002".to_owned(),
        }]),
    };
    pairs.into_iter().map(verified).collect()
}

fn kinds() -> Vec<EventKind> {
    let mut kinds = vec![
        EventKind::Opened {
            tenant: TenantId::new("acme").unwrap(),
            anomaly: Box::new(anomaly()),
            severity: Severity::Sev2,
            radius: radius(),
            score: None,
        },
        EventKind::AnomalyJoined {
            anomaly: Box::new(Anomaly::new(
                "probe",
                Target::service("orders").unwrap(),
                Subject::Health("live".to_owned()),
                at(1),
            )),
            severity: Severity::Sev0,
            radius: BlastRadius::UNKNOWN,
            score: None,
        },
        EventKind::Blamed {
            stage: "analyzer".to_owned(),
            plugin: "slow".to_owned(),
            report: report(),
        },
        EventKind::Diagnosed {
            diagnosis: diagnosis(),
        },
        EventKind::Diagnosed {
            diagnosis: Diagnosis::abstain("too little is known"),
        },
        EventKind::Planned {
            plans: vec![plan()],
            considered: Vec::new(),
        },
        EventKind::Planned {
            plans: Vec::new(),
            considered: Vec::new(),
        },
        EventKind::ApprovalDecided {
            plan: plan().id,
            plan_hash: Digest::of_bytes(b"plan"),
            granted: true,
            by: "ann".to_owned(),
            roles: std::collections::BTreeSet::new(),
            reason: "looks right".to_owned(),
            given_at: None,
        },
        EventKind::Woken { plan: plan().id },
    ];
    kinds.extend(gated());
    kinds.extend(run_events());
    kinds.extend(verdicts());
    kinds.push(EventKind::Escalated {
        reason: "no plan applies".to_owned(),
    });
    let resolutions = [
        Resolution::Healed { run: RUN },
        Resolution::Recovered,
        Resolution::Manual {
            by: "ann".to_owned(),
            note: "failed over by hand".to_owned(),
        },
    ];
    kinds.extend(
        resolutions
            .into_iter()
            .map(|resolution| EventKind::Closed { resolution }),
    );
    kinds.extend(told_with_reasons());
    kinds.extend(escalation());
    kinds.extend(said_by_people());
    kinds
}

/// What an event may say since it keeps the arithmetic of severity, and chains.
fn told_with_reasons() -> [EventKind; 2] {
    let score = SeverityInputs {
        impact: Ratio::saturating(0.5),
        duration: Duration::from_secs(90),
        trend: Trend::Stable,
        seen_before: 3,
        at_least: None,
    };
    let score = score.score();
    let mut diagnosis = diagnosis();
    let finding = diagnosis.hypotheses[0].evidence[0].clone();
    let step = |place, what: &str| ChainStep {
        place,
        target: orders(),
        what: what.to_owned(),
        at: finding.onset,
        probability: Confidence::saturating(0.75),
        through: Vec::new(),
        proofs: finding.proofs.clone(),
    };
    diagnosis.chain = Some(CausalChain {
        steps: vec![
            step(ChainPlace::Cause, "the process is gone"),
            step(ChainPlace::Symptom, "connections are refused"),
        ],
        broken: Some("nobody is known to call it".to_owned()),
    });
    assert_eq!(diagnosis.violation(), None);
    [
        EventKind::Opened {
            tenant: TenantId::new("acme").unwrap(),
            anomaly: Box::new(anomaly()),
            severity: score.severity,
            radius: radius(),
            score: Some(score),
        },
        EventKind::Diagnosed { diagnosis },
    ]
}

fn escalation() -> [EventKind; 6] {
    let trigger = |name: &str, raise_to| EventKind::TriggerFired {
        trigger: name.to_owned(),
        reason: "3 attempts did not heal it".to_owned(),
        raise_to,
    };
    let acknowledged = |note: &str| EventKind::Acknowledged {
        by: "ada".to_owned(),
        note: note.to_owned(),
    };
    [
        EventKind::EscalationBegun {
            policy: "critical".to_owned(),
        },
        EventKind::Notified {
            level: 2,
            round: 1,
            channels: vec!["pager".to_owned(), "mail".to_owned()],
            to: vec!["team_lead".to_owned()],
            reason: "nobody has solved it yet".to_owned(),
        },
        trigger("remediation_failed", None),
        trigger("security_threat", Some(Severity::Sev0)),
        acknowledged(""),
        acknowledged("on it"),
    ]
}

/// What people say of runs, and what was weighed before there was one.
fn said_by_people() -> [EventKind; 3] {
    [
        EventKind::HandOverAnswered {
            run: RUN,
            step_idx: 1,
            question: 0,
            answer: HandOverAnswer::MarkDone,
            by: "ann".to_owned(),
            reason: "the row is there".to_owned(),
        },
        EventKind::RunCancelled {
            run: RUN,
            by: "ann".to_owned(),
            reason: "the sale begins".to_owned(),
        },
        EventKind::Planned {
            plans: Vec::new(),
            considered: vec![
                Candidate::weighed("restart", 0.5, "its category fits").made_of([("time", 0.5)]),
                Candidate::passed_over("scale", "the check quota is false"),
            ],
        },
    ]
}

fn events() -> Vec<HealEvent> {
    (0..)
        .zip(kinds())
        .map(|(seq, kind)| HealEvent {
            schema_version: 1,
            incident: IncidentId::from_u128(0x49),
            seq,
            at: at(2) + Duration::from_nanos(seq),
            node: NodeId::new("node-a").unwrap(),
            kind,
        })
        .collect()
}

/// A new kind does not compile until it is counted here, and then needs lines in the file.
fn number(kind: &EventKind) -> usize {
    match kind {
        EventKind::Opened { .. } => 0,
        EventKind::AnomalyJoined { .. } => 1,
        EventKind::Blamed { .. } => 2,
        EventKind::Diagnosed { .. } => 3,
        EventKind::Planned { .. } => 4,
        EventKind::Gated { .. } => 5,
        EventKind::ApprovalDecided { .. } => 6,
        EventKind::Woken { .. } => 7,
        EventKind::RunOpened { .. } => 8,
        EventKind::RunResumed { .. } => 9,
        EventKind::StepIntended { .. } => 10,
        EventKind::StepEnded { .. } => 11,
        EventKind::RunEnded { .. } => 12,
        EventKind::Verified { .. } => 13,
        EventKind::UndoEnded { .. } => 14,
        EventKind::Escalated { .. } => 15,
        EventKind::Closed { .. } => 16,
        EventKind::EscalationBegun { .. } => 17,
        EventKind::Notified { .. } => 18,
        EventKind::TriggerFired { .. } => 19,
        EventKind::Acknowledged { .. } => 20,
        EventKind::HandOverAnswered { .. } => 21,
        EventKind::RunCancelled { .. } => 22,
    }
}

#[test]
fn stored_events_mean_what_they_meant_and_are_written_as_they_were() {
    let events = events();
    assert_eq!(STORED.lines().count(), events.len());
    for (line, event) in STORED.lines().zip(&events) {
        assert_eq!(&HealEvent::from_json(line).unwrap(), event);
        assert_eq!(serde_json::to_string(event).unwrap(), line);
    }
}

#[test]
fn every_kind_of_event_is_stored() {
    let numbers: BTreeSet<_> = events().iter().map(|event| number(&event.kind)).collect();
    assert_eq!(numbers, (0..=22).collect());
    for event in events() {
        let value = serde_json::to_value(&event).unwrap();
        assert_eq!(value["event"], event.kind.name());
    }
}

#[test]
fn another_version_is_refused_even_if_it_would_fit() {
    for line in STORED.lines() {
        for version in [0, 2, 5_000_000_000_u64] {
            let mut value: Value = serde_json::from_str(line).unwrap();
            value["schema_version"] = version.into();
            let error = HealEvent::from_json(value.to_string()).unwrap_err();
            assert!(
                matches!(error, EventError::Version { found } if found == version),
                "{error:?}"
            );
            let text = format!("schema_version = {version}, expected 1 to 1");
            assert_eq!(error.to_string(), text);
            assert_eq!(error.kind(), ErrorKind::Permanent);
        }
    }
}

#[test]
fn a_newer_event_of_an_unknown_kind_is_refused_for_its_version() {
    let error = HealEvent::from_json(r#"{"schema_version":2,"event":"foreseen"}"#).unwrap_err();
    assert!(matches!(error, EventError::Version { found: 2 }));
}

#[test]
fn what_is_no_event_is_malformed() {
    let line = STORED.lines().next().unwrap();
    let cut = &line[..line.len() - 1];
    let nameless = line.replacen(r#""schema_version":1,"#, "", 1);
    let negative = line.replacen(r#""schema_version":1,"#, r#""schema_version":-1,"#, 1);
    let unknown = line.replacen(r#""event":"opened""#, r#""event":"foreseen""#, 1);
    for (text, why) in [
        ("", "EOF"),
        (cut, "EOF"),
        (&nameless, "schema_version"),
        (&negative, "-1"),
        (&unknown, "foreseen"),
    ] {
        let error = HealEvent::from_json(text).unwrap_err();
        let EventError::Malformed(cause) = &error else {
            panic!("{error:?}");
        };
        assert!(cause.to_string().contains(why), "{cause}");
    }
    assert!(HealEvent::from_json([0xff]).is_err());
}
