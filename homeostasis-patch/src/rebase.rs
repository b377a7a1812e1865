//! A candidate brought onto a text that has changed since it was made.

use homeostasis_core::Digest;
use homeostasis_core::record::PatchCandidate;

use crate::{DiffError, FilePatch, FilePatchError, UnifiedDiff};

/// How a candidate was made to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fit {
    /// The text is the one it was made for.
    Unchanged,
    /// What made it was run again on the new text.
    MadeAnew,
    /// Every line of context was found, each hunk so many lines further down (up, if negative).
    Context {
        /// One for each hunk.
        drifts: Vec<i64>,
    },
}

/// A candidate that fits a text, and how it was made to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rebased {
    /// Bound to the text it was rebased on. Unless nothing had changed it has another hash: tests
    /// that were passed and approvals that were given do not carry over.
    pub candidate: PatchCandidate,
    /// How.
    pub fit: Fit,
}

/// Makes `candidate` fit `source`, by what it means first and by its context second.
///
/// `make_anew` runs what made the candidate, such as a template, on the new text and gives the text it
/// wants; `None` if it no longer applies or does not know.
/// Then the diff is applied strictly: every line of context must be there, at its place or at
/// exactly one other ([`FileDiff::apply`](crate::FileDiff::apply)). Nothing is guessed, and no line
/// that somebody edited is overwritten.
///
/// # Errors
/// - [`FilePatchError::NoChange`]: made anew it changes nothing: the text is as it wants it.
/// - [`FilePatchError::Diff`]: the diff is not one of this file, or its context is not there; the
///   conflict names hunk, line, what was expected and what was found.
///
/// # Examples
/// ```
/// use homeostasis::core::record::{PatchCandidate, PatchKind};
/// use homeostasis::patch::{FilePatch, Fit, rebase};
///
/// let made = FilePatch::from_texts("a.py", "x = y / n\n", "x = y / n if n else 0\n")?;
/// let (base, diff) = (made.base_hash, made.diff.to_string());
/// let candidate = PatchCandidate::new("docs", PatchKind::Code, "a.py", base, diff);
/// let rebased = rebase(&candidate, "import os\nx = y / n\n", |_| None)?;
/// assert_eq!(rebased.fit, Fit::Context { drifts: vec![1] });
/// assert!(rebase(&candidate, "x = y / m\n", |_| None).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn rebase(
    candidate: &PatchCandidate,
    source: &str,
    make_anew: impl FnOnce(&str) -> Option<String>,
) -> Result<Rebased, FilePatchError> {
    if Digest::of_bytes(source.as_bytes()) == candidate.base {
        FilePatch::from_candidate(candidate, source)?;
        return Ok(Rebased {
            candidate: candidate.clone(),
            fit: Fit::Unchanged,
        });
    }
    let path = candidate.path.as_str();
    let (new, fit) = match make_anew(source) {
        Some(new) => (new, Fit::MadeAnew),
        None => in_context(candidate, source).map_err(|source| FilePatchError::Diff {
            path: path.to_owned(),
            source,
        })?,
    };
    let made = FilePatch::from_texts(path, source, &new)?;
    let mut candidate = candidate.clone();
    candidate.base = made.base_hash;
    candidate.diff = made.diff.to_string();
    Ok(Rebased { candidate, fit })
}

fn in_context(candidate: &PatchCandidate, source: &str) -> Result<(String, Fit), DiffError> {
    let diff: UnifiedDiff = candidate.diff.parse()?;
    let [file] = diff.files() else {
        let n_files = diff.files().len();
        return Err(DiffError::NotOneFile { n_files });
    };
    if file.path() != candidate.path {
        return Err(DiffError::Path {
            path: file.path().to_owned(),
            expected: "the path of the candidate",
        });
    }
    let new = diff.apply(source)?;
    let drifts = file.apply(Some(source))?.drifts;
    Ok((new, Fit::Context { drifts }))
}

#[cfg(test)]
mod tests {
    use homeostasis_core::ErrorKind;
    use homeostasis_core::record::PatchKind;
    use proptest::prelude::*;

    use super::*;
    use crate::ConflictReason;

    const OLD: &str = "def f(a):\n    total = 0\n    return a / total\n";
    const NEW: &str = "def f(a):\n    total = 0\n    return a / total if total else 0\n";

    fn candidate(old: &str, new: &str) -> PatchCandidate {
        let made = FilePatch::from_texts("m.py", old, new).unwrap();
        let (base, diff) = (made.base_hash, made.diff.to_string());
        PatchCandidate::new("test", PatchKind::Code, "m.py", base, diff)
    }

    fn guard(text: &str) -> Option<String> {
        let found = text.contains("a / sum\n");
        found.then(|| text.replace("a / sum\n", "a / sum if sum else 0\n"))
    }

    fn result(rebased: &Rebased, source: &str) -> String {
        let patch = FilePatch::from_candidate(&rebased.candidate, source).unwrap();
        patch.apply(source).unwrap()
    }

    #[test]
    fn what_made_it_is_asked_before_the_context() {
        let made = candidate(OLD, NEW);
        let same = rebase(&made, OLD, |_| panic!("nothing has changed")).unwrap();
        assert_eq!((same.fit, &same.candidate), (Fit::Unchanged, &made));
        // A variable has another name: the context is gone, the meaning is not.
        let renamed = OLD.replace("total", "sum");
        let anew = rebase(&made, &renamed, guard).unwrap();
        assert_eq!(anew.fit, Fit::MadeAnew);
        assert_ne!(anew.candidate.hash(), made.hash());
        assert!(result(&anew, &renamed).ends_with("return a / sum if sum else 0\n"));
        let conflict = rebase(&made, &renamed, |_| None).unwrap_err();
        assert_eq!(conflict.kind(), ErrorKind::Conflict);
        let done = rebase(&made, &renamed, |text| Some(text.to_owned())).unwrap_err();
        assert!(matches!(done, FilePatchError::NoChange { .. }), "{done}");
    }

    #[test]
    fn a_line_that_somebody_edited_and_a_change_that_is_there_are_conflicts() {
        let made = candidate(OLD, NEW);
        let reason = |source: &str| match rebase(&made, source, |_| None) {
            Err(FilePatchError::Diff {
                source: DiffError::Conflict(conflict),
                ..
            }) => conflict.reason,
            other => panic!("{other:?}"),
        };
        let edited = OLD.replace("a / total", "a // total");
        assert!(matches!(
            reason(&edited),
            ConflictReason::Mismatch { line: 3, .. }
        ));
        assert_eq!(reason(NEW), ConflictReason::AlreadyApplied);
        let twice = format!("#\n{OLD}{OLD}");
        assert!(matches!(reason(&twice), ConflictReason::Ambiguous { .. }));
    }

    fn lines() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[a-d]{1,3}", 1..12)
    }

    proptest! {
        #[test]
        fn drift_around_a_patch_moves_it_and_changes_nothing_else(
            old in lines(), at in any::<prop::sample::Index>(), new in "[x-z]{1,3}",
            above in 0usize..5, below in 0usize..5,
        ) {
            // Each line is there once.
            let old: Vec<_> = old.iter().enumerate().map(|(i, line)| format!("{line}{i}\n")).collect();
            let mut patched = old.clone();
            patched[at.index(old.len())] = format!("{new}\n");
            let made = candidate(&old.concat(), &patched.concat());
            let around = |text: &[String]| {
                "# above\n".repeat(above) + &text.concat() + &"# below\n".repeat(below)
            };
            let source = around(&old);
            let rebased = rebase(&made, &source, |_| None).unwrap();
            prop_assert_eq!(result(&rebased, &source), around(&patched));
            // And back, to the byte.
            let patch = FilePatch::from_candidate(&rebased.candidate, &source).unwrap();
            prop_assert_eq!(patch.inverted().apply(&around(&patched)).unwrap(), source);
            prop_assert_eq!(patch.inverted().inverted(), patch);
        }

        #[test]
        fn an_edited_target_line_is_never_overwritten(
            old in lines(), at in any::<prop::sample::Index>(), mine in "[m-p]{1,3}",
        ) {
            let old: Vec<_> = old.iter().enumerate().map(|(i, line)| format!("{line}{i}\n")).collect();
            let at = at.index(old.len());
            let with = |line: &str| {
                let mut text = old.clone();
                text[at] = line.to_owned();
                text.concat()
            };
            let made = candidate(&old.concat(), &with("healed\n"));
            let source = with(&format!("{mine}\n"));
            prop_assert!(rebase(&made, &source, |_| None).is_err());
        }
    }
}
