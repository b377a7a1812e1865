//! The probe of Redis against a real server.

use std::time::Duration;

use homeostasis::core::signal::HealthState;
use homeostasis::core::testing::engine::free_port;
use homeostasis::signals::{RedisProbe, RedisProbeConfig};

use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::{PASSWORD, found, found_in_time, given_up, n_tasks};

fn probe(config: RedisProbeConfig) -> RedisProbe {
    RedisProbe::new(config).unwrap()
}

/// The probe of such settings, given so much time.
fn within(config: RedisProbeConfig) -> impl Fn(Duration) -> RedisProbe {
    move |limit| {
        let (timeout, slow_after) = (limit, limit);
        probe(RedisProbeConfig {
            timeout,
            slow_after,
            ..config.clone()
        })
    }
}

#[tokio::test]
async fn a_running_server_answers_and_a_refusal_says_what_is_wrong() {
    let Some(server) = Redis::start(&[]) else {
        return;
    };
    let config = server.config();
    let good = probe(config.clone());
    found(&good)
        .await
        .is(HealthState::Healthy, "SET, GET and DEL answered");
    assert_eq!(server.cli(&["DBSIZE"]), "0");

    let mut wrong = config.clone();
    wrong.password = None;
    found(&probe(wrong))
        .await
        .is_unhealthy("auth: SET: NOAUTH ");
    let mut wrong = config.clone();
    wrong.password = Some("no such password".into());
    found(&probe(wrong))
        .await
        .is_unhealthy("auth: AUTH: WRONGPASS");
    let mut wrong = config.clone();
    wrong.database = 99;
    found(&probe(wrong))
        .await
        .is_unhealthy("refused: SELECT: ERR ");

    let may = [
        "ACL",
        "SETUSER",
        "health",
        "on",
        &format!(">{PASSWORD}"),
        "~homeostasis:probe:*",
    ];
    server.cli(&[&may[..], &["+set", "+get", "+del", "+select"]].concat());
    let mut user = config.clone();
    user.user = Some("health".to_owned());
    user.database = 3;
    found(&probe(user.clone())).await.is_healthy();
    user.key_prefix = "elsewhere:".to_owned();
    found(&probe(user)).await.is_unhealthy("auth: SET: NOPERM ");

    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    found(&good).await.is_unhealthy("out of memory: SET: OOM ");
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    found(&good)
        .await
        .is_unhealthy("too few replicas: SET: NOREPLICAS ");
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);

    let mut replica = config;
    replica.writable = false;
    let replica = probe(replica);
    found(&replica)
        .await
        .is(HealthState::Healthy, "GET answered");
    server.cli(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    found(&good).await.is_unhealthy("read-only: SET: READONLY ");
    found(&replica).await.is_healthy();
    server.cli(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    found(&replica)
        .await
        .is_unhealthy("primary down: GET: MASTERDOWN ");
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    found(&good).await.is_healthy();
    assert_eq!(server.cli(&["DBSIZE"]), "0");

    server.cli(&["CONFIG", "SET", "maxclients", "1"]);
    let held = tokio::net::TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    let refused = "too many connections: ";
    found_in_time(&good, |now| now.report.detail.starts_with(refused))
        .await
        .is_unhealthy(refused);
    drop(held);
    found_in_time(&good, |now| now.report.is_up())
        .await
        .is_healthy();
}

#[tokio::test]
async fn a_server_without_authentication_does_not_make_us_tell_the_password() {
    // Both what has no password and what does not know AUTH at all, which repeats its arguments.
    for settings in [
        &["--requirepass", ""][..],
        &["--rename-command", "AUTH", ""],
    ] {
        let Some(server) = Redis::start(settings) else {
            return;
        };
        let now = found(&probe(server.config())).await;
        assert!(!now.report.is_up(), "{now:?}");
        assert!(now.report.detail.contains("AUTH"), "{now:?}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_ends_loads_and_returns_is_followed_by_the_same_probe() {
    let Some(mut server) = Redis::start(&[]) else {
        return;
    };
    let patient = probe(server.config());
    let hasty = within(server.config());
    found(&patient).await.is_healthy();

    server.engine().pause();
    given_up(&hasty, "logging in at").await;
    server.engine().resume();
    found(&patient).await.is_healthy();

    server.cli(&["DEBUG", "POPULATE", "1000"]);
    server.cli(&["SAVE"]);
    server.kill();
    found(&patient).await.is_unhealthy("connection refused: ");
    // 5 ms for each key; it answers between chunks of what it loads.
    server.launch(&[
        "--key-load-delay",
        "5000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let loading = found_in_time(&patient, |now| now.report.detail.contains("LOADING")).await;
    loading.is_unhealthy("starting up: ");
    found_in_time(&patient, |now| now.report.is_up())
        .await
        .is_healthy();
    assert_eq!(n_tasks(), 0);
}

#[tokio::test]
async fn a_network_that_misbehaves_is_named_and_leaves_nothing_behind() {
    let Some(server) = Redis::start(&[]) else {
        return;
    };
    let proxy = Proxy::before(server.port, Mode::Pass).await;
    let mut config = server.config();
    config.address = proxy.address();
    let patient = probe(config.clone());
    found(&patient).await.is_healthy();

    config.slow_after = Duration::from_millis(50);
    proxy.set(Mode::Delay(Duration::from_millis(30)));
    let slow = found(&probe(config.clone())).await;
    slow.is(HealthState::Degraded, "SET, GET and DEL answered after ");

    // Another value of the same length, and none.
    proxy.set(Mode::Rewrite(|piece| {
        let mut piece = piece.to_vec();
        if piece.starts_with(b"$") {
            let at = piece.len() - 3;
            piece[at] = b'!';
        }
        piece
    }));
    found(&patient).await.is_unhealthy("wrong value: ");
    proxy.set(Mode::Rewrite(|piece| {
        let piece: &[u8] = if piece[0] == b'$' { b"$-1\r\n" } else { piece };
        piece.to_vec()
    }));
    found(&patient).await.is_unhealthy("wrong value: ");
    // Nothing of it stays once it expired; this one deletes at once what an asking left.
    assert_eq!(server.cli(&["DBSIZE"]), "2");
    let keys = server.cli(&["KEYS", "homeostasis:probe:*"]);
    for key in keys.lines() {
        let left: i64 = server.cli(&["PTTL", key]).parse().unwrap();
        assert!((1..=20_000).contains(&left), "{left}");
    }
    for lie in [
        |_: &[u8]| b"+OK\r\n+OK\r\n:7\r\n".to_vec(),
        |_: &[u8]| b"+maybe\r\n".to_vec(),
        |_: &[u8]| b"+OK\r\n+OK\r\n$999999999\r\n".to_vec(),
        |_: &[u8]| b"+OK\r\n+OK\r\n$3\r\nabcdefg".to_vec(),
        |_: &[u8]| b"+OK\r\n+OK\r\n$x\r\n".to_vec(),
        |_: &[u8]| b"+OK\r\n*1\r\n:1\r\n".to_vec(),
    ] {
        proxy.set(Mode::Rewrite(lie));
        found(&patient).await.is_unhealthy("wrong answer: ");
    }

    let hasty = within(config);
    // An answer to AUTH and SET has 5 bytes.
    for (after, stage) in [
        (0, "logging in at"),
        (3, "logging in at"),
        (5, "waiting for SET from"),
        (10, "waiting for GET from"),
        (14, "waiting for GET from"),
    ] {
        proxy.set(Mode::Stall(after));
        given_up(&hasty, stage).await;
        proxy.set(Mode::Cut(after));
        let now = found(&patient).await;
        // A line that breaks off is known to be broken.
        let named = ["closed: ", "wrong answer: "];
        assert!(
            named.iter().any(|n| now.report.detail.starts_with(n)),
            "{now:?}"
        );
        proxy.deserted().await;
    }
    assert_eq!(n_tasks(), 1);
    proxy.set(Mode::Pass);
    found(&patient).await.is_healthy();
}
