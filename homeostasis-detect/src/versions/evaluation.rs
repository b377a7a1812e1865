//! A candidate beside the model that serves: what both raise, and whether it may take over.

use std::collections::VecDeque;
use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Anomaly, Fingerprint};
use homeostasis_core::{Ratio, Target, Timestamp, Violations};
use serde::{Deserialize, Serialize};

use super::handle::ShadowComparison;
use crate::check;

/// Episodes and labels kept of each kind.
const MAX_KEPT: usize = 1000;

/// When a candidate takes over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromotionRule {
    /// For how long a candidate learns before it is compared; default 1d. It sees the live stream and nobody hears it.
    #[serde(with = "crate::duration_text")]
    pub train_for: Duration,
    /// For how long it is compared; default 1d, above 0.
    #[serde(with = "crate::duration_text")]
    pub evaluate_for: Duration,
    /// Alarms of the same series this close in time are the same alarm; default 5m, above 0.
    #[serde(with = "crate::duration_text")]
    pub match_within: Duration,
    /// Of the alarms of the model that serves the candidate must raise at least this share; default 0.5.
    /// Not asked if labels show that it finds more incidents.
    pub min_agreement: Ratio,
    /// It may raise at most this many times the alarms of the model that serves; default 1.5, 1 or more.
    pub max_alarm_ratio: f64,
    /// And this many more, so that small counts decide nothing; default 3.
    pub alarm_slack: u64,
    /// With fewer alarms of the model that serves, and no known incident that either found, there is too little to
    /// compare, and the model that serves stays; default 3. With 0 a model that never alarms may take over.
    pub min_alarms: u64,
    /// Whether it takes over by itself; default yes. If not, somebody must say so.
    pub promotes: bool,
}

impl Default for PromotionRule {
    fn default() -> Self {
        Self {
            train_for: Duration::from_secs(24 * 3600),
            evaluate_for: Duration::from_secs(24 * 3600),
            match_within: Duration::from_secs(300),
            min_agreement: Ratio::saturating(0.5),
            max_alarm_ratio: 1.5,
            alarm_slack: 3,
            min_alarms: 3,
            promotes: true,
        }
    }
}

impl PromotionRule {
    pub(super) fn check(&self, found: &mut Violations, path: &str) {
        check::lasting(found, &format!("{path}.evaluate_for"), self.evaluate_for);
        check::lasting(found, &format!("{path}.match_within"), self.match_within);
        let ratio = self.max_alarm_ratio;
        let holds = ratio.is_finite() && ratio >= 1.0;
        let path = format!("{path}.max_alarm_ratio");
        check::that(found, holds, &path, ratio, "a finite number of 1 or more");
    }
}

/// What people know afterwards of a stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    /// Who had it, or had not.
    pub target: Target,
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// Whether there was an incident; if not, alarms in it were false.
    pub was_incident: bool,
}

/// What a model and its candidate raised side by side, since when both were heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShadowEvaluation {
    since: Timestamp,
    serving: Side,
    candidate: Side,
    n_agreed: u64,
    feedback: VecDeque<Feedback>,
}

/// The episodes one of them raised.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Side {
    n: u64,
    last: VecDeque<Episode>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Episode {
    fingerprint: Fingerprint,
    target: Target,
    since: Timestamp,
    at: Timestamp,
    is_matched: bool,
}

/// How the labels came out for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Labelled {
    found: usize,
    missed: usize,
    false_alarms: usize,
}

/// What the rule says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) is_better: bool,
    pub(super) reason: String,
}

impl ShadowEvaluation {
    pub(super) fn new(since: Timestamp) -> Self {
        Self {
            since,
            serving: Side::default(),
            candidate: Side::default(),
            n_agreed: 0,
            feedback: VecDeque::new(),
        }
    }

    pub(super) fn comparison(&self) -> ShadowComparison {
        let (serving, candidate, both) = (self.serving.n, self.candidate.n, self.n_agreed);
        let either = (serving + candidate).saturating_sub(both);
        ShadowComparison {
            since: self.since,
            serving,
            candidate,
            both,
            agreement: if either == 0 {
                Ratio::ONE
            } else {
                Ratio::of(both, either)
            },
        }
    }

    /// Takes what both raised in one batch.
    pub(super) fn take(
        &mut self,
        rule: &PromotionRule,
        serving: &[Anomaly],
        candidate: &[Anomaly],
    ) {
        for anomaly in serving {
            if self.serving.take(anomaly) {
                self.n_agreed += u64::from(agree(rule, &mut self.serving, &mut self.candidate));
            }
        }
        for anomaly in candidate {
            if self.candidate.take(anomaly) {
                self.n_agreed += u64::from(agree(rule, &mut self.candidate, &mut self.serving));
            }
        }
    }

    pub(super) fn learn(&mut self, feedback: Feedback) {
        if self.feedback.len() >= MAX_KEPT {
            self.feedback.pop_front();
        }
        self.feedback.push_back(feedback);
    }

    /// What the rule says at `now`; nothing while it is too early.
    pub(super) fn decide(&self, rule: &PromotionRule, now: Timestamp) -> Option<Decision> {
        (now.since(self.since) >= rule.evaluate_for).then(|| self.judge(rule, now))
    }

    fn judge(&self, rule: &PromotionRule, now: Timestamp) -> Decision {
        let (ours, theirs) = (self.labelled(&self.candidate), self.labelled(&self.serving));
        let (n, n_serving) = (self.candidate.n, self.serving.n);
        let most = rule.max_alarm_ratio * n_serving as f64 + rule.alarm_slack as f64;
        let needed = rule.min_agreement.get() * n_serving as f64;
        let against = if ours.found < theirs.found {
            Some(format!(
                "found {} of {} known incidents, the model that serves {}",
                ours.found,
                ours.found + ours.missed,
                theirs.found
            ))
        } else if ours.false_alarms > theirs.false_alarms {
            Some(format!(
                "raised {} alarms known to be false, the model that serves {}",
                ours.false_alarms, theirs.false_alarms
            ))
        } else if n as f64 > most {
            Some(format!("raised {n} alarms, expected at most {most}"))
        } else if ours.found == theirs.found && (self.n_agreed as f64) < needed {
            Some(format!(
                "raised {} of the {n_serving} alarms of the model that serves, expected at least {needed}",
                self.n_agreed
            ))
        } else if ours.found + theirs.found == 0 && n_serving < rule.min_alarms {
            Some(format!(
                "not enough to compare: the model that serves raised {n_serving} alarms, expected at least {}, and neither found a known incident",
                rule.min_alarms
            ))
        } else {
            None
        };
        let length = format_duration(now.since(self.since));
        match against {
            Some(reason) => Decision {
                is_better: false,
                reason: format!("{reason}, in {length}"),
            },
            None => Decision {
                is_better: true,
                reason: format!(
                    "in {length} raised {n} alarms, the model that serves {n_serving}, {} of them both; found {} of {} known incidents, the model that serves {}",
                    self.n_agreed,
                    ours.found,
                    ours.found + ours.missed,
                    theirs.found
                ),
            },
        }
    }

    /// How the labels of the time of the comparison come out.
    fn labelled(&self, side: &Side) -> Labelled {
        let mut labelled = Labelled::default();
        for label in self.feedback.iter().filter(|label| label.to >= self.since) {
            let hits = side.last.iter().filter(|episode| {
                let related = label.target.contains(&episode.target)
                    || episode.target.contains(&label.target);
                related && episode.at >= label.from && episode.since <= label.to
            });
            match (label.was_incident, hits.count()) {
                (true, 0) => labelled.missed += 1,
                (true, _) => labelled.found += 1,
                (false, n) => labelled.false_alarms += n,
            }
        }
        labelled
    }
}

impl Side {
    /// Whether it is a new episode.
    fn take(&mut self, anomaly: &Anomaly) -> bool {
        let fingerprint = anomaly.fingerprint();
        let known = self
            .last
            .iter_mut()
            .rev()
            .find(|episode| episode.fingerprint == fingerprint);
        if let Some(known) = known
            && known.since == anomaly.since
        {
            known.at = anomaly.at;
            return false;
        }
        self.n += 1;
        if self.last.len() >= MAX_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(Episode {
            fingerprint,
            target: anomaly.target.clone(),
            since: anomaly.since,
            at: anomaly.at,
            is_matched: false,
        });
        true
    }
}

/// Whether the newest episode of `one` is one of `other` too, that no other was.
fn agree(rule: &PromotionRule, one: &mut Side, other: &mut Side) -> bool {
    let Some(newest) = one.last.back_mut() else {
        return false;
    };
    let same = other.last.iter_mut().rev().find(|episode| {
        let apart = newest
            .at
            .since(episode.at)
            .max(episode.since.since(newest.at));
        !episode.is_matched
            && episode.fingerprint == newest.fingerprint
            && apart <= rule.match_within
    });
    let Some(same) = same else {
        return false;
    };
    (newest.is_matched, same.is_matched) = (true, true);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::record::Subject;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn anomaly(service: &str, since: i64, found: i64) -> Anomaly {
        let target = Target::service(service).unwrap();
        let subject = Subject::Health("live".to_owned());
        let mut anomaly = Anomaly::new("model", target, subject, at(found)).saying("it is odd");
        anomaly.since = at(since);
        anomaly
    }

    fn rule() -> PromotionRule {
        PromotionRule {
            evaluate_for: Duration::from_secs(10_000),
            ..PromotionRule::default()
        }
    }

    fn label(service: &str, from: i64, was_incident: bool) -> Feedback {
        Feedback {
            target: Target::service(service).unwrap(),
            from: at(from),
            to: at(from + 100),
            was_incident,
        }
    }

    #[test]
    fn episodes_agree_whoever_is_first_and_repetitions_are_the_same_episode() {
        let (rule, mut evaluation) = (rule(), ShadowEvaluation::new(at(0)));
        evaluation.take(&rule, &[anomaly("a", 10, 20)], &[]);
        evaluation.take(&rule, &[anomaly("a", 10, 80)], &[anomaly("a", 70, 90)]);
        evaluation.take(&rule, &[], &[anomaly("b", 200, 200), anomaly("a", 70, 300)]);
        evaluation.take(&rule, &[anomaly("b", 220, 260)], &[]);
        // Too late to be the same.
        evaluation.take(&rule, &[anomaly("c", 1000, 1000)], &[]);
        evaluation.take(&rule, &[], &[anomaly("c", 2000, 2000)]);
        let told = evaluation.comparison();
        assert_eq!((told.serving, told.candidate, told.both), (3, 3, 2));
        assert_eq!(told.agreement, Ratio::of(2, 4));
        assert_eq!(evaluation.decide(&rule, at(9_999)), None);
        let decision = evaluation.decide(&rule, at(10_000)).unwrap();
        assert!(decision.is_better, "{decision:?}");
    }

    #[test]
    fn a_candidate_that_cries_or_is_deaf_is_refused_with_its_numbers() {
        let rule = rule();
        let mut noisy = ShadowEvaluation::new(at(0));
        let alarms: Vec<_> = (0..5).map(|i| anomaly("a", i * 1000, i * 1000)).collect();
        noisy.take(&rule, &[], &alarms);
        let decision = noisy.decide(&rule, at(10_000)).unwrap();
        assert_eq!(
            decision.reason,
            "raised 5 alarms, expected at most 3, in 2h46m40s"
        );
        let mut deaf = ShadowEvaluation::new(at(0));
        deaf.take(&rule, &alarms, &alarms[..2]);
        let decision = deaf.decide(&rule, at(10_000)).unwrap();
        assert!(
            !decision.is_better && decision.reason.contains("raised 2 of the 5 alarms"),
            "{decision:?}"
        );
    }

    #[test]
    fn a_quiet_time_tells_nothing_and_the_model_that_serves_stays() {
        let rule = rule();
        let mut quiet = ShadowEvaluation::new(at(0));
        let decision = quiet.decide(&rule, at(10_000)).unwrap();
        assert!(
            !decision.is_better && decision.reason.starts_with("not enough to compare"),
            "{decision:?}"
        );
        // An incident that both missed says nothing for a model that may be deaf.
        quiet.learn(label("a", 100, true));
        assert!(!quiet.decide(&rule, at(10_000)).unwrap().is_better);
        // One that the candidate found does.
        quiet.take(&rule, &[], &[anomaly("a", 120, 130)]);
        assert!(quiet.decide(&rule, at(10_000)).unwrap().is_better);
    }

    #[test]
    fn labels_weigh_more_than_agreement() {
        let rule = rule();
        // The model that serves was wrong three times; the candidate was silent then, and found what it missed.
        let mut evaluation = ShadowEvaluation::new(at(0));
        let serving: Vec<_> = (1..4).map(|i| anomaly("a", i * 1000, i * 1000)).collect();
        evaluation.take(&rule, &serving, &[anomaly("b", 5000, 5020)]);
        assert!(!evaluation.decide(&rule, at(10_000)).unwrap().is_better);
        evaluation.learn(label("a", 1000, false));
        evaluation.learn(label("b", 4990, true));
        assert!(evaluation.decide(&rule, at(10_000)).unwrap().is_better);
        // But not if it misses another.
        evaluation.learn(label("a", 1990, true));
        evaluation.learn(label("a", 2990, true));
        let decision = evaluation.decide(&rule, at(10_000)).unwrap();
        assert!(
            decision
                .reason
                .starts_with("found 1 of 3 known incidents, the model that serves 2"),
            "{decision:?}"
        );
        let mut false_alarm = ShadowEvaluation::new(at(0));
        false_alarm.take(&rule, &[], &[anomaly("a", 10, 10)]);
        false_alarm.learn(label("a", 0, false));
        assert!(!false_alarm.decide(&rule, at(10_000)).unwrap().is_better);
    }
}
