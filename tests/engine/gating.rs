//! The gate answers the present question, and a refusal is a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis::EngineSettings;
use homeostasis::core::policy::{GateDecision, GateRecord, MaintenanceWindow, Policy};
use homeostasis::core::port::{ApprovalDecision, MemoryApprovals, MemoryStore, Store};
use homeostasis::core::record::{Anomaly, EventKind, HealEvent, Severity, Subject};
use homeostasis::core::{Mode, ServiceFacts, Target};

use crate::plugins::{Siren, SlowVerifier};
use crate::world::{START, World, is, pass, service, until};

#[tokio::test(start_paused = true)]
async fn what_grew_grave_while_it_waited_for_a_slot_is_gated_as_grave() {
    let world = Arc::new(World::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut settings = EngineSettings::default();
    settings.max_concurrent_heals = 1;
    // Nothing is pre-approved: SEV2 runs by itself, SEV0 does not.
    let policy = Policy {
        min_interval: Duration::ZERO,
        ..Policy::default()
    };
    let on = Arc::new(AtomicBool::new(false));
    let mut grave = Anomaly::new("siren", service("a"), Subject::Logs("x".to_owned()), START)
        .saying("all of it is down");
    grave.severity_hint = Some(Severity::Sev0);
    let healer = world
        .healer()
        .settings(settings)
        .policy(policy)
        .store(Arc::clone(&store))
        .verifier(SlowVerifier)
        .detector(Siren {
            on: Arc::clone(&on),
            anomalies: vec![grave],
        })
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a", "b"]);
    // The heal of b has the only slot for a minute and a half.
    world.fall_ill("b");
    until(&healer, &mut events, is("run_ended")).await;
    world.fall_ill("a");
    let planned = until(&healer, &mut events, is("planned")).await;
    pass(&healer, 10).await;
    assert_eq!(healer.health().waiting_heals, 1);
    on.store(true, Ordering::SeqCst);
    until(&healer, &mut events, is("anomaly_joined")).await;
    let gated = until(&healer, &mut events, |event| {
        event.incident == planned.incident && event.kind.name() == "gated"
    })
    .await;
    let EventKind::Gated { record, .. } = &gated.kind else {
        panic!("{gated}")
    };
    assert!(
        matches!(record.decision, GateDecision::NeedsApproval { .. }),
        "{record}"
    );
    assert_eq!((world.cures("a"), world.cures("b")), (0, 1));
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_refusal_outweighs_a_consent_given_before_it() {
    let world = Arc::new(World::default());
    let approvals = Arc::new(MemoryApprovals::default());
    let healer = world
        .healer()
        .mode(Mode::Approve)
        .approvals(Arc::clone(&approvals) as Arc<_>)
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    until(&healer, &mut events, is("gated")).await;
    pass(&healer, 5).await;
    let (request, _) = approvals.pending(healer.clock().now()).remove(0);
    for (by, granted) in [("ann", true), ("bob", false)] {
        let decision = ApprovalDecision {
            granted,
            by: by.to_owned(),
            reason: String::new(),
            at: homeostasis::core::Timestamp::EPOCH,
        };
        assert!(approvals.decide(request.plan_hash, decision));
    }
    let decided = until(&healer, &mut events, is("approval_decided")).await;
    assert!(
        matches!(&decided.kind, EventKind::ApprovalDecided { granted: false, by, .. } if by == "bob"),
        "{decided}"
    );
    pass(&healer, 60).await;
    assert_eq!(world.cures("a"), 0);
    healer.shutdown().await;
}

fn answer(gated: &HealEvent) -> &GateRecord {
    match &gated.kind {
        EventKind::Gated { record, .. } => record,
        _ => panic!("{gated}"),
    }
}

#[tokio::test(start_paused = true)]
async fn when_most_instances_are_ill_none_is_taken_away() {
    // The last are more than an incident keeps anomalies.
    for (n_ill, instances, is_storm) in [(1, 4, false), (3, 4, true), (70, 130, true)] {
        let world = Arc::new(World::default());
        let anomalies = (0..n_ill).map(|idx: u32| {
            let target = Target::instance("a", idx.to_string()).unwrap();
            Anomaly::new("siren", target, Subject::Logs("x".to_owned()), START).saying("it is ill")
        });
        let facts = ServiceFacts {
            instances,
            ..ServiceFacts::default()
        };
        let healer = world
            .healer()
            .service("a", facts)
            .detector(Siren {
                on: Arc::new(AtomicBool::new(true)),
                anomalies: anomalies.collect(),
            })
            .start()
            .await
            .unwrap();
        let mut events = healer.subscribe();
        world.watch(&healer, &["b"]);
        let gated = until(&healer, &mut events, is("gated")).await;
        let record = answer(&gated);
        let expected = if is_storm {
            GateDecision::Escalated
        } else {
            GateDecision::Permitted
        };
        assert_eq!(record.decision, expected, "{record}");
        if is_storm {
            let left = format!("{} of {instances} instances", instances - n_ill);
            let reason = record.reason();
            assert!(reason.contains(&left), "{reason}");
            pass(&healer, 60).await;
            assert_eq!(world.cures("a"), 0);
        }
        healer.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_window_runs_when_it_opens() {
    let world = Arc::new(World::default());
    let hour = Duration::from_secs(3600);
    let mut policy = Policy::default();
    policy.maintenance.only = ["cure".to_owned()].into();
    policy.maintenance.windows = vec![MaintenanceWindow {
        days: [].into(),
        opens: 23 * hour,
        lasts: hour,
    }];
    let caller = ServiceFacts {
        depends_on: ["a".to_owned()].into(),
        ..ServiceFacts::default()
    };
    let healer = world
        .healer()
        .service("b", caller)
        .policy(policy)
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a", "b"]);
    world.fall_ill("a");
    let gated = until(&healer, &mut events, is("gated")).await;
    let opens = "2023-11-14T23:00:00Z".parse().unwrap();
    let deferred = GateDecision::Deferred { until: opens };
    assert_eq!(answer(&gated).decision, deferred);
    // What goes wrong in another service meanwhile is not put to it.
    world.fall_ill("b");
    let other = until(&healer, &mut events, is("gated")).await;
    assert_ne!(other.incident, gated.incident);
    world.cured_by_hand("b");
    let opened = until(&healer, &mut events, |event| {
        event.incident == gated.incident && event.kind.name() == "run_opened"
    })
    .await;
    assert!(opened.at >= opens && opened.at < opens + hour, "{opened}");
    until(&healer, &mut events, is("run_ended")).await;
    assert_eq!(world.cures("a"), 1);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_incident_is_new_once() {
    let world = Arc::new(World::default());
    let mut policy = Policy::default();
    policy.safe_mode.new_kind = true;
    let healer = world.healer().policy(policy).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let first = until(&healer, &mut events, is("gated")).await;
    let record = answer(&first);
    assert!(
        matches!(record.decision, GateDecision::NeedsApproval { .. }),
        "{record}"
    );
    assert!(record.reason().contains("never seen before"), "{record}");
    world.cured_by_hand("a");
    until(&healer, &mut events, is("closed")).await;
    pass(&healer, 600).await;
    world.fall_ill("a");
    let second = until(&healer, &mut events, is("gated")).await;
    assert_eq!(answer(&second).decision, GateDecision::Permitted);
    healer.shutdown().await;
}
