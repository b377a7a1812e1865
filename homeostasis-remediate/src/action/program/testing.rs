//! A program that records what it is given and answers as a script of the test says.

use std::fs;
use std::path::PathBuf;

use homeostasis_core::Target;
use serde_json::Value;

use super::tool::Tool;
use crate::action::{Action, ActionCall, ActionError, ToolAction, laws};

/// Marks the end of an argument, and of all of one call: no argument holds it.
const END: char = '\u{1f}';

pub(crate) struct Fake(tempfile::TempDir);

impl Fake {
    /// `script` runs in a shell, in a folder with these files; the arguments are recorded before.
    pub(crate) fn new(script: &str, files: &[(&str, &str)]) -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        for (name, content) in files {
            fake.write(name, content);
        }
        fake.write("calls", "");
        let record = r#"cd "$(dirname "$0")" || exit 99
            { for arg; do printf '%s\037' "$arg"; done; printf '\036'; } >> calls
            "#;
        fake.write("script", &format!("{record}{script}\n"));
        fake
    }

    /// A shell reads the script: nothing new is executed, so nobody finds it busy.
    pub(crate) fn tool(&self) -> Tool {
        Tool::at("/bin/sh").unwrap().arg(self.script())
    }

    /// What a shell reads as that program.
    pub(crate) fn script(&self) -> String {
        self.path("script").to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The arguments of each call since this was asked last.
    pub(crate) fn calls(&self) -> Vec<Vec<String>> {
        let calls = self.read("calls");
        self.write("calls", "");
        let calls = calls.split_terminator('\u{1e}');
        calls
            .map(|call| call.split_terminator(END).map(str::to_owned).collect())
            .collect()
    }

    /// One run as playbooks have it: checked, captured, performed.
    pub(crate) async fn perform(
        &self,
        action: &dyn Action,
        args: &Value,
    ) -> Result<Value, ActionError> {
        perform(action, args).await
    }
}

pub(super) async fn perform(action: &dyn Action, args: &Value) -> Result<Value, ActionError> {
    let mut args = args.as_object().unwrap().clone();
    action.spec().fill_defaults(&mut args);
    let mut problems = action.spec().problems(&args, false);
    problems.extend(action.check(&args));
    if let Some(problem) = problems.first() {
        return Err(ActionError::invalid(&problem.pointer, &problem.expected));
    }
    let (cx, target, key) = (
        laws::context(),
        Target::service("orders").unwrap(),
        laws::key(0),
    );
    let call = ActionCall::new(&target, &args, &key);
    let captured = action.capture(&cx, &call).await?;
    action.perform(&cx, &call.with_captured(&captured)).await
}

/// What was refused, with what was expected.
pub(super) fn refusal(result: Result<Value, ActionError>) -> String {
    result.expect_err("it was refused").report().to_string()
}

/// What the program says when the action runs it without having been able to ask.
pub(super) async fn run_unasked(action: &ToolAction, args: &Value) -> String {
    let mut args = args.as_object().unwrap().clone();
    action.spec().fill_defaults(&mut args);
    let (cx, target, key) = (
        laws::context(),
        Target::service("orders").unwrap(),
        laws::key(0),
    );
    let call = ActionCall::new(&target, &args, &key);
    let asked = action.capture(&cx, &call).await.unwrap_err().report();
    let done = action.run_only(&cx, &call).await.unwrap_err().report();
    format!("{asked}\n{done}")
}

/// A network of its own, of which this process is root; it ends when this is dropped.
pub(super) struct Namespace {
    engine: homeostasis_core::testing::engine::Engine,
    nsenter: PathBuf,
}

impl Namespace {
    /// `None`, said aloud, where the machine lacks `program` or does not let us have one.
    pub(crate) fn with(program: &str) -> Option<Self> {
        use homeostasis_core::testing::engine;
        let sbin = &["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        engine::find(program, sbin)?;
        let (unshare, nsenter) = (
            engine::find("unshare", sbin)?,
            engine::find("nsenter", sbin)?,
        );
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        #[expect(
            clippy::disallowed_methods,
            reason = "the test makes a network of its own"
        )]
        let command = |script: &str| {
            let mut command = std::process::Command::new(&unshare);
            command
                .args(["--map-root-user", "--net", "sh", "-c", script])
                .arg(&ready);
            command
        };
        let can = command("ip link add v0 type veth peer name v1 && :")
            .output()
            .unwrap();
        if !can.status.success() {
            engine::missing("the right to a network of its own");
            return None;
        }
        let mut engine = engine::Engine::start(command(": > \"$0\"; sleep 600; :"));
        let patience = std::time::Duration::from_secs(30);
        engine.wait_until("network", patience, || ready.exists());
        Some(Self { engine, nsenter })
    }

    /// `program` in that network.
    pub(crate) fn tool(&self, program: &str) -> Tool {
        let target = format!("--target={}", self.engine.id());
        let tool = Tool::at(&self.nsenter).unwrap().arg(target);
        ["--user", "--net", "--preserve-credentials", "--", program]
            .into_iter()
            .fold(tool, Tool::arg)
    }

    pub(crate) fn ip(&self, args: &[&str]) -> String {
        self.ask("ip", args)
    }

    pub(crate) fn nft(&self, args: &[&str]) -> String {
        self.ask("nft", args)
    }

    fn ask(&self, program: &str, args: &[&str]) -> String {
        #[expect(clippy::disallowed_methods, reason = "the test looks at its network")]
        let output = std::process::Command::new(&self.nsenter)
            .arg(format!("--target={}", self.engine.id()))
            .args(["--user", "--net", "--preserve-credentials", "--", program])
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}
