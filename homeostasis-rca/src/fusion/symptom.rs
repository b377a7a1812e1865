//! What else is unusual where little is known of habits: other measurements, failures, who fell ill
//! first, and what was noticed.

use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::Timestamp;
use homeostasis_core::record::Proof;
use homeostasis_core::signal::Level;

use super::activity::Activity;
use super::bundle::EvidenceBundle;
use super::excess::{Excess, sustained};
use super::family::{Family, Scores};
use super::resource::proof;
use crate::scope::number;

/// The strongest of a family without a null level is worth so many nats.
const MOST: f64 = 0.5;

/// What was noticed is worth so much, unless it only sees what others do.
const ALARM: f64 = 1.0;

/// Who fell ill so many seconds after the first counts e times less for it.
const LATER: f64 = 300.0;

/// Of the calm, so many stretches stay below its top.
const CALM: f64 = 0.95;

type Values = BTreeMap<String, (f64, Vec<Proof>)>;

/// The families [`Symptom`](Family::Symptom), [`Failure`](Family::Failure), [`Order`](Family::Order)
/// and [`Alarm`](Family::Alarm).
///
/// No null level is known for them, so that the best service gets half a nat of each and others
/// their share. They are silent where [`Propagation`](Family::Propagation) or habits say more.
pub(super) fn scores(bundle: &EvidenceBundle, now: &Activity, calm: &Activity) -> Vec<Scores> {
    let (symptoms, first) = symptoms(bundle);
    let earliest = first.values().map(|(at, _)| *at).min();
    let order = earliest.map(|earliest| {
        let value = |(service, (at, proof)): (String, (Timestamp, Proof))| {
            let later = at.since(earliest).as_secs_f64();
            (service, ((-later / LATER).exp(), vec![proof]))
        };
        first.into_iter().map(value).collect::<Values>()
    });
    let families = [
        (Family::Symptom, MOST, symptoms),
        (Family::Failure, MOST, failures(now, calm)),
        (Family::Order, MOST, order.unwrap_or_default()),
        (Family::Alarm, ALARM, alarm(bundle, now)),
    ];
    families
        .into_iter()
        .filter(|(_, _, values)| !values.is_empty())
        .map(|(family, most, values)| Scores::relative(family, most, values))
        .collect()
}

/// By service, the strongest excess of its measurements, and when the first of them began.
fn symptoms(bundle: &EvidenceBundle) -> (Values, BTreeMap<String, (Timestamp, Proof)>) {
    let mut values = Values::new();
    let mut first: BTreeMap<String, (Timestamp, Proof)> = BTreeMap::new();
    for series in bundle.series.iter().filter(|it| it.callee.is_none()) {
        let Some(excess) = Excess::of(series) else {
            continue;
        };
        let points = excess.within(bundle.onset, bundle.until);
        let Some(peak) = sustained(&points) else {
            continue;
        };
        let top = excess.calm_top(points.len(), CALM);
        let times = peak / top;
        if times <= 1.0 {
            continue;
        }
        let proof = proof(series, &excess, bundle.onset, times);
        let began = excess
            .points
            .iter()
            .find(|(at, z)| *at >= bundle.onset && *z > 3.0 * top);
        if let Some((at, _)) = began {
            let known = first
                .entry(series.service.clone())
                .or_insert((*at, proof.clone()));
            if *at < known.0 {
                *known = (*at, proof.clone());
            }
        }
        let known = values.entry(series.service.clone()).or_default();
        // How far beyond its calm says little: the loudest is rarely the cause.
        let value = 1.0 - 1.0 / times;
        if value > known.0 {
            *known = (value, vec![proof]);
        }
    }
    (values, first)
}

/// The measurements that left their calm.
pub(super) fn moved(bundle: &EvidenceBundle) -> BTreeSet<&str> {
    let moved = bundle.series.iter().filter(|series| {
        let Some(excess) = Excess::of(series) else {
            return false;
        };
        let points = excess.within(bundle.onset, bundle.until);
        sustained(&points).is_some_and(|peak| peak > excess.calm_top(points.len(), CALM))
    });
    moved.map(|series| series.metric.as_str()).collect()
}

/// By service, how many more lines of trouble than in the calm, and spans that failed by themselves.
fn failures(now: &Activity, calm: &Activity) -> Values {
    let weigh = |activity: &Activity| {
        let mut weights: BTreeMap<String, f64> = BTreeMap::new();
        for it in activity
            .templates
            .iter()
            .filter(|it| it.operation.is_none())
        {
            let weight = match it.level {
                Level::Fatal => 3.0,
                Level::Error => 2.0,
                Level::Warn => 0.5,
                _ => continue,
            };
            *weights.entry(it.service.clone()).or_default() += weight * f64::from(it.lines);
        }
        weights
    };
    let before = weigh(calm);
    let mut values = Values::new();
    let is_louder =
        |it: &&super::activity::LogCount| it.operation.is_none() && it.level >= Level::Warn;
    for (service, weight) in weigh(now) {
        let more = weight - before.get(&service).copied().unwrap_or(0.0);
        if more <= 0.0 {
            continue;
        }
        let loudest = now
            .templates
            .iter()
            .filter(is_louder)
            .filter(|it| it.service == service);
        let loudest = loudest.max_by(|a, b| (a.level, a.lines).cmp(&(b.level, b.lines)));
        let proof = loudest.map(|it| Proof {
            kind: "log".to_owned(),
            reference: format!("{service}/{}", it.kind),
            at: None,
            statement: format!("{} lines like {:?}", it.lines, it.sample),
        });
        values.insert(service, (more.ln_1p(), proof.into_iter().collect()));
    }
    let spans = now.failed.iter();
    for (service, n) in spans {
        let known = calm.failed.get(service).copied().unwrap_or(0);
        let more = f64::from(n.saturating_sub(known));
        if more > 0.0 {
            let (value, proofs) = values.entry(service.clone()).or_default();
            *value += more.ln_1p();
            proofs.push(Proof {
                kind: "span".to_owned(),
                reference: service.clone(),
                at: None,
                statement: format!("{} spans failed without a failed call", number(more)),
            });
        }
    }
    values
}

/// Who was noticed, unless it is an entry: what users see there is what all others do.
fn alarm(bundle: &EvidenceBundle, now: &Activity) -> Values {
    let Some(alarm) = &bundle.alarm else {
        return Values::new();
    };
    let mut calls: BTreeSet<(&str, &str)> = now
        .edges
        .iter()
        .map(|edge| (edge.caller.as_str(), edge.callee.as_str()))
        .collect();
    for (caller, callees) in &bundle.calls {
        calls.extend(
            callees
                .iter()
                .map(|callee| (caller.as_str(), callee.as_str())),
        );
    }
    let is_called = calls.iter().any(|(_, callee)| *callee == alarm.service);
    if !is_called && calls.iter().any(|(caller, _)| *caller == alarm.service) {
        return Values::new();
    }
    let proof = Proof {
        kind: "alarm".to_owned(),
        reference: format!("{}/{}", alarm.service, alarm.metric),
        at: Some(alarm.at),
        statement: format!("{} of {} raised the alarm", alarm.metric, alarm.service),
    };
    Values::from([(alarm.service.clone(), (1.0, vec![proof]))])
}
