//! Releases of new versions of the quotes: ordered as a person would, under a crowd that asks all the
//! while, and judged from outside by what the crowd got.

use std::time::Duration;

use homeostasis::core::port::Weights;
use homeostasis::remediate::rollout::{Rollout, RolloutStage, RolloutStep, RolloutStrategy};
use serde_json::json;

use crate::BoxError;
use crate::conductor::listen;
use crate::crowd::{Counted, Crowd, any_quote};
use crate::deployment::{ServiceName, Slot, WorkerSpec};
use crate::desk;
use crate::json_log;
use crate::observed::{Incident, Observer};
use crate::report::{FaultReport, millis};
use crate::service::quotes::{Quote, Tariff, ZONES};
use crate::shop::GRACE;
use crate::world::{LOOK, World};

/// How long the crowd asks before a release is ordered, and after it is over.
const AROUND: Duration = Duration::from_secs(3);

/// At most this share of a chapter's requests may meet a version that is taken back.
const MAX_HARMED_SHARE: f64 = 0.01;

/// A judge that sees something decides against the bad version within this; one that is blind takes longer.
const DECIDED_WITHIN: Duration = Duration::from_secs(20);

/// What a hot swap must stand without losing one request.
const SWAP_REQUESTS: usize = 50_000;

/// What is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    BadVersion,
    GoodVersion,
    HotSwap,
}

impl Release {
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::BadVersion => 'f',
            Self::GoodVersion => 'g',
            Self::HotSwap => 'h',
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::BadVersion => "a bad version is behind a canary",
            Self::GoodVersion => "a good version gets the traffic",
            Self::HotSwap => "a worker is swapped under load",
        }
    }

    /// What the new worker works with: the bad one's tariff ends in the middle.
    pub(crate) fn tariff(self) -> Tariff {
        match self {
            Self::BadVersion => Tariff::up_to("v2", ZONES / 2),
            Self::GoodVersion => Tariff::up_to("v3", ZONES),
            Self::HotSwap => Tariff::up_to("v4", ZONES),
        }
    }

    pub(crate) const fn is_good(self) -> bool {
        !matches!(self, Self::BadVersion)
    }

    /// The percentages of its stages.
    const fn stages(self) -> &'static [u32] {
        match self {
            Self::BadVersion => &[2, 20, 100],
            Self::GoodVersion => &[20, 50, 100],
            Self::HotSwap => &[100],
        }
    }

    /// How many ask, and how long each thinks in between.
    fn crowd(self, world: &World) -> Crowd {
        let (n, pause) = match self {
            Self::BadVersion | Self::GoodVersion => (8, Duration::from_millis(4)),
            Self::HotSwap => (8, Duration::ZERO),
        };
        Crowd::start::<Quote>(
            world.deployment.quotes.front,
            any_quote,
            world.seed,
            n,
            pause,
        )
    }

    /// Fewer requests are not counted as a chapter.
    const fn min_requests(self) -> usize {
        match self {
            Self::BadVersion | Self::GoodVersion => 1_000,
            Self::HotSwap => SWAP_REQUESTS,
        }
    }

    /// The order: start the new worker, warm it up and check it, give it the traffic, drain and stop
    /// the old one.
    fn order(self, world: &World, from: Slot, to: &WorkerSpec) -> Rollout {
        let mut rollout = Rollout::new(
            ServiceName::Quotes.as_str(),
            from.as_str(),
            to.slot.as_str(),
        );
        let stages = self.stages().iter().map(|percent| RolloutStage {
            at_least: world.pace.stage,
            ..RolloutStage::of(*percent)
        });
        rollout.strategy = RolloutStrategy::Stages(stages.collect());
        rollout.interval = Duration::from_secs(1);
        rollout.decide_within = world.pace.heal_within;
        let first_quote = format!("http://{}/quote/1/1", to.service.address);
        rollout.before = vec![
            RolloutStep::new(
                "start_process",
                json!({"process": to.slot.process(), "must_be_new": true}),
            ),
            RolloutStep {
                attempts: 10,
                ..RolloutStep::new("http_request", json!({"method": "GET", "url": first_quote}))
            },
        ];
        let old = json!({"service": ServiceName::Quotes.as_str(), "slot": from.as_str()});
        rollout.after = vec![
            RolloutStep::new("await_drained", old),
            RolloutStep::new("stop_process", json!({"process": from.process()})),
        ];
        rollout
    }
}

/// Orders a release, and watches until it is over and enough was asked.
pub(crate) async fn watch(
    world: &World,
    observer: &mut Observer,
    release: Release,
) -> Result<(FaultReport, Option<Incident>), BoxError> {
    let narrator = &world.narrator;
    narrator.say(format!("({}) {}", release.letter(), release.title()));
    let begun_at = json_log::now();
    let from = owner(&desk::weights(world, ServiceName::Quotes).await?)
        .ok_or("both slots of the quotes have traffic")?;
    let to = world.deployment.worker(from.other())?;
    deploy(to, &release.tariff()).await?;
    let mut crowd = release.crowd(world);
    tokio::time::sleep(AROUND).await;
    let mut problems = Vec::new();

    let ordered_at = json_log::now();
    let ordered = world.timeline.now();
    let id = desk::order(world, &release.order(world, from, to)).await?;
    let mut traffic: Vec<u32> = Vec::new();
    let mut took = None;
    while world.timeline.now() < ordered + world.pace.roll_out_within {
        listen(world, observer)?;
        let percent = percent_of(&desk::weights(world, ServiceName::Quotes).await?, to.slot);
        if traffic.last().copied().unwrap_or(0) != percent {
            traffic.push(percent);
        }
        if took.is_none() && observer.incident(&id).is_some_and(Incident::has_ended) {
            took = Some(world.timeline.now().saturating_sub(ordered));
        }
        let counted = crowd.counted();
        let is_late = took.is_some_and(|took| world.timeline.now() >= ordered + took + AROUND);
        if is_late && counted.requests >= release.min_requests() {
            break;
        }
        narrator.status(format!(
            "({}) {percent} % of the traffic, {} of {} requests failed",
            release.letter(),
            counted.failed,
            counted.requests
        ));
        tokio::time::sleep(LOOK).await;
    }
    let counted = crowd.stop().await;
    listen(world, observer)?;

    let weights = desk::weights(world, ServiceName::Quotes).await?;
    let wanted = if release.is_good() { to.slot } else { from };
    let verdict = match owner(&weights) {
        None => "undecided",
        Some(slot) if slot == from => "rolled back",
        Some(_) => "promoted",
    };
    if owner(&weights) != Some(wanted) {
        problems.push(format!("the traffic is {}", json!(weights)));
    }
    if took.is_none() {
        problems.push("the rollout has not ended".to_owned());
    }
    problems.extend(check_workers(world, wanted, release).await);
    problems.extend(check_counts(release, counted, crowd.first_failure()));
    if let Some(incident) = observer.incident(&id).filter(|it| !it.closed) {
        let note = format!("{} is fixed first", release.tariff().version);
        desk::close(world, &incident.id, note).await?;
    }
    for other in observer.since(begun_at) {
        if !other.actions.is_empty() && other.id != id {
            let actions = other.actions.join(", ");
            problems.push(format!("wrongly acted in {}: {actions}", other.id));
        }
    }
    let incident = observer.incident(&id).cloned();
    let ended = incident.as_ref().and_then(|it| it.first("run_ended"));
    let decided = ended.filter(|_| !release.is_good());
    let decided_after = decided.map(|at| at.duration_since(ordered_at));
    if !release.is_good() && decided_after.is_none_or(|it| it.unsigned_abs() > DECIDED_WITHIN) {
        problems.push(format!("not decided within {DECIDED_WITHIN:?}"));
    }
    let report = FaultReport {
        incident: Some(id),
        detected_after_ms: decided_after
            .map(|it| u64::try_from(it.as_millis()).unwrap_or_default()),
        root_cause_named: None,
        traffic: Some(traffic),
        verdict: Some(verdict.to_owned()),
        recovered_after_ms: took.map(millis),
        requests_failed: counted.failed,
        requests: Some(counted.requests),
        healed: problems.is_empty(),
        problems,
        ..FaultReport::of(
            release.letter(),
            release.title(),
            ordered_at,
            incident.as_ref(),
        )
    };
    narrator.say(format!("    {}", report.summary()));
    Ok((report, incident))
}

/// Lays a version into a slot that has no traffic; what ran there is stopped.
pub(crate) async fn deploy(worker: &WorkerSpec, tariff: &Tariff) -> Result<(), BoxError> {
    if let Some(old) = worker.service.running() {
        old.stop(GRACE).await?;
    }
    tariff.write(&worker.tariff_file)
}

/// What is wrong with who runs: the worker with the traffic alone, with its version.
async fn check_workers(world: &World, wanted: Slot, release: Release) -> Vec<String> {
    let mut problems = Vec::new();
    for worker in &world.deployment.quotes.workers {
        let (runs, should) = (worker.service.running().is_some(), worker.slot == wanted);
        if runs != should {
            let how = if runs { "runs" } else { "does not run" };
            problems.push(format!("the worker in slot {} {how}", worker.slot.as_str()));
        }
    }
    let asked = world.quote(world.deployment.quotes.front).await;
    match asked {
        Ok(Quote { version, .. }) => {
            if (version == release.tariff().version) != release.is_good() {
                problems.push(format!("version {version} answers"));
            }
        }
        Err(error) => problems.push(crate::chain(error.as_ref())),
    }
    problems
}

/// What is wrong with what the crowd got.
fn check_counts(release: Release, counted: Counted, first: Option<String>) -> Vec<String> {
    let mut problems = Vec::new();
    let Counted { requests, failed } = counted;
    if requests < release.min_requests() {
        let min = release.min_requests();
        problems.push(format!("{requests} requests, expected at least {min}"));
    }
    let first = first.unwrap_or_default();
    if release.is_good() && failed > 0 {
        problems.push(format!("{failed} requests failed, the first with {first}"));
    }
    if !release.is_good() && counted.failed_share() >= MAX_HARMED_SHARE {
        let percent = counted.failed_share() * 100.0;
        problems.push(format!("{percent:.2} % of the requests failed"));
    }
    if !release.is_good() && failed == 0 {
        problems.push("the bad version harmed nobody: it was never met".to_owned());
    }
    problems
}

/// The slot with all of the traffic.
pub(crate) fn owner(weights: &Weights) -> Option<Slot> {
    let mut slots = Slot::ALL.into_iter();
    slots.find(|slot| percent_of(weights, *slot) == 100)
}

/// The share of a slot, in whole percents.
fn percent_of(weights: &Weights, slot: Slot) -> u32 {
    let sum: u64 = weights.iter().map(|(_, weight)| u64::from(weight)).sum();
    let mut found = weights.iter().filter(|(name, _)| *name == slot.as_str());
    let weight = found.next().map_or(0, |(_, weight)| u64::from(weight));
    u32::try_from(100 * weight / sum.max(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_harm_and_every_lost_request_count() {
        let counted = |requests, failed| Counted { requests, failed };
        let wrong = |release, counted| check_counts(release, counted, None).len();
        assert_eq!(wrong(Release::BadVersion, counted(10_000, 99)), 0);
        assert_eq!(wrong(Release::BadVersion, counted(10_000, 100)), 1);
        assert_eq!(wrong(Release::BadVersion, counted(10_000, 0)), 1);
        assert_eq!(wrong(Release::HotSwap, counted(50_000, 0)), 0);
        assert_eq!(wrong(Release::HotSwap, counted(50_000, 1)), 1);
        assert_eq!(wrong(Release::HotSwap, counted(49_999, 0)), 1);
    }

    #[test]
    fn a_slot_owns_the_traffic_if_it_has_all_of_it() {
        let of = |blue, green| Weights::new([("blue", blue), ("green", green)]).unwrap();
        assert_eq!(owner(&of(0, 7)), Some(Slot::Green));
        assert_eq!(owner(&of(98, 2)), None);
        assert_eq!(percent_of(&of(98, 2), Slot::Green), 2);
    }
}
