//! The season of a series: which period, and what it looks like.

/// How the season is put together with the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Additive,
    Multiplicative,
}

/// The season of a classical decomposition of at most `most` periods; its mean is 0 (1 if it multiplies).
///
/// `None` with fewer than two periods and two values, or if it multiplies and a value is not above 0.
/// O(n m).
pub(super) fn decompose(kind: Kind, m: usize, values: &[f64], most: usize) -> Option<Vec<f64>> {
    let n = values.len().min(most.saturating_mul(m)) / m * m;
    if values.len() < 2 * m + 2 {
        return None;
    }
    if kind == Kind::Multiplicative && values.iter().any(|y| *y <= 0.0) {
        return None;
    }
    let values = &values[..(n + 2).min(values.len())];
    let mut sums = vec![(0.0, 0.0_f64); m];
    let half = m / 2;
    for center in half..values.len() - half {
        // The mean over one period around the center; with an even period the two ends count by half.
        let around = &values[center - half..=center + half];
        let (mut sum, mut weight) = (0.0, 0.0);
        for (i, y) in around.iter().enumerate() {
            let is_end = m.is_multiple_of(2) && (i == 0 || i + 1 == around.len());
            if !y.is_nan() {
                let w = if is_end { 0.5 } else { 1.0 };
                sum += w * y;
                weight += w;
            }
        }
        let trend = sum / weight;
        let part = match kind {
            Kind::Multiplicative => values[center] / trend,
            Kind::Additive => values[center] - trend,
        };
        if part.is_finite() {
            let slot = &mut sums[center % m];
            slot.0 += part;
            slot.1 += 1.0;
        }
    }
    let neutral = if kind == Kind::Multiplicative {
        1.0
    } else {
        0.0
    };
    let mut season: Vec<f64> = sums
        .iter()
        .map(|(sum, n)| if *n > 0.0 { sum / n } else { neutral })
        .collect();
    let mean = season.iter().sum::<f64>() / m as f64;
    for part in &mut season {
        match kind {
            Kind::Multiplicative => *part /= mean,
            Kind::Additive => *part -= mean,
        }
    }
    season.iter().all(|part| part.is_finite()).then_some(season)
}

/// The steps after which `values` (NaN: missing) seem to repeat, most likely first; at most two.
///
/// They are the peaks of the autocorrelation above 0.2 between 3 steps and a third of the series (above 0.5 up to half
/// of it), after a line is
/// taken out and values beyond four deviations of the median are clipped.
/// The tallest peak is named, and the shortest that is nearly as tall (a day beside a week).
/// O(n²).
pub(super) fn periods(values: &[f64]) -> Vec<usize> {
    let mut x = interpolated(values);
    let n = x.len();
    if n < 12 || x.iter().any(|value| value.is_nan()) {
        return Vec::new();
    }
    let mut sorted = x.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[n / 2];
    let mut deviations: Vec<f64> = x.iter().map(|value| (value - median).abs()).collect();
    deviations.sort_by(f64::total_cmp);
    let limit = 4.0 * 1.4826 * deviations[n / 2];
    if limit > 0.0 {
        for value in &mut x {
            *value = value.clamp(median - limit, median + limit);
        }
    }
    let center = (n as f64 - 1.0) / 2.0;
    let mean = x.iter().sum::<f64>() / n as f64;
    let (mut covariance, mut spread) = (0.0, 0.0);
    for (t, value) in x.iter().enumerate() {
        let t = t as f64 - center;
        covariance += t * (value - mean);
        spread += t * t;
    }
    for (t, value) in x.iter_mut().enumerate() {
        *value -= mean + covariance / spread * (t as f64 - center);
    }
    let power: f64 = x.iter().map(|value| value * value).sum();
    if power <= 0.0 {
        return Vec::new();
    }
    let most = n / 2;
    let correlation: Vec<f64> = (0..=most + 1)
        .map(|lag| {
            let product: f64 = x.iter().zip(&x[lag..]).map(|(a, b)| a * b).sum();
            product / power * n as f64 / (n - lag) as f64
        })
        .collect();
    // What is merely smooth falls from 1 without a peak; a period comes after the first trough.
    let Some(trough) = (1..=most).find(|lag| correlation[lag + 1] > correlation[*lag]) else {
        return Vec::new();
    };
    let reach = |lag: usize| (lag / 16).max(1);
    let peaks: Vec<usize> = (trough.max(3)..=most)
        .filter(|lag| {
            let near = lag.saturating_sub(reach(*lag))..=(lag + reach(*lag)).min(most + 1);
            let tallest = near.fold(f64::NEG_INFINITY, |top, at| correlation[at].max(top));
            correlation[*lag] > if *lag <= n / 3 { 0.2 } else { 0.5 }
                && correlation[*lag] >= tallest
        })
        .collect();
    let tallest = peaks
        .iter()
        .copied()
        .max_by(|a, b| correlation[*a].total_cmp(&correlation[*b]));
    let Some(tallest) = tallest else {
        return Vec::new();
    };
    let mut found = vec![tallest];
    let shortest = peaks
        .iter()
        .copied()
        .find(|lag| correlation[*lag] >= 0.7 * correlation[tallest]);
    found.extend(shortest.filter(|lag| *lag != tallest));
    found
}

/// The mean of `values` (NaN: missing) at each phase of `m` steps, less the mean of all phases.
pub(super) fn profile(m: usize, values: &[f64]) -> Vec<f64> {
    let mut sums = vec![(0.0, 0.0_f64); m];
    for (t, value) in values
        .iter()
        .enumerate()
        .filter(|(_, value)| !value.is_nan())
    {
        let slot = &mut sums[t % m];
        *slot = (slot.0 + value, slot.1 + 1.0);
    }
    let mut profile: Vec<f64> = sums.iter().map(|(sum, n)| sum / n.max(1.0)).collect();
    let mean = profile.iter().sum::<f64>() / m as f64;
    for part in &mut profile {
        *part -= mean;
    }
    profile
}

/// Missing values replaced by a straight line between their neighbors.
pub(super) fn interpolated(values: &[f64]) -> Vec<f64> {
    let mut filled = values.to_vec();
    let mut last: Option<usize> = None;
    for i in 0..filled.len() {
        if filled[i].is_nan() {
            continue;
        }
        let (from, begin) = last.map_or((0, filled[i]), |last| (last + 1, filled[last]));
        let steps = last.map_or(1.0, |last| (i - last) as f64);
        for j in from..i {
            let share = last.map_or(0.0, |last| (j - last) as f64 / steps);
            filled[j] = begin + share * (filled[i] - begin);
        }
        last = Some(i);
    }
    if let Some(last) = last {
        let end = filled[last];
        filled[last + 1..].fill(end);
    }
    filled
}
