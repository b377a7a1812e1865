//! Who is the cause: labelled incidents of published sets, ranked by one engine with one configuration.

mod case;
mod nezha;
mod petshop;
mod rcaeval;
mod root_cause_bench;
mod speed;
mod table;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use homeostasis::core::Timestamp;
use homeostasis::rca::{EvidenceFusion, Memory, Ranking};
use serde_json::{Map, Value, json};

use case::{Case, Label};
use tally::{Hits, Reliability, round, share};

/// Which layout the data is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A call graph and the measurements of its nodes.
    PetShop,
    /// Measurements, logs and traces by the minute.
    Nezha,
    /// An alert with what was collected around it, and changes.
    RootCauseBench,
    /// Measurements, perhaps logs and traces.
    RcaEval,
}

impl Format {
    pub(crate) const NAMES: &str = "petshop, nezha, rootcausebench or rcaeval";
}

impl FromStr for Format {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "petshop" => Ok(Self::PetShop),
            "nezha" => Ok(Self::Nezha),
            "rootcausebench" => Ok(Self::RootCauseBench),
            "rcaeval" => Ok(Self::RcaEval),
            _ => Err(()),
        }
    }
}

/// The largest error of the onset, in seconds.
pub(crate) const MOST_SHIFT: i64 = 3600;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) format: Format,
    pub(crate) data: PathBuf,
    /// Where the rankings go: a JSON file.
    pub(crate) out: Option<PathBuf>,
    /// Whether only what was before the onset counts as calm.
    pub(crate) past_only: bool,
    /// By how many seconds the onset is given wrong.
    pub(crate) onset_shift: i64,
}

impl Options {
    fn shifted(&self, at: Timestamp) -> Timestamp {
        let by = Duration::from_secs(self.onset_shift.unsigned_abs());
        if self.onset_shift < 0 {
            at - by
        } else {
            at + by
        }
    }
}

/// Runs the suite. The time of a case is that of ranking it, with its bundle in memory.
pub(crate) fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let mut cases = match options.format {
        Format::PetShop => petshop::read(options)?,
        Format::Nezha => nezha::read(options)?,
        Format::RootCauseBench => root_cause_bench::read(options)?,
        Format::RcaEval => rcaeval::read(options)?,
    };
    if cases.is_empty() {
        let path = options.data.display();
        return Err(format!("{path}: no case in it, expected the layout of --format").into());
    }
    let order = |case: &Case| (case.system.clone(), case.bundle.onset, case.name.clone());
    cases.sort_by_cached_key(order);
    let mut memories: BTreeMap<String, Memory> = BTreeMap::new();
    let mut score = Score::default();
    for case in &mut cases {
        let memory = memories.entry(case.system.clone()).or_default();
        case.bundle.memory.clone_from(memory);
        let start = now();
        let ranking = EvidenceFusion.rank(&case.bundle);
        score.spent += start.elapsed();
        score.add(case, &ranking);
        // As the analyzer does: how a suspect behaved is no habit.
        let mut past = ranking.past;
        if let (Some(first), None) = (ranking.suspects.first(), &ranking.abstained) {
            past.culprits.insert(first.service.clone());
        }
        memory.remember(past);
    }
    if let Some(path) = &options.out {
        let text = Value::Object(std::mem::take(&mut score.rankings)).to_string();
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(score.report())
}

#[derive(Debug, Default)]
struct Score {
    rankings: Map<String, Value>,
    hits: Hits,
    by_fault: BTreeMap<String, Hits>,
    reliability: Reliability,
    /// Labelled changes, and how many were named or rightly not named.
    changes: (u32, u32),
    spent: Duration,
    n: u32,
}

impl Score {
    fn add(&mut self, case: &Case, ranking: &Ranking) {
        let services = ranking
            .suspects
            .iter()
            .map(|suspect| suspect.service.as_str());
        let services: Vec<&str> = services.collect();
        let place = services
            .iter()
            .position(|service| case.cause.contains(*service));
        self.n += 1;
        self.hits.add(place);
        if !case.fault.is_empty() {
            self.by_fault
                .entry(case.fault.clone())
                .or_default()
                .add(place);
        }
        let is_answered = ranking.abstained.is_none();
        self.reliability
            .add(ranking.confidence.get(), place == Some(0), is_answered);
        let named = ranking.changes.first().map(|change| &change.id);
        let is_right = match &case.change {
            Label::Change(id) => Some(named == Some(id)),
            Label::NoChange => Some(named.is_none()),
            Label::Unknown => None,
        };
        if let Some(is_right) = is_right {
            self.changes.0 += 1;
            self.changes.1 += u32::from(is_right);
        }
        self.rankings.insert(case.name.clone(), json!(services));
    }

    fn report(self) -> Value {
        let mut report = self.hits.report();
        let ms = self.spent.as_secs_f64() * 1e3 / f64::from(self.n.max(1));
        report.insert("ms_per_case".to_owned(), json!(round(ms)));
        for n in [50, 400] {
            let ms = round(speed::milliseconds(n));
            report.insert(format!("ms_at_{n}_series"), json!(ms));
        }
        let ms = round(speed::hostile_milliseconds());
        report.insert("ms_hostile".to_owned(), json!(ms));
        report.extend(self.reliability.report());
        let (labelled, right) = self.changes;
        if labelled > 0 {
            report.insert("change_right".to_owned(), json!(share(right, labelled)));
        }
        let faults = self.by_fault.into_iter();
        let faults = faults.map(|(fault, hits)| (fault, Value::Object(hits.report())));
        report.insert("by_fault".to_owned(), Value::Object(faults.collect()));
        Value::Object(report)
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    Instant::now()
}

/// The text of a file.
fn text(path: &Path) -> Result<String, Box<dyn Error>> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The JSON in a file.
fn json(path: &Path) -> Result<Value, Box<dyn Error>> {
    let parsed = serde_json::from_str(&text(path)?);
    parsed.map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The folders in a folder, sorted.
fn folders(path: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = entries(path)?;
    found.retain(|path| path.is_dir());
    Ok(found)
}

/// What is in a folder, sorted.
fn entries(path: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let read = std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let found = read.map(|entry| entry.map(|entry| entry.path()));
    let mut found = found.collect::<Result<Vec<_>, _>>()?;
    found.sort();
    Ok(found)
}

/// So many seconds after the epoch.
fn seconds(at: f64) -> Timestamp {
    Timestamp::EPOCH + Duration::try_from_secs_f64(at).unwrap_or_default()
}
