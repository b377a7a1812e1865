//! The layout of `RootCauseBench` (Edge Delta): `<scenario>/environment/data/` with `alert.json`,
//! `logs.ndjson`, `metrics.csv`, `traces.json`, `context/{commits,deploys,flags}.json`. What is true
//! is in `<scenario>/tests/ground_truth.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use homeostasis::core::signal::{Level, LogRecord, SpanRecord, SpanStatus};
use homeostasis::core::{Target, Timestamp};
use homeostasis::rca::{
    Activity, Alarm, EvidenceBundle, EvidenceChange, EvidenceSeries, SeriesKind, Worse, onset_of,
};
use homeostasis::signals::TemplateMiner;
use serde_json::Value;

use super::case::{Case, Label};
use super::table::Table;
use super::{Options, folders, json, text};

/// Without a series of the alert, an incident is thought to begin so long before it.
const BEFORE_ALERT: Duration = Duration::from_secs(600);

/// Reads every scenario below `options.data`.
pub(crate) fn read(options: &Options) -> Result<Vec<Case>, Box<dyn Error>> {
    let mut cases = Vec::new();
    for scenario in folders(&options.data)? {
        if scenario.join("environment").is_dir() {
            cases.push(case(options, &scenario)?);
        }
    }
    Ok(cases)
}

fn case(options: &Options, scenario: &Path) -> Result<Case, Box<dyn Error>> {
    let data = scenario.join("environment").join("data");
    let truth = json(&scenario.join("tests").join("ground_truth.json"))?;
    let alert = json(&data.join("alert.json"))?;
    let wrong = |what: &str| format!("{}: expected {what}", scenario.display());
    let of = |from: &Value, name: &str| {
        let found = from.get(name).and_then(Value::as_str);
        found.map(str::to_owned).ok_or_else(|| wrong(name))
    };
    let fired: Timestamp = of(&alert, "fired_at")?.parse()?;
    let alarm = Alarm {
        service: of(&alert, "service")?,
        metric: of(&alert, "metric")?,
        at: fired,
    };
    let metrics = metrics(&data.join("metrics.csv"))?;
    let alarmed = metrics.get(&(alarm.service.clone(), alarm.metric.clone()));
    let onset = alarmed.and_then(|points| onset_of(points, fired));
    let onset = options.shifted(onset.unwrap_or(fired - BEFORE_ALERT));
    let logs = logs(&data.join("logs.ndjson"))?;
    let spans = spans(&json(&data.join("traces.json"))?);
    let until = metrics
        .values()
        .flatten()
        .map(|(at, _)| *at)
        .chain(logs.iter().map(|log| log.at))
        .max();
    let until = until.unwrap_or(fired).max(onset);
    let mut bundle = EvidenceBundle::new(onset, until);
    for ((service, metric), points) in metrics {
        let calm = points
            .iter()
            .filter(|(at, _)| *at < onset)
            .map(|(_, value)| *value);
        bundle.series.push(EvidenceSeries {
            kind: SeriesKind::of_metric(&metric),
            worse: Worse::Either,
            callee: None,
            calm: calm.collect(),
            points: points.into_iter().filter(|(at, _)| *at >= onset).collect(),
            service,
            metric,
        });
    }
    let during = |at: Timestamp| at >= onset;
    let (now, before): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| during(span.at));
    let (lines, earlier): (Vec<_>, Vec<_>) = logs.into_iter().partition(|log| during(log.at));
    let first = earlier.iter().map(|log| log.at).min().unwrap_or(onset);
    bundle.slices.push(Activity::of(onset, until, &now, &lines));
    bundle
        .calm
        .push(Activity::of(first, onset, &before, &earlier));
    bundle.changes = changes(&data.join("context"))?;
    bundle.alarm = Some(alarm);
    let commit = of(&truth, "root_cause_commit")?;
    Ok(Case {
        name: scenario
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        // Every scenario is a system of its own.
        system: scenario.display().to_string(),
        bundle,
        cause: BTreeSet::from([of(&truth, "first_failing_service")?]),
        change: if commit == "none" {
            Label::NoChange
        } else {
            Label::Change(commit)
        },
        fault: String::new(),
    })
}

type Points = Vec<(Timestamp, f64)>;

fn metrics(path: &Path) -> Result<BTreeMap<(String, String), Points>, Box<dyn Error>> {
    let table = Table::read(path)?;
    let (at, service) = (table.column("timestamp")?, table.column("service")?);
    let (metric, value) = (table.column("metric")?, table.column("value")?);
    let mut metrics: BTreeMap<(String, String), Points> = BTreeMap::new();
    for row in &table.rows {
        let (Some(when), Some(number)) = (row.get(at), Table::number(row, value)) else {
            continue;
        };
        let key = (row[service].clone(), row[metric].clone());
        metrics
            .entry(key)
            .or_default()
            .push((when.parse()?, number));
    }
    for points in metrics.values_mut() {
        points.sort_by_key(|(at, _)| *at);
    }
    Ok(metrics)
}

fn logs(path: &Path) -> Result<Vec<LogRecord>, Box<dyn Error>> {
    let mut miner = TemplateMiner::new();
    let mut records = Vec::new();
    for (idx, line) in text(path)?
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let wrong = |what: &str| format!("{}, line {}: expected {what}", path.display(), idx + 1);
        let value: Value = serde_json::from_str(line).map_err(|error| wrong(&error.to_string()))?;
        let of = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let level = of("severity_text").parse().unwrap_or(Level::Info);
        let at = of("timestamp").parse().map_err(|_| wrong("a timestamp"))?;
        let mut record = LogRecord::new(at, level, of("msg"));
        record.target = Target::service(of("service")).ok();
        record.correlation = Some(of("trace_id").to_owned());
        record.template = Some(miner.template(&record.message));
        records.push(record);
    }
    Ok(records)
}

fn spans(traces: &Value) -> Vec<SpanRecord> {
    let mut spans = Vec::new();
    for span in traces.as_array().into_iter().flatten() {
        let of = |name: &str| span.get(name).and_then(Value::as_str).unwrap_or_default();
        let (Ok(at), trace) = (of("start").parse(), of("trace_id")) else {
            continue;
        };
        let ms = span
            .get("duration_ms")
            .and_then(Value::as_f64)
            .unwrap_or_default();
        let took = Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default();
        let mut record = SpanRecord::new(at, took, of("name").to_owned());
        record.target = Target::service(of("service")).ok();
        record.trace = Some(trace.to_owned());
        record.span = id(trace, of("span_id"));
        record.parent = id(trace, of("parent_id"));
        if of("status") == "ERROR" {
            record.status = SpanStatus::Error;
        }
        spans.push(record);
    }
    spans
}

/// A number for a span: its ids are unique only within the trace. Zero for no id. (FNV-1a.)
fn id(trace: &str, span: &str) -> u64 {
    if span.is_empty() {
        return 0;
    }
    let bytes = trace.bytes().chain([b'/']).chain(span.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Commits that were deployed, and flags.
fn changes(context: &Path) -> Result<Vec<EvidenceChange>, Box<dyn Error>> {
    let list = |name: &str| -> Result<Vec<Value>, Box<dyn Error>> {
        let path = context.join(name);
        let found = if path.is_file() {
            json(&path)?
        } else {
            Value::Null
        };
        Ok(found.as_array().cloned().unwrap_or_default())
    };
    let of = |from: &Value, name: &str| {
        from.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let commits = list("commits.json")?;
    let mut changes = Vec::new();
    for deploy in list("deploys.json")? {
        let id = of(&deploy, "commit_sha");
        let commit = commits.iter().find(|commit| of(commit, "sha") == id);
        let commit = commit.cloned().unwrap_or_default();
        let files = commit.get("files_changed").and_then(Value::as_array);
        changes.push(EvidenceChange {
            id,
            at: of(&deploy, "timestamp").parse()?,
            service: of(&deploy, "service"),
            summary: of(&commit, "message"),
            files: files
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            diff: of(&commit, "diff"),
        });
    }
    for flag in list("flags.json")? {
        changes.push(EvidenceChange {
            id: of(&flag, "flag"),
            at: of(&flag, "timestamp").parse()?,
            service: of(&flag, "service"),
            summary: of(&flag, "change"),
            files: Vec::new(),
            diff: String::new(),
        });
    }
    changes.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(changes)
}
