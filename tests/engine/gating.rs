//! The gate answers the present question, and a refusal is a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis::EngineSettings;
use homeostasis::core::Mode;
use homeostasis::core::policy::{GateDecision, Policy};
use homeostasis::core::port::{ApprovalDecision, MemoryApprovals, MemoryStore, Store};
use homeostasis::core::record::{Anomaly, EventKind, Severity, Subject};

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
