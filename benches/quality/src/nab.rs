//! The furnished detector on the Numenta Anomaly Benchmark.
//!
//! It reads the published layout, `data/<category>/<file>.csv` and `labels/combined_windows.json`, and
//! scores the alerts of [`OnlineDetector`] at its own limit, the same for every series. What the
//! best threshold would have scored, chosen with the labels of all series or of all others, is told
//! beside it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use homeostasis::detect::{OnlineConfig, OnlineDetector, OnlineJudgement, Statistic};
use serde_json::{Value, json};

use crate::score::nab::{PROFILES, Scored, best_thresholds, flagged, normalized};
use crate::series_file::{self, SeriesFile};

/// The score of an alert at the detector's own limit.
const LIMIT: f64 = 0.5;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The folder with `data` and `labels`.
    pub(crate) data: PathBuf,
    /// Where the scores go, if anywhere.
    pub(crate) out: Option<PathBuf>,
    /// Whether to score the detector without each of its parts, too.
    pub(crate) ablation: bool,
}

struct Series {
    name: String,
    file: SeriesFile,
    windows: Vec<(String, String)>,
}

/// Scores every series of the corpus.
pub(crate) fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let corpus = corpus(&options.data)?;
    let n_points: usize = corpus.iter().map(|series| series.file.samples.len()).sum();
    let mut detectors = Vec::new();
    for _ in &corpus {
        detectors.push(OnlineDetector::new(OnlineConfig::default())?);
    }
    let (scores, took) = series_file::timed(|| {
        let fresh = detectors.clone();
        let scores = corpus.iter().zip(fresh).map(|(series, mut detector)| {
            let score = |(at, value): &(_, _)| bounded(detector.judge(*at, *value).alert);
            series.file.samples.iter().map(score).collect()
        });
        scores.collect::<Vec<Vec<f64>>>()
    });
    if let Some(out) = &options.out {
        for (series, scores) in corpus.iter().zip(&scores) {
            series_file::write(&out.join(&series.name), &series.file, scores)?;
        }
    }
    let mut report = report(&corpus, &scores)?;
    report["suite"] = "nab".into();
    report["series"] = corpus.len().into();
    report["points"] = n_points.into();
    report["points_per_second"] = (n_points as f64 / took.as_secs_f64()).into();
    if options.ablation {
        report["ablation"] = ablation(&corpus)?;
    }
    Ok(report)
}

/// A strength as a score: 0.5 at its limit.
fn bounded(strength: f64) -> f64 {
    let square = strength * strength;
    if square.is_finite() {
        square / (1.0 + square)
    } else {
        1.0
    }
}

fn corpus(root: &Path) -> Result<Vec<Series>, Box<dyn Error>> {
    let labels = root.join("labels").join("combined_windows.json");
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", labels.display());
    let text = std::fs::read_to_string(&labels).map_err(|error| named(&error))?;
    let windows: BTreeMap<String, Vec<(String, String)>> =
        serde_json::from_str(&text).map_err(|error| named(&error))?;
    let data = root.join("data");
    for path in series_file::in_folders(&data)? {
        let name = path.to_string_lossy().replace('\\', "/");
        if !windows.contains_key(&name) {
            return Err(named(&format!("expected windows, or none, for {name}")).into());
        }
    }
    windows
        .into_iter()
        .map(|(name, windows)| {
            let file = series_file::read(&data.join(&name))?;
            Ok(Series {
                name,
                file,
                windows,
            })
        })
        .collect()
}

fn scored(corpus: &[Series], scores: &[Vec<f64>]) -> Result<Vec<Scored>, Box<dyn Error>> {
    let of = |(series, scores): (&Series, &Vec<f64>)| {
        let scored = Scored::new(&series.file.times, &series.windows, scores);
        scored.map_err(|error| format!("labels of {}: {error}", series.name).into())
    };
    corpus.iter().zip(scores).map(of).collect()
}

fn report(corpus: &[Series], scores: &[Vec<f64>]) -> Result<Value, Box<dyn Error>> {
    let scored = scored(corpus, scores)?;
    let all: Vec<&Scored> = scored.iter().collect();
    let mut report = json!({ "threshold": LIMIT });
    let (mut best, mut left_out) = (json!({}), json!({}));
    for profile in PROFILES {
        let found = flagged(&all, LIMIT, profile);
        report[profile.name] = json!(normalized(found.raw, &all, profile));
        report["windows_hit"] = found.windows_hit.into();
        report["false_rows"] = found.false_rows.into();
        let thresholds = best_thresholds(&all, profile);
        let raw = flagged(&all, thresholds.all, profile).raw;
        best[profile.name] = json!({
            "score": normalized(raw, &all, profile),
            "threshold": thresholds.all,
        });
        let without = thresholds.without.iter().zip(&all);
        let raw: f64 = without.map(|(t, one)| one.flagged(*t, profile).raw).sum();
        left_out[profile.name] = json!(normalized(raw, &all, profile));
    }
    report["windows"] = corpus
        .iter()
        .map(|series| series.windows.len())
        .sum::<usize>()
        .into();
    report["best_threshold"] = best;
    report["leave_one_out"] = left_out;
    report["by_category"] = by_category(corpus, &scored);
    Ok(report)
}

fn by_category(corpus: &[Series], scored: &[Scored]) -> Value {
    let mut groups: BTreeMap<&str, Vec<&Scored>> = BTreeMap::new();
    for (series, scored) in corpus.iter().zip(scored) {
        let category = series.name.split('/').next().unwrap_or_default();
        groups.entry(category).or_default().push(scored);
    }
    let mut report = json!({});
    for (category, all) in groups {
        let found = flagged(&all, LIMIT, PROFILES[0]);
        report[category] = json!({
            "standard": normalized(found.raw, &all, PROFILES[0]),
            "windows_hit": found.windows_hit,
            "false_rows": found.false_rows,
        });
    }
    report
}

/// The novelty of a sample without one part of the detector.
type Part = fn(&OnlineDetector, &OnlineJudgement) -> f64;

/// The sum of the evidence of some statistics, in the units of the limit of novelty.
fn evidence(detector: &OnlineDetector, counts: fn(Statistic) -> bool) -> f64 {
    let all = detector.evidence().filter(|(what, _)| counts(*what));
    10.0 * all.map(|(_, evidence)| evidence).sum::<f64>()
}

const PARTS: [(&str, Part); 6] = [
    ("all", |_, judged| judged.novelty),
    ("without_context", |detector, _| {
        evidence(detector, |what| what != Statistic::Context) * detector.gate()
    }),
    ("without_gate", |detector, _| evidence(detector, |_| true)),
    ("value_only", |detector, _| {
        evidence(detector, |what| what == Statistic::Value)
    }),
    ("without_level", |detector, _| {
        let level = |what| {
            !matches!(
                what,
                Statistic::Value | Statistic::CoarseValue | Statistic::Maximum | Statistic::Minimum
            )
        };
        evidence(detector, level) * detector.gate()
    }),
    ("deviation", |_, judged| judged.deviation),
];

/// The standard score without each part: at its own limit, and at the threshold best for the others.
fn ablation(corpus: &[Series]) -> Result<Value, Box<dyn Error>> {
    let mut rows = json!({});
    for (name, part) in PARTS {
        for silent in [true, false] {
            let mut scores = Vec::new();
            for series in corpus {
                let mut detector = OnlineDetector::new(OnlineConfig::default())?;
                let mut silence = Silence::default();
                let score = |(i, (at, value)): (usize, &(_, _))| {
                    let judged = detector.judge(*at, *value);
                    let strength = match i {
                        0..150 => 0.0,
                        _ => part(&detector, &judged),
                    };
                    bounded(if silent {
                        silence.step(strength)
                    } else {
                        strength
                    })
                };
                scores.push(series.file.samples.iter().enumerate().map(score).collect());
            }
            let report = report(corpus, &scores)?;
            let name = if silent {
                name.to_owned()
            } else {
                format!("{name}, no dead time")
            };
            rows[name] = json!({
                "standard": report["standard"],
                "best_threshold": report["best_threshold"]["standard"]["score"],
                "leave_one_out": report["leave_one_out"]["standard"],
                "windows_hit": report["windows_hit"],
                "false_rows": report["false_rows"],
            });
        }
    }
    Ok(rows)
}

/// The dead time of 100 samples, for parts that the detector does not tell of.
#[derive(Default)]
pub(crate) struct Silence {
    rest: u32,
    last: f64,
}

impl Silence {
    pub(crate) fn step(&mut self, strength: f64) -> f64 {
        self.rest = self.rest.saturating_sub(1);
        if self.rest > 0 && strength <= 10.0 * self.last {
            return 0.0;
        }
        if strength >= 1.0 {
            (self.rest, self.last) = (100, strength);
        }
        strength
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// Two series of 2000 rows, one of which leaps in its window.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data/made")).unwrap();
        std::fs::create_dir_all(folder.path().join("labels")).unwrap();
        for (name, leap) in [("calm", 0.0), ("leaps", 40.0)] {
            let mut text = String::from("timestamp,value\n");
            for i in 0..2000 {
                let value = f64::from(i * 7919 % 101) / 10.0;
                let value = if i == 1500 { value + leap } else { value };
                writeln!(
                    text,
                    "2024-01-{:02} {:02}:{:02}:00,{value}",
                    1 + i / 1440,
                    i / 60 % 24,
                    i % 60
                )
                .unwrap();
            }
            std::fs::write(folder.path().join(format!("data/made/{name}.csv")), text).unwrap();
        }
        let windows = json!({
            "made/calm.csv": [],
            "made/leaps.csv": [["2024-01-02 00:50:00.000000", "2024-01-02 01:30:00.000000"]],
        });
        std::fs::write(
            folder.path().join("labels/combined_windows.json"),
            windows.to_string(),
        )
        .unwrap();
        folder
    }

    #[test]
    fn a_corpus_is_scored_and_its_scores_are_written() {
        let folder = folder();
        let out = folder.path().join("out");
        let options = Options {
            data: folder.path().to_owned(),
            out: Some(out.clone()),
            ablation: true,
        };
        let report = run(&options).unwrap();
        assert_eq!(report["windows_hit"], 1, "{report}");
        assert!(report["standard"].as_f64().unwrap() > 80.0, "{report}");
        assert_eq!(report["ablation"]["all"]["standard"], report["standard"]);
        assert_eq!(
            report["ablation"].as_object().unwrap().len(),
            2 * PARTS.len()
        );
        let written = std::fs::read_to_string(out.join("made/leaps.csv")).unwrap();
        assert_eq!(written.lines().count(), 2001);
        assert!(written.starts_with("timestamp,value,anomaly_score\n2024-01-01 00:00:00,0,0\n"));
    }

    #[test]
    fn series_without_labels_and_labels_without_series_are_named() {
        let folder = folder();
        let options = Options {
            data: folder.path().to_owned(),
            out: None,
            ablation: false,
        };
        let extra = folder.path().join("data/made/more.csv");
        std::fs::write(&extra, "timestamp,value\n").unwrap();
        assert!(
            run(&options)
                .unwrap_err()
                .to_string()
                .contains("made/more.csv")
        );
        std::fs::remove_file(&extra).unwrap();
        std::fs::remove_file(folder.path().join("data/made/calm.csv")).unwrap();
        assert!(run(&options).unwrap_err().to_string().contains("calm.csv"));
        std::fs::remove_file(folder.path().join("labels/combined_windows.json")).unwrap();
        assert!(
            run(&options)
                .unwrap_err()
                .to_string()
                .contains("combined_windows.json")
        );
    }
}
