//! Configuration edits on whole files: what changes, what stays, what is refused.
// Helpers of tests are tests, which the lint cannot see; generated sources are built by pieces.
#![allow(clippy::unwrap_used, clippy::format_push_string)]

mod json;
mod properties;
mod toml;
mod yaml;

use homeostasis_patch::{ConfigEdit, EditError, Format};
use serde_json::Value;

/// Runs `set PATH`, `insert PATH` or `remove PATH`.
fn edit(
    format: Format,
    source: &str,
    verb: &str,
    path: &str,
    value: Value,
) -> Result<String, EditError> {
    let path = path.parse()?;
    let edit = match verb {
        "set" => ConfigEdit::set(path, value),
        "insert" => ConfigEdit::insert(path, value),
        "remove" => ConfigEdit::remove(path),
        other => panic!("no verb {other}"),
    };
    edit.apply(source, format)
}

/// Asserts that the edit replaces `old` (found once) by `new` and keeps every other byte.
#[track_caller]
fn changes(format: Format, source: &str, edits: &[(&str, &str, Value, &str, &str)]) {
    for (verb, path, value, old, new) in edits {
        assert_eq!(
            source.matches(old).count(),
            1,
            "{old:?} is not in the source once"
        );
        match edit(format, source, verb, path, value.clone()) {
            Ok(text) => assert_eq!(text, source.replace(old, new), "{verb} {path} {value}"),
            Err(error) => panic!("{verb} {path} {value}: {error}"),
        }
    }
}

/// Asserts that the edit is refused with a text that holds all of `words`.
#[track_caller]
fn refuses(format: Format, source: &str, verb: &str, path: &str, value: Value, words: &[&str]) {
    match edit(format, source, verb, path, value) {
        Ok(text) => panic!("{verb} {path} gave {text:?}"),
        Err(error) => {
            let text = error.to_string();
            for word in words {
                assert!(
                    text.contains(word),
                    "{verb} {path}: {text:?} lacks {word:?}"
                );
            }
        }
    }
}
