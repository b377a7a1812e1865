//! Sampling of log floods that keeps counts exact, without a lock on the way of a record.
//!
//! Records that differ only in numbers share a key. Of each key the first `2 * burst` of an
//! interval pass; from there on one of 2, of 4, of 8 …, so that each doubling of a flood costs
//! `burst` records more. A record that passes carries the weight of those like it that did not, and
//! the few that no later record can speak for are given at the end of the interval: the weights
//! always add up to what was logged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homeostasis_core::Timestamp;
use homeostasis_core::signal::{Level, LogRecord, Sample, SeriesCatalog, SeriesKey};

/// How floods of log records are sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FloodSettings {
    /// Of each kind of record twice as many pass per interval before sampling begins. Default 64,
    /// 0 to 1 000 000; 0 turns sampling off.
    pub burst: u32,
    /// After this long counting starts anew. Default 1 s, 10 ms to 10 min.
    pub interval: Duration,
    /// Kinds of record that are told apart within an interval. Default 1 024, 1 to 1 048 576; about
    /// 300 bytes each while it floods. Records of further kinds pass unsampled: each may be the
    /// first of its kind, and the queue is bounded.
    pub keys: usize,
}

impl Default for FloodSettings {
    fn default() -> Self {
        Self {
            burst: 64,
            interval: Duration::from_secs(1),
            keys: 1_024,
        }
    }
}

/// How many places a key may have.
const PROBES: usize = 8;

/// A place's word: the upper bits say which key, the lower how many of it came; 0 is free.
const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// The sampler, shared by all threads of the host.
#[derive(Debug)]
pub(crate) struct Flood {
    burst: u64,
    interval: Duration,
    slots: Box<[Slot]>,
    suppressed: AtomicU64,
    turn: Mutex<Turn>,
}

#[derive(Debug, Default)]
struct Slot {
    word: AtomicU64,
    /// The first record that did not pass. It is there whenever the count says that there was one:
    /// both change under this lock, which is taken once per flooding key and interval.
    held: Mutex<Option<LogRecord>>,
}

/// What only the engine's task touches.
#[derive(Debug, Default)]
struct Turn {
    began: Option<Timestamp>,
    /// Who flooded in the last interval: they get a zero when it is over.
    flooding: BTreeMap<Source, Tally>,
}

/// Labels of the flood's series.
type Source = BTreeMap<String, String>;

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    seen: u64,
    suppressed: u64,
}

impl Flood {
    pub(crate) fn new(settings: &FloodSettings) -> Self {
        let n_slots = if settings.burst == 0 {
            0
        } else {
            settings.keys.max(1).next_power_of_two()
        };
        Self {
            burst: u64::from(settings.burst),
            interval: settings.interval,
            slots: std::iter::repeat_with(Slot::default)
                .take(n_slots)
                .collect(),
            suppressed: AtomicU64::new(0),
            turn: Mutex::default(),
        }
    }

    /// How many records did not pass so far; others carry their weight.
    pub(crate) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// The record with its weight, or `None` if a later one will speak for it.
    pub(crate) fn admit(&self, mut record: LogRecord) -> Option<LogRecord> {
        if self.slots.is_empty() || record.weight != 1 {
            return Some(record);
        }
        let key = key_of(&record);
        let tag = (key >> COUNT_BITS).max(1);
        for slot in self.probes(key) {
            let mut word = slot.word.load(Ordering::Acquire);
            while word == 0 || word >> COUNT_BITS == tag {
                let next = if word == 0 {
                    (tag << COUNT_BITS) | 1
                } else {
                    word + 1
                };
                let count = next & COUNT_MASK;
                let mut held = (count == 2 * self.burst + 1).then(|| slot.hold());
                if let Err(changed) =
                    slot.word
                        .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire)
                {
                    word = changed;
                    continue;
                }
                if let Some(weight) = self.weight(count) {
                    record.weight = weight;
                    return Some(record);
                }
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                if let Some(held) = held.as_deref_mut() {
                    *held = Some(record);
                }
                return None;
            }
        }
        Some(record)
    }

    /// At the end of an interval: the records that speak for those no other speaks for, and the
    /// rates of the floods as samples `log_flood_records_per_second` (all that came) and
    /// `log_flood_suppressed_per_second`, with the labels `service`, `instance`, `component` and
    /// `level`.
    pub(crate) fn turn(
        &self,
        now: Timestamp,
        catalog: &SeriesCatalog,
        (logs, samples): (&mut Vec<LogRecord>, &mut Vec<Sample>),
    ) {
        if self.slots.is_empty() {
            return;
        }
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.since(*turn.began.get_or_insert(now));
        if elapsed < self.interval {
            return;
        }
        turn.began = Some(now);
        let mut flooding: BTreeMap<Source, Tally> = std::mem::take(&mut turn.flooding)
            .into_iter()
            .filter(|(_, last)| last.seen > 0)
            .map(|(source, _)| (source, Tally::default()))
            .collect();
        for slot in &self.slots {
            if slot.word.load(Ordering::Acquire) == 0 {
                continue;
            }
            let mut held = slot.hold();
            let count = slot.word.swap(0, Ordering::AcqRel) & COUNT_MASK;
            let Some(mut record) = held.take() else {
                continue;
            };
            drop(held);
            let (passed, owed) = self.passed(count);
            let tally = flooding.entry(source(&record)).or_default();
            tally.seen += count;
            tally.suppressed += count - passed;
            if owed > 0 {
                tally.suppressed -= 1;
                self.suppressed.fetch_sub(1, Ordering::Relaxed);
                record.weight = u32::try_from(owed).unwrap_or(u32::MAX);
                logs.push(record);
            }
        }
        for (source, tally) in &flooding {
            for (metric, n) in [
                ("log_flood_records_per_second", tally.seen),
                ("log_flood_suppressed_per_second", tally.suppressed),
            ] {
                let mut key = SeriesKey::new(metric);
                key.labels.clone_from(source);
                samples.push(Sample {
                    series: catalog.intern(&key),
                    at: now,
                    value: n as f64 / elapsed.as_secs_f64(),
                });
            }
        }
        turn.flooding = flooding;
    }

    fn probes(&self, key: u64) -> impl Iterator<Item = &Slot> {
        let n = self.slots.len();
        let first = usize::try_from(key & COUNT_MASK).unwrap_or(usize::MAX);
        (0..PROBES.min(n)).map(move |i| &self.slots[(first.wrapping_add(i)) & (n - 1)])
    }

    /// The weight with which record number `count` of its key passes, if it does: it speaks for
    /// itself and for those since the last one that passed.
    fn weight(&self, count: u64) -> Option<u32> {
        let (band, place) = self.band(count);
        (place & ((1 << band) - 1) == 0).then(|| u32::try_from(1_u64 << band).unwrap_or(u32::MAX))
    }

    /// How many of `count` records of a key passed, and how many of the rest nobody speaks for.
    fn passed(&self, count: u64) -> (u64, u64) {
        let (band, place) = self.band(count);
        let before = if count <= self.burst {
            0
        } else {
            self.burst * u64::from(band + 1)
        };
        (before + (place >> band), place & ((1 << band) - 1))
    }

    /// In which doubling of the burst record number `count` (from 1) lies, and its place there:
    /// band k holds the numbers from `burst * 2^k` (not included) to `burst * 2^(k+1)`, of which
    /// one of 2^k passes.
    fn band(&self, count: u64) -> (u32, u64) {
        match (count.saturating_sub(1) / self.burst).checked_ilog2() {
            None => (0, count),
            Some(band) => (band, count - (self.burst << band)),
        }
    }
}

impl Slot {
    fn hold(&self) -> MutexGuard<'_, Option<LogRecord>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn source(record: &LogRecord) -> Source {
    let mut labels = Source::from([("level".to_owned(), record.level.to_string())]);
    if let Some(target) = &record.target {
        labels.insert("service".to_owned(), target.service_name().to_owned());
        if let Some(instance) = target.instance_name() {
            labels.insert("instance".to_owned(), instance.to_owned());
        }
    }
    if !record.component.is_empty() {
        labels.insert("component".to_owned(), record.component.to_string());
    }
    labels
}

/// What records have in common that differ only in numbers and ids: whose they are, how loud, the
/// error's fingerprint or kind, and the message in which every word with a digit is one word; of
/// warnings and errors the fields in the same way, where statuses and codes stay as they are.
fn key_of(record: &LogRecord) -> u64 {
    let mut hash = Fnv::default();
    if let Some(target) = &record.target {
        hash.text(target.service_name());
        hash.text(target.instance_name().unwrap_or_default());
    }
    hash.text(&record.component);
    hash.byte(record.level as u8);
    if let Some(error) = &record.error {
        hash.text(&error.kind);
        hash.text(&error.fingerprint);
        if !error.fingerprint.is_empty() {
            return hash.finish();
        }
        hash.template(&error.message);
    }
    hash.template(&record.message);
    // Structured logs say in a field what happened: `error!(%err, "request failed")`.
    if record.level >= Level::Warn {
        for (name, value) in record.fields.iter() {
            hash.text(name);
            if is_code(name) {
                hash.text(value);
            } else {
                hash.template(value);
            }
        }
    }
    hash.finish()
}

/// Whether the values of a field are few numbers that mean something each: `http.status_code`.
fn is_code(name: &str) -> bool {
    let last = name.rsplit(['.', '_']).next().unwrap_or(name);
    ["status", "code", "errno", "exit", "signal"]
        .iter()
        .any(|word| last.eq_ignore_ascii_case(word))
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo), with the finalizer of `MurmurHash3` (Appleby) so that all
/// bits are good.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Longer messages are alike if they begin alike.
    const MAX_BYTES: usize = 1_024;

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }

    fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            self.byte(byte);
        }
        self.byte(0xff);
    }

    fn template(&mut self, text: &str) {
        let text = &text.as_bytes()[..text.len().min(Self::MAX_BYTES)];
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
        for piece in text.chunk_by(|a, b| is_word(a) == is_word(b)) {
            if piece.iter().any(u8::is_ascii_digit) {
                self.byte(0);
            } else {
                for byte in piece {
                    self.byte(*byte);
                }
            }
        }
        self.byte(0xff);
    }

    pub(crate) fn finish(self) -> u64 {
        let mut hash = self.0;
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
        }
        hash ^ (hash >> 33)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use homeostasis_core::Rng;
    use homeostasis_core::signal::ErrorEvent;
    use proptest::prelude::*;

    use super::*;

    fn flood(burst: u32, keys: usize) -> Flood {
        let flood = Flood::new(&FloodSettings {
            burst,
            keys,
            ..FloodSettings::default()
        });
        assert!(end(&flood, 0).0.is_empty());
        flood
    }

    fn end(flood: &Flood, secs: i64) -> (Vec<LogRecord>, BTreeMap<String, f64>) {
        let (mut logs, mut samples) = (Vec::new(), Vec::new());
        let catalog = SeriesCatalog::default();
        flood.turn(
            Timestamp::from_secs(secs),
            &catalog,
            (&mut logs, &mut samples),
        );
        let rates = samples
            .iter()
            .map(|s| (catalog.key(s.series).unwrap().to_string(), s.value));
        (logs, rates.collect())
    }

    fn record(level: Level, message: String) -> LogRecord {
        LogRecord::new(Timestamp::EPOCH, level, message).of("shop/1".parse().unwrap())
    }

    #[test]
    fn weights_of_a_million_records_add_up_and_rare_errors_all_survive() {
        let flood = Arc::new(flood(64, 1_024));
        let count = |kept: &mut BTreeMap<String, u64>, logs: &[LogRecord]| {
            for log in logs {
                let first = log.message.split(' ').next().unwrap().to_owned();
                *kept.entry(first).or_default() += u64::from(log.weight);
            }
        };
        let threads: Vec<_> = (0..4_u64)
            .map(|thread| {
                let flood = Arc::clone(&flood);
                std::thread::spawn(move || {
                    let mut rng = Rng::from_seed(thread);
                    let (mut sent, mut passed) = (BTreeMap::<_, u64>::new(), Vec::new());
                    for n in 0..250_000_u64 {
                        let (level, kind) = match rng.next_u64() % 10 {
                            _ if n % 25_000 == 7 => (Level::Error, "rare"),
                            0 => (Level::Error, "refused"),
                            1..=3 => (Level::Warn, "slow"),
                            _ => (Level::Info, "served"),
                        };
                        *sent.entry(kind.to_owned()).or_default() += 1;
                        passed.extend(flood.admit(record(level, format!("{kind} order {n}"))));
                    }
                    (sent, passed)
                })
            })
            .collect();
        let (mut sent, mut kept) = (BTreeMap::new(), BTreeMap::new());
        let mut n_passed = 0;
        // Intervals end while the threads are at work.
        let mut secs = 0;
        while threads.iter().any(|thread| !thread.is_finished()) {
            secs += 1;
            count(&mut kept, &end(&flood, secs).0);
        }
        for thread in threads {
            let (of_thread, passed) = thread.join().unwrap();
            for (kind, n) in of_thread {
                *sent.entry(kind).or_default() += n;
            }
            n_passed += passed.len();
            let rare = passed.iter().filter(|log| log.message.starts_with("rare"));
            assert_eq!(rare.filter(|log| log.weight == 1).count(), 10);
            count(&mut kept, &passed);
        }
        count(&mut kept, &end(&flood, secs + 1).0);
        assert_eq!(kept, sent);
        assert_eq!(sent.values().sum::<u64>(), 1_000_000);
        assert!(n_passed < 1_000_000, "nothing was sampled");
    }

    #[test]
    fn a_flood_costs_one_burst_per_doubling_and_its_rates_are_exact() {
        let flood = flood(64, 1_024);
        let passed = (0..1_000_000)
            .filter_map(|n| flood.admit(record(Level::Info, format!("served {n}"))))
            .count();
        assert!((64 * 13..=64 * 16).contains(&passed), "{passed}");
        let (logs, rates) = end(&flood, 2);
        let labels = r#"{instance="1",level="info",service="shop"}"#;
        let (all, left_out) = (
            format!("log_flood_records_per_second{labels}"),
            format!("log_flood_suppressed_per_second{labels}"),
        );
        assert_eq!(rates[&all], 500_000.0);
        let n_suppressed = flood.suppressed();
        assert_eq!(
            n_suppressed,
            1_000_000 - (passed + logs.len()) as u64,
            "what was not handed on"
        );
        assert_eq!(rates[&left_out], n_suppressed as f64 / 2.0);
        // When it is over it is said so, once.
        assert_eq!(end(&flood, 3).1[&all], 0.0);
        assert!(end(&flood, 4).1.is_empty());
    }

    #[test]
    fn a_new_error_passes_amid_a_flood_and_a_new_kind_when_all_places_are_taken() {
        let flood = flood(1, 1);
        let noise: Vec<_> = (0..1_000)
            .filter_map(|n| flood.admit(record(Level::Error, format!("refused by {n}"))))
            .collect();
        assert!(noise.len() < 20, "{}", noise.len());
        for n in 0..100 {
            let mut new = record(Level::Error, "failed".to_owned());
            new.error = Some(Box::new(ErrorEvent::new("java", format!("Kind{n}"), "")));
            assert_eq!(flood.admit(new).unwrap().weight, 1);
        }
    }

    #[test]
    fn numbers_and_ids_make_no_new_kind_but_words_levels_and_targets_do() {
        let key = |level, text: &str| key_of(&record(level, text.to_owned()));
        let base = key(Level::Info, "order 17 of 0xdeadbeef1 took 3.5 ms");
        assert_eq!(base, key(Level::Info, "order 9 of a0 took 10.25 ms"));
        assert_ne!(base, key(Level::Info, "order 17 of 0xdeadbeef1 took 3.5 s"));
        assert_ne!(
            base,
            key(Level::Warn, "order 17 of 0xdeadbeef1 took 3.5 ms")
        );
        let other = LogRecord::new(
            Timestamp::EPOCH,
            Level::Info,
            "order 17 of 0xdeadbeef1 took 3.5 ms",
        );
        assert_ne!(base, key_of(&other));
    }

    #[test]
    fn a_new_error_in_a_field_passes_amid_a_flood_under_the_same_message() {
        let flood = flood(64, 1_024);
        let failed = |error: String| {
            let mut failed = record(Level::Error, "request failed".to_owned());
            failed.fields.insert("error", error);
            failed
        };
        let noise = (0..300).filter_map(|n| flood.admit(failed(format!("timeout {n}"))));
        assert!(noise.count() < 300);
        let new = flood.admit(failed("disk corrupt".to_owned())).unwrap();
        assert_eq!(new.weight, 1);
    }

    #[test]
    fn numbers_in_fields_make_no_new_kind_but_codes_do_and_below_warn_nothing_in_them_does() {
        let key = |level, name: &'static str, value: &str| {
            let mut record = record(level, "request failed".to_owned());
            record.fields.insert(name, value);
            key_of(&record)
        };
        let of = |name, value| key(Level::Warn, name, value);
        assert_eq!(of("order", "17"), of("order", "9"));
        assert_eq!(of("elapsed_ms", "17"), of("elapsed_ms", "9"));
        assert_ne!(of("order", "17"), of("table", "17"));
        for name in ["status", "http.status_code", "exit_code"] {
            assert_ne!(of(name, "500"), of(name, "503"));
        }
        let quiet = |value| key(Level::Info, "user", value);
        assert_eq!(quiet("ann"), quiet("bob"));
    }

    #[test]
    fn with_a_burst_of_zero_everything_passes() {
        let flood = Flood::new(&FloodSettings {
            burst: 0,
            ..FloodSettings::default()
        });
        assert!((0..1_000).all(|_| flood.admit(record(Level::Info, "x".into())).is_some()));
    }

    proptest! {
        #[test]
        fn passed_weights_and_debt_are_the_count(burst in 1_u32..50, n in 0_u64..5_000) {
            let flood = flood(burst, 1);
            let weights: Vec<_> = (1..=n).filter_map(|count| flood.weight(count)).collect();
            let (passed, owed) = flood.passed(n);
            prop_assert_eq!(weights.len() as u64, passed);
            let carried: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            prop_assert_eq!(carried + owed, n);
        }
    }
}
