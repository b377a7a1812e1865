//! Where a series is heading: a line with kinks and steps through noise that persists.

use serde::{Deserialize, Serialize};

use super::linear::{Fit, Gram};
use super::season;

/// The fewest values a line is laid through.
pub(super) const FEWEST: usize = 24;
/// How many kinks and steps a line may have, and how many of them may be steps.
const MOST_BREAKS: usize = 8;
const MOST_STEPS: usize = 6;
/// At how many places a kink is tried, and at how many of the largest changes a step.
const KINK_PLACES: usize = 32;
const STEP_PLACES: usize = 8;
/// What a break must gain, in parameters of the Bayesian criterion: its size, its place, and having been looked for.
const BREAK_COST: f64 = 3.0;
/// The persistences that are tried. None is nearer to 1: what seems a random walk for as long as one looks may be the
/// slope that is looked for.
const PERSISTENCES: [f64; 7] = [0.0, 0.3, 0.5, 0.7, 0.85, 0.93, 0.97];
/// By how much the standard deviation of the line is larger than the formula has it, because its breaks were looked
/// for in the same values; from leaks injected into real series (quality suite `forecast`).
const SEARCH_INFLATION: f64 = 4.5;

/// A line as it goes on after the last value; one step is the distance between values.
///
/// The noise around it keeps a share of its distance after each step (an autoregression of order 1), and it may have
/// had other slopes before (kinks: the leak began) and other levels (steps: a restart freed memory).
/// Breaks are added one after another, each time the one that gains most, as long as the Bayesian criterion falls.
/// A season is taken out when that gains more than its parameters cost.
///
/// Sources: S. Prais, C. Winsten, *Trend estimators and serial correlation*, Cowles Commission 383, 1954 (weights under
/// persistent noise); G. Schwarz, *Estimating the dimension of a model*, Annals of Statistics 6 (1978) (criterion).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drift {
    /// At the last value, without the season.
    pub(super) level: f64,
    /// Per step.
    pub(super) slope: f64,
    /// Of level and slope: variance of one, of both together, of the other.
    covariance: [f64; 3],
    /// What share of its distance from the line the series keeps after a step.
    persistence: f64,
    /// The variance of what is new in each step.
    variance: f64,
    /// How far the last value was from the line.
    residual: f64,
    /// The season, where that of the next step comes first; empty without one.
    season: Vec<f64>,
    /// For how many steps it has had this slope.
    pub(super) lasted: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Break {
    /// Another slope before here.
    Kink(usize),
    /// Another level before here.
    Step(usize),
}

impl Break {
    /// The regressor: 0 from the break on, so that intercept and slope are those after the last break.
    fn at(self, t: usize) -> f64 {
        match self {
            Self::Kink(place) => place.saturating_sub(t) as f64,
            Self::Step(place) => f64::from(u8::from(t < place)),
        }
    }
}

/// Values and regressors, less what persistence explains of each: the values, 1, the steps to the last value, and the
/// breaks.
struct Whitened {
    persistence: f64,
    breaks: Vec<Break>,
    columns: Vec<Vec<f64>>,
    gram: Gram,
}

impl Whitened {
    fn new(y: &[f64], persistence: f64) -> Self {
        let last = y.len() - 1;
        let mut whitened = Self {
            persistence,
            breaks: Vec::new(),
            columns: Vec::new(),
            gram: Gram::new(0),
        };
        let ahead = |t: usize| t as f64 - last as f64;
        for column in [
            whitened.whiten(last, |t| y[t]),
            whitened.whiten(last, |_| 1.0),
            whitened.whiten(last, ahead),
        ] {
            whitened.gram = whitened.gram.with(&whitened.columns, &column);
            whitened.columns.push(column);
        }
        whitened
    }

    /// A column that is 0 after `end`.
    fn whiten(&self, end: usize, value: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut before = value(0);
        let mut column = Vec::with_capacity(end + 1);
        column.push((1.0 - self.persistence * self.persistence).sqrt() * before);
        for t in 1..=end {
            let now = value(t);
            column.push(now - self.persistence * before);
            before = now;
        }
        column
    }

    fn column(&self, at: Break) -> Vec<f64> {
        let (Break::Kink(end) | Break::Step(end)) = at;
        self.whiten(end, |t| at.at(t))
    }

    fn add(&mut self, at: Break) {
        let column = self.column(at);
        self.gram = self.gram.with(&self.columns, &column);
        self.columns.push(column);
        self.breaks.push(at);
    }

    /// The line with the breaks added so far, and perhaps another.
    fn line(&self, another: Option<Break>) -> Option<Line> {
        let wider = another.map(|at| self.gram.with(&self.columns, &self.column(at)));
        let breaks: Vec<Break> = self.breaks.iter().copied().chain(another).collect();
        let n_breaks = breaks.len();
        let order: Vec<usize> = (3..3 + n_breaks).chain([1, 2]).collect();
        let fit = wider.as_ref().unwrap_or(&self.gram).solve(&order)?;
        let y = &self.columns[0];
        let (size, largest) = (
            y.len() as f64,
            y.iter().fold(0.0_f64, |top, y| top.max(y.abs())),
        );
        // What is left below the resolution of sums of this size says nothing of the breaks.
        let left = (fit.rest / size)
            .max(1e-20 * largest * largest)
            .max(f64::MIN_POSITIVE);
        let cost = BREAK_COST * n_breaks as f64 * size.ln();
        let criterion = size * left.ln() - (1.0 - self.persistence * self.persistence).ln() + cost;
        Some(Line {
            breaks,
            fit,
            persistence: self.persistence,
            criterion,
        })
    }
}

/// A line with given breaks.
struct Line {
    breaks: Vec<Break>,
    fit: Fit,
    persistence: f64,
    criterion: f64,
}

impl Line {
    fn solve(y: &[f64], breaks: &[Break], persistence: f64) -> Option<Self> {
        let mut whitened = Whitened::new(y, persistence);
        for at in breaks {
            whitened.add(*at);
        }
        whitened.line(None)
    }

    /// The same with the persistence that suits best.
    fn through(y: &[f64], breaks: &[Break]) -> Option<Self> {
        best(
            PERSISTENCES
                .iter()
                .filter_map(|share| Self::solve(y, breaks, *share)),
        )
    }

    /// The line whose breaks were looked for.
    fn search(y: &[f64]) -> Option<Self> {
        let n = y.len();
        let kinks = (1..KINK_PLACES).map(|i| i * n / KINK_PLACES);
        let kinks = kinks.filter(|place| *place >= 4 && place + 6 <= n);
        let mut changes: Vec<usize> = (3..n.saturating_sub(2)).collect();
        let size = |place: usize| (y[place] - y[place - 1]).abs();
        changes.sort_by(|a, b| size(*b).total_cmp(&size(*a)));
        let steps = changes.into_iter().take(STEP_PLACES).map(Break::Step);
        let places: Vec<Break> = kinks.map(Break::Kink).chain(steps).collect();
        let mut line = Self::through(y, &[])?;
        while line.breaks.len() < MOST_BREAKS {
            let n_steps = line
                .breaks
                .iter()
                .filter(|at| matches!(at, Break::Step(_)))
                .count();
            // A break not yet found looks like persistence, so that less of it is tried too.
            let next = [line.persistence, line.persistence / 2.0]
                .into_iter()
                .filter_map(|share| {
                    let added = places.iter().copied().filter(|place| {
                        let has_room = n_steps < MOST_STEPS || matches!(place, Break::Kink(_));
                        has_room && !line.breaks.contains(place)
                    });
                    let mut whitened = Whitened::new(y, share);
                    for at in &line.breaks {
                        whitened.add(*at);
                    }
                    let winner = best(added.filter_map(|place| whitened.line(Some(place))))?;
                    Self::through(y, &winner.breaks)
                });
            match best(next) {
                Some(next) if next.criterion < line.criterion => line = next,
                _ => break,
            }
        }
        Some(line)
    }

    fn at(&self, t: usize, n: usize) -> f64 {
        let k = self.breaks.len();
        let breaks = self
            .breaks
            .iter()
            .zip(&self.fit.found)
            .map(|(at, size)| size * at.at(t));
        let ahead = t as f64 - (n - 1) as f64;
        breaks.sum::<f64>() + self.fit.found[k] + self.fit.found[k + 1] * ahead
    }
}

fn best(lines: impl Iterator<Item = Line>) -> Option<Line> {
    lines.min_by(|a, b| a.criterion.total_cmp(&b.criterion))
}

impl Drift {
    /// The line through `values` (NaN: missing, interpolated), with a season of `period` steps, or of one that is found.
    ///
    /// Values far from the median of the five around them are clipped.
    /// `None` for fewer than [`FEWEST`] values and where the numbers are too large to be squared.
    /// O(n) for each of some 1000 lines that are tried.
    pub(super) fn fit(values: &[f64], period: Option<usize>) -> Option<Self> {
        let n = values.len();
        let mut full = season::interpolated(values);
        if n < FEWEST || full.iter().any(|value| !value.is_finite()) {
            return None;
        }
        clip_spikes(&mut full);
        let line = Line::search(&full)?;
        // The season is looked for around a straight line, around a flexible one, which follows slow changes and short
        // waves not, and around the line found, where steps are known.
        let knots: Vec<Break> = (1..6).map(|i| Break::Kink(i * n / 6)).collect();
        let straight = Line::solve(&full, &[], 0.0)?;
        let flexible = Line::solve(&full, &knots, 0.0)?;
        let mut tried: Vec<usize> = Vec::new();
        let mut best: Option<(f64, Vec<f64>, Line)> = None;
        for around in [&straight, &flexible, &line] {
            let rest = |line: &Line| -> Vec<f64> {
                full.iter()
                    .enumerate()
                    .map(|(t, value)| value - line.at(t, n))
                    .collect()
            };
            let mut rests = rest(around);
            let found = period.or_else(|| season::periods(&rests).last().copied());
            let Some(m) = found.filter(|m| *m >= 2 && n >= 2 * m && !tried.contains(m)) else {
                continue;
            };
            tried.push(m);
            for _ in 0..2 {
                let profile = season::profile(m, &rests);
                let adjusted: Vec<f64> = full
                    .iter()
                    .enumerate()
                    .map(|(t, value)| value - profile[t % m])
                    .collect();
                let seasonal = Line::search(&adjusted)?;
                let criterion = seasonal.criterion + m as f64 * (n as f64).ln();
                let at_least = best.as_ref().map_or(line.criterion, |best| best.0);
                if criterion >= at_least {
                    break;
                }
                rests = rest(&seasonal);
                best = Some((criterion, profile, seasonal));
            }
        }
        let (profile, line) = best.map_or((Vec::new(), line), |best| (best.1, best.2));
        let (k, m) = (line.breaks.len(), profile.len().max(1));
        let n_free = n as f64 - (k + 3 + profile.len()) as f64;
        let variance = line.fit.rest / n_free.max(1.0);
        let wide = SEARCH_INFLATION * SEARCH_INFLATION * variance;
        let last_kink = line.breaks.iter().filter_map(|at| match at {
            Break::Kink(place) => Some(*place),
            Break::Step(_) => None,
        });
        let lasted = (n - last_kink.max().unwrap_or(0)) as f64;
        let phase = profile.get((n - 1) % m).copied().unwrap_or(0.0);
        Some(Self {
            level: line.fit.found[k],
            slope: line.fit.found[k + 1],
            covariance: line.fit.covariance_of_last_two()?.map(|x| x * wide),
            persistence: line.persistence,
            variance,
            residual: full[n - 1] - phase - line.at(n - 1, n),
            season: (0..profile.len()).map(|i| profile[(n + i) % m]).collect(),
            lasted,
        })
    }

    /// Whether a stored one can be ours: of finite numbers, with a season of at most `longest` steps.
    pub(super) fn is_sound(&self, longest: usize) -> bool {
        let numbers = [
            self.level,
            self.slope,
            self.residual,
            self.variance,
            self.lasted,
        ];
        let numbers = numbers.iter().chain(&self.covariance).chain(&self.season);
        numbers.copied().all(f64::is_finite)
            && self.persistence.abs() < 1.0
            && self.season.len() <= longest
    }

    /// Mean and variance of the value after `ahead` steps, with the season of the nearest whole step.
    pub(super) fn at(&self, ahead: f64) -> (f64, f64) {
        let kept = self.persistence.powf(ahead);
        let season = match self.season.len() {
            0 => 0.0,
            m => self.season[nearest_phase(ahead, m)],
        };
        let [level, both, slope] = self.covariance;
        let line = level + 2.0 * ahead * both + ahead * ahead * slope;
        let noise =
            self.variance * (1.0 - kept * kept) / (1.0 - self.persistence * self.persistence);
        let mean = self.level + self.slope * ahead + kept * self.residual + season;
        (mean, line.max(0.0) + noise)
    }
}

/// Where in a season of `m` steps the step after `ahead` steps stands, the first of them at 0.
fn nearest_phase(ahead: f64, m: usize) -> usize {
    let phase = (ahead.round() - 1.0).rem_euclid(m as f64);
    (0..m).find(|i| phase < *i as f64 + 0.5).unwrap_or(0)
}

/// Brings values that stand alone nearer to the median of the five around them.
fn clip_spikes(values: &mut [f64]) {
    let n = values.len();
    let medians: Vec<f64> = (0..n)
        .map(|t| {
            let from = t.saturating_sub(2).min(n.saturating_sub(5));
            let mut around = values[from..n.min(from + 5)].to_vec();
            around.sort_by(f64::total_cmp);
            around[around.len() / 2]
        })
        .collect();
    let distances = values
        .iter()
        .zip(&medians)
        .map(|(value, median)| (value - median).abs());
    let mut distances: Vec<f64> = distances.collect();
    distances.sort_by(f64::total_cmp);
    // Many distances are 0, because the value is the median: the upper quartile tells the spread.
    let limit = 3.0 * distances[n * 3 / 4] / 1.15;
    if limit > 0.0 {
        for (value, median) in values.iter_mut().zip(&medians) {
            *value = value.clamp(median - limit, median + limit);
        }
    }
}

#[cfg(test)]
mod tests;
