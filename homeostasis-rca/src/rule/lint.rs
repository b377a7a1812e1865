//! What is doubtful about a set of rules that loads.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::neutral::NEUTRAL;
use super::{ErrorText, Rule, RuleSet};

/// Literals shorter than this are in too many texts to tell them apart.
const MIN_LITERAL: usize = 4;

/// What kind of doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LintKind {
    /// It matches lines of healthy logs, or must be tried on nearly every line.
    OverBroad,
    /// Other rules win all of its examples.
    Shadowed,
    /// Another rule says something else of the same text, and only confidence or id decides.
    Conflicting,
    /// Another rule says the same of the same texts.
    Duplicate,
}

impl fmt::Display for LintKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OverBroad => "over-broad",
            Self::Shadowed => "shadowed",
            Self::Conflicting => "conflicting",
            Self::Duplicate => "duplicate",
        })
    }
}

/// One doubt about one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LintFinding {
    /// What kind.
    pub kind: LintKind,
    /// The rule.
    pub rule: String,
    /// The other rule it is about, if there is one.
    pub other: Option<String>,
    /// Why.
    pub reason: String,
    /// What to do.
    pub suggestion: String,
}

impl fmt::Display for LintFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rule, kind) = (&self.rule, self.kind);
        write!(f, "{rule}: {kind}: {}; {}", self.reason, self.suggestion)
    }
}

impl RuleSet {
    /// What is doubtful about the rules, by rule, kind and the other rule.
    ///
    /// Tries every example against the whole set, each as often as its rule has languages and
    /// systems, and every rule against the lines of healthy logs that come with the crate.
    pub fn lint(&self) -> Vec<LintFinding> {
        let mut found = Vec::new();
        self.over_broad(&mut found);
        let mut seen: BTreeMap<&str, &Rule> = BTreeMap::new();
        for rule in self.rules() {
            self.tried_on_examples(rule, &mut found);
            for example in &rule.examples {
                match seen.get(example.as_str()) {
                    Some(other) if overlap(rule, other) => {
                        found.push(same_text(rule, other, example));
                    }
                    Some(_) => {}
                    None => {
                        seen.insert(example, rule);
                    }
                }
            }
        }
        found.sort_by(|a, b| (&a.rule, a.kind, &a.other).cmp(&(&b.rule, b.kind, &b.other)));
        found.dedup_by(|a, b| (&a.rule, a.kind, &a.other) == (&b.rule, b.kind, &b.other));
        found
    }

    fn over_broad(&self, found: &mut Vec<LintFinding>) {
        let mut taken: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in NEUTRAL {
            let text = ErrorText::of_text(line);
            for hit in self.matching(&text) {
                taken.entry(&hit.rule.id).or_default().push(line);
            }
        }
        for (rule, lines) in taken {
            let (n, first) = (lines.len(), lines.first().copied().unwrap_or_default());
            found.push(LintFinding {
                kind: LintKind::OverBroad,
                rule: rule.to_owned(),
                other: None,
                reason: format!(
                    "it matches {n} of {} lines of healthy logs, such as {first:?}",
                    NEUTRAL.len()
                ),
                suggestion: "match the words that only the failure has".to_owned(),
            });
        }
        for rule in self.rules() {
            let shortest = rule.shortest_literal();
            if shortest < MIN_LITERAL {
                let reason = match shortest {
                    0 => "no literal is in every match, so that every line must be searched"
                        .to_owned(),
                    n => format!("the literals it is found by have as few as {n} bytes"),
                };
                found.push(LintFinding {
                    kind: LintKind::OverBroad,
                    rule: rule.id.clone(),
                    other: None,
                    reason,
                    suggestion: format!(
                        "put fixed words of {MIN_LITERAL} letters or more into every alternative"
                    ),
                });
            }
        }
    }

    fn tried_on_examples(&self, rule: &Rule, found: &mut Vec<LintFinding>) {
        let mut winners: Vec<&Rule> = Vec::new();
        let mut n_tried = 0;
        for example in &rule.examples {
            for text in scoped(rule, example) {
                n_tried += 1;
                let matching: Vec<_> = self.matching(&text).collect();
                let Some(first) = matching.first() else {
                    continue;
                };
                if first.rule.id != rule.id {
                    winners.push(first.rule);
                }
                // Those that specificity cannot tell apart.
                for other in matching.iter().skip(1) {
                    let is_tie = other.specificity == first.specificity
                        && other.rule.fallback == first.rule.fallback;
                    if is_tie && first.rule.category != other.rule.category {
                        found.push(tie(first.rule, other.rule, example));
                    }
                }
            }
        }
        if winners.len() == n_tried {
            let Some(winner) = winners.first() else {
                return;
            };
            let is_same = winner.category == rule.category && winner.cause == rule.cause;
            found.push(LintFinding {
                kind: LintKind::Shadowed,
                rule: rule.id.clone(),
                other: Some(winner.id.clone()),
                reason: format!(
                    "other rules win all of its examples, {} the first",
                    winner.id
                ),
                suggestion: if is_same {
                    "drop it, or add an example that the other does not match"
                } else {
                    "make it more specific than the other, or give it examples of its own"
                }
                .to_owned(),
            });
        }
    }
}

/// `example` as each language and system of `rule` writes it.
fn scoped<'a>(rule: &'a Rule, example: &'a str) -> impl Iterator<Item = ErrorText> + 'a {
    let or_none = |names: &'a [String]| -> Vec<Option<&'a str>> {
        let named = names.iter().map(|name| Some(name.as_str()));
        if names.is_empty() {
            vec![None]
        } else {
            named.collect()
        }
    };
    let systems = or_none(&rule.applies_to);
    let services = or_none(&rule.services);
    or_none(&rule.languages)
        .into_iter()
        .flat_map(move |language| {
            let (systems, services) = (systems.clone(), services.clone());
            systems.into_iter().flat_map(move |system| {
                services.clone().into_iter().map(move |service| {
                    let mut text =
                        ErrorText::of_text(example).in_language(language.unwrap_or_default());
                    if let Some(system) = system {
                        text = text.about(system);
                    }
                    match service.and_then(|name| homeostasis_core::Target::service(name).ok()) {
                        Some(target) => text.of(target),
                        None => text,
                    }
                })
            })
        })
}

/// Whether both may be meant for one record.
fn overlap(a: &Rule, b: &Rule) -> bool {
    let meet = |a: &[String], b: &[String]| {
        a.is_empty() || b.is_empty() || a.iter().any(|name| b.contains(name))
    };
    meet(&a.languages, &b.languages)
        && meet(&a.applies_to, &b.applies_to)
        && meet(&a.services, &b.services)
}

fn same_text(rule: &Rule, other: &Rule, example: &str) -> LintFinding {
    let is_same = rule.category == other.category && rule.cause == other.cause;
    let (kind, says, suggestion) = if is_same {
        (LintKind::Duplicate, "the same", "make one rule of the two")
    } else {
        (
            LintKind::Conflicting,
            "something else",
            "decide which rule the text belongs to",
        )
    };
    LintFinding {
        kind,
        rule: rule.id.clone(),
        other: Some(other.id.clone()),
        reason: format!(
            "{} has the example {example:?}, too, and says {says} of it",
            other.id
        ),
        suggestion: suggestion.to_owned(),
    }
}

fn tie(first: &Rule, other: &Rule, example: &str) -> LintFinding {
    LintFinding {
        kind: LintKind::Conflicting,
        rule: other.id.clone(),
        other: Some(first.id.clone()),
        reason: format!(
            "{} matches {example:?} as specifically and says {} instead of {}",
            first.id, first.category, other.category
        ),
        suggestion: "narrow one of the two, so that it is not confidence or id that decides"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rules: &str) -> Vec<(String, LintKind, Option<String>)> {
        let set = RuleSet::parse("r.yaml", &format!("rules:\n{rules}")).unwrap();
        let found = set.lint();
        assert!(
            found
                .iter()
                .all(|f| !f.reason.is_empty() && !f.suggestion.is_empty())
        );
        found
            .into_iter()
            .map(|f| (f.rule, f.kind, f.other))
            .collect()
    }

    fn rule(id: &str, pattern: &str, category: &str, example: &str) -> String {
        format!(
            "- {{id: {id}, title: x, pattern: '{pattern}', cause: x, category: {category}, \
             confidence: 0.8, examples: ['{example}']}}\n"
        )
    }

    fn doubt(
        rule: &str,
        kind: LintKind,
        other: Option<&str>,
    ) -> (String, LintKind, Option<String>) {
        (rule.to_owned(), kind, other.map(str::to_owned))
    }

    #[test]
    fn a_sound_set_has_no_doubts() {
        let rules = rule("a", "disk is broken", "network", "the disk is broken")
            + &rule(
                "b",
                "disk is gone for good",
                "network",
                "the disk is gone for good",
            );
        assert_eq!(found(&rules), []);
    }

    #[test]
    fn a_rule_for_healthy_lines_or_for_every_line_is_over_broad() {
        let healthy = rule("a", "connection", "network", "connection lost");
        assert_eq!(found(&healthy), [doubt("a", LintKind::OverBroad, None)]);
        let every = rule("b", "E[0-9]{4}!", "network", "E1234!");
        assert_eq!(found(&every), [doubt("b", LintKind::OverBroad, None)]);
    }

    #[test]
    fn a_rule_whose_examples_others_win_is_shadowed() {
        let rules = rule(
            "narrow",
            "disk is broken",
            "network",
            "the disk is broken, alas",
        ) + &rule("wide", "disk is", "network", "the disk is broken");
        assert_eq!(
            found(&rules),
            [doubt("wide", LintKind::Shadowed, Some("narrow"))]
        );
    }

    #[test]
    fn rules_that_only_confidence_or_id_decides_conflict() {
        let rules = rule("a", "disk is broken", "network", "disk is broken now")
            + &rule("b", "is broken now!", "security", "it is broken now!")
            + &rule("c", "disk is broken", "security", "disk is broken now");
        let found = found(&rules);
        assert!(
            found.contains(&doubt("c", LintKind::Conflicting, Some("a"))),
            "{found:?}"
        );
        assert!(!found.iter().any(|(rule, _, _)| rule == "b"), "{found:?}");
    }

    #[test]
    fn two_that_say_the_same_of_one_text_are_duplicates() {
        let rules = rule("a", "disk is broken", "network", "the disk is broken")
            + &rule("b", "is broken", "network", "the disk is broken");
        let found = found(&rules);
        assert!(
            found.contains(&doubt("b", LintKind::Duplicate, Some("a"))),
            "{found:?}"
        );
    }

    #[test]
    fn rules_of_different_languages_do_not_meet() {
        let of = |language: &str, category: &str| {
            let rule = rule(language, "disk is broken", category, "the disk is broken");
            rule.replace("title: x", &format!("title: x, languages: [{language}]"))
        };
        assert_eq!(found(&(of("rust", "network") + &of("go", "security"))), []);
    }

    #[test]
    fn the_shipped_rules_have_no_doubts() {
        let found = RuleSet::shipped().unwrap().lint();
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(shown.is_empty(), "{}", shown.join("\n"));
    }
}
