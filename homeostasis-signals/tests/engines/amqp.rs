//! The probe of AMQP against a real `RabbitMQ`.

use std::time::Duration;

use homeostasis::core::signal::HealthState;
use homeostasis::signals::{AmqpProbe, AmqpProbeConfig};

use crate::support::proxy::{Mode, Proxy};
use crate::support::rabbit::Rabbit;
use crate::support::{PASSWORD, START, found, found_in_time, given_up, n_tasks};

fn probe(config: AmqpProbeConfig) -> AmqpProbe {
    AmqpProbe::new(config).unwrap()
}

/// The probe of such settings, given so much time.
fn within(config: AmqpProbeConfig) -> impl Fn(Duration) -> AmqpProbe {
    move |limit| {
        let (timeout, slow_after) = (limit, limit);
        probe(AmqpProbeConfig {
            timeout,
            slow_after,
            ..config.clone()
        })
    }
}

#[tokio::test]
async fn a_broker_in_all_its_states_is_named_by_the_same_probe() {
    let Some(mut broker) = Rabbit::start() else {
        return;
    };
    let config = broker.config();
    let good = probe(config.clone());
    let now = found(&good).await;
    now.is(
        HealthState::Healthy,
        "published, confirmed, consumed and acknowledged",
    );
    assert_eq!(
        broker
            .ctl(&["list_queues", "name", "--no-table-headers"])
            .trim(),
        ""
    );

    let mut wrong = config.clone();
    wrong.password = "no such password".into();
    found(&probe(wrong)).await.is_unhealthy("auth: 403 ");
    let mut wrong = config.clone();
    wrong.vhost = "nowhere".to_owned();
    found(&probe(wrong))
        .await
        .is_unhealthy("vhost missing: 530 ");
    broker.ctl(&["add_user", "guarded", PASSWORD]);
    let mut guarded = config.clone();
    guarded.user = "guarded".to_owned();
    let guarded = probe(guarded);
    found(&guarded).await.is_unhealthy("auth: 530 ");
    broker.ctl(&[
        "set_permissions",
        "guarded",
        "^homeostasis\\.",
        "",
        "^homeostasis\\.",
    ]);
    found(&guarded).await.is_unhealthy("channel closed: 403 ");
    broker.ctl(&[
        "set_permissions",
        "guarded",
        "^homeostasis\\.",
        "^amq\\.default$",
        "^homeostasis\\.",
    ]);
    found(&guarded).await.is_healthy();
    broker.ctl(&["set_vhost_limits", r#"{"max-connections": 0}"#]);
    found(&good)
        .await
        .is_unhealthy("too many connections: 530 ");
    broker.ctl(&["clear_vhost_limits"]);

    broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]);
    let blocked = "blocked: low on memory";
    found_in_time(&good, |now| now.report.detail.starts_with(blocked))
        .await
        .is_unhealthy(blocked);
    broker.ctl(&["set_vm_memory_high_watermark", "0.9"]);
    found_in_time(&good, |now| now.report.is_up())
        .await
        .is_healthy();

    broker.engine().pause();
    given_up(within(config), "logging in at ").await;
    broker.engine().resume();
    found(&good).await.is_healthy();
    broker.kill();
    // Its listener closes when the last of its processes is gone.
    let refused = "connection refused: ";
    found_in_time(&good, |now| now.report.detail.starts_with(refused))
        .await
        .is_unhealthy(refused);
    broker.launch();
    found_in_time(&good, |now| now.report.is_up())
        .await
        .is_healthy();
    assert_eq!(n_tasks(), 0);
}

#[tokio::test]
async fn a_network_that_misbehaves_is_named_and_leaves_nothing_behind() {
    let Some(broker) = Rabbit::start() else {
        return;
    };
    let proxy = Proxy::before(broker.port, Mode::Pass).await;
    let mut config = broker.config();
    config.address = proxy.address();
    let patient = probe(config.clone());
    found(&patient).await.is_healthy();

    config.slow_after = Duration::from_millis(100);
    proxy.set(Mode::Delay(Duration::from_millis(30)));
    let slow = found(&probe(config.clone())).await;
    slow.is(
        HealthState::Degraded,
        "published, confirmed, consumed and acknowledged after ",
    );

    proxy.set(Mode::Rewrite(|piece| {
        // The last byte of the content, in the body's frame.
        let mut piece = piece.to_vec();
        let body = piece.windows(3).rposition(|three| three == b"\x03\0\x01");
        if let Some(at) = body {
            piece[at + 7] ^= 1;
        }
        piece
    }));
    found(&patient).await.is_unhealthy("wrong content: ");

    let hasty = within(config);
    // In the greeting, after the log-in.
    for after in [0, 5, 300, 600] {
        proxy.set(Mode::Stall(after));
        given_up(&hasty, "").await;
        proxy.set(Mode::Cut(after));
        found(&patient).await.is_unhealthy("closed: ");
        proxy.deserted().await;
    }
    assert_eq!(n_tasks(), 1);
    proxy.set(Mode::Pass);
    found(&patient).await.is_healthy();
    // Their queues went with their connections, at the latest when their heartbeats failed.
    let mut queues = String::new();
    for _ in 0..START.as_secs() {
        queues = broker.ctl(&["list_queues", "name", "--no-table-headers"]);
        if queues.trim().is_empty() {
            return;
        }
    }
    panic!("queues were left behind: {queues}");
}
