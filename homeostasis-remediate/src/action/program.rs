//! `run_program`: a program the host allows, with arguments, without a shell.

mod firewall;
mod interface;
mod kubernetes;
mod limits;
mod maintenance;
mod names;
mod runner;
mod systemd;
#[cfg(test)]
pub(super) mod testing;
mod tool;
mod unit_limits;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{ConfigError, Context, Target};
use serde_json::{Map, Value, json};
use tokio::process::Command;

pub use firewall::Firewall;
pub use interface::NetworkInterfaces;
pub use kubernetes::Kubectl;
#[cfg(feature = "kube")]
pub use kubernetes::{HttpRouteRouter, HttpRouteSlots};
pub use limits::SetResourceLimit;
pub use maintenance::{PackageCache, flush_dns_cache};
pub use systemd::Systemctl;
pub use tool::{Tool, ToolAction};

use self::runner::{command, run};
use super::flag::new_name;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Capture, Param, ParamKind,
    unknown_name,
};

/// How much of each stream is kept; the rest is read and dropped.
const MAX_STREAM: usize = 8 * 1024;

/// A program that playbooks may run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Program {
    /// Its absolute path.
    pub path: PathBuf,
    /// Arguments that always come first; a playbook's follow.
    pub fixed_args: Vec<String>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Names of variables it inherits; everything else is cleared. Default `PATH`.
    pub inherit_env: Vec<String>,
    /// Where it runs; `None` is where the host runs.
    pub cwd: Option<PathBuf>,
    /// What is known about running it twice. Default opaque.
    pub effect: EffectClass,
}

impl Program {
    /// The program at `path` with the defaults above.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            fixed_args: Vec::new(),
            env: BTreeMap::new(),
            inherit_env: vec!["PATH".to_owned()],
            cwd: None,
            effect: EffectClass::Opaque,
        }
    }

    /// The same, with the host's word that running it twice is as good as running it once.
    pub fn idempotent(mut self) -> Self {
        self.effect = EffectClass::Idempotent;
        self
    }
}

/// Runs a program the host allows. It never sees a shell, its environment is cleared but for what
/// the host lists, what it prints is kept up to 8 KiB a stream, and it is killed with everything
/// in its process group when its time is over.
///
/// Parameters: `program` (a registered name), `args` (a list of texts; placeholders become part of
/// one argument, whatever they hold), `expected_exit` (default 0).
#[derive(Debug)]
pub struct RunProgram {
    spec: ActionSpec,
    programs: BTreeMap<String, Program>,
}

impl Default for RunProgram {
    /// Without programs.
    fn default() -> Self {
        let exit = ParamKind::Integer { min: 0, max: 255 };
        let spec = ActionSpec::new("run a program the host allows")
            .with_params([
                Param::required("program", ParamKind::Name, "which program"),
                Param::optional("args", ParamKind::list_of(ParamKind::Text), "its arguments")
                    .taking(Capture::Word { max: 128 }),
                Param::optional("expected_exit", exit, "the exit status that means success").or(0),
            ])
            .with_effect(EffectClass::Opaque)
            .with_risk(RiskLevel::High)
            .with_inverse(Inverse::Irreversible(
                "nobody knows what the program did".to_owned(),
            ));
        Self {
            spec,
            programs: BTreeMap::new(),
        }
    }
}

impl RunProgram {
    /// The same with one program more.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, the path is not absolute, or the class is one
    /// that a program cannot have (keyed, probeable).
    pub fn allow(mut self, name: impl Into<String>, program: Program) -> Result<Self, ConfigError> {
        let name = new_name("programs", name.into(), &self.programs)?;
        if !program.path.is_absolute() {
            let found = program.path.display();
            return Err(ConfigError::single(
                format!("programs.{name}.path"),
                found,
                "an absolute path",
            ));
        }
        if matches!(program.effect, EffectClass::Keyed | EffectClass::Probeable) {
            let expected = "read, idempotent or opaque";
            return Err(ConfigError::single(
                format!("programs.{name}.effect"),
                program.effect,
                expected,
            ));
        }
        self.programs.insert(name, program);
        Ok(self)
    }

    fn command(&self, call: &ActionCall<'_>) -> Result<Command, ActionError> {
        let program = self
            .programs
            .get(call.text("program")?)
            .ok_or_else(|| ActionError::argument("program", "a registered program"))?;
        let inherited = program.inherit_env.iter().map(String::as_str);
        let mut command = command(&program.path, inherited, call.key.as_str());
        command.args(&program.fixed_args).envs(&program.env);
        for arg in call
            .args
            .get("args")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let arg = arg.as_str().filter(|arg| !arg.contains('\0'));
            command.arg(arg.ok_or_else(|| ActionError::argument("args", "texts without NUL"))?);
        }
        if let Some(cwd) = &program.cwd {
            command.current_dir(cwd);
        }
        Ok(command)
    }
}

#[async_trait]
impl Action for RunProgram {
    fn name(&self) -> &'static str {
        "run_program"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn effect(&self, args: &Map<String, Value>) -> EffectClass {
        args.get("program")
            .and_then(Value::as_str)
            .and_then(|name| self.programs.get(name))
            .map_or(EffectClass::Opaque, |program| program.effect)
    }

    fn inverse(&self, args: &Map<String, Value>) -> Inverse {
        match self.effect(args) {
            EffectClass::Read => Inverse::Nothing,
            _ => self.spec.inverse.clone(),
        }
    }

    fn commands(&self, _: &Target, args: &Map<String, Value>) -> Vec<Vec<String>> {
        let name = args.get("program").and_then(Value::as_str);
        let Some(program) = name.and_then(|name| self.programs.get(name)) else {
            return Vec::new();
        };
        let given = args.get("args").and_then(Value::as_array);
        let given = given.into_iter().flatten().filter_map(Value::as_str);
        let argv = [program.path.display().to_string()]
            .into_iter()
            .chain(program.fixed_args.iter().cloned())
            .chain(given.map(str::to_owned));
        vec![argv.collect()]
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "program", self.programs.keys())
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let name = call.text("program")?;
        let ended = run(cx, name, self.command(call)?, MAX_STREAM).await?;
        let expected = call.unsigned("expected_exit")?;
        if ended.code() == Some(expected) {
            let (out, err) = (ended.out.to_json(), ended.err.to_json());
            return Ok(json!({ "exit": expected, "stdout": out, "stderr": err }));
        }
        Err(ActionError::permanent(
            format!("program {name:?}"),
            ended.unexpected(expected),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use homeostasis_core::{ErrorKind, timeout};

    use super::*;
    use crate::action::laws;
    use crate::action::process::ProcessId;

    /// Tests may use a shell to play a misbehaving program; the library itself never does.
    fn action(script: &str) -> RunProgram {
        let mut shell = Program::new("/bin/sh");
        shell.fixed_args = vec!["-c".to_owned(), script.to_owned(), "sh".to_owned()];
        shell.env.insert("GREETING".to_owned(), "hello".to_owned());
        RunProgram::default().allow("script", shell).unwrap()
    }

    async fn run(script: &str, args: &[&str]) -> Result<Value, ActionError> {
        let action = action(script);
        let args = json!({"program": "script", "args": args, "expected_exit": 0});
        let args = args.as_object().unwrap().clone();
        let target = Target::service("orders").unwrap();
        let key = laws::key(2);
        let call = ActionCall::new(&target, &args, &key);
        action.perform(&laws::context(), &call).await
    }

    #[tokio::test]
    async fn arguments_arrive_as_they_are_and_the_environment_is_cleared() {
        let script = r#"printf '%s|' "$@"; env | cut -d= -f1 | sort | tr '\n' ' '"#;
        let output = run(script, &["a b", "$(touch /tmp/x)", "; rm"])
            .await
            .unwrap();
        let stdout = output["stdout"].as_str().unwrap();
        assert!(stdout.starts_with("a b|$(touch /tmp/x)|; rm|"), "{stdout}");
        assert_eq!(
            stdout.split('|').next_back().unwrap().trim(),
            "GREETING HOMEOSTASIS_KEY PATH PWD"
        );
    }

    #[tokio::test]
    async fn a_program_the_host_vouches_for_obeys_the_laws() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state");
        let mut copy = Program::new("/bin/sh").idempotent();
        let script = "printf %s \"$2\" > \"$1\"";
        copy.fixed_args = ["-c", script, "sh"].map(str::to_owned).to_vec();
        let action = RunProgram::default().allow("write", copy).unwrap();
        let args = json!({"program": "write", "args": [file.to_str().unwrap(), "$(id)"]});
        laws::repeat_and_undo(&action, &args, || std::fs::read_to_string(&file).ok()).await;
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "$(id)");
    }

    #[tokio::test]
    async fn endless_output_is_bounded() {
        let output = run("head -c 300000 /dev/zero | tr '\\0' x; echo end >&2", &[])
            .await
            .unwrap();
        assert_eq!(output["stdout"]["bytes"], 300_000);
        assert_eq!(
            output["stdout"]["truncated"].as_str().unwrap().len(),
            MAX_STREAM
        );
        assert_eq!(output["stderr"], "end\n");
    }

    #[tokio::test]
    async fn an_unexpected_exit_is_an_error_with_what_it_said() {
        let error = run("echo no space >&2; exit 3", &[]).await.unwrap_err();
        let report = error.report().to_string();
        assert!(
            report.contains("no space") && report.contains("exit status: 3"),
            "{report}"
        );
        assert_eq!(error.kind(), ErrorKind::Permanent);
    }

    #[tokio::test]
    async fn a_grandchild_that_holds_the_pipe_does_not_hold_the_step() {
        let output = run("sleep 5 & echo started", &[]).await.unwrap();
        assert_eq!(output["stdout"], "started\n");
    }

    #[tokio::test]
    async fn running_out_of_time_kills_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pids");
        let script = "sleep 1000 & echo $! $$ > \"$1.new\"; mv \"$1.new\" \"$1\"; wait";
        let path = file.to_str().unwrap().to_owned();
        let args = [path.as_str()];
        let mut step = Box::pin(run(script, &args));
        let pids = loop {
            // The step is dropped at its deadline: here, once both processes run.
            let clock = laws::RealClock;
            let waited = timeout(&clock, Duration::from_millis(10), &mut step).await;
            assert!(waited.is_err(), "it ended by itself");
            if let Ok(text) = std::fs::read_to_string(&file) {
                break text;
            }
        };
        let processes: Vec<_> = pids
            .split_whitespace()
            .map(|pid| ProcessId::of(pid.parse().unwrap()).expect("it runs"))
            .collect();
        assert_eq!(processes.len(), 2);
        drop(step);
        let gone = async {
            while processes.iter().any(|process| process.is_alive()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone)
            .await
            .expect("they live on");
    }

    #[test]
    fn only_listed_programs_with_absolute_paths() {
        assert!(
            RunProgram::default()
                .allow("ls", Program::new("ls"))
                .is_err()
        );
        let mut probed = Program::new("/bin/ls");
        probed.effect = EffectClass::Probeable;
        assert!(RunProgram::default().allow("ls", probed).is_err());
        let action = action("true");
        let args = json!({"program": "bash"}).as_object().unwrap().clone();
        assert_eq!(action.check(&args)[0].pointer, "/program");
        let args = json!({"program": "script"}).as_object().unwrap().clone();
        assert_eq!(action.effect(&args), EffectClass::Opaque);
        assert!(!action.inverse(&args).is_reversible());
    }
}
