//! The drill: lives, kills at chosen moments, and what the dead left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis::core::cycle::{Phase, replay};
use homeostasis::core::port::Store;
use homeostasis::core::record::{EventKind, HealEvent};
use homeostasis::core::{Clock, IncidentId, Rng, Timestamp};
use homeostasis::store::RedbStore;
use serde_json::{Map, Value, json};

use super::check::{self, Evidence, Fault, Journal};
use super::child::{ChildOptions, Mode};
use super::protocol::{Ack, Line};
use super::stage::Stage;
use super::world::World;

/// A life in which the chosen moment does not come is killed after this long all the same.
const LONGEST_LIFE: Duration = Duration::from_millis(1500);

/// How long the last life may take to finish what is open.
const LAST_LIFE: Duration = Duration::from_secs(60);

/// How long a process may take to end after its last line.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// From this many kills on, each stage must have been hit.
const ENOUGH_KILLS: u32 = 300;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) kills: u32,
    pub(crate) seed: u64,
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
    let finished = drill.finish()?;
    let events = drill.whole_journal()?;
    let world = World::open(folder)?.effects()?;
    let found = check::examine(&Evidence {
        journal: &events,
        world: &world,
        acks: &drill.acks,
    });
    for violation in &found.violations {
        eprintln!("{violation}");
    }
    let missed: Vec<_> = Stage::ALL
        .into_iter()
        .filter(|stage| drill.hits(*stage) == 0)
        .map(Stage::name)
        .collect();
    let hit_everything = missed.is_empty() || options.kills < ENOUGH_KILLS;
    if !hit_everything {
        eprintln!("never hit: {}", missed.join(", "));
    }
    if !finished {
        eprintln!("the last life had not finished after {LAST_LIFE:?}");
    }
    let sound = found.violations.is_empty() && finished && hit_everything;
    let phases: Map<String, Value> = Stage::ALL
        .into_iter()
        .map(|stage| (stage.name().to_owned(), drill.hits(stage).into()))
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
        "illegal_states": found.count(Fault::Illegal),
        "incidents": events.len(),
        "healed": found.healed,
        "handed_to_people": found.handed_to_people,
        "blamed": found.blamed,
        "runs": found.runs,
        "effects": world.len(),
        "acknowledged": drill.acks.len(),
        "phases": phases,
        "kills_during_recovery": drill.hits(Stage::Recovering),
        "seconds": SystemClock.now().since(began).as_secs_f64(),
    });
    Ok((report, sound))
}

/// When a life is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// This long after its start, whatever it does then.
    At(Duration),
    /// When the journal of some incident reaches the stage.
    Reached(Stage),
    /// When the journal of some incident is in the stage, and the commit that ends it is under way.
    Leaving(Stage),
    /// When the process runs, and nothing else.
    Starting,
    /// When the journal is open.
    Opened,
    /// When it has taken a run up again.
    Resumed,
    /// When it has nothing to do.
    Idle,
}

struct Drill<'a> {
    folder: &'a Path,
    base: Timestamp,
    chance: Rng,
    runtime: tokio::runtime::Runtime,
    lives: u32,
    acks: Vec<Ack>,
    hits: BTreeMap<Stage, u64>,
    /// Incidents whose run the last life left open, with the number of their events.
    left_open: BTreeMap<IncidentId, usize>,
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
            Stage::Idle => Moment::Idle,
            Stage::Effect => Moment::Reached(stage),
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
            Moment::Starting | Moment::Opened | Moment::Resumed => 4_000,
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
        })
    }

    fn one_kill(&mut self) -> Result<(), Box<dyn Error>> {
        let moment = self.choose();
        let tail = self.tail(moment);
        let mode = match moment {
            Moment::Idle => Mode::Calm,
            _ => Mode::Busy,
        };
        let mut life = self.start(mode)?;
        if life.until(moment)? == Lived::ToItsEnd {
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
        let mut resuming = !recovered;
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
                let news = events.get(*before..).unwrap_or_default();
                resuming |= news.iter().all(|event| {
                    matches!(
                        event.kind,
                        EventKind::RunResumed { .. } | EventKind::AnomalyJoined { .. }
                    )
                });
            }
            if matches!(
                incident.phase,
                Phase::Running { .. } | Phase::Undoing { .. }
            ) {
                left_open.insert(incident.id, events.len());
            }
        }
        self.left_open = left_open;
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
            Lived::ToItsEnd => {
                let status = life.end()?;
                if !status.success() {
                    return Err(format!("the last life ended badly: {status}").into());
                }
                self.note_acks(std::mem::take(&mut life.lines));
                Ok(true)
            }
            Lived::ToTheMoment => {
                let lines = life.kill()?;
                self.note_acks(lines);
                Ok(false)
            }
        }
    }

    fn whole_journal(&self) -> Result<Journal, Box<dyn Error>> {
        let store = RedbStore::open(self.folder.join("journal.redb"))?;
        self.runtime.block_on(async {
            let mut all = Vec::new();
            for id in store.incidents(usize::MAX).await? {
                all.push((id, store.read(id).await?));
            }
            Ok(all)
        })
    }
}

/// How waiting for a moment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lived {
    ToTheMoment,
    /// The process said its last line: it ended, or is about to.
    ToItsEnd,
}

/// A child process, and what it said. Dropping it kills it.
struct Life {
    child: Child,
    /// The child ends when this closes: it does not survive a parent that is killed.
    _tie: Option<ChildStdin>,
    said: Receiver<Result<Line, String>>,
    lines: Vec<Line>,
    started: Timestamp,
}

impl Life {
    fn start(options: &ChildOptions) -> Result<Self, Box<dyn Error>> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the drill is about a real process, and no part of the healer"
        )]
        let mut command = std::process::Command::new(std::env::current_exe()?);
        let mut child = command
            .arg(crate::args::CRASH_CHILD)
            .arg(&options.folder)
            .args([options.seed.to_string(), options.base.to_string()])
            .arg(options.mode.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (tie, out) = (child.stdin.take(), child.stdout.take());
        let (sender, said) = mpsc::channel();
        let life = Self {
            child,
            _tie: tie,
            said,
            lines: Vec::new(),
            started: SystemClock.now(),
        };
        let out = out.ok_or("a child without an output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let line = line.map_err(|error| error.to_string()).and_then(|text| {
                    serde_json::from_str(&text).map_err(|error| format!("{text:?}: {error}"))
                });
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(life)
    }

    /// Listens until the moment has come or the life is over.
    ///
    /// # Errors
    /// If it says something that cannot be understood.
    fn until(&mut self, moment: Moment) -> Result<Lived, String> {
        let limit = match moment {
            Moment::At(limit) => limit,
            _ => LONGEST_LIFE,
        };
        let mut stages = BTreeMap::new();
        loop {
            let left = limit.saturating_sub(SystemClock.now().since(self.started));
            match self.said.recv_timeout(left) {
                Ok(line) => {
                    let line = line?;
                    let come = has_come(moment, &line, &mut stages);
                    self.lines.push(line);
                    if come {
                        return Ok(Lived::ToTheMoment);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(Lived::ToItsEnd),
                Err(RecvTimeoutError::Timeout) => return Ok(Lived::ToTheMoment),
            }
        }
    }

    /// Kills it now; everything it said, to the last line.
    fn kill(mut self) -> Result<Vec<Line>, Box<dyn Error>> {
        self.child.kill()?;
        let status = self.child.wait()?;
        if status.code().is_some() {
            return Err(format!("a child ended by itself: {status}").into());
        }
        for line in &self.said {
            self.lines.push(line?);
        }
        Ok(std::mem::take(&mut self.lines))
    }

    /// How it ended, when it said its last line by itself.
    fn end(&mut self) -> Result<ExitStatus, Box<dyn Error>> {
        for _ in 0..LAST_BREATH.as_millis() {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(format!("a child said its last line and did not end within {LAST_BREATH:?}").into())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // It may be dead already; then both calls say so, and nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `line` is what `moment` waits for; `stages` remembers where the incidents stand.
fn has_come(moment: Moment, line: &Line, stages: &mut BTreeMap<IncidentId, Stage>) -> bool {
    let leaving = match line {
        Line::Trying { incident } => stages.get(incident).copied(),
        _ => None,
    };
    if let Line::Durable(ack) = line {
        match ack.stage {
            Some(stage) => stages.insert(ack.incident, stage),
            None => stages.remove(&ack.incident),
        };
    }
    match (moment, line) {
        (Moment::Starting, Line::Starting)
        | (Moment::Opened, Line::Opened)
        | (Moment::Idle, Line::Idle)
        | (Moment::Reached(Stage::Effect), Line::Effect { .. }) => true,
        (Moment::Resumed, Line::Durable(ack)) => ack.event == "run_resumed",
        (Moment::Reached(stage), Line::Durable(ack)) => ack.stage == Some(stage),
        (Moment::Leaving(stage), Line::Trying { .. }) => leaving == Some(stage),
        _ => false,
    }
}
