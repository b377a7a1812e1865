//! The report: several worlds at once, each with healers and a journal of its own, and what came of
//! all of them.

use std::error::Error;
use std::path::Path;

use homeostasis::SystemClock;
use homeostasis::core::{Clock, Rng};
use serde_json::{Map, Value, json};

use super::check::Fault;
use super::drill::{LAST_LIFE, Share, Tally, go_through};
use super::stage::{Class, Stage};

/// From this many kills on, each stage must have been hit, each check of the gate that paces must
/// have held something back, and each answer been given.
const ENOUGH_KILLS: u32 = 300;

/// From this many kills on, each class of stages must have been hit.
const ENOUGH_FOR_CLASSES: u32 = 50;

/// The checks of the gate that pace.
const PACING: [&str; 3] = ["RateLimit", "CoolDown", "CircuitBreaker"];

/// What people may answer.
const ANSWERS: [&str; 4] = ["resume", "skip", "mark done", "abort"];

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) kills: u32,
    pub(crate) seed: u64,
    /// How often a healer is stopped while another takes over, and wakes again.
    pub(crate) stops: u32,
    /// Over how many worlds kills and stops are spread.
    pub(crate) worlds: u32,
}

impl Options {
    /// What each world goes through: the same for the same options.
    fn shares(self) -> Vec<Share> {
        let chance = Rng::from_seed(self.seed);
        let part = |n: u32, world: u32| n / self.worlds + u32::from(world < n % self.worlds);
        let mut first_stop = 0;
        let shares = (0..self.worlds).map(|world| {
            let share = Share {
                kills: part(self.kills, world),
                stops: part(self.stops, world),
                first_stop,
                seed: chance.fork(u64::from(world)).next_u64(),
            };
            first_stop += share.stops;
            share
        });
        shares.collect()
    }
}

/// Kills as often as asked, and checks. Says the report and whether everything held.
pub(crate) fn run(options: Options) -> Result<(Value, bool), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let result = run_in(home.path(), options);
    if !matches!(result, Ok((_, true))) {
        eprintln!("seed {}, kept: {}", options.seed, home.keep().display());
    }
    result
}

fn run_in(home: &Path, options: Options) -> Result<(Value, bool), Box<dyn Error>> {
    let began = SystemClock.now();
    let tallies: Vec<Result<Tally, String>> = std::thread::scope(|scope| {
        let worlds = options.shares().into_iter().enumerate();
        let worlds: Vec<_> = worlds
            .map(|(world, share)| {
                scope.spawn(move || {
                    let folder = home.join(format!("world-{world}"));
                    std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
                    let said = |what: &str| eprintln!("world {world}: {what}");
                    go_through(&folder, share, said)
                        .map_err(|error| format!("world {world}: {error}"))
                })
            })
            .collect();
        let ended = worlds.into_iter().map(|world| {
            let died = |_| Err("the thread of a world panicked".to_owned());
            world.join().unwrap_or_else(died)
        });
        ended.collect()
    });
    let mut all = Tally::default();
    for tally in tallies {
        all.merge(tally?);
    }
    let shown = complain(&all, options);
    let sound = all.found.violations.is_empty() && all.unfinished == 0 && shown;
    let seconds = SystemClock.now().since(began).as_secs_f64();
    Ok((report(&all, options, seconds), sound))
}

/// Says what is wrong; true if so many kills and stops showed what they should have.
fn complain(all: &Tally, options: Options) -> bool {
    for violation in &all.found.violations {
        eprintln!("{violation}");
    }
    if all.unfinished > 0 {
        eprintln!("the last life had not finished after {LAST_LIFE:?}");
    }
    let mut complaints = Vec::new();
    let missed = missed(all, options.kills);
    if !missed.is_empty() {
        complaints.push(format!("never hit: {}", missed.join(", ")));
    }
    if options.kills >= ENOUGH_KILLS {
        let found = &all.found;
        for (what, names, seen) in [
            ("held a plan back", &PACING[..], &found.held_back),
            ("was answered", &ANSWERS[..], &found.answers),
        ] {
            let never = names.iter().filter(|name| !seen.contains_key(**name));
            let never: Vec<_> = never.copied().collect();
            if !never.is_empty() {
                complaints.push(format!("never {what}: {}", never.join(", ")));
            }
        }
    }
    if let Some(what) = all.stops.too_little(all.found.late) {
        complaints.push(format!("the stops show too little: {what}"));
    }
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    complaints.is_empty()
}

/// What should have been hit by so many kills and was not.
fn missed(all: &Tally, kills: u32) -> Vec<&'static str> {
    let is_missed = |stage: &Stage| !all.hits.contains_key(stage);
    let classes = Class::ALL.into_iter();
    match kills {
        ENOUGH_KILLS.. => {
            let stages = Stage::ALL.into_iter().filter(is_missed);
            stages.map(Stage::name).collect()
        }
        ENOUGH_FOR_CLASSES.. => classes
            .filter(|class| class_hits(all, *class) == 0)
            .map(Class::name)
            .collect(),
        _ => Vec::new(),
    }
}

fn class_hits(all: &Tally, class: Class) -> u64 {
    let of_it = all.hits.iter().filter(|(stage, _)| stage.class() == class);
    of_it.map(|(_, n)| n).sum()
}

fn report(all: &Tally, options: Options, seconds: f64) -> Value {
    let found = &all.found;
    let hits = |stage: Stage| all.hits.get(&stage).copied().unwrap_or(0);
    let stages: Map<String, Value> = Stage::ALL
        .into_iter()
        .map(|stage| (stage.name().to_owned(), hits(stage).into()))
        .collect();
    let classes: Map<String, Value> = Class::ALL
        .into_iter()
        .map(|class| (class.name().to_owned(), class_hits(all, class).into()))
        .collect();
    json!({
        "suite": "crash",
        "seed": options.seed,
        "kills": options.kills,
        "worlds": options.worlds,
        "restarts": all.lives - options.worlds,
        "lost": found.count(Fault::Lost),
        "repeated": found.count(Fault::Repeated),
        "repeated_harmless": found.repeated_harmless,
        "stuck": found.count(Fault::Stuck),
        "wrong_values": found.count(Fault::Wrong),
        "held_back_by": found.held_back,
        "told_to_people": all.told,
        "calls_by_level": found.levels,
        "answers_of_people": found.answers,
        "double_heals": found.count(Fault::Doubled),
        "limits_forgotten": found.count(Fault::Forgotten),
        "illegal_states": found.count(Fault::Illegal),
        "incidents": all.incidents,
        "healed": found.healed,
        "handed_to_people": found.handed_to_people,
        "blamed": found.blamed,
        "runs": found.runs,
        "effects": all.effects,
        "acknowledged": all.acknowledged,
        "kills_by_class": classes,
        "kills_by_stage": stages,
        "stops": all.stops.report(found.late),
        "seconds": seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kill_and_every_stop_is_in_one_world_and_no_two_worlds_are_the_same() {
        let options = Options {
            kills: 11,
            stops: 7,
            seed: 3,
            worlds: 4,
        };
        let shares = options.shares();
        let kills: Vec<_> = shares.iter().map(|share| share.kills).collect();
        assert_eq!(kills, [3, 3, 3, 2]);
        let stops: Vec<_> = shares.iter().map(|it| (it.first_stop, it.stops)).collect();
        assert_eq!(stops, [(0, 2), (2, 2), (4, 2), (6, 1)]);
        let seeds: std::collections::BTreeSet<_> = shares.iter().map(|it| it.seed).collect();
        assert_eq!(seeds.len(), 4);
    }
}
