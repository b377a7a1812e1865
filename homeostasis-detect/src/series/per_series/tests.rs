use super::*;
use crate::{AlertingConfig, Ewma, EwmaConfig};
use homeostasis_core::signal::SeriesCatalog;
use homeostasis_core::{ManualClock, Rng};

fn detector() -> PerSeries<Ewma> {
    let ewma = Ewma::new(EwmaConfig::default()).unwrap();
    PerSeries::new("cpu", Selector::metric("cpu"), move |_| ewma.clone()).unwrap()
}

fn key(service: impl fmt::Display) -> SeriesKey {
    SeriesKey::new("cpu").with("service", format!("{service}"))
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn context(secs: i64) -> Context {
    Context::new(Arc::new(ManualClock::new(at(secs))), 1)
}

/// What `detector` finds in these samples, given all at once.
async fn detect(
    detector: &mut PerSeries<Ewma>,
    catalog: &SeriesCatalog,
    samples: &[(SeriesKey, i64, f64)],
) -> Vec<Anomaly> {
    let samples: Vec<Sample> = samples
        .iter()
        .map(|(key, secs, value)| Sample {
            series: catalog.intern(key),
            at: at(*secs),
            value: *value,
        })
        .collect();
    let cx = context(samples.iter().map(|s| s.at.as_nanos()).max().unwrap_or(0) / 1_000_000_000);
    let batch = SignalBatch::empty(catalog).with_samples(&samples);
    detector.detect(&cx, batch).await.unwrap()
}

fn noise(key: &SeriesKey, n: i64) -> Vec<(SeriesKey, i64, f64)> {
    let mut rng = Rng::from_seed(3);
    (0..n)
        .map(|secs| (key.clone(), secs, 0.2 + 0.02 * rng.unit()))
        .collect()
}

#[tokio::test]
async fn an_anomaly_says_what_was_expected_what_was_seen_and_since_when() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    let a = key("a");
    let mut samples = noise(&a, 100);
    samples.extend((100..105).map(|secs| (a.clone(), secs, 0.97)));
    let found = detect(&mut watch, &catalog, &samples).await;
    assert_eq!(found.len(), 1);
    let anomaly = &found[0];
    assert_eq!(anomaly.violation(), None);
    assert_eq!((anomaly.since, anomaly.at), (at(100), at(101)));
    assert_eq!(anomaly.observed, Some(0.97));
    assert!((40..=Anomaly::MAX_POINTS).contains(&anomaly.series.len()));
    assert_eq!(anomaly.series.last(), Some(&(at(101), 0.97)));
    assert_eq!(anomaly.top_feature(), "cpu{service=\"a\"}");
    let text = &anomaly.explanation;
    assert!(
        text.starts_with("cpu{service=\"a\"} is 0.97, expected 0."),
        "{text}"
    );
    assert!(text.ends_with("since 1970-01-01T00:01:40Z"), "{text}");
}

#[tokio::test]
async fn series_are_judged_apart_and_others_are_not_watched() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    let mut samples = noise(&key("a"), 100);
    samples.extend(noise(&key("b"), 100));
    samples.extend((100..105).map(|secs| (key("b"), secs, 5.0)));
    samples.push((SeriesKey::new("memory").with("service", "a"), 105, 5.0));
    samples.push((SeriesKey::new("cpu"), 105, 5.0));
    let found = detect(&mut watch, &catalog, &samples).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].target.to_string(), "b");
    assert_eq!(watch.n_series(), 2);
    assert_eq!(watch.counts().untargeted, 1);
}

#[tokio::test]
async fn a_flood_of_names_is_refused_and_silent_series_give_way() {
    let catalog = SeriesCatalog::default();
    let mut watch = detector().with_max_series(3);
    let flood: Vec<_> = (0..50).map(|i| (key(i), 10, 1.0)).collect();
    detect(&mut watch, &catalog, &flood).await;
    assert_eq!((watch.n_series(), watch.counts().refused), (3, 47));
    detect(&mut watch, &catalog, &[(key(0), 3700, 1.0)]).await;
    detect(&mut watch, &catalog, &[(key("new"), 3800, 1.0)]).await;
    assert_eq!((watch.n_series(), watch.counts().evicted), (3, 1));
    let kept: Vec<&SeriesKey> = watch.shards.iter().map(|slot| &*slot.key).collect();
    assert!(
        kept.contains(&&key("new")) && kept.contains(&&key(0)),
        "{kept:?}"
    );
}

#[tokio::test]
async fn a_sample_from_the_far_future_does_not_blind_the_detector() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    let a = key("a");
    detect(&mut watch, &catalog, &noise(&a, 100)).await;
    let future = [Sample {
        series: catalog.intern(&a),
        at: Timestamp::MAX,
        value: 0.2,
    }];
    let batch = SignalBatch::empty(&catalog).with_samples(&future);
    watch.detect(&context(100), batch).await.unwrap();
    assert_eq!(watch.counts().ahead, 1);
    let spike: Vec<_> = (100..103).map(|secs| (a.clone(), secs, 5.0)).collect();
    assert_eq!(detect(&mut watch, &catalog, &spike).await.len(), 1);
}

#[tokio::test]
async fn after_a_clock_that_was_years_ahead_is_set_back_series_are_watched_again() {
    let (mut watch, catalog) = (detector().with_max_series(2), SeriesCatalog::default());
    let (a, b, years) = (key("a"), key("b"), 100_000_000);
    detect(&mut watch, &catalog, &[(a.clone(), years, 0.2)]).await;
    detect(&mut watch, &catalog, &[(b.clone(), years + 5, 0.2)]).await;
    // A restored one is no better.
    let snapshot = watch.snapshot().unwrap();
    let mut restored = detector().with_max_series(2);
    restored.restore(&snapshot).unwrap();
    for mut watch in [watch, restored] {
        let mut samples = noise(&a, 100);
        samples.extend((100..105).map(|secs| (a.clone(), secs, 0.97)));
        let found = detect(&mut watch, &catalog, &samples).await;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].violation(), found[0].since), (None, at(100)));
        assert_eq!(watch.counts().set_back, 2);
        // The silent one gives way after its time.
        detect(&mut watch, &catalog, &[(a.clone(), 200, 0.2)]).await;
        detect(&mut watch, &catalog, &[(key("c"), 200 + 3600, 0.2)]).await;
        assert_eq!((watch.counts().evicted, watch.counts().refused), (1, 0));
        assert!(watch.shards.iter().all(|slot| *slot.key != b));
    }
}

#[tokio::test]
async fn a_clock_set_back_a_little_costs_no_model() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    let a = key("a");
    detect(&mut watch, &catalog, &noise(&a, 4000)).await;
    detect(&mut watch, &catalog, &[(a, 500, 0.2)]).await;
    assert_eq!(watch.counts().set_back, 0);
}

#[tokio::test]
async fn who_gives_way_is_who_was_silent_longest_however_many_come_and_go() {
    let (catalog, mut rng) = (SeriesCatalog::new(10_000), Rng::from_seed(6));
    let mut watch = detector()
        .with_max_series(40)
        .with_idle_after(Duration::ZERO);
    let mut seen: Vec<(i64, SeriesKey)> = Vec::new();
    for secs in 0..2000 {
        let name = if rng.below(3) == 0 {
            key(secs + 1000)
        } else {
            key(rng.below(60))
        };
        detect(&mut watch, &catalog, &[(name.clone(), secs, 0.2)]).await;
        seen.retain(|(_, known)| *known != name);
        if seen.len() == 40 {
            seen.remove(0);
        }
        seen.push((secs, name));
        // One note of each, so that looking for the next costs no pass over all.
        let n_notes = watch.shards.n_notes();
        assert!(n_notes.is_none_or(|n| n == watch.n_series()), "{n_notes:?}");
    }
    assert!(watch.shards.n_notes().is_some());
    let mut expected: Vec<_> = seen.into_iter().map(|(_, name)| name).collect();
    let mut kept: Vec<SeriesKey> = watch.shards.iter().map(|s| (*s.key).clone()).collect();
    expected.sort();
    kept.sort();
    assert_eq!(kept, expected);
    assert!(watch.counts().evicted > 500);
}

#[tokio::test]
async fn another_catalog_with_other_handles_changes_nothing() {
    let mut watch = detector();
    let (first, second) = (SeriesCatalog::default(), SeriesCatalog::default());
    let (a, b) = (key("a"), key("b"));
    detect(&mut watch, &first, &noise(&a, 100)).await;
    second.intern(&b);
    let spike: Vec<_> = (100..103).map(|secs| (a.clone(), secs, 5.0)).collect();
    assert_eq!(detect(&mut watch, &second, &spike).await.len(), 1);
    assert_eq!(watch.n_series(), 1);
}

#[tokio::test]
async fn missing_values_neither_begin_nor_end_an_alarm() {
    let catalog = SeriesCatalog::default();
    let mut watch = detector().with_alerting(
        Alerting::new(AlertingConfig {
            clear_samples: 1,
            refractory: Duration::ZERO,
            ..AlertingConfig::default()
        })
        .unwrap(),
    );
    let a = key("a");
    let mut samples = noise(&a, 100);
    for secs in 100..110 {
        let value = if secs % 2 == 0 { 1e6 } else { f64::NAN };
        samples.push((a.clone(), secs, value));
    }
    assert_eq!(detect(&mut watch, &catalog, &samples).await.len(), 1);
}

#[test]
fn a_snapshot_of_another_detector_or_shape_is_refused() {
    let mut watch = detector();
    let snapshot = watch.snapshot().unwrap();
    let other = ModelSnapshot {
        detector: "memory".to_owned(),
        ..snapshot.clone()
    };
    let older = ModelSnapshot {
        version: 1,
        ..snapshot
    };
    assert!(watch.restore(&other).is_err());
    let error = watch.restore(&older).unwrap_err();
    assert_eq!(
        error.to_string(),
        "version 1 of the snapshot: expected version 2"
    );
}

#[tokio::test]
async fn a_snapshot_that_holds_a_series_twice_is_refused() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    detect(&mut watch, &catalog, &[(key("a"), 1, 0.2)]).await;
    let mut twice = watch.snapshot().unwrap();
    let series = twice.state["series"].as_array_mut().unwrap();
    series.push(series[0].clone());
    let error = watch.restore(&twice).unwrap_err();
    let text = "cpu{service=\"a\"} in the snapshot: expected each series once";
    assert_eq!(error.to_string(), text);
    assert_eq!(watch.n_series(), 1);
}

#[tokio::test]
async fn a_model_in_parts_is_the_whole_each_series_once_and_no_part_is_larger_than_asked() {
    let (mut watch, catalog) = (detector(), SeriesCatalog::default());
    for service in 0..40 {
        detect(&mut watch, &catalog, &noise(&key(service), 50)).await;
    }
    let (max_bytes, mut from, mut n_parts) = (30_000, None, 0);
    let mut restored = detector().with_max_series(40);
    loop {
        let part = watch.snapshot_part(from.as_ref(), max_bytes).unwrap();
        let bytes = part.snapshot.state.to_string().len();
        assert!(bytes <= max_bytes + 100, "{bytes}");
        restored.restore_part(&part.snapshot).unwrap();
        n_parts += 1;
        let error = restored
            .restore_part(&part.snapshot)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("each series in one part") || error.contains("max_series"),
            "{error}"
        );
        let Some(rest) = part.rest else { break };
        assert_eq!(rest.n_left, 40 - restored.n_series());
        from = Some(rest.from);
    }
    assert!(n_parts > 2, "{n_parts}");
    assert_eq!(restored.snapshot(), watch.snapshot());
    let mut small = detector().with_max_series(39);
    let whole = watch.snapshot_part(None, usize::MAX).unwrap();
    let error = small.restore_part(&whole.snapshot).unwrap_err().to_string();
    assert!(error.starts_with("40 series in the snapshot"), "{error}");
}

/// How many bytes of JSON a part of one series has after so many samples of noise.
async fn stored_bytes<K: SeriesDetector + Clone + 'static>(kernel: K, n_samples: i64) -> usize {
    let all = Selector::all();
    let mut watch = PerSeries::new("w", all, move |_| kernel.clone()).unwrap();
    let catalog = SeriesCatalog::default();
    let key = SeriesKey::new("seconds").with("service", "orders");
    let (series, mut rng) = (catalog.intern(&key), Rng::from_seed(5));
    let sample = |n: i64| Sample {
        series,
        at: at(1_700_000_000 + 60 * n),
        value: rng.unit() + 1e-3 * rng.unit(),
    };
    let samples: Vec<Sample> = (0..n_samples).map(sample).collect();
    let batch = SignalBatch::empty(&catalog).with_samples(&samples);
    let cx = context(1_700_000_000 + 60 * n_samples);
    watch.detect(&cx, batch).await.unwrap();
    let part = watch.snapshot_part(None, 1).unwrap();
    assert_eq!((part.rest, watch.n_series()), (None, 1));
    part.snapshot.state.to_string().len()
}

#[tokio::test]
async fn a_stored_series_costs_what_the_page_says() {
    let ewma = Ewma::new(EwmaConfig::default()).unwrap();
    let bytes = stored_bytes(ewma, 1000).await;
    assert!((3_000..3_400).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_week_of_minutes_of_the_online_detector_costs_what_the_page_says() {
    let online = crate::OnlineDetector::new(crate::OnlineConfig::default()).unwrap();
    let bytes = stored_bytes(online, 10_000).await;
    assert!((130_000..150_000).contains(&bytes), "{bytes}");
}

#[test]
fn a_detector_has_a_name() {
    let error = PerSeries::new(" ", Selector::all(), |_| {
        Ewma::new(EwmaConfig::default()).unwrap()
    })
    .unwrap_err();
    assert!(error.to_string().starts_with("per_series.name = \" \""));
}

/// 3 000 services with outliers, a flood of names that come and go, and values that are missing.
fn crowd(catalog: &SeriesCatalog, rng: &mut Rng) -> Vec<Sample> {
    let mut samples = Vec::new();
    for secs in 0..40 {
        let flood = (0..20).map(|i| key(format_args!("flood-{secs}-{i}")));
        for key in (0..3000).map(key).chain(flood) {
            let value = match rng.below(1000) {
                0..=4 => 5.0,
                5 => f64::NAN,
                _ => 0.2 + 0.02 * rng.unit(),
            };
            let late = i64::from(rng.below(50) == 0) * 3;
            samples.push(Sample {
                series: catalog.intern(&key),
                at: at(100 * secs - late),
                value,
            });
        }
    }
    samples
}

#[tokio::test]
async fn any_number_of_shards_finds_the_same_in_the_same_order_and_stores_the_same() {
    let catalog = SeriesCatalog::new(10_000);
    let samples = crowd(&catalog, &mut Rng::from_seed(8));
    let make = |n_shards| {
        let ewma = Ewma::new(EwmaConfig {
            warm_up: 5,
            ..EwmaConfig::default()
        })
        .unwrap();
        let alerting = Alerting::new(AlertingConfig {
            sustain_samples: 1,
            ..AlertingConfig::default()
        });
        PerSeries::new("cpu", Selector::all(), move |_| ewma.clone())
            .unwrap()
            .with_alerting(alerting.unwrap())
            .with_max_series(3010)
            .with_idle_after(Duration::from_secs(250))
            .with_shards(n_shards)
    };
    let (mut one, mut others) = (make(1), [make(2), make(3), make(8)]);
    let mut n_found = 0;
    // Batches below and above what is worth the threads, and above one part.
    for part in [&samples[..500], &samples[500..9000], &samples[9000..]] {
        let batch = SignalBatch::empty(&catalog).with_samples(part);
        let expected = one.detect(&context(4000), batch).await.unwrap();
        n_found += expected.len();
        for other in &mut others {
            assert_eq!(other.detect(&context(4000), batch).await.unwrap(), expected);
            assert_eq!(other.counts(), one.counts());
        }
    }
    assert!(
        n_found > 300 && one.counts().evicted > 0 && one.counts().refused > 0,
        "{n_found} {one:?}"
    );
    let snapshot = one.snapshot().unwrap();
    for other in &mut others {
        assert_eq!(other.snapshot().unwrap(), snapshot);
    }
    // What one shard stored, three take up.
    let mut three = make(3);
    three.restore(&snapshot).unwrap();
    let again = SignalBatch::empty(&catalog).with_samples(&samples[..5000]);
    let expected = one.detect(&context(4000), again).await.unwrap();
    assert_eq!(three.detect(&context(4000), again).await.unwrap(), expected);
}

/// Panics at a value.
#[derive(Debug)]
struct Fragile(Ewma);

impl SeriesDetector for Fragile {
    fn update(
        &mut self,
        at: Timestamp,
        value: Option<f64>,
    ) -> homeostasis_core::stage::KernelScore {
        assert!(value != Some(13.0), "thirteen");
        self.0.update(at, value)
    }
}

#[test]
fn a_panic_of_one_shard_is_the_panic_of_the_detector_and_the_next_batch_is_clean() {
    let catalog = SeriesCatalog::new(10_000);
    let ids: Vec<_> = (0..5000).map(|i| catalog.intern(&key(i))).collect();
    let samples = |value: f64| -> Vec<Sample> {
        let sample = |series: &_| Sample {
            series: *series,
            at: at(10),
            value,
        };
        ids.iter().map(sample).collect()
    };
    let make = |_: &SeriesKey| Fragile(Ewma::new(EwmaConfig::default()).unwrap());
    let mut watch = PerSeries::new("cpu", Selector::all(), make)
        .unwrap()
        .with_shards(4);
    let mut show = |samples: &[Sample]| {
        let batch = SignalBatch::empty(&catalog).with_samples(samples);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let cx = context(20);
        let call = std::panic::AssertUnwindSafe(|| runtime.block_on(watch.detect(&cx, batch)));
        std::panic::catch_unwind(call).map(Result::unwrap)
    };
    assert!(show(&samples(0.2)).unwrap().is_empty());
    let panic = show(&samples(13.0)).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"thirteen"));
    assert!(show(&samples(0.2)).unwrap().is_empty());
}
