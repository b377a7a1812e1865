//! Stops: a healer stands still past its leases, another takes over, and the first wakes.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use homeostasis::core::port::{LocalCoordinator, Store};
use homeostasis::core::{IncidentId, Rng, Timestamp};
use homeostasis::store::RedbStore;
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use super::child::{ChildOptions, Mode, SHARED_TTL};
use super::clock::{FastClock, SPEED};
use super::life::{Life, Lived, Moment, let_go_of_closed_files};
use super::protocol::Line;
use super::remote::{self, Refused};
use super::stage::Stage;

/// Where the first healer is stopped, in turn; what it holds there, another must take over.
const PLACES: [Stage; 8] = [
    Stage::Intent,
    Stage::Effect,
    Stage::UndoIntent,
    Stage::Backoff,
    Stage::Opened,
    Stage::Verifying,
    Stage::UndoEffect,
    Stage::Parallel,
];

/// How long the first healer may take to get where it is stopped; it is stopped then in any case.
const REACHES: Duration = Duration::from_secs(3);

/// How long the second healer may take to go on with a run of the first.
const TAKES_OVER: Duration = Duration::from_millis(2_500);

/// From this many stops at each place on, there must be a takeover from each.
const ENOUGH_PER_PLACE: usize = 5;

/// How long both are left alone after that.
const TOGETHER: Duration = Duration::from_millis(400);

/// What came of the stops.
#[derive(Debug, Default)]
pub(super) struct Stops {
    made: u32,
    /// How many others made before: each place has its turn.
    before: u32,
    /// How often a run of a healer that was stopped was gone on with by another.
    takeovers: u32,
    /// For each place how often the healer was stopped when it was reached, and how often another
    /// then went on with what the first had begun.
    by_place: BTreeMap<Stage, [u32; 2]>,
    refused: Arc<Refused>,
}

impl Stops {
    /// None yet, and others have made `before`.
    pub(super) fn after(before: u32) -> Self {
        Self {
            before,
            ..Self::default()
        }
    }

    /// What came of those of another world, too.
    pub(super) fn merge(&mut self, other: &Self) {
        self.made += other.made;
        self.takeovers += other.takeovers;
        for (place, [reached, taken_over]) in &other.by_place {
            let counts = self.by_place.entry(*place).or_default();
            counts[0] += reached;
            counts[1] += taken_over;
        }
        for (sum, part) in self
            .refused
            .counters()
            .into_iter()
            .zip(other.refused.counters())
        {
            sum.fetch_add(part.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// What so many stops should have shown and did not, `late` effects among it.
    pub(super) fn too_little(&self, late: u64) -> Option<String> {
        if self.made == 0 {
            return None;
        }
        if self.takeovers == 0 {
            return Some("nobody took over from a healer that was stopped".to_owned());
        }
        if usize::try_from(self.made).is_ok_and(|made| made < ENOUGH_PER_PLACE * PLACES.len()) {
            return None;
        }
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let refused = &self.refused;
        let tried = count(&refused.fenced) + count(&refused.conflicts) + count(&refused.lost);
        if late + tried == 0 {
            return Some("nobody who woke tried anything".to_owned());
        }
        let taken_over = |place: &&Stage| self.by_place.get(*place).is_some_and(|it| it[1] > 0);
        let missed: Vec<_> = PLACES.iter().filter(|place| !taken_over(place)).collect();
        let names: Vec<_> = missed.into_iter().map(|place| place.name()).collect();
        (!names.is_empty()).then(|| format!("nobody took over from {}", names.join(", ")))
    }

    pub(super) fn report(&self, late: u64) -> Value {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let places: Map<String, Value> = self
            .by_place
            .iter()
            .map(|(place, [reached, taken_over])| {
                let counts = json!({ "reached": reached, "taken_over": taken_over });
                (place.name().to_owned(), counts)
            })
            .collect();
        json!({
            "stops": self.made,
            "by_place": places,
            "takeovers": self.takeovers,
            "late_effects_refused": late,
            "late_writes_fenced": count(&self.refused.fenced),
            "late_writes_conflicting": count(&self.refused.conflicts),
            "lost_leases_told": count(&self.refused.lost),
        })
    }
}

/// One stop, with its takeover and its awakening; gives what both healers said.
pub(super) fn stop_and_take_over(
    options: &ChildOptions,
    chance: &mut Rng,
    stops: &mut Stops,
) -> Result<Vec<Line>, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(options.folder.join("journal.redb"))?);
    let clock = FastClock {
        base: Timestamp::from_nanos(options.base),
    };
    let leases = LocalCoordinator::new(Arc::clone(&store), Arc::new(clock));
    let socket = ChildOptions::socket(&options.folder);
    let _entered = runtime.enter();
    runtime.spawn(remote::serve(
        socket.clone(),
        store,
        Arc::new(leases),
        Arc::clone(&stops.refused),
    ));
    while !socket.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let lines = play(options, chance, stops)?;
    // The file is closed before the next life opens it.
    runtime.shutdown_timeout(Duration::from_secs(5));
    let_go_of_closed_files();
    std::fs::remove_file(socket)?;
    Ok(lines)
}

fn play(
    options: &ChildOptions,
    chance: &mut Rng,
    stops: &mut Stops,
) -> Result<Vec<Line>, Box<dyn Error>> {
    let place = PLACES[usize::try_from(stops.before + stops.made)? % PLACES.len()];
    stops.made += 1;
    let mut first = Life::start(options)?;
    let reached = alive(first.until_or(Moment::Reached(place), REACHES)?)?;
    std::thread::sleep(chance.jitter(Duration::from_micros(1_500)));
    first.signal(Signal::STOP)?;
    std::thread::sleep(SHARED_TTL / SPEED);
    alive(first.listen(Duration::ZERO, |_| false)?)?;
    let in_flight = in_flight(&first.lines);
    let second_options = ChildOptions {
        seed: chance.next_u64(),
        mode: Mode::Calm,
        ..options.clone()
    };
    let mut second = Life::start(&second_options)?;
    let resumed = |line: &Line| {
        let Line::Durable(ack) = line else {
            return false;
        };
        // A verdict needs no lease: who gives it on the run of another has taken over.
        matches!(ack.event.as_str(), "run_resumed" | "verified")
            && in_flight.contains(&ack.incident)
    };
    let took_over = alive(second.listen(TAKES_OVER, resumed)?)?;
    stops.takeovers += u32::from(took_over);
    if reached {
        let counts = stops.by_place.entry(place).or_default();
        counts[0] += 1;
        counts[1] += u32::from(took_over);
    }
    // It wakes in the middle of what the other does, or when that is over.
    std::thread::sleep(chance.jitter(Duration::from_millis(60)));
    first.signal(Signal::CONT)?;
    std::thread::sleep(TOGETHER);
    let mut lines = first.kill()?;
    std::thread::sleep(chance.jitter(Duration::from_millis(40)));
    lines.extend(second.kill()?);
    Ok(lines)
}

/// The incidents whose run was open when the last of `lines` was said.
fn in_flight(lines: &[Line]) -> BTreeSet<IncidentId> {
    let mut open = BTreeSet::new();
    for line in lines {
        let Line::Durable(ack) = line else { continue };
        if ack.stage.is_some_and(Stage::is_run) {
            open.insert(ack.incident);
        } else {
            open.remove(&ack.incident);
        }
    }
    open
}

/// Whether the moment came; an error if its life ended before.
fn alive(lived: Lived) -> Result<bool, Box<dyn Error>> {
    match lived {
        Lived::Moment => Ok(true),
        Lived::Limit => Ok(false),
        Lived::End => Err("a healer that shares its journal ended by itself".into()),
    }
}
