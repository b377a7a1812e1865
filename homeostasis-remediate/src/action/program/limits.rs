//! `set_resource_limit`: what a running process may use.

use std::fs;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, ErrorKind, Target};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Map, Value, json};

use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, ProcessId,
    ProcessSupervisor, unknown_name,
};

/// Name, resource, and how `/proc/<pid>/limits` calls it.
const LIMITS: [(&str, Resource, &str); 6] = [
    ("open_files", Resource::Nofile, "Max open files"),
    ("processes", Resource::Nproc, "Max processes"),
    ("address_space_bytes", Resource::As, "Max address space"),
    ("file_size_bytes", Resource::Fsize, "Max file size"),
    ("core_file_bytes", Resource::Core, "Max core file size"),
    (
        "locked_memory_bytes",
        Resource::Memlock,
        "Max locked memory",
    ),
];

const NAMES: [&str; 6] = [
    "open_files",
    "processes",
    "address_space_bytes",
    "file_size_bytes",
    "core_file_bytes",
    "locked_memory_bytes",
];

/// Sets a soft limit of a registered process while it runs (`prlimit(2)`); undo sets the one before.
///
/// Parameters: `process` (a registered name), `limit` (`open_files`, `processes`,
/// `address_space_bytes`, `file_size_bytes`, `core_file_bytes`, `locked_memory_bytes`), `value` (at
/// most the process's hard limit, which stays: who lowers that cannot raise it again).
///
/// Idempotent, medium risk. The process itself is bounded, and what it starts from then on; the next
/// process of the same name begins with the limits of its host.
#[derive(Debug)]
pub struct SetResourceLimit {
    spec: ActionSpec,
    supervisor: ProcessSupervisor,
}

impl SetResourceLimit {
    /// The action for the processes of `supervisor`.
    pub fn new(supervisor: ProcessSupervisor) -> Self {
        let value = ParamKind::Integer {
            min: 0,
            max: i64::MAX,
        };
        let spec = ActionSpec::new("limit what a running process may use")
            .with_params([
                Param::required("process", ParamKind::Name, "which process"),
                Param::required("limit", ParamKind::OneOf(&NAMES), "of what"),
                Param::required("value", value, "how much"),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Captured("the limit before".to_owned()));
        Self { spec, supervisor }
    }

    fn running(&self, call: &ActionCall<'_>) -> Result<ProcessId, ActionError> {
        let name = call.text("process")?;
        let running = self.supervisor.running(name).map_err(|error| {
            let kind = error.kind();
            ActionError::not_begun(format!("process {name:?}"), kind, error)
        })?;
        running.ok_or_else(|| {
            ActionError::invalid(format!("process {name:?}"), "expected one that runs")
        })
    }
}

fn limit(call: &ActionCall<'_>) -> Result<(Resource, &'static str), ActionError> {
    let name = call.text("limit")?;
    let found = LIMITS.iter().find(|limit| limit.0 == name);
    found
        .map(|limit| (limit.1, limit.2))
        .ok_or_else(|| ActionError::argument("limit", &ParamKind::OneOf(&NAMES).expected()))
}

/// Soft and hard limit as the kernel shows them; `None` is none.
fn limits(process: ProcessId, label: &str) -> Result<[Option<u64>; 2], ActionError> {
    let what = || format!("limits of process {}", process.pid);
    let text = fs::read_to_string(format!("/proc/{}/limits", process.pid))
        .map_err(|error| ActionError::not_begun(what(), ErrorKind::Permanent, error))?;
    let parsed = text.lines().find_map(|line| {
        let mut words = line.strip_prefix(label)?.split_whitespace();
        let mut next = || match words.next()? {
            "unlimited" => Some(None),
            number => number.parse().ok().map(Some),
        };
        Some([next()?, next()?])
    });
    // Whether it is still the process whose limits these are.
    match parsed.filter(|_| process.is_alive()) {
        Some(limits) => Ok(limits),
        None => Err(ActionError::invalid(
            what(),
            format!("expected a line {label:?}"),
        )),
    }
}

fn set(
    process: ProcessId,
    resource: Resource,
    soft: Option<u64>,
    hard: Option<u64>,
) -> Result<(), ActionError> {
    let what = format!("setting a limit of process {}", process.pid);
    let pid = Pid::from_raw(process.pid).filter(|_| process.is_alive());
    let Some(pid) = pid else {
        return Err(ActionError::not_begun(
            what,
            ErrorKind::Permanent,
            "it has ended",
        ));
    };
    let new = Rlimit {
        current: soft,
        maximum: hard,
    };
    let set = prlimit(Some(pid), resource, new);
    set.map(drop)
        .map_err(|error| ActionError::permanent(what, error))
}

#[async_trait]
impl Action for SetResourceLimit {
    fn name(&self) -> &'static str {
        "set_resource_limit"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        args.get("process")
            .and_then(Value::as_str)
            .and_then(|name| self.supervisor.target(name))
            .unwrap_or_else(|| target.clone())
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        unknown_name(args, "process", self.supervisor.names().iter())
    }

    async fn capture(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (process, (_, label), value) =
            (self.running(call)?, limit(call)?, call.unsigned("value")?);
        let [soft, hard] = limits(process, label)?;
        if hard.is_some_and(|hard| value > hard) {
            let expected = format!(
                "at most {hard:?}, the hard limit of process {}",
                process.pid
            );
            return Err(ActionError::argument("value", &expected));
        }
        Ok(json!({ "process": process, "soft": soft, "hard": hard }))
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (resource, label) = limit(call)?;
        let (process, value) = (self.running(call)?, call.unsigned("value")?);
        let [_, hard] = limits(process, label)?;
        set(process, resource, Some(value), hard)?;
        let [now, _] = limits(process, label)?;
        if now != Some(value) {
            let why = format!("the limit is {now:?} and not {value}");
            return Err(ActionError::permanent("setting a limit", why));
        }
        Ok(json!({ "process": process, "soft": now, "was": call.captured["soft"] }))
    }

    async fn undo(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let malformed =
            |_| ActionError::invalid("captured state", "expected a process and its limit");
        let process: ProcessId =
            serde_json::from_value(call.captured["process"].clone()).map_err(malformed)?;
        let before: Option<u64> =
            serde_json::from_value(call.captured["soft"].clone()).map_err(malformed)?;
        let (resource, label) = limit(call)?;
        // The limits of a process end with it.
        if !process.is_alive() {
            return Ok(json!({ "process": null }));
        }
        let [_, hard] = limits(process, label)?;
        set(process, resource, before, hard)?;
        Ok(json!({ "process": process, "soft": before }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::action::ProcessSpec;
    use crate::action::laws::{self, RealClock};

    #[tokio::test]
    async fn limits_of_a_real_process_are_set_and_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = ProcessSupervisor::new(Arc::new(RealClock));
        let target = Target::instance("catalog", "0").unwrap();
        let spec = ProcessSpec::new(target, ["/usr/bin/sleep", "1000"], dir.path().join("pid"));
        supervisor.register("catalog", spec).unwrap();
        let action = SetResourceLimit::new(supervisor.clone());
        let down = json!({"process": "catalog", "limit": "open_files", "value": 64});
        let (cx, key) = (laws::context(), laws::key(0));
        let target = Target::service("x").unwrap();
        let args = down.as_object().unwrap().clone();
        let call = ActionCall::new(&target, &args, &key);
        assert!(
            action
                .capture(&cx, &call)
                .await
                .unwrap_err()
                .to_string()
                .contains("catalog")
        );
        let process = supervisor.start("catalog").await.unwrap();
        for (name, _, label) in LIMITS {
            let args = json!({"process": "catalog", "limit": name, "value": 64});
            laws::repeat_and_undo(&action, &args, || limits(process, label).unwrap()).await;
        }
        let much = json!({"process": "catalog", "limit": "open_files", "value": i64::MAX});
        let much = much.as_object().unwrap().clone();
        let call = ActionCall::new(&target, &much, &key);
        let refused = action.capture(&cx, &call).await.unwrap_err().to_string();
        assert!(refused.contains("hard limit"), "{refused}");
        supervisor.stop("catalog").await.unwrap();
        let captured = json!({"process": process, "soft": 5, "hard": 5});
        let call = ActionCall::new(&target, &args, &key).with_captured(&captured);
        assert_eq!(
            action.undo(&cx, &call).await.unwrap()["process"],
            Value::Null
        );
    }
}
