//! A `RabbitMQ` broker of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use homeostasis::core::testing::engine::{Engine, Scratch, find, free_port};
use homeostasis::signals::AmqpProbeConfig;

use super::{PASSWORD, START, run, target};

const PLACES: &[&str] = &["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin"];

/// A broker with the user `health`, and the port mapper of its node.
#[derive(Debug)]
pub(crate) struct Rabbit {
    bin: PathBuf,
    engine: Option<Engine>,
    _mapper: Engine,
    mapper_port: u16,
    distribution_port: u16,
    pub(crate) port: u16,
    scratch: Scratch,
}

impl Rabbit {
    /// None if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        // The script itself: what distributions put on the path wants to be a certain user.
        let script = PLACES
            .iter()
            .map(|place| Path::new(place).join("rabbitmq-server"));
        let bin = match script.into_iter().find(|script| script.is_file()) {
            Some(script) => script,
            None => find("rabbitmq-server", &["/usr/sbin"])?,
        };
        let mapper_port = free_port();
        let mut mapper = Command::new(find("epmd", &["/usr/lib/erlang/bin"])?);
        mapper.args(["-address", "127.0.0.1", "-port", &mapper_port.to_string()]);
        let mut mapper = Engine::start(mapper);
        mapper.wait_for_port(mapper_port, START);
        let mut broker = Self {
            bin: bin.parent().unwrap().to_owned(),
            engine: None,
            _mapper: mapper,
            mapper_port,
            distribution_port: free_port(),
            port: free_port(),
            scratch: Scratch::new(),
        };
        broker.launch();
        Some(broker)
    }

    /// Starts it again, on the same port with the same data.
    pub(crate) fn launch(&mut self) {
        let folder = self.scratch.path();
        std::fs::write(folder.join("enabled_plugins"), "[].").unwrap();
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\ndefault_user = health\ndefault_pass = {PASSWORD}\n\
            loopback_users = none\nlog.console = true\nlog.file = false\n",
            self.port
        );
        std::fs::write(folder.join("rabbitmq.conf"), config).unwrap();
        let command = self.command("rabbitmq-server");
        let engine = self.engine.insert(Engine::start(command));
        engine.wait_for_port(self.port, START);
        let mut ready = self.command("rabbitmqctl");
        run(ready.args(["await_startup", "--timeout", "120"]));
    }

    fn command(&self, program: &str) -> Command {
        let folder = self.scratch.path();
        let mut command = Command::new(self.bin.join(program));
        command
            .env("HOME", folder)
            .env("ERL_EPMD_PORT", self.mapper_port.to_string())
            .env("RABBITMQ_NODENAME", format!("probe{}@localhost", self.port))
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                folder.join("enabled_plugins"),
            )
            .env("RABBITMQ_PID_FILE", folder.join("pid"))
            // Fewer threads start sooner.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none")
            .env("RABBITMQ_CTL_ERL_ARGS", "+S 1:1");
        command
    }

    pub(crate) fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    /// Kills it; what it listened on is closed.
    pub(crate) fn kill(&mut self) {
        self.engine = None;
    }

    /// Runs one command of `rabbitmqctl`.
    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        run(self.command("rabbitmqctl").arg("-q").args(words))
    }

    pub(crate) fn config(&self) -> AmqpProbeConfig {
        let address = format!("127.0.0.1:{}", self.port);
        let mut config = AmqpProbeConfig::new("queue", target(), address, "health", PASSWORD);
        config.timeout = Duration::from_secs(10);
        config.slow_after = config.timeout;
        config
    }
}
