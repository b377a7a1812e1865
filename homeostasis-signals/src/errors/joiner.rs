//! Joins the lines of a stack trace to one record.

use std::collections::VecDeque;
use std::time::Duration;

use homeostasis_core::{ConfigError, Timestamp, Violation, Violations};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::line_shape::{Shape, is_quiet, shape};

/// The most lines of a message that are waited through for the trace below it.
const MESSAGE_LINES: u8 = 32;
/// The most blank lines that are held back until the next line says whose they are.
const BLANK_LINES: usize = 2;

/// How lines are joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceJoinerConfig {
    /// How long a record waits for its next line; default 1 s.
    #[serde(with = "crate::duration_text")]
    pub idle: Duration,
    /// The most lines of a record, at least 1; default 4096. What is more begins another record.
    pub max_lines: usize,
    /// The most bytes of a record, at least 1; default 256 KiB. A longer line is a record alone.
    pub max_bytes: usize,
    /// A regular expression that matches the first line of every record (and so joins all lines in
    /// between); default none: the joiner knows stack traces by their looks.
    pub record_start: Option<String>,
}

impl Default for TraceJoinerConfig {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(1),
            max_lines: 4096,
            max_bytes: 256 * 1024,
            record_start: None,
        }
    }
}

/// A record of one or more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// Its lines, joined by `\n`.
    pub text: String,
    /// How many; their sum over all records is the number of lines pushed.
    pub n_lines: usize,
    /// When the first was pushed.
    pub at: Timestamp,
}

/// Decides line by line whether a line continues the record before it.
///
/// Joined are: indented lines; the stack traces of Python (with chains and groups), Java, Node
/// (with the excerpt of the source and the properties of the error), Go (with all goroutines and
/// their blank lines) and Rust (with backtraces and `Caused by:`); and such a trace with the log
/// line that announces it, if that line begins like one (a time, a level) and its level is not
/// `info` or less. A complete JSON object in one line is never continued.
/// The lines after the first of a message of several lines are joined where a trace still has to
/// follow, or where records begin with a time or level and these lines do not; a bare trace at the
/// end of which a message goes on without indentation cannot be told from the next record: set
/// [`record_start`](TraceJoinerConfig::record_start) where that matters.
///
/// No line is lost, changed or reordered: the records, split at line ends, are the lines pushed.
/// At most one record (and two blank lines) is held; it is given back by the line that begins the
/// next, by [`flush_due`](Self::flush_due) or by [`flush`](Self::flush).
/// Cost: linear in the length of the lines.
///
/// # Examples
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::signals::{TraceJoiner, TraceJoinerConfig};
///
/// let mut joiner = TraceJoiner::new(TraceJoinerConfig::default())?;
/// let log = "2026-11-22 01:00:00 ERROR cannot book\n\
///            java.lang.IllegalStateException: no price\n\
///            \tat shop.Orders.book(Orders.java:7)\n\
///            2026-11-22 01:00:01 INFO next";
/// let mut records = Vec::new();
/// for line in log.lines() {
///     records.extend(joiner.push(line, Timestamp::EPOCH));
/// }
/// records.extend(joiner.flush());
/// assert_eq!(records.iter().map(|record| record.n_lines).collect::<Vec<_>>(), [3, 1]);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct TraceJoiner {
    config: TraceJoinerConfig,
    record_start: Option<Regex>,
    open: Option<Open>,
    /// Complete records on their way out; empty between calls.
    ready: VecDeque<Joined>,
}

/// The record that may still grow.
#[derive(Debug)]
struct Open {
    record: Joined,
    /// Blank lines after it that belong to it if the next line does.
    blanks: Vec<(String, Timestamp)>,
    last_at: Timestamp,
    stage: Stage,
    /// It began with a time, a level or the like, so that lines without are not records.
    headed: bool,
    /// What it holds so far may announce a trace.
    announces: bool,
}

/// Where in a record we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No trace so far.
    Plain,
    /// The next line is the message of a Rust panic, whatever it looks like.
    RustPanic,
    /// So many lines more may pass before the trace that has to follow.
    Message(u8),
    /// So many lines more, blank ones among them, may pass before the first frame.
    NodeMessage(u8),
    /// Until a line without indentation, which names the exception.
    PythonFrames,
    /// Between two chained tracebacks.
    PythonLink,
    /// In the dump of goroutines.
    GoDump,
    /// In or behind a trace.
    Trace,
    /// Nothing can follow.
    Complete,
}

impl TraceJoiner {
    /// A joiner without lines.
    ///
    /// # Errors
    /// A limit is zero, or `record_start` is not a regular expression.
    pub fn new(config: TraceJoinerConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        if config.idle.is_zero() {
            wrong.push(Violation::new("idle", "0s", "more than 0s"));
        }
        for (name, limit) in [
            ("max_lines", config.max_lines),
            ("max_bytes", config.max_bytes),
        ] {
            if limit == 0 {
                wrong.push(Violation::new(name, limit, "at least 1"));
            }
        }
        let record_start = config.record_start.as_ref().and_then(|pattern| {
            Regex::new(pattern)
                .inspect_err(|error| {
                    let expected = format!("a regular expression: {error}");
                    wrong.push(Violation::new("record_start", pattern, expected));
                })
                .ok()
        });
        wrong.into_result(Self {
            config,
            record_start,
            open: None,
            ready: VecDeque::new(),
        })
    }

    /// Takes one line without its line end, read at `at`; gives the records that are complete now.
    #[must_use = "the records that are given back are not kept"]
    pub fn push(&mut self, line: &str, at: Timestamp) -> impl Iterator<Item = Joined> {
        let shape = shape(line);
        if let Some(open) = &mut self.open {
            let fits = open.fits(line, &self.config);
            match continuation(open, shape, line, self.record_start.as_ref()) {
                Some(stage) if fits => open.join(line, at, stage),
                // The rest of what is too long goes on as a record of its own.
                Some(stage) => {
                    let (headed, announces) = (open.headed, false);
                    self.complete();
                    self.open = Some(Open {
                        stage,
                        headed,
                        announces,
                        ..Open::new(line, at, shape)
                    });
                }
                None if shape == Shape::Blank && open.waits(&self.config) => {
                    open.blanks.push((line.to_owned(), at));
                    open.last_at = at;
                }
                None => {
                    self.complete();
                    self.open = Some(Open::new(line, at, shape));
                }
            }
        } else {
            self.open = Some(Open::new(line, at, shape));
        }
        self.ready.drain(..)
    }

    /// Gives the record back whose last line is older than [`idle`](TraceJoinerConfig::idle).
    #[must_use = "the records that are given back are not kept"]
    pub fn flush_due(&mut self, now: Timestamp) -> impl Iterator<Item = Joined> {
        if self.due().is_some_and(|due| due <= now) {
            self.complete();
        }
        self.ready.drain(..)
    }

    /// When [`flush_due`](Self::flush_due) has something to give, if no line comes.
    pub fn due(&self) -> Option<Timestamp> {
        self.open
            .as_ref()
            .map(|open| open.last_at + self.config.idle)
    }

    /// Gives back what is held, complete or not.
    #[must_use = "the records that are given back are not kept"]
    pub fn flush(&mut self) -> impl Iterator<Item = Joined> {
        self.complete();
        self.ready.drain(..)
    }

    fn complete(&mut self) {
        if let Some(open) = self.open.take() {
            self.ready.push_back(open.record);
            self.ready
                .extend(open.blanks.into_iter().map(|(text, at)| Joined {
                    text,
                    n_lines: 1,
                    at,
                }));
        }
    }
}

impl Open {
    fn new(line: &str, at: Timestamp, shape: Shape) -> Self {
        let headed = shape == Shape::Head;
        let stage = match shape {
            Shape::Traceback => Stage::PythonFrames,
            Shape::RustPanic => Stage::RustPanic,
            Shape::GoPanic => Stage::Message(MESSAGE_LINES),
            Shape::GoBlock => Stage::GoDump,
            Shape::NodePlace => Stage::NodeMessage(MESSAGE_LINES),
            Shape::Indented if is_python_frame(line) => Stage::PythonFrames,
            Shape::GroupTraceback | Shape::RustAbort | Shape::Cause => Stage::Trace,
            Shape::Blank => Stage::Complete,
            // The quotes are Java's.
            Shape::Head if line.starts_with("Exception in thread \"") => {
                Stage::Message(MESSAGE_LINES)
            }
            Shape::Head if line.starts_with('{') && line.trim_end().ends_with('}') => {
                Stage::Complete
            }
            _ => Stage::Plain,
        };
        Self {
            record: Joined {
                text: line.to_owned(),
                n_lines: 1,
                at,
            },
            blanks: Vec::new(),
            last_at: at,
            stage,
            headed,
            announces: headed && stage == Stage::Plain && !is_quiet(line),
        }
    }

    fn fits(&self, line: &str, config: &TraceJoinerConfig) -> bool {
        let blanks: usize = self.blanks.iter().map(|(text, _)| text.len() + 1).sum();
        self.record.n_lines + self.blanks.len() < config.max_lines
            && self.record.text.len() + blanks + 1 + line.len() <= config.max_bytes
    }

    /// Whether a blank line may still turn out to be ours.
    fn waits(&self, config: &TraceJoinerConfig) -> bool {
        self.stage != Stage::Complete && self.blanks.len() < BLANK_LINES && self.fits("", config)
    }

    fn join(&mut self, line: &str, at: Timestamp, stage: Stage) {
        for (text, _) in self.blanks.drain(..) {
            self.record.text.push('\n');
            self.record.text.push_str(&text);
            self.record.n_lines += 1;
        }
        self.record.text.push('\n');
        self.record.text.push_str(line);
        self.record.n_lines += 1;
        self.last_at = at;
        self.stage = stage;
        self.announces &= is_asyncio_context(line);
    }
}

/// The stage after `line` if it continues the record, `None` if it begins another (or is blank:
/// then the next line decides).
fn continuation(open: &Open, shape: Shape, line: &str, start: Option<&Regex>) -> Option<Stage> {
    if let Some(start) = start {
        return (!start.is_match(line)).then_some(Stage::Plain);
    }
    let stage = open.stage;
    let spaced = !open.blanks.is_empty();
    let announced = open.announces && stage == Stage::Plain;
    match (shape, stage) {
        (Shape::Blank, _) | (_, Stage::Complete) => None,
        (Shape::Indented, _) => indented(stage, line, spaced),
        (_, Stage::RustPanic) if shape != Shape::RustPanic => Some(Stage::Trace),
        (Shape::Traceback, Stage::PythonLink) => Some(Stage::PythonFrames),
        (Shape::Traceback, _) => announced.then_some(Stage::PythonFrames),
        (Shape::GroupTraceback, _) => {
            (announced || stage == Stage::PythonLink).then_some(Stage::Trace)
        }
        (Shape::PythonLink, Stage::Trace) => Some(Stage::PythonLink),
        (Shape::GoPanic, Stage::Message(_)) => Some(stage),
        (Shape::GoBlock, Stage::Message(_) | Stage::GoDump) => {
            Some(if line.starts_with("exit status") {
                Stage::Complete
            } else {
                Stage::GoDump
            })
        }
        (Shape::GoBlock, Stage::Plain) => {
            (line.starts_with("goroutine ") && open.headed).then_some(Stage::GoDump)
        }
        (Shape::GoCall, Stage::GoDump) => Some(Stage::GoDump),
        (Shape::Text, Stage::GoDump) if is_go_text(line) => Some(Stage::GoDump),
        (Shape::RustNote, Stage::Plain) => line.ends_with("ack backtrace:").then_some(Stage::Trace),
        (Shape::Cause | Shape::RustNote, _) => Some(Stage::Trace),
        (Shape::NodeEnd, Stage::Trace | Stage::NodeMessage(_)) => Some(Stage::Complete),
        (Shape::Closing, _) if open.record.n_lines > 1 && !spaced => Some(stage),
        (Shape::Head | Shape::RustPanic | Shape::RustAbort | Shape::GoPanic, _) => None,
        (_, Stage::PythonFrames) => (!spaced).then_some(Stage::Trace),
        (_, Stage::NodeMessage(left)) => left.checked_sub(1).map(Stage::NodeMessage),
        (_, Stage::Message(left)) if !spaced => left.checked_sub(1).map(Stage::Message),
        (Shape::Exception, Stage::Plain) => announced.then_some(Stage::Trace),
        (Shape::Text, Stage::Plain) if is_asyncio_context(line) => announced.then_some(stage),
        (Shape::Text | Shape::GoCall, Stage::Trace) if !spaced => open.headed.then_some(stage),
        _ => None,
    }
}

fn indented(stage: Stage, line: &str, spaced: bool) -> Option<Stage> {
    let frame = line.trim_start();
    Some(match stage {
        Stage::Plain | Stage::PythonLink if spaced => return None,
        Stage::Plain if is_python_frame(line) => Stage::PythonFrames,
        Stage::Plain | Stage::Message(_) | Stage::NodeMessage(_) if frame.starts_with("at ") => {
            Stage::Trace
        }
        Stage::RustPanic => Stage::Trace,
        Stage::NodeMessage(left) => Stage::NodeMessage(left.checked_sub(1)?),
        stage => stage,
    })
}

fn is_python_frame(line: &str) -> bool {
    line.starts_with("  File \"")
}

/// Lines of a dump of goroutines that are neither calls nor headers.
fn is_go_text(line: &str) -> bool {
    line.starts_with("panic(")
        || line.starts_with("\tgoroutine running on other thread")
        || line.starts_with("...")
        || (line.starts_with("runtime") && line.ends_with(')'))
}

/// What `asyncio` writes between its complaint and the traceback.
fn is_asyncio_context(line: &str) -> bool {
    ["future: <", "task: <", "handle: <", "message: "]
        .iter()
        .any(|prefix| line.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(text: &str) -> Vec<String> {
        let mut joiner = TraceJoiner::new(TraceJoinerConfig::default()).unwrap();
        let mut records = Vec::new();
        for line in text.split('\n') {
            records.extend(
                joiner
                    .push(line, Timestamp::EPOCH)
                    .map(|joined| joined.text),
            );
        }
        records.extend(joiner.flush().map(|joined| joined.text));
        records
    }

    /// `blocks` are separated by `----`; each must come back as one record.
    fn stays_apart(blocks: &str) {
        let blocks: Vec<&str> = blocks.split("\n----\n").collect();
        assert_eq!(joined(&blocks.join("\n")), blocks);
    }

    #[test]
    fn python_traces_stay_whole_through_chains_groups_and_syntax_errors() {
        stays_apart(
            "listening on 8080\n----\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nKeyError: 'x'\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"a.py\", line 2, in <module>\n    f()\nValueError: no\n----\nlistening on 8081",
        );
        stays_apart(
            "2026-11-22 01:00:00 ERROR no\n  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1, in <module>\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | ValueError: a\n    +------------------------------------\n----\n2026-11-22 01:00:01 INFO next",
        );
        stays_apart(
            "  File \"a.py\", line 1\n    def f(:\n          ^\nSyntaxError: invalid syntax\n----\nnext",
        );
        stays_apart(
            "ERROR:root:no\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nx.E: one\nmore of the message\n----\nERROR:root:next",
        );
        stays_apart(
            "Task exception was never retrieved\nfuture: <Task finished name='T' coro=<f()>>\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 1",
        );
    }

    #[test]
    fn java_traces_stay_whole_and_join_the_line_that_announces_them() {
        stays_apart(
            "12:00:01.001 [main] ERROR shop.Orders - no\njava.lang.IllegalStateException: no\n\tat shop.A.f(A.java:1)\nCaused by: java.io.IOException: gone\n\t... 1 more\n----\n12:00:01.002 [main] INFO shop.Orders - yes",
        );
        stays_apart(
            "up\n----\nException in thread \"main\" java.lang.Error: a\n\tat A.main(A.java:1)\n\tSuppressed: java.lang.Error: b\n\t\tat A.main(A.java:2)\n----\n{\"msg\":\"a\"}\n----\njava.lang.Error: b\n\tat A.main(A.java:1)\n----\nnext",
        );
    }

    #[test]
    fn node_excerpts_properties_and_farewell_stay_whole() {
        stays_apart(
            "up\n----\n/srv/app.js:3\n  throw new Error('a');\n  ^\n\nError: a\nb\n    at f (/srv/app.js:3:9) {\n  code: 'ENOENT',\n  [cause]: Error: c\n      at g (/srv/app.js:1:9)\n}\n\nNode.js v20.20.2\n----\nup again",
        );
    }

    #[test]
    fn go_dumps_stay_whole_through_their_blank_lines() {
        stays_apart(
            "up\n----\npanic: boom\nand more [recovered]\n\tpanic: again\n[signal SIGSEGV: segmentation violation code=0x1]\n\ngoroutine 1 [running]:\nmain.f(...)\n\t/srv/main.go:12\nmain.main()\n\t/srv/main.go:8 +0x1d\n\ngoroutine 6 [chan receive]:\nmain.g(0x1, {0x2, 0x3})\n\t/srv/main.go:20 +0x2\ncreated by main.main\n\t/srv/main.go:7 +0x3\nexit status 2\n----\nup again",
        );
        stays_apart(
            "2026/11/22 01:00:00 http: panic serving 127.0.0.1:1: boom\ngoroutine 19 [running]:\nnet/http.(*conn).serve.func1()\n\t/usr/local/go/src/net/http/server.go:1 +0x1\npanic({0x1, 0x2})\n\t/usr/local/go/src/runtime/panic.go:884 +0x1\n----\n2026/11/22 01:00:01 next",
        );
    }

    #[test]
    fn rust_panics_stay_whole_with_backtrace_notes_and_causes() {
        stays_apart(
            "up\n----\nthread 'main' (7) panicked at src/main.rs:2:5:\nassertion `left == right` failed\n  left: 1\n right: 2\nstack backtrace:\n   0: main::f\n             at ./src/main.rs:2:5\nnote: Some details are omitted.\n----\nthread 'b' panicked at src/main.rs:9:1:\nno\n----\nup again\n----\nError: cannot start\n\nCaused by:\n    0: cannot read\n    1: No such file\n----\nthread 'main' panicked at 'no', src/main.rs:2:5\nnote: run with `RUST_BACKTRACE=1`",
        );
    }

    #[test]
    fn quiet_or_complete_records_announce_no_trace() {
        stays_apart(
            "2026-11-22 01:00:00 INFO up\n----\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 1\n----\n{\"msg\":\"a\"}\n----\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 2\n----\n\n----\n\n----\na\n----\nb",
        );
    }

    #[test]
    fn what_is_idle_or_too_long_is_given_back() {
        let config = TraceJoinerConfig {
            max_lines: 3,
            ..TraceJoinerConfig::default()
        };
        let mut joiner = TraceJoiner::new(config).unwrap();
        let at = Timestamp::from_secs(5);
        for line in ["a", " b", " c"] {
            assert_eq!(joiner.push(line, at).count(), 0);
        }
        let first = joiner.push(" d", at + Duration::from_millis(10)).next();
        assert_eq!(
            first.map(|record| record.text).as_deref(),
            Some("a\n b\n c")
        );
        assert_eq!(joiner.flush_due(at + Duration::from_secs(1)).count(), 0);
        let due = joiner.due().unwrap();
        let rest: Vec<_> = joiner.flush_due(due).collect();
        assert_eq!((rest[0].text.as_str(), rest[0].n_lines), (" d", 1));
        assert_eq!((joiner.due(), joiner.flush().count()), (None, 0));
    }

    #[test]
    fn a_given_start_of_records_decides_alone_and_mistakes_are_named() {
        let config: TraceJoinerConfig =
            serde_json::from_str(r#"{"idle":"2s","record_start":"^#"}"#).unwrap();
        let mut joiner = TraceJoiner::new(config.clone()).unwrap();
        let mut records = Vec::new();
        for line in ["#1", "a", "", "b", "#2"] {
            records.extend(joiner.push(line, Timestamp::EPOCH));
        }
        records.extend(joiner.flush());
        let texts: Vec<_> = records.iter().map(|record| &*record.text).collect();
        assert_eq!(texts, ["#1\na\n\nb", "#2"]);
        let wrong = TraceJoinerConfig {
            record_start: Some("(".to_owned()),
            max_lines: 0,
            idle: Duration::ZERO,
            ..config
        };
        let error = TraceJoiner::new(wrong).unwrap_err().to_string();
        for part in ["idle = 0s", "max_lines = 0", "record_start = ("] {
            assert!(error.contains(part), "{error}");
        }
    }

    /// Pieces of traces, blank lines and garbage.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "",
                " ",
                "}",
                "Traceback (most recent call last):",
                "  + Exception Group Traceback (most recent call last):",
                "  File \"a.py\", line 1, in f",
                "KeyError: 'x'",
                "The above exception was the direct cause of the following exception:",
                "Caused by: a.B: c",
                "\tat a.B.c(B.java:1)",
                "panic: x",
                "goroutine 1 [running]:",
                "main.main()",
                "exit status 2",
                "thread 'main' panicked at src/main.rs:1:1:",
                "stack backtrace:",
                "/srv/a.js:1",
                "Node.js v20.20.2",
                "{\"a\":1}",
                "2026-11-22 01:00:00 ERROR no",
            ])
            .prop_map(str::to_owned),
            "[^\n]{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn no_line_is_lost_changed_or_reordered(
            lines in prop::collection::vec((line(), 0_u8..20), 0..60),
            max_lines in 1_usize..9,
            max_bytes in 1_usize..200,
        ) {
            let config = TraceJoinerConfig { max_lines, max_bytes, ..TraceJoinerConfig::default() };
            let mut joiner = TraceJoiner::new(config).unwrap();
            let (mut now, mut records) = (Timestamp::EPOCH, Vec::new());
            for (line, pause) in &lines {
                now = now + Duration::from_millis(u64::from(*pause) * 100);
                records.extend(joiner.flush_due(now));
                records.extend(joiner.push(line, now));
                prop_assert!(joiner.open.as_ref().is_some_and(|open| open.blanks.len() <= BLANK_LINES));
            }
            records.extend(joiner.flush());
            let back: Vec<&str> = records.iter().flat_map(|record| record.text.split('\n')).collect();
            let pushed: Vec<&str> = lines.iter().map(|(line, _)| line.as_str()).collect();
            prop_assert_eq!(back, pushed);
            for record in &records {
                prop_assert_eq!(record.n_lines, record.text.split('\n').count());
                prop_assert!(record.n_lines <= max_lines);
                prop_assert!(record.text.len() <= max_bytes || record.n_lines == 1);
            }
        }
    }
}
