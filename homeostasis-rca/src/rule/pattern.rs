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

    /// Where it matches in `text`.
    pub(super) fn places(&self, text: &str) -> impl Iterator<Item = Range<usize>> {
        let found = self.regex().map(|regex| regex.find_iter(text));
        found.into_iter().flatten().map(|found| found.range())
    }

    /// What its named groups hold in `text`, as names and values.
    pub(super) fn captures(&self, text: &str) -> Vec<(String, String)> {
        let Some(regex) = self.regex() else {
            return Vec::new();
        };
        let Some(found) = regex.captures(text) else {
            return Vec::new();
        };
        let names = regex.capture_names().flatten();
        let values = names.filter_map(|name| Some((name, found.name(name)?)));
        values
            .map(|(name, value)| (name.to_owned(), value.as_str().to_owned()))
            .collect()
    }

    /// The names of its groups.
    pub fn names(&self) -> Vec<&str> {
        let names = self.regex().map(Regex::capture_names);
        names.into_iter().flatten().flatten().collect()
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
        let found = pattern.captures("the table items is missing");
        assert_eq!(found, [("table".to_owned(), "items".to_owned())]);
        assert!(pattern.captures("nothing").is_empty());
        assert_eq!(pattern.names(), ["table", "schema"]);
    }
}
