//! Rules applied to the error lines around an incident.

use std::collections::BTreeMap;

use homeostasis_core::condition::Truth;
use homeostasis_core::record::{Finding, Proof, Role};
use homeostasis_core::signal::{Level, LogRecord};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{ConfigError, Context, Target, TargetScope, Timestamp, async_trait};

use super::line::error_lines;
use super::{Blames, Rule, RuleSet};
use crate::scope::Scope;

/// What each indicator found adds, in nats, and how much all of them may.
const INDICATOR_NATS: f64 = 0.5;
const MAX_INDICATOR_NATS: f64 = 1.5;

/// A rate before the onset is known from this many seconds on.
const MIN_PAST_SECONDS: f64 = 10.0;

/// Reads the logs of the services in question and says what the rules say.
///
/// Records at `warn` or louder, or with a structured error, are split into error lines (stack
/// frames are none); each line is given to the one rule of first priority that matches. Lines since
/// the onset are counted against lines before it: a rule counts as much as the logarithm of the
/// ratio of the two rates (with half a line added to each), at most the log odds of its confidence,
/// so that a line that was always there says nothing. Indicators found add half a nat each, at most
/// 1.5. A context requirement that is false drops the finding; each unknown one halves its weight.
///
/// A rule that blames a dependency points to the callee that the line or a field of its record
/// names, if the topology knows it; otherwise its writer is only a symptom.
#[derive(Debug, Clone)]
pub struct RuleAnalyzer {
    rules: RuleSet,
}

/// The lines one rule was given, on one target.
#[derive(Debug, Default)]
struct Tally {
    n_before: u32,
    n_after: u32,
    first: Option<(Timestamp, String)>,
    indicators: Vec<bool>,
}

impl RuleAnalyzer {
    const NAME: &str = "rules";

    /// An analyzer with these rules.
    pub fn new(rules: RuleSet) -> Self {
        Self { rules }
    }

    /// An analyzer with the rules that come with the crate.
    ///
    /// # Errors
    /// Never in a released version; see [`RuleSet::furnished`].
    pub fn furnished() -> Result<Self, ConfigError> {
        RuleSet::furnished().map(Self::new)
    }

    /// Its rules.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    fn examine(&self, scope: &Scope<'_>, service: &str, findings: &mut Vec<Finding>) {
        let Ok(whole) = Target::service(service) else {
            return;
        };
        let mut records = scope
            .observations()
            .logs(Some(&whole), scope.from, scope.to);
        records.retain(|record| record.level >= Level::Warn || record.error.is_some());
        // Of several records of one instant the same one is shown, in whatever order they come.
        records.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.message.cmp(&b.message)));
        // By the writer, the rule's place and the accused: each is a finding of its own.
        let mut tallies: BTreeMap<(Target, usize, Option<Target>), Tally> = BTreeMap::new();
        let mut lines_after: Vec<String> = Vec::new();
        for record in &records {
            let writer = record.target.as_ref().unwrap_or(&whole);
            let language = record.error.as_ref().map_or("", |error| &error.language);
            for line in error_lines(record) {
                let is_after = record.at >= scope.split;
                let place = self.rules.places(&line, Some(writer), language).next();
                if let Some((place, rule)) =
                    place.and_then(|place| Some((place, self.rules.rules().get(place)?)))
                {
                    let accused = match rule.blames {
                        Blames::Itself => Some(writer.clone()),
                        Blames::Dependency => named_callee(scope, writer, &line, record),
                    };
                    let key = (writer.clone(), place, accused);
                    let tally = tallies.entry(key).or_default();
                    if is_after {
                        tally.n_after += 1;
                        tally.first.get_or_insert_with(|| (record.at, line.clone()));
                    } else {
                        tally.n_before += 1;
                    }
                }
                if is_after {
                    lines_after.push(line);
                }
            }
        }
        for ((writer, place, accused), mut tally) in tallies {
            let Some(rule) = self.rules.rules().get(place) else {
                continue;
            };
            tally.indicators = rule
                .root_cause_indicators
                .iter()
                .map(|indicator| lines_after.iter().any(|line| indicator.is_match(line)))
                .collect();
            let nats = weight(scope, rule, &writer, &tally);
            if let Some(nats) = nats.filter(|nats| *nats > 0.0) {
                findings.extend(finding(rule, &writer, accused, &tally, nats));
            }
        }
    }
}

/// What the lines of `tally` say, in nats; `None` if a requirement does not hold.
fn weight(scope: &Scope<'_>, rule: &Rule, target: &Target, tally: &Tally) -> Option<f64> {
    let past = scope.split.since(scope.from).as_secs_f64();
    let present = scope.to.since(scope.split).as_secs_f64().max(1.0);
    let limit = rule.nats();
    let mut nats = if past < MIN_PAST_SECONDS {
        // Whether it was always there nobody knows.
        limit * 0.7
    } else {
        let rate = |n: u32, seconds: f64| (f64::from(n) + 0.5) / seconds;
        let ratio = rate(tally.n_after, present) / rate(tally.n_before, past);
        if tally.n_after == 0 {
            0.0
        } else {
            ratio.ln().min(limit)
        }
    };
    if nats > 0.0 {
        let n_found = tally.indicators.iter().filter(|found| **found).count();
        nats += (n_found as f64 * INDICATOR_NATS).min(MAX_INDICATOR_NATS);
    }
    let values = TargetScope {
        observations: scope.observations(),
        target: Some(target),
        since: scope.split,
        now: scope.to,
    };
    for requirement in &rule.context_requirements {
        match requirement.evaluate(&values) {
            Ok(Truth::True) => {}
            Ok(Truth::False) => return None,
            // Units that do not fit are as little knowledge as no value.
            Ok(Truth::Unknown) | Err(_) => nats *= 0.5,
        }
    }
    Some(nats)
}

fn finding(
    rule: &Rule,
    writer: &Target,
    accused: Option<Target>,
    tally: &Tally,
    nats: f64,
) -> Option<Finding> {
    let (at, line) = tally.first.as_ref()?;
    let (target, role) = match accused {
        Some(accused) => (accused, Role::Cause),
        None => (writer.clone(), Role::Symptom),
    };
    let n = tally.n_after;
    let times = if n == 1 {
        "once".to_owned()
    } else {
        format!("{n} times")
    };
    let mut finding = Finding::new(
        RuleAnalyzer::NAME,
        target,
        rule.cause.clone(),
        rule.category,
        role,
        nats,
    )
    .proven_by(Proof {
        kind: "log".to_owned(),
        reference: format!("{} of {writer}", rule.id),
        at: Some(*at),
        statement: line.clone(),
    })
    .saying(format!(
        "{writer} logged {times}: {line} ({} rule {}: {})",
        rule.criticality, rule.id, rule.explanation
    ));
    finding.onset = Some(*at);
    Some(finding)
}

/// The callee of `writer` that `line` or a field of `record` names as a word.
fn named_callee(
    scope: &Scope<'_>,
    writer: &Target,
    line: &str,
    record: &LogRecord,
) -> Option<Target> {
    let caller = writer.service_name();
    let fields = record.fields.values().map(String::as_str);
    let texts: Vec<&str> = std::iter::once(line).chain(fields).collect();
    // Longest first: `orders-db` is not `orders`.
    let mut callees: Vec<&str> = scope
        .services
        .iter()
        .map(String::as_str)
        .filter(|callee| scope.waits_for(caller, callee))
        .collect();
    callees.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    callees
        .into_iter()
        .find(|callee| texts.iter().any(|text| has_word(text, callee)))
        .and_then(|callee| Target::service(callee).ok())
}

/// Whether `word` stands in `text` with no letter, digit, `_` or `-` next to it.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[async_trait]
impl Analyzer for RuleAnalyzer {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let scope = Scope::new(cx, evidence);
        let mut findings = Vec::new();
        for service in &scope.services {
            self.examine(&scope, service, &mut findings);
        }
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_of_its_own() {
        assert!(has_word("http://orders:80/x", "orders"));
        assert!(has_word("orders", "orders"));
        assert!(!has_word("preorders", "orders"));
        assert!(!has_word("orders-db down", "orders"));
    }
}
