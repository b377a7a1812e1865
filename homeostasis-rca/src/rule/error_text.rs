//! What rules read: the error lines and the frames of one error.

use homeostasis_core::Target;
use homeostasis_core::signal::{ErrorEvent, LogRecord};

/// So many lines are read from the beginning of a text, and as many from its end.
const MAX_LINES: usize = 12;
/// The same of frames.
const MAX_FRAMES: usize = 16;
/// Bytes of one line or frame that are read.
const MAX_BYTES: usize = 2_000;
/// Bytes that are read from the beginning of a text, and as many from its end.
const MAX_TEXT: usize = 32 << 10;
/// Errors of one chain of causes.
const MAX_CAUSES: usize = 16;

/// Fields of a record that name the system it speaks of.
const SYSTEM_FIELDS: [&str; 6] = [
    "system",
    "db.system",
    "db.system.name",
    "messaging.system",
    "rpc.system",
    "service.type",
];

/// One error as rules read it: lines, frames, and what is known of where it comes from.
///
/// A line is `kind: message`, or a message alone. Stack frames are no lines. Of a text at most
/// 32 KiB from the beginning and as many from the end are read, of those the first and the last 12
/// lines and 16 frames, of each line 2,000 bytes: what one error costs is bounded whatever its
/// size.
///
/// ```
/// use homeostasis::rca::ErrorText;
///
/// let text = ErrorText::of_text("Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'price'");
/// let lines: Vec<_> = text.lines().map(|line| (line.kind(), line.message())).collect();
/// assert_eq!(lines, [("KeyError", "'price'")]);
/// assert_eq!(text.frames(), ["File \"a.py\", line 1, in f"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct ErrorText {
    lines: Vec<ErrorLine>,
    frames: Vec<String>,
    template: String,
    language: String,
    systems: Vec<String>,
    target: Option<Target>,
}

/// One line of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorLine {
    text: String,
    kind: (usize, usize),
    message: usize,
    place: Place,
}

/// Whose code an error came from, as the frames of its structure tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Place {
    /// Nobody knows, or the code of others alone.
    #[default]
    Unknown,
    /// Code of others that code of the project called.
    Called,
    /// Code of the project itself.
    Own,
}

impl Place {
    fn of(error: &ErrorEvent) -> Self {
        match error.frames.first() {
            Some(innermost) if innermost.in_project => Self::Own,
            _ if error.innermost_in_project().is_some() => Self::Called,
            _ => Self::Unknown,
        }
    }
}

impl ErrorLine {
    /// The line of a log: its kind is what stands before the first `: `, if that is one word that
    /// looks like the name of a type.
    fn of_text(line: &str) -> Self {
        let text = shortened(line.trim()).to_owned();
        let mut start = 0;
        for prefix in ["| ", "Caused by: ", "Suppressed: ", "Uncaught "] {
            if text[start..].starts_with(prefix) {
                start += prefix.len();
            }
        }
        if let Some(rest) = text[start..].strip_prefix("Exception in thread \"") {
            let name = rest.find("\" ").map_or(0, |end| end + 2);
            start = text.len() - rest.len() + name;
        }
        let rest = &text[start..];
        let (kind, message) = match rest.split_once(": ") {
            Some((kind, _)) if is_kind(kind) => (kind.len(), kind.len() + 2),
            None if is_kind(rest) => (rest.len(), rest.len()),
            _ => (0, 0),
        };
        Self {
            kind: (start, start + kind),
            message: if kind == 0 { 0 } else { start + message },
            place: Place::Unknown,
            text,
        }
    }

    /// A line of known parts.
    fn of_parts(kind: &str, message: &str) -> Self {
        let kind = shortened(kind);
        let mut text = kind.to_owned();
        if !kind.is_empty() && !message.is_empty() {
            text.push_str(": ");
        }
        let start = text.len();
        text.push_str(shortened(message));
        Self {
            kind: (0, kind.len()),
            message: start,
            place: Place::Unknown,
            text,
        }
    }

    /// The same of an error that came from there.
    fn from(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// Whose code it came from.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of the error; empty if the line names none.
    pub fn kind(&self) -> &str {
        &self.text[self.kind.0..self.kind.1]
    }

    /// What follows the kind; the whole line if it names none.
    pub fn message(&self) -> &str {
        &self.text[self.message..]
    }
}

impl ErrorText {
    /// What a log says, as it stands.
    ///
    /// Its first line also stands for its template.
    pub fn of_text(text: &str) -> Self {
        let mut this = Self::default();
        this.add_text(text);
        if let Some(first) = this.lines.first() {
            this.template.clone_from(&first.text);
        }
        this
    }

    /// An error as structure, with its causes.
    pub fn of_event(error: &ErrorEvent) -> Self {
        let mut this = Self::default();
        this.add_event(error);
        this
    }

    /// A record of a log: its structured error, its field `error`, its message and its template.
    pub fn of_record(record: &LogRecord) -> Self {
        let mut this = Self::default();
        if let Some(error) = &record.error {
            this.add_event(error);
        }
        if let Some(error) = record.fields.get("error") {
            this.add_text(error);
        }
        this.add_text(&record.message);
        if let Some(template) = &record.template {
            shortened(template.text()).clone_into(&mut this.template);
        }
        let systems = SYSTEM_FIELDS
            .iter()
            .filter_map(|field| record.fields.get(field));
        this.systems = systems.map(|system| (*system).to_owned()).collect();
        this.target.clone_from(&record.target);
        this
    }

    /// The same in this language; an empty name is an unknown language.
    pub fn in_language(mut self, language: impl Into<String>) -> Self {
        self.language = language.into();
        self
    }

    /// The same, written by `target`.
    pub fn of(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// The same, about this system (`postgresql`, `redis` …) besides those already named.
    pub fn about(mut self, system: impl Into<String>) -> Self {
        self.systems.push(system.into());
        self
    }

    /// Its lines, in the order they are written.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = &ErrorLine> {
        self.lines.iter()
    }

    /// Its frames: as they are written, or `function file:line` of a structured error.
    pub fn frames(&self) -> &[String] {
        &self.frames
    }

    /// The template of its message; empty if nobody worked it out.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// Its language; empty if unknown.
    pub fn language(&self) -> &str {
        &self.language
    }

    /// The systems it is known to speak of.
    pub fn systems(&self) -> &[String] {
        &self.systems
    }

    /// Who wrote it, if known.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    pub(super) fn line(&self, idx: usize) -> Option<&ErrorLine> {
        self.lines.get(idx)
    }

    fn add_event(&mut self, error: &ErrorEvent) {
        if self.language.is_empty() {
            self.language.clone_from(&error.language);
        }
        let mut pending = vec![error];
        let mut n_read = 0;
        while let Some(error) = pending.pop().filter(|_| n_read < MAX_CAUSES) {
            n_read += 1;
            let is_said = |line: &&str| !line.trim().is_empty();
            let mut lines =
                parts(&error.message).flat_map(|part| ends(part.lines().filter(is_said).collect()));
            let first = lines.next().unwrap_or_default();
            if !(error.kind.is_empty() && first.is_empty()) {
                self.push(ErrorLine::of_parts(&error.kind, first).from(Place::of(error)));
            }
            for line in lines {
                self.push(ErrorLine::of_text(line).from(Place::of(error)));
            }
            let room = (2 * MAX_FRAMES).saturating_sub(self.frames.len());
            let frames = error.frames.iter().take(room);
            self.frames.extend(frames.map(|frame| {
                let (function, file) = (shortened(&frame.function), shortened(&frame.file));
                let text = format!("{function} {file}:{}", frame.line);
                shortened(&text).to_owned()
            }));
            pending.extend(error.causes.iter().rev().map(|cause| &cause.error));
        }
    }

    fn add_text(&mut self, text: &str) {
        for part in parts(text) {
            let (errors, frames) = told(part);
            for line in ends(errors) {
                self.push(ErrorLine::of_text(line));
            }
            let room = (2 * MAX_FRAMES).saturating_sub(self.frames.len());
            let frames = ends(frames).into_iter().take(room);
            self.frames
                .extend(frames.map(|frame| shortened(frame.trim()).to_owned()));
        }
    }

    /// One fact told twice is one line; a line of its own kind is a fact of its own, even if an
    /// earlier line quotes it.
    fn push(&mut self, line: ErrorLine) {
        let is_known = |known: &ErrorLine| {
            known.text == line.text || (line.kind().is_empty() && known.text.contains(&line.text))
        };
        if self.lines.len() < 4 * MAX_LINES && !self.lines.iter().any(is_known) {
            self.lines.push(line);
        }
    }
}

/// All of a short text; of a long one its beginning and its end.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let (head, tail) = if text.len() <= 2 * MAX_TEXT {
        (text, "")
    } else {
        let tail = text.len() - MAX_TEXT;
        let tail = (tail..text.len()).find(|start| text.is_char_boundary(*start));
        let tail = tail.unwrap_or(text.len());
        (until(text, MAX_TEXT), &text[tail..])
    };
    [head, tail].into_iter().filter(|part| !part.is_empty())
}

/// The first and the last of `lines`.
fn ends(mut lines: Vec<&str>) -> Vec<&str> {
    if lines.len() > 2 * MAX_LINES {
        lines.drain(MAX_LINES..lines.len() - MAX_LINES);
    }
    lines
}

/// The error lines of `text` and its frames.
///
/// Indented lines below `Caused by:` are the causes as Rust's anyhow, eyre and
/// `std::error::Report` print them: lines, though they look like frames.
fn told(text: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut errors, mut frames) = (Vec::new(), Vec::new());
    let mut in_causes = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed == "Caused by:" {
            in_causes = true;
            continue;
        }
        in_causes &= line.starts_with([' ', '\t']) && !trimmed.is_empty() && !is_heading(trimmed);
        if trimmed.is_empty() || is_heading(trimmed) {
            continue;
        }
        if in_causes {
            errors.push(after_number(trimmed).unwrap_or(trimmed));
        } else if is_frame(line) {
            frames.push(line);
        } else {
            errors.push(line);
        }
    }
    (errors, frames)
}

fn shortened(text: &str) -> &str {
    until(text, MAX_BYTES)
}

/// At most so many bytes of `text`, whole characters.
fn until(text: &str, n_bytes: usize) -> &str {
    let mut ends = (0..=n_bytes.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// Whether `text` looks like the name of a type: one word with a capital, a dot or `::` in it. It
/// may begin as `_pickle.UnpicklingError` does.
fn is_kind(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.:$".contains(c))
        && text.contains(|c: char| c.is_ascii_uppercase() || c == '.' || c == ':')
}

/// The usual shapes of frames: Java and JavaScript `at …`, Python `File "…"` and its source line,
/// Rust `12: path` and `at src/…`, Go's tab and `goroutine 1 [running]:`.
fn is_frame(line: &str) -> bool {
    let trimmed = line.trim_start();
    let is_indented = trimmed.len() < line.len();
    is_indented
        && (trimmed.starts_with("at ")
            || trimmed.starts_with("File \"")
            || trimmed.starts_with("...")
            || line.starts_with('\t')
            || line.starts_with("    ")
            || after_number(trimmed).is_some())
}

/// What follows the number of a line such as `12: text`.
fn after_number(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once(": ")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(rest)
}

/// What stands above frames.
fn is_heading(line: &str) -> bool {
    line.starts_with("Traceback (most recent call last)")
        || line.starts_with("stack backtrace:")
        || line.starts_with("Stack backtrace:")
        || (line.starts_with("goroutine ") && line.ends_with(':'))
}

#[cfg(test)]
mod tests {
    use homeostasis_core::Timestamp;
    use homeostasis_core::signal::{CauseRelation, Frame, Level};

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let text = ErrorText::of_text(text);
        text.lines().map(|line| line.text().to_owned()).collect()
    }

    fn parts(line: &str) -> (String, String) {
        let text = ErrorText::of_text(line);
        let line = text.line(0).unwrap();
        (line.kind().to_owned(), line.message().to_owned())
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
    fn the_causes_that_rust_prints_are_errors_and_its_backtrace_is_not() {
        let backtrace = "\n\nStack backtrace:\n   0: anyhow::error\n             at ./src/a.rs:1";
        let text =
            |causes: &str| format!("Error: could not start\n\nCaused by:\n{causes}{backtrace}");
        let one = text("    Connection refused (os error 111)");
        let refused = "Connection refused (os error 111)";
        assert_eq!(lines(&one), ["Error: could not start", refused]);
        let two = text("    0: no database\n    1: Connection refused (os error 111)");
        let expected = ["Error: could not start", "no database", refused];
        assert_eq!(lines(&two), expected);
        assert_eq!(
            ErrorText::of_text(&two).frames(),
            ["0: anyhow::error", "at ./src/a.rs:1"]
        );
        // Neither a blank line nor one that is not indented leaves the causes open.
        for end in ["", "later"] {
            let text = format!("x\nCaused by:\n    y\n{end}\n    at z");
            assert_eq!(ErrorText::of_text(&text).frames(), ["at z"], "{text}");
        }
    }

    #[test]
    fn a_kind_that_an_earlier_line_quotes_is_not_lost() {
        let quoting = "SEVERE: nested exception is java.lang.StackOverflowError] with root cause";
        let text =
            format!("{quoting}\njava.lang.StackOverflowError\n\tat a.B.c(B.java:1)\nroot cause");
        assert_eq!(lines(&text), [quoting, "java.lang.StackOverflowError"]);
    }

    #[test]
    fn a_gigantic_message_of_structure_is_read_at_both_ends_alone() {
        let blank = "\n".repeat(2 * MAX_TEXT);
        let message = format!("first{blank}in the middle{blank}last");
        let text = ErrorText::of_event(&ErrorEvent::new("java", "a.B", &message));
        let shown: Vec<&str> = text.lines().map(ErrorLine::text).collect();
        assert_eq!(shown, ["a.B: first", "last"]);
    }

    #[test]
    fn the_kind_is_the_type_that_begins_the_line() {
        for (line, kind, message) in [
            ("KeyError: 'price'", "KeyError", "'price'"),
            ("TimeoutError", "TimeoutError", ""),
            (
                "Caused by: java.net.ConnectException: refused",
                "java.net.ConnectException",
                "refused",
            ),
            ("Exception in thread \"main\" a.B: x: y", "a.B", "x: y"),
            ("  | ValueError: of a group", "ValueError", "of a group"),
            ("error: no kind", "", "error: no kind"),
            ("it failed: badly", "", "it failed: badly"),
        ] {
            assert_eq!(parts(line), (kind.to_owned(), message.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_gigantic_text_is_read_at_both_ends() {
        let middle = "é filler\n".repeat(4 << 20);
        let text = format!("KeyError: first\n{middle}KeyError: last");
        let read = ErrorText::of_text(&text);
        let shown: Vec<&str> = read.lines().map(ErrorLine::text).collect();
        assert_eq!(
            (shown[0], shown[shown.len() - 1]),
            ("KeyError: first", "KeyError: last")
        );
        assert!(shown.len() <= 4 * MAX_LINES);
        let one_line = ErrorText::of_text(&"é".repeat(8 << 20));
        assert!(one_line.lines().all(|line| line.text().len() == MAX_BYTES));
    }

    #[test]
    fn an_endless_chain_of_causes_ends() {
        let mut error = ErrorEvent::new("java", "E0", "m");
        for depth in 1..200 {
            let outer = ErrorEvent::new("java", format!("E{depth}"), "m");
            error = outer.because(CauseRelation::CausedBy, error);
        }
        assert_eq!(ErrorText::of_event(&error).lines().len(), MAX_CAUSES);
    }

    #[test]
    fn a_record_tells_its_error_once_and_its_surroundings() {
        let mut error = ErrorEvent::new("python", "KeyError", "'price'\nsecond line");
        error.frames.push(Frame {
            function: "f".to_owned(),
            file: "a.py".to_owned(),
            line: 3,
            ..Frame::default()
        });
        let mut record = LogRecord::new(Timestamp::EPOCH, Level::Error, "KeyError: 'price'")
            .with("error", "second line")
            .with("db.system", "redis");
        record.error = Some(Box::new(error));
        let text = ErrorText::of_record(&record);
        let shown: Vec<&str> = text.lines().map(ErrorLine::text).collect();
        assert_eq!(shown, ["KeyError: 'price'", "second line"]);
        assert_eq!(text.frames(), ["f a.py:3"]);
        assert_eq!(
            (text.language(), text.systems()),
            ("python", &["redis".to_owned()][..])
        );
    }
}
