//! A service of Python that fails, healed by the chain a host would build: its traceback is read,
//! templates propose, the validator and a trial in the sandbox judge, the live tree is changed, and
//! the verifier sees the service run.
//!
//! The service is a real program: it is ill as long as running it fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::policy::Policy;
use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::{PatchCandidate, PatchKind, Resolution, RiskLevel, VerdictKind};
use homeostasis::core::signal::{ErrorEvent, Level as LogLevel, LogRecord};
use homeostasis::core::stage::{PatchCheck, PatchError, PatchProof, PatchReport};
use homeostasis::core::testing::engine::{self, Scratch};
use homeostasis::core::{Context, async_trait};
use homeostasis::patch::sandbox::{CopyConfig, Layer, Sandbox, SandboxCommand, SandboxConfig};
use homeostasis::patch::trial::{Level, Trial, TrialPlan, TrialTest};
use homeostasis::patch::{
    LiveTree, PatchValidator, SessionState, TemplatePatcher, ValidatorConfig,
};
use homeostasis::signals::{ErrorNormalizer, ErrorNormalizerConfig};
use homeostasis::{EngineSettings, Homeostasis, Patching};

use crate::world::{World, is, service, until};

const PYTHON: &str = "/usr/bin/python3";

const SERVICE: &str = "\
def conversion(row) -> float:
    rate = row['orders'] / row['visits']
    return round(rate, 3)


def report(rows):
    return {row['name']: conversion(row) for row in rows}
";
const TESTS: &str = "\
import unittest
from service import report


class Reports(unittest.TestCase):
    def test_a_campaign_that_was_visited(self):
        row = {'name': 'mail', 'visits': 4, 'orders': 1}
        self.assertEqual(report([row]), {'mail': 0.25})

    def test_a_campaign_nobody_visited_converts_nobody_and_hides_no_other(self):
        rows = [{'name': 'fair', 'visits': 0, 'orders': 2}, {'name': 'mail', 'visits': 1, 'orders': 1}]
        self.assertEqual(report(rows), {'fair': 0.0, 'mail': 1.0})
";
const REQUEST: &str =
    "import service\nservice.report([{'name': 'fair', 'visits': 0, 'orders': 2}])\n";

/// Simulated time stands still while real programs run: it goes on only when nothing blocks.
#[derive(Debug)]
struct Held(Trial);

#[async_trait]
impl PatchCheck for Held {
    fn name(&self) -> &str {
        "trial"
    }

    fn proves(&self) -> BTreeSet<PatchProof> {
        self.0.proves()
    }

    async fn check(
        &self,
        cx: &Context,
        patches: &[PatchCandidate],
        root: &Path,
    ) -> Result<PatchReport, PatchError> {
        let (running, over) = std::sync::mpsc::channel::<()>();
        let waiting = tokio::task::spawn_blocking(move || over.recv().is_err());
        let report = self.0.check(cx, patches, root).await;
        drop(running);
        assert!(waiting.await.unwrap(), "nothing is ever sent");
        report
    }
}

/// The service and what it printed last.
struct Program {
    folder: Scratch,
    /// The text of the service that ran last, and how it failed.
    last: Mutex<(String, Option<ErrorEvent>)>,
}

impl Program {
    fn new() -> Self {
        let folder = Scratch::new();
        fs::create_dir(folder.path().join("root")).unwrap();
        for (name, text) in [
            ("service.py", SERVICE),
            ("test_service.py", TESTS),
            ("request.py", REQUEST),
        ] {
            fs::write(folder.path().join("root").join(name), text).unwrap();
        }
        Self {
            folder,
            last: Mutex::default(),
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(self.folder.path().join("root/service.py")).unwrap()
    }

    /// How the request that fails ends now; the program is run again where it was changed.
    #[expect(
        clippy::disallowed_methods,
        reason = "the program under repair is run for real"
    )]
    fn request(&self) -> Option<ErrorEvent> {
        let text = self.text();
        let mut last = self.last.lock().unwrap();
        if last.0 != text {
            let mut command = Command::new(PYTHON);
            command.args(["-B", "request.py"]);
            let output = command
                .current_dir(self.folder.path().join("root"))
                .output();
            let printed = String::from_utf8(output.unwrap().stderr).unwrap();
            let normalizer = ErrorNormalizer::new(&ErrorNormalizerConfig::default()).unwrap();
            *last = (text, normalizer.parse(&printed));
        }
        last.1.clone()
    }
}

/// The strongest sandbox of this machine.
fn sandbox() -> Option<Sandbox> {
    if !Path::new(PYTHON).is_file() {
        engine::missing("/usr/bin/python3 is not installed");
        return None;
    }
    let weaker = SandboxConfig {
        minimum: [Layer::Landlock, Layer::Seccomp, Layer::Rlimits].into(),
        ..SandboxConfig::default()
    };
    let made = Sandbox::new(SandboxConfig::default()).or_else(|_| Sandbox::new(weaker));
    match made {
        Ok(sandbox) => Some(sandbox),
        Err(error) => {
            engine::missing(&format!("no sandbox: {error}"));
            None
        }
    }
}

fn trial(sandbox: Sandbox, place: &Path) -> Trial {
    let request = SandboxCommand::new([PYTHON, "-B", "request.py"]);
    let tests = SandboxCommand::new([PYTHON, "-B", "-m", "unittest", "-q", "test_service"]);
    let plan = TrialPlan {
        tests: vec![
            TrialTest::new("request", Level::Trigger, request).showing("ZeroDivisionError"),
            TrialTest::new("tests of the service", Level::Unit, tests),
        ],
        ..TrialPlan::default()
    };
    Trial::new(sandbox, plan, place, CopyConfig::default()).unwrap()
}

/// The service runs once a second and logs what it raises.
fn run(world: &Arc<World>, program: &Arc<Program>, healer: &Homeostasis) {
    world.watch(healer, &["a"]);
    let (world, program) = (Arc::clone(world), Arc::clone(program));
    let (recorder, clock) = (healer.recorder(), healer.clock());
    healer.spawn(async move {
        loop {
            match program.request() {
                None => world.cured_by_hand("a"),
                Some(error) => {
                    let mut record = LogRecord::new(clock.now(), LogLevel::Error, "failed");
                    record.target = Some(service("a"));
                    record.error = Some(Box::new(error));
                    recorder.log(record);
                    world.fall_ill("a");
                }
            }
            clock.sleep(Duration::from_secs(1)).await;
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_service_of_python_is_patched_tried_in_the_sandbox_handed_over_and_verified() {
    let Some(sandbox) = sandbox() else { return };
    let (world, program) = (Arc::<World>::default(), Arc::new(Program::new()));
    let failed = program.request().unwrap();
    assert_eq!(failed.kind, "ZeroDivisionError");
    let folder = program.folder.path();
    let place = folder.join("place");
    fs::create_dir(&place).unwrap();
    let tree = LiveTree::new(folder.join("root"), folder.join("sessions"));
    let patching = Patching::new(folder.join("root"), tree.clone())
        .patcher(TemplatePatcher::built_in().unwrap())
        .check(PatchValidator::new(ValidatorConfig::default()).unwrap())
        .check(Held(trial(sandbox, &place)));
    let mut settings = EngineSettings::default();
    settings.quiet = Duration::from_secs(30);
    let mut policy = Policy {
        min_interval: Duration::ZERO,
        ..Policy::default()
    };
    policy.pre_approved.insert("apply_patch".to_owned());
    policy.patches.kinds.insert(PatchKind::Code);
    policy.patches.max_risk = RiskLevel::Medium;
    let store = Arc::new(MemoryStore::default());
    let healer = world
        .without_doctor()
        .settings(settings)
        .policy(policy)
        .store(Arc::clone(&store) as Arc<_>)
        .patching(patching)
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    run(&world, &program, &healer);
    let ended = until(&healer, &mut events, |event| {
        is("closed")(event) || is("escalated")(event)
    })
    .await;
    let documents = healer.healing_events(ended.incident).await.unwrap();
    healer.shutdown().await;

    let [document] = &documents[..] else {
        let story = store.read(ended.incident).await.unwrap();
        panic!("{documents:#?} {story:#?}")
    };
    assert!(
        matches!(document.resolution, Some(Resolution::Healed { .. })),
        "{document:#?}"
    );
    assert_eq!(
        document.verdict.as_ref().unwrap().kind,
        VerdictKind::Success
    );
    let diff = &document.files[0].diff;
    assert!(
        diff.contains("+    if row['visits'] == 0:\n+        return 0.0\n"),
        "{diff}"
    );
    for said in ["validator", "request", "tests of the service"] {
        let is_told = document.tests.iter().any(|test| test.contains(said));
        assert!(is_told, "{said}: {:?}", document.tests);
    }
    let sessions = tree.sessions().unwrap();
    assert_eq!(sessions[0].state, SessionState::Applied);
    assert_eq!(Some(sessions[0].hash), document.patch_hash);
    assert_eq!(program.request(), None, "the service runs");
    assert_ne!(program.text(), SERVICE);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "no copy is left");
}
