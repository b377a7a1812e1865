//! The level in Redis against a real server.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use homeostasis_core::Ratio;
use homeostasis_core::testing::engine::{Engine, Scratch, find, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::testing::Log;
use super::*;
use crate::action::laws::RealClock;

const PREFIX: &str = "shop:prices:";
const PASSWORD: &str = "only \"for\" this test";
/// What `docs/how-to/resilience-kit.md` says an account needs.
const COMMANDS: &str =
    "+eval +evalsha +script|load +time +get +set +del +hget +hmget +hset +pexpire +pttl";
const LIMIT: Duration = Duration::from_secs(30);

struct Server {
    program: PathBuf,
    engine: Option<Engine>,
    port: u16,
    scratch: Scratch,
}

impl Server {
    /// None if it is not installed.
    fn start() -> Option<Self> {
        let mut server = Self {
            program: find("redis-server", &["/usr/local/bin"])?,
            engine: None,
            port: free_port(),
            scratch: Scratch::new(),
        };
        server.launch();
        Some(server)
    }

    #[expect(clippy::disallowed_methods, reason = "a test runs a real server")]
    fn launch(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--requirepass", PASSWORD, "--dir"]);
        command.arg(self.scratch.path());
        let engine = self.engine.insert(Engine::start(command));
        engine.wait_for_port(self.port, LIMIT);
    }

    fn kill(&mut self) {
        self.engine = None;
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    fn level(&self, seed: u64) -> Arc<RedisLevel> {
        let mut config = RedisLevelConfig::new(format!("127.0.0.1:{}", self.port), PREFIX);
        config.password = Some(PASSWORD.into());
        Arc::new(RedisLevel::new(config, Arc::new(RealClock), Rng::from_seed(seed)).unwrap())
    }

    /// A cache of a process of its own.
    fn cache(&self, config: CacheConfig) -> (Cache<u32>, Arc<Log>) {
        let log = Arc::new(Log::default());
        let cache = Cache::new("c", config, Arc::new(RealClock), Rng::from_seed(1)).unwrap();
        let cache = cache.with_level(self.level(1)).unwrap();
        (cache.observed_by(Arc::clone(&log) as _), log)
    }

    /// Runs one command as the default user.
    async fn run<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let client = ::redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut auth = ::redis::cmd("AUTH");
        let auth = auth.arg(PASSWORD).query_async::<String>(&mut connection);
        auth.await.unwrap();
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }

    /// Makes the server forget one key, as eviction does.
    async fn forget(&self, key: &str) {
        assert_eq!(self.run::<u32>(&["DEL", key]).await, 1, "{key}");
    }
}

/// In memory for a moment only, so that the level is asked.
fn config() -> CacheConfig {
    CacheConfig {
        memory_ttl: Duration::from_nanos(1),
        level_timeout: Duration::from_secs(10),
        level_cool_down: Duration::from_millis(50),
        ttl_jitter: Ratio::saturating(0.0),
        ..CacheConfig::default()
    }
}

fn entry(key: &CacheKey, value: u8) -> StoredEntry {
    let now = RealClock.now();
    StoredEntry {
        version: key.version(),
        tags: key.tags().to_vec(),
        lifetime: Lifetime {
            stored_at: now,
            fresh_until: now + LIMIT,
            usable_until: now + LIMIT,
        },
        value: Some(vec![value]),
    }
}

async fn value(level: &RedisLevel, key: &CacheKey) -> Option<u8> {
    let entry = level.read(key).await.unwrap().entry?;
    entry.value.map(|value| value[0])
}

#[tokio::test]
async fn processes_share_entries_and_what_one_makes_invalid_no_other_answers() {
    let Some(server) = Server::start() else {
        return;
    };
    // Both draw the same chance, as hosts do that were seeded alike.
    let (ours, theirs) = (server.level(7), server.level(7));
    let key = CacheKey::new("k\r\n\"").tagged(["a", "b"]).at_least(1);
    for what in [
        Invalidation::Key(key.name().to_owned()),
        Invalidation::Tag("b".to_owned()),
        Invalidation::OlderThan(2),
        Invalidation::All,
    ] {
        let key = if matches!(what, Invalidation::All) {
            key.clone().at_least(9)
        } else {
            key.clone()
        };
        let lease = ours.read(&key).await.unwrap().lease;
        ours.write(&key, &entry(&key, 1), &lease).await.unwrap();
        assert_eq!(value(&theirs, &key).await, Some(1), "{what:?}");
        // One loads while the other makes invalid: the answer comes too late.
        let late = theirs.read(&key).await.unwrap().lease;
        theirs.invalidate(&what).await.unwrap();
        assert_eq!(value(&ours, &key).await, None, "{what:?}");
        ours.write(&key, &entry(&key, 1), &late).await.unwrap();
        assert_eq!(value(&ours, &key).await, None, "{what:?} and a late write");
        let lease = ours.read(&key).await.unwrap().lease;
        ours.write(&key, &entry(&key, 2), &lease).await.unwrap();
        let is_old = matches!(what, Invalidation::OlderThan(_));
        assert_eq!(
            value(&theirs, &key).await,
            (!is_old).then_some(2),
            "{what:?}"
        );
    }
    theirs
        .invalidate(&Invalidation::OlderThan(1))
        .await
        .unwrap();
    let lease = ours.read(&key).await.unwrap().lease;
    ours.write(&key, &entry(&key, 3), &lease).await.unwrap();
    let found = value(&ours, &key).await;
    assert_eq!(found, None, "the oldest version does not go back");
}

#[tokio::test]
async fn whatever_the_server_forgets_nothing_invalid_comes_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let level = server.level(3);
    let key = CacheKey::new("k").tagged(["t"]);
    let marks = ["all", "t:t", "e:k"].map(|mark| format!("{PREFIX}{mark}"));
    let whats = [
        Invalidation::OlderThan(1),
        Invalidation::Tag("t".to_owned()),
        Invalidation::Key("k".to_owned()),
    ];
    for (mark, what) in marks.iter().zip(whats) {
        let key = if mark.ends_with("all") {
            key.clone()
        } else {
            key.clone().at_least(1)
        };
        let lease = level.read(&key).await.unwrap().lease;
        level.write(&key, &entry(&key, 1), &lease).await.unwrap();
        assert_eq!(value(&level, &key).await, Some(1), "{mark}");
        level.invalidate(&what).await.unwrap();
        assert_eq!(value(&level, &key).await, None, "{mark}");
        server.forget(mark).await;
        level.write(&key, &entry(&key, 1), &lease).await.unwrap();
        assert_eq!(value(&level, &key).await, None, "{mark}");
    }
}

#[tokio::test]
async fn a_server_that_is_killed_is_done_without_and_used_again_once_it_is_back() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let (cache, log) = server.cache(config());
    let key = CacheKey::new("k");
    let load = |value: u32| move || async move { Ok(Some(value)) };
    assert_eq!(
        cache.get_or_load(&key, load(1)).await.unwrap().source,
        CacheSource::Loaded
    );
    let (other, _) = server.cache(config());
    let answer = other.get_or_load(&key, load(9)).await.unwrap();
    assert_eq!(answer.source, CacheSource::Level(Arc::from("redis")));
    assert!(!answer.degraded);

    server.kill();
    let answer = cache.get_or_load(&key, load(2)).await.unwrap();
    assert_eq!(
        (answer.value, answer.source),
        (Some(Arc::new(1)), CacheSource::Memory)
    );
    assert!(answer.degraded);
    assert!(
        log.has("CacheLevelFailed { level: \"redis\", during: \"reading\""),
        "{log:?}"
    );
    assert_eq!(cache.failing_levels(), ["redis"]);
    let told = cache.invalidate(&Invalidation::Key("k".to_owned())).await;
    assert_eq!(told.not_reached, ["redis"]);
    let answer = cache.get_or_load(&key, load(3)).await.unwrap();
    assert_eq!((answer.value, answer.degraded), (Some(Arc::new(3)), true));

    server.launch();
    let began = RealClock.now();
    loop {
        let answer = cache
            .get_or_load(&CacheKey::new("new"), load(4))
            .await
            .unwrap();
        if !answer.degraded {
            break;
        }
        assert!(RealClock.now().since(began) < LIMIT, "{:?}", log.take());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What could not be told was told, and new answers are shared again.
    cache.refresh(&key, load(5)).await.unwrap();
    let answer = other.get_or_load(&key, load(9)).await.unwrap();
    assert_eq!(answer.value, Some(Arc::new(5)));
}

#[tokio::test]
async fn a_server_that_hangs_costs_one_limit_of_time_each() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let limit = Duration::from_millis(50);
    let (cache, log) = server.cache(CacheConfig {
        level_timeout: limit,
        ..config()
    });
    let key = CacheKey::new("k");
    cache
        .get_or_load(&key, || async { Ok(Some(1)) })
        .await
        .unwrap();
    server.engine().pause();
    let answer = cache
        .get_or_load(&key, || async { Ok(Some(2)) })
        .await
        .unwrap();
    assert_eq!((answer.value, answer.degraded), (Some(Arc::new(1)), true));
    assert!(log.has("no answer within 50ms"), "{log:?}");
    server.engine().resume();
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_address_are_said_and_the_password_is_not() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut config = RedisLevelConfig::new(format!("127.0.0.1:{}", server.port), PREFIX);
    config.password = Some("Tr0ub4dor".into());
    let level = RedisLevel::new(config, Arc::new(RealClock), Rng::from_seed(1)).unwrap();
    let error = level
        .read(&CacheKey::new("k"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("WRONGPASS") || error.contains("AuthenticationFailed"),
        "{error}"
    );
    assert!(!error.contains("Tr0ub4dor"), "{error}");
    assert!(!format!("{level:?}").contains("Tr0ub4dor"), "{level:?}");
    for address in [
        "",
        "localhost",
        "localhost:",
        ":6379",
        "localhost:0",
        "localhost:x",
        "redis://:s3cret@localhost",
        "redis://u:s3cret@localhost:6379",
        "u:s3cret@localhost:6379",
    ] {
        let config = RedisLevelConfig::new(address, PREFIX);
        let error = RedisLevel::new(config, Arc::new(RealClock), Rng::from_seed(1)).unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("address = "), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn an_account_that_may_do_little_is_enough() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut words = vec!["ACL", "SETUSER", "kit", "on", ">secret", "~shop:prices:*"];
    words.extend(COMMANDS.split(' '));
    server.run::<String>(&words).await;
    let mut config = RedisLevelConfig::new(format!("127.0.0.1:{}", server.port), PREFIX);
    config.user = Some("kit".to_owned());
    config.password = Some("secret".into());
    let make = |config| RedisLevel::new(config, Arc::new(RealClock), Rng::from_seed(1)).unwrap();
    let level = make(config.clone());
    let key = CacheKey::new("k").tagged(["t"]);
    let lease = level.read(&key).await.unwrap().lease;
    level.write(&key, &entry(&key, 1), &lease).await.unwrap();
    assert_eq!(value(&level, &key).await, Some(1));
    for what in [
        Invalidation::Key("k".to_owned()),
        Invalidation::Tag("t".to_owned()),
        Invalidation::OlderThan(1),
        Invalidation::All,
    ] {
        level.invalidate(&what).await.unwrap();
    }
    config.prefix = "elsewhere:".to_owned();
    let error = make(config).read(&key).await.unwrap_err().to_string();
    assert!(error.contains("NoPerm"), "{error}");
}

/// Between a level and its server. Connections can be made to swallow everything, as a network does of
/// which a part has lost its power; later ones are as good as new.
struct Proxy {
    port: u16,
    n_connections: Arc<AtomicU32>,
    n_dead: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    #[expect(clippy::disallowed_methods, reason = "a test runs a proxy beside it")]
    async fn start(server: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (n_connections, n_dead) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (count, dead) = (Arc::clone(&n_connections), Arc::clone(&n_dead));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let dead = Arc::clone(&dead);
                connections.spawn(async move {
                    let server = tokio::net::TcpStream::connect(("127.0.0.1", server)).await;
                    let (from_server, to_server) = server.unwrap().into_split();
                    let (from_client, to_client) = client.into_split();
                    let is_dead = || dead.load(Ordering::SeqCst) > number;
                    tokio::join!(
                        pass(from_client, to_server, is_dead),
                        pass(from_server, to_client, is_dead),
                    );
                });
            }
        });
        Self {
            port,
            n_connections,
            n_dead,
            task,
        }
    }

    /// A level that reaches the server through it.
    fn level(&self) -> Arc<RedisLevel> {
        let mut config = RedisLevelConfig::new(format!("127.0.0.1:{}", self.port), PREFIX);
        config.password = Some(PASSWORD.into());
        Arc::new(RedisLevel::new(config, Arc::new(RealClock), Rng::from_seed(1)).unwrap())
    }

    /// All connections that there are swallow what comes.
    fn lose_power(&self) {
        let n = self.n_connections.load(Ordering::SeqCst);
        self.n_dead.store(n, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    is_dead: impl Fn() -> bool,
) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        if !is_dead() && to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_connection_that_swallows_everything_is_replaced() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::start(server.port).await;
    let config = CacheConfig {
        level_timeout: Duration::from_millis(200),
        ..config()
    };
    let cache = Cache::<u32>::new("c", config, Arc::new(RealClock), Rng::from_seed(1)).unwrap();
    let cache = cache.with_level(proxy.level()).unwrap();
    let ask = async || {
        let load = || async { Ok(Some(1)) };
        cache.get_or_load(&CacheKey::new("k"), load).await.unwrap()
    };
    assert!(!ask().await.degraded);
    proxy.lose_power();
    assert!(ask().await.degraded);
    let began = RealClock.now();
    while ask().await.degraded {
        let took = RealClock.now().since(began);
        assert!(
            took < Duration::from_secs(10),
            "no new connection after {took:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(proxy.n_connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn many_who_come_first_share_one_connection_and_a_late_failure_leaves_the_next_one() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::start(server.port).await;
    let level = proxy.level();
    let mut readings = tokio::task::JoinSet::new();
    for i in 0..20 {
        let level = Arc::clone(&level);
        readings.spawn(async move { level.read(&CacheKey::new(i.to_string())).await.is_ok() });
    }
    assert!(readings.join_all().await.into_iter().all(|ok| ok));
    assert_eq!(proxy.n_connections.load(Ordering::SeqCst), 1);
    let first = level.lock().take().unwrap();
    level.read(&CacheKey::new("k")).await.unwrap();
    level.hang_up(&first);
    level.read(&CacheKey::new("k")).await.unwrap();
    assert_eq!(proxy.n_connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn reading_leaves_little_behind_and_changes_nothing_the_second_time() {
    let Some(server) = Server::start() else {
        return;
    };
    let level = server.level(1);
    let key = CacheKey::new("k").tagged(["t"]);
    let left = async |mark: &str| {
        let left: i64 = server.run(&["PTTL", &format!("{PREFIX}{mark}")]).await;
        Duration::from_millis(u64::try_from(left).unwrap())
    };
    let lease = level.read(&key).await.unwrap().lease;
    let five_minutes = Duration::from_secs(300);
    assert!(left("t:t").await <= five_minutes && left("e:k").await <= five_minutes);
    let mut stored = entry(&key, 1);
    stored.lifetime.usable_until = RealClock.now() + Duration::from_secs(3600);
    level.write(&key, &stored, &lease).await.unwrap();
    let hour = Duration::from_secs(3590);
    assert!(left("t:t").await > hour && left("e:k").await > hour);
    let changes = async || {
        let info: String = server.run(&["INFO", "persistence"]).await;
        let line = info.lines().find(|line| line.starts_with("rdb_changes"));
        line.unwrap().to_owned()
    };
    let before = changes().await;
    assert_eq!(value(&level, &key).await, Some(1));
    assert_eq!(changes().await, before);
}

#[tokio::test]
async fn a_full_server_is_read_and_made_invalid_all_the_same() {
    let Some(server) = Server::start() else {
        return;
    };
    let level = server.level(1);
    let keys = ["a", "b"].map(|name| CacheKey::new(name).tagged([format!("t{name}")]));
    for key in &keys {
        let lease = level.read(key).await.unwrap().lease;
        level.write(key, &entry(key, 1), &lease).await.unwrap();
    }
    server
        .run::<String>(&["CONFIG", "SET", "maxmemory", "1"])
        .await;
    for (key, what) in keys.iter().zip([
        Invalidation::Key("a".to_owned()),
        Invalidation::Tag("tb".to_owned()),
    ]) {
        assert_eq!(value(&level, key).await, Some(1));
        level.invalidate(&what).await.unwrap();
        assert_eq!(value(&level, key).await, None, "{what:?}");
        let lease = level.read(key).await.unwrap().lease;
        let error = level.write(key, &entry(key, 2), &lease).await.unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
    }
    server
        .run::<String>(&["CONFIG", "SET", "maxmemory", "0"])
        .await;
    let lease = level.read(&keys[0]).await.unwrap().lease;
    level
        .write(&keys[0], &entry(&keys[0], 3), &lease)
        .await
        .unwrap();
    assert_eq!(value(&level, &keys[0]).await, Some(3));
}
