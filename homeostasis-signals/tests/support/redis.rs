//! A Redis server of the test's own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use homeostasis::core::testing::engine::{Engine, Scratch, find, free_port};
use homeostasis::signals::RedisProbeConfig;

use super::{PASSWORD, START, run, target};

/// A server with the default user's password.
#[derive(Debug)]
pub(crate) struct Redis {
    program: PathBuf,
    cli: PathBuf,
    engine: Option<Engine>,
    pub(crate) port: u16,
    scratch: Scratch,
}

impl Redis {
    /// None if it is not installed.
    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        let mut server = Self {
            program: find("redis-server", &["/usr/local/bin"])?,
            cli: find("redis-cli", &["/usr/local/bin"])?,
            engine: None,
            port: free_port(),
            scratch: Scratch::new(),
        };
        server.launch(settings);
        Some(server)
    }

    /// Starts it again, on the same port with the same data.
    pub(crate) fn launch(&mut self, settings: &[&str]) {
        let mut command = Command::new(&self.program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.arg("--dir").arg(self.scratch.path());
        command.args([
            "--requirepass",
            PASSWORD,
            "--save",
            "",
            "--enable-debug-command",
            "yes",
        ]);
        command.args(settings);
        let engine = self.engine.insert(Engine::start(command));
        engine.wait_for_port(self.port, START);
    }

    pub(crate) fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    /// Kills it; what it listened on is closed.
    pub(crate) fn kill(&mut self) {
        self.engine = None;
    }

    /// Runs one command.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let mut cli = Command::new(&self.cli);
        cli.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "--no-auth-warning",
        ]);
        cli.args(["-a", PASSWORD]).args(words);
        run(&mut cli).trim().to_owned()
    }

    pub(crate) fn config(&self) -> RedisProbeConfig {
        let address = format!("127.0.0.1:{}", self.port);
        let mut config = RedisProbeConfig::new("cache", target(), address);
        config.password = Some(PASSWORD.into());
        config.timeout = Duration::from_secs(10);
        config.slow_after = config.timeout;
        config
    }
}
