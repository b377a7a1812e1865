//! The drill: lives, kills at chosen moments, and what the dead left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis::core::cycle::{Phase, replay};
use homeostasis::core::policy::Limit;
use homeostasis::core::port::Store;
use homeostasis::core::record::{EventKind, HealEvent};
use homeostasis::core::{Clock, IncidentId, Rng, Timestamp};
use homeostasis::store::RedbStore;
use serde_json::{Map, Value, json};

use super::check::{self, Evidence, Fault, Journal};
use super::child::{self, ChildOptions, Mode};
use super::life::{Life, Lived, Moment};
use super::protocol::{Ack, Line};
use super::stage::{Class, Stage};
use super::stops::{Stops, stop_and_take_over};
use super::world::{SERVICES, World};

/// How long the last life may take to finish what is open.
const LAST_LIFE: Duration = Duration::from_secs(60);

/// From this many kills on, each stage must have been hit.
const ENOUGH_KILLS: u32 = 300;

/// From this many kills on, each class of stages must have been hit.
const ENOUGH_FOR_CLASSES: u32 = 50;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) kills: u32,
    pub(crate) seed: u64,
    /// How often a healer is stopped while another takes over, and wakes again.
    pub(crate) stops: u32,
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

fn run_in(folder: &Path, options: Options) -> Result<(Value, bool), Box<dyn Error>> {
    let began = SystemClock.now();
    let mut drill = Drill::new(options, folder, began)?;
    for kill in 1..=options.kills {
        drill.one_kill()?;
        if kill % 50 == 0 {
            let seconds = SystemClock.now().since(began).as_secs_f64();
            eprintln!("{kill} kills in {seconds:.1} s");
        }
    }
    let mut stops = Stops::default();
    for stop in 1..=options.stops {
        drill.one_stop(&mut stops)?;
        if stop % 20 == 0 {
            let seconds = SystemClock.now().since(began).as_secs_f64();
            eprintln!("{stop} stops in {seconds:.1} s");
        }
    }
    let finished = drill.finish()?;
    let (events, counters) = drill.whole_journal()?;
    let world = World::open(folder)?;
    let (calls, mut settings) = (world.calls()?, BTreeMap::new());
    for service in SERVICES {
        settings.insert(service.to_owned(), world.setting(service)?);
    }
    let world = world.effects()?;
    let found = check::examine(&Evidence {
        journal: &events,
        world: &world,
        acks: &drill.acks,
        policy: &child::policy(),
        counters: &counters,
        settings: &settings,
        calls: &calls,
    });
    for violation in &found.violations {
        eprintln!("{violation}");
    }
    let missed = drill.missed(options.kills);
    if !missed.is_empty() {
        eprintln!("never hit: {}", missed.join(", "));
    }
    if !finished {
        eprintln!("the last life had not finished after {LAST_LIFE:?}");
    }
    let too_little = stops.too_little(found.late);
    if let Some(what) = &too_little {
        eprintln!("the stops show too little: {what}");
    }
    let idle: Vec<_> = ["RateLimit", "CoolDown", "CircuitBreaker"]
        .into_iter()
        .filter(|check| options.kills >= ENOUGH_KILLS && !found.held_back.contains_key(*check))
        .collect();
    if !idle.is_empty() {
        eprintln!("never held a plan back: {}", idle.join(", "));
    }
    let shown = missed.is_empty() && too_little.is_none() && idle.is_empty();
    let sound = found.violations.is_empty() && finished && shown;
    let stages: Map<String, Value> = Stage::ALL
        .into_iter()
        .map(|stage| (stage.name().to_owned(), drill.hits(stage).into()))
        .collect();
    let classes: Map<String, Value> = Class::ALL
        .into_iter()
        .map(|class| (class.name().to_owned(), drill.class_hits(class).into()))
        .collect();
    let report = json!({
        "suite": "crash",
        "seed": options.seed,
        "kills": options.kills,
        "restarts": drill.lives - 1,
        "lost": found.count(Fault::Lost),
        "repeated": found.count(Fault::Repeated),
        "repeated_harmless": found.repeated_harmless,
        "stuck": found.count(Fault::Stuck),
        "wrong_values": found.count(Fault::Wrong),
        "held_back_by": found.held_back,
        "calls_to_people": calls.len(),
        "double_heals": found.count(Fault::Doubled),
        "limits_forgotten": found.count(Fault::Forgotten),
        "illegal_states": found.count(Fault::Illegal),
        "incidents": events.len(),
        "healed": found.healed,
        "handed_to_people": found.handed_to_people,
        "blamed": found.blamed,
        "runs": found.runs,
        "effects": world.len(),
        "acknowledged": drill.acks.len(),
        "kills_by_class": classes,
        "kills_by_stage": stages,
        "stops": stops.report(found.late),
        "seconds": SystemClock.now().since(began).as_secs_f64(),
    });
    Ok((report, sound))
}

/// A run that a life left open.
#[derive(Debug, Clone, Copy)]
struct LeftOpen {
    n_events: usize,
    /// It is being taken back.
    undo: bool,
}

struct Drill<'a> {
    folder: &'a Path,
    base: Timestamp,
    chance: Rng,
    runtime: tokio::runtime::Runtime,
    lives: u32,
    acks: Vec<Ack>,
    hits: BTreeMap<Stage, u64>,
    /// Incidents whose run the last life left open.
    left_open: BTreeMap<IncidentId, LeftOpen>,
}

impl<'a> Drill<'a> {
    fn new(options: Options, folder: &'a Path, base: Timestamp) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            folder,
            base,
            chance: Rng::from_seed(options.seed),
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
            lives: 0,
            acks: Vec::new(),
            hits: BTreeMap::new(),
            left_open: BTreeMap::new(),
        })
    }

    fn hits(&self, stage: Stage) -> u64 {
        self.hits.get(&stage).copied().unwrap_or(0)
    }

    fn class_hits(&self, class: Class) -> u64 {
        let of_it = Stage::ALL
            .into_iter()
            .filter(|stage| stage.class() == class);
        of_it.map(|stage| self.hits(stage)).sum()
    }

    /// What should have been hit by so many kills and was not.
    fn missed(&self, kills: u32) -> Vec<&'static str> {
        let stages = Stage::ALL
            .into_iter()
            .filter(|stage| self.hits(*stage) == 0);
        let classes = Class::ALL
            .into_iter()
            .filter(|class| self.class_hits(*class) == 0);
        match kills {
            ENOUGH_KILLS.. => stages.map(Stage::name).collect(),
            ENOUGH_FOR_CLASSES.. => classes.map(Class::name).collect(),
            _ => Vec::new(),
        }
    }

    /// Three of ten lives end at any time, two while they recover, the rest where the fewest did.
    fn choose(&mut self) -> Moment {
        let roll = self.chance.below(10);
        if roll < 3 {
            return Moment::At(self.chance.jitter(Duration::from_millis(300)));
        }
        let fewest = Stage::ALL.iter().map(|stage| self.hits(*stage)).min();
        let rarest: Vec<_> = Stage::ALL
            .into_iter()
            .filter(|stage| Some(self.hits(*stage)) == fewest)
            .collect();
        let picked = self.chance.below(rarest.len() as u64);
        let stage = usize::try_from(picked).map_or(rarest[0], |at| rarest[at]);
        match stage {
            _ if roll < 5 => self.during_recovery(),
            Stage::Recovering => self.during_recovery(),
            // Only a life that left an undo behind can be followed by one that takes it up.
            Stage::RecoveringUndo if self.left_open.values().any(|left| left.undo) => {
                Moment::ResumedUndo
            }
            Stage::RecoveringUndo => Moment::Reached(Stage::UndoIntent),
            Stage::Idle => Moment::Idle,
            Stage::Effect | Stage::UndoEffect => Moment::Reached(stage),
            _ if self.chance.below(3) == 0 => Moment::Leaving(stage),
            _ => Moment::Reached(stage),
        }
    }

    fn during_recovery(&mut self) -> Moment {
        match self.chance.below(4) {
            0 => Moment::At(self.chance.jitter(Duration::from_millis(15))),
            1 => Moment::Starting,
            2 => Moment::Opened,
            _ => Moment::Resumed,
        }
    }

    /// How long after the moment the kill falls.
    fn tail(&mut self, moment: Moment) -> Duration {
        let longest = match moment {
            Moment::At(_) => 0,
            Moment::Leaving(_) => 5_000,
            Moment::Starting | Moment::Opened => 4_000,
            Moment::Resumed | Moment::ResumedUndo => 2_000,
            Moment::Reached(_) | Moment::Idle => 800,
        };
        self.chance.jitter(Duration::from_micros(longest))
    }

    fn start(&mut self, mode: Mode) -> Result<Life, Box<dyn Error>> {
        self.lives += 1;
        Life::start(&ChildOptions {
            folder: self.folder.to_owned(),
            seed: self.chance.next_u64(),
            base: self.base.as_nanos(),
            mode,
            shared: false,
        })
    }

    fn one_stop(&mut self, stops: &mut Stops) -> Result<(), Box<dyn Error>> {
        let options = ChildOptions {
            folder: self.folder.to_owned(),
            seed: self.chance.next_u64(),
            base: self.base.as_nanos(),
            mode: Mode::Busy,
            shared: true,
        };
        self.lives += 2;
        let lines = stop_and_take_over(&options, &mut self.chance, stops)?;
        self.note_acks(lines);
        Ok(())
    }

    fn one_kill(&mut self) -> Result<(), Box<dyn Error>> {
        let moment = self.choose();
        let tail = self.tail(moment);
        let mode = match moment {
            Moment::Idle => Mode::Calm,
            _ => Mode::Busy,
        };
        let mut life = self.start(mode)?;
        if life.until(moment)? == Lived::End {
            return Err(format!("life {} ended by itself: {}", self.lives, life.end()?).into());
        }
        std::thread::sleep(tail);
        let lines = life.kill()?;
        let recovered = lines.contains(&Line::Recovered);
        self.note_acks(lines);
        self.post_mortem(recovered)
    }

    fn note_acks(&mut self, lines: Vec<Line>) {
        self.acks
            .extend(lines.into_iter().filter_map(|line| match line {
                Line::Durable(ack) => Some(ack),
                _ => None,
            }));
    }

    /// Counts where the kill hit, once for each stage some open incident was in.
    fn post_mortem(&mut self, recovered: bool) -> Result<(), Box<dyn Error>> {
        let world = World::open(self.folder)?;
        let open = self.open_incidents()?;
        let mut hit = BTreeSet::new();
        // Before it said so, it had not gone on with what was left open, if anything was.
        let mut resuming = !recovered && !self.left_open.is_empty();
        let mut resuming_undo = false;
        let mut left_open = BTreeMap::new();
        for events in &open {
            // A journal that is not legal stays so: the check at the end names it.
            let Ok(Some(incident)) = replay(events) else {
                continue;
            };
            let service = incident.anomalies[0].target.service_name();
            let effects = world.effects_on(service)?;
            hit.extend(Stage::of(&incident, |intent| {
                effects.iter().any(|effect| {
                    effect.key == intent.key.as_str() && effect.attempt == intent.attempt
                })
            }));
            if let Some(before) = self.left_open.get(&incident.id) {
                let news = events.get(before.n_events..).unwrap_or_default();
                let still = news.iter().all(|event| {
                    matches!(
                        event.kind,
                        EventKind::RunResumed { .. } | EventKind::AnomalyJoined { .. }
                    )
                });
                resuming |= still;
                let back = matches!(incident.phase, Phase::Undoing { .. });
                resuming_undo |= (still || !recovered) && before.undo && back;
            }
            if matches!(
                incident.phase,
                Phase::Running { .. } | Phase::Undoing { .. }
            ) {
                let undo = matches!(incident.phase, Phase::Undoing { .. });
                let n_events = events.len();
                left_open.insert(incident.id, LeftOpen { n_events, undo });
            }
        }
        self.left_open = left_open;
        if resuming_undo {
            hit.insert(Stage::RecoveringUndo);
        }
        if resuming {
            hit.insert(Stage::Recovering);
        } else if hit.is_empty() {
            hit.insert(Stage::Idle);
        }
        for stage in hit {
            *self.hits.entry(stage).or_default() += 1;
        }
        Ok(())
    }

    /// The events of what is open, from a copy: the next life must meet the file as it was left.
    fn open_incidents(&self) -> Result<Vec<Vec<HealEvent>>, Box<dyn Error>> {
        let journal = self.folder.join("journal.redb");
        if !journal.exists() {
            return Ok(Vec::new());
        }
        let copy = self.folder.join("post-mortem.redb");
        std::fs::copy(journal, &copy)?;
        let store = RedbStore::open(&copy)?;
        self.runtime.block_on(async {
            let mut open = Vec::new();
            for id in store.open_incidents().await? {
                open.push(store.read(id).await?);
            }
            Ok(open)
        })
    }

    /// One more life that may finish. Says whether it did in time.
    fn finish(&mut self) -> Result<bool, Box<dyn Error>> {
        let mut life = self.start(Mode::Finish)?;
        match life.until(Moment::At(LAST_LIFE))? {
            Lived::End => {
                let status = life.end()?;
                if !status.success() {
                    return Err(format!("the last life ended badly: {status}").into());
                }
                self.note_acks(std::mem::take(&mut life.lines));
                Ok(true)
            }
            Lived::Moment | Lived::Limit => {
                let lines = life.kill()?;
                self.note_acks(lines);
                Ok(false)
            }
        }
    }

    /// All events, and the counters of the runs in them.
    fn whole_journal(&self) -> Result<(Journal, BTreeMap<String, u64>), Box<dyn Error>> {
        let store = RedbStore::open(self.folder.join("journal.redb"))?;
        self.runtime.block_on(async {
            let mut all = Vec::new();
            let mut counters = BTreeMap::new();
            for id in store.incidents(usize::MAX).await? {
                let events = store.read(id).await?;
                for event in &events {
                    let EventKind::Planned { plans, .. } = &event.kind else {
                        continue;
                    };
                    for counter in plans.iter().flat_map(Limit::counters) {
                        let hits = store.hits(&counter, Timestamp::EPOCH).await?;
                        counters.insert(counter, hits);
                    }
                }
                all.push((id, events));
            }
            Ok((all, counters))
        })
    }
}
