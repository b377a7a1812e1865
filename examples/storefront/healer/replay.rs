//! The tests of a patch: the request that failed is asked again of the patched source, in a sandbox,
//! and the tests of the service are run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use homeostasis::core::record::PatchCandidate;
use homeostasis::core::stage::{PatchCheck, PatchError, PatchReport};
use homeostasis::core::{Context, Target, async_trait};
use homeostasis::patch::sandbox::{
    CopyConfig, Layer, Sandbox, SandboxCommand, SandboxConfig, SandboxError,
};
use homeostasis::patch::trial::{Level, Trial, TrialPlan, TrialTest};
use serde_json::json;

use super::target;
use crate::BoxError;
use crate::deployment::ServiceName;
use crate::json_log::JsonLog;
use crate::labels::LabelsSpec;

/// How far back the request is looked for that failed.
const LOOK_BACK: Duration = Duration::from_secs(60);

/// Tests a patch by the last request that failed.
#[derive(Debug)]
pub(super) struct Replay {
    labels: Target,
    python: PathBuf,
    trials: PathBuf,
    sandbox: SandboxConfig,
}

impl Replay {
    /// The sandbox is the strictest that the machine has; if that is less than namespaces, the log
    /// says so.
    pub(super) fn new(spec: &LabelsSpec, log: &JsonLog) -> Result<Self, BoxError> {
        let mut sandbox = SandboxConfig::default();
        if let Err(error) = Sandbox::new(sandbox.clone()) {
            let SandboxError::Unprotected { .. } = &error else {
                return Err(error.into());
            };
            log.warn(
                "patches are tested without namespaces",
                json!({"error": error.to_string()}),
            );
            sandbox.minimum = [Layer::Landlock, Layer::Seccomp, Layer::Rlimits].into();
            Sandbox::new(sandbox.clone())?;
        }
        Ok(Self {
            labels: target(ServiceName::Labels)?,
            python: spec.python.clone(),
            trials: spec.trials.clone(),
            sandbox,
        })
    }

    fn command(&self, args: &[&str]) -> SandboxCommand {
        let python = self.python.to_string_lossy();
        SandboxCommand::new([&*python, "-B"].into_iter().chain(args.iter().copied()))
    }

    /// What shows the fault, and the tests of the service.
    fn plan(&self, kind: &str, path: &str) -> TrialPlan {
        let again = self.command(&["serve.py", "--replay", path]);
        let again = TrialTest::new(format!("GET {path}"), Level::Trigger, again);
        let tests = self.command(&["-m", "unittest", "-q", "test_labels"]);
        let mut plan = TrialPlan::default();
        plan.tests = vec![
            again.showing(kind),
            TrialTest::new("tests of the service", Level::Unit, tests),
        ];
        plan
    }
}

#[async_trait]
impl PatchCheck for Replay {
    fn name(&self) -> &str {
        "replay"
    }

    async fn check(
        &self,
        cx: &Context,
        patches: &[PatchCandidate],
        root: &Path,
    ) -> Result<PatchReport, PatchError> {
        let now = cx.now();
        let records = cx
            .observations()
            .logs(Some(&self.labels), now - LOOK_BACK, now);
        let mut failed = records.iter().rev().filter_map(|record| {
            let error = record.error.as_ref()?;
            Some((error.kind.as_str(), record.fields.get("path")?))
        });
        let Some((kind, path)) = failed.next() else {
            return Ok(PatchReport::refused("no request that failed is known"));
        };
        let sandbox = Sandbox::new(self.sandbox.clone())
            .map_err(|error| PatchError::permanent("making a sandbox", error))?;
        let plan = self.plan(kind, path);
        let trial = Trial::new(sandbox, plan, &self.trials, CopyConfig::default())
            .map_err(|error| PatchError::permanent("planning a trial", error))?;
        let mut report = trial.check(cx, patches, root).await?;
        let layers = self.sandbox.minimum.iter().map(ToString::to_string);
        let layers: Vec<_> = layers.collect();
        report
            .notes
            .push(format!("held by at least {}", layers.join(", ")));
        Ok(report)
    }
}
