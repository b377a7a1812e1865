//! Values at the wrong time, in made-up series with a period.
//!
//! Series of four shapes and four intervals, with noise, jitter, growth and quiet weekends, in which one
//! cycle lacks its activity, comes a third of a period late, or is busy at night. An alert within it, or a
//! quarter of its length after, is a hit; every other alert is false, those of series without any
//! anomaly included. The weight of the context in `OnlineDetector` was chosen here, and on no published data.

use std::error::Error;
use std::f64::consts::TAU;

use homeostasis::core::{Rng, Timestamp};
use homeostasis::detect::{OnlineConfig, OnlineDetector, Statistic};
use serde_json::{Value, json};

use crate::nab::Silence;

/// Rounds of all shapes, intervals and anomalies.
const ROUNDS: u64 = 12;
/// Where chance comes from.
const SEED: u64 = 20_261_122;
/// Seconds between samples, and samples in a period.
const INTERVALS: [(i64, usize); 3] = [(300, 288), (3600, 24), (60, 60)];
/// Series are not longer than this.
const MOST_SAMPLES: usize = 30_000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Anomaly {
    None,
    Missing,
    Late,
    AtNight,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Sine,
    Square,
    Saw,
    Peaks,
}

impl Shape {
    /// The activity at a share of the period.
    fn at(self, p: f64) -> f64 {
        let peak = |center: f64, width: f64| (-((p - center) / width).powi(2)).exp();
        match self {
            Self::Sine => 0.5 + 0.5 * (TAU * p).sin(),
            Self::Square => f64::from(u8::from(p > 0.4 && p < 0.8)),
            Self::Saw => p,
            Self::Peaks => peak(0.3, 0.07) + 0.7 * peak(0.7, 0.1),
        }
    }
}

struct Series {
    samples: Vec<(Timestamp, f64)>,
    /// The first and the last sample that is wrong.
    wrong: Option<(usize, usize)>,
}

/// Counts over series.
#[derive(Default)]
struct Count {
    anomalies: u32,
    hits: u32,
    false_alerts: u32,
}

/// Scores the detector on series with a period, with its context and without.
pub(crate) fn run() -> Result<Value, Box<dyn Error>> {
    let mut rng = Rng::from_seed(SEED);
    let (mut with, mut without, mut n_series) = (Count::default(), Count::default(), 0);
    for _ in 0..ROUNDS {
        for (interval, period) in INTERVALS {
            for shape in [Shape::Sine, Shape::Square, Shape::Saw, Shape::Peaks] {
                for anomaly in [
                    Anomaly::None,
                    Anomaly::Missing,
                    Anomaly::Late,
                    Anomaly::AtNight,
                ] {
                    let series = made(interval, period, shape, anomaly, &mut rng);
                    judge(&series, &mut with, &mut without)?;
                    n_series += 1;
                }
            }
        }
    }
    let report = |count: &Count| {
        json!({
            "recall": f64::from(count.hits) / f64::from(count.anomalies),
            "false_alerts_per_series": f64::from(count.false_alerts) / f64::from(n_series),
        })
    };
    Ok(json!({
        "suite": "context",
        "series": n_series,
        "with_context": report(&with),
        "without_context": report(&without),
    }))
}

fn judge(series: &Series, with: &mut Count, without: &mut Count) -> Result<(), Box<dyn Error>> {
    let mut detector = OnlineDetector::new(OnlineConfig::default())?;
    let mut silence = Silence::default();
    let (mut hits, mut false_alerts) = ([false; 2], [0; 2]);
    for (i, (at, value)) in series.samples.iter().enumerate() {
        let judged = detector.judge(*at, Some(*value));
        let rest = detector
            .evidence()
            .filter(|(what, _)| *what != Statistic::Context);
        let rest = 10.0 * detector.gate() * rest.map(|(_, evidence)| evidence).sum::<f64>();
        let rest = silence.step(if i < 150 { 0.0 } else { rest });
        for (k, alert) in [judged.alert, rest].into_iter().enumerate() {
            let is_wrong = |(from, to): (usize, usize)| (from..=to + (to - from) / 4).contains(&i);
            match series.wrong {
                _ if alert < 1.0 => {}
                Some(wrong) if is_wrong(wrong) => hits[k] = true,
                _ => false_alerts[k] += 1,
            }
        }
    }
    for (k, count) in [with, without].into_iter().enumerate() {
        count.anomalies += u32::from(series.wrong.is_some());
        count.hits += u32::from(hits[k]);
        count.false_alerts += false_alerts[k];
    }
    Ok(())
}

/// About normal, with mean 0 and standard deviation 1.
fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0
}

fn made(interval: i64, period: usize, shape: Shape, anomaly: Anomaly, rng: &mut Rng) -> Series {
    let whole = |n: u32, rng: &mut Rng| (0..n).filter(|_| rng.unit() < 0.5).count();
    let cycles = (14 + whole(14, rng)).min(MOST_SAMPLES / period);
    let wrong_cycle = 6 + whole(u32::try_from(cycles - 8).unwrap_or(0), rng);
    let noise = [0.02, 0.05, 0.1][whole(2, rng)];
    let (jitter, growth) = (0.01 * rng.unit(), 0.05 * rng.unit());
    let has_weekends = period != 60 && rng.unit() < 0.5;
    let start = rng.unit();
    let mut series = Series {
        samples: Vec::new(),
        wrong: None,
    };
    let mut at = Timestamp::from_secs(1_700_000_000);
    for cycle in 0..cycles {
        let weekend = has_weekends && cycle % 7 >= 5;
        let size = (1.0 + growth * normal(rng)) * if weekend { 0.6 } else { 1.0 };
        let shift = start + jitter * normal(rng);
        for i in 0..period {
            let p = (i as f64 / period as f64 + shift).rem_euclid(1.0);
            let kind = if cycle == wrong_cycle {
                anomaly
            } else {
                Anomaly::None
            };
            let (value, is_wrong) = match kind {
                Anomaly::Missing if p > 0.38 && p < 0.82 => (0.0, true),
                Anomaly::Late => (size * shape.at((p + 0.3).rem_euclid(1.0)), true),
                Anomaly::AtNight if p < 0.12 => (size * 0.9, true),
                _ => (size * shape.at(p), false),
            };
            if is_wrong {
                let n = series.samples.len();
                series.wrong = Some((series.wrong.map_or(n, |wrong| wrong.0), n));
            }
            let value = 100.0 + 50.0 * (value + noise * normal(rng));
            series.samples.push((at, value));
            at = at + std::time::Duration::from_secs(interval.unsigned_abs());
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_day_is_a_hit_with_context_only() {
        let mut rng = Rng::from_seed(1);
        let series = made(300, 288, Shape::Square, Anomaly::Missing, &mut rng);
        let (first, last) = series.wrong.unwrap();
        assert!(last - first < 288 && series.samples.len().is_multiple_of(288));
        let (mut with, mut without) = (Count::default(), Count::default());
        judge(&series, &mut with, &mut without).unwrap();
        assert_eq!((with.anomalies, with.hits), (1, 1));
        assert!(without.hits <= with.hits);
    }
}
