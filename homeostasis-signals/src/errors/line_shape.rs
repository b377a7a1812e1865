//! What a line looks like by itself: the start of a record, a part of a stack trace, or just text.

use std::sync::LazyLock;

use regex::Regex;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing, or white space.
    Blank,
    /// Begins with white space.
    Indented,
    /// Python: `Traceback (most recent call last):`.
    Traceback,
    /// Python: the same of a group, whose lines are all indented.
    GroupTraceback,
    /// Python: the line between two chained tracebacks.
    PythonLink,
    /// `Caused by:` and the like, as Java, `anyhow` and `eyre` write it.
    Cause,
    /// Go: `panic:` or `fatal error:`.
    GoPanic,
    /// Go: `goroutine 1 [running]:` and what else stands between its blocks.
    GoBlock,
    /// Go: `main.f(0x1, ...)`.
    GoCall,
    /// Rust: `thread 'main' panicked at src/main.rs:1:2:`, the message is to follow.
    RustPanic,
    /// Rust: the same with everything in one line.
    RustAbort,
    /// Rust: `note:`, `stack backtrace:`, …
    RustNote,
    /// Node: `/srv/app.js:3` before the excerpt of the source.
    NodePlace,
    /// Node: the version it signs off with.
    NodeEnd,
    /// A closing bracket.
    Closing,
    /// `java.io.IOException: …`, `TypeError: …`.
    Exception,
    /// The start of a log record: a time, a level, a JSON object.
    Head,
    /// Anything else.
    Text,
}

/// A time of any usual form, a level in capitals, or the first words of the runtimes' own reports.
static HEAD: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?x-u)^(?:<\d+>)?[\[\(]?(?:
            \d{2,4}[-/:.]\d\d[-/:.T\ ] | \d\d/[A-Z][a-z]{2}/\d{4} | \d{10}
          | (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\ | [A-Z][a-z]{2}\ [\d\ ]\d\ \d\d:
          | [IWEF]\d{4}\ \d\d:
          | (?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|ERR|CRITICAL|FATAL|SEVERE)\b
          | (?:ts|time|timestamp|level|lvl)=
        ) | ^\{
          | ^(?:Exception\ in\ thread|Exception\ ignored\ in|Unhandled\ exception|Task\ exception\ was)",
    )
});

static QUIET: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?-u)\b(?:TRACE|DEBUG|INFO|NOTICE)\b|(?i:\b(?:level|lvl)="?(?:trace|debug|info))|^I\d{4} "#,
    )
});

static EXCEPTION: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?x-u)^(?:Uncaught\ )?(?:
            (?:[a-z_][\w]*\.)+[A-Z_$][\w$.]*
          | [A-Z][\w$]*(?:Error|Exception|Exit|Interrupt)
          | Error
        )(?:\ \[\w+\])?(?:$|:\ |:$)",
    )
});

static GO_CALL: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[\w./~%@-]+(?:\.[\w.\[\]*(){}-]*)+\([^()]*\)$"));

static NODE_PLACE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(?:/|file:///|node:|[A-Za-z]:[\\/]|evalmachine\.)[^\t]*:\d+$"));

static RUST_PANIC: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^thread '.*' (?:\(\d+\) )?(?:panicked at |has overflowed its stack)"));

/// A pattern of ours, which the tests of this file try.
pub(super) fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a literal of this crate and covered by a test")
}

/// The shape of `line`, which has no line end. Linear in its length.
pub(super) fn shape(line: &str) -> Shape {
    let Some(first) = line.bytes().next() else {
        return Shape::Blank;
    };
    if first == b' ' || first == b'\t' {
        return match line.trim() {
            "" => Shape::Blank,
            "+ Exception Group Traceback (most recent call last):" => Shape::GroupTraceback,
            _ => Shape::Indented,
        };
    }
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| line.starts_with(prefix));
    match first {
        b'T' if line.starts_with("Traceback (most recent call last):") => Shape::Traceback,
        b'T' | b'D'
            if begins(&[
                "The above exception was the direct cause",
                "During handling of the above exception",
            ]) =>
        {
            Shape::PythonLink
        }
        b'C' | b'S' if begins(&["Caused by:", "Suppressed:"]) => Shape::Cause,
        b'p' | b'f' if begins(&["panic: ", "fatal error: "]) => Shape::GoPanic,
        b'r' if line.starts_with("runtime: goroutine stack exceeds") => Shape::GoPanic,
        b'g' | b'r' | b'[' | b'c' | b'e'
            if begins(&["runtime stack:", "[signal ", "[originating ", "created by "])
                || (line.starts_with("goroutine ") && line.ends_with("]:"))
                || (line.starts_with("exit status ") && line.len() < 16) =>
        {
            Shape::GoBlock
        }
        b't' if RUST_PANIC.is_match(line) => {
            if line.ends_with(':') {
                Shape::RustPanic
            } else {
                Shape::RustAbort
            }
        }
        b'm' if line.starts_with("memory allocation of ") && line.ends_with(" bytes failed") => {
            Shape::RustAbort
        }
        b'n' | b's' | b'S' | b'L' | b'f'
            if begins(&["note: ", "fatal runtime error: "])
                || matches!(line, "stack backtrace:" | "Stack backtrace:" | "Location:") =>
        {
            Shape::RustNote
        }
        b'N' if line.starts_with("Node.js v") => Shape::NodeEnd,
        b'}' | b']' if line.len() <= 3 => Shape::Closing,
        _ if HEAD.is_match(line) => Shape::Head,
        _ if EXCEPTION.is_match(line) => Shape::Exception,
        _ if line.ends_with(')') && GO_CALL.is_match(line) => Shape::GoCall,
        _ if NODE_PLACE.is_match(line) => Shape::NodePlace,
        _ => Shape::Text,
    }
}

/// Whether the start of a record says by itself that nothing is wrong.
pub(super) fn is_quiet(head: &str) -> bool {
    let bytes = head.as_bytes();
    let start = bytes.get(..120).unwrap_or(bytes);
    QUIET.is_match(&String::from_utf8_lossy(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_what_they_are() {
        for (line, expected) in [
            ("", Shape::Blank),
            (" \t", Shape::Blank),
            (
                "\tat java.base/java.util.ArrayList.get(ArrayList.java:427)",
                Shape::Indented,
            ),
            ("Traceback (most recent call last):", Shape::Traceback),
            (
                "  + Exception Group Traceback (most recent call last):",
                Shape::GroupTraceback,
            ),
            (
                "Caused by: java.net.ConnectException: refused",
                Shape::Cause,
            ),
            ("panic: runtime error: index out of range", Shape::GoPanic),
            ("goroutine 18 [chan receive, 2 minutes]:", Shape::GoBlock),
            ("main.(*Store).Get(0xc00001, {0x1, 0x2})", Shape::GoCall),
            ("github.com/a/b.F[...](...)", Shape::GoCall),
            (
                "thread 'main' panicked at src/main.rs:2:5:",
                Shape::RustPanic,
            ),
            (
                "thread 'main' (42) panicked at src/main.rs:2:5:",
                Shape::RustPanic,
            ),
            (
                "thread 'main' panicked at 'no', src/main.rs:2:5",
                Shape::RustAbort,
            ),
            ("note: run with `RUST_BACKTRACE=1`", Shape::RustNote),
            ("file:///srv/app.mjs:3", Shape::NodePlace),
            ("node:internal/modules/cjs/loader:1080", Shape::NodePlace),
            ("Node.js v20.20.2", Shape::NodeEnd),
            ("}", Shape::Closing),
            ("java.lang.IllegalStateException: no", Shape::Exception),
            ("TypeError [ERR_X]: no", Shape::Exception),
            ("KeyError", Shape::Exception),
            ("2026-11-22T01:00:00Z ERROR no", Shape::Head),
            ("[2026-11-22 01:00:00] no", Shape::Head),
            ("Nov  2 01:00:00 host app: no", Shape::Head),
            ("01:00:00.123 [main] INFO x", Shape::Head),
            ("ERROR:root:no", Shape::Head),
            ("E0308 12:00:01.1 1 a.go:1] no", Shape::Head),
            ("level=error msg=no", Shape::Head),
            ("{\"msg\":\"no\"}", Shape::Head),
            ("order (7) not booked", Shape::Text),
            ("file: '<string>', line: 1", Shape::Text),
        ] {
            assert_eq!(shape(line), expected, "{line:?}");
        }
    }

    #[test]
    fn levels_that_report_no_trouble_are_quiet() {
        assert!(is_quiet("2026-11-22 01:00:00 INFO started"));
        assert!(is_quiet("ts=1 level=info msg=started"));
        assert!(!is_quiet("2026-11-22 01:00:00 ERROR no INFORMATION"));
    }
}
