//! Whether a line denies what a pattern found in it.

use std::ops::Range;

use super::Pattern;

/// What counts or tries the thing named before it.
const COUNTING: [&str; 15] = [
    "alarms",
    "attempts",
    "check",
    "checks",
    "count",
    "counter",
    "entries",
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
const NOTHING: [&str; 5] = ["false", "never", "no", "ok", "passed"];

/// What is followed by the detail that it complains of, so that `unknown level: no` is no denial.
const NAMES_A_DETAIL: [&str; 14] = [
    "cannot",
    "could",
    "couldn",
    "expected",
    "illegal",
    "invalid",
    "missing",
    "not",
    "such",
    "to",
    "unable",
    "unexpected",
    "unknown",
    "unsupported",
];

/// Words before `no` and `0` that tell what there is. After any other, as in `GPU 0 out of memory`
/// and `keepalive no`, they may belong to it.
const TELLS: [&str; 20] = [
    "and", "are", "but", "debug", "detected", "found", "got", "had", "has", "have", "info", "is",
    "notice", "reported", "saw", "seen", "trace", "was", "were", "with",
];

/// Those of [`TELLS`] after which a number is a count, whatever it counts.
const COUNTED: [&str; 7] = ["found", "had", "has", "have", "saw", "seen", "with"];

/// What goes well `without` it.
const WENT_WELL: [&str; 15] = [
    "completed",
    "days",
    "done",
    "ended",
    "finished",
    "hours",
    "minutes",
    "passed",
    "ran",
    "requests",
    "runs",
    "started",
    "stopped",
    "succeeded",
    "works",
];

/// Between two parts of a line of which one may deny what the other says.
const BORDERS: [&str; 4] = [", ", "; ", ": ", ". "];

/// Most words of [`COUNTING`] in a row.
const MAX_COUNTING: usize = 3;

/// After so many places that are denied the next counts, so that a search stays linear.
const MAX_DENIED: usize = 64;

/// Where the first match of `pattern` begins that `text` does not deny.
///
/// A match that is denied does not hide another that begins inside it:
/// `no backend is left and upstream returned 503` denies the first of two. One that begins one word
/// later and ends alike is denied with it.
pub(super) fn said_at(pattern: &Pattern, text: &str) -> Option<usize> {
    let mut denied: Option<Range<usize>> = None;
    let mut from = 0;
    for _ in 0..MAX_DENIED {
        let (start, core) = pattern.find_at(text, from)?;
        let is_rest = denied.as_ref().is_some_and(|denied| {
            let between = text.get(denied.start..core.start);
            core.end == denied.end && between.is_some_and(|words| !words.trim().contains(' '))
        });
        if !is_rest {
            if !is_denied(text, core.clone()) {
                return Some(start);
            }
            denied = Some(core);
        }
        from = start + text.get(start..)?.chars().next()?.len_utf8();
    }
    pattern.find_at(text, from).map(|(start, _)| start)
}

/// Whether `line` says that what stands at `found` did not happen: `no deadlock detected`,
/// `connection refused errors: 0`, `disk full check ok`, `out of memory: false`,
/// `errors_total{error="connection refused"} 0`.
///
/// Looks at the words beside it only: linear in the line. In doubt it happened.
fn is_denied(line: &str, found: Range<usize>) -> bool {
    let (Some(text), Some(after)) = (line.get(found.clone()), line.get(found.end..)) else {
        return false;
    };
    let lead = text.len() - text.trim_start().len();
    let before = line.get(..found.start + lead).unwrap_or_default();
    is_none_of(before, text, after) || counts_nothing(text, after)
}

/// `before` ends in a word that says that there is none of what follows.
fn is_none_of(before: &str, text: &str, after: &str) -> bool {
    let head = before.trim_end_matches(' ');
    if head.len() == before.len() || BORDERS.iter().any(|border| text.contains(border)) {
        return false;
    }
    let (lead, word) = last_word(head);
    let lead = lead.trim_end();
    let (_, previous) = last_word(lead);
    match word.to_ascii_lowercase().as_str() {
        "no" => tells(lead, previous),
        "0" | "zero" => {
            is_one_of(&COUNTED, previous)
                || follows_a_count(lead)
                || (tells(lead, previous) && counted(after).is_plural)
        }
        "without" => is_one_of(&WENT_WELL, previous),
        _ => false,
    }
}

/// Whether a statement begins after `lead`, whose last word is `previous`.
fn tells(lead: &str, previous: &str) -> bool {
    let last = lead.chars().next_back();
    let is_stamp = previous.starts_with(|c: char| c.is_ascii_digit());
    let is_end = last.is_none_or(|c| !c.is_alphanumeric() && !"=#_".contains(c));
    is_end || is_stamp || is_one_of(&TELLS, previous)
}

/// `lead` ends as `12 requests,` does.
fn follows_a_count(lead: &str) -> bool {
    let Some(item) = lead.strip_suffix([',', ';']) else {
        return false;
    };
    let (number, unit) = last_word(item);
    let (_, number) = last_word(number.trim_end());
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    is_number && unit.starts_with(char::is_alphabetic)
}

/// `text` without its last word, and that.
fn last_word(text: &str) -> (&str, &str) {
    let is_border = |c: char| c.is_whitespace() || "\"'([{,;|>".contains(c);
    let end = text.rfind(is_border).map_or(0, |at| at + 1);
    text.split_at(end)
}

/// The last word is the name of a type, as in `KeyError: 0`, or one asks for a detail.
fn names_a_detail(text: &str) -> bool {
    let text = text.trim_end_matches(|c: char| !c.is_alphanumeric());
    text.ends_with("Error")
        || text.ends_with("Exception")
        || text
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| is_one_of(&NAMES_A_DETAIL, word))
}

/// What follows the words that count what stands before them.
struct Counted<'a> {
    rest: &'a str,
    /// There is one.
    any: bool,
    is_plural: bool,
}

fn counted(after: &str) -> Counted<'_> {
    // The plural of what was found.
    let plural = after
        .strip_prefix('s')
        .filter(|tail| word_of(tail).0.is_empty());
    let mut found = Counted {
        rest: plural.unwrap_or(after),
        any: plural.is_some(),
        is_plural: plural.is_some(),
    };
    for _ in 0..MAX_COUNTING {
        let Some(tail) = found.rest.strip_prefix(' ') else {
            break;
        };
        let (word, tail) = word_of(tail);
        if !is_one_of(&COUNTING, word) {
            break;
        }
        found.rest = tail;
        found.any = true;
        found.is_plural |= word.ends_with(['s', 'S']);
    }
    found
}

fn counts_nothing(text: &str, after: &str) -> bool {
    let sample = after
        .strip_prefix('"')
        .and_then(|rest| rest.split_once('}'));
    if sample.is_some_and(|(_, value)| value.trim().parse() == Ok(0.0)) {
        return true;
    }
    let counted = counted(after);
    let rest = counted.rest.strip_prefix('"').unwrap_or(counted.rest);
    match rest.trim_start().strip_prefix([':', '=']) {
        Some(value) => (counted.any || !names_a_detail(text)) && is_nothing(value, counted.any),
        None => counted.any && is_nothing(rest, true),
    }
}

/// The word that `text` begins with, and what follows it.
fn word_of(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric());
    text.split_at(end.unwrap_or(text.len()))
}

/// Whether `value` is one of those that say so, and nothing else belongs to it.
///
/// Where nothing is counted it may as well be a detail: `none` says nothing then, and what stands
/// behind a comma must be the next name with a value.
fn is_nothing(value: &str, is_counted: bool) -> bool {
    let value = value.trim_start().trim_start_matches('"');
    let end = value.find(|c: char| !c.is_alphanumeric() && c != '.');
    let (word, rest) = value.split_at(end.unwrap_or(value.len()));
    let word = word.trim_end_matches('.');
    let is_value = is_one_of(&NOTHING, word)
        || word.parse() == Ok(0.0)
        || (is_counted && word.eq_ignore_ascii_case("none"));
    let is_end = match rest.strip_prefix([',', ';']) {
        Some(tail) => is_counted || tail.trim().is_empty() || begins_with_a_name(tail),
        None => rest.is_empty() || rest.starts_with(['"', ')', ']', '}']),
    };
    is_value && is_end
}

/// Whether `text` begins as `evictions: 0` or `"disk full": 0` does.
fn begins_with_a_name(text: &str) -> bool {
    let text = text.trim_start();
    let after = if let Some(quoted) = text.strip_prefix('"') {
        quoted.split_once('"').map(|(_, after)| after)
    } else {
        let end = text.find(|c: char| !c.is_alphanumeric() && !"_-.".contains(c));
        end.filter(|end| *end > 0).and_then(|end| text.get(end..))
    };
    after.is_some_and(|after| after.starts_with([':', '=']))
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
            "{\"<out of memory>\":0,\"disk full\":1}",
            "<out of memory>: 0, evictions: 3",
            "<configuration error>s: none",
            "12 requests, 0 <connection reset>s",
            "12 requests; 0 <connection timed out>",
            "finished with 0 <request timed out>",
            "INFO no <connection reset> in the last hour",
            "10:00:01 zero <connection reset>s",
            "orders: no <connection reset>",
            "{\"msg\":\"no <deadlock detected>\"}",
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
            "GPU 0 <out of memory>",
            "GPU 0 <out of memory> errors",
            "gpu[1]: 0 <out of memory> error",
            "shards 1, 0 <connection refused>",
            "0 <connection refused>",
            "attempt: 0 <connection refused>",
            "attempt=0 <connection refused>",
            "client #0 <connection refused>",
            "keepalive=no <connection refused>",
            "keepalive no <connection refused>",
            "connect without <authentication failed>",
            "no <backend available, upstream returned 503>",
            "<Could not resolve host>: None",
            "<Could not resolve host>: 0",
            "<permission denied>: none",
            "<out of memory>: 0, 4096 bytes needed",
            "<out of memory>: no, the limit is 4096 bytes",
            "<rate limit exceeded>: 0, reset in 30s",
            "<disk full> error: 0",
            "<out of memory>: 0, \"",
        ] {
            assert!(!denied(line), "{line}");
        }
    }

    fn said(pattern: &str, text: &str) -> Option<usize> {
        said_at(&Pattern::parse(pattern).unwrap(), text)
    }

    #[test]
    fn what_is_said_inside_or_behind_a_place_that_is_denied_counts() {
        let gave_up = r"(?:backend|upstream) .{0,40}returned 503";
        let both = "no backend is left and upstream returned 503";
        assert_eq!(said(gave_up, both), Some(23));
        assert_eq!(said(gave_up, "no backend upstream returned 503"), None);
        let twice = "no deadlock detected on a, deadlock detected on b";
        assert_eq!(said("deadlock detected", twice), Some(27));
        assert_eq!(
            said("deadlock detected", "no deadlock detected: done"),
            None
        );
    }

    #[test]
    fn what_surrounds_the_core_of_a_pattern_is_no_part_of_what_is_denied() {
        let reset = "(?:^|[^:] )(?<core>connection reset)(?:$|[^-])";
        assert_eq!(said(reset, "no connection reset today"), None);
        assert_eq!(said(reset, "3 requests, 0 connection reset: well"), None);
        assert_eq!(said(reset, "connection reset: false"), None);
        assert_eq!(said(reset, "a connection reset"), Some(0));
    }

    #[test]
    fn a_line_that_denies_without_end_is_read_in_time_and_believed_at_last() {
        let line = "no deadlock detected; ".repeat(MAX_DENIED + 1);
        assert!(said("deadlock detected", &line).is_some());
        let line = "no deadlock detected; ".repeat(MAX_DENIED);
        assert_eq!(said("deadlock detected", &line), None);
    }

    proptest::proptest! {
        #[test]
        fn any_place_of_any_line_is_looked_at(line in ".{0,40}", at in 0_usize..50, len in 0_usize..50) {
            let _ = is_denied(&line, at..at + len);
            let any = Pattern::parse("[a-zä0]+").unwrap();
            if let Some(start) = said_at(&any, &line) {
                assert!(line.is_char_boundary(start));
            }
        }
    }
}
