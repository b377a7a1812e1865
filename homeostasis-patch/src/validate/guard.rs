//! Guards: conditions, what follows from them, and what they stand before.

use super::condition::Formula;
use super::dead_code::{header, is_condition_holder};
use super::identity::{is_authorization, names_identity};
use super::token::{FlatTree, Kind, Token, is_function, joined};
use super::words::name_words;
use crate::Language;

/// What is done where a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The function is left with an error.
    Error,
    /// The function, or the turn of a loop, is left.
    Leave,
    /// Anything else.
    Body,
    /// The condition is the answer of a function that permits something, or a value named so.
    Answer,
}

#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// The name of the function around it.
    pub(super) function: String,
    /// Index of that function's node, to tell functions of one name apart.
    pub(super) function_idx: Option<usize>,
    /// What lets the program go on to what is guarded.
    pub(super) permits: Formula,
    pub(super) consequence: Consequence,
    /// The words of the condition, of all its names.
    pub(super) words: Vec<String>,
    /// The first names of its paths.
    pub(super) heads: Vec<String>,
    pub(super) condition: String,
    /// What is done if it holds, and if not.
    pub(super) body: String,
    pub(super) otherwise: String,
    /// It stands before something that cannot be taken back.
    pub(super) before_effect: bool,
    /// What it does is itself an effect, or a success.
    pub(super) succeeds: bool,
    /// It leaves with a value that is not empty and says no refusal.
    pub(super) yields: bool,
    /// The index of its first token.
    pub(super) at: usize,
    pub(super) line: usize,
}

impl Guard {
    /// It is about who may do something.
    pub(super) fn is_identity(&self) -> bool {
        self.consequence == Consequence::Answer
            || self.words.iter().any(|word| names_identity(word))
    }

    /// It is about how much may be done.
    pub(super) fn is_limit(&self) -> bool {
        self.words.iter().any(|word| {
            matches!(
                word.as_str(),
                "limit"
                    | "limits"
                    | "max"
                    | "quota"
                    | "balance"
                    | "attempts"
                    | "amount"
                    | "funds"
                    | "allowance"
            )
        })
    }
}

/// A call of something that cannot be taken back, by its last name.
pub(super) fn has_effect(name: &str) -> bool {
    name_words(name).first().is_some_and(|verb| {
        matches!(
            verb.as_str(),
            "delete"
                | "destroy"
                | "purge"
                | "wipe"
                | "send"
                | "ship"
                | "pay"
                | "charge"
                | "refund"
                | "transfer"
                | "withdraw"
                | "deposit"
                | "publish"
                | "deploy"
                | "execute"
                | "exec"
                | "grant"
                | "revoke"
                | "commit"
                | "save"
                | "unlink"
                | "truncate"
                | "overwrite"
                | "approve"
                | "cancel"
                | "kill"
                | "shutdown"
                | "restart"
        )
    })
}

/// The names in a function that are called with an effect, and where.
pub(super) fn effects(tree: &FlatTree<'_>, range: (usize, usize)) -> Vec<(usize, String)> {
    let tokens = &tree.tokens[range.0..range.1];
    let calls = tokens
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0].is_word() && pair[1].is("(") && has_effect(pair[0].text));
    calls
        .filter(|(idx, _)| {
            // A definition is not a call.
            let before = idx.checked_sub(1).map_or("", |at| tokens[at].text);
            !matches!(before, "def" | "fn" | "func" | "function")
        })
        .map(|(idx, pair)| (range.0 + idx, pair[0].text.to_owned()))
        .collect()
}

/// All guards, in order.
pub(super) fn guards(tree: &FlatTree<'_>) -> Vec<Guard> {
    let mut found = Vec::new();
    for (idx, node) in tree.nodes.iter().enumerate() {
        let parts = if is_condition_holder(node.kind) {
            parts(tree, idx)
        } else {
            answer(tree, idx)
        };
        if let Some(parts) = parts
            && !parts.condition.is_empty()
        {
            found.push(guard(tree, idx, &parts));
        }
    }
    found
}

struct Parts<'a, 't> {
    condition: &'a [Token<'t>],
    body: &'a [Token<'t>],
    otherwise: &'a [Token<'t>],
    is_answer: bool,
}

/// Of what is long only the start is read, so that deep nesting costs no more than its length.
const MAX_PART: usize = 300;

fn parts<'a, 't>(tree: &'a FlatTree<'t>, idx: usize) -> Option<Parts<'a, 't>> {
    let node = &tree.nodes[idx];
    let (start, end) = node.tokens;
    let end = end.min(start + 4000);
    let all = &tree.tokens[start..end];
    let at = |mark: &str| top_level(all, mark);
    if node.kind == "conditional_expression" {
        let (sign, other) = (at("if")?, at("else")?);
        return (sign < other).then(|| Parts {
            condition: &all[sign + 1..other],
            body: &all[..sign],
            otherwise: &all[other + 1..],
            is_answer: false,
        });
    }
    if node.kind == "ternary_expression" {
        let (sign, other) = (at("?")?, at(":")?);
        return (sign < other).then(|| Parts {
            condition: &all[..sign],
            body: &all[sign + 1..other],
            otherwise: &all[other + 1..],
            is_answer: false,
        });
    }
    let is_braced = matches!(
        tree.language,
        Language::Rust | Language::Go | Language::Python
    );
    let (condition, body_at) = if is_braced {
        let head = header(tree, idx);
        let condition = head.get(1..).unwrap_or_default();
        let condition = condition.strip_suffix_token(":");
        let last = condition.rsplit(|t| t.is(";")).next().unwrap_or_default();
        (last, start + head.len())
    } else {
        let open = start + 1;
        if !tree.tokens.get(open)?.is("(") {
            return None;
        }
        let close = tree.closing(open).min(end.saturating_sub(1)).max(open);
        (&tree.tokens[open + 1..close.max(open + 1)], close + 1)
    };
    let rest = tree.tokens.get(body_at..end).unwrap_or_default();
    let other = top_level(rest, "else")
        .or_else(|| top_level(rest, "elif"))
        .unwrap_or(rest.len());
    Some(Parts {
        condition,
        body: &rest[..other],
        otherwise: &rest[other..],
        is_answer: false,
    })
}

/// `return …` in a function that permits something, `allowed = …`
fn answer<'a, 't>(tree: &'a FlatTree<'t>, idx: usize) -> Option<Parts<'a, 't>> {
    let node = &tree.nodes[idx];
    let tokens = tree.tokens_of(node);
    let tokens = &tokens[..tokens.len().min(MAX_PART)];
    let condition = match node.kind {
        "return_statement" | "return_expression" => {
            let function = tree.function_of(node.tokens.0)?;
            if !is_permission(&function_name(tree, function)) {
                return None;
            }
            tokens.get(1..)?
        }
        "assignment"
        | "let_declaration"
        | "variable_declarator"
        | "short_var_declaration"
        | "assignment_expression"
        | "assignment_statement" => {
            let sign = tokens.iter().position(|t| t.is("=") || t.is(":="))?;
            let target = tokens[..sign].iter().rev().find(|t| t.is_word())?;
            let words = name_words(target.text);
            if !words.iter().any(|word| names_identity(word)) {
                return None;
            }
            &tokens[sign + 1..]
        }
        _ => return None,
    };
    let condition = condition.strip_suffix_token(";");
    Some(Parts {
        condition,
        body: &tokens[..tokens.len() - condition.len().min(tokens.len())],
        otherwise: &[],
        is_answer: true,
    })
}

/// A function whose answer permits something.
pub(super) fn is_permission(name: &str) -> bool {
    is_authorization(name) || name_words(name).iter().any(|word| names_identity(word))
}

trait Tokens<'t> {
    fn strip_suffix_token(&self, text: &str) -> &[Token<'t>];
}

impl<'t> Tokens<'t> for [Token<'t>] {
    fn strip_suffix_token(&self, text: &str) -> &[Token<'t>] {
        match self.split_last() {
            Some((last, rest)) if last.is(text) => rest,
            _ => self,
        }
    }
}

/// Where a word stands outside of all brackets.
fn top_level(tokens: &[Token<'_>], text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (idx, token) in tokens.iter().enumerate() {
        if token.kind == Kind::Punctuation {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth == 0 && token.is(text) {
            return Some(idx);
        }
    }
    None
}

fn guard(tree: &FlatTree<'_>, idx: usize, parts: &Parts<'_, '_>) -> Guard {
    let node = &tree.nodes[idx];
    let function = tree.function_of(node.tokens.0);
    let consequence = if parts.is_answer {
        Consequence::Answer
    } else {
        consequence(tree.language, parts.body)
    };
    let formula = Formula::of(&parts.condition[..parts.condition.len().min(MAX_PART + 1)]);
    let leaves = matches!(consequence, Consequence::Error | Consequence::Leave);
    let grants = consequence == Consequence::Leave && answers_call(parts.body) && asks(&formula);
    let permits = if leaves && !grants {
        formula.negated()
    } else {
        formula
    };
    let function_end = function.map_or(node.tokens.1, |f| tree.nodes[f].tokens.1);
    let short = |tokens: &[Token<'_>]| joined(&tokens[..tokens.len().min(MAX_PART)]);
    let in_body = has_effects(parts.body);
    let before_effect = match consequence {
        Consequence::Error | Consequence::Leave => {
            let end = function_end.min(node.tokens.1 + 2000).max(node.tokens.1);
            has_effects(&tree.tokens[node.tokens.1..end])
        }
        Consequence::Body => in_body,
        Consequence::Answer => false,
    };
    let condition = parts.condition;
    let mut words = Vec::new();
    let mut heads = Vec::new();
    for (at, token) in condition.iter().enumerate().take(MAX_PART) {
        if token.is_word() {
            words.extend(name_words(token.text));
            let is_member = at > 0 && (condition[at - 1].is(".") || condition[at - 1].is("?."));
            if !is_member {
                heads.push(token.text.to_owned());
            }
        }
    }
    Guard {
        function: function.map(|f| function_name(tree, f)).unwrap_or_default(),
        function_idx: function,
        permits,
        consequence,
        words,
        heads,
        condition: short(condition),
        body: short(parts.body),
        otherwise: short(parts.otherwise),
        before_effect,
        yields: yields_value(parts.body),
        succeeds: in_body || answers_success(parts.body),
        at: node.tokens.0,
        line: node.line,
    }
}

fn has_effects(tokens: &[Token<'_>]) -> bool {
    tokens
        .windows(2)
        .take(2000)
        .any(|pair| pair[0].is_word() && pair[1].is("(") && has_effect(pair[0].text))
}

/// `return doc.body`, not `return None` or `return redirect(…)`
fn yields_value(body: &[Token<'_>]) -> bool {
    let Some(at) = body.iter().take(MAX_PART).position(|t| t.is("return")) else {
        return false;
    };
    let mut words = body[at + 1..]
        .iter()
        .take(MAX_PART)
        .take_while(|t| !t.is(";") && !t.is("}"))
        .filter(|t| t.is_word())
        .peekable();
    words.peek().is_some()
        && words.all(|t| {
            let is_empty = matches!(
                t.text,
                "None"
                    | "null"
                    | "nil"
                    | "undefined"
                    | "False"
                    | "false"
                    | "Err"
                    | "Default"
                    | "default"
                    | "Vec"
                    | "String"
            );
            let refuses = name_words(t.text).iter().any(|word| {
                matches!(
                    word.as_str(),
                    "forbidden"
                        | "denied"
                        | "unauthorized"
                        | "redirect"
                        | "abort"
                        | "error"
                        | "err"
                        | "empty"
                        | "response"
                )
            });
            !is_empty && !refuses
        })
}

/// It returns what something gives.
fn answers_call(body: &[Token<'_>]) -> bool {
    let at = body.iter().take(MAX_PART).position(|t| t.is("return"));
    at.is_some_and(|at| {
        let value: Vec<_> = body[at..].iter().take(MAX_PART).collect();
        answers_success(body)
            || value.iter().any(|t| t.is("("))
                && !value.iter().any(|t| {
                    let words = name_words(t.text);
                    words.iter().any(|w| {
                        matches!(
                            w.as_str(),
                            "forbidden"
                                | "denied"
                                | "unauthorized"
                                | "redirect"
                                | "abort"
                                | "error"
                                | "401"
                                | "403"
                        )
                    })
                })
    })
}

/// The condition asks for a permission, not for its absence.
fn asks(formula: &Formula) -> bool {
    let atoms = formula.atoms();
    let about = |text: &str| {
        let words: Vec<String> = text.split(' ').flat_map(name_words).collect();
        let identity = words.iter().any(|word| names_identity(word));
        let refuses = words.iter().any(|word| {
            matches!(
                word.as_str(),
                "forbidden" | "denied" | "banned" | "revoked" | "expired" | "unauthorized"
            )
        });
        identity && !refuses
    };
    let mut asked = atoms
        .iter()
        .filter(|atom| about(&atom.left) || about(&atom.right))
        .peekable();
    asked.peek().is_some()
        && asked.all(|atom| {
            !matches!(
                atom.relation,
                super::condition::Relation::Fails | super::condition::Relation::Unequal
            )
        })
}

/// `return True`, `return Ok(())`, `return next()`
fn answers_success(body: &[Token<'_>]) -> bool {
    let Some(at) = body.iter().take(MAX_PART).position(|t| t.is("return")) else {
        return false;
    };
    let value: Vec<_> = body[at + 1..]
        .iter()
        .take(MAX_PART)
        .take_while(|t| !t.is(";") && !t.is("}"))
        .collect();
    match value.first() {
        Some(first) => {
            matches!(first.text, "True" | "true")
                || first.text == "Ok" && !value.iter().any(|t| t.is("false") || t.is("None"))
                || first.text == "next"
        }
        None => false,
    }
}

fn consequence(language: Language, body: &[Token<'_>]) -> Consequence {
    let body = &body[..body.len().min(MAX_PART)];
    // The way out stands at the end, behind whatever else is done.
    let way = body.iter().rposition(|t| {
        t.is_word()
            && matches!(
                t.text,
                "return" | "raise" | "throw" | "continue" | "break" | "panic" | "bail" | "abort"
            )
    });
    let Some(at) = way else {
        return Consequence::Body;
    };
    let rest = &body[at..];
    let ends_there = {
        let mut depth = 0_i32;
        rest.iter().all(|t| {
            if t.kind == Kind::Punctuation {
                match t.text {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ => {}
                }
            }
            // Nested further than the body itself: another condition decides.
            depth >= -1
        })
    };
    if !ends_there {
        return Consequence::Body;
    }
    let is_error = match rest[0].text {
        "raise" | "throw" | "panic" | "bail" | "abort" => true,
        "return" => match language {
            Language::Rust => rest.get(1).is_some_and(|t| t.is("Err")),
            Language::Go => rest
                .iter()
                .any(|t| t.text.starts_with("err") || t.text.starts_with("Err") || t.is("Errorf")),
            _ => false,
        },
        _ => false,
    };
    if is_error {
        Consequence::Error
    } else {
        Consequence::Leave
    }
}

/// The name of a function's node.
pub(super) fn function_name(tree: &FlatTree<'_>, idx: usize) -> String {
    let node = &tree.nodes[idx];
    if !is_function(node.kind) {
        return String::new();
    }
    let tokens = tree.tokens_of(node);
    let called = tokens.windows(2).take(60).find(|pair| {
        pair[0].is_word()
            && (pair[1].is("(") || pair[1].is("<"))
            && !matches!(pair[0].text, "func" | "function" | "pub")
    });
    called.map_or_else(String::new, |pair| pair[0].text.to_owned())
}
