//! Stops: a healer stands still past its leases, another takes over, and the first wakes.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use homeostasis::core::port::{LocalCoordinator, Store};
use homeostasis::core::{Rng, Timestamp};
use homeostasis::store::RedbStore;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::child::{ChildOptions, Mode, SHARED_TTL};
use super::clock::{FastClock, SPEED};
use super::life::{Life, Lived, Moment};
use super::protocol::Line;
use super::remote::{self, Refused};
use super::stage::Stage;

/// Where the first healer is stopped, in turn; what it holds there, another must take over.
const PLACES: [Stage; 7] = [
    Stage::Intent,
    Stage::Effect,
    Stage::UndoIntent,
    Stage::Backoff,
    Stage::Opened,
    Stage::Verifying,
    Stage::UndoEffect,
];

/// How long the second healer may take to go on with a run of the first.
const TAKES_OVER: Duration = Duration::from_millis(2_500);

/// How long both are left alone after that.
const TOGETHER: Duration = Duration::from_millis(400);

/// What came of the stops.
#[derive(Debug, Default)]
pub(super) struct Stops {
    made: u32,
    /// How often a run of a healer that was stopped was gone on with by another.
    pub(super) takeovers: u32,
    refused: Arc<Refused>,
}

impl Stops {
    pub(super) fn report(&self, late: u64) -> Value {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "stops": self.made,
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
    std::fs::remove_file(socket)?;
    Ok(lines)
}

fn play(
    options: &ChildOptions,
    chance: &mut Rng,
    stops: &mut Stops,
) -> Result<Vec<Line>, Box<dyn Error>> {
    let place = PLACES[usize::try_from(stops.made)? % PLACES.len()];
    stops.made += 1;
    let mut first = Life::start(options)?;
    alive(first.until(Moment::Reached(place))?)?;
    std::thread::sleep(chance.jitter(Duration::from_micros(1_500)));
    first.signal(Signal::STOP)?;
    std::thread::sleep(SHARED_TTL / SPEED);
    let second_options = ChildOptions {
        seed: chance.next_u64(),
        mode: Mode::Calm,
        ..options.clone()
    };
    let mut second = Life::start(&second_options)?;
    let resumed = |line: &Line| matches!(line, Line::Durable(ack) if ack.event == "run_resumed");
    alive(second.listen(TAKES_OVER, resumed)?)?;
    let took_over = second.lines.last().is_some_and(resumed);
    stops.takeovers += u32::from(took_over);
    // It wakes in the middle of what the other does, or when that is over.
    std::thread::sleep(chance.jitter(Duration::from_millis(60)));
    first.signal(Signal::CONT)?;
    std::thread::sleep(TOGETHER);
    let mut lines = first.kill()?;
    std::thread::sleep(chance.jitter(Duration::from_millis(40)));
    lines.extend(second.kill()?);
    Ok(lines)
}

fn alive(lived: Lived) -> Result<(), Box<dyn Error>> {
    match lived {
        Lived::ToTheMoment => Ok(()),
        Lived::ToItsEnd => Err("a healer that shares its journal ended by itself".into()),
    }
}
