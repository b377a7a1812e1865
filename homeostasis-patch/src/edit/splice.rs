//! Replacements of byte ranges, and the lines around them.

use std::ops::Range;

/// Replace the bytes of `range` by `text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splice {
    pub(crate) range: Range<usize>,
    pub(crate) text: String,
}

impl Splice {
    pub(crate) fn replace(range: Range<usize>, text: impl Into<String>) -> Self {
        Self {
            range,
            text: text.into(),
        }
    }

    pub(crate) fn insert(at: usize, text: impl Into<String>) -> Self {
        Self::replace(at..at, text)
    }

    pub(crate) fn delete(range: Range<usize>) -> Self {
        Self::replace(range, "")
    }
}

/// The source with all splices made; `None` when two overlap or one does not fit the source.
pub(crate) fn apply(source: &str, mut splices: Vec<Splice>) -> Option<String> {
    splices.sort_by_key(|s| (s.range.start, s.range.end));
    let mut text = String::with_capacity(source.len() + 64);
    let mut at = 0;
    for splice in &splices {
        text.push_str(source.get(at..splice.range.start)?);
        text.push_str(&splice.text);
        source.get(splice.range.clone())?;
        at = splice.range.end;
    }
    text.push_str(source.get(at..)?);
    Some(text)
}

/// Start of the line that holds byte `at`.
pub(crate) fn line_start(source: &str, at: usize) -> usize {
    source[..at]
        .rfind('\n')
        .map_or(bom_len(source).min(at), |i| i + 1)
}

/// End of the line that holds byte `at`, before its line break.
pub(crate) fn line_end(source: &str, at: usize) -> usize {
    let Some(len) = source[at..].find('\n') else {
        return source.len();
    };
    let end = at + len;
    if len > 0 && source.as_bytes()[end - 1] == b'\r' {
        end - 1
    } else {
        end
    }
}

/// Start of the next line after byte `at`, or the end of the source.
pub(crate) fn next_line(source: &str, at: usize) -> usize {
    source[at..]
        .find('\n')
        .map_or(source.len(), |len| at + len + 1)
}

/// What stands before byte `at` on its line.
pub(crate) fn line_prefix(source: &str, at: usize) -> &str {
    &source[line_start(source, at)..at]
}

/// The white space that opens the line of byte `at`.
pub(crate) fn indentation(source: &str, at: usize) -> &str {
    let line = &source[line_start(source, at)..];
    &line[..line.find(|c| c != ' ' && c != '\t').unwrap_or(line.len())]
}

/// Whether only blanks stand before byte `at` on its line.
pub(crate) fn opens_line(source: &str, at: usize) -> bool {
    line_prefix(source, at)
        .chars()
        .all(|c| c == ' ' || c == '\t')
}

/// As many spaces as characters stand before byte `at` on its line.
pub(crate) fn column_as_spaces(source: &str, at: usize) -> String {
    " ".repeat(line_prefix(source, at).chars().count())
}

/// The line break in use: that of the first line, `\n` when there is none.
pub(crate) fn line_break(source: &str) -> &'static str {
    match source.find('\n') {
        Some(i) if i > 0 && source.as_bytes()[i - 1] == b'\r' => "\r\n",
        _ => "\n",
    }
}

/// Length in bytes of the byte order mark, if there is one.
pub(crate) fn bom_len(source: &str) -> usize {
    if source.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    }
}

/// 1-based line and column (in characters) of byte `at`.
pub(crate) fn line_column(source: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    let before = &source[..at];
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (
        before.matches('\n').count() + 1,
        before[start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_splices_are_refused() {
        let ok = vec![Splice::replace(1..2, "X"), Splice::insert(0, "<")];
        assert_eq!(apply("abc", ok).as_deref(), Some("<aXc"));
        let overlap = vec![Splice::replace(0..2, "X"), Splice::delete(1..3)];
        assert_eq!(apply("abc", overlap), None);
        assert_eq!(apply("abc", vec![Splice::delete(2..9)]), None);
    }

    #[test]
    fn lines_are_found_with_either_line_break() {
        let text = "\u{feff}ab\r\n  c\n";
        assert_eq!(line_start(text, 4), 3);
        assert_eq!(line_end(text, 3), 5);
        assert_eq!(next_line(text, 3), 7);
        assert_eq!(indentation(text, 9), "  ");
        assert_eq!(line_break(text), "\r\n");
        assert_eq!(line_column(text, 9), (2, 3));
    }
}
