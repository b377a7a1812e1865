//! Which language wrote a text, if any error stands in it.

use std::sync::LazyLock;

use regex::Regex;

use super::line_shape::regex;
use super::{java, javascript};

/// The languages whose errors are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Rust,
    Python,
    Java,
    JavaScript,
    Go,
}

impl Language {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Java => "java",
            Self::JavaScript => "javascript",
            Self::Go => "go",
        }
    }
}

/// What every text of several lines with an error holds: literals only, so that the search is as
/// fast as memory.
static MARKS: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        "Traceback \\(most|\n    at |\n\tat |panicked at |goroutine |panic: |fatal error: |Caused by:|  File \"|\nstack backtrace:|\\.go:|Error|Exception|error\\[E|error: |UnhandledPromise|--trace-uncaught|Uncaught|overflowed its stack|bytes failed",
    )
});

/// The same for a text of one line: an exception without a trace, or an abort.
static BARE: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?x)^(?:
            (?:Uncaught\ |Exception\ in\ thread\ .*\ )?(?:[\w$]+\.)*[A-Z][\w$]*(?:Error|Exception|Interrupt|Exit)(?:\ \[\w+\])?(?::\ |:?$)
          | Error:\ | panic:\ | fatal\ error:\  | error\[E\d{4}\]:\  | thread\ '.*'\ (?:\(\d+\)\ )?(?:panicked\ at|has\ overflowed)
          | memory\ allocation\ of\ \d+\ bytes\ failed$
        )",
    )
});

/// The first thing that tells the language.
static TELLS: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?xm)
            (?P<python>Traceback\ \(most\ recent\ call\ last\):|^\ \ File\ ".*",\ line\ \d+)
          | (?P<rust>^thread\ '.*'\ (?:\(\d+\)\ )?(?:panicked\ at|has\ overflowed)|panicked\ at\ (?:'|\S+:\d+:\d+:$)
              |^memory\ allocation\ of\ \d+\ bytes\ failed|^stack\ backtrace:
              |^error(?:\[E\d{4}\])?:\ .*\n\ *-->\ |^error\[E\d{4}\]:\ )
          | (?P<error>^Error:(?:\ .*)?$)
          | (?P<report>^(?:Caused\ by|Stack\ backtrace|Location):$|^\ +0:\ )
          | (?P<go>^goroutine\ \d+\ \[|^panic:\ |^fatal\ error:\ |^\t\S.*\.go:\d+(?:\ \+0x[0-9a-f]+)?$)
          | (?P<frame>^[\ \t]+at\ .*$)
          | (?P<node>^Node\.js\ v\d|^\[UnhandledPromiseRejection:|\(Use\ `node\ --trace-uncaught)
        "#,
    )
});

/// Whether it is worth to look closer: cheap, and true for every text that holds an error.
pub(super) fn may_hold_an_error(text: &str) -> bool {
    if text.contains('\n') {
        MARKS.is_match(text) || text.starts_with("    at ") || text.starts_with("\tat ")
    } else {
        BARE.is_match(text)
    }
}

/// The language of the first error in the text.
pub(super) fn language_of(text: &str) -> Option<Language> {
    // `Error: …` begins a report of Rust or a stack of JavaScript: what follows tells.
    let mut begun = false;
    for found in TELLS.captures_iter(text) {
        let is = |name| found.name(name).is_some();
        if is("python") {
            return Some(Language::Python);
        }
        if is("rust") || (is("report") && begun) {
            return Some(Language::Rust);
        }
        if is("go") {
            return Some(Language::Go);
        }
        if is("node") {
            return Some(Language::JavaScript);
        }
        if let Some(frame) = found.name("frame") {
            if java::is_frame(frame.as_str()) {
                return Some(Language::Java);
            }
            if javascript::is_frame(frame.as_str()) {
                return Some(Language::JavaScript);
            }
        }
        begun |= is("error");
    }
    bare(text)
}

/// The language of an exception that is named without a trace.
fn bare(text: &str) -> Option<Language> {
    const PYTHON: &[&str] = &[
        "ArithmeticError",
        "AssertionError",
        "AttributeError",
        "BlockingIOError",
        "BrokenPipeError",
        "BufferError",
        "ChildProcessError",
        "ConnectionAbortedError",
        "ConnectionError",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "EOFError",
        "FileExistsError",
        "FileNotFoundError",
        "FloatingPointError",
        "ImportError",
        "IndentationError",
        "IndexError",
        "InterruptedError",
        "IsADirectoryError",
        "KeyError",
        "KeyboardInterrupt",
        "LookupError",
        "MemoryError",
        "ModuleNotFoundError",
        "NameError",
        "NotADirectoryError",
        "NotImplementedError",
        "OSError",
        "OverflowError",
        "PermissionError",
        "ProcessLookupError",
        "RecursionError",
        "RuntimeError",
        "SystemError",
        "SystemExit",
        "TabError",
        "TimeoutError",
        "UnboundLocalError",
        "UnicodeDecodeError",
        "UnicodeEncodeError",
        "UnicodeError",
        "ValueError",
        "ZeroDivisionError",
    ];
    const JAVASCRIPT: &[&str] = &[
        "AggregateError",
        "EvalError",
        "RangeError",
        "ReferenceError",
        "URIError",
    ];
    let line = text.lines().next().unwrap_or_default();
    if !BARE.is_match(line) {
        return None;
    }
    if line.starts_with("Exception in thread \"") {
        return Some(Language::Java);
    }
    if line.starts_with("Uncaught ") {
        return Some(Language::JavaScript);
    }
    let kind = line.split([':', ' ']).next().unwrap_or_default();
    let class = kind.rsplit('.').next().unwrap_or_default();
    if kind == "Error" {
        // What `main` of a Rust program prints; a Node process prints more lines than this one.
        return Some(Language::Rust);
    }
    if PYTHON.contains(&kind) || (kind.contains('.') && !is_java(kind)) {
        Some(Language::Python)
    } else if JAVASCRIPT.contains(&kind) {
        Some(Language::JavaScript)
    } else if is_java(kind) && class.ends_with(['r', 'n']) {
        Some(Language::Java)
    } else {
        None
    }
}

fn is_java(kind: &str) -> bool {
    const DOMAINS: &[&str] = &[
        "java.", "javax.", "jakarta.", "com.", "org.", "net.", "io.", "kotlin.", "scala.", "sun.",
        "jdk.",
    ];
    DOMAINS.iter().any(|domain| kind.starts_with(domain))
}
