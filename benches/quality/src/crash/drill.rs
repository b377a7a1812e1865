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

use super::check::{self, Evidence, Findings, Journal};
use super::child::{self, ChildOptions, Mode};
use super::life::{Life, Lived, Moment, let_go_of_closed_files};
use super::protocol::{Ack, Line};
use super::stage::Stage;
use super::stops::{Stops, stop_and_take_over};
use super::world::{SERVICES, World};

/// How long the last life may take to finish what is open.
pub(super) const LAST_LIFE: Duration = Duration::from_secs(60);

/// What one world has to tell when all is over.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) hits: BTreeMap<Stage, u64>,
    pub(super) stops: Stops,
    pub(super) found: Findings,
    pub(super) lives: u32,
    pub(super) acknowledged: usize,
    pub(super) incidents: usize,
    pub(super) effects: usize,
    pub(super) told: usize,
    /// In how many worlds the last life had not finished in time.
    pub(super) unfinished: u32,
}

impl Tally {
    pub(super) fn merge(&mut self, other: Self) {
        for (stage, n) in other.hits {
            *self.hits.entry(stage).or_default() += n;
        }
        self.stops.merge(&other.stops);
        self.found.merge(other.found);
        self.lives += other.lives;
        self.acknowledged += other.acknowledged;
        self.incidents += other.incidents;
        self.effects += other.effects;
        self.told += other.told;
        self.unfinished += other.unfinished;
    }
}

/// What one world goes through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) kills: u32,
    pub(super) stops: u32,
    /// How many stops the worlds before it have: each place gets its turn.
    pub(super) first_stop: u32,
    pub(super) seed: u64,
}

/// Kills and stops in one world, and checks it.
pub(super) fn go_through(
    folder: &Path,
    share: Share,
    said: impl Fn(&str),
) -> Result<Tally, Box<dyn Error>> {
    let began = SystemClock.now();
    let mut drill = Drill::new(share.seed, folder, began)?;
    let seconds = || SystemClock.now().since(began).as_secs_f64();
    for kill in 1..=share.kills {
        drill.one_kill()?;
        if kill % 50 == 0 {
            said(&format!("{kill} kills in {:.1} s", seconds()));
        }
    }
    let mut stops = Stops::after(share.first_stop);
    for stop in 1..=share.stops {
        drill.one_stop(&mut stops)?;
        if stop % 10 == 0 {
            said(&format!("{stop} stops in {:.1} s", seconds()));
        }
    }
    let finished = drill.finish()?;
    let (events, counters, untold) = drill.whole_journal()?;
    let world = World::open(folder)?;
    let (told, mut settings) = (world.all_told()?, BTreeMap::new());
    for service in SERVICES {
        settings.insert(service.to_owned(), world.setting(service)?);
    }
    let effects = world.effects()?;
    let found = check::examine(&Evidence {
        journal: &events,
        world: &effects,
        acks: &drill.acks,
        policy: &child::policy(),
        counters: &counters,
        settings: &settings,
        told: &told,
        untold: &untold,
    });
    Ok(Tally {
        hits: drill.hits,
        stops,
        found,
        lives: drill.lives,
        acknowledged: drill.acks.len(),
        incidents: events.len(),
        effects: effects.len(),
        told: told.values().map(Vec::len).sum(),
        unfinished: u32::from(!finished),
    })
}

/// All events, the counters of the runs in them, and the messages that nobody was told yet.
type WholeJournal = (Journal, BTreeMap<String, u64>, Vec<String>);

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
    fn new(seed: u64, folder: &'a Path, base: Timestamp) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            folder,
            base,
            chance: Rng::from_seed(seed),
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
        let open = self.runtime.block_on(async {
            let mut open = Vec::new();
            for id in store.open_incidents().await? {
                open.push(store.read(id).await?);
            }
            Ok(open)
        });
        drop(store);
        let_go_of_closed_files();
        open
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

    fn whole_journal(&self) -> Result<WholeJournal, Box<dyn Error>> {
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
            let untold = store.documents("outbox/", usize::MAX).await?;
            let untold = untold.into_iter().map(|(document, _)| document);
            Ok((all, counters, untold.collect()))
        })
    }
}
