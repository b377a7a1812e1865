//! Indicators over incident records, with their numbers of cases and intervals.

mod kaplan_meier;
mod share;
mod span;
mod table;

use std::time::Duration;

use homeostasis_core::{Rng, Timestamp};
use serde::{Deserialize, Serialize};

use crate::incident_record::{IncidentRecord, RemediationOutcome, ResolutionMethod};
pub use kaplan_meier::{KaplanMeier, Lifetime};
pub use share::{Share, wilson_interval};
pub use span::{Span, Unknowable};
pub(crate) use table::human;

/// How well the healer does, from the journal alone.
///
/// | indicator | from | to | censored | target |
/// |---|---|---|---|---|
/// | time to detect | beginning | finding | | < 5 min |
/// | time to remediate | opening | end of the first run that was completed or failed | no run yet, or closed without one | < 15 min |
/// | time to recover | beginning | close after a verified run | open, or closed otherwise | < 20 min |
///
/// | indicator | part | whole | left out | target |
/// |---|---|---|---|---|
/// | auto-remediation success rate | healed by a verified run; nobody was called or asked | closed incidents | open incidents | > 80 % |
/// | remediation accuracy | runs with verdict success | runs with a verdict that decides, or that failed | undecided runs and runs without a verdict yet | > 90 % |
/// | escalation rate | incidents in which people were called | all incidents | | < 25 % |
/// | rollback rate | runs whose taking back was begun | runs that ended | runs that go on | < 5 % |
///
/// What has no data has no value; it is never 0.
/// The two times that are both called MTTR elsewhere have their own names here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Kpis {
    /// When open incidents were cut off.
    pub at: Timestamp,
    /// How many incidents there were.
    pub n_incidents: usize,
    /// How many of them are open.
    pub n_open: usize,
    /// From the beginning to the finding.
    pub time_to_detect: Span,
    /// From the opening to the end of the first run.
    pub time_to_remediate: Span,
    /// From the beginning to the close after a verified run.
    pub time_to_recover: Span,
    /// Incidents ended without a person.
    pub auto_remediation_success_rate: Share,
    /// Runs that helped.
    pub remediation_accuracy: Share,
    /// Incidents handed to people.
    pub escalation_rate: Share,
    /// Runs taken back.
    pub rollback_rate: Share,
}

impl Kpis {
    /// The indicators of `records` at `now`. The intervals of medians are bootstrapped with `rng`:
    /// the same seed gives the same numbers. O(1000 n log n).
    ///
    /// ```
    /// use homeostasis::core::{Rng, Timestamp};
    /// use homeostasis::learn::Kpis;
    /// let kpis = Kpis::of(&[], Timestamp::EPOCH, &mut Rng::from_seed(1));
    /// assert_eq!(kpis.escalation_rate.value(), None);
    /// assert!(kpis.to_string().contains("no data"));
    /// ```
    pub fn of(records: &[IncidentRecord], now: Timestamp, rng: &mut Rng) -> Self {
        let count = |holds: &dyn Fn(&IncidentRecord) -> bool| {
            records.iter().filter(|record| holds(record)).count() as u64
        };
        let runs: Vec<_> = records
            .iter()
            .flat_map(|record| &record.remediation)
            .collect();
        let judged = |outcome| {
            runs.iter()
                .filter(|run| run.outcome == Some(outcome))
                .count() as u64
        };
        let helped = judged(RemediationOutcome::Success);
        let decided = helped
            + judged(RemediationOutcome::PartialSuccess)
            + judged(RemediationOutcome::Failed);
        let n_runs = runs.len() as u64;
        let ended = runs.iter().filter(|run| run.ended_at.is_some()).count() as u64;
        let taken_back = runs
            .iter()
            .filter(|run| run.rolled_back && run.ended_at.is_some())
            .count() as u64;
        let n = records.len() as u64;
        let closed = count(&IncidentRecord::is_closed);
        let detected: Vec<_> = records
            .iter()
            .filter_map(|record| record.detection.time_to_detect.map(Lifetime::ended))
            .collect();
        let lifetimes = |of: fn(&IncidentRecord, Timestamp) -> Lifetime| -> Vec<Lifetime> {
            records.iter().map(|record| of(record, now)).collect()
        };
        Self {
            at: now,
            n_incidents: records.len(),
            n_open: usize::try_from(n - closed).unwrap_or(usize::MAX),
            time_to_detect: Span::of(&detected, records.len() - detected.len(), rng),
            time_to_remediate: Span::of(&lifetimes(remediated), 0, rng),
            time_to_recover: Span::of(&lifetimes(recovered), 0, rng),
            auto_remediation_success_rate: Share::new(
                count(&IncidentRecord::is_auto_remediated),
                closed,
                n - closed,
            ),
            remediation_accuracy: Share::new(helped, decided, n_runs - decided),
            escalation_rate: Share::new(count(&|record| record.metadata.escalated), n, 0),
            rollback_rate: Share::new(taken_back, ended, n_runs - ended),
        }
    }
}

fn remediated(record: &IncidentRecord, now: Timestamp) -> Lifetime {
    let ended = record.remediation.iter().find_map(|run| run.ended_at);
    match ended {
        Some(ended) => Lifetime::ended(ended.since(record.opened_at)),
        None => Lifetime::cut_off(end(record, now).since(record.opened_at)),
    }
}

fn recovered(record: &IncidentRecord, now: Timestamp) -> Lifetime {
    let lasted: Duration = end(record, now).since(record.detection.since);
    let healed = record.resolution.as_ref().is_some_and(|resolution| {
        resolution.resolution_method == ResolutionMethod::AutoRemediation
    });
    if healed {
        Lifetime::ended(lasted)
    } else {
        Lifetime::cut_off(lasted)
    }
}

/// When it was closed; the present while it is open.
fn end(record: &IncidentRecord, now: Timestamp) -> Timestamp {
    record
        .resolution
        .as_ref()
        .map_or(now, |resolution| resolution.closed_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, project};

    fn records() -> Vec<IncidentRecord> {
        let mut all: Vec<_> = (0..8).map(|i| fixture::healed(i + 1, 0)).collect();
        all.push(fixture::taken_back(20, 0));
        all.push(fixture::open(21, 0));
        all.iter().map(|events| project(events).unwrap()).collect()
    }

    fn kpis() -> Kpis {
        Kpis::of(
            &records(),
            Timestamp::from_secs(1000),
            &mut Rng::from_seed(7),
        )
    }

    #[test]
    fn shares_count_what_their_table_says() {
        let kpis = kpis();
        assert_eq!((kpis.n_incidents, kpis.n_open), (10, 1));
        let share = |share: &Share| (share.part, share.whole, share.left_out);
        assert_eq!(share(&kpis.auto_remediation_success_rate), (8, 9, 1));
        assert_eq!(share(&kpis.remediation_accuracy), (8, 9, 0));
        assert_eq!(share(&kpis.escalation_rate), (1, 10, 0));
        assert_eq!(share(&kpis.rollback_rate), (1, 9, 0));
    }

    #[test]
    fn times_are_those_of_the_journal_and_open_incidents_are_cut_off() {
        let kpis = kpis();
        let secs = |span: &Span| span.median.map(|d| d.as_secs());
        assert_eq!(
            (kpis.time_to_detect.n, kpis.time_to_detect.n_unknown),
            (9, 1)
        );
        assert_eq!(secs(&kpis.time_to_detect), Some(20));
        assert_eq!(secs(&kpis.time_to_remediate), Some(20));
        assert_eq!(
            (kpis.time_to_remediate.n, kpis.time_to_remediate.n_censored),
            (10, 1)
        );
        assert_eq!(secs(&kpis.time_to_recover), Some(70));
        assert_eq!(
            kpis.time_to_recover.n_censored, 2,
            "the open and the manual one"
        );
    }

    #[test]
    fn nothing_gives_no_values_instead_of_zeros() {
        let kpis = Kpis::of(&[], Timestamp::EPOCH, &mut Rng::from_seed(1));
        assert_eq!(kpis.time_to_recover.median, None);
        assert_eq!(kpis.rollback_rate.interval(), None);
        let table = kpis.to_string();
        assert_eq!(table.matches("no data").count(), 7, "{table}");
        let back: Kpis = serde_json::from_str(&serde_json::to_string(&kpis).unwrap()).unwrap();
        assert_eq!(back, kpis);
    }

    #[test]
    fn the_same_seed_gives_the_same_indicators_and_they_read_back() {
        assert_eq!(kpis(), kpis());
        let text = serde_json::to_string(&kpis()).unwrap();
        assert_eq!(serde_json::from_str::<Kpis>(&text).unwrap(), kpis());
    }
}
