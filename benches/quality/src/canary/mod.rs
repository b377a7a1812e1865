//! How canaries are decided, on made-up traffic of which the truth is known: by our judge with its
//! defaults, and by the rules of three tools.
//!
//! Every trial is drawn from the seed, its cell and its number, so the result does not depend on
//! the number of threads.

mod contenders;
mod tally;
mod world;

use std::error::Error;

use homeostasis::core::Rng;
use homeostasis::core::stage::CanaryAnalysis as _;
use homeostasis::verify::{CanaryConfig, CanaryJudge};
use serde_json::{Value, json};

use contenders::NAMES;
use tally::{Tally, share, wilson_upper};
use world::{CALIBRATION, MINUTES, Trouble, World};

/// Requests per minute of the canary and of the baseline.
const TRAFFIC: [(f64, f64); 3] = [(20.0, 80.0), (300.0, 300.0), (3000.0, 3000.0)];
const NOISE: [f64; 3] = [0.0, 0.3, 0.6];
/// How many times as often the canary fails.
const RATIOS: [f64; 5] = [1.0, 1.5, 2.0, 3.0, 10.0];
/// From here on a promotion is wrong: the margin of the judge.
const REGRESSION: f64 = 1.5;

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// Runs in each cell.
    pub(crate) trials: u32,
    /// Where chance comes from.
    pub(crate) seed: u64,
}

/// One world and one ratio, with what everybody decided.
#[derive(Debug, Clone)]
struct Cell {
    world: World,
    ratio: f64,
    tallies: [Tally; NAMES.len()],
}

impl Cell {
    fn ours(&self) -> &Tally {
        &self.tallies[0]
    }

    fn is_null(&self) -> bool {
        self.ratio <= 1.0 && self.world.trouble != Trouble::NoTraffic
    }

    /// Wrong decisions of one contender.
    fn wrong(&self, who: usize) -> u32 {
        if self.ratio >= REGRESSION {
            self.tallies[who].promoted
        } else {
            self.tallies[who].rolled_back
        }
    }
}

/// Runs all cells and gives the report; the table goes to standard output before it.
pub(crate) fn run(options: Options) -> Result<Value, Box<dyn Error>> {
    let cells = simulate(options)?;
    print(&cells);
    Ok(report(options, &cells))
}

fn worlds() -> Vec<(World, &'static [f64])> {
    let mut worlds = Vec::new();
    for traffic in TRAFFIC {
        for noise in NOISE {
            let trouble = Trouble::None;
            worlds.push((
                World {
                    traffic,
                    noise,
                    trouble,
                },
                &RATIOS[..],
            ));
        }
    }
    for traffic in TRAFFIC {
        for trouble in [Trouble::Missing, Trouble::Drift, Trouble::ColdStart] {
            worlds.push((
                World {
                    traffic,
                    noise: 0.3,
                    trouble,
                },
                &[1.0, 2.0][..],
            ));
        }
    }
    let nobody = World {
        traffic: (0.0, 0.0),
        noise: 0.0,
        trouble: Trouble::NoTraffic,
    };
    worlds.push((nobody, &[1.0][..]));
    worlds
}

fn simulate(options: Options) -> Result<Vec<Cell>, Box<dyn Error>> {
    let judge = CanaryJudge::new(CanaryConfig::default())?;
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut cells = Vec::new();
    for (idx, (world, ratios)) in worlds().into_iter().enumerate() {
        let rng = Rng::from_seed(options.seed).fork(idx as u64);
        let part = |first: usize| {
            let mut tallies = vec![<[Tally; NAMES.len()]>::default(); ratios.len()];
            for trial in (first..options.trials as usize).step_by(n_threads) {
                trial_of(world, ratios, &judge, rng.fork(trial as u64), &mut tallies);
            }
            tallies
        };
        let part = &part;
        let parts: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..n_threads)
                .map(|first| scope.spawn(move || part(first)))
                .collect();
            threads
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect()
        });
        let mut sum = vec![<[Tally; NAMES.len()]>::default(); ratios.len()];
        for part in parts {
            let part = part.map_err(|_| "a thread of the simulation panicked")?;
            for (sum, part) in sum.iter_mut().flatten().zip(part.iter().flatten()) {
                sum.merge(part);
            }
        }
        cells.extend(ratios.iter().zip(sum).map(|(ratio, tallies)| Cell {
            world,
            ratio: *ratio,
            tallies,
        }));
    }
    Ok(cells)
}

/// One calibrated judge, and a run for each ratio.
fn trial_of(
    world: World,
    ratios: &[f64],
    judge: &CanaryJudge,
    mut rng: Rng,
    tallies: &mut [[Tally; NAMES.len()]],
) {
    let mut judge = judge.clone();
    let before = World {
        trouble: match world.trouble {
            Trouble::ColdStart => Trouble::None,
            other => other,
        },
        ..world
    };
    for minute in (1..=CALIBRATION).filter_map(|minute| i32::try_from(minute).ok()) {
        let minute = minute - i32::try_from(CALIBRATION).unwrap_or(i32::MAX);
        judge.calibrate(&before.interval(minute, 1.0, &mut rng));
    }
    for (ratio, tallies) in ratios.iter().zip(tallies) {
        let run: Vec<_> = (1..=MINUTES)
            .filter_map(|minute| i32::try_from(minute).ok())
            .map(|minute| world.interval(minute, *ratio, &mut rng))
            .collect();
        let decided = contenders::decide(judge.clone(), &run);
        for (tally, decided) in tallies.iter_mut().zip(decided) {
            tally.add(decided);
        }
    }
}

/// In how many of the nine worlds without trouble ours decides wrongly less often than each other.
fn cells_won(cells: &[Cell]) -> usize {
    let grid = TRAFFIC
        .iter()
        .flat_map(|traffic| NOISE.iter().map(move |noise| (traffic, noise)));
    grid.filter(|(traffic, noise)| {
        let wrong = |who: usize| -> u32 {
            cells
                .iter()
                .filter(|cell| cell.world.trouble == Trouble::None)
                .filter(|cell| cell.world.traffic == **traffic && cell.world.noise == **noise)
                .map(|cell| cell.wrong(who))
                .sum()
        };
        (1..NAMES.len()).all(|other| wrong(0) < wrong(other))
    })
    .count()
}

fn report(options: Options, cells: &[Cell]) -> Value {
    let false_rollback = |cell: &Cell| wilson_upper(cell.ours().rolled_back, cell.ours().n);
    let nulls = cells.iter().filter(|cell| cell.is_null());
    let missed = |cell: &Cell| share(cell.ours().promoted, cell.ours().n);
    let regressions = cells.iter().filter(|cell| cell.ratio >= 2.0);
    let minutes = |traffic: (f64, f64), noise: f64, ratio: f64| {
        cells
            .iter()
            .find(|cell| {
                let world = cell.world;
                world.trouble == Trouble::None
                    && (world.traffic, world.noise, cell.ratio) == (traffic, noise, ratio)
            })
            .and_then(|cell| cell.ours().median_minutes())
    };
    let zero = cells
        .iter()
        .find(|cell| cell.world.trouble == Trouble::NoTraffic);
    let table: Vec<_> = cells
        .iter()
        .map(|cell| {
            let mut row = json!({
                "traffic": [cell.world.traffic.0, cell.world.traffic.1],
                "noise": cell.world.noise,
                "trouble": cell.world.trouble.name(),
                "ratio": cell.ratio,
                "false_rollback_upper": cell.is_null().then(|| false_rollback(cell)),
            });
            for (name, tally) in NAMES.iter().zip(&cell.tallies) {
                row[*name] = tally.report();
            }
            row
        })
        .collect();
    json!({
        "suite": "canary",
        "trials": options.trials,
        "seed": options.seed,
        "worst_false_rollback": nulls.map(false_rollback).fold(0.0, f64::max),
        "worst_missed_2x": regressions.map(missed).fold(0.0, f64::max),
        "minutes_2x_3000rpm": minutes(TRAFFIC[2], 0.0, 2.0),
        "minutes_2x_3000rpm_robust": minutes(TRAFFIC[2], 0.3, 2.0),
        "minutes_10x_300rpm": minutes(TRAFFIC[1], 0.0, 10.0),
        "zero_traffic_uncertain": zero.map(|cell| share(cell.ours().uncertain(), cell.ours().n)),
        "cells_won_of_9": cells_won(cells),
        "cells": table,
    })
}

/// A row for each cell: percent rolled back, promoted, uncertain, median minutes, failed requests.
#[expect(clippy::print_stdout, reason = "people read the table")]
fn print(cells: &[Cell]) {
    println!(
        "rolled back / promoted / uncertain in percent (median minutes to a decision; failed requests of the canary until then)"
    );
    let header: Vec<_> = NAMES.iter().map(|name| format!("{name:^32}")).collect();
    println!(
        "| requests/min | noise | trouble      | ratio | {} |",
        header.join(" | ")
    );
    println!("|---|---|---|---|{}", "---|".repeat(NAMES.len()));
    for cell in cells {
        let percent = |part: u32, of: u32| 100.0 * share(part, of);
        let columns: Vec<_> = cell
            .tallies
            .iter()
            .map(|tally| {
                let minutes = tally
                    .median_minutes()
                    .map_or("-".to_owned(), |m| m.to_string());
                let text = format!(
                    "{:.1} / {:.1} / {:.1} ({minutes}; {:.0})",
                    percent(tally.rolled_back, tally.n),
                    percent(tally.promoted, tally.n),
                    percent(tally.uncertain(), tally.n),
                    tally.bad_requests(),
                );
                format!("{text:<32}")
            })
            .collect();
        let traffic = format!("{} + {}", cell.world.traffic.0, cell.world.traffic.1);
        println!(
            "| {traffic:<12} | {:<5} | {:<12} | {:<5} | {} |",
            cell.world.noise,
            cell.world.trouble.name(),
            cell.ratio,
            columns.join(" | ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_run_is_the_same_every_time_and_has_every_cell() {
        let options = Options { trials: 6, seed: 3 };
        let once = report(options, &simulate(options).unwrap());
        assert_eq!(once, report(options, &simulate(options).unwrap()));
        let cells = once["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 9 * 5 + 9 * 2 + 1);
        for cell in cells {
            for name in NAMES {
                let of = |key: &str| cell[name][key].as_f64().unwrap();
                let sum = of("rolled_back") + of("promoted") + of("uncertain");
                assert!((sum - 1.0).abs() < 1e-9, "{cell}");
            }
        }
        assert_eq!(once["zero_traffic_uncertain"], 1.0);
        assert!(once["minutes_10x_300rpm"].as_u64().unwrap() <= 5, "{once}");
    }

    #[test]
    fn a_cell_is_won_only_with_fewer_wrong_decisions_than_each_other() {
        let options = Options { trials: 1, seed: 3 };
        let mut cells = simulate(options).unwrap();
        for cell in &mut cells {
            for (who, tally) in cell.tallies.iter_mut().enumerate() {
                *tally = Tally::default();
                tally.promoted = u32::from(who > 0);
                tally.rolled_back = u32::from(who > 0);
                tally.n = 2;
            }
        }
        assert_eq!(cells_won(&cells), 9);
        // As many wrong ones in one world are no victory there.
        for cell in cells.iter_mut().take(RATIOS.len()) {
            cell.tallies[0] = cell.tallies[2].clone();
        }
        assert_eq!(cells_won(&cells), 8);
    }
}
