//! The tests of a patch: the request that failed is asked again of the patched source, in a sandbox,
//! and the tests of the service are run.

use std::time::Duration;

use homeostasis::patch::sandbox::{
    CopyConfig, Layer, Sandbox, SandboxCommand, SandboxConfig, SandboxError,
};
use homeostasis::patch::trial::{Level, LoggedFailure, Trial, TrialPlan, TrialTest};
use serde_json::json;

use super::target;
use crate::BoxError;
use crate::deployment::ServiceName;
use crate::json_log::JsonLog;
use crate::labels::LabelsSpec;

/// How far back the request is looked for that failed.
const LOOK_BACK: Duration = Duration::from_secs(60);

/// Tests patches by the last request that failed and by the tests of the service.
///
/// The sandbox is the strictest that the machine has; if that is less than namespaces, the log says so.
pub(super) fn replay(spec: &LabelsSpec, log: &JsonLog) -> Result<Trial, BoxError> {
    let python = |args: &[&str]| {
        let python = spec.python.to_string_lossy();
        SandboxCommand::new([&*python, "-B"].into_iter().chain(args.iter().copied()))
    };
    let again = python(&["serve.py", "--replay", "{fields.path}"]);
    let again = TrialTest::new("GET {fields.path}", Level::Trigger, again).showing("{error.kind}");
    let failure = LoggedFailure::new(again)
        .of(target(ServiceName::Labels)?)
        .within(LOOK_BACK);
    let tests = python(&["-m", "unittest", "-q", "test_labels"]);
    let plan = TrialPlan {
        tests: vec![TrialTest::new("tests of the service", Level::Unit, tests)],
        ..TrialPlan::default()
    };
    let (sandbox, copy) = (strictest(log)?, CopyConfig::default());
    Ok(Trial::triggered_by(
        failure,
        sandbox,
        plan,
        &spec.trials,
        copy,
    )?)
}

fn strictest(log: &JsonLog) -> Result<Sandbox, BoxError> {
    match Sandbox::new(SandboxConfig::default()) {
        Err(error @ SandboxError::Unprotected { .. }) => {
            let said = json!({"error": error.to_string()});
            log.warn("patches are tested without namespaces", said);
            Ok(Sandbox::new(SandboxConfig {
                minimum: [Layer::Landlock, Layer::Seccomp, Layer::Rlimits].into(),
                ..SandboxConfig::default()
            })?)
        }
        made => Ok(made?),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use homeostasis::SystemClock;
    use homeostasis::core::signal::{ErrorEvent, Frame, Level, LogRecord};
    use homeostasis::core::testing::{RecordedObservations, engine};
    use homeostasis::core::{Clock, Context};
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
        let trial = replay(&spec, &log).unwrap();

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

        let mut record = LogRecord::new(SystemClock.now(), Level::Error, "failed");
        record.target = Some(target(ServiceName::Labels).unwrap());
        record.fields.insert("path", "/label/DE/31");
        record.error = Some(Box::new(error));
        let world = RecordedObservations::new().with_log(record);
        let cx = Context::new(Arc::new(SystemClock), 1);
        let report = trial.test(&cx, &spec.project, &hiding).await.unwrap();
        let TrialVerdict::Refused(reasons) = &report.verdict else {
            panic!("{report:?}")
        };
        assert!(reasons[0].contains("no trigger is known"), "{reasons:?}");

        let cx = cx.observing(Arc::new(world));
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
