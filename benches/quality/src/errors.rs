//! How well the shipped rules and the shipped classifier name the category of errors that were
//! really raised, and how fast.
//!
//! It reads JSON lines (`*.jsonl`) of `id`, `language`, `text` and `category`; other fields do not
//! matter. Each text goes the way of the furnished pipeline: the normalizer makes an error of it,
//! and rules and classifier vote on its category. No answer is wrong. What the rule of first
//! priority and what the classifier say alone is told beside.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use homeostasis::core::Timestamp;
use homeostasis::core::record::Category;
use homeostasis::core::signal::{Level, LogRecord};
use homeostasis::rca::{ErrorText, HybridClassifier};
use homeostasis::signals::ErrorNormalizer;
use serde::Deserialize;
use serde_json::{Value, json};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) data: PathBuf,
    /// Whether what is wrong is told, row by row.
    pub(crate) verbose: bool,
}

/// An answer at least this sure is given with high confidence.
const HIGH_CONFIDENCE: f64 = 0.8;

/// At least so many errors are timed in each round, of which the best counts: others on the machine
/// only slow it down.
const TIMED_ERRORS: usize = if cfg!(test) { 10 } else { 100_000 };
const ROUNDS: usize = 5;

/// One labelled error.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    language: String,
    text: String,
    category: Category,
}

/// What was said of one row.
#[derive(Debug)]
struct Answer {
    truth: Category,
    said: Option<Category>,
    confidence: f64,
}

/// Runs the suite.
#[expect(clippy::print_stderr, reason = "people look at what is wrong")]
pub(crate) fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let rows = read(&options.data)?;
    let hybrid = HybridClassifier::shipped()?;
    let normalizer = ErrorNormalizer::default();
    let records: Vec<LogRecord> = rows.iter().map(|row| record(row, &normalizer)).collect();
    let (mut answers, mut by_rules, mut by_classifier) = (Vec::new(), Vec::new(), Vec::new());
    for (row, record) in rows.iter().zip(&records) {
        let text = text(row, record);
        let best = hybrid.rules().best(&text);
        let answer_of = |said: Option<(Category, f64)>| Answer {
            truth: row.category,
            said: said.map(|(category, _)| category),
            confidence: said.map_or(0.0, |(_, confidence)| confidence),
        };
        let of_rule = best.map(|found| (found.rule.category, found.rule.confidence.get()));
        by_rules.push(answer_of(of_rule));
        by_classifier.push(answer_of(hybrid.classifier().answer(&text)));
        let of_both = hybrid.answer(&text);
        let answer = answer_of(of_both.map(|found| (found.category, found.confidence)));
        if options.verbose && answer.said != Some(answer.truth) {
            let said = answer
                .said
                .map_or("nothing".to_owned(), |said| said.to_string());
            let rule = best.map_or("no rule", |found| &found.rule.id);
            let id = &row.id;
            eprintln!("{id}: {said} ({rule}), but it is {}", row.category);
        }
        answers.push(answer);
    }
    let mut report = score(&answers);
    report["suite"] = json!("errors");
    report["rules"] = json!(hybrid.rules().rules().len());
    report["rules_alone"] = score(&by_rules);
    report["classifier_alone"] = score(&by_classifier);
    report["errors_per_second"] = json!(speed(&rows, &records, &hybrid));
    Ok(report)
}

fn record(row: &Row, normalizer: &ErrorNormalizer) -> LogRecord {
    let mut record = LogRecord::new(Timestamp::EPOCH, Level::Error, row.text.clone());
    record.error = normalizer.parse(&row.text).map(Box::new);
    record
}

/// The language of the row counts where the normalizer found none.
fn text(row: &Row, record: &LogRecord) -> ErrorText {
    let text = ErrorText::of_record(record);
    if text.language().is_empty() {
        text.in_language(row.language.clone())
    } else {
        text
    }
}

fn score(answers: &[Answer]) -> Value {
    let share = |n: usize, of: usize| if of == 0 { 0.0 } else { n as f64 / of as f64 };
    let is_right = |answer: &&Answer| answer.said == Some(answer.truth);
    let sure = || {
        answers
            .iter()
            .filter(|answer| answer.confidence >= HIGH_CONFIDENCE)
    };
    let said = answers.iter().filter_map(|answer| answer.said);
    let categories: BTreeMap<String, Category> = answers
        .iter()
        .map(|answer| answer.truth)
        .chain(said)
        .map(|category| (category.to_string(), category))
        .collect();
    let mut by_category = serde_json::Map::new();
    let mut f1_sum = 0.0;
    for (name, category) in &categories {
        let n_true = answers.iter().filter(|a| a.truth == *category).count();
        let n_said = answers.iter().filter(|a| a.said == Some(*category)).count();
        let n_right = answers
            .iter()
            .filter(|a| a.truth == *category)
            .filter(is_right)
            .count();
        // Twice the right ones over all that are true and all that are said.
        let f1 = share(2 * n_right, n_true + n_said);
        f1_sum += f1;
        let of_category = json!({"rows": n_true, "said": n_said, "right": n_right, "f1": f1});
        by_category.insert(name.clone(), of_category);
    }
    json!({
        "rows": answers.len(),
        "accuracy": share(answers.iter().filter(is_right).count(), answers.len()),
        "macro_f1": f1_sum / categories.len().max(1) as f64,
        "abstained": answers.iter().filter(|answer| answer.said.is_none()).count(),
        "sure": sure().count(),
        "precision_when_sure": share(sure().filter(is_right).count(), sure().count()),
        "by_category": by_category,
    })
}

/// Errors a second on one core: reading a record as rules do, and what rules and classifier say.
fn speed(rows: &[Row], records: &[LogRecord], hybrid: &HybridClassifier) -> f64 {
    let rounds_of_rows = TIMED_ERRORS.div_ceil(rows.len().max(1));
    let mut best = 0.0_f64;
    for _ in 0..ROUNDS {
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
        let start = Instant::now();
        for _ in 0..rounds_of_rows {
            for (row, record) in rows.iter().zip(records) {
                black_box(hybrid.answer(&text(row, record)).is_some());
            }
        }
        let seconds = start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        best = best.max((rounds_of_rows * rows.len()) as f64 / seconds);
    }
    best
}

/// The rows of all files in the folder, in the order of their names; no id may come twice.
fn read(folder: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let wrong = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let entries = std::fs::read_dir(folder).map_err(|error| wrong(folder, &error))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut files = paths.collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    files.sort();
    let mut rows = Vec::new();
    let mut ids = BTreeSet::new();
    for file in &files {
        let text = std::fs::read_to_string(file).map_err(|error| wrong(file, &error))?;
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let place = || format!("{}:{}", file.display(), number + 1);
            let row: Row = serde_json::from_str(line)
                .map_err(|error| format!("{}: {error}, expected a labelled error", place()))?;
            if !ids.insert(row.id.clone()) {
                let id = &row.id;
                return Err(
                    format!("{}: id = {id:?}, expected one that no other has", place()).into(),
                );
            }
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return Err(wrong(folder, &"no row in it, expected *.jsonl of labelled errors").into());
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = r#"{"id":"a","language":"rust","text":"thread 'main' panicked at src/a.rs:1:2:\nindex out of bounds: the len is 3 but the index is 7","category":"application_error","note":"x"}
{"id":"b","language":"rust","text":"Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }","category":"network"}

{"id":"c","language":"go","text":"nothing that any rule knows","category":"unknown"}
"#;

    fn folder(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rows.jsonl"), text).unwrap();
        folder
    }

    fn said(folder: &Path) -> Result<Value, String> {
        let options = Options {
            data: folder.to_owned(),
            verbose: false,
        };
        run(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn no_answer_is_wrong_and_every_category_counts_alike() {
        let report = said(folder(ROWS).path()).unwrap();
        assert_eq!(report["rows"], 3);
        let rules = &report["rules_alone"];
        assert_eq!(rules["abstained"], 1);
        assert_eq!(rules["accuracy"], 2.0 / 3.0);
        assert_eq!(rules["macro_f1"], 2.0 / 3.0);
        assert_eq!(rules["precision_when_sure"], 1.0);
        assert!(report["accuracy"].as_f64().unwrap() >= 2.0 / 3.0);
        assert!(report["errors_per_second"].as_f64().unwrap() > 0.0);
    }

    #[test]
    fn the_score_counts_what_is_said_wrongly_against_both_categories() {
        use Category::{Network, Security};
        let answer = |truth, said, confidence| Answer {
            truth,
            said,
            confidence,
        };
        let report = score(&[
            answer(Network, Some(Network), 0.9),
            answer(Network, Some(Security), 0.9),
            answer(Security, Some(Security), 0.7),
        ]);
        assert_eq!(report["by_category"]["network"]["f1"], 2.0 / 3.0);
        assert_eq!(report["by_category"]["security"]["f1"], 2.0 / 3.0);
        assert_eq!(report["sure"], 2);
        assert_eq!(report["precision_when_sure"], 0.5);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let wrong = ROWS.replace("network", "netwrk");
        let error = said(folder(&wrong).path()).unwrap_err();
        assert!(
            error.contains("rows.jsonl:2: unknown variant `netwrk`"),
            "{error}"
        );
        let twice = said(folder(&ROWS.replace("\"b\"", "\"a\"")).path()).unwrap_err();
        assert!(twice.contains("rows.jsonl:2: id = \"a\""), "{twice}");
        let empty = tempfile::tempdir().unwrap();
        assert!(said(empty.path()).unwrap_err().contains("no row in it"));
        assert!(
            said(Path::new("/nowhere at all"))
                .unwrap_err()
                .contains("/nowhere at all")
        );
    }
}
