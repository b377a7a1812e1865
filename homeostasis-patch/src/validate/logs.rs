//! Logs of errors: fewer of them, or a level that lets none through.

use super::RefusalReason::SilencedLog;
use super::fact::{Fact, Sense};
use super::names::Names;
use super::references::Reference;
use super::token::{FlatTree, joined};
use crate::Language;

/// Of each log of an error that it is there, and what silences logs.
pub(super) fn facts(tree: &FlatTree<'_>, names: &Names, references: &[Reference]) -> Vec<Fact> {
    let mut found = Vec::new();
    for reference in references {
        let path = names.resolved(&reference.path);
        let last = path.rsplit('.').next().unwrap_or_default();
        let end = reference.tokens.1;
        let line = reference.line;
        let is_call = tree.tokens.get(end).is_some_and(|t| t.is("("));
        let is_macro =
            tree.language == Language::Rust && tree.tokens.get(end).is_some_and(|t| t.is("!"));
        if (is_call || is_macro) && is_error_log(&path, last, is_macro) {
            let sense = Sense::Required(SilencedLog);
            found.push(Fact::new(sense, "error log", line, &reference.path));
        }
        if is_call && matches!(last, "setLevel" | "set_level" | "basicConfig") {
            let argument = joined(tree.first_argument(end));
            let silences = ["CRITICAL", "OFF", "Off"]
                .iter()
                .any(|level| argument.contains(level));
            if silences {
                let sense = Sense::Forbidden(SilencedLog);
                found.push(Fact::new(sense, argument.clone(), line, &argument));
            }
        }
    }
    found
}

fn is_error_log(path: &str, last: &str, is_macro: bool) -> bool {
    let is_level = matches!(
        last.to_ascii_lowercase().as_str(),
        "error"
            | "errorf"
            | "errorw"
            | "errorln"
            | "exception"
            | "critical"
            | "fatal"
            | "fatalf"
            | "severe"
            | "capture_exception"
            | "captureexception"
            | "errorcontext"
    );
    if is_macro {
        return last == "error" || last == "eprintln";
    }
    let receiver = path
        .rsplit_once('.')
        .map_or("", |(receiver, _)| receiver)
        .to_ascii_lowercase();
    let is_log = ["log", "console", "sentry", "tracing", "slog"]
        .iter()
        .any(|part| receiver.contains(part));
    is_level && is_log
}
