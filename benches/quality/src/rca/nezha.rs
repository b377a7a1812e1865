//! The layout of Nezha (Yu et al., "Nezha: interpretable fine-grained root causes analysis for
//! microservices on multi-modal observability data", FSE 2023): `rca_data/<date>/<date>-fault_list.json`
//! with `metric/<pod>_metric.csv`, and for every minute of a fault `log/HH_MM_log.csv` and
//! `trace/HH_MM_trace.csv`; `construct_data/<date>` has minutes without a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use homeostasis::core::signal::{Level, LogRecord, SpanRecord};
use homeostasis::core::{Target, Timestamp};
use homeostasis::rca::{Activity, EvidenceBundle, EvidenceSeries, SeriesKind, Worse};
use homeostasis::signals::TemplateMiner;
use serde_json::Value;

use super::case::{Case, Label};
use super::table::Table;
use super::{Options, entries, folders, json};

const MINUTE: Duration = Duration::from_secs(60);

/// So long after its onset an incident is looked at, and its values are no calm.
const LASTS: Duration = Duration::from_secs(4 * 60);

/// Reads all days below `options.data`, which holds `rca_data` and `construct_data`.
pub(crate) fn read(options: &Options) -> Result<Vec<Case>, Box<dyn Error>> {
    let mut cases = Vec::new();
    for day in folders(&options.data.join("rca_data"))? {
        cases.extend(Day::read(options, &day)?.cases(options));
    }
    Ok(cases)
}

struct Fault {
    at: Timestamp,
    pod: String,
    kind: String,
}

struct Metric {
    service: String,
    callee: Option<String>,
    name: String,
    points: Vec<(Timestamp, f64)>,
}

struct Day {
    date: String,
    faults: Vec<Fault>,
    metrics: Vec<Metric>,
    /// What was logged and traced, by minute.
    minutes: BTreeMap<Timestamp, Activity>,
    /// Minutes without a fault.
    calm: Vec<Activity>,
}

impl Day {
    fn read(options: &Options, day: &Path) -> Result<Self, Box<dyn Error>> {
        let date = day
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let faults =
            faults(&json(&day.join(format!("{date}-fault_list.json")))?).ok_or_else(|| {
                format!(
                    "{}: the fault list, expected inject_time, inject_pod, inject_type",
                    day.display()
                )
            })?;
        let mut miner = TemplateMiner::new();
        let calm_day = options.data.join("construct_data").join(&date);
        let calm = if calm_day.is_dir() {
            minutes(&calm_day, &date, &mut miner)?
                .into_values()
                .collect()
        } else {
            Vec::new()
        };
        Ok(Self {
            faults,
            metrics: metrics(&day.join("metric"))?,
            minutes: minutes(day, &date, &mut miner)?,
            calm,
            date,
        })
    }

    fn cases(&self, options: &Options) -> Vec<Case> {
        let mut cases = Vec::new();
        for fault in &self.faults {
            let onset = options.shifted(fault.at);
            let until = fault.at + LASTS;
            let mut bundle = EvidenceBundle::new(onset, until);
            // Files are named by the minute; what is in one is attributed to it.
            let minute = floor(fault.at);
            bundle.slices = self
                .minutes
                .range(minute..minute + 3 * MINUTE)
                .map(|(_, it)| it.clone())
                .collect();
            bundle.calm.clone_from(&self.calm);
            if options.past_only {
                bundle.calm.retain(|calm| calm.to <= onset);
            }
            let disturbed: Vec<Timestamp> = self.faults.iter().map(|it| it.at).collect();
            for metric in &self.metrics {
                let is_calm = |at: Timestamp| {
                    let earlier = disturbed
                        .iter()
                        .filter(|began| !options.past_only || **began < onset);
                    let past = !options.past_only || at < onset;
                    past && !earlier
                        .into_iter()
                        .any(|began| at + MINUTE >= *began && at <= *began + LASTS + MINUTE)
                };
                let calm = metric.points.iter().filter(|(at, _)| is_calm(*at));
                let points = metric
                    .points
                    .iter()
                    .filter(|(at, _)| *at + 2 * MINUTE >= onset && *at <= until);
                bundle.series.push(EvidenceSeries {
                    service: metric.service.clone(),
                    callee: metric.callee.clone(),
                    metric: metric.name.clone(),
                    kind: SeriesKind::of_metric(&metric.name),
                    worse: if metric.name.contains("Success") {
                        Worse::Down
                    } else {
                        Worse::Up
                    },
                    calm: calm.map(|(_, value)| *value).collect(),
                    points: points.copied().collect(),
                });
            }
            cases.push(Case {
                name: format!("{}/{}", fault.at, fault.pod),
                system: self.date.clone(),
                bundle,
                cause: BTreeSet::from([service_of(&fault.pod)]),
                change: Label::Unknown,
                fault: fault.kind.clone(),
            });
        }
        cases
    }
}

fn floor(at: Timestamp) -> Timestamp {
    Timestamp::from_secs(at.as_nanos().div_euclid(60_000_000_000) * 60)
}

/// The service of a pod: its name without the two parts that Kubernetes adds.
fn service_of(pod: &str) -> String {
    pod.rsplitn(3, '-').last().unwrap_or(pod).to_owned()
}

fn faults(list: &Value) -> Option<Vec<Fault>> {
    let mut faults = Vec::new();
    for fault in list
        .as_object()?
        .values()
        .flat_map(|hour| hour.as_array().into_iter().flatten())
    {
        let text = |name: &str| fault.get(name).and_then(Value::as_str);
        faults.push(Fault {
            at: time(text("inject_time")?)?,
            pod: text("inject_pod")?.to_owned(),
            kind: text("inject_type")?.to_owned(),
        });
    }
    Some(faults)
}

/// The time at the start of `text`, in UTC and to the second: `2023-01-29 08:43:04…`.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.get(..19)?.replace(' ', "T");
    format!("{text}Z").parse().ok()
}

fn metrics(folder: &Path) -> Result<Vec<Metric>, Box<dyn Error>> {
    let mut metrics = Vec::new();
    for path in entries(folder)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(pod) = name.strip_suffix("_metric.csv") else {
            continue;
        };
        let table = Table::read(&path)?;
        let at = table.column("Time")?;
        for (idx, metric) in table.header.iter().enumerate() {
            // Those of the node are of no service.
            if ["Time", "TimeStamp", "PodName"].contains(&metric.as_str())
                || metric.starts_with("Node")
            {
                continue;
            }
            let points = table.rows.iter();
            let points =
                points.filter_map(|row| Some((time(row.get(at)?)?, Table::number(row, idx)?)));
            metrics.push(Metric {
                service: service_of(pod),
                callee: None,
                name: metric.clone(),
                points: points.collect(),
            });
        }
    }
    metrics.extend(mesh(folder)?);
    Ok(metrics)
}

/// What a service mesh measured of calls from both sides, in seconds, as time lost in microseconds.
fn mesh(folder: &Path) -> Result<Vec<Metric>, Box<dyn Error>> {
    let sides = ["source_50.csv", "destination_50.csv"].map(|name| folder.join(name));
    if !sides.iter().all(|path| path.is_file()) {
        return Ok(Vec::new());
    }
    let [source, destination] = [Table::read(&sides[0])?, Table::read(&sides[1])?];
    let mut metrics = Vec::new();
    for (idx, edge) in source.header.iter().enumerate().skip(2) {
        let (Some((caller, callee)), Ok(other)) = (edge.split_once('_'), destination.column(edge))
        else {
            continue;
        };
        let rows = source.rows.iter().zip(&destination.rows);
        let points = rows.filter_map(|(here, there)| {
            let lost = Table::number(here, idx)? - Table::number(there, other)?;
            Some((time(here.first()?)?, lost.max(0.0) * 1e6))
        });
        metrics.push(Metric {
            service: caller.to_owned(),
            callee: Some(callee.to_owned()),
            name: "mesh_gap_p50_microseconds".to_owned(),
            points: points.collect(),
        });
    }
    Ok(metrics)
}

/// The minutes of a day, by when they began.
fn minutes(
    day: &Path,
    date: &str,
    miner: &mut TemplateMiner,
) -> Result<BTreeMap<Timestamp, Activity>, Box<dyn Error>> {
    let mut minutes = BTreeMap::new();
    for path in entries(&day.join("trace"))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(minute) = name.strip_suffix("_trace.csv") else {
            continue;
        };
        let began = time(&format!("{date} {}:00", minute.replace('_', ":")));
        let began = began.ok_or_else(|| format!("{}: expected HH_MM_trace.csv", path.display()))?;
        let logs = day.join("log").join(format!("{minute}_log.csv"));
        let activity = Activity::of(began, began + MINUTE, &spans(&path)?, &lines(&logs, miner)?);
        minutes.insert(began, activity);
    }
    Ok(minutes)
}

fn spans(path: &Path) -> Result<Vec<SpanRecord>, Box<dyn Error>> {
    let table = Table::read(path)?;
    let names = [
        "TraceID",
        "SpanID",
        "ParentID",
        "PodName",
        "OperationName",
        "StartTimeUnixNano",
        "Duration",
    ];
    let mut columns = [0; 7];
    for (column, name) in columns.iter_mut().zip(names) {
        *column = table.column(name)?;
    }
    let [trace, id, parent, pod, operation, start, duration] = columns;
    let mut spans = Vec::new();
    for row in &table.rows {
        let field = |column: usize| row.get(column).map_or("", String::as_str);
        let micros: u64 = field(duration).parse().unwrap_or_default();
        let at = Timestamp::from_nanos(field(start).parse().unwrap_or_default());
        let mut span = SpanRecord::new(
            at,
            Duration::from_micros(micros),
            field(operation).to_owned(),
        );
        span.target = Target::service(service_of(field(pod))).ok();
        span.trace = Some(field(trace).to_owned());
        span.span = u64::from_str_radix(field(id), 16).unwrap_or_default();
        span.parent = u64::from_str_radix(field(parent), 16).unwrap_or_default();
        spans.push(span);
    }
    Ok(spans)
}

fn lines(path: &Path, miner: &mut TemplateMiner) -> Result<Vec<LogRecord>, Box<dyn Error>> {
    let table = Table::read(path)?;
    let (at, pod) = (table.column("TimeUnixNano")?, table.column("PodName")?);
    let (trace, span, log) = (
        table.column("TraceID")?,
        table.column("SpanID")?,
        table.column("Log")?,
    );
    let mut lines = Vec::new();
    for row in &table.rows {
        let field = |column: usize| row.get(column).map_or("", String::as_str);
        let (level, component, message) = line(field(log));
        let nanos = field(at).parse().unwrap_or_default();
        let mut record = LogRecord::new(Timestamp::from_nanos(nanos), level, message);
        record.component = component.into();
        record.target = Target::service(service_of(field(pod))).ok();
        record.correlation = Some(field(trace).to_owned());
        record.fields.insert("span_id", field(span));
        record.template = Some(miner.template(&record.message));
        lines.push(record);
    }
    Ok(lines)
}

/// Level, logger and message of a container's line: JSON with the line in `log`, which is either
/// JSON again with `message` and `severity`, or `time LEVEL logger TraceID: … SpanID: … message`.
fn line(raw: &str) -> (Level, String, String) {
    let outer: Value = serde_json::from_str(raw).unwrap_or_default();
    let text = outer
        .get("log")
        .and_then(Value::as_str)
        .unwrap_or(raw)
        .trim();
    let inner: Value = serde_json::from_str(text).unwrap_or_default();
    let of = |name: &str| inner.get(name).and_then(Value::as_str);
    let (mut level, mut component) = (Level::Info, String::new());
    let body = of("message").unwrap_or(text);
    let mut words: Vec<&str> = body.split_whitespace().collect();
    if let Some(severity) = of("severity").and_then(|it| it.parse().ok()) {
        level = severity;
    } else if words.len() >= 3
        && let Ok(said) = words[1].parse()
    {
        level = said;
        words[2].clone_into(&mut component);
        words.drain(..3);
    }
    // Ids of traces and spans tell lines of one kind apart.
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "TraceID:" || word == "SpanID:" {
            words.next();
        } else {
            kept.push(word);
        }
    }
    (level, component, kept.join(" "))
}
