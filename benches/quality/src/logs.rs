//! How well templates of logs are found without any configuration, how fast, and in how much memory.
//!
//! It reads the layout of loghub: one folder for each system, with `<System>_2k.log_structured.csv`
//! or, of the full sets, `<System>_full.log_structured.csv` in it. The lines go to one miner in the
//! order of the file, reversed and shuffled; then those of all systems go to one miner together.

mod adversary;
mod labelled;

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use homeostasis::core::Rng;
use homeostasis::signals::TemplateMiner;
use serde_json::{Map, Value, json};

use crate::score::templates::{TemplateScore, score};
use labelled::{Labelled, read_all};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) data: PathBuf,
    /// Where the groups and templates of each system go, one CSV each.
    pub(crate) out: Option<PathBuf>,
    /// How many lines of an adversary are read; 0 for none.
    pub(crate) adversarial: u64,
}

/// So many lines are timed in each round, of which the best counts: others on the machine only slow it down.
const TIMED_LINES: usize = if cfg!(test) { 1_000 } else { 1_000_000 };
const ROUNDS: usize = 5;
const SHUFFLES: [u64; 3] = [1, 2, 3];

/// Runs the suite.
pub(crate) fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let systems = read_all(&options.data)?;
    let mut by_system = Map::new();
    let mut means = Means::default();
    for system in &systems {
        let mut orders = Map::new();
        for (order, lines) in orders_of(system.lines.len()) {
            let found = score_of(std::slice::from_ref(system), &lines);
            means.add(&order, found);
            orders.insert(order, report(found));
        }
        by_system.insert(system.name.clone(), Value::Object(orders));
        if let Some(folder) = &options.out {
            write(folder, system)?;
        }
    }
    let n_lines = systems.iter().map(|system| system.lines.len()).sum();
    let together: Map<_, _> = orders_of(n_lines)
        .into_iter()
        .map(|(order, lines)| (order, report(score_of(&systems, &lines))))
        .collect();
    let lines: Vec<&str> = systems.iter().flat_map(Labelled::contents).collect();
    let mut report = json!({
        "suite": "logs",
        "systems": systems.len(),
        "lines": n_lines,
        "grouping_accuracy": means.accuracy("file"),
        "f1": means.f1("file"),
        "lines_per_second": speed(&lines, TemplateMiner::mine),
        "lines_per_second_with_variables": speed(&lines, |miner, line| miner.template(line).id()),
        "by_order": means.report(),
        "one_stream": together,
        "by_system": by_system,
    });
    if options.adversarial > 0 {
        report["adversarial"] = adversary::run(options.adversarial);
    }
    Ok(report)
}

/// The orders in which `n` lines are read.
fn orders_of(n: usize) -> Vec<(String, Vec<usize>)> {
    let file: Vec<usize> = (0..n).collect();
    let reversed = file.iter().copied().rev().collect();
    let mut orders = vec![
        ("file".to_owned(), file.clone()),
        ("reversed".to_owned(), reversed),
    ];
    for seed in SHUFFLES {
        let mut shuffled = file.clone();
        let mut rng = Rng::from_seed(seed);
        for at in (1..n).rev() {
            let other = usize::try_from(rng.below(at as u64 + 1)).unwrap_or(0);
            shuffled.swap(at, other);
        }
        orders.push((format!("shuffled_{seed}"), shuffled));
    }
    orders
}

/// The score of one miner that reads the lines of these systems in this order. What turns out to be
/// one template counts as one: a line's id leads to it.
fn score_of(systems: &[Labelled], order: &[usize]) -> TemplateScore {
    let all: Vec<(usize, &str, &str)> = systems
        .iter()
        .enumerate()
        .flat_map(|(number, system)| {
            let lines = system.lines.iter();
            lines.map(move |line| (number, line.event.as_str(), line.content.as_str()))
        })
        .collect();
    let mut miner = TemplateMiner::default();
    let ids: Vec<u64> = order.iter().map(|at| miner.mine(all[*at].2)).collect();
    let found: Vec<u64> = ids.iter().map(|id| miner.resolve(*id)).collect();
    let truth: Vec<(usize, &str)> = order.iter().map(|at| (all[*at].0, all[*at].1)).collect();
    score(&truth, &found)
}

fn report(score: TemplateScore) -> Value {
    json!({
        "grouping_accuracy": score.accuracy,
        "f1": score.f1,
        "groups": score.n_found,
        "true_groups": score.n_true,
    })
}

/// Means over systems, by order.
#[derive(Default)]
struct Means(Vec<(String, Vec<TemplateScore>)>);

impl Means {
    fn add(&mut self, order: &str, score: TemplateScore) {
        match self.0.iter_mut().find(|(name, _)| name == order) {
            Some((_, scores)) => scores.push(score),
            None => self.0.push((order.to_owned(), vec![score])),
        }
    }

    fn mean(&self, order: &str, of: impl Fn(&TemplateScore) -> f64) -> f64 {
        let scores = self.0.iter().find(|(name, _)| name == order);
        let scores = scores.map_or(&[][..], |(_, scores)| scores);
        scores.iter().map(of).sum::<f64>() / scores.len().max(1) as f64
    }

    fn accuracy(&self, order: &str) -> f64 {
        self.mean(order, |score| score.accuracy)
    }

    fn f1(&self, order: &str) -> f64 {
        self.mean(order, |score| score.f1)
    }

    fn report(&self) -> Value {
        let orders = self.0.iter().map(|(order, _)| {
            let means = json!({ "grouping_accuracy": self.accuracy(order), "f1": self.f1(order) });
            (order.clone(), means)
        });
        Value::Object(orders.collect())
    }
}

/// Lines a second: the best of several rounds over all lines, again and again, by one miner.
fn speed(lines: &[&str], mine: impl Fn(&mut TemplateMiner, &str) -> u64) -> f64 {
    let mut miner = TemplateMiner::default();
    (0..ROUNDS)
        .map(|_| {
            let began = now();
            for line in lines.iter().cycle().take(TIMED_LINES) {
                std::hint::black_box(mine(&mut miner, line));
            }
            TIMED_LINES as f64 / began.elapsed().as_secs_f64()
        })
        .fold(0.0, f64::max)
}

/// One row for each line of the file, in the layout that scorers of the field read.
fn write(folder: &Path, system: &Labelled) -> Result<(), Box<dyn Error>> {
    let mut miner = TemplateMiner::default();
    let ids: Vec<u64> = system.contents().map(|line| miner.mine(line)).collect();
    let mut csv = "LineId,EventId,EventTemplate\n".to_owned();
    for (line, id) in ids.iter().enumerate() {
        let id = miner.resolve(*id);
        let text = miner.text(id).unwrap_or_default().replace('"', "\"\"");
        writeln!(csv, "{},T{id},\"{text}\"", line + 1)?;
    }
    let path = folder.join(format!("{}.csv", system.name));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, csv))
        .map_err(|error| format!("{}: {error}", path.display()).into())
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_set_is_read_scored_and_written() {
        let folder = tempfile::tempdir().unwrap();
        let system = folder.path().join("Shop");
        std::fs::create_dir(&system).unwrap();
        let mut csv = "LineId,Content,EventId,EventTemplate\n".to_owned();
        for i in 0..60 {
            let (content, event) = match i % 3 {
                0 => (
                    format!("\"order {i}, of user u{i}, said \"\"hello\"\"\""),
                    "E1",
                ),
                1 => (format!("cache filled in {i}.5 ms"), "E2"),
                // One true group of lines that have nothing in common.
                _ => (["up", "down"][i % 2].to_owned(), "E3"),
            };
            writeln!(csv, "{i},{content},{event},x").unwrap();
        }
        std::fs::write(system.join("Shop_2k.log_structured.csv"), csv).unwrap();
        let out = folder.path().join("out");
        let options = Options {
            data: folder.path().into(),
            out: Some(out.clone()),
            adversarial: 2_000,
        };
        let report = run(&options).unwrap();
        assert!((report["grouping_accuracy"].as_f64().unwrap() - 40.0 / 60.0).abs() < 1e-9);
        assert_eq!(report["one_stream"]["shuffled_3"]["true_groups"], 3);
        assert!(report["lines_per_second"].as_f64().unwrap() > 0.0);
        assert_eq!(report["adversarial"]["lines"], 2_000);
        let written = std::fs::read_to_string(out.join("Shop.csv")).unwrap();
        assert_eq!(written.lines().count(), 61);
        let first = written.lines().nth(1).unwrap_or_default();
        let text = ",\"order <*>, of user <*>, said \"\"hello\"\"\"";
        assert!(first.starts_with("1,T") && first.ends_with(text), "{first}");

        std::fs::write(system.join("Shop_2k.log"), "order 1").unwrap();
        std::fs::remove_file(system.join("Shop_2k.log_structured.csv")).unwrap();
        let error = run(&options).unwrap_err().to_string();
        assert!(error.contains("Shop_2k.log_structured.csv"), "{error}");
    }
}
