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
const TROUBLES: [Trouble; 4] = [
    Trouble::Missing,
    Trouble::MissingArm,
    Trouble::Drift,
    Trouble::ColdStart,
];
/// How many times as often the canary fails.
const RATIOS: [f64; 5] = [1.0, 1.5, 2.0, 3.0, 10.0];
/// From here on a promotion is wrong: what the thresholds of the tools are set to.
const REGRESSION: f64 = 2.0;
/// The margin of our judge.
const MARGIN: f64 = 1.5;

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
    /// Whether ours saw the hours before.
    calibrated: bool,
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

    /// One of the nine worlds that are compared.
    fn is_compared(&self) -> bool {
        self.calibrated && self.world.trouble == Trouble::None
    }
}

/// What counts against a contender in a cell; ratios between those named are left out.
#[derive(Debug, Clone, Copy)]
enum Against {
    /// A rollback of a canary that is as good, a promotion from this ratio on.
    Wrong(f64),
    /// Everything but a promotion of a canary that is as good, and a rollback from twice the
    /// failures on.
    NotRight,
    /// A rollback of a canary that is as good, and twice the failures or more that are not rolled
    /// back.
    Harm,
}

impl Against {
    fn count(self, ratio: f64, tally: &Tally) -> u32 {
        match self {
            Self::Wrong(from) if ratio >= from => tally.promoted,
            Self::NotRight | Self::Harm if ratio >= REGRESSION => tally.n - tally.rolled_back,
            Self::NotRight if ratio <= 1.0 => tally.n - tally.promoted,
            Self::Wrong(_) | Self::Harm if ratio <= 1.0 => tally.rolled_back,
            Self::Wrong(_) | Self::NotRight | Self::Harm => 0,
        }
    }
}

/// What has to be kept: the key of the report, the limit, whether it is the least or the most.
const ACCEPTANCE: [(&str, f64, bool); 7] = [
    ("worst_false_rollback", 0.01, false),
    ("worst_missed_2x", 0.02, false),
    ("minutes_2x_3000rpm", 5.0, false),
    ("minutes_2x_3000rpm_robust", 12.0, false),
    ("minutes_10x_300rpm", 3.0, false),
    ("zero_traffic_uncertain", 1.0, true),
    ("cells_won_of_9", 8.0, true),
];

/// The limits that a report does not keep; a number that is missing keeps none.
fn broken(report: &Value) -> Vec<&'static str> {
    ACCEPTANCE
        .iter()
        .filter(|(key, limit, is_least)| {
            let kept = |value: f64| {
                if *is_least {
                    value >= *limit
                } else {
                    value <= *limit
                }
            };
            !report[*key].as_f64().is_some_and(kept)
        })
        .map(|(key, ..)| *key)
        .collect()
}

/// Runs all cells and gives the report, and whether it keeps what is to be kept; the table goes to
/// standard output before it. With fewer than about a thousand trials the upper ends of the intervals
/// are too wide to show it.
pub(crate) fn run(options: Options) -> Result<(Value, bool), Box<dyn Error>> {
    let cells = simulate(options)?;
    print(&cells);
    let report = report(options, &cells);
    let kept = broken(&report).is_empty();
    Ok((report, kept))
}

/// The worlds, the ratios that are tried there, and whether ours is calibrated.
fn worlds() -> Vec<(World, &'static [f64], bool)> {
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
                true,
            ));
        }
    }
    for traffic in TRAFFIC {
        for trouble in TROUBLES {
            for noise in [0.3, 0.6] {
                worlds.push((
                    World {
                        traffic,
                        noise,
                        trouble,
                    },
                    &[1.0, 2.0][..],
                    true,
                ));
            }
        }
    }
    for traffic in TRAFFIC {
        for noise in NOISE {
            let trouble = Trouble::None;
            worlds.push((
                World {
                    traffic,
                    noise,
                    trouble,
                },
                &[1.0, 2.0][..],
                false,
            ));
        }
    }
    let nobody = World {
        traffic: (0.0, 0.0),
        noise: 0.0,
        trouble: Trouble::NoTraffic,
    };
    worlds.push((nobody, &[1.0][..], true));
    worlds
}

fn simulate(options: Options) -> Result<Vec<Cell>, Box<dyn Error>> {
    let judge = CanaryJudge::new(CanaryConfig::default())?;
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut cells = Vec::new();
    for (idx, (world, ratios, calibrated)) in worlds().into_iter().enumerate() {
        let rng = Rng::from_seed(options.seed).fork(idx as u64);
        let part = |first: usize| {
            let mut tallies = vec![<[Tally; NAMES.len()]>::default(); ratios.len()];
            for trial in (first..options.trials as usize).step_by(n_threads) {
                let mut rng = rng.fork(trial as u64);
                let phase = rng.unit();
                let mut judge = judge.clone();
                if calibrated {
                    calibrate(&mut judge, world, phase, &mut rng);
                }
                trial_of(world, ratios, &judge, phase, &mut rng, &mut tallies);
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
            calibrated,
            ratio: *ratio,
            tallies,
        }));
    }
    Ok(cells)
}

/// Shows the judge the hours before.
fn calibrate(judge: &mut CanaryJudge, world: World, phase: f64, rng: &mut Rng) {
    let before = World {
        trouble: match world.trouble {
            Trouble::ColdStart => Trouble::None,
            other => other,
        },
        ..world
    };
    for minute in (1..=CALIBRATION).filter_map(|minute| i32::try_from(minute).ok()) {
        let minute = minute - i32::try_from(CALIBRATION).unwrap_or(i32::MAX);
        judge.calibrate(&before.interval(minute, 1.0, phase, rng));
    }
}

/// A run for each ratio.
fn trial_of(
    world: World,
    ratios: &[f64],
    judge: &CanaryJudge,
    phase: f64,
    rng: &mut Rng,
    tallies: &mut [[Tally; NAMES.len()]],
) {
    for (ratio, tallies) in ratios.iter().zip(tallies) {
        let run: Vec<_> = (1..=MINUTES)
            .filter_map(|minute| i32::try_from(minute).ok())
            .map(|minute| world.interval(minute, *ratio, phase, rng))
            .collect();
        let decided = contenders::decide(judge.clone(), &run);
        for (tally, decided) in tallies.iter_mut().zip(decided) {
            tally.add(decided);
        }
    }
}

/// In how many of the nine worlds without trouble less counts against ours than against each other.
fn cells_won(cells: &[Cell], against: Against) -> usize {
    won(cells, against, |cell| {
        against.count(cell.ratio, cell.ours())
    })
}

/// The same for one who always says "uncertain": what a comparison is worth that rewards silence.
fn cells_won_by_silence(cells: &[Cell], against: Against) -> usize {
    won(cells, against, |cell| {
        let silent = Tally::silent(cell.ours().n);
        against.count(cell.ratio, &silent)
    })
}

fn won(cells: &[Cell], against: Against, first: impl Fn(&Cell) -> u32) -> usize {
    let grid = TRAFFIC
        .iter()
        .flat_map(|traffic| NOISE.iter().map(move |noise| (traffic, noise)));
    grid.filter(|(traffic, noise)| {
        let sum = |count: &dyn Fn(&Cell) -> u32| -> u32 {
            cells
                .iter()
                .filter(|cell| cell.is_compared())
                .filter(|cell| cell.world.traffic == **traffic && cell.world.noise == **noise)
                .map(count)
                .sum()
        };
        let ours = sum(&|cell| first(cell));
        (1..NAMES.len())
            .all(|other| ours < sum(&|cell| against.count(cell.ratio, &cell.tallies[other])))
    })
    .count()
}

fn report(options: Options, cells: &[Cell]) -> Value {
    let false_rollback = |cell: &Cell| wilson_upper(cell.ours().rolled_back, cell.ours().n);
    let worst = |calibrated: bool| {
        cells
            .iter()
            .filter(|cell| cell.is_null() && cell.calibrated == calibrated)
            .map(false_rollback)
            .fold(0.0, f64::max)
    };
    let missed = |cell: &Cell| wilson_upper(cell.ours().promoted, cell.ours().n);
    let worst_missed = |calibrated: bool| {
        cells
            .iter()
            .filter(|cell| cell.ratio >= REGRESSION && cell.calibrated == calibrated)
            .map(missed)
            .fold(0.0, f64::max)
    };
    let minutes = |traffic: (f64, f64), noise: f64, ratio: f64| {
        cells
            .iter()
            .find(|cell| {
                let world = cell.world;
                cell.is_compared()
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
                "calibrated": cell.calibrated,
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
        "worst_false_rollback": worst(true),
        "worst_false_rollback_uncalibrated": worst(false),
        "worst_missed_2x": worst_missed(true),
        "worst_missed_2x_uncalibrated": worst_missed(false),
        "minutes_2x_3000rpm": minutes(TRAFFIC[2], 0.0, 2.0),
        "minutes_2x_3000rpm_robust": minutes(TRAFFIC[2], 0.3, 2.0),
        "minutes_10x_300rpm": minutes(TRAFFIC[1], 0.0, 10.0),
        "zero_traffic_uncertain": zero.map(|cell| share(cell.ours().uncertain(), cell.ours().n)),
        "cells_won_of_9": cells_won(cells, Against::Wrong(REGRESSION)),
        "cells_won_of_9_missed_from_1_5": cells_won(cells, Against::Wrong(MARGIN)),
        "cells_won_of_9_not_right": cells_won(cells, Against::NotRight),
        "cells_won_of_9_false_rollback_or_not_rolled_back": cells_won(cells, Against::Harm),
        "cells_won_of_9_by_always_uncertain": cells_won_by_silence(cells, Against::Wrong(REGRESSION)),
        "cells": table,
    })
}

/// A row for each cell: percent rolled back, promoted, uncertain, median minutes, failed requests.
#[expect(clippy::print_stdout, reason = "people read the table")]
fn print(cells: &[Cell]) {
    println!(
        "rolled back / promoted / uncertain in percent (median minutes to a rollback; failed requests of the canary until then)"
    );
    let header: Vec<_> = NAMES.iter().map(|name| format!("{name:^32}")).collect();
    println!(
        "| requests/min | noise | trouble        | ratio | {} |",
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
        let trouble = if cell.calibrated {
            cell.world.trouble.name()
        } else {
            "uncalibrated"
        };
        println!(
            "| {traffic:<12} | {:<5} | {trouble:<14} | {:<5} | {} |",
            cell.world.noise,
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
        assert_eq!(cells.len(), 9 * 5 + 24 * 2 + 9 * 2 + 1);
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
        assert_eq!(cells_won(&cells, Against::Wrong(REGRESSION)), 9);
        // Ours is the one that says nothing here.
        assert_eq!(cells_won_by_silence(&cells, Against::Wrong(REGRESSION)), 9);
        assert_eq!(cells_won(&cells, Against::NotRight), 0);
        // As many wrong ones in one world are no victory there.
        for cell in cells.iter_mut().take(RATIOS.len()) {
            cell.tallies[0] = cell.tallies[2].clone();
        }
        assert_eq!(cells_won(&cells, Against::Wrong(REGRESSION)), 8);
    }

    #[test]
    fn a_report_that_breaks_a_limit_or_lacks_a_number_fails() {
        let good = json!({
            "worst_false_rollback": 0.006,
            "worst_missed_2x": 0.003,
            "minutes_2x_3000rpm": 5,
            "minutes_2x_3000rpm_robust": 8,
            "minutes_10x_300rpm": 3,
            "zero_traffic_uncertain": 1.0,
            "cells_won_of_9": 8,
        });
        assert_eq!(broken(&good), Vec::<&str>::new());
        for (key, limit, is_least) in ACCEPTANCE {
            let mut bad = good.clone();
            let off = if is_least { -0.001 } else { 0.001 };
            bad[key] = json!(limit + off);
            assert_eq!(broken(&bad), [key]);
            bad[key] = Value::Null;
            assert_eq!(broken(&bad), [key]);
        }
    }
}
