//! Anomalies: what is wrong, with what was expected instead.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::record::Severity;
use crate::record::bounds::{at_most, finite, short};
use crate::signal::SeriesKey;
use crate::target::Target;
use crate::time::Timestamp;
use crate::unit::{Ratio, Score};

/// What kind of signal an anomaly was found in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// A time series.
    Series(SeriesKey),
    /// Log records, in words: of a component, of a pattern.
    Logs(String),
    /// Log records of one template ([`LogTemplate`](crate::signal::LogTemplate)).
    Template {
        /// Which: it tells the template from others for as long as it lives.
        id: u64,
        /// Its text as it is now, for people: a template becomes more general while more of its
        /// messages are seen.
        text: String,
    },
    /// Spans of an operation.
    Operation(String),
    /// A health check.
    Health(String),
    /// A condition over several metrics, as text.
    Condition(String),
}

impl Subject {
    /// The short name: the metric, the template, the operation, the check, the condition.
    pub fn name(&self) -> &str {
        match self {
            Self::Series(key) => &key.metric,
            Self::Logs(name)
            | Self::Operation(name)
            | Self::Health(name)
            | Self::Condition(name) => name,
            Self::Template { text, .. } => text,
        }
    }

    /// Whether it is the same thing. Of templates the ids count: their texts may have changed.
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }

    fn identity(&self) -> Identity<'_> {
        match self {
            Self::Template { id, .. } => Identity::Template { template: *id },
            other => Identity::Whole(other),
        }
    }
}

/// What tells a subject from others.
#[derive(PartialEq, Serialize)]
#[serde(untagged)]
enum Identity<'a> {
    Template { template: u64 },
    Whole(&'a Subject),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Series(key) => write!(f, "{key}"),
            Self::Logs(name) => write!(f, "logs {name:?}"),
            Self::Template { text, .. } => write!(f, "logs {text:?}"),
            Self::Operation(name) => write!(f, "operation {name}"),
            Self::Health(name) => write!(f, "health check {name}"),
            Self::Condition(text) => f.write_str(text),
        }
    }
}

/// To which side it deviates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Too much.
    High,
    /// Too little.
    Low,
    /// Neither: a state, a shape.
    Other,
}

/// What would have been normal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Expectation {
    /// A value between these.
    Between {
        /// Lower bound; `None` for none.
        low: Option<f64>,
        /// Upper bound; `None` for none.
        high: Option<f64>,
    },
    /// In words.
    Words(String),
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between {
                low: Some(low),
                high: Some(high),
            } => write!(f, "{low:.4} to {high:.4}"),
            Self::Between {
                low: Some(low),
                high: None,
            } => write!(f, "at least {low:.4}"),
            Self::Between {
                low: None,
                high: Some(high),
            } => write!(f, "at most {high:.4}"),
            Self::Between {
                low: None,
                high: None,
            } => f.write_str("any value"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// What makes two anomalies the same one: detector, target, subject ([`Subject::is_same`]) and
/// whether it needs people, without time and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(Digest);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.short())
    }
}

/// How much of an anomaly comes from one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The feature in words: a series, a column, a detector, a child operation. Not empty.
    pub feature: String,
    /// Its share of the deviation; the shares of one anomaly add up to at most 1.
    pub share: Ratio,
}

impl fmt::Display for Contribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.0} %", self.feature, self.share.get() * 100.0)
    }
}

/// Something abnormal, found by one detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Anomaly {
    /// Who found it.
    pub detector: String,
    /// Who has it.
    pub target: Target,
    /// In what.
    pub subject: Subject,
    /// When it was found.
    pub at: Timestamp,
    /// Since when it lasts, as far as the detector can tell; not after `at`.
    pub since: Timestamp,
    /// How anomalous, `0..=1`.
    pub score: Score,
    /// The same in nats (negative natural logarithm of the tail probability), where scores near 1
    /// keep their order; 0 if the detector has no such scale.
    pub surprise: f64,
    /// To which side.
    pub direction: Direction,
    /// What was seen, if it is a number.
    pub observed: Option<f64>,
    /// What was expected.
    pub expected: Expectation,
    /// A hint of the detector; the engine judges severity itself.
    pub severity_hint: Option<Severity>,
    /// A playbook this anomaly was asked for by, if a playbook's trigger raised it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook_hint: Option<String>,
    /// Only people can help: the incident is escalated and nothing new is done by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_people: bool,
    /// One sentence for people.
    pub explanation: String,
    /// The last points, for a picture; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<(Timestamp, f64)>,
    /// What it was found by, the largest share first; at most 8. Empty if that is the subject alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contributions: Vec<Contribution>,
}

impl Anomaly {
    /// Points kept for the picture.
    pub const MAX_POINTS: usize = 64;
    /// Contributions kept.
    pub const MAX_CONTRIBUTIONS: usize = 8;

    /// An anomaly with score 1 that began when it was found and has no explanation yet.
    pub fn new(
        detector: impl Into<String>,
        target: Target,
        subject: Subject,
        at: Timestamp,
    ) -> Self {
        Self {
            detector: detector.into(),
            target,
            subject,
            at,
            since: at,
            score: Score::ONE,
            surprise: 0.0,
            direction: Direction::Other,
            observed: None,
            expected: Expectation::Words("normal behavior".to_owned()),
            severity_hint: None,
            playbook_hint: None,
            needs_people: false,
            explanation: String::new(),
            series: Vec::new(),
            contributions: Vec::new(),
        }
    }

    /// The same with this sentence.
    pub fn saying(mut self, explanation: impl Into<String>) -> Self {
        self.explanation = explanation.into();
        self
    }

    /// The same with these features and their weights, each 0 or more: the largest eight are kept, with their
    /// shares of the sum of all. Weights that are not finite and positive count as nothing.
    pub fn due_to<F: Into<String>>(mut self, weights: impl IntoIterator<Item = (F, f64)>) -> Self {
        let mut weighed: Vec<(F, f64)> = weights
            .into_iter()
            .filter(|(_, weight)| weight.is_finite() && *weight > 0.0)
            .collect();
        // Stable: of equal weights the first stays first.
        weighed.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        // A sum of huge weights may not be finite, that of their shares of the largest is.
        let largest = weighed.first().map_or(1.0, |(_, weight)| *weight);
        let sum: f64 = weighed.iter().map(|(_, weight)| weight / largest).sum();
        weighed.truncate(Self::MAX_CONTRIBUTIONS);
        self.contributions = weighed
            .into_iter()
            .map(|(feature, weight)| Contribution {
                feature: feature.into(),
                share: Ratio::saturating(weight / largest / sum),
            })
            .collect();
        self
    }

    /// The feature that contributed most: the first of `contributions`, or else the subject.
    pub fn top_feature(&self) -> String {
        match self.contributions.first() {
            Some(top) => top.feature.clone(),
            None => self.subject.to_string(),
        }
    }

    /// What makes it the same as an earlier one.
    pub fn fingerprint(&self) -> Fingerprint {
        let subject = self.subject.identity();
        let (detector, target, subject) = (&self.detector, &self.target, &subject);
        Fingerprint(if self.needs_people {
            // Known trouble that only people can end is news.
            Digest::of(&(detector, target, subject, "needs people"))
        } else {
            Digest::of(&(detector, target, subject))
        })
    }

    /// The post-conditions the engine checks of what a detector returns, as a sentence if broken.
    ///
    /// Every number is finite, because the journal cannot hold another; texts have at most 4096
    /// characters.
    pub fn violation(&self) -> Option<String> {
        if self.detector.is_empty() {
            return Some("an anomaly without the name of its detector".to_owned());
        }
        if self.since > self.at {
            return Some(format!(
                "an anomaly that began ({}) after it was found ({})",
                self.since, self.at
            ));
        }
        if !self.surprise.is_finite() || self.surprise < 0.0 {
            return Some(format!(
                "surprise = {}, expected a finite number of nats, 0 or more",
                self.surprise
            ));
        }
        if self.explanation.trim().is_empty() {
            return Some("an anomaly without an explanation".to_owned());
        }
        let (low, high) = match &self.expected {
            Expectation::Between { low, high } => (*low, *high),
            Expectation::Words(_) => (None, None),
        };
        let words = match &self.expected {
            Expectation::Words(words) => words.as_str(),
            Expectation::Between { .. } => "",
        };
        at_most("points", self.series.len(), Self::MAX_POINTS)
            .or_else(|| finite("observed", self.observed?))
            .or_else(|| finite("the lower bound expected", low?))
            .or_else(|| finite("the upper bound expected", high?))
            .or_else(|| {
                let mut points = self.series.iter();
                points.find_map(|(at, value)| finite(&format!("the point at {at}"), *value))
            })
            .or_else(|| {
                let (n, most) = (self.contributions.len(), Self::MAX_CONTRIBUTIONS);
                at_most("contributions", n, most)
            })
            .or_else(|| {
                let is_blank = |c: &Contribution| c.feature.trim().is_empty();
                let blank = self.contributions.iter().any(is_blank);
                blank.then(|| "a contribution without the name of its feature".to_owned())
            })
            .or_else(|| {
                let mut parts = self.contributions.iter();
                parts.find_map(|part| short("a feature", &part.feature))
            })
            .or_else(|| short("an explanation", &self.explanation))
            .or_else(|| short("an expectation", words))
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.explanation)
    }
}

#[cfg(test)]
mod tests {
    /// How an anomaly is broken.
    type Breaks<'a> = &'a dyn Fn(&mut Anomaly);

    use super::*;

    /// JSON writes NaN as null, and an event with null for a number cannot be read back.
    #[test]
    fn what_the_journal_cannot_hold_is_a_violation() {
        let anomaly = || {
            let target = Target::service("orders").unwrap();
            let subject = Subject::Health("live".to_owned());
            Anomaly::new("test", target, subject, Timestamp::EPOCH).saying("it is ill")
        };
        let broken = |breaks: &dyn Fn(&mut Anomaly)| {
            let mut anomaly = anomaly();
            breaks(&mut anomaly);
            anomaly.violation().unwrap_or_default()
        };
        let between = |low, high| Expectation::Between { low, high };
        assert_eq!(broken(&|_| {}), "");
        let long = "é".repeat(4096);
        assert_eq!(broken(&|anomaly| anomaly.explanation.clone_from(&long)), "");
        let contribution = |feature: &str| Contribution {
            feature: feature.to_owned(),
            share: Ratio::ZERO,
        };
        let cases: [(&str, Breaks<'_>); 10] = [
            ("observed = NaN", &|anomaly| {
                anomaly.observed = Some(f64::NAN);
            }),
            ("observed = inf", &|anomaly| {
                anomaly.observed = Some(f64::INFINITY);
            }),
            ("lower bound", &|anomaly| {
                anomaly.expected = between(Some(f64::NEG_INFINITY), None);
            }),
            ("upper bound", &|anomaly| {
                anomaly.expected = between(None, Some(f64::NAN));
            }),
            ("the point at 1970", &|anomaly| {
                anomaly.series = vec![(Timestamp::EPOCH, 1.0), (Timestamp::EPOCH, f64::NAN)];
            }),
            ("9 contributions, expected at most 8", &|anomaly| {
                anomaly.contributions = vec![contribution("cpu"); 9];
            }),
            ("without the name of its feature", &|anomaly| {
                anomaly.contributions = vec![contribution(" ")];
            }),
            ("feature of 4097 characters", &|anomaly| {
                anomaly.contributions = vec![contribution(&format!("{long}!"))];
            }),
            ("explanation of 4097 characters", &|anomaly| {
                anomaly.explanation = format!("{long}!");
            }),
            ("expectation of 4097 characters", &|anomaly| {
                anomaly.expected = Expectation::Words(format!("{long}!"));
            }),
        ];
        for (complaint, breaks) in cases {
            let said = broken(breaks);
            assert!(said.contains(complaint), "{complaint}: {said:?}");
        }
    }

    #[test]
    fn a_template_stays_the_same_subject_when_its_text_becomes_more_general() {
        let of = |id, text: &str| {
            let text = text.to_owned();
            let subject = Subject::Template { id, text };
            let target = Target::service("orders").unwrap();
            Anomaly::new("test", target, subject, Timestamp::EPOCH)
        };
        let (early, late) = (of(7, "disk sda is full"), of(7, "disk <*> is full"));
        assert!(early.subject.is_same(&late.subject));
        assert_eq!(early.fingerprint(), late.fingerprint());
        assert_eq!(
            late.subject.to_string(),
            "logs \"disk <*> is full\"",
            "people read the text"
        );
        let other = of(8, "disk <*> is full");
        assert!(!late.subject.is_same(&other.subject));
        assert_ne!(late.fingerprint(), other.fingerprint());
        // Records of releases before this subject was there are told from it.
        let words = Subject::Logs("disk <*> is full".to_owned());
        assert!(!words.is_same(&late.subject) && words.is_same(&words));
        let stored = serde_json::to_string(&late.subject).unwrap();
        assert_eq!(stored, r#"{"template":{"id":7,"text":"disk <*> is full"}}"#);
    }

    #[test]
    fn the_largest_contributions_come_first_with_their_shares_of_all() {
        let target = Target::service("orders").unwrap();
        let anomaly = Anomaly::new(
            "test",
            target,
            Subject::Health("live".to_owned()),
            Timestamp::EPOCH,
        );
        assert_eq!(anomaly.top_feature(), "health check live");
        let weights = [
            ("a", 1.0),
            ("b", f64::NAN),
            ("c", 3.0),
            ("d", 0.0),
            ("e", -2.0),
        ];
        let due = anomaly.clone().due_to(weights);
        let said: Vec<String> = due.contributions.iter().map(ToString::to_string).collect();
        assert_eq!(
            (said, due.top_feature()),
            (
                vec!["c 75 %".to_owned(), "a 25 %".to_owned()],
                "c".to_owned()
            )
        );
        let many = anomaly.due_to((0..20).map(|i| (format!("f{i}"), f64::MAX)));
        assert_eq!(many.contributions.len(), Anomaly::MAX_CONTRIBUTIONS);
        assert!(many.contributions.iter().all(|c| c.share.get() == 0.05));
    }
}
