//! Which lines of a record carry the error: not the frames of its stack.

use homeostasis_core::signal::LogRecord;

/// No more lines of one text are looked at, and no more bytes of one line.
const MAX_LINES: usize = 16;
const MAX_BYTES: usize = 2_000;

/// The error lines of `text`: those that are no stack frames, shortened to what can matter.
pub(crate) fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim().is_empty() && !is_frame(line))
        .take(MAX_LINES)
        .map(|line| {
            let line = line.trim();
            let end = (0..=MAX_BYTES.min(line.len()))
                .rev()
                .find(|end| line.is_char_boundary(*end));
            &line[..end.unwrap_or_default()]
        })
}

/// The error lines of `record`: of its structured error, its field `error` and its message.
pub(crate) fn error_lines(record: &LogRecord) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut add = |text: &str| {
        for line in lines_of(text) {
            if !lines.iter().any(|known| known.contains(line)) {
                lines.push(line.to_owned());
            }
        }
    };
    if let Some(error) = &record.error {
        match (error.kind.as_str(), error.message.as_str()) {
            (kind, "") => add(kind),
            ("", message) => add(message),
            (kind, message) => add(&format!("{kind}: {message}")),
        }
    }
    if let Some(error) = record.fields.get("error") {
        add(error);
    }
    add(&record.message);
    lines
}

/// The usual shapes of frames: Java and JavaScript `at …`, Python `File "…"` and its source line,
/// Rust `12: path` and `at src/…`, Go's tab and `goroutine 1 [running]:`.
fn is_frame(line: &str) -> bool {
    let trimmed = line.trim_start();
    let is_indented = trimmed.len() < line.len();
    let is_numbered = || {
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && trimmed[digits..].starts_with(": ")
    };
    (is_indented
        && (trimmed.starts_with("at ")
            || trimmed.starts_with("File \"")
            || trimmed.starts_with("...")
            || line.starts_with('\t')
            || line.starts_with("    ")
            || is_numbered()))
        || trimmed.starts_with("Traceback (most recent call last)")
        || trimmed.starts_with("stack backtrace:")
        || (trimmed.starts_with("goroutine ") && trimmed.ends_with(':'))
}

#[cfg(test)]
mod tests {
    use homeostasis_core::Timestamp;
    use homeostasis_core::signal::{ErrorEvent, Level};

    use super::*;

    fn lines(text: &str) -> Vec<&str> {
        lines_of(text).collect()
    }

    #[test]
    fn frames_are_not_the_error() {
        assert_eq!(
            lines(
                "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    raise \
                 ConnectionRefusedError()\nValueError: bad"
            ),
            ["ValueError: bad"]
        );
        assert_eq!(
            lines("java.lang.OutOfMemoryError: heap\n\tat a.B.c(B.java:1)\nCaused by: x"),
            ["java.lang.OutOfMemoryError: heap", "Caused by: x"]
        );
        assert_eq!(
            lines(
                "thread 'main' panicked at src/a.rs:1:2:\nno luck\nstack backtrace:\n   0: std\n"
            ),
            ["thread 'main' panicked at src/a.rs:1:2:", "no luck"]
        );
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let text = "é".repeat(3_000);
        let cut = lines(&text);
        assert_eq!(cut[0].len(), 2_000);
    }

    #[test]
    fn one_fact_told_twice_is_one_line() {
        let mut record = LogRecord::new(Timestamp::EPOCH, Level::Error, "connection refused")
            .with("error", "connection refused");
        record.error = Some(Box::new(ErrorEvent::new(
            "rust",
            "Io",
            "connection refused",
        )));
        assert_eq!(error_lines(&record), ["Io: connection refused"]);
    }
}
