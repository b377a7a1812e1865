//! The learned classifier applied to the errors that rules leave open.

use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::record::{Category, Finding, Proof, Role};
use homeostasis_core::signal::{Level, LogRecord};
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, async_trait};

use super::hybrid::{HybridAnswer, HybridClassifier};
use super::model::Prediction;
use crate::rule::{Blames, ErrorText, growth, named_callee, reference};
use crate::scope::Scope;

/// No finding counts more, in nats. A right answer on errors of kinds that it has never seen is what
/// this is worth: with the families of errors held back, 0.45 are right where chance has one in nine,
/// which is an odds ratio of e^1.8 or little more. With the fuser's default prior that is 45 %, below its threshold.
const MAX_NATS: f64 = 1.8;

/// Records that one look reads, over all services.
const MAX_RECORDS: usize = 4_000;

/// Features that a finding names.
const MAX_FEATURES: usize = 5;

/// Reads the errors in the logs that the rules do not explain, or not surely, and says what the
/// classifier makes of them.
///
/// Records at `warn` or louder, or with a structured error, are given to a [`HybridClassifier`]. A
/// record whose best rule [stands](super::HybridConfig::rule_stands) is left to
/// [`RuleAnalyzer`](crate::RuleAnalyzer), which should have the same rules. Of the others those count
/// whose category the classifier finds at least as likely as
/// [`classifier_answers`](super::HybridConfig::classifier_answers) and the vote with the rule
/// confirms; `unknown` is no finding.
///
/// There is one finding for each service and cause. The cause is the rule's if a rule of the same
/// category matches, and then the proof refers to the line as the rule's own finding does; else it is
/// the name of the category (`data_validation`): more the classifier does not know. It counts as the log
/// odds of the classifier's measured precision at that probability
/// ([`Evaluation::reliability`](super::Evaluation::reliability), one right and one wrong answer
/// added), if lines came as much more often since the onset as that, and at most 1.8 nats: alone it
/// stays below what a [`LogOddsFuser`](crate::LogOddsFuser) by default asks for. A model without an evaluation
/// says nothing. Errors of the network and of what a service depends on accuse the callee that the
/// line names; if it names none, their writer is a symptom.
///
/// One look reads at most 4,000 records, evenly thinned out where there are more, each of bounded size.
/// The same evidence gives the same findings.
///
/// ```
/// use homeostasis::core::stage::Analyzer;
/// use homeostasis::Homeostasis;
/// use homeostasis::rca::ClassifierAnalyzer;
///
/// let analyzer = ClassifierAnalyzer::shipped()?;
/// assert_eq!(analyzer.name(), "classifier");
/// // It is not among the furnished analyzers.
/// let builder = Homeostasis::builder().analyzer(analyzer);
/// # let _ = builder;
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClassifierAnalyzer {
    hybrid: HybridClassifier,
}

/// What findings are about: the accused or ailing service, the cause, its part.
type Key = (String, String, bool);

/// The errors of one finding.
#[derive(Debug)]
struct Tally {
    category: Category,
    n_before: u32,
    n_after: u32,
    targets: BTreeSet<Target>,
    /// The likeliest error since the onset, of several the first.
    shown: Option<Shown>,
    onset: Option<Timestamp>,
}

#[derive(Debug)]
struct Shown {
    at: Timestamp,
    writer: Target,
    text: ErrorText,
    prediction: Prediction,
    confidence: f64,
    /// The line of the rule, what refers to it, and the rule's id.
    rule: Option<(String, String, String)>,
}

impl ClassifierAnalyzer {
    const NAME: &str = "classifier";

    /// An analyzer with these rules and this classifier.
    pub fn new(hybrid: HybridClassifier) -> Self {
        Self { hybrid }
    }

    /// An analyzer with the rules and the classifier that come with the crate.
    ///
    /// # Errors
    /// Never in a released version; see [`HybridClassifier::shipped`].
    pub fn shipped() -> Result<Self, ConfigError> {
        HybridClassifier::shipped().map(Self::new)
    }

    /// Its rules and classifier.
    pub fn hybrid(&self) -> &HybridClassifier {
        &self.hybrid
    }

    fn examine(
        &self,
        scope: &Scope<'_>,
        service: &str,
        share: usize,
        tallies: &mut BTreeMap<Key, Tally>,
    ) {
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
        let (before, after) = records.split_at(records.partition_point(|r| r.at < scope.split));
        for records in [before, after] {
            let step = records.len().div_ceil((share / 2).max(1)).max(1);
            for chunk in records.chunks(step) {
                let times = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                if let Some(record) = chunk.first() {
                    self.read(scope, &whole, record, times, tallies);
                }
            }
        }
    }

    /// Gives `record`, which stands for so many, to the finding it belongs to.
    fn read(
        &self,
        scope: &Scope<'_>,
        whole: &Target,
        record: &LogRecord,
        times: u32,
        tallies: &mut BTreeMap<Key, Tally>,
    ) {
        let writer = record.target.as_ref().unwrap_or(whole);
        let text = ErrorText::of_record(record).of(writer.clone());
        let Some((answer, prediction)) = self.spoken(&text) else {
            return;
        };
        let same = answer
            .rule
            .filter(|found| found.rule.category == answer.category);
        let blames = match (&same, answer.category) {
            (Some(found), _) => found.rule.blames,
            (None, Category::Network | Category::DependencyFailure) => Blames::Dependency,
            (None, _) => Blames::Itself,
        };
        let accused = match blames {
            Blames::Itself => Some(writer.clone()),
            Blames::Dependency => text
                .lines()
                .find_map(|line| named_callee(scope, writer, line.text(), record)),
        };
        let cause = same.as_ref().map_or_else(
            || answer.category.to_string().replace(' ', "_"),
            |found| found.rule.cause.clone(),
        );
        let is_cause = accused.is_some();
        let target = accused.unwrap_or_else(|| writer.clone());
        let key = (target.service_name().to_owned(), cause, is_cause);
        let tally = tallies.entry(key).or_insert_with(|| Tally {
            category: answer.category,
            n_before: 0,
            n_after: 0,
            targets: BTreeSet::new(),
            shown: None,
            onset: None,
        });
        let n = record.weight.saturating_mul(times);
        if record.at < scope.split {
            tally.n_before = tally.n_before.saturating_add(n);
            return;
        }
        tally.n_after = tally.n_after.saturating_add(n);
        tally.targets.insert(target);
        tally.onset = Some(tally.onset.map_or(record.at, |known| known.min(record.at)));
        let known = tally
            .shown
            .as_ref()
            .map_or(0.0, |shown| shown.prediction.confidence());
        if prediction.confidence() > known {
            let rule = same.map(|found| {
                let reference = reference(found.rule, writer);
                (found.line.to_owned(), reference, found.rule.id.clone())
            });
            let (writer, confidence) = (writer.clone(), answer.confidence);
            tally.shown = Some(Shown {
                at: record.at,
                writer,
                prediction,
                confidence,
                rule,
                text: text.clone(),
            });
        }
    }

    /// What is said of `text`, if it is for the classifier to say something.
    fn spoken<'r, 't>(&'r self, text: &'t ErrorText) -> Option<(HybridAnswer<'r, 't>, Prediction)> {
        let config = self.hybrid.config();
        let mut answer = self.hybrid.answer(text)?;
        let stands =
            |rule: &crate::Rule| !rule.fallback && rule.confidence.get() >= config.rule_stands;
        let prediction = answer.prediction.take()?;
        let is_told = prediction.category() == answer.category
            && answer.category != Category::Unknown
            && prediction.confidence() >= config.classifier_answers
            && !answer.rule.as_ref().is_some_and(|found| stands(found.rule));
        is_told.then_some((answer, prediction))
    }

    /// The log odds of being right that the model showed where it was as sure as here.
    fn nats(&self, confidence: f64) -> f64 {
        let bins = &self.hybrid.classifier().evaluation().reliability;
        let bin = bins.iter().rev().find(|bin| confidence >= bin.from);
        let (right, n) = bin.map_or((0.0, 0.0), |bin| {
            let n = bin.answers as f64;
            (bin.precision * n, n)
        });
        let odds = (right + 1.0) / (n - right + 1.0);
        // A file may claim anything.
        let nats = odds.ln();
        if nats.is_finite() {
            nats.min(MAX_NATS)
        } else {
            0.0
        }
    }

    fn finding(&self, scope: &Scope<'_>, key: &Key, tally: &Tally) -> Option<Finding> {
        let (service, cause, is_cause) = key;
        let shown = tally.shown.as_ref()?;
        let limit = self.nats(shown.prediction.confidence());
        let nats = growth(scope, tally.n_before, tally.n_after, limit);
        if limit <= 0.0 || nats <= 0.0 {
            return None;
        }
        let target = match (tally.targets.len(), tally.targets.first()) {
            (1, Some(only)) => only.clone(),
            _ => Target::service(service).ok()?,
        };
        let role = if *is_cause {
            Role::Cause
        } else {
            Role::Symptom
        };
        let (writer, category) = (&shown.writer, tally.category);
        let (line, reference, rule) = shown.rule.clone().unwrap_or_else(|| {
            let line = self.telling_line(&shown.text, category);
            (line, format!("error of {writer}"), String::new())
        });
        let rule = match &*rule {
            "" => "no rule is sure".to_owned(),
            id => format!("rule {id} is less sure of it"),
        };
        let percent = shown.confidence * 100.0;
        let mut finding = Finding::new(Self::NAME, target, cause, category, role, nats)
            .proven_by(Proof {
                kind: "log".to_owned(),
                reference,
                at: Some(shown.at),
                statement: line.clone(),
            })
            .saying(format!(
                "{writer} logged {} times what was learned to be {category} ({percent:.0} %, {rule}): {line}",
                tally.n_after
            ));
        let classifier = self.hybrid.classifier();
        for (feature, adds) in classifier.explain(&shown.text, category, MAX_FEATURES) {
            finding.proofs.push(Proof {
                kind: "feature".to_owned(),
                reference: feature,
                at: Some(shown.at),
                statement: format!("adds {adds:.2} to the logit of {category}"),
            });
        }
        finding.onset = tally.onset;
        Some(finding)
    }

    /// The line that alone speaks most for `category`.
    fn telling_line(&self, text: &ErrorText, category: Category) -> String {
        let alone = |line: &str| {
            let line = ErrorText::of_text(line).in_language(text.language());
            let prediction = self.hybrid.classifier().predict(&line);
            prediction.map_or(0.0, |found| found.probability(category))
        };
        let scored = text.lines().map(|line| (line.text(), alone(line.text())));
        // Of equal ones the first.
        let best = scored.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map_or_else(String::new, |(line, _)| line.to_owned())
    }
}

#[async_trait]
impl Analyzer for ClassifierAnalyzer {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let scope = Scope::new(cx, evidence);
        let share = MAX_RECORDS / scope.services.len().clamp(1, MAX_RECORDS / 2);
        let mut tallies = BTreeMap::new();
        for service in scope.services.iter().take(MAX_RECORDS / 2) {
            self.examine(&scope, service, share, &mut tallies);
        }
        let found = tallies.iter();
        Ok(found
            .filter_map(|(key, tally)| self.finding(&scope, key, tally))
            .collect())
    }
}

#[cfg(test)]
mod tests;
