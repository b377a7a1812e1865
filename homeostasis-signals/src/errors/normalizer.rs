//! From text to an error.

use std::borrow::Cow;

use homeostasis_core::port::Enricher;
use homeostasis_core::signal::{ErrorEvent, LogRecord};
use homeostasis_core::{ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fingerprint::error_fingerprint;
use super::frames::Project;
use super::language::{Language, language_of, may_hold_an_error};
use super::{go, java, javascript, python, rust};

/// How much of a text is read: so much of its beginning and of its end.
const HALF_TEXT: usize = 32 * 1024;

/// Fields that hold a stack, best first.
const STACKS: [&str; 10] = [
    "exception.stacktrace",
    "error.stack_trace",
    "error.stack",
    "stack_trace",
    "stacktrace",
    "stack",
    "traceback",
    "exc_info",
    "exception",
    "err",
];
const KINDS: [&str; 3] = ["exception.type", "error.type", "error.kind"];
const MESSAGES: [&str; 2] = ["exception.message", "error.message"];

/// What belongs to the project.
///
/// Without any configuration it is everything that does not lie where a language keeps its
/// standard library and its dependencies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorNormalizerConfig {
    /// Folders in which the code of the project lies: `/srv/app`; default none. Paths in them
    /// become relative to them; absolute paths elsewhere are then not in the project.
    pub project_roots: Vec<String>,
    /// Packages, modules or crates of the project as functions are qualified by them
    /// (`com.shop`, `github.com/shop/api`, `shop`), or as they are installed; default none.
    /// Where a frame has no folder (Java, optimized Rust), only they are then in the project.
    pub packages: Vec<String>,
}

/// Reads errors of Rust, Python, Java, JavaScript (Node) and Go from text.
///
/// - *Rust:* panics (the header before and since 1.73), aborts, backtraces short and full, chains
///   of `anyhow` and `eyre`, errors that `main` returned, diagnostics of the compiler. The kind is
///   `panic`, `abort`, `error` or `error[E0308]`.
/// - *Python:* tracebacks, chains (the last exception printed is the event, the ones before it are
///   its causes), groups, syntax errors; the notes of an exception are part of its message.
/// - *Java* and its relatives: causes, suppressed exceptions, modules, lambdas.
/// - *JavaScript* as V8 and Node print it: stacks, uncaught errors with the excerpt of the source,
///   `[cause]`, `[errors]`, `eval`, bundles. What is thrown and no error has the kind `throw`.
/// - *Go:* panics (`panic`), errors of the runtime (`fatal error`), dumps of goroutines, of which
///   the first is read.
///
/// Frames are innermost first; their paths have one form (forward slashes, no URL scheme, no
/// `./`), and [`in_project`](homeostasis_core::signal::Frame::in_project) says whose code it is.
/// Of several errors that are not linked, the first is the event.
///
/// *Bounds:* of a text longer than 64 KiB the first and the last 32 KiB are read; of an error the
/// 256 innermost frames are kept, of causes 16 levels and 64 together; the rest is dropped.
/// *Cost:* linear in the text; a text without any error is told by one search for literals.
/// Never panics, whatever the text.
///
/// # Examples
/// ```
/// use homeostasis::signals::ErrorNormalizer;
/// let normalizer = ErrorNormalizer::default();
/// let error = normalizer.parse("Traceback (most recent call last):\n  File \"/srv/app/shop.py\", line 7, in book\n    price = prices[item]\nKeyError: 'tea'").unwrap();
/// assert_eq!((error.language.as_str(), error.kind.as_str()), ("python", "KeyError"));
/// assert_eq!(error.innermost_in_project().unwrap().function, "book");
/// assert!(normalizer.parse("order 7 booked").is_none());
/// ```
#[derive(Debug, Clone, Default)]
pub struct ErrorNormalizer {
    project: Project,
}

impl ErrorNormalizer {
    /// A normalizer for one project.
    ///
    /// # Errors
    /// A root or a package is empty.
    pub fn new(config: &ErrorNormalizerConfig) -> Result<Self, ConfigError> {
        let mut wrong = Violations::new();
        let lists = [
            (
                "project_roots",
                &config.project_roots,
                "a folder such as /srv/app",
            ),
            ("packages", &config.packages, "a package such as com.shop"),
        ];
        for (name, values, expected) in lists {
            for (at, _) in values
                .iter()
                .enumerate()
                .filter(|(_, value)| value.trim().is_empty())
            {
                wrong.push(Violation::new(format!("{name}[{at}]"), "\"\"", expected));
            }
        }
        wrong.into_result(Self {
            project: Project::new(&config.project_roots, &config.packages),
        })
    }

    /// The first error in `text`, with its fingerprint; `None` if there is none.
    pub fn parse(&self, text: &str) -> Option<ErrorEvent> {
        if !may_hold_an_error(text) {
            return None;
        }
        let mut error = self.read(text)?;
        error.fingerprint = error_fingerprint(&error);
        Some(error)
    }

    fn read(&self, text: &str) -> Option<ErrorEvent> {
        let text = bounded(text);
        let language = language_of(&text)?;
        let lines: Vec<&str> = text.lines().collect();
        let parse = match language {
            Language::Rust => rust::parse,
            Language::Python => python::parse,
            Language::Java => java::parse,
            Language::JavaScript => javascript::parse,
            Language::Go => go::parse,
        };
        parse(&lines, &self.project)
    }

    /// The error that the fields of a record tell.
    fn of_fields(&self, record: &LogRecord) -> Option<ErrorEvent> {
        let field = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| record.fields.get(name))
                .filter(|text| !text.is_empty())
        };
        let mut error = STACKS
            .iter()
            .filter_map(|name| record.fields.get(name))
            .find_map(|text| self.of_field(text));
        let (kind, message) = (field(&KINDS), field(&MESSAGES));
        if let Some(kind) = kind {
            let error = error.get_or_insert_with(|| {
                let language = record
                    .fields
                    .get("telemetry.sdk.language")
                    .unwrap_or_default();
                let language = if language == "nodejs" {
                    "javascript"
                } else {
                    language
                };
                ErrorEvent::new(language, kind, message.unwrap_or_default())
            });
            kind.clone_into(&mut error.kind);
        }
        if let (Some(error), Some(message)) = (&mut error, message) {
            message.clone_into(&mut error.message);
        }
        error
    }

    /// A stack as text, with line ends that were escaped, or within a JSON object as loggers of
    /// Node write it.
    fn of_field(&self, text: &str) -> Option<ErrorEvent> {
        if text.starts_with('{') && text.len() <= 2 * HALF_TEXT {
            let object: Value = serde_json::from_str(text).ok()?;
            let of = |names: &[&str]| names.iter().find_map(|name| object.get(name)?.as_str());
            let stack = of(&["stack", "stacktrace", "stack_trace"]);
            return stack.and_then(|stack| self.parse(stack)).or_else(|| {
                let kind = of(&["type", "name", "kind", "class"])?;
                Some(ErrorEvent::new(
                    "",
                    kind,
                    of(&["message", "msg"]).unwrap_or_default(),
                ))
            });
        }
        if !text.contains('\n') && text.contains("\\n") {
            return self.parse(&text.replace("\\n", "\n").replace("\\t", "\t"));
        }
        self.parse(text)
    }
}

impl Enricher for ErrorNormalizer {
    /// Fills in `record.error` from the fields that loggers use for it (`exception.stacktrace`,
    /// `exception.type` and `exception.message` of OpenTelemetry, `error.stack_trace` of ECS,
    /// `stack`, `exc_info`, `traceback`, …) or else from the message, and the fingerprint of an
    /// error that has none.
    fn enrich(&self, record: &mut LogRecord) {
        if record.error.is_none() {
            let found = self
                .of_fields(record)
                .or_else(|| self.parse(&record.message));
            record.error = found.map(Box::new);
            // What the fields say may have changed it.
            if let Some(error) = &mut record.error {
                error.fingerprint = error_fingerprint(error);
            }
        } else if let Some(error) = &mut record.error
            && error.fingerprint.is_empty()
        {
            error.fingerprint = error_fingerprint(error);
        }
    }
}

/// The beginning and the end of a text, cut at line ends where there are any.
fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= 2 * HALF_TEXT {
        return Cow::Borrowed(text);
    }
    let edge = |from: usize, step: fn(usize) -> usize| {
        let mut at = from;
        while !text.is_char_boundary(at) {
            at = step(at);
        }
        at
    };
    let begin = text.get(..edge(HALF_TEXT, |at| at - 1)).unwrap_or_default();
    let end = text
        .get(edge(text.len() - HALF_TEXT, |at| at + 1)..)
        .unwrap_or_default();
    let begin = begin.rsplit_once('\n').map_or(begin, |(whole, _)| whole);
    let end = end.split_once('\n').map_or(end, |(_, whole)| whole);
    Cow::Owned(format!("{begin}\n{end}"))
}
