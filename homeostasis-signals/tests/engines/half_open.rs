//! Servers that accept and then misbehave before they say anything: no engine is needed.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::signal::{HealthState, Signal, SignalSink, VecSink};
use homeostasis::core::testing::engine::free_port;
use homeostasis::signals::{
    AmqpProbe, AmqpProbeConfig, FnProbe, PostgresProbe, PostgresProbeConfig, Probe, ProbeSchedule,
    RedisProbe, RedisProbeConfig,
};

use crate::support::proxy::{Mode, Proxy};
use crate::support::{PASSWORD, START, context, found, given_up, n_tasks, target};

/// One probe of each kind of the server at `address`.
fn probes(address: &str, timeout: Duration) -> Vec<Arc<dyn Probe>> {
    let mut postgres = PostgresProbeConfig::new("postgres", target(), address, "health");
    let mut redis = RedisProbeConfig::new("redis", target(), address);
    let mut amqp = AmqpProbeConfig::new("amqp", target(), address, "health", PASSWORD);
    postgres.password = Some(PASSWORD.into());
    redis.password = Some(PASSWORD.into());
    (postgres.timeout, postgres.slow_after) = (timeout, timeout);
    (redis.timeout, redis.slow_after) = (timeout, timeout);
    (amqp.timeout, amqp.slow_after) = (timeout, timeout);
    postgres.interval = Duration::from_millis(50);
    redis.interval = postgres.interval;
    amqp.interval = postgres.interval;
    vec![
        Arc::new(PostgresProbe::new(postgres).unwrap()),
        Arc::new(RedisProbe::new(redis).unwrap()),
        Arc::new(AmqpProbe::new(amqp).unwrap()),
    ]
}

const SOON: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_port_on_which_nobody_listens_is_refused() {
    for probe in probes(&format!("127.0.0.1:{}", free_port()), LONG) {
        let found = found(&probe).await;
        found.is_unhealthy("connection refused: 127.0.0.1:");
        assert_eq!(found.reading.value("probe_latency_seconds"), None);
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told() {
    for probe in probes("no-such-host.invalid:1", LONG) {
        found(&probe)
            .await
            .is_unhealthy("name look-up: no-such-host.invalid:1: ");
    }
}

#[tokio::test]
async fn who_accepts_and_says_nothing_is_given_up_in_time_and_left() {
    let proxy = Proxy::of_nothing(Mode::Pass).await;
    let (address, n_asked) = (proxy.address(), Cell::new(0));
    for of in 0..3 {
        let hasty = |limit| {
            n_asked.set(n_asked.get() + 1);
            probes(&address, limit).swap_remove(of)
        };
        given_up(hasty, "logging in at 127.0.0.1:").await;
        proxy.deserted().await;
    }
    assert_eq!((proxy.n_accepted(), n_tasks()), (n_asked.get(), 1));
}

#[tokio::test]
async fn who_accepts_and_closes_is_told_at_once() {
    let proxy = Proxy::of_nothing(Mode::Cut(0)).await;
    for probe in probes(&proxy.address(), LONG) {
        let found = found(&probe).await;
        found.is_unhealthy("closed: 127.0.0.1");
        assert!(found.took < LONG / 2, "{:?}", found.took);
    }
}

#[tokio::test]
async fn garbage_is_a_wrong_answer_at_once_and_not_collected() {
    let proxy = Proxy::of_nothing(Mode::Garbage).await;
    for probe in probes(&proxy.address(), LONG) {
        let found = found(&probe).await;
        found.is_unhealthy("wrong answer: 127.0.0.1");
        assert!(found.report.detail.contains("begins with"), "{found:?}");
        assert!(found.report.detail.chars().count() < 150, "{found:?}");
        assert!(found.took < LONG / 2, "{:?}", found.took);
        proxy.deserted().await;
    }
}

#[tokio::test]
async fn the_answer_of_another_protocol_is_a_wrong_answer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let page = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, page).await;
            let mut rest = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
        }
    };
    let check = async {
        for probe in probes(&address, LONG) {
            let found = found(&probe).await;
            found.is_unhealthy("wrong answer: 127.0.0.1");
            assert!(found.report.detail.contains("HTTP/1.1 400"), "{found:?}");
        }
    };
    tokio::select! {
        () = serve => {}
        () = check => {}
    }
}

#[tokio::test]
async fn stalled_probes_never_overlap_and_delay_no_other() {
    let proxy = Proxy::of_nothing(Mode::Pass).await;
    let sink = Arc::new(VecSink::default());
    let quick = FnProbe::of_state("quick", target(), |_| async {
        (HealthState::Healthy, String::new())
    });
    let schedule = ProbeSchedule::new(Arc::clone(&sink) as Arc<dyn SignalSink>);
    let stalled = probes(&proxy.address(), SOON);
    let schedule = stalled.into_iter().fold(schedule, ProbeSchedule::with);
    let schedule = schedule.with(quick.every(Duration::from_millis(20)));
    let cx = context();
    let (mut timeouts, mut quick) = (0, 0);
    let stop = async {
        while timeouts < 9 {
            tokio::time::sleep(SOON / 10).await;
            for signal in sink.take() {
                match signal {
                    Signal::Health(report) if report.check == "quick" => quick += 1,
                    Signal::Health(report) => {
                        assert!(report.detail.starts_with("timeout: "), "{report:?}");
                        timeouts += 1;
                    }
                    _ => {}
                }
            }
        }
        cx.cancellation().cancel();
    };
    let stopped = async { tokio::join!(schedule.run(&cx), stop) };
    tokio::time::timeout(START, stopped).await.unwrap();
    proxy.deserted().await;
    // One of each may have been under way: none was asked again before it was given up.
    assert!(
        (timeouts..=timeouts + 3).contains(&proxy.n_accepted()),
        "{timeouts}, {}",
        proxy.n_accepted()
    );
    // Fifteen times as often as one of those, on a machine that has nothing else to do.
    assert!(quick > timeouts, "{quick}, {timeouts}");
    assert_eq!(n_tasks(), 1);
}
