//! Detectors of rows on labelled components: application servers (ASD) and server machines (SMD).
//!
//! It reads the published layout, `<entity>/{train,test}.csv.gz`, `test_label.csv` and, where there is one,
//! `interpretation_label.txt`. A detector with its default configuration is fitted on what was recorded before
//! and then judges one row after another, from the first one on, without looking ahead.
//! The window of the volume comes from the first feature; the attribution hit rate is the share of the
//! features people named that are among as many with the largest mean contribution over the event.

mod entity;
mod speed;

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use homeostasis::core::Timestamp;
use homeostasis::core::stage::{RowDetector, Rows};
use homeostasis::detect::{
    Autoencoder, AutoencoderConfig, IsolationForest, IsolationForestConfig, PcaResidual,
    PcaResidualConfig,
};
use serde_json::{Value, json};

use crate::score::time_series::{
    EventScore, average_precision, best_events, events, roc_auc, vus_pr, window,
};
use entity::Entity;

/// Above it every detector alarms.
const LIMIT: f64 = 0.5;
const SECS_PER_DAY: f64 = 86_400.0;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The folder with the entities, or with folders of them.
    pub(crate) data: PathBuf,
    /// Where the scores go, if anywhere.
    pub(crate) out: Option<PathBuf>,
    /// Which detector is scored.
    pub(crate) detector: Kind,
}

/// The detectors of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    #[default]
    PcaResidual,
    IsolationForest,
    Autoencoder,
}

impl Kind {
    /// Their names on the command line.
    pub(crate) const NAMES: &str = "pca_residual, isolation_forest or autoencoder";

    fn name(self) -> &'static str {
        match self {
            Self::PcaResidual => "pca_residual",
            Self::IsolationForest => "isolation_forest",
            Self::Autoencoder => "autoencoder",
        }
    }

    fn make(self) -> Result<Box<dyn RowDetector>, Box<dyn Error>> {
        Ok(match self {
            Self::PcaResidual => Box::new(PcaResidual::new(PcaResidualConfig::default())?),
            Self::IsolationForest => {
                Box::new(IsolationForest::new(IsolationForestConfig::default())?)
            }
            Self::Autoencoder => Box::new(Autoencoder::new(AutoencoderConfig::default())?),
        })
    }
}

impl std::str::FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::PcaResidual, Self::IsolationForest, Self::Autoencoder];
        all.into_iter().find(|kind| kind.name() == text).ok_or(())
    }
}

/// What a detector said of the rows of one entity.
struct Run {
    scores: Vec<f64>,
    /// Where the score is beyond the limit.
    alarms: Vec<f64>,
    /// The mean contribution of each feature over the rows of each cause.
    contributions: Vec<Vec<f64>>,
    fitting: Duration,
    judging: Duration,
}

/// Scores every entity.
#[expect(clippy::print_stderr, reason = "people see how each entity went")]
pub(crate) fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let (mut volumes, mut areas, mut rocs, mut best, mut hits) =
        (vec![], vec![], vec![], vec![], vec![]);
    let mut hits_by_event = Vec::new();
    let mut pooled = EventScore {
        threshold: LIMIT,
        n_events: 0,
        n_detected: 0,
        n_false: 0,
    };
    let (mut n_rows, mut days) = (0, 0.0);
    let (mut fitting, mut judging) = (Duration::ZERO, Duration::ZERO);
    let mut by_entity = serde_json::Map::new();
    let folders = entity::find(&options.data)?;
    for folder in &folders {
        let entity = entity::read(&options.data, folder)?;
        let run = judge(&entity, options.detector.make()?)?;
        if let Some(out) = &options.out {
            write(out, &entity, &run.scores)?;
        }
        let first: Vec<f64> = Rows::new(&entity.test, entity.width)?.column(0).collect();
        let labels = &entity.labels;
        let volume = vus_pr(labels, &run.scores, window(&first));
        let area = average_precision(labels, &run.scores);
        volumes.extend(volume);
        areas.extend(area);
        rocs.extend(roc_auc(labels, &run.scores));
        best.extend(best_events(labels, &run.scores).and_then(|found| found.f1()));
        let hit = hit_rates(&entity, &run.contributions);
        hits.extend(mean(&hit));
        hits_by_event.extend_from_slice(&hit);
        let found = events(labels, &run.alarms, 1.0);
        pooled.n_events += found.n_events;
        pooled.n_detected += found.n_detected;
        pooled.n_false += found.n_false;
        n_rows += labels.len();
        days += labels.len() as f64 * f64::from(entity.interval_secs) / SECS_PER_DAY;
        fitting += run.fitting;
        judging += run.judging;
        let report = json!({
            "vus_pr": volume, "auc_pr": area, "event_f1": found.f1(), "attribution_hit_rate": mean(&hit),
        });
        eprintln!("{}: {report}", entity.name);
        by_entity.insert(entity.name, report);
    }
    let speed = match options.detector {
        Kind::IsolationForest => speed::measure()?,
        Kind::PcaResidual | Kind::Autoencoder => Value::Null,
    };
    let rows_per_second = n_rows as f64 / judging.as_secs_f64();
    Ok(json!({
        "suite": "multivariate",
        "detector": options.detector.name(),
        "entities": folders.len(),
        "vus_pr": mean(&volumes),
        "auc_pr": mean(&areas),
        "auc_roc": mean(&rocs),
        "event_f1": pooled.f1(),
        "event_recall": pooled.recall(),
        "best_event_f1": mean(&best),
        "false_alarms_per_day": pooled.n_false as f64 / days,
        "attribution_hit_rate": mean(&hits),
        "attribution_hit_rate_over_events": mean(&hits_by_event),
        "points_per_second": rows_per_second,
        "fit_seconds": fitting.as_secs_f64(),
        "speed_100000_x_6": speed,
        "by_entity": by_entity,
    }))
}

fn judge(entity: &Entity, mut detector: Box<dyn RowDetector>) -> Result<Run, Box<dyn Error>> {
    let began = now();
    detector.fit(Rows::new(&entity.train, entity.width)?)?;
    let fitting = began.elapsed();
    let n_before = entity.train.len() / entity.width;
    let (mut scores, mut alarms) = (Vec::new(), Vec::new());
    let mut contributions = vec![vec![0.0; entity.width]; entity.causes.len()];
    let mut judging = Duration::ZERO;
    for (at, row) in Rows::new(&entity.test, entity.width)?.iter().enumerate() {
        let secs = i64::try_from(n_before + at)? * i64::from(entity.interval_secs);
        let began = now();
        let found = detector.update(Timestamp::from_secs(secs), row)?;
        judging += began.elapsed();
        scores.push(found.surprise);
        alarms.push(f64::from(u8::from(found.score.get() > LIMIT)));
        for (cause, sums) in entity.causes.iter().zip(&mut contributions) {
            if (cause.first_row..=cause.last_row).contains(&at) && entity.labels[at] {
                for (sum, part) in sums.iter_mut().zip(detector.contributions()) {
                    *sum += part;
                }
            }
        }
    }
    Ok(Run {
        scores,
        alarms,
        contributions,
        fitting,
        judging,
    })
}

/// For each cause the share of its features among as many with the largest contribution.
fn hit_rates(entity: &Entity, contributions: &[Vec<f64>]) -> Vec<f64> {
    let causes = entity.causes.iter().zip(contributions);
    let hits = causes.map(|(cause, parts)| {
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by(|a, b| parts[*b].total_cmp(&parts[*a]));
        order.truncate(cause.features.len());
        let n_hits = order
            .iter()
            .filter(|feature| cause.features.contains(feature))
            .count();
        n_hits as f64 / cause.features.len() as f64
    });
    hits.collect()
}

fn write(out: &Path, entity: &Entity, scores: &[f64]) -> Result<(), Box<dyn Error>> {
    let path = out.join(&entity.name).with_extension("csv");
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut text = "row,anomaly_score\n".to_owned();
    for (at, score) in scores.iter().enumerate() {
        writeln!(text, "{at},{score}")?;
    }
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Two features that go together until rows 200 to 219, where the second leaves; the first lines of
    /// each file are names.
    fn entity(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let rows = |odd: std::ops::Range<u32>, n: u32| {
            let mut text = "a,b,c\n".to_owned();
            for row in 0..n {
                let wave = (f64::from(row) * 0.7).sin();
                let other = if odd.contains(&row) { -9.0 } else { 2.0 * wave };
                writeln!(text, "{wave},{other},{}", row % 5).unwrap();
            }
            text
        };
        fs::write(folder.join("train.csv"), rows(0..0, 600)).unwrap();
        fs::write(folder.join("test.csv"), rows(200..220, 400)).unwrap();
        let label = |row| {
            if (200..220).contains(&row) {
                "1\n"
            } else {
                "0\n"
            }
        };
        let labels: String = (0..400).map(label).collect();
        fs::write(folder.join("test_label.csv"), format!("label\n{labels}")).unwrap();
        fs::write(folder.join("interpretation_label.txt"), "200-220:2\n").unwrap();
    }

    fn options(data: &Path, detector: Kind) -> Options {
        Options {
            data: data.to_owned(),
            out: Some(data.join("out")),
            detector,
        }
    }

    #[test]
    fn an_entity_is_fitted_judged_and_explained() {
        let folder = tempfile::tempdir().unwrap();
        entity(&folder.path().join("smd/machine-1"));
        let report = run(&options(folder.path(), Kind::PcaResidual)).unwrap();
        assert_eq!(
            (&report["entities"], &report["attribution_hit_rate"]),
            (&json!(1), &json!(1.0))
        );
        assert!(report["vus_pr"].as_f64().unwrap() > 0.8, "{report}");
        assert_eq!(report["event_recall"], 1.0);
        let scores = fs::read_to_string(folder.path().join("out/smd/machine-1.csv")).unwrap();
        assert_eq!(scores.lines().count(), 401);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let complaint = || {
            let error = run(&options(folder.path(), Kind::IsolationForest)).unwrap_err();
            error.to_string()
        };
        assert!(complaint().contains("expected <entity>/test.csv.gz"));
        let machine = folder.path().join("machine-1");
        entity(&machine);
        fs::write(machine.join("interpretation_label.txt"), "200-220:4\n").unwrap();
        assert!(
            complaint().contains("interpretation_label.txt:1: \"200-220:4\""),
            "{}",
            complaint()
        );
        fs::write(machine.join("test_label.csv"), "label\n0\nx\n").unwrap();
        assert!(
            complaint().contains("test_label.csv:3: \"x\", expected a number"),
            "{}",
            complaint()
        );
        fs::write(machine.join("test_label.csv"), "label\n0\n").unwrap();
        assert!(
            complaint().contains("1 labels, expected 400"),
            "{}",
            complaint()
        );
        fs::write(machine.join("train.csv"), "a,b\n1,2\n").unwrap();
        assert!(
            complaint().contains("2 columns in train, 3 in test"),
            "{}",
            complaint()
        );
        fs::remove_file(machine.join("train.csv")).unwrap();
        assert!(complaint().contains("train.csv"), "{}", complaint());
    }
}
