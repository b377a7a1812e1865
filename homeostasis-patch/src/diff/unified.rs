//! A unified diff of one or more files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::hunk::{DiffLine, Hunk, LineKind};
use super::quote::{check_path, quoted};
use super::{DiffError, parse};

/// Lines of context that git and diff show.
pub const DEFAULT_CONTEXT: usize = 3;

/// The change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDiff {
    pub(super) path: String,
    pub(super) creates: bool,
    pub(super) deletes: bool,
    pub(super) hunks: Vec<Hunk>,
}

/// A unified diff of one or more text files, as `git diff` prints it.
///
/// It is serialized as its text.
/// Renames, copies, mode changes and binary files are refused by the parser.
///
/// ```
/// use homeostasis::patch::{DEFAULT_CONTEXT, UnifiedDiff};
///
/// let (old, new) = ("a\nb\nc\n", "a\nB\nc\n");
/// let diff = UnifiedDiff::between("letters.txt", Some(old), Some(new), DEFAULT_CONTEXT)?;
/// assert_eq!(diff.apply(old)?, new);
/// assert_eq!(diff.inverted().apply(new)?, old);
/// assert_eq!(diff.to_string().parse::<UnifiedDiff>()?, diff);
/// # Ok::<(), homeostasis::patch::DiffError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnifiedDiff {
    pub(super) files: Vec<FileDiff>,
}

impl UnifiedDiff {
    /// The diff that turns `old` into `new`; `None` stands for a file that does not exist.
    ///
    /// Equal texts give an empty diff. The result has been applied and compared with `new`.
    /// O((n + m) d) for d changed lines (Myers, "An O(ND) Difference Algorithm and Its
    /// Variations", 1986, as implemented by `diffy`).
    ///
    /// # Errors
    /// - [`DiffError::Path`]: `path` is absolute, leaves the tree, or is not a file name.
    pub fn between(
        path: &str,
        old: Option<&str>,
        new: Option<&str>,
        context: usize,
    ) -> Result<Self, DiffError> {
        check_path(path)?;
        if old == new {
            return Ok(Self::default());
        }
        let file = FileDiff {
            path: path.to_owned(),
            creates: old.is_none(),
            deletes: new.is_none(),
            hunks: hunks_between(old.unwrap_or(""), new.unwrap_or(""), context),
        };
        match file.apply(old) {
            Ok(applied) if applied.text.as_deref() == new => Ok(Self { files: vec![file] }),
            _ => Err(DiffError::Unsound {
                path: path.to_owned(),
            }),
        }
    }

    /// The changed files, in order.
    #[must_use]
    pub fn files(&self) -> &[FileDiff] {
        &self.files
    }

    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Adds the files of `other`.
    ///
    /// # Errors
    /// - [`DiffError::Path`]: a file is in both.
    pub fn join(mut self, other: Self) -> Result<Self, DiffError> {
        for file in other.files {
            if self.files.iter().any(|f| f.path == file.path) {
                let expected = "each file once in a diff";
                return Err(DiffError::Path {
                    path: file.path,
                    expected,
                });
            }
            self.files.push(file);
        }
        Ok(self)
    }

    /// The diff that undoes this one: files in reverse order, old and new exchanged.
    pub fn inverted(&self) -> Self {
        Self {
            files: self.files.iter().rev().map(FileDiff::inverted).collect(),
        }
    }

    /// How many lines are added, and how many removed.
    #[must_use]
    pub fn n_changed_lines(&self) -> (usize, usize) {
        let count = |kind| {
            let lines = self
                .files
                .iter()
                .flat_map(|f| &f.hunks)
                .flat_map(|h| &h.lines);
            lines.filter(|l| l.kind == kind).count()
        };
        (count(LineKind::Insert), count(LineKind::Delete))
    }
}

impl FileDiff {
    /// The file, relative to the root of the tree, with `/` between steps.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the file does not exist before.
    #[must_use]
    pub fn creates(&self) -> bool {
        self.creates
    }

    /// Whether the file does not exist after.
    #[must_use]
    pub fn deletes(&self) -> bool {
        self.deletes
    }

    /// The changes, from the top of the file down; empty for an empty file made or deleted.
    #[must_use]
    pub fn hunks(&self) -> &[Hunk] {
        &self.hunks
    }

    fn inverted(&self) -> Self {
        Self {
            path: self.path.clone(),
            creates: self.deletes,
            deletes: self.creates,
            hunks: self.hunks.iter().map(Hunk::inverted).collect(),
        }
    }
}

fn hunks_between(old: &str, new: &str, context: usize) -> Vec<Hunk> {
    let mut options = diffy::DiffOptions::new();
    options.set_context_len(context);
    let patch = options.create_patch(old, new);
    let mut drift = Drift::default();
    patch
        .hunks()
        .iter()
        .map(|hunk| {
            let lines: Vec<_> = hunk
                .lines()
                .iter()
                .map(|line| {
                    let (kind, text) = match line {
                        diffy::Line::Context(text) => (LineKind::Context, *text),
                        diffy::Line::Delete(text) => (LineKind::Delete, *text),
                        diffy::Line::Insert(text) => (LineKind::Insert, *text),
                    };
                    DiffLine {
                        kind,
                        text: text.to_owned(),
                    }
                })
                .collect();
            let range = hunk.old_range();
            // An empty range names the line before it, others their first line.
            let start = range.start();
            let old_start = if range.is_empty() {
                start
            } else {
                start.saturating_sub(1)
            };
            drift.place(old_start, lines, String::new())
        })
        .collect()
}

/// Where a hunk lands in the new text, given the ones before it.
#[derive(Debug, Default)]
pub(super) struct Drift {
    inserted: usize,
    deleted: usize,
}

impl Drift {
    pub(super) fn place(
        &mut self,
        old_start: usize,
        lines: Vec<DiffLine>,
        section: String,
    ) -> Hunk {
        let new_start = (old_start + self.inserted).saturating_sub(self.deleted);
        self.inserted += lines.iter().filter(|l| l.kind == LineKind::Insert).count();
        self.deleted += lines.iter().filter(|l| l.kind == LineKind::Delete).count();
        Hunk {
            old_start,
            new_start,
            lines,
            section,
        }
    }
}

impl fmt::Display for FileDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (quoted("a/", &self.path), quoted("b/", &self.path));
        writeln!(f, "diff --git {old} {new}")?;
        if self.creates {
            f.write_str("new file mode 100644\n")?;
        }
        if self.deletes {
            f.write_str("deleted file mode 100644\n")?;
        }
        if self.hunks.is_empty() {
            return Ok(());
        }
        // A tab ends a name with spaces, as GNU diff and git write it.
        let tab = if self.path.contains(' ') && !old.starts_with('"') {
            "\t"
        } else {
            ""
        };
        if self.creates {
            f.write_str("--- /dev/null\n")?;
        } else {
            writeln!(f, "--- {old}{tab}")?;
        }
        if self.deletes {
            f.write_str("+++ /dev/null\n")?;
        } else {
            writeln!(f, "+++ {new}{tab}")?;
        }
        self.hunks.iter().try_for_each(|hunk| hunk.fmt(f))
    }
}

impl fmt::Display for UnifiedDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.iter().try_for_each(|file| file.fmt(f))
    }
}

impl FromStr for UnifiedDiff {
    type Err = DiffError;

    fn from_str(text: &str) -> Result<Self, DiffError> {
        Ok(Self {
            files: parse::parse(text)?,
        })
    }
}

impl TryFrom<String> for UnifiedDiff {
    type Error = DiffError;

    fn try_from(text: String) -> Result<Self, DiffError> {
        text.parse()
    }
}

impl From<UnifiedDiff> for String {
    fn from(diff: UnifiedDiff) -> Self {
        diff.to_string()
    }
}
