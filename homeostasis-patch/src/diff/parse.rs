//! Reading unified diffs: strict in hunks, tolerant of the prose around them.

use super::DiffError;
use super::hunk::{DiffLine, Hunk, LineKind};
use super::quote::{check_path, first_name};
use super::unified::{Drift, FileDiff};

/// Line numbers beyond this are refused: no text file of a service has so many.
const MAX_LINE: usize = 1 << 31;

/// The files of a diff; an empty text has none.
pub(super) fn parse(text: &str) -> Result<Vec<FileDiff>, DiffError> {
    let mut reader = Reader {
        lines: text.split_inclusive('\n').collect(),
        at: 0,
    };
    let mut files: Vec<FileDiff> = Vec::new();
    while let Some(line) = reader.peek() {
        if line.starts_with("diff --git ") || reader.at_names() {
            let file = reader.file()?;
            if files.iter().any(|f| f.path == file.path) {
                let expected = "each file once in a diff";
                return Err(DiffError::Path {
                    path: file.path,
                    expected,
                });
            }
            files.push(file);
        } else if line.starts_with("@@ ") {
            return Err(reader.error("`---` and `+++` lines before a hunk"));
        } else if !files.is_empty() && line.starts_with([' ', '+', '-', '\\']) && line != "-- " {
            return Err(reader.error("as many hunk lines as its header counts"));
        } else {
            reader.at += 1;
        }
    }
    if files.is_empty() && !text.trim().is_empty() {
        reader.at = 0;
        return Err(reader.error("a unified diff"));
    }
    Ok(files)
}

struct Reader<'t> {
    /// With their line breaks.
    lines: Vec<&'t str>,
    at: usize,
}

impl<'t> Reader<'t> {
    /// The line here, without its line break.
    fn peek(&self) -> Option<&'t str> {
        self.line(self.at)
    }

    fn line(&self, at: usize) -> Option<&'t str> {
        let line = self.lines.get(at)?;
        Some(
            line.strip_suffix("\r\n")
                .or_else(|| line.strip_suffix('\n'))
                .unwrap_or(line),
        )
    }

    fn at_names(&self) -> bool {
        let starts = |at, mark| self.line(at).is_some_and(|l| l.starts_with(mark));
        starts(self.at, "--- ") && starts(self.at + 1, "+++ ")
    }

    fn error(&self, expected: &'static str) -> DiffError {
        let found: String = self.peek().unwrap_or("the end").chars().take(120).collect();
        DiffError::Parse {
            line: self.at + 1,
            found,
            expected,
        }
    }

    fn file(&mut self) -> Result<FileDiff, DiffError> {
        let mut path = None;
        let (mut creates, mut deletes) = (false, false);
        if let Some(names) = self.peek().and_then(|l| l.strip_prefix("diff --git ")) {
            path = name_of_both(names);
            let header = self.at;
            self.at += 1;
            while let Some(line) = self.peek() {
                if let Some(mode) = line.strip_prefix("new file mode ") {
                    self.check_mode(mode)?;
                    creates = true;
                } else if let Some(mode) = line.strip_prefix("deleted file mode ") {
                    self.check_mode(mode)?;
                    deletes = true;
                } else if [
                    "old mode",
                    "new mode",
                    "rename ",
                    "copy ",
                    "similarity ",
                    "dissimilarity ",
                ]
                .iter()
                .any(|unsupported| line.starts_with(unsupported))
                {
                    return Err(self.error("a change of content only (no mode, rename or copy)"));
                } else if line.starts_with("GIT binary patch") || line.starts_with("Binary files") {
                    return Err(self.error("a text file"));
                } else if !line.starts_with("index ") {
                    break;
                }
                self.at += 1;
            }
            if !self.at_names() && !creates && !deletes {
                self.at = header;
                return Err(self.error("a changed, created or deleted text file"));
            }
        }
        if self.at_names() {
            let old = self.name("--- ")?;
            let new = self.name("+++ ")?;
            let (name, made, gone) = match (old, new) {
                (None, None) => return Err(self.error("a file name beside /dev/null")),
                (None, Some(new)) => (without_prefix(&new).to_owned(), true, false),
                (Some(old), None) => (without_prefix(&old).to_owned(), false, true),
                (Some(old), Some(new)) if old == new => (new, false, false),
                (Some(old), Some(new)) if without_prefix(&old) == without_prefix(&new) => {
                    (without_prefix(&new).to_owned(), false, false)
                }
                (Some(_), Some(_)) => {
                    self.at -= 1;
                    return Err(self.error("the same file on both sides (no rename)"));
                }
            };
            if (creates && !made) || (deletes && !gone) {
                self.at -= 1;
                return Err(self.error("/dev/null on one side of a created or deleted file"));
            }
            (creates, deletes, path) = (made, gone, Some(name));
        }
        let path = path.ok_or_else(|| self.error("a file name"))?;
        check_path(&path)?;
        let hunks = self.hunks(creates, deletes)?;
        Ok(FileDiff {
            path,
            creates,
            deletes,
            hunks,
        })
    }

    fn check_mode(&self, mode: &str) -> Result<(), DiffError> {
        match mode.trim_end() {
            "100644" => Ok(()),
            _ => Err(self.error("the mode 100644 of a plain text file")),
        }
    }

    /// The name on a `---` or `+++` line; `None` for `/dev/null`.
    fn name(&mut self, mark: &str) -> Result<Option<String>, DiffError> {
        let text = self
            .peek()
            .and_then(|l| l.strip_prefix(mark))
            .unwrap_or_default();
        let (name, _) = first_name(text).ok_or_else(|| self.error("a file name"))?;
        self.at += 1;
        Ok((name != "/dev/null").then_some(name))
    }

    fn hunks(&mut self, creates: bool, deletes: bool) -> Result<Vec<Hunk>, DiffError> {
        let mut hunks: Vec<Hunk> = Vec::new();
        let mut drift = Drift::default();
        let mut free_from = 0;
        while self.peek().is_some_and(|l| l.starts_with("@@ ")) {
            let header = self.at;
            let (old, new, section) = self
                .hunk_header()
                .ok_or_else(|| self.error("@@ -line,count +line,count @@"))?;
            self.at += 1;
            let lines = self.hunk_lines(old.1, new.1)?;
            let old_start = if old.1 == 0 {
                old.0
            } else {
                old.0.saturating_sub(1)
            };
            let end = old_start + old.1;
            let misplaced = if lines.iter().all(|l| l.kind == LineKind::Context) {
                Some("a hunk that changes something")
            } else if old_start < free_from || (old.1 > 0 && old.0 == 0) {
                Some("a hunk below the one before it")
            } else if (creates && (old_start > 0 || old.1 > 0 || !hunks.is_empty()))
                || (deletes && (old.0 > 1 || new.1 > 0 || !hunks.is_empty()))
            {
                Some("one hunk that makes or removes the whole file")
            } else {
                None
            };
            if let Some(expected) = misplaced {
                self.at = header;
                return Err(self.error(expected));
            }
            free_from = end;
            // The new line number is counted here, not trusted: partial diffs often have it wrong.
            hunks.push(drift.place(old_start, lines, section));
        }
        if hunks.is_empty() && !creates && !deletes {
            return Err(self.error("a hunk"));
        }
        Ok(hunks)
    }

    /// Start and count of both sides as written, and the section title.
    fn hunk_header(&self) -> Option<(Range, Range, String)> {
        let rest = self.peek()?.strip_prefix("@@ -")?;
        let (old, rest) = rest.split_once(" +")?;
        let (new, section) = rest.split_once(" @@")?;
        let section = section.strip_prefix(' ').unwrap_or(section);
        Some((range(old)?, range(new)?, section.to_owned()))
    }

    fn hunk_lines(&mut self, n_old: usize, n_new: usize) -> Result<Vec<DiffLine>, DiffError> {
        let (mut old_left, mut new_left) = (n_old, n_new);
        let mut lines: Vec<DiffLine> = Vec::new();
        while old_left > 0 || new_left > 0 {
            let expected = "as many hunk lines as its header counts";
            let raw = *self
                .lines
                .get(self.at)
                .ok_or_else(|| self.error(expected))?;
            let (kind, text) = match raw.as_bytes().first() {
                Some(b' ') => (LineKind::Context, &raw[1..]),
                Some(b'-') => (LineKind::Delete, &raw[1..]),
                Some(b'+') => (LineKind::Insert, &raw[1..]),
                // Editors and mailers strip the blank of an empty context line.
                Some(b'\n' | b'\r') => (LineKind::Context, raw),
                _ => return Err(self.error("a line that starts with ` `, `-` or `+`")),
            };
            let counts = match kind {
                LineKind::Context => (1, 1),
                LineKind::Delete => (1, 0),
                LineKind::Insert => (0, 1),
            };
            old_left = old_left
                .checked_sub(counts.0)
                .ok_or_else(|| self.error(expected))?;
            new_left = new_left
                .checked_sub(counts.1)
                .ok_or_else(|| self.error(expected))?;
            self.at += 1;
            let mut text = text.to_owned();
            if self
                .lines
                .get(self.at)
                .is_some_and(|l| l.starts_with("\\ "))
            {
                self.at += 1;
                text.pop();
            } else if !text.ends_with('\n') {
                // The diff itself lost its last line break.
                text.push('\n');
            }
            lines.push(DiffLine { kind, text });
        }
        self.check_ends(&lines)?;
        Ok(lines)
    }

    /// Only the last line of each side may lack its line break.
    fn check_ends(&self, lines: &[DiffLine]) -> Result<(), DiffError> {
        for without in [LineKind::Insert, LineKind::Delete] {
            let mut side = lines.iter().filter(|l| l.kind != without).rev().skip(1);
            if side.any(|l| !l.text.ends_with('\n')) {
                return Err(self.error("`\\ No newline` after the last line of a side only"));
            }
        }
        Ok(())
    }
}

/// Start and count, as a hunk header writes them.
type Range = (usize, usize);

fn range(text: &str) -> Option<Range> {
    let number = |s: &str| {
        let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        s.parse::<usize>().ok().filter(|n| digits && *n < MAX_LINE)
    };
    match text.split_once(',') {
        Some((start, len)) => Some((number(start)?, number(len)?)),
        None => Some((number(text)?, 1)),
    }
}

/// Drops git's `a/` or `b/`.
fn without_prefix(name: &str) -> &str {
    name.strip_prefix("a/")
        .or_else(|| name.strip_prefix("b/"))
        .unwrap_or(name)
}

/// The name in `a/NAME b/NAME`.
fn name_of_both(text: &str) -> Option<String> {
    if text.starts_with('"') {
        return Some(without_prefix(&first_name(text)?.0).to_owned());
    }
    let half = text.len().checked_sub(1)? / 2;
    let (old, new) = (text.get(..half)?, text.get(half + 1..)?);
    (without_prefix(old) == without_prefix(new)).then(|| without_prefix(old).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> (usize, &'static str) {
        match parse(text) {
            Err(DiffError::Parse { line, expected, .. }) => (line, expected),
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn malformed_diffs_name_line_and_expectation() {
        let names = "--- a/x\n+++ b/x\n";
        for (body, line, expected) in [
            ("@@ -1 +1 @@\n-a\n", 5, "as many hunk lines"),
            ("@@ -1 +1 @@\n-a\n+b\n+c\n", 6, "as many hunk lines"),
            ("@@ -1 +1 @@\n-a\n-b\n", 5, "as many hunk lines"),
            ("@@ -x +1 @@\n-a\n", 3, "@@ -line"),
            ("@@ -99999999999999999999 +1 @@\n-a\n", 3, "@@ -line"),
            ("@@ -1 +1 @@\n a\n", 3, "changes something"),
            (
                "@@ -5 +5 @@\n-a\n+b\n@@ -1 +1 @@\n-a\n+b\n",
                6,
                "below the one before",
            ),
            (
                "@@ -1,2 +1 @@\n-a\n\\ No newline at end of file\n-b\n+c\n",
                8,
                "No newline",
            ),
            ("@@ -1 +1 @@\n*a\n", 4, "starts with"),
            ("", 3, "a hunk"),
        ] {
            let (at, why) = error(&format!("{names}{body}"));
            assert_eq!(at, line, "{body:?}: {why}");
            assert!(why.contains(expected), "{body:?}: {why}");
        }
        assert!(error("hello\n").1.contains("a unified diff"));
        assert!(
            error("--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n")
                .1
                .contains("same file")
        );
        assert!(
            error("diff --git a/x b/y\nrename from x\nrename to y\n")
                .1
                .contains("rename")
        );
        assert!(
            error("diff --git a/x b/x\nnew file mode 100755\n")
                .1
                .contains("100644")
        );
    }

    #[test]
    fn paths_out_of_the_tree_are_refused() {
        let text = "--- a/../../etc/passwd\n+++ b/../../etc/passwd\n@@ -1 +1 @@\n-a\n+b\n";
        assert!(matches!(parse(text), Err(DiffError::Path { .. })));
    }

    #[test]
    fn mail_around_a_diff_and_stripped_context_are_read() {
        let text = "From: x\nSubject: y\n\n---\n x | 2 +-\n\ndiff --git a/x b/x\nindex 1..2 100644\n\
                    --- a/x\n+++ b/x\n@@ -1,3 +1,3 @@ fn f()\n a\n\n-b\n+c\n-- \n2.39\n";
        let files = parse(text).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].hunks[0].section, "fn f()");
        assert_eq!(files[0].hunks[0].lines[1].text, "\n");
    }

    #[test]
    fn lines_that_look_like_headers_stay_in_their_hunk() {
        let text = "--- x\n+++ x\n@@ -1,2 +1,2 @@\n--- a/y\n-@@ -1 +1 @@\n+++ b/y\n+\\ x\n";
        let files = parse(text).unwrap();
        assert_eq!(files[0].hunks[0].lines[0].text, "-- a/y\n");
        assert_eq!(files[0].hunks[0].lines.len(), 4);
    }

    proptest! {
        #[test]
        fn no_text_panics(
            text in prop::collection::vec(prop_oneof![
                Just("--- a/x\n".to_owned()), Just("+++ b/x\n".to_owned()),
                Just("@@ -1 +1 @@\n".to_owned()), Just("\\ No newline\n".to_owned()),
                Just("diff --git a/x b/x\n".to_owned()), "@@ -[0-9]{1,3},[0-9] \\+[0-9],[0-9] @@\n",
                "[ +-][a-z\r]{0,2}\n?", "new file mode 100644\n", any::<String>(),
            ], 0..12).prop_map(|v| v.concat()),
        ) {
            if let Ok(files) = parse(&text) {
                for file in files {
                    let _ = file.apply(Some("a\nb\nc"));
                    let _ = file.apply(None);
                }
            }
        }
    }
}
