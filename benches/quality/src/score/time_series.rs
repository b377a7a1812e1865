//! How good anomaly scores are on one labelled series.
//!
//! A higher score means more anomalous. Threshold-free measures are the area under the curve of
//! precision and recall and its range-aware volume; event measures count what people would have
//! been told.

/// An event or an alarm: the first and the last point.
type Span = (usize, usize);

/// How many thresholds the volume is taken at.
const N_THRESHOLDS: usize = 250;
/// The window of a series without a period.
const NO_PERIOD: usize = 125;
/// Alarms with at most this many quiet points between them are one.
const MERGE_GAP: usize = 3;
/// An alarm that lasts is told again every so many points.
const RENOTIFY: usize = 20;

/// The runs of labelled points.
fn spans(labels: impl IntoIterator<Item = bool>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut is_open = false;
    for (at, label) in labels.into_iter().enumerate() {
        match spans.last_mut().filter(|_| is_open && label) {
            Some(span) => span.1 = at,
            None if label => spans.push((at, at)),
            None => {}
        }
        is_open = label;
    }
    spans
}

/// Average precision, the area under the step-wise curve of precision and recall; points of equal
/// score are one step. `None` without a labelled point.
///
/// # Panics
/// If there is not one finite score for each label.
pub(crate) fn average_precision(labels: &[bool], scores: &[f64]) -> Option<f64> {
    require(labels, scores);
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_unstable_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let n_positive = labels.iter().filter(|label| **label).count();
    let (mut n_seen, mut n_hits, mut area) = (0_usize, 0_usize, 0.0);
    for step in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let n_new = step.iter().filter(|at| labels[**at]).count();
        n_seen += step.len();
        n_hits += n_new;
        area += n_new as f64 * n_hits as f64 / n_seen as f64;
    }
    (n_positive > 0).then(|| area / n_positive as f64)
}

/// The area under the curve of true and false positives: the chance that a labelled point scores above
/// another, equal scores counting one half. `None` unless there are both.
///
/// # Panics
/// If there is not one finite score for each label.
pub(crate) fn roc_auc(labels: &[bool], scores: &[f64]) -> Option<f64> {
    require(labels, scores);
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_unstable_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (mut n_below, mut n_positive, mut above) = (0.0, 0.0, 0.0);
    for step in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let n_hits = step.iter().filter(|at| labels[**at]).count() as f64;
        let n_others = step.len() as f64 - n_hits;
        above += n_hits * (n_below + n_others / 2.0);
        n_below += n_others;
        n_positive += n_hits;
    }
    let n_pairs = n_positive * n_below;
    (n_pairs > 0.0).then(|| above / n_pairs)
}

/// The window of [`vus_pr`] for a series: the lag of the highest local peak of its autocorrelation,
/// 3 to 300, over its first 20 000 points; 125 where there is none.
pub(crate) fn window(values: &[f64]) -> usize {
    const FIRST: usize = 3;
    let values = &values[..values.len().min(20_000)];
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let centered: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let n_lags = values.len().min(401);
    let correlation: Vec<f64> = (0..n_lags)
        .map(|lag| {
            let pairs = centered.iter().zip(&centered[lag..]);
            pairs.map(|(a, b)| a * b).sum()
        })
        .collect();
    let variance = correlation.first().copied().unwrap_or(0.0);
    if variance.is_nan() || variance <= 1e-300 {
        return NO_PERIOD;
    }
    let peak = (FIRST + 1..n_lags.saturating_sub(1))
        .filter(|lag| {
            let here = correlation[*lag];
            here > correlation[lag - 1] && here > correlation[lag + 1]
        })
        // The first of equal peaks.
        .rev()
        .max_by(|a, b| correlation[*a].total_cmp(&correlation[*b]));
    match peak {
        Some(lag) if (2 * FIRST..=300 + FIRST).contains(&lag) => lag,
        _ => NO_PERIOD,
    }
}

/// The volume under the surface of precision and recall: the mean over `w = 0..=window` of range-aware
/// areas, where events have sloping buffers of `w / 2` points on both sides. `None` without a labelled
/// point.
///
/// Source: J. Paparrizos et al., *Volume under the surface: a new accuracy evaluation measure for
/// time-series anomaly detection*, PVLDB 15 (2022), with the formulae of the TSB-AD benchmark 1.5
/// (250 thresholds at equally spaced ranks). O(n log n + window · (points near events + 250)).
///
/// # Panics
/// If there is not one finite score for each label.
pub(crate) fn vus_pr(labels: &[bool], scores: &[f64], window: usize) -> Option<f64> {
    require(labels, scores);
    let events = spans(labels.iter().copied());
    let (first, last) = (events.first()?, events.last()?);
    let buckets = buckets(scores);
    let n_predicted = cumulated(&histogram(buckets.iter().copied()));
    let inside = (first.0..=last.1).filter(|at| labels[*at]);
    let core = histogram(inside.map(|at| buckets[at]));
    let n_positive: f64 = core.iter().sum();
    let buffer = Buffer::new(&events, &buckets, window / 2);
    let mut reach = Reach::new(&events, &buckets);
    let mut volume = 0.0;
    for width in 0..=window {
        let half = width / 2;
        reach.grow_to(half);
        let found = reach.found();
        let mass = buffer.mass(width);
        let (mut hits, mut hits_in_core, mut recall_before) = (0.0, 0.0, 0.0);
        for threshold in 0..N_THRESHOLDS {
            hits_in_core += core[threshold];
            hits += core[threshold] + mass[threshold];
            let positive = f64::midpoint(n_positive, n_positive + hits - hits_in_core);
            let recall = (hits / positive).min(1.0) * found[threshold];
            volume += (recall - recall_before) * hits / n_predicted[threshold];
            recall_before = recall;
        }
    }
    Some(volume / (window + 1) as f64)
}

fn require(labels: &[bool], scores: &[f64]) {
    assert_eq!(labels.len(), scores.len(), "one score for each label");
    assert!(
        scores.iter().all(|score| score.is_finite()),
        "finite scores"
    );
}

/// For every point the first of the thresholds that flags it.
fn buckets(scores: &[f64]) -> Vec<usize> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let last = sorted.len() - 1;
    let step = last as f64 / (N_THRESHOLDS - 1) as f64;
    let thresholds: Vec<f64> = (0..N_THRESHOLDS)
        .map(|i| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rank below the number of points"
            )]
            let rank = (i as f64 * step) as usize;
            sorted[if i + 1 == N_THRESHOLDS { last } else { rank }]
        })
        .collect();
    let first_that_flags = |score: &f64| thresholds.partition_point(|least| least > score);
    scores.iter().map(first_that_flags).collect()
}

fn histogram(buckets: impl Iterator<Item = usize>) -> Vec<f64> {
    let mut counts = vec![0.0; N_THRESHOLDS];
    for bucket in buckets {
        counts[bucket] += 1.0;
    }
    counts
}

fn cumulated(counts: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |count: &f64| {
        sum += count;
        sum
    };
    counts.iter().map(add).collect()
}

/// The points beside events, nearest first.
struct Buffer {
    points: Vec<BufferPoint>,
}

struct BufferPoint {
    bucket: usize,
    /// The distances to the nearest event and to the second nearest.
    nearest: usize,
    second: usize,
}

impl Buffer {
    fn new(events: &[Span], buckets: &[usize], half: usize) -> Self {
        let mut points = Vec::new();
        let mut next = 0;
        for (at, bucket) in buckets.iter().enumerate() {
            while events.get(next).is_some_and(|event| event.1 < at) {
                next += 1;
            }
            if events.get(next).is_some_and(|event| event.0 <= at) {
                continue;
            }
            let before = events[..next]
                .iter()
                .rev()
                .take(2)
                .map(|event| at - event.1);
            let after = events[next..].iter().take(2).map(|event| event.0 - at);
            let mut distances = [usize::MAX; 4];
            for (slot, distance) in distances.iter_mut().zip(before.chain(after)) {
                *slot = distance;
            }
            distances.sort_unstable();
            let [nearest, second, ..] = distances;
            if nearest <= half {
                points.push(BufferPoint {
                    bucket: *bucket,
                    nearest,
                    second,
                });
            }
        }
        points.sort_by_key(|point| point.nearest);
        Self { points }
    }

    /// The mass of the buffers of this width, by bucket.
    fn mass(&self, width: usize) -> Vec<f64> {
        let half = width / 2;
        let slope: Vec<f64> = (0..=half)
            .map(|distance| (1.0 - distance as f64 / width.max(1) as f64).sqrt())
            .collect();
        let mut mass = vec![0.0; N_THRESHOLDS];
        for point in self.points.iter().take_while(|point| point.nearest <= half) {
            // Two slopes are more than one half each, and a label is at most one.
            let label = if point.second <= half {
                1.0
            } else {
                slope[point.nearest]
            };
            mass[point.bucket] += label;
        }
        mass
    }
}

/// The first threshold that flags each event, while events grow to both sides.
struct Reach<'a> {
    events: &'a [Span],
    buckets: &'a [usize],
    half: usize,
    first: Vec<usize>,
}

impl<'a> Reach<'a> {
    fn new(events: &'a [Span], buckets: &'a [usize]) -> Self {
        let least = |event: &Span| buckets[event.0..=event.1].iter().copied().min();
        Self {
            events,
            buckets,
            half: 0,
            first: events.iter().filter_map(least).collect(),
        }
    }

    fn grow_to(&mut self, half: usize) {
        for half in self.half + 1..=half {
            for (first, event) in self.first.iter_mut().zip(self.events) {
                let left = event.0.checked_sub(half).map(|at| self.buckets[at]);
                let right = self.buckets.get(event.1 + half).copied();
                *first = left.into_iter().chain(right).fold(*first, usize::min);
            }
        }
        self.half = half;
    }

    /// For each threshold the share of events flagged; events that touch are one.
    fn found(&self) -> Vec<f64> {
        let mut merged: Vec<usize> = Vec::new();
        let mut end = None;
        for (event, first) in self.events.iter().zip(&self.first) {
            match merged.last_mut() {
                Some(least) if end.is_some_and(|end| end + 2 * self.half >= event.0) => {
                    *least = (*least).min(*first);
                }
                _ => merged.push(*first),
            }
            end = Some(event.1);
        }
        let n_events = merged.len() as f64;
        let mut found = cumulated(&histogram(merged.into_iter()));
        for share in &mut found {
            *share /= n_events;
        }
        found
    }
}

/// What people would have been told at one threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct EventScore {
    /// From which score on a point alarms.
    pub(crate) threshold: f64,
    /// Labelled events.
    pub(crate) n_events: usize,
    /// Those that an alarm touches.
    pub(crate) n_detected: usize,
    /// Notifications without a labelled point among the points they stand for.
    pub(crate) n_false: usize,
}

impl EventScore {
    /// Detected events by events; `None` without events.
    pub(crate) fn recall(&self) -> Option<f64> {
        (self.n_events > 0).then(|| self.n_detected as f64 / self.n_events as f64)
    }

    /// Detected events by detected events and false alarms; 0 if nothing was said.
    pub(crate) fn precision(&self) -> f64 {
        self.n_detected as f64 / (self.n_detected + self.n_false).max(1) as f64
    }

    /// The harmonic mean of both; `None` without events.
    pub(crate) fn f1(&self) -> Option<f64> {
        let (precision, recall) = (self.precision(), self.recall()?);
        let sum = precision + recall;
        Some(if sum > 0.0 {
            2.0 * precision * recall / sum
        } else {
            0.0
        })
    }
}

/// Events and notifications at a threshold: a score of at least `threshold` alarms, alarms at most 3
/// quiet points apart are one, and an alarm that lasts is told every 20 points.
///
/// # Panics
/// If there is not one finite score for each label.
pub(crate) fn events(labels: &[bool], scores: &[f64], threshold: f64) -> EventScore {
    require(labels, scores);
    let events = spans(labels.iter().copied());
    let alarms = alarms(scores, threshold);
    let touched = |event: &&Span| {
        let alarm = alarms.partition_point(|alarm| alarm.1 < event.0);
        alarms.get(alarm).is_some_and(|alarm| alarm.0 <= event.1)
    };
    let notifications = alarms.iter().flat_map(|alarm| {
        let begins = (alarm.0..=alarm.1).step_by(RENOTIFY);
        begins.map(|begin| (begin, alarm.1.min(begin + RENOTIFY - 1)))
    });
    let is_false = |block: &Span| !labels[block.0..=block.1].contains(&true);
    EventScore {
        threshold,
        n_events: events.len(),
        n_detected: events.iter().filter(touched).count(),
        n_false: notifications.filter(is_false).count(),
    }
}

fn alarms(scores: &[f64], threshold: f64) -> Vec<Span> {
    let mut alarms: Vec<Span> = Vec::new();
    for alarm in spans(scores.iter().map(|score| *score >= threshold)) {
        match alarms.last_mut() {
            Some(last) if alarm.0 - last.1 - 1 <= MERGE_GAP => last.1 = alarm.1,
            _ => alarms.push(alarm),
        }
    }
    alarms
}

/// The threshold with the best F1, among thresholds that are dense at the top and never the least
/// score; `None` if all scores are equal or there is no event.
///
/// # Panics
/// If there is not one finite score for each label.
pub(crate) fn best_events(labels: &[bool], scores: &[f64]) -> Option<EventScore> {
    let mut best: Option<(f64, EventScore)> = None;
    for threshold in thresholds(scores) {
        let found = events(labels, scores, threshold);
        let f1 = found.f1()?;
        if best.is_none_or(|(most, _)| f1 > most) {
            best = Some((f1, found));
        }
    }
    best.map(|(_, found)| found)
}

/// All distinct scores but the least, or about 200 of them, dense at the top.
fn thresholds(scores: &[f64]) -> Vec<f64> {
    const N: usize = 200;
    let mut distinct = scores.to_vec();
    distinct.sort_unstable_by(f64::total_cmp);
    distinct.dedup();
    let distinct = distinct.get(1..).unwrap_or_default();
    let n = distinct.len();
    if n <= N {
        return distinct.to_vec();
    }
    let last = (N / 2 - 1) as f64;
    let mut from_top: Vec<usize> = (0..N / 2)
        .flat_map(|i| {
            let share = i as f64 / last;
            let linear = 1.0 + share * (n - 1) as f64;
            [(n as f64).powf(share), linear]
        })
        .map(|rank| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rank from 1 to the number of scores"
            )]
            let rank = (rank + 1e-9) as usize;
            rank.clamp(1, n)
        })
        .collect();
    from_top.sort_unstable();
    from_top.dedup();
    from_top
        .into_iter()
        .map(|rank| distinct[n - rank])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 000 points in thousandths with many ties, from a generator that is three lines in any language:
    /// `x = (1103515245 x + 12345) mod 2^31` from 1, noise `(x >> 16) mod 1000`, to which a label adds
    /// 400 and a wave of 37 points its share.
    fn generated() -> (Vec<bool>, Vec<f64>) {
        let events = [
            (2, 4),
            (300, 300),
            (303, 303),
            (305, 360),
            (900, 1100),
            (1130, 1140),
        ];
        let more = [(2000, 2003), (2040, 2041), (2990, 2999)];
        let mut state = 1_u32;
        (0..3000_u32)
            .map(|at| {
                let within = |event: &(u32, u32)| (event.0..=event.1).contains(&at);
                let label = events.iter().chain(&more).any(within);
                state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) % (1 << 31);
                let noise = (state >> 16) % 1000;
                let wave = 10 * (at % 37);
                let score = noise + wave + 400 * u32::from(label);
                (label, f64::from(score) / 1000.0)
            })
            .unzip()
    }

    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-9,
            "{found}, expected {expected}"
        );
    }

    /// The expected numbers are those of an independent scorer in numpy on the same points.
    #[test]
    fn scores_agree_with_an_independent_scorer() {
        let (labels, scores) = generated();
        near(
            average_precision(&labels, &scores).unwrap(),
            0.481_712_812_779_785,
        );
        assert_eq!(window(&scores), 37);
        for (window, expected) in [
            (0, 0.395_047_104_617_967_9),
            (1, 0.395_047_104_617_967_9),
            (7, 0.429_454_131_125_105_55),
            (37, 0.466_460_929_037_037_6),
            (100, 0.507_868_759_771_817_1),
            (300, 0.614_174_929_772_719_4),
        ] {
            near(vus_pr(&labels, &scores, window).unwrap(), expected);
        }
        for (threshold, n_detected, n_false, f1) in [
            (0.9, 9, 210, 0.078_947_368_421_052_63),
            (1.3, 6, 20, 0.342_857_142_857_142_9),
            (1.5, 4, 0, 0.615_384_615_384_615_3),
        ] {
            let found = events(&labels, &scores, threshold);
            assert_eq!((found.n_detected, found.n_false), (n_detected, n_false));
            near(found.f1().unwrap(), f1);
        }
        let best = best_events(&labels, &scores).unwrap();
        near(best.threshold, 1.41);
        near(best.f1().unwrap(), 0.8);
    }

    #[test]
    fn a_perfect_score_is_one_and_a_constant_one_is_the_share_of_labels() {
        let labels: Vec<bool> = (0..1000).map(|at| (400..500).contains(&at)).collect();
        let perfect: Vec<f64> = labels
            .iter()
            .map(|label| f64::from(u8::from(*label)))
            .collect();
        assert_eq!(average_precision(&labels, &perfect), Some(1.0));
        near(vus_pr(&labels, &perfect, 0).unwrap(), 1.0);
        assert_eq!(average_precision(&labels, &[0.3; 1000]), Some(0.1));
        assert_eq!(roc_auc(&labels, &perfect), Some(1.0));
        assert_eq!(roc_auc(&labels, &[0.3; 1000]), Some(0.5));
        let by_hand = roc_auc(&[false, true, false, true], &[0.1, 0.2, 0.2, 0.3]);
        assert_eq!(by_hand, Some(3.5 / 4.0));
        assert_eq!(best_events(&labels, &[0.3; 1000]), None);
        assert_eq!(best_events(&labels, &perfect).unwrap().f1(), Some(1.0));
    }

    #[test]
    fn without_labels_there_is_no_score() {
        let scores = [0.1, 0.9, 0.3];
        assert_eq!(average_precision(&[false; 3], &scores), None);
        assert_eq!(roc_auc(&[false; 3], &scores), None);
        assert_eq!(roc_auc(&[true; 3], &scores), None);
        assert_eq!(vus_pr(&[false; 3], &scores, 10), None);
        assert_eq!(vus_pr(&[], &[], 10), None);
        let told = events(&[false; 3], &scores, 0.5);
        assert_eq!((told.f1(), told.n_false), (None, 1));
        assert_eq!(best_events(&[false; 3], &scores), None);
    }

    #[test]
    fn an_endless_alarm_is_told_again_and_again() {
        let mut labels = [false; 200];
        labels[100] = true;
        let told = events(&labels, &[1.0; 200], 0.5);
        assert_eq!((told.n_detected, told.n_false), (1, 9));
        assert_eq!((told.recall(), told.precision()), (Some(1.0), 0.1));
    }

    #[test]
    fn the_window_is_the_period_where_there_is_one() {
        let wave: Vec<f64> = (0..2000).map(|at| (f64::from(at) * 0.1).sin()).collect();
        assert_eq!(window(&wave), 63);
        for flat in [&[][..], &[1.0], &[5.0; 1000]] {
            assert_eq!(window(flat), 125);
        }
    }
}
