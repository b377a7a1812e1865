//! Actions through one program each: pure functions build the arguments, one runner runs them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, iter};

use async_trait::async_trait;
use homeostasis_core::{ConfigError, Context, ErrorKind, IdempotencyKey, RunId, Target};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use super::runner::{Ended, command, run};
use crate::action::{Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, ProbeAnswer};

/// Where programs of the system are looked for; not on the `PATH`, which others may have set.
const PLACES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// How much of what a program prints is read to learn a state, in bytes.
const MAX_STATE: usize = 4 * 1024 * 1024;

/// Arguments of a program, after those the host fixed.
pub(super) type Argv = Vec<String>;

/// `Argv` of texts.
pub(super) fn argv<const N: usize>(args: [&str; N]) -> Argv {
    args.map(str::to_owned).to_vec()
}

/// A program of the system that actions run: where it is, and what the host fixes about it.
///
/// It is started without a shell, with `LC_ALL=C` and an environment cleared but for the variables
/// named. A program that is not there is refused when a playbook is read.
///
/// # Examples
/// ```
/// use homeostasis::remediate::action::Tool;
///
/// let sudo = Tool::at("/usr/bin/sudo")?.arg("-n").arg("/usr/bin/systemctl");
/// assert!(Tool::at("systemctl").is_err(), "an absolute path, please");
/// # drop(sudo);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    path: PathBuf,
    fixed: Argv,
    inherited: Vec<String>,
}

impl Tool {
    /// The program `name` where systems keep theirs: `sbin` and `bin` of `/usr/local`, `/usr` and
    /// `/`. One that is nowhere is looked for again when it is needed, in `/usr/bin`.
    pub fn find(name: &str) -> Self {
        let mut found = PLACES.iter().map(|place| Path::new(place).join(name));
        let path = found.find(|path| path.is_file());
        Self::new(path.unwrap_or_else(|| Path::new("/usr/bin").join(name)))
    }

    /// The program at `path`.
    ///
    /// # Errors
    /// If the path is not absolute.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let path = path.into();
        if !path.is_absolute() {
            let found = path.display();
            return Err(ConfigError::single("tool.path", found, "an absolute path"));
        }
        Ok(Self::new(path))
    }

    fn new(path: PathBuf) -> Self {
        Self {
            path,
            fixed: Argv::new(),
            inherited: ["PATH", "HOME", "KUBECONFIG"].map(str::to_owned).to_vec(),
        }
    }

    /// The same with one argument more that comes first, such as `--context=production`.
    ///
    /// It is shown: in dry runs, errors and what a step returns. A secret belongs into a file that
    /// is named here, or into a variable ([`Tool::inherit`]).
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.fixed.push(arg.into());
        self
    }

    /// The same with one variable more that it inherits. Default `PATH`, `HOME`, `KUBECONFIG`.
    pub fn inherit(mut self, name: impl Into<String>) -> Self {
        self.inherited.push(name.into());
        self
    }

    /// Whether the program is there now.
    pub fn is_there(&self) -> bool {
        self.path.is_file()
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn command(&self, args: &[String], key: &str) -> Command {
        let inherited = self.inherited.iter().map(String::as_str);
        let mut command = command(&self.path, inherited, key);
        command.env("LC_ALL", "C").args(&self.fixed).args(args);
        command
    }

    pub(super) async fn run(
        &self,
        cx: &Context,
        key: &str,
        args: &[String],
    ) -> Result<Ended, ActionError> {
        let command = self.command(args, key);
        run(cx, &self.name(), command, MAX_STATE).await
    }

    /// Everything as it would be run, for people.
    fn shown(&self, args: &[String]) -> Vec<String> {
        iter::once(self.name())
            .chain(self.fixed.iter().cloned())
            .chain(args.iter().cloned())
            .collect()
    }
}

/// What one action asks of its program. Everything is a pure function of the arguments, of the state
/// that was captured and of the state now.
pub(super) trait Verb: fmt::Debug + Send + Sync {
    /// What is wrong with arguments beyond their types.
    fn problems(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem>;

    /// The questions whose answers are the state; none where nothing can be asked.
    fn questions(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        let _ = call;
        Ok(Vec::new())
    }

    /// The state from what was answered, or what was expected of the answer.
    fn state(&self, call: &ActionCall<'_>, answers: &[String]) -> Result<Value, String> {
        let _ = (call, answers);
        Ok(Value::Null)
    }

    /// Why this must not be done in this state.
    fn refusal(&self, call: &ActionCall<'_>, before: &Value) -> Option<String> {
        let _ = (call, before);
        None
    }

    /// What is run, one after the other.
    fn doing(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError>;

    /// Whether it is done, as far as `now` tells; the captured state is in `call`.
    fn is_done(&self, call: &ActionCall<'_>, now: &Value) -> Option<bool> {
        let _ = (call, now);
        None
    }

    /// Whether the state may become as intended by itself: then what a first attempt finds is none
    /// of its work.
    fn comes_by_itself(&self) -> bool {
        false
    }

    /// The parameters that together name what it acts on, such as `namespace` and `deployment`.
    fn subject(&self) -> &'static [&'static str] {
        &[]
    }

    /// What is run to put back the captured state; nothing if it is back.
    fn undoing(&self, call: &ActionCall<'_>, now: &Value) -> Result<Vec<Argv>, ActionError> {
        let _ = (call, now);
        Ok(Vec::new())
    }
}

/// An action through a program of the system: `systemctl`, `kubectl`, `ip`, `nft` and others make
/// them, such as [`Systemctl::restart_unit`](super::Systemctl::restart_unit).
///
/// Before the first attempt the state is asked for and captured; an attempt that finds its work
/// done does nothing; after the program succeeded the state is asked for again and must be as
/// intended. Undo puts back what was captured, unless it is back already, and checks that too.
///
/// What a step returns: `ran` (every argument vector), `was` and `now` (the states).
#[derive(Clone)]
pub struct ToolAction {
    name: &'static str,
    spec: ActionSpec,
    tool: Tool,
    verb: Arc<dyn Verb>,
    targets: BTreeMap<String, Target>,
}

impl fmt::Debug for ToolAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolAction")
            .field("name", &self.name)
            .field("tool", &self.tool)
            .field("verb", &self.verb)
            .finish_non_exhaustive()
    }
}

impl ToolAction {
    pub(super) fn new(
        name: &'static str,
        spec: ActionSpec,
        tool: &Tool,
        verb: impl Verb + 'static,
    ) -> Self {
        Self {
            name,
            spec,
            tool: tool.clone(),
            verb: Arc::new(verb),
            targets: BTreeMap::new(),
        }
    }

    /// The same where a step on `subject` touches `target`, whatever it is planned for: blast radius
    /// and the limits per target follow that. A subject is a unit, a node, an interface, or namespace
    /// and name such as `shop/web`. One that is not named here counts as what the step is planned for,
    /// so name those that several services share.
    #[must_use]
    pub fn touching(mut self, subject: impl Into<String>, target: Target) -> Self {
        self.targets.insert(subject.into(), target);
        self
    }

    /// Placeholders are filled in by now: what is wrong is an error, and nothing has run.
    fn checked(&self, call: &ActionCall<'_>) -> Result<(), ActionError> {
        if let Some(problem) = self.verb.problems(call.args).into_iter().next() {
            let name = problem.pointer.trim_start_matches('/');
            return Err(ActionError::argument(name, &problem.expected));
        }
        // Also what only the doing looks at, before anything is even asked.
        self.verb.doing(call).map(drop)
    }

    /// Without looking before and after.
    #[cfg(test)]
    pub(super) async fn run_only(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
    ) -> Result<Vec<Vec<String>>, ActionError> {
        self.do_all(cx, call, &self.verb.doing(call)?).await
    }

    async fn ask(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let mut answers = Vec::new();
        for question in self.verb.questions(call)? {
            let ended = self.tool.run(cx, call.key.as_str(), &question).await?;
            let what = || format!("asking {}", self.tool.shown(&question).join(" "));
            if ended.code() != Some(0) {
                let why = ended.unexpected(0);
                return Err(ActionError::not_begun(what(), ErrorKind::Transient, why));
            }
            let answer = ended.out.whole().ok_or_else(|| {
                let why = format!("it printed more than {MAX_STATE} bytes");
                ActionError::not_begun(what(), ErrorKind::Permanent, why)
            })?;
            answers.push(answer);
        }
        self.verb
            .state(call, &answers)
            .map_err(|expected| ActionError::invalid(format!("state of `{}`", self.name), expected))
    }

    async fn do_all(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
        all: &[Argv],
    ) -> Result<Vec<Vec<String>>, ActionError> {
        let mut ran = Vec::new();
        for args in all {
            let shown = self.tool.shown(args);
            let ended = self.tool.run(cx, call.key.as_str(), args).await;
            let ended = ended.map_err(|error| {
                // That this one did not begin is no news about those before it.
                if ran.is_empty() {
                    error
                } else {
                    ActionError::transient(shown.join(" "), error)
                }
            })?;
            if ended.code() != Some(0) {
                let why = ended.unexpected(0);
                return Err(ActionError::transient(shown.join(" "), why));
            }
            ran.push(shown);
        }
        Ok(ran)
    }
}

#[async_trait]
impl Action for ToolAction {
    fn name(&self) -> &'static str {
        self.name
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    /// Without what only a run knows: the key in the comment of a rule is that of no run.
    fn commands(&self, target: &Target, args: &Map<String, Value>) -> Vec<Vec<String>> {
        let mut args = args.clone();
        self.spec.fill_defaults(&mut args);
        let key = IdempotencyKey::new(RunId::from_u128(0), 0);
        let doing = self.verb.doing(&ActionCall::new(target, &args, &key));
        let doing = doing.unwrap_or_default();
        doing.iter().map(|argv| self.tool.shown(argv)).collect()
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        let names = self.verb.subject().iter();
        let names: Option<Vec<_>> = names.map(|param| args.get(*param)?.as_str()).collect();
        let subject = names.unwrap_or_default().join("/");
        self.targets.get(&subject).unwrap_or(target).clone()
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = self.verb.problems(args);
        if !self.tool.is_there() {
            let expected = format!(
                "the program {}, which is not on this machine",
                self.tool.name()
            );
            problems.push(ArgumentProblem::new("", expected));
        }
        problems
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        self.checked(call)?;
        let before = self.ask(cx, call).await?;
        match self.verb.refusal(call, &before) {
            Some(reason) => Err(ActionError::Denied { reason }),
            None => Ok(before),
        }
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        self.checked(call)?;
        let before = self.ask(cx, call).await?;
        let may_be_ours = call.attempt > 1 || !self.verb.comes_by_itself();
        if may_be_ours && self.verb.is_done(call, &before) == Some(true) {
            return Ok(json!({ "ran": [], "was": call.captured, "now": before }));
        }
        if let Some(reason) = self.verb.refusal(call, &before) {
            return Err(ActionError::Denied { reason });
        }
        let ran = self.do_all(cx, call, &self.verb.doing(call)?).await?;
        let now = self.ask(cx, call).await;
        let now = now.map_err(|error| ActionError::transient("looking at the result", error))?;
        if self.verb.is_done(call, &now) == Some(false) {
            let why = format!("it said it succeeded, but the state is {now}");
            return Err(ActionError::transient(format!("`{}`", self.name), why));
        }
        Ok(json!({ "ran": ran, "was": call.captured, "now": now }))
    }

    async fn probe(&self, cx: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        let now = match self.ask(cx, call).await {
            Ok(now) => now,
            Err(error) => return ProbeAnswer::CannotTell(error.report().to_string()),
        };
        match self.verb.is_done(call, &now) {
            Some(true) => ProbeAnswer::Happened(json!({ "was": call.captured, "now": now })),
            Some(false) => ProbeAnswer::DidNot,
            None => ProbeAnswer::CannotTell(format!("the state {now} does not tell")),
        }
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        if !self.spec.inverse.is_reversible() {
            let reason = format!("`{}` has no inverse", self.name);
            return Err(ActionError::Denied { reason });
        }
        self.checked(call)?;
        let all = self.verb.undoing(call, &self.ask(cx, call).await?)?;
        let ran = self.do_all(cx, call, &all).await?;
        let now = self.ask(cx, call).await;
        let now = now.map_err(|error| ActionError::transient("looking at the result", error))?;
        if !ran.is_empty() && !self.verb.undoing(call, &now)?.is_empty() {
            let why = format!("it said it succeeded, but the state is {now}");
            return Err(ActionError::transient(
                format!("undo of `{}`", self.name),
                why,
            ));
        }
        Ok(json!({ "ran": ran, "now": now }))
    }
}
