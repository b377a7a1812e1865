//! Who is the cause: labelled incidents of published sets, ranked by one engine with one configuration.

mod case;
mod nezha;
mod petshop;
mod rcaeval;
mod root_cause_bench;
mod table;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use homeostasis::core::Timestamp;
use homeostasis::rca::{EvidenceFusion, Memory};
use serde_json::{Map, Value, json};

use case::Case;

/// Which layout the data is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    PetShop,
    Nezha,
    RootCauseBench,
    RcaEval,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) format: Format,
    pub(crate) data: PathBuf,
    /// Where the rankings go, as one JSON file.
    pub(crate) out: Option<PathBuf>,
    /// Whether only what was before the onset counts as calm.
    pub(crate) past_only: bool,
    /// By how many seconds the onset is given wrong.
    pub(crate) onset_shift: i64,
}

impl Options {
    fn shifted(&self, at: Timestamp) -> Timestamp {
        let by = Duration::from_secs(self.onset_shift.unsigned_abs());
        if self.onset_shift < 0 { at - by } else { at + by }
    }
}

/// Runs the suite.
pub(crate) fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let mut cases = match options.format {
        Format::PetShop => petshop::read(options)?,
        Format::Nezha => nezha::read(options)?,
        Format::RcaEval => rcaeval::read(options)?,
        Format::RootCauseBench => root_cause_bench::read(options)?,
    };
    if cases.is_empty() {
        return Err(format!("{}: no cases found in it", options.data.display()).into());
    }
    cases.sort_by(|a, b| (&a.system, a.bundle.onset, &a.name).cmp(&(&b.system, b.bundle.onset, &b.name)));
    let mut memories: BTreeMap<String, Memory> = BTreeMap::new();
    let mut out = Map::new();
    let mut hits = Hits::default();
    let mut by_fault: BTreeMap<String, Hits> = BTreeMap::new();
    let mut changes = (0, 0);
    let mut spent = Duration::ZERO;
    for case in &mut cases {
        let memory = memories.entry(case.system.clone()).or_default();
        case.bundle.memory.clone_from(memory);
        let start = Instant::now();
        let ranking = EvidenceFusion.rank(&case.bundle);
        spent += start.elapsed();
        let services: Vec<&str> = ranking.suspects.iter().map(|it| it.service.as_str()).collect();
        let place = services.iter().position(|service| case.cause.contains(*service));
        hits.add(place);
        if std::env::var_os("RCA_CONF").is_some() { let n: Vec<f64> = ranking.suspects.iter().map(|s| s.nats).collect(); println!("CONF {} {:.3} {:.3} {}", u8::from(place==Some(0)), n.first().unwrap_or(&0.0), n.get(1).unwrap_or(&0.0), ranking.suspects.first().map_or(0, |s| s.families.iter().filter(|f| f.nats > 0.2).count())); }
        by_fault.entry(case.fault.clone()).or_default().add(place);
        if let Some(truth) = &case.change {
            let named = ranking.changes.first().map(|change| &change.id);
            changes.0 += u32::from(named == truth.as_ref());
            changes.1 += 1;
            if std::env::var_os("RCA_VERBOSE").is_some() { eprintln!("{} {} truth {truth:?}: {:?}", case.name, named == truth.as_ref(), ranking.changes); }
        }
        if place != Some(0) && std::env::var_os("RCA_VERBOSE").is_some() {
            eprintln!("{} {} true {:?} at {place:?}", case.name, case.fault, case.cause);
            for suspect in ranking.suspects.iter().take(4) {
                let families: Vec<String> = suspect.families.iter().map(|f| format!("{} {:.2} (v {:.2} null {:.2})", f.family, f.nats, f.value, f.null)).collect();
                eprintln!("   {} {:.2}: {}", suspect.service, suspect.nats, families.join(", "));
                for proof in suspect.proofs.iter().take(2) { eprintln!("        {}", proof.statement); }
            }
        }
        out.insert(case.name.clone(), json!(services));
        memory.remember(ranking.past);
    }
    if let Some(path) = &options.out {
        std::fs::write(path, Value::Object(out).to_string())?;
    }
    let ms = spent.as_secs_f64() * 1e3 / cases.len() as f64;
    let mut report = hits.report();
    let faults = by_fault.into_iter().map(|(fault, hits)| (fault, Value::Object(hits.report())));
    report.insert("ms_per_case".to_owned(), json!(round(ms)));
    if changes.1 > 0 {
        let share = f64::from(changes.0) / f64::from(changes.1);
        report.insert("change_right".to_owned(), json!(round(share)));
    }
    report.insert("by_fault".to_owned(), Value::Object(faults.collect()));
    Ok(Value::Object(report))
}

/// How often the cause was among the first.
#[derive(Debug, Default)]
struct Hits {
    n: u32,
    /// Within the first one, two, three, four and five.
    within: [u32; 5],
}

impl Hits {
    fn add(&mut self, place: Option<usize>) {
        self.n += 1;
        for (idx, hits) in self.within.iter_mut().enumerate() {
            *hits += u32::from(place.is_some_and(|place| place <= idx));
        }
    }

    fn report(&self) -> Map<String, Value> {
        let n = f64::from(self.n.max(1));
        let share = |hits: u32| json!(round(f64::from(hits) / n));
        let all: u32 = self.within.iter().sum();
        Map::from_iter([
            ("cases".to_owned(), json!(self.n)),
            ("ac1".to_owned(), share(self.within[0])),
            ("ac3".to_owned(), share(self.within[2])),
            ("ac5".to_owned(), share(self.within[4])),
            ("avg5".to_owned(), json!(round(f64::from(all) / 5.0 / n))),
        ])
    }
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
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
    let mut found = read.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    found.sort();
    Ok(found)
}

/// So many seconds after the epoch.
fn seconds(at: f64) -> Timestamp {
    Timestamp::EPOCH + Duration::try_from_secs_f64(at).unwrap_or_default()
}
