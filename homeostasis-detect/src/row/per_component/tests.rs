use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::record::{Anomaly, Subject};
use homeostasis_core::signal::{Sample, SeriesCatalog, SeriesKey, SignalBatch};
use homeostasis_core::stage::Detector;
use homeostasis_core::{Context, ManualClock, Target, Timestamp};

use super::{PerComponent, PerComponentConfig};
use crate::row::testing::noise;
use crate::{PcaResidual, PcaResidualConfig, Selector};

const METRICS: [&str; 3] = ["cpu", "memory", "latency"];

type Point = (&'static str, &'static str, i64, f64);

fn config() -> PerComponentConfig {
    PerComponentConfig {
        step: Duration::from_secs(10),
        carry: 0,
        window: Duration::from_secs(6000),
        retrain: Duration::from_secs(2000),
        min_rows: 200,
        max_components: 2,
        idle_after: Duration::from_secs(600),
        ..PerComponentConfig::default()
    }
}

fn detector() -> PerComponent<PcaResidual> {
    with(PcaResidualConfig::default())
}

fn with(kernel: PcaResidualConfig) -> PerComponent<PcaResidual> {
    let kernel = PcaResidual::new(kernel).unwrap();
    let features = METRICS.map(Selector::metric);
    PerComponent::new("together", features, config(), move |_| kernel.clone()).unwrap()
}

/// Three metrics of a service, ten seconds apart, the first two alike.
fn usual(service: &'static str, n_rows: usize) -> Vec<Point> {
    let noise = noise(n_rows, 3, 21);
    let rows = noise.chunks(3).enumerate();
    rows.flat_map(|(at, row)| {
        let at = 10 * i64::try_from(at).unwrap() + 1;
        let values = [row[0], 100.0 + 3.0 * row[0] + 0.02 * row[1], row[2]];
        [0, 1, 2].map(|i| (service, METRICS[i], at, values[i]))
    })
    .collect()
}

async fn detect(
    detector: &mut PerComponent<PcaResidual>,
    catalog: &SeriesCatalog,
    points: &[Point],
) -> Vec<Anomaly> {
    let sample = |(service, metric, at, value): &Point| Sample {
        series: catalog.intern(&SeriesKey::new(*metric).with("service", *service)),
        at: Timestamp::from_secs(*at),
        value: *value,
    };
    let samples: Vec<Sample> = points.iter().map(sample).collect();
    let now = points.iter().map(|point| point.2).max().unwrap_or(0);
    let cx = Context::new(Arc::new(ManualClock::new(Timestamp::from_secs(now))), 1);
    let batch = SignalBatch::empty(catalog).with_samples(&samples);
    detector.detect(&cx, batch).await.unwrap()
}

fn shop() -> Target {
    Target::service("shop").unwrap()
}

#[tokio::test]
async fn metrics_that_part_are_one_anomaly_that_names_them() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    let mut points = usual("shop", 400);
    let broken = points.len() - 3 * 40;
    for point in points[broken..]
        .iter_mut()
        .filter(|point| point.1 == "memory")
    {
        point.3 = 140.0;
    }
    let found = detect(&mut watch, &catalog, &points).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let anomaly = &found[0];
    assert_eq!(anomaly.violation(), None);
    assert_eq!(
        anomaly.subject,
        Subject::Series(SeriesKey::new("memory").with("service", "shop"))
    );
    assert_eq!(anomaly.observed, Some(140.0));
    let text = &anomaly.explanation;
    assert!(
        text.starts_with("3 metrics of shop do not go together"),
        "{text}"
    );
    assert!(text.contains("most of all memory = 140 ("), "{text}");
    assert_eq!(anomaly.series.len(), Anomaly::MAX_POINTS);
    assert_eq!(watch.n_rows(&shop()), Some(399));
}

#[tokio::test]
async fn a_series_that_falls_silent_is_missing_and_no_anomaly() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    let mut points = usual("shop", 300);
    points.retain(|point| point.1 != "memory" || point.2 < 2500);
    assert_eq!(detect(&mut watch, &catalog, &points).await, []);
    let record = &watch.components[&shop()].record;
    let state = serde_json::to_value(record).unwrap();
    let rows: Vec<bool> = state["window"]
        .as_array()
        .unwrap()
        .chunks(3)
        .map(|row| row[1].is_null())
        .collect();
    assert_eq!(rows.iter().position(|missing| *missing), Some(250));
    assert!(rows[250..].iter().all(|missing| *missing));
}

#[tokio::test]
async fn late_samples_and_those_of_the_future_are_counted_and_change_nothing() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    detect(&mut watch, &catalog, &usual("shop", 50)).await;
    let cx = Context::new(Arc::new(ManualClock::new(Timestamp::from_secs(500))), 1);
    let series = catalog.intern(&SeriesKey::new("cpu").with("service", "shop"));
    let sample = |at| Sample {
        series,
        at,
        value: 1e9,
    };
    let odd = [sample(Timestamp::from_secs(3)), sample(Timestamp::MAX)];
    let untargeted = Sample {
        series: catalog.intern(&SeriesKey::new("cpu")),
        ..odd[0]
    };
    let samples = [odd[0], odd[1], untargeted];
    watch
        .detect(&cx, SignalBatch::empty(&catalog).with_samples(&samples))
        .await
        .unwrap();
    let counts = watch.counts();
    assert_eq!((counts.late, counts.ahead, counts.untargeted), (1, 1, 1));
    assert_eq!(watch.n_rows(&shop()), Some(49));
}

#[tokio::test]
async fn after_a_clock_that_was_years_ahead_is_set_back_a_component_goes_on_with_the_rows_it_had() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    detect(&mut watch, &catalog, &usual("shop", 250)).await;
    detect(&mut watch, &catalog, &[("shop", "cpu", 100_000_000, 0.0)]).await;
    let mut points = usual("shop", 400).split_off(3 * 260);
    let broken = points.len() - 3 * 40;
    for point in &mut points[broken..] {
        point.3 = 140.0;
    }
    let found = detect(&mut watch, &catalog, &points).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].violation(), None);
    let counts = watch.counts();
    assert_eq!((counts.set_back, counts.late), (1, 0));
}

#[tokio::test]
async fn a_source_whose_clock_is_ahead_closes_no_row_on_the_others() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    for row in usual("shop", 300).chunks(3) {
        let mut samples: Vec<Sample> = Vec::new();
        for (service, metric, at, value) in row {
            let ahead = if *metric == "latency" { 1800 } else { 0 };
            let key = SeriesKey::new(*metric).with("service", *service);
            samples.push(Sample {
                series: catalog.intern(&key),
                at: Timestamp::from_secs(*at + ahead),
                value: *value,
            });
        }
        let now = Timestamp::from_secs(row[0].2);
        let cx = Context::new(Arc::new(ManualClock::new(now)), 1);
        let batch = SignalBatch::empty(&catalog).with_samples(&samples);
        watch.detect(&cx, batch).await.unwrap();
    }
    assert_eq!((watch.counts().late, watch.n_rows(&shop())), (0, Some(299)));
    let snapshot = watch.snapshot().unwrap();
    let window = snapshot.state["components"][0]["record"]["window"]
        .as_array()
        .unwrap();
    assert!(window.iter().all(|value| !value.is_null()));
}

#[tokio::test]
async fn rows_an_hour_apart_alarm() {
    let kernel = PcaResidual::new(PcaResidualConfig::default()).unwrap();
    let config = PerComponentConfig {
        step: Duration::from_secs(3600),
        ..PerComponentConfig::default()
    };
    let config = PerComponentConfig {
        window: 600 * config.step,
        retrain: 200 * config.step,
        min_rows: 200,
        ..config
    };
    let features = METRICS.map(Selector::metric);
    let mut watch =
        PerComponent::new("together", features, config, move |_| kernel.clone()).unwrap();
    let mut points = usual("shop", 400);
    let broken = points.len() - 3 * 40;
    for (idx, point) in points.iter_mut().enumerate() {
        point.2 *= 360;
        if idx >= broken && point.1 == "memory" {
            point.3 = 140.0;
        }
    }
    let found = detect(&mut watch, &SeriesCatalog::default(), &points).await;
    assert_eq!(found.len(), 1, "{found:?}");
}

#[tokio::test]
async fn places_are_bounded_and_the_silent_give_way() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    for (service, at) in [("a", 0), ("b", 500), ("c", 550)] {
        detect(&mut watch, &catalog, &[(service, "cpu", at, 1.0)]).await;
    }
    assert_eq!((watch.n_components(), watch.counts().refused), (2, 1));
    detect(&mut watch, &catalog, &[("c", "cpu", 700, 1.0)]).await;
    assert_eq!((watch.n_components(), watch.counts().evicted), (2, 1));
    assert!(watch.n_rows(&Target::service("a").unwrap()).is_none());
}

/// Snapshots fall before, while and after a model is learned.
#[tokio::test]
async fn a_restored_detector_goes_on_as_if_never_stopped() {
    let catalog = SeriesCatalog::default();
    let mut points = usual("shop", 700);
    for point in points
        .iter_mut()
        .filter(|point| point.2 % 900 < 50 && point.1 == "cpu")
    {
        point.3 += 9.0;
    }
    // Learned among outliers, the limit must be low to see more of them.
    let sensitive = || {
        with(PcaResidualConfig {
            contamination: 0.2,
            ..PcaResidualConfig::default()
        })
    };
    let mut whole = sensitive();
    let expected = detect(&mut whole, &catalog, &points).await;
    assert!(expected.len() > 1, "{expected:?}");
    for stopped in [100, 201, 202, 399, 401, 403, 640] {
        let (before, after) = points.split_at(3 * stopped);
        let mut first = sensitive();
        let mut found = detect(&mut first, &catalog, before).await;
        let text = serde_json::to_string(&first.snapshot().unwrap()).unwrap();
        let mut second = sensitive();
        second
            .restore(&serde_json::from_str(&text).unwrap())
            .unwrap();
        found.extend(detect(&mut second, &catalog, after).await);
        assert_eq!(found, expected, "stopped at {stopped}");
        assert_eq!(second.snapshot(), whole.snapshot());
    }
}

#[tokio::test]
async fn a_snapshot_that_holds_a_component_twice_is_refused() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    detect(&mut watch, &catalog, &usual("shop", 5)).await;
    let mut twice = watch.snapshot().unwrap();
    let components = twice.state["components"].as_array_mut().unwrap();
    components.push(components[0].clone());
    let error = watch.restore(&twice).unwrap_err();
    let text = "shop in the snapshot: expected each component once";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_model_of_another_step_or_of_other_features_is_refused() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    detect(&mut watch, &catalog, &usual("shop", 210)).await;
    let snapshot = watch.snapshot().unwrap();
    let part = watch.snapshot_part(None, 1).unwrap().snapshot;
    let with = |step: u64, features: [Selector; 3]| {
        let kernel = PcaResidual::new(PcaResidualConfig::default()).unwrap();
        let config = PerComponentConfig {
            step: Duration::from_secs(step),
            ..config()
        };
        PerComponent::new("together", features, config, move |_| kernel.clone()).unwrap()
    };
    let [a, b, c] = METRICS.map(Selector::metric);
    let other = c.clone().with_label("zone", "x");
    for (mut wrong, expected) in [
        (
            with(20, [a.clone(), b.clone(), c.clone()]),
            "a model of steps of 10s: expected steps of 20s, as step says",
        ),
        (with(10, [b.clone(), a.clone(), c.clone()]), "[\"memory\"]"),
        (with(10, [a.clone(), b.clone(), other]), "zone"),
    ] {
        let error = wrong.restore(&snapshot).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(wrong.restore_part(&part).is_err());
        assert_eq!(wrong.n_components(), 0);
    }
    with(10, [a, b, c]).restore(&snapshot).unwrap();
}

#[tokio::test]
async fn what_is_taken_up_is_learned_again_within_the_bound_of_a_call_or_begins_anew() {
    let make = |pieces_per_call| {
        let kernel = PcaResidual::new(PcaResidualConfig::default()).unwrap();
        let config = PerComponentConfig {
            pieces_per_row: 1,
            pieces_per_call,
            ..config()
        };
        let features = METRICS.map(Selector::metric);
        PerComponent::new("together", features, config, move |_| kernel.clone()).unwrap()
    };
    let names = ["a", "b"];
    let (mut watch, catalog) = (make(256), SeriesCatalog::default());
    for name in names {
        detect(&mut watch, &catalog, &usual(name, 204)).await;
    }
    let n_learned = |watch: &PerComponent<PcaResidual>| {
        names.map(|name| watch.components[&Target::service(name).unwrap()].n_learned())
    };
    let [Some(a), Some(b)] = n_learned(&watch) else {
        panic!("{:?}", n_learned(&watch));
    };
    assert!(a > 1 && a == b, "{a}, {b}");
    let n = u32::try_from(a).unwrap();
    let whole = watch.snapshot().unwrap();
    for (pieces_per_call, expected) in [
        (2 * n, [Some(a), Some(b)]),
        (2 * n - 1, [Some(a), None]),
        (n - 1, [None, None]),
    ] {
        let mut restored = make(pieces_per_call);
        restored.restore(&whole).unwrap();
        assert_eq!(n_learned(&restored), expected);
        // The bound is that of all parts together.
        let (mut pieced, mut from) = (make(pieces_per_call), None);
        loop {
            let part = watch.snapshot_part(from.as_ref(), 1).unwrap();
            pieced.restore_part(&part.snapshot).unwrap();
            let Some(rest) = part.rest else { break };
            from = Some(rest.from);
        }
        assert_eq!(n_learned(&pieced), expected);
    }
    // What began anew is due with the next row.
    let mut restored = make(n - 1);
    restored.restore(&whole).unwrap();
    detect(&mut restored, &catalog, &usual("a", 205).split_off(3 * 204)).await;
    assert_eq!(n_learned(&restored), [Some(1), None]);
    // No number in a snapshot makes it learn for longer.
    let mut hostile = whole;
    hostile.state["components"][0]["record"]["learning"][1] = u64::MAX.into();
    let mut restored = make(2 * n);
    restored.restore(&hostile).unwrap();
    assert_eq!(n_learned(&restored), [None, Some(b)]);
}

#[tokio::test]
async fn a_call_learns_no_more_than_it_may_whatever_number_of_components() {
    let kernel = PcaResidual::new(PcaResidualConfig::default()).unwrap();
    let config = PerComponentConfig {
        pieces_per_call: 1,
        ..config()
    };
    let features = METRICS.map(Selector::metric);
    let mut watch =
        PerComponent::new("together", features, config, move |_| kernel.clone()).unwrap();
    let catalog = SeriesCatalog::default();
    let (a, b) = (usual("a", 260), usual("b", 260));
    let rows = a.chunks(3).zip(b.chunks(3));
    let mut most = 0;
    for (a, b) in rows {
        detect(&mut watch, &catalog, &[a, b].concat()).await;
        let state = watch.snapshot().unwrap().state;
        let learned = |at: &str| {
            let model = state.pointer(&format!("/components/{at}/kernel/model"));
            u32::from(model.is_some_and(|model| !model.is_null()))
        };
        let n_learned = learned("0") + learned("1");
        // They become ready one after the other.
        assert!(n_learned <= most + 1, "{n_learned} after {most}");
        most = most.max(n_learned);
    }
    assert_eq!(most, 2);
}

#[tokio::test]
async fn those_that_learn_share_what_a_call_may_learn() {
    let kernel = PcaResidual::new(PcaResidualConfig::default()).unwrap();
    let config = PerComponentConfig {
        pieces_per_call: 2,
        max_components: 3,
        min_rows: 100,
        ..config()
    };
    let features = METRICS.map(Selector::metric);
    let mut watch =
        PerComponent::new("together", features, config, move |_| kernel.clone()).unwrap();
    let catalog = SeriesCatalog::default();
    let names = ["a", "b", "c"];
    let rows = names.map(|name| usual(name, 180));
    let n_learned = |watch: &PerComponent<PcaResidual>| {
        names.map(|name| watch.components[&Target::service(name).unwrap()].n_learned())
    };
    let mut most = 0;
    for row in 0..180 {
        // Always in the same order.
        let samples: Vec<_> = rows
            .iter()
            .flat_map(|rows| &rows[3 * row..3 * row + 3])
            .copied()
            .collect();
        detect(&mut watch, &catalog, &samples).await;
        if let [Some(a), Some(b), Some(c)] = n_learned(&watch) {
            let (low, high) = (a.min(b).min(c), a.max(b).max(c));
            most = most.max(low);
            assert!(high - low <= 2, "row {row}: {a}, {b}, {c}");
        }
    }
    assert!(most > 0, "{most}");
}

#[tokio::test]
async fn the_window_is_bounded() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    detect(&mut watch, &catalog, &usual("shop", 2000)).await;
    let n_rows = watch.n_rows(&shop()).unwrap();
    assert!((600..=620).contains(&n_rows), "{n_rows}");
}

#[test]
fn every_field_out_of_range_is_named() {
    let kernel = PcaResidual::new(PcaResidualConfig::default()).unwrap();
    let wrong = PerComponentConfig {
        step: Duration::ZERO,
        carry: 1001,
        window: Duration::ZERO,
        retrain: Duration::ZERO,
        min_rows: 1,
        pieces_per_row: 0,
        pieces_per_call: 0,
        max_components: 0,
        ..PerComponentConfig::default()
    };
    let error = PerComponent::new(" ", [], wrong, move |_| kernel.clone()).unwrap_err();
    // The retrain interval is at least a step of zero.
    assert_eq!(error.violations().len(), 9, "{error}");
}
