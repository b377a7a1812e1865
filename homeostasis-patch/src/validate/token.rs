//! A syntax tree laid flat: its words in order, and which of them belong to which node.
//!
//! Everything after this walks lists, so no nesting can overflow the stack.

use crate::Language;
use crate::syntax::{Syntax, SyntaxNode};

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    Number,
    /// A string, as data.
    Text(String),
    /// A string with computed parts, which follow as tokens.
    Template,
    Punctuation,
}

#[derive(Debug, Clone)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    /// 1-based.
    pub(super) line: usize,
    /// The innermost node around it.
    node: Option<usize>,
}

impl Token<'_> {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text && !matches!(self.kind, Kind::Text(_))
    }

    pub(super) fn is_word(&self) -> bool {
        self.kind == Kind::Word
    }

    pub(super) fn opens(&self) -> bool {
        self.kind == Kind::Punctuation && matches!(self.text, "(" | "[" | "{" | "${" | "#{")
    }

    pub(super) fn closes(&self) -> bool {
        self.kind == Kind::Punctuation && matches!(self.text, ")" | "]" | "}")
    }

    pub(super) fn value(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(value) => Some(value),
            _ => None,
        }
    }
}

/// A named node that has parts.
#[derive(Debug, Clone)]
pub(super) struct FlatNode<'t> {
    pub(super) kind: &'t str,
    /// Its tokens: from here to before there.
    pub(super) tokens: (usize, usize),
    /// The nodes below it end before this index.
    pub(super) end: usize,
    pub(super) parent: Option<usize>,
    /// 1-based.
    pub(super) line: usize,
    /// Its name, of a function.
    pub(super) name: Option<&'t str>,
    /// The innermost function it is or lies in.
    function: Option<usize>,
}

#[derive(Debug)]
pub(super) struct FlatTree<'t> {
    pub(super) language: Language,
    pub(super) tokens: Vec<Token<'t>>,
    /// In preorder.
    pub(super) nodes: Vec<FlatNode<'t>>,
    /// Comments with their 1-based line.
    pub(super) comments: Vec<(usize, &'t str)>,
    /// For each token, where the bracket it opens is closed.
    closed_at: Vec<usize>,
}

enum Visit<'r> {
    Enter(SyntaxNode<'r>, Option<usize>),
    Leave(usize),
}

impl<'t> FlatTree<'t> {
    /// Time and memory are linear in the text. `text` is what `syntax` was parsed from.
    pub(super) fn new(syntax: &'t Syntax, text: &'t str) -> Self {
        let mut builder = Builder {
            text,
            lines: line_starts(text),
            at: 0,
            node: None,
            tree: Self {
                language: syntax.language(),
                tokens: Vec::new(),
                nodes: Vec::new(),
                comments: Vec::new(),
                closed_at: Vec::new(),
            },
        };
        let mut stack = vec![Visit::Enter(syntax.root(), None)];
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Leave(idx) => {
                    let (n_tokens, n_nodes) = (builder.tree.tokens.len(), builder.tree.nodes.len());
                    let node = &mut builder.tree.nodes[idx];
                    node.tokens.1 = n_tokens;
                    node.end = n_nodes;
                }
                Visit::Enter(node, parent) => builder.enter(&node, parent, &mut stack),
            }
        }
        builder.gap(text.len());
        builder.tree.match_brackets();
        builder.tree
    }

    fn match_brackets(&mut self) {
        let n = self.tokens.len();
        self.closed_at = vec![n; n];
        let mut open = Vec::new();
        for (idx, token) in self.tokens.iter().enumerate() {
            if token.opens() {
                open.push(idx);
            } else if token.closes()
                && let Some(start) = open.pop()
            {
                self.closed_at[start] = idx;
            }
        }
    }

    /// Whether a definition that begins at a token stands in no other one.
    pub(super) fn is_outermost(&self, token: usize) -> bool {
        let mut at = self.tokens.get(token).and_then(|token| token.node);
        let mut n_definitions = 0;
        while let Some(idx) = at {
            let kind = self.nodes[idx].kind;
            let defines = is_function(kind)
                || kind.contains("class")
                || matches!(
                    kind,
                    "struct_item"
                        | "enum_item"
                        | "impl_item"
                        | "trait_item"
                        | "mod_item"
                        | "lambda"
                        | "arrow_function"
                        | "closure_expression"
                        | "type_spec"
                );
            n_definitions += usize::from(defines && kind != "class_body");
            if n_definitions > 1 {
                return false;
            }
            at = self.nodes[idx].parent;
        }
        true
    }

    /// The nodes around a token, the innermost first.
    pub(super) fn around(&self, token: usize) -> impl Iterator<Item = usize> + '_ {
        let first = self.tokens.get(token).and_then(|token| token.node);
        std::iter::successors(first, |idx| self.nodes[*idx].parent)
    }

    /// The innermost function around a token.
    pub(super) fn function_of(&self, token: usize) -> Option<usize> {
        self.nodes[self.tokens.get(token)?.node?].function
    }

    pub(super) fn tokens_of(&self, node: &FlatNode<'_>) -> &[Token<'t>] {
        &self.tokens[node.tokens.0..node.tokens.1]
    }

    /// The nodes directly below.
    pub(super) fn children(&self, idx: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.nodes[idx].end;
        let mut next = idx + 1;
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let child = next;
            next = self.nodes[child].end;
            Some(child)
        })
    }

    /// The nodes below, at any depth.
    pub(super) fn below(&self, idx: usize) -> &[FlatNode<'t>] {
        &self.nodes[idx + 1..self.nodes[idx].end]
    }

    pub(super) fn child_of_kind(&self, idx: usize, kinds: &[&str]) -> Option<usize> {
        self.children(idx)
            .find(|child| kinds.contains(&self.nodes[*child].kind))
    }

    /// Where the bracket at `open` is closed; the end of the tokens if it is not.
    pub(super) fn closing(&self, open: usize) -> usize {
        self.closed_at
            .get(open)
            .copied()
            .unwrap_or(self.tokens.len())
    }

    /// The first argument after the opening bracket (or comma) at `open`.
    pub(super) fn first_argument(&self, open: usize) -> &[Token<'t>] {
        let starts = self
            .tokens
            .get(open)
            .is_some_and(|t| t.opens() || t.is(","));
        if !starts {
            // Elsewhere the next comma may be far away.
            return &[];
        }
        let start = (open + 1).min(self.tokens.len());
        let mut at = start;
        while let Some(token) = self.tokens.get(at) {
            if token.closes() || token.is(",") {
                break;
            }
            at = if token.opens() {
                self.closing(at) + 1
            } else {
                at + 1
            };
        }
        &self.tokens[start..at.min(self.tokens.len())]
    }

    /// The string at `at` is a later part of one that is folded from its start.
    pub(super) fn is_continued(&self, at: usize) -> bool {
        let is_text = |n: usize| {
            at.checked_sub(n)
                .is_some_and(|idx| self.tokens[idx].value().is_some())
        };
        is_text(1) || is_text(2) && self.tokens[at - 1].is("+")
    }

    /// The string the tokens from `at` stand for, and where it ends: strings side by side or
    /// joined by `+`.
    pub(super) fn folded(&self, at: usize) -> Option<(String, usize)> {
        let mut value = String::new();
        let mut idx = at;
        let mut n_parts = 0;
        loop {
            match self.tokens.get(idx) {
                Some(token) if token.value().is_some() => {
                    value.push_str(token.value().unwrap_or_default());
                    n_parts += 1;
                    idx += 1;
                }
                Some(token)
                    if token.is("+")
                        && n_parts > 0
                        && self
                            .tokens
                            .get(idx + 1)
                            .is_some_and(|t| t.value().is_some()) =>
                {
                    idx += 1;
                }
                _ => break,
            }
        }
        (n_parts > 0).then_some((value, idx))
    }
}

/// Tokens as one text, a space between any two; of more than 400 the first, and their number.
pub(super) fn joined(tokens: &[Token<'_>]) -> String {
    let words: Vec<_> = tokens.iter().take(400).map(|token| token.text).collect();
    if tokens.len() > 400 {
        return format!("{} … {} tokens", words.join(" "), tokens.len());
    }
    words.join(" ")
}

struct Builder<'t> {
    text: &'t str,
    lines: Vec<usize>,
    /// How far the text is covered by tokens.
    at: usize,
    /// The node whose tokens come.
    node: Option<usize>,
    tree: FlatTree<'t>,
}

impl<'t> Builder<'t> {
    fn enter(&mut self, node: &SyntaxNode<'t>, parent: Option<usize>, stack: &mut Vec<Visit<'t>>) {
        self.node = parent;
        let kind = node.get_inner_node().kind();
        let range = node.range();
        if range.start > range.end || range.end > self.text.len() {
            return;
        }
        if kind.contains("comment") && node.is_named() {
            self.gap(range.start);
            let line = self.line(range.start);
            self.tree.comments.push((line, &self.text[range.clone()]));
            self.at = self.at.max(range.end);
            return;
        }
        if is_string(kind) && node.is_named() {
            self.gap(range.start);
            let computed: Vec<_> = node
                .children()
                .filter(|child| is_computed(child.get_inner_node().kind()))
                .collect();
            let text = &self.text[range.clone()];
            if computed.is_empty() {
                self.push(Kind::Text(string_value(text)), range.start, range.end);
                return;
            }
            self.push(Kind::Template, range.start, range.end);
            // The parts begin before the end of the whole: let their gaps count from their start.
            for child in computed.into_iter().rev() {
                stack.push(Visit::Enter(child, parent));
            }
            return;
        }
        if kind == "line_continuation" {
            self.gap(range.start);
            self.at = self.at.max(range.end);
            return;
        }
        let children: Vec<_> = node.children().collect();
        if children.is_empty() {
            if self.at <= range.start {
                self.gap(range.start);
            }
            if range.start < range.end {
                let kind = word_kind(&self.text[range.clone()], kind);
                // Rust's raw names are the names.
                let is_raw = kind == Kind::Word && self.text[range.clone()].starts_with("r#");
                self.push(kind, range.start + 2 * usize::from(is_raw), range.end);
            }
            return;
        }
        if self.at <= range.start {
            self.gap(range.start);
        }
        let mut above = parent;
        if node.is_named() {
            let idx = self.tree.nodes.len();
            // Annotations, types and type parameters stand before it and look like calls.
            let name = is_function(kind)
                .then(|| node.field("name"))
                .flatten()
                .and_then(|name| self.text.get(name.range()))
                .map(|name| name.strip_prefix("r#").unwrap_or(name));
            self.tree.nodes.push(FlatNode {
                kind,
                name,
                tokens: (self.tree.tokens.len(), self.tree.tokens.len()),
                end: idx + 1,
                parent,
                line: self.line(range.start),
                function: if is_function(kind) {
                    Some(idx)
                } else {
                    parent.and_then(|parent| self.tree.nodes[parent].function)
                },
            });
            above = Some(idx);
            stack.push(Visit::Leave(idx));
        }
        for child in children.into_iter().rev() {
            stack.push(Visit::Enter(child, above));
        }
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize) {
        let line = self.line(start);
        let text = &self.text[start..end];
        let node = self.node;
        self.tree.tokens.push(Token {
            kind,
            text,
            line,
            node,
        });
        self.at = self.at.max(end);
    }

    /// Grammars give no node to some punctuation (in Rust's macros): what stands between two
    /// tokens and is not blank is punctuation too.
    fn gap(&mut self, to: usize) {
        let mut at = self.at;
        while at < to {
            let rest = &self.text[at..to];
            let length =
                if rest.starts_with("::") || rest.starts_with("=>") || rest.starts_with("->") {
                    2
                } else {
                    rest.chars().next().map_or(1, char::len_utf8)
                };
            let continues = rest.starts_with("\\\n") || rest.starts_with("\\\r\n");
            if !continues && !rest.starts_with(char::is_whitespace) {
                self.push(Kind::Punctuation, at, at + length);
            }
            at += length;
        }
        self.at = self.at.max(to);
    }

    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }
}

pub(super) fn line_starts(text: &str) -> Vec<usize> {
    let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    std::iter::once(0)
        .chain(breaks.map(|(at, _)| at + 1))
        .collect()
}

fn word_kind(text: &str, kind: &str) -> Kind {
    match text.chars().next() {
        Some(c) if c.is_ascii_digit() => Kind::Number,
        Some(c)
            if c.is_alphanumeric()
                || matches!(c, '_' | '$' | '\\')
                || kind.ends_with("identifier") =>
        {
            Kind::Word
        }
        _ => Kind::Punctuation,
    }
}

pub(super) fn is_function(kind: &str) -> bool {
    matches!(
        kind,
        "function_item"
            | "function_definition"
            | "function_declaration"
            | "method_definition"
            | "method_declaration"
            | "constructor_declaration"
            | "generator_function_declaration"
    )
}

/// What stands in such a node is done when it is called, if it is.
pub(super) fn defers(kind: &str) -> bool {
    matches!(
        kind,
        "closure_expression"
            | "async_block"
            | "lambda"
            | "lambda_expression"
            | "arrow_function"
            | "function_expression"
            | "generator_function"
            | "func_literal"
    )
}

fn is_string(kind: &str) -> bool {
    matches!(
        kind,
        "string"
            | "template_string"
            | "string_literal"
            | "raw_string_literal"
            | "char_literal"
            | "interpreted_string_literal"
            | "rune_literal"
            | "character_literal"
    )
}

fn is_computed(kind: &str) -> bool {
    matches!(
        kind,
        "interpolation" | "template_substitution" | "string_interpolation" | "template_expression"
    )
}

/// What a literal stands for: without prefix and quotes, escapes resolved.
fn string_value(literal: &str) -> String {
    let Some(open) = literal.find(['"', '\'', '`']) else {
        return literal.to_owned();
    };
    let is_raw = literal[..open].contains(['r', 'R'])
        || literal[open..].starts_with('`') && !literal.contains("\\x");
    let quoted = &literal[open..];
    let quote = &quoted[..1];
    let triple = quote.repeat(3);
    let marks = if quoted.starts_with(&triple) && quoted.len() >= 6 {
        triple.as_str()
    } else {
        quote
    };
    let body = quoted
        .trim_end_matches('#')
        .strip_prefix(marks)
        .unwrap_or_default();
    let body = body.strip_suffix(marks).unwrap_or(body);
    if is_raw {
        body.to_owned()
    } else {
        unescaped(body)
    }
}

fn unescaped(body: &str) -> String {
    let mut value = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else { break };
        rest = &rest[c.len_utf8()..];
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            'n' => {
                value.push('\n');
                continue;
            }
            't' => {
                value.push('\t');
                continue;
            }
            'r' | 'b' | 'f' => {
                value.push(' ');
                continue;
            }
            '0'..='7' => {
                // Up to three octal digits; one alone ends a text.
                let n = rest
                    .bytes()
                    .take(2)
                    .take_while(|b| (b'0'..=b'7').contains(b))
                    .count();
                let digits = format!("{c}{}", &rest[..n]);
                rest = &rest[n..];
                let code = u32::from_str_radix(&digits, 8).unwrap_or(0);
                value.push(char::from_u32(code).filter(|c| *c != '\0').unwrap_or(' '));
                continue;
            }
            'N' if rest.starts_with('{') => {
                let named = rest.get(1..).and_then(|name| name.split_once('}'));
                value.push(named.map_or('\u{fffd}', |(name, _)| named_character(name)));
                // Without an end it is no name, and what follows is text.
                rest = named.map_or(rest, |(_, after)| after);
                continue;
            }
            '\n' => continue,
            other => {
                value.push(other);
                continue;
            }
        };
        let code: &str = if let Some(braced) = rest.strip_prefix('{') {
            let (code, after) = braced.split_once('}').unwrap_or(("", rest));
            rest = after;
            code
        } else {
            let n = rest
                .bytes()
                .take(digits)
                .take_while(u8::is_ascii_hexdigit)
                .count();
            let code = &rest[..n];
            rest = &rest[n..];
            code
        };
        let decoded = u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
        value.push(decoded.unwrap_or('\u{fffd}'));
    }
    value.push_str(rest);
    value
}

/// Of Unicode's names those of the letters and signs that names of programs are made of.
fn named_character(name: &str) -> char {
    let name = name.to_ascii_lowercase();
    let letter = |text: &str| text.chars().next().filter(|_| text.len() == 1);
    if let Some(c) = name.strip_prefix("latin small letter ").and_then(letter) {
        return c;
    }
    if let Some(c) = name.strip_prefix("latin capital letter ").and_then(letter) {
        return c.to_ascii_uppercase();
    }
    match name.as_str() {
        "low line" => '_',
        "full stop" => '.',
        "solidus" => '/',
        "colon" => ':',
        "hyphen-minus" => '-',
        _ => '\u{fffd}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(language: Language, text: &str) -> Vec<String> {
        let syntax = Syntax::parse(language, text);
        let tree = FlatTree::new(&syntax, text);
        tree.tokens.iter().map(|t| t.text.to_owned()).collect()
    }

    #[test]
    fn punctuation_inside_macros_is_seen() {
        let found = tokens(
            Language::Rust,
            "fn f() { p!(\"{}\", a :: b /* c */ . d()) }",
        );
        let expected = "fn f ( ) { p ! ( \"{}\" , a :: b . d ( ) ) }";
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn computed_parts_of_strings_are_tokens() {
        let found = tokens(Language::Python, "x = f\"a{eval(b)}c\"\n");
        assert!(found.contains(&"eval".to_owned()), "{found:?}");
        let found = tokens(Language::JavaScript, "x = `a${run(b)}c` + y;");
        assert!(found.contains(&"run".to_owned()), "{found:?}");
        assert!(found.contains(&"y".to_owned()), "{found:?}");
    }

    #[test]
    fn literals_are_read_as_data() {
        for (literal, value) in [
            (r#""a\x62\u{63}\n""#, "abc\n"),
            ("r#\"a\\b\"#", "a\\b"),
            ("'''x'''", "x"),
            ("`raw`", "raw"),
            ("b'ab'", "ab"),
            (r#""\163\x79\N{LATIN SMALL LETTER S}\0z""#, "sys z"),
            ("\"\"", ""),
            ("\"", ""),
            (r#""\N{é""#, "\u{fffd}{é"),
            (r#""\N{""#, "\u{fffd}{"),
            (r#""\N{é}é""#, "\u{fffd}é"),
            (r#""\u{é""#, "\u{fffd}{é"),
            (r#""\u{é}é""#, "\u{fffd}é"),
            (r#""\x1é\u12é\7é""#, "\u{1}é\u{12}é\u{7}é"),
        ] {
            assert_eq!(string_value(literal), value, "{literal}");
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let n = 50_000;
        let text = format!("x = {}1{}\n", "(".repeat(n), ")".repeat(n));
        assert!(tokens(Language::Python, &text).len() >= 2 * n);
    }
}
