//! Twenty small services of Python, each with one bug in a rare path, healed as users heal theirs:
//! the traceback is read, candidates are proposed, validated, and tried in the sandbox with the
//! trigger and all tests of the service.
//!
//! The folders in `services/` hold `service.py`, `test_service.py` with what is right (for the
//! input that fails, too) and `trigger.py`, which runs into the bug.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use homeostasis::signals::{ErrorNormalizer, ErrorNormalizerConfig};
use homeostasis_core::stage::PatchCheck;
use homeostasis_core::testing::engine;
use homeostasis_core::{Clock, Context, ManualClock, Timestamp};
use homeostasis_patch::sandbox::{
    CopyConfig, Layer, ProjectCopy, Sandbox, SandboxCommand, SandboxConfig,
};
use homeostasis_patch::trial::{Level, Trial, TrialPlan, TrialTest};
use homeostasis_patch::{PatchValidator, RefusalReason, ValidatorConfig};

use super::*;

const PYTHON: &str = "/usr/bin/python3";

/// How many candidates of a service are tried.
const N_TRIED: usize = 5;

/// Each service and what it raises.
const SERVICES: [(&str, &str); 20] = [
    ("order_totals", "KeyError"),
    ("rate_table", "KeyError"),
    ("paging", "IndexError"),
    ("profile_card", "AttributeError"),
    ("label_rendering", "TypeError"),
    ("audit_lines", "TypeError"),
    ("campaign_report", "ZeroDivisionError"),
    ("webhook_signature", "ValueError"),
    ("sensor_readings", "ValueError"),
    ("log_ingest", "UnicodeDecodeError"),
    ("queue_messages", "JSONDecodeError"),
    ("settings_overlay", "FileNotFoundError"),
    ("session_cache", "RuntimeError"),
    ("carrier_choice", "UnboundLocalError"),
    ("stock_alerts", "NameError"),
    ("warehouse_allocation", "StopIteration"),
    ("retry_backoff", "OverflowError"),
    ("ledger_transfer", "AssertionError"),
    ("category_tree", "RecursionError"),
    ("spool_reader", "PermissionError"),
];

/// Those that no change of structure heals; each ends with a reason.
const REFUSED: [&str; 3] = ["ledger_transfer", "category_tree", "spool_reader"];

/// A service in a folder of its own, and the sandbox it is tried in.
struct Service {
    folder: tempfile::TempDir,
    source: String,
    sandbox: Sandbox,
    kind: &'static str,
}

impl Service {
    fn new((name, kind): (&str, &'static str), sandbox: Sandbox) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["project", "place"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/propose/services");
        for file in ["service.py", "test_service.py", "trigger.py"] {
            let text = fs::read(from.join(name).join(file)).unwrap();
            fs::write(folder.path().join("project").join(file), text).unwrap();
        }
        let source = fs::read_to_string(folder.path().join("project/service.py")).unwrap();
        Self {
            folder,
            source,
            sandbox,
            kind,
        }
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// What the trigger prints, read as the service's log would be.
    async fn error(&self) -> ErrorEvent {
        let place = self.folder.path().join("place");
        let copy = ProjectCopy::make(&self.project(), &place, &CopyConfig::default()).unwrap();
        let command = SandboxCommand::new([PYTHON, "-B", "trigger.py"]);
        let report = self.sandbox.run(&context(), &copy, &command).await.unwrap();
        assert!(!report.ending.success(), "{report:#?}");
        let normalizer = ErrorNormalizer::new(&ErrorNormalizerConfig::default()).unwrap();
        let error = normalizer.parse(&report.output).unwrap();
        assert!(error.kind.ends_with(self.kind), "{}", report.output);
        error
    }

    fn trial(&self) -> Trial {
        let trigger = SandboxCommand::new([PYTHON, "-B", "trigger.py"]);
        let tests = SandboxCommand::new([PYTHON, "-B", "-m", "unittest", "test_service"]);
        let plan = TrialPlan {
            tests: vec![
                TrialTest::new("trigger", Level::Trigger, trigger).showing(self.kind),
                TrialTest::new("tests", Level::Unit, tests),
            ],
            ..TrialPlan::default()
        };
        let place = self.folder.path().join("place");
        Trial::new(self.sandbox.clone(), plan, place, CopyConfig::default()).unwrap()
    }

    /// Which of the first candidates passes everything, counted from 1, with its template; or what
    /// became of each.
    async fn healed_by(&self, error: &ErrorEvent) -> Result<(usize, String), String> {
        let proposal = propose(&self.project(), error);
        let validator = PatchValidator::new(ValidatorConfig::default()).unwrap();
        let trial = self.trial();
        let mut story = String::new();
        if let Some(reason) = &proposal.reason {
            let _ = writeln!(story, "{reason}");
        }
        for (nth, candidate) in proposal.candidates.iter().take(N_TRIED).enumerate() {
            let candidates = std::slice::from_ref(candidate);
            let (cx, root) = (context(), self.project());
            let mut said = validator
                .check(&cx, candidates, &root)
                .await
                .unwrap()
                .refused;
            if said.is_none() {
                said = trial.check(&cx, candidates, &root).await.unwrap().refused;
            }
            let Some(said) = said else {
                return Ok((nth + 1, candidate.template.clone()));
            };
            let _ = writeln!(story, "{}\n{}{said}", candidate.template, candidate.diff);
        }
        Err(story)
    }

    /// The service with the failing statement in a handler that does nothing.
    fn swallowing(&self, error: &ErrorEvent) -> String {
        let is_here = |frame: &&Frame| frame.file.ends_with("service.py");
        let frame = error.frames.iter().find(is_here).unwrap();
        let at = usize::try_from(frame.line).unwrap() - 1;
        let lines: Vec<&str> = self.source.lines().collect();
        let indent = |line: &str| line.len() - line.trim_start().len();
        let depth = indent(lines[at]);
        let after = lines[at + 1..].iter();
        let n = 1 + after.take_while(|line| indent(line) > depth).count();
        let outer = " ".repeat(depth);
        let mut new: Vec<String> = lines[..at].iter().map(ToString::to_string).collect();
        new.push(format!("{outer}try:"));
        new.extend(lines[at..at + n].iter().map(|line| format!("    {line}")));
        new.push(format!("{outer}except Exception:\n{outer}    pass"));
        new.extend(lines[at + n..].iter().map(ToString::to_string));
        new.join("\n") + "\n"
    }
}

fn context() -> Context {
    let clock = ManualClock::new(Timestamp::from_secs(1_790_000_000));
    Context::new(Arc::new(clock) as Arc<dyn Clock>, 7)
}

/// The strongest sandbox of this machine: namespaces, or else what an ordinary child can have.
fn sandbox() -> Option<Sandbox> {
    if !Path::new(PYTHON).is_file() {
        engine::missing("/usr/bin/python3 is not installed");
        return None;
    }
    if let Ok(sandbox) = Sandbox::new(SandboxConfig::default()) {
        return Some(sandbox);
    }
    let weaker = SandboxConfig {
        minimum: [Layer::Landlock, Layer::Seccomp, Layer::Rlimits].into(),
        ..SandboxConfig::default()
    };
    match Sandbox::new(weaker) {
        Ok(sandbox) => Some(sandbox),
        Err(error) => {
            engine::missing(&format!("no sandbox: {error}"));
            None
        }
    }
}

#[tokio::test]
async fn services_of_python_are_healed_or_refused_with_a_reason() {
    let Some(sandbox) = sandbox() else { return };
    let (mut n_healed, mut wrong) = (0, String::new());
    for entry in SERVICES {
        let (name, kind) = entry;
        let service = Service::new(entry, sandbox.clone());
        let error = service.error().await;
        match service.healed_by(&error).await {
            Ok((nth, template)) => {
                eprintln!("{name} ({kind}): healed by candidate {nth}, {template}");
                n_healed += 1;
            }
            Err(story) if REFUSED.contains(&name) && story.lines().count() == 1 => {
                eprintln!("{name} ({kind}): refused: {}", story.trim());
            }
            Err(story) => {
                let _ = writeln!(wrong, "{name} ({kind}):\n{story}");
            }
        }
    }
    eprintln!("{n_healed} of {} healed", SERVICES.len());
    assert!(wrong.is_empty(), "{n_healed} healed; not:\n{wrong}");
    assert!(n_healed >= 16, "{n_healed} healed");
}

#[tokio::test]
async fn what_only_swallows_the_error_of_a_service_is_refused() {
    let Some(sandbox) = sandbox() else { return };
    let validator = PatchValidator::new(ValidatorConfig::default()).unwrap();
    for entry in SERVICES {
        let service = Service::new(entry, sandbox.clone());
        let new = service.swallowing(&service.error().await);
        let found = validator.validate("service.py", &service.source, &new);
        let is_right = found.is_refused_for(RefusalReason::SwallowedError);
        assert!(is_right, "{entry:?}: {found:#?}\n{new}");
    }
}

/// Else a healed service would look as if it still failed.
#[test]
fn what_a_patch_tells_in_the_log_is_no_error_of_the_kind_that_it_avoids() {
    let normalizer = ErrorNormalizer::new(&ErrorNormalizerConfig::default()).unwrap();
    for kind in ["KeyError", "panic", "TypeError", "NullPointerException"] {
        let said = format!("price: {kind} avoided");
        for line in [
            said.clone(),
            format!("WARNING:service:{said}"),
            format!("2026-01-02 03:04:05,678 WARNING service {said}"),
            format!("2026-01-02T03:04:05.678Z  WARN shop::cart: {said}"),
            format!("2026/01/02 03:04:05 {said}"),
            format!("2026/01/02 03:04:05 WARN {said}"),
            format!("03:04:05.678 [main] WARN com.shop.Cart - {said}"),
        ] {
            let parsed = normalizer.parse(&line);
            assert!(parsed.is_none(), "{line}: {parsed:?}");
        }
    }
}
