//! Answers of servers, over a real socket: the first byte chooses who asks, the rest is what the
//! server says before it closes the connection.
#![no_main]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use homeostasis::core::{Context, ManualClock, Target, Timestamp};
use homeostasis::signals::{
    AmqpProbe, AmqpProbeConfig, HttpProbe, HttpProbeConfig, HyperClient, PostgresProbe,
    PostgresProbeConfig, Probe, RedisProbe, RedisProbeConfig, ask,
};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

static ASKED: AtomicU32 = AtomicU32::new(0);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
});

fn probe(kind: u8, address: &str) -> Box<dyn Probe> {
    let target = Target::service("fuzzed").unwrap();
    match kind % 4 {
        0 => {
            let mut config = RedisProbeConfig::new("redis", target, address);
            config.password = Some("pass".into());
            Box::new(RedisProbe::new(config).unwrap())
        }
        1 => Box::new(
            AmqpProbe::new(AmqpProbeConfig::new(
                "amqp", target, address, "guest", "guest",
            ))
            .unwrap(),
        ),
        2 => {
            let config = PostgresProbeConfig::new("postgres", target, address, "user");
            Box::new(PostgresProbe::new(config).unwrap())
        }
        _ => {
            let client = HyperClient::new(Arc::new(ManualClock::new(Timestamp::EPOCH)));
            let config = HttpProbeConfig::new("http", target, format!("http://{address}/"));
            Box::new(HttpProbe::new(config, Arc::new(client)).unwrap())
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, answer)) = data.split_first() else {
        return;
    };
    RUNTIME.block_on(async {
        // An address of its own each time: ports of closed connections rest for a minute.
        let n = ASKED.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.{}.{}:0", n / 250 % 250, n % 250 + 1);
        let listener = TcpListener::bind(address).await.unwrap();
        let probe = probe(*kind, &listener.local_addr().unwrap().to_string());
        let cx = Context::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 7);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 512];
            // Whoever speaks first: AMQP, Redis, PostgreSQL and HTTP clients all do.
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        };
        let mut asking = std::pin::pin!(ask(&*probe, &cx));
        // A probe that gets no port does not come to the server, which would wait for ever.
        let reading = tokio::select! {
            reading = &mut asking => reading,
            () = server => asking.await,
        };
        assert_eq!(
            reading.reports().count(),
            1,
            "every asking ends with one report"
        );
    });
});
