//! Interfaces, routes and rules of a network of the test's own, and proxies.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use homeostasis_core::testing::engine::{self, Engine, Scratch, find, free_port};
use homeostasis_remediate::action::{
    ActionRegistry, HaproxyConfig, HaproxyInstances, HaproxyServer, NetworkInterfaces, NginxConfig,
    NginxReload, Program, RunProgram, Tool, flush_dns_cache,
};
use serde_json::json;

use crate::clinic::{context, heal, heal_in, seeing};
use crate::fake::Fake;
use crate::host::{example, shop};

const PATIENCE: Duration = Duration::from_secs(60);
const PLACES: &[&str] = &["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin"];

/// A network of its own with the interfaces `eth1` and `peer`, of which this process is root.
struct Network {
    engine: Engine,
    nsenter: PathBuf,
    _scratch: Scratch,
}

impl Network {
    /// None, said aloud, where the machine lacks a program or does not let us have one.
    fn with(program: &str) -> Option<Self> {
        for needed in [program, "ip"] {
            find(needed, PLACES)?;
        }
        let (unshare, nsenter) = (find("unshare", PLACES)?, find("nsenter", PLACES)?);
        let scratch = Scratch::new();
        let ready = scratch.path().join("ready");
        let command = |script: &str| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the test makes a network of its own"
            )]
            let mut command = Command::new(&unshare);
            command
                .args(["--map-root-user", "--net", "sh", "-c", script])
                .arg(&ready);
            command
        };
        let make = "ip link add eth1 type veth peer name peer && ip addr add 10.9.9.1/24 dev eth1 && ip link set peer up && ip link set eth1 up";
        let can = command(make).output().unwrap();
        if !can.status.success() {
            engine::missing("the right to a network of its own");
            return None;
        }
        let mut engine = Engine::start(command(&format!("{make} && : > \"$0\"; sleep 600; :")));
        engine.wait_until("network", PATIENCE, || ready.exists());
        Some(Self {
            engine,
            nsenter,
            _scratch: scratch,
        })
    }

    fn enter(&self) -> [String; 5] {
        let target = format!("--target={}", self.engine.id());
        [&target, "--user", "--net", "--preserve-credentials", "--"].map(str::to_owned)
    }

    fn program(&self, name: &str) -> Program {
        let mut program = Program::new(&self.nsenter);
        program.fixed_args.extend(self.enter());
        program.fixed_args.push(name.to_owned());
        program
    }

    fn interfaces(&self) -> NetworkInterfaces {
        let tool = Tool::at(&self.nsenter).unwrap();
        let tool = self.enter().into_iter().fold(tool, Tool::arg).arg("ip");
        NetworkInterfaces::new(tool, ["eth*"]).unwrap()
    }

    fn say(&self, words: &[&str]) -> String {
        #[expect(clippy::disallowed_methods, reason = "the test looks at its network")]
        let output = Command::new(&self.nsenter)
            .args(self.enter())
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether the link carries packets.
    fn is_up(&self) -> bool {
        self.say(&["ip", "link", "show", "dev", "eth1"])
            .contains("LOWER_UP")
    }
}

#[tokio::test]
async fn an_interface_that_is_down_comes_up_and_goes_back() {
    let Some(network) = Network::with("ip") else {
        return;
    };
    network.say(&["ip", "link", "set", "dev", "eth1", "down"]);
    assert!(!network.is_up());
    let mut actions = ActionRegistry::default();
    actions
        .register(network.interfaces().restart_interface())
        .unwrap();
    let healed = heal(&example("restart_network_interface"), actions).await;
    assert!(network.is_up());
    healed.take_back().await;
    assert!(!network.is_up());
}

#[tokio::test]
async fn a_machine_is_back_in_its_network() {
    let Some(network) = Network::with("ip") else {
        return;
    };
    network.say(&["ip", "link", "set", "dev", "eth1", "down"]);
    let resolvectl = Fake::new("exit 0", &[]);
    let mut actions = ActionRegistry::default();
    actions
        .register(network.interfaces().restart_interface())
        .unwrap();
    actions
        .register(flush_dns_cache(&resolvectl.tool()))
        .unwrap();
    heal(&example("network_connectivity_restore"), actions).await;
    assert!(network.is_up());
    assert_eq!(resolvectl.calls(), ["flush-caches"]);
}

#[tokio::test]
async fn a_dead_gateway_is_gone_around() {
    let Some(network) = Network::with("ip") else {
        return;
    };
    let route = || network.say(&["ip", "route", "show", "192.0.2.0/24"]);
    network.say(&[
        "ip",
        "route",
        "add",
        "192.0.2.0/24",
        "via",
        "10.9.9.66",
        "dev",
        "eth1",
    ]);
    assert!(route().contains("via 10.9.9.66"));
    let mut actions = ActionRegistry::default();
    let run = RunProgram::default()
        .allow("ip", network.program("ip"))
        .unwrap();
    actions.register(run).unwrap();
    heal(
        &example("update_routing_table").with("gateway", "10.9.9.2"),
        actions,
    )
    .await;
    assert!(
        route().contains("via 10.9.9.2 ") && !route().contains("10.9.9.66"),
        "{}",
        route()
    );
}

#[tokio::test]
async fn rules_that_block_everybody_give_way_to_those_that_are_good() {
    let Some(network) = Network::with("nft") else {
        return;
    };
    let chain = |policy: &str| {
        format!(
            "flush ruleset\ntable inet filter {{\nchain input {{\ntype filter hook input priority 0; policy {policy};\n}}\n}}\n"
        )
    };
    let scratch = Scratch::new();
    let (bad, good) = (scratch.path().join("bad"), scratch.path().join("good"));
    fs::write(&bad, chain("drop")).unwrap();
    fs::write(&good, chain("accept")).unwrap();
    network.say(&["nft", "-f", bad.to_str().unwrap()]);
    assert!(
        network
            .say(&["nft", "list", "ruleset"])
            .contains("policy drop")
    );
    let mut actions = ActionRegistry::default();
    let run = RunProgram::default()
        .allow("nft", network.program("nft"))
        .unwrap();
    actions.register(run).unwrap();
    heal(
        &example("reset_firewall_rules").with("rules", good.to_str().unwrap()),
        actions,
    )
    .await;
    let rules = network.say(&["nft", "list", "ruleset"]);
    assert!(
        rules.contains("policy accept") && !rules.contains("policy drop"),
        "{rules}"
    );
}

/// What a server behind a port answers; none if nobody does.
fn answer(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer
        .split("\r\n\r\n")
        .nth(1)
        .map(|body| body.trim().to_owned())
}

/// A server that answers every request with this status and body until the test ends.
fn serve(status: &'static str, body: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 1024]);
            let _ = write!(
                stream,
                "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_fails_gets_no_requests_until_taken_back() {
    let Some(program) = find("haproxy", PLACES) else {
        return;
    };
    let (scratch, front) = (Scratch::new(), free_port());
    let (ill, well) = (serve("500 Oops", "ill"), serve("200 OK", "well"));
    let (socket, config) = (scratch.path().join("admin"), scratch.path().join("cfg"));
    let text = format!(
        "global\n stats socket {} mode 600 level admin\ndefaults\n mode http\n timeout connect 5s\n \
        timeout client 9s\n timeout server 9s\nfrontend front\n bind 127.0.0.1:{front}\n \
        default_backend shop\nbackend shop\n server shop-1 127.0.0.1:{ill}\n server shop-2 127.0.0.1:{well}\n",
        socket.display()
    );
    fs::write(&config, text).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test runs a real proxy")]
    let mut command = Command::new(program);
    command.args(["-db", "-f"]).arg(&config);
    let mut proxy = Engine::start(command);
    proxy.wait_for_port(front, PATIENCE);
    let n_ill = || {
        (0..20)
            .filter(|_| answer(front).as_deref() != Some("well"))
            .count()
    };
    assert!(n_ill() > 0);
    let edge = HaproxyConfig::new(shop(), socket.display().to_string());
    let edge = HaproxyInstances::default().instance("edge", edge).unwrap();
    let mut actions = ActionRegistry::default();
    actions.register(HaproxyServer::set_state(edge)).unwrap();
    let measured = [("http_request_error_ratio", 1.0)];
    let pick = example("drain_proxy_backend");
    let healed = heal_in(seeing(context(), &measured), &pick, actions).await;
    assert_eq!(n_ill(), 0);
    healed.take_back().await;
    assert!(n_ill() > 0);
}

#[tokio::test]
async fn requests_go_to_a_server_that_answers() {
    let Some(program) = find("nginx", PLACES) else {
        return;
    };
    let (scratch, front) = (Scratch::new(), free_port());
    let (gone, well) = (free_port(), serve("200 OK", "well"));
    let folder = scratch.path();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", folder.join(kind).display()))
        .concat();
    let text = format!(
        "daemon off;\npid {0}/pid;\nerror_log {0}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}\
        include {0}/app.upstream;\nserver {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://app; }} }}\n}}\n",
        folder.display()
    );
    let config = folder.join("nginx.conf");
    fs::write(&config, text).unwrap();
    let upstream = folder.join("app.upstream");
    fs::write(
        &upstream,
        format!("upstream app {{ server 127.0.0.1:{gone}; }}\n"),
    )
    .unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test runs a real server")]
    let mut command = Command::new(&program);
    command.arg("-p").arg(folder).arg("-c").arg(&config);
    let mut nginx = Engine::start(command);
    nginx.wait_for_port(front, PATIENCE);
    assert_ne!(answer(front).as_deref(), Some("well"));
    let mut edge = NginxConfig::new(shop()).with_upstream("app", &upstream);
    edge.program = program;
    edge.config = config;
    edge.prefix = Some(folder.to_owned());
    edge.pid_file = folder.join("pid");
    let mut actions = ActionRegistry::default();
    actions
        .register(NginxReload::default().nginx("edge", edge).unwrap())
        .unwrap();
    let servers = json!({ format!("127.0.0.1:{well}"): 1 });
    let healed = heal(
        &example("reroute_upstream").with("servers", servers),
        actions,
    )
    .await;
    assert_eq!(answer(front).as_deref(), Some("well"));
    healed.take_back().await;
    assert!(
        fs::read_to_string(&upstream)
            .unwrap()
            .contains(&gone.to_string())
    );
}
