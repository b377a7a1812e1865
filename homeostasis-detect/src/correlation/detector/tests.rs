use super::*;
use crate::{Alerting, AlertingConfig, Ewma, EwmaConfig, PerSeries, Selector};
use homeostasis_core::signal::{Sample, SeriesCatalog, SeriesKey};
use homeostasis_core::{ManualClock, Rng, ServiceFacts};
use std::sync::Arc;

fn member() -> PerSeries<Ewma> {
    let ewma = Ewma::new(EwmaConfig {
        alpha: 0.05,
        k: 6.0,
        ..EwmaConfig::default()
    })
    .unwrap();
    let alerting = AlertingConfig {
        reraise: Some(Duration::from_secs(60)),
        ..AlertingConfig::default()
    };
    PerSeries::new("ewma", Selector::all(), move |_| ewma.clone())
        .unwrap()
        .with_alerting(Alerting::new(alerting).unwrap())
}

fn watch() -> CorrelatedFailures {
    CorrelatedFailures::new("together", CorrelatedFailuresConfig::default())
        .unwrap()
        .with(member())
}

/// `gateway` calls `orders`, which calls `database`; nobody calls `mail`, `search` and `billing`.
fn topology() -> Topology {
    let mut topology = Topology::default();
    for (service, calls) in [("gateway", "orders"), ("orders", "database")] {
        let depends_on = BTreeSet::from([calls.to_owned()]);
        topology.insert(
            service,
            ServiceFacts {
                depends_on,
                ..ServiceFacts::default()
            },
        );
    }
    for service in ["database", "mail", "search", "billing"] {
        topology.insert(service, ServiceFacts::default());
    }
    topology
}

/// Shows two series of each service for `minutes`, a sample each 10 seconds; `fault` says what is added at a second.
async fn show(
    watch: &mut CorrelatedFailures,
    minutes: i64,
    mut fault: impl FnMut(&str, i64) -> f64,
) -> Vec<Anomaly> {
    let (catalog, mut rng, mut raised) = (SeriesCatalog::default(), Rng::from_seed(61), Vec::new());
    let topology = Arc::new(topology());
    for step in 0..minutes * 6 {
        let at = Timestamp::from_secs(step * 10);
        let mut samples = Vec::new();
        for service in ["gateway", "orders", "database", "mail", "search", "billing"] {
            for metric in ["cpu", "latency"] {
                let key = SeriesKey::new(metric).with("service", service);
                let value = 1.0 + 0.2 * rng.unit() + fault(service, step * 10);
                samples.push(Sample {
                    series: catalog.intern(&key),
                    at,
                    value,
                });
            }
        }
        let cx = Context::new(Arc::new(ManualClock::new(at)), 1).in_topology(Arc::clone(&topology));
        let batch = SignalBatch::empty(&catalog).with_samples(&samples);
        raised.extend(watch.detect(&cx, batch).await.unwrap());
    }
    raised
}

#[tokio::test]
async fn a_failure_that_runs_up_the_calls_is_one_anomaly_of_its_deepest_service() {
    let mut watch = watch();
    let begins = |service: &str| match service {
        "database" => Some(6000),
        "orders" => Some(6030),
        "gateway" => Some(6050),
        _ => None,
    };
    let raised = show(&mut watch, 110, |service, secs| match begins(service) {
        Some(begin) if secs >= begin => 3.0 + 0.01 * (secs - begin) as f64,
        _ => 0.0,
    })
    .await;
    let anomaly = raised.last().unwrap();
    assert!(
        raised.iter().all(|it| it.target.to_string() == "database"),
        "{raised:?}"
    );
    assert!(raised.iter().all(|it| it.violation().is_none()));
    assert_eq!(anomaly.observed, Some(6.0));
    assert_eq!(
        (anomaly.since, anomaly.contributions.len()),
        (Timestamp::from_secs(6000), 6)
    );
    assert!(anomaly.score.get() > 0.5 && anomaly.surprise > 9.2);
    let text = &anomaly.explanation;
    assert!(text.starts_with("6 series of 3 services (database, gateway, orders) began to deviate within 50s, expected 0.05"), "{text}");
    assert!(
        text.contains("of database was first, since 1970-01-01T01:40:00Z"),
        "{text}"
    );
    assert!(
        text.contains(" follows ") && text.contains("with a rank correlation of 0.9"),
        "{text}"
    );
    // It was raised when there were enough, again when the others joined and each minute while it lasted.
    assert!((2..20).contains(&raised.len()), "{}", raised.len());
}

/// A series of `service` that began at `onset` and was raised then.
fn deviating(service: &str, onset: Timestamp, points: &[f64]) -> Active {
    let times = (-128..).map(|step| Timestamp::from_secs(onset.as_nanos() / 1_000_000_000 + step));
    Active {
        target: Target::service(service).unwrap(),
        subject: Subject::Condition(service.to_owned()),
        onset,
        last: onset,
        surprise: 10.0,
        score: 0.9,
        points: times.zip(points.iter().copied()).collect(),
    }
}

#[test]
fn without_a_word_from_its_members_nothing_is_raised_again() {
    let (mut watch, topology) = (watch(), topology());
    let at = Timestamp::from_secs;
    for service in ["gateway", "orders", "database"] {
        watch.active.push(deviating(service, at(6000), &[]));
    }
    let mut n_raised = |secs| watch.judge(&topology, at(secs), &mut 9).len();
    assert_eq!((n_raised(6000), n_raised(6100), n_raised(6500)), (1, 0, 0));
    watch.active[1].last = at(6501);
    assert_eq!(watch.judge(&topology, at(6510), &mut 9).len(), 1);
    assert_eq!(watch.judge(&topology, at(6580), &mut 9).len(), 0);
}

#[test]
fn an_outage_of_hundreds_of_series_computes_a_bounded_number_of_correlations() {
    let (onset, topology, mut rng) = (Timestamp::from_secs(6000), topology(), Rng::from_seed(3));
    let wave: Vec<f64> = (0..256).map(|i| (f64::from(i) / 9.0).sin()).collect();
    let (mut alike, mut unlike) = (watch(), watch());
    for i in 0..256 {
        let service = format!("service-{i}");
        let noise: Vec<f64> = (0..256).map(|_| rng.unit()).collect();
        alike.active.push(deviating(&service, onset, &wave));
        unlike.active.push(deviating(&service, onset, &noise));
    }
    let mut left = MAX_PAIRS;
    let clusters = alike.clusters(&topology, &mut left);
    assert_eq!((clusters.len(), clusters[0].series.len()), (1, 256));
    assert_eq!(
        MAX_PAIRS - left,
        255,
        "what is connected is not asked again"
    );
    // 32 640 pairs.
    left = MAX_PAIRS;
    unlike.clusters(&topology, &mut left);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_begins_at_other_times_or_within_one_service_is_nothing() {
    let mut watch = watch();
    let raised = show(&mut watch, 110, |service, secs| match service {
        // Half an hour apart, and far from each other.
        "mail" if (3000..3060).contains(&secs) => 5.0,
        "search" if (4800..4860).contains(&secs) => 5.0,
        // Two series of one service.
        "billing" if secs >= 6000 => 5.0,
        _ => 0.0,
    })
    .await;
    assert_eq!(raised, []);
    assert!(watch.usual_onsets() >= 0.05);
}

#[tokio::test]
async fn services_without_calls_between_them_are_together_if_their_series_are() {
    let shape = |secs: i64| 3.0 + ((secs - 6000) as f64 / 60.0).sin();
    let mut watch = watch();
    let raised = show(&mut watch, 115, |service, secs| match service {
        "mail" | "search" if secs >= 6000 => shape(secs),
        _ => 0.0,
    })
    .await;
    assert!(!raised.is_empty(), "the same shape at the same time");
    let services = &raised[0].explanation;
    assert!(services.contains("(mail, search)"), "{services}");
    // At the same time, and of unlike shape: each for itself.
    let mut watch = self::watch();
    let mut rng = Rng::from_seed(7);
    let raised = show(&mut watch, 115, |service, secs| match service {
        "mail" if secs >= 6000 => 3.0 + rng.unit(),
        "search" if (6000..6040).contains(&secs) => -3.0,
        _ => 0.0,
    })
    .await;
    assert_eq!(raised, []);
}

#[tokio::test]
async fn a_noisy_system_gets_used_to_its_onsets() {
    let mut watch = watch();
    // Every ten minutes orders and gateway deviate for a minute.
    let raised = show(&mut watch, 60 * 12, |service, secs| match service {
        "orders" | "gateway" if secs > 1000 && secs % 600 < 60 => 5.0,
        _ => 0.0,
    })
    .await;
    let late = raised
        .iter()
        .filter(|anomaly| anomaly.at > Timestamp::from_secs(6 * 3600));
    assert!(watch.usual_onsets() > 0.3, "{}", watch.usual_onsets());
    assert!(!raised.is_empty() && late.count() == 0, "{raised:?}");
}

#[test]
fn every_field_out_of_range_is_named() {
    let config = CorrelatedFailuresConfig {
        window: Duration::ZERO,
        max_hops: 17,
        min_correlation: f64::NAN,
        min_series: 1,
        min_services: 0,
        limit: 0.0,
        min_rate: 0.0,
        history: Duration::ZERO,
        reraise: Some(Duration::ZERO),
        max_series: 1,
        severity_hint: None,
    };
    let error = CorrelatedFailures::new("", config).unwrap_err();
    assert_eq!(error.violations().len(), 11, "{error}");
}
