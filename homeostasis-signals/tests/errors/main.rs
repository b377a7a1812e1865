//! Errors that the languages themselves raise, on the spot: programs of ours run under the
//! interpreters and compilers of this machine, and what they print is read.

mod data;
mod go;
mod java;
mod javascript;
mod python;
mod rust;

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use homeostasis::core::Timestamp;
use homeostasis::core::signal::{CauseRelation, ErrorEvent};
use homeostasis::signals::{ErrorNormalizer, TraceJoiner, TraceJoinerConfig};

/// A program and the error it dies of.
///
/// `NAME` in both stands for the name of its file. Lines of the source end with a mark (`#1`), and
/// the outline of the error names them: `kind: message @function#1 <relation cause…>`, where the
/// place is the innermost frame in the project.
struct Program {
    source: &'static str,
    error: &'static str,
}

const fn program(source: &'static str, error: &'static str) -> Program {
    Program { source, error }
}

/// Programs of one language, and what came out wrong.
struct Examination {
    language: &'static str,
    wrong: String,
    n: usize,
}

impl Examination {
    fn of(language: &'static str) -> Self {
        Self {
            language,
            wrong: String::new(),
            n: 0,
        }
    }

    /// Compares what `output` tells with what was expected; `shown` says how the outline is read.
    fn examine(&mut self, file: &str, program: &Program, output: &str, shown: fn(&str) -> String) {
        self.n += 1;
        let name = file.split('.').next().unwrap_or(file);
        let error = ErrorNormalizer::default().parse(output);
        let outline = error.as_ref().map_or_else(String::new, |error| {
            outline(error, file, program.source).replace(name, "NAME")
        });
        let language = error.as_ref().map(|error| error.language.as_str());
        if shown(&outline) != shown(program.error) || language != Some(self.language) {
            let _ = writeln!(
                self.wrong,
                "--- {file}, {language:?}\n{}\nread:     {outline}\nexpected: {}\nprinted:\n{output}",
                program.source, program.error
            );
        }
        // Between other lines of a log it must come back as the same error.
        let mut joiner =
            TraceJoiner::new(TraceJoinerConfig::default()).expect("defaults are valid");
        let mut records = Vec::new();
        for line in output.trim_matches('\n').lines() {
            records.extend(joiner.push(line, Timestamp::EPOCH));
        }
        records.extend(joiner.push("2026-11-22 01:00:00 INFO next", Timestamp::EPOCH));
        let joined = records
            .iter()
            .find_map(|record| ErrorNormalizer::default().parse(&record.text));
        let same = |a: &ErrorEvent, b: &ErrorEvent| {
            let first = |error: &ErrorEvent| error.message.lines().next().map(str::to_owned);
            // The further lines of a bare message may be records of their own, with what follows.
            let frames =
                b.message.contains('\n') || a.innermost_in_project() == b.innermost_in_project();
            a.kind == b.kind && first(a) == first(b) && frames
        };
        if !matches!((&joined, &error), (Some(a), Some(b)) if same(a, b)) {
            let _ = writeln!(
                self.wrong,
                "--- {file}, joined {joined:?} from\n{records:#?}"
            );
        }
    }

    fn pass(self, at_least: usize) {
        assert!(self.wrong.is_empty(), "{}", self.wrong);
        assert!(self.n >= at_least, "only {} programs", self.n);
    }
}

fn whole(outline: &str) -> String {
    outline.to_owned()
}

/// The error and its causes in one line.
fn outline(error: &ErrorEvent, file: &str, source: &str) -> String {
    let mut text = format!("{}: {}", error.kind, error.message);
    if let Some(frame) = error.innermost_in_project() {
        let own = Path::new(&frame.file)
            .file_name()
            .is_some_and(|name| name == file);
        let line = usize::try_from(frame.line).unwrap_or(usize::MAX);
        let mark = source
            .lines()
            .nth(line.saturating_sub(1))
            .and_then(|line| line.rsplit_once('#'))
            .filter(|_| own);
        let _ = match mark {
            Some((_, mark)) => write!(text, " @{}#{mark}", frame.function),
            None => write!(text, " @{} {}:{line}", frame.function, frame.file),
        };
    }
    for cause in &error.causes {
        let how = match cause.relation {
            CauseRelation::CausedBy => "caused by",
            CauseRelation::During => "during",
            CauseRelation::Suppressed => "suppressed",
            CauseRelation::Member => "member",
            _ => "other",
        };
        let _ = write!(text, " <{how} {}>", outline(&cause.error, file, source));
    }
    text
}

/// Runs a program to its end.
#[expect(clippy::disallowed_methods, reason = "the languages are programs")]
fn run(program: &Path, arguments: &[&str], folder: &Path, environment: &[(&str, &str)]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .envs(environment.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
