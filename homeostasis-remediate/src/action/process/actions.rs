//! `start_process`, `restart_process` and `stop_process`.

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value, json};

use super::identity::ProcessId;
use super::supervisor::{ProcessError, ProcessSupervisor};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, ProbeAnswer,
    unknown_name,
};

/// Restarts a registered process, or starts it if it is down.
///
/// Parameter: `process` (a registered name). It is probeable: it happened if another process than
/// the captured one lives, and that one began after the intent. There is nothing to take back.
#[derive(Debug)]
pub struct RestartProcess {
    spec: ActionSpec,
    supervisor: ProcessSupervisor,
}

/// Starts a registered process unless it lives; undo stops it if it did not live before.
///
/// Parameters: `process` (a registered name), and `must_be_new`: with `true` it refuses to begin if one
/// lives already, which is not the version that is to be started. Default `false`.
#[derive(Debug)]
pub struct StartProcess {
    spec: ActionSpec,
    supervisor: ProcessSupervisor,
}

/// Stops a registered process; undo starts it again if it ran before.
///
/// Parameter: `process` (a registered name).
#[derive(Debug)]
pub struct StopProcess {
    spec: ActionSpec,
    supervisor: ProcessSupervisor,
}

fn spec(description: &str) -> ActionSpec {
    ActionSpec::new(description)
        .with_params([Param::required("process", ParamKind::Name, "which process")])
        .with_risk(RiskLevel::Medium)
}

impl RestartProcess {
    /// The action for the processes of `supervisor`.
    pub fn new(supervisor: ProcessSupervisor) -> Self {
        Self {
            spec: spec("restart a process, or start it if it is down")
                .with_effect(EffectClass::Probeable)
                .with_inverse(Inverse::Nothing),
            supervisor,
        }
    }
}

impl StartProcess {
    /// The action for the processes of `supervisor`.
    pub fn new(supervisor: ProcessSupervisor) -> Self {
        Self {
            spec: spec("start a process unless it lives")
                .with_params([
                    Param::required("process", ParamKind::Name, "which process"),
                    Param::optional("must_be_new", ParamKind::Bool, "it must not live already"),
                ])
                .with_effect(EffectClass::Idempotent)
                .with_inverse(Inverse::Captured("whether it lived".to_owned())),
            supervisor,
        }
    }
}

impl StopProcess {
    /// The action for the processes of `supervisor`.
    pub fn new(supervisor: ProcessSupervisor) -> Self {
        Self {
            spec: spec("stop a process")
                .with_effect(EffectClass::Idempotent)
                .with_inverse(Inverse::Captured("the process, if it ran".to_owned())),
            supervisor,
        }
    }
}

fn failed(name: &str, error: ProcessError) -> ActionError {
    let what = format!("process {name:?}");
    match error {
        ProcessError::Unknown { .. } => ActionError::argument("process", "a registered process"),
        error @ ProcessError::TooOften { .. } => {
            let kind = error.kind();
            ActionError::not_begun(what, kind, error)
        }
        error => ActionError::Failed {
            what,
            kind: error.kind(),
            source: Some(error.into()),
        },
    }
}

/// The process and the moment before.
fn captured(call: &ActionCall<'_>) -> Result<(Option<ProcessId>, u64), ActionError> {
    let malformed = || ActionError::invalid("captured state", "expected a process and a moment");
    let before =
        serde_json::from_value(call.captured["process"].clone()).map_err(|_| malformed())?;
    let at_ticks = call.captured["at_ticks"].as_u64().ok_or_else(malformed)?;
    Ok((before, at_ticks))
}

fn capture(supervisor: &ProcessSupervisor, call: &ActionCall<'_>) -> Result<Value, ActionError> {
    let name = call.text("process")?;
    // The moment first: a process that appears in between counts as newer.
    let at_ticks = ProcessId::now_ticks()
        .ok_or_else(|| ActionError::invalid("/proc/uptime", "expected the machine's uptime"))?;
    let process = supervisor
        .running(name)
        .map_err(|error| failed(name, error))?;
    Ok(json!({ "process": process, "at_ticks": at_ticks }))
}

fn touches(supervisor: &ProcessSupervisor, target: &Target, args: &Map<String, Value>) -> Target {
    args.get("process")
        .and_then(Value::as_str)
        .and_then(|name| supervisor.target(name))
        .unwrap_or_else(|| target.clone())
}

#[async_trait]
impl Action for RestartProcess {
    fn name(&self) -> &'static str {
        "restart_process"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        touches(&self.supervisor, target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "process", self.supervisor.names().iter())
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        capture(&self.supervisor, call)
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (name, (before, _)) = (call.text("process")?, captured(call)?);
        let process = self
            .supervisor
            .restart(name, before)
            .await
            .map_err(|error| failed(name, error))?;
        Ok(json!({ "process": process, "was": before }))
    }

    async fn probe(&self, _: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        let answer = || {
            let (name, (before, at_ticks)) = (call.text("process")?, captured(call)?);
            let now = self
                .supervisor
                .running(name)
                .map_err(|error| failed(name, error))?;
            Ok::<_, ActionError>(match now {
                Some(now) if Some(now) != before && now.start_ticks >= at_ticks => {
                    ProbeAnswer::Happened(json!({ "process": now, "was": before }))
                }
                Some(now) if Some(now) != before => ProbeAnswer::CannotTell(format!(
                    "process {} is another one than before, but older than the attempt",
                    now.pid
                )),
                _ => ProbeAnswer::DidNot,
            })
        };
        answer().unwrap_or_else(|error| ProbeAnswer::CannotTell(error.report().to_string()))
    }
}

#[async_trait]
impl Action for StartProcess {
    fn name(&self) -> &'static str {
        "start_process"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        touches(&self.supervisor, target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "process", self.supervisor.names().iter())
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        capture(&self.supervisor, call)
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let name = call.text("process")?;
        let must_be_new = call.args.get("must_be_new") == Some(&Value::Bool(true));
        if must_be_new && let Some(process) = captured(call)?.0 {
            let detail = format!("{} lives, expected none", json!(process));
            return Err(ActionError::invalid(format!("process {name:?}"), detail));
        }
        let started = self.supervisor.start(name).await;
        let process = started.map_err(|error| failed(name, error))?;
        Ok(json!({ "process": process }))
    }

    async fn undo(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (name, (before, _)) = (call.text("process")?, captured(call)?);
        if before.is_some() {
            return Ok(json!({ "stopped": null }));
        }
        let stopped = self.supervisor.stop(name).await;
        let stopped = stopped.map_err(|error| failed(name, error))?;
        Ok(json!({ "stopped": stopped }))
    }
}

#[async_trait]
impl Action for StopProcess {
    fn name(&self) -> &'static str {
        "stop_process"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        touches(&self.supervisor, target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "process", self.supervisor.names().iter())
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        capture(&self.supervisor, call)
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let name = call.text("process")?;
        let stopped = self
            .supervisor
            .stop(name)
            .await
            .map_err(|error| failed(name, error))?;
        Ok(json!({ "stopped": stopped }))
    }

    async fn undo(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (name, (before, _)) = (call.text("process")?, captured(call)?);
        if before.is_none() {
            return Ok(json!({ "started": null }));
        }
        let started = self
            .supervisor
            .start(name)
            .await
            .map_err(|error| failed(name, error))?;
        Ok(json!({ "started": started }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::action::ProcessSpec;
    use crate::action::laws::{self, RealClock};

    fn supervisor(dir: &tempfile::TempDir) -> ProcessSupervisor {
        let target = Target::instance("catalog", "0").unwrap();
        let argv = ["/usr/bin/sleep", "1000"];
        let mut spec = ProcessSpec::new(target, argv, dir.path().join("catalog.pid"));
        spec.intensity.max = 50;
        let supervisor = ProcessSupervisor::new(Arc::new(RealClock));
        supervisor.register("catalog", spec).unwrap();
        supervisor
    }

    #[tokio::test]
    async fn a_process_that_lives_is_not_taken_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = supervisor(&dir);
        let action = StartProcess::new(supervisor.clone());
        let (cx, key) = (laws::context(), laws::key(0));
        let target = Target::instance("catalog", "0").unwrap();
        let args = json!({"process": "catalog", "must_be_new": true});
        assert_eq!(action.spec().problems(args.as_object().unwrap(), false), []);
        let call = ActionCall::new(&target, args.as_object().unwrap(), &key);
        let captured = action.capture(&cx, &call).await.unwrap();
        let call = call.with_captured(&captured);
        // Its own is new, however often it is asked for.
        for _ in 0..2 {
            action.perform(&cx, &call).await.unwrap();
        }
        let again = ActionCall::new(&target, args.as_object().unwrap(), &key);
        let captured = action.capture(&cx, &again).await.unwrap();
        let refused = action.perform(&cx, &again.with_captured(&captured)).await;
        let error = refused.unwrap_err();
        assert!(
            !error.may_have_begun() && error.to_string().contains("expected none"),
            "{error}"
        );
        supervisor.stop("catalog").await.unwrap();
    }

    #[tokio::test]
    async fn a_restart_obeys_the_laws_whether_it_ran_before_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = supervisor(&dir);
        let action = RestartProcess::new(supervisor.clone());
        let args = json!({"process": "catalog"});
        for _ in 0..2 {
            // A start within the tick of the last one could not be told from it.
            tokio::time::sleep(Duration::from_millis(30)).await;
            let before = supervisor.running("catalog").unwrap();
            laws::repeat_and_undo(&action, &args, || supervisor.running("catalog").unwrap()).await;
            let after = supervisor.running("catalog").unwrap();
            assert!(after.is_some() && after != before);
        }
        supervisor.stop("catalog").await.unwrap();
    }

    #[tokio::test]
    async fn starting_obeys_the_laws_and_undo_stops_only_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = supervisor(&dir);
        let action = StartProcess::new(supervisor.clone());
        let args = json!({"process": "catalog"});
        for runs in [false, true] {
            if runs {
                supervisor.start("catalog").await.unwrap();
            }
            let observe = || supervisor.running("catalog").unwrap().is_some();
            assert_eq!(observe(), runs);
            laws::repeat_and_undo(&action, &args, observe).await;
        }
        supervisor.stop("catalog").await.unwrap();
    }

    #[tokio::test]
    async fn stopping_obeys_the_laws_and_undo_starts_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = supervisor(&dir);
        let action = StopProcess::new(supervisor.clone());
        let args = json!({"process": "catalog"});
        for runs in [false, true] {
            if runs {
                supervisor.start("catalog").await.unwrap();
            }
            let observe = || supervisor.running("catalog").unwrap().is_some();
            assert_eq!(observe(), runs);
            laws::repeat_and_undo(&action, &args, observe).await;
        }
        supervisor.stop("catalog").await.unwrap();
    }

    #[tokio::test]
    async fn a_probe_after_a_kill_in_the_middle_says_that_it_did_not_happen() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = supervisor(&dir);
        let action = RestartProcess::new(supervisor.clone());
        supervisor.start("catalog").await.unwrap();
        let args = json!({"process": "catalog"}).as_object().unwrap().clone();
        let (target, key, cx) = (
            Target::service("catalog").unwrap(),
            laws::key(0),
            laws::context(),
        );
        let call = ActionCall::new(&target, &args, &key);
        let captured = action.capture(&cx, &call).await.unwrap();
        let call = call.with_captured(&captured);
        // The healer was killed after it stopped the old process and before it started a new one.
        supervisor.stop("catalog").await.unwrap();
        assert_eq!(action.probe(&cx, &call).await, ProbeAnswer::DidNot);
        action.perform(&cx, &call).await.unwrap();
        assert!(matches!(
            action.probe(&cx, &call).await,
            ProbeAnswer::Happened(_)
        ));
        supervisor.stop("catalog").await.unwrap();
    }

    #[test]
    fn it_counts_as_its_process_and_unknown_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let action = RestartProcess::new(supervisor(&dir));
        let gateway = Target::service("gateway").unwrap();
        let args = |name: &str| json!({ "process": name }).as_object().unwrap().clone();
        assert_eq!(
            action.touches(&gateway, &args("catalog")).to_string(),
            "catalog/0"
        );
        assert_eq!(action.check(&args("catalogue")).len(), 1);
    }
}
