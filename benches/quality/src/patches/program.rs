//! Runs triggers and tests: built outside, run in the sandbox.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis::core::Context;
use homeostasis::patch::sandbox::{
    CopyConfig, Layer, Limits, ProjectCopy, Sandbox, SandboxCommand, SandboxConfig, SandboxError,
    SandboxReport,
};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::case::{Case, Kind, PYTHON_TRIGGER};

/// How long a trigger may run.
const TIME: Duration = Duration::from_secs(20);

/// The program in its folder.
const PROGRAM: &str = "program";

/// What a compiler said instead of a program.
type Built = Result<Vec<PathBuf>, String>;

/// Where triggers and tests run.
pub(super) struct Programs {
    sandbox: Sandbox,
    runtime: Runtime,
    context: Context,
    layers: Mutex<Vec<String>>,
}

impl Programs {
    /// In namespaces where the machine has them, else with landlock, seccomp and limits.
    pub(super) fn new() -> Result<Self, Box<dyn Error>> {
        let next_best = || SandboxConfig {
            minimum: [Layer::Landlock, Layer::Seccomp, Layer::Rlimits].into(),
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::new(SandboxConfig::default())
            .or_else(|_| Sandbox::new(next_best()))
            .map_err(|error: SandboxError| format!("unprotected nothing runs: {error}"))?;
        Ok(Self {
            sandbox,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            context: Context::new(Arc::new(SystemClock), 0),
            layers: Mutex::new(Vec::new()),
        })
    }

    /// The layers that held the last program.
    pub(super) fn layers(&self) -> Vec<String> {
        self.layers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Runs the trigger, or says what the compiler did.
    pub(super) fn trigger(
        &self,
        case: &Case,
        copy: &Path,
    ) -> Result<Result<SandboxReport, String>, Box<dyn Error>> {
        match case.kind {
            Kind::Python => {
                let report = self.run(copy, ["python3", PYTHON_TRIGGER])?;
                Ok(Ok(report))
            }
            Kind::Rust => match build(copy, &["build"])? {
                Err(diagnostics) => Ok(Err(diagnostics)),
                Ok(programs) => match programs.last() {
                    None => Err(format!("{}: no program in it", copy.display()).into()),
                    Some(program) => self.run_alone(program).map(Ok),
                },
            },
        }
    }

    /// Runs the tests of the case beside the trigger: by name, whether they passed.
    pub(super) fn tests(
        &self,
        case: &Case,
        copy: &Path,
    ) -> Result<BTreeMap<String, bool>, Box<dyn Error>> {
        let mut passed = BTreeMap::new();
        match case.kind {
            Kind::Python => {
                for entry in fs::read_dir(copy)? {
                    let name = entry?.file_name().to_string_lossy().into_owned();
                    if let Some(module) = name.strip_suffix(".py")
                        && module.starts_with("test_")
                    {
                        let report = self.run(copy, ["python3", "-m", "unittest", module])?;
                        passed.insert(name, report.ending.success());
                    }
                }
            }
            Kind::Rust if copy.join("tests").is_dir() => {
                let arguments = ["test", "--no-run", "--test", "*"];
                let Ok(programs) = build(copy, &arguments)? else {
                    return Ok(passed);
                };
                for program in programs {
                    let name = program.file_name().unwrap_or_default().to_string_lossy();
                    // The hash behind the name changes with the sources.
                    let name = name.rsplit_once('-').map_or(&*name, |(name, _)| name);
                    let report = self.run_alone(&program)?;
                    passed.insert(name.to_owned(), report.ending.success());
                }
            }
            Kind::Rust => {}
        }
        Ok(passed)
    }

    /// Runs a program that needs nothing beside it.
    fn run_alone(&self, program: &Path) -> Result<SandboxReport, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        fs::copy(program, folder.path().join(PROGRAM))?;
        self.run(folder.path(), [format!("./{PROGRAM}")])
    }

    fn run<S: Into<String>>(
        &self,
        folder: &Path,
        argv: impl IntoIterator<Item = S>,
    ) -> Result<SandboxReport, Box<dyn Error>> {
        let place = tempfile::tempdir()?;
        let copy = ProjectCopy::make(folder, place.path(), &CopyConfig::default())?;
        let mut command = SandboxCommand::new(argv).within(Limits {
            time: TIME,
            ..Limits::testing()
        });
        let variables = [("RUST_BACKTRACE", "1"), ("PYTHONDONTWRITEBYTECODE", "1")];
        for (name, value) in variables {
            command.variables.insert(name.to_owned(), value.to_owned());
        }
        let running = self.sandbox.run(&self.context, &copy, &command);
        let report = self.runtime.block_on(running)?;
        let held = report.layers.in_force.iter();
        let held = held.map(|layer| layer.layer.to_string()).collect();
        *self.layers.lock().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(report)
    }
}

/// Builds with cargo, whose target folder lies beside the copy: the programs, or what it said.
fn build(copy: &Path, arguments: &[&str]) -> Result<Built, Box<dyn Error>> {
    let mut target = copy.as_os_str().to_owned();
    target.push(".target");
    #[expect(
        clippy::disallowed_methods,
        reason = "a compiler reads registries, which the sandbox does not show"
    )]
    let mut command = Command::new("cargo");
    command
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
        // What was once allowed does not fail a build.
        .env("RUSTFLAGS", "--cap-lints=warn");
    let output = command
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let programs = said.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    Ok(Ok(programs.collect()))
}
