//! Strict application: every line of context must be there, at the stated place or at one other.

use std::collections::BTreeMap;

use super::error::{Conflict, ConflictReason};
use super::hunk::Hunk;
use super::{DiffError, FileDiff, UnifiedDiff};

/// The result for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The new text; `None` when the file is deleted.
    pub text: Option<String>,
    /// For each hunk, how many lines further down (up, if negative) than stated it was applied.
    pub drifts: Vec<i64>,
}

impl UnifiedDiff {
    /// Applies a diff of one changed file.
    ///
    /// # Errors
    /// - [`DiffError::NotOneFile`]: the diff holds several files; an empty diff changes nothing.
    /// - [`DiffError::Conflict`]: the source does not fit, or the diff creates or deletes the file.
    pub fn apply(&self, source: &str) -> Result<String, DiffError> {
        match self.files.as_slice() {
            [] => Ok(source.to_owned()),
            [file] => {
                let applied = file.apply(Some(source))?;
                applied
                    .text
                    .ok_or_else(|| file.conflict(0, 0, ConflictReason::Deletes))
            }
            files => Err(DiffError::NotOneFile {
                n_files: files.len(),
            }),
        }
    }

    /// Applies a diff to a tree of files: all of it or nothing.
    ///
    /// `read` gives a file's text, or `None` when there is no such file.
    /// The result holds every changed file by its path, `None` for the deleted ones.
    ///
    /// # Errors
    /// - [`DiffError::Conflict`]: the first file that does not fit.
    pub fn apply_to_tree(
        &self,
        mut read: impl FnMut(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, Option<String>>, DiffError> {
        let mut changed = BTreeMap::new();
        for file in &self.files {
            let applied = file.apply(read(&file.path).as_deref())?;
            changed.insert(file.path.clone(), applied.text);
        }
        Ok(changed)
    }
}

impl FileDiff {
    /// Applies the change to the file's text; `None` stands for a file that does not exist.
    ///
    /// Each hunk must match in full, context included: at its stated place moved by the drift of
    /// the hunk before, or else at exactly one other place below that hunk.
    /// A hunk without old lines has nothing to match and goes to its stated place only.
    /// O(lines of the source × lines of the hunk) per hunk that has drifted.
    ///
    /// # Errors
    /// - [`DiffError::Conflict`]: names the hunk, the line, what was expected and what was found.
    pub fn apply(&self, source: Option<&str>) -> Result<Applied, DiffError> {
        let text = match source {
            Some("") | None if self.creates => "",
            Some(_) if self.creates => return Err(self.whole(source, ConflictReason::Exists)),
            Some(text) => text,
            None => return Err(self.whole(source, ConflictReason::Missing)),
        };
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let mut out = Vec::with_capacity(lines.len());
        let mut drifts = Vec::with_capacity(self.hunks.len());
        let mut drift = 0;
        let mut done = 0;
        for (i, hunk) in self.hunks.iter().enumerate() {
            let place = self.find(i, hunk, &lines, done, drift)?;
            drift = signed(place) - signed(hunk.old_start);
            drifts.push(drift);
            let checked = out.len().saturating_sub(1);
            out.extend_from_slice(&lines[done..place]);
            out.extend(hunk.new_lines());
            done = place + hunk.old_lines().count();
            // A line without its break is the last of the file, before as after.
            let at_end = done >= lines.len();
            let inner = if at_end {
                out.len().saturating_sub(1)
            } else {
                out.len()
            };
            if out[checked.min(inner)..inner]
                .iter()
                .any(|line| !line.ends_with('\n'))
            {
                return Err(self.conflict(i + 1, place, ConflictReason::JoinsLines));
            }
        }
        out.extend_from_slice(&lines[done..]);
        let text = out.concat();
        if self.deletes && !text.is_empty() {
            return Err(self.conflict(0, done, ConflictReason::NotEmptied));
        }
        Ok(Applied {
            text: (!self.deletes).then_some(text),
            drifts,
        })
    }

    /// The index of the source line where the hunk goes.
    fn find(
        &self,
        index: usize,
        hunk: &Hunk,
        lines: &[&str],
        done: usize,
        drift: i64,
    ) -> Result<usize, DiffError> {
        let old: Vec<&str> = hunk.old_lines().collect();
        let matches = |at: usize, side: &[&str]| {
            at.checked_add(side.len())
                .and_then(|end| lines.get(at..end))
                == Some(side)
        };
        let stated = signed(hunk.old_start) + drift;
        let stated = usize::try_from(stated).unwrap_or(0).max(done);
        if matches(stated, &old) {
            return Ok(stated);
        }
        if !old.is_empty() {
            let last = lines.len().saturating_sub(old.len());
            let others: Vec<usize> = (done..=last).filter(|at| matches(*at, &old)).collect();
            match others.as_slice() {
                [] => {}
                [one] => return Ok(*one),
                _ => {
                    let lines = others.iter().map(|at| at + 1).collect();
                    let reason = ConflictReason::Ambiguous { lines };
                    return Err(self.conflict(index + 1, stated, reason));
                }
            }
        }
        let new: Vec<&str> = hunk.new_lines().collect();
        if !new.is_empty() && matches(stated, &new) {
            return Err(self.conflict(index + 1, stated, ConflictReason::AlreadyApplied));
        }
        let differs = |(i, line): &(usize, &&str)| lines.get(stated + i) != Some(*line);
        let (offset, expected) = old
            .iter()
            .enumerate()
            .find(differs)
            .map_or((0, ""), |(i, line)| (i, *line));
        let reason = ConflictReason::Mismatch {
            line: stated + offset + 1,
            expected: expected.to_owned(),
            found: lines.get(stated + offset).map(|line| (*line).to_owned()),
        };
        Err(self.conflict(index + 1, stated, reason))
    }

    /// A conflict of the file as a whole, unless the change is there already.
    fn whole(&self, source: Option<&str>, reason: ConflictReason) -> DiffError {
        let wanted: String = self.hunks.iter().flat_map(Hunk::new_lines).collect();
        let done = match source {
            None => self.deletes,
            Some(text) => self.creates && text == wanted,
        };
        self.conflict(
            0,
            0,
            if done {
                ConflictReason::AlreadyApplied
            } else {
                reason
            },
        )
    }

    fn conflict(&self, hunk: usize, at: usize, reason: ConflictReason) -> DiffError {
        let path = self.path.clone();
        DiffError::Conflict(Box::new(Conflict {
            path,
            hunk,
            line: at + 1,
            reason,
        }))
    }
}

/// Line counts are far below 2^63.
fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn diff(old: &str, new: &str) -> UnifiedDiff {
        UnifiedDiff::between("f", Some(old), Some(new), 3).unwrap()
    }

    fn reason(result: Result<String, DiffError>) -> ConflictReason {
        match result {
            Err(DiffError::Conflict(conflict)) => conflict.reason,
            other => panic!("expected a conflict, got {other:?}"),
        }
    }

    #[test]
    fn drifted_hunk_is_applied_where_it_fits_once() {
        let d = diff("a\nb\nc\n", "a\nB\nc\n");
        assert_eq!(d.apply("x\ny\nz\na\nb\nc\n").unwrap(), "x\ny\nz\na\nB\nc\n");
        assert_eq!(
            d.files()[0].apply(Some("x\na\nb\nc\n")).unwrap().drifts,
            [1]
        );
    }

    #[test]
    fn hunk_that_fits_twice_elsewhere_is_a_conflict() {
        let d = diff("a\nb\nc\n", "a\nB\nc\n");
        let twice = "x\na\nb\nc\na\nb\nc\n";
        assert_eq!(
            reason(d.apply(twice)),
            ConflictReason::Ambiguous { lines: vec![2, 5] }
        );
    }

    #[test]
    fn edited_context_and_edited_target_are_conflicts() {
        let d = diff("a\nb\nc\n", "a\nB\nc\n");
        for (source, line, expected, found) in [
            ("a\nb\nC\n", 3, "c\n", Some("C\n")),
            ("a\nmine\nc\n", 2, "b\n", Some("mine\n")),
            ("a\nb\n", 3, "c\n", None),
            ("a\nb\nc", 3, "c\n", Some("c")),
        ] {
            let wanted = ConflictReason::Mismatch {
                line,
                expected: expected.to_owned(),
                found: found.map(str::to_owned),
            };
            assert_eq!(reason(d.apply(source)), wanted, "{source:?}");
        }
    }

    #[test]
    fn change_that_is_there_already_is_told() {
        let d = diff("a\nb\nc\n", "a\nB\nc\n");
        assert_eq!(reason(d.apply("a\nB\nc\n")), ConflictReason::AlreadyApplied);
        let made = UnifiedDiff::between("f", None, Some("x\n"), 3).unwrap();
        assert_eq!(reason(made.apply("x\n")), ConflictReason::AlreadyApplied);
        assert_eq!(reason(made.apply("y\n")), ConflictReason::Exists);
    }

    #[test]
    fn drift_never_joins_two_lines() {
        let d = diff("a\nb\n", "a\nB");
        assert_eq!(reason(d.apply("a\nb\nc\n")), ConflictReason::JoinsLines);
        let appended = UnifiedDiff::between("f", Some("a\n"), Some("a\nb\n"), 0).unwrap();
        assert_eq!(reason(appended.apply("a")), ConflictReason::JoinsLines);
    }

    #[test]
    fn conflict_reads_as_place_value_and_expectation() {
        let error = diff("a\nb\nc\n", "a\nB\nc\n")
            .apply("a\nmine\nc\n")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"f:1: hunk 1 does not apply: line 2 expected "b\n", found "mine\n""#,
        );
    }

    #[test]
    fn tree_is_changed_whole_or_not_at_all() {
        let made = UnifiedDiff::between("new", None, Some("n\n"), 3).unwrap();
        let gone = UnifiedDiff::between("old", Some("o\n"), None, 3).unwrap();
        let d = diff("a\n", "b\n").join(made).unwrap().join(gone).unwrap();
        let tree = |path: &str| match path {
            "f" => Some("a\n".to_owned()),
            "old" => Some("o\n".to_owned()),
            _ => None,
        };
        let changed = d.apply_to_tree(tree).unwrap();
        assert_eq!(changed["f"].as_deref(), Some("b\n"));
        assert_eq!(changed["new"].as_deref(), Some("n\n"));
        assert_eq!(changed["old"], None);
        assert!(d.apply_to_tree(|_| None).is_err());
        let back = d
            .inverted()
            .apply_to_tree(|path| changed.get(path).cloned().flatten());
        assert_eq!(back.unwrap()["old"].as_deref(), Some("o\n"));
        assert_eq!(d.to_string().parse::<UnifiedDiff>().unwrap(), d);
    }

    /// Few letters, so that lines repeat; CRLF, lone carriage returns, no newline at the end.
    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop_oneof![3 => Just("a\n"), 3 => Just("b\n"), 1 => Just("\n"), 1 => Just("c\r\n"),
                1 => Just("\r"), 1 => Just("- x\n"), 1 => Just("\\ é"), 1 => Just("@@ \n")],
            0..24,
        )
        .prop_map(|parts| parts.concat())
    }

    fn maybe() -> impl Strategy<Value = Option<String>> {
        prop_oneof![1 => Just(None), 6 => text().prop_map(Some)]
    }

    proptest! {
        #[test]
        fn diff_applies_inverts_and_reads_back(a in maybe(), b in maybe(), context in 0usize..5) {
            let d = UnifiedDiff::between("d/f g", a.as_deref(), b.as_deref(), context).unwrap();
            prop_assert_eq!(&d.inverted().inverted(), &d);
            prop_assert_eq!(&d.to_string().parse::<UnifiedDiff>().unwrap(), &d);
            if let [file] = d.files() {
                prop_assert_eq!(&file.apply(a.as_deref()).unwrap().text, &b);
                let back = d.inverted();
                prop_assert_eq!(&back.files()[0].apply(b.as_deref()).unwrap().text, &a);
            } else {
                prop_assert_eq!(a, b);
            }
        }

        #[test]
        fn drifted_apply_keeps_every_added_line(a in text(), b in text(), c in text()) {
            let d = diff(&a, &b);
            if let Ok(out) = d.apply(&c) {
                let (inserted, deleted) = d.n_changed_lines();
                let n = |t: &str| t.split_inclusive('\n').count();
                prop_assert_eq!(n(&out) + deleted, n(&c) + inserted);
            }
        }
    }
}
