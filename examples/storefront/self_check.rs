//! Proof that the faults are real: without a healer each hurts, does not go away by itself, and
//! is gone once the conductor cures it by hand.

use std::time::Duration;

use crate::BoxError;
use crate::chapters::Chapter;
use crate::crowd::{Crowd, any_quote};
use crate::cures::set_catalog_fallback;
use crate::deployment::{ServiceName, Slot};
use crate::faults::{self, Fault};
use crate::http::Call;
use crate::load::Load;
use crate::releases::{self, Release};
use crate::repairs;
use crate::service::quotes::{Known, Quote};
use crate::shop::GRACE;
use crate::timeline::{CALM, Normal, Summary};
use crate::world::World;

/// Learning what is normal.
const WARM_UP: Duration = Duration::from_secs(5);

/// How long a fault is left alone: one that goes away by itself needs no healer.
const ALONE: Duration = Duration::from_secs(4);

/// How long a cure may take until customers are well.
const CURE_WITHIN: Duration = Duration::from_secs(15);

/// A leak must have grown by this while it was left alone.
const LEAKED_BYTES: u64 = 12 * 1024 * 1024;

/// Checks every fault; `false` if one of them is not what it claims to be.
pub(crate) async fn run(world: &World, load: Load, chapters: &[Chapter]) -> Result<bool, BoxError> {
    let say = |text: String| world.narrator.say(text);
    let from = world.timeline.now();
    tokio::time::sleep(WARM_UP).await;
    let normal = world.learn_normal(from);
    let warm = world.timeline.summary(from, world.timeline.now());
    say(format!(
        "normal: {} requests, {} failed, p95 {} ms",
        warm.requests, warm.failed, warm.p95_ms
    ));
    let mut passed = true;
    for &chapter in chapters {
        say(format!("({}) {}", chapter.letter(), chapter.title()));
        let checked = match chapter {
            Chapter::Fault(fault) => check(world, fault, normal).await,
            Chapter::Release(release) => check_release(world, release).await,
            Chapter::Repair(repair) => repairs::check(world, repair).await,
        };
        match checked {
            Ok(()) => say("    real".to_owned()),
            Err(error) => {
                say(format!("    FAILED: {error}"));
                passed = false;
            }
        }
        world.narrator.chapter();
    }
    load.stop().await;
    let orders = world.check_orders().await;
    passed &= orders.are_kept();
    let outcome = if passed { "passed" } else { "FAILED" };
    world
        .narrator
        .end(&format!("self-check {outcome}; {orders}"));
    Ok(passed)
}

async fn check(world: &World, fault: Fault, normal: Normal) -> Result<(), BoxError> {
    calm(world, normal, "before the fault").await?;
    match fault {
        Fault::OrdersKilled => check_orders_killed(world).await?,
        Fault::CatalogLeaks => check_catalog_leaks(world).await?,
        Fault::BadDeployment => check_bad_deployment(world).await?,
        Fault::CatalogSlow => check_catalog_slow(world, normal).await?,
        Fault::HealerKilled => check_healer_killed(world, normal).await?,
        Fault::TroublePasses => check_trouble_passes(world).await?,
    }
    calm(world, normal, "after the cure").await
}

async fn check_orders_killed(world: &World) -> Result<(), BoxError> {
    faults::kill_orders(world).await?;
    let hurt = leave_alone(world).await;
    // Both views and orders need the orders service.
    ensure(hurt.failed * 10 >= hurt.requests * 9, || {
        format!("only {} of {} requests failed", hurt.failed, hurt.requests)
    })?;
    Fault::OrdersKilled.cure(world).await
}

async fn check_catalog_leaks(world: &World) -> Result<(), BoxError> {
    let from = world.timeline.now();
    faults::leak_catalog(world).await?;
    leave_alone(world).await;
    let grown = world.catalog_memory.growth_bytes(from);
    ensure(grown >= LEAKED_BYTES, || {
        format!("catalog grew by {grown} bytes only")
    })?;
    world
        .narrator
        .say(format!("    catalog grew by {} MiB", grown >> 20));
    Fault::CatalogLeaks.cure(world).await?;
    let shrunk = world
        .until(CURE_WITHIN, || world.catalog_memory.recovered_after(from))
        .await;
    ensure(shrunk.is_some(), || {
        "the memory was not given back".to_owned()
    })
}

async fn check_bad_deployment(world: &World) -> Result<(), BoxError> {
    faults::deploy_bad_gateway(world)?;
    let hurt = leave_alone(world).await;
    // Views fail, orders do not.
    ensure(
        hurt.failed * 2 >= hurt.requests && hurt.failed < hurt.requests,
        || format!("{} of {} requests failed", hurt.failed, hurt.requests),
    )?;
    let logged =
        std::fs::read_to_string(&world.deployment.service(ServiceName::Gateway)?.log_file)?;
    ensure(
        logged.lines().any(|line| {
            line.contains("\"kind\":\"deploy\"") && line.contains("\"version\":\"v2\"")
        }),
        || "the deployment is not in the gateway's log".to_owned(),
    )?;
    Fault::BadDeployment.cure(world).await
}

/// Cured twice: the flag relieves the customers, the restart takes the fault away.
async fn check_catalog_slow(world: &World, normal: Normal) -> Result<(), BoxError> {
    faults::slow_catalog(world).await?;
    let hurt = leave_alone(world).await;
    ensure(hurt.failed * 5 >= hurt.requests, || {
        format!("only {} of {} requests failed", hurt.failed, hurt.requests)
    })?;
    let page = world
        .client
        .send(&Call::get(
            world.deployment.service(ServiceName::Gateway)?.address,
            "/metrics",
        ))
        .await?;
    let waiting = in_flight(&String::from_utf8_lossy(&page.body)).unwrap_or_default();
    world
        .narrator
        .say(format!("    gateway has {waiting} requests in flight"));
    ensure(waiting >= 10.0, || {
        format!("only {waiting} requests pile up in the gateway")
    })?;
    set_catalog_fallback(world, true).await?;
    calm(world, normal, "with the fallback").await?;
    Fault::CatalogSlow.cure(world).await
}

/// Without the healer process the shop goes on, and the next one adopts the services.
async fn check_healer_killed(world: &World, normal: Normal) -> Result<(), BoxError> {
    let pids = || {
        ServiceName::RESIDENT
            .into_iter()
            .map(|name| world.running(name))
            .collect::<Result<Vec<_>, _>>()
    };
    let before = pids()?;
    world.kill_shop().await?;
    let alone = leave_alone(world).await;
    ensure(alone.failed == 0, || {
        format!("{} requests failed without the shop process", alone.failed)
    })?;
    world.start_shop().await?;
    calm(world, normal, "after the shop came back").await?;
    ensure(pids()? == before, || {
        "services were started again and not adopted".to_owned()
    })?;
    // The new shop starts what is not there: it owns the services again.
    faults::kill_orders(world).await?;
    world.kill_shop().await?;
    world.start_shop().await?;
    let restarted = world
        .until(CURE_WITHIN, || world.running(ServiceName::Orders).ok())
        .await;
    ensure(restarted.is_some(), || {
        "the new shop did not start orders".to_owned()
    })
}

/// Both workers suffer alike while the carrier is silent, and both are well again without a cure.
async fn check_trouble_passes(world: &World) -> Result<(), BoxError> {
    for slot in Slot::ALL {
        world.start_worker(slot).await?;
    }
    world.carrier.set_answering(false);
    leave_alone(world).await;
    let silent = ages(world).await?;
    world.carrier.set_answering(true);
    tokio::time::sleep(CALM).await;
    let answered = ages(world).await?;
    ensure(silent.iter().all(|age| *age > 3.0), || {
        format!("the surcharge was {silent:?} s old without the carrier")
    })?;
    ensure(answered.iter().all(|age| *age < 2.0), || {
        format!("the surcharge is {answered:?} s old with the carrier")
    })
}

async fn ages(world: &World) -> Result<Vec<f64>, BoxError> {
    let mut ages = Vec::new();
    for worker in &world.deployment.quotes.workers {
        let call = Call::get(worker.service.address, "/surcharge");
        let known: Known = world.ask(call).await?.json()?;
        ages.push(known.age_seconds);
    }
    Ok(ages)
}

/// The version fails as often as it claims to, asked directly.
async fn check_release(world: &World, release: Release) -> Result<(), BoxError> {
    let worker = world.deployment.worker(Slot::Green)?;
    releases::deploy(worker, &release.tariff()).await?;
    world.start_worker(Slot::Green).await?;
    let mut crowd = Crowd::start::<Quote>(
        worker.service.address,
        any_quote,
        world.seed,
        4,
        Duration::ZERO,
    );
    tokio::time::sleep(CALM).await;
    let counted = crowd.stop().await;
    if let Some(process) = worker.service.running() {
        process.stop(GRACE).await?;
    }
    let (share, requests) = (counted.failed_share(), counted.requests);
    let is_good = if release.is_good() {
        counted.failed == 0
    } else {
        (0.4..=0.6).contains(&share)
    };
    ensure(is_good && requests >= 100, || {
        format!("{:.1} % of {requests} requests failed", share * 100.0)
    })
}

/// Does nothing for a while and tells how the customers fared.
async fn leave_alone(world: &World) -> Summary {
    let from = world.timeline.now();
    tokio::time::sleep(ALONE).await;
    // The last second's customers may still be waiting.
    let seen = world.timeline.summary(from, world.timeline.now());
    world.narrator.say(format!(
        "    left alone for {} s: {} of {} requests failed, p95 {} ms",
        ALONE.as_secs(),
        seen.failed,
        seen.requests,
        seen.p95_ms
    ));
    seen
}

async fn calm(world: &World, normal: Normal, when: &str) -> Result<(), BoxError> {
    // What is calm must have happened after this: the window reaches back that far.
    tokio::time::sleep(CALM).await;
    let calm = world
        .until(CURE_WITHIN, || world.timeline.is_calm(normal).then_some(()))
        .await;
    ensure(calm.is_some(), || format!("the shop is not calm {when}"))
}

fn in_flight(page: &str) -> Option<f64> {
    let line = page
        .lines()
        .find(|line| line.starts_with("http_requests_in_flight{"))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn ensure(holds: bool, otherwise: impl Fn() -> String) -> Result<(), BoxError> {
    if holds {
        Ok(())
    } else {
        Err(otherwise().into())
    }
}
