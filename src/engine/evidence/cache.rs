//! Diagnoses that need not be worked out again because nothing is new.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use homeostasis_core::record::{Diagnosis, Fingerprint};
use homeostasis_core::signal::{ErrorEvent, Fields, LogRecord, LogTemplate};
use homeostasis_core::{Digest, Flags, Incident, Timestamp};

use super::frozen::Seen;

/// By what a diagnosis is known: the incident's fingerprint, and a digest of all it rests on.
///
/// Two looks have the same key if
/// - the incident began at the same instant and has the same anomalies, and the stretch looked at
///   begins at the same instant, without the same other stretches, under the same flags;
/// - no series got a point or lost one, and the same was left out;
/// - there is no change, no answer of a check, no kind of line and no kind of span that was not there
///   before, on either side of the onset, and none became twice as frequent. Lines are of one kind if
///   all that analyzers read of them is the same but the instant: writer, level, text, fields, and the
///   whole error with what was noted with it. Spans are if they differ in instant, duration and trace
///   only.
///
/// So what a storm repeats word by word is nothing new, and anything else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiagnosisKey(Fingerprint, Digest);

/// How often, to the next power of two.
fn magnitude(n: u64) -> u32 {
    u64::BITS - n.leading_zeros()
}

/// Nobody outside of the process can make two texts look alike.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn kind_of(log: &LogRecord) -> u64 {
    let mut hasher = KEYS.build_hasher();
    log.component.hash(&mut hasher);
    log.message.hash(&mut hasher);
    hash_fields(&log.fields, &mut hasher);
    log.template.as_ref().map(LogTemplate::id).hash(&mut hasher);
    let mut errors: Vec<&ErrorEvent> = log.error.iter().map(|error| &**error).collect();
    while let Some(error) = errors.pop() {
        let texts = (&error.language, &error.kind, &error.message);
        (texts, &error.fingerprint).hash(&mut hasher);
        for frame in &error.frames {
            let place = (&frame.file, frame.line, frame.column);
            (&frame.function, place, frame.in_project).hash(&mut hasher);
        }
        for (name, value) in &error.environment {
            (name, value.to_bits()).hash(&mut hasher);
        }
        (
            error.frames.len(),
            error.environment.len(),
            error.causes.len(),
        )
            .hash(&mut hasher);
        errors.extend(error.causes.iter().map(|cause| &cause.error));
    }
    hasher.finish()
}

fn hash_fields(fields: &Fields, hasher: &mut impl Hasher) {
    for field in fields.iter() {
        field.hash(hasher);
    }
    fields.iter().count().hash(hasher);
}

impl DiagnosisKey {
    /// The key of what is `seen` of `incident` from `from` on, `besides` other stretches. O(n log n)
    /// in kinds of records and O(bytes of records); of points the first and last are read.
    pub(crate) fn of(
        incident: &Incident,
        (from, besides, flags): (Timestamp, &[(Timestamp, Timestamp)], &Flags),
        seen: &Seen<'_>,
    ) -> Self {
        let since = incident.since;
        let (left_out, complete_since) = (seen.left_out, seen.complete_since);
        let mut text =
            format!("{since} {from} {besides:?} {flags:?} {left_out:?} {complete_since}");
        let _ = write!(text, "{:?}", incident.anomalies);
        for window in &seen.series {
            let ends = (window.points.first(), window.points.last());
            let bits = |point: Option<&(Timestamp, f64)>| {
                point.map(|(at, value)| (at.as_nanos(), value.to_bits()))
            };
            let ends = (bits(ends.0), bits(ends.1));
            let _ = write!(text, "{} {} {ends:?}", window.key, window.points.len());
        }
        let mut logs: BTreeMap<_, u64> = BTreeMap::new();
        for log in &seen.logs {
            let kind = (&log.target, log.level, kind_of(log), log.at < since);
            *logs.entry(kind).or_default() += u64::from(log.weight);
        }
        for (kind, n) in logs {
            let _ = write!(text, "{kind:?}{}", magnitude(n));
        }
        let mut spans: BTreeMap<_, (u64, Duration)> = BTreeMap::new();
        for span in &seen.spans {
            let status = format!("{:?}", span.status);
            let mut hasher = KEYS.build_hasher();
            hash_fields(&span.fields, &mut hasher);
            let called = (span.parent != 0, hasher.finish());
            let kind = (
                &span.target,
                &span.operation,
                status,
                called,
                span.at < since,
            );
            let entry = spans.entry(kind).or_default();
            *entry = (entry.0 + 1, entry.1.saturating_add(span.duration));
        }
        for (kind, (n, took)) in spans {
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let _ = write!(text, "{kind:?}{} {}", magnitude(n), magnitude(took));
        }
        let mut health: BTreeMap<_, u64> = BTreeMap::new();
        for report in &seen.health {
            let kind = (
                &report.target,
                &report.check,
                report.state,
                &report.detail,
                report.at < since,
            );
            *health.entry(kind).or_default() += 1;
        }
        for (kind, n) in health {
            let _ = write!(text, "{kind:?}{}", magnitude(n));
        }
        for change in &seen.changes {
            let _ = write!(text, "{change:?}");
        }
        Self(incident.fingerprint(), Digest::of_bytes(text.as_bytes()))
    }
}

/// The last diagnoses, bounded by number and age.
#[derive(Debug, Default)]
pub(crate) struct DiagnosisCache {
    entries: VecDeque<(DiagnosisKey, Diagnosis, Timestamp)>,
}

impl DiagnosisCache {
    /// The diagnosis of `key`, if it is not older than `ttl`.
    pub(crate) fn get(
        &self,
        key: &DiagnosisKey,
        now: Timestamp,
        ttl: Duration,
    ) -> Option<&Diagnosis> {
        let (_, diagnosis, at) = self.entries.iter().find(|(known, ..)| known == key)?;
        (now >= *at && now.since(*at) < ttl).then_some(diagnosis)
    }

    /// Remembers it; of more than `size` the oldest goes.
    pub(crate) fn put(
        &mut self,
        key: DiagnosisKey,
        diagnosis: Diagnosis,
        now: Timestamp,
        size: usize,
    ) {
        self.entries.retain(|(known, ..)| *known != key);
        self.entries.push_back((key, diagnosis, now));
        while self.entries.len() > size {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homeostasis_core::record::{Anomaly, Subject};
    use homeostasis_core::signal::{
        Change, ChangeKind, HealthReport, HealthState, Level, SeriesKey, SpanRecord,
    };
    use homeostasis_core::testing::analyzer::incident_of;
    use homeostasis_core::{SeriesWindow, Target};

    use super::super::budget::LeftOut;
    use super::super::frozen::Frozen;
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn orders() -> Target {
        Target::service("orders").unwrap()
    }

    fn incident(since: i64) -> Incident {
        let subject = Subject::Condition("works == 0".to_owned());
        let mut anomaly = Anomaly::new("d", orders(), subject, at(120)).saying("it is ill");
        anomaly.since = at(since);
        incident_of(&[anomaly])
    }

    fn line(secs: i64, text: &str) -> LogRecord {
        LogRecord::new(at(secs), Level::Error, text).of(orders())
    }

    type Alter = fn(&mut Frozen);

    /// A storm of one error, and one of everything else.
    fn storm() -> Frozen {
        let key = Arc::new(SeriesKey::new("up").with("service", "orders"));
        let health = HealthReport::new(at(110), orders(), "http", HealthState::Healthy);
        Frozen {
            series: vec![SeriesWindow {
                key,
                points: vec![(at(100), 1.0), (at(105), f64::NAN)],
            }],
            logs: vec![line(101, "refused"); 100],
            spans: vec![SpanRecord::new(at(101), Duration::from_millis(5), "GET /")],
            changes: vec![Change::new(at(50), ChangeKind::Deploy, orders(), "v2")],
            health: vec![health],
        }
    }

    fn key(since: i64, frozen: &Frozen) -> DiagnosisKey {
        key_from(0, since, frozen, LeftOut::default())
    }

    fn key_from(from: i64, since: i64, frozen: &Frozen, left_out: LeftOut) -> DiagnosisKey {
        let seen = Seen {
            series: frozen.series.clone(),
            logs: frozen.logs.iter().collect(),
            spans: frozen.spans.iter().collect(),
            changes: frozen.changes.iter().collect(),
            health: frozen.health.iter().collect(),
            left_out,
            complete_since: at(from),
        };
        let scope = (at(from), &[][..], &Flags::default());
        DiagnosisKey::of(&incident(since), scope, &seen)
    }

    #[test]
    fn what_a_storm_repeats_is_nothing_new() {
        let mut more = storm();
        more.logs.extend(vec![line(130, "refused"); 27]);
        assert_eq!(key(100, &storm()), key(100, &more));
        // Past the next power of two it is another storm.
        more.logs.push(line(130, "refused"));
        assert_ne!(key(100, &storm()), key(100, &more));
    }

    #[test]
    fn anything_else_is_new_evidence() {
        let known = key(100, &storm());
        assert_ne!(known, key(99, &storm()), "another onset");
        let frozen = storm();
        assert_ne!(
            known,
            key_from(1, 100, &frozen, LeftOut::default()),
            "another stretch"
        );
        let left_out = LeftOut {
            logs: 1,
            ..LeftOut::default()
        };
        assert_ne!(
            known,
            key_from(0, 100, &frozen, left_out),
            "something left out"
        );
        let changed: [(&str, Alter); 13] = [
            ("a measurement", |f| f.series[0].points.push((at(110), 1.0))),
            ("another value", |f| f.series[0].points[1].1 = 2.0),
            ("one that left the window", |f| {
                f.series[0].points.remove(0);
            }),
            ("a line", |f| f.logs.push(line(102, "no space left"))),
            ("the same line before the onset", |f| {
                f.logs.push(line(99, "refused"));
            }),
            ("a slow span", |f| {
                let slow = SpanRecord::new(at(103), Duration::from_secs(3), "GET /");
                f.spans.push(slow);
            }),
            ("a change", |f| {
                f.changes
                    .push(Change::new(at(60), ChangeKind::Flag, orders(), "on"));
            }),
            ("another number in the text of one template", |f| {
                f.logs[99].message = "refused 429".to_owned();
            }),
            ("a field", |f| {
                f.logs[99].fields.insert("peer", "db");
            }),
            ("what was noted with an error", |f| {
                let mut error = ErrorEvent::new("java", "OutOfMemoryError", "heap");
                error.environment.insert("heap_used_ratio".to_owned(), 0.98);
                f.logs[99].error = Some(Box::new(error));
            }),
            ("what a check says", |f| {
                f.health[0].detail = "connection refused".to_owned();
            }),
            ("a span's peer", |f| {
                f.spans[0].fields.insert("peer", "db");
            }),
            ("a state", |f| f.health[0].state = HealthState::Unhealthy),
        ];
        for (what, change) in changed {
            let mut frozen = storm();
            change(&mut frozen);
            assert_ne!(known, key(100, &frozen), "{what}");
        }
    }

    #[test]
    fn a_diagnosis_lives_its_time_and_the_oldest_makes_room() {
        let mut cache = DiagnosisCache::default();
        let ttl = Duration::from_secs(10);
        let keys = [100, 101, 102].map(|since| key(since, &storm()));
        for (key, now) in keys.iter().zip([0, 1, 2]) {
            cache.put(*key, Diagnosis::abstain(format!("{now}")), at(now), 2);
        }
        let told = |place: usize, now| {
            let diagnosis = cache.get(&keys[place], at(now), ttl)?;
            diagnosis.abstained.clone()
        };
        assert_eq!(told(0, 3), None);
        assert_eq!(told(1, 10), Some("1".to_owned()));
        assert_eq!(told(1, 11), None);
        // A clock that went back proves nothing.
        assert_eq!(told(2, 1), None);
    }
}
