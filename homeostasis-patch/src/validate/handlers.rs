//! Handlers of errors that do nothing, or that catch more than they know.

use super::RefusalReason::{BroadenedCatch, SwallowedError};
use super::fact::{Fact, Sense};
use super::names::Names;
use super::references::{Reference, is_script};
use super::token::{FlatTree, Kind, Token, joined};
use super::validation::Flag;
use crate::Language;

pub(super) fn facts(tree: &FlatTree<'_>, names: &Names, references: &[Reference]) -> Vec<Fact> {
    let mut finder = Finder {
        tree,
        names,
        found: Vec::new(),
    };
    for idx in 0..tree.nodes.len() {
        match tree.language {
            Language::Python => finder.python(idx),
            Language::Rust => finder.rust(idx),
            Language::Go => finder.go(idx),
            Language::Java => finder.java(idx),
            Language::JavaScript | Language::TypeScript | Language::Tsx => finder.javascript(idx),
        }
        finder.finally(idx);
    }
    for reference in references {
        finder.reference(reference);
    }
    if tree.language == Language::Rust {
        // Errors are passed on by `?`: fewer of them is worth a look.
        for token in tree.tokens.iter().filter(|t| t.is("?")) {
            let fact = Fact::new(Sense::Kept(Flag::ErrorAnswered), "?", token.line, "?");
            finder.found.push(fact);
        }
    }
    finder.found
}

struct Finder<'a, 't> {
    tree: &'a FlatTree<'t>,
    names: &'a Names,
    found: Vec<Fact>,
}

impl<'a, 't> Finder<'a, 't> {
    fn swallowed(&mut self, key: &str, line: usize, text: &str) {
        self.found
            .push(Fact::new(Sense::Forbidden(SwallowedError), key, line, text));
    }

    fn answered(&mut self, line: usize, text: &str) {
        self.found.push(Fact::new(
            Sense::Risky(Flag::ErrorAnswered),
            "handler",
            line,
            text,
        ));
    }

    fn tokens(&self, idx: usize) -> &'a [Token<'t>] {
        self.tree.tokens_of(&self.tree.nodes[idx])
    }

    /// The tokens between the braces of the block that is the last part of a node.
    fn body(&self, idx: usize) -> Option<&'a [Token<'t>]> {
        let block = self.tree.children(idx).filter(|child| {
            matches!(
                self.tree.nodes[*child].kind,
                "block" | "statement_block" | "constructor_body"
            )
        });
        // Handlers may be nested deeply: what a long one does at its end is not seen.
        let tokens = block.last().map(|block| self.tokens(block))?;
        Some(&tokens[..tokens.len().min(4000)])
    }

    fn python(&mut self, idx: usize) {
        let node = &self.tree.nodes[idx];
        if !matches!(node.kind, "except_clause" | "except_group_clause") {
            return;
        }
        let tokens = self.tokens(idx);
        let body = self.body(idx).unwrap_or_default();
        let head = &tokens[..tokens.len().min(4000)];
        let end = head.iter().position(|t| t.is(":")).unwrap_or(head.len());
        let head = &head[..end];
        let types = head.split(|t| t.is("as")).next().unwrap_or_default();
        let caught: Vec<String> = types
            .split(|t| t.is(",") || t.is("(") || t.is(")"))
            .map(|part| {
                part.iter()
                    .filter(|t| !matches!(t.text, "except" | "*" | ":"))
                    .map(|t| t.text)
                    .collect::<String>()
            })
            .filter(|name| !name.is_empty())
            .collect();
        let text = joined(tokens);
        let raises = body.iter().any(|t| t.is("raise"));
        for name in self.broad(&caught) {
            if !raises {
                self.found.push(Fact::new(
                    Sense::Forbidden(BroadenedCatch),
                    name,
                    node.line,
                    &text,
                ));
            }
        }
        let is_idle = |t: &Token<'_>| {
            matches!(t.text, "pass" | "..." | "None" | ";" | "_" | "=")
                || t.value().is_some()
                || t.kind == Kind::Number
        };
        if !body.is_empty() && body.iter().all(is_idle) {
            self.swallowed("except", node.line, &text);
        } else if !raises {
            self.answered(node.line, &text);
        }
    }

    /// The types that catch everything; an empty list catches everything too.
    fn broad(&self, caught: &[String]) -> Vec<String> {
        if caught.is_empty() && self.tree.language == Language::Python {
            return vec!["except:".to_owned()];
        }
        let broad: &[&str] = if self.tree.language == Language::Python {
            &["Exception", "BaseException", "StandardError", "object"]
        } else {
            &["Exception", "Throwable", "RuntimeException", "Error"]
        };
        let last = |name: &String| {
            let full = self.names.resolved(name);
            full.rsplit('.').next().unwrap_or_default().to_owned()
        };
        caught
            .iter()
            .map(last)
            .filter(|name| broad.contains(&name.as_str()))
            .collect()
    }

    fn java(&mut self, idx: usize) {
        let node = &self.tree.nodes[idx];
        if node.kind != "catch_clause" {
            return;
        }
        let text = joined(self.tokens(idx));
        let body = self.body(idx).unwrap_or_default();
        let throws = body.iter().any(|t| t.is("throw"));
        let types = self
            .tree
            .child_of_kind(idx, &["catch_formal_parameter"])
            .map(|parameter| {
                let tokens = self.tokens(parameter);
                let tokens = &tokens[..tokens.len().saturating_sub(1)];
                tokens
                    .split(|t| t.is("|"))
                    .map(|part| {
                        part.iter()
                            .filter(|t| !t.is("final"))
                            .map(|t| t.text)
                            .collect()
                    })
                    .collect::<Vec<String>>()
            });
        for name in self.broad(&types.unwrap_or_default()) {
            if !throws {
                self.found.push(Fact::new(
                    Sense::Forbidden(BroadenedCatch),
                    name,
                    node.line,
                    &text,
                ));
            }
        }
        self.braces(node.line, body, &text, throws);
    }

    fn javascript(&mut self, idx: usize) {
        let node = &self.tree.nodes[idx];
        if node.kind == "catch_clause" {
            let body = self.body(idx).unwrap_or_default();
            let throws = body.iter().any(|t| t.is("throw"));
            self.braces(node.line, body, &joined(self.tokens(idx)), throws);
        }
    }

    fn braces(&mut self, line: usize, body: &[Token<'_>], text: &str, throws: bool) {
        if body.iter().all(|t| matches!(t.text, "{" | "}" | ";")) {
            self.swallowed("catch", line, text);
        } else if !throws {
            self.answered(line, text);
        }
    }

    /// Leaving a `finally` drops the error on its way.
    fn finally(&mut self, idx: usize) {
        let node = &self.tree.nodes[idx];
        if node.kind != "finally_clause" {
            return;
        }
        let leaves = |kind: &str| {
            matches!(
                kind,
                "return_statement" | "break_statement" | "continue_statement"
            )
        };
        for below in self
            .tree
            .below(idx)
            .iter()
            .take(4000)
            .filter(|n| leaves(n.kind))
        {
            self.swallowed("finally", below.line, &joined(self.tree.tokens_of(below)));
        }
    }

    fn rust(&mut self, idx: usize) {
        let node = &self.tree.nodes[idx];
        let tokens = self.tokens(idx);
        let text = || joined(tokens);
        let calls = |part: &[Token<'_>]| part.iter().any(|t| t.is("(") || t.is("!"));
        let starts = |words: &[&str]| {
            tokens.len() > words.len() && words.iter().zip(tokens).all(|(w, t)| t.is(w))
        };
        let ends = |words: &[&str]| {
            tokens.len() > words.len()
                && words
                    .iter()
                    .rev()
                    .zip(tokens.iter().rev())
                    .all(|(w, t)| t.is(w))
        };
        match node.kind {
            "let_declaration" | "assignment_expression" if ends(&["?", ";"]) || ends(&["?"]) => {}
            "let_declaration"
                if (starts(&["let", "_", "="]) || starts(&["let", "_", ":"])) && calls(tokens) =>
            {
                self.swallowed("let _", node.line, &text());
            }
            "assignment_expression" if starts(&["_", "="]) && calls(tokens) => {
                self.swallowed("let _", node.line, &text());
            }
            "expression_statement"
                if ends(&[".", "ok", "(", ")", ";"])
                    || ends(&[".", "unwrap_or", "(", "(", ")", ")", ";"])
                    || ends(&[".", "unwrap_or_default", "(", ")", ";"])
                    || ends(&[".", "is_ok", "(", ")", ";"])
                    || ends(&[".", "is_err", "(", ")", ";"])
                    || ends(&[".", "err", "(", ")", ";"]) =>
            {
                self.swallowed(".ok();", node.line, &text());
            }
            "match_arm" if tokens.first().is_some_and(|t| t.is("Err")) => {
                let arrow = tokens
                    .iter()
                    .position(|t| t.is("=>"))
                    .unwrap_or(tokens.len());
                let value = tokens[arrow..]
                    .iter()
                    .skip(1)
                    .filter(|t| !t.is(",") && !t.is(";"));
                if value
                    .clone()
                    .all(|t| matches!(t.text, "{" | "}" | "(" | ")"))
                {
                    self.swallowed("Err arm", node.line, &text());
                } else if !value.into_iter().any(|t| t.is("Err") || t.is("?")) {
                    self.answered(node.line, &text());
                }
            }
            "if_expression" if starts(&["if", "let", "Err"]) => {
                let body = self.body(idx).unwrap_or_default();
                if body.len() == 2 {
                    self.swallowed("if let Err", node.line, &text());
                }
            }
            _ => {}
        }
    }

    fn go(&mut self, idx: usize) {
        let node = &self.tree.nodes[idx];
        let tokens = self.tokens(idx);
        match node.kind {
            "assignment_statement" | "short_var_declaration" => {
                let Some(sign) = tokens.iter().position(|t| t.is("=") || t.is(":=")) else {
                    return;
                };
                let is_call = tokens.last().is_some_and(|t| t.is(")"))
                    && tokens[sign + 1..].first().is_some_and(Token::is_word);
                let drops = sign > 0 && tokens[sign - 1].is("_") && is_call;
                let names_error =
                    sign == 1 && tokens[sign + 1..].iter().all(|t| is_error_name(t.text));
                if drops || tokens[0].is("_") && names_error && tokens.len() > 2 {
                    self.swallowed("_", node.line, &joined(tokens));
                }
            }
            "if_statement" => {
                let Some(block) = self.tree.child_of_kind(idx, &["block"]) else {
                    return;
                };
                let body = self.tokens(block);
                let (start, end) = (node.tokens.0, self.tree.nodes[block].tokens.0);
                let head = &self.tree.tokens[start..end];
                let on_error = head
                    .windows(3)
                    .any(|w| is_error_name(w[0].text) && w[1].is("!=") && w[2].is("nil"))
                    || head.iter().any(|t| t.is("recover"));
                if !on_error {
                    return;
                }
                let inside: Vec<_> = body
                    .iter()
                    .filter(|t| !t.is("{") && !t.is("}") && !t.is(";"))
                    .map(|t| t.text)
                    .collect();
                match inside.as_slice() {
                    [] => self.swallowed("if err", node.line, &joined(tokens)),
                    ["return", "nil" | "true"] => {
                        self.swallowed("return nil", node.line, &joined(tokens));
                    }
                    words
                        if words
                            .iter()
                            .any(|w| is_error_name(w) || *w == "panic" || *w == "Errorf") => {}
                    _ => self.answered(node.line, &joined(tokens)),
                }
            }
            "expression_statement" | "defer_statement"
                if tokens.len() < 5 && tokens.iter().any(|t| t.is("recover")) =>
            {
                self.swallowed("recover", node.line, &joined(tokens));
            }
            _ => {}
        }
    }

    fn reference(&mut self, reference: &Reference) {
        let tree = self.tree;
        let end = reference.tokens.1;
        if !tree.tokens.get(end).is_some_and(|t| t.is("(")) {
            return;
        }
        let path = self.names.resolved(&reference.path);
        let last = path.rsplit('.').next().unwrap_or_default();
        let argument = tree.first_argument(end);
        let text = format!("{}({}", reference.path, joined(argument));
        if tree.language == Language::Python && path == "contextlib.suppress" {
            let all = &tree.tokens[end + 1..tree.closing(end)];
            let caught: Vec<String> = all
                .split(|t| t.is(","))
                .map(|part| part.iter().map(|t| t.text).collect())
                .collect();
            for name in self.broad(&caught) {
                self.found.push(Fact::new(
                    Sense::Forbidden(BroadenedCatch),
                    name,
                    reference.line,
                    &text,
                ));
            }
            self.swallowed("suppress", reference.line, &text);
        }
        if is_script(tree.language) {
            let tail: Vec<_> = argument.iter().map(|t| t.text).collect();
            let is_empty = tail.ends_with(&["{", "}"])
                || tail.ends_with(&["=>", "null"])
                || tail.ends_with(&["=>", "undefined"])
                || tail.ends_with(&["noop"]);
            if last == "catch" && is_empty {
                self.swallowed(".catch", reference.line, &text);
            }
            let is_global = argument
                .first()
                .and_then(Token::value)
                .is_some_and(|name| matches!(name, "uncaughtException" | "unhandledRejection"));
            if matches!(last, "on" | "once" | "addEventListener") && is_global {
                self.swallowed("uncaughtException", reference.line, &text);
            }
        }
        let drops_call = path == "drop" || path == "std.mem.drop" || path == "mem.drop";
        if tree.language == Language::Rust
            && drops_call
            && argument.last().is_some_and(|t| t.is(")"))
            && argument.len() > 2
        {
            self.swallowed("drop(call)", reference.line, &text);
        }
    }
}

fn is_error_name(name: &str) -> bool {
    name == "err"
        || name.starts_with("err")
            && name[3..].starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit())
        || name.ends_with("Err")
}
