//! The periods of a series, found without being told.

use super::fft;
use crate::scale;
use crate::stat::SIGMA_PER_MAD;
use crate::window::SortedWindow;

/// Fewer values have no period.
const FEWEST: usize = 16;
/// A period must be seen so many times.
const CYCLES: usize = 3;
/// How probable it may be that white noise has any peak this high.
const FALSE_PEAK: f64 = 0.01;
/// How alike two cycles must be at least.
const LEAST_STRENGTH: f64 = 0.3;
/// How far the valley before it must lie below; a ripple on a slow decay has none.
const LEAST_DEPTH: f64 = 0.2;
/// How many peaks of the periodogram are looked at.
const N_PEAKS: usize = 10;
/// Beyond so many standard deviations values are clipped, so that a spike is no spectrum.
const CLIP: f64 = 5.0;
/// How much stronger a multiple of a period must be to be another one.
const STRONGER: f64 = 0.05;
/// Up to which multiple one is looked for: a week of days has seven.
const MULTIPLES: u32 = 8;

/// A period of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Period {
    /// How many samples one cycle has, at least 2; not always a whole number.
    pub samples: f64,
    /// The autocorrelation at that distance, from 0.3 to 1: how alike one cycle is to the next.
    pub strength: f64,
}

/// The periods of evenly spaced values, the strongest first; none if there is none.
///
/// A period is proposed by the periodogram and confirmed by the autocorrelation: of the peaks that white noise reaches
/// with a probability of 1 % only, those remain that lie on a hill of the autocorrelation, where it is 0.3 or more and
/// 0.2 above the valley before it.
/// The tops of that hill and of those at its multiples give the length more exactly than a frequency can. A cycle must be
/// seen three times.
/// Before, in turn, a straight line is taken off and what lies more than five standard deviations (from the median
/// deviation) away is clipped.
/// Of a period and its multiples the shortest is given, and one up to the eightfold only if it is clearly stronger: a week
/// of days that are alike has the period of a day, and one with another weekend both.
///
/// NaN and infinities are missing values, and filled by straight lines; with fewer than 16 values, or more than half of
/// them missing, nothing is found. O(n log n) time, O(n) memory.
///
/// Source: M. Vlachos, P. Yu and V. Castelli, *On periodicity detection and structural periodic similarity*, SIAM
/// International Conference on Data Mining 2005 (AUTOPERIOD); the threshold is that of R. A. Fisher, *Tests of
/// significance in harmonic analysis*, Proceedings of the Royal Society A 125 (1929), in its limit for many values, in
/// place of permutations.
///
/// # Examples
/// ```
/// use homeostasis::detect::find_periods;
///
/// // A job every 24 samples, among numbers without order.
/// let values: Vec<f64> = (0..400_u32)
///     .map(|i| if i % 24 < 3 { 9.0 } else { f64::from(i * i * 31 % 101) / 30.0 })
///     .collect();
/// assert_eq!(find_periods(&values)[0].samples, 24.0);
/// assert!(find_periods(&[1.0; 400]).is_empty());
/// ```
pub fn find_periods(values: &[f64]) -> Vec<Period> {
    let Some(values) = prepare(values) else {
        return Vec::new();
    };
    let n = values.len();
    let padded = (2 * n).next_power_of_two();
    let (mut re, mut im) = (values.clone(), vec![0.0; padded]);
    re.resize(padded, 0.0);
    fft::transform(&mut re, &mut im);
    let power: Vec<f64> = re.iter().zip(&im).map(|(x, y)| x * x + y * y).collect();

    // The autocorrelation is the transform of the power; each lag by the number of pairs it has.
    let (mut lags, mut im) = (power.clone(), vec![0.0; padded]);
    fft::transform(&mut lags, &mut im);
    let variance = lags[0] / n as f64;
    let correlation: Vec<f64> = (0..=n / 2)
        .map(|lag| lags[lag] / (n - lag) as f64 / variance)
        .collect();

    let total: f64 = values.iter().map(|value| value * value).sum();
    let n_free = (n / 2) as f64;
    let limit = -(-(-FALSE_PEAK).ln_1p() / n_free).ln() * total;
    let mut peaks: Vec<usize> = (2..padded / 2)
        .filter(|k| power[*k] > limit && power[*k] >= power[k - 1] && power[*k] > power[k + 1])
        .collect();
    peaks.sort_by(|a, b| power[*b].total_cmp(&power[*a]));
    peaks.truncate(N_PEAKS);

    let mut found: Vec<Period> = peaks
        .into_iter()
        .filter_map(|k| confirm(&correlation, n, k as f64 / padded as f64))
        .collect();
    found.extend(multiples(&correlation, n, &found));
    found.sort_by(|a, b| a.samples.total_cmp(&b.samples));
    // From the shortest on: a multiple must be stronger to count.
    let mut kept: Vec<Period> = Vec::new();
    for period in found {
        let is_known = kept.iter().any(|kept| {
            let times = period.samples / kept.samples;
            (times - times.round()).abs() < 0.1 && period.strength <= kept.strength + STRONGER
                || times < 1.1
        });
        if !is_known {
            kept.push(period);
        }
    }
    kept.sort_by(|a, b| b.strength.total_cmp(&a.strength));
    kept
}

/// The multiples of periods at which the autocorrelation is clearly higher; the periodogram need not show them.
fn multiples(correlation: &[f64], n: usize, found: &[Period]) -> Vec<Period> {
    let of = |period: &Period| {
        (2..=MULTIPLES)
            .filter_map(|times| {
                let lag = index((period.samples * f64::from(times)).round())?;
                let other = hill(correlation, n, lag)?;
                (other.strength > period.strength + STRONGER).then_some(other)
            })
            .reduce(|a, b| if b.strength > a.strength { b } else { a })
    };
    found.iter().filter_map(of).collect()
}

/// The period at a frequency (in cycles per sample), if the autocorrelation confirms it.
fn confirm(correlation: &[f64], n: usize, frequency: f64) -> Option<Period> {
    // The periods this frequency cannot be told from.
    let half = 0.5 / n as f64;
    let ends = [frequency + half, frequency - half].map(|frequency| 1.0 / frequency.max(1e-9));
    let (from, to) = (index(ends[0].floor())?.max(2), index(ends[1].ceil())?);
    let to = to.min(correlation.len().checked_sub(1)?);
    let top = (from..=to).max_by(|a, b| correlation[*a].total_cmp(&correlation[*b]))?;
    hill(correlation, n, top)
}

/// The top of the hill of the autocorrelation at `lag`, if it is one.
fn hill(correlation: &[f64], n: usize, lag: usize) -> Option<Period> {
    let end = correlation.len().checked_sub(1)?;
    let highest = |from: usize, to: usize| {
        (from..=to.min(end)).max_by(|a, b| correlation[*a].total_cmp(&correlation[*b]))
    };
    // Up to its top.
    let mut top = lag;
    loop {
        let reach = (top / 8).max(1);
        let next = highest(top.saturating_sub(reach).max(2), top + reach)?;
        if next == top {
            break;
        }
        top = next;
    }
    if top > n / CYCLES {
        return None;
    }
    let reach = (top / 4).max(1);
    let rises = slope(correlation, top.saturating_sub(reach), top) > 0.0;
    let falls = slope(correlation, top, (top + reach).min(end)) < 0.0;
    let strength = correlation[top];
    let valley = correlation[..top]
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min);
    if !(rises && falls && strength >= LEAST_STRENGTH && strength - valley >= LEAST_DEPTH) {
        return None;
    }
    // The tops at its multiples tell the length more and more exactly.
    let mut samples = top as f64;
    for times in 2_u32.. {
        let lag = index((samples * f64::from(times)).round())?;
        if lag + top / 8 > end {
            break;
        }
        let next = highest(lag.saturating_sub(top / 8), lag + top / 8)?;
        samples = next as f64 / f64::from(times);
    }
    Some(Period {
        samples,
        strength: strength.min(1.0),
    })
}

/// The slope of the line of least squares through the values from `from` to `to`.
fn slope(values: &[f64], from: usize, to: usize) -> f64 {
    let part = &values[from..=to];
    let middle = (part.len() - 1) as f64 / 2.0;
    let weighed = part.iter().enumerate();
    weighed
        .map(|(idx, value)| (idx as f64 - middle) * value)
        .sum()
}

fn index(value: f64) -> Option<usize> {
    (0..=32)
        .map(|bits| 1_usize << bits)
        .rfind(|bit| *bit as f64 <= value)
        .map(|top| {
            // No cast from float to integer is exact by type; the bits are.
            let mut found = 0;
            let mut bit = top;
            while bit > 0 {
                if (found + bit) as f64 <= value {
                    found += bit;
                }
                bit >>= 1;
            }
            found
        })
}

/// The values without gaps, trend and spikes; `None` if there is nothing left to look at.
fn prepare(values: &[f64]) -> Option<Vec<f64>> {
    let n = values.len();
    let known: Vec<(usize, f64)> = values
        .iter()
        .enumerate()
        .filter_map(|(idx, value)| Some((idx, scale::usable(Some(*value))?)))
        .collect();
    if n < FEWEST || known.len() * 2 < n {
        return None;
    }
    let largest = known
        .iter()
        .map(|(_, value)| value.abs())
        .fold(0.0, f64::max);
    let unit = largest.max(f64::MIN_POSITIVE);
    let mut filled = vec![known.first()?.1 / unit; n];
    for pair in known.windows(2) {
        let [(from, low), (to, high)] = [pair[0], pair[1]];
        for (step, slot) in filled[from..=to].iter_mut().enumerate() {
            let share = step as f64 / (to - from) as f64;
            *slot = (low + share * (high - low)) / unit;
        }
    }
    let (end, last) = *known.last()?;
    filled[end..].fill(last / unit);

    // Spikes bend the line, and the line hides spikes: in turn.
    for _ in 0..3 {
        straighten(&mut filled);
        clip(&mut filled);
    }
    let mean = filled.iter().sum::<f64>() / n as f64;
    let mut squares = 0.0;
    for value in &mut filled {
        *value -= mean;
        squares += *value * *value;
    }
    // What is left of a constant is rounding.
    (squares > n as f64 * 1e-18).then_some(filled)
}

/// Takes off the line of least squares.
fn straighten(values: &mut [f64]) {
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let middle = (n - 1) as f64 / 2.0;
    let spread: f64 = (0..n).map(|idx| (idx as f64 - middle).powi(2)).sum();
    let incline = slope(values, 0, n - 1) / spread;
    for (idx, value) in values.iter_mut().enumerate() {
        *value -= mean + incline * (idx as f64 - middle);
    }
}

/// Clips what lies far from the median; where most values are alike, nothing is.
fn clip(values: &mut [f64]) {
    let mut sorted = SortedWindow::default();
    let capacity = values.len();
    // Some thousand values tell the median of a long series as well.
    let step = capacity.div_ceil(4096);
    for value in values.iter().step_by(step) {
        sorted.push(*value, capacity);
    }
    let median = sorted.quantile(1, 2);
    let width = CLIP * SIGMA_PER_MAD * sorted.median_distance(median);
    if width > 0.0 {
        for value in values {
            *value = value.clamp(median - width, median + width);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use std::f64::consts::TAU;

    fn noise(rng: &mut Rng) -> f64 {
        (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0
    }

    #[test]
    fn waves_pulses_and_saws_are_found_through_noise_trend_spikes_and_gaps() {
        let mut rng = Rng::from_seed(1);
        for length in [7, 24, 60, 288] {
            for shape in 0..3 {
                let values: Vec<f64> = (0..1500)
                    .map(|idx| {
                        let phase = f64::from(idx % length) / f64::from(length);
                        let wave = match shape {
                            0 => (TAU * phase).sin(),
                            1 => {
                                if phase < 0.4 {
                                    2.0
                                } else {
                                    0.0
                                }
                            }
                            _ => 2.0 * phase,
                        };
                        let spike = if rng.below(200) == 0 { 500.0 } else { 0.0 };
                        let value =
                            10.0 + 0.01 * f64::from(idx) + wave + spike + 0.3 * noise(&mut rng);
                        if rng.below(20) == 0 { f64::NAN } else { value }
                    })
                    .collect();
                let found = find_periods(&values);
                let first = found.first().expect("a period");
                let off = first.samples / f64::from(length) - 1.0;
                assert!(off.abs() < 0.02, "shape {shape} of {length}: {found:?}");
            }
        }
    }

    #[test]
    fn noise_and_wandering_levels_have_none() {
        let mut rng = Rng::from_seed(5);
        let mut n_found = [0, 0];
        for _ in 0..100 {
            let white: Vec<f64> = (0..512).map(|_| noise(&mut rng)).collect();
            let mut level = 0.0;
            let walk: Vec<f64> = (0..512)
                .map(|_| {
                    level += noise(&mut rng);
                    level
                })
                .collect();
            for (n, values) in n_found.iter_mut().zip([white, walk]) {
                *n += usize::from(!find_periods(&values).is_empty());
            }
        }
        assert!(n_found[0] <= 2 && n_found[1] <= 10, "{n_found:?}");
    }

    #[test]
    fn a_week_of_different_days_is_found_beside_the_day() {
        let mut rng = Rng::from_seed(2);
        let values: Vec<f64> = (0..24 * 7 * 6)
            .map(|hour| {
                let is_weekend = hour / 24 % 7 >= 5;
                let day = (TAU * f64::from(hour % 24) / 24.0).sin();
                day * if is_weekend { 0.1 } else { 1.0 } + 0.1 * noise(&mut rng)
            })
            .collect();
        let samples: Vec<f64> = find_periods(&values)
            .iter()
            .map(|period| period.samples)
            .collect();
        assert_eq!(samples, [168.0, 24.0]);
    }

    #[test]
    fn hostile_values_are_survived() {
        for value in [f64::NAN, 1e300, 5e-324, f64::NEG_INFINITY] {
            assert!(find_periods(&vec![value; 100]).is_empty(), "{value}");
        }
        assert!(find_periods(&[]).is_empty());
        let mixed: Vec<f64> = (0..64)
            .map(|i| [1e300, -1e300, 1e-310, 0.0][i % 4])
            .collect();
        assert_eq!(find_periods(&mixed)[0].samples, 4.0);
    }
}
