//! Which plans are made for which diagnosis.

use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::condition::Truth;
use homeostasis_core::port::{KnowledgeBase, MemoryKnowledge, PastIncident, PastRun};
use homeostasis_core::record::{
    Category, Diagnosis, EffectClass, Hypothesis, Inverse, Plan, PlanStep, RiskLevel, Standing,
    VerdictKind,
};
use homeostasis_core::signal::{Change, HealthReport, Labels, LogRecord, SeriesKey, SpanRecord};
use homeostasis_core::stage::{PlanRequest, Remediator};
use homeostasis_core::testing::remediator::RunHarness;
use homeostasis_core::{
    Confidence, Context, Incident, IncidentId, ManualClock, Observations, PlanId, SeriesWindow,
    ServiceFacts, Target, Timestamp, Topology,
};
use serde_json::Value;

use super::PlaybookRemediator;
use crate::action::{ActionRegistry, ActionSpec, CallFunction};
use crate::playbook::{CheckRegistry, PlaybookSet};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// One metric of one instance, measured ten seconds ago.
#[derive(Debug)]
struct Disk(f64);

impl Observations for Disk {
    fn series(
        &self,
        metric: &str,
        labels: &Labels,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<SeriesWindow> {
        let key = SeriesKey::new("disk_usage_percent")
            .with("service", "orders")
            .with("instance", "0");
        let at = NOW - Duration::from_secs(10);
        if key.matches(metric, labels) && (from..=to).contains(&at) {
            let key = Arc::new(key);
            vec![SeriesWindow {
                key,
                points: vec![(at, self.0)],
            }]
        } else {
            Vec::new()
        }
    }

    fn series_of(&self, _: &Target, _: Timestamp, _: Timestamp) -> Vec<SeriesWindow> {
        Vec::new()
    }

    fn logs(&self, _: Option<&Target>, _: Timestamp, _: Timestamp) -> Vec<LogRecord> {
        Vec::new()
    }

    fn spans(&self, _: Option<&Target>, _: Timestamp, _: Timestamp) -> Vec<SpanRecord> {
        Vec::new()
    }

    fn changes(&self, _: Timestamp, _: Timestamp) -> Vec<Change> {
        Vec::new()
    }

    fn health(&self, _: Option<&Target>, _: Timestamp, _: Timestamp) -> Vec<HealthReport> {
        Vec::new()
    }
}

fn remediator(playbooks: &[(&str, &str)]) -> PlaybookRemediator {
    let mut actions = ActionRegistry::default();
    for (name, risk) in [("safe", RiskLevel::Low), ("risky", RiskLevel::High)] {
        let spec = ActionSpec::new("a test")
            .with_effect(EffectClass::Idempotent)
            .with_risk(risk)
            .with_inverse(Inverse::Nothing);
        let action = CallFunction::new(name, spec, |_| {
            Box::pin(std::future::ready(Ok(Value::Null)))
        });
        actions.register(action).unwrap();
    }
    let mut checks = CheckRegistry::default();
    for (name, truth) in [
        ("yes", Truth::True),
        ("no", Truth::False),
        ("maybe", Truth::Unknown),
    ] {
        checks.register_fn(name, move |_, _| truth).unwrap();
    }
    let texts: Vec<(String, String)> = playbooks
        .iter()
        .map(|(id, rest)| {
            let steps = if rest.contains("remediation_steps") {
                ""
            } else {
                "remediation_steps: [{action: safe}]\n"
            };
            (
                format!("{id}.yaml"),
                format!("playbook_id: {id}\nname: {id}\nversion: '1'\n{steps}{rest}\n"),
            )
        })
        .collect();
    let texts = texts
        .iter()
        .map(|(source, text)| (source.as_str(), text.as_str()));
    let set = PlaybookSet::parse(texts, &actions, &checks).unwrap();
    PlaybookRemediator::new(set, actions, checks)
}

/// An incident whose symptom is at the gateway.
fn incident(hint: Option<&str>) -> Incident {
    let gateway = Target::service("gateway").unwrap();
    let (id, incident) = (PlanId::from_u128(1), IncidentId::from_u128(2));
    let mut plan = Plan::new(id, incident, "x", "x", gateway.clone());
    plan.steps.push(PlanStep::new("x", "x", gateway));
    let mut incident = RunHarness::new(plan, NOW).incident();
    incident.anomalies[0].playbook_hint = hint.map(str::to_owned);
    incident
}

fn leak_of_orders() -> Diagnosis {
    Diagnosis {
        hypotheses: vec![Hypothesis {
            target: Target::instance("orders", "0").unwrap(),
            cause: "memory_leak".to_owned(),
            category: Category::ResourceExhaustion,
            confidence: Confidence::new(0.9).unwrap(),
            evidence: Vec::new(),
            explanation: "it grows".to_owned(),
        }],
        abstained: None,
        chain: None,
    }
}

async fn plans(
    remediator: &PlaybookRemediator,
    incident: &Incident,
    diagnosis: &Diagnosis,
    disk: Option<f64>,
) -> Vec<Plan> {
    let mut topology = Topology::default();
    topology.insert("orders", ServiceFacts::default());
    let mut cx = Context::new(Arc::new(ManualClock::new(NOW)), 1)
        .for_incident(incident.id)
        .in_topology(Arc::new(topology));
    if let Some(disk) = disk {
        cx = cx.observing(Arc::new(Disk(disk)));
    }
    let request = PlanRequest::new(incident, diagnosis);
    let plans = remediator.plan(&cx, request).await.unwrap();
    assert!(plans.iter().all(|plan| plan.violation().is_none()));
    plans
}

fn titles(plans: &[Plan]) -> Vec<&str> {
    plans.iter().map(|plan| plan.title.as_str()).collect()
}

#[tokio::test]
async fn the_more_specific_trigger_wins_and_what_does_not_hold_is_out() {
    let remediator = remediator(&[
        ("family", "trigger: {category: resource_exhaustion}"),
        ("cause", "trigger: {cause: memory_leak}"),
        (
            "exact-risky",
            "trigger: {cause: memory_leak, service: orders}\nremediation_steps: [{action: risky}]",
        ),
        ("exact", "trigger: {cause: memory_leak, service: orders}"),
        ("any", "trigger: {service: orders}"),
        (
            "other-cause",
            "trigger: {cause: bad_deploy, service: orders}",
        ),
        (
            "other-service",
            "trigger: {cause: memory_leak, service: catalog}",
        ),
        (
            "other-instance",
            "trigger: {cause: memory_leak, service: orders/1}",
        ),
        ("other-family", "trigger: {category: network}"),
    ]);
    let plans = plans(&remediator, &incident(None), &leak_of_orders(), None).await;
    assert_eq!(
        titles(&plans),
        ["exact", "exact-risky", "cause", "family", "any"]
    );
    for (plan, least) in plans.iter().zip([0.8, 0.8, 0.6, 0.4, 0.0]) {
        let fitness = plan.fitness;
        assert!((least..=least + 0.2).contains(&fitness), "{fitness}");
    }
    // The root cause is treated, not the symptom; and each plan is its own.
    assert!(
        plans
            .iter()
            .all(|plan| plan.target.to_string() == "orders/0")
    );
    let ids: std::collections::BTreeSet<_> = plans.iter().map(|plan| plan.id).collect();
    assert_eq!(ids.len(), plans.len());
}

#[tokio::test]
async fn an_abstention_leaves_only_what_an_anomaly_asks_for() {
    let remediator = remediator(&[
        ("hinted", "trigger: {condition: disk_usage_percent > 85}"),
        ("caused", "trigger: {cause: memory_leak}"),
        ("any", "trigger: {service: gateway}"),
    ]);
    let abstained = Diagnosis::abstain("nobody knows");
    assert!(
        plans(&remediator, &incident(None), &abstained, None)
            .await
            .is_empty()
    );
    let found = plans(&remediator, &incident(Some("hinted")), &abstained, None).await;
    assert_eq!(titles(&found), ["hinted"]);
    assert_eq!(found[0].target.to_string(), "gateway");
    assert!(
        plans(&remediator, &incident(Some("caused")), &abstained, None)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_condition_must_hold_now_and_unknown_does_not_hold() {
    let remediator = remediator(&[("disk", "trigger: {condition: disk_usage_percent > 85}")]);
    for (disk, n) in [(Some(90.0), 1), (Some(80.0), 0), (None, 0)] {
        let found = plans(&remediator, &incident(None), &leak_of_orders(), disk).await;
        assert_eq!(found.len(), n, "{disk:?}");
    }
}

#[tokio::test]
async fn every_pre_condition_must_be_known_to_hold() {
    for (pre_conditions, n) in [
        ("[{check: yes}]", 1),
        ("[{check: yes}, {check: no}]", 0),
        ("[{check: maybe}]", 0),
        ("[disk_usage_percent < 95]", 1),
        ("[disk_usage_percent < 50]", 0),
        ("[{condition: disk_usage_percent < 95, within: 5s}]", 0),
        ("[no_such_metric < 95]", 0),
    ] {
        let rest = format!("trigger: {{cause: memory_leak}}\npre_conditions: {pre_conditions}");
        let remediator = remediator(&[("p", &rest)]);
        let found = plans(&remediator, &incident(None), &leak_of_orders(), Some(90.0)).await;
        assert_eq!(found.len(), n, "{pre_conditions}");
    }
}

/// Remembers that `playbook` ended so in incidents of that cause, the last one a day ago.
async fn remember(knowledge: &MemoryKnowledge, playbook: &str, verdicts: &[VerdictKind]) {
    for (idx, verdict) in verdicts.iter().enumerate() {
        let digest = homeostasis_core::Digest::of(&(playbook, idx));
        let id = u128::from_be_bytes(digest.as_bytes()[..16].try_into().unwrap());
        let past = PastIncident {
            incident: IncidentId::from_u128(id),
            fingerprint: incident(None).fingerprint(),
            target: Target::service("orders").unwrap(),
            cause: Some("memory_leak".to_owned()),
            runs: vec![PastRun {
                playbook: Some(playbook.to_owned()),
                verdict: *verdict,
            }],
            closed_at: NOW - Duration::from_secs(24 * 3600),
        };
        knowledge.remember(past).await.unwrap();
    }
}

#[tokio::test]
async fn what_helped_more_often_is_tried_first_and_one_of_one_is_not_everything() {
    use VerdictKind::{Failed, Success};
    let knowledge = Arc::new(MemoryKnowledge::default());
    remember(&knowledge, "lucky", &[Success]).await;
    let mut many = vec![Success; 18];
    many.extend([Failed; 2]);
    remember(&knowledge, "proven", &many).await;
    remember(&knowledge, "hopeless", &[Failed; 10]).await;
    remember(&knowledge, "served", &[Success]).await;
    let remediator = remediator(&[
        ("hopeless", "trigger: {cause: memory_leak}"),
        ("lucky", "trigger: {cause: memory_leak}"),
        ("proven", "trigger: {cause: memory_leak}"),
        ("new", "trigger: {cause: memory_leak}"),
        (
            "blocked",
            "trigger: {cause: memory_leak}\npre_conditions: [{check: no}]",
        ),
        ("family", "trigger: {category: resource_exhaustion}"),
        ("served", "trigger: {service: orders}"),
        ("unserved", "trigger: {service: orders}"),
        ("elsewhere", "trigger: {cause: bad_deploy}"),
    ])
    .with_knowledge(Arc::clone(&knowledge) as Arc<_>);
    let mut topology = Topology::default();
    topology.insert("orders", ServiceFacts::default());
    let (incident, diagnosis) = (incident(None), leak_of_orders());
    let cx = Context::new(Arc::new(ManualClock::new(NOW)), 1)
        .for_incident(incident.id)
        .in_topology(Arc::new(topology));
    let request = PlanRequest::new(&incident, &diagnosis);
    let selection = remediator.select(&cx, request).await.unwrap();
    assert_eq!(
        titles(&selection.plans),
        [
            "proven", "lucky", "new", "hopeless", "family", "served", "unserved"
        ]
    );
    // A playbook whose trigger does not fit is no candidate; one that is blocked says why.
    assert_eq!(selection.considered.len(), 8);
    let of = |name: &str| {
        let mut all = selection.considered.iter();
        all.find(|candidate| candidate.name == name).unwrap()
    };
    let blocked = of("blocked");
    assert_eq!(blocked.standing, Standing::PassedOver);
    assert!(blocked.why.contains("no is false"), "{}", blocked.why);
    // One of one is two of three: (1 + 1) / (2 + 1), times its share.
    let lucky = of("lucky").parts["success"];
    assert!((lucky - 0.4 * 2.0 / 3.0).abs() < 1e-12, "{lucky}");
    let proven = of("proven").parts["success"];
    assert!((proven - 0.4 * 19.0 / 22.0).abs() < 1e-12, "{proven}");
    assert!(of("served").why.contains("helped in similar incidents"));
    for (plan, (reference, text)) in selection.plans.iter().zip(&selection.sources) {
        let _ = plan;
        assert_eq!(
            reference.hash,
            homeostasis_core::Digest::of_bytes(text.as_bytes())
        );
    }
    assert_eq!(selection.sources.len(), selection.plans.len());
}

#[tokio::test]
async fn the_authors_claim_and_measured_time_weigh_until_there_is_history() {
    let remediator = remediator(&[
        (
            "boasting",
            "trigger: {cause: memory_leak}\nmetadata: {success_rate: 0.94, avg_execution_time: 12m}",
        ),
        (
            "modest",
            "trigger: {cause: memory_leak}\nmetadata: {success_rate: 0.1, avg_execution_time: 12m}",
        ),
        (
            "slow",
            "trigger: {cause: memory_leak}\nmetadata: {success_rate: 0.94, avg_execution_time: 2h}",
        ),
    ]);
    let plans = plans(&remediator, &incident(None), &leak_of_orders(), None).await;
    assert_eq!(titles(&plans), ["boasting", "slow", "modest"]);
}
