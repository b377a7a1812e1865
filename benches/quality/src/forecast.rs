//! Forecasts: whether their intervals hold what they promise, and how well the time to a breach is foretold.
//!
//! *Coverage:* of each series the last fifth is held back. From ten origins in it a model is fitted to at most
//! 1024 values before the origin and forecasts the next 1, 24 and 96 steps; counted is how many of the values lie in the
//! intervals, as the mean over the series.
//! *Time to breach:* a steady leak is added to the first 2000 values of each series. It begins at once or after a
//! quarter and grows by 10 or 20 standard deviations of the series until the end, where level and leak reach the limit.
//! A watch is fed until half of the way from the beginning of the leak to the breach, where its time to the breach is
//! compared with the true one. The true one is when level and leak alone reach the limit: a watch that foresees the peak
//! of a wave or of the noise which reaches it before that is wrong here by as much. The same is done where a restart, a quarter of the way in, frees a fifth of that growth.
//! *False alarms:* the series without a leak, and a limit half its range above its highest value.

mod leak;

use std::error::Error;
use std::path::Path;

use homeostasis::core::Timestamp;
use homeostasis::detect::ForecastModel;
use serde_json::{Value, json};

use crate::series_file;
use leak::{Case, Outcome};

/// At most this many values before an origin are shown.
const PAST: usize = 1024;
const ORIGINS: usize = 10;
/// A series needs this many samples.
const LEAST: usize = 100;
/// The suite's first-class horizon: what `coverage_80` and `coverage_95` say.
const HORIZON: usize = 24;

type Samples = Vec<(Timestamp, f64)>;

/// Runs both parts on the series below `data`: `data/<group>/<series>.csv` in it, or else `<group>/<series>.csv`.
pub(crate) fn run(data: &Path) -> Result<Value, Box<dyn Error>> {
    let all = read(data)?;
    let mut coverages = serde_json::Map::new();
    let mut main = Coverage::default();
    for horizon in [1, HORIZON, 96] {
        let coverage = covered(&all, horizon);
        let found = json!({
            "coverage_80": coverage.in_80,
            "coverage_95": coverage.in_95,
            "series": coverage.n_series,
        });
        coverages.insert(horizon.to_string(), found);
        if horizon == HORIZON {
            main = coverage;
        }
    }
    let mut groups = serde_json::Map::new();
    let (mut steady, mut restarted) = (Vec::new(), Vec::new());
    for growth in [10.0, 20.0] {
        for onset in [0.0, 0.25] {
            for has_restart in [false, true] {
                let case = Case {
                    growth,
                    onset,
                    has_restart,
                };
                let outcomes: Vec<Outcome> = all
                    .iter()
                    .filter_map(|series| case.outcome(series))
                    .collect();
                groups.insert(case.name(), leak::summary(&outcomes));
                if has_restart {
                    &mut restarted
                } else {
                    &mut steady
                }
                .extend(outcomes);
            }
        }
    }
    let quiet: Vec<bool> = all.iter().filter_map(leak::false_alarm).collect();
    Ok(json!({
        "suite": "forecast",
        "series": all.len(),
        "coverage_80": main.in_80,
        "coverage_95": main.in_95,
        "coverage_by_horizon": coverages,
        "median_scaled_error": main.scaled_error,
        "time_to_breach_within_20": leak::within(&steady, 0.2),
        "time_to_breach_median_error": leak::quantile(&steady, 0.5),
        "time_to_breach_interval_80": leak::covered(&steady),
        "time_to_breach": leak::summary(&steady),
        "time_to_breach_after_restart": leak::summary(&restarted),
        "time_to_breach_by_case": groups,
        "false_alarms": quiet.iter().filter(|alarmed| **alarmed).count(),
        "quiet_series": quiet.len(),
    }))
}

fn read(data: &Path) -> Result<Vec<Samples>, Box<dyn Error>> {
    let inner = data.join("data");
    let root = if inner.is_dir() {
        inner
    } else {
        data.to_owned()
    };
    let mut all = Vec::new();
    for path in series_file::in_folders(&root)? {
        let file = series_file::read(&root.join(path))?;
        let known = file
            .samples
            .into_iter()
            .filter_map(|(at, value)| Some((at, value?)));
        all.push(known.collect());
    }
    Ok(all)
}

/// Means over the series.
#[derive(Debug, Default)]
struct Coverage {
    n_series: usize,
    in_80: f64,
    in_95: f64,
    /// The median over the series of the mean absolute error in mean absolute changes from sample to sample.
    scaled_error: f64,
}

fn covered(all: &[Samples], horizon: usize) -> Coverage {
    let mut found = Coverage::default();
    let mut errors = Vec::new();
    for series in all.iter().filter(|series| series.len() >= LEAST) {
        let values: Vec<f64> = series.iter().map(|sample| sample.1).collect();
        let cut = values.len() * 4 / 5;
        let (mut n, mut in_80, mut in_95, mut error) = (0.0, 0.0, 0.0, 0.0);
        for origin in (0..ORIGINS).map(|i| cut + i * (values.len() - cut) / ORIGINS) {
            let past = &values[origin.saturating_sub(PAST)..origin];
            let Some(model) = ForecastModel::fit(past, horizon, None, 1e-6) else {
                continue;
            };
            let changes: f64 = past.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
            let scale = (changes / past.len() as f64).max(1e-12);
            for (predicted, seen) in model.forecast(horizon).iter().zip(&values[origin..]) {
                let covers =
                    |(low, high): (f64, f64)| f64::from(u8::from(low <= *seen && *seen <= high));
                n += 1.0;
                in_80 += covers(predicted.interval_80);
                in_95 += covers(predicted.interval_95);
                error += (predicted.mean - seen).abs() / scale;
            }
        }
        if n > 0.0 {
            found.n_series += 1;
            found.in_80 += in_80 / n;
            found.in_95 += in_95 / n;
            errors.push(error / n);
        }
    }
    let n = (found.n_series as f64).max(1.0);
    found.in_80 /= n;
    found.in_95 /= n;
    errors.sort_by(f64::total_cmp);
    found.scaled_error = errors.get(errors.len() / 2).copied().unwrap_or(0.0);
    found
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use homeostasis::core::Rng;

    use super::*;

    /// A week of noise around a small wave, which puts the breach at most a tenth of the way earlier, in both layouts.
    fn write(root: &Path) {
        let folder = root.join("group");
        std::fs::create_dir_all(&folder).unwrap();
        let mut text = String::from("timestamp,value\n");
        let mut rng = Rng::from_seed(8);
        for i in 0..2016_u32 {
            let wave = (f64::from(i % 144) / 144.0 * std::f64::consts::TAU).sin();
            let (day, minute) = (1 + i / 288, i % 288 * 5);
            writeln!(
                text,
                "2026-01-{day:02} {:02}:{:02}:00,{}",
                minute / 60,
                minute % 60,
                50.0 + wave + 6.0 * rng.unit()
            )
            .unwrap();
        }
        std::fs::write(folder.join("a.csv"), text).unwrap();
    }

    #[test]
    fn both_layouts_are_read_and_the_report_has_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let flat = run(folder.path()).unwrap();
        let nested = tempfile::tempdir().unwrap();
        write(&nested.path().join("data"));
        assert_eq!(run(nested.path()).unwrap(), flat);
        assert_eq!(flat["series"], 1);
        assert!(flat["coverage_95"].as_f64().unwrap() > 0.8, "{flat}");
        assert!(
            flat["time_to_breach_within_20"].as_f64().unwrap() > 0.99,
            "{flat}"
        );
    }

    #[test]
    fn a_folder_without_series_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&*folder.path().to_string_lossy()), "{error}");
    }
}
