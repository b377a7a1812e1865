//! What is left out when there is more evidence than an analysis may hold.

use std::fmt;

use homeostasis_core::record::Diagnosis;
use homeostasis_core::signal::{
    Change, ErrorCause, ErrorEvent, Fields, HealthReport, LogRecord, SpanRecord,
};
use homeostasis_core::{Target, Timestamp};
use serde::{Deserialize, Serialize};

/// What one measurement takes.
pub(super) const POINT_BYTES: u64 = 16;

/// Into so many parts the stretch is cut to find the one in which the budget ends.
const SLICES: usize = 64;

/// Texts of a diagnosis have at most 4096 characters; this leaves room for what is added.
const MAX_TEXT: usize = 3_600;

/// How much it matters, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Relevance {
    /// Of a service that neither has an anomaly nor is related to one that has, or of nobody.
    Elsewhere,
    /// Lines of the services in question: the largest, and the most alike in a storm.
    Logs,
    /// Their spans.
    Spans,
    /// Their measurements: small, and what calm is known by.
    Points,
    /// Their changes and what their checks said: few, and old by nature.
    Rare,
}

impl Relevance {
    const ALL: [Self; 5] = [
        Self::Elsewhere,
        Self::Logs,
        Self::Spans,
        Self::Points,
        Self::Rare,
    ];
}

/// How many signals were left out of an analysis to stay within its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LeftOut {
    /// Points of series.
    pub measurements: u64,
    /// Log records, each counted once whatever its weight.
    pub logs: u64,
    /// Spans.
    pub spans: u64,
    /// Changes.
    pub changes: u64,
    /// Health reports.
    pub health: u64,
}

impl LeftOut {
    /// All of them together.
    pub fn total(&self) -> u64 {
        let others = [self.logs, self.spans, self.changes, self.health];
        others
            .into_iter()
            .fold(self.measurements, u64::saturating_add)
    }

    /// Says so in `diagnosis`, if anything was left out.
    pub(crate) fn note(&self, diagnosis: &mut Diagnosis) {
        if self.total() == 0 {
            return;
        }
        let say = |text: &mut String| {
            if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
                text.truncate(end);
            }
            *text = format!("{text} ({self})");
        };
        if let Some(first) = diagnosis.hypotheses.first_mut() {
            say(&mut first.explanation);
        }
        if let Some(reason) = &mut diagnosis.abstained {
            say(reason);
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "left out to stay within the memory budget, oldest and least relevant first: \
             {} measurements, {} log records, {} spans, {} changes, {} health reports",
            self.measurements, self.logs, self.spans, self.changes, self.health
        )
    }
}

/// Takes what there is, one signal after another: relevance, time, bytes.
pub(super) type Tell<'a> = dyn FnMut(Relevance, Timestamp, u64) + 'a;

/// From when on signals are kept, by how much they matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut([Timestamp; Relevance::ALL.len()]);

impl Cut {
    /// The cut at which all that `visit` tells of (relevance, time and bytes; the same each time) in
    /// `from..=to` fits into `budget`: the least relevant goes first, of that the oldest; what
    /// happened at one instant goes together. O(n), plus sorting one slice of the stretch.
    pub(super) fn of(
        (from, to): (Timestamp, Timestamp),
        budget: u64,
        visit: &dyn Fn(&mut Tell<'_>),
    ) -> Self {
        let mut cut = Self([from; Relevance::ALL.len()]);
        let width = to.since(from).as_nanos() / SLICES as u128 + 1;
        let slice = |at: Timestamp| {
            let place = at.since(from).as_nanos() / width;
            usize::try_from(place).map_or(SLICES - 1, |place| place.min(SLICES - 1))
        };
        let budget = u128::from(budget);
        let mut bytes = [[0_u128; SLICES]; Relevance::ALL.len()];
        visit(&mut |relevance, at, size| {
            bytes[relevance as usize][slice(at)] += u128::from(size);
        });
        let mut total: u128 = bytes.iter().flatten().sum();
        let after = to + std::time::Duration::from_nanos(1);
        for relevance in Relevance::ALL {
            for (idx, size) in bytes[relevance as usize].iter().enumerate() {
                if total <= budget {
                    return cut;
                }
                total -= *size;
                if *size == 0 || total > budget {
                    continue;
                }
                // The budget ends in this slice: as much of its newest as fits is kept.
                let mut parts: Vec<(Timestamp, u64)> = Vec::new();
                visit(&mut |of, at, size| {
                    if of == relevance && slice(at) == idx {
                        parts.push((at, size));
                    }
                });
                parts.sort_unstable_by(|a, b| b.cmp(a));
                // Without any of them the next slice begins.
                let newest = parts.first().map_or(after, |(at, _)| *at);
                cut.0[relevance as usize] = newest + std::time::Duration::from_nanos(1);
                for instant in parts.chunk_by(|a, b| a.0 == b.0) {
                    let size: u128 = instant.iter().map(|(_, size)| u128::from(*size)).sum();
                    if total + size > budget {
                        return cut;
                    }
                    total += size;
                    cut.0[relevance as usize] = instant[0].0;
                }
                return cut;
            }
            cut.0[relevance as usize] = after;
        }
        cut
    }

    /// Whether what happened at `at` is kept.
    pub(super) fn keeps(&self, relevance: Relevance, at: Timestamp) -> bool {
        at >= self.0[relevance as usize]
    }

    /// From when on all lines and spans of the services in question are kept.
    pub(super) fn complete_since(&self) -> Timestamp {
        self.0[Relevance::Logs as usize].max(self.0[Relevance::Spans as usize])
    }
}

/// What a record takes, its texts included.
pub(super) trait Weighed {
    /// In bytes.
    fn bytes(&self) -> u64;
}

fn sum(parts: impl IntoIterator<Item = usize>) -> u64 {
    parts.into_iter().map(|part| part as u64).sum()
}

fn of_target(target: Option<&Target>) -> usize {
    target.map_or(0, |target| {
        target.service_name().len() + target.instance_name().map_or(0, str::len)
    })
}

fn of_fields(fields: &Fields) -> usize {
    fields
        .iter()
        .map(|(name, value)| name.len() + value.len() + 48)
        .sum()
}

impl Weighed for LogRecord {
    fn bytes(&self) -> u64 {
        let mut errors: Vec<&ErrorEvent> = self.error.iter().map(|error| &**error).collect();
        let mut of_errors = 0;
        while let Some(error) = errors.pop() {
            let frames = error.frames.iter();
            let texts = frames.map(|frame| frame.function.len() + frame.file.len() + 64);
            let noted = error.environment.keys().map(|name| name.len() + 40);
            of_errors += size_of::<ErrorCause>()
                + error.language.len()
                + error.fingerprint.len()
                + error.kind.len()
                + error.message.len()
                + texts.sum::<usize>()
                + noted.sum::<usize>();
            errors.extend(error.causes.iter().map(|cause| &cause.error));
        }
        let template = self
            .template
            .as_ref()
            .map_or(0, |template| template.text().len());
        let correlation = self.correlation.as_ref().map_or(0, String::len);
        sum([
            size_of::<Self>(),
            of_target(self.target.as_ref()),
            self.component.len(),
            self.message.len(),
            of_fields(&self.fields),
            correlation,
            template,
            of_errors,
        ])
    }
}

impl Weighed for SpanRecord {
    fn bytes(&self) -> u64 {
        let trace = self.trace.as_ref().map_or(0, String::len);
        sum([
            size_of::<Self>(),
            of_target(self.target.as_ref()),
            self.operation.len(),
            trace,
            of_fields(&self.fields),
        ])
    }
}

impl Weighed for Change {
    fn bytes(&self) -> u64 {
        sum([
            size_of::<Self>(),
            of_target(Some(&self.target)),
            self.summary.len(),
            of_fields(&self.fields),
        ])
    }
}

impl Weighed for HealthReport {
    fn bytes(&self) -> u64 {
        sum([
            size_of::<Self>(),
            of_target(Some(&self.target)),
            self.check.len(),
            self.detail.len(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    type Item = (Relevance, Timestamp, u64);

    fn kept(items: &[Item], budget: u64) -> Vec<Item> {
        let visit = |tell: &mut Tell<'_>| {
            for (relevance, at, size) in items {
                tell(*relevance, *at, *size);
            }
        };
        let cut = Cut::of((at(0), at(1000)), budget, &visit);
        let keeps = |item: &&Item| cut.keeps(item.0, item.1);
        items.iter().filter(keeps).copied().collect()
    }

    #[test]
    fn the_least_relevant_goes_first_and_of_that_the_oldest() {
        use Relevance::{Elsewhere, Logs, Points, Rare};
        let items = [
            (Rare, at(1), 10),
            (Logs, at(2), 10),
            (Elsewhere, at(990), 10),
            (Elsewhere, at(991), 10),
            (Logs, at(992), 10),
        ];
        assert_eq!(kept(&items, 50), items);
        assert_eq!(kept(&items, 49), [items[0], items[1], items[3], items[4]]);
        assert_eq!(kept(&items, 30), [items[0], items[1], items[4]]);
        assert_eq!(kept(&items, 29), [items[0], items[4]]);
        assert_eq!(kept(&items, 10), [items[0]]);
        assert_eq!(kept(&items, 9), []);
        // Old measurements outlive the newest lines.
        let mixed = [(Points, at(1), 10), (Logs, at(999), 10)];
        assert_eq!(kept(&mixed, 10), [mixed[0]]);
    }

    #[test]
    fn a_text_says_what_was_left_out_and_stays_short_enough() {
        let left_out = LeftOut {
            logs: 7,
            ..LeftOut::default()
        };
        let mut diagnosis = Diagnosis::abstain("x".repeat(4_096));
        left_out.note(&mut diagnosis);
        assert_eq!(diagnosis.violation(), None);
        let told = diagnosis.abstained.unwrap();
        assert!(
            told.contains("0 measurements, 7 log records, 0 spans"),
            "{told}"
        );
        let hostile = LeftOut {
            measurements: u64::MAX,
            ..left_out
        };
        assert_eq!(hostile.total(), u64::MAX);
        let mut whole = Diagnosis::abstain("no data");
        LeftOut::default().note(&mut whole);
        assert_eq!(whole, Diagnosis::abstain("no data"));
    }

    fn item() -> impl Strategy<Value = Item> {
        let relevance = prop::sample::select(Relevance::ALL.to_vec());
        let size = prop_oneof![4 => 0..100_u64, 1 => Just(u64::MAX / 2)];
        (relevance, 0..1000_i64, size).prop_map(|(of, secs, size)| (of, at(secs), size))
    }

    proptest! {
        #[test]
        fn what_is_kept_fits_and_nothing_that_fits_is_left_out(
            items in prop::collection::vec(item(), 0..60),
            budget in 0..4_000_u64,
        ) {
            let kept = kept(&items, budget);
            let size = |items: &[Item]| items.iter().fold(0_u64, |sum, i| sum.saturating_add(i.2));
            prop_assert!(size(&kept) <= budget);
            // Whatever was left out last, all of its instant, would not have fitted.
            let left: Vec<&Item> = items.iter().filter(|item| !kept.contains(item)).collect();
            if let Some(last) = left.iter().map(|item| (item.0, item.1)).max() {
                let of = left.iter().filter(|item| (item.0, item.1) == last);
                let more = of.fold(size(&kept), |sum, item| sum.saturating_add(item.2));
                prop_assert!(more > budget || more == size(&kept));
            }
        }
    }
}
