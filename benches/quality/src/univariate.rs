//! The furnished detector on labelled series, such as those of a cloud service.
//!
//! It reads `<group>/<series>.csv` (`TimeStamp`, `Value`, `Label`) and scores the strength of
//! [`OnlineDetector`] from the first sample on. Rows without a value cannot be scored and are left out;
//! the detector is told of them. Areas are means over the series with labels; events are counted over
//! all series at the detector's own limit.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use homeostasis::core::Timestamp;
use homeostasis::detect::{OnlineConfig, OnlineDetector};
use serde_json::{Value, json};

use crate::score::time_series::{EventScore, average_precision, events, vus_pr, window};
use crate::series_file::{self, SeriesFile};

/// The detector's own limit.
const LIMIT: f64 = 1.0;
const SECONDS_PER_DAY: f64 = 86_400.0;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The folder with a folder for each group.
    pub(crate) data: PathBuf,
    /// Where the scores go, if anywhere.
    pub(crate) out: Option<PathBuf>,
}

/// Scores every series.
pub(crate) fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let mut all = Vec::new();
    for path in series_file::in_folders(&options.data)? {
        let file = series_file::read(&options.data.join(&path))?;
        if file.labels.is_empty() {
            return Err(format!("{}: expected a label column and rows", path.display()).into());
        }
        all.push((path, file));
    }
    let detector = OnlineDetector::new(OnlineConfig::default())?;
    let (scores, took) = series_file::timed(|| {
        let of = |(_, file): &(PathBuf, SeriesFile)| {
            let mut detector = detector.clone();
            let score =
                |(at, value): &(Timestamp, Option<f64>)| detector.judge(*at, *value).strength;
            file.samples.iter().map(score).collect()
        };
        all.iter().map(of).collect::<Vec<Vec<f64>>>()
    });
    let n_points: usize = all.iter().map(|(_, file)| file.samples.len()).sum();
    let mut areas: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let (mut pooled, mut days) = ((0, 0, 0), 0.0);
    for ((path, file), scores) in all.iter().zip(&scores) {
        if let Some(out) = &options.out {
            series_file::write(&out.join(path), file, scores)?;
        }
        let (area, found) = scored(file, scores);
        if let Some(area) = area {
            areas.entry(group(path)).or_default().push(area);
        }
        pooled.0 += found.n_events;
        pooled.1 += found.n_detected;
        pooled.2 += found.n_false;
        let (first, last) = (file.samples.first(), file.samples.last());
        if let (Some(first), Some(last)) = (first, last) {
            days += last.0.since(first.0).as_secs_f64() / SECONDS_PER_DAY;
        }
    }
    let pooled = EventScore {
        threshold: LIMIT,
        n_events: pooled.0,
        n_detected: pooled.1,
        n_false: pooled.2,
    };
    let each: Vec<(f64, f64)> = areas.values().flatten().copied().collect();
    let by_group: BTreeMap<_, _> = areas
        .iter()
        .map(|(name, each)| (name, mean(each).0))
        .collect();
    let (vus, auc) = mean(&each);
    Ok(json!({
        "suite": "univariate",
        "series": all.len(),
        "series_with_labels": each.len(),
        "points": n_points,
        "vus_pr": vus,
        "auc_pr": auc,
        "event_f1": pooled.f1(),
        "event_precision": pooled.precision(),
        "event_recall": pooled.recall(),
        "false_alarms_per_day": pooled.n_false as f64 / days,
        "points_per_second": n_points as f64 / took.as_secs_f64(),
        "vus_pr_by_group": by_group,
    }))
}

/// VUS-PR and AUC-PR, if there are labels, and the events at the limit.
fn scored(file: &SeriesFile, scores: &[f64]) -> (Option<(f64, f64)>, EventScore) {
    let (mut values, mut labels, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    let rows = file.samples.iter().zip(&file.labels).zip(scores);
    for (((_, value), label), score) in rows {
        if let Some(value) = value {
            values.push(*value);
            labels.push(*label);
            kept.push(*score);
        }
    }
    let area = vus_pr(&labels, &kept, window(&values)).zip(average_precision(&labels, &kept));
    (area, events(&labels, &kept, LIMIT))
}

fn group(path: &Path) -> String {
    let folder = path.parent().unwrap_or(path);
    folder.to_string_lossy().into_owned()
}

fn mean(each: &[(f64, f64)]) -> (f64, f64) {
    let n = each.len().max(1) as f64;
    let sum = each
        .iter()
        .fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (sum.0 / n, sum.1 / n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn a_spike_among_noise_ranks_first_and_rows_without_a_value_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("made")).unwrap();
        let mut text = String::from("TimeStamp,Value,Label\n");
        for i in 0..1000 {
            let is_spike = (700..705).contains(&i);
            let value = f64::from(i * 7919 % 101) / 10.0 + if is_spike { 90.0 } else { 0.0 };
            let value = if i % 50 == 3 {
                String::new()
            } else {
                value.to_string()
            };
            let label = u8::from(is_spike);
            writeln!(
                text,
                "2024-01-01 {:02}:{:02}:00,{value},{label}",
                i / 60,
                i % 60
            )
            .unwrap();
        }
        std::fs::write(folder.path().join("made/one.csv"), text).unwrap();
        let mut options = Options {
            data: folder.path().to_owned(),
            out: None,
        };
        let report = run(&options).unwrap();
        assert!(report["vus_pr"].as_f64().unwrap() > 0.9, "{report}");
        assert_eq!(report["event_recall"], 1.0);
        std::fs::write(folder.path().join("made/two.csv"), "TimeStamp,Value\n").unwrap();
        assert!(run(&options).unwrap_err().to_string().contains("two.csv"));
        options.data = folder.path().join("made");
        assert!(run(&options).unwrap_err().to_string().contains("expected"));
    }
}
