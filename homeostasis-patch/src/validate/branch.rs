//! Conditions with what is done under them, and what surrounds a check.

use super::condition::Formula;
use super::dead_code::{header, is_condition_holder};
use super::guard::{Consequence, function_name, is_check};
use super::token::{FlatTree, Kind, Token, defers, is_function};
use super::way_out::way_out;
use super::words::name_words;
use crate::Language;

/// So many surrounding conditions of a check are read; of more only the number counts.
const MAX_AROUND: usize = 8;

/// So far up the tree is looked for them.
const MAX_ANCESTORS: usize = 200;

/// Of what is long only the start is read, so that deep nesting costs no more than its length.
pub(super) const MAX_PART: usize = 300;

/// From a token to before another.
pub(super) type Range = (usize, usize);

/// Where the parts of a condition stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) condition: Range,
    pub(super) body: Range,
    /// What is done otherwise; empty if nothing.
    pub(super) otherwise: Range,
}

/// The parts of a node that holds a condition.
pub(super) fn parts(tree: &FlatTree<'_>, idx: usize) -> Option<Parts> {
    let node = &tree.nodes[idx];
    let start = node.tokens.0;
    let end = node.tokens.1.min(start + 4000);
    let all = &tree.tokens[start..end];
    let at = |mark: &str| top_level(all, mark).map(|at| start + at);
    if node.kind == "conditional_expression" {
        let (sign, other) = (at("if")?, at("else")?);
        return (sign < other).then_some(Parts {
            condition: (sign + 1, other),
            body: (start, sign),
            otherwise: (other + 1, end),
        });
    }
    if node.kind == "ternary_expression" {
        let (sign, other) = (at("?")?, at(":")?);
        return (sign < other).then_some(Parts {
            condition: (start, sign),
            body: (sign + 1, other),
            otherwise: (other + 1, end),
        });
    }
    let has_no_parentheses = matches!(
        tree.language,
        Language::Rust | Language::Go | Language::Python
    );
    let (condition, body_at) = if has_no_parentheses {
        let head = header(tree, idx);
        let mut range = (start + 1, (start + head.len()).max(start + 1));
        if range.1 > range.0 && tree.tokens[range.1 - 1].is(":") {
            range.1 -= 1;
        }
        // Of `if x := f(); x > 1` the last part.
        let part = tree.tokens[range.0..range.1]
            .iter()
            .rposition(|t| t.is(";"));
        range.0 += part.map_or(0, |at| at + 1);
        (range, start + head.len())
    } else {
        let open = start + 1;
        if !tree.tokens.get(open)?.is("(") {
            return None;
        }
        let close = tree.closing(open).min(end.saturating_sub(1)).max(open + 1);
        ((open + 1, close), close + 1)
    };
    let body_at = body_at.min(end);
    let clause = tree.child_of_kind(idx, &["elif_clause", "else_clause"]);
    let other = match clause {
        Some(clause) => tree.nodes[clause].tokens.0.clamp(body_at, end),
        // The blocks of Python are known by their nodes alone.
        None if tree.language == Language::Python => end,
        None => top_level(&tree.tokens[body_at..end], "else").map_or(end, |at| body_at + at),
    };
    Some(Parts {
        condition,
        body: (body_at, other),
        otherwise: (other, end),
    })
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

/// A condition of a text, read once.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) parts: Parts,
    pub(super) formula: Formula,
    words: Vec<String>,
    body_leaves: bool,
    otherwise_leaves: bool,
}

/// What a check stands under.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// What holds where it is reached.
    pub(super) conditions: Vec<Formula>,
    /// Those of them that say only that an earlier branch was not taken.
    pub(super) alternatives: Vec<Formula>,
    /// The names in them.
    pub(super) words: Vec<String>,
}

impl Surroundings {
    fn add(&mut self, branch: &Branch, holds: bool) {
        let formula = if holds {
            branch.formula.clone()
        } else {
            branch.formula.negated()
        };
        if !holds {
            self.alternatives.push(formula.clone());
        }
        self.conditions.push(formula);
        self.words.extend(branch.words.iter().cloned());
    }

    /// Adds what is no condition and may not hold all the same, once.
    fn stand_in(&mut self, name: &str) {
        let formula = Formula::named(name);
        if !self.conditions.contains(&formula) {
            self.conditions.push(formula);
        }
    }
}

/// The atom that stands for the turns of a loop.
pub(super) const LOOP: &str = "(in a loop)";

/// The branches of a text.
#[derive(Debug)]
pub(super) struct Branches {
    /// For each node, whether it is one.
    all: Vec<Option<Branch>>,
    /// For each token, the next one that does or says something.
    next: Vec<usize>,
}

impl Branches {
    pub(super) fn of(tree: &FlatTree<'_>) -> Self {
        let branch = |idx: usize| {
            if !is_condition_holder(tree.nodes[idx].kind) {
                return None;
            }
            let parts = parts(tree, idx)?;
            let (start, end) = parts.condition;
            let condition = &tree.tokens[start..end.min(start + MAX_PART + 1)];
            let leaves = |range: Range| {
                range.0 < range.1 && way_out(tree, idx, range, 0) != Consequence::Body
            };
            Some(Branch {
                formula: Formula::of(condition, tree.language),
                words: condition
                    .iter()
                    .filter(|t| t.is_word())
                    .map(|t| t.text.to_owned())
                    .collect(),
                body_leaves: leaves(parts.body),
                otherwise_leaves: leaves(parts.otherwise),
                parts,
            })
        };
        let n = tree.tokens.len();
        let mut next = vec![n; n + 1];
        for idx in (0..n).rev() {
            next[idx] = if is_quiet(&tree.tokens[idx]) {
                next[idx + 1]
            } else {
                idx
            };
        }
        Self {
            all: (0..tree.nodes.len()).map(branch).collect(),
            next,
        }
    }

    pub(super) fn get(&self, idx: usize) -> Option<&Branch> {
        self.all.get(idx)?.as_ref()
    }

    /// What a node stands under, within its function. What encloses everything up to the end of the
    /// function does not count: where it fails, nothing is done that the check would guard.
    /// Neither does a branch whose alternatives leave the function.
    /// A check that ends only its turn of a loop guards nothing outside of it (`ends_turn`).
    pub(super) fn around(&self, tree: &FlatTree<'_>, idx: usize, ends_turn: bool) -> Surroundings {
        let node = &tree.nodes[idx];
        let at = node.tokens.0;
        let function = tree.function_of(at);
        let function_end = function.map_or(tree.tokens.len(), |f| tree.nodes[f].tokens.1);
        // Of a function that is a check its caller is what it guards.
        let is_check = function.is_some_and(|f| is_check(&function_name(tree, f)));
        let is_last = |end: usize| {
            if is_check {
                return false;
            }
            let next = self.next.get(end).copied().unwrap_or(usize::MAX);
            next >= function_end
        };
        let mut found = Surroundings::default();
        let mut n_more = 0_usize;
        let above = std::iter::successors(node.parent, |idx| tree.nodes[*idx].parent);
        for parent in above.take(MAX_ANCESTORS) {
            let outer = &tree.nodes[parent];
            if is_function(outer.kind) || Some(parent) == function {
                break;
            }
            if found.conditions.len() >= MAX_AROUND {
                n_more += usize::from(self.get(parent).is_some());
                continue;
            }
            if let Some(branch) = self.get(parent) {
                let within = |range: Range| (range.0..range.1).contains(&at);
                if within(branch.parts.body) {
                    if !branch.otherwise_leaves && !is_last(branch.parts.body.1) {
                        found.add(branch, true);
                    }
                } else if within(branch.parts.otherwise) {
                    if !branch.body_leaves {
                        found.add(branch, false);
                    }
                    let earlier = tree.children(parent).filter_map(|child| self.get(child));
                    for clause in earlier.filter(|clause| clause.parts.body.1 <= at) {
                        if !clause.body_leaves && found.conditions.len() < MAX_AROUND {
                            found.add(clause, false);
                        }
                    }
                }
                continue;
            }
            if outer.kind == "with_statement" && suppresses(tree, parent) {
                found.stand_in("(where errors are suppressed)");
                continue;
            }
            if defers(outer.kind) {
                found.stand_in("(in a closure)");
                continue;
            }
            let is_loop = ["for_", "while_", "enhanced_for"]
                .iter()
                .any(|start| outer.kind.starts_with(start));
            if is_loop && ends_turn {
                break;
            }
            let is_handler = matches!(outer.kind, "except_clause" | "catch_clause");
            let is_arm = is_arm(outer.kind) && !other_arms_leave(tree, parent);
            // The handlers beside this one are not run after it.
            let end = match outer.parent {
                Some(whole) if is_handler => tree.nodes[whole].tokens.1,
                _ => outer.tokens.1,
            };
            if (is_loop || is_handler || is_arm) && !is_last(end) {
                let text = match (is_loop, is_arm) {
                    (true, _) => LOOP,
                    (_, true) => "(in a case)",
                    _ => "(in a handler)",
                };
                found.stand_in(text);
            }
        }
        if n_more > 0 {
            let text = format!("({n_more} conditions further out)");
            found.conditions.push(Formula::named(&text));
        }
        found
    }
}

/// `with suppress(…):`
fn suppresses(tree: &FlatTree<'_>, idx: usize) -> bool {
    let head = header(tree, idx).iter().take(MAX_PART);
    let mut head = head.take_while(|t| !t.is(":"));
    head.any(|t| t.is("suppress"))
}

/// One of the cases of a `match` or `switch`.
pub(super) fn is_arm(kind: &str) -> bool {
    matches!(
        kind,
        "match_arm"
            | "case_clause"
            | "switch_case"
            | "switch_default"
            | "expression_case"
            | "type_case"
            | "default_case"
            | "communication_case"
            | "switch_block_statement_group"
            | "switch_rule"
    )
}

/// All cases but this one leave the function.
fn other_arms_leave(tree: &FlatTree<'_>, arm: usize) -> bool {
    let Some(parent) = tree.nodes[arm].parent else {
        return false;
    };
    let others = tree.children(parent).take(MAX_ANCESTORS);
    let mut others = others.filter(|idx| *idx != arm && is_arm(tree.nodes[*idx].kind));
    others.all(|idx| way_out(tree, idx, tree.nodes[idx].tokens, 0) != Consequence::Body)
}

/// It does nothing and says nothing: brackets, and the return of nothing.
fn is_quiet(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Punctuation => !token.is("?"),
        Kind::Word => matches!(
            token.text,
            "return" | "pass" | "None" | "null" | "nil" | "undefined" | "else"
        ),
        _ => false,
    }
}

/// The words of the names in some tokens.
pub(super) fn words_of(tokens: &[Token<'_>]) -> Vec<String> {
    let words = tokens.iter().take(MAX_PART).filter(|t| t.is_word());
    words.flat_map(|t| name_words(t.text)).collect()
}
