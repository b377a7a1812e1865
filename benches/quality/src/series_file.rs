//! Series in CSV files: a time, a value and perhaps a label in each row.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use homeostasis::core::Timestamp;

/// A series as its file has it.
#[derive(Debug, Default)]
pub(crate) struct SeriesFile {
    /// The times as they are written.
    pub(crate) times: Vec<String>,
    pub(crate) samples: Vec<(Timestamp, Option<f64>)>,
    /// Empty if the file has no labels.
    pub(crate) labels: Vec<bool>,
}

/// Reads a file with the columns `timestamp`, `value` and perhaps `label`, in any case and order.
/// Times without a zone are UTC, and an empty value is a missing one.
pub(crate) fn read(path: &Path) -> Result<SeriesFile, Box<dyn Error>> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut lines = text.lines().enumerate();
    let header: Vec<String> = lines
        .next()
        .map(|(_, line)| fields(line).map(str::to_lowercase).collect())
        .unwrap_or_default();
    let column = |name: &str| header.iter().position(|field| field == name);
    let (Some(time), Some(value)) = (column("timestamp"), column("value")) else {
        let message = "expected a header with timestamp and value";
        return Err(format!("{}: {header:?}, {message}", path.display()).into());
    };
    let label = column("label");
    let mut file = SeriesFile::default();
    for (i, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let row: Vec<&str> = fields(line).collect();
        let wrong = |what: &str, text: &str| {
            format!(
                "{}, line {}: {text:?}, expected {what}",
                path.display(),
                i + 1
            )
        };
        let get = |column: usize, what| row.get(column).copied().ok_or_else(|| wrong(what, line));
        let at = get(time, "a time")?;
        let parsed = format!("{}Z", at.trim_end_matches('Z').replace(' ', "T")).parse();
        let parsed: Timestamp = parsed.map_err(|_| wrong("a time like 2014-02-14 14:30:00", at))?;
        let number = match get(value, "a value")? {
            "" => None,
            text => Some(text.parse::<f64>().map_err(|_| wrong("a number", text))?),
        };
        if let Some(label) = label {
            file.labels.push(match get(label, "a label")? {
                "0" | "0.0" => false,
                "1" | "1.0" => true,
                text => return Err(wrong("a label of 0 or 1", text).into()),
            });
        }
        file.times.push(at.to_owned());
        let number = number.filter(|number| number.is_finite());
        file.samples.push((parsed, number));
    }
    Ok(file)
}

fn fields(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|field| field.trim().trim_matches('"'))
}

/// The paths `<folder>/<file>.csv` below a folder, in order, relative to it.
pub(crate) fn in_folders(root: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = |folder: &Path| -> Result<Vec<PathBuf>, Box<dyn Error>> {
        let read = std::fs::read_dir(folder);
        let read = read.map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut paths = read
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()?;
        paths.sort();
        Ok(paths)
    };
    let mut found = Vec::new();
    for folder in entries(root)?.iter().filter(|path| path.is_dir()) {
        for path in entries(folder)? {
            if path.extension().is_some_and(|end| end == "csv") {
                found.push(path.strip_prefix(root)?.to_owned());
            }
        }
    }
    if found.is_empty() {
        return Err(format!("{}: expected <folder>/<series>.csv", root.display()).into());
    }
    Ok(found)
}

/// Writes `timestamp,value,anomaly_score`, one row for each sample.
pub(crate) fn write(path: &Path, file: &SeriesFile, scores: &[f64]) -> Result<(), Box<dyn Error>> {
    let mut text = String::from("timestamp,value,anomaly_score\n");
    for ((time, (_, value)), score) in file.times.iter().zip(&file.samples).zip(scores) {
        let value = value.map(|value| value.to_string()).unwrap_or_default();
        writeln!(text, "{time},{value},{score}")?;
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// What `work` gives, and the shortest time it took of three.
pub(crate) fn timed<T>(mut work: impl FnMut() -> T) -> (T, Duration) {
    let mut once = || {
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
        let began = Instant::now();
        let result = work();
        (result, began.elapsed())
    };
    let (_, first) = once();
    let (_, second) = once();
    let (result, third) = once();
    (result, first.min(second).min(third))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_whatever_the_order_of_their_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let text =
            "Value,\"TimeStamp\",Label\n1.5,2018-07-03 14:00:00,0\n,\"2018-07-03T15:00:00Z\",1\n";
        std::fs::write(&path, text).unwrap();
        let file = read(&path).unwrap();
        let at = Timestamp::from_secs(1_530_626_400);
        assert_eq!(file.samples[0], (at, Some(1.5)));
        assert_eq!(file.samples[1].1, None);
        assert_eq!(file.labels, [false, true]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        for (text, named) in [
            ("time,value\n", "header"),
            ("timestamp,value\nsoon,1\n", "line 2: \"soon\""),
            ("timestamp,value\n2018-07-03 14:00:00,one\n", "\"one\""),
            ("timestamp,value,label\n2018-07-03 14:00:00,1,2\n", "\"2\""),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("a.csv") && error.contains(named), "{error}");
        }
        assert!(read(&folder.path().join("b.csv")).is_err());
        assert!(
            in_folders(folder.path())
                .unwrap_err()
                .to_string()
                .contains("expected")
        );
    }
}
