//! Guards: conditions, what follows from them, and what they stand before.

use std::collections::BTreeSet;

use super::branch::{Branches, MAX_PART, Parts, words_of};
use super::condition::{Atom, Formula, Relation};
use super::effect::Effects;
use super::identity::{is_authorization, names_identity};
use super::token::{FlatTree, Token, is_function, joined};
use super::way_out::{
    answers_call, answers_success, forbids, speaks_of_refusal, way_out, yields_value,
};
use super::words::name_words;

/// So many definitions within each other are named, and so much of the head of one.
const MAX_PATH: usize = 8;
const MAX_HEAD: usize = 24;

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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing of what is done, and any of them may go together"
)]
pub(super) struct Guard {
    /// The name of the function around it.
    pub(super) function: String,
    /// The same with the names of what the function stands in.
    pub(super) path: String,
    /// Index of that function's node, to tell functions of one name apart.
    pub(super) function_idx: Option<usize>,
    /// What lets the program go on to what is guarded, with the conditions around it.
    pub(super) permits: Formula,
    /// The same of its own condition alone.
    pub(super) own: Formula,
    /// The number of conditions around it.
    pub(super) n_around: usize,
    /// The two sides of what only says that an earlier branch was not taken.
    pub(super) alternatives: Vec<(String, String)>,
    pub(super) consequence: Consequence,
    /// The words of the condition, of all its names.
    pub(super) words: Vec<String>,
    /// The same once each, with those of the conditions around it.
    pub(super) all_words: BTreeSet<String>,
    /// The first names of values, not of calls, with those around it.
    pub(super) values: BTreeSet<String>,
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
    /// What is done if it holds speaks of a refusal.
    pub(super) denies: bool,
    /// It says that something is not permitted.
    pub(super) forbids: bool,
    /// It leaves with what is permitted.
    pub(super) grants: bool,
    /// The index of its first token, and before which one its body ends.
    pub(super) at: usize,
    pub(super) body_end: usize,
    pub(super) line: usize,
}

impl Guard {
    /// It is about who may do something.
    pub(super) fn is_identity(&self) -> bool {
        self.consequence == Consequence::Answer
            || self.forbids
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

    /// It is what its function is for, or its error says that something is not permitted or not
    /// valid.
    pub(super) fn is_validation(&self) -> bool {
        is_check(&self.function)
            || self.body.split(' ').flat_map(name_words).any(|word| {
                matches!(
                    word.as_str(),
                    "permission"
                        | "security"
                        | "forbidden"
                        | "denied"
                        | "unauthorized"
                        | "unauthenticated"
                        | "authentication"
                        | "authorization"
                        | "validation"
                        | "csrf"
                        | "signature"
                        | "tampered"
                )
            })
    }
}

/// All guards, in order.
pub(super) fn guards(
    tree: &FlatTree<'_>,
    branches: &Branches,
    effects: &Effects<'_>,
) -> Vec<Guard> {
    let mut found = Vec::new();
    for idx in 0..tree.nodes.len() {
        let (parts, is_answer) = match branches.get(idx) {
            Some(branch) => (Some(branch.parts), false),
            None => (answer(tree, idx), true),
        };
        if let Some(parts) = parts
            && parts.condition.0 < parts.condition.1
        {
            found.push(guard((tree, branches, effects), idx, &parts, is_answer));
        }
    }
    found
}

/// `return …` in a function that permits something, `allowed = …`
fn answer(tree: &FlatTree<'_>, idx: usize) -> Option<Parts> {
    let node = &tree.nodes[idx];
    let (start, end) = node.tokens;
    let end = end.min(start + MAX_PART);
    let tokens = &tree.tokens[start..end];
    let at = match node.kind {
        "return_statement" | "return_expression" => {
            let function = tree.function_of(start)?;
            if !is_permission(&function_name(tree, function)) {
                return None;
            }
            start + 1
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
            start + sign + 1
        }
        _ => return None,
    };
    let last = end - usize::from(tokens.last().is_some_and(|t| t.is(";")));
    let at = at.min(end);
    Some(Parts {
        condition: (at, last.max(at)),
        body: (start, at),
        otherwise: (end, end),
    })
}

/// The name of a function says that it checks something for its caller.
pub(super) fn is_check(name: &str) -> bool {
    name_words(name).iter().any(|word| {
        matches!(
            word.as_str(),
            "validate"
                | "check"
                | "verify"
                | "ensure"
                | "assert"
                | "require"
                | "enforce"
                | "valid"
                | "sanitize"
        )
    })
}

/// A function whose answer permits something.
pub(super) fn is_permission(name: &str) -> bool {
    is_authorization(name) || name_words(name).iter().any(|word| names_identity(word))
}

fn guard(
    (tree, branches, effects): (&FlatTree<'_>, &Branches, &Effects<'_>),
    idx: usize,
    parts: &Parts,
    is_answer: bool,
) -> Guard {
    let node = &tree.nodes[idx];
    let function = tree.function_of(node.tokens.0);
    let slice = |(start, end): (usize, usize)| &tree.tokens[start..end.max(start)];
    let (condition, body) = (slice(parts.condition), slice(parts.body));
    let consequence = if is_answer {
        Consequence::Answer
    } else {
        way_out(tree, idx, parts.body, 0)
    };
    let formula = match branches.get(idx) {
        Some(branch) => branch.formula.clone(),
        None => Formula::of_value(
            &condition[..condition.len().min(MAX_PART + 1)],
            tree.language,
        ),
    };
    let leaves = matches!(consequence, Consequence::Error | Consequence::Leave);
    let grants = consequence == Consequence::Leave && answers_call(body) && asks(&formula);
    let refuses = leaves && !grants;
    // Only what leaves is read with what surrounds it: of anything else the outer guard tells.
    let around = if refuses {
        branches.around(tree, idx, ends_turn(body))
    } else {
        super::branch::Surroundings::default()
    };
    let n_around = around.conditions.len();
    let all = Formula::all(around.conditions.into_iter().chain([formula.clone()]));
    let (permits, own) = if refuses {
        (all.negated(), formula.negated())
    } else {
        (all, formula)
    };
    let function_end = function.map_or(node.tokens.1, |f| tree.nodes[f].tokens.1);
    let short = |range: (usize, usize)| joined(&slice(range)[..slice(range).len().min(MAX_PART)]);
    let in_body = !effects.within(parts.body).is_empty();
    let before_effect = match consequence {
        Consequence::Error | Consequence::Leave => {
            let end = function_end.min(node.tokens.1 + 2000).max(node.tokens.1);
            !effects.within((node.tokens.1, end)).is_empty()
        }
        Consequence::Body => in_body,
        Consequence::Answer => false,
    };
    let mut values = BTreeSet::new();
    for (at, token) in condition.iter().enumerate().take(MAX_PART) {
        let is_member = at > 0 && (condition[at - 1].is(".") || condition[at - 1].is("?."));
        let is_call = condition.get(at + 1).is_some_and(|t| t.is("("));
        if token.is_word() && !is_member && !is_call {
            values.insert(token.text.to_owned());
        }
    }
    let words = words_of(condition);
    let around_words = around.words.iter().flat_map(|word| name_words(word));
    let all_words = words.iter().cloned().chain(around_words).collect();
    values.extend(around.words);
    let sides = |formula: &Formula| {
        formula
            .atoms()
            .into_iter()
            .map(Atom::sides)
            .collect::<Vec<_>>()
    };
    Guard {
        function: function.map(|f| function_name(tree, f)).unwrap_or_default(),
        path: function.map(|f| path_of(tree, f)).unwrap_or_default(),
        function_idx: function,
        permits,
        own,
        n_around,
        alternatives: around.alternatives.iter().flat_map(sides).collect(),
        consequence,
        words,
        all_words,
        values,
        condition: short(parts.condition),
        body: short(parts.body),
        otherwise: short(parts.otherwise),
        before_effect,
        yields: yields_value(body),
        denies: speaks_of_refusal(body),
        forbids: leaves && forbids(body),
        grants,
        succeeds: in_body || answers_success(body),
        at: node.tokens.0,
        body_end: parts.body.1.max(node.tokens.0),
        line: node.line,
    }
}

/// The body leaves a loop, or its turn, and never the function.
fn ends_turn(body: &[Token<'_>]) -> bool {
    let has = |words: &[&str]| {
        let mut tokens = body.iter().take(MAX_PART);
        tokens.any(|t| t.is_word() && words.contains(&t.text))
    };
    has(&["continue", "break"]) && !has(&["return", "raise", "throw", "panic", "bail", "abort"])
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
                Relation::Fails | Relation::Unequal | Relation::Distinct
            )
        })
}

/// The name of a function's node.
pub(super) fn function_name(tree: &FlatTree<'_>, idx: usize) -> String {
    tree.nodes[idx].name.unwrap_or_default().to_owned()
}

/// The name of a function with those of the classes and functions around it.
pub(super) fn path_of(tree: &FlatTree<'_>, idx: usize) -> String {
    let above = std::iter::successors(Some(idx), |idx| tree.nodes[*idx].parent);
    let mut names: Vec<String> = above
        .filter_map(|idx| {
            let node = &tree.nodes[idx];
            if is_function(node.kind) {
                return Some(function_name(tree, idx));
            }
            let is_class = matches!(
                node.kind,
                "class_definition"
                    | "class_declaration"
                    | "class"
                    | "impl_item"
                    | "trait_item"
                    | "mod_item"
                    | "interface_declaration"
                    | "enum_declaration"
                    | "record_declaration"
            );
            // Of `impl A for B {` all.
            let head = tree.tokens_of(node).iter().take(MAX_HEAD);
            let mut head = head.take_while(|t| !matches!(t.text, "{" | ":"));
            is_class.then(|| joined(&head.by_ref().cloned().collect::<Vec<_>>()))
        })
        .take(MAX_PATH)
        .collect();
    names.reverse();
    names.join("/")
}
