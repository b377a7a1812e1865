//! Who behaves differently: lines written and calls made per operation, against calm and habit.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use homeostasis_core::record::Proof;

use super::activity::Activity;
use super::bundle::EvidenceBundle;
use super::family::{Family, Scores};
use super::memory::PastIncident;
use super::resource::RUNNER_UP;
use crate::scope::number;
use crate::stats::{median, quantile, sorted};

/// Rates over fewer spans are not compared.
const MIN_SPANS: f64 = 3.0;

/// A rate that moved by less did not move.
const MIN_MOVE: f64 = 0.02;

/// A move of fewer standard errors is chance.
const MIN_Z: f64 = 2.0;

/// So many steady incidents are assumed of every kind of line before habit counts.
const STEADY: f64 = 4.0;

/// Calls say half as much as lines: they also change where somebody else fails.
const CALLS: f64 = 0.5;

/// This share of what a service usually scores is its habit.
const HABIT: f64 = 0.5;

/// What a caller keeps whose callee behaves at least as differently.
const CALLER_KEEPS: f64 = 0.35;

/// What services without a fault reach easily.
const FLOOR: f64 = 1.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Table {
    Template,
    Place,
    Call,
}

type Key<'a> = (&'a str, Option<&'a str>, Table, &'a str);

/// Counts of a stretch, to look up.
#[derive(Debug, Default)]
struct Rates<'a> {
    traces: f64,
    operations: HashMap<(&'a str, &'a str), f64>,
    counts: HashMap<Key<'a>, f64>,
    /// Of these nothing is told.
    without: Option<&'a BTreeSet<String>>,
}

impl<'a> Rates<'a> {
    fn of(activity: &'a Activity) -> Self {
        let mut rates = Self {
            traces: f64::from(activity.traces),
            ..Self::default()
        };
        for it in &activity.operations {
            rates
                .operations
                .insert((&it.service, &it.operation), f64::from(it.n));
        }
        for it in &activity.templates {
            let key = (
                &*it.service,
                it.operation.as_deref(),
                Table::Template,
                &*it.kind,
            );
            rates.counts.insert(key, f64::from(it.spans));
        }
        for it in &activity.places {
            let key = (
                &*it.service,
                it.operation.as_deref(),
                Table::Place,
                &*it.kind,
            );
            rates.counts.insert(key, f64::from(it.lines));
        }
        for it in &activity.calls {
            let key = (&*it.service, Some(&*it.operation), Table::Call, &*it.child);
            rates.counts.insert(key, f64::from(it.n));
        }
        rates
    }

    /// What it says of those whose fault it was not.
    fn of_past(past: &'a PastIncident) -> Self {
        Self {
            without: Some(&past.culprits),
            ..Self::of(&past.activity)
        }
    }

    /// Of how many spans, and how often in each; `None` if of too few.
    fn rate(&self, key: &Key<'_>) -> Option<(f64, f64)> {
        if self.without.is_some_and(|without| without.contains(key.0)) {
            return None;
        }
        let n = match key.1 {
            Some(operation) => *self.operations.get(&(key.0, operation))?,
            None => self.traces,
        };
        (n >= MIN_SPANS).then(|| (n, self.counts.get(key).copied().unwrap_or(0.0) / n))
    }
}

/// How differently one kind of line or call comes.
#[derive(Debug, Clone, Copy)]
struct Move<'a> {
    key: Key<'a>,
    before: f64,
    now: f64,
    score: f64,
}

/// What every service scores before habit and callees are taken into account.
pub(super) struct Behavior {
    /// By service.
    pub(super) raw: BTreeMap<String, f64>,
    proofs: BTreeMap<String, Vec<Proof>>,
}

impl Behavior {
    /// Compares `now` with the calm of `bundle` and its memory; `None` without calm or calls.
    pub(super) fn of(bundle: &EvidenceBundle, now: &Activity, calm: &Activity) -> Option<Self> {
        if now.is_empty() {
            return None;
        }
        let present = Rates::of(now);
        let quiet = Rates::of(calm);
        let habits: Vec<Rates<'_>> = bundle.memory.incidents().map(Rates::of_past).collect();
        let mut keys: Vec<Key<'_>> = std::iter::once(&present)
            .chain(std::iter::once(&quiet))
            .flat_map(|rates| rates.counts.keys().copied())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let mut best: BTreeMap<(&str, bool), Move<'_>> = BTreeMap::new();
        let mut compared = false;
        for key in keys {
            let Some((n, rate)) = present.rate(&key) else {
                continue;
            };
            let Some((n0, before)) = quiet.rate(&key).or_else(|| usual(&habits, &key)) else {
                continue;
            };
            compared = true;
            let Some(score) = moved((n, rate), (n0, before)) else {
                continue;
            };
            let score = score * steadiness(&habits, &key, before, rate);
            let is_call = key.2 == Table::Call;
            let found = Move {
                key,
                before,
                now: rate,
                score,
            };
            let known = best.entry((key.0, is_call)).or_insert(found);
            // Of two as strong, people are shown what is new rather than what is gone.
            let is_newer = score >= known.score && found.came() && !known.came();
            if score > known.score || is_newer {
                *known = found;
            }
        }
        if !compared {
            return None;
        }
        let mut raw: BTreeMap<String, f64> = BTreeMap::new();
        let mut proofs: BTreeMap<String, Vec<Proof>> = BTreeMap::new();
        for ((service, is_call), found) in &best {
            let score = if *is_call {
                CALLS * found.score
            } else {
                found.score
            };
            let known = raw.entry((*service).to_owned()).or_insert(0.0);
            let proof = found.proof(now, calm);
            let all = proofs.entry((*service).to_owned()).or_default();
            if score > *known {
                *known = score;
                all.insert(0, proof);
            } else {
                all.push(proof);
            }
        }
        for it in &now.operations {
            raw.entry(it.service.clone()).or_insert(0.0);
        }
        Some(Self { raw, proofs })
    }

    /// The family [`Behavior`](Family::Behavior).
    ///
    /// For every kind of line (a template; a place in the code) the share of an operation's spans
    /// that have it, or its number per span, is compared with the calm by a two-proportion test
    /// whose variance has a floor; calls made by the operation are compared in the same way at half
    /// weight. New and vanished kinds count alike, and loudness does not. What varied as much in
    /// earlier incidents, of which it was not the culprit, counts less. A service counts by its strongest kind, less half of what it
    /// usually scores, and keeps a third of it if a callee scores as high.
    pub(super) fn scores(self, bundle: &EvidenceBundle, now: &Activity) -> Scores {
        let lessened = self.raw.iter().map(|(service, score)| {
            let past = bundle.memory.incidents();
            let past = past.filter(|it| !it.culprits.contains(service));
            let past = past.map(|it| it.behavior.get(service).copied().unwrap_or(0.0));
            let past: Vec<f64> = past.collect();
            let n = past.len() as f64;
            let habit = if n >= 2.0 {
                median(past).unwrap_or(0.0)
            } else {
                0.0
            };
            let score = (score - HABIT * habit * n / (n + STEADY)).max(0.0);
            (service.as_str(), score)
        });
        let lessened: BTreeMap<&str, f64> = lessened.collect();
        let mut callees: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for edge in &now.edges {
            callees
                .entry(&edge.caller)
                .or_default()
                .insert(&edge.callee);
        }
        for (caller, theirs) in &bundle.calls {
            let known = callees.entry(caller).or_default();
            known.extend(theirs.iter().map(String::as_str));
        }
        let values: BTreeMap<String, (f64, Vec<Proof>)> = lessened
            .iter()
            .map(|(service, score)| {
                let theirs = callees.get(service).into_iter().flatten();
                let is_caller = theirs
                    .filter(|callee| *callee != service)
                    .any(|callee| lessened.get(callee).is_some_and(|its| its >= score));
                let kept = if is_caller {
                    CALLER_KEEPS * score
                } else {
                    *score
                };
                let proofs = self.proofs.get(*service).cloned().unwrap_or_default();
                ((*service).to_owned(), (kept, proofs))
            })
            .collect();
        let mut runner_ups = bundle.memory.runner_ups(Family::Behavior);
        runner_ups.extend(Scores::runner_up(values.values().map(|(value, _)| *value)));
        let null = quantile(&sorted(runner_ups), RUNNER_UP).unwrap_or(0.0);
        Scores::against(Family::Behavior, null.max(FLOOR), values)
    }
}

impl Move<'_> {
    /// Whether there is more of it now.
    fn came(&self) -> bool {
        self.now > self.before
    }

    fn proof(&self, now: &Activity, calm: &Activity) -> Proof {
        let (service, operation, table, kind) = self.key;
        let sample = [now, calm].into_iter().find_map(|activity| {
            let lines = match table {
                Table::Template => &activity.templates[..],
                Table::Place => &activity.places[..],
                Table::Call => &[],
            };
            let key = (service, operation, kind);
            let line = lines.iter().find(|it| it.key() == key)?;
            Some(line.sample.as_str())
        });
        let sample = sample.unwrap_or(kind);
        let what = if table == Table::Call {
            "calls"
        } else {
            "log lines"
        };
        let of = operation.unwrap_or("each trace");
        Proof {
            kind: if table == Table::Call { "calls" } else { "log" }.to_owned(),
            reference: format!("{service}/{of}/{kind}"),
            at: None,
            statement: format!(
                "{what} {sample:?} per {of}: {} before, {} now",
                number(self.before),
                number(self.now)
            ),
        }
    }
}

/// What the last incidents had, if the calm has nothing to compare with.
fn usual(habits: &[Rates<'_>], key: &Key<'_>) -> Option<(f64, f64)> {
    let rates: Vec<_> = habits.iter().filter_map(|rates| rates.rate(key)).collect();
    if rates.len() < 2 {
        return None;
    }
    let n = median(rates.iter().map(|(n, _)| *n))?;
    Some((n, median(rates.iter().map(|(_, rate)| *rate))?))
}

/// How far a rate moved, as the logarithm of its significance times its size.
fn moved((n, rate): (f64, f64), (n0, before): (f64, f64)) -> Option<f64> {
    let moved = (rate - before).abs();
    if moved <= MIN_MOVE {
        return None;
    }
    let pooled = (n * rate + n0 * before) / (n + n0);
    let variance = if pooled >= 1.0 {
        pooled
    } else {
        pooled * (1.0 - pooled)
    };
    let variance = variance.max(0.5 / (n + n0));
    let error = (variance * (1.0 / n + 1.0 / n0) + MIN_MOVE * MIN_MOVE).sqrt();
    let z = moved / error;
    (z >= MIN_Z).then(|| z.ln_1p() * moved.min(1.0))
}

/// One less the share of incidents in which the rate was as far from `before` anyway.
fn steadiness(habits: &[Rates<'_>], key: &Key<'_>, before: f64, now: f64) -> f64 {
    let half = (now - before).abs() / 2.0;
    let rates = habits.iter().filter_map(|rates| rates.rate(key));
    let rates: Vec<f64> = rates.map(|(_, rate)| rate).collect();
    let as_far = rates
        .iter()
        .filter(|rate| (*rate - before).abs() >= half)
        .count();
    1.0 - as_far as f64 / (rates.len() as f64 + STEADY)
}
