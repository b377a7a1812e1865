//! A template: which change of code answers which error, as data.

use std::collections::BTreeMap;

use ast_grep_core::tree_sitter::StrDoc;
use ast_grep_core::{MatchStrictness, NodeMatch, Pattern};
use ast_grep_language::SupportLang;
use homeostasis_core::record::{RecoveryStrategy, RiskLevel};
use homeostasis_core::signal::ErrorEvent;
use regex::Regex;

use super::caught::{caught, is_alone};
use super::declared::{is_parameter, is_signed};
use super::donor::{failure, value_for};
use super::draft::{Draft, Drafts};
use super::exit::exits;
use super::fallback::is_refused_still;
use super::grammar::{function_of, has_call, is_compound, is_in_loop, return_type};
use super::reach::{statement_of, with_head};
use super::render::{Binding, Bindings, EXIT, REPORT, STATEMENT, fill, lay_out, variables};
use super::repeatable::is_repeatable;
use super::report::report;
use super::site::Site;
use crate::Language;
use crate::syntax::SyntaxNode;

/// What must hold around a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// The function says that it returns a `Result`.
    ReturnsResult,
    /// The function says that it returns an `Option`.
    ReturnsOption,
    /// The match stands in the body of a loop.
    InLoop,
    /// The match stands in a function.
    InFunction,
    /// What `$M` stands for is no parameter, which the caller would not see anew.
    NoParameter,
    /// Neither `$A` nor `$B` is declared to be a number that may be less than zero.
    Unsigned,
}

pub(crate) const REQUIREMENTS: [(&str, Requirement); 6] = [
    ("returns_result", Requirement::ReturnsResult),
    ("returns_option", Requirement::ReturnsOption),
    ("in_loop", Requirement::InLoop),
    ("in_function", Requirement::InFunction),
    ("no_parameter", Requirement::NoParameter),
    ("unsigned", Requirement::Unsigned),
];

/// What a fix replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaces {
    /// The match itself.
    Expression,
    /// The statement around it, which the fix may keep as `$STATEMENT`.
    Statement,
    /// The head of the `with` of Python around it, which gives it the name `$NAME`.
    WithHead,
}

pub(crate) const REPLACES: [(&str, Replaces); 3] = [
    ("expression", Replaces::Expression),
    ("statement", Replaces::Statement),
    ("with_head", Replaces::WithHead),
];

/// How the program goes on where it failed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovery {
    By(RecoveryStrategy),
    /// As each way out says.
    ByExit,
}

/// A template of one language.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) id: String,
    pub(crate) language: Language,
    pub(crate) docs: String,
    pub(crate) kinds: Vec<String>,
    pub(crate) message: Option<Regex>,
    pub(crate) patterns: Vec<Pattern>,
    /// The match must be this field of a node of this kind.
    pub(crate) within: Option<(String, String)>,
    /// What the texts of metavariables must be like; of `MATCH`, the whole match.
    pub(crate) constraints: BTreeMap<String, Regex>,
    /// What they must not be like.
    pub(crate) not: BTreeMap<String, Regex>,
    pub(crate) requires: Vec<Requirement>,
    pub(crate) replaces: Replaces,
    pub(crate) fix: String,
    /// What an expression is where it failed before; `$MATCH` if it is the right answer there, too.
    pub(crate) otherwise: Option<String>,
    pub(crate) recovery: Recovery,
    pub(crate) imports: Vec<String>,
    /// What it does for which inputs, in words with metavariables.
    pub(crate) behaviour: String,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) risk: RiskLevel,
    pub(crate) confidence: f64,
    pub(crate) threshold: f64,
    pub(crate) requires_review: bool,
    /// Nothing is proposed for the error, for this reason.
    pub(crate) refusal: Option<String>,
}

type Match<'t> = NodeMatch<'t, StrDoc<SupportLang>>;

impl Template {
    /// Whether it is for such an error; the captures of the message if so.
    pub(crate) fn treats(&self, error: &ErrorEvent) -> Option<BTreeMap<String, String>> {
        let kind = error.kind.rsplit(['.', ':']).next().unwrap_or_default();
        let is_kind = self.kinds.is_empty() || self.kinds.iter().any(|known| known == kind);
        if !is_kind {
            return None;
        }
        let Some(message) = &self.message else {
            return Some(BTreeMap::new());
        };
        let found = message.captures(&error.message)?;
        let names = message.capture_names().flatten();
        let captures = names.filter_map(|name| {
            let text = found.name(name)?.as_str();
            Some((name.to_owned(), text.to_owned()))
        });
        Some(captures.collect())
    }

    /// What the template makes of a site.
    pub(crate) fn drafts(&self, site: &Site<'_>) -> Drafts {
        let mut drafts = Drafts::default();
        let Some(captures) = self.treats(site.error) else {
            return drafts;
        };
        if self.refusal.is_some() {
            return drafts;
        }
        let root = site.root();
        let mut found: Vec<(f64, Match<'_>)> = self
            .patterns
            .iter()
            .flat_map(|pattern| root.find_all(pattern))
            .map(|found| (site.fit(&found), found))
            .filter(|(fit, found)| *fit > 0.0 && self.fits(site, found, &captures))
            .collect();
        let size = |found: &Match<'_>| found.range().len();
        found.sort_by(|(a, x), (b, y)| b.total_cmp(a).then(size(x).cmp(&size(y))));
        for (nth, (fit, found)) in found.iter().enumerate().take(6) {
            let depth = u8::try_from(nth).map_or(0.0, f64::from);
            let confidence = self.confidence * fit * (1.0 - 0.02 * depth);
            self.draft(site, found, &captures, confidence, &mut drafts);
        }
        drafts
    }

    fn fits(
        &self,
        site: &Site<'_>,
        found: &Match<'_>,
        captures: &BTreeMap<String, String>,
    ) -> bool {
        if let Some((kind, field)) = &self.within {
            let is_there = found.parent().is_some_and(|parent| {
                parent.kind() == kind.as_str()
                    && parent
                        .field(field)
                        .is_some_and(|node| node.range() == found.range())
            });
            if !is_there {
                return false;
            }
        }
        let text_of = |name: &str| {
            if name == "MATCH" {
                return Some(site.text_of(found));
            }
            let node = found.get_env().get_match(name)?;
            Some(site.text_of(node))
        };
        let is_like = |name: &str, regex: &Regex| text_of(name).is_some_and(|t| regex.is_match(t));
        self.constraints
            .iter()
            .all(|(name, regex)| is_like(name, regex))
            && !self.not.iter().any(|(name, regex)| is_like(name, regex))
            && captures.iter().all(|(name, said)| {
                let node = found.get_env().get_match(name);
                node.is_none_or(|node| agrees(site, node, said))
            })
            && self
                .requires
                .iter()
                .all(|&needed| holds(site, found, needed))
            && (self.replaces != Replaces::Expression || !is_written(found))
    }

    fn draft(
        &self,
        site: &Site<'_>,
        found: &Match<'_>,
        captures: &BTreeMap<String, String>,
        confidence: f64,
        drafts: &mut Drafts,
    ) {
        let mut bindings = self.bindings(site, found, captures);
        let node: &SyntaxNode<'_> = found;
        let uses = variables(&self.fix);
        let needs = |name: &str| uses.contains(&name);
        let replaced = match self.replaces {
            Replaces::Expression => node.range(),
            Replaces::Statement => {
                let Some(statement) = statement_of(node) else {
                    drafts.n_unsound += 1;
                    return;
                };
                if let Some(caught) = caught(&self.fix) {
                    let parts = self.parts(found);
                    if !is_alone(caught, &statement, node, &parts) {
                        drafts.n_unsound += 1;
                        return;
                    }
                }
                bindings.insert(STATEMENT.to_owned(), Binding::of(site.text_of(&statement)));
                statement.range()
            }
            Replaces::WithHead => {
                let Some((name, head)) = with_head(node) else {
                    return;
                };
                bindings.insert("NAME".to_owned(), Binding::of(site.text_of(&name)));
                head
            }
        };
        let (mut calls, mut is_twice) = (false, false);
        for name in &uses {
            let n_uses = uses.iter().filter(|use_of| use_of == &name).count();
            // The whole statement, and the whole match, hold what else is bound.
            let within = |whole: &str| needs(whole) && *name != whole;
            let again = n_uses > 1 || within(STATEMENT) || within("MATCH");
            if let Some(bound) = bindings.get(*name).filter(|_| again) {
                calls |= bound.calls;
                is_twice |= bound.is_once;
            }
        }
        if is_twice {
            drafts.n_twice += 1;
            return;
        }
        let confidence = if calls { confidence * 0.7 } else { confidence };
        if needs("FAIL") {
            let Some(fail) = failure(site, node) else {
                return;
            };
            bindings.insert("FAIL".to_owned(), Binding::of(fail));
        }
        if needs("VALUE") {
            bindings.insert("VALUE".to_owned(), Binding::of(value_for(site, node)));
        }
        if self.replaces == Replaces::Expression && !self.passes_no_check(site, node, &bindings) {
            drafts.n_unsound += 1;
            return;
        }
        if let Recovery::By(recovery) = self.recovery {
            self.finish(site, replaced, &bindings, recovery, confidence, drafts);
            return;
        }
        let function = function_of(node);
        let declared = function.and_then(|function| return_type(site.language, &function));
        for exit in exits(site, node) {
            let recovery = exit.recovery(site.language, declared.as_deref());
            // Who is told of a failure says so, or does not.
            let said = (recovery != RecoveryStrategy::Propagate)
                .then(|| report(site, node))
                .flatten();
            let mut words = exit.words;
            bindings.remove(REPORT);
            if let Some(said) = said {
                words.push_str(", after a warning in its log");
                bindings.insert(REPORT.to_owned(), Binding::of(said));
            }
            bindings.insert(EXIT.to_owned(), Binding::of(exit.statement));
            bindings.insert("LEAVES".to_owned(), Binding::of(words));
            let confidence = confidence * exit.weight;
            self.finish(
                site,
                replaced.clone(),
                &bindings,
                recovery,
                confidence,
                drafts,
            );
        }
    }

    /// Whether the fix leaves the place by a way out.
    pub(crate) fn leaves(&self) -> bool {
        variables(&self.fix).contains(&EXIT)
    }

    /// Whether the failure is handed on by `?`.
    pub(crate) fn hands_on(&self) -> bool {
        let fix = self.fix.trim_end();
        self.language == Language::Rust && (fix.ends_with('?') || fix.contains("?."))
    }

    /// Whether what stands in for a missing value leaves a condition that refuses with its no.
    fn passes_no_check(&self, site: &Site<'_>, node: &SyntaxNode<'_>, bound: &Bindings) -> bool {
        let otherwise = self.otherwise.as_deref();
        self.hands_on() || otherwise == Some("$MATCH") || {
            let value = otherwise.map(|text| fill(text, bound, false));
            is_refused_still(site, node, value.as_deref())
        }
    }

    /// What the metavariables of a match stand for.
    fn parts<'t>(&self, found: &Match<'t>) -> Vec<SyntaxNode<'t>> {
        let env = found.get_env();
        let names = self.patterns.iter().flat_map(Pattern::defined_vars);
        names
            .flat_map(|name| match env.get_match(name) {
                Some(node) => vec![node.clone()],
                None => env.get_multiple_matches(name),
            })
            .collect()
    }

    fn bindings(
        &self,
        site: &Site<'_>,
        found: &Match<'_>,
        captures: &BTreeMap<String, String>,
    ) -> Bindings {
        let texts = self.parameters.iter().chain(captures);
        let mut bindings: Bindings = texts
            .map(|(name, text)| (name.clone(), Binding::of(text)))
            .collect();
        let env = found.get_env();
        for name in self.patterns.iter().flat_map(Pattern::defined_vars) {
            let binding = if let Some(node) = env.get_match(name) {
                binding_of(site, node)
            } else {
                let nodes = env.get_multiple_matches(name);
                let (Some(first), Some(last)) = (nodes.first(), nodes.last()) else {
                    continue;
                };
                let range = first.range().start..last.range().end;
                Binding {
                    calls: nodes.iter().any(has_call),
                    is_once: !nodes.iter().all(|it| is_repeatable(site.language, it)),
                    ..Binding::of(site.text.get(range).unwrap_or_default())
                }
            };
            bindings.insert(name.to_owned(), binding);
        }
        bindings.insert("MATCH".to_owned(), binding_of(site, found));
        bindings
    }

    fn finish(
        &self,
        site: &Site<'_>,
        replaced: std::ops::Range<usize>,
        bindings: &Bindings,
        recovery: RecoveryStrategy,
        confidence: f64,
        drafts: &mut Drafts,
    ) {
        if confidence < self.threshold {
            drafts.n_doubtful += 1;
            return;
        }
        let new = match self.replaces {
            Replaces::Expression => fill(self.fix.trim_end(), bindings, true),
            Replaces::Statement | Replaces::WithHead => {
                let Some(indent) = site.indent_at(replaced.start) else {
                    return;
                };
                let has_long_string = bindings
                    .get(STATEMENT)
                    .is_some_and(|s| ["\"\"\"", "'''", "`"].iter().any(|q| s.text.contains(q)));
                let unit = site.indent_unit();
                let Some(new) = lay_out(&self.fix, bindings, indent, unit, has_long_string) else {
                    return;
                };
                new
            }
        };
        drafts.made.push(Draft {
            template: self.id.clone(),
            edits: vec![(replaced, new)],
            imports: self.imports.clone(),
            explanation: self.docs.clone(),
            behaviour: fill(&self.behaviour, bindings, false),
            recovery,
            confidence,
            risk: self.risk,
            requires_review: self.requires_review,
        });
    }
}

fn binding_of(site: &Site<'_>, node: &SyntaxNode<'_>) -> Binding {
    Binding {
        text: site.text_of(node).to_owned(),
        is_compound: is_compound(node),
        calls: has_call(node),
        is_once: !is_repeatable(site.language, node),
    }
}

/// Compiles a pattern; `context` with a `selector` where the pattern alone is no program.
pub(crate) fn compile(language: Language, pattern: &str) -> Result<Pattern, String> {
    let grammar = language.grammar();
    let compiled = match pattern.split_once(" :: ") {
        Some((selector, context)) => Pattern::contextual(context, selector, grammar),
        None => Pattern::try_new(pattern, grammar),
    };
    match compiled {
        Ok(pattern) if pattern.has_error() => Err("it does not parse".to_owned()),
        Ok(pattern) => Ok(pattern.with_strictness(MatchStrictness::Smart)),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether what a message said of a metavariable can be meant by a node. A name that stands for a
/// value can be; a literal or an attribute must be the same.
fn agrees(site: &Site<'_>, node: &SyntaxNode<'_>, said: &str) -> bool {
    let bare = |text: &str| text.trim_matches(['\'', '"']).to_owned();
    let kind = node.kind();
    let is_field = node.parent().is_some_and(|parent| {
        let named = parent
            .field("attribute")
            .or_else(|| parent.field("property"));
        named.is_some_and(|field| field.range() == node.range())
    });
    let is_literal = ["string", "integer", "number", "float", "literal"]
        .iter()
        .any(|part| kind.contains(part));
    !(is_field || is_literal) || bare(site.text_of(node)) == bare(said)
}

fn holds(site: &Site<'_>, node: &Match<'_>, needed: Requirement) -> bool {
    let function = || function_of(node);
    let returns = |what: &str| {
        let declared = function().and_then(|function| return_type(site.language, &function));
        declared.is_some_and(|declared| {
            let outer = declared.split('<').next().unwrap_or_default();
            outer.rsplit("::").next() == Some(what)
        })
    };
    let bound = |name: &str| node.get_env().get_match(name);
    match needed {
        Requirement::ReturnsResult => returns("Result"),
        Requirement::ReturnsOption => returns("Option"),
        Requirement::InLoop => is_in_loop(node),
        Requirement::InFunction => function().is_some(),
        Requirement::NoParameter => bound("M").is_none_or(|it| !is_parameter(site, it)),
        Requirement::Unsigned => ["A", "B"]
            .iter()
            .all(|name| bound(name).is_none_or(|it| !is_signed(site, it))),
    }
}

/// Whether a node is written to: the left side of an assignment, or deleted.
fn is_written(node: &SyntaxNode<'_>) -> bool {
    node.parent().is_some_and(|parent| {
        parent.kind() == "delete_statement"
            || parent.kind().contains("assignment")
                && parent
                    .field("left")
                    .is_some_and(|left| left.range() == node.range())
    })
}
