//! A regular expression with a bound on what it costs.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::Hir;
use serde::{Serialize, Serializer};

use super::literal;

/// A regular expression of a rule.
///
/// The search is linear in the text whatever the pattern (`regex` never backtracks). A pattern has
/// at most 4,000 bytes and 512 KiB compiled, and keeps at most 256 KiB of its lazily built automaton
/// for each thread. It is compiled at its first use.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    compiled: OnceLock<Option<Regex>>,
    literals: Vec<Vec<u8>>,
    min_len: usize,
}

impl Pattern {
    /// Bytes of a pattern.
    pub const MAX_LENGTH: usize = 4_000;

    /// The group that holds what the text says, where a pattern also matches what must stand around
    /// it: whether a line denies a match is told from the words beside the core.
    pub const CORE: &str = "core";

    const MAX_COMPILED: usize = 512 << 10;
    const MAX_CACHE: usize = 256 << 10;

    /// Parses but does not compile yet; what is wrong with it as a sentence.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        if source.len() > Self::MAX_LENGTH {
            return Err(format!("longer than {} bytes", Self::MAX_LENGTH));
        }
        let hir: Hir = regex_syntax::parse(source).map_err(|error| problem(&error.to_string()))?;
        let min_len = hir.properties().minimum_len().unwrap_or(0);
        if min_len == 0 {
            return Err("it matches the empty text".to_owned());
        }
        Ok(Self {
            source: source.to_owned(),
            compiled: OnceLock::new(),
            literals: literal::required(&hir).unwrap_or_default(),
            min_len,
        })
    }

    /// Compiles now.
    pub(super) fn check(&self) -> Result<(), String> {
        match build(&self.source) {
            Ok(regex) => {
                self.compiled.get_or_init(|| Some(regex));
                Ok(())
            }
            Err(error) => Err(problem(&error.to_string())),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether it matches in `text`; a pattern that turned out too large never does.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text))
    }

    /// Where its first match in `text` begins that does so at byte `from` or later, and where its
    /// [core](Self::CORE) is.
    pub(super) fn find_at(&self, text: &str, from: usize) -> Option<(usize, Range<usize>)> {
        let regex = self.regex()?;
        if from > text.len() {
            return None;
        }
        let whole = regex.find_at(text, from)?.range();
        let has_core = || {
            regex
                .capture_names()
                .flatten()
                .any(|name| name == Self::CORE)
        };
        let core = has_core()
            .then(|| regex.captures_at(text, whole.start))
            .flatten()
            .and_then(|found| Some(found.name(Self::CORE)?.range()));
        Some((whole.start, core.unwrap_or(whole)))
    }

    /// What its named groups hold in its first match in `text` that begins at byte `from` or
    /// later, as names and values; without its core.
    pub(super) fn captures_at(&self, text: &str, from: usize) -> Vec<(String, String)> {
        let Some(regex) = self.regex().filter(|_| from <= text.len()) else {
            return Vec::new();
        };
        let Some(found) = regex.captures_at(text, from) else {
            return Vec::new();
        };
        self.names()
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), found.name(name)?.as_str().to_owned())))
            .collect()
    }

    /// The names of its groups but that of its core.
    pub fn names(&self) -> Vec<&str> {
        let names = self.regex().map(Regex::capture_names);
        let names = names.into_iter().flatten().flatten();
        names.filter(|name| *name != Self::CORE).collect()
    }

    /// Literals of which every match contains one, in lower case; empty if there are none.
    pub(super) fn literals(&self) -> &[Vec<u8>] {
        &self.literals
    }

    /// Bytes of the shortest text it matches.
    pub(super) fn min_len(&self) -> usize {
        self.min_len
    }

    fn regex(&self) -> Option<&Regex> {
        let compiled = self.compiled.get_or_init(|| build(&self.source).ok());
        compiled.as_ref()
    }
}

fn build(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source)
        .size_limit(Pattern::MAX_COMPILED)
        .dfa_size_limit(Pattern::MAX_CACHE)
        .build()
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.source).finish()
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// What is wrong with a pattern and where in it, on one line.
///
/// The parser shows the place as a caret under the pattern, both indented alike; this counts the
/// characters before it.
fn problem(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let Some(message) = lines.pop() else {
        return text.to_owned();
    };
    let message = message.trim_start_matches("error: ");
    let caret = lines.iter().enumerate().find_map(|(idx, line)| {
        let is_marker = line.contains('^') && line.chars().all(|c| c == ' ' || c == '^');
        let indent = lines.get(idx.checked_sub(1)?)?;
        let indent = indent.len() - indent.trim_start().len();
        is_marker
            .then(|| line.find('^'))??
            .checked_sub(indent.min(4))
    });
    match caret {
        Some(before) => format!("character {}: {message}", before + 1),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_pattern_is_told_with_its_place() {
        let wrong = |source: &str| {
            let parsed = Pattern::parse(source).and_then(|pattern| pattern.check());
            parsed.unwrap_err()
        };
        assert_eq!(wrong("ab(c"), "character 3: unclosed group");
        assert_eq!(wrong("a*"), "it matches the empty text");
        assert!(wrong(&"a".repeat(5_000)).starts_with("longer than 4000 bytes"));
        // Nested counts would take gigabytes.
        let huge = wrong(r"(?:\w{100}){100}x");
        assert!(huge.contains("exceeds size limit"), "{huge}");
    }

    #[test]
    fn a_pattern_that_ruins_others_is_linear_here() {
        // Backtracking takes 2^n steps for n letters: with 2,000 letters, for ever.
        let pattern = Pattern::parse("^(?:a+)+$|^(?:a|aa)*b").unwrap();
        pattern.check().unwrap();
        let text = format!("{}!", "a".repeat(2_000));
        assert!(!pattern.is_match(&text));
    }

    #[test]
    fn named_groups_are_kept_and_those_that_take_no_part_are_not() {
        let pattern =
            Pattern::parse(r"table (?<table>\w+)(?: of (?<schema>\w+))? is missing").unwrap();
        let found = pattern.captures_at("the table items is missing", 0);
        assert_eq!(found, [("table".to_owned(), "items".to_owned())]);
        assert!(pattern.captures_at("nothing", 0).is_empty());
        assert_eq!(pattern.names(), ["table", "schema"]);
        let pattern = Pattern::parse("[^:] (?<core>disk (?<disk>[a-z]+) full)!").unwrap();
        assert_eq!(pattern.find_at("a disk b full!", 0), Some((0, 2..13)));
        assert_eq!(pattern.find_at("a disk b full!", 20), None);
        assert_eq!(pattern.names(), ["disk"]);
    }
}
