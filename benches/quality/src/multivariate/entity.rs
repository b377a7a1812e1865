//! One component of a multivariate data set, as it is published.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// A component with what was recorded before and after detection began.
#[derive(Debug)]
pub(super) struct Entity {
    /// `asd/app-1`.
    pub(super) name: String,
    /// Values of a row.
    pub(super) width: usize,
    pub(super) train: Vec<f64>,
    pub(super) test: Vec<f64>,
    /// For each row of `test` whether it is anomalous.
    pub(super) labels: Vec<bool>,
    /// Which features made which rows anomalous, where that is known.
    pub(super) causes: Vec<Cause>,
    /// Between rows, in seconds.
    pub(super) interval_secs: u32,
}

/// Rows that people explained.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) first_row: usize,
    pub(super) last_row: usize,
    /// Counted from 0.
    pub(super) features: Vec<usize>,
}

/// Every folder with a test file in `data`, or in a folder of it, in the order of their paths.
pub(super) fn find(data: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for folder in folders(data)? {
        if has_test(&folder) {
            found.push(folder);
        } else {
            found.extend(
                folders(&folder)?
                    .into_iter()
                    .filter(|folder| has_test(folder)),
            );
        }
    }
    if found.is_empty() {
        return Err(format!("{}: expected <entity>/test.csv.gz", data.display()).into());
    }
    found.sort();
    Ok(found)
}

fn has_test(folder: &Path) -> bool {
    ["test.csv.gz", "test.csv"]
        .iter()
        .any(|name| folder.join(name).is_file())
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// Reads the entity in `folder`, whose name begins below `data`.
pub(super) fn read(data: &Path, folder: &Path) -> Result<Entity, Box<dyn Error>> {
    let (train_width, train) = table(folder, "train")?;
    let (width, test) = table(folder, "test")?;
    if train_width != width {
        let folder = folder.display();
        return Err(format!("{folder}: {train_width} columns in train, {width} in test").into());
    }
    let (_, labels) = table(folder, "test_label")?;
    let n_rows = test.len() / width;
    if labels.len() != n_rows {
        let (folder, n_labels) = (folder.display(), labels.len());
        return Err(format!("{folder}: {n_labels} labels, expected {n_rows}").into());
    }
    let name = folder
        .strip_prefix(data)
        .unwrap_or(folder)
        .display()
        .to_string();
    Ok(Entity {
        // Application servers were recorded every five minutes, server machines every minute.
        interval_secs: if name.starts_with("asd") || name.starts_with("app") {
            300
        } else {
            60
        },
        name,
        width,
        train,
        test,
        labels: labels.into_iter().map(|label| label != 0.0).collect(),
        causes: causes(&folder.join("interpretation_label.txt"), width, n_rows)?,
    })
}

/// The width and the values of `name.csv.gz` or `name.csv`, below its line of names.
fn table(folder: &Path, name: &str) -> Result<(usize, Vec<f64>), Box<dyn Error>> {
    let packed = folder.join(format!("{name}.csv.gz"));
    let (path, text) = if packed.is_file() {
        let mut text = String::new();
        let read = GzDecoder::new(fs::File::open(&packed)?).read_to_string(&mut text);
        read.map_err(|error| format!("{}: {error}", packed.display()))?;
        (packed, text)
    } else {
        let path = folder.join(format!("{name}.csv"));
        let text = fs::read_to_string(&path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        (path, text)
    };
    let mut lines = text.lines().enumerate();
    let width = lines
        .next()
        .map_or(0, |(_, names)| names.split(',').count());
    let mut values = Vec::new();
    for (at, line) in lines {
        let before = values.len();
        for field in line.split(',') {
            let field = field.trim();
            let value = if field.is_empty() {
                Ok(f64::NAN)
            } else {
                field.parse()
            };
            let place = || format!("{}:{}", path.display(), at + 1);
            values.push(value.map_err(|_| format!("{}: {field:?}, expected a number", place()))?);
        }
        if values.len() - before != width {
            let (path, found) = (path.display(), values.len() - before);
            return Err(format!("{path}:{}: {found} values, expected {width}", at + 1).into());
        }
    }
    if values.is_empty() {
        return Err(format!("{}: expected names and rows", path.display()).into());
    }
    Ok((width, values))
}

/// Lines of `first-last:feature,feature`, with rows counted from 0 and features from 1; none without the file.
/// ASD counts the last row in, SMD does not: who reads them looks at labelled rows only.
fn causes(path: &Path, width: usize, n_rows: usize) -> Result<Vec<Cause>, Box<dyn Error>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path)?;
    let mut causes = Vec::new();
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let cause = cause(line).filter(|cause| {
            let in_width = |feature: &usize| *feature < width;
            cause.last_row <= n_rows && cause.features.iter().all(in_width)
        });
        causes.push(cause.ok_or_else(|| {
            format!(
                "{}:{}: {line:?}, expected FROM-TO:FEATURE,.. with rows up to {n_rows} and features 1 to {width}",
                path.display(),
                at + 1
            )
        })?);
    }
    Ok(causes)
}

fn cause(line: &str) -> Option<Cause> {
    let (rows, features) = line.trim().split_once(':')?;
    let (first, last) = rows.split_once('-')?;
    let feature = |text: &str| text.trim().parse::<usize>().ok()?.checked_sub(1);
    let features: Option<Vec<usize>> = features.split(',').map(feature).collect();
    let cause = Cause {
        first_row: first.parse().ok()?,
        last_row: last.parse().ok()?,
        features: features?,
    };
    (cause.first_row <= cause.last_row).then_some(cause)
}
