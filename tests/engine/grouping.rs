//! Grouping: what belongs together is one incident, and an echo is none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homeostasis::core::record::{Anomaly, Subject};
use homeostasis::core::{Mode, ServiceFacts};
use homeostasis::detect::{
    CorrelatedFailures, CorrelatedFailuresConfig, Ewma, EwmaConfig, PerSeries, Selector,
};

use crate::plugins::Siren;
use crate::world::{START, World, is, pass, service, until};

#[tokio::test(start_paused = true)]
async fn the_trouble_of_a_service_and_of_what_it_calls_is_one_incident() {
    let world = Arc::new(World::default());
    let caller = ServiceFacts {
        depends_on: BTreeSet::from(["b".to_owned()]),
        ..ServiceFacts::default()
    };
    let healer = world
        .healer()
        .mode(Mode::Observe)
        .service("a", caller)
        .start()
        .await
        .unwrap();
    world.watch(&healer, &["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        world.fall_ill(name);
    }
    pass(&healer, 60).await;
    let mut groups = Vec::new();
    for id in healer.incidents(10).await.unwrap() {
        let incident = healer.incident(id).await.unwrap();
        let mut targets: Vec<_> = incident.targets().iter().map(ToString::to_string).collect();
        targets.sort();
        groups.push(targets);
    }
    groups.sort();
    assert_eq!(groups, [vec!["a", "b"], vec!["c"]]);
    healer.shutdown().await;
}

/// What single detectors find opens the incident, and what they have in common joins it.
#[tokio::test(start_paused = true)]
async fn a_correlated_failure_joins_the_incident_of_the_service_it_is_about() {
    let world = Arc::new(World::default());
    let caller = ServiceFacts {
        depends_on: BTreeSet::from(["b".to_owned()]),
        ..ServiceFacts::default()
    };
    let ewma = Ewma::new(EwmaConfig::default()).unwrap();
    let member = PerSeries::new("ewma", Selector::metric("ill"), move |_| ewma.clone());
    let config = CorrelatedFailuresConfig {
        min_series: 2,
        min_rate: 0.01,
        ..CorrelatedFailuresConfig::default()
    };
    let together = CorrelatedFailures::new("together", config).unwrap();
    let healer = world
        .healer()
        .mode(Mode::Observe)
        .service("a", caller)
        .detector(together.with(member.unwrap()))
        .start()
        .await
        .unwrap();
    world.watch(&healer, &["a", "b", "c"]);
    pass(&healer, 60).await;
    world.fall_ill("a");
    world.fall_ill("b");
    pass(&healer, 60).await;
    let ids = healer.incidents(10).await.unwrap();
    assert_eq!(ids.len(), 1);
    let incident = healer.incident(ids[0]).await.unwrap();
    let mut anomalies = incident.anomalies.iter();
    let joined = anomalies.find(|anomaly| anomaly.detector == "together");
    let joined = joined.unwrap();
    assert_eq!(joined.target, service("b"), "which a depends on");
    let text = &joined.explanation;
    assert!(
        text.starts_with("2 series of 2 services (a, b) began to deviate within "),
        "{text}"
    );
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_anomaly_that_is_seen_again_and_again_is_written_once() {
    let world = Arc::new(World::default());
    let healer = world.healer().mode(Mode::Observe).start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let id = until(&healer, &mut events, is("gated")).await.incident;
    let n_events = healer.events_of(id).await.unwrap().len();
    // Within an hour: then people are called, since nobody has solved it.
    pass(&healer, 3500).await;
    assert!(healer.health().anomalies > 3000);
    assert_eq!(healer.events_of(id).await.unwrap().len(), n_events);
    assert_eq!(healer.incidents(10).await.unwrap(), [id]);
    healer.shutdown().await;
}

/// The siren tells late of what began before the heal.
#[tokio::test(start_paused = true)]
async fn what_began_before_an_incident_closed_is_its_echo_for_a_while_and_then_news() {
    let world = Arc::new(World::default());
    let on = Arc::new(AtomicBool::new(false));
    let late = Anomaly::new("siren", service("a"), Subject::Logs("x".to_owned()), START)
        .saying("it is slow");
    let healer = world
        .healer()
        .detector(Siren {
            on: Arc::clone(&on),
            anomalies: vec![late],
        })
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let first = until(&healer, &mut events, is("closed")).await;
    on.store(true, Ordering::SeqCst);
    pass(&healer, 10).await;
    assert!(healer.health().anomalies > 50, "the siren is heard");
    assert_eq!(healer.incidents(10).await.unwrap(), [first.incident]);

    // Echoes are absorbed for 15 s; what goes on longer is trouble.
    let second = until(&healer, &mut events, is("opened")).await;
    assert!(second.at > first.at + Duration::from_secs(15));
    assert_ne!(second.incident, first.incident);
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_illness_that_begins_right_after_a_heal_is_no_echo() {
    let world = Arc::new(World::default());
    let healer = world.healer().start().await.unwrap();
    let mut events = healer.subscribe();
    world.watch(&healer, &["a"]);
    world.fall_ill("a");
    let first = until(&healer, &mut events, is("closed")).await;
    pass(&healer, 2).await;
    world.fall_ill("a");
    let second = until(&healer, &mut events, is("opened")).await;
    assert_ne!(second.incident, first.incident);
    assert!(second.at < first.at + Duration::from_secs(15));
    healer.shutdown().await;
}
