use super::*;
use crate::record::{Anomaly, Subject};

fn fingerprint(check: &str) -> Fingerprint {
    let target = Target::service("orders").unwrap();
    let subject = Subject::Health(check.to_owned());
    Anomaly::new("probe", target, subject, Timestamp::EPOCH).fingerprint()
}

fn run(playbook: &str, verdict: VerdictKind) -> PastRun {
    PastRun {
        playbook: Some(playbook.to_owned()),
        verdict,
    }
}

fn past(bits: u128, check: &str, cause: &str, verdict: VerdictKind) -> PastIncident {
    PastIncident {
        incident: IncidentId::from_u128(bits),
        fingerprint: fingerprint(check),
        target: Target::service("orders").unwrap(),
        cause: Some(cause.to_owned()),
        runs: vec![run("restart", verdict)],
        closed_at: Timestamp::from_secs(i64::try_from(bits).unwrap()),
    }
}

#[tokio::test]
async fn the_same_fingerprint_comes_before_the_same_cause_and_the_newest_first() {
    let knowledge = MemoryKnowledge::default();
    for (bits, check, cause) in [
        (1, "up", "process_down"),
        (2, "up", "memory_leak"),
        (3, "latency", "memory_leak"),
        (4, "latency", "slow_dependency"),
    ] {
        let incident = past(bits, check, cause, VerdictKind::Success);
        knowledge.remember(incident).await.unwrap();
    }
    let bits = async |cause, limit| {
        let found = knowledge.similar(fingerprint("up"), cause, limit).await;
        let found: Vec<_> = found
            .unwrap()
            .iter()
            .map(|p| p.incident.as_u128())
            .collect();
        found
    };
    assert_eq!(bits(Some("memory_leak"), 9).await, [2, 1, 3]);
    assert_eq!(bits(Some("memory_leak"), 1).await, [2]);
    assert_eq!(bits(None, 9).await, [2, 1]);
}

#[tokio::test]
async fn a_replay_counts_nothing_twice_and_uncertain_is_no_success() {
    let knowledge = MemoryKnowledge::default();
    for _ in 0..2 {
        for (bits, verdict) in [
            (1, VerdictKind::Success),
            (2, VerdictKind::Uncertain),
            (3, VerdictKind::Failed),
            (4, VerdictKind::Partial),
        ] {
            let incident = past(bits, "up", "process_down", verdict);
            knowledge.remember(incident).await.unwrap();
        }
    }
    let found = knowledge
        .effectiveness("restart", "process_down")
        .await
        .unwrap();
    assert_eq!((found.runs, found.successes), (4, 1));
    assert_eq!(found.success_ratio().get(), 0.25);
    let other = knowledge
        .effectiveness("restart", "memory_leak")
        .await
        .unwrap();
    assert_eq!(other, Effectiveness::default());
    assert_eq!(other.success_ratio(), Ratio::ZERO);
}

#[tokio::test]
async fn what_failed_before_another_helped_is_not_forgotten() {
    let knowledge = MemoryKnowledge::default();
    let mut incident = past(1, "up", "process_down", VerdictKind::Failed);
    incident.runs.push(run("roll_back", VerdictKind::Success));
    knowledge.remember(incident).await.unwrap();
    for (playbook, successes) in [("restart", 0), ("roll_back", 1)] {
        let found = knowledge.effectiveness(playbook, "process_down").await;
        let found = found.unwrap();
        assert_eq!((found.runs, found.successes), (1, successes), "{playbook}");
    }
}

#[tokio::test]
async fn the_first_remembered_is_forgotten_when_it_is_full() {
    let knowledge = MemoryKnowledge::with_capacity(2);
    for bits in 1..=3 {
        let incident = past(bits, "up", "process_down", VerdictKind::Success);
        knowledge.remember(incident).await.unwrap();
    }
    let found = knowledge.similar(fingerprint("up"), None, 9).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].incident, IncidentId::from_u128(2));
}
