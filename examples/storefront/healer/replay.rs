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
        TrialPlan {
            tests: vec![
                again.showing(kind),
                TrialTest::new("tests of the service", Level::Unit, tests),
            ],
            ..TrialPlan::default()
        }
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use homeostasis::SystemClock;
    use homeostasis::core::signal::{ErrorEvent, Frame};
    use homeostasis::core::testing::engine;
    use homeostasis::patch::SourceTree;
    use homeostasis::patch::trial::TrialVerdict;

    use super::super::hiding::HidingPatcher;
    use super::*;

    /// The validator refuses it before; here it is let pass.
    #[tokio::test]
    async fn tests_refuse_what_only_hides_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let python = engine::find("python3", &["/usr/bin", "/usr/local/bin"]);
        let bubblewrap = engine::find("bwrap", &["/usr/bin"]);
        let (Some(_), Some(_)) = (python, bubblewrap) else {
            return;
        };
        let mut ports = std::iter::repeat(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        let spec = LabelsSpec::prepare(dir.path(), &mut ports);
        let spec = spec.unwrap().unwrap();
        let log = JsonLog::open(&dir.path().join("shop.jsonl"), "shop").unwrap();
        let replay = Replay::new(&spec, &log).unwrap();

        let source = spec.source().unwrap();
        let raising = source
            .lines()
            .position(|it| it.contains("assert "))
            .unwrap();
        let mut error = ErrorEvent::new("python", "AssertionError", "a parcel of 31 kg");
        error.frames.push(Frame {
            file: spec.project.join("labels.py").display().to_string(),
            line: u32::try_from(raising + 1).unwrap(),
            ..Frame::default()
        });
        let tree = SourceTree::new(&spec.project);
        let hiding = HidingPatcher::propose_for(&tree, &error).unwrap();

        let plan = replay.plan("AssertionError", "/label/DE/31");
        let sandbox = Sandbox::new(replay.sandbox.clone()).unwrap();
        let trial = Trial::new(sandbox, plan, &spec.trials, CopyConfig::default()).unwrap();
        let cx = Context::new(Arc::new(SystemClock), 1);
        let report = trial.test(&cx, &spec.project, &hiding).await.unwrap();
        // The request is answered now, and what the answer promises is not so.
        assert!(report.after[0].attempts[0].ending.success(), "{report:?}");
        let TrialVerdict::Refused(reasons) = &report.verdict else {
            panic!("{report:?}")
        };
        assert!(
            reasons.concat().contains("tests of the service"),
            "{reasons:?}"
        );
        assert_eq!(spec.source().unwrap(), source);
    }
}
