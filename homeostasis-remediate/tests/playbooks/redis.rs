//! Faults of a real Redis server.

use std::process::Command;
use std::time::Duration;

use homeostasis_core::testing::engine::{Engine, Scratch, find, free_port};
use homeostasis_remediate::action::{
    ActionRegistry, RedisDeleteKeys, RedisKillClients, RedisMemoryPurge, RedisPromoteReplica,
    RedisServerConfig, RedisServers, RedisSetConfig,
};
use redis::{Connection, FromRedisValue, RedisResult};

use crate::application::until;
use crate::clinic::heal;
use crate::host::{example, shop};

struct Server {
    engine: Option<Engine>,
    port: u16,
    _scratch: Scratch,
}

impl Server {
    /// None if it is not installed.
    fn start(more: &[&str]) -> Option<Self> {
        let program = find("redis-server", &["/usr/local/bin"])?;
        let (port, scratch) = (free_port(), Scratch::new());
        #[expect(clippy::disallowed_methods, reason = "a test runs a real server")]
        let mut command = Command::new(program);
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]);
        command
            .args(["--repl-diskless-sync-delay", "0", "--dir"])
            .arg(scratch.path());
        let mut engine = Engine::start({
            command.args(more);
            command
        });
        engine.wait_for_port(port, Duration::from_secs(60));
        Some(Self {
            engine: Some(engine),
            port,
            _scratch: scratch,
        })
    }

    fn connect(&self) -> RedisResult<Connection> {
        redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?.get_connection()
    }

    fn run<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        redis::cmd(words[0])
            .arg(&words[1..])
            .query(&mut self.connect()?)
    }

    fn registry(&self, name: &str) -> ActionRegistry {
        let mut config = RedisServerConfig::new(shop(), format!("127.0.0.1:{}", self.port));
        config.deletable = vec!["prices:".to_owned()];
        config.evictable = true;
        let servers = RedisServers::default().server(name, config).unwrap();
        let mut actions = ActionRegistry::default();
        actions
            .register(RedisSetConfig::new(servers.clone()))
            .unwrap();
        actions
            .register(RedisMemoryPurge::new(servers.clone()))
            .unwrap();
        actions
            .register(RedisDeleteKeys::new(servers.clone()))
            .unwrap();
        actions
            .register(RedisKillClients::new(servers.clone()))
            .unwrap();
        actions.register(RedisPromoteReplica::new(servers)).unwrap();
        actions
    }

    /// Writes keys until the server refuses even a small one; how many it took.
    fn fill(&self) -> usize {
        let write = |n: usize, size: usize| {
            let key = format!("prices:{size}:{n}");
            self.run::<()>(&["SET", &key, &"x".repeat(size)]).is_ok()
        };
        let taken = |size| (0..10_000).take_while(|n| write(*n, size)).count();
        taken(10_000) + taken(100)
    }
}

const FULL: &[&str] = &["--maxmemory", "8mb", "--maxmemory-policy", "noeviction"];

#[tokio::test]
async fn a_full_cache_takes_writes_again_and_refuses_them_when_taken_back() {
    let Some(server) = Server::start(FULL) else {
        return;
    };
    let n = server.fill();
    assert!((1..10_000).contains(&n), "{n} keys");
    let value = "x".repeat(10_000);
    let write = || server.run::<()>(&["SET", "another", &value]);
    assert!(write().is_err());
    let healed = heal(&example("relieve_redis_memory"), server.registry("cache")).await;
    write().unwrap();
    healed.take_back().await;
    let policy: Vec<String> = server.run(&["CONFIG", "GET", "maxmemory-policy"]).unwrap();
    assert_eq!(policy[1], "noeviction");
}

#[tokio::test]
async fn the_keys_of_one_prefix_go_and_others_stay() {
    let Some(server) = Server::start(FULL) else {
        return;
    };
    server.run::<()>(&["SET", "sessions:1", "ann"]).unwrap();
    server.fill();
    // The request itself is so large that there is no doubt.
    let large = "b".repeat(200_000);
    let write = || server.run::<()>(&["SET", "sessions:2", &large]);
    assert!(write().is_err());
    heal(&example("delete_cached_keys"), server.registry("cache")).await;
    write().unwrap();
    let keys: Vec<String> = server.run(&["KEYS", "*"]).unwrap();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(
        keys.iter().all(|key| key.starts_with("sessions:")),
        "{keys:?}"
    );
}

#[tokio::test]
async fn a_server_full_of_idle_clients_takes_new_ones() {
    let Some(server) = Server::start(&["--maxclients", "12"]) else {
        return;
    };
    let mut idle = Vec::new();
    while idle.len() < 11 {
        let mut client = server.connect().unwrap();
        redis::cmd("PING").query::<()>(&mut client).unwrap();
        idle.push(client);
    }
    // The healer takes the last place: with it there is none for anybody else.
    let healer = server.connect().unwrap();
    assert!(server.run::<String>(&["PING"]).is_err());
    drop(healer);
    // Idleness counts in whole seconds.
    let mut seen = String::new();
    until("they are idle", || {
        seen = server.run(&["CLIENT", "LIST"]).unwrap_or_default();
        seen.lines()
            .filter(|line| {
                line.split(' ').any(|word| {
                    matches!(
                        word.strip_prefix("idle=").map(str::parse::<u32>),
                        Some(Ok(1..))
                    )
                })
            })
            .count()
            >= 11
    })
    .await;
    heal(
        &example("close_idle_redis_clients").with("idle_over", "1s"),
        server.registry("cache"),
    )
    .await;
    let (one, two) = (server.connect().unwrap(), server.connect().unwrap());
    assert_eq!(server.run::<String>(&["PING"]).unwrap(), "PONG");
    drop((one, two));
}

#[tokio::test]
async fn a_replica_takes_over_when_the_primary_is_gone() {
    let Some(mut primary) = Server::start(&[]) else {
        return;
    };
    let port = primary.port.to_string();
    let Some(replica) = Server::start(&["--replicaof", "127.0.0.1", &port]) else {
        return;
    };
    primary.run::<()>(&["SET", "orders", "1"]).unwrap();
    let info = || {
        replica
            .run::<String>(&["INFO", "replication"])
            .unwrap_or_default()
    };
    until("it follows", || {
        info().contains("master_link_status:up")
            && replica.run::<String>(&["GET", "orders"]).is_ok()
    })
    .await;
    assert!(
        replica.run::<()>(&["SET", "orders", "2"]).is_err(),
        "a replica takes no writes"
    );
    primary.engine = None;
    until("it is alone", || info().contains("master_link_status:down")).await;
    heal(
        &example("fail_over_redis"),
        replica.registry("cache-replica"),
    )
    .await;
    assert_eq!(replica.run::<String>(&["GET", "orders"]).unwrap(), "1");
    replica.run::<()>(&["SET", "orders", "2"]).unwrap();
}
