//! The probe of `PostgreSQL` against a real server.

use std::time::Duration;

use homeostasis::core::signal::HealthState;
use homeostasis::signals::{PostgresProbe, PostgresProbeConfig};

use crate::support::postgres::Postgres;
use crate::support::proxy::{Mode, Proxy};
use crate::support::{START, found, found_in_time, given_up, n_tasks};

fn probe(config: PostgresProbeConfig) -> PostgresProbe {
    PostgresProbe::new(config).unwrap()
}

/// The probe of such settings, given so much time.
fn within(config: PostgresProbeConfig) -> impl Fn(Duration) -> PostgresProbe {
    move |limit| {
        let (timeout, slow_after) = (limit, limit);
        probe(PostgresProbeConfig {
            timeout,
            slow_after,
            ..config.clone()
        })
    }
}

#[tokio::test]
async fn a_running_server_answers_and_a_refusal_says_what_is_wrong() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let config = server.config();
    let good = probe(config.clone());
    let now = found(&good).await;
    now.is(HealthState::Healthy, "SELECT 1 answered");
    assert_eq!(
        now.reading.measurements[0].key.to_string(),
        r#"up{check="db",service="shop"}"#
    );
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'homeostasis'";
    for _ in 0..500 {
        if server.sql(ours) == "0" {
            break;
        }
    }
    assert_eq!(server.sql(ours), "0");

    let mut wrong = config.clone();
    wrong.password = Some("no such password".into());
    found(&probe(wrong)).await.is_unhealthy("auth: ");
    let mut wrong = config.clone();
    wrong.password = None;
    found(&probe(wrong)).await.is_unhealthy("auth: ");
    let mut wrong = config.clone();
    wrong.user = "nobody".to_owned();
    found(&probe(wrong)).await.is_unhealthy("auth: ");
    let mut wrong = config.clone();
    wrong.database = Some("nowhere".to_owned());
    let now = found(&probe(wrong)).await;
    now.is_unhealthy("database missing: database \"nowhere\"");
    assert!(now.reading.value("probe_latency_seconds").is_some());

    server.sql("ALTER ROLE health CONNECTION LIMIT 0");
    found(&good).await.is_unhealthy("too many connections: ");
    server.sql("ALTER ROLE health CONNECTION LIMIT -1");

    server.sql("ALTER ROLE health SET default_transaction_read_only = on");
    found(&good)
        .await
        .is_unhealthy("read-only: transaction_read_only is on");
    let mut reading = config;
    reading.writable = false;
    found(&probe(reading)).await.is_healthy();
    server.sql("ALTER ROLE health RESET default_transaction_read_only");
    found(&good).await.is_healthy();
}

#[tokio::test]
async fn a_server_that_hangs_ends_and_returns_is_followed_by_the_same_probe() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let patient = probe(server.config());
    found(&patient).await.is_healthy();

    server.engine().pause();
    given_up(within(server.config()), "logging in at").await;
    server.engine().resume();
    found(&patient).await.is_healthy();

    // It waits for who is logged in, and lets nobody in any more.
    let session = server.session();
    server.engine().signal("TERM");
    let leaving = "shutting down: ";
    found_in_time(&patient, |now| now.report.detail.starts_with(leaving))
        .await
        .is_unhealthy(leaving);
    drop(session);
    server.kill();
    found(&patient).await.is_unhealthy("connection refused: ");
    server.launch();
    found_in_time(&patient, |now| now.report.is_up())
        .await
        .is_healthy();
    assert_eq!(n_tasks(), 0);
}

#[tokio::test]
async fn a_network_that_misbehaves_is_named_and_leaves_nothing_behind() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let proxy = Proxy::before(server.port(), Mode::Pass).await;
    let mut config = server.config();
    config.address = proxy.address();
    let patient = probe(config.clone());
    found(&patient).await.is_healthy();

    config.slow_after = Duration::from_millis(100);
    let delay = Duration::from_millis(60);
    proxy.set(Mode::Delay(delay));
    let slow = found(&probe(config.clone())).await;
    slow.is(HealthState::Degraded, "SELECT 1 answered after ");
    assert!(slow.took >= delay * 2);

    proxy.set(Mode::Rewrite(|piece| {
        // The cell: its length 1, then its text.
        let text = piece.to_vec();
        let at = text.windows(5).position(|five| five == b"\0\0\0\x011");
        let mut text = text;
        if let Some(at) = at {
            text[at + 4] = b'2';
        }
        text
    }));
    let wrong = found(&patient).await;
    wrong.is_unhealthy("wrong answer: SELECT 1 gave Some(\"2\")");

    let hasty = within(config);
    // After the greeting, in the log-in, and in the answer.
    for (after, during) in [
        (0, "logging in at"),
        (20, "logging in at"),
        (600, ""),
        (640, ""),
    ] {
        proxy.set(Mode::Stall(after));
        given_up(&hasty, during).await;
        proxy.set(Mode::Cut(after));
        let now = found(&patient).await;
        now.is_unhealthy("closed: ");
        proxy.deserted().await;
    }
    // The loop that accepts for the proxy.
    assert_eq!(n_tasks(), 1);
    proxy.set(Mode::Pass);
    found(&patient).await.is_healthy();
}

#[tokio::test]
async fn a_standby_is_read_only_and_its_lag_is_measured() {
    let Some(primary) = Postgres::start() else {
        return;
    };
    primary.sql("GRANT pg_monitor TO health");
    let mut standby = primary.standby();
    let mut config = standby.config();
    found(&probe(config.clone()))
        .await
        .is_unhealthy("read-only: in recovery");

    config.writable = false;
    config.max_replication_lag = Some(Duration::from_millis(300));
    let following = probe(config);
    let lag = "postgres_replication_lag_seconds";
    let level = found_in_time(&following, |now| now.reading.value(lag) == Some(0.0)).await;
    level.is_healthy();

    let mut config = primary.config();
    config.max_replication_lag = Some(START);
    let leading = probe(config);
    primary.sql("CREATE TABLE shipments ()");
    let there = "SELECT to_regclass('shipments') IS NOT NULL";
    standby.wait_until(there);
    standby.sql("SELECT pg_wal_replay_pause()");
    primary.sql("CREATE TABLE orders ()");
    let behind = found_in_time(&following, |now| now.report.state == HealthState::Degraded).await;
    behind.is(HealthState::Degraded, "replication lag: ");
    assert!(behind.reading.value(lag).unwrap() > 0.3);
    let seen = found_in_time(&leading, |now| now.reading.value(lag) > Some(0.0)).await;
    seen.is_healthy();
    assert!(seen.reading.value(lag).unwrap() > 0.0);

    standby.sql("SELECT pg_wal_replay_resume()");
    found_in_time(&following, |now| now.report.state == HealthState::Healthy)
        .await
        .is_healthy();
}
