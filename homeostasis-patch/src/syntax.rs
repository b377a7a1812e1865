//! Source text as a syntax tree.

use std::fmt;
use std::ops::Range;

use ast_grep_core::tree_sitter::{LanguageExt as _, StrDoc};
use ast_grep_core::{AstGrep, Node};
use ast_grep_language::SupportLang;

use crate::Language;

/// One node of a [`Syntax`].
pub(crate) type SyntaxNode<'a> = Node<'a, StrDoc<SupportLang>>;

/// A parsed file. What cannot be parsed becomes error nodes; see [`Syntax::errors`].
///
/// Parsing takes time and memory linear in the text, some 30 bytes a byte.
#[derive(Clone)]
pub(crate) struct Syntax {
    language: Language,
    tree: AstGrep<StrDoc<SupportLang>>,
}

impl Syntax {
    pub(crate) fn parse(language: Language, text: &str) -> Self {
        let tree = language.grammar().ast_grep(text);
        Self { language, tree }
    }

    pub(crate) const fn language(&self) -> Language {
        self.language
    }

    pub(crate) fn root(&self) -> SyntaxNode<'_> {
        self.tree.root()
    }

    /// Where the text is not of the language: ranges of bytes, and of zero length where something
    /// is missing.
    pub(crate) fn errors(&self) -> Vec<Range<usize>> {
        self.root()
            .dfs()
            .filter(|node| node.is_error() || node.is_missing())
            .map(|node| node.range())
            .collect()
    }
}

impl fmt::Debug for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.root().range().len();
        f.debug_struct("Syntax")
            .field("language", &self.language)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_parses_a_line_of_its_own_and_tells_a_broken_one() {
        for (language, good, broken) in [
            (Language::Rust, "fn f() -> u8 { 1 }", "fn f( -> u8 { 1 }"),
            (
                Language::Python,
                "def f():\n    return 1\n",
                "def f(:\n    return 1\n",
            ),
            (
                Language::JavaScript,
                "const a = b?.c ?? 1;",
                "const a = b?.c ?? ;",
            ),
            (
                Language::TypeScript,
                "const a: number = 1;",
                "const a: = 1;",
            ),
            (
                Language::Tsx,
                "const a = <b>{c}</b>;",
                "const a = <b>{c}</;",
            ),
            (
                Language::Go,
                "package a\n\nfunc f() int { return 1 }\n",
                "package a\n\nfunc f( int { return 1 }\n",
            ),
            (
                Language::Java,
                "class A { int f() { return 1; } }",
                "class A { int f( { return 1; } }",
            ),
        ] {
            assert!(
                Syntax::parse(language, good).errors().is_empty(),
                "{language}"
            );
            assert!(
                !Syntax::parse(language, broken).errors().is_empty(),
                "{language}"
            );
        }
    }
}
