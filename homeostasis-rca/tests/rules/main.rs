//! What no single rule can promise: that the shipped set leaves healthy lines alone, and that a
//! line which says why something failed comes before the line which only says that it did.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use homeostasis_rca::{ErrorText, Rule, RuleSet};

const HEALTHY: &str = include_str!("testdata/healthy_lines.txt");
const SAID: &str = include_str!("testdata/said_lines.txt");
const WRAPPERS: &str = include_str!("testdata/wrappers.txt");
const INNER_CAUSES: &str = include_str!("testdata/inner_causes.txt");

fn lines(text: &'static str) -> Vec<&'static str> {
    let is_line = |line: &&str| !line.is_empty() && !line.starts_with("# ");
    text.lines().filter(is_line).collect()
}

fn best<'r>(rules: &'r RuleSet, text: &str) -> Option<&'r Rule> {
    rules
        .best(&ErrorText::of_text(text))
        .map(|found| found.rule)
}

#[test]
fn no_shipped_rule_answers_to_a_healthy_line() {
    let rules = RuleSet::shipped().unwrap();
    let healthy = lines(HEALTHY);
    assert!(healthy.len() > 800, "{} lines", healthy.len());
    let taken: Vec<String> = healthy
        .iter()
        .filter_map(|line| best(&rules, line).map(|rule| format!("{}: {line}", rule.id)))
        .collect();
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}

#[test]
fn a_failure_beside_a_number_an_absence_or_a_detail_is_not_denied() {
    let rules = RuleSet::shipped().unwrap();
    let missed: Vec<&str> = lines(SAID)
        .into_iter()
        .filter(|line| best(&rules, line).is_none())
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn an_inner_cause_wins_over_the_line_that_wraps_it() {
    let rules = RuleSet::shipped().unwrap();
    let mut hidden = Vec::new();
    for inner in lines(INNER_CAUSES) {
        let cause = best(&rules, inner).map(|rule| &rule.cause);
        assert!(cause.is_some(), "no rule answers to {inner:?}");
        for wrapper in lines(WRAPPERS) {
            for between in [": ", "\nCaused by: "] {
                let text = format!("{wrapper}{between}{inner}");
                let winner = best(&rules, &text);
                if winner.map(|rule| &rule.cause) != cause {
                    let winner = winner.map(|rule| &rule.id);
                    hidden.push(format!("{winner:?} hides {cause:?} in {text:?}"));
                }
            }
        }
    }
    assert!(hidden.is_empty(), "{}", hidden.join("\n"));
}

#[test]
fn a_wrapper_alone_is_told_but_never_for_sure() {
    let rules = RuleSet::shipped().unwrap();
    for wrapper in lines(WRAPPERS) {
        let text = format!("{wrapper}: nobody knows why");
        let rule = best(&rules, &text).unwrap_or_else(|| panic!("no rule answers to {text:?}"));
        let confidence = rule.confidence.get();
        assert!(
            rule.fallback && confidence <= 0.75,
            "{} is too sure of {text:?}",
            rule.id
        );
    }
}
