//! A folder with a fault, and what shows it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use homeostasis::core::signal::ErrorEvent;
use homeostasis::patch::sandbox::Ending;

/// Folders of a case that are not copied.
const LEFT_OUT: [&str; 3] = [".git", "target", "__pycache__"];

/// The trigger of a case in Python.
pub(super) const PYTHON_TRIGGER: &str = "trigger.py";

/// What a healed trigger prints, where it does not end well.
const EXPECTED: &str = "expected.txt";

/// The language of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rust,
    Python,
}

impl Kind {
    /// What may be given.
    pub(crate) const NAMES: &str = "rust or python";
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "rust" => Ok(Self::Rust),
            "python" => Ok(Self::Python),
            _ => Err(()),
        }
    }
}

/// A folder with a fault.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) kind: Kind,
    folder: PathBuf,
    /// Lines that a healed trigger prints which does not end well.
    expected: Option<String>,
}

impl Case {
    /// Whether the trigger did what it does once the fault is gone.
    pub(super) fn is_healed(&self, ending: Ending, output: &str) -> bool {
        match &self.expected {
            None => ending.success(),
            Some(lines) => lines.lines().all(|line| output.contains(line)),
        }
    }

    /// Copies the case below `work`. Files that are there with the same content keep their times, so
    /// that nothing is compiled twice.
    pub(super) fn copy_to(&self, work: &Path) -> Result<PathBuf, Box<dyn Error>> {
        let to = work.join(&self.name);
        copy(&self.folder, &to).map_err(|error| format!("{}: {error}", self.folder.display()))?;
        Ok(to)
    }

    /// Whether a path in the case is its trigger or a test, which no patch may touch.
    pub(super) fn is_trigger(&self, path: &str) -> bool {
        match self.kind {
            Kind::Rust => path.starts_with("src/") || path.starts_with("tests/"),
            Kind::Python => {
                let file = path.rsplit('/').next().unwrap_or_default();
                file == PYTHON_TRIGGER || file.starts_with("test_") || path.starts_with("tests/")
            }
        }
    }

    /// Takes the frames of the trigger from an error: it is no code of the project.
    pub(super) fn forget_trigger(&self, error: &mut ErrorEvent) {
        error
            .frames
            .retain(|frame| !self.is_trigger(frame.file.trim_start_matches("./")));
    }
}

/// The cases in a folder, in the order of their names.
pub(super) fn find(
    folder: &Path,
    language: Option<Kind>,
    only: Option<&str>,
) -> Result<Vec<Case>, Box<dyn Error>> {
    let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", folder.display());
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| wrong(&error))? {
        let folder = entry?.path();
        let kind = if folder.join("Cargo.toml").is_file() {
            Kind::Rust
        } else if folder.join(PYTHON_TRIGGER).is_file() {
            Kind::Python
        } else {
            continue;
        };
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if language.is_some_and(|asked| asked != kind) || only.is_some_and(|asked| asked != name) {
            continue;
        }
        let name = name.to_owned();
        let expected = match fs::read_to_string(folder.join(EXPECTED)) {
            Ok(lines) if lines.trim().is_empty() => {
                let file = folder.join(EXPECTED);
                return Err(format!("{}: empty, expected lines", file.display()).into());
            }
            Ok(lines) => Some(lines),
            Err(_) => None,
        };
        cases.push(Case {
            name,
            kind,
            folder,
            expected,
        });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    if cases.is_empty() {
        let what = "no case in it, expected folders with Cargo.toml or trigger.py";
        return Err(wrong(&what).into());
    }
    Ok(cases)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        let (from, to) = (entry.path(), to.join(&name));
        if kind.is_dir() {
            if !LEFT_OUT.iter().any(|out| name == *out) {
                copy(&from, &to)?;
            }
        } else if fs::metadata(&from).is_ok_and(|found| found.is_file()) {
            // What a link leads to is copied: the copy stands alone.
            let text = fs::read(&from)?;
            if fs::read(&to).ok().as_ref() != Some(&text) {
                fs::write(&to, text)?;
            }
        }
    }
    Ok(())
}
