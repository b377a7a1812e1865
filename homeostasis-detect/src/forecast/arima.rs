//! ARIMA: what persists and what was shocked, after differencing and without the season.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::linear::{Fit, Gram};
use super::model::MOST_SOUND;
use super::{season, simplex, stationarity};

/// No stored model has more coefficients of a kind; a fit asks for 5.
const MOST_STORED: usize = 64;

/// The most lags of values (p) and of errors (q) that are tried.
const MOST_AR: usize = 5;
const MOST_MA: usize = 2;

/// The orders of an [`Arima`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArimaOrders {
    /// How many past values count.
    pub p: usize,
    /// How often it is differenced, 0 or 1.
    pub d: usize,
    /// How many past errors count.
    pub q: usize,
}

/// An autoregressive integrated moving average, with the season taken out before.
///
/// With `w` the series (less its season), differenced `d` times:
/// `w = mean + Σ φ (w of before - mean) + e + Σ θ (e of before)`.
///
/// Sources: G. Box, G. Jenkins, *Time Series Analysis*, 1970 (the model and its forecasts); E. Hannan, J. Rissanen,
/// *Recursive estimation of mixed autoregressive-moving average order*, Biometrika 69 (1982) (orders, and where the
/// search for the coefficients starts).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arima {
    orders: ArimaOrders,
    ar: Vec<f64>,
    ma: Vec<f64>,
    mean: f64,
    /// Of the errors one step ahead.
    variance: f64,
    /// The season, where that of the next step stands at `place`; empty without one.
    season: Vec<f64>,
    place: usize,
    /// The last `p + d` values without their season, latest first.
    values: VecDeque<f64>,
    /// The last `q` errors, latest first.
    errors: VecDeque<f64>,
}

impl Arima {
    /// Whether a stored one can be ours: what [`new`](Self::new) asks for, with numbers whose squares are finite.
    pub(super) fn is_sound(&self) -> bool {
        let numbers = [self.mean, self.variance.max(0.0).sqrt()];
        let numbers = numbers.iter().chain(&self.season).chain(&self.values);
        let mut numbers = numbers.chain(&self.errors);
        let ArimaOrders { p, d, q } = self.orders;
        (p, q) == (self.ar.len(), self.ma.len())
            && p.max(q) <= MOST_STORED
            && d <= 1
            && self.values.len() <= p + d
            && self.errors.len() <= q
            && self.place < self.season.len().max(1)
            && numbers.all(|number| number.abs() <= MOST_SOUND)
            && Self::new(
                self.ar.clone(),
                d,
                self.ma.clone(),
                self.mean,
                self.variance,
            )
            .is_some()
    }

    /// A model with given coefficients that has seen nothing.
    ///
    /// `None` unless all is finite, `d` is 0 or 1 and the coefficients are those of a stationary and invertible model.
    pub fn new(ar: Vec<f64>, d: usize, ma: Vec<f64>, mean: f64, variance: f64) -> Option<Self> {
        let orders = ArimaOrders {
            p: ar.len(),
            d,
            q: ma.len(),
        };
        let numbers = ar.iter().chain(&ma).chain([&mean, &variance]);
        let negated: Vec<f64> = ma.iter().map(|x| -x).collect();
        let is_sound = numbers.into_iter().all(|x| x.is_finite())
            && d <= 1
            && variance >= 0.0
            && is_stable(&ar)
            && is_stable(&negated);
        is_sound.then(|| Self {
            orders,
            ar,
            ma,
            mean,
            variance,
            season: Vec::new(),
            place: 0,
            values: VecDeque::new(),
            errors: VecDeque::new(),
        })
    }

    /// The model of `values` (NaN: missing, interpolated), whose season repeats after `period` steps if given.
    ///
    /// The season is the mean deviation from a centered moving average at each phase.
    /// `d` is 1 if the test of Kwiatkowski et al. finds at 5 % that the level does not stand still; the mean of the
    /// differences counts if it is more than two of its standard errors from 0.
    /// p ≤ 5 and q ≤ 2 are those with the smallest corrected criterion of Akaike among the regressions on past values
    /// and on the errors of a long autoregression; with q above 0 the sum of squared errors is then minimized from
    /// there.
    /// The model returned stands after the last value.
    /// `None` with fewer than 30 known values or than two periods and two.
    /// O(n) for each of some 400 evaluations at most.
    pub fn fit(period: Option<usize>, values: &[f64]) -> Option<Self> {
        if values.iter().filter(|value| !value.is_nan()).count() < 30 {
            return None;
        }
        let mut filled = season::interpolated(values);
        let season = match period {
            None => Vec::new(),
            Some(m) => season::decompose(season::Kind::Additive, m, values, usize::MAX)?,
        };
        if !season.is_empty() {
            for (i, value) in filled.iter_mut().enumerate() {
                *value -= season[i % season.len()];
            }
        }
        let d = stationarity::order(&filled);
        let w: Vec<f64> = if d == 0 {
            filled.clone()
        } else {
            filled.windows(2).map(|pair| pair[1] - pair[0]).collect()
        };
        let n = w.len() as f64;
        let mut mean = w.iter().sum::<f64>() / n;
        if d == 1 && mean * mean * n < 4.0 * stationarity::long_run_variance(&w) {
            mean = 0.0;
        }
        let centered: Vec<f64> = w.iter().map(|x| x - mean).collect();
        let (ar, ma) = coefficients(&centered)?;
        let skipped = ar.len();
        let variance = squared_errors(&centered, &ar, &ma)
            / (n - (2 * skipped + ma.len() + 1) as f64).max(1.0);
        let mut fitted = Self::new(ar, d, ma, mean, variance)?;
        fitted.season = season;
        for value in values {
            fitted.step(*value);
        }
        Some(fitted)
    }

    /// What is expected next, without the season, given past values and errors, latest first.
    fn next(&self, values: &VecDeque<f64>, errors: &VecDeque<f64>) -> f64 {
        let last = if self.orders.d == 1 {
            values.front().copied().unwrap_or(0.0)
        } else {
            0.0
        };
        let mut sum = last + self.mean;
        for (lag, phi) in self.ar.iter().enumerate() {
            let w = match (self.orders.d, values.get(lag), values.get(lag + 1)) {
                (0, Some(x), _) => *x,
                (1, Some(x), Some(before)) => x - before,
                _ => self.mean,
            };
            sum += phi * (w - self.mean);
        }
        for (theta, error) in self.ma.iter().zip(errors) {
            sum += theta * error;
        }
        sum
    }

    /// Learns the next value (NaN: missing, counts as expected) and says by how much it was off; `None` for a
    /// missing one, and for the first where the model is of differences.
    pub fn step(&mut self, value: f64) -> Option<f64> {
        let season = self.season.get(self.place).copied().unwrap_or(0.0);
        self.place = (self.place + 1) % self.season.len().max(1);
        let is_first = self.values.is_empty() && self.orders.d == 1;
        if value.is_nan() && is_first {
            return None;
        }
        let expected = self.next(&self.values, &self.errors);
        let error = if value.is_nan() || is_first {
            0.0
        } else {
            value - season - expected
        };
        let known = if value.is_nan() {
            expected
        } else {
            value - season
        };
        push(&mut self.values, known, self.orders.p + self.orders.d);
        push(&mut self.errors, error, self.orders.q);
        (!value.is_nan() && !is_first).then_some(error)
    }

    /// What comes in each of the next `n` steps: its mean and its variance.
    ///
    /// O(n (p + q)).
    pub fn forecast(&self, n: usize) -> Vec<(f64, f64)> {
        let (mut values, mut errors) = (self.values.clone(), self.errors.clone());
        // The weights of a shock after 0, 1, 2 ... steps: of the differences and of the values.
        let mut weights: Vec<f64> = Vec::with_capacity(n);
        let (mut level, mut sum) = (0.0, 0.0);
        (0..n)
            .map(|ahead| {
                let mean = self.next(&values, &errors);
                push(&mut values, mean, self.orders.p + self.orders.d);
                push(&mut errors, 0.0, self.orders.q);
                let own = match ahead {
                    0 => 1.0,
                    _ => self.ma.get(ahead - 1).copied().unwrap_or(0.0),
                };
                let lagged = self.ar.iter().zip(weights.iter().rev());
                let weight = own + lagged.map(|(phi, psi)| phi * psi).sum::<f64>();
                weights.push(weight);
                level = if self.orders.d == 1 {
                    level + weight
                } else {
                    weight
                };
                sum += level * level;
                let m = self.season.len().max(1);
                let season = self
                    .season
                    .get((self.place + ahead) % m)
                    .copied()
                    .unwrap_or(0.0);
                (mean + season, self.variance * sum)
            })
            .collect()
    }

    /// Its orders.
    pub fn orders(&self) -> ArimaOrders {
        self.orders
    }

    /// The weights of past values, φ.
    pub fn ar(&self) -> &[f64] {
        &self.ar
    }

    /// The weights of past errors, θ.
    pub fn ma(&self) -> &[f64] {
        &self.ma
    }

    /// The variance of its errors one step ahead, over what it was fitted to.
    pub fn variance(&self) -> f64 {
        self.variance
    }
}

impl fmt::Display for Arima {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ArimaOrders { p, d, q } = self.orders;
        write!(f, "ARIMA({p},{d},{q})")?;
        match self.season.len() {
            0 => Ok(()),
            m => write!(f, " around a season of {m} steps"),
        }
    }
}

fn push(latest_first: &mut VecDeque<f64>, value: f64, at_most: usize) {
    latest_first.push_front(value);
    latest_first.truncate(at_most);
}

/// The coefficients of the ARMA model of a series around 0, orders chosen.
fn coefficients(w: &[f64]) -> Option<(Vec<f64>, Vec<f64>)> {
    let n = w.len();
    let long = (n / 10).clamp(MOST_AR + 1, 20);
    let errors = long_errors(w, long)?;
    let n_columns = MOST_AR + MOST_MA + 1;
    let mut gram = Gram::new(n_columns);
    let mut row = vec![0.0; n_columns];
    let start = long + MOST_MA;
    for t in start..n {
        for lag in 0..MOST_AR {
            row[1 + lag] = w[t - lag - 1];
        }
        for lag in 0..MOST_MA {
            row[1 + MOST_AR + lag] = errors[t - lag - 1];
        }
        row[0] = w[t];
        gram.add(&row);
    }
    let size = (n - start) as f64;
    let mut best: Option<(f64, Vec<f64>, Vec<f64>)> = None;
    for p in 0..=MOST_AR {
        for q in 0..=MOST_MA {
            let chosen: Vec<usize> = (1..=p).chain(MOST_AR + 1..=MOST_AR + q).collect();
            let Some(Fit { found, rest, .. }) = gram.solve(&chosen) else {
                continue;
            };
            let (ar, ma) = (found[..p].to_vec(), found[p..].to_vec());
            let negated: Vec<f64> = ma.iter().map(|x| -x).collect();
            if !is_stable(&ar) || !is_stable(&negated) {
                continue;
            }
            let k = chosen.len() as f64 + 1.0;
            let fit = size * (rest / size).max(f64::MIN_POSITIVE).ln();
            let criterion = fit + 2.0 * k * size / (size - k - 1.0).max(1.0);
            if best.as_ref().is_none_or(|best| criterion < best.0) {
                best = Some((criterion, ar, ma));
            }
        }
    }
    let (_, ar, ma) = best?;
    if ma.is_empty() {
        return Some((ar, ma));
    }
    let p = ar.len();
    let start: Vec<f64> = ar.iter().chain(&ma).copied().collect();
    let loss = |x: &[f64]| {
        let negated: Vec<f64> = x[p..].iter().map(|x| -x).collect();
        if is_stable(&x[..p]) && is_stable(&negated) {
            squared_errors(w, &x[..p], &x[p..])
        } else {
            f64::INFINITY
        }
    };
    let bound = vec![5.0; start.len()];
    let low: Vec<f64> = start.iter().map(|x| x - 0.4).collect();
    let high: Vec<f64> = start.iter().map(|x| x + 0.4).collect();
    let (found, value) = simplex::minimize(loss, &start, &low, &high, 50 * bound.len());
    if !value.is_finite() {
        return Some((ar, ma));
    }
    Some((found[..p].to_vec(), found[p..].to_vec()))
}

/// The errors of an autoregression over `order` lags; 0 for the first `order`.
fn long_errors(w: &[f64], order: usize) -> Option<Vec<f64>> {
    let mut gram = Gram::new(order + 1);
    let mut row = vec![0.0; order + 1];
    for t in order..w.len() {
        for lag in 0..order {
            row[1 + lag] = w[t - lag - 1];
        }
        row[0] = w[t];
        gram.add(&row);
    }
    let chosen: Vec<usize> = (1..=order).collect();
    let ar = gram.solve(&chosen)?.found;
    let mut errors = vec![0.0; w.len()];
    for t in order..w.len() {
        let past = w[t - order..t].iter().rev();
        errors[t] = w[t] - ar.iter().zip(past).map(|(phi, x)| phi * x).sum::<f64>();
    }
    Some(errors)
}

/// The sum of the squared errors after the first p values, where errors before them count as 0.
fn squared_errors(w: &[f64], ar: &[f64], ma: &[f64]) -> f64 {
    let mut errors = [0.0; MOST_MA];
    let mut sum = 0.0;
    for t in ar.len()..w.len() {
        let past = w[t - ar.len()..t].iter().rev();
        let mut error = w[t] - ar.iter().zip(past).map(|(phi, x)| phi * x).sum::<f64>();
        error -= ma
            .iter()
            .zip(&errors)
            .map(|(theta, e)| theta * e)
            .sum::<f64>();
        sum += error * error;
        errors.rotate_right(1);
        errors[0] = error;
    }
    sum
}

/// Whether the recursion `x = Σ a x of before` fades: all partial autocorrelations lie within -1 and 1.
///
/// Source: O. Barndorff-Nielsen, G. Schou, *On the parametrization of autoregressive models by partial
/// autocorrelations*, Journal of Multivariate Analysis 3 (1973).
fn is_stable(coefficients: &[f64]) -> bool {
    let mut a = coefficients.to_vec();
    while let Some(last) = a.pop() {
        if last.is_nan() || last.abs() >= 0.9999 {
            return false;
        }
        let scale = 1.0 - last * last;
        let reversed: Vec<f64> = a.iter().rev().copied().collect();
        for (x, mirror) in a.iter_mut().zip(reversed) {
            *x = (*x + last * mirror) / scale;
        }
    }
    true
}
