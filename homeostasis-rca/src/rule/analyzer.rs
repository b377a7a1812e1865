//! Rules applied to the error lines around an incident.

use std::cell::RefCell;
use std::collections::BTreeMap;

use homeostasis_core::condition::{self, Quantity, Truth, Variable};
use homeostasis_core::record::{Category, Finding, Proof, Role};
use homeostasis_core::signal::{Level, LogRecord};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{ConfigError, Context, Target, TargetScope, Timestamp, async_trait};

use super::denial::said_at;
use super::error_text::Place;
use super::{Blames, ErrorText, Rule, RuleMatch, RuleSet};
use crate::scope::Scope;

/// What each indicator found adds, in nats, and how much all of them may.
const INDICATOR_NATS: f64 = 0.5;
const MAX_INDICATOR_NATS: f64 = 1.5;

/// What it adds that a new error was raised by code of the service itself, in nats: half of it if
/// that code only called what raised it. Stated, not fitted: with it alone a rule of .75 ends at 75 %,
/// and one of .9 at 90 %, of the prior of a [`LogOddsFuser`](crate::LogOddsFuser).
const OWN_CODE_NATS: f64 = 2.0;

/// Named groups of a rule that a finding tells, so many at most.
const MAX_CAPTURES: usize = 16;

/// Values of one group that are told: two say that it has no one value.
const MAX_VALUES: usize = 2;

/// A rate before the onset is known from this many seconds on.
const MIN_PAST_SECONDS: f64 = 10.0;

/// Reads the logs of the services in question and says what the rules say.
///
/// Records at `warn` or louder, or with a structured error, are split into error lines (stack
/// frames are none); each line is given to the one rule of first priority that matches, to a
/// fallback only if no other rule speaks of the record.
///
/// Lines since the onset are counted against lines before it: a rule counts as much as the logarithm
/// of the ratio of the two rates (with half a line added to each), at most the log odds of its
/// confidence, so that a line that was always there says nothing. Indicators found add half a nat
/// each, at most 1.5. A rule with a context requirement that is false gives way to the next that matches; each
/// unknown one halves its weight.
///
/// Where the structured error of a line has frames, and its rule says that the code, or data that
/// the code did not expect, is at fault, the place speaks, too: 2 nats if the innermost frame is
/// code of the project, 1 if only a frame further out is, in the measure in which the line is new,
/// divided by one more than the times it was seen before the onset.
/// It does not where another line of the service has a cause outside of the code, such as a full
/// disk or a refused connection: of that an exception may be the effect.
///
/// What named groups hold is told as proofs of kind `capture`,
/// two of a name if lines differ in it.
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
    /// The first line since the onset, and when it came.
    first: Option<(Timestamp, String)>,
    /// What named groups hold in the lines since the onset, and since when: up to [`MAX_VALUES`]
    /// values each, which is enough to tell that lines differ.
    captures: BTreeMap<String, BTreeMap<String, Timestamp>>,
    /// How many requirements nobody knows of, at best.
    n_unknown: usize,
    indicators: Vec<bool>,
    /// The nearest that one of the lines since the onset comes to code of the project.
    place: Place,
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
    /// Never in a released version; see [`RuleSet::shipped`].
    pub fn furnished() -> Result<Self, ConfigError> {
        RuleSet::shipped().map(Self::new)
    }

    /// Its rules.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// For each line of `record`, the rule of first priority whose requirements are not false, with
    /// how many of them are unknown; fallbacks only where no other rule speaks of the record.
    fn speaking<'r, 't>(
        &'r self,
        record: &LogRecord,
        text: &'t ErrorText,
        metrics: &dyn condition::Scope,
    ) -> Vec<(RuleMatch<'r, 't>, usize)> {
        let holds = |found: RuleMatch<'r, 't>| {
            let mut n_unknown = 0;
            for requirement in &found.rule.context_requirements {
                match requirement.holds(record, metrics) {
                    Truth::True => {}
                    Truth::False => return None,
                    Truth::Unknown => n_unknown += 1,
                }
            }
            Some((found, n_unknown))
        };
        let lines = 0..text.lines().len();
        let mut speaking: Vec<_> = lines
            .filter_map(|line| self.rules.matching_line(text, line).find_map(&holds))
            .collect();
        if speaking.iter().any(|(found, _)| !found.rule.fallback) {
            speaking.retain(|(found, _)| !found.rule.fallback);
        }
        speaking
    }

    fn examine(&self, scope: &Scope<'_>, service: &str, findings: &mut Vec<Finding>) {
        let Ok(whole) = Target::service(service) else {
            return;
        };
        let mut records = scope
            .observations()
            .logs(Some(&whole), scope.from, scope.to);
        records.retain(|record| {
            scope.covers_line(record.at) && (record.level >= Level::Warn || record.error.is_some())
        });
        // Of several records of one instant the same one is shown, in whatever order they come.
        records.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.message.cmp(&b.message)));
        // By the writer, the rule's place and the accused: each is a finding of its own.
        let mut tallies: BTreeMap<(Target, usize, Option<Target>), Tally> = BTreeMap::new();
        let mut lines_after: Vec<String> = Vec::new();
        let mut metrics: BTreeMap<&Target, Remembered<'_>> = BTreeMap::new();
        for record in &records {
            let writer = record.target.as_ref().unwrap_or(&whole);
            let metrics = metrics
                .entry(writer)
                .or_insert_with(|| Remembered::of(scope, writer));
            let text = ErrorText::of_record(record).of(writer.clone());
            let is_after = record.at >= scope.split;
            for (found, n_unknown) in self.speaking(record, &text, metrics) {
                let accused = match found.rule.blames {
                    Blames::Itself => Some(writer.clone()),
                    Blames::Dependency => named_callee(scope, writer, found.line, record),
                };
                let key = (writer.clone(), found.place(), accused);
                let tally = tallies.entry(key).or_default();
                if !is_after {
                    tally.n_before = tally.n_before.saturating_add(record.weight);
                    continue;
                }
                tally.n_after = tally.n_after.saturating_add(record.weight);
                if tally.first.is_none() {
                    tally.n_unknown = n_unknown;
                    tally.first = Some((record.at, found.line.to_owned()));
                }
                tally.n_unknown = tally.n_unknown.min(n_unknown);
                tally.place = tally.place.max(found.raised());
                for (name, value) in found.captures() {
                    let values = tally.captures.entry(name).or_default();
                    if values.len() < MAX_VALUES {
                        values.entry(value).or_insert(record.at);
                    }
                }
            }
            if is_after {
                lines_after.extend(text.lines().map(|line| line.text().to_owned()));
            }
        }
        let mut weighed = Vec::with_capacity(tallies.len());
        for ((writer, place, accused), mut tally) in tallies {
            let Some(rule) = self.rules.rules().get(place) else {
                continue;
            };
            tally.indicators = rule
                .root_cause_indicators
                .iter()
                .map(|indicator| {
                    lines_after
                        .iter()
                        .any(|line| said_at(indicator, line).is_some())
                })
                .collect();
            let nats = weight(scope, rule, &tally);
            if nats > 0.0 {
                weighed.push((rule, writer, accused, tally, nats));
            }
        }
        let competes = weighed.iter().any(|(rule, ..)| is_outside_of_code(rule));
        for (rule, writer, accused, tally, mut nats) in weighed {
            if !competes {
                nats += own_code(rule, &tally, nats);
            }
            findings.extend(finding(rule, &writer, accused, &tally, nats));
        }
    }
}

/// Whether the rule names a cause that no change of the code would take away.
fn is_outside_of_code(rule: &Rule) -> bool {
    !matches!(
        rule.category,
        Category::ApplicationError | Category::DataValidation | Category::Unknown
    )
}

/// What the place says beside the line, which counts `nats`.
fn own_code(rule: &Rule, tally: &Tally, nats: f64) -> f64 {
    let speaks = rule.blames == Blames::Itself && rule.category != Category::Unknown;
    let share = match tally.place {
        Place::Own if speaks => 1.0,
        Place::Called if speaks => 0.5,
        _ => return 0.0,
    };
    // A line that is as new as it can be counts as much as its rule. How much of the past was watched
    // is not known for sure, so each time that it was seen there counts besides.
    let seen_before = 1.0 + f64::from(tally.n_before);
    OWN_CODE_NATS * share * (nats / rule.nats()).min(1.0) / seen_before
}

/// The metrics of a target, each looked up once however many records ask for it.
struct Remembered<'a> {
    metrics: TargetScope<'a>,
    known: RefCell<BTreeMap<String, Option<Quantity>>>,
}

impl<'a> Remembered<'a> {
    fn of(scope: &'a Scope<'_>, target: &'a Target) -> Self {
        Self {
            metrics: TargetScope {
                observations: scope.observations(),
                target: Some(target),
                since: scope.split,
                now: scope.to,
            },
            known: RefCell::default(),
        }
    }
}

impl condition::Scope for Remembered<'_> {
    fn lookup(&self, variable: &Variable) -> Option<Quantity> {
        let mut known = self.known.borrow_mut();
        let value = known
            .entry(variable.to_string())
            .or_insert_with(|| condition::Scope::lookup(&self.metrics, variable));
        value.clone()
    }
}

/// What `n_after` lines since the split say after `n_before` before it, in nats: the logarithm of
/// the ratio of the two rates, with half a line added to each, at most `limit`. Rates are taken over the time of which all
/// lines are known.
pub(crate) fn growth(scope: &Scope<'_>, n_before: u32, n_after: u32, limit: f64) -> f64 {
    let known = scope.complete_since;
    let past = scope.split.since(known).as_secs_f64();
    let present = scope.to.since(scope.split.max(known));
    let present = present.as_secs_f64().max(1.0);
    if past < MIN_PAST_SECONDS {
        // Whether it was always there nobody knows.
        return limit * 0.7;
    }
    if n_after == 0 {
        return 0.0;
    }
    let rate = |n: u32, seconds: f64| (f64::from(n) + 0.5) / seconds;
    let ratio = rate(n_after, present) / rate(n_before, past);
    ratio.ln().min(limit)
}

/// What the lines of `tally` say, in nats.
fn weight(scope: &Scope<'_>, rule: &Rule, tally: &Tally) -> f64 {
    let mut nats = growth(scope, tally.n_before, tally.n_after, rule.nats());
    if nats > 0.0 {
        let n_found = tally.indicators.iter().filter(|found| **found).count();
        nats += (n_found as f64 * INDICATOR_NATS).min(MAX_INDICATOR_NATS);
    }
    for _ in 0..tally.n_unknown {
        nats *= 0.5;
    }
    nats
}

/// What the proof of a line refers to. Whoever else speaks of the line says the same, so that it
/// does not count twice.
pub(crate) fn reference(rule: &Rule, writer: &Target) -> String {
    format!("{} of {writer}", rule.id)
}

fn finding(
    rule: &Rule,
    writer: &Target,
    accused: Option<Target>,
    tally: &Tally,
    nats: f64,
) -> Option<Finding> {
    let (at, line) = tally.first.as_ref()?;
    let (target, part) = match accused {
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
        part,
        nats,
    )
    .proven_by(Proof {
        kind: "log".to_owned(),
        reference: reference(rule, writer),
        at: Some(*at),
        statement: line.clone(),
    })
    .saying(format!(
        "{writer} logged {times}: {line} ({} rule {}: {})",
        rule.criticality, rule.id, rule.title
    ));
    let captures = tally.captures.iter().take(MAX_CAPTURES);
    let captures = captures.flat_map(|(name, values)| values.iter().map(move |v| (name, v)));
    for (name, (value, at)) in captures {
        finding.proofs.push(Proof {
            kind: "capture".to_owned(),
            reference: name.clone(),
            at: Some(*at),
            statement: value.clone(),
        });
    }
    finding.onset = Some(*at);
    Some(finding)
}

/// The callee of `writer` that `line` or a field of `record` names as a word.
pub(crate) fn named_callee(
    scope: &Scope<'_>,
    writer: &Target,
    line: &str,
    record: &LogRecord,
) -> Option<Target> {
    let caller = writer.service_name();
    let fields = record.fields.values();
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
    use std::sync::Arc;

    use homeostasis_core::ManualClock;
    use homeostasis_core::record::{Anomaly, Diagnosis, Subject};
    use homeostasis_core::signal::{ErrorEvent, Frame, SeriesKey};
    use homeostasis_core::stage::Fuser;
    use homeostasis_core::testing::RecordedObservations;
    use homeostasis_core::testing::analyzer::{incident_of, topology_of};

    use super::*;

    const RULE: &str = "
rules:
- id: pool
  pattern: pool is empty
  cause: pool_exhausted
  category: resource_exhaustion
  confidence: 0.9
  root_cause_indicators: [slow query, leaked connection]
  context_requirements: ['connections_ratio > 90%']
  examples: [the pool is empty]
  title: No connection is free.
- id: upstream
  pattern: 'upstream failed(?:: (?<peer>[^ ]+))?'
  cause: error_rate
  category: dependency_failure
  blames: dependency
  confidence: 0.8
  examples: [upstream failed]
  title: Something that was called failed.
";

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn orders() -> Target {
        Target::service("orders").unwrap()
    }

    fn ratio(value: f64) -> RecordedObservations {
        let key = SeriesKey::new("connections_ratio").with("service", "orders");
        RecordedObservations::new().with_point(key, at(305), value)
    }

    async fn findings(world: RecordedObservations, lines: &[(i64, &str)]) -> Vec<Finding> {
        findings_of(RULE, world, lines).await
    }

    async fn findings_of(
        rules: &str,
        world: RecordedObservations,
        lines: &[(i64, &str)],
    ) -> Vec<Finding> {
        let world = lines.iter().fold(world, |world, (secs, line)| {
            world.with_log(LogRecord::new(at(*secs), Level::Error, *line).of(orders()))
        });
        let topology = topology_of(&[("gateway", &["orders"]), ("orders", &["db", "db-replica"])]);
        let cx = Context::new(Arc::new(ManualClock::new(at(320))), 1)
            .observing(Arc::new(world))
            .in_topology(Arc::new(topology));
        let subject = Subject::Condition("x".to_owned());
        let incident = incident_of(&[Anomaly::new("d", orders(), subject, at(300)).saying("x")]);
        let evidence = Evidence::new(&incident, at(0), at(320));
        let analyzer = RuleAnalyzer::new(RuleSet::parse("r.yaml", rules).unwrap());
        analyzer.analyze(&cx, &evidence).await.unwrap()
    }

    #[tokio::test]
    async fn where_older_lines_were_left_out_nobody_knows_that_there_were_none() {
        let subject = Subject::Condition("x".to_owned());
        let incident = incident_of(&[Anomaly::new("d", orders(), subject, at(300)).saying("x")]);
        let lines = (0..50).map(|n| {
            LogRecord::new(at(300 + n % 20), Level::Error, "upstream failed").of(orders())
        });
        let world = lines.fold(RecordedObservations::new(), RecordedObservations::with_log);
        let cx = Context::new(Arc::new(ManualClock::new(at(320))), 1).observing(Arc::new(world));
        let analyzer = RuleAnalyzer::new(RuleSet::parse("r.yaml", RULE).unwrap());
        let whole = Evidence::new(&incident, at(0), at(320));
        let mut nats = Vec::new();
        for evidence in [whole, whole.complete_since(at(299))] {
            let found = analyzer.analyze(&cx, &evidence).await.unwrap();
            nats.push(found[0].log_likelihood_ratio);
        }
        assert!((nats[1] - 0.7 * nats[0]).abs() < 1e-9, "{nats:?}");
    }

    async fn nats(world: RecordedObservations, lines: &[(i64, &str)]) -> Option<f64> {
        let found = findings(world, lines).await;
        found.first().map(|finding| finding.log_likelihood_ratio)
    }

    #[tokio::test]
    async fn a_requirement_that_is_false_drops_and_an_unknown_one_halves() {
        let line = [(302, "the pool is empty")];
        let sure = nats(ratio(0.99), &line).await.unwrap();
        // 1.5 lines in 50 seconds against 0.5 lines in 270 seconds, below the odds of 0.9.
        assert!((sure - (1.5 / 50.0 / (0.5 / 270.0_f64)).ln().min(9.0_f64.ln())).abs() < 1e-9);
        let unknown = nats(RecordedObservations::new(), &line).await.unwrap();
        assert!((unknown - sure / 2.0).abs() < 1e-9);
        assert_eq!(nats(ratio(0.5), &line).await, None);
    }

    /// What the shipped rules and the fuser make of `errors`, each logged by `orders` at its second.
    async fn diagnosed(errors: &[(i64, ErrorEvent)], others: &[(i64, &str)]) -> Diagnosis {
        let world = others
            .iter()
            .fold(RecordedObservations::new(), |world, (secs, line)| {
                world.with_log(LogRecord::new(at(*secs), Level::Error, *line).of(orders()))
            });
        let world = errors.iter().fold(world, |world, (secs, error)| {
            let mut record = LogRecord::new(at(*secs), Level::Error, "failed").of(orders());
            record.error = Some(Box::new(error.clone()));
            world.with_log(record)
        });
        let cx = Context::new(Arc::new(ManualClock::new(at(320))), 1).observing(Arc::new(world));
        let subject = Subject::Condition("x".to_owned());
        let incident = incident_of(&[Anomaly::new("d", orders(), subject, at(300)).saying("x")]);
        let evidence = Evidence::new(&incident, at(0), at(320));
        let analyzer = RuleAnalyzer::furnished().unwrap();
        let findings = analyzer.analyze(&cx, &evidence).await.unwrap();
        crate::LogOddsFuser::default().fuse(&cx, &evidence, findings)
    }

    /// An error with these frames, innermost first: of the project, or not.
    fn raised(language: &str, kind: &str, message: &str, frames: &[bool]) -> ErrorEvent {
        let mut error = ErrorEvent::new(language, kind, message);
        let frame = |(n, in_project): (u32, &bool)| Frame {
            function: "f".to_owned(),
            file: format!("f{n}"),
            line: n,
            column: 0,
            in_project: *in_project,
        };
        error.frames = (1..).zip(frames).map(frame).collect();
        error
    }

    #[tokio::test]
    async fn a_new_error_of_the_projects_own_code_names_the_cause_in_every_language() {
        for (language, kind, message) in [
            ("python", "KeyError", "'AT'"),
            ("python", "IndexError", "list index out of range"),
            ("python", "ZeroDivisionError", "division by zero"),
            (
                "python",
                "AttributeError",
                "'NoneType' object has no attribute 'price'",
            ),
            (
                "rust",
                "panic",
                "index out of bounds: the len is 3 but the index is 7",
            ),
            ("rust", "panic", "attempt to subtract with overflow"),
            (
                "rust",
                "panic",
                "called `Option::unwrap()` on a `None` value",
            ),
            ("rust", "panic", "attempt to divide by zero"),
            (
                "javascript",
                "TypeError",
                "Cannot read properties of undefined (reading 'price')",
            ),
            ("javascript", "ReferenceError", "cart is not defined"),
            (
                "go",
                "panic",
                "runtime error: index out of range [5] with length 3",
            ),
            (
                "go",
                "panic",
                "runtime error: invalid memory address or nil pointer dereference",
            ),
            (
                "java",
                "java.lang.NullPointerException",
                "Cannot invoke \"Cart.total()\" because \"cart\" is null",
            ),
            ("java", "java.lang.ArithmeticException", "/ by zero"),
        ] {
            let error = raised(language, kind, message, &[true, false]);
            let diagnosis = diagnosed(&[(302, error.clone())], &[]).await;
            let cause = diagnosis.root_cause();
            let cause = cause.unwrap_or_else(|| panic!("{kind} {message}: {diagnosis:#?}"));
            assert_eq!(
                cause.category,
                Category::ApplicationError,
                "{kind} {message}"
            );
            assert_eq!(cause.target, orders());
            // As often before: it is not why the service fell ill.
            let always: Vec<_> = (0..32).map(|n| (n * 10, error.clone())).collect();
            let diagnosis = diagnosed(&always, &[]).await;
            assert_eq!(diagnosis.root_cause(), None, "{kind} {message}");
        }
    }

    #[tokio::test]
    async fn the_place_of_an_error_counts_by_whose_it_is() {
        let confidence = async |frames: &[bool]| {
            let error = raised("python", "KeyError", "'AT'", frames);
            let diagnosis = diagnosed(&[(302, error)], &[]).await;
            diagnosis.hypotheses[0].confidence.get()
        };
        let nowhere = confidence(&[]).await;
        assert!((nowhere - 0.289).abs() < 1e-3, "{nowhere}");
        let of_others = confidence(&[false, false]).await;
        assert!((of_others - nowhere).abs() < 1e-9);
        let called = confidence(&[false, true]).await;
        assert!((called - 0.525).abs() < 1e-3, "{called}");
        let own = confidence(&[true, true]).await;
        assert!((own - 0.75).abs() < 1e-3, "{own}");
    }

    #[tokio::test]
    async fn an_error_beside_a_cause_outside_of_the_code_may_be_its_effect() {
        let error = raised("python", "KeyError", "'AT'", &[true]);
        let full = (301, "write failed: No space left on device");
        let diagnosis = diagnosed(&[(302, error.clone())], &[full]).await;
        let top = &diagnosis.hypotheses[0];
        assert_eq!(top.category, Category::ResourceExhaustion, "{diagnosis:#?}");
        let raised = diagnosis
            .hypotheses
            .iter()
            .find(|one| one.cause == "application_exception");
        assert!(raised.unwrap().confidence.get() < 0.3, "{diagnosis:#?}");
        // What was there before the onset does not compete.
        let always: Vec<_> = (0..32).map(|n| (n * 10, full.1)).collect();
        let diagnosis = diagnosed(&[(302, error)], &always).await;
        assert_eq!(
            diagnosis.root_cause().unwrap().cause,
            "application_exception"
        );
    }

    #[tokio::test]
    async fn indicators_make_it_surer() {
        let bare = nats(ratio(0.99), &[(302, "pool is empty")]).await.unwrap();
        let told = [(302, "pool is empty"), (303, "slow query: 9 s")];
        assert!((nats(ratio(0.99), &told).await.unwrap() - bare - 0.5).abs() < 1e-9);
        let denied = [(302, "pool is empty"), (303, "no slow query")];
        let told = nats(ratio(0.99), &denied).await.unwrap();
        assert!((told - bare).abs() < 1e-9);
    }

    #[tokio::test]
    async fn a_line_as_frequent_before_says_next_to_nothing() {
        let lines: Vec<_> = (0..32).map(|i| (i * 10, "pool is empty")).collect();
        assert!(nats(ratio(0.99), &lines).await.unwrap_or_default() < 0.1);
        let rarer = [&lines[..], &[(1, "pool is empty"); 40][..]].concat();
        assert_eq!(nats(ratio(0.99), &rarer).await, None);
    }

    #[tokio::test]
    async fn the_callee_that_is_named_is_accused_and_else_nobody() {
        let accused = |line: &'static str| async move {
            let found = findings(RecordedObservations::new(), &[(302, line)]).await;
            found
                .first()
                .map(|finding| (finding.target.to_string(), finding.role))
        };
        let by = |name: &str, role| Some((name.to_owned(), role));
        assert_eq!(
            accused("upstream failed: db-replica:5432").await,
            by("db-replica", Role::Cause)
        );
        assert_eq!(
            accused("upstream failed: db:5432").await,
            by("db", Role::Cause)
        );
        assert_eq!(
            accused("upstream failed: somebody").await,
            by("orders", Role::Symptom)
        );
        // A caller is no dependency.
        assert_eq!(
            accused("upstream failed: gateway").await,
            by("orders", Role::Symptom)
        );
    }

    #[tokio::test]
    async fn a_rule_whose_requirement_is_false_gives_way_to_the_next() {
        let rules = RULE.to_owned()
            + "
- id: fallen_back_on
  title: A pool has a problem.
  pattern: pool is
  cause: something_else
  category: unknown
  confidence: 0.8
  examples: [the pool is empty]
";
        let line = [(302, "the pool is empty")];
        let said = |found: Vec<Finding>| found.first().map(|finding| finding.cause.clone());
        let found = findings_of(&rules, ratio(0.99), &line).await;
        assert_eq!(said(found).as_deref(), Some("pool_exhausted"));
        let found = findings_of(&rules, ratio(0.5), &line).await;
        assert_eq!(said(found).as_deref(), Some("something_else"));
    }

    #[tokio::test]
    async fn a_fallback_is_silent_where_another_line_of_the_record_is_explained() {
        let rules = RULE.to_owned()
            + "
- id: any_panic
  title: Something panicked.
  pattern: 'panicked at'
  fallback: true
  cause: application_panic
  category: application_error
  confidence: 0.7
  examples: [panicked at a.rs]
";
        let causes = async |line: &'static str| {
            let found = findings_of(&rules, ratio(0.99), &[(302, line)]).await;
            let causes: Vec<String> = found.into_iter().map(|finding| finding.cause).collect();
            causes
        };
        assert_eq!(
            causes("panicked at a.rs:\nthe pool is empty").await,
            ["pool_exhausted"]
        );
        assert_eq!(
            causes("panicked at a.rs:\nno luck").await,
            ["application_panic"]
        );
    }

    #[tokio::test]
    async fn named_groups_are_proofs_of_the_finding() {
        let found = findings(
            RecordedObservations::new(),
            &[(302, "upstream failed: db:5432")],
        )
        .await;
        let captured = found[0].proofs.iter().find(|proof| proof.kind == "capture");
        let captured = captured.unwrap();
        assert_eq!(
            (&*captured.reference, &*captured.statement),
            ("peer", "db:5432")
        );
    }

    #[tokio::test]
    async fn a_group_that_two_lines_fill_differently_has_two_values() {
        let rules = "
rules:
- id: table
  pattern: 'relation (?<table>[a-z]+) does not exist'
  cause: bad_migration
  category: configuration
  confidence: 0.9
  examples: [relation x does not exist]
  title: A table is missing.
";
        let mut lines = vec![(302, "relation prices does not exist")];
        lines.extend(vec![(303, "relation orders does not exist"); 50]);
        lines.push((304, "relation carts does not exist"));
        let found = findings_of(rules, RecordedObservations::new(), &lines).await;
        let captured = found[0]
            .proofs
            .iter()
            .filter(|proof| proof.kind == "capture");
        let captured: Vec<&str> = captured.map(|proof| &*proof.statement).collect();
        assert_eq!(captured, ["orders", "prices"]);
    }

    #[test]
    fn a_name_is_a_word_of_its_own() {
        assert!(has_word("http://orders:80/x", "orders"));
        assert!(has_word("orders", "orders"));
        assert!(!has_word("preorders", "orders"));
        assert!(!has_word("orders-db down", "orders"));
    }
}
