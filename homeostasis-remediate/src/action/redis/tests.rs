//! Against a real server.

mod injection;

use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use homeostasis_core::testing::engine::{Engine, Scratch, find, free_port};
use homeostasis_core::{Clock, ErrorKind, Target};
use serde_json::{Map, Value, json};

use super::*;
use crate::action::laws::{self, RealClock};
use crate::action::{Action, ActionCall, ActionError};

const PASSWORD: &str = "h-u-n-t-e-r-2";
const START: Duration = Duration::from_secs(60);

struct Server {
    engine: Option<Engine>,
    port: u16,
    _scratch: Scratch,
}

impl Server {
    /// None if it is not installed.
    #[expect(clippy::disallowed_methods, reason = "a test runs a real server")]
    fn start(more: &[&str]) -> Option<Self> {
        let program = find("redis-server", &["/usr/local/bin"])?;
        let (port, scratch) = (free_port(), Scratch::new());
        let mut command = Command::new(program);
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]);
        command.args(["--requirepass", PASSWORD, "--masterauth", PASSWORD]);
        command.args(["--repl-diskless-sync-delay", "0", "--dir"]);
        command.arg(scratch.path()).args(more);
        let mut engine = Engine::start(command);
        engine.wait_for_port(port, START);
        Some(Self {
            engine: Some(engine),
            port,
            _scratch: scratch,
        })
    }

    /// Runs one command in a connection of its own, from outside of the runtime.
    fn run<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port);
        let mut connection = ::redis::Client::open(url)
            .unwrap()
            .get_connection()
            .unwrap();
        ::redis::cmd(words[0])
            .arg(&words[1..])
            .query(&mut connection)
            .unwrap()
    }

    async fn client(&self, name: &str) -> MultiplexedConnection {
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port);
        let client = ::redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut set = ::redis::cmd("CLIENT");
        set.arg("SETNAME").arg(name);
        set.query_async::<()>(&mut connection).await.unwrap();
        connection
    }

    /// The names of the clients, sorted.
    fn names(&self) -> Vec<String> {
        let text: String = self.run(&["CLIENT", "LIST"]);
        let words = text.lines().flat_map(|line| line.split(' '));
        let names = words.filter_map(|word| word.strip_prefix("name="));
        let mut names: Vec<_> = names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        names.sort();
        // Those of our own calls go away a moment later.
        names.dedup();
        names
    }

    fn config(&self) -> RedisServerConfig {
        let target = Target::service("shop").unwrap();
        let mut config = RedisServerConfig::new(target, format!("127.0.0.1:{}", self.port));
        config.password = Some(PASSWORD.into());
        config.deletable = vec!["prices:".to_owned(), "tmp:".to_owned()];
        config.timeout = START;
        config
    }

    fn servers(&self) -> RedisServers {
        RedisServers::default()
            .server("cache", self.config())
            .unwrap()
    }

    async fn wait_for(&self, section: &str, line: &str) {
        let began = RealClock.now();
        while !self.run::<String>(&["INFO", section]).contains(line) {
            assert!(RealClock.now().since(began) < START, "not in time: {line}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn filled(action: &dyn Action, args: &Value) -> Map<String, Value> {
    let mut args = args.as_object().unwrap().clone();
    action.spec().fill_defaults(&mut args);
    args
}

/// Captures and does it once.
async fn once(action: &dyn Action, args: &Value) -> Result<Value, ActionError> {
    let (args, target) = (filled(action, args), Target::service("shop").unwrap());
    let key = laws::key(1);
    let call = ActionCall::new(&target, &args, &key);
    let captured = action.capture(&laws::context(), &call).await?;
    action
        .perform(&laws::context(), &call.with_captured(&captured))
        .await
}

#[tokio::test]
async fn matching_keys_are_deleted_unless_they_are_too_many_or_not_the_host_s_to_give() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let fill = "for i = 1, 1200 do redis.call('SET', 'prices:' .. i, i) end for i = 1, 3 do redis.call('SET', 'orders:' .. i, i) end return 1";
    server.run::<u32>(&["EVAL", fill, "0"]);
    server.run::<()>(&["SET", "prices:\u{1}\n*[x", "odd"]);
    let action = RedisDeleteKeys::new(server.servers());
    let size = || server.run::<u64>(&["DBSIZE"]);
    let few = json!({"server": "cache", "pattern": "prices:*"});
    let error = once(&action, &few).await.unwrap_err();
    assert!(
        matches!(&error, ActionError::Invalid { detail, .. } if detail.contains("more than 1000")),
        "{error}"
    );
    assert_eq!(size(), 1204);
    for (pattern, max) in [
        ("*", 100_000),
        ("price*", 10),
        ("orders:*", 10),
        ("\\prices:*", 10),
        ("", 10),
    ] {
        let args = json!({"server": "cache", "pattern": pattern, "max": max});
        let problems = action.check(&filled(&action, &args));
        assert_eq!(problems[0].pointer, "/pattern", "{pattern}");
        assert!(
            problems[0].expected.contains("`prices:` or `tmp:`"),
            "{problems:?}"
        );
        let error = once(&action, &args).await.unwrap_err();
        assert!(matches!(error, ActionError::Denied { .. }), "{error}");
    }
    let one = json!({"server": "cache", "pattern": "prices:7"});
    assert_eq!(
        once(&action, &one).await.unwrap(),
        json!({"matched": 1, "deleted": 1})
    );
    let all = json!({"server": "cache", "pattern": "prices:*", "max": 1200});
    laws::repeat_and_undo(&action, &all, size).await;
    assert_eq!(size(), 3);
    let mut config = server.config();
    config.deletable.clear();
    let none = RedisServers::default().server("cache", config).unwrap();
    let problems = RedisDeleteKeys::new(none).check(&filled(&action, &all));
    assert!(
        problems[0].expected.contains("no keys of this server"),
        "{problems:?}"
    );
}

#[tokio::test]
async fn a_setting_is_set_read_back_and_put_back() {
    let Some(server) = Server::start(&["--maxmemory", "64mb"]) else {
        return;
    };
    let action = RedisSetConfig::new(server.servers());
    for (setting, value, now) in [
        ("maxmemory", "100mb", "104857600"),
        ("maxmemory-policy", "allkeys-lru", "allkeys-lru"),
        ("timeout", "30", "30"),
    ] {
        let get = || server.run::<Vec<String>>(&["CONFIG", "GET", setting])[1].clone();
        let before = get();
        let args = json!({"server": "cache", "setting": setting, "value": value});
        laws::repeat_and_undo(&action, &args, get).await;
        assert_eq!(get(), before);
        assert_eq!(once(&action, &args).await.unwrap()["value"], now);
    }
    let bad = json!({"server": "cache", "setting": "maxmemory-policy", "value": "whatever"});
    assert_eq!(
        once(&action, &bad).await.unwrap_err().kind(),
        ErrorKind::Permanent
    );
    let dir = json!({"server": "cache", "setting": "dir", "value": "/etc"});
    let problems = action.spec().problems(dir.as_object().unwrap(), false);
    assert_eq!(problems[0].pointer, "/setting");
    assert!(matches!(
        once(&action, &dir).await,
        Err(ActionError::Denied { .. })
    ));
}

#[tokio::test]
async fn a_setting_that_would_cost_keys_is_refused_and_other_letters_are_the_same_value() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let fill = "for i = 1, 200 do redis.call('SET', 'k' .. i, string.rep('x', 1000)) end return 1";
    server.run::<u32>(&["EVAL", fill, "0"]);
    let action = RedisSetConfig::new(server.servers());
    let set =
        |setting: &str, value: &str| json!({"server": "cache", "setting": setting, "value": value});
    let policy = set("maxmemory-policy", "ALLKEYS-LRU");
    assert_eq!(
        once(&action, &policy).await.unwrap()["value"],
        "allkeys-lru"
    );
    let tight = set("maxmemory", "1mb");
    let error = once(&action, &tight).await.unwrap_err();
    assert!(
        error.to_string().contains("would evict keys") && !error.may_have_begun(),
        "{error}"
    );
    // Without eviction it only ends writing, and then no policy that evicts may come.
    server.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    once(&action, &tight).await.unwrap();
    for evicting in ["allkeys-lru", "volatile-ttl"] {
        let error = once(&action, &set("maxmemory-policy", evicting)).await;
        assert!(
            matches!(error, Err(ActionError::Invalid { .. })),
            "{error:?}"
        );
    }
    assert_eq!(server.run::<u64>(&["DBSIZE"]), 200);
}

#[tokio::test]
async fn keys_of_all_slots_of_a_cluster_are_deleted() {
    // Left to itself it takes its own port plus 10,000, which the system may have given away.
    let bus = free_port().to_string();
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus];
    let Some(server) = Server::start(&cluster) else {
        return;
    };
    server.run::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let began = RealClock.now();
    while !server
        .run::<String>(&["CLUSTER", "INFO"])
        .contains("cluster_state:ok")
    {
        assert!(RealClock.now().since(began) < START, "no cluster in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for n in 0..10 {
        server.run::<()>(&["SET", &format!("prices:{n}"), "1"]);
    }
    let action = RedisDeleteKeys::new(server.servers());
    let all = json!({"server": "cache", "pattern": "prices:*"});
    assert_eq!(
        once(&action, &all).await.unwrap(),
        json!({"matched": 10, "deleted": 10})
    );
    assert_eq!(server.run::<u64>(&["DBSIZE"]), 0);
}

#[tokio::test]
async fn unused_memory_is_given_back_and_measured() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    server.run::<u32>(&[
        "EVAL",
        "for i = 1, 20000 do redis.call('SET', i, string.rep('x', 500)) end return 1",
        "0",
    ]);
    server.run::<()>(&["FLUSHALL"]);
    let action = RedisMemoryPurge::new(server.servers());
    let args = json!({"server": "cache"});
    laws::repeat_and_undo(&action, &args, || server.run::<u64>(&["DBSIZE"])).await;
    let output = once(&action, &args).await.unwrap();
    assert!(
        output["before"]["resident_bytes"].as_u64() > Some(0),
        "{output}"
    );
    assert!(output["after"]["used_bytes"].as_u64() > Some(0), "{output}");
    assert!(output["after"]["allocator"].is_string(), "{output}");
}

#[tokio::test]
async fn idle_clients_are_closed_within_bounds_and_those_at_work_are_not() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut clients = Vec::new();
    for name in ["web-1", "web-2", "job", "homeostasis"] {
        clients.push(server.client(name).await);
    }
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port);
    // At work, though idle: it waits for a message.
    let waiting = std::thread::spawn(move || {
        let mut connection = ::redis::Client::open(url)
            .unwrap()
            .get_connection()
            .unwrap();
        ::redis::cmd("CLIENT")
            .arg("SETNAME")
            .arg("web-worker")
            .query::<()>(&mut connection)
            .unwrap();
        let mut wait = ::redis::cmd("BLPOP");
        wait.arg("queue")
            .arg(60)
            .query::<Option<(String, String)>>(&mut connection)
            .unwrap()
    });
    server.wait_for("clients", "blocked_clients:1").await;
    let all = ["homeostasis", "job", "web-1", "web-2", "web-worker"];
    assert_eq!(server.names(), all);
    let action = RedisKillClients::new(server.servers());
    let args = json!({"server": "cache"});
    assert_eq!(
        action.check(&filled(&action, &args))[0].pointer,
        "/idle_over"
    );
    assert!(once(&action, &args).await.is_err());
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let young = json!({"server": "cache", "age_over": "1h"});
    assert_eq!(once(&action, &young).await.unwrap()["found"], 0);
    let args = json!({"server": "cache", "name": "web*", "idle_over": "1s", "max": 1});
    laws::repeat_and_undo(&action, &args, || server.names()).await;
    assert_eq!(
        server.names(),
        ["homeostasis", "job", "web-2", "web-worker"]
    );
    let args = json!({"server": "cache", "name": "*", "user": "default"});
    let output = once(&action, &args).await.unwrap();
    assert_eq!(server.names(), ["homeostasis", "web-worker"], "{output}");
    let ours = ::redis::cmd("PING")
        .query_async::<String>(&mut clients[3])
        .await;
    assert_eq!(ours.unwrap(), "PONG");
    server.run::<u32>(&["LPUSH", "queue", "message"]);
    assert_eq!(waiting.join().unwrap().unwrap().1, "message");
}

#[tokio::test]
async fn a_client_that_is_another_or_at_work_by_now_is_not_closed() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut client = server.client("web").await;
    let action = RedisKillClients::new(server.servers());
    let args = json!({"server": "cache", "name": "web", "idle_over": "1s"});
    let (args, target) = (filled(&action, &args), Target::service("shop").unwrap());
    let key = laws::key(1);
    let call = ActionCall::new(&target, &args, &key);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let captured = action.capture(&laws::context(), &call).await.unwrap();
    assert_eq!(captured["clients"].as_array().unwrap().len(), 1);
    let mut restarted = captured.clone();
    restarted["run_id"] = "0".repeat(40).into();
    let mut elsewhere = captured.clone();
    elsewhere["clients"][0]["address"] = "127.0.0.1:1".into();
    let ping = ::redis::cmd("PING");
    for (captured, at_work) in [(restarted, false), (elsewhere, false), (captured, true)] {
        if at_work {
            ping.query_async::<()>(&mut client).await.unwrap();
        }
        let call = call.with_captured(&captured);
        let output = action.perform(&laws::context(), &call).await.unwrap();
        assert_eq!(
            output,
            json!({"found": 1, "closed": 0, "gone_before": 1}),
            "{captured}"
        );
    }
    ping.query_async::<()>(&mut client).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_was_never_linked_is_not_promoted() {
    let nobody = free_port().to_string();
    let Some(replica) = Server::start(&["--replicaof", "127.0.0.1", &nobody]) else {
        return;
    };
    let action = RedisPromoteReplica::new(replica.servers());
    for lives in [false, true] {
        let args = json!({"server": "cache", "while_primary_lives": lives});
        let error = once(&action, &args).await.unwrap_err();
        assert!(error.to_string().contains("never linked"), "{error}");
    }
}

/// Answers as a replica does, and goes away after `REPLICAOF`.
fn cut_off(listener: &std::net::TcpListener) {
    let (stream, _) = listener.accept().unwrap();
    let mut answers = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let info = "role:slave\r\nmaster_host:h\r\nmaster_port:1\r\nmaster_link_status:down\r\n\
        master_sync_in_progress:0\r\nmaster_link_down_since_seconds:9\r\n";
    // `*n`, and for each word its length and itself.
    while let Some(head) = lines.next() {
        let n: usize = head[1..].parse().unwrap();
        let words: Vec<_> = lines.by_ref().take(2 * n).skip(1).step_by(2).collect();
        let answer = match words[0].as_str() {
            "INFO" => format!("${}\r\n{info}\r\n", info.len()),
            _ => "+OK\r\n".to_owned(),
        };
        answers.write_all(answer.as_bytes()).unwrap();
        if words[0] == "REPLICAOF" {
            return;
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_back_has_begun() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stub = std::thread::spawn(move || {
        // Once to capture, once to perform.
        cut_off(&listener);
        cut_off(&listener);
    });
    let config = RedisServerConfig::new(Target::service("shop").unwrap(), address);
    let servers = RedisServers::default().server("cache", config).unwrap();
    let action = RedisPromoteReplica::new(servers);
    let error = once(&action, &json!({"server": "cache"}))
        .await
        .unwrap_err();
    stub.join().unwrap();
    assert!(error.may_have_begun(), "{}", error.report());
    assert_eq!(error.kind(), ErrorKind::Transient, "{}", error.report());
}

#[tokio::test]
async fn a_replica_is_promoted_once_and_not_while_its_primary_lives() {
    let Some(mut primary) = Server::start(&[]) else {
        return;
    };
    let port = primary.port.to_string();
    let Some(replica) = Server::start(&["--replicaof", "127.0.0.1", &port]) else {
        return;
    };
    replica
        .wait_for("replication", "master_link_status:up")
        .await;
    let action = RedisPromoteReplica::new(replica.servers());
    let args = json!({"server": "cache"});
    let error = once(&action, &args).await.unwrap_err();
    assert!(
        error.to_string().contains("connected to its primary"),
        "{error}"
    );
    let on_primary = once(&RedisPromoteReplica::new(primary.servers()), &args).await;
    assert!(
        on_primary
            .unwrap_err()
            .to_string()
            .contains("expected a replica")
    );
    primary.engine = None;
    replica
        .wait_for("replication", "master_link_status:down")
        .await;
    let role = || {
        let info: String = replica.run(&["INFO", "replication"]);
        info.lines()
            .find(|line| line.starts_with("role:"))
            .unwrap()
            .to_owned()
    };
    assert_eq!(role(), "role:slave");
    laws::repeat_and_undo(&action, &args, role).await;
    assert_eq!(role(), "role:master");
    replica.run::<()>(&["SET", "written", "1"]);
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_and_the_password_is_not() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let mut config = server.config();
    config.password = Some("Tr0ub4dor".into());
    let action = RedisMemoryPurge::new(RedisServers::default().server("cache", config).unwrap());
    let args = json!({"server": "cache"});
    let error = once(&action, &args).await.unwrap_err();
    assert!(
        !error.may_have_begun() && error.kind() == ErrorKind::Permanent,
        "{error:?}"
    );
    let said = error.report().to_string();
    assert!(
        said.contains(&format!("127.0.0.1:{}", server.port)),
        "{said}"
    );
    assert!(
        !said.contains("Tr0ub4dor") && !format!("{action:?}").contains("Tr0ub4dor"),
        "{said}"
    );
    server.engine = None;
    let error = once(&action, &args).await.unwrap_err();
    assert!(
        !error.may_have_begun() && error.kind() == ErrorKind::Transient,
        "{error:?}"
    );
}

#[test]
fn wrong_settings_are_all_told() {
    let target = Target::service("shop").unwrap();
    let mut config = RedisServerConfig::new(target, "redis://u:s3cret@cache:1");
    config.user = Some("u".to_owned());
    config.deletable = vec![String::new(), "a*".to_owned()];
    config.timeout = Duration::ZERO;
    let error = RedisServers::default().server("cache", config).unwrap_err();
    assert_eq!(error.violations().len(), 5, "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}
