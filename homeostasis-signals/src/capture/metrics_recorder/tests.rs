//! The recorder through the macros of the facade.

use homeostasis_core::ManualClock;
use metrics::{counter, gauge, histogram, with_local_recorder};

use super::*;

fn recorder() -> MetricsRecorder {
    MetricsRecorder::new(Target::instance("shop", "0").unwrap())
}

fn look(recorder: &MetricsRecorder, secs: i64) -> Vec<(String, f64)> {
    let measurements = recorder.registry.look(Timestamp::from_secs(secs));
    measurements
        .into_iter()
        .map(|measurement| (measurement.key.to_string(), measurement.value))
        .collect()
}

#[test]
fn counters_are_rates_gauges_their_latest_and_histograms_quantiles() {
    let recorder = recorder();
    with_local_recorder(&recorder, || counter!("orders_total").increment(7));
    assert_eq!(look(&recorder, 0), []);
    with_local_recorder(&recorder, || {
        counter!("orders_total", "kind" => "gift").increment(3);
        counter!("orders_total").absolute(27);
        let depth = gauge!("queue.depth");
        depth.set(5.0);
        depth.increment(2.0);
        depth.decrement(4.0);
        drop(gauge!("never_set"));
        let latency = histogram!("latency_seconds");
        latency.record_many(0.1, 98);
        latency.record_many(3.0, 2);
    });
    let of =
        |metric: &str, labels: &str| format!(r#"{metric}{{instance="0",{labels}service="shop"}}"#);
    let seen = look(&recorder, 10);
    assert_eq!(seen[4], (of("orders_rate", ""), 2.0));
    assert_eq!(seen[3], (of("orders_rate", r#"kind="gift","#), 0.3));
    assert_eq!(seen[5], (of("queue_depth", ""), 3.0));
    for (place, word, expected) in [(0, "p50", 0.1), (1, "p95", 0.1), (2, "p99", 3.0)] {
        assert_eq!(seen[place].0, of(&format!("latency_{word}_seconds"), ""));
        assert!((seen[place].1 - expected).abs() <= expected / 64.0);
    }
    assert_eq!(seen.len(), 6);
    // A second asking at the same instant has no interval and takes nothing away.
    with_local_recorder(&recorder, || counter!("orders_total").increment(10));
    assert_eq!(look(&recorder, 10), [(of("queue_depth", ""), 3.0)]);
    assert_eq!(
        look(&recorder, 20),
        [
            (of("orders_rate", r#"kind="gift","#), 0.0),
            (of("orders_rate", ""), 1.0),
            (of("queue_depth", ""), 3.0)
        ]
    );
}

#[test]
fn the_order_of_labels_makes_no_other_series_and_the_target_names_the_service() {
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        counter!("n", "a" => "1", "b" => "2").increment(1);
        counter!("n", "b" => "2", "a" => "1").increment(1);
        counter!("n", "b" => "2", "a" => "1", "service" => "other").increment(1);
    });
    assert_eq!(recorder.n_series(), 1);
    look(&recorder, 0);
    with_local_recorder(&recorder, || {
        counter!("n", "b" => "2", "a" => "1").increment(5);
    });
    assert_eq!(look(&recorder, 1)[0].1, 5.0);
}

#[test]
fn a_label_explosion_is_bounded_and_loses_no_count() {
    let recorder = recorder().max_series(10);
    look(&recorder, 0);
    with_local_recorder(&recorder, || {
        for user in 0..1000 {
            counter!("hits", "user" => user.to_string()).increment(1);
            gauge!("level", "user" => user.to_string()).set(1.0);
        }
        for name in 0..1000 {
            histogram!(format!("h{name}")).record(1.0);
        }
    });
    assert!(recorder.n_series() <= 21, "{}", recorder.n_series());
    assert!(recorder.overflowed() > 2900);
    let seen = look(&recorder, 1);
    let rates = seen
        .iter()
        .filter(|(name, _)| name.starts_with("hits_rate"));
    assert_eq!(rates.map(|(_, rate)| rate).sum::<f64>(), 1000.0);
    assert!(
        seen.iter()
            .any(|(name, _)| name.contains("overflow=\"true\""))
    );
}

#[test]
fn a_label_explosion_takes_no_write_lock_once_no_more_is_remembered() {
    let recorder = recorder().max_series(2);
    let explode = |recorder: &MetricsRecorder, users: std::ops::Range<u32>| {
        with_local_recorder(recorder, || {
            for user in users {
                counter!("hits", "user" => user.to_string()).increment(1);
                gauge!("level", "user" => user.to_string()).set(1.0);
                histogram!("size", "user" => user.to_string()).record(1.0);
            }
        });
    };
    explode(&recorder, 0..10);
    let before = recorder.overflowed();
    let reading = recorder.registry.read();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn({
        let recorder = recorder.clone();
        move || {
            explode(&recorder, 10..20);
            tell.send(()).unwrap();
        }
    });
    let in_time = told.recv_timeout(Duration::from_secs(20));
    drop(reading);
    thread.join().unwrap();
    in_time.expect("it waits for the reader");
    assert_eq!(recorder.overflowed(), before + 30);
}

#[test]
fn the_host_s_recorder_sees_what_it_saw_alone() {
    #[derive(Clone, Default)]
    struct Host(Arc<Mutex<Vec<String>>>);
    struct Handle(String, Host);
    impl Host {
        fn note(&self, what: String) {
            self.0.lock().unwrap().push(what);
        }
    }
    impl CounterFn for Handle {
        fn increment(&self, by: u64) {
            self.1.note(format!("{} +{by}", self.0));
        }
        fn absolute(&self, value: u64) {
            self.1.note(format!("{} ={value}", self.0));
        }
    }
    impl GaugeFn for Handle {
        fn increment(&self, by: f64) {
            self.1.note(format!("{} +{by}", self.0));
        }
        fn decrement(&self, by: f64) {
            self.1.note(format!("{} -{by}", self.0));
        }
        fn set(&self, value: f64) {
            self.1.note(format!("{} ={value}", self.0));
        }
    }
    impl HistogramFn for Handle {
        fn record(&self, value: f64) {
            self.1.note(format!("{} {value}", self.0));
        }
    }
    impl Recorder for Host {
        fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
            self.note(format!("{} {unit:?} {text}", name.as_str()));
        }
        fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
            self.describe_counter(name, unit, text);
        }
        fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
            self.describe_counter(name, unit, text);
        }
        fn register_counter(&self, key: &Key, meta: &Metadata<'_>) -> Counter {
            let name = format!("{key} of {:?}", meta.module_path());
            Counter::from_arc(Arc::new(Handle(name, self.clone())))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Arc::new(Handle(key.to_string(), self.clone())))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(Arc::new(Handle(key.to_string(), self.clone())))
        }
    }
    let work = || {
        metrics::describe_counter!("hits", Unit::Count, "how often");
        metrics::describe_gauge!("level", "how high");
        metrics::describe_histogram!("size", Unit::Bytes, "how big");
        for user in 0..5 {
            let hits = counter!("hits", "user" => user.to_string());
            hits.increment(2);
            hits.absolute(9);
        }
        let level = gauge!("level");
        level.set(1.5);
        level.increment(1.0);
        level.decrement(0.5);
        histogram!("size").record(10.0);
        histogram!("size").record_many(3.0, 2);
    };
    let alone = Host::default();
    with_local_recorder(&alone, work);
    let behind = Host::default();
    // Room for one: what ours refuses still reaches the host.
    let ours = recorder().max_series(1).before(behind.clone());
    with_local_recorder(&ours, work);
    assert_eq!(*behind.0.lock().unwrap(), *alone.0.lock().unwrap());
    assert_eq!(alone.0.lock().unwrap().len(), 19);
}

#[tokio::test]
async fn many_threads_record_through_handles_and_the_probe_counts_each_once() {
    let recorder = recorder();
    let clock = ManualClock::new(Timestamp::EPOCH);
    let cx = Context::new(Arc::new(clock.clone()), 1);
    let probe = recorder.probe();
    probe.probe(&cx).await;
    let mut total = 0.0;
    let (hits, level) = with_local_recorder(&recorder, || (counter!("hits"), gauge!("level")));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (hits, level) = (hits.clone(), level.clone());
            std::thread::spawn(move || {
                for _ in 0..50_000 {
                    hits.increment(1);
                    level.increment(1.0);
                }
            })
        })
        .collect();
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        clock.advance(Duration::from_secs(1));
        total += probe.probe(&cx).await.value("hits_rate").unwrap();
    }
    clock.advance(Duration::from_secs(1));
    let reading = probe.probe(&cx).await;
    assert_eq!(total + reading.value("hits_rate").unwrap(), 200_000.0);
    assert_eq!(reading.value("level"), Some(200_000.0));
}

#[test]
fn a_handle_records_without_allocating() {
    let recorder = recorder();
    let (hits, level, size) = with_local_recorder(&recorder, || {
        (counter!("hits"), gauge!("level"), histogram!("size"))
    });
    let counted = allocation_counter::measure(|| {
        for n in 0..1000_u32 {
            hits.increment(1);
            level.set(f64::from(n));
            size.record(f64::from(n));
        }
    });
    assert_eq!(counted.count_total, 0);
    let again = allocation_counter::measure(|| {
        drop(with_local_recorder(
            &recorder,
            || counter!("hits", "kind" => "static"),
        ));
        with_local_recorder(&recorder, || counter!("hits").increment(1));
    });
    let known = allocation_counter::measure(|| {
        with_local_recorder(&recorder, || {
            counter!("hits", "kind" => "static").increment(1);
        });
    });
    assert!(again.count_total > 0);
    assert_eq!(known.count_total, 0);
}
