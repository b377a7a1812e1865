//! The story: open the shop, let customers in, learn what is normal, inject one fault after
//! another, watch each being healed, release new versions, count, report.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use crate::BoxError;
use crate::args::ConductorOptions;
use crate::chapters::Chapter;
use crate::deployment::Deployment;
use crate::faults::Fault;
use crate::json_log;
use crate::narrator::Narrator;
use crate::observed::{Incident, Observer};
use crate::releases;
use crate::repairs;
use crate::report::{FaultFree, FaultReport, Report, millis};
use crate::self_check;
use crate::state::State;
use crate::timeline::{CALM, Normal};
use crate::world::{LOOK, World};

/// In the stretch without faults this share of the requests may fail, of the machine's own doing.
const MAX_FAILED_SHARE: f64 = 0.01;

/// Runs the story to its end, or to Ctrl-C; either way nothing is left running.
pub(crate) async fn run(options: ConductorOptions) -> Result<ExitCode, BoxError> {
    let state = State::open()?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = tell(&state, &options) => outcome,
        _ = interrupt.recv() => {
            eprintln!("\nstorefront: interrupted, stopping every process");
            Ok(ExitCode::from(130))
        }
        _ = terminate.recv() => {
            eprintln!("\nstorefront: terminated, stopping every process");
            Ok(ExitCode::from(143))
        }
    }
}

async fn tell(state: &State, options: &ConductorOptions) -> Result<ExitCode, BoxError> {
    let narrator = Narrator::new(options.chapters.len() + 1);
    narrator.say(format!(
        "the shop opens; its files are in {}",
        state.run_dir().display()
    ));
    let deployment = Deployment::prepare(state.run_dir())?;
    let (world, load) = World::open(deployment, options, narrator).await?;
    if options.self_check {
        let passed = self_check::run(&world, load, &options.chapters).await?;
        return Ok(if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }

    let mut observer = Observer::new(world.deployment.events_file.clone());
    let (fault_free, normal) = watch_fault_free(&world, &mut observer).await?;
    let mut faults = Vec::new();
    let mut incidents = Vec::new();
    let mut skipped = Vec::new();
    for &chapter in &options.chapters {
        let (report, incident) = match chapter {
            Chapter::Fault(fault) => watch_fault(&world, &mut observer, fault, normal).await?,
            Chapter::Release(release) => releases::watch(&world, &mut observer, release).await?,
            Chapter::Repair(repair) => match repairs::watch(&world, &mut observer, repair).await? {
                Ok(watched) => watched,
                Err(why) => {
                    let told = format!("({}) skipped: {why}", chapter.letter());
                    world.narrator.say(&told);
                    world.narrator.chapter();
                    skipped.push(told);
                    continue;
                }
            },
        };
        faults.push(report);
        incidents.push(incident);
        world.narrator.chapter();
    }
    load.stop().await;
    let orders = world.check_orders().await;
    world
        .timeline
        .write_csv(&state.run_dir().join("load.csv"))?;

    let report = Report::new(
        options,
        state.run_dir(),
        (faults, skipped),
        fault_free,
        orders,
    );
    report.write(state.root(), &incidents)?;
    world.narrator.end(&report.to_table());
    println!("{}", report.conclusion());
    println!("report: {}", state.root().join("report.json").display());
    Ok(if report.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads what the healer did meanwhile and tells it.
pub(crate) fn listen(world: &World, observer: &mut Observer) -> Result<(), BoxError> {
    for event in observer.refresh()? {
        world
            .narrator
            .say(format!("    healer: {}", event.describe()));
    }
    Ok(())
}

/// A stretch without faults: learns what is normal; whatever is healed now is healed wrongly.
async fn watch_fault_free(
    world: &World,
    observer: &mut Observer,
) -> Result<(FaultFree, Normal), BoxError> {
    let length = world.pace.fault_free;
    world.narrator.say(format!(
        "no fault for {} s: nothing may be healed",
        length.as_secs()
    ));
    let from = world.timeline.now();
    loop {
        listen(world, observer)?;
        let gone = world.timeline.now().saturating_sub(from);
        if gone >= length {
            break;
        }
        let left = length.saturating_sub(gone).as_secs();
        world.narrator.status(format!("no fault, {left} s left"));
        tokio::time::sleep(LOOK).await;
    }
    let load = world.timeline.summary(from, world.timeline.now());
    let normal = world.learn_normal(from);
    let false_heals = observer
        .since(Timestamp::UNIX_EPOCH)
        .iter()
        .map(|incident| incident.actions.len())
        .sum();
    let mut problems = Vec::new();
    if false_heals > 0 {
        problems.push(format!("{false_heals} actions without a fault"));
    }
    if load.requests == 0 || load.failed as f64 > load.requests as f64 * MAX_FAILED_SHARE {
        problems.push(format!(
            "{} of {} requests failed",
            load.failed, load.requests
        ));
    }
    world.narrator.say(format!(
        "normal: {} requests, {} failed, median {} ms, p95 {} ms",
        load.requests, load.failed, load.p50_ms, load.p95_ms
    ));
    world.narrator.chapter();
    let report = FaultFree {
        seconds: length.as_secs(),
        load,
        false_heals,
        problems,
    };
    Ok((report, normal))
}

/// Injects one fault and watches until it is healed or patience ends.
async fn watch_fault(
    world: &World,
    observer: &mut Observer,
    fault: Fault,
    normal: Normal,
) -> Result<(FaultReport, Option<Incident>), BoxError> {
    let mut problems = Vec::new();
    if !wait_calm(world, observer, normal).await? {
        problems.push("the shop was not calm before".to_owned());
    }
    world
        .narrator
        .say(format!("({}) {}", fault.letter(), fault.title()));
    let injected_at = json_log::now();
    let from = world.timeline.now();
    if let Err(error) = fault.inject(world, observer).await {
        problems.push(error.to_string());
    }
    let recovered = |world: &World| {
        let customers = world.timeline.recovered_after(from, normal)?;
        let memory = match fault {
            Fault::CatalogLeaks => world.catalog_memory.recovered_after(from)?,
            _ => Duration::ZERO,
        };
        Some(customers.max(memory))
    };
    while world.timeline.now() < from + world.pace.heal_within {
        listen(world, observer)?;
        let healed = matching(observer, fault, injected_at)
            .is_some_and(|incident| incident.closed && incident.verdict.is_some());
        if healed && recovered(world).is_some() {
            break;
        }
        let seen = world.timeline.summary(from, world.timeline.now());
        world.narrator.status(format!(
            "({}) {:.0} s, {} of {} requests failed",
            fault.letter(),
            (world.timeline.now().saturating_sub(from)).as_secs_f64(),
            seen.failed,
            seen.requests
        ));
        tokio::time::sleep(LOOK).await;
    }
    // Requests that were on their way count too.
    if !wait_calm(world, observer, normal).await? {
        problems.push("the shop is not calm".to_owned());
    }
    let incident = matching(observer, fault, injected_at).cloned();
    let recovered_after = recovered(world);
    // A heal of something that is well is wrong, also when the right one was healed besides.
    for other in observer.since(injected_at) {
        let is_it = incident.as_ref().is_some_and(|it| it.id == other.id);
        if !is_it && !other.actions.is_empty() && other.root_cause != fault.root_cause() {
            let actions = other.actions.join(", ");
            problems.push(format!("wrongly acted in {}: {actions}", other.id));
        }
    }
    let load = world.timeline.summary(from, world.timeline.now());
    let report = FaultReport::new(
        fault,
        injected_at,
        incident.as_ref(),
        recovered_after,
        load.failed,
        problems,
    );
    world.narrator.say(format!("    {}", report.summary()));
    if recovered_after.is_none() {
        world
            .narrator
            .say("    cured by hand, so that the next fault stands alone");
        if let Err(error) = fault.cure(world).await {
            world.narrator.say(format!("    the cure failed: {error}"));
        }
    }
    Ok((report, incident))
}

/// The incident that is about this fault: of those since its injection the one that names its
/// root cause, else the first.
fn matching(observer: &Observer, fault: Fault, injected_at: Timestamp) -> Option<&Incident> {
    let incidents = observer.since(injected_at);
    let expected = fault.root_cause();
    let named = incidents
        .iter()
        .find(|incident| expected.is_some() && incident.root_cause == expected);
    named.or(incidents.first()).copied()
}

/// Waits until customers are well and the healer has nothing open.
async fn wait_calm(
    world: &World,
    observer: &mut Observer,
    normal: Normal,
) -> Result<bool, BoxError> {
    let until = world.timeline.now() + CALM + world.pace.calm_within;
    while world.timeline.now() < until {
        listen(world, observer)?;
        if world.timeline.is_calm(normal) && !observer.has_open_incident() {
            return Ok(true);
        }
        world.narrator.status("waiting for calm".to_owned());
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}

impl FaultReport {
    fn new(
        fault: Fault,
        injected_at: Timestamp,
        incident: Option<&Incident>,
        recovered_after: Option<Duration>,
        requests_failed: usize,
        mut problems: Vec<String>,
    ) -> Self {
        let expected = fault.root_cause();
        let named = incident.and_then(|incident| incident.root_cause.clone());
        let verdict = incident.and_then(|incident| incident.verdict.clone());
        if incident.is_none() {
            problems.push("not detected".to_owned());
        }
        if expected.is_some() && named != expected {
            problems.push("root cause not named".to_owned());
        }
        if !verdict
            .as_deref()
            .is_some_and(|verdict| fault.verdicts().contains(&verdict))
        {
            problems.push(match &verdict {
                None => "not verified".to_owned(),
                Some(verdict) => format!("verdict {verdict}, expected {:?}", fault.verdicts()),
            });
        }
        if recovered_after.is_none() {
            problems.push("not recovered".to_owned());
        }
        Self {
            root_cause_expected: expected.map(|expected| expected.to_string()),
            recovered_after_ms: recovered_after.map(millis),
            requests_failed,
            healed: problems.is_empty(),
            problems,
            ..Self::of(fault.letter(), fault.title(), injected_at, incident)
        }
    }
}
