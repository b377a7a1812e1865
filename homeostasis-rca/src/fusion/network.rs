//! On whose calls time is lost between the caller and the callee.

use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::record::Proof;

use super::activity::{Activity, EdgeGaps};
use super::bundle::{EvidenceBundle, EvidenceSeries};
use super::excess::{MAX_CALM, SETTLE};
use super::family::{Family, Scores};
use super::resource::RUNNER_UP;
use crate::scope::number;
use crate::stats::{median, quantile, sorted};

/// Gaps below half a millisecond are the noise of two clocks and a loopback, in microseconds.
const CLOCKS: f64 = 500.0;

/// So many calls that show nothing are assumed of every edge.
const SHRINK: f64 = 4.0;

/// A factor below √e is no illness of a network.
const FLOOR: f64 = 0.5;

/// So many of the last incidents tell, together with the calm, what a gap usually is.
const HISTORY: usize = 12;

/// The logarithm of how much an edge slowed down; only where it did.
type Slowed<'a> = BTreeMap<(&'a str, &'a str), Edge>;

#[derive(Debug, Clone, Copy)]
struct Edge {
    nats: f64,
    before: f64,
    now: f64,
}

/// The family [`Network`](Family::Network).
///
/// An edge counts by the logarithm of its median gap (the caller's span less the callee's) over
/// the median of calm and of the last incidents, shrunk where there were few calls; a series with a
/// callee stands for the edge instead. A service counts by Ochiai's coefficient over its edges
/// ("Zoogeographic studies on the soleoid fishes", 1957): high if most of its edges are slow and
/// most of what is slow are its edges. The null is what remains for the best service when the edges
/// of the first are taken away (upper quartile over the last incidents), or 0.5.
pub(super) fn scores(bundle: &EvidenceBundle, now: &Activity, calm: &Activity) -> Option<Scores> {
    let edges = measured(bundle).or_else(|| traced(bundle, now, calm))?;
    let values = by_service(&edges);
    let rest = without_best(&edges, &values);
    let mut rests = bundle.memory.runner_ups(Family::Network);
    rests.push(rest);
    let quartile = quantile(&sorted(rests), RUNNER_UP).unwrap_or(0.0);
    let null = quartile.max(FLOOR).max(calm_null(bundle));
    let values = values.into_iter().map(|(service, value)| {
        let proofs = proofs(&edges, service);
        (service.to_owned(), (value, proofs))
    });
    Some(Scores::against(Family::Network, null, values.collect()))
}

/// What stands for this incident in the memory: what is left without the edges of the best.
pub(super) fn residue(bundle: &EvidenceBundle, now: &Activity, calm: &Activity) -> Option<f64> {
    let edges = measured(bundle).or_else(|| traced(bundle, now, calm))?;
    Some(without_best(&edges, &by_service(&edges)))
}

fn without_best(edges: &Slowed<'_>, values: &BTreeMap<&str, f64>) -> f64 {
    let best = values
        .iter()
        .max_by(|a, b| a.1.total_cmp(b.1).then_with(|| b.0.cmp(a.0)));
    let Some((best, _)) = best else {
        return 0.0;
    };
    let rest = edges
        .iter()
        .filter(|((caller, callee), _)| caller != best && callee != best)
        .map(|(key, edge)| (*key, *edge));
    by_service(&rest.collect())
        .into_values()
        .fold(0.0, f64::max)
}

fn by_service<'a>(edges: &Slowed<'a>) -> BTreeMap<&'a str, f64> {
    let all: f64 = edges.values().map(|edge| edge.nats).sum();
    // Of each service: the most, the sum and the number of its edges.
    let mut own: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
    for ((caller, callee), edge) in edges {
        for service in BTreeSet::from([*caller, *callee]) {
            let (most, sum, n) = own.entry(service).or_default();
            *most = most.max(edge.nats);
            *sum += edge.nats;
            *n += 1.0;
        }
    }
    let value = |(most, sum, n): (f64, f64, f64)| {
        if most <= 0.0 || all <= 0.0 {
            return 0.0;
        }
        most * (sum / (most * n) * (sum / all)).sqrt()
    };
    let values = own.into_iter();
    values.map(|(service, own)| (service, value(own))).collect()
}

/// Edges that were measured as such; of several series of one edge the one that slowed down most.
fn measured(bundle: &EvidenceBundle) -> Option<Slowed<'_>> {
    let from = bundle.onset + SETTLE;
    let mut edges = Slowed::new();
    for series in &bundle.series {
        let Some(callee) = series.callee.as_deref() else {
            continue;
        };
        let points = series.points.iter();
        let points = points.filter(|(at, _)| *at >= from && *at <= bundle.until);
        let now = median(points.map(|(_, value)| *value));
        let before = median(calm_of(series).iter().copied());
        if let (Some(now), Some(before)) = (now, before) {
            slowest(&mut edges, (&series.service, callee), before, now);
        }
    }
    (!edges.is_empty()).then_some(edges)
}

/// The end of a long calm.
fn calm_of(series: &EvidenceSeries) -> &[f64] {
    &series.calm[series.calm.len().saturating_sub(MAX_CALM)..]
}

/// Notes what was measured of an edge, if nothing slower is known.
fn slowest<'a>(edges: &mut Slowed<'a>, key: (&'a str, &'a str), before: f64, now: f64) {
    let nats = ((now + CLOCKS) / (before + CLOCKS)).ln();
    let nats = if nats.is_finite() { nats.max(0.0) } else { 0.0 };
    let edge = Edge { nats, before, now };
    let known = edges.entry(key).or_insert(edge);
    if known.nats < nats {
        *known = edge;
    }
}

/// Edges as spans show them.
fn traced<'a>(bundle: &EvidenceBundle, now: &'a Activity, calm: &Activity) -> Option<Slowed<'a>> {
    let present = now.edges.iter();
    let present: BTreeSet<(&str, &str)> = present.map(key_of).collect();
    let mut past: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    let earlier = bundle.memory.incidents().rev().take(HISTORY);
    let earlier = earlier.flat_map(|incident| {
        let is_habit = |edge: &&EdgeGaps| {
            !incident.culprits.contains(&edge.caller) && !incident.culprits.contains(&edge.callee)
        };
        incident.activity.edges.iter().filter(is_habit)
    });
    for edge in calm.edges.iter().chain(earlier).filter(|edge| edge.n >= 2) {
        if let Some(key) = present.get(&key_of(edge)) {
            let gap = median(edge.gaps.iter().copied());
            past.entry(*key).or_default().extend(gap);
        }
    }
    let mut edges = Slowed::new();
    for edge in now.edges.iter().filter(|edge| edge.n >= 2) {
        let key = key_of(edge);
        let before = past.get(&key).and_then(|past| median(past.iter().copied()));
        let (Some(before), Some(now)) = (before, median(edge.gaps.iter().copied())) else {
            continue;
        };
        let n = f64::from(edge.n);
        let nats = ((now + CLOCKS) / (before + CLOCKS)).ln() * n / (n + SHRINK);
        edges.insert(
            key,
            Edge {
                nats: nats.max(0.0),
                before,
                now,
            },
        );
    }
    (!edges.is_empty()).then_some(edges)
}

fn key_of(edge: &EdgeGaps) -> (&str, &str) {
    (&edge.caller, &edge.callee)
}

/// What measured edges reach in one of a hundred stretches of calm of three values.
fn calm_null(bundle: &EvidenceBundle) -> f64 {
    const STRETCH: usize = 3;
    let measured: Vec<_> = bundle
        .series
        .iter()
        .filter_map(|series| {
            let key = (series.service.as_str(), series.callee.as_deref()?);
            let calm = calm_of(series);
            Some((key, calm, median(calm.iter().copied())))
        })
        .collect();
    let lens = measured.iter().map(|(_, calm, _)| calm.len() / STRETCH);
    let n_stretches = lens.min().unwrap_or(0);
    let tops = (0..n_stretches).map(|idx| {
        let mut edges = Slowed::new();
        for (key, calm, before) in &measured {
            let stretch = calm.iter().skip(idx * STRETCH).take(STRETCH);
            if let (Some(now), Some(before)) = (median(stretch.copied()), before) {
                slowest(&mut edges, *key, *before, now);
            }
        }
        by_service(&edges).into_values().fold(0.0, f64::max)
    });
    quantile(&sorted(tops), 0.99).unwrap_or(0.0)
}

fn proofs(edges: &Slowed<'_>, service: &str) -> Vec<Proof> {
    let mut own: Vec<_> = edges
        .iter()
        .filter(|((a, b), edge)| (*a == service || *b == service) && edge.nats > 0.0)
        .collect();
    own.sort_by(|a, b| b.1.nats.total_cmp(&a.1.nats).then_with(|| a.0.cmp(b.0)));
    let proof = |((caller, callee), edge): (&(&str, &str), &Edge)| Proof {
        kind: "edge".to_owned(),
        reference: format!("{caller} -> {callee}"),
        at: None,
        statement: format!(
            "calls of {caller} to {callee} lose {} ms between both sides, {} ms before",
            number(edge.now / 1e3),
            number(edge.before / 1e3)
        ),
    };
    own.into_iter().take(3).map(proof).collect()
}
