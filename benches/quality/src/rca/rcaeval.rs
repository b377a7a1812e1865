//! The layout of `RCAEval` (Pham et al., WWW 2025, arXiv 2412.17015): below any number of folders,
//! `<service>_<fault>/<run>/` with `inject_time.txt` (seconds) and the measurements, one of
//! `metrics.json`, `simple_metrics.csv`, `metrics.csv`, `simple_data.csv` and `data.csv`, perhaps with
//! `logs.csv` and `traces.csv`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use homeostasis::core::signal::{Level, LogRecord, SpanRecord, SpanStatus};
use homeostasis::core::{Target, Timestamp};
use homeostasis::rca::{Activity, EvidenceBundle, EvidenceSeries, SeriesKind, Worse};
use homeostasis::signals::TemplateMiner;
use serde_json::Value;

use super::case::{Case, Label};
use super::table::Table;
use super::{Options, folders, json, seconds, text};

const MINUTE: Duration = Duration::from_secs(60);

type Points = Vec<(Timestamp, f64)>;

/// Reads every run below `options.data`.
pub(crate) fn read(options: &Options) -> Result<Vec<Case>, Box<dyn Error>> {
    let mut cases = Vec::new();
    let mut open = vec![options.data.clone()];
    while let Some(folder) = open.pop() {
        if folder.join("inject_time.txt").is_file() {
            cases.push(case(options, &folder)?);
        } else {
            open.extend(folders(&folder)?);
        }
    }
    Ok(cases)
}

fn name(path: Option<&Path>) -> String {
    let name = path.and_then(Path::file_name);
    name.map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn case(options: &Options, run: &Path) -> Result<Case, Box<dyn Error>> {
    let wrong = |what: &str| format!("{}: expected {what}", run.display());
    let at = text(&run.join("inject_time.txt"))?;
    let at: f64 = at
        .trim()
        .parse()
        .map_err(|_| wrong("seconds in inject_time.txt"))?;
    let onset = options.shifted(seconds(at));
    let labelled = name(run.parent());
    let (service, fault) = labelled
        .rsplit_once('_')
        .ok_or_else(|| wrong("a folder <service>_<fault> around it"))?;
    let measured = measurements(run)?;
    let until = measured
        .values()
        .flatten()
        .map(|(at, _)| *at)
        .max()
        .unwrap_or(onset);
    let mut bundle = EvidenceBundle::new(onset, until.max(onset));
    for ((service, metric), mut points) in measured {
        points.sort_by_key(|(at, _)| *at);
        let split = points.partition_point(|(at, _)| *at < onset);
        let points_since = points.split_off(split);
        bundle.series.push(EvidenceSeries {
            service,
            callee: None,
            kind: SeriesKind::of_metric(&metric),
            worse: Worse::Up,
            metric,
            calm: points.iter().map(|(_, value)| *value).collect(),
            points: points_since,
        });
    }
    let (spans, lines) = (
        spans(&run.join("traces.csv"))?,
        lines(&run.join("logs.csv"))?,
    );
    for (from, activity) in by_minute(onset, spans, lines) {
        if from < onset {
            bundle.calm.push(activity);
        } else {
            bundle.slices.push(activity);
        }
    }
    Ok(Case {
        name: format!(
            "{}/{labelled}/{}",
            name(run.parent().and_then(Path::parent)),
            name(Some(run))
        ),
        // Every run is a system of its own: they were made independently.
        system: run.display().to_string(),
        bundle,
        cause: BTreeSet::from([service.to_owned()]),
        change: Label::Unknown,
        fault: fault.to_owned(),
    })
}

fn measurements(run: &Path) -> Result<BTreeMap<(String, String), Points>, Box<dyn Error>> {
    let mut found: BTreeMap<(String, String), Points> = BTreeMap::new();
    let names = [
        "simple_metrics.csv",
        "metrics.csv",
        "simple_data.csv",
        "data.csv",
    ];
    let table = names
        .iter()
        .map(|name| run.join(name))
        .find(|path| path.is_file());
    if let Some(path) = table {
        let table = Table::read(&path)?;
        let at = table.column("time")?;
        for (idx, column) in table.header.iter().enumerate() {
            let Some((service, metric)) = column.split_once('_') else {
                continue;
            };
            let rows = table.rows.iter();
            let points = rows.filter_map(|row| {
                Some((seconds(Table::number(row, at)?), Table::number(row, idx)?))
            });
            found.insert((service.to_owned(), metric.to_owned()), points.collect());
        }
        return Ok(found);
    }
    let path = run.join("metrics.json");
    if !path.is_file() {
        return Err(format!(
            "{}: expected metrics.json or one of {names:?}",
            run.display()
        )
        .into());
    }
    let all = json(&path)?;
    let services = all
        .as_object()
        .ok_or_else(|| format!("{}: expected services by name", path.display()))?;
    for (service, metrics) in services {
        for (metric, points) in metrics.as_object().into_iter().flatten() {
            let point = |point: &Value| {
                let number = |idx| {
                    let value: &Value = point.get(idx)?;
                    value.as_f64().or_else(|| value.as_str()?.parse().ok())
                };
                Some((seconds(number(0)?), number(1).filter(|it| it.is_finite())?))
            };
            let points = points.as_array().into_iter().flatten().filter_map(point);
            found.insert((service.clone(), metric.clone()), points.collect());
        }
    }
    Ok(found)
}

/// Seconds, milliseconds, microseconds or nanoseconds since the epoch, told by their size.
fn instant(text: &str) -> Option<Timestamp> {
    let value: f64 = text.trim().parse().ok()?;
    let unit = [1e17, 1e14, 1e11].into_iter().zip([1e9, 1e6, 1e3]);
    let unit = unit
        .into_iter()
        .find(|(least, _)| value > *least)
        .map_or(1.0, |(_, unit)| unit);
    Some(seconds(value / unit))
}

/// A number for an id of letters and digits: FNV-1a. Zero for none.
fn id(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn spans(path: &Path) -> Result<Vec<SpanRecord>, Box<dyn Error>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let table = Table::read(path)?;
    let columns = [
        "traceID",
        "spanID",
        "parentSpanID",
        "serviceName",
        "operationName",
        "startTime",
        "duration",
    ];
    let mut places = [0; 7];
    for (place, name) in places.iter_mut().zip(columns) {
        *place = table.column(name)?;
    }
    let [trace, span, parent, service, operation, start, took] = places;
    let status = table.column("statusCode").ok();
    let mut spans = Vec::new();
    for row in &table.rows {
        let field = |place: usize| row.get(place).map_or("", String::as_str);
        let (Some(at), Some(micros)) = (instant(field(start)), Table::number(row, took)) else {
            continue;
        };
        let took = Duration::try_from_secs_f64(micros / 1e6).unwrap_or_default();
        let mut record = SpanRecord::new(at, took, field(operation).to_owned());
        record.target = Target::service(field(service)).ok();
        record.trace = Some(field(trace).to_owned());
        record.span = id(field(span));
        record.parent = id(field(parent));
        let code: f64 = status
            .and_then(|place| Table::number(row, place))
            .unwrap_or_default();
        if code >= 500.0 {
            record.status = SpanStatus::Error;
        }
        spans.push(record);
    }
    Ok(spans)
}

fn lines(path: &Path) -> Result<Vec<LogRecord>, Box<dyn Error>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let table = Table::read(path)?;
    let at = table.column("timestamp")?;
    let (service, message) = (table.column("container_name")?, table.column("message")?);
    let mut miner = TemplateMiner::new();
    let mut lines = Vec::new();
    for row in &table.rows {
        let field = |place: usize| row.get(place).map_or("", String::as_str);
        let Some(at) = instant(field(at)) else {
            continue;
        };
        let said = field(message)
            .split_whitespace()
            .find_map(|word| word.parse().ok());
        let mut record = LogRecord::new(at, said.unwrap_or(Level::Info), field(message));
        record.target = Target::service(field(service)).ok();
        record.template = Some(miner.template(&record.message));
        lines.push(record);
    }
    Ok(lines)
}

/// Spans and lines by minutes before and after the onset.
fn by_minute(
    onset: Timestamp,
    spans: Vec<SpanRecord>,
    lines: Vec<LogRecord>,
) -> Vec<(Timestamp, Activity)> {
    let place = |at: Timestamp| {
        let nanos = at.as_nanos().saturating_sub(onset.as_nanos());
        nanos.div_euclid(60_000_000_000)
    };
    let mut parts: BTreeMap<i64, (Vec<SpanRecord>, Vec<LogRecord>)> = BTreeMap::new();
    for span in spans {
        parts.entry(place(span.at)).or_default().0.push(span);
    }
    for line in lines {
        parts.entry(place(line.at)).or_default().1.push(line);
    }
    let part = |(place, (spans, lines)): (i64, (Vec<SpanRecord>, Vec<LogRecord>))| {
        let from = Timestamp::from_nanos(
            onset
                .as_nanos()
                .saturating_add(place.saturating_mul(60_000_000_000)),
        );
        (from, Activity::of(from, from + MINUTE, &spans, &lines))
    };
    parts.into_iter().map(part).collect()
}
