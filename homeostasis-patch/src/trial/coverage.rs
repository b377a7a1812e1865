//! Which of the changed lines ran.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use homeostasis_core::Context;
use homeostasis_core::record::PatchCandidate;
use serde::{Deserialize, Serialize};

use super::go_coverage::{GoCoverage, name_in_profiles};
use super::plan::{Level, TrialPlan};
use super::rust_coverage;
use super::v8_coverage::V8Coverage;
use crate::project_file::ProjectFile;
use crate::sandbox::{Ending, ProjectCopy, Sandbox, SandboxCommand};
use crate::{FileDiff, LineKind, UnifiedDiff};

/// Which of the changed lines ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// Lines of the patched file, counted from 1, that the patch added and that can run.
    ///
    /// A line ran if all of it did; of Rust and Python, whose tracers tell lines alone, if any part of it did.
    Measured {
        /// Those that ran.
        ran: BTreeSet<u64>,
        /// Those that did not.
        missed: BTreeSet<u64>,
    },
    /// Not known, and why.
    NotMeasured(String),
}

/// The folder of the tracer in the copy.
const FOLDER: &str = ".homeostasis-coverage";

/// Python imports this by itself at every start. It appends what ran of one file, and what could, at the
/// end of each process; a process that is killed says nothing.
const TRACER: &str = r#"import atexit, os, sys, threading
path, hits = os.environ["HOMEOSTASIS_COVERAGE"], set()
def trace(frame, event, argument):
    if os.path.realpath(frame.f_code.co_filename) != path:
        return None
    hits.add(frame.f_lineno)
    return trace
def runnable(code, lines):
    lines.update(line for _, _, line in code.co_lines() if line)
    for constant in code.co_consts:
        if hasattr(constant, "co_lines"):
            runnable(constant, lines)
    return lines
def tell():
    sys.settrace(None)
    with open(path, "rb") as source:
        lines = runnable(compile(source.read(), path, "exec"), set())
    with open(os.path.join(os.path.dirname(__file__), "hits"), "a") as out:
        out.write("".join(f"+{line}\n" for line in hits) + "".join(f"?{line}\n" for line in lines))
atexit.register(tell)
threading.settrace(trace)
sys.settrace(trace)
"#;

/// How many reports of processes are read.
const MAX_REPORTS: usize = 256;

/// What tells which lines ran.
#[derive(Debug, Clone, Copy)]
enum Tracer {
    /// One written into the copy, that Python imports by itself.
    Python,
    /// The one of Node.js.
    V8,
    /// That of `go test`.
    Go,
    /// That of the compiler of Rust.
    Rust,
}

impl Tracer {
    fn of(path: &str) -> Option<Self> {
        let extension = Path::new(path).extension()?;
        match extension.to_str()? {
            "py" => Some(Self::Python),
            "js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx" => Some(Self::V8),
            "go" => Some(Self::Go),
            "rs" => Some(Self::Rust),
            _ => None,
        }
    }

    /// Puts it into the folder it works in.
    fn prepare(self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)?;
        match self {
            Self::Python => fs::write(folder.join("sitecustomize.py"), TRACER),
            Self::V8 | Self::Go => Ok(()),
            Self::Rust => rust_coverage::prepare(folder),
        }
    }

    /// Tells the programs of `command`, the `nth` that is run, about it: its `folder` and the `traced`
    /// file, as they see them.
    fn instruct(self, command: &mut SandboxCommand, nth: usize, folder: &str, traced: &str) {
        let variables = &mut command.variables;
        match self {
            Self::Python => {
                let search = match variables.get("PYTHONPATH") {
                    Some(present) => format!("{folder}:{present}"),
                    None => folder.to_owned(),
                };
                variables.insert("PYTHONPATH".to_owned(), search);
                variables.insert("HOMEOSTASIS_COVERAGE".to_owned(), traced.to_owned());
            }
            Self::V8 => {
                variables.insert("NODE_V8_COVERAGE".to_owned(), folder.to_owned());
            }
            Self::Go => {
                // A profile replaces the one before it; commands other than `go test` pass it over.
                let ours = format!("-coverpkg=./... -coverprofile={folder}/{nth}");
                let flags = variables.entry("GOFLAGS".to_owned()).or_default();
                *flags = if flags.is_empty() {
                    ours
                } else {
                    format!("{flags} {ours}")
                };
            }
            Self::Rust => {
                let place = |name: &str| format!("{folder}/{name}");
                let wrapper = place(rust_coverage::WRAPPER);
                variables.insert("RUSTC_WORKSPACE_WRAPPER".to_owned(), wrapper);
                let profiles = place(rust_coverage::PROFILES);
                variables.insert("LLVM_PROFILE_FILE".to_owned(), profiles);
            }
        }
    }

    /// What is to be run at the end, so that what it found can be read.
    fn summary(self, folder: &str, traced: &str) -> Option<SandboxCommand> {
        let Self::Rust = self else { return None };
        let program = format!("{folder}/{}", rust_coverage::SUMMARY);
        Some(SandboxCommand::new([program, traced.to_owned()]))
    }

    /// What it found of the lines `added` to the file at `path`, which programs saw as `traced`.
    fn judge(
        self,
        added: &BTreeSet<u64>,
        copy: &ProjectCopy,
        path: &str,
        traced: &str,
    ) -> Option<Coverage> {
        let root = copy.path();
        let judged = match self {
            Self::Python => {
                let hits = ProjectFile::read(&root, &format!("{FOLDER}/hits")).ok()?;
                Some(judge(added, hits.text()))
            }
            Self::V8 => {
                let source = ProjectFile::read(&root, path).ok()?;
                let mut coverage = V8Coverage::of(source.text());
                each_report(&root, |report| coverage.add(report, traced))?;
                coverage.judge(added)
            }
            Self::Go => {
                let source = ProjectFile::read(&root, path).ok()?;
                let name = name_in_profiles(&root, path)?;
                let mut coverage = GoCoverage::of(source.text(), name);
                each_report(&root, |profile| coverage.add(profile))?;
                coverage.judge(added)
            }
            Self::Rust => {
                let source = ProjectFile::read(&root, path).ok()?;
                let told = format!("{FOLDER}/{}", rust_coverage::TRACEFILE);
                let told = ProjectFile::read(&root, &told).ok()?;
                rust_coverage::judge(told.text(), traced, source.text(), added)
            }
        };
        judged.map(|(ran, missed)| Coverage::Measured { ran, missed })
    }
}

/// Tells what each traced program wrote; `None` if the folder cannot be read.
fn each_report(root: &Path, mut tell: impl FnMut(&str)) -> Option<()> {
    let entries = fs::read_dir(root.join(FOLDER)).ok()?;
    for entry in entries.filter_map(Result::ok).take(MAX_REPORTS) {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Ok(report) = ProjectFile::read(root, &format!("{FOLDER}/{name}")) {
            tell(report.text());
        }
    }
    Some(())
}

/// Runs the triggers and related tests once more with a tracer, on a copy that is not used afterwards.
///
/// What the tests do with the tracer is theirs: this informs people, and decides nothing.
pub(super) async fn measure(
    cx: &Context,
    sandbox: &Sandbox,
    plan: &TrialPlan,
    copy: &ProjectCopy,
    candidate: &PatchCandidate,
) -> Coverage {
    let not = |why: &str| Coverage::NotMeasured(why.to_owned());
    let Some(tracer) = Tracer::of(&candidate.path) else {
        return not(
            "it is known of Rust, Python, JavaScript, TypeScript and Go only which lines ran",
        );
    };
    let Ok(added) = added_lines(&candidate.diff) else {
        return not("the diff cannot be read");
    };
    if let Err(error) = tracer.prepare(&copy.path().join(FOLDER)) {
        return Coverage::NotMeasured(format!("the tracer could not be written: {error}"));
    }
    let project = sandbox.place_of(copy);
    let traced = project.join(&candidate.path).display().to_string();
    let folder = project.join(FOLDER).display().to_string();
    let traced_tests = plan.tests.iter().filter(|it| it.level <= Level::Related);
    for (nth, test) in traced_tests.enumerate() {
        let mut command = test.command.clone();
        tracer.instruct(&mut command, nth, &folder, &traced);
        if let Err(error) = sandbox.run(cx, copy, &command).await {
            return Coverage::NotMeasured(error.to_string());
        }
    }
    if let Some(summary) = tracer.summary(&folder, &traced) {
        match sandbox.run(cx, copy, &summary).await.map(|it| it.ending) {
            Ok(Ending::Exited(rust_coverage::NO_TOOLS)) => {
                return not("the toolchain in the sandbox has no component llvm-tools");
            }
            Ok(_) => {}
            Err(error) => return Coverage::NotMeasured(error.to_string()),
        }
    }
    let found = tracer.judge(&added, copy, &candidate.path, &traced);
    found.unwrap_or_else(|| not("no traced process that used the file came to its end"))
}

/// What the lines of the tracer say of `added`.
fn judge(added: &BTreeSet<u64>, hits: &str) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let told = |mark: char| -> BTreeSet<u64> {
        hits.lines()
            .filter_map(|line| line.strip_prefix(mark)?.parse().ok())
            .collect()
    };
    let (hit, runnable) = (told('+'), told('?'));
    added
        .iter()
        .filter(|line| runnable.contains(line))
        .partition(|line| hit.contains(line))
}

/// The numbers in the new text of the lines a diff adds.
fn added_lines(diff: &str) -> Result<BTreeSet<u64>, crate::DiffError> {
    let diff: UnifiedDiff = diff.parse()?;
    let mut added = BTreeSet::new();
    for hunk in diff.files().iter().flat_map(FileDiff::hunks) {
        let mut number = u64::try_from(hunk.new_start()).unwrap_or(u64::MAX - 1) + 1;
        for line in hunk.lines() {
            if line.kind == LineKind::Delete {
                continue;
            }
            if line.kind == LineKind::Insert {
                added.insert(number);
            }
            number += 1;
        }
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_lines_are_counted_in_the_new_text() {
        let diff = "--- a/x.py\n+++ b/x.py\n@@ -3,3 +3,4 @@\n a\n-b\n+c\n+d\n e\n";
        assert_eq!(added_lines(diff).unwrap(), BTreeSet::from([4, 5]));
        let judged = judge(&BTreeSet::from([4, 5, 6]), "+4\n+1\n?1\n?4\n?5\nnoise\n");
        let expected = (BTreeSet::from([4]), BTreeSet::from([5]));
        assert_eq!(judged, expected, "line 6 cannot run");
    }
}
