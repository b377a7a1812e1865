//! One place in one file where an error passed.

use std::ops::Range;

use homeostasis_core::signal::ErrorEvent;

use crate::Language;
use crate::syntax::{Syntax, SyntaxNode};

/// Matches over more lines than this must begin or end on the line of the frame.
const MAX_LINES: usize = 8;

/// How often a macro inside the arguments of a macro is opened.
const MAX_NESTING: usize = 4;

/// One place in one file where an error passed, its file parsed.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) language: Language,
    pub(crate) text: &'a str,
    pub(crate) error: &'a ErrorEvent,
    /// Of the line of the frame, counted from 0.
    line: usize,
    /// In bytes of the text, if the frame has a column.
    at: Option<usize>,
    syntax: Syntax,
}

impl<'a> Site<'a> {
    /// `line` and `column` are counted from 1; a `column` of 0 is not known. `None` if there is no
    /// such line.
    pub(crate) fn new(
        language: Language,
        text: &'a str,
        error: &'a ErrorEvent,
        line: u32,
        column: u32,
    ) -> Option<Self> {
        let line = usize::try_from(line).ok()?.checked_sub(1)?;
        let content = text.split_inclusive('\n').nth(line)?;
        let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
        let at = usize::try_from(column)
            .ok()
            .and_then(|column| content.char_indices().nth(column.checked_sub(1)?))
            .map(|(offset, _)| start + offset)
            .map(|at| {
                // Rust counts from the parentheses around an operation.
                let is_open = |c: char| c == '(' || c.is_whitespace();
                let rest = text.get(at..).unwrap_or_default();
                at + (rest.len() - rest.trim_start_matches(is_open).len())
            });
        let mut syntax = Syntax::parse(language, text);
        if language == Language::Rust {
            syntax = with_open_macros(syntax, text, start..start + content.len());
        }
        Some(Self {
            language: syntax.language(),
            text,
            error,
            line,
            at,
            syntax,
        })
    }

    /// The tree; arguments of Rust's macros on the line are parsed as those of functions. Its
    /// texts are not those of the file: take them with [`Site::text_of`].
    pub(crate) fn root(&self) -> SyntaxNode<'_> {
        self.syntax.root()
    }

    pub(crate) fn text_of(&self, node: &SyntaxNode<'_>) -> &'a str {
        self.text.get(node.range()).unwrap_or_default()
    }

    /// How well a node fits the place, from 0 (not at all) to 1: whether it stands on the line,
    /// and whether it holds the column where one is known.
    pub(crate) fn fit(&self, node: &SyntaxNode<'_>) -> f64 {
        let (first, last) = (node.start_pos().line(), node.end_pos().line());
        let is_long = last - first > MAX_LINES;
        if self.line < first
            || self.line > last
            || (is_long && first != self.line && last != self.line)
        {
            return 0.0;
        }
        match self.at {
            Some(at) if node.range().start == at => 1.0,
            Some(at) if node.range().contains(&at) => 0.95,
            Some(_) if self.language == Language::Rust => 0.0,
            Some(_) => 0.3,
            None if first == self.line => 0.9,
            None => 0.6,
        }
    }

    /// One step of the indentation of the file.
    pub(crate) fn indent_unit(&self) -> &'static str {
        let mut least = usize::MAX;
        for line in self.text.lines() {
            if line.starts_with('\t') {
                return "\t";
            }
            let width = line.len() - line.trim_start_matches(' ').len();
            // Continuations and comments of C (` *`) are indented by odd numbers.
            if width >= 2 && width.is_multiple_of(2) && width < line.len() {
                least = least.min(width);
            }
        }
        if least == 2 { "  " } else { "    " }
    }

    /// What stands before a byte on its line, if that is nothing but space.
    pub(crate) fn indent_at(&self, at: usize) -> Option<&'a str> {
        let start = self.text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
        let indent = self.text.get(start..at)?;
        indent.trim().is_empty().then_some(indent)
    }
}

/// The tree of a text in which `name!(…)` on the lines of `range` reads `name_(…)`, so that the
/// arguments are expressions; `name![…]` reads `     […]`. Every byte keeps its place. A macro
/// whose arguments are none stays closed.
fn with_open_macros(syntax: Syntax, text: &str, range: Range<usize>) -> Syntax {
    let mut syntax = syntax;
    let mut text = text.to_owned();
    let mut n_errors = syntax.errors().len();
    let mut closed: Vec<usize> = Vec::new();
    for _ in 0..MAX_NESTING {
        let found: Vec<_> = syntax
            .root()
            .dfs()
            .filter(|node| node.kind() == "macro_invocation")
            .filter(|node| {
                let there = node.range();
                there.start < range.end && there.end > range.start
            })
            .filter_map(|node| {
                let name = node.field("macro")?.range();
                let bang = name.end + text.get(name.end..)?.find('!')?;
                Some((name, bang))
            })
            .filter(|(_, bang)| !closed.contains(bang))
            .collect();
        if found.is_empty() {
            break;
        }
        for (name, bang) in found {
            let after = text.get(bang + 1..).unwrap_or_default();
            let mut opened = text.clone();
            if after.trim_start().starts_with('(') {
                opened.replace_range(bang..=bang, "_");
            } else {
                opened.replace_range(name.start..=bang, &" ".repeat(bang + 1 - name.start));
            }
            let parsed = Syntax::parse(Language::Rust, &opened);
            if parsed.errors().len() > n_errors {
                closed.push(bang);
                continue;
            }
            n_errors = parsed.errors().len();
            (syntax, text) = (parsed, opened);
        }
    }
    syntax
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_macros_are_expressions_at_their_own_bytes() {
        let text = "fn f(v: &[u8]) {\n    println!(\"{}\", format!(\"{}\", v[9]));\n}\n";
        let error = ErrorEvent::default();
        let site = Site::new(Language::Rust, text, &error, 2, 34).unwrap();
        let found = site
            .root()
            .dfs()
            .find(|node| node.kind() == "index_expression")
            .unwrap();
        assert_eq!(site.text_of(&found), "v[9]");
        assert!((site.fit(&found) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_column_of_an_operation_is_that_of_its_parentheses() {
        let text = "fn f(a: u8) -> u8 {\n    g(((1 / a)))\n}\n";
        let error = ErrorEvent::default();
        let site = Site::new(Language::Rust, text, &error, 2, 7).unwrap();
        let root = site.root();
        let found = root.dfs().find(|node| site.text_of(node) == "1 / a");
        assert!((site.fit(&found.unwrap()) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn lines_that_are_not_there_are_no_place_and_columns_count_characters() {
        let error = ErrorEvent::default();
        let text = "x = 'é'; y = d[1]\n";
        let site = |line, column| Site::new(Language::Python, text, &error, line, column);
        assert!(site(0, 0).is_none() && site(3, 1).is_none());
        let found = site(1, 14).unwrap();
        let node = found
            .root()
            .dfs()
            .find(|node| node.kind() == "subscript")
            .unwrap();
        assert!((found.fit(&node) - 1.0).abs() < 1e-9);
    }
}
