//! Who ran out of something: processors, memory, disks.

use std::collections::BTreeMap;

use homeostasis_core::Timestamp;
use homeostasis_core::record::Proof;

use super::bundle::{EvidenceBundle, EvidenceSeries, SeriesKind};
use super::excess::{Excess, SETTLE, sustained};
use super::family::{Family, Scores};
use crate::scope::number;
use crate::stats::{quantile, sorted};

/// One false alarm in a hundred stretches of calm, for one series and for all together.
const RARE: f64 = 0.99;

/// An excess below twice what the calm does once in a hundred stretches is no exhaustion.
const FLOOR: f64 = 2.0;

/// How heavy the tail of calm processors is taken to be: they are spiky.
const TAIL: f64 = 0.75;

/// Of the runner-ups of the last incidents, the null is at least this quantile.
pub(super) const RUNNER_UP: f64 = 0.75;

/// The points of an incident: those after the settling, or all since the onset if there are not
/// two of them yet.
pub(super) fn settled(excess: &Excess, onset: Timestamp, until: Timestamp) -> Vec<f64> {
    let settled = excess.within(onset + SETTLE, until);
    if settled.len() >= 2 {
        settled
    } else {
        excess.within(onset, until)
    }
}

/// The family [`Resource`](Family::Resource): for every service the strongest rise of a resource.
///
/// A series counts by the highest level that two neighboring settled points both reach, divided by what
/// the calm reaches in one of a hundred stretches of that length. The null is the largest of what all
/// series together reach in one of a hundred stretches of calm, the upper quartile of the last
/// runner-ups, and 2.
pub(super) fn scores(bundle: &EvidenceBundle) -> Option<Scores> {
    rises(bundle, Family::Resource, SeriesKind::is_resource)
}

/// The same of series of other kinds.
pub(super) fn rises(
    bundle: &EvidenceBundle,
    family: Family,
    is_meant: impl Fn(SeriesKind) -> bool,
) -> Option<Scores> {
    let mut values: BTreeMap<String, (f64, Vec<Proof>)> = BTreeMap::new();
    let mut calm_tops: Vec<f64> = Vec::new();
    let series = bundle.series.iter();
    for series in series.filter(|it| is_meant(it.kind) && it.callee.is_none()) {
        let Some(excess) = Excess::of(series) else {
            continue;
        };
        let points = settled(&excess, bundle.onset, bundle.until);
        let Some(peak) = sustained(&points) else {
            continue;
        };
        let scans = excess.calm_scans(points.len());
        let own = quantile(&sorted(scans.iter().copied()), RARE);
        let own = own.unwrap_or(1.0).max(1.0);
        for (idx, calm) in scans.iter().enumerate() {
            match calm_tops.get_mut(idx) {
                Some(top) => *top = top.max(calm / own),
                None => calm_tops.push(calm / own),
            }
        }
        let value = (peak / own).max(0.0);
        let known = values.entry(series.service.clone()).or_default();
        if value > known.0 || known.1.is_empty() {
            *known = (value, vec![proof(series, &excess, bundle.onset, value)]);
        }
    }
    if values.is_empty() {
        return None;
    }
    let mut runner_ups = bundle.memory.runner_ups(family);
    runner_ups.extend(Scores::runner_up(values.values().map(|(value, _)| *value)));
    let null = [
        quantile(&sorted(runner_ups), RUNNER_UP),
        calm_null(&calm_tops),
    ];
    let null = null.into_iter().flatten().fold(FLOOR, f64::max);
    Some(Scores::against(family, null, values))
}

/// What the calm exceeds in one of a hundred stretches. From `k` stretches, fewer than a hundred, the
/// quantile is extrapolated along a tail of index 3/4: what was seen, times (100 / k)^(3/4).
fn calm_null(tops: &[f64]) -> Option<f64> {
    let top = quantile(&sorted(tops.iter().copied()), RARE)?;
    let seen = (tops.len() as f64 * (1.0 - RARE)).min(1.0);
    Some(top / seen.powf(TAIL))
}

/// What `series` shows since `onset`.
pub(super) fn proof(
    series: &EvidenceSeries,
    excess: &Excess,
    onset: Timestamp,
    times: f64,
) -> Proof {
    let since = series
        .points
        .iter()
        .filter(|(at, v)| *at >= onset && v.is_finite());
    let values = sorted(since.map(|(_, value)| *value));
    let now = quantile(&values, 0.5).unwrap_or(f64::NAN);
    Proof {
        kind: "series".to_owned(),
        reference: format!("{}{{service={:?}}}", series.metric, series.service),
        at: excess
            .points
            .iter()
            .find(|(at, z)| *at >= onset && *z > 3.0)
            .map(|(at, _)| *at),
        statement: format!(
            "{} moved from {} to {}, {} times what its calm does",
            series.metric,
            number(excess.calm_level()),
            number(now),
            number(times)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_calm_raises_the_bar() {
        let of = |n: usize| calm_null(&vec![2.0; n]).expect("some calm");
        assert!((of(100) - 2.0).abs() < 1e-9 && (of(500) - 2.0).abs() < 1e-9);
        assert!(
            (of(10) - 2.0 * 10_f64.powf(TAIL)).abs() < 1e-9,
            "{}",
            of(10)
        );
        assert_eq!(calm_null(&[]), None);
    }
}
