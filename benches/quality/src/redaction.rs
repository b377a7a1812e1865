//! How often redaction is wrong, and how fast it is, on logs that hold no secrets.
//!
//! It reads the layout of loghub: one folder for each system, with `<System>_2k.log` in it. Every
//! line that is redacted is said on standard error, so that people can judge it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use homeostasis::core::port::Redactor;
use homeostasis::signals::SecretRedactor;
use serde_json::{Value, json};

/// At least this many bytes are timed.
const TIMED_BYTES: usize = 64 * 1024 * 1024;

/// Reads every log below `data`, redacts it line by line, and gives the report.
#[expect(
    clippy::print_stderr,
    reason = "people judge each line that is redacted"
)]
pub(crate) fn run(data: &Path) -> Result<Value, Box<dyn Error>> {
    let redactor = SecretRedactor::default();
    let (mut n_lines, mut n_redacted) = (0_usize, 0_usize);
    let mut by_kind = BTreeMap::<String, usize>::new();
    let mut systems = serde_json::Map::new();
    let mut clean = String::new();
    for log in logs(data)? {
        let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        let mut redacted_here = 0;
        for line in text.lines() {
            match redactor.text(line) {
                Cow::Borrowed(_) => {
                    clean.push_str(line);
                    clean.push('\n');
                }
                Cow::Owned(redacted) => {
                    eprintln!("{}: {redacted}", log.display());
                    redacted_here += 1;
                    for kind in kinds_in(&redacted) {
                        *by_kind.entry(kind.to_owned()).or_default() += 1;
                    }
                }
            }
            n_lines += 1;
        }
        n_redacted += redacted_here;
        let name = log.parent().and_then(Path::file_name).unwrap_or_default();
        let n_lines = text.lines().count();
        systems.insert(
            name.to_string_lossy().into_owned(),
            json!({ "lines": n_lines, "redacted": redacted_here }),
        );
    }
    if n_lines == 0 {
        return Err(format!("{}: expected <System>/<System>_2k.log", data.display()).into());
    }
    Ok(json!({
        "suite": "redaction",
        "lines": n_lines,
        "redacted_lines": n_redacted,
        "rate": n_redacted as f64 / n_lines as f64,
        "by_kind": by_kind,
        "by_system": systems,
        "mb_per_second": speed(&redactor, &clean),
    }))
}

/// The logs, in the order of their paths.
fn logs(data: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut logs = Vec::new();
    let entries =
        std::fs::read_dir(data).map_err(|error| format!("{}: {error}", data.display()))?;
    for entry in entries {
        let folder = entry?.path();
        if let Some(system) = folder.file_name() {
            let log = folder.join(format!("{}_2k.log", system.to_string_lossy()));
            if log.is_file() {
                logs.push(log);
            }
        }
    }
    logs.sort();
    Ok(logs)
}

fn kinds_in(redacted: &str) -> impl Iterator<Item = &str> {
    redacted
        .split("[redacted:")
        .skip(1)
        .filter_map(|rest| rest.split_once(']').map(|(kind, _)| kind))
}

/// Megabytes (10^6 bytes) a second over the lines that stay as they are.
fn speed(redactor: &SecretRedactor, clean: &str) -> f64 {
    let rounds = TIMED_BYTES / clean.len().max(1) + 1;
    let began = now();
    for _ in 0..rounds {
        for line in clean.lines() {
            std::hint::black_box(redactor.text(line));
        }
    }
    (rounds * clean.len()) as f64 / began.elapsed().as_secs_f64() / 1e6
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_kinds_named() {
        let folder = tempfile::tempdir().unwrap();
        let system = folder.path().join("Shop");
        std::fs::create_dir(&system).unwrap();
        let text = "all is well\npassword=swordfish token=k7Qabc99x8\nall is well\n";
        std::fs::write(system.join("Shop_2k.log"), text).unwrap();
        let report = run(folder.path()).unwrap();
        assert_eq!(report["lines"], 3);
        assert_eq!(report["redacted_lines"], 1);
        assert_eq!(report["by_kind"], json!({ "password": 1, "token": 1 }));
        assert_eq!(report["by_system"]["Shop"]["redacted"], 1);
        assert!(report["mb_per_second"].as_f64().unwrap() > 0.0);
        assert!(run(&system).unwrap_err().to_string().contains("expected"));
    }
}
