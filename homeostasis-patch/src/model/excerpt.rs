//! The lines of a file that are shown, without its secrets.

use homeostasis_core::port::Redactor;
use serde::Serialize;

/// How many lines one secret may span for the lines after it to be shown at their places.
const MAX_SECRET_LINES: usize = 1024;

/// Consecutive lines of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Excerpt {
    pub(super) from_line: usize,
    pub(super) text: String,
}

/// The lines around those (1-based), each once.
///
/// The whole file is redacted, and then cut: what is cut out of a secret does not look like one.
pub(super) fn excerpts(
    source: &str,
    around: &[usize],
    n: usize,
    redactor: &dyn Redactor,
) -> Vec<Excerpt> {
    let redacted = redactor.text(source);
    let pieces = aligned(source, &redacted);
    let n_lines = source.lines().count();
    let touches = |piece: &&Piece<'_>, (from, to)| piece.from < to && piece.to > from;
    // All lines of a secret go together, for it is shown as one.
    let whole = |range: (usize, usize)| {
        let mut touched = pieces.iter().filter(|piece| touches(piece, range));
        let first = touched.next()?;
        Some((first.from, touched.next_back().unwrap_or(first).to))
    };
    let mut ranges: Vec<(usize, usize)> = around
        .iter()
        .map(|line| (line.saturating_sub(n + 1), (line + n).min(n_lines)))
        .filter_map(whole)
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    let excerpt = |range: (usize, usize)| {
        let shown = pieces.iter().filter(|piece| touches(piece, range));
        let shown: Vec<&str> = shown.map(|piece| piece.text).collect();
        Excerpt {
            from_line: range.0 + 1,
            text: shown.join("\n"),
        }
    };
    merged.into_iter().map(excerpt).collect()
}

/// One line of the redacted text, and for which lines of the source (from 0, the end excluded) it stands.
#[derive(Debug, PartialEq, Eq)]
struct Piece<'a> {
    from: usize,
    to: usize,
    text: &'a str,
}

/// The lines of `redacted`, each with those of `source` it stands for: itself, or the secret in it.
///
/// Every line shown is one of `redacted`. Where lines are mistaken for each other, a wrong one of those is
/// shown, and no secret.
fn aligned<'a>(source: &str, redacted: &'a str) -> Vec<Piece<'a>> {
    let source: Vec<&str> = source.lines().collect();
    let redacted: Vec<&str> = redacted.lines().collect();
    let mut pieces = Vec::new();
    let mut from = 0;
    for (idx, text) in redacted.iter().enumerate() {
        let n_left = redacted.len() - idx - 1;
        let rest = source.get(from..).unwrap_or_default();
        let n_replaced = if rest.first().is_none_or(|line| line == text) {
            1
        } else {
            n_replaced(rest, redacted.get(idx + 1).copied(), n_left)
        };
        let to = from + n_replaced;
        pieces.push(Piece { from, to, text });
        from = to;
    }
    pieces
}

/// How many lines at the beginning of `source` one redacted line stands for, before one that reads `next`
/// and `n_left` lines in all.
fn n_replaced(source: &[&str], next: Option<&str>, n_left: usize) -> usize {
    // As many lines as are left: no line was taken out any more.
    if source.len() == n_left + 1 {
        return 1;
    }
    let Some(next) = next else {
        return source.len();
    };
    let mut after = source.iter().skip(1).take(MAX_SECRET_LINES);
    after.position(|line| *line == next).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use homeostasis_core::testing::MaskRedactor;

    use super::*;

    fn spans(source: &str, redacted: &str) -> Vec<(usize, usize)> {
        let pieces = aligned(source, redacted);
        pieces.iter().map(|piece| (piece.from, piece.to)).collect()
    }

    #[test]
    fn a_redacted_line_stands_for_the_lines_of_its_secret() {
        assert_eq!(spans("a\nb\nc\n", "a\nb\nc\n"), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(spans("a\nKEY\nc\n", "a\n*\nc\n"), [(0, 1), (1, 2), (2, 3)]);
        let (key, shorter) = ("a\nK1\nK2\nK3\nb\nb\n", "a\n*\nb\nb\n");
        assert_eq!(spans(key, shorter), [(0, 1), (1, 4), (4, 5), (5, 6)]);
        // Two secrets, one after the other.
        let (keys, shorter) = ("K1\nK2\nX\nL1\nL2\n", "*\nX\n*\n");
        assert_eq!(spans(keys, shorter), [(0, 2), (2, 3), (3, 5)]);
        // Nothing but a secret, and a redactor that adds lines.
        assert_eq!(spans("K1\nK2\n", "*"), [(0, 2)]);
        assert_eq!(spans("a\n", "a\nb\n"), [(0, 1), (1, 2)]);
        assert_eq!(spans("", ""), []);
    }

    #[test]
    fn lines_are_shown_once_at_their_places() {
        let source = "one\ntwo hunter2\nthree\nfour\nfive\n";
        let shown = excerpts(source, &[1, 2, 5, 99], 0, &MaskRedactor("hunter2"));
        let shown: Vec<_> = shown
            .iter()
            .map(|it| (it.from_line, it.text.as_str()))
            .collect();
        assert_eq!(shown, [(1, "one\ntwo [redacted:test]"), (5, "five")]);
    }
}
