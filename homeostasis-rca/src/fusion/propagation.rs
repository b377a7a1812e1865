//! Along which calls the alarmed measurement got worse, and where that ends.

use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::Timestamp;
use homeostasis_core::record::Proof;

use super::activity::Activity;
use super::bundle::{EvidenceBundle, EvidenceSeries};
use super::excess::{Excess, sustained};
use super::family::{Family, Reading, Scores};
use super::resource::proof;
use crate::calls::SEEN;

/// An excess this many times what the calm does in one of twenty stretches is an anomaly.
const ANOMALOUS: f64 = 1.5;

/// Of the calm, so many stretches stay below its top.
const CALM: f64 = 0.95;

/// Callees by caller.
type Calls<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// What is known only from its callers counts half.
const INFERRED: f64 = 0.5;

/// The alarmed metric of one service.
struct Node<'a> {
    series: &'a EvidenceSeries,
    excess: Excess,
    /// How many times its calm it rose since the incident began.
    times: f64,
    /// How far it went along with what was alarmed, -1 to 1.
    along: f64,
}

/// The family [`Propagation`](Family::Propagation): silent unless an alarm was raised by a metric
/// that something it calls has, too.
///
/// Of each service that the alarmed one depends on the same metric counts, less how far it was from
/// its calm already before the onset. It is anomalous if its strongest run exceeds one and a half times what
/// its calm does in one of twenty stretches, and it went along with the alarmed series: Pearson's
/// correlation is above its 10 % point for so few points. From the alarmed service the walk follows
/// calls among anomalous services; who calls no anomalous service with a view of its own is where
/// it ends. Ends come first, then who was walked through, then the rest.
pub(super) fn scores(bundle: &EvidenceBundle, now: &Activity, calm: &Activity) -> Option<Scores> {
    let alarm = bundle.alarm.as_ref()?;
    let calls = calls(bundle, now, calm);
    let reachable = reachable(&calls, &alarm.service);
    // Labels are dropped: of several series of one service the one that rose most stands for it.
    let mut nodes: BTreeMap<&str, Node<'_>> = BTreeMap::new();
    for series in &bundle.series {
        let is_meant = series.callee.is_none() && series.metric == alarm.metric;
        let service = series.service.as_str();
        if !is_meant || !reachable.contains(service) {
            continue;
        }
        let Some(node) = Node::of(bundle, series) else {
            continue;
        };
        match nodes.get(service) {
            Some(known) if known.times >= node.times => {}
            _ => {
                nodes.insert(service, node);
            }
        }
    }
    let reference = nodes.get(alarm.service.as_str())?.excess.points.clone();
    for node in nodes.values_mut() {
        node.along = along(&node.excess, &reference);
    }
    if nodes.len() < 2 {
        return None;
    }
    let visited = walk(&calls, &nodes, &alarm.service);
    let ends = |service: &str| {
        let has_view = |callee: &str| visited.contains(callee) && !bundle.inferred.contains(callee);
        let callees = calls.get(service).into_iter().flatten();
        !callees
            .filter(|callee| **callee != service)
            .any(|callee| has_view(callee))
    };
    let readings = reachable.iter().map(|service| {
        let node = nodes.get(service);
        let strength = node.map_or(0.0, |node| {
            let known = if bundle.inferred.contains(*service) {
                INFERRED
            } else {
                1.0
            };
            node.times.max(0.0).ln_1p() * node.along.max(0.1) * known
        });
        let is_end = visited.contains(service)
            && *service != alarm.service
            && !bundle.inferred.contains(*service)
            && ends(service);
        // Within a tier the strength decides, between tiers the tier.
        let nats = if is_end {
            2.0 + strength
        } else if visited.contains(service) || *service == alarm.service {
            1.0 + strength / (1.0 + strength)
        } else {
            strength / (1.0 + strength)
        };
        let proofs: Vec<Proof> = node
            .filter(|node| node.times > 1.0)
            .map(|node| proof(node.series, &node.excess, bundle.onset, node.times))
            .into_iter()
            .collect();
        let reading = Reading {
            value: strength,
            nats,
            proofs,
        };
        ((*service).to_owned(), reading)
    });
    Some(Scores {
        family: Family::Propagation,
        null: 0.0,
        readings: readings.collect(),
    })
}

impl<'a> Node<'a> {
    /// It goes along with nothing yet.
    fn of(bundle: &EvidenceBundle, series: &'a EvidenceSeries) -> Option<Self> {
        let excess = Excess::of(series)?;
        let before = excess.points.first().filter(|(at, _)| *at < bundle.onset);
        let already = before.map_or(0.0, |(_, z)| z.max(0.0));
        let points: Vec<f64> = excess.points.iter().map(|(_, z)| z - already).collect();
        let peak = sustained(&points)?;
        let times = peak.max(0.0) / excess.calm_top(points.len(), CALM);
        Some(Self {
            series,
            excess,
            times,
            along: 0.0,
        })
    }

    fn is_anomalous(&self) -> bool {
        self.times > ANOMALOUS && self.along > one_in_ten(self.excess.points.len())
    }
}

/// How far a series went along with the alarmed one.
fn along(excess: &Excess, alarmed: &[(Timestamp, f64)]) -> f64 {
    let pairs = excess.points.iter().filter_map(|(at, z)| {
        let other = alarmed.binary_search_by_key(at, |(at, _)| *at).ok()?;
        Some((*z, alarmed[other].1))
    });
    pearson(&pairs.collect::<Vec<_>>())
}

/// Whom each service calls: as it declares, or, if it declares nobody, as spans from both sides
/// show at least twice.
fn calls<'a>(bundle: &'a EvidenceBundle, now: &'a Activity, calm: &'a Activity) -> Calls<'a> {
    let mut calls = Calls::new();
    for (caller, callees) in &bundle.calls {
        if !callees.is_empty() {
            calls.insert(caller, callees.iter().map(String::as_str).collect());
        }
    }
    let declared: BTreeSet<&str> = calls.keys().copied().collect();
    let seen = now.edges.iter().chain(&calm.edges);
    for edge in seen.filter(|edge| edge.n >= SEEN && !declared.contains(edge.caller.as_str())) {
        let callees = calls.entry(&edge.caller).or_default();
        callees.insert(&edge.callee);
    }
    calls
}

/// Whom `service` depends on, with itself.
fn reachable<'a>(calls: &Calls<'a>, service: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::from([service]);
    let mut open = vec![service];
    while let Some(present) = open.pop() {
        for callee in calls.get(present).into_iter().flatten() {
            if seen.insert(callee) {
                open.push(callee);
            }
        }
    }
    seen
}

/// The anomalous services that are reached from `start` by calls among them.
fn walk<'a>(
    calls: &Calls<'a>,
    nodes: &BTreeMap<&'a str, Node<'_>>,
    start: &'a str,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(present) = open.pop() {
        for callee in calls.get(present).into_iter().flatten() {
            let is_anomalous = nodes.get(callee).is_some_and(Node::is_anomalous);
            if is_anomalous && seen.insert(callee) {
                open.push(callee);
            }
        }
    }
    seen
}

/// Pearson's correlation; zero for what does not move.
fn pearson(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    if pairs.len() < 3 {
        return 0.0;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (a, b) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    let both = sum(&|pair| (pair.0 - a) * (pair.1 - b));
    let spread = sum(&|pair| (pair.0 - a).powi(2)) * sum(&|pair| (pair.1 - b).powi(2));
    let correlation = both / spread.sqrt();
    if correlation.is_finite() {
        correlation
    } else {
        0.0
    }
}

/// The correlation that one in ten pairs of unrelated series of `n` points exceeds: `t / √(t² + n - 2)`
/// with Student's t at 90 % and n - 2 degrees of freedom (tabulated to 10, then the normal value).
fn one_in_ten(n: usize) -> f64 {
    const T: [f64; 10] = [
        3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372,
    ];
    let Some(freedom) = n.checked_sub(2).filter(|freedom| *freedom > 0) else {
        return 1.0;
    };
    let t = T.get(freedom - 1).copied().unwrap_or(1.282);
    t / (t * t + freedom as f64).sqrt()
}
