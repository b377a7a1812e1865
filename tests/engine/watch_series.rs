//! Series that are watched without a threshold.

use std::sync::Arc;

use homeostasis::core::record::EventKind;
use homeostasis::core::signal::SeriesKey;
use homeostasis::core::{Rng, Target};
use homeostasis::detect::{OnlineConfig, Selector};
use homeostasis::{Homeostasis, SimulatedClock};

use crate::world::{START, is, pass, until};

#[tokio::test(start_paused = true)]
async fn a_shift_of_a_watched_series_opens_an_incident_and_noise_does_not() {
    let healer = Homeostasis::builder()
        .clock(Arc::new(SimulatedClock::starting_at(START)))
        .watch_series(
            "latency",
            Selector::metric("seconds"),
            OnlineConfig::default(),
        )
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    let key = SeriesKey::new("seconds").with("service", "shop");
    let (series, mut rng) = (healer.recorder().series(&key), Rng::from_seed(7));
    for _ in 0..1000 {
        series.record(0.2 + 0.02 * rng.unit());
        pass(&healer, 10).await;
    }
    assert!(healer.incidents(1).await.unwrap().is_empty());
    for _ in 0..6 {
        series.record(0.9 + 0.02 * rng.unit());
        pass(&healer, 10).await;
    }
    let opened = until(&healer, &mut events, is("opened")).await;
    let EventKind::Opened { anomaly, .. } = &opened.kind else {
        panic!("{opened:?}");
    };
    assert_eq!(anomaly.detector, "latency");
    assert_eq!(anomaly.target, Target::service("shop").unwrap());
    assert!(anomaly.series.len() > 20, "a picture");
    healer.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_watch_is_said_at_the_start() {
    let config = OnlineConfig {
        sensitivity: 0.0,
        ..OnlineConfig::default()
    };
    let started = Homeostasis::builder()
        .watch_series("latency", Selector::all(), config)
        .start()
        .await;
    let said = started.unwrap_err().to_string();
    assert!(
        said.contains("watch_series.latency.online.sensitivity = 0"),
        "{said}"
    );
}
