//! The layout of `PetShop` (Hardt et al., "The `PetShop` dataset", 2023, arXiv 2311.04806):
//! `<scenario>/graph.csv`, `noissue/metrics.csv`, `{train,test}/issue_N/{metrics.csv,target.json}`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;

use homeostasis::core::Timestamp;
use homeostasis::rca::{Alarm, EvidenceBundle, EvidenceSeries, SeriesKind, Worse};
use serde_json::Value;

use super::case::{Case, Label};
use super::table::Table;
use super::{Options, folders, json};

/// Reads every scenario below `options.data`. A scenario without a recording of normal operation
/// takes that of the first one that has it.
pub(crate) fn read(options: &Options) -> Result<Vec<Case>, Box<dyn Error>> {
    let scenarios = folders(&options.data)?;
    let scenarios: Vec<_> = scenarios
        .iter()
        .filter(|it| it.join("graph.csv").is_file())
        .collect();
    let own = |scenario: &Path| scenario.join("noissue").join("metrics.csv");
    let substitute = scenarios
        .iter()
        .map(|it| own(it))
        .find(|path| path.is_file());
    let mut cases = Vec::new();
    for scenario in scenarios {
        let calm = Some(own(scenario))
            .filter(|path| path.is_file())
            .or_else(|| substitute.clone());
        let calm = calm.ok_or("no scenario has noissue/metrics.csv, expected at least one")?;
        let calm = Columns::read(&calm)?;
        let graph = Table::read(&scenario.join("graph.csv"))?;
        for part in ["train", "test"] {
            let part = scenario.join(part);
            if !part.is_dir() {
                continue;
            }
            for issue in folders(&part)? {
                cases.push(case(options, scenario, &issue, &calm, &graph)?);
            }
        }
    }
    Ok(cases)
}

/// Series by node, metric and statistic.
struct Columns {
    times: Vec<Timestamp>,
    columns: BTreeMap<(String, String, String), Vec<Option<f64>>>,
}

impl Columns {
    fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let table = Table::read(path)?;
        let [metrics, statistics, _, rows @ ..] = &table.rows[..] else {
            let message =
                "expected three rows of names and a fourth that begins with unix_timestamp";
            return Err(format!("{}: {message}", path.display()).into());
        };
        let mut times = Vec::new();
        for row in rows {
            let at = Table::number(row, 0)
                .ok_or_else(|| format!("{}: {row:?}, expected a time first", path.display()))?;
            times.push(super::seconds(at));
        }
        let mut columns = BTreeMap::new();
        for (idx, node) in table.header.iter().enumerate().skip(1) {
            let (Some(metric), Some(statistic)) = (metrics.get(idx), statistics.get(idx)) else {
                continue;
            };
            let values = rows.iter().map(|row| Table::number(row, idx)).collect();
            columns.insert((node.clone(), metric.clone(), statistic.clone()), values);
        }
        Ok(Self { times, columns })
    }
}

fn case(
    options: &Options,
    scenario: &Path,
    issue: &Path,
    calm: &Columns,
    graph: &Table,
) -> Result<Case, Box<dyn Error>> {
    let target = json(&issue.join("target.json"))?;
    let text = |pointer: &str| -> Result<String, String> {
        let found = target.pointer(pointer).and_then(Value::as_str);
        found
            .map(str::to_owned)
            .ok_or_else(|| format!("{}: no {pointer} in target.json", issue.display()))
    };
    let (node, metric) = (text("/target/node")?, text("/target/metric")?);
    let statistic = text("/target/agg")?;
    let at = target.pointer("/target/timestamp").and_then(Value::as_f64);
    let at =
        at.ok_or_else(|| format!("{}: no /target/timestamp in target.json", issue.display()))?;
    let columns = Columns::read(&issue.join("metrics.csv"))?;
    let until = columns.times.iter().copied().max().unwrap_or_default();
    let onset = options.shifted(super::seconds(at));
    let mut bundle = EvidenceBundle::new(onset, until);
    bundle.alarm = Some(Alarm {
        service: node,
        metric: metric.clone(),
        at: onset,
    });
    for row in &graph.rows {
        let Some(caller) = row.first() else { continue };
        let callees = graph.header.iter().enumerate().skip(1);
        let callees: BTreeSet<String> = callees
            .filter(|(idx, _)| Table::number(row, *idx).is_some_and(|weight| weight > 0.0))
            .map(|(_, callee)| callee.clone())
            .collect();
        if callees.is_empty() && caller.ends_with("_remote") {
            // X-Ray's name for what it knows only from client spans.
            bundle.inferred.insert(caller.clone());
        }
        bundle.calls.insert(caller.clone(), callees);
    }
    for ((service, name, its), values) in &columns.columns {
        let key = (service.clone(), name.clone(), its.clone());
        let (true, Some(calm)) = (*its == statistic && *name == metric, calm.columns.get(&key))
        else {
            continue;
        };
        let points = columns.times.iter().copied().zip(values);
        bundle.series.push(EvidenceSeries {
            service: service.clone(),
            callee: None,
            metric: name.clone(),
            kind: SeriesKind::of_metric(name),
            worse: if name == "availability" {
                Worse::Down
            } else {
                Worse::Up
            },
            calm: calm.iter().flatten().copied().collect(),
            points: points
                .filter_map(|(at, value)| Some((at, (*value)?)))
                .collect(),
        });
    }
    let named = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let part = issue.parent().and_then(named).unwrap_or_default();
    let scenario = named(scenario).unwrap_or_default();
    Ok(Case {
        name: format!("{scenario}/{part}/{}", named(issue).unwrap_or_default()),
        system: scenario,
        bundle,
        cause: BTreeSet::from([text("/root_cause/node")?]),
        change: Label::Unknown,
        fault: metric,
    })
}
