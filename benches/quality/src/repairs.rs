//! How often the validator refuses what people committed as a fix.
//!
//! It reads the histories of git repositories. A case is a file in a commit with one parent whose subject
//! speaks of a fix, a bug or an error: changed, in a language whose syntax is read, by at most so many lines.
//! What is refused for the size of the change or for a protected file is no case. Nobody judged the commits,
//! and some of what is refused is meant to be: an upper bound of false refusals, with each told to be read.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use homeostasis::patch::{Language, PatchValidator, RefusalReason, Validation};
use serde_json::{Value, json};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Folders of repositories, bare or not.
    pub(crate) repositories: Vec<PathBuf>,
    /// The most lines that a change adds and removes.
    pub(crate) max_lines: usize,
}

/// What the numbers of `docs/patching.md` are about.
pub(crate) const DEFAULT_LINES: usize = 20;

/// Words of subjects of commits, in small letters.
const FIXES: [&str; 5] = ["fix", "bug", "error", "crash", "panic"];

/// No part of such a name is: what a fix of it fixes is not the program.
const NOT_PROGRAM: [&str; 6] = ["typo", "doc", "lint", "warning", "format", "style"];

#[derive(Debug, Default)]
struct Counts {
    n_cases: usize,
    n_refused: usize,
    by_reason: BTreeMap<String, usize>,
    by_risk: BTreeMap<String, usize>,
}

/// Runs the suite.
pub(crate) fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let validator = PatchValidator::default();
    let mut all = Counts::default();
    let mut by_repository = BTreeMap::new();
    for repository in &options.repositories {
        let mut counts = Counts::default();
        for fix in fixes(repository, options.max_lines)? {
            let (Some(old), Some(new)) = (
                text(repository, &format!("{}^:{}", fix.commit, fix.path))?,
                text(repository, &format!("{}:{}", fix.commit, fix.path))?,
            ) else {
                continue;
            };
            let validation = validator.validate(&fix.path, &old, &new);
            if is_case(&validation) {
                tell(&fix, &validation);
                counts.add(&validation);
                all.add(&validation);
            }
        }
        let name = repository.display().to_string();
        eprintln!("{name}: {} of {} refused", counts.n_refused, counts.n_cases);
        by_repository.insert(name, counts.value());
    }
    let mut report = all.value();
    report["suite"] = json!("repairs");
    report["max_lines"] = json!(options.max_lines);
    report["by_repository"] = json!(by_repository);
    Ok(report)
}

impl Counts {
    fn add(&mut self, validation: &Validation) {
        self.n_cases += 1;
        let risk = validation.risk.to_string();
        *self.by_risk.entry(risk).or_default() += 1;
        self.n_refused += usize::from(!validation.is_accepted());
        let mut reasons: Vec<_> = validation
            .refusals
            .iter()
            .map(|refusal| refusal.reason.to_string())
            .collect();
        reasons.sort();
        reasons.dedup();
        for reason in reasons {
            *self.by_reason.entry(reason).or_default() += 1;
        }
    }

    fn value(&self) -> Value {
        json!({
            "cases": self.n_cases,
            "refused": self.n_refused,
            "by_reason": self.by_reason,
            "by_risk": self.by_risk,
        })
    }
}

/// One file of one commit.
struct Fix {
    commit: String,
    path: String,
}

/// Nothing of it was refused for what it is a change of, or for how much it changes.
fn is_case(validation: &Validation) -> bool {
    !validation.refusals.iter().any(|refusal| {
        matches!(
            refusal.reason,
            RefusalReason::ProtectedFile
                | RefusalReason::TooLarge
                | RefusalReason::TooManyLines
                | RefusalReason::TooManyHunks
        )
    })
}

fn tell(fix: &Fix, validation: &Validation) {
    for refusal in &validation.refusals {
        let commit = fix.commit.get(..10).unwrap_or(&fix.commit);
        eprintln!("{commit} {}: {refusal}", fix.path);
    }
}

/// The files that fixes changed, by at most `max_lines` added and removed.
fn fixes(repository: &Path, max_lines: usize) -> io::Result<Vec<Fix>> {
    let format = "--format=%x00%H %s";
    let told = git(
        repository,
        &[
            "log",
            "--no-merges",
            "--min-parents=1",
            "--numstat",
            "--no-renames",
            format,
        ],
    )?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let mut found = Vec::new();
    for entry in told.split('\0') {
        let mut lines = entry.lines();
        let Some((commit, subject)) = lines.next().and_then(|line| line.split_once(' ')) else {
            continue;
        };
        if !is_fix(subject) {
            continue;
        }
        for line in lines {
            let mut columns = line.split('\t');
            let (Some(added), Some(removed), Some(path)) =
                (columns.next(), columns.next(), columns.next())
            else {
                continue;
            };
            let (Ok(added), Ok(removed)) = (added.parse::<usize>(), removed.parse::<usize>())
            else {
                continue;
            };
            if added + removed <= max_lines && Language::from_path(Path::new(path)).is_some() {
                found.push(Fix {
                    commit: commit.to_owned(),
                    path: path.to_owned(),
                });
            }
        }
    }
    Ok(found)
}

fn is_fix(subject: &str) -> bool {
    let subject = subject.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| subject.contains(word));
    has(&FIXES) && !has(&NOT_PROGRAM)
}

/// The text of an object; `None` if there is none, or it is no text.
fn text(repository: &Path, object: &str) -> io::Result<Option<String>> {
    let shown = git(repository, &["show", object])?;
    let is_there = shown.status.success();
    Ok(is_there
        .then(|| String::from_utf8(shown.stdout).ok())
        .flatten())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a suite reads a history with git"
)]
fn git(repository: &Path, arguments: &[&str]) -> io::Result<Output> {
    let output = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(arguments)
        .output()?;
    if arguments.first() == Some(&"log") && !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let place = repository.display();
        return Err(io::Error::other(format!(
            "{place}: expected a repository: {said}"
        )));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn subjects_speak_of_fixes_of_the_program() {
        for subject in [
            "Fix a crash on empty input",
            "bugfix: reset",
            "error if none",
        ] {
            assert!(is_fix(subject), "{subject}");
        }
        for subject in [
            "Fix typo",
            "docs: fix a link",
            "Add a reader",
            "fix clippy lint",
        ] {
            assert!(!is_fix(subject), "{subject}");
        }
    }

    #[test]
    fn fixes_of_a_history_are_judged_and_each_refusal_is_counted() {
        let root = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            let who = ["-c", "user.name=a", "-c", "user.email=a@b"];
            let output = git(root.path(), &[&who[..], arguments].concat()).unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        run(&["init", "--quiet"]);
        let guard = "def pay(user, n):\n    if n > user.balance:\n        raise ValueError(n)\n    send(n)\n";
        let commits = [
            ("start", "a.py", guard),
            (
                "fix: what is sent",
                "a.py",
                &*guard.replace("send(n)", "send(n + 0)"),
            ),
            (
                "fix: no balance",
                "a.py",
                "def pay(user, n):\n    send(n + 0)\n",
            ),
            ("fix: the readme", "README.md", "now\n"),
            ("tidy", "a.py", "def pay(user, n):\n    send(n)\n"),
        ];
        for (subject, path, text) in commits {
            fs::write(root.path().join(path), text).unwrap();
            run(&["add", "."]);
            run(&["commit", "--quiet", "-m", subject]);
        }
        let options = Options {
            repositories: vec![root.path().to_owned()],
            max_lines: DEFAULT_LINES,
        };
        let report = super::run(&options).unwrap();
        assert_eq!(
            (&report["cases"], &report["refused"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(report["by_reason"], json!({"removed_check": 1}));
        let nowhere = Options {
            repositories: vec![root.path().join("nowhere")],
            ..options
        };
        assert!(
            super::run(&nowhere)
                .unwrap_err()
                .to_string()
                .contains("expected a repository")
        );
    }
}
