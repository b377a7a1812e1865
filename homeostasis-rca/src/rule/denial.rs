//! Whether a line denies what a pattern found in it.

use std::ops::Range;

/// What stands before something that is not there.
const NONE_OF: [&str; 4] = ["no", "0", "zero", "without"];

/// What counts or tries the thing named before it.
const COUNTING: [&str; 16] = [
    "alarms",
    "attempts",
    "check",
    "checks",
    "count",
    "counter",
    "entries",
    "error",
    "errors",
    "events",
    "failures",
    "kills",
    "occurrences",
    "test",
    "tests",
    "total",
];

/// Values that say that it did not happen.
const NOTHING: [&str; 6] = ["false", "never", "no", "none", "ok", "passed"];

/// What is followed by the detail that it complains of, so that `unknown level: none` is no denial.
const NAMES_A_DETAIL: [&str; 7] = [
    "expected",
    "illegal",
    "invalid",
    "missing",
    "unexpected",
    "unknown",
    "unsupported",
];

/// Most words of [`COUNTING`] in a row.
const MAX_COUNTING: usize = 3;

/// Whether `line` says that what stands at `found` did not happen: `no deadlock detected`,
/// `connection refused errors: 0`, `disk full check ok`, `out of memory: false`,
/// `errors_total{error="connection refused"} 0`.
///
/// Looks at the words beside it only: linear in the line.
pub(super) fn is_denied(line: &str, found: Range<usize>) -> bool {
    let (Some(before), Some(text), Some(after)) = (
        line.get(..found.start),
        line.get(found.clone()),
        line.get(found.end..),
    ) else {
        return false;
    };
    let lead = text.len() - text.trim_start().len();
    let before = line.get(..found.start + lead).unwrap_or(before);
    is_none_of(before) || counts_nothing(text, after)
}

fn is_none_of(before: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    let word = before.trim_end_matches(' ');
    let word = match word.rfind(|c| !is_part(c)) {
        Some(end) if word.len() < before.len() => &word[end..],
        None if word.len() < before.len() => word,
        _ => return false,
    };
    let word = word.trim_start_matches(|c| !is_part(c));
    is_one_of(&NONE_OF, word)
}

/// The last word is the name of a type, as in `KeyError: 0`, or asks for a detail.
fn names_a_detail(text: &str) -> bool {
    let text = text.trim_end_matches(|c: char| !c.is_alphanumeric());
    text.ends_with("Error")
        || text.ends_with("Exception")
        || text
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| is_one_of(&NAMES_A_DETAIL, word))
}

fn counts_nothing(text: &str, after: &str) -> bool {
    let sample = after
        .strip_prefix('"')
        .and_then(|rest| rest.split_once('}'));
    if sample.is_some_and(|(_, value)| value.trim().parse() == Ok(0.0)) {
        return true;
    }
    let (mut rest, mut n_counting) = (after, 0);
    if let Some(tail) = after.strip_prefix('s') {
        // The plural of what was found.
        rest = if word_of(tail).0.is_empty() {
            tail
        } else {
            after
        };
    }
    while let Some(tail) = rest.strip_prefix(' ') {
        let (word, tail) = word_of(tail);
        if n_counting == MAX_COUNTING || !is_one_of(&COUNTING, word) {
            break;
        }
        rest = tail;
        n_counting += 1;
    }
    let rest = rest.strip_prefix('"').unwrap_or(rest);
    match rest.trim_start().strip_prefix([':', '=']) {
        Some(value) => (n_counting > 0 || !names_a_detail(text)) && is_nothing(value),
        None => n_counting > 0 && is_nothing(rest),
    }
}

/// The word that `text` begins with, and what follows it.
fn word_of(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric());
    text.split_at(end.unwrap_or(text.len()))
}

/// Whether `value` is one of those that say so, and nothing else belongs to it.
fn is_nothing(value: &str) -> bool {
    let value = value.trim_start().trim_start_matches('"');
    let end = value.find(|c: char| !c.is_alphanumeric() && c != '.');
    let (word, rest) = value.split_at(end.unwrap_or(value.len()));
    let word = word.trim_end_matches('.');
    (is_one_of(&NOTHING, word) || word.parse() == Ok(0.0))
        && (rest.is_empty() || rest.starts_with(['"', ',', ';', ')', ']', '}']))
}

fn is_one_of(words: &[&str], word: &str) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With what is found between brackets.
    fn denied(line: &str) -> bool {
        let (before, rest) = line.split_once('<').unwrap();
        let (found, after) = rest.split_once('>').unwrap();
        let (start, end) = (before.len(), before.len() + found.len());
        is_denied(&format!("{before}{found}{after}"), start..end)
    }

    #[test]
    fn what_a_line_counts_as_zero_or_checked_and_found_well_is_denied() {
        for line in [
            "no <deadlock detected> in the last hour",
            "12 passed, 0 <permission denied> errors",
            "finished without< connection reset>",
            "<connection refused> errors: 0",
            "<connection refused> errors: 0, resets: 0",
            "<out of memory>: false",
            "<pool exhausted> count 0",
            "<rate limit exceeded>=0.0;",
            "{\"<disk full>\":false}",
            "<disk full> check ok",
            "<certificate expired> check: ok",
            "<authentication failed> attempts: 0",
            "<segmentation fault>s: 0",
            "<invalid token> count=0",
            "<connection refused> test: passed.",
            "http_client_errors_total{error=\"<connection refused>\",code=\"0\"} 0",
        ] {
            assert!(denied(line), "{line}");
        }
    }

    #[test]
    fn what_happened_is_not_denied() {
        for line in [
            "<connection refused>",
            "<connection refused>: connect",
            "<permission denied>: no such user",
            "<out of memory>: 0 bytes left",
            "<too many open files> (os error 24)",
            "<KeyError>: 0",
            "<unknown level>: none",
            "<refused>some: 0",
            "<connection refused> errors: 12",
            "<connection refused> errors",
            "<disk full> check failed",
            "piano <deadlock detected>",
            "10.0 <connection refused>",
            "code=0: <connection refused>",
            "errors_total{error=\"<connection refused>\"} 7",
            "dial \"<connection refused>\"",
            "<Verbindung abgelehnt>: ä",
        ] {
            assert!(!denied(line), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_place_of_any_line_is_looked_at(line in ".{0,40}", at in 0_usize..50, len in 0_usize..50) {
            let _ = is_denied(&line, at..at + len);
        }
    }
}
